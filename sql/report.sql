-- report: the functions that read. Each answers from one snapshot, writes nothing, and is exact at every moment. It
-- adds a direct count of the page views that the aggregates do not count yet to the aggregates of the current epoch.

-- All statements of a STABLE function see the snapshot of the statement that calls it. So each function X that reads
-- aggregates is two functions. X writes what its own transaction has counted, and then calls X_in_snapshot, which has
-- the query (see src/report/own_writes.rs).

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

-- The state is computed once for each of these views. A planner that takes page views for few, as one without
-- statistics does, would compute it for each of them.
CREATE VIEW site_stats.path_views AS
WITH state AS MATERIALIZED (
    SELECT s.epoch, s.cursor, s.target
    FROM site_stats.counted_state AS s
)
SELECT
    u.path,
    sum(u.views)::bigint AS views,
    max(u.last_view_id) AS last_view_id,
    u.site_id
FROM (
    SELECT t.site_id, t.path, t.views, t.last_view_id
    FROM state AS s
    JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
    UNION ALL
    SELECT v.site_id, v.path, count(*), max(v.id)
    FROM state AS s
    JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
    WHERE s.cursor < s.target
    GROUP BY v.site_id, v.path
) AS u
GROUP BY u.site_id, u.path
HAVING sum(u.views) > 0;

COMMENT ON VIEW site_stats.path_views IS
    'Views of each path that has any; exact, but without what its own transaction has changed and not counted yet.';
COMMENT ON COLUMN site_stats.path_views.last_view_id IS
    'The newest view of the path, whose type is the type of the path.';

CREATE VIEW site_stats.daily_views AS
WITH state AS MATERIALIZED (
    SELECT s.epoch, s.cursor, s.target
    FROM site_stats.counted_state AS s
)
SELECT
    u.day,
    u.path,
    sum(u.views)::bigint AS views,
    u.site_id
FROM (
    SELECT t.site_id, t.day, t.path, t.views
    FROM state AS s
    JOIN site_stats.daily_totals AS t ON t.epoch = s.epoch
    UNION ALL
    SELECT t.site_id, t.day, t.path, t.day_views
    FROM state AS s
    JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
    WHERE t.day_views <> 0
    UNION ALL
    SELECT v.site_id, (v.viewed_at AT TIME ZONE 'UTC')::date, v.path, count(*)
    FROM state AS s
    JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
    WHERE s.cursor < s.target
    GROUP BY 1, 2, 3
) AS u
GROUP BY u.site_id, u.day, u.path
HAVING sum(u.views) > 0;

COMMENT ON VIEW site_stats.daily_views IS
    'Views of each path on each UTC day that has any; exact, but without what its own transaction has not counted yet.';

-- One row for a path. A function that returns a table becomes part of the query that calls it. A function that returns
-- a value and has a subquery would be a query of its own for each page. A SET clause would also keep the function out
-- of the calling query. So the function has none, and names every operator with its schema.
CREATE FUNCTION site_stats.page_shown(path text, last_view_id bigint, site_id smallint DEFAULT 1)
RETURNS TABLE (title text, page_type text)
LANGUAGE sql
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
AS $$
    SELECT
        COALESCE(
            c.title,
            CASE
                WHEN p.path OPERATOR(pg_catalog.=) '/' THEN 'Home'
                WHEN p.path OPERATOR(pg_catalog.=) '/stats' THEN 'Stats'
                ELSE p.path
            END
        ),
        COALESCE(
            c.page_type,
            CASE
                WHEN p.path OPERATOR(pg_catalog.=) '/' THEN 'home'
                WHEN p.path OPERATOR(pg_catalog.=) '/stats' THEN 'stats'
            END,
            (
                SELECT t.page_type
                FROM site_stats.path_totals AS t
                WHERE t.site_id OPERATOR(pg_catalog.=) p.site_id
                    AND t.path OPERATOR(pg_catalog.=) p.path
                    AND t.last_view_id OPERATOR(pg_catalog.=) p.last_view_id
                LIMIT 1
            ),
            (
                SELECT v.page_type
                FROM ONLY site_stats.page_views AS v
                WHERE v.id OPERATOR(pg_catalog.=) p.last_view_id
            ),
            'page'
        )
    FROM (SELECT page_shown.path, page_shown.last_view_id, page_shown.site_id) AS p
    LEFT JOIN site_stats.content AS c
        ON c.site_id OPERATOR(pg_catalog.=) p.site_id AND c.path OPERATOR(pg_catalog.=) p.path
$$;
COMMENT ON FUNCTION site_stats.page_shown(text, bigint, smallint) IS
    'Title and type that statistics show for a path: those of content, else fixed ones, else path and recorded type.';

CREATE FUNCTION site_stats.most_viewed_paths(most integer, site_id smallint DEFAULT 1)
RETURNS TABLE (path text, views bigint, last_view_id bigint, all_views bigint, all_paths bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 50
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'most_viewed_paths';
COMMENT ON FUNCTION site_stats.most_viewed_paths(integer, smallint) IS
    'The most viewed paths of a site first, then by path, each with the sums over all paths that have a view.';

CREATE FUNCTION site_stats.top_pages(
    max_rows integer DEFAULT 50,
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    site text DEFAULT ''
)
RETURNS TABLE (path text, title text, page_type text, views bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.top_pages(integer, date, date, text) IS
    'The most viewed pages first, of all time or of the UTC days from since to until, both inclusive; NULL is open.';

CREATE FUNCTION site_stats.top_pages_in_snapshot(
    max_rows integer,
    since date,
    until date,
    site text
)
RETURNS TABLE (path text, title text, page_type text, views bigint)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_site smallint := site_stats.site_id(site);
BEGIN
    IF max_rows IS NULL THEN
        RAISE EXCEPTION 'max_rows must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                HINT = 'Pass the highest number of rows, such as 50.';
    END IF;
    IF max_rows < 0 THEN
        RAISE EXCEPTION 'max_rows must not be negative'
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Pass the highest number of rows, such as 50.';
    END IF;

    IF since IS NULL AND until IS NULL THEN
        RETURN QUERY
        SELECT p.path, n.title, n.page_type, p.views
        FROM site_stats.most_viewed_paths(max_rows, wanted_site) AS p
        CROSS JOIN LATERAL site_stats.page_shown(p.path, p.last_view_id, wanted_site) AS n
        ORDER BY p.views DESC, p.path COLLATE "C";
    ELSIF site_stats.has_spans(wanted_site) THEN
        RETURN QUERY
        SELECT p.path, n.title, n.page_type, p.views
        FROM site_stats.span_paths(wanted_site, since, until, max_rows) AS p
        LEFT JOIN LATERAL (
            SELECT a.last_view_id
            FROM site_stats.path_views AS a
            WHERE a.site_id = wanted_site AND a.path = p.path
        ) AS pv ON true
        CROSS JOIN LATERAL site_stats.page_shown(p.path, pv.last_view_id, wanted_site) AS n
        ORDER BY p.views DESC, p.path COLLATE "C";
    ELSE
        RETURN QUERY
        SELECT p.path, n.title, n.page_type, p.views
        FROM (
            SELECT dv.path, sum(dv.views)::bigint AS views
            FROM site_stats.daily_views AS dv
            WHERE dv.site_id = wanted_site
                AND dv.day >= COALESCE(since, '-infinity'::date)
                AND dv.day <= COALESCE(until, 'infinity'::date)
            GROUP BY dv.path
            ORDER BY 2 DESC, 1
            LIMIT max_rows
        ) AS p
        LEFT JOIN LATERAL (
            SELECT a.last_view_id
            FROM site_stats.path_views AS a
            WHERE a.site_id = wanted_site AND a.path = p.path
        ) AS pv ON true
        CROSS JOIN LATERAL site_stats.page_shown(p.path, pv.last_view_id, wanted_site) AS n
        ORDER BY p.views DESC, p.path;
    END IF;
END
$$;
COMMENT ON FUNCTION site_stats.top_pages_in_snapshot(integer, date, date, text) IS 'The query of top_pages().';

CREATE FUNCTION site_stats.views_by_day(
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    path text DEFAULT NULL,
    site text DEFAULT ''
)
RETURNS TABLE (day date, views bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.views_by_day(date, date, text, text) IS
    'Views on every UTC day from since to until; NULL for the first, and for the last day with a view up to today.';

CREATE FUNCTION site_stats.views_by_day_in_snapshot(
    since date,
    until date,
    path text,
    site text
)
RETURNS TABLE (day date, views bigint)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_site smallint := site_stats.site_id(site);
    today date := (statement_timestamp() AT TIME ZONE 'UTC')::date;
    is_spanned boolean;
BEGIN
    IF since IN ('-infinity', 'infinity') OR until IN ('-infinity', 'infinity') THEN
        RAISE EXCEPTION 'since and until must be finite'
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Pass NULL for the first or the last day with a view.';
    END IF;
    IF since < '1970-01-01' OR until > '9999-12-31' THEN
        RAISE EXCEPTION 'since and until must be between 1970-01-01 and 9999-12-31'
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'No page view can be outside these days.';
    END IF;

    is_spanned := path IS NULL AND site_stats.has_spans(wanted_site);
    RETURN QUERY
    WITH counted AS (
        SELECT s.day, s.views
        FROM site_stats.span_days(CASE WHEN is_spanned THEN wanted_site END, since, until) AS s
        UNION ALL
        SELECT dv.day, sum(dv.views)::bigint AS views
        FROM site_stats.daily_views AS dv
        WHERE NOT is_spanned
            AND dv.site_id = wanted_site
            AND (views_by_day_in_snapshot.path IS NULL OR dv.path = views_by_day_in_snapshot.path)
            AND dv.day >= COALESCE(since, '-infinity'::date)
            AND dv.day <= COALESCE(until, 'infinity'::date)
        GROUP BY dv.day
    )
    SELECT d.day::date, COALESCE(c.views, 0)
    FROM generate_series(
        COALESCE(since, (SELECT min(f.day) FROM counted AS f))::timestamp,
        COALESCE(until, (SELECT max(l.day) FROM counted AS l WHERE l.day <= today))::timestamp,
        '1 day'::interval
    ) AS d (day)
    LEFT JOIN counted AS c ON c.day = d.day::date
    ORDER BY d.day;
END
$$;
COMMENT ON FUNCTION site_stats.views_by_day_in_snapshot(date, date, text, text) IS 'The query of views_by_day().';

CREATE FUNCTION site_stats.active_pages(site text DEFAULT '')
RETURNS TABLE (path text, visitors bigint)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_site smallint := site_stats.site_id(site);
BEGIN
    PERFORM site_stats.resume_backfill();
    RETURN QUERY
    SELECT a.current_path, count(*)
    FROM site_stats.active_sessions AS a
    WHERE a.site_id = wanted_site
        AND a.last_seen_at > statement_timestamp() - current_setting('site_stats.session_timeout')::interval
        AND a.last_seen_at <= clock_timestamp()
    GROUP BY a.current_path
    ORDER BY count(*) DESC, a.current_path;
END
$$;
COMMENT ON FUNCTION site_stats.active_pages(text) IS
    'Pages of a site that sessions are on now, the most visited first.';

CREATE FUNCTION site_stats.get_stats(site text DEFAULT '')
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
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.get_stats(text) IS
    'The statistics page as one row, exact and from one snapshot at every moment; source tells how it was computed.';

CREATE FUNCTION site_stats.get_stats_in_snapshot(site text)
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
DECLARE
    wanted_site smallint := site_stats.site_id(site);
BEGIN
    RETURN QUERY
    WITH state AS (
        SELECT s.epoch, s.cursor, s.target
        FROM site_stats.counted_state AS s
    ),
    active AS (
        SELECT a.session_id, a.current_path, a.city, a.country, a.latitude, a.longitude
        FROM site_stats.active_sessions AS a
        WHERE a.site_id = wanted_site
            AND a.last_seen_at > statement_timestamp() - current_setting('site_stats.session_timeout')::interval
            AND a.last_seen_at <= clock_timestamp()
    ),
    totals AS (
        SELECT COALESCE(sum(t.visitors), 0)::bigint AS visitors
        FROM state AS s
        JOIN site_stats.site_totals AS t ON t.site_id = wanted_site AND t.epoch = s.epoch
    ),
    -- Visitors do not add up: a session of an uncounted view may be in the session set already.
    new_sessions AS (
        SELECT count(DISTINCT v.session_id COLLATE "C") AS visitors
        FROM state AS s
        JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
        WHERE s.cursor < s.target
            AND v.site_id = wanted_site
            AND NOT EXISTS (
                SELECT
                FROM site_stats.sessions AS k
                WHERE k.site_id = wanted_site
                    AND k.session_id = v.session_id COLLATE "C"
                    AND k.epoch = s.epoch
                    AND k.views > 0
            )
    ),
    top AS MATERIALIZED (
        SELECT p.path COLLATE "C" AS path, p.views, p.last_view_id, p.all_views, p.all_paths
        FROM site_stats.most_viewed_paths(50, wanted_site) AS p
    ),
    published AS (
        SELECT
            count(*) FILTER (WHERE c.page_type = 'blog') AS posts,
            count(*) FILTER (WHERE c.page_type = 'page') AS pages
        FROM site_stats.content AS c
        WHERE c.site_id = wanted_site AND c.published
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
        (SELECT min(v.viewed_at) FROM ONLY site_stats.page_views AS v WHERE v.site_id = wanted_site),
        (
            SELECT COALESCE(jsonb_agg(n ORDER BY n.views DESC, n.path), '[]')
            FROM (
                SELECT p.path, c.title, c.page_type AS "pageType", p.views
                FROM top AS p
                CROSS JOIN LATERAL site_stats.page_shown(p.path, p.last_view_id, wanted_site) AS c
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
                SELECT FROM site_stats.site_totals AS t WHERE t.site_id = wanted_site AND t.epoch = s.epoch
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
COMMENT ON FUNCTION site_stats.get_stats_in_snapshot(text) IS 'The query of get_stats().';

CREATE FUNCTION site_stats.check_totals(site text DEFAULT NULL)
RETURNS TABLE (aggregate text, key text, counted bigint, actual bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.check_totals(text) IS
    'Compares the aggregates of a site, or of all, with the page views and returns each difference: no row is sound.';

CREATE FUNCTION site_stats.check_totals_in_snapshot(site text)
RETURNS TABLE (aggregate text, key text, counted bigint, actual bigint)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_site smallint := CASE WHEN site IS NOT NULL THEN site_stats.site_id(site) END;
BEGIN
    RETURN QUERY
    WITH state AS MATERIALIZED (
        SELECT s.epoch, s.cursor, s.target
        FROM site_stats.backfill_state AS s
    ),
    -- The views that the aggregates must count, at the finest grain that any aggregate needs.
    truth AS MATERIALIZED (
        SELECT
            v.site_id,
            v.path,
            (v.viewed_at AT TIME ZONE 'UTC')::date AS day,
            v.session_id COLLATE "C" AS session_id,
            count(*) AS views
        FROM state AS s
        JOIN ONLY site_stats.page_views AS v ON v.id <= s.cursor OR v.id > s.target
        WHERE wanted_site IS NULL OR v.site_id = wanted_site
        GROUP BY 1, 2, 3, 4
    ),
    comparison AS (
        SELECT
            'site_totals.views' AS aggregate,
            COALESCE(c.site_id, a.site_id) AS site_id,
            NULL AS key,
            COALESCE(c.views, 0) AS counted,
            COALESCE(a.views, 0) AS actual
        FROM (
            SELECT t.site_id, sum(t.views) AS views
            FROM state AS s
            JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
            WHERE wanted_site IS NULL OR t.site_id = wanted_site
            GROUP BY t.site_id
        ) AS c
        FULL JOIN (
            SELECT r.site_id, sum(r.views) AS views FROM truth AS r GROUP BY r.site_id
        ) AS a ON a.site_id = c.site_id
        UNION ALL
        SELECT
            'site_totals.visitors',
            COALESCE(c.site_id, a.site_id),
            NULL,
            COALESCE(c.visitors, 0),
            COALESCE(a.visitors, 0)
        FROM (
            SELECT t.site_id, sum(t.visitors) AS visitors
            FROM state AS s
            JOIN site_stats.site_totals AS t ON t.epoch = s.epoch
            WHERE wanted_site IS NULL OR t.site_id = wanted_site
            GROUP BY t.site_id
        ) AS c
        FULL JOIN (
            SELECT r.site_id, count(DISTINCT r.session_id) AS visitors FROM truth AS r GROUP BY r.site_id
        ) AS a ON a.site_id = c.site_id
        UNION ALL
        SELECT
            'path_totals',
            COALESCE(c.site_id, a.site_id),
            COALESCE(c.path, a.path),
            COALESCE(c.views, 0),
            COALESCE(a.views, 0)
        FROM (
            SELECT t.site_id, t.path, sum(t.views) AS views
            FROM state AS s
            JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
            WHERE wanted_site IS NULL OR t.site_id = wanted_site
            GROUP BY t.site_id, t.path
        ) AS c
        FULL JOIN (
            SELECT r.site_id, r.path, sum(r.views) AS views FROM truth AS r GROUP BY r.site_id, r.path
        ) AS a ON a.site_id = c.site_id AND a.path = c.path
        UNION ALL
        SELECT
            'daily_totals',
            COALESCE(c.site_id, a.site_id),
            to_char(COALESCE(c.day, a.day), 'YYYY-MM-DD') || ' ' || COALESCE(c.path, a.path),
            COALESCE(c.views, 0),
            COALESCE(a.views, 0)
        FROM (
            SELECT d.site_id, d.day, d.path, sum(d.views) AS views
            FROM (
                SELECT t.site_id, t.day, t.path, t.views
                FROM state AS s
                JOIN site_stats.daily_totals AS t ON t.epoch = s.epoch
                WHERE wanted_site IS NULL OR t.site_id = wanted_site
                UNION ALL
                SELECT t.site_id, t.day, t.path, t.day_views
                FROM state AS s
                JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
                WHERE t.day_views <> 0 AND (wanted_site IS NULL OR t.site_id = wanted_site)
            ) AS d
            GROUP BY d.site_id, d.day, d.path
        ) AS c
        FULL JOIN (
            SELECT r.site_id, r.day, r.path, sum(r.views) AS views FROM truth AS r GROUP BY r.site_id, r.day, r.path
        ) AS a ON a.site_id = c.site_id AND a.day = c.day AND a.path = c.path
        UNION ALL
        SELECT
            'sessions',
            COALESCE(c.site_id, a.site_id),
            COALESCE(c.session_id, a.session_id),
            COALESCE(c.views, 0),
            COALESCE(a.views, 0)
        FROM (
            SELECT k.site_id, k.session_id, k.views, k.is_lower_bound
            FROM state AS s
            JOIN site_stats.sessions AS k ON k.epoch = s.epoch
            WHERE wanted_site IS NULL OR k.site_id = wanted_site
        ) AS c
        FULL JOIN (
            SELECT r.site_id, r.session_id, sum(r.views) AS views FROM truth AS r GROUP BY r.site_id, r.session_id
        ) AS a ON a.site_id = c.site_id AND a.session_id = c.session_id
        WHERE NOT (c.is_lower_bound AND c.views BETWEEN 1 AND a.views) IS TRUE
        UNION ALL
        -- The page views as reports count them, from spans and directly.
        SELECT
            'spans',
            t.id,
            concat(to_char(d.day, 'YYYY-MM-DD'), CASE WHEN d.is_hidden THEN ' in something else' END),
            d.counted,
            d.actual
        FROM site_stats.sites AS t
        CROSS JOIN LATERAL site_stats.span_differences(t.id) AS d
        WHERE wanted_site IS NULL OR t.id = wanted_site
        UNION ALL
        SELECT 'backfill_state', 1::smallint, NULL, 0, 1
        WHERE NOT EXISTS (SELECT FROM state)
        UNION ALL
        -- A child or partition takes rows that are counted nowhere.
        SELECT 'page_views', 1::smallint, i.inhrelid::regclass::text, 0, NULL
        FROM pg_inherits AS i
        WHERE i.inhparent = 'site_stats.page_views'::regclass
        UNION ALL
        -- Views that came in past the triggers, for a site that is not there.
        SELECT 'sites', r.site_id, NULL, 0, sum(r.views)
        FROM truth AS r
        WHERE NOT EXISTS (SELECT FROM site_stats.sites AS t WHERE t.id = r.site_id)
        GROUP BY r.site_id
    )
    -- The name of the site comes first, where it has one.
    SELECT
        m.aggregate,
        CASE
            WHEN m.site_id = 1 THEN m.key
            ELSE concat_ws(': ', COALESCE(n.name, m.site_id::text), m.key)
        END,
        m.counted::bigint,
        m.actual::bigint
    FROM comparison AS m
    LEFT JOIN site_stats.sites AS n ON n.id = m.site_id
    WHERE m.counted IS DISTINCT FROM m.actual
    ORDER BY m.aggregate, m.site_id, m.key COLLATE "C";
END
$$;
COMMENT ON FUNCTION site_stats.check_totals_in_snapshot(text) IS 'The query of check_totals().';
