//! Retention: old page views are removed in pieces, for as long as they are wanted and no longer.
//!
//! Invariant: a call waits for no row. It takes rows that no other transaction is writing, so several calls at once share the work,
//! and a writer waits at most for one piece. The counts follow in the same transaction, by the triggers.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::backfill::requests;
use crate::error;
use crate::pg::fmgr;
use crate::pg::spi::{self, SnapshotKind, Statement};
use crate::pg::transaction::{self, ALL_ROWS, NO_BITMAPSCAN, NO_SEQSCAN};

/// The sites with a page view before a time, that with the oldest one first. Two looks into an index for each site.
static SITES: Statement = Statement::new(
    "WITH RECURSIVE site AS (
          SELECT (SELECT pg_catalog.min(v.site_id) FROM ONLY site_stats.page_views AS v) AS id
          UNION ALL
          SELECT (SELECT pg_catalog.min(v.site_id) FROM ONLY site_stats.page_views AS v WHERE v.site_id > s.id)
          FROM site AS s
          WHERE s.id IS NOT NULL
      )
      SELECT s.id
      FROM site AS s
      CROSS JOIN LATERAL (
          SELECT v.viewed_at
          FROM ONLY site_stats.page_views AS v
          WHERE v.site_id = s.id
          ORDER BY v.viewed_at
          LIMIT 1
      ) AS o
      WHERE o.viewed_at < $1
      ORDER BY o.viewed_at, s.id",
    &[pg_sys::TIMESTAMPTZOID],
);

/// Removes at most `$3` page views of a site, the oldest first.
static REMOVE: Statement = Statement::new(
    "DELETE FROM ONLY site_stats.page_views AS v
      WHERE v.ctid = ANY (ARRAY(
          SELECT o.ctid
          FROM ONLY site_stats.page_views AS o
          WHERE o.site_id = $1 AND o.viewed_at < $2
          ORDER BY o.viewed_at
          LIMIT $3
          FOR UPDATE SKIP LOCKED
      ))",
    &[pg_sys::INT2OID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID],
);

fmgr::sql_function!(remove_page_views_wrapper, pg_finfo_remove_page_views_wrapper, remove_page_views);

/// Removes at most `max_rows` page views that were viewed before a time: those of the site with the oldest one first, and of each
/// site the oldest first. Returns how many; 0 when none is left but those that other transactions are writing.
///
/// # Errors
/// - 22004: NULL
/// - 22023: a time that is infinite, a negative `max_rows`
/// - 25006: in a read-only transaction or on a standby
/// - 40001: in REPEATABLE READ or SERIALIZABLE, as for any DELETE of page views
fn remove_page_views(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    error::require_writable(c"site_stats.remove_page_views()");
    // SAFETY: the install script declares a time and an integer.
    let (before, max_rows) = unsafe { (fmgr::argument(call, 0), fmgr::argument(call, 1)) };
    let hint = "Pass the time from which page views are kept, such as now() - interval '2 years'.";
    let before = before.ok_or_else(|| error::null_argument("before", hint))?;
    if [i64::MIN, i64::MAX].contains(&(before.value() as i64)) {
        return Err(error::infinite_argument("before", hint));
    }
    let max_rows = error::require_row_count("max_rows", max_rows.map(|rows| rows.value() as i32))?;
    requests::resume_if_due();
    // The page views come from the index on site and time, in its order. Any other plan reads and sorts all that are old.
    let removed =
        transaction::with_settings(&[ALL_ROWS, NO_SEQSCAN, NO_BITMAPSCAN], || remove(before, max_rows))?;
    Ok(removed.into())
}

fn remove(before: pg_sys::Datum, max_rows: i32) -> Result<i64, ErrorReport> {
    let max_rows = i64::from(max_rows);
    spi::connect(|connection| {
        let sites = SITES.run(connection, SnapshotKind::Latest, &[Some(before)])?;
        let mut removed = 0;
        for site in 0..sites.len() {
            if removed == max_rows {
                break;
            }
            let arguments = [sites.get(site, 1), Some(before), Some((max_rows - removed).into())];
            let rows = REMOVE.run(connection, SnapshotKind::Latest, &arguments)?.len();
            removed += i64::try_from(rows).unwrap_or(i64::MAX);
        }
        Ok(removed)
    })
}
