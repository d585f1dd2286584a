//! `CALL site_stats.backfill()`: the steps of the worker in the caller's session, with a commit after each.

use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, PgTryBuilder, ereport, pg_sys};

use crate::backfill::driver::{self, End, Runner};
use crate::backfill::requests::{self, Answer};
use crate::backfill::status::valid_batch_size;
use crate::backfill::step::{self, Step};
use crate::error;
use crate::pg::transaction::{self, Failure};
use crate::pg::{bgworker, catalog, fmgr, spi};

fmgr::sql_function!(backfill_wrapper, pg_finfo_backfill_wrapper, backfill);

/// Runs a backfill in this session: continues an unfinished run, or begins one. Notices report the progress.
///
/// # Errors
/// - 2D000: inside a transaction block or a function
/// - 22023: a batch size out of range
/// - 25006: on a standby
/// - 55006: another process runs a backfill
fn backfill(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the procedure is declared with this argument, an integer.
    let batch_size = unsafe { fmgr::argument(call, 0) }.map(|size| size.value() as i32);
    // SAFETY: this is the call being served.
    if !unsafe { fmgr::may_commit(call) } {
        return Err(error::in_transaction_block(
            "site_stats.backfill()",
            "It commits after each batch.",
            "CALL it by itself, or use site_stats.start_backfill(), which begins when the transaction commits.",
        ));
    }
    error::require_writable(c"site_stats.backfill()");
    let batch_size = valid_batch_size(batch_size)?;
    let page_views = catalog::page_views()?;
    requests::require_owner(page_views)?;
    let lock = requests::run_lock(page_views);
    if lock.is_held() || !lock.try_acquire_for_process() {
        return Err(error::already_running());
    }
    PgTryBuilder::new(|| spi::connect_nonatomic(|| run_steps_here(page_views, batch_size)))
        .finally(|| lock.release_from_process())
        .execute()?;
    Ok(pg_sys::Datum::from(0))
}

fn run_steps_here(page_views: pg_sys::Oid, batch_size: Option<i32>) -> Result<(), ErrorReport> {
    spi::commit();
    let answer = transaction::in_subtransaction(|| {
        // This process holds the run lock, so a run whose status is `running` was interrupted.
        spi::connect_as_owner(page_views, |connection| {
            requests::request_start(connection, page_views, batch_size)
        })
    })
    .unwrap_or_else(Failure::raise);
    spi::commit();
    if answer == Answer::NothingToDo {
        notice("no page views to backfill");
        return Ok(());
    }
    match driver::drive(&mut Procedure { page_views }) {
        Ok(End::Stopping) => Err(error::server_gone()),
        Ok(End::Done | End::Updated) => Ok(()),
        Err(failure) => failure.raise(),
    }
}

/// A run in the caller's session. Notices report its progress.
struct Procedure {
    page_views: pg_sys::Oid,
}

impl Runner for Procedure {
    fn step(&mut self, is_first: bool) -> Result<Option<Step>, Failure> {
        let step = transaction::in_subtransaction(|| {
            step::in_backfill_context(self.page_views, |connection| {
                step::take(connection, self.page_views, is_first)
            })
        });
        spi::commit();
        step.map(Some)
    }

    fn is_stopping(&self) -> bool {
        bgworker::is_orphan()
    }

    fn say(&mut self, message: &str) {
        notice(message);
    }

    fn gave_way(&mut self, failure: &Failure, _waits: u32, is_due: bool) {
        if is_due {
            notice(&format!("backfill waits: {}", failure.message));
        }
    }

    /// Gives up at once, since the caller sees the error.
    fn gives_up(&mut self, _failure: &Failure, _failures: u32) -> bool {
        true
    }

    fn nap(&mut self, time: Duration) {
        bgworker::nap(time);
    }
}

fn notice(message: &str) {
    ereport!(PgLogLevel::NOTICE, PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message.to_owned());
}
