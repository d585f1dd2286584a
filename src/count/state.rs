//! The row of `backfill_state`, which says which page views are counted, and how writers use it.
//!
//! Invariant: for each changed row, a writer and a batch agree on whether the aggregates count it. The writer
//! decides by `epoch`, `cursor` and `target`.
//!
//! Ids above `target` are always counted. `epoch` and `target` change only under a lock on `page_views`,
//! while no writer has uncommitted changes. So a process caches them. The change sends a relcache
//! invalidation, which clears the cache. A cursor that has reached the target stays there, so it is cached,
//! too.
//!
//! For ids in `(0, target]` of an unfinished backfill, the writer takes the gate in shared mode and reads the
//! cursor after that. The cursor cannot move before the writer's transaction ends.
//!
//! A REPEATABLE READ transaction also decides by what is committed now. By its snapshot, a row could be
//! counted neither by the writer nor by a batch. If the two states differ in a way that its reads could show,
//! it gets 40001.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::datum::Column;
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::{catalog, scan, snapshot};

/// Columns of `backfill_state`. Column 1 is its primary key, and always true.
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

/// Which page views the aggregates count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub epoch: i64,
    pub cursor: i64,
    pub target: i64,
}

impl State {
    /// Whether the aggregates count every page view.
    pub fn is_complete(&self) -> bool {
        self.cursor == self.target
    }
}

/// A cached state. It is current while it is in the cache, except for a cursor below the target.
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
    // SAFETY: `GetLatestSnapshot` needs an open transaction; writers, batches and flushes run in one.
    seen_by(unsafe { pg_sys::GetLatestSnapshot() })
}

/// Keeps batches out until this transaction ends. The transaction has written `page_views`.
pub fn hold(page_views: pg_sys::Oid) -> Result<(), ErrorReport> {
    // If all page views are counted, there is no batch. No backfill can begin while this transaction has
    // writes.
    if !latest()?.is_complete() {
        Lock::new(Class::Gate, page_views, 0).acquire(Mode::Shared);
    }
    Ok(())
}

/// The state that the calling statement sees.
pub fn seen() -> Result<State, ErrorReport> {
    // SAFETY: an executing statement has an active snapshot.
    seen_by(unsafe { pg_sys::GetActiveSnapshot() })
}

/// The state that a snapshot shows.
pub fn seen_by(snapshot: pg_sys::Snapshot) -> Result<State, ErrorReport> {
    read_row(snapshot, |row| State {
        epoch: row.bigint(columns::EPOCH),
        cursor: row.bigint(columns::CURSOR),
        target: row.bigint(columns::TARGET),
    })
}

/// The state by which one statement decides what is counted.
pub struct Writer {
    page_views: pg_sys::Oid,
    state: State,
    /// The state in the transaction's only snapshot; `None` if each statement has its own.
    seen: Option<State>,
    holds_gate: bool,
}

impl Writer {
    /// For a statement that writes `page_views`, and so holds its lock.
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
            // SAFETY: a statement runs in a transaction, which has this snapshot at these isolation levels.
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

    /// The epoch that the writer counts for.
    pub fn epoch(&self) -> i64 {
        self.state.epoch
    }

    /// Whether the aggregates count the page view with this id.
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

/// Clears the cache if its table is among the changed relations. For `catalog::watch`.
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

/// Calls `show` with the row that the snapshot shows. It is read without a plan: batches need it, and
/// statements of writers that find no cached state.
pub fn read_row<R>(snapshot: pg_sys::Snapshot, show: impl FnOnce(&StateRow) -> R) -> Result<R, ErrorReport> {
    scan::show_first(catalog::table(c"backfill_state")?, snapshot, |row| match row {
        Some(row) if row.len() >= columns::COUNT => Ok(show(&StateRow(row))),
        _ => Err(error::not_installed("backfill_state")),
    })
}
