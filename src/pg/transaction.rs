//! The conditions under which steps of a backfill run: in a transaction or a subtransaction, as the owner of
//! `page_views`, with fixed settings.
//!
//! Invariant: an error undoes the step and nothing else, and leaves user and settings as they were.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CStr;
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::caught;
pub use crate::pg::caught::Failure;
use crate::pg::snapshot::with_snapshot;
use crate::pg::version;

thread_local! {
    static IS_ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Says whether the server has fired the deferred triggers of this transaction, for the last time.
pub fn set_ending(is_ending: bool) {
    IS_ENDING.set(is_ending);
}

/// Lets deferred triggers and constraints that a statement sets off fire at its end, if the transaction is ending. A
/// security-restricted operation must not leave any behind. Earlier in a transaction that is an error of the server.
pub fn fire_deferred_at_once() {
    if IS_ENDING.get() {
        // SAFETY: the callers run in a transaction. The node says SET CONSTRAINTS ALL IMMEDIATE; no trigger is queued.
        unsafe {
            let mut all = pg_sys::ConstraintsSetStmt {
                type_: pg_sys::NodeTag::T_ConstraintsSetStmt,
                constraints: null_mut(),
                deferred: false,
            };
            pg_sys::AfterTriggerSetState(&mut all);
        }
    }
}

/// Runs `work` and returns its error, or its panic, as a value. The caller must then abort the transaction or
/// subtransaction in which `work` ran.
pub fn catch<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Failure> {
    caught::catch(work).map_err(caught::Caught::into_failure)
}

/// Runs `work` in a transaction of its own and commits it, or aborts it on an error. The process must be in
/// no transaction.
pub fn in_transaction<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Failure> {
    in_bare_transaction(|| with_snapshot(work))
}

/// The same without a snapshot: for work that may wait long.
pub fn in_bare_transaction<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Failure> {
    let result = catch(|| {
        // SAFETY: the callers are workers, between two transactions.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
        }
        let result = work()?;
        // SAFETY: commits the transaction started above.
        unsafe { pg_sys::CommitTransactionCommand() };
        Ok(result)
    });
    if result.is_err() {
        // SAFETY: the error left the transaction open. pgrx has removed the error from the server's error
        // stack.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    // SAFETY: the process is in no transaction now. Without this call autovacuum would learn of a worker's
    // dead rows only at its exit.
    unsafe { pg_sys::pgstat_report_stat(true) };
    result
}

/// Runs `work` in a subtransaction of the open transaction, which goes on if `work` fails.
pub fn in_subtransaction<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Failure> {
    // SAFETY: the callers run in a transaction. Memory context and resource owner are restored as PL/pgSQL
    // does it.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = catch(|| {
            let result = work()?;
            pg_sys::ReleaseCurrentSubTransaction();
            Ok(result)
        });
        if result.is_err() {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs `work` as the owner of a table, in a security-restricted operation, as VACUUM does. So code of the
/// owner cannot act with more rights. An error restores the user with its transaction.
pub fn as_owner<R>(
    table: pg_sys::Oid,
    work: impl FnOnce() -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    as_role(owner(table)?, work)
}

/// The same for a role.
pub fn as_role<R>(role: pg_sys::Oid, work: impl FnOnce() -> R) -> R {
    let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    let (mut user, mut security) = (pg_sys::InvalidOid, 0);
    // SAFETY: both calls only read and set variables of this process.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
        pg_sys::SetUserIdAndSecContext(role, security | restricted as i32);
    }
    let result = work();
    // SAFETY: restores the values read above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, security) };
    result
}

/// A setting for `with_settings`: names mean what they say.
pub const OWN_NAMES: (&CStr, &CStr) = (c"search_path", c"pg_catalog, pg_temp");

/// A setting for `with_settings`: no policy hides a row.
pub const ALL_ROWS: (&CStr, &CStr) = (c"row_security", c"off");

/// Settings for `with_settings`: a plan reads no whole table, and follows an index row by row, whatever the statistics say.
pub const NO_SEQSCAN: (&CStr, &CStr) = (c"enable_seqscan", c"off");
pub const NO_BITMAPSCAN: (&CStr, &CStr) = (c"enable_bitmapscan", c"off");

/// A setting for `with_settings`: no plan is compiled. One without a better way than a forbidden scan has such costs that it would be.
pub const NOT_COMPILED: (&CStr, &CStr) = (c"jit", c"off");

/// Runs `work` with these settings. An error restores the old ones with its transaction.
pub fn with_settings<R>(
    settings: &[(&CStr, &CStr)],
    work: impl FnOnce() -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    // SAFETY: the callers run in a transaction; a function with a SET clause opens its level in the same way.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    for (name, value) in settings {
        // SAFETY: both strings end in NUL, and the server copies them.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            )
        };
    }
    let result = work();
    // SAFETY: leaves the level opened above.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

/// Locks a table as a writer of it does, to the end of the transaction. All that was announced before is heard then.
pub fn lock_for_writing(table: pg_sys::Oid) {
    lock(table, pg_sys::RowExclusiveLock);
}

/// Locks a table as a reader of it does, to the end of the transaction.
pub fn lock_for_reading(table: pg_sys::Oid) {
    lock(table, pg_sys::AccessShareLock);
}

/// Waits for open writers of a table, and keeps others out to the end of the transaction.
pub fn lock_against_writers(table: pg_sys::Oid) {
    lock(table, pg_sys::ShareRowExclusiveLock);
}

fn lock(table: pg_sys::Oid, mode: u32) {
    // SAFETY: the callers run in a transaction, which keeps the lock. It can be taken on any oid, even that of a dropped table.
    unsafe { pg_sys::LockRelationOid(table, mode as i32) };
}

/// Waits until all transactions have ended that write a table now. Nobody waits for this one meanwhile. Each wait takes at most
/// `lock_timeout`.
///
/// A VACUUM writes no row, but there is no lock mode that tells it from a writer. It is passed over, since it can take hours.
pub fn wait_for_writers(table: pg_sys::Oid) {
    let tag = pg_sys::LOCKTAG {
        // SAFETY: a global integer, set when the process connects to its database.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: table.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    let mut count = 0;
    // SAFETY: the tag is that of a table; the callers run in a transaction. The server says how many holders it has found.
    let holders = unsafe {
        let holders = pg_sys::GetLockConflicts(&tag, pg_sys::ShareLock as i32, &mut count);
        std::slice::from_raw_parts(holders, usize::try_from(count).unwrap_or(0))
    };
    if holders.is_empty() {
        return;
    }
    // One that ends between the two calls is not waited for.
    let all = transactions(0);
    let others = transactions(pg_sys::PROC_IS_AUTOVACUUM | pg_sys::PROC_IN_VACUUM);
    for holder in holders {
        let id = version::transaction_id(holder);
        if !all.contains(&id) || others.contains(&id) {
            // SAFETY: waits for another transaction, as `WaitForLockers` does.
            unsafe { pg_sys::VirtualXactLock(*holder, true) };
        }
    }
}

/// The transactions of this database, but for those of processes with one of these flags.
fn transactions(without: u32) -> HashSet<(i32, u32)> {
    let mut count = 0;
    // SAFETY: the server says how many it has found.
    let found = unsafe {
        let without = i32::try_from(without).unwrap_or(0);
        let found =
            pg_sys::GetCurrentVirtualXIDs(pg_sys::InvalidTransactionId, false, false, without, &mut count);
        std::slice::from_raw_parts(found, usize::try_from(count).unwrap_or(0))
    };
    found.iter().map(version::transaction_id).collect()
}

/// Waits until a transaction has ended.
pub fn wait_for(transaction: pg_sys::TransactionId) {
    // SAFETY: the callers run in a transaction, and wait for another one.
    unsafe {
        pg_sys::XactLockTableWait(transaction, null_mut(), null_mut(), pg_sys::XLTW_Oper::XLTW_None);
    }
}

/// The role that owns a table.
fn owner(table: pg_sys::Oid) -> Result<pg_sys::Oid, ErrorReport> {
    // SAFETY: a look-up in a system cache; the tuple is read before it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(table));
        if tuple.is_null() {
            return Err(error::not_installed("page_views"));
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Ok(owner)
    }
}
