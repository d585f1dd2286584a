//! Page views as they come from `page_views`, and spans made of them.

use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, PgMemoryContexts, pg_sys};
use rustc_hash::{FxHashMap, FxHashSet};
use site_stats_visits::columns::hash_of;
use site_stats_visits::span::{Moment, Span, View, Visit};

use crate::count::page_view::{self, PageView};
use crate::count::session_scanner::{SessionScanner, Times};
use crate::count::spanned;
use crate::count::tally::{SiteId, TextKey};
use crate::pg::scan::Direction;
use crate::pg::spi::{Connection, Rows, SnapshotKind, Statement};
use crate::pg::time::{SECOND, unix, unix_seconds};
use crate::pg::transaction::{self, NO_BITMAPSCAN, NO_SEQSCAN, NOT_COMPILED};
use crate::settings;
use crate::span::texts::Texts;

/// A session of a site.
pub type Session = (SiteId, TextKey);

/// The columns of `page_views` that `Batch::take` reads. Only a row without NULL where a page view has a value is one; a page type
/// that was dropped and added again is empty, as the counters have it.
macro_rules! views {
    ($rest:literal) => {
        concat!(
            "SELECT
                v.id, v.site_id, v.session_id COLLATE \"C\", v.path COLLATE \"C\", COALESCE(v.page_type, ''), v.viewed_at,
                v.origin_id, v.client_id
              FROM ",
            $rest
        )
    };
}
pub(crate) use views;

/// The origins and clients of page views.
static ORIGINS: Statement = Statement::new(
    "SELECT v.id, v.origin_id, v.client_id FROM ONLY site_stats.page_views AS v WHERE v.id = ANY ($1)",
    &[pg_sys::INT8ARRAYOID],
);

/// The views of a session come from the index on session and time, in its order, whatever the statistics say.
pub const BY_INDEX: [(&CStr, &CStr); 3] = [NO_SEQSCAN, NO_BITMAPSCAN, NOT_COMPILED];

/// The views of sessions. The sum keeps the index by site out of the plan, which would lead to all views of the site.
static OF_SESSIONS: Statement = Statement::new(
    views!(
        "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS f (site_id, session_id)
          CROSS JOIN LATERAL (
              SELECT v.*
              FROM ONLY site_stats.page_views AS v
              WHERE v.session_id COLLATE \"C\" = f.session_id AND v.site_id + 0 = f.site_id AND v.viewed_at IS NOT NULL
              OFFSET 0
          ) AS v"
    ),
    &[pg_sys::INT2ARRAYOID, pg_sys::TEXTARRAYOID],
);

/// A page view. Session, page and kind are places.
#[derive(Clone, Copy, Debug)]
struct Row {
    session: u32,
    page: u32,
    kind: u32,
    origin: u32,
    client: u32,
    id: i64,
    /// As PostgreSQL stores a `timestamptz`.
    time: i64,
}

/// What a session has before its first view in a batch.
#[derive(Clone, Copy)]
struct Before {
    /// The id of the session's first view.
    session: i64,
    /// The time of its last view, in seconds since 1970.
    last: i64,
    /// The visit that the first view goes on with. Page and kind of its moments are places.
    visit: Option<Visit>,
}

impl Before {
    /// `entry` is the first view of the visit, if it goes on. Its origin and client are looked up later.
    fn new(session: i64, (last_time, last_id, last): Placed, entry: Option<Placed>) -> Self {
        let visit = entry.map(|(_, id, entry)| Visit {
            key: id as u64,
            origin: 0,
            client: 0,
            entry,
            last,
            last_time: unix(last_time),
            is_single: id == last_id,
        });
        Before { session, last: last.time, visit }
    }
}

/// Page views that become spans.
#[derive(Default)]
pub struct Batch {
    rows: Vec<Row>,
    sessions: Texts,
    texts: Texts,
    before: FxHashMap<u32, Before>,
    /// Sessions that are not to be in a span.
    left_out: FxHashSet<u32>,
}

/// The number of an origin or a client: 0 for none, and for what cannot be one.
fn number(rows: &Rows, row: usize, column: i32) -> u32 {
    u32::try_from(rows.integer(row, column)).unwrap_or(0)
}

impl Batch {
    /// All page views of sessions, as the calling statement sees them.
    pub fn of_sessions<'s>(
        connection: &Connection,
        sessions: impl Iterator<Item = (SiteId, &'s [u8])>,
    ) -> Result<Self, ErrorReport> {
        let mut batch = Batch::default();
        let sessions = spanned::arrays(sessions);
        let rows = transaction::with_settings(&BY_INDEX, || {
            OF_SESSIONS.run(connection, SnapshotKind::Statement, &sessions)
        })?;
        batch.take(&rows);
        Ok(batch)
    }

    /// Adds the rows of a statement that reads `views!`.
    pub fn take(&mut self, rows: &Rows) {
        (0..rows.len()).for_each(|row| self.take_row(rows, row));
    }

    /// Adds one of them, if it is a page view.
    pub fn take_row(&mut self, rows: &Rows, row: usize) {
        if let (Some(session_id), Some(path), Some(kind)) =
            (rows.text(row, 3), rows.text(row, 4), rows.text(row, 5))
        {
            let site_id = rows.smallint(row, 2);
            self.rows.push(Row {
                session: self.sessions.place(site_id, session_id),
                page: self.texts.place(site_id, path),
                kind: self.texts.place(site_id, kind),
                origin: number(rows, row, 7),
                client: number(rows, row, 8),
                id: rows.bigint(row, 1),
                time: rows.bigint(row, 6),
            });
        }
    }

    /// Whether a row is of the same session as the last one.
    pub fn has_last_session(&self, rows: &Rows, row: usize) -> bool {
        let last = self.rows.last().and_then(|last| self.sessions.get(last.session));
        last.is_some_and(|(_, session_id)| rows.text(row, 3) == Some(session_id))
    }

    /// How many page views there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Leaves out sessions with a view that meets a condition: by site, session, id and time.
    pub fn leave_out(&mut self, mut is_out: impl FnMut(&Session, i64, i64) -> bool) {
        for row in &self.rows {
            if let Some(session) = self.sessions.get(row.session)
                && is_out(session, row.id, row.time)
            {
                self.left_out.insert(row.session);
            }
        }
    }

    /// The sessions that are left out.
    pub fn left_out(&self) -> impl Iterator<Item = &Session> {
        self.left_out.iter().filter_map(|session| self.sessions.get(*session))
    }

    /// Keeps the views up to an id, and leaves out sessions that cannot be in spans for now: those with a view after `time`, or with
    /// one above the id that is not after the others.
    pub fn keep_up_to(&mut self, id: i64, time: i64) {
        let mut last: FxHashMap<u32, (i64, i64)> = FxHashMap::default();
        for row in self.rows.iter().filter(|row| row.id <= id) {
            let last = last.entry(row.session).or_insert((row.time, row.id));
            *last = (row.time, row.id).max(*last);
        }
        let is_early = |row: &Row| last.get(&row.session).is_some_and(|last| (row.time, row.id) < *last);
        let out = self.rows.iter().filter(|row| if row.id <= id { row.time > time } else { is_early(row) });
        self.left_out.extend(out.map(|row| row.session));
        self.rows.retain(|row| row.id <= id);
    }

    /// The latest time of a view whose session is not left out.
    pub fn latest(&self) -> Option<i64> {
        self.rows.iter().filter(|row| !self.left_out.contains(&row.session)).map(|row| row.time).max()
    }

    /// Looks up what the sessions have before, among the views up to an id, which are not later than `latest`. A session that has
    /// such a view after one of these is left out. False if no index leads to the views of a session.
    pub fn look_back(
        &mut self,
        connection: &Connection,
        up_to: i64,
        latest: i64,
    ) -> Result<bool, ErrorReport> {
        self.rows.sort_unstable_by_key(|row| (row.session, row.time, row.id));
        let mut firsts: Vec<Row> = self.rows.clone();
        firsts.dedup_by_key(|row| row.session);
        firsts.retain(|row| !self.left_out.contains(&row.session));
        // Neighbours in the index are on the same pages.
        firsts.sort_unstable_by_key(|row| self.sessions.get(row.session));
        if firsts.is_empty() {
            return Ok(true);
        }
        // SAFETY: reports and turns run with an active snapshot, which outlives this call.
        let Some(mut scanner) = (unsafe { SessionScanner::open(pg_sys::GetActiveSnapshot()) })? else {
            return Ok(false);
        };
        let mut scratch = PgMemoryContexts::new("site_stats look-up");
        let mut entries = Vec::new();
        for first in &firsts {
            let Some((site_id, session_id)) = self.sessions.get(first.session) else { continue };
            let session = (*site_id, &**session_id);
            let range = Range { up_to, latest, first: (first.time, first.id) };
            // SAFETY: what is found is copied out of the memory that is reset.
            let found = unsafe {
                let found = scratch.switch_to(|_| look_up(&mut scanner, session, range, &mut self.texts));
                scratch.reset();
                found?
            };
            match found {
                Found::OutOfOrder => {
                    self.left_out.insert(first.session);
                }
                Found::New => {}
                Found::Known(before) => {
                    entries.extend(before.visit.map(|visit| visit.key as i64));
                    self.before.insert(first.session, before);
                }
            }
        }
        scanner.close();
        if !entries.is_empty() {
            let rows = transaction::with_settings(&BY_INDEX, || {
                ORIGINS.run(connection, SnapshotKind::Statement, &[entries.into_datum()])
            })?;
            let places = 0..rows.len();
            let of: FxHashMap<_, _> = places
                .map(|row| (rows.bigint(row, 1) as u64, (number(&rows, row, 2), number(&rows, row, 3))))
                .collect();
            for visit in self.before.values_mut().filter_map(|before| before.visit.as_mut()) {
                (visit.origin, visit.client) = of.get(&visit.key).copied().unwrap_or_default();
            }
        }
        Ok(true)
    }

    /// The sessions of the page views.
    pub fn sessions(&self) -> &Texts {
        &self.sessions
    }

    /// The paths and page types of the page views.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// A span for each site, of the sessions that are not left out. `numbers` are those of the texts, by their places.
    pub fn into_spans(mut self, numbers: &[u32]) -> Vec<(SiteId, Span)> {
        let timeout = i64::from(settings::visit_timeout()) * SECOND;
        let number = |place: u32| numbers.get(place as usize).copied().unwrap_or(0);
        let renumber =
            |moment: Moment| Moment { page: number(moment.page), kind: number(moment.kind), ..moment };
        // The sessions in the order of their first ids: those of one time are beside each other.
        let mut firsts = vec![i64::MAX; self.sessions.len()];
        for row in &self.rows {
            if let Some(first) = firsts.get_mut(row.session as usize) {
                *first = row.id.min(*first);
            }
        }
        let first = |row: &Row| firsts.get(row.session as usize).copied();
        self.rows.retain(|row| !self.left_out.contains(&row.session));
        self.rows.sort_unstable_by_key(|row| (first(row), row.session, row.time, row.id));
        let mut spans: Vec<(SiteId, Span)> = Vec::new();
        let mut places: HashMap<SiteId, usize> = HashMap::new();
        for views in self.rows.chunk_by(|one, other| one.session == other.session) {
            let Some(first) = views.first() else { continue };
            let Some((site_id, session_id)) = self.sessions.get(first.session) else { continue };
            let place = *places.entry(*site_id).or_insert_with(|| {
                spans.push((*site_id, Span::default()));
                spans.len() - 1
            });
            let Some((_, span)) = spans.get_mut(place) else { continue };
            let before = self.before.get(&first.session);
            let key = before.map_or(first.id, |before| before.session);
            span.begin_run(key as u64, hash_of(session_id), before.map(|before| before.last));
            let mut visit = before.and_then(|before| before.visit).map(|visit| Visit {
                entry: renumber(visit.entry),
                last: renumber(visit.last),
                ..visit
            });
            for row in views {
                let view = View {
                    id: row.id as u64,
                    time: unix(row.time),
                    page: number(row.page),
                    kind: number(row.kind),
                    origin: row.origin,
                    client: row.client,
                };
                visit = Some(span.add(&view, visit, timeout));
            }
        }
        spans
    }
}

/// How many views before are few, so that all of them are read at once.
const FEW_BEFORE: usize = 8;

/// Which views of a session are looked at: those up to an id, none of which is later than `latest`.
#[derive(Clone, Copy)]
struct Range {
    up_to: i64,
    latest: i64,
    /// Time and id of the first view that is not among them.
    first: (i64, i64),
}

/// What a session has before a view.
enum Found {
    /// Nothing.
    New,
    Known(Before),
    /// It has a view after it that should be before.
    OutOfOrder,
}

/// Time and id of a view, and what it says.
type Placed = (i64, i64, Moment);

/// Looks a session up.
fn look_up(
    scanner: &mut SessionScanner,
    session: page_view::Session,
    range: Range,
    texts: &mut Texts,
) -> Result<Found, ErrorReport> {
    let Range { up_to, latest, first } = range;
    if first.0 <= latest {
        let mut is_late = false;
        scanner.run(session, Times::From(first.0), Direction::Forward, |view| {
            is_late = view.id <= up_to && (view.viewed_at, view.id) > first;
            !is_late && view.viewed_at <= latest
        })?;
        if is_late {
            return Ok(Found::OutOfOrder);
        }
    }
    match look_at_few(scanner, session, range, texts)? {
        Some(found) => Ok(found),
        None => look_far_back(scanner, session, range, texts),
    }
}

/// Looks a session up by all its views before; `None` if there are many.
fn look_at_few(
    scanner: &mut SessionScanner,
    session: page_view::Session,
    Range { up_to, first, .. }: Range,
    texts: &mut Texts,
) -> Result<Option<Found>, ErrorReport> {
    let (mut views, mut are_all): (Vec<Placed>, _) = (Vec::new(), true);
    scanner.run(session, Times::UpTo(first.0), Direction::Forward, |view| {
        if view.id <= up_to && (view.viewed_at, view.id) < first {
            are_all = views.len() < FEW_BEFORE;
            views.push((view.viewed_at, view.id, moment(view, session, texts)));
        }
        are_all
    })?;
    if !are_all {
        return Ok(None);
    }
    // Those of one time come in any order.
    views.sort_unstable_by_key(|(time, id, _)| (*time, *id));
    let (Some(start), Some(last)) = (views.first(), views.last()) else { return Ok(Some(Found::New)) };
    let timeout = i64::from(settings::visit_timeout()) * SECOND;
    let (mut entry, mut until) = (None, first.0);
    for view in views.iter().rev().take_while(|(time, ..)| {
        let is_of_visit = until - time <= timeout;
        until = *time;
        is_of_visit
    }) {
        entry = Some(*view);
    }
    Ok(Some(Found::Known(Before::new(start.1, *last, entry))))
}

/// Looks a session up by its last visit, and by its first view.
fn look_far_back(
    scanner: &mut SessionScanner,
    session: page_view::Session,
    Range { up_to, first, .. }: Range,
    texts: &mut Texts,
) -> Result<Found, ErrorReport> {
    // Back through the views, as long as they are of one visit. Those of one time come in any order.
    let timeout = i64::from(settings::visit_timeout()) * SECOND;
    let mut at = |view: &PageView| moment(view, session, texts);
    let (mut last, mut entry): (Option<Placed>, Option<Placed>) = (None, None);
    scanner.run(session, Times::UpTo(first.0), Direction::Backward, |view| {
        let place = (view.viewed_at, view.id);
        if view.id > up_to || place >= first {
            return true;
        }
        if entry.is_some_and(|(time, ..)| time - view.viewed_at > timeout) {
            return false;
        }
        if last.is_none_or(|(time, id, _)| place > (time, id)) {
            last = Some((place.0, place.1, at(view)));
        }
        if first.0 - last.map_or(view.viewed_at, |(time, ..)| time) > timeout {
            // The visit is over. Another view of this time may be the last one.
            return last.is_some_and(|(time, ..)| view.viewed_at == time);
        }
        if entry.is_none_or(|(time, id, _)| place < (time, id)) {
            entry = Some((place.0, place.1, at(view)));
        }
        true
    })?;
    let Some(last) = last else { return Ok(Found::New) };
    let mut start: Option<(i64, i64)> = None;
    scanner.run(session, Times::UpTo(first.0), Direction::Forward, |view| {
        let place = (view.viewed_at, view.id);
        if view.id > up_to {
            return true;
        }
        if start.is_none_or(|start| place < start) {
            start = Some(place);
        }
        start.is_some_and(|(time, _)| time == view.viewed_at)
    })?;
    Ok(Found::Known(Before::new(start.map_or(last.1, |(_, id)| id), last, entry)))
}

fn moment(view: &PageView, session: page_view::Session, texts: &mut Texts) -> Moment {
    Moment {
        page: texts.place(session.0, view.path),
        kind: texts.place(session.0, view.page_type),
        time: unix_seconds(view.viewed_at),
    }
}
