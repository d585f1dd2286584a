-- For pgbench: one page view, as a site's own code writes it, into the page_views of the search path. Sessions come one
-- after another, some hundred of them at a time, and have four page views on average.
-- Variables: first, the number of the first session; clients; n, 0.
\set n :n + 1
\set rank random_zipfian(1, 1000, 1.05)
\set session :first + :n * :clients / 4 + random(0, 50 * :clients)
INSERT INTO page_views (path, page_type, session_id) VALUES ('/blog/post-' || :rank, 'blog', md5(:session));
