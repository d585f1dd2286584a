//! Sessions as spans know them: by a hash of their id, and by their first page view.

use std::collections::HashMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};
use site_stats_visits::columns::hash_of;

use crate::count::tally::TextKey;
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::pg::transaction;
use crate::span::batch::BY_INDEX;
use crate::span::table::{self, Problem, Stored, Wanted};

/// The sessions of page views, in the order of their ids.
static SESSIONS_OF: Statement = Statement::new(
    "SELECT (SELECT v.session_id COLLATE \"C\" FROM ONLY site_stats.page_views AS v WHERE v.id = u.id)
      FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (id, place)
      ORDER BY u.place",
    &[pg_sys::INT8ARRAYOID],
);

/// Sessions by the hashes by which spans know them.
pub struct Hashed<'s>(HashMap<u32, Vec<&'s TextKey>>);

impl<'s> Hashed<'s> {
    pub fn new(sessions: impl Iterator<Item = &'s TextKey>) -> Self {
        let mut hashed: HashMap<u32, Vec<_>> = HashMap::new();
        sessions.for_each(|session| hashed.entry(hash_of(session)).or_default().push(session));
        Hashed(hashed)
    }

    /// Adds the runs of these sessions to the dead ones of a span. They must be all sessions with their hashes that are loose.
    ///
    /// Two sessions may have one hash. If the session of a run is not loose, its first view is as it was when the span was written,
    /// and tells.
    pub fn mark_dead(
        &self,
        connection: &Connection,
        stored: &Stored,
        see: SnapshotKind,
        dead: &mut table::Dead,
    ) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let hashes = stored.hashes()?;
        let is_suspect = |(run, hash): &(usize, &u32)| self.0.contains_key(hash) && !dead.contains(*run);
        let suspects: Vec<_> =
            hashes.iter().enumerate().filter(is_suspect).map(|(run, hash)| (run, *hash)).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        let runs = stored.read(Wanted::default())?.runs;
        let firsts = suspects.iter().map(|(run, _)| runs.get(*run).map_or(0, |run| run.session as i64));
        let alive = sessions_of(connection, see, firsts.collect())?;
        for ((run, hash), session) in suspects.into_iter().zip(alive) {
            let is_other = session.is_some_and(|session| {
                hash_of(&session) == hash && self.0.get(&hash).is_some_and(|loose| !loose.contains(&&session))
            });
            if !is_other {
                dead.insert(run);
            }
        }
        Ok(())
    }
}

/// The sessions of page views, in the order of their ids; `None` for one that is gone.
pub fn sessions_of(
    connection: &Connection,
    see: SnapshotKind,
    ids: Vec<i64>,
) -> Result<Vec<Option<TextKey>>, ErrorReport> {
    let rows =
        transaction::with_settings(&BY_INDEX, || SESSIONS_OF.run(connection, see, &[ids.into_datum()]))?;
    Ok((0..rows.len()).map(|row| rows.text(row, 1).map(TextKey::from)).collect())
}
