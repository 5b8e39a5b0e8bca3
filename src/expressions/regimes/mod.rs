//! Operating regimes: models that label rows, and operations on labels.

pub mod alignment;
mod kmeans;
mod labels;
