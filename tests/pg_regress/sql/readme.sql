-- The SQL of README.md, in a database of its own; tests/check-readme compares the two.
\set tests :DBNAME
CREATE DATABASE regress_readme ENCODING UTF8 LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c regress_readme
SET client_min_messages = notice;
SET datestyle = 'ISO';
SET TIME ZONE 'UTC';
-- The document begins.

CREATE EXTENSION site_stats;

SELECT site_stats.record_page_view('/', 'home', 'visitor-1');

SELECT site_stats.record_page_view('/', 'home', 'visitor-1');

SELECT site_stats.heartbeat('visitor-1', '/', 'Lisbon', 'Portugal', 38.72, -9.14);

INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES
    ('/', 'home', 'visitor-1', '2026-01-05 09:00:00+00'),
    ('/blog/hello', 'blog', 'visitor-1', '2026-01-05 09:01:00+00'),
    ('/', 'home', 'visitor-2', '2026-01-05 18:30:00+00'),
    ('/blog/hello', 'blog', 'visitor-2', '2026-01-07 08:15:00+00'),
    ('/about', 'page', 'visitor-3', '2026-01-07 23:59:59+00');

SELECT * FROM site_stats.get_stats() \gx

SELECT * FROM site_stats.top_pages(2);

SELECT * FROM site_stats.views_by_day('2026-01-05', '2026-01-08');

SELECT * FROM site_stats.check_totals();

SET session_replication_role = replica;
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT '/archive/' || n % 40, 'blog', 'visitor-' || n % 700, timestamptz '2025-12-01 00:00:00+00' + n * interval '1 min'
FROM generate_series(1, 10000) AS n;
RESET session_replication_role;
SELECT * FROM site_stats.check_totals() WHERE aggregate LIKE 'site_totals%';

SELECT site_stats.start_backfill();

CALL site_stats.await_backfill();

SELECT status, views_done, views_total, percent, sessions_found FROM site_stats.backfill_progress;

SELECT total_page_views, unique_visitors, total_paths, tracking_since, source FROM site_stats.get_stats();

SELECT * FROM site_stats.check_totals();

CREATE ROLE site_web LOGIN;
GRANT USAGE ON SCHEMA site_stats TO site_web;
GRANT EXECUTE ON FUNCTION site_stats.receive, site_stats.tracker TO site_web;
ALTER ROLE site_web SET log_parameter_max_length = 0;

CREATE ROLE site_reader LOGIN;
GRANT USAGE ON SCHEMA site_stats TO site_reader;
GRANT EXECUTE ON FUNCTION site_stats.get_stats, site_stats.top_pages, site_stats.views_by_day, site_stats.active_pages,
    site_stats.refusals
TO site_reader;
GRANT EXECUTE ON FUNCTION site_stats.summary, site_stats.timeline, site_stats.breakdown, site_stats.stats_page
TO site_reader;
GRANT SELECT ON site_stats.backfill_progress TO site_reader;

SELECT
    length(t.script) < 4000 AS is_small,
    t.script LIKE '%endpoint = ''/collect'';%' AS has_endpoint
FROM site_stats.tracker('/collect') AS t (script);

INSERT INTO site_stats.content (path, title, page_type, published) VALUES
    ('/blog/hello', 'Hello, world', 'blog', true),
    ('/about', 'About us', 'page', true);
SELECT * FROM site_stats.top_pages(2, '2026-01-01', '2026-01-31');

SELECT
    p.page LIKE '<!DOCTYPE html>%' AS is_document,
    octet_length(p.page) < 100000 AS is_small,
    p.page LIKE '%<script%' AS has_script
FROM site_stats.stats_page('{"period": "7d", "source": "Google", "path~": "/blog/%"}') AS p (page);

INSERT INTO site_stats.sites (name, hosts, excluded_addresses, excluded_paths, kept_parameters)
VALUES ('shop', '{shop.example}', '{10.0.0.0/8}', '{/admin%}', '{page}');
SELECT
    site_stats.receive(
        '{"site": "shop", "type": "view", "url": "https://shop.example/shoes?page=2&utm_source=news&utm_medium=email"}',
        '192.0.2.1', 'Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0', 'PT'
    ),
    site_stats.receive('{"site": "shop", "type": "view", "url": "https://shop.example/admin"}', '192.0.2.1'),
    site_stats.receive('{"site": "shop", "type": "view", "url": "https://shop.example/"}', '192.0.2.2', 'curl/8.0'),
    site_stats.receive('{"site": "shop", "type": "view", "url": "https://other.example/"}', '192.0.2.1');

SELECT v.path, o.source, o.channel, c.browser, c.os, c.device, c.country
FROM site_stats.page_views AS v
LEFT JOIN site_stats.origins AS o ON o.id = v.origin_id
LEFT JOIN site_stats.clients AS c ON c.id = v.client_id
WHERE v.site_id = site_stats.site_id('shop');

SELECT total_page_views, unique_visitors FROM site_stats.get_stats('shop');

SELECT reason, count FROM site_stats.refusals(site => 'shop');

DELETE FROM site_stats.sites WHERE name = 'shop';

INSERT INTO site_stats.sites (name, timezone) VALUES ('journal', 'Europe/Lisbon');
SELECT r.answer, count(*)
FROM (
    VALUES
    ('ana', 'phone', 'PT', '2025-07-14 09:00:00+00', '/', 'https://www.google.com/'),
    ('ana', 'phone', 'PT', '2025-07-14 09:02:00+00', '/blog/hello', NULL),
    ('ana', 'phone', 'PT', '2025-07-14 09:05:30+00', '/about', NULL),
    ('ben', 'laptop', 'DE', '2025-07-14 20:50:00+00', '/blog/hello', 'https://news.ycombinator.com/item?id=1'),
    ('cem', 'phone', 'TR', '2025-07-14 23:30:00+00', '/blog/hello', 'https://news.ycombinator.com/item?id=1'),
    ('cem', 'phone', 'TR', '2025-07-14 23:31:00+00', '/about', NULL),
    ('ana', 'phone', 'PT', '2025-07-16 08:00:00+00', '/?utm_source=newsletter&utm_medium=email', NULL)
) AS e (visitor, device, country, at, url, referrer)
JOIN (
    VALUES
    ('phone', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1'),
    ('laptop', 'Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0')
) AS a (device, agent) ON a.device = e.device
CROSS JOIN LATERAL site_stats.receive(
    jsonb_build_object(
        'site', 'journal', 'type', 'view', 'session', e.visitor, 'at', e.at, 'url', e.url, 'referrer', e.referrer
    ),
    NULL, a.agent, e.country
) AS r (answer)
GROUP BY r.answer;

SELECT * FROM site_stats.summary('2025-07-14', '2025-07-20', site => 'journal');

SELECT (starts_at AT TIME ZONE 'Europe/Lisbon')::date AS day, views, visitors, visits, bounces, seconds
FROM site_stats.timeline('day', '2025-07-14', '2025-07-17', site => 'journal');

SELECT * FROM site_stats.breakdown('source', site => 'journal');

SELECT value AS path, visitors, views
FROM site_stats.breakdown('path', filters => '{"device": "mobile", "channel": {"not": "Email"}}', site => 'journal');

DELETE FROM site_stats.sites WHERE name = 'journal';

COPY site_stats.page_views (path, page_type, session_id, viewed_at) FROM STDIN WITH (FORMAT csv);
/about,page,visitor-701,2026-01-08 10:00:00+00
/blog/hello,blog,visitor-702,2026-01-08 11:30:00+00
\.
SELECT total_page_views, unique_visitors, source FROM site_stats.get_stats();

SELECT site_stats.begin_backfill();

SELECT total_page_views, unique_visitors, source FROM site_stats.get_stats();

SELECT site_stats.backfill_turn(1000);

SELECT status, cursor, target, views_done, percent FROM site_stats.backfill_progress;

SELECT total_page_views, unique_visitors, source FROM site_stats.get_stats();

CALL site_stats.backfill();

LOAD 'site_stats';
SHOW site_stats.dedup_window;

DROP EXTENSION site_stats;
DROP SCHEMA site_stats;

-- The document ends.
\c :tests
DROP DATABASE regress_readme;
DROP ROLE site_web, site_reader;
