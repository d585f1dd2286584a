//! Where versions of PostgreSQL differ in what a background process needs. Those of table access are at the end of `table`.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Has a function called for a signal.
///
/// # Safety
/// The handler must do no more than a signal handler may.
pub unsafe fn set_handler(signal: i32, handler: pg_sys::pqsigfunc) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as the caller vouches.
    unsafe {
        pg_sys::pqsignal(signal, handler);
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller vouches.
    unsafe {
        pg_sys::pqsignal_be(signal, handler);
    }
}

/// Timeouts of a session that later versions have, each with the value that turns it off.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const TIMEOUTS: &[(&CStr, &CStr)] = &[];
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const TIMEOUTS: &[(&CStr, &CStr)] = &[(c"transaction_timeout", c"0")];
