//! The launch of a backfill worker. It is apart from `worker`, since `requests` needs it and `worker` needs
//! `requests`.

use pgrx::pg_sys;

use crate::pg::bgworker;

/// The `backend_type` in `pg_stat_activity`.
const NAME: &str = "site_stats backfill";

/// Registers a backfill worker for this database. The worker looks for work when the calling transaction has
/// ended. False if no worker slot is free.
pub fn launch() -> bool {
    // SAFETY: `MyDatabaseId` is an integer that this process sets when it connects, and never again.
    bgworker::launch(NAME, "site_stats_backfill_main", unsafe { pg_sys::MyDatabaseId }, 0).is_some()
}
