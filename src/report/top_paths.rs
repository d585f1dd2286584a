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

use crate::count::state::State;
use crate::count::tally::TextKey;
use crate::count::{loss, tables};
use crate::maintenance::worker;
use crate::pg::catalog;
use crate::pg::datum::{self, Columns};
use crate::pg::heap_table::definition;
use crate::pg::spi::{self, SnapshotKind, Statement};

/// A scan of all blocks. It checks once for each block which rows are visible (`SO_ALLOW_PAGEMODE`). It does
/// not evict other blocks from shared buffers (`SO_ALLOW_STRAT`).
const SCAN: u32 = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
    | pg_sys::ScanOptions::SO_ALLOW_STRAT
    | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;

/// The page views that the aggregates do not count yet, by path.
static UNCOUNTED: Statement = Statement::new(
    "SELECT v.path, pg_catalog.count(*), pg_catalog.max(v.id)
      FROM ONLY site_stats.page_views AS v
      WHERE v.id > $1 AND v.id <= $2
      GROUP BY v.path",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

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

/// `most_viewed_paths(most integer)`: the most viewed paths, at most `most` of them.
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
    // SAFETY: the server passes a complete call, which has one integer argument by the install script.
    let result = unsafe {
        let argument = (*call).args.as_slice(1)[0];
        let most =
            if argument.isnull { 0 } else { usize::try_from(argument.value.value() as i32).unwrap_or(0) };
        rank(most).map(|ranking| put(call, ranking))
    };
    if let Err(report) = result {
        report.report(PgLogLevel::ERROR);
    }
    pg_sys::Datum::from(0)
}

fn rank(most: usize) -> Result<Ranking, ErrorReport> {
    let mut ranking = Ranking { most, ..Ranking::default() };
    if most == 0 {
        return Ok(ranking);
    }
    let state = loss::state_for_reads()?;
    let (mut several, mut rows) = (uncounted(state)?, 0);
    for_each_row(state.epoch, |path, slot, count| {
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
    for_each_row(state.epoch, |path, slot, mut count| {
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
fn uncounted(state: State) -> Result<HashMap<TextKey, Count>, ErrorReport> {
    let mut paths = HashMap::new();
    if state.is_complete() {
        return Ok(paths);
    }
    spi::connect(|connection| {
        let range = [state.cursor, state.target].map(|id| Some(pg_sys::Datum::from(id)));
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

/// Shows each row of `path_totals` of an epoch, by its path, counter slot and count, in the order of the
/// table. The server is asked for the first row of each block, and the other rows are read from the list that
/// the scan has made. A guarded call for each row would take as long as the row itself.
fn for_each_row(epoch: i64, mut row: impl FnMut(&[u8], i32, Count)) -> Result<(), ErrorReport> {
    let table = catalog::table(c"path_totals")?;
    // SAFETY: the table is locked and open from here to `table_close`. The scan holds a pin of its block. It
    // has listed the rows of the block that the snapshot shows, as it does for every snapshot that a
    // statement can have. They stay in place until the scan is asked for the next block, and have these
    // columns, NOT NULL. The active snapshot stays active while the function runs. An error aborts the
    // transaction, which closes table and scan.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        definition::require_readable(relation, &tables::PATH_TOTALS)?;
        let snapshot = pg_sys::GetActiveSnapshot();
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, null_mut(), null_mut(), SCAN);
        let at = scan.cast::<pg_sys::HeapScanDescData>();
        while !pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection).is_null() {
            let page = pg_sys::BufferGetPage((*at).rs_cbuf);
            let listed = &(&(*at).rs_vistuples)[..(*at).rs_ntuples as usize];
            for offset in listed {
                let tuple = pg_sys::PageGetItem(page, pg_sys::PageGetItemId(page, *offset));
                let mut columns = Columns::of(tuple.cast());
                let (path, slot) = (columns.text(), columns.integer());
                if columns.bigint() == epoch {
                    let views = columns.bigint();
                    columns.text(); // the page type
                    row(path, slot, Count { views, last_view_id: columns.bigint() });
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

/// Returns the rows as a materialized set.
///
/// # Safety
/// `call` must be the call being served, of a function that returns these columns.
unsafe fn put(call: pg_sys::FunctionCallInfo, ranking: Ranking) {
    let (all_views, all_paths) = (ranking.views, ranking.paths);
    // SAFETY: `call` is valid by the contract above, so a tuple store of these columns is made for it. The
    // store copies the values.
    unsafe {
        pg_sys::InitMaterializedSRF(call, 0);
        let result = (*call).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        // In ascending order of the `Reverse` values, so that the most viewed path comes first.
        for Reverse((views, Reverse(path), last_view_id)) in ranking.best.into_sorted_vec() {
            let mut values =
                [datum::text(&path), views.into(), last_view_id.into(), all_views.into(), all_paths.into()];
            let mut nulls = [false; 5];
            pg_sys::tuplestore_putvalues(
                (*result).setResult,
                (*result).setDesc,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
    }
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
