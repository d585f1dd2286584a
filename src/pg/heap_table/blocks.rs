//! The blocks of a table: their number, the rows in them, and the room for more.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::Table;
use crate::pg::tid::Tid;

impl Table {
    /// The number of blocks of the table.
    pub fn length(&mut self) -> u32 {
        // SAFETY: the relation is open from `open` to `close`.
        self.blocks = unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM)
        };
        self.blocks
    }

    /// The tids in a block at which a row can be.
    pub fn tids_in(&self, block: u32) -> impl Iterator<Item = Tid> + use<> {
        let last = self.look_at(block, |page| {
            // SAFETY: `look_at` passes a page of a heap, and keeps its buffer locked.
            unsafe { pg_sys::PageGetMaxOffsetNumber(page) }
        });
        (1..=last).map(move |number| Tid(block, number))
    }

    /// Finds a block before `end` with room for the current row. `last` is the block that took the row
    /// before: it is taken again while it has room. Otherwise it is the first block behind it without rows.
    pub fn block_with_room_before(&self, end: u32, last: Option<u32>) -> Option<u32> {
        if last.is_some_and(|block| block < end && self.look_at(block, |page| self.has_room_in(page))) {
            return last;
        }
        (last.map_or(0, |block| block + 1)..end).find(|block| {
            pgrx::check_for_interrupts!();
            self.look_at(*block, has_no_row)
        })
    }

    /// Whether a block has room for another row like the current one, beside the room that the fillfactor
    /// keeps.
    fn has_room_in(&self, page: pg_sys::Page) -> bool {
        // SAFETY: the slot holds the current row, and the buffer of the page is locked. The relation is open,
        // and the options of a table are `StdRdOptions`.
        unsafe {
            let options = (*self.relation).rd_options.cast::<pg_sys::StdRdOptions>().as_ref();
            let filled = options.map_or(pg_sys::HEAP_DEFAULT_FILLFACTOR as i32, |options| options.fillfactor);
            let kept = pg_sys::BLCKSZ as usize * usize::try_from(100 - filled).unwrap_or(0) / 100;
            let length = usize::try_from((*self.tuple()).t_len).unwrap_or(usize::MAX);
            pg_sys::PageGetHeapFreeSpace(page) >= length.next_multiple_of(size_of::<u64>()) + kept
        }
    }

    /// Calls `look` with the content of a block, after pruning it if that is due.
    pub(super) fn look_at<R>(&self, block: u32, look: impl FnOnce(pg_sys::Page) -> R) -> R {
        // SAFETY: the relation is open, and the callers name a block that it has. The buffer is locked while
        // `look` runs.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, block);
            pg_sys::heap_page_prune_opt(self.relation, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let seen = look(pg_sys::BufferGetPage(buffer));
            pg_sys::UnlockReleaseBuffer(buffer);
            seen
        }
    }

    /// Moves the current row into a block that has room for it. False if the row is not in that block
    /// afterwards. Either another transaction changed the row first, and it has not moved; or another row
    /// took the room.
    pub fn move_to(&mut self, block: u32) -> Result<bool, ErrorReport> {
        // SAFETY: the slot holds the current row, and the copy is a tuple of this table. `rd_smgr` is null or
        // points to the relation's entry, whose target block is where the next insertion looks first.
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

/// Whether a block has no tuple, of whatever age. Dead line pointers do not count.
fn has_no_row(page: pg_sys::Page) -> bool {
    // SAFETY: the callers pass a page of a heap whose buffer is locked.
    unsafe {
        let mut numbers = 1..=pg_sys::PageGetMaxOffsetNumber(page);
        numbers.all(|number| {
            let flags = (*pg_sys::PageGetItemId(page, number)).lp_flags();
            flags == pg_sys::LP_UNUSED || flags == pg_sys::LP_DEAD
        })
    }
}
