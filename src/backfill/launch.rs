//! How a worker for a backfill is registered: apart from its life, since whoever asks for a backfill launches it.

use pgrx::pg_sys;

use crate::pg::bgworker;

/// What `pg_stat_activity` shows as the type of the process.
const NAME: &str = "site_stats backfill";

/// Registers a worker for this database. It looks for work when the calling transaction has ended. False if the server has
/// no slot for it.
pub fn launch() -> bool {
    // SAFETY: a plain number of this process.
    bgworker::launch(NAME, "site_stats_backfill_main", unsafe { pg_sys::MyDatabaseId }, 0).is_some()
}
