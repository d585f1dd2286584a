//! What a transaction sees: one snapshot or several, and whether it has written on top of what it does not see.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

thread_local! {
    /// This transaction has written on top of a row that its snapshot does not show.
    static BUILT_ON_NEWER: Cell<bool> = const { Cell::new(false) };
}

/// Whether the transaction sees one snapshot from its first statement to its end.
pub fn uses_one_snapshot() -> bool {
    // SAFETY: a plain integer of this process.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Runs `work` with a snapshot, for code of the server that wants some snapshot to be there: to fetch a long value from where it
/// is kept, say. What counts takes its own.
pub fn with_snapshot<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: a transaction is open; an error that is raised pops the snapshot with it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    let result = work();
    // SAFETY: as pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// Runs `work` with a snapshot of what is committed now, in which this transaction has done nothing yet.
pub fn without_own_changes<R>(
    work: impl FnOnce(pg_sys::Snapshot) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    // SAFETY: a transaction is open. Registering makes a copy, which is ours to change; an error in between ends the
    // transaction, which lets go of it.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        (*snapshot).curcid = pg_sys::FirstCommandId;
        let result = work(snapshot);
        pg_sys::UnregisterSnapshot(snapshot);
        result
    }
}

/// Notes that a row was written on top of a version that the transaction's snapshot does not show: its own reads would mix
/// the two.
pub fn note_newer_than_snapshot() {
    BUILT_ON_NEWER.set(true);
}

/// Whether that has happened in this transaction.
pub fn is_built_on_newer() -> bool {
    BUILT_ON_NEWER.get()
}

/// To be called when the transaction has ended.
pub fn forget() {
    BUILT_ON_NEWER.set(false);
}
