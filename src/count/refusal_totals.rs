//! Counters of page views that were refused: a row of `refusal_totals` for each site, UTC day, reason and counter slot.
//!
//! Invariant: only the transaction that has borrowed a counter slot writes its rows, and it holds the lock of a writer of
//! `page_views`. So no writer waits here, and nobody writes a row of a site that is being deleted. A count that rolls back is none:
//! the row is written at once, in the caller's subtransaction.
//!
//! The table has at most as many rows for a day, site and reason as there are counter slots, until `fold` adds them up.

use std::collections::BTreeMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};

use crate::count::tally::SiteId;
use crate::count::{slots, tables};
use crate::pg::datum::{self, Column};
use crate::pg::heap_table::{ColumnChange, KeyValue, Table};
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::pg::{catalog, snapshot};

const REFUSALS: Column = 5;

/// Refusals by site, day and reason. A day is that of `date`: days since 2000-01-01.
pub type Refusals = BTreeMap<(SiteId, i32, Box<[u8]>), i64>;

/// The slots other than 0 that have rows.
static SLOTS: Statement = Statement::new(
    "SELECT DISTINCT t.slot FROM site_stats.refusal_totals AS t WHERE t.slot > 0 ORDER BY t.slot DESC",
    &[],
);

/// Deletes at most `$2` rows of the slots `$1`, and returns their sums, each with the number of its rows. This transaction has
/// borrowed the slots, so no other one writes the rows.
static TAKE: Statement = Statement::new(
    "WITH taken AS (
          DELETE FROM site_stats.refusal_totals AS t
          WHERE t.ctid = ANY (ARRAY(
              SELECT o.ctid
              FROM site_stats.refusal_totals AS o
              WHERE o.slot > 0 AND o.slot = ANY ($1)
              LIMIT $2
          ))
          RETURNING t.site_id, t.day, t.reason, t.refusals
      )
      SELECT t.site_id, t.day, t.reason, pg_catalog.sum(t.refusals)::bigint, pg_catalog.count(*)
      FROM taken AS t
      GROUP BY t.site_id, t.day, t.reason",
    &[pg_sys::INT4ARRAYOID, pg_sys::INT8OID],
);

/// Adds refusals to a counter slot that this transaction has borrowed. The next command sees the writes.
pub fn add(slot: i32, refusals: &Refusals) -> Result<(), ErrorReport> {
    let mut table = Table::open(&tables::REFUSAL_TOTALS)?;
    for ((site_id, day, reason), count) in refusals {
        let key = [
            KeyValue::Smallint(*site_id),
            KeyValue::Day(*day),
            KeyValue::Text(reason),
            KeyValue::Integer(slot),
        ];
        table.write(&key, None, |table, found| {
            if found {
                let sum = table.bigint(REFUSALS) + count;
                return Ok(table.update(&[(REFUSALS, ColumnChange::Value(sum.into()))])?.then_some(()));
            }
            // Folded since this transaction's snapshot: its own reads would see both the old row and the new one.
            if table.is_still_seen(&key) {
                snapshot::note_newer_than_snapshot();
            }
            let row = [(*site_id).into(), (*day).into(), datum::text(reason), slot.into(), (*count).into()];
            table.insert(&row).map(Some)
        })?;
    }
    table.close();
    // SAFETY: the transaction that has written is open. Without a new command it could not write the same rows again.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(())
}

/// Moves at most `max_rows` rows of idle counter slots into slot 0, which this transaction has borrowed, and borrows at most `most`
/// of them for that. Returns how many rows it took.
pub fn fold(
    connection: &Connection,
    page_views: pg_sys::Oid,
    most: usize,
    max_rows: i32,
) -> Result<i64, ErrorReport> {
    if catalog::table(tables::REFUSAL_TOTALS.name).is_err() {
        return Ok(0); // version 0.2.0 counts no refusals
    }
    let found = SLOTS.run(connection, SnapshotKind::Current, &[])?;
    let slots = (0..found.len()).map(|row| found.integer(row, 1));
    let idle: Vec<_> = slots.filter(|slot| slots::try_borrow(page_views, *slot)).take(most).collect();
    if idle.is_empty() {
        return Ok(0);
    }
    let arguments = [idle.into_datum(), i64::from(max_rows).into_datum()];
    let taken = TAKE.run(connection, SnapshotKind::Current, &arguments)?;
    let (mut refusals, mut rows) = (Refusals::new(), 0);
    for row in 0..taken.len() {
        if let (Some(day), Some(reason)) = (taken.get(row, 2), taken.text(row, 3)) {
            refusals
                .insert((taken.smallint(row, 1), day.value() as i32, reason.into()), taken.bigint(row, 4));
            rows += taken.bigint(row, 5);
        }
    }
    add(0, &refusals)?;
    Ok(rows)
}
