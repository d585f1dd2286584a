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

CREATE TABLE site_stats.page_views (
    id bigint GENERATED ALWAYS AS IDENTITY,
    path text COLLATE "C" NOT NULL,
    page_type text NOT NULL DEFAULT 'page',
    session_id text COLLATE "C" NOT NULL,
    viewed_at timestamptz NOT NULL DEFAULT now(),
    site_id smallint NOT NULL DEFAULT 1,
    origin_id integer,
    client_id integer,
    CONSTRAINT page_views_id_pkey PRIMARY KEY (id),
    -- A backfill begins below the smallest id that can exist.
    CONSTRAINT page_views_id_check CHECK (id > 0),
    CONSTRAINT page_views_path_check CHECK (site_stats.is_path(path)),
    CONSTRAINT page_views_page_type_check CHECK (site_stats.is_page_type(page_type)),
    CONSTRAINT page_views_session_id_check CHECK (site_stats.is_session_id(session_id)),
    CONSTRAINT page_views_viewed_at_check CHECK (site_stats.is_time_of_view(viewed_at))
);

-- For the windows of record_page_view(), and for the page views of one session.
CREATE INDEX page_views_session_id_viewed_at_idx ON site_stats.page_views (session_id, viewed_at);
-- For the earliest page view of a site, and for ranges of time.
CREATE INDEX page_views_site_id_viewed_at_idx ON site_stats.page_views (site_id, viewed_at);

COMMENT ON TABLE site_stats.page_views IS 'Page views, one row each: the truth that every statistic is computed from.';
COMMENT ON COLUMN site_stats.page_views.id IS 'Positive and unique; the order in which a backfill counts.';
COMMENT ON COLUMN site_stats.page_views.path IS 'The page: 1 to 2,048 bytes, compared byte by byte.';
COMMENT ON COLUMN site_stats.page_views.page_type IS 'The kind of page, 1 to 64 bytes, such as page, blog or home.';
COMMENT ON COLUMN site_stats.page_views.session_id IS
    'The visitor of the site: 1 to 128 bytes, chosen by the site.';
COMMENT ON COLUMN site_stats.page_views.viewed_at IS 'When the page was viewed; its UTC day is the day it counts for.';
COMMENT ON COLUMN site_stats.page_views.site_id IS 'The site; 1 for the site without a name.';
COMMENT ON COLUMN site_stats.page_views.origin_id IS
    'The row of origins that says where the visitor came from; NULL for a direct visit or no news.';
COMMENT ON COLUMN site_stats.page_views.client_id IS
    'The row of clients that says what the page was viewed with; NULL if unknown.';

CREATE TABLE site_stats.content (
    path text COLLATE "C" NOT NULL,
    title text NOT NULL,
    page_type text NOT NULL DEFAULT 'page',
    published boolean NOT NULL DEFAULT true,
    site_id smallint NOT NULL DEFAULT 1,
    CONSTRAINT content_site_id_path_pkey PRIMARY KEY (site_id, path),
    CONSTRAINT content_path_check CHECK (octet_length(path) BETWEEN 1 AND 2048)
);

COMMENT ON TABLE site_stats.content IS 'Titles and types that the site gives to its paths; filled by the site.';
COMMENT ON COLUMN site_stats.content.title IS 'What statistics show for the path.';
COMMENT ON COLUMN site_stats.content.page_type IS 'The type that statistics show: blog, page or any other word.';
COMMENT ON COLUMN site_stats.content.published IS 'Whether the row counts among the published posts and pages.';
COMMENT ON COLUMN site_stats.content.site_id IS 'The site; 1 for the site without a name.';

-- pg_dump carries the sites, the page views, where they come from and with what, and the titles. The triggers rebuild
-- the aggregates while the page views are restored.
SELECT pg_extension_config_dump('site_stats.page_views', '');
SELECT pg_extension_config_dump('site_stats.page_views_id_seq', '');
SELECT pg_extension_config_dump('site_stats.content', '');
-- The first site as CREATE EXTENSION makes it is not in a dump, so that a restore without triggers does not meet it.
SELECT pg_extension_config_dump('site_stats.sites', $$
    WHERE id <> 1 OR timezone <> 'UTC' OR num_nonnulls(
        hosts, excluded_addresses, excluded_paths, kept_parameters
    ) > 0
$$);
SELECT pg_extension_config_dump('site_stats.sites_id_seq', '');
SELECT pg_extension_config_dump('site_stats.origins', '');
SELECT pg_extension_config_dump('site_stats.origins_id_seq', '');
SELECT pg_extension_config_dump('site_stats.clients', '');
SELECT pg_extension_config_dump('site_stats.clients_id_seq', '');
