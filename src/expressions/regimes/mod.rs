//! Operating regimes: models that label rows, and operations on labels.

pub mod alignment;
mod hdbscan;
mod kmeans;
mod labels;
mod regime;
mod silhouette;
