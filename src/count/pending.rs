//! What the open transaction has counted and not written yet: its deltas are flushed once, before it commits.
//!
//! So a transaction holds a slot, and the rows of its sessions, for the shortest time there is; a million inserts in one
//! transaction write each counter once; and transactions that touch the same sessions in opposite orders do not wait for
//! each other in a circle, because each writes them in the order of their keys. A tally that grows too large is flushed
//! earlier, by a statement or by the end of a subtransaction, and so is all of it when the same transaction reads the statistics (`reads`).
//!
//! A rollback to a savepoint takes back what was counted since, so there is a tally for each subtransaction that has counted
//! something. A flush writes all of them: what it wrote of the enclosing ones is kept beside the inner one, and given back
//! to them if that is rolled back, and the writing with it.

use std::cell::RefCell;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, pg_guard, pg_sys};

use crate::count::tally::{self, Tally};
use crate::count::{WriterKind, counters};
use crate::error;
use crate::pg::snapshot;

/// The number of a subtransaction, or of the transaction itself.
type SubxactId = pg_sys::SubTransactionId;

thread_local! {
    static PENDING: RefCell<Pending> = const { RefCell::new(Pending::NONE) };
}

/// What a tally counts: the views of a table, in an epoch. A transaction that makes another one, by a TRUNCATE or the
/// beginning of a backfill, flushes first; a rollback brings the one of before back, with its tallies.
type CountedTable = (pg_sys::Oid, i64);

/// What this transaction has counted.
struct Pending {
    levels: SubxactTallies,
    /// The commands whose changes are not flushed yet: the first and the last.
    commands: Option<(pg_sys::CommandId, pg_sys::CommandId)>,
    flushed: Option<Flush>,
    /// The flush before the commit has begun: what is counted from now on would wait for one in vain.
    is_ending: bool,
}

/// What the transaction has flushed.
#[derive(Clone, Copy)]
struct Flush {
    /// The commands whose changes are flushed: the first and the last.
    first: pg_sys::CommandId,
    last: pg_sys::CommandId,
    /// The command that sees all of it.
    seen_by: pg_sys::CommandId,
}

impl Pending {
    const NONE: Self =
        Pending { levels: SubxactTallies(Vec::new()), commands: None, flushed: None, is_ending: false };
}

/// The tally that a statement goes on with; `put_back_tally` returns it. In between there must be no flush. An error in between loses
/// it, as it should: the subtransaction that it belongs to is over.
pub fn take_tally(page_views: pg_sys::Oid, epoch: i64) -> Result<Tally, ErrorReport> {
    let subject = (page_views, epoch);
    if PENDING.with_borrow(|pending| pending.levels.subject().is_some_and(|counted| counted != subject)) {
        flush()?; // the extension was made anew in this transaction
    }
    PENDING.with_borrow_mut(|pending| {
        let counted = pending.levels.counted(level());
        counted.subject = subject;
        Ok(std::mem::take(&mut counted.tally))
    })
}

/// Puts back a tally with what a statement has counted.
pub fn put_back_tally(tally: Tally) {
    // SAFETY: reads a number of the open transaction.
    let command = unsafe { pg_sys::GetCurrentCommandId(false) };
    PENDING.with_borrow_mut(|pending| {
        pending.levels.counted(level()).tally = tally;
        let (first, _) = pending.commands.unwrap_or((command, command));
        pending.commands = Some((first, command));
    });
}

/// To be called after a statement: one that another extension runs in the commit itself is flushed at once.
pub fn end_statement() -> Result<(), ErrorReport> {
    if PENDING.with_borrow(|pending| pending.is_ending) { flush() } else { Ok(()) }
}

/// Writes all that the transaction has counted so far.
pub fn flush() -> Result<(), ErrorReport> {
    let Some((first, last)) = PENDING.with_borrow(|pending| pending.commands) else { return Ok(()) };
    let taken = PENDING.with_borrow_mut(|pending| pending.levels.take_all(level()));
    let Some(((page_views, epoch), tally)) = taken else { return Ok(()) };
    // After a DROP EXTENSION in this transaction nothing is left to count, and nowhere.
    if exists(page_views) {
        counters::write(page_views, epoch, tally, WriterKind::Transaction)?;
    }
    // SAFETY: reads a number of the open transaction.
    let seen_by = unsafe { pg_sys::GetCurrentCommandId(false) };
    PENDING.with_borrow_mut(|pending| {
        let first = pending.flushed.map_or(first, |flushed| flushed.first.min(first));
        pending.flushed = Some(Flush { first, last, seen_by });
        pending.commands = None;
    });
    Ok(())
}

/// The moment that reads answer for, when the statement that asks has a snapshot of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAs {
    /// That of the snapshot.
    OfStatement,
    /// That of the snapshot, with the flush of a later command of this transaction.
    WithFlush(pg_sys::CommandId),
    /// Now: what the flush built on may be newer than the snapshot.
    Now,
}

/// Makes the aggregates right for reads by a snapshot at this command of the transaction, and returns what the reads must go
/// by.
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
        // It sees all that was flushed, or nothing of what is counted in it.
        Some(flushed) if command >= flushed.seen_by || command <= flushed.first => Ok(ReadAs::OfStatement),
        None => Ok(ReadAs::OfStatement),
        Some(flushed) if command <= flushed.last => Err(error::read_in_the_past()),
        Some(flushed) if snapshot::uses_one_snapshot() => Ok(ReadAs::WithFlush(flushed.seen_by)),
        Some(_) => {
            // Now is after what the statement itself has written through a function, too.
            flush()?;
            Ok(ReadAs::Now)
        }
    }
}

/// Has the server call this module at the ends of transactions.
pub fn register() {
    // SAFETY: called once in a process; the callbacks live as long as the library, which is never unloaded.
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
            PENDING.with_borrow_mut(|pending| pending.is_ending = true);
            if PENDING.with_borrow(|pending| pending.commands.is_some()) {
                flush_at_end();
            }
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
    level: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::*;
    // Many small levels make one large one. Here none of them can be rolled back any more but with its parent.
    if event == SUBXACT_EVENT_PRE_COMMIT_SUB
        && PENDING.with_borrow(|pending| pending.levels.are_full(level, parent))
    {
        flush_at_end();
    }
    PENDING.with_borrow_mut(|pending| match event {
        SUBXACT_EVENT_COMMIT_SUB => pending.levels.commit(level, parent),
        SUBXACT_EVENT_ABORT_SUB => {
            // What comes back is of commands that are among those flushed.
            if pending.levels.roll_back(level)
                && let Some(Flush { first, last, .. }) = pending.flushed
            {
                let last = pending.commands.map_or(last, |(_, later)| later.max(last));
                pending.commands = Some((first, last));
            }
        }
        _ => {}
    });
}

/// Writes all that has been counted, at the end of a transaction or a subtransaction.
fn flush_at_end() {
    // The transaction is still open, but there may be no statement, and with it no snapshot.
    if let Err(report) = snapshot::with_snapshot(flush) {
        report.report(PgLogLevel::ERROR);
    }
}

/// The innermost open subtransaction, or the transaction itself.
fn level() -> SubxactId {
    // SAFETY: reads a number of the open transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

fn exists(table: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in a system cache; a transaction is open.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let none = pg_sys::Datum::from(0);
        pg_sys::SearchSysCacheExists(cache, pg_sys::Datum::from(table), none, none, none)
    }
}

/// A tally for each level that has counted something, the outermost first.
struct SubxactTallies(Vec<SubxactTally>);

/// What a level has counted.
struct SubxactTally {
    level: SubxactId,
    subject: CountedTable,
    tally: Tally,
    /// What this level has flushed of the levels around it.
    flushed: Vec<FlushedTally>,
}

/// What was flushed of a level.
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

    fn counted(&mut self, level: SubxactId) -> &mut SubxactTally {
        let place = self.0.partition_point(|counted| counted.level < level);
        if self.0.get(place).is_none_or(|counted| counted.level != level) {
            let subject = (pg_sys::InvalidOid, 0);
            self.0
                .insert(place, SubxactTally { level, subject, tally: Tally::default(), flushed: Vec::new() });
        }
        &mut self.0[place]
    }

    /// Whether a level and its parent together have counted so much that it is time to flush.
    fn are_full(&self, level: SubxactId, parent: SubxactId) -> bool {
        let both = self.0.iter().rev().take_while(|counted| counted.level >= parent);
        let sizes = both.filter(|counted| [level, parent].contains(&counted.level)).map(|c| c.tally.size());
        sizes.sum::<usize>() >= tally::FULL
    }

    /// Adds to the tally of a level.
    fn add(&mut self, level: SubxactId, subject: CountedTable, tally: Tally) {
        if !tally.is_empty() {
            let counted = self.counted(level);
            counted.subject = subject;
            counted.tally.merge(tally);
        }
    }

    /// All that is to be written, by this level, which remembers what it writes of others.
    fn take_all(&mut self, level: SubxactId) -> Option<(CountedTable, Tally)> {
        let subject = self.subject()?;
        let mut all = Tally::default();
        let mut flushed = Vec::new();
        for counted in &mut self.0 {
            let tally = std::mem::take(&mut counted.tally);
            if counted.level != level && !tally.is_empty() {
                flushed.push(FlushedTally { of: counted.level, subject, tally: tally.clone() });
            }
            all.merge(tally);
        }
        if !flushed.is_empty() {
            self.counted(level).flushed.append(&mut flushed);
        }
        Some((subject, all))
    }

    /// The level has become part of its parent.
    fn commit(&mut self, level: SubxactId, parent: SubxactId) {
        let Some(counted) = self.0.pop_if(|counted| counted.level == level) else { return };
        self.add(parent, counted.subject, counted.tally);
        // What it flushed of its parent is the parent's own flush now.
        let others = counted.flushed.into_iter().filter(|flushed| flushed.of != parent);
        let mut others = others.collect::<Vec<_>>();
        if !others.is_empty() {
            self.counted(parent).flushed.append(&mut others);
        }
    }

    /// Nothing of the level has happened: what it counted is gone, and what it wrote of others is to be written again. True
    /// if there was any of that.
    fn roll_back(&mut self, level: SubxactId) -> bool {
        let Some(counted) = self.0.pop_if(|counted| counted.level == level) else { return false };
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

    fn count(levels: &mut SubxactTallies, level: SubxactId, views: i64) {
        let mut tally = Tally::default();
        (0..views).for_each(|id| tally.add(&view(id + 1)));
        levels.add(level, SUBJECT, tally);
    }

    /// The views that this level would write now.
    fn taken(levels: &mut SubxactTallies, level: SubxactId) -> i64 {
        levels.take_all(level).map_or(0, |(subject, tally)| {
            assert_eq!(subject, SUBJECT);
            views(&tally)
        })
    }

    fn views(tally: &Tally) -> i64 {
        tally.paths.values().map(|delta| delta.views).sum()
    }

    #[test]
    fn all_levels_are_written_together() {
        let mut levels = SubxactTallies(Vec::new());
        count(&mut levels, 1, 3);
        count(&mut levels, 4, 5);
        assert_eq!(taken(&mut levels, 4), 8);
        assert_eq!(taken(&mut levels, 4), 0);
    }

    #[test]
    fn a_rollback_takes_its_level_away() {
        let mut levels = SubxactTallies(Vec::new());
        count(&mut levels, 1, 3);
        count(&mut levels, 2, 5);
        assert!(!levels.roll_back(2));
        assert!(!levels.roll_back(3));
        assert_eq!(taken(&mut levels, 1), 3);
    }

    #[test]
    fn a_release_gives_its_level_to_the_parent() {
        let mut levels = SubxactTallies(Vec::new());
        count(&mut levels, 3, 5);
        levels.commit(3, 2);
        count(&mut levels, 2, 1);
        levels.commit(2, 1);
        assert_eq!(levels.0.len(), 1);
        assert_eq!(views(&levels.counted(1).tally), 6);
    }

    #[test]
    fn what_a_level_wrote_of_others_comes_back_when_it_is_rolled_back() {
        let mut levels = SubxactTallies(Vec::new());
        count(&mut levels, 1, 3);
        count(&mut levels, 2, 5);
        count(&mut levels, 3, 7);
        assert_eq!(taken(&mut levels, 3), 15);
        // Into its parent: the parent's own 5 are as safe as the parent now, the 3 of the outermost are not.
        levels.commit(3, 2);
        count(&mut levels, 2, 1);
        assert!(levels.roll_back(2));
        assert_eq!(taken(&mut levels, 1), 3);
    }

    #[test]
    fn a_flush_by_a_level_that_counted_nothing_comes_back_too() {
        let mut levels = SubxactTallies(Vec::new());
        count(&mut levels, 1, 3);
        assert_eq!(taken(&mut levels, 9), 3);
        assert!(levels.roll_back(9));
        assert_eq!(taken(&mut levels, 1), 3);
        assert_eq!(taken(&mut levels, 1), 0);
    }

    #[test]
    fn what_comes_back_is_counted_for_what_it_was() {
        let mut levels = SubxactTallies(Vec::new());
        count(&mut levels, 1, 3);
        levels.take_all(2);
        let mut tally = Tally::default();
        tally.add(&view(1));
        levels.add(2, (pg_sys::InvalidOid, 8), tally);
        assert!(levels.roll_back(2));
        assert_eq!(levels.subject(), Some(SUBJECT));
    }

    #[test]
    fn a_parent_is_full_with_what_its_children_counted() {
        let mut levels = SubxactTallies(Vec::new());
        let most = tally::FULL as i64;
        let count_sessions = |levels: &mut SubxactTallies, level, ids: std::ops::Range<i64>| {
            let mut tally = Tally::default();
            ids.for_each(|id| {
                tally.add(&PageView { session_id: id.to_string().as_bytes(), ..view(id + 1) });
            });
            levels.add(level, SUBJECT, tally);
        };
        count_sessions(&mut levels, 1, 0..most);
        count_sessions(&mut levels, 2, 0..most - 1);
        assert!(!levels.are_full(3, 2));
        count_sessions(&mut levels, 3, 0..1);
        assert!(levels.are_full(3, 2));
        levels.take_all(3);
        assert!(!levels.are_full(3, 2));
    }

    #[test]
    fn a_level_flushed_twice_comes_back_whole() {
        let mut levels = SubxactTallies(Vec::new());
        count(&mut levels, 1, 3);
        levels.take_all(2);
        levels.take_all(2);
        count(&mut levels, 2, 1);
        assert!(levels.roll_back(2));
        assert_eq!(views(&levels.counted(1).tally), 3);
    }
}
