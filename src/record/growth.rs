//! How many values the views of each site have added to the dictionaries on the current UTC day.
//!
//! An attacker who sends a new campaign with every view must not fill a dictionary. So a site adds at most so many values in a
//! day. The count is one row for each site, written in place (`heap_table/lasting.rs`): it lasts whatever becomes of the
//! transaction, as the values do. Only the holder of the lock of the dictionaries reads or writes it. A crash between a value
//! and its count, or an error, leaves the count one too low.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::tally::SiteId;
use crate::error;
use crate::pg::datum::Column;
use crate::pg::heap_table::{KeyValue, Table};
use crate::pg::snapshot;
use crate::record::tables::DICTIONARY_GROWTH;

const DAY: Column = 2;
const NEW_ORIGINS: Column = 3;
const NEW_CLIENTS: Column = 4;

/// A dictionary, by its place among the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Origins,
    Clients,
}

/// The count of a site on a day.
pub struct Growth {
    table: Table,
    site_id: SiteId,
    day: i32,
    is_there: bool,
    counts: [i32; 2],
}

impl Growth {
    /// Opens the table, which may have to wait for a lock.
    pub fn open(site_id: SiteId, day: i32) -> Result<Self, ErrorReport> {
        let table = Table::open(&DICTIONARY_GROWTH)?;
        if !table.is_written_directly() {
            return Err(error::not_overwritable(DICTIONARY_GROWTH.name));
        }
        Ok(Growth { table, site_id, day, is_there: false, counts: [0; 2] })
    }

    /// How many values were added to a dictionary.
    pub fn read(&mut self, counted: Counted) -> i32 {
        let (table, key) = (&mut self.table, [KeyValue::Smallint(self.site_id)]);
        self.is_there = snapshot::with_latest(|snapshot| table.find_in(&key, snapshot));
        if self.is_there && table.integer(DAY) == self.day {
            self.counts = [table.integer(NEW_ORIGINS), table.integer(NEW_CLIENTS)];
        }
        self.counts[counted as usize]
    }

    /// Counts one more value, after `read`.
    pub fn add(&mut self, counted: Counted) -> Result<(), ErrorReport> {
        self.counts[counted as usize] += 1;
        let [origins, clients] = self.counts.map(pg_sys::Datum::from);
        let row = [self.site_id.into(), self.day.into(), origins, clients].map(Some);
        if self.is_there {
            return self.table.overwrite(&row);
        }
        if self.table.insert_for_good(&row)? {
            Ok(())
        } else {
            Err(error::row_is_held(DICTIONARY_GROWTH.name))
        }
    }

    pub fn close(self) {
        self.table.close();
    }
}
