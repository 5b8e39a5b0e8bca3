//! Scaling of columns before a fit: `(x - center) / scale`.
//!
//! - `Robust`: the median and the distance between the quartiles (by linear interpolation, Hyndman and Fan 1996, type 7). Where
//!   both quartiles are equal, because a sensor mostly stands still, the standard deviation stands in.
//! - `Standard`: the mean and the standard deviation of all rows (`ddof` 0).
//! - `None`: 0 and 1.
//!
//! A column that never changes has the scale 1. Cost: selections, linear in the rows.

use crate::kernels::elementary::power_of_two_below;
use crate::kernels::matrix::Matrix;
use crate::kernels::parallel;
use crate::kernels::params::ParamError;
use crate::kernels::selection::{interquartile_range, median};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    None,
    Robust,
    Standard,
}

impl Scaling {
    pub fn parse(word: &str) -> Result<Self, ParamError> {
        match word {
            "none" => Ok(Self::None),
            "robust" => Ok(Self::Robust),
            "standard" => Ok(Self::Standard),
            _ => Err(ParamError(format!("`scale` must be \"robust\", \"standard\" or \"none\", got {word:?}"))),
        }
    }
}

/// Of each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub center: Vec<f64>,
    pub scale: Vec<f64>,
}

impl Scale {
    /// Of a matrix without missing cells, of at least one row.
    pub fn fit(matrix: Matrix<'_>, scaling: Scaling, pool: &rayon::ThreadPool) -> Self {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let pairs = parallel::map(pool, columns, rows * columns, Vec::new, |scratch, j| match scaling {
            Scaling::None => (0.0, 1.0),
            Scaling::Standard => {
                let (mean, std) = mean_and_std(matrix.column(j));
                (mean, positive(std))
            }
            Scaling::Robust => {
                let x = matrix.column(j);
                let center = median(x, scratch);
                let range = interquartile_range(x, scratch);
                // of huge readings of unlike signs it may be too large for a number
                let scale = if range > 0.0 { range.min(f64::MAX) } else { mean_and_std(x).1 };
                (center, positive(scale))
            }
        });
        let (center, scale) = pairs.into_iter().unzip();
        Self { center, scale }
    }

    /// Some cells of column j, scaled.
    pub fn convert(&self, j: usize, x: &[f64], out: &mut [f64]) {
        let (center, scale) = (self.center[j], self.scale[j]);
        for (out, x) in out.iter_mut().zip(x) {
            *out = (x - center) / scale;
        }
        for (out, x) in out.iter_mut().zip(x).filter(|(out, _)| !out.is_finite()) {
            // two huge readings of unlike signs
            *out = x / scale - center / scale;
        }
    }

    /// Rows one after the other, scaled.
    ///
    /// # Panics
    /// If there is no column.
    pub fn convert_rows(&self, rows: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; rows.len()];
        for (at, (x, out)) in rows.iter().zip(&mut out).enumerate() {
            self.convert(at % self.center.len(), std::slice::from_ref(x), std::slice::from_mut(out));
        }
        out
    }

    /// Scaled rows one after the other, in the units of the readings.
    ///
    /// # Panics
    /// If there is no column.
    pub fn restore_rows(&self, rows: &[f64]) -> Vec<f64> {
        let restored = |(at, z): (usize, &f64)| {
            let (center, scale) = (self.center[at % self.center.len()], self.scale[at % self.center.len()]);
            let x = z * scale + center;
            // two huge numbers of unlike signs
            let x = if x.is_finite() { x } else { (z / 2.0 * scale + center / 2.0) * 2.0 };
            x.clamp(-f64::MAX, f64::MAX)
        };
        rows.iter().enumerate().map(restored).collect()
    }
}

/// A column that never changes has no scale of its own.
fn positive(scale: f64) -> f64 {
    if scale > 0.0 { scale } else { 1.0 }
}

/// In two passes about the mean.
pub fn mean_and_std(x: &[f64]) -> (f64, f64) {
    let power = power_of_two_below(x.iter().fold(0.0, |most, v| v.abs().max(most)));
    let n = x.len() as f64;
    let first = x[0] * power;
    let mean = first + x.iter().map(|v| v * power - first).sum::<f64>() / n;
    let squares = x.iter().map(|v| (v * power - mean) * (v * power - mean)).sum::<f64>();
    (mean / power, ((squares / n).sqrt() / power).min(f64::MAX))
}
