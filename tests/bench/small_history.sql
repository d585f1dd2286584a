-- Gives each variant of the inserts the same history, counted, so that its tables and indexes have a size to speak of.
-- Variable: views, how many page views.

\set ON_ERROR_STOP on

INSERT INTO plain.page_views (path, page_type, session_id, viewed_at)
SELECT * FROM bench.views(1, :views, :views, 1000);

INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT * FROM bench.views(1, :views, :views, 1000);

BEGIN;
SET LOCAL session_replication_role TO replica;
INSERT INTO naive.page_views (path, page_type, session_id, viewed_at)
SELECT * FROM bench.views(1, :views, :views, 1000);
INSERT INTO naive.path_totals SELECT v.path, count(*) FROM naive.page_views AS v GROUP BY 1;
INSERT INTO naive.daily_totals
SELECT (v.viewed_at AT TIME ZONE 'UTC')::date, v.path, count(*) FROM naive.page_views AS v GROUP BY 1, 2;
INSERT INTO naive.sessions SELECT v.session_id, count(*) FROM naive.page_views AS v GROUP BY 1;
UPDATE naive.site_totals
SET views = (SELECT sum(t.views) FROM naive.path_totals AS t), visitors = (SELECT count(*) FROM naive.sessions);
COMMIT;
