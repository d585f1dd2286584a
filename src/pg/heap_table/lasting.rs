//! Writes that last whatever becomes of their transaction, as the number that a sequence gives does.
//!
//! For values that every transaction must agree on at once, and that nobody may wait a transaction for: the id of a value in a
//! dictionary, the salt of a day. The caller holds a lock of `Class::Lasting` around "is it there?" and the write.
//!
//! Invariant: a row is either not there for anybody, or whole and there for everybody, with all its index entries.
//!
//! A row is inserted as any other, and gets its index entries. Then the block that it is in is changed once more: the bits in
//! its header say from now on that it is frozen, as VACUUM would set them for an old row.
//! - *An error in between* ends the transaction or the subtransaction, and the row is dead. With `HEAP_INSERT_FROZEN` it would
//!   be there without index entries. After the bits are set nothing can fail any more.
//! - *A crash*: replay reaches the change of the block after the insertions, or not at all. Without it the row belongs to a
//!   transaction that never committed. What uses the row commits later in the log, so it is lost at least as early.
//! - *A rollback*, also to a savepoint, does not take the row back: a frozen row has no transaction that anybody asks for.
//! - *Snapshots*: a frozen row is in each of them, also in older ones. This is what `HEAP_INSERT_FROZEN` is known for, and what
//!   is wanted here: whoever meets an id finds its row.
//! - *Standbys* replay the block as an image (`XLOG_FPI`), a record that every version of PostgreSQL has and that conflicts
//!   with no query. Up to 8 kB of log for each such row: they are few.
//! - *Logical decoding* sees the insertion as one of the transaction. If that rolls back, a subscriber does not get the row.
//!
//! Overwriting is the same without the insertion: the row keeps its place, and all snapshots see the new values.

use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::Table;
use crate::error;
use crate::pg::datum::Column;
use crate::pg::indexes::IndexEntry;
use crate::pg::tid::Tid;
use crate::pg::{transaction, version};

/// The longest row that is not put aside into another table, in bytes (TOAST_TUPLE_THRESHOLD). What is put aside is not frozen.
const LONGEST_ROW: u32 = (pg_sys::BLCKSZ - 40) / 4 / 8 * 8;

impl Table {
    /// Inserts a row for good. False if its key is there, or another transaction is inserting it. `None` is NULL.
    ///
    /// # Errors
    /// 55000 if the row is too long; nothing is written then.
    pub fn insert_for_good(&mut self, values: &[Option<pg_sys::Datum>]) -> Result<bool, ErrorReport> {
        debug_assert!(self.is_written_directly());
        // SAFETY: `form_with_nulls` made a tuple of this table, which is freed after its last use.
        unsafe {
            let tuple = self.form_with_nulls(values);
            if (*tuple).t_len > LONGEST_ROW {
                return Err(error::not_overwritable(self.definition.name));
            }
            pg_sys::heap_insert(self.relation, tuple, self.command, 0, null_mut());
            let is_first = self.indexes().insert(tuple, IndexEntry::UnlessThere);
            let tid = (*tuple).t_self;
            pg_sys::heap_freetuple(tuple);
            if is_first {
                self.change_in_place(Tid::from(tid), |header| {
                    (*header).t_infomask |= pg_sys::HEAP_XMIN_FROZEN as u16;
                });
            } else {
                self.take_back(tid)?;
            }
            Ok(is_first)
        }
    }

    /// The next number of the sequence of an identity column. The sequence may be locked, so no lock of `Class::Lasting` may be
    /// held.
    ///
    /// # Errors
    /// 55000 if the column is no identity column.
    pub fn next_number(&self, column: Column) -> Result<pg_sys::Datum, ErrorReport> {
        // SAFETY: the relation is open.
        let sequence = unsafe { version::identity_sequence(self.relation, column) };
        if sequence == pg_sys::InvalidOid {
            return Err(error::altered_column(self.definition.name, self.definition.columns[0].name));
        }
        let nextval = pg_sys::Oid::from(pg_sys::F_NEXTVAL);
        transaction::as_owner(self.oid(), || {
            // SAFETY: the function takes the oid of a sequence.
            Ok(unsafe { pg_sys::OidFunctionCall1Coll(nextval, pg_sys::InvalidOid, sequence.into()) })
        })
    }

    /// Overwrites the current row where it is, for good. The columns of its key must stay the same, and so must the length of
    /// each value.
    ///
    /// # Errors
    /// 55000 if the row has another shape than these values, or an index beside its primary key.
    pub fn overwrite(&mut self, values: &[Option<pg_sys::Datum>]) -> Result<(), ErrorReport> {
        // SAFETY: the relation is open, and a list is null or has a length. The slot holds the current row, and pins its buffer,
        // so the row stays where it is. Both tuples have the table's columns; the headers say where the values begin.
        unsafe {
            let indexes = pg_sys::RelationGetIndexList(self.relation);
            let only_key = indexes.as_ref().is_some_and(|indexes| indexes.length == 1);
            let new = self.form_with_nulls(values);
            let (old, start) = (self.tuple(), usize::from((*(*new).t_data).t_hoff));
            let shape = |tuple: pg_sys::HeapTuple| {
                let header = &*(*tuple).t_data;
                let columns = u32::from(header.t_infomask2) & pg_sys::HEAP_NATTS_MASK;
                let has_null = u32::from(header.t_infomask) & pg_sys::HEAP_HASNULL;
                ((*tuple).t_len, header.t_hoff, columns, has_null)
            };
            if !self.is_written_directly() || !only_key || shape(old) != shape(new) || shape(new).3 != 0 {
                return Err(error::not_overwritable(self.definition.name));
            }
            let length = usize::try_from((*new).t_len).unwrap_or(0).saturating_sub(start);
            let values = (*new).t_data.cast::<u8>().add(start);
            self.change_in_place(self.tid(), |header| {
                header.cast::<u8>().add(start).copy_from_nonoverlapping(values, length);
            });
            pg_sys::heap_freetuple(new);
        }
        Ok(())
    }

    /// Writes what was changed to the disk now. A checkpoint does not do that for a table that is UNLOGGED.
    pub fn write_out(&self) {
        // SAFETY: the relation is open. Its entry of the storage manager is open if there was a block to write.
        unsafe {
            pg_sys::FlushRelationBuffers(self.relation);
            if !(*self.relation).rd_smgr.is_null() {
                pg_sys::smgrimmedsync((*self.relation).rd_smgr, pg_sys::ForkNumber::MAIN_FORKNUM);
            }
        }
    }

    /// Changes a tuple in its block, and writes the block to the log.
    ///
    /// # Safety
    /// The table must have a tuple at the tid, which cannot be removed meanwhile. `change` must keep the tuple whole and as long
    /// as it is, and must not fail.
    unsafe fn change_in_place(&self, tid: Tid, change: impl FnOnce(pg_sys::HeapTupleHeader)) {
        // SAFETY: the caller guarantees the tuple. Its buffer is locked while it is changed and logged. Nothing in the critical
        // section raises an error, as the server does not in its own ones of this kind.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, tid.0);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            let header = pg_sys::PageGetItem(page, pg_sys::PageGetItemId(page, tid.1)).cast();
            pg_sys::CritSectionCount += 1;
            change(header);
            pg_sys::MarkBufferDirty(buffer);
            if version::needs_log(self.relation) {
                pg_sys::log_newpage_buffer(buffer, true);
            }
            pg_sys::CritSectionCount -= 1;
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }

    /// A tuple of these values; the columns after them are NULL.
    fn form_with_nulls(&self, values: &[Option<pg_sys::Datum>]) -> pg_sys::HeapTuple {
        // SAFETY: both arrays have an element for each column; the callers give values of the columns' types.
        unsafe {
            let description = (*self.relation).rd_att;
            let columns = usize::try_from((*description).natts).unwrap_or(0);
            let mut row = vec![pg_sys::Datum::from(0); columns];
            let mut nulls = vec![true; columns];
            for (n, value) in values.iter().enumerate() {
                if let Some(value) = value {
                    (row[n], nulls[n]) = (*value, false);
                }
            }
            pg_sys::heap_form_tuple(description, row.as_mut_ptr(), nulls.as_mut_ptr())
        }
    }
}
