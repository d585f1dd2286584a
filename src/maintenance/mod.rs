//! What happens by itself: a launcher, which starts a worker in one database after another.

pub mod launcher;
pub mod worker;
