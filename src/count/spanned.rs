//! Which page views are in spans, as writers need it, and the sessions that they make loose.
//!
//! Invariant: a change of page views that is committed and that a span does not know of is one of a loose session, or of page views
//! above the cursor that are later than all in spans. So a writer notes the session of each row that is not above the target, or not
//! later than the announcement of the target.
//!
//! A new target is announced, and then all writers that may not have heard of it are waited for, before a page view is put into a
//! span. So a process remembers the target until a change is announced. A page view as it comes in is above the target and later,
//! and costs two comparisons.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CStr;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};

use crate::count::page_view::PageView;
use crate::count::tally::{SiteId, TextKey};
use crate::pg::spi::{self, Connection, SnapshotKind, Statement};
use crate::pg::{catalog, datum, scan, transaction};

const STATE: &CStr = c"span_state";

/// Columns of `span_state`, counted from 0.
const TARGET: usize = 3;
const ANNOUNCED_AT: usize = 4;

/// How many sessions are held before they are written.
const FULL: usize = 10_000;

static NOTE: Statement = Statement::new(
    "INSERT INTO site_stats.loose_sessions (site_id, session_id)
      SELECT u.site_id, u.session_id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (site_id, session_id)",
    &[pg_sys::INT2ARRAYOID, pg_sys::TEXTARRAYOID],
);

static RESET: [Statement; 4] = [
    Statement::new(
        "UPDATE site_stats.span_state AS s SET
              cursor = 0,
              latest = '-infinity',
              target = 0,
              announced_at = '-infinity',
              is_settled = true,
              visit_timeout = NULL,
              format = NULL",
        &[],
    ),
    Statement::new("DELETE FROM site_stats.spans", &[]),
    Statement::new("DELETE FROM site_stats.loose_sessions", &[]),
    Statement::new("DELETE FROM site_stats.span_texts", &[]),
];

/// What is announced to writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Announced {
    state: pg_sys::Oid,
    target: i64,
    /// As PostgreSQL stores a `timestamptz`.
    at: i64,
}

thread_local! {
    static ANNOUNCED: Cell<Option<Announced>> = const { Cell::new(None) };
}

/// Forgets what was announced if the state has changed. For `catalog::watch`.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    if ANNOUNCED.get().is_some_and(|announced| is_changed(announced.state)) {
        ANNOUNCED.set(None);
    }
}

/// Announces a change of the state: to every process when this transaction commits.
pub fn announce() -> Result<(), ErrorReport> {
    catalog::announce_change(catalog::table(STATE)?);
    Ok(())
}

/// The sessions that one statement makes loose.
pub struct Loosened {
    /// `None` where version 0.2.0 has no spans.
    announced: Option<Announced>,
    sessions: HashSet<(SiteId, TextKey)>,
}

impl Loosened {
    /// For a statement that writes `page_views`, and so holds its lock.
    pub fn new() -> Result<Self, ErrorReport> {
        Ok(Loosened { announced: announced()?, sessions: HashSet::new() })
    }

    /// Notes the session of a page view that is added, changed or taken away, if a span can know of it.
    pub fn see(&mut self, view: &PageView) {
        if self
            .announced
            .is_some_and(|announced| view.id <= announced.target || view.viewed_at <= announced.at)
        {
            self.sessions.insert((view.site_id, view.session_id.into()));
        }
    }

    /// Whether there are so many that they should be written.
    pub fn is_full(&self) -> bool {
        self.sessions.len() >= FULL
    }

    /// Writes those that were noted.
    pub fn write(&mut self) -> Result<(), ErrorReport> {
        if self.sessions.is_empty() {
            return Ok(());
        }
        let sessions: Vec<_> = self.sessions.drain().collect();
        spi::connect_as_owner(catalog::table(c"loose_sessions")?, |connection| {
            note(connection, sessions.iter().map(|(site_id, session_id)| (*site_id, &**session_id)))
        })
    }
}

/// Makes sessions loose.
pub fn note<'s>(
    connection: &Connection,
    sessions: impl Iterator<Item = (SiteId, &'s [u8])>,
) -> Result<(), ErrorReport> {
    NOTE.run(connection, SnapshotKind::Current, &arrays(sessions)).map(|_| ())
}

/// Texts of sites, such as sessions, as a `smallint[]` and a `text[]`.
pub fn arrays<'t>(texts: impl Iterator<Item = (SiteId, &'t [u8])>) -> [Option<pg_sys::Datum>; 2] {
    let (site_ids, texts): (Vec<_>, Vec<_>) =
        texts.map(|(site_id, text)| (site_id, datum::text(text))).unzip();
    [site_ids.into_datum(), Some(datum::text_array(&texts))]
}

/// Empties the spans: they are to be made anew. The caller keeps writers of page views out, or is the only one that writes spans.
pub fn reset(connection: &Connection) -> Result<(), ErrorReport> {
    transaction::as_owner(catalog::table(STATE)?, || {
        RESET
            .iter()
            .try_for_each(|statement| statement.run(connection, SnapshotKind::Current, &[]).map(|_| ()))
    })?;
    announce()
}

/// The same, where version 0.2.0 may have no spans.
pub fn reset_if_installed(connection: &Connection) -> Result<(), ErrorReport> {
    if catalog::table(STATE).is_ok() { reset(connection) } else { Ok(()) }
}

/// What is announced, as committed now, with this transaction's own changes.
fn announced() -> Result<Option<Announced>, ErrorReport> {
    if ANNOUNCED.get().is_some() {
        return Ok(ANNOUNCED.get());
    }
    let Ok(state) = catalog::table(STATE) else { return Ok(None) };
    let changes = catalog::changes();
    // SAFETY: `GetLatestSnapshot` needs an open transaction; a statement runs in one.
    let announced = scan::show_first(state, unsafe { pg_sys::GetLatestSnapshot() }, |row| {
        let number =
            |n: usize| row.and_then(|row| row.get(n).copied().flatten()).map(|value| value.value() as i64);
        // Without the row nothing is known, and every session is made loose.
        Ok(Announced {
            state,
            target: number(TARGET).unwrap_or(i64::MAX),
            at: number(ANNOUNCED_AT).unwrap_or(i64::MAX),
        })
    })?;
    if catalog::changes() == changes {
        ANNOUNCED.set(Some(announced));
    }
    Ok(Some(announced))
}
