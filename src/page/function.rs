//! `stats_page()`: the page as an HTML document, for any backend that passes the parameters of a URL on.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::{Map, Value};
use site_stats_page::{Query, render, to_ascii};

use crate::count::sites;
use crate::count::tally::SiteId;
use crate::error;
use crate::page::gather;
use crate::pg::{datum, fmgr, jsonb};

fmgr::sql_function!(stats_page_wrapper, pg_finfo_stats_page_wrapper, stats_page);

/// `stats_page_in_snapshot(query jsonb, site text)`: the page. `stats_page()` calls it with the snapshot in which it answers.
///
/// What means nothing in the query is told on the page: whoever opens it may write anything into its URL.
///
/// # Errors
/// 22004 for no query, 22023 for one that is no object and for an unknown site.
fn stats_page(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares a jsonb and a text.
    let (query, site) = unsafe { (fmgr::argument(call, 0), fmgr::text_argument(call, 1)) };
    let query = query.ok_or_else(|| error::null_argument("query", "Pass {} for no parameters."))?;
    // SAFETY: the argument is a jsonb.
    let parameters: Map<String, Value> =
        serde_json::from_str(&unsafe { jsonb::to_utf8(query) }).map_err(|_| error::no_object("query"))?;
    let mut query = Query::parse(&parameters);
    let (site_id, name, is_free) = match site {
        // Whoever may see one site gets no link to another one.
        Some(name) => {
            query.site = None;
            (sites::id_of(Some(name))?, name.to_vec(), false)
        }
        None => {
            let (site_id, name) = chosen_site(&mut query)?;
            (site_id, name, true)
        }
    };
    let (range, answers) = gather::answers(&query, site_id, &name, is_free)?;
    let page = render(&query, &range, &answers);
    Ok(if datum::is_utf8() { datum::text(page.as_bytes()) } else { datum::text(to_ascii(&page).as_bytes()) })
}

/// The site that the query names, or the first one.
fn chosen_site(query: &mut Query) -> Result<(SiteId, Vec<u8>), ErrorReport> {
    if let Some(name) = query.site.clone() {
        // SAFETY: the datum is a text, which is looked up at once.
        let bytes = unsafe { datum::text_bytes(datum::text_from_utf8(&name)) };
        if let Some(site_id) = sites::find(bytes)? {
            return Ok((site_id, bytes.to_vec()));
        }
        query.site = None;
        query.problems.push("There is no such site.".to_owned());
    }
    Ok((sites::FIRST_SITE, Vec::new()))
}
