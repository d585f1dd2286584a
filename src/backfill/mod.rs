//! A backfill counts all page views anew, while writers go on and every answer stays exact.
//!
//! `step` does one transaction of it; `worker` and `procedure` do one after another. `requests` is how a caller starts one,
//! stops it and waits for it.

mod driver;
pub mod fault;
pub mod launch;
mod procedure;
pub mod requests;
mod status;
pub mod step;
pub mod worker;
