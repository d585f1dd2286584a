//! What a process remembers of rows that it has written: guesses, which spare the way through an index. Pure; whoever
//! follows a guess looks whether it is right.

use std::hash::{BuildHasher, Hash, RandomState};

use pgrx::pg_sys;

/// A row's block, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u32, pub u16);

/// Where rows of a table were when this process wrote them last.
///
/// It is built as the cache of a processor is: a key's hash leads to a set of eight entries, and the one of them that was
/// used longest ago gives way. So it takes the same memory however many rows there are, and forgets a few at a time. Of
/// the key an entry has 16 bits more of the hash, so one place in some thousands is that of another row.
pub struct Places {
    /// The table's file: a table that was rewritten has its rows elsewhere.
    file: Option<(pg_sys::Oid, pg_sys::Oid)>,
    hasher: RandomState,
    entries: Vec<Entry>,
}

/// 16 bits of the hash, 32 of the block, 16 of the number in the block, which is never 0; 0 is an empty entry.
type Entry = u64;

/// Entries that a key may be in: as many as a processor reads from memory at a time.
const WAYS: usize = 8;

impl Places {
    /// Remembers so many rows: a power of two, 8 at least.
    pub fn new(rows: usize) -> Self {
        debug_assert!(rows.is_power_of_two() && rows >= WAYS);
        Places { file: None, hasher: RandomState::new(), entries: vec![0; rows] }
    }

    /// Forgets everything unless it is of this table and file.
    pub fn belong_to(&mut self, file: (pg_sys::Oid, pg_sys::Oid)) {
        if self.file.replace(file) != Some(file) {
            self.entries.fill(0);
        }
    }

    /// Where the row with this key was.
    pub fn get(&self, key: impl Hash) -> Option<Place> {
        let (set, tag) = self.set_of(key);
        let entry =
            self.entries[set..set + WAYS].iter().find(|entry| **entry & TAG == tag && **entry != 0)?;
        Some(Place((entry >> 16) as u32, *entry as u16))
    }

    /// Remembers where the row with this key is.
    pub fn note(&mut self, key: impl Hash, Place(block, offset): Place) {
        let (set, tag) = self.set_of(key);
        let set = &mut self.entries[set..set + WAYS];
        // In the order of their last use: whatever is in front of the key's own entry, or of the last one, moves back by one.
        let own = set.iter().position(|entry| *entry & TAG == tag || *entry == 0).unwrap_or(WAYS - 1);
        set[..=own].rotate_right(1);
        set[0] = tag | u64::from(block) << 16 | u64::from(offset);
    }

    /// The first entry that a key may be in, and its tag.
    fn set_of(&self, key: impl Hash) -> (usize, Entry) {
        let hash = self.hasher.hash_one(key);
        let set = hash as usize & (self.entries.len() - 1) & !(WAYS - 1);
        (set, hash & TAG)
    }
}

/// The bits of an entry that are the key's.
const TAG: Entry = 0xffff << 48;

/// Whether a key of which this process knows no row is likely to have none, by how it went with the last ones: then it is
/// inserted at once, without a look whether it is there.
#[derive(Default)]
pub struct Novelty {
    /// Keys without a row that it takes until it is believed again.
    doubts: u32,
}

/// A wrong guess is as much work as some finds, and leaves a dead row.
const DOUBTS: u32 = 64;

impl Novelty {
    /// Whether to expect that there is no row.
    pub fn is_likely(&self) -> bool {
        self.doubts == 0
    }

    /// Notes whether there was a row, of a key of which this process knew none.
    pub fn learn(&mut self, was_there: bool) {
        self.doubts = if was_there { DOUBTS } else { self.doubts.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (pg_sys::Oid, pg_sys::Oid) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);

    fn place(n: u32) -> Place {
        Place(n, n as u16 | 1)
    }

    #[test]
    fn the_last_place_of_a_key_is_remembered() {
        let mut places = Places::new(1024);
        for n in 0..100 {
            places.note(n, place(n));
            places.note(n, place(n + 7));
        }
        let known = (0..100).filter(|n| places.get(*n) == Some(place(n + 7)));
        // All of them, but for a set that more than eight have met in, or two that look the same.
        assert!(known.count() >= 95);
        assert_eq!((0..100).filter(|n| places.get(*n) == Some(place(*n))).count(), 0);
    }

    #[test]
    fn the_largest_place_is_not_cut() {
        let mut places = Places::new(8);
        places.note("key", Place(u32::MAX, u16::MAX));
        assert_eq!(places.get("key"), Some(Place(u32::MAX, u16::MAX)));
        places.note("key", Place(0, 1));
        assert_eq!(places.get("key"), Some(Place(0, 1)));
    }

    #[test]
    fn who_was_used_longest_ago_gives_way() {
        let mut places = Places::new(8);
        (0..8).for_each(|n| places.note(n, place(n)));
        places.note(0, place(0));
        places.note(8, place(8));
        assert_eq!(places.get(0), Some(place(0)));
        assert_eq!(places.get(8), Some(place(8)));
        assert_eq!(places.get(1), None);
    }

    #[test]
    fn another_file_has_its_rows_elsewhere() {
        let mut places = Places::new(8);
        places.belong_to(FILE);
        places.note(1, place(1));
        places.belong_to(FILE);
        assert_eq!(places.get(1), Some(place(1)));
        places.belong_to((pg_sys::Oid::INVALID, 7.into()));
        assert_eq!(places.get(1), None);
    }

    #[test]
    fn a_wrong_guess_is_not_repeated_soon() {
        let mut novelty = Novelty::default();
        assert!(novelty.is_likely());
        novelty.learn(true);
        (1..DOUBTS).for_each(|_| novelty.learn(false));
        assert!(!novelty.is_likely());
        novelty.learn(false);
        assert!(novelty.is_likely());
    }
}
