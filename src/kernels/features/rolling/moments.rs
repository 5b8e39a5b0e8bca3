//! Rolling mean, standard deviation, skewness, kurtosis and least-squares slope.
//!
//! ```text
//! m_k = sum (x_i - mean)^k,  std = sqrt(m_2 / (n - ddof)),  slope = sum (p_i - pbar)(x_i - mean) / sum (p_i - pbar)^2
//! ```
//!
//! with `p` the position of a reading: its row, or its time in nanoseconds. Nothing is ever added and later subtracted.
//!
//! Small windows (`DIRECT_MAX`): eight adjacent windows in the lanes. The first pass takes differences to the newest reading of
//! the window. It gives the mean and, for windows of up to `ONE_PASS_MAX` rows, second powers and slope: a reading of the window
//! is at most `sqrt(n - 1)` standard deviations from its mean, so moving the sums there loses less than `n^2 eps` of `m_2`.
//! A second pass takes the other powers about that mean; what the mean's rounding
//! leaves is taken out by the binomial identities ("corrected two-pass": Chan, Golub, LeVeque 1983). A constant window has
//! differences of exactly 0. Cost: O(w) per row; no state, so no dependence on anything but the window.
//!
//! Of these the windows of `SHARED` rows share their first pass: rows fall into blocks of the window's length, eight blocks in the
//! lanes. A window is a suffix of one block and a prefix of the next, and holds the first row of that next block: about its
//! reading the sums of all windows of the pair are taken, with the same bound. Cost: O(1) per row. Where that reading is
//! missing, it is the last one before; the few windows that begin after that one are taken by themselves.
//!
//! Larger windows and durations: blocks of the window's length. A window is a suffix of one block and a prefix of the next,
//! so its power sums are those of the two added (van Herk; no subtraction). The sums are taken about an anchor near the data;
//! where the window's mean is more than `sqrt(KAPPA)` standard deviations away from it, the anchor moves there and the sums of the
//! block pair are taken again. Moving the sums from the anchor to the mean loses about `eps * KAPPA^(k/2)` of `m_k` (Pebay 2008).
//! Cost: O(1) per row, O(w) where an anchor moves.
//!
//! Data so large or so small that fourth powers leave the range of `f64` are scaled by a power of two, window by window.

use super::{Frame, PAD, Statistic, Tile, size_buffers};
use std::ops::RangeInclusive;

use crate::kernels::powers_of_two;
use crate::kernels::simd::{Arithmetic, Kernel, LANES, Lanes, Scalar, Simd, dispatch};
use crate::kernels::transpose::{deinterleave, side_by_side};

/// Windows up to this many rows are computed directly.
const DIRECT_MAX: usize = 64;
/// Windows up to this many rows need no second pass for second powers: `n^2 eps` is 2.3e-13.
const ONE_PASS_MAX: usize = 32;
/// Windows of so many rows share their first pass; a shorter block is not worth its transposition.
const SHARED: RangeInclusive<usize> = LANES..=ONE_PASS_MAX;
/// Largest squared distance between anchor and mean, in variances. Kurtosis loses `KAPPA^2` eps and the rounding of the sums on
/// top: with 25, windows of 500 rows missed 1e-12; with 4 an anchor moves twice per block on a ramp.
const KAPPA: f64 = 4.0;
/// Outside these bounds of `m_2`, third and fourth powers may leave the range of `f64`.
const TINY: f64 = 1e-120;
const HUGE: f64 = 1e120;

/// Central sums of a window. `scale` is what the readings were divided by for all of them but the mean: a power of two, mostly 1.
#[derive(Clone, Copy, Default)]
struct Central<V> {
    n: V,
    mean: V,
    m2: V,
    m3: V,
    m4: V,
    sxp: V,
    spp: V,
    scale: V,
}

/// Applies an expression to every field. A macro and not a method: a closure is not sure to be compiled for the level of its kernel.
macro_rules! each {
    ($from:expr, $field:ident => $e:expr) => {{
        let from = &$from;
        Central {
            n: {
                let $field = &from.n;
                $e
            },
            mean: {
                let $field = &from.mean;
                $e
            },
            m2: {
                let $field = &from.m2;
                $e
            },
            m3: {
                let $field = &from.m3;
                $e
            },
            m4: {
                let $field = &from.m4;
                $e
            },
            sxp: {
                let $field = &from.sxp;
                $e
            },
            spp: {
                let $field = &from.spp;
                $e
            },
            scale: {
                let $field = &from.scale;
                $e
            },
        }
    }};
}

pub struct Stage {
    statistics: Vec<Statistic>,
    /// 1: mean, 2: and standard deviation or slope, 4: all powers
    order: u8,
    slope: bool,
    filled: Vec<f64>,
    blocks: Blocks,
}

impl Stage {
    pub fn new(statistics: Vec<Statistic>) -> Self {
        let order = statistics
            .iter()
            .map(|s| match s {
                Statistic::Mean => 1,
                Statistic::Std { .. } | Statistic::Slope => 2,
                _ => 4,
            })
            .max()
            .unwrap_or(1);
        let slope = statistics.contains(&Statistic::Slope);
        Self { statistics, order, slope, filled: Vec::new(), blocks: Blocks::default() }
    }

    /// Writes each statistic's results to the buffer of its place.
    pub fn run(&mut self, tile: &Tile, outs: &mut Vec<Vec<f64>>) {
        let len = tile.results().next_multiple_of(LANES);
        size_buffers(outs, self.statistics.len(), len + LANES);
        let outs = &mut outs[..self.statistics.len()];
        match tile.frame {
            Frame::Rows(w) if w <= DIRECT_MAX => {
                self.filled.clear();
                if tile.missing {
                    fill_forward(tile, &mut self.filled);
                }
                let direct = Direct {
                    tile,
                    w,
                    statistics: &self.statistics,
                    outs,
                    anchors: if tile.missing { &self.filled } else { &tile.padded[PAD..] },
                };
                match (self.order, self.slope) {
                    (1, _) => dispatch(Ordered::<1, false>(direct)),
                    (2, false) => dispatch(Ordered::<2, false>(direct)),
                    (2, true) => dispatch(Ordered::<2, true>(direct)),
                    (_, false) => dispatch(Ordered::<4, false>(direct)),
                    (_, true) => dispatch(Ordered::<4, true>(direct)),
                }
            }
            _ => {
                self.blocks.run(tile);
                let central = each!(self.blocks.central, values => &values[tile.first..][..len]);
                dispatch(Finish { tile, central, statistics: &self.statistics, outs });
            }
        }
    }
}

/// The last reading up to each row; before the first reading 0.
fn fill_forward(tile: &Tile, out: &mut Vec<f64>) {
    let mut last = 0.0;
    out.extend(tile.x.iter().map(|&v| {
        if !v.is_nan() {
            last = v;
        }
        last
    }));
    out.extend([last; LANES]);
}

struct Direct<'a> {
    tile: &'a Tile<'a>,
    w: usize,
    statistics: &'a [Statistic],
    outs: &'a mut [Vec<f64>],
    /// Per row a reading of its window, if the window has one.
    anchors: &'a [f64],
}

struct Ordered<'a, const ORDER: u8, const SLOPE: bool>(Direct<'a>);

impl<const ORDER: u8, const SLOPE: bool> Kernel for Ordered<'_, ORDER, SLOPE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if SHARED.contains(&self.0.w) {
            return self.0.shared::<S, ORDER, SLOPE>(s);
        }
        let Direct { tile, w, statistics, outs, anchors } = self.0;
        let mut some = each!(Central::<f64>::default(), _v => [0.0; SOME]);
        for first in (0..tile.results()).step_by(LANES) {
            let t = tile.first + first;
            // the rows of the group's first window; the other windows lie one row further each
            let rows = &tile.padded[PAD + t + 1 - w..PAD + t + LANES];
            let anchor = s.load_at(anchors, t);
            let mut central = if !tile.missing && t + 1 >= w && t + LANES <= tile.x.len() {
                let mut central = window_sums::<S, ORDER, SLOPE, false>(s, rows, w, anchor);
                higher_powers::<S, ORDER, false>(s, rows, &mut central);
                central
            } else {
                let mut central = window_sums::<S, ORDER, SLOPE, true>(s, rows, w, anchor);
                higher_powers::<S, ORDER, true>(s, rows, &mut central);
                central
            };
            rescue::<S, ORDER, SLOPE>(s, rows, w, anchor, &mut central);
            let at = first % SOME;
            some.store::<S, ORDER, SLOPE>(s, &central, at);
            let end = at + LANES;
            if end == SOME || first + LANES >= tile.results() {
                let central = each!(some, values => &values[..end]);
                finish_all(s, statistics, &central, tile, outs, first - at);
            }
        }
    }
}

impl Direct<'_> {
    /// Eight blocks of windows at a time.
    #[inline(always)]
    fn shared<S: Simd, const ORDER: u8, const SLOPE: bool>(self, s: S) {
        let Self { tile, w, statistics, outs, anchors } = self;
        let mut shared = Shared::new(w);
        let mut t = tile.first;
        while t < tile.x.len() {
            let block = t / w;
            // what a window gives must not depend on gaps of others: before the first row there are always some
            if tile.missing || block == 0 {
                shared.take::<S, ORDER, SLOPE, true>(s, tile.padded, block);
            } else {
                shared.take::<S, ORDER, SLOPE, false>(s, tile.padded, block);
            }
            let (from, to) = (t - block * w, (LANES * w).min(tile.x.len() - block * w));
            for at in (from..to).step_by(LANES) {
                let row = block * w + at;
                let rows = &tile.padded[PAD + row + 1 - w..PAD + row + LANES];
                shared.mend::<S, ORDER, SLOPE>(s, at, rows, s.load_at(anchors, row));
            }
            let end = from + (to - from).next_multiple_of(LANES);
            let central = each!(shared.central, values => &values[from..end]);
            // what it writes beyond `to` is written again
            finish_all(s, statistics, &central, tile, outs, t - tile.first);
            t += to - from;
        }
    }
}

/// Windows whose sums are kept until each statistic is taken of all of them.
const SOME: usize = 128;

impl<const N: usize> Central<[f64; N]> {
    /// Stores what these kernels compute.
    #[inline(always)]
    fn store<S: Simd, const ORDER: u8, const SLOPE: bool>(&mut self, s: S, from: &Central<S::V>, at: usize) {
        s.store_at(from.n, &mut self.n, at);
        s.store_at(from.mean, &mut self.mean, at);
        s.store_at(from.scale, &mut self.scale, at);
        if ORDER >= 2 {
            s.store_at(from.m2, &mut self.m2, at);
        }
        if ORDER > 2 {
            s.store_at(from.m3, &mut self.m3, at);
            s.store_at(from.m4, &mut self.m4, at);
        }
        if SLOPE {
            s.store_at(from.sxp, &mut self.sxp, at);
            s.store_at(from.spp, &mut self.spp, at);
        }
    }
}

/// Adds third and fourth powers about the mean: the second pass of windows whose first one gave second powers, too.
#[inline(always)]
fn higher_powers<S: Simd, const ORDER: u8, const MISSING: bool>(s: S, rows: &[f64], central: &mut Central<S::V>) {
    let w = rows.len() + 1 - LANES;
    if ORDER > 2 && w <= ONE_PASS_MAX {
        let (_, sums) = power_sums::<S, ORDER, false, MISSING>(s, rows, w, central.mean);
        let per_n = if MISSING { s.div(s.splat(1.0), central.n) } else { s.splat(1.0 / w as f64) };
        let higher = about_mean(s, central.n, per_n, sums);
        (central.m3, central.m4) = (higher.m3, higher.m4);
    }
}

/// Rows of the longest windows that share, in eight blocks, and what is read beyond them.
const SHARED_ROWS: usize = LANES * ONE_PASS_MAX + LANES;

/// The sums of the windows that end in eight blocks, row by row.
struct Shared {
    w: usize,
    /// The mean is NaN where the sums could not be shared, until they are mended.
    central: Central<[f64; SHARED_ROWS]>,
    /// Whether all have `w` readings, so that `n` and `spp` are the same for all.
    full: bool,
    /// The blocks before, one per lane.
    left: [Lanes; ONE_PASS_MAX],
    right: [Lanes; ONE_PASS_MAX],
    /// The sums of the left block's rows from each on; of row 0, which no window needs, 0.
    suffix: [Suffix; ONE_PASS_MAX],
    /// `sxp`, `n` and `spp` before they lie row by row; `mean` and `m2` take the places of `left` and `right`.
    crosses: [Lanes; ONE_PASS_MAX],
    counts: [Lanes; ONE_PASS_MAX],
    positions: [Lanes; ONE_PASS_MAX],
}

#[derive(Clone, Copy, Default)]
struct Suffix {
    n: Lanes,
    s1: Lanes,
    s2: Lanes,
    sx: Lanes,
    p1: Lanes,
    p2: Lanes,
}

impl Shared {
    fn new(w: usize) -> Self {
        let block = [Lanes::default(); ONE_PASS_MAX];
        Self {
            w,
            central: each!(Central::<f64>::default(), _v => [0.0; SHARED_ROWS]),
            full: false,
            left: block,
            right: block,
            suffix: [Suffix::default(); ONE_PASS_MAX],
            crosses: block,
            counts: block,
            positions: block,
        }
    }

    /// The sums of the windows that end in the eight blocks from `block` on.
    #[inline(always)]
    fn take<S: Simd, const ORDER: u8, const SLOPE: bool, const MISSING: bool>(
        &mut self,
        s: S,
        padded: &[f64],
        block: usize,
    ) {
        let w = self.w;
        if !MISSING && !self.full {
            self.central.n.fill(w as f64);
            self.central.spp.fill(positions_squared(w));
        }
        self.full = !MISSING;
        let Self {
            central: Central { n, mean, m2, sxp, spp, .. },
            left,
            right,
            suffix,
            crosses,
            counts,
            positions,
            ..
        } = self;
        let (left, right, crosses) = (&mut left[..w], &mut right[..w], &mut crosses[..w]);
        let (counts, positions) = (&mut counts[..w], &mut positions[..w]);
        let border = PAD + block * w;
        for (rows, from) in [(&mut *left, border - w), (&mut *right, border)] {
            let mut blocks = [padded; LANES];
            for (j, rows) in blocks.iter_mut().enumerate() {
                *rows = &padded[from + j * w..];
            }
            side_by_side(s, blocks, rows);
        }
        let zero = s.splat(0.0);
        let (mut anchor, mut age) = (s.load(&right[0]), zero);
        if MISSING {
            let (mut values, mut ages) = (Lanes::default(), Lanes::default());
            for j in 0..LANES {
                let at = border + j * w;
                let last = (0..w).find(|back| !padded[at - back].is_nan());
                values.0[j] = last.map_or(0.0, |back| padded[at - back]);
                ages.0[j] = last.unwrap_or(w) as f64;
            }
            (anchor, age) = (s.load(&values), s.load(&ages));
        }
        // positions count from the first row of the right block
        let (mut count, mut sums) = (zero, Power::zero(s));
        for i in (1..w).rev() {
            let p = s.splat(i as f64 - w as f64);
            sums.add_reading::<S, ORDER, SLOPE, MISSING>(s, s.sub(s.load(&left[i]), anchor), p, &mut count);
            let Suffix { n, s1, s2, sx, p1, p2 } = &mut suffix[i];
            s.store(sums.s1, s1);
            if ORDER >= 2 {
                s.store(sums.s2, s2);
            }
            if SLOPE {
                s.store(sums.sx, sx);
            }
            if MISSING {
                s.store(count, n);
                if SLOPE {
                    s.store(sums.p1, p1);
                    s.store(sums.p2, p2);
                }
            }
        }
        let (width, inverse) = (s.splat(w as f64), s.splat(1.0 / w as f64));
        let (mut count, mut sums) = (zero, Power::zero(s));
        for i in 0..w {
            let p = s.splat(i as f64);
            sums.add_reading::<S, ORDER, SLOPE, MISSING>(s, s.sub(s.load(&right[i]), anchor), p, &mut count);
            let before = &suffix[if i + 1 < w { i + 1 } else { 0 }];
            let sum = s.add(s.load(&before.s1), sums.s1);
            let readings = if MISSING { s.add(s.load(&before.n), count) } else { width };
            // a power of two has an exact inverse: the same bits
            let shift = if !MISSING && w.is_power_of_two() { s.mul(sum, inverse) } else { s.div(sum, readings) };
            let mean = s.add(anchor, shift);
            if MISSING {
                s.store(readings, &mut counts[i]);
                let reached = s.le(age, s.splat((w - 1 - i) as f64));
                s.store(s.select(reached, mean, s.splat(f64::NAN)), &mut left[i]);
            } else {
                s.store(mean, &mut left[i]);
            }
            if ORDER >= 2 {
                let squares = s.add(s.load(&before.s2), sums.s2);
                s.store(s.sub(squares, s.mul(shift, sum)), &mut right[i]);
            }
            if SLOPE {
                let cross = s.add(s.load(&before.sx), sums.sx);
                if MISSING {
                    let (p1, p2) = (s.add(s.load(&before.p1), sums.p1), s.add(s.load(&before.p2), sums.p2));
                    s.store(s.sub(cross, s.mul(s.div(p1, readings), sum)), &mut crosses[i]);
                    // n spp is a difference of integers, so exact
                    let spp = s.div(s.sub(s.mul(readings, p2), s.mul(p1, p1)), readings);
                    s.store(spp, &mut positions[i]);
                } else {
                    let middle = s.splat(position(i, w));
                    s.store(s.sub(cross, s.mul(middle, sum)), &mut crosses[i]);
                }
            }
        }
        let rows = LANES * w;
        deinterleave(s, left, &mut mean[..rows]);
        if ORDER >= 2 {
            deinterleave(s, right, &mut m2[..rows]);
        }
        if SLOPE {
            deinterleave(s, crosses, &mut sxp[..rows]);
        }
        if MISSING {
            deinterleave(s, counts, &mut n[..rows]);
            if SLOPE {
                deinterleave(s, positions, &mut spp[..rows]);
            }
        }
    }

    /// Completes the sums of eight windows from `at` on, where they could not be shared, and where powers are too large or too small.
    #[inline(always)]
    fn mend<S: Simd, const ORDER: u8, const SLOPE: bool>(&mut self, s: S, at: usize, rows: &[f64], anchor: S::V) {
        let sums = &self.central;
        let (mean, m2) = (s.load_at(&sums.mean, at), s.load_at(&sums.m2, at));
        let mut fits = s.keep(s.le(s.abs(mean), s.splat(f64::MAX)), s.splat(1.0));
        if ORDER >= 2 {
            fits = s.mul(fits, in_range(s, m2));
        }
        let fits = s.all(s.eq(fits, s.splat(1.0)));
        // mostly there is nothing to do
        if ORDER <= 2 && fits {
            s.store_at(s.splat(1.0), &mut self.central.scale, at);
            return;
        }
        let mut central = each!(*sums, values => s.load_at(values, at));
        central.scale = s.splat(1.0);
        let known = s.eq(mean, mean);
        if !s.all(known) {
            let other = window_sums::<S, ORDER, SLOPE, true>(s, rows, self.w, anchor);
            central.n = s.select(known, central.n, other.n);
            central.mean = s.select(known, central.mean, other.mean);
            central.m2 = s.select(known, central.m2, other.m2);
            central.sxp = s.select(known, central.sxp, other.sxp);
            central.spp = s.select(known, central.spp, other.spp);
        }
        if s.all(s.eq(central.n, s.splat(self.w as f64))) {
            higher_powers::<S, ORDER, false>(s, rows, &mut central);
        } else {
            higher_powers::<S, ORDER, true>(s, rows, &mut central);
        }
        if !fits {
            rescue::<S, ORDER, SLOPE>(s, rows, self.w, anchor, &mut central);
            // what is the same for all may have been rounded in another way
            self.full = false;
        }
        self.central.store::<S, ORDER, SLOPE>(s, &central, at);
    }
}

/// The sum of `position(j, w)^2`, exact: half-integers.
#[inline(always)]
fn positions_squared(w: usize) -> f64 {
    (w * (w * w - 1)) as f64 / 12.0
}

/// Position of row `j` of a window, about its middle.
#[inline(always)]
fn position(j: usize, w: usize) -> f64 {
    j as f64 - (w - 1) as f64 * 0.5
}

/// The central sums of eight adjacent windows.
#[inline(always)]
fn window_sums<S: Simd, const ORDER: u8, const SLOPE: bool, const MISSING: bool>(
    s: S,
    rows: &[f64],
    w: usize,
    anchor: S::V,
) -> Central<S::V> {
    let zero = s.splat(0.0);
    let one = s.splat(1.0);
    let rows = &rows[..w - 1 + LANES];
    if ORDER >= 2 && w <= ONE_PASS_MAX {
        let (n, sums) = power_sums::<S, 2, SLOPE, MISSING>(s, rows, w, anchor);
        let per_n = if MISSING { s.div(one, n) } else { s.splat(1.0 / w as f64) };
        let mut central = about_mean(s, n, per_n, sums);
        central.mean = s.add(anchor, central.mean);
        return central;
    }
    let (mut n, mut sum) = (zero, zero);
    for at in rows.array_windows() {
        let v = s.load(at);
        if MISSING {
            let present = s.eq(v, v);
            n = s.add(n, s.keep(present, one));
            sum = s.add(sum, s.keep(present, s.sub(v, anchor)));
        } else {
            sum = s.add(sum, s.sub(v, anchor));
        }
    }
    if !MISSING {
        n = s.splat(w as f64);
    }
    // a division, not the factor: one rounding less shows in a mean
    let mean = s.add(anchor, s.div(sum, n));
    if ORDER == 1 {
        return Central { n, mean, m2: zero, m3: zero, m4: zero, sxp: zero, spp: zero, scale: one };
    }
    let per_n = if MISSING { s.div(one, n) } else { s.splat(1.0 / w as f64) };
    let (_, sums) = power_sums::<S, ORDER, SLOPE, MISSING>(s, rows, w, mean);
    Central { mean, ..about_mean(s, n, per_n, sums) }
}

/// The number of readings and the power sums about a point, in one pass over the windows.
#[inline(always)]
fn power_sums<S: Simd, const ORDER: u8, const SLOPE: bool, const MISSING: bool>(
    s: S,
    rows: &[f64],
    w: usize,
    point: S::V,
) -> (S::V, Power<S::V>) {
    let (mut n, mut sums) = (s.splat(0.0), Power::zero(s));
    for (j, at) in rows.array_windows().enumerate() {
        let p = s.splat(position(j, w));
        sums.add_reading::<S, ORDER, SLOPE, MISSING>(s, s.sub(s.load(at), point), p, &mut n);
    }
    if !MISSING {
        n = s.splat(w as f64);
    }
    if SLOPE && !MISSING {
        sums.p2 = s.splat(positions_squared(w));
    }
    (n, sums)
}

/// Power sums about any point, here called 0.
struct Power<V> {
    s1: V,
    s2: V,
    s3: V,
    s4: V,
    /// of position times value, of positions, of their squares
    sx: V,
    p1: V,
    p2: V,
}

impl<V: Copy> Power<V> {
    #[inline(always)]
    fn zero<S: Arithmetic<V = V>>(s: S) -> Self {
        let zero = s.splat(0.0);
        Self { s1: zero, s2: zero, s3: zero, s4: zero, sx: zero, p1: zero, p2: zero }
    }

    /// Adds readings at a distance `d` from the point, NaN where they are missing, and at a position. Number and positions of the
    /// readings are added up only where some may be missing.
    #[inline(always)]
    fn add_reading<S: Simd<V = V>, const ORDER: u8, const SLOPE: bool, const MISSING: bool>(
        &mut self,
        s: S,
        mut d: V,
        mut p: V,
        n: &mut V,
    ) {
        if MISSING {
            let present = s.eq(d, d);
            *n = s.add(*n, s.keep(present, s.splat(1.0)));
            d = s.keep(present, d);
            p = s.keep(present, p);
        }
        self.s1 = s.add(self.s1, d);
        if ORDER >= 2 {
            let square = s.mul(d, d);
            self.s2 = s.add(self.s2, square);
            if ORDER > 2 {
                self.s3 = s.add(self.s3, s.mul(square, d));
                self.s4 = s.add(self.s4, s.mul(square, square));
            }
        }
        if SLOPE {
            self.sx = s.add(self.sx, s.mul(p, d));
            if MISSING {
                self.p1 = s.add(self.p1, p);
                self.p2 = s.add(self.p2, s.mul(p, p));
            }
        }
    }
}

/// The same about the mean. `mean` of the result is the distance from that point to the mean.
#[inline(always)]
fn about_mean<S: Arithmetic>(s: S, n: S::V, per_n: S::V, sums: Power<S::V>) -> Central<S::V> {
    let Power { s1, s2, s3, s4, sx, p1, p2 } = sums;
    let shift = s.div(s1, n);
    let middle = s.mul(p1, per_n);
    let square = s.mul(shift, shift);
    // m2 = s2 - shift s1
    let m2 = s.sub(s2, s.mul(shift, s1));
    // m3 = s3 - 3 shift s2 + 2 shift^2 s1
    let m3 = s.add(s.sub(s3, s.mul(s.splat(3.0), s.mul(shift, s2))), s.mul(s.splat(2.0), s.mul(square, s1)));
    // m4 = s4 - 4 shift s3 + 6 shift^2 s2 - 3 shift^3 s1
    let m4 = s.sub(
        s.add(s.sub(s4, s.mul(s.splat(4.0), s.mul(shift, s3))), s.mul(s.splat(6.0), s.mul(square, s2))),
        s.mul(s.splat(3.0), s.mul(s.mul(square, shift), s1)),
    );
    let sxp = s.sub(sx, s.mul(middle, s1));
    let spp = s.sub(p2, s.mul(middle, p1));
    Central { n, mean: shift, m2, m3, m4, sxp, spp, scale: s.splat(1.0) }
}

/// 1 where fourth powers stay in the range of `f64`, else 0.
#[inline(always)]
fn in_range<S: Simd>(s: S, m2: S::V) -> S::V {
    s.keep(s.le(m2, s.splat(HUGE)), s.keep(s.le(s.splat(TINY), m2), s.splat(1.0)))
}

/// Computes the lanes again whose values are too large or too small for plain fourth powers.
#[inline(always)]
fn rescue<S: Simd, const ORDER: u8, const SLOPE: bool>(
    s: S,
    rows: &[f64],
    w: usize,
    anchor: S::V,
    central: &mut Central<S::V>,
) {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let bad = if ORDER == 1 {
        let present = s.keep(s.lt(zero, central.n), one);
        s.select(s.le(s.abs(central.mean), s.splat(f64::MAX)), zero, present)
    } else {
        let fits = in_range(s, central.m2);
        if s.all(s.eq(fits, one)) {
            return;
        }
        // an m2 of 0 is right where all readings are equal
        let mut differs = zero;
        for j in 0..w {
            let v = s.load_at(rows, j);
            differs = s.max(differs, s.keep(s.eq(v, v), s.abs(s.sub(v, anchor))));
        }
        s.keep(s.lt(zero, differs), s.sub(one, fits))
    };
    if s.any(s.eq(bad, one)) {
        let mut lanes = each!(*central, v => s.to_array(*v));
        let bad = s.to_array(bad);
        for j in (0..LANES).filter(|&j| bad[j] == 1.0) {
            let positions = |i: usize| if SLOPE { position(i, w) } else { 0.0 };
            let from = scaled_sums(&rows[j..j + w], positions);
            lanes.set(j, from);
        }
        *central = each!(lanes, a => s.load(a));
    }
}

impl Central<[f64; LANES]> {
    fn set(&mut self, lane: usize, from: Central<f64>) {
        self.n[lane] = from.n;
        if !self.mean[lane].is_finite() {
            self.mean[lane] = from.mean;
        }
        self.m2[lane] = from.m2;
        self.m3[lane] = from.m3;
        self.m4[lane] = from.m4;
        self.sxp[lane] = from.sxp;
        self.spp[lane] = from.spp;
        self.scale[lane] = from.scale;
    }
}

/// The sums of one window, two passes on readings scaled so that the largest distance is near 1.
fn scaled_sums(window: &[f64], position: impl Fn(usize) -> f64) -> Central<f64> {
    let present = || window.iter().enumerate().filter(|(_, v)| !v.is_nan());
    let n = present().count() as f64;
    let anchor = present().next_back().map_or(0.0, |(_, v)| *v);
    // a quarter each: the difference of two readings fits
    let reach = present().map(|(_, v)| (v * 0.25 - anchor * 0.25).abs()).fold(0.0, f64::max);
    let reach = if reach > 0.0 { reach } else { present().map(|(_, v)| (v - anchor).abs()).fold(0.0, f64::max) };
    if reach == 0.0 {
        return Central { n, mean: anchor, scale: 1.0, ..Central::default() };
    }
    let (down, up) = powers_of_two(reach);
    let (anchor, middle) = (anchor * down, present().map(|(i, _)| position(i)).sum::<f64>() / n);
    let values = || present().map(|(i, v)| (position(i) - middle, v * down - anchor));
    let mean = values().map(|(_, d)| d).sum::<f64>() / n;
    let mut sums = Power { s1: 0.0, s2: 0.0, s3: 0.0, s4: 0.0, sx: 0.0, p1: 0.0, p2: 0.0 };
    for (p, v) in values() {
        let d = v - mean;
        sums.s1 += d;
        sums.s2 += d * d;
        sums.s3 += d * d * d;
        sums.s4 += (d * d) * (d * d);
        sums.sx += p * d;
        sums.p1 += p;
        sums.p2 += p * p;
    }
    let mut out = about_mean(Scalar, n, 1.0 / n, sums);
    out.mean = (anchor + (mean + out.mean)) * up;
    out.scale = up;
    out
}

/// What a statistic takes from the number of readings alone: computed once where all windows are full.
#[derive(Clone, Copy)]
struct Factors<V> {
    per_n: V,
    own: V,
}

#[inline(always)]
fn factors<S: Arithmetic>(s: S, statistic: Statistic, n: S::V) -> Factors<S::V> {
    let (one, two, three) = (s.splat(1.0), s.splat(2.0), s.splat(3.0));
    match statistic {
        Statistic::Std { ddof } => Factors { per_n: one, own: s.div(one, s.sub(n, s.splat(f64::from(ddof)))) },
        Statistic::Skew { .. } => {
            Factors { per_n: s.div(one, n), own: s.div(s.sqrt(s.mul(n, s.sub(n, one))), s.sub(n, two)) }
        }
        Statistic::Kurtosis { .. } => {
            Factors { per_n: s.div(one, n), own: s.div(s.sub(n, one), s.mul(s.sub(n, two), s.sub(n, three))) }
        }
        _ => Factors { per_n: one, own: one },
    }
}

/// Within `+-clip`; NaN stays: where one is NaN, min and max give the second.
#[inline(always)]
fn limited<S: Simd>(s: S, value: S::V, clip: f64) -> S::V {
    s.min(s.splat(clip), s.max(s.splat(-clip), value))
}

/// The result of one statistic, NaN where the window holds too few readings.
#[inline(always)]
fn finish<S: Simd>(s: S, statistic: Statistic, central: &Central<S::V>, factors: Factors<S::V>, tile: &Tile) -> S::V {
    let Central { n, mean, m2, m3, m4, sxp, spp, scale } = *central;
    let Factors { per_n, own } = factors;
    let (value, least) = match statistic {
        Statistic::Mean => (mean, 1),
        Statistic::Std { ddof } => (s.mul(s.sqrt(s.mul(m2, own)), scale), 2.max(ddof as usize + 1)),
        Statistic::Skew { bias, clip } => {
            // g1 = (m3 / n) / (m2 / n)^1.5
            let variance = s.mul(m2, per_n);
            let g1 = s.div(s.mul(m3, per_n), s.mul(variance, s.sqrt(variance)));
            (limited(s, if bias { g1 } else { s.mul(g1, own) }, clip), 3)
        }
        Statistic::Kurtosis { bias, clip } => {
            let variance = s.mul(m2, per_n);
            let g2 = s.sub(s.div(s.mul(m4, per_n), s.mul(variance, variance)), s.splat(3.0));
            let unbiased = s.mul(own, s.add(s.mul(s.add(n, s.splat(1.0)), g2), s.splat(6.0)));
            (limited(s, if bias { g2 } else { unbiased }, clip), 4)
        }
        Statistic::Slope => {
            // positions of durations are nanoseconds, slopes per second
            let per = if matches!(tile.frame, Frame::Times(_)) { 1e9 } else { 1.0 };
            (s.mul(s.mul(s.div(sxp, spp), s.splat(per)), scale), 2)
        }
        _ => unreachable!("not a moment"),
    };
    // + 0.0: no result is -0.0
    s.select(s.le(s.splat(least.max(tile.min_samples) as f64), n), s.add(value, s.splat(0.0)), s.splat(f64::NAN))
}

/// Larger windows and durations: central sums of every row of a tile, context included: where an anchor lies must not depend on the tile.
#[derive(Default)]
struct Blocks {
    central: Central<Vec<f64>>,
    suffix: Vec<Sums>,
}

/// Power sums of some readings about an anchor, and their number.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    s1: f64,
    s2: f64,
    s3: f64,
    s4: f64,
    sx: f64,
    p1: f64,
    p2: f64,
}

/// What sums are taken about: a value and a position.
#[derive(Clone, Copy)]
struct Anchor {
    value: f64,
    position: f64,
}

impl Sums {
    fn push(&mut self, value: f64, position: f64, anchor: Anchor) {
        if value.is_nan() {
            return;
        }
        let (d, p) = (value - anchor.value, position - anchor.position);
        let square = d * d;
        self.n += 1.0;
        self.s1 += d;
        self.s2 += square;
        self.s3 += square * d;
        self.s4 += square * square;
        self.sx += p * d;
        self.p1 += p;
        self.p2 += p * p;
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            n: self.n + other.n,
            s1: self.s1 + other.s1,
            s2: self.s2 + other.s2,
            s3: self.s3 + other.s3,
            s4: self.s4 + other.s4,
            sx: self.sx + other.sx,
            p1: self.p1 + other.p1,
            p2: self.p2 + other.p2,
        }
    }

    /// `mean` of the result is the distance from the anchor.
    fn central(&self) -> Central<f64> {
        let Self { n, s1, s2, s3, s4, sx, p1, p2 } = *self;
        about_mean(Scalar, n, 1.0 / n, Power { s1, s2, s3, s4, sx, p1, p2 })
    }
}

/// How often an anchor may move for one row: each move gains the digits that its distance had taken.
const MOVES: usize = 4;

impl Blocks {
    fn run(&mut self, tile: &Tile) {
        let Central { n, mean, m2, m3, m4, sxp, spp, scale } = &mut self.central;
        for values in [n, mean, m2, m3, m4, sxp, spp, scale] {
            values.resize(tile.x.len() + LANES, 0.0);
        }
        let n = tile.x.len();
        match tile.frame {
            Frame::Rows(w) => {
                for border in (0..n).step_by(w) {
                    self.pair(tile, border.saturating_sub(w), border, n.min(border + w));
                }
            }
            Frame::Times(times) => {
                for (i, block) in times.blocks.iter().enumerate() {
                    let end = times.blocks.get(i + 1).map_or(n, |next| next.first);
                    let before = i.checked_sub(1).map(|i| &times.blocks[i]);
                    // with a gap between, no window reaches the block before
                    let left = before.filter(|b| b.number + 1 == block.number).map_or(block.first, |b| b.first);
                    self.pair(tile, left, block.first, end);
                }
            }
        }
    }

    /// The rows `border..end`, whose windows begin in `left..=border`.
    fn pair(&mut self, tile: &Tile, left: usize, border: usize, end: usize) {
        let x = tile.x;
        let position = |i: usize| match tile.frame {
            Frame::Rows(_) => i as f64 - border as f64,
            // i128: the difference of two i64 may not fit
            Frame::Times(times) => (i128::from(times.nanoseconds[i]) - i128::from(times.nanoseconds[border])) as f64,
        };
        let nearest = x[left..border].iter().rev().chain(&x[border..end]).find(|v| !v.is_nan());
        let mut anchor = Anchor { value: nearest.copied().unwrap_or(0.0), position: 0.0 };
        let begin = tile.window_start(border).max(left);
        self.take_suffix(x, begin, border, anchor, position);
        let mut prefix = Sums::default();
        // first row of the run of equal readings that ends at the current row, missing ones passed over
        let (mut run, mut run_value) = (begin, f64::NAN);
        // first and last reading of the window
        let (mut head, mut newest) = (begin, begin);
        for t in begin..end {
            if !x[t].is_nan() {
                newest = t;
                if x[t] != run_value {
                    run = t;
                    run_value = x[t];
                }
            }
            if t < border {
                continue;
            }
            prefix.push(x[t], position(t), anchor);
            let start = tile.window_start(t);
            while head < t && (head < start || x[head].is_nan()) {
                head += 1;
            }
            let mut sums = self.suffix[start - begin].plus(&prefix);
            if sums.n > 0.0 && run <= head {
                // equal readings: exactly their value and no spread; the slope is 0 where two positions differ
                let spp = f64::from(u8::from(position(head) != position(newest)));
                self.put(t, Central { n: sums.n, mean: run_value, spp, scale: 1.0, ..Central::default() });
                continue;
            }
            let mut central = sums.central();
            let mut near = false;
            for _ in 0..MOVES {
                near = central.mean * central.mean * sums.n <= KAPPA * central.m2
                    && sums.p1 * sums.p1 / sums.n <= KAPPA * central.spp;
                if near || sums.n == 0.0 || !central.m2.is_finite() {
                    break;
                }
                anchor.value += central.mean;
                anchor.position += sums.p1 / sums.n;
                self.take_suffix(x, begin, border, anchor, position);
                prefix = Sums::default();
                for (i, &v) in (border..).zip(&x[border..=t]) {
                    prefix.push(v, position(i), anchor);
                }
                sums = self.suffix[start - begin].plus(&prefix);
                central = sums.central();
            }
            central.mean += anchor.value;
            if sums.n > 0.0 && !(near && (TINY..=HUGE).contains(&central.m2)) {
                central = scaled_sums(&x[start..=t], |i| position(start + i));
            }
            self.put(t, central);
        }
    }

    /// `suffix[i]` becomes the sums of the rows `begin + i..border`.
    fn take_suffix(&mut self, x: &[f64], begin: usize, border: usize, anchor: Anchor, position: impl Fn(usize) -> f64) {
        self.suffix.clear();
        self.suffix.resize(border.saturating_sub(begin) + 1, Sums::default());
        let mut sums = Sums::default();
        for i in (begin..border).rev() {
            sums.push(x[i], position(i), anchor);
            self.suffix[i - begin] = sums;
        }
    }

    fn put(&mut self, row: usize, from: Central<f64>) {
        self.central.n[row] = from.n;
        self.central.mean[row] = from.mean;
        self.central.m2[row] = from.m2;
        self.central.m3[row] = from.m3;
        self.central.m4[row] = from.m4;
        self.central.sxp[row] = from.sxp;
        self.central.spp[row] = from.spp;
        self.central.scale[row] = from.scale;
    }
}

/// Turns central sums into statistics.
struct Finish<'a> {
    tile: &'a Tile<'a>,
    central: Central<&'a [f64]>,
    statistics: &'a [Statistic],
    outs: &'a mut [Vec<f64>],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        finish_all(s, self.statistics, &self.central, self.tile, self.outs, 0);
    }
}

/// Each statistic of all windows, written from the row `from` on. In a loop over statistics for each window, the divisions of all
/// of them would be done for any; so they are if what statistic it is is asked for in the loop.
#[inline(always)]
fn finish_all<S: Simd>(
    s: S,
    statistics: &[Statistic],
    central: &Central<&[f64]>,
    tile: &Tile,
    outs: &mut [Vec<f64>],
    from: usize,
) {
    for (statistic, out) in statistics.iter().zip(outs) {
        let out = &mut out[from..];
        match *statistic {
            Statistic::Mean => finish_each(s, Statistic::Mean, central, tile, out),
            Statistic::Std { ddof } => finish_each(s, Statistic::Std { ddof }, central, tile, out),
            Statistic::Skew { bias, clip } => finish_each(s, Statistic::Skew { bias, clip }, central, tile, out),
            Statistic::Kurtosis { bias, clip } => {
                finish_each(s, Statistic::Kurtosis { bias, clip }, central, tile, out)
            }
            Statistic::Slope => finish_each(s, Statistic::Slope, central, tile, out),
            _ => unreachable!("not a moment"),
        }
    }
}

#[inline(always)]
fn finish_each<S: Simd>(s: S, statistic: Statistic, central: &Central<&[f64]>, tile: &Tile, out: &mut [f64]) {
    let w = if let Frame::Rows(w) = tile.frame { w as f64 } else { f64::INFINITY };
    let full = factors(Scalar, statistic, w);
    let full = Factors { per_n: s.splat(full.per_n), own: s.splat(full.own) };
    for at in (0..central.n.len().min(out.len())).step_by(LANES) {
        let central = each!(*central, values => s.load_at(values, at));
        let factors = if s.all(s.eq(central.n, s.splat(w))) { full } else { factors(s, statistic, central.n) };
        s.store_at(finish(s, statistic, &central, factors, tile), out, at);
    }
}
