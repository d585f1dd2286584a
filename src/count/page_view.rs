//! A page view as a row of `page_views`, and the scans of `page_views` without a plan.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

pub use site_stats_tally::PageView;

use crate::error;
use crate::pg::datum::{self, Columns};
use crate::pg::{catalog, scan, version};

/// How many columns `page_views` has; later columns are the owner's own.
pub const COLUMNS: usize = 5;

/// Reads the page view in a row of `page_views`.
///
/// # Safety
/// The tuple must be a row of `page_views` and outlive the result. It must have the columns of the install
/// script, which are NOT NULL.
pub unsafe fn view_of<'r>(tuple: pg_sys::HeapTuple) -> PageView<'r> {
    // SAFETY: the caller guarantees a row of `page_views`; its columns are read in order, by their types.
    let mut columns = unsafe { Columns::of((*tuple).t_data) };
    PageView {
        id: columns.bigint(),
        path: columns.text(),
        page_type: columns.text(),
        session_id: columns.text(),
        viewed_at: columns.bigint(),
    }
}

/// Calls `show` with the page views of a session after a time. `record_page_view()` asks for each page view,
/// so a query would cost more than its answer. Its plan would depend on the planner's estimate of the newest
/// rows.
pub fn later_views(session_id: &[u8], time: i64, show: impl FnMut(&PageView)) -> Result<(), ErrorReport> {
    // SAFETY: `GetLatestSnapshot` needs an open transaction; a function of SQL calls this, inside one.
    session_views_since(session_id, time, unsafe { pg_sys::GetLatestSnapshot() }, show)
}

/// Calls `show` with the page views of a session that the snapshot shows.
pub fn session_views(
    session_id: &[u8],
    snapshot: pg_sys::Snapshot,
    show: impl FnMut(&PageView),
) -> Result<(), ErrorReport> {
    session_views_since(session_id, i64::MIN, snapshot, show)
}

fn session_views_since(
    session_id: &[u8],
    time: i64,
    snapshot: pg_sys::Snapshot,
    mut show: impl FnMut(&PageView),
) -> Result<(), ErrorReport> {
    let (table, index) = (catalog::page_views()?, catalog::table(c"page_views_session_id_viewed_at_idx")?);
    let conditions = [
        (1, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, datum::text(session_id)),
        (2, pg_sys::BTGreaterStrategyNumber, pg_sys::F_TIMESTAMPTZ_GT, pg_sys::Datum::from(time)),
    ];
    scan::by_index(table, index, &conditions, snapshot, |tuple| {
        // SAFETY: the scan passes a row of `page_views`, which lives until the closure returns.
        show(&unsafe { view_of(tuple) });
        Ok(true)
    })
}

/// Calls `show` with the page views with `above < id <= up_to`, in the order of their ids, until it returns
/// false. For batches: planning a query for each batch takes as long as counting some dozens of its rows.
pub fn views_between(
    table: pg_sys::Oid,
    above: i64,
    up_to: i64,
    mut show: impl FnMut(&PageView) -> Result<bool, ErrorReport>,
) -> Result<(), ErrorReport> {
    // SAFETY: table and index exist, and are locked when they are opened. An index has at least one column.
    let index = unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let key = version::primary_key(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        let begins_with_id = key != pg_sys::InvalidOid && {
            let index = pg_sys::index_open(key, pg_sys::AccessShareLock as i32);
            let first = (*(*index).rd_index).indkey.values.as_slice(1)[0];
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            first == 1
        };
        begins_with_id.then_some(key)
    };
    let Some(index) = index else { return Err(error::no_primary_key()) };
    let conditions = [
        (1, pg_sys::BTGreaterStrategyNumber, pg_sys::F_INT8GT, pg_sys::Datum::from(above)),
        (1, pg_sys::BTLessEqualStrategyNumber, pg_sys::F_INT8LE, pg_sys::Datum::from(up_to)),
    ];
    // SAFETY: `GetLatestSnapshot` needs an open transaction; a batch runs in one.
    let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
    // SAFETY: the scan passes a row of `page_views`, which lives until the closure returns.
    scan::by_index(table, index, &conditions, snapshot, |tuple| show(&unsafe { view_of(tuple) }))
}
