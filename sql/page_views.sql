-- page_views: the truth. Every number of this extension is derived from these rows and can be rebuilt from them. Also
-- the titles that a site gives to its paths.
--
-- Text keys are compared byte by byte (COLLATE "C"): the fastest order, the same on every server, and the order
-- in which counters are locked.

-- Names without a schema in this script mean PostgreSQL's own, whatever else is in the database.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- A schema made in advance by another role may hold triggers or rules of that role, which this script, run by a
-- superuser, would set off.
DO $$
DECLARE
    unsafe boolean;
BEGIN
    SELECT
        n.nspowner <> (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)
        OR EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid)
        OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid)
        OR EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.typnamespace = n.oid)
    INTO unsafe
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname = 'site_stats';

    IF unsafe THEN
        RAISE EXCEPTION 'schema "site_stats" already exists and is not an empty schema of the current user'
            USING ERRCODE = 'duplicate_schema',
                HINT = 'Drop or rename that schema; CREATE EXTENSION creates its own.';
    END IF;
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
