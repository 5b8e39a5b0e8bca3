//! Operating regimes: which rows belong together.

pub mod hdbscan;
pub mod kmeans;
pub mod silhouette;
