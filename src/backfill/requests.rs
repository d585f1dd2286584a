//! Requests to start and to stop a backfill, and the wait for its end.
//!
//! A request is a row of `backfill_requests`, which its transaction may still roll back. It is apart from the
//! state row, so that it blocks neither a batch nor a writer. The process that runs the backfill takes the
//! request in its next step. If there is no such process, the caller launches a worker.

use std::cell::Cell;
use std::ffi::CString;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::backfill::launch;
use crate::backfill::status::{Action, Status, valid_batch_size};
use crate::count::pending;
use crate::error;
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{self, Connection, SnapshotKind, Statement};
use crate::pg::transaction::OWN_NAMES;
use crate::pg::{catalog, datum, scan, transaction};

/// How long a caller waits for the requests of other transactions to be committed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a process that has launched a worker launches no other one.
const LAUNCH_INTERVAL: Duration = Duration::from_secs(1);

/// How often a process that records page views looks for an interrupted backfill.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

static REQUEST: Statement = Statement::new(
    "INSERT INTO site_stats.backfill_requests (action, batch_size) VALUES ($1, $2)",
    &[pg_sys::TEXTOID, pg_sys::INT4OID],
);

static TAKE: Statement = Statement::new(
    "WITH taken AS (
          DELETE FROM site_stats.backfill_requests AS r
          RETURNING r.id, r.action, r.batch_size, r.requested_at
      )
      SELECT t.action, t.batch_size, t.requested_at
      FROM taken AS t
      ORDER BY t.id DESC
      LIMIT 1",
    &[],
);

/// Sets the status of a running backfill to `stopped`.
pub static STOP: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          status = 'stopped',
          updated_at = pg_catalog.clock_timestamp()
      WHERE s.status = 'running'",
    &[],
);

static LOOK: Statement = Statement::new(
    "SELECT
          s.status,
          s.cursor = s.target,
          (SELECT r.action FROM site_stats.backfill_requests AS r ORDER BY r.id DESC LIMIT 1)
      FROM site_stats.backfill_state AS s",
    &[],
);

/// Whether there are page views to count, or counts of the current epoch to take back.
static ANYTHING: Statement = Statement::new(
    "SELECT
          EXISTS (SELECT FROM ONLY site_stats.page_views)
          OR EXISTS (
              SELECT
              FROM site_stats.backfill_state AS s
              JOIN site_stats.path_totals AS t ON t.epoch = s.epoch
              WHERE t.views <> 0
          )
          OR EXISTS (
              SELECT
              FROM site_stats.backfill_state AS s
              JOIN site_stats.sessions AS t ON t.epoch = s.epoch
          )",
    &[],
);

/// A table of ours, or the schema, that the owner of `page_views` may not use: a step acts as that owner.
static FORBIDDEN: Statement = Statement::new(
    "SELECT pg_catalog.pg_get_userbyid(v.relowner)::text, pg_catalog.pg_get_userbyid(o.owner)::text, o.name
      FROM pg_catalog.pg_class AS v
      CROSS JOIN LATERAL (
          SELECT c.relowner, 'table site_stats.' || c.relname
          FROM pg_catalog.pg_class AS c
          WHERE c.relnamespace = v.relnamespace AND c.relkind = 'r'
          AND c.relname IN ('path_totals', 'daily_totals', 'site_totals', 'sessions', 'active_sessions', 'backfill_state', 'backfill_requests')
          AND NOT pg_catalog.pg_has_role(v.relowner, c.relowner, 'USAGE')
          UNION ALL
          SELECT n.nspowner, 'schema site_stats'
          FROM pg_catalog.pg_namespace AS n
          WHERE n.oid = v.relnamespace AND NOT pg_catalog.has_schema_privilege(v.relowner, n.oid, 'USAGE')
      ) AS o (owner, name)
      WHERE v.oid = $1
      ORDER BY o.name
      LIMIT 1",
    &[pg_sys::OIDOID],
);

/// Checks that a step can do its work.
///
/// # Errors
/// 42501 if the tables of the extension have several owners, and that of `page_views` may not write the others.
pub fn require_owner(page_views: pg_sys::Oid) -> Result<(), ErrorReport> {
    transaction::with_settings(&[OWN_NAMES], || {
        spi::connect(|connection| {
            let forbidden = FORBIDDEN.run(connection, SnapshotKind::Current, &[Some(page_views.into())])?;
            if forbidden.is_empty() {
                return Ok(());
            }
            let word = |column| forbidden.text_lossy(0, column);
            Err(error::several_owners(&word(1), &word(2), &word(3)))
        })
    })
}

/// The lock of the process that runs a backfill.
pub fn run_lock(page_views: pg_sys::Oid) -> Lock {
    Lock::new(Class::Run, page_views, 0)
}

/// The lock of a transaction whose request is not committed yet.
pub fn request_lock(page_views: pg_sys::Oid) -> Lock {
    Lock::new(Class::Request, page_views, 0)
}

/// Waits until no other transaction has a request that is not committed, and keeps others from having one.
///
/// # Errors
/// 55P03 if a request stays uncommitted, as that of a prepared transaction may for ever.
fn hold_requests(page_views: pg_sys::Oid) -> Result<(), ErrorReport> {
    // SAFETY: a plain integer of this process.
    let own = u64::try_from(unsafe { pg_sys::LockTimeout }).unwrap_or(0);
    let timeout = if own == 0 { REQUEST_TIMEOUT } else { REQUEST_TIMEOUT.min(Duration::from_millis(own)) };
    let timeout = CString::new(timeout.as_millis().to_string()).unwrap_or_default();
    let lock = || {
        transaction::with_settings(&[(c"lock_timeout", &timeout)], || {
            request_lock(page_views).acquire(Mode::Exclusive);
            Ok(())
        })
    };
    match transaction::catch(lock) {
        Ok(()) => Ok(()),
        Err(failure) if failure.is_contention() => Err(error::uncommitted_requests()),
        Err(failure) => failure.raise(),
    }
}

/// The status of the run, whether every page view is counted, and the newest request, if there is one.
pub struct Look {
    pub status: Status,
    pub is_counted: bool,
    pub requested: Option<Action>,
}

/// What is committed now.
pub fn look(connection: &Connection) -> Result<Look, ErrorReport> {
    let look = LOOK.run(connection, SnapshotKind::Latest, &[])?;
    Ok(Look {
        status: Status::from_word(look.text(0, 1).unwrap_or_default())?,
        is_counted: look.boolean(0, 2),
        requested: look.text(0, 3).map(Action::from_word).transpose()?,
    })
}

/// A request that was taken from the table.
pub struct Request {
    pub action: Action,
    /// Rows per batch, if the caller gave any.
    pub batch_size: Option<i32>,
    pub requested_at: Option<pg_sys::Datum>,
}

/// Deletes all requests. Returns the newest one, if there is any.
pub fn take_newest(connection: &Connection) -> Result<Option<Request>, ErrorReport> {
    // The table is nearly always empty, and this check costs a fraction of the statement.
    if scan::is_empty(c"backfill_requests")? {
        return Ok(None);
    }
    let taken = TAKE.run(connection, SnapshotKind::Current, &[])?;
    let Some(action) = taken.text(0, 1) else { return Ok(None) };
    Ok(Some(Request {
        action: Action::from_word(action)?,
        batch_size: taken.get(0, 2).map(|size| size.value() as i32),
        requested_at: taken.get(0, 3),
    }))
}

/// Records a request, for the process that runs the backfill.
fn record(connection: &Connection, action: Action, batch_size: Option<i32>) -> Result<(), ErrorReport> {
    let arguments = [Some(datum::text(action.word().as_bytes())), batch_size.map(pg_sys::Datum::from)];
    REQUEST.run(connection, SnapshotKind::Current, &arguments).map(|_| ())
}

/// Whether there is a request that no process has taken.
pub fn is_requested() -> Result<bool, ErrorReport> {
    Ok(spi::connect(look)?.requested.is_some())
}

/// The answer to a request to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    NothingToDo,
    Started,
    Resumed,
    AlreadyRunning,
}

/// Records a request to start, for the process that takes the run lock next. Reads what is committed now at
/// any isolation level, and blocks nothing but other requests.
pub fn request_start(
    connection: &Connection,
    page_views: pg_sys::Oid,
    batch_size: Option<i32>,
) -> Result<Answer, ErrorReport> {
    pending::flush()?; // whether there is anything to count is a question to the aggregates, too
    hold_requests(page_views)?;
    let Look { status, is_counted, requested } = look(connection)?;
    let answer = match (status, requested) {
        (_, Some(Action::Start)) => return Ok(Answer::AlreadyRunning),
        (Status::Running, None) if !run_lock(page_views).is_free() => return Ok(Answer::AlreadyRunning),
        (status, _) if status.is_resumable(is_counted) => Answer::Resumed,
        _ if ANYTHING.run(connection, SnapshotKind::Latest, &[])?.boolean(0, 1) => Answer::Started,
        _ => return Ok(Answer::NothingToDo),
    };
    record(connection, Action::Start, batch_size)?;
    Ok(answer)
}

/// Asks for a rebuild of the aggregates by a background worker, which begins when the calling transaction
/// commits. If that transaction is rolled back, no rebuild begins. `batch_size` is in rows; NULL stands for
/// the setting `site_stats.backfill_batch_size`.
///
/// Returns `No page views to backfill`, `Backfill started`, `Backfill resumed` or `Backfill already running`.
/// The query to run next follows each of these.
///
/// # Errors
/// - 22023: a batch size out of range
/// - 25006: in a read-only transaction or on a standby
/// - 53000: no worker slot is free
#[pg_extern(sql = false)]
fn start_backfill(batch_size: Option<i32>) -> Result<&'static str, ErrorReport> {
    error::require_writable(c"site_stats.start_backfill()");
    let batch_size = valid_batch_size(batch_size)?;
    let page_views = catalog::page_views()?;
    require_owner(page_views)?;
    let answer = spi::connect(|connection| request_start(connection, page_views, batch_size))?;
    let is_run = !run_lock(page_views).is_free();
    // A run that is about to end may miss the request, so a worker is launched. If the run does take the
    // request, the worker finds no work and exits.
    let needs_worker = match answer {
        Answer::NothingToDo => false,
        Answer::AlreadyRunning => !is_run,
        Answer::Started | Answer::Resumed => true,
    };
    if needs_worker && !launch::launch() && !is_run {
        return Err(error::no_worker_slot());
    }
    Ok(match answer {
        Answer::NothingToDo => {
            "No page views to backfill: the statistics are complete, see SELECT * FROM site_stats.get_stats()"
        }
        Answer::Started => "Backfill started: watch it with SELECT * FROM site_stats.backfill_progress",
        Answer::Resumed => "Backfill resumed: watch it with SELECT * FROM site_stats.backfill_progress",
        Answer::AlreadyRunning => {
            "Backfill already running: watch it with SELECT * FROM site_stats.backfill_progress"
        }
    })
}

/// Asks a requested or running backfill to stop after its current batch, when the calling transaction
/// commits. `start_backfill()` continues it from there. Returns false, and does nothing, if no backfill is
/// requested or running.
///
/// # Errors
/// - 25006: in a read-only transaction or on a standby
#[pg_extern(sql = false)]
fn stop_backfill() -> Result<bool, ErrorReport> {
    error::require_writable(c"site_stats.stop_backfill()");
    let page_views = catalog::page_views()?;
    spi::connect(|connection| {
        hold_requests(page_views)?;
        let Look { status, requested, .. } = look(connection)?;
        let unattended = run_lock(page_views).is_free();
        let stoppable = match requested {
            Some(Action::Start) => true,
            // The process that was to take the request may have died.
            Some(Action::Stop) => unattended,
            None => status == Status::Running,
        };
        if !stoppable {
            return Ok(false);
        }
        if unattended {
            // No process will take a request, so this transaction stops the run itself.
            take_newest(connection)?;
            STOP.run(connection, SnapshotKind::Current, &[])?;
        } else {
            record(connection, Action::Stop, None)?;
        }
        Ok(true)
    })
}

/// Starts a worker if a backfill is under way or requested, and no process runs it. Never fails, and writes
/// nothing.
#[pg_extern(sql = false)]
fn resume_backfill() {
    resume_if_interrupted();
}

thread_local! {
    /// When this process last launched a worker.
    static LAUNCHED: Cell<Option<Instant>> = const { Cell::new(None) };
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether less than `interval` has passed since the time that this process has noted.
pub fn is_recent(time: &'static std::thread::LocalKey<Cell<Option<Instant>>>, interval: Duration) -> bool {
    time.get().is_some_and(|time| time.elapsed() < interval)
}

/// `resume_if_interrupted` for functions that are called for every page view: does so once in
/// `LOOK_INTERVAL`.
pub fn resume_if_due() {
    if !is_recent(&LOOKED, LOOK_INTERVAL) {
        resume_if_interrupted();
    }
}

/// Launches a worker if a backfill was interrupted. Every function calls this, so that no user has to restart
/// a backfill after a crash.
pub fn resume_if_interrupted() {
    // SAFETY: `RecoveryInProgress` reads a flag in the shared memory that every backend is attached to.
    if unsafe { pg_sys::RecoveryInProgress() } || is_recent(&LAUNCHED, LAUNCH_INTERVAL) {
        return;
    }
    LOOKED.set(Some(Instant::now()));
    let Ok(page_views) = catalog::page_views() else { return };
    if is_unattended(page_views).unwrap_or(false) {
        LAUNCHED.set(Some(Instant::now()));
        launch::launch();
    }
}

/// Whether a backfill is under way or requested, and no process runs it.
pub fn is_unattended(page_views: pg_sys::Oid) -> Result<bool, ErrorReport> {
    Ok(is_wanted()? && run_lock(page_views).is_free())
}

/// Whether a backfill is under way or requested.
pub fn is_wanted() -> Result<bool, ErrorReport> {
    let Look { status, requested, .. } = spi::connect(look)?;
    Ok(status == Status::Running || requested.is_some())
}
