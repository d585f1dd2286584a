//! The chart of visitors and page views: where its bars are. Views are the bar behind, visitors the one in front, since there are
//! never more of them. A unit that is not over is hatched.
//!
//! Bars lie in a picture that is stretched to the width of the page. Texts and what is hatched are placed beside it by percentages,
//! so that they keep their size.

use std::fmt::Write as _;

use site_stats_visits::calendar::{Unit, month_began};

use crate::answers::{Answers, Moment, Starts};
use crate::dates;
use crate::numbers::{counted, grouped, rounded};
use crate::range::Range;

/// The size of a unit and of the picture, in the coordinates of the bars.
const WIDTH: usize = 20;
const HEIGHT: i64 = 500;

/// No bar stands for more than this.
const MOST: i64 = 1_000_000_000_000_000;

/// The most units that say their numbers when they are pointed at.
const MOST_HINTS: usize = 100;

/// The most texts below the chart: a phone has room for these.
const MOST_LABELS: usize = 6;

pub struct Chart {
    pub width: usize,
    pub height: i64,
    /// The bars of units that are over, as SVG paths.
    pub views: String,
    pub visitors: String,
    /// The unit that is not over.
    pub open: Option<Open>,
    pub lines: Vec<Line>,
    pub labels: Vec<Label>,
    pub hints: Vec<Hint>,
    pub rows: Vec<Row>,
    /// What a unit is called, and the column of units.
    pub unit: &'static str,
    pub heading: &'static str,
    /// The unit with most visitors, in words.
    pub most: String,
}

/// All in percent of the picture.
pub struct Open {
    pub x: String,
    pub width: String,
    pub views_top: String,
    pub views_height: String,
    pub visitors_top: String,
    pub visitors_height: String,
}

/// A line of the grid, in percent from the top.
pub struct Line {
    pub y: i64,
    pub text: String,
}

/// A text below the picture, in percent from the left.
pub struct Label {
    pub x: String,
    pub text: String,
}

pub struct Hint {
    pub x: String,
    pub width: String,
    pub text: String,
}

/// A row of the table behind the chart.
pub struct Row {
    pub unit: String,
    pub visitors: String,
    pub visits: String,
    pub views: String,
}

/// Bars as one SVG path, in few bytes: each begins where the one before has ended.
#[derive(Default)]
struct Bars {
    path: String,
    x: usize,
}

impl Bars {
    fn add(&mut self, left: usize, width: usize, height: i64) {
        if height == 0 {
            return;
        }
        let _ = match (self.path.is_empty(), left - self.x) {
            (true, _) => write!(self.path, "M{left} {HEIGHT}"),
            (false, gap) => write!(self.path, "m{gap} 0"),
        };
        let _ = write!(self.path, "v-{height}h{width}v{height}");
        self.x = left + width;
    }
}

fn percent(part: f64, whole: f64) -> String {
    let text = format!("{:.2}", part * 100.0 / whole);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The least number of the form 1, 2, 2.5 or 5 times a power of ten that four of are enough.
fn step(highest: i64) -> i64 {
    let mut power: i64 = 1;
    loop {
        let quarter = if power == 1 { 5 } else { 25 * (power / 10) };
        for step in [power, 2 * power, quarter, 5 * power] {
            if step * 4 >= highest {
                return step;
            }
        }
        power *= 10;
    }
}

/// The day after the last one of a unit.
fn ends(starts: Starts, unit: Unit) -> i64 {
    match unit {
        Unit::Hour | Unit::Day => starts.day + 1,
        Unit::Week => starts.day + 7,
        Unit::Month => month_began(starts.day + 31),
    }
}

/// Whether a unit has not begun, and whether it has not ended.
fn is_ahead(starts: Starts, now: Moment) -> bool {
    (starts.day, starts.hour.unwrap_or(0)) > (now.day, now.hour)
}

fn is_open(starts: Starts, unit: Unit, now: Moment) -> bool {
    match starts.hour {
        Some(hour) => (starts.day, hour) == (now.day, now.hour),
        None => ends(starts, unit) > now.day,
    }
}

fn name(starts: Starts, unit: Unit) -> String {
    match (unit, starts.hour) {
        (Unit::Week, _) => dates::span(starts.day, starts.day + 6),
        (Unit::Month, _) => dates::month(starts.day),
        (_, Some(hour)) => format!("{}, {hour:02}:00", dates::full(starts.day)),
        _ => dates::full(starts.day),
    }
}

fn label(starts: Starts, unit: Unit, is_one_day: bool, is_long: bool) -> String {
    match (unit, starts.hour) {
        (Unit::Month, _) => dates::month(starts.day),
        (_, Some(hour)) if is_one_day => format!("{hour:02}:00"),
        _ if is_long => dates::month(starts.day),
        _ => dates::short(starts.day),
    }
}

impl Chart {
    pub fn new(answers: &Answers, range: &Range) -> Self {
        let (unit, now) = (range.unit, answers.now);
        let count = answers.units.len();
        let highest = answers.units.iter().map(|(_, numbers)| numbers.views).max().unwrap_or(0);
        let highest = highest.clamp(1, MOST);
        let step = step(highest);
        // No more lines than are needed, so that the highest bar is near the top.
        let lines = (highest + step - 1) / step;
        let top = step * lines;
        let bar = (WIDTH * count / 12).clamp(1, WIDTH * 8 / 10);
        let whole = (count * WIDTH) as f64;
        let of_unit = match unit {
            Unit::Hour => ("hour", "Hour"),
            Unit::Day => ("day", "Day"),
            Unit::Week => ("week", "Week"),
            Unit::Month => ("month", "Month"),
        };
        let mut chart = Chart {
            width: count * WIDTH,
            height: HEIGHT,
            views: String::new(),
            visitors: String::new(),
            open: None,
            lines: (0..=lines)
                .map(|line| Line { y: 100 - 100 * line / lines, text: rounded(line * step) })
                .collect(),
            labels: Vec::new(),
            hints: Vec::new(),
            rows: Vec::new(),
            unit: of_unit.0,
            heading: of_unit.1,
            most: String::new(),
        };
        let height = |value: i64| value.clamp(0, MOST) * HEIGHT / top;
        let (mut views, mut visitors) = (Bars::default(), Bars::default());
        let mut most = 0;
        for (place, (starts, numbers)) in answers.units.iter().enumerate() {
            if is_ahead(*starts, now) {
                break;
            }
            let left = place * WIDTH + (WIDTH - bar) / 2;
            let is_open = is_open(*starts, unit, now);
            if is_open {
                let share = |value| percent(height(value) as f64, HEIGHT as f64);
                let from_top = |value| percent((HEIGHT - height(value)) as f64, HEIGHT as f64);
                chart.open = Some(Open {
                    x: percent(left as f64, whole),
                    width: percent(bar as f64, whole),
                    views_top: from_top(numbers.views),
                    views_height: share(numbers.views),
                    visitors_top: from_top(numbers.visitors),
                    visitors_height: share(numbers.visitors),
                });
            } else {
                for (bars, value) in [(&mut views, numbers.views), (&mut visitors, numbers.visitors)] {
                    bars.add(left, bar, if value > 0 { height(value).max(2) } else { 0 });
                }
            }
            let name = name(*starts, unit) + if is_open { " (not over yet)" } else { "" };
            if numbers.visitors > most {
                most = numbers.visitors;
                chart.most = format!("{name} has most visitors: {}.", grouped(most));
            }
            if count <= MOST_HINTS {
                chart.hints.push(Hint {
                    x: percent((place * WIDTH) as f64, whole),
                    width: percent(WIDTH as f64, whole),
                    text: format!(
                        "{name}: {}, {}",
                        counted(numbers.visitors, "visitor"),
                        counted(numbers.views, "view")
                    ),
                });
            }
            chart.rows.push(Row {
                unit: name,
                visitors: grouped(numbers.visitors),
                visits: grouped(numbers.visits),
                views: grouped(numbers.views),
            });
        }
        (chart.views, chart.visitors) = (views.path, visitors.path);
        let (is_one_day, is_long) = (range.days() == 1, range.days() > 400);
        let every = count.div_ceil(MOST_LABELS).max(1);
        // Days and hours are labelled at whole hours of a day's quarter and at days.
        let every =
            if unit == Unit::Hour { every.next_multiple_of(if is_one_day { 4 } else { 24 }) } else { every };
        for (place, (starts, _)) in answers.units.iter().enumerate().step_by(every) {
            chart.labels.push(Label {
                x: percent((place * WIDTH + WIDTH / 2) as f64, whole),
                text: label(*starts, unit, is_one_day, is_long),
            });
        }
        chart
    }
}

#[cfg(test)]
mod tests {
    use site_stats_visits::question::Numbers;

    use super::*;

    fn numbers(visitors: i64, views: i64) -> Numbers {
        Numbers { visitors, views, ..Numbers::default() }
    }

    fn days(unit: Unit, values: &[(i64, i64, i64)], now: i64) -> Chart {
        let units = values
            .iter()
            .map(|(day, visitors, views)| (Starts { day: *day, hour: None }, numbers(*visitors, *views)))
            .collect();
        let answers = Answers { units, now: Moment { day: now, hour: 12, minute: 0 }, ..Answers::default() };
        let range = Range {
            since: values.first().map_or(0, |value| value.0),
            until: values.last().map_or(0, |value| value.0),
            before: None,
            unit,
        };
        Chart::new(&answers, &range)
    }

    #[test]
    fn lines_are_round_numbers() {
        for (highest, expected) in
            [(1, 1), (4, 1), (5, 2), (9, 5), (60, 20), (100, 25), (101, 50), (1_234, 500)]
        {
            assert_eq!(step(highest), expected, "{highest}");
        }
        assert_eq!(step(MOST), MOST / 4);
    }

    #[test]
    fn bars_stand_in_the_middle_of_their_units() {
        let chart = days(Unit::Day, &[(100, 5, 10), (101, 0, 0), (102, 10, 20)], 200);
        assert_eq!(chart.width, 60);
        assert_eq!(chart.views, "M7 500v-250h5v250m35 0v-500h5v500");
        assert_eq!(chart.visitors, "M7 500v-125h5v125m35 0v-250h5v250");
        assert!(chart.open.is_none());
        assert_eq!(chart.rows.len(), 3);
        assert_eq!(
            chart.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
            ["0", "5", "10", "15", "20"]
        );
    }

    #[test]
    fn what_is_not_over_is_marked() {
        let chart = days(Unit::Day, &[(100, 5, 10), (101, 2, 5)], 101);
        assert_eq!(chart.views, "M8 500v-500h3v500");
        assert!(chart.open.is_some_and(|open| open.x == "70" && open.views_height == "50"));
        assert_eq!(chart.rows[1].unit, "Mon 12 Apr 1970 (not over yet)".replace("Mon 12", "Sun 12"));
        assert!(days(Unit::Week, &[(95, 1, 1)], 101).open.is_some());
        assert!(days(Unit::Week, &[(95, 1, 1)], 102).open.is_none());
        assert!(days(Unit::Month, &[(90, 1, 1)], 119).open.is_some());
        assert!(days(Unit::Month, &[(90, 1, 1)], 120).open.is_none());
    }

    #[test]
    fn hours_to_come_are_left_free() {
        let units = (0..24).map(|hour| (Starts { day: 7, hour: Some(hour) }, numbers(1, 2))).collect();
        let answers = Answers { units, now: Moment { day: 7, hour: 9, minute: 5 }, ..Answers::default() };
        let chart = Chart::new(&answers, &Range { since: 7, until: 7, before: None, unit: Unit::Hour });
        assert_eq!((chart.rows.len(), chart.width), (10, 480));
        assert_eq!(
            chart.labels.iter().map(|label| label.text.as_str()).collect::<Vec<_>>(),
            ["00:00", "04:00", "08:00", "12:00", "16:00", "20:00"]
        );
    }

    #[test]
    fn a_chart_may_be_empty_and_may_be_huge() {
        assert_eq!(days(Unit::Day, &[], 0).rows.len(), 0);
        let chart = days(Unit::Day, &[(1, i64::MAX, i64::MAX)], 9);
        assert!(chart.views.starts_with("M9 500v-500h1"), "{}", chart.views);
    }
}
