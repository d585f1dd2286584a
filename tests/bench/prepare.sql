-- What the benchmark needs: the schema bench with made-up page views and the statistics page as a query, and the
-- schemas of the baselines. The table of page views is the same in each, with its checks, identity and indexes.

\set ON_ERROR_STOP on

CREATE EXTENSION site_stats;
CREATE SCHEMA bench;

-- ---- made-up views -------------------------------------------------------------------------------------------------

-- A number from 0 to 1 that follows from two others.
CREATE FUNCTION bench.part(n bigint, seed bigint)
RETURNS double precision
LANGUAGE sql
IMMUTABLE
AS $$
    SELECT (hashint8extended(n, seed) & 2147483647) / 2147483648.0::double precision
$$;

CREATE FUNCTION bench.path(rank double precision)
RETURNS text
LANGUAGE sql
IMMUTABLE
AS $$
    SELECT '/blog/post-' || rank
$$;

-- The page views numbered first to last of a history of so many page views: a year of a site with so many paths. Page
-- views of the paths follow Zipf's law: the path of rank r has page views in proportion to 1/r. The first page views
-- are one of each path. A session has four page views on average, in visits of about two. Each visit is within a
-- hundred page views of all; visits are at any time of the year. 500 page views in a row are of some 240 sessions.
-- All follows from the number of the page view, so each run makes the same rows.
CREATE FUNCTION bench.views(first_view bigint, last_view bigint, all_views bigint, paths integer)
RETURNS TABLE (path text, page_type text, session_id text, viewed_at timestamptz)
LANGUAGE sql
STABLE
AS $$
    SELECT
        bench.path(CASE WHEN n <= paths THEN n ELSE floor(exp(ln(paths + 0.5) * bench.part(n, 1))) END),
        'blog',
        md5(floor(0.355 * all_views * bench.part(floor((n + 100 * bench.part(n, 2)) / 2)::bigint, 3))::text),
        '2025-01-01 00:00:00+00'::timestamptz + n * (interval '365 days' / all_views)
    FROM generate_series(first_view, last_view) AS n
$$;

-- Titles for the thousand most viewed paths.
INSERT INTO site_stats.content (path, title, page_type)
SELECT bench.path(rank), 'Post number ' || rank, 'blog'
FROM generate_series(1, 1000) AS rank;

-- ---- plain: no counting, the upper limit of inserts ----------------------------------------------------------------

CREATE SCHEMA plain;
CREATE TABLE plain.page_views (LIKE site_stats.page_views INCLUDING ALL);

-- ---- naive: what people write by hand, a row trigger with upserts into one row for each counter --------------------

CREATE SCHEMA naive;
CREATE TABLE naive.page_views (LIKE site_stats.page_views INCLUDING ALL);

CREATE TABLE naive.path_totals (
    path text COLLATE "C" PRIMARY KEY,
    views bigint NOT NULL
);
CREATE TABLE naive.daily_totals (
    day date NOT NULL,
    path text COLLATE "C" NOT NULL,
    views bigint NOT NULL,
    PRIMARY KEY (day, path)
);
CREATE TABLE naive.sessions (
    session_id text COLLATE "C" PRIMARY KEY,
    views bigint NOT NULL
);
CREATE TABLE naive.site_totals (
    views bigint NOT NULL,
    visitors bigint NOT NULL
);
INSERT INTO naive.site_totals VALUES (0, 0);

CREATE FUNCTION naive.count_page_view()
RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    is_new boolean;
BEGIN
    INSERT INTO naive.sessions AS t
    VALUES (NEW.session_id, 1)
    ON CONFLICT (session_id) DO UPDATE SET views = t.views + 1
    RETURNING t.views = 1 INTO is_new;

    INSERT INTO naive.daily_totals AS t
    VALUES ((NEW.viewed_at AT TIME ZONE 'UTC')::date, NEW.path, 1)
    ON CONFLICT (day, path) DO UPDATE SET views = t.views + 1;

    INSERT INTO naive.path_totals AS t
    VALUES (NEW.path, 1)
    ON CONFLICT (path) DO UPDATE SET views = t.views + 1;

    -- Last, because it is the one row that every writer waits for.
    UPDATE naive.site_totals SET views = views + 1, visitors = visitors + is_new::integer;
    RETURN NULL;
END
$$;

CREATE TRIGGER page_views_insert
AFTER INSERT ON naive.page_views
FOR EACH ROW EXECUTE FUNCTION naive.count_page_view();

-- ---- one statement: the same aggregates built by one query for each table, the limit of a backfill -----------------

CREATE SCHEMA one_statement;

CREATE TABLE one_statement.path_totals (
    path text COLLATE "C" PRIMARY KEY,
    views bigint NOT NULL,
    page_type text NOT NULL,
    last_view_id bigint NOT NULL
);
CREATE TABLE one_statement.daily_totals (
    day date NOT NULL,
    path text COLLATE "C" NOT NULL,
    views bigint NOT NULL,
    PRIMARY KEY (day, path)
);
CREATE TABLE one_statement.sessions (
    session_id text COLLATE "C" PRIMARY KEY,
    views bigint NOT NULL
);
CREATE TABLE one_statement.site_totals (
    views bigint NOT NULL,
    visitors bigint NOT NULL
);

-- ---- direct SQL: the statistics page as one query over the page views ----------------------------------------------

-- The columns of get_stats(), but for source.
CREATE VIEW bench.statistics_page AS
WITH active AS MATERIALIZED (
    SELECT a.session_id, a.current_path, a.city, a.country, a.latitude, a.longitude
    FROM site_stats.active_sessions AS a
    WHERE a.last_seen_at > statement_timestamp() - interval '2 minutes'
),
paths AS MATERIALIZED (
    SELECT v.path, count(*) AS views, max(v.id) AS last_view_id
    FROM site_stats.page_views AS v
    GROUP BY v.path
),
top AS (
    SELECT p.path, p.views, p.last_view_id
    FROM paths AS p
    ORDER BY p.views DESC, p.path
    LIMIT 50
)
SELECT
    (SELECT count(*) FROM active) AS active_visitors,
    (
        SELECT COALESCE(
            jsonb_agg(jsonb_build_object('path', n.path, 'count', n.visitors) ORDER BY n.visitors DESC, n.path),
            '[]'
        )
        FROM (SELECT a.current_path AS path, count(*) AS visitors FROM active AS a GROUP BY a.current_path) AS n
    ) AS active_by_path,
    (SELECT sum(p.views)::bigint FROM paths AS p) AS total_page_views,
    (
        SELECT count(*)
        FROM (SELECT v.session_id FROM site_stats.page_views AS v GROUP BY v.session_id) AS s
    ) AS unique_visitors,
    (SELECT count(*) FROM site_stats.content AS c WHERE c.published AND c.page_type = 'blog') AS published_posts,
    (SELECT count(*) FROM site_stats.content AS c WHERE c.published AND c.page_type = 'page') AS published_pages,
    (SELECT min(v.viewed_at) FROM site_stats.page_views AS v) AS tracking_since,
    (
        SELECT COALESCE(
            jsonb_agg(
                jsonb_build_object(
                    'path', p.path,
                    'title', COALESCE(c.title, p.path),
                    'pageType', COALESCE(c.page_type, v.page_type),
                    'views', p.views
                )
                ORDER BY p.views DESC, p.path
            ),
            '[]'
        )
        FROM top AS p
        JOIN site_stats.page_views AS v ON v.id = p.last_view_id
        LEFT JOIN site_stats.content AS c ON c.path = p.path
    ) AS page_stats,
    (SELECT count(*) FROM paths) AS total_paths,
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
    ) AS visitor_locations;
