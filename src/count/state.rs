//! The row that says which views are counted, and what a writer makes of it.
//!
//! A writer decides for each row that it touches whether the aggregates count it. For ids above `target` the answer is
//! yes whatever else happens, and `epoch` and `target` change only under a lock on `page_views` that no writer is in
//! flight under; so they are cached, and the cache is cleared by the relation-cache invalidation that comes with the
//! change. So is a cursor that has come to the target, where it stays.
//!
//! For ids in `(0, target]` of an unfinished backfill the writer takes the gate shared and reads the cursor after that: it
//! cannot move again until the writer's transaction ends.
//!
//! A REPEATABLE READ transaction decides by what is committed now, too, and not by its snapshot, or a row would be
//! left out by both sides. If the two differ in a way that its own reads could tell, it gets 40001 instead.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::datum::Column;
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::{catalog, scan, snapshot};

/// Columns of `backfill_state`. The first one is its primary key, and true.
pub mod columns {
    use crate::pg::datum::Column;
    pub const EPOCH: Column = 2;
    pub const CURSOR: Column = 3;
    pub const TARGET: Column = 4;
    pub const STATUS: Column = 5;
    pub const BATCH_SIZE: Column = 6;
    pub const VIEWS_DONE: Column = 7;
    pub const VIEWS_TOTAL: Column = 8;
    pub const SESSIONS_FOUND: Column = 9;
    pub const SWEPT_TABLES: Column = 10;
    pub const SWEPT_BLOCKS: Column = 11;
    pub const UPDATED_AT: Column = 16;
    pub const LAST_ERROR: Column = 19;
    pub const COUNT: usize = 19;
}

/// Which views the aggregates count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub epoch: i64,
    pub cursor: i64,
    pub target: i64,
}

impl State {
    /// Whether the aggregates count every view.
    pub fn is_complete(&self) -> bool {
        self.cursor == self.target
    }
}

/// A state that is current as long as the cache holds it, but for a cursor below the target.
#[derive(Clone, Copy)]
struct Cached {
    page_views: pg_sys::Oid,
    state: State,
}

thread_local! {
    static CACHE: Cell<Option<Cached>> = const { Cell::new(None) };
}

/// The state as committed now, with this transaction's own changes, at any isolation level.
pub fn latest() -> Result<State, ErrorReport> {
    // SAFETY: a transaction is open.
    seen_by(unsafe { pg_sys::GetLatestSnapshot() })
}

/// Keeps batches away until this transaction ends, which has written `page_views`.
pub fn hold(page_views: pg_sys::Oid) -> Result<(), ErrorReport> {
    // Where all is counted, nothing more can begin.
    if !latest()?.is_complete() {
        Lock::new(Class::Gate, page_views, 0).acquire(Mode::Shared);
    }
    Ok(())
}

/// The state that the calling statement sees.
pub fn seen() -> Result<State, ErrorReport> {
    // SAFETY: a statement is being executed.
    seen_by(unsafe { pg_sys::GetActiveSnapshot() })
}

/// The state that a snapshot sees.
pub fn seen_by(snapshot: pg_sys::Snapshot) -> Result<State, ErrorReport> {
    read_row(snapshot, |row| State {
        epoch: row.bigint(columns::EPOCH),
        cursor: row.bigint(columns::CURSOR),
        target: row.bigint(columns::TARGET),
    })
}

/// What the decisions of one statement rest on.
pub struct Writer {
    page_views: pg_sys::Oid,
    state: State,
    /// The state that the transaction's own reads see, where that is not always the latest.
    seen: Option<State>,
    holds_gate: bool,
}

impl Writer {
    /// For a statement that writes `page_views`, whose lock it holds.
    pub fn new(page_views: pg_sys::Oid) -> Result<Self, ErrorReport> {
        let state = match CACHE.get() {
            Some(cached) if cached.page_views == page_views => cached.state,
            _ => {
                let state = latest()?;
                CACHE.set(Some(Cached { page_views, state }));
                state
            }
        };
        let seen = if snapshot::uses_one_snapshot() {
            // SAFETY: a transaction is open; at this isolation level it is the transaction's only snapshot.
            let seen = seen_by(unsafe { pg_sys::GetTransactionSnapshot() })?;
            if (seen.epoch, seen.target) != (state.epoch, state.target) {
                return Err(error::stale_snapshot());
            }
            Some(seen)
        } else {
            None
        };
        Ok(Writer { page_views, state, seen, holds_gate: false })
    }

    /// The epoch that counters are written for.
    pub fn epoch(&self) -> i64 {
        self.state.epoch
    }

    /// Whether the aggregates count the view with this id.
    pub fn counts(&mut self, id: i64) -> Result<bool, ErrorReport> {
        if id > self.state.target {
            return Ok(true);
        }
        if !self.state.is_complete() && !self.holds_gate {
            Lock::new(Class::Gate, self.page_views, 0).acquire(Mode::Shared);
            self.holds_gate = true;
            self.state = latest()?;
            CACHE.set(Some(Cached { page_views: self.page_views, state: self.state }));
        }
        if self.seen.is_some_and(|seen| seen.cursor != self.state.cursor) {
            return Err(error::stale_snapshot());
        }
        Ok(id <= self.state.cursor)
    }
}

/// Forgets what is known of a relation that was announced as changed, or of all of them. To be called by the catalog.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    if CACHE.get().is_some_and(|cached| is_changed(cached.page_views)) {
        CACHE.set(None);
    }
}

/// The row of `backfill_state`.
pub struct StateRow<'r>(&'r [Option<pg_sys::Datum>]);

impl StateRow<'_> {
    pub fn get(&self, column: Column) -> Option<pg_sys::Datum> {
        self.0[column as usize - 1]
    }

    /// A `bigint` there, 0 for NULL.
    pub fn bigint(&self, column: Column) -> i64 {
        self.get(column).map_or(0, |datum| datum.value() as i64)
    }
}

/// Shows the row as a snapshot sees it. It is read directly: this runs in every statement of a writer that is not served from
/// the cache, and in every batch.
pub fn read_row<R>(snapshot: pg_sys::Snapshot, show: impl FnOnce(&StateRow) -> R) -> Result<R, ErrorReport> {
    scan::show_first(catalog::table(c"backfill_state")?, snapshot, |row| match row {
        Some(row) if row.len() >= columns::COUNT => Ok(show(&StateRow(row))),
        _ => Err(error::not_installed("backfill_state")),
    })
}
