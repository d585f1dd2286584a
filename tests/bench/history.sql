-- Loads some page views of a history with the triggers off, so that nothing has counted them.
-- Variables: first and last, the numbers of these page views; views, how many the history has in all.

\set ON_ERROR_STOP on

SET session_replication_role TO replica;
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT * FROM bench.views(:first, :last, :views, 1000);
