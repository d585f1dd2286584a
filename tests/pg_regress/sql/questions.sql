-- The questions of docs/reports.md, and their answers; tests/check-readme compares the two. The history is made up, and
-- the same each time: three months of a shop, some 1,400 visits. What looks like chance is a hash.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
SET datestyle = ISO, YMD;
SET intervalstyle = postgres;
TRUNCATE site_stats.page_views;
INSERT INTO site_stats.origins (source, referrer, medium, campaign, channel) VALUES
('Google', 'www.google.com/', NULL, NULL, 'Organic Search'),
('DuckDuckGo', 'duckduckgo.com/', NULL, NULL, 'Organic Search'),
('ChatGPT', 'chatgpt.com/', NULL, NULL, 'AI Assistants'),
('news.ycombinator.com', 'news.ycombinator.com/item', NULL, NULL, 'Referral'),
('newsletter', NULL, 'email', 'winter-sale', 'Email'),
('newsletter', NULL, 'email', 'new-shoes', 'Email'),
('Google', 'www.google.com/', 'cpc', 'brand', 'Paid Search');
INSERT INTO site_stats.clients (browser, os, device, country, language) VALUES
('Firefox', 'Linux', 'desktop', 'DE', 'de-DE'),
('Chrome', 'Windows', 'desktop', 'DE', 'de-DE'),
('Safari', 'iOS', 'mobile', 'FR', 'fr-FR'),
('Chrome', 'Android', 'mobile', 'PT', 'pt-PT'),
('Safari', 'macOS', 'desktop', NULL, 'en-GB');

CREATE TEMPORARY TABLE origins AS
SELECT row_number() OVER (ORDER BY o.id) AS place, o.id
FROM (SELECT id FROM site_stats.origins ORDER BY id DESC LIMIT 7) AS o;
CREATE TEMPORARY TABLE clients AS
SELECT row_number() OVER (ORDER BY c.id) AS place, c.id
FROM (SELECT id FROM site_stats.clients ORDER BY id DESC LIMIT 5) AS c;
CREATE TEMPORARY TABLE shop (place integer, path text, page_type text);
INSERT INTO shop VALUES
(0, '/', 'home'), (1, '/shoes', 'page'), (2, '/shoes/red', 'page'), (3, '/cart', 'page'), (4, '/order', 'page'),
(5, '/blog/laces', 'blog'), (6, '/blog/soles', 'blog'), (7, '/contact', 'page');

CREATE FUNCTION pick(n integer, what text, choices integer) RETURNS integer LANGUAGE sql IMMUTABLE
AS $$ SELECT ('x' || left(md5(n || what), 7))::bit(28)::integer % choices $$;
-- A visit begins in the middle of a day more often than at night, and at a weekend less often. Three origins of ten are
-- none.
CREATE TEMPORARY TABLE visits AS
SELECT
    v.n,
    'visitor-' || pick(v.n, 'session', 700) AS session_id,
    v.begins_at,
    pick(v.n, 'origin', 10) AS origin,
    1 + pick(v.n, 'client', 5) AS client,
    1 + pick(v.n, 'pages', 7) * pick(v.n, 'more', 4) / 4 AS pages
FROM (
    SELECT
        n,
        timestamptz '2025-01-01 00:00+00' + pick(n, 'day', 90) * interval '1 day'
        + (pick(n, 'one', 43200) + pick(n, 'other', 43200)) * interval '1 s' AS begins_at
    FROM generate_series(1, 1600) AS n
) AS v
WHERE extract(isodow FROM v.begins_at) < 6 OR pick(v.n, 'weekend', 2) = 0;
-- Readers from a search or a news site come to the blog, others to the front page or the shoes. Then they go on.
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, origin_id, client_id)
SELECT
    s.path,
    s.page_type,
    v.session_id,
    v.begins_at + i * (25 + pick(v.n, 'pause', 150)) * interval '1 s',
    CASE WHEN i = 0 THEN o.id END,
    c.id
FROM visits AS v
JOIN clients AS c ON c.place = v.client
LEFT JOIN origins AS o ON o.place = v.origin
CROSS JOIN generate_series(0, v.pages - 1) AS i
JOIN shop AS s ON s.place = CASE
    WHEN i > 0 THEN (pick(v.n, 'begin', 3) + i * (1 + pick(v.n, 'stride', 3) / 2) + v.origin % 2) % 8
    WHEN v.origin IN (1, 2, 4) THEN 5 + pick(v.n, 'entry', 3) % 2
    ELSE pick(v.n, 'entry', 3) % 2
END
ORDER BY v.begins_at, v.n, i;
CALL site_stats.write_spans();
-- The document begins.

SELECT * FROM site_stats.summary('2025-01-01', '2025-03-31');

SELECT starts_at::date AS week, visitors, visits, views
FROM site_stats.timeline('week', '2025-01-01', '2025-02-02');

SELECT
    to_char(starts_at, 'YYYY-MM') AS month,
    visitors,
    round(views::numeric / visits, 2) AS pages_of_a_visit,
    round(100.0 * bounces / NULLIF(entries, 0)) AS bounce_percent
FROM site_stats.timeline('month', '2025-01-01', '2025-03-31')
ORDER BY starts_at;

SELECT
    COALESCE(m.value, f.value, 'direct') AS channel,
    COALESCE(f.visitors, 0) AS february,
    COALESCE(m.visitors, 0) AS march,
    round(100.0 * m.visitors / f.visitors - 100) AS percent
FROM site_stats.breakdown('channel', '2025-02-01', '2025-02-28') AS f
FULL JOIN site_stats.breakdown('channel', '2025-03-01', '2025-03-31') AS m
    ON COALESCE(m.value, '') = COALESCE(f.value, '')
ORDER BY march DESC, channel;

SELECT value AS source, visitors, views FROM site_stats.breakdown('source', '2025-03-01', '2025-03-31');

SELECT value AS campaign, entries, round(100.0 * bounces / entries, 1) AS bounce_percent
FROM site_stats.breakdown('campaign', filters => '{"campaign": {"like": "%"}}')
WHERE entries > 0
ORDER BY bounce_percent, campaign;

SELECT value AS entry_path, entries
FROM site_stats.breakdown('entry_path', filters => '{"channel": ["Organic Search", "Paid Search"]}')
ORDER BY entries DESC;

SELECT make_interval(secs => seconds / NULLIF(entries, 0)) AS stay
FROM site_stats.summary(filters => '{"country": "DE"}');

SELECT value AS path, visitors, views
FROM site_stats.breakdown('path', filters => '{"device": "mobile"}', max_rows => 3);

SELECT value AS weekday, visits FROM site_stats.breakdown('weekday') ORDER BY value;

SELECT d.weekday, h.value::integer AS hour, h.visitors, h.views
FROM generate_series(1, 7) AS d (weekday)
CROSS JOIN LATERAL site_stats.breakdown('hour', filters => jsonb_build_object('weekday', d.weekday::text)) AS h
ORDER BY h.visitors DESC, h.views DESC, d.weekday, hour
LIMIT 3;

SELECT value AS path, exits, round(100.0 * exits / views) AS exit_percent
FROM site_stats.breakdown('path', max_rows => 1000)
ORDER BY exits DESC
LIMIT 4;

SELECT
    value AS entry_path,
    entries,
    round(100.0 * bounces / entries) AS bounce_percent,
    seconds / entries AS mean_seconds
FROM site_stats.breakdown('entry_path')
WHERE entries > 0
ORDER BY entries DESC;

SELECT COALESCE(value, 'direct') AS source, visitors, views
FROM site_stats.breakdown('source', filters => '{"path": {"like": "/blog/%"}}', max_rows => 3);

SELECT p.path, s.visits, s.visitors
FROM unnest(ARRAY['/shoes', '/cart', '/order']) WITH ORDINALITY AS p (path, place)
CROSS JOIN LATERAL site_stats.summary(filters => jsonb_build_object('path', p.path)) AS s
ORDER BY p.place;

SELECT value AS path, views
FROM site_stats.breakdown('path', filters => '{"source": {"not": "Google"}, "weekday": ["6", "7"]}', max_rows => 3);

SELECT starts_at, visitors, views
FROM site_stats.timeline('hour', '2025-03-12', '2025-03-12')
WHERE views > 0
LIMIT 4;

SELECT value AS browser, round(100.0 * visits / sum(visits) OVER (), 1) AS percent
FROM site_stats.breakdown('browser', max_rows => 1000);

-- The document ends.
SELECT * FROM site_stats.check_totals();
DROP FUNCTION pick(integer, text, integer);
TRUNCATE site_stats.page_views;
DELETE FROM site_stats.origins;
DELETE FROM site_stats.clients;
