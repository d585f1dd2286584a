//! A `jsonb` that is an object: its values by their keys, read where they lie.

use pgrx::pg_sys;

use crate::pg::datum;

/// An object.
pub struct Object(*mut pg_sys::JsonbContainer);

/// A value of an object.
pub enum Value<'j> {
    /// The bytes of a string, in the encoding of the database.
    Text(&'j [u8]),
    Null,
    /// A number, a boolean, an array or an object.
    Other,
}

/// The size of a `jsonb` in bytes, without reading it.
///
/// # Safety
/// `datum` must be a `jsonb`.
pub unsafe fn size(datum: pg_sys::Datum) -> usize {
    // SAFETY: the caller guarantees a value with a header that has its length.
    unsafe { pg_sys::toast_raw_datum_size(datum) }.saturating_sub(size_of::<u32>())
}

/// A `jsonb` as JSON in UTF-8.
///
/// # Safety
/// `datum` must be a `jsonb`.
pub unsafe fn to_utf8(datum: pg_sys::Datum) -> String {
    // SAFETY: the caller guarantees a `jsonb`.
    unsafe { converted(datum, datum::utf8_from_text) }
}

/// The same for what is only shown.
///
/// # Safety
/// `datum` must be a `jsonb`.
pub unsafe fn utf8_to_show(datum: pg_sys::Datum) -> String {
    // SAFETY: the caller guarantees a `jsonb`.
    unsafe { converted(datum, datum::utf8_to_show) }
}

/// # Safety
/// `datum` must be a `jsonb`.
unsafe fn converted(datum: pg_sys::Datum, convert: fn(&[u8]) -> String) -> String {
    // SAFETY: the caller guarantees a `jsonb`; the server makes a string of it that ends in NUL.
    unsafe {
        let jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
        let length = i32::try_from(pgrx::varsize_any_exhdr(jsonb.cast())).unwrap_or(0);
        let json = pg_sys::JsonbToCString(std::ptr::null_mut(), &raw mut (*jsonb).root, length);
        convert(std::ffi::CStr::from_ptr(json).to_bytes())
    }
}

impl Object {
    /// The object in a `jsonb`; `None` if that is something else.
    ///
    /// # Safety
    /// `datum` must be a `jsonb` that lives as long as the object. So must the current memory context: it gets the copy of a
    /// compressed value.
    pub unsafe fn of(datum: pg_sys::Datum) -> Option<Self> {
        // SAFETY: the caller guarantees a `jsonb`; in its whole form it begins with two integers.
        unsafe {
            let jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
            let root = &raw mut (*jsonb).root;
            ((*root).header & pg_sys::JB_FOBJECT != 0).then_some(Object(root))
        }
    }

    /// The value of a key; `None` if there is no such key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        let mut value = pg_sys::JsonbValue::default();
        // A key of ours has a few bytes.
        let length = i32::try_from(key.len()).unwrap_or(0);
        // SAFETY: `of` has found an object, which lives as long as `self`. The server compares `length` bytes of the key, and
        // says the type of the value that it finds.
        unsafe {
            if pg_sys::getKeyJsonValueFromContainer(self.0, key.as_ptr().cast(), length, &mut value).is_null()
            {
                return None;
            }
            Some(match value.type_ {
                pg_sys::jbvType::jbvString => {
                    let string = value.val.string;
                    let length = usize::try_from(string.len).unwrap_or(0);
                    Value::Text(std::slice::from_raw_parts(string.val.cast(), length))
                }
                pg_sys::jbvType::jbvNull => Value::Null,
                _ => Value::Other,
            })
        }
    }
}
