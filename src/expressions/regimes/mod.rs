//! Operating regimes: models that label rows, and how well labels part them.

mod hdbscan;
mod silhouette;
