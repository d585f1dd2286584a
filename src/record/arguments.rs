//! The limits of what a site passes: of each text and of each number. Other values raise an error.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::bounds::{MOST_PAGE_TYPE_BYTES, MOST_PATH_BYTES, MOST_SESSION_ID_BYTES};
use crate::count::tally::DAY;
use crate::error;

/// A text that a site passes.
pub struct Argument {
    name: &'static str,
    /// In bytes, as in the CHECK constraints of the tables.
    limit: usize,
    hint: &'static str,
}

pub const PATH: Argument =
    Argument { name: "path", limit: MOST_PATH_BYTES, hint: "Pass the path of the page, such as /about." };
pub const CURRENT_PATH: Argument = Argument {
    name: "current_path",
    limit: MOST_PATH_BYTES,
    hint: "Pass the path of the page, such as /about.",
};
pub const SESSION_ID: Argument = Argument {
    name: "session_id",
    limit: MOST_SESSION_ID_BYTES,
    hint: "Pass an id that the site keeps for the visitor, such as a cookie's value.",
};
/// As `SESSION_ID`, in an event.
pub const EVENT_SESSION: Argument = Argument { name: "key \"session\" of the event", ..SESSION_ID };
pub const PAGE_TYPE: Argument = Argument {
    name: "page_type",
    limit: MOST_PAGE_TYPE_BYTES,
    hint: "Pass a word for the kind of page, such as blog, or NULL for page.",
};
pub const CITY: Argument =
    Argument { name: "city", limit: 256, hint: "Pass a name, or NULL if it is not known." };
pub const COUNTRY: Argument =
    Argument { name: "country", limit: 256, hint: "Pass a name, or NULL if it is not known." };

impl Argument {
    pub fn limit(&self) -> usize {
        self.limit
    }
}

pub fn required<'a>(argument: &Argument, text: Option<&'a [u8]>) -> Result<&'a [u8], ErrorReport> {
    match optional(argument, text)? {
        None => Err(error::null_argument(argument.name, argument.hint)),
        Some([]) => Err(error::empty_argument(argument.name, argument.hint)),
        Some(text) => Ok(text),
    }
}

pub fn optional<'a>(argument: &Argument, text: Option<&'a [u8]>) -> Result<Option<&'a [u8]>, ErrorReport> {
    match text {
        Some(text) if text.len() > argument.limit => {
            Err(error::long_argument(argument.name, text.len(), argument.limit))
        }
        text => Ok(text),
    }
}

pub fn degrees(name: &str, value: Option<f64>, limit: i32) -> Result<Option<f64>, ErrorReport> {
    match value {
        Some(value) if !(-f64::from(limit)..=f64::from(limit)).contains(&value) => {
            Err(error::out_of_range(name, value, -limit, limit))
        }
        value => Ok(value),
    }
}

/// The time of the clock. SQL's `now()` would stay the same through a long transaction.
pub fn now() -> pg_sys::Datum {
    // SAFETY: `GetCurrentTimestamp` only reads the clock.
    pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() })
}

/// The UTC day of the clock, in days since 2000-01-01.
pub fn today() -> i32 {
    day_of(now().value() as i64)
}

/// The UTC day of a `timestamptz`, in days since 2000-01-01.
pub fn day_of(time: i64) -> i32 {
    // A time of PostgreSQL is within some millions of days.
    i32::try_from(time.div_euclid(DAY)).unwrap_or(i32::MAX)
}
