//! Waiting for a backfill.
//!
//! The function is one statement, whose snapshot keeps old versions of the counters alive: the longer it waits, the slower the
//! backfill becomes. The procedure holds no snapshot while it waits.

use std::time::{Duration, Instant};

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{FromDatum, pg_extern, pg_sys};

use crate::backfill::requests::{self, Look};
use crate::backfill::status::{Action, Status};
use crate::error;
use crate::pg::spi::{SnapshotKind, Statement};
use crate::pg::transaction::OWN_NAMES;
use crate::pg::{bgworker, catalog, datum, fmgr, spi, transaction};

/// How often a waiting session looks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

static LAST_ERROR: Statement = Statement::new("SELECT s.last_error FROM site_stats.backfill_state AS s", &[]);

/// Waits until the backfill is complete. Returns true then, and also if there is none. Returns false if the
/// backfill stopped or failed, or if the timeout passed first.
///
/// # Errors
/// - 22004: NULL
/// - 22023: a negative timeout
/// - 25001: the same transaction requested the backfill
#[pg_extern(sql = false)]
fn wait_for_backfill(timeout: Option<Interval>) -> Result<bool, ErrorReport> {
    let timeout = positive(timeout)?;
    let page_views = catalog::page_views()?;
    if requests::request_lock(page_views).is_held() {
        return Err(error::uncommitted_request());
    }
    let began = Instant::now();
    loop {
        match result(page_views)? {
            Some(status) => return Ok(!status.is_unfinished()),
            None if began.elapsed() >= timeout => return Ok(false),
            None => bgworker::nap(POLL_INTERVAL.min(timeout.saturating_sub(began.elapsed()))),
        }
    }
}

fmgr::sql_function!(await_backfill_wrapper, pg_finfo_await_backfill_wrapper, await_backfill);

/// Waits until the backfill is complete, or if there is none. For scripts: it is an error if the backfill is not complete.
///
/// # Errors
/// - 2D000: inside a transaction block or a function
/// - 22004: NULL
/// - 22023: a negative timeout
/// - 55000: the backfill stopped or failed
/// - 57014: the timeout passed first
fn await_backfill(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the procedure is declared with this argument, an interval.
    let timeout = unsafe { fmgr::argument(call, 0).and_then(|timeout| Interval::from_datum(timeout, false)) };
    // SAFETY: this is the call being served.
    if !unsafe { fmgr::may_commit(call) } {
        return Err(error::in_transaction_block(
            "site_stats.await_backfill()",
            "It commits, so that it holds no snapshot while it waits.",
            "CALL it by itself, or use site_stats.wait_for_backfill().",
        ));
    }
    let timeout = positive(timeout)?;
    let page_views = catalog::page_views()?;
    spi::connect_nonatomic(|| {
        let began = Instant::now();
        loop {
            match as_owner(|| result(page_views))? {
                Some(status) if status.is_unfinished() => {
                    let why = as_owner(last_error)?;
                    return Err(error::not_completed(status.word(), (!why.is_empty()).then_some(&*why)));
                }
                Some(_) => return Ok(()),
                None if began.elapsed() >= timeout => return Err(error::waited_too_long()),
                None => {}
            }
            // Without a transaction that has a snapshot.
            spi::commit();
            bgworker::nap(POLL_INTERVAL.min(timeout.saturating_sub(began.elapsed())));
        }
    })?;
    Ok(pg_sys::Datum::from(0))
}

/// Runs `work` as the functions run that are SECURITY DEFINER: a procedure that commits cannot be one.
fn as_owner<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, ErrorReport> {
    transaction::as_owner(catalog::table(c"backfill_state")?, || {
        transaction::with_settings(&[OWN_NAMES], work)
    })
}

/// Why the run has stopped, empty if that is not known.
fn last_error() -> Result<String, ErrorReport> {
    spi::connect(|connection| {
        let found = LAST_ERROR.run(connection, SnapshotKind::Latest, &[])?;
        Ok(found.text(0, 1).map(datum::utf8_from_text).unwrap_or_default())
    })
}

/// The status in which there is nothing to wait for; `None` as long as there is.
fn result(page_views: pg_sys::Oid) -> Result<Option<Status>, ErrorReport> {
    let Look { status, requested, .. } = spi::connect(requests::look)?;
    let is_over = match status {
        _ if requested == Some(Action::Start) => false,
        Status::Running => false,
        // The process of the run must have released the run lock first, so that the caller can begin another run.
        Status::Idle | Status::Complete => requests::run_lock(page_views).is_free(),
        Status::Stopped | Status::Failed => true,
    };
    if !is_over {
        requests::resume_if_interrupted();
    }
    Ok(is_over.then_some(status))
}

/// A timeout as a duration.
fn positive(timeout: Option<Interval>) -> Result<Duration, ErrorReport> {
    let hint = "Pass an interval, such as '1 hour'.";
    let timeout = timeout.ok_or_else(|| error::null_argument("timeout", hint))?;
    let timeout = u64::try_from(timeout.as_micros().min(i128::from(i64::MAX)))
        .map_err(|_| error::negative_argument("timeout", hint))?;
    Ok(Duration::from_micros(timeout))
}
