-- A made-up history of a blog: 200,000 page views over the 90 days up to 30 June 2025. Of its 1,000 paths few are
-- popular and most are not; visitors come back. Everything follows from the number of the page view and a hash of it,
-- so each run makes the same rows. The triggers are off, as they are for rows that come by logical replication or a
-- data-only restore. So these page views are in the table, and in no aggregate.

\set ON_ERROR_STOP on

BEGIN;
SET LOCAL session_replication_role TO 'replica';
SET LOCAL TimeZone TO 'UTC';

-- The pages by popularity: home first, a few fixed pages, then posts.
CREATE TEMPORARY TABLE demo_pages ON COMMIT DROP AS
SELECT
    rank,
    CASE rank
        WHEN 1 THEN '/'
        WHEN 3 THEN '/about'
        WHEN 6 THEN '/blog'
        WHEN 12 THEN '/contact'
        WHEN 20 THEN '/projects'
        WHEN 40 THEN '/stats'
        ELSE '/blog/' || topic || '-' || rank
    END AS path,
    CASE
        WHEN rank = 1 THEN 'home'
        WHEN rank = 40 THEN 'stats'
        WHEN rank IN (3, 6, 12, 20) THEN 'page'
        ELSE 'blog'
    END AS page_type,
    CASE rank
        WHEN 3 THEN 'About us'
        WHEN 6 THEN 'All posts'
        WHEN 12 THEN 'Contact'
        WHEN 20 THEN 'Projects'
        ELSE initcap(topic) || ', part ' || rank
    END AS title
FROM generate_series(1, 1000) AS rank
CROSS JOIN LATERAL (
    SELECT (
        ARRAY['postgres', 'rust', 'indexes', 'triggers', 'backups', 'testing', 'queries', 'locks', 'caching', 'charts']
    )[1 + rank % 10] AS topic
) AS topics;

-- Titles for everything but / and /stats, which statistics name themselves; every 25th post is still a draft.
INSERT INTO site_stats.content (path, title, page_type, published)
SELECT path, title, page_type, page_type = 'page' OR rank % 25 <> 0
FROM demo_pages
WHERE page_type IN ('page', 'blog');

-- Where visits come from, and what they are made with. Few origins and clients are frequent, like few pages.
INSERT INTO site_stats.origins (source, referrer, medium, campaign, channel) VALUES
    ('Google', 'www.google.com/', NULL, NULL, 'Organic Search'),
    ('news.ycombinator.com', 'news.ycombinator.com/item', NULL, NULL, 'Referral'),
    ('DuckDuckGo', 'duckduckgo.com/', NULL, NULL, 'Organic Search'),
    ('Newsletter', NULL, 'email', 'june-letter', 'Email'),
    ('ChatGPT', 'chatgpt.com/', NULL, NULL, 'AI Assistants'),
    ('Mastodon', 'mastodon.social/', NULL, NULL, 'Organic Social'),
    ('Google', 'www.google.com/', 'cpc', 'brand', 'Paid Search'),
    ('Reddit', 'www.reddit.com/r/PostgreSQL', NULL, NULL, 'Organic Social');
INSERT INTO site_stats.clients (browser, os, device, country, language) VALUES
    ('Chrome', 'Windows', 'desktop', 'US', 'en-US'),
    ('Safari', 'iOS', 'mobile', 'DE', 'de'),
    ('Firefox', 'Linux', 'desktop', 'DE', 'de'),
    ('Chrome', 'Android', 'mobile', 'IN', 'en-IN'),
    ('Edge', 'Windows', 'desktop', 'GB', 'en-GB'),
    ('Safari', 'macOS', 'desktop', 'FR', 'fr'),
    ('Samsung Internet', 'Android', 'tablet', 'BR', 'pt-BR'),
    ('Chrome', 'macOS', 'desktop', 'JP', 'ja');

-- How many page views each day has: growing over the 90 days, fewer at weekends, a peak when a post was widely shared.
CREATE TEMPORARY TABLE demo_days ON COMMIT DROP AS
SELECT
    day,
    200000 * (cumulative - weight) / total AS views_before,
    200000 * cumulative / total - 200000 * (cumulative - weight) / total AS views
FROM (
    SELECT
        day,
        weight,
        sum(weight) OVER (ORDER BY day)::bigint AS cumulative,
        sum(weight) OVER ()::bigint AS total
    FROM (
        SELECT
            date '2025-04-02' + n AS day,
            (100 + n)
            * CASE WHEN extract(isodow FROM date '2025-04-02' + n) >= 6 THEN 6 ELSE 10 END
            * CASE n WHEN 80 THEN 25 WHEN 81 THEN 18 WHEN 82 THEN 13 ELSE 10 END
            + n * 7919 % 97 AS weight
        FROM generate_series(0, 89) AS n
    ) AS weights
) AS days;

INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, origin_id, client_id)
SELECT
    p.path,
    p.page_type,
    'visitor-' || v.visitor,
    v.viewed_at,
    -- Three of four visits come from somewhere.
    CASE WHEN v.number % 4 > 0 THEN o.first + floor(8 * (v.visitor::bigint * 7919 % 1000 / 1000.0) ^ 1.8)::integer END,
    c.first + floor(8 * (v.visitor::bigint * 104729 % 1000 / 1000.0) ^ 1.5)::integer
FROM (
    SELECT
        d.views_before + n AS number,
        -- Zipf's law: the page of rank r has views in proportion to 1/r.
        floor(exp(ln(1000.5) * h.first / 4294967296.0))::integer AS rank,
        -- Visitors with about four page views each; those with low numbers come back more often.
        floor(52000 * (h.second / 4294967296.0) ^ 1.4)::integer AS visitor,
        -- More page views by day than by night.
        d.day::timestamptz + make_interval(
            secs => floor(86399 * ((n - 0.5) / d.views + 0.08 * sin(2 * pi() * (n - 0.5) / d.views)))
        ) AS viewed_at
    FROM demo_days AS d
    CROSS JOIN LATERAL generate_series(1, d.views) AS n
    CROSS JOIN LATERAL (SELECT md5('view ' || d.views_before + n) AS hash) AS w
    -- Two of five page views are a visit of their own; the others are in visits of some that follow each other.
    CROSS JOIN LATERAL (
        SELECT
            w.hash,
            CASE WHEN w.hash < '66' THEN w.hash ELSE md5('visit ' || floor((d.views_before + n) / 4)) END AS visit
    ) AS m
    CROSS JOIN LATERAL (
        SELECT
            ('x' || substr(m.hash, 1, 8))::bit(32)::bigint & 4294967295 AS first,
            ('x' || substr(m.visit, 9, 8))::bit(32)::bigint & 4294967295 AS second
    ) AS h
) AS v
JOIN demo_pages AS p ON p.rank = v.rank
CROSS JOIN (SELECT min(id) AS first FROM site_stats.origins) AS o
CROSS JOIN (SELECT min(id) AS first FROM site_stats.clients) AS c
ORDER BY v.number;

COMMIT;
