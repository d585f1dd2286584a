//! `CALL site_stats.write_spans()`: the turns of the maintenance worker in the caller's session, with a commit after each.

use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::backfill::requests;
use crate::error;
use crate::pg::transaction::{self, Failure};
use crate::pg::{bgworker, catalog, fmgr, spi};
use crate::span::turn::{self, Progress, Turn};

/// How often a turn is tried again that another transaction is in the way of, and how long it lets that pass in between.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

fmgr::sql_function!(write_spans_wrapper, pg_finfo_write_spans_wrapper, write_spans);

/// Puts all page views into spans.
///
/// # Errors
/// - 2D000: inside a transaction block or a function
/// - 25006: on a standby
/// - 42501: if the tables have several owners, as for a backfill
/// - 55P03: a writer that began before does not end
fn write_spans(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: this is the call being served.
    if !unsafe { fmgr::may_commit(call) } {
        return Err(error::in_transaction_block(
            "site_stats.write_spans()",
            "It commits after each part.",
            "CALL it by itself; the maintenance worker does the same.",
        ));
    }
    error::require_writable(c"site_stats.write_spans()");
    let page_views = catalog::page_views()?;
    requests::require_owner(page_views)?;
    spi::connect_nonatomic(|| {
        spi::commit();
        let last = turn::drive(
            Progress::with_check(),
            |progress| take_patiently(page_views, progress),
            || !bgworker::is_orphan(),
        );
        match last.unwrap_or_else(Failure::raise) {
            Turn::Busy => Err(error::spans_in_use()),
            _ => Ok(()),
        }
    })?;
    Ok(pg_sys::Datum::from(0))
}

/// Takes a turn, and tries again while others are in the way.
fn take_patiently(page_views: pg_sys::Oid, progress: &mut Progress) -> Result<Turn, Failure> {
    let mut attempts = 0;
    loop {
        let turn = transaction::in_subtransaction(|| turn::take(page_views, progress));
        spi::commit();
        attempts += 1;
        let is_in_the_way = match &turn {
            Ok(turn) => *turn == Turn::Busy,
            Err(failure) => failure.is_contention(),
        };
        if !is_in_the_way || attempts >= ATTEMPTS {
            return turn;
        }
        bgworker::nap(PAUSE);
    }
}
