# shellcheck shell=bash
# A site on a machine that has the extension and nothing of Rust. Sourced.

step() { printf '    %s\n' "$*"; }
fail() {
    printf '    failed: %s\n' "$*" >&2
    exit 1
}
database() { runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d site -c "$1"; }
expect() { # expect ANSWER SQL
    local answer
    answer=$(database "$2") || fail "$2"
    [ "$answer" = "$1" ] || fail "$2 gives \"$answer\", not \"$1\""
}

bare() {
    local program
    for program in cargo rustc gcc cc clang make; do
        ! command -v "$program" >/dev/null || fail "this machine has $program"
    done
    step "there is no compiler here"
}

start() { # start MAJOR
    # Every file of the server is in memory; the server listens on a socket only.
    pg_createcluster "$1" test -- -A trust >/dev/null
    cat >>"/etc/postgresql/$1/test/postgresql.conf" <<SETTINGS
listen_addresses = ''
shared_preload_libraries = 'site_stats'
SETTINGS
    pg_ctlcluster "$1" test start
    runuser -u postgres -- createdb site
}

use() { # use VERSION
    database 'CREATE EXTENSION site_stats'
    expect "$1" "SELECT extversion FROM pg_extension WHERE extname = 'site_stats'"
    expect recorded "SELECT site_stats.record_page_view('/', 'home', 'visitor-1')"
    expect recorded "SELECT site_stats.heartbeat('visitor-1', '/')"
    database "INSERT INTO site_stats.page_views (path, page_type, session_id) SELECT '/' || n % 7, 'page', 's' || n % 100 FROM generate_series(1, 5000) AS n"
    expect '5001|101|8|1|aggregates' \
        'SELECT total_page_views, unique_visitors, total_paths, active_visitors, source FROM site_stats.get_stats()'
    expect '' 'SELECT * FROM site_stats.check_totals()'
    database 'SELECT site_stats.start_backfill()' >/dev/null
    expect t "SELECT site_stats.wait_for_backfill('1 minute')"
    expect 'complete|5001' 'SELECT status, views_done FROM site_stats.backfill_progress'
    expect '' 'SELECT * FROM site_stats.check_totals()'
    step "views are counted, a backfill has counted them anew, and check_totals() finds nothing"
    expect 1 "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'site_stats launcher'"
    step "the launcher runs"
}
