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
    site_id smallint NOT NULL DEFAULT 1,
    CONSTRAINT path_totals_site_id_path_slot_pkey PRIMARY KEY (site_id, path, slot)
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
COMMENT ON COLUMN site_stats.path_totals.site_id IS 'The site of the path.';

CREATE TABLE site_stats.daily_totals (
    day date NOT NULL,
    path text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    epoch bigint NOT NULL,
    views bigint NOT NULL,
    site_id smallint NOT NULL DEFAULT 1,
    CONSTRAINT daily_totals_site_id_day_path_slot_pkey PRIMARY KEY (site_id, day, path, slot)
) USING heap WITH (fillfactor = 90);

COMMENT ON TABLE site_stats.daily_totals IS
    'Views of a path on a UTC day, beside those in path_totals, split over slots. Derived: never write it by hand.';
COMMENT ON COLUMN site_stats.daily_totals.day IS 'The day in UTC.';
COMMENT ON COLUMN site_stats.daily_totals.slot IS 'The part of the counter; only the sum over slots has a meaning.';
COMMENT ON COLUMN site_stats.daily_totals.epoch IS 'The epoch in which the row counts.';
COMMENT ON COLUMN site_stats.daily_totals.views IS 'Views counted in this slot; may be negative.';
COMMENT ON COLUMN site_stats.daily_totals.site_id IS 'The site of the path.';

CREATE TABLE site_stats.site_totals (
    slot integer NOT NULL,
    epoch bigint NOT NULL,
    visitors bigint NOT NULL,
    site_id smallint NOT NULL DEFAULT 1,
    CONSTRAINT site_totals_site_id_slot_pkey PRIMARY KEY (site_id, slot)
) USING heap WITH (fillfactor = 50);

COMMENT ON TABLE site_stats.site_totals IS
    'All visitors of a site, split over slots; all views are the sum over the paths. Derived: never write it by hand.';
COMMENT ON COLUMN site_stats.site_totals.slot IS 'The part of the counter; only the sum over slots has a meaning.';
COMMENT ON COLUMN site_stats.site_totals.epoch IS 'The epoch in which the row counts.';
COMMENT ON COLUMN site_stats.site_totals.visitors IS 'Sessions that came minus sessions that left; may be negative.';
COMMENT ON COLUMN site_stats.site_totals.site_id IS 'The site.';

CREATE TABLE site_stats.sessions (
    session_id text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    views bigint NOT NULL,
    is_lower_bound boolean DEFAULT false,
    site_id smallint NOT NULL DEFAULT 1,
    CONSTRAINT sessions_site_id_session_id_pkey PRIMARY KEY (site_id, session_id)
) USING heap WITH (fillfactor = 80);

COMMENT ON TABLE site_stats.sessions IS
    'The session set: sessions with a counted view. Derived: never write it by hand.';
COMMENT ON COLUMN site_stats.sessions.epoch IS 'The epoch in which the row counts.';
COMMENT ON COLUMN site_stats.sessions.views IS 'Counted views of the session; the session leaves the set at 0.';
COMMENT ON COLUMN site_stats.sessions.is_lower_bound IS
    'True of a session that a backfill has found: it may have more views. They are counted when one of them leaves.';
COMMENT ON COLUMN site_stats.sessions.site_id IS 'The site that the session visits.';

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
