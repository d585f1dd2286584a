//! What a site calls for each page view. Input is checked before anything is written.

use std::hash::{DefaultHasher, Hasher};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::backfill::requests;
use crate::count::page_view::{self, Shown};
use crate::pg::locks::{Lock, Mode};
use crate::pg::spi::{self, SnapshotKind, Statement};
use crate::pg::{datum, fmgr, transaction};
use crate::record::arguments::{PAGE_TYPE, PATH, SESSION_ID, now, required};
use crate::{error, settings};

static RECORD: Statement = Statement::new(
    "INSERT INTO site_stats.page_views (path, page_type, session_id, viewed_at) VALUES ($1, $2, $3, $4)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

fmgr::sql_function!(record_page_view_wrapper, pg_finfo_record_page_view_wrapper, record_page_view);

/// Records a page view of a session now.
///
/// Returns `recorded`, `duplicate` or `rate_limited`. Only `recorded` writes anything. `duplicate`: the
/// session saw the path less than `site_stats.dedup_window` ago, measured from the last recorded page view.
/// `rate_limited`: the session has recorded `site_stats.max_views_per_minute` page views in the last minute.
/// A NULL page type is `page`.
///
/// # Errors
/// - 22004: a NULL path or session id
/// - 22023: an empty path, page type or session id
/// - 25006: in a read-only transaction or on a standby
/// - 40001: in REPEATABLE READ or SERIALIZABLE, a backfill has begun, or a TRUNCATE was committed, since the
///   transaction's snapshot
/// - 54000: a path over 2,048 bytes, a page type over 64, or a session id over 128
fn record_page_view(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    // SAFETY: the install script declares three texts.
    let [path, page_type, session_id] = [0, 1, 2].map(|n| unsafe { fmgr::text_argument(call, n) });
    record(path, page_type, session_id).map(|answer| datum::text(answer.as_bytes()))
}

fn record(
    path: Option<&[u8]>,
    page_type: Option<&[u8]>,
    session_id: Option<&[u8]>,
) -> Result<&'static str, ErrorReport> {
    error::require_writable(c"site_stats.record_page_view()");
    let path = required(&PATH, path)?;
    let page_type = match page_type {
        None => b"page".as_slice(),
        given => required(&PAGE_TYPE, given)?,
    };
    let session_id = required(&SESSION_ID, session_id)?;
    requests::resume_if_due();

    // The calls for one session run one at a time: of two simultaneous calls, the second sees what the first recorded. The lock is
    // held for the call alone, since many sessions share it. A page view that is not committed is waited for without it.
    let mut hasher = DefaultHasher::new();
    hasher.write(session_id);
    let lock = Lock::of_session(hasher.finish());
    let (now, shown) = loop {
        lock.acquire(Mode::Exclusive);
        let now = now();
        match refusal(path, session_id, now.value() as i64)? {
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
        let (path, session_id) = (Some(datum::text(path)), Some(datum::text(session_id)));
        RECORD.run(
            connection,
            SnapshotKind::Current,
            &[path, Some(datum::text(page_type)), session_id, Some(now)],
        )?;
        Ok(())
    })?;
    if matches!(shown, Shown::All) {
        lock.release();
    }
    Ok("recorded")
}

/// The answer to a page view that is not to be recorded, by the earlier page views of its session, and which of these it has
/// seen. `now` is a `timestamptz`, in microseconds.
fn refusal(path: &[u8], session_id: &[u8], now: i64) -> Result<(Option<&'static str>, Shown), ErrorReport> {
    const SECOND: i64 = 1_000_000;
    let (window, limit) = (i64::from(settings::dedup_window()), i64::from(settings::max_views_per_minute()));
    let (mut is_duplicate, mut in_last_minute) = (false, 0);
    let since = now - window.max(60) * SECOND;
    let shown = page_view::later_views(session_id, since, |view| {
        is_duplicate |= view.viewed_at > now - window * SECOND && view.path == path;
        in_last_minute += i64::from(view.viewed_at > now - 60 * SECOND);
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
