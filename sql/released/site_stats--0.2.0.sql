-- site_stats 0.2.0 as it was released. It is never edited: changes go into the upgrade script of the version that makes them.

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

-- count: counters of page views. Triggers and the backfill change them through the same code.
--
-- Each counter is split over counter slots. A transaction borrows one counter slot until it ends, and is the only
-- writer of that slot's rows meanwhile. So transactions never wait for each other's counters. A counter's value is the
-- sum over its counter slots; a single one may be negative. A row counts only in the epoch that it names. The beginning
-- of a backfill raises the epoch, and so empties every counter at once without touching a row.
--
-- The library reads and writes these tables directly (src/pg/heap_table.rs). So they are heap tables, and these columns
-- come first.

-- Less than half of a block is filled. When one transaction writes every row of a block, the new versions fit beside
-- the old ones. The next transaction then uses the space of the old ones again.
CREATE TABLE site_stats.path_totals (
    path text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    epoch bigint NOT NULL,
    views bigint NOT NULL,
    page_type text NOT NULL,
    last_view_id bigint NOT NULL,
    day date NOT NULL,
    day_views bigint NOT NULL,
    CONSTRAINT path_totals_path_slot_pkey PRIMARY KEY (path, slot)
) USING heap WITH (fillfactor = 45);

COMMENT ON TABLE site_stats.path_totals IS 'Views of a path, split over slots. Derived: never write it by hand.';
COMMENT ON COLUMN site_stats.path_totals.slot IS 'The part of the counter; only the sum over slots has a meaning.';
COMMENT ON COLUMN site_stats.path_totals.epoch IS 'The epoch in which the row counts.';
COMMENT ON COLUMN site_stats.path_totals.views IS 'Views counted in this slot; may be negative.';
COMMENT ON COLUMN site_stats.path_totals.page_type IS 'The type of the view named by last_view_id.';
COMMENT ON COLUMN site_stats.path_totals.last_view_id IS 'The newest view of the path in this slot, 0 for none.';
COMMENT ON COLUMN site_stats.path_totals.day IS 'The newest UTC day that was counted in this row; -infinity for none.';
COMMENT ON COLUMN site_stats.path_totals.day_views IS
    'Those of the views that are of this day; those of other days are in daily_totals. May be negative.';

CREATE TABLE site_stats.daily_totals (
    day date NOT NULL,
    path text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    epoch bigint NOT NULL,
    views bigint NOT NULL,
    CONSTRAINT daily_totals_day_path_slot_pkey PRIMARY KEY (day, path, slot)
) USING heap WITH (fillfactor = 90);

COMMENT ON TABLE site_stats.daily_totals IS
    'Views of a path on a UTC day, beside those in path_totals, split over slots. Derived: never write it by hand.';
COMMENT ON COLUMN site_stats.daily_totals.day IS 'The day in UTC.';
COMMENT ON COLUMN site_stats.daily_totals.slot IS 'The part of the counter; only the sum over slots has a meaning.';
COMMENT ON COLUMN site_stats.daily_totals.epoch IS 'The epoch in which the row counts.';
COMMENT ON COLUMN site_stats.daily_totals.views IS 'Views counted in this slot; may be negative.';

CREATE TABLE site_stats.site_totals (
    slot integer NOT NULL,
    epoch bigint NOT NULL,
    visitors bigint NOT NULL,
    CONSTRAINT site_totals_slot_pkey PRIMARY KEY (slot)
) USING heap WITH (fillfactor = 50);

COMMENT ON TABLE site_stats.site_totals IS
    'All visitors, split over slots; all views are the sum over the paths. Derived: never write it by hand.';
COMMENT ON COLUMN site_stats.site_totals.slot IS 'The part of the counter; only the sum over slots has a meaning.';
COMMENT ON COLUMN site_stats.site_totals.epoch IS 'The epoch in which the row counts.';
COMMENT ON COLUMN site_stats.site_totals.visitors IS 'Sessions that came minus sessions that left; may be negative.';

CREATE TABLE site_stats.sessions (
    session_id text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    views bigint NOT NULL,
    is_lower_bound boolean DEFAULT false,
    CONSTRAINT sessions_session_id_pkey PRIMARY KEY (session_id)
) USING heap WITH (fillfactor = 80);

COMMENT ON TABLE site_stats.sessions IS
    'The session set: sessions with a counted view. Derived: never write it by hand.';
COMMENT ON COLUMN site_stats.sessions.epoch IS 'The epoch in which the row counts.';
COMMENT ON COLUMN site_stats.sessions.views IS 'Counted views of the session; the session leaves the set at 0.';
COMMENT ON COLUMN site_stats.sessions.is_lower_bound IS
    'True of a session that a backfill has found: it may have more views. They are counted when one of them leaves.';

-- Without SECURITY DEFINER and SET, which would cost more than counting a page view does. The function runs no
-- statement, except one in a TRUNCATE, as the owner.
CREATE FUNCTION site_stats.count_page_views()
RETURNS trigger
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'count_page_views_wrapper';
COMMENT ON FUNCTION site_stats.count_page_views() IS
    'Trigger that adds changed page views to the aggregates, or leaves them to the backfill.';

-- A function of its own for the statements that take page views away. The library of version 0.1.0 does not have it. So
-- a database session that still has that library after an update gets an error, and not a wrong number of visitors.
CREATE FUNCTION site_stats.count_changed_page_views()
RETURNS trigger
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'count_changed_page_views_wrapper';
COMMENT ON FUNCTION site_stats.count_changed_page_views() IS
    'Trigger that takes page views away from the aggregates, or adds what an UPDATE has made of them.';

CREATE TRIGGER page_views_insert
AFTER INSERT ON site_stats.page_views
REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_page_views();

CREATE TRIGGER page_views_update
AFTER UPDATE ON site_stats.page_views
REFERENCING OLD TABLE AS removed NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_changed_page_views();

CREATE TRIGGER page_views_delete
AFTER DELETE ON site_stats.page_views
REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_changed_page_views();

CREATE TRIGGER page_views_truncate
AFTER TRUNCATE ON site_stats.page_views
FOR EACH STATEMENT EXECUTE FUNCTION site_stats.count_page_views();

CREATE FUNCTION site_stats.fold_totals(max_rows integer DEFAULT 500)
RETURNS bigint
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'fold_totals_wrapper';
COMMENT ON FUNCTION site_stats.fold_totals(integer) IS
    'Moves the counters of idle slots into slot 0; returns how many rows it removed, at most max_rows of each table.';

-- record: the active sessions, and the two functions that a site calls.

CREATE TABLE site_stats.active_sessions (
    session_id text COLLATE "C" NOT NULL,
    current_path text COLLATE "C" NOT NULL,
    last_seen_at timestamptz NOT NULL,
    city text,
    country text,
    latitude double precision,
    longitude double precision,
    CONSTRAINT active_sessions_session_id_pkey PRIMARY KEY (session_id),
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

CREATE FUNCTION site_stats.record_page_view(path text, page_type text, session_id text)
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'record_page_view_wrapper';
COMMENT ON FUNCTION site_stats.record_page_view(text, text, text) IS
    'Records a page view and returns recorded, duplicate or rate_limited.';

CREATE FUNCTION site_stats.heartbeat(
    session_id text,
    current_path text,
    city text DEFAULT NULL,
    country text DEFAULT NULL,
    latitude double precision DEFAULT NULL,
    longitude double precision DEFAULT NULL
)
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'heartbeat_wrapper';
COMMENT ON FUNCTION site_stats.heartbeat(text, text, text, text, double precision, double precision) IS
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

-- backfill: which page views the aggregates count, and the run that makes them count all.
--
-- The invariant: a page view is counted in the aggregates of the current epoch if and only if its id is not in
-- (cursor, target]. A batch moves the cursor in the transaction that counts its rows.

CREATE TABLE site_stats.backfill_state (
    singleton boolean NOT NULL DEFAULT true,
    epoch bigint NOT NULL DEFAULT 1,
    cursor bigint NOT NULL DEFAULT 0,
    target bigint NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'idle',
    batch_size integer,
    views_done bigint NOT NULL DEFAULT 0,
    views_total bigint,
    sessions_found bigint NOT NULL DEFAULT 0,
    swept_tables bigint NOT NULL DEFAULT 0,
    swept_blocks bigint NOT NULL DEFAULT 0,
    requested_at timestamptz,
    started_at timestamptz,
    resumed_at timestamptz,
    views_done_at_resume bigint NOT NULL DEFAULT 0,
    updated_at timestamptz,
    finished_at timestamptz,
    restarts integer NOT NULL DEFAULT 0,
    last_error text,
    CONSTRAINT backfill_state_singleton_pkey PRIMARY KEY (singleton),
    CONSTRAINT backfill_state_singleton_check CHECK (singleton),
    CONSTRAINT backfill_state_cursor_check CHECK (cursor BETWEEN 0 AND target),
    CONSTRAINT backfill_state_status_check CHECK (status IN ('idle', 'running', 'stopped', 'complete', 'failed'))
) WITH (fillfactor = 10);

COMMENT ON TABLE site_stats.backfill_state IS 'One row: which views the aggregates count, and how far a backfill is.';
COMMENT ON COLUMN site_stats.backfill_state.epoch IS 'Aggregate rows of any other epoch do not count.';
COMMENT ON COLUMN site_stats.backfill_state.cursor IS 'Views up to this id have been counted by the backfill.';
COMMENT ON COLUMN site_stats.backfill_state.target IS 'Views above this id are counted by triggers.';
COMMENT ON COLUMN site_stats.backfill_state.status IS 'idle, running, stopped, complete or failed.';
COMMENT ON COLUMN site_stats.backfill_state.batch_size IS 'Rows per batch of this run; NULL for the setting.';
COMMENT ON COLUMN site_stats.backfill_state.views_done IS 'Views that the batches of this run have read.';
COMMENT ON COLUMN site_stats.backfill_state.views_total IS 'Views that this run has to read; NULL until counted.';
COMMENT ON COLUMN site_stats.backfill_state.sessions_found IS
    'Sessions that the batches of this run added to the session set.';
COMMENT ON COLUMN site_stats.backfill_state.swept_tables IS 'Aggregate tables already cleared of rows of older epochs.';
COMMENT ON COLUMN site_stats.backfill_state.swept_blocks IS 'Blocks already cleared of the table being cleared.';
COMMENT ON COLUMN site_stats.backfill_state.resumed_at IS
    'When the run began or was last resumed; the rate counts from here.';
COMMENT ON COLUMN site_stats.backfill_state.views_done_at_resume IS 'The value of views_done at that time.';

INSERT INTO site_stats.backfill_state DEFAULT VALUES;

CREATE TABLE site_stats.backfill_requests (
    id bigint GENERATED ALWAYS AS IDENTITY,
    action text NOT NULL,
    batch_size integer,
    requested_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT backfill_requests_id_pkey PRIMARY KEY (id),
    CONSTRAINT backfill_requests_action_check CHECK (action IN ('start', 'stop'))
);

COMMENT ON TABLE site_stats.backfill_requests IS
    'Requests that no run has taken up yet; the newest wins. Apart from the state, so that a request blocks nobody.';
COMMENT ON COLUMN site_stats.backfill_requests.action IS 'start or stop.';
COMMENT ON COLUMN site_stats.backfill_requests.batch_size IS 'Rows per batch; NULL for the setting.';

CREATE VIEW site_stats.backfill_progress AS
SELECT
    CASE
        WHEN s.status <> 'running' AND r.action = 'start' THEN 'requested'
        ELSE s.status
    END AS status,
    s.epoch,
    s.cursor,
    s.target,
    s.views_done,
    s.views_total,
    CASE
        WHEN s.status = 'idle' THEN NULL
        WHEN s.cursor = s.target THEN 100
        WHEN s.views_total > 0 THEN round(
            LEAST(100.0 * s.views_done / s.views_total, 99.9), 1
        )
        ELSE 0
    END AS percent,
    s.sessions_found,
    p.views_per_second,
    CASE
        WHEN s.cursor = s.target THEN NULL
        WHEN p.views_per_second > 0 THEN make_interval(
            secs => (
                GREATEST(s.views_total - s.views_done, 0) / p.views_per_second
            )::double precision
        )
    END AS remaining,
    COALESCE(r.requested_at, s.requested_at) AS requested_at,
    s.started_at,
    s.updated_at,
    s.finished_at,
    w.pid AS worker_pid,
    s.restarts,
    COALESCE(
        s.last_error,
        CASE
            WHEN s.status = 'running' AND w.pid IS NULL
                THEN 'interrupted: no process runs it; the next call of any function of site_stats resumes it'
        END
    ) AS last_error
FROM site_stats.backfill_state AS s
LEFT JOIN LATERAL (
    SELECT q.action, q.requested_at
    FROM site_stats.backfill_requests AS q
    ORDER BY q.id DESC
    LIMIT 1
) AS r ON true
CROSS JOIN LATERAL (
    SELECT round(
        (s.views_done - s.views_done_at_resume)::numeric / NULLIF(
            EXTRACT(epoch FROM COALESCE(s.finished_at, s.updated_at) - s.resumed_at), 0
        ), 1
    ) AS views_per_second
) AS p
LEFT JOIN LATERAL (
    -- The holder of the run lock (see src/pg/locks.rs): the worker, or the session of CALL backfill().
    SELECT l.pid
    FROM pg_locks AS l
    WHERE l.locktype = 'advisory'
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        AND l.classid = 'site_stats.page_views'::regclass::oid
        AND l.objsubid = 21250::smallint
        AND l.granted
    LIMIT 1
) AS w ON true;

COMMENT ON VIEW site_stats.backfill_progress IS 'How far the backfill is: one row.';
COMMENT ON COLUMN site_stats.backfill_progress.status IS 'idle, requested, running, stopped, complete or failed.';
COMMENT ON COLUMN site_stats.backfill_progress.percent IS
    'Views read of all that the run has to read; NULL before any run.';
COMMENT ON COLUMN site_stats.backfill_progress.views_per_second IS 'Since the run began or was last resumed.';
COMMENT ON COLUMN site_stats.backfill_progress.remaining IS
    'Estimate from the rate; NULL when nothing remains or no rate is known.';
COMMENT ON COLUMN site_stats.backfill_progress.worker_pid IS 'The process that runs the backfill now; NULL for none.';
COMMENT ON COLUMN site_stats.backfill_progress.restarts IS
    'How often the run was taken up again after its process had died.';
COMMENT ON COLUMN site_stats.backfill_progress.last_error IS
    'What the last attempt failed with or waits for; NULL if it went well.';

CREATE FUNCTION site_stats.start_backfill(batch_size integer DEFAULT NULL)
RETURNS text
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'start_backfill_wrapper';
COMMENT ON FUNCTION site_stats.start_backfill(integer) IS
    'Asks for a rebuild of the aggregates by a background worker, which begins when the calling transaction commits.';

CREATE FUNCTION site_stats.stop_backfill()
RETURNS boolean
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'stop_backfill_wrapper';
COMMENT ON FUNCTION site_stats.stop_backfill() IS
    'Asks a requested or running backfill to stop after its current batch; false if there is none.';

CREATE FUNCTION site_stats.wait_for_backfill(timeout interval DEFAULT '1 hour')
RETURNS boolean
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'wait_for_backfill_wrapper';
COMMENT ON FUNCTION site_stats.wait_for_backfill(interval) IS
    'Waits until the backfill is complete; false if it stopped or failed, or if the timeout passed first.';

-- A procedure, because a function that waits is one statement, whose snapshot keeps old versions of the counters alive.
CREATE PROCEDURE site_stats.await_backfill(timeout interval DEFAULT '1 hour')
LANGUAGE c
AS 'MODULE_PATHNAME', 'await_backfill_wrapper';
COMMENT ON PROCEDURE site_stats.await_backfill(interval) IS
    'Waits until the backfill is complete, and holds no snapshot; an error if it stops, fails, or takes longer.';

-- No SECURITY DEFINER and no SET clause here: PostgreSQL forbids both to a procedure that commits. The procedure acts
-- as the owner of page_views inside each step.
CREATE PROCEDURE site_stats.backfill(batch_size integer DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', 'backfill_wrapper';
COMMENT ON PROCEDURE site_stats.backfill(integer) IS
    'Runs the backfill in this session, a commit per batch, where no background worker is to be had.';

CREATE FUNCTION site_stats.begin_backfill()
RETURNS bigint
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'begin_backfill_wrapper';
COMMENT ON FUNCTION site_stats.begin_backfill() IS
    'Begins a backfill and leaves it stopped before its first batch; returns the target. start_backfill() goes on.';

CREATE FUNCTION site_stats.backfill_turn(batch_size integer DEFAULT NULL)
RETURNS boolean
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'backfill_turn_wrapper';
COMMENT ON FUNCTION site_stats.backfill_turn(integer) IS
    'Does in this transaction what the worker does in one: a batch, or a piece of the clean-up; false if all is done.';

CREATE FUNCTION site_stats.resume_backfill()
RETURNS void
LANGUAGE c
VOLATILE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'resume_backfill_wrapper';
COMMENT ON FUNCTION site_stats.resume_backfill() IS
    'Starts a worker if a backfill is unfinished and none runs it, as after a restart of the server. Writes nothing.';

-- report: the functions that read. Each answers from one snapshot, writes nothing, and is exact at every moment. It
-- adds a direct count of the page views that the aggregates do not count yet to the aggregates of the current epoch.

-- All statements of a STABLE function see the snapshot of the statement that calls it. So each function X that reads
-- aggregates is two functions. X writes what its own transaction has counted, and then calls X_in_snapshot, which has
-- the query (see src/report/own_writes.rs).

-- The state as reads use it. Where a table of counters has lost its rows, no counter counts: every page view is counted
-- directly. A crash empties an UNLOGGED table, and TRUNCATE any. Where all tables are empty and none is UNLOGGED, page
-- views came in past the triggers, and none was ever counted.
CREATE VIEW site_stats.counted_state AS
SELECT
    CASE WHEN NOT l.is_lost THEN s.epoch END AS epoch,
    CASE WHEN l.is_lost THEN 0 ELSE s.cursor END AS cursor,
    CASE WHEN l.is_lost THEN 9223372036854775807 ELSE s.target END AS target
FROM site_stats.backfill_state AS s
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE pg_relation_size(c.oid) = 0) AS empty,
        bool_or(c.relpersistence = 'u') AS is_unlogged
    FROM pg_class AS c
    WHERE c.oid IN (
            'site_stats.path_totals'::regclass,
            'site_stats.sessions'::regclass,
            'site_stats.site_totals'::regclass
        )
) AS t
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN t.empty = 0 OR (t.empty = 3 AND NOT t.is_unlogged) THEN false
            ELSE EXISTS (
                SELECT
                FROM ONLY site_stats.page_views AS v
                WHERE v.id <= s.cursor OR v.id > s.target
            )
        END AS is_lost
) AS l;

COMMENT ON VIEW site_stats.counted_state IS
    'Which page views the counters count, for the functions that read: none, if a table has lost its rows.';

CREATE VIEW site_stats.path_views AS
SELECT
    u.path,
    sum(u.views)::bigint AS views,
    max(u.last_view_id) AS last_view_id
FROM (
    SELECT t.path, t.views, t.last_view_id
    FROM site_stats.counted_state AS s
    JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
    UNION ALL
    SELECT v.path, count(*), max(v.id)
    FROM site_stats.counted_state AS s
    JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
    WHERE s.cursor < s.target
    GROUP BY v.path
) AS u
GROUP BY u.path
HAVING sum(u.views) > 0;

COMMENT ON VIEW site_stats.path_views IS
    'Views of each path that has any; exact, but without what its own transaction has changed and not counted yet.';
COMMENT ON COLUMN site_stats.path_views.last_view_id IS
    'The newest view of the path, whose type is the type of the path.';

CREATE VIEW site_stats.daily_views AS
SELECT
    u.day,
    u.path,
    sum(u.views)::bigint AS views
FROM (
    SELECT t.day, t.path, t.views
    FROM site_stats.counted_state AS s
    JOIN site_stats.daily_totals AS t ON t.epoch = s.epoch
    UNION ALL
    SELECT t.day, t.path, t.day_views
    FROM site_stats.counted_state AS s
    JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
    WHERE t.day_views <> 0
    UNION ALL
    SELECT (v.viewed_at AT TIME ZONE 'UTC')::date, v.path, count(*)
    FROM site_stats.counted_state AS s
    JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
    WHERE s.cursor < s.target
    GROUP BY 1, 2
) AS u
GROUP BY u.day, u.path
HAVING sum(u.views) > 0;

COMMENT ON VIEW site_stats.daily_views IS
    'Views of each path on each UTC day that has any; exact, but without what its own transaction has not counted yet.';

-- One row for a path. A function that returns a table becomes part of the query that calls it. A function that returns
-- a value and has a subquery would be a query of its own for each page. A SET clause would also keep the function out
-- of the calling query. So the function has none, and names every operator with its schema.
CREATE FUNCTION site_stats.page_shown(path text, last_view_id bigint)
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
                WHERE t.path OPERATOR(pg_catalog.=) p.path
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
    FROM (SELECT page_shown.path, page_shown.last_view_id) AS p
    LEFT JOIN site_stats.content AS c ON c.path OPERATOR(pg_catalog.=) p.path
$$;
COMMENT ON FUNCTION site_stats.page_shown(text, bigint) IS
    'Title and type that statistics show for a path: those of content, else fixed ones, else path and recorded type.';

CREATE FUNCTION site_stats.most_viewed_paths(most integer)
RETURNS TABLE (path text, views bigint, last_view_id bigint, all_views bigint, all_paths bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
ROWS 50
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'most_viewed_paths';
COMMENT ON FUNCTION site_stats.most_viewed_paths(integer) IS
    'The most viewed paths first, then by path, each with the sums over all paths that have a view.';

CREATE FUNCTION site_stats.top_pages(
    max_rows integer DEFAULT 50,
    since date DEFAULT NULL,
    until date DEFAULT NULL
)
RETURNS TABLE (path text, title text, page_type text, views bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.top_pages(integer, date, date) IS
    'The most viewed pages first, of all time or of the UTC days from since to until, both inclusive; NULL is open.';

CREATE FUNCTION site_stats.top_pages_in_snapshot(
    max_rows integer,
    since date,
    until date
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
        FROM site_stats.most_viewed_paths(max_rows) AS p
        CROSS JOIN LATERAL site_stats.page_shown(p.path, p.last_view_id) AS n
        ORDER BY p.views DESC, p.path COLLATE "C";
    ELSE
        RETURN QUERY
        SELECT p.path, n.title, n.page_type, p.views
        FROM (
            SELECT dv.path, sum(dv.views)::bigint AS views
            FROM site_stats.daily_views AS dv
            WHERE dv.day >= COALESCE(since, '-infinity'::date) AND dv.day <= COALESCE(until, 'infinity'::date)
            GROUP BY dv.path
            ORDER BY 2 DESC, 1
            LIMIT max_rows
        ) AS p
        LEFT JOIN LATERAL (
            SELECT a.last_view_id
            FROM site_stats.path_views AS a
            WHERE a.path = p.path
        ) AS pv ON true
        CROSS JOIN LATERAL site_stats.page_shown(p.path, pv.last_view_id) AS n
        ORDER BY p.views DESC, p.path;
    END IF;
END
$$;
COMMENT ON FUNCTION site_stats.top_pages_in_snapshot(integer, date, date) IS 'The query of top_pages().';

CREATE FUNCTION site_stats.views_by_day(
    since date DEFAULT NULL,
    until date DEFAULT NULL,
    path text DEFAULT NULL
)
RETURNS TABLE (day date, views bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.views_by_day(date, date, text) IS
    'Views on every UTC day from since to until, both inclusive, days without views too; of one path if it is given.';

CREATE FUNCTION site_stats.views_by_day_in_snapshot(
    since date,
    until date,
    path text
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

    RETURN QUERY
    WITH counted AS (
        SELECT dv.day, sum(dv.views)::bigint AS views
        FROM site_stats.daily_views AS dv
        WHERE (views_by_day_in_snapshot.path IS NULL OR dv.path = views_by_day_in_snapshot.path)
            AND dv.day >= COALESCE(since, '-infinity'::date)
            AND dv.day <= COALESCE(until, 'infinity'::date)
        GROUP BY dv.day
    )
    SELECT d.day::date, COALESCE(c.views, 0)
    FROM generate_series(
        COALESCE(since, (SELECT min(f.day) FROM counted AS f))::timestamp,
        COALESCE(until, (SELECT max(l.day) FROM counted AS l))::timestamp,
        '1 day'::interval
    ) AS d (day)
    LEFT JOIN counted AS c ON c.day = d.day::date
    ORDER BY d.day;
END
$$;
COMMENT ON FUNCTION site_stats.views_by_day_in_snapshot(date, date, text) IS 'The query of views_by_day().';

CREATE FUNCTION site_stats.active_pages()
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
BEGIN
    PERFORM site_stats.resume_backfill();
    RETURN QUERY
    SELECT a.current_path, count(*)
    FROM site_stats.active_sessions AS a
    WHERE a.last_seen_at > statement_timestamp() - current_setting('site_stats.session_timeout')::interval
    GROUP BY a.current_path
    ORDER BY count(*) DESC, a.current_path;
END
$$;
COMMENT ON FUNCTION site_stats.active_pages() IS
    'Pages that sessions are on now, the most visited first.';

CREATE FUNCTION site_stats.get_stats()
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
COMMENT ON FUNCTION site_stats.get_stats() IS
    'The statistics page as one row, exact and from one snapshot at every moment; source tells how it was computed.';

CREATE FUNCTION site_stats.get_stats_in_snapshot()
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
BEGIN
    RETURN QUERY
    WITH state AS (
        SELECT s.epoch, s.cursor, s.target
        FROM site_stats.counted_state AS s
    ),
    active AS (
        SELECT a.session_id, a.current_path, a.city, a.country, a.latitude, a.longitude
        FROM site_stats.active_sessions AS a
        WHERE a.last_seen_at > statement_timestamp() - current_setting('site_stats.session_timeout')::interval
    ),
    totals AS (
        SELECT COALESCE(sum(t.visitors), 0)::bigint AS visitors
        FROM state AS s
        JOIN site_stats.site_totals AS t ON t.epoch = s.epoch
    ),
    -- Visitors do not add up: a session of an uncounted view may be in the session set already.
    new_sessions AS (
        SELECT count(DISTINCT v.session_id COLLATE "C") AS visitors
        FROM state AS s
        JOIN ONLY site_stats.page_views AS v ON v.id > s.cursor AND v.id <= s.target
        WHERE s.cursor < s.target
            AND NOT EXISTS (
                SELECT
                FROM site_stats.sessions AS k
                WHERE k.session_id = v.session_id COLLATE "C" AND k.epoch = s.epoch AND k.views > 0
            )
    ),
    top AS MATERIALIZED (
        SELECT p.path COLLATE "C" AS path, p.views, p.last_view_id, p.all_views, p.all_paths
        FROM site_stats.most_viewed_paths(50) AS p
    ),
    published AS (
        SELECT
            count(*) FILTER (WHERE c.page_type = 'blog') AS posts,
            count(*) FILTER (WHERE c.page_type = 'page') AS pages
        FROM site_stats.content AS c
        WHERE c.published
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
        (SELECT min(v.viewed_at) FROM ONLY site_stats.page_views AS v),
        (
            SELECT COALESCE(jsonb_agg(n ORDER BY n.views DESC, n.path), '[]')
            FROM (
                SELECT p.path, c.title, c.page_type AS "pageType", p.views
                FROM top AS p
                CROSS JOIN LATERAL site_stats.page_shown(p.path, p.last_view_id) AS c
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
                SELECT FROM site_stats.site_totals AS t WHERE t.epoch = s.epoch
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
COMMENT ON FUNCTION site_stats.get_stats_in_snapshot() IS 'The query of get_stats().';

CREATE FUNCTION site_stats.check_totals()
RETURNS TABLE (aggregate text, key text, counted bigint, actual bigint)
LANGUAGE c
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'read_statistics';
COMMENT ON FUNCTION site_stats.check_totals() IS
    'Compares every aggregate with the page views in one snapshot and returns each difference: no row means sound.';

CREATE FUNCTION site_stats.check_totals_in_snapshot()
RETURNS TABLE (aggregate text, key text, counted bigint, actual bigint)
LANGUAGE plpgsql
STABLE
CALLED ON NULL INPUT
PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH state AS MATERIALIZED (
        SELECT s.epoch, s.cursor, s.target
        FROM site_stats.backfill_state AS s
    ),
    -- The views that the aggregates must count, at the finest grain that any aggregate needs.
    truth AS MATERIALIZED (
        SELECT
            v.path,
            (v.viewed_at AT TIME ZONE 'UTC')::date AS day,
            v.session_id COLLATE "C" AS session_id,
            count(*) AS views
        FROM state AS s
        JOIN ONLY site_stats.page_views AS v ON v.id <= s.cursor OR v.id > s.target
        GROUP BY 1, 2, 3
    ),
    comparison AS (
        SELECT 'site_totals.views' AS aggregate, NULL AS key, c.views AS counted, a.views AS actual
        FROM (
            SELECT COALESCE(sum(t.views), 0) AS views
            FROM state AS s
            JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
        ) AS c
        CROSS JOIN (SELECT COALESCE(sum(r.views), 0) AS views FROM truth AS r) AS a
        UNION ALL
        SELECT 'site_totals.visitors', NULL, c.visitors, a.visitors
        FROM (
            SELECT COALESCE(sum(t.visitors), 0) AS visitors
            FROM state AS s
            JOIN site_stats.site_totals AS t ON t.epoch = s.epoch
        ) AS c
        CROSS JOIN (SELECT count(DISTINCT r.session_id) AS visitors FROM truth AS r) AS a
        UNION ALL
        SELECT 'path_totals', COALESCE(c.path, a.path), COALESCE(c.views, 0), COALESCE(a.views, 0)
        FROM (
            SELECT t.path, sum(t.views) AS views
            FROM state AS s
            JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
            GROUP BY t.path
        ) AS c
        FULL JOIN (SELECT r.path, sum(r.views) AS views FROM truth AS r GROUP BY r.path) AS a ON a.path = c.path
        UNION ALL
        SELECT
            'daily_totals',
            to_char(COALESCE(c.day, a.day), 'YYYY-MM-DD') || ' ' || COALESCE(c.path, a.path),
            COALESCE(c.views, 0),
            COALESCE(a.views, 0)
        FROM (
            SELECT d.day, d.path, sum(d.views) AS views
            FROM (
                SELECT t.day, t.path, t.views
                FROM state AS s
                JOIN site_stats.daily_totals AS t ON t.epoch = s.epoch
                UNION ALL
                SELECT t.day, t.path, t.day_views
                FROM state AS s
                JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
                WHERE t.day_views <> 0
            ) AS d
            GROUP BY d.day, d.path
        ) AS c
        FULL JOIN (
            SELECT r.day, r.path, sum(r.views) AS views FROM truth AS r GROUP BY r.day, r.path
        ) AS a ON a.day = c.day AND a.path = c.path
        UNION ALL
        SELECT 'sessions', COALESCE(c.session_id, a.session_id), COALESCE(c.views, 0), COALESCE(a.views, 0)
        FROM (
            SELECT k.session_id, k.views, k.is_lower_bound
            FROM state AS s
            JOIN site_stats.sessions AS k ON k.epoch = s.epoch
        ) AS c
        FULL JOIN (
            SELECT r.session_id, sum(r.views) AS views FROM truth AS r GROUP BY r.session_id
        ) AS a ON a.session_id = c.session_id
        WHERE NOT (c.is_lower_bound AND c.views BETWEEN 1 AND a.views) IS TRUE
        UNION ALL
        SELECT 'backfill_state', NULL, 0, 1
        WHERE NOT EXISTS (SELECT FROM state)
        UNION ALL
        -- A child or partition takes rows that are counted nowhere.
        SELECT 'page_views', i.inhrelid::regclass::text, 0, NULL
        FROM pg_inherits AS i
        WHERE i.inhparent = 'site_stats.page_views'::regclass
    )
    SELECT m.aggregate, m.key, m.counted::bigint, m.actual::bigint
    FROM comparison AS m
    WHERE m.counted IS DISTINCT FROM m.actual
    ORDER BY m.aggregate, m.key COLLATE "C";
END
$$;
COMMENT ON FUNCTION site_stats.check_totals_in_snapshot() IS 'The query of check_totals().';

-- privileges: only the owner of the extension has any, until the owner grants them.
--
-- A site needs USAGE on the schema, and EXECUTE on record_page_view and heartbeat. A reader needs USAGE on the schema,
-- and EXECUTE on the functions of report.sql that it calls.

REVOKE ALL ON SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA site_stats FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA site_stats FROM PUBLIC;
