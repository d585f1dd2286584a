//! What people read.

mod own_writes;
mod top_paths;
