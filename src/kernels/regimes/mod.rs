//! Operating regimes: which rows belong together.
//!
//! Labels of rows are codes: `0..kinds` in the order of the labels they stand for, or [`MISSING`].

pub mod assignment;
pub mod hdbscan;
pub mod kmeans;
pub mod regime;
pub mod silhouette;
pub mod smoothing;
pub mod transients;

/// A row without a label: it stays so, and says nothing.
pub const MISSING: u32 = u32::MAX;
