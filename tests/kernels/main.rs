//! The kernels, proven in three steps: a hand-computed table proves a naive twin (`table`), exact integer arithmetic
//! proves its floating-point parts (`exact`, `accuracy`), and the twin proves the kernels over a grid of all small
//! inputs, over large windows, over time windows and over hostile series (`grid`, `durations`, `hostile`).
//! `properties` holds what must be true between two calls: prefixes, batches, shift and scale.

mod accuracy;
mod checks;
mod correlation;
mod durations;
mod exact;
mod grid;
mod hostile;
mod naive;
mod parameters;
mod properties;
mod series;
mod subject;
mod table;
