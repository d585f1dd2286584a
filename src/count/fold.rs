//! Folding: moves the counters of idle counter slots into slot 0, and the rows of `path_totals` to its front.
//!
//! Invariant: no writer waits for folding. It borrows the slots whose rows it takes, so writers use other
//! slots. Refusals are folded with the counters of page views; they have no epoch.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_extern, pg_sys};

use crate::count::counters::{self, Days, Visitors, path_totals};
use crate::count::tally::{PathDelta, Tally};
use crate::count::{refusal_totals, slots, state, tables};
use crate::pg::heap_table::Table;
use crate::pg::spi::{self, Connection, SnapshotKind, Statement};
use crate::pg::{catalog, snapshot, transaction};
use crate::{error, settings};

/// How many rows of each table one transaction of folding moves.
pub const FOLD_ROWS: i32 = 5_000;

/// The slots of the first `$2` rows that are not in slot 0, with the numbers of these rows.
static SLOTS: Statement = Statement::new(
    "SELECT o.slot, pg_catalog.count(*)
      FROM (
          SELECT p.slot FROM site_stats.path_totals AS p WHERE p.slot > 0 AND p.epoch = $1 AND p.slot <> ALL ($3)
          UNION ALL
          SELECT d.slot FROM site_stats.daily_totals AS d WHERE d.slot > 0 AND d.epoch = $1 AND d.slot <> ALL ($3)
          UNION ALL
          SELECT s.slot FROM site_stats.site_totals AS s WHERE s.slot > 0 AND s.epoch = $1 AND s.slot <> ALL ($3)
          LIMIT $2
      ) AS o
      GROUP BY o.slot
      ORDER BY o.slot DESC",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT4ARRAYOID],
);

/// Deletes at most `$2` rows of the epoch `$1` and returns them: rows of the slots `$3`, and those of slot 0
/// that meet `$zero`. This transaction has borrowed all these slots, so no other one writes the rows.
///
/// The name `site_id` means the table's column; in a table of version 0.2.0, which lacks it, that of the VALUES.
macro_rules! take {
    ($table:literal, $zero:literal, $columns:literal) => {
        Statement::new(
            concat!(
                "WITH taken AS (
                     DELETE FROM site_stats.",
                $table,
                " AS t
                     WHERE t.ctid = ANY (ARRAY(
                         SELECT o.ctid
                         FROM site_stats.",
                $table,
                " AS o
                         WHERE (o.slot = ANY ($3) OR (o.slot = 0 AND ",
                $zero,
                ")) AND o.epoch = $1
                         LIMIT $2
                     ))
                     RETURNING t.*
                 )
                 SELECT u.*
                 FROM (VALUES (1::smallint)) AS d (site_id)
                 CROSS JOIN LATERAL (SELECT ",
                $columns,
                ", site_id FROM taken AS t) AS u"
            ),
            &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT4ARRAYOID],
        )
    };
}

static TAKE_PATHS: Statement = take!(
    "path_totals",
    "o.views = 0 AND o.day_views = 0",
    "t.path, t.views, t.page_type, t.last_view_id, t.day, t.day_views"
);
static TAKE_DAYS: Statement = take!("daily_totals", "o.views = 0", "t.day, t.path, t.views");
static TAKE_SITE: Statement = take!("site_totals", "false", "t.visitors");

/// Moves at most `max_rows` rows of each table from idle counter slots into slot 0, and deletes rows that
/// count 0. Returns how many rows it took; 0 while another transaction uses slot 0.
///
/// # Errors
/// 22004 for NULL, 22023 for a negative `max_rows`. 25001 at an isolation level above READ COMMITTED, 25006
/// in a read-only transaction or on a standby.
#[pg_extern(sql = false)]
fn fold_totals(max_rows: Option<i32>) -> Result<i64, ErrorReport> {
    error::require_writable(c"site_stats.fold_totals()");
    let max_rows = error::require_row_count("max_rows", max_rows)?;
    if snapshot::uses_one_snapshot() {
        return Err(error::wrong_isolation("site_stats.fold_totals()"));
    }
    let page_views = catalog::page_views()?;
    spi::connect(|connection| Ok(fold_now(connection, page_views, max_rows)?.rows))
}

/// What folding did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Rows that were taken.
    pub rows: i64,
    /// Whether more rows are left to fold.
    pub is_more: bool,
}

/// As `fold`, for a caller without a lock that keeps the epoch. Folds refusals, too.
pub fn fold_now(
    connection: &Connection,
    page_views: pg_sys::Oid,
    max_rows: i32,
) -> Result<Folded, ErrorReport> {
    // The lock of a writer keeps the epoch until this transaction ends.
    transaction::lock_for_writing(page_views);
    let epoch = state::Writer::new(page_views)?.epoch();
    let folded = fold(connection, page_views, epoch, max_rows)?;
    if !slots::try_borrow(page_views, 0) {
        return Ok(folded);
    }
    let refusals = refusal_totals::fold(connection, page_views, most_idle_slots(), max_rows)?;
    let is_more = folded.is_more || refusals == i64::from(max_rows);
    Ok(Folded { rows: folded.rows + refusals, is_more })
}

/// How many idle counter slots folding borrows at most. The other half stays free for writers.
fn most_idle_slots() -> usize {
    usize::try_from(settings::counter_slots() / 2).unwrap_or(0).max(1)
}

/// Moves at most `max_rows` rows of each table from idle counter slots into slot 0, if that is free. The
/// caller must hold a lock that keeps the epoch.
pub fn fold(
    connection: &Connection,
    page_views: pg_sys::Oid,
    epoch: i64,
    max_rows: i32,
) -> Result<Folded, ErrorReport> {
    if !slots::try_borrow(page_views, 0) {
        return Ok(Folded::default());
    }
    let (idle, are_all) = borrow_idle_slots(connection, page_views, epoch, max_rows)?;
    let arguments = [epoch.into_datum(), i64::from(max_rows).into_datum(), idle.into_datum()];
    let (mut tally, mut idle_days, mut visitors) = (Tally::default(), Days::new(), Visitors::new());
    let paths = TAKE_PATHS.run(connection, SnapshotKind::Current, &arguments)?;
    for row in 0..paths.len() {
        if let (Some(path), Some(page_type)) = (paths.text(row, 1), paths.text(row, 3)) {
            let delta = PathDelta {
                views: paths.bigint(row, 2),
                page_type: page_type.into(),
                last_view_id: paths.bigint(row, 4),
                days: paths
                    .get(row, 5)
                    .map(|day| (day.value() as i32, paths.bigint(row, 6)))
                    .into_iter()
                    .collect(),
            };
            tally.add_to_path(paths.smallint(row, 7), path.into(), delta);
        }
    }
    let days = TAKE_DAYS.run(connection, SnapshotKind::Current, &arguments)?;
    for row in 0..days.len() {
        if let (Some(day), Some(path)) = (days.get(row, 1), days.text(row, 2)) {
            let day = (days.smallint(row, 4), day.value() as i32, path.into());
            *idle_days.entry(day).or_default() += days.bigint(row, 3);
        }
    }
    let site = TAKE_SITE.run(connection, SnapshotKind::Current, &arguments)?;
    for row in 0..site.len() {
        *visitors.entry(site.smallint(row, 2)).or_default() += site.bigint(row, 1);
    }
    // A path without page views needs no row. The counts of its days can still be other than 0, and go to
    // `daily_totals`.
    tally.take_unviewed(|site_id, path, delta| {
        for (day, views) in &delta.days {
            *idle_days.entry((site_id, *day, path.clone())).or_default() += views;
        }
    });
    idle_days.retain(|_, views| *views != 0);
    counters::write_counters(epoch, 0, &tally, idle_days, &visitors)?;
    let taken = [paths.len(), days.len(), site.len()].map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
    let moved = compact_paths(epoch, max_rows)?;
    let is_more = !are_all || taken.contains(&i64::from(max_rows)) || moved == max_rows;
    Ok(Folded { rows: taken.iter().sum(), is_more })
}

/// Moves at most `max_rows` rows from the end of `path_totals` into emptied blocks before them. Returns how
/// many.
///
/// Under load, new versions of hot rows go to the end of the table. Folding empties the blocks before them,
/// but VACUUM cannot truncate the table while they stay there. Each read of the statistics scans the whole
/// table.
///
/// The caller must have borrowed slot 0. A row of another slot or epoch ends the work: no block before it can
/// be truncated.
fn compact_paths(epoch: i64, max_rows: i32) -> Result<i32, ErrorReport> {
    use path_totals::{EPOCH, SLOT};
    let mut table = Table::open(&tables::PATH_TOTALS)?;
    if !table.is_written_directly() {
        // A move would look like a deletion and an insertion to the owner's triggers.
        table.close();
        return Ok(0);
    }
    let (mut moved, mut target) = (0, None);
    'rows: for block in (0..table.length()).rev() {
        for tid in table.tids_in(block) {
            if !table.is_row_at(tid) {
                continue;
            }
            let may_move = table.integer(SLOT) == 0 && table.bigint(EPOCH) == epoch;
            if !may_move || moved == max_rows {
                break 'rows;
            }
            target = table.block_with_room_before(block, target);
            let Some(target) = target else { break 'rows };
            if !table.move_to(target)? {
                break 'rows;
            }
            moved += 1;
        }
    }
    table.close();
    // SAFETY: folding runs in a transaction. Without a new command, the same rows could not be written again.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(moved)
}

/// Borrows the idle counter slots of the first `max_rows` rows that are not in slot 0. Also returns whether
/// it has borrowed all idle slots that have rows.
fn borrow_idle_slots(
    connection: &Connection,
    page_views: pg_sys::Oid,
    epoch: i64,
    max_rows: i32,
) -> Result<(Vec<i32>, bool), ErrorReport> {
    let max_rows = i64::from(max_rows);
    let most = most_idle_slots();
    let (mut idle, mut tried, mut found) = (Vec::new(), Vec::new(), 0);
    loop {
        let arguments = [epoch.into_datum(), max_rows.into_datum(), tried.clone().into_datum()];
        let slots = SLOTS.run(connection, SnapshotKind::Current, &arguments)?;
        let mut seen = 0;
        for row in 0..slots.len() {
            if idle.len() == most {
                return Ok((idle, false));
            }
            let slot = slots.integer(row, 1);
            seen += slots.bigint(row, 2);
            tried.push(slot);
            if slots::try_borrow(page_views, slot) {
                found += slots.bigint(row, 2);
                idle.push(slot);
            }
        }
        if seen < max_rows {
            return Ok((idle, true));
        }
        if found >= max_rows {
            return Ok((idle, false));
        }
    }
}
