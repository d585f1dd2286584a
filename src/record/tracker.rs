//! `tracker()`: the script for a site's pages, which sends the events that `receive()` takes.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use site_stats_tracker::{EndpointError, MAX_ENDPOINT_BYTES, script};

use crate::error;
use crate::pg::{datum, fmgr};

fmgr::sql_function!(tracker_wrapper, pg_finfo_tracker_wrapper, tracker);

/// The script that sends to `endpoint`, a path or an `http` or `https` URL of at most 512 bytes. It has only characters of
/// ASCII.
///
/// # Errors
/// - 22004: a NULL endpoint
/// - 22023: one that is empty or too long, or to which a page cannot send
fn tracker(call: &mut pg_sys::FunctionCallInfoBaseData) -> Result<pg_sys::Datum, ErrorReport> {
    const HINT: &str =
        "Pass a path of your site, such as /collect, or a URL such as https://stats.example/collect.";
    // SAFETY: the install script declares a text.
    let endpoint = unsafe { fmgr::text_argument(call, 0) };
    let endpoint = endpoint.ok_or_else(|| error::null_argument("endpoint", HINT))?;
    let script = script(&datum::utf8_from_text(endpoint)).map_err(|wrong| match wrong {
        EndpointError::Empty => error::empty_argument("endpoint", HINT),
        EndpointError::TooLong => {
            error::wrong_endpoint(&format!("must not have more than {MAX_ENDPOINT_BYTES} bytes"), HINT)
        }
        EndpointError::Characters => {
            error::wrong_endpoint("must not have blanks, control characters or backslashes", HINT)
        }
        EndpointError::Scheme => {
            error::wrong_endpoint("must be a path or a URL with the scheme http or https", HINT)
        }
        EndpointError::User => error::wrong_endpoint("must not have a user or a password", HINT),
    })?;
    Ok(datum::text(script.as_bytes()))
}
