//! How a row is changed, inserted and removed, with its entries in the indexes.

use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::{ColumnChange, Table};
use crate::error;
use crate::pg::datum::Column;
use crate::pg::indexes::{IndexEntry, Indexes};
use crate::pg::tid::Tid;
use crate::pg::version::{self, NeedsIndexes};

/// Most columns of an aggregate table.
const MOST_COLUMNS: usize = 8;

impl Table {
    /// Changes columns of the row found. False, and nothing is changed, if somebody else has changed it first.
    pub fn update(&mut self, changes: &[(Column, ColumnChange)]) -> Result<bool, ErrorReport> {
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
            self.written = Some(Tid::from((*tuple).t_self));
            if result == pg_sys::TM_Result::TM_Ok && needs != NeedsIndexes::None {
                self.indexes().insert(tuple, IndexEntry::Moved(needs));
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
    pub(super) unsafe fn remove(&mut self, mut tid: pg_sys::ItemPointerData) -> Result<bool, ErrorReport> {
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: as the caller vouches.
        let result = unsafe {
            pg_sys::heap_delete(self.relation, &mut tid, self.command, null_mut(), true, &mut failure, false)
        };
        self.outcome(result)
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
    pub(super) unsafe fn put(&mut self, tuple: pg_sys::HeapTuple) -> Tid {
        // SAFETY: as the caller vouches; it is freed when all have read it.
        unsafe {
            pg_sys::heap_insert(self.relation, tuple, self.command, 0, null_mut());
            let tid = Tid::from((*tuple).t_self);
            self.written = Some(tid);
            self.indexes().insert(tuple, IndexEntry::New);
            pg_sys::heap_freetuple(tuple);
            tid
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

    /// Removes a row that this command has inserted.
    ///
    /// # Safety
    /// It must be at this place of this table.
    unsafe fn take_back(&mut self, tid: pg_sys::ItemPointerData) -> Result<(), ErrorReport> {
        // SAFETY: a command cannot remove what it has inserted; the next one can.
        unsafe {
            pg_sys::CommandCounterIncrement();
            self.command = pg_sys::GetCurrentCommandId(true);
            self.remove(tid).map(|_| ())
        }
    }

    /// Puts new rows into the table, pages of them at a time, but into no index: nobody finds them by their keys before each is
    /// published. The values are those of the first columns; others are NULL.
    pub fn insert_without_indexes<'r>(&mut self, rows: impl Iterator<Item = &'r [pg_sys::Datum]>) {
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

    /// Adds the next of these rows to the indexes, as `insert_or_yield` does.
    pub fn index_next(&mut self) -> Result<bool, ErrorReport> {
        let Some(slot) = self.without_indexes.pop_front() else { return Ok(false) };
        self.spare.push(slot);
        // SAFETY: the slot holds a row that is in this table at the place that it names.
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
