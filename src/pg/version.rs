//! Where versions of PostgreSQL differ.

use std::ffi::{CStr, c_int};
use std::ptr::null_mut;

use pgrx::pg_sys;

/// Has a function called for a signal.
///
/// # Safety
/// The handler must do no more than a signal handler may.
pub unsafe fn set_handler(signal: i32, handler: pg_sys::pqsigfunc) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as the caller vouches.
    unsafe {
        pg_sys::pqsignal(signal, handler);
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller vouches.
    unsafe {
        pg_sys::pqsignal_be(signal, handler);
    }
}

/// Timeouts of a session that later versions have, each with the value that turns it off.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const TIMEOUTS: &[(&CStr, &CStr)] = &[];
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const TIMEOUTS: &[(&CStr, &CStr)] = &[(c"transaction_timeout", c"0")];

/// Whether this process holds a lock in this mode.
///
/// # Safety
/// The tag must be whole.
pub unsafe fn holds_lock(lock: &pg_sys::LOCKTAG, mode: c_int) -> bool {
    // SAFETY: looks at the locks of this process only.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::LockHeldByMe(lock, mode);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::LockHeldByMe(lock, mode, false);
    }
}

/// The index of the primary key, or no index.
///
/// # Safety
/// The relation must be open.
pub unsafe fn primary_key(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return pg_sys::RelationGetPrimaryKeyIndex(relation);
        #[cfg(feature = "pg18")]
        return pg_sys::RelationGetPrimaryKeyIndex(relation, false);
    }
}

/// The number of a relation's file.
///
/// # Safety
/// The relation must be open.
pub unsafe fn file_of(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(feature = "pg15")]
        return (*relation).rd_node.relNode;
        #[cfg(not(feature = "pg15"))]
        return (*relation).rd_locator.relNumber;
    }
}

/// A scan of a table by an index.
///
/// # Safety
/// Both must be open, and the snapshot live, until the scan ends.
pub unsafe fn begin_scan(
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return pg_sys::index_beginscan(relation, index, snapshot, keys, 0);
        #[cfg(feature = "pg18")]
        return pg_sys::index_beginscan(relation, index, snapshot, null_mut(), keys, 0);
    }
}

/// Replaces the tuple at a place; waits for whoever holds it. Says which indexes are to learn of the new one.
///
/// # Safety
/// The tuple must have been found at this place of this relation.
pub unsafe fn update_tuple(
    relation: pg_sys::Relation,
    place: &mut pg_sys::ItemPointerData,
    tuple: pg_sys::HeapTuple,
    command: pg_sys::CommandId,
) -> (pg_sys::TM_Result::Type, NeedsIndexes) {
    let mut failure = pg_sys::TM_FailureData::default();
    let mut lock = 0;
    macro_rules! heap_update {
        ($($more:expr),*) => {
            pg_sys::heap_update(relation, place, tuple, command, null_mut(), true, &mut failure, &mut lock, $($more),*)
        };
    }
    // SAFETY: as the caller vouches.
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

/// Which indexes must learn of a new version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NeedsIndexes {
    None,
    #[cfg_attr(feature = "pg15", allow(dead_code))]
    Summarizing,
    All,
}

/// Adds the tuple in a slot to all indexes of its table, or to those that `moved` says if it is a new version. If another one has
/// its key that is an error, or sets `conflict` if that is not null; a tuple that is being inserted counts as well.
///
/// # Safety
/// The slot must hold a tuple of the table, and the indexes be open.
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
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(feature = "pg15")]
        insert_index_tuples!();
        #[cfg(not(feature = "pg15"))]
        insert_index_tuples!(moved == Some(NeedsIndexes::Summarizing));
    }
}
