//! The ways into PostgreSQL that pgrx does not have. This room uses no other room.

pub mod bgworker;
pub mod catalog;
pub mod caught;
pub mod commit_order;
pub mod datum;
pub mod fmgr;
pub mod heap_table;
pub mod hmac;
pub mod indexes;
pub mod inet;
pub mod jsonb;
pub mod like;
pub mod locks;
pub mod row_hash;
pub mod scan;
pub mod snapshot;
pub mod spi;
pub mod tid;
pub mod time;
pub mod transaction;
pub mod version;
pub mod writeback;
