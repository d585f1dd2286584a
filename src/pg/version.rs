//! Differences between the versions of PostgreSQL. No other file asks for a version of the server.

use std::ffi::{CStr, c_int};
use std::ptr::null_mut;

use pgrx::pg_sys;

/// Installs a handler for a signal.
///
/// # Safety
/// The handler must do only what a signal handler may do.
pub unsafe fn set_handler(signal: i32, handler: pg_sys::pqsigfunc) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: the caller guarantees a handler that is safe in a signal.
    unsafe {
        pg_sys::pqsignal(signal, handler);
    }
    #[cfg(feature = "pg18")]
    // SAFETY: the caller guarantees a handler that is safe in a signal.
    unsafe {
        pg_sys::pqsignal_be(signal, handler);
    }
}

/// The timeouts of a session that only later versions have, each with the value that turns it off.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const TIMEOUTS: &[(&CStr, &CStr)] = &[];
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const TIMEOUTS: &[(&CStr, &CStr)] = &[(c"transaction_timeout", c"0")];

/// A virtual transaction id, as numbers that can be compared.
pub fn transaction_id(id: &pg_sys::VirtualTransactionId) -> (i32, u32) {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return (id.backendId, id.localTransactionId);
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    return (id.procNumber, id.localTransactionId);
}

/// Whether this process holds a lock in this mode.
///
/// # Safety
/// All fields of the tag must be set.
pub unsafe fn holds_lock(lock: &pg_sys::LOCKTAG, mode: c_int) -> bool {
    // SAFETY: the caller guarantees a complete tag; the server looks it up among the locks of this process.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::LockHeldByMe(lock, mode);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::LockHeldByMe(lock, mode, false);
    }
}

/// The description of a column of a row, counted from 0.
///
/// # Safety
/// The description must be whole, and have the column.
pub unsafe fn attribute(
    description: pg_sys::TupleDesc,
    column: usize,
) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: the caller guarantees the column. From version 18 on, the descriptions follow an array of as many short ones.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return (*description).attrs.as_ptr().add(column);
        #[cfg(feature = "pg18")]
        return (*description)
            .compact_attrs
            .as_ptr()
            .add(usize::try_from((*description).natts).unwrap_or(0))
            .cast::<pg_sys::FormData_pg_attribute>()
            .add(column);
    }
}

/// The index of the primary key, or `InvalidOid`.
///
/// # Safety
/// The relation must be open.
pub unsafe fn primary_key(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: the caller guarantees that the relation is open.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return pg_sys::RelationGetPrimaryKeyIndex(relation);
        #[cfg(feature = "pg18")]
        return pg_sys::RelationGetPrimaryKeyIndex(relation, false);
    }
}

/// The number of a relation's file (relfilenode).
///
/// # Safety
/// The relation must be open.
pub unsafe fn file_of(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: the caller guarantees that the relation is open.
    unsafe {
        #[cfg(feature = "pg15")]
        return (*relation).rd_node.relNode;
        #[cfg(not(feature = "pg15"))]
        return (*relation).rd_locator.relNumber;
    }
}

/// `InvalidSubTransactionId`, which pgrx does not have.
const NO_SUBTRANSACTION: pg_sys::SubTransactionId = 0;

/// Whether changes of the relation are written to the log. With `wal_level = minimal` those of a relation that this transaction
/// has made are not, and then none may be.
///
/// # Safety
/// The relation must be open.
pub unsafe fn needs_log(relation: pg_sys::Relation) -> bool {
    // SAFETY: the caller guarantees that the relation is open.
    unsafe {
        #[cfg(feature = "pg15")]
        let new_file = (*relation).rd_firstRelfilenodeSubid;
        #[cfg(not(feature = "pg15"))]
        let new_file = (*relation).rd_firstRelfilelocatorSubid;
        let is_new = (*relation).rd_createSubid != NO_SUBTRANSACTION || new_file != NO_SUBTRANSACTION;
        (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && (!is_new || pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32)
    }
}

/// The sequence of an identity column.
///
/// # Safety
/// The relation must be open.
pub unsafe fn identity_sequence(relation: pg_sys::Relation, column: i16) -> pg_sys::Oid {
    // SAFETY: the caller guarantees that the relation is open; a missing sequence is InvalidOid.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::getIdentitySequence((*relation).rd_id, column, true);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::getIdentitySequence(relation, column, true);
    }
}

/// Whether VACUUM heeds each snapshot for as long as it is held.
pub fn keeps_all_snapshots() -> bool {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: a plain integer of this process, which the start of the server has set.
    return unsafe { pg_sys::old_snapshot_threshold } < 0;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    true
}

/// Begins an index scan of a table.
///
/// # Safety
/// Table and index must stay open, and the snapshot live, until the scan ends.
pub unsafe fn begin_scan(
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: the caller guarantees that table and index are open and that the snapshot is live.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return pg_sys::index_beginscan(relation, index, snapshot, keys, 0);
        #[cfg(feature = "pg18")]
        return pg_sys::index_beginscan(relation, index, snapshot, null_mut(), keys, 0);
    }
}

/// Replaces the version of a row at a tid, after waiting for a transaction that locks it. Returns which
/// indexes need an entry for the new version.
///
/// # Safety
/// The caller must have found a tuple at this tid of this relation. `tuple` must be a tuple of the relation.
pub unsafe fn update_tuple(
    relation: pg_sys::Relation,
    tid: &mut pg_sys::ItemPointerData,
    tuple: pg_sys::HeapTuple,
    command: pg_sys::CommandId,
) -> (pg_sys::TM_Result::Type, NeedsIndexes) {
    let mut failure = pg_sys::TM_FailureData::default();
    let mut lock = 0;
    macro_rules! heap_update {
        ($($more:expr),*) => {
            pg_sys::heap_update(relation, tid, tuple, command, null_mut(), true, &mut failure, &mut lock, $($more),*)
        };
    }
    // SAFETY: the caller guarantees an old tuple at the tid, and a new one of this relation.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            let result = heap_update!();
            let is_hot = u32::from((*(*tuple).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0;
            (result, if is_hot { NeedsIndexes::None } else { NeedsIndexes::All })
        }
        #[cfg(not(feature = "pg15"))]
        {
            let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
            let result = heap_update!(&mut indexes);
            let needs = match indexes {
                pg_sys::TU_UpdateIndexes::TU_None => NeedsIndexes::None,
                pg_sys::TU_UpdateIndexes::TU_Summarizing => NeedsIndexes::Summarizing,
                _ => NeedsIndexes::All,
            };
            (result, needs)
        }
    }
}

/// Which indexes need an entry for a new version of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NeedsIndexes {
    None,
    #[cfg_attr(feature = "pg15", allow(dead_code))]
    Summarizing,
    All,
}

/// Adds the tuple in a slot to the indexes of its table. A new row goes into all of them, a new version into
/// those that `moved` says.
///
/// Another tuple with the same key is an error, or sets `conflict` if that is not null. With `conflict`, a
/// tuple of a transaction in progress is a conflict, too.
///
/// # Safety
/// The slot must hold a tuple of the table, and the table's indexes must be open.
pub unsafe fn insert_index_tuples(
    table: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    executor: *mut pg_sys::EState,
    moved: Option<NeedsIndexes>,
    conflict: *mut bool,
) {
    let (is_moved, may_conflict) = (moved.is_some(), !conflict.is_null());
    macro_rules! insert_index_tuples {
        ($($more:expr),*) => {
            pg_sys::ExecInsertIndexTuples(table, slot, executor, is_moved, may_conflict, conflict, null_mut(), $($more),*)
        };
    }
    // SAFETY: the caller guarantees a tuple of the table in the slot, and open indexes.
    unsafe {
        #[cfg(feature = "pg15")]
        insert_index_tuples!();
        #[cfg(not(feature = "pg15"))]
        insert_index_tuples!(moved == Some(NeedsIndexes::Summarizing));
    }
}
