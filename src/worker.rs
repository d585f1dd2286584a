//! The life of the background process. It adds nothing but time: every turn is `backfill::turn`.
//!
//! It is registered when it is needed and never restarted by the postmaster; a run that it leaves unfinished is taken up
//! by the next call of any function that notices. It exits with 0 when there is nothing to do, when it is asked to
//! (SIGTERM), and when the extension is gone, so nothing of it ever loops in the server's log.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::{PgSqlErrorCode, log, pg_guard, pg_sys};
use serde::{Deserialize, Serialize};

use crate::backfill::{self, REPORT_INTERVAL, Turn};
use crate::locks::Mode;
use crate::transaction::{Failure, catch, in_transaction};
use crate::{requests, state};

/// What `pg_stat_activity` shows as the type of the process.
const NAME: &str = "site_stats backfill";

/// Failures in a row after which the run is given up until somebody starts it again.
const MAX_FAILURES: u32 = 5;

/// How long a new worker waits for another process to let go of the run.
const HANDOVER: Duration = Duration::from_secs(10);

/// What a worker is told. It takes nothing else from whoever launched it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Assignment {
    /// The database: by number, since its name may change.
    database: u32,
}

/// Registers a worker for this database. It looks for work when the calling transaction has ended. False if the server has
/// no slot for it.
pub fn launch() -> bool {
    // SAFETY: a plain number of this process.
    let assignment = Assignment { database: unsafe { pg_sys::MyDatabaseId }.to_u32() };
    let Ok(assignment) = serde_json::to_string(&assignment) else { return false };
    BackgroundWorkerBuilder::new(NAME)
        .set_library("site_stats")
        .set_function("site_stats_backfill_main")
        .enable_spi_access()
        .set_extra(&assignment)
        .set_restart_time(None)
        .load_dynamic()
        .is_ok()
}

/// Sleeps on the process's latch, and answers interrupts. Whatever else sets the latch does not cut it short.
pub fn nap(time: Duration) {
    let end = Instant::now() + time;
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let milliseconds = i64::try_from(left.as_millis()).unwrap_or(i64::MAX).max(1);
        // SAFETY: the latch of this process, which is reset before the next look at what it announces.
        unsafe {
            pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds as _, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        pgrx::check_for_interrupts!();
    }
}

/// How long to stay away after giving way for the `waits`th time in a row: longer each time, and not the same for all.
pub fn backoff(waits: u32) -> Duration {
    let longest = 50u64 << waits.min(5);
    // SAFETY: a plain number of this process.
    let process = unsafe { pg_sys::MyProcPid }.unsigned_abs();
    Duration::from_millis(
        longest / 2 + u64::from(process.wrapping_mul(2_654_435_761).wrapping_add(waits)) % longest,
    )
}

/// Set by SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

/// SIGTERM: ends any wait, for a lock too, with an error that undoes the turn; the loop then sees `STOP` and returns. The
/// server's own handler for workers would throw the error from inside the signal handler.
extern "C-unwind" fn ask_to_stop(_signal: i32) {
    STOP.store(true, Ordering::SeqCst);
    // SAFETY: what the server's own handlers do: flags, and the latch of this process.
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// SIGHUP: the configuration is read again before the next turn.
extern "C-unwind" fn ask_to_reload(_signal: i32) {
    // SAFETY: as above.
    unsafe {
        pg_sys::ConfigReloadPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// The process's entry point; the server calls it by its name.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn site_stats_backfill_main(_argument: pg_sys::Datum) {
    // SAFETY: the first thing that the process does. SIGINT stays with the server: lock timeouts arrive by it.
    unsafe {
        set_handler(pg_sys::SIGTERM as i32, Some(ask_to_stop));
        set_handler(pg_sys::SIGHUP as i32, Some(ask_to_reload));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
    let Some(assignment) = assignment() else { return };
    // SAFETY: once, before any transaction. As the bootstrap superuser, who may always connect; each turn runs as the
    // owner of the table.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            pg_sys::Oid::from(assignment.database),
            pg_sys::InvalidOid,
            0,
        );
    }
    pin_settings();
    if let Err(failure) = serve()
        && !STOP.load(Ordering::SeqCst)
    {
        log!("site_stats: backfill ended: {}", failure.message);
    }
    report_activity(c"");
}

/// Takes the run lock if there is anything to do, and takes turns until there is not.
fn serve() -> Result<(), Failure> {
    // Whoever launched this process may not have committed yet.
    loop {
        let page_views = match in_transaction(|| {
            let page_views = state::page_views()?;
            wait_for_requests(page_views);
            Ok(page_views)
        }) {
            Ok(page_views) => page_views,
            Err(failure) if is_gone(&failure) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if !take_run(page_views)? {
            return Ok(());
        }
        let result = run(page_views);
        in_transaction(|| {
            requests::run_lock(page_views).release_from_process();
            Ok(())
        })?;
        result?;
        // A request that came while this run was ending.
        if STOP.load(Ordering::SeqCst) || !in_transaction(requests::is_requested).unwrap_or(false) {
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
        if began.elapsed() >= HANDOVER || !in_transaction(requests::is_requested)? {
            return Ok(false);
        }
        catch(|| {
            nap(Duration::from_millis(50));
            Ok(())
        })?;
    }
}

/// Turn after turn, until the run is finished, stopped, or given up.
fn run(page_views: pg_sys::Oid) -> Result<(), Failure> {
    let (mut first, mut waits, mut failures) = (true, 0, 0);
    let mut reported = Instant::now();
    let mut activity = c"site_stats: backfill".to_owned();
    loop {
        if STOP.load(Ordering::SeqCst) {
            return Ok(());
        }
        reload_settings();
        report_activity(&activity);
        let pause = match in_transaction(|| backfill::turn(page_views, first)) {
            Ok(turn) => {
                (first, waits, failures) = (false, 0, 0);
                match turn {
                    Turn::Began { target } => {
                        log!("site_stats: backfill of the page views up to id {target} started")
                    }
                    Turn::Resumed { interrupted: true } => {
                        log!("site_stats: backfill resumed after an interruption")
                    }
                    Turn::Resumed { interrupted: false } => log!("site_stats: backfill resumed"),
                    Turn::Counted { views_done, views_total } => {
                        let progress =
                            format!("site_stats: backfill, {views_done} of {views_total} page views");
                        activity = CString::new(progress).unwrap_or_default();
                        if reported.elapsed() >= REPORT_INTERVAL {
                            reported = Instant::now();
                            log!("site_stats: backfill has counted {views_done} of {views_total} page views");
                        }
                    }
                    Turn::Cleared => {}
                    Turn::Finished { views } => {
                        log!("site_stats: backfill of {views} page views complete");
                    }
                    Turn::Stopped => log!("site_stats: backfill stopped"),
                    Turn::Idle => return Ok(()),
                }
                crate::settings::backfill_batch_delay()
            }
            Err(_) if STOP.load(Ordering::SeqCst) => return Ok(()),
            Err(failure) if is_gone(&failure) => return Ok(()),
            Err(failure) if failure.is_contention() => {
                waits += 1;
                if waits == 2 || waits % 8 == 0 {
                    note(page_views, &format!("waits for a writer: {}", failure.message), false);
                }
                backoff(waits)
            }
            Err(failure) => {
                failures += 1;
                let given_up = failures >= MAX_FAILURES;
                log!("site_stats: a backfill batch failed: {}", failure.message);
                note(page_views, &failure.message, given_up && !failure.is_cancellation());
                if given_up {
                    log!("site_stats: backfill given up after {failures} failures in a row");
                    return Ok(());
                }
                backoff(failures + 3)
            }
        };
        if !pause.is_zero() {
            // A cancellation, or SIGTERM, ends the pause.
            let _ = catch(|| {
                nap(pause);
                Ok(())
            });
        }
    }
}

/// # Safety
/// The handler must do no more than a signal handler may.
unsafe fn set_handler(signal: i32, handler: pg_sys::pqsigfunc) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as the caller vouches.
    unsafe {
        pg_sys::pqsignal(signal, handler);
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller vouches.
    unsafe {
        pg_sys::pqsignal_be(signal, handler);
    }
}

/// Whether the extension has been dropped.
fn is_gone(failure: &Failure) -> bool {
    matches!(
        failure.code,
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            | PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE
            | PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME
    )
}

/// Leaves word in the state row, if that can be written.
fn note(page_views: pg_sys::Oid, message: &str, given_up: bool) {
    if let Err(failure) = in_transaction(|| backfill::note_failure(page_views, message, given_up)) {
        log!("site_stats: could not note a failure of the backfill: {}", failure.message);
    }
}

fn assignment() -> Option<Assignment> {
    // SAFETY: the server keeps a copy of the registration for each worker; the text in it ends in NUL.
    let extra = unsafe { CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()) };
    serde_json::from_slice(extra.to_bytes()).ok()
}

/// Settings of the database or role must not change what the worker sees or how long it lives: as autovacuum does.
fn pin_settings() {
    let fixed = [
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_deferrable", c"off"),
        (c"statement_timeout", c"0"),
        (c"lock_timeout", c"0"),
        (c"idle_in_transaction_session_timeout", c"0"),
        (c"session_replication_role", c"origin"),
        (c"row_security", c"off"),
        (c"synchronous_commit", c"off"),
        (c"application_name", c"site_stats"),
    ];
    for (name, value) in fixed {
        // SAFETY: NUL-terminated strings, which are copied.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
}

fn reload_settings() {
    // SAFETY: a flag set by the signal handler, and the server's own way to answer it, outside any transaction.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

fn report_activity(what: &CStr) {
    let state =
        if what.is_empty() { pg_sys::BackendState::STATE_IDLE } else { pg_sys::BackendState::STATE_RUNNING };
    // SAFETY: the text is copied.
    unsafe { pg_sys::pgstat_report_activity(state, what.as_ptr()) };
}
