//! Where a row is: PostgreSQL's `ctid`.

use pgrx::itemptr::item_pointer_get_both;
use pgrx::pg_sys;

/// A row's block, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tid(pub u32, pub u16);

impl From<pg_sys::ItemPointerData> for Tid {
    fn from(tid: pg_sys::ItemPointerData) -> Self {
        let (block, offset) = item_pointer_get_both(tid);
        Tid(block, offset)
    }
}
