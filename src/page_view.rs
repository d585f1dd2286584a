//! A page view, as a row of `page_views` holds it.

use pgrx::pg_sys;

use crate::datum::Columns;

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
    pub fn counts_like(&self, other: &Self) -> bool {
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
        assert!(view(2, "/", "s", DAY - 1).counts_like(&old));
        assert!(!view(1, "/", "s", DAY).counts_like(&old));
        assert!(!view(1, "/a", "s", 0).counts_like(&old));
        assert!(!view(1, "/", "t", 0).counts_like(&old));
        assert!(!PageView { page_type: b"blog", ..old }.counts_like(&old));
    }
}
