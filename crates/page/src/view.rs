//! The page as the template shows it: texts, links and numbers, ready to be written.

use std::cell::Cell;
use std::fmt::Write as _;

use askama::Template;
use site_stats_visits::calendar::Unit;
use site_stats_visits::question::Numbers;

use crate::answers::{Answers, Breakdown, Order, PARTS, Part};
use crate::chart::Chart;
use crate::dates;
use crate::map::{self, Point};
use crate::numbers::{Change, bounce_rate, change, counted, duration, grouped, percent, visit_duration};
use crate::query::{Query, UNITS};
use crate::range::{PERIODS, Period, Range};
use crate::words::{self, shown};

/// Style and script are constants, so their hashes can be in the page's own Content-Security-Policy. A test computes them.
const STYLE: &str = include_str!("../templates/style.css");
const SCRIPT: &str = include_str!("../templates/live.js");
const STYLE_HASH: &str = "sha256-vjnKOHRBuClX3o6anvKNWAztjv8JC7qz/9LWhTZHz/E=";
const SCRIPT_HASH: &str = "sha256-x0EXmaHh0DANkrcRAoVpMpVKnrQEX+rPg/WI7QYwIYw=";

/// The most bytes of the links of rows, so that long filters cannot make a long page.
const MOST_LINKS: usize = 16_000;

/// The most bytes of a page.
const MOST_BYTES: usize = 100_000;

/// How many pages and places of visitors who are here now are listed.
const MOST_ACTIVE: usize = 6;

/// The most sites and problems that are listed.
const MOST_LISTED: usize = 20;

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'p> {
    policy: String,
    nonce: Option<&'p str>,
    style: &'static str,
    script: &'static str,
    live: Option<&'p str>,
    site: &'p str,
    title: String,
    problems: &'p [String],
    sites: Vec<Link>,
    periods: Vec<Link>,
    has_own_days: bool,
    hidden: Vec<(String, String)>,
    since: String,
    until: String,
    today: String,
    days: String,
    before: String,
    filters: Vec<Chip>,
    unfiltered: String,
    all_time: Option<String>,
    is_new: bool,
    cards: Vec<Card>,
    units: Vec<Link>,
    chart: Option<Chart>,
    active: Active,
    tables: Vec<Table>,
    refusals: Vec<(String, String)>,
    refused: Option<String>,
    counted_since: Option<String>,
    total_views: String,
    total_visitors: String,
    source: &'p str,
    made_from: String,
    made_at: String,
    timezone: &'p str,
}

struct Link {
    href: String,
    text: String,
    is_current: bool,
}

struct Chip {
    word: &'static str,
    meaning: String,
    href: String,
}

struct Card {
    title: &'static str,
    value: String,
    change: Option<Shift>,
}

/// A change as it is shown: an arrow and a number, and the same in words.
struct Shift {
    kind: &'static str,
    text: String,
    words: String,
}

struct Active {
    visitors: String,
    pages: Vec<Row>,
    more: Option<String>,
    points: Vec<Point>,
    places: Vec<(String, String)>,
    land: &'static str,
}

/// A breakdown, or a list of pages.
struct Table {
    id: String,
    title: &'static str,
    of: &'static str,
    number: &'static str,
    second: &'static str,
    rows: Vec<Row>,
    more: Option<String>,
    advice: &'static str,
}

struct Row {
    text: String,
    href: Option<String>,
    number: String,
    second: String,
    /// The length of the bar in percent.
    share: i64,
}

/// The page as an HTML document. One that would be too long has no links in its rows.
pub fn render(query: &Query, range: &Range, answers: &Answers) -> String {
    // Only a formatter that fails could make this fail, and a string never does.
    let html = |links| Page::of(query, range, answers, links).render().unwrap_or_default();
    let page = html(MOST_LINKS);
    if page.len() > MOST_BYTES { html(0) } else { page }
}

/// The same document with all characters beyond ASCII as references, for a database of another encoding.
pub fn to_ascii(html: &str) -> String {
    let mut ascii = String::with_capacity(html.len());
    for character in html.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let _ = write!(ascii, "&#{};", u32::from(character));
        }
    }
    ascii
}

impl<'p> Page<'p> {
    fn of(query: &'p Query, range: &Range, answers: &'p Answers, links: usize) -> Self {
        let links = Cell::new(links);
        let has_own_days = query.since.is_some() || query.until.is_some();
        let days = dates::span(range.since, range.until);
        let has_views = answers.summary.views > 0;
        let refused: i64 = answers.refusals.iter().map(|(_, count)| count).sum();
        let name = if answers.site.is_empty() { String::new() } else { format!("{} – ", answers.site) };
        Page {
            policy: policy(query),
            nonce: query.nonce.as_deref(),
            style: STYLE,
            script: SCRIPT,
            live: query.live.as_deref(),
            site: &answers.site,
            title: format!("{name}Statistics, {days}"),
            problems: query.problems.get(..MOST_LISTED).unwrap_or(&query.problems),
            sites: sites(query, answers),
            periods: PERIODS
                .iter()
                .map(|(period, _, text)| Link {
                    href: query.with_period(*period).href(),
                    text: (*text).to_owned(),
                    is_current: !has_own_days && query.period == *period,
                })
                .collect(),
            has_own_days,
            hidden: Query { since: None, until: None, period: Period::default(), ..query.clone() }
                .parameters(),
            since: dates::iso(range.since),
            until: dates::iso(range.until),
            today: dates::iso(answers.now.day),
            days,
            before: answers
                .before
                .map(|_| range.before_in_words(query, answers.now.hour))
                .unwrap_or_default(),
            filters: (0..)
                .zip(&query.filters)
                .map(|(number, filter)| Chip {
                    word: filter.word.title,
                    meaning: filter.meaning(),
                    href: query.without_filter(number).href(),
                })
                .collect(),
            unfiltered: query.without_filters().href(),
            all_time: (!has_views && answers.total.views > 0 && query.period != Period::All)
                .then(|| query.with_period(Period::All).href()),
            is_new: answers.total.views == 0,
            cards: cards(answers, range, query),
            units: units(query, range),
            chart: has_views.then(|| Chart::new(answers, range)),
            active: active(query, answers, &links),
            tables: if has_views { tables(query, answers, &links) } else { Vec::new() },
            refusals: answers
                .refusals
                .iter()
                .map(|(reason, count)| (reason_in_words(reason), grouped(*count)))
                .collect(),
            refused: (refused > 0).then(|| grouped(refused)),
            counted_since: answers.total.since.map(dates::long),
            total_views: counted(answers.total.views, "page view"),
            total_visitors: counted(answers.total.visitors, "visitor"),
            source: &answers.total.source,
            made_from: made_from(answers),
            made_at: format!(
                "{}, {:02}:{:02}",
                dates::long(answers.now.day),
                answers.now.hour,
                answers.now.minute
            ),
            timezone: &answers.timezone,
        }
    }
}

/// What the page may load and run: its own style and its own script, and nothing from elsewhere.
fn policy(query: &Query) -> String {
    let (script, connect) = if query.live.is_some() {
        (format!("'{SCRIPT_HASH}'"), "'self'")
    } else {
        ("'none'".to_owned(), "'none'")
    };
    format!(
        "default-src 'none'; style-src '{STYLE_HASH}'; script-src {script}; connect-src {connect}; img-src data:; \
         form-action 'self'; base-uri 'none'"
    )
}

fn sites(query: &Query, answers: &Answers) -> Vec<Link> {
    let link = |name: &String| Link {
        href: query.with_site(name).href(),
        text: if name.is_empty() { "First site".to_owned() } else { shown(name) },
        is_current: *name == answers.site,
    };
    answers.sites.iter().take(MOST_LISTED).map(link).collect()
}

fn units(query: &Query, range: &Range) -> Vec<Link> {
    let takes = |unit: Unit| {
        let days = range.days();
        range.takes(unit)
            && (unit == range.unit
                || days
                    >= match unit {
                        Unit::Hour => 1,
                        Unit::Day => 2,
                        Unit::Week => 14,
                        Unit::Month => 60,
                    })
    };
    let offered = UNITS.iter().filter(|(_, unit)| takes(*unit));
    offered
        .map(|(name, unit)| Link {
            href: query.with_unit(*unit).href(),
            text: (*name).to_owned(),
            is_current: *unit == range.unit,
        })
        .collect()
}

fn cards(answers: &Answers, range: &Range, query: &Query) -> Vec<Card> {
    let (now, before) = (&answers.summary, answers.before.as_ref());
    let against = range.before_in_words(query, answers.now.hour);
    let number = |title: &'static str, of: fn(&Numbers) -> i64| Card {
        title,
        value: grouped(of(now)),
        change: before.and_then(|before| shift(change(of(now), of(before)), "%", true, &against)),
    };
    let compared = |of: fn(&Numbers) -> Option<i64>| Some((of(now)?, of(before?)?));
    let rate = compared(bounce_rate).map(|(now, before)| match now - before {
        0 => Change::Same,
        points => Change::By(points),
    });
    let stay = compared(visit_duration).map(|(now, before)| change(now, before));
    vec![
        number("Visitors", |numbers| numbers.visitors),
        number("Visits", |numbers| numbers.visits),
        number("Page views", |numbers| numbers.views),
        Card {
            title: "Bounce rate",
            value: bounce_rate(now).map_or_else(|| "–".to_owned(), |rate| format!("{rate}%")),
            change: rate.and_then(|rate| shift(rate, " points", false, &against)),
        },
        Card {
            title: "Visit duration",
            value: visit_duration(now).map_or_else(|| "–".to_owned(), duration),
            change: stay.and_then(|stay| shift(stay, "%", true, &against)),
        },
    ]
}

/// A change as it is shown. `is_good` is whether more is better.
fn shift(change: Change, unit: &str, is_good: bool, against: &str) -> Option<Shift> {
    let kind = |is_more: bool| if is_more == is_good { "good" } else { "bad" };
    let unit_of = |number: i64| if number == 1 { unit.trim_end_matches('s') } else { unit };
    Some(match change {
        Change::None => return None,
        Change::Same => {
            Shift { kind: "same", text: "=".to_owned(), words: format!("the same as in {against}") }
        }
        Change::By(more @ 1..) => Shift {
            kind: kind(true),
            text: format!("↑ {more}{}", unit_of(more)),
            words: format!("{more}{} more than in {against}", unit_of(more)),
        },
        Change::By(less) => Shift {
            kind: kind(false),
            text: format!("↓ {}{}", -less, unit_of(-less)),
            words: format!("{}{} less than in {against}", -less, unit_of(-less)),
        },
        Change::New => {
            Shift { kind: kind(true), text: "↑ new".to_owned(), words: format!("nothing in {against}") }
        }
        Change::Much => Shift {
            kind: kind(true),
            text: "↑ >1000%".to_owned(),
            words: format!("more than ten times as much as in {against}"),
        },
    })
}

/// A link, if there is room for it in the page.
fn within(links: &Cell<usize>, href: String) -> Option<String> {
    let left = links.get().checked_sub(href.len() + 4 * href.matches('&').count())?;
    links.set(left);
    Some(href)
}

fn active(query: &Query, answers: &Answers, links: &Cell<usize>) -> Active {
    let active = &answers.active;
    let most = active.pages.first().map_or(1, |(_, count)| *count);
    let path = words::find("path");
    let mut places: Vec<_> =
        map::names_of(&active.places).into_iter().map(|(name, count)| (name, grouped(count))).collect();
    places.truncate(MOST_ACTIVE);
    let rows = active.pages.iter().take(MOST_ACTIVE).map(|(page, count)| Row {
        text: shown(page),
        href: path.and_then(|path| within(links, query.with_filter(path, Some(page)).href())),
        number: grouped(*count),
        second: String::new(),
        share: of_most(*count, most),
    });
    Active {
        visitors: grouped(active.visitors),
        pages: rows.collect(),
        more: more(active.pages.len(), MOST_ACTIVE, "page"),
        points: map::points(&active.places),
        places,
        land: map::LAND.trim_ascii_end(),
    }
}

fn of_most(number: i64, most: i64) -> i64 {
    (i128::from(number) * 100 / i128::from(most.max(1))).clamp(0, 100) as i64
}

fn more(count: usize, shown: usize, of: &str) -> Option<String> {
    let more = count.checked_sub(shown).filter(|more| *more > 0)?;
    let plural = match (more, of.strip_suffix('y')) {
        (1, _) => of.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        _ => format!("{of}s"),
    };
    Some(format!("and {} more {plural}", grouped(i64::try_from(more).unwrap_or(i64::MAX))))
}

fn tables(query: &Query, answers: &Answers, links: &Cell<usize>) -> Vec<Table> {
    PARTS
        .iter()
        .zip(&answers.breakdowns)
        .map(|(part, answer)| table(query, answers, links, part, answer))
        .collect()
}

fn table(query: &Query, answers: &Answers, links: &Cell<usize>, part: &Part, answer: &Breakdown) -> Table {
    let word = words::find(part.by);
    let number = |numbers: &Numbers| part.order.number(numbers);
    // A list of which only "unknown" is known says nothing.
    let is_known = answer.rows.iter().any(|(value, _)| value.is_some());
    // Most visits come from no campaign, and that says nothing either.
    let is_shown = |value: &Option<String>| value.is_some() || part.by != "campaign";
    let rows: Vec<_> = answer.rows.iter().filter(|(value, _)| is_shown(value)).collect();
    let values = answer.values - usize::from(answer.rows.len() > rows.len());
    let most = rows.iter().map(|(_, numbers)| number(numbers)).max().unwrap_or(1);
    let whole = number(&answers.summary);
    let row = |(value, numbers): &&(Option<String>, Numbers)| {
        let (value, word) = (value.as_deref(), word?);
        Some(Row {
            text: word.label(value),
            href: within(links, query.with_filter(word, value).href()),
            number: grouped(number(numbers)),
            second: if part.title == "Pages" {
                grouped(numbers.views)
            } else {
                percent(number(numbers), whole)
            },
            share: of_most(number(numbers), most),
        })
    };
    Table {
        id: part.title.to_ascii_lowercase().replace(' ', "-"),
        title: part.title,
        of: part.of,
        number: match part.order {
            Order::Visitors => "Visitors",
            Order::Entries => "Entries",
            Order::Exits => "Exits",
        },
        second: if part.title == "Pages" { "Views" } else { "Share" },
        rows: if is_known { rows.iter().filter_map(row).collect() } else { Vec::new() },
        more: more(values, rows.len(), &part.of.to_lowercase()).filter(|_| is_known),
        advice: part.advice,
    }
}

fn reason_in_words(reason: &str) -> String {
    match reason {
        "bot" => "Bots and programs",
        "excluded" => "Addresses and paths that the site excludes",
        "unknown_host" => "Hosts that are not the site's",
        "rate_limited" => "Too many page views in a minute",
        _ => return shown(reason),
    }
    .to_owned()
}

fn made_from(answers: &Answers) -> String {
    match answers.read_directly {
        0 => "spans".to_owned(),
        read if read >= answers.total.views => "the page views themselves".to_owned(),
        read => format!("spans and {} read directly", counted(read, "page view")),
    }
}

#[cfg(test)]
mod tests;
