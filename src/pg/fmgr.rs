//! The calling convention of C functions that pgrx does not declare.

use pgrx::pg_sys;

use crate::pg::datum;

/// Declares that a function uses version 1 of the server's calling convention, as all functions do. The
/// argument is `pg_finfo_` followed by the name of the function.
macro_rules! finfo_v1 {
    ($name:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> *const ::pgrx::pg_sys::Pg_finfo_record {
            static RECORD: ::pgrx::pg_sys::Pg_finfo_record =
                ::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &raw const RECORD
        }
    };
}
pub(crate) use finfo_v1;

/// Defines a function for the server to call by the name of its symbol. It passes the call on, and raises an error as it was
/// raised, with all its fields and in the encoding of the database.
macro_rules! sql_function {
    ($symbol:ident, $finfo:ident, $work:path) => {
        $crate::pg::fmgr::finfo_v1!($finfo);

        #[doc = concat!("Only the server may call this: `", stringify!($work), "`.")]
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $symbol(call: ::pgrx::pg_sys::FunctionCallInfo) -> ::pgrx::pg_sys::Datum {
            // SAFETY: the server calls this with its own call data, and nothing is left to drop.
            unsafe { $crate::pg::caught::answer(|| $work(&mut *call)) }
        }
    };
}
pub(crate) use sql_function;

/// An argument of a call, counted from 0; `None` for NULL.
///
/// # Safety
/// The function must be declared with the argument.
pub unsafe fn argument(call: &pg_sys::FunctionCallInfoBaseData, n: usize) -> Option<pg_sys::Datum> {
    // SAFETY: the caller guarantees the argument.
    let argument = unsafe { call.args.as_slice(n + 1)[n] };
    (!argument.isnull).then_some(argument.value)
}

/// The bytes of an argument that is a `text`.
///
/// # Safety
/// The function must be declared with the argument, of this type.
pub unsafe fn text_argument(call: &pg_sys::FunctionCallInfoBaseData, n: usize) -> Option<&[u8]> {
    // SAFETY: the caller guarantees the argument and its type. It lives as long as the call.
    unsafe { argument(call, n).map(|text| datum::text_bytes(text)) }
}

/// As `text_argument`, where an older version of the extension declares the function without the argument: `None` then.
///
/// # Safety
/// If the function is declared with the argument, it must be of this type.
pub unsafe fn newer_text_argument(
    call: &pg_sys::FunctionCallInfoBaseData,
    n: usize,
) -> Option<Option<&[u8]>> {
    // SAFETY: the caller guarantees the type of the argument, if there is one.
    (usize::try_from(call.nargs).unwrap_or(0) > n).then(|| unsafe { text_argument(call, n) })
}

/// Returns rows as a materialized set.
///
/// # Safety
/// `call` must be the call being served, of a function that returns columns of these types.
pub unsafe fn put_rows<const N: usize>(
    call: &mut pg_sys::FunctionCallInfoBaseData,
    rows: impl IntoIterator<Item = [Option<pg_sys::Datum>; N]>,
) {
    // SAFETY: the caller guarantees the call, so a tuple store of these columns is made for it. The store copies the values.
    unsafe {
        pg_sys::InitMaterializedSRF(call, 0);
        let result = call.resultinfo.cast::<pg_sys::ReturnSetInfo>();
        for row in rows {
            let mut values = row.map(|value| value.unwrap_or(pg_sys::Datum::from(0)));
            let mut nulls = row.map(|value| value.is_none());
            pg_sys::tuplestore_putvalues(
                (*result).setResult,
                (*result).setDesc,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
    }
}

/// Whether this procedure may commit: its call is not inside a transaction block or a function.
///
/// # Safety
/// `call` must be the call being served.
pub unsafe fn may_commit(call: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: `call` is valid by the contract above. Its context is null or a node, and the tag of a node
    // says its type.
    unsafe {
        let context = (*call).context;
        !context.is_null()
            && (*context).type_ == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic
    }
}
