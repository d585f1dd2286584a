-- The backfill: exact before, during and after, whoever runs it and wherever it stops.
SET TIME ZONE 'UTC';
TRUNCATE site_stats.page_views RESTART IDENTITY;
CREATE VIEW progress AS
SELECT status, cursor, target, views_done, views_total, percent, sessions_found, restarts, last_error
FROM site_stats.backfill_progress;
-- One row: the statistics, and whether they are those of a direct count in the same statement.
CREATE VIEW answer AS
SELECT s.total_page_views, s.unique_visitors, s.total_paths, s.source,
    s.total_page_views = (SELECT count(*) FROM site_stats.page_views)
        AND s.unique_visitors = (SELECT count(DISTINCT session_id) FROM site_stats.page_views)
        AND s.total_paths = (SELECT count(DISTINCT path) FROM site_stats.page_views) AS exact
FROM site_stats.get_stats() AS s;
-- A worker that the last call launched may not have left yet, and holds the run lock for a moment.
CREATE PROCEDURE let_workers_leave()
LANGUAGE plpgsql
AS $$
BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.backend_type = 'site_stats backfill') LOOP
        PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
    END LOOP;
END
$$;

SELECT split_part(site_stats.start_backfill(), ':', 1);
CALL site_stats.backfill();

-- History that came without the triggers.
SET session_replication_role = replica;
INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at)
SELECT '/' || i % 7, 'page', 's' || i % 110, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 hour'
FROM generate_series(1, 1000) AS i;
RESET session_replication_role;
SELECT count(*) > 0 AS differs FROM site_stats.check_totals();

-- Batch by batch, by hand; writes on both sides of the cursor and beyond the target.
CALL let_workers_leave();
SELECT site_stats.begin_backfill();
SELECT * FROM progress;
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
SELECT site_stats.backfill_turn(100);
SELECT * FROM progress;
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/new', 'new', '2026-01-01 00:00:00+00');
DELETE FROM site_stats.page_views WHERE id IN (50, 500);
UPDATE site_stats.page_views SET path = '/moved', session_id = 'moved', viewed_at = viewed_at + '1 day'
WHERE id IN (51, 501, 1001);
INSERT INTO site_stats.page_views (id, path, session_id, viewed_at) OVERRIDING SYSTEM VALUE
VALUES (50, '/again', 's50', '2026-01-01 00:00:00+00'), (500, '/again', 's51', '2026-01-01 00:00:00+00');
UPDATE site_stats.page_views SET id = DEFAULT WHERE id IN (52, 502);
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
SELECT path, views FROM site_stats.top_pages(3);
SELECT sum(views) FROM site_stats.views_by_day();

-- The same batch, rolled back: nothing is lost.
BEGIN;
SELECT site_stats.backfill_turn();
SELECT exact FROM answer;
ROLLBACK;
BEGIN;
SAVEPOINT one;
SELECT site_stats.backfill_turn(1);
ROLLBACK TO one;
SELECT site_stats.backfill_turn(1);
COMMIT;
SELECT * FROM progress;
SELECT * FROM site_stats.check_totals();

-- In the foreground to the end, then with the worker.
CALL site_stats.backfill(250);
SELECT * FROM progress;
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
SELECT split_part(site_stats.start_backfill(33), ':', 1);
SELECT site_stats.wait_for_backfill();
SELECT * FROM progress;
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
SELECT count(*) AS old_rows FROM (
    SELECT epoch FROM site_stats.path_totals UNION ALL SELECT epoch FROM site_stats.daily_totals
    UNION ALL SELECT epoch FROM site_stats.site_totals UNION ALL SELECT epoch FROM site_stats.sessions
) AS a WHERE epoch < (SELECT epoch FROM site_stats.backfill_state);

-- A request may be rolled back, and blocks nobody while it is not committed.
BEGIN;
SELECT split_part(site_stats.start_backfill(), ':', 1);
SELECT split_part(site_stats.start_backfill(), ':', 1);
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/new', 'new', '2026-01-01 00:00:00+00');
ROLLBACK;
SELECT status FROM site_stats.backfill_progress;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT split_part(site_stats.start_backfill(), ':', 1);
COMMIT;
SELECT site_stats.wait_for_backfill();
SELECT * FROM site_stats.check_totals();

-- Stop and resume.
SELECT site_stats.stop_backfill();
CALL let_workers_leave();
SELECT site_stats.begin_backfill();
SELECT site_stats.backfill_turn(400);
SELECT site_stats.stop_backfill();
SELECT site_stats.wait_for_backfill();
SELECT split_part(site_stats.start_backfill(), ':', 1);
SELECT site_stats.wait_for_backfill();
SELECT * FROM progress;
SELECT * FROM site_stats.check_totals();

-- TRUNCATE in the middle: nothing is left to count.
CALL let_workers_leave();
SELECT site_stats.begin_backfill();
SELECT site_stats.backfill_turn(400);
TRUNCATE site_stats.page_views;
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
SELECT status, cursor, target FROM site_stats.backfill_progress;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/', 'a', '2026-01-01 00:00:00+00');
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();

-- Ids at the end of the range, and a sequence set back into it.
INSERT INTO site_stats.page_views (id, path, session_id, viewed_at) OVERRIDING SYSTEM VALUE
VALUES (9223372036854775807, '/last', 'z', '2026-01-01 00:00:00+00');
CALL let_workers_leave();
SELECT site_stats.begin_backfill();
SELECT setval('site_stats.page_views_id_seq', 5000);
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
VALUES ('/inside', 'y', '2026-01-01 00:00:00+00')
RETURNING id;
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
SELECT site_stats.backfill_turn(1);
INSERT INTO site_stats.page_views (path, session_id, viewed_at)
VALUES ('/inside', 'y', '2026-01-01 00:00:00+00')
RETURNING id;
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill();
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();

-- A batch within the transaction of other writes.
BEGIN;
CALL let_workers_leave();
SELECT site_stats.begin_backfill() > 0 AS begun;
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/mine', 'm', '2026-01-01 00:00:00+00');
DELETE FROM site_stats.page_views WHERE path = '/inside';
SELECT site_stats.backfill_turn(1);
INSERT INTO site_stats.page_views (path, session_id, viewed_at) VALUES ('/mine', 'm', '2026-01-01 00:00:00+00');
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();
COMMIT;
CALL site_stats.backfill();
SELECT * FROM answer;
SELECT * FROM site_stats.check_totals();

-- A child of the table is not supported: its rows count nowhere, and check_totals() names it.
CREATE TABLE child () INHERITS (site_stats.page_views);
INSERT INTO child SELECT 1, '/child', 'page', 'child', '2026-01-01 00:00:00+00';
CALL let_workers_leave();
SELECT site_stats.begin_backfill() > 0 AS begun;
SELECT total_page_views, unique_visitors, total_paths FROM answer;
SELECT * FROM site_stats.check_totals();
CALL site_stats.backfill();
SELECT total_page_views, unique_visitors, total_paths FROM answer;
SELECT sum(views) FROM site_stats.views_by_day();
SELECT * FROM site_stats.check_totals();
DROP TABLE child;
SELECT * FROM site_stats.check_totals();

-- Idle slots are folded into slot 0 without a change of any count.
INSERT INTO site_stats.path_totals
SELECT '/folded', s, epoch, s, 'page', 0, date '2026-01-01' + s % 2, s
FROM site_stats.backfill_state, generate_series(1, 3) AS s;
SELECT views FROM site_stats.top_pages() WHERE path = '/folded';
SELECT site_stats.fold_totals(2);
SELECT site_stats.fold_totals();
SELECT site_stats.fold_totals();
SELECT slot, views, day, day_views FROM site_stats.path_totals WHERE path = '/folded';
SELECT day, slot, views FROM site_stats.daily_totals WHERE path = '/folded';
-- At most half of the shared slots at a time, those that writers come to last, and all that there are in the end.
SET site_stats.counter_slots = 4;
INSERT INTO site_stats.path_totals
SELECT '/folded', s, epoch, s, 'page', 0, date '2026-01-01' + s % 2, s
FROM site_stats.backfill_state, generate_series(1, 5) AS s;
SELECT site_stats.fold_totals();
SELECT slot, views FROM site_stats.path_totals WHERE path = '/folded' ORDER BY slot;
SELECT site_stats.fold_totals(), site_stats.fold_totals(), site_stats.fold_totals();
SELECT slot, views FROM site_stats.path_totals WHERE path = '/folded' ORDER BY slot;
RESET site_stats.counter_slots;
DELETE FROM site_stats.path_totals WHERE path = '/folded';
DELETE FROM site_stats.daily_totals WHERE path = '/folded';
SELECT * FROM site_stats.check_totals();

DROP VIEW progress, answer;
DROP PROCEDURE let_workers_leave();
