//! Forgetting a visitor: all that the tables hold of one session of a site is deleted.
//!
//! Invariant: once `forget_session()` is committed, no row is left that only this visitor made: no page view, heartbeat or row of
//! the session set, and no row of `origins` or `clients` that no other page view refers to. A page view that is not committed when
//! its session is deleted comes after.
//!
//! Whether another page view refers to an origin can be told for good only while nobody writes page views: one that refers to it may
//! not be committed, and a process may remember the origin and be about to use it. So one visitor is forgotten at a time. If no
//! other page view refers to an origin or a client of the visitor, the call first waits for open writers, as the beginning of a
//! backfill does, and keeps new ones out until it is committed. The page views of most visitors share both with others, and then
//! no writer waits. The deletion is announced: a process that remembers rows of `origins` or `clients` must forget them at a change
//! of the table, and must have locked `page_views` as a writer before it looks one up.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};

use crate::backfill::requests;
use crate::count::page_view::Session;
use crate::count::{sites, state};
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{self, Connection, SnapshotKind, Statement};
use crate::pg::transaction::{self, ALL_ROWS};
use crate::pg::{catalog, datum, fmgr};
use crate::record::arguments::{SESSION_ID, required};
use crate::{error, settings};

/// The ids of a session's page views, in order, and whether one of these refers to an origin or a client as no other session does.
/// Few or many page views may refer to a row, and the planner cannot know. So another one is looked for by the index on the column,
/// row by row.
static FIND_VIEWS: Statement = Statement::new(
    "WITH theirs AS MATERIALIZED (
          SELECT v.id, v.origin_id, v.client_id
          FROM ONLY site_stats.page_views AS v
          WHERE v.session_id COLLATE \"C\" = $1 AND v.site_id = $2
      )
      SELECT
          (SELECT pg_catalog.array_agg(t.id ORDER BY t.id) FROM theirs AS t),
          EXISTS (
              SELECT
              FROM (SELECT DISTINCT t.origin_id FROM theirs AS t WHERE t.origin_id IS NOT NULL) AS t
              WHERE (
                  SELECT o.id
                  FROM ONLY site_stats.page_views AS o
                  WHERE o.origin_id = t.origin_id AND (o.session_id COLLATE \"C\" <> $1 OR o.site_id <> $2)
                  LIMIT 1
              ) IS NULL
          ) OR EXISTS (
              SELECT
              FROM (SELECT DISTINCT t.client_id FROM theirs AS t WHERE t.client_id IS NOT NULL) AS t
              WHERE (
                  SELECT o.id
                  FROM ONLY site_stats.page_views AS o
                  WHERE o.client_id = t.client_id AND (o.session_id COLLATE \"C\" <> $1 OR o.site_id <> $2)
                  LIMIT 1
              ) IS NULL
          )",
    &[pg_sys::TEXTOID, pg_sys::INT2OID],
);

/// Deletes those page views of a session that have these ids, locked in their order, as a writer of several rows should.
static REMOVE_THESE_VIEWS: Statement = Statement::new(
    "WITH theirs AS MATERIALIZED (
          SELECT v.id
          FROM ONLY site_stats.page_views AS v
          WHERE v.id = ANY ($3) AND v.session_id COLLATE \"C\" = $1 AND v.site_id = $2
          ORDER BY v.id
          FOR UPDATE
      )
      DELETE FROM ONLY site_stats.page_views AS v
      USING theirs AS t
      WHERE v.id = t.id",
    &[pg_sys::TEXTOID, pg_sys::INT2OID, pg_sys::INT8ARRAYOID],
);

static REMOVE_VIEWS: Statement = Statement::new(
    "DELETE FROM ONLY site_stats.page_views AS v
      WHERE v.session_id COLLATE \"C\" = $1 AND v.site_id = $2
      RETURNING v.origin_id, v.client_id",
    &[pg_sys::TEXTOID, pg_sys::INT2OID],
);

/// Deletes the rows of these ids that no page view refers to.
macro_rules! remove_unused {
    ($table:literal, $column:literal) => {
        Statement::new(
            concat!(
                "DELETE FROM site_stats.",
                $table,
                " AS d
                  WHERE d.id = ANY ($1)
                      AND (
                          SELECT o.id
                          FROM ONLY site_stats.page_views AS o
                          WHERE o.",
                $column,
                " = d.id
                          LIMIT 1
                      ) IS NULL"
            ),
            &[pg_sys::INT4ARRAYOID],
        )
    };
}

/// What page views refer to: the tables, in the order in which `REMOVE_VIEWS` returns their ids.
static REMOVE_UNUSED: [(&CStr, Statement); 2] = [
    (c"origins", remove_unused!("origins", "origin_id")),
    (c"clients", remove_unused!("clients", "client_id")),
];

static REMOVE_ACTIVE_SESSION: Statement = Statement::new(
    "DELETE FROM site_stats.active_sessions AS a WHERE a.session_id = $1 AND a.site_id = $2",
    &[pg_sys::TEXTOID, pg_sys::INT2OID],
);

/// A row of an older epoch, which no counter leads to. That of the current epoch leaves with the last counted page view.
static REMOVE_STALE_SESSION: Statement = Statement::new(
    "DELETE FROM site_stats.sessions AS k
      WHERE k.session_id = $1 AND k.site_id = $2 AND k.epoch < $3",
    &[pg_sys::TEXTOID, pg_sys::INT2OID, pg_sys::INT8OID],
);

/// The plans of these statements use the indexes, whatever the statistics say. A scan would be of all page views.
const BY_INDEX: (&CStr, &CStr) = (c"enable_seqscan", c"off");

/// How often a call tries to keep writers out, and how long it lets them pass in between.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

fmgr::sql_function!(forget_session_wrapper, pg_finfo_forget_session_wrapper, forget_session);

/// Erases a visitor of a site from every table, and returns how many page views went with the visitor. The old versions of the
/// rows leave the disk with the next VACUUM.
///
/// # Errors
/// - 22004: a NULL session id or site
/// - 22023: an empty session id; no such site
/// - 25006: in a read-only transaction or on a standby
/// - 40001: in REPEATABLE READ or SERIALIZABLE, as for any DELETE of page views
/// - 54000: a session id over 128 bytes
/// - 55P03: an origin or a client is to be deleted, and for twenty times `site_stats.backfill_lock_timeout` there was always a
///   writer that had not ended
fn forget_session(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    error::require_writable(c"site_stats.forget_session()");
    // SAFETY: the install script declares two texts.
    let [session_id, site] = [0, 1].map(|n| unsafe { fmgr::text_argument(call, n) });
    let session_id = required(&SESSION_ID, session_id)?;
    let site_id = sites::id_of(site)?;
    requests::resume_if_due();
    let views = transaction::with_settings(&[ALL_ROWS, BY_INDEX], || {
        spi::connect(|connection| forget(connection, (site_id, session_id)))
    })?;
    Ok(views.into())
}

/// Every statement sees what is committed when it begins, at any isolation level.
fn forget(connection: &Connection, (site_id, session_id): Session) -> Result<i64, ErrorReport> {
    let page_views = catalog::page_views()?;
    Lock::new(Class::Forget, page_views, 0).acquire(Mode::Exclusive);
    let (session_id, site_id) = (Some(datum::text(session_id)), Some(site_id.into()));
    let found = FIND_VIEWS.run(connection, SnapshotKind::Latest, &[session_id, site_id])?;
    let removed = match found.get(0, 1) {
        None => 0,
        Some(_) if found.boolean(0, 2) => {
            keep_writers_out(page_views)?;
            remove_with_own(connection, &[session_id, site_id])?
        }
        // A page view that has come since then comes after. It may refer to a row that no other one refers to.
        ids => {
            let arguments = [session_id, site_id, ids];
            count(REMOVE_THESE_VIEWS.run(connection, SnapshotKind::Latest, &arguments)?.len())
        }
    };
    REMOVE_ACTIVE_SESSION.run(connection, SnapshotKind::Latest, &[session_id, site_id])?;

    // The gate comes before rows of the session set: a batch may be about to write this one.
    state::hold(page_views)?;
    let epoch = Some(state::latest()?.epoch.into());
    REMOVE_STALE_SESSION.run(connection, SnapshotKind::Latest, &[session_id, site_id, epoch])?;
    Ok(removed)
}

/// Deletes the page views of a session, and what no other page view refers to then. No other transaction may be writing page views.
fn remove_with_own(connection: &Connection, session: &[Option<pg_sys::Datum>]) -> Result<i64, ErrorReport> {
    let removed = REMOVE_VIEWS.run(connection, SnapshotKind::Latest, session)?;
    for ((table, remove_unused), column) in REMOVE_UNUSED.iter().zip(1..) {
        let ids: BTreeSet<_> = (0..removed.len())
            .filter_map(|row| removed.get(row, column))
            .map(|id| id.value() as i32)
            .collect();
        let ids = ids.into_iter().collect::<Vec<_>>().into_datum();
        if !remove_unused.run(connection, SnapshotKind::Latest, &[ids])?.is_empty() {
            catalog::announce_change(catalog::table(table)?);
        }
    }
    Ok(count(removed.len()))
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Waits for open writers of page views, and keeps others out until this transaction ends. New ones wait behind this no longer than
/// behind the beginning of a backfill: it gives way, and tries again.
fn keep_writers_out(page_views: pg_sys::Oid) -> Result<(), ErrorReport> {
    let timeout = CString::new(settings::backfill_lock_timeout().as_millis().to_string()).unwrap_or_default();
    let timeout = [(c"lock_timeout", timeout.as_c_str())];
    let mut attempts = 0;
    loop {
        let attempt = transaction::in_subtransaction(|| {
            transaction::with_settings(&timeout, || {
                // SAFETY: the table exists; a call runs in a transaction, which keeps the lock.
                unsafe { pg_sys::LockRelationOid(page_views, pg_sys::ShareRowExclusiveLock as i32) };
                Ok(())
            })
        });
        attempts += 1;
        match attempt {
            Ok(()) => return Ok(()),
            Err(failure) if failure.is_contention() && attempts < ATTEMPTS => {}
            Err(failure) => failure.raise(),
        }
        std::thread::sleep(PAUSE);
        pgrx::check_for_interrupts!();
    }
}
