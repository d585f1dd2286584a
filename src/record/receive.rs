//! `receive()`: one call for whatever a tracker or a web server has to tell.
//!
//! Checks come in this order, and the first that fails decides: the form of the event, its site, its path; then the host, the
//! user agent, the address and the path by the rules of the site; then what the session has recorded before. Nothing is written
//! before the last of them, except what becomes of salts.

use std::net::IpAddr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use site_stats_parsers as parsers;

use crate::backfill::requests;
use crate::count::sites;
use crate::count::tally::SiteId;
use crate::error;
use crate::pg::{datum, fmgr, inet};
use crate::record::arguments::{PATH, now};
use crate::record::event::{self, Event, Kind};
use crate::record::heartbeat::{self, Beat};
use crate::record::page_view::{self, View};
use crate::record::site::Rules;
use crate::record::visitor::Visitor;
use crate::record::{dictionary, refusals, salts};

/// What is read of a user agent, a country or a language, in bytes.
const MAX_HEADER_BYTES: usize = 2048;

fmgr::sql_function!(receive_wrapper, pg_finfo_receive_wrapper, receive);

/// Records an event: a page view, a heartbeat, or that a visitor leaves.
///
/// Returns `recorded`, `duplicate`, `rate_limited`, `bot`, `excluded` or `unknown_host`. Only `recorded` writes anything, but
/// for the count of refusals.
///
/// # Errors
/// - 22004: a NULL event
/// - 22023: an event that is not an object, or a key of it that is missing, has a wrong type or cannot be: the message names
///   the key. No such site; no session, and neither address nor user agent
/// - 25006: in a read-only transaction or on a standby
/// - 40001: as `record_page_view()`
/// - 54000: an event over 16,384 bytes, a path over 2,048, a session over 128
fn receive(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    error::require_writable(c"site_stats.receive()");
    // SAFETY: the install script declares a jsonb, an inet and two texts.
    let (event, address, user_agent, country) = unsafe {
        (
            fmgr::argument(call, 0),
            fmgr::argument(call, 1).and_then(|address| inet::address(address)),
            fmgr::text_argument(call, 2),
            fmgr::text_argument(call, 3),
        )
    };
    let event = event.ok_or_else(|| {
        error::null_argument("event", "Pass an object such as {\"type\": \"view\", \"url\": \"/about\"}.")
    })?;
    let header = |text: Option<&[u8]>| {
        text.map(|text| {
            let mut text = datum::utf8_from_text(text);
            event::cut(&mut text, MAX_HEADER_BYTES);
            text
        })
    };
    // SAFETY: the install script declares a jsonb.
    let answer = unsafe {
        event::with_event(event, |event| {
            let site_id = sites::find(event.site)?.ok_or_else(|| {
                error::event_wrong_value(
                    "site",
                    "names a site that does not exist",
                    "Create it with INSERT INTO site_stats.sites (name) VALUES (...), or leave the key out.",
                )
            })?;
            let visitor = Visitor { site_id, address, user_agent };
            if event.session.is_none() && visitor.is_nobody() {
                return Err(error::event_without(
                    "session",
                    "Pass an id that the site keeps for the visitor, or the address or user agent of the visitor.",
                ));
            }
            let request = Request {
                site_id,
                event,
                path: path_of(site_id, event)?,
                visitor,
                user_agent: header(user_agent),
                country: header(country).and_then(|country| parsers::country(&country)),
            };
            requests::resume_if_due();
            salts::erase_old_if_due()?;
            request.answer()
        })
    }?;
    Ok(datum::text(answer.as_bytes()))
}

/// The path of the page of an event; `None` if it names no page.
fn path_of(site_id: SiteId, event: &Event) -> Result<Option<String>, ErrorReport> {
    let Some(url) = &event.url else { return Ok(None) };
    match parsers::page_path(url, &Rules::of(site_id)?.kept_parameters) {
        Ok(path) => Ok(Some(path)),
        Err(parsers::PathError::TooLong) => {
            Err(error::event_too_long("the path in key \"url\" of the event", PATH.limit()))
        }
        Err(parsers::PathError::NotWeb) => Err(error::event_wrong_value(
            "url",
            "is not the address of a page",
            "Pass an address such as https://example.com/about, or a path such as /about.",
        )),
    }
}

/// An event of a site, and who sent it.
struct Request<'r> {
    site_id: SiteId,
    event: &'r Event<'r>,
    path: Option<String>,
    visitor: Visitor<'r>,
    user_agent: Option<String>,
    country: Option<String>,
}

impl Request<'_> {
    fn answer(&self) -> Result<&'static str, ErrorReport> {
        let rules = Rules::of(self.site_id)?;
        let url = self.event.url.as_deref().and_then(parsers::Url::split);
        let host = url.as_ref().and_then(|url| url.host.as_deref());
        if let Some(reason) = self.refusal(&rules, host) {
            refusals::count(self.site_id, reason)?;
            return Ok(reason);
        }
        let at = self.event.at;
        let of_visitor;
        let session_id = match self.event.session {
            Some(session) => session,
            None => {
                of_visitor = self.visitor.session_at(at.unwrap_or_else(|| now().value() as i64))?;
                of_visitor.as_bytes()
            }
        };
        let path = self.path.as_deref().unwrap_or_default().as_bytes();
        match self.event.kind {
            Kind::View => {
                let view = View { path, page_type: b"page", session_id, site_id: self.site_id, at };
                page_view::record(&view, || Ok((self.origin(&rules, host)?, self.client()?)))
            }
            Kind::Heartbeat => {
                let country = self.country.as_deref().map(str::as_bytes);
                heartbeat::note(&Beat { country, at, ..Beat::new(self.site_id, session_id, path) })
            }
            Kind::Leave => heartbeat::leave(self.site_id, session_id, at),
        }
    }

    /// Why the event is not to be recorded, by the rules of its site.
    fn refusal(&self, rules: &Rules, host: Option<&str>) -> Option<&'static str> {
        let is_excluded = |address: IpAddr| rules.excludes_address(address);
        if !rules.has_host(host) {
            Some("unknown_host")
        } else if self.user_agent.as_deref().is_some_and(parsers::is_bot) {
            Some("bot")
        } else if self.visitor.address.is_some_and(is_excluded)
            // A path has only characters of ASCII, which are the same in every encoding of a database.
            || self.path.as_deref().is_some_and(|path| rules.excludes_path(path.as_bytes()))
        {
            Some("excluded")
        } else {
            None
        }
    }

    /// The origin of the view; `None` for a direct visit.
    fn origin(&self, rules: &Rules, host: Option<&str>) -> Result<Option<i32>, ErrorReport> {
        let is_own = |referrer: &str| parsers::is_own_host(referrer, host, rules.own_hosts());
        let url = self.event.url.as_deref().unwrap_or_default();
        let origin = parsers::origin(url, self.event.referrer.as_deref(), is_own);
        origin.map(|origin| dictionary::origin_id(self.site_id, &origin)).transpose()
    }

    /// The client of the view; `None` if nothing is known of it.
    fn client(&self) -> Result<Option<i32>, ErrorReport> {
        let client = self.user_agent.as_deref().map(parsers::client).unwrap_or_default();
        let language = self.event.language.as_deref().and_then(parsers::language);
        dictionary::client_id(self.site_id, client, self.country.as_deref(), language.as_deref())
    }
}
