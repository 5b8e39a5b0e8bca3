//! First-order autoregression of a single series: what the last reading says about the next one.
//!
//! ```text
//! y_t = x_t - center,  center = median,  phi = sum y_t y_{t-1} / sum y_{t-1}^2
//! residual_t = y_t - phi y_{t-1},  scale = 1.4826 median |residual - median(residual)|,  z_t = residual_t / scale
//! ```
//!
//! Least squares about a median: an outlier does not move the center as it would move the intercept of AR(1) by ordinary
//! least squares. The sums run over the pairs of neighbouring rows in which both readings are present, or, with `close_gaps`, over
//! all pairs of readings that follow each other. `|phi|` is capped; it is 0 where the readings differ by no more than their
//! rounding ([`ROUNDING`], relative to the largest reading: no unit plays a part), with fewer than three readings, and
//! without a pair. Without a pair the residuals are the readings' distances from the center. Where the predecessor is missing,
//! the center is the prediction.
//!
//! The differences from the center are rounded once; eight lanes of at most [`BLOCK`] rows are added and the blocks' sums
//! are compensated (Neumaier 1974), so that phi errs by `64 eps sum |y_t y_{t-1}| / sum y_{t-1}^2` at most.
//! Readings whose squares leave the range of `f64` are scaled by a power of two.
//!
//! Cost of a fit: three medians and five passes over data in the cache; three selections among all readings took two thirds
//! of the time, hence [`selection`]. Cost of a score: one pass.

use crate::kernels::features::scaling::NORMAL_SCALE;
use crate::kernels::matrix::TILE_ROWS;
use crate::kernels::params::{ParamError, number};
use crate::kernels::selection;
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

/// Root mean square of the deviations, relative to the largest reading, up to which they are rounding: sixteen eps.
const ROUNDING: f64 = 16.0 * f64::EPSILON;
/// Rows whose products are added without compensation.
const BLOCK: usize = 512;
/// Outside these bounds of the largest reading, squares may leave the range of `f64`; 2^600 brings all of it inside.
const TINY: f64 = f64::from_bits((1023 - 400) << 52);
const HUGE: f64 = f64::from_bits((1023 + 400) << 52);
const UNIT: f64 = f64::from_bits((1023 + 600) << 52);

/// How to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    phi_cap: f64,
    scale_floor: f64,
    close_gaps: bool,
}

impl Rule {
    pub fn new(phi_cap: f64, scale_floor: f64, close_gaps: bool) -> Result<Self, ParamError> {
        if !(0.0..=1.0).contains(&phi_cap) {
            return Err(ParamError(format!("`phi_cap` must be between 0 and 1, got {phi_cap}")));
        }
        number("scale_floor", scale_floor, false)?;
        Ok(Self { phi_cap, scale_floor, close_gaps })
    }
}

/// The model of a series; `center`, `phi` and `scale` are NaN if no reading is present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ar1 {
    pub center: f64,
    pub phi: f64,
    pub scale: f64,
    pub readings: usize,
}

/// Buffers of a fit, kept from series to series.
#[derive(Default)]
pub struct Scratch {
    deviations: Vec<f64>,
    residuals: Vec<f64>,
    selected: Vec<f64>,
}

pub fn fit(x: &[f64], rule: &Rule, scratch: &mut Scratch) -> Ar1 {
    let Scratch { deviations, residuals, selected } = scratch;
    let (readings, largest) = extent(x);
    if readings == 0 {
        return Ar1 { center: f64::NAN, phi: f64::NAN, scale: f64::NAN, readings };
    }
    let unit = if largest > HUGE {
        1.0 / UNIT
    } else if largest < TINY {
        UNIT
    } else {
        1.0
    };
    let center = selection::median(x, selected);
    deviations.resize(x.len(), 0.0);
    dispatch(Deviations { x, unit, center: center * unit, to: deviations });
    if rule.close_gaps && readings < x.len() {
        deviations.retain(|v| !v.is_nan());
    }
    let sums = dispatch(Pairs(deviations));
    let rounding = ROUNDING * (largest * unit);
    let phi = if readings < 3 || sums.pairs == 0 || sums.square <= rounding * rounding * sums.pairs as f64 {
        0.0
    } else {
        (sums.product / sums.square).clamp(-rule.phi_cap, rule.phi_cap)
    };
    if readings < 3 || sums.pairs == 0 {
        residuals.clone_from(deviations);
    } else {
        residuals.resize(deviations.len() - 1, 0.0);
        dispatch(Residuals { y: deviations, phi, to: residuals });
    }
    let middle = selection::median(residuals, selected);
    dispatch(Distances { from: middle, of: residuals });
    // a spread beyond the range of f64 is unknown
    let spread = NORMAL_SCALE * selection::median(residuals, selected) / unit;
    let scale = if spread.is_finite() { spread.max(rule.scale_floor) } else { f64::NAN };
    Ar1 { center, phi, scale, readings }
}

/// How many readings are present, and the largest magnitude among them.
fn extent(x: &[f64]) -> (usize, f64) {
    struct Extent<'a>(&'a [f64]);

    impl Kernel for Extent<'_> {
        type Output = (usize, f64);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let (vectors, rest) = self.0.as_chunks();
            let (mut count, mut largest) = (s.splat(0.0), s.splat(0.0));
            for v in vectors {
                let v = s.load(v);
                count = s.add(count, s.keep(s.eq(v, v), s.splat(1.0)));
                largest = s.max(s.abs(v), largest);
            }
            let (count, largest) = (s.to_array(count), s.to_array(largest));
            (
                count.iter().sum::<f64>() as usize + rest.iter().filter(|v| !v.is_nan()).count(),
                rest.iter().map(|v| v.abs()).chain(largest).fold(0.0, f64::max),
            )
        }
    }

    dispatch(Extent(x))
}

/// `x unit - center`.
struct Deviations<'a> {
    x: &'a [f64],
    unit: f64,
    center: f64,
    to: &'a mut [f64],
}

impl Kernel for Deviations<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, unit, center, to } = self;
        let ((x, x_rest), (to, to_rest)) = (x.as_chunks(), to.as_chunks_mut());
        for (x, to) in x.iter().zip(to) {
            s.store(s.sub(s.mul(s.load(x), s.splat(unit)), s.splat(center)), to);
        }
        for (x, to) in x_rest.iter().zip(to_rest) {
            *to = x * unit - center;
        }
    }
}

/// What the reading before leaves to be explained, from the second row on.
struct Residuals<'a> {
    y: &'a [f64],
    phi: f64,
    to: &'a mut [f64],
}

impl Kernel for Residuals<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { y, phi, to } = self;
        let ((last, _), (next, _), (vectors, rest)) = (y.as_chunks(), y[1..].as_chunks(), to.as_chunks_mut());
        let whole = vectors.len() * LANES;
        for ((last, next), to) in last.iter().zip(next).zip(vectors) {
            s.store(s.sub(s.load(next), s.mul(s.splat(phi), s.load(last))), to);
        }
        for (pair, to) in y[whole..].windows(2).zip(rest) {
            *to = pair[1] - phi * pair[0];
        }
    }
}

/// `|v - from|`, in place.
struct Distances<'a> {
    from: f64,
    of: &'a mut [f64],
}

impl Kernel for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (vectors, rest) = self.of.as_chunks_mut();
        for v in vectors {
            s.store(s.abs(s.sub(s.load(v), s.splat(self.from))), v);
        }
        rest.iter_mut().for_each(|v| *v = (*v - self.from).abs());
    }
}

/// Sums over the pairs of neighbouring rows in which both are present.
struct Sums {
    pairs: usize,
    product: f64,
    /// Of the first of each pair.
    square: f64,
}

struct Pairs<'a>(&'a [f64]);

impl Kernel for Pairs<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Sums {
        let y = self.0;
        let (mut product, mut square) = (Compensated::default(), Compensated::default());
        let mut pairs = 0.0;
        let rows = y.len().saturating_sub(1);
        for start in (0..rows).step_by(BLOCK) {
            let end = (start + BLOCK).min(rows);
            let mut sums = [s.splat(0.0); 3];
            let (last, last_rest) = y[start..end].as_chunks::<LANES>();
            let (next, next_rest) = y[start + 1..=end].as_chunks::<LANES>();
            for (last, next) in last.iter().zip(next) {
                add(s, s.load(last), s.load(next), &mut sums);
            }
            add(s, s.load(&padded(last_rest)), s.load(&padded(next_rest)), &mut sums);
            let [xy, xx, n] = sums;
            s.to_array(xy).into_iter().for_each(|v| product.add(v));
            s.to_array(xx).into_iter().for_each(|v| square.add(v));
            pairs += s.to_array(n).iter().sum::<f64>();
        }
        Sums { pairs: pairs as usize, product: product.value(), square: square.value() }
    }
}

/// Adds the products, the squares and the number of eight pairs where both are present. A function and not a closure, which
/// would be compiled without the level's instructions.
#[inline(always)]
fn add<S: Simd>(s: S, last: S::V, next: S::V, sums: &mut [S::V; 3]) {
    let both = s.mul(last, next);
    let present = s.eq(both, both);
    let terms = [both, s.mul(last, last), s.splat(1.0)];
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum = s.add(*sum, s.keep(present, term));
    }
}

/// Fewer than eight values, and missing ones behind them.
#[inline(always)]
fn padded(rest: &[f64]) -> [f64; LANES] {
    let mut lanes = [f64::NAN; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    lanes
}

/// A sum with what its additions rounded off.
#[derive(Default)]
struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    fn add(&mut self, v: f64) {
        let sum = self.sum + v;
        self.lost += if self.sum.abs() >= v.abs() { (self.sum - sum) + v } else { (v - sum) + self.sum };
        self.sum = sum;
    }

    fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

/// What a score is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The series' own unit.
    Residual,
    /// The scale of the model's residuals.
    Z,
}

impl Ar1 {
    /// The score of each reading, given its predecessor; NaN where the reading is missing. Where only the predecessor is, the
    /// prediction is the center.
    pub fn score(&self, measure: Measure, x: &[f64], previous: &[f64], out: &mut [f64]) {
        assert_eq!(x.len(), previous.len(), "a predecessor for each reading");
        assert_eq!(x.len(), out.len(), "a result for each reading");
        let divisor = match measure {
            Measure::Residual => 1.0,
            Measure::Z => self.scale,
        };
        if self.center.is_nan() || divisor.is_nan() {
            out.fill(f64::NAN);
        } else {
            dispatch(Scores { center: self.center, phi: self.phi, divisor, x, previous, out });
        }
    }

    /// The score of each row of a series from its first row on, which has no predecessor and so no score.
    pub fn score_series(&self, measure: Measure, x: &[f64], out: &mut [f64]) {
        if let Some((first, rest)) = out.split_first_mut() {
            *first = f64::NAN;
            self.score(measure, &x[1..], &x[..x.len() - 1], rest);
        }
    }
}

struct Scores<'a> {
    center: f64,
    phi: f64,
    divisor: f64,
    x: &'a [f64],
    previous: &'a [f64],
    out: &'a mut [f64],
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let numbers = [self.center, self.phi, self.divisor].map(|v| s.splat(v));
        let (x, x_rest) = self.x.as_chunks::<LANES>();
        let (previous, previous_rest) = self.previous.as_chunks::<LANES>();
        let whole = x.len() * LANES;
        let (out, out_rest) = self.out.split_at_mut(whole);
        let (out, _) = out.as_chunks_mut::<LANES>();
        for ((x, previous), out) in x.iter().zip(previous).zip(out) {
            if !score_eight(s, numbers, x, previous, out) {
                for lane in 0..LANES {
                    out[lane] = in_quarters(self.center, self.phi, self.divisor, x[lane], previous[lane]);
                }
            }
        }
        let (x, previous, mut out) = (padded(x_rest), padded(previous_rest), [0.0; LANES]);
        let finite = score_eight(s, numbers, &x, &previous, &mut out);
        for (lane, to) in out_rest.iter_mut().enumerate() {
            *to = if finite {
                out[lane]
            } else {
                in_quarters(self.center, self.phi, self.divisor, x[lane], previous[lane])
            };
        }
    }
}

/// Scores of eight readings by center, phi and divisor; says whether each reading that is present has one.
#[inline(always)]
fn score_eight<S: Simd>(
    s: S,
    [center, phi, divisor]: [S::V; 3],
    x: &[f64; LANES],
    previous: &[f64; LANES],
    out: &mut [f64; LANES],
) -> bool {
    let (x, last) = (s.load(x), s.sub(s.load(previous), center));
    let predicted = s.mul(phi, s.keep(s.eq(last, last), last));
    let score = s.div(s.sub(s.sub(x, center), predicted), divisor);
    s.store(score, out);
    s.all(s.le(s.abs(s.keep(s.eq(x, x), score)), s.splat(f64::MAX)))
}

/// Where numbers on the way leave the range of `f64`: quarters of them do not.
#[cold]
fn in_quarters(center: f64, phi: f64, divisor: f64, x: f64, previous: f64) -> f64 {
    let y = x * 0.25 - center * 0.25;
    let last = if previous.is_nan() { 0.0 } else { previous * 0.25 - center * 0.25 };
    let score = (y - phi * last) / (divisor * 0.25);
    if score.is_finite() { score } else { f64::NAN }
}

/// One number for a row of many z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fuse {
    Mean,
    Median,
    /// The quantile at 0.95, by linear interpolation (Hyndman and Fan 1996, type 7).
    P95,
}

/// Rows that [`fuse`] takes at once: their z of all columns lie in the cache together.
pub const FUSE_ROWS: usize = TILE_ROWS;

/// The mean, median or 95 % quantile of `|z|` over the columns that are present in a row; NaN where none is. `z` holds
/// the columns one behind the other, each of `out.len()` rows.
pub fn fuse(how: Fuse, z: &[f64], [readings, scratch]: &mut [Vec<f64>; 2], out: &mut [f64]) {
    let rows = out.len();
    if rows == 0 {
        return;
    }
    assert_eq!(z.len() % rows, 0, "whole columns");
    let p = match how {
        Fuse::Mean => {
            mean(z, out);
            return;
        }
        Fuse::Median => 0.5,
        Fuse::P95 => 0.95,
    };
    for (row, out) in out.iter_mut().enumerate() {
        readings.clear();
        readings.extend(z[row..].iter().step_by(rows).filter(|z| !z.is_nan()).map(|z| z.abs()));
        *out = selection::quantile(readings, p, scratch);
    }
}

fn mean(z: &[f64], out: &mut [f64]) {
    let rows = out.len();
    let mut counts = vec![0.0; rows];
    out.fill(0.0);
    for column in z.chunks_exact(rows) {
        for ((sum, count), z) in out.iter_mut().zip(&mut counts).zip(column) {
            *sum += if z.is_nan() { 0.0 } else { z.abs() };
            *count += if z.is_nan() { 0.0 } else { 1.0 };
        }
    }
    for (row, (sum, count)) in out.iter_mut().zip(counts).enumerate() {
        *sum = if *sum == f64::INFINITY {
            let shares = z[row..].iter().step_by(rows).filter(|z| !z.is_nan()).map(|z| z.abs() / count);
            shares.sum::<f64>().min(f64::MAX)
        } else {
            // NaN where none is present
            *sum / count
        };
    }
}
