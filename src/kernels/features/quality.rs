//! Tests of single readings and of the steps between them. Missing readings (NaN) have no result and are skipped.

use std::collections::VecDeque;

use crate::kernels::params::Span;

/// What counts as standing still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stuck {
    /// How many readings, or how much time from the first to the last one, make a standstill.
    pub min_length: Span,
    /// How far the largest and the smallest reading of a standstill may lie apart.
    pub tolerance: f64,
    /// All readings of a standstill, or only those from which it is known to be one.
    pub look_ahead: bool,
}

/// 1 where the reading belongs to a standstill, else 0.
///
/// A standstill is a run of readings, at least `min_length` long, within a range of `tolerance`. Silence is no evidence for it:
/// a gap of `min_length` or more (rows without a reading, or time between two readings) ends every run.
///
/// For each row the longest run that ends there is known from its start, which never moves back; two monotonic queues hold
/// the candidates for its largest and smallest reading (Lemire 2006). Cost: a few operations per row, amortised.
pub fn stuck(x: &[f64], times: Option<&[i64]>, rule: &Stuck, out: &mut Vec<f64>) {
    let time = |row: usize| times.expect("a length in time has times")[row];
    out.clear();
    out.resize(x.len(), f64::NAN);
    let (mut largest, mut smallest) = (VecDeque::new(), VecDeque::new());
    let mut last: Option<usize> = None;
    let (mut start, mut readings) = (0, 0);
    let mut marked = 0; // rows before it that are part of the current run are marked
    for row in 0..x.len() {
        if x[row].is_nan() {
            continue;
        }
        let silent = last.is_none_or(|last| match rule.min_length {
            Span::Rows(rows) => row - last > rows,
            Span::Duration(length) => time(row).saturating_sub(time(last)) >= length,
        });
        let anew = silent || (rule.tolerance == 0.0 && last.is_some_and(|last| x[last] != x[row]));
        if anew {
            (start, readings) = (row, 0);
            if !largest.is_empty() {
                largest.clear();
                smallest.clear();
            }
        }
        last = Some(row);
        readings += 1;
        if rule.tolerance > 0.0 {
            while largest.back().is_some_and(|&i: &usize| x[i] <= x[row]) {
                largest.pop_back();
            }
            largest.push_back(row);
            while smallest.back().is_some_and(|&i: &usize| x[i] >= x[row]) {
                smallest.pop_back();
            }
            smallest.push_back(row);
            while x[largest[0]] - x[smallest[0]] > rule.tolerance {
                if largest[0] == start {
                    largest.pop_front();
                }
                if smallest[0] == start {
                    smallest.pop_front();
                }
                start += 1;
                while x[start].is_nan() {
                    start += 1;
                }
                readings -= 1;
            }
        }
        let long = match rule.min_length {
            Span::Rows(rows) => readings >= rows,
            Span::Duration(length) => time(row).saturating_sub(time(start)) >= length,
        };
        out[row] = f64::from(u8::from(long));
        if long && rule.look_ahead {
            for earlier in start.max(marked)..row {
                if !x[earlier].is_nan() {
                    out[earlier] = 1.0;
                }
            }
            marked = row;
        }
    }
}

/// 1 where the reading lies below `low` or above `high`, else 0.
pub fn out_of_range(x: &[f64], low: f64, high: f64, out: &mut Vec<f64>) {
    out.clear();
    out.extend(x.iter().map(|&v| if v.is_nan() { f64::NAN } else { f64::from(u8::from(v < low || v > high)) }));
}

/// `(x_i - x_j) / (i - j)` with the last reading `x_j` before row `i`; with times, per second. NaN at one and the same time.
pub fn rate_of_change(x: &[f64], times: Option<&[i64]>, out: &mut Vec<f64>) {
    const NANOSECONDS: f64 = 1e9;
    out.clear();
    let mut last: Option<usize> = None;
    for (row, &now) in x.iter().enumerate() {
        if now.is_nan() {
            out.push(f64::NAN);
            continue;
        }
        out.push(last.map_or(f64::NAN, |last| {
            let distance = match times {
                Some(times) => times[row].abs_diff(times[last]) as f64 / NANOSECONDS,
                None => (row - last) as f64,
            };
            let rise = now - x[last];
            match distance {
                0.0 => f64::NAN,
                _ if rise.is_finite() => rise / distance,
                _ => now / distance - x[last] / distance,
            }
        }));
        last = Some(row);
    }
}
