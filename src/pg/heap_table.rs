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

use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::datum::{self, Column};
use crate::pg::indexes::{Entry, Indexes};
use crate::pg::tid::Place;
use crate::pg::version::{self, NeedsIndexes};
use crate::pg::{catalog, snapshot};

/// Most columns of a primary key, and of an aggregate table.
const MOST_KEYS: usize = 3;
const MOST_COLUMNS: usize = 8;

/// Room for one more version of nearly any row, in bytes. A longer one that finds no room marks its page as full.
const ROOM: usize = 512;

/// The value of a column of the primary key.
#[derive(Clone, Copy)]
pub enum Key<'k> {
    Text(&'k [u8]),
    Integer(i32),
    /// Days since 2000-01-01.
    Day(i32),
    Boolean(bool),
}

/// What becomes of a column.
#[derive(Clone, Copy)]
pub enum New {
    Same,
    Null,
    Value(pg_sys::Datum),
}

impl New {
    /// A value, if there is a reason to write it.
    pub fn value_if(is_new: bool, value: impl FnOnce() -> pg_sys::Datum) -> Self {
        if is_new { New::Value(value()) } else { New::Same }
    }
}

/// Of the value alone: two keys of different columns are never compared.
impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match *self {
            Key::Text(bytes) => hasher.write(bytes),
            Key::Integer(number) | Key::Day(number) => hasher.write_i32(number),
            Key::Boolean(is_true) => hasher.write_u8(u8::from(is_true)),
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
    written: Option<Place>,
    /// New rows that are in the table and in no index yet.
    unpublished: VecDeque<*mut pg_sys::TupleTableSlot>,
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
                unpublished: VecDeque::new(),
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
            for slot in self.spare.into_iter().chain(self.unpublished) {
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
        key: &[Key],
        place: Option<Place>,
        mut write: impl FnMut(&mut Table, bool) -> Result<Option<R>, ErrorReport>,
    ) -> Result<R, ErrorReport> {
        let mut place = place;
        loop {
            pgrx::check_for_interrupts!();
            let found = place.take().is_some_and(|place| self.is_at(place, key)) || self.find(key);
            if found && !self.is_seen() {
                snapshot::note_newer_than_snapshot();
            }
            if let Some(result) = write(self, found)? {
                return Ok(result);
            }
        }
    }

    /// Where the row is that was written last.
    pub fn written(&self) -> Option<Place> {
        self.written
    }

    /// Whether the row with this key is at this place, in its latest version, and nobody is changing it: then it is the
    /// current row.
    fn is_at(&mut self, place: Place, key: &[Key]) -> bool {
        if !self.is_row_at(place) {
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
    pub fn is_row_at(&mut self, place: Place) -> bool {
        if place.0 >= self.blocks && place.0 >= self.length() {
            return false;
        }
        // SAFETY: the relation is open, and its lock keeps it from becoming shorter; a place beyond its end, as a VACUUM may
        // have left it, is not read. What was stored at the place by others has the table's columns, too.
        unsafe {
            let dirty = self.dirty;
            let is_there = self.fetch(place.0, |relation, buffer, tuple| {
                let page = pg_sys::BufferGetPage(buffer);
                if place.1 > pg_sys::PageGetMaxOffsetNumber(page) {
                    return false;
                }
                let item = pg_sys::PageGetItemId(page, place.1);
                (*item).lp_flags() == pg_sys::LP_NORMAL && {
                    (*tuple).t_data = pg_sys::PageGetItem(page, item).cast();
                    (*tuple).t_len = (*item).lp_len();
                    (*tuple).t_tableOid = (*relation).rd_id;
                    item_pointer_set_all(&mut (*tuple).t_self, place.0, place.1);
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

    /// How many blocks the table has.
    pub fn length(&mut self) -> u32 {
        // SAFETY: the relation is open.
        self.blocks = unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        };
        self.blocks
    }

    /// The places of a block that a row may be at.
    pub fn places_in(&self, block: u32) -> impl Iterator<Item = Place> + use<> {
        let last = self.look_at(block, |page| {
            // SAFETY: the page is locked.
            unsafe { pg_sys::PageGetMaxOffsetNumber(page) }
        });
        (1..=last).map(move |number| Place(block, number))
    }

    /// Looks for a block before `end` that takes the current row: the one that took the last one, as long as it has room, or
    /// else the first one behind it that has no row.
    pub fn room_before(&self, end: u32, last: Option<u32>) -> Option<u32> {
        if last.is_some_and(|block| block < end && self.look_at(block, |page| self.has_room_in(page))) {
            return last;
        }
        (last.map_or(0, |block| block + 1)..end).find(|block| {
            pgrx::check_for_interrupts!();
            self.look_at(*block, has_no_row)
        })
    }

    /// Whether a page has room for another row like the current one, beside what the fillfactor keeps for new versions.
    fn has_room_in(&self, page: pg_sys::Page) -> bool {
        // SAFETY: a row was found; the page is locked; the relation is open, and a table's options are of this type.
        unsafe {
            let options = (*self.relation).rd_options.cast::<pg_sys::StdRdOptions>().as_ref();
            let filled = options.map_or(pg_sys::HEAP_DEFAULT_FILLFACTOR as i32, |options| options.fillfactor);
            let kept = pg_sys::BLCKSZ as usize * usize::try_from(100 - filled).unwrap_or(0) / 100;
            let length = usize::try_from((*self.tuple()).t_len).unwrap_or(usize::MAX);
            pg_sys::PageGetHeapFreeSpace(page) >= length.next_multiple_of(size_of::<u64>()) + kept
        }
    }

    /// Shows a page of the table, pruned if that is due.
    fn look_at<R>(&self, block: u32, look: impl FnOnce(pg_sys::Page) -> R) -> R {
        // SAFETY: the relation is open; the caller names a block that it has. The page is locked while it is shown.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, block);
            pg_sys::heap_page_prune_opt(self.relation, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let seen = look(pg_sys::BufferGetPage(buffer));
            pg_sys::UnlockReleaseBuffer(buffer);
            seen
        }
    }

    /// Makes the row that `look` chooses in a block the current one. This is what the server's own scans do, with a pin less and
    /// less zeal to prune: by the fillfactor, which leaves room for new versions, a page of ours looks full to them from
    /// the first day, and they would prune it at each visit.
    ///
    /// # Safety
    /// The table must have the block. `look` is to fill in the tuple, and to return true, for a row that it finds to be
    /// visible; the page is locked meanwhile.
    unsafe fn fetch(
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
    fn has_key(&self, key: &[Key]) -> bool {
        (1..).zip(key).all(|(column, value)| match *value {
            // SAFETY: the key's columns are of these types; the value is read while its row is the current one.
            Key::Text(bytes) => unsafe { datum::text_bytes(self.value(column)) == bytes },
            Key::Integer(number) | Key::Day(number) => self.integer(column) == number,
            Key::Boolean(is_true) => self.boolean(column) == is_true,
        })
    }

    /// Looks for the row with this primary key, as committed now and with this transaction's own changes, and waits for
    /// whoever is changing it. The row stays the current one until the next call.
    pub fn find(&mut self, key: &[Key]) -> bool {
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
                let mut place = (*self.slot).tts_tid;
                let token = (*self.dirty).speculativeToken;
                pg_sys::ExecClearTuple(self.slot);
                // By an upsert: one of version 0.1.0, or of the owner.
                if inserter != pg_sys::InvalidTransactionId && token != 0 {
                    pg_sys::SpeculativeInsertionWait(inserter, token);
                } else {
                    pg_sys::XactLockTableWait(
                        other,
                        self.relation,
                        &mut place,
                        pg_sys::XLTW_Oper::XLTW_Update,
                    );
                }
            }
        }
    }

    /// Whether the transaction's own reads see the row found as it is: always, but in REPEATABLE READ when others have
    /// written it since the transaction's snapshot.
    fn is_seen(&self) -> bool {
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
    pub fn is_still_seen(&mut self, key: &[Key]) -> bool {
        let Some(snapshot) = self.snapshot else { return false };
        let found = self.find_in(key, snapshot);
        // SAFETY: the slot is that of the scan.
        unsafe { pg_sys::ExecClearTuple(self.slot) };
        found
    }

    /// Looks for the row with this primary key as a snapshot shows it. It is the current row, to be read, until the next call.
    pub fn find_in(&mut self, key: &[Key], snapshot: pg_sys::Snapshot) -> bool {
        let scan = self.scan_for(key, snapshot);
        // SAFETY: what an index names are versions of rows in blocks that the table has.
        unsafe {
            loop {
                let named = pg_sys::index_getnext_tid(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if named.is_null() {
                    return false;
                }
                let (mut tid, mut are_all_dead) = (*named, false);
                let is_there = self.fetch(Place::from(tid).0, |relation, buffer, tuple| {
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

    /// Where the row found is.
    pub fn place(&self) -> Place {
        // SAFETY: a row was found.
        Place::from(unsafe { (*self.slot).tts_tid })
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

    /// Changes columns of the row found. False, and nothing is changed, if somebody else has changed it first.
    pub fn update(&mut self, changes: &[(Column, New)]) -> Result<bool, ErrorReport> {
        let mut columns = [0; MOST_COLUMNS];
        let mut values = [pg_sys::Datum::from(0); MOST_COLUMNS];
        let mut nulls = [false; MOST_COLUMNS];
        let mut count = 0;
        for (column, value) in changes {
            (values[count], nulls[count]) = match value {
                New::Same => continue,
                New::Null => (pg_sys::Datum::from(0), true),
                New::Value(value) => (*value, false),
            };
            columns[count] = i32::from(*column);
            count += 1;
        }
        // SAFETY: a row was found, and its slot holds the tuple with a pin. The columns are those of the table, and the
        // values of their types.
        unsafe {
            let tuple = pg_sys::heap_modify_tuple_by_cols(
                self.tuple(),
                (*self.relation).rd_att,
                count as i32,
                columns.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            let (result, needs) =
                version::update_tuple(self.relation, &mut (*self.slot).tts_tid, tuple, self.command);
            self.written = Some(Place::from((*tuple).t_self));
            if result == pg_sys::TM_Result::TM_Ok && needs != NeedsIndexes::None {
                self.indexes().insert(tuple, Entry::Moved(needs));
            }
            pg_sys::heap_freetuple(tuple);
            self.outcome(result)
        }
    }

    /// Removes the row found. False, and it is still there, if somebody else has changed it first.
    pub fn delete(&mut self) -> Result<bool, ErrorReport> {
        // SAFETY: a row was found.
        unsafe { self.remove((*self.slot).tts_tid) }
    }

    /// Removes the row at a place, unless somebody else has changed it.
    ///
    /// # Safety
    /// A row of this table must be there.
    unsafe fn remove(&mut self, mut place: pg_sys::ItemPointerData) -> Result<bool, ErrorReport> {
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: as the caller vouches.
        let result = unsafe {
            pg_sys::heap_delete(
                self.relation,
                &mut place,
                self.command,
                null_mut(),
                true,
                &mut failure,
                false,
            )
        };
        self.outcome(result)
    }

    /// Moves the row found into a block that has room for it. False if it is not there afterwards: somebody else has changed the
    /// row first, and it is where it was, or has taken the room, and it is elsewhere.
    pub fn move_to(&mut self, block: u32) -> Result<bool, ErrorReport> {
        // SAFETY: a row was found, and its copy is of this table. The file's entry is there or the pointer is null; it says where a
        // new row is to be put first.
        unsafe {
            let copy = pg_sys::heap_copytuple(self.tuple());
            if !self.delete()? {
                return Ok(false);
            }
            if let Some(file) = (*self.relation).rd_smgr.as_mut() {
                file.smgr_targblock = block;
            }
            Ok(self.put(copy).0 == block)
        }
    }

    /// Inserts a row that nobody else can be inserting. The values are those of the first columns; others are NULL.
    pub fn insert(&mut self, values: &[pg_sys::Datum]) {
        let tuple = self.form(values);
        // SAFETY: a tuple of this table.
        unsafe { self.put(tuple) };
    }

    /// Puts a tuple into the table and its indexes, and frees it. Returns where it is.
    ///
    /// # Safety
    /// It must be of this table, with a key that no other row has.
    unsafe fn put(&mut self, tuple: pg_sys::HeapTuple) -> Place {
        // SAFETY: as the caller vouches; it is freed when all have read it.
        unsafe {
            pg_sys::heap_insert(self.relation, tuple, self.command, 0, null_mut());
            let place = Place::from((*tuple).t_self);
            self.written = Some(place);
            self.indexes().insert(tuple, Entry::New);
            pg_sys::heap_freetuple(tuple);
            place
        }
    }

    /// Inserts a row. If its key is there already, or somebody else is inserting it at the same time: false, and the row is
    /// taken back.
    ///
    /// Another insertion of the key that comes later meets this row and waits until the transaction has ended; one that came
    /// earlier is never waited for while this row can be met. So two insertions do not wait for each other.
    pub fn insert_or_yield(&mut self, values: &[pg_sys::Datum]) -> Result<bool, ErrorReport> {
        let tuple = self.form(values);
        // SAFETY: a tuple of this table, which is freed when all have read it.
        unsafe {
            pg_sys::heap_insert(self.relation, tuple, self.command, 0, null_mut());
            let is_first = self.indexes().insert(tuple, Entry::UnlessThere);
            let place = (*tuple).t_self;
            pg_sys::heap_freetuple(tuple);
            if is_first {
                self.written = Some(Place::from(place));
            } else {
                self.take_back(place)?;
            }
            Ok(is_first)
        }
    }

    /// Removes a row that this command has inserted.
    ///
    /// # Safety
    /// It must be at this place of this table.
    unsafe fn take_back(&mut self, place: pg_sys::ItemPointerData) -> Result<(), ErrorReport> {
        // SAFETY: a command cannot remove what it has inserted; the next one can.
        unsafe {
            pg_sys::CommandCounterIncrement();
            self.command = pg_sys::GetCurrentCommandId(true);
            self.remove(place).map(|_| ())
        }
    }

    /// Puts new rows into the table, pages of them at a time, but into no index: nobody finds them by their keys before each is
    /// published. The values are those of the first columns; others are NULL.
    pub fn insert_unpublished<'r>(&mut self, rows: impl Iterator<Item = &'r [pg_sys::Datum]>) {
        // SAFETY: each slot has the table's columns, and is given a value for each; the values live until the flush ends.
        unsafe {
            let description = (*self.relation).rd_att;
            let columns = usize::try_from((*description).natts).unwrap_or(0);
            for row in rows {
                let slot = self.spare.pop().unwrap_or_else(|| {
                    pg_sys::MakeSingleTupleTableSlot(description, &raw const pg_sys::TTSOpsVirtual)
                });
                pg_sys::ExecClearTuple(slot);
                let values = std::slice::from_raw_parts_mut((*slot).tts_values, columns);
                let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, columns);
                values[..row.len()].copy_from_slice(row);
                nulls[..row.len()].fill(false);
                nulls[row.len()..].fill(true);
                pg_sys::ExecStoreVirtualTuple(slot);
                self.unpublished.push_back(slot);
            }
            let slots = self.unpublished.make_contiguous();
            if !slots.is_empty() {
                pg_sys::heap_multi_insert(
                    self.relation,
                    slots.as_mut_ptr(),
                    slots.len() as i32,
                    self.command,
                    0,
                    null_mut(),
                );
            }
        }
    }

    /// Adds the next of these rows to the indexes, as `insert_or_yield` does.
    pub fn publish(&mut self) -> Result<bool, ErrorReport> {
        let Some(slot) = self.unpublished.pop_front() else { return Ok(false) };
        self.spare.push(slot);
        // SAFETY: the slot holds a row that is in this table at the place that it names.
        unsafe {
            if self.indexes().insert_from(slot, Entry::UnlessThere) {
                self.written = Some(Place::from((*slot).tts_tid));
                return Ok(true);
            }
            self.take_back((*slot).tts_tid)?;
            Ok(false)
        }
    }

    /// Begins to look for a key in its index.
    fn scan_for(&mut self, key: &[Key], snapshot: pg_sys::Snapshot) -> pg_sys::IndexScanDesc {
        let mut conditions = [pg_sys::ScanKeyData::default(); MOST_KEYS];
        for (n, (condition, value)) in conditions.iter_mut().zip(key).enumerate() {
            let (equals, value) = match *value {
                Key::Text(bytes) => (pg_sys::F_TEXTEQ, datum::text(bytes)),
                Key::Integer(number) => (pg_sys::F_INT4EQ, pg_sys::Datum::from(number)),
                Key::Day(day) => (pg_sys::F_DATE_EQ, pg_sys::Datum::from(day)),
                Key::Boolean(is_true) => (pg_sys::F_BOOLEQ, pg_sys::Datum::from(is_true)),
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

    /// The tuple of the row found, in its buffer.
    fn tuple(&self) -> pg_sys::HeapTuple {
        // SAFETY: the slots of a heap table begin like this.
        unsafe { (*self.slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple }
    }

    fn value(&self, column: Column) -> pg_sys::Datum {
        // SAFETY: a row was found; the caller names one of its columns. All are taken out of the row at once.
        unsafe {
            if (*self.slot).tts_nvalid == 0 {
                pg_sys::slot_getsomeattrs_int(self.slot, (*(*self.relation).rd_att).natts);
            }
            *(*self.slot).tts_values.add(column as usize - 1)
        }
    }

    fn form(&self, values: &[pg_sys::Datum]) -> pg_sys::HeapTuple {
        // SAFETY: the values are of the types of the first columns, and there is one for each column.
        unsafe {
            let description = (*self.relation).rd_att;
            let columns = usize::try_from((*description).natts).unwrap_or(0);
            let mut row = vec![pg_sys::Datum::from(0); columns];
            let mut nulls = vec![true; columns];
            row[..values.len()].copy_from_slice(values);
            nulls[..values.len()].fill(false);
            pg_sys::heap_form_tuple(description, row.as_mut_ptr(), nulls.as_mut_ptr())
        }
    }

    fn outcome(&self, result: pg_sys::TM_Result::Type) -> Result<bool, ErrorReport> {
        match result {
            pg_sys::TM_Result::TM_Ok => Ok(true),
            pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => Ok(false),
            code => Err(error::internal(&format!("writing {}", self.name.to_string_lossy()), code as i32)),
        }
    }

    fn indexes(&mut self) -> &Indexes {
        // SAFETY: the relation is open and locked, and stays so until `close`, which closes them first.
        self.indexes.get_or_insert_with(|| unsafe { Indexes::open(self.relation) })
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

/// Whether a page has no row, of whatever age.
fn has_no_row(page: pg_sys::Page) -> bool {
    // SAFETY: the page is one of a heap, and locked.
    unsafe {
        let mut numbers = 1..=pg_sys::PageGetMaxOffsetNumber(page);
        numbers.all(|number| {
            let flags = (*pg_sys::PageGetItemId(page, number)).lp_flags();
            flags == pg_sys::LP_UNUSED || flags == pg_sys::LP_DEAD
        })
    }
}
