//! The tables that the library writes past the executor, as the install script makes them.

use pgrx::pg_sys;

use crate::pg::heap_table::definition::{Definition, column, nullable};
use crate::pg::spi::Statement;

/// A counter for each path and counter slot.
pub static PATH_TOTALS: Definition = Definition {
    name: c"path_totals",
    columns: &[
        column("path", pg_sys::TEXTOID),
        column("slot", pg_sys::INT4OID),
        column("epoch", pg_sys::INT8OID),
        column("views", pg_sys::INT8OID),
        column("page_type", pg_sys::TEXTOID),
        column("last_view_id", pg_sys::INT8OID),
        column("day", pg_sys::DATEOID),
        column("day_views", pg_sys::INT8OID),
    ],
    keys: 2,
    may_be_unlogged: true,
    checks: 0,
    older: None,
    insert: Statement::new(
        "INSERT INTO site_stats.path_totals (path, slot, epoch, views, page_type, last_view_id, day, day_views)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
          RETURNING path, slot, epoch, views, page_type, last_view_id, day, day_views",
        &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::DATEOID, pg_sys::INT8OID],
    ),
    insert_unless_there: Statement::new(
        "INSERT INTO site_stats.path_totals (path, slot, epoch, views, page_type, last_view_id, day, day_views)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
          ON CONFLICT (path, slot) DO NOTHING
          RETURNING path, slot, epoch, views, page_type, last_view_id, day, day_views",
        &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::DATEOID, pg_sys::INT8OID],
    ),
    update: Statement::new(
        "UPDATE ONLY site_stats.path_totals
          SET (path, slot, epoch, views, page_type, last_view_id, day, day_views) = ROW ($1, $2, $3, $4, $5, $6, $7, $8)
          WHERE ctid = $9
          RETURNING path, slot, epoch, views, page_type, last_view_id, day, day_views",
        &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::DATEOID, pg_sys::INT8OID, pg_sys::TIDOID],
    ),
    delete: Statement::new("DELETE FROM ONLY site_stats.path_totals WHERE ctid = $1", &[pg_sys::TIDOID]),
};

/// A counter for each day, path and counter slot.
pub static DAILY_TOTALS: Definition = Definition {
    name: c"daily_totals",
    columns: &[
        column("day", pg_sys::DATEOID),
        column("path", pg_sys::TEXTOID),
        column("slot", pg_sys::INT4OID),
        column("epoch", pg_sys::INT8OID),
        column("views", pg_sys::INT8OID),
    ],
    keys: 3,
    may_be_unlogged: false,
    checks: 0,
    older: None,
    insert: Statement::new(
        "INSERT INTO site_stats.daily_totals (day, path, slot, epoch, views)
          VALUES ($1, $2, $3, $4, $5)
          RETURNING day, path, slot, epoch, views",
        &[pg_sys::DATEOID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID],
    ),
    insert_unless_there: Statement::new(
        "INSERT INTO site_stats.daily_totals (day, path, slot, epoch, views)
          VALUES ($1, $2, $3, $4, $5)
          ON CONFLICT (day, path, slot) DO NOTHING
          RETURNING day, path, slot, epoch, views",
        &[pg_sys::DATEOID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID],
    ),
    update: Statement::new(
        "UPDATE ONLY site_stats.daily_totals
          SET (day, path, slot, epoch, views) = ROW ($1, $2, $3, $4, $5)
          WHERE ctid = $6
          RETURNING day, path, slot, epoch, views",
        &[
            pg_sys::DATEOID,
            pg_sys::TEXTOID,
            pg_sys::INT4OID,
            pg_sys::INT8OID,
            pg_sys::INT8OID,
            pg_sys::TIDOID,
        ],
    ),
    delete: Statement::new("DELETE FROM ONLY site_stats.daily_totals WHERE ctid = $1", &[pg_sys::TIDOID]),
};

/// A counter of visitors for each counter slot.
pub static SITE_TOTALS: Definition = Definition {
    name: c"site_totals",
    columns: &[
        column("slot", pg_sys::INT4OID),
        column("epoch", pg_sys::INT8OID),
        column("visitors", pg_sys::INT8OID),
    ],
    keys: 1,
    may_be_unlogged: true,
    checks: 0,
    older: None,
    insert: Statement::new(
        "INSERT INTO site_stats.site_totals (slot, epoch, visitors)
          VALUES ($1, $2, $3)
          RETURNING slot, epoch, visitors",
        &[pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID],
    ),
    insert_unless_there: Statement::new(
        "INSERT INTO site_stats.site_totals (slot, epoch, visitors)
          VALUES ($1, $2, $3)
          ON CONFLICT (slot) DO NOTHING
          RETURNING slot, epoch, visitors",
        &[pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID],
    ),
    update: Statement::new(
        "UPDATE ONLY site_stats.site_totals
          SET (slot, epoch, visitors) = ROW ($1, $2, $3)
          WHERE ctid = $4
          RETURNING slot, epoch, visitors",
        &[pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIDOID],
    ),
    delete: Statement::new("DELETE FROM ONLY site_stats.site_totals WHERE ctid = $1", &[pg_sys::TIDOID]),
};

/// The session set.
pub static SESSIONS: Definition = Definition {
    name: c"sessions",
    columns: &[
        column("session_id", pg_sys::TEXTOID),
        column("epoch", pg_sys::INT8OID),
        column("views", pg_sys::INT8OID),
        nullable("is_lower_bound", pg_sys::BOOLOID),
    ],
    keys: 1,
    may_be_unlogged: true,
    checks: 0,
    older: Some(&SESSIONS_0_1_0),
    insert: Statement::new(
        "INSERT INTO site_stats.sessions (session_id, epoch, views, is_lower_bound)
          VALUES ($1, $2, $3, $4)
          RETURNING session_id, epoch, views, is_lower_bound",
        &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::BOOLOID],
    ),
    insert_unless_there: Statement::new(
        "INSERT INTO site_stats.sessions (session_id, epoch, views, is_lower_bound)
          VALUES ($1, $2, $3, $4)
          ON CONFLICT (session_id) DO NOTHING
          RETURNING session_id, epoch, views, is_lower_bound",
        &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::BOOLOID],
    ),
    update: Statement::new(
        "UPDATE ONLY site_stats.sessions
          SET (session_id, epoch, views, is_lower_bound) = ROW ($1, $2, $3, $4)
          WHERE ctid = $5
          RETURNING session_id, epoch, views, is_lower_bound",
        &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::BOOLOID, pg_sys::TIDOID],
    ),
    delete: Statement::new("DELETE FROM ONLY site_stats.sessions WHERE ctid = $1", &[pg_sys::TIDOID]),
};

/// The session set before `is_lower_bound`.
static SESSIONS_0_1_0: Definition = Definition {
    name: c"sessions",
    columns: &[
        column("session_id", pg_sys::TEXTOID),
        column("epoch", pg_sys::INT8OID),
        column("views", pg_sys::INT8OID),
    ],
    keys: 1,
    may_be_unlogged: true,
    checks: 0,
    older: None,
    insert: Statement::new(
        "INSERT INTO site_stats.sessions (session_id, epoch, views)
          VALUES ($1, $2, $3)
          RETURNING session_id, epoch, views",
        &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID],
    ),
    insert_unless_there: Statement::new(
        "INSERT INTO site_stats.sessions (session_id, epoch, views)
          VALUES ($1, $2, $3)
          ON CONFLICT (session_id) DO NOTHING
          RETURNING session_id, epoch, views",
        &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID],
    ),
    update: Statement::new(
        "UPDATE ONLY site_stats.sessions
          SET (session_id, epoch, views) = ROW ($1, $2, $3)
          WHERE ctid = $4
          RETURNING session_id, epoch, views",
        &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIDOID],
    ),
    delete: Statement::new("DELETE FROM ONLY site_stats.sessions WHERE ctid = $1", &[pg_sys::TIDOID]),
};

/// The row that says which page views are counted.
pub static BACKFILL_STATE: Definition = Definition {
    name: c"backfill_state",
    columns: &[
        column("singleton", pg_sys::BOOLOID),
        column("epoch", pg_sys::INT8OID),
        column("cursor", pg_sys::INT8OID),
        column("target", pg_sys::INT8OID),
        column("status", pg_sys::TEXTOID),
        nullable("batch_size", pg_sys::INT4OID),
        column("views_done", pg_sys::INT8OID),
        nullable("views_total", pg_sys::INT8OID),
        column("sessions_found", pg_sys::INT8OID),
        column("swept_tables", pg_sys::INT8OID),
        column("swept_blocks", pg_sys::INT8OID),
        nullable("requested_at", pg_sys::TIMESTAMPTZOID),
        nullable("started_at", pg_sys::TIMESTAMPTZOID),
        nullable("resumed_at", pg_sys::TIMESTAMPTZOID),
        column("views_done_at_resume", pg_sys::INT8OID),
        nullable("updated_at", pg_sys::TIMESTAMPTZOID),
        nullable("finished_at", pg_sys::TIMESTAMPTZOID),
        column("restarts", pg_sys::INT4OID),
        nullable("last_error", pg_sys::TEXTOID),
    ],
    keys: 1,
    may_be_unlogged: false,
    checks: 3,
    older: None,
    insert: Statement::new(
        "INSERT INTO site_stats.backfill_state (singleton, epoch, cursor, target, status, batch_size, views_done, views_total, sessions_found, swept_tables, swept_blocks, requested_at, started_at, resumed_at, views_done_at_resume, updated_at, finished_at, restarts, last_error)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
          RETURNING singleton, epoch, cursor, target, status, batch_size, views_done, views_total, sessions_found, swept_tables, swept_blocks, requested_at, started_at, resumed_at, views_done_at_resume, updated_at, finished_at, restarts, last_error",
        &[pg_sys::BOOLOID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID, pg_sys::TEXTOID],
    ),
    insert_unless_there: Statement::new(
        "INSERT INTO site_stats.backfill_state (singleton, epoch, cursor, target, status, batch_size, views_done, views_total, sessions_found, swept_tables, swept_blocks, requested_at, started_at, resumed_at, views_done_at_resume, updated_at, finished_at, restarts, last_error)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
          ON CONFLICT (singleton) DO NOTHING
          RETURNING singleton, epoch, cursor, target, status, batch_size, views_done, views_total, sessions_found, swept_tables, swept_blocks, requested_at, started_at, resumed_at, views_done_at_resume, updated_at, finished_at, restarts, last_error",
        &[pg_sys::BOOLOID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID, pg_sys::TEXTOID],
    ),
    update: Statement::new(
        "UPDATE ONLY site_stats.backfill_state
          SET (singleton, epoch, cursor, target, status, batch_size, views_done, views_total, sessions_found, swept_tables, swept_blocks, requested_at, started_at, resumed_at, views_done_at_resume, updated_at, finished_at, restarts, last_error) = ROW ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
          WHERE ctid = $20
          RETURNING singleton, epoch, cursor, target, status, batch_size, views_done, views_total, sessions_found, swept_tables, swept_blocks, requested_at, started_at, resumed_at, views_done_at_resume, updated_at, finished_at, restarts, last_error",
        &[pg_sys::BOOLOID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TIDOID],
    ),
    delete: Statement::new("DELETE FROM ONLY site_stats.backfill_state WHERE ctid = $1", &[pg_sys::TIDOID]),
};
