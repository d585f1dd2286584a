//! Finding a row: at a remembered tid, or by its primary key.
//!
//! The row found is the current row of the `Table`. Its slot pins its buffer until the next call.

use std::ptr::null_mut;

use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;

use super::{KeyValue, Table, Walk};
use crate::pg::datum::{self, Column};
use crate::pg::tid::Tid;
use crate::pg::version;

/// The largest number of columns of a primary key.
const MOST_KEYS: usize = 4;

/// Free space, in bytes, below which a block is pruned before it is read: room for a new version of nearly
/// any row. If a longer version finds no room, `heap_update` marks the block as full. Chosen, not measured.
const ROOM: usize = 512;

impl Table {
    /// Whether the row with this key is at this tid, in its latest version, with no transaction changing it.
    /// It is the current row then.
    pub(super) fn is_at(&mut self, tid: Tid, key: &[KeyValue]) -> bool {
        if !self.is_row_at(tid) {
            return false;
        }
        let is_it = self.has_key(key);
        if !is_it {
            // SAFETY: `open` made the slot, and only this table uses it.
            unsafe { pg_sys::ExecClearTuple(self.slot) };
        }
        is_it
    }

    /// Whether any row is at this tid, in its latest version, with no transaction changing it. It is the
    /// current row then.
    pub fn is_row_at(&mut self, tid: Tid) -> bool {
        if tid.0 >= self.blocks && tid.0 >= self.length() {
            return false;
        }
        // SAFETY: the relation is open, and its lock keeps it from being truncated. A tid beyond its end,
        // which a VACUUM may have left, is not read. Any row at the tid has the columns of the table.
        unsafe {
            let dirty = self.dirty;
            let is_there = self.fetch(tid.0, |relation, buffer, tuple| {
                let page = pg_sys::BufferGetPage(buffer);
                if tid.1 > pg_sys::PageGetMaxOffsetNumber(page) {
                    return false;
                }
                let item = pg_sys::PageGetItemId(page, tid.1);
                (*item).lp_flags() == pg_sys::LP_NORMAL && {
                    (*tuple).t_data = pg_sys::PageGetItem(page, item).cast();
                    (*tuple).t_len = (*item).lp_len();
                    (*tuple).t_tableOid = (*relation).rd_id;
                    item_pointer_set_all(&mut (*tuple).t_self, tid.0, tid.1);
                    pg_sys::HeapTupleSatisfiesVisibility(tuple, dirty, buffer)
                }
            });
            if !is_there {
                return false;
            }
            let is_free = (*self.dirty).xmin == pg_sys::InvalidTransactionId
                && (*self.dirty).xmax == pg_sys::InvalidTransactionId;
            if !is_free {
                pg_sys::ExecClearTuple(self.slot);
            }
            is_free
        }
    }

    /// Makes the row that `look` chooses in a block the current row.
    ///
    /// The server's own scans do the same with one more pin, and prune more often. Their test uses the
    /// fillfactor, which keeps room for new versions. By that test our blocks are always full, and each visit
    /// would prune.
    ///
    /// # Safety
    /// The table must have the block. If `look` returns true, it must have filled in the tuple with a visible
    /// row. The buffer is locked while `look` runs.
    pub(super) unsafe fn fetch(
        &mut self,
        block: u32,
        look: impl FnOnce(pg_sys::Relation, pg_sys::Buffer, pg_sys::HeapTuple) -> bool,
    ) -> bool {
        // SAFETY: the slot is a heap slot, and `tuple` is its own tuple. Its pin keeps the row where it is.
        // The slot is cleared first, since a buffer with two pins is not pruned. The block is read under its
        // content lock.
        unsafe {
            pg_sys::ExecClearTuple(self.slot);
            let tuple = &raw mut (*self.slot.cast::<pg_sys::BufferHeapTupleTableSlot>()).base.tupdata;
            let buffer = pg_sys::ReadBuffer(self.relation, block);
            if !has_room(buffer) {
                pg_sys::heap_page_prune_opt(self.relation, buffer);
            }
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let is_there = look(self.relation, buffer, tuple);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            if is_there {
                pg_sys::ExecStorePinnedBufferHeapTuple(tuple, self.slot, buffer);
            } else {
                pg_sys::ReleaseBuffer(buffer);
            }
            is_there
        }
    }

    /// Whether the current row has this key.
    fn has_key(&self, key: &[KeyValue]) -> bool {
        self.definition.key.iter().zip(self.own_part(key)).all(|(column, value)| match *value {
            KeyValue::Text(bytes) => self.text(*column) == bytes,
            KeyValue::Integer(number) | KeyValue::Day(number) => self.integer(*column) == number,
            KeyValue::Smallint(number) => self.smallint(*column) == number,
            KeyValue::Boolean(is_true) => self.boolean(*column) == is_true,
        })
    }

    /// The part of a key that the table has. A table of an older version of the extension may lack the first columns.
    fn own_part<'k, 'v>(&self, key: &'k [KeyValue<'v>]) -> &'k [KeyValue<'v>] {
        &key[key.len().saturating_sub(self.definition.key.len())..]
    }

    /// Finds the row with this primary key: as committed now, with this transaction's own changes. Waits for
    /// a transaction that is changing it. The row stays the current row until the next call.
    pub fn find(&mut self, key: &[KeyValue]) -> bool {
        loop {
            if !self.find_in(key, self.dirty) {
                return false;
            }
            // SAFETY: the slot holds the row found, and its visibility check has written the dirty snapshot.
            unsafe {
                let (inserter, deleter) = ((*self.dirty).xmin, (*self.dirty).xmax);
                let other = if inserter != pg_sys::InvalidTransactionId { inserter } else { deleter };
                if other == pg_sys::InvalidTransactionId {
                    return true;
                }
                let mut tid = (*self.slot).tts_tid;
                let token = (*self.dirty).speculativeToken;
                pg_sys::ExecClearTuple(self.slot);
                // A speculative insertion: by an upsert of version 0.1.0, or of the owner.
                if inserter != pg_sys::InvalidTransactionId && token != 0 {
                    pg_sys::SpeculativeInsertionWait(inserter, token);
                } else {
                    pg_sys::XactLockTableWait(other, self.relation, &mut tid, pg_sys::XLTW_Oper::XLTW_Update);
                }
            }
        }
    }

    /// Whether the transaction's own reads see the current row in this version. False only in REPEATABLE
    /// READ, if another transaction has written the row since the snapshot.
    pub(super) fn is_seen(&self) -> bool {
        let Some(snapshot) = self.snapshot else { return true };
        // SAFETY: the slot is a heap slot that pins its buffer. The buffer is locked during the check.
        unsafe {
            let buffer = (*self.slot.cast::<pg_sys::BufferHeapTupleTableSlot>()).buffer;
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let seen = pg_sys::HeapTupleSatisfiesVisibility(self.tuple(), snapshot, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            seen
        }
    }

    /// Whether the transaction's own reads see a row with this key that `find` has not found. True if another
    /// transaction has removed it since the snapshot. Afterwards there is no current row.
    pub fn is_still_seen(&mut self, key: &[KeyValue]) -> bool {
        let Some(snapshot) = self.snapshot else { return false };
        let found = self.find_in(key, snapshot);
        // SAFETY: `open` made the slot, and only this table uses it.
        unsafe { pg_sys::ExecClearTuple(self.slot) };
        found
    }

    /// Finds the row with this primary key as a snapshot shows it. It is the current row until the next call,
    /// for reading only.
    pub fn find_in(&mut self, key: &[KeyValue], snapshot: pg_sys::Snapshot) -> bool {
        let scan = self.scan_for(key, snapshot);
        // SAFETY: the tids of an index are in blocks that the table has; `scan_for` has opened the scan.
        unsafe {
            loop {
                let named = pg_sys::index_getnext_tid(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if named.is_null() {
                    return false;
                }
                let (mut tid, mut are_all_dead) = (*named, false);
                let is_there = self.fetch(Tid::from(tid).0, |relation, buffer, tuple| {
                    let dead = &mut are_all_dead;
                    pg_sys::heap_hot_search_buffer(&mut tid, relation, buffer, snapshot, tuple, dead, true)
                });
                if is_there {
                    return true;
                }
                (*scan).kill_prior_tuple = are_all_dead; // later scans skip this entry
            }
        }
    }

    /// Starts the index scan for a key.
    fn scan_for(&mut self, key: &[KeyValue], snapshot: pg_sys::Snapshot) -> pg_sys::IndexScanDesc {
        let key = self.own_part(key);
        let mut conditions = [pg_sys::ScanKeyData::default(); MOST_KEYS];
        for (n, (condition, value)) in conditions.iter_mut().zip(key).enumerate() {
            let (equals, value) = match *value {
                KeyValue::Text(bytes) => (pg_sys::F_TEXTEQ, datum::text(bytes)),
                KeyValue::Integer(number) => (pg_sys::F_INT4EQ, pg_sys::Datum::from(number)),
                KeyValue::Smallint(number) => (pg_sys::F_INT2EQ, pg_sys::Datum::from(number)),
                KeyValue::Day(day) => (pg_sys::F_DATE_EQ, pg_sys::Datum::from(day)),
                KeyValue::Boolean(is_true) => (pg_sys::F_BOOLEQ, pg_sys::Datum::from(is_true)),
            };
            // SAFETY: writes one scan key. Its collation is C, which is that of our primary keys.
            unsafe {
                pg_sys::ScanKeyInit(
                    condition,
                    n as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    pg_sys::Oid::from(equals),
                    value,
                );
            }
        }
        // SAFETY: relation and index stay open until `close`. The scan copies the conditions. The caller
        // keeps the snapshot alive, and it is set before the scan begins.
        unsafe {
            let (relation, index) = (self.relation, self.key);
            let Walk { scan, .. } = *self.walk.get_or_insert_with(|| {
                let index = pg_sys::index_open(index, pg_sys::RowExclusiveLock as i32);
                let keys = i32::from((*(*index).rd_index).indnkeyatts);
                Walk { index, scan: version::begin_scan(relation, index, snapshot, keys) }
            });
            (*scan).xs_snapshot = snapshot;
            pg_sys::index_rescan(scan, conditions.as_mut_ptr(), key.len() as i32, null_mut(), 0);
            scan
        }
    }

    /// The tid of the current row.
    pub fn tid(&self) -> Tid {
        // SAFETY: `open` made the slot; the callers have found a row.
        Tid::from(unsafe { (*self.slot).tts_tid })
    }

    /// The bytes of a `text` of the current row; NULL is empty.
    pub fn text(&self, column: Column) -> &[u8] {
        // SAFETY: the callers have found a row, and name a `text` column of it.
        self.value(column).map_or(b"", |value| unsafe { datum::text_bytes(value) })
    }

    /// A `boolean` of the current row; NULL is false.
    pub fn boolean(&self, column: Column) -> bool {
        self.value(column).is_some_and(|value| value.value() as u8 != 0)
    }

    /// A `bigint` of the current row; NULL is 0.
    pub fn bigint(&self, column: Column) -> i64 {
        self.value(column).map_or(0, |value| value.value() as i64)
    }

    /// An `integer` or a `date` of the current row; NULL is 0.
    pub fn integer(&self, column: Column) -> i32 {
        self.value(column).map_or(0, |value| value.value() as i32)
    }

    /// A `smallint` of the current row; NULL is 0.
    pub fn smallint(&self, column: Column) -> i16 {
        self.value(column).map_or(0, |value| value.value() as i16)
    }

    /// The tuple of the current row, in its buffer.
    pub(super) fn tuple(&self) -> pg_sys::HeapTuple {
        // SAFETY: the slot is a heap slot, which begins with a `HeapTupleTableSlot`.
        unsafe { (*self.slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple }
    }

    pub(super) fn value(&self, column: Column) -> Option<pg_sys::Datum> {
        // SAFETY: the callers have found a row, and name one of its columns. The first call deforms all
        // columns.
        unsafe {
            if (*self.slot).tts_nvalid == 0 {
                pg_sys::slot_getsomeattrs_int(self.slot, (*(*self.relation).rd_att).natts);
            }
            let column = column as usize - 1;
            (!*(*self.slot).tts_isnull.add(column)).then(|| *(*self.slot).tts_values.add(column))
        }
    }
}

/// Whether a block has room for another version of one of its rows. A guess, since the buffer is not locked.
///
/// # Safety
/// The buffer must be a pinned block of a heap.
unsafe fn has_room(buffer: pg_sys::Buffer) -> bool {
    // SAFETY: the caller guarantees a pinned heap block. The server's own pruning reads these integers
    // without a lock, too.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        let flags = (*page.cast::<pg_sys::PageHeaderData>()).pd_flags;
        pg_sys::PageGetHeapFreeSpace(page) >= ROOM && u32::from(flags) & pg_sys::PD_PAGE_FULL == 0
    }
}
