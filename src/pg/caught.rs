//! Errors of the server, caught as the server raised them.
//!
//! pgrx catches an error with its texts as UTF-8, whatever the encoding of the database, and without the names of schema, table
//! and constraint. So a function of the server's own kind keeps a copy of each error when it is raised, before it is caught.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::AssertUnwindSafe;
use std::ptr::null_mut;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::{PgLogLevel, PgSqlErrorCode, PgTryBuilder, pg_guard, pg_sys};

use crate::pg::datum;

/// What was caught.
pub enum Caught {
    /// An error of the server, as it was raised. The copy is to be freed.
    Server(*mut pg_sys::ErrorData),
    /// An error of ours, or a panic.
    Ours(Failure),
}

impl Caught {
    /// The error as a value, which outlives the transaction.
    pub fn into_failure(self) -> Failure {
        match self {
            // SAFETY: the copy is whole, and freed after its last use.
            Caught::Server(copy) => unsafe {
                let failure = Failure {
                    code: PgSqlErrorCode::from((*copy).sqlerrcode),
                    message: utf8((*copy).message).unwrap_or_default(),
                    detail: utf8((*copy).detail),
                    hint: utf8((*copy).hint),
                    names: [
                        (*copy).schema_name,
                        (*copy).table_name,
                        (*copy).column_name,
                        (*copy).constraint_name,
                    ]
                    .map(|name| (!name.is_null()).then(|| CStr::from_ptr(name).to_owned())),
                };
                pg_sys::MemoryContextDelete((*copy).assoc_context);
                failure
            },
            Caught::Ours(failure) => failure,
        }
    }
}

/// An error as a value, with its texts in UTF-8.
#[derive(Debug)]
pub struct Failure {
    pub code: PgSqlErrorCode,
    pub message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// Of schema, table, column and constraint, in the encoding of the database.
    names: [Option<CString>; 4],
}

impl Failure {
    /// Whether another transaction was in the way, so that the same step can work later.
    pub fn is_contention(&self) -> bool {
        matches!(
            self.code,
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
                | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
                | PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE
        )
    }

    /// Whether the step was cancelled.
    pub fn is_cancellation(&self) -> bool {
        self.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED
    }

    fn new(report: &ErrorReportWithLevel) -> Self {
        Failure {
            code: report.sql_error_code(),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
            names: [const { None }; 4],
        }
    }

    /// Raises the error again with all that is kept of it.
    pub fn raise<R>(self) -> R {
        // SAFETY: the error is whole. pgrx makes a panic of it, so all that is to be dropped is dropped.
        unsafe { pg_sys::ThrowErrorData(self.into_error_data()) };
        unreachable!("an error was raised")
    }

    /// The error as the server keeps errors, in the current memory context and the encoding of the database.
    fn into_error_data(self) -> *mut pg_sys::ErrorData {
        // SAFETY: the server allocates what is written. Zero is a value for each field.
        unsafe {
            let error = pg_sys::palloc0(size_of::<pg_sys::ErrorData>()).cast::<pg_sys::ErrorData>();
            (*error).elevel = PgLogLevel::ERROR as i32;
            (*error).sqlerrcode = self.code as i32;
            (*error).message = server_text(&self.message);
            (*error).detail = self.detail.map_or(null_mut(), |detail| server_text(&detail));
            (*error).hint = self.hint.map_or(null_mut(), |hint| server_text(&hint));
            let [schema, table, column, constraint] =
                self.names.map(|name| name.map_or(null_mut(), |name| pg_sys::pstrdup(name.as_ptr())));
            (*error).schema_name = schema;
            (*error).table_name = table;
            (*error).column_name = column;
            (*error).constraint_name = constraint;
            error
        }
    }
}

thread_local! {
    /// The copy of the error that the server raised last.
    static LAST: Cell<*mut pg_sys::ErrorData> = const { Cell::new(null_mut()) };
}

/// Runs `work` and returns its error, or its panic, as a value.
pub fn catch<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Caught> {
    let work = AssertUnwindSafe(work);
    let mut frame = pg_sys::ErrorContextCallback { callback: Some(keep_copy), ..Default::default() };
    // What a handler of the server's has caught, around this call, may still be raised again.
    let outer = LAST.replace(null_mut());
    // SAFETY: the frame lives until it is taken off again, below, whatever happens to `work`.
    unsafe {
        frame.previous = pg_sys::error_context_stack;
        pg_sys::error_context_stack = &raw mut frame;
    }
    let result = PgTryBuilder::new(move || {
        let work = work;
        match (work.0)() {
            Ok(result) => Ok(result),
            // An error value is raised and caught again, so that all errors come out in the same way.
            Err(report) => {
                report.report(PgLogLevel::ERROR);
                unreachable!("an error was raised")
            }
        }
    })
    .catch_others(|caught| match caught {
        CaughtError::PostgresError(report) => {
            let copy = LAST.replace(null_mut());
            // An older error that is raised again is not copied once more, so the copy may be of another one.
            // SAFETY: the copy is whole, if there is one.
            let is_it = unsafe { copy.as_ref() }
                .is_some_and(|copy| PgSqlErrorCode::from(copy.sqlerrcode) == report.sql_error_code());
            if is_it {
                return Err(Caught::Server(copy));
            }
            LAST.set(copy);
            Err(Caught::Ours(Failure::new(&report)))
        }
        CaughtError::ErrorReport(report) | CaughtError::RustPanic { ereport: report, .. } => {
            Err(Caught::Ours(Failure::new(&report)))
        }
    })
    .execute();
    // SAFETY: puts back what was there.
    unsafe { pg_sys::error_context_stack = frame.previous };
    replace_last(outer);
    result
}

/// Keeps another copy, or none, in place of the one that is kept.
fn replace_last(copy: *mut pg_sys::ErrorData) {
    let old = LAST.replace(copy);
    if !old.is_null() {
        // SAFETY: the copy is whole, and kept nowhere else; it has a memory context of its own.
        unsafe { pg_sys::MemoryContextDelete((*old).assoc_context) };
    }
}

/// Keeps a copy of an error. The server calls it for each message of level NOTICE or higher.
unsafe extern "C-unwind" fn keep_copy(_argument: *mut c_void) {
    // SAFETY: a message is being made, which is what is copied, into memory of its own that outlives the transaction. Making a
    // copy allocates, and may raise an error of its own, as any callback may.
    unsafe {
        let memory = pg_sys::AllocSetContextCreateExtended(
            pg_sys::TopMemoryContext,
            c"site_stats error".as_ptr(),
            0,
            1024,
            8192,
        );
        let context = pg_sys::MemoryContextSwitchTo(memory);
        let copy = pg_sys::CopyErrorData();
        pg_sys::MemoryContextSwitchTo(context);
        if (*copy).elevel >= PgLogLevel::ERROR as i32 {
            replace_last(copy);
        } else {
            pg_sys::MemoryContextDelete(memory);
        }
    }
}

/// A text of an error, in UTF-8.
///
/// # Safety
/// It must be null, or a text in the encoding of the database that ends in NUL.
unsafe fn utf8(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees the text.
    Some(datum::utf8_from_text(unsafe { CStr::from_ptr(text) }.to_bytes()))
}

/// Answers a call of the server with the result of `work`, or with its error as it was raised.
///
/// # Safety
/// Only a function that the server calls may call this, with nothing left to drop, since an error ends it.
pub unsafe fn answer<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> R {
    match catch(work) {
        Ok(answer) => answer,
        // SAFETY: raises the error again in the way of the server's own functions, with their contexts. Neither this function nor
        // its caller has anything left to drop.
        Err(Caught::Server(copy)) => unsafe {
            // The next error frees it.
            replace_last(copy);
            raise_again(copy)
        },
        // SAFETY: the failure moves into the function, which raises it.
        Err(Caught::Ours(failure)) => unsafe { raise(failure) },
    }
}

/// # Safety
/// As `answer`.
unsafe fn raise_again<R>(error: *mut pg_sys::ErrorData) -> R {
    unsafe extern "C-unwind" {
        /// Not the one of pgrx, which would catch what it raises.
        #[link_name = "ThrowErrorData"]
        fn throw_error_data(error: *mut pg_sys::ErrorData);
    }
    // SAFETY: the copy is whole; the caller guarantees that nothing has to be dropped.
    unsafe { throw_error_data(error) };
    unreachable!("an error was raised")
}

/// # Safety
/// As `answer`.
unsafe fn raise<R>(failure: Failure) -> R {
    // SAFETY: the box is handed over.
    unsafe { raise_again(boxed_error_data(Box::into_raw(Box::new(failure)))) }
}

/// The part of `raise` that an error may leave, with what it owns.
///
/// # Safety
/// The pointer must be that of a box, which this function takes.
#[pg_guard]
unsafe extern "C-unwind" fn boxed_error_data(failure: *mut Failure) -> *mut pg_sys::ErrorData {
    // SAFETY: the caller hands the box over.
    unsafe { Box::from_raw(failure) }.into_error_data()
}

/// A copy of a text for the server, in the encoding of the database.
fn server_text(text: &str) -> *mut c_char {
    // SAFETY: the server copies what it is given.
    unsafe { pg_sys::text_to_cstring(datum::text_from_utf8(text).cast_mut_ptr()) }
}
