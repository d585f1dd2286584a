//! The tables that the library writes past the executor, as the install script makes them.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::heap_table::definition::{Definition, column, nullable};
use crate::pg::spi::Statement;

/// Defines a table by its columns, each with its number and its type; the row's tid has the number after the last. The statements
/// follow from these. The primary key is given by the numbers and by the names of its columns, in its order. A table gets new
/// columns at its end, and the key gets new ones at its beginning: so the library can write the table of an older version.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $visibility:vis $symbol:ident: $name:literal,
        key: $keys:expr, $key:literal,
        may_be_unlogged: $may_be_unlogged:literal,
        checks: $checks:literal,
        $(is_insert_only: $is_insert_only:literal,)?
        older: $older:expr,
        1 $first_kind:ident $first:literal $first_type:ident,
        $($n:literal $kind:ident $column:literal $type:ident,)*
        tid $tid:literal
    ) => {
        $(#[$doc])*
        $visibility static $symbol: Definition = Definition {
            name: match CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name has no NUL in it"),
            },
            columns: &[
                $first_kind($first, pg_sys::$first_type),
                $($kind($column, pg_sys::$type),)*
            ],
            key: &$keys,
            may_be_unlogged: $may_be_unlogged,
            checks: $checks,
            is_insert_only: false $(|| $is_insert_only)?,
            older: $older,
            insert: Statement::new(
                concat!(
                    "INSERT INTO site_stats.", $name, " (", $first, $(", ", $column,)* ")
          VALUES ($1", $(", $", $n,)* ")
          RETURNING ", $first, $(", ", $column,)*
                ),
                &[pg_sys::$first_type, $(pg_sys::$type,)*],
            ),
            insert_unless_there: Statement::new(
                concat!(
                    "INSERT INTO site_stats.", $name, " (", $first, $(", ", $column,)* ")
          VALUES ($1", $(", $", $n,)* ")
          ON CONFLICT (", $key, ") DO NOTHING
          RETURNING ", $first, $(", ", $column,)*
                ),
                &[pg_sys::$first_type, $(pg_sys::$type,)*],
            ),
            update: Statement::new(
                concat!(
                    "UPDATE ONLY site_stats.", $name, "
          SET (", $first, $(", ", $column,)* ") = ROW ($1", $(", $", $n,)* ")
          WHERE ctid = $", $tid, "
          RETURNING ", $first, $(", ", $column,)*
                ),
                &[pg_sys::$first_type, $(pg_sys::$type,)* pg_sys::TIDOID],
            ),
            delete: Statement::new(
                concat!("DELETE FROM ONLY site_stats.", $name, " WHERE ctid = $1"),
                &[pg_sys::TIDOID],
            ),
        };
    };
}
pub(crate) use table;

table! {
    /// A counter for each path and counter slot.
    pub PATH_TOTALS: "path_totals",
    key: [9, 1, 2], "site_id, path, slot",
    may_be_unlogged: true,
    checks: 0,
    older: Some(&PATH_TOTALS_0_2_0),
    1 column "path" TEXTOID,
    2 column "slot" INT4OID,
    3 column "epoch" INT8OID,
    4 column "views" INT8OID,
    5 column "page_type" TEXTOID,
    6 column "last_view_id" INT8OID,
    7 column "day" DATEOID,
    8 column "day_views" INT8OID,
    9 column "site_id" INT2OID,
    tid 10
}

table! {
    /// The same before there were sites.
    PATH_TOTALS_0_2_0: "path_totals",
    key: [1, 2], "path, slot",
    may_be_unlogged: true,
    checks: 0,
    older: None,
    1 column "path" TEXTOID,
    2 column "slot" INT4OID,
    3 column "epoch" INT8OID,
    4 column "views" INT8OID,
    5 column "page_type" TEXTOID,
    6 column "last_view_id" INT8OID,
    7 column "day" DATEOID,
    8 column "day_views" INT8OID,
    tid 9
}

table! {
    /// A counter for each day, path and counter slot.
    pub DAILY_TOTALS: "daily_totals",
    key: [6, 1, 2, 3], "site_id, day, path, slot",
    may_be_unlogged: false,
    checks: 0,
    older: Some(&DAILY_TOTALS_0_2_0),
    1 column "day" DATEOID,
    2 column "path" TEXTOID,
    3 column "slot" INT4OID,
    4 column "epoch" INT8OID,
    5 column "views" INT8OID,
    6 column "site_id" INT2OID,
    tid 7
}

table! {
    /// The same before there were sites.
    DAILY_TOTALS_0_2_0: "daily_totals",
    key: [1, 2, 3], "day, path, slot",
    may_be_unlogged: false,
    checks: 0,
    older: None,
    1 column "day" DATEOID,
    2 column "path" TEXTOID,
    3 column "slot" INT4OID,
    4 column "epoch" INT8OID,
    5 column "views" INT8OID,
    tid 6
}

table! {
    /// A counter of visitors for each site and counter slot.
    pub SITE_TOTALS: "site_totals",
    key: [4, 1], "site_id, slot",
    may_be_unlogged: true,
    checks: 0,
    older: Some(&SITE_TOTALS_0_2_0),
    1 column "slot" INT4OID,
    2 column "epoch" INT8OID,
    3 column "visitors" INT8OID,
    4 column "site_id" INT2OID,
    tid 5
}

table! {
    /// The same before there were sites.
    SITE_TOTALS_0_2_0: "site_totals",
    key: [1], "slot",
    may_be_unlogged: true,
    checks: 0,
    older: None,
    1 column "slot" INT4OID,
    2 column "epoch" INT8OID,
    3 column "visitors" INT8OID,
    tid 4
}

table! {
    /// The session set.
    pub SESSIONS: "sessions",
    key: [5, 1], "site_id, session_id",
    may_be_unlogged: true,
    checks: 0,
    older: Some(&SESSIONS_0_2_0),
    1 column "session_id" TEXTOID,
    2 column "epoch" INT8OID,
    3 column "views" INT8OID,
    4 nullable "is_lower_bound" BOOLOID,
    5 column "site_id" INT2OID,
    tid 6
}

table! {
    /// The session set before there were sites.
    SESSIONS_0_2_0: "sessions",
    key: [1], "session_id",
    may_be_unlogged: true,
    checks: 0,
    older: Some(&SESSIONS_0_1_0),
    1 column "session_id" TEXTOID,
    2 column "epoch" INT8OID,
    3 column "views" INT8OID,
    4 nullable "is_lower_bound" BOOLOID,
    tid 5
}

table! {
    /// The session set before `is_lower_bound`.
    SESSIONS_0_1_0: "sessions",
    key: [1], "session_id",
    may_be_unlogged: true,
    checks: 0,
    older: None,
    1 column "session_id" TEXTOID,
    2 column "epoch" INT8OID,
    3 column "views" INT8OID,
    tid 4
}

table! {
    /// A count of refusals for each site, day, reason and counter slot. A crash that empties it is the owner's choice: a call
    /// must not fail for it.
    pub REFUSAL_TOTALS: "refusal_totals",
    key: [1, 2, 3, 4], "site_id, day, reason, slot",
    may_be_unlogged: true,
    checks: 0,
    older: None,
    1 column "site_id" INT2OID,
    2 column "day" DATEOID,
    3 column "reason" TEXTOID,
    4 column "slot" INT4OID,
    5 column "refusals" INT8OID,
    tid 6
}

table! {
    /// The row that says which page views are counted.
    pub BACKFILL_STATE: "backfill_state",
    key: [1], "singleton",
    may_be_unlogged: false,
    checks: 3,
    older: None,
    1 column "singleton" BOOLOID,
    2 column "epoch" INT8OID,
    3 column "cursor" INT8OID,
    4 column "target" INT8OID,
    5 column "status" TEXTOID,
    6 nullable "batch_size" INT4OID,
    7 column "views_done" INT8OID,
    8 nullable "views_total" INT8OID,
    9 column "sessions_found" INT8OID,
    10 column "swept_tables" INT8OID,
    11 column "swept_blocks" INT8OID,
    12 nullable "requested_at" TIMESTAMPTZOID,
    13 nullable "started_at" TIMESTAMPTZOID,
    14 nullable "resumed_at" TIMESTAMPTZOID,
    15 column "views_done_at_resume" INT8OID,
    16 nullable "updated_at" TIMESTAMPTZOID,
    17 nullable "finished_at" TIMESTAMPTZOID,
    18 column "restarts" INT4OID,
    19 nullable "last_error" TEXTOID,
    tid 20
}
