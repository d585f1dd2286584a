//! Counters that are gone: a crash has emptied an UNLOGGED table of counters, or a TRUNCATE any.
//!
//! Nothing in the table tells. But a page view that is counted has left a row in each of three tables, so none of them is
//! empty then. If all of them are, and none is UNLOGGED, page views came in past the triggers, and none was ever counted;
//! that somebody has emptied all three by hand looks the same, and is for `check_totals()` to find. A process looks once,
//! before it writes a counter for the first time, and again after each change of a table that the server announces: a crash
//! ends all processes, and a TRUNCATE is announced.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::state::{self, State};
use crate::error;
use crate::pg::spi::{self, Statement};
use crate::pg::{catalog, scan, snapshot};

/// The tables that have a row as soon as a page view is counted.
const TABLES: [&CStr; 3] = [c"path_totals", c"sessions", c"site_totals"];

/// Whether a page view is counted by the state `($1, $2)`.
static IS_ANY_COUNTED: Statement = Statement::new(
    "SELECT EXISTS (SELECT FROM ONLY site_stats.page_views AS v WHERE v.id <= $1 OR v.id > $2)",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

thread_local! {
    /// The tables that were seen with rows, as long as no change of them is announced.
    static SEEN: Cell<Option<[pg_sys::Oid; TABLES.len()]>> = const { Cell::new(None) };
}

/// Forgets that the tables were seen with rows. For `catalog::watch`.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    if SEEN.get().is_some_and(|tables| tables.into_iter().any(is_changed)) {
        SEEN.set(None);
    }
}

/// Checks before a write that the counters are there.
///
/// # Errors
/// 55000 if a table has lost its rows: what is written into it now would hide that.
pub fn require_counters(page_views: pg_sys::Oid) -> Result<(), ErrorReport> {
    if SEEN.get().is_some() {
        return Ok(());
    }
    let Some(empty) = suspect()? else { return Ok(()) };
    let is_lost = snapshot::without_own_changes(|snapshot| match state::seen_by(snapshot) {
        Ok(state) => is_any_counted(page_views, state, snapshot),
        // This transaction has created the extension.
        Err(_) => Ok(false),
    })?;
    // What the snapshot shows may have been counted since the look at the tables.
    if is_lost && suspect()?.is_some() { Err(error::lost_rows(empty)) } else { Ok(()) }
}

/// The state as a read is to use it: nothing is counted where counters are lost. As the SQL view `counted_state`.
pub fn state_for_reads() -> Result<State, ErrorReport> {
    let state = state::seen()?;
    if SEEN.get().is_some() || suspect()?.is_none() {
        return Ok(state);
    }
    // SAFETY: a function that reads runs with an active snapshot.
    let is_lost = is_any_counted(catalog::page_views()?, state, unsafe { pg_sys::GetActiveSnapshot() })?;
    // No row is of this epoch.
    Ok(if is_lost { State { epoch: 0, cursor: 0, target: i64::MAX } } else { state })
}

/// The first of the tables without a block, if it may have lost its rows.
fn suspect() -> Result<Option<&'static CStr>, ErrorReport> {
    let changes = catalog::changes();
    let mut tables = [pg_sys::InvalidOid; TABLES.len()];
    let (mut first, mut empty, mut is_any_unlogged) = (None, 0, false);
    for (table, name) in tables.iter_mut().zip(TABLES) {
        *table = catalog::table(name)?;
        let (blocks, is_unlogged) = scan::length_and_persistence(*table);
        is_any_unlogged |= is_unlogged;
        if blocks == 0 {
            first = first.or(Some(name));
            empty += 1;
        }
    }
    if empty == 0 && catalog::changes() == changes {
        SEEN.set(Some(tables));
    }
    Ok(first.filter(|_| empty < TABLES.len() || is_any_unlogged))
}

fn is_any_counted(
    page_views: pg_sys::Oid,
    state: State,
    snapshot: pg_sys::Snapshot,
) -> Result<bool, ErrorReport> {
    spi::connect_as_owner(page_views, |connection| {
        let range = [state.cursor, state.target].map(|id| Some(pg_sys::Datum::from(id)));
        Ok(IS_ANY_COUNTED.read(connection, snapshot, &range)?.boolean(0, 1))
    })
}
