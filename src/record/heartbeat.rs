//! Active sessions: heartbeats of visitors that are on the site now, and the removal of stale sessions. Input
//! is checked before anything is written.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::backfill::requests;
use crate::count::sites::{self, FIRST_SITE};
use crate::count::tally::SiteId;
use crate::pg::spi::{self, Rows, SnapshotKind, Statement};
use crate::pg::{datum, fmgr};
use crate::record::arguments::{CITY, COUNTRY, CURRENT_PATH, SESSION_ID, degrees, now, optional, required};
use crate::{error, settings};

/// Stale sessions that one heartbeat removes: more than it can add.
const STALE_PER_HEARTBEAT: i32 = 4;

/// Writes nothing, and returns no row, if the last heartbeat came from the same path less than the window
/// ago. `$key` is the primary key, and `$site` the value of a site where there are sites.
macro_rules! beat {
    ($key:literal, $site:literal $(, $site_type:ident)?) => {
        Statement::new(
            concat!(
                "INSERT INTO site_stats.active_sessions AS a
                     (current_path, last_seen_at, city, country, latitude, longitude, ", $key, ")
                 VALUES ($2, $3, $5, $6, $7, $8", $site, ", $1)
                 ON CONFLICT (", $key, ") DO UPDATE SET
                     current_path = excluded.current_path,
                     last_seen_at = CASE
                         WHEN a.last_seen_at > pg_catalog.clock_timestamp() THEN excluded.last_seen_at
                         ELSE GREATEST(excluded.last_seen_at, a.last_seen_at)
                     END,
                     city = COALESCE(excluded.city, a.city),
                     country = COALESCE(excluded.country, a.country),
                     latitude = COALESCE(excluded.latitude, a.latitude),
                     longitude = COALESCE(excluded.longitude, a.longitude)
                 WHERE a.last_seen_at > pg_catalog.clock_timestamp()
                     OR a.last_seen_at <= excluded.last_seen_at - pg_catalog.make_interval(secs => $4)
                     -- An older one, as a queue brings it, says nothing of where the session is.
                     OR (a.last_seen_at <= excluded.last_seen_at AND a.current_path <> excluded.current_path)
                 RETURNING true"
            ),
            &[
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::TIMESTAMPTZOID,
                pg_sys::FLOAT8OID,
                pg_sys::TEXTOID,
                pg_sys::TEXTOID,
                pg_sys::FLOAT8OID,
                pg_sys::FLOAT8OID,
                $(pg_sys::$site_type,)?
            ],
        )
    };
}

static BEAT: Statement = beat!("site_id, session_id", ", $9", INT2OID);

/// As `BEAT`, for the table of version 0.2.0.
static BEAT_WITHOUT_SITE: Statement = beat!("session_id", "");

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

/// A heartbeat dated after now, which somebody wrote into the table, does not keep a session active.
static LEAVE: Statement = Statement::new(
    "DELETE FROM site_stats.active_sessions AS a
      WHERE a.site_id = $1
          AND a.session_id = $2
          AND (a.last_seen_at <= $3 OR a.last_seen_at > pg_catalog.clock_timestamp())",
    &[pg_sys::INT2OID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

fmgr::sql_function!(heartbeat_wrapper, pg_finfo_heartbeat_wrapper, heartbeat);

/// Notes that a session is on a page now, and removes a few stale sessions.
///
/// Returns `recorded`. Returns `duplicate` when the session reported the same path less than
/// `site_stats.heartbeat_window` ago, and then writes nothing. A NULL city, country or pair of coordinates
/// keeps the old one. Latitude is in degrees north, longitude in degrees east. One without the other is
/// ignored.
///
/// # Errors
/// - 22004: a NULL path, session id or site
/// - 22023: an empty path or session id; no such site; a latitude outside -90 to 90, or a longitude outside -180 to 180, or
///   NaN
/// - 25006: in a read-only transaction or on a standby
/// - 54000: a path over 2,048 bytes, a session id over 128, a city or a country over 256
fn heartbeat(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares four texts and two numbers, and a text more since version 0.3.0.
    let ([session_id, current_path, city, country], [latitude, longitude]) = unsafe {
        (
            [0, 1, 2, 3].map(|n| fmgr::text_argument(call, n)),
            [4, 5].map(|n| fmgr::argument(call, n).map(|number| f64::from_bits(number.value() as u64))),
        )
    };
    // SAFETY: as above.
    let site = unsafe { fmgr::newer_text_argument(call, 6) };
    error::require_writable(c"site_stats.heartbeat()");
    let session_id = required(&SESSION_ID, session_id)?;
    let current_path = required(&CURRENT_PATH, current_path)?;
    let city = optional(&CITY, city)?;
    let country = optional(&COUNTRY, country)?;
    let latitude = degrees("latitude", latitude, 90)?;
    let longitude = degrees("longitude", longitude, 180)?;
    let site_id = site.map_or(Ok(FIRST_SITE), sites::id_of)?;
    requests::resume_if_due();
    let beat = Beat {
        city,
        country,
        place: latitude.zip(longitude),
        ..Beat::new(site_id, session_id, current_path)
    };
    let answer = match site {
        Some(_) => note(&beat),
        None => note_by(&beat, |connection, row| {
            BEAT_WITHOUT_SITE.run(connection, SnapshotKind::Current, row.get(..8).unwrap_or(row))
        }),
    }?;
    Ok(datum::text(answer.as_bytes()))
}

/// A heartbeat to be noted. What a site passes has been checked.
pub struct Beat<'b> {
    pub site_id: SiteId,
    pub session_id: &'b [u8],
    pub current_path: &'b [u8],
    pub city: Option<&'b [u8]>,
    pub country: Option<&'b [u8]>,
    /// Degrees north and degrees east.
    pub place: Option<(f64, f64)>,
    /// When it was, not after now; `None` for now.
    pub at: Option<i64>,
}

impl<'b> Beat<'b> {
    /// A heartbeat of now, from nowhere.
    pub fn new(site_id: SiteId, session_id: &'b [u8], current_path: &'b [u8]) -> Self {
        Beat { site_id, session_id, current_path, city: None, country: None, place: None, at: None }
    }
}

/// Notes a heartbeat, and removes a few stale sessions.
pub fn note(beat: &Beat) -> Result<&'static str, ErrorReport> {
    note_by(beat, |connection, row| BEAT.run(connection, SnapshotKind::Current, row))
}

/// As `note`. `upsert` gets the row, and returns a row if it has written one.
fn note_by(
    beat: &Beat,
    upsert: impl for<'c> FnOnce(&'c spi::Connection, &[Option<pg_sys::Datum>]) -> Result<Rows<'c>, ErrorReport>,
) -> Result<&'static str, ErrorReport> {
    spi::connect(|connection| {
        let (latitude, longitude) = beat.place.unzip();
        let row = [
            Some(datum::text(beat.session_id)),
            Some(datum::text(beat.current_path)),
            Some(beat.at.map_or_else(now, pg_sys::Datum::from)),
            Some(seconds(settings::heartbeat_window())),
            beat.city.map(datum::text),
            beat.country.map(datum::text),
            latitude.map(float),
            longitude.map(float),
            Some(beat.site_id.into()),
        ];
        if upsert(connection, &row)?.is_empty() {
            return Ok("duplicate");
        }
        remove_stale(connection, STALE_PER_HEARTBEAT)?;
        Ok("recorded")
    })
}

/// Removes a session from the active ones, unless it was seen after the time that it left. `None` for now.
///
/// Returns `recorded`, or `duplicate` if it is not there.
pub fn leave(site_id: SiteId, session_id: &[u8], at: Option<i64>) -> Result<&'static str, ErrorReport> {
    let time = at.map_or_else(now, pg_sys::Datum::from);
    let arguments = [site_id.into(), datum::text(session_id), time].map(Some);
    spi::connect(|connection| {
        let removed = LEAVE.run(connection, SnapshotKind::Current, &arguments)?.len();
        Ok(if removed > 0 { "recorded" } else { "duplicate" })
    })
}

/// Removes at most `max_rows` active sessions past `site_stats.session_timeout`, the oldest first. Returns
/// how many it removed.
///
/// # Errors
/// - 22004: NULL
/// - 22023: a negative `max_rows`
/// - 25006: in a read-only transaction or on a standby
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
    Ok(REMOVE_STALE.run(connection, SnapshotKind::Current, &arguments)?.len())
}

fn seconds(number: i32) -> pg_sys::Datum {
    float(f64::from(number))
}

fn float(number: f64) -> pg_sys::Datum {
    // A float8 is passed by value on every server that pgrx builds for.
    pg_sys::Datum::from(number.to_bits() as usize)
}
