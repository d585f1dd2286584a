//! The life of the backfill worker. It adds nothing but time: `step` does all the work.
//!
//! A worker is registered when it is needed, and the postmaster never restarts it. The next call of any
//! function that notices an unfinished run launches another worker. A worker exits with 0 when there is
//! nothing to do, after SIGTERM, and when the extension is gone. So it never loops in the server's log. If
//! the extension is updated while it runs, it hands over to a process that loads the new library.

use std::ffi::CString;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{log, pg_guard, pg_sys};

use crate::backfill::driver::{self, End, Runner};
use crate::backfill::step::{self, Step};
use crate::backfill::{launch, requests};
use crate::error;
use crate::pg::locks::Mode;
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::pg::transaction::{
    Failure, as_owner, catch, in_bare_transaction, in_transaction, lock_for_reading, with_settings,
};
use crate::pg::{bgworker, catalog};
use crate::settings;

/// Failures in a row after which the run is given up, until `start_backfill()` is called.
const MAX_FAILURES: u32 = 5;

/// How long a new worker waits for uncommitted requests.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a new worker waits for another process to release the run lock.
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

/// Takes the run lock if there is work, and takes steps until there is none.
pub fn serve() -> Result<(), Failure> {
    let mut version = None;
    // The transaction that launched this process may not have committed yet.
    loop {
        let is_installed = in_transaction(|| Ok(catalog::is_installed()))?;
        if !is_installed {
            return Ok(());
        }
        let page_views = in_transaction(catalog::page_views)?;
        if !wait_for_requests(page_views)? {
            log!("site_stats: backfill does not begin, since a request for it stays uncommitted");
            return Ok(());
        }
        match in_transaction(|| as_owner(page_views, requests::is_wanted)) {
            Ok(true) => {}
            // A worker without work exits without the run lock, which a `CALL backfill()` may need.
            Ok(false) => return Ok(()),
            Err(_) if bgworker::is_stopping() || is_gone(page_views) => return Ok(()),
            Err(failure) => {
                // Otherwise the next call would launch another worker, which meets the same error.
                note(page_views, &failure.message, true);
                return Err(failure);
            }
        }
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
            // A failure that ended the run is noted in the state row.
            Ok(End::Done | End::Stopping) | Err(_) => {}
        }
        // A request may have come while this run was ending.
        if bgworker::is_stopping()
            || !in_transaction(|| as_owner(page_views, requests::is_requested)).unwrap_or(false)
        {
            return Ok(());
        }
    }
}

/// Waits until no request is uncommitted: then the transaction that launched this process has ended. False if one stays, since
/// a process must not hold a worker slot for a forgotten transaction. It waits in short transactions without a snapshot.
fn wait_for_requests(page_views: pg_sys::Oid) -> Result<bool, Failure> {
    let began = Instant::now();
    loop {
        let timeout = settings::backfill_lock_timeout().as_millis().to_string();
        let timeout = CString::new(timeout).unwrap_or_default();
        let wait = in_bare_transaction(|| {
            with_settings(&[(c"lock_timeout", &timeout)], || {
                requests::request_lock(page_views).acquire(Mode::Shared);
                Ok(())
            })
        });
        match wait {
            Ok(()) => return Ok(true),
            Err(failure) if !failure.is_contention() => return Err(failure),
            Err(_) if began.elapsed() >= PATIENCE => return Ok(false),
            Err(_) => {}
        }
    }
}

/// Takes the run lock, and returns whether it did. Waits up to `HANDOVER` for a process that may be about to
/// exit.
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

/// The version of the extension in this database. After an update the tables may have another shape than the
/// library of this process knows.
static VERSION: Statement = Statement::new(
    "SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'site_stats'",
    &[],
);

/// Locks the table, as a step does first, so that no update is under way. Then reads the version.
fn version(connection: &Connection, page_views: pg_sys::Oid) -> Result<String, ErrorReport> {
    lock_for_reading(page_views);
    let version = VERSION.run(connection, SnapshotKind::Current, &[])?;
    if version.is_empty() { Err(error::not_installed("page_views")) } else { Ok(version.text_lossy(0, 1)) }
}

/// A run in a background process, which reports to the server's log and to `pg_stat_activity`.
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
        if is_gone(self.page_views) {
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

/// Whether the extension has been dropped, or made anew.
fn is_gone(page_views: pg_sys::Oid) -> bool {
    let is_there = in_transaction(|| Ok(catalog::is_installed() && catalog::page_views()? == page_views));
    !is_there.unwrap_or(true)
}

/// Notes a failure in the state row, if that row can be written.
fn note(page_views: pg_sys::Oid, message: &str, given_up: bool) {
    if let Err(failure) = in_transaction(|| step::note_failure(page_views, message, given_up)) {
        log!("site_stats: could not note a failure of the backfill: {}", failure.message);
    }
}
