-- Removal: forget_session() and remove_page_views(), what goes with a page view, and what stays.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;
TRUNCATE site_stats.origins, site_stats.clients;
INSERT INTO site_stats.sites (name) VALUES ('shop'), ('blog');

CREATE FUNCTION left_of(session text) RETURNS TABLE (views bigint, active bigint, sessions bigint) LANGUAGE sql AS $$
    SELECT
        (SELECT count(*) FROM site_stats.page_views AS v WHERE v.session_id = session),
        (SELECT count(*) FROM site_stats.active_sessions AS a WHERE a.session_id = session),
        (
            SELECT count(*)
            FROM site_stats.sessions AS s
            WHERE s.session_id = session AND s.site_id IN (SELECT t.id FROM site_stats.sites AS t)
        )
$$;
CREATE FUNCTION dictionaries() RETURNS TABLE (origins text, clients text) LANGUAGE sql AS $$
    SELECT
        (SELECT string_agg(o.source, ', ' ORDER BY o.source) FROM site_stats.origins AS o),
        (SELECT string_agg(c.browser, ', ' ORDER BY c.browser) FROM site_stats.clients AS c)
$$;

-- A visitor of one site goes; the same id on another site is another visitor.
INSERT INTO site_stats.page_views (path, session_id, site_id)
SELECT '/p' || i % 3, 'ann', t.id
FROM site_stats.sites AS t
CROSS JOIN generate_series(1, 5) AS i
WHERE t.name IN ('', 'shop');
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/p1', 'bob');
SELECT site_stats.heartbeat('ann', '/p1'), site_stats.heartbeat('ann', '/p1', site => 'shop');
SELECT site_stats.forget_session('ann');
SELECT * FROM left_of('ann');
SELECT site_stats.forget_session('ann');
SELECT total_page_views, unique_visitors FROM site_stats.get_stats();
SELECT total_page_views, unique_visitors, active_visitors FROM site_stats.get_stats('shop');
SELECT site_stats.forget_session('ann', 'blog'), site_stats.forget_session(site => 'shop', session_id => 'ann');
SELECT * FROM left_of('ann');
SELECT * FROM site_stats.check_totals();

-- A heartbeat without a page view goes, too.
SELECT site_stats.heartbeat('cem', '/p1');
SELECT site_stats.forget_session('cem');
SELECT * FROM left_of('cem');

-- Origins and clients that no other page view refers to go. Those of others stay, also of one's own id on another site.
WITH o AS (
    INSERT INTO site_stats.origins (source) VALUES ('shared'), ('of ann'), ('of ann elsewhere'), ('of nobody')
    RETURNING id, source
),
c AS (
    INSERT INTO site_stats.clients (browser) VALUES ('shared'), ('of ann'), ('of nobody') RETURNING id, browser
)
INSERT INTO site_stats.page_views (path, session_id, site_id, origin_id, client_id)
SELECT '/', n.session_id, s.id, o.id, c.id
FROM (
    VALUES
    ('ann', '', 'shared', 'shared'),
    ('ann', '', 'of ann', 'of ann'),
    ('ann', '', 'of ann', 'shared'),
    ('ann', '', 'of ann elsewhere', NULL),
    ('ann', 'shop', 'of ann elsewhere', NULL),
    ('bob', '', 'shared', 'shared'),
    ('bob', '', NULL, NULL)
) AS n (session_id, site, source, browser)
JOIN site_stats.sites AS s ON s.name = n.site
LEFT JOIN o ON o.source = n.source
LEFT JOIN c ON c.browser = n.browser;
SELECT site_stats.forget_session('ann');
SELECT * FROM dictionaries();
SELECT site_stats.forget_session('ann', 'shop');
SELECT * FROM dictionaries();
SELECT site_stats.forget_session('bob');
SELECT * FROM dictionaries();
SELECT count(*) FROM site_stats.page_views;
TRUNCATE site_stats.origins, site_stats.clients;
SELECT * FROM site_stats.check_totals();

-- A row of an older epoch goes, and so does a session that a batch has marked, wherever the backfill is.
INSERT INTO site_stats.page_views (path, session_id)
SELECT '/', s FROM unnest(ARRAY['ann', 'bob', 'cem', 'ann', 'bob', 'cem']) AS s;
SELECT FROM site_stats.begin_backfill();
SELECT site_stats.forget_session('ann');
SELECT * FROM left_of('ann');
SELECT site_stats.backfill_turn(1);
SELECT site_stats.forget_session('bob');
SELECT * FROM left_of('bob');
SELECT * FROM site_stats.check_totals();
DO $$ BEGIN WHILE site_stats.backfill_turn(1) LOOP END LOOP; END $$;
SELECT site_stats.forget_session('cem');
SELECT * FROM left_of('cem');
SELECT * FROM site_stats.check_totals();

-- Undone with its transaction, and exact inside it.
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'ann'), ('/', 'bob');
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO site_stats.page_views (path, session_id) VALUES ('/', 'ann');
SELECT site_stats.forget_session('ann');
SELECT total_page_views, unique_visitors FROM site_stats.get_stats();
ROLLBACK;
SELECT total_page_views, unique_visitors FROM site_stats.get_stats();
SELECT * FROM site_stats.check_totals();

-- Old page views in pieces: none of the time itself, the site with the oldest one first, of each site the oldest first.
TRUNCATE site_stats.page_views;
INSERT INTO site_stats.page_views (path, session_id, viewed_at, site_id)
SELECT '/' || i, 's' || i % 4, '2026-01-01 00:00+00'::timestamptz + (i || ' days')::interval, s.id
FROM generate_series(1, 10) AS i
CROSS JOIN site_stats.sites AS s
WHERE s.name <> 'shop' OR i <> 1;
CREATE FUNCTION remaining() RETURNS TABLE (site text, first date, last date, views bigint) LANGUAGE sql AS $$
    SELECT s.name, min(v.viewed_at)::date, max(v.viewed_at)::date, count(*)
    FROM site_stats.page_views AS v JOIN site_stats.sites AS s ON s.id = v.site_id GROUP BY s.name ORDER BY s.name
$$;
SELECT site_stats.remove_page_views('2026-01-06 00:00+00', 3);
SELECT * FROM remaining();
SELECT site_stats.remove_page_views('2026-01-06 00:00+00', 6);
SELECT * FROM remaining();
SELECT site_stats.remove_page_views('2026-01-06 00:00+00', 0);
SELECT site_stats.remove_page_views('2026-01-06 00:00+00');
SELECT site_stats.remove_page_views('2026-01-06 00:00+00');
SELECT * FROM remaining();
SELECT * FROM site_stats.check_totals();
SELECT day, views FROM site_stats.views_by_day(site => 'blog');

-- While a backfill is under way, too. A time after now takes all.
SELECT FROM site_stats.begin_backfill();
SELECT site_stats.backfill_turn(4);
SELECT site_stats.remove_page_views('2026-01-08 00:00+00', 3);
SELECT * FROM site_stats.check_totals();
SELECT site_stats.remove_page_views('2100-01-01 00:00+00', 1000);
DO $$ BEGIN WHILE site_stats.backfill_turn(4) LOOP END LOOP; END $$;
SELECT count(*) FROM site_stats.page_views;
SELECT * FROM site_stats.check_totals();

-- A piece is found by the index, however much there is.
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/', 's' || i % 50, '2026-01-01 00:00+00'::timestamptz + (i || ' minutes')::interval
FROM generate_series(1, 20000) AS i;
VACUUM ANALYZE site_stats.page_views;
BEGIN;
SELECT s.seq_scan FROM pg_stat_xact_all_tables AS s WHERE s.relid = 'site_stats.page_views'::regclass \gset
SELECT site_stats.remove_page_views('2026-02-01 00:00+00', 100), site_stats.forget_session('s1');
SELECT s.seq_scan - :seq_scan AS scans
FROM pg_stat_xact_all_tables AS s
WHERE s.relid = 'site_stats.page_views'::regclass;
COMMIT;
SELECT * FROM site_stats.check_totals();

-- What is refused.
\set VERBOSITY verbose
SELECT site_stats.forget_session(NULL);
SELECT site_stats.forget_session('');
SELECT site_stats.forget_session(repeat('x', 129));
SELECT site_stats.forget_session('ann', 'nowhere');
SELECT site_stats.forget_session('ann', NULL);
SELECT site_stats.remove_page_views(NULL);
SELECT site_stats.remove_page_views('2026-01-01 00:00+00', NULL);
SELECT site_stats.remove_page_views('2026-01-01 00:00+00', -1);
SELECT site_stats.remove_page_views('infinity');
SELECT site_stats.remove_page_views('-infinity');
\set VERBOSITY sqlstate
BEGIN READ ONLY;
SELECT site_stats.forget_session('ann');
ROLLBACK;
BEGIN READ ONLY;
SELECT site_stats.remove_page_views('2026-01-01 00:00+00');
ROLLBACK;
\set VERBOSITY default

DELETE FROM site_stats.sites WHERE name <> '';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;
DROP FUNCTION left_of(text);
DROP FUNCTION dictionaries();
DROP FUNCTION remaining();
SELECT * FROM site_stats.check_totals();
