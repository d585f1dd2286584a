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

/// What kind of transaction writes the aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterKind {
    /// A transaction that has changed page views, or that counts a batch among other things.
    Transaction,
    /// A batch of a backfill that is a transaction of its own, and is followed by others.
    Batch,
}

/// New rows that are put into a table by one call.
const ROWS_PER_INSERT: usize = 64;
