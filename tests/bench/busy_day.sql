-- For pgbench: many page views of today, in a transaction that stays open for a moment, so that many are open at once.
-- Variables: first, the number of the first session; rows, how many page views; paths, over how many paths.
\set session :first + random(0, 1000000)
BEGIN;
INSERT INTO site_stats.page_views (path, page_type, session_id)
SELECT bench.path(floor(exp(ln((:paths + 0.5)::double precision) * random()))), 'blog', md5((:session + n / 4)::text)
FROM generate_series(1, :rows) AS n;
SELECT pg_sleep(1);
COMMIT;
