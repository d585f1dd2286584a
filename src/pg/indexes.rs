//! The indexes of a table, and new entries in them.
//!
//! Invariant: each index of the table gets its entries, also one that the owner of the table has added. For
//! that the executor's own function writes them.

use std::ptr::{NonNull, null_mut};

use pgrx::pg_sys;

use crate::pg::transaction;
use crate::pg::version::{self, NeedsIndexes};

/// All indexes of a table without unique indexes beside its primary key, open for writing.
pub struct Indexes {
    executor: NonNull<pg_sys::EState>,
    relation: NonNull<pg_sys::ResultRelInfo>,
    /// The same table as if it had no primary key; `None` if it has no other index.
    others: Option<NonNull<pg_sys::ResultRelInfo>>,
    slot: *mut pg_sys::TupleTableSlot,
    /// The owner of the table, if an index calls functions: they act as that role, not as whoever views a page.
    owner: Option<pg_sys::Oid>,
}

/// The largest number of columns of an index: the owner may have added INCLUDE columns to a primary key.
const MOST_COLUMNS: usize = pg_sys::INDEX_MAX_KEYS as usize;

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
                others: without_primary_key(target),
                slot,
                owner: calls_functions(target).then(|| (*(*relation).rd_rel).relowner),
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
        // SAFETY: the same.
        let insert = || unsafe { self.insert_as_it_is(slot, entry) };
        match self.owner {
            None => insert(),
            Some(owner) => transaction::as_role(owner, insert),
        }
    }

    /// # Safety
    /// As `insert_from`.
    unsafe fn insert_as_it_is(&self, slot: *mut pg_sys::TupleTableSlot, entry: IndexEntry) -> bool {
        let mut conflict = false;
        // SAFETY: the caller guarantees a tuple of the table in the slot; `open` has opened the indexes.
        unsafe {
            let (executor, relation) = (self.executor.as_ptr(), self.relation.as_ptr());
            match entry {
                IndexEntry::New => version::insert_index_tuples(relation, slot, executor, None, null_mut()),
                IndexEntry::UnlessThere => {
                    version::insert_index_tuples(relation, slot, executor, None, &raw mut conflict);
                }
                IndexEntry::Moved(needs) => {
                    if needs == NeedsIndexes::All {
                        self.insert_into_primary_key(slot);
                    }
                    if let Some(others) = self.others {
                        version::insert_index_tuples(
                            others.as_ptr(),
                            slot,
                            executor,
                            Some(needs),
                            null_mut(),
                        );
                    }
                }
            }
        }
        !conflict
    }

    /// Adds a new version of a row to the primary key, without the check that the key is unique: it is the key of the old
    /// version. The check would look at every dead version of the row, and an old snapshot keeps them all.
    ///
    /// # Safety
    /// The slot must hold a tuple that is in the table, at the tid in its `tts_tid`.
    unsafe fn insert_into_primary_key(&self, slot: *mut pg_sys::TupleTableSlot) {
        let mut values = [pg_sys::Datum::from(0); MOST_COLUMNS];
        let mut nulls = [false; MOST_COLUMNS];
        // SAFETY: the caller guarantees the tuple. No index has more columns than the arrays, and a primary key has no
        // expression; `open` has opened the indexes, of which the arrays of the server have one entry each.
        unsafe {
            let relation = self.relation.as_ref();
            for n in 0..usize::try_from(relation.ri_NumIndices).unwrap_or(0) {
                let index = *relation.ri_IndexRelationDescs.add(n);
                let info = *relation.ri_IndexRelationInfo.add(n);
                if !(*(*index).rd_index).indisprimary {
                    continue;
                }
                let executor = self.executor.as_ptr();
                pg_sys::FormIndexDatum(info, slot, executor, values.as_mut_ptr(), nulls.as_mut_ptr());
                pg_sys::index_insert(
                    index,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    &raw mut (*slot).tts_tid,
                    relation.ri_RelationDesc,
                    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                    true,
                    info,
                );
            }
        }
    }
}

/// Whether an index of the table has an expression or a predicate.
///
/// # Safety
/// The indexes of the table must be open.
unsafe fn calls_functions(relation: *mut pg_sys::ResultRelInfo) -> bool {
    // SAFETY: the caller guarantees open indexes, of which the array has one entry each.
    unsafe {
        let count = usize::try_from((*relation).ri_NumIndices).unwrap_or(0);
        (0..count).any(|n| {
            let info = *(*relation).ri_IndexRelationInfo.add(n);
            !(*info).ii_Expressions.is_null() || !(*info).ii_Predicate.is_null()
        })
    }
}

/// The description of a table for the executor, without the index of its primary key.
///
/// # Safety
/// The indexes of the table must be open.
unsafe fn without_primary_key(
    relation: *mut pg_sys::ResultRelInfo,
) -> Option<NonNull<pg_sys::ResultRelInfo>> {
    // SAFETY: the caller guarantees open indexes, of which the arrays have one entry each. The copies live as long as the
    // memory context, as the originals do.
    unsafe {
        let count = usize::try_from((*relation).ri_NumIndices).unwrap_or(0);
        let others = (0..count)
            .filter(|n| !(*(**(*relation).ri_IndexRelationDescs.add(*n)).rd_index).indisprimary)
            .collect::<Vec<_>>();
        if others.is_empty() {
            return None;
        }
        let copy = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
        copy.copy_from_nonoverlapping(relation, 1);
        let indexes =
            pg_sys::palloc0(others.len() * size_of::<pg_sys::Relation>()).cast::<pg_sys::Relation>();
        let infos = pg_sys::palloc0(others.len() * size_of::<*mut pg_sys::IndexInfo>())
            .cast::<*mut pg_sys::IndexInfo>();
        for (n, other) in others.iter().enumerate() {
            indexes.add(n).write(*(*relation).ri_IndexRelationDescs.add(*other));
            infos.add(n).write(*(*relation).ri_IndexRelationInfo.add(*other));
        }
        (*copy).ri_NumIndices = i32::try_from(others.len()).unwrap_or(0);
        (*copy).ri_IndexRelationDescs = indexes;
        (*copy).ri_IndexRelationInfo = infos;
        NonNull::new(copy)
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

/// Whether this transaction has made the index, and has left HOT chains whose older rows it does not lead to. Older
/// transactions may be in the way of such an index, too; but every scan here sees what is committed now.
///
/// # Safety
/// The index must be open.
pub unsafe fn is_young(index: pg_sys::Relation) -> bool {
    // SAFETY: the caller guarantees an open index, which has its row of `pg_index`.
    unsafe {
        (*(*index).rd_index).indcheckxmin
            && pg_sys::TransactionIdIsCurrentTransactionId(pg_sys::htup::HeapTupleHeaderGetXmin(
                (*(*index).rd_indextuple).t_data,
            ))
    }
}

/// Whether an index is a valid btree over all rows.
///
/// # Safety
/// The index must be open.
pub unsafe fn is_whole_btree(index: pg_sys::Relation) -> bool {
    // SAFETY: the caller guarantees an open index, which has its row of `pg_index`.
    unsafe {
        let form = &*(*index).rd_index;
        form.indisvalid
            && form.indisready
            && (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
            && pg_sys::RelationGetIndexPredicate(index).is_null()
    }
}
