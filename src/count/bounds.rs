//! What a page view may hold: the CHECK constraints of `page_views`.
//!
//! PostgreSQL parses the stored text of each CHECK constraint again in each statement, and the call of a function is a short text.
//! Where the constraints were comparisons, an INSERT of one page view took an eighth more of processor time.

use pgrx::pg_sys;

use crate::count::tally::DAY;
use crate::pg::fmgr::{self, finfo_v1};
use crate::pg::time::{EPOCH, SECOND};
use crate::pg::{caught, datum};

/// What an index entry can hold, with room to spare (2,704 bytes).
pub const MOST_PATH_BYTES: usize = 2048;
pub const MOST_PAGE_TYPE_BYTES: usize = 64;
pub const MOST_SESSION_ID_BYTES: usize = 128;

/// The earliest time, 1970-01-01, and the one after the latest, 10000-01-01, as a `timestamptz`. Days far from any real page view, and
/// the infinities, have no place in a calendar of days.
pub const EARLIEST: i64 = -EPOCH * SECOND;
const END: i64 = 2_921_940 * DAY;

/// Defines a function that says whether its only argument is within bounds. The server does not call it with NULL.
macro_rules! check {
    ($symbol:ident, $finfo:ident, $is_within:expr) => {
        finfo_v1!($finfo);

        /// Only the server may call this.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $symbol(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: the server calls this with its own call data, of a function declared with one argument of the type that the
            // expression takes. Nothing is left to drop.
            let is_within = unsafe { fmgr::argument(&*call, 0).is_none_or($is_within) };
            pg_sys::Datum::from(is_within)
        }
    };
}

check!(is_path_wrapper, pg_finfo_is_path_wrapper, |path| has_bytes(path, MOST_PATH_BYTES));
check!(is_page_type_wrapper, pg_finfo_is_page_type_wrapper, |page_type| {
    has_bytes(page_type, MOST_PAGE_TYPE_BYTES)
});
check!(is_session_id_wrapper, pg_finfo_is_session_id_wrapper, |session_id| {
    has_bytes(session_id, MOST_SESSION_ID_BYTES)
});
check!(is_time_of_view_wrapper, pg_finfo_is_time_of_view_wrapper, |time: pg_sys::Datum| {
    (EARLIEST..END).contains(&(time.value() as i64))
});

/// Whether a `text` has this many bytes at most, and one at least.
///
/// # Safety
/// `text` must be a `text`, and the caller as that of `caught::answer`.
unsafe fn has_bytes(text: pg_sys::Datum, most: usize) -> bool {
    // SAFETY: the caller guarantees a `text`, and has nothing to drop.
    let length = unsafe {
        match datum::text_in_place(text) {
            Some(bytes) => bytes.len(),
            None => caught::answer(|| Ok(pg_sys::toast_raw_datum_size(text) - pg_sys::VARHDRSZ)),
        }
    };
    (1..=most).contains(&length)
}
