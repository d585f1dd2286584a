//! The launcher, and the maintenance worker that it starts in one database after another.

pub mod launcher;
pub mod worker;
