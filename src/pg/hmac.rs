//! Keyed hashes and random bytes, as the server makes them for its own passwords.

use std::ffi::{c_int, c_void};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;

/// The number of SHA-256 in `pg_cryptohash_type`.
const SHA256: c_int = 3;

// `common/hmac.h`, which pgrx does not include; the same in all versions since 14.
unsafe extern "C" {
    fn pg_hmac_create(kind: c_int) -> *mut c_void;
    fn pg_hmac_init(context: *mut c_void, key: *const u8, length: usize) -> c_int;
    fn pg_hmac_update(context: *mut c_void, data: *const u8, length: usize) -> c_int;
    fn pg_hmac_final(context: *mut c_void, hash: *mut u8, length: usize) -> c_int;
    fn pg_hmac_free(context: *mut c_void);
}

/// HMAC-SHA-256 of a message.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Result<[u8; 32], ErrorReport> {
    let mut hash = [0; 32];
    // SAFETY: each call reads or writes as many bytes as its slice has. None raises an error but the first, when memory is out,
    // and then there is no context. The context is freed after its last use.
    let is_made = unsafe {
        let context = pg_hmac_create(SHA256);
        if context.is_null() {
            return Err(error::internal("pg_hmac_create", 0));
        }
        let is_made = pg_hmac_init(context, key.as_ptr(), key.len()) == 0
            && pg_hmac_update(context, message.as_ptr(), message.len()) == 0
            && pg_hmac_final(context, hash.as_mut_ptr(), hash.len()) == 0;
        pg_hmac_free(context);
        is_made
    };
    if is_made { Ok(hash) } else { Err(error::internal("pg_hmac_final", -1)) }
}

/// Random bytes that nobody can guess.
pub fn random<const COUNT: usize>() -> Result<[u8; COUNT], ErrorReport> {
    let mut bytes = [0; COUNT];
    // SAFETY: the array has as many bytes.
    let is_filled = unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), COUNT) };
    if is_filled { Ok(bytes) } else { Err(error::internal("pg_strong_random", 0)) }
}
