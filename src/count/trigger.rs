//! The triggers of `page_views`.
//!
//! Invariant: each changed row is counted in a tally, or left to the backfill.
//!
//! Two functions with one body serve INSERT, UPDATE, DELETE and TRUNCATE. They run once for each statement.
//! Transition tables hold the rows, and are read directly: for a statement of one row, a query would cost
//! much more.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::count::counters::Writing;
use crate::count::page_view::{Gap, Layout, PageView};
use crate::count::spanned::Loosened;
use crate::count::state::Writer;
use crate::count::{pending, sites, spanned};
use crate::error;
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{self, SnapshotKind, Statement};
use crate::pg::transaction::OWN_NAMES;
use crate::pg::{catalog, fmgr, transaction};

/// Voids all counts, since no page view is left. An unfinished backfill has nothing left to count.
static EMPTY: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          epoch = s.epoch + 1,
          cursor = 0,
          target = 0,
          status = CASE WHEN s.status IN ('stopped', 'failed') THEN 'complete' ELSE s.status END,
          updated_at = pg_catalog.now(),
          finished_at = CASE WHEN s.status IN ('stopped', 'failed') THEN pg_catalog.now() ELSE s.finished_at END",
    &[],
);

// Not a `pg_trigger` of pgrx, which panics when it is called in any other way.
fmgr::sql_function!(count_page_views_wrapper, pg_finfo_count_page_views_wrapper, answer_trigger);

// The same for UPDATE and DELETE, under a name that the library of version 0.1.0 does not have. A session that has loaded that
// library can live on after an update. It must not subtract page views: it does not know that a session's count can be a lower
// bound.
fmgr::sql_function!(
    count_changed_page_views_wrapper,
    pg_finfo_count_changed_page_views_wrapper,
    answer_trigger
);

fn answer_trigger(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the context of a trigger call is `TriggerData`, which outlives the call.
    let change = unsafe {
        let is_trigger = !call.context.is_null() && (*call.context).type_ == pg_sys::NodeTag::T_TriggerData;
        if is_trigger { call.context.cast::<pg_sys::TriggerData>().as_ref() } else { None }
    };
    change.ok_or_else(error::foreign_trigger).and_then(count_change)?;
    Ok(pg_sys::Datum::from(0))
}

fn count_change(change: &pg_sys::TriggerData) -> Result<(), ErrorReport> {
    let page_views = catalog::page_views()?;
    let event = change.tg_event;
    let is_ours = event & pg_sys::TRIGGER_EVENT_ROW == 0
        && event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_AFTER
        // SAFETY: the trigger manager passes an open relation.
        && unsafe { (*change.tg_relation).rd_id } == page_views;
    if !is_ours {
        return Err(error::foreign_trigger());
    }
    // SAFETY: looks at what kind of process this is.
    if unsafe { pg_sys::IsLogicalWorker() } {
        return Err(error::logical_worker());
    }
    if event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_TRUNCATE {
        return empty(page_views);
    }
    // SAFETY: the trigger manager passes the transition tables that the trigger declares, with rows of its
    // relation.
    let (mut removed, mut added) = unsafe {
        (
            TransitionTable::open(change.tg_oldtable, change.tg_relation)?,
            TransitionTable::open(change.tg_newtable, change.tg_relation)?,
        )
    };
    if removed.is_none() && added.is_none() {
        return Ok(());
    }

    let mut writer = Writer::new(page_views)?;
    let mut loosened = Loosened::new()?;
    let mut tally = pending::take_tally(page_views, writer.epoch())?;
    // An UPDATE leaves the old and the new version of a row at the same position of each table. The two
    // deltas often cancel out.
    loop {
        let (old, new) = (
            removed.as_mut().and_then(TransitionTable::next),
            added.as_mut().and_then(TransitionTable::next),
        );
        if old.is_none() && new.is_none() {
            break;
        }
        let old = match old {
            None => None,
            Some(Ok(view)) => Some(view),
            Some(Err(gap)) if gap.untyped.is_some() => gap.untyped,
            // A row with NULL cannot come in. But a column that was dropped and added again is NULL in rows that were counted.
            Some(Err(Gap { column, id: Some(id), .. })) if writer.counts(id)? => {
                return Err(error::null_in_counted(column));
            }
            Some(Err(_)) => None,
        };
        let new = new.transpose().map_err(|gap| error::null_in_page_view(gap.column))?;
        old.iter().chain(&new).for_each(|view| loosened.see(view));
        if let (Some(old), Some(new)) = (&old, &new)
            && old.id == new.id
            && new.has_same_counters_as(old)
        {
            continue;
        }
        if let Some(view) = &old
            && writer.counts(view.id)?
        {
            tally.subtract(view);
        }
        if let Some(view) = &new {
            sites::require(view.site_id)?;
        }
        if let Some(view) = &new
            && writer.counts(view.id)?
        {
            tally.add(view);
        }
        if tally.is_full() || loosened.is_full() {
            pending::put_back_tally(tally);
            pending::flush()?;
            loosened.write()?;
            tally = pending::take_tally(page_views, writer.epoch())?;
        }
        pgrx::check_for_interrupts!();
    }
    pending::put_back_tally(tally);
    removed.into_iter().chain(added).for_each(TransitionTable::close);
    loosened.write()?;
    pending::end_statement()
}

/// TRUNCATE: its ACCESS EXCLUSIVE lock and the gate keep writers and batches out until it commits.
fn empty(page_views: pg_sys::Oid) -> Result<(), ErrorReport> {
    pending::flush()?; // for the old epoch, which a rollback to a savepoint brings back
    Lock::new(Class::Gate, page_views, 0).acquire(Mode::Exclusive);
    transaction::as_owner(catalog::table(c"backfill_state")?, || {
        transaction::with_settings(&[OWN_NAMES], || {
            let _writing = Writing::begin()?;
            spi::connect(|connection| {
                EMPTY.run(connection, SnapshotKind::Current, &[])?;
                spanned::reset_if_installed(connection)
            })
        })
    })?;
    catalog::announce_change(page_views);
    Ok(())
}

/// A transition table, read by a pointer of its own.
struct TransitionTable {
    rows: *mut pg_sys::Tuplestorestate,
    slot: *mut pg_sys::TupleTableSlot,
    layout: Layout,
    /// Memory for the detoasted values of the current row.
    scratch: PgMemoryContexts,
}

impl TransitionTable {
    /// `None` if there is no such table, or if it has no row. A statement without rows fires the trigger,
    /// too.
    ///
    /// # Safety
    /// `rows` must be null or hold rows of `relation`, and both must outlive the result. After an error, the
    /// end of the transaction frees what `close` would have freed.
    unsafe fn open(
        rows: *mut pg_sys::Tuplestorestate,
        relation: pg_sys::Relation,
    ) -> Result<Option<Self>, ErrorReport> {
        // SAFETY: the caller guarantees the store and the relation. Another reader may have moved read
        // pointer 0, so this allocates its own.
        unsafe {
            if rows.is_null() || pg_sys::tuplestore_tuple_count(rows) == 0 {
                return Ok(None);
            }
            let layout = Layout::of(relation)?;
            let pointer = pg_sys::tuplestore_alloc_read_pointer(rows, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(rows, pointer);
            pg_sys::tuplestore_rescan(rows);
            let slot =
                pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsMinimalTuple);
            Ok(Some(TransitionTable { rows, slot, layout, scratch: PgMemoryContexts::new("site_stats row") }))
        }
    }

    /// The next row: a page view, or one with NULL. It is borrowed from the store, and valid until the next call.
    fn next(&mut self) -> Option<Result<PageView<'_>, Gap<'_>>> {
        // SAFETY: the slot is a minimal tuple slot, whose `tuple` has the header of a heap tuple. The row is one of
        // `page_views`, whose layout was looked up. The row before, which used the scratch memory, is gone.
        unsafe {
            if !pg_sys::tuplestore_gettupleslot(self.rows, true, false, self.slot) {
                return None;
            }
            self.scratch.reset();
            let tuple = (*self.slot.cast::<pg_sys::MinimalTupleTableSlot>()).tuple;
            let description = (*self.slot).tts_tupleDescriptor;
            self.scratch.switch_to(|_| Some(self.layout.read(tuple, description)))
        }
    }

    fn close(self) {
        // SAFETY: `open` made the slot, and `self` is consumed.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
    }
}
