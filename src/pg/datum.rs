//! Values as PostgreSQL stores them.
//!
//! Texts are bytes in the encoding of the database, whatever it is. pgrx's `&str` must be UTF-8.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use pgrx::pg_sys;

/// The number of a column, counted from 1.
pub type Column = i16;

/// The bytes of a `text` value.
///
/// # Safety
/// `datum` must be a `text`, and its memory must outlive `'a`. So must the current memory context: it gets
/// the copy of a compressed value.
pub unsafe fn text_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the caller guarantees a `text`. A compressed or external value is copied to the current memory
    // context; any other value is read where it is.
    unsafe {
        text_in_place(datum)
            .unwrap_or_else(|| bytes_after_header(pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr())))
    }
}

/// The bytes of a `text` value where they lie; `None` if it is compressed or elsewhere.
///
/// # Safety
/// `datum` must be a `text`, and its memory must outlive `'a`.
pub unsafe fn text_in_place<'a>(datum: pg_sys::Datum) -> Option<&'a [u8]> {
    let text = datum.cast_mut_ptr();
    // SAFETY: the caller guarantees a `text`, whose header says whether its bytes follow.
    unsafe {
        let is_elsewhere = pgrx::varatt_is_4b_c(text) || pgrx::varatt_is_1b_e(text);
        (!is_elsewhere).then(|| bytes_after_header(text))
    }
}

/// # Safety
/// The bytes of the text must follow its header, and outlive `'a`.
unsafe fn bytes_after_header<'a>(text: *const pg_sys::varlena) -> &'a [u8] {
    // SAFETY: the caller guarantees the bytes.
    unsafe { std::slice::from_raw_parts(pgrx::vardata_any(text).cast(), pgrx::varsize_any_exhdr(text)) }
}

/// A `text` value as a string. For words of this extension, such as a status.
///
/// # Safety
/// `datum` must be a `text`.
pub unsafe fn text_lossy(datum: pg_sys::Datum) -> String {
    // SAFETY: the caller guarantees a `text`, and the bytes are copied at once.
    String::from_utf8_lossy(unsafe { text_bytes(datum) }).into_owned()
}

/// The elements of an array, without NULL: the bytes of each, in the current memory context.
///
/// # Safety
/// `array` must be an array of this type, which is a type of variable length that is stored as a `text` is.
pub unsafe fn varlena_elements<'a>(array: pg_sys::Datum, element_type: pg_sys::Oid) -> Vec<&'a [u8]> {
    const VARIABLE: i32 = -1;
    let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: the caller guarantees the type. The server makes two arrays of `count` elements.
    unsafe {
        let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
        let alignment = pg_sys::TYPALIGN_INT as c_char;
        pg_sys::deconstruct_array(
            array,
            element_type,
            VARIABLE,
            false,
            alignment,
            &mut elements,
            &mut nulls,
            &mut count,
        );
        let indexes = 0..usize::try_from(count).unwrap_or(0);
        indexes.filter(|n| !*nulls.add(*n)).map(|n| text_bytes(*elements.add(n))).collect()
    }
}

/// A `text` value with these bytes, in the current memory context.
pub fn text(bytes: &[u8]) -> pg_sys::Datum {
    // A text is shorter than 1 GB, so its length fits an i32.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    // SAFETY: the server copies `length` bytes, and the slice has as many.
    unsafe { pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), length)) }
}

/// A `text[]` of these values, in the current memory context.
pub fn text_array(texts: &[pg_sys::Datum]) -> pg_sys::Datum {
    // SAFETY: the server copies the values, which are texts, as many as the slice has.
    unsafe {
        let array = pg_sys::construct_array(
            texts.as_ptr().cast_mut(),
            i32::try_from(texts.len()).unwrap_or(i32::MAX),
            pg_sys::TEXTOID,
            -1,
            false,
            pg_sys::TYPALIGN_INT as c_char,
        );
        pg_sys::Datum::from(array)
    }
}

/// A text of the server's as a string: from the encoding of the database to UTF-8.
pub fn utf8_from_text(bytes: &[u8]) -> String {
    // SAFETY: the conversion reads as many bytes as the slice has.
    let converted =
        converted(bytes, |text, length, utf8| unsafe { pg_sys::pg_server_to_any(text, length, utf8) });
    String::from_utf8_lossy(converted).into_owned()
}

/// The same for what is only shown. A database without an encoding may have bytes that are no text, in place of which U+FFFD comes.
pub fn utf8_to_show(bytes: &[u8]) -> String {
    if is_without_encoding() { String::from_utf8_lossy(bytes).into_owned() } else { utf8_from_text(bytes) }
}

fn is_without_encoding() -> bool {
    // SAFETY: a plain integer of this process.
    unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_SQL_ASCII as i32 }
}

/// Whether the database has all characters.
pub fn is_utf8() -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
}

/// A `text` value of a string, in the encoding of the database and the current memory context.
pub fn text_from_utf8(string: &str) -> pg_sys::Datum {
    // SAFETY: as above.
    text(converted(string.as_bytes(), |text, length, utf8| unsafe {
        pg_sys::pg_any_to_server(text, length, utf8)
    }))
}

/// The same for what a visitor has written: `?` stands for each character that the encoding of the database does not have.
pub fn text_from_utf8_with_substitutes(string: &str) -> pg_sys::Datum {
    let utf8 = pg_sys::pg_enc::PG_UTF8 as i32;
    // SAFETY: a plain integer of this process.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    if string.is_ascii() || encoding == utf8 || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32 {
        return text_from_utf8(string);
    }
    // SAFETY: a look-up in a system cache; the callers run in a transaction.
    let conversion = unsafe { pg_sys::FindDefaultConversionProc(utf8, encoding) };
    if conversion == pg_sys::InvalidOid {
        return text_from_utf8(string); // which raises the server's own error
    }
    let (mut rest, mut output) = (string, Vec::with_capacity(string.len()));
    while !rest.is_empty() {
        // No encoding of the server takes more bytes for a character than this, and one for the NUL at the end.
        let mut room = vec![0; rest.len() * 4 + 1];
        // SAFETY: both lengths are those of the slices. The conversion stops at the first character that it cannot convert, and
        // returns how many bytes it has converted.
        let converted = unsafe {
            pg_sys::pg_do_encoding_conversion_buf(
                conversion,
                utf8,
                encoding,
                rest.as_ptr().cast_mut(),
                i32::try_from(rest.len()).unwrap_or(i32::MAX),
                room.as_mut_ptr(),
                i32::try_from(room.len()).unwrap_or(i32::MAX),
                true,
            )
        };
        output.extend(room.split(|byte| *byte == 0).next().unwrap_or_default());
        rest = rest.get(usize::try_from(converted).unwrap_or(0)..).unwrap_or("");
        let mut characters = rest.chars();
        if characters.next().is_some() {
            output.push(b'?');
        }
        rest = characters.as_str();
    }
    text(&output)
}

/// What the server converts a text to: the text itself, or a copy that ends in NUL.
fn converted(bytes: &[u8], convert: impl FnOnce(*const c_char, i32, i32) -> *mut c_char) -> &[u8] {
    // A text is shorter than 1 GB, so its length fits an i32.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    let text = bytes.as_ptr().cast();
    let copy = convert(text, length, pg_sys::pg_enc::PG_UTF8 as i32).cast_const();
    // SAFETY: a copy is a string of the server's, and its memory outlives what the callers do with it at once.
    if copy == text { bytes } else { unsafe { CStr::from_ptr(copy) }.to_bytes() }
}

/// All columns of a row; `None` is NULL. Values by reference lie in the tuple.
///
/// # Safety
/// The tuple must be a row with this description.
pub unsafe fn columns_of(
    tuple: pg_sys::HeapTuple,
    description: pg_sys::TupleDesc,
) -> Vec<Option<pg_sys::Datum>> {
    // SAFETY: the caller guarantees the row. Both arrays have an element for each column.
    unsafe {
        let count = usize::try_from((*description).natts).unwrap_or(0);
        let (mut values, mut nulls) = (vec![pg_sys::Datum::from(0); count], vec![true; count]);
        pg_sys::heap_deform_tuple(tuple, description, values.as_mut_ptr(), nulls.as_mut_ptr());
        values.into_iter().zip(nulls).map(|(value, is_null)| (!is_null).then_some(value)).collect()
    }
}

/// The columns of a row, read in order from its tuple, up to the last one that is needed.
///
/// For scans of many rows: `heap_deform_tuple` would take a third of the time of such a scan.
pub struct Columns<'r> {
    row: *const u8,
    offset: usize,
    lifetime: PhantomData<&'r u8>,
}

impl<'r> Columns<'r> {
    /// The columns of a tuple.
    ///
    /// # Safety
    /// The tuple must outlive `'r`. The caller must read the columns in order and by their types, and none of
    /// them may be NULL.
    pub unsafe fn of(tuple: pg_sys::HeapTupleHeader) -> Self {
        // SAFETY: the caller guarantees a tuple; its header says where the values begin.
        let row = unsafe { tuple.cast::<u8>().add(usize::from((*tuple).t_hoff)) };
        Columns { row, offset: 0, lifetime: PhantomData }
    }

    pub fn smallint(&mut self) -> i16 {
        // SAFETY: the caller of `of` guarantees a `smallint` here; `align` has moved to its alignment.
        unsafe { self.align(2).cast::<i16>().read() }
    }

    pub fn integer(&mut self) -> i32 {
        // SAFETY: the caller of `of` guarantees an `integer` here; `align` has moved to its alignment.
        unsafe { self.align(4).cast::<i32>().read() }
    }

    pub fn bigint(&mut self) -> i64 {
        // SAFETY: the caller of `of` guarantees a `bigint` here; `align` has moved to its alignment.
        unsafe { self.align(8).cast::<i64>().read() }
    }

    /// The bytes of a `text`; copied to the current memory context if they are compressed.
    pub fn text(&mut self) -> &'r [u8] {
        // SAFETY: the caller of `of` guarantees a `text` here. A header of four bytes may have zeros before
        // it, up to its alignment. A header of one byte is never zero, and has no zeros before it.
        unsafe {
            if self.row.add(self.offset).read() == 0 {
                self.offset = self.offset.next_multiple_of(4);
            }
            let text = self.row.add(self.offset);
            self.offset += pgrx::varsize_any(text.cast());
            text_bytes(pg_sys::Datum::from(text))
        }
    }

    /// Moves past the next column, which has this size and alignment. Returns where that column is.
    ///
    /// # Safety
    /// The row must have one more column, of this size.
    unsafe fn align(&mut self, size: usize) -> *const u8 {
        let start = self.offset.next_multiple_of(size);
        self.offset = start + size;
        // SAFETY: the caller guarantees one more column, so `start` is inside the row.
        unsafe { self.row.add(start) }
    }
}
