-- What a site calls: windows, limits, and who is here.
TRUNCATE site_stats.page_views;
TRUNCATE site_stats.active_sessions;

-- A second view of a path within the window is a duplicate, measured from the last recorded one.
SELECT site_stats.record_page_view('/', 'home', 'ann');
SELECT site_stats.record_page_view('/', 'home', 'ann');
SELECT site_stats.record_page_view('/', 'home', 'bob');
SELECT site_stats.record_page_view('/about', NULL, 'ann');
UPDATE site_stats.page_views SET viewed_at = viewed_at - interval '1801 seconds'
WHERE path = '/' AND session_id = 'ann';
SELECT site_stats.record_page_view('/', 'home', 'ann');
UPDATE site_stats.page_views SET viewed_at = viewed_at - interval '1790 seconds'
WHERE path = '/' AND session_id = 'ann';
SELECT site_stats.record_page_view('/', 'home', 'ann');
SELECT path, page_type, session_id, count(*) FROM site_stats.page_views GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SET site_stats.dedup_window = 0;
SELECT site_stats.record_page_view('/', 'home', 'bob');
RESET site_stats.dedup_window;

-- At most so many views of a session in a minute, duplicates not counted.
SET site_stats.max_views_per_minute = 3;
SELECT i, site_stats.record_page_view('/page/' || i, 'page', 'cem') FROM generate_series(1, 5) AS i;
SELECT site_stats.record_page_view('/page/1', 'page', 'cem');
SELECT site_stats.record_page_view('/page/1', 'page', 'dan');
UPDATE site_stats.page_views SET viewed_at = viewed_at - interval '61 seconds'
WHERE path = '/page/1' AND session_id = 'cem';
SELECT site_stats.record_page_view('/page/9', 'page', 'cem');
SET site_stats.max_views_per_minute = 0;
SELECT count(*)
FROM (SELECT site_stats.record_page_view('/page/' || i, 'page', 'eve') AS r FROM generate_series(1, 100) AS i) AS c
WHERE r = 'recorded';
RESET site_stats.max_views_per_minute;
SELECT * FROM site_stats.check_totals();

-- Heartbeats: the same path again within the window is a duplicate; another path is not.
SELECT site_stats.heartbeat('ann', '/', 'Paris', 'France', 48.86, 2.35);
SELECT site_stats.heartbeat('ann', '/');
SELECT site_stats.heartbeat('ann', '/about');
UPDATE site_stats.active_sessions SET last_seen_at = last_seen_at - interval '46 seconds';
SELECT site_stats.heartbeat('ann', '/about');
SELECT site_stats.heartbeat('bob', '/about', NULL, 'Chad');
SELECT site_stats.heartbeat('cem', '/', city => 'Quito', latitude => -0.18, longitude => -78.47);
-- A missing place keeps the old one; one coordinate alone is none.
SELECT site_stats.heartbeat('ann', '/', city => 'Lyon', latitude => 45.76);
SELECT session_id, current_path, city, country, latitude, longitude FROM site_stats.active_sessions ORDER BY session_id;
SELECT active_visitors, active_by_path, visitor_locations FROM site_stats.get_stats() \gx
SELECT * FROM site_stats.active_pages();

-- Sessions past the timeout do not count, and go: a few with each heartbeat, the rest by the function.
UPDATE site_stats.active_sessions SET last_seen_at = last_seen_at - interval '121 seconds' WHERE session_id <> 'ann';
SELECT active_visitors, active_by_path, visitor_locations FROM site_stats.get_stats() \gx
SELECT site_stats.heartbeat('dan', '/');
SELECT session_id FROM site_stats.active_sessions ORDER BY session_id;
INSERT INTO site_stats.active_sessions (session_id, current_path, last_seen_at)
SELECT 'old ' || i, '/', now() - i * interval '1 hour' FROM generate_series(1, 20) AS i;
SELECT site_stats.heartbeat('eve', '/');
SELECT count(*) FROM site_stats.active_sessions;
SELECT site_stats.cleanup_stale_sessions(10);
SELECT site_stats.cleanup_stale_sessions();
SELECT site_stats.cleanup_stale_sessions();
SELECT site_stats.cleanup_stale_sessions(0);
SELECT session_id FROM site_stats.active_sessions ORDER BY session_id;
SET site_stats.session_timeout = '1d';
UPDATE site_stats.active_sessions SET last_seen_at = last_seen_at - interval '23 hours' WHERE session_id = 'eve';
SELECT active_visitors FROM site_stats.get_stats();
RESET site_stats.session_timeout;
SELECT active_visitors FROM site_stats.get_stats();

-- The longest path, session id and page type that are kept.
SELECT site_stats.record_page_view('/' || repeat('x', 2047), repeat('t', 64), repeat('s', 128));
SELECT site_stats.heartbeat(repeat('s', 128), '/' || repeat('x', 2047), latitude => 90, longitude => -180);
SELECT * FROM site_stats.check_totals();
