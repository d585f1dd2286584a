//! Snapshots of a transaction, and whether it has written a row on top of a version that its snapshot does
//! not show.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

thread_local! {
    /// This transaction has updated a row on top of a version that its snapshot does not show.
    static BUILT_ON_NEWER: Cell<bool> = const { Cell::new(false) };
}

/// Whether the transaction uses one snapshot from its first statement to its end: REPEATABLE READ or
/// SERIALIZABLE.
pub fn uses_one_snapshot() -> bool {
    // SAFETY: a global integer of this process.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Runs `work` with an active snapshot. Some code of the server needs one, for example to fetch a TOASTed
/// value. Code that counts takes a snapshot of its own.
pub fn with_snapshot<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: the callers run in a transaction.
    with_active(unsafe { pg_sys::GetTransactionSnapshot() }, work)
}

/// The same with a snapshot that shows what is committed now.
pub fn with_latest_active<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: the callers run in a transaction.
    with_active(unsafe { pg_sys::GetLatestSnapshot() }, work)
}

fn with_active<R>(snapshot: pg_sys::Snapshot, work: impl FnOnce() -> R) -> R {
    // SAFETY: the snapshot is one of the open transaction. If `work` raises an error, its abort pops the snapshot.
    unsafe { pg_sys::PushActiveSnapshot(snapshot) };
    let result = work();
    // SAFETY: the snapshot pushed above is still on top.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// Runs `work` with a snapshot that shows what is committed now, without this transaction's own changes.
pub fn without_own_changes<R>(
    work: impl FnOnce(pg_sys::Snapshot) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    // SAFETY: the callers run in a transaction. `RegisterSnapshot` makes a copy, so `curcid` can be changed.
    // An error aborts the transaction, which releases the copy.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        (*snapshot).curcid = pg_sys::FirstCommandId;
        let result = work(snapshot);
        pg_sys::UnregisterSnapshot(snapshot);
        result
    }
}

/// Runs `work` with a snapshot that shows what is committed now, with this transaction's own changes, at any isolation level.
pub fn with_latest<R>(work: impl FnOnce(pg_sys::Snapshot) -> R) -> R {
    // SAFETY: the callers run in a transaction. An error aborts it, which releases the snapshot.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let result = work(snapshot);
        pg_sys::UnregisterSnapshot(snapshot);
        result
    }
}

/// Notes that this transaction updated a row on top of a version that its snapshot does not show. The
/// transaction's own reads would mix the two.
pub fn note_newer_than_snapshot() {
    BUILT_ON_NEWER.set(true);
}

/// Whether `note_newer_than_snapshot` was called in this transaction.
pub fn is_built_on_newer() -> bool {
    BUILT_ON_NEWER.get()
}

/// Clears the note. To be called at the end of each transaction.
pub fn forget() {
    BUILT_ON_NEWER.set(false);
}
