-- What the part `reports` needs besides prepare.sql: made-up page views in visits, with origins and clients.

\set ON_ERROR_STOP on

-- ---- where visits come from, and what they are made with -----------------------------------------------------------

-- 300 origins: of 40 sources in ten channels, and half of them of one of 30 campaigns.
INSERT INTO site_stats.origins (source, referrer, medium, campaign, channel)
SELECT
    'Source ' || n % 40,
    'www.source-' || n % 40 || '.example/from/' || n,
    CASE WHEN n % 2 = 0 THEN (ARRAY['email', 'cpc', 'social'])[1 + n % 3] END,
    CASE WHEN n % 2 = 0 THEN 'campaign-' || n % 60 END,
    (ARRAY[
        'Organic Search', 'Organic Social', 'Referral', 'Email', 'Paid Search', 'AI Assistants', 'Direct', 'Display',
        'Paid Social', 'Affiliates'
    ])[1 + n % 10]
FROM generate_series(1, 300) AS n;

-- 200 clients: of 60 countries.
INSERT INTO site_stats.clients (browser, os, device, country, language)
SELECT
    'Browser ' || n % 9,
    'System ' || n % 7,
    (ARRAY['mobile', 'desktop', 'tablet', 'other'])[1 + n % 4],
    chr(65 + n % 60 / 10) || chr(65 + n % 10),
    'l' || chr(97 + n % 20)
FROM generate_series(1, 200) AS n;

-- ---- made-up views -------------------------------------------------------------------------------------------------

-- The page views numbered first to last of a history of so many page views: the year that ends with a day, of a site
-- with so many paths. There are six times as many at noon as at midnight. Page views of the paths follow Zipf's law:
-- the path of rank r has page views in proportion to 1/r; so do those of origins and clients. A session has four page
-- views on average, and a visit 2.3; the visits of a session are at any time of the year. A visit is within 20 minutes:
-- as many page views of all as come in ten minutes on average. Only the first page view of a visit has an origin, and
-- that for 70 % of visits, and a client, for 95 %.
-- All follows from the number of the page view, so each run makes the same rows, but for the day.
CREATE FUNCTION bench.site_views(
    first_view bigint,
    last_view bigint,
    all_views bigint,
    paths integer,
    last_day date
)
RETURNS TABLE (
    path text,
    page_type text,
    session_id text,
    viewed_at timestamptz,
    origin_id integer,
    client_id integer
)
LANGUAGE sql
STABLE
AS $$
    WITH numbered AS (
        SELECT n, floor((n + w.width * bench.part(n, 2)) / 2)::bigint AS visit
        FROM (SELECT GREATEST(all_views / 50000, 4) AS width) AS w
        CROSS JOIN LATERAL generate_series(GREATEST(first_view - w.width, 1), last_view) AS n
    ),
    begun AS (
        SELECT
            n,
            visit,
            n = min(n) OVER (PARTITION BY visit) AS begins,
            365 * (n - 0.5::double precision) / all_views AS days
        FROM numbered
    )
    SELECT
        bench.path(floor(exp(ln(paths + 0.5) * bench.part(n, 1)))),
        'blog',
        md5(floor(0.338 * all_views * bench.part(visit, 3))::text),
        (last_day - 364)::timestamp AT TIME ZONE 'UTC'
            + interval '1 day' * (days + 0.7 * sin(2 * pi() * days) / (2 * pi())),
        CASE WHEN begins AND bench.part(visit, 4) < 0.7 THEN floor(exp(ln(300.5) * bench.part(visit, 5)))::integer END,
        CASE WHEN begins AND bench.part(visit, 6) < 0.95 THEN floor(exp(ln(200.5) * bench.part(visit, 7)))::integer END
    FROM begun
    WHERE n >= first_view
    ORDER BY n
$$;
