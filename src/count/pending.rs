//! What the open transaction has counted and not written yet. It is flushed once, right before the commit.
//!
//! That has three advantages. A transaction holds a counter slot, and the rows of its sessions, for the
//! shortest time. A million inserts in one transaction write each counter once. And a flush writes sessions
//! in the order of their keys, so transactions that flush once do not wait for each other in a circle.
//!
//! A tally that grows too large is flushed earlier, by a statement or by the end of a subtransaction. All of
//! it is flushed before the same transaction reads the statistics (`report::own_writes`).
//!
//! Invariant: a rollback to a savepoint takes back what was counted since, and nothing else. So each
//! subtransaction that has counted something has a tally. A flush writes all tallies. What it writes of outer
//! subtransactions, it also keeps with the innermost one. If that one rolls back, its writes are undone, and
//! the outer tallies come back.

use std::cell::{Cell, RefCell};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_guard, pg_sys};

use crate::count::subxact_tallies::{SubxactId, SubxactTallies};
use crate::count::tally::Tally;
use crate::count::{WriterKind, counters};
use crate::error;
use crate::pg::{caught, snapshot, transaction};

thread_local! {
    /// Whether this process calls `query_ends`, and the function that it calls next.
    static WATCHES_QUERIES: Cell<bool> = const { Cell::new(false) };
    static NEXT_EXECUTOR_END: Cell<pg_sys::ExecutorEnd_hook_type> = const { Cell::new(None) };
    static PENDING: RefCell<Pending> = const { RefCell::new(Pending::NONE) };
}

/// What this transaction has counted.
struct Pending {
    tallies: SubxactTallies,
    /// The first and the last command whose changes are not flushed yet.
    commands: Option<(pg_sys::CommandId, pg_sys::CommandId)>,
    flushed: Option<Flush>,
    /// The flush before the commit has begun. No later flush would write what is counted from now on.
    is_ending: bool,
}

/// What the transaction has flushed.
#[derive(Clone, Copy)]
struct Flush {
    /// The first and the last command whose changes are flushed.
    first: pg_sys::CommandId,
    last: pg_sys::CommandId,
    /// The first command that sees all of the flush.
    seen_by: pg_sys::CommandId,
}

impl Pending {
    const NONE: Self =
        Pending { tallies: SubxactTallies::NONE, commands: None, flushed: None, is_ending: false };
}

/// Takes the tally that a statement adds to; `put_back_tally` puts it back. No flush may happen in between.
/// An error in between loses the tally, rightly: its subtransaction rolls back.
///
/// # Errors
/// 0A000 during a flush: what a trigger of the owner adds then would be lost.
pub fn take_tally(page_views: pg_sys::Oid, epoch: i64) -> Result<Tally, ErrorReport> {
    if counters::is_writing() {
        return Err(error::nested_flush());
    }
    let subject = (page_views, epoch);
    if PENDING.with_borrow(|pending| pending.tallies.subject().is_some_and(|counted| counted != subject)) {
        flush()?; // this transaction has installed the extension anew
    }
    PENDING.with_borrow_mut(|pending| {
        let counted = pending.tallies.counted(current_subxact());
        counted.subject = subject;
        Ok(std::mem::take(&mut counted.tally))
    })
}

/// Puts back the tally of `take_tally`, with what the statement has counted.
pub fn put_back_tally(tally: Tally) {
    // SAFETY: reads the command counter; a trigger runs in a transaction.
    let command = unsafe { pg_sys::GetCurrentCommandId(false) };
    PENDING.with_borrow_mut(|pending| {
        pending.tallies.counted(current_subxact()).tally = tally;
        let (first, _) = pending.commands.unwrap_or((command, command));
        pending.commands = Some((first, command));
    });
    come_first();
}

/// Takes care that the flush before the commit comes before what other extensions do then: the server calls the function first
/// that was registered last. postgres_fdw commits its remote transactions there, and registers at its first connection.
///
/// The list of functions may not change while the server goes through it. That is after the portal of the last statement has
/// ended. `transaction_ends` stays in its place, so a flush is never left out.
fn come_first() {
    // SAFETY: no function of the list is being called now. The library with ours is never unloaded.
    unsafe {
        if pg_sys::ActivePortal.is_null() || PENDING.with_borrow(|pending| pending.is_ending) {
            return;
        }
        pg_sys::UnregisterXactCallback(Some(transaction_is_to_end), std::ptr::null_mut());
        pg_sys::RegisterXactCallback(Some(transaction_is_to_end), std::ptr::null_mut());
        if !WATCHES_QUERIES.replace(true) {
            NEXT_EXECUTOR_END.set(pg_sys::ExecutorEnd_hook);
            pg_sys::ExecutorEnd_hook = Some(query_ends);
        }
    }
}

/// The first function that the server calls when a transaction is to end.
///
/// # Safety
/// Only the server may call it.
unsafe extern "C-unwind" fn transaction_is_to_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::*;
    if matches!(event, XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE) {
        // SAFETY: the server calls this, and nothing is left to drop.
        unsafe { caught::answer(flush_before_end) }
    }
}

/// Called at the end of each query of a process that has counted something. A query may have made the first connection.
///
/// # Safety
/// Only the server may call it.
#[pg_guard]
unsafe extern "C-unwind" fn query_ends(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the server passes a query that runs, which the next function, or its own, ends.
    unsafe {
        match NEXT_EXECUTOR_END.get() {
            Some(next) => next(query),
            None => pg_sys::standard_ExecutorEnd(query),
        }
    }
    if PENDING.with_borrow(|pending| pending.commands.is_some()) {
        come_first();
    }
}

/// To be called after a statement. Another extension may run a statement during the commit: that is flushed
/// at once.
pub fn end_statement() -> Result<(), ErrorReport> {
    if PENDING.with_borrow(|pending| pending.is_ending) { flush() } else { Ok(()) }
}

/// Writes all that the transaction has counted so far.
pub fn flush() -> Result<(), ErrorReport> {
    let Some((first, last)) = PENDING.with_borrow(|pending| pending.commands) else { return Ok(()) };
    let taken = PENDING.with_borrow_mut(|pending| pending.tallies.take_all(current_subxact()));
    let Some(((page_views, epoch), tally)) = taken else { return Ok(()) };
    // After a DROP EXTENSION in this transaction there are no tables to write.
    if exists(page_views) {
        counters::write(page_views, epoch, tally, WriterKind::Transaction)?;
    }
    // SAFETY: reads the command counter; the transaction that has counted is open.
    let seen_by = unsafe { pg_sys::GetCurrentCommandId(false) };
    PENDING.with_borrow_mut(|pending| {
        let first = pending.flushed.map_or(first, |flushed| flushed.first.min(first));
        pending.flushed = Some(Flush { first, last, seen_by });
        pending.commands = None;
    });
    Ok(())
}

/// The moment for which a read answers, if its statement has a snapshot of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAs {
    /// The moment of the snapshot.
    OfStatement,
    /// The moment of the snapshot, with the flush of a later command of this transaction.
    WithFlush(pg_sys::CommandId),
    /// Now, because the flush may have built on rows that are newer than the snapshot.
    Now,
}

/// Flushes if a read needs it. `command` is the command of the read's snapshot. Returns the moment for which
/// the read must answer.
pub fn prepare_read(command: pg_sys::CommandId) -> Result<ReadAs, ErrorReport> {
    if let Some((first, last)) = PENDING.with_borrow(|pending| pending.commands)
        && first < command
    {
        if last >= command {
            return Err(error::read_in_the_past());
        }
        flush()?;
    }
    if snapshot::is_built_on_newer() {
        return Err(error::unseen_counts());
    }
    match PENDING.with_borrow(|pending| pending.flushed) {
        // The snapshot shows all that was flushed, or its command precedes all of that.
        Some(flushed) if command >= flushed.seen_by || command <= flushed.first => Ok(ReadAs::OfStatement),
        None => Ok(ReadAs::OfStatement),
        Some(flushed) if command <= flushed.last => Err(error::read_in_the_past()),
        Some(flushed) if snapshot::uses_one_snapshot() => Ok(ReadAs::WithFlush(flushed.seen_by)),
        Some(_) => {
            // The new snapshot also follows what the statement itself has written through a function.
            flush()?;
            Ok(ReadAs::Now)
        }
    }
}

/// Registers the callbacks of this module. For `_PG_init`.
pub fn register() {
    // SAFETY: `_PG_init` calls this once in a process. The library with the callbacks is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), std::ptr::null_mut());
    }
}

/// # Safety
/// Only the server may call it.
unsafe extern "C-unwind" fn transaction_ends(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::*;
    let work = || {
        match event {
            XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => flush_before_end()?,
            XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_ABORT => {
                PENDING.set(Pending::NONE);
                snapshot::forget();
                transaction::set_ending(false);
            }
            _ => {}
        }
        Ok(())
    };
    // SAFETY: the server calls this, and nothing is left to drop.
    unsafe { caught::answer(work) }
}

/// # Safety
/// Only the server may call it.
unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    subxact: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::*;
    let work = || {
        // Many small subtransactions make a large one. From here on this one can be rolled back only with its
        // parent.
        if event == SUBXACT_EVENT_PRE_COMMIT_SUB
            && PENDING.with_borrow(|pending| pending.tallies.are_full(subxact, parent))
        {
            flush_at_end()?;
        }
        PENDING.with_borrow_mut(|pending| match event {
            SUBXACT_EVENT_COMMIT_SUB => pending.tallies.commit(subxact, parent),
            SUBXACT_EVENT_ABORT_SUB => {
                // The tallies that come back are of commands within the flushed range.
                if pending.tallies.roll_back(subxact)
                    && let Some(Flush { first, last, .. }) = pending.flushed
                {
                    let last = pending.commands.map_or(last, |(_, later)| later.max(last));
                    pending.commands = Some((first, last));
                }
            }
            _ => {}
        });
        Ok(())
    };
    // SAFETY: the server calls this, and nothing is left to drop.
    unsafe { caught::answer(work) }
}

/// Writes all that has been counted, before the transaction ends.
fn flush_before_end() -> Result<(), ErrorReport> {
    PENDING.with_borrow_mut(|pending| pending.is_ending = true);
    transaction::set_ending(true);
    if PENDING.with_borrow(|pending| pending.commands.is_some()) {
        flush_at_end()?;
    }
    Ok(())
}

/// Writes all that has been counted, at the end of a transaction or a subtransaction.
fn flush_at_end() -> Result<(), ErrorReport> {
    // The transaction is still open, but there may be no statement, and so no active snapshot.
    snapshot::with_snapshot(flush)
}

/// The innermost open subtransaction, or the transaction itself.
fn current_subxact() -> SubxactId {
    // SAFETY: reads a number of the transaction; a trigger, a flush or a read runs in one.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

fn exists(table: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in a system cache, which needs a transaction; a flush runs in one.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let none = pg_sys::Datum::from(0);
        pg_sys::SearchSysCacheExists(cache, pg_sys::Datum::from(table), none, none, none)
    }
}
