//! The time zone of a site, as the server knows it.

use std::ffi::CString;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};
use site_stats_visits::calendar::{DAY, Zone};

use crate::count::tally::SiteId;
use crate::pg::datum;
use crate::pg::spi::{Connection, SnapshotKind, Statement};

/// The time zone of a site, its first and its last view in seconds since 1970, and the local time there as if it were UTC.
static SITE: Statement = Statement::new(
    "SELECT
          s.timezone,
          (
              SELECT pg_catalog.floor(EXTRACT(epoch FROM v.viewed_at))::bigint
              FROM ONLY site_stats.page_views AS v
              WHERE v.site_id = s.id
              ORDER BY v.viewed_at
              LIMIT 1
          ),
          (
              SELECT pg_catalog.floor(EXTRACT(epoch FROM v.viewed_at))::bigint
              FROM ONLY site_stats.page_views AS v
              WHERE v.site_id = s.id
              ORDER BY v.viewed_at DESC
              LIMIT 1
          ),
          pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.statement_timestamp() AT TIME ZONE s.timezone))::bigint
      FROM site_stats.sites AS s
      WHERE s.id = $1",
    &[pg_sys::INT2OID],
);

/// How far local time is from UTC at moments in seconds since 1970.
static DISTANCES: Statement = Statement::new(
    "SELECT EXTRACT(epoch FROM (pg_catalog.to_timestamp(u.moment) AT TIME ZONE $1) AT TIME ZONE 'UTC')::bigint - u.moment
      FROM pg_catalog.unnest($2) WITH ORDINALITY AS u (moment, place)
      ORDER BY u.place",
    &[pg_sys::TEXTOID, pg_sys::INT8ARRAYOID],
);

/// When local days, in days since 1970, begin.
static STARTS: Statement = Statement::new(
    "SELECT ('1970-01-01'::date + u.day::integer)::timestamp AT TIME ZONE $1
      FROM pg_catalog.unnest($2) WITH ORDINALITY AS u (day, place)
      ORDER BY u.place",
    &[pg_sys::TEXTOID, pg_sys::INT8ARRAYOID],
);

/// What a report needs to know of a site.
pub struct Site {
    pub timezone: String,
    /// The first and the last view in seconds since 1970; `None` if there is none.
    pub views: Option<(i64, i64)>,
    /// In days since 1970.
    pub today: i64,
    /// The seconds of today that are over, by the clock.
    pub second: i64,
}

impl Site {
    pub fn read(connection: &Connection, site_id: SiteId) -> Result<Self, ErrorReport> {
        let row = SITE.run(connection, SnapshotKind::Statement, &[Some(site_id.into())])?;
        let now = row.bigint(0, 4);
        Ok(Site {
            timezone: if row.is_empty() { "UTC".to_owned() } else { row.text_lossy(0, 1) },
            views: row
                .get(0, 2)
                .zip(row.get(0, 3))
                .map(|(first, last)| (first.value() as i64, last.value() as i64)),
            today: now.div_euclid(DAY),
            second: now.rem_euclid(DAY),
        })
    }

    /// The time zone, right for the seconds from `first` to `last`.
    pub fn zone(&self, connection: &Connection, (first, last): (i64, i64)) -> Result<Zone, ErrorReport> {
        if self.timezone == "UTC" || first > last {
            return Ok(Zone::utc());
        }
        let moments: Vec<i64> = std::iter::once(first).chain(self.changes(first, last)).collect();
        let arguments = [Some(datum::text_from_utf8(&self.timezone)), moments.clone().into_datum()];
        let rows = DISTANCES.run(connection, SnapshotKind::Statement, &arguments)?;
        Ok(Zone::new(
            (0..rows.len())
                .map(|row| rows.bigint(row, 1))
                .zip(moments)
                .map(|(distance, from)| (from, distance))
                .collect(),
        ))
    }

    /// When the clocks may be changed. A name that means no file of the time zone database means one distance.
    fn changes(&self, first: i64, last: i64) -> Vec<i64> {
        let mut changes = Vec::new();
        let Ok(name) = CString::new(self.timezone.as_str()) else { return changes };
        // SAFETY: the server looks for a time zone with this name, and keeps what it finds. The other function writes what its
        // arguments point at.
        unsafe {
            let zone = pg_sys::pg_tzset(name.as_ptr());
            let mut at = first;
            while !zone.is_null() && at < last {
                let (mut before, mut before_is_dst, mut boundary, mut after, mut after_is_dst) =
                    (0, 0, 0, 0, 0);
                let found = pg_sys::pg_next_dst_boundary(
                    &at,
                    &mut before,
                    &mut before_is_dst,
                    &mut boundary,
                    &mut after,
                    &mut after_is_dst,
                    zone,
                );
                if found != 1 || boundary <= at {
                    break;
                }
                changes.push(boundary);
                at = boundary;
            }
        }
        changes
    }

    /// When local days begin, as PostgreSQL stores a `timestamptz`.
    pub fn starts(&self, connection: &Connection, days: Vec<i64>) -> Result<Vec<i64>, ErrorReport> {
        let arguments = [Some(datum::text_from_utf8(&self.timezone)), days.into_datum()];
        let rows = STARTS.run(connection, SnapshotKind::Statement, &arguments)?;
        Ok((0..rows.len()).map(|row| rows.bigint(row, 1)).collect())
    }
}
