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
    invalid(format!("{name} must not be empty"), hint)
}

/// 22023: there is no site with this name.
pub fn unknown_site(name: &str) -> ErrorReport {
    let hint = "Create it with INSERT INTO site_stats.sites (name) VALUES (...).";
    invalid(format!("site \"{name}\" does not exist"), hint)
}

/// 23503: a page view names a site that does not exist.
pub fn no_site_of(id: i16) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION,
        format!("site_id {id} of a page view is not that of a site"),
    )
    .set_hint("Take the id from table site_stats.sites.")
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
    invalid(format!("{name} must not be negative"), hint)
}

/// 22023: a time is infinite.
pub fn infinite_argument(name: &str, hint: &str) -> ErrorReport {
    invalid(format!("{name} must be finite"), hint)
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

/// 55000: a table or a function is not as it must be.
fn not_as_needed(message: impl Into<String>) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

/// 22023: an argument means nothing.
fn invalid(message: impl Into<String>, hint: impl Into<String>) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message).set_hint(hint)
}

/// 22023: a word that means nothing here.
pub fn unknown_word(what: &str, word: &str, known: &str) -> ErrorReport {
    invalid(format!("{what} \"{word}\" is not known"), format!("Pass one of these: {known}."))
}

/// 22023: an argument is something else than an object.
pub fn no_object(name: &str) -> ErrorReport {
    invalid(format!("{name} must be a JSON object"), "Pass an object, such as {\"source\": \"Google\"}.")
}

/// 22023: the value of a filter has the wrong shape.
pub fn wrong_filter(key: &str) -> ErrorReport {
    let shapes = "a text, an array of texts, null, {\"not\": text or array} or {\"like\": pattern}";
    invalid(format!("the value of filter \"{key}\" is not one of a filter"), format!("Pass {shapes}."))
}

/// 22025: a LIKE pattern ends with the character that escapes the next one.
pub fn wrong_pattern(key: &str) -> ErrorReport {
    let message = format!("the pattern of filter \"{key}\" must not end with an escape character");
    report(PgSqlErrorCode::ERRCODE_INVALID_ESCAPE_SEQUENCE, message).set_hint("Write \\\\ for \\.")
}

/// 22023: a day that no page view can have, in days since 1970.
pub fn require_days(since: Option<i64>, until: Option<i64>) -> Result<(), ErrorReport> {
    const LAST: i64 = 2_932_896; // 9999-12-31
    if [since, until].into_iter().flatten().any(|day| day == i64::MIN || day == i64::MAX) {
        return Err(infinite_argument(
            "since and until",
            "Pass NULL for the first or the last day with a view.",
        ));
    }
    if since.is_some_and(|day| day < 0) || until.is_some_and(|day| day > LAST) {
        let message = "since and until must be between 1970-01-01 and 9999-12-31";
        return Err(invalid(message, "No page view can be outside these days."));
    }
    Ok(())
}

/// 54000: a timeline would have too many units.
pub fn too_many_units(most: usize) -> ErrorReport {
    let message = format!("a timeline has at most {most} units");
    report(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
        .set_hint("Ask for fewer days, or for longer units.")
}

/// 55P03: another process writes spans.
pub fn spans_in_use() -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "another process writes spans")
        .set_hint("Try again later.")
}

/// 2D000: a procedure that commits was called where it cannot.
pub fn in_transaction_block(procedure: &str, detail: &str, hint: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION,
        format!("{procedure} cannot run inside a transaction block or a function"),
    )
    .set_detail(detail)
    .set_hint(hint)
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

/// 55P03: a request to start or stop a backfill stays uncommitted.
pub fn uncommitted_requests() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        "another transaction has requested a backfill and has not ended",
    )
    .set_hint("End that transaction; a prepared one is in pg_prepared_xacts.")
}

/// 55000: a backfill that was waited for has stopped, or has failed.
pub fn not_completed(status: &str, why: Option<&str>) -> ErrorReport {
    let report = report(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the backfill is not complete: its status is {status}"),
    );
    match why {
        Some(why) => report.set_detail(format!("{why}.")),
        None => report,
    }
    .set_hint("Repair the cause, if there is one, and call site_stats.start_backfill().")
}

/// 57014: a backfill that was waited for takes longer.
pub fn waited_too_long() -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, "the backfill was not complete when the timeout passed")
        .set_hint("It goes on: see SELECT * FROM site_stats.backfill_progress.")
}

/// 42501: the tables of the extension have several owners.
pub fn several_owners(owner: &str, other: &str, what: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("a backfill acts as \"{owner}\", the owner of page_views, who may not use {what}"),
    )
    .set_detail(format!("That belongs to \"{other}\"."))
    .set_hint("Give all tables of the schema site_stats to one role, and that role USAGE on the schema.")
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
    not_as_needed(format!("table \"site_stats.{what}\" is missing or incomplete"))
        .set_hint("Install the extension with CREATE EXTENSION site_stats.")
}

/// 55000: a column of a table of ours is not as the install script made it.
pub fn altered_column(table: &std::ffi::CStr, column: &str) -> ErrorReport {
    let table = table.to_string_lossy();
    not_as_needed(format!("column \"{column}\" of table \"site_stats.{table}\" has been altered or dropped"))
    .set_detail("The library writes this table by the columns, types, collations and NOT NULL that CREATE EXTENSION gave it.")
    .set_hint("Undo the ALTER TABLE, then call site_stats.start_backfill().")
}

/// 55000: a table of ours is kept by another table access method than heap.
pub fn wrong_access_method(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    not_as_needed(format!("table \"site_stats.{table}\" is not kept by the access method heap"))
        .set_hint(format!("Run ALTER TABLE site_stats.{table} SET ACCESS METHOD heap."))
}

/// 55000: a table of counters is empty though page views are counted in it.
pub fn lost_rows(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    not_as_needed(format!("table \"site_stats.{table}\" has lost its rows"))
        .set_detail("A crash empties an UNLOGGED table, and TRUNCATE empties any.")
        .set_hint("Call site_stats.start_backfill(), which makes the counters anew.")
}

/// 55000: a table must survive a crash.
pub fn unlogged(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    not_as_needed(format!("table \"site_stats.{table}\" is UNLOGGED"))
        .set_detail("A crash would empty it, and nothing would tell.")
        .set_hint(format!(
            "Run ALTER TABLE site_stats.{table} SET LOGGED, then call site_stats.start_backfill()."
        ))
}

/// 55000: a table of ours has lost its primary key.
pub fn altered_primary_key(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    not_as_needed(format!(
        "table \"site_stats.{table}\" does not have the primary key that CREATE EXTENSION gave it"
    ))
    .set_hint("Restore the primary key, or REINDEX its index if that is invalid.")
}

/// 09000: a trigger of the owner has changed what was to be written.
pub fn written_otherwise(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    report(
        PgSqlErrorCode::ERRCODE_TRIGGERED_ACTION_EXCEPTION,
        format!("a trigger or rule of table \"site_stats.{table}\" keeps a counter from being written"),
    )
    .set_hint("Drop it, or let it return the row as it is.")
}

/// 09000: a trigger or rule of the owner has refused a new row of a dictionary.
pub fn refused_by_owner(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    report(
        PgSqlErrorCode::ERRCODE_TRIGGERED_ACTION_EXCEPTION,
        format!("a trigger or rule of table \"site_stats.{table}\" keeps a row from being inserted"),
    )
    .set_hint("Drop it, or let it return a row.")
}

/// 0A000: a trigger on a counter writes page views.
pub fn nested_flush() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot count page views that a trigger of a table of counters writes",
    )
    .set_hint("Put such a trigger on site_stats.page_views.")
}

/// 42703: a column of `page_views` is not there.
pub fn no_column(column: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        format!("column \"{column}\" of table \"site_stats.page_views\" has been renamed or dropped"),
    )
    .set_hint("Restore the column: page views are counted by it.")
}

/// 42804: a column of `page_views` has a type that cannot be counted.
pub fn wrong_type(column: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        format!("column \"{column}\" of table \"site_stats.page_views\" has a type that cannot be counted"),
    )
    .set_hint("Give it the type that CREATE EXTENSION gave it: ALTER TABLE site_stats.page_views ALTER COLUMN ... TYPE ...")
}

/// 23502: a page view has no value where it needs one.
pub fn null_in_page_view(column: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_NOT_NULL_VIOLATION,
        format!("cannot count a page view with NULL in column \"{column}\""),
    )
    .set_hint("Give the row a value, or delete it. SET NOT NULL keeps such rows out.")
}

/// 23502: a page view that is counted has lost a value, so nobody knows which counters it is in.
pub fn null_in_counted(column: &str) -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_NOT_NULL_VIOLATION,
        format!("cannot take a page view with NULL in column \"{column}\" out of the counts"),
    )
    .set_hint("Call site_stats.start_backfill() first: such a row can be changed or deleted while it is not counted.")
}

/// 0A000: a worker of logical replication fires our triggers.
pub fn logical_worker() -> ErrorReport {
    report(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "page views that arrive by logical replication cannot be counted by triggers",
    )
    .set_detail("Logical replication fires statement triggers for the first copy and for TRUNCATE alone.")
    .set_hint("Run ALTER TABLE site_stats.page_views ENABLE TRIGGER for the triggers of site_stats, and call site_stats.start_backfill().")
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
    not_as_needed("a function of site_stats cannot find the function with its query")
        .set_hint("Do not rename or drop functions of the extension.")
}

/// 22023: the script of a site cannot send to an endpoint. What it is is not quoted: it may have a password.
pub fn wrong_endpoint(what: &str, hint: &str) -> ErrorReport {
    invalid(format!("endpoint {what}"), hint)
}

/// 22023: the event is not an object.
pub fn event_not_object() -> ErrorReport {
    let hint = "Pass an object such as {\"type\": \"view\", \"url\": \"https://example.com/about\"}.";
    invalid("event must be a JSON object", hint)
}

// What a visitor sends may name the visitor, and errors are logged. So these name the key and never quote its value.

/// 22023: a key of the event has a value of the wrong type.
pub fn event_wrong_type(key: &str) -> ErrorReport {
    invalid(
        format!("key \"{key}\" of the event must be a string"),
        "Pass a JSON string, or leave the key out.",
    )
}

/// 22023: a key of the event is missing.
pub fn event_without(key: &str, hint: &str) -> ErrorReport {
    invalid(format!("the event has no key \"{key}\""), hint)
}

/// 22023: a key of the event has a value that it cannot have.
pub fn event_wrong_value(key: &str, what: &str, hint: &str) -> ErrorReport {
    invalid(format!("key \"{key}\" of the event {what}"), hint)
}

/// 54000: the event, or the path in it, is longer than its limit.
pub fn event_too_long(what: &str, limit: usize) -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, format!("{what} is too long"))
        .set_detail(format!("The limit is {limit} bytes."))
        .set_hint("Send less: only the keys that are needed, and a shorter address.")
}

/// 22004: neither of two arguments is there.
pub fn null_visitor() -> ErrorReport {
    report(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, "address and user_agent must not both be NULL")
        .set_hint("Pass at least one of them, or an id of the site's own as the session.")
}

/// 55000: a table that is overwritten in place has been altered, or a row of it.
pub fn not_overwritable(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    not_as_needed(format!("table \"site_stats.{table}\" cannot be written in place"))
    .set_detail("It has triggers, rules, columns or indexes that CREATE EXTENSION did not give it, or a row has other columns.")
    .set_hint(format!("Drop what was added, then run TRUNCATE site_stats.{table}: its rows are made again."))
}

/// 55P03: a transaction that has not ended has written the row that is needed now.
pub fn row_is_held(table: &std::ffi::CStr) -> ErrorReport {
    let table = table.to_string_lossy();
    report(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("another transaction has changed table \"site_stats.{table}\" and has not ended"),
    )
    .set_hint("End that transaction; only the library writes this table.")
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
