//! Texts as bytes in the database's encoding, whatever that encoding is: pgrx's `&str` wants UTF-8.

use pgrx::pg_sys;

/// The bytes of a `text` value.
///
/// # Safety
/// `datum` must be a `text` that outlives `'a`, in a memory context that does.
pub unsafe fn text_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the caller vouches for the type; a compressed or external value is copied to the current context.
    unsafe {
        let text = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
        std::slice::from_raw_parts(pgrx::vardata_any(text).cast(), pgrx::varsize_any_exhdr(text))
    }
}

/// A `text` value with these bytes, in the current memory context.
pub fn text(bytes: &[u8]) -> pg_sys::Datum {
    // No text of this extension comes near 1 GB, where an i32 and a text both end.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    // SAFETY: copies that many bytes of the slice.
    unsafe { pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), length)) }
}

/// An array of the elements, in the current memory context. `ELEMENT` says how they are stored.
fn array(mut elements: Vec<pg_sys::Datum>, element: &Element) -> pg_sys::Datum {
    let length = i32::try_from(elements.len()).unwrap_or(i32::MAX);
    // SAFETY: the elements are of the type that `element` describes, and are copied.
    unsafe {
        pg_sys::Datum::from(pg_sys::construct_array(
            elements.as_mut_ptr(),
            length,
            element.oid,
            element.length,
            element.by_value,
            element.alignment,
        ))
    }
}

/// How a type stores its values (`pg_type`).
struct Element {
    oid: pg_sys::Oid,
    length: i32,
    by_value: bool,
    alignment: std::ffi::c_char,
}

const TEXT: Element = Element { oid: pg_sys::TEXTOID, length: -1, by_value: false, alignment: b'i' as _ };
const BIGINT: Element = Element { oid: pg_sys::INT8OID, length: 8, by_value: true, alignment: b'd' as _ };
const TID: Element = Element { oid: pg_sys::TIDOID, length: 6, by_value: false, alignment: b's' as _ };
const DATE: Element = Element { oid: pg_sys::DATEOID, length: 4, by_value: true, alignment: b'i' as _ };

/// A `text[]`.
pub fn text_array<'a>(texts: impl Iterator<Item = &'a [u8]>) -> pg_sys::Datum {
    array(texts.map(text).collect(), &TEXT)
}

/// A `bigint[]`.
pub fn bigint_array(numbers: impl Iterator<Item = i64>) -> pg_sys::Datum {
    array(numbers.map(pg_sys::Datum::from).collect(), &BIGINT)
}

/// A `date[]`, of days since 2000-01-01.
pub fn date_array(days: impl Iterator<Item = i32>) -> pg_sys::Datum {
    array(days.map(pg_sys::Datum::from).collect(), &DATE)
}

/// A `tid[]`.
pub fn tid_array(places: Vec<pg_sys::Datum>) -> pg_sys::Datum {
    array(places, &TID)
}
