-- For pgbench: the statistics page from the aggregates.
SELECT * FROM site_stats.get_stats();
