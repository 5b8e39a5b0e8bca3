//! Transient states: how fast the sensors of a machine move together, in units of how fast they usually move.
//!
//! ```text
//! r_tc = (x_tc - x_sc) / (t - s) / scale_c,   s the last row before t with a reading of column c
//! R_t  = mean over the window of  sum_c |w_c| |r_tc| / sum_c |w_c|     over the columns that have r_tc
//! D_t  = the same of              sum_c  w_c   r_tc  / sum_c |w_c|
//! ```
//!
//! `scale_c` is 1.4826 times the median of `|x_tc - x_sc| / (t - s)`, the standard deviation where changes are normal; its mean
//! where the median is 0 because the sensor mostly stands still. A sensor that never moves has r = 0. Windows trail; rows
//! without any r are left out of them, and a window without any has R = D = 0.
//!
//! A row is a trip if a row with R at or above `trip` is no more than `lag` rows away; else a startup or a shutdown if a row with
//! R at or above `high` is, by the sign of D in the nearest of them (the earlier of two; 0 is a startup); else transient if
//! a row is at which the label changes; else steady. Rows without any reading have no state.
//!
//! Cost: a median and a few operations per reading. Sums of windows are taken from two blocks each and never subtracted.

use super::MISSING;
use crate::kernels::parallel;
use crate::kernels::params::{ParamError, check, number};
use crate::kernels::selection::median;

/// Makes the median absolute change of normal changes their standard deviation.
const NORMAL: f64 = 1.4826;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Steady,
    Transient,
    Startup,
    Shutdown,
    Trip,
}

#[derive(Clone, Debug)]
pub struct Rule {
    /// Rows.
    window: usize,
    high: f64,
    trip: f64,
    /// Rows.
    lag: usize,
    /// Of each column; the sign is the direction in which it moves when the machine starts.
    weights: Vec<f64>,
}

impl Rule {
    pub fn new(window: usize, high: f64, trip: f64, lag: usize, weights: Vec<f64>) -> Result<Self, ParamError> {
        check(window >= 1, || format!("`window_size` must be >= 1, got {window}"))?;
        number("high", high, true)?;
        number("trip", trip, true)?;
        check(trip >= high, || format!("`trip` must be at least `high` ({high}), got {trip}"))?;
        let known = weights.iter().all(|w| w.is_finite()) && weights.iter().any(|w| *w != 0.0);
        check(known, || format!("`weights` must be finite numbers, one of them not 0, got {weights:?}"))?;
        Ok(Self { window, high, trip, lag, weights })
    }
}

/// The state of each row; None where no column has a reading. Missing readings are NaN; `labels` may be left out.
///
/// # Panics
/// If columns and labels differ in length, or there is not a weight for each column.
pub fn states(columns: &[&[f64]], labels: Option<&[u32]>, rule: &Rule, pool: &rayon::ThreadPool) -> Vec<Option<State>> {
    assert_eq!(columns.len(), rule.weights.len(), "a weight for each column");
    let rows = columns.first().map_or(0, |x| x.len());
    assert!(columns.iter().all(|x| x.len() == rows) && labels.is_none_or(|l| l.len() == rows), "{rows} rows");
    let rates =
        parallel::map(pool, columns.len(), columns.len() * rows, Vec::new, |scratch, c| rates(columns[c], scratch));
    let (mut moved, mut direction, mut weight) = (vec![0.0; rows], vec![0.0; rows], vec![0.0_f64; rows]);
    let largest = rule.weights.iter().fold(0.0_f64, |most, w| w.abs().max(most));
    for (rates, w) in rates.iter().zip(&rule.weights) {
        let w = w / largest;
        for (t, &r) in rates.iter().enumerate().filter(|(_, r)| !r.is_nan()) {
            moved[t] += w.abs() * r.abs();
            direction[t] += w * r;
            weight[t] += w.abs();
        }
    }
    let mut counts = vec![0.0; rows];
    for t in (0..rows).filter(|&t| weight[t] > 0.0) {
        moved[t] /= weight[t];
        direction[t] /= weight[t];
        counts[t] = 1.0;
    }
    let (moved, direction) = (trailing_sums(&moved, rule.window), trailing_sums(&direction, rule.window));
    let counts = trailing_sums(&counts, rule.window);
    let at_least = |t: usize, limit: f64| counts[t] > 0.0 && moved[t] / counts[t] >= limit;
    let trip = Nearest::new((0..rows).map(|t| at_least(t, rule.trip)));
    let high = Nearest::new((0..rows).map(|t| at_least(t, rule.high) && !at_least(t, rule.trip)));
    let change = Nearest::new(changes(labels, rows));
    (0..rows)
        .map(|t| {
            if columns.iter().all(|x| x[t].is_nan()) {
                return None;
            }
            let near = |rows: &Nearest| rows.of(t).filter(|&row| row.abs_diff(t) <= rule.lag);
            Some(match (near(&trip), near(&high), near(&change)) {
                (Some(_), ..) => State::Trip,
                (_, Some(row), _) if direction[row] >= 0.0 => State::Startup,
                (_, Some(_), _) => State::Shutdown,
                (.., Some(_)) => State::Transient,
                _ => State::Steady,
            })
        })
        .collect()
}

/// `r_tc` of a column; NaN in rows without a reading, and at the first.
fn rates(x: &[f64], scratch: &mut Vec<f64>) -> Vec<f64> {
    let mut rates = vec![f64::NAN; x.len()];
    let mut last: Option<usize> = None;
    for t in 0..x.len() {
        if x[t].is_nan() {
            continue;
        }
        if let Some(s) = last {
            let rows = (t - s) as f64;
            // halves, because the difference of two huge numbers of unlike signs does not fit
            rates[t] = ((x[t] / 2.0 - x[s] / 2.0) / rows * 2.0).clamp(-f64::MAX, f64::MAX);
        }
        last = Some(t);
    }
    let sizes: Vec<f64> = rates.iter().map(|r| r.abs()).collect();
    let scale = NORMAL * median(&sizes, scratch);
    let scale = if scale > 0.0 { scale } else { mean(&sizes) };
    if scale > 0.0 {
        rates.iter_mut().for_each(|r| *r = (*r / scale).clamp(-LARGEST, LARGEST));
    }
    rates
}

/// Rates are no larger, so that sums of them are numbers.
const LARGEST: f64 = 1e150;

/// Of the numbers that are present; 0 where there is none.
fn mean(x: &[f64]) -> f64 {
    let n = x.iter().filter(|v| !v.is_nan()).count().max(1) as f64;
    x.iter().filter(|v| !v.is_nan()).map(|v| v / n).sum()
}

/// Sums over trailing windows: the rest of one block of `window` rows and the beginning of the next.
fn trailing_sums(x: &[f64], window: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    let mut rest: Vec<f64> = Vec::new();
    for block in x.chunks(window.min(x.len()).max(1)) {
        let mut sum = 0.0;
        for (i, v) in block.iter().enumerate() {
            sum += v;
            out.push(rest.get(i + 1).map_or(sum, |rest| rest + sum));
        }
        rest.clear();
        rest.extend_from_slice(block);
        for i in (1..rest.len()).rev() {
            rest[i - 1] += rest[i];
        }
    }
    out
}

/// Whether the label of a row differs from the last one before it.
fn changes(labels: Option<&[u32]>, rows: usize) -> impl Iterator<Item = bool> {
    let mut last = MISSING;
    (0..rows).map(move |t| {
        let label = labels.map_or(MISSING, |labels| labels[t]);
        if label == MISSING {
            return false;
        }
        let before = std::mem::replace(&mut last, label);
        before != MISSING && before != label
    })
}

/// For each row the nearest of some rows, the earlier of two.
struct Nearest(Vec<Option<usize>>);

impl Nearest {
    fn new(chosen: impl Iterator<Item = bool>) -> Self {
        let mut last = None;
        let mut nearest: Vec<Option<usize>> = Vec::new();
        for (t, chosen) in chosen.enumerate() {
            last = if chosen { Some(t) } else { last };
            nearest.push(last);
        }
        let mut next = None;
        for (t, before) in nearest.iter_mut().enumerate().rev() {
            if *before == Some(t) {
                next = Some(t);
            }
            *before = match (*before, next) {
                (Some(before), Some(next)) if next - t < t - before => Some(next),
                (before, next) => before.or(next),
            };
        }
        Self(nearest)
    }

    fn of(&self, row: usize) -> Option<usize> {
        self.0[row]
    }
}
