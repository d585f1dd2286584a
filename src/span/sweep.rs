//! Whether all spans can be read, and the removal of texts that no page view in a span has any more.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};
use rustc_hash::FxHashSet;
use site_stats_visits::Damaged;
use site_stats_visits::span::Span;

use crate::count::tally::SiteId;
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::span::read::Problem;
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

/// Shows each span of each site, with the runs that are dead.
fn read_all(
    connection: &Connection,
    wanted: Wanted,
    mut show: impl FnMut(SiteId, Option<(&Stored, Span)>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let sites = SITES.run(connection, SnapshotKind::Statement, &[])?;
    for row in 0..sites.len() {
        let site_id = sites.smallint(row, 1);
        let (first, last) = table::ALL_TIMES;
        let arguments = [site_id.into(), first.into(), last.into()].map(Some);
        let rows = table::OF_SITE.run(connection, SnapshotKind::Statement, &arguments)?;
        for stored in Stored::all(&rows) {
            show(site_id, Some((&stored, stored.read(wanted)?)))?;
            pgrx::check_for_interrupts!();
        }
        show(site_id, None)?;
    }
    Ok(())
}

/// Reads all spans. What is damaged is an error.
pub fn check(connection: &Connection) -> Result<(), Problem> {
    read_all(connection, Wanted::ALL, |_, shown| {
        if let Some((stored, _)) = shown {
            stored.hashes()?;
            stored.befores()?;
            stored.days()?;
            stored.pages()?;
        }
        Ok(())
    })
}

/// Removes the texts that no page view in a span has: a visitor who was forgotten may have been the only one there. Numbers in
/// runs that are dead do not count. The caller is the only one that writes spans.
pub fn remove_texts(connection: &Connection) -> Result<(), Problem> {
    let mut used: FxHashSet<u32> = FxHashSet::default();
    read_all(connection, Wanted { pages: true, kinds: true, ..Wanted::default() }, |site_id, shown| {
        let Some((stored, span)) = shown else {
            let numbers: Vec<_> = used.drain().filter_map(|number| i32::try_from(number).ok()).collect();
            REMOVE.run(connection, SnapshotKind::Current, &[Some(site_id.into()), numbers.into_datum()])?;
            return Ok(());
        };
        let dead = stored.dead();
        let alive = span.merge(|run| dead.contains(run), &Span::default());
        used.extend(alive.pages.iter().chain(&alive.kinds));
        let earlier = alive.earlier.iter().flat_map(|earlier| [earlier.entry, earlier.last]);
        used.extend(earlier.flat_map(|moment| [moment.page, moment.kind]));
        Ok(())
    })
}

/// What damage means to a turn.
pub fn is_damaged(done: Result<(), Problem>) -> Result<bool, ErrorReport> {
    match done {
        Ok(()) => Ok(false),
        Err(Problem::Damaged(Damaged(_)) | Problem::Unfit) => Ok(true),
        Err(Problem::Error(report)) => Err(report),
    }
}
