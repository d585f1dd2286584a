//! Every error for a user, with its SQLSTATE, in PostgreSQL's style: what is wrong, then what to do.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgSqlErrorCode, pg_sys};

fn report(code: PgSqlErrorCode, message: impl Into<String>) -> ErrorReport {
    ErrorReport::new(code, message.into(), "site_stats")
}

/// 22004: an argument must not be NULL.
pub fn null_argument(name: &str, hint: &str) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not be NULL")).set_hint(hint)
}

/// 22023: a text argument must not be empty.
pub fn empty_argument(name: &str, hint: &str) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("{name} must not be empty"))
        .set_hint(hint)
}

/// 54000: a text argument is longer than its limit.
pub fn long_argument(name: &str, bytes: usize, limit: usize) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, format!("{name} is too long"))
        .set_detail(format!("It has {bytes} bytes; the limit is {limit}."))
        .set_hint("Shorten it, or pass a hash of it.")
}

/// 22023: a number is not in its range.
pub fn out_of_range(name: &str, value: impl std::fmt::Display, lowest: i32, highest: i32) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("{name} \"{value}\" is out of range"))
        .set_hint(format!("Pass a value from {lowest} to {highest}."))
}

/// 22023: a number of rows or an interval is negative.
pub fn negative_argument(name: &str, hint: &str) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("{name} must not be negative"))
        .set_hint(hint)
}

/// A number of rows: 22004 for NULL, 22023 below 0.
pub fn require_row_count(name: &str, rows: Option<i32>) -> Result<i32, ErrorReport> {
    let hint = "Pass the highest number of rows, such as 500.";
    match rows {
        None => Err(null_argument(name, hint)),
        Some(rows) if rows < 0 => Err(negative_argument(name, hint)),
        Some(rows) => Ok(rows),
    }
}

/// 2D000: a procedure that commits was called where it cannot commit.
pub fn in_transaction_block() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION,
        "site_stats.backfill() cannot run inside a transaction block or a function",
    )
    .set_detail("It commits after each batch.")
    .set_hint(
        "CALL it by itself, or use site_stats.start_backfill(), which begins when the transaction commits.",
    )
}

/// 53000: no worker slot is free.
pub fn no_worker_slot() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
        "could not start a background worker for the backfill",
    )
    .set_detail("All slots for background workers are in use. Nothing has changed.")
    .set_hint("Raise max_worker_processes, or run the backfill in this session: CALL site_stats.backfill().")
}

/// 57P01: the postmaster has exited, and this session still runs.
pub fn server_gone() -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, "the backfill stops because the postmaster has exited")
        .set_hint("Start the server; the backfill goes on from the last batch.")
}

/// 55006: another process runs the backfill.
pub fn already_running() -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, "a backfill is already running in another process")
        .set_hint("Watch it with SELECT * FROM site_stats.backfill_progress, or call site_stats.stop_backfill() first.")
}

/// 25001: the transaction keeps one snapshot to its end, and the work needs to see what is committed now.
pub fn wrong_isolation(what: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        format!("{what} cannot run in a transaction with isolation level REPEATABLE READ or SERIALIZABLE"),
    )
    .set_hint("Begin the transaction with BEGIN ISOLATION LEVEL READ COMMITTED.")
}

/// 25001: this transaction would wait for the worker, and the worker waits for this transaction.
pub fn uncommitted_request() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        "cannot wait for a backfill that was requested in the same transaction",
    )
    .set_hint("Commit first: the worker begins when the request is committed.")
}

/// 40001: the transaction's snapshot is older than the current state of the backfill. A retry takes a newer
/// one.
pub fn stale_snapshot() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "could not serialize access due to a concurrent backfill of site_stats",
    )
    .set_detail("The backfill has moved since the transaction's snapshot was taken.")
    .set_hint("Retry the transaction.")
}

/// 40001: the transaction changed counters of which its snapshot shows older versions. No snapshot fits its
/// reads.
pub fn unseen_counts() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "could not serialize access due to concurrent page views",
    )
    .set_detail(
        "Since the snapshot, other transactions have recorded page views of the same sessions or paths.",
    )
    .set_hint("Retry the transaction, or read the statistics in a transaction that records nothing.")
}

/// 0A000: a cursor or an outer statement reads the statistics as of a point between two writes of its
/// transaction.
pub fn read_in_the_past() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot read the statistics of a moment between two changes of the same transaction",
    )
    .set_detail("The transaction has changed page views since the statement that reads began.")
    .set_hint(
        "Read the statistics in a statement of its own, or fetch from the cursor before the next change.",
    )
}

/// 40001: the state row has changed since this transaction read it.
pub fn state_changed() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "could not move the backfill's cursor because its state has changed",
    )
    .set_hint("Retry; nothing was counted twice.")
}

/// 42501: the trigger function is attached to a table other than `site_stats.page_views`.
pub fn foreign_trigger() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "site_stats.count_page_views() can only be a statement-level AFTER trigger of site_stats.page_views",
    )
    .set_hint("Drop the trigger, and insert into site_stats.page_views instead.")
}

/// 55000: the extension is missing, or its tables are not as the install script made them.
pub fn not_installed(what: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("table \"site_stats.{what}\" is missing or incomplete"),
    )
    .set_hint("Install the extension with CREATE EXTENSION site_stats.")
}

/// 42704: `page_views` has no primary key, in whose order batches read it.
pub fn no_primary_key() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        "table \"site_stats.page_views\" has no primary key that begins with its first column",
    )
    .set_hint("Restore it: ALTER TABLE site_stats.page_views ADD PRIMARY KEY (id).")
}

/// 55000: a function that reads cannot find the function that has its query.
pub fn no_query() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "a function of site_stats cannot find the function with its query",
    )
    .set_hint("Do not rename or drop functions of the extension.")
}

/// XX000: a function of the server returned an error code instead of raising an error.
pub fn internal(what: &str, code: i32) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("{what} failed with code {code}"))
}

/// 25006: the server is a standby, or the transaction is read-only.
pub fn require_writable(what: &std::ffi::CStr) {
    // SAFETY: `what` is NUL-terminated. Both functions read the state of this process, and raise an error or
    // return.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(what.as_ptr());
        pg_sys::PreventCommandDuringRecovery(what.as_ptr());
    }
}
