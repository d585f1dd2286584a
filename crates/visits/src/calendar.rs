//! Days, weeks, months and hours in a time zone.
//!
//! A **slot** is a stretch of time that is in one hour, or one day, of the local calendar, at one distance from UTC. Where clocks are
//! put back, an hour has two slots.

/// Seconds in a day.
pub const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// A time zone: the distance of local time from UTC, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// From when on which distance holds, in order. The first one holds before, too.
    changes: Vec<(i64, i64)>,
}

/// A unit of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Hour,
    Day,
    Week,
    Month,
}

/// How long a slot is at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Hour,
    Day,
}

/// A stretch of time at one distance from UTC, from its first second to the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub from: i64,
    pub until: i64,
    distance: i64,
}

/// A stretch of time, from its first second to the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub from: i64,
    pub until: i64,
    /// The local day, in days since 1970-01-01.
    pub day: i64,
    /// The local hour of `from`.
    pub hour: u32,
    /// When the local hour of `from` began, or would have begun, at this distance from UTC.
    pub(crate) hour_began: i64,
}

impl Zone {
    /// `changes` are in order, and there is one at least.
    pub fn new(changes: Vec<(i64, i64)>) -> Self {
        Zone { changes }
    }

    pub fn utc() -> Self {
        Zone { changes: vec![(i64::MIN, 0)] }
    }

    /// Whether no day comes again after the next one has begun, as where clocks are put back just after midnight.
    pub fn has_days_in_order(&self) -> bool {
        let day = |at: i64, distance: i64| (at + distance).div_euclid(DAY);
        self.changes.windows(2).all(|change| match change {
            [(_, old), (at, new)] => day(*at - 1, *old) <= day(*at, *new),
            _ => true,
        })
    }

    /// The stretch of one distance that a moment is in.
    pub(crate) fn stretch(&self, time: i64) -> Stretch {
        let after = self.changes.partition_point(|(from, _)| *from <= time);
        let (from, distance) = self.changes.get(after.saturating_sub(1)).copied().unwrap_or((i64::MIN, 0));
        let until = self.changes.get(after).map_or(i64::MAX, |(from, _)| *from);
        Stretch { from: if after == 0 { i64::MIN } else { from }, until, distance }
    }

    /// The slot that a moment is in.
    pub fn slot(&self, time: i64, length: Length) -> Slot {
        let stretch = self.stretch(time);
        let (local, number) = (time + stretch.distance, stretch.number(time, length));
        Slot {
            from: stretch.end_of(number - 1, length).max(stretch.from),
            until: stretch.end_of(number, length),
            day: local.div_euclid(DAY),
            hour: (local.rem_euclid(DAY) / HOUR) as u32,
            hour_began: time - local.rem_euclid(HOUR),
        }
    }
}

impl Stretch {
    /// How many hours or days of local time there were since 1970.
    #[inline]
    pub fn number(&self, time: i64, length: Length) -> i64 {
        let local = time + self.distance;
        match length {
            Length::Hour => local.div_euclid(HOUR),
            Length::Day => local.div_euclid(DAY),
        }
    }

    /// When the hour or day with a number ends, or the stretch does.
    #[inline]
    pub fn end_of(&self, number: i64, length: Length) -> i64 {
        let seconds = match length {
            Length::Hour => HOUR,
            Length::Day => DAY,
        };
        ((number + 1) * seconds - self.distance).min(self.until)
    }
}

impl Slot {
    /// 1 for Monday to 7 for Sunday.
    pub fn weekday(&self) -> u32 {
        weekday(self.day)
    }

    /// Which unit the slot is in: of hours the second when it began, of others their first local day.
    pub fn unit(&self, unit: Unit) -> i64 {
        match unit {
            Unit::Hour => self.hour_began,
            Unit::Day => self.day,
            Unit::Week => self.day - i64::from(self.weekday()) + 1,
            Unit::Month => month_began(self.day),
        }
    }
}

/// Year, month and day of the month, these counted from 1, of a day since 1970-01-01 in the Gregorian calendar. As in Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub fn civil(day: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_month)
}

/// The first day of the month of a day.
pub fn month_began(day: i64) -> i64 {
    day - civil(day).2 + 1
}

/// 1 for Monday to 7 for Sunday.
pub fn weekday(day: i64) -> u32 {
    ((day + 3).rem_euclid(7) + 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_on_their_first_day() {
        let lengths = |year: i64| {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut day = 0;
        for year in 1970..2410 {
            for length in lengths(year) {
                for of_month in 1..=length {
                    assert_eq!(civil(day).2, of_month, "{year}");
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn clocks_are_put_forward_and_back() {
        // Europe/Berlin in 2026: 29 March and 25 October, at 01:00 UTC.
        let (spring, autumn) = (1_774_746_000, 1_792_890_000);
        let zone = Zone::new(vec![(0, HOUR), (spring, 2 * HOUR), (autumn, HOUR)]);
        let hours = |time: i64| {
            let day = zone.slot(time, Length::Day).day;
            let mut at = time - DAY;
            let mut hours = Vec::new();
            while at < time + DAY {
                let slot = zone.slot(at, Length::Hour);
                if slot.day == day {
                    hours.push(slot.hour);
                }
                at = slot.until;
            }
            hours
        };
        assert_eq!(hours(spring), (0..24).filter(|hour| *hour != 2).collect::<Vec<_>>());
        assert_eq!(hours(autumn), [0, 1, 2].into_iter().chain(2..24).collect::<Vec<_>>());
        assert_eq!(zone.slot(spring, Length::Day).weekday(), 7);
    }

    #[test]
    fn weeks_begin_on_monday() {
        let slot = |day: i64| Zone::utc().slot(day * DAY, Length::Day);
        assert_eq!(slot(0).weekday(), 4);
        assert_eq!(slot(0).unit(Unit::Week), -3);
        assert_eq!(slot(3).unit(Unit::Week), -3);
        assert_eq!(slot(4).unit(Unit::Week), 4);
        assert_eq!(slot(40).unit(Unit::Month), 31);
        assert_eq!(slot(2).unit(Unit::Hour), 2 * DAY);
    }
}
