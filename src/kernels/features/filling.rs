//! Filling of gaps: runs of missing readings (NaN) get a value, or are left as they are, always as a whole.
//!
//! - `Value(v)`: every missing reading becomes `v`. `Median`: the sample median of all readings of the series.
//! - `Forward`, `Backward`: the last reading before the gap, the first one after it.
//! - `Interpolate`: on the straight line between both neighbours, over rows or over time. Nothing is extrapolated.
//!
//! The length of a gap is its number of rows or, in time, the time from the reading before it to the reading after it; where
//! the series begins or ends with the gap, to its first or last row. A gap longer than the limit is left alone entirely:
//! a value that is trusted for ten rows says nothing about the first ten rows of a thousand. (pandas' `limit` fills those.)
//!
//! Cost: one pass; the median is a selection, linear in the number of readings.

use crate::kernels::params::Span;
use crate::kernels::selection::median;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    Value(f64),
    Median,
    Forward,
    Backward,
    Interpolate,
}

/// Fills the gaps of `x` that are no longer than `max_gap`. `times` are ascending, in nanoseconds, one for each row.
pub fn fill(x: &mut [f64], times: Option<&[i64]>, method: Method, max_gap: Option<Span>) {
    let n = x.len();
    if let Some(times) = times {
        assert_eq!(times.len(), n, "a time for each row");
    }
    let value = match method {
        Method::Value(value) => value,
        Method::Median => median(x, &mut Vec::new()),
        _ => f64::NAN,
    };
    let mut row = 0;
    while row < n {
        if !x[row].is_nan() {
            row += 1;
            continue;
        }
        let start = row;
        while row < n && x[row].is_nan() {
            row += 1;
        }
        // the rows of the readings at both sides, or the first and the last row
        let (before, after) = (start.saturating_sub(1), row.min(n - 1));
        let short = match max_gap {
            None => true,
            Some(Span::Rows(most)) => row - start <= most,
            Some(Span::Duration(most)) => {
                let times = times.expect("a limit in time has times");
                times[after].saturating_sub(times[before]) <= most
            }
        };
        if !short {
            continue;
        }
        match method {
            Method::Value(_) | Method::Median => x[start..row].fill(value),
            Method::Forward if start > 0 => {
                let value = x[before];
                x[start..row].fill(value);
            }
            Method::Backward if row < n => {
                let value = x[after];
                x[start..row].fill(value);
            }
            Method::Interpolate if start > 0 && row < n => {
                // unsigned: a gap may be longer than the 292 years that a signed number of nanoseconds holds
                let at = |i: usize| times.map_or(i as f64, |t| t[i].abs_diff(t[before]) as f64);
                let (from, to) = (x[before], x[after]);
                let (first, last) = (at(before), at(after));
                for (i, v) in x.iter_mut().enumerate().take(row).skip(start) {
                    *v = between(from, to, at(i) - first, last - first);
                }
            }
            _ => {}
        }
    }
}

/// The value at `part` of the way `whole` from one to the other; at one and the same time, the former.
fn between(from: f64, to: f64, part: f64, whole: f64) -> f64 {
    if whole == 0.0 || from == to {
        return from;
    }
    let share = part / whole;
    let step = (to - from) * share;
    // the difference of two huge readings of unlike signs
    if step.is_finite() { from + step } else { from * (1.0 - share) + to * share }
}
