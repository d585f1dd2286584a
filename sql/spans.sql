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
