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
//! lanes and back in squares of eight by eight. Alarms are bits: what is written is what the time goes into.

use crate::kernels::features::rolling::{Plan, Statistic, evaluate};
use crate::kernels::params::{ParamError, Window, number};
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::{apart, side_by_side};

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

/// The states of all rows, and bits: row i is bit `i % 8` of byte `i / 8`.
#[derive(Clone, Debug, Default)]
pub struct Path {
    pub high: Vec<f64>,
    pub low: Vec<f64>,
    pub high_since: Vec<u32>,
    pub low_since: Vec<u32>,
    pub alarm: Vec<u8>,
    /// Whether the reading is present.
    pub present: Vec<u8>,
}

/// The paths of up to eight series of the same length.
pub fn cusum(subjects: &[Subject<'_>], rule: &Rule) -> Vec<Path> {
    assert!(subjects.len() <= LANES, "at most {LANES} series, got {}", subjects.len());
    let rows = subjects.first().map_or(0, |subject| subject.x.len());
    assert!(subjects.iter().all(|subject| subject.x.len() == rows), "series of the same length");
    let bytes = rows.div_ceil(8);
    let mut paths = vec![Path::default(); subjects.len()];
    for path in &mut paths {
        (path.high, path.low) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        (path.high_since, path.low_since) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        (path.alarm, path.present) = (Vec::with_capacity(bytes), Vec::with_capacity(bytes));
    }
    dispatch(Sums { subjects, rule, paths: &mut paths });
    paths
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
        let Some(first) = subjects.first() else { return };
        let rows = first.x.len();
        // lanes without a series hold the first one
        let mut lanes = [*first; LANES];
        lanes[..subjects.len()].copy_from_slice(subjects);
        let center = s.load(&lanes.map(|lane| lane.center));
        let scale = s.load(&lanes.map(|lane| if lane.is_known() { lane.scale } else { f64::NAN }));
        let mut high = s.load(&lanes.map(|lane| lane.state.high));
        let mut low = s.load(&lanes.map(|lane| lane.state.low));
        // as numbers they are exact beyond 2^32
        let mut high_since = s.load(&lanes.map(|lane| f64::from(lane.state.high_since)));
        let mut low_since = s.load(&lanes.map(|lane| f64::from(lane.state.low_since)));
        let (zero, one, most) = (s.splat(0.0), s.splat(1.0), s.splat(f64::MAX));
        let (k, h) = (s.splat(rule.k), s.splat(rule.h));
        let mut tile = [Lanes::default(); TILE];
        let mut out = [[Lanes::default(); TILE]; 4];
        let (mut alarms, mut presents) = ([0; TILE], [0; TILE]);
        let mut columns = [[0.0; TILE]; LANES];
        for start in (0..rows).step_by(TILE) {
            let n = TILE.min(rows - start);
            side_by_side(s, lanes.map(|lane| &lane.x[start..]), &mut tile[..n]);
            for q in 0..n {
                let u = s.div(s.sub(s.load(&tile[q]), center), scale);
                let present = s.eq(u, u);
                let (mut up, mut down) = (high, low);
                if rule.reset {
                    let quiet = s.le(s.max(high, low), h);
                    (up, down) = (s.keep(quiet, up), s.keep(quiet, down));
                    high_since = s.select(present, s.keep(quiet, high_since), high_since);
                    low_since = s.select(present, s.keep(quiet, low_since), low_since);
                }
                up = s.max(s.min(most, s.add(up, s.sub(u, k))), zero);
                down = s.max(s.min(most, s.add(down, s.sub(s.sub(zero, u), k))), zero);
                high = s.select(present, up, high);
                low = s.select(present, down, low);
                high_since = s.keep(s.lt(zero, high), s.add(high_since, one));
                low_since = s.keep(s.lt(zero, low), s.add(low_since, one));
                s.store(high, &mut out[0][q]);
                s.store(low, &mut out[1][q]);
                s.store(high_since, &mut out[2][q]);
                s.store(low_since, &mut out[3][q]);
                presents[q] = s.bits(present);
                alarms[q] = s.bits(s.lt(h, s.max(high, low))) & presents[q];
            }
            for (what, rows) in out.iter().enumerate() {
                apart(s, &rows[..n], columns.each_mut().map(|column| &mut column[..n]));
                for (path, column) in paths.iter_mut().zip(&columns) {
                    let column = &column[..n];
                    match what {
                        0 => path.high.extend_from_slice(column),
                        1 => path.low.extend_from_slice(column),
                        2 => path.high_since.extend(column.iter().map(|&rows| rows as u32)),
                        _ => path.low_since.extend(column.iter().map(|&rows| rows as u32)),
                    }
                }
            }
            for (alarms, presents) in alarms[..n].chunks(8).zip(presents.chunks(8)) {
                let (alarms, presents) = (turned(alarms), turned(presents));
                for (j, path) in paths.iter_mut().enumerate() {
                    path.alarm.push(alarms[j]);
                    path.present.push(presents[j]);
                }
            }
        }
    }
}

/// Bit j of byte i becomes bit i of byte j (Warren, Hacker's Delight, 7-3), of up to eight bytes.
fn turned(bytes: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    let mut x = u64::from_le_bytes(eight);
    // squares of one, two and four bits off the diagonal change places
    for (shift, upper) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        let other = (x ^ x >> shift) & upper;
        x ^= other ^ other << shift;
    }
    x.to_le_bytes()
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
