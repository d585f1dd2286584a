//! The only code that counts: it adds deltas to the aggregates. Deltas come from triggers and from batches in the same form, a `Tally`.
//!
//! Rows of `path_totals`, `daily_totals` and `site_totals` belong to the slot that the transaction has borrowed, so
//! nobody waits for them. A row of `sessions` is shared by all transactions that touch the session: they wait for each
//! other until they commit, which is what makes the number of visitors exact.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::spi::{Connection, See, Statement};
use crate::tally::Tally;
use crate::{datum, error, slots, spi};

/// A row of an older epoch is as good as none: its views are overwritten.
static WRITE_PATHS: Statement = Statement::new(
    "INSERT INTO site_stats.path_totals AS t (path, slot, epoch, views, page_type, last_view_id)
      SELECT d.path, $2, $1, d.views, d.page_type, d.last_view_id
      FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) AS d (path, views, page_type, last_view_id)
      ON CONFLICT (path, slot) DO UPDATE SET
          epoch = excluded.epoch,
          views = excluded.views + CASE WHEN t.epoch = excluded.epoch THEN t.views ELSE 0 END,
          page_type = CASE
              WHEN t.epoch = excluded.epoch AND t.last_view_id > excluded.last_view_id THEN t.page_type
              ELSE excluded.page_type
          END,
          last_view_id = CASE
              WHEN t.epoch = excluded.epoch AND t.last_view_id > excluded.last_view_id THEN t.last_view_id
              ELSE excluded.last_view_id
          END",
    &[
        pg_sys::INT8OID,
        pg_sys::INT4OID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

static WRITE_DAYS: Statement = Statement::new(
    "INSERT INTO site_stats.daily_totals AS t (day, path, slot, epoch, views)
      SELECT d.day, d.path, $2, $1, d.views
      FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) AS d (day, path, views)
      ON CONFLICT (day, path, slot) DO UPDATE SET
          epoch = excluded.epoch,
          views = excluded.views + CASE WHEN t.epoch = excluded.epoch THEN t.views ELSE 0 END",
    &[pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::DATEARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::INT8ARRAYOID],
);

/// Returns the rows as they are now, in the order in which they were passed.
static WRITE_SESSIONS: Statement = Statement::new(
    "INSERT INTO site_stats.sessions AS t (session_id, epoch, views)
      SELECT d.session_id, $1, d.views
      FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS d (session_id, views)
      ON CONFLICT (session_id) DO UPDATE SET
          epoch = excluded.epoch,
          views = excluded.views + CASE WHEN t.epoch = excluded.epoch THEN t.views ELSE 0 END
      RETURNING t.views, t.ctid, t.session_id",
    &[pg_sys::INT8OID, pg_sys::TEXTARRAYOID, pg_sys::INT8ARRAYOID],
);

/// By place: found at once however many there are, and whatever the planner thinks.
static FORGET_SESSIONS: Statement =
    Statement::new("DELETE FROM site_stats.sessions AS t WHERE t.ctid = ANY ($1)", &[pg_sys::TIDARRAYOID]);

static WRITE_SITE: Statement = Statement::new(
    "INSERT INTO site_stats.site_totals AS t (slot, epoch, views, visitors)
      VALUES ($2, $1, $3, $4)
      ON CONFLICT (slot) DO UPDATE SET
          epoch = excluded.epoch,
          views = excluded.views + CASE WHEN t.epoch = excluded.epoch THEN t.views ELSE 0 END,
          visitors = excluded.visitors + CASE WHEN t.epoch = excluded.epoch THEN t.visitors ELSE 0 END",
    &[pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID],
);

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Sessions that came into the session set.
    pub sessions_found: i64,
}

/// Adds the deltas to the aggregates of an epoch and empties the tally. Its memory is free again when it returns, so a
/// statement over millions of rows may flush as often as it likes.
pub fn flush(page_views: pg_sys::Oid, epoch: i64, tally: &mut Tally) -> Result<Flushed, ErrorReport> {
    let mut tally = std::mem::take(tally);
    tally.settle();
    if tally.is_empty() {
        return Ok(Flushed::default());
    }
    spi::connect(|connection| write(connection, page_views, epoch, &tally))
}

fn write(
    connection: &Connection,
    page_views: pg_sys::Oid,
    epoch: i64,
    tally: &Tally,
) -> Result<Flushed, ErrorReport> {
    let slot = slots::borrow(page_views);
    let sessions = write_sessions(connection, epoch, tally)?;
    write_counters(connection, epoch, slot, tally, sessions.came - sessions.left)?;
    Ok(Flushed { sessions_found: sessions.came })
}

/// Adds the deltas of paths, days and the whole site to a slot that this transaction has borrowed.
pub fn write_counters(
    connection: &Connection,
    epoch: i64,
    slot: i32,
    tally: &Tally,
    visitors: i64,
) -> Result<(), ErrorReport> {
    let (epoch, slot) = (Some(pg_sys::Datum::from(epoch)), Some(pg_sys::Datum::from(slot)));
    let see = See::Current;
    if !tally.paths.is_empty() {
        let paths = datum::text_array(tally.paths.keys().map(|path| &**path));
        let views = datum::bigint_array(tally.paths.values().map(|delta| delta.views));
        let types = datum::text_array(tally.paths.values().map(|delta| &*delta.page_type));
        let ids = datum::bigint_array(tally.paths.values().map(|delta| delta.last_view_id));
        WRITE_PATHS.run(connection, see, &[epoch, slot, Some(paths), Some(views), Some(types), Some(ids)])?;
    }
    if !tally.days.is_empty() {
        let days = datum::date_array(tally.days.keys().map(|(day, _)| *day));
        let paths = datum::text_array(tally.days.keys().map(|(_, path)| &**path));
        let views = datum::bigint_array(tally.days.values().copied());
        WRITE_DAYS.run(connection, see, &[epoch, slot, Some(days), Some(paths), Some(views)])?;
    }
    if tally.views != 0 || visitors != 0 {
        let (views, visitors) = (pg_sys::Datum::from(tally.views), pg_sys::Datum::from(visitors));
        WRITE_SITE.run(connection, see, &[epoch, slot, Some(views), Some(visitors)])?;
    }
    Ok(())
}

/// How the session set has changed.
#[derive(Default)]
struct SessionChange {
    came: i64,
    left: i64,
}

/// Writes the deltas of sessions. What a session had before is what it has now less the delta: of an older epoch, and of no
/// row, that is 0. A session without a view leaves no trace.
fn write_sessions(connection: &Connection, epoch: i64, tally: &Tally) -> Result<SessionChange, ErrorReport> {
    let mut change = SessionChange::default();
    if tally.sessions.is_empty() {
        return Ok(change);
    }
    let ids = datum::text_array(tally.sessions.keys().map(|session| &**session));
    let deltas = datum::bigint_array(tally.sessions.values().copied());
    let written = WRITE_SESSIONS.run(
        connection,
        See::Current,
        &[Some(pg_sys::Datum::from(epoch)), Some(ids), Some(deltas)],
    )?;
    let mut forgotten = Vec::new();
    for (row, (session_id, delta)) in tally.sessions.iter().enumerate() {
        if written.text(row, 3) != Some(session_id) {
            return Err(error::internal("writing sessions", i32::try_from(row).unwrap_or(i32::MAX)));
        }
        let now = written.bigint(row, 1);
        let before = now - delta;
        change.came += i64::from(before <= 0 && now > 0);
        change.left += i64::from(before > 0 && now <= 0);
        if now == 0 {
            forgotten.extend(written.get(row, 2));
        }
    }
    if !forgotten.is_empty() {
        FORGET_SESSIONS.run(connection, See::Current, &[Some(datum::tid_array(forgotten))])?;
    }
    Ok(change)
}
