//! The indexes of a table, and new entries in them.
//!
//! Invariant: each index of the table gets its entries, also one that the owner of the table has added. For
//! that the executor's own function writes them.

use std::ptr::{NonNull, null_mut};

use pgrx::pg_sys;

use crate::pg::version::{self, NeedsIndexes};

/// All indexes of a table, open for writing.
pub struct Indexes {
    executor: NonNull<pg_sys::EState>,
    relation: NonNull<pg_sys::ResultRelInfo>,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Indexes {
    /// Opens all indexes of a table.
    ///
    /// # Safety
    /// The relation must be open, and locked for writing, until `close`.
    pub unsafe fn open(relation: pg_sys::Relation) -> Self {
        // SAFETY: the caller guarantees an open and locked relation. Range table index 0 says that it is in
        // no range table.
        unsafe {
            let executor = pg_sys::CreateExecutorState();
            let target = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(target, relation, 0, null_mut(), 0);
            pg_sys::ExecOpenIndices(target, false);
            let slot =
                pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsHeapTuple);
            // Neither pointer is null: the server raises an error instead.
            Indexes {
                executor: NonNull::new_unchecked(executor),
                relation: NonNull::new_unchecked(target),
                slot,
            }
        }
    }

    /// Closes the indexes; their locks stay until the transaction ends.
    pub fn close(self) {
        // SAFETY: `open` made all three, and `self` is consumed.
        unsafe {
            pg_sys::ExecCloseIndices(self.relation.as_ptr());
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::FreeExecutorState(self.executor.as_ptr());
        }
    }

    /// Adds a tuple to the indexes. False if the entry is `UnlessThere` and another tuple has the key.
    ///
    /// # Safety
    /// The tuple must be in the table, at the tid in its `t_self`.
    pub unsafe fn insert(&self, tuple: pg_sys::HeapTuple, entry: IndexEntry) -> bool {
        // SAFETY: the caller guarantees that the tuple is in the table. The slot is cleared before the caller
        // can free it.
        unsafe {
            pg_sys::ExecStoreHeapTuple(tuple, self.slot, false);
            let is_in = self.insert_from(self.slot, entry);
            pg_sys::ExecClearTuple(self.slot);
            is_in
        }
    }

    /// As `insert`, for the tuple in a slot.
    ///
    /// # Safety
    /// The slot must hold a tuple that is in the table, at the tid in its `tts_tid`.
    pub unsafe fn insert_from(&self, slot: *mut pg_sys::TupleTableSlot, entry: IndexEntry) -> bool {
        let mut conflict = false;
        // SAFETY: the caller guarantees a tuple of the table in the slot; `open` has opened the indexes.
        unsafe {
            version::insert_index_tuples(
                self.relation.as_ptr(),
                slot,
                self.executor.as_ptr(),
                match entry {
                    IndexEntry::New | IndexEntry::UnlessThere => None,
                    IndexEntry::Moved(needs) => Some(needs),
                },
                if entry == IndexEntry::UnlessThere { &raw mut conflict } else { null_mut() },
            );
        }
        !conflict
    }
}

/// Why a tuple needs index entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IndexEntry {
    New,
    /// A new row, unless another row has its key.
    UnlessThere,
    /// A new version of a row that the entries of the old version do not lead to: an update that is not HOT.
    Moved(NeedsIndexes),
}
