-- For pgbench: the page views of insert.sql through receive(), as a tracker sends them: with a referrer, one of thirty
-- campaigns and a user agent.
-- Variables: first, the number of the first session; clients; n, 0.
\set n :n + 1
\set rank random_zipfian(1, 1000, 1.05)
\set session :first + :n * :clients / 4 + random(0, 50 * :clients)
\set campaign random(1, 30)
SELECT site_stats.receive(
    jsonb_build_object(
        'type', 'view',
        'url', 'https://example.com/blog/post-' || :rank || '?utm_source=news&utm_campaign=campaign-' || :campaign,
        'referrer', 'https://www.google.com/',
        'session', md5(:session)
    ),
    '192.0.2.1',
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36'
);
