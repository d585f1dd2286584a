//! Faults on purpose, for the tests. A batch has named points. A build with the cargo feature `fault_points`
//! does there what the setting `site_stats.fault_point` says. A release has neither the setting nor the
//! points.

/// The points of a batch, in their order.
#[cfg_attr(not(feature = "fault_points"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The gate is held, and nothing is read.
    Locked,
    /// The rows of the batch are read.
    Read,
    /// The aggregates are written.
    Counted,
    /// The cursor is moved, and nothing is committed.
    Moved,
}

#[cfg(not(feature = "fault_points"))]
pub use absent::{register, trip};
#[cfg(feature = "fault_points")]
pub use present::{register, trip};

#[cfg(not(feature = "fault_points"))]
mod absent {
    pub fn register() {}

    #[inline(always)]
    pub fn trip(_point: super::Point) {}
}

#[cfg(feature = "fault_points")]
mod present {
    use std::cell::Cell;
    use std::ffi::CString;

    use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
    use pgrx::{pg_guard, pg_sys};

    use super::Point;

    /// `POINT:ACTION[:N]`, such as `counted:kill:3`: from the N-th time on that this process reaches the
    /// point. The points are `locked`, `read`, `counted` and `moved`. The actions are `error`, `panic`,
    /// `kill` (with signal 9) and `wait` (until the process is interrupted).
    static FAULT_POINT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

    /// A statement that runs in the commit of each transaction, after our own flush, as that of another
    /// extension might.
    static FAULT_AT_COMMIT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

    thread_local! {
        static TIMES: Cell<u32> = const { Cell::new(0) };
    }

    pub fn register() {
        GucRegistry::define_string_guc(
            c"site_stats.fault_point",
            c"Fault to produce in a batch, for tests.",
            c"POINT:ACTION[:N], such as counted:kill:3.",
            &FAULT_POINT,
            GucContext::Suset,
            GucFlags::default(),
        );
        GucRegistry::define_string_guc(
            c"site_stats.fault_at_commit",
            c"Statement to run in each commit, for tests.",
            c"It runs after the flush before the commit.",
            &FAULT_AT_COMMIT,
            GucContext::Suset,
            GucFlags::default(),
        );
        // This callback is registered before that of `count::pending`. The server calls the first one last,
        // so after our flush.
        // SAFETY: `_PG_init` calls this once in a process, and the library with the callback is never
        // unloaded.
        unsafe { pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut()) };
    }

    #[pg_guard]
    unsafe extern "C-unwind" fn transaction_ends(
        event: pg_sys::XactEvent::Type,
        _argument: *mut std::ffi::c_void,
    ) {
        if event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT
            && let Some(statement) = FAULT_AT_COMMIT.get()
        {
            let run = || pgrx::Spi::run(&statement.to_string_lossy());
            if let Err(error) = crate::pg::snapshot::with_snapshot(run) {
                pgrx::error!("{error}");
            }
        }
    }

    pub fn trip(point: Point) {
        let Some(setting) = FAULT_POINT.get() else { return };
        let setting = setting.to_string_lossy().into_owned();
        let mut parts = setting.split(':');
        if parts.next() != Some(format!("{point:?}").to_lowercase().as_str()) {
            return;
        }
        let action = parts.next().unwrap_or("error");
        let nth = parts.next().and_then(|nth| nth.parse().ok()).unwrap_or(1);
        TIMES.set(TIMES.get() + 1);
        if TIMES.get() < nth {
            return;
        }
        match action {
            "kill" => {
                // SAFETY: `kill` only takes integers, and the signal goes to this process.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            #[allow(clippy::panic)]
            "panic" => panic!("a fault on purpose"),
            "wait" => {
                pgrx::log!("site_stats: waits at fault point {setting}");
                loop {
                    crate::pg::bgworker::nap(std::time::Duration::from_millis(20));
                }
            }
            _ => pgrx::error!("a fault on purpose at {setting}"),
        }
    }
}
