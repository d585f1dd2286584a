//! site_stats keeps the statistics of a web site inside PostgreSQL.
//!
//! Page views are the truth. Triggers derive the aggregates from them in the same transaction, and a backfill
//! derives them in batches. One invariant holds at every moment, and everything follows from it:
//!
//! > A page view is counted in the aggregates of the current epoch if and only if its id is not in
//! > `(cursor, target]`.
//!
//! SQL (`sql/*.sql`) decides which rows. Rust decides when and what is valid, and adds up the changes of
//! counters.
//!
//! The code is in eight rooms, and each uses only those to its left (`bin/check-rooms` keeps it so):
//!
//! `pg <- count <- backfill <- span <- record <- maintenance <- report <- page`
//!
//! | room | owns |
//! |---|---|
//! | `pg` | the ways into PostgreSQL that pgrx does not have, and where its versions differ |
//! | `count` | page views into counters: triggers, tallies, the state row, folding and sweeping |
//! | `backfill` | a run that counts all page views anew, step by step, in a worker or in a procedure |
//! | `span` | page views by session and visit, from which reports are answered |
//! | `record` | what a site calls: a page view, a heartbeat, an event, the removal of page views; what it refuses |
//! | `maintenance` | the launcher, and the maintenance worker of each database |
//! | `report` | reads of the statistics that need more than a query in SQL |
//! | `page` | the statistics page: numbers of one snapshot, rendered by `crates/page` |
//!
//! Beside the rooms, and used by all of them: `error` has every error with its SQLSTATE, `settings` has every
//! setting. `docs/architecture.md` has the whole picture.

// Functions of the SQL interface return pgrx's own error type, which is large.
#![allow(clippy::result_large_err)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use pgrx::prelude::*;

use pg::catalog;

mod backfill;
mod count;
mod error;
mod maintenance;
mod page;
mod pg;
mod record;
mod report;
mod settings;
mod span;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/sites.sql", name = "sites", bootstrap);
extension_sql_file!("../sql/page_views.sql", name = "page_views", requires = ["sites"]);
extension_sql_file!("../sql/count.sql", name = "count", requires = ["page_views"]);
extension_sql_file!("../sql/record.sql", name = "record", requires = ["count"]);
extension_sql_file!("../sql/refusals.sql", name = "refusals", requires = ["record"]);
extension_sql_file!("../sql/receive.sql", name = "receive", requires = ["refusals"]);
extension_sql_file!("../sql/backfill.sql", name = "backfill", requires = ["receive"]);
extension_sql_file!("../sql/report.sql", name = "report", requires = ["backfill"]);
extension_sql_file!("../sql/spans.sql", name = "spans", requires = ["report"]);
extension_sql_file!("../sql/ranges.sql", name = "ranges", requires = ["spans"]);
extension_sql_file!("../sql/page.sql", name = "page", requires = ["ranges"]);
extension_sql_file!("../sql/tracker.sql", name = "tracker", requires = ["page"]);
extension_sql_file!("../sql/removal.sql", name = "removal", requires = ["tracker"]);
extension_sql_file!(
    "../sql/privileges.sql",
    name = "privileges",
    requires = ["report", "refusals", "removal"],
    finalize
);

/// Runs once in each process that loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    backfill::fault::register();
    settings::register();
    catalog::register();
    catalog::watch(pg::heap_table::definition::note_change);
    catalog::watch(count::loss::note_change);
    catalog::watch(count::page_view::note_change);
    catalog::watch(count::sites::note_change);
    catalog::watch(count::spanned::note_change);
    catalog::watch(count::state::note_change);
    catalog::watch(record::dictionary::note_change);
    catalog::watch(record::site::note_change);
    count::pending::register();
    count::visitors::register();
    maintenance::launcher::register();
}
