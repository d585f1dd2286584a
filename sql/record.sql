-- record: the active sessions, and the two functions that a site calls.

CREATE TABLE site_stats.active_sessions (
    session_id text COLLATE "C" NOT NULL,
    current_path text COLLATE "C" NOT NULL,
    last_seen_at timestamptz NOT NULL,
    city text,
    country text,
    latitude double precision,
    longitude double precision,
    site_id smallint NOT NULL DEFAULT 1,
    CONSTRAINT active_sessions_site_id_session_id_pkey PRIMARY KEY (site_id, session_id),
    CONSTRAINT active_sessions_session_id_check CHECK (octet_length(session_id) BETWEEN 1 AND 128),
    CONSTRAINT active_sessions_current_path_check CHECK (octet_length(current_path) BETWEEN 1 AND 2048),
    CONSTRAINT active_sessions_city_check CHECK (octet_length(city) <= 256),
    CONSTRAINT active_sessions_country_check CHECK (octet_length(country) <= 256),
    CONSTRAINT active_sessions_latitude_check CHECK (latitude BETWEEN -90 AND 90),
    CONSTRAINT active_sessions_longitude_check CHECK (longitude BETWEEN -180 AND 180)
);

-- For active sessions, and for those that have left.
CREATE INDEX active_sessions_last_seen_at_idx ON site_stats.active_sessions (last_seen_at);

COMMENT ON TABLE site_stats.active_sessions IS 'Sessions with a recent heartbeat, one row each.';
COMMENT ON COLUMN site_stats.active_sessions.current_path IS 'The page that the session is on.';
COMMENT ON COLUMN site_stats.active_sessions.last_seen_at IS 'The last recorded heartbeat.';
COMMENT ON COLUMN site_stats.active_sessions.city IS 'Where the session is, at most 256 bytes; NULL if unknown.';
COMMENT ON COLUMN site_stats.active_sessions.country IS 'Where the session is, at most 256 bytes; NULL if unknown.';
COMMENT ON COLUMN site_stats.active_sessions.latitude IS 'Degrees north, -90 to 90; NULL if unknown.';
COMMENT ON COLUMN site_stats.active_sessions.longitude IS 'Degrees east, -180 to 180; NULL if unknown.';
COMMENT ON COLUMN site_stats.active_sessions.site_id IS 'The site; 1 for the site without a name.';

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

CREATE FUNCTION site_stats.cleanup_stale_sessions(max_rows integer DEFAULT 500)
RETURNS bigint
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cleanup_stale_sessions_wrapper';
COMMENT ON FUNCTION site_stats.cleanup_stale_sessions(integer) IS
    'Removes at most max_rows sessions past the session timeout and returns how many it removed.';
