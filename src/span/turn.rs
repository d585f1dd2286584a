//! Turns: each puts some page views into spans, or does a part of what is left to do, in one transaction. A turn that is killed has
//! done nothing.
//!
//! A target is announced to writers in a turn of its own. The next turn waits until all writers have ended that may not have heard
//! of it; nobody waits for a turn. From then on whoever changes a page view up to the target makes its session loose. So what a turn
//! sees in one snapshot is all there is, but for sessions that are or become loose.

use std::collections::{BTreeMap, HashMap, HashSet};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use site_stats_visits::columns::FORMAT;

use crate::backfill::step;
use crate::count::spanned;
use crate::count::tally::{SiteId, TextKey};
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::pg::transaction::{self, Failure};
use crate::pg::{datum, snapshot};
use crate::settings;
use crate::span::batch::{Batch, Session, views};
use crate::span::hashed::{self, Hashed};
use crate::span::state::{self, State};
use crate::span::sweep;
use crate::span::table::{self, Problem, Stored, Wanted};

/// The most page views of a turn, and of a span to which more are added.
const MOST_VIEWS: i64 = 65_536;

/// The most loose sessions of a turn.
const MOST_SESSIONS: i64 = 2_000;

/// The most turns in a row.
const MOST_TURNS: u32 = 10_000;

/// The row is there, unless somebody has deleted it.
static ADOPT: Statement = Statement::new(
    "INSERT INTO site_stats.span_state AS s (visit_timeout, format) VALUES ($1, $2)
      ON CONFLICT (singleton) DO UPDATE SET visit_timeout = EXCLUDED.visit_timeout, format = EXCLUDED.format",
    &[pg_sys::INT4OID, pg_sys::INT2OID],
);

static ANNOUNCE: Statement = Statement::new(
    "UPDATE site_stats.span_state AS s SET
          target = v.id,
          announced_at = pg_catalog.clock_timestamp(),
          is_settled = false
      FROM (SELECT v.id FROM ONLY site_stats.page_views AS v ORDER BY v.id DESC LIMIT 1) AS v
      WHERE v.id > s.target",
    &[],
);

static SETTLE: Statement = Statement::new("UPDATE site_stats.span_state AS s SET is_settled = true", &[]);

static ADVANCE: Statement = Statement::new(
    "UPDATE site_stats.span_state AS s SET cursor = $1, latest = GREATEST(s.latest, $2)",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

static NEXT_VIEWS: Statement = Statement::new(
    views!(
        "ONLY site_stats.page_views AS v
          WHERE v.id > $1 AND v.id <= $2
          ORDER BY v.id
          LIMIT $3"
    ),
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID],
);

/// Whether a subscription writes the spans: they are those of its publisher, and other ones would be in its way.
static IS_SUBSCRIBED: Statement = Statement::new(
    "SELECT EXISTS (
          SELECT FROM pg_catalog.pg_subscription_rel AS r WHERE r.srrelid = 'site_stats.spans'::pg_catalog.regclass
      )",
    &[],
);

/// Those of some sessions that are loose.
static ARE_LOOSE: Statement = Statement::new(
    "SELECT f.site_id, f.session_id
      FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS f (site_id, session_id)
      WHERE (f.site_id, f.session_id) IN (SELECT l.site_id, l.session_id FROM site_stats.loose_sessions AS l)",
    &[pg_sys::INT2ARRAYOID, pg_sys::TEXTARRAYOID],
);

/// Loose sessions, and the places of their rows.
static LOOSE: Statement = Statement::new(
    "SELECT l.site_id, l.session_id, l.ctid::text
      FROM site_stats.loose_sessions AS l
      WHERE l.ctid > $1::text::tid
      ORDER BY l.ctid
      LIMIT $2",
    &[pg_sys::TEXTOID, pg_sys::INT8OID],
);

static TIGHTEN: Statement = Statement::new(
    "DELETE FROM site_stats.loose_sessions AS l WHERE l.ctid = ANY ($1::text[]::tid[])",
    &[pg_sys::TEXTARRAYOID],
);

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has emptied the spans, which were made by another version or with another setting, or were damaged.
    Emptied,
    /// A target is announced.
    Announced,
    /// Page views were put into spans.
    Wrote,
    /// Loose sessions were put into spans anew.
    Tightened,
    /// Nothing is left to do.
    Idle,
    /// Another process is at it.
    Busy,
}

/// Where turns go on.
#[derive(Default)]
pub struct Progress {
    /// The place of the last loose session that was looked at.
    loose: Option<String>,
    has_announced: bool,
    /// Whether all spans are to be read first: one of them may be damaged.
    checks: bool,
    /// Whether a text may be left that no page view has.
    has_buried: bool,
}

impl Progress {
    /// For turns that first read all spans, and make them anew if one is damaged.
    pub fn with_check() -> Self {
        Progress { checks: true, ..Progress::default() }
    }
}

/// Takes turns until nothing is left to do. `take` runs a turn in a transaction of its own, and `goes_on` says whether there is
/// time for another one.
pub fn drive(
    mut progress: Progress,
    mut take: impl FnMut(&mut Progress) -> Result<Turn, Failure>,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Turn, Failure> {
    let mut last = Turn::Idle;
    for _ in 0..MOST_TURNS {
        if !goes_on() {
            break;
        }
        last = take(&mut progress)?;
        if matches!(last, Turn::Idle | Turn::Busy) {
            break;
        }
    }
    Ok(last)
}

/// Takes a turn in the open transaction, under the conditions of a step of a backfill.
pub fn take(page_views: pg_sys::Oid, progress: &mut Progress) -> Result<Turn, ErrorReport> {
    step::in_backfill_context(page_views, |connection| take_here(connection, page_views, progress))
}

/// The same as the owner of `page_views`.
fn take_here(
    connection: &Connection,
    page_views: pg_sys::Oid,
    progress: &mut Progress,
) -> Result<Turn, ErrorReport> {
    // This lock keeps a TRUNCATE away until the end of the turn.
    transaction::lock_for_reading(page_views);
    if !Lock::new(Class::Spans, page_views, 0).try_acquire(Mode::Exclusive) {
        return Ok(Turn::Busy);
    }
    if IS_SUBSCRIBED.run(connection, SnapshotKind::Current, &[])?.boolean(0, 1) {
        return Ok(Turn::Idle);
    }
    let state = state::locked(connection)?;
    if !state.is_current {
        empty(connection)?;
        return Ok(Turn::Emptied);
    }
    if std::mem::take(&mut progress.checks) {
        let checked = snapshot::with_latest_active(|| sweep::check(connection));
        if or_empty(connection, checked)?.is_none() {
            return Ok(Turn::Emptied);
        }
    }
    if state.cursor < state.target {
        if !state.is_settled {
            transaction::wait_for_writers(page_views);
            SETTLE.run(connection, SnapshotKind::Current, &[])?;
        }
        // A session may be loose because of views that were above the cursor.
        progress.loose = None;
        return snapshot::with_latest_active(|| write_next(connection, state));
    }
    if let Some(turn) = snapshot::with_latest_active(|| tighten(connection, state, progress))? {
        return Ok(turn);
    }
    if !progress.has_announced {
        progress.has_announced = true;
        if !ANNOUNCE.run(connection, SnapshotKind::Current, &[])?.is_empty() {
            spanned::announce()?;
            return Ok(Turn::Announced);
        }
    }
    if std::mem::take(&mut progress.has_buried) {
        let removed = snapshot::with_latest_active(|| sweep::remove_texts(connection));
        if or_empty(connection, removed)?.is_none() {
            return Ok(Turn::Emptied);
        }
    }
    Ok(Turn::Idle)
}

/// What was done with spans. If one of them cannot be read, all are emptied, and the result is `None`.
pub fn or_empty<R>(connection: &Connection, done: Result<R, Problem>) -> Result<Option<R>, ErrorReport> {
    match done {
        Ok(result) => Ok(Some(result)),
        Err(Problem::Error(report)) => Err(report),
        Err(Problem::Damaged(_) | Problem::Unfit) => empty(connection).map(|()| None),
    }
}

/// Empties the spans, to be made anew in the format of this library.
fn empty(connection: &Connection) -> Result<(), ErrorReport> {
    spanned::reset(connection)?;
    let arguments = [settings::visit_timeout().into(), FORMAT.into()].map(Some);
    ADOPT.run(connection, SnapshotKind::Current, &arguments).map(|_| ())
}

/// Puts the next page views into spans.
fn write_next(connection: &Connection, state: State) -> Result<Turn, ErrorReport> {
    let range = [state.cursor, state.target, MOST_VIEWS].map(|number| Some(number.into()));
    let rows = NEXT_VIEWS.run(connection, SnapshotKind::Statement, &range)?;
    let last = rows.len().checked_sub(1).map(|last| rows.bigint(last, 1));
    let cursor = match last {
        Some(last) if rows.len() as i64 == MOST_VIEWS => last,
        _ => state.target,
    };
    let mut batch = Batch::default();
    batch.take(&rows);

    let rows = ARE_LOOSE.run(connection, SnapshotKind::Statement, &batch.sessions().arrays())?;
    let loose: HashSet<Session> =
        (0..rows.len()).filter_map(|row| Some((rows.smallint(row, 1), rows.text(row, 2)?.into()))).collect();
    // A view from the future cannot be in a span: others would come before it.
    batch.leave_out(|session, _, time| time > state.announced_at || loose.contains(session));
    if !batch.look_back(connection, state.cursor, state.latest)? {
        return Ok(Turn::Idle); // the owner has dropped the index
    }
    let new = batch.left_out().filter(|session| !loose.contains(*session));
    spanned::note(connection, new.map(|(site_id, session_id)| (*site_id, &**session_id)))?;

    let latest = batch.latest();
    let written = write(connection, batch);
    if or_empty(connection, written)?.is_none() {
        return Ok(Turn::Emptied);
    }
    let arguments = [Some(cursor.into()), latest.map(pg_sys::Datum::from)];
    ADVANCE.run(connection, SnapshotKind::Current, &arguments)?;
    Ok(Turn::Wrote)
}

/// Writes spans. A small one becomes part of the site's last one.
fn write(connection: &Connection, batch: Batch) -> Result<(), Problem> {
    let numbers = batch.texts().numbers_for_good(connection)?;
    for (site_id, span) in batch.into_spans(&numbers) {
        let rows = table::last(connection, site_id)?;
        let whole = match Stored::all(&rows).next() {
            Some(stored) if stored.views() + span.len() as i64 <= MOST_VIEWS => {
                let dead = stored.dead();
                let whole = stored.read(Wanted::ALL)?.merge(|run| dead.contains(run), &span);
                table::delete(connection, stored.id())?;
                whole
            }
            _ => span,
        };
        table::insert(connection, site_id, &whole)?;
    }
    Ok(())
}

/// Puts loose sessions into spans anew. `None` if there is none.
fn tighten(
    connection: &Connection,
    state: State,
    progress: &mut Progress,
) -> Result<Option<Turn>, ErrorReport> {
    let after = progress.loose.clone().unwrap_or_else(|| "(0,0)".to_owned());
    let arguments = [Some(datum::text(after.as_bytes())), Some(MOST_SESSIONS.into())];
    let rows = LOOSE.run(connection, SnapshotKind::Statement, &arguments)?;
    let mut places: HashMap<Session, Vec<String>> = HashMap::new();
    for row in 0..rows.len() {
        if let Some(session_id) = rows.text(row, 2) {
            let session = (rows.smallint(row, 1), TextKey::from(session_id));
            let place = rows.text_lossy(row, 3);
            progress.loose = Some(place.clone());
            places.entry(session).or_default().push(place);
        }
    }
    if places.is_empty() {
        return Ok(None);
    }
    let sessions = places.keys().map(|(site_id, session_id)| (*site_id, &**session_id));
    let mut batch = Batch::of_sessions(connection, sessions)?;
    batch.keep_up_to(state.cursor, state.announced_at);
    batch.left_out().for_each(|session| {
        places.remove(session);
    });

    let mut sites: BTreeMap<SiteId, Vec<&TextKey>> = BTreeMap::new();
    places.keys().for_each(|(site_id, session_id)| sites.entry(*site_id).or_default().push(session_id));
    let latest = batch.latest();
    // `erase` leaves an empty name where a session was.
    progress.has_buried |= places.keys().any(|(_, session_id)| session_id.is_empty());
    let written = sites
        .iter()
        .try_for_each(|(site_id, sessions)| {
            progress.has_buried |= bury(connection, *site_id, sessions)?;
            Ok(())
        })
        .and_then(|()| write(connection, batch));
    if or_empty(connection, written)?.is_none() {
        return Ok(Some(Turn::Emptied));
    }
    let gone: Vec<_> = places.values().flatten().map(|place| datum::text(place.as_bytes())).collect();
    TIGHTEN.run(connection, SnapshotKind::Current, &[Some(datum::text_array(&gone))])?;
    let arguments = [Some(state.cursor.into()), latest.map(pg_sys::Datum::from)];
    ADVANCE.run(connection, SnapshotKind::Current, &arguments)?;
    Ok(Some(Turn::Tightened))
}

/// Declares the runs of sessions dead. Of a span that is more dead than alive the other sessions become loose, so that it goes.
/// Returns whether there was one.
fn bury(connection: &Connection, site_id: SiteId, sessions: &[&TextKey]) -> Result<bool, Problem> {
    let mut has_buried = false;
    let hashed = Hashed::new(sessions.iter().copied());
    let rows = table::of_site(connection, SnapshotKind::Current, site_id, table::ALL_TIMES)?;
    for stored in Stored::all(&rows) {
        let mut dead = stored.dead();
        let before = dead.count();
        hashed.mark_dead(connection, &stored, SnapshotKind::Statement, &mut dead)?;
        let (runs, now) = (stored.runs(), dead.count());
        has_buried |= now > before;
        if now >= runs {
            table::delete(connection, stored.id())?;
            continue;
        }
        if now == before {
            continue;
        }
        table::bury(connection, stored.id(), &dead)?;
        if now > runs / 2 && before <= runs / 2 {
            let runs = stored.read(Wanted::default())?.runs;
            let alive = runs.iter().enumerate().filter(|(number, _)| !dead.contains(*number));
            let firsts = alive.map(|(_, run)| run.session as i64).collect();
            let sessions = hashed::sessions_of(connection, SnapshotKind::Statement, firsts)?;
            spanned::note(connection, sessions.iter().flatten().map(|session| (site_id, &**session)))?;
        }
    }
    Ok(has_buried)
}
