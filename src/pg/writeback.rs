//! Writeback of the aggregate tables while a backfill makes them grow.
//!
//! A growing table leaves its new blocks in the page cache of the operating system. Linux collects them for
//! 30 seconds and writes them together. During that write every commit waits for its own few bytes. A
//! backfill makes tables and indexes grow faster than anything else does. So it asks the operating system to
//! begin writing after each 256 kB, as PostgreSQL's checkpoints do (`checkpoint_flush_after`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::list::List;
use pgrx::memcx;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::{catalog, version};

/// The tables to which a backfill adds rows.
const TABLES: [&CStr; 3] = [c"path_totals", c"daily_totals", c"sessions"];

/// The growth of a table or an index, in blocks, after which it is written: 256 kB, as in a checkpoint.
const STEP: u32 = 32;

thread_local! {
    /// For each file, the length in blocks up to which writeback was requested.
    static WRITTEN: RefCell<HashMap<pg_sys::Oid, u32>> = RefCell::default();
}

/// Asks the operating system to write the blocks by which tables and indexes have grown since the last calls.
/// Skips files that grew by less than `STEP` blocks. Waits for no write.
pub fn write_back() -> Result<(), ErrorReport> {
    for name in TABLES {
        let oid = catalog::table(name)?;
        // SAFETY: the table and its indexes exist, and are locked when they are opened. A batch calls this,
        // in its transaction. The list lives in the current memory context, and is read there.
        unsafe {
            let table = pg_sys::table_open(oid, pg_sys::AccessShareLock as i32);
            write_back_file(table);
            let indexes = pg_sys::RelationGetIndexList(table);
            memcx::current_context(|context| {
                let indexes = List::<pg_sys::Oid>::downcast_ptr_in_memcx(indexes, context);
                for index in indexes.unwrap_or_default().iter() {
                    let index = pg_sys::index_open(*index, pg_sys::AccessShareLock as i32);
                    write_back_file(index);
                    pg_sys::index_close(index, pg_sys::NoLock as i32);
                }
            });
            pg_sys::table_close(table, pg_sys::NoLock as i32);
        }
    }
    Ok(())
}

/// Does the same for one table or index.
///
/// # Safety
/// The relation must be open.
unsafe fn write_back_file(relation: pg_sys::Relation) {
    let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
    // SAFETY: the caller guarantees that the relation is open.
    let (file, length) =
        unsafe { (version::file_of(relation), pg_sys::RelationGetNumberOfBlocksInFork(relation, fork)) };
    WRITTEN.with_borrow_mut(|written| {
        let written = written.entry(file).or_insert(length);
        if length.saturating_sub(*written) >= STEP {
            // SAFETY: the relation is open, and its lock keeps VACUUM from truncating these blocks.
            unsafe {
                pg_sys::smgrwriteback(pg_sys::RelationGetSmgr(relation), fork, *written, length - *written)
            };
            *written = length;
        }
        // A VACUUM may have truncated the file since.
        *written = length.min(*written);
    });
}
