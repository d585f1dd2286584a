//! Which part of each counter a transaction may write.
//!
//! A hot counter row makes its writers wait for each other until they commit. So each counter is split over slots and
//! a transaction borrows one, the first free one, until it ends: it is then the only writer of that slot's rows, and
//! counters neither wait nor deadlock. When all of `site_stats.counter_slots` are taken, further slots are opened rather
//! than waited for; there are never more than transactions that can write at once.

use std::cell::Cell;

use pgrx::pg_sys;

use crate::pg::locks::{Class, Lock, Mode};
use crate::settings;

/// Transactions after which a process looks for a free slot from 0 again, so that a burst does not spread the
/// counters for good. Many, because whoever comes to a slot first has to find its rows; and because the slot that it takes was
/// another one's, who goes on to the next.
const SETTLE: u32 = 1024;

thread_local! {
    /// Where the search starts: the slot borrowed last.
    static LAST: Cell<u32> = const { Cell::new(0) };
    static BORROWED: Cell<u32> = const { Cell::new(0) };
}

/// Borrows a slot until the transaction, or the subtransaction, ends. Nothing of it is remembered but where to look
/// first: the lock itself says whether it is held, after a rollback to a savepoint too.
pub fn borrow(page_views: pg_sys::Oid) -> i32 {
    let last = LAST.get();
    if lock(page_views, last).is_held() {
        return slot_number(last);
    }
    let borrowed = BORROWED.get().wrapping_add(1);
    BORROWED.set(borrowed);

    let shared = settings::counter_slots().unsigned_abs();
    let first = if last >= shared || borrowed.is_multiple_of(SETTLE) { 0 } else { last };
    let mut slot = first;
    loop {
        if lock(page_views, slot).try_acquire(Mode::Exclusive) {
            LAST.set(slot);
            return slot_number(slot);
        }
        // From the first to the end of the shared slots, from 0 to the first, then beyond.
        slot += 1;
        if slot == shared && first > 0 {
            slot = 0;
        } else if slot == first {
            slot = shared;
        }
    }
}

/// Borrows this very slot if it is free.
pub fn try_borrow(page_views: pg_sys::Oid, slot: i32) -> bool {
    lock(page_views, slot.unsigned_abs()).try_acquire(Mode::Exclusive)
}

fn lock(page_views: pg_sys::Oid, slot: u32) -> Lock {
    Lock::new(Class::Slot, page_views, slot)
}

fn slot_number(slot: u32) -> i32 {
    // Bounded by the number of transactions, far below.
    i32::try_from(slot).unwrap_or(i32::MAX)
}
