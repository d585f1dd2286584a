//! The calling convention of C functions that pgrx does not declare.

use pgrx::pg_sys;

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
