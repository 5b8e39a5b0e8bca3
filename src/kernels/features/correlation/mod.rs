//! Correlations of pairs of columns: over trailing windows with lags (`rolling`), and over whole columns (`matrix`).
//!
//! ```text
//! r = sum (x_i - xbar)(y_i - ybar) / sqrt(sum (x_i - xbar)^2  sum (y_i - ybar)^2)      over the m rows where both are present
//! ```
//!
//! (Pearson 1895; the ddof of covariance and variances cancels.) NaN where m is below the samples asked for or below 2, or
//! where all readings of x or all of y among those rows are equal. Never outside [-1, 1].
//!
//! Sums are taken about an anchor near the data, never as raw sums: the distance `d` from anchor to mean costs
//! `d^2 / variance` in digits. Where it is too large, or squares leave the range of `f64`, the pair is computed again by
//! [`direct`], in two passes (Chan, Golub, LeVeque 1983).

pub mod matrix;
pub mod rolling;

use crate::kernels::powers_of_two;
use crate::kernels::simd::Lanes;

/// Eight columns side by side.
type Row = Lanes;

/// Outside these bounds sums of squares may have lost digits, or their product may leave the range of `f64`.
const TINY: f64 = 1e-120;
const HUGE: f64 = 1e120;

/// The correlation of pairs without missing readings, NaN where one side is constant. `pairs` is walked through several times.
///
/// Values are taken relative to a reading of their side, scaled so that the largest distance is near 1, then centred.
pub fn direct<I: Iterator<Item = (f64, f64)>>(pairs: impl Fn() -> I) -> f64 {
    let Some((x0, y0)) = pairs().next() else { return f64::NAN };
    let (mut reach_x, mut reach_y, mut m) = (0.0f64, 0.0f64, 0.0);
    for (x, y) in pairs() {
        // a quarter each: the difference of two readings fits
        reach_x = reach_x.max((x * 0.25 - x0 * 0.25).abs());
        reach_y = reach_y.max((y * 0.25 - y0 * 0.25).abs());
        m += 1.0;
    }
    if reach_x == 0.0 {
        reach_x = pairs().map(|(x, _)| (x - x0).abs()).fold(0.0, f64::max);
    }
    if reach_y == 0.0 {
        reach_y = pairs().map(|(_, y)| (y - y0).abs()).fold(0.0, f64::max);
    }
    if reach_x == 0.0 || reach_y == 0.0 {
        return f64::NAN;
    }
    let (down_x, down_y) = (powers_of_two(reach_x).0, powers_of_two(reach_y).0);
    // differences of neighbours are exact; where the scaled values leave no bits for them, they are taken first
    let relative = |v: f64, v0: f64, down: f64| {
        let d = v - v0;
        if d.is_finite() { d * down } else { v * down - v0 * down }
    };
    let relative = |(x, y): (f64, f64)| (relative(x, x0, down_x), relative(y, y0, down_y));
    let (sum_x, sum_y) = pairs().map(relative).fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / m, sum_y / m);
    let (mut sx, mut sy, mut sxx, mut syy, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in pairs().map(relative) {
        let (x, y) = (x - mean_x, y - mean_y);
        sx += x;
        sy += y;
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    let (vx, vy) = (sxx - sx * (sx / m), syy - sy * (sy / m));
    // the same bits with x and y exchanged
    let r = (sxy - sx * sy / m) * ((1.0 / vx.sqrt()) * (1.0 / vy.sqrt()));
    r.clamp(-1.0, 1.0) + 0.0
}
