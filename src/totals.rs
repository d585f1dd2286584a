//! The only code that counts: it adds deltas to the aggregates. Deltas come from triggers and from batches in the same form, a `Tally`.
//!
//! Rows of `path_totals`, `daily_totals` and `site_totals` belong to the slot that the transaction has borrowed, so
//! nobody waits for them. A row of `sessions` is shared by all transactions that touch the session: they wait for each
//! other until they commit, which is what makes the number of visitors exact. They touch sessions in the order of their
//! keys, and before anything else, so that two who flush once never wait for each other in a circle.
//!
//! A path's row has the counter of its newest day beside that of all days, so that a view of today costs one row; when a
//! newer day begins, the finished one moves to `daily_totals`.

use std::cell::Cell;
use std::collections::BTreeMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::table::{self, Column, Places, Table};
use crate::tally::{Key, PathDelta, Tally};
use crate::{datum, pending, slots};

/// Columns of `path_totals`. The first ones of each table are its primary key.
mod path_totals {
    use super::Column;
    pub const COUNT: i32 = 8;
    pub const EPOCH: Column = 3;
    pub const VIEWS: Column = 4;
    pub const PAGE_TYPE: Column = 5;
    pub const LAST_VIEW_ID: Column = 6;
    pub const DAY: Column = 7;
    pub const DAY_VIEWS: Column = 8;
}

/// Columns of `daily_totals`.
mod daily_totals {
    use super::Column;
    pub const COUNT: i32 = 5;
    pub const EPOCH: Column = 4;
    pub const VIEWS: Column = 5;
}

/// Columns of `site_totals`.
mod site_totals {
    use super::Column;
    pub const COUNT: i32 = 3;
    pub const EPOCH: Column = 2;
    pub const VISITORS: Column = 3;
}

/// Columns of `sessions`.
mod sessions {
    use super::Column;
    pub const COUNT: i32 = 3;
    pub const EPOCH: Column = 2;
    pub const VIEWS: Column = 3;
}

/// The day of a path's row that has no day yet: `-infinity`, before all others.
const NO_DAY: i32 = i32::MIN;

thread_local! {
    /// Where the counters are that this process has written last. A flush takes them, and loses them if it fails.
    static PATHS: Cell<Option<Places>> = const { Cell::new(None) };
    static SITE: Cell<Option<Places>> = const { Cell::new(None) };
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Sessions that came into the session set.
    pub sessions_found: i64,
}

/// Views by day and path that count in `daily_totals`.
pub type Days = BTreeMap<(i32, Key), i64>;

/// Adds the deltas to the aggregates of an epoch. All its memory is free again when it returns, so a transaction over
/// millions of rows may flush as often as it likes.
pub fn write(page_views: pg_sys::Oid, epoch: i64, mut tally: Tally) -> Result<Flushed, ErrorReport> {
    tally.settle();
    if tally.is_empty() {
        return Ok(Flushed::default());
    }
    // SAFETY: the context lives until the end of the block, and nothing that was made in it leaves the block.
    unsafe {
        PgMemoryContexts::new("site_stats flush").switch_to(|_| {
            let change = write_sessions(epoch, &tally.sessions)?;
            let slot = slots::borrow(page_views);
            write_counters(epoch, slot, &tally.paths, Days::new(), change.came - change.left)?;
            Ok(Flushed { sessions_found: change.came })
        })
    }
}

/// Adds the deltas of paths, days and the whole site to a slot that this transaction has borrowed. What was written is seen
/// by the next command.
pub fn write_counters(
    epoch: i64,
    slot: i32,
    paths: &BTreeMap<Key, PathDelta>,
    mut days: Days,
    visitors: i64,
) -> Result<(), ErrorReport> {
    if !paths.is_empty() {
        write_paths(epoch, slot, paths, &mut days)?;
    }
    if !days.is_empty() {
        write_days(epoch, slot, &days)?;
    }
    if visitors != 0 {
        write_site(epoch, slot, visitors)?;
    }
    // SAFETY: a transaction is open. A second flush could not update rows of the same command.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(())
}

/// Writes the counters of paths with that of their newest day, and adds to `days` what belongs to older ones.
fn write_paths(
    epoch: i64,
    slot: i32,
    paths: &BTreeMap<Key, PathDelta>,
    days: &mut Days,
) -> Result<(), ErrorReport> {
    use path_totals::*;
    let mut table = Table::open(c"path_totals", COUNT)?;
    let mut places = PATHS.take().unwrap_or_default();
    for (path, delta) in paths {
        let key = [table::Key::Text(path), table::Key::Integer(slot)];
        let older = write_row(&mut table, Some(&mut places), &key, |table, found| {
            // A row of an older epoch is as good as none.
            let is_current = found && table.bigint(EPOCH) == epoch;
            let (views, last_view_id, kept) = if is_current {
                let kept = (table.integer(DAY), table.bigint(DAY_VIEWS));
                (table.bigint(VIEWS), table.bigint(LAST_VIEW_ID), kept)
            } else {
                (0, 0, (NO_DAY, 0))
            };
            let ((day, day_views), older) = delta.on_top_of(kept);
            let mut changes = vec![
                (EPOCH, epoch.into()),
                (VIEWS, (views + delta.views).into()),
                (DAY, day.into()),
                (DAY_VIEWS, day_views.into()),
            ];
            if !is_current || delta.last_view_id >= last_view_id {
                changes.push((PAGE_TYPE, datum::text(&delta.page_type)));
                changes.push((LAST_VIEW_ID, delta.last_view_id.into()));
            }
            let written = if found {
                table.update(&changes)?
            } else {
                table.insert(&[
                    datum::text(path),
                    slot.into(),
                    epoch.into(),
                    delta.views.into(),
                    datum::text(&delta.page_type),
                    delta.last_view_id.into(),
                    day.into(),
                    day_views.into(),
                ]);
                true
            };
            Ok(written.then_some(older))
        })?;
        for (day, views) in older {
            *days.entry((day, path.clone())).or_default() += views;
        }
    }
    PATHS.set(Some(places));
    table.close();
    Ok(())
}

fn write_days(epoch: i64, slot: i32, days: &Days) -> Result<(), ErrorReport> {
    use daily_totals::*;
    let mut table = Table::open(c"daily_totals", COUNT)?;
    for ((day, path), delta) in days {
        let key = [table::Key::Day(*day), table::Key::Text(path), table::Key::Integer(slot)];
        write_row(&mut table, None, &key, |table, found| {
            let written = if found {
                let before = if table.bigint(EPOCH) == epoch { table.bigint(VIEWS) } else { 0 };
                table.update(&[(EPOCH, epoch.into()), (VIEWS, (before + delta).into())])?
            } else {
                table.insert(&[(*day).into(), datum::text(path), slot.into(), epoch.into(), (*delta).into()]);
                true
            };
            Ok(written.then_some(()))
        })?;
    }
    table.close();
    Ok(())
}

fn write_site(epoch: i64, slot: i32, visitors: i64) -> Result<(), ErrorReport> {
    use site_totals::*;
    let mut table = Table::open(c"site_totals", COUNT)?;
    let mut places = SITE.take().unwrap_or_default();
    write_row(&mut table, Some(&mut places), &[table::Key::Integer(slot)], |table, found| {
        let written = if found {
            let before = if table.bigint(EPOCH) == epoch { table.bigint(VISITORS) } else { 0 };
            table.update(&[(EPOCH, epoch.into()), (VISITORS, (before + visitors).into())])?
        } else {
            table.insert(&[slot.into(), epoch.into(), visitors.into()]);
            true
        };
        Ok(written.then_some(()))
    })?;
    SITE.set(Some(places));
    table.close();
    Ok(())
}

/// How the session set has changed.
#[derive(Clone, Copy, Default)]
struct SessionChange {
    came: i64,
    left: i64,
}

/// Writes the deltas of sessions. A session without a view leaves no trace.
fn write_sessions(epoch: i64, deltas: &BTreeMap<Key, i64>) -> Result<SessionChange, ErrorReport> {
    use sessions::*;
    let mut change = SessionChange::default();
    if deltas.is_empty() {
        return Ok(change);
    }
    let mut table = Table::open(c"sessions", COUNT)?;
    for (session_id, delta) in deltas {
        let (before, now) = write_row(&mut table, None, &[table::Key::Text(session_id)], |table, found| {
            let before = if found && table.bigint(EPOCH) == epoch { table.bigint(VIEWS) } else { 0 };
            let now = before + delta;
            if !found && table.is_still_seen(&[table::Key::Text(session_id)]) {
                pending::note_unseen();
            }
            let written = match (found, now) {
                (true, 0) => table.delete()?,
                (true, _) => table.update(&[(EPOCH, epoch.into()), (VIEWS, now.into())])?,
                (false, 0) => true,
                (false, _) => table.insert_or_yield(&[datum::text(session_id), epoch.into(), now.into()]),
            };
            Ok(written.then_some((before, now)))
        })?;
        change.came += i64::from(before <= 0 && now > 0);
        change.left += i64::from(before > 0 && now <= 0);
    }
    table.close();
    Ok(change)
}

/// Finds a row and has `write` write it, again and again until nobody else has written it in between: then `write` returns
/// something. `places` are for rows that are likely to be written again.
fn write_row<R>(
    table: &mut Table,
    mut places: Option<&mut Places>,
    key: &[table::Key],
    mut write: impl FnMut(&mut Table, bool) -> Result<Option<R>, ErrorReport>,
) -> Result<R, ErrorReport> {
    loop {
        pgrx::check_for_interrupts!();
        let found = match &mut places {
            Some(places) => table.find_again(places, key),
            None => table.find(key),
        };
        if found && !table.is_seen() {
            pending::note_unseen();
        }
        if let Some(result) = write(table, found)? {
            if let Some(places) = places {
                table.note_place(places, key);
            }
            return Ok(result);
        }
    }
}
