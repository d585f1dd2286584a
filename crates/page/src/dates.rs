//! Days of the Gregorian calendar, counted from 1970-01-01, and how people write them.
//!
//! The arithmetic of `day_of` is Howard Hinnant's, "chrono-Compatible Low-Level Date Algorithms": `days_from_civil`.

use site_stats_visits::calendar::{civil, weekday};

/// 9999-12-31, the last day that a year of four digits has.
pub const LAST: i64 = 2_932_896;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The day of a date; one that the month does not have is a day of the next month.
pub fn day_of(year: i64, month: i64, day_of_month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day_of_month - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    day_of(next_year, next, 1) - day_of(year, month, 1)
}

/// The same day of the month some months before, or the last one that this month has.
pub fn months_before(day: i64, months: i64) -> i64 {
    let (year, month, day_of_month) = civil(day);
    let count = year * 12 + month - 1 - months;
    let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
    day_of(year, month, day_of_month.min(days_in_month(year, month)))
}

/// The first day of the year.
pub fn year_began(day: i64) -> i64 {
    day_of(civil(day).0, 1, 1)
}

/// A day from 1970-01-01 to 9999-12-31 as a form and ISO 8601 write it.
pub fn parse(text: &str) -> Option<i64> {
    let digits = |part: &str, length: usize| {
        (part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let mut parts = text.split('-');
    let year: i64 = digits(parts.next()?, 4)?;
    let (month, day) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some()
        || !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
    {
        return None;
    }
    Some(day_of(year, month, day)).filter(|day| (0..=LAST).contains(day))
}

/// `2025-07-14`.
pub fn iso(day: i64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

fn name<'n>(names: &[&'n str], number: i64) -> &'n str {
    usize::try_from(number).ok().and_then(|number| names.get(number)).copied().unwrap_or("")
}

/// `14 Jul`.
pub fn short(day: i64) -> String {
    let (_, month, day) = civil(day);
    format!("{day} {}", name(&MONTHS, month - 1))
}

/// `14 Jul 2025`.
pub fn long(day: i64) -> String {
    format!("{} {}", short(day), civil(day).0)
}

/// `Mon 14 Jul 2025`.
pub fn full(day: i64) -> String {
    format!("{} {}", name(&WEEKDAYS, i64::from(weekday(day)) - 1), long(day))
}

/// `Jul 2025`.
pub fn month(day: i64) -> String {
    let (year, month, _) = civil(day);
    format!("{} {year}", name(&MONTHS, month - 1))
}

/// `14 Jul 2025`, `14–20 Jul 2025`, `14 Jul – 3 Aug 2025`, or both in full.
pub fn span(since: i64, until: i64) -> String {
    let ((year, month, first), (last_year, last_month, _)) = (civil(since), civil(until));
    if since == until {
        long(since)
    } else if (year, month) == (last_year, last_month) {
        format!("{first}–{}", long(until))
    } else if year == last_year {
        format!("{} – {}", short(since), long(until))
    } else {
        format!("{} – {}", long(since), long(until))
    }
}

#[cfg(test)]
mod tests {
    use site_stats_visits::calendar::month_began;

    use super::*;

    #[test]
    fn days_and_dates_are_each_other() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(LAST), (9999, 12, 31));
        assert_eq!(iso(20_283), "2025-07-14");
        for day in (-100_000..LAST).step_by(97) {
            let (year, month, of_month) = civil(day);
            assert_eq!(day_of(year, month, of_month), day);
        }
    }

    #[test]
    fn a_month_before_is_the_last_day_it_has() {
        let day = |text| parse(text).unwrap_or(-1);
        assert_eq!(iso(months_before(day("2025-03-31"), 1)), "2025-02-28");
        assert_eq!(iso(months_before(day("2024-02-29"), 12)), "2023-02-28");
        assert_eq!(iso(months_before(day("2025-01-15"), 1)), "2024-12-15");
        assert_eq!(iso(month_began(day("2025-03-31"))), "2025-03-01");
        assert_eq!(iso(year_began(day("2025-03-31"))), "2025-01-01");
    }

    #[test]
    fn only_days_are_parsed() {
        assert_eq!(parse("1970-01-01"), Some(0));
        assert_eq!(parse("9999-12-31"), Some(LAST));
        for wrong in
            ["", "2025", "2025-02-29", "2025-13-01", "2025-00-10", "1969-12-31", "+025-01-01", "2025-1-1"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse("2025-07-14-1"), None);
    }

    #[test]
    fn spans_say_no_more_than_they_must() {
        let span = |since, until| span(parse(since).unwrap_or(0), parse(until).unwrap_or(0));
        assert_eq!(span("2025-07-14", "2025-07-14"), "14 Jul 2025");
        assert_eq!(span("2025-07-14", "2025-07-20"), "14–20 Jul 2025");
        assert_eq!(span("2025-07-14", "2025-08-03"), "14 Jul – 3 Aug 2025");
        assert_eq!(span("2024-12-30", "2025-01-05"), "30 Dec 2024 – 5 Jan 2025");
        assert_eq!(full(20_283), "Mon 14 Jul 2025");
    }
}
