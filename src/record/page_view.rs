//! What a site calls for each page view. Input is checked before anything is written.

use std::hash::{DefaultHasher, Hash, Hasher};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::backfill::requests;
use crate::count::page_view::{self, Session, Shown};
use crate::count::sites::{self, FIRST_SITE};
use crate::count::tally::SiteId;
use crate::pg::locks::{Lock, Mode};
use crate::pg::spi::{self, SnapshotKind, Statement};
use crate::pg::time::SECOND;
use crate::pg::{datum, fmgr, transaction};
use crate::record::arguments::{PAGE_TYPE, PATH, SESSION_ID, now, required};
use crate::record::refusals::{self, RATE_LIMITED};
use crate::{error, settings};

static RECORD: Statement = Statement::new(
    "INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, site_id) VALUES ($1, $2, $3, $4, $5)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT2OID],
);

/// As `RECORD`, with an origin and a client.
static RECORD_WITH_IDS: Statement = Statement::new(
    "INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, site_id, origin_id, client_id)
      VALUES ($1, $2, $3, $4, $5, $6, $7)",
    &[
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT2OID,
        pg_sys::INT4OID,
        pg_sys::INT4OID,
    ],
);

/// As `RECORD`, for the table of version 0.2.0.
static RECORD_WITHOUT_SITE: Statement = Statement::new(
    "INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES ($1, $2, $3, $4)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

fmgr::sql_function!(record_page_view_wrapper, pg_finfo_record_page_view_wrapper, record_page_view);

/// Records a page view of a session of a site now.
///
/// Returns `recorded`, `duplicate` or `rate_limited`. `duplicate`, which writes nothing: the session saw the
/// path less than `site_stats.dedup_window` ago, measured from the last recorded page view. `rate_limited`,
/// which is counted as a refusal: the session has recorded `site_stats.max_views_per_minute` page views in the
/// last minute. A NULL page type is `page`.
///
/// # Errors
/// - 22004: a NULL path, session id or site
/// - 22023: an empty path, page type or session id; no such site
/// - 25006: in a read-only transaction or on a standby
/// - 40001: in REPEATABLE READ or SERIALIZABLE, a backfill has begun, or a TRUNCATE was committed, since the
///   transaction's snapshot
/// - 54000: a path over 2,048 bytes, a page type over 64, or a session id over 128
fn record_page_view(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares three texts, and a fourth one since version 0.3.0.
    let [path, page_type, session_id] = [0, 1, 2].map(|n| unsafe { fmgr::text_argument(call, n) });
    // SAFETY: as above.
    let site = unsafe { fmgr::newer_text_argument(call, 3) };
    error::require_writable(c"site_stats.record_page_view()");
    let path = required(&PATH, path)?;
    let page_type = match page_type {
        None => b"page".as_slice(),
        given => required(&PAGE_TYPE, given)?,
    };
    let session_id = required(&SESSION_ID, session_id)?;
    let site_id = site.map_or(Ok(FIRST_SITE), sites::id_of)?;
    requests::resume_if_due();
    let view = View { path, page_type, session_id, site_id, at: None };
    let answer = match site {
        Some(_) => count_refusal(
            site_id,
            record_by(&view, |connection, row| RECORD.run(connection, SnapshotKind::Current, row).map(drop))?,
        ),
        None => record_by(&view, |connection, row| {
            RECORD_WITHOUT_SITE.run(connection, SnapshotKind::Current, row.get(..4).unwrap_or(row)).map(drop)
        }),
    }?;
    Ok(datum::text(answer.as_bytes()))
}

/// A page view to be recorded. What a site passes has been checked.
pub struct View<'v> {
    pub path: &'v [u8],
    pub page_type: &'v [u8],
    pub session_id: &'v [u8],
    pub site_id: SiteId,
    /// When it was, not after now; `None` for now.
    pub at: Option<i64>,
}

/// Records a page view, unless the session has recorded it before or has recorded too many, which is a refusal. `ids` gives its
/// origin and its client; it is called if the page view is to be recorded.
pub fn record(
    view: &View,
    ids: impl FnOnce() -> Result<(Option<i32>, Option<i32>), ErrorReport>,
) -> Result<&'static str, ErrorReport> {
    let answer = record_by(view, |connection, row| {
        let (origin, client) = ids()?;
        let ids = [origin, client].map(|id| id.map(pg_sys::Datum::from));
        let row: Vec<_> = row.iter().copied().chain(ids).collect();
        RECORD_WITH_IDS.run(connection, SnapshotKind::Current, &row).map(drop)
    })?;
    count_refusal(view.site_id, answer)
}

/// Counts an answer that is a refusal.
fn count_refusal(site_id: SiteId, answer: &'static str) -> Result<&'static str, ErrorReport> {
    if answer == RATE_LIMITED {
        refusals::count(site_id, answer)?;
    }
    Ok(answer)
}

/// As `record`. `insert` gets the row: path, page type, session, time and site.
fn record_by(
    view: &View,
    insert: impl FnOnce(&spi::Connection, &[Option<pg_sys::Datum>]) -> Result<(), ErrorReport>,
) -> Result<&'static str, ErrorReport> {
    let session = (view.site_id, view.session_id);

    // The calls for one session run one at a time: of two simultaneous calls, the second sees what the first recorded. The lock is
    // held for the call alone, since many sessions share it. A page view that is not committed is waited for without it.
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    let lock = Lock::of_session(hasher.finish());
    let (at, shown) = loop {
        lock.acquire(Mode::Exclusive);
        let at = view.at.unwrap_or_else(|| now().value() as i64);
        match refusal(view.path, session, at)? {
            (_, Shown::Unfinished(other)) => {
                lock.release();
                transaction::wait_for(other);
            }
            (Some(answer), _) => {
                lock.release();
                return Ok(answer);
            }
            (None, shown) => break (at, shown),
        }
    };
    spi::connect(|connection| {
        let texts = [view.path, view.page_type, view.session_id].map(|text| Some(datum::text(text)));
        let [path, page_type, session_id] = texts;
        insert(connection, &[path, page_type, session_id, Some(at.into()), Some(view.site_id.into())])
    })?;
    if matches!(shown, Shown::All) {
        lock.release();
    }
    Ok("recorded")
}

/// The answer to a page view that is not to be recorded, by the earlier page views of its session, and which of these it has
/// seen. `at` is when it was, as a `timestamptz`, in microseconds.
fn refusal(path: &[u8], session: Session, at: i64) -> Result<(Option<&'static str>, Shown), ErrorReport> {
    let (window, limit) = (i64::from(settings::dedup_window()), i64::from(settings::max_views_per_minute()));
    let (mut is_duplicate, mut in_last_minute) = (false, 0);
    let since = at - window.max(60) * SECOND;
    let shown = page_view::later_views(session, since, |view| {
        // A page view may be dated after now by whoever wrote it into the table. It must not keep others out.
        let is_in_last = |seconds| view.viewed_at > at - seconds * SECOND && view.viewed_at <= at;
        is_duplicate |= is_in_last(window) && view.path == path;
        in_last_minute += i64::from(is_in_last(60));
    })?;
    let answer = if is_duplicate {
        Some("duplicate")
    } else if limit > 0 && in_last_minute >= limit {
        Some(RATE_LIMITED)
    } else {
        None
    };
    Ok((answer, shown))
}
