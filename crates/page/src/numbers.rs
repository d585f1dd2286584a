//! Numbers as people write them.

use site_stats_visits::question::Numbers;

/// `1,234,567`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "−".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 view`, `1,234 views`.
pub fn counted(number: i64, of: &str) -> String {
    format!("{} {of}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `999`, `1.2k`, `45k`, `1.2M`: for the axis of a chart.
pub fn rounded(number: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    for (size, unit) in UNITS {
        if number >= size {
            let tenths = number / (size / 10);
            return if tenths % 10 == 0 || tenths >= 1_000 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            };
        }
    }
    number.to_string()
}

/// A part of a whole in percent: `0`, `<1`, `37`.
pub fn percent(part: i64, whole: i64) -> String {
    if part <= 0 || whole <= 0 {
        return "0%".to_owned();
    }
    let thousandths = i128::from(part) * 1_000 / i128::from(whole);
    if thousandths < 10 { "<1%".to_owned() } else { format!("{}%", (thousandths + 5) / 10) }
}

/// `0 s`, `45 s`, `3 min 5 s`, `2 h 10 min`.
pub fn duration(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 if seconds % 60 == 0 => format!("{} min", seconds / 60),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// How a number has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing to compare with.
    None,
    Same,
    /// In percent, or in points for a rate; never 0.
    By(i64),
    /// More than tenfold.
    Much,
    /// There was nothing before.
    New,
}

/// The change of a number in percent.
pub fn change(now: i64, before: i64) -> Change {
    match (now, before) {
        (0, 0) => Change::None,
        (_, 0) => Change::New,
        _ if now == before => Change::Same,
        _ => {
            let percent = (i128::from(now) - i128::from(before)) * 200 / i128::from(before);
            let percent = (percent + percent.signum()) / 2;
            match percent {
                0 => Change::Same,
                1_000.. => Change::Much,
                _ => Change::By(percent as i64),
            }
        }
    }
}

/// Bounces in percent of the visits; `None` without a visit.
pub fn bounce_rate(numbers: &Numbers) -> Option<i64> {
    (numbers.entries > 0).then(|| (numbers.bounces * 200 / numbers.entries + 1) / 2)
}

/// The mean time of a visit in seconds; `None` without a visit.
pub fn visit_duration(numbers: &Numbers) -> Option<i64> {
    (numbers.entries > 0).then(|| numbers.seconds / numbers.entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_three() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (-1_000, "−1,000")]
        {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(i64::MIN), "−9,223,372,036,854,775,808");
    }

    #[test]
    fn an_axis_has_short_numbers() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1k"),
            (1_250, "1.2k"),
            (45_000, "45k"),
            (2_500_000, "2.5M"),
            (150_000, "150k"),
        ] {
            assert_eq!(rounded(number), text);
        }
    }

    #[test]
    fn parts_and_times() {
        assert_eq!((percent(1, 3), percent(1, 1_000)), ("33%".to_owned(), "<1%".to_owned()));
        assert_eq!((percent(0, 0), percent(5, 5)), ("0%".to_owned(), "100%".to_owned()));
        assert_eq!(percent(i64::MAX, i64::MAX), "100%");
        let times = [(0, "0 s"), (59, "59 s"), (60, "1 min"), (185, "3 min 5 s"), (7_800, "2 h 10 min")];
        times.iter().for_each(|(seconds, text)| assert_eq!(duration(*seconds), *text));
    }

    #[test]
    fn changes() {
        assert_eq!(change(0, 0), Change::None);
        assert_eq!(change(5, 0), Change::New);
        assert_eq!(change(110, 100), Change::By(10));
        assert_eq!(change(90, 100), Change::By(-10));
        assert_eq!(change(0, 100), Change::By(-100));
        assert_eq!(change(1_000, 1_001), Change::Same);
        assert_eq!(change(2_000, 100), Change::Much);
    }

    #[test]
    fn rates_need_visits() {
        let numbers = Numbers { entries: 3, bounces: 2, seconds: 100, ..Numbers::default() };
        assert_eq!((bounce_rate(&numbers), visit_duration(&numbers)), (Some(67), Some(33)));
        assert_eq!(bounce_rate(&Numbers::default()), None);
    }
}
