//! The calling convention of functions that are not pgrx's own.

/// Declares to the server that a function takes its arguments in version 1 of the calling convention, as all functions do.
/// The argument is the name `pg_finfo_`, followed by that of the function.
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
