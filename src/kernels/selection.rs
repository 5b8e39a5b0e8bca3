//! Quantiles of many readings without reordering them: samples bracket it, passes keep what lies in the bracket.
//!
//! After Floyd and Rivest (1975): a sample of [`SAMPLE`] readings, taken at equal steps, says between which two values the
//! wanted ranks lie, save with a chance of some 1e-3; a pass counts the readings below the bracket and keeps those inside,
//! of which the next sample is taken, until few are left to select among. Where a sample was wrong (an order that
//! repeats with the step) or says little (most readings alike), selecting among all that are left gives the same.
//!
//! Cost: about one and a half passes of eight readings at once, and small selections. Larger samples would leave fewer passes,
//! but ordering a sample of 464 took longer than all passes over 10,000 readings.

use crate::kernels::features::scaling::interpolate;
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

/// Readings of a sample.
const SAMPLE: usize = 128;
/// From this many readings on a sample pays.
const SAMPLED: usize = 4 * SAMPLE;
/// Half the bracket, in standard deviations of a rank of the sample.
const REACH: f64 = 3.0;

/// The sample median of the readings that are present (Hyndman and Fan 1996); NaN if there is none. `scratch` may hold anything.
pub fn median(x: &[f64], scratch: &mut Vec<f64>) -> f64 {
    let n = present(x);
    if n == 0 {
        return f64::NAN;
    }
    let (lower, upper) = neighbours(x, n, (n - 1) / 2, n / 2, scratch);
    if lower == upper { lower } else { f64::midpoint(lower, upper) }
}

/// The quantile by linear interpolation (Hyndman and Fan 1996, type 7) of the readings that are present; NaN if there is none.
pub fn quantile(x: &[f64], p: f64, scratch: &mut Vec<f64>) -> f64 {
    let n = present(x);
    if n == 0 {
        return f64::NAN;
    }
    let h = (n - 1) as f64 * p;
    let (lower, upper) = neighbours(x, n, h.floor() as usize, h.ceil() as usize, scratch);
    interpolate(lower, upper, h.fract())
}

/// The third quartile less the first (both of type 7) of the readings that are present; NaN if there is none.
///
/// Readings are subtracted before shares of them are taken, so that an offset which all have in common costs no digits.
pub fn interquartile_range(x: &[f64], scratch: &mut Vec<f64>) -> f64 {
    let n = present(x);
    if n == 0 {
        return f64::NAN;
    }
    let mut quartile = |p: f64| {
        let h = (n - 1) as f64 * p;
        let (lower, upper) = neighbours(x, n, h.floor() as usize, h.ceil() as usize, scratch);
        (lower, upper, h.fract())
    };
    let (first, third) = (quartile(0.25), quartile(0.75));
    let range = (third.0 - first.0) + ((third.1 - third.0) * third.2 - (first.1 - first.0) * first.2);
    // two huge readings of unlike signs
    if range.is_finite() {
        range
    } else {
        interpolate(third.0, third.1, third.2) - interpolate(first.0, first.1, first.2)
    }
}

fn present(x: &[f64]) -> usize {
    struct Present<'a>(&'a [f64]);

    impl Kernel for Present<'_> {
        type Output = usize;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> usize {
            let (vectors, rest) = self.0.as_chunks();
            let mut count = s.splat(0.0);
            for v in vectors {
                let v = s.load(v);
                count = s.add(count, s.keep(s.eq(v, v), s.splat(1.0)));
            }
            s.to_array(count).iter().sum::<f64>() as usize + rest.iter().filter(|v| !v.is_nan()).count()
        }
    }

    dispatch(Present(x))
}

/// Readings of two ranks, the same or neighbours, of the `n` that are present.
fn neighbours(x: &[f64], n: usize, mut lower: usize, mut upper: usize, scratch: &mut Vec<f64>) -> (f64, f64) {
    let room = x.len() + LANES;
    if n >= SAMPLED && scratch.len() < 2 * room {
        scratch.resize(2 * room, 0.0);
    }
    let mut left = n;
    let mut whole = true;
    while left >= SAMPLED {
        let (kept, spare) = scratch.split_at_mut(room);
        let from = if whole { x } else { &kept[..left] };
        let Some((low, high)) = bracket(from, left, lower, upper) else { break };
        let Inside { below, inside } = dispatch(Keep { from, low, high, to: spare });
        if lower < below || upper >= below + inside {
            break;
        }
        if low == high {
            return (low, low);
        }
        if inside > left / 2 {
            break;
        }
        kept[..inside].copy_from_slice(&spare[..inside]);
        (lower, upper, left, whole) = (lower - below, upper - below, inside, false);
    }
    if whole {
        scratch.clear();
        scratch.extend(x.iter().copied().filter(|v| !v.is_nan()));
    }
    select(&mut scratch[..left], lower, upper)
}

fn select(readings: &mut [f64], lower: usize, upper: usize) -> (f64, f64) {
    let (less, &mut second, _) = readings.select_nth_unstable_by(upper, f64::total_cmp);
    let first = if lower == upper { second } else { less.iter().copied().fold(f64::NEG_INFINITY, f64::max) };
    (first, second)
}

/// Two values between which the ranks lie, most likely; none if too few of the sample are present.
fn bracket(x: &[f64], n: usize, lower: usize, upper: usize) -> Option<(f64, f64)> {
    let mut sample = [0.0; SAMPLE];
    let mut size = 0;
    for &v in x.iter().step_by(x.len().div_ceil(SAMPLE)).filter(|v| !v.is_nan()) {
        sample[size] = v;
        size += 1;
    }
    if size < SAMPLE / 4 {
        return None;
    }
    let sample = &mut sample[..size];
    let share = upper as f64 / n as f64;
    let reach = REACH * (size as f64 * share * (1.0 - share)).sqrt() + 1.0;
    let (lo, hi) = (size as f64 * lower as f64 / n as f64 - reach, size as f64 * share + reach);
    let low = if lo < 0.0 { f64::NEG_INFINITY } else { *sample.select_nth_unstable_by(lo as usize, f64::total_cmp).1 };
    let high =
        if hi >= size as f64 { f64::INFINITY } else { *sample.select_nth_unstable_by(hi as usize, f64::total_cmp).1 };
    Some((low, high))
}

/// Readings below a bracket, and inside.
struct Inside {
    below: usize,
    inside: usize,
}

/// Writes the readings from `low` to `high` to `to`, which has room for eight more than there are readings.
struct Keep<'a> {
    from: &'a [f64],
    low: f64,
    high: f64,
    to: &'a mut [f64],
}

impl Kernel for Keep<'_> {
    type Output = Inside;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Inside {
        let Self { from, low, high, to } = self;
        let (vectors, rest) = from.as_chunks();
        let (lows, highs) = (s.splat(low), s.splat(high));
        let (mut below, mut inside) = (s.splat(0.0), 0);
        for v in vectors {
            let v = s.load(v);
            below = s.add(below, s.keep(s.lt(v, lows), s.splat(1.0)));
            // a missing reading becomes the lower end, which it does not equal
            let nearest = s.min(s.max(v, lows), highs);
            inside += s.compress(s.eq(nearest, v), v, to, inside);
        }
        let mut below = s.to_array(below).iter().sum::<f64>() as usize;
        for &v in rest {
            // what is not kept is overwritten
            to[inside] = v;
            inside += usize::from(low <= v && v <= high);
            below += usize::from(v < low);
        }
        Inside { below, inside }
    }
}
