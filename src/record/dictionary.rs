//! The dictionaries `origins` and `clients`: the id of a combination of values, which is added if it is new.
//!
//! Invariant: all processes give a combination the same id, at once and whatever becomes of their transactions. The row of a new
//! one is written for good (`heap_table/lasting.rs` says why that is right), and one process at a time looks for it and adds it.
//! So nobody waits for a transaction of another process, and no view has an id without a row.
//!
//! The owner may insert rows, also such as are there already: the lowest id is given. The owner may change and delete rows: a
//! trigger announces it, and each process forgets the ids that it remembers. If the owner has added a trigger for INSERT, a
//! constraint or a rule, a statement in the caller's transaction inserts new rows; two processes may then add the same one.
//!
//! Bound: what the views of a site may add in a day (`growth.rs`). Beyond it, the origin of a view is the one whose every value
//! but its channel is `(other)`; and a client loses its language, the one value of it that a visitor makes up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use site_stats_parsers::{Client, Origin};

use crate::count::tally::SiteId;
use crate::pg::heap_table::definition::Definition;
use crate::pg::heap_table::{KeyValue, Table};
use crate::pg::locks::{Class, Lock, Mode};
use crate::pg::spi::{self, Rows, SnapshotKind, Statement};
use crate::pg::{catalog, datum, fmgr, row_hash, snapshot, transaction};
use crate::record::arguments::today;
use crate::record::growth::{Counted, Growth};
use crate::record::tables;
use crate::{error, settings};

/// What stands in an origin for values that it may not have.
const OTHER: &str = "(other)";

/// Clients that the views of a site may add in a UTC day. There are some hundreds of combinations of browser, system and device,
/// times the countries; languages have many ways of writing. Chosen, not measured.
const MAX_NEW_CLIENTS_PER_DAY: i32 = 5_000;

/// Ids that a process remembers of each dictionary, in about 200 bytes each. Chosen, not measured.
const IDS_KEPT: usize = 4096;

/// The key of the lock of both dictionaries.
const LOCK: u32 = 0;

/// A dictionary.
struct Dictionary {
    definition: &'static Definition,
    counted: Counted,
    /// The index on the hash of the values.
    index: &'static CStr,
    /// Takes the values, and returns the ids of the rows that have them. For a table without its index.
    find: Statement,
    /// Takes the values, and returns the id of the new row.
    insert: Statement,
}

/// Defines a dictionary by the columns of its values and their parameters.
macro_rules! dictionary {
    ($symbol:ident: $name:literal, $index:literal, $counted:ident, $($column:literal $parameter:literal),*) => {
        static $symbol: Dictionary = Dictionary {
            definition: &tables::$symbol,
            counted: Counted::$counted,
            index: $index,
            find: Statement::new(
                dictionary!(@find $name, $($column $parameter),*),
                &[$(dictionary!(@type $column)),*],
            ),
            insert: Statement::new(
                dictionary!(@insert $name, $($column $parameter),*),
                &[$(dictionary!(@type $column)),*],
            ),
        };
    };
    (@type $column:literal) => { pg_sys::TEXTOID };
    (@find $name:literal, $first:literal $first_parameter:literal $(, $column:literal $parameter:literal)*) => {
        concat!(
            "SELECT d.id
              FROM site_stats.", $name, " AS d
              WHERE ROW (d.", $first, $(", d.", $column,)* ")
                  IS NOT DISTINCT FROM ROW (", $first_parameter, $(", ", $parameter,)* ")"
        )
    };
    (@insert $name:literal, $first:literal $first_parameter:literal $(, $column:literal $parameter:literal)*) => {
        concat!(
            "INSERT INTO site_stats.", $name, " (", $first, $(", ", $column,)* ")
              VALUES (", $first_parameter, $(", ", $parameter,)* ")
              RETURNING id"
        )
    };
}

dictionary!(ORIGINS: "origins", c"origins_values_idx", Origins,
    "source" "$1", "referrer" "$2", "medium" "$3", "campaign" "$4", "term" "$5", "content" "$6", "channel" "$7");

dictionary!(CLIENTS: "clients", c"clients_values_idx", Clients,
    "browser" "$1", "os" "$2", "device" "$3", "country" "$4", "language" "$5");

/// The id of an origin.
pub fn origin_id(site_id: SiteId, origin: &Origin) -> Result<i32, ErrorReport> {
    let channel = Some(origin.channel.name());
    let values = [
        origin.source.as_deref(),
        origin.referrer.as_deref(),
        origin.medium.as_deref(),
        origin.campaign.as_deref(),
        origin.term.as_deref(),
        origin.content.as_deref(),
    ];
    let of = |values: [Option<&str>; 6], limit| {
        let [source, referrer, medium, campaign, term, content] = values;
        ORIGINS.id_of(site_id, &[source, referrer, medium, campaign, term, content, channel], limit)
    };
    match of(values, settings::max_new_origins_per_day())? {
        Some(id) => Ok(id),
        None => of([Some(OTHER); 6], 0)?.ok_or_else(|| error::internal("adding an origin", 0)),
    }
}

/// The id of a client; `None` if nothing is known of it.
pub fn client_id(
    site_id: SiteId,
    client: Client,
    country: Option<&str>,
    language: Option<&str>,
) -> Result<Option<i32>, ErrorReport> {
    let values = |language| [client.browser, client.os, client.device, country, language];
    let is_known = |language| values(language).iter().any(Option::is_some);
    if !is_known(language) {
        return Ok(None);
    }
    match CLIENTS.id_of(site_id, &values(language), MAX_NEW_CLIENTS_PER_DAY)? {
        Some(id) => Ok(Some(id)),
        None if is_known(None) => CLIENTS.id_of(site_id, &values(None), 0),
        None => Ok(None),
    }
}

/// What a process remembers of a dictionary.
#[derive(Default)]
struct Known {
    /// The table.
    table: pg_sys::Oid,
    ids: HashMap<Box<[u8]>, i32>,
    /// The day on which a site had added as many values as it may, and how many these are.
    full: HashMap<SiteId, (i32, i32)>,
}

thread_local! {
    static KNOWN: RefCell<[Known; 2]> = RefCell::default();
}

/// Forgets the ids of a dictionary that has changed. For `catalog::watch`.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    KNOWN.with_borrow_mut(|known| {
        for known in known.iter_mut().filter(|known| is_changed(known.table)) {
            known.ids.clear();
        }
    });
}

impl Dictionary {
    /// The id of a combination of values. `None` if it is new, and the site has added as many on this day as the limit says;
    /// 0 is no limit.
    fn id_of(
        &self,
        site_id: SiteId,
        values: &[Option<&str>],
        limit: i32,
    ) -> Result<Option<i32>, ErrorReport> {
        // Whoever deletes a row that no view refers to first keeps writers of page views out, and then announces it. So this lock
        // comes before the look at what is remembered; the view that gets the id needs it all the same.
        transaction::lock_for_writing(catalog::page_views()?);
        let table = catalog::table(self.definition.name)?;
        let (key, day) = (key_of(values), today());
        let (known, is_full) = KNOWN.with_borrow(|known| {
            let known = &known[self.counted as usize];
            let is_full =
                known.full.get(&site_id).is_some_and(|(full_on, at)| *full_on == day && limit <= *at);
            let id = (known.table == table).then(|| known.ids.get(&*key).copied()).flatten();
            (id, is_full && limit > 0)
        });
        if known.is_some() {
            return Ok(known);
        }
        let changes = catalog::changes();
        let values: Vec<_> =
            values.iter().map(|value| value.map(datum::text_from_utf8_with_substitutes)).collect();
        // An altered table is found out here, and not by a statement that names a column.
        let mut open = Table::open(self.definition)?;
        let there = self.find(table, &values, false)?.filter(|id| is_there(&mut open, *id));
        let found = match there {
            Some(id) => Some((id, true)),
            None if is_full => None,
            None => self.add(&mut open, site_id, &values, (day, limit))?,
        };
        open.close();
        if let Some((id, true)) = found
            && catalog::changes() == changes
        {
            self.remember(table, |known| {
                known.ids.insert(key.into(), id);
            });
        }
        Ok(found.map(|(id, _)| id))
    }

    /// Adds a combination of values, unless another process does it first. Also returns whether it is there for good. `None` if
    /// the site may add no more.
    fn add(
        &self,
        table: &mut Table,
        site_id: SiteId,
        values: &[Option<pg_sys::Datum>],
        (day, limit): (i32, i32),
    ) -> Result<Option<(i32, bool)>, ErrorReport> {
        // What may have to wait comes before the lock: the locks of the tables, and of the sequence.
        let mut growth = Growth::open(site_id, day)?;
        let (oid, is_direct) = (table.oid(), table.is_written_directly());
        let id = if is_direct { free_id(table)? } else { pg_sys::Datum::from(0) };
        let lock = Lock::new(Class::Lasting, catalog::page_views()?, LOCK);
        lock.acquire(Mode::Exclusive);
        // The id; `None` in its place if a statement has yet to insert the row.
        let there = self.find(oid, values, !is_direct)?.filter(|id| is_there(table, *id));
        let outcome = if let Some(id) = there {
            Some(Some(id))
        } else if growth.read(self.counted) >= limit && limit > 0 {
            self.remember(oid, |known| {
                known.full.insert(site_id, (day, limit));
            });
            None
        } else {
            if is_direct {
                let row: Vec<_> = std::iter::once(Some(id)).chain(values.iter().copied()).collect();
                if !table.insert_for_good(&row)? {
                    return Err(error::row_is_held(self.definition.name));
                }
            }
            growth.add(self.counted)?;
            Some(is_direct.then_some(id.value() as i32))
        };
        lock.release();
        growth.close();
        match outcome {
            None => Ok(None),
            Some(Some(id)) => Ok(Some((id, is_direct))),
            Some(None) => {
                let id = self.insert_by_statement(oid, values)?;
                Ok(Some((id, false)))
            }
        }
    }

    /// The lowest id of the rows with these values, of those that are there for good: with `with_own`, also of those that this
    /// transaction has inserted.
    fn find(
        &self,
        table: pg_sys::Oid,
        values: &[Option<pg_sys::Datum>],
        with_own: bool,
    ) -> Result<Option<i32>, ErrorReport> {
        let index = catalog::table(self.index).ok();
        let find = |snapshot| {
            if let Some(index) = index {
                // SAFETY: the callers have opened the table, which has the columns of its definition, and keep it locked.
                let found = unsafe { row_hash::lowest_id(table, index, values, snapshot) }?;
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            self.find_by_statement(table, values, snapshot)
        };
        if with_own { snapshot::with_latest(find) } else { snapshot::without_own_changes(find) }
    }

    /// The same by a query: slower, and right whatever indexes there are.
    fn find_by_statement(
        &self,
        table: pg_sys::Oid,
        values: &[Option<pg_sys::Datum>],
        snapshot: pg_sys::Snapshot,
    ) -> Result<Option<i32>, ErrorReport> {
        spi::connect_as_owner(table, |connection| {
            let rows = self.find.read(connection, snapshot, values)?;
            Ok((0..rows.len()).map(|row| rows.integer(row, 1)).min())
        })
    }

    fn insert_by_statement(
        &self,
        table: pg_sys::Oid,
        values: &[Option<pg_sys::Datum>],
    ) -> Result<i32, ErrorReport> {
        transaction::fire_deferred_at_once();
        spi::connect_as_owner(table, |connection| {
            let id = |rows: Rows| rows.get(0, 1).map(|id| id.value() as i32);
            id(self.insert.run(connection, SnapshotKind::Current, values)?)
                .ok_or_else(|| error::refused_by_owner(self.definition.name))
        })
    }

    fn remember(&self, table: pg_sys::Oid, add: impl FnOnce(&mut Known)) {
        KNOWN.with_borrow_mut(|known| {
            let known = &mut known[self.counted as usize];
            if known.table != table || known.ids.len() >= IDS_KEPT || known.full.len() >= IDS_KEPT {
                *known = Known { table, ..Known::default() };
            }
            add(known);
        });
    }
}

/// Whether there is a row with this id that this transaction has not deleted, as `forget_session()` may have done.
fn is_there(table: &mut Table, id: i32) -> bool {
    snapshot::with_latest(|snapshot| table.find_in(&[KeyValue::Integer(id)], snapshot))
}

/// The next id that no row has. The owner may have inserted rows with ids of their own.
fn free_id(table: &mut Table) -> Result<pg_sys::Datum, ErrorReport> {
    loop {
        pgrx::check_for_interrupts!();
        let id = table.next_number(1)?;
        // A sequence gives a bigint; that of an `integer` column ends where these end.
        if !is_there(table, id.value() as i32) {
            return Ok(id);
        }
    }
}

/// The values in one text, each with its length.
fn key_of(values: &[Option<&str>]) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    for value in values {
        match value {
            None => key.push(0),
            Some(value) => {
                key.push(1);
                key.extend_from_slice(&value.len().to_ne_bytes());
                key.extend_from_slice(value.as_bytes());
            }
        }
    }
    key
}

fmgr::sql_function!(announce_dictionary_wrapper, pg_finfo_announce_dictionary_wrapper, announce);

/// Tells every process that rows of a dictionary have changed or are gone. The trigger of both.
fn announce(_call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    for dictionary in [&ORIGINS, &CLIENTS] {
        catalog::announce_change(catalog::table(dictionary.definition.name)?);
    }
    Ok(pg_sys::Datum::from(0))
}
