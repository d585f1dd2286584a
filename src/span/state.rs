//! The row of `span_state`: which page views are in spans.

use pgrx::pg_sys::panic::ErrorReport;
use site_stats_visits::columns::FORMAT;

use crate::pg::spi::{Connection, Rows, SnapshotKind, Statement};
use crate::settings;

macro_rules! read {
    ($($lock:literal)?) => {
        Statement::new(
            concat!(
                "SELECT s.cursor, s.latest, s.target, s.announced_at, s.is_settled, s.visit_timeout, s.format
                  FROM site_stats.span_state AS s",
                $($lock)?
            ),
            &[],
        )
    };
}

static READ: Statement = read!();

static LOCK: Statement = read!(" FOR UPDATE");

/// Which page views are in spans, and which are to come next. Times are as PostgreSQL stores a `timestamptz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub cursor: i64,
    pub latest: i64,
    pub target: i64,
    pub announced_at: i64,
    pub is_settled: bool,
    /// Whether the spans were made with the present setting, in the format of this library.
    pub is_current: bool,
}

impl State {
    /// The state in the row that `READ` or `LOCK` has returned. Without a row nothing is in spans.
    fn of(rows: &Rows) -> Self {
        let format = rows.get(0, 7).map(|format| format.value() as i16);
        State {
            cursor: rows.bigint(0, 1),
            latest: rows.bigint(0, 2),
            target: rows.bigint(0, 3),
            announced_at: rows.bigint(0, 4),
            is_settled: rows.boolean(0, 5),
            is_current: format == Some(FORMAT) && rows.integer(0, 6) == settings::visit_timeout(),
        }
    }

    /// The state for a reader: nothing is in spans that it cannot use.
    fn for_reads(self) -> Self {
        if self.is_current { self } else { State { cursor: 0, latest: i64::MIN, ..self } }
    }
}

/// The state that the calling statement sees, for a reader.
pub fn seen(connection: &Connection) -> Result<State, ErrorReport> {
    Ok(State::of(&READ.run(connection, SnapshotKind::Statement, &[])?).for_reads())
}

/// The state as committed now, which others cannot change until this transaction ends.
pub fn locked(connection: &Connection) -> Result<State, ErrorReport> {
    Ok(State::of(&LOCK.run(connection, SnapshotKind::Current, &[])?))
}
