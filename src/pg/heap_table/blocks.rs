//! The blocks of a table: how many there are, which rows they hold, and which have room for more.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::Table;
use crate::pg::tid::Tid;

impl Table {
    /// How many blocks the table has.
    pub fn length(&mut self) -> u32 {
        // SAFETY: the relation is open.
        self.blocks = unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        };
        self.blocks
    }

    /// The places of a block that a row may be at.
    pub fn tids_in(&self, block: u32) -> impl Iterator<Item = Tid> + use<> {
        let last = self.look_at(block, |page| {
            // SAFETY: the page is locked.
            unsafe { pg_sys::PageGetMaxOffsetNumber(page) }
        });
        (1..=last).map(move |number| Tid(block, number))
    }

    /// Looks for a block before `end` that takes the current row: the one that took the last one, as long as it has room, or
    /// else the first one behind it that has no row.
    pub fn block_with_room_before(&self, end: u32, last: Option<u32>) -> Option<u32> {
        if last.is_some_and(|block| block < end && self.look_at(block, |page| self.has_room_in(page))) {
            return last;
        }
        (last.map_or(0, |block| block + 1)..end).find(|block| {
            pgrx::check_for_interrupts!();
            self.look_at(*block, has_no_row)
        })
    }

    /// Whether a page has room for another row like the current one, beside what the fillfactor keeps for new versions.
    fn has_room_in(&self, page: pg_sys::Page) -> bool {
        // SAFETY: a row was found; the page is locked; the relation is open, and a table's options are of this type.
        unsafe {
            let options = (*self.relation).rd_options.cast::<pg_sys::StdRdOptions>().as_ref();
            let filled = options.map_or(pg_sys::HEAP_DEFAULT_FILLFACTOR as i32, |options| options.fillfactor);
            let kept = pg_sys::BLCKSZ as usize * usize::try_from(100 - filled).unwrap_or(0) / 100;
            let length = usize::try_from((*self.tuple()).t_len).unwrap_or(usize::MAX);
            pg_sys::PageGetHeapFreeSpace(page) >= length.next_multiple_of(size_of::<u64>()) + kept
        }
    }

    /// Shows a page of the table, pruned if that is due.
    pub(super) fn look_at<R>(&self, block: u32, look: impl FnOnce(pg_sys::Page) -> R) -> R {
        // SAFETY: the relation is open; the caller names a block that it has. The page is locked while it is shown.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, block);
            pg_sys::heap_page_prune_opt(self.relation, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let seen = look(pg_sys::BufferGetPage(buffer));
            pg_sys::UnlockReleaseBuffer(buffer);
            seen
        }
    }

    /// Moves the row found into a block that has room for it. False if it is not there afterwards: somebody else has changed the
    /// row first, and it is where it was, or has taken the room, and it is elsewhere.
    pub fn move_to(&mut self, block: u32) -> Result<bool, ErrorReport> {
        // SAFETY: a row was found, and its copy is of this table. The file's entry is there or the pointer is null; it says where a
        // new row is to be put first.
        unsafe {
            let copy = pg_sys::heap_copytuple(self.tuple());
            if !self.delete()? {
                return Ok(false);
            }
            if let Some(file) = (*self.relation).rd_smgr.as_mut() {
                file.smgr_targblock = block;
            }
            Ok(self.put(copy).0 == block)
        }
    }
}

/// Whether a page has no row, of whatever age.
fn has_no_row(page: pg_sys::Page) -> bool {
    // SAFETY: the page is one of a heap, and locked.
    unsafe {
        let mut numbers = 1..=pg_sys::PageGetMaxOffsetNumber(page);
        numbers.all(|number| {
            let flags = (*pg_sys::PageGetItemId(page, number)).lp_flags();
            flags == pg_sys::LP_UNUSED || flags == pg_sys::LP_DEAD
        })
    }
}
