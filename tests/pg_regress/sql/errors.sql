-- Every error, with its SQLSTATE and what it tells the user to do. Nothing is half written.
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;
\pset format unaligned
\pset fieldsep ' | '

-- How statements fail, each in a subtransaction of its own.
CREATE FUNCTION raises(VARIADIC statements text[])
RETURNS TABLE (statement text, code text, message text, detail text, hint text)
LANGUAGE plpgsql
AS $$
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE statement;
            SELECT '00000', 'no error', '', '' INTO code, message, detail, hint;
        EXCEPTION
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS
                    code = RETURNED_SQLSTATE,
                    message = MESSAGE_TEXT,
                    detail = PG_EXCEPTION_DETAIL,
                    hint = PG_EXCEPTION_HINT;
                -- Without the backtrace of a server that has RUST_BACKTRACE in its environment.
                detail := regexp_replace(detail, '\n +0: .*', '');
        END;
        RETURN NEXT;
    END LOOP;
END
$$;

-- NULL, empty and long arguments.
SELECT * FROM raises(
    $$SELECT site_stats.record_page_view(NULL, 'page', 's')$$,
    $$SELECT site_stats.record_page_view('/', 'page', NULL)$$,
    $$SELECT site_stats.record_page_view('', 'page', 's')$$,
    $$SELECT site_stats.record_page_view('/', '', 's')$$,
    $$SELECT site_stats.record_page_view('/', 'page', '')$$,
    $$SELECT site_stats.record_page_view('/' || repeat('x', 2048), 'page', 's')$$,
    $$SELECT site_stats.record_page_view('/' || repeat('é', 1024), 'page', 's')$$,
    $$SELECT site_stats.record_page_view('/', repeat('t', 65), 's')$$,
    $$SELECT site_stats.record_page_view('/', 'page', repeat('s', 129))$$,
    $$SELECT site_stats.heartbeat(NULL, '/')$$,
    $$SELECT site_stats.heartbeat('s', NULL)$$,
    $$SELECT site_stats.heartbeat('', '/')$$,
    $$SELECT site_stats.heartbeat('s', '')$$,
    $$SELECT site_stats.heartbeat(repeat('s', 129), '/')$$,
    $$SELECT site_stats.heartbeat('s', repeat('x', 2049))$$,
    $$SELECT site_stats.heartbeat('s', '/', city => repeat('c', 257))$$,
    $$SELECT site_stats.heartbeat('s', '/', country => repeat('c', 257))$$
);

-- Numbers and dates out of range.
SELECT * FROM raises(
    $$SELECT site_stats.heartbeat('s', '/', latitude => 90.5, longitude => 0)$$,
    $$SELECT site_stats.heartbeat('s', '/', latitude => 0, longitude => -180.5)$$,
    $$SELECT site_stats.heartbeat('s', '/', latitude => 'NaN', longitude => 0)$$,
    $$SELECT site_stats.heartbeat('s', '/', latitude => 0, longitude => 'Infinity')$$,
    'SELECT site_stats.cleanup_stale_sessions(NULL)',
    'SELECT site_stats.cleanup_stale_sessions(-1)',
    'SELECT site_stats.fold_totals(NULL)',
    'SELECT site_stats.fold_totals(-1)',
    'SELECT * FROM site_stats.top_pages(NULL)',
    'SELECT * FROM site_stats.top_pages(-1)',
    'SELECT * FROM site_stats.top_pages(2147483648)',
    $$SELECT * FROM site_stats.views_by_day('-infinity')$$,
    $$SELECT * FROM site_stats.views_by_day(until => '10000-01-01')$$,
    'SELECT site_stats.start_backfill(0)',
    'SELECT site_stats.start_backfill(100001)',
    'SELECT site_stats.backfill_turn(0)',
    'SELECT site_stats.wait_for_backfill(NULL)',
    $$SELECT site_stats.wait_for_backfill('-1 second')$$
);

-- The table says the same to INSERT. (The detail would be the row, with its id and the time.)
SELECT statement, code, message, hint FROM raises(
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES ('', 's')$$,
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', '')$$,
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES (NULL, 's')$$,
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', NULL)$$,
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES (repeat('x', 2049), 's')$$,
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', repeat('s', 129))$$,
    $$INSERT INTO site_stats.page_views (path, page_type, session_id) VALUES ('/', '', 's')$$,
    $$INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', 'infinity')$$,
    $$INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '-infinity')$$,
    $$INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '294276-12-31')$$,
    $$INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '0044-03-15 BC')$$,
    $$INSERT INTO site_stats.page_views (id, path, session_id) OVERRIDING SYSTEM VALUE VALUES (0, '/', 's')$$,
    $$INSERT INTO site_stats.page_views (id, path, session_id) OVERRIDING SYSTEM VALUE VALUES (-5, '/', 's')$$
);

-- A text that is compressed or kept elsewhere has its own length.
CREATE TABLE stored (name text, value text);
ALTER TABLE stored ALTER COLUMN value SET STORAGE EXTENDED;
INSERT INTO stored VALUES ('compressed', repeat('x', 2048)), ('longer', repeat('x', 2049));
ALTER TABLE stored ALTER COLUMN value SET STORAGE EXTERNAL;
INSERT INTO stored VALUES ('elsewhere', repeat('x', 2049));
SELECT name, pg_column_size(value) < 2048 AS is_compressed, site_stats.is_path(value) FROM stored;
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) SELECT value, 's' FROM stored WHERE name = 'compressed';
SELECT statement, code, message FROM raises(
    $$INSERT INTO site_stats.page_views (path, session_id) SELECT value, 's' FROM stored WHERE name = 'longer'$$,
    $$INSERT INTO site_stats.page_views (path, session_id) SELECT value, 's' FROM stored WHERE name = 'elsewhere'$$
);
ROLLBACK;

-- The first and the last time that a page view can have.
SELECT t.viewed_at AT TIME ZONE 'UTC' AS utc, site_stats.is_time_of_view(t.viewed_at)
FROM (
    VALUES
        ('1970-01-01 00:00:00+00'::timestamptz - interval '1 microsecond'),
        ('1970-01-01 00:00:00+00'),
        ('10000-01-01 00:00:00+00'::timestamptz - interval '1 microsecond'),
        ('10000-01-01 00:00:00+00')
) AS t (viewed_at);

-- A transaction that must not write.
BEGIN READ ONLY;
SELECT * FROM raises(
    $$SELECT site_stats.record_page_view('/', 'page', 's')$$,
    $$SELECT site_stats.heartbeat('s', '/')$$,
    'SELECT site_stats.start_backfill()',
    'SELECT site_stats.stop_backfill()',
    'SELECT site_stats.begin_backfill()',
    'SELECT site_stats.cleanup_stale_sessions()',
    'SELECT site_stats.fold_totals()'
);
ROLLBACK;

-- page_views without the primary key that batches go by.
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's');
BEGIN;
ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey;
SELECT site_stats.begin_backfill() > 0 AS begun;
SELECT * FROM raises('SELECT site_stats.backfill_turn()');
ALTER TABLE site_stats.page_views ADD PRIMARY KEY (viewed_at, id);
SELECT * FROM raises('SELECT site_stats.backfill_turn()');
ROLLBACK;

-- Our trigger on another table, at another time, or as no trigger.
BEGIN;
CREATE TABLE forged (LIKE site_stats.page_views);
CREATE TRIGGER forged AFTER INSERT ON forged REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_page_views();
CREATE TRIGGER again AFTER INSERT ON site_stats.page_views
FOR EACH ROW EXECUTE FUNCTION site_stats.count_page_views();
SELECT * FROM raises(
    $$INSERT INTO forged VALUES (1, '/forged', 'page', 's', now(), 1)$$,
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES ('/forged', 's')$$,
    'SELECT site_stats.count_page_views()'
);
ROLLBACK;

-- Errors of PostgreSQL keep their names and places in a session that has counted page views.
CREATE FUNCTION names_in_error(statement text)
RETURNS TABLE (code text, schema_name text, table_name text, constraint_name text)
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE statement;
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS
            code = RETURNED_SQLSTATE,
            schema_name = SCHEMA_NAME,
            table_name = TABLE_NAME,
            constraint_name = CONSTRAINT_NAME;
        RETURN NEXT;
END
$$;
BEGIN;
CREATE TABLE checked (a integer);
INSERT INTO checked VALUES (1);
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's');
SELECT * FROM names_in_error('ALTER TABLE checked ADD CONSTRAINT none CHECK (a > 1)');
SELECT * FROM names_in_error('ALTER TABLE checked ADD CONSTRAINT one CHECK (a = 1); INSERT INTO checked VALUES (2)');
SELECT * FROM names_in_error($$INSERT INTO site_stats.page_views (path, session_id) VALUES ('', 's')$$);
ROLLBACK;
DROP FUNCTION names_in_error(text);

-- A function that has lost the one with its query.
BEGIN;
ALTER FUNCTION site_stats.get_stats_in_snapshot RENAME TO lost;
SELECT * FROM raises('SELECT * FROM site_stats.get_stats()');
ROLLBACK;

-- The library's own functions, declared by a superuser under other names: an error, and the session lives.
BEGIN;
CREATE FUNCTION stray() RETURNS bigint LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
CREATE FUNCTION site_stats.stray(a text, b integer) RETURNS TABLE (x integer)
LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
SELECT * FROM raises('SELECT stray()', $$SELECT * FROM site_stats.stray('a', 1)$$);
CREATE FUNCTION stray_in_snapshot() RETURNS bigint LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
CREATE FUNCTION stray_trigger() RETURNS trigger LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
CREATE TABLE strayed (i integer);
CREATE TRIGGER stray AFTER INSERT ON strayed FOR EACH ROW EXECUTE FUNCTION stray_trigger();
CREATE FUNCTION no_trigger() RETURNS bigint LANGUAGE c AS '$libdir/site_stats', 'count_page_views_wrapper';
CREATE FUNCTION row_trigger() RETURNS trigger LANGUAGE c AS '$libdir/site_stats', 'count_page_views_wrapper';
CREATE TRIGGER row_trigger BEFORE INSERT ON site_stats.page_views FOR EACH ROW EXECUTE FUNCTION row_trigger();
SELECT * FROM raises(
    'SELECT stray()',
    'INSERT INTO strayed VALUES (1)',
    'SELECT no_trigger()',
    $$INSERT INTO site_stats.page_views (path, session_id) VALUES ('/row', 's')$$
);
ROLLBACK;

-- Settings.
SELECT * FROM raises(
    'SET site_stats.backfill_batch_size = 0',
    'SET site_stats.counter_slots = 1025',
    'SET site_stats.dedup_windw = 1'
);

-- What only a statement by itself can do: be in the wrong kind of transaction, commit, read from the client, or go by a
-- cursor that is older than the transaction's last change.
\set SHOW_CONTEXT never
CALL site_stats.backfill(-1);
\echo :LAST_ERROR_SQLSTATE
BEGIN;
CALL site_stats.backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
CALL site_stats.await_backfill(NULL);
\echo :LAST_ERROR_SQLSTATE
CALL site_stats.await_backfill('-1 second');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
CALL site_stats.await_backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT site_stats.begin_backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT site_stats.backfill_turn();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT site_stats.fold_totals();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
SELECT split_part(site_stats.start_backfill(), ':', 1);
SELECT site_stats.wait_for_backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/between', 's');
DECLARE answer CURSOR FOR SELECT total_page_views FROM site_stats.get_stats();
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/between', 's');
FETCH answer;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- (psql does not tell the SQLSTATE of a COPY in LAST_ERROR_SQLSTATE, so there are two.)
\set VERBOSITY terse
COPY site_stats.page_views (path, session_id) FROM stdin WITH (DELIMITER ',');
/,s
,s
\.
\set VERBOSITY sqlstate
COPY site_stats.page_views (path, session_id) FROM stdin WITH (DELIMITER ',');
/,s
,s
\.

-- After all this: one view, and sound.
SELECT path, session_id FROM site_stats.page_views;
SELECT * FROM site_stats.active_sessions;
SELECT * FROM site_stats.check_totals();
DROP FUNCTION raises(text[]);
