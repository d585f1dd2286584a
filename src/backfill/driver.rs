//! The loop that takes the steps of a run, for the worker and for `CALL backfill()`. It pauses between steps,
//! tries again after a lock timeout or an error, and reports progress.

use std::time::{Duration, Instant};

use crate::backfill::step::Step;
use crate::pg::bgworker;
use crate::pg::transaction::Failure;
use crate::settings;

/// How often a run reports its progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// What the loop needs from the process that runs a backfill.
pub trait Runner {
    /// Takes one step in a transaction of its own, which is committed, or undone if the step fails.
    /// `is_first` is true for the first step of this process. `None` if this process must end because the
    /// extension was updated.
    fn step(&mut self, is_first: bool) -> Result<Option<Step>, Failure>;

    /// Whether the process must end, even if the run is unfinished.
    fn is_stopping(&self) -> bool;

    /// Reports an event.
    fn say(&mut self, message: &str);

    /// Called when a batch was counted.
    fn counted(&mut self, _views_done: i64, _views_total: i64) {}

    /// Called when a step gave way to another transaction, for the `waits`th time in a row. `is_due` is true
    /// if a report of progress is due.
    fn gave_way(&mut self, failure: &Failure, waits: u32, is_due: bool);

    /// Called when a step failed, for the `failures`th time in a row. Returns whether to give up.
    fn gives_up(&mut self, failure: &Failure, failures: u32) -> bool;

    /// Pauses for a time.
    fn nap(&mut self, time: Duration);
}

/// Why the loop has ended without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is counted, the run was stopped, or there was no run.
    Done,
    /// The process must end.
    Stopping,
    /// The extension was updated: another process, with the new library, continues the run.
    Updated,
}

/// Takes one step after another until the run ends. If the runner gives up, returns the failure of the last
/// step.
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

/// The report of a step, if it is to be reported at once.
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
