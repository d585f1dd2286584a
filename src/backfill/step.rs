//! The steps of a backfill.
//!
//! A step is one transaction. It takes requests, and then begins a run, counts one batch, or clears a part of
//! what older epochs left. The worker and `CALL backfill()` take the same steps; `backfill_turn()` does so
//! without taking requests.
//!
//! A run that is killed anywhere loses nothing and repeats nothing, since the cursor moves in the transaction
//! that counts.

use std::ffi::CString;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::backfill::fault::{self, Point};
use crate::backfill::requests::{self, Request};
use crate::backfill::status::{Action, Status, valid_batch_size};
use crate::count::fold::{self, FOLD_ROWS};
use crate::count::sweep::{self, Swept};
use crate::count::tally::Tally;
use crate::count::{WriterKind, counters, page_view, pending, spanned, state, tables, visitors};
use crate::pg::heap_table::{ColumnChange, KeyValue, Table};
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{self, Connection, Rows, SnapshotKind, Statement};
use crate::pg::transaction::{ALL_ROWS, OWN_NAMES};
use crate::pg::{catalog, datum, snapshot, transaction, writeback};
use crate::{error, settings};

/// The most steps that fold at the end of a run.
const FOLD_STEPS: i64 = 1_000;

static BEGIN: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          epoch = s.epoch + 1,
          cursor = 0,
          target = (SELECT COALESCE(pg_catalog.max(v.id), 0) FROM ONLY site_stats.page_views AS v),
          status = $1,
          batch_size = $2,
          views_done = 0,
          views_total = NULL,
          sessions_found = 0,
          swept_tables = 0,
          swept_blocks = 0,
          requested_at = COALESCE($3, pg_catalog.clock_timestamp()),
          started_at = pg_catalog.clock_timestamp(),
          resumed_at = pg_catalog.clock_timestamp(),
          views_done_at_resume = 0,
          updated_at = pg_catalog.clock_timestamp(),
          finished_at = NULL,
          restarts = 0,
          last_error = NULL
      RETURNING s.target",
    &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TIMESTAMPTZOID],
);

static RESUME: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          status = 'running',
          batch_size = COALESCE($1, s.batch_size),
          resumed_at = pg_catalog.clock_timestamp(),
          views_done_at_resume = s.views_done,
          updated_at = pg_catalog.clock_timestamp(),
          restarts = s.restarts + CASE WHEN $2 THEN 1 ELSE 0 END,
          last_error = NULL",
    &[pg_sys::INT4OID, pg_sys::BOOLOID],
);

static COUNT_VIEWS: Statement = Statement::new(
    "SELECT pg_catalog.count(*) FROM ONLY site_stats.page_views AS v WHERE v.id > $1 AND v.id <= $2",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

static MOVE_SWEEP: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          swept_tables = $2,
          swept_blocks = $3,
          updated_at = pg_catalog.clock_timestamp(),
          last_error = NULL
      WHERE s.epoch = $1 AND s.cursor = s.target",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID],
);

static FINISH: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          status = 'complete',
          views_total = s.views_done,
          updated_at = pg_catalog.clock_timestamp(),
          finished_at = pg_catalog.clock_timestamp(),
          last_error = NULL
      WHERE s.epoch = $1 AND s.cursor = s.target",
    &[pg_sys::INT8OID],
);

/// A transaction that has written `page_views` and not ended yet may be in the way. `last_error` names its
/// process.
static FAIL: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          status = CASE WHEN $1 THEN 'failed' ELSE s.status END,
          last_error = $2 || COALESCE((
              SELECT '; page_views is in use by '
                  || pg_catalog.string_agg(COALESCE('process ' || l.pid, 'a prepared transaction'), ', ' ORDER BY l.pid)
              FROM pg_catalog.pg_locks AS l
              WHERE l.relation = $3
                  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
                  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                  AND l.granted
          ), ''),
          updated_at = pg_catalog.clock_timestamp()",
    &[pg_sys::BOOLOID, pg_sys::TEXTOID, pg_sys::OIDOID],
);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A run has begun: every page view up to the target is to be counted.
    Began { target: i64 },
    /// A run continues. `interrupted` is true if the process that ran it has died.
    Resumed { interrupted: bool },
    /// A batch was counted.
    Counted { views_done: i64, views_total: i64 },
    /// Some rows of older epochs are deleted, or some idle counter slots are folded.
    Cleared,
    /// All is counted and cleared.
    Finished { views: i64 },
    /// The run was asked to stop.
    Stopped,
    /// No run is under way or requested.
    Idle,
}

/// The state row, as a step reads it.
struct Run {
    epoch: i64,
    cursor: i64,
    target: i64,
    status: Status,
    batch_size: Option<i32>,
    views_total: Option<i64>,
    views_done: i64,
    swept: Swept,
}

impl Run {
    /// Reads the row as committed now, with this transaction's own changes.
    fn read() -> Result<Self, ErrorReport> {
        use state::columns::*;
        // SAFETY: steps run inside `in_backfill_context`, which has pushed a snapshot of the open
        // transaction.
        state::read_row(unsafe { pg_sys::GetLatestSnapshot() }, |row| {
            // SAFETY: the column has type text, by the install script.
            let status = row.get(STATUS).map_or(b"".as_slice(), |word| unsafe { datum::text_bytes(word) });
            Ok(Run {
                epoch: row.bigint(EPOCH),
                cursor: row.bigint(CURSOR),
                target: row.bigint(TARGET),
                status: Status::from_word(status)?,
                batch_size: row.get(BATCH_SIZE).map(|size| size.value() as i32),
                views_total: row.get(VIEWS_TOTAL).map(|views| views.value() as i64),
                views_done: row.bigint(VIEWS_DONE),
                swept: Swept { tables: row.bigint(SWEPT_TABLES), blocks: row.bigint(SWEPT_BLOCKS) },
            })
        })?
    }
}

impl Run {
    fn is_resumable(&self) -> bool {
        self.status.is_resumable(self.cursor == self.target)
    }
}

/// How a step counts a batch.
#[derive(Clone, Copy)]
struct Batch {
    /// The most rows; `None` for the batch size of the run, or else the setting.
    size: Option<i32>,
    writer: WriterKind,
}

/// Takes one step in the process that holds the run lock, under the conditions of `in_backfill_context`.
/// `is_first` is true for the first step of that process.
pub fn take(connection: &Connection, page_views: pg_sys::Oid, is_first: bool) -> Result<Step, ErrorReport> {
    let request = requests::take_newest(connection)?;
    let run = Run::read()?;
    match request {
        Some(Request { action: Action::Stop, .. }) => {
            requests::STOP.run(connection, SnapshotKind::Current, &[])?;
            Ok(if run.status.is_unfinished() { Step::Stopped } else { Step::Idle })
        }
        Some(Request { action: Action::Start, batch_size, .. }) if run.is_resumable() => {
            let interrupted = is_first && run.status == Status::Running;
            resume(connection, batch_size, interrupted)?;
            Ok(Step::Resumed { interrupted })
        }
        Some(Request { action: Action::Start, batch_size, requested_at }) => {
            let target = begin(connection, page_views, Status::Running, batch_size, requested_at)?;
            Ok(Step::Began { target })
        }
        None if run.status != Status::Running => Ok(Step::Idle),
        None if is_first => {
            resume(connection, None, true)?;
            Ok(Step::Resumed { interrupted: true })
        }
        None => {
            let batch = Batch { size: None, writer: WriterKind::Batch };
            advance(connection, page_views, run, batch)
        }
    }
}

/// Writes the error of a failed step into the state row. `finally` is true if the run is given up: then the requests are gone,
/// and the run has failed if there was one or a request to begin it.
pub fn note_failure(page_views: pg_sys::Oid, message: &str, finally: bool) -> Result<(), ErrorReport> {
    in_backfill_context(catalog::table(c"backfill_state")?, |connection| {
        let has_failed = finally && {
            let request = requests::take_newest(connection)?;
            let is_requested = request.is_some_and(|request| request.action == Action::Start);
            is_requested || Run::read()?.status == Status::Running
        };
        let arguments = [
            pg_sys::Datum::from(has_failed),
            datum::text_from_utf8(message),
            pg_sys::Datum::from(page_views),
        ]
        .map(Some);
        FAIL.run(connection, SnapshotKind::Current, &arguments)?;
        Ok(())
    })
}

/// The conditions of a step. It sees what is committed, and acts as the owner of a table: of `page_views`, if
/// it reads that. It waits for a lock at most for `site_stats.backfill_lock_timeout`.
pub fn in_backfill_context<R>(
    table: pg_sys::Oid,
    work: impl FnOnce(&Connection) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    error::require_writable(c"a backfill");
    if snapshot::uses_one_snapshot() {
        return Err(error::wrong_isolation("a backfill"));
    }
    let timeout = CString::new(settings::backfill_lock_timeout().as_millis().to_string()).unwrap_or_default();
    let settings = [OWN_NAMES, ALL_ROWS, (c"lock_timeout", timeout.as_c_str())];
    snapshot::with_snapshot(|| {
        transaction::as_owner(table, || transaction::with_settings(&settings, || spi::connect(work)))
    })
}

/// A step in the caller's transaction, which keeps the run lock until its end.
fn by_hand<R>(
    page_views: pg_sys::Oid,
    work: impl FnOnce(&Connection) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    in_backfill_context(page_views, |connection| {
        if !requests::run_lock(page_views).try_acquire(Mode::Exclusive) {
            return Err(error::already_running());
        }
        work(connection)
    })
}

/// Begins a run: all page views up to the last one are to be counted, and all earlier counts are void. The
/// table lock keeps writers out meanwhile, and the gate keeps batches out. A writer waits behind this at most
/// for the lock timeout.
fn begin(
    connection: &Connection,
    page_views: pg_sys::Oid,
    status: Status,
    batch_size: Option<i32>,
    requested_at: Option<pg_sys::Datum>,
) -> Result<i64, ErrorReport> {
    // What this transaction has counted so far belongs to the epoch that ends here.
    pending::flush()?;
    transaction::lock_against_writers(page_views);
    Lock::new(Class::Gate, page_views, 0).acquire(Mode::Exclusive);
    let batch_size = batch_size.map(pg_sys::Datum::from);
    let arguments = [Some(datum::text(status.word().as_bytes())), batch_size, requested_at];
    let writing = counters::Writing::begin()?;
    let begun = BEGIN.run(connection, SnapshotKind::Current, &arguments)?;
    drop(writing);
    catalog::announce_change(page_views);
    // Page views may have come in past the triggers.
    spanned::reset_if_installed(connection)?;
    Ok(begun.bigint(0, 1))
}

fn resume(connection: &Connection, batch_size: Option<i32>, interrupted: bool) -> Result<(), ErrorReport> {
    let batch_size = batch_size.map(pg_sys::Datum::from);
    RESUME.run(connection, SnapshotKind::Current, &[batch_size, Some(pg_sys::Datum::from(interrupted))])?;
    Ok(())
}

/// Does the next part of a run: the batches first, then the clean-up, then the end.
fn advance(
    connection: &Connection,
    page_views: pg_sys::Oid,
    run: Run,
    batch: Batch,
) -> Result<Step, ErrorReport> {
    // This lock keeps a TRUNCATE away until the end of the step, and so another epoch.
    transaction::lock_for_reading(page_views);
    if run.cursor < run.target {
        return count_batch(connection, page_views, run, batch);
    }
    if clear(connection, page_views, &run)? {
        return Ok(Step::Cleared);
    }
    visitors::forget();
    require_one(FINISH.run(connection, SnapshotKind::Current, &[Some(pg_sys::Datum::from(run.epoch))])?)?;
    // Cursor and counts are committed together, so a crash may lose the commit of a batch. It must not lose
    // this commit.
    // SAFETY: this sets a flag of this process, which the commit of the open transaction reads.
    unsafe { pg_sys::ForceSyncCommit() };
    Ok(Step::Finished { views: run.views_done })
}

/// Counts the next page views above the cursor, and moves the cursor. The page views are read after the gate
/// is taken: every writer that decided by an earlier cursor has ended, and its changes are visible.
fn count_batch(
    connection: &Connection,
    page_views: pg_sys::Oid,
    run: Run,
    batch: Batch,
) -> Result<Step, ErrorReport> {
    let number = |value: i64| Some(pg_sys::Datum::from(value));
    let views_total = match run.views_total {
        Some(views_total) => views_total,
        None => {
            let range = [number(run.cursor), number(run.target)];
            run.views_done + COUNT_VIEWS.run(connection, SnapshotKind::Current, &range)?.bigint(0, 1)
        }
    };
    Lock::new(Class::Gate, page_views, 0).acquire(Mode::Exclusive);
    fault::trip(Point::Locked);
    let now = state::latest()?;
    if (now.epoch, now.cursor, now.target) != (run.epoch, run.cursor, run.target) {
        return Err(error::state_changed());
    }

    let limit = i64::from(batch.size.or(run.batch_size).unwrap_or_else(settings::backfill_batch_size));
    let (mut tally, mut sessions_found) = (Tally::for_views(usize::try_from(limit).unwrap_or(0)), 0);
    let (mut counted, mut last) = (0, run.cursor);
    page_view::views_between(page_views, run.cursor, run.target, |view| {
        tally.add(view);
        (counted, last) = (counted + 1, view.id);
        if tally.is_full() {
            let full = std::mem::take(&mut tally);
            sessions_found += counters::write(page_views, run.epoch, full, batch.writer)?.sessions_found;
        }
        Ok(counted < limit)
    })?;
    fault::trip(Point::Read);
    sessions_found += counters::write(page_views, run.epoch, tally, batch.writer)?.sessions_found;

    fault::trip(Point::Counted);
    let cursor = if counted < limit { run.target } else { last };
    move_cursor(&run, cursor, counted, sessions_found, views_total)?;
    if cursor == run.target {
        // Later statements of this transaction may cache that all is counted. They must forget it if the
        // transaction rolls back.
        catalog::announce_change(page_views);
    }
    fault::trip(Point::Moved);
    if batch.writer == WriterKind::Batch {
        writeback::write_back()?;
    }
    Ok(Step::Counted { views_done: run.views_done + counted, views_total })
}

/// Moves the cursor of a run, and adds to its progress. This is a compare and set. It fails with 40001 if
/// another transaction has moved the cursor, or begun another epoch, since the run was read.
fn move_cursor(
    run: &Run,
    cursor: i64,
    views: i64,
    sessions_found: i64,
    views_total: i64,
) -> Result<(), ErrorReport> {
    use state::columns::*;
    let _writing = counters::Writing::begin()?;
    let mut table = Table::open(&tables::BACKFILL_STATE)?;
    let is_moved = table.write(&[KeyValue::Boolean(true)], None, |table, found| {
        if !found || (table.bigint(EPOCH), table.bigint(CURSOR)) != (run.epoch, run.cursor) {
            return Ok(Some(false));
        }
        // SAFETY: `GetCurrentTimestamp` only reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        let written = table.update(&[
            (CURSOR, ColumnChange::Value(cursor.into())),
            (VIEWS_DONE, ColumnChange::Value((run.views_done + views).into())),
            (VIEWS_TOTAL, ColumnChange::Value(views_total.into())),
            (SESSIONS_FOUND, ColumnChange::Value((table.bigint(SESSIONS_FOUND) + sessions_found).into())),
            (UPDATED_AT, ColumnChange::Value(now.into())),
            (LAST_ERROR, ColumnChange::Null),
        ])?;
        Ok(written.then_some(true))
    })?;
    table.close();
    // SAFETY: the transaction that has just written the row is open and not parallel. What follows in it sees
    // the cursor.
    unsafe { pg_sys::CommandCounterIncrement() };
    if is_moved { Ok(()) } else { Err(error::state_changed()) }
}

/// Deletes some rows of older epochs. When none is left, folds some idle counter slots. False when nothing is
/// left to do.
fn clear(connection: &Connection, page_views: pg_sys::Oid, run: &Run) -> Result<bool, ErrorReport> {
    let swept = if !run.swept.is_all() {
        sweep::sweep(connection, run.epoch, run.swept)?
    } else if run.swept.blocks < FOLD_STEPS {
        let folded = fold::fold(connection, page_views, run.epoch, FOLD_ROWS)?;
        if folded.rows == 0 {
            return Ok(false);
        }
        // Counter slots that become idle meanwhile are left for the next time. Otherwise this would last as
        // long as writers write.
        let steps = if folded.is_more { run.swept.blocks + 1 } else { FOLD_STEPS };
        Swept { blocks: steps, ..run.swept }
    } else {
        return Ok(false);
    };
    let arguments = [run.epoch, swept.tables, swept.blocks].map(|number| Some(pg_sys::Datum::from(number)));
    require_one(MOVE_SWEEP.run(connection, SnapshotKind::Current, &arguments)?)?;
    Ok(true)
}

fn require_one(written: Rows) -> Result<(), ErrorReport> {
    if written.len() == 1 { Ok(()) } else { Err(error::state_changed()) }
}

/// Begins a backfill in this transaction, and leaves it stopped before its first batch. Returns the target:
/// the id up to which page views are to be counted. Waits at most `site_stats.backfill_lock_timeout` for open
/// writers.
///
/// # Errors
/// - 25001: at an isolation level above READ COMMITTED
/// - 25006: in a read-only transaction or on a standby
/// - 55006: another process runs a backfill
/// - 55P03: a writer stays open for longer than the timeout
#[pg_extern(sql = false)]
fn begin_backfill() -> Result<i64, ErrorReport> {
    let page_views = catalog::page_views()?;
    requests::require_owner(page_views)?;
    by_hand(page_views, |connection| begin(connection, page_views, Status::Stopped, None, None))
}

/// Takes one step of an unfinished backfill in this transaction, even if the backfill is stopped. Returns
/// false when nothing is left to do.
///
/// # Errors
/// - 22023: a batch size out of range
/// - 25001: at an isolation level above READ COMMITTED
/// - 25006: in a read-only transaction or on a standby
/// - 42704: `page_views` has no primary key that begins with its id
/// - 55006: another process runs a backfill
/// - 55P03: another transaction holds a lock for longer than `site_stats.backfill_lock_timeout`
#[pg_extern(sql = false)]
fn backfill_turn(batch_size: Option<i32>) -> Result<bool, ErrorReport> {
    let batch_size = valid_batch_size(batch_size)?;
    let page_views = catalog::page_views()?;
    by_hand(page_views, |connection| {
        let run = Run::read()?;
        if !run.status.is_unfinished() {
            return Ok(false);
        }
        // The same transaction may have counted page views of its own, and may count more.
        let batch = Batch { size: batch_size, writer: WriterKind::Transaction };
        let step = advance(connection, page_views, run, batch)?;
        Ok(!matches!(step, Step::Finished { .. }))
    })
}
