//! All indexes of a table, maintained as the executor does: by its own function, so that one which the owner adds is maintained
//! too.

use std::ptr::{NonNull, null_mut};

use pgrx::pg_sys;

use crate::pg::version::{self, NeedsIndexes};

/// All indexes of a table, open to be written.
pub struct Indexes {
    executor: NonNull<pg_sys::EState>,
    relation: NonNull<pg_sys::ResultRelInfo>,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Indexes {
    /// # Safety
    /// The relation must be open, and locked for writing, until `close`.
    pub unsafe fn open(relation: pg_sys::Relation) -> Self {
        // SAFETY: as the caller vouches. The relation is in no range table, which index 0 says.
        unsafe {
            let executor = pg_sys::CreateExecutorState();
            let target = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(target, relation, 0, null_mut(), 0);
            pg_sys::ExecOpenIndices(target, false);
            let slot =
                pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsHeapTuple);
            // Neither is null: the server would have raised an error.
            Indexes {
                executor: NonNull::new_unchecked(executor),
                relation: NonNull::new_unchecked(target),
                slot,
            }
        }
    }

    /// Closes them; their locks stay until the transaction ends.
    pub fn close(self) {
        // SAFETY: all of it was opened by `open`, and is not used any more.
        unsafe {
            pg_sys::ExecCloseIndices(self.relation.as_ptr());
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::FreeExecutorState(self.executor.as_ptr());
        }
    }

    /// Adds a tuple; false if another one has its key already, where that may be.
    ///
    /// # Safety
    /// The tuple must be in the table, at the place that it names.
    pub unsafe fn insert(&self, tuple: pg_sys::HeapTuple, entry: IndexEntry) -> bool {
        // SAFETY: as the caller vouches; the slot lets go of the tuple before anybody frees it.
        unsafe {
            pg_sys::ExecStoreHeapTuple(tuple, self.slot, false);
            let is_in = self.insert_from(self.slot, entry);
            pg_sys::ExecClearTuple(self.slot);
            is_in
        }
    }

    /// As `insert`, of the tuple in a slot.
    ///
    /// # Safety
    /// The slot must hold a tuple that is in the table, at the place that it names.
    pub unsafe fn insert_from(&self, slot: *mut pg_sys::TupleTableSlot, entry: IndexEntry) -> bool {
        let mut conflict = false;
        // SAFETY: as the caller vouches; table, executor and slot belong together.
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

/// Why a tuple comes into the indexes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IndexEntry {
    New,
    /// A new row, unless another one has its key.
    UnlessThere,
    /// A new version of a row, which is not found by the entries of the old one.
    Moved(NeedsIndexes),
}
