//! The names of our tables, and changes of relations: what a process remembers of the catalog, and who is told that it is
//! so no more.
//!
//! The server has room for ten callbacks of all extensions together, so this module registers one for all of ours, and calls
//! the functions that other modules give it with `watch`.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_guard, pg_sys};

use crate::error;

/// To be called when relations change; it is given a test whether one of them has.
pub type Watcher = fn(&dyn Fn(pg_sys::Oid) -> bool);

thread_local! {
    /// Tables that were looked up, each as long as neither it nor a schema has changed.
    static TABLES: RefCell<Vec<(&'static CStr, pg_sys::Oid)>> = const { RefCell::new(Vec::new()) };
    /// How often this process was told of a change. What it looks up while it hears of one, it may find as it was before.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    /// Functions of other modules that are called when relations change.
    static WATCHERS: RefCell<Vec<Watcher>> = const { RefCell::new(Vec::new()) };
}

/// The table `site_stats.<name>` as it is called now.
pub fn table(name: &'static CStr) -> Result<pg_sys::Oid, ErrorReport> {
    let known =
        TABLES.with_borrow(|tables| tables.iter().find(|(known, _)| *known == name).map(|(_, oid)| *oid));
    if let Some(table) = known {
        return Ok(table);
    }
    let changes = CHANGES.get();
    // SAFETY: look-ups in the system caches with NUL-terminated names; a transaction is open.
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

/// The table `site_stats.page_views`.
pub fn page_views() -> Result<pg_sys::Oid, ErrorReport> {
    table(c"page_views")
}

/// Tells every process, when this transaction commits, that what it knows of a relation is so no more; and this process, when
/// it rolls back.
pub fn announce_change(relation: pg_sys::Oid) {
    // SAFETY: a transaction is open and the relation exists.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}

/// Has a function called when a relation changes. To be called once for each, when the library is loaded.
pub fn watch(watcher: Watcher) {
    WATCHERS.with_borrow_mut(|watchers| watchers.push(watcher));
}

/// Has the server call this module when a relation or a schema changes.
pub fn register() {
    let (schemas, nothing) = (pg_sys::SysCacheIdentifier::NAMESPACEOID as i32, pg_sys::Datum::from(0));
    // SAFETY: called once in a process; the callbacks live as long as the library, which is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changes), nothing);
        pg_sys::CacheRegisterSyscacheCallback(schemas, Some(schema_changes), nothing);
    }
}

/// Forgets what is known of a relation, or of all of them, and passes it on.
#[pg_guard]
extern "C-unwind" fn relation_changes(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let is_it = |known| relation == pg_sys::InvalidOid || relation == known;
    forget_tables(is_it);
    WATCHERS.with_borrow(|watchers| watchers.iter().for_each(|watcher| watcher(&is_it)));
}

/// Forgets whose tables are whose: one schema may have been renamed, and another one have its name.
#[pg_guard]
extern "C-unwind" fn schema_changes(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    forget_tables(|_| true);
}

/// Forgets the names of tables, and has one that is being looked up not be remembered.
fn forget_tables(is_one: impl Fn(pg_sys::Oid) -> bool) {
    CHANGES.set(CHANGES.get().wrapping_add(1));
    TABLES.with_borrow_mut(|tables| tables.retain(|(_, table)| !is_one(*table)));
}
