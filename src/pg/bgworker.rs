//! What all background processes of site_stats share: registration, the database they work in, signals, naps,
//! settings.
//!
//! Invariant: no setting of a database or role changes what such a process sees, or how long it lives.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorkerBuilder, DynamicBackgroundWorker};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

use crate::pg::version;

/// What a worker is told, as JSON in its registration. It gets nothing else from the process that registered
/// it.
///
/// That process may have loaded an older library, from 0.1.0 on, and the worker loads the newest. So no field
/// is ever removed, and each new field has a default.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Assignment {
    /// The oid of the database, since its name may change.
    database: u32,
}

/// Registers a background process for a database. `None` if the server has no free worker slot.
///
/// `name` is its type in `pg_stat_activity`, and `main` the function that it runs. It is never restarted.
/// `watcher` is the pid of the process that waits for its end, 0 for none.
pub fn launch(
    name: &str,
    main: &str,
    database: pg_sys::Oid,
    watcher: i32,
) -> Option<DynamicBackgroundWorker> {
    let assignment = serde_json::to_string(&Assignment { database: database.to_u32() }).ok()?;
    BackgroundWorkerBuilder::new(name)
        .set_library("site_stats")
        .set_function(main)
        .enable_spi_access()
        .set_extra(&assignment)
        .set_restart_time(None)
        .set_notify_pid(watcher)
        .load_dynamic()
        .ok()
}

/// Installs the handlers of SIGTERM and SIGHUP, as the first thing in a process. SIGINT keeps the server's
/// handler: lock timeouts arrive as SIGINT.
pub fn answer_signals() {
    // SAFETY: the handlers only set flags and a latch, which a signal handler may do.
    unsafe {
        version::set_handler(pg_sys::SIGTERM as i32, Some(ask_to_stop));
        version::set_handler(pg_sys::SIGHUP as i32, Some(ask_to_reload));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Connects to the database in the process's registration. False if the registration is not one of
/// site_stats.
pub fn connect() -> bool {
    let Some(assignment) = assignment() else { return false };
    // SAFETY: called once, before any transaction. The bootstrap superuser may always connect; the work
    // itself is done as the owner of the table.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            pg_sys::Oid::from(assignment.database),
            pg_sys::InvalidOid,
            0,
        );
    }
    pin_settings();
    true
}

fn assignment() -> Option<Assignment> {
    // SAFETY: each worker has the server's copy of its registration; the text in it ends in NUL.
    let extra = unsafe { CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()) };
    serde_json::from_slice(extra.to_bytes()).ok()
}

/// Whether SIGTERM has arrived, or the postmaster is gone. A process that is never idle notices the second
/// nowhere else, and no new server can start while it runs.
pub fn is_stopping() -> bool {
    STOP.load(Ordering::SeqCst) || is_orphan()
}

/// Whether the postmaster of this process is gone.
pub fn is_orphan() -> bool {
    let events = pg_sys::WL_TIMEOUT | pg_sys::WL_POSTMASTER_DEATH;
    // SAFETY: no latch is given, and the timeout is 0, so the call only reports the postmaster's death.
    let events =
        unsafe { pg_sys::WaitLatch(std::ptr::null_mut(), events as i32, 0, pg_sys::PG_WAIT_EXTENSION) };
    events as u32 & pg_sys::WL_POSTMASTER_DEATH != 0
}

/// Sleeps until the process's latch is set, or until `time` is over. `None` is no limit.
pub fn wait(time: Option<Duration>) {
    let timeout = if time.is_some() { pg_sys::WL_TIMEOUT } else { 0 };
    let events = pg_sys::WL_LATCH_SET | timeout | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1));
    // SAFETY: the latch belongs to this process. It is reset before the caller looks at what it announces.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds as _, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}

/// Sleeps for `time`, and answers interrupts. Setting the latch does not shorten the sleep.
pub fn nap(time: Duration) {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        wait(Some(left));
        pgrx::check_for_interrupts!();
    }
}

/// How long to pause after yielding for the `waits`th time in a row. The pause grows, and differs between
/// processes.
pub fn backoff(waits: u32) -> Duration {
    let longest = 50u64 << waits.min(5);
    // SAFETY: a global integer of this process.
    let process = unsafe { pg_sys::MyProcPid }.unsigned_abs();
    Duration::from_millis(
        longest / 2 + u64::from(process.wrapping_mul(2_654_435_761).wrapping_add(waits)) % longest,
    )
}

/// Set by SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

/// SIGTERM: ends any wait, also for a lock, with an error that undoes the step. The loop then sees `STOP` and
/// returns. The server's own handler for workers would raise the error inside the signal handler.
extern "C-unwind" fn ask_to_stop(_signal: i32) {
    STOP.store(true, Ordering::SeqCst);
    // SAFETY: sets flags and the latch of this process, as the server's own handlers do.
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// SIGHUP: the configuration is read again before the next step.
extern "C-unwind" fn ask_to_reload(_signal: i32) {
    // SAFETY: sets a flag and the latch of this process, as the server's own handlers do.
    unsafe {
        pg_sys::ConfigReloadPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Fixes the settings of which a database or role could change what the process sees, or how long it lives.
/// Autovacuum does the same. One more setting is for the sake of other processes.
pub fn pin_settings() {
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
    for (name, value) in fixed.iter().chain(version::TIMEOUTS) {
        set(name, value, pg_sys::GucSource::PGC_S_OVERRIDE);
    }
    // This process writes dirty blocks of a full buffer cache. They must not pile up in the operating system,
    // either: see `writeback`. A value in the server's configuration takes precedence.
    set(c"backend_flush_after", c"256kB", pg_sys::GucSource::PGC_S_DYNAMIC_DEFAULT);
}

/// Sets the longest time that this process waits for a lock.
pub fn limit_lock_waits(time: Duration) {
    let milliseconds = CString::new(time.as_millis().to_string()).unwrap_or_default();
    set(c"lock_timeout", &milliseconds, pg_sys::GucSource::PGC_S_OVERRIDE);
}

fn set(name: &CStr, value: &CStr, source: pg_sys::GucSource::Type) {
    // SAFETY: both strings end in NUL, and the server copies them.
    unsafe {
        pg_sys::SetConfigOption(name.as_ptr(), value.as_ptr(), pg_sys::GucContext::PGC_SUSET, source);
    }
}

/// Reads the configuration again if SIGHUP asked for it.
pub fn reload_settings() {
    // SAFETY: the signal handler has set the flag. The callers are outside a transaction, as
    // `ProcessConfigFile` needs.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Sets the query that `pg_stat_activity` shows; empty for none.
pub fn report_activity(what: &CStr) {
    let state =
        if what.is_empty() { pg_sys::BackendState::STATE_IDLE } else { pg_sys::BackendState::STATE_RUNNING };
    // SAFETY: the text ends in NUL, and the server copies it.
    unsafe { pg_sys::pgstat_report_activity(state, what.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_by_an_older_or_newer_library_is_understood() {
        let assignment = Assignment { database: 16_384 };
        // As version 0.1.0 writes it, and as a later version may.
        for text in [r#"{"database":16384}"#, r#"{"database":16384,"more":[1]}"#] {
            assert_eq!(serde_json::from_str::<Assignment>(text).ok(), Some(Assignment { database: 16_384 }));
        }
        assert_eq!(serde_json::to_string(&assignment).ok().as_deref(), Some(r#"{"database":16384}"#));
    }
}
