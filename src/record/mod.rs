//! What a site calls: a page view, a heartbeat, an event that says which, and the removal of page views. Also what it refuses.

mod arguments;
pub mod dictionary;
mod event;
mod forget;
mod growth;
pub mod heartbeat;
mod page_view;
mod receive;
pub mod refusals;
mod retention;
pub mod salts;
pub mod site;
mod tables;
mod tracker;
mod visitor;
