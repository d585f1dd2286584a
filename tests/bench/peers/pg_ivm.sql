-- The peer pg_ivm: counters as materialized views that it maintains with each statement. Filled with the history of the
-- plain variant.

\set ON_ERROR_STOP on

CREATE EXTENSION pg_ivm;
CREATE SCHEMA peer_pg_ivm;
CREATE TABLE peer_pg_ivm.page_views (LIKE site_stats.page_views INCLUDING ALL);

INSERT INTO peer_pg_ivm.page_views (path, page_type, session_id, viewed_at)
SELECT v.path, v.page_type, v.session_id, v.viewed_at FROM plain.page_views AS v ORDER BY v.id;

-- pg_ivm gives each its unique index by itself.
SELECT pgivm.create_immv(
    'peer_pg_ivm.path_totals',
    'SELECT path, count(*) AS views FROM peer_pg_ivm.page_views GROUP BY path'
);
SELECT pgivm.create_immv(
    'peer_pg_ivm.daily_totals',
    'SELECT (viewed_at AT TIME ZONE ''UTC'')::date AS day, path, count(*) AS views FROM peer_pg_ivm.page_views GROUP BY 1, path'
);
SELECT pgivm.create_immv(
    'peer_pg_ivm.sessions',
    'SELECT session_id, count(*) AS views FROM peer_pg_ivm.page_views GROUP BY session_id'
);
