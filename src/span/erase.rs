//! Erasing a session from all spans, so that nothing of it is left in their rows.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use site_stats_visits::span::Span;

use crate::count::spanned;
use crate::count::tally::{SiteId, TextKey};
use crate::pg::datum;
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::span::hashed::Hashed;
use crate::span::table::{self, Dead, Problem, Stored, Wanted};
use crate::span::turn;

static TIGHTEN: Statement = Statement::new(
    "DELETE FROM site_stats.loose_sessions AS l WHERE l.site_id = $1 AND l.session_id = $2",
    &[pg_sys::INT2OID, pg_sys::TEXTOID],
);

static HAS_VIEWS: Statement = Statement::new(
    "SELECT EXISTS (
          SELECT
          FROM ONLY site_stats.page_views AS v
          WHERE v.session_id COLLATE \"C\" = $2 AND v.site_id + 0 = $1
      )",
    &[pg_sys::INT2OID, pg_sys::TEXTOID],
);

/// Waits for a turn that another process takes, and lets no other one begin until this transaction ends.
pub fn keep_turns_out(page_views: pg_sys::Oid) {
    Lock::new(Class::Spans, page_views, 0).acquire(Mode::Exclusive);
}

/// Erases a session, whose page views this transaction has deleted. The caller keeps turns out.
pub fn erase(connection: &Connection, site_id: SiteId, session_id: &[u8]) -> Result<(), ErrorReport> {
    let session_id = TextKey::from(session_id);
    let taken = take_out(connection, site_id, &session_id);
    if turn::or_empty(connection, taken)? == Some(true) {
        // Texts that only this session had go with the next turns, which an empty name among the loose sessions tells.
        spanned::note(connection, [(site_id, &b""[..])].into_iter())?;
    }
    let session = [Some(site_id.into()), Some(datum::text(&session_id))];
    TIGHTEN.run(connection, SnapshotKind::Latest, &session)?;
    // A page view that has come since then may have made the session loose.
    if HAS_VIEWS.run(connection, SnapshotKind::Latest, &session)?.boolean(0, 1) {
        spanned::note(connection, [(site_id, &*session_id)].into_iter())?;
    }
    Ok(())
}

/// Takes the runs of a session out of all spans, with those that are dead. Returns whether there was one.
fn take_out(connection: &Connection, site_id: SiteId, session_id: &TextKey) -> Result<bool, Problem> {
    let hashed = Hashed::new([session_id].into_iter());
    let mut has_taken = false;
    let rows = table::of_site(connection, SnapshotKind::Latest, site_id, table::ALL_TIMES)?;
    for stored in Stored::all(&rows) {
        let mut out = Dead::default();
        hashed.mark_dead(connection, &stored, SnapshotKind::Latest, &mut out)?;
        if out.count() > 0 {
            let dead = stored.dead();
            let rest = stored.read(Wanted::ALL)?;
            let rest = rest.merge(|run| out.contains(run) || dead.contains(run), &Span::default());
            table::replace(connection, stored.id(), site_id, &rest)?;
            has_taken = true;
        }
    }
    Ok(has_taken)
}
