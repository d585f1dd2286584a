//! How fast the aggregate tables grow, for the disk's sake.
//!
//! A table that grows leaves its new pages to the operating system, which collects them and writes them all together: Linux
//! after 30 seconds. For so long every commit waits behind them for its own few bytes. A backfill makes these tables and
//! their indexes grow faster than anything else does, so it asks the system to begin writing every so often, as the server
//! does in its checkpoints (`checkpoint_flush_after`).

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

/// Pages by which a table or an index grows before they are written: 256 kB, as in a checkpoint.
const STEP: u32 = 32;

thread_local! {
    /// The length of each file up to which its pages were handed to the disk.
    static WRITTEN: RefCell<HashMap<pg_sys::Oid, u32>> = RefCell::default();
}

/// Has the system begin to write the pages by which the tables and their indexes have grown since the last calls, where these
/// are many. It waits for none of it.
pub fn write_back() -> Result<(), ErrorReport> {
    for name in TABLES {
        let oid = catalog::table(name)?;
        // SAFETY: a transaction is open; the table exists, and is locked before it is looked at, as are its indexes. The
        // list lives in the current memory context, and is read there.
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

/// The same for one table or index.
///
/// # Safety
/// The relation must be open.
unsafe fn write_back_file(relation: pg_sys::Relation) {
    let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
    // SAFETY: as the caller vouches.
    let (file, length) =
        unsafe { (version::file_of(relation), pg_sys::RelationGetNumberOfBlocksInFork(relation, fork)) };
    WRITTEN.with_borrow_mut(|written| {
        let written = written.entry(file).or_insert(length);
        if length.saturating_sub(*written) >= STEP {
            // SAFETY: as above; the file has these pages, which its lock keeps.
            unsafe {
                pg_sys::smgrwriteback(pg_sys::RelationGetSmgr(relation), fork, *written, length - *written)
            };
            *written = length;
        }
        // A VACUUM may have made it shorter.
        *written = length.min(*written);
    });
}
