-- From 0.1.0 to 0.2.0: the query of get_stats() is faster. What else is new is in the library: the launcher and its setting.

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
        FROM site_stats.backfill_state AS s
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
        SELECT count(DISTINCT v.session_id) AS visitors
        FROM state AS s
        JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
        WHERE s.cursor < s.target
            AND NOT EXISTS (
                SELECT
                FROM site_stats.sessions AS k
                WHERE k.session_id = v.session_id AND k.epoch = s.epoch AND k.views > 0
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
END
$$;
