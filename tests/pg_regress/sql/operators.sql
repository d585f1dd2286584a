-- The queries of docs/operators.md, which tests/check-readme compares with these. What they print is of the server and
-- of the moment; that they run is not.
\o /dev/null
-- The document begins.

SELECT * FROM site_stats.check_totals();

SELECT source FROM site_stats.get_stats();

SELECT status, percent, remaining, worker_pid, last_error FROM site_stats.backfill_progress;

SELECT tgname FROM pg_trigger WHERE tgrelid = 'site_stats.page_views'::regclass AND tgenabled = 'D';

SELECT count(*) FROM site_stats.path_totals WHERE slot > 0;

SELECT site_stats.fold_totals(5000);

SELECT count(*) FROM site_stats.page_views WHERE id > (SELECT cursor FROM site_stats.span_state);

SELECT count(*) FROM site_stats.loose_sessions;

SELECT relname, n_live_tup, n_dead_tup, last_autovacuum FROM pg_stat_user_tables WHERE schemaname = 'site_stats';

SELECT * FROM site_stats.check_totals();

SELECT relname, pg_size_pretty(pg_total_relation_size(relid)) AS size
FROM pg_stat_user_tables WHERE schemaname = 'site_stats' ORDER BY pg_total_relation_size(relid) DESC;

SELECT cursor, latest, target, announced_at, is_settled, visit_timeout, format FROM site_stats.span_state;

-- The document ends.
\o
SELECT * FROM site_stats.check_totals();
