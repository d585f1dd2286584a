//! Reads in a transaction that has itself changed page views. What it has counted is flushed before a
//! function reads.
//!
//! A function that reads is STABLE, so it reads with the snapshot of the statement that calls it. The flush
//! comes after that snapshot, so the function may need another one:
//!
//! | the flush, and the snapshot | READ COMMITTED | REPEATABLE READ, SERIALIZABLE |
//! |---|---|---|
//! | no flush, or the snapshot shows all of it | the statement's | the statement's |
//! | the snapshot shows none of the changes of page views | the statement's | the statement's |
//! | it shows the changes, but not the flush | a new one | the statement's, with a later command number |
//! | it shows some of the changes, but not all | none: 0A000 | none: 0A000 |
//! | any, after a flush has built on a newer row | as above | none: 40001 |
//!
//! A newer row is one that another transaction has written or removed since that snapshot was taken. In READ
//! COMMITTED a flush may build on such a row, so only a new snapshot shows both. The answer is exact as of
//! the call. In REPEATABLE READ the commits of other transactions must not show.
//!
//! In SQL each function that reads is two functions with the same arguments and results. `get_stats()` is
//! this code, and `get_stats_in_snapshot()` has the query.

use std::ffi::{CStr, CString, c_void};

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, pg_guard, pg_sys};

use crate::backfill::requests;
use crate::count::pending::{self, ReadAs};
use crate::error;

/// The suffix of the name of a function that has a query.
const SUFFIX: &[u8] = b"_in_snapshot";

crate::pg::fmgr::finfo_v1!(pg_finfo_read_statistics);

/// Passes its call on to the function with the query, which has the same name and the suffix.
///
/// # Safety
/// Only the server may call this.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn read_statistics(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the server passes a complete `FunctionCallInfo`, which stays valid until the function returns.
    match unsafe { read(call) } {
        Ok(answer) => answer,
        Err(report) => {
            report.report(PgLogLevel::ERROR);
            pg_sys::Datum::from(0)
        }
    }
}

unsafe fn read(call: pg_sys::FunctionCallInfo) -> Result<pg_sys::Datum, ErrorReport> {
    requests::resume_if_interrupted();
    // SAFETY: a function runs with an active snapshot. Other code may share it, so only a copy is changed. An
    // error pops the copy with the transaction. `call` is the server's own, and gets its own `flinfo` back
    // after the inner call. The server itself calls a SECURITY DEFINER function in this way.
    unsafe {
        let snapshot = pg_sys::GetActiveSnapshot();
        let moment = pending::prepare_read((*snapshot).curcid)?;
        match moment {
            ReadAs::OfStatement => {}
            ReadAs::WithFlush(command) => {
                pg_sys::PushCopiedSnapshot(snapshot);
                (*pg_sys::GetActiveSnapshot()).curcid = command;
            }
            ReadAs::Now => pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()),
        }
        let outer = (*call).flinfo;
        (*call).flinfo = query_of(outer)?;
        let query = (*(*call).flinfo).fn_addr;
        let answer = pg_guard_ffi_boundary(|| query.map(|query| query(call)));
        (*call).flinfo = outer;
        if moment != ReadAs::OfStatement {
            pg_sys::PopActiveSnapshot();
        }
        answer.ok_or_else(error::no_query)
    }
}

/// The description of the function with the query. It is made once for each `FmgrInfo` of the function that
/// was called.
///
/// # Safety
/// `outer` must describe the function that was called.
unsafe fn query_of(outer: *mut pg_sys::FmgrInfo) -> Result<*mut pg_sys::FmgrInfo, ErrorReport> {
    // SAFETY: `outer` is valid by the contract above. The description is allocated in `fn_mcxt`, so it lives
    // as long as `outer`. Only this code uses `fn_extra` of these functions.
    unsafe {
        if (*outer).fn_extra.is_null() {
            let query = query_name((*outer).fn_oid)?;
            let size = size_of::<pg_sys::FmgrInfo>();
            let info = pg_sys::MemoryContextAllocZero((*outer).fn_mcxt, size).cast::<pg_sys::FmgrInfo>();
            pg_sys::fmgr_info_cxt(query, info, (*outer).fn_mcxt);
            (*info).fn_expr = (*outer).fn_expr;
            (*outer).fn_extra = info.cast::<c_void>();
        }
        Ok((*outer).fn_extra.cast())
    }
}

/// The function in the same schema with the same arguments, whose name is that of `function` with the suffix.
fn query_name(function: pg_sys::Oid) -> Result<pg_sys::Oid, ErrorReport> {
    // SAFETY: the call of a function runs in a transaction, as look-ups in the system caches need. `form`
    // points into the first tuple, which is released after the second look-up.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return Err(error::no_query());
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let mut name = CStr::from_ptr((*form).proname.data.as_ptr()).to_bytes().to_vec();
        name.extend_from_slice(SUFFIX);
        let name = CString::new(name).unwrap_or_default();
        let query = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            pg_sys::Anum_pg_proc_oid as i16,
            pg_sys::Datum::from(name.as_ptr().cast_mut()),
            pg_sys::Datum::from((&raw const (*form).proargtypes).cast_mut()),
            pg_sys::Datum::from((*form).pronamespace),
            pg_sys::Datum::from(0),
        );
        pg_sys::ReleaseSysCache(tuple);
        if query == pg_sys::InvalidOid { Err(error::no_query()) } else { Ok(query) }
    }
}
