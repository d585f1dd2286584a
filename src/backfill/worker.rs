//! The life of the background process. It adds nothing but time: every turn is `backfill::turn`.
//!
//! It is registered when it is needed and never restarted by the postmaster; a run that it leaves unfinished is taken up
//! by the next call of any function that notices. It exits with 0 when there is nothing to do, when it is asked to
//! (SIGTERM), and when the extension is gone, so nothing of it ever loops in the server's log. When the extension is updated
//! under it, it hands over to a process that loads the library anew.

use std::ffi::CString;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgSqlErrorCode, log, pg_guard, pg_sys};

use crate::backfill::driver::{self, End, Runner};
use crate::backfill::step::{self, Step};
use crate::backfill::{launch, requests};
use crate::error;
use crate::pg::locks::Mode;
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::pg::transaction::{Failure, as_owner, catch, in_transaction};
use crate::pg::{bgworker, catalog};

/// Failures in a row after which the run is given up until somebody starts it again.
const MAX_FAILURES: u32 = 5;

/// How long a new worker waits for another process to let go of the run.
const HANDOVER: Duration = Duration::from_secs(10);

/// The process's entry point; the server calls it by its name.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn site_stats_backfill_main(_argument: pg_sys::Datum) {
    bgworker::answer_signals();
    if !bgworker::connect() {
        return;
    }
    if let Err(failure) = serve()
        && !bgworker::is_stopping()
    {
        log!("site_stats: backfill ended: {}", failure.message);
    }
    bgworker::report_activity(c"");
}

/// Takes the run lock if there is anything to do, and takes turns until there is not.
pub fn serve() -> Result<(), Failure> {
    let mut version = None;
    // Whoever launched this process may not have committed yet.
    loop {
        let page_views = match in_transaction(|| {
            let page_views = catalog::page_views()?;
            wait_for_requests(page_views);
            Ok(as_owner(page_views, requests::is_wanted)?.then_some(page_views))
        }) {
            Ok(Some(page_views)) => page_views,
            // One worker too many leaves without the run lock, which somebody may want for a run by hand.
            Ok(None) => return Ok(()),
            Err(failure) if is_gone(&failure) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if !take_run(page_views)? {
            return Ok(());
        }
        let activity = c"site_stats: backfill".to_owned();
        let end = driver::drive(&mut Worker { page_views, version: &mut version, activity });
        in_transaction(|| {
            requests::run_lock(page_views).release_from_process();
            Ok(())
        })?;
        match end {
            Ok(End::Updated) => {
                log!("site_stats: backfill goes on in another process, since the extension was updated");
                launch::launch();
                return Ok(());
            }
            // A failure that ended the run is noted.
            Ok(End::Done | End::Stopping) | Err(_) => {}
        }
        // A request that came while this run was ending.
        if bgworker::is_stopping()
            || !in_transaction(|| as_owner(page_views, requests::is_requested)).unwrap_or(false)
        {
            return Ok(());
        }
    }
}

/// Returns when no request is uncommitted: the launching transaction has ended.
fn wait_for_requests(page_views: pg_sys::Oid) {
    requests::request_lock(page_views).acquire(Mode::Shared);
}

/// Whether this process holds the run lock now. It waits a little for another process that may be about to leave.
fn take_run(page_views: pg_sys::Oid) -> Result<bool, Failure> {
    let began = Instant::now();
    loop {
        if in_transaction(|| Ok(requests::run_lock(page_views).try_acquire_for_process()))? {
            return Ok(true);
        }
        if began.elapsed() >= HANDOVER || !in_transaction(|| as_owner(page_views, requests::is_requested))? {
            return Ok(false);
        }
        catch(|| {
            bgworker::nap(Duration::from_millis(50));
            Ok(())
        })?;
    }
}

/// The version of the extension in this database. An update gives the tables another shape than the library that this
/// process has loaded may know.
static VERSION: Statement = Statement::new(
    "SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'site_stats'",
    &[],
);

/// Locks the table, as a turn does first, so that no update is under way; and reads the version then.
fn version(connection: &Connection, page_views: pg_sys::Oid) -> Result<String, ErrorReport> {
    // SAFETY: a transaction is open and the table exists.
    unsafe { pg_sys::LockRelationOid(page_views, pg_sys::AccessShareLock as i32) };
    let version = VERSION.run(connection, SnapshotKind::Current, &[])?;
    if version.is_empty() { Err(error::not_installed("page_views")) } else { Ok(version.text_lossy(0, 1)) }
}

/// A run in a background process, which writes to the server's log and to `pg_stat_activity`.
struct Worker<'w> {
    page_views: pg_sys::Oid,
    /// The version of the extension at the first step of this process.
    version: &'w mut Option<String>,
    activity: CString,
}

impl Runner for Worker<'_> {
    fn step(&mut self, is_first: bool) -> Result<Option<Step>, Failure> {
        bgworker::reload_settings();
        bgworker::report_activity(&self.activity);
        in_transaction(|| {
            step::in_backfill_context(self.page_views, |connection| {
                let version = version(connection, self.page_views)?;
                if self.version.get_or_insert_with(|| version.clone()) != &version {
                    return Ok(None);
                }
                step::take(connection, self.page_views, is_first).map(Some)
            })
        })
    }

    fn is_stopping(&self) -> bool {
        bgworker::is_stopping()
    }

    fn say(&mut self, message: &str) {
        log!("site_stats: {message}");
    }

    fn counted(&mut self, views_done: i64, views_total: i64) {
        let progress = format!("site_stats: backfill, {views_done} of {views_total} page views");
        self.activity = CString::new(progress).unwrap_or_default();
    }

    fn gave_way(&mut self, failure: &Failure, waits: u32, _is_due: bool) {
        if waits == 2 || waits.is_multiple_of(8) {
            note(self.page_views, &format!("waits for a writer: {}", failure.message), false);
        }
    }

    fn gives_up(&mut self, failure: &Failure, failures: u32) -> bool {
        if is_gone(failure) {
            return true;
        }
        let is_last = failures >= MAX_FAILURES;
        log!("site_stats: a backfill batch failed: {}", failure.message);
        note(self.page_views, &failure.message, is_last && !failure.is_cancellation());
        if is_last {
            log!("site_stats: backfill given up after {failures} failures in a row");
        }
        is_last
    }

    fn nap(&mut self, time: Duration) {
        // A cancellation, or SIGTERM, ends the pause.
        let _ = catch(|| {
            bgworker::nap(time);
            Ok(())
        });
    }
}

/// Whether the extension has been dropped.
pub fn is_gone(failure: &Failure) -> bool {
    matches!(
        failure.code,
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            | PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE
            | PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME
    )
}

/// Leaves word in the state row, if that can be written.
fn note(page_views: pg_sys::Oid, message: &str, given_up: bool) {
    if let Err(failure) = in_transaction(|| step::note_failure(page_views, message, given_up)) {
        log!("site_stats: could not note a failure of the backfill: {}", failure.message);
    }
}
