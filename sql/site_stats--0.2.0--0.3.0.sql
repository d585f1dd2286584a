-- From 0.2.0 to 0.3.0: many sites, and what a page view says beside its path.
--
-- Page views, counters and answers stay: all of them are of the first site. New columns come last and need no rewrite of a
-- table; the primary keys of the counters, and one index of page_views, are made anew. Functions with a new argument replace
-- those without it, and keep their owner and their grants.

SET LOCAL search_path TO pg_catalog, pg_temp;
SET LOCAL default_table_access_method TO heap;

-- The first lock: writers and batches, too, have that of page_views before others.
LOCK TABLE ONLY site_stats.page_views IN ACCESS EXCLUSIVE MODE;

CREATE TABLE site_stats.sites (
    id smallint GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    timezone text NOT NULL DEFAULT 'UTC',
    hosts text[],
    excluded_addresses cidr[],
    excluded_paths text[],
    kept_parameters text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sites_id_pkey PRIMARY KEY (id),
    CONSTRAINT sites_name_key UNIQUE (name),
    CONSTRAINT sites_name_check CHECK (octet_length(name) <= 128 AND (id = 1) = (name = '')),
    -- An unknown time zone raises 22023.
    CONSTRAINT sites_timezone_check CHECK (
        '2000-01-01 00:00:00+00'::timestamptz AT TIME ZONE timezone IS NOT NULL
    ),
    -- As an array of one dimension without NULL.
    CONSTRAINT sites_hosts_check CHECK (array_ndims(hosts) = 1 AND array_position(hosts, NULL) IS NULL),
    CONSTRAINT sites_excluded_addresses_check CHECK (
        array_ndims(excluded_addresses) = 1 AND array_position(excluded_addresses, NULL) IS NULL
    ),
    CONSTRAINT sites_excluded_paths_check CHECK (
        array_ndims(excluded_paths) = 1 AND array_position(excluded_paths, NULL) IS NULL
    ),
    CONSTRAINT sites_kept_parameters_check CHECK (
        array_ndims(kept_parameters) = 1 AND array_position(kept_parameters, NULL) IS NULL
    )
);

INSERT INTO site_stats.sites (name) VALUES ('');

COMMENT ON TABLE site_stats.sites IS
    'The sites whose statistics are kept, filled by their owner; the first has no name.';

COMMENT ON COLUMN site_stats.sites.name IS
    'What functions call the site by: at most 128 bytes, empty for site 1 alone.';

COMMENT ON COLUMN site_stats.sites.timezone IS 'The time zone that decides what a day of the site is in reports.';

COMMENT ON COLUMN site_stats.sites.hosts IS 'Hosts whose views are recorded, without ports; NULL for any.';

COMMENT ON COLUMN site_stats.sites.excluded_addresses IS 'Networks whose views are not recorded; NULL for none.';

COMMENT ON COLUMN site_stats.sites.excluded_paths IS 'LIKE patterns of paths that are not recorded; NULL for none.';

COMMENT ON COLUMN site_stats.sites.kept_parameters IS
    'Query parameters that make another page, and so stay in a path; NULL for none.';

-- A dump carries the first site, too, and CREATE EXTENSION has made it: what comes for it changes it.
CREATE FUNCTION site_stats.restore_first_site()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE site_stats.sites AS s
    SET
        timezone = NEW.timezone,
        hosts = NEW.hosts,
        excluded_addresses = NEW.excluded_addresses,
        excluded_paths = NEW.excluded_paths,
        kept_parameters = NEW.kept_parameters,
        created_at = NEW.created_at
    WHERE s.id = 1;
    RETURN CASE WHEN NOT FOUND THEN NEW END;
END
$$;

COMMENT ON FUNCTION site_stats.restore_first_site() IS
    'Trigger that changes the first site in place of inserting it again, as the restore of a dump does.';

CREATE TRIGGER sites_restore
BEFORE INSERT ON site_stats.sites
FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION site_stats.restore_first_site();

-- For a subscriber of logical replication, too.
ALTER TABLE site_stats.sites ENABLE ALWAYS TRIGGER sites_restore;

-- The page views of a site go with it. Nobody may record one meanwhile, and each writer must hear of it: the ids of
-- sites that are gone are kept, and page views for them are refused. A transaction of a higher isolation level would
-- not see all page views, and leave some behind.
CREATE TABLE site_stats.removed_sites (
    id smallint NOT NULL,
    CONSTRAINT removed_sites_id_pkey PRIMARY KEY (id)
);

COMMENT ON TABLE site_stats.removed_sites IS 'The ids of sites that were deleted: no page view may come in for them.';

CREATE FUNCTION site_stats.prepare_site_removal()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a site cannot be deleted in a transaction with isolation level REPEATABLE READ or SERIALIZABLE'
            USING ERRCODE = 'active_sql_transaction',
                HINT = 'Begin the transaction with BEGIN ISOLATION LEVEL READ COMMITTED.';
    END IF;
    LOCK TABLE ONLY site_stats.page_views IN SHARE ROW EXCLUSIVE MODE;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION site_stats.prepare_site_removal() IS
    'Trigger that keeps writers of page views out until the site and its page views are gone.';

CREATE TRIGGER sites_before_delete
BEFORE DELETE ON site_stats.sites
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.prepare_site_removal();

CREATE FUNCTION site_stats.remove_sites()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM removed AS r WHERE r.id = 1) THEN
        RAISE EXCEPTION 'the site without a name cannot be deleted'
            USING ERRCODE = 'restrict_violation',
                HINT = 'DELETE FROM site_stats.page_views WHERE site_id = 1 takes its page views away.';
    END IF;
    INSERT INTO site_stats.removed_sites (id)
    SELECT r.id
    FROM removed AS r
    ON CONFLICT (id) DO NOTHING;
    DELETE FROM ONLY site_stats.page_views AS v
    USING removed AS r
    WHERE v.site_id = r.id;
    DELETE FROM site_stats.content AS c
    USING removed AS r
    WHERE c.site_id = r.id;
    DELETE FROM site_stats.active_sessions AS a
    USING removed AS r
    WHERE a.site_id = r.id;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION site_stats.remove_sites() IS
    'Trigger that removes what deleted sites have, and refuses to delete the first site.';

CREATE TRIGGER sites_after_delete
AFTER DELETE ON site_stats.sites
REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.remove_sites();

CREATE FUNCTION site_stats.keep_site_ids()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the id of a site cannot be changed, and site_stats.sites cannot be truncated'
        USING ERRCODE = 'restrict_violation',
            HINT = 'DELETE takes a site away, with its page views.';
END
$$;

COMMENT ON FUNCTION site_stats.keep_site_ids() IS
    'Trigger that refuses what would leave page views of a site that is not there.';

CREATE TRIGGER sites_keep_ids
BEFORE UPDATE OF id ON site_stats.sites
FOR EACH ROW WHEN (NEW.id <> OLD.id) EXECUTE FUNCTION site_stats.keep_site_ids();

CREATE TRIGGER sites_keep
BEFORE TRUNCATE ON site_stats.sites
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.keep_site_ids();

-- A process remembers the sites that it has met.
CREATE FUNCTION site_stats.announce_sites()
RETURNS trigger
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'announce_sites_wrapper';

COMMENT ON FUNCTION site_stats.announce_sites() IS
    'Trigger that tells every process that the sites have changed.';

CREATE TRIGGER sites_changed
AFTER INSERT OR UPDATE OR DELETE ON site_stats.sites
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.announce_sites();

ALTER TABLE site_stats.sites ENABLE ALWAYS TRIGGER sites_changed;

CREATE FUNCTION site_stats.site_id(site text)
RETURNS smallint
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'site_id_wrapper';

COMMENT ON FUNCTION site_stats.site_id(text) IS 'The id of the site with a name; an error if there is none.';

-- The first site as CREATE EXTENSION makes it is not in a dump, so that a restore without triggers does not meet it.
SELECT pg_extension_config_dump('site_stats.sites', $$
    WHERE id <> 1 OR timezone <> 'UTC' OR num_nonnulls(
        hosts, excluded_addresses, excluded_paths, kept_parameters
    ) > 0
$$);

SELECT pg_extension_config_dump('site_stats.sites_id_seq', '');

-- page_views: the truth. Every number of this extension is derived from these rows and can be rebuilt from them. Also
-- the titles that a site gives to its paths, and where views come from and with what.
--
-- Text keys are compared byte by byte (COLLATE "C"): the fastest order, the same on every server, and the order
-- in which counters are locked.

-- Where a visit came from, and what it was made with. Neither holds an address, a full user agent, or anything else
-- that names a person. Two rows may have the same values: reports compare values.
CREATE TABLE site_stats.origins (
    id integer GENERATED ALWAYS AS IDENTITY,
    source text,
    referrer text,
    medium text,
    campaign text,
    term text,
    content text,
    channel text,
    CONSTRAINT origins_id_pkey PRIMARY KEY (id),
    CONSTRAINT origins_id_check CHECK (id > 0)
);

COMMENT ON TABLE site_stats.origins IS 'Where visits came from, one row for each combination that was seen.';

COMMENT ON COLUMN site_stats.origins.source IS 'The referring site as people call it, such as Google; NULL if unknown.';

COMMENT ON COLUMN site_stats.origins.referrer IS 'Host and path of the referring page, without a query; NULL for none.';

COMMENT ON COLUMN site_stats.origins.medium IS 'The utm_medium of the link; NULL for none.';

COMMENT ON COLUMN site_stats.origins.campaign IS 'The utm_campaign of the link; NULL for none.';

COMMENT ON COLUMN site_stats.origins.term IS 'The utm_term of the link; NULL for none.';

COMMENT ON COLUMN site_stats.origins.content IS 'The utm_content of the link; NULL for none.';

COMMENT ON COLUMN site_stats.origins.channel IS 'The kind of source, such as Organic Search or Email; NULL if unknown.';

SELECT pg_extension_config_dump('site_stats.origins', '');
SELECT pg_extension_config_dump('site_stats.origins_id_seq', '');

CREATE TABLE site_stats.clients (
    id integer GENERATED ALWAYS AS IDENTITY,
    browser text,
    os text,
    device text,
    country text,
    language text,
    CONSTRAINT clients_id_pkey PRIMARY KEY (id),
    CONSTRAINT clients_id_check CHECK (id > 0)
);

COMMENT ON TABLE site_stats.clients IS 'What visits were made with, one row for each combination that was seen.';

COMMENT ON COLUMN site_stats.clients.browser IS 'The browser without its version; NULL if unknown.';

COMMENT ON COLUMN site_stats.clients.os IS 'The operating system without its version; NULL if unknown.';

COMMENT ON COLUMN site_stats.clients.device IS
    'desktop, mobile, tablet, tv, console or other; NULL if unknown.';

COMMENT ON COLUMN site_stats.clients.country IS 'Two letters, as in ISO 3166-1; NULL if unknown.';

COMMENT ON COLUMN site_stats.clients.language IS 'The language of the browser, such as en-GB; NULL if unknown.';

SELECT pg_extension_config_dump('site_stats.clients', '');
SELECT pg_extension_config_dump('site_stats.clients_id_seq', '');

ALTER TABLE site_stats.page_views
    ADD COLUMN site_id smallint NOT NULL DEFAULT 1,
    ADD COLUMN origin_id integer,
    ADD COLUMN client_id integer;

-- What a page view may hold. The server parses each CHECK constraint again in each statement. So these are calls of
-- functions, whose text is short (src/count/bounds.rs).
CREATE FUNCTION site_stats.is_path(path text)
RETURNS boolean
LANGUAGE c
IMMUTABLE
STRICT
PARALLEL SAFE
AS 'MODULE_PATHNAME', 'is_path_wrapper';
COMMENT ON FUNCTION site_stats.is_path(text) IS 'Whether a path has 1 to 2,048 bytes, which an index entry can hold.';

CREATE FUNCTION site_stats.is_page_type(page_type text)
RETURNS boolean
LANGUAGE c
IMMUTABLE
STRICT
PARALLEL SAFE
AS 'MODULE_PATHNAME', 'is_page_type_wrapper';
COMMENT ON FUNCTION site_stats.is_page_type(text) IS 'Whether a page type has 1 to 64 bytes.';

CREATE FUNCTION site_stats.is_session_id(session_id text)
RETURNS boolean
LANGUAGE c
IMMUTABLE
STRICT
PARALLEL SAFE
AS 'MODULE_PATHNAME', 'is_session_id_wrapper';
COMMENT ON FUNCTION site_stats.is_session_id(text) IS 'Whether a session id has 1 to 128 bytes.';

CREATE FUNCTION site_stats.is_time_of_view(viewed_at timestamptz)
RETURNS boolean
LANGUAGE c
IMMUTABLE
STRICT
PARALLEL SAFE
AS 'MODULE_PATHNAME', 'is_time_of_view_wrapper';
COMMENT ON FUNCTION site_stats.is_time_of_view(timestamptz) IS 'Whether a time is in the years 1970 to 9999 (UTC).';

-- A constraint that the owner has dropped stays away.
DO $$
DECLARE
    changes text;
BEGIN
    SELECT string_agg(format('DROP CONSTRAINT %1$I, ADD CONSTRAINT %1$I CHECK (%2$s)', n.name, n.condition), ', ')
    INTO changes
    FROM (
        VALUES
            ('page_views_path_check', 'site_stats.is_path(path)'),
            ('page_views_page_type_check', 'site_stats.is_page_type(page_type)'),
            ('page_views_session_id_check', 'site_stats.is_session_id(session_id)'),
            ('page_views_viewed_at_check', 'site_stats.is_time_of_view(viewed_at)')
    ) AS n (name, condition)
    JOIN pg_constraint AS c ON c.conrelid = 'site_stats.page_views'::regclass AND c.conname = n.name;

    IF changes IS NOT NULL THEN
        EXECUTE 'ALTER TABLE site_stats.page_views ' || changes;
    END IF;
END
$$;

COMMENT ON COLUMN site_stats.page_views.session_id IS
    'The visitor of the site: 1 to 128 bytes, chosen by the site.';

COMMENT ON COLUMN site_stats.page_views.site_id IS 'The site; 1 for the site without a name.';

COMMENT ON COLUMN site_stats.page_views.origin_id IS
    'The row of origins that says where the visitor came from; NULL for a direct visit or no news.';

COMMENT ON COLUMN site_stats.page_views.client_id IS
    'The row of clients that says what the page was viewed with; NULL if unknown.';

-- For the earliest page view of a site, and for ranges of time.
CREATE INDEX page_views_site_id_viewed_at_idx ON site_stats.page_views (site_id, viewed_at);

DROP INDEX site_stats.page_views_viewed_at_idx;

ALTER TABLE site_stats.content
    ADD COLUMN site_id smallint NOT NULL DEFAULT 1,
    DROP CONSTRAINT content_path_pkey,
    ADD CONSTRAINT content_site_id_path_pkey PRIMARY KEY (site_id, path);

COMMENT ON COLUMN site_stats.content.site_id IS 'The site; 1 for the site without a name.';

ALTER TABLE site_stats.path_totals
    ADD COLUMN site_id smallint NOT NULL DEFAULT 1,
    DROP CONSTRAINT path_totals_path_slot_pkey,
    ADD CONSTRAINT path_totals_site_id_path_slot_pkey PRIMARY KEY (site_id, path, slot);

COMMENT ON COLUMN site_stats.path_totals.site_id IS 'The site of the path.';

ALTER TABLE site_stats.daily_totals
    ADD COLUMN site_id smallint NOT NULL DEFAULT 1,
    DROP CONSTRAINT daily_totals_day_path_slot_pkey,
    ADD CONSTRAINT daily_totals_site_id_day_path_slot_pkey PRIMARY KEY (site_id, day, path, slot);

COMMENT ON COLUMN site_stats.daily_totals.site_id IS 'The site of the path.';

ALTER TABLE site_stats.site_totals
    ADD COLUMN site_id smallint NOT NULL DEFAULT 1,
    DROP CONSTRAINT site_totals_slot_pkey,
    ADD CONSTRAINT site_totals_site_id_slot_pkey PRIMARY KEY (site_id, slot);

COMMENT ON COLUMN site_stats.site_totals.site_id IS 'The site.';

COMMENT ON TABLE site_stats.site_totals IS
    'All visitors of a site, split over slots; all views are the sum over the paths. Derived: never write it by hand.';

ALTER TABLE site_stats.sessions
    ADD COLUMN site_id smallint NOT NULL DEFAULT 1,
    DROP CONSTRAINT sessions_session_id_pkey,
    ADD CONSTRAINT sessions_site_id_session_id_pkey PRIMARY KEY (site_id, session_id);

COMMENT ON COLUMN site_stats.sessions.site_id IS 'The site that the session visits.';

ALTER TABLE site_stats.active_sessions
    ADD COLUMN site_id smallint NOT NULL DEFAULT 1,
    DROP CONSTRAINT active_sessions_session_id_pkey,
    ADD CONSTRAINT active_sessions_site_id_session_id_pkey PRIMARY KEY (site_id, session_id);

COMMENT ON COLUMN site_stats.active_sessions.site_id IS 'The site; 1 for the site without a name.';

-- The state is computed once for each of these views. A planner that takes page views for few, as one without
-- statistics does, would compute it for each of them.
CREATE OR REPLACE VIEW site_stats.path_views AS
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

CREATE OR REPLACE VIEW site_stats.daily_views AS
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

-- Each function steps aside for the one with the new argument, until that has its grants.

ALTER FUNCTION site_stats.record_page_view(text, text, text) RENAME TO record_page_view_of_0_2_0;
ALTER FUNCTION site_stats.heartbeat(text, text, text, text, double precision, double precision) RENAME TO heartbeat_of_0_2_0;
ALTER FUNCTION site_stats.page_shown(text, bigint) RENAME TO page_shown_of_0_2_0;
ALTER FUNCTION site_stats.most_viewed_paths(integer) RENAME TO most_viewed_paths_of_0_2_0;
ALTER FUNCTION site_stats.top_pages(integer, date, date) RENAME TO top_pages_of_0_2_0;
ALTER FUNCTION site_stats.top_pages_in_snapshot(integer, date, date) RENAME TO top_pages_in_snapshot_of_0_2_0;
ALTER FUNCTION site_stats.views_by_day(date, date, text) RENAME TO views_by_day_of_0_2_0;
ALTER FUNCTION site_stats.views_by_day_in_snapshot(date, date, text) RENAME TO views_by_day_in_snapshot_of_0_2_0;
ALTER FUNCTION site_stats.active_pages() RENAME TO active_pages_of_0_2_0;
ALTER FUNCTION site_stats.get_stats() RENAME TO get_stats_of_0_2_0;
ALTER FUNCTION site_stats.get_stats_in_snapshot() RENAME TO get_stats_in_snapshot_of_0_2_0;
ALTER FUNCTION site_stats.check_totals() RENAME TO check_totals_of_0_2_0;
ALTER FUNCTION site_stats.check_totals_in_snapshot() RENAME TO check_totals_in_snapshot_of_0_2_0;

CREATE FUNCTION site_stats.record_page_view(
    path text,
    page_type text,
    session_id text,
    site text DEFAULT ''
)
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'record_page_view_wrapper';

COMMENT ON FUNCTION site_stats.record_page_view(text, text, text, text) IS
    'Records a page view and returns recorded, duplicate or rate_limited.';

CREATE FUNCTION site_stats.heartbeat(
    session_id text,
    current_path text,
    city text DEFAULT NULL,
    country text DEFAULT NULL,
    latitude double precision DEFAULT NULL,
    longitude double precision DEFAULT NULL,
    site text DEFAULT ''
)
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'heartbeat_wrapper';

COMMENT ON FUNCTION site_stats.heartbeat(text, text, text, text, double precision, double precision, text) IS
    'Notes that a session is on a page now and returns recorded or duplicate; removes a few stale sessions.';

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

-- New functions are not for everybody, as the install script has it.

REVOKE ALL ON FUNCTION site_stats.record_page_view(text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.heartbeat(text, text, text, text, double precision, double precision, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.page_shown(text, bigint, smallint) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.most_viewed_paths(integer, smallint) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.top_pages(integer, date, date, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.top_pages_in_snapshot(integer, date, date, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.views_by_day(date, date, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.views_by_day_in_snapshot(date, date, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.active_pages(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.get_stats(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.get_stats_in_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.check_totals(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.check_totals_in_snapshot(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.restore_first_site() FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.prepare_site_removal() FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.remove_sites() FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.keep_site_ids() FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.announce_sites() FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.site_id(text) FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.removed_sites FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.sites FROM PUBLIC;
REVOKE ALL ON SEQUENCE site_stats.sites_id_seq FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.origins FROM PUBLIC;
REVOKE ALL ON SEQUENCE site_stats.origins_id_seq FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.clients FROM PUBLIC;
REVOKE ALL ON SEQUENCE site_stats.clients_id_seq FROM PUBLIC;

-- Owner and grants of the functions that stepped aside.
DO $$
DECLARE
    replaced record;
    granted record;
BEGIN
    FOR replaced IN
        SELECT o.oid, o.proowner, o.proacl, n.oid::regprocedure AS new_function, n.proowner AS new_owner
        FROM pg_catalog.pg_proc AS o
        JOIN pg_catalog.pg_proc AS n
            ON n.pronamespace = o.pronamespace AND n.proname || '_of_0_2_0' = o.proname
        WHERE o.pronamespace = 'site_stats'::regnamespace
    LOOP
        IF replaced.proowner <> replaced.new_owner THEN
            EXECUTE format(
                'ALTER FUNCTION %s OWNER TO %I', replaced.new_function, pg_get_userbyid(replaced.proowner)
            );
        END IF;
        FOR granted IN
            SELECT a.grantee, a.is_grantable
            FROM aclexplode(replaced.proacl) AS a
            WHERE a.grantee <> replaced.proowner
        LOOP
            EXECUTE format(
                'GRANT EXECUTE ON FUNCTION %s TO %s%s',
                replaced.new_function,
                CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
                CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            );
        END LOOP;
    END LOOP;
END
$$;

DROP FUNCTION site_stats.record_page_view_of_0_2_0(text, text, text);
DROP FUNCTION site_stats.heartbeat_of_0_2_0(text, text, text, text, double precision, double precision);
DROP FUNCTION site_stats.page_shown_of_0_2_0(text, bigint);
DROP FUNCTION site_stats.most_viewed_paths_of_0_2_0(integer);
DROP FUNCTION site_stats.top_pages_of_0_2_0(integer, date, date);
DROP FUNCTION site_stats.top_pages_in_snapshot_of_0_2_0(integer, date, date);
DROP FUNCTION site_stats.views_by_day_of_0_2_0(date, date, text);
DROP FUNCTION site_stats.views_by_day_in_snapshot_of_0_2_0(date, date, text);
DROP FUNCTION site_stats.active_pages_of_0_2_0();
DROP FUNCTION site_stats.get_stats_of_0_2_0();
DROP FUNCTION site_stats.get_stats_in_snapshot_of_0_2_0();
DROP FUNCTION site_stats.check_totals_of_0_2_0();
DROP FUNCTION site_stats.check_totals_in_snapshot_of_0_2_0();

-- refusals: how many page views a site was told of and did not record, and why. Truth, like the page views: nothing
-- can derive these counts again.
--
-- Each count is split over counter slots, as those of count.sql are, and for the same reason: a transaction borrows a
-- counter slot, and is the only writer of its rows. So refusals never make transactions wait for each other. The
-- library writes this table directly (src/pg/heap_table/mod.rs): it is a heap, and these columns come first.

-- Half of a block is left free for new versions of its rows. No foreign key leads to sites: it would have the executor
-- write each row, and look at the row of the site.
CREATE TABLE site_stats.refusal_totals (
    site_id smallint NOT NULL,
    day date NOT NULL,
    reason text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    refusals bigint NOT NULL,
    CONSTRAINT refusal_totals_site_id_day_reason_slot_pkey PRIMARY KEY (site_id, day, reason, slot)
) USING heap WITH (fillfactor = 50);

-- For folding, which moves these rows into slot 0.
CREATE INDEX refusal_totals_slot_idx ON site_stats.refusal_totals (slot) WHERE slot > 0;

COMMENT ON TABLE site_stats.refusal_totals IS
    'Page views that were not recorded, split over slots. Truth, and not derived: nothing can make it anew.';

COMMENT ON COLUMN site_stats.refusal_totals.site_id IS 'The site that they were meant for.';

COMMENT ON COLUMN site_stats.refusal_totals.day IS 'The day of the call in UTC.';

COMMENT ON COLUMN site_stats.refusal_totals.reason IS 'bot, excluded, unknown_host or rate_limited.';

COMMENT ON COLUMN site_stats.refusal_totals.slot IS 'The part of the count; only the sum over slots has a meaning.';

COMMENT ON COLUMN site_stats.refusal_totals.refusals IS 'Page views refused in this slot.';

-- The refusals of a site go with it. Each count of a refusal holds the lock of a writer of page_views, so the trigger
-- that keeps those out has kept these out, too.
CREATE FUNCTION site_stats.remove_refusals()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM site_stats.refusal_totals AS t
    USING removed AS r
    WHERE t.site_id = r.id;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION site_stats.remove_refusals() IS 'Trigger that removes the refusals of a deleted site.';

CREATE TRIGGER sites_remove_refusals
AFTER DELETE ON site_stats.sites
REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.remove_refusals();

CREATE FUNCTION site_stats.refusals(
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    site text DEFAULT ''
)
RETURNS TABLE (day date, reason text, count bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';

COMMENT ON FUNCTION site_stats.refusals(date, date, text) IS
    'Page views of a site that were not recorded, by UTC day and reason; both days inclusive, NULL is open.';

CREATE FUNCTION site_stats.refusals_in_snapshot(
    since date,
    until date,
    site text
)
RETURNS TABLE (day date, reason text, count bigint)
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
    SELECT t.day, t.reason, sum(t.refusals)::bigint
    FROM site_stats.refusal_totals AS t
    WHERE t.site_id = wanted_site
        AND t.day >= COALESCE(since, '-infinity'::date)
        AND t.day <= COALESCE(until, 'infinity'::date)
    GROUP BY t.day, t.reason
    ORDER BY t.day, t.reason;
END
$$;

COMMENT ON FUNCTION site_stats.refusals_in_snapshot(date, date, text) IS 'The query of refusals().';

SELECT pg_extension_config_dump('site_stats.refusal_totals', '');

-- receive: one call for whatever a tracker or a web server has to tell, and what it keeps besides the views: the new
-- rows of origins and clients, and the salts that make the ids of visitors without a cookie.

-- For the row with a combination of values, NULLs among them. The library looks for each new combination.
CREATE INDEX origins_values_idx ON site_stats.origins (
    hash_record_extended(ROW (source, referrer, medium, campaign, term, content, channel), 0)
);

CREATE INDEX clients_values_idx ON site_stats.clients (
    hash_record_extended(ROW (browser, os, device, country, language), 0)
);

-- Each process remembers the ids of the rows that it has met.
CREATE FUNCTION site_stats.announce_dictionary()
RETURNS trigger
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'announce_dictionary_wrapper';

COMMENT ON FUNCTION site_stats.announce_dictionary() IS
    'Trigger that tells every process that rows of origins or clients have changed or are gone.';

CREATE TRIGGER origins_changed
AFTER UPDATE OR DELETE OR TRUNCATE ON site_stats.origins
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.announce_dictionary();

CREATE TRIGGER clients_changed
AFTER UPDATE OR DELETE OR TRUNCATE ON site_stats.clients
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.announce_dictionary();

-- The library writes the row of a site in place, so only the index of the primary key can lead to it. UNLOGGED: after a
-- crash a site may add as many values as on a new day.
CREATE UNLOGGED TABLE site_stats.dictionary_growth (
    site_id smallint NOT NULL,
    day date NOT NULL,
    new_origins integer NOT NULL,
    new_clients integer NOT NULL,
    CONSTRAINT dictionary_growth_site_id_pkey PRIMARY KEY (site_id)
) USING heap;

COMMENT ON TABLE site_stats.dictionary_growth IS
    'How many rows the views of a site have added to origins and clients on its newest day. Never write it by hand.';

COMMENT ON COLUMN site_stats.dictionary_growth.site_id IS 'The site.';

COMMENT ON COLUMN site_stats.dictionary_growth.day IS 'The UTC day on which a view of the site last added a row.';

COMMENT ON COLUMN site_stats.dictionary_growth.new_origins IS 'Rows of origins that were added on that day.';

COMMENT ON COLUMN site_stats.dictionary_growth.new_clients IS 'Rows of clients that were added on that day.';

-- UNLOGGED, so that no log, archive, standby or base backup keeps a salt; and no dump does. A crash empties the table:
-- the visitors of that day get new ids then.
CREATE UNLOGGED TABLE site_stats.salts (
    day date NOT NULL,
    salt bytea NOT NULL,
    CONSTRAINT salts_day_pkey PRIMARY KEY (day),
    CONSTRAINT salts_salt_check CHECK (octet_length(salt) = 16)
) USING heap;

COMMENT ON TABLE site_stats.salts IS
    'What makes the ids of visitors without a cookie, for today and yesterday. Never write it, and grant it to nobody.';

COMMENT ON COLUMN site_stats.salts.day IS 'The UTC day on which the salt makes ids.';

COMMENT ON COLUMN site_stats.salts.salt IS '16 random bytes; zeros once the ids of the day cannot be made any more.';

CREATE FUNCTION site_stats.visitor_id(address inet, user_agent text, site text DEFAULT '')
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'visitor_id_wrapper';

COMMENT ON FUNCTION site_stats.visitor_id(inet, text, text) IS
    'The id, for this UTC day and this site, of a visitor without a cookie; 32 hexadecimal digits.';

CREATE FUNCTION site_stats.receive(
    event jsonb,
    address inet DEFAULT NULL,
    user_agent text DEFAULT NULL,
    country text DEFAULT NULL
)
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'receive_wrapper';

COMMENT ON FUNCTION site_stats.receive(jsonb, inet, text, text) IS
    'Records a view, a heartbeat or a leave; returns recorded, duplicate, rate_limited, bot, excluded or unknown_host.';

-- spans: page views by session and visit, column by column, so that any question about any range reads little. Derived
-- in the background, like the counters, and made again when they are lost.
--
-- The invariant: a page view is answered from a span if and only if its id is at or below the cursor and its session is
-- not among the loose sessions. Every other page view is read from page_views.

CREATE TABLE site_stats.span_state (
    singleton boolean NOT NULL DEFAULT true,
    cursor bigint NOT NULL DEFAULT 0,
    latest timestamptz NOT NULL DEFAULT '-infinity',
    target bigint NOT NULL DEFAULT 0,
    announced_at timestamptz NOT NULL DEFAULT '-infinity',
    is_settled boolean NOT NULL DEFAULT true,
    visit_timeout integer,
    format smallint,
    CONSTRAINT span_state_singleton_pkey PRIMARY KEY (singleton),
    CONSTRAINT span_state_singleton_check CHECK (singleton),
    CONSTRAINT span_state_cursor_check CHECK (cursor BETWEEN 0 AND target)
) USING heap WITH (fillfactor = 10);

COMMENT ON TABLE site_stats.span_state IS 'One row: which page views are in spans.';
COMMENT ON COLUMN site_stats.span_state.cursor IS 'Views up to this id are in spans, but for those of loose sessions.';
COMMENT ON COLUMN site_stats.span_state.latest IS 'No view in a span is later.';
COMMENT ON COLUMN site_stats.span_state.target IS 'Views up to this id are to be in spans next.';
COMMENT ON COLUMN site_stats.span_state.announced_at IS
    'Whoever writes a view that is not above the target, or not later than this, makes its session loose.';
COMMENT ON COLUMN site_stats.span_state.is_settled IS 'Every writer that has not heard of the target has ended.';
COMMENT ON COLUMN site_stats.span_state.visit_timeout IS 'The site_stats.visit_timeout of the spans, in seconds.';
COMMENT ON COLUMN site_stats.span_state.format IS 'The format of the spans.';

INSERT INTO site_stats.span_state DEFAULT VALUES;

-- A session that is loose twice has two rows: a key would make writers wait for each other.
CREATE TABLE site_stats.loose_sessions (
    site_id smallint NOT NULL,
    session_id text COLLATE "C" NOT NULL
) USING heap;

-- Without it no row could be deleted where all tables are published.
ALTER TABLE site_stats.loose_sessions REPLICA IDENTITY FULL;

COMMENT ON TABLE site_stats.loose_sessions IS
    'Sessions whose views were written out of order, or changed, after they were in a span. Derived.';

-- Paths and page types as numbers, which spans have in their place.
CREATE TABLE site_stats.span_texts (
    site_id smallint NOT NULL,
    number integer NOT NULL,
    value text COLLATE "C" NOT NULL,
    CONSTRAINT span_texts_site_id_number_pkey PRIMARY KEY (site_id, number),
    CONSTRAINT span_texts_site_id_value_key UNIQUE (site_id, value)
) USING heap;

COMMENT ON TABLE site_stats.span_texts IS 'What the numbers of paths and page types in spans stand for. Derived.';

CREATE TABLE site_stats.spans (
    id bigint GENERATED ALWAYS AS IDENTITY,
    site_id smallint NOT NULL,
    format smallint NOT NULL,
    runs integer NOT NULL,
    fragments integer NOT NULL,
    views integer NOT NULL,
    sessions bigint NOT NULL,
    entries bigint NOT NULL,
    exits bigint NOT NULL,
    bounces bigint NOT NULL,
    seconds bigint NOT NULL,
    earliest timestamptz NOT NULL,
    latest timestamptz NOT NULL,
    seen_before timestamptz,
    dead integer NOT NULL,
    dead_runs bytea NOT NULL,
    run_column bytea NOT NULL,
    hash_column bytea NOT NULL,
    visit_column bytea NOT NULL,
    time_column bytea NOT NULL,
    page_column bytea NOT NULL,
    kind_column bytea NOT NULL,
    origin_column bytea NOT NULL,
    client_column bytea NOT NULL,
    day_column bytea NOT NULL,
    total_column bytea NOT NULL,
    divided_column bytea NOT NULL,
    CONSTRAINT spans_id_pkey PRIMARY KEY (id)
) USING heap;

-- The bits are packed already.
ALTER TABLE site_stats.spans
    ALTER COLUMN dead_runs SET STORAGE EXTERNAL,
    ALTER COLUMN run_column SET STORAGE EXTERNAL,
    ALTER COLUMN hash_column SET STORAGE EXTERNAL,
    ALTER COLUMN visit_column SET STORAGE EXTERNAL,
    ALTER COLUMN time_column SET STORAGE EXTERNAL,
    ALTER COLUMN page_column SET STORAGE EXTERNAL,
    ALTER COLUMN kind_column SET STORAGE EXTERNAL,
    ALTER COLUMN origin_column SET STORAGE EXTERNAL,
    ALTER COLUMN client_column SET STORAGE EXTERNAL,
    ALTER COLUMN day_column SET STORAGE EXTERNAL,
    ALTER COLUMN total_column SET STORAGE EXTERNAL,
    ALTER COLUMN divided_column SET STORAGE EXTERNAL;

CREATE INDEX spans_site_id_latest_idx ON site_stats.spans (site_id, latest);

COMMENT ON TABLE site_stats.spans IS
    'Page views by session and visit, one row for some ten thousands; crates/visits has the format. Derived.';
COMMENT ON COLUMN site_stats.spans.format IS 'The version of the format; a library reads its own.';
COMMENT ON COLUMN site_stats.spans.runs IS 'Sessions in the span.';
COMMENT ON COLUMN site_stats.spans.fragments IS 'Visits, or parts of visits, in the span.';
COMMENT ON COLUMN site_stats.spans.views IS 'Page views in the span.';
COMMENT ON COLUMN site_stats.spans.sessions IS 'Sessions whose first view is in the span.';
COMMENT ON COLUMN site_stats.spans.entries IS 'Visits whose first view is in the span.';
COMMENT ON COLUMN site_stats.spans.exits IS
    'Visits that the span adds to those that end in it or before, less those that go on in it.';
COMMENT ON COLUMN site_stats.spans.bounces IS 'Visits of one view, less those from before that have a second one here.';
COMMENT ON COLUMN site_stats.spans.seconds IS 'Seconds by which the span makes visits longer.';
COMMENT ON COLUMN site_stats.spans.earliest IS 'The earliest view that the span knows of, in whole seconds.';
COMMENT ON COLUMN site_stats.spans.latest IS 'The latest view in the span, in whole seconds.';
COMMENT ON COLUMN site_stats.spans.seen_before IS
    'When the sessions that have earlier spans were seen before, the earliest of these times, in whole seconds.';
COMMENT ON COLUMN site_stats.spans.dead IS 'Sessions that are in another span now.';
COMMENT ON COLUMN site_stats.spans.dead_runs IS
    'A bit for each session, from the lowest bit: whether it is in another span.';

CREATE PROCEDURE site_stats.write_spans()
LANGUAGE c
AS 'MODULE_PATHNAME', 'write_spans_wrapper';
COMMENT ON PROCEDURE site_stats.write_spans() IS
    'Puts all page views that there are into spans in this session, with a commit after each part.';

CREATE FUNCTION site_stats.span_differences(site_id smallint)
RETURNS TABLE (day date, is_hidden boolean, counted bigint, actual bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'span_differences_wrapper';
COMMENT ON FUNCTION site_stats.span_differences(smallint) IS
    'UTC days of which reports count other page views than there are; is_hidden if they are as many.';

-- What views_by_day() and top_pages() have of spans: views by UTC day, and those of some UTC days by path. They ask
-- first whether most page views are in spans.
CREATE FUNCTION site_stats.has_spans(site_id smallint)
RETURNS boolean
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'has_spans_wrapper';
COMMENT ON FUNCTION site_stats.has_spans(smallint) IS
    'Whether all but a few page views of a site are in spans.';

CREATE FUNCTION site_stats.span_days(site_id smallint, since date, until date)
RETURNS TABLE (day date, views bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'span_days_wrapper';
COMMENT ON FUNCTION site_stats.span_days(smallint, date, date) IS
    'Views on each UTC day that has any, in no order.';

CREATE FUNCTION site_stats.span_paths(site_id smallint, since date, until date, max_rows integer)
RETURNS TABLE (path text, views bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'span_paths_wrapper';
COMMENT ON FUNCTION site_stats.span_paths(smallint, date, date, integer) IS
    'The paths with most views on the UTC days from since to until, the most viewed first, then by path.';

-- ranges: any question about any range of days. docs/reports.md defines the numbers.

CREATE FUNCTION site_stats.summary(
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    filters jsonb DEFAULT '{}',
    site text DEFAULT ''
)
RETURNS TABLE (
    views bigint,
    visitors bigint,
    visits bigint,
    entries bigint,
    exits bigint,
    bounces bigint,
    seconds bigint
)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 1
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'summary_wrapper';
COMMENT ON FUNCTION site_stats.summary(date, date, jsonb, text) IS
    'Views, visitors, visits, entries, exits, bounces and seconds of the days from since to until, as one row.';

CREATE FUNCTION site_stats.timeline(
    unit text,
    since date DEFAULT NULL,
    until date DEFAULT NULL,
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
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 100
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'timeline_wrapper';
COMMENT ON FUNCTION site_stats.timeline(text, date, date, jsonb, text) IS
    'The numbers of summary() for each hour, day, week or month of the site, also where there are none.';

CREATE FUNCTION site_stats.breakdown(
    "by" text,
    since date DEFAULT NULL,
    until date DEFAULT NULL,
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
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 50
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'breakdown_wrapper';
COMMENT ON FUNCTION site_stats.breakdown(text, date, date, jsonb, integer, text) IS
    'The numbers of summary() for each path, source, country or other value: those with the most visitors first.';

-- page: the statistics page as an HTML document. It is exact and of one snapshot, like the numbers on it.

CREATE FUNCTION site_stats.stats_page(query jsonb DEFAULT '{}', site text DEFAULT '')
RETURNS text
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.stats_page(jsonb, text) IS
    'The statistics page of a site as HTML; query has the parameters of its URL. Site NULL is the one that these name.';

CREATE FUNCTION site_stats.stats_page_in_snapshot(query jsonb, site text)
RETURNS text
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'stats_page_wrapper';
COMMENT ON FUNCTION site_stats.stats_page_in_snapshot(jsonb, text) IS 'What stats_page() shows, and its HTML.';

-- tracker: the script for a site's pages, which sends the events that receive() takes.

-- It reads nothing, and is STABLE because another version of the library may have another script.
CREATE FUNCTION site_stats.tracker(endpoint text)
RETURNS text
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'tracker_wrapper';
COMMENT ON FUNCTION site_stats.tracker(text) IS
    'The script for the pages of a site; endpoint is the path or URL to which it sends events for receive().';

-- removal: takes page views away for good, those of one visitor or the old ones. The triggers of page_views take them
-- out of the counters in the same transaction.

CREATE FUNCTION site_stats.forget_session(session_id text, site text DEFAULT '')
RETURNS bigint
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'forget_session_wrapper';

COMMENT ON FUNCTION site_stats.forget_session(text, text) IS
    'Erases a visitor of a site from every table, and returns how many page views went with the visitor.';

CREATE FUNCTION site_stats.remove_page_views(before timestamptz, max_rows integer DEFAULT 500)
RETURNS bigint
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'remove_page_views_wrapper';

COMMENT ON FUNCTION site_stats.remove_page_views(timestamptz, integer) IS
    'Removes at most max_rows page views that are older, the oldest of a site first; returns how many, 0 when all are.';

REVOKE ALL ON TABLE site_stats.refusal_totals FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.remove_refusals() FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.refusals(date, date, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.refusals_in_snapshot(date, date, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.announce_dictionary() FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.dictionary_growth FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.salts FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.visitor_id(inet, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.receive(jsonb, inet, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.forget_session(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.remove_page_views(timestamptz, integer) FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.span_state FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.loose_sessions FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.span_texts FROM PUBLIC;
REVOKE ALL ON TABLE site_stats.spans FROM PUBLIC;
REVOKE ALL ON PROCEDURE site_stats.write_spans() FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.span_differences(smallint) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.has_spans(smallint) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.span_days(smallint, date, date) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.span_paths(smallint, date, date, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.summary(date, date, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.timeline(text, date, date, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.breakdown(text, date, date, jsonb, integer, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.stats_page(jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.stats_page_in_snapshot(jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.tracker(text) FROM PUBLIC;
REVOKE ALL ON SEQUENCE site_stats.spans_id_seq FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.is_path(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.is_page_type(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.is_session_id(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION site_stats.is_time_of_view(timestamptz) FROM PUBLIC;

-- A CHECK constraint is evaluated as the role that writes.
GRANT EXECUTE ON FUNCTION
    site_stats.is_path(text),
    site_stats.is_page_type(text),
    site_stats.is_session_id(text),
    site_stats.is_time_of_view(timestamptz)
TO PUBLIC;
