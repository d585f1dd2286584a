//! The only code that counts: it adds deltas to the aggregates. Deltas come from triggers and from batches in the same form, a `Tally`.
//!
//! Rows of `path_totals`, `daily_totals` and `site_totals` belong to the slot that the transaction has borrowed, so
//! nobody waits for them. A row of `sessions` is shared by all transactions that touch the session: they wait for each
//! other until they commit, which is what makes the number of visitors exact. They touch sessions in the order of their
//! keys, and before anything else, so that two who flush once never wait for each other in a circle.
//!
//! A path's row has the counter of its newest day beside that of all days, so that a view of today costs one row; when a
//! newer day begins, the finished one moves to `daily_totals`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::places::{Novelty, Places};
use crate::table::{self, Column, Table};
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

/// Rows that a process remembers the places of: 32 kB for the paths that are viewed most.
const PATHS_KEPT: usize = 4096;
/// 8 MB for the sessions of a backfill.
const SESSIONS_KEPT: usize = 1 << 20;

thread_local! {
    static PATHS: RefCell<Places> = RefCell::new(Places::new(PATHS_KEPT));
    static SITE: RefCell<Places> = RefCell::new(Places::new(64));
    static DAYS: RefCell<Novelty> = RefCell::default();
    static SESSIONS: RefCell<Option<KnownSessions>> = const { RefCell::new(None) };
}

/// The sessions that the batches of a backfill have met. What they say is looked at before it is believed, since
/// others write sessions too; it spares most of the walks through an index that is much larger than a processor's cache.
struct KnownSessions {
    places: Places,
    novelty: Novelty,
}

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A transaction that has changed page views.
    Writer,
    /// A batch of a backfill, which is followed by others.
    Batch,
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
pub fn write(page_views: pg_sys::Oid, epoch: i64, mut tally: Tally, by: By) -> Result<Flushed, ErrorReport> {
    tally.settle();
    if tally.is_empty() {
        return Ok(Flushed::default());
    }
    // SAFETY: the context lives until the end of the block, and nothing that was made in it leaves the block.
    unsafe {
        PgMemoryContexts::new("site_stats flush").switch_to(|_| {
            let change = match by {
                By::Writer => write_sessions(epoch, &tally.sessions, Memory::default()),
                By::Batch => SESSIONS.with_borrow_mut(|known| {
                    let known = known.get_or_insert_with(|| KnownSessions {
                        places: Places::new(SESSIONS_KEPT),
                        novelty: Novelty::default(),
                    });
                    let memory =
                        Memory { places: Some(&mut known.places), novelty: Some(&mut known.novelty) };
                    write_sessions(epoch, &tally.sessions, memory)
                }),
            }?;
            let slot = slots::borrow(page_views);
            write_counters(epoch, slot, &tally.paths, Days::new(), change.came - change.left)?;
            Ok(Flushed { sessions_found: change.came })
        })
    }
}

/// Forgets the sessions that batches have met, after the last one.
pub fn forget_sessions() {
    SESSIONS.take();
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
        PATHS.with_borrow_mut(|places| {
            let memory = Memory { places: Some(places), novelty: None };
            write_paths(epoch, slot, paths, &mut days, memory)
        })?;
    }
    if !days.is_empty() {
        DAYS.with_borrow_mut(|novelty| {
            write_days(epoch, slot, &days, Memory { places: None, novelty: Some(novelty) })
        })?;
    }
    if visitors != 0 {
        SITE.with_borrow_mut(|places| {
            write_site(epoch, slot, visitors, Memory { places: Some(places), novelty: None })
        })?;
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
    mut memory: Memory,
) -> Result<(), ErrorReport> {
    use path_totals::*;
    let mut table = Table::open(c"path_totals", COUNT)?;
    for (path, delta) in paths {
        let key = [table::Key::Text(path), table::Key::Integer(slot)];
        let older = write_row(&mut table, &mut memory, &key, |table, found| {
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
    table.close();
    Ok(())
}

fn write_days(epoch: i64, slot: i32, days: &Days, mut memory: Memory) -> Result<(), ErrorReport> {
    use daily_totals::*;
    let mut table = Table::open(c"daily_totals", COUNT)?;
    for ((day, path), delta) in days {
        let key = [table::Key::Day(*day), table::Key::Text(path), table::Key::Integer(slot)];
        write_row(&mut table, &mut memory, &key, |table, found| {
            let written = if found {
                let before = if table.bigint(EPOCH) == epoch { table.bigint(VIEWS) } else { 0 };
                table.update(&[(EPOCH, epoch.into()), (VIEWS, (before + delta).into())])?
            } else {
                let row = [(*day).into(), datum::text(path), slot.into(), epoch.into(), (*delta).into()];
                table.insert_or_yield(&row)
            };
            Ok(written.then_some(()))
        })?;
    }
    table.close();
    Ok(())
}

fn write_site(epoch: i64, slot: i32, visitors: i64, mut memory: Memory) -> Result<(), ErrorReport> {
    use site_totals::*;
    let mut table = Table::open(c"site_totals", COUNT)?;
    write_row(&mut table, &mut memory, &[table::Key::Integer(slot)], |table, found| {
        let written = if found {
            let before = if table.bigint(EPOCH) == epoch { table.bigint(VISITORS) } else { 0 };
            table.update(&[(EPOCH, epoch.into()), (VISITORS, (before + visitors).into())])?
        } else {
            table.insert(&[slot.into(), epoch.into(), visitors.into()]);
            true
        };
        Ok(written.then_some(()))
    })?;
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
fn write_sessions(
    epoch: i64,
    deltas: &BTreeMap<Key, i64>,
    mut memory: Memory,
) -> Result<SessionChange, ErrorReport> {
    use sessions::*;
    let mut change = SessionChange::default();
    if deltas.is_empty() {
        return Ok(change);
    }
    let mut table = Table::open(c"sessions", COUNT)?;
    for (session_id, delta) in deltas {
        let (before, now) =
            write_row(&mut table, &mut memory, &[table::Key::Text(session_id)], |table, found| {
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

/// What helps to find a row.
#[derive(Default)]
struct Memory<'m> {
    /// Of rows that are likely to be written again.
    places: Option<&'m mut Places>,
    /// Of rows that are likely to be new. What writes a new one must yield to a row that is there after all.
    novelty: Option<&'m mut Novelty>,
}

/// Finds a row and has `write` write it, again and again until nobody else has written it in between: then `write` returns
/// something.
fn write_row<R>(
    table: &mut Table,
    memory: &mut Memory,
    key: &[table::Key],
    mut write: impl FnMut(&mut Table, bool) -> Result<Option<R>, ErrorReport>,
) -> Result<R, ErrorReport> {
    let mut may_guess = true;
    loop {
        pgrx::check_for_interrupts!();
        let is_where_it_was = memory.places.as_mut().and_then(|places| table.is_where_it_was(places, key));
        let found = match (is_where_it_was, &mut memory.novelty) {
            (Some(true), _) => true,
            (None, Some(novelty)) if may_guess && novelty.is_likely() => false,
            (is_where_it_was, novelty) => {
                let found = table.find(key);
                if let (None, Some(novelty)) = (is_where_it_was, novelty) {
                    novelty.learn(found);
                }
                found
            }
        };
        may_guess = false;
        if found && !table.is_seen() {
            pending::note_unseen();
        }
        if let Some(result) = write(table, found)? {
            if let Some(places) = &mut memory.places {
                table.note_place(places, key);
            }
            return Ok(result);
        }
    }
}
