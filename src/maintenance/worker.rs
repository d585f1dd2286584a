//! The maintenance worker. It works in one database, and exits: it resumes an unfinished backfill, folds idle
//! counter slots, and removes stale sessions. The launcher starts it in each round. A reader starts it after
//! it has read many rows in counter slots other than 0.
//!
//! Folding and removing wait for no other transaction: what is in use now is left for the next time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{log, pg_guard, pg_sys};

use crate::backfill::{launch, requests, step, worker};
use crate::count::fold::{self, FOLD_ROWS};
use crate::pg::locks::{Class, Lock};
use crate::pg::spi::Connection;
use crate::pg::transaction::{Failure, as_owner, in_transaction};
use crate::pg::{bgworker, catalog};
use crate::record::{heartbeat, salts};
use crate::settings;
use crate::span::turn::{self, Progress};

/// The `backend_type` in `pg_stat_activity`.
const NAME: &str = "site_stats maintenance";
const MAIN: &str = "site_stats_maintenance_main";
/// The same for a worker that is to look for damaged spans, too.
const MAIN_WITH_CHECK: &str = "site_stats_maintenance_check_main";

/// How long a process that has started a maintenance worker starts no other one.
const LAUNCH_INTERVAL: Duration = Duration::from_secs(60);

/// So many page views that are in no span make a report start a worker. Counting them takes about as long as a statistics page.
const VIEWS_FOR_SPANS: usize = 500;

/// Stale sessions that one transaction removes.
const STALE_SESSIONS: i32 = 500;
/// The most transactions that fold, and the most that remove stale sessions.
const TRANSACTIONS: u32 = 200;

/// What became of a maintenance worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has run and ended.
    Ended,
    /// The server has no worker slot for it.
    NoSlot,
}

/// Runs a maintenance worker in a database, and waits until it has ended. The launcher calls this.
pub fn run_in(database: pg_sys::Oid) -> Outcome {
    // SAFETY: `MyProcPid` is an integer that is set when the process starts.
    let launcher = unsafe { pg_sys::MyProcPid };
    match bgworker::launch(NAME, MAIN, database, launcher) {
        None => Outcome::NoSlot,
        Some(worker) => {
            // The wait fails only if the postmaster has died, and then the launcher ends, too.
            let _ = worker.wait_for_shutdown();
            Outcome::Ended
        }
    }
}

thread_local! {
    /// When this process last started a maintenance worker.
    static LAUNCHED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Called by readers, with the number of rows that they found in counter slots other than 0. If one
/// transaction of folding has that much to do, starts a maintenance worker, unless one is running. Never
/// fails, and waits for nothing.
pub fn launch_if_due(rows: usize) {
    if rows >= FOLD_ROWS as usize {
        launch_once(MAIN);
    }
}

/// The same for readers that found so many page views that are in no span, or a span that cannot be read.
pub fn launch_for_spans(views: usize, has_damage: bool) {
    if has_damage {
        launch_once(MAIN_WITH_CHECK);
    } else if views >= VIEWS_FOR_SPANS {
        launch_once(MAIN);
    }
}

/// Starts a maintenance worker, unless one is running, or this process has just started one.
fn launch_once(main: &str) {
    // SAFETY: `RecoveryInProgress` reads a flag in the shared memory that every backend is attached to.
    let is_standby = || unsafe { pg_sys::RecoveryInProgress() };
    if requests::is_recent(&LAUNCHED, LAUNCH_INTERVAL) || is_standby() {
        return;
    }
    LAUNCHED.set(Some(Instant::now()));
    let Ok(page_views) = catalog::page_views() else { return };
    if lock(page_views).is_free() {
        // SAFETY: `MyDatabaseId` is an integer that this process sets when it connects, and never again.
        bgworker::launch(NAME, main, unsafe { pg_sys::MyDatabaseId }, 0);
    }
}

fn lock(page_views: pg_sys::Oid) -> Lock {
    Lock::new(Class::Maintenance, page_views, 0)
}

/// The process's entry point; the server calls it by its name.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn site_stats_maintenance_main(_argument: pg_sys::Datum) {
    run(Progress::default());
}

/// The entry point of a worker that first looks for damaged spans.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn site_stats_maintenance_check_main(_argument: pg_sys::Datum) {
    run(Progress::with_check());
}

fn run(spans: Progress) {
    bgworker::answer_signals();
    if !bgworker::connect() {
        return;
    }
    bgworker::report_activity(c"site_stats: maintenance");
    // The launcher waits for this process, and other databases wait for the launcher.
    bgworker::limit_lock_waits(settings::backfill_lock_timeout());
    if let Err(failure) = maintain(spans)
        && !bgworker::is_stopping()
        && !failure.is_contention()
        && !failure.is_cancellation()
        && in_transaction(|| Ok(catalog::is_installed())).unwrap_or(false)
    {
        log!("site_stats: maintenance failed: {}", failure.message);
    }
    bgworker::report_activity(c"");
}

fn maintain(spans: Progress) -> Result<(), Failure> {
    if !in_transaction(|| Ok(catalog::is_installed()))? {
        return Ok(());
    }
    let found = in_transaction(|| {
        let page_views = catalog::page_views()?;
        if !lock(page_views).try_acquire_for_process() {
            return Ok(None);
        }
        let unattended = as_owner(page_views, || requests::is_unattended(page_views))?;
        Ok(Some((page_views, unattended)))
    })?;
    // Another maintenance worker is at work.
    let Some((page_views, unattended)) = found else { return Ok(()) };
    let is_attended = !unattended || launch::launch();
    repeat(page_views, |connection| Ok(fold::fold_now(connection, page_views, FOLD_ROWS)?.is_more))?;
    repeat(page_views, |connection| {
        Ok(heartbeat::remove_stale(connection, STALE_SESSIONS)? == STALE_SESSIONS as usize)
    })?;
    in_transaction(|| step::in_backfill_context(page_views, |_| salts::erase_old()))?;
    let driven = turn::drive(
        spans,
        |progress| {
            bgworker::reload_settings();
            in_transaction(|| turn::take(page_views, progress))
        },
        || !bgworker::is_stopping(),
    );
    if !is_attended {
        // No worker slot is left for a backfill worker, so this process runs the backfill itself.
        worker::serve()?;
    }
    // A turn may have met a writer that does not end. That is no reason to leave the backfill undone.
    driven.map(|_| ())
}

/// Runs `work` in one transaction after another, until it returns that nothing is left to do.
fn repeat(
    page_views: pg_sys::Oid,
    work: impl Fn(&Connection) -> Result<bool, ErrorReport>,
) -> Result<(), Failure> {
    for _ in 0..TRANSACTIONS {
        bgworker::reload_settings();
        if bgworker::is_stopping() || !in_transaction(|| step::in_backfill_context(page_views, &work))? {
            break;
        }
    }
    Ok(())
}
