//! Refusals: calls for page views that are not recorded. They are counted by site, UTC day and reason, so that "why is my number
//! low" has an answer. `refusals()` in SQL reads the counts.
//!
//! Invariant: what is refused is counted in the transaction of the call, and stays or goes with it. Counting waits for nobody but
//! for what a writer of page views waits for: see `count::refusal_totals`. A `duplicate` is no refusal: the page view is there.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::refusal_totals::{self, Refusals};
use crate::count::tally::SiteId;
use crate::count::{sites, slots};
use crate::pg::catalog;
use crate::record::arguments::now;

/// A session has recorded as many page views in the last minute as it may. `receive()` has further reasons.
pub const RATE_LIMITED: &str = "rate_limited";

/// A day in the unit of `timestamptz`, microseconds.
const DAY: i64 = 86_400_000_000;

/// Counts a refusal of a site today.
///
/// # Errors
/// 23503 if the site has been deleted meanwhile.
pub fn count(site_id: SiteId, reason: &'static str) -> Result<(), ErrorReport> {
    let page_views = catalog::page_views()?;
    // Whoever deletes a site keeps writers of page views out, and this with them.
    // SAFETY: the table exists; a call runs in a transaction, which keeps the lock.
    unsafe { pg_sys::LockRelationOid(page_views, pg_sys::RowExclusiveLock as i32) };
    sites::require(site_id)?;
    // The number of days of any `timestamptz` fits an i32.
    let day = (now().value() as i64).div_euclid(DAY) as i32;
    let slot = slots::borrow(page_views);
    refusal_totals::add(slot, &Refusals::from([((site_id, day, reason.as_bytes().into()), 1)]))
}
