//! Direct access to the aggregate tables: finds a row by its primary key and writes it, without plan or
//! executor.
//!
//! An upsert in SQL costs 20 to 30 microseconds, this a few. At any isolation level it writes on top of what
//! is committed now. So a counter never gives a REPEATABLE READ writer 40001.
//!
//! Invariant: the row that `find` returns is the latest version, and no other transaction in progress has
//! changed it. Rows are found with a dirty snapshot, as a unique index looks for conflicts. The snapshot
//! shows insertions and deletions of transactions in progress, and `find` waits for these. If another
//! transaction still comes first, the write returns `false`, and the caller finds the row again.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::datum::Column;
use crate::pg::indexes::Indexes;
use crate::pg::tid::Tid;
use crate::pg::{catalog, snapshot, version};

use definition::{Definition, Way};

mod blocks;
mod change;
pub mod definition;
mod find;
mod lasting;
mod statement;

/// The value of a column of the primary key.
#[derive(Clone, Copy)]
pub enum KeyValue<'k> {
    Text(&'k [u8]),
    Integer(i32),
    Smallint(i16),
    /// Days since 2000-01-01.
    Day(i32),
    Boolean(bool),
}

/// What an update does with a column.
#[derive(Clone, Copy)]
pub enum ColumnChange {
    Same,
    Null,
    Value(pg_sys::Datum),
}

impl ColumnChange {
    /// `Value` if the column needs to be written, `Same` if not.
    pub fn value_if(is_new: bool, value: impl FnOnce() -> pg_sys::Datum) -> Self {
        if is_new { ColumnChange::Value(value()) } else { ColumnChange::Same }
    }
}

/// Hashes the value without its type: keys of different columns are never compared.
impl Hash for KeyValue<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match *self {
            KeyValue::Text(bytes) => hasher.write(bytes),
            KeyValue::Integer(number) | KeyValue::Day(number) => hasher.write_i32(number),
            KeyValue::Smallint(number) => hasher.write_i16(number),
            KeyValue::Boolean(is_true) => hasher.write_u8(u8::from(is_true)),
        }
    }
}

/// An open aggregate table, and its current row: the row found last.
pub struct Table {
    definition: &'static Definition,
    way: Way,
    relation: pg_sys::Relation,
    /// The index of the primary key, and the scan of it. `None` as long as each row was found at its
    /// remembered tid.
    key: pg_sys::Oid,
    walk: Option<Walk>,
    /// The dirty snapshot. Each visibility check writes the transactions in progress into it.
    dirty: pg_sys::Snapshot,
    slot: *mut pg_sys::TupleTableSlot,
    command: pg_sys::CommandId,
    /// The transaction's snapshot, if it has one from its first statement to its end.
    snapshot: Option<pg_sys::Snapshot>,
    /// Opened for the first new row, or the first update that is not HOT.
    indexes: Option<Indexes>,
    /// A lower bound for the length of the table, in blocks.
    blocks: u32,
    /// Where the row written last is.
    written: Option<Tid>,
    /// New rows that are in the table and in no index yet.
    without_indexes: VecDeque<*mut pg_sys::TupleTableSlot>,
    /// New rows that are not to be inserted together, in place of `without_indexes`.
    one_by_one: VecDeque<Vec<pg_sys::Datum>>,
    /// Free slots for more of these rows.
    spare: Vec<*mut pg_sys::TupleTableSlot>,
}

/// An open scan of the primary key's index.
#[derive(Clone, Copy)]
struct Walk {
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
}

impl Table {
    /// Opens a table of site_stats. All belongs to the current memory context and resource owner, which clean
    /// up after an error.
    ///
    /// # Errors
    /// 55000 if the table is not there, or has been altered so that its rows cannot be written right.
    pub fn open(definition: &'static Definition) -> Result<Self, ErrorReport> {
        let oid = catalog::table(definition.name)?;
        // SAFETY: the table exists, and is locked when it is opened. The callers run in a transaction, in
        // which the snapshot and the command id are valid.
        unsafe {
            let relation = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
            let (definition, way) = definition::way_to_write(relation, definition)?;
            let key = version::primary_key(relation);
            let dirty = pg_sys::palloc0(size_of::<pg_sys::SnapshotData>()).cast::<pg_sys::SnapshotData>();
            (*dirty).snapshot_type = pg_sys::SnapshotType::SNAPSHOT_DIRTY;
            let slot = pg_sys::table_slot_create(relation, null_mut());
            let command = pg_sys::GetCurrentCommandId(true);
            let snapshot = snapshot::uses_one_snapshot().then(|| pg_sys::GetTransactionSnapshot());
            Ok(Table {
                definition,
                way,
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
                one_by_one: VecDeque::new(),
                spare: Vec::new(),
            })
        }
    }

    /// Closes the table; its lock stays until the transaction ends.
    pub fn close(self) {
        // SAFETY: `open` and later calls made all of it, and `self` is consumed.
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
        // SAFETY: the relation is open from `open` to `close`.
        unsafe { (*self.relation).rd_id }
    }

    /// How many columns of ours the table has. A table of an older version of the extension may lack some.
    fn columns(&self) -> usize {
        self.definition.columns.len()
    }

    /// Whether the table has this column of ours.
    pub fn has_column(&self, column: Column) -> bool {
        usize::try_from(column).is_ok_and(|column| column <= self.columns())
    }

    /// Whether rows are written past the executor.
    pub fn is_written_directly(&self) -> bool {
        self.way != Way::Executor
    }

    /// The oid of the table, and the number of its file.
    pub fn file(&self) -> (pg_sys::Oid, pg_sys::Oid) {
        // SAFETY: the relation is open from `open` to `close`.
        (self.oid(), unsafe { version::file_of(self.relation) })
    }

    /// Finds a row and calls `write` for it, again and again until `write` returns a value. `write` returns
    /// `None` if another transaction wrote the row first.
    ///
    /// The second argument of `write` says whether there is a row; it is the current row then. `tid` is a
    /// guess of where the row is.
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

    /// Where the row written last is.
    pub fn written(&self) -> Option<Tid> {
        self.written
    }
}

/// A lower bound for the length of a table, from what this process has cached, without a system call.
///
/// VACUUM truncates a table only under a lock that conflicts with ours. Before that it sends an invalidation
/// to every process, and a process reads these when it locks a table.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn known_length(relation: pg_sys::Relation) -> u32 {
    // SAFETY: the caller guarantees an open relation; `rd_smgr` is null or points to its entry.
    let length = unsafe { (*relation).rd_smgr.as_ref() }.map(|file| file.smgr_cached_nblocks[0]);
    length.filter(|length| *length != pg_sys::InvalidBlockNumber).unwrap_or(0)
}
