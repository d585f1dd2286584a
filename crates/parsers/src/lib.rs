//! What a page view says of itself, from the texts that a browser or a log gives: no PostgreSQL, no I/O.
//!
//! | module | answers |
//! |---|---|
//! | `url` | which parts an URL has |
//! | `path` | which page it is |
//! | `host` | whose host it is |
//! | `origin` | where the visitor came from |
//! | `client` | what the visitor uses |
//! | `locale` | in which language and country |
//! | `bot` | whether it is a visitor at all |
//!
//! Every text is written by a visitor who may be hostile. So every function, for every text, returns in a time
//! linear in its length, does not panic, and returns no more bytes than its documentation says. Nothing is
//! built at start and nothing is kept between calls: the tables are constants, which processes share.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod bot;
pub mod client;
pub mod host;
pub mod locale;
pub mod origin;
pub mod path;
pub mod url;

#[cfg(test)]
mod hostile;

pub use bot::is_bot;
pub use client::{Client, client};
pub use host::{is_own_host, normal_host};
pub use locale::{country, language};
pub use origin::{Channel, Origin, origin};
pub use path::{MAX_PATH_BYTES, PathError, page_path};
pub use url::Url;
