//! An event as a tracker or a web server sends it: which keys it has, and what each may be.
//!
//! A visitor may have written any of it. So an event is bounded, nothing is taken for a text that is none, and errors name the
//! key and never its value: they are logged. Keys that are not known are ignored, since trackers grow.

use std::ffi::CString;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::bounds::EARLIEST;
use crate::error;
use crate::pg::datum;
use crate::pg::jsonb::{self, Object, Value};
use crate::pg::transaction;
use crate::record::arguments::{EVENT_SESSION, now, optional};

/// The longest event, in bytes as PostgreSQL stores it.
const MAX_EVENT_BYTES: usize = 16_384;

/// The longest time, in bytes.
const MAX_TIME_BYTES: usize = 64;

/// What a referrer is cut to, in bytes: a visitor does not choose what it is.
const MAX_REFERRER_BYTES: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    View,
    Heartbeat,
    Leave,
}

/// An event. Texts that are only passed on are in the encoding of the database; those that are read are UTF-8.
pub struct Event<'e> {
    pub kind: Kind,
    /// Only an event that says that the visitor leaves may have none.
    pub url: Option<String>,
    pub referrer: Option<String>,
    pub language: Option<String>,
    /// Empty for the site without a name.
    pub site: &'e [u8],
    pub session: Option<&'e [u8]>,
    /// When it was; `None` for now.
    pub at: Option<i64>,
}

/// Reads a `jsonb`, and calls `work` with the event in it.
///
/// # Errors
/// 22023 if it is no event, 54000 if it is too long, or its session is.
///
/// # Safety
/// `datum` must be a `jsonb`.
pub unsafe fn with_event<R>(
    datum: pg_sys::Datum,
    work: impl FnOnce(&Event) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    // SAFETY: the caller guarantees a `jsonb`, which outlives this call.
    let object = unsafe {
        if jsonb::size(datum) > MAX_EVENT_BYTES {
            return Err(error::event_too_long("event", MAX_EVENT_BYTES));
        }
        Object::of(datum).ok_or_else(error::event_not_object)?
    };
    work(&Event::read(&object)?)
}

impl<'e> Event<'e> {
    fn read(object: &'e Object) -> Result<Self, ErrorReport> {
        const KINDS: &str = "Pass view, heartbeat or leave.";
        let kind = match text(object, "type")? {
            None => return Err(error::event_without("type", KINDS)),
            Some(b"view") => Kind::View,
            Some(b"heartbeat") => Kind::Heartbeat,
            Some(b"leave") => Kind::Leave,
            Some(_) => return Err(error::event_wrong_value("type", "is not known", KINDS)),
        };
        let url = text(object, "url")?.map(datum::utf8_from_text);
        if url.is_none() && kind != Kind::Leave {
            return Err(error::event_without("url", "Pass the address of the page, or its path."));
        }
        let mut referrer = text(object, "referrer")?.map(datum::utf8_from_text);
        if let Some(referrer) = &mut referrer {
            cut(referrer, MAX_REFERRER_BYTES);
        }
        // Not stored: the site keeps titles in `content`.
        text(object, "title")?;
        let session = optional(&EVENT_SESSION, text(object, "session")?)?;
        if session.is_some_and(<[u8]>::is_empty) {
            return Err(error::event_wrong_value(
                "session",
                "must not be empty",
                "Pass an id that the site keeps for the visitor, or leave the key out.",
            ));
        }
        Ok(Event {
            kind,
            url,
            referrer,
            language: text(object, "language")?.map(datum::utf8_from_text),
            site: text(object, "site")?.unwrap_or_default(),
            session,
            at: text(object, "at")?.map(time).transpose()?,
        })
    }
}

/// The text of a key. NULL is as good as none.
fn text<'e>(object: &'e Object, key: &str) -> Result<Option<&'e [u8]>, ErrorReport> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(Value::Other) => Err(error::event_wrong_type(key)),
    }
}

/// The time that a text means, as PostgreSQL reads a `timestamptz`.
fn time(text: &[u8]) -> Result<i64, ErrorReport> {
    let wrong = |what| {
        error::event_wrong_value("at", what, "Pass a time such as 2026-01-31T12:00:00Z, not after now.")
    };
    if text.len() > MAX_TIME_BYTES {
        return Err(wrong("is not a time"));
    }
    let Ok(text) = CString::new(text) else { return Err(wrong("is not a time")) };
    let input = pg_sys::Oid::from(pg_sys::F_TIMESTAMPTZ_IN);
    // An error here always ends the statement, so nothing is left to clean up.
    let read = transaction::catch(|| {
        // SAFETY: the function takes a string that ends in NUL; -1 is no precision.
        Ok(unsafe { pg_sys::OidInputFunctionCall(input, text.as_ptr().cast_mut(), pg_sys::InvalidOid, -1) })
    });
    let time = match read {
        Ok(time) => time.value() as i64,
        Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED => failure.raise(),
        Err(_) => return Err(wrong("is not a time")),
    };
    if time < EARLIEST {
        return Err(wrong("is before 1970"));
    }
    if time > now().value() as i64 {
        return Err(wrong("is after now"));
    }
    Ok(time)
}

/// Cuts a text to a number of bytes, at the end of a character.
pub fn cut(text: &mut String, limit: usize) {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
}
