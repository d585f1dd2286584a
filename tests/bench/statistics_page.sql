-- For pgbench: the statistics page from the page views.
SELECT * FROM bench.statistics_page;
