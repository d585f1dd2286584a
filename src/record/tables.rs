//! The tables that the library writes for good, as the install script makes them.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::count::tables::table;
use crate::pg::heap_table::definition::{Definition, column, nullable};
use crate::pg::spi::Statement;

table! {
    /// Where visits came from.
    pub ORIGINS: "origins",
    key: [1], "id",
    may_be_unlogged: false,
    checks: 1,
    is_insert_only: true,
    older: None,
    1 column "id" INT4OID,
    2 nullable "source" TEXTOID,
    3 nullable "referrer" TEXTOID,
    4 nullable "medium" TEXTOID,
    5 nullable "campaign" TEXTOID,
    6 nullable "term" TEXTOID,
    7 nullable "content" TEXTOID,
    8 nullable "channel" TEXTOID,
    tid 9
}

table! {
    /// What visits were made with.
    pub CLIENTS: "clients",
    key: [1], "id",
    may_be_unlogged: false,
    checks: 1,
    is_insert_only: true,
    older: None,
    1 column "id" INT4OID,
    2 nullable "browser" TEXTOID,
    3 nullable "os" TEXTOID,
    4 nullable "device" TEXTOID,
    5 nullable "country" TEXTOID,
    6 nullable "language" TEXTOID,
    tid 7
}

table! {
    /// How many values the views of a site have added to each dictionary on its newest day.
    pub DICTIONARY_GROWTH: "dictionary_growth",
    key: [1], "site_id",
    may_be_unlogged: true,
    checks: 0,
    older: None,
    1 column "site_id" INT2OID,
    2 column "day" DATEOID,
    3 column "new_origins" INT4OID,
    4 column "new_clients" INT4OID,
    tid 5
}

table! {
    /// The salt of each day.
    pub SALTS: "salts",
    key: [1], "day",
    may_be_unlogged: true,
    checks: 1,
    older: None,
    1 column "day" DATEOID,
    2 column "salt" BYTEAOID,
    tid 3
}
