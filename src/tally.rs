//! The arithmetic of deltas: rows go in, changes of counters come out. Pure; it knows neither locks nor tables.
//!
//! Keys are bytes in the database's encoding and come out in byte order, which is the order of the tables' keys: all
//! writers touch counters in one order.

use std::collections::BTreeMap;

/// A key: a path or a session id, in the database's encoding.
pub type Key = Box<[u8]>;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Distinct keys after which a tally should be flushed, so that one statement over millions of rows needs little memory.
const FULL: usize = 20_000;

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

/// The change of a path's counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathDelta {
    pub views: i64,
    /// The type of the newest view added, or of any view where none was added.
    pub page_type: Box<[u8]>,
    /// The newest view added, 0 where none was added.
    pub last_view_id: i64,
}

/// Deltas of all counters.
#[derive(Debug, Default)]
pub struct Tally {
    pub paths: BTreeMap<Key, PathDelta>,
    pub days: BTreeMap<(i32, Key), i64>,
    pub sessions: BTreeMap<Key, i64>,
    pub views: i64,
}

impl Tally {
    /// Counts a view that has come into the aggregates.
    pub fn add(&mut self, view: &PageView) {
        self.count(view, 1);
    }

    /// Counts a view that has left the aggregates.
    pub fn subtract(&mut self, view: &PageView) {
        self.count(view, -1);
    }

    /// Whether it is time to flush.
    pub fn is_full(&self) -> bool {
        self.days.len().max(self.sessions.len()) >= FULL
    }

    /// Drops the counters that do not change after all.
    pub fn settle(&mut self) {
        self.paths.retain(|_, delta| delta.views != 0 || delta.last_view_id != 0);
        self.days.retain(|_, views| *views != 0);
        self.sessions.retain(|_, views| *views != 0);
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.views == 0 && self.paths.is_empty() && self.days.is_empty() && self.sessions.is_empty()
    }

    /// Adds to the counter of a path; `last_view_id` is the newest view that comes with it, 0 for none, and `page_type` the
    /// type of that view.
    pub fn add_to_path(&mut self, path: &[u8], views: i64, page_type: &[u8], last_view_id: i64) {
        match self.paths.get_mut(path) {
            Some(delta) => {
                delta.views += views;
                if last_view_id > 0 && last_view_id >= delta.last_view_id {
                    delta.last_view_id = last_view_id;
                    if *delta.page_type != *page_type {
                        delta.page_type = page_type.into();
                    }
                }
            }
            None => {
                self.paths
                    .insert(path.into(), PathDelta { views, page_type: page_type.into(), last_view_id });
            }
        }
    }

    /// Adds to the counter of a path on a day.
    pub fn add_to_day(&mut self, day: i32, path: &[u8], views: i64) {
        *self.days.entry((day, path.into())).or_default() += views;
    }

    fn count(&mut self, view: &PageView, change: i64) {
        self.views += change;
        self.add_to_path(view.path, change, view.page_type, if change > 0 { view.id } else { 0 });
        self.add_to_day(view.day(), view.path, change);
        match self.sessions.get_mut(view.session_id) {
            Some(views) => *views += change,
            None => {
                self.sessions.insert(view.session_id.into(), change);
            }
        }
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
    fn views_add_up_per_path_day_and_session() {
        let mut tally = Tally::default();
        tally.add(&view(1, "/a", "s", 0));
        tally.add(&view(2, "/a", "t", DAY));
        tally.add(&view(3, "/b", "s", 0));
        assert_eq!(tally.views, 3);
        assert_eq!(tally.paths[b"/a".as_slice()].views, 2);
        assert_eq!(tally.paths[b"/a".as_slice()].last_view_id, 2);
        assert_eq!(tally.days[&(1, b"/a".as_slice().into())], 1);
        assert_eq!(tally.sessions[b"s".as_slice()], 2);
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing_but_the_type() {
        let mut tally = Tally::default();
        tally.add(&view(7, "/a", "s", 0));
        tally.subtract(&view(7, "/a", "s", 0));
        tally.settle();
        assert_eq!(tally.views, 0);
        assert!(tally.days.is_empty() && tally.sessions.is_empty());
        assert_eq!(tally.paths[b"/a".as_slice()].last_view_id, 7);

        let mut gone = Tally::default();
        gone.subtract(&view(7, "/a", "s", 0));
        gone.subtract(&view(8, "/a", "s", 0));
        gone.settle();
        assert_eq!(gone.paths[b"/a".as_slice()].views, -2);
        assert_eq!(gone.paths[b"/a".as_slice()].last_view_id, 0);
        assert!(!gone.is_empty());
    }

    #[test]
    fn the_newest_view_gives_the_type_in_any_order() {
        let newest = PageView { page_type: b"blog", ..view(9, "/a", "s", 0) };
        for order in [[newest, view(3, "/a", "s", 0)], [view(3, "/a", "s", 0), newest]] {
            let mut tally = Tally::default();
            order.iter().for_each(|view| tally.add(view));
            assert_eq!(&*tally.paths[b"/a".as_slice()].page_type, b"blog");
        }
    }

    #[test]
    fn keys_come_out_in_byte_order() {
        let mut tally = Tally::default();
        for path in ["/b", "/Z", "/é", "/a"] {
            tally.add(&view(1, path, path, 0));
        }
        let sessions: Vec<&[u8]> = tally.sessions.keys().map(|key| &**key).collect();
        assert_eq!(sessions, ["/Z".as_bytes(), b"/a", b"/b", "/é".as_bytes()]);
    }

    #[test]
    fn it_is_full_when_its_keys_are_many() {
        let mut tally = Tally::default();
        for id in 0..FULL as i64 {
            assert!(!tally.is_full());
            tally.add(&view(id + 1, "/", &id.to_string(), 0));
        }
        assert!(tally.is_full());
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
