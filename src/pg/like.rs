//! LIKE, byte by byte as in collation C.

use pgrx::pg_sys;

use crate::pg::datum;

/// Whether a text is like a pattern.
///
/// # Safety
/// `text` must be a `text`.
pub unsafe fn is_like(text: pg_sys::Datum, pattern: &[u8]) -> bool {
    // SAFETY: the function takes two texts, of which the caller guarantees the first.
    let is_like = unsafe {
        let function = pg_sys::Oid::from(pg_sys::F_TEXTLIKE);
        pg_sys::OidFunctionCall2Coll(function, pg_sys::C_COLLATION_OID, text, datum::text(pattern))
    };
    is_like.value() as u8 != 0
}

/// Whether the last character of a pattern escapes nothing. LIKE raises an error if it comes as far as that.
pub fn is_cut_off(pattern: &[u8]) -> bool {
    pattern.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
