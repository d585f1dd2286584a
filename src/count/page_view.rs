//! A page view, as a row of `page_views` holds it, and the scans that show page views without a plan.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::datum::{self, Columns};
use crate::pg::{catalog, scan, version};

/// Columns of `page_views`; later ones are the owner's own.
pub const COLUMNS: usize = 5;

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// A row of `page_views`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageView<'a> {
    pub id: i64,
    pub path: &'a [u8],
    pub page_type: &'a [u8],
    pub session_id: &'a [u8],
    /// Microseconds since 2000-01-01 00:00 UTC, as PostgreSQL keeps a `timestamptz`.
    pub viewed_at: i64,
}

impl PageView<'_> {
    /// The UTC day, in days since 2000-01-01, as PostgreSQL keeps a `date`.
    pub fn day(&self) -> i32 {
        // The table's CHECK keeps views within 8,030 years of that day, far inside an i32.
        i32::try_from(self.viewed_at.div_euclid(DAY)).unwrap_or(i32::MAX)
    }

    /// Whether replacing the other view by this one changes no aggregate.
    pub fn has_same_counters_as(&self, other: &Self) -> bool {
        self.path == other.path
            && self.page_type == other.page_type
            && self.session_id == other.session_id
            && self.day() == other.day()
    }
}

/// The page view that a row of `page_views` is.
///
/// # Safety
/// It must be one, and outlive the result: with the columns that the install script chose, which are NOT NULL.
pub unsafe fn view_of<'r>(tuple: pg_sys::HeapTuple) -> PageView<'r> {
    // SAFETY: as the caller vouches.
    let mut columns = unsafe { Columns::of((*tuple).t_data) };
    PageView {
        id: columns.bigint(),
        path: columns.text(),
        page_type: columns.text(),
        session_id: columns.text(),
        viewed_at: columns.bigint(),
    }
}

/// Shows the page views of a session that are later than a time. For a question that is asked for each page view: a query
/// costs more than its answer, and its plan depends on what the planner believes of the newest rows.
pub fn later_views(session_id: &[u8], time: i64, show: impl FnMut(&PageView)) -> Result<(), ErrorReport> {
    // SAFETY: a transaction is open.
    session_views_since(session_id, time, unsafe { pg_sys::GetLatestSnapshot() }, show)
}

/// Shows the page views of a session, as a snapshot shows them.
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
        // SAFETY: a row of the table, shown while it is looked at.
        show(&unsafe { view_of(tuple) });
        Ok(true)
    })
}

/// Shows the page views with an id above one number and not above another, in the order of their ids, until `show` returns
/// false. For batches: to plan the query for each one takes as long as counting some dozens of its rows.
pub fn views_between(
    table: pg_sys::Oid,
    above: i64,
    up_to: i64,
    mut show: impl FnMut(&PageView) -> Result<bool, ErrorReport>,
) -> Result<(), ErrorReport> {
    // SAFETY: both exist, and are locked while they are looked at. An index has a column at least.
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
    // SAFETY: a transaction is open.
    let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
    // SAFETY: a row of the table, shown while it is looked at.
    scan::by_index(table, index, &conditions, snapshot, |tuple| show(&unsafe { view_of(tuple) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(id: i64, path: &'a str, session_id: &'a str, viewed_at: i64) -> PageView<'a> {
        PageView {
            id,
            path: path.as_bytes(),
            page_type: b"page",
            session_id: session_id.as_bytes(),
            viewed_at,
        }
    }

    #[test]
    fn a_day_begins_at_midnight_utc_before_2000_too() {
        assert_eq!(view(1, "/", "s", 0).day(), 0);
        assert_eq!(view(1, "/", "s", DAY - 1).day(), 0);
        assert_eq!(view(1, "/", "s", DAY).day(), 1);
        assert_eq!(view(1, "/", "s", -1).day(), -1);
        assert_eq!(view(1, "/", "s", -DAY).day(), -1);
    }

    #[test]
    fn only_what_an_aggregate_shows_makes_a_difference() {
        let old = view(1, "/", "s", 0);
        assert!(view(2, "/", "s", DAY - 1).has_same_counters_as(&old));
        assert!(!view(1, "/", "s", DAY).has_same_counters_as(&old));
        assert!(!view(1, "/a", "s", 0).has_same_counters_as(&old));
        assert!(!view(1, "/", "t", 0).has_same_counters_as(&old));
        assert!(!PageView { page_type: b"blog", ..old }.has_same_counters_as(&old));
    }
}
