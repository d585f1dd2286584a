//! The session set: the visitors who have a counted view.
//!
//! A row of `sessions` is shared by all transactions that touch the session: they wait for each other until they commit, which
//! is what makes the number of visitors exact. They touch sessions in the order of their keys, so that two who flush once
//! never wait for each other in a circle.
//!
//! A row counts the views of its session, because the session leaves the set with the last of them. But a backfill meets a
//! session again and again, and views leave seldom. So a batch counts the views that it meets a new session with, and marks
//! the row: there are *at least* so many. Batches that come later leave it as it is, and need not even look at it. Who takes
//! views away from such a session counts in `page_views` what it had; the row is exact from then on. That is done under the
//! gate, so no batch is leaving the row as it is meanwhile, and batches are told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_guard, pg_sys};

use crate::count::caches::{Digest, DigestSet, MissPredictor};
use crate::count::{ROWS_PER_INSERT, WriterKind, page_view, state, tally};
use crate::pg::datum::{self, Column};
use crate::pg::heap_table::{ColumnChange, KeyValue, Table};
use crate::pg::{catalog, snapshot};

/// Columns of `sessions`. The first one is its primary key.
const COLUMNS: i32 = 3;
const EPOCH: Column = 2;
const VIEWS: Column = 3;
/// Version 0.1.0 of the extension has no such column, and its library leaves it NULL: it counts every view.
const IS_LOWER_BOUND: Column = 4;

/// What is announced as changed when a mark is taken away: a view, which nothing else changes. Of a table every VACUUM does.
const SIGNAL: &CStr = c"backfill_progress";

/// Sessions that a process remembers, in 16 bytes each.
const SESSIONS_KEPT: usize = 1 << 20;

/// How the session set has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub came: i64,
    pub left: i64,
}

impl Change {
    fn add(&mut self, before: SessionCount, now: SessionCount) {
        self.came += i64::from(before.views <= 0 && now.views > 0);
        self.left += i64::from(before.views > 0 && now.views <= 0);
    }
}

/// What a row says of its session; nothing, if it is of an older epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SessionCount {
    views: i64,
    is_lower_bound: bool,
}

impl SessionCount {
    fn read(table: &Table, epoch: i64) -> Self {
        if table.bigint(EPOCH) != epoch {
            return SessionCount::default();
        }
        SessionCount { views: table.bigint(VIEWS), is_lower_bound: is_marked(table) }
    }
}

/// Whether the row found is marked, of whatever epoch it is.
fn is_marked(table: &Table) -> bool {
    table.has_column(IS_LOWER_BOUND) && table.boolean(IS_LOWER_BOUND)
}

/// The table and what a flush writes into it.
struct Sessions {
    table: Table,
    epoch: i64,
    by: WriterKind,
    /// The columns that the table has of those that a row is made of.
    columns: usize,
}

/// Adds the deltas to the sessions of an epoch. A session without a view leaves no trace.
pub fn write(
    page_views: pg_sys::Oid,
    epoch: i64,
    deltas: &HashMap<tally::TextKey, i64>,
    by: WriterKind,
) -> Result<Change, ErrorReport> {
    if deltas.is_empty() {
        return Ok(Change::default());
    }
    if deltas.values().any(|delta| *delta < 0) {
        state::hold(page_views)?; // the gate comes before all rows
    }
    let table = Table::open(c"sessions", COLUMNS)?;
    let columns = if table.has_column(IS_LOWER_BOUND) { 4 } else { 3 };
    let mut sessions = Sessions { table, epoch, by, columns };
    let change = if by == WriterKind::Batch {
        MARKED.with_borrow_mut(|marked| {
            let marked = marked.get_or_insert_with(MarkedSessionCache::new);
            marked.refresh((sessions.table.oid(), epoch))?;
            sessions.write_batch(deltas, marked)
        })
    } else {
        sessions.write_each(deltas)
    }?;
    sessions.table.close();
    Ok(change)
}

impl Sessions {
    fn write_each(&mut self, deltas: &HashMap<tally::TextKey, i64>) -> Result<Change, ErrorReport> {
        let mut change = Change::default();
        for (session_id, delta) in tally::in_order(deltas) {
            let (_, before, now) = self.write_session(session_id, *delta)?;
            change.add(before, now);
        }
        Ok(change)
    }

    /// As `write_each`, for a batch of a backfill, which is followed by others: sessions that are marked already are passed
    /// over, and those that are likely to be new are put into the table together.
    fn write_batch(
        &mut self,
        deltas: &HashMap<tally::TextKey, i64>,
        marked: &mut MarkedSessionCache,
    ) -> Result<Change, ErrorReport> {
        let mut change = Change::default();
        let digests: Vec<_> = deltas.keys().map(|session_id| marked.digests.digest(session_id)).collect();
        marked.digests.prefetch(&digests);
        let others = deltas.iter().zip(digests).filter_map(|((session_id, delta), digest)| {
            (!marked.digests.touch(digest)).then_some((session_id, *delta, digest))
        });
        let mut others: Vec<_> = others.collect();
        others.sort_unstable_by_key(|(session_id, _, _)| *session_id);
        for others in others.chunks(ROWS_PER_INSERT) {
            let are_expected_new = marked.predictor.predicts_miss();
            if are_expected_new {
                let rows = others.iter().map(|(id, delta, _)| row(id, self.epoch, self.as_new(*delta)));
                let rows: Vec<_> = rows.collect();
                self.table.insert_without_indexes(rows.iter().map(|row| &row[..self.columns]));
            }
            for (session_id, delta, digest) in others {
                let now = if are_expected_new && self.table.index_next()? {
                    marked.predictor.record(false);
                    change.came += 1;
                    self.as_new(*delta)
                } else {
                    let (was_there, before, now) = self.write_session(session_id, *delta)?;
                    marked.predictor.record(was_there);
                    change.add(before, now);
                    now
                };
                if now.is_lower_bound {
                    marked.note(*digest);
                }
            }
        }
        Ok(change)
    }

    /// Adds to the views of a session. Returns whether it had a row, and what that said before and says now.
    fn write_session(
        &mut self,
        session_id: &[u8],
        delta: i64,
    ) -> Result<(bool, SessionCount, SessionCount), ErrorReport> {
        let key = [KeyValue::Text(session_id)];
        let (epoch, by, columns) = (self.epoch, self.by, self.columns);
        let as_new = self.as_new(delta);
        self.table.write(&key, None, |table, found| {
            let before = if found { SessionCount::read(table, epoch) } else { SessionCount::default() };
            let was_marked = found && is_marked(table);
            if before.is_lower_bound && by == WriterKind::Batch {
                return Ok(Some((found, before, before)));
            }
            if !found && table.is_still_seen(&key) {
                snapshot::note_newer_than_snapshot();
            }
            let now = if before == SessionCount::default() {
                as_new
            } else if before.is_lower_bound && delta < 0 {
                let Some(views) = count_before(table, &key, session_id, epoch)? else { return Ok(None) };
                catalog::announce_change(catalog::table(SIGNAL)?);
                SessionCount { views: views + delta, is_lower_bound: false }
            } else {
                SessionCount { views: before.views + delta, ..before }
            };
            let written = match (found, now.views) {
                (true, 0) => table.delete()?,
                (true, views) => table.update(&[
                    (EPOCH, ColumnChange::Value(epoch.into())),
                    (VIEWS, ColumnChange::Value(views.into())),
                    (
                        IS_LOWER_BOUND,
                        ColumnChange::value_if(now.is_lower_bound != was_marked, || {
                            now.is_lower_bound.into()
                        }),
                    ),
                ])?,
                (false, 0) => true,
                (false, _) => table.insert_or_yield(&row(session_id, epoch, now)[..columns])?,
            };
            Ok(written.then_some((found, before, now)))
        })
    }

    /// What a row says that this writes for a session without views.
    fn as_new(&self, views: i64) -> SessionCount {
        SessionCount {
            views,
            is_lower_bound: self.by == WriterKind::Batch && self.table.has_column(IS_LOWER_BOUND),
        }
    }
}

fn row(session_id: &[u8], epoch: i64, counted: SessionCount) -> [pg_sys::Datum; 4] {
    [datum::text(session_id), epoch.into(), counted.views.into(), counted.is_lower_bound.into()]
}

/// How many views of a session are counted, where its row, which has been found, does not say. These are those that are
/// committed and counted by what is committed, and those that this transaction has added to the row. Nothing if somebody else
/// has written the row meanwhile. The row is found again afterwards.
///
/// Whoever changes views of the session writes the row before that is committed, and batches are kept away by the gate. So
/// while the row stays as it is, what is counted of the session does, too.
fn count_before(
    table: &mut Table,
    key: &[KeyValue],
    session_id: &[u8],
    epoch: i64,
) -> Result<Option<i64>, ErrorReport> {
    let (tid, now) = (table.tid(), SessionCount::read(table, epoch));
    let mut views = 0;
    let committed = snapshot::without_own_changes(|snapshot| {
        let state = state::seen_by(snapshot)?;
        page_view::session_views(session_id, snapshot, |view| {
            views += i64::from(view.id <= state.cursor || view.id > state.target);
        })?;
        Ok(if table.find_in(key, snapshot) {
            SessionCount::read(table, epoch)
        } else {
            SessionCount::default()
        })
    })?;
    let is_unchanged = table.find(key) && table.tid() == tid;
    Ok(is_unchanged.then_some(views + now.views - committed.views))
}

/// The sessions that the batches of a backfill have marked, as far as a process remembers them. A mark that is committed
/// stays until the epoch ends, or until somebody announces that one is taken away.
struct MarkedSessionCache {
    /// The table, and the epoch.
    subject: (pg_sys::Oid, i64),
    digests: DigestSet,
    predictor: MissPredictor,
}

thread_local! {
    static MARKED: RefCell<Option<MarkedSessionCache>> = const { RefCell::new(None) };
    /// The relation that is announced as changed then.
    static WATCHED: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
    /// It knows of marks that are not committed.
    static IS_AHEAD: Cell<bool> = const { Cell::new(false) };
    /// Some of what it knows may be so no more.
    static IS_STALE: Cell<bool> = const { Cell::new(false) };
}

impl MarkedSessionCache {
    fn new() -> Self {
        MarkedSessionCache {
            subject: (pg_sys::InvalidOid, 0),
            digests: DigestSet::new(SESSIONS_KEPT),
            predictor: MissPredictor::default(),
        }
    }

    /// Forgets everything that may not be so any more. A batch holds the gate, so nothing of it changes until it ends.
    fn refresh(&mut self, subject: (pg_sys::Oid, i64)) -> Result<(), ErrorReport> {
        // SAFETY: a transaction is open. Who has let go of the gate has sent its messages before.
        unsafe { pg_sys::AcceptInvalidationMessages() };
        WATCHED.set(catalog::table(SIGNAL)?);
        if IS_STALE.take() || self.subject != subject {
            self.subject = subject;
            self.digests.clear();
        }
        Ok(())
    }

    fn note(&mut self, digest: Digest) {
        self.digests.insert(digest);
        IS_AHEAD.set(true);
    }
}

/// Forgets the sessions that batches have met, after the last one.
pub fn forget() {
    MARKED.take();
}

/// Notes that the relation is announced as changed.
fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    if is_changed(WATCHED.get()) {
        IS_STALE.set(true);
    }
}

/// Has this module be told of changed relations, and of the ends of transactions.
pub fn register() {
    catalog::watch(note_change);
    // SAFETY: called once in a process; the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_ends), null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_ends(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => IS_AHEAD.set(false),
        XACT_EVENT_ABORT => note_rollback(),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    _level: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        note_rollback();
    }
}

fn note_rollback() {
    if IS_AHEAD.take() {
        IS_STALE.set(true);
    }
}
