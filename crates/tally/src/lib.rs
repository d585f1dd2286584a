//! The arithmetic of deltas: changed rows go in, changes of counters come out. No locks, no tables.
//!
//! Keys are bytes in the encoding of the database. A tally finds them by their hash, and `in_order` sorts
//! them by their bytes. Sites are in the order of their ids. That is the order of the tables' primary keys, so all writers
//! change counters in one order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A path or a session id, in the encoding of the database.
pub type TextKey = Box<[u8]>;

/// The id of a site.
pub type SiteId = i16;

/// How many deltas a tally holds before it should be flushed. It bounds the memory of a transaction over
/// millions of rows.
pub const FULL: usize = 20_000;

/// Microseconds in a day.
pub const DAY: i64 = 86_400_000_000;

/// A row of `page_views`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageView<'a> {
    pub id: i64,
    pub path: &'a [u8],
    pub page_type: &'a [u8],
    pub session_id: &'a [u8],
    /// Microseconds since 2000-01-01 00:00 UTC, as PostgreSQL stores a `timestamptz`.
    pub viewed_at: i64,
    pub site_id: SiteId,
}

impl PageView<'_> {
    /// The UTC day, in days since 2000-01-01, as PostgreSQL stores a `date`.
    pub fn day(&self) -> i32 {
        // A CHECK keeps `viewed_at` between 1970 and 9999, so the day fits an i32.
        i32::try_from(self.viewed_at.div_euclid(DAY)).unwrap_or(i32::MAX)
    }

    /// Whether replacing the other page view by this one changes no aggregate.
    pub fn has_same_counters_as(&self, other: &Self) -> bool {
        self.site_id == other.site_id
            && self.path == other.path
            && self.page_type == other.page_type
            && self.session_id == other.session_id
            && self.day() == other.day()
    }
}

/// The change of a path's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathDelta {
    pub views: i64,
    /// The type of the newest page view added; of any removed one if none was added.
    pub page_type: Box<[u8]>,
    /// The id of the newest page view added, 0 if none was added.
    pub last_view_id: i64,
    /// The same page views by their UTC days, in order.
    pub days: Vec<(i32, i64)>,
}

impl PathDelta {
    /// Adds page views to a day.
    fn add_to_day(&mut self, day: i32, views: i64) {
        match self.days.binary_search_by_key(&day, |(day, _)| *day) {
            Ok(index) => self.days[index].1 += views,
            Err(index) => self.days.insert(index, (day, views)),
        }
    }

    /// Takes over the type of a page view if it is the newest so far. `last_view_id` is 0 for a removed page
    /// view.
    fn see(&mut self, page_type: &[u8], last_view_id: i64) {
        if last_view_id > 0 && last_view_id >= self.last_view_id {
            self.last_view_id = last_view_id;
            if *self.page_type != *page_type {
                self.page_type = page_type.into();
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.views == 0 && self.last_view_id == 0 && self.days.is_empty()
    }

    fn merge(&mut self, other: &PathDelta) {
        self.views += other.views;
        self.see(&other.page_type, other.last_view_id);
        other.days.iter().for_each(|(day, views)| self.add_to_day(*day, *views));
    }

    /// Computes what the row of a path becomes with this delta. `kept` is the row's day with its count.
    /// Returns the newest day with its count, and the counts of older days, which go to `daily_totals`.
    pub fn on_top_of(&self, kept: (i32, i64)) -> ((i32, i64), Vec<(i32, i64)>) {
        let newest = self.days.last().map_or(kept.0, |(day, _)| kept.0.max(*day));
        let (mut views, mut older) = (0, Vec::new());
        for (day, more) in self.days.iter().copied().chain([kept]) {
            if day == newest {
                views += more;
            } else if more != 0 {
                older.push((day, more));
            }
        }
        ((newest, views), older)
    }
}

/// The deltas of a site's counters.
#[derive(Clone, Debug, Default)]
pub struct SiteTally {
    pub paths: HashMap<TextKey, PathDelta>,
    pub sessions: HashMap<TextKey, i64>,
}

/// The deltas of all counters.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// In the order of the sites' ids. Nearly every transaction is of one site.
    sites: Vec<(SiteId, SiteTally)>,
    /// The sum of the paths' numbers of days.
    days: usize,
    sessions: usize,
    /// For how many sessions a new site gets room.
    room: usize,
}

impl Tally {
    /// With room for the sessions of so many page views, but at most for those of a full tally.
    pub fn for_views(views: usize) -> Self {
        Tally { room: views.min(FULL), ..Tally::default() }
    }

    /// Counts a page view that the aggregates now include.
    pub fn add(&mut self, view: &PageView) {
        self.count(view, 1);
    }

    /// Counts a page view that the aggregates no longer include.
    pub fn subtract(&mut self, view: &PageView) {
        self.count(view, -1);
    }

    /// The deltas of each site, in the order of their ids.
    pub fn sites(&self) -> impl Iterator<Item = (SiteId, &SiteTally)> {
        self.sites.iter().map(|(site_id, site)| (*site_id, site))
    }

    /// Adds the deltas of another tally.
    pub fn merge(&mut self, other: Tally) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for (site_id, other) in other.sites {
            for (path, delta) in other.paths {
                self.add_to_path(site_id, path, delta);
            }
            let site = site_of(&mut self.sites, site_id, 0);
            for (session, views) in other.sessions {
                match site.sessions.entry(session) {
                    Entry::Vacant(entry) => {
                        entry.insert(views);
                        self.sessions += 1;
                    }
                    Entry::Occupied(mut entry) => *entry.get_mut() += views,
                }
            }
        }
    }

    /// Adds to the counters of a path.
    pub fn add_to_path(&mut self, site_id: SiteId, path: TextKey, delta: PathDelta) {
        match site_of(&mut self.sites, site_id, 0).paths.entry(path) {
            Entry::Vacant(entry) => {
                self.days += delta.days.len();
                entry.insert(delta);
            }
            Entry::Occupied(mut entry) => {
                let days = entry.get().days.len();
                entry.get_mut().merge(&delta);
                self.days += entry.get().days.len() - days;
            }
        }
    }

    /// Calls `take` with each path without page views in all, and forgets the path.
    pub fn take_unviewed(&mut self, mut take: impl FnMut(SiteId, &TextKey, &PathDelta)) {
        for (site_id, site) in &mut self.sites {
            site.paths.retain(|path, delta| {
                if delta.views == 0 {
                    take(*site_id, path, delta);
                }
                delta.views != 0
            });
        }
    }

    /// Whether it is time to flush.
    pub fn is_full(&self) -> bool {
        self.size() >= FULL
    }

    /// The number of sessions, or of pairs of path and day, whichever is larger.
    pub fn size(&self) -> usize {
        self.days.max(self.sessions)
    }

    /// Drops the deltas that have become 0. It is not to be added to after that.
    pub fn settle(&mut self) {
        for (_, site) in &mut self.sites {
            for delta in site.paths.values_mut() {
                delta.days.retain(|(_, views)| *views != 0);
            }
            site.paths.retain(|_, delta| !delta.is_empty());
            site.sessions.retain(|_, views| *views != 0);
        }
        self.sites.retain(|(_, site)| !site.is_empty());
    }

    /// Whether no counter changes.
    pub fn is_empty(&self) -> bool {
        self.sites.iter().all(|(_, site)| site.is_empty())
    }

    fn count(&mut self, view: &PageView, change: i64) {
        let last_view_id = if change > 0 { view.id } else { 0 };
        let site = site_of(&mut self.sites, view.site_id, self.room);
        match site.paths.get_mut(view.path) {
            Some(delta) => {
                let days = delta.days.len();
                delta.views += change;
                delta.see(view.page_type, last_view_id);
                delta.add_to_day(view.day(), change);
                self.days += delta.days.len() - days;
            }
            None => {
                let delta = PathDelta {
                    views: change,
                    page_type: view.page_type.into(),
                    last_view_id,
                    days: vec![(view.day(), change)],
                };
                site.paths.insert(view.path.into(), delta);
                self.days += 1;
            }
        }
        match site.sessions.get_mut(view.session_id) {
            Some(views) => *views += change,
            None => {
                site.sessions.insert(view.session_id.into(), change);
                self.sessions += 1;
            }
        }
    }
}

impl SiteTally {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.sessions.is_empty()
    }
}

/// The deltas of a site; a new site's have room for so many sessions.
fn site_of(sites: &mut Vec<(SiteId, SiteTally)>, site_id: SiteId, room: usize) -> &mut SiteTally {
    let found = sites.binary_search_by_key(&site_id, |(id, _)| *id);
    let index = found.unwrap_or_else(|index| {
        // The first site gets the room: nearly every tally is of one.
        let room = if sites.is_empty() { room } else { 0 };
        let site = SiteTally { sessions: HashMap::with_capacity(room), ..SiteTally::default() };
        sites.insert(index, (site_id, site));
        index
    });
    &mut sites[index].1
}

/// The deltas in the order of their keys.
pub fn in_order<D>(deltas: &HashMap<TextKey, D>) -> Vec<(&TextKey, &D)> {
    let mut deltas: Vec<_> = deltas.iter().collect();
    deltas.sort_unstable_by_key(|(key, _)| *key);
    deltas
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
            site_id: 1,
        }
    }

    /// The deltas of the only site.
    fn only(tally: &Tally) -> &SiteTally {
        assert_eq!(tally.sites.len(), 1);
        &tally.sites[0].1
    }

    #[test]
    fn views_add_up_per_path_day_and_session() {
        let mut tally = Tally::default();
        tally.add(&view(1, "/a", "s", 0));
        tally.add(&view(2, "/a", "t", DAY));
        tally.add(&view(3, "/b", "s", 0));
        assert_eq!(only(&tally).paths[b"/a".as_slice()].views, 2);
        assert_eq!(only(&tally).paths[b"/a".as_slice()].last_view_id, 2);
        assert_eq!(only(&tally).paths[b"/a".as_slice()].days, [(0, 1), (1, 1)]);
        assert_eq!(only(&tally).paths[b"/b".as_slice()].days, [(0, 1)]);
        assert_eq!(only(&tally).sessions[b"s".as_slice()], 2);
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing_but_the_type() {
        let mut tally = Tally::default();
        tally.add(&view(7, "/a", "s", 0));
        tally.subtract(&view(7, "/a", "s", 0));
        tally.settle();
        assert!(only(&tally).sessions.is_empty());
        assert_eq!(only(&tally).paths[b"/a".as_slice()].views, 0);
        assert!(only(&tally).paths[b"/a".as_slice()].days.is_empty());
        assert_eq!(only(&tally).paths[b"/a".as_slice()].last_view_id, 7);

        let mut gone = Tally::default();
        gone.subtract(&view(7, "/a", "s", 0));
        gone.subtract(&view(8, "/a", "s", 0));
        gone.settle();
        assert_eq!(only(&gone).paths[b"/a".as_slice()].views, -2);
        assert_eq!(only(&gone).paths[b"/a".as_slice()].last_view_id, 0);
        assert!(!gone.is_empty());
    }

    #[test]
    fn a_view_that_changes_its_day_moves_between_days() {
        let mut tally = Tally::default();
        tally.subtract(&view(7, "/a", "s", 0));
        tally.add(&view(7, "/a", "s", 5 * DAY));
        tally.settle();
        assert_eq!(only(&tally).paths[b"/a".as_slice()].views, 0);
        assert_eq!(only(&tally).paths[b"/a".as_slice()].days, [(0, -1), (5, 1)]);
    }

    #[test]
    fn a_path_keeps_its_newest_day_and_gives_older_ones_away() {
        let mut tally = Tally::default();
        tally.add(&view(7, "/a", "s", 2 * DAY));
        tally.add(&view(8, "/a", "s", 4 * DAY));
        tally.subtract(&view(1, "/a", "s", 0));
        let delta = &only(&tally).paths[b"/a".as_slice()];
        // A new row, then rows with an older day, a day in between, and a newer day.
        assert_eq!(delta.on_top_of((i32::MIN, 0)), ((4, 1), vec![(0, -1), (2, 1)]));
        assert_eq!(delta.on_top_of((3, 10)), ((4, 1), vec![(0, -1), (2, 1), (3, 10)]));
        assert_eq!(delta.on_top_of((4, 10)), ((4, 11), vec![(0, -1), (2, 1)]));
        assert_eq!(delta.on_top_of((9, 10)), ((9, 10), vec![(0, -1), (2, 1), (4, 1)]));
        assert_eq!(PathDelta::default().on_top_of((9, 10)), ((9, 10), vec![]));
    }

    #[test]
    fn tallies_add_up() {
        let (mut tally, mut other) = (Tally::default(), Tally::default());
        tally.add(&view(1, "/a", "s", 0));
        tally.add(&PageView { page_type: b"blog", ..view(9, "/b", "s", 0) });
        other.add(&view(5, "/b", "s", 0));
        other.add(&view(6, "/b", "t", DAY));
        other.subtract(&view(1, "/c", "u", 0));
        tally.merge(other);
        assert_eq!(only(&tally).paths[b"/b".as_slice()].views, 3);
        assert_eq!(only(&tally).paths[b"/b".as_slice()].days, [(0, 2), (1, 1)]);
        assert_eq!(&*only(&tally).paths[b"/b".as_slice()].page_type, b"blog");
        assert_eq!(only(&tally).paths[b"/c".as_slice()].views, -1);
        assert_eq!(tally.days, 4);
        let sessions = in_order(&only(&tally).sessions).into_iter().map(|(_, views)| *views);
        assert_eq!(sessions.collect::<Vec<_>>(), [3, 1, -1]);
    }

    #[test]
    fn the_newest_view_gives_the_type_in_any_order() {
        let newest = PageView { page_type: b"blog", ..view(9, "/a", "s", 0) };
        for order in [[newest, view(3, "/a", "s", 0)], [view(3, "/a", "s", 0), newest]] {
            let mut tally = Tally::default();
            order.iter().for_each(|view| tally.add(view));
            assert_eq!(&*only(&tally).paths[b"/a".as_slice()].page_type, b"blog");
        }
    }

    #[test]
    fn keys_come_out_in_byte_order() {
        let mut tally = Tally::default();
        for path in ["/b", "/Z", "/é", "/a"] {
            tally.add(&view(1, path, path, 0));
        }
        let sessions: Vec<&[u8]> = in_order(&only(&tally).sessions).iter().map(|(key, _)| &***key).collect();
        assert_eq!(sessions, ["/Z".as_bytes(), b"/a", b"/b", "/é".as_bytes()]);
    }

    #[test]
    fn sites_are_apart_and_in_the_order_of_their_ids() {
        let (mut tally, mut other) = (Tally::default(), Tally::default());
        tally.add(&PageView { site_id: 7, ..view(1, "/a", "s", 0) });
        tally.add(&PageView { site_id: -3, ..view(2, "/a", "s", 0) });
        other.add(&PageView { site_id: 2, ..view(3, "/a", "s", 0) });
        other.add(&PageView { site_id: 7, ..view(4, "/a", "t", 0) });
        tally.merge(other);
        let views = tally.sites().map(|(site_id, site)| (site_id, site.paths[b"/a".as_slice()].views));
        assert_eq!(views.collect::<Vec<_>>(), [(-3, 1), (2, 1), (7, 2)]);
        assert_eq!((tally.days, tally.sessions), (3, 4));

        tally.subtract(&PageView { site_id: 2, ..view(3, "/a", "s", 0) });
        tally.take_unviewed(|site_id, path, _| assert_eq!((site_id, &**path), (2, b"/a".as_slice())));
        tally.settle();
        assert_eq!(tally.sites().map(|(site_id, _)| site_id).collect::<Vec<_>>(), [-3, 7]);
    }

    #[test]
    fn it_is_full_when_its_keys_are_many() {
        let mut tally = Tally::default();
        for id in 0..FULL as i64 {
            assert!(!tally.is_full());
            tally.add(&view(id + 1, "/", &id.to_string(), 0));
        }
        assert!(tally.is_full());

        let mut days = Tally::default();
        for id in 0..FULL as i64 {
            assert!(!days.is_full());
            days.add(&view(id + 1, if id % 2 == 0 { "/a" } else { "/b" }, "s", id * DAY));
        }
        assert!(days.is_full());
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
        assert!(!PageView { site_id: 2, ..old }.has_same_counters_as(&old));
    }
}
