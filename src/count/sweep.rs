//! Rows of the aggregates that are of older epochs, and so count no more, are removed piece by piece.
//!
//! A sweep waits for no writer. A writer may wait for a sweep that removes the very row which it wants to write anew, so a sweep
//! is short where there is much to remove.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::catalog;
use crate::pg::spi::{Connection, SnapshotKind, Statement};

/// Removes rows of a table that count in no epoch any more. `$1` and `$2` are places in the table, the first and the one
/// after the last, `$3` is the current epoch.
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

/// The tables that have an epoch, each with its statement.
static SWEEPS: [(&CStr, Statement); 4] = [
    sweep!("site_totals", c"site_totals"),
    sweep!("path_totals", c"path_totals"),
    sweep!("daily_totals", c"daily_totals"),
    sweep!("sessions", c"sessions"),
];

/// Blocks that one sweep reads at most, and at a time.
const SWEEP_BLOCKS: i64 = 256;
const SWEEP_STEP: i64 = 16;

/// Rows after which a sweep ends: a few milliseconds' work.
const SWEEP_ROWS: usize = 500;

/// How far a sweep is: all tables before this one are swept, and this one up to the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    pub tables: i64,
    pub blocks: i64,
}

impl Swept {
    /// Whether all tables are.
    pub fn is_all(&self) -> bool {
        self.tables >= SWEEPS.len() as i64
    }
}

/// Removes rows of epochs older than this from the next blocks and returns how far it is now. Rows are found by their place,
/// so that a whole sweep reads each table once; what comes in behind it is of the current epoch. Rows that somebody else is
/// writing are passed over: they are of the current epoch then, or stay, which makes no difference to any answer.
pub fn sweep(connection: &Connection, epoch: i64, from: Swept) -> Result<Swept, ErrorReport> {
    let mut swept = from;
    let (mut read, mut removed) = (0, 0);
    while read < SWEEP_BLOCKS && removed < SWEEP_ROWS && !swept.is_all() {
        let (name, statement) = &SWEEPS[usize::try_from(swept.tables).unwrap_or(0)];
        let blocks = blocks(catalog::table(name)?);
        let end = (swept.blocks + SWEEP_STEP).min(blocks);
        if swept.blocks < end {
            let arguments = [place(swept.blocks), place(end), pg_sys::Datum::from(epoch)].map(Some);
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

/// The first place of a block, as a `tid`.
fn place(block: i64) -> pg_sys::Datum {
    let block = u32::try_from(block).unwrap_or(u32::MAX);
    // SAFETY: memory of this turn, filled whole.
    unsafe {
        let place = pg_sys::palloc0(size_of::<pg_sys::ItemPointerData>()).cast::<pg_sys::ItemPointerData>();
        (*place).ip_blkid.bi_hi = (block >> 16) as u16;
        (*place).ip_blkid.bi_lo = block as u16;
        pg_sys::Datum::from(place)
    }
}

fn blocks(table: pg_sys::Oid) -> i64 {
    // SAFETY: the table exists and is open while it is measured.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        i64::from(blocks)
    }
}
