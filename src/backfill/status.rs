//! The words in the tables of a backfill: the status of a run, and the action of a request.

use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::settings::BATCH_SIZES;

/// The status of a run, as in the column `status` of `backfill_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No run yet.
    Idle,
    Running,
    /// Stopped by a request, or begun by `begin_backfill()`; the run goes on when it is started again.
    Stopped,
    /// All page views are counted.
    Complete,
    /// Given up after too many failures; the run goes on when it is started again.
    Failed,
}

impl Status {
    const ALL: [Self; 5] = [Status::Idle, Status::Running, Status::Stopped, Status::Complete, Status::Failed];

    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Status::Idle => "idle",
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Complete => "complete",
            Status::Failed => "failed",
        }
    }

    /// The status of a word in the table.
    ///
    /// # Errors
    /// 55000 for any other word, which the table's CHECK constraint forbids.
    pub fn from_word(word: &[u8]) -> Result<Self, ErrorReport> {
        let status = Self::ALL.into_iter().find(|status| status.word().as_bytes() == word);
        status.ok_or_else(|| error::not_installed("backfill_state"))
    }

    /// Whether a request to start goes on with the run, and does not begin another one. A run that has failed with nothing left
    /// to count may have failed to begin.
    pub fn is_resumable(self, is_counted: bool) -> bool {
        self.is_unfinished() && !(self == Status::Failed && is_counted)
    }

    /// Whether a run in this status has work left.
    pub fn is_unfinished(self) -> bool {
        match self {
            Status::Idle | Status::Complete => false,
            Status::Running | Status::Stopped | Status::Failed => true,
        }
    }
}

/// The action of a request, as in the column `action` of `backfill_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
}

impl Action {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Action::Start => "start",
            Action::Stop => "stop",
        }
    }

    /// The action of a word in the table.
    ///
    /// # Errors
    /// 55000 for any other word, which the table's CHECK constraint forbids.
    pub fn from_word(word: &[u8]) -> Result<Self, ErrorReport> {
        let action =
            [Action::Start, Action::Stop].into_iter().find(|action| action.word().as_bytes() == word);
        action.ok_or_else(|| error::not_installed("backfill_requests"))
    }
}

/// Checks the rows per batch that a caller gave, if any.
///
/// # Errors
/// 22023 if the number is out of range.
pub fn valid_batch_size(batch_size: Option<i32>) -> Result<Option<i32>, ErrorReport> {
    match batch_size {
        Some(size) if !BATCH_SIZES.contains(&size) => {
            Err(error::out_of_range("batch_size", size, *BATCH_SIZES.start(), *BATCH_SIZES.end()))
        }
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for status in Status::ALL {
            assert!(matches!(Status::from_word(status.word().as_bytes()), Ok(read) if read == status));
        }
        for action in [Action::Start, Action::Stop] {
            assert!(matches!(Action::from_word(action.word().as_bytes()), Ok(read) if read == action));
        }
    }
}
