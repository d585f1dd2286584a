//! What a process remembers of rows that it has written, which spares the way through an index. Pure.
//!
//! A place and a novelty are guesses: whoever follows one looks whether it is right. A digest is as good as the key.

use std::hash::{BuildHasher, Hash, RandomState};

use pgrx::pg_sys;

use crate::pg::tid::Place;

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

/// Stands for a key: 128 bits, so that no two keys of any table that there will be have the same, whoever chooses them.
pub type Digest = u128;

/// A set of keys, of which it forgets those that were met longest ago when they become too many. It takes the same memory
/// however many there are, as `Places` does.
pub struct Digests {
    /// SipHash under two keys that nobody knows.
    hashers: [RandomState; 2],
    /// 0 is an empty entry.
    entries: Vec<Digest>,
}

impl Digests {
    /// Remembers so many keys: a power of two, 8 at least.
    pub fn new(keys: usize) -> Self {
        debug_assert!(keys.is_power_of_two() && keys >= WAYS);
        Digests { hashers: [RandomState::new(), RandomState::new()], entries: vec![0; keys] }
    }

    /// Forgets all of them, at once: under new keys of the hash none of the old digests is met again.
    pub fn clear(&mut self) {
        self.hashers = [RandomState::new(), RandomState::new()];
    }

    pub fn digest(&self, key: &[u8]) -> Digest {
        let [high, low] = [0, 1].map(|n| u128::from(self.hashers[n].hash_one(key)));
        high << 64 | low
    }

    /// Has the processor read the entries that these keys may be in. They are all over the memory: to wait for them one after
    /// another takes longer than all else that a batch does with a session that it knows.
    pub fn approach(&mut self, digests: &[Digest]) {
        let read = digests.iter().fold(0, |read, digest| {
            let set = self.set_of(*digest);
            read ^ set[0] ^ set[WAYS - 1]
        });
        std::hint::black_box(read);
    }

    /// Whether the key is among them.
    pub fn meet(&mut self, digest: Digest) -> bool {
        let set = self.set_of(digest);
        let own = set.iter().position(|entry| *entry == digest);
        if let Some(own) = own {
            set[..=own].rotate_right(1);
        }
        own.is_some()
    }

    /// Adds a key that is not among them.
    pub fn note(&mut self, digest: Digest) {
        let set = self.set_of(digest);
        set.rotate_right(1);
        set[0] = digest;
    }

    /// The entries that a key may be in, in the order of their last use.
    fn set_of(&mut self, digest: Digest) -> &mut [Digest] {
        let set = digest as usize & (self.entries.len() - 1) & !(WAYS - 1);
        &mut self.entries[set..set + WAYS]
    }
}

/// Whether a key of which this process knows no row is likely to have none, by how it went with the last ones: then it is
/// inserted at once, without a look whether it is there.
///
/// It is a bucket that leaks: a key that had a row fills it as much as some that had none empty it. A wrong guess is as much
/// work as a few finds and leaves a dead row, so one in ten is too many.
#[derive(Default)]
pub struct Novelty {
    doubts: u32,
}

/// What a key that had a row adds.
const DOUBT: u32 = 9;
/// Up to here it is believed.
const SOME_DOUBTS: u32 = 4 * DOUBT;
/// And it is never further than this from being believed again.
const MOST_DOUBTS: u32 = 3 * SOME_DOUBTS;

impl Novelty {
    /// Whether to expect that there is no row.
    pub fn is_likely(&self) -> bool {
        self.doubts <= SOME_DOUBTS
    }

    /// Notes whether there was a row, of a key of which this process knew none.
    pub fn learn(&mut self, was_there: bool) {
        self.doubts =
            if was_there { MOST_DOUBTS.min(self.doubts + DOUBT) } else { self.doubts.saturating_sub(1) };
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
    fn keys_are_met_again() {
        let mut digests = Digests::new(1024);
        let met = |digests: &mut Digests| {
            let all: Vec<_> = (0u32..100).map(|n| digests.digest(&n.to_le_bytes())).collect();
            all.iter().filter(|digest| digests.meet(**digest)).count()
        };
        assert_eq!(met(&mut digests), 0);
        (0u32..100).for_each(|n| digests.note(digests.digest(&n.to_le_bytes())));
        // All of them, but for a set that more than eight have met in.
        assert!(met(&mut digests) >= 95);
        digests.clear();
        assert_eq!(met(&mut digests), 0);
    }

    #[test]
    fn the_key_met_longest_ago_is_forgotten() {
        let mut digests = Digests::new(8);
        (1..=8).for_each(|digest| digests.note(digest));
        assert!(digests.meet(1));
        digests.note(9);
        assert!(digests.meet(1));
        assert!(digests.meet(9));
        assert!(!digests.meet(2));
    }

    #[test]
    fn many_wrong_guesses_are_not_repeated_soon() {
        let mut novelty = Novelty::default();
        let mut guess = |keys: u32, one_is_there_in: u32| {
            let mut likely = 0;
            for n in 0..keys {
                likely += u32::from(novelty.is_likely());
                novelty.learn(n % one_is_there_in == 0);
            }
            likely
        };
        assert_eq!(guess(1000, 20), 1000);
        assert!(guess(1000, 2) < 20);
        assert!(guess(1000, 20) > 500);
        assert_eq!(guess(1000, 20), 1000);
    }
}
