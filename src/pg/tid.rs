//! A tuple identifier (tid), which SQL shows as `ctid`: where a version of a row is.

use pgrx::itemptr::item_pointer_get_both;
use pgrx::pg_sys;

/// A block, and the number of a line pointer in that block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tid(pub u32, pub u16);

impl From<pg_sys::ItemPointerData> for Tid {
    fn from(tid: pg_sys::ItemPointerData) -> Self {
        let (block, offset) = item_pointer_get_both(tid);
        Tid(block, offset)
    }
}
