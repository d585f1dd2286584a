//! Whether all spans can be read, and the removal of texts that no page view in a span has any more.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};
use rustc_hash::FxHashSet;
use site_stats_visits::span::Span;

use crate::count::tally::SiteId;
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::span::table::Problem;
use crate::span::table::{self, Stored, Wanted};

/// The sites that have spans or texts, also those that are gone.
static SITES: Statement = Statement::new(
    "SELECT s.site_id FROM site_stats.spans AS s UNION SELECT t.site_id FROM site_stats.span_texts AS t",
    &[],
);

static REMOVE: Statement = Statement::new(
    "DELETE FROM site_stats.span_texts AS t
      WHERE t.site_id = $1 AND t.number NOT IN (SELECT u.number FROM pg_catalog.unnest($2) AS u (number))",
    &[pg_sys::INT2OID, pg_sys::INT4ARRAYOID],
);

fn sites(connection: &Connection) -> Result<impl Iterator<Item = SiteId>, ErrorReport> {
    let rows = SITES.run(connection, SnapshotKind::Statement, &[])?;
    Ok((0..rows.len()).map(move |row| rows.smallint(row, 1)))
}

/// Reads all spans. What is damaged is an error.
pub fn check(connection: &Connection) -> Result<(), Problem> {
    for site_id in sites(connection)? {
        let rows = table::of_site(connection, SnapshotKind::Statement, site_id, table::ALL_TIMES)?;
        for stored in Stored::all(&rows) {
            stored.read(Wanted::ALL)?;
            stored.hashes()?;
            stored.befores()?;
            stored.days()?;
            stored.pages()?;
            pgrx::check_for_interrupts!();
        }
    }
    Ok(())
}

/// Removes the texts that no page view in a span has: a visitor who was forgotten may have been the only one there. Numbers in
/// runs that are dead do not count. The caller is the only one that writes spans.
pub fn remove_texts(connection: &Connection) -> Result<(), Problem> {
    for site_id in sites(connection)? {
        let mut used: FxHashSet<u32> = FxHashSet::default();
        let rows = table::of_site(connection, SnapshotKind::Statement, site_id, table::ALL_TIMES)?;
        for stored in Stored::all(&rows) {
            let dead = stored.dead();
            let span = stored.read(Wanted { pages: true, kinds: true, ..Wanted::default() })?;
            let alive = span.merge(|run| dead.contains(run), &Span::default());
            used.extend(alive.pages.iter().chain(&alive.kinds));
            let earlier = alive.earlier.iter().flat_map(|earlier| [earlier.entry, earlier.last]);
            used.extend(earlier.flat_map(|moment| [moment.page, moment.kind]));
            pgrx::check_for_interrupts!();
        }
        let numbers: Vec<_> = used.iter().filter_map(|number| i32::try_from(*number).ok()).collect();
        REMOVE.run(connection, SnapshotKind::Current, &[Some(site_id.into()), numbers.into_datum()])?;
    }
    Ok(())
}
