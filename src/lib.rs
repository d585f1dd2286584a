//! site_stats keeps the statistics of a web site inside PostgreSQL.
//!
//! Page views are the truth; aggregates are derived from them by triggers, in the same transaction, and by a
//! backfill, in batches. One invariant holds at every moment and everything follows from it:
//!
//! > A page view is counted in the aggregates of the current epoch if and only if its id is not in `(cursor, target]`.
//!
//! SQL (`sql/*.sql`) decides which rows; Rust decides when, what is valid, and does the arithmetic of deltas.
//!
//! The code is in six rooms, and each uses only those to its left (`bin/check-rooms` keeps it so):
//!
//! `pg <- count <- backfill <- record <- maintenance <- report`
//!
//! | room | owns |
//! |---|---|
//! | [`pg`] | the ways into PostgreSQL that pgrx does not have, and where its versions differ |
//! | [`count`] | page views into counters: triggers, tallies, the state that says what is counted, folding and sweeping |
//! | [`backfill`] | a run that counts all page views anew, step by step, by a worker or by a procedure |
//! | [`record`] | what a site calls: a page view, a heartbeat |
//! | [`maintenance`] | what happens by itself: the launcher, and its worker in each database |
//! | [`report`] | what people read |
//!
//! Beside them, for all rooms: [`error`] has every message with its SQLSTATE, [`settings`] every setting.
//! `docs/architecture.md` has the whole picture.

#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
// pgrx's own error type, which every function of the SQL interface returns.
#![allow(clippy::result_large_err)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use pgrx::prelude::*;

use pg::catalog;

mod backfill;
mod count;
mod error;
mod maintenance;
mod pg;
mod record;
mod report;
mod settings;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/page_views.sql", name = "page_views", bootstrap);
extension_sql_file!("../sql/totals.sql", name = "totals", requires = ["page_views"]);
extension_sql_file!("../sql/sessions.sql", name = "sessions", requires = ["totals"]);
extension_sql_file!("../sql/backfill.sql", name = "backfill", requires = ["sessions"]);
extension_sql_file!("../sql/stats.sql", name = "stats", requires = ["backfill"]);
extension_sql_file!("../sql/privileges.sql", name = "privileges", requires = ["stats"], finalize);

/// Runs once in each process that loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    backfill::fault::register();
    settings::register();
    catalog::register();
    catalog::watch(count::state::note_change);
    count::pending::register();
    count::visitors::register();
    maintenance::launcher::register();
}
