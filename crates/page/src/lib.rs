//! The statistics page: what its URL asks for, and its HTML.
//!
//! No PostgreSQL, no I/O, no clock. Whoever has the numbers parses the URL (`Query`), finds the days (`Range`), gathers what
//! `Answers` has for these, and calls `render`. The templates escape every text that they show, so what visitors send stays text. A
//! page has at most some 90 kB, whatever is in the numbers: texts are cut, rows are few, and links that would be too long are left out.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod answers;
mod chart;
mod dates;
mod map;
mod names;
mod numbers;
mod query;
mod range;
mod view;
mod words;

pub use answers::{Active, Answers, Breakdown, MOST_ROWS, Moment, Order, PARTS, Part, Place, Starts, Total};
pub use query::{Filter, Query, Test};
pub use range::{Period, Range};
pub use view::{render, to_ascii};
pub use words::WORDS;
