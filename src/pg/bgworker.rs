//! What every background process of ours is: how it is registered and told which database it is for, how it answers
//! signals, naps, and keeps its settings to itself.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorkerBuilder, DynamicBackgroundWorker};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

use crate::pg::version;

/// What a worker is told, as JSON in its registration. It takes nothing else from the process that launched it.
///
/// That process may have loaded the library of an older version, 0.1.0 on, and the worker loads the newest: so a field is
/// never taken away, and a new one has a default.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Assignment {
    /// The database: by number, since its name may change.
    database: u32,
}

/// Registers a process of a kind for a database: `name` is the type that `pg_stat_activity` shows, `main` the function that it
/// runs. It ends by itself and is never restarted; `watcher` is the process that will wait for that, 0 for none. None if the
/// server has no slot for it.
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

/// Answers signals from now on: the first thing that a process does. SIGINT stays with the server: lock timeouts arrive by
/// it.
pub fn answer_signals() {
    // SAFETY: the handlers set flags and a latch, and nothing else.
    unsafe {
        version::set_handler(pg_sys::SIGTERM as i32, Some(ask_to_stop));
        version::set_handler(pg_sys::SIGHUP as i32, Some(ask_to_reload));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Connects to the database that the process was launched for. False if it was launched by nobody of ours.
pub fn connect() -> bool {
    let Some(assignment) = assignment() else { return false };
    // SAFETY: once, before any transaction. As the bootstrap superuser, who may always connect; what is done is done as
    // the owner of the table.
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
    // SAFETY: the server keeps a copy of the registration for each worker; the text in it ends in NUL.
    let extra = unsafe { CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()) };
    serde_json::from_slice(extra.to_bytes()).ok()
}

/// Whether SIGTERM has come, or the postmaster is gone: a process that is never idle notices that nowhere else, and no new
/// server can start while it runs.
pub fn is_stopping() -> bool {
    STOP.load(Ordering::SeqCst) || is_orphan()
}

/// Whether the server that this process belongs to is no more.
pub fn is_orphan() -> bool {
    let events = pg_sys::WL_TIMEOUT | pg_sys::WL_POSTMASTER_DEATH;
    // SAFETY: waits for nothing and for no time, only to be told.
    let events =
        unsafe { pg_sys::WaitLatch(std::ptr::null_mut(), events as i32, 0, pg_sys::PG_WAIT_EXTENSION) };
    events as u32 & pg_sys::WL_POSTMASTER_DEATH != 0
}

/// Sleeps on the process's latch until something sets it, or for that long; without a time, until something does.
pub fn wait(time: Option<Duration>) {
    let timeout = if time.is_some() { pg_sys::WL_TIMEOUT } else { 0 };
    let events = pg_sys::WL_LATCH_SET | timeout | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1));
    // SAFETY: the latch of this process, which is reset before the next look at what it announces.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds as _, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}

/// Sleeps on the process's latch, and answers interrupts. Whatever else sets the latch does not cut it short.
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

/// Settings of the database or role must not change what the process sees or how long it lives: as autovacuum does. And one
/// that is better for others while this process works.
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
    // Pages that a full cache makes this process write must not pile up in the operating system, either: see `growth`. What the
    // server's configuration says goes before this.
    set(c"backend_flush_after", c"256kB", pg_sys::GucSource::PGC_S_DYNAMIC_DEFAULT);
}

fn set(name: &CStr, value: &CStr, source: pg_sys::GucSource::Type) {
    // SAFETY: NUL-terminated strings, which are copied.
    unsafe {
        pg_sys::SetConfigOption(name.as_ptr(), value.as_ptr(), pg_sys::GucContext::PGC_SUSET, source);
    }
}

/// Reads the configuration again if that was asked for.
pub fn reload_settings() {
    // SAFETY: a flag set by the signal handler, and the server's own way to answer it, outside any transaction.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// What `pg_stat_activity` shows as the query; empty for none.
pub fn report_activity(what: &CStr) {
    let state =
        if what.is_empty() { pg_sys::BackendState::STATE_IDLE } else { pg_sys::BackendState::STATE_RUNNING };
    // SAFETY: the text is copied.
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
