//! The tallies of the open subtransactions, each with its own: a rollback to a savepoint drops what was counted since, and gives
//! back what was flushed since.

use pgrx::pg_sys;

use crate::count::tally::{self, Tally};

/// The number of a subtransaction, or of the transaction itself.
pub type SubxactId = pg_sys::SubTransactionId;

/// What a tally counts: the page views of a table, in an epoch. A TRUNCATE and the beginning of a backfill
/// make another epoch, and flush first. A rollback brings back the epoch before, with its tallies.
pub type CountedTable = (pg_sys::Oid, i64);

/// A tally for each subtransaction that has counted something, the outermost first.
pub struct SubxactTallies(Vec<SubxactTally>);

/// What a subtransaction has counted.
pub struct SubxactTally {
    subxact: SubxactId,
    pub subject: CountedTable,
    pub tally: Tally,
    /// What this subtransaction has flushed of the outer ones.
    flushed: Vec<FlushedTally>,
}

/// What was flushed of a subtransaction.
struct FlushedTally {
    of: SubxactId,
    subject: CountedTable,
    tally: Tally,
}

impl SubxactTallies {
    /// Nothing is counted.
    pub const NONE: Self = SubxactTallies(Vec::new());

    /// What is being counted, if anything is.
    pub fn subject(&self) -> Option<CountedTable> {
        self.0.iter().find(|counted| !counted.tally.is_empty()).map(|counted| counted.subject)
    }

    pub fn counted(&mut self, subxact: SubxactId) -> &mut SubxactTally {
        let index = self.0.partition_point(|counted| counted.subxact < subxact);
        if self.0.get(index).is_none_or(|counted| counted.subxact != subxact) {
            let subject = (pg_sys::InvalidOid, 0);
            self.0.insert(
                index,
                SubxactTally { subxact, subject, tally: Tally::default(), flushed: Vec::new() },
            );
        }
        &mut self.0[index]
    }

    /// Whether a subtransaction and its parent together have counted so much that it is time to flush.
    pub fn are_full(&self, subxact: SubxactId, parent: SubxactId) -> bool {
        let both = self.0.iter().rev().take_while(|counted| counted.subxact >= parent);
        let sizes =
            both.filter(|counted| [subxact, parent].contains(&counted.subxact)).map(|c| c.tally.size());
        sizes.sum::<usize>() >= tally::FULL
    }

    /// Adds to the tally of a subtransaction.
    fn add(&mut self, subxact: SubxactId, subject: CountedTable, tally: Tally) {
        if !tally.is_empty() {
            let counted = self.counted(subxact);
            counted.subject = subject;
            counted.tally.merge(tally);
        }
    }

    /// Takes all that this subtransaction is about to write. It remembers what it takes of others.
    pub fn take_all(&mut self, subxact: SubxactId) -> Option<(CountedTable, Tally)> {
        let subject = self.subject()?;
        let mut all = Tally::default();
        let mut flushed = Vec::new();
        for counted in &mut self.0 {
            let tally = std::mem::take(&mut counted.tally);
            if counted.subxact != subxact && !tally.is_empty() {
                flushed.push(FlushedTally { of: counted.subxact, subject, tally: tally.clone() });
            }
            all.merge(tally);
        }
        if !flushed.is_empty() {
            self.counted(subxact).flushed.append(&mut flushed);
        }
        Some((subject, all))
    }

    /// A subtransaction has committed into its parent.
    pub fn commit(&mut self, subxact: SubxactId, parent: SubxactId) {
        let Some(counted) = self.0.pop_if(|counted| counted.subxact == subxact) else { return };
        self.add(parent, counted.subject, counted.tally);
        // What it flushed of its parent counts as the parent's own flush now.
        let others = counted.flushed.into_iter().filter(|flushed| flushed.of != parent);
        let mut others = others.collect::<Vec<_>>();
        if !others.is_empty() {
            self.counted(parent).flushed.append(&mut others);
        }
    }

    /// A subtransaction has rolled back. What it counted is gone, and what it flushed of others must be
    /// written again. Returns whether there was any of the second.
    pub fn roll_back(&mut self, subxact: SubxactId) -> bool {
        let Some(counted) = self.0.pop_if(|counted| counted.subxact == subxact) else { return false };
        let comes_back = !counted.flushed.is_empty();
        for flushed in counted.flushed {
            self.add(flushed.of, flushed.subject, flushed.tally);
        }
        comes_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::page_view::PageView;

    fn view(id: i64) -> PageView<'static> {
        PageView { id, path: b"/", page_type: b"page", session_id: b"s", viewed_at: 0, site_id: 1 }
    }

    const SUBJECT: CountedTable = (pg_sys::InvalidOid, 7);

    fn count(tallies: &mut SubxactTallies, subxact: SubxactId, views: i64) {
        let mut tally = Tally::default();
        (0..views).for_each(|id| tally.add(&view(id + 1)));
        tallies.add(subxact, SUBJECT, tally);
    }

    /// How many page views this subtransaction would write now.
    fn taken(tallies: &mut SubxactTallies, subxact: SubxactId) -> i64 {
        tallies.take_all(subxact).map_or(0, |(subject, tally)| {
            assert_eq!(subject, SUBJECT);
            views(&tally)
        })
    }

    fn views(tally: &Tally) -> i64 {
        tally.sites().flat_map(|(_, site)| site.paths.values()).map(|delta| delta.views).sum()
    }

    #[test]
    fn all_levels_are_written_together() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        count(&mut tallies, 4, 5);
        assert_eq!(taken(&mut tallies, 4), 8);
        assert_eq!(taken(&mut tallies, 4), 0);
    }

    #[test]
    fn a_rollback_takes_its_level_away() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        count(&mut tallies, 2, 5);
        assert!(!tallies.roll_back(2));
        assert!(!tallies.roll_back(3));
        assert_eq!(taken(&mut tallies, 1), 3);
    }

    #[test]
    fn a_release_gives_its_level_to_the_parent() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 3, 5);
        tallies.commit(3, 2);
        count(&mut tallies, 2, 1);
        tallies.commit(2, 1);
        assert_eq!(tallies.0.len(), 1);
        assert_eq!(views(&tallies.counted(1).tally), 6);
    }

    #[test]
    fn what_a_level_wrote_of_others_comes_back_when_it_is_rolled_back() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        count(&mut tallies, 2, 5);
        count(&mut tallies, 3, 7);
        assert_eq!(taken(&mut tallies, 3), 15);
        // After this, the parent's own 5 are flushed as long as the parent lives. The 3 of the outermost one
        // are not.
        tallies.commit(3, 2);
        count(&mut tallies, 2, 1);
        assert!(tallies.roll_back(2));
        assert_eq!(taken(&mut tallies, 1), 3);
    }

    #[test]
    fn a_flush_by_a_level_that_counted_nothing_comes_back_too() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        assert_eq!(taken(&mut tallies, 9), 3);
        assert!(tallies.roll_back(9));
        assert_eq!(taken(&mut tallies, 1), 3);
        assert_eq!(taken(&mut tallies, 1), 0);
    }

    #[test]
    fn what_comes_back_is_counted_for_what_it_was() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        tallies.take_all(2);
        let mut tally = Tally::default();
        tally.add(&view(1));
        tallies.add(2, (pg_sys::InvalidOid, 8), tally);
        assert!(tallies.roll_back(2));
        assert_eq!(tallies.subject(), Some(SUBJECT));
    }

    #[test]
    fn a_parent_is_full_with_what_its_children_counted() {
        let mut tallies = SubxactTallies(Vec::new());
        let most = tally::FULL as i64;
        let count_sessions = |tallies: &mut SubxactTallies, subxact, ids: std::ops::Range<i64>| {
            let mut tally = Tally::default();
            ids.for_each(|id| {
                tally.add(&PageView { session_id: id.to_string().as_bytes(), ..view(id + 1) });
            });
            tallies.add(subxact, SUBJECT, tally);
        };
        count_sessions(&mut tallies, 1, 0..most);
        count_sessions(&mut tallies, 2, 0..most - 1);
        assert!(!tallies.are_full(3, 2));
        count_sessions(&mut tallies, 3, 0..1);
        assert!(tallies.are_full(3, 2));
        tallies.take_all(3);
        assert!(!tallies.are_full(3, 2));
    }

    #[test]
    fn a_level_flushed_twice_comes_back_whole() {
        let mut tallies = SubxactTallies(Vec::new());
        count(&mut tallies, 1, 3);
        tallies.take_all(2);
        tallies.take_all(2);
        count(&mut tallies, 2, 1);
        assert!(tallies.roll_back(2));
        assert_eq!(views(&tallies.counted(1).tally), 3);
    }
}
