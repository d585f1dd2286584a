//! The statistics page: numbers of one snapshot, rendered by the crate `site_stats_page`.

mod function;
mod gather;
