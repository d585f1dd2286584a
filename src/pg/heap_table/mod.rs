//! Direct access to the aggregate tables: a row found by its primary key and written in place, without a plan, without the
//! executor. An upsert by SQL costs 20 to 30 microseconds, this a few; and it takes what is committed now at any
//! isolation level, so that a counter never gives a REPEATABLE READ writer 40001.
//!
//! A row is found with a dirty snapshot, as a unique index looks for a conflict: what another transaction is about to insert
//! or delete is seen, and waited for. So a row that `find` returns is the latest there is, and nobody who counts is in
//! the middle of changing it; if somebody comes first after all, the write returns `false`, and the caller finds again.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::hash::{Hash, Hasher};
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::datum::Column;
use crate::pg::indexes::Indexes;
use crate::pg::tid::Tid;
use crate::pg::{catalog, snapshot, version};

mod blocks;
mod change;
mod find;

/// The value of a column of the primary key.
#[derive(Clone, Copy)]
pub enum KeyValue<'k> {
    Text(&'k [u8]),
    Integer(i32),
    /// Days since 2000-01-01.
    Day(i32),
    Boolean(bool),
}

/// What becomes of a column.
#[derive(Clone, Copy)]
pub enum ColumnChange {
    Same,
    Null,
    Value(pg_sys::Datum),
}

impl ColumnChange {
    /// A value, if there is a reason to write it.
    pub fn value_if(is_new: bool, value: impl FnOnce() -> pg_sys::Datum) -> Self {
        if is_new { ColumnChange::Value(value()) } else { ColumnChange::Same }
    }
}

/// Of the value alone: two keys of different columns are never compared.
impl Hash for KeyValue<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match *self {
            KeyValue::Text(bytes) => hasher.write(bytes),
            KeyValue::Integer(number) | KeyValue::Day(number) => hasher.write_i32(number),
            KeyValue::Boolean(is_true) => hasher.write_u8(u8::from(is_true)),
        }
    }
}

/// An open aggregate table, and the row found last.
pub struct Table {
    name: &'static CStr,
    relation: pg_sys::Relation,
    /// The index of the primary key, and the walk through it: none as long as each row is where it was expected.
    key: pg_sys::Oid,
    walk: Option<Walk>,
    /// What a look at a row tells of transactions in progress.
    dirty: pg_sys::Snapshot,
    slot: *mut pg_sys::TupleTableSlot,
    command: pg_sys::CommandId,
    /// The transaction's snapshot, where it has one from its first statement to its end.
    snapshot: Option<pg_sys::Snapshot>,
    /// Only a new row and one that left its page need them.
    indexes: Option<Indexes>,
    /// How long the table is at least.
    blocks: u32,
    /// Where the row is that was written last.
    written: Option<Tid>,
    /// New rows that are in the table and in no index yet.
    without_indexes: VecDeque<*mut pg_sys::TupleTableSlot>,
    /// Slots for more of them.
    spare: Vec<*mut pg_sys::TupleTableSlot>,
}

/// A way to rows by their primary key.
#[derive(Clone, Copy)]
struct Walk {
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
}

impl Table {
    /// Opens a table of ours with at least so many columns. Everything belongs to the current memory context and resource
    /// owner; after an error they close what `close` would have.
    pub fn open(name: &'static CStr, columns: i32) -> Result<Self, ErrorReport> {
        let oid = catalog::table(name)?;
        // SAFETY: the table exists, and is locked before it is looked at; a transaction is open.
        unsafe {
            let relation = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
            let key = version::primary_key(relation);
            // As our install script made it: what is below writes heap tuples, and scans the key.
            if (*(*relation).rd_rel).relam != pg_sys::HEAP_TABLE_AM_OID
                || (*(*relation).rd_att).natts < columns
                || key == pg_sys::InvalidOid
            {
                return Err(error::not_installed(&name.to_string_lossy()));
            }
            let dirty = pg_sys::palloc0(size_of::<pg_sys::SnapshotData>()).cast::<pg_sys::SnapshotData>();
            (*dirty).snapshot_type = pg_sys::SnapshotType::SNAPSHOT_DIRTY;
            let slot = pg_sys::table_slot_create(relation, null_mut());
            let command = pg_sys::GetCurrentCommandId(true);
            let snapshot = snapshot::uses_one_snapshot().then(|| pg_sys::GetTransactionSnapshot());
            Ok(Table {
                name,
                relation,
                key,
                walk: None,
                dirty,
                slot,
                command,
                snapshot,
                indexes: None,
                blocks: known_length(relation),
                written: None,
                without_indexes: VecDeque::new(),
                spare: Vec::new(),
            })
        }
    }

    /// Closes the table; its lock stays until the transaction ends.
    pub fn close(self) {
        // SAFETY: all of it was opened by `open`, and is not used any more.
        unsafe {
            if let Some(indexes) = self.indexes {
                indexes.close();
            }
            for slot in self.spare.into_iter().chain(self.without_indexes) {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            if let Some(Walk { index, scan }) = self.walk {
                pg_sys::index_endscan(scan);
                pg_sys::index_close(index, pg_sys::NoLock as i32);
            }
            pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
        }
    }

    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: the relation is open.
        unsafe { (*self.relation).rd_id }
    }

    /// Whether the table has this column: an older version of the extension may have made it.
    pub fn has_column(&self, column: Column) -> bool {
        // SAFETY: the relation is open.
        unsafe { (*(*self.relation).rd_att).natts >= i32::from(column) }
    }

    /// The table, and its file.
    pub fn file(&self) -> (pg_sys::Oid, pg_sys::Oid) {
        // SAFETY: the relation is open.
        (self.oid(), unsafe { version::file_of(self.relation) })
    }

    /// Finds a row and has `write` write it, again and again until nobody else has written it in between: then `write` returns
    /// something. It is told whether there is a row, which is the current one then; `place` is a guess where.
    pub fn write<R>(
        &mut self,
        key: &[KeyValue],
        tid: Option<Tid>,
        mut write: impl FnMut(&mut Table, bool) -> Result<Option<R>, ErrorReport>,
    ) -> Result<R, ErrorReport> {
        let mut tid = tid;
        loop {
            pgrx::check_for_interrupts!();
            let found = tid.take().is_some_and(|tid| self.is_at(tid, key)) || self.find(key);
            if found && !self.is_seen() {
                snapshot::note_newer_than_snapshot();
            }
            if let Some(result) = write(self, found)? {
                return Ok(result);
            }
        }
    }

    /// Where the row is that was written last.
    pub fn written(&self) -> Option<Tid> {
        self.written
    }
}

/// How long a table is at least, as far as this process knows without asking the system. A table becomes shorter only under a
/// lock that excludes ours, and every process is told before it does; these messages are read when a table is locked.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn known_length(relation: pg_sys::Relation) -> u32 {
    // SAFETY: as the caller vouches; the file's entry is there or the pointer is null.
    let length = unsafe { (*relation).rd_smgr.as_ref() }.map(|file| file.smgr_cached_nblocks[0]);
    length.filter(|length| *length != pg_sys::InvalidBlockNumber).unwrap_or(0)
}
