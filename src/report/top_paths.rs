//! The most viewed paths and the sums over all paths, in one snapshot.
//!
//! A query would group all rows of `path_totals` by path, which takes most of the time of a statistics page.
//! But nearly every path has a single row, in counter slot 0. Only the other paths are held in memory, to be
//! added up. They have a row in a counter slot that is not folded yet, or page views that are not counted
//! yet. If there is no such path, as after maintenance, one pass over the table is enough. A read that finds
//! many such rows starts a maintenance worker.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ptr::null_mut;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, pg_guard, pg_sys};

use crate::count::sites::{self, FIRST_SITE};
use crate::count::state::State;
use crate::count::tally::{SiteId, TextKey};
use crate::count::{loss, tables};
use crate::maintenance::worker;
use crate::pg::catalog;
use crate::pg::datum::{self, Columns};
use crate::pg::heap_table::definition;
use crate::pg::spi::{self, SnapshotKind, Statement};
use crate::pg::{fmgr, scan, version};

/// A scan of all blocks. It checks once for each block which rows are visible (`SO_ALLOW_PAGEMODE`). It does
/// not evict other blocks from shared buffers (`SO_ALLOW_STRAT`).
const SCAN: u32 = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
    | pg_sys::ScanOptions::SO_ALLOW_STRAT
    | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;

/// The page views of a site that the aggregates do not count yet, by path. The name `site_id` means the table's column; in a
/// table of version 0.2.0, which lacks it, that of the VALUES.
static UNCOUNTED: Statement = Statement::new(
    "SELECT u.*
      FROM (VALUES (1::smallint)) AS d (site_id)
      CROSS JOIN LATERAL (
          SELECT v.path, pg_catalog.count(*), pg_catalog.max(v.id)
          FROM ONLY site_stats.page_views AS v
          WHERE v.id > $1 AND v.id <= $2 AND site_id = $3
          GROUP BY v.path
      ) AS u",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT2OID],
);

/// The number of the last column of `path_totals`, which tables of version 0.2.0 lack.
const SITE_ID: usize = 9;

/// How many rows of a site are read by the primary key, for each block of the table, before a scan of the whole table takes
/// their place. A row costs some 20 times as much by the key, and a block has some 50 rows.
const ROWS_BY_KEY: usize = 3;

/// The most rows that are read by the primary key, since they are held in memory. Chosen, not measured.
const MOST_BY_KEY: usize = 50_000;

/// The counters of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    views: i64,
    last_view_id: i64,
}

impl Count {
    fn merge(&mut self, other: Count) {
        self.views += other.views;
        self.last_view_id = self.last_view_id.max(other.last_view_id);
    }
}

/// The most viewed paths so far, and the sums over all paths.
#[derive(Default)]
struct Ranking {
    most: usize,
    /// At most `most` paths, with the least viewed one on top.
    best: BinaryHeap<Reverse<(i64, Reverse<TextKey>, i64)>>,
    views: i64,
    paths: i64,
}

impl Ranking {
    /// Adds a path, if it has page views. The count of a single counter slot may be 0 or less.
    fn add(&mut self, path: &[u8], count: Count) {
        if count.views <= 0 {
            return;
        }
        self.views += count.views;
        self.paths += 1;
        if self.best.len() >= self.most {
            let Some(Reverse((views, Reverse(last), _))) = self.best.peek() else { return };
            if (count.views, Reverse(path)) <= (*views, Reverse(&**last)) {
                return;
            }
            self.best.pop();
        }
        self.best.push(Reverse((count.views, Reverse(path.into()), count.last_view_id)));
    }
}

crate::pg::fmgr::finfo_v1!(pg_finfo_most_viewed_paths);

/// `most_viewed_paths(most integer, site_id smallint)`: the most viewed paths of a site, at most `most` of them.
///
/// The rows are `(path, views, last_view_id, all_views, all_paths)`. The most viewed path comes first, and
/// equal ones come by path. `all_views` and `all_paths` are sums over all paths that have a page view. NULL
/// or less than 1 gives no row.
///
/// # Safety
/// Only the server may call this.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn most_viewed_paths(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the server passes a complete call, which has an integer argument by the install script, and a smallint since
    // version 0.3.0.
    let result = unsafe {
        let call = &mut *call;
        let most =
            fmgr::argument(call, 0).map_or(0, |most| usize::try_from(most.value() as i32).unwrap_or(0));
        let site_id = match call.nargs {
            1 => Some(FIRST_SITE),
            _ => fmgr::argument(call, 1).map(|site_id| site_id.value() as SiteId),
        };
        let ranking = rank(if site_id.is_some() { most } else { 0 }, site_id.unwrap_or(FIRST_SITE));
        ranking.map(|ranking| {
            let (all_views, all_paths) = (ranking.views, ranking.paths);
            // In ascending order of the `Reverse` values, so that the most viewed path comes first.
            let best = ranking.best.into_sorted_vec().into_iter();
            let rows = best.map(|Reverse((views, Reverse(path), last_view_id))| {
                [datum::text(&path), views.into(), last_view_id.into(), all_views.into(), all_paths.into()]
                    .map(Some)
            });
            fmgr::put_rows(call, rows);
        })
    };
    if let Err(report) = result {
        report.report(PgLogLevel::ERROR);
    }
    pg_sys::Datum::from(0)
}

fn rank(most: usize, site_id: SiteId) -> Result<Ranking, ErrorReport> {
    let mut ranking = Ranking { most, ..Ranking::default() };
    if most == 0 {
        return Ok(ranking);
    }
    let state = loss::state_for_reads()?;
    let kept = few_rows(site_id, state.epoch)?;
    let for_each_row = |row: &mut dyn FnMut(&[u8], i32, Count)| match &kept {
        Some(rows) => {
            rows.iter().for_each(|(path, slot, count)| row(path, *slot, *count));
            Ok(())
        }
        None => scan_rows(site_id, state.epoch, row),
    };
    let (mut several, mut rows) = (uncounted(state, site_id)?, 0);
    for_each_row(&mut |path, slot, count| {
        if slot == 0 {
            ranking.add(path, count);
        } else {
            rows += 1;
            match several.get_mut(path) {
                Some(known) => known.merge(count),
                None => {
                    several.insert(path.into(), count);
                }
            }
        }
    })?;
    worker::launch_if_due(rows);
    if several.is_empty() {
        return Ok(ranking);
    }
    // The ranking may have only a part of a path, so it is made anew with the whole paths.
    ranking = Ranking { most, ..Ranking::default() };
    for_each_row(&mut |path, slot, mut count| {
        if slot == 0 {
            if let Some(other) = several.remove(path) {
                count.merge(other);
            }
            ranking.add(path, count);
        }
    })?;
    for (path, count) in several {
        ranking.add(&path, count);
    }
    Ok(ranking)
}

/// The paths of the page views that the aggregates do not count yet.
fn uncounted(state: State, site_id: SiteId) -> Result<HashMap<TextKey, Count>, ErrorReport> {
    let mut paths = HashMap::new();
    if state.is_complete() {
        return Ok(paths);
    }
    spi::connect(|connection| {
        let range = [state.cursor.into(), state.target.into(), site_id.into()].map(Some);
        let rows = UNCOUNTED.run(connection, SnapshotKind::Statement, &range)?;
        for row in 0..rows.len() {
            if let Some(path) = rows.text(row, 1) {
                let count = Count { views: rows.bigint(row, 2), last_view_id: rows.bigint(row, 3) };
                paths.insert(path.into(), count);
            }
        }
        Ok(paths)
    })
}

/// A row of `path_totals`.
struct Row<'r> {
    path: &'r [u8],
    slot: i32,
    epoch: i64,
    count: Count,
    site_id: SiteId,
}

impl<'r> Row<'r> {
    /// Reads a row. `columns` is how many columns of ours the table has.
    ///
    /// # Safety
    /// The tuple must be a row of `path_totals` in this shape, and outlive the result.
    unsafe fn read(tuple: pg_sys::HeapTupleHeader, columns: usize) -> Self {
        // SAFETY: the caller guarantees the row. All columns of ours are NOT NULL. Only the last one, the site, may be younger
        // than the row.
        unsafe {
            let present = usize::from((*tuple).t_infomask2 & pg_sys::HEAP_NATTS_MASK as u16);
            let mut values = Columns::of(tuple);
            let (path, slot, epoch, views) =
                (values.text(), values.integer(), values.bigint(), values.bigint());
            values.text(); // the page type
            let last_view_id = values.bigint();
            let has_site = columns >= SITE_ID && present >= SITE_ID;
            let site_id = if has_site {
                values.integer(); // the day
                values.bigint(); // its views
                values.smallint()
            } else {
                FIRST_SITE
            };
            Row { path, slot, epoch, count: Count { views, last_view_id }, site_id }
        }
    }
}

/// Rows of a site, as many as are read by the primary key.
type Rows = Vec<(TextKey, i32, Count)>;

/// The rows of `path_totals` of a site and an epoch, if the site has a small part of them. Then they are read by the primary key.
/// `None` if a scan of the whole table is faster, or as fast.
fn few_rows(site_id: SiteId, epoch: i64) -> Result<Option<Rows>, ErrorReport> {
    if !sites::are_several()? {
        return Ok(None);
    }
    let table = catalog::table(c"path_totals")?;
    // SAFETY: the table is locked when it is opened, and stays so until it is closed again.
    let (columns, key) = unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let columns = definition::require_readable(relation, &tables::PATH_TOTALS)?.columns.len();
        let key = version::primary_key(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        (columns, key)
    };
    let most = (scan::length(table) as usize).saturating_mul(ROWS_BY_KEY).min(MOST_BY_KEY);
    if columns < SITE_ID || key == pg_sys::InvalidOid || most == 0 {
        return Ok(None);
    }
    let (mut rows, mut read) = (Vec::new(), 0);
    let of_site = [(1, pg_sys::BTEqualStrategyNumber, pg_sys::F_INT2EQ, site_id.into())];
    // SAFETY: a function runs with an active snapshot, which outlives the scan. The scan passes rows of the table.
    unsafe {
        scan::by_index(table, key, &of_site, pg_sys::GetActiveSnapshot(), |tuple, _| {
            let row = Row::read((*tuple).t_data, columns);
            read += 1;
            if row.epoch == epoch {
                rows.push((row.path.into(), row.slot, row.count));
            }
            Ok(read <= most)
        })?;
    }
    Ok((read <= most).then_some(rows))
}

/// Shows each row of `path_totals` of a site and an epoch, by its path, counter slot and count, in the order of the
/// table. The server is asked for the first row of each block, and the other rows are read from the list that
/// the scan has made. A guarded call for each row would take as long as the row itself.
fn scan_rows(site_id: SiteId, epoch: i64, mut row: impl FnMut(&[u8], i32, Count)) -> Result<(), ErrorReport> {
    let table = catalog::table(c"path_totals")?;
    // SAFETY: the table is locked and open from here to `table_close`. The scan holds a pin of its block. It
    // has listed the rows of the block that the snapshot shows, as it does for every snapshot that a
    // statement can have. They stay in place until the scan is asked for the next block, and have these
    // columns, NOT NULL. The active snapshot stays active while the function runs. An error aborts the
    // transaction, which closes table and scan.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let columns = definition::require_readable(relation, &tables::PATH_TOTALS)?.columns.len();
        let snapshot = pg_sys::GetActiveSnapshot();
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, null_mut(), null_mut(), SCAN);
        let at = scan.cast::<pg_sys::HeapScanDescData>();
        while !pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection).is_null() {
            let page = pg_sys::BufferGetPage((*at).rs_cbuf);
            let listed = &(&(*at).rs_vistuples)[..(*at).rs_ntuples as usize];
            for offset in listed {
                let tuple = pg_sys::PageGetItem(page, pg_sys::PageGetItemId(page, *offset)).cast();
                let found = Row::read(tuple, columns);
                if (found.epoch, found.site_id) == (epoch, site_id) {
                    row(found.path, found.slot, found.count);
                }
            }
            (*at).rs_cindex = (*at).rs_ntuples - 1; // all of them have been seen
            pgrx::check_for_interrupts!();
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(most: usize, counts: &[(&str, i64)]) -> (Vec<(i64, String)>, i64, i64) {
        let mut ranking = Ranking { most, ..Ranking::default() };
        for (path, views) in counts {
            ranking.add(path.as_bytes(), Count { views: *views, last_view_id: 1 });
        }
        let best = ranking.best.into_sorted_vec().into_iter();
        let best =
            best.map(|Reverse((views, Reverse(path), _))| (views, String::from_utf8_lossy(&path).into()));
        (best.collect(), ranking.views, ranking.paths)
    }

    #[test]
    fn the_most_viewed_come_first_and_then_by_path() {
        let counts = [("/b", 2), ("/c", 9), ("/a", 2), ("/d", 1), ("/none", 0), ("/less", -1)];
        let all = [(9, "/c"), (2, "/a"), (2, "/b"), (1, "/d")].map(|(views, path)| (views, path.to_owned()));
        assert_eq!(ranked(9, &counts), (all.to_vec(), 14, 4));
        assert_eq!(ranked(2, &counts), (all[..2].to_vec(), 14, 4));
        assert_eq!(ranked(9, &[]), (vec![], 0, 0));
    }
}
