//! The status of a backfill, and what a caller may ask of it.

use pgrx::pg_sys::panic::ErrorReport;

use crate::error;
use crate::pg::spi::Statement;
use crate::settings::BATCH_SIZES;

pub static STOP: Statement = Statement::new(
    "UPDATE site_stats.backfill_state AS s SET
          status = 'stopped',
          updated_at = pg_catalog.clock_timestamp()
      WHERE s.status = 'running'",
    &[],
);

/// Whether a run in this status has work left.
pub fn is_unfinished(status: &str) -> bool {
    !matches!(status, "idle" | "complete")
}

/// Rows per batch as a caller asks for them, if that is sound.
pub fn valid_batch_size(batch_size: Option<i32>) -> Result<Option<i32>, ErrorReport> {
    match batch_size {
        Some(size) if !BATCH_SIZES.contains(&size) => {
            Err(error::out_of_range("batch_size", size, *BATCH_SIZES.start(), *BATCH_SIZES.end()))
        }
        size => Ok(size),
    }
}
