//! Reads of the statistics that need more than a query in SQL.

mod filters;
mod own_writes;
mod ranges;
mod top_paths;
mod zone;
