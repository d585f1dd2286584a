//! The calling convention of C functions that pgrx does not declare.

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
