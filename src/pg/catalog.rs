//! The oids of our tables, and notices of changed relations.
//!
//! Invariant: a cached oid is dropped when its table or any schema changes.
//!
//! The server has room for only ten relcache callbacks of all extensions together. So this module registers
//! one, and passes its notices on to the functions that other modules give to `watch`.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_guard, pg_sys};

use crate::error;

/// A function to call when relations change. Its argument tests whether a relation is among them.
pub type Watcher = fn(&dyn Fn(pg_sys::Oid) -> bool);

thread_local! {
    /// The tables looked up so far; an entry is dropped when its table or a schema changes.
    static TABLES: RefCell<Vec<(&'static CStr, pg_sys::Oid)>> = const { RefCell::new(Vec::new()) };
    /// How many changes this process has heard of. A look-up during which this number rises may have found an
    /// old state.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    /// The functions that other modules gave to `watch`.
    static WATCHERS: RefCell<Vec<Watcher>> = const { RefCell::new(Vec::new()) };
}

/// The oid of the table that is called `site_stats.<name>` now.
pub fn table(name: &'static CStr) -> Result<pg_sys::Oid, ErrorReport> {
    let known =
        TABLES.with_borrow(|tables| tables.iter().find(|(known, _)| *known == name).map(|(_, oid)| *oid));
    if let Some(table) = known {
        return Ok(table);
    }
    let changes = CHANGES.get();
    // SAFETY: both names end in NUL. The system caches need a transaction; only functions and steps call
    // this, inside one.
    let found = unsafe {
        match pg_sys::get_namespace_oid(c"site_stats".as_ptr(), true) {
            pg_sys::InvalidOid => pg_sys::InvalidOid,
            schema => pg_sys::get_relname_relid(name.as_ptr(), schema),
        }
    };
    if found == pg_sys::InvalidOid {
        return Err(error::not_installed(&name.to_string_lossy()));
    }
    if CHANGES.get() == changes {
        TABLES.with_borrow_mut(|tables| tables.push((name, found)));
    }
    Ok(found)
}

/// Whether the extension is installed in this database.
pub fn is_installed() -> bool {
    // SAFETY: the name ends in NUL. The look-up needs a transaction; the callers run in one.
    unsafe { pg_sys::get_extension_oid(c"site_stats".as_ptr(), true) != pg_sys::InvalidOid }
}

/// The table `site_stats.page_views`.
pub fn page_views() -> Result<pg_sys::Oid, ErrorReport> {
    table(c"page_views")
}

/// How many changes this process has heard of. What is looked up while this number rises must not be kept.
pub fn changes() -> u64 {
    CHANGES.get()
}

/// Sends a relcache invalidation for a relation: to every process when this transaction commits, to this
/// process also when it rolls back.
pub fn announce_change(relation: pg_sys::Oid) {
    // SAFETY: the callers run in a transaction, and have the oid of an existing relation from `table`.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}

/// Calls a function at each relcache invalidation from now on. For `_PG_init`: once for each function.
pub fn watch(watcher: Watcher) {
    WATCHERS.with_borrow_mut(|watchers| watchers.push(watcher));
}

/// Registers the callbacks of this module. For `_PG_init`.
pub fn register() {
    let (schemas, nothing) = (pg_sys::SysCacheIdentifier::NAMESPACEOID as i32, pg_sys::Datum::from(0));
    // SAFETY: `_PG_init` calls this once in a process. The library with the callbacks is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changes), nothing);
        pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changes), nothing);
    }
}

/// Forgets the relation, or all of them for `InvalidOid`, and tells the watchers.
#[pg_guard]
extern "C-unwind" fn relation_changes(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let is_it = |known| relation == pg_sys::InvalidOid || relation == known;
    forget_tables(is_it);
    WATCHERS.with_borrow(|watchers| watchers.iter().for_each(|watcher| watcher(&is_it)));
}

/// Forgets all tables: a schema may have been renamed, and another schema may have its name now.
#[pg_guard]
extern "C-unwind" fn schema_changes(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    forget_tables(|_| true);
}

/// Forgets the oids of tables. A look-up under way sees `CHANGES` rise, and does not remember its result.
fn forget_tables(is_one: impl Fn(pg_sys::Oid) -> bool) {
    CHANGES.set(CHANGES.get().wrapping_add(1));
    TABLES.with_borrow_mut(|tables| tables.retain(|(_, table)| !is_one(*table)));
}
