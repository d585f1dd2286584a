//! A page view as a row of `page_views`, and the scans of `page_views` without a plan.
//!
//! The owner may alter `page_views`: add columns, drop one and add it again, allow NULL, change a type, drop an index. So the
//! layout of the table is looked up once after each change that the server announces. A row is read only after a look at its
//! header: a value is not NULL because it is there, not because a constraint says so.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::list::List;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{memcx, pg_sys};

pub use site_stats_tally::{PageView, SiteId};

use crate::error;
use crate::pg::datum::{self, Columns};
use crate::pg::spi::{self, Statement};
use crate::pg::{catalog, indexes, scan, version};

/// The names of the columns, and the types that each may have.
const COLUMNS: [(&str, &[pg_sys::Oid]); 5] = [
    ("id", &[pg_sys::INT8OID]),
    ("path", &[pg_sys::TEXTOID, pg_sys::VARCHAROID]),
    ("page_type", &[pg_sys::TEXTOID, pg_sys::VARCHAROID]),
    ("session_id", &[pg_sys::TEXTOID, pg_sys::VARCHAROID]),
    ("viewed_at", &[pg_sys::TIMESTAMPTZOID]),
];
/// The column that says the site. Page views of version 0.2.0 lack it, and are of the first site.
const SITE_ID: &str = "site_id";
/// The site of page views that name none.
pub const FIRST_SITE: SiteId = 1;
const ID: usize = 0;
const PAGE_TYPE: usize = 2;
const SESSION_ID: usize = 3;
const VIEWED_AT: usize = 4;

/// A row with NULL where a page view has a value.
pub struct Gap<'r> {
    /// The first such column.
    pub column: &'static str,
    /// `None` if that is NULL.
    pub id: Option<i64>,
    /// The page view with an empty page type, if nothing else is NULL: a column that was dropped and added again is NULL in
    /// rows that were counted.
    pub untyped: Option<PageView<'r>>,
}

/// Where the columns of a page view are in the rows of `page_views`, and which indexes lead to it.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Positions in a row, from 0, in the order of `COLUMNS`.
    positions: [usize; COLUMNS.len()],
    /// The position of the site; `None` if there is no such column.
    site: Option<usize>,
    /// The site of rows that are older than the column.
    older_site: Option<SiteId>,
    /// The index of a primary key that begins with the id.
    by_id: Option<pg_sys::Oid>,
    /// A btree over all rows that begins with session and time.
    pub by_session: Option<pg_sys::Oid>,
}

thread_local! {
    static LAYOUT: Cell<Option<(pg_sys::Oid, Layout)>> = const { Cell::new(None) };
}

/// Forgets the layout if `page_views` has changed. For `catalog::watch`.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    if LAYOUT.get().is_some_and(|(page_views, _)| is_changed(page_views)) {
        LAYOUT.set(None);
    }
}

impl Layout {
    /// The layout of `page_views`.
    ///
    /// # Errors
    /// 42703 if a column is missing, 42804 if it has a type that cannot be counted.
    ///
    /// # Safety
    /// The relation must be `page_views`, open and locked.
    pub unsafe fn of(relation: pg_sys::Relation) -> Result<Self, ErrorReport> {
        // SAFETY: the caller guarantees an open relation.
        let page_views = unsafe { (*relation).rd_id };
        if let Some((known, layout)) = LAYOUT.get()
            && known == page_views
        {
            return Ok(layout);
        }
        let changes = catalog::changes();
        // SAFETY: the relation is open and locked.
        let layout = unsafe {
            let mut positions = [0; COLUMNS.len()];
            for (position, (name, types)) in positions.iter_mut().zip(COLUMNS) {
                *position = find_column(relation, name, types)?;
            }
            let site = match find_column(relation, SITE_ID, &[pg_sys::INT2OID]) {
                Ok(position) => Some(position),
                Err(_) if catalog::table(c"sites").is_err() => None,
                Err(report) => return Err(report),
            };
            let older_site = site.map_or(Some(FIRST_SITE), |position| older_value(relation, position));
            let key = version::primary_key(relation);
            let by_id = index_on(relation, &positions[ID..=ID], |index| index == key);
            let by_session = index_on(relation, &[positions[SESSION_ID], positions[VIEWED_AT]], |_| true);
            Layout { positions, site, older_site, by_id, by_session }
        };
        // An index that is too young becomes good without an announcement.
        // SAFETY: the relation is open and locked.
        if catalog::changes() == changes && !unsafe { has_young_index(relation) } {
            LAYOUT.set(Some((page_views, layout)));
        }
        Ok(layout)
    }

    /// Reads the page view in a row.
    ///
    /// # Errors
    /// What is there, if a column is NULL: such a row is no page view that can be counted.
    ///
    /// # Safety
    /// The tuple must be a row of `page_views` that outlives the result, with this description.
    pub unsafe fn read<'r>(
        &self,
        tuple: pg_sys::HeapTuple,
        description: pg_sys::TupleDesc,
    ) -> Result<PageView<'r>, Gap<'r>> {
        // SAFETY: the caller guarantees the row. Its columns have the types of `COLUMNS`, and `smallint`. In a row whose first
        // columns are ours, in their order and without NULL, they are read where they lie.
        unsafe {
            if let Some(has_site) = self.are_in_place(&*(*tuple).t_data) {
                let mut columns = Columns::of((*tuple).t_data);
                return Ok(PageView {
                    id: columns.bigint(),
                    path: columns.text(),
                    page_type: columns.text(),
                    session_id: columns.text(),
                    viewed_at: columns.bigint(),
                    site_id: if has_site {
                        columns.smallint()
                    } else {
                        self.older_site.unwrap_or(FIRST_SITE)
                    },
                });
            }
            let columns = datum::columns_of(tuple, description);
            let value = |n: usize| columns[self.positions[n]];
            let text = |n| value(n).map(|value| datum::text_bytes(value));
            let id = value(ID).map(|id| id.value() as i64);
            let site_id = match self.site {
                Some(position) => columns[position].map(|site_id| site_id.value() as SiteId),
                None => Some(FIRST_SITE),
            };
            let untyped = || {
                Some(PageView {
                    id: id?,
                    path: text(1)?,
                    page_type: b"",
                    session_id: text(SESSION_ID)?,
                    viewed_at: value(VIEWED_AT)?.value() as i64,
                    site_id: site_id?,
                })
            };
            match (untyped(), text(PAGE_TYPE)) {
                (Some(view), Some(page_type)) => Ok(PageView { page_type, ..view }),
                (untyped, _) => {
                    let column = (0..COLUMNS.len()).find(|n| value(*n).is_none());
                    Err(Gap { column: column.map_or(SITE_ID, |n| COLUMNS[n].0), id, untyped })
                }
            }
        }
    }

    /// Whether the columns of a page view are the first ones of a row, in their order and without NULL: `Some` then, and true if
    /// the site is among them. Without it the row is older than the column.
    fn are_in_place(&self, row: &pg_sys::HeapTupleHeaderData) -> Option<bool> {
        if self.positions != [0, 1, 2, 3, 4] || self.site.is_some_and(|position| position != COLUMNS.len()) {
            return None;
        }
        let count = usize::from(row.t_infomask2 & pg_sys::HEAP_NATTS_MASK as u16);
        let has_site = self.site.is_some() && count > COLUMNS.len();
        if count < COLUMNS.len() || !(has_site || self.older_site.is_some()) {
            return None;
        }
        let ours = (1 << (COLUMNS.len() + usize::from(has_site))) - 1;
        let has_null = u32::from(row.t_infomask) & pg_sys::HEAP_HASNULL != 0;
        // SAFETY: the header of a row with NULL has a bit for each column; that of a value is set.
        let are_there = !has_null || unsafe { row.t_bits.as_slice(1)[0] } & ours == ours;
        are_there.then_some(has_site)
    }
}

/// The value of a `smallint` column in rows that are older than the column; `None` for NULL.
///
/// # Safety
/// The relation must be open, and have a `smallint` at the position.
unsafe fn older_value(relation: pg_sys::Relation, position: usize) -> Option<SiteId> {
    let mut is_null = true;
    // SAFETY: the caller guarantees the column.
    let value = unsafe { pg_sys::getmissingattr((*relation).rd_att, position as i32 + 1, &mut is_null) };
    (!is_null).then_some(value.value() as SiteId)
}

/// The position of a column with this name and one of these types.
///
/// # Safety
/// The relation must be open.
unsafe fn find_column(
    relation: pg_sys::Relation,
    name: &'static str,
    types: &[pg_sys::Oid],
) -> Result<usize, ErrorReport> {
    // SAFETY: the relation is open, and its description has a name and a type for each column.
    unsafe {
        let description = (*relation).rd_att;
        let count = usize::try_from((*description).natts).unwrap_or(0);
        let position = (0..count).find(|n| {
            let column = &*version::attribute(description, *n);
            !column.attisdropped && CStr::from_ptr(column.attname.data.as_ptr()).to_bytes() == name.as_bytes()
        });
        let Some(position) = position else { return Err(error::no_column(name)) };
        if !types.contains(&(*version::attribute(description, position)).atttypid) {
            return Err(error::wrong_type(name));
        }
        Ok(position)
    }
}

/// A valid btree over all rows whose keys begin with these columns, texts in the collation C.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn index_on(
    relation: pg_sys::Relation,
    positions: &[usize],
    is_eligible: impl Fn(pg_sys::Oid) -> bool,
) -> Option<pg_sys::Oid> {
    // SAFETY: the caller guarantees an open and locked relation; `find_index` passes open indexes of it.
    unsafe {
        find_index(relation, |index| {
            is_eligible((*index).rd_id) && !indexes::is_young(index) && leads_to(relation, index, positions)
        })
    }
}

/// Whether an index of the table is too young to be used.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn has_young_index(relation: pg_sys::Relation) -> bool {
    // SAFETY: the caller guarantees an open and locked relation; `find_index` passes open indexes of it.
    unsafe { find_index(relation, |index| indexes::is_young(index)).is_some() }
}

/// The first index of a table that meets a condition.
///
/// # Safety
/// The relation must be open and locked.
unsafe fn find_index(
    relation: pg_sys::Relation,
    is_it: impl Fn(pg_sys::Relation) -> bool,
) -> Option<pg_sys::Oid> {
    // SAFETY: the relation is open. The list lives in the current memory context; each index is locked before it is looked at.
    unsafe {
        let indexes = pg_sys::RelationGetIndexList(relation);
        memcx::current_context(|context| {
            let indexes = List::<pg_sys::Oid>::downcast_ptr_in_memcx(indexes, context)?;
            indexes.iter().copied().find(|oid| {
                let index = pg_sys::index_open(*oid, pg_sys::AccessShareLock as i32);
                let is_it = is_it(index);
                pg_sys::index_close(index, pg_sys::NoLock as i32);
                is_it
            })
        })
    }
}

/// Whether an index is such a btree.
///
/// # Safety
/// Both must be open.
unsafe fn leads_to(relation: pg_sys::Relation, index: pg_sys::Relation, positions: &[usize]) -> bool {
    // SAFETY: the caller guarantees open relations. An index has an entry for each key column in each of these arrays.
    unsafe {
        let form = &*(*index).rd_index;
        let keys = usize::try_from(form.indnkeyatts).unwrap_or(0);
        indexes::is_whole_btree(index)
            && keys >= positions.len()
            && positions.iter().enumerate().all(|(n, position)| {
                let column = &*version::attribute((*relation).rd_att, *position);
                let is_text = column.atttypid != pg_sys::INT8OID && column.atttypid != pg_sys::TIMESTAMPTZOID;
                usize::try_from(form.indkey.values.as_slice(keys)[n]) == Ok(*position + 1)
                    && (!is_text || *(*index).rd_indcollation.add(n) == pg_sys::C_COLLATION_OID)
            })
    }
}

/// The page views of a session of a site after a time, where no index leads to them. The name `site_id` means the table's
/// column; in a table of version 0.2.0, which lacks it, that of the VALUES.
static SESSION_VIEWS: Statement = Statement::new(
    "SELECT u.id, u.path, u.page_type, u.session_id, u.viewed_at
      FROM (VALUES (1::smallint)) AS d (site_id)
      CROSS JOIN LATERAL (
          SELECT v.id, v.path, v.page_type, v.session_id, v.viewed_at
          FROM ONLY site_stats.page_views AS v
          WHERE v.session_id COLLATE \"C\" = $1 AND v.viewed_at > $2 AND site_id = $3
      ) AS u",
    &[pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT2OID],
);

/// Which page views `later_views` has shown.
pub enum Shown {
    /// All, also those that are not committed: there are none of another transaction.
    All,
    /// Those that are committed. Other transactions may have more.
    Committed,
    /// Some. This transaction has inserted another one, and has not ended.
    Unfinished(pg_sys::TransactionId),
}

/// A session of a site.
pub type Session<'s> = (SiteId, &'s [u8]);

/// Calls `show` with the page views of a session after a time. `record_page_view()` asks for each page view,
/// so a query would cost more than its answer. Its plan would depend on the planner's estimate of the newest
/// rows.
///
/// A page view that another transaction has inserted and not committed ends the search. One that another transaction is changing
/// or deleting is shown as it was.
pub fn later_views(
    session: Session,
    time: i64,
    mut show: impl FnMut(&PageView),
) -> Result<Shown, ErrorReport> {
    let page_views = catalog::page_views()?;
    let layout = current_layout(page_views)?;
    let Some(index) = layout.by_session else {
        // SAFETY: `GetLatestSnapshot` needs an open transaction; a function of SQL calls this, inside one.
        let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
        session_views_by_statement(page_views, session, time, snapshot, show)?;
        return Ok(Shown::Committed);
    };
    let mut dirty = pg_sys::SnapshotData {
        snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
        ..pg_sys::SnapshotData::default()
    };
    let dirty = &raw mut dirty;
    let mut shown = Shown::All;
    scan::by_index(page_views, index, &session_after(session.1, time), dirty, |tuple, description| {
        // SAFETY: the scan passes a row of `page_views`, which lives until the closure returns. Its visibility check has written
        // the dirty snapshot, which lives longer than the scan.
        unsafe {
            let view = layout.read(tuple, description).map_or_else(|gap| gap.untyped, Some);
            let Some(view) = view.filter(|view| view.site_id == session.0) else { return Ok(true) };
            let inserter = (*dirty).xmin;
            if inserter != pg_sys::InvalidTransactionId {
                if u32::from((*(*tuple).t_data).t_infomask) & pg_sys::HEAP_UPDATED != 0 {
                    return Ok(true); // the new version of a row whose old version is shown
                }
                shown = Shown::Unfinished(inserter);
                return Ok(false);
            }
            show(&view);
        }
        Ok(true)
    })?;
    Ok(shown)
}

/// The conditions of an index for the page views of a session after a time.
fn session_after(session_id: &[u8], time: i64) -> [scan::Condition; 2] {
    [
        (1, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, datum::text(session_id)),
        (2, pg_sys::BTGreaterStrategyNumber, pg_sys::F_TIMESTAMPTZ_GT, pg_sys::Datum::from(time)),
    ]
}

/// Calls `show` with the page views of a session that the snapshot shows.
pub fn session_views(
    session: Session,
    snapshot: pg_sys::Snapshot,
    mut show: impl FnMut(&PageView),
) -> Result<(), ErrorReport> {
    let page_views = catalog::page_views()?;
    let layout = current_layout(page_views)?;
    let Some(index) = layout.by_session else {
        return session_views_by_statement(page_views, session, i64::MIN, snapshot, show);
    };
    scan::by_index(page_views, index, &session_after(session.1, i64::MIN), snapshot, |tuple, description| {
        // SAFETY: the scan passes a row of `page_views`, which lives until the closure returns.
        let view = unsafe { layout.read(tuple, description) }.map_or_else(|gap| gap.untyped, Some);
        if let Some(view) = view.filter(|view| view.site_id == session.0) {
            show(&view);
        }
        Ok(true)
    })
}

/// The same by a query: slower, and right whatever indexes there are.
fn session_views_by_statement(
    page_views: pg_sys::Oid,
    (site_id, session_id): Session,
    time: i64,
    snapshot: pg_sys::Snapshot,
    mut show: impl FnMut(&PageView),
) -> Result<(), ErrorReport> {
    let arguments = [datum::text(session_id), time.into(), site_id.into()].map(Some);
    spi::connect_as_owner(page_views, |connection| {
        let rows = SESSION_VIEWS.read(connection, snapshot, &arguments)?;
        for row in 0..rows.len() {
            let column = |column: usize| rows.text(row, column as i32 + 1);
            if let (Some(path), Some(session_id)) = (column(1), column(SESSION_ID)) {
                show(&PageView {
                    id: rows.bigint(row, 1),
                    path,
                    page_type: column(PAGE_TYPE).unwrap_or_default(),
                    session_id,
                    viewed_at: rows.bigint(row, VIEWED_AT as i32 + 1),
                    site_id,
                });
            }
        }
        Ok(())
    })
}

/// Calls `show` with the page views with `above < id <= up_to`, in the order of their ids, until it returns
/// false. For batches: planning a query for each batch takes as long as counting some dozens of its rows.
///
/// # Errors
/// 23502 if a row has NULL where a page view has a value, 42703, 42704 and 42804 if the table has been altered so that its rows
/// cannot be read.
pub fn views_between(
    page_views: pg_sys::Oid,
    above: i64,
    up_to: i64,
    mut show: impl FnMut(&PageView) -> Result<bool, ErrorReport>,
) -> Result<(), ErrorReport> {
    let layout = current_layout(page_views)?;
    let Some(index) = layout.by_id else { return Err(error::no_primary_key()) };
    let conditions = [
        (1, pg_sys::BTGreaterStrategyNumber, pg_sys::F_INT8GT, pg_sys::Datum::from(above)),
        (1, pg_sys::BTLessEqualStrategyNumber, pg_sys::F_INT8LE, pg_sys::Datum::from(up_to)),
    ];
    // SAFETY: `GetLatestSnapshot` needs an open transaction; a batch runs in one.
    let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
    scan::by_index(page_views, index, &conditions, snapshot, |tuple, description| {
        // SAFETY: the scan passes a row of `page_views`, which lives until the closure returns.
        show(
            &unsafe { layout.read(tuple, description) }
                .map_err(|gap| error::null_in_page_view(gap.column))?,
        )
    })
}

/// The layout of the table, which stays locked.
pub fn current_layout(page_views: pg_sys::Oid) -> Result<Layout, ErrorReport> {
    // SAFETY: the table exists, and is locked when it is opened.
    unsafe {
        let relation = pg_sys::table_open(page_views, pg_sys::AccessShareLock as i32);
        let layout = Layout::of(relation)?;
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        Ok(layout)
    }
}
