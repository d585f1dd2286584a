//! The conditions that a turn of a backfill runs under, wherever it runs: as the owner of `page_views`, with settings
//! of its own, and so that an error undoes the turn and nothing else.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};

use crate::error;
use crate::pg::snapshot::with_snapshot;

/// What went wrong in a turn that was undone.
#[derive(Debug)]
pub struct Failure {
    pub code: PgSqlErrorCode,
    pub message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Failure {
    /// Whether somebody was in the way, so that the same turn will work later.
    pub fn is_contention(&self) -> bool {
        matches!(
            self.code,
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
                | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
                | PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE
        )
    }

    /// Whether the turn was cancelled.
    pub fn is_cancellation(&self) -> bool {
        self.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED
    }

    fn new(report: &ErrorReportWithLevel) -> Self {
        Failure {
            code: report.sql_error_code(),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
        }
    }

    /// The error again, to be raised.
    pub fn into_report(self) -> ErrorReport {
        let mut report = ErrorReport::new(self.code, self.message, "site_stats");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report
    }
}

/// Runs `work` and returns what it raised, an error of the server or a panic, as a value. The transaction, or
/// subtransaction, that it ran in must be aborted then.
pub fn catch<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Failure> {
    let work = AssertUnwindSafe(work);
    PgTryBuilder::new(move || {
        let work = work;
        match (work.0)() {
            Ok(result) => Ok(result),
            // Raised and caught again, so that there is one way from an error to a failure.
            Err(report) => {
                report.report(pgrx::PgLogLevel::ERROR);
                unreachable!("an error was raised")
            }
        }
    })
    .catch_others(|caught| match caught {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => Err(Failure::new(&report)),
    })
    .execute()
}

/// Runs `work` in a transaction of its own, in a process that has none open. Commits it, or aborts it on an error.
pub fn in_transaction<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Failure> {
    let result = catch(|| {
        // SAFETY: a worker's process, in no transaction.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
        }
        let result = with_snapshot(work)?;
        // SAFETY: commits what was started.
        unsafe { pg_sys::CommitTransactionCommand() };
        Ok(result)
    });
    if result.is_err() {
        // SAFETY: the error left the transaction open; pgrx has taken the error off the server's stack.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    // SAFETY: in no transaction. Without this nobody learns of a worker's dead rows until it exits.
    unsafe { pg_sys::pgstat_report_stat(true) };
    result
}

/// Runs `work` in a subtransaction of the open transaction, which goes on if `work` fails.
pub fn in_subtransaction<R>(work: impl FnOnce() -> Result<R, ErrorReport>) -> Result<R, Failure> {
    // SAFETY: a transaction is open. Memory context and resource owner are put back as every language of the server
    // does around a subtransaction.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = catch(|| {
            let result = work()?;
            pg_sys::ReleaseCurrentSubTransaction();
            Ok(result)
        });
        if result.is_err() {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs `work` as the owner of a table, who cannot be made to do more than that table's owner could: as VACUUM does. An
/// error puts the user back with the transaction.
pub fn as_owner<R>(
    table: pg_sys::Oid,
    work: impl FnOnce() -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    let owner = owner(table)?;
    let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    let (mut user, mut security) = (pg_sys::InvalidOid, 0);
    // SAFETY: sets and restores the user of this process.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
        pg_sys::SetUserIdAndSecContext(owner, security | restricted as i32);
    }
    let result = work();
    // SAFETY: as above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, security) };
    result
}

/// Runs `work` with these settings; an error puts them back with the transaction.
pub fn with_settings<R>(
    settings: &[(&CStr, &CStr)],
    work: impl FnOnce() -> Result<R, ErrorReport>,
) -> Result<R, ErrorReport> {
    // SAFETY: a level of settings as a function with a SET clause has it.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    for (name, value) in settings {
        // SAFETY: NUL-terminated strings, which are copied.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            )
        };
    }
    let result = work();
    // SAFETY: leaves the level made above.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

/// The role that owns a table.
fn owner(table: pg_sys::Oid) -> Result<pg_sys::Oid, ErrorReport> {
    // SAFETY: a look-up in a system cache, whose tuple is read before it is let go.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(table));
        if tuple.is_null() {
            return Err(error::not_installed("page_views"));
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Ok(owner)
    }
}
