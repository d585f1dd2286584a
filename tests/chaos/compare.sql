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
-- Visits, and days in the time zone of the site, straight from the definitions.
CROSS JOIN LATERAL (
    WITH gaps AS (
        SELECT
            v.*,
            v.viewed_at - lag(v.viewed_at) OVER (PARTITION BY v.session_id ORDER BY v.viewed_at, v.id) AS gap
        FROM ONLY site_stats.page_views AS v
        WHERE v.site_id = t.id
    ),
    numbered AS (
        SELECT
            g.*,
            count(*) FILTER (WHERE g.gap IS NULL OR g.gap > '30 min')
                OVER (PARTITION BY g.session_id ORDER BY g.viewed_at, g.id) AS number
        FROM gaps AS g
    ),
    whole AS (
        SELECT
            n.session_id,
            count(*) AS views,
            floor(extract(epoch FROM max(n.viewed_at))) - floor(extract(epoch FROM min(n.viewed_at))) AS seconds
        FROM numbered AS n
        GROUP BY n.session_id, n.number
    )
    SELECT
        (SELECT m::text FROM site_stats.summary(NULL, NULL, site => t.name) AS m) AS served,
        (
            SELECT (
                COALESCE(sum(w.views), 0)::bigint, count(DISTINCT w.session_id), count(*), count(*), count(*),
                count(*) FILTER (WHERE w.views = 1), COALESCE(sum(w.seconds), 0)::bigint
            )::text
            FROM whole AS w
        ) AS counted,
        (
            SELECT COALESCE(jsonb_object_agg(y.day, y.views), '{}')::text
            FROM (
                SELECT (v.viewed_at AT TIME ZONE t.timezone)::date AS day, count(*) AS views
                FROM ONLY site_stats.page_views AS v
                WHERE v.site_id = t.id
                GROUP BY 1
            ) AS y
        ) AS days
) AS visits
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
    ('summary()', visits.served, visits.counted),
    (
        'breakdown()',
        (
            SELECT COALESCE(
                jsonb_agg(jsonb_build_array(b.value, b.views) ORDER BY b.views DESC, b.value COLLATE "C"), '[]'
            )
            FROM site_stats.breakdown('path', NULL, NULL, max_rows => 1000000, site => t.name) AS b
        )::text,
        pages.every::text
    ),
    (
        'timeline()',
        (
            SELECT COALESCE(jsonb_object_agg((l.starts_at AT TIME ZONE t.timezone)::date, l.views), '{}')
            FROM site_stats.timeline(
                'day', d.since::date - 2, (SELECT max(v.viewed_at)::date + 2 FROM site_stats.page_views AS v),
                site => t.name
            ) AS l
            WHERE l.views <> 0
        )::text,
        visits.days
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
