//! The sites: which there are, and how they are called.
//!
//! Invariant: no page view comes in for a site that was deleted. The triggers of `page_views` look here: a foreign key would lock
//! the site's row for each page view, and all writers would meet there. A process remembers the sites that it has met; each
//! change of `sites` is announced, and makes it forget them. Whoever deletes a site first keeps writers out, so that each of
//! them is done before, or hears of it.
//!
//! A page view of a site that was never there is refused, too, if there is any site beside the first. If there is none, page views
//! may come before their site: pg_restore with several jobs loads tables in any order, also those of an extension that refer to
//! each other. `check_totals()` reports page views whose site has not come.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

pub use crate::count::page_view::FIRST_SITE;
use crate::count::tally::SiteId;
use crate::error;
use crate::pg::datum::{self, Columns};
use crate::pg::{catalog, fmgr, scan};

const SITES: &CStr = c"sites";

/// The most sites that a process remembers. Chosen, not measured.
const SITES_KEPT: usize = 10_000;

/// What a process remembers.
struct Known {
    /// The table.
    sites: pg_sys::Oid,
    ids: HashMap<Box<[u8]>, SiteId>,
    /// Those that exist.
    existing: HashSet<SiteId>,
    are_several: Option<bool>,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Forgets all sites if one has changed. For `catalog::watch`.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    KNOWN.with_borrow_mut(|known| {
        if known.as_ref().is_some_and(|known| is_changed(known.sites)) {
            *known = None;
        }
    });
}

/// The id of the site with a name, by what is committed now, with this transaction's own changes.
///
/// # Errors
/// 22004 for NULL, 22023 if there is no such site.
pub fn id_of(name: Option<&[u8]>) -> Result<SiteId, ErrorReport> {
    let name = name.ok_or_else(|| {
        error::null_argument("site", "Pass the name of a site, or leave it out for the first one.")
    })?;
    find(name)?.ok_or_else(|| error::unknown_site(&datum::utf8_from_text(name)))
}

/// The same; `None` if there is no such site.
pub fn find(name: &[u8]) -> Result<Option<SiteId>, ErrorReport> {
    if name.is_empty() {
        return Ok(Some(FIRST_SITE));
    }
    let known = KNOWN.with_borrow(|known| known.as_ref().and_then(|known| known.ids.get(name).copied()));
    if known.is_some() {
        return Ok(known);
    }
    let is_it = (1, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, datum::text(name));
    let (id, is_current) = first(SITES, c"sites_name_key", is_it)?;
    let Some(id) = id else { return Ok(None) };
    if is_current {
        remember(|known| {
            known.ids.insert(name.into(), id);
        })?;
    }
    Ok(Some(id))
}

/// Checks that a page view may come in for the site with an id, by what is committed now, with this transaction's own changes.
///
/// # Errors
/// 23503 if it may not.
pub fn require(id: SiteId) -> Result<(), ErrorReport> {
    // The first site cannot be deleted.
    if id == FIRST_SITE
        || KNOWN.with_borrow(|known| known.as_ref().is_some_and(|known| known.existing.contains(&id)))
    {
        return Ok(());
    }
    let is_it = (1, pg_sys::BTEqualStrategyNumber, pg_sys::F_INT2EQ, id.into());
    let (found, is_current) = first(SITES, c"sites_id_pkey", is_it)?;
    if found.is_none() {
        let was_removed = first(c"removed_sites", c"removed_sites_id_pkey", is_it)?.0.is_some();
        return if was_removed || are_several()? { Err(error::no_site_of(id)) } else { Ok(()) };
    }
    if is_current {
        remember(|known| {
            known.existing.insert(id);
        })?;
    }
    Ok(())
}

/// Whether there is a site beside the first one, by what is committed now, with this transaction's own changes.
pub fn are_several() -> Result<bool, ErrorReport> {
    if catalog::table(SITES).is_err() {
        return Ok(false); // version 0.2.0 has no sites
    }
    if let Some(several) = KNOWN.with_borrow(|known| known.as_ref().and_then(|known| known.are_several)) {
        return Ok(several);
    }
    let is_other = (1, pg_sys::BTGreaterStrategyNumber, pg_sys::F_INT2GT, FIRST_SITE.into());
    let (other, is_current) = first(SITES, c"sites_id_pkey", is_other)?;
    if is_current {
        remember(|known| known.are_several = Some(other.is_some()))?;
    }
    Ok(other.is_some())
}

/// The id of the first row that meets a condition of an index, by what is committed now, with this transaction's own changes.
/// Also returns whether the answer may be remembered. No privilege is needed: whoever writes page views may not read `sites`.
fn first(
    table: &'static CStr,
    index: &'static CStr,
    condition: scan::Condition,
) -> Result<(Option<SiteId>, bool), ErrorReport> {
    let (table, index) = (catalog::table(table)?, catalog::table(index)?);
    let changes = catalog::changes();
    let mut found = None;
    // SAFETY: `GetLatestSnapshot` needs an open transaction; functions and triggers run in one. The scan passes rows of a table
    // whose first column is a `smallint` and its primary key.
    unsafe {
        scan::by_index(table, index, &[condition], pg_sys::GetLatestSnapshot(), |tuple, _| {
            found = Some(Columns::of((*tuple).t_data).smallint());
            Ok(false)
        })?;
    }
    Ok((found, catalog::changes() == changes))
}

/// Remembers what was looked up.
fn remember(add: impl FnOnce(&mut Known)) -> Result<(), ErrorReport> {
    let sites = catalog::table(SITES)?;
    KNOWN.with_borrow_mut(|known| {
        if known.as_ref().is_some_and(|known| {
            known.sites != sites || known.ids.len() >= SITES_KEPT || known.existing.len() >= SITES_KEPT
        }) {
            *known = None;
        }
        add(known.get_or_insert_with(|| Known {
            sites,
            ids: HashMap::new(),
            existing: HashSet::new(),
            are_several: None,
        }));
    });
    Ok(())
}

fmgr::sql_function!(site_id_wrapper, pg_finfo_site_id_wrapper, answer_site_id);

/// The id of the site with a name.
fn answer_site_id(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares a text.
    id_of(unsafe { fmgr::text_argument(call, 0) }).map(pg_sys::Datum::from)
}

fmgr::sql_function!(announce_sites_wrapper, pg_finfo_announce_sites_wrapper, announce);

/// Tells every process that the sites have changed. The trigger of `sites`.
fn announce(_call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    catalog::announce_change(catalog::table(SITES)?);
    Ok(pg_sys::Datum::from(0))
}
