//! What the page is asked for: the parameters of its URL, and links with other ones.
//!
//! Whoever opens the page may write anything into its URL. What means nothing is left out, and the page says so, so a wrong URL is
//! never an error of the server. Parameters that the page does not know are not its own, and are passed over.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use site_stats_visits::calendar::Unit;

use crate::dates;
use crate::range::Period;
use crate::words::{self, Word, shown};

/// The most bytes of all filters in a link: each link carries them.
const MOST_FILTERS: usize = 1_000;

/// What a filter asks of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// One of these; `None` is unknown.
    Is(Vec<Option<String>>),
    /// None of these.
    Not(Vec<String>),
    /// By SQL's LIKE.
    Like(String),
}

/// A filter of the page.
#[derive(Clone, Debug)]
pub struct Filter {
    pub word: &'static Word,
    pub test: Test,
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.word.name == other.word.name && self.test == other.test
    }
}

impl Filter {
    /// As `summary()` takes the value of a filter.
    pub fn value(&self) -> Value {
        match &self.test {
            Test::Is(values) => match values.as_slice() {
                [one] => json!(one),
                _ => json!(values),
            },
            Test::Not(values) => json!({ "not": values }),
            Test::Like(pattern) => json!({ "like": pattern }),
        }
    }

    /// As parameters of a URL.
    fn parameters(&self) -> Vec<(String, String)> {
        let name = self.word.name;
        match &self.test {
            Test::Is(values) => {
                values.iter().map(|value| (name.to_owned(), value.clone().unwrap_or_default())).collect()
            }
            Test::Not(values) => values.iter().map(|value| (format!("{name}!"), value.clone())).collect(),
            Test::Like(pattern) => vec![(format!("{name}~"), pattern.clone())],
        }
    }

    /// In words: `is Google`.
    pub fn meaning(&self) -> String {
        const MOST: usize = 3;
        let list = |values: &mut dyn Iterator<Item = Option<&str>>, count: usize| {
            let mut text =
                values.take(MOST).map(|value| self.word.label(value)).collect::<Vec<_>>().join(" or ");
            if count > MOST {
                let _ = write!(text, " or {} more", count - MOST);
            }
            text
        };
        match &self.test {
            Test::Is(values) => {
                format!("is {}", list(&mut values.iter().map(Option::as_deref), values.len()))
            }
            Test::Not(values) => {
                format!("is not {}", list(&mut values.iter().map(|value| Some(value.as_str())), values.len()))
            }
            Test::Like(pattern) => format!("is like {}", shown(pattern)),
        }
    }
}

/// What the page is asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub period: Period,
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub unit: Option<Unit>,
    pub filters: Vec<Filter>,
    /// The site that was chosen, where there is a choice.
    pub site: Option<String>,
    /// What style and script carry, for a Content-Security-Policy of the server.
    pub nonce: Option<String>,
    /// Where live numbers come from: a URL of the same server.
    pub live: Option<String>,
    /// What meant nothing, in sentences.
    pub problems: Vec<String>,
}

/// The names of units in URLs.
pub const UNITS: [(&str, Unit); 4] =
    [("hour", Unit::Hour), ("day", Unit::Day), ("week", Unit::Week), ("month", Unit::Month)];

/// The texts of a parameter, which may be repeated. `None` if it is none.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![text]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

impl Query {
    /// The query in the parameters of a URL. A repeated one is an array.
    pub fn parse(parameters: &Map<String, Value>) -> Self {
        let mut query = Query::default();
        for (name, value) in parameters {
            match name.as_str() {
                "period" | "since" | "until" | "unit" | "site" | "nonce" | "live" => query.take(name, value),
                _ => query.take_filter(name, value),
            }
        }
        if let (Some(since), Some(until)) = (query.since, query.until)
            && since > until
        {
            (query.since, query.until) = (Some(until), Some(since));
        }
        let filters = Query { filters: query.filters.clone(), ..Query::default() };
        if filters.href().len() > MOST_FILTERS {
            query.filters.clear();
            query.problems.push("The filters are too long, and are left out.".to_owned());
        }
        query
    }

    fn take(&mut self, name: &str, value: &Value) {
        let Some(texts) = texts(value) else {
            return self.problems.push(format!("{name} is not a text."));
        };
        // A form sends fields that nobody has filled in.
        let Some(text) = texts.last().copied().filter(|text| !text.is_empty() || name == "site") else {
            return;
        };
        let wrong = match name {
            "since" | "until" => match dates::parse(text) {
                None => Some("is not a day such as 2025-07-14"),
                day if name == "since" => set(&mut self.since, day),
                day => set(&mut self.until, day),
            },
            "period" => match Period::named(text) {
                None => Some("is not a period"),
                Some(period) => {
                    self.period = period;
                    None
                }
            },
            "unit" => match UNITS.iter().find(|(unit, _)| *unit == text) {
                None => Some("is not hour, day, week or month"),
                Some((_, unit)) => set(&mut self.unit, Some(*unit)),
            },
            "site" => set(&mut self.site, Some(text.to_owned())),
            "nonce" if !is_nonce(text) => Some("is not a nonce"),
            "nonce" => set(&mut self.nonce, Some(text.to_owned())),
            _ if !is_own_url(text) => Some("is not a path on this server"),
            _ => set(&mut self.live, Some(text.to_owned())),
        };
        if let Some(wrong) = wrong {
            self.problems.push(format!("{name} “{}” {wrong}.", shown(text)));
        }
    }

    fn take_filter(&mut self, name: &str, value: &Value) {
        let (word, kind) = match name.strip_suffix(['!', '~']) {
            Some(word) => (word, name.get(word.len()..).unwrap_or("")),
            None => (name, ""),
        };
        let Some(word) = words::find(word) else { return };
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let test = match (kind, value) {
            ("", Value::Null) => Some(Test::Is(vec![None])),
            ("", Value::Object(object)) if object.len() == 1 => match object.iter().next() {
                Some((key, value)) if key == "not" => texts(value).map(owned).map(Test::Not),
                Some((key, Value::String(pattern))) if key == "like" => Some(Test::Like(pattern.clone())),
                _ => None,
            },
            // A repeated parameter. Empty ones beside others are fields of a form that nobody has filled in.
            ("", value @ Value::Array(_)) => texts(value).map(owned).map(|mut texts| {
                let is_given = !texts.is_empty();
                texts.retain(|text| !text.is_empty());
                let values: Vec<_> = texts.into_iter().map(Some).collect();
                Test::Is(if values.is_empty() && is_given { vec![None] } else { values })
            }),
            ("", Value::String(text)) => {
                Some(Test::Is(vec![Some(text.clone()).filter(|text| !text.is_empty())]))
            }
            ("!", value) => texts(value).map(owned).map(Test::Not),
            ("~", value) => {
                texts(value).map(|texts| Test::Like(texts.last().copied().unwrap_or_default().to_owned()))
            }
            _ => None,
        };
        match test {
            Some(Test::Is(values)) if values.is_empty() => {}
            Some(Test::Not(values)) if values.is_empty() => {}
            Some(Test::Like(pattern)) if is_cut_off(&pattern) => {
                self.problems.push(format!("The pattern of {} ends with an escape character.", word.name));
            }
            Some(test) => self.filters.push(Filter { word, test }),
            None => self.problems.push(format!("{} is not a filter that the page knows.", word.name)),
        }
    }

    /// The same query with one more filter, in place of another one of that word.
    pub fn with_filter(&self, word: &'static Word, value: Option<&str>) -> Self {
        let mut query = self.clone();
        query.filters.retain(|filter| filter.word.name != word.name);
        query.filters.push(Filter { word, test: Test::Is(vec![value.map(str::to_owned)]) });
        query
    }

    pub fn without_filter(&self, number: usize) -> Self {
        let mut query = self.clone();
        if number < query.filters.len() {
            query.filters.remove(number);
        }
        query
    }

    pub fn without_filters(&self) -> Self {
        Query { filters: Vec::new(), ..self.clone() }
    }

    pub fn with_period(&self, period: Period) -> Self {
        Query { period, since: None, until: None, unit: None, ..self.clone() }
    }

    pub fn with_unit(&self, unit: Unit) -> Self {
        Query { unit: Some(unit), ..self.clone() }
    }

    /// Another site, with the same days.
    pub fn with_site(&self, site: &str) -> Self {
        Query { site: Some(site.to_owned()), filters: Vec::new(), ..self.clone() }
    }

    /// The parameters of a URL, but for those that the server adds.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            all.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("site", self.site.clone());
        add("since", self.since.map(dates::iso));
        add("until", self.until.map(dates::iso));
        if self.since.is_none() && self.until.is_none() && self.period != Period::default() {
            add("period", Some(self.period.name().to_owned()));
        }
        let unit = UNITS.iter().find(|(_, unit)| Some(*unit) == self.unit);
        add("unit", unit.map(|(name, _)| (*name).to_owned()));
        all.extend(self.filters.iter().flat_map(Filter::parameters));
        all
    }

    /// A link relative to wherever the page is.
    pub fn href(&self) -> String {
        let mut href = "?".to_owned();
        for (number, (name, value)) in self.parameters().iter().enumerate() {
            if number > 0 {
                href.push('&');
            }
            encode(&mut href, name);
            href.push('=');
            encode(&mut href, value);
        }
        href
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> Option<&'static str> {
    *place = value;
    None
}

/// Adds a text as a part of a query (RFC 3986): all but unreserved characters and the slash in percent escapes.
fn encode(href: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                href.push(byte.into())
            }
            _ => {
                let _ = write!(href, "%{byte:02X}");
            }
        }
    }
}

/// Whether a pattern ends with the character that escapes the next one.
fn is_cut_off(pattern: &str) -> bool {
    pattern.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// A nonce as a Content-Security-Policy may name it.
fn is_nonce(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte))
}

/// A URL of the same server: without a scheme or a host.
fn is_own_url(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or("");
    text.len() <= 512
        && !text.starts_with("//")
        && !path.contains(':')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(value: Value) -> Query {
        value.as_object().map(Query::parse).unwrap_or_default()
    }

    fn filter_of(value: Value) -> Value {
        query(value).filters.first().map(Filter::value).unwrap_or_default()
    }

    #[test]
    fn what_the_page_does_not_know_is_passed_over() {
        let query = query(json!({"utm_source": "x", "path2": "/", "fbclid": ["a", "b"], "": null}));
        assert!(query.problems.is_empty() && query.filters.is_empty());
        assert_eq!(query.href(), "?");
    }

    #[test]
    fn values_that_mean_nothing_are_told() {
        for (name, value) in [
            ("since", json!("14.7.2025")),
            ("until", json!("2025-02-30")),
            ("period", json!("decade")),
            ("unit", json!("minute")),
            ("since", json!(2025)),
            ("path", json!(1)),
            ("path", json!({"less": "/"})),
            ("path~", json!("\\")),
            ("path", json!({"like": "\\\\\\"})),
            ("nonce", json!("a'b")),
            ("live", json!("https://elsewhere.example/")),
            ("live", json!("//elsewhere.example/")),
            ("live", json!("javascript:alert(1)")),
            ("live", json!("/\\elsewhere.example")),
        ] {
            let query = query(json!({ name: value }));
            assert_eq!(query.problems.len(), 1, "{name} {value}");
            assert_eq!(query.href(), "?", "{name} {value}");
            assert!(query.nonce.is_none() && query.live.is_none());
        }
    }

    #[test]
    fn empty_fields_of_a_form_are_not_given() {
        let query = query(json!({"since": "", "until": "", "unit": "", "period": ""}));
        assert!(query.problems.is_empty());
        assert_eq!(query.href(), "?");
    }

    #[test]
    fn filters_are_those_of_reports() {
        assert_eq!(filter_of(json!({"source": "Google"})), json!("Google"));
        assert_eq!(filter_of(json!({"source": ["Google", "Bing"]})), json!(["Google", "Bing"]));
        assert_eq!(filter_of(json!({"source": ""})), json!(null));
        assert_eq!(filter_of(json!({"source": null})), json!(null));
        assert_eq!(filter_of(json!({"source": ["", "Bing"]})), json!("Bing"));
        assert_eq!(filter_of(json!({"source": ["", ""]})), json!(null));
        assert_eq!(filter_of(json!({"source": []})), json!(null));
        assert_eq!(filter_of(json!({"source!": "Bing"})), json!({"not": ["Bing"]}));
        assert_eq!(filter_of(json!({"source": {"not": ["a", "b"]}})), json!({"not": ["a", "b"]}));
        assert_eq!(filter_of(json!({"path~": "/blog/%"})), json!({"like": "/blog/%"}));
        assert_eq!(filter_of(json!({"path": {"like": "/blog/%"}})), json!({"like": "/blog/%"}));
    }

    #[test]
    fn links_carry_everything_and_come_back() {
        let query = query(json!({
            "since": "2025-07-01", "until": "2025-07-14", "unit": "week", "site": "shop & co",
            "path": "/a b/é?x=1&y=\"'<>", "source": ["Bing", "Google"], "device": "", "browser!": "Opera", "entry_path~": "/100\\%",
        }));
        let href = query.href();
        assert_eq!(
            href,
            "?site=shop%20%26%20co&since=2025-07-01&until=2025-07-14&unit=week&browser%21=Opera\
             &device=&entry_path~=/100%5C%25&path=/a%20b/%C3%A9%3Fx%3D1%26y%3D%22%27%3C%3E&source=Bing&source=Google"
        );
        assert!(href.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>\\".contains(&byte)));
    }

    #[test]
    fn a_filter_takes_the_place_of_another_one_of_its_word() {
        let query = query(json!({"path": "/a", "source": "Google"}));
        let Some(path) = words::find("path") else { return };
        assert_eq!(query.with_filter(path, Some("/b")).href(), "?source=Google&path=/b");
        assert_eq!(query.without_filter(0).href(), "?source=Google");
        assert_eq!(query.without_filters().href(), "?");
        assert_eq!(query.with_period(Period::All).href(), "?period=all&path=/a&source=Google");
    }

    #[test]
    fn days_the_wrong_way_round_are_put_in_order() {
        let query = query(json!({"since": "2025-07-14", "until": "2025-07-01"}));
        assert_eq!(query.href(), "?since=2025-07-01&until=2025-07-14");
    }

    #[test]
    fn filters_are_bounded() {
        let query = query(json!({"path": "x".repeat(1_000)}));
        assert!(query.filters.is_empty() && query.problems.len() == 1);
    }
}
