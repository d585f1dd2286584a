//! With `shared_preload_libraries = 'site_stats'`, a process that sends one of its own into each database in turn, which does
//! there what nobody has asked for but somebody would have to (see `maintenance`): as soon as the server accepts writes, after
//! a start, a crash or a promotion, and once in `site_stats.maintenance_interval` since.
//!
//! It is connected to no database, so it keeps none from being dropped or renamed, and reads the shared list of them. The
//! postmaster starts it when recovery has ended, so it never runs on a standby, and starts it again if it dies.

use std::time::{Duration, Instant};

use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::{PgMemoryContexts, log, pg_guard, pg_sys};

use crate::maintenance::worker::{self, Outcome};
use crate::pg::bgworker;
use crate::pg::transaction::{Failure, catch, in_transaction};
use crate::settings;

/// What `pg_stat_activity` shows as the type of the process.
const NAME: &str = "site_stats launcher";

/// How soon the postmaster starts it again if it dies.
const RESTART: Duration = Duration::from_secs(5);

/// How soon a round is tried again that found no slot for a process, if not sooner.
const RETRY: Duration = Duration::from_secs(10);

/// A database that is being dropped, or whose creation has failed (`DATCONNLIMIT_INVALID_DB`).
const INVALID: i32 = -2;

/// Registers the launcher, if this is the postmaster that loads its libraries, and not one that pg_upgrade has started to
/// carry the databases over as they are.
pub fn register() {
    // SAFETY: flags of this process.
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
    // SAFETY: once, before any transaction. To no database, and so as nobody: what it reads is shared by all.
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
    // 0 would mean that it is not to be started again, which is not for whoever terminates it to decide.
    // SAFETY: ends the process in the server's way.
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
    // The server's handle of the worker lives in this memory.
    let mut memory = PgMemoryContexts::new("site_stats maintenance");
    // SAFETY: nothing that is allocated in the context outlives it.
    unsafe { memory.switch_to(|_| catch(|| Ok(worker::run_in(database)))) }
}

/// Until the next round is due by the settings of then, or the process is asked to stop.
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
        // A cancellation has nothing to cancel here.
        let _ = catch(|| {
            pgrx::check_for_interrupts!();
            Ok(())
        });
    }
}

/// The databases that can be connected to. A template is none of them: it is to be copied, which a connection forbids.
fn databases() -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: the table is open from here to `table_close`, and each tuple is read before the scan moves on. An error in
    // between aborts the transaction, which closes both.
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
