//! Times as PostgreSQL stores them, and as seconds since 1970.

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;

/// Seconds from 1970 to 2000, where PostgreSQL's times begin.
pub const EPOCH: i64 = 946_684_800;

/// Microseconds since 1970 of a `timestamptz`.
pub fn unix(timestamp: i64) -> i64 {
    timestamp.saturating_add(EPOCH * SECOND)
}

/// Whole seconds since 1970 of a `timestamptz`.
pub fn unix_seconds(timestamp: i64) -> i64 {
    unix(timestamp).div_euclid(SECOND)
}

/// The `timestamptz` of seconds since 1970.
pub fn timestamp(seconds: i64) -> i64 {
    seconds.saturating_sub(EPOCH).saturating_mul(SECOND)
}
