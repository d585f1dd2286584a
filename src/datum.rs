//! Texts as bytes in the database's encoding, whatever that encoding is: pgrx's `&str` wants UTF-8.

use pgrx::pg_sys;

/// The bytes of a `text` value.
///
/// # Safety
/// `datum` must be a `text` that outlives `'a`, in a memory context that does.
pub unsafe fn text_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the caller vouches for the type; a compressed or external value is copied to the current context, any other
    // one is read where it is.
    unsafe {
        let text = datum.cast_mut_ptr();
        let is_elsewhere = pgrx::varatt_is_4b_c(text) || pgrx::varatt_is_1b_e(text);
        let text = if is_elsewhere { pg_sys::pg_detoast_datum_packed(text) } else { text };
        std::slice::from_raw_parts(pgrx::vardata_any(text).cast(), pgrx::varsize_any_exhdr(text))
    }
}

/// A `text` value as a string. For words of our own, such as a status.
///
/// # Safety
/// `datum` must be a `text`.
pub unsafe fn word(datum: pg_sys::Datum) -> String {
    // SAFETY: as the caller vouches.
    String::from_utf8_lossy(unsafe { text_bytes(datum) }).into_owned()
}

/// A `text` value with these bytes, in the current memory context.
pub fn text(bytes: &[u8]) -> pg_sys::Datum {
    // No text of this extension comes near 1 GB, where an i32 and a text both end.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    // SAFETY: copies that many bytes of the slice.
    unsafe { pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), length)) }
}
