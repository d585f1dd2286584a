# shellcheck shell=bash
# What the tests beside other software share. Sourced by each of them. A test prints a line for each of its checks,
# "ok - LABEL" or "not ok - LABEL", which bin/check-neighbours counts; and it ends with the oracle.

# shellcheck disable=SC2034  # for bin/lib.sh
FEATURES=()
# shellcheck source=bin/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../bin/lib.sh"
use_installed

# One value from a database: value DATABASE SQL
value() { psql_cluster -d "$1" -At -F ' ' -c "$2"; }

# The databases named, each with the extension.
create_sites() {
    local database
    for database in "$@"; do
        [ "$database" = postgres ] || ask "CREATE DATABASE $database"
        value "$database" 'CREATE EXTENSION site_stats'
    done
}

# A check: is LABEL EXPECTED FOUND
is() {
    if [ "$2" = "$3" ]; then
        printf 'ok - %s\n' "$1"
    else
        printf 'not ok - %s\n' "$1"
        printf '# expected: %s\n' "$2" | head -n 20
        printf '%s\n' "$3" | sed 's/^/# found: /' | head -n 20
    fi
}

# The oracle: check_totals() finds nothing, and get_stats() answers what is there: is_exact LABEL [DATABASE]
is_exact() {
    is "$1: the counts are exact" exact "$(value "${2:-postgres}" "
        SELECT CASE WHEN (s.total_page_views, s.unique_visitors, s.total_paths) IS NOT DISTINCT FROM (t.views, t.visitors, t.paths)
            THEN 'exact' ELSE 'served ' || (s.total_page_views, s.unique_visitors, s.total_paths)
                || ', counted ' || (t.views, t.visitors, t.paths) END
        FROM site_stats.get_stats() AS s,
            (SELECT count(*) AS views, count(DISTINCT session_id) AS visitors, count(DISTINCT path) AS paths
                FROM ONLY site_stats.page_views) AS t
        EXCEPT SELECT 'exact' WHERE EXISTS (SELECT FROM site_stats.check_totals())
        UNION ALL
        SELECT format('%s: %s differ, by %s to %s', aggregate, count(*), min(counted - actual), max(counted - actual))
        FROM site_stats.check_totals() GROUP BY aggregate")"
}

# Polls a condition until it is true, for at most a minute: until_true WHAT DATABASE SQL
until_true() {
    for _ in {1..600}; do
        [ "$(value "$2" "$3")" != t ] || return 0
        sleep 0.1
    done
    echo "# a minute is over, and not yet: $1"
    return 1
}

# A condition on the changes of a key in one transaction, in the order of n: that they are more than one change. Folding may
# move a row of path_totals to the front of its table. That is a DELETE and then an INSERT, and replays as it is.
# shellcheck disable=SC2034  # for the tests
MORE_THAN_ONE="count(*) > 1
    AND NOT (relation = 'site_stats.path_totals' AND string_agg(left(action, 1), '' ORDER BY n) ~ '^U?DI\$')"

# Starts writers in a database, four clients with ten page views in a statement, some of them new sessions and old days.
start_writers() {
    cat >"$WORK/writer.sql" <<'SQL'
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/p' || (random() * 1999)::integer, 's' || (random() * 19999)::integer, now() - (random() * 3)::integer * interval '1 day'
FROM generate_series(1, 10);
SQL
    background as_server_user "$RUN_BIN/pgbench" -h "$SOCKETS" -U postgres -n -c 4 -T 600 -f "$WORK/writer.sql" "$1" >"$WORK/writers.log" 2>&1
    until_true 'the writers write' "$1" "SELECT count(*) = 4 FROM pg_stat_activity WHERE application_name = 'pgbench'"
}

# Lets the writers write that many page views: let_write VIEWS DATABASE
let_write() {
    local before
    before=$(value "$2" 'SELECT count(*) FROM site_stats.page_views')
    until_true "$1 page views are written" "$2" "SELECT count(*) >= $before + $1 FROM site_stats.page_views"
}

# Ends what runs in the background; the writers' last transactions are over afterwards.
stop_writers() {
    stop_background
    until_true 'the writers are gone' postgres "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pgbench')"
    ! grep -E 'ERROR|FATAL' "$WORK/writers.log" | sed 's/^/# /' | head -n 5
}

# No process of the server has crashed, and there was no panic: is_quiet SERVER
is_quiet() {
    is "no crash in the log of the $1" '' "$(grep -E 'terminated by signal|PANIC:|TRAP:|panicked' "$SERVER_LOG" || true)"
}
