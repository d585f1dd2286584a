//! Spans: page views by session and visit, column by column.
//!
//! > A page view is answered from a span if and only if its id is at or below the cursor and its session is not loose. Every other
//! > page view is read from `page_views`.
//!
//! Writers keep the other half of that (`count::spanned`). The crate `site_stats_visits` has the format and the arithmetic.

pub mod batch;
pub mod erase;
mod hashed;
mod procedure;
pub mod read;
pub mod state;
mod sweep;
pub mod table;
pub mod texts;
pub mod turn;
