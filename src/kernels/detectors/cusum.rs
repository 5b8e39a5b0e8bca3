//! Drift of a series: cumulative sums, exponentially weighted mean, trend of the last rows, changes of the last labels.
//!
//! The two-sided tabular CUSUM (Page 1954; Montgomery, Introduction to Statistical Quality Control, 9.1) of `u = (x - center) / scale`:
//!
//! ```text
//! high_t = max(0, high_{t-1} + (u_t - k)),  low_t = max(0, low_{t-1} + (-u_t - k)),  alarm where one is > h
//! ```
//!
//! A statistic that left zero at an unknown change was 0 for the last time just before it: the number of rows since then dates
//! the change. A missing reading leaves both statistics as they are and has no alarm. With `reset`, both start again
//! from 0 at the reading after an alarm. What a row holds is all that the next one needs, so a series in pieces gives the
//! same bits. Statistics beyond the range of `f64` stay at its end.
//!
//! The sums wait for one another, row by row: eight columns in the lanes take no longer than one, and rows are turned into
//! lanes and back in squares of eight by eight. Counting the rows since zero is a pass of its own, which is cheaper than turning
//! the counts as well.

use std::ops::Range;

use crate::kernels::features::rolling::{Plan, Statistic, evaluate};
use crate::kernels::params::{ParamError, Window, number};
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// Rows that are turned into lanes at once.
const TILE: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    k: f64,
    h: f64,
    reset: bool,
}

impl Rule {
    pub fn new(k: f64, h: f64, reset: bool) -> Result<Self, ParamError> {
        number("k", k, false)?;
        number("h", h, true)?;
        Ok(Self { k, h, reset })
    }
}

/// What a row of a series holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    pub high: f64,
    pub low: f64,
    /// Rows since `high` was 0 for the last time.
    pub high_since: u32,
    pub low_since: u32,
}

/// A series to watch.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub x: &'a [f64],
    pub center: f64,
    /// Where it is not above 0, or the center unknown, every reading counts as missing.
    pub scale: f64,
    /// Of the row before the first.
    pub state: State,
}

impl Subject<'_> {
    fn is_known(&self) -> bool {
        self.scale > 0.0 && !self.center.is_nan()
    }
}

/// The states of all rows; 1 where there is an alarm, 0 where there is none, NaN where the reading is missing.
#[derive(Clone, Debug, Default)]
pub struct Path {
    pub high: Vec<f64>,
    pub low: Vec<f64>,
    pub high_since: Vec<u32>,
    pub low_since: Vec<u32>,
    pub alarm: Vec<f64>,
}

/// The paths of up to eight series of the same length.
pub fn cusum(subjects: &[Subject<'_>], rule: &Rule) -> Vec<Path> {
    assert!(subjects.len() <= LANES, "at most {LANES} series, got {}", subjects.len());
    let rows = subjects.first().map_or(0, |subject| subject.x.len());
    assert!(subjects.iter().all(|subject| subject.x.len() == rows), "series of the same length");
    let mut paths: Vec<Path> =
        subjects.iter().map(|_| Path { high: vec![0.0; rows], low: vec![0.0; rows], ..Path::default() }).collect();
    dispatch(Sums { subjects, rule, paths: &mut paths });
    for (subject, path) in subjects.iter().zip(&mut paths) {
        let known = subject.is_known();
        path.high_since = since(&path.high, subject.state.high_since);
        path.low_since = since(&path.low, subject.state.low_since);
        let readings = subject.x.iter().zip(path.high.iter().zip(&path.low));
        path.alarm = readings
            .map(
                |(x, (&high, &low))| {
                    if known && !x.is_nan() { f64::from(u8::from(high > rule.h || low > rule.h)) } else { f64::NAN }
                },
            )
            .collect();
        if rule.reset && known {
            count_from_resets(subject, rule, path);
        }
    }
    paths
}

/// Rows since a statistic was 0, or since the start.
fn since(statistic: &[f64], before: u32) -> Vec<u32> {
    let mut rows = before;
    statistic
        .iter()
        .map(|&s| {
            rows = if s > 0.0 { rows.saturating_add(1) } else { 0 };
            rows
        })
        .collect()
}

/// The same where an alarm makes both 0 after its row.
fn count_from_resets(subject: &Subject<'_>, rule: &Rule, path: &mut Path) {
    let mut last = subject.state;
    for row in 0..path.high.len() {
        if last.high.max(last.low) > rule.h && !subject.x[row].is_nan() {
            (last.high_since, last.low_since) = (0, 0);
        }
        let count = |s: f64, rows: u32| if s > 0.0 { rows.saturating_add(1) } else { 0 };
        last = State {
            high: path.high[row],
            low: path.low[row],
            high_since: count(path.high[row], last.high_since),
            low_since: count(path.low[row], last.low_since),
        };
        (path.high_since[row], path.low_since[row]) = (last.high_since, last.low_since);
    }
}

struct Sums<'a> {
    subjects: &'a [Subject<'a>],
    rule: &'a Rule,
    paths: &'a mut [Path],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { subjects, rule, paths } = self;
        let rows = subjects.first().map_or(0, |subject| subject.x.len());
        let of = |f: fn(&Subject<'_>) -> f64, none: f64| {
            let mut lanes = [none; LANES];
            lanes.iter_mut().zip(subjects).for_each(|(lane, subject)| *lane = f(subject));
            s.load(&lanes)
        };
        let center = of(|subject| subject.center, 0.0);
        let scale = of(|subject| if subject.is_known() { subject.scale } else { f64::NAN }, 1.0);
        let mut high = of(|subject| subject.state.high, 0.0);
        let mut low = of(|subject| subject.state.low, 0.0);
        let (zero, most, k, h) = (s.splat(0.0), s.splat(f64::MAX), s.splat(rule.k), s.splat(rule.h));
        let mut tile = [Lanes::default(); TILE];
        let (mut highs, mut lows) = ([Lanes::default(); TILE], [Lanes::default(); TILE]);
        for start in (0..rows).step_by(TILE) {
            let end = (start + TILE).min(rows);
            into_lanes(subjects, start..end, &mut tile);
            for ((x, high_out), low_out) in tile[..end - start].iter().zip(&mut highs).zip(&mut lows) {
                let x = s.load(x);
                let u = s.div(s.sub(x, center), scale);
                let present = s.eq(u, u);
                let (mut up, mut down) = (high, low);
                if rule.reset {
                    let quiet = s.le(s.max(high, low), h);
                    (up, down) = (s.keep(quiet, up), s.keep(quiet, down));
                }
                up = s.max(s.min(most, s.add(up, s.sub(u, k))), zero);
                down = s.max(s.min(most, s.add(down, s.sub(s.sub(zero, u), k))), zero);
                high = s.select(present, up, high);
                low = s.select(present, down, low);
                s.store(high, high_out);
                s.store(low, low_out);
            }
            for (j, path) in paths.iter_mut().enumerate() {
                from_lanes(&highs, j, &mut path.high[start..end]);
                from_lanes(&lows, j, &mut path.low[start..end]);
            }
        }
    }
}

/// `out[q][j] = subjects[j].x[rows.start + q]`; lanes without a subject hold the first.
#[inline(always)]
fn into_lanes(subjects: &[Subject<'_>], rows: Range<usize>, out: &mut [Lanes; TILE]) {
    let lanes: [&[f64]; LANES] =
        std::array::from_fn(|j| &subjects.get(j).unwrap_or(&subjects[0]).x[rows.start..rows.end]);
    let whole = rows.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // squares, whose size the compiler knows
        let square: &mut [Lanes; LANES] = (&mut out[at..at + LANES]).try_into().expect("eight rows");
        for (j, lane) in lanes.iter().enumerate() {
            let from: &[f64; LANES] = lane[at..at + LANES].try_into().expect("eight values");
            for q in 0..LANES {
                square[q][j] = from[q];
            }
        }
    }
    for q in whole..rows.len() {
        out[q] = Lanes(lanes.map(|lane| lane[q]));
    }
}

#[inline(always)]
fn from_lanes(rows: &[Lanes; TILE], j: usize, out: &mut [f64]) {
    for (out, row) in out.iter_mut().zip(rows) {
        *out = row[j];
    }
}

/// Exponentially weighted mean `e_t = e_{t-1} + alpha (x_t - e_{t-1})` (Roberts 1959), from the first reading on; `state` is the
/// mean of the row before the first, NaN if there is none. A missing reading leaves it as it is. Gives NaN before the first reading.
pub fn ewma(x: &[f64], alpha: f64, state: f64, out: &mut Vec<f64>) {
    out.clear();
    let mut mean = state;
    out.extend(x.iter().map(|&v| {
        let moved = mean + alpha * (v - mean);
        if moved.is_finite() {
            mean = moved;
        } else if !v.is_nan() {
            // the first reading, or two huge ones of unlike signs
            mean = if mean.is_nan() { v } else { mean * (1.0 - alpha) + v * alpha };
        }
        mean
    }));
}

/// Slope of the least-squares line through the last `window` rows, per row; NaN with fewer than two readings among them.
pub fn drift_trend(x: &[f64], window: usize) -> f64 {
    let last = &x[x.len().saturating_sub(window)..];
    let rows = Window::rows(last.len().max(2), 2).expect("two readings fit into two rows");
    let results = evaluate(last, None, &Plan::new(rows, vec![Statistic::Slope]));
    results[0].last().copied().unwrap_or(f64::NAN)
}

/// Share of the steps between the last `window` labels at which the label changes; NaN with fewer than two labels. Missing
/// labels are skipped.
pub fn regime_volatility<L: PartialEq>(labels: &[Option<L>], window: usize) -> f64 {
    let last: Vec<&L> = labels[labels.len().saturating_sub(window)..].iter().flatten().collect();
    if last.len() < 2 {
        return f64::NAN;
    }
    let changes = last.windows(2).filter(|pair| pair[0] != pair[1]).count();
    changes as f64 / (last.len() - 1) as f64
}
