//! Sweeping: deletes rows of the aggregates that are of older epochs, and so no longer count.
//!
//! Invariant: a sweep waits for no writer. A writer can wait for a sweep that deletes the row that it wants
//! to write. So a sweep is short where there is much to delete.

use std::ffi::CStr;

use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::spi::{Connection, SnapshotKind, Statement};
use crate::pg::{catalog, scan};

/// Deletes rows of epochs before `$3` between two tids: from `$1`, and before `$2`.
macro_rules! sweep {
    ($table:literal, $name:literal) => {
        (
            $name,
            Statement::new(
                concat!(
                    "DELETE FROM site_stats.",
                    $table,
                    " AS t
                     WHERE t.ctid = ANY (ARRAY(
                         SELECT o.ctid
                         FROM site_stats.",
                    $table,
                    " AS o
                         WHERE o.ctid >= $1 AND o.ctid < $2 AND o.epoch < $3
                         FOR UPDATE SKIP LOCKED
                     ))"
                ),
                &[pg_sys::TIDOID, pg_sys::TIDOID, pg_sys::INT8OID],
            ),
        )
    };
}

/// The tables with an epoch, each with its statement.
static SWEEPS: [(&CStr, Statement); 4] = [
    sweep!("site_totals", c"site_totals"),
    sweep!("path_totals", c"path_totals"),
    sweep!("daily_totals", c"daily_totals"),
    sweep!("sessions", c"sessions"),
];

/// How many blocks a sweep reads at most, and how many each statement reads.
const SWEEP_BLOCKS: i64 = 256;
const SWEEP_STEP: i64 = 16;

/// A sweep ends after so many rows: some milliseconds of work.
const SWEEP_ROWS: usize = 500;

/// How far a sweep is. The first `tables` tables are done, and of the next one the first `blocks` blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    pub tables: i64,
    pub blocks: i64,
}

impl Swept {
    /// Whether all tables are done.
    pub fn is_all(&self) -> bool {
        self.tables >= SWEEPS.len() as i64
    }
}

/// Deletes rows of epochs before `epoch` from the next blocks. Returns how far the sweep is now.
///
/// Rows are found by their tids, so a whole sweep reads each table once. Rows that come in behind it are of
/// the current epoch. It skips rows that another transaction is writing. These are of the current epoch then,
/// or stay, which changes no answer.
pub fn sweep(connection: &Connection, epoch: i64, from: Swept) -> Result<Swept, ErrorReport> {
    let mut swept = from;
    let (mut read, mut removed) = (0, 0);
    while read < SWEEP_BLOCKS && removed < SWEEP_ROWS && !swept.is_all() {
        let (name, statement) = &SWEEPS[usize::try_from(swept.tables).unwrap_or(0)];
        let blocks = i64::from(scan::length(catalog::table(name)?));
        let end = (swept.blocks + SWEEP_STEP).min(blocks);
        if swept.blocks < end {
            let arguments = [first_tid(swept.blocks), first_tid(end), pg_sys::Datum::from(epoch)].map(Some);
            removed += statement.run(connection, SnapshotKind::Current, &arguments)?.len();
            read += end - swept.blocks;
            swept.blocks = end;
        }
        if swept.blocks >= blocks {
            swept = Swept { tables: swept.tables + 1, blocks: 0 };
        }
    }
    Ok(swept)
}

/// The first tid of a block.
fn first_tid(block: i64) -> pg_sys::Datum {
    let block = u32::try_from(block).unwrap_or(u32::MAX);
    // SAFETY: the memory is in the step's memory context, and zero is a value for each of its fields.
    unsafe {
        let tid = pg_sys::palloc0(size_of::<pg_sys::ItemPointerData>()).cast::<pg_sys::ItemPointerData>();
        item_pointer_set_all(&mut *tid, block, 0);
        pg_sys::Datum::from(tid)
    }
}
