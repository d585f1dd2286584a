//! The launcher. With `shared_preload_libraries = 'site_stats'` it runs a maintenance worker in each database
//! in turn.
//!
//! The first round begins as soon as the server accepts writes: after a start, a crash or a promotion.
//! Further rounds follow after each `site_stats.maintenance_interval`. The postmaster starts the launcher
//! when recovery has ended, so it never runs on a standby. The postmaster restarts it if it dies.
//!
//! The launcher connects to no database, so it is never in the way of a DROP or RENAME of one. It reads the
//! list of databases in the shared catalog `pg_database`.

use std::time::{Duration, Instant};

use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::{PgMemoryContexts, log, pg_guard, pg_sys};

use crate::maintenance::worker::{self, Outcome};
use crate::pg::bgworker;
use crate::pg::transaction::{Failure, catch, in_transaction};
use crate::settings;

/// The `backend_type` in `pg_stat_activity`.
const NAME: &str = "site_stats launcher";

/// How soon the postmaster restarts the launcher if it dies.
const RESTART: Duration = Duration::from_secs(5);

/// The longest time until the next round, after a round that found no worker slot.
const RETRY: Duration = Duration::from_secs(10);

/// A database that is being dropped, or whose creation has failed (`DATCONNLIMIT_INVALID_DB`).
const INVALID: i32 = -2;

/// Registers the launcher, if the postmaster is loading its libraries. Under pg_upgrade there is no launcher,
/// since the databases are to be carried over as they are.
pub fn register() {
    // SAFETY: both are booleans of this process, which are set before the library is loaded.
    if unsafe { !pg_sys::process_shared_preload_libraries_in_progress || pg_sys::IsBinaryUpgrade } {
        return;
    }
    BackgroundWorkerBuilder::new(NAME)
        .set_library("site_stats")
        .set_function("site_stats_launcher_main")
        .enable_spi_access()
        .set_restart_time(Some(RESTART))
        .load();
}

/// The process's entry point; the server calls it by its name.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn site_stats_launcher_main(_argument: pg_sys::Datum) {
    bgworker::answer_signals();
    // SAFETY: called once, before any transaction. The launcher needs no database and no role: what it reads
    // is shared.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    bgworker::pin_settings();
    log!("site_stats: launcher started");
    let mut waits_for_slot = false;
    while !bgworker::is_stopping() {
        let began = Instant::now();
        let result = round();
        match &result {
            Ok(Outcome::Ended) => {
                if waits_for_slot {
                    log!("site_stats: maintenance goes on");
                }
            }
            Ok(Outcome::NoSlot) => {
                if !waits_for_slot {
                    log!(
                        "site_stats: maintenance waits for a background worker: all of max_worker_processes are in use"
                    );
                }
            }
            Err(failure) if bgworker::is_stopping() || failure.is_cancellation() => {}
            Err(failure) => log!("site_stats: a round of maintenance failed: {}", failure.message),
        }
        waits_for_slot = matches!(result, Ok(Outcome::NoSlot));
        rest(began, waits_for_slot);
    }
    // After an exit with 0, even by SIGTERM, the postmaster would never restart the launcher.
    // SAFETY: `proc_exit` runs the server's exit callbacks, and does not return.
    unsafe { pg_sys::proc_exit(1) };
}

/// Runs a maintenance worker in every database, one after the other.
fn round() -> Result<Outcome, Failure> {
    bgworker::report_activity(c"site_stats: maintenance");
    for database in in_transaction(|| Ok(databases()))? {
        if let Outcome::NoSlot = run_worker(database)? {
            return Ok(Outcome::NoSlot);
        }
        if bgworker::is_stopping() {
            break;
        }
    }
    bgworker::report_activity(c"");
    Ok(Outcome::Ended)
}

/// Runs a maintenance worker in one database, and waits until it has ended.
fn run_worker(database: pg_sys::Oid) -> Result<Outcome, Failure> {
    // The server allocates its handle of the worker in this memory context.
    let mut memory = PgMemoryContexts::new("site_stats maintenance");
    // SAFETY: `run_in` drops the handle before it returns, so nothing in the context outlives it.
    unsafe { memory.switch_to(|_| catch(|| Ok(worker::run_in(database)))) }
}

/// Sleeps until the next round is due by the current settings, or the process is asked to stop. After a round
/// that found no worker slot, `soon` is true.
fn rest(began: Instant, soon: bool) {
    loop {
        bgworker::reload_settings();
        let interval = match settings::maintenance_interval() {
            interval if soon => Some(interval.map_or(RETRY, |interval| interval.min(RETRY))),
            interval => interval,
        };
        let left = interval.map(|interval| interval.saturating_sub(began.elapsed()));
        if bgworker::is_stopping() || left.is_some_and(|left| left.is_zero()) {
            return;
        }
        bgworker::wait(left);
        // There is nothing to cancel here, so a cancellation is ignored.
        let _ = catch(|| {
            pgrx::check_for_interrupts!();
            Ok(())
        });
    }
}

/// The databases that accept connections, without templates: a connection would keep a template from being
/// copied.
fn databases() -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: the table is open from here to `table_close`, and each tuple is read before the scan moves on.
    // An error aborts the transaction, which closes table and scan.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let database = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            if database.datallowconn && !database.datistemplate && database.datconnlimit != INVALID {
                found.push(database.oid);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}
