//! What a process remembers of rows that it has written, to avoid index look-ups. No I/O.
//!
//! A remembered tid and a prediction are guesses, which the caller checks. A digest identifies its key: see `Digest`.

use std::hash::{BuildHasher, Hash, RandomState};

use pgrx::pg_sys;

use crate::pg::tid::Tid;

/// Where rows of a table were when this process wrote them last.
///
/// It is built as the cache of a processor is: a key's hash leads to a set of eight entries, and the one of them that was
/// used longest ago gives way. So it takes the same memory however many rows there are, and forgets a few at a time. Of
/// the key an entry has 16 bits more of the hash, so one place in some thousands is that of another row.
pub struct TidCache {
    /// The table's file: a table that was rewritten has its rows elsewhere.
    file: Option<(pg_sys::Oid, pg_sys::Oid)>,
    hasher: RandomState,
    entries: Vec<PackedTid>,
}

/// 16 bits of the hash, 32 of the block, 16 of the number in the block, which is never 0; 0 is an empty entry.
type PackedTid = u64;

/// Entries that a key may be in: as many as a processor reads from memory at a time.
const WAYS: usize = 8;

impl TidCache {
    /// Remembers so many rows: a power of two, 8 at least.
    pub fn new(rows: usize) -> Self {
        debug_assert!(rows.is_power_of_two() && rows >= WAYS);
        TidCache { file: None, hasher: RandomState::new(), entries: vec![0; rows] }
    }

    /// Forgets everything unless it is of this table and file.
    pub fn belong_to(&mut self, file: (pg_sys::Oid, pg_sys::Oid)) {
        if self.file.replace(file) != Some(file) {
            self.entries.fill(0);
        }
    }

    /// Where the row with this key was.
    pub fn get(&self, key: impl Hash) -> Option<Tid> {
        let (set, tag) = self.set_of(key);
        let entry =
            self.entries[set..set + WAYS].iter().find(|entry| **entry & TAG == tag && **entry != 0)?;
        Some(Tid((entry >> 16) as u32, *entry as u16))
    }

    /// Remembers where the row with this key is.
    pub fn insert(&mut self, key: impl Hash, Tid(block, offset): Tid) {
        let (set, tag) = self.set_of(key);
        let set = &mut self.entries[set..set + WAYS];
        // In the order of their last use: whatever is in front of the key's own entry, or of the last one, moves back by one.
        let own = set.iter().position(|entry| *entry & TAG == tag || *entry == 0).unwrap_or(WAYS - 1);
        set[..=own].rotate_right(1);
        set[0] = tag | u64::from(block) << 16 | u64::from(offset);
    }

    /// The first entry that a key may be in, and its tag.
    fn set_of(&self, key: impl Hash) -> (usize, PackedTid) {
        let hash = self.hasher.hash_one(key);
        let set = hash as usize & (self.entries.len() - 1) & !(WAYS - 1);
        (set, hash & TAG)
    }
}

/// The bits of an entry that are the key's.
const TAG: PackedTid = 0xffff << 48;

/// Stands for a key: 128 bits, so that no two keys of any table that there will be have the same, whoever chooses them.
pub type Digest = u128;

/// A set of keys, of which it forgets those that were met longest ago when they become too many. It takes the same memory
/// however many there are, as `TidCache` does.
pub struct DigestSet {
    /// SipHash under two keys that nobody knows.
    hashers: [RandomState; 2],
    /// 0 is an empty entry.
    entries: Vec<Digest>,
}

impl DigestSet {
    /// Remembers so many keys: a power of two, 8 at least.
    pub fn new(keys: usize) -> Self {
        debug_assert!(keys.is_power_of_two() && keys >= WAYS);
        DigestSet { hashers: [RandomState::new(), RandomState::new()], entries: vec![0; keys] }
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
    pub fn prefetch(&mut self, digests: &[Digest]) {
        let read = digests.iter().fold(0, |read, digest| {
            let set = self.set_of(*digest);
            read ^ set[0] ^ set[WAYS - 1]
        });
        std::hint::black_box(read);
    }

    /// Whether the key is among them.
    pub fn touch(&mut self, digest: Digest) -> bool {
        let set = self.set_of(digest);
        let own = set.iter().position(|entry| *entry == digest);
        if let Some(own) = own {
            set[..=own].rotate_right(1);
        }
        own.is_some()
    }

    /// Adds a key that is not among them.
    pub fn insert(&mut self, digest: Digest) {
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

/// Predicts whether a key of which this process knows no row has none. Such a key is inserted at once, without a look-up.
///
/// A leaky bucket: a key that had a row adds 9, a key that had none takes 1 away. Up to 36 the predictor expects no row. The
/// bucket never holds more than 108, so that 72 misses are enough to be believed again.
///
/// A wrong prediction costs as much as a few look-ups and leaves a dead row. So more than one wrong in ten is not worth it.
#[derive(Default)]
pub struct MissPredictor {
    hits: u32,
}

/// What a key that had a row adds.
const HIT: u32 = 9;
/// Up to here the predictor expects no row.
const BELIEVED: u32 = 4 * HIT;
/// The most that the bucket holds.
const FULL: u32 = 3 * BELIEVED;

impl MissPredictor {
    /// Whether to expect that there is no row.
    pub fn predicts_miss(&self) -> bool {
        self.hits <= BELIEVED
    }

    /// Records whether a key had a row, of which this process knew none.
    pub fn record(&mut self, had_row: bool) {
        self.hits = if had_row { FULL.min(self.hits + HIT) } else { self.hits.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (pg_sys::Oid, pg_sys::Oid) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);

    fn tid(n: u32) -> Tid {
        Tid(n, n as u16 | 1)
    }

    #[test]
    fn the_last_place_of_a_key_is_remembered() {
        let mut tids = TidCache::new(1024);
        for n in 0..100 {
            tids.insert(n, tid(n));
            tids.insert(n, tid(n + 7));
        }
        let known = (0..100).filter(|n| tids.get(*n) == Some(tid(n + 7)));
        // All of them, but for a set that more than eight have met in, or two that look the same.
        assert!(known.count() >= 95);
        assert_eq!((0..100).filter(|n| tids.get(*n) == Some(tid(*n))).count(), 0);
    }

    #[test]
    fn the_largest_place_is_not_cut() {
        let mut tids = TidCache::new(8);
        tids.insert("key", Tid(u32::MAX, u16::MAX));
        assert_eq!(tids.get("key"), Some(Tid(u32::MAX, u16::MAX)));
        tids.insert("key", Tid(0, 1));
        assert_eq!(tids.get("key"), Some(Tid(0, 1)));
    }

    #[test]
    fn who_was_used_longest_ago_gives_way() {
        let mut tids = TidCache::new(8);
        (0..8).for_each(|n| tids.insert(n, tid(n)));
        tids.insert(0, tid(0));
        tids.insert(8, tid(8));
        assert_eq!(tids.get(0), Some(tid(0)));
        assert_eq!(tids.get(8), Some(tid(8)));
        assert_eq!(tids.get(1), None);
    }

    #[test]
    fn another_file_has_its_rows_elsewhere() {
        let mut tids = TidCache::new(8);
        tids.belong_to(FILE);
        tids.insert(1, tid(1));
        tids.belong_to(FILE);
        assert_eq!(tids.get(1), Some(tid(1)));
        tids.belong_to((pg_sys::Oid::INVALID, 7.into()));
        assert_eq!(tids.get(1), None);
    }

    #[test]
    fn keys_are_met_again() {
        let mut digests = DigestSet::new(1024);
        let met = |digests: &mut DigestSet| {
            let all: Vec<_> = (0u32..100).map(|n| digests.digest(&n.to_le_bytes())).collect();
            all.iter().filter(|digest| digests.touch(**digest)).count()
        };
        assert_eq!(met(&mut digests), 0);
        (0u32..100).for_each(|n| digests.insert(digests.digest(&n.to_le_bytes())));
        // All of them, but for a set that more than eight have met in.
        assert!(met(&mut digests) >= 95);
        digests.clear();
        assert_eq!(met(&mut digests), 0);
    }

    #[test]
    fn the_key_met_longest_ago_is_forgotten() {
        let mut digests = DigestSet::new(8);
        (1..=8).for_each(|digest| digests.insert(digest));
        assert!(digests.touch(1));
        digests.insert(9);
        assert!(digests.touch(1));
        assert!(digests.touch(9));
        assert!(!digests.touch(2));
    }

    #[test]
    fn many_wrong_guesses_are_not_repeated_soon() {
        let mut predictor = MissPredictor::default();
        let mut guess = |keys: u32, one_is_there_in: u32| {
            let mut likely = 0;
            for n in 0..keys {
                likely += u32::from(predictor.predicts_miss());
                predictor.record(n % one_is_there_in == 0);
            }
            likely
        };
        assert_eq!(guess(1000, 20), 1000);
        assert!(guess(1000, 2) < 20);
        assert!(guess(1000, 20) > 500);
        assert_eq!(guess(1000, 20), 1000);
    }
}
