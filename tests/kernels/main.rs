//! The kernels, proven in three steps: a hand-computed table proves a naive twin (`table`), exact integer arithmetic
//! proves its floating-point parts (`exact`, `accuracy`), and the twin proves the kernels over a grid of all small
//! inputs, over large windows, over time windows and over hostile series (`grid`, `durations`, `hostile`).
//! `cleaning` does the same for what readings need before features. `properties` holds what must be true between two calls: prefixes, batches, shift and scale.

mod accuracy;
mod ar1;
mod checks;
mod cleaning;
mod correlation;
mod cusum;
mod durations;
mod exact;
mod gmm;
mod grid;
mod hdbscan;
mod hostile;
mod isolation_forest;
mod kmeans;
mod naive;
mod parameters;
mod pca;
mod properties;
mod seasons;
mod series;
mod silhouette;
mod spectra;
mod subject;
mod table;
