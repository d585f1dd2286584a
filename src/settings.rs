//! Every setting. A role that records page views can change none of them. A superuser sets them, or the
//! configuration file, or `ALTER DATABASE ... SET` by a superuser.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

/// Rows per batch that a caller may ask for.
pub const BATCH_SIZES: std::ops::RangeInclusive<i32> = 1..=100_000;

/// Declares the settings: for each the name, default, range, unit, context (who may set it), description and
/// details.
macro_rules! settings {
    ($($setting:ident = $name:literal, $default:literal in $range:expr, $unit:expr, $context:ident:
        $what:literal $more:literal;)*) => {
        $(static $setting: GucSetting<i32> = GucSetting::<i32>::new($default);)*

        /// Defines the settings and reserves their prefix, so that a misspelt one is an error.
        pub fn register() {
            $(GucRegistry::define_int_guc(
                $name, $what, $more, &$setting, *$range.start(), *$range.end(), GucContext::$context, $unit,
            );)*
            // SAFETY: the prefix is a NUL-terminated constant, which the server copies.
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
        c"A longer pause leaves more of the server to other work.";
    BACKFILL_LOCK_TIMEOUT = c"site_stats.backfill_lock_timeout", 200 in (1..=60_000), GucFlags::UNIT_MS, Suset:
        c"Longest time that a backfill waits for a lock before it gives way and tries again."
        c"No transaction waits longer for a backfill to begin. At most half of deadlock_timeout counts.";
    DEDUP_WINDOW = c"site_stats.dedup_window", 1800 in (0..=7 * 86_400), GucFlags::UNIT_S, Suset:
        c"Time in which a second page view of a path by the same session is a duplicate."
        c"Measured from the last recorded page view; 0 records every page view.";
    SESSION_TIMEOUT = c"site_stats.session_timeout", 120 in (1..=86_400), GucFlags::UNIT_S, Suset:
        c"Time after its last heartbeat in which a session is active."
        c"";
    HEARTBEAT_WINDOW = c"site_stats.heartbeat_window", 45 in (0..=86_400), GucFlags::UNIT_S, Suset:
        c"Time in which a second heartbeat of a session on the same path is a duplicate."
        c"Keep it below site_stats.session_timeout; 0 records every heartbeat.";
    MAX_VIEWS_PER_MINUTE = c"site_stats.max_views_per_minute", 30 in (0..=1_000_000), NO_UNIT, Suset:
        c"Page views that a session may record in a minute."
        c"0 for any number.";
    VISIT_TIMEOUT = c"site_stats.visit_timeout", 1800 in (1..=7 * 86_400), GucFlags::UNIT_S, Suset:
        c"Time without a page view after which a visitor's next one begins a new visit."
        c"";
    MAX_NEW_ORIGINS_PER_DAY = c"site_stats.max_new_origins_per_day", 1000 in (0..=1_000_000), NO_UNIT, Suset:
        c"Origins that the views of a site may add in a UTC day."
        c"Further new ones are recorded as (other); 0 for any number.";
    COUNTER_SLOTS = c"site_stats.counter_slots", 64 in (1..=1024), NO_UNIT, Suset:
        c"Counter slots that concurrent writers share before further ones are opened."
        c"More counter slots than concurrent writers have no use.";
    MAINTENANCE_INTERVAL = c"site_stats.maintenance_interval", 300 in (0..=86_400), GucFlags::UNIT_S, Sighup:
        c"Time between two rounds of maintenance through all databases."
        c"Only with site_stats in shared_preload_libraries; 0 for one round when the server starts.";
}

/// Rows per batch.
pub fn backfill_batch_size() -> i32 {
    BACKFILL_BATCH_SIZE.get()
}

/// The pause between two batches.
pub fn backfill_batch_delay() -> Duration {
    milliseconds(&BACKFILL_BATCH_DELAY)
}

/// How long a batch, or the beginning of a backfill, waits for a lock before it gives way and tries again. It
/// is at most half of `deadlock_timeout`: in a deadlock between a writer and a batch, the batch then gives
/// way.
pub fn backfill_lock_timeout() -> Duration {
    // SAFETY: `DeadlockTimeout` is an integer that only this thread writes, when it sets configuration
    // values.
    let deadlock_timeout = unsafe { pg_sys::DeadlockTimeout };
    let limit = Duration::from_millis(u64::try_from(deadlock_timeout / 2).unwrap_or(0).max(1));
    milliseconds(&BACKFILL_LOCK_TIMEOUT).min(limit)
}

/// Seconds in which a second page view of a path by a session is a duplicate.
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

/// Page views that a session may record in a minute; 0 for any number.
pub fn max_views_per_minute() -> i32 {
    MAX_VIEWS_PER_MINUTE.get()
}

/// Seconds without a page view after which a visit is over.
pub fn visit_timeout() -> i32 {
    VISIT_TIMEOUT.get()
}

/// Origins that the views of a site may add in a UTC day; 0 for any number.
pub fn max_new_origins_per_day() -> i32 {
    MAX_NEW_ORIGINS_PER_DAY.get()
}

/// Counter slots that writers share before further ones are opened.
pub fn counter_slots() -> i32 {
    COUNTER_SLOTS.get()
}

/// The time from the start of one round of the launcher to the start of the next. `None` for a single round,
/// when the launcher starts.
pub fn maintenance_interval() -> Option<Duration> {
    match u64::try_from(MAINTENANCE_INTERVAL.get()).unwrap_or(0) {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    }
}

fn milliseconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_millis(u64::try_from(setting.get()).unwrap_or(0))
}
