//! The salts of the days, from which the ids of visitors without a cookie are made.
//!
//! Invariant: a salt is the same for everybody, and 48 hours after its day began nobody can make an id of that day again.
//!
//! Whoever comes first on a UTC day makes its salt, for good (`heap_table/lasting.rs`): the first view of the day may be rolled
//! back, and others have used the salt by then. That one also overwrites older salts with zeros where they are, in memory and on
//! the disk, and deletes their rows. Only the salts of today and of yesterday are needed; yesterday's for visits that go on over midnight.
//!
//! The table is UNLOGGED: no log, archive, standby or base backup has a salt. A crash empties it, and visitors of that day get
//! new ids once. No process keeps a salt between two calls.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::datum::{self, Column};
use crate::pg::heap_table::{KeyValue, Table};
use crate::pg::hmac;
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::{catalog, snapshot};
use crate::record::arguments::today;
use crate::record::tables::SALTS;

const DAY: Column = 1;
const SALT: Column = 2;

/// The key of the lock of the salts.
const LOCK: u32 = 1;

/// What makes the ids of a day.
pub type Salt = [u8; 16];

/// What stands in place of a salt that is gone.
const GONE: Salt = [0; 16];

/// The salt of today, and which day that is.
pub fn current() -> Result<(i32, Salt), ErrorReport> {
    let mut table = open()?;
    let day = today();
    let salt = match read(&mut table, day) {
        Some(salt) => salt,
        None => {
            let lock = lock()?;
            lock.acquire(Mode::Exclusive);
            let salt = match read(&mut table, day) {
                Some(salt) => salt,
                None => {
                    let salt = make(&mut table, day)?;
                    erase_before(&mut table, day - 1)?;
                    salt
                }
            };
            lock.release();
            salt
        }
    };
    table.close();
    Ok((day, salt))
}

/// The salt of a day, if it is there.
pub fn of_day(day: i32) -> Result<Option<Salt>, ErrorReport> {
    let mut table = open()?;
    let salt = read(&mut table, day);
    table.close();
    Ok(salt)
}

thread_local! {
    /// The day on which this process last erased salts.
    static ERASED_ON: Cell<Option<i32>> = const { Cell::new(None) };
}

/// As `erase_old`, once a day in a process. For sites whose visitors all have a session, so that nobody makes a salt any more.
pub fn erase_old_if_due() -> Result<(), ErrorReport> {
    let day = Some(today());
    if ERASED_ON.get() != day {
        erase_old()?;
        ERASED_ON.set(day);
    }
    Ok(())
}

/// Erases the salts that nobody needs any more.
pub fn erase_old() -> Result<(), ErrorReport> {
    if catalog::table(SALTS.name).is_err() {
        return Ok(()); // version 0.2.0 has no salts
    }
    let mut table = open()?;
    let oldest = today() - 1;
    if has_before(&mut table, oldest) {
        let lock = lock()?;
        lock.acquire(Mode::Exclusive);
        erase_before(&mut table, oldest)?;
        lock.release();
    }
    table.close();
    Ok(())
}

fn open() -> Result<Table, ErrorReport> {
    let table = Table::open(&SALTS)?;
    if table.is_written_directly() { Ok(table) } else { Err(error::not_overwritable(SALTS.name)) }
}

fn lock() -> Result<Lock, ErrorReport> {
    Ok(Lock::new(Class::Lasting, catalog::page_views()?, LOCK))
}

/// The salt of a day, which is the current row then.
fn read(table: &mut Table, day: i32) -> Option<Salt> {
    find(table, day).then(|| current_salt(table)).filter(|salt| *salt != GONE)
}

fn find(table: &mut Table, day: i32) -> bool {
    snapshot::with_latest(|snapshot| table.find_in(&[KeyValue::Day(day)], snapshot))
}

fn current_salt(table: &Table) -> Salt {
    // A `bytea` is stored as a `text` is.
    table.text(SALT).try_into().unwrap_or(GONE)
}

/// Makes the salt of a day. The lock must be held.
fn make(table: &mut Table, day: i32) -> Result<Salt, ErrorReport> {
    let salt = hmac::random()?;
    // The row is there without its salt if the clock went back by days.
    if find(table, day) {
        table.overwrite(&row(day, &salt))?;
    } else if !table.insert_for_good(&row(day, &salt))? {
        return Err(error::row_is_held(SALTS.name));
    }
    Ok(salt)
}

/// Whether there is a row before a day.
fn has_before(table: &mut Table, day: i32) -> bool {
    (0..table.length())
        .any(|block| table.tids_in(block).any(|tid| table.is_row_at(tid) && table.integer(DAY) < day))
}

/// Overwrites the salts before a day, also on the disk, and deletes their rows. The lock must be held.
fn erase_before(table: &mut Table, day: i32) -> Result<(), ErrorReport> {
    let mut is_any_overwritten = false;
    for block in 0..table.length() {
        for tid in table.tids_in(block) {
            if !table.is_row_at(tid) || table.integer(DAY) >= day {
                continue;
            }
            if current_salt(table) != GONE {
                table.overwrite(&row(table.integer(DAY), &GONE))?;
                is_any_overwritten = true;
            }
            // If this is rolled back, a row without its salt is left for the next time.
            table.delete()?;
        }
    }
    if is_any_overwritten {
        table.write_out();
    }
    Ok(())
}

fn row(day: i32, salt: &Salt) -> [Option<pg_sys::Datum>; 2] {
    [Some(day.into()), Some(datum::text(salt))]
}
