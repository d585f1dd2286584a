//! Looks at the page views of one session after the other, without a plan: as batches of page views that become spans do.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::count::page_view::{Layout, PageView, Session, current_layout};
use crate::pg::scan::{Direction, Scanner};
use crate::pg::{catalog, datum};

/// The page views of one session after the other, by the index.
pub struct SessionScanner {
    layout: Layout,
    scanner: Scanner,
}

/// Which page views of a session are looked at.
#[derive(Clone, Copy)]
pub enum Times {
    From(i64),
    UpTo(i64),
}

impl SessionScanner {
    /// `None` if no index leads to the page views of a session.
    ///
    /// # Safety
    /// The snapshot must live as long as the scanner.
    pub unsafe fn open(snapshot: pg_sys::Snapshot) -> Result<Option<Self>, ErrorReport> {
        let page_views = catalog::page_views()?;
        let layout = current_layout(page_views)?;
        let Some(index) = layout.by_session else { return Ok(None) };
        Ok(Some(SessionScanner { layout, scanner: Scanner::open(page_views, index, snapshot, 2) }))
    }

    /// Calls `show` with the page views in the order of their times, or the latest first, until it returns false.
    pub fn run(
        &mut self,
        session: Session,
        times: Times,
        direction: Direction,
        mut show: impl FnMut(&PageView) -> bool,
    ) -> Result<(), ErrorReport> {
        let (strategy, function, time) = match times {
            Times::From(time) => (pg_sys::BTGreaterEqualStrategyNumber, pg_sys::F_TIMESTAMPTZ_GE, time),
            Times::UpTo(time) => (pg_sys::BTLessEqualStrategyNumber, pg_sys::F_TIMESTAMPTZ_LE, time),
        };
        let conditions = [
            (1, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, datum::text(session.1)),
            (2, strategy, function, pg_sys::Datum::from(time)),
        ];
        self.scanner.run(&conditions, direction, |tuple, description| {
            // SAFETY: the scan passes a row of `page_views`, which lives until the closure returns.
            let view = unsafe { self.layout.read(tuple, description) }.map_or_else(|gap| gap.untyped, Some);
            Ok(view.filter(|view| view.site_id == session.0).is_none_or(|view| show(&view)))
        })
    }

    pub fn close(self) {
        self.scanner.close();
    }
}
