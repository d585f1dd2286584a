//! The statistics as the transaction sees them that has itself changed page views: what it has counted is flushed before a
//! function reads, and the function reads with a snapshot that shows the flush.
//!
//! A function that reads is STABLE: all that it reads is of the snapshot of the statement that calls it. The flush comes
//! after that snapshot. In READ COMMITTED it may build on what others have committed in between, so a new snapshot takes the
//! place of the statement's while the function runs: the answer is exact for the moment of the call. In REPEATABLE READ
//! what others commit must not show, so there it is the same snapshot with a later command number, or 40001 if the flush did
//! build on something newer.
//!
//! In SQL each of them is two functions: `get_stats()`, which is this code, and `get_stats_in_snapshot()`, which has the
//! query and the same arguments and results.

use std::ffi::{CStr, CString, c_void};

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, pg_guard, pg_sys};

use crate::backfill::requests;
use crate::count::pending::{self, ReadAs};
use crate::error;

/// What the name of a function with a query ends in.
const SUFFIX: &[u8] = b"_in_snapshot";

crate::pg::fmgr::finfo_v1!(pg_finfo_read_statistics);

/// Hands its call over to the function of the same name with the query.
///
/// # Safety
/// To be called by the server only.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn read_statistics(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the server passes a whole call.
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
    // SAFETY: a function runs with an active snapshot. It may be shared, so that a copy is changed; an error pops it with
    // the transaction. The call is the server's own, and gets its own description back: the way in which the server itself
    // calls a function that is SECURITY DEFINER.
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

/// The description of the function with the query, made once for each call in a statement.
///
/// # Safety
/// `outer` must describe the function that was called.
unsafe fn query_of(outer: *mut pg_sys::FmgrInfo) -> Result<*mut pg_sys::FmgrInfo, ErrorReport> {
    // SAFETY: as the caller vouches; what is kept lives as long as `outer`, which nobody else's code keeps anything in.
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

/// The function in the same schema with the same arguments whose name ends in the suffix.
fn query_name(function: pg_sys::Oid) -> Result<pg_sys::Oid, ErrorReport> {
    // SAFETY: look-ups in the system caches; the first tuple is held until the second is done.
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
