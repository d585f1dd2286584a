-- What the test of the page and the screenshots look at: a lively blog of 100 days up to now, a site with hostile
-- texts, and one without a page view. All follows from numbers and hashes of them, so each run makes the same, but for
-- the day.

\set ON_ERROR_STOP on

BEGIN;
INSERT INTO site_stats.sites (name, timezone) VALUES
    ('blog.example', 'Europe/Lisbon'), ('hostile', 'UTC'), ('new.example', 'UTC');

INSERT INTO site_stats.origins (source, referrer, medium, campaign, channel) VALUES
    ('Google', 'www.google.com/', NULL, NULL, 'Organic Search'),
    ('DuckDuckGo', 'duckduckgo.com/', NULL, NULL, 'Organic Search'),
    ('news.ycombinator.com', 'news.ycombinator.com/item', NULL, NULL, 'Referral'),
    ('Newsletter', NULL, 'email', 'spring-letter', 'Email'),
    ('ChatGPT', 'chatgpt.com/', NULL, NULL, 'AI Assistants'),
    ('Mastodon', 'mastodon.social/', NULL, NULL, 'Organic Social'),
    ('Google', 'www.google.com/', 'cpc', 'brand', 'Paid Search'),
    ('lobste.rs', 'lobste.rs/s/abc', NULL, NULL, 'Referral'),
    ('Bing', 'www.bing.com/', NULL, NULL, 'Organic Search'),
    ('Reddit', 'www.reddit.com/r/postgres', NULL, 'meetup & talks', 'Organic Social'),
    ('<script>alert(1)</script>', 'evil.example/"><img src=x>', 'a''b', '"><img src=x onerror=alert(1)>', '</style>');

INSERT INTO site_stats.clients (browser, os, device, country, language) VALUES
    ('Chrome', 'Windows', 'desktop', 'DE', 'de'),
    ('Safari', 'iOS', 'mobile', 'PT', 'pt-PT'),
    ('Firefox', 'Linux', 'desktop', 'US', 'en-US'),
    ('Chrome', 'Android', 'mobile', 'IN', 'en-IN'),
    ('Edge', 'Windows', 'desktop', 'GB', 'en-GB'),
    ('Safari', 'macOS', 'desktop', 'FR', 'fr'),
    ('Samsung Internet', 'Android', 'tablet', 'BR', 'pt-BR'),
    ('Chrome', 'macOS', 'desktop', 'US', 'en-US'),
    ('Firefox', 'Windows', 'desktop', 'TR', 'tr'),
    ('Chrome', 'Android', 'mobile', NULL, NULL),
    ('Safari', 'iPadOS', 'tablet', 'JP', 'ja'),
    ('<b>Browser</b>', '&amp;', 'other', '"', 'x''y');

-- A number from 0 to 1 that follows from a text.
CREATE FUNCTION pg_temp.part(text) RETURNS double precision LANGUAGE sql
AS $$ SELECT ('x' || substr(md5($1), 1, 7))::bit(28)::integer / 268435456.0 $$;

INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, origin_id, client_id, site_id)
SELECT
    (ARRAY[
        '/', '/blog/', '/blog/exact-counts', '/blog/spans-and-visits', '/about', '/pricing', '/docs/install',
        '/docs/reports', '/blog/why-we-left-the-document-database-and-did-not-look-back', '/blog/gr%C3%B6%C3%9Fe',
        '/contact', '/blog/a-day-with-triggers'
    ])[1 + floor(12 * power(pg_temp.part('page' || v.id || '.' || g.n), 2.2))::integer],
    'page',
    'visitor-' || v.id % 5600,
    v.at + g.n * make_interval(secs => 20 + floor(110 * pg_temp.part('stay' || v.id || '.' || g.n))),
    CASE
        WHEN g.n = 0 AND pg_temp.part('known' || v.id) < 0.72
            THEN o.first + floor(10 * power(pg_temp.part('origin' || v.id), 1.7))::integer
    END,
    CASE WHEN g.n = 0 THEN c.first + floor(11 * power(pg_temp.part('client' || v.id % 5600), 1.5))::integer END,
    site_stats.site_id('blog.example')
FROM (
    SELECT n AS id, now() - interval '100 days' * power(pg_temp.part('at' || n), 1.2) AS at
    FROM generate_series(1, 12000) AS n
    -- Few come by night and at weekends.
    WHERE pg_temp.part('hour' || n) < 0.6 + 0.4 * sin(
        (extract(hour FROM now() - interval '100 days' * power(pg_temp.part('at' || n), 1.2)) - 8) / 24 * 2 * pi()
    )
) AS v
CROSS JOIN LATERAL generate_series(
    0,
    CASE
        WHEN pg_temp.part('bounce' || v.id) < 0.46 THEN 0
        ELSE floor(1 + 4 * pg_temp.part('length' || v.id))::integer
    END
) AS g (n)
CROSS JOIN (SELECT min(id) AS first FROM site_stats.origins) AS o
CROSS JOIN (SELECT min(id) AS first FROM site_stats.clients) AS c
WHERE v.at < now() - interval '10 minutes';

INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, origin_id, client_id, site_id)
SELECT t.path, 'page', 'hostile-' || n, now() - make_interval(hours => n), o.id, c.id, site_stats.site_id('hostile')
FROM unnest(ARRAY[
    '/<script>alert(1)</script>', '/"><img src=x onerror=alert(1)>', '/'' onmouseover=''alert(1)',
    'javascript:alert(1)',
    '/a&b&lt;c', '/</style></title></svg><h1>x', '/' || repeat('x', 2000), '/' || repeat('<', 900)
]) WITH ORDINALITY AS t (path, number)
CROSS JOIN generate_series(1, 30) AS n
CROSS JOIN (SELECT max(id) AS id FROM site_stats.origins) AS o
CROSS JOIN (SELECT max(id) AS id FROM site_stats.clients) AS c;

SELECT count(site_stats.heartbeat(
    'here-' || n,
    (ARRAY['/', '/blog/exact-counts', '/pricing', '/docs/install', '/about'])[1 + n * n % 5],
    (ARRAY['Lisbon', 'Berlin', 'New York', 'São Paulo', 'Tokyo', 'Nairobi', 'Sydney', 'Mumbai', 'London', 'Toronto'])[
        1 + n * n % 10
    ],
    (ARRAY['Portugal', 'DE', 'US', 'BR', 'JP', 'KE', 'AU', 'IN', 'GB', 'CA'])[1 + n * n % 10],
    (ARRAY[38.7, 52.5, 40.7, -23.5, 35.7, -1.3, -33.9, 19.1, 51.5, 43.7])[1 + n * n % 10],
    (ARRAY[-9.1, 13.4, -74, -46.6, 139.7, 36.8, 151.2, 72.9, -0.1, -79.4])[1 + n * n % 10],
    'blog.example'
))
FROM generate_series(1, 37) AS n;
SELECT count(site_stats.heartbeat('h' || n, '/<script>alert(1)</script>', '<b>x</b>', '"&', n, n, 'hostile'))
FROM generate_series(1, 9) AS n;

SELECT count(site_stats.receive('{"site": "blog.example", "type": "view", "url": "/"}', '192.0.2.1', a.agent))
FROM generate_series(1, 214) AS n
CROSS JOIN LATERAL (SELECT 'curl/8.' || n AS agent) AS a;
COMMIT;

CALL site_stats.write_spans();
