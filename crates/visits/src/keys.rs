//! Sets of keys that are ids of page views: mostly dense, since ids are given one after the other.

use rustc_hash::{FxHashMap, FxHashSet};

const BITS: u64 = u64::BITS as u64;

/// The widest range of keys that is held as bits, for each key. Beyond it a hash table takes less memory.
const SPARSE: u64 = 512;

/// 8 kB, which stay in a processor's cache.
const FILTER_WORDS: usize = 1024;

/// The word and the bit of a key in a filter.
fn filter_bit(key: u64) -> (usize, u64) {
    let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    ((hash / BITS) as usize, 1 << (hash % BITS))
}

/// A set of keys, each with a number from 0 on.
#[derive(Default)]
pub struct Keys {
    /// The key of the lowest bit.
    base: u64,
    /// A bit for each key, and how many keys are before each word.
    words: Vec<(u64, u32)>,
    /// In place of bits, and a filter (Bloom): a key that is there has its bit.
    sparse: FxHashMap<u64, u32>,
    filter: Vec<u64>,
    count: u32,
}

impl Keys {
    /// The set of these keys, which may come several times.
    pub fn new(keys: &[u64]) -> Self {
        let (Some(base), Some(last)) = (keys.iter().min(), keys.iter().max()) else { return Keys::default() };
        let words = (last - base) / BITS + 1;
        if words > (keys.len() as u64).saturating_mul(SPARSE) / BITS + 1 {
            let (mut sparse, mut filter) = (FxHashMap::default(), vec![0; FILTER_WORDS]);
            for key in keys {
                let next = u32::try_from(sparse.len()).unwrap_or(u32::MAX);
                sparse.entry(*key).or_insert(next);
                let (word, bit) = filter_bit(*key);
                if let Some(word) = filter.get_mut(word) {
                    *word |= bit;
                }
            }
            let count = u32::try_from(sparse.len()).unwrap_or(u32::MAX);
            return Keys { sparse, filter, count, ..Keys::default() };
        }
        let mut set = Keys { base: *base, words: vec![(0, 0); words as usize], ..Keys::default() };
        for key in keys {
            let bit = key - base;
            if let Some((word, _)) = set.words.get_mut((bit / BITS) as usize) {
                *word |= 1 << (bit % BITS);
            }
        }
        for (word, before) in &mut set.words {
            *before = set.count;
            set.count += word.count_ones();
        }
        set
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// The number of a key; `None` if it is not in the set.
    #[inline]
    pub fn number(&self, key: u64) -> Option<u32> {
        if self.words.is_empty() {
            let (word, bit) = filter_bit(key);
            let may_be_there = self.filter.get(word).is_some_and(|word| word & bit != 0);
            return if may_be_there { self.sparse.get(&key).copied() } else { None };
        }
        let bit = key.wrapping_sub(self.base);
        let (word, before) = self.words.get(usize::try_from(bit / BITS).ok()?)?;
        let mask = 1 << (bit % BITS);
        (word & mask != 0).then(|| before + (word & (mask - 1)).count_ones())
    }
}

/// Pairs of the number of a key and a group, each once.
#[derive(Default)]
pub struct Pairs {
    heads: Vec<Head>,
    /// Groups, and the place after that of the next one.
    groups: Vec<(u32, u32)>,
    /// The groups of numbers that have many.
    many: FxHashSet<(u32, u32)>,
}

/// What there is of one number. Who adds several groups takes it out, and puts it back: reading it can take longer than all else.
#[derive(Clone, Copy, Default)]
pub struct Head {
    /// The place after that of the last group, 0 for none.
    last: u32,
    /// A filter (Bloom): a group that is there has its bit.
    filter: u32,
}

/// In place of a head's last group: the groups are in `many`.
const IN_MANY: u32 = u32::MAX;

/// How many groups a list has at most.
const LISTED: usize = 32;

impl Pairs {
    pub fn new(numbers: usize) -> Self {
        Pairs { heads: vec![Head::default(); numbers], ..Pairs::default() }
    }

    /// The head of a number.
    #[inline]
    pub fn head(&self, number: u32) -> Head {
        self.heads.get(number as usize).copied().unwrap_or_default()
    }

    /// Puts the head of a number back.
    #[inline]
    pub fn put(&mut self, number: u32, head: Head) {
        if let Some(place) = self.heads.get_mut(number as usize) {
            *place = head;
        }
    }

    /// Adds a pair to the head of its number. False if it is there.
    #[inline]
    pub fn insert(&mut self, head: &mut Head, number: u32, group: u32) -> bool {
        if head.last == IN_MANY {
            return self.many.insert((number, group));
        }
        let bit = 1 << (group.wrapping_mul(0x9E37_79B1) >> (u32::BITS - 5));
        let mut is_long = false;
        if head.filter & bit != 0 {
            let (mut at, mut length) = (head.last, 0);
            while let Some((known, next)) = (at as usize).checked_sub(1).and_then(|at| self.groups.get(at)) {
                if *known == group {
                    return false;
                }
                (at, length) = (*next, length + 1);
            }
            is_long = length >= LISTED;
        }
        head.filter |= bit;
        self.groups.push((group, head.last));
        head.last = u32::try_from(self.groups.len()).unwrap_or(IN_MANY);
        if is_long || head.last == IN_MANY {
            self.list_no_more(head, number);
        }
        true
    }

    #[cold]
    fn list_no_more(&mut self, head: &mut Head, number: u32) {
        let mut at = std::mem::replace(&mut head.last, IN_MANY);
        while let Some((group, next)) = (at as usize).checked_sub(1).and_then(|at| self.groups.get(at)) {
            self.many.insert((number, *group));
            at = *next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_number_of_its_own() {
        for keys in [
            vec![],
            vec![7],
            vec![5, 900, 5, 64, 63, 901],
            vec![1, 1 << 60, 9, 1 << 60],
            (100..5_000).collect(),
        ] {
            let set = Keys::new(&keys);
            let mut numbers: Vec<_> = keys.iter().map(|key| set.number(*key).unwrap()).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers, (0..set.len() as u32).collect::<Vec<_>>());
            assert!([0, 6, 62, 5_001, u64::MAX].iter().all(|other| set.number(*other).is_none()));
        }
    }

    #[test]
    fn a_pair_comes_in_once() {
        let mut pairs = Pairs::new(2);
        let mut insert = |number, group| {
            let mut head = pairs.head(number);
            let is_new = pairs.insert(&mut head, number, group);
            pairs.put(number, head);
            is_new
        };
        let added: Vec<_> = [(0, 5), (1, 5), (0, 5), (0, 6), (1, 5), (0, 6)]
            .map(|(number, group)| insert(number, group))
            .into();
        assert_eq!(added, [true, true, false, true, false, false]);
        for round in 0..3 {
            for group in 0..100 {
                assert_eq!(insert(0, group), round == 0 && group != 5 && group != 6);
            }
        }
    }
}
