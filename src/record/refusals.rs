//! Refusals: calls for page views that are not recorded. They are counted by site, UTC day and reason, so that "why is my number
//! low" has an answer. `refusals()` in SQL reads the counts.
//!
//! Invariant: what is refused is counted in the transaction of the call, and stays or goes with it. Counting waits for nobody but
//! for what a writer of page views waits for: see `count::refusal_totals`. A `duplicate` is no refusal: the page view is there.

use pgrx::pg_sys::panic::ErrorReport;

use crate::count::refusal_totals::{self, Refusals};
use crate::count::tally::SiteId;
use crate::count::{sites, slots};
use crate::pg::{catalog, transaction};
use crate::record::arguments::today;

/// A session has recorded as many page views in the last minute as it may. `receive()` has further reasons.
pub const RATE_LIMITED: &str = "rate_limited";

/// Counts a refusal of a site today.
///
/// # Errors
/// 23503 if the site has been deleted meanwhile.
pub fn count(site_id: SiteId, reason: &'static str) -> Result<(), ErrorReport> {
    let page_views = catalog::page_views()?;
    // Whoever deletes a site keeps writers of page views out, and this with them.
    transaction::lock_for_writing(page_views);
    sites::require(site_id)?;
    let slot = slots::borrow(page_views);
    refusal_totals::add(slot, &Refusals::from([((site_id, today(), reason.as_bytes().into()), 1)]))
}
