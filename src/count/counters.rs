//! The only code that writes counters: it adds the deltas of a `Tally` to the aggregates. Triggers and
//! batches make the same tallies.
//!
//! Invariant: only the transaction that has borrowed a counter slot counts in its rows of `path_totals`,
//! `daily_totals` and `site_totals`. So these writes wait at most for a sweep, which deletes rows of older
//! epochs. Rows of `sessions` are shared, and are written before all others: see `visitors`.
//!
//! The row of a path has the counter of its newest day beside that of all days. So a page view of today
//! changes one row. When a newer day begins, the counter of the finished day moves to `daily_totals`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::count::caches::{MissPredictor, TidCache};
use crate::count::tally::{SiteId, Tally, TextKey, in_order};
use crate::count::{ROWS_PER_INSERT, WriterKind, loss, slots, tables, visitors};
use crate::error;
use crate::pg::datum::{self, Column};
use crate::pg::heap_table::{ColumnChange, KeyValue, Table};

/// Columns of `path_totals`.
pub mod path_totals {
    use super::Column;
    pub const SLOT: Column = 2;
    pub const EPOCH: Column = 3;
    pub const VIEWS: Column = 4;
    pub const PAGE_TYPE: Column = 5;
    pub const LAST_VIEW_ID: Column = 6;
    pub const DAY: Column = 7;
    pub const DAY_VIEWS: Column = 8;
}

/// Columns of `daily_totals`.
mod daily_totals {
    use super::Column;
    pub const EPOCH: Column = 4;
    pub const VIEWS: Column = 5;
}

/// Columns of `site_totals`.
mod site_totals {
    use super::Column;
    pub const EPOCH: Column = 2;
    pub const VISITORS: Column = 3;
}

/// The day in the row of a path that has no day yet: `-infinity`, before all others.
const NO_DAY: i32 = i32::MIN;

/// How many tids of `path_totals` a process remembers: 32 kB, for the paths that are viewed most.
const PATHS_KEPT: usize = 4096;

thread_local! {
    static IS_WRITING: Cell<bool> = const { Cell::new(false) };
    static PATHS: RefCell<TidCache> = RefCell::new(TidCache::new(PATHS_KEPT));
    static SITES: RefCell<TidCache> = RefCell::new(TidCache::new(64));
    static DAYS: RefCell<MissPredictor> = RefCell::default();
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Sessions that came into the session set.
    pub sessions_found: i64,
}

/// Page views by site, day and path, for the counters in `daily_totals`.
pub type Days = BTreeMap<(SiteId, i32, TextKey), i64>;

/// Visitors by site, for the counters in `site_totals`.
pub type Visitors = BTreeMap<SiteId, i64>;

/// Adds deltas to the aggregates of an epoch. All its memory is free when it returns. So a transaction over
/// millions of rows can flush as often as it needs.
pub fn write(
    page_views: pg_sys::Oid,
    epoch: i64,
    mut tally: Tally,
    by: WriterKind,
) -> Result<Written, ErrorReport> {
    tally.settle();
    if tally.is_empty() {
        return Ok(Written::default());
    }
    loss::require_counters(page_views)?;
    let _writing = Writing::begin()?;
    // SAFETY: the memory context lives until the end of the block. Nothing allocated in it leaves the block.
    unsafe {
        PgMemoryContexts::new("site_stats flush").switch_to(|_| {
            let changes = visitors::write(page_views, epoch, &tally, by)?;
            let slot = slots::borrow(page_views);
            let visitors = changes.iter().map(|(site_id, change)| (*site_id, change.came - change.left));
            add(epoch, slot, &tally, Days::new(), &visitors.collect())?;
            Ok(Written { sessions_found: changes.values().map(|change| change.came).sum() })
        })
    }
}

/// Whether a write is in progress.
pub fn is_writing() -> bool {
    IS_WRITING.get()
}

/// A write of counters, or of the state that says which page views they count. A trigger of the owner may run meanwhile. The
/// page views that it writes would be counted by what is about to change, or not at all.
pub struct Writing;

impl Writing {
    /// # Errors
    /// 0A000 if another write is in progress.
    pub fn begin() -> Result<Self, ErrorReport> {
        if IS_WRITING.replace(true) { Err(error::nested_flush()) } else { Ok(Writing) }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        IS_WRITING.set(false);
    }
}

/// Adds the deltas of paths, days and whole sites to a counter slot that this transaction has borrowed. The
/// next command sees the writes.
pub fn write_counters(
    epoch: i64,
    slot: i32,
    tally: &Tally,
    days: Days,
    visitors: &Visitors,
) -> Result<(), ErrorReport> {
    let _writing = Writing::begin()?;
    add(epoch, slot, tally, days, visitors)
}

fn add(epoch: i64, slot: i32, tally: &Tally, mut days: Days, visitors: &Visitors) -> Result<(), ErrorReport> {
    if tally.sites().any(|(_, site)| !site.paths.is_empty()) {
        PATHS.with_borrow_mut(|tids| write_paths(epoch, slot, tally, &mut days, tids))?;
    }
    if !days.is_empty() {
        DAYS.with_borrow_mut(|predictor| write_days(epoch, slot, &days, predictor))?;
    }
    if visitors.values().any(|visitors| *visitors != 0) {
        SITES.with_borrow_mut(|tids| write_sites(epoch, slot, visitors, tids))?;
    }
    // SAFETY: a flush runs in a transaction. Without a new command, a second flush could not update the same
    // rows.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(())
}

/// Writes the counters of paths and of their newest days. Adds the counts of older days to `days`.
fn write_paths(
    epoch: i64,
    slot: i32,
    tally: &Tally,
    days: &mut Days,
    tids: &mut TidCache,
) -> Result<(), ErrorReport> {
    use path_totals::*;
    let mut table = Table::open(&tables::PATH_TOTALS)?;
    tids.belong_to(table.file());
    let paths = tally.sites().flat_map(|(site_id, site)| {
        in_order(&site.paths).into_iter().map(move |(path, delta)| (site_id, path, delta))
    });
    for (site_id, path, delta) in paths {
        let key = [KeyValue::Smallint(site_id), KeyValue::Text(path), KeyValue::Integer(slot)];
        let older = write_at(&mut table, tids, &key, |table, found| {
            // A row of an older epoch counts as no row.
            let is_current = found && table.bigint(EPOCH) == epoch;
            let (views, last_view_id, kept) = if is_current {
                let kept = (table.integer(DAY), table.bigint(DAY_VIEWS));
                (table.bigint(VIEWS), table.bigint(LAST_VIEW_ID), kept)
            } else {
                (0, 0, (NO_DAY, 0))
            };
            let ((day, day_views), older) = delta.on_top_of(kept);
            let written = if found {
                let is_newest = !is_current || delta.last_view_id >= last_view_id;
                let is_other_type = is_newest && table.text(PAGE_TYPE) != &*delta.page_type;
                table.update(&[
                    (EPOCH, ColumnChange::Value(epoch.into())),
                    (VIEWS, ColumnChange::Value((views + delta.views).into())),
                    (DAY, ColumnChange::Value(day.into())),
                    (DAY_VIEWS, ColumnChange::Value(day_views.into())),
                    (LAST_VIEW_ID, ColumnChange::value_if(is_newest, || delta.last_view_id.into())),
                    (PAGE_TYPE, ColumnChange::value_if(is_other_type, || datum::text(&delta.page_type))),
                ])?
            } else {
                let row = [
                    datum::text(path),
                    slot.into(),
                    epoch.into(),
                    delta.views.into(),
                    datum::text(&delta.page_type),
                    delta.last_view_id.into(),
                    day.into(),
                    day_views.into(),
                    site_id.into(),
                ];
                table.insert(&row)?;
                true
            };
            Ok(written.then_some(older))
        })?;
        for (day, views) in older {
            *days.entry((site_id, day, path.clone())).or_default() += views;
        }
    }
    table.close();
    Ok(())
}

fn write_days(epoch: i64, slot: i32, days: &Days, predictor: &mut MissPredictor) -> Result<(), ErrorReport> {
    use daily_totals::*;
    let mut table = Table::open(&tables::DAILY_TOTALS)?;
    let row = |(site_id, day, path): &(SiteId, i32, TextKey), views: i64| {
        [(*day).into(), datum::text(path), slot.into(), epoch.into(), views.into(), (*site_id).into()]
    };
    let days: Vec<_> = days.iter().map(|(day, views)| (day, *views)).collect();
    for days in days.chunks(ROWS_PER_INSERT) {
        let are_expected_new = predictor.predicts_miss();
        if are_expected_new {
            let rows: Vec<_> = days.iter().map(|(day, views)| row(day, *views)).collect();
            table.insert_without_indexes(rows.iter().map(|row| &row[..]));
        }
        for (of, views) in days {
            if are_expected_new && table.index_next()? {
                predictor.record(false);
                continue;
            }
            let (site_id, day, path) = of;
            let key = [
                KeyValue::Smallint(*site_id),
                KeyValue::Day(*day),
                KeyValue::Text(path),
                KeyValue::Integer(slot),
            ];
            table.write(&key, None, |table, found| {
                predictor.record(found);
                if !found {
                    table.insert(&row(of, *views))?;
                    return Ok(Some(()));
                }
                let before = if table.bigint(EPOCH) == epoch { table.bigint(VIEWS) } else { 0 };
                let written = table.update(&[
                    (EPOCH, ColumnChange::Value(epoch.into())),
                    (VIEWS, ColumnChange::Value((before + views).into())),
                ])?;
                Ok(written.then_some(()))
            })?;
        }
    }
    table.close();
    Ok(())
}

fn write_sites(epoch: i64, slot: i32, visitors: &Visitors, tids: &mut TidCache) -> Result<(), ErrorReport> {
    use site_totals::*;
    let mut table = Table::open(&tables::SITE_TOTALS)?;
    tids.belong_to(table.file());
    for (site_id, visitors) in visitors.iter().filter(|(_, visitors)| **visitors != 0) {
        let key = [KeyValue::Smallint(*site_id), KeyValue::Integer(slot)];
        write_at(&mut table, tids, &key, |table, found| {
            let written = if found {
                let before = if table.bigint(EPOCH) == epoch { table.bigint(VISITORS) } else { 0 };
                table.update(&[
                    (EPOCH, ColumnChange::Value(epoch.into())),
                    (VISITORS, ColumnChange::Value((before + visitors).into())),
                ])?
            } else {
                let row = [slot.into(), epoch.into(), (*visitors).into(), (*site_id).into()];
                table.insert(&row)?;
                true
            };
            Ok(written.then_some(()))
        })?;
    }
    table.close();
    Ok(())
}

/// Finds a row, by its remembered tid or by its key, and calls `write` for it. Remembers the new tid.
fn write_at<R>(
    table: &mut Table,
    tids: &mut TidCache,
    key: &[KeyValue],
    write: impl FnMut(&mut Table, bool) -> Result<Option<R>, ErrorReport>,
) -> Result<R, ErrorReport> {
    let result = table.write(key, tids.get(key), write)?;
    if let Some(tid) = table.written() {
        tids.insert(key, tid);
    }
    Ok(result)
}
