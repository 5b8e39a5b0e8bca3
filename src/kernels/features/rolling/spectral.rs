//! Rolling band energy.
//!
//! ```text
//! y_i = x_i - mean (missing: 0),  P_k = |sum_i y_i exp(-2 pi i k i / m)|^2,  energy = sum of P_k over the band's bins
//! ```
//!
//! for the `m` rows of the window (`w`, fewer at the start of a series), `k = 1..=m/2`: no window function, no scaling, bins not doubled,
//! as NumPy's `rfft`. The power of a bin does not depend on where its phase starts.
//!
//! Small windows (`DIRECT_MAX`): eight adjacent windows in the lanes; rows `j` and `w - j` are folded, which halves the products.
//!
//! Larger windows: a sliding transform (Jacobsen & Lyons 2003) with phases fixed to `row mod w`, so that nothing need be rotated:
//! `A_k += (new - old) exp(2 pi i k row / w)`, lanes = bins. It starts afresh at every multiple of `w`, and wherever the energy that has passed
//! through since exceeds `RESTART` times that of the window, so that what a spike leaves behind cannot show: the error stays
//! below `eps * sqrt(RESTART * w)` of the window's energy. (The window's energy for this test slides too: it errs by eps of what has
//! passed, which the test limits.) The readings are centred about the mean at the last start; the rest is taken out where readings are
//! missing: `P_k = |A_k - A_0 / n * E_k|^2` with `E_k` the transform of the presence. Cost: O(bins) per row.
//!
//! The first rows of a series, with windows shorter than `w`: one transform each (realfft).

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::OnceLock;

use realfft::RealFftPlanner;

use super::{Frame, PAD, Tile, size_buffers};
use crate::kernels::params::Bands;
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

/// Windows up to this many rows are transformed one by one.
const DIRECT_MAX: usize = 32;
/// Energy since the last start, in units of the window's, from which the sliding transform starts afresh; for windows of more
/// than 2,000 rows so much less that the error `eps * sqrt(RESTART * w)` stays below 1e-12.
const RESTART: f64 = 1e4;
const RESTART_TIMES_ROWS: f64 = 2e7;

/// Plans of transforms up to this length are kept for the next column; all plans together grow with its square.
const PLANS_KEPT: usize = 512;

/// What the transforms of one window length share.
pub struct Tables {
    w: usize,
    bands: Bands,
    /// made for the first series that holds a full window: a window far longer than its series costs nothing
    full: OnceLock<Full>,
}

/// Tables for windows of `w` rows.
struct Full {
    /// bins per band
    bins: Vec<Range<usize>>,
    /// `cos` and `sin` of `2 pi j / w`
    circle: Vec<(f64, f64)>,
    /// for the direct transform `cos` and `sin` of `2 pi k j / w` for `j` in `1..w/2`, bin after bin
    direct: Vec<(f64, f64)>,
    /// the bins of the bands in groups of eight neighbours, no group in two bands
    groups: Vec<Group>,
    /// the groups of each band
    groups_of_band: Vec<Range<usize>>,
    /// for the sliding transform per phase and group `cos` and `sin` of `2 pi k phase / w` for the bins `k` of the group, 0 outside
    /// of its band; empty where it would be too large
    table: Vec<Turn>,
    /// in its place per phase the turns of the bins 0..8
    fine: Vec<Turn>,
}

/// `cos` and `sin` of eight bins at one phase.
struct Turn {
    cos: [f64; LANES],
    sin: [f64; LANES],
}

/// Most values of a table of turns: 2 MiB, which stay in the caches beside the data.
const TABLE_MAX: usize = 1 << 18;

struct Group {
    first: usize,
    /// 1 for each of the eight bins that is in the band, else 0
    members: [f64; LANES],
}

impl Tables {
    pub fn new(bands: Bands, w: usize) -> Self {
        Self { w, bands, full: OnceLock::new() }
    }

    pub fn bands(&self) -> usize {
        self.bands.len()
    }

    fn full(&self) -> &Full {
        self.full.get_or_init(|| Full::new(&self.bands, self.w))
    }
}

impl Full {
    fn new(bands: &Bands, w: usize) -> Self {
        let bins = bands.bins(w);
        let angle = |j: usize| TAU * j as f64 / w as f64;
        let circle: Vec<(f64, f64)> = (0..w).map(|j| (angle(j).cos(), angle(j).sin())).collect();
        let (mut direct, mut groups, mut groups_of_band) = (Vec::new(), Vec::new(), Vec::new());
        let (mut fine, mut table) = (Vec::new(), Vec::new());
        if w <= DIRECT_MAX {
            let of_bin = |k: usize| (1..w.div_ceil(2)).map(move |j| (k, j));
            direct = bins.iter().cloned().flatten().flat_map(of_bin).map(|(k, j)| circle[k * j % w]).collect();
        } else {
            for range in &bins {
                let begin = groups.len();
                for first in range.clone().step_by(LANES) {
                    let members = std::array::from_fn(|j| f64::from(u8::from(first + j < range.end)));
                    groups.push(Group { first, members });
                }
                groups_of_band.push(begin..groups.len());
            }
            let turn = |phase: usize, first: usize, members: [f64; LANES]| Turn {
                cos: std::array::from_fn(|j| members[j] * circle[(first + j) * phase % w].0),
                sin: std::array::from_fn(|j| members[j] * circle[(first + j) * phase % w].1),
            };
            if w * groups.len() * LANES * 2 <= TABLE_MAX {
                let row = |phase: usize| groups.iter().map(move |group| turn(phase, group.first, group.members));
                table = (0..w).flat_map(row).collect();
            } else {
                fine = (0..w).map(|phase| turn(phase, 0, [1.0; LANES])).collect();
            }
        }
        Self { bins, circle, direct, groups, groups_of_band, fine, table }
    }
}

impl Full {
    /// `cos` and `sin` of the bins of a group at a phase, 0 outside of the band; `turn` is how far its first bin has turned.
    #[inline(always)]
    fn turn<S: Simd>(&self, s: S, g: usize, phase: usize, turn: usize) -> (S::V, S::V) {
        if !self.table.is_empty() {
            let turn = &self.table[phase * self.groups.len() + g];
            return (s.load(&turn.cos), s.load(&turn.sin));
        }
        let (fine, members) = (&self.fine[phase], s.load(&self.groups[g].members));
        let (fine_cos, fine_sin) = (s.mul(members, s.load(&fine.cos)), s.mul(members, s.load(&fine.sin)));
        let (cos, sin) = self.circle[turn];
        let (cos, sin) = (s.splat(cos), s.splat(sin));
        (s.sub(s.mul(cos, fine_cos), s.mul(sin, fine_sin)), s.add(s.mul(sin, fine_cos), s.mul(cos, fine_sin)))
    }
}

pub struct Stage<'a> {
    tables: &'a Tables,
    min_samples: usize,
    planner: RealFftPlanner<f64>,
    y: Vec<f64>,
}

impl<'a> Stage<'a> {
    pub fn new(tables: &'a Tables, min_samples: usize) -> Self {
        Self { tables, min_samples, planner: RealFftPlanner::new(), y: Vec::new() }
    }

    /// Writes each band's energies to the buffer of its place.
    pub fn run(&mut self, tile: &Tile, outs: &mut Vec<Vec<f64>>) {
        let w = self.tables.w;
        assert!(matches!(tile.frame, Frame::Rows(rows) if rows == w), "one window length for all statistics");
        let bands = self.tables.bands();
        size_buffers(outs, bands, tile.results() + 2 * LANES);
        let outs = &mut outs[..bands];
        // rows whose window is shorter than w: only the first of the series
        let short = if tile.at_start { (w - 1).min(tile.x.len()).saturating_sub(tile.first) } else { 0 };
        self.short_windows(tile, short, outs);
        if short == tile.results() {
            return;
        }
        let (tables, min_samples) = (self.tables.full(), self.min_samples);
        if w <= DIRECT_MAX {
            dispatch(Direct { tile, tables, w, skip: short, min_samples, outs });
        } else {
            dispatch(Sliding { tile, tables, w, skip: short, min_samples, outs });
        }
    }

    /// One transform per row.
    fn short_windows(&mut self, tile: &Tile, rows: usize, outs: &mut [Vec<f64>]) {
        let mut present = tile.x[..tile.first].iter().filter(|v| !v.is_nan()).count();
        for row in 0..rows {
            let m = tile.first + row + 1;
            present += usize::from(!tile.x[m - 1].is_nan());
            if present < self.min_samples {
                outs.iter_mut().for_each(|out| out[row] = f64::NAN);
                continue;
            }
            centred(&tile.x[..m], &mut self.y);
            let transform = if m <= PLANS_KEPT {
                self.planner.plan_fft_forward(m)
            } else {
                RealFftPlanner::new().plan_fft_forward(m)
            };
            let mut spectrum = transform.make_output_vec();
            transform.process(&mut self.y, &mut spectrum).expect("buffers have the lengths that the plan gave");
            for (out, bins) in outs.iter_mut().zip(self.tables.bands.bins(m)) {
                // + 0.0: the sum of no bins is -0.0
                out[row] = spectrum[bins].iter().map(|a| a.re * a.re + a.im * a.im).sum::<f64>() + 0.0;
            }
        }
    }
}

/// Deviations from the mean, missing ones 0.
fn centred(window: &[f64], y: &mut Vec<f64>) {
    let present = window.iter().filter(|v| !v.is_nan()).count();
    let centre = mean(window).unwrap_or(0.0);
    y.clear();
    y.extend(window.iter().map(|&v| about(v, centre)));
    // what the rounding of the mean leaves would show where readings are missing
    let rest = y.iter().sum::<f64>() / present as f64;
    for (y, _) in y.iter_mut().zip(window).filter(|(_, v)| !v.is_nan()) {
        *y -= rest;
    }
}

struct Direct<'a> {
    tile: &'a Tile<'a>,
    tables: &'a Full,
    w: usize,
    skip: usize,
    min_samples: usize,
    outs: &'a mut [Vec<f64>],
}

impl Kernel for Direct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile, tables, w, skip, min_samples, outs } = self;
        let half = w.div_ceil(2);
        let zero = s.splat(0.0);
        let one = s.splat(1.0);
        let least = s.splat(min_samples as f64);
        let mut y = [zero; DIRECT_MAX];
        let y = &mut y[..w];
        for row in (skip..tile.results()).step_by(LANES) {
            let t = tile.first + row;
            let rows = &tile.padded[PAD + t + 1 - w..PAD + t + LANES];
            let (mut n, mut sum, mut anchor) = (zero, zero, zero);
            for (y, at) in y.iter_mut().zip(rows.array_windows()) {
                *y = s.load(at);
                anchor = s.select(s.eq(*y, *y), *y, anchor);
            }
            for v in y.iter() {
                let present = s.eq(*v, *v);
                n = s.add(n, s.keep(present, one));
                sum = s.add(sum, s.keep(present, s.sub(*v, anchor)));
            }
            let shift = s.div(sum, n);
            for v in y.iter_mut() {
                *v = s.keep(s.eq(*v, *v), s.sub(s.sub(*v, anchor), shift));
            }
            for j in 1..half {
                let (a, b) = (y[j], y[w - j]);
                y[j] = s.add(a, b);
                y[w - j] = s.sub(a, b);
            }
            let mut turns = tables.direct.as_slice();
            for (bins, out) in tables.bins.iter().zip(outs.iter_mut()) {
                let mut energy = zero;
                for k in bins.clone() {
                    let mut re = y[0];
                    if w % 2 == 0 {
                        re = if k % 2 == 0 { s.add(re, y[w / 2]) } else { s.sub(re, y[w / 2]) };
                    }
                    let mut im = zero;
                    let (of_bin, others) = turns.split_at(half.saturating_sub(1));
                    turns = others;
                    let folded = y[1.min(w - 1)..].iter().zip(y.iter().rev());
                    for ((sum, difference), &(cos, sin)) in folded.zip(of_bin) {
                        re = s.add(re, s.mul(*sum, s.splat(cos)));
                        im = s.add(im, s.mul(*difference, s.splat(sin)));
                    }
                    energy = s.add(energy, s.add(s.mul(re, re), s.mul(im, im)));
                }
                let enough = s.le(least, n);
                s.store_at(s.select(enough, energy, s.splat(f64::NAN)), out, row);
            }
        }
    }
}

struct Sliding<'a> {
    tile: &'a Tile<'a>,
    tables: &'a Full,
    w: usize,
    skip: usize,
    min_samples: usize,
    outs: &'a mut [Vec<f64>],
}

/// The sliding transform of a series of numbers, in groups of eight bins.
struct Transform {
    re: Vec<[f64; LANES]>,
    im: Vec<[f64; LANES]>,
}

impl Transform {
    fn new(groups: usize) -> Self {
        Self { re: vec![[0.0; LANES]; groups], im: vec![[0.0; LANES]; groups] }
    }

    /// The transform of one window, oldest first; `phase` is that of its last row.
    #[inline(always)]
    fn start<S: Simd>(&mut self, s: S, phase: &Phase, window: &[f64]) {
        let zero = s.splat(0.0);
        let (pairs, rest) = window.as_chunks::<2>();
        for g in 0..self.re.len() {
            let mut phase = phase.of_group(g);
            // two sums, so that one need not wait for the other
            let (mut re, mut im) = ([zero; 2], [zero; 2]);
            for pair in pairs {
                for i in 0..2 {
                    let (cos, sin) = phase.next(s);
                    re[i] = s.add(re[i], s.mul(s.splat(pair[i]), cos));
                    im[i] = s.add(im[i], s.mul(s.splat(pair[i]), sin));
                }
            }
            for &value in rest {
                let (cos, sin) = phase.next(s);
                re[0] = s.add(re[0], s.mul(s.splat(value), cos));
                im[0] = s.add(im[0], s.mul(s.splat(value), sin));
            }
            s.store(s.add(re[0], re[1]), &mut self.re[g]);
            s.store(s.add(im[0], im[1]), &mut self.im[g]);
        }
    }

    #[inline(always)]
    fn add<S: Simd>(&mut self, s: S, phase: &Phase, value: f64) {
        for g in 0..self.re.len() {
            self.add_group(s, phase, g, s.splat(value));
        }
    }

    /// Adds a value to the bins of one group, and gives them.
    #[inline(always)]
    fn add_group<S: Simd>(&mut self, s: S, phase: &Phase, g: usize, value: S::V) -> (S::V, S::V) {
        let (cos, sin) = phase.turn(s, g);
        let re = s.add(s.load(&self.re[g]), s.mul(value, cos));
        let im = s.add(s.load(&self.im[g]), s.mul(value, sin));
        s.store(re, &mut self.re[g]);
        s.store(im, &mut self.im[g]);
        (re, im)
    }
}

/// A phase of one group, for a run over rows.
struct GroupPhase<'a> {
    tables: &'a Full,
    w: usize,
    g: usize,
    at: usize,
    turn: usize,
}

impl GroupPhase<'_> {
    #[inline(always)]
    fn next<S: Simd>(&mut self, s: S) -> (S::V, S::V) {
        self.at = if self.at + 1 == self.w { 0 } else { self.at + 1 };
        self.turn += self.tables.groups[self.g].first;
        self.turn -= if self.turn >= self.w { self.w } else { 0 };
        self.tables.turn(s, self.g, self.at, self.turn)
    }
}

/// `row mod w`, and for each group of bins how far its first bin has turned by then.
struct Phase<'a> {
    tables: &'a Full,
    w: usize,
    at: usize,
    turns: Vec<usize>,
}

impl<'a> Phase<'a> {
    /// The last phase: the next is 0.
    fn last(tables: &'a Full, w: usize) -> Self {
        Self { tables, w, at: w - 1, turns: tables.groups.iter().map(|group| w - group.first).collect() }
    }

    #[inline(always)]
    fn turn<S: Simd>(&self, s: S, g: usize) -> (S::V, S::V) {
        self.tables.turn(s, g, self.at, self.turns[g])
    }

    #[inline(always)]
    fn of_group(&self, g: usize) -> GroupPhase<'a> {
        GroupPhase { tables: self.tables, w: self.w, g, at: self.at, turn: self.turns[g] }
    }

    #[inline(always)]
    fn advance(&mut self) {
        self.at = if self.at + 1 == self.w { 0 } else { self.at + 1 };
        for (turn, group) in self.turns.iter_mut().zip(&self.tables.groups) {
            *turn += group.first;
            *turn -= if *turn >= self.w { self.w } else { 0 };
        }
    }
}

impl Kernel for Sliding<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile, tables, w, skip, min_samples, outs } = self;
        let x = tile.x;
        let mut readings = Transform::new(tables.groups.len());
        let mut presence = Transform::new(tables.groups.len());
        let mut phase = Phase::last(tables, w);
        // the last multiple of w before the first result: everything since is passed, so that no state depends on the tile
        let begin = (tile.first.max(w - 1) + 1) / w * w - 1;
        let restart = RESTART.min(RESTART_TIMES_ROWS / w as f64);
        let mut sums = Sums::default();
        let (mut centre, mut passed, mut y) = (0.0, 0.0, Vec::with_capacity(w));
        for t in begin..x.len() {
            let window = &x[t + 1 - w..=t];
            let mut change = 0.0;
            if t > begin {
                phase.advance();
                let (new, old) = (x[t], x[t - w]);
                let (y_new, y_old) = (about(new, centre), about(old, centre));
                change = y_new - y_old;
                sums.push(new, y_new);
                sums.pop(old, y_old);
                passed += y_new * y_new;
                if new.is_nan() != old.is_nan() {
                    presence.add(s, &phase, if old.is_nan() { 1.0 } else { -1.0 });
                }
            }
            // a sum that is not a number starts afresh too
            let fresh = passed * sums.n <= restart * sums.energy_times_n() && passed < f64::INFINITY;
            if t == begin || phase.at == w - 1 || !fresh {
                centre = mean(window).unwrap_or(0.0);
                (sums, change) = (Sums::default(), 0.0);
                y.clear();
                y.extend(window.iter().map(|&v| about(v, centre)));
                window.iter().zip(&y).for_each(|(&v, &y)| sums.push(v, y));
                passed = sums.squares;
                readings.start(s, &phase, &y);
                if tile.missing {
                    y.clear();
                    y.extend(window.iter().map(|v| f64::from(u8::from(!v.is_nan()))));
                    presence.start(s, &phase, &y);
                }
            }
            let whole = sums.n == w as f64;
            let enough = sums.n >= min_samples as f64;
            let (rest, change) = (s.splat(sums.first / sums.n), s.splat(change));
            let row = t.checked_sub(tile.first + skip).map(|_| t - tile.first);
            for (of_band, out) in tables.groups_of_band.iter().zip(outs.iter_mut()) {
                let mut energy = s.splat(0.0);
                for g in of_band.clone() {
                    let (mut re, mut im) = readings.add_group(s, &phase, g, change);
                    if !whole {
                        re = s.sub(re, s.mul(rest, s.load(&presence.re[g])));
                        im = s.sub(im, s.mul(rest, s.load(&presence.im[g])));
                    }
                    energy = s.add(energy, s.add(s.mul(re, re), s.mul(im, im)));
                }
                if let Some(row) = row {
                    let e = s.to_array(energy);
                    let sum = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
                    out[row] = if enough { sum } else { f64::NAN };
                }
            }
        }
    }
}

/// Number of the readings of a window, their sum about the centre (bin 0) and that of the squares.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    first: f64,
    squares: f64,
}

impl Sums {
    #[inline(always)]
    fn push(&mut self, v: f64, y: f64) {
        self.n += if v.is_nan() { 0.0 } else { 1.0 };
        self.first += y;
        self.squares += y * y;
    }

    #[inline(always)]
    fn pop(&mut self, v: f64, y: f64) {
        self.n -= if v.is_nan() { 0.0 } else { 1.0 };
        self.first -= y;
        self.squares -= y * y;
    }

    /// The energy about the mean, as far as the sums tell, times the number of readings: no division for every row.
    #[inline(always)]
    fn energy_times_n(&self) -> f64 {
        self.n * self.squares - self.first * self.first
    }
}

#[inline(always)]
fn about(v: f64, centre: f64) -> f64 {
    if v.is_nan() { 0.0 } else { v - centre }
}

/// The mean of the readings present, from differences to the newest.
fn mean(window: &[f64]) -> Option<f64> {
    let present = || window.iter().filter(|v| !v.is_nan());
    let anchor = *present().next_back()?;
    Some(anchor + present().map(|v| v - anchor).sum::<f64>() / present().count() as f64)
}
