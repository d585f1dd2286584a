//! The session set: a row of `sessions` for each visitor with a counted page view.
//!
//! Invariant: the number of visitors of each site is exact. Transactions that touch the same session share its row, so
//! each waits until the other has committed. Each touches sessions in the order of their keys. So
//! transactions that flush once never wait for each other in a circle.
//!
//! A row counts the page views of its session, because the session leaves the set with the last of them. But
//! a backfill finds the same session in many batches, and sessions seldom lose page views. So the first batch
//! that finds a session writes its count and marks the row: the count is a lower bound. Later batches do not
//! change the marked row, and need not read it.
//!
//! A transaction that takes page views from a marked session first counts them in `page_views`. Then it
//! removes the mark: the row is exact from then on. It holds the gate meanwhile, so no batch relies on the
//! mark. A relcache invalidation tells other processes that a mark is gone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_guard, pg_sys};

use crate::count::caches::{Digest, DigestSet, MissPredictor};
use crate::count::page_view::Session;
use crate::count::tally::{self, SiteId, Tally};
use crate::count::{ROWS_PER_INSERT, WriterKind, page_view, state, tables};
use crate::pg::datum::{self, Column};
use crate::pg::heap_table::{ColumnChange, KeyValue, Table};
use crate::pg::{catalog, snapshot};

/// Columns of `sessions`.
const EPOCH: Column = 2;
const VIEWS: Column = 3;
/// NULL, or no such column, means an exact count: version 0.1.0 has no lower bounds.
const IS_LOWER_BOUND: Column = 4;

/// The SQL view whose relcache invalidation says that a mark is gone. Nothing else invalidates it; a table
/// would be invalidated by every VACUUM.
const SIGNAL: &CStr = c"backfill_progress";

/// How many marked sessions a process remembers, in 16 bytes each.
const SESSIONS_KEPT: usize = 1 << 20;

/// What became of the session set of each site.
pub type Changes = BTreeMap<SiteId, Change>;

/// How many sessions came into the session set, and how many left it.
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

/// The count of a session in its row; 0 for a row of an older epoch.
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

/// Whether the current row is marked, in whatever epoch.
fn is_marked(table: &Table) -> bool {
    table.has_column(IS_LOWER_BOUND) && table.boolean(IS_LOWER_BOUND)
}

/// The table `sessions`, and how a flush writes it.
struct Sessions {
    table: Table,
    epoch: i64,
    by: WriterKind,
}

/// Adds deltas to the sessions of an epoch. The row of a session without page views is deleted.
pub fn write(
    page_views: pg_sys::Oid,
    epoch: i64,
    tally: &Tally,
    by: WriterKind,
) -> Result<Changes, ErrorReport> {
    let mut deltas = tally.sites().flat_map(|(_, site)| site.sessions.values()).peekable();
    if deltas.peek().is_none() {
        return Ok(Changes::new());
    }
    if deltas.any(|delta| *delta < 0) {
        state::hold(page_views)?; // the gate is locked before all rows
    }
    let table = Table::open(&tables::SESSIONS)?;
    let mut sessions = Sessions { table, epoch, by };
    let changes = if by == WriterKind::Batch {
        MARKED.with_borrow_mut(|marked| {
            let marked = marked.get_or_insert_with(MarkedSessionCache::new);
            marked.refresh((sessions.table.oid(), epoch))?;
            sessions.write_batch(tally, marked)
        })
    } else {
        sessions.write_each(tally)
    }?;
    sessions.table.close();
    Ok(changes)
}

impl Sessions {
    fn write_each(&mut self, tally: &Tally) -> Result<Changes, ErrorReport> {
        let mut changes = Changes::new();
        for (site_id, site) in tally.sites() {
            let change = changes.entry(site_id).or_default();
            for (session_id, delta) in tally::in_order(&site.sessions) {
                let (_, before, now) = self.write_session((site_id, session_id), *delta)?;
                change.add(before, now);
            }
        }
        Ok(changes)
    }

    /// As `write_each`, for a batch of a backfill that others follow. Skips sessions that it knows to be
    /// marked. If sessions are likely to be new, it inserts their rows together.
    fn write_batch(
        &mut self,
        tally: &Tally,
        marked: &mut MarkedSessionCache,
    ) -> Result<Changes, ErrorReport> {
        let mut changes = Changes::new();
        let deltas: Vec<_> = tally
            .sites()
            .flat_map(|(site_id, site)| {
                site.sessions.iter().map(move |(session_id, delta)| ((site_id, &**session_id), *delta))
            })
            .collect();
        let digests: Vec<_> = deltas.iter().map(|(session, _)| marked.digests.digest(session)).collect();
        marked.digests.prefetch(&digests);
        let others = deltas.into_iter().zip(digests).filter_map(|((session, delta), digest)| {
            (!marked.digests.touch(digest)).then_some((session, delta, digest))
        });
        let mut others: Vec<_> = others.collect();
        others.sort_unstable_by_key(|(session, _, _)| *session);
        for others in others.chunks(ROWS_PER_INSERT) {
            let are_expected_new = marked.predictor.predicts_miss();
            if are_expected_new {
                let rows =
                    others.iter().map(|(session, delta, _)| row(*session, self.epoch, self.as_new(*delta)));
                let rows: Vec<_> = rows.collect();
                self.table.insert_without_indexes(rows.iter().map(|row| &row[..]));
            }
            for (session, delta, digest) in others {
                let change = changes.entry(session.0).or_default();
                let now = if are_expected_new && self.table.index_next()? {
                    marked.predictor.record(false);
                    change.came += 1;
                    self.as_new(*delta)
                } else {
                    let (was_there, before, now) = self.write_session(*session, *delta)?;
                    marked.predictor.record(was_there);
                    change.add(before, now);
                    now
                };
                if now.is_lower_bound {
                    marked.note(*digest);
                }
            }
        }
        Ok(changes)
    }

    /// Adds to the count of a session. Returns whether the session had a row, and its count before and after.
    fn write_session(
        &mut self,
        session: Session,
        delta: i64,
    ) -> Result<(bool, SessionCount, SessionCount), ErrorReport> {
        let key = [KeyValue::Smallint(session.0), KeyValue::Text(session.1)];
        let (epoch, by) = (self.epoch, self.by);
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
                let Some(views) = count_before(table, &key, session, epoch)? else { return Ok(None) };
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
                (false, _) => table.insert_or_yield(&row(session, epoch, now))?,
            };
            Ok(written.then_some((found, before, now)))
        })
    }

    /// The count in a new row with so many page views.
    fn as_new(&self, views: i64) -> SessionCount {
        SessionCount {
            views,
            is_lower_bound: self.by == WriterKind::Batch && self.table.has_column(IS_LOWER_BOUND),
        }
    }
}

fn row((site_id, session_id): Session, epoch: i64, counted: SessionCount) -> [pg_sys::Datum; 5] {
    [
        datum::text(session_id),
        epoch.into(),
        counted.views.into(),
        counted.is_lower_bound.into(),
        site_id.into(),
    ]
}

/// Counts the page views of a session whose row is a lower bound. The row must be the current row; it is
/// found again. `None` if another transaction has written the row meanwhile.
///
/// The formula: counted = committed page views + row now - row as committed. Of the committed page views it
/// takes those that the committed state counts. The two values of the row differ by what this transaction has
/// added.
///
/// A transaction that changes page views of the session writes its row before it commits, and the gate keeps
/// batches out. So the number of counted page views cannot change while the row stays the same.
fn count_before(
    table: &mut Table,
    key: &[KeyValue],
    session: Session,
    epoch: i64,
) -> Result<Option<i64>, ErrorReport> {
    let (tid, now) = (table.tid(), SessionCount::read(table, epoch));
    let mut views = 0;
    let committed = snapshot::without_own_changes(|snapshot| {
        let state = state::seen_by(snapshot)?;
        page_view::session_views(session, snapshot, |view| {
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

/// The marked sessions that this process remembers. A committed mark stays until the epoch ends, or until
/// another transaction announces its removal.
struct MarkedSessionCache {
    /// The table, and the epoch.
    subject: (pg_sys::Oid, i64),
    digests: DigestSet,
    predictor: MissPredictor,
}

thread_local! {
    static MARKED: RefCell<Option<MarkedSessionCache>> = const { RefCell::new(None) };
    /// The oid of `SIGNAL`.
    static WATCHED: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
    /// Marks of this transaction are in the cache, and are not committed yet.
    static IS_AHEAD: Cell<bool> = const { Cell::new(false) };
    /// The cache may hold sessions that are no longer marked.
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

    /// Clears the cache if any of it may be wrong. A batch holds the gate, so no mark is removed until it
    /// ends.
    fn refresh(&mut self, subject: (pg_sys::Oid, i64)) -> Result<(), ErrorReport> {
        // SAFETY: a batch runs in a transaction, which this call needs. A transaction that has released the
        // gate has sent its invalidations before.
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

/// Frees the cache, after the last batch of a run.
pub fn forget() {
    MARKED.take();
}

/// Notes that the cache may be wrong if `SIGNAL` is among the changed relations.
fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    if is_changed(WATCHED.get()) {
        IS_STALE.set(true);
    }
}

/// Registers the callbacks of this module. For `_PG_init`.
pub fn register() {
    catalog::watch(note_change);
    // SAFETY: `_PG_init` calls this once in a process. The library with the callbacks is never unloaded.
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
