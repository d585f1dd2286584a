//! Locks of site_stats, which no user can take: advisory locks with values of `objsubid` that SQL cannot use.
//! The advisory locks of SQL have 1 and 2 there.
//!
//! Locks of `Run` and `Maintenance` can be held by a process, beyond its transactions. All others end with
//! the transaction, and a rollback to a savepoint releases those taken since.
//!
//! All code takes locks in one order: session or forget, `page_views`, gate, rows of `sessions`, counters. A counter
//! slot is never waited for. A step of a backfill writes the state row last; a TRUNCATE writes it with
//! `page_views` locked.

use std::ffi::c_int;

use pgrx::pg_sys;

use crate::pg::version;

/// Locks that all sessions of all sites share: fewer than the lock table has room for with default settings.
const SESSION_LOCKS: u64 = 1024;

/// What a lock protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Class {
    /// The cursor: which page views are counted.
    ///
    /// Exclusive: a batch, the beginning of a backfill, a TRUNCATE. Shared, during a backfill: a writer of
    /// page views with ids up to the target, or one that takes page views away.
    Gate = 0x5301,
    /// One run of a backfill at a time. A process holds it while it runs a backfill, a transaction while it
    /// does a step. The SQL view `backfill_progress` finds the holder by this number, 21250.
    Run = 0x5302,
    /// A request to start or stop a backfill that is not committed yet.
    Request = 0x5303,
    /// The rows of one counter slot; the key is the number of the slot.
    Slot = 0x5304,
    /// `record_page_view()` for one session; the key is a hash of the session's id.
    Session = 0x5305,
    /// One maintenance at a time: a maintenance worker holds it until it exits.
    Maintenance = 0x5306,
    /// `forget_session()`: one at a time, to the end of its transaction.
    Forget = 0x5307,
    /// The spans: one process writes them at a time, to the end of its transaction. Before rows of `span_state` and `spans`.
    Spans = 0x5309,
    /// One lasting write at a time (`heap_table/lasting.rs`); the key says of what. Released right after the write, and with
    /// nothing waited for in between. So it comes after all other locks.
    Lasting = 0x5308,
}

/// Whether other processes may hold the lock, too.
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
    /// The lock of a class. Its tag has the oid of `page_views`, so a new installation of the extension has
    /// new locks.
    pub fn new(class: Class, page_views: pg_sys::Oid, key: u32) -> Self {
        Self::with_fields(class, page_views.to_u32(), key)
    }

    /// The lock of a session, for the time of one call. Sessions share a bounded number of locks, so one call can wait for
    /// another, needlessly. But a transaction that records for a million sessions without the index by session, and so has to
    /// keep them, does not fill the lock table of the server.
    pub fn of_session(hash: u64) -> Self {
        Self::with_fields(Class::Session, 0, (hash % SESSION_LOCKS) as u32)
    }

    fn with_fields(class: Class, field2: u32, field3: u32) -> Self {
        Lock(pg_sys::LOCKTAG {
            // SAFETY: a global integer, set when the process connects to its database.
            locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
            locktag_field2: field2,
            locktag_field3: field3,
            locktag_field4: class as u16,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        })
    }

    /// Takes the lock until the transaction ends; waits at most for `lock_timeout`.
    pub fn acquire(&self, mode: Mode) {
        // SAFETY: `with_fields` has set the whole tag. The callers run in a transaction, whose resource owner
        // gets the lock.
        unsafe { pg_sys::LockAcquire(&self.0, mode.number(), false, false) };
    }

    /// Takes the lock until the transaction ends, if it is free or this transaction holds it. False
    /// otherwise.
    pub fn try_acquire(&self, mode: Mode) -> bool {
        // SAFETY: `with_fields` has set the whole tag. The callers run in a transaction, whose resource owner
        // gets the lock.
        let result = unsafe { pg_sys::LockAcquire(&self.0, mode.number(), false, true) };
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }

    /// Releases an exclusive lock taken with `acquire` before the transaction ends.
    pub fn release(&self) {
        // SAFETY: `with_fields` has set the whole tag. To release a lock that is not held is only a warning.
        unsafe { pg_sys::LockRelease(&self.0, Mode::Exclusive.number(), false) };
    }

    /// Takes the lock, if it is free, until `release_from_process` or the end of the process.
    pub fn try_acquire_for_process(&self) -> bool {
        // SAFETY: `with_fields` has set the whole tag. A session lock needs no resource owner.
        let result = unsafe { pg_sys::LockAcquire(&self.0, Mode::Exclusive.number(), true, true) };
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }

    /// Releases a lock taken with `try_acquire_for_process`.
    pub fn release_from_process(&self) {
        // SAFETY: `with_fields` has set the whole tag. To release a lock that is not held is only a warning.
        unsafe { pg_sys::LockRelease(&self.0, Mode::Exclusive.number(), true) };
    }

    /// Whether no other process holds the lock exclusively. The call leaves no lock behind.
    pub fn is_free(&self) -> bool {
        let free = self.try_acquire(Mode::Shared);
        if free {
            // SAFETY: `try_acquire` has just taken the lock in this mode.
            unsafe { pg_sys::LockRelease(&self.0, Mode::Shared.number(), false) };
        }
        free
    }

    /// Whether this process holds the lock exclusively, itself or by its transaction.
    pub fn is_held(&self) -> bool {
        // SAFETY: `with_fields` has set the whole tag.
        unsafe { version::holds_lock(&self.0, Mode::Exclusive.number()) }
    }
}
