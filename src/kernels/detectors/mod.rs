//! Detectors: each learns a model of usual rows and scores how far other rows lie from it.
//!
//! Those of many columns learn from a [`Complete`](complete::Complete) matrix, in which no cell is missing, and score rows
//! [`Tile`] by tile, each row by itself: results do not depend on which rows stand together.

pub mod ar1;
pub mod complete;
pub mod cusum;
pub mod gmm;
pub mod isolation_forest;
pub mod omr;
pub mod pca;
pub mod scaling;

use crate::kernels::matrix::Tile;

/// A fitted model that scores complete rows.
pub trait Score: Sync {
    /// How many results a row has.
    fn results(&self) -> usize;

    /// Writes result `k` of row `i` to `out[k * tile.stride() + i]`, also for the copies behind the last row; `scratch` is
    /// kept from call to call and may hold anything.
    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]);
}

/// Gives the labels of components instead of their numbers.
pub struct Labelled<S> {
    score: S,
    labels: Vec<f64>,
}

impl<S: Score> Labelled<S> {
    pub fn new(score: S, labels: &[i64]) -> Self {
        Self { score, labels: labels.iter().map(|&label| label as f64).collect() }
    }
}

impl<S: Score> Score for Labelled<S> {
    fn results(&self) -> usize {
        self.score.results()
    }

    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]) {
        self.score.score(tile, scratch, out);
        out.iter_mut().filter(|v| !v.is_nan()).for_each(|v| *v = self.labels[*v as usize]);
    }
}
