//! What a process remembers of rows that it has written, to save index look-ups. No I/O.
//!
//! A remembered tid and a prediction are guesses, which the caller checks. A digest identifies its key: see
//! `Digest`.

use std::hash::{BuildHasher, Hash, RandomState};

use pgrx::pg_sys;

use crate::pg::tid::Tid;

/// The tids of rows of a table, as this process last wrote them.
///
/// It works as a processor's cache does. The hash of a key selects a set of eight entries. A new entry
/// replaces the one of them that was used longest ago. So the memory is fixed, however many rows there are,
/// and each insertion forgets one row at most. An entry keeps 16 more bits of the hash. So one tid in some
/// thousands is that of another row.
pub struct TidCache {
    /// The table and its file: rows of a rewritten table are elsewhere.
    file: Option<(pg_sys::Oid, pg_sys::Oid)>,
    hasher: RandomState,
    entries: Vec<PackedTid>,
}

/// 16 bits of the hash, 32 of the block, 16 of the line pointer's number, which is never 0. 0 is an empty
/// entry.
type PackedTid = u64;

/// How many entries a set has: with entries of 8 bytes, as many as fit a cache line.
const WAYS: usize = 8;

impl TidCache {
    /// With room for so many rows: a power of two, at least 8.
    pub fn new(rows: usize) -> Self {
        debug_assert!(rows.is_power_of_two() && rows >= WAYS);
        TidCache { file: None, hasher: RandomState::new(), entries: vec![0; rows] }
    }

    /// Forgets everything if the cache is of another table or file.
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
        // Entries are in the order of their last use. The key's own entry, or else the last one, is replaced;
        // those in front of it move back by one.
        let own = set.iter().position(|entry| *entry & TAG == tag || *entry == 0).unwrap_or(WAYS - 1);
        set[..=own].rotate_right(1);
        set[0] = tag | u64::from(block) << 16 | u64::from(offset);
    }

    /// The first entry of the key's set, and the key's tag.
    fn set_of(&self, key: impl Hash) -> (usize, PackedTid) {
        let hash = self.hasher.hash_one(key);
        let set = hash as usize & (self.entries.len() - 1) & !(WAYS - 1);
        (set, hash & TAG)
    }
}

/// The bits of an entry that hold the hash.
const TAG: PackedTid = 0xffff << 48;

/// Stands for a key. It has 128 bits under secret hash keys. So no two keys of any real table have the same
/// digest, even if an attacker chooses them.
pub type Digest = u128;

/// A set of keys of fixed memory, as `TidCache`: a new key replaces the one of its set that was used longest
/// ago.
pub struct DigestSet {
    /// SipHash under two secret keys.
    hashers: [RandomState; 2],
    /// 0 is an empty entry.
    entries: Vec<Digest>,
}

impl DigestSet {
    /// With room for so many keys: a power of two, at least 8.
    pub fn new(keys: usize) -> Self {
        debug_assert!(keys.is_power_of_two() && keys >= WAYS);
        DigestSet { hashers: [RandomState::new(), RandomState::new()], entries: vec![0; keys] }
    }

    /// Forgets all keys at once: with new hash keys, no old digest occurs again.
    pub fn clear(&mut self) {
        self.hashers = [RandomState::new(), RandomState::new()];
    }

    pub fn digest(&self, key: impl Hash + Copy) -> Digest {
        let [high, low] = [0, 1].map(|n| u128::from(self.hashers[n].hash_one(key)));
        high << 64 | low
    }

    /// Loads the entries of these keys into the processor's cache. They are all over the memory. To wait for
    /// one after another takes longer than all other work of a batch on sessions that it knows.
    pub fn prefetch(&mut self, digests: &[Digest]) {
        let read = digests.iter().fold(0, |read, digest| {
            let set = self.set_of(*digest);
            read ^ set[0] ^ set[WAYS - 1]
        });
        std::hint::black_box(read);
    }

    /// Whether the set has the key, which becomes the one used last.
    pub fn touch(&mut self, digest: Digest) -> bool {
        let set = self.set_of(digest);
        let own = set.iter().position(|entry| *entry == digest);
        if let Some(own) = own {
            set[..=own].rotate_right(1);
        }
        own.is_some()
    }

    /// Adds a key that the set does not have.
    pub fn insert(&mut self, digest: Digest) {
        let set = self.set_of(digest);
        set.rotate_right(1);
        set[0] = digest;
    }

    /// The entries of the key's set, in the order of their last use.
    fn set_of(&mut self, digest: Digest) -> &mut [Digest] {
        let set = digest as usize & (self.entries.len() - 1) & !(WAYS - 1);
        &mut self.entries[set..set + WAYS]
    }
}

/// Predicts whether a key without a cached row has no row at all. Such a key is inserted at once, without a
/// look-up.
///
/// A leaky bucket: a key that had a row adds 9, a key that had none takes 1 away. Up to 36 the predictor
/// expects no row. The bucket never holds more than 108, so that 72 misses are enough to be believed again.
///
/// A wrong prediction costs as much as a few look-ups, and leaves a dead row. So more than one wrong in ten
/// is not worth it.
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

    /// Records whether a key without a cached row had a row.
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
        // All of them, except in sets with more than eight keys, or where two keys have the same tag.
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
            let all: Vec<_> = (0u32..100).map(|n| digests.digest(n.to_le_bytes())).collect();
            all.iter().filter(|digest| digests.touch(**digest)).count()
        };
        assert_eq!(met(&mut digests), 0);
        (0u32..100).for_each(|n| digests.insert(digests.digest(n.to_le_bytes())));
        // All of them, except in sets with more than eight keys.
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
