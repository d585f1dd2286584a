-- From 0.1.0 to 0.2.0: the query of get_stats() is faster, and a backfill does not count every view of a session. What else is
-- new is in the library: the launcher and its setting.

-- A function of its own for the statements that take views away. The library of version 0.1.0 does not have it, so a
-- session that has loaded that library and lives on after an update gets an error, and not a wrong number of visitors.
CREATE FUNCTION site_stats.count_changed_page_views()
RETURNS trigger
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'count_changed_page_views_wrapper';
COMMENT ON FUNCTION site_stats.count_changed_page_views() IS
    'Trigger that takes page views away from the aggregates, or adds what an UPDATE has made of them.';
REVOKE ALL ON FUNCTION site_stats.count_changed_page_views() FROM PUBLIC;

-- The first lock: writers and batches, too, have that of page_views before others.
DROP TRIGGER page_views_update ON site_stats.page_views;
DROP TRIGGER page_views_delete ON site_stats.page_views;

CREATE TRIGGER page_views_update
AFTER UPDATE ON site_stats.page_views
REFERENCING OLD TABLE AS removed NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_changed_page_views();

CREATE TRIGGER page_views_delete
AFTER DELETE ON site_stats.page_views
REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_changed_page_views();

-- The state as reads use it. Where a table of counters has lost its rows, no counter counts: every page view is counted
-- directly. A crash empties an UNLOGGED table, and TRUNCATE any. Where all tables are empty and none is UNLOGGED, page
-- views came in past the triggers, and none was ever counted.
CREATE VIEW site_stats.counted_state AS
SELECT
    CASE WHEN NOT l.is_lost THEN s.epoch END AS epoch,
    CASE WHEN l.is_lost THEN 0 ELSE s.cursor END AS cursor,
    CASE WHEN l.is_lost THEN 9223372036854775807 ELSE s.target END AS target
FROM site_stats.backfill_state AS s
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE pg_relation_size(c.oid) = 0) AS empty,
        bool_or(c.relpersistence = 'u') AS is_unlogged
    FROM pg_class AS c
    WHERE c.oid IN (
            'site_stats.path_totals'::regclass,
            'site_stats.sessions'::regclass,
            'site_stats.site_totals'::regclass
        )
) AS t
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN t.empty = 0 OR (t.empty = 3 AND NOT t.is_unlogged) THEN false
            ELSE EXISTS (
                SELECT
                FROM ONLY site_stats.page_views AS v
                WHERE v.id <= s.cursor OR v.id > s.target
            )
        END AS is_lost
) AS l;

COMMENT ON VIEW site_stats.counted_state IS
    'Which page views the counters count, for the functions that read: none, if a table has lost its rows.';

REVOKE ALL ON site_stats.counted_state FROM PUBLIC;

CREATE OR REPLACE VIEW site_stats.path_views AS
SELECT
    u.path,
    sum(u.views)::bigint AS views,
    max(u.last_view_id) AS last_view_id
FROM (
    SELECT t.path, t.views, t.last_view_id
    FROM site_stats.counted_state AS s
    JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
    UNION ALL
    SELECT v.path, count(*), max(v.id)
    FROM site_stats.counted_state AS s
    JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
    WHERE s.cursor < s.target
    GROUP BY v.path
) AS u
GROUP BY u.path
HAVING sum(u.views) > 0;

CREATE OR REPLACE VIEW site_stats.daily_views AS
SELECT
    u.day,
    u.path,
    sum(u.views)::bigint AS views
FROM (
    SELECT t.day, t.path, t.views
    FROM site_stats.counted_state AS s
    JOIN site_stats.daily_totals AS t ON t.epoch = s.epoch
    UNION ALL
    SELECT t.day, t.path, t.day_views
    FROM site_stats.counted_state AS s
    JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
    WHERE t.day_views <> 0
    UNION ALL
    SELECT (v.viewed_at AT TIME ZONE 'UTC')::date, v.path, count(*)
    FROM site_stats.counted_state AS s
    JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
    WHERE s.cursor < s.target
    GROUP BY 1, 2
) AS u
GROUP BY u.day, u.path
HAVING sum(u.views) > 0;

CREATE OR REPLACE FUNCTION site_stats.get_stats_in_snapshot()
RETURNS TABLE (
    active_visitors bigint,
    active_by_path jsonb,
    total_page_views bigint,
    unique_visitors bigint,
    published_posts bigint,
    published_pages bigint,
    tracking_since timestamptz,
    page_stats jsonb,
    total_paths bigint,
    visitor_locations jsonb,
    source text
)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH state AS (
        SELECT s.epoch, s.cursor, s.target
        FROM site_stats.counted_state AS s
    ),
    active AS (
        SELECT a.session_id, a.current_path, a.city, a.country, a.latitude, a.longitude
        FROM site_stats.active_sessions AS a
        WHERE a.last_seen_at > statement_timestamp() - current_setting('site_stats.session_timeout')::interval
    ),
    totals AS (
        SELECT COALESCE(sum(t.visitors), 0)::bigint AS visitors
        FROM state AS s
        JOIN site_stats.site_totals AS t ON t.epoch = s.epoch
    ),
    -- Visitors do not add up: a session of an uncounted view may be in the session set already.
    new_sessions AS (
        SELECT count(DISTINCT v.session_id COLLATE "C") AS visitors
        FROM state AS s
        JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
        WHERE s.cursor < s.target
            AND NOT EXISTS (
                SELECT
                FROM site_stats.sessions AS k
                WHERE k.session_id = v.session_id COLLATE "C" AND k.epoch = s.epoch AND k.views > 0
            )
    ),
    top AS MATERIALIZED (
        SELECT p.path COLLATE "C" AS path, p.views, p.last_view_id, p.all_views, p.all_paths
        FROM site_stats.most_viewed_paths(50) AS p
    ),
    published AS (
        SELECT
            count(*) FILTER (WHERE c.page_type = 'blog') AS posts,
            count(*) FILTER (WHERE c.page_type = 'page') AS pages
        FROM site_stats.content AS c
        WHERE c.published
    )
    SELECT
        (SELECT count(*) FROM active),
        (
            SELECT COALESCE(jsonb_agg(n ORDER BY n.count DESC, n.path), '[]')
            FROM (
                SELECT a.current_path AS path, count(*) AS count
                FROM active AS a
                GROUP BY a.current_path
            ) AS n
        ),
        COALESCE((SELECT p.all_views FROM top AS p LIMIT 1), 0),
        (SELECT t.visitors FROM totals AS t) + (SELECT n.visitors FROM new_sessions AS n),
        p.posts,
        p.pages,
        (SELECT min(v.viewed_at) FROM ONLY site_stats.page_views AS v),
        (
            SELECT COALESCE(jsonb_agg(n ORDER BY n.views DESC, n.path), '[]')
            FROM (
                SELECT p.path, c.title, c.page_type AS "pageType", p.views
                FROM top AS p
                CROSS JOIN LATERAL site_stats.page_shown(p.path, p.last_view_id) AS c
            ) AS n
        ),
        COALESCE((SELECT p.all_paths FROM top AS p LIMIT 1), 0),
        (
            SELECT COALESCE(
                jsonb_agg(
                    jsonb_build_object(
                        'latitude', a.latitude, 'longitude', a.longitude, 'city', a.city, 'country', a.country
                    )
                    ORDER BY a.session_id
                ),
                '[]'
            )
            FROM active AS a
            WHERE a.latitude IS NOT NULL AND a.longitude IS NOT NULL
        ),
        CASE
            WHEN s.cursor = s.target THEN 'aggregates'
            WHEN s.cursor = 0 AND NOT EXISTS (
                SELECT FROM site_stats.site_totals AS t WHERE t.epoch = s.epoch
            ) THEN 'direct count'
            ELSE 'aggregates and direct count'
        END
    FROM state AS s
    CROSS JOIN published AS p;

    IF NOT FOUND THEN
        RAISE EXCEPTION 'table "site_stats.backfill_state" has lost its row'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'INSERT INTO site_stats.backfill_state DEFAULT VALUES, then call site_stats.start_backfill().';
    END IF;
END
$$;

ALTER TABLE site_stats.sessions ADD COLUMN is_lower_bound boolean DEFAULT false;
COMMENT ON COLUMN site_stats.sessions.is_lower_bound IS
    'True of a session that a backfill has found: it may have more views. They are counted when one of them leaves.';

CREATE OR REPLACE FUNCTION site_stats.check_totals_in_snapshot()
RETURNS TABLE (aggregate text, key text, counted bigint, actual bigint)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH state AS MATERIALIZED (
        SELECT s.epoch, s.cursor, s.target
        FROM site_stats.backfill_state AS s
    ),
    -- The views that the aggregates must count, at the finest grain that any aggregate needs.
    truth AS MATERIALIZED (
        SELECT
            v.path,
            (v.viewed_at AT TIME ZONE 'UTC')::date AS day,
            v.session_id COLLATE "C" AS session_id,
            count(*) AS views
        FROM state AS s
        JOIN ONLY site_stats.page_views AS v ON v.id <= s.cursor OR v.id > s.target
        GROUP BY 1, 2, 3
    ),
    comparison AS (
        SELECT 'site_totals.views' AS aggregate, NULL AS key, c.views AS counted, a.views AS actual
        FROM (
            SELECT COALESCE(sum(t.views), 0) AS views
            FROM state AS s
            JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
        ) AS c
        CROSS JOIN (SELECT COALESCE(sum(r.views), 0) AS views FROM truth AS r) AS a
        UNION ALL
        SELECT 'site_totals.visitors', NULL, c.visitors, a.visitors
        FROM (
            SELECT COALESCE(sum(t.visitors), 0) AS visitors
            FROM state AS s
            JOIN site_stats.site_totals AS t ON t.epoch = s.epoch
        ) AS c
        CROSS JOIN (SELECT count(DISTINCT r.session_id) AS visitors FROM truth AS r) AS a
        UNION ALL
        SELECT 'path_totals', COALESCE(c.path, a.path), COALESCE(c.views, 0), COALESCE(a.views, 0)
        FROM (
            SELECT t.path, sum(t.views) AS views
            FROM state AS s
            JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
            GROUP BY t.path
        ) AS c
        FULL JOIN (SELECT r.path, sum(r.views) AS views FROM truth AS r GROUP BY r.path) AS a ON a.path = c.path
        UNION ALL
        SELECT
            'daily_totals',
            to_char(COALESCE(c.day, a.day), 'YYYY-MM-DD') || ' ' || COALESCE(c.path, a.path),
            COALESCE(c.views, 0),
            COALESCE(a.views, 0)
        FROM (
            SELECT d.day, d.path, sum(d.views) AS views
            FROM (
                SELECT t.day, t.path, t.views
                FROM state AS s
                JOIN site_stats.daily_totals AS t ON t.epoch = s.epoch
                UNION ALL
                SELECT t.day, t.path, t.day_views
                FROM state AS s
                JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
                WHERE t.day_views <> 0
            ) AS d
            GROUP BY d.day, d.path
        ) AS c
        FULL JOIN (
            SELECT r.day, r.path, sum(r.views) AS views FROM truth AS r GROUP BY r.day, r.path
        ) AS a ON a.day = c.day AND a.path = c.path
        UNION ALL
        SELECT 'sessions', COALESCE(c.session_id, a.session_id), COALESCE(c.views, 0), COALESCE(a.views, 0)
        FROM (
            SELECT k.session_id, k.views, k.is_lower_bound
            FROM state AS s
            JOIN site_stats.sessions AS k ON k.epoch = s.epoch
        ) AS c
        FULL JOIN (
            SELECT r.session_id, sum(r.views) AS views FROM truth AS r GROUP BY r.session_id
        ) AS a ON a.session_id = c.session_id
        WHERE NOT (c.is_lower_bound AND c.views BETWEEN 1 AND a.views) IS TRUE
        UNION ALL
        SELECT 'backfill_state', NULL, 0, 1
        WHERE NOT EXISTS (SELECT FROM state)
        UNION ALL
        -- A child or partition takes rows that are counted nowhere.
        SELECT 'page_views', i.inhrelid::regclass::text, 0, NULL
        FROM pg_inherits AS i
        WHERE i.inhparent = 'site_stats.page_views'::regclass
    )
    SELECT m.aggregate, m.key, m.counted::bigint, m.actual::bigint
    FROM comparison AS m
    WHERE m.counted IS DISTINCT FROM m.actual
    ORDER BY m.aggregate, m.key COLLATE "C";
END
$$;

-- A procedure, because a function that waits is one statement, whose snapshot keeps old versions of the counters alive.
CREATE PROCEDURE site_stats.await_backfill(timeout interval DEFAULT '1 hour')
LANGUAGE c
AS 'MODULE_PATHNAME', 'await_backfill_wrapper';
COMMENT ON PROCEDURE site_stats.await_backfill(interval) IS
    'Waits until the backfill is complete, and holds no snapshot; an error if it stops, fails, or takes longer.';
REVOKE ALL ON PROCEDURE site_stats.await_backfill(interval) FROM PUBLIC;
