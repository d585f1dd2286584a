//! Writing rows by statements, through the executor: for a table to which the owner has added triggers, constraints, defaults,
//! rules or unique indexes.
//!
//! A statement runs as the owner of the table, and sees what is committed now at any isolation level. A row is locked before
//! the statement that writes it. So no other transaction comes in between: at READ COMMITTED the statement would write its
//! values over those of the newer version, at higher levels it would fail.

use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::{ColumnChange, KeyValue, Table};
use crate::error;
use crate::pg::datum::{self, Column};
use crate::pg::spi::{self, Rows, SnapshotKind, Statement};
use crate::pg::tid::Tid;
use crate::pg::transaction;

/// How often an insertion is tried that finds neither room nor what is in its way.
const MOST_ATTEMPTS: u32 = 10;

impl Table {
    /// As `update`.
    pub(super) fn update_by_statement(
        &mut self,
        changes: &[(Column, ColumnChange)],
    ) -> Result<bool, ErrorReport> {
        let mut values = self.current_values();
        for (column, change) in changes {
            match change {
                ColumnChange::Same => {}
                ColumnChange::Null => values[*column as usize - 1] = None,
                ColumnChange::Value(value) => values[*column as usize - 1] = Some(*value),
            }
        }
        values.push(Some(self.tid_datum()));
        let tid = self.tid();
        if !self.lock(tid, pg_sys::LockTupleMode::LockTupleNoKeyExclusive)? {
            return Ok(false);
        }
        let is_written = self.write_row(&self.definition.update, &values)?;
        self.require_change(is_written, tid)
    }

    /// As `delete`.
    pub(super) fn delete_by_statement(&mut self) -> Result<bool, ErrorReport> {
        let tid = self.tid();
        if !self.lock(tid, pg_sys::LockTupleMode::LockTupleExclusive)? {
            return Ok(false);
        }
        let arguments = [Some(self.tid_datum())];
        let is_written = self.run(&self.definition.delete, &arguments, |rows| Ok(rows.len() == 1))?;
        self.require_change(is_written, tid)
    }

    /// As `insert`.
    pub(super) fn insert_by_statement(&mut self, values: &[pg_sys::Datum]) -> Result<(), ErrorReport> {
        let is_written = self.write_row(&self.definition.insert, &self.padded(values))?;
        if is_written { Ok(()) } else { Err(error::written_otherwise(self.definition.name)) }
    }

    /// As `insert_or_yield`: the insertion is speculative, so nothing has to be taken back.
    pub(super) fn insert_by_statement_unless_there(
        &mut self,
        values: &[pg_sys::Datum],
    ) -> Result<bool, ErrorReport> {
        // Another transaction may delete the row that was in the way. A trigger or a rule stays in the way.
        for _ in 0..MOST_ATTEMPTS {
            if self.write_row(&self.definition.insert_unless_there, &self.padded(values))? {
                return Ok(true);
            }
            if self.find(&self.key_of(values)) {
                return Ok(false);
            }
        }
        Err(error::written_otherwise(self.definition.name))
    }

    /// Locks the current row. False if another transaction has changed it.
    fn lock(&self, tid: Tid, mode: pg_sys::LockTupleMode::Type) -> Result<bool, ErrorReport> {
        let (mut row, mut failure) = (pg_sys::HeapTupleData::default(), pg_sys::TM_FailureData::default());
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        item_pointer_set_all(&mut row.t_self, tid.0, tid.1);
        // SAFETY: the callers have found a row at the tid. The server pins its buffer in any case.
        let result = unsafe {
            row.t_tableOid = self.oid();
            let result = pg_sys::heap_lock_tuple(
                self.relation,
                &mut row,
                pg_sys::GetCurrentCommandId(true),
                mode,
                pg_sys::LockWaitPolicy::LockWaitBlock,
                false,
                &mut buffer,
                &mut failure,
            );
            pg_sys::ReleaseBuffer(buffer);
            result
        };
        self.outcome(result)
    }

    /// Whether a row was written. If it was not, and is at its place all the same, a trigger or a rule is in the way.
    fn require_change(&mut self, is_written: bool, tid: Tid) -> Result<bool, ErrorReport> {
        if !is_written && self.is_row_at(tid) {
            return Err(error::written_otherwise(self.definition.name));
        }
        Ok(is_written)
    }

    /// The key of a row with these values.
    fn key_of<'v>(&self, values: &'v [pg_sys::Datum]) -> Vec<KeyValue<'v>> {
        let positions = self.definition.key.iter().map(|column| *column as usize - 1);
        let keys = positions.map(|n| (self.definition.columns[n].column_type, values[n]));
        keys.map(|(column_type, value)| match column_type {
            // SAFETY: the definition says that the value is of this type; the callers keep it.
            pg_sys::TEXTOID => KeyValue::Text(unsafe { datum::text_bytes(value) }),
            pg_sys::INT2OID => KeyValue::Smallint(value.value() as i16),
            pg_sys::DATEOID => KeyValue::Day(value.value() as i32),
            pg_sys::BOOLOID => KeyValue::Boolean(value.value() as u8 != 0),
            _ => KeyValue::Integer(value.value() as i32),
        })
        .collect()
    }

    /// A value for each column of the definition.
    fn padded(&self, values: &[pg_sys::Datum]) -> Vec<Option<pg_sys::Datum>> {
        let given = values.iter().copied().map(Some);
        given.chain(std::iter::repeat(None)).take(self.definition.columns.len()).collect()
    }

    fn current_values(&self) -> Vec<Option<pg_sys::Datum>> {
        (1..).take(self.definition.columns.len()).map(|column| self.value(column)).collect()
    }

    fn tid_datum(&self) -> pg_sys::Datum {
        // SAFETY: the callers have found a row, whose slot stays as it is until the next call.
        pg_sys::Datum::from(unsafe { &raw mut (*self.slot).tts_tid })
    }

    /// Runs a statement that writes a row and returns it. False if it has written none.
    ///
    /// # Errors
    /// 09000 if a trigger has changed the row: a number that is not ours is no count.
    fn write_row(
        &self,
        statement: &'static Statement,
        values: &[Option<pg_sys::Datum>],
    ) -> Result<bool, ErrorReport> {
        self.run(statement, values, |rows| {
            if rows.is_empty() {
                return Ok(false);
            }
            let columns = self.definition.columns.iter().zip(values).zip(1..);
            let is_ours = columns.into_iter().all(|((column, value), n)| {
                // SAFETY: both are of the column's type, and live until the connection is closed.
                unsafe { is_same(column.column_type, *value, rows.get(0, n)) }
            });
            if is_ours { Ok(true) } else { Err(error::written_otherwise(self.definition.name)) }
        })
    }

    /// Runs a statement of the table's definition as the table's owner.
    fn run<R>(
        &self,
        statement: &'static Statement,
        arguments: &[Option<pg_sys::Datum>],
        read: impl FnOnce(&Rows) -> Result<R, ErrorReport>,
    ) -> Result<R, ErrorReport> {
        transaction::fire_deferred_at_once();
        spi::connect_as_owner(self.oid(), |connection| {
            read(&statement.run(connection, SnapshotKind::Latest, arguments)?)
        })
    }
}

/// Whether two values are the same.
///
/// # Safety
/// Both must be of the type.
unsafe fn is_same(
    column_type: pg_sys::Oid,
    one: Option<pg_sys::Datum>,
    other: Option<pg_sys::Datum>,
) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    match column_type {
        // SAFETY: the caller guarantees the type.
        pg_sys::TEXTOID => unsafe { datum::text_bytes(one) == datum::text_bytes(other) },
        pg_sys::BOOLOID => one.value() as u8 == other.value() as u8,
        pg_sys::INT2OID => one.value() as i16 == other.value() as i16,
        pg_sys::INT4OID | pg_sys::DATEOID => one.value() as i32 == other.value() as i32,
        _ => one == other,
    }
}
