-- Loads some page views of a site with 5,000 paths with the triggers off, so that nothing has counted them, and no span
-- has them.
-- Variables: first and last, the numbers of these page views; views, how many the history has in all; last_day.

\set ON_ERROR_STOP on

SET session_replication_role TO replica;
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, origin_id, client_id)
SELECT * FROM bench.site_views(:first, :last, :views, 5000, :'last_day');
