//! The rows of `spans`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgMemoryContexts, pg_sys};
use site_stats_visits::Damaged;
use site_stats_visits::columns::{self, Columns, Counts, Decoder, FORMAT, GoingOn, Size};
use site_stats_visits::question::{self, Divided, Numbers};
use site_stats_visits::span::Span;

use crate::count::tally::SiteId;
use crate::error;
use crate::pg::spi::{Connection, Rows, SnapshotKind, Statement};
use crate::pg::{datum, time};

/// The columns that `Stored` reads.
macro_rules! spans {
    ($rest:literal, $parameters:expr) => {
        Statement::new(
            concat!(
                "SELECT
                    s.id, s.format, s.runs, s.fragments, s.views, s.dead_runs,
                    s.run_column, s.hash_column, s.visit_column, s.time_column, s.page_column,
                    s.kind_column, s.origin_column, s.client_column, s.divided_column,
                    s.earliest, s.latest, s.sessions, s.entries, s.exits, s.bounces, s.seconds, s.day_column, s.total_column,
                    s.seen_before
                  FROM site_stats.spans AS s ",
                $rest
            ),
            $parameters,
        )
    };
}

static OF_SITE: Statement = spans!(
    "WHERE s.site_id = $1 AND s.latest >= $2 AND s.earliest <= $3 ORDER BY s.id",
    &[pg_sys::INT2OID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID]
);

static LAST: Statement = spans!("WHERE s.site_id = $1 ORDER BY s.id DESC LIMIT 1", &[pg_sys::INT2OID]);

/// With the id `$1`, or with the next one.
static INSERT: Statement = Statement::new(
    "INSERT INTO site_stats.spans (
          id, site_id, format, runs, fragments, views, sessions, entries, exits, bounces, seconds, earliest, latest,
          seen_before, dead, dead_runs, run_column, hash_column, visit_column, time_column, page_column, kind_column,
          origin_column, client_column, day_column, total_column, divided_column
      ) OVERRIDING SYSTEM VALUE VALUES (
          COALESCE($1, pg_catalog.nextval('site_stats.spans_id_seq')),
          $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, '', $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
          $25
      )",
    &[
        pg_sys::INT8OID,
        pg_sys::INT2OID,
        pg_sys::INT2OID,
        pg_sys::INT4OID,
        pg_sys::INT4OID,
        pg_sys::INT4OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
        pg_sys::BYTEAOID,
    ],
);

static DELETE: Statement =
    Statement::new("DELETE FROM site_stats.spans AS s WHERE s.id = $1", &[pg_sys::INT8OID]);

static BURY: Statement = Statement::new(
    "UPDATE site_stats.spans AS s SET dead = $2, dead_runs = $3 WHERE s.id = $1",
    &[pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::BYTEAOID],
);

/// Any time, in seconds since 1970.
pub const ALL_TIMES: (i64, i64) = (i64::MIN, i64::MAX);

/// Why spans were not counted.
pub enum Problem {
    Damaged(Damaged),
    /// No index leads to the page views of a session, or too many are above the cursor to be held in memory.
    Unfit,
    Error(ErrorReport),
}

impl From<ErrorReport> for Problem {
    fn from(report: ErrorReport) -> Self {
        Problem::Error(report)
    }
}

impl From<Damaged> for Problem {
    fn from(damaged: Damaged) -> Self {
        Problem::Damaged(damaged)
    }
}

/// Which columns are wanted, beside those that each question needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub hashes: bool,
    pub befores: bool,
    pub visits: bool,
    pub pages: bool,
    pub kinds: bool,
    pub origins: bool,
    pub clients: bool,
}

impl Wanted {
    pub const ALL: Self = Wanted {
        hashes: true,
        befores: true,
        visits: true,
        pages: true,
        kinds: true,
        origins: true,
        clients: true,
    };

    /// The columns of both.
    pub fn or(self, other: Self) -> Self {
        Wanted {
            hashes: self.hashes || other.hashes,
            befores: self.befores || other.befores,
            visits: self.visits || other.visits,
            pages: self.pages || other.pages,
            kinds: self.kinds || other.kinds,
            origins: self.origins || other.origins,
            clients: self.clients || other.clients,
        }
    }
}

/// The rows of a site's spans that know of a view from a second to another one, in their order.
pub fn of_site<'c>(
    connection: &'c Connection,
    see: SnapshotKind,
    site_id: SiteId,
    (first, last): (i64, i64),
) -> Result<Rows<'c>, ErrorReport> {
    let arguments = [site_id.into(), time::timestamp(first).into(), time::timestamp(last).into()].map(Some);
    OF_SITE.run(connection, see, &arguments)
}

/// The row of a site's last span, if there is one.
pub fn last(connection: &Connection, site_id: SiteId) -> Result<Rows<'_>, ErrorReport> {
    LAST.run(connection, SnapshotKind::Current, &[Some(site_id.into())])
}

/// A row of `spans`.
pub struct Stored<'r> {
    rows: &'r Rows<'r>,
    row: usize,
}

impl<'r> Stored<'r> {
    pub fn all(rows: &'r Rows<'r>) -> impl Iterator<Item = Stored<'r>> {
        (0..rows.len()).map(move |row| Stored { rows, row })
    }

    pub fn id(&self) -> i64 {
        self.rows.bigint(self.row, 1)
    }

    pub fn views(&self) -> i64 {
        self.rows.integer(self.row, 5).into()
    }

    fn size(&self) -> Result<Size, Damaged> {
        let count = |column| {
            usize::try_from(self.rows.integer(self.row, column)).map_err(|_| Damaged("a count is negative"))
        };
        Ok(Size { runs: count(3)?, fragments: count(4)?, views: count(5)? })
    }

    pub fn runs(&self) -> u32 {
        self.rows.integer(self.row, 3).unsigned_abs()
    }

    /// Runs `work` with the bytes of a column, which are freed after it.
    fn with<R>(&self, column: i32, work: impl FnOnce(&[u8]) -> R) -> R {
        let mut memory = PgMemoryContexts::new("site_stats span");
        // SAFETY: the column is a `bytea`, which is read as a `text` is. Its copy lives in the memory that is dropped at the end.
        unsafe {
            memory.switch_to(|_| {
                let bytes = self.rows.get(self.row, column).map(|bytes| datum::text_bytes(bytes));
                work(bytes.unwrap_or_default())
            })
        }
    }

    /// The span, with the columns that are wanted.
    pub fn read(&self, wanted: Wanted) -> Result<Span, Damaged> {
        self.decode(wanted, |decoder| decoder.whole())
    }

    /// Runs `work` with the columns that are wanted, which are freed after it.
    pub fn decode<R, E: From<Damaged>>(
        &self,
        wanted: Wanted,
        work: impl FnOnce(Decoder) -> Result<R, E>,
    ) -> Result<R, E> {
        if self.rows.smallint(self.row, 2) != FORMAT {
            return Err(Damaged("the format is that of another version").into());
        }
        let size = self.size()?;
        let mut memory = PgMemoryContexts::new("site_stats span");
        // SAFETY: the columns are of type `bytea`, which is read as a `text` is. Their copies live in the memory that is dropped
        // at the end.
        let columns = unsafe {
            memory.switch_to(|_| {
                let column = |column, is_wanted: bool| {
                    if is_wanted {
                        self.rows.get(self.row, column).map(|bytes| datum::text_bytes(bytes))
                    } else {
                        None
                    }
                };
                Columns {
                    runs: column(7, true),
                    hashes: column(8, wanted.hashes),
                    visits: column(9, wanted.visits),
                    times: column(10, true),
                    pages: column(11, wanted.pages),
                    kinds: column(12, wanted.kinds),
                    origins: column(13, wanted.origins),
                    clients: column(14, wanted.clients),
                    days: None,
                    totals: None,
                    divided: column(15, wanted.befores),
                }
            })
        };
        work(Decoder::new(&columns, size)?)
    }

    /// Notes the sessions and visits that go on from before the span. Views before `since` do not matter.
    pub fn note_divided(&self, divided: &mut Divided, since: i64) -> Result<(), Damaged> {
        self.with(15, |column| {
            let going_on = GoingOn::of(column)?;
            divided.add(going_on.sessions_since(since), going_on.visits.clone());
            Ok(())
        })
    }

    /// The hashes of the runs' sessions.
    pub fn hashes(&self) -> Result<Vec<u32>, Damaged> {
        let size = self.size()?;
        self.with(8, |column| columns::decode_hashes(column, size))
    }

    /// The earliest and the latest time that the span knows of, in seconds since 1970.
    pub fn times(&self) -> (i64, i64) {
        let seconds = |column| time::unix_seconds(self.rows.bigint(self.row, column));
        (seconds(16), seconds(17))
    }

    /// The earliest time of the last views before of the sessions that go on; `None` if none goes on.
    pub fn seen_before(&self) -> Option<i64> {
        self.rows.get(self.row, 25).map(|time| time::unix_seconds(time.value() as i64))
    }

    /// The times of the last views before of the sessions that go on.
    pub fn befores(&self) -> Result<Vec<i64>, Damaged> {
        self.with(15, |column| Ok(GoingOn::of(column)?.befores().collect()))
    }

    /// The numbers of the whole span.
    pub fn totals(&self) -> Numbers {
        let number = |column| self.rows.bigint(self.row, column);
        Numbers {
            views: self.views(),
            visitors: number(18),
            visits: number(19),
            entries: number(19),
            exits: number(20),
            bounces: number(21),
            seconds: number(22),
        }
    }

    /// How many views there are of each UTC day, in days since 1970.
    pub fn days(&self) -> Result<Vec<(i64, i64)>, Damaged> {
        self.with(23, |column| Ok(Counts::of(column)?.days().collect()))
    }

    /// How many views there are of each page.
    pub fn pages(&self) -> Result<Vec<(u32, i64)>, Damaged> {
        self.with(24, |column| Ok(Counts::of(column)?.pages().collect()))
    }

    /// Which runs are dead.
    pub fn dead(&self) -> Dead {
        Dead(self.with(6, <[u8]>::to_vec))
    }
}

/// A bit for each run, from the lowest bit of the first byte: whether it is dead. There may be fewer bits than runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dead(Vec<u8>);

impl Dead {
    pub fn contains(&self, run: usize) -> bool {
        self.0.get(run / 8).is_some_and(|byte| byte >> (run % 8) & 1 != 0)
    }

    pub fn insert(&mut self, run: usize) {
        if self.0.len() <= run / 8 {
            self.0.resize(run / 8 + 1, 0);
        }
        if let Some(byte) = self.0.get_mut(run / 8) {
            *byte |= 1 << (run % 8);
        }
    }

    pub fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

/// Writes a span as a row.
pub fn insert(connection: &Connection, site_id: SiteId, span: &Span) -> Result<(), ErrorReport> {
    insert_at(connection, None, site_id, span)
}

/// Writes a span in the place of another one: the order of the spans of a session is that of its views.
pub fn replace(connection: &Connection, id: i64, site_id: SiteId, span: &Span) -> Result<(), ErrorReport> {
    delete(connection, id)?;
    insert_at(connection, Some(id), site_id, span)
}

fn insert_at(
    connection: &Connection,
    id: Option<i64>,
    site_id: SiteId,
    span: &Span,
) -> Result<(), ErrorReport> {
    let Some((earliest, latest)) = span.times() else { return Ok(()) };
    let size = Size::of(span);
    let Numbers { visitors, entries, exits, bounces, seconds, .. } = question::totals(span);
    let count = |count: usize| i32::try_from(count).map_err(|_| error::internal("spans", i32::MAX));
    let Columns { runs, hashes, visits, times, pages, kinds, origins, clients, days, totals, divided } =
        columns::encode(span);
    let seen_before = span.runs.iter().filter(|run| run.goes_on).map(|run| time::timestamp(run.before)).min();
    let number = |number: i64| Some(pg_sys::Datum::from(number));
    let arguments = [
        id.map(pg_sys::Datum::from),
        Some(site_id.into()),
        Some(FORMAT.into()),
        Some(count(size.runs)?.into()),
        Some(count(size.fragments)?.into()),
        Some(count(size.views)?.into()),
        number(visitors),
        number(entries),
        number(exits),
        number(bounces),
        number(seconds),
        number(time::timestamp(earliest)),
        number(time::timestamp(latest)),
        seen_before.map(pg_sys::Datum::from),
    ];
    let columns = [runs, hashes, visits, times, pages, kinds, origins, clients, days, totals, divided];
    let columns = columns.map(|column| Some(datum::text(&column)));
    let arguments = [&arguments[..], &columns].concat();
    INSERT.run(connection, SnapshotKind::Current, &arguments).map(|_| ())
}

pub fn delete(connection: &Connection, id: i64) -> Result<(), ErrorReport> {
    // The caller may have one snapshot that is older than the span, and does not show it.
    DELETE.run(connection, SnapshotKind::Latest, &[Some(id.into())]).map(|_| ())
}

/// Writes which runs of a span are dead.
pub fn bury(connection: &Connection, id: i64, dead: &Dead) -> Result<(), ErrorReport> {
    let count = i32::try_from(dead.count()).unwrap_or(i32::MAX);
    let arguments = [id.into(), count.into(), datum::text(&dead.0)].map(Some);
    BURY.run(connection, SnapshotKind::Current, &arguments).map(|_| ())
}
