//! Reads of the statistics that need more than a query in SQL.

mod own_writes;
mod top_paths;
