//! The hash of a row of texts, as SQL has it: `hash_record_extended(ROW (...), 0)`. An index on it leads to the rows with a
//! combination of values, NULLs among them, without a plan.

use std::ptr::null;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::datum::{self, Column};
use crate::pg::{indexes, scan, version};

/// The hash of a row of texts, a `bigint`.
fn hash(values: &[Option<pg_sys::Datum>]) -> pg_sys::Datum {
    let nulls: Vec<_> = values.iter().map(Option::is_none).collect();
    let values: Vec<_> = values.iter().map(|value| value.unwrap_or(pg_sys::Datum::from(0))).collect();
    let count = i32::try_from(values.len()).unwrap_or(0);
    // SAFETY: the description has as many columns as the arrays have elements, and is whole before a row is made. The function
    // takes a row and a number.
    unsafe {
        let description = pg_sys::CreateTemplateTupleDesc(count);
        for column in 1..=count {
            pg_sys::TupleDescInitEntry(description, column as Column, null(), pg_sys::TEXTOID, -1, 0);
        }
        let description = pg_sys::BlessTupleDesc(description);
        let row = pg_sys::heap_form_tuple(description, values.as_ptr().cast_mut(), nulls.as_ptr().cast_mut());
        pg_sys::OidFunctionCall2Coll(
            pg_sys::Oid::from(pg_sys::F_HASH_RECORD_EXTENDED),
            pg_sys::InvalidOid,
            pg_sys::Datum::from((*row).t_data),
            pg_sys::Datum::from(0_i64),
        )
    }
}

/// The lowest first column, an `integer`, of the rows whose next columns, texts, have these values. `None` in place of the answer
/// if the index does not lead to them.
///
/// # Safety
/// The table must be locked, and have these columns in this order.
pub unsafe fn lowest_id(
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    values: &[Option<pg_sys::Datum>],
    snapshot: pg_sys::Snapshot,
) -> Result<Option<Option<i32>>, ErrorReport> {
    // SAFETY: the caller guarantees a locked table; the function locks the index.
    if !unsafe { leads_to_rows(table, index) } {
        return Ok(None);
    }
    let is_it = (1, pg_sys::BTEqualStrategyNumber, pg_sys::F_INT8EQ, hash(values));
    let mut lowest = None;
    scan::by_index(table, index, &[is_it], snapshot, |tuple, description| {
        // SAFETY: the scan passes a row of the table, whose columns the caller guarantees.
        unsafe {
            let mut columns = datum::columns_of(tuple, description).into_iter();
            let id = columns.next().flatten().map(|id| id.value() as i32);
            let is_same = |(one, other): (Option<pg_sys::Datum>, &Option<pg_sys::Datum>)| match (one, other) {
                (Some(one), Some(other)) => datum::text_bytes(one) == datum::text_bytes(*other),
                (one, other) => one.is_none() && other.is_none(),
            };
            if columns.zip(values).all(is_same) {
                lowest = lowest.into_iter().chain(id).min();
            }
        }
        Ok(true)
    })?;
    Ok(Some(lowest))
}

/// Whether an index is a valid btree over all rows of the table with one `bigint` that is computed.
///
/// # Safety
/// Both must exist, and the table must be locked.
unsafe fn leads_to_rows(table: pg_sys::Oid, index: pg_sys::Oid) -> bool {
    // SAFETY: the index is locked before it is looked at, and has an entry for each key in each array.
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
        let form = &*(*index).rd_index;
        let is_fit = form.indrelid == table
            && indexes::is_whole_btree(index)
            && !indexes::is_young(index)
            && form.indnatts == 1
            && form.indkey.values.as_slice(1)[0] == 0
            && (*version::attribute((*index).rd_att, 0)).atttypid == pg_sys::INT8OID;
        pg_sys::index_close(index, pg_sys::NoLock as i32);
        is_fit
    }
}
