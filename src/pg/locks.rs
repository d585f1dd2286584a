//! Locks that no user can take: advisory locks of classes of our own (`objsubid` in `pg_locks`), where the two that
//! SQL offers are 1 and 2. All but one last to the end of the transaction and are let go by a rollback to a savepoint.
//!
//! Everybody takes locks in one order: `page_views`, gate, state row, slot, aggregates.

use std::ffi::c_int;

use pgrx::pg_sys;

use crate::pg::version;

/// What a lock protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Class {
    /// Which views are counted. Exclusive: a batch, the beginning of a backfill, a TRUNCATE. Shared: a writer of views
    /// in `(cursor, target]`.
    Gate = 0x5301,
    /// One run at a time: held by the process that runs a backfill, for as long as it does. The view
    /// `backfill_progress` names its holder by this number, 21250.
    Run = 0x5302,
    /// A request to start or stop a backfill that is not committed yet.
    Request = 0x5303,
    /// The rows of one slot; the key is the slot.
    Slot = 0x5304,
    /// `record_page_view()` for one session; the key is a hash of its id.
    Session = 0x5305,
    /// One maintenance at a time: held by the process that does it, until it exits.
    Maintenance = 0x5306,
}

/// Who else may hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Shared,
    Exclusive,
}

impl Mode {
    fn number(self) -> c_int {
        // Lock modes are small constants; bindgen types them as unsigned.
        (match self {
            Mode::Shared => pg_sys::ShareLock,
            Mode::Exclusive => pg_sys::ExclusiveLock,
        }) as c_int
    }
}

/// A lock of one of the classes.
#[derive(Clone, Copy)]
pub struct Lock(pg_sys::LOCKTAG);

impl Lock {
    /// The lock of a class for our table; `page_views` names it, so that an extension made anew has new locks.
    pub fn new(class: Class, page_views: pg_sys::Oid, key: u32) -> Self {
        Self::with_fields(class, page_views.to_u32(), key)
    }

    /// The lock of a session; two sessions of one hash share it, which costs time and nothing else.
    pub fn of_session(hash: u64) -> Self {
        Self::with_fields(Class::Session, (hash >> 32) as u32, hash as u32)
    }

    fn with_fields(class: Class, field2: u32, field3: u32) -> Self {
        Lock(pg_sys::LOCKTAG {
            // SAFETY: a plain number of this process.
            locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
            locktag_field2: field2,
            locktag_field3: field3,
            locktag_field4: class as u16,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        })
    }

    /// Takes the lock until the transaction ends; waits, at most for `lock_timeout`.
    pub fn acquire(&self, mode: Mode) {
        // SAFETY: the tag is whole; a transaction is open, as always when this code runs.
        unsafe { pg_sys::LockAcquire(&self.0, mode.number(), false, false) };
    }

    /// Takes the lock until the transaction ends if it is free, or held by this transaction already.
    pub fn try_acquire(&self, mode: Mode) -> bool {
        // SAFETY: as above.
        let result = unsafe { pg_sys::LockAcquire(&self.0, mode.number(), false, true) };
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }

    /// Takes the lock for as long as the process lives, or until `release_from_process`, if it is free.
    pub fn try_acquire_for_process(&self) -> bool {
        // SAFETY: as above.
        let result = unsafe { pg_sys::LockAcquire(&self.0, Mode::Exclusive.number(), true, true) };
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }

    /// Lets go of a lock taken with `try_acquire_for_process`.
    pub fn release_from_process(&self) {
        // SAFETY: as above; letting go of a lock that is not held is a warning.
        unsafe { pg_sys::LockRelease(&self.0, Mode::Exclusive.number(), true) };
    }

    /// Whether nobody holds the lock exclusively. Holds nothing afterwards.
    pub fn is_free(&self) -> bool {
        let free = self.try_acquire(Mode::Shared);
        if free {
            // SAFETY: just taken by this transaction in this mode.
            unsafe { pg_sys::LockRelease(&self.0, Mode::Shared.number(), false) };
        }
        free
    }

    /// Whether this transaction, or this process, holds the lock exclusively.
    pub fn is_held(&self) -> bool {
        // SAFETY: the tag is whole.
        unsafe { version::holds_lock(&self.0, Mode::Exclusive.number()) }
    }
}
