//! What the page is made of: the numbers of a site, as whoever asks the database has gathered them.

use site_stats_visits::question::Numbers;

/// A moment in the time zone of the site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// In days since 1970-01-01.
    pub day: i64,
    pub hour: u32,
    pub minute: u32,
}

/// All numbers of the page, from one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The name of the site; empty for the first one.
    pub site: String,
    pub timezone: String,
    /// The sites to choose among; empty if there is no choice.
    pub sites: Vec<String>,
    /// When the page was made.
    pub now: Moment,
    pub active: Active,
    pub total: Total,
    pub summary: Numbers,
    /// The numbers of the days before, if these are compared.
    pub before: Option<Numbers>,
    /// The units of the days, in their order, also empty ones and those that are still to come.
    pub units: Vec<(Starts, Numbers)>,
    pub breakdowns: Vec<Breakdown>,
    /// Reasons, and how many page views were refused for them in these days.
    pub refusals: Vec<(String, i64)>,
    /// How many page views were read one by one for the reports, since they are in no span.
    pub read_directly: i64,
}

/// When a unit begins, in the time zone of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starts {
    /// In days since 1970-01-01.
    pub day: i64,
    /// For an hour only.
    pub hour: Option<u32>,
}

/// Who is on the site now.
#[derive(Clone, Debug, Default)]
pub struct Active {
    pub visitors: i64,
    /// Paths and how many visitors are on them, the most first.
    pub pages: Vec<(String, i64)>,
    pub places: Vec<Place>,
}

/// Where a visitor is.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Degrees north and east.
    pub latitude: f64,
    pub longitude: f64,
    pub city: Option<String>,
    pub country: Option<String>,
}

/// All that was ever counted.
#[derive(Clone, Debug, Default)]
pub struct Total {
    pub views: i64,
    pub visitors: i64,
    /// The day of the first page view.
    pub since: Option<i64>,
    /// How the counts were read: the column `source` of `get_stats()`.
    pub source: String,
}

/// What a breakdown of the page divides by, and by what its rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Visitors,
    /// Visits that begin there.
    Entries,
    /// Visits that end there, as of now.
    Exits,
}

impl Order {
    /// What the rows are ordered by, most first; rows with 0 are not shown.
    pub fn number(self, numbers: &Numbers) -> i64 {
        match self {
            Order::Visitors => numbers.visitors,
            Order::Entries => numbers.entries,
            Order::Exits => numbers.exits,
        }
    }
}

/// A breakdown that the page shows.
#[derive(Debug)]
pub struct Part {
    /// The word of reports by which it divides.
    pub by: &'static str,
    pub order: Order,
    pub title: &'static str,
    /// What a row is called.
    pub of: &'static str,
    /// What to do where nothing is known.
    pub advice: &'static str,
}

/// The most rows of a breakdown.
pub const MOST_ROWS: usize = 8;

/// The breakdowns, in the order of the page. Those with the same word are divided once.
pub static PARTS: [Part; 11] = [
    part("path", Order::Visitors, "Pages", "Page", ""),
    part("entry_path", Order::Entries, "Entry pages", "Page", "No visit begins in these days."),
    part("path", Order::Exits, "Exit pages", "Page", "No visit ends in these days."),
    part("source", Order::Visitors, "Sources", "Source", FROM_RECEIVE),
    part("channel", Order::Visitors, "Channels", "Channel", FROM_RECEIVE),
    part(
        "campaign",
        Order::Visitors,
        "Campaigns",
        "Campaign",
        "No campaign yet. Add ?utm_source=newsletter&utm_campaign=spring to the links that you share.",
    ),
    part(
        "country",
        Order::Visitors,
        "Countries",
        "Country",
        "No country is known. Pass the one that your proxy knows to receive().",
    ),
    part("browser", Order::Visitors, "Browsers", "Browser", FROM_AGENT),
    part("os", Order::Visitors, "Systems", "System", FROM_AGENT),
    part("device", Order::Visitors, "Devices", "Device", FROM_AGENT),
    part(
        "language",
        Order::Visitors,
        "Languages",
        "Language",
        "No language is known. receive() takes it from the key language of an event.",
    ),
];

const FROM_RECEIVE: &str = "No source is known. receive() finds it in the referrer and the URL of an event.";
const FROM_AGENT: &str = "Nothing is known. Pass the user agent to receive().";

const fn part(
    by: &'static str,
    order: Order,
    title: &'static str,
    of: &'static str,
    advice: &'static str,
) -> Part {
    Part { by, order, title, of, advice }
}

/// The answer to one of `PARTS`.
#[derive(Clone, Debug, Default)]
pub struct Breakdown {
    /// How many values there are in all.
    pub values: usize,
    /// The first of them; `None` is unknown.
    pub rows: Vec<(Option<String>, Numbers)>,
}
