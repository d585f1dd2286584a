//! Every setting. None that changes what is counted can be changed by a role that records views: all are for
//! superusers, the configuration file, and `ALTER DATABASE ... SET` by a superuser.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

/// Rows per batch that a caller may ask for.
pub const BATCH_SIZES: std::ops::RangeInclusive<i32> = 1..=100_000;

static BACKFILL_BATCH_SIZE: GucSetting<i32> = GucSetting::<i32>::new(500);
static BACKFILL_BATCH_DELAY: GucSetting<i32> = GucSetting::<i32>::new(0);
static BACKFILL_LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(200);
static DEDUP_WINDOW: GucSetting<i32> = GucSetting::<i32>::new(1800);
static SESSION_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(120);
static HEARTBEAT_WINDOW: GucSetting<i32> = GucSetting::<i32>::new(45);
static MAX_VIEWS_PER_MINUTE: GucSetting<i32> = GucSetting::<i32>::new(30);
static COUNTER_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(64);
static MAINTENANCE_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(300);

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

/// Defines the settings and reserves their prefix, so that a misspelt one is an error.
pub fn register() {
    GucRegistry::define_int_guc(
        c"site_stats.backfill_batch_size",
        c"Rows that a backfill reads in one transaction.",
        c"Larger batches are faster and hold their locks longer.",
        &BACKFILL_BATCH_SIZE,
        *BATCH_SIZES.start(),
        *BATCH_SIZES.end(),
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"site_stats.backfill_batch_delay",
        c"Pause between two batches of a backfill.",
        c"Raise it to leave more of the server to others.",
        &BACKFILL_BATCH_DELAY,
        0,
        60_000,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"site_stats.backfill_lock_timeout",
        c"Longest time that a backfill waits for a lock before it gives way and tries again.",
        c"Nobody waits behind the beginning of a backfill for longer; half of deadlock_timeout at most.",
        &BACKFILL_LOCK_TIMEOUT,
        1,
        60_000,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"site_stats.dedup_window",
        c"Time in which a second view of a path by the same session is a duplicate.",
        c"Measured from the last recorded view; 0 records every view.",
        &DEDUP_WINDOW,
        0,
        7 * 86_400,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"site_stats.session_timeout",
        c"Time after its last heartbeat in which a session is active.",
        c"",
        &SESSION_TIMEOUT,
        1,
        86_400,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"site_stats.heartbeat_window",
        c"Time in which a second heartbeat of a session on the same path is a duplicate.",
        c"Keep it below site_stats.session_timeout; 0 records every heartbeat.",
        &HEARTBEAT_WINDOW,
        0,
        86_400,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"site_stats.max_views_per_minute",
        c"Views that a session may record in a minute.",
        c"0 for any number.",
        &MAX_VIEWS_PER_MINUTE,
        0,
        1_000_000,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"site_stats.counter_slots",
        c"Slots that concurrent writers share before further ones are opened.",
        c"More slots than concurrent writers bring nothing.",
        &COUNTER_SLOTS,
        1,
        1024,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"site_stats.maintenance_interval",
        c"Time between two rounds of maintenance through all databases.",
        c"Only with site_stats in shared_preload_libraries; 0 for one round when the server starts.",
        &MAINTENANCE_INTERVAL,
        0,
        86_400,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    // SAFETY: called from _PG_init with a NUL-terminated string that lives for ever.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"site_stats".as_ptr()) };
}
