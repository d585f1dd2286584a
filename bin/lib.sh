# shellcheck shell=bash
# What every script in bin/ shares: messages, the PostgreSQL to use, the private copy of it, the user who may run a
# server, and throw-away clusters that are gone when the script ends, however it ends.
#
# Two settings come from outside: PG_CONFIG, the pg_config of the PostgreSQL to build for, or PG, its major version.
# Everything made here is below build/ (and the cargo target folder), except for a folder in /tmp that lives as long
# as a server does: the path of a socket may not be longer than 107 bytes.

# shellcheck disable=SC2034  # half of the names are for the scripts

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$ROOT/build
PGRX_VERSION=0.18.1
SUPPORTED_VERSIONS="15 16 17 18"

cd "$ROOT"
# BINDINGS is another folder for what pgrx knows of headers: bin/matrix has two kinds of the same version.
export PGRX_HOME=${BINDINGS:-$BUILD/pgrx}
# build.rs gives the linker what this would add to every crate, so that cargo's own commands and cargo pgrx
# share what they compile.
[ ! -e "$ROOT/build.rs" ] || export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
PATH=$BUILD/tools/bin:$PATH:${HOME:-/root}/.cargo/bin
# The user's own connection settings are for the user's own server.
# A backtrace in the detail of every error is for a debugger, not for a test.
unset RUST_BACKTRACE RUST_LIB_BACKTRACE
unset PGHOST PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS PGSSLMODE PGCLIENTENCODING \
    PGDATESTYLE PGTZ PGAPPNAME PGHOSTADDR PGTARGETSESSIONATTRS

# ---- messages ------------------------------------------------------------------------------------------------------

if [ -t 1 ]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; else BOLD='' PLAIN=''; fi

# A headline: what happens next.
say() { printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN"; }

# A remark below a headline.
note() { printf '    %s\n' "$*"; }

# The end: what went wrong, and on the lines below what to do about it.
die() {
    local line
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    shift
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 1
}

# Runs a command and shows its output only if it fails: quietly LOG COMMAND...
quietly() {
    local log=$1
    shift
    mkdir -p "${log%/*}"
    "$@" >"$log" 2>&1 && return
    local status=$?
    tail -n 40 "$log" >&2
    printf '    (all of it: %s)\n' "$log" >&2
    return "$status"
}

# Runs a cargo command and shows how many crates it has compiled, of CRATES or of those of this package; its whole
# output only if it fails.
with_progress() {
    local log=$1 total=${CRATES:-} line crates=0 shown=0
    shift
    mkdir -p "${log%/*}"
    [ -n "$total" ] ||
        total=$(cargo tree --prefix none -e normal,build "${FEATURES[@]}" 2>/dev/null | sed 's/ (.*//' | sort -u | wc -l)
    if "$@" 2>&1 | sed -u 's|\x1b\[[0-9;]*m||g' | tee "$log" | while IFS= read -r line; do
        case $line in
        *' Compiling '* | *' Checking '*) ;;
        *) continue ;;
        esac
        crates=$((crates + 1))
        line=${line#* Compiling } line=${line#* Checking }
        if [ -t 1 ]; then
            printf '\r    compiling %d of %d crates: %-40.40s' "$crates" "$total" "${line%% *}"
        elif [ $((crates - shown)) -ge 25 ]; then
            note "compiling $crates of $total crates"
            shown=$crates
        fi
    done; then
        [ ! -t 1 ] || printf '\r%75s\r' ''
    else
        [ ! -t 1 ] || printf '\r%75s\r' ''
        grep -vE '^ +(Compiling|Checking|Downloaded|Downloading|Blocking|Updating|Locking) ' "$log" | tail -n 150 >&2
        printf '    (all of it: %s)\n' "$log" >&2
        return 1
    fi
}

# The version of the extension.
extension_version() { sed -nE 's/^version = "(.*)"/\1/p' Cargo.toml | head -n 1; }

# ---- which PostgreSQL ----------------------------------------------------------------------------------------------

# The major version of the PostgreSQL that a pg_config belongs to.
major_of() { "$1" --version 2>/dev/null | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p'; }

supported() { [[ " $SUPPORTED_VERSIONS " == *" $1 "* ]]; }

# Whether a pg_config belongs to a server that can be run, with the headers to build for it.
complete() {
    [ -x "$1" ] && [ -x "$("$1" --bindir)/postgres" ] && [ -e "$("$1" --includedir-server)/postgres.h" ] &&
        [ -e "$("$1" --pgxs)" ]
}

# Sets PG_CONFIG and PG, or fails when no complete PostgreSQL is there yet.
find_postgres() {
    local candidate version
    if [ -n "${PG_CONFIG:-}" ]; then
        candidate=$(command -v "$PG_CONFIG") || die "there is no \"$PG_CONFIG\"" \
            "PG_CONFIG names the pg_config program of the PostgreSQL to build for."
        version=$(major_of "$candidate")
        supported "$version" || die "PostgreSQL ${version:-of an unknown version} is not supported (PG_CONFIG=$PG_CONFIG)" \
            "Supported are the versions $SUPPORTED_VERSIONS."
        [ "${PG:-$version}" = "$version" ] || die "PG=$PG, but PG_CONFIG=$PG_CONFIG is version $version" "Set one of them."
        complete "$candidate" || die "PG_CONFIG=$PG_CONFIG has no server, or no headers to build an extension with" \
            "Install the server and its development package for that version."
        PG=$version
    else
        [ -z "${PG:-}" ] || supported "$PG" || die "PG=$PG is not supported" "Supported are the versions $SUPPORTED_VERSIONS."
        for candidate in "$(command -v pg_config || true)" /usr/lib/postgresql/{15,16,17,18}/bin/pg_config; do
            [ -n "$candidate" ] || continue
            version=$(major_of "$candidate")
            if supported "$version" && [ "${PG:-$version}" = "$version" ] && complete "$candidate"; then
                PG=$version
                PG_CONFIG=$candidate
                break
            fi
        done
        [ -n "${PG_CONFIG:-}" ] || return 1
    fi
    # The program itself instead of a wrapper that looks for the newest version.
    candidate=$("$PG_CONFIG" --bindir)/pg_config
    ! "$candidate" --version >/dev/null 2>&1 || PG_CONFIG=$candidate
    SERVER=$BUILD/server-$PG
    PRIVATE_BIN=$SERVER$("$PG_CONFIG" --bindir)
    PRIVATE_PG_CONFIG=$PRIVATE_BIN/pg_config
    FEATURES=(--no-default-features --features "pg$PG")
}

# ---- the user who runs servers -------------------------------------------------------------------------------------

# PostgreSQL refuses to run as root, so root hands over to an unprivileged user.
if [ "$(id -u)" = 0 ]; then
    SERVER_USER=nobody
    ! id postgres >/dev/null 2>&1 || SERVER_USER=postgres
else
    SERVER_USER=$(id -un)
fi

# Without the lock of one_at_a_time, which must not live as long as a server.
as_server_user() {
    if [ "$(id -u)" != 0 ]; then
        "$@" 9>&-
    elif command -v setpriv >/dev/null; then
        HOME=${WORK:-/} USER=$SERVER_USER LOGNAME=$SERVER_USER \
            setpriv --reuid="$SERVER_USER" --regid="$(id -g "$SERVER_USER")" --init-groups -- "$@" 9>&-
    else
        HOME=${WORK:-/} runuser -u "$SERVER_USER" -- "$@" 9>&-
    fi
}

# ---- building and installing into the private server ---------------------------------------------------------------

# Runs of demo and tests in one checkout share its private server, so they wait for each other.
one_at_a_time() {
    local stale
    mkdir -p "$BUILD"
    command -v flock >/dev/null || return 0
    exec 9>"$BUILD/lock"
    flock -n 9 || {
        note "Waiting for another run in this folder to end."
        flock 9
    }
    [ -e "$BUILD/running" ] || return 0
    while IFS= read -r stale; do # left by a run that was killed
        case $stale in
        "$BUILD"/run.* | /tmp/site_stats.*)
            stop_servers "$stale"
            rm -rf "$stale"
            ;;
        esac
    done <"$BUILD/running"
    rm -f "$BUILD/running"
}

# Builds the extension and installs it into the private server. Arguments: those of cargo pgrx install, if any.
install_private() {
    with_progress "$BUILD/log/install.log" cargo pgrx install --pg-config "$PRIVATE_PG_CONFIG" "$@" ||
        die "the extension could not be built; the compiler's message is above"
    # What cargo pgrx does not install: the scripts of released versions, for the tests of updates.
    cp sql/released/site_stats--*.sql "$("$PRIVATE_PG_CONFIG" --sharedir)/extension/"
    chmod -R a+rX "$SERVER"
}

# Builds the extension as it is released: its files go below a folder, each at its place in the file system.
build_files() {
    with_progress "$BUILD/log/build.log" cargo pgrx package --pg-config "$PG_CONFIG" "${FEATURES[@]}" --out-dir "$1" ||
        die "the extension could not be built; the compiler's message is above"
}

# Takes the PostgreSQL of PG_CONFIG as it is, with the extension that is installed there, in place of the private server.
use_installed() {
    find_postgres || die "there is no complete PostgreSQL here; set PG_CONFIG"
    SERVER='' PRIVATE_BIN=$("$PG_CONFIG" --bindir)
    [ -e "$("$PG_CONFIG" --sharedir)/extension/site_stats.control" ] ||
        die "site_stats is not installed in PostgreSQL $PG" "Its files would be in $("$PG_CONFIG" --sharedir)/extension."
}

# ---- a place to run in, and its end --------------------------------------------------------------------------------

WORK='' SOCKETS='' JOB=''

# Runs a command that may take long as a process group of its own, so that the end of this script ends all of it.
interruptible() {
    local status=0
    set -m
    "$@" </dev/null &
    JOB=$!
    set +m
    wait "$JOB" || status=$?
    JOB=''
    return "$status"
}

# Starts a command as a process group of its own; it ends with this script, if stop_background has not ended it before.
BACKGROUND=()
background() {
    set -m
    "$@" </dev/null &
    BACKGROUND+=($!)
    set +m
}

# Ends what background has started, and waits until it is gone.
stop_background() {
    local group
    for group in "${BACKGROUND[@]}"; do
        { kill -- "-$group" && wait "$group"; } 2>/dev/null || true
    done
    BACKGROUND=()
}

# Makes WORK, a folder that the server user owns, with RUN_BIN, a PostgreSQL that this user can run, and RUN_TESTS,
# tests that it can read: where they are if it may go there, else copies in /tmp.
open_work() {
    [ -z "$WORK" ] || return 0
    trap close_work EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # shellcheck disable=SC2016  # expanded by the shell of the server user
    if (cd / && as_server_user sh -c '"$1/postgres" --version && test -x "$2" && test -r "$3" && cd "$4"' sh \
        "$PRIVATE_BIN" "$ROOT" "$ROOT/Makefile" "$BUILD") >/dev/null 2>&1; then
        WORK=$(mktemp -d "$BUILD/run.XXXXXX")
        echo "$WORK" >"$BUILD/running"
        RUN_BIN=$PRIVATE_BIN RUN_TESTS=$ROOT/tests
    else
        WORK=$(mktemp -d /tmp/site_stats.XXXXXX)
        echo "$WORK" >"$BUILD/running"
        note "User \"$SERVER_USER\", who runs the server, cannot read $ROOT: running in $WORK."
        chmod 755 "$WORK"
        [ -z "$SERVER" ] || cp -a "$SERVER" "$WORK/server"
        [ ! -d tests ] || cp -a tests import "$WORK/"
        chmod -R a+rX "$WORK"
        RUN_BIN=${SERVER:+$WORK/server}$("$PG_CONFIG" --bindir) RUN_TESTS=$WORK/tests
    fi
    SOCKETS=$(mktemp -d /tmp/site_stats.XXXXXX)
    echo "$SOCKETS" >>"$BUILD/running"
    [ "$(id -u)" != 0 ] || chown "$SERVER_USER" "$WORK" "$SOCKETS"
    chmod 755 "$WORK"
}

# Stops every server whose data is below a folder.
stop_servers() {
    local file pid
    while IFS= read -r file; do
        pid=$(head -n 1 "$file")
        kill -QUIT "$pid" 2>/dev/null || continue
        for _ in {1..100}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done < <(find "$1" -name postmaster.pid 2>/dev/null)
}

close_work() {
    local status=$?
    trap '' HUP INT TERM # let the clean-up end
    cd /
    [ -z "$JOB" ] || { kill -- "-$JOB" && wait "$JOB"; } 2>/dev/null || true
    stop_background
    if [ "$status" != 0 ] && [ -s "${SERVER_LOG:-}" ]; then
        cp "$SERVER_LOG" "$BUILD/log/server.log"
        printf "    (the server's log: %s)\n" "$BUILD/log/server.log" >&2
    fi
    [ ! -t 1 ] || printf '\e[?25h'
    [ -z "$WORK" ] || stop_servers "$WORK"
    [ -z "$WORK$SOCKETS" ] || rm -rf "$WORK" "$SOCKETS" "$BUILD/running"
    WORK='' SOCKETS=''
    exit "$status"
}

# ---- one throw-away cluster ----------------------------------------------------------------------------------------

# Starts a server with default settings that listens on a socket of its own and nowhere else, in place of the one before.
# Arguments: settings. Its locale is C, or CLUSTER_LOCALE.
start_cluster() {
    open_work
    CLUSTER=$WORK/data
    SERVER_LOG=$WORK/server.log
    [ ! -e "$CLUSTER" ] || stop_servers "$CLUSTER"
    rm -rf "$CLUSTER" "$SERVER_LOG"
    (cd "$WORK" && quietly "$BUILD/log/initdb.log" as_server_user "$RUN_BIN/initdb" -D "$CLUSTER" -U postgres -A trust \
        -E UTF8 --locale="${CLUSTER_LOCALE:-C}" --no-sync) || die "initdb failed; its message is above"
    as_server_user tee -a "$CLUSTER/postgresql.conf" >/dev/null <<SETTINGS
listen_addresses = ''
unix_socket_directories = '$SOCKETS'
log_line_prefix = '%m [%p] '
timezone = 'UTC'
$(printf '%s\n' "$@")
SETTINGS
    start_server
}

# Starts the server of that cluster, or starts it again.
start_server() {
    (cd "$WORK" && as_server_user "$RUN_BIN/pg_ctl" -D "$CLUSTER" -l "$SERVER_LOG" -w -t 60 start >/dev/null) || {
        tail -n 20 "$SERVER_LOG" >&2
        die "the server did not start; its log is above"
    }
}

stop_cluster() { (cd "$WORK" && as_server_user "$RUN_BIN/pg_ctl" -D "$CLUSTER" -m fast -w stop >/dev/null); }

# psql as the superuser of that cluster, run by the user who called the script, so that it reads that user's files.
psql_cluster() { PGCLIENTENCODING=UTF8 "$RUN_BIN/psql" -X -q -P pager=off -v ON_ERROR_STOP=1 -h "$SOCKETS" -U postgres -d postgres "$@"; }

# One value from that cluster.
ask() { psql_cluster -At -F ' ' -c "$1"; }

# Whether all tables and indexes of that cluster are sound, of every database: each row is in each index once, and no block
# is damaged (pg_amcheck). Arguments: options of pg_amcheck.
# shellcheck disable=SC2120  # some have none
pages_are_sound() {
    local log=$BUILD/log/amcheck.log tables
    mkdir -p "$BUILD/log"
    if ! (cd "$WORK" && "$RUN_BIN/pg_amcheck" -h "$SOCKETS" -U postgres --all --install-missing --heapallindexed \
        --parent-check --verbose "$@") >"$log" 2>&1; then
        grep -vE '^pg_amcheck: (checking|including|in database)' "$log" | head -n 40 >&2
        note "pg_amcheck found what is above (all it said: ${log#"$ROOT"/})."
        return 1
    fi
    tables=$(grep -cE 'checking heap table ".*\.site_stats\.' "$log" || true)
    if [ "$tables" = 0 ]; then
        note "pg_amcheck saw no table of site_stats (all it said: ${log#"$ROOT"/})."
        return 1
    fi
    note "pg_amcheck finds nothing in $tables tables of site_stats and their $(grep -cE 'checking btree index ".*\.site_stats\.' "$log") indexes"
}

# ---- the chaos run -------------------------------------------------------------------------------------------------

chaos_driver() {
    (cd "$WORK" && as_server_user perl "$RUN_TESTS/chaos/run.pl" "$RUN_BIN" "$CLUSTER" "$SOCKETS" "$SERVER_LOG" "$@")
}

# Runs that many cycles of tests/chaos on a cluster of their own, which must be sound afterwards: run_chaos SEED CYCLES
run_chaos() {
    start_cluster "$(cat tests/chaos/postgresql.conf)"
    interruptible chaos_driver "$@" || return
    start_server # the driver has stopped it
    pages_are_sound || return
    stop_cluster
}
