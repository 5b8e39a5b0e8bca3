//! Operating regimes: which rows belong together.

pub mod kmeans;
