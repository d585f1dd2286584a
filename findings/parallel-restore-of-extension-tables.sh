#!/usr/bin/env bash
# Guess:     pg_dump orders the configuration tables of an extension by their foreign keys, so pg_restore keeps to that, with -j too.
# Versions:  PostgreSQL 15 of Debian 12 (15.18).
# Behaviour: the order of the entries in the archive is right, and nothing else says so: the rows of a table depend on their table, which
#            has no entry, and not on the rows that they refer to. pg_restore -j loads both tables at once. The foreign key is there
#            since CREATE EXTENSION, so rows that come before those they refer to are refused (23503); the restore goes on without
#            them and exits with 1. The same two tables outside of an extension get their foreign key from an entry of its own, after
#            all rows. With one job all is restored.
# Seen:      see `expected` below. A lock on the table that is referred to, until the other has failed, stands in for the race.
# Concerns:  who gives an extension two tables with a foreign key and marks both by pg_extension_config_dump: backups that are restored
#            with -j lose the referring table, or do not, as it happens. Who restores them can do without -j.
set -euo pipefail
export LC_ALL=C

installed=/usr/lib/postgresql/15
folder=$(mktemp -d)
as=()
[ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
bin=$folder$installed/bin
stop() {
    [ ! -f "$folder/data/postmaster.pid" ] || "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop > /dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
cd "$folder"

# The server looks for extensions at a place relative to its own, so that a copy of it may have one more.
mkdir -p usr/lib/postgresql usr/share/postgresql
cp -r "$installed" usr/lib/postgresql/15
cp -rL /usr/share/postgresql/15 usr/share/postgresql/15
extensions=usr/share/postgresql/15/extension
echo "default_version = '1'" > "$extensions/two_tables.control"
cat > "$extensions/two_tables--1.sql" << 'EOF'
CREATE TABLE views (page integer NOT NULL);
CREATE TABLE pages (id integer PRIMARY KEY);
ALTER TABLE views ADD FOREIGN KEY (page) REFERENCES pages;
SELECT pg_extension_config_dump('views', '');
SELECT pg_extension_config_dump('pages', '');
EOF
[ "$(id -u)" -ne 0 ] || chown -R nobody .

"${as[@]}" "$bin/initdb" -D data -U owner -A trust -N > /dev/null
"${as[@]}" "$bin/pg_ctl" -D data -l log -w -o "-k $folder -c listen_addresses=" start > /dev/null
export PGHOST=$folder PGUSER=owner
ask() { "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -d "$@"; }

ask postgres -c 'CREATE DATABASE original' -c 'CREATE DATABASE serial' -c 'CREATE DATABASE parallel'
ask original << 'EOF'
CREATE EXTENSION two_tables;
CREATE TABLE own_views (page integer NOT NULL);
CREATE TABLE own_pages (id integer PRIMARY KEY);
ALTER TABLE own_views ADD CONSTRAINT own_key FOREIGN KEY (page) REFERENCES own_pages;
INSERT INTO pages VALUES (1);
INSERT INTO views VALUES (1);
INSERT INTO own_pages VALUES (1);
INSERT INTO own_views VALUES (1);
EOF
"$bin/pg_dump" -Fc -f dump original
"$bin/pg_restore" -l -v dump > entries

# What the entries of the archive about views depend on, of the entries that it has.
awk '
    /^[0-9]+;/ { id = $1 + 0; name[id] = $0; sub(/^[0-9]+; [0-9]+ [0-9]+ /, "", name[id]); sub(/ owner$/, "", name[id]) }
    /^;\tdepends on:/ { sub(/.*: /, ""); needs[id] = $0 }
    END {
        for (id in name) {
            if (name[id] !~ /DATA.*views|FK/)
                continue
            count = split(needs[id], ids, " ")
            there = ""
            for (place = 1; place <= count; place++)
                if (ids[place] in name)
                    there = there (there == "" ? "" : ", ") name[ids[place]]
            print name[id] ": " (there == "" ? "nothing" : there)
        }
    }' entries | sort > seen

rows() {
    local table
    for table in pages views own_pages own_views; do
        echo "$table $(ask "$1" -c "SELECT count(*) FROM $table")"
    done | paste -s -d ,
}

code=0
"$bin/pg_restore" -d serial dump 2> errors || code=$?
echo "one job: exit code $code, $(rows serial)" >> seen

# CREATE EXTENSION IF NOT EXISTS of the dump finds the extension. The lock keeps COPY out of pages, and lets keys be looked up.
ask parallel -c 'CREATE EXTENSION two_tables'
ask parallel -c 'BEGIN' -c 'LOCK TABLE pages IN SHARE MODE' -c 'SELECT pg_sleep(60)' > /dev/null 2>&1 &
locks="SELECT count(*) FROM pg_locks WHERE relation = 'pages'::regclass AND mode = 'ShareLock'"
for _ in {1..100}; do
    [ "$(ask parallel -c "$locks")" = 0 ] || break
    sleep 0.1
done
"$bin/pg_restore" -j 2 -d parallel dump 2> errors &
restore=$!
for _ in {1..200}; do
    ! grep -q 'violates foreign key' log || break
    sleep 0.1
done
ask postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'" > /dev/null
code=0
wait "$restore" || code=$?
echo "two jobs: exit code $code, $(rows parallel)" >> seen
sed -n 's/.*COPY failed for table/COPY failed for table/p' errors >> seen

expected='FK CONSTRAINT public own_views own_key: TABLE public own_pages, CONSTRAINT public own_pages own_pages_pkey, TABLE public own_views
TABLE DATA public own_views: TABLE public own_views
TABLE DATA public views: nothing
one job: exit code 0, pages 1,views 1,own_pages 1,own_views 1
two jobs: exit code 1, pages 1,views 0,own_pages 1,own_views 1
COPY failed for table "views": ERROR:  insert or update on table "views" violates foreign key constraint "views_page_fkey"'
cat seen
[ "$(cat seen)" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
