//! From page views to counters.
//!
//! `trigger` puts the rows of a statement into a `tally`. `pending` holds the tally until the transaction
//! commits. `counters` and `visitors` write it into the aggregates. `state` says which page views are
//! counted. `fold` and `sweep` keep the aggregates small. `refusal_totals` counts what was not recorded. `bounds` says what a
//! page view may hold.

pub mod bounds;
pub mod caches;
pub mod counters;
pub mod fold;
pub mod loss;
pub mod page_view;
pub mod pending;
pub mod refusal_totals;
pub mod session_scanner;
pub mod sites;
pub mod slots;
pub mod spanned;
pub mod state;
mod subxact_tallies;
pub mod sweep;
pub mod tables;
mod trigger;
pub mod visitors;

pub use site_stats_tally as tally;

/// The kind of transaction that writes the aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterKind {
    /// A transaction that has changed page views, or that counts a batch beside other work.
    Transaction,
    /// A batch of a backfill in a transaction of its own. Other batches follow it.
    Batch,
}

/// How many new rows one call inserts into a table. Chosen, not measured.
const ROWS_PER_INSERT: usize = 64;
