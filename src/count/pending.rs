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

use std::cell::RefCell;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::subxact_tallies::{SubxactId, SubxactTallies};
use crate::count::tally::Tally;
use crate::count::{WriterKind, counters};
use crate::error;
use crate::pg::commit_order::{self, Work};
use crate::pg::{caught, snapshot, transaction};

thread_local! {
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
    commit_order::come_first(&AT_COMMIT);
}

/// What `commit_order` calls.
static AT_COMMIT: Work = Work {
    is_wanted: || PENDING.with_borrow(|pending| pending.commands.is_some() && !pending.is_ending),
    before_others: flush_before_end,
    after_statement: || {
        if counters::is_writing() { Ok(()) } else { flush_at_end() }
    },
};

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
