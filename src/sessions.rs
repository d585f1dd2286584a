//! What a site calls: a page view, a heartbeat. Each validates its input before it touches anything.

use std::hash::{DefaultHasher, Hasher};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::locks::{Lock, Mode};
use crate::spi::{See, Statement};
use crate::{datum, error, requests, scans, settings, spi};

/// A text that a site passes.
struct Argument {
    name: &'static str,
    /// In bytes; the tables' CHECK constraints say the same.
    limit: usize,
    hint: &'static str,
}

const PATH: Argument =
    Argument { name: "path", limit: 2048, hint: "Pass the path of the page, such as /about." };
const CURRENT_PATH: Argument =
    Argument { name: "current_path", limit: 2048, hint: "Pass the path of the page, such as /about." };
const SESSION_ID: Argument = Argument {
    name: "session_id",
    limit: 128,
    hint: "Pass an id that the site keeps for the visitor, such as a cookie's value.",
};
const PAGE_TYPE: Argument = Argument {
    name: "page_type",
    limit: 64,
    hint: "Pass a word for the kind of page, such as blog, or NULL for page.",
};
const CITY: Argument =
    Argument { name: "city", limit: 256, hint: "Pass a name, or NULL if it is not known." };
const COUNTRY: Argument =
    Argument { name: "country", limit: 256, hint: "Pass a name, or NULL if it is not known." };

/// Stale sessions that one heartbeat removes: more than it can add.
const STALE_PER_HEARTBEAT: i32 = 4;

static RECORD: Statement = Statement::new(
    "INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES ($1, $2, $3, $4)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

/// Writes nothing, and returns no row, if the session was on the path less than the window ago.
static BEAT: Statement = Statement::new(
    "INSERT INTO site_stats.active_sessions AS a
          (session_id, current_path, last_seen_at, city, country, latitude, longitude)
      VALUES ($1, $2, $3, $5, $6, $7, $8)
      ON CONFLICT (session_id) DO UPDATE SET
          current_path = excluded.current_path,
          last_seen_at = GREATEST(excluded.last_seen_at, a.last_seen_at),
          city = COALESCE(excluded.city, a.city),
          country = COALESCE(excluded.country, a.country),
          latitude = COALESCE(excluded.latitude, a.latitude),
          longitude = COALESCE(excluded.longitude, a.longitude)
      WHERE a.current_path <> excluded.current_path
          OR a.last_seen_at <= excluded.last_seen_at - pg_catalog.make_interval(secs => $4)
      RETURNING true",
    &[
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::FLOAT8OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::FLOAT8OID,
        pg_sys::FLOAT8OID,
    ],
);

static REMOVE_STALE: Statement = Statement::new(
    "DELETE FROM site_stats.active_sessions AS a
      WHERE a.ctid = ANY (ARRAY(
          SELECT s.ctid
          FROM site_stats.active_sessions AS s
          WHERE s.last_seen_at <= $1 - pg_catalog.make_interval(secs => $2)
          ORDER BY s.last_seen_at
          LIMIT $3
          FOR UPDATE SKIP LOCKED
      ))",
    &[pg_sys::TIMESTAMPTZOID, pg_sys::FLOAT8OID, pg_sys::INT4OID],
);

/// Records a page view of a session now.
///
/// Returns `recorded`; `duplicate` when the session saw the path less than `site_stats.dedup_window` ago, measured from
/// the last recorded view; or `rate_limited` when it has recorded `site_stats.max_views_per_minute` views in the last
/// minute. Only `recorded` writes anything. A NULL page type is `page`.
///
/// # Errors
/// 22004 for a NULL path or session id; 22023 for an empty path, page type or session id; 54000 for a path over 2,048
/// bytes, a page type over 64 or a session id over 128; 25006 in a read-only transaction or on a standby; 40001 in
/// REPEATABLE READ if a backfill has begun or ended since the transaction's snapshot.
#[pg_extern(sql = false)]
fn record_page_view(
    path: Option<&[u8]>,
    page_type: Option<&[u8]>,
    session_id: Option<&[u8]>,
) -> Result<&'static str, ErrorReport> {
    error::require_writable(c"site_stats.record_page_view()");
    let path = required(&PATH, path)?;
    let page_type = match page_type {
        None => b"page".as_slice(),
        given => required(&PAGE_TYPE, given)?,
    };
    let session_id = required(&SESSION_ID, session_id)?;
    requests::resume_in_passing();

    // One session at a time: the second of two simultaneous calls sees what the first has recorded.
    let mut hasher = DefaultHasher::new();
    hasher.write(session_id);
    Lock::of_session(hasher.finish()).acquire(Mode::Exclusive);

    let now = now();
    if let Some(answer) = refusal(path, session_id, now.value() as i64)? {
        return Ok(answer);
    }
    spi::connect(|connection| {
        let (path, session_id) = (Some(datum::text(path)), Some(datum::text(session_id)));
        RECORD.run(connection, See::Current, &[path, Some(datum::text(page_type)), session_id, Some(now)])?;
        Ok("recorded")
    })
}

/// What a view of a path by a session at a time is instead of a new one, by the session's views of before.
fn refusal(path: &[u8], session_id: &[u8], now: i64) -> Result<Option<&'static str>, ErrorReport> {
    const SECOND: i64 = 1_000_000;
    let (window, limit) = (i64::from(settings::dedup_window()), i64::from(settings::max_views_per_minute()));
    let (mut is_duplicate, mut in_last_minute) = (false, 0);
    let since = now - window.max(60) * SECOND;
    scans::later_views(session_id, since, |view| {
        is_duplicate |= view.viewed_at > now - window * SECOND && view.path == path;
        in_last_minute += i64::from(view.viewed_at > now - 60 * SECOND);
    })?;
    Ok(if is_duplicate {
        Some("duplicate")
    } else if limit > 0 && in_last_minute >= limit {
        Some("rate_limited")
    } else {
        None
    })
}

/// Notes that a session is on a page now, and removes a few stale sessions.
///
/// Returns `recorded`, or `duplicate` when the session reported the same path less than `site_stats.heartbeat_window` ago;
/// then nothing is written. A city, a country or a pair of coordinates that is NULL keeps the old one. Latitude is in
/// degrees north, longitude in degrees east; one without the other is ignored.
///
/// # Errors
/// 22004 for a NULL path or session id; 22023 for an empty one, for a latitude outside -90 to 90 or a longitude outside
/// -180 to 180, NaN among them; 54000 for a path over 2,048 bytes, a session id over 128, a city or a country over 256;
/// 25006 in a read-only transaction or on a standby.
#[pg_extern(sql = false)]
fn heartbeat(
    session_id: Option<&[u8]>,
    current_path: Option<&[u8]>,
    city: Option<&[u8]>,
    country: Option<&[u8]>,
    latitude: Option<f64>,
    longitude: Option<f64>,
) -> Result<&'static str, ErrorReport> {
    error::require_writable(c"site_stats.heartbeat()");
    let session_id = required(&SESSION_ID, session_id)?;
    let current_path = required(&CURRENT_PATH, current_path)?;
    let city = optional(&CITY, city)?;
    let country = optional(&COUNTRY, country)?;
    let latitude = degrees("latitude", latitude, 90)?;
    let longitude = degrees("longitude", longitude, 180)?;
    let (latitude, longitude) = latitude.zip(longitude).unzip();
    requests::resume_in_passing();

    spi::connect(|connection| {
        let beat = BEAT.run(
            connection,
            See::Current,
            &[
                Some(datum::text(session_id)),
                Some(datum::text(current_path)),
                Some(now()),
                Some(seconds(settings::heartbeat_window())),
                city.map(datum::text),
                country.map(datum::text),
                latitude.map(float),
                longitude.map(float),
            ],
        )?;
        if beat.is_empty() {
            return Ok("duplicate");
        }
        remove_stale(connection, STALE_PER_HEARTBEAT)?;
        Ok("recorded")
    })
}

/// Removes at most `max_rows` sessions past `site_stats.session_timeout`, the oldest first, and returns how many.
///
/// # Errors
/// 22004 for NULL, 22023 for a negative `max_rows`, 25006 in a read-only transaction or on a standby.
#[pg_extern(sql = false)]
fn cleanup_stale_sessions(max_rows: Option<i32>) -> Result<i64, ErrorReport> {
    error::require_writable(c"site_stats.cleanup_stale_sessions()");
    let max_rows = error::require_row_count("max_rows", max_rows)?;
    requests::resume_if_interrupted();
    let removed = spi::connect(|connection| remove_stale(connection, max_rows))?;
    Ok(i64::try_from(removed).unwrap_or(i64::MAX))
}

/// Removes at most `max_rows` stale sessions, and returns how many.
pub fn remove_stale(connection: &spi::Connection, max_rows: i32) -> Result<usize, ErrorReport> {
    let arguments = [now(), seconds(settings::session_timeout()), pg_sys::Datum::from(max_rows)].map(Some);
    Ok(REMOVE_STALE.run(connection, See::Current, &arguments)?.len())
}

fn required<'a>(argument: &Argument, text: Option<&'a [u8]>) -> Result<&'a [u8], ErrorReport> {
    match optional(argument, text)? {
        None => Err(error::null_argument(argument.name, argument.hint)),
        Some([]) => Err(error::empty_argument(argument.name, argument.hint)),
        Some(text) => Ok(text),
    }
}

fn optional<'a>(argument: &Argument, text: Option<&'a [u8]>) -> Result<Option<&'a [u8]>, ErrorReport> {
    match text {
        Some(text) if text.len() > argument.limit => {
            Err(error::long_argument(argument.name, text.len(), argument.limit))
        }
        text => Ok(text),
    }
}

fn degrees(name: &str, value: Option<f64>, limit: i32) -> Result<Option<f64>, ErrorReport> {
    match value {
        Some(value) if !(-f64::from(limit)..=f64::from(limit)).contains(&value) => {
            Err(error::out_of_range(name, value, -limit, limit))
        }
        value => Ok(value),
    }
}

/// The time by the clock: `now()` would stand still in a long transaction.
fn now() -> pg_sys::Datum {
    // SAFETY: reads the clock.
    pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() })
}

fn seconds(number: i32) -> pg_sys::Datum {
    float(f64::from(number))
}

fn float(number: f64) -> pg_sys::Datum {
    // A float8 is passed by value on every server that pgrx builds for.
    pg_sys::Datum::from(number.to_bits() as usize)
}
