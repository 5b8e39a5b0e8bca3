//! The naive twin: every window is collected anew and every statistic follows its definition. Sums and deviations are
//! carried as unevaluated pairs of f64 (about 32 digits) and scaled by powers of two, so that neither cancellation nor
//! overflow touches them; what the pairs lose is measured against exact integers in `accuracy`.

use crate::subject::{Case, Span, What};
use std::cell::RefCell;
use std::collections::HashMap;
use std::f64::consts::TAU;

/// What a kernel has to give in one row. NaN is a missing result; a tolerance of zero means the same bits, an infinite
/// one that nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub value: f64,
    pub tolerance: f64,
}

const MISSING: Expected = Expected { value: f64::NAN, tolerance: 0.0 };
/// The accuracy that is promised, relative to the value or to the scale that its condition sets.
pub const RELATIVE: f64 = 1e-12;
/// MAD of normally distributed readings to their standard deviation.
const NORMAL: f64 = 1.4826;

fn bits(value: f64) -> Expected {
    // -0.0 + 0.0 is +0.0
    if value.is_finite() { Expected { value: value + 0.0, tolerance: 0.0 } } else { MISSING }
}

fn near(value: f64, scale: f64) -> Expected {
    if value.is_finite() { Expected { value, tolerance: RELATIVE * scale } } else { MISSING }
}

/// The sum of two f64, unevaluated.
#[derive(Clone, Copy, Debug)]
struct Pair {
    high: f64,
    low: f64,
}

impl Pair {
    const ZERO: Pair = Pair { high: 0.0, low: 0.0 };

    fn new(value: f64) -> Pair {
        Pair { high: value, low: 0.0 }
    }

    /// Knuth's exact sum of two f64.
    fn sum(a: f64, b: f64) -> Pair {
        let high = a + b;
        let part = high - a;
        Pair { high, low: (a - (high - part)) + (b - part) }
    }

    fn add(self, other: Pair) -> Pair {
        let sum = Pair::sum(self.high, other.high);
        let low = Pair::sum(self.low, other.low);
        let middle = Pair::sum(sum.high, sum.low + low.high);
        Pair::sum(middle.high, middle.low + low.low)
    }

    fn negative(self) -> Pair {
        Pair { high: -self.high, low: -self.low }
    }

    fn times(self, other: Pair) -> Pair {
        let high = self.high * other.high;
        let error = self.high.mul_add(other.high, -high);
        Pair::sum(high, error + (self.high * other.low + self.low * other.high))
    }

    fn over(self, divisor: f64) -> Pair {
        let first = self.high / divisor;
        let rest = self.add(Pair::new(first).times(Pair::new(divisor)).negative());
        Pair::sum(first, rest.value() / divisor)
    }

    /// Times a power of two.
    fn scaled(self, exponent: i32) -> Pair {
        Pair { high: shift(self.high, exponent), low: shift(self.low, exponent) }
    }

    fn value(self) -> f64 {
        self.high + self.low
    }
}

/// `value * 2^exponent` for any exponent; steps of at most 1000 keep the power itself inside f64.
pub fn shift(mut value: f64, mut exponent: i32) -> f64 {
    while exponent > 1000 {
        value *= 2f64.powi(1000);
        exponent -= 1000;
    }
    while exponent < -1000 {
        value *= 2f64.powi(-1000);
        exponent += 1000;
    }
    value * 2f64.powi(exponent)
}

/// The e with `2^e <= |value| < 2^(e+1)`; -1074 for zero.
fn exponent(value: f64) -> i32 {
    let field = ((value.to_bits() >> 52) & 0x7ff) as i32;
    let mantissa = value.to_bits() << 12 >> 12;
    match (field, mantissa) {
        (0, 0) => -1074,
        (0, mantissa) => -1074 + (63 - mantissa.leading_zeros() as i32),
        _ => field - 1023,
    }
}

fn midpoint(a: f64, b: f64) -> f64 {
    if (a + b).is_finite() { (a + b) / 2.0 } else { a / 2.0 + b / 2.0 }
}

/// Midpoint of the middle two. `values` may hold infinities (overflowed deviations), never NaN.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// The present readings of one window.
pub struct Readings {
    /// Rows of the window, missing ones among them.
    rows: usize,
    /// Place in the window: row, or nanoseconds after its first row.
    places: Vec<f64>,
    /// Row within the window, also in windows of time.
    positions: Vec<usize>,
    values: Vec<f64>,
    /// Places are nanoseconds.
    timed: bool,
    /// The reading of the current row.
    current: f64,
}

impl Readings {
    pub fn collect(x: &[f64], times: Option<&[i64]>, span: Span, t: usize) -> Readings {
        let mut start = t;
        let timed = matches!(span, Span::Nanoseconds(_));
        let inside = |row: usize| match (span, times) {
            (Span::Rows(size), _) => t - row < size,
            (Span::Nanoseconds(length), Some(times)) => {
                i128::from(times[row]) > i128::from(times[t]) - i128::from(length)
            }
            (Span::Nanoseconds(_), None) => panic!("a window of time needs times"),
        };
        while start > 0 && inside(start - 1) {
            start -= 1;
        }
        let mut readings =
            Readings { rows: t - start + 1, places: vec![], positions: vec![], values: vec![], timed, current: x[t] };
        for row in start..=t {
            if x[row].is_finite() {
                readings.values.push(x[row]);
                readings.positions.push(row - start);
                readings.places.push(match (timed, times) {
                    (true, Some(times)) => (i128::from(times[row]) - i128::from(times[start])) as f64,
                    _ => (row - start) as f64,
                });
            }
        }
        readings
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    pub fn places(&self) -> &[f64] {
        &self.places
    }

    pub fn count(&self) -> usize {
        self.values.len()
    }

    fn is_constant(&self) -> bool {
        self.values.iter().all(|v| *v == self.values[0])
    }
}

/// Mean and deviations, both scaled: `mean * 2^mean_exponent`, `deviations[i] * 2^deviation_exponent`.
struct Centred {
    mean: Pair,
    /// Mean of the absolute values, in the same unit as the mean.
    mean_absolute: f64,
    mean_exponent: i32,
    deviations: Vec<Pair>,
    deviation_exponent: i32,
}

fn centre(values: &[f64]) -> Centred {
    let n = values.len() as f64;
    let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    let mean_exponent = exponent(largest);
    let scaled: Vec<Pair> = values.iter().map(|v| Pair::new(*v).scaled(-mean_exponent)).collect();
    let mean = scaled.iter().fold(Pair::ZERO, |a, v| a.add(*v)).over(n);
    let mean_absolute = scaled.iter().map(|v| v.high.abs()).sum::<f64>() / n;
    let deviations: Vec<Pair> = scaled.iter().map(|v| v.add(mean.negative())).collect();
    let widest = deviations.iter().fold(0.0, |a: f64, d| a.max(d.high.abs()));
    let further = if widest > 0.0 { exponent(widest) } else { 0 };
    Centred {
        mean,
        mean_absolute,
        mean_exponent,
        deviations: deviations.into_iter().map(|d| d.scaled(-further)).collect(),
        deviation_exponent: mean_exponent + further,
    }
}

impl Centred {
    fn power_sum(&self, power: usize) -> f64 {
        let sum = self
            .deviations
            .iter()
            .fold(Pair::ZERO, |sum, d| sum.add((1..power).fold(*d, |product, _| product.times(*d))));
        sum.value()
    }
}

fn mean(centred: &Centred) -> Expected {
    let value = shift(centred.mean.value(), centred.mean_exponent) + 0.0;
    near(value, shift(centred.mean_absolute, centred.mean_exponent))
}

fn standard_deviation(readings: &Readings, centred: &Centred, ddof: u32) -> Expected {
    let n = readings.count();
    if n < 2 || n <= ddof as usize {
        return MISSING;
    }
    if readings.is_constant() {
        return bits(0.0);
    }
    let value = (centred.power_sum(2) / (n - ddof as usize) as f64).sqrt();
    let value = shift(value, centred.deviation_exponent);
    near(value, value)
}

fn skew(readings: &Readings, centred: &Centred, bias: bool) -> Expected {
    let n = readings.count() as f64;
    if readings.count() < 3 || readings.is_constant() {
        return MISSING;
    }
    let biased = n.sqrt() * centred.power_sum(3) / centred.power_sum(2).powf(1.5);
    let value = if bias { biased } else { biased * (n * (n - 1.0)).sqrt() / (n - 2.0) };
    near(value, value.abs().max(1.0))
}

fn kurtosis(readings: &Readings, centred: &Centred, bias: bool) -> Expected {
    let n = readings.count() as f64;
    if readings.count() < 4 || readings.is_constant() {
        return MISSING;
    }
    let biased = n * centred.power_sum(4) / centred.power_sum(2).powi(2) - 3.0;
    let value = if bias { biased } else { (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * biased + 6.0) };
    near(value, value.abs().max(1.0))
}

fn slope(readings: &Readings, centred: &Centred) -> Expected {
    let places = &readings.places;
    if readings.count() < 2 || places.iter().all(|p| *p == places[0]) {
        return MISSING;
    }
    let sum = places.iter().fold(Pair::ZERO, |a, p| a.add(Pair::new(*p)));
    let middle = sum.over(places.len() as f64);
    let (mut product, mut square, mut spread) = (Pair::ZERO, Pair::ZERO, 0.0);
    for (place, deviation) in places.iter().zip(&centred.deviations) {
        let place = Pair::new(*place).add(middle.negative());
        product = product.add(place.times(*deviation));
        square = square.add(place.times(place));
        spread += deviation.high * deviation.high;
    }
    let unit = if readings.timed { 1e9 } else { 1.0 };
    let value = shift(product.value() / square.value() * unit, centred.deviation_exponent) + 0.0;
    if readings.is_constant() {
        return bits(0.0);
    }
    // the ratio of the standard deviations, which the slope is r times
    near(value, shift((spread / square.value()).sqrt() * unit, centred.deviation_exponent))
}

thread_local! {
    /// Cosine and sine of all multiples of `TAU / m`, for the m seen so far.
    static CIRCLES: RefCell<HashMap<usize, Vec<(f64, f64)>>> = RefCell::new(HashMap::new());
}

/// Power of the bins 0..=m/2 by the definition, in units of `2^(2 * deviation_exponent)`; bin 0 is left at zero.
fn power_spectrum(readings: &Readings, centred: &Centred) -> Vec<f64> {
    let m = readings.rows;
    CIRCLES.with_borrow_mut(|circles| {
        let circle = circles.entry(m).or_insert_with(|| {
            let signed = |j: usize| if 2 * j > m { j as f64 - m as f64 } else { j as f64 };
            (0..m).map(|j| (TAU * signed(j) / m as f64).sin_cos()).map(|(sin, cos)| (cos, sin)).collect()
        });
        let mut powers = vec![0.0; m / 2 + 1];
        for (k, power) in powers.iter_mut().enumerate().skip(1) {
            let (mut real, mut imaginary) = ((0.0, 0.0), (0.0, 0.0));
            for (position, deviation) in readings.positions.iter().zip(&centred.deviations) {
                let (cos, sin) = circle[k * position % m];
                let (re, im) = (Pair::sum(real.0, deviation.high * cos), Pair::sum(imaginary.0, deviation.high * sin));
                real = (re.high, real.1 + re.low);
                imaginary = (im.high, imaginary.1 + im.low);
            }
            *power = (real.0 + real.1).powi(2) + (imaginary.0 + imaginary.1).powi(2);
        }
        powers
    })
}

fn energy(case: &Case, readings: &Readings, centred: &Centred, powers: &[f64], band: usize) -> Expected {
    if readings.count() == 0 || readings.count() < case.spectrum_min_samples {
        return MISSING;
    }
    if readings.is_constant() {
        return bits(0.0);
    }
    let (low, high) = case.bands[band];
    let frequency = |k: usize| k as f64 * case.sampling_hz / readings.rows as f64;
    let on_or_above = |k: usize, edge: f64| frequency(k) >= edge * (1.0 - 1e-12);
    let inside = powers.iter().enumerate().skip(1).filter(|(k, _)| on_or_above(*k, low) && !on_or_above(*k, high));
    let (value, total): (f64, f64) = (inside.map(|(_, power)| power).sum(), powers.iter().sum());
    let exponent = 2 * centred.deviation_exponent;
    if shift(total, exponent).is_infinite() && value <= RELATIVE * total {
        // a share of the total that may as well be rounding
        return Expected { value: f64::NAN, tolerance: f64::INFINITY };
    }
    near(shift(value, exponent), shift(total, exponent))
}

/// Every statistic of the case in row t.
pub fn row(case: &Case, x: &[f64], times: Option<&[i64]>, t: usize) -> Vec<Expected> {
    let readings = Readings::collect(x, times, case.span, t);
    let values = &readings.values;
    let any = !values.is_empty();
    let enough = any && readings.count() >= case.min_samples;
    let centred = centre(if any { values } else { &[0.0] });
    let needs_spectrum = any && case.what.iter().any(|what| matches!(what, What::Energy(_)));
    let powers = if needs_spectrum { power_spectrum(&readings, &centred) } else { vec![] };
    let median_value = if any { median(values) } else { f64::NAN };
    let distances: Vec<f64> = values.iter().map(|v| (v - median_value).abs()).collect();
    let mad = if any { median(&distances) } else { f64::NAN };
    let current = readings.current;
    let statistic = |what: &What| match *what {
        What::Energy(band) => energy(case, &readings, &centred, &powers, band),
        _ if !enough => MISSING,
        What::Median => bits(median_value),
        What::Mad { scale } => bits(mad * scale),
        What::Mean => mean(&centred),
        What::Std { ddof } => standard_deviation(&readings, &centred, ddof),
        What::Skew { bias } => skew(&readings, &centred, bias),
        What::Kurtosis { bias } => kurtosis(&readings, &centred, bias),
        What::Slope => slope(&readings, &centred),
        What::RobustZ { .. } | What::Hampel { .. } if !current.is_finite() => MISSING,
        What::RobustZ { clip, scale_floor } => {
            let scale = (NORMAL * mad).max(scale_floor);
            let distance = current - median_value;
            if scale == 0.0 && distance == 0.0 {
                bits(0.0)
            } else if scale == 0.0 {
                bits(clip.copysign(distance))
            } else {
                bits((distance / scale).clamp(-clip, clip))
            }
        }
        What::Hampel { n_sigmas } => {
            bits(if (current - median_value).abs() > n_sigmas * (NORMAL * mad) { 1.0 } else { 0.0 })
        }
    };
    case.what.iter().map(statistic).collect()
}
