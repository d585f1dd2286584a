-- The reads: columns, order, limits, and days.
SET TIME ZONE 'America/New_York';
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.content, site_stats.active_sessions;
SELECT * FROM site_stats.views_by_day();
SELECT * FROM site_stats.top_pages();
SELECT * FROM site_stats.active_pages();

INSERT INTO site_stats.content (path, title, page_type, published) VALUES
    ('/blog/one', 'The first post', 'blog', true),
    ('/blog/two', 'The second post', 'blog', true),
    ('/blog/draft', 'A draft', 'blog', false),
    ('/about', 'About us', 'page', true);
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT p.path, 'recorded', 's' || i % 4, '2026-05-01 22:30:00+00'::timestamptz + i * interval '1 hour'
FROM (VALUES ('/', 5), ('/stats', 3), ('/blog/one', 4), ('/zoo', 2), ('/Zoo', 2), ('/other', 2)) AS p (path, views)
CROSS JOIN generate_series(1, p.views) AS i;

SELECT active_visitors, active_by_path, total_page_views, unique_visitors, published_posts, published_pages,
    tracking_since AT TIME ZONE 'UTC' AS tracking_since, total_paths, visitor_locations, source
FROM site_stats.get_stats() \gx
SELECT jsonb_pretty(page_stats) FROM site_stats.get_stats();
SELECT * FROM site_stats.top_pages();
SELECT * FROM site_stats.top_pages(2);
SELECT * FROM site_stats.top_pages(0);

-- Days are days in UTC, whatever the session's time zone; ranges are inclusive and may be open.
SELECT * FROM site_stats.views_by_day();
SELECT * FROM site_stats.views_by_day('2026-04-30', '2026-05-03');
SELECT * FROM site_stats.views_by_day(until => '2026-05-01');
SELECT * FROM site_stats.views_by_day(path => '/zoo');
SELECT * FROM site_stats.views_by_day('2026-05-01', '2026-05-01', '/nowhere');
SELECT * FROM site_stats.views_by_day('2026-05-02', '2026-05-01');
SELECT * FROM site_stats.top_pages(50, '2026-05-02');
SELECT * FROM site_stats.top_pages(50, NULL, '2026-05-01');
SELECT * FROM site_stats.top_pages(3, '2026-05-01', '2026-05-02');

-- The type of a path is that of its newest view; it outlives the view.
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
VALUES ('/zoo', 'newest', 's1', '2026-05-03 00:00:00+00');
SELECT path, page_type FROM site_stats.top_pages() WHERE path = '/zoo';
DELETE FROM site_stats.page_views WHERE page_type = 'newest';
SELECT path, page_type FROM site_stats.top_pages() WHERE path = '/zoo';

-- No more than 50 pages on the statistics page; every path is counted.
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
SELECT '/page/' || i, 's1', '2026-05-03 00:00:00+00' FROM generate_series(1, 100) AS i;
SELECT jsonb_array_length(page_stats), total_paths FROM site_stats.get_stats();
SELECT count(*) FROM site_stats.top_pages(1000);

-- Paths and types of every length, as rows keep them: with short and long headers, compressed, and elsewhere.
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT '/' || k.path, repeat('t', 1 + k.n % 64), 's' || k.n % 7, '2026-05-03 00:00:00+00'
FROM (
    SELECT n, repeat('x', n) AS path FROM generate_series(1, 300) AS n
    UNION ALL
    SELECT n, repeat('y', n) FROM generate_series(1900, 2047, 7) AS n
    UNION ALL
    SELECT n, left((SELECT string_agg(md5(n || '-' || i), '') FROM generate_series(1, 64) AS i), n)
    FROM generate_series(1900, 2047, 7) AS n
) AS k
CROSS JOIN generate_series(1, 1 + k.n % 3);
SELECT count(DISTINCT v.path) AS paths, count(DISTINCT pg_column_size(v.path)) >= 300 AS of_many_sizes
FROM site_stats.page_views AS v
WHERE v.path ~ '^/(x|y|[0-9a-f]{99})';
-- (/zoo has lost its newest view.)
CREATE VIEW misread AS
SELECT v.path, v.views, v.last_view_id, p.views AS read_views, p.last_view_id AS read_id
FROM (
    SELECT v.path, count(*) AS views, max(v.id) AS last_view_id FROM site_stats.page_views AS v GROUP BY v.path
) AS v
FULL JOIN site_stats.most_viewed_paths(1000) AS p ON p.path = v.path
WHERE (p.views, p.last_view_id) IS DISTINCT FROM (v.views, v.last_view_id) AND p.path IS DISTINCT FROM '/zoo';
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill(100);
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();
-- ... and when folding has moved them: in one transaction they find no more room in their pages, and go to the end.
DO $$ BEGIN
    FOR n IN 1..3 LOOP
        INSERT INTO site_stats.page_views (path, session_id, viewed_at)
        SELECT DISTINCT v.path, 's1', '2026-05-03 00:00:00+00'::timestamptz
        FROM site_stats.page_views AS v
        WHERE v.path ~ '^/(x|y|[0-9a-f]{99})';
        PERFORM FROM site_stats.get_stats();
    END LOOP;
END $$;
CREATE TABLE places AS SELECT t.path, t.ctid AS place FROM site_stats.path_totals AS t;
SELECT site_stats.fold_totals();
SELECT site_stats.fold_totals();
SELECT site_stats.fold_totals();
SELECT count(*) > 0 AS moved_from_elsewhere
FROM places AS p
INNER JOIN site_stats.path_totals AS t ON t.path = p.path
WHERE p.path ~ '^/[0-9a-f]{99}' AND octet_length(p.path) > 2000 AND t.ctid < p.place;
DROP TABLE places;
SELECT * FROM misread;
SELECT * FROM site_stats.check_totals();
DROP VIEW misread;
DELETE FROM site_stats.page_views AS v WHERE v.path ~ '^/(x|y|[0-9a-f]{99})';
SELECT * FROM site_stats.check_totals();

-- Reads write nothing, and answer in a read-only transaction.
BEGIN READ ONLY;
SELECT total_page_views FROM site_stats.get_stats();
SELECT count(*) FROM site_stats.top_pages();
SELECT count(*) FROM site_stats.views_by_day();
SELECT count(*) FROM site_stats.check_totals();
SELECT count(*) FROM site_stats.active_pages();
SELECT count(status) FROM site_stats.backfill_progress;
COMMIT;

-- What check_totals() says of counts that are wrong.
BEGIN;
UPDATE site_stats.path_totals SET views = views + 1 WHERE path = '/zoo';
UPDATE site_stats.daily_totals SET views = views - 1 WHERE path = '/Zoo';
UPDATE site_stats.path_totals SET day_views = day_views - 1 WHERE path = '/Zoo';
UPDATE site_stats.site_totals SET visitors = visitors + 7 WHERE slot = 0;
DELETE FROM site_stats.sessions WHERE session_id = 's1';
INSERT INTO site_stats.sessions SELECT 'ghost', epoch, 3 FROM site_stats.backfill_state;
CREATE TABLE child () INHERITS (site_stats.page_views);
SELECT * FROM site_stats.check_totals();
ROLLBACK;
SELECT * FROM site_stats.check_totals();
RESET TIME ZONE;
