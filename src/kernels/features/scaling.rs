//! Robust scaling: `(x - center) / scale` with a model of the sensor's usual readings.
//!
//! `center` is the median, `scale` is 1.4826 times the median absolute deviation, which for normally distributed readings is
//! the standard deviation (Hampel 1974). `p05` and `p95` are quantiles by linear interpolation (Hyndman and Fan 1996,
//! type 7). Missing readings (NaN) are skipped. Cost of a fit: selections, linear in the number of readings.

use std::ops::Range;

use crate::kernels::features::filling::median;

pub const NORMAL_SCALE: f64 = 1.4826;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub center: f64,
    pub scale: f64,
    pub p05: f64,
    pub p95: f64,
    pub readings: usize,
}

/// From this many readings on, the median parts them into halves that hold one quantile each: the selections for the
/// quantiles then look at half of the readings.
const IN_HALVES: usize = 64;

/// The model of a series; NaN in all fields if no reading is present.
pub fn fit(x: &[f64]) -> Scale {
    let mut readings: Vec<f64> = x.iter().copied().filter(|v| !v.is_nan()).collect();
    let n = readings.len();
    let center = median(&mut readings);
    let halves = if n < IN_HALVES { None } else { Some(n / 2) };
    let p05 = quantile(&mut readings, 0.05, 0..halves.unwrap_or(n));
    let p95 = quantile(&mut readings, 0.95, halves.unwrap_or(0)..n);
    readings.iter_mut().for_each(|v| *v = (*v - center).abs());
    Scale { center, scale: NORMAL_SCALE * median(&mut readings), p05, p95, readings: n }
}

/// The quantile of all readings, which lies `within` these of them: those before are smaller, those behind are larger.
pub fn quantile(readings: &mut [f64], p: f64, within: Range<usize>) -> f64 {
    let n = readings.len();
    if n == 0 {
        return f64::NAN;
    }
    let h = (n - 1) as f64 * p;
    let (k, share) = (h.floor() as usize, h.fract());
    let (_, lower, above) = readings[within.clone()].select_nth_unstable_by(k - within.start, f64::total_cmp);
    let lower = *lower;
    interpolate(lower, above.iter().copied().fold(f64::INFINITY, f64::min), share)
}

/// The value at this share of the way from one to the other.
pub(crate) fn interpolate(lower: f64, upper: f64, share: f64) -> f64 {
    if share == 0.0 || upper == lower {
        return lower;
    }
    let step = (upper - lower) * share;
    if step.is_finite() { lower + step } else { lower * (1.0 - share) + upper * share }
}

/// `(x - center) / max(scale, floor)`; NaN where that scale is 0 or unknown.
pub fn score(x: f64, center: f64, scale: f64, floor: f64) -> f64 {
    let scale = if scale < floor { floor } else { scale };
    if scale > 0.0 {
        let distance = x - center;
        // two huge readings of unlike signs
        if distance.is_finite() { distance / scale } else { x / scale - center / scale }
    } else {
        f64::NAN
    }
}
