//! Forgetting a visitor: all that the tables hold of one session of a site is deleted.
//!
//! Invariant: once `forget_session()` is committed, no row is left that only this visitor made: no page view, heartbeat or row of
//! the session set, and no row of `origins` or `clients` that no other page view refers to. A page view that is not committed when
//! its session is deleted comes after.
//!
//! Whether another page view refers to an origin is told by a scan that stops at the first one: no index would be worth what it
//! costs each page view. Most visitors share all origins and clients with others, and then no writer waits.
//!
//! That nobody refers to one can be told for good only while nobody writes page views: one that refers to it may not be committed,
//! and a process may remember the origin and be about to use it. So one visitor is forgotten at a time. If no other page view
//! refers to an origin or a client of the visitor, the call then waits for open writers, as the beginning of a backfill does, and
//! keeps new ones out until it is committed. Without them it looks again, but not at all page views. A block of which the
//! visibility map says that all its rows are visible to everyone has none that the first scan did not see: VACUUM says so only of
//! rows that every snapshot shows, and the snapshot of that scan is held until then. Whatever was written since, by whatever
//! statement, is in the other blocks.
//!
//! The deletion is announced: a process that remembers rows of `origins` or `clients` must forget them at a change of the table,
//! and must have locked `page_views` as a writer before it looks one up.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};

use crate::backfill::requests;
use crate::count::page_view::Session;
use crate::count::{sites, state};
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{self, Connection, Rows, SnapshotKind, Statement};
use crate::pg::transaction::{self, ALL_ROWS, NO_SEQSCAN, NOT_COMPILED};
use crate::pg::{catalog, datum, fmgr, scan, snapshot};
use crate::record::arguments::{SESSION_ID, required};
use crate::span::erase;
use crate::{error, settings};

/// What is needed of a page view: its id, and the ids of its origin and its client.
type View = (i64, [Option<i32>; 2]);

/// The sum keeps the index by site out of the plan, which would lead to all views of the site.
static FIND_VIEWS: Statement = Statement::new(
    "SELECT v.id, v.origin_id, v.client_id
      FROM ONLY site_stats.page_views AS v
      WHERE v.session_id COLLATE \"C\" = $1 AND v.site_id + 0 = $2",
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
      WHERE v.session_id COLLATE \"C\" = $1 AND v.site_id + 0 = $2
      RETURNING v.id, v.origin_id, v.client_id",
    &[pg_sys::TEXTOID, pg_sys::INT2OID],
);

/// A table that page views refer to.
struct Dictionary {
    name: &'static CStr,
    /// Takes a session and ids, and returns those to which no page view of another session refers.
    find_unused: Statement,
    /// Deletes the rows of these ids to which no page view in these blocks refers. The blocks are given by the first one of each
    /// range, and by the one behind it.
    remove_unused: Statement,
}

macro_rules! dictionary {
    ($name:literal, $c_name:literal, $column:literal) => {
        Dictionary {
            name: $c_name,
            find_unused: Statement::new(
                concat!(
                    "SELECT t.id
                      FROM pg_catalog.unnest($3) AS t (id)
                      WHERE (
                          SELECT true
                          FROM ONLY site_stats.page_views AS v
                          WHERE v.",
                    $column,
                    " = t.id AND ROW (v.session_id COLLATE \"C\", v.site_id) IS DISTINCT FROM ROW ($1, $2)
                          LIMIT 1
                      ) IS NULL"
                ),
                &[pg_sys::TEXTOID, pg_sys::INT2OID, pg_sys::INT4ARRAYOID],
            ),
            remove_unused: Statement::new(
                concat!(
                    "DELETE FROM site_stats.",
                    $name,
                    " AS d
                      WHERE d.id = ANY ($1)
                          AND d.id NOT IN (
                              SELECT u.id
                              FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS b (first, beyond)
                              CROSS JOIN LATERAL (
                                  SELECT v.",
                    $column,
                    " AS id
                                  FROM ONLY site_stats.page_views AS v
                                  WHERE v.",
                    $column,
                    " = ANY ($1)
                                      AND v.ctid >= pg_catalog.format('(%s,0)', b.first)::pg_catalog.tid
                                      AND v.ctid < pg_catalog.format('(%s,0)', b.beyond)::pg_catalog.tid
                                  OFFSET 0
                              ) AS u
                          )"
                ),
                &[pg_sys::INT4ARRAYOID, pg_sys::INT8ARRAYOID, pg_sys::INT8ARRAYOID],
            ),
        }
    };
}

/// In the order of the ids in a `View`.
static DICTIONARIES: [Dictionary; 2] =
    [dictionary!("origins", c"origins", "origin_id"), dictionary!("clients", c"clients", "client_id")];

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
    // Rows are found by an index, or by their blocks. Only `find_unused` scans all page views, as it has no other way.
    let views = transaction::with_settings(&[ALL_ROWS, NO_SEQSCAN, NOT_COMPILED], || {
        spi::connect(|connection| forget(connection, (site_id, session_id)))
    })?;
    Ok(views.into())
}

/// Every statement sees what is committed when it begins, at any isolation level.
fn forget(connection: &Connection, (site_id, session_id): Session) -> Result<i64, ErrorReport> {
    let page_views = catalog::page_views()?;
    Lock::new(Class::Forget, page_views, 0).acquire(Mode::Exclusive);
    let has_spans = catalog::table(c"spans").is_ok();
    if has_spans {
        // Before writers are kept out: they would wait for a turn.
        erase::keep_turns_out(page_views);
    }
    let session = [Some(datum::text(session_id)), Some(site_id.into())];
    let removed = snapshot::with_latest(|snapshot| remove_views(connection, page_views, &session, snapshot))?;
    if has_spans {
        erase::erase(connection, site_id, session_id)?;
    }
    REMOVE_ACTIVE_SESSION.run(connection, SnapshotKind::Latest, &session)?;

    // The gate comes before rows of the session set: a batch may be about to write this one.
    state::hold(page_views)?;
    let epoch = Some(state::latest()?.epoch.into());
    let [session_id, site_id] = session;
    REMOVE_STALE_SESSION.run(connection, SnapshotKind::Latest, &[session_id, site_id, epoch])?;
    Ok(count(removed))
}

/// Deletes the page views of a session, and what no other page view refers to. Returns how many page views these were. The snapshot
/// must be held until this has returned.
fn remove_views(
    connection: &Connection,
    page_views: pg_sys::Oid,
    session: &[Option<pg_sys::Datum>; 2],
    snapshot: pg_sys::Snapshot,
) -> Result<usize, ErrorReport> {
    let [session_id, site_id] = *session;
    let found = views(&FIND_VIEWS.read(connection, snapshot, session)?);
    if found.is_empty() {
        return Ok(0);
    }
    let mut unused = ids(&found);
    for (dictionary, ids) in DICTIONARIES.iter().zip(&mut unused) {
        let arguments = [session_id, site_id, array(ids)];
        let rows = dictionary.find_unused.read(connection, snapshot, &arguments)?;
        *ids = (0..rows.len()).map(|row| rows.integer(row, 1)).collect();
    }
    if unused.iter().all(BTreeSet::is_empty) {
        // A page view that has come since then comes after. It may refer to a row that no other one refers to.
        let ids = found.iter().map(|(id, _)| *id).collect::<Vec<_>>().into_datum();
        let arguments = [session_id, site_id, ids];
        return Ok(REMOVE_THESE_VIEWS.run(connection, SnapshotKind::Latest, &arguments)?.len());
    }
    keep_writers_out(page_views)?;
    let removed = views(&REMOVE_VIEWS.run(connection, SnapshotKind::Latest, session)?);
    let mut blocks = scan::blocks_with_news(page_views);
    if removed != found {
        // The visitor is here, or somebody has changed these page views. What was found out is not about what went.
        (unused, blocks) = (ids(&removed), vec![(0, u32::MAX)]);
    }
    let (first, beyond): (Vec<_>, Vec<_>) =
        blocks.into_iter().map(|(first, beyond)| (i64::from(first), i64::from(beyond))).unzip();
    let (first, beyond) = (first.into_datum(), beyond.into_datum());
    for (dictionary, ids) in DICTIONARIES.iter().zip(&unused) {
        let arguments = [array(ids), first, beyond];
        if !dictionary.remove_unused.run(connection, SnapshotKind::Latest, &arguments)?.is_empty() {
            catalog::announce_change(catalog::table(dictionary.name)?);
        }
    }
    Ok(removed.len())
}

fn views(rows: &Rows) -> BTreeSet<View> {
    let reference = |row, column| rows.get(row, column).map(|id| id.value() as i32);
    (0..rows.len()).map(|row| (rows.bigint(row, 1), [2, 3].map(|column| reference(row, column)))).collect()
}

/// The ids of their origins and of their clients.
fn ids(views: &BTreeSet<View>) -> [BTreeSet<i32>; 2] {
    [0, 1].map(|n| views.iter().filter_map(|(_, references)| references[n]).collect())
}

fn array(ids: &BTreeSet<i32>) -> Option<pg_sys::Datum> {
    ids.iter().copied().collect::<Vec<_>>().into_datum()
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
                transaction::lock_against_writers(page_views);
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
