//! Several reports of the same days with the same filters. Spans are read once for all of them.
//! All that is asked of origins and clients is counted once, too: see `site_stats_visits::both`.

use std::collections::HashMap;

use pgrx::pg_sys::panic::ErrorReport;
use rustc_hash::FxHashMap;
use site_stats_visits::both::{Both, Joined};
use site_stats_visits::calendar::{Length, Unit, Zone};
use site_stats_visits::question::{By, Group, Numbers};

use crate::count::tally::TextKey;
use crate::maintenance::worker;
use crate::pg::datum;
use crate::report::filters::{self, Property, Sense};
use crate::report::ranges::{self, Report};
use crate::span::read::{self, Counted};

/// A breakdown: by what, the number by which its rows are ordered, and how many are wanted.
#[derive(Clone, Copy)]
pub struct Part {
    pub by: Property,
    pub number: fn(&Numbers) -> i64,
    pub max_rows: usize,
}

/// The rows of a breakdown. Those of which the number is 0 are none.
pub struct Rows {
    /// How many there are in all.
    pub count: usize,
    pub first: Vec<(Option<String>, Numbers)>,
}

/// What the reports answer.
pub struct Answers {
    pub summary: Numbers,
    /// The local day on which each unit begins, its hour if units are hours, and its numbers.
    pub units: Vec<(i64, Option<u32>, Numbers)>,
    pub breakdowns: Vec<Rows>,
    /// How many page views were read that were in no span.
    pub read_directly: usize,
}

/// A `summary()`, a `timeline()` and several `breakdown()`. Both days must be given.
///
/// # Errors
/// As those.
pub fn answer(report: &Report, unit: Unit, parts: &[Part]) -> Result<Answers, ErrorReport> {
    let zone = report.zone()?;
    let mut properties: Vec<Property> = Vec::new();
    for part in parts {
        if !is_of_visit(part.by) && !properties.contains(&part.by) {
            properties.push(part.by);
        }
    }
    let questions: Vec<_> = [(By::Both, None), (By::Unit(unit), None)]
        .into_iter()
        .chain(properties.iter().map(|property| (property.by(), Some(*property))))
        .map(|(by, property)| report.question(by, property, zone.clone()))
        .collect();
    let property_of = |place: usize| properties.get(place.checked_sub(2)?).copied();
    let seconds = report.days.seconds();
    let counted =
        read::count_together(report.connection, report.site_id, &questions, seconds, |place, new| {
            Sense::new(report.connection, report.site_id, report.filters, property_of(place), new)
        })?;

    let mut counted = counted.into_iter();
    let (Some(visits), Some(timeline)) = (counted.next(), counted.next()) else {
        return Ok(Answers {
            summary: Numbers::default(),
            units: Vec::new(),
            breakdowns: Vec::new(),
            read_directly: 0,
        });
    };
    worker::launch_for_spans(visits.read_directly, visits.met_damage);
    let read_directly = visits.read_directly;
    let visits = Visits::of(visits.both, &visits.groups)?;
    let divided: Vec<_> = properties.iter().zip(counted).collect();
    let mut breakdowns = Vec::new();
    for part in parts {
        let found = divided.iter().find(|(property, _)| **property == part.by);
        breakdowns.push(match found {
            Some((_, counted)) => rows_of(report, part, counted)?,
            None => shown(visits.divided(part.by), part),
        });
    }
    Ok(Answers {
        summary: visits.summary(),
        units: units(report, unit, &zone, &timeline)?,
        breakdowns,
        read_directly,
    })
}

/// Whether a property is one of the visit's origin or client.
fn is_of_visit(property: Property) -> bool {
    matches!(property, Property::Origin(_) | Property::Client(_))
}

/// All units, in their order.
fn units(
    report: &Report,
    unit: Unit,
    zone: &Zone,
    counted: &Counted<Sense>,
) -> Result<Vec<(i64, Option<u32>, Numbers)>, ErrorReport> {
    let numbers = &counted.units;
    let starts = |key: i64| match unit {
        Unit::Hour => {
            let slot = zone.slot(key, Length::Hour);
            (slot.day, Some(slot.hour))
        }
        _ => (key, None),
    };
    let units = ranges::units(report, unit, report.days, numbers)?.into_iter().map(|key| {
        let (day, hour) = starts(key);
        (day, hour, numbers.get(&key).copied().unwrap_or_default())
    });
    Ok(units.collect())
}

/// A breakdown that was counted by itself.
fn rows_of(report: &Report, part: &Part, counted: &Counted<Sense>) -> Result<Rows, ErrorReport> {
    let groups = counted.groups.iter().filter(|(_, numbers)| (part.number)(numbers) > 0);
    let groups: Vec<_> = groups.copied().collect();
    let count = groups.len();
    let source = (report.connection, report.site_id);
    let rows = ranges::first_rows(source, part.by, groups, &counted.meaning, (part.max_rows, part.number))?;
    Ok(Rows { count, ..shown(rows, part) })
}

/// The first rows of those that are there.
fn shown(mut rows: Vec<(Option<TextKey>, Numbers)>, part: &Part) -> Rows {
    rows.retain(|(_, numbers)| (part.number)(numbers) > 0);
    ranges::sort_rows(&mut rows, part.number);
    let count = rows.len();
    rows.truncate(part.max_rows);
    let text =
        |(value, numbers): (Option<TextKey>, Numbers)| (value.as_deref().map(datum::utf8_to_show), numbers);
    Rows { count, first: rows.into_iter().map(text).collect() }
}

/// A row of `origins` or `clients`.
type Row = Vec<Option<TextKey>>;

/// The rows of `origins`, or of `clients`, that groups have, and the numbers of each.
struct Known {
    rows: Vec<Row>,
    joined: Joined,
}

impl Known {
    fn of(
        (both, groups): (&Both, &[(Group, Numbers)]),
        id_of: fn(&(u32, u32)) -> u32,
        row_of: fn(u32) -> Result<Row, ErrorReport>,
    ) -> Result<Self, ErrorReport> {
        let (mut rows, mut places, mut of_groups) = (Vec::new(), FxHashMap::default(), Vec::new());
        for id in both.groups.iter().map(id_of) {
            let place = *places.entry(id).or_insert(rows.len());
            if place == rows.len() {
                rows.push(row_of(id)?);
            }
            of_groups.push(place);
        }
        let row_of = |group: Group| of_groups.get(group as usize).copied().unwrap_or(0);
        let joined = both.joined(groups, rows.len(), row_of);
        Ok(Known { rows, joined })
    }
}

/// Visits by origin and by client.
struct Visits {
    origins: Known,
    clients: Known,
}

impl Visits {
    fn of(mut both: Both, groups: &[(Group, Numbers)]) -> Result<Self, ErrorReport> {
        both.sort();
        Ok(Visits {
            origins: Known::of((&both, groups), |(origin, _)| *origin, filters::origin)?,
            clients: Known::of((&both, groups), |(_, client)| *client, filters::client)?,
        })
    }

    fn summary(&self) -> Numbers {
        self.origins.joined.numbers(1, |_| 0).first().copied().unwrap_or_default()
    }

    /// The rows of a property of origins or clients, in no order.
    fn divided(&self, by: Property) -> Vec<(Option<TextKey>, Numbers)> {
        let (known, column) = match by {
            Property::Origin(column) => (&self.origins, column),
            Property::Client(column) => (&self.clients, column),
            _ => return Vec::new(),
        };
        let (mut places, mut values) = (HashMap::new(), Vec::new());
        let of_rows: Vec<usize> = known
            .rows
            .iter()
            .map(|row| {
                let value = row.get(column).and_then(Option::as_ref);
                *places.entry(value).or_insert_with(|| {
                    values.push(value.cloned());
                    values.len() - 1
                })
            })
            .collect();
        let place_of = |row: usize| of_rows.get(row).copied().unwrap_or(0);
        let numbers = known.joined.numbers(values.len(), place_of);
        values.into_iter().zip(numbers).collect()
    }
}
