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
