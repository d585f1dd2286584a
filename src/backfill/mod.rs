//! A backfill counts all page views anew, while writers go on and every answer stays exact.
//!
//! `step` does one transaction of it. `worker` and `procedure` take one step after another, by the loop in
//! `driver`. A caller starts a backfill, stops it and waits for it by `requests`.

mod driver;
pub mod fault;
pub mod launch;
mod procedure;
pub mod requests;
mod status;
pub mod step;
mod wait;
pub mod worker;
