//! What is done in one database by a process that is there for that time only: an unfinished backfill goes on, idle slots are
//! folded, and stale sessions are removed. The launcher sends it on a schedule; without one, a reader sends it who has met
//! many rows in other slots than 0.
//!
//! It waits for nobody: what is in use now is left for the next time.

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
use crate::record::heartbeat;

/// What `pg_stat_activity` shows as the type of the process.
const NAME: &str = "site_stats maintenance";
const MAIN: &str = "site_stats_maintenance_main";

/// For how long a process sends no other one after it has sent one.
const LAUNCH_INTERVAL: Duration = Duration::from_secs(60);

/// Stale sessions that one transaction removes, and transactions of each kind at most.
const STALE_SESSIONS: i32 = 500;
const TURNS: u32 = 200;

/// What became of a maintenance worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has run and ended.
    Ended,
    /// The server has no worker slot for it.
    NoSlot,
}

/// Runs a maintenance worker in a database and waits until it has ended. For the launcher.
pub fn run_in(database: pg_sys::Oid) -> Outcome {
    // SAFETY: a plain number of this process.
    let launcher = unsafe { pg_sys::MyProcPid };
    match bgworker::launch(NAME, MAIN, database, launcher) {
        None => Outcome::NoSlot,
        Some(worker) => {
            // Only the end of the server keeps it from ending, and that ends the launcher.
            let _ = worker.wait_for_shutdown();
            Outcome::Ended
        }
    }
}

thread_local! {
    /// When this process sent one last.
    static LAUNCHED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// For who reads and has met so many rows in other slots than 0: if there is a transaction's work or more for folding, sends a
/// process, unless one is there. Never fails, and waits for nothing.
pub fn launch_if_due(rows: usize) {
    // SAFETY: reads the state of the server.
    let is_standby = || unsafe { pg_sys::RecoveryInProgress() };
    if rows < FOLD_ROWS as usize || requests::is_recent(&LAUNCHED, LAUNCH_INTERVAL) || is_standby() {
        return;
    }
    LAUNCHED.set(Some(Instant::now()));
    let Ok(page_views) = catalog::page_views() else { return };
    if lock(page_views).is_free() {
        // SAFETY: a plain number of this process.
        bgworker::launch(NAME, MAIN, unsafe { pg_sys::MyDatabaseId }, 0);
    }
}

fn lock(page_views: pg_sys::Oid) -> Lock {
    Lock::new(Class::Maintenance, page_views, 0)
}

/// The process's entry point; the server calls it by its name.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn site_stats_maintenance_main(_argument: pg_sys::Datum) {
    bgworker::answer_signals();
    if !bgworker::connect() {
        return;
    }
    bgworker::report_activity(c"site_stats: maintenance");
    if let Err(failure) = maintain()
        && !bgworker::is_stopping()
        && !failure.is_contention()
        && !failure.is_cancellation()
        && !worker::is_gone(&failure)
    {
        log!("site_stats: maintenance failed: {}", failure.message);
    }
    bgworker::report_activity(c"");
}

fn maintain() -> Result<(), Failure> {
    if !in_transaction(|| Ok(is_installed()))? {
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
    // Another one is at it.
    let Some((page_views, unattended)) = found else { return Ok(()) };
    let is_attended = !unattended || launch::launch();
    repeat(page_views, |connection| Ok(fold::fold_now(connection, page_views, FOLD_ROWS)?.is_more))?;
    repeat(page_views, |connection| {
        Ok(heartbeat::remove_stale(connection, STALE_SESSIONS)? == STALE_SESSIONS as usize)
    })?;
    if !is_attended {
        // This process has the last slot that there is.
        worker::serve()?;
    }
    Ok(())
}

/// A transaction after another, until one says that nothing is left to do.
fn repeat(
    page_views: pg_sys::Oid,
    work: impl Fn(&Connection) -> Result<bool, ErrorReport>,
) -> Result<(), Failure> {
    for _ in 0..TURNS {
        bgworker::reload_settings();
        if bgworker::is_stopping() || !in_transaction(|| step::in_backfill_context(page_views, &work))? {
            break;
        }
    }
    Ok(())
}

fn is_installed() -> bool {
    // SAFETY: a look-up of a NUL-terminated name in a transaction.
    unsafe { pg_sys::get_extension_oid(c"site_stats".as_ptr(), true) != pg_sys::InvalidOid }
}
