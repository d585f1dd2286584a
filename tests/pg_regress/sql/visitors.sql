-- Visitors without a cookie: ids by the salt of the day, and what becomes of the salts.
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views, site_stats.active_sessions, site_stats.salts;
INSERT INTO site_stats.sites (name) VALUES ('blog');

-- The ids of this test are random, so it compares them.
CREATE TABLE ids AS
SELECT n, id
FROM (
    VALUES
        ('one', site_stats.visitor_id('192.0.2.1', 'a')), ('again', site_stats.visitor_id('192.0.2.1', 'a')),
        ('network', site_stats.visitor_id('192.0.2.1/24', 'a')),
        ('mapped', site_stats.visitor_id('::ffff:192.0.2.1', 'a')),
        ('other address', site_stats.visitor_id('192.0.2.2', 'a')),
        ('other agent', site_stats.visitor_id('192.0.2.1', 'b')),
        ('other site', site_stats.visitor_id('192.0.2.1', 'a', 'blog')),
        ('no agent', site_stats.visitor_id('192.0.2.1', NULL)),
        ('empty agent', site_stats.visitor_id('192.0.2.1', '')),
        ('no address', site_stats.visitor_id(NULL, 'a')),
        ('zero address', site_stats.visitor_id('0.0.0.0', 'a')),
        ('IPv6', site_stats.visitor_id('2001:db8::1', 'a'))
) AS i (n, id);
SELECT count(*), count(DISTINCT id), bool_and(id ~ '^[0-9a-f]{32}$') FROM ids;
SELECT string_agg(n, ', ') FROM ids WHERE id = (SELECT i.id FROM ids AS i WHERE i.n = 'one');
SELECT count(*), min(octet_length(salt)) FROM site_stats.salts;
SELECT day = (now() AT TIME ZONE 'UTC')::date AS is_today FROM site_stats.salts;

-- Nobody to tell.
SELECT site_stats.visitor_id(NULL, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.visitor_id('192.0.2.1', 'a', 'nowhere');
\echo :LAST_ERROR_SQLSTATE
SELECT site_stats.visitor_id('192.0.2.1', 'a', NULL);
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT site_stats.visitor_id('192.0.2.1', 'a');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- Everybody has the same salt, also if the one who made it rolls back.
TRUNCATE site_stats.salts;
BEGIN;
SELECT site_stats.visitor_id('192.0.2.1', 'a') AS rolled_back \gset
ROLLBACK;
\c
SELECT site_stats.visitor_id('192.0.2.1', 'a') = :'rolled_back' AS is_the_same;

-- receive() without a session takes the id of today, and so finds its own views.
SELECT
    site_stats.receive('{"type": "view", "url": "/a"}', '192.0.2.1', 'Mozilla/5.0 Firefox/125.0'),
    site_stats.receive('{"type": "view", "url": "/a"}', '192.0.2.1', 'Mozilla/5.0 Firefox/125.0'),
    site_stats.receive('{"type": "view", "url": "/a"}', '192.0.2.2', 'Mozilla/5.0 Firefox/125.0'),
    site_stats.receive('{"type": "view", "url": "/a", "site": "blog"}', '192.0.2.1', 'Mozilla/5.0 Firefox/125.0'),
    site_stats.receive('{"type": "view", "url": "/a"}', '192.0.2.1'),
    site_stats.receive('{"type": "heartbeat", "url": "/a"}', '192.0.2.1', 'Mozilla/5.0 Firefox/125.0'),
    site_stats.receive('{"type": "leave"}', '192.0.2.1', 'Mozilla/5.0 Firefox/125.0'),
    site_stats.receive('{"type": "leave"}', '192.0.2.1', 'Mozilla/5.0 Firefox/125.0');
SELECT count(*), count(DISTINCT session_id) FROM site_stats.page_views;
SELECT session_id = site_stats.visitor_id('192.0.2.1', 'Mozilla/5.0 Firefox/125.0', 'blog') AS is_it
FROM site_stats.page_views WHERE site_id <> 1;

-- A visit that goes on over midnight keeps its id. The owner makes midnight by dating the salt back: the view of a
-- minute ago is yesterday's then.
TRUNCATE site_stats.page_views;
SELECT site_stats.receive(
    jsonb_build_object('type', 'view', 'url', '/1', 'at', now() - interval '1 minute'), '192.0.2.1'
);
SELECT session_id AS yesterday FROM site_stats.page_views \gset
UPDATE site_stats.salts SET day = day - 1;
SELECT site_stats.visitor_id('192.0.2.1', NULL) = :'yesterday' AS is_the_same;
SELECT count(*), count(DISTINCT salt) FROM site_stats.salts;
SELECT
    site_stats.receive('{"type": "view", "url": "/2"}', '192.0.2.1'),
    site_stats.receive('{"type": "view", "url": "/2"}', '192.0.2.3');
SELECT
    path,
    session_id = :'yesterday' AS is_yesterdays,
    session_id = site_stats.visitor_id('192.0.2.1', NULL) AS is_todays
FROM site_stats.page_views ORDER BY id;
-- One that does not go on gets the new id.
SET site_stats.visit_timeout = '1s';
UPDATE site_stats.page_views SET viewed_at = viewed_at - interval '1 minute';
SELECT site_stats.receive('{"type": "view", "url": "/3"}', '192.0.2.1');
SELECT session_id = site_stats.visitor_id('192.0.2.1', NULL) AS is_todays
FROM site_stats.page_views WHERE path = '/3';
RESET site_stats.visit_timeout;

-- Once a salt is gone its ids cannot be made again: two days later whoever comes first overwrites it, and deletes its
-- row.
UPDATE site_stats.salts SET day = day - 2;
SELECT count(DISTINCT id) FROM (
    SELECT site_stats.visitor_id('192.0.2.1', NULL) AS id
    UNION ALL
    SELECT :'yesterday'
) AS i;
SELECT day - (now() AT TIME ZONE 'UTC')::date AS day, salt = '\x00000000000000000000000000000000' AS is_gone
FROM site_stats.salts ORDER BY day;
-- If that transaction rolls back, the salt is gone all the same, from the block of the table, too. The row goes later.
CREATE EXTENSION pageinspect;
TRUNCATE site_stats.salts;
INSERT INTO site_stats.salts VALUES ((now() AT TIME ZONE 'UTC')::date - 2, '\x0123456789abcdef0123456789abcdef');
SELECT position('\x0123456789abcdef0123456789abcdef' IN get_raw_page('site_stats.salts', 0)) > 0 AS is_there;
BEGIN;
SELECT site_stats.visitor_id('192.0.2.1', NULL) IS NULL AS is_null;
ROLLBACK;
SELECT position('\x0123456789abcdef0123456789abcdef' IN get_raw_page('site_stats.salts', 0)) > 0 AS is_there;
SELECT day - (now() AT TIME ZONE 'UTC')::date AS day, salt = '\x00000000000000000000000000000000' AS is_gone
FROM site_stats.salts ORDER BY day;
-- The clock went back to that day: it gets a new salt, and none of zeros is used.
UPDATE site_stats.salts SET day = '2000-01-01' WHERE day = (now() AT TIME ZONE 'UTC')::date;
UPDATE site_stats.salts SET day = day + 2 WHERE day > '2000-01-01';
SELECT site_stats.visitor_id('192.0.2.1', NULL) IS NULL AS is_null;
SELECT count(*), bool_or(salt = '\x00000000000000000000000000000000') AS has_zeros FROM site_stats.salts;

-- The table of the salts is what a dump, the log and others never have.
SELECT c.relpersistence, array_length(c.relacl, 1) AS roles
FROM pg_class AS c WHERE c.oid = 'site_stats.salts'::regclass;
SELECT 'site_stats.salts'::regclass = ANY (extconfig) AS is_dumped FROM pg_extension WHERE extname = 'site_stats';
CREATE TRIGGER spy BEFORE INSERT ON site_stats.salts FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
SELECT site_stats.visitor_id('192.0.2.1', NULL);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER spy ON site_stats.salts;

DROP EXTENSION pageinspect;
DROP TABLE ids;
DELETE FROM site_stats.sites WHERE name = 'blog';
TRUNCATE site_stats.page_views, site_stats.salts;
SELECT * FROM site_stats.check_totals();
