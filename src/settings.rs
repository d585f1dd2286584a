//! Every setting. None that changes what is counted can be changed by a role that records views: all are for
//! superusers, the configuration file, and `ALTER DATABASE ... SET` by a superuser.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

/// Rows per batch that a caller may ask for.
pub const BATCH_SIZES: std::ops::RangeInclusive<i32> = 1..=100_000;

/// Declares the settings, each with its default, range, unit, who may set it, what it is, and what else there is to know.
macro_rules! settings {
    ($($setting:ident = $name:literal, $default:literal in $range:expr, $unit:expr, $context:ident:
        $what:literal $more:literal;)*) => {
        $(static $setting: GucSetting<i32> = GucSetting::<i32>::new($default);)*

        /// Defines the settings and reserves their prefix, so that a misspelt one is an error.
        pub fn register() {
            $(GucRegistry::define_int_guc(
                $name, $what, $more, &$setting, *$range.start(), *$range.end(), GucContext::$context, $unit,
            );)*
            // SAFETY: called from _PG_init with a NUL-terminated string that lives for ever.
            unsafe { pg_sys::MarkGUCPrefixReserved(c"site_stats".as_ptr()) };
        }
    };
}

const NO_UNIT: GucFlags = GucFlags::empty();

settings! {
    BACKFILL_BATCH_SIZE = c"site_stats.backfill_batch_size", 500 in BATCH_SIZES, NO_UNIT, Suset:
        c"Rows that a backfill reads in one transaction."
        c"Larger batches are faster and hold their locks longer.";
    BACKFILL_BATCH_DELAY = c"site_stats.backfill_batch_delay", 0 in (0..=60_000), GucFlags::UNIT_MS, Suset:
        c"Pause between two batches of a backfill."
        c"Raise it to leave more of the server to others.";
    BACKFILL_LOCK_TIMEOUT = c"site_stats.backfill_lock_timeout", 200 in (1..=60_000), GucFlags::UNIT_MS, Suset:
        c"Longest time that a backfill waits for a lock before it gives way and tries again."
        c"No transaction waits behind the beginning of a backfill for longer. Half of deadlock_timeout is the most that counts.";
    DEDUP_WINDOW = c"site_stats.dedup_window", 1800 in (0..=7 * 86_400), GucFlags::UNIT_S, Suset:
        c"Time in which a second page view of a path by the same session is a duplicate."
        c"Measured from the last recorded view; 0 records every page view.";
    SESSION_TIMEOUT = c"site_stats.session_timeout", 120 in (1..=86_400), GucFlags::UNIT_S, Suset:
        c"Time after its last heartbeat in which a session is active."
        c"";
    HEARTBEAT_WINDOW = c"site_stats.heartbeat_window", 45 in (0..=86_400), GucFlags::UNIT_S, Suset:
        c"Time in which a second heartbeat of a session on the same path is a duplicate."
        c"Keep it below site_stats.session_timeout; 0 records every heartbeat.";
    MAX_VIEWS_PER_MINUTE = c"site_stats.max_views_per_minute", 30 in (0..=1_000_000), NO_UNIT, Suset:
        c"Page views that a session may record in a minute."
        c"0 for any number.";
    COUNTER_SLOTS = c"site_stats.counter_slots", 64 in (1..=1024), NO_UNIT, Suset:
        c"Counter slots that concurrent writers share before further ones are opened."
        c"More counter slots than concurrent writers have no use.";
    MAINTENANCE_INTERVAL = c"site_stats.maintenance_interval", 300 in (0..=86_400), GucFlags::UNIT_S, Sighup:
        c"Time between two rounds of maintenance through all databases."
        c"Only with site_stats in shared_preload_libraries; 0 for one round when the server starts.";
}

/// Rows that a backfill reads in one transaction.
pub fn backfill_batch_size() -> i32 {
    BACKFILL_BATCH_SIZE.get()
}

/// The pause between two batches.
pub fn backfill_batch_delay() -> Duration {
    milliseconds(&BACKFILL_BATCH_DELAY)
}

/// How long a batch, or the beginning of a backfill, waits for a lock before it gives way and tries again. It stays
/// below half of `deadlock_timeout`, so that in a deadlock between a writer and a batch the batch gives way.
pub fn backfill_lock_timeout() -> Duration {
    // SAFETY: a plain integer of this process, written by the configuration code of the same thread.
    let deadlock_timeout = unsafe { pg_sys::DeadlockTimeout };
    let limit = Duration::from_millis(u64::try_from(deadlock_timeout / 2).unwrap_or(0).max(1));
    milliseconds(&BACKFILL_LOCK_TIMEOUT).min(limit)
}

/// Seconds in which a second view of a path by a session is a duplicate.
pub fn dedup_window() -> i32 {
    DEDUP_WINDOW.get()
}

/// Seconds after the last heartbeat in which a session is active.
pub fn session_timeout() -> i32 {
    SESSION_TIMEOUT.get()
}

/// Seconds in which a second heartbeat of a session on the same path is a duplicate.
pub fn heartbeat_window() -> i32 {
    HEARTBEAT_WINDOW.get()
}

/// Views that a session may record in a minute; 0 for any number.
pub fn max_views_per_minute() -> i32 {
    MAX_VIEWS_PER_MINUTE.get()
}

/// Slots that writers share before further ones are opened.
pub fn counter_slots() -> i32 {
    COUNTER_SLOTS.get()
}

/// The time from one round of the launcher through the databases to the next; None for one round when it starts.
pub fn maintenance_interval() -> Option<Duration> {
    match u64::try_from(MAINTENANCE_INTERVAL.get()).unwrap_or(0) {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    }
}

fn milliseconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_millis(u64::try_from(setting.get()).unwrap_or(0))
}
