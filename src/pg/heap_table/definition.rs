//! How a table of ours is defined, and how its rows may be written as it is now.
//!
//! An owner may alter a table: add a trigger, a constraint, a column, change a type. The server announces each change, so the
//! shape of a table is checked once after each announcement. What direct writes cannot do right is left to the executor, and
//! what nothing can do right is refused.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::list::List;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{memcx, pg_sys};

use crate::error;
use crate::pg::datum::Column;
use crate::pg::spi::Statement;
use crate::pg::{catalog, version};

/// A table as the install script makes it, with the statements that the executor needs to write it.
pub struct Definition {
    pub name: &'static CStr,
    /// The columns in their order. Columns of the owner may follow.
    pub columns: &'static [ColumnDefinition],
    /// Those of the primary key, in its order. Its texts are of collation C.
    pub key: &'static [Column],
    /// Whether it is noticed if a crash empties the table, as it does when it is UNLOGGED.
    pub may_be_unlogged: bool,
    /// The CHECK constraints of the install script.
    pub checks: u16,
    /// Whether rows are only ever inserted: a trigger for anything else does not matter then.
    pub is_insert_only: bool,
    /// The table as an older version of the extension made it: it may lack the last columns, and the first ones of the key.
    pub older: Option<&'static Definition>,
    /// Takes a value for each column, and returns all columns as they are stored.
    pub insert: Statement,
    /// The same, and inserts nothing if the primary key is there.
    pub insert_unless_there: Statement,
    /// Takes a value for each column and the row's tid, and returns all columns as they are stored.
    pub update: Statement,
    /// Takes the row's tid.
    pub delete: Statement,
}

/// A column of such a table.
pub struct ColumnDefinition {
    pub name: &'static str,
    pub column_type: pg_sys::Oid,
    pub is_nullable: bool,
}

/// A column that is NOT NULL.
pub const fn column(name: &'static str, column_type: pg_sys::Oid) -> ColumnDefinition {
    ColumnDefinition { name, column_type, is_nullable: false }
}

/// A column that may be NULL.
pub const fn nullable(name: &'static str, column_type: pg_sys::Oid) -> ColumnDefinition {
    ColumnDefinition { name, column_type, is_nullable: true }
}

/// How the rows of a table are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Directly: the table is as the install script made it, in all that matters.
    Direct,
    /// Directly, with speculative insertions where another transaction may insert the same key. The table is decoded: the
    /// insertion of a key that is there, and its removal, would be two changes too many.
    Decoded,
    /// By the executor, because of the owner's triggers, constraints, defaults, rules or unique indexes.
    Executor,
}

thread_local! {
    /// Tables whose shape was checked, each as long as no change of it is announced.
    static CHECKED: RefCell<Vec<(pg_sys::Oid, &'static Definition, Way)>> = const { RefCell::new(Vec::new()) };
}

/// Forgets what is known of changed tables. To be given to `catalog::watch`.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    CHECKED.with_borrow_mut(|checked| checked.retain(|(table, ..)| !is_changed(*table)));
}

/// The definition that a table has, this one or an older one, and how its rows are to be written.
///
/// # Errors
/// 55000 if they cannot be written right in any way.
///
/// # Safety
/// The relation must be open and locked.
pub unsafe fn way_to_write(
    relation: pg_sys::Relation,
    definition: &'static Definition,
) -> Result<(&'static Definition, Way), ErrorReport> {
    // SAFETY: the relation is open.
    let table = unsafe { (*relation).rd_id };
    let known = CHECKED.with_borrow(|checked| checked.iter().find(|(known, ..)| *known == table).copied());
    if let Some((_, definition, way)) = known {
        return Ok((definition, way));
    }
    let changes = catalog::changes();
    // SAFETY: the relation is open and locked.
    let (definition, way) = unsafe {
        let definition = definition_of(relation, definition)?;
        require_storage(relation, definition)?;
        if has_instead_rule(relation) {
            // Refused before a statement is planned: a plan without any table in it would outlive the rule.
            return Err(error::written_otherwise(definition.name));
        }
        let way = if has_own_rules(relation, definition) || has_own_unique_index(relation, definition)? {
            Way::Executor
        } else if is_decoded() {
            Way::Decoded
        } else {
            Way::Direct
        };
        (definition, way)
    };
    if catalog::changes() == changes {
        CHECKED.with_borrow_mut(|checked| checked.push((table, definition, way)));
    }
    Ok((definition, way))
}

/// Checks that the rows of a table can be read directly. Returns the definition that the table has, this one or an older one.
///
/// # Errors
/// 55000 if its columns are not as the definition has them, or if it is no heap.
///
/// # Safety
/// The relation must be open and locked.
pub unsafe fn require_readable(
    relation: pg_sys::Relation,
    definition: &'static Definition,
) -> Result<&'static Definition, ErrorReport> {
    // SAFETY: the relation is open and locked.
    unsafe {
        let definition = definition_of(relation, definition)?;
        require_heap(relation, definition)?;
        Ok(definition)
    }
}

/// The definition that a table has: the newest one that its columns fit. An older one must have its primary key, too: the owner
/// may have dropped a column.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn definition_of(
    relation: pg_sys::Relation,
    newest: &'static Definition,
) -> Result<&'static Definition, ErrorReport> {
    // SAFETY: the relation is open.
    let altered = |definition| unsafe { altered_column(relation, definition) };
    let Some(column) = altered(newest) else { return Ok(newest) };
    let mut olders = std::iter::successors(newest.older, |definition| definition.older);
    // SAFETY: as above.
    let older =
        olders.find(|definition| altered(definition).is_none() && unsafe { has_key(relation, definition) });
    older.ok_or_else(|| error::altered_column(newest.name, column))
}

/// The first column that is not as the definition has it.
///
/// # Safety
/// The relation must be open.
unsafe fn altered_column(
    relation: pg_sys::Relation,
    definition: &'static Definition,
) -> Option<&'static str> {
    // SAFETY: the relation is open, and its description has a name and a type for each column.
    unsafe {
        let description = (*relation).rd_att;
        let count = usize::try_from((*description).natts).unwrap_or(0);
        let altered = definition.columns.iter().enumerate().find(|(n, expected)| {
            if *n >= count {
                return true;
            }
            let found = &*version::attribute(description, *n);
            let is_key = definition.key.iter().any(|column| usize::try_from(*column) == Ok(*n + 1));
            let is_key_text = is_key && expected.column_type == pg_sys::TEXTOID;
            found.attisdropped
                || CStr::from_ptr(found.attname.data.as_ptr()).to_bytes() != expected.name.as_bytes()
                || found.atttypid != expected.column_type
                || !(found.attnotnull || expected.is_nullable)
                || (is_key_text && found.attcollation != pg_sys::C_COLLATION_OID)
        });
        altered.map(|(_, column)| column.name)
    }
}

/// Checks that the table is a heap with the primary key of its definition.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn require_storage(relation: pg_sys::Relation, definition: &Definition) -> Result<(), ErrorReport> {
    // SAFETY: the relation is open and locked.
    unsafe {
        require_heap(relation, definition)?;
        let is_permanent = (*(*relation).rd_rel).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT;
        if !is_permanent && !definition.may_be_unlogged {
            return Err(error::unlogged(definition.name));
        }
        if has_key(relation, definition) { Ok(()) } else { Err(error::altered_primary_key(definition.name)) }
    }
}

/// Whether the table has the primary key of the definition.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn has_key(relation: pg_sys::Relation, definition: &Definition) -> bool {
    // SAFETY: the relation is open. Its key's index is locked before it is looked at.
    unsafe {
        let key = version::primary_key(relation);
        key != pg_sys::InvalidOid && {
            let index = pg_sys::index_open(key, pg_sys::AccessShareLock as i32);
            let form = &*(*index).rd_index;
            let columns = form.indkey.values.as_slice(usize::try_from(form.indnatts).unwrap_or(0));
            let is_it = form.indisvalid
                && form.indisready
                && usize::try_from(form.indnkeyatts) == Ok(definition.key.len())
                && columns.starts_with(definition.key);
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            is_it
        }
    }
}

/// Checks that the table is a heap.
///
/// # Safety
/// The relation must be open.
unsafe fn require_heap(relation: pg_sys::Relation, definition: &Definition) -> Result<(), ErrorReport> {
    // SAFETY: the relation is open.
    let handler = unsafe { (*relation).rd_amhandler };
    if handler == pg_sys::Oid::from(pg_sys::F_HEAP_TABLEAM_HANDLER) {
        Ok(())
    } else {
        Err(error::wrong_access_method(definition.name))
    }
}

/// Whether the owner wants more done with a row than that it is stored.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn has_own_rules(relation: pg_sys::Relation, definition: &Definition) -> bool {
    // SAFETY: the relation is open; the pointers of its entry are null or good.
    unsafe {
        let description = (*relation).rd_att;
        let constraints = (*description).constr.as_ref();
        let has_own_constraint = constraints.is_some_and(|constraints| {
            constraints.num_check > definition.checks || constraints.has_generated_stored
        });
        let count = usize::try_from((*description).natts).unwrap_or(0);
        let mut own_columns = (definition.columns.len()..count).map(|n| &*version::attribute(description, n));
        let has_trigger = (*relation).trigdesc.as_ref().is_some_and(|triggers| {
            !definition.is_insert_only
                || triggers.trig_insert_before_row
                || triggers.trig_insert_after_row
                || triggers.trig_insert_before_statement
                || triggers.trig_insert_after_statement
        });
        has_trigger
            || !(*relation).rd_rules.is_null()
            || (*(*relation).rd_rel).relispartition
            || has_own_constraint
            || own_columns.any(|column| {
                let is_column = !column.attisdropped;
                is_column && (column.attnotnull || column.atthasdef || has_type_rules(column.atttypid))
            })
    }
}

/// Whether a type has a default of its own, or constraints.
fn has_type_rules(column_type: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in the system caches, which need a transaction; the callers run in one.
    unsafe {
        pg_sys::get_typtype(column_type) as u8 == pg_sys::TYPTYPE_DOMAIN
            || !pg_sys::get_typdefault(column_type).is_null()
    }
}

/// Whether a rule of the owner does something in place of a write.
///
/// # Safety
/// The relation must be open.
unsafe fn has_instead_rule(relation: pg_sys::Relation) -> bool {
    // SAFETY: the relation is open; its rules are null, or as many as they say.
    unsafe {
        let Some(rules) = (*relation).rd_rules.as_ref() else { return false };
        (0..usize::try_from(rules.numLocks).unwrap_or(0)).any(|n| (**rules.rules.add(n)).isInstead)
    }
}

/// Whether there is an index beside the primary key that may refuse a row.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn has_own_unique_index(
    relation: pg_sys::Relation,
    definition: &Definition,
) -> Result<bool, ErrorReport> {
    // SAFETY: the relation is open; its list of indexes lives in the current memory context, and each index is locked before it
    // is looked at.
    unsafe {
        let key = version::primary_key(relation);
        let indexes = pg_sys::RelationGetIndexList(relation);
        let is_there = memcx::current_context(|context| {
            let indexes = List::<pg_sys::Oid>::downcast_ptr_in_memcx(indexes, context)?;
            Some(indexes.iter().filter(|index| **index != key).any(|index| {
                let index = pg_sys::index_open(*index, pg_sys::AccessShareLock as i32);
                let form = &*(*index).rd_index;
                let may_refuse = form.indisunique || form.indisexclusion;
                pg_sys::index_close(index, pg_sys::NoLock as i32);
                may_refuse
            }))
        });
        is_there.ok_or_else(|| error::altered_primary_key(definition.name))
    }
}

/// Whether changes of rows are written to the log in a form that can be decoded.
fn is_decoded() -> bool {
    // SAFETY: a plain integer of this process, which only a restart of the server changes.
    unsafe { pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_LOGICAL as i32 }
}
