//! Rolling band energy.
//!
//! ```text
//! y_i = x_i - mean (missing: 0),  P_k = |sum_i y_i exp(-2 pi i k i / m)|^2,  energy = sum of P_k over the band's bins
//! ```
//!
//! for the `m` rows of the window (`w`, fewer at the start of a series), `k = 1..=m/2`: no window function, no scaling, bins not doubled,
//! as NumPy's `rfft`. The power of a bin does not depend on where its phase starts.
//!
//! A sliding transform (Jacobsen & Lyons 2003) with phases fixed to `row mod w`, so that nothing need be rotated:
//! `A_k += (new - old) exp(2 pi i k row / w)`. It starts afresh at every multiple of `w`, so stretches of `w` rows do not depend on one
//! another, and eight of them lie in the lanes. A lane also starts afresh wherever the energy that has passed through since exceeds
//! `RESTART` times that of the window, so that what a spike leaves behind cannot show: the error stays below
//! `eps * sqrt(RESTART * w)` of the window's energy. (The window's energy for this test slides too: it errs by eps of what has
//! passed, which the test limits.) The readings are centred about the mean at the last start; the rest is taken out where readings are
//! missing: `P_k = |A_k - A_0 / n * E_k|^2` with `E_k` the transform of the presence. Cost: O(bins) per row.
//!
//! A bin takes in `BLOCK` rows between its load and its store, and the energies of these rows are summed side by side. Where `w` is
//! even, a start folds its window twice, which halves its multiplications again. With the last stretches padded so that nothing
//! seems missing there, windows of 16 and 64 rows take a third less time with AVX2, a fifth to three tenths less where readings are
//! missing. Fused multiplications and additions take another sixth. On plain arrays the registers do not hold a block: a tenth less, but up to a quarter more where readings are
//! missing or windows are of a few rows.
//!
//! Tried before: bins in the lanes, four times slower (sums across lanes, and bands do not fill vectors); small windows transformed
//! one by one, 1.6 times slower at 16 rows. Rejected: the last band as what is left of the sum of squares (Parseval), which loses the
//! digits of a band that holds little of the energy.
//!
//! The first rows of a series, with windows shorter than `w`: one transform each (realfft). By the definition, eight bins in the
//! lanes, windows of up to 64 rows took as long.

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::OnceLock;

use super::{Frame, Tile, size_buffers};
use crate::kernels::features::spectrum::{self, Plan, Spectrum};
use crate::kernels::params::Bands;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::{deinterleave, interleave};

/// Energy since the last start, in units of the window's, from which the sliding transform starts afresh; for windows of more
/// than 2,000 rows so much less that the error `eps * sqrt(RESTART * w)` stays below 1e-12.
const RESTART: f64 = 1e4;
const RESTART_TIMES_ROWS: f64 = 2e7;

/// Plans of transforms up to this length are kept for the next column; all plans together grow with its square.
const PLANS_KEPT: usize = 512;

/// Rows that a bin takes in between its load and its store.
const BLOCK: usize = 4;

/// What the transforms of one window length share.
pub struct Tables {
    w: usize,
    bands: Bands,
    /// made for the first series that holds a full window: a window far longer than its series costs nothing
    full: OnceLock<Full>,
}

/// Tables for windows of `w` rows.
struct Full {
    /// the bins of the bands, band after band
    bins: Vec<usize>,
    /// where in `bins` those of each band are
    of_band: Vec<Range<usize>>,
    /// `cos` and `sin` of `2 pi j / w`, for as many `j` beyond `w` as the rows of a block reach in the fastest bin
    circle: Vec<(f64, f64)>,
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
        let angle = |j: usize| TAU * (j % w) as f64 / w as f64;
        let circle = (0..w + (BLOCK - 1) * (w / 2)).map(|j| (angle(j).cos(), angle(j).sin())).collect();
        let (mut bins, mut of_band) = (Vec::new(), Vec::new());
        for range in bands.bins(w) {
            of_band.push(bins.len()..bins.len() + range.len());
            bins.extend(range);
        }
        Self { bins, of_band, circle }
    }
}

pub struct Stage<'a> {
    tables: &'a Tables,
    min_samples: usize,
    /// for windows of 1, 2, 3 ... rows
    short: Vec<Short>,
    spectrum: Spectrum,
    y: Vec<f64>,
    scratch: Scratch,
}

/// What the transforms of one length less than `w` share.
struct Short {
    plan: Plan,
    of_band: Vec<Range<usize>>,
}

impl Short {
    fn new(bands: &Bands, plan: Plan) -> Self {
        let of_band = bands.bins(plan.len());
        Self { plan, of_band }
    }
}

impl<'a> Stage<'a> {
    pub fn new(tables: &'a Tables, min_samples: usize) -> Self {
        let (spectrum, scratch) = (Spectrum::default(), Scratch::default());
        Self { tables, min_samples, short: Vec::new(), spectrum, y: Vec::new(), scratch }
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
        dispatch(Sliding { tile, tables, w, skip: short, min_samples, scratch: &mut self.scratch, outs });
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
            let bands = &self.tables.bands;
            let long;
            let Short { plan, of_band } = if m <= PLANS_KEPT {
                while self.short.len() < m {
                    self.short.push(Short::new(bands, spectrum::kept_plan(self.short.len() + 1)));
                }
                &self.short[m - 1]
            } else {
                long = Short::new(bands, spectrum::plan(m));
                &long
            };
            self.y.clear();
            self.y.extend(&tile.x[..m]);
            let centred = spectrum::centre(&mut self.y, 1);
            let powers = self.spectrum.of_centred(&mut self.y, plan);
            for (out, bins) in outs.iter_mut().zip(of_band) {
                out[row] = centred.map_or(f64::NAN, |()| spectrum::sum(&powers[bins.clone()], |power| power));
            }
        }
    }
}

/// Eight stretches in the lanes, one row of each per step.
struct Sliding<'a> {
    tile: &'a Tile<'a>,
    tables: &'a Full,
    w: usize,
    /// rows with results that [`Stage::short_windows`] has written
    skip: usize,
    min_samples: usize,
    scratch: &'a mut Scratch,
    outs: &'a mut [Vec<f64>],
}

#[derive(Default)]
struct Scratch {
    /// what lies past the end of the series, for the last stretches
    padded: Vec<f64>,
    rows: Vec<Lanes>,
    readings: Transform,
    presence: Transform,
    energies: Vec<Vec<Lanes>>,
    column: Vec<f64>,
}

impl Kernel for Sliding<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile, tables, w, skip, min_samples, scratch, outs } = self;
        let Scratch { padded, rows, readings, presence, energies, column } = scratch;
        energies.resize_with(outs.len(), Vec::new);
        energies.iter_mut().for_each(|band| band.resize(w, Lanes([0.0; LANES])));
        column.resize(LANES * w, 0.0);
        let from = tile.first + skip;
        // a stretch begins with the last row of a block, whose window is the block
        for block in ((from + 1) / w - 1..tile.x.len() / w).step_by(LANES) {
            let mut x = &tile.x[block * w..];
            if x.len() < (LANES + 1) * w - 1 {
                padded.clear();
                padded.extend(x);
                // the last window again and again: nothing changes, nothing is missing that was there
                for row in x.len()..(LANES + 1) * w - 1 {
                    padded.push(padded[row - w]);
                }
                x = padded;
            }
            rows.resize(2 * w - 1, Lanes::default());
            interleave(s, x, w, rows);
            let missing = tile.missing && rows.iter().any(|row| row.iter().any(|v| v.is_nan()));
            let stretch = Stretch { tables, w, rows, missing, min_samples };
            stretch.run(s, readings, presence, energies);
            let begin = (block + 1) * w - 1;
            let (head, end) = (from.saturating_sub(begin), (tile.x.len() - begin).min(column.len()));
            for (band, out) in energies.iter().zip(outs.iter_mut()) {
                deinterleave(s, band, column);
                out[begin + head - tile.first..begin + end - tile.first].copy_from_slice(&column[head..end]);
            }
        }
    }
}

/// `2 w - 1` rows of eight series, of which the last `w` get their energies.
struct Stretch<'a> {
    tables: &'a Full,
    w: usize,
    rows: &'a [Lanes],
    /// whether any row of any lane is missing
    missing: bool,
    min_samples: usize,
}

/// The transforms of the windows in the lanes.
#[derive(Default)]
struct Transform {
    bins: Vec<Bin>,
    /// the window by phase
    y: Vec<Lanes>,
    /// what even bins multiply by `cos` and by `sin`, and what odd ones do
    folded: Vec<[Lanes; 4]>,
}

#[derive(Clone, Default)]
struct Bin {
    re: Lanes,
    im: Lanes,
}

/// Of each lane: the number of readings, their sum about the centre (bin 0), that of the squares, and all squares since the last start.
struct Sums<V> {
    centre: V,
    n: V,
    first: V,
    squares: V,
    passed: V,
}

/// What a row brings to the windows: the change of the reading and of its presence at the row's phase, the number of readings
/// then, and how far the centre is from their mean.
#[derive(Clone, Copy)]
struct Row<V> {
    change: V,
    arrived: V,
    n: V,
    rest: V,
}

impl Stretch<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, readings: &mut Transform, presence: &mut Transform, energies: &mut [Vec<Lanes>]) {
        let Self { tables, w, rows, .. } = *self;
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let (whole, infinity) = (s.splat(w as f64), s.splat(f64::INFINITY));
        let restart = s.splat(RESTART.min(RESTART_TIMES_ROWS / w as f64));
        readings.bins.resize(tables.bins.len(), Bin::default());
        presence.bins.resize(tables.bins.len(), Bin::default());
        let mut sums = Sums { centre: zero, n: zero, first: zero, squares: zero, passed: zero };
        self.start(s, s.eq(zero, zero), 0, readings, presence, &mut sums);
        let mut waiting = [Row { change: zero, arrived: zero, n: zero, rest: zero }; BLOCK];
        let mut count = 0;
        for step in 0..w {
            let (mut change, mut arrived) = (zero, zero);
            if step > 0 {
                let (old, new) = (s.load(&rows[step - 1]), s.load(&rows[step + w - 1]));
                let (y_old, y_new) = (about(s, old, sums.centre), about(s, new, sums.centre));
                change = s.sub(y_new, y_old);
                arrived = s.sub(s.keep(s.eq(new, new), one), s.keep(s.eq(old, old), one));
                let square = s.mul(y_new, y_new);
                sums.n = s.add(sums.n, arrived);
                sums.first = s.add(sums.first, change);
                sums.squares = s.sub(s.add(sums.squares, square), s.mul(y_old, y_old));
                sums.passed = s.add(sums.passed, square);
                // the energy about the mean times n, as far as the sums tell; a sum that is not a number starts afresh too
                let energy = s.sub(s.mul(sums.n, sums.squares), s.mul(sums.first, sums.first));
                let fresh = s.le(s.mul(sums.passed, sums.n), s.mul(restart, energy));
                let fresh = s.keep(fresh, s.keep(s.lt(sums.passed, infinity), one));
                let stale = s.lt(fresh, one);
                if s.any(stale) {
                    self.slide_all(s, step - count, &waiting[..count], readings, presence, energies);
                    count = 0;
                    self.start(s, stale, step, readings, presence, &mut sums);
                    change = s.select(stale, zero, change);
                    arrived = s.select(stale, zero, arrived);
                }
            }
            let rest = s.select(s.eq(sums.n, whole), zero, s.div(s.sub(zero, sums.first), sums.n));
            waiting[count] = Row { change, arrived, n: sums.n, rest };
            count += 1;
            if count == BLOCK {
                self.slide(s, step + 1 - BLOCK, &waiting, readings, presence, energies);
                count = 0;
            }
        }
        self.slide_all(s, w - count, &waiting[..count], readings, presence, energies);
    }

    /// Takes in rows one by one.
    #[inline(always)]
    fn slide_all<S: Simd>(
        &self,
        s: S,
        step: usize,
        rows: &[Row<S::V>],
        readings: &mut Transform,
        presence: &mut Transform,
        energies: &mut [Vec<Lanes>],
    ) {
        for (step, row) in (step..).zip(rows) {
            self.slide(s, step, std::array::from_ref(row), readings, presence, energies);
        }
    }

    /// Takes in the rows from `step` on, bin by bin, and writes their energies. How many come at once changes no sum.
    #[inline(always)]
    fn slide<S: Simd, const N: usize>(
        &self,
        s: S,
        step: usize,
        rows: &[Row<S::V>; N],
        readings: &mut Transform,
        presence: &mut Transform,
        energies: &mut [Vec<Lanes>],
    ) {
        let Self { tables, w, missing, min_samples, .. } = *self;
        let zero = s.splat(0.0);
        let phase = (step + w - 1) % w;
        for (of_band, out) in tables.of_band.iter().zip(energies) {
            let mut at = tables.bins.get(of_band.start).map_or(0, |k| k * phase % w);
            let bins = readings.bins[of_band.clone()].iter_mut().zip(&tables.bins[of_band.clone()]);
            let mut energy = [zero; N];
            if missing {
                for ((bin, &k), presence) in bins.zip(&mut presence.bins[of_band.clone()]) {
                    let (mut re, mut im) = (s.load(&bin.re), s.load(&bin.im));
                    let (mut e_re, mut e_im) = (s.load(&presence.re), s.load(&presence.im));
                    for (i, row) in rows.iter().enumerate() {
                        let (cos, sin) = tables.circle[at + i * k];
                        let (cos, sin) = (s.splat(cos), s.splat(sin));
                        re = s.mul_add(row.change, cos, re);
                        im = s.mul_add(row.change, sin, im);
                        e_re = s.mul_add(row.arrived, cos, e_re);
                        e_im = s.mul_add(row.arrived, sin, e_im);
                        let (re, im) = (s.mul_add(row.rest, e_re, re), s.mul_add(row.rest, e_im, im));
                        energy[i] = s.mul_add(re, re, s.mul_add(im, im, energy[i]));
                    }
                    bin.set(s, re, im);
                    presence.set(s, e_re, e_im);
                    at = further(at, phase, w);
                }
            } else {
                for (bin, &k) in bins {
                    let (mut re, mut im) = (s.load(&bin.re), s.load(&bin.im));
                    for (i, row) in rows.iter().enumerate() {
                        let (cos, sin) = tables.circle[at + i * k];
                        re = s.mul_add(row.change, s.splat(cos), re);
                        im = s.mul_add(row.change, s.splat(sin), im);
                        energy[i] = s.mul_add(re, re, s.mul_add(im, im, energy[i]));
                    }
                    bin.set(s, re, im);
                    at = further(at, phase, w);
                }
            }
            for ((row, energy), out) in rows.iter().zip(energy).zip(&mut out[step..]) {
                let enough = s.le(s.splat(min_samples as f64), row.n);
                s.store(s.select(enough, energy, s.splat(f64::NAN)), out);
            }
        }
    }

    /// Takes the windows of some lanes afresh.
    #[inline(always)]
    fn start<S: Simd>(
        &self,
        s: S,
        lanes: S::M,
        step: usize,
        readings: &mut Transform,
        presence: &mut Transform,
        sums: &mut Sums<S::V>,
    ) {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let window = &self.rows[step..step + self.w];
        let mut anchor = zero;
        for v in window {
            let v = s.load(v);
            anchor = s.select(s.eq(v, v), v, anchor);
        }
        let (mut n, mut sum) = (zero, zero);
        for v in window {
            let v = s.load(v);
            n = s.add(n, s.keep(s.eq(v, v), one));
            sum = s.add(sum, about(s, v, anchor));
        }
        let centre = s.select(s.lt(zero, n), s.add(anchor, s.div(sum, n)), zero);
        let (mut first, mut squares) = (zero, zero);
        readings.y.resize(self.w, Lanes([0.0; LANES]));
        for (row, v) in (step..).zip(window) {
            let y = about(s, s.load(v), centre);
            first = s.add(first, y);
            squares = s.add(squares, s.mul(y, y));
            s.store(y, &mut readings.y[row % self.w]);
        }
        sums.centre = s.select(lanes, centre, sums.centre);
        sums.n = s.select(lanes, n, sums.n);
        sums.first = s.select(lanes, first, sums.first);
        sums.squares = s.select(lanes, squares, sums.squares);
        sums.passed = s.select(lanes, squares, sums.passed);
        readings.start(s, self.tables, lanes);
        if self.missing {
            presence.y.resize(self.w, Lanes([0.0; LANES]));
            for (row, v) in (step..).zip(window) {
                let v = s.load(v);
                s.store(s.keep(s.eq(v, v), one), &mut presence.y[row % self.w]);
            }
            presence.start(s, self.tables, lanes);
        }
    }
}

impl Bin {
    #[inline(always)]
    fn set<S: Simd>(&mut self, s: S, re: S::V, im: S::V) {
        s.store(re, &mut self.re);
        s.store(im, &mut self.im);
    }
}

/// A place of a circle of `w` moved on: `at + by` or, where that passes the end, `at + by - w`.
#[inline(always)]
fn further(at: usize, by: usize, w: usize) -> usize {
    // two additions side by side, the step that all others wait for
    let (wrapped, passes) = at.overflowing_add(by.wrapping_sub(w));
    if passes { wrapped } else { at + by }
}

impl Transform {
    /// Replaces some lanes by the transform of `y`.
    #[inline(always)]
    fn start<S: Simd>(&mut self, s: S, tables: &Full, lanes: S::M) {
        self.fold(s);
        let Self { bins, y, folded } = self;
        let w = y.len();
        let first = s.load(&y[0]);
        let middle = if w % 2 == 0 { s.load(&y[w / 2]) } else { s.splat(0.0) };
        // two bins at a time, so that their sums need not wait for themselves
        for (pair, k) in bins.chunks_mut(2).zip(tables.bins.chunks(2)) {
            let k = [k[0], k[k.len() - 1]];
            let mut at = k;
            let (mut re, mut im) = ([s.splat(0.0); 2], [s.splat(0.0); 2]);
            for parts in folded.iter() {
                for i in 0..2 {
                    let of_cos = k[i] % 2 * 2;
                    let (cos, sin) = tables.circle[at[i]];
                    re[i] = s.mul_add(s.load(&parts[of_cos]), s.splat(cos), re[i]);
                    im[i] = s.mul_add(s.load(&parts[of_cos + 1]), s.splat(sin), im[i]);
                    at[i] = further(at[i], k[i], w);
                }
            }
            for (i, bin) in pair.iter_mut().enumerate() {
                let ends = if k[i] % 2 == 0 { s.add(first, middle) } else { s.sub(first, middle) };
                let re = s.select(lanes, s.add(re[i], ends), s.load(&bin.re));
                let im = s.select(lanes, im[i], s.load(&bin.im));
                bin.set(s, re, im);
            }
        }
    }

    /// Adds and subtracts phases that share their `cos` and `sin` but for the sign: `j` and `w - j`, and of these, where `w`
    /// is even, `j` and `w / 2 - j`.
    #[inline(always)]
    fn fold<S: Simd>(&mut self, s: S) {
        let Self { y, folded, .. } = self;
        let (w, half, zero) = (y.len(), y.len() / 2, s.splat(0.0));
        folded.resize(if w % 2 == 0 { w / 4 } else { half }, Default::default());
        for (j, out) in (1..).zip(folded) {
            let (sum, difference) = opposite(s, y, j);
            let parts = if w % 2 == 1 {
                [sum, difference, sum, difference]
            } else if 4 * j == w {
                [sum, zero, zero, difference]
            } else {
                let (other_sum, other_difference) = opposite(s, y, half - j);
                [
                    s.add(sum, other_sum),
                    s.sub(difference, other_difference),
                    s.sub(sum, other_sum),
                    s.add(difference, other_difference),
                ]
            };
            for (part, out) in parts.into_iter().zip(out) {
                s.store(part, out);
            }
        }
    }
}

/// Sum and difference of phases `j` and `w - j`.
#[inline(always)]
fn opposite<S: Simd>(s: S, y: &[Lanes], j: usize) -> (S::V, S::V) {
    let (a, b) = (s.load(&y[j]), s.load(&y[y.len() - j]));
    (s.add(a, b), s.sub(a, b))
}

#[inline(always)]
fn about<S: Simd>(s: S, v: S::V, centre: S::V) -> S::V {
    s.keep(s.eq(v, v), s.sub(v, centre))
}
