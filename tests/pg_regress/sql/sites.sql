-- Sites: each has its own numbers, whatever a statement does to page views of several of them; and they go with it.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;

INSERT INTO site_stats.sites (name) VALUES ('blog'), ('shop');
SELECT name, timezone, hosts, excluded_addresses, excluded_paths, kept_parameters FROM site_stats.sites ORDER BY id;
CREATE FUNCTION site(wanted text) RETURNS smallint LANGUAGE sql
AS 'SELECT id FROM site_stats.sites WHERE name = wanted';

-- What the aggregates say of each site, beside a direct count: a difference is a row.
CREATE VIEW misread AS
WITH truth AS (
    SELECT
        s.name,
        count(v.id) AS views,
        count(DISTINCT v.session_id) AS visitors,
        count(DISTINCT v.path) AS paths,
        min(v.viewed_at) AS since
    FROM site_stats.sites AS s
    LEFT JOIN site_stats.page_views AS v ON v.site_id = s.id
    GROUP BY s.name
)
SELECT t.*, g.total_page_views, g.unique_visitors, g.total_paths, g.tracking_since, p.views AS top, d.views AS days
FROM truth AS t
CROSS JOIN LATERAL site_stats.get_stats(t.name) AS g
CROSS JOIN LATERAL (
    SELECT COALESCE(sum(p.views), 0) AS views FROM site_stats.top_pages(100000, site => t.name) AS p
) AS p
CROSS JOIN LATERAL (SELECT COALESCE(sum(d.views), 0) AS views FROM site_stats.views_by_day(site => t.name) AS d) AS d
WHERE (g.total_page_views, g.unique_visitors, g.total_paths, g.tracking_since, p.views, d.views)
    IS DISTINCT FROM (t.views, t.visitors, t.paths, t.since, t.views::numeric, t.views::numeric);

-- The same path and the same session id on two sites are two pages and two visitors.
SELECT
    site_stats.record_page_view('/', 'page', 's') AS first,
    site_stats.record_page_view('/', 'page', 's', 'blog') AS blog,
    site_stats.record_page_view('/', 'page', 's', 'blog') AS again,
    site_stats.record_page_view('/', 'page', 's', site => 'shop') AS shop;
SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats();
SELECT total_page_views, unique_visitors, total_paths FROM site_stats.get_stats('blog');
SELECT * FROM misread;

-- Heartbeats: a session can be active on two sites.
SELECT
    site_stats.heartbeat('s', '/') AS first,
    site_stats.heartbeat('s', '/blog', site => 'blog') AS blog,
    site_stats.heartbeat('s', '/blog', site => 'blog') AS again;
SELECT * FROM site_stats.active_pages();
SELECT * FROM site_stats.active_pages('blog');
SELECT active_visitors, active_by_path FROM site_stats.get_stats('blog');

-- Titles are of a site.
INSERT INTO site_stats.content (path, title) VALUES ('/', 'First');
INSERT INTO site_stats.content (path, title, page_type, site_id) VALUES ('/', 'Blog', 'blog', site('blog'));
SELECT * FROM site_stats.top_pages();
SELECT * FROM site_stats.top_pages(site => 'blog');
SELECT * FROM site_stats.top_pages(site => 'shop');
SELECT published_posts, published_pages FROM site_stats.get_stats('blog');

-- Statements over several sites.
INSERT INTO site_stats.page_views (path, session_id, viewed_at, site_id)
SELECT '/' || i % 7, 's' || i % 11, timestamptz '2026-01-01 00:00:00+00' + i * interval '1 hour', s.id
FROM generate_series(1, 100) AS i
CROSS JOIN site_stats.sites AS s;
SELECT * FROM misread;
UPDATE site_stats.page_views SET site_id = site('shop') WHERE session_id = 's3' AND site_id = 1;
UPDATE site_stats.page_views SET site_id = CASE site_id WHEN 1 THEN site('blog') ELSE 1 END
WHERE path = '/2' AND site_id IN (1, site('blog'));
DELETE FROM site_stats.page_views WHERE path = '/3';
COPY site_stats.page_views (path, session_id, viewed_at, site_id) FROM stdin (FORMAT csv);
/copied,c,2026-02-01 00:00:00+00,1
\.
COPY site_stats.page_views (path, session_id, viewed_at) FROM stdin (FORMAT csv);
/copied,d,2026-02-01 00:00:00+00
\.
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();

-- In mid-backfill, too, and after it.
SELECT site_stats.begin_backfill() > 0 AS begun;
SELECT * FROM misread;
SELECT site_stats.backfill_turn(100);
SELECT * FROM misread;
UPDATE site_stats.page_views SET site_id = site('blog') WHERE session_id = 's5' AND site_id <> 1;
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();
DO $$ BEGIN WHILE site_stats.backfill_turn(50) LOOP END LOOP; END $$;
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();

-- Each difference is said with its site; one site alone can be checked.
BEGIN;
UPDATE site_stats.path_totals SET views = views + 1 WHERE path = '/4' AND site_id <> 1 AND slot = 0;
SELECT * FROM site_stats.check_totals();
SELECT * FROM site_stats.check_totals('shop');
SELECT * FROM site_stats.check_totals('');
ROLLBACK;

-- Folding, in slots of several sites.
BEGIN;
UPDATE site_stats.path_totals SET slot = 3 WHERE path IN ('/4', '/5');
UPDATE site_stats.site_totals SET slot = 3;
UPDATE site_stats.daily_totals SET slot = 3 WHERE path IN ('/5', '/6');
COMMIT;
SELECT site_stats.fold_totals(10000) > 0 AS folded;
SELECT count(*) FROM site_stats.path_totals WHERE slot <> 0;
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();

-- A site with a small part of the rows is read by the primary key, and gives the same.
INSERT INTO site_stats.page_views (path, session_id) SELECT '/many/' || i, 'm' FROM generate_series(1, 5000) AS i;
SELECT count(*) > 40 AS blocks FROM generate_series(1, pg_relation_size('site_stats.path_totals') / 8192);
SELECT * FROM misread;
DELETE FROM site_stats.page_views WHERE session_id = 'm';

-- What is not there.
CREATE FUNCTION outcome(statement text)
RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION
    WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT outcome(s)
FROM unnest(ARRAY[
    'SELECT site_stats.record_page_view(''/'', ''page'', ''s'', ''none'')',
    'SELECT site_stats.record_page_view(''/'', ''page'', ''s'', NULL)',
    'SELECT site_stats.heartbeat(''s'', ''/'', site => ''none'')',
    'SELECT * FROM site_stats.get_stats(''none'')',
    'SELECT * FROM site_stats.top_pages(site => ''none'')',
    'SELECT * FROM site_stats.top_pages(site => NULL)',
    'SELECT * FROM site_stats.views_by_day(site => ''none'')',
    'SELECT * FROM site_stats.active_pages(''none'')',
    'SELECT * FROM site_stats.check_totals(''none'')',
    'INSERT INTO site_stats.page_views (path, session_id, site_id) VALUES (''/'', ''s'', 99)',
    'UPDATE site_stats.page_views SET site_id = 99 WHERE path = ''/4''',
    'INSERT INTO site_stats.page_views (path, session_id, site_id) VALUES (''/'', ''s'', NULL)',
    'INSERT INTO site_stats.sites (name) VALUES (''blog'')',
    'INSERT INTO site_stats.sites (name) VALUES (''''), (''x'')',
    'INSERT INTO site_stats.sites (name) VALUES (repeat(''x'', 129))',
    'INSERT INTO site_stats.sites (name, timezone) VALUES (''x'', ''Nowhere/Town'')',
    'INSERT INTO site_stats.sites (name, hosts) VALUES (''x'', ARRAY[NULL])',
    'INSERT INTO site_stats.sites (name, excluded_addresses) VALUES (''x'', ''{10.0.0.1/8}'')',
    'UPDATE site_stats.sites SET name = ''renamed'' WHERE id = 1',
    'UPDATE site_stats.sites SET id = DEFAULT WHERE name = ''blog''',
    'DELETE FROM site_stats.sites WHERE id = 1',
    'DELETE FROM site_stats.sites',
    'TRUNCATE site_stats.sites',
    'SELECT site_stats.site_id(''none'')'
]) AS s;
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();

-- A site that is made and taken back in one transaction is not remembered.
BEGIN;
INSERT INTO site_stats.sites (name) VALUES ('brief');
SELECT site_stats.record_page_view('/', 'page', 's', 'brief');
ROLLBACK;
SELECT outcome('SELECT site_stats.record_page_view(''/'', ''page'', ''s'', ''brief'')');
-- Neither is one that has another name now, or is gone with all that it had.
UPDATE site_stats.sites SET name = 'store' WHERE name = 'shop';
SELECT outcome('SELECT site_stats.record_page_view(''/'', ''page'', ''t'', ''shop'')');
SELECT site_stats.record_page_view('/', 'page', 't', 'store');
SELECT site_stats.heartbeat('t', '/', site => 'store');
SELECT * FROM misread;
SELECT site('store') AS store \gset
DELETE FROM site_stats.sites WHERE name IN ('store', 'blog');
SELECT outcome('SELECT site_stats.record_page_view(''/'', ''page'', ''t'', ''store'')');
SELECT replace(
    outcome(format('INSERT INTO site_stats.page_views (path, session_id, site_id) VALUES (''/'', ''t'', %s)', :store)),
    'site_id ' || :'store', 'site_id <store>'
);
SELECT DISTINCT site_id FROM (
    SELECT site_id FROM site_stats.page_views
    UNION ALL
    SELECT site_id FROM site_stats.content
    UNION ALL
    SELECT site_id FROM site_stats.active_sessions
) AS s;
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();

-- Page views from the future count, but they keep nobody out, keep nobody active, and stretch no chart.
TRUNCATE site_stats.page_views;
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/', 'f', now() + i * interval '1 year' FROM generate_series(1, 50) AS i;
SELECT
    site_stats.record_page_view('/', 'page', 'f') AS recorded,
    site_stats.record_page_view('/', 'page', 'f') AS again;
SELECT count(*), sum(views) FROM site_stats.views_by_day();
SELECT total_page_views FROM site_stats.get_stats();
SELECT sum(views) FROM site_stats.views_by_day(until => (now() + interval '51 years')::date);
TRUNCATE site_stats.active_sessions;
INSERT INTO site_stats.active_sessions VALUES ('f', '/', now() + interval '1 year'), ('g', '/', now());
SELECT * FROM site_stats.active_pages();
SELECT active_visitors FROM site_stats.get_stats();
SELECT site_stats.heartbeat('f', '/') AS beat, site_stats.heartbeat('f', '/') AS again;
SELECT * FROM site_stats.active_pages();
SELECT * FROM site_stats.check_totals();

TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;
TRUNCATE site_stats.content;
DROP VIEW misread;
DROP FUNCTION site(text);
DROP FUNCTION outcome(text);
