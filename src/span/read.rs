//! Reports: the page views of a site counted, those in spans there and the others in `page_views`, in one snapshot.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_sys, warning};
use site_stats_visits::Damaged;
use site_stats_visits::both::Both;
use site_stats_visits::columns::{Decoder, PIECE};
use site_stats_visits::digest::{Digest, OfDay};
use site_stats_visits::question::{By, Counting, Divided, Group, Meaning, Numbers, Question};
use site_stats_visits::span::Span;

use crate::count::tally::{SiteId, TextKey};
use crate::pg::spi::{Connection, Rows, SnapshotKind, Statement};
use crate::pg::time;
use crate::span::batch::{Batch, views};
use crate::span::hashed::Hashed;
use crate::span::state::{self, State};
use crate::span::table::{self, Dead, Problem, Stored, Wanted};
use crate::span::texts::{self, Texts};

/// The loose sessions of a site.
static LOOSE: Statement = Statement::new(
    "SELECT DISTINCT l.session_id FROM site_stats.loose_sessions AS l WHERE l.site_id = $1 AND l.session_id <> ''",
    &[pg_sys::INT2OID],
);

/// How many page views above the cursor and loose sessions there are, counted up to a limit each.
static OTHERS: Statement = Statement::new(
    "SELECT
          (
              SELECT pg_catalog.count(*)
              FROM (SELECT FROM ONLY site_stats.page_views AS v WHERE v.id > $1 LIMIT $3) AS v
          )
          + (
              SELECT pg_catalog.count(*)
              FROM (SELECT FROM site_stats.loose_sessions AS l WHERE l.site_id = $2 LIMIT $3) AS l
          )",
    &[pg_sys::INT8OID, pg_sys::INT2OID, pg_sys::INT8OID],
);

/// So many page views or loose sessions are few. To read more directly may take longer than to add up counters.
const FEW: usize = 20_000;

/// The views of a site above the cursor. The sum keeps the index by site out of the plan, which would lead to all views of the site.
static TAIL: Statement = Statement::new(
    views!(
        "ONLY site_stats.page_views AS v
          WHERE v.id > $1 AND v.site_id + 0 = $2 AND v.viewed_at IS NOT NULL
          LIMIT $3"
    ),
    &[pg_sys::INT8OID, pg_sys::INT2OID, pg_sys::INT8OID],
);

/// All views of a site, by session.
static ALL: Statement = Statement::new(
    views!("ONLY site_stats.page_views AS v WHERE v.site_id = $1 AND v.viewed_at IS NOT NULL ORDER BY 3"),
    &[pg_sys::INT2OID],
);

/// All views of the sessions that have one from `$2` to `$3`, by session.
static OF_RANGE: Statement = Statement::new(
    views!(
        "ONLY site_stats.page_views AS v
          WHERE v.site_id = $1 AND v.viewed_at IS NOT NULL AND v.session_id IN (
              SELECT o.session_id
              FROM ONLY site_stats.page_views AS o
              WHERE o.site_id = $1 AND o.viewed_at >= $2 AND o.viewed_at <= $3
          )
          ORDER BY 3"
    ),
    &[pg_sys::INT2OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID],
);

/// How many rows are fetched at a time, and how many page views are held before they are counted.
const FETCHED: i32 = 10_000;
const HELD: usize = 50_000;

/// The most page views above the cursor that are held in memory.
const MOST_ABOVE: usize = 200_000;

/// How many loose sessions are read at a time.
const SESSIONS: usize = 2_000;

/// Texts that have no number in `span_texts`, of page views that are in no span.
#[derive(Default)]
pub struct NewTexts {
    /// The number of the first one.
    first: u32,
    values: Vec<TextKey>,
    numbers: HashMap<TextKey, u32>,
}

impl NewTexts {
    fn number(&mut self, text: &TextKey) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.first + u32::try_from(self.values.len()).unwrap_or(u32::MAX / 2);
        self.values.push(text.clone());
        self.numbers.insert(text.clone(), number);
        number
    }

    /// The text of a number, if it is one of these.
    pub fn get(&self, number: u32) -> Option<&TextKey> {
        self.values.get(number.checked_sub(self.first)? as usize)
    }
}

/// What was counted.
pub struct Counted<M> {
    /// The groups that have views.
    pub groups: Vec<(Group, Numbers)>,
    /// The numbers of the units of a timeline.
    pub units: HashMap<i64, Numbers>,
    /// The origins and clients of groups of both.
    pub both: Both,
    pub meaning: M,
    /// How many page views were read that were in no span.
    pub read_directly: usize,
    /// Whether there was a span that cannot be read.
    pub met_damage: bool,
}

impl<M: Meaning> Counted<M> {
    fn of(mut counting: Counting<M>, read_directly: usize, met_damage: bool) -> Self {
        let units: HashMap<_, _> = counting.units().iter().map(|(unit, group)| (*group, *unit)).collect();
        let both = counting.take_both();
        let (groups, meaning) = counting.finish();
        let of_units = groups.iter().filter_map(|(group, numbers)| Some((*units.get(group)?, *numbers)));
        let units = of_units.collect();
        Counted { groups, units, both, meaning, read_directly, met_damage }
    }
}

/// What looks at spans.
trait Consumer {
    /// The columns that it needs.
    fn wanted(&self) -> Wanted;

    /// Gets the sessions and visits that several spans have, before the first span. Returns whether it needs the visits of spans.
    fn prepare(&mut self, divided: Divided) -> bool;

    /// Says that the views of a span come now, with the earliest and the latest time that it knows of.
    fn enter(&mut self, _times: (i64, i64)) {}

    /// Takes runs that are not dead.
    fn take(&mut self, span: &Span, is_dead: impl Fn(usize) -> bool) -> Result<(), ErrorReport>;

    /// Takes what is alive in a stored span. `buffer` is memory for it.
    fn take_stored(&mut self, decoder: Decoder, dead: &Dead, buffer: &mut Span) -> Result<(), Problem> {
        take_pieces(self, decoder, dead, buffer)
    }

    /// Takes a span without dead runs by its numbers. False if it has to be taken run by run.
    fn take_whole(&mut self, _stored: &Stored) -> Result<bool, Damaged> {
        Ok(false)
    }
}

/// Takes a span that has just been made.
fn take_new(consumer: &mut impl Consumer, span: &Span) -> Result<(), ErrorReport> {
    span.times().into_iter().for_each(|times| consumer.enter(times));
    consumer.take(span, |_| false)
}

fn take_pieces(
    consumer: &mut (impl Consumer + ?Sized),
    mut decoder: Decoder,
    dead: &Dead,
    buffer: &mut Span,
) -> Result<(), Problem> {
    let mut before = 0;
    while decoder.next(PIECE, buffer)? {
        consumer.take(buffer, |run| dead.contains(before + run))?;
        before += buffer.runs.len();
    }
    Ok(())
}

impl<M: Meaning<Error = ErrorReport>> Consumer for Counting<'_, M> {
    fn wanted(&self) -> Wanted {
        let question = self.question();
        let (by, asks) = (question.by, question.asks);
        Wanted {
            hashes: false,
            befores: question.is_by_time(),
            visits: !question.views_only && !question.is_by_time(),
            pages: matches!(by, By::Page | By::Entry) || asks.page || asks.entry,
            kinds: by == By::Kind || asks.kind,
            origins: asks.origin || by == By::Both,
            clients: asks.client || by == By::Both,
        }
    }

    fn prepare(&mut self, divided: Divided) -> bool {
        let has_visits = divided.has_visits();
        self.set_divided(&divided.into());
        has_visits
    }

    fn enter(&mut self, (earliest, latest): (i64, i64)) {
        Counting::enter(self, earliest, latest);
    }

    fn take(&mut self, span: &Span, is_dead: impl Fn(usize) -> bool) -> Result<(), ErrorReport> {
        self.count(span, is_dead)
    }

    fn take_stored(&mut self, decoder: Decoder, dead: &Dead, buffer: &mut Span) -> Result<(), Problem> {
        if !self.question().selects_visits {
            return take_pieces(self, decoder, dead, buffer);
        }
        let mut failure = None;
        let matches = |source| self.matches(source).map_err(|report| failure = Some(report)).ok();
        decoder.matching(|run| dead.contains(run), matches, buffer)?;
        if let Some(report) = failure {
            return Err(report.into());
        }
        Ok(self.count(buffer, |_| false)?)
    }

    fn take_whole(&mut self, stored: &Stored) -> Result<bool, Damaged> {
        let (earliest, latest) = stored.times();
        if self.question().takes_days() {
            self.add_days(stored.days()?.into_iter());
            return Ok(true);
        }
        if self.question().takes_pages(earliest, latest) {
            self.add_pages(stored.pages()?.into_iter());
            return Ok(true);
        }
        if !self.question().takes_whole(earliest, latest) {
            return Ok(false);
        }
        let seen_before = stored.seen_before();
        let befores = match seen_before {
            Some(before) if !self.question().takes_whole(before, latest) => stored.befores()?,
            _ => Vec::new(),
        };
        self.add_whole(&stored.totals(), befores.into_iter());
        Ok(true)
    }
}

impl Consumer for Digest {
    fn wanted(&self) -> Wanted {
        Wanted::ALL
    }

    fn prepare(&mut self, _divided: Divided) -> bool {
        true
    }

    fn take(&mut self, span: &Span, is_dead: impl Fn(usize) -> bool) -> Result<(), ErrorReport> {
        self.add(span, is_dead);
        Ok(())
    }
}

/// Several questions are answered from one reading of spans.
impl<M: Meaning<Error = ErrorReport>> Consumer for Vec<Counting<'_, M>> {
    fn wanted(&self) -> Wanted {
        self.iter().map(Consumer::wanted).fold(Wanted::default(), Wanted::or)
    }

    fn prepare(&mut self, divided: Divided) -> bool {
        let has_visits = divided.has_visits();
        let divided = divided.into();
        self.iter_mut().for_each(|counting| counting.set_divided(&divided));
        has_visits
    }

    fn enter(&mut self, times: (i64, i64)) {
        self.iter_mut().for_each(|counting| Consumer::enter(counting, times));
    }

    fn take(&mut self, span: &Span, is_dead: impl Fn(usize) -> bool) -> Result<(), ErrorReport> {
        self.iter_mut().try_for_each(|counting| counting.take(span, &is_dead))
    }
}

/// Counts the page views of a site. `within` are the first and the last second that matter. `meaning` is made with the texts that
/// have no number.
pub fn count<M: Meaning<Error = ErrorReport>>(
    connection: &Connection,
    site_id: SiteId,
    question: &Question,
    within: (i64, i64),
    meaning: impl Fn(Rc<RefCell<NewTexts>>) -> Result<M, ErrorReport>,
) -> Result<Counted<M>, ErrorReport> {
    let make = |new| Ok(Counting::new(question, meaning(new)?));
    let (counting, read_directly, met_damage) = read(connection, site_id, within, make)?;
    Ok(Counted::of(counting, read_directly, met_damage))
}

/// As `count`, for several questions in their order. `meaning` gets the place of the question, too.
pub fn count_together<M: Meaning<Error = ErrorReport>>(
    connection: &Connection,
    site_id: SiteId,
    questions: &[Question],
    within: (i64, i64),
    meaning: impl Fn(usize, Rc<RefCell<NewTexts>>) -> Result<M, ErrorReport>,
) -> Result<Vec<Counted<M>>, ErrorReport> {
    let make = |new: Rc<RefCell<NewTexts>>| {
        let questions = questions.iter().enumerate();
        questions.map(|(place, asked)| Ok(Counting::new(asked, meaning(place, Rc::clone(&new))?))).collect()
    };
    let (countings, read_directly, met_damage): (Vec<_>, _, _) = read(connection, site_id, within, make)?;
    Ok(countings.into_iter().map(|counting| Counted::of(counting, read_directly, met_damage)).collect())
}

/// Shows the page views of a site to a consumer. Returns it, how many of them were in no span, and whether a span was damaged.
fn read<C: Consumer>(
    connection: &Connection,
    site_id: SiteId,
    within: (i64, i64),
    make: impl Fn(Rc<RefCell<NewTexts>>) -> Result<C, ErrorReport>,
) -> Result<(C, usize, bool), ErrorReport> {
    let state = state::seen(connection)?;
    let mut met_damage = false;
    if state.cursor > 0 {
        let reader = Reader::new(connection, site_id, within)?;
        let mut consumer = make(Rc::clone(&reader.new))?;
        match reader.count_spans(state, &mut consumer) {
            Ok(()) => return Ok((consumer, reader.read_directly.get(), met_damage)),
            Err(Problem::Error(report)) => return Err(report),
            Err(Problem::Unfit) => {}
            Err(Problem::Damaged(Damaged(why))) => {
                warning!("site_stats: a span cannot be read, so all page views are: {why}");
                met_damage = true;
            }
        }
    }
    let reader = Reader::new(connection, site_id, within)?;
    let mut consumer = make(Rc::clone(&reader.new))?;
    reader.count_all(&mut consumer)?;
    Ok((consumer, reader.read_directly.get(), met_damage))
}

/// Whether all but a few page views are in spans that this library reads.
pub fn has_spans(connection: &Connection, site_id: SiteId) -> Result<bool, ErrorReport> {
    let state = state::seen(connection)?;
    if state.cursor == 0 {
        return Ok(false);
    }
    let arguments = [state.cursor.into(), site_id.into(), i64::try_from(FEW).unwrap_or(0).into()].map(Some);
    let others = OTHERS.run(connection, SnapshotKind::Statement, &arguments)?.bigint(0, 1);
    Ok(others < FEW as i64)
}

/// Compares the page views of a site as reports read them with all of them. Returns, for each UTC day in days since 1970 that
/// differs, what is in one and in the other.
pub fn differences(
    connection: &Connection,
    site_id: SiteId,
) -> Result<Vec<(i64, OfDay, OfDay)>, ErrorReport> {
    let state = state::seen(connection)?;
    if state.cursor == 0 {
        return Ok(Vec::new());
    }
    let reader = Reader::new(connection, site_id, table::ALL_TIMES)?;
    let (mut counted, mut actual) = (Digest::default(), Digest::default());
    match reader.count_spans(state, &mut counted) {
        Ok(()) => {}
        Err(Problem::Error(report)) => return Err(report),
        Err(Problem::Unfit) => return Ok(Vec::new()),
        // A span that cannot be read has nothing.
        Err(Problem::Damaged(_)) => counted = Digest::default(),
    }
    reader.count_all(&mut actual)?;
    Ok(counted.differences(&actual))
}

struct Reader<'r> {
    connection: &'r Connection,
    site_id: SiteId,
    within: (i64, i64),
    new: Rc<RefCell<NewTexts>>,
    /// How many page views were read that were in no span.
    read_directly: Cell<usize>,
}

impl<'r> Reader<'r> {
    fn new(connection: &'r Connection, site_id: SiteId, within: (i64, i64)) -> Result<Self, ErrorReport> {
        let first = texts::first_free(connection, site_id)?;
        let new = Rc::new(RefCell::new(NewTexts { first, ..NewTexts::default() }));
        Ok(Reader { connection, site_id, within, new, read_directly: Cell::new(0) })
    }

    /// Shows the spans, and what is in none.
    fn count_spans(&self, state: State, consumer: &mut impl Consumer) -> Result<(), Problem> {
        let (connection, site) = (self.connection, Some(self.site_id.into()));
        let rows = LOOSE.run(connection, SnapshotKind::Statement, &[site])?;
        let mut loose: BTreeSet<TextKey> =
            (0..rows.len()).filter_map(|row| rows.text(row, 1)).map(TextKey::from).collect();

        let mut tail = Batch::default();
        let arguments =
            [Some(state.cursor.into()), site, i64::try_from(MOST_ABOVE + 1).ok().map(pg_sys::Datum::from)];
        tail.take(&TAIL.run(connection, SnapshotKind::Statement, &arguments)?);
        if tail.len() > MOST_ABOVE {
            return Err(Problem::Unfit);
        }
        self.note_read(tail.len());
        if !loose.is_empty() {
            tail.leave_out(|session, _, _| loose.contains(&session.1));
        }
        if !tail.look_back(connection, state.cursor, state.latest)? {
            return Err(Problem::Unfit);
        }
        loose.extend(tail.left_out().map(|(_, session_id)| session_id.clone()));
        let tail = self.spans_of(tail)?;

        let rows = table::of_site(connection, SnapshotKind::Statement, self.site_id, self.within)?;
        let mut wanted = consumer.wanted();
        if wanted.visits {
            let mut divided = Divided::default();
            let since = self.within.0;
            tail.iter().for_each(|span| divided.note(span, since));
            for stored in Stored::all(&rows) {
                stored.note_divided(&mut divided, since)?;
            }
            wanted.visits = consumer.prepare(divided);
        }
        let hashed = Hashed::new(loose.iter());
        let mut buffer = Span::default();
        for stored in Stored::all(&rows) {
            let mut dead = stored.dead();
            hashed.mark_dead(connection, &stored, SnapshotKind::Statement, &mut dead)?;
            if dead.count() == 0 && consumer.take_whole(&stored)? {
                continue;
            }
            consumer.enter(stored.times());
            stored.decode(wanted, |decoder| consumer.take_stored(decoder, &dead, &mut buffer))?;
            pgrx::check_for_interrupts!();
        }
        for span in &tail {
            take_new(consumer, span)?;
        }
        let loose: Vec<_> = loose.iter().map(|session| (self.site_id, &**session)).collect();
        for sessions in loose.chunks(SESSIONS) {
            let batch = Batch::of_sessions(connection, sessions.iter().copied())?;
            self.note_read(batch.len());
            self.count_batch(batch, consumer)?;
        }
        Ok(())
    }

    /// Shows all page views as they are.
    fn count_all(&self, consumer: &mut impl Consumer) -> Result<(), ErrorReport> {
        let mut batch = Batch::default();
        let show = |rows: &Rows| {
            for row in 0..rows.len() {
                if batch.len() >= HELD && !batch.has_last_session(rows, row) {
                    self.count_batch(std::mem::take(&mut batch), consumer)?;
                }
                batch.take_row(rows, row);
            }
            self.note_read(rows.len());
            Ok(())
        };
        let (first, last) = self.within;
        let site = Some(self.site_id.into());
        if (first, last) == table::ALL_TIMES {
            ALL.stream(self.connection, &[site], FETCHED, show)?;
        } else {
            let times = [site, Some(time::timestamp(first).into()), Some(time::timestamp(last).into())];
            OF_RANGE.stream(self.connection, &times, FETCHED, show)?;
        }
        self.count_batch(batch, consumer)
    }

    /// Shows page views that are all those of their sessions.
    fn count_batch(&self, batch: Batch, consumer: &mut impl Consumer) -> Result<(), ErrorReport> {
        self.spans_of(batch)?.iter().try_for_each(|span| take_new(consumer, span))
    }

    fn spans_of(&self, batch: Batch) -> Result<Vec<Span>, ErrorReport> {
        let numbers = self.numbers(batch.texts())?;
        Ok(batch.into_spans(&numbers).into_iter().map(|(_, span)| span).collect())
    }

    fn numbers(&self, texts: &Texts) -> Result<Vec<u32>, ErrorReport> {
        let numbers = texts.numbers(self.connection, SnapshotKind::Statement)?;
        let mut new = self.new.borrow_mut();
        let texts = texts.iter().zip(numbers);
        Ok(texts.map(|((_, text), number)| number.unwrap_or_else(|| new.number(text))).collect())
    }

    fn note_read(&self, views: usize) {
        self.read_directly.set(self.read_directly.get() + views);
    }
}
