//! Rolling median for small windows of rows: adjacent windows share what is sorted.
//!
//! `group` adjacent windows have all but a few of their readings in common. Those are sorted; then the group is halved, and each
//! half puts in what only its own windows share, down to single windows. A reading that is put in pushes the smallest and the
//! largest out of the list, since with `e` readings still to come only `e + 2` can end in the middle ("forgetful
//! selection"; for windows of pixels: Adams, "Fast median filters using separable sorting networks", 2021). An odd window counts as one
//! row more that holds +inf.
//!
//! Missing readings become infinite, with either sign in turn: among the missing of any window both signs are as
//! frequent, or one is once more, so that the middle of all is that of the present or lies beside it.
//!
//! The tile is cut into eight segments, one per SIMD lane. Cost: about `2 w` vector operations per 8 rows, half of what it takes
//! to keep the window sorted: 10,000 rows took 33 us before and take 21 for w = 16, with gaps 66 and 27, 82 and 49 for
//! w = 64 (AVX-512). Rows are laid side by side and results apart in whole squares: what the compiler makes of loops over the
//! rest took a third of the time.

use std::ops::Range;

use super::order_statistics::middle;
use super::{PAD, Tile};
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::{deinterleave_eight, interleave, segment};

/// Whether windows of `w` rows are worth it. The smallest group is of eight windows, which have half of their readings in common;
/// from some length on ranks cost less (`ranked_blocks`), and sooner where vectors are put together from small registers.
pub fn suits(w: usize) -> bool {
    struct Longest;

    impl Kernel for Longest {
        type Output = usize;

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            match S::REGISTERS {
                0..=4 => 64,
                5..=8 => 192,
                _ => PAD,
            }
        }
    }

    (2 * LANES..=dispatch(Longest)).contains(&w)
}

/// Computes the medians of one tile after another; the buffers are made once.
#[derive(Default)]
pub struct SharedWindows {
    rows: Vec<Lanes>,
    gaps: Vec<Gap>,
    lists: Vec<Lanes>,
    spare: Vec<Lanes>,
}

/// What there is of missing readings up to a row.
#[derive(Clone, Copy, Default)]
pub struct Gap {
    /// How many readings were present.
    present: Lanes,
    /// What the next missing one becomes.
    next: Lanes,
}

impl Gap {
    /// How many readings the rows have that came after `before`.
    #[inline(always)]
    pub fn readings_since<S: Simd>(&self, s: S, before: &Self) -> S::V {
        s.sub(s.load(&self.present), s.load(&before.present))
    }

    /// Whether both signs are as frequent among the missing of the rows up to `after`; and, if not, whether the positive one is
    /// once more.
    #[inline(always)]
    pub fn signs_until<S: Simd>(&self, s: S, after: &Self) -> (S::M, S::M) {
        let first = s.load(&self.next);
        (s.eq(first, s.load(&after.next)), s.lt(s.splat(0.0), first))
    }
}

impl SharedWindows {
    /// Writes the median of every result row of a tile with windows of `w` rows, a number that [`suits`].
    pub fn median(&mut self, tile: &Tile, w: usize, out: &mut Vec<f64>) {
        if w.is_multiple_of(2) {
            dispatch(Medians::<0> { of: self, tile, w, out });
        } else {
            dispatch(Medians::<1> { of: self, tile, w, out });
        }
    }
}

/// `ODD`: 1 where the windows have an odd number of rows.
struct Medians<'a, const ODD: usize> {
    of: &'a mut SharedWindows,
    tile: &'a Tile<'a>,
    w: usize,
    out: &'a mut Vec<f64>,
}

impl<const ODD: usize> Kernel for Medians<'_, ODD> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of: SharedWindows { rows, gaps, lists, spare }, tile, w, out } = self;
        let steps = segment(tile.results());
        let group = 1 << (w / 2).ilog2();
        let results = steps.next_multiple_of(group);
        // the last windows of a lane are the first of the next one
        out.resize((LANES - 1) * steps + results, 0.0);
        // window q holds the rows q + 1 to q + w of its lane
        rows.resize(w.next_multiple_of(LANES) + results, Lanes::default());
        let with_gaps = tile.windows_with_gaps(w, results).next_multiple_of(group);
        gaps.resize(if with_gaps > 0 { with_gaps + w } else { 0 }, Gap::default());
        // what the group shares, then its halves one below the other
        lists.resize(w / 2 + ODD + 1 + 2 * group, Lanes::default());
        spare.resize(2 * group, Lanes::default());
        let mut ready = 0;
        for first in (0..results).step_by(group) {
            if ready < first + group + w {
                let new = ready..(first + group + w).next_multiple_of(SOME).min(rows.len());
                interleave(s, &tile.padded[PAD + tile.first - w + ready..], steps, &mut rows[new.clone()]);
                fill(s, rows, gaps, new.clone());
                ready = new.end;
            }
            let mut of = Windows { rows, gaps, w, least: tile.min_samples as f64, out, steps };
            if first < with_gaps {
                of.medians::<S, ODD, true>(s, first, group, lists, spare);
            } else {
                of.medians::<S, ODD, false>(s, first, group, lists, spare);
            }
        }
    }
}

/// Rows that are laid side by side at once, a multiple of eight: those of a group come from the first-level cache then.
const SOME: usize = 64;

/// Makes the missing readings of the rows `new`, of as many as have gaps noted, infinite, in turn, and notes them row by row; the
/// rows before are done.
#[inline(always)]
pub fn fill<S: Simd>(s: S, rows: &mut [Lanes], gaps: &mut [Gap], new: Range<usize>) {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let (done, gaps) = gaps.split_at_mut(new.start.min(gaps.len()));
    let (mut count, mut next) = match done.last() {
        Some(gap) => (s.load(&gap.present), s.load(&gap.next)),
        None => (zero, s.splat(f64::INFINITY)),
    };
    for (row, gap) in rows[new].iter_mut().zip(gaps) {
        let v = s.load(row);
        let present = s.eq(v, v);
        s.store(s.select(present, v, next), row);
        count = s.add(count, s.keep(present, one));
        next = s.select(present, next, s.sub(zero, next));
        s.store(count, &mut gap.present);
        s.store(next, &mut gap.next);
    }
}

/// Readings that eight windows share and that can end in the middle: 9, and one for the row more of an odd window.
const MOST: usize = 10;

/// Windows in eight segments of `steps`.
struct Windows<'a> {
    /// Missing ones are infinite.
    rows: &'a [Lanes],
    gaps: &'a [Gap],
    w: usize,
    least: f64,
    steps: usize,
    out: &'a mut [f64],
}

impl Windows<'_> {
    /// Medians of the group of windows that begins with `first`.
    #[inline(always)]
    fn medians<S: Simd, const ODD: usize, const GAPS: bool>(
        &mut self,
        s: S,
        first: usize,
        group: usize,
        lists: &mut [Lanes],
        spare: &mut [Lanes],
    ) {
        let (rows, w) = (self.rows, self.w);
        let (core, lists) = lists.split_at_mut(w / 2 + ODD + 1);
        let core = sort_middle(s, &rows[first + group..first + w + 1], core);
        for q in (first..first + group).step_by(LANES) {
            let (mut size, mut parent, mut rest) = (group / 2, core, &mut *lists);
            while size >= LANES {
                let (list, others) = rest.split_at_mut(2 * size);
                let at = (q - first) / size;
                if first + at * size == q {
                    // a first half has older readings than both halves together, a second one has newer ones
                    let own = if at.is_multiple_of(2) { q + size } else { q + w + 1 - size };
                    narrow(s, parent, &rows[own..own + size], list, spare);
                }
                (parent, rest, size) = (&list[..size + 1 + ODD], others, size / 2);
            }
            self.eight::<S, ODD, GAPS>(s, q, parent);
        }
    }

    /// The same of eight windows, in registers; `list` is what they share.
    #[inline(always)]
    fn eight<S: Simd, const ODD: usize, const GAPS: bool>(&mut self, s: S, q: usize, list: &[Lanes]) {
        let (rows, w) = (self.rows, self.w);
        let mut eight = [s.splat(0.0); MOST];
        for (v, from) in eight.iter_mut().zip(&list[..9 + ODD]) {
            *v = s.load(from);
        }
        let mut medians = [Lanes::default(); LANES];
        for (begin, own) in [(q, q + 4), (q + 4, q + w + 1)] {
            let seven = squeeze(s, &eight, 9 + ODD, s.load(&rows[own]));
            let six = squeeze(s, &seven, 8 + ODD, s.load(&rows[own + 1]));
            let five = squeeze(s, &six, 7 + ODD, s.load(&rows[own + 2]));
            let four = squeeze(s, &five, 6 + ODD, s.load(&rows[own + 3]));
            for (begin, own) in [(begin, begin + 2), (begin + 2, begin + w + 1)] {
                let three = squeeze(s, &four, 5 + ODD, s.load(&rows[own]));
                let two = squeeze(s, &three, 4 + ODD, s.load(&rows[own + 1]));
                for (at, own) in [(begin, begin + 1), (begin + 1, begin + w + 1)] {
                    let one = squeeze(s, &two, 3 + ODD, s.load(&rows[own]));
                    s.store(self.median::<S, ODD, GAPS>(s, at, &one), &mut medians[at - q]);
                }
            }
        }
        deinterleave_eight(s, &medians, self.steps, q, self.out);
    }

    /// The median of a window from its two middle readings, three where a row more is to come.
    #[inline(always)]
    fn median<S: Simd, const ODD: usize, const GAPS: bool>(&self, s: S, q: usize, list: &[S::V; MOST]) -> S::V {
        if !GAPS {
            // +inf comes: the lower middle will be the second
            return if ODD == 1 { s.add(list[1], s.splat(0.0)) } else { middle(s, list[0], list[1]) };
        }
        let (before, after) = (&self.gaps[q], &self.gaps[q + self.w]);
        let (balanced, positive) = before.signs_until(s, after);
        let median = if ODD == 1 {
            let infinity = s.splat(f64::INFINITY);
            let negative = s.select(positive, s.splat(f64::NEG_INFINITY), infinity);
            let more = s.select(balanced, infinity, negative);
            let lower = s.max(list[0], s.min(more, list[1]));
            let upper = s.max(list[1], s.min(more, list[2]));
            s.select(balanced, lower, middle(s, lower, upper))
        } else {
            let one = s.select(positive, list[0], list[1]);
            s.select(balanced, middle(s, list[0], list[1]), one)
        };
        let enough = s.le(s.splat(self.least), after.readings_since(s, before));
        s.select(enough, s.add(median, s.splat(0.0)), s.splat(f64::NAN))
    }
}

/// The readings of `rows` that can end in the middle, in order; `list` has room for half of a window and one more.
#[inline(always)]
fn sort_middle<'a, S: Simd>(s: S, rows: &[Lanes], list: &'a mut [Lanes]) -> &'a [Lanes] {
    let (grow, shrink) = rows.split_at(list.len());
    let Some((eight, others)) = grow.split_first_chunk() else { return list };
    sort_eight(s, eight, list);
    for (len, row) in (8..).zip(others) {
        s.store(s.splat(f64::INFINITY), &mut list[len]);
        insert(s, &mut list[..=len], s.load(row));
    }
    for (smallest, row) in shrink.iter().enumerate() {
        insert(s, &mut list[smallest..], s.load(row));
    }
    &list[shrink.len()..]
}

/// Nineteen pairs put in order (Knuth, "Sorting and searching", 5.3.4).
#[inline(always)]
fn sort_eight<S: Simd>(s: S, rows: &[Lanes; 8], to: &mut [Lanes]) {
    let mut values = [s.splat(0.0); 8];
    for (value, row) in values.iter_mut().zip(rows) {
        *value = s.load(row);
    }
    // written out: a loop over the pairs would keep the values in memory
    macro_rules! in_order {
        ($($i:literal $j:literal),*) => {
            $((values[$i], values[$j]) = (s.min(values[$i], values[$j]), s.max(values[$i], values[$j]));)*
        };
    }
    in_order!(0 2, 1 3, 4 6, 5 7, 0 4, 1 5, 2 6, 3 7, 0 1, 2 3, 4 5, 6 7, 2 4, 3 5, 1 4, 3 6, 1 2, 3 4, 5 6);
    for (value, to) in values.into_iter().zip(to) {
        s.store(value, to);
    }
}

/// Puts `value` in its place in a list in order; the largest falls out.
#[inline(always)]
fn insert<S: Simd>(s: S, list: &mut [Lanes], value: S::V) {
    let mut below = s.splat(f64::NEG_INFINITY);
    for slot in list {
        let here = s.load(slot);
        s.store(s.max(below, s.min(value, here)), slot);
        below = here;
    }
}

/// Puts `value` in its place in a list in order; the smallest and the largest fall out.
#[inline(always)]
fn squeeze<S: Simd>(s: S, list: &[S::V; MOST], len: usize, value: S::V) -> [S::V; MOST] {
    let mut out = *list;
    for i in 0..len - 1 {
        out[i] = s.max(list[i], s.min(value, list[i + 1]));
    }
    out
}

/// The list `from` with each of `rows`, a multiple of eight, put in, and for each the smallest and the largest taken out. Four at a
/// time: a list is read and written once for them.
#[inline(always)]
fn narrow<S: Simd>(s: S, from: &[Lanes], rows: &[Lanes], to: &mut [Lanes], spare: &mut [Lanes]) {
    let mut len = from.len();
    for (i, eight) in rows.as_chunks::<8>().0.iter().enumerate() {
        let (fours, _) = eight.as_chunks::<4>();
        let list = if i == 0 { from } else { &to[..len] };
        narrow_by_four(s, list, &fours[0], &mut spare[..len - 4]);
        narrow_by_four(s, &spare[..len - 4], &fours[1], &mut to[..len - 8]);
        len -= 8;
    }
}

#[inline(always)]
fn narrow_by_four<S: Simd>(s: S, from: &[Lanes], rows: &[Lanes; 4], to: &mut [Lanes]) {
    let mut values = [s.splat(0.0); 4];
    for (value, row) in values.iter_mut().zip(rows) {
        *value = s.load(row);
    }
    // the last element of the list into which value k is put
    let mut last = [s.load(&from[0]); 4];
    let (begin, from) = from[1..].split_at(3);
    for (i, from) in begin.iter().enumerate() {
        let mut here = s.load(from);
        for k in 0..=i {
            let next = s.max(last[k], s.min(values[k], here));
            last[k] = here;
            here = next;
        }
        last[i + 1] = here;
    }
    for (from, to) in from.iter().zip(to) {
        let mut here = s.load(from);
        for (last, value) in last.iter_mut().zip(values) {
            let next = s.max(*last, s.min(value, here));
            *last = here;
            here = next;
        }
        s.store(here, to);
    }
}
