//! Values as the server keeps them. Texts are bytes in the database's encoding, whatever that encoding is: pgrx's `&str` wants
//! UTF-8.

use std::marker::PhantomData;

use pgrx::pg_sys;

/// A column, counted from 1.
pub type Column = i16;

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
pub unsafe fn text_lossy(datum: pg_sys::Datum) -> String {
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

/// The columns of a row, read one after another where they lie, up to the last one that is wanted. For scans of many rows: to
/// have the server take each apart is a third of their time.
pub struct Columns<'r> {
    row: *const u8,
    offset: usize,
    lifetime: PhantomData<&'r u8>,
}

impl<'r> Columns<'r> {
    /// # Safety
    /// The tuple must outlive `'r`. Of the columns that are then asked for, in their order and by their types, none may be NULL.
    pub unsafe fn of(tuple: pg_sys::HeapTupleHeader) -> Self {
        // SAFETY: as the caller vouches; the header says where the values begin.
        let row = unsafe { tuple.cast::<u8>().add(usize::from((*tuple).t_hoff)) };
        Columns { row, offset: 0, lifetime: PhantomData }
    }

    pub fn integer(&mut self) -> i32 {
        // SAFETY: the next column is one, as the maker vouches, and is aligned as its type.
        unsafe { self.align(4).cast::<i32>().read() }
    }

    pub fn bigint(&mut self) -> i64 {
        // SAFETY: as above.
        unsafe { self.align(8).cast::<i64>().read() }
    }

    /// The bytes of a `text`; copied to the current memory context if they are compressed.
    pub fn text(&mut self) -> &'r [u8] {
        // SAFETY: as above. In front of a header of four bytes there may be zeros, up to its alignment; a header of one byte is
        // never zero, and has none.
        unsafe {
            if self.row.add(self.offset).read() == 0 {
                self.offset = self.offset.next_multiple_of(4);
            }
            let text = self.row.add(self.offset);
            self.offset += pgrx::varsize_any(text.cast());
            text_bytes(pg_sys::Datum::from(text))
        }
    }

    /// Goes past the next column, which has this size and alignment, and returns where it is.
    ///
    /// # Safety
    /// There must be one.
    unsafe fn align(&mut self, size: usize) -> *const u8 {
        let start = self.offset.next_multiple_of(size);
        self.offset = start + size;
        // SAFETY: as the caller vouches.
        unsafe { self.row.add(start) }
    }
}
