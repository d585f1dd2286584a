//! Reads of the statistics that need more than a query in SQL.

pub mod filters;
mod own_writes;
pub mod ranges;
pub mod together;
mod top_paths;
pub mod zone;
