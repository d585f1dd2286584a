//! Counter slots: the part of each counter that a transaction writes.
//!
//! Without them, the writers of a hot counter row would wait for each other until they commit. So each
//! counter is split into counter slots. A transaction borrows the first free one until it ends.
//!
//! Invariant: the borrower is the only transaction that counts in the slot's rows, so counters neither wait
//! nor deadlock. If all `site_stats.counter_slots` are taken, the transaction opens a further slot and does
//! not wait. There are never more slots than transactions that can write at once.

use std::cell::Cell;

use pgrx::pg_sys;

use crate::pg::locks::{Class, Lock, Mode};
use crate::settings;

/// After so many transactions a process looks for a free slot from 0 again. So a burst of writers does not
/// spread the counters for good.
///
/// Few such searches are better. A process must find the rows of a new slot by the index, and so must the
/// process that used that slot. With 16 clients, the counters of paths took 4 of the 107 microseconds of a
/// page view with 64 here, and take 2 with 1024.
const SETTLE: u32 = 1024;

thread_local! {
    /// The slot borrowed last, where the next search starts.
    static LAST: Cell<u32> = const { Cell::new(0) };
    static BORROWED: Cell<u32> = const { Cell::new(0) };
}

/// Borrows a slot until the transaction or subtransaction ends. Only the starting point of the search is
/// remembered. Whether the slot is still held, the lock itself says, also after a rollback to a savepoint.
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
        // From the first one to the last shared slot, then from 0 to the first one, then beyond.
        slot += 1;
        if slot == shared && first > 0 {
            slot = 0;
        } else if slot == first {
            slot = shared;
        }
    }
}

/// Borrows this slot if it is free.
pub fn try_borrow(page_views: pg_sys::Oid, slot: i32) -> bool {
    lock(page_views, slot.unsigned_abs()).try_acquire(Mode::Exclusive)
}

fn lock(page_views: pg_sys::Oid, slot: u32) -> Lock {
    Lock::new(Class::Slot, page_views, slot)
}

fn slot_number(slot: u32) -> i32 {
    // Slots are as many as concurrent transactions, far below `i32::MAX`.
    i32::try_from(slot).unwrap_or(i32::MAX)
}
