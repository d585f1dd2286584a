//! Page views into counters.
//!
//! `trigger` puts the rows of a statement into a `tally`; `pending` holds it until the transaction commits; `counters` and
//! `visitors` write it into the aggregates. `state` says which page views are counted. `fold` and `sweep` keep the
//! aggregates small.

pub mod caches;
pub mod counters;
pub mod fold;
pub mod page_view;
pub mod pending;
pub mod slots;
pub mod state;
pub mod sweep;
pub mod tally;
mod trigger;
pub mod visitors;

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A transaction that has changed page views, or that counts a batch among other things.
    Writer,
    /// A batch of a backfill that is a transaction of its own, and is followed by others.
    Batch,
}

/// New rows that are put into a table together.
const AT_ONCE: usize = 64;
