-- Compares every total of each site with a direct count, in one statement and so in one snapshot. Returns where the
-- answer came from, and each difference. The spare site may be another one now than in the snapshot: check_totals()
-- looks at it.

SELECT
    'compared',
    CASE WHEN t.name = '' OR a.name = 'source' THEN a.name ELSE a.name || ' of ' || t.name END,
    a.served,
    a.counted
FROM site_stats.sites AS t
CROSS JOIN LATERAL site_stats.get_stats(t.name) AS s
CROSS JOIN LATERAL (
    SELECT
        count(*) AS views,
        count(DISTINCT v.session_id) AS visitors,
        count(DISTINCT v.path) AS paths,
        min(v.viewed_at) AS since
    FROM ONLY site_stats.page_views AS v
    WHERE v.site_id = t.id
) AS d
CROSS JOIN LATERAL (
    SELECT
        COALESCE(jsonb_agg(jsonb_build_array(p.path, p.views) ORDER BY p.views DESC, p.path), '[]') AS every,
        COALESCE(
            jsonb_agg(jsonb_build_array(p.path, p.views) ORDER BY p.views DESC, p.path) FILTER (WHERE p.number <= 50),
            '[]'
        ) AS top
    FROM (
        SELECT v.path, count(*) AS views, row_number() OVER (ORDER BY count(*) DESC, v.path) AS number
        FROM ONLY site_stats.page_views AS v
        WHERE v.site_id = t.id
        GROUP BY v.path
    ) AS p
) AS pages
CROSS JOIN LATERAL (
    SELECT COALESCE(jsonb_object_agg(y.day, y.views), '{}') AS every
    FROM (
        SELECT (v.viewed_at AT TIME ZONE 'UTC')::date AS day, count(*) AS views
        FROM ONLY site_stats.page_views AS v
        WHERE v.site_id = t.id
        GROUP BY 1
    ) AS y
) AS days
CROSS JOIN LATERAL (
    VALUES
    ('source', s.source, NULL),
    ('total_page_views', s.total_page_views::text, d.views::text),
    ('unique_visitors', s.unique_visitors::text, d.visitors::text),
    ('total_paths', s.total_paths::text, d.paths::text),
    ('tracking_since', s.tracking_since::text, d.since::text),
    (
        'page_stats',
        (
            SELECT COALESCE(jsonb_agg(jsonb_build_array(e.page -> 'path', e.page -> 'views') ORDER BY e.number), '[]')
            FROM jsonb_array_elements(s.page_stats) WITH ORDINALITY AS e (page, number)
        )::text,
        pages.top::text
    ),
    (
        'top_pages()',
        (
            SELECT COALESCE(
                jsonb_agg(jsonb_build_array(p.path, p.views) ORDER BY p.views DESC, p.path COLLATE "C"), '[]'
            )
            FROM site_stats.top_pages(1000000, site => t.name) AS p
        )::text,
        pages.every::text
    ),
    (
        'views_by_day()',
        (
            SELECT COALESCE(jsonb_object_agg(b.day, b.views), '{}')
            FROM site_stats.views_by_day(
                until => (SELECT max(v.viewed_at AT TIME ZONE 'UTC')::date FROM site_stats.page_views AS v),
                site => t.name
            ) AS b
            WHERE b.views <> 0
        )::text,
        days.every::text
    ),
    (
        'page views whose origin is gone',
        (
            SELECT count(*)
            FROM ONLY site_stats.page_views AS v
            WHERE v.site_id = t.id
                AND v.origin_id IS NOT NULL
                AND NOT EXISTS (SELECT FROM site_stats.origins AS o WHERE o.id = v.origin_id)
        )::text,
        '0'
    )
) AS a (name, served, counted)
WHERE t.name <> 'spare' AND (a.name = 'source' OR a.served IS DISTINCT FROM a.counted);
