//! site_stats keeps the statistics of a web site inside PostgreSQL.
//!
//! Page views are the truth; aggregates are derived from them by triggers, in the same transaction, and by a
//! backfill, in batches. One invariant holds at every moment and everything follows from it:
//!
//! > A page view is counted in the aggregates of the current epoch if and only if its id is not in `(cursor, target]`.
//!
//! SQL (`sql/*.sql`) decides which rows; Rust decides when, what is valid, and does the arithmetic of deltas.
//!
//! | module | owns |
//! |---|---|
//! | `page_views` | the triggers: changed rows into a tally |
//! | `page_view`, `tid` | a page view, and where a row is |
//! | `tally` | the arithmetic: rows into deltas per path, day and session |
//! | `pending` | what the open transaction has counted, until it is flushed |
//! | `totals` | the only code that counts: a tally into the aggregates |
//! | `session_set` | ... of sessions |
//! | `table` | the way to a row of the aggregates, past the executor |
//! | `indexes` | the way of such a row into all indexes of its table |
//! | `scans` | the way to page views, and to rows of small tables, without a plan |
//! | `places` | what a process remembers of rows that it has written |
//! | `reads` | statistics in the transaction that has changed them |
//! | `paths` | the most viewed paths, and the sums over all |
//! | `slots` | which part of each counter a transaction may write |
//! | `sweep`, `fold` | old rows out, idle slots together |
//! | `catalog` | the names of our tables, and who hears of changes |
//! | `state` | the row that says which views are counted |
//! | `record_page_view`, `heartbeat`, `arguments` | what a site calls |
//! | `backfill` | a run, turn by turn |
//! | `growth` | new pages of the aggregates, on their way to the disk |
//! | `requests` | start, stop, wait |
//! | `worker`, `foreground` | who takes the turns: a background process, or `CALL backfill()` |
//! | `launcher`, `maintenance` | with `shared_preload_libraries`: what happens by itself, in every database |
//! | `process` | what these background processes have in common |
//! | `snapshot` | what a transaction sees |
//! | `transaction` | the conditions that a turn runs under |
//! | `locks`, `spi`, `datum` | the ways into the server that pgrx does not have |
//! | `version` | where versions of PostgreSQL differ |
//! | `settings`, `error` | every setting, every message |
//! | `fault` | faults on purpose, in builds for tests |

#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
// pgrx's own error type, which every function of the SQL interface returns.
#![allow(clippy::result_large_err)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use pgrx::prelude::*;

/// How the server learns, of a function that is not one of pgrx's, that it takes its arguments in the usual way: by a function
/// of this name, `pg_finfo_` and that of the other.
macro_rules! describe_to_server {
    ($name:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> *const ::pgrx::pg_sys::Pg_finfo_record {
            static RECORD: ::pgrx::pg_sys::Pg_finfo_record =
                ::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &raw const RECORD
        }
    };
}
pub(crate) use describe_to_server;

mod arguments;
mod backfill;
mod catalog;
mod datum;
mod error;
mod fault;
mod fold;
mod foreground;
mod growth;
mod heartbeat;
mod indexes;
mod launch;
mod launcher;
mod locks;
mod maintenance;
mod page_view;
mod page_views;
mod paths;
mod pending;
mod places;
mod process;
mod reads;
mod record_page_view;
mod requests;
mod scans;
mod session_set;
mod settings;
mod slots;
mod snapshot;
mod spi;
mod state;
mod status;
mod sweep;
mod table;
mod tally;
mod tid;
mod totals;
mod transaction;
mod version;
mod worker;

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
    fault::register();
    settings::register();
    catalog::register();
    catalog::watch(state::note_change);
    pending::register();
    session_set::register();
    launcher::register();
}
