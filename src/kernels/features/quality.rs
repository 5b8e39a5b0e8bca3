//! Tests of single readings and of the steps between them. Missing readings (NaN) have no result and are skipped.

use std::collections::VecDeque;

use crate::kernels::params::Span;
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

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

/// A mark for each row, 64 to a word, from the lowest bit on; those behind the last row are 0.
pub type Marks = Vec<u64>;

/// Marks the readings that belong to a standstill.
///
/// A standstill is a run of readings, at least `min_length` long, within a range of `tolerance`. Silence is no evidence for it:
/// a gap of `min_length` or more (rows without a reading, or time between two readings) ends every run.
pub fn stuck(x: &[f64], times: Option<&[i64]>, rule: &Stuck) -> Marks {
    match rule.min_length {
        Span::Rows(rows) if rule.tolerance == 0.0 && !x.iter().any(|v| v.is_nan()) => {
            equal_runs(x, rows, rule.look_ahead)
        }
        _ => runs_within(x, times, rule),
    }
}

/// Runs of at least `rows` equal readings, none missing: a row is the end of one if it and the `rows - 2` rows before it
/// equal each the one before. Cost: log2 `rows` operations for 64 rows.
fn equal_runs(x: &[f64], rows: usize, look_ahead: bool) -> Marks {
    let words = x.len().div_ceil(64);
    if rows < 2 {
        let mut all = vec![u64::MAX; words];
        clear_from(&mut all, x.len());
        return all;
    }
    let mut marks = vec![0; words];
    dispatch(EqualToLast { x, out: &mut marks });
    // each step makes a mark stand for more rows up to its own
    let (mut length, wanted) = (1, rows - 1);
    while length < wanted && length < x.len() {
        let step = length.min(wanted - length);
        for word in (0..words).rev() {
            marks[word] &= later(&marks, word, step);
        }
        length += step;
    }
    if wanted >= x.len() {
        marks.fill(0);
    }
    let mut length = 1;
    while look_ahead && length < rows && length < x.len() {
        let step = length.min(rows - length);
        for word in 0..words {
            marks[word] |= earlier(&marks, word, step);
        }
        length += step;
    }
    marks
}

/// The word of `marks` if each mark stood `step` rows later.
fn later(marks: &[u64], word: usize, step: usize) -> u64 {
    let (words, bits) = (step / 64, step % 64);
    let at = |back: usize| word.checked_sub(words + back).map_or(0, |word| marks[word]);
    if bits == 0 { at(0) } else { at(0) << bits | at(1) >> (64 - bits) }
}

/// The word of `marks` if each mark stood `step` rows earlier.
fn earlier(marks: &[u64], word: usize, step: usize) -> u64 {
    let (words, bits) = (step / 64, step % 64);
    let at = |on: usize| marks.get(word + words + on).copied().unwrap_or(0);
    if bits == 0 { at(0) } else { at(0) >> bits | at(1) << (64 - bits) }
}

fn clear_from(marks: &mut [u64], row: usize) {
    if let Some(last) = marks.get_mut(row / 64) {
        *last &= (1 << (row % 64)) - 1;
    }
}

/// Marks the rows that equal the one before.
struct EqualToLast<'a> {
    x: &'a [f64],
    out: &'a mut Marks,
}

impl Kernel for EqualToLast<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, out } = self;
        let mut row = 1;
        // the rows up to the next word, and those of the last one, by themselves
        while row < x.len() {
            if row % 64 == 0 && row + 64 <= x.len() {
                let mut word = 0;
                for k in 0..64 / LANES {
                    let at = row + k * LANES;
                    let equal = s.eq(s.load_at(x, at), s.load_at(x, at - 1));
                    word |= u64::from(s.bits(equal)) << (k * LANES);
                }
                out[row / 64] = word;
                row += 64;
            } else {
                out[row / 64] |= u64::from(x[row] == x[row - 1]) << (row % 64);
                row += 1;
            }
        }
    }
}

/// For each row the longest run that ends there is known from its start, which never moves back; two monotonic queues hold
/// the candidates for its largest and smallest reading (Lemire 2006). Cost: a few operations per row, amortised.
fn runs_within(x: &[f64], times: Option<&[i64]>, rule: &Stuck) -> Marks {
    let time = |row: usize| times.expect("a length in time has times")[row];
    let mut marks = vec![0; x.len().div_ceil(64)];
    let mut mark = |row: usize| marks[row / 64] |= 1 << (row % 64);
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
        if long {
            mark(row);
            if rule.look_ahead {
                (start.max(marked)..row).filter(|&earlier| !x[earlier].is_nan()).for_each(&mut mark);
                marked = row;
            }
        }
    }
    marks
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
