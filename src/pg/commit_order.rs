//! Work that a transaction does before other extensions do theirs at its commit. postgres_fdw commits its remote transactions
//! there: what can fail has to fail before.
//!
//! The server calls the functions that are registered for the end of a transaction, the one that was registered last first.
//! postgres_fdw registers its function at its first connection, which any statement may make. So ours is registered anew after
//! each statement, as long as there is work.
//!
//! Invariant: the list of functions never changes while the server goes through it. That is after the portal of the last
//! statement has ended. Deferred triggers run without a portal, too, just before; then the work is done at once. A query that its
//! portal ends has no active portal either, but the resource owner of one.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::caught;

/// The work, and when it is done.
pub struct Work {
    /// Whether there is any.
    pub is_wanted: fn() -> bool,
    /// Called when the transaction is to end, before the functions of others.
    pub before_others: fn() -> Result<(), ErrorReport>,
    /// Called after a statement of a deferred trigger.
    pub after_statement: fn() -> Result<(), ErrorReport>,
}

thread_local! {
    static WORK: Cell<Option<&'static Work>> = const { Cell::new(None) };
    static NEXT_EXECUTOR_END: Cell<pg_sys::ExecutorEnd_hook_type> = const { Cell::new(None) };
    static NEXT_UTILITY: Cell<pg_sys::ProcessUtility_hook_type> = const { Cell::new(None) };
}

/// Takes care that the work of this transaction comes before that of others. The first caller in a process says what it is.
pub fn come_first(work: &'static Work) {
    // SAFETY: no function of the list is being called as long as there is a portal. The library with ours is never unloaded.
    unsafe {
        if !is_in_portal() || !(work.is_wanted)() {
            return;
        }
        pg_sys::UnregisterXactCallback(Some(transaction_is_to_end), null_mut());
        pg_sys::RegisterXactCallback(Some(transaction_is_to_end), null_mut());
        if WORK.replace(Some(work)).is_none() {
            NEXT_EXECUTOR_END.set(pg_sys::ExecutorEnd_hook);
            pg_sys::ExecutorEnd_hook = Some(query_ends);
            NEXT_UTILITY.set(pg_sys::ProcessUtility_hook);
            pg_sys::ProcessUtility_hook = Some(run_utility);
        }
    }
}

/// The first function that the server calls when a transaction is to end.
///
/// # Safety
/// Only the server may call it.
unsafe extern "C-unwind" fn transaction_is_to_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::*;
    if matches!(event, XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE)
        && let Some(work) = WORK.get()
    {
        // SAFETY: the server calls this, and nothing is left to drop.
        unsafe { caught::answer(work.before_others) }
    }
}

/// Called at the end of each query of a process that has had work.
///
/// # Safety
/// Only the server may call it.
unsafe extern "C-unwind" fn query_ends(query: *mut pg_sys::QueryDesc) {
    let work = || {
        // SAFETY: the server passes a query that runs, which the next function, or its own, ends. An error of it is caught at
        // the boundary.
        unsafe {
            match NEXT_EXECUTOR_END.get() {
                Some(next) => pg_guard_ffi_boundary(|| next(query)),
                None => pg_sys::standard_ExecutorEnd(query),
            }
        }
        statement_has_run()
    };
    // SAFETY: the server calls this, and nothing is left to drop.
    unsafe { caught::answer(work) }
}

/// Called for each utility statement of such a process: COPY and TRUNCATE make connections, too.
///
/// # Safety
/// Only the server may call it.
unsafe extern "C-unwind" fn run_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    is_read_only: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    let work = || {
        // SAFETY: passes on what the server has passed. An error of the next function is caught at the boundary.
        unsafe {
            match NEXT_UTILITY.get() {
                Some(next) => pg_guard_ffi_boundary(|| {
                    next(
                        statement,
                        text,
                        is_read_only,
                        context,
                        parameters,
                        environment,
                        receiver,
                        completion,
                    );
                }),
                None => pg_sys::standard_ProcessUtility(
                    statement,
                    text,
                    is_read_only,
                    context,
                    parameters,
                    environment,
                    receiver,
                    completion,
                ),
            }
        }
        statement_has_run()
    };
    // SAFETY: the server calls this, and nothing is left to drop.
    unsafe { caught::answer(work) }
}

fn statement_has_run() -> Result<(), ErrorReport> {
    let Some(work) = WORK.get() else { return Ok(()) };
    if is_in_portal() {
        come_first(work);
    } else if (work.is_wanted)() {
        (work.after_statement)()?;
    }
    Ok(())
}

/// Whether a portal runs, or ends its query. Deferred triggers have none: their resource owner is that of the transaction, or of a
/// subtransaction.
fn is_in_portal() -> bool {
    // SAFETY: reads pointers of this process.
    unsafe {
        !pg_sys::ActivePortal.is_null() || pg_sys::CurrentResourceOwner != pg_sys::CurTransactionResourceOwner
    }
}
