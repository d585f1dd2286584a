//! Which days the page shows, and which come before them.

use site_stats_visits::calendar::{Unit, month_began};

use crate::dates;
use crate::query::Query;

/// Days that have a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    Today,
    Yesterday,
    SevenDays,
    #[default]
    ThirtyDays,
    Month,
    Year,
    All,
}

/// The name in a URL, and on the page.
pub const PERIODS: [(Period, &str, &str); 7] = [
    (Period::Today, "today", "Today"),
    (Period::Yesterday, "yesterday", "Yesterday"),
    (Period::SevenDays, "7d", "7 days"),
    (Period::ThirtyDays, "30d", "30 days"),
    (Period::Month, "month", "This month"),
    (Period::Year, "year", "This year"),
    (Period::All, "all", "All time"),
];

impl Period {
    pub fn named(name: &str) -> Option<Self> {
        PERIODS.iter().find(|(_, known, _)| *known == name).map(|(period, ..)| *period)
    }

    pub fn name(self) -> &'static str {
        PERIODS.iter().find(|(period, ..)| *period == self).map_or("", |(_, name, _)| name)
    }
}

/// The days that the page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub since: i64,
    pub until: i64,
    /// The days to compare with; none before all time.
    pub before: Option<(i64, i64)>,
    pub unit: Unit,
}

/// The most units of a chart, of each unit. So a chart and its table stay small. There may be any number of months.
const MOST_UNITS: [(Unit, i64, i64); 3] = [(Unit::Hour, 1, 8), (Unit::Day, 1, 400), (Unit::Week, 7, 400)];

/// The most days of a range that begins before the first page view.
const MOST_DAYS: i64 = 4_000;

impl Range {
    /// The days that a query means on a day, of a site with its first page view on another day, if it has any.
    pub fn of(query: &Query, today: i64, first: Option<i64>) -> Self {
        let first = first.unwrap_or(today).clamp(0, today);
        let before = |since: i64, until: i64| (since - (until - since + 1), since - 1);
        let (since, until, before) = match (query.since, query.until) {
            (None, None) => {
                let since = match query.period {
                    Period::Today => today,
                    Period::Yesterday => today - 1,
                    Period::SevenDays => today - 6,
                    Period::ThirtyDays => today - 29,
                    Period::Month => month_began(today),
                    Period::Year => dates::year_began(today),
                    Period::All => first,
                };
                let until = if query.period == Period::Yesterday { since } else { today };
                let before = match query.period {
                    Period::All => None,
                    // As many days of the month or the year before.
                    Period::Month => Some((dates::months_before(since, 1), dates::months_before(today, 1))),
                    Period::Year => Some((dates::months_before(since, 12), dates::months_before(today, 12))),
                    _ => Some(before(since, until)),
                };
                (since, until, before)
            }
            (since, until) => {
                // No page view counts that is dated after now.
                let until = until.unwrap_or(today).min(today.max(since.unwrap_or(today)));
                let since = since.unwrap_or(first.min(until));
                // Centuries without a page view would only be empty rows.
                let since = if until - since > MOST_DAYS { since.max(first.min(until)) } else { since };
                (since, until, Some(before(since, until)))
            }
        };
        let mut range = Range { since, until, before, unit: Unit::Month };
        range.unit = query.unit.filter(|unit| range.takes(*unit)).unwrap_or_else(|| range.natural_unit());
        range
    }

    pub fn days(&self) -> i64 {
        self.until - self.since + 1
    }

    /// Whether a chart by this unit is small enough.
    pub fn takes(&self, unit: Unit) -> bool {
        MOST_UNITS.iter().all(|(of, days, most)| *of != unit || self.days() <= days * most)
    }

    fn natural_unit(&self) -> Unit {
        match self.days() {
            ..=2 => Unit::Hour,
            3..=92 => Unit::Day,
            93..=800 => Unit::Week,
            _ => Unit::Month,
        }
    }

    /// The last hour of the day before that is compared, if today is compared with yesterday: today is not over.
    pub fn last_hour(query: &Query, hour: u32) -> Option<u32> {
        let is_today = query.since.is_none() && query.until.is_none() && query.period == Period::Today;
        Some(hour).filter(|hour| is_today && *hour < 23)
    }

    /// What a change is against, in words, at an hour of the day.
    pub fn before_in_words(&self, query: &Query, hour: u32) -> String {
        let Some((since, until)) = self.before else { return String::new() };
        match query.period {
            _ if query.since.is_some() || query.until.is_some() => {}
            Period::Today => {
                return Self::last_hour(query, hour)
                    .map_or("yesterday".to_owned(), |hour| format!("yesterday until {:02}:00", hour + 1));
            }
            Period::Yesterday => return "the day before".to_owned(),
            Period::SevenDays => return "the 7 days before".to_owned(),
            Period::ThirtyDays => return "the 30 days before".to_owned(),
            _ => {}
        }
        dates::span(since, until)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TODAY: i64 = 20_283; // Mon 2025-07-14

    fn range(value: serde_json::Value, first: Option<i64>) -> (Range, String) {
        let query = value.as_object().map(Query::parse).unwrap_or_default();
        let range = Range::of(&query, TODAY, first);
        let days = format!("{} {}", dates::iso(range.since), dates::iso(range.until));
        let before =
            range.before.map(|(since, until)| format!(" {} {}", dates::iso(since), dates::iso(until)));
        (range, days + &before.unwrap_or_default())
    }

    #[test]
    fn periods_and_what_comes_before() {
        let days = |period: &str| range(json!({ "period": period }), Some(20_000)).1;
        assert_eq!(days("today"), "2025-07-14 2025-07-14 2025-07-13 2025-07-13");
        assert_eq!(days("yesterday"), "2025-07-13 2025-07-13 2025-07-12 2025-07-12");
        assert_eq!(days("7d"), "2025-07-08 2025-07-14 2025-07-01 2025-07-07");
        assert_eq!(days("30d"), "2025-06-15 2025-07-14 2025-05-16 2025-06-14");
        assert_eq!(days("month"), "2025-07-01 2025-07-14 2025-06-01 2025-06-14");
        assert_eq!(days("year"), "2025-01-01 2025-07-14 2024-01-01 2024-07-14");
        assert_eq!(days("all"), "2024-10-04 2025-07-14");
        assert_eq!(range(json!({"period": "all"}), None).1, "2025-07-14 2025-07-14");
    }

    #[test]
    fn own_days() {
        let days = |since: &str, until: &str| range(json!({"since": since, "until": until}), Some(20_000)).1;
        assert_eq!(days("2025-07-01", "2025-07-03"), "2025-07-01 2025-07-03 2025-06-28 2025-06-30");
        assert_eq!(days("2025-07-10", ""), "2025-07-10 2025-07-14 2025-07-05 2025-07-09");
        assert_eq!(days("", "2024-10-05"), "2024-10-04 2024-10-05 2024-10-02 2024-10-03");
        assert_eq!(days("2025-07-10", "9999-12-31"), "2025-07-10 2025-07-14 2025-07-05 2025-07-09");
        assert_eq!(days("1970-01-01", "2024-10-05"), "2024-10-04 2024-10-05 2024-10-02 2024-10-03");
        assert_eq!(days("2026-01-01", "2026-01-02"), "2026-01-01 2026-01-01 2025-12-31 2025-12-31");
    }

    #[test]
    fn units_keep_charts_small() {
        let unit = |value| range(value, Some(10_000)).0.unit;
        assert_eq!(unit(json!({"period": "today"})), Unit::Hour);
        assert_eq!(unit(json!({})), Unit::Day);
        assert_eq!(unit(json!({"period": "year"})), Unit::Week);
        assert_eq!(unit(json!({"period": "year", "unit": "day"})), Unit::Day);
        assert_eq!(unit(json!({"unit": "hour"})), Unit::Day);
        assert_eq!(unit(json!({"period": "7d", "unit": "hour"})), Unit::Hour);
        assert_eq!(unit(json!({"period": "all"})), Unit::Month);
        assert_eq!(unit(json!({"period": "all", "unit": "day"})), Unit::Month);
    }
}
