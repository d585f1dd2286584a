//! Whether two ways to the same views agree: how many views of each day there are, and a sum over hashes of all that is known of
//! each of them. It does not matter how the views are divided into spans.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::calendar::DAY;
use crate::span::Span;

/// The views of a UTC day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfDay {
    pub views: i64,
    pub hash: u64,
}

/// The views by their UTC days, in days since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub BTreeMap<i64, OfDay>);

impl Digest {
    /// Adds the runs of a span that are not dead.
    pub fn add(&mut self, span: &Span, is_dead: impl Fn(usize) -> bool) {
        let mut parts = span.parts();
        for (number, run) in span.runs.iter().enumerate() {
            let is_alive = !is_dead(number);
            for part in parts.by_ref().take(run.fragments as usize).filter(|_| is_alive) {
                let fragment = part.fragment;
                let of_visit = (run.session, fragment.visit, fragment.origin, fragment.client);
                let mut entry = part.earlier.map(|earlier| earlier.entry);
                let mut last = part.earlier.map(|earlier| (earlier.last, earlier.is_single));
                for at in part.moments() {
                    let entry = *entry.get_or_insert(at);
                    let mut hasher = FxHasher::default();
                    let moments = [Some(at), Some(entry), last.map(|(last, _)| last)];
                    let moments = moments.map(|at| at.map(|at| (at.page, at.kind, at.time)));
                    (of_visit, moments, last.is_some_and(|(_, is_single)| is_single)).hash(&mut hasher);
                    let of_day = self.0.entry(at.time.div_euclid(DAY)).or_default();
                    of_day.views += 1;
                    of_day.hash = of_day.hash.wrapping_add(hasher.finish());
                    last = Some((at, last.is_none()));
                }
            }
        }
    }

    /// The days in which two digests differ: what each of them has.
    pub fn differences(&self, other: &Digest) -> Vec<(i64, OfDay, OfDay)> {
        let mut days: Vec<_> = self.0.keys().chain(other.0.keys()).copied().collect();
        days.sort_unstable();
        days.dedup();
        let of = |digest: &Digest, day: &i64| digest.0.get(day).copied().unwrap_or_default();
        days.iter()
            .map(|day| (*day, of(self, day), of(other, day)))
            .filter(|(_, one, two)| one != two)
            .collect()
    }
}
