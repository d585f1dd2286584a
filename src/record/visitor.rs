//! Who a visitor without a cookie is: an id that lasts for a day, made of what each request tells.
//!
//! Invariant: the id tells nothing of the address or the user agent without the salt of its day, and an address is written
//! nowhere: not into a table, not into the log, not into an error.
//!
//! An id is the first half of HMAC-SHA-256, keyed with the salt, of site, address and user agent. Each part has its kind or its
//! length before it, so no two visitors are the same message. The site is among them: one person has another id on each site.

use std::net::IpAddr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::page_view::{Shown, later_views};
use crate::count::sites;
use crate::count::tally::SiteId;
use crate::pg::time::SECOND;
use crate::pg::{datum, fmgr, hmac, inet};
use crate::record::arguments::day_of;
use crate::record::salts::{self, Salt};
use crate::{error, settings};

/// What a request tells of its visitor.
#[derive(Clone, Copy)]
pub struct Visitor<'v> {
    pub site_id: SiteId,
    pub address: Option<IpAddr>,
    pub user_agent: Option<&'v [u8]>,
}

impl Visitor<'_> {
    /// Whether there is nothing to tell the visitor from others by.
    pub fn is_nobody(&self) -> bool {
        self.address.is_none() && self.user_agent.is_none()
    }

    /// The id of the visitor at a time, which must not be after now.
    ///
    /// A visit that goes on over midnight keeps the id of the day before: the visitor has it as long as there is a page view with
    /// it within the visit timeout, and none with the new one.
    pub fn session_at(&self, time: i64) -> Result<String, ErrorReport> {
        let (today, salt) = salts::current()?;
        // A queue may bring what yesterday's visitors did. The salts of earlier days are gone.
        let (day, salt) = match day_of(time) {
            day if day == today - 1 => salts::of_day(day)?.map_or((today, salt), |salt| (day, salt)),
            _ => (today, salt),
        };
        let id = self.id(&salt)?;
        if self.has_recent_view(&id, time)? {
            return Ok(id);
        }
        let Some(older_salt) = salts::of_day(day - 1)? else { return Ok(id) };
        let older_id = self.id(&older_salt)?;
        Ok(if self.has_recent_view(&older_id, time)? { older_id } else { id })
    }

    /// Whether a session of the site has a page view within the visit timeout before a time.
    fn has_recent_view(&self, session_id: &str, time: i64) -> Result<bool, ErrorReport> {
        let since = time - i64::from(settings::visit_timeout()) * SECOND - 1;
        let mut is_recent = false;
        let shown = later_views((self.site_id, session_id.as_bytes()), since, |view| {
            is_recent |= view.viewed_at <= time;
        })?;
        // One that is not committed yet is of this moment.
        Ok(is_recent || matches!(shown, Shown::Unfinished(_)))
    }

    /// The id that a salt makes of the visitor: 32 hexadecimal digits.
    fn id(&self, salt: &Salt) -> Result<String, ErrorReport> {
        let mut message = Vec::with_capacity(256);
        message.extend_from_slice(&self.site_id.to_be_bytes());
        match self.address {
            None => message.push(0),
            Some(IpAddr::V4(address)) => {
                message.push(4);
                message.extend_from_slice(&address.octets());
            }
            Some(IpAddr::V6(address)) => {
                message.push(6);
                message.extend_from_slice(&address.octets());
            }
        }
        match self.user_agent {
            None => message.push(0),
            Some(user_agent) => {
                message.push(1);
                message.extend_from_slice(user_agent);
            }
        }
        let hash = hmac::hmac_sha256(salt, &message)?;
        Ok(hash.iter().take(16).flat_map(|byte| [byte >> 4, byte & 15]).map(hexadecimal).collect())
    }
}

fn hexadecimal(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0')
}

fmgr::sql_function!(visitor_id_wrapper, pg_finfo_visitor_id_wrapper, visitor_id);

/// The id of a visitor by the salt of today.
///
/// # Errors
/// - 22004: a NULL site; neither address nor user agent
/// - 22023: no such site
/// - 25006: in a read-only transaction or on a standby
/// - 55000: table `salts` has been altered
fn visitor_id(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    error::require_writable(c"site_stats.visitor_id()");
    // SAFETY: the install script declares an inet and two texts.
    let (address, user_agent, site) = unsafe {
        let address = fmgr::argument(call, 0).and_then(|address| inet::address(address));
        (address, fmgr::text_argument(call, 1), fmgr::text_argument(call, 2))
    };
    let visitor = Visitor { site_id: sites::id_of(site)?, address, user_agent };
    if visitor.is_nobody() {
        return Err(error::null_visitor());
    }
    let (_, salt) = salts::current()?;
    Ok(datum::text(visitor.id(&salt)?.as_bytes()))
}
