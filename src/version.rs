//! Where versions of PostgreSQL differ, but for table access: that is at the end of `table`.

use std::ffi::{CStr, c_int};

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

/// Whether this process holds a lock in this mode.
///
/// # Safety
/// The tag must be whole.
pub unsafe fn holds_lock(lock: &pg_sys::LOCKTAG, mode: c_int) -> bool {
    // SAFETY: looks at the locks of this process only.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::LockHeldByMe(lock, mode);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::LockHeldByMe(lock, mode, false);
    }
}
