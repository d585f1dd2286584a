//! `summary()`, `timeline()` and `breakdown()`: any question about any range of days.

use std::collections::{BTreeSet, HashMap};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use site_stats_visits::calendar::{DAY, Length, Unit, Zone};
use site_stats_visits::question::{By, Group, Numbers, Question};

use crate::count::sites;
use crate::count::tally::{SiteId, TextKey};
use crate::error;
use crate::maintenance::worker;
use crate::pg::spi::{self, Connection};
use crate::pg::transaction::{self, ALL_ROWS, NOT_COMPILED, OWN_NAMES};
use crate::pg::{datum, fmgr, time};
use crate::report::filters::{self, Filters, Property, Sense};
use crate::report::zone::Site;
use crate::span::read::{self, Counted};
use crate::span::texts;

/// Days from 1970 to 2000, where PostgreSQL's dates begin.
const EPOCH_DAYS: i64 = time::EPOCH / DAY;

/// No clock is that far from UTC.
const MOST_DISTANCE: i64 = 2 * DAY;

/// The most rows of a timeline.
const MOST_UNITS: usize = 1_000_000;

/// The days of a report, in days since 1970; `None` is open.
#[derive(Clone, Copy)]
pub struct Days {
    pub since: Option<i64>,
    pub until: Option<i64>,
}

impl Days {
    /// # Safety
    /// The function must be declared with two dates from argument `n` on.
    unsafe fn of(call: &pg_sys::FunctionCallInfoBaseData, n: usize) -> Self {
        // SAFETY: the caller guarantees the arguments.
        let [since, until] = [n, n + 1].map(|n| unsafe { fmgr::argument(call, n) });
        let day = |date: pg_sys::Datum| match date.value() as i32 {
            i32::MIN => i64::MIN,
            i32::MAX => i64::MAX,
            day => i64::from(day) + EPOCH_DAYS,
        };
        Days { since: since.map(day), until: until.map(day) }
    }

    pub fn range(&self) -> (i64, i64) {
        (self.since.unwrap_or(i64::MIN), self.until.unwrap_or(i64::MAX))
    }

    /// The first and the last second that can be in these days anywhere.
    pub fn seconds(&self) -> (i64, i64) {
        let (since, until) = self.range();
        let first = if since == i64::MIN {
            i64::MIN
        } else {
            since.saturating_mul(DAY).saturating_sub(MOST_DISTANCE)
        };
        let last = until.saturating_add(1).saturating_mul(DAY).saturating_add(MOST_DISTANCE);
        (first, if until == i64::MAX { i64::MAX } else { last })
    }
}

/// A connection, and the site whose page views are asked for.
pub type Source<'c> = (&'c Connection, SiteId);

/// A report of a site.
pub struct Report<'r> {
    pub connection: &'r Connection,
    pub site_id: SiteId,
    pub site: &'r Site,
    pub days: Days,
    pub filters: &'r Filters,
}

impl<'r> Report<'r> {
    /// The time zone, right for all views that are looked at. Views of visits that began before these days, and such as come after,
    /// are among them.
    pub fn zone(&self) -> Result<Zone, ErrorReport> {
        let seconds = self.days.seconds();
        let (first, last) = self.site.views.unwrap_or((0, -1));
        self.site.zone(self.connection, (first.max(seconds.0), last.min(seconds.1)))
    }

    /// What is asked, to divide by something, or by a property.
    pub fn question(&self, by: By, property: Option<Property>, zone: Zone) -> Question {
        Question {
            weekdays: self.filters.weekdays(),
            hours: self.filters.hours(),
            asks: self.filters.asks(property),
            selects_visits: self.filters.selects_visits(),
            ..Question::of_days(by, self.days.range(), zone)
        }
    }

    pub fn count(&self, by: By, property: Option<Property>) -> Result<Counted<Sense<'r>>, ErrorReport> {
        let question = self.question(by, property, self.zone()?);
        let seconds = self.days.seconds();
        let counted = read::count(self.connection, self.site_id, &question, seconds, |new| {
            Sense::new(self.connection, self.site_id, self.filters, property, new)
        })?;
        worker::launch_for_spans(counted.read_directly, counted.met_damage);
        Ok(counted)
    }
}

/// Opens a connection with the rights of the function's owner, where names mean what they say and no policy hides a row. No report
/// takes so long that compiling its statements would pay.
pub fn connect<R>(work: impl FnOnce(&Connection) -> Result<R, ErrorReport>) -> Result<R, ErrorReport> {
    transaction::with_settings(&[OWN_NAMES, ALL_ROWS, NOT_COMPILED], || spi::connect(work))
}

/// Runs `work` with a report of the site with a name.
fn with_report<R>(
    (site, days, filters): (Option<&[u8]>, Days, Filters),
    work: impl FnOnce(Report) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    let site_id = sites::id_of(site)?;
    connect(|connection| {
        let site = Site::read(connection, site_id)?;
        work(Report { connection, site_id, site: &site, days, filters: &filters })
    })
}

/// The seven columns.
fn columns(numbers: &Numbers) -> [Option<pg_sys::Datum>; 7] {
    let Numbers { views, visitors, visits, entries, exits, bounces, seconds } = *numbers;
    [views, visitors, visits, entries, exits, bounces, seconds].map(|number| Some(number.into()))
}

/// A row of a value and the seven columns.
fn row(value: Option<pg_sys::Datum>, numbers: &Numbers) -> [Option<pg_sys::Datum>; 8] {
    let [views, visitors, visits, entries, exits, bounces, seconds] = columns(numbers);
    [value, views, visitors, visits, entries, exits, bounces, seconds]
}

fmgr::sql_function!(summary_wrapper, pg_finfo_summary_wrapper, summary);

/// `summary(since date, until date, filters jsonb, site text)`: one row.
///
/// # Errors
/// 22023 for an unknown site, filter or shape of a filter's value; 22025 for a pattern that ends in its middle.
fn summary(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares two dates, a jsonb and a text.
    let subject =
        unsafe { (fmgr::text_argument(call, 3), Days::of(call, 0), Filters::of(fmgr::argument(call, 2))?) };
    let numbers = with_report(subject, |report| {
        let counted = report.count(By::Nothing, None)?;
        Ok(counted.groups.first().map(|(_, numbers)| *numbers).unwrap_or_default())
    })?;
    // SAFETY: this is the call being served, of a function with these columns.
    unsafe { fmgr::put_rows(call, [columns(&numbers)]) };
    Ok(pg_sys::Datum::from(0))
}

fmgr::sql_function!(timeline_wrapper, pg_finfo_timeline_wrapper, timeline);

/// `timeline(unit text, since date, until date, filters jsonb, site text)`: a row for each unit, in their order, also for those
/// without a view. An open begin is the unit of the first view that matches, an open end that of the last one up to today.
///
/// # Errors
/// As `summary`. 22023 for an unknown unit, and for days that are infinite or have no page view by their date; 54000 for more units
/// than a million; 22004 for no unit.
fn timeline(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares a text, two dates, a jsonb and a text.
    let (unit, (site, days, filters)) = unsafe {
        (
            filters::unit(fmgr::text_argument(call, 0))?,
            (fmgr::text_argument(call, 4), Days::of(call, 1), Filters::of(fmgr::argument(call, 3))?),
        )
    };
    error::require_days(days.since, days.until)?;
    let rows = with_report((site, days, filters), |mut report| {
        let asked = report.days;
        report.days.until = Some(asked.until.unwrap_or(report.site.today));
        let counted = report.count(By::Unit(unit), None)?;
        let numbers = counted.units;
        let units = units(&report, unit, asked, &numbers)?;
        let starts = match unit {
            Unit::Hour => units.iter().map(|second| time::timestamp(*second)).collect(),
            _ => report.site.starts(report.connection, units.clone())?,
        };
        let rows = units
            .iter()
            .zip(starts)
            .map(|(unit, starts)| row(Some(starts.into()), &numbers.get(unit).copied().unwrap_or_default()));
        Ok(rows.collect::<Vec<_>>())
    })?;
    // SAFETY: this is the call being served, of a function with these columns.
    unsafe { fmgr::put_rows(call, rows) };
    Ok(pg_sys::Datum::from(0))
}

/// The units of a timeline, in their order.
pub fn units(
    report: &Report,
    unit: Unit,
    asked: Days,
    counted: &HashMap<i64, Numbers>,
) -> Result<Vec<i64>, ErrorReport> {
    let (first, last) = (counted.keys().min().copied(), counted.keys().max().copied());
    let day_of = |unit_key: i64| match unit {
        Unit::Hour => unit_key.div_euclid(DAY),
        _ => unit_key,
    };
    // A unit has at most 31 days, and an hour may be of the next or the last day in local time.
    let since = asked.since.or(first.map(|first| day_of(first) - 2));
    let until = asked.until.or(last.map(|last| (day_of(last) + 33).min(report.site.today)));
    let (Some(since), Some(until)) = (since, until) else { return Ok(Vec::new()) };
    let (mut at, end) = (since * DAY - MOST_DISTANCE, (until + 1) * DAY + MOST_DISTANCE);
    let zone = report.site.zone(report.connection, (at, end))?;
    let length = if unit == Unit::Hour { Length::Hour } else { Length::Day };
    let mut units = BTreeSet::new();
    while at < end {
        let slot = zone.slot(at, length);
        if (since..=until).contains(&slot.day) {
            units.insert(slot.unit(unit));
        }
        if units.len() > MOST_UNITS {
            return Err(error::too_many_units(MOST_UNITS));
        }
        at = slot.until;
    }
    if asked.since.is_none() {
        units.retain(|unit| first.is_none_or(|first| *unit >= first));
    }
    if asked.until.is_none() {
        units.retain(|unit| last.is_some_and(|last| *unit <= last));
    }
    Ok(units.into_iter().collect())
}

fmgr::sql_function!(breakdown_wrapper, pg_finfo_breakdown_wrapper, breakdown);

/// `breakdown(by text, since date, until date, filters jsonb, max_rows integer, site text)`: a row for each value, those with most
/// visitors first, then most views, then in the order of their bytes, and the unknown one last.
///
/// # Errors
/// As `summary`. 22023 for an unknown `by` and for a negative `max_rows`; 22004 for NULL in either.
fn breakdown(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares a text, two dates, a jsonb, an integer and a text.
    let (by, max_rows, subject) = unsafe {
        (
            filters::property(fmgr::text_argument(call, 0))?,
            fmgr::argument(call, 4).map(|rows| rows.value() as i32),
            (fmgr::text_argument(call, 5), Days::of(call, 1), Filters::of(fmgr::argument(call, 3))?),
        )
    };
    let max_rows = usize::try_from(error::require_row_count("max_rows", max_rows)?).unwrap_or(0);
    let rows = with_report(subject, |report| {
        let counted = report.count(by.by(), Some(by))?;
        let Counted { groups, meaning, .. } = counted;
        first_rows((report.connection, report.site_id), by, groups, &meaning, (max_rows, |of| of.visitors))
    })?;
    let rows =
        rows.iter().map(|(value, numbers)| row(value.as_ref().map(|value| datum::text(value)), numbers));
    // SAFETY: this is the call being served, of a function with these columns.
    unsafe { fmgr::put_rows(call, rows) };
    Ok(pg_sys::Datum::from(0))
}

/// The first rows by a number, then by views, then by value. Only values that may be among them are looked up.
pub fn first_rows(
    source: Source,
    by: Property,
    mut groups: Vec<(Group, Numbers)>,
    meaning: &Sense,
    (max_rows, number): (usize, fn(&Numbers) -> i64),
) -> Result<Vec<(Option<TextKey>, Numbers)>, ErrorReport> {
    let rank = |numbers: &Numbers| (std::cmp::Reverse(number(numbers)), std::cmp::Reverse(numbers.views));
    groups.sort_by_key(|(_, numbers)| rank(numbers));
    if let Some(last) =
        max_rows.checked_sub(1).and_then(|last| groups.get(last)).map(|(_, numbers)| rank(numbers))
    {
        groups.truncate(groups.partition_point(|(_, numbers)| rank(numbers) <= last));
    }
    let values = values(source, by, &groups, meaning)?;
    let mut rows: Vec<_> =
        values.into_iter().zip(groups).map(|(value, (_, numbers))| (value, numbers)).collect();
    sort_rows(&mut rows, number);
    rows.truncate(max_rows);
    Ok(rows)
}

/// Puts rows in the order of a breakdown: by a number, then by views, the most first, then by value, the unknown one last.
pub fn sort_rows(rows: &mut [(Option<TextKey>, Numbers)], number: fn(&Numbers) -> i64) {
    rows.sort_by(|(value, numbers), (other, of_other)| {
        let order = number(of_other).cmp(&number(numbers)).then_with(|| of_other.views.cmp(&numbers.views));
        order.then_with(|| value.is_none().cmp(&other.is_none())).then_with(|| value.cmp(other))
    });
}

/// The values of groups.
fn values(
    (connection, site_id): Source,
    by: Property,
    groups: &[(Group, Numbers)],
    meaning: &Sense,
) -> Result<Vec<Option<TextKey>>, ErrorReport> {
    let groups = groups.iter().map(|(group, _)| *group);
    Ok(match by {
        Property::Origin(_) | Property::Client(_) => {
            groups.map(|group| meaning.value(group).cloned()).collect()
        }
        Property::Weekday | Property::Hour => {
            groups.map(|group| Some(group.to_string().into_bytes().into_boxed_slice())).collect()
        }
        Property::Path | Property::PageType | Property::EntryPath => {
            let numbers: Vec<_> = groups.collect();
            let known = texts::values(connection, site_id, &numbers)?;
            known
                .into_iter()
                .zip(numbers)
                .map(|(known, number)| known.or_else(|| meaning.new_text(number)))
                .collect()
        }
    })
}

fmgr::sql_function!(span_differences_wrapper, pg_finfo_span_differences_wrapper, span_differences);

/// `span_differences(site_id smallint)`: the UTC days of which reports count other page views than there are. `counted` and
/// `actual` are the views; where these are equal, the views differ in something else, and a second row has 0 and 1.
fn span_differences(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares a smallint.
    let site_id = unsafe { fmgr::argument(call, 0) };
    let differences = match site_id {
        None => Vec::new(),
        Some(site_id) => connect(|connection| read::differences(connection, site_id.value() as SiteId))?,
    };
    let rows = differences.iter().map(|(day, counted, actual)| {
        let is_hidden = counted.views == actual.views;
        let (counted, actual) = if is_hidden { (0, 1) } else { (counted.views, actual.views) };
        let day = i32::try_from(*day - EPOCH_DAYS).unwrap_or(i32::MAX);
        [Some(day.into()), Some(is_hidden.into()), Some(counted.into()), Some(actual.into())]
    });
    // SAFETY: this is the call being served, of a function with these columns.
    unsafe { fmgr::put_rows(call, rows) };
    Ok(pg_sys::Datum::from(0))
}

/// The views by group, of a site whose id is argument 0, and of the UTC days in the two arguments after it.
///
/// # Safety
/// The function must be declared with these arguments.
unsafe fn count_views<R>(
    call: &pg_sys::FunctionCallInfoBaseData,
    by: By,
    show: impl FnOnce(Source, Counted<Sense>) -> Result<Vec<R>, ErrorReport>,
) -> Result<Vec<R>, ErrorReport> {
    // SAFETY: the caller guarantees the arguments.
    let (site_id, days) = unsafe { (fmgr::argument(call, 0), Days::of(call, 1)) };
    let Some(site_id) = site_id.map(|site_id| site_id.value() as SiteId) else { return Ok(Vec::new()) };
    connect(|connection| {
        let filters = Filters::none();
        let question = Question { views_only: true, ..Question::of_days(by, days.range(), Zone::utc()) };
        let counted = read::count(connection, site_id, &question, days.seconds(), |new| {
            Sense::new(connection, site_id, &filters, None, new)
        })?;
        show((connection, site_id), counted)
    })
}

fmgr::sql_function!(has_spans_wrapper, pg_finfo_has_spans_wrapper, has_spans);

/// `has_spans(site_id smallint)`: whether all but a few page views are in spans.
fn has_spans(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares a smallint.
    let site_id = unsafe { fmgr::argument(call, 0) };
    let has = match site_id {
        None => false,
        Some(site_id) => connect(|connection| read::has_spans(connection, site_id.value() as SiteId))?,
    };
    Ok(has.into())
}

fmgr::sql_function!(span_days_wrapper, pg_finfo_span_days_wrapper, span_days);

/// `span_days(site_id smallint, since date, until date)`: the views on each UTC day that has any, in no order.
fn span_days(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares these arguments, and the columns.
    unsafe {
        let rows = count_views(call, By::Unit(Unit::Day), |_, counted| {
            let days = counted.units.into_iter();
            let rows = days.filter_map(|(day, numbers)| {
                let day = i32::try_from(day - EPOCH_DAYS).ok()?;
                Some([Some(day.into()), Some(numbers.views.into())])
            });
            Ok(rows.collect())
        })?;
        fmgr::put_rows(call, rows);
    }
    Ok(pg_sys::Datum::from(0))
}

fmgr::sql_function!(span_paths_wrapper, pg_finfo_span_paths_wrapper, span_paths);

/// `span_paths(site_id smallint, since date, until date, max_rows integer)`: the paths with most views, then by path.
fn span_paths(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares these arguments, and the columns.
    unsafe {
        let most =
            fmgr::argument(call, 3).map_or(0, |rows| usize::try_from(rows.value() as i32).unwrap_or(0));
        // No visitor is counted, so the order is by views alone.
        let rows = count_views(call, By::Page, |source, Counted { groups, meaning, .. }| {
            first_rows(source, Property::Path, groups, &meaning, (most, |of| of.visitors))
        })?;
        let rows = rows
            .iter()
            .map(|(path, numbers)| [path.as_ref().map(|path| datum::text(path)), Some(numbers.views.into())]);
        fmgr::put_rows(call, rows);
    }
    Ok(pg_sys::Datum::from(0))
}
