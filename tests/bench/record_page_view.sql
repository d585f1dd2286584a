-- For pgbench: the page views of insert.sql through record_page_view().
-- Variables: first, the number of the first session; clients; n, 0.
\set n :n + 1
\set rank random_zipfian(1, 1000, 1.05)
\set session :first + :n * :clients / 4 + random(0, 50 * :clients)
SELECT site_stats.record_page_view('/blog/post-' || :rank, 'blog', md5(:session));
