//! What the words of reports mean: what views can be divided by, and filters.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::{Map, Value};
use site_stats_visits::calendar::Unit;
use site_stats_visits::question::{Asks, By, Group, Meaning};

use crate::count::tally::{SiteId, TextKey};
use crate::error;
use crate::pg::spi::{Connection, SnapshotKind};
use crate::pg::{catalog, datum, like, scan};
use crate::span::read::NewTexts;
use crate::span::texts::{self, Texts};

/// A property of a view, or of its visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    Path,
    PageType,
    EntryPath,
    /// A column of `origins`, counted from 0.
    Origin(usize),
    /// A column of `clients`, counted from 0.
    Client(usize),
    Weekday,
    Hour,
}

/// The words, in the order in which hints list them.
const PROPERTIES: [(&str, Property); 17] = [
    ("path", Property::Path),
    ("page_type", Property::PageType),
    ("entry_path", Property::EntryPath),
    ("source", Property::Origin(1)),
    ("referrer", Property::Origin(2)),
    ("medium", Property::Origin(3)),
    ("campaign", Property::Origin(4)),
    ("term", Property::Origin(5)),
    ("content", Property::Origin(6)),
    ("channel", Property::Origin(7)),
    ("browser", Property::Client(1)),
    ("os", Property::Client(2)),
    ("device", Property::Client(3)),
    ("country", Property::Client(4)),
    ("language", Property::Client(5)),
    ("weekday", Property::Weekday),
    ("hour", Property::Hour),
];

/// The tables of origins and clients, and their indexes by id.
const ORIGINS: (&CStr, &CStr) = (c"origins", c"origins_id_pkey");
const CLIENTS: (&CStr, &CStr) = (c"clients", c"clients_id_pkey");

const UNITS: [(&str, Unit); 4] =
    [("hour", Unit::Hour), ("day", Unit::Day), ("week", Unit::Week), ("month", Unit::Month)];

/// What is left of the UTF-8 of a word that stands for something.
fn find<T: Copy>(kind: &str, words: &[(&str, T)], word: &str) -> Result<T, ErrorReport> {
    let found = words.iter().find(|(known, _)| *known == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
        error::unknown_word(kind, word, &known.join(", "))
    })
}

/// The property with a name.
pub fn property(word: Option<&[u8]>) -> Result<Property, ErrorReport> {
    let word =
        word.ok_or_else(|| error::null_argument("by", "Pass a word such as path, source or country."))?;
    find("by", &PROPERTIES, &datum::utf8_from_text(word))
}

/// The unit with a name.
pub fn unit(word: Option<&[u8]>) -> Result<Unit, ErrorReport> {
    let word = word.ok_or_else(|| error::null_argument("unit", "Pass hour, day, week or month."))?;
    find("unit", &UNITS, &datum::utf8_from_text(word))
}

impl Property {
    pub fn by(self) -> By {
        match self {
            Property::Path => By::Page,
            Property::PageType => By::Kind,
            Property::EntryPath => By::Entry,
            Property::Origin(_) => By::Origin,
            Property::Client(_) => By::Client,
            Property::Weekday => By::Weekday,
            Property::Hour => By::Hour,
        }
    }
}

/// What a filter asks of a value. Texts are in the encoding of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// One of these; `None` is unknown.
    Is(Vec<Option<TextKey>>),
    /// None of these.
    Not(Vec<TextKey>),
    Like(TextKey),
}

impl Test {
    fn of(key: &str, value: &Value) -> Result<Self, ErrorReport> {
        let wrong = || error::wrong_filter(key);
        let texts = |value: &Value| match value {
            Value::String(text) => Ok(vec![key_of(text)]),
            Value::Array(list) => list
                .iter()
                .map(|item| item.as_str().map(key_of).ok_or_else(wrong))
                .collect::<Result<Vec<_>, _>>(),
            _ => Err(wrong()),
        };
        let Value::Object(object) = value else {
            return Ok(match value {
                Value::Null => Test::Is(vec![None]),
                _ => Test::Is(texts(value)?.into_iter().map(Some).collect()),
            });
        };
        let mut entries = object.iter();
        match (entries.next(), entries.next()) {
            (Some((word, value)), None) if word == "not" => Ok(Test::Not(texts(value)?)),
            (Some((word, Value::String(pattern))), None) if word == "like" => {
                if like::is_cut_off(pattern.as_bytes()) {
                    return Err(error::wrong_pattern(key));
                }
                Ok(Test::Like(key_of(pattern)))
            }
            _ => Err(wrong()),
        }
    }

    fn matches(&self, value: Option<&[u8]>) -> bool {
        match self {
            Test::Is(list) => list.iter().any(|item| item.as_deref() == value),
            Test::Not(list) => !list.iter().any(|item| Some(&**item) == value),
            Test::Like(pattern) => value.is_some_and(|value| {
                // SAFETY: the value is made as a text.
                unsafe { like::is_like(datum::text(value), pattern) }
            }),
        }
    }
}

/// A text in the encoding of the database.
fn key_of(text: &str) -> TextKey {
    // SAFETY: the datum is a text in the current memory context, which is copied at once.
    unsafe { datum::text_bytes(datum::text_from_utf8(text)) }.into()
}

/// The filters of a report. All must be met.
pub struct Filters(Vec<(Property, Test)>);

impl Filters {
    /// The filters in a `jsonb`.
    ///
    /// # Errors
    /// 22004 for NULL; 22023 if they are no object of known words with values of the right shape; 22025 for a pattern that ends in its middle.
    ///
    /// # Safety
    /// The datum must be a `jsonb`.
    pub unsafe fn of(datum: Option<pg_sys::Datum>) -> Result<Self, ErrorReport> {
        let datum = datum.ok_or_else(|| error::null_argument("filters", "Pass {} for none."))?;
        // SAFETY: the caller guarantees a `jsonb`.
        let text = unsafe { crate::pg::jsonb::to_utf8(datum) };
        let object: Map<String, Value> =
            serde_json::from_str(&text).map_err(|_| error::no_object("filters"))?;
        Self::of_entries(object.iter().map(|(key, value)| (key.as_str(), value)))
    }

    /// The filters in words and values. A word may come several times.
    ///
    /// # Errors
    /// As `of`.
    pub fn of_entries<'e>(entries: impl Iterator<Item = (&'e str, &'e Value)>) -> Result<Self, ErrorReport> {
        let filters = entries.map(|(key, value)| {
            let property = find("filter", &PROPERTIES, key)?;
            Ok((property, Test::of(key, value)?))
        });
        Ok(Filters(filters.collect::<Result<_, ErrorReport>>()?))
    }

    /// No filter.
    pub fn none() -> Self {
        Filters(Vec::new())
    }

    /// What has to be looked at, also to divide by a property.
    pub fn asks(&self, by: Option<Property>) -> Asks {
        let has = |is_it: fn(&Property) -> bool| self.0.iter().any(|(property, _)| is_it(property));
        let is_origin: fn(&Property) -> bool = |property| matches!(property, Property::Origin(_));
        let is_client: fn(&Property) -> bool = |property| matches!(property, Property::Client(_));
        Asks {
            page: has(|property| *property == Property::Path),
            kind: has(|property| *property == Property::PageType),
            entry: has(|property| *property == Property::EntryPath),
            origin: has(is_origin) || by.as_ref().is_some_and(is_origin),
            client: has(is_client) || by.as_ref().is_some_and(is_client),
        }
    }

    /// Whether visits are filtered by their origin or their client.
    pub fn selects_visits(&self) -> bool {
        self.0.iter().any(|(property, _)| matches!(property, Property::Origin(_) | Property::Client(_)))
    }

    /// A bit for each weekday that matches.
    pub fn weekdays(&self) -> u32 {
        self.bits(Property::Weekday)
    }

    /// A bit for each hour that matches.
    pub fn hours(&self) -> u32 {
        self.bits(Property::Hour)
    }

    fn bits(&self, of: Property) -> u32 {
        let mut bits = u32::MAX;
        for (_, test) in self.0.iter().filter(|(property, _)| *property == of) {
            bits &= (0..u32::BITS)
                .filter(|number| test.matches(Some(number.to_string().as_bytes())))
                .fold(0, |bits, number| bits | 1 << number);
        }
        bits
    }

    fn of_property(&self, is_it: impl Fn(Property) -> bool) -> impl Iterator<Item = &(Property, Test)> {
        self.0.iter().filter(move |(property, _)| is_it(*property))
    }
}

/// A filter of a text that has a number.
struct TextFilter {
    numbers: HashSet<u32>,
    /// Whether the others match.
    others: bool,
    test: Test,
}

impl TextFilter {
    fn new(connection: &Connection, site_id: SiteId, test: &Test) -> Result<Self, ErrorReport> {
        let numbers_of = |list: &mut dyn Iterator<Item = &TextKey>| -> Result<HashSet<u32>, ErrorReport> {
            let mut texts = Texts::default();
            list.for_each(|text| {
                texts.place(site_id, text);
            });
            Ok(texts.numbers(connection, SnapshotKind::Statement)?.into_iter().flatten().collect())
        };
        let (numbers, others) = match test {
            Test::Is(list) => (numbers_of(&mut list.iter().flatten())?, false),
            Test::Not(list) => (numbers_of(&mut list.iter())?, true),
            Test::Like(pattern) => (texts::like(connection, site_id, pattern)?.into_iter().collect(), false),
        };
        Ok(TextFilter { numbers, others, test: test.clone() })
    }

    fn matches(&self, number: u32, new: &NewTexts) -> bool {
        match new.get(number) {
            Some(text) => self.test.matches(Some(text)),
            None => self.numbers.contains(&number) != self.others,
        }
    }
}

/// The columns of a row that `origins` or `clients` have, of an id; none if it is unknown.
fn row_of(table: &'static CStr, index: &'static CStr, id: u32) -> Result<Vec<Option<TextKey>>, ErrorReport> {
    let mut row: Vec<Option<TextKey>> = Vec::new();
    if let Ok(id) = i32::try_from(id)
        && id > 0
    {
        let is_it = (1, pg_sys::BTEqualStrategyNumber, pg_sys::F_INT4EQ, id.into());
        let (table, index) = (catalog::table(table)?, catalog::table(index)?);
        // SAFETY: a function runs with an active snapshot, which outlives the scan. The scan passes a row with its description.
        // All columns but the first are of type text.
        unsafe {
            scan::by_index(table, index, &[is_it], pg_sys::GetActiveSnapshot(), |tuple, description| {
                let columns = datum::columns_of(tuple, description);
                let texts =
                    columns.iter().skip(1).map(|value| value.map(|value| datum::text_bytes(value).into()));
                row = std::iter::once(None).chain(texts).collect();
                Ok(false)
            })?;
        }
    }
    Ok(row)
}

/// The origin with an id, by the columns of `Property::Origin`.
pub fn origin(id: u32) -> Result<Vec<Option<TextKey>>, ErrorReport> {
    row_of(ORIGINS.0, ORIGINS.1, id)
}

/// The client with an id, by the columns of `Property::Client`.
pub fn client(id: u32) -> Result<Vec<Option<TextKey>>, ErrorReport> {
    row_of(CLIENTS.0, CLIENTS.1, id)
}

/// What the numbers of pages, origins and clients mean to a report.
pub struct Sense<'f> {
    filters: &'f Filters,
    by: Option<Property>,
    new: Rc<RefCell<NewTexts>>,
    pages: Vec<TextFilter>,
    kinds: Vec<TextFilter>,
    entries: Vec<TextFilter>,
    values: Vec<Option<TextKey>>,
    groups: HashMap<Option<TextKey>, Group>,
}

impl<'f> Sense<'f> {
    pub fn new(
        connection: &Connection,
        site_id: SiteId,
        filters: &'f Filters,
        by: Option<Property>,
        new: Rc<RefCell<NewTexts>>,
    ) -> Result<Self, ErrorReport> {
        let texts = |of: Property| {
            let tests = filters.of_property(|property| property == of);
            tests.map(|(_, test)| TextFilter::new(connection, site_id, test)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Sense {
            filters,
            by,
            new,
            pages: texts(Property::Path)?,
            kinds: texts(Property::PageType)?,
            entries: texts(Property::EntryPath)?,
            values: Vec::new(),
            groups: HashMap::new(),
        })
    }

    /// The value of a group by an origin or a client.
    pub fn value(&self, group: Group) -> Option<&TextKey> {
        self.values.get(group as usize)?.as_ref()
    }

    /// The text of a page or kind that is in no span.
    pub fn new_text(&self, number: u32) -> Option<TextKey> {
        self.new.borrow().get(number).cloned()
    }

    /// The group of a row that origins or clients have, or of an unknown one; `None` if it does not match.
    fn group(
        &mut self,
        (table, index): (&'static CStr, &'static CStr),
        id: u32,
        column_of: fn(Property) -> Option<usize>,
    ) -> Result<Option<Group>, ErrorReport> {
        let row = row_of(table, index, id)?;
        let value = |column: usize| row.get(column).and_then(Option::as_ref);
        let tests = self.filters.of_property(|property| column_of(property).is_some());
        for (property, test) in tests {
            let value = column_of(*property).and_then(value);
            if !test.matches(value.map(|value| &**value)) {
                return Ok(None);
            }
        }
        let Some(column) = self.by.and_then(column_of) else { return Ok(Some(0)) };
        let value = value(column).cloned();
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let group = *self.groups.entry(value.clone()).or_insert(next);
        if group == next {
            self.values.push(value);
        }
        Ok(Some(group))
    }
}

impl Meaning for Sense<'_> {
    type Error = ErrorReport;

    fn page(&mut self, page: u32) -> Result<bool, ErrorReport> {
        Ok(self.pages.iter().all(|filter| filter.matches(page, &self.new.borrow())))
    }

    fn kind(&mut self, kind: u32) -> Result<bool, ErrorReport> {
        Ok(self.kinds.iter().all(|filter| filter.matches(kind, &self.new.borrow())))
    }

    fn entry(&mut self, page: u32) -> Result<bool, ErrorReport> {
        Ok(self.entries.iter().all(|filter| filter.matches(page, &self.new.borrow())))
    }

    fn origin(&mut self, origin: u32) -> Result<Option<Group>, ErrorReport> {
        self.group(ORIGINS, origin, |property| match property {
            Property::Origin(column) => Some(column),
            _ => None,
        })
    }

    fn client(&mut self, client: u32) -> Result<Option<Group>, ErrorReport> {
        self.group(CLIENTS, client, |property| match property {
            Property::Client(column) => Some(column),
            _ => None,
        })
    }
}
