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
