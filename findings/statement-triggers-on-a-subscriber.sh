#!/usr/bin/env bash
# Guess:     a trigger that is ENABLE ALWAYS fires on a subscriber for what is replicated. One FOR EACH STATEMENT with a transition
#            table, the cheap way to keep counts, then gets the rows of each change, or at worst never fires.
# Versions:  PostgreSQL 15 of Debian 12 (15.18).
# Behaviour: it is neither. The initial copy of the table fires it, with all rows. No later INSERT, UPDATE or DELETE does, without a
#            warning: only row triggers fire. TRUNCATE fires it again.
# Seen:      see `expected` below.
# Concerns:  who keeps totals by statement triggers on a subscriber: they are right when the copy ends, which is when one looks, then
#            stand still while rows arrive, and a TRUNCATE sets them to nothing.
set -euo pipefail
export LC_ALL=C

bin=/usr/lib/postgresql/15/bin
folder=$(mktemp -d)
as=()
[ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
stop() {
    [ ! -f "$folder/data/postmaster.pid" ] || "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop > /dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
cd "$folder"
[ "$(id -u)" -ne 0 ] || chown nobody .

"${as[@]}" "$bin/initdb" -D data -U owner -A trust -N > /dev/null
"${as[@]}" "$bin/pg_ctl" -D data -l log -w -o "-k $folder -c listen_addresses= -c wal_level=logical" start > /dev/null
ask() { "$bin/psql" -h "$folder" -U owner -XqAt -v ON_ERROR_STOP=1 -d "$@"; }

ask postgres -c 'CREATE DATABASE publisher' -c 'CREATE DATABASE subscriber'
ask publisher << EOF
CREATE TABLE views (id integer PRIMARY KEY, path text);
INSERT INTO views VALUES (1, '/a'), (2, '/b'), (3, '/c');
CREATE PUBLICATION views FOR TABLE views;
SELECT FROM pg_create_logical_replication_slot('views', 'pgoutput');
EOF
ask subscriber << EOF
CREATE TABLE views (id integer PRIMARY KEY, path text);
CREATE TABLE fired (number integer GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
    INSERT INTO public.fired (what) SELECT tg_op || ' of a statement with ' || count(*) || ' rows' FROM moved;
    RETURN NULL;
END \$\$;
CREATE FUNCTION plain() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
    INSERT INTO public.fired (what) VALUES (tg_op || ' of a ' || lower(tg_level));
    RETURN NULL;
END \$\$;
CREATE TRIGGER inserted AFTER INSERT ON views REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION moved();
CREATE TRIGGER updated AFTER UPDATE ON views REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION moved();
CREATE TRIGGER deleted AFTER DELETE ON views REFERENCING OLD TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION moved();
CREATE TRIGGER truncated AFTER TRUNCATE ON views FOR EACH STATEMENT EXECUTE FUNCTION plain();
CREATE TRIGGER each AFTER INSERT OR UPDATE OR DELETE ON views FOR EACH ROW EXECUTE FUNCTION plain();
ALTER TABLE views ENABLE ALWAYS TRIGGER inserted;
ALTER TABLE views ENABLE ALWAYS TRIGGER updated;
ALTER TABLE views ENABLE ALWAYS TRIGGER deleted;
ALTER TABLE views ENABLE ALWAYS TRIGGER truncated;
ALTER TABLE views ENABLE ALWAYS TRIGGER each;
CREATE SUBSCRIPTION views CONNECTION 'host=$folder dbname=publisher user=owner' PUBLICATION views
WITH (create_slot = false, slot_name = 'views');
EOF

until_true() {
    for _ in {1..300}; do
        [ "$(ask "$@")" != t ] || return 0
        sleep 0.1
    done
    echo "Not so in 30 s: $*" >&2
    exit 1
}
applied() {
    local end
    end=$(ask publisher -c 'SELECT pg_current_wal_lsn()')
    until_true publisher -c "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots WHERE slot_name = 'views'"
}
fired() {
    echo "$1:"
    ask subscriber -c "SELECT '  ' || what || CASE count(*) WHEN 1 THEN '' ELSE ', ' || count(*) || ' times' END
        FROM fired GROUP BY what ORDER BY min(number)"
    ask subscriber -c 'TRUNCATE fired'
}

until_true subscriber -c "SELECT srsubstate = 'r' FROM pg_subscription_rel"
fired 'The copy of three rows' > seen
ask publisher -c "INSERT INTO views SELECT i, '/d' FROM generate_series(4, 8) AS i"
applied
fired 'INSERT of five rows' >> seen
ask publisher -c "UPDATE views SET path = '/e' WHERE id <= 2"
applied
fired 'UPDATE of two rows' >> seen
ask publisher -c 'DELETE FROM views WHERE id = 1'
applied
fired 'DELETE of one row' >> seen
ask publisher -c 'TRUNCATE views'
applied
fired 'TRUNCATE' >> seen

expected='The copy of three rows:
  INSERT of a row, 3 times
  INSERT of a statement with 3 rows
INSERT of five rows:
  INSERT of a row, 5 times
UPDATE of two rows:
  UPDATE of a row, 2 times
DELETE of one row:
  DELETE of a row
TRUNCATE:
  TRUNCATE of a statement'
cat seen
! grep -E 'WARNING|ERROR' log || { echo 'The log of the server was to be quiet.' >&2; exit 1; }
[ "$(cat seen)" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
