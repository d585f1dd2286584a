//! SQL statements that a process prepares once and keeps.
//!
//! Invariant: the caller chooses the snapshot of each statement. pgrx would choose it by whether the
//! transaction has written. Here the snapshot decides whether a page view is counted, so the choice is always
//! explicit.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::null;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::transaction::{self, ALL_ROWS, OWN_NAMES};

/// The snapshot that a statement uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// What is committed now, with this transaction's own changes. In REPEATABLE READ the transaction's
    /// snapshot.
    Current,
    /// What is committed now, with this transaction's own changes, at any isolation level.
    Latest,
    /// The snapshot of the calling statement. For statements that only read.
    Statement,
}

/// An open connection to SPI. The results of its statements live until it is closed.
pub struct Connection(PhantomData<*const ()>);

/// Opens a connection, runs `work` and closes the connection. Closing frees the memory of all its statements.
pub fn connect<R>(work: impl FnOnce(&Connection) -> Result<R, ErrorReport>) -> Result<R, ErrorReport> {
    pgrx::Spi::connect_mut(|_client| work(&Connection(PhantomData)))
}

/// As `connect`, with the rights of the owner of a table, where names mean what they say and no policy hides a row.
pub fn connect_as_owner<R>(
    table: pg_sys::Oid,
    work: impl FnOnce(&Connection) -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    transaction::as_owner(table, || transaction::with_settings(&[OWN_NAMES, ALL_ROWS], || connect(work)))
}

/// Runs `work` with a connection to SPI that lets a procedure commit.
pub fn connect_nonatomic<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, ErrorReport> {
    // SAFETY: this runs in the transaction of the call. `SPI_OPT_NONATOMIC` lets the procedure commit.
    let code = unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
    if code < 0 {
        return Err(error::internal("SPI_connect_ext", code));
    }
    let result = work();
    // SAFETY: closes the connection made above. An error closes it with the transaction.
    unsafe { pg_sys::SPI_finish() };
    result
}

/// Commits, and begins a READ COMMITTED transaction: a step needs that level, whatever the session's default
/// is.
pub fn commit() {
    // SAFETY: the SPI connection is not atomic, and `may_commit` has checked the caller. The new transaction
    // has no snapshot yet, so its isolation level can still change.
    unsafe {
        pg_sys::SPI_commit();
        pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
        pg_sys::XactReadOnly = false;
    }
}

/// A statement of this extension: fixed text with parameters.
pub struct Statement {
    text: &'static str,
    parameters: &'static [pg_sys::Oid],
    plan: AtomicPtr<pg_sys::_SPI_plan>,
}

impl Statement {
    /// `parameters` are the types of `$1`, `$2` and so on.
    pub const fn new(text: &'static str, parameters: &'static [pg_sys::Oid]) -> Self {
        Statement { text, parameters, plan: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Runs the statement; an argument of `None` is NULL.
    pub fn run<'c>(
        &self,
        _connection: &'c Connection,
        see: SnapshotKind,
        arguments: &[Option<pg_sys::Datum>],
    ) -> Result<Rows<'c>, ErrorReport> {
        let (mut values, nulls) = self.arrays(arguments);
        let plan = self.plan()?;
        // SAFETY: `_connection` shows that SPI is connected. The plan is a kept one. Each array has an
        // element for each parameter, of its type. SPI itself pushes the latest snapshot while the statement
        // runs.
        let code = unsafe {
            match see {
                SnapshotKind::Current => {
                    pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), false, 0)
                }
                SnapshotKind::Statement => {
                    pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), true, 0)
                }
                SnapshotKind::Latest => pg_sys::SPI_execute_snapshot(
                    plan,
                    values.as_mut_ptr(),
                    nulls.as_ptr(),
                    pg_sys::GetLatestSnapshot(),
                    std::ptr::null_mut(),
                    false,
                    true,
                    0,
                ),
            }
        };
        self.rows(code)
    }

    /// Runs a statement that only reads, under a snapshot.
    pub fn read<'c>(
        &self,
        _connection: &'c Connection,
        snapshot: pg_sys::Snapshot,
        arguments: &[Option<pg_sys::Datum>],
    ) -> Result<Rows<'c>, ErrorReport> {
        let (mut values, nulls) = self.arrays(arguments);
        let plan = self.plan()?;
        // SAFETY: an SPI connection is open; the plan is a kept one, and the arrays have an element for each parameter. The
        // caller keeps the snapshot.
        let code = unsafe {
            pg_sys::SPI_execute_snapshot(
                plan,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                snapshot,
                std::ptr::null_mut(),
                true,
                false,
                0,
            )
        };
        self.rows(code)
    }

    /// Runs a statement that only reads, with the snapshot of the calling statement, and calls `show` with some rows after the
    /// other, `at_a_time` of them.
    pub fn stream(
        &self,
        _connection: &Connection,
        arguments: &[Option<pg_sys::Datum>],
        at_a_time: i32,
        mut show: impl FnMut(&Rows) -> Result<(), ErrorReport>,
    ) -> Result<(), ErrorReport> {
        let (mut values, nulls) = self.arrays(arguments);
        let plan = self.plan()?;
        // SAFETY: an SPI connection is open; the plan is a kept one, and the arrays have an element for each parameter. The rows
        // of each fetch are freed after their last use. An error closes the portal with the transaction.
        unsafe {
            let portal = pg_sys::SPI_cursor_open(null(), plan, values.as_mut_ptr(), nulls.as_ptr(), true);
            loop {
                pg_sys::SPI_cursor_fetch(portal, true, at_a_time.into());
                let rows = self.rows(0)?;
                if rows.is_empty() {
                    pg_sys::SPI_freetuptable(rows.table);
                    break;
                }
                let shown = show(&rows);
                pg_sys::SPI_freetuptable(rows.table);
                shown?;
                pgrx::check_for_interrupts!();
            }
            pg_sys::SPI_cursor_close(portal);
        }
        Ok(())
    }

    fn arrays(&self, arguments: &[Option<pg_sys::Datum>]) -> (Vec<pg_sys::Datum>, Vec<std::ffi::c_char>) {
        debug_assert_eq!(arguments.len(), self.parameters.len());
        let values = arguments.iter().map(|argument| argument.unwrap_or(pg_sys::Datum::from(0))).collect();
        let nulls =
            arguments.iter().map(|argument| if argument.is_some() { b' ' } else { b'n' } as _).collect();
        (values, nulls)
    }

    fn rows<'c>(&self, code: i32) -> Result<Rows<'c>, ErrorReport> {
        if code < 0 {
            return Err(error::internal("SPI_execute_plan", code));
        }
        // SAFETY: written by the statement just run.
        let (table, processed) = unsafe { (pg_sys::SPI_tuptable, pg_sys::SPI_processed) };
        Ok(Rows { table, count: usize::try_from(processed).unwrap_or(usize::MAX), connection: PhantomData })
    }

    fn plan(&self) -> Result<pg_sys::SPIPlanPtr, ErrorReport> {
        let kept = self.plan.load(Ordering::Relaxed);
        if !kept.is_null() {
            return Ok(kept);
        }
        let Ok(text) = CString::new(self.text) else {
            return Err(error::internal("SPI_prepare", pg_sys::SPI_ERROR_ARGUMENT));
        };
        let count = i32::try_from(self.parameters.len()).unwrap_or(i32::MAX);
        // SAFETY: SPI is connected, since only `run` calls this. The text ends in NUL, and `parameters` has
        // `count` elements.
        let plan = unsafe { pg_sys::SPI_prepare(text.as_ptr(), count, self.parameters.as_ptr().cast_mut()) };
        if plan.is_null() {
            // SAFETY: the failed call has set it.
            return Err(error::internal("SPI_prepare", unsafe { pg_sys::SPI_result }));
        }
        // SAFETY: the plan is new and not kept yet. From here on it lives as long as the process.
        let code = unsafe { pg_sys::SPI_keepplan(plan) };
        if code != 0 {
            return Err(error::internal("SPI_keepplan", code));
        }
        self.plan.store(plan, Ordering::Relaxed);
        Ok(plan)
    }
}

/// The rows that a statement returned.
pub struct Rows<'c> {
    table: *mut pg_sys::SPITupleTable,
    count: usize,
    connection: PhantomData<&'c Connection>,
}

impl Rows<'_> {
    /// The number of rows returned, or written by a statement that returns none.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value in a row, counted from 0, and a column, counted from 1. `None` for NULL, and beyond the last
    /// row. A value by reference lives as long as the connection.
    pub fn get(&self, row: usize, column: i32) -> Option<pg_sys::Datum> {
        if self.table.is_null() || row >= self.count {
            return None;
        }
        let mut is_null = false;
        // SAFETY: the table has `count` rows and lives until the connection is closed; SPI checks the column.
        let datum = unsafe {
            let tuple = *(*self.table).vals.add(row);
            pg_sys::SPI_getbinval(tuple, (*self.table).tupdesc, column, &mut is_null)
        };
        (!is_null).then_some(datum)
    }

    /// The `integer` there, 0 for NULL.
    pub fn integer(&self, row: usize, column: i32) -> i32 {
        self.get(row, column).map_or(0, |datum| datum.value() as i32)
    }

    /// The `smallint` there, 0 for NULL.
    pub fn smallint(&self, row: usize, column: i32) -> i16 {
        self.get(row, column).map_or(0, |datum| datum.value() as i16)
    }

    /// The `bigint` there, 0 for NULL.
    pub fn bigint(&self, row: usize, column: i32) -> i64 {
        self.get(row, column).map_or(0, |datum| datum.value() as i64)
    }

    /// The bytes of the `text` there; they live as long as the connection.
    pub fn text(&self, row: usize, column: i32) -> Option<&[u8]> {
        // SAFETY: each caller names a `text` column of its own statement; the value lives as long as `self`.
        self.get(row, column).map(|datum| unsafe { crate::pg::datum::text_bytes(datum) })
    }

    /// The `boolean` there, false for NULL.
    pub fn boolean(&self, row: usize, column: i32) -> bool {
        self.get(row, column).is_some_and(|datum| datum.value() as u8 != 0)
    }

    /// The `text` there as a string, empty for NULL. For words of this extension, such as a status.
    pub fn text_lossy(&self, row: usize, column: i32) -> String {
        // SAFETY: each caller names a `text` column of its own statement.
        self.get(row, column).map_or_else(String::new, |datum| unsafe { crate::pg::datum::text_lossy(datum) })
    }
}
