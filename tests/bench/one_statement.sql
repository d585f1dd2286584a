-- Builds all aggregates of the page views by one query for each table, in one transaction, and prints the seconds.

\set ON_ERROR_STOP on

SELECT clock_timestamp() AS began_at \gset
BEGIN;
INSERT INTO one_statement.path_totals (path, views, page_type, last_view_id)
SELECT p.path, p.views, v.page_type, p.last_view_id
FROM (SELECT w.path, count(*) AS views, max(w.id) AS last_view_id FROM site_stats.page_views AS w GROUP BY w.path) AS p
JOIN site_stats.page_views AS v ON v.id = p.last_view_id;

INSERT INTO one_statement.daily_totals (day, path, views)
SELECT (v.viewed_at AT TIME ZONE 'UTC')::date, v.path, count(*)
FROM site_stats.page_views AS v
GROUP BY 1, 2;

INSERT INTO one_statement.sessions (session_id, views)
SELECT v.session_id, count(*)
FROM site_stats.page_views AS v
GROUP BY v.session_id;

INSERT INTO one_statement.site_totals (views, visitors)
SELECT sum(s.views), count(*)
FROM one_statement.sessions AS s;
COMMIT;
SELECT extract(epoch FROM clock_timestamp() - :'began_at'::timestamptz);
