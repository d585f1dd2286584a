//! What a site calls: a page view, a heartbeat.

mod arguments;
pub mod heartbeat;
mod page_view;
