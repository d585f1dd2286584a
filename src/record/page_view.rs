//! What a site calls for each page view. Input is checked before anything is written.

use std::hash::{DefaultHasher, Hash, Hasher};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::backfill::requests;
use crate::count::page_view::{self, Session, Shown};
use crate::count::sites::{self, FIRST_SITE};
use crate::pg::locks::{Lock, Mode};
use crate::pg::spi::{self, SnapshotKind, Statement};
use crate::pg::{catalog, datum, fmgr, transaction};
use crate::record::arguments::{PAGE_TYPE, PATH, SESSION_ID, now, required};
use crate::{error, settings};

static RECORD: Statement = Statement::new(
    "INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at, site_id) VALUES ($1, $2, $3, $4, $5)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT2OID],
);

/// As `RECORD`, for the table of version 0.2.0.
static RECORD_WITHOUT_SITE: Statement = Statement::new(
    "INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES ($1, $2, $3, $4)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

fmgr::sql_function!(record_page_view_wrapper, pg_finfo_record_page_view_wrapper, record_page_view);

/// Records a page view of a session of a site now.
///
/// Returns `recorded`, `duplicate` or `rate_limited`. Only `recorded` writes anything. `duplicate`: the
/// session saw the path less than `site_stats.dedup_window` ago, measured from the last recorded page view.
/// `rate_limited`: the session has recorded `site_stats.max_views_per_minute` page views in the last minute.
/// A NULL page type is `page`.
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
    record(path, page_type, session_id, site).map(|answer| datum::text(answer.as_bytes()))
}

/// `site` is `None` where the tables are those of version 0.2.0, which has no sites.
fn record(
    path: Option<&[u8]>,
    page_type: Option<&[u8]>,
    session_id: Option<&[u8]>,
    site: Option<Option<&[u8]>>,
) -> Result<&'static str, ErrorReport> {
    error::require_writable(c"site_stats.record_page_view()");
    let path = required(&PATH, path)?;
    let page_type = match page_type {
        None => b"page".as_slice(),
        given => required(&PAGE_TYPE, given)?,
    };
    let session_id = required(&SESSION_ID, session_id)?;
    let site_id = match site {
        None | Some(Some(b"")) => FIRST_SITE,
        Some(name) => {
            // The lock of the INSERT: from here on nobody deletes the site.
            // SAFETY: the table exists, and a function runs in a transaction.
            unsafe { pg_sys::LockRelationOid(catalog::page_views()?, pg_sys::RowExclusiveLock as i32) };
            sites::id_of(name)?
        }
    };
    let session = (site_id, session_id);
    requests::resume_if_due();

    // The calls for one session run one at a time: of two simultaneous calls, the second sees what the first recorded. The lock is
    // held for the call alone, since many sessions share it. A page view that is not committed is waited for without it.
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    let lock = Lock::of_session(hasher.finish());
    let (now, shown) = loop {
        lock.acquire(Mode::Exclusive);
        let now = now();
        match refusal(path, session, now.value() as i64)? {
            (_, Shown::Unfinished(other)) => {
                lock.release();
                transaction::wait_for(other);
            }
            (Some(answer), _) => {
                lock.release();
                return Ok(answer);
            }
            (None, shown) => break (now, shown),
        }
    };
    spi::connect(|connection| {
        let texts = [path, page_type, session_id].map(|text| Some(datum::text(text)));
        let [path, page_type, session_id] = texts;
        let row = [path, page_type, session_id, Some(now), Some(site_id.into())];
        match site {
            Some(_) => RECORD.run(connection, SnapshotKind::Current, &row)?,
            None => RECORD_WITHOUT_SITE.run(connection, SnapshotKind::Current, &row[..4])?,
        };
        Ok(())
    })?;
    if matches!(shown, Shown::All) {
        lock.release();
    }
    Ok("recorded")
}

/// The answer to a page view that is not to be recorded, by the earlier page views of its session, and which of these it has
/// seen. `now` is a `timestamptz`, in microseconds.
fn refusal(path: &[u8], session: Session, now: i64) -> Result<(Option<&'static str>, Shown), ErrorReport> {
    const SECOND: i64 = 1_000_000;
    let (window, limit) = (i64::from(settings::dedup_window()), i64::from(settings::max_views_per_minute()));
    let (mut is_duplicate, mut in_last_minute) = (false, 0);
    let since = now - window.max(60) * SECOND;
    let shown = page_view::later_views(session, since, |view| {
        // A page view may be dated after now by whoever wrote it into the table. It must not keep others out.
        let is_in_last = |seconds| view.viewed_at > now - seconds * SECOND && view.viewed_at <= now;
        is_duplicate |= is_in_last(window) && view.path == path;
        in_last_minute += i64::from(is_in_last(60));
    })?;
    let answer = if is_duplicate {
        Some("duplicate")
    } else if limit > 0 && in_last_minute >= limit {
        Some("rate_limited")
    } else {
        None
    };
    Ok((answer, shown))
}
