//! Page views as visits: how spans of them are kept in bytes, and what reports count in them.
//!
//! This crate knows no PostgreSQL. Pages, origins and clients are numbers here; who asks knows what they stand for.
//!
//! A **span** is some page views of a site, by session and visit. A session has one **run** in a span, which is divided into
//! **fragments**: the views of one visit in this span. A fragment knows what it needs from before the span, so that every question
//! is answered by looking at each fragment once.
//!
//! | module | |
//! |---|---|
//! | `packed` | columns of numbers with as few bits as they need |
//! | `span` | a span in memory, made of views in their order |
//! | `keys` | sets of ids, and what was counted of each |
//! | `columns` | a span as bytes, and back |
//! | `question` | the seven numbers of a report |
//! | `both` | groups of an origin and a client, of which values are joined |
//! | `slots` | which group a time is in |
//! | `digest` | whether two ways to the same views agree |
//! | `calendar` | days, weeks, months and hours in a time zone |

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod both;
pub mod calendar;
pub mod columns;
pub mod digest;
mod keys;
mod packed;
pub mod question;
mod slots;
pub mod span;

/// What is wrong with bytes that should be a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged(pub &'static str);
