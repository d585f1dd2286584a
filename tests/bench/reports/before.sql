-- views_by_day() and top_pages() as they were at commit 133bdcd, from the counters of days and paths: for site 1, and
-- without the checks of arguments.

\set ON_ERROR_STOP on

CREATE FUNCTION bench.views_by_day(since date, until date, path text DEFAULT NULL)
RETURNS TABLE (day date, views bigint)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_site smallint := site_stats.site_id('');
    today date := (statement_timestamp() AT TIME ZONE 'UTC')::date;
BEGIN
    RETURN QUERY
    WITH counted AS (
        SELECT dv.day, sum(dv.views)::bigint AS views
        FROM site_stats.daily_views AS dv
        WHERE dv.site_id = wanted_site
            AND (views_by_day.path IS NULL OR dv.path = views_by_day.path)
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

CREATE FUNCTION bench.top_pages(max_rows integer, since date, until date)
RETURNS TABLE (path text, title text, page_type text, views bigint)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_site smallint := site_stats.site_id('');
BEGIN
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
END
$$;
