-- page_views: the truth. Every number of this extension is derived from these rows and can be rebuilt from them. Also
-- the titles that a site gives to its paths.
--
-- Text keys are compared byte by byte (COLLATE "C"): the fastest order, the same on every server, and the order
-- in which counters are locked.

-- Names without a schema in this script mean PostgreSQL's own, whatever else is in the database.
SET LOCAL search_path TO pg_catalog, pg_temp;
-- The library reads and writes the tables directly, as heaps.
SET LOCAL default_table_access_method TO heap;

-- A schema that is there may hold triggers or rules of another role, which this script, run by a superuser, would set
-- off: it must be empty. A dump makes the schema first, and gives it to the owner that it had. An owner of the schema
-- can replace what is in it, and so can a role that may create there. So the role that creates the extension takes the
-- schema, and takes the rights of others away. A dump gives its own rights after that.
DO $$
DECLARE
    schema_id oid;
    other regrole;
BEGIN
    SELECT n.oid
    INTO schema_id
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname = 'site_stats';

    IF EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = schema_id)
        OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = schema_id)
        OR EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.typnamespace = schema_id)
        OR EXISTS (SELECT FROM pg_catalog.pg_operator AS o WHERE o.oprnamespace = schema_id)
    THEN
        RAISE EXCEPTION 'schema "site_stats" already exists and is not empty'
            USING ERRCODE = 'duplicate_schema',
                HINT = 'Drop or rename that schema; CREATE EXTENSION creates its own.';
    END IF;

    ALTER SCHEMA site_stats OWNER TO CURRENT_USER;
    FOR other IN
        SELECT DISTINCT a.grantee::regrole
        FROM pg_catalog.pg_namespace AS n
        CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
        WHERE n.oid = schema_id AND a.grantee NOT IN (0, n.nspowner)
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA site_stats FROM %s CASCADE', other);
    END LOOP;
END
$$;

CREATE TABLE site_stats.page_views (
    id bigint GENERATED ALWAYS AS IDENTITY,
    path text COLLATE "C" NOT NULL,
    page_type text NOT NULL DEFAULT 'page',
    session_id text COLLATE "C" NOT NULL,
    viewed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT page_views_id_pkey PRIMARY KEY (id),
    -- A backfill begins below the smallest id that can exist.
    CONSTRAINT page_views_id_check CHECK (id > 0),
    -- What an index entry can hold, with room to spare (2,704 bytes).
    CONSTRAINT page_views_path_check CHECK (octet_length(path) BETWEEN 1 AND 2048),
    CONSTRAINT page_views_page_type_check CHECK (octet_length(page_type) BETWEEN 1 AND 64),
    CONSTRAINT page_views_session_id_check CHECK (octet_length(session_id) BETWEEN 1 AND 128),
    -- Days far from any real page view, and the infinities, have no place in a calendar of days.
    CONSTRAINT page_views_viewed_at_check CHECK (
        viewed_at >= '1970-01-01 00:00:00+00'::timestamptz
        AND viewed_at < '10000-01-01 00:00:00+00'::timestamptz
    )
);

-- For the windows of record_page_view(), and for the page views of one session.
CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id, viewed_at);
-- For the earliest page view, and for ranges of time.
CREATE INDEX page_views_viewed_at_idx ON site_stats.page_views (viewed_at);

COMMENT ON TABLE site_stats.page_views IS 'Page views, one row each: the truth that every statistic is computed from.';
COMMENT ON COLUMN site_stats.page_views.id IS 'Positive and unique; the order in which a backfill counts.';
COMMENT ON COLUMN site_stats.page_views.path IS 'The page: 1 to 2,048 bytes, compared byte by byte.';
COMMENT ON COLUMN site_stats.page_views.page_type IS 'The kind of page, 1 to 64 bytes, such as page, blog or home.';
COMMENT ON COLUMN site_stats.page_views.session_id IS 'The visitor: 1 to 128 bytes, chosen by the site.';
COMMENT ON COLUMN site_stats.page_views.viewed_at IS 'When the page was viewed; its UTC day is the day it counts for.';

CREATE TABLE site_stats.content (
    path text COLLATE "C" NOT NULL,
    title text NOT NULL,
    page_type text NOT NULL DEFAULT 'page',
    published boolean NOT NULL DEFAULT true,
    CONSTRAINT content_path_pkey PRIMARY KEY (path),
    CONSTRAINT content_path_check CHECK (octet_length(path) BETWEEN 1 AND 2048)
);

COMMENT ON TABLE site_stats.content IS 'Titles and types that the site gives to its paths; filled by the site.';
COMMENT ON COLUMN site_stats.content.title IS 'What statistics show for the path.';
COMMENT ON COLUMN site_stats.content.page_type IS 'The type that statistics show: blog, page or any other word.';
COMMENT ON COLUMN site_stats.content.published IS 'Whether the row counts among the published posts and pages.';

-- pg_dump carries the page views and the titles. The triggers rebuild the aggregates while the page views are restored.
SELECT pg_extension_config_dump('site_stats.page_views', '');
SELECT pg_extension_config_dump('site_stats.page_views_id_seq', '');
SELECT pg_extension_config_dump('site_stats.content', '');
