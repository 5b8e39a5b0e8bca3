//! Rolling median, median absolute deviation, robust z and Hampel's test.
//!
//! ```text
//! med_t = median of the window,  MAD_t = scale * median |x_i - med_t| over the same window
//! ```
//!
//! Small windows (`LANES_MAX`): the tile is cut into eight segments, one per SIMD lane, each with its own sorted window held
//! as `w` vectors. Replacing the oldest value `o` by the newest `v` is one pass, with `s` the sorted window:
//! `r_i = s_i if s_i < o else s_{i+1}` closes the gap, `min(r_i, max(r_{i-1}, v))` opens one. Missing readings are infinite, with
//! either sign in turn, as in `shared_windows`.
//! The k-th smallest deviation from the median is `min_i max(m - s_i, s_{i+k-1} - m)`: the k nearest values are neighbours in
//! the sorted window; since rounding is monotonic, this is the value that sorting the rounded deviations would give, to the bit.
//! Cost: about 4 vector operations per 8 rows and window position.
//!
//! The median alone needs no sorted window: see `shared_windows`, and `ranked_blocks` for larger ones.
//!
//! Larger windows with the MAD, and durations: a sorted array per series, binary search and `memmove`, and for the MAD a binary search for the
//! start of the k nearest. Cost: O(log w) comparisons and w/3 moved values per row.

use super::ranked_blocks::RankedBlocks;
use super::shared_windows::{self, Gap, SharedWindows, fill};
use super::{Frame, PAD, Statistic, Tile, size_buffers};
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::{deinterleave, interleave, segment};

/// Windows up to this many rows are sorted in lanes; above, one row costs less in a sorted array.
const LANES_MAX: usize = 160;
const _: () = assert!(LANES_MAX <= PAD);
/// Vectors of +inf behind a sorted window, for what looks further.
const BEHIND: usize = 2;
/// A normal distribution's standard deviation in units of its MAD, `1 / Phi^-1(3/4)`, with the digits that ACM uses.
const NORMAL: f64 = 1.4826;

pub struct Stage {
    statistics: Vec<Statistic>,
    median: Vec<f64>,
    mad: Vec<f64>,
    scratch: Scratch,
    shared: SharedWindows,
    ranked: RankedBlocks,
}

#[derive(Default)]
struct Scratch {
    rows: Vec<Lanes>,
    gaps: Vec<Gap>,
    window: Vec<Lanes>,
    median: Vec<Lanes>,
    mad: Vec<Lanes>,
}

impl Stage {
    pub fn new(statistics: Vec<Statistic>) -> Self {
        Self {
            statistics,
            median: Vec::new(),
            mad: Vec::new(),
            scratch: Scratch::default(),
            shared: SharedWindows::default(),
            ranked: RankedBlocks::default(),
        }
    }

    /// Writes each statistic's results to the buffer of its place.
    pub fn run(&mut self, tile: &Tile, outs: &mut Vec<Vec<f64>>) {
        let m = tile.results();
        let want_mad = self.statistics.iter().any(|s| *s != Statistic::Median);
        let padded = segment(m) * LANES;
        self.median.resize(padded, 0.0);
        self.mad.resize(if want_mad { padded } else { 0 }, 0.0);
        match tile.frame {
            Frame::Rows(w) if !want_mad && shared_windows::suits(w) => self.shared.median(tile, w, &mut self.median),
            Frame::Rows(w) if w <= LANES_MAX => dispatch(SortedLanes {
                tile,
                w,
                scratch: &mut self.scratch,
                median: &mut self.median,
                mad: &mut self.mad,
            }),
            Frame::Rows(w) if !want_mad => self.ranked.median(tile, w, &mut self.median),
            _ => sorted_array(tile, &mut self.median, &mut self.mad),
        }
        size_buffers(outs, self.statistics.len(), padded);
        for (i, (statistic, out)) in self.statistics.iter().zip(outs).enumerate() {
            if *statistic == Statistic::Median && i + 1 == self.statistics.len() {
                std::mem::swap(out, &mut self.median);
            } else {
                dispatch(Finish { statistic: *statistic, tile, median: &self.median, mad: &self.mad, out });
            }
        }
    }
}

/// Turns medians and MADs into a statistic.
struct Finish<'a> {
    statistic: Statistic,
    tile: &'a Tile<'a>,
    median: &'a [f64],
    mad: &'a [f64],
    out: &'a mut [f64],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { statistic, tile, median, mad, out } = self;
        if statistic == Statistic::Median {
            return out.copy_from_slice(&median[..out.len()]);
        }
        let (zero, one, normal) = (s.splat(0.0), s.splat(1.0), s.splat(NORMAL));
        let x = &tile.padded[PAD + tile.first..];
        for at in (0..out.len()).step_by(LANES) {
            let (mad, distance) = (s.load_at(mad, at), s.sub(s.load_at(x, at), s.load_at(median, at)));
            let value = match statistic {
                Statistic::Mad { scale } => s.mul(s.splat(scale), mad),
                Statistic::RobustZ { clip, scale_floor } => {
                    let scale = s.max(s.mul(normal, mad), s.splat(scale_floor));
                    // a missing reading stays NaN: where one is NaN, min and max give the second
                    let z = s.min(s.splat(clip), s.max(s.splat(-clip), s.div(distance, scale)));
                    // 0 / 0 is the reading at the median of a window without spread
                    s.add(s.select(s.eq(distance, zero), zero, z), zero)
                }
                Statistic::Hampel { n_sigmas } => {
                    let limit = s.mul(s.splat(n_sigmas), s.mul(normal, mad));
                    let outside = s.keep(s.lt(limit, s.abs(distance)), one);
                    s.select(s.eq(distance, distance), outside, distance)
                }
                _ => unreachable!("not an order statistic"),
            };
            s.store_at(value, out, at);
        }
    }
}

/// The mean of two order statistics, without overflow on the way.
fn midpoint(a: f64, b: f64) -> f64 {
    let sum = a + b;
    (if sum.is_finite() { sum * 0.5 } else { a * 0.5 + b * 0.5 }) + 0.0
}

struct SortedLanes<'a> {
    tile: &'a Tile<'a>,
    w: usize,
    scratch: &'a mut Scratch,
    median: &'a mut [f64],
    mad: &'a mut [f64],
}

impl Kernel for SortedLanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile, w, scratch, median, mad } = self;
        let steps = segment(tile.results());
        let want_mad = !mad.is_empty();
        // at step q row q of a lane leaves and row q + w enters
        let Scratch { rows, gaps, window, median: medians, mad: mads } = scratch;
        rows.resize(steps + w, Lanes::default());
        interleave(s, &tile.padded[PAD + tile.first - w..], steps, rows);
        window.clear();
        window.resize(w + BEHIND, Lanes([f64::INFINITY; LANES]));
        medians.resize(steps, Lanes::default());
        mads.resize(if want_mad { steps } else { 0 }, Lanes::default());
        let infinity = s.splat(f64::INFINITY);
        let nothing = s.splat(f64::NAN);
        let full = s.splat(w as f64);
        let least = s.splat(tile.min_samples as f64);
        let counted = tile.windows_with_gaps(w, steps);
        gaps.resize(if counted > 0 { counted + w } else { 0 }, Gap::default());
        fill(s, rows, gaps, 0..steps + w);
        // windows that reach past the end of the column are computed and not used
        for row in &rows[1..w] {
            replace(s, &mut window[..=w], infinity, s.load(row));
        }
        for q in 0..steps {
            let old = if q == 0 { infinity } else { s.load(&rows[q]) };
            replace(s, &mut window[..=w], old, s.load(&rows[q + w]));
            let count = if q < counted { gaps[q + w].readings_since(s, &gaps[q]) } else { full };
            if s.all(s.eq(count, full)) {
                let middle = middle(s, s.load(&window[(w - 1) / 2]), s.load(&window[w / 2]));
                s.store(middle, &mut medians[q]);
                if want_mad {
                    s.store(mad_of_full(s, window, w, middle), &mut mads[q]);
                }
                continue;
            }
            let middle = median_of_some(s, window, w, &gaps[q], &gaps[q + w]);
            let enough = s.le(least, count);
            s.store(s.select(enough, middle, nothing), &mut medians[q]);
            if want_mad {
                let deviation = mad_of_some(s, window, w, count, middle);
                s.store(s.select(enough, deviation, nothing), &mut mads[q]);
            }
        }
        deinterleave(s, medians, median);
        if want_mad {
            deinterleave(s, mads, mad);
        }
    }
}

/// Takes `old` out of the sorted window and puts `new` in. `window` ends with a vector of +inf.
#[inline(always)]
fn replace<S: Simd>(s: S, window: &mut [Lanes], old: S::V, new: S::V) {
    let Some((mut slot, rest)) = window.split_first_mut() else { return };
    let mut below = s.splat(f64::NEG_INFINITY);
    let mut here = s.load(slot);
    // four at a time: the loop itself costs as much as the work on one
    let (fours, rest) = rest.as_chunks_mut::<4>();
    for four in fours {
        for next_slot in four {
            let next = s.load(next_slot);
            let kept = s.select(s.lt(here, old), here, next);
            s.store(s.min(kept, s.max(below, new)), slot);
            (slot, below, here) = (next_slot, kept, next);
        }
    }
    for next_slot in rest {
        let next = s.load(next_slot);
        let kept = s.select(s.lt(here, old), here, next);
        s.store(s.min(kept, s.max(below, new)), slot);
        (slot, below, here) = (next_slot, kept, next);
    }
}

/// [`midpoint`] in lanes.
#[inline(always)]
pub fn middle<S: Simd>(s: S, a: S::V, b: S::V) -> S::V {
    let half = s.splat(0.5);
    let sum = s.add(a, b);
    let overflow = s.eq(s.abs(sum), s.splat(f64::INFINITY));
    let plain = s.mul(sum, half);
    let value = if s.any(overflow) { s.select(overflow, s.add(s.mul(a, half), s.mul(b, half)), plain) } else { plain };
    s.add(value, s.splat(0.0))
}

/// The median where missing readings are infinite, in turn.
#[inline(always)]
fn median_of_some<S: Simd>(s: S, window: &[Lanes], w: usize, before: &Gap, after: &Gap) -> S::V {
    let at = |i: usize| &window[i];
    let [below, lower, upper, above] = [(w / 2).saturating_sub(1), (w - 1) / 2, w / 2, w / 2 + 1].map(at);
    let (balanced, positive) = before.signs_until(s, after);
    let median = if w.is_multiple_of(2) {
        let one = s.select(positive, s.load(lower), s.load(upper));
        s.select(balanced, middle(s, s.load(lower), s.load(upper)), one)
    } else {
        // an even number of readings is present where one sign is once more
        let first = s.select(positive, s.load(below), s.load(lower));
        let second = s.select(positive, s.load(upper), s.load(above));
        s.select(balanced, s.load(lower), middle(s, first, second))
    };
    s.add(median, s.splat(0.0))
}

/// The MAD where every lane holds `w` readings.
#[inline(always)]
fn mad_of_full<S: Simd>(s: S, window: &[Lanes], w: usize, median: S::V) -> S::V {
    let k = w.div_ceil(2);
    let mut lower = s.splat(f64::INFINITY);
    if w % 2 == 1 {
        for (first, last) in window[..=w - k].iter().zip(&window[k - 1..]) {
            let below = s.sub(median, s.load(first));
            lower = s.min(lower, s.max(below, s.sub(s.load(last), median)));
        }
        return s.add(lower, s.splat(0.0));
    }
    let mut upper = lower;
    let mut above = s.sub(s.load(&window[k - 1]), median);
    // the last pair reads the vector of +inf behind the window: there is no k + 1 from there
    for (first, last) in window[..=w - k].iter().zip(&window[k..]) {
        let below = s.sub(median, s.load(first));
        let next = s.sub(s.load(last), median);
        lower = s.min(lower, s.max(below, above));
        upper = s.min(upper, s.max(below, next));
        above = next;
    }
    middle(s, lower, upper)
}

/// The MAD where the lanes hold different numbers of readings; missing ones are infinite, and so are their distances.
#[inline(always)]
fn mad_of_some<S: Simd>(s: S, window: &[Lanes], w: usize, count: S::V, median: S::V) -> S::V {
    // the middle deviations of n readings are the k-th smallest for k = (n+1)/2 and n/2 + 1, rounded down
    let (mut least, mut most) = (w, 1);
    for n in s.to_array(count) {
        least = least.min((n as usize).div_ceil(2));
        most = most.max(n as usize / 2 + 1);
    }
    let (mut lower, mut upper) = (median, median);
    // three at a time: they share the distances
    for k in (least.max(1)..=most.min(w)).step_by(3) {
        let mut nearest = [s.splat(f64::INFINITY); 3];
        let [mut above, mut next] = [k - 1, k].map(|i| s.sub(s.load(&window[i]), median));
        for (first, last) in window[..=w - k].iter().zip(&window[k + 1..]) {
            let below = s.sub(median, s.load(first));
            let last = s.sub(s.load(last), median);
            nearest[0] = s.min(nearest[0], s.max(below, above));
            nearest[1] = s.min(nearest[1], s.max(below, next));
            nearest[2] = s.min(nearest[2], s.max(below, last));
            (above, next) = (next, last);
        }
        for (k, nearest) in (k..).zip(nearest) {
            let twice = s.splat(2.0 * k as f64);
            // n in {2k-1, 2k} has its lower middle at k; n in {2k-2, 2k-1} its upper one
            let is_lower = s.le(s.abs(s.sub(s.sub(twice, s.splat(0.5)), count)), s.splat(0.5));
            let is_upper = s.le(s.abs(s.sub(s.sub(twice, s.splat(1.5)), count)), s.splat(0.5));
            lower = s.select(is_lower, nearest, lower);
            upper = s.select(is_upper, nearest, upper);
        }
    }
    middle(s, lower, upper)
}

/// Larger windows and durations.
fn sorted_array(tile: &Tile, median: &mut [f64], mad: &mut [f64]) {
    let want_mad = !mad.is_empty();
    let mut window: Vec<f64> = Vec::new();
    let begin = tile.window_start(tile.first);
    let mut oldest = begin;
    for t in begin..tile.x.len() {
        let mut new = Some(tile.x[t]).filter(|v| !v.is_nan());
        while oldest < tile.window_start(t) {
            let old = tile.x[oldest];
            oldest += 1;
            if old.is_nan() {
                continue;
            }
            match new.take() {
                Some(new) => replace_one(&mut window, old, new),
                None => drop(window.remove(window.partition_point(|v| *v < old))),
            }
        }
        if let Some(new) = new {
            window.insert(window.partition_point(|v| *v < new), new);
        }
        if t < tile.first {
            continue;
        }
        let enough = window.len() >= tile.min_samples;
        let out = t - tile.first;
        median[out] =
            if enough { midpoint(window[(window.len() - 1) / 2], window[window.len() / 2]) } else { f64::NAN };
        if want_mad {
            mad[out] = if enough { mad_of_sorted(&window, median[out]) } else { f64::NAN };
        }
    }
}

/// Takes `old` out and puts `new` in; only what lies between them moves.
fn replace_one(window: &mut [f64], old: f64, new: f64) {
    let from = window.partition_point(|v| *v < old);
    let to = window.partition_point(|v| *v < new);
    if to > from {
        window.copy_within(from + 1..to, from);
        window[to - 1] = new;
    } else {
        window.copy_within(to..from, to + 1);
        window[to] = new;
    }
}

/// The MAD of a sorted window.
fn mad_of_sorted(window: &[f64], median: f64) -> f64 {
    let n = window.len();
    let k = n.div_ceil(2);
    let start = nearest_start(window, median, k);
    let lower = (median - window[start]).max(window[start + k - 1] - median);
    if n % 2 == 1 {
        return lower + 0.0;
    }
    // the next nearest lies beside the k nearest
    let left = if start > 0 { median - window[start - 1] } else { f64::INFINITY };
    let right = if start + k < n { window[start + k] - median } else { f64::INFINITY };
    midpoint(lower, left.min(right))
}

/// Where the `k` values nearest to `m` begin.
fn nearest_start(window: &[f64], m: f64, k: usize) -> usize {
    let (mut low, mut high) = (0, window.len() - k);
    while low < high {
        let i = (low + high) / 2;
        if m - window[i] > window[i + k] - m { low = i + 1 } else { high = i }
    }
    low
}
