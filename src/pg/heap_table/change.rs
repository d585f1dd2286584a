//! Updating, inserting and deleting rows.
//!
//! Invariant: a new tuple gets its index entries, unless it is a HOT update or was inserted by
//! `insert_without_indexes`. Such rows wait for `index_next`.

use std::ptr::null_mut;

use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::definition::Way;
use super::{ColumnChange, Table};
use crate::error;
use crate::pg::datum::Column;
use crate::pg::indexes::{IndexEntry, Indexes};
use crate::pg::tid::Tid;
use crate::pg::version::{self, NeedsIndexes};

/// The largest number of columns of an aggregate table.
const MOST_COLUMNS: usize = 9;

impl Table {
    /// Updates columns of the current row. False, without any change, if another transaction changed the row
    /// first.
    pub fn update(&mut self, changes: &[(Column, ColumnChange)]) -> Result<bool, ErrorReport> {
        if self.way == Way::Executor {
            return self.update_by_statement(changes);
        }
        let mut columns = [0; MOST_COLUMNS];
        let mut values = [pg_sys::Datum::from(0); MOST_COLUMNS];
        let mut nulls = [false; MOST_COLUMNS];
        let mut count = 0;
        for (column, value) in changes {
            (values[count], nulls[count]) = match value {
                ColumnChange::Same => continue,
                ColumnChange::Null => (pg_sys::Datum::from(0), true),
                ColumnChange::Value(value) => (*value, false),
            };
            columns[count] = i32::from(*column);
            count += 1;
        }
        // SAFETY: the slot holds the current row and pins its buffer. The callers name columns of the table,
        // with values of their types.
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
            self.written = Some(Tid::from((*tuple).t_self));
            if result == pg_sys::TM_Result::TM_Ok && needs != NeedsIndexes::None {
                self.indexes().insert(tuple, IndexEntry::Moved(needs));
            }
            pg_sys::heap_freetuple(tuple);
            self.outcome(result)
        }
    }

    /// Deletes the current row. False, without any change, if another transaction changed the row first.
    pub fn delete(&mut self) -> Result<bool, ErrorReport> {
        if self.way == Way::Executor {
            return self.delete_by_statement();
        }
        // SAFETY: the slot holds the current row, so its tid is that of a row.
        unsafe { self.remove((*self.slot).tts_tid) }
    }

    /// Deletes the row at a tid. False, without any change, if another transaction changed the row first.
    ///
    /// # Safety
    /// The tid must be that of a row of this table.
    pub(super) unsafe fn remove(&mut self, mut tid: pg_sys::ItemPointerData) -> Result<bool, ErrorReport> {
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: the caller guarantees a row at the tid; the relation is open.
        let result = unsafe {
            pg_sys::heap_delete(self.relation, &mut tid, self.command, null_mut(), true, &mut failure, false)
        };
        self.outcome(result)
    }

    /// Inserts a row whose key no other transaction can insert. The values are those of the first columns;
    /// the other columns are NULL.
    ///
    /// # Errors
    /// 23505 if an index of the owner does not allow the row.
    pub fn insert(&mut self, values: &[pg_sys::Datum]) -> Result<(), ErrorReport> {
        if self.way == Way::Executor {
            return self.insert_by_statement(values);
        }
        let tuple = self.form(values);
        // SAFETY: `form` made a tuple of this table; the caller guarantees a new key.
        unsafe { self.put(tuple) };
        Ok(())
    }

    /// Inserts a tuple into the table and its indexes, and frees it. Returns its tid.
    ///
    /// # Safety
    /// The tuple must be of this table, with a key that no other row has.
    pub(super) unsafe fn put(&mut self, tuple: pg_sys::HeapTuple) -> Tid {
        // SAFETY: the caller guarantees a tuple of this table. It is freed last.
        unsafe {
            pg_sys::heap_insert(self.relation, tuple, self.command, 0, null_mut());
            let tid = Tid::from((*tuple).t_self);
            self.written = Some(tid);
            self.indexes().insert(tuple, IndexEntry::New);
            pg_sys::heap_freetuple(tuple);
            tid
        }
    }

    /// Inserts a row. False, and the row is deleted again, if the key is there or another transaction is
    /// inserting it.
    ///
    /// Two insertions of one key do not wait for each other. The earlier one has checked the index before the
    /// later one has an entry there. The later one meets the earlier row, deletes its own row, and only then
    /// waits, in `find`.
    pub fn insert_or_yield(&mut self, values: &[pg_sys::Datum]) -> Result<bool, ErrorReport> {
        match self.way {
            Way::Direct => {}
            Way::Decoded => return Ok(self.insert_speculatively(values)),
            Way::Executor => return self.insert_by_statement_unless_there(values),
        }
        let tuple = self.form(values);
        // SAFETY: `form` made a tuple of this table. It is freed after its last use.
        unsafe {
            pg_sys::heap_insert(self.relation, tuple, self.command, 0, null_mut());
            let is_first = self.indexes().insert(tuple, IndexEntry::UnlessThere);
            let tid = (*tuple).t_self;
            pg_sys::heap_freetuple(tuple);
            if is_first {
                self.written = Some(Tid::from(tid));
            } else {
                self.take_back(tid)?;
            }
            Ok(is_first)
        }
    }

    /// As `insert_or_yield`, as the server does it for `ON CONFLICT DO NOTHING`: a row that is taken back is not decoded.
    fn insert_speculatively(&mut self, values: &[pg_sys::Datum]) -> bool {
        let tuple = self.form(values);
        // SAFETY: `form` made a tuple of this table. It is freed after its last use. The token in its header says that it may be
        // taken back, until one of the two functions removes it. An error aborts the transaction, which releases the lock.
        unsafe {
            let transaction = pg_sys::GetCurrentTransactionId();
            let token = pg_sys::SpeculativeInsertionLockAcquire(transaction);
            item_pointer_set_all(&mut (*(*tuple).t_data).t_ctid, token, pg_sys::SpecTokenOffsetNumber as u16);
            let options = pg_sys::HEAP_INSERT_SPECULATIVE as i32;
            pg_sys::heap_insert(self.relation, tuple, self.command, options, null_mut());
            let is_first = self.indexes().insert(tuple, IndexEntry::UnlessThere);
            let mut tid = (*tuple).t_self;
            pg_sys::heap_freetuple(tuple);
            if is_first {
                pg_sys::heap_finish_speculative(self.relation, &mut tid);
                self.written = Some(Tid::from(tid));
            } else {
                pg_sys::heap_abort_speculative(self.relation, &mut tid);
            }
            pg_sys::SpeculativeInsertionLockRelease(transaction);
            is_first
        }
    }

    /// Deletes a row that this command has inserted.
    ///
    /// # Safety
    /// The row must be at this tid of this table.
    pub(super) unsafe fn take_back(&mut self, tid: pg_sys::ItemPointerData) -> Result<(), ErrorReport> {
        // SAFETY: the caller guarantees a row at the tid. A command cannot delete its own row, so the next
        // command does.
        unsafe {
            pg_sys::CommandCounterIncrement();
            self.command = pg_sys::GetCurrentCommandId(true);
            self.remove(tid).map(|_| ())
        }
    }

    /// Inserts new rows into the table, many in a block at a time, and into no index. A search by key finds a
    /// row only after `index_next` has added it. The values are those of the first columns; the other columns
    /// are NULL.
    pub fn insert_without_indexes<'r>(&mut self, rows: impl Iterator<Item = &'r [pg_sys::Datum]>) {
        if self.way != Way::Direct {
            self.one_by_one.extend(rows.map(<[_]>::to_vec));
            return;
        }
        // SAFETY: each slot has as many values as the table has columns, and all are set. The values live
        // until the flush ends.
        unsafe {
            let description = (*self.relation).rd_att;
            let columns = usize::try_from((*description).natts).unwrap_or(0);
            for row in rows {
                let row = self.own_values(row);
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
                self.without_indexes.push_back(slot);
            }
            let slots = self.without_indexes.make_contiguous();
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

    /// Adds the next of these rows to the indexes. False, and the row is deleted again, as in
    /// `insert_or_yield`.
    pub fn index_next(&mut self) -> Result<bool, ErrorReport> {
        if let Some(row) = self.one_by_one.pop_front() {
            return self.insert_or_yield(&row);
        }
        let Some(slot) = self.without_indexes.pop_front() else { return Ok(false) };
        self.spare.push(slot);
        // SAFETY: `heap_multi_insert` has put the slot's row into this table, and its tid into the slot.
        unsafe {
            if self.indexes().insert_from(slot, IndexEntry::UnlessThere) {
                self.written = Some(Tid::from((*slot).tts_tid));
                return Ok(true);
            }
            self.take_back((*slot).tts_tid)?;
            Ok(false)
        }
    }

    fn form(&self, values: &[pg_sys::Datum]) -> pg_sys::HeapTuple {
        let values = self.own_values(values);
        // SAFETY: both arrays have an element for each column; the callers give values of the columns' types.
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

    /// The values for the columns that the table has. A table of an older version of the extension may lack the last ones.
    fn own_values<'v>(&self, values: &'v [pg_sys::Datum]) -> &'v [pg_sys::Datum] {
        &values[..values.len().min(self.columns())]
    }

    pub(super) fn outcome(&self, result: pg_sys::TM_Result::Type) -> Result<bool, ErrorReport> {
        match result {
            pg_sys::TM_Result::TM_Ok => Ok(true),
            pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => Ok(false),
            code => Err(error::internal(
                &format!("writing {}", self.definition.name.to_string_lossy()),
                code as i32,
            )),
        }
    }

    pub(super) fn indexes(&mut self) -> &Indexes {
        // SAFETY: the relation is open and locked until `close`, which closes the indexes first.
        self.indexes.get_or_insert_with(|| unsafe { Indexes::open(self.relation) })
    }
}
