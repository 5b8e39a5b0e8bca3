//! Robust scaling: `(x - center) / scale` with a model of the sensor's usual readings.
//!
//! `center` is the median, `scale` is 1.4826 times the median absolute deviation, which for normally distributed readings is
//! the standard deviation (Hampel 1974). `p05` and `p95` are quantiles by linear interpolation (Hyndman and Fan 1996,
//! type 7). Missing readings (NaN) are skipped. Cost of a fit: selections, linear in the number of readings.

use crate::kernels::selection::{median, quantile};

pub const NORMAL_SCALE: f64 = 1.4826;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub center: f64,
    pub scale: f64,
    pub p05: f64,
    pub p95: f64,
    pub readings: usize,
}

/// The model of a series; NaN in all fields if no reading is present.
pub fn fit(x: &[f64]) -> Scale {
    let scratch = &mut Vec::new();
    let (center, p05, p95) = (median(x, scratch), quantile(x, 0.05, scratch), quantile(x, 0.95, scratch));
    let distances: Vec<f64> = x.iter().map(|v| (v - center).abs()).collect();
    let readings = x.iter().filter(|v| !v.is_nan()).count();
    Scale { center, scale: NORMAL_SCALE * median(&distances, scratch), p05, p95, readings }
}

/// The value at this share of the way from one to the other.
pub(crate) fn interpolate(lower: f64, upper: f64, share: f64) -> f64 {
    if share == 0.0 || upper == lower {
        return lower;
    }
    let step = (upper - lower) * share;
    if step.is_finite() { lower + step } else { lower * (1.0 - share) + upper * share }
}

/// Each reading becomes `(x - center) / max(scale, floor)`; NaN where that scale is 0 or unknown.
pub fn score(x: &mut [f64], center: f64, scale: f64, floor: f64) {
    let scale = if scale < floor { floor } else { scale };
    // a NaN is no scale
    let scale = if scale > 0.0 { scale } else { f64::NAN };
    for some in x.chunks_mut(64) {
        // two huge readings of unlike signs; asked of many at once, so that many are divided at once
        if some.iter().fold(true, |fit, v| fit & !(*v - center).is_infinite()) {
            some.iter_mut().for_each(|v| *v = (*v - center) / scale);
            continue;
        }
        for v in some {
            let distance = *v - center;
            *v = if distance.is_infinite() { *v / scale - center / scale } else { distance / scale };
        }
    }
}
