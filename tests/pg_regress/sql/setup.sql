-- The extension as every other test finds it: freshly made, empty.
CREATE EXTENSION site_stats;
SET TIME ZONE 'UTC';
SELECT * FROM site_stats.check_totals();
SELECT * FROM site_stats.get_stats() \gx
SELECT status, epoch, cursor, target, views_done, views_total, percent, worker_pid, restarts, last_error
FROM site_stats.backfill_progress \gx
