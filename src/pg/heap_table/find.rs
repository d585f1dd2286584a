//! How a row is found: at a place where it was before, or by its primary key.

use std::ptr::null_mut;

use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;

use super::{KeyValue, Table, Walk};
use crate::pg::datum::{self, Column};
use crate::pg::tid::Tid;
use crate::pg::version;

/// Most columns of a primary key.
const MOST_KEYS: usize = 3;

/// Room for one more version of nearly any row, in bytes. A longer one that finds no room marks its page as full.
const ROOM: usize = 512;

impl Table {
    /// Whether the row with this key is at this place, in its latest version, and nobody is changing it: then it is the
    /// current row.
    pub(super) fn is_at(&mut self, tid: Tid, key: &[KeyValue]) -> bool {
        if !self.is_row_at(tid) {
            return false;
        }
        let is_it = self.has_key(key);
        if !is_it {
            // SAFETY: the slot is ours.
            unsafe { pg_sys::ExecClearTuple(self.slot) };
        }
        is_it
    }

    /// Whether there is a row at this place, in its latest version, and nobody is changing it: then it is the current row.
    pub fn is_row_at(&mut self, tid: Tid) -> bool {
        if tid.0 >= self.blocks && tid.0 >= self.length() {
            return false;
        }
        // SAFETY: the relation is open, and its lock keeps it from becoming shorter; a place beyond its end, as a VACUUM may
        // have left it, is not read. What was stored at the place by others has the table's columns, too.
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

    /// Makes the row that `look` chooses in a block the current one. This is what the server's own scans do, with a pin less and
    /// less zeal to prune: by the fillfactor, which leaves room for new versions, a page of ours looks full to them from
    /// the first day, and they would prune it at each visit.
    ///
    /// # Safety
    /// The table must have the block. `look` is to fill in the tuple, and to return true, for a row that it finds to be
    /// visible; the page is locked meanwhile.
    pub(super) unsafe fn fetch(
        &mut self,
        block: u32,
        look: impl FnOnce(pg_sys::Relation, pg_sys::Buffer, pg_sys::HeapTuple) -> bool,
    ) -> bool {
        // SAFETY: the slot is one of the heap's, whose own tuple is what it shows, with a pin of the buffer: it lets go of the
        // last row first, since a page that is pinned twice is not pruned. The page is read under its lock; a visible row
        // stays where it is as long as the pin.
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
        (1..).zip(key).all(|(column, value)| match *value {
            // SAFETY: the key's columns are of these types; the value is read while its row is the current one.
            KeyValue::Text(bytes) => unsafe { datum::text_bytes(self.value(column)) == bytes },
            KeyValue::Integer(number) | KeyValue::Day(number) => self.integer(column) == number,
            KeyValue::Boolean(is_true) => self.boolean(column) == is_true,
        })
    }

    /// Looks for the row with this primary key, as committed now and with this transaction's own changes, and waits for
    /// whoever is changing it. The row stays the current one until the next call.
    pub fn find(&mut self, key: &[KeyValue]) -> bool {
        loop {
            if !self.find_in(key, self.dirty) {
                return false;
            }
            // SAFETY: a row was found, and the look at it has written the dirty snapshot.
            unsafe {
                let (inserter, deleter) = ((*self.dirty).xmin, (*self.dirty).xmax);
                let other = if inserter != pg_sys::InvalidTransactionId { inserter } else { deleter };
                if other == pg_sys::InvalidTransactionId {
                    return true;
                }
                let mut tid = (*self.slot).tts_tid;
                let token = (*self.dirty).speculativeToken;
                pg_sys::ExecClearTuple(self.slot);
                // By an upsert: one of version 0.1.0, or of the owner.
                if inserter != pg_sys::InvalidTransactionId && token != 0 {
                    pg_sys::SpeculativeInsertionWait(inserter, token);
                } else {
                    pg_sys::XactLockTableWait(other, self.relation, &mut tid, pg_sys::XLTW_Oper::XLTW_Update);
                }
            }
        }
    }

    /// Whether the transaction's own reads see the row found as it is: always, but in REPEATABLE READ when others have
    /// written it since the transaction's snapshot.
    pub(super) fn is_seen(&self) -> bool {
        let Some(snapshot) = self.snapshot else { return true };
        // SAFETY: the slot is one of the heap's, which holds a pin of its buffer; the lock is for the time of the look.
        unsafe {
            let buffer = (*self.slot.cast::<pg_sys::BufferHeapTupleTableSlot>()).buffer;
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let seen = pg_sys::HeapTupleSatisfiesVisibility(self.tuple(), snapshot, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            seen
        }
    }

    /// Whether the transaction's own reads see a row with this key although `find` has found none: others have removed it
    /// since the transaction's snapshot. There is no current row afterwards.
    pub fn is_still_seen(&mut self, key: &[KeyValue]) -> bool {
        let Some(snapshot) = self.snapshot else { return false };
        let found = self.find_in(key, snapshot);
        // SAFETY: the slot is that of the scan.
        unsafe { pg_sys::ExecClearTuple(self.slot) };
        found
    }

    /// Looks for the row with this primary key as a snapshot shows it. It is the current row, to be read, until the next call.
    pub fn find_in(&mut self, key: &[KeyValue], snapshot: pg_sys::Snapshot) -> bool {
        let scan = self.scan_for(key, snapshot);
        // SAFETY: what an index names are versions of rows in blocks that the table has.
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
                (*scan).kill_prior_tuple = are_all_dead; // nobody needs to come this way again
            }
        }
    }

    /// Begins to look for a key in its index.
    fn scan_for(&mut self, key: &[KeyValue], snapshot: pg_sys::Snapshot) -> pg_sys::IndexScanDesc {
        let mut conditions = [pg_sys::ScanKeyData::default(); MOST_KEYS];
        for (n, (condition, value)) in conditions.iter_mut().zip(key).enumerate() {
            let (equals, value) = match *value {
                KeyValue::Text(bytes) => (pg_sys::F_TEXTEQ, datum::text(bytes)),
                KeyValue::Integer(number) => (pg_sys::F_INT4EQ, pg_sys::Datum::from(number)),
                KeyValue::Day(day) => (pg_sys::F_DATE_EQ, pg_sys::Datum::from(day)),
                KeyValue::Boolean(is_true) => (pg_sys::F_BOOLEQ, pg_sys::Datum::from(is_true)),
            };
            // SAFETY: writes the condition. Its collation is C, which is that of our keys.
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
        // SAFETY: the relation is open, and so is its index from here on. The scan copies the conditions; the snapshot lives as long
        // as it, and is set before the scan begins.
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

    /// Where the row found is.
    pub fn tid(&self) -> Tid {
        // SAFETY: a row was found.
        Tid::from(unsafe { (*self.slot).tts_tid })
    }

    /// The bytes of a `text` of the row found.
    pub fn text(&self, column: Column) -> &[u8] {
        // SAFETY: a row was found; the caller names a column of this type.
        unsafe { datum::text_bytes(self.value(column)) }
    }

    /// A `boolean` of the row found; NULL is false.
    pub fn boolean(&self, column: Column) -> bool {
        self.value(column).value() as u8 != 0
    }

    /// A `bigint` of the row found.
    pub fn bigint(&self, column: Column) -> i64 {
        self.value(column).value() as i64
    }

    /// An `integer` or a `date` of the row found.
    pub fn integer(&self, column: Column) -> i32 {
        self.value(column).value() as i32
    }

    /// The tuple of the row found, in its buffer.
    pub(super) fn tuple(&self) -> pg_sys::HeapTuple {
        // SAFETY: the slots of a heap table begin like this.
        unsafe { (*self.slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple }
    }

    pub(super) fn value(&self, column: Column) -> pg_sys::Datum {
        // SAFETY: a row was found; the caller names one of its columns. All are taken out of the row at once.
        unsafe {
            if (*self.slot).tts_nvalid == 0 {
                pg_sys::slot_getsomeattrs_int(self.slot, (*(*self.relation).rd_att).natts);
            }
            *(*self.slot).tts_values.add(column as usize - 1)
        }
    }
}

/// Whether a page has room for another version of one of its rows, as far as it can be told without a lock.
///
/// # Safety
/// The buffer must be a page of a heap, and pinned.
unsafe fn has_room(buffer: pg_sys::Buffer) -> bool {
    // SAFETY: as the caller vouches; the header is of plain numbers, which the server's own way to prune reads without a lock, too.
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        let flags = (*page.cast::<pg_sys::PageHeaderData>()).pd_flags;
        pg_sys::PageGetHeapFreeSpace(page) >= ROOM && u32::from(flags) & pg_sys::PD_PAGE_FULL == 0
    }
}
