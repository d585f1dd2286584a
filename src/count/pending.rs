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
use pgrx::{PgLogLevel, pg_guard, pg_sys};

use crate::count::tally::{self, Tally};
use crate::count::{WriterKind, counters};
use crate::error;
use crate::pg::snapshot;

/// The number of a subtransaction, or of the transaction itself.
type SubxactId = pg_sys::SubTransactionId;

thread_local! {
    /// Whether this process calls `query_ends`, and the function that it calls next.
    static WATCHES_QUERIES: Cell<bool> = const { Cell::new(false) };
    static NEXT_EXECUTOR_END: Cell<pg_sys::ExecutorEnd_hook_type> = const { Cell::new(None) };
    static PENDING: RefCell<Pending> = const { RefCell::new(Pending::NONE) };
}

/// What a tally counts: the page views of a table, in an epoch. A TRUNCATE and the beginning of a backfill
/// make another epoch, and flush first. A rollback brings back the epoch before, with its tallies.
type CountedTable = (pg_sys::Oid, i64);

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
        Pending { tallies: SubxactTallies(Vec::new()), commands: None, flushed: None, is_ending: false };
}

/// Takes the tally that a statement adds to; `put_back_tally` puts it back. No flush may happen in between.
/// An error in between loses the tally, rightly: its subtransaction rolls back.
pub fn take_tally(page_views: pg_sys::Oid, epoch: i64) -> Result<Tally, ErrorReport> {
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
#[pg_guard]
unsafe extern "C-unwind" fn transaction_is_to_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::*;
    if matches!(event, XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE) {
        flush_before_end();
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

#[pg_guard]
unsafe extern "C-unwind" fn transaction_ends(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            flush_before_end();
        }
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE | XACT_EVENT_ABORT => {
            PENDING.set(Pending::NONE);
            snapshot::forget();
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    subxact: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::*;
    // Many small subtransactions make a large one. From here on this one can be rolled back only with its
    // parent.
    if event == SUBXACT_EVENT_PRE_COMMIT_SUB
        && PENDING.with_borrow(|pending| pending.tallies.are_full(subxact, parent))
    {
        flush_at_end();
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
}

/// Writes all that has been counted, before the transaction ends.
fn flush_before_end() {
    PENDING.with_borrow_mut(|pending| pending.is_ending = true);
    if PENDING.with_borrow(|pending| pending.commands.is_some()) {
        flush_at_end();
    }
    // The server has fired the deferred triggers. Those of the owner on our tables have queued more.
    while snapshot::take_statement() {
        // SAFETY: the transaction is open, and no query is running in it.
        unsafe { pg_sys::AfterTriggerFireDeferred() };
    }
}

/// Writes all that has been counted, at the end of a transaction or a subtransaction.
fn flush_at_end() {
    // The transaction is still open, but there may be no statement, and so no active snapshot.
    if let Err(report) = snapshot::with_snapshot(flush) {
        report.report(PgLogLevel::ERROR);
    }
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

/// A tally for each subtransaction that has counted something, the outermost first.
struct SubxactTallies(Vec<SubxactTally>);

/// What a subtransaction has counted.
struct SubxactTally {
    subxact: SubxactId,
    subject: CountedTable,
    tally: Tally,
    /// What this subtransaction has flushed of the outer ones.
    flushed: Vec<FlushedTally>,
}

/// What was flushed of a subtransaction.
struct FlushedTally {
    of: SubxactId,
    subject: CountedTable,
    tally: Tally,
}

impl SubxactTallies {
    /// What is being counted, if anything is.
    fn subject(&self) -> Option<CountedTable> {
        self.0.iter().find(|counted| !counted.tally.is_empty()).map(|counted| counted.subject)
    }

    fn counted(&mut self, subxact: SubxactId) -> &mut SubxactTally {
        let index = self.0.partition_point(|counted| counted.subxact < subxact);
        if self.0.get(index).is_none_or(|counted| counted.subxact != subxact) {
            let subject = (pg_sys::InvalidOid, 0);
            self.0.insert(
                index,
                SubxactTally { subxact, subject, tally: Tally::default(), flushed: Vec::new() },
            );
        }
        &mut self.0[index]
    }

    /// Whether a subtransaction and its parent together have counted so much that it is time to flush.
    fn are_full(&self, subxact: SubxactId, parent: SubxactId) -> bool {
        let both = self.0.iter().rev().take_while(|counted| counted.subxact >= parent);
        let sizes =
            both.filter(|counted| [subxact, parent].contains(&counted.subxact)).map(|c| c.tally.size());
        sizes.sum::<usize>() >= tally::FULL
    }

    /// Adds to the tally of a subtransaction.
    fn add(&mut self, subxact: SubxactId, subject: CountedTable, tally: Tally) {
        if !tally.is_empty() {
            let counted = self.counted(subxact);
            counted.subject = subject;
            counted.tally.merge(tally);
        }
    }

    /// Takes all that this subtransaction is about to write. It remembers what it takes of others.
    fn take_all(&mut self, subxact: SubxactId) -> Option<(CountedTable, Tally)> {
        let subject = self.subject()?;
        let mut all = Tally::default();
        let mut flushed = Vec::new();
        for counted in &mut self.0 {
            let tally = std::mem::take(&mut counted.tally);
            if counted.subxact != subxact && !tally.is_empty() {
                flushed.push(FlushedTally { of: counted.subxact, subject, tally: tally.clone() });
            }
            all.merge(tally);
        }
        if !flushed.is_empty() {
            self.counted(subxact).flushed.append(&mut flushed);
        }
        Some((subject, all))
    }

    /// A subtransaction has committed into its parent.
    fn commit(&mut self, subxact: SubxactId, parent: SubxactId) {
        let Some(counted) = self.0.pop_if(|counted| counted.subxact == subxact) else { return };
        self.add(parent, counted.subject, counted.tally);
        // What it flushed of its parent counts as the parent's own flush now.
        let others = counted.flushed.into_iter().filter(|flushed| flushed.of != parent);
        let mut others = others.collect::<Vec<_>>();
        if !others.is_empty() {
            self.counted(parent).flushed.append(&mut others);
        }
    }

    /// A subtransaction has rolled back. What it counted is gone, and what it flushed of others must be
    /// written again. Returns whether there was any of the second.
    fn roll_back(&mut self, subxact: SubxactId) -> bool {
        let Some(counted) = self.0.pop_if(|counted| counted.subxact == subxact) else { return false };
        let comes_back = !counted.flushed.is_empty();
        for flushed in counted.flushed {
            self.add(flushed.of, flushed.subject, flushed.tally);
        }
        comes_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::page_view::PageView;

    fn view(id: i64) -> PageView<'static> {
        PageView { id, path: b"/", page_type: b"page", session_id: b"s", viewed_at: 0 }
    }

    const SUBJECT: CountedTable = (pg_sys::InvalidOid, 7);

    fn count(tallies: &mut SubxactTallies, subxact: SubxactId, views: i64) {
        let mut tally = Tally::default();
        (0..views).for_each(|id| tally.add(&view(id + 1)));
        tallies.add(subxact, SUBJECT, tally);
    }

    /// How many page views this subtransaction would write now.
    fn taken(tallies: &mut SubxactTallies, subxact: SubxactId) -> i64 {
        tallies.take_all(subxact).map_or(0, |(subject, tally)| {
            assert_eq!(subject, SUBJECT);
            views(&tally)
        })
    }

    fn views(tally: &Tally) -> i64 {
        tally.paths.values().map(|delta| delta.views).sum()
    }

    #[test]
    fn all_levels_are_written_together() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        count(&mut tallies, 4, 5);
        assert_eq!(taken(&mut tallies, 4), 8);
        assert_eq!(taken(&mut tallies, 4), 0);
    }

    #[test]
    fn a_rollback_takes_its_level_away() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        count(&mut tallies, 2, 5);
        assert!(!tallies.roll_back(2));
        assert!(!tallies.roll_back(3));
        assert_eq!(taken(&mut tallies, 1), 3);
    }

    #[test]
    fn a_release_gives_its_level_to_the_parent() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 3, 5);
        tallies.commit(3, 2);
        count(&mut tallies, 2, 1);
        tallies.commit(2, 1);
        assert_eq!(tallies.0.len(), 1);
        assert_eq!(views(&tallies.counted(1).tally), 6);
    }

    #[test]
    fn what_a_level_wrote_of_others_comes_back_when_it_is_rolled_back() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        count(&mut tallies, 2, 5);
        count(&mut tallies, 3, 7);
        assert_eq!(taken(&mut tallies, 3), 15);
        // After this, the parent's own 5 are flushed as long as the parent lives. The 3 of the outermost one
        // are not.
        tallies.commit(3, 2);
        count(&mut tallies, 2, 1);
        assert!(tallies.roll_back(2));
        assert_eq!(taken(&mut tallies, 1), 3);
    }

    #[test]
    fn a_flush_by_a_level_that_counted_nothing_comes_back_too() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        assert_eq!(taken(&mut tallies, 9), 3);
        assert!(tallies.roll_back(9));
        assert_eq!(taken(&mut tallies, 1), 3);
        assert_eq!(taken(&mut tallies, 1), 0);
    }

    #[test]
    fn what_comes_back_is_counted_for_what_it_was() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        tallies.take_all(2);
        let mut tally = Tally::default();
        tally.add(&view(1));
        tallies.add(2, (pg_sys::InvalidOid, 8), tally);
        assert!(tallies.roll_back(2));
        assert_eq!(tallies.subject(), Some(SUBJECT));
    }

    #[test]
    fn a_parent_is_full_with_what_its_children_counted() {
        let mut tallies = SubxactTallies(Vec::new());
        let most = tally::FULL as i64;
        let count_sessions = |tallies: &mut SubxactTallies, subxact, ids: std::ops::Range<i64>| {
            let mut tally = Tally::default();
            ids.for_each(|id| {
                tally.add(&PageView { session_id: id.to_string().as_bytes(), ..view(id + 1) });
            });
            tallies.add(subxact, SUBJECT, tally);
        };
        count_sessions(&mut tallies, 1, 0..most);
        count_sessions(&mut tallies, 2, 0..most - 1);
        assert!(!tallies.are_full(3, 2));
        count_sessions(&mut tallies, 3, 0..1);
        assert!(tallies.are_full(3, 2));
        tallies.take_all(3);
        assert!(!tallies.are_full(3, 2));
    }

    #[test]
    fn a_level_flushed_twice_comes_back_whole() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        tallies.take_all(2);
        tallies.take_all(2);
        count(&mut tallies, 2, 1);
        assert!(tallies.roll_back(2));
        assert_eq!(views(&tallies.counted(1).tally), 3);
    }
}
