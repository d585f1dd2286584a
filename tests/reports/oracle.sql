-- What reports answer, straight from the definitions: plain SQL over site_stats.page_views, without any aggregate. The
-- functions of schema test have the parameters and columns of those of schema site_stats that have their names. Slow
-- on purpose: each answer reads all page views of the site.
--
-- A word is what a report breaks down by, or filters by. Where the definitions are silent:
--   - path, page_type, weekday and hour are those of the view; each other word is that of the first view of its visit.
--   - weekday is '1' (Monday) to '7', and hour '0' to '23', in the time zone of the site.
--   - A unit of a timeline is a value of date_trunc() in that zone, which may lie before the first day asked for.
--   - Without a first day, a timeline begins with the unit of the first matching view. Without a last day, it is one up
--     to today, and ends with the unit of the last matching view.
CREATE SCHEMA test;

-- Each view, with its words and its place in its visit.
CREATE VIEW test.visit_views AS
WITH gaps AS (
    SELECT
        v.*,
        v.viewed_at - lag(v.viewed_at) OVER session_views AS gap
    FROM ONLY site_stats.page_views AS v
    WINDOW session_views AS (PARTITION BY v.site_id, v.session_id ORDER BY v.viewed_at, v.id)
),
-- The setting is not known before the library is loaded.
beginnings AS (
    SELECT
        g.*,
        g.gap IS NULL
            OR g.gap > COALESCE(NULLIF(current_setting('site_stats.visit_timeout', true), ''), '1800s')::interval
            AS begins
    FROM gaps AS g
),
numbered AS (
    SELECT
        b.*,
        count(*) FILTER (WHERE b.begins)
            OVER (PARTITION BY b.site_id, b.session_id ORDER BY b.viewed_at, b.id) AS visit_number
    FROM beginnings AS b
),
visits AS (
    SELECT
        n.*,
        first_value(n.id) OVER visit AS first_id,
        first_value(n.path) OVER visit AS entry_path,
        first_value(n.origin_id) OVER visit AS visit_origin_id,
        first_value(n.client_id) OVER visit AS visit_client_id,
        last_value(n.id) OVER visit AS last_id,
        floor(extract(epoch FROM last_value(n.viewed_at) OVER visit))
            - floor(extract(epoch FROM first_value(n.viewed_at) OVER visit)) AS seconds
    FROM numbered AS n
    WINDOW visit AS (
        PARTITION BY n.site_id, n.session_id, n.visit_number
        ORDER BY n.viewed_at, n.id
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT
    v.id,
    v.site_id,
    v.session_id,
    v.viewed_at,
    s.timezone,
    (v.viewed_at AT TIME ZONE s.timezone)::date AS day,
    -- The visit is called by its first view.
    v.first_id AS visit_id,
    v.id = v.first_id AS begins,
    v.id = v.last_id AS ends,
    -- Of the whole visit.
    v.seconds::bigint AS seconds,
    -- The words.
    v.path,
    v.page_type,
    v.entry_path,
    o.source,
    o.referrer,
    o.medium,
    o.campaign,
    o.term,
    o.content,
    o.channel,
    c.browser,
    c.os,
    c.device,
    c.country,
    c.language,
    extract(isodow FROM v.viewed_at AT TIME ZONE s.timezone)::text AS weekday,
    extract(hour FROM v.viewed_at AT TIME ZONE s.timezone)::text AS hour
FROM visits AS v
JOIN site_stats.sites AS s ON s.id = v.site_id
LEFT JOIN site_stats.origins AS o ON o.id = v.visit_origin_id
LEFT JOIN site_stats.clients AS c ON c.id = v.visit_client_id;

-- Whether the value of a word passes the filter for it. The operator ? looks for a text in an array of texts, or
-- compares it with a single one.
CREATE FUNCTION test.passes(value text, filter jsonb)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
CALLED ON NULL INPUT
PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN jsonb_typeof(filter) = 'null' THEN value IS NULL
        WHEN jsonb_typeof(filter) IN ('string', 'array') THEN value IS NOT NULL AND filter ? value
        WHEN filter ? 'not' THEN value IS NULL OR NOT (filter -> 'not') ? value
        WHEN filter ? 'like' THEN value IS NOT NULL AND value COLLATE "C" LIKE filter ->> 'like'
    END
$$;

-- The views of the days asked for that pass all filters.
CREATE FUNCTION test.matching(since date, until date, filters jsonb, site text)
RETURNS SETOF test.visit_views
LANGUAGE sql
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
AS $$
    SELECT v.*
    FROM test.visit_views AS v
    WHERE v.site_id = (SELECT s.id FROM site_stats.sites AS s WHERE s.name = site)
        AND (since IS NULL OR v.day >= since)
        AND (until IS NULL OR v.day <= until)
        AND NOT EXISTS (
            SELECT
            FROM jsonb_each(filters) AS f
            WHERE NOT test.passes(to_jsonb(v) ->> f.key, f.value)
        )
$$;

CREATE FUNCTION test.summary(since date, until date, filters jsonb DEFAULT '{}', site text DEFAULT '')
RETURNS TABLE (
    views bigint,
    visitors bigint,
    visits bigint,
    entries bigint,
    exits bigint,
    bounces bigint,
    seconds bigint
)
LANGUAGE sql
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
AS $$
    SELECT
        count(*),
        count(DISTINCT m.session_id),
        count(DISTINCT m.visit_id),
        count(*) FILTER (WHERE m.begins),
        count(*) FILTER (WHERE m.ends),
        count(*) FILTER (WHERE m.begins AND m.ends),
        COALESCE(sum(m.seconds) FILTER (WHERE m.begins), 0)::bigint
    FROM test.matching(since, until, filters, site) AS m
$$;

-- The units that the days overlap, empty ones too. It looks at the clock of the site four times an hour, so that it
-- sees days of 23 and 25 hours, hours that begin at half past, and days that a zone has left out.
CREATE FUNCTION test.units(unit text, since date, until date, timezone text)
RETURNS SETOF timestamptz
LANGUAGE sql
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
AS $$
    SELECT DISTINCT date_trunc(unit, t, timezone)
    FROM generate_series(
        (since - 1)::timestamp AT TIME ZONE timezone,
        (until + 2)::timestamp AT TIME ZONE timezone,
        '15 minutes'
    ) AS t
    WHERE (t AT TIME ZONE timezone)::date BETWEEN since AND until
$$;

CREATE FUNCTION test.timeline(
    unit text,
    since date,
    until date,
    filters jsonb DEFAULT '{}',
    site text DEFAULT ''
)
RETURNS TABLE (
    starts_at timestamptz,
    views bigint,
    visitors bigint,
    visits bigint,
    entries bigint,
    exits bigint,
    bounces bigint,
    seconds bigint
)
LANGUAGE sql
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
AS $$
    WITH asked AS (
        SELECT s.timezone, COALESCE(until, (statement_timestamp() AT TIME ZONE s.timezone)::date) AS last_asked
        FROM site_stats.sites AS s
        WHERE s.name = site
    ),
    matching AS MATERIALIZED (
        SELECT m.*, date_trunc(unit, m.viewed_at, m.timezone) AS starts_at
        FROM asked AS a
        CROSS JOIN LATERAL test.matching(since, a.last_asked, filters, site) AS m
    ),
    found AS (
        SELECT
            min(m.day) AS first_day,
            max(m.day) AS last_day,
            min(m.starts_at) AS first_unit,
            max(m.starts_at) AS last_unit
        FROM matching AS m
    )
    SELECT
        u.starts_at,
        count(m.id),
        count(DISTINCT m.session_id),
        count(DISTINCT m.visit_id),
        count(*) FILTER (WHERE m.begins),
        count(*) FILTER (WHERE m.ends),
        count(*) FILTER (WHERE m.begins AND m.ends),
        COALESCE(sum(m.seconds) FILTER (WHERE m.begins), 0)::bigint
    FROM found AS f
    CROSS JOIN asked AS a
    CROSS JOIN LATERAL test.units(
        unit, COALESCE(since, f.first_day), COALESCE(until, f.last_day), a.timezone
    ) AS u (starts_at)
    LEFT JOIN matching AS m ON m.starts_at = u.starts_at
    WHERE (since IS NOT NULL OR u.starts_at >= f.first_unit)
        AND (until IS NOT NULL OR u.starts_at <= f.last_unit)
    GROUP BY u.starts_at
    ORDER BY u.starts_at
$$;

CREATE FUNCTION test.breakdown(
    by text,
    since date,
    until date,
    filters jsonb DEFAULT '{}',
    max_rows integer DEFAULT 50,
    site text DEFAULT ''
)
RETURNS TABLE (
    value text,
    views bigint,
    visitors bigint,
    visits bigint,
    entries bigint,
    exits bigint,
    bounces bigint,
    seconds bigint
)
LANGUAGE sql
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
AS $$
    SELECT
        to_jsonb(m) ->> by,
        count(*),
        count(DISTINCT m.session_id),
        count(DISTINCT m.visit_id),
        count(*) FILTER (WHERE m.begins),
        count(*) FILTER (WHERE m.ends),
        count(*) FILTER (WHERE m.begins AND m.ends),
        COALESCE(sum(m.seconds) FILTER (WHERE m.begins), 0)::bigint
    FROM test.matching(since, until, filters, site) AS m
    GROUP BY 1
    ORDER BY 3 DESC, 2 DESC, (to_jsonb(m) ->> by) COLLATE "C" NULLS LAST
    LIMIT max_rows
$$;
