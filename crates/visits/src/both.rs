//! Groups of an origin and a client, of which values are joined: a browser is that of many clients. So page views are counted once,
//! whatever is asked of origins and clients.
//!
//! All numbers of joined groups add up but the visitors: a session may be in several groups. Who was in which group tells these.

use rustc_hash::FxHashMap;

use crate::question::{Group, Numbers};

/// Groups, by the number that each has.
#[derive(Default)]
pub struct Both {
    /// The origin and the client of each group, 0 for none.
    pub groups: Vec<(u32, u32)>,
    numbers: FxHashMap<(u32, u32), Group>,
    /// Each session in each group: a key of the session, and the group.
    seen: Vec<(u64, Group)>,
}

impl Both {
    /// The group of an origin and a client.
    pub(crate) fn group(&mut self, origin: u32, client: u32) -> Group {
        let next = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let group = *self.numbers.entry((origin, client)).or_insert(next);
        if group == next {
            self.groups.push((origin, client));
        }
        group
    }

    /// Notes a session in a group, once: one with a number, or the only run that it has.
    pub(crate) fn note(&mut self, session: Option<u32>, run: u32, group: Group) {
        self.seen.push((session.map_or(1 << u32::BITS | u64::from(run), u64::from), group));
    }

    /// Puts the groups of a session beside each other, as `joined` needs them.
    pub fn sort(&mut self) {
        self.seen.sort_unstable();
    }

    /// The numbers of rows, each of which is several of the groups. `rows` is above all that `row_of` gives.
    pub fn joined(
        &self,
        groups: &[(Group, Numbers)],
        rows: usize,
        row_of: impl Fn(Group) -> usize,
    ) -> Joined {
        let mut joined = Joined { rows: vec![Numbers::default(); rows], several: Vec::new() };
        for (group, numbers) in groups {
            joined.rows.get_mut(row_of(*group)).into_iter().for_each(|sum| add(sum, numbers));
        }
        let mut met: Vec<usize> = Vec::new();
        for session in self.seen.chunk_by(|(one, _), (other, _)| one == other) {
            met.clear();
            for (_, group) in session {
                let row = row_of(*group);
                if !met.contains(&row) {
                    met.push(row);
                }
            }
            match met.as_slice() {
                [row] => joined.rows.get_mut(*row).into_iter().for_each(|sum| sum.visitors += 1),
                rows => joined.several.extend([&[rows.len()], rows].concat()),
            }
        }
        joined
    }
}

/// Groups joined to rows, which are joined to values again and again.
pub struct Joined {
    /// `visitors` are the sessions that are in no other row.
    rows: Vec<Numbers>,
    /// Of each other session in how many rows it is, and these rows.
    several: Vec<usize>,
}

impl Joined {
    /// The numbers of values, each of which is several of the rows. `values` is above all that `value_of` gives.
    pub fn numbers(&self, values: usize, value_of: impl Fn(usize) -> usize) -> Vec<Numbers> {
        let mut values = vec![Numbers::default(); values];
        for (row, numbers) in self.rows.iter().enumerate() {
            if let Some(sum) = values.get_mut(value_of(row)) {
                add(sum, numbers);
                sum.visitors += numbers.visitors;
            }
        }
        let mut met: Vec<usize> = Vec::new();
        let mut rest = self.several.as_slice();
        while let Some((count, others)) = rest.split_first() {
            let (rows, others) = others.split_at((*count).min(others.len()));
            rest = others;
            met.clear();
            for row in rows {
                let value = value_of(*row);
                if !met.contains(&value) {
                    met.push(value);
                    values.get_mut(value).into_iter().for_each(|sum| sum.visitors += 1);
                }
            }
        }
        values
    }
}

/// Adds what adds up.
fn add(sum: &mut Numbers, numbers: &Numbers) {
    sum.views += numbers.views;
    sum.visits += numbers.visits;
    sum.entries += numbers.entries;
    sum.exits += numbers.exits;
    sum.bounces += numbers.bounces;
    sum.seconds += numbers.seconds;
}
