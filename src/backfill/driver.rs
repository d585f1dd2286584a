//! The loop around the steps of a run, for the worker and for `CALL backfill()` alike: one step after another, with pauses,
//! patience with what is in the way, and words about how far it is.

use std::time::{Duration, Instant};

use crate::backfill::step::Step;
use crate::pg::bgworker;
use crate::pg::transaction::Failure;
use crate::settings;

/// How often a run says how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// What a process has to offer that runs a backfill.
pub trait Runner {
    /// Does one step in a transaction of its own, which is committed, or undone if the step fails. `is_first` if it is the
    /// first one of this process. `None` if the process must not go on, because the extension was updated under it.
    fn step(&mut self, is_first: bool) -> Result<Option<Step>, Failure>;

    /// Whether the process has to end, finished or not.
    fn is_stopping(&self) -> bool;

    /// Tells whoever watches of an event.
    fn say(&mut self, message: &str);

    /// A batch was counted.
    fn counted(&mut self, _views_done: i64, _views_total: i64) {}

    /// A step gave way to another transaction, for the `waits`th time in a row. `is_due` if the last report is long ago.
    fn gave_way(&mut self, failure: &Failure, waits: u32, is_due: bool);

    /// A step failed, for the `failures`th time in a row. Returns whether to give up.
    fn gives_up(&mut self, failure: &Failure, failures: u32) -> bool;

    /// Pauses.
    fn nap(&mut self, time: Duration);
}

/// Why a run has ended for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is counted, the run was stopped, or there was none.
    Done,
    /// The process has to end.
    Stopping,
    /// The run goes on in a process that loads the library anew.
    Updated,
}

/// Takes step after step until the run ends, or the runner gives up with the failure of the last step.
pub fn drive(runner: &mut impl Runner) -> Result<End, Failure> {
    let (mut is_first, mut waits, mut failures, mut reported) = (true, 0, 0, Instant::now());
    loop {
        if runner.is_stopping() {
            return Ok(End::Stopping);
        }
        let is_due = reported.elapsed() >= REPORT_INTERVAL;
        let pause = match runner.step(is_first) {
            Ok(None) => return Ok(End::Updated),
            Ok(Some(step)) => {
                (is_first, waits, failures) = (false, 0, 0);
                if let Step::Counted { views_done, views_total } = step {
                    runner.counted(views_done, views_total);
                    if is_due {
                        reported = Instant::now();
                        runner.say(&format!("backfill has counted {views_done} of {views_total} page views"));
                    }
                } else if let Some(message) = message(step) {
                    runner.say(&message);
                }
                if matches!(step, Step::Finished { .. } | Step::Stopped | Step::Idle) {
                    return Ok(End::Done);
                }
                settings::backfill_batch_delay()
            }
            Err(_) if runner.is_stopping() => return Ok(End::Stopping),
            Err(failure) if failure.is_contention() => {
                waits += 1;
                runner.gave_way(&failure, waits, is_due);
                if is_due {
                    reported = Instant::now();
                }
                bgworker::backoff(waits)
            }
            Err(failure) => {
                failures += 1;
                if runner.gives_up(&failure, failures) {
                    return Err(failure);
                }
                bgworker::backoff(failures + 3)
            }
        };
        if !pause.is_zero() {
            runner.nap(pause);
        }
    }
}

/// What is said of a step as soon as it is done.
fn message(step: Step) -> Option<String> {
    match step {
        Step::Began { target } => Some(format!("backfill of the page views up to id {target} started")),
        Step::Resumed { interrupted: true } => Some("backfill resumed after an interruption".to_owned()),
        Step::Resumed { interrupted: false } => Some("backfill resumed".to_owned()),
        Step::Finished { views } => Some(format!("backfill of {views} page views complete")),
        Step::Stopped => Some("backfill stopped".to_owned()),
        Step::Counted { .. } | Step::Cleared | Step::Idle => None,
    }
}
