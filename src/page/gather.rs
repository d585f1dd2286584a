//! The numbers of the page. All statements use the snapshot of the statement that asks for the page, so the numbers fit each other.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use site_stats_page::{
    Active, Answers, Breakdown, MOST_ROWS, Moment, Order, PARTS, Place, Query, Range, Starts, Total,
};
use site_stats_visits::calendar::{DAY, Length};
use site_stats_visits::question::{By, Numbers};

use crate::count::tally::SiteId;
use crate::pg::spi::{Connection, Rows, SnapshotKind, Statement};
use crate::pg::{datum, jsonb, time};
use crate::report::filters::{self, Filters};
use crate::report::ranges::{self, Days, Report};
use crate::report::together::{self, Part};
use crate::report::zone::Site;

/// Who is here, and what was counted in all.
static STATS: Statement = Statement::new(
    "SELECT
          s.active_visitors, s.active_by_path, s.visitor_locations, s.total_page_views, s.unique_visitors, s.source
      FROM site_stats.get_stats_in_snapshot($1) AS s",
    &[pg_sys::TEXTOID],
);

/// What was refused on some days.
static REFUSALS: Statement = Statement::new(
    "SELECT r.reason, pg_catalog.sum(r.count)::bigint
      FROM site_stats.refusals_in_snapshot($1, $2, $3) AS r
      GROUP BY r.reason
      HAVING pg_catalog.sum(r.count) > 0
      ORDER BY 2 DESC, 1",
    &[pg_sys::DATEOID, pg_sys::DATEOID, pg_sys::TEXTOID],
);

/// The sites, up to a number of them.
static SITES: Statement =
    Statement::new("SELECT s.name FROM site_stats.sites AS s ORDER BY s.name LIMIT 50", &[]);

#[derive(Deserialize)]
struct OnPath {
    path: String,
    count: i64,
}

#[derive(Deserialize)]
struct At {
    latitude: f64,
    longitude: f64,
    city: Option<String>,
    country: Option<String>,
}

/// The days that a query means, and their numbers. `is_free` is whether other sites may be named.
pub fn answers(
    query: &Query,
    site_id: SiteId,
    name: &[u8],
    is_free: bool,
) -> Result<(Range, Answers), ErrorReport> {
    ranges::connect(|connection| {
        let site = Site::read(connection, site_id)?;
        let first = first_day(connection, &site)?;
        let range = Range::of(query, site.today, first);
        let now = Moment {
            day: site.today,
            hour: (site.second / 3_600) as u32,
            minute: (site.second / 60 % 60) as u32,
        };
        let mut values: Vec<_> =
            query.filters.iter().map(|filter| (filter.word.name, filter.value())).collect();
        let filters = Filters::of_entries(values.iter().map(|(word, value)| (*word, value)))?;
        let report = |since, until, filters| Report {
            connection,
            site_id,
            site: &site,
            days: Days { since: Some(since), until: Some(until) },
            filters,
        };
        let days = report(range.since, range.until, &filters);
        let reports = together::answer(&days, range.unit, &parts()?)?;
        let before = match range.before {
            Some((since, until)) if first.is_some_and(|first| first <= until) => {
                if let Some(last) = Range::last_hour(query, now.hour) {
                    let hours: Vec<_> = (0..=last).map(|hour| hour.to_string()).collect();
                    values.push(("hour", hours.into()));
                }
                let filters = Filters::of_entries(values.iter().map(|(word, value)| (*word, value)))?;
                let counted = report(since, until, &filters).count(By::Nothing, None)?;
                Some(counted.groups.first().map(|(_, numbers)| *numbers).unwrap_or_default())
            }
            _ => None,
        };
        let (active, total) = stats(connection, name, first)?;
        let breakdowns = reports.breakdowns.into_iter();
        let units = reports.units.into_iter();
        Ok((
            range,
            Answers {
                site: datum::utf8_to_show(name),
                timezone: site.timezone.clone(),
                sites: if is_free { sites(connection)? } else { Vec::new() },
                now,
                active,
                total,
                summary: reports.summary,
                before,
                units: units.map(|(day, hour, numbers)| (Starts { day, hour }, numbers)).collect(),
                breakdowns: breakdowns
                    .map(|rows| Breakdown { values: rows.count, rows: rows.first })
                    .collect(),
                refusals: refusals(connection, name, &range)?,
                read_directly: i64::try_from(reports.read_directly).unwrap_or(i64::MAX),
            },
        ))
    })
}

/// The local day of the first page view.
fn first_day(connection: &Connection, site: &Site) -> Result<Option<i64>, ErrorReport> {
    let Some((first, _)) = site.views else { return Ok(None) };
    Ok(Some(site.zone(connection, (first, first))?.slot(first, Length::Day).day))
}

/// The breakdowns of the page.
fn parts() -> Result<Vec<Part>, ErrorReport> {
    let part = |part: &site_stats_page::Part| {
        let number: fn(&Numbers) -> i64 = match part.order {
            Order::Visitors => |numbers| numbers.visitors,
            Order::Entries => |numbers| numbers.entries,
            Order::Exits => |numbers| numbers.exits,
        };
        Ok(Part { by: filters::property(Some(part.by.as_bytes()))?, number, max_rows: MOST_ROWS })
    };
    PARTS.iter().map(part).collect()
}

fn stats(connection: &Connection, site: &[u8], first: Option<i64>) -> Result<(Active, Total), ErrorReport> {
    let rows = STATS.run(connection, SnapshotKind::Statement, &[Some(datum::text(site))])?;
    let pages = list::<OnPath>(&rows, 2).into_iter().map(|on| (on.path, on.count)).collect();
    let places = list::<At>(&rows, 3).into_iter().map(|at| Place {
        latitude: at.latitude,
        longitude: at.longitude,
        city: at.city,
        country: at.country,
    });
    let active = Active { visitors: rows.bigint(0, 1), pages, places: places.collect() };
    let total = Total {
        views: rows.bigint(0, 4),
        visitors: rows.bigint(0, 5),
        since: first,
        source: rows.text_lossy(0, 6),
    };
    Ok((active, total))
}

/// The elements of an array in a column that is a `jsonb`.
fn list<T: DeserializeOwned>(rows: &Rows, column: i32) -> Vec<T> {
    let Some(datum) = rows.get(0, column) else { return Vec::new() };
    // SAFETY: each caller names a column of `STATS` that is a jsonb.
    serde_json::from_str(&unsafe { jsonb::utf8_to_show(datum) }).unwrap_or_default()
}

fn refusals(connection: &Connection, site: &[u8], range: &Range) -> Result<Vec<(String, i64)>, ErrorReport> {
    let date = |day: i64| i32::try_from(day - time::EPOCH / DAY).ok().map(pg_sys::Datum::from);
    let arguments = [date(range.since), date(range.until), Some(datum::text(site))];
    let rows = REFUSALS.run(connection, SnapshotKind::Statement, &arguments)?;
    Ok((0..rows.len()).map(|row| (rows.text_lossy(row, 1), rows.bigint(row, 2))).collect())
}

fn sites(connection: &Connection) -> Result<Vec<String>, ErrorReport> {
    let rows = SITES.run(connection, SnapshotKind::Statement, &[])?;
    Ok((0..rows.len()).map(|row| datum::utf8_to_show(rows.text(row, 1).unwrap_or_default())).collect())
}
