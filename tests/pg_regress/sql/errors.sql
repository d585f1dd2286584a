-- Every error, with its SQLSTATE and what it tells the user to do. Nothing is half written.
\set SHOW_CONTEXT never
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;

-- NULL, empty and long arguments.
SELECT site_stats.record_page_view(NULL, 'page', 's');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('/', 'page', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('', 'page', 's');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('/', '', 's');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('/', 'page', '');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('/' || repeat('x', 2048), 'page', 's');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('/' || repeat('é', 1024), 'page', 's');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('/', repeat('t', 65), 's');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.record_page_view('/', 'page', repeat('s', 129));
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat(NULL, '/');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('', '/');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', '');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat(repeat('s', 129), '/');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', repeat('x', 2049));
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', '/', city => repeat('c', 257));
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', '/', country => repeat('c', 257));
\echo :LAST_ERROR_SQLSTATE

-- Numbers out of range.
SELECT site_stats.heartbeat('s', '/', latitude => 90.5, longitude => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', '/', latitude => 0, longitude => -180.5);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', '/', latitude => 'NaN', longitude => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.heartbeat('s', '/', latitude => 0, longitude => 'Infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.cleanup_stale_sessions(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.cleanup_stale_sessions(-1);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.fold_totals(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.fold_totals(-1);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM site_stats.top_pages(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM site_stats.top_pages(-1);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM site_stats.top_pages(2147483648);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM site_stats.views_by_day('-infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM site_stats.views_by_day(until => '10000-01-01');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.start_backfill(0);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.start_backfill(100001);
\echo :LAST_ERROR_SQLSTATE
CALL site_stats.backfill(-1);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.backfill_turn(0);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.wait_for_backfill(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.wait_for_backfill('-1 second');
\echo :LAST_ERROR_SQLSTATE

-- The table says the same to COPY and INSERT.
\set VERBOSITY terse
INSERT INTO site_stats.page_views (path, session_id) VALUES ('', 's');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', '');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id) VALUES (NULL, 's');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', NULL);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
INSERT INTO site_stats.page_views (path, session_id) VALUES (repeat('x', 2049), 's');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', repeat('s', 129));
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, page_type, session_id) VALUES ('/', '', 's');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', 'infinity');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '-infinity');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '294276-12-31');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 's', '0044-03-15 BC');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (id, path, session_id) OVERRIDING SYSTEM VALUE VALUES (0, '/', 's');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO site_stats.page_views (id, path, session_id) OVERRIDING SYSTEM VALUE VALUES (-5, '/', 's');
\echo :LAST_ERROR_SQLSTATE
COPY site_stats.page_views (path, session_id) FROM stdin WITH (DELIMITER ',');
/,s
,s
\.
\echo :LAST_ERROR_SQLSTATE

\set VERBOSITY default
-- The wrong kind of transaction.
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
CALL site_stats.backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's');
BEGIN;
SELECT split_part(site_stats.start_backfill(), ':', 1);
SELECT site_stats.wait_for_backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.record_page_view('/', 'page', 's');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.heartbeat('s', '/');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.start_backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.stop_backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.begin_backfill();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.cleanup_stale_sessions();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.fold_totals();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- page_views without the primary key that batches go by.
BEGIN;
ALTER TABLE site_stats.page_views DROP CONSTRAINT page_views_id_pkey;
SELECT site_stats.begin_backfill() > 0 AS begun;
SAVEPOINT one;
SELECT site_stats.backfill_turn();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
ALTER TABLE site_stats.page_views ADD PRIMARY KEY (viewed_at, id);
SELECT site_stats.backfill_turn();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- Our trigger on another table, or at another time.
CREATE TABLE forged (LIKE site_stats.page_views);
CREATE TRIGGER forged AFTER INSERT ON forged REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_page_views();
INSERT INTO forged VALUES (1, '/forged', 'page', 's', now());
\echo :LAST_ERROR_SQLSTATE
DROP TABLE forged;
CREATE TRIGGER again AFTER INSERT ON site_stats.page_views FOR EACH ROW EXECUTE FUNCTION site_stats.count_page_views();
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/forged', 's');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER again ON site_stats.page_views;

-- The statistics of a moment between two changes of the same transaction.
BEGIN;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/between', 's');
DECLARE answer CURSOR FOR SELECT total_page_views FROM site_stats.get_stats();
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/between', 's');
FETCH answer;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- A function that has lost the one with its query.
BEGIN;
ALTER FUNCTION site_stats.get_stats_in_snapshot() RENAME TO lost;
SELECT * FROM site_stats.get_stats();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- The library's own functions, declared by a superuser under other names: an error, and the session lives.
BEGIN;
SAVEPOINT one;
CREATE FUNCTION stray() RETURNS bigint LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
CREATE FUNCTION site_stats.stray(a text, b integer) RETURNS TABLE (x integer)
LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
SAVEPOINT two;
SELECT stray();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO two;
SELECT * FROM site_stats.stray('a', 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO two;
CREATE FUNCTION stray_in_snapshot() RETURNS bigint LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
SELECT stray();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
CREATE FUNCTION stray_trigger() RETURNS trigger LANGUAGE c AS '$libdir/site_stats', 'read_statistics';
CREATE TABLE strayed (i integer);
CREATE TRIGGER stray AFTER INSERT ON strayed FOR EACH ROW EXECUTE FUNCTION stray_trigger();
INSERT INTO strayed VALUES (1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
CREATE FUNCTION no_trigger() RETURNS bigint LANGUAGE c AS '$libdir/site_stats', 'count_page_views_wrapper';
SELECT no_trigger();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO one;
CREATE FUNCTION row_trigger() RETURNS trigger LANGUAGE c AS '$libdir/site_stats', 'count_page_views_wrapper';
CREATE TRIGGER row_trigger BEFORE INSERT ON site_stats.page_views FOR EACH ROW EXECUTE FUNCTION row_trigger();
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/row', 's');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT site_stats.count_page_views();
\echo :LAST_ERROR_SQLSTATE

-- Settings.
SET site_stats.backfill_batch_size = 0;
\echo :LAST_ERROR_SQLSTATE
SET site_stats.counter_slots = 1025;
\echo :LAST_ERROR_SQLSTATE
SET site_stats.dedup_windw = 1;
\echo :LAST_ERROR_SQLSTATE

-- After all this: one view, and sound.
SELECT path, session_id FROM site_stats.page_views;
SELECT * FROM site_stats.active_sessions;
SELECT * FROM site_stats.check_totals();
