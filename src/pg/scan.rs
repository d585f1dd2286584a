//! Scans without a plan: of a table by an index, and of tables of a few rows.
//!
//! For questions that arise for each page view, statement or batch. A planned query would cost more than its
//! answer.

use std::ffi::CStr;
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::datum::{self, Column};
use crate::pg::{catalog, version};

/// A condition of a scan: the column of the index, the strategy and the function of the operator, and the
/// value.
pub type Condition = (Column, u32, u32, pg_sys::Datum);

/// Whether a table has no row: neither one that is committed now nor one of this transaction.
pub fn is_empty(table: &'static CStr) -> Result<bool, ErrorReport> {
    // SAFETY: `GetLatestSnapshot` needs an open transaction; only functions and steps call this, inside one.
    show_first(catalog::table(table)?, unsafe { pg_sys::GetLatestSnapshot() }, |row| Ok(row.is_none()))
}

/// How many blocks a table has.
pub fn length(table: pg_sys::Oid) -> u32 {
    length_and_persistence(table).0
}

/// How many blocks a table has, and whether it is UNLOGGED.
pub fn length_and_persistence(table: pg_sys::Oid) -> (u32, bool) {
    // SAFETY: the table exists, and is open while it is measured.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        let is_unlogged = (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_UNLOGGED;
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        (blocks, is_unlogged)
    }
}

/// The blocks of a table that may have a row which some snapshot does not show. All rows in the others were there, as they are, for
/// every snapshot that is held. Returns the first block of each range, and the one behind it. Nobody may be writing to the table.
pub fn blocks_with_news(table: pg_sys::Oid) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    let is_told = version::keeps_all_snapshots();
    let mut map = pg_sys::InvalidBuffer as pg_sys::Buffer;
    // SAFETY: the table exists, and is open while its visibility map is read. That pins a block of the map, until the next one.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        for block in 0..pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM) {
            let status = u32::from(pg_sys::visibilitymap_get_status(relation, block, &mut map));
            if is_told && status & pg_sys::VISIBILITYMAP_ALL_VISIBLE != 0 {
                continue;
            }
            match found.last_mut() {
                Some((_, beyond)) if *beyond == block => *beyond += 1,
                _ => found.push((block, block + 1)),
            }
        }
        if map != pg_sys::InvalidBuffer as pg_sys::Buffer {
            pg_sys::ReleaseBuffer(map);
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    found
}

/// Calls `show` with the first row of a small table that the snapshot shows, or with `None`. The values live
/// until `show` returns.
pub fn show_first<R>(
    table: pg_sys::Oid,
    snapshot: pg_sys::Snapshot,
    show: impl FnOnce(Option<&[Option<pg_sys::Datum>]>) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    // SAFETY: the table is open and locked from here to `table_close`. The snapshot is registered while the
    // scan uses it. The tuple is read before the scan ends. An error in between aborts the transaction, which
    // closes all three.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let snapshot = pg_sys::RegisterSnapshot(snapshot);
        let scan = pg_sys::systable_beginscan(relation, pg_sys::InvalidOid, false, snapshot, 0, null_mut());
        let tuple = pg_sys::systable_getnext(scan);
        let row = (!tuple.is_null()).then(|| datum::columns_of(tuple, (*relation).rd_att));
        let shown = show(row.as_deref());
        pg_sys::systable_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        shown
    }
}

/// Calls `show` with each row that the snapshot shows and that meets the conditions, in the order of the
/// index, until `show` returns false. The tuple stays valid while `show` runs. A dirty snapshot says of each row which
/// transaction in progress has inserted or deleted it.
pub fn by_index(
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    conditions: &[Condition],
    snapshot: pg_sys::Snapshot,
    show: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc) -> Result<bool, ErrorReport>,
) -> Result<(), ErrorReport> {
    let mut scanner = Scanner::open(table, index, snapshot, conditions.len());
    scanner.run(conditions, Direction::Forward, show)?;
    scanner.close();
    Ok(())
}

/// Which way through an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// A scan of a table by an index that is run several times. An error in between aborts the transaction, which closes all.
pub struct Scanner {
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    /// `None` for a dirty snapshot, which is the caller's: a copy would keep its news to itself.
    snapshot: Option<pg_sys::Snapshot>,
    keys: Vec<pg_sys::ScanKeyData>,
    /// The memory that the scan was opened in. It allocates more there when it meets dead rows, and frees that at its end: the
    /// caller's memory of the moment may be gone by then.
    memory: pg_sys::MemoryContext,
}

impl Scanner {
    /// For scans with so many conditions.
    pub fn open(
        table: pg_sys::Oid,
        index: pg_sys::Oid,
        snapshot: pg_sys::Snapshot,
        conditions: usize,
    ) -> Self {
        // SAFETY: table and index are locked when they are opened. The snapshot is registered as long as the scan is open, or
        // is the caller's.
        unsafe {
            let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
            let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
            let is_dirty = (*snapshot).snapshot_type == pg_sys::SnapshotType::SNAPSHOT_DIRTY;
            let registered = (!is_dirty).then(|| pg_sys::RegisterSnapshot(snapshot));
            let count = i32::try_from(conditions).unwrap_or(0);
            Scanner {
                relation,
                index,
                scan: version::begin_scan(relation, index, registered.unwrap_or(snapshot), count),
                slot: pg_sys::table_slot_create(relation, null_mut()),
                snapshot: registered,
                keys: vec![pg_sys::ScanKeyData::default(); conditions],
                memory: pg_sys::CurrentMemoryContext,
            }
        }
    }

    /// As `by_index`, in a direction. There must be as many conditions as `open` was told.
    pub fn run(
        &mut self,
        conditions: &[Condition],
        direction: Direction,
        mut show: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc) -> Result<bool, ErrorReport>,
    ) -> Result<(), ErrorReport> {
        debug_assert_eq!(conditions.len(), self.keys.len());
        let direction = match direction {
            Direction::Forward => pg_sys::ScanDirection::ForwardScanDirection,
            Direction::Backward => pg_sys::ScanDirection::BackwardScanDirection,
        };
        // SAFETY: all is open. The slot pins the tuple's buffer until it gets the next tuple. The conditions compare in
        // collation C, which is that of our indexes.
        unsafe {
            for (key, (column, strategy, function, value)) in self.keys.iter_mut().zip(conditions) {
                pg_sys::ScanKeyInit(key, *column, *strategy as u16, pg_sys::Oid::from(*function), *value);
            }
            let count = i32::try_from(self.keys.len()).unwrap_or(0);
            let of_caller = pg_sys::MemoryContextSwitchTo(self.memory);
            pg_sys::index_rescan(self.scan, self.keys.as_mut_ptr(), count, null_mut(), 0);
            while pg_sys::index_getnext_slot(self.scan, direction, self.slot) {
                pg_sys::MemoryContextSwitchTo(of_caller);
                let tuple = pg_sys::ExecFetchSlotHeapTuple(self.slot, false, null_mut());
                let goes_on = show(tuple, (*self.relation).rd_att)?;
                pgrx::check_for_interrupts!();
                if !goes_on {
                    return Ok(());
                }
                pg_sys::MemoryContextSwitchTo(self.memory);
            }
            pg_sys::MemoryContextSwitchTo(of_caller);
        }
        Ok(())
    }

    pub fn close(self) {
        // SAFETY: `open` has opened all of it.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::index_endscan(self.scan);
            if let Some(snapshot) = self.snapshot {
                pg_sys::UnregisterSnapshot(snapshot);
            }
            pg_sys::index_close(self.index, pg_sys::NoLock as i32);
            pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
        }
    }
}
