-- Two grants make a role that records views; it can do nothing else. Three more make a reader.
\set VERBOSITY terse
TRUNCATE site_stats.page_views;
CREATE ROLE regress_web;
CREATE ROLE regress_reader;
CREATE ROLE regress_inserter;
GRANT USAGE ON SCHEMA site_stats TO regress_web, regress_reader, regress_inserter;
GRANT EXECUTE ON FUNCTION site_stats.record_page_view, site_stats.heartbeat TO regress_web;
GRANT EXECUTE ON FUNCTION site_stats.get_stats, site_stats.top_pages, site_stats.views_by_day, site_stats.active_pages
TO regress_reader;
GRANT SELECT ON site_stats.backfill_progress TO regress_reader;
GRANT INSERT ON site_stats.page_views TO regress_inserter;
GRANT CREATE ON SCHEMA public TO regress_web;

SET ROLE regress_web;
SELECT site_stats.record_page_view('/', 'home', 's');
SELECT site_stats.heartbeat('s', '/');
SELECT * FROM site_stats.page_views;
SELECT * FROM site_stats.path_totals;
SELECT * FROM site_stats.daily_totals;
SELECT * FROM site_stats.site_totals;
SELECT * FROM site_stats.sessions;
SELECT * FROM site_stats.active_sessions;
SELECT * FROM site_stats.content;
SELECT * FROM site_stats.backfill_state;
SELECT * FROM site_stats.backfill_requests;
SELECT * FROM site_stats.backfill_progress;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's');
UPDATE site_stats.site_totals SET visitors = 0;
DELETE FROM site_stats.page_views;
TRUNCATE site_stats.page_views;
SELECT nextval('site_stats.page_views_id_seq');
SELECT site_stats.get_stats();
SELECT site_stats.top_pages();
SELECT site_stats.views_by_day();
SELECT site_stats.active_pages();
SELECT site_stats.check_totals();
SELECT site_stats.start_backfill();
SELECT site_stats.stop_backfill();
SELECT site_stats.wait_for_backfill();
SELECT site_stats.begin_backfill();
SELECT site_stats.backfill_turn();
SELECT site_stats.resume_backfill();
SELECT site_stats.cleanup_stale_sessions();
SELECT site_stats.fold_totals();
CALL site_stats.backfill();
-- Forged counts: neither the trigger function, nor a trigger or a child of the table, is for this role.
CREATE TABLE forged (id bigint, path text, page_type text, session_id text, viewed_at timestamptz);
CREATE TRIGGER forged AFTER INSERT ON forged REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_page_views();
CREATE TRIGGER again AFTER INSERT ON site_stats.page_views
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_page_views();
CREATE TABLE child () INHERITS (site_stats.page_views);
CREATE TABLE site_stats.mine (id bigint);
DROP TABLE forged;
-- No setting that decides what is counted is for this role.
SET site_stats.dedup_window = 0;
SET site_stats.max_views_per_minute = 0;
SET site_stats.session_timeout = 1;
SET site_stats.heartbeat_window = 0;
SET site_stats.counter_slots = 1;
SET site_stats.backfill_batch_size = 1;
-- Every advisory key that this role can take blocks nothing.
SELECT count(pg_advisory_lock(c, k)) FROM generate_series(21249, 21253) AS c, generate_series(0, 3) AS k;
SELECT count(pg_advisory_lock(k)) FROM generate_series(0, 100) AS k;
SELECT site_stats.record_page_view('/two', 'page', 's');
SELECT pg_advisory_unlock_all();
-- A search_path of the role's own changes nothing.
CREATE TABLE pg_temp.page_views (id bigint, path text);
CREATE FUNCTION public.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT 1 / 0';
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''epoch''::timestamptz';
SET search_path = pg_temp, public, pg_catalog;
SELECT site_stats.record_page_view('/three', 'page', 's');
SELECT site_stats.heartbeat('s', '/three');
RESET search_path;
DROP FUNCTION public.octet_length(text), public.now();
RESET ROLE;

SET ROLE regress_reader;
SELECT total_page_views, unique_visitors, total_paths, active_visitors FROM site_stats.get_stats();
SELECT path, views FROM site_stats.top_pages();
SELECT sum(views) FROM site_stats.views_by_day();
SELECT * FROM site_stats.active_pages();
SELECT count(status) FROM site_stats.backfill_progress;
SELECT * FROM site_stats.page_views;
SELECT site_stats.record_page_view('/', 'home', 's');
RESET ROLE;

-- INSERT on the table is enough to be counted.
SET ROLE regress_inserter;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/inserted', 't');
COPY site_stats.page_views (path, session_id) FROM stdin WITH (DELIMITER ',');
/inserted,u
\.
SELECT * FROM site_stats.path_totals;
RESET ROLE;
SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats();
SELECT * FROM site_stats.check_totals();

-- Policies on the table hide rows from whoever reads it, and from no statistic.
ALTER TABLE site_stats.page_views ENABLE ROW LEVEL SECURITY;
ALTER TABLE site_stats.page_views FORCE ROW LEVEL SECURITY;
CREATE POLICY nothing ON site_stats.page_views USING (false) WITH CHECK (true);
SET ROLE regress_reader;
SELECT total_page_views, unique_visitors, total_paths, source FROM site_stats.get_stats();
RESET ROLE;
SELECT site_stats.begin_backfill() > 0 AS begun;
SET ROLE regress_reader;
SELECT total_page_views, unique_visitors, total_paths, source FROM site_stats.get_stats();
RESET ROLE;
SELECT split_part(site_stats.start_backfill(), ':', 1);
SELECT site_stats.wait_for_backfill();
SET ROLE regress_web;
SELECT site_stats.record_page_view('/behind a policy', 'page', 's');
SELECT site_stats.record_page_view('/behind a policy', 'page', 's');
RESET ROLE;
SELECT total_page_views, unique_visitors, total_paths, source FROM site_stats.get_stats();
SELECT * FROM site_stats.check_totals();
DROP POLICY nothing ON site_stats.page_views;
ALTER TABLE site_stats.page_views NO FORCE ROW LEVEL SECURITY;
ALTER TABLE site_stats.page_views DISABLE ROW LEVEL SECURITY;

-- An empty schema of another role, as a dump makes it first, is taken over. Nothing is left of the rights in it.
-- (Not so by the released versions: IF NOT EXISTS keeps the test of updates from taking one of them here.)
\set SHOW_CONTEXT never
\set VERBOSITY default
DROP EXTENSION site_stats;
DROP SCHEMA site_stats;
CREATE SCHEMA site_stats AUTHORIZATION regress_web;
GRANT ALL ON SCHEMA site_stats TO regress_reader, PUBLIC;
CREATE EXTENSION IF NOT EXISTS site_stats;
SELECT
    n.nspowner = (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = current_user) AS is_taken_over,
    (SELECT count(*) FROM aclexplode(n.nspacl) AS a WHERE a.grantee <> n.nspowner) AS rights_of_others
FROM pg_namespace AS n
WHERE n.nspname = 'site_stats';
DROP EXTENSION site_stats;
DROP SCHEMA site_stats;
-- A schema with anything in it is refused.
CREATE SCHEMA site_stats;
CREATE FUNCTION site_stats.trap() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION IF NOT EXISTS site_stats;
DROP SCHEMA site_stats CASCADE;
-- Nor can the script be made to call anything of a search_path.
CREATE SCHEMA evil;
CREATE FUNCTION evil.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT 1 / 0';
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''epoch''::timestamptz';
SET search_path = evil, pg_catalog;
CREATE EXTENSION site_stats;
RESET search_path;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 's');
SELECT viewed_at > '2026-01-01' AS now FROM site_stats.page_views;
SELECT * FROM site_stats.check_totals();
\set VERBOSITY terse
DROP SCHEMA evil CASCADE;
REVOKE CREATE ON SCHEMA public FROM regress_web;
REVOKE ALL ON SCHEMA public FROM regress_web;
DROP OWNED BY regress_web, regress_reader, regress_inserter;
DROP ROLE regress_web, regress_reader, regress_inserter;
