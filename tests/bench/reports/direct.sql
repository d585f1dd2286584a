-- Reports as direct SQL: the questions of the part `reports`, as queries over the page views alone. The functions of
-- schema bench have the names and columns of those of schema site_stats, for site 1, whose time zone is UTC, and for a
-- visit_timeout of 30 minutes. Each becomes part of the query that calls it. They know what the made-up page views
-- have: no visit is longer than a day, and only the first page view of a visit has an origin or a client.

\set ON_ERROR_STOP on

-- ---- without filters -----------------------------------------------------------------------------------------------

-- The page views of the days from since to until (matches), and those of a day around them, with their place in their
-- visit. Sessions and visits are numbered. A visit has its seconds at its first page view.
CREATE FUNCTION bench.visit_views(since date, until date)
RETURNS TABLE (
    session bigint,
    visit bigint,
    viewed_at timestamptz,
    path text,
    origin_id integer,
    client_id integer,
    matches boolean,
    begins boolean,
    ends boolean,
    before timestamptz,
    seconds interval
)
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT
        count(*) FILTER (WHERE p.before IS NULL) OVER all_before,
        count(*) FILTER (WHERE p.begins) OVER all_before,
        p.viewed_at,
        p.path,
        p.origin_id,
        p.client_id,
        p.viewed_at >= since::timestamp AT TIME ZONE 'UTC' AND p.viewed_at < (until + 1)::timestamp AT TIME ZONE 'UTC',
        p.begins,
        p.ends,
        p.before,
        CASE
            WHEN p.begins THEN
                date_trunc('second', min(p.viewed_at) FILTER (WHERE p.ends) OVER rest)
                    - date_trunc('second', p.viewed_at)
        END
    FROM (
        SELECT
            v.*,
            lag(v.viewed_at) OVER session AS before,
            COALESCE(v.viewed_at - lag(v.viewed_at) OVER session > interval '30 minutes', true) AS begins,
            COALESCE(lead(v.viewed_at) OVER session - v.viewed_at > interval '30 minutes', true) AS ends
        FROM site_stats.page_views AS v
        WHERE v.site_id = 1
            AND v.viewed_at >= (since - 1)::timestamp AT TIME ZONE 'UTC'
            AND v.viewed_at < (until + 2)::timestamp AT TIME ZONE 'UTC'
        WINDOW session AS (PARTITION BY v.session_id ORDER BY v.viewed_at, v.id)
    ) AS p
    WINDOW
        all_before AS (ORDER BY p.session_id, p.viewed_at, p.id ROWS UNBOUNDED PRECEDING),
        rest AS (
            PARTITION BY p.session_id
            ORDER BY p.viewed_at, p.id
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        )
$$;

CREATE FUNCTION bench.visitors(since date, until date)
RETURNS TABLE (visitors bigint)
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT count(DISTINCT v.session_id)
    FROM site_stats.page_views AS v
    WHERE v.site_id = 1
        AND v.viewed_at >= since::timestamp AT TIME ZONE 'UTC'
        AND v.viewed_at < (until + 1)::timestamp AT TIME ZONE 'UTC'
$$;

CREATE FUNCTION bench.summary(since date, until date)
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
PARALLEL SAFE
AS $$
    SELECT
        count(*),
        count(*) FILTER (WHERE v.before IS NULL OR v.before < since::timestamp AT TIME ZONE 'UTC'),
        count(*) FILTER (WHERE v.begins OR v.before < since::timestamp AT TIME ZONE 'UTC'),
        count(*) FILTER (WHERE v.begins),
        count(*) FILTER (WHERE v.ends),
        count(*) FILTER (WHERE v.begins AND v.ends),
        COALESCE(extract(epoch FROM sum(v.seconds)), 0)::bigint
    FROM bench.visit_views(since, until) AS v
    WHERE v.matches
$$;

-- Without units that have no page view.
CREATE FUNCTION bench.timeline(unit text, since date, until date)
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
PARALLEL SAFE
AS $$
    SELECT
        date_trunc(unit, v.viewed_at, 'UTC'),
        count(*),
        count(*) FILTER (WHERE v.is_first),
        count(*) FILTER (WHERE v.begins OR v.is_first),
        count(*) FILTER (WHERE v.begins),
        count(*) FILTER (WHERE v.ends),
        count(*) FILTER (WHERE v.begins AND v.ends),
        COALESCE(extract(epoch FROM sum(v.seconds)), 0)::bigint
    FROM (
        SELECT
            w.*,
            w.before IS NULL
                OR w.before < GREATEST(date_trunc(unit, w.viewed_at, 'UTC'), since::timestamp AT TIME ZONE 'UTC')
                AS is_first
        FROM bench.visit_views(since, until) AS w
        WHERE w.matches
    ) AS v
    GROUP BY 1
    ORDER BY 1
$$;

-- Two queries, of which the planner keeps one: paths are those of page views, all other words those of visits.
CREATE FUNCTION bench.breakdown(by text, since date, until date)
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
PARALLEL SAFE
AS $$
    SELECT
        v.path,
        count(*),
        count(DISTINCT v.session),
        count(DISTINCT v.visit),
        count(*) FILTER (WHERE v.begins),
        count(*) FILTER (WHERE v.ends),
        count(*) FILTER (WHERE v.begins AND v.ends),
        COALESCE(extract(epoch FROM sum(v.seconds)), 0)::bigint
    FROM bench.visit_views(since, until) AS v
    WHERE by = 'path' AND v.matches
    GROUP BY v.path
    UNION ALL
    SELECT
        CASE by
            WHEN 'entry_path' THEN v.path
            WHEN 'source' THEN o.source
            WHEN 'channel' THEN o.channel
            WHEN 'campaign' THEN o.campaign
            WHEN 'country' THEN c.country
            WHEN 'browser' THEN c.browser
            WHEN 'device' THEN c.device
        END,
        sum(v.views)::bigint,
        count(DISTINCT v.session),
        count(*),
        sum(v.entries)::bigint,
        sum(v.exits)::bigint,
        sum(v.bounces)::bigint,
        COALESCE(extract(epoch FROM sum(v.seconds)), 0)::bigint
    FROM (
        SELECT
            min(w.session) AS session,
            min(w.path) FILTER (WHERE w.begins) AS path,
            min(w.origin_id) FILTER (WHERE w.begins) AS origin_id,
            min(w.client_id) FILTER (WHERE w.begins) AS client_id,
            count(*) FILTER (WHERE w.matches) AS views,
            count(*) FILTER (WHERE w.matches AND w.begins) AS entries,
            count(*) FILTER (WHERE w.matches AND w.ends) AS exits,
            count(*) FILTER (WHERE w.matches AND w.begins AND w.ends) AS bounces,
            sum(w.seconds) FILTER (WHERE w.matches) AS seconds
        FROM bench.visit_views(since, until) AS w
        WHERE by <> 'path'
        GROUP BY w.visit
        HAVING bool_or(w.matches)
    ) AS v
    LEFT JOIN site_stats.origins AS o ON o.id = v.origin_id
    LEFT JOIN site_stats.clients AS c ON c.id = v.client_id
    WHERE by <> 'path'
    GROUP BY 1
    ORDER BY 3 DESC, 2 DESC, 1
    LIMIT 50
$$;

-- ---- with two filters ----------------------------------------------------------------------------------------------

-- The page views of visits with such a channel and country. It looks only at sessions that have such a page view at
-- all, each by the index on session and time.
CREATE FUNCTION bench.filtered_views(since date, until date, channel text, country text)
RETURNS TABLE (
    session_id text,
    visit bigint,
    viewed_at timestamptz,
    path text,
    origin_id integer,
    client_id integer,
    entry_path text,
    begins boolean,
    ends boolean,
    seconds interval
)
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT
        s.session_id,
        v.visit,
        v.viewed_at,
        v.path,
        v.visit_origin_id,
        v.visit_client_id,
        v.entry_path,
        v.begins,
        v.ends,
        v.seconds
    FROM (
        SELECT DISTINCT w.session_id
        FROM site_stats.page_views AS w
        JOIN site_stats.origins AS o ON o.id = w.origin_id
        JOIN site_stats.clients AS c ON c.id = w.client_id
        WHERE w.site_id = 1
            AND w.viewed_at >= (since - 1)::timestamp AT TIME ZONE 'UTC'
            AND w.viewed_at < (until + 1)::timestamp AT TIME ZONE 'UTC'
            AND o.channel = filtered_views.channel
            AND c.country = filtered_views.country
    ) AS s
    CROSS JOIN LATERAL (
        SELECT
            n.*,
            first_value(n.path) OVER visit AS entry_path,
            first_value(n.origin_id) OVER visit AS visit_origin_id,
            first_value(n.client_id) OVER visit AS visit_client_id,
            CASE
                WHEN n.begins THEN
                    date_trunc('second', last_value(n.viewed_at) OVER visit) - date_trunc('second', n.viewed_at)
            END AS seconds
        FROM (
            SELECT
                p.*,
                count(*) FILTER (WHERE p.begins) OVER (ORDER BY p.viewed_at, p.id ROWS UNBOUNDED PRECEDING) AS visit
            FROM (
                SELECT
                    w.*,
                    COALESCE(w.viewed_at - lag(w.viewed_at) OVER session > interval '30 minutes', true) AS begins,
                    COALESCE(lead(w.viewed_at) OVER session - w.viewed_at > interval '30 minutes', true) AS ends
                FROM site_stats.page_views AS w
                WHERE w.site_id = 1
                    AND w.session_id = s.session_id
                    AND w.viewed_at >= (since - 1)::timestamp AT TIME ZONE 'UTC'
                    AND w.viewed_at < (until + 2)::timestamp AT TIME ZONE 'UTC'
                WINDOW session AS (ORDER BY w.viewed_at, w.id)
            ) AS p
        ) AS n
        WINDOW visit AS (
            PARTITION BY n.visit
            ORDER BY n.viewed_at, n.id
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
    ) AS v
    JOIN site_stats.origins AS o ON o.id = v.visit_origin_id
    JOIN site_stats.clients AS c ON c.id = v.visit_client_id
    WHERE o.channel = filtered_views.channel
        AND c.country = filtered_views.country
        AND v.viewed_at >= since::timestamp AT TIME ZONE 'UTC'
        AND v.viewed_at < (until + 1)::timestamp AT TIME ZONE 'UTC'
$$;

-- With filters by channel and country, one value each.
CREATE FUNCTION bench.breakdown(by text, since date, until date, filters jsonb)
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
PARALLEL SAFE
AS $$
    SELECT
        CASE by
            WHEN 'path' THEN v.path
            WHEN 'entry_path' THEN v.entry_path
            WHEN 'source' THEN o.source
            WHEN 'country' THEN c.country
        END,
        count(*),
        count(DISTINCT v.session_id),
        count(DISTINCT (v.session_id, v.visit)),
        count(*) FILTER (WHERE v.begins),
        count(*) FILTER (WHERE v.ends),
        count(*) FILTER (WHERE v.begins AND v.ends),
        COALESCE(extract(epoch FROM sum(v.seconds)), 0)::bigint
    FROM bench.filtered_views(since, until, filters ->> 'channel', filters ->> 'country') AS v
    LEFT JOIN site_stats.origins AS o ON o.id = v.origin_id
    LEFT JOIN site_stats.clients AS c ON c.id = v.client_id
    GROUP BY 1
    ORDER BY 3 DESC, 2 DESC, 1
    LIMIT 50
$$;
