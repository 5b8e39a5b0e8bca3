//! Rolling correlations of many pairs, with lags.
//!
//! At row t: the correlation of `x_i` with `y_{i-lag}` over the rows `max(0, t-w+1)..=t` where both are present.
//!
//! Eight columns lie side by side, one per lane; another column is broadcast against them. The rows are cut into blocks of
//! w, so that a window is a suffix of one block and a prefix of the next and its sum of products is that of the two added
//! (van Herk 1992, Gil and Werman 1993): no subtraction, O(1) per row and pair whatever the window. Each lagged column is taken about
//! an anchor per block, the middle one of the last three readings before the block; its sums and variances are computed
//! once and serve all its partners. With missing readings in a pair of blocks, the pair takes six masked sums
//! instead of one: about five times the work. The same operations in the same order give the same bits on both ways.
//!
//! Rows whose windows lie far from the anchor (more than `sqrt(kappa)` standard deviations) or out of range are computed
//! again directly, O(w) each. Cost per pair and row: about 12 vector operations for eight pairs. A tile without missing
//! readings is prepared without masks. Where the extremes of a pair are all that is wanted, its rows never leave the
//! registers, and are not brought into [-1, 1] one by one.
//!
//! Not taken: two passes over each window with adjacent windows in the lanes, as the moments of small windows do. At
//! w = 16 that is some 100 vector operations for eight results, as nothing of a column is shared by its pairs.

use rayon::ThreadPool;

use super::{HUGE, Row, TINY, direct};
use crate::kernels::elementary::inverse_sqrt;
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::parallel;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::kernels::transpose::{deinterleave, side_by_side};

/// Rows of a tile, at least: what one side of a pair keeps of it then fits into the first cache levels.
const TILE: usize = 256;

/// Largest squared distance between anchor and mean, in variances, for windows of `w`. A correlation loses up to
/// `w (1 + kappa)` eps, here some 1e-13 for small windows; with 16, a ramp needs no second computation.
fn kappa(w: usize) -> f64 {
    (1024.0 / w as f64).max(16.0)
}

/// Columns side by side, lagged, and what all their pairs need of them.
#[derive(Default)]
struct Side {
    columns: Vec<f64>,
    /// The rows from one window before the tile on; missing is NaN.
    raw: Vec<Row>,
    /// Per block `2 w` rows: the block before and the block, about their anchors; missing is 0.
    values: Vec<Row>,
    /// The same rows: 1 where present, else 0.
    present: Vec<Row>,
    /// Per row, of full windows: `sum / sqrt(w)`, so that the product of two is what the means take off the sum of products, and
    /// `1 / sqrt(sum of squares about the mean)`, NaN where that cannot be used.
    level: Vec<Row>,
    inverse: Vec<Row>,
    /// Per row: 1 where all readings of the window are equal, and where others give no `inverse`.
    constant: Vec<Row>,
    bad: Vec<Row>,
    blocks: Vec<Block>,
    suffix: Vec<[Row; 3]>,
    /// Whether `present` holds nothing but 1.
    complete: bool,
}

/// What a block and the one before it hold, by lane.
#[derive(Clone, Copy)]
struct Block {
    missing: [bool; LANES],
    bad: [bool; LANES],
}

/// The rows of a tile: `first` is a multiple of the window.
#[derive(Clone, Copy)]
struct Tile {
    w: usize,
    first: usize,
    rows: usize,
    kappa: f64,
}

impl Tile {
    /// Number of a block and the rows in it.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.rows.div_ceil(self.w)).map(move |b| (b, self.w.min(self.rows - b * self.w)))
    }
}

impl Side {
    fn prepare<T: Source + ?Sized>(&mut self, tile: Tile, columns: &[&T], lag: usize) {
        let Tile { w, first, rows, .. } = tile;
        let all = w + rows;
        // rows before the start of the series, or before its lag, are missing
        let before = (w + lag).saturating_sub(first).min(all);
        // lanes without a column are constant
        self.columns.resize(LANES * all, 0.0);
        self.columns[columns.len() * all..].fill(0.0);
        let mut missing = before > 0;
        for (to, column) in self.columns.chunks_exact_mut(all).zip(columns) {
            let (nothing, readings) = to.split_at_mut(before);
            nothing.fill(f64::NAN);
            if !readings.is_empty() {
                missing |= column.load(first + before - w - lag, readings);
            }
        }
        self.raw.resize(all, Row::default());
        for buffer in [&mut self.level, &mut self.inverse, &mut self.constant, &mut self.bad] {
            buffer.resize(rows, Row::default());
        }
        let blocks = rows.div_ceil(w);
        self.values.resize(blocks * 2 * w, Row::default());
        self.suffix.resize(w + 1, [Row::default(); 3]);
        self.blocks.clear();
        let complete = self.complete && self.present.len() == blocks * 2 * w;
        self.present.resize(blocks * 2 * w, Row::default());
        if !missing && !complete {
            self.present.fill(Lanes([1.0; LANES]));
        }
        self.complete = !missing;
        dispatch(Prepare { side: self, tile });
    }

    /// The anchors of a block: of the last three readings before it the middle one, so that a single spike is none.
    fn anchors(&self, w: usize, block: usize, rows: usize) -> Row {
        let (left, right) = self.raw[block * w..(block + 1) * w + rows].split_at(w);
        Lanes(std::array::from_fn(|lane| {
            let mut last = left.iter().rev().map(|row| row[lane]).filter(|v| !v.is_nan());
            match (last.next(), last.next(), last.next()) {
                (Some(a), Some(b), Some(c)) => a.max(b).min(a.min(b).max(c)),
                (Some(a), ..) => a,
                _ => right.iter().map(|row| row[lane]).find(|v| !v.is_nan()).unwrap_or(0.0),
            }
        }))
    }
}

struct Prepare<'a> {
    side: &'a mut Side,
    tile: Tile,
}

impl Kernel for Prepare<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.side.complete { self.blocks::<S, false>(s) } else { self.blocks::<S, true>(s) }
    }
}

impl Prepare<'_> {
    /// With or without missing readings.
    #[inline(always)]
    fn blocks<S: Simd, const MISSING: bool>(self, s: S) {
        let Self { side, tile } = self;
        let w = tile.w;
        let (zero, one, nan) = (s.splat(0.0), s.splat(1.0), s.splat(f64::NAN));
        let (tiny, huge, kappa) = (s.splat(TINY), s.splat(HUGE), s.splat(tile.kappa));
        let root = per_root(s, s.splat(w as f64));
        let stride = side.columns.len() / LANES;
        side_by_side(s, std::array::from_fn(|lane| &side.columns[lane * stride..]), &mut side.raw);
        for (b, rows) in tile.blocks() {
            let anchor = match side.raw[b * w..(b + 1) * w].last_chunk::<3>() {
                Some(last) if !MISSING => {
                    let [c, b, a] = last.each_ref().map(|row| s.load(row));
                    s.min(s.max(a, b), s.max(s.min(a, b), c))
                }
                _ => s.load(&side.anchors(w, b, rows)),
            };
            let Side { raw, values, present, level, inverse, constant, bad, suffix, .. } = &mut *side;
            let raw = &raw[b * w..(b + 1) * w + rows];
            let [values, present] = [values, present].map(|buffer| &mut buffer[b * 2 * w..][..w + rows]);
            let [level, inverse, constant, bad] =
                [level, inverse, constant, bad].map(|buffer| &mut buffer[b * w..][..rows]);
            let mut least = one;
            for ((raw, value), present) in raw.iter().zip(values.iter_mut()).zip(present.iter_mut()) {
                let v = s.load(raw);
                let mut d = s.sub(v, anchor);
                if MISSING {
                    let is_present = s.eq(v, v);
                    let p = s.keep(is_present, one);
                    least = s.min(least, p);
                    s.store(p, present);
                    d = s.keep(is_present, d);
                }
                s.store(d, value);
            }
            let missing = s.to_array(least).map(|p| p == 0.0);
            let (mut sum, mut squares, mut n) = (zero, zero, zero);
            for ((value, present), suffix) in values[..w].iter().zip(&present[..w]).zip(&mut suffix[..w]).rev() {
                let d = s.load(value);
                sum = s.add(sum, d);
                squares = s.add(squares, s.mul(d, d));
                s.store(sum, &mut suffix[0]);
                s.store(squares, &mut suffix[1]);
                if MISSING {
                    n = s.add(n, s.load(present));
                    s.store(n, &mut suffix[2]);
                }
            }
            (sum, squares) = (zero, zero);
            // row w of the suffixes is always 0
            for (((value, suffix), level), spread) in
                values[w..].iter().zip(&suffix[1..]).zip(&mut *level).zip(&mut *inverse)
            {
                let d = s.load(value);
                sum = s.add(sum, d);
                squares = s.add(squares, s.mul(d, d));
                let of_all = s.mul(s.add(s.load(&suffix[0]), sum), root);
                s.store(of_all, level);
                s.store(s.sub(s.add(s.load(&suffix[1]), squares), s.mul(of_all, of_all)), spread);
            }
            // a loop of its own: here no row waits for the one before
            let mut worst = zero;
            for ((level, inverse), bad) in level.iter().zip(&mut *inverse).zip(&mut *bad) {
                let (level, spread) = (s.load(level), s.load(inverse));
                let ok = usable(s, s.mul(level, level), spread, kappa, tiny, huge);
                let not = s.sub(one, s.keep(ok, one));
                worst = s.max(worst, not);
                s.store(s.select(ok, inverse_sqrt(s, spread), nan), inverse);
                s.store(not, bad);
            }
            constant.fill(Lanes::default());
            // no sum of equal readings is usable
            if s.any(s.lt(zero, worst)) {
                worst = zero;
                let (mut last, mut equal, mut n) = (nan, zero, zero);
                for row in &raw[..w] {
                    count_equal::<S, MISSING>(s, row, &mut last, &mut equal);
                }
                for j in 0..rows {
                    count_equal::<S, MISSING>(s, &raw[w + j], &mut last, &mut equal);
                    n = s.add(n, s.load(&present[w + j]));
                    let count = if MISSING { s.add(s.load(&suffix[j + 1][2]), n) } else { s.splat(w as f64) };
                    let all = s.le(count, equal);
                    let not = s.select(all, zero, s.load(&bad[j]));
                    worst = s.max(worst, not);
                    s.store(s.keep(all, one), &mut constant[j]);
                    s.store(not, &mut bad[j]);
                }
            }
            side.blocks.push(Block { missing, bad: s.to_array(worst).map(|bad| bad == 1.0) });
        }
    }
}

/// One row more: the last reading of each lane, and how many readings up to it, missing ones passed over, are equal to it.
#[inline(always)]
fn count_equal<S: Simd, const MISSING: bool>(s: S, row: &Row, last: &mut S::V, equal: &mut S::V) {
    let v = s.load(row);
    // one more than those before, if it is equal to them
    let more = s.add(s.keep(s.eq(v, *last), *equal), s.splat(1.0));
    let present = s.eq(v, v);
    *equal = if MISSING { s.select(present, more, *equal) } else { more };
    *last = if MISSING { s.select(present, v, *last) } else { v };
}

/// What sums of `n` numbers are multiplied by for their level.
#[inline(always)]
fn per_root<S: Simd>(s: S, n: S::V) -> S::V {
    s.sqrt(s.div(s.splat(1.0), n))
}

/// Whether a sum of squares about the mean kept its digits; `square` is that of the level.
#[inline(always)]
fn usable<S: Simd>(s: S, square: S::V, spread: S::V, kappa: S::V, tiny: S::V, huge: S::V) -> S::M {
    // the comparison with a NaN is false
    let near = s.keep(s.le(square, s.mul(kappa, spread)), spread);
    s.le(tiny, s.select(s.le(near, huge), near, s.splat(0.0)))
}

/// Computes the rolling correlations of some columns with others; the buffers are made once.
pub struct Pass {
    /// no longer than the series, which changes no result
    w: usize,
    kappa: f64,
    least: f64,
    xs: Vec<Side>,
    y: Side,
    suffix: Vec<Row>,
    out: Vec<Row>,
    extremes: [Extremes; AT_ONCE],
}

/// Columns against which eight others go at once: their sums fill the registers.
const AT_ONCE: usize = 4;

/// Results of up to eight pairs of a tile.
pub struct Results<'a> {
    /// Which lag of the list.
    pub lag: usize,
    /// One column, on the side of x or of y, and the first of those in the lanes on the other side.
    one: usize,
    first: usize,
    pub lanes: usize,
    x_in_lanes: bool,
    /// None where extremes alone are asked for.
    pub rows: &'a [Row],
    /// Of these rows, where they are asked for.
    pub extremes: Extremes,
}

impl Results<'_> {
    /// The columns x and y of a lane.
    pub fn pair(&self, lane: usize) -> (usize, usize) {
        if self.x_in_lanes { (self.first + lane, self.one) } else { (self.one, self.first + lane) }
    }
}

/// Columns on one side of pairs.
type Members<'a, T> = &'a [&'a T];

impl Pass {
    /// For series of `rows` rows; `min_samples` below 2 is 2.
    ///
    /// # Panics
    /// If the window has no rows.
    pub fn new(window_size: usize, min_samples: usize, rows: usize) -> Self {
        assert!(window_size > 0, "a window without rows");
        Self {
            w: window_size.min(rows.max(1)),
            kappa: kappa(window_size),
            least: min_samples.max(2) as f64,
            xs: Vec::new(),
            y: Side::default(),
            suffix: Vec::new(),
            out: Vec::new(),
            extremes: [Extremes::default(); AT_ONCE],
        }
    }

    /// Correlates each of `xs`, lagged by `x_lag`, with each of `ys` at each lag, from row `from` on or from the start of
    /// its tile. Each pair's rows come in order, some at a time.
    ///
    /// # Panics
    /// If the lengths of columns differ.
    pub fn run<T: Source + ?Sized>(
        &mut self,
        (xs, x_lag): (Members<T>, usize),
        (ys, y_lags): (Members<T>, &[usize]),
        from: usize,
        emit: impl FnMut(Results),
    ) {
        self.tiles::<T, true>((xs, x_lag), (ys, y_lags), from, emit);
    }

    /// As [`Pass::run`] over all rows, but for their extremes alone.
    ///
    /// # Panics
    /// As [`Pass::run`].
    pub fn extremes<T: Source + ?Sized>(
        &mut self,
        xs: (Members<T>, usize),
        ys: (Members<T>, &[usize]),
        emit: impl FnMut(Results),
    ) {
        self.tiles::<T, false>(xs, ys, 0, emit);
    }

    /// `ROWS`: every row is kept, else its extremes.
    fn tiles<T: Source + ?Sized, const ROWS: bool>(
        &mut self,
        (xs, x_lag): (Members<T>, usize),
        (ys, y_lags): (Members<T>, &[usize]),
        from: usize,
        mut emit: impl FnMut(Results),
    ) {
        let Some(n) = xs.first().map(|x| x.len()) else { return };
        assert!(xs.iter().chain(ys).all(|column| column.len() == n), "columns of one length");
        let w = self.w;
        let per_tile = (TILE / w).max(1) * w;
        self.xs.resize_with(xs.len().div_ceil(LANES), Side::default);
        let mut first = from / per_tile * per_tile;
        while first < n {
            let tile = Tile { w, first, rows: per_tile.min(n - first), kappa: self.kappa };
            for (side, columns) in self.xs.iter_mut().zip(xs.chunks(LANES)) {
                side.prepare(tile, columns, x_lag);
            }
            for (lag, &y_lag) in y_lags.iter().enumerate() {
                for (y, y_columns) in ys.chunks(LANES).enumerate() {
                    self.y.prepare(tile, y_columns, y_lag);
                    for (x, x_columns) in xs.chunks(LANES).enumerate() {
                        let x_in_lanes = y_columns.len() < x_columns.len();
                        let (one, lanes) = if x_in_lanes { (y, x) } else { (x, y) };
                        let members = if x_in_lanes {
                            [y_columns.len(), x_columns.len()]
                        } else {
                            [x_columns.len(), y_columns.len()]
                        };
                        self.group::<ROWS>(tile, x, x_in_lanes, members[0], |k, rows, extremes| {
                            emit(Results {
                                lag,
                                one: one * LANES + k,
                                first: lanes * LANES,
                                lanes: members[1],
                                x_in_lanes,
                                rows,
                                extremes,
                            });
                        });
                    }
                }
            }
            first += tile.rows;
        }
    }

    /// All pairs of group `x` with the y at hand. One side lies in the lanes, `members` columns of the other go against it.
    fn group<const ROWS: bool>(
        &mut self,
        tile: Tile,
        x: usize,
        x_in_lanes: bool,
        members: usize,
        mut emit: impl FnMut(usize, &[Row], Extremes),
    ) {
        let Self { xs, y, suffix, out, least, extremes, .. } = self;
        let kept = if ROWS { tile.rows } else { tile.w };
        let (x, y) = if x_in_lanes { (&*y, &xs[x]) } else { (&xs[x], &*y) };
        let mut lane = 0;
        while lane < members {
            let width = match members - lane {
                1 => 1,
                2 => 2,
                _ => AT_ONCE,
            };
            *extremes = Default::default();
            out.resize(width * kept, Row::default());
            suffix.resize(6.max(width) * tile.w, Row::default());
            let pairs = Pairs { tile, x, y, lane, least: *least, suffix, out, kept, extremes };
            match width {
                1 => dispatch(Wide::<1, ROWS>(pairs)),
                2 => dispatch(Wide::<2, ROWS>(pairs)),
                _ => dispatch(Wide::<AT_ONCE, ROWS>(pairs)),
            }
            for (k, rows) in out.chunks_exact(kept).enumerate().take(members - lane) {
                emit(lane + k, if ROWS { rows } else { &[] }, extremes[k]);
            }
            lane += width;
        }
    }

    /// As [`Pass::run`] over all rows, each pair's results into its sink: those of the first x and the first y at all lags
    /// come first, then those of the first x and the second y. Where there is no sink they are dropped.
    ///
    /// # Panics
    /// As [`Pass::run`], and if there is not a place for each pair and lag.
    pub fn write<T: Source + ?Sized, K: Sink>(
        &mut self,
        (xs, x_lag): (Members<T>, usize),
        (ys, y_lags): (Members<T>, &[usize]),
        sinks: &mut [Option<K>],
    ) {
        assert_eq!(sinks.len(), xs.len() * ys.len() * y_lags.len(), "a place for each pair and lag");
        let mut columns = Vec::new();
        self.run((xs, x_lag), (ys, y_lags), 0, |results| {
            let rows = results.rows;
            if results.lanes == 1 {
                columns.clear();
                columns.extend(rows.iter().map(|row| row[0]));
            } else {
                columns.resize(LANES * rows.len(), 0.0);
                dispatch(Apart { rows, columns: &mut columns });
            }
            for (lane, column) in columns.chunks_exact(rows.len()).enumerate().take(results.lanes) {
                let (x, y) = results.pair(lane);
                if let Some(sink) = &mut sinks[(x * ys.len() + y) * y_lags.len() + results.lag] {
                    sink.push(column);
                }
            }
        });
    }
}

/// Results side by side, one pair after the other.
struct Apart<'a> {
    rows: &'a [Row],
    columns: &'a mut [f64],
}

impl Kernel for Apart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        deinterleave(s, self.rows, self.columns);
    }
}

/// Some lanes of `x` from `lane` on, each against all lanes of `y`.
struct Pairs<'a> {
    tile: Tile,
    x: &'a Side,
    y: &'a Side,
    lane: usize,
    least: f64,
    suffix: &'a mut [Row],
    /// Of each lane so many rows: all of the tile, or those of a block, from which its extremes are taken.
    out: &'a mut [Row],
    kept: usize,
    extremes: &'a mut [Extremes; AT_ONCE],
}

struct Wide<'a, const N: usize, const ROWS: bool>(Pairs<'a>);

impl<const N: usize, const ROWS: bool> Kernel for Wide<'_, N, ROWS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut pairs = self.0;
        let tile = pairs.tile;
        for (b, rows) in tile.blocks() {
            let missing_y = pairs.y.blocks[b].missing.contains(&true);
            let lanes: &[bool; N] =
                pairs.x.blocks[b].missing[pairs.lane..][..N].try_into().expect("as many lanes as are asked for");
            // where the rows of the block go
            let to = if ROWS { b * tile.w } else { 0 };
            if missing_y || lanes.contains(&true) {
                for k in 0..N {
                    pairs.masked(s, b, rows, k, to);
                    if !ROWS {
                        pairs.extremes[k].push(s, &pairs.out[k * pairs.kept..][..rows]);
                    }
                }
            } else {
                pairs.full::<S, N, ROWS>(s, b, rows, to);
                let bad_y = pairs.y.blocks[b].bad.contains(&true);
                for k in 0..N {
                    if bad_y || pairs.x.blocks[b].bad[pairs.lane + k] {
                        pairs.repair::<ROWS>(b, rows, k, to);
                    }
                }
            }
        }
    }
}

/// Adds a row to count, sums, sums of squares and sum of products over the rows where both are present.
#[inline(always)]
fn add_products<S: Simd>(s: S, x: &Side, y: &Side, row: usize, lane: usize, sums: &mut [S::V; 6]) {
    let (dx, px) = (s.splat(x.values[row][lane]), s.splat(x.present[row][lane]));
    let (dy, py) = (s.load(&y.values[row]), s.load(&y.present[row]));
    let terms = [
        s.mul(px, py),
        s.mul(dx, py),
        s.mul(px, dy),
        s.mul(s.mul(dx, dx), py),
        s.mul(px, s.mul(dy, dy)),
        s.mul(dx, dy),
    ];
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum = s.add(*sum, term);
    }
}

/// `N` lanes from `lane` on.
#[inline(always)]
fn lanes<const N: usize>(row: &Row, lane: usize) -> &[f64; N] {
    row[lane..].first_chunk().expect("as many lanes as are asked for")
}

impl Pairs<'_> {
    /// Block `b`, where nothing is missing. Without `ROWS` only the extremes are kept, of results that may lie outside of [-1, 1]
    /// by their rounding.
    #[inline(always)]
    fn full<S: Simd, const N: usize, const ROWS: bool>(&mut self, s: S, b: usize, rows: usize, to: usize) {
        let (w, zero, lane) = (self.tile.w, s.splat(0.0), self.lane);
        let at = b * 2 * w;
        let mut sums = [zero; N];
        let (suffix, _) = self.suffix.as_chunks_mut::<N>();
        for ((x, y), suffix) in
            self.x.values[at..][..w].iter().zip(&self.y.values[at..][..w]).zip(&mut suffix[..w]).rev()
        {
            let (x, y) = (lanes::<N>(x, lane), s.load(y));
            for k in 0..N {
                sums[k] = s.add(sums[k], s.mul(s.splat(x[k]), y));
                s.store(sums[k], &mut suffix[k]);
            }
        }
        sums = [zero; N];
        let mut extremes = self.extremes.map(|extremes| [s.load(&extremes.largest), s.load(&extremes.smallest)]);
        let (one, minus) = (s.splat(1.0), s.splat(-1.0));
        let (x_values, y_values) = (&self.x.values[at + w..][..rows], &self.y.values[at + w..][..rows]);
        let (x_level, x_inverse) = (&self.x.level[b * w..][..rows], &self.x.inverse[b * w..][..rows]);
        let (y_level, y_inverse) = (&self.y.level[b * w..][..rows], &self.y.inverse[b * w..][..rows]);
        for j in 0..rows {
            let (x, y) = (lanes::<N>(&x_values[j], lane), s.load(&y_values[j]));
            let (x_level, x_inverse) = (lanes::<N>(&x_level[j], lane), lanes::<N>(&x_inverse[j], lane));
            let (y_level, y_inverse) = (s.load(&y_level[j]), s.load(&y_inverse[j]));
            for k in 0..N {
                sums[k] = s.add(sums[k], s.mul(s.splat(x[k]), y));
                let left = if j + 1 < w { s.load(&suffix[j + 1][k]) } else { zero };
                let total = s.add(left, sums[k]);
                let product = s.sub(total, s.mul(s.splat(x_level[k]), y_level));
                let r = s.mul(product, s.mul(s.splat(x_inverse[k]), y_inverse));
                if ROWS {
                    // NaN stays
                    s.store(s.add(s.min(one, s.max(minus, r)), zero), &mut self.out[k * self.kept + to + j]);
                } else {
                    // a NaN changes nothing
                    let [largest, smallest] = extremes[k];
                    extremes[k] = [s.max(r, largest), s.min(r, smallest)];
                }
            }
        }
        if !ROWS {
            for (own, [largest, smallest]) in self.extremes.iter_mut().zip(extremes) {
                s.store(largest, &mut own.largest);
                s.store(smallest, &mut own.smallest);
            }
        }
    }

    /// Block `b` of lane `lane + k`, with missing readings.
    #[inline(always)]
    fn masked<S: Simd>(&mut self, s: S, b: usize, rows: usize, k: usize, to: usize) {
        let (w, zero, one, nan) = (self.tile.w, s.splat(0.0), s.splat(1.0), s.splat(f64::NAN));
        let (tiny, huge, kappa) = (s.splat(TINY), s.splat(HUGE), s.splat(self.tile.kappa));
        let least = s.splat(self.least);
        let lane = self.lane + k;
        let at = b * 2 * w;
        let (x, y) = (self.x, self.y);
        let mut sums = [zero; 6];
        let (suffix, _) = self.suffix.as_chunks_mut::<6>();
        for i in (0..w).rev() {
            add_products(s, x, y, at + i, lane, &mut sums);
            for (sum, suffix) in sums.iter().zip(&mut suffix[i]) {
                s.store(*sum, suffix);
            }
        }
        sums = [zero; 6];
        for j in 0..rows {
            add_products(s, x, y, at + w + j, lane, &mut sums);
            let mut total = sums;
            for (i, total) in total.iter_mut().enumerate() {
                *total = s.add(if j + 1 < w { s.load(&suffix[j + 1][i]) } else { zero }, *total);
            }
            let [n, sx, sy, sxx, syy, sxy] = total;
            let root = per_root(s, n);
            let (level_x, level_y) = (s.mul(sx, root), s.mul(sy, root));
            let (square_x, square_y) = (s.mul(level_x, level_x), s.mul(level_y, level_y));
            let (vx, vy) = (s.sub(sxx, square_x), s.sub(syy, square_y));
            let product = s.sub(sxy, s.mul(level_x, level_y));
            let r = s.mul(product, s.mul(inverse_sqrt(s, vx), inverse_sqrt(s, vy)));
            let r = s.add(s.min(one, s.max(s.splat(-1.0), r)), zero);
            // too few readings, or none that differ
            let constant = s.max(s.splat(x.constant[b * w + j][lane]), s.load(&y.constant[b * w + j]));
            let wanted = s.keep(s.le(least, n), s.sub(one, constant));
            let usable_x = s.keep(usable(s, square_x, vx, kappa, tiny, huge), one);
            let ok = s.keep(usable(s, square_y, vy, kappa, tiny, huge), usable_x);
            let good = s.mul(wanted, ok);
            let out = &mut self.out[k * self.kept + to + j];
            s.store(s.select(s.eq(good, one), r, nan), out);
            let again = s.sub(wanted, good);
            if s.any(s.eq(again, one)) {
                let again = s.to_array(again);
                for other in (0..LANES).filter(|&other| again[other] == 1.0) {
                    out[other] = window(x, y, lane, other, b * w + j, w);
                }
            }
        }
    }

    /// Computes the results of block `b` that the sums are not good enough for.
    fn repair<const ROWS: bool>(&mut self, b: usize, rows: usize, k: usize, to: usize) {
        let (x, y, w, lane) = (self.x, self.y, self.tile.w, self.lane + k);
        for j in 0..rows {
            let row = b * w + j;
            if x.constant[row][lane] == 1.0 {
                continue;
            }
            for other in 0..LANES {
                let bad = x.bad[row][lane] == 1.0 || y.bad[row][other] == 1.0;
                if bad && y.constant[row][other] == 0.0 {
                    let r = window(x, y, lane, other, row, w);
                    if ROWS {
                        self.out[k * self.kept + to + j][other] = r;
                    } else {
                        let Extremes { largest, smallest } = &mut self.extremes[k];
                        (largest[other], smallest[other]) = (largest[other].max(r), smallest[other].min(r));
                    }
                }
            }
        }
    }
}

/// The correlation of one window, computed by itself.
fn window(x: &Side, y: &Side, lane: usize, other: usize, row: usize, w: usize) -> f64 {
    // row 0 of a tile is row w of its raw rows
    let rows = row + 1..row + 1 + w;
    direct(|| {
        let pairs = x.raw[rows.clone()].iter().zip(&y.raw[rows.clone()]);
        pairs.map(|(x, y)| (x[lane], y[other])).filter(|(x, y)| !x.is_nan() && !y.is_nan())
    })
}

/// The largest and the smallest result so far, of eight pairs.
#[derive(Clone, Copy)]
pub struct Extremes {
    largest: Row,
    smallest: Row,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { largest: Lanes([f64::NEG_INFINITY; LANES]), smallest: Lanes([f64::INFINITY; LANES]) }
    }
}

impl Extremes {
    #[inline(always)]
    fn push<S: Simd>(&mut self, s: S, rows: &[Row]) {
        let (mut largest, mut smallest) = (s.load(&self.largest), s.load(&self.smallest));
        for row in rows {
            // a NaN changes nothing
            let v = s.load(row);
            largest = s.max(v, largest);
            smallest = s.min(v, smallest);
        }
        s.store(largest, &mut self.largest);
        s.store(smallest, &mut self.smallest);
    }

    /// Those of both.
    fn merge(&mut self, other: &Self) {
        for lane in 0..LANES {
            self.largest[lane] = self.largest[lane].max(other.largest[lane]);
            self.smallest[lane] = self.smallest[lane].min(other.smallest[lane]);
        }
    }

    /// The result that is farthest from 0, of r and -r the positive one; NaN if there was none.
    pub fn farthest(&self, lane: usize) -> f64 {
        let (largest, smallest) = (self.largest[lane], self.smallest[lane]);
        if largest < smallest {
            return f64::NAN;
        }
        // within its bounds here once, not row by row
        let (largest, smallest) = (largest.clamp(-1.0, 1.0) + 0.0, smallest.clamp(-1.0, 1.0) + 0.0);
        if largest.abs() >= smallest.abs() { largest } else { smallest }
    }
}

/// What becomes of the rolling correlations of a pair at one lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The one that is farthest from 0.
    Farthest,
    /// That of the last row.
    Last,
}

/// All pairs of some columns at the lags 0 to `max_lag`, of which the second of a pair has the lag.
pub struct Pairwise<'a, T> {
    pub columns: &'a [T],
    pub window_size: usize,
    pub min_samples: usize,
    pub max_lag: usize,
    /// Each pair once, in the order of the columns, or both ways.
    pub unique: bool,
}

/// Partners for which a column is prepared once, at most: what their eight groups keep of a tile fits into the second cache level.
pub const PARTNERS: usize = 8 * LANES;

/// Some columns from a first one on, and from another.
struct Task<'a, T> {
    x: usize,
    y: usize,
    xs: Vec<&'a T>,
    ys: Vec<&'a T>,
    lags: &'a [usize],
}

impl<'b, T: Source + Sync> Pairwise<'b, T> {
    /// The pairs, in the order of results.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<'_, 'b, T> {
        let p = self.columns.len();
        (0..p).flat_map(move |a| (0..p).map(move |b| (a, b))).filter(|&(a, b)| self.wants(a, b))
    }

    fn wants(&self, a: usize, b: usize) -> bool {
        if self.unique { a < b } else { a != b }
    }

    /// Place of a pair among the results.
    fn place(&self, a: usize, b: usize) -> usize {
        let p = self.columns.len();
        if self.unique { a * (2 * p - a - 1) / 2 + b - a - 1 } else { a * (p - 1) + b - usize::from(b > a) }
    }

    fn rows(&self) -> usize {
        self.columns.first().map_or(0, Source::len)
    }

    /// For each pair and lag one number; nothing else is kept.
    pub fn reduce(&self, pool: &ThreadPool, how: Reduce) -> Vec<f64> {
        let last_row = self.rows().saturating_sub(1);
        self.by_task(pool, |pass, Task { xs, ys, lags, .. }| {
            let mut out = vec![f64::NAN; xs.len() * ys.len() * lags.len()];
            let place = |results: &Results, lane: usize| {
                let (i, j) = results.pair(lane);
                (i * ys.len() + j) * lags.len() + results.lag
            };
            match how {
                Reduce::Farthest => {
                    // of eight pairs at the place of the first of them
                    let mut extremes = vec![Extremes::default(); out.len()];
                    pass.extremes((xs, 0), (ys, lags), |results| {
                        let extremes = &mut extremes[place(&results, 0)];
                        extremes.merge(&results.extremes);
                        (0..results.lanes).for_each(|lane| out[place(&results, lane)] = extremes.farthest(lane));
                    });
                }
                Reduce::Last => pass.run((xs, 0), (ys, lags), last_row, |results| {
                    let last = results.rows.last().expect("a tile has rows");
                    (0..results.lanes).for_each(|lane| out[place(&results, lane)] = last[lane]);
                }),
            }
            out
        })
    }

    /// For each pair and lag a sink with its results, and the result that is farthest from 0.
    pub fn write<K: Sink + Send>(&self, pool: &ThreadPool, sink: impl Fn(&T, &T) -> K + Sync + Send) -> Vec<(K, f64)> {
        let results = self.by_task(pool, |pass, Task { x, y, xs, ys, lags }| {
            let mut sinks: Vec<Option<Watched<K>>> = Vec::with_capacity(xs.len() * ys.len() * lags.len());
            for (i, a) in xs.iter().enumerate() {
                for (j, b) in ys.iter().enumerate() {
                    let own = || self.wants(x + i, y + j).then(|| Watched { sink: sink(a, b), farthest: f64::NAN });
                    sinks.extend(lags.iter().map(|_| own()));
                }
            }
            pass.write((xs, 0), (ys, lags), &mut sinks);
            sinks
        });
        let taken = results.into_iter().map(|watched| watched.expect("each pair has a task"));
        taken.map(|Watched { sink, farthest }| (sink, farthest)).collect()
    }

    /// `f` gives a result for each x, y and lag of a task; they are put into the order of pairs and lags.
    fn by_task<R: Default + Send>(
        &self,
        pool: &ThreadPool,
        f: impl Fn(&mut Pass, &Task<T>) -> Vec<R> + Sync + Send,
    ) -> Vec<R> {
        let p = self.columns.len();
        let lags: Vec<usize> = (0..=self.max_lag).collect();
        let members = |from: usize, to: usize| self.columns[from..p.min(to)].iter().collect();
        // eight y at a time, as those are prepared for every lag
        let mut tasks: Vec<Task<T>> = Vec::new();
        for x in (0..p).step_by(PARTNERS) {
            for y in (if self.unique { x } else { 0 }..p).step_by(LANES) {
                // of a pair that comes once x has the lower number
                let x_end = if self.unique { y + LANES } else { p };
                let xs = members(x, x_end.min(x + PARTNERS));
                tasks.push(Task { x, y, xs, ys: members(y, y + LANES), lags: &lags });
            }
        }
        // large ones first, so that no thread is left with one at the end
        tasks.sort_by_key(|task| std::cmp::Reverse(task.xs.len() * task.ys.len()));
        let cells = p * p * lags.len() * self.rows() / LANES;
        let pass = || Pass::new(self.window_size, self.min_samples, self.rows());
        let results = parallel::map(pool, tasks.len(), cells, pass, |pass, i| f(pass, &tasks[i]));
        let mut out: Vec<R> = Vec::new();
        out.resize_with(self.pairs().count() * lags.len(), R::default);
        for (Task { x, y, ys, .. }, results) in tasks.iter().zip(results) {
            for (at, result) in results.into_iter().enumerate() {
                let (pair, lag) = (at / lags.len(), at % lags.len());
                let (a, b) = (x + pair / ys.len(), y + pair % ys.len());
                if self.wants(a, b) {
                    out[self.place(a, b) * lags.len() + lag] = result;
                }
            }
        }
        out
    }
}

/// A sink, and the value farthest from 0 that went into it.
struct Watched<K> {
    sink: K,
    farthest: f64,
}

impl<K: Sink> Sink for Watched<K> {
    fn push(&mut self, rows: &[f64]) {
        for &r in rows {
            if r.abs() > self.farthest.abs() || self.farthest.is_nan() {
                self.farthest = r;
            }
        }
        self.sink.push(rows);
    }
}

/// Of the results of one pair by lag the one farthest from 0, the earlier of equals, and its lag; None if there is none.
pub fn farthest_lag(by_lag: &[f64]) -> Option<(usize, f64)> {
    let present = by_lag.iter().copied().enumerate().filter(|(_, r)| !r.is_nan());
    present.reduce(|best, next| if next.1.abs() > best.1.abs() { next } else { best })
}

/// The rolling correlation of `x` with `y` lagged; NaN where there is none.
///
/// # Panics
/// If the lengths differ.
pub fn evaluate(x: &[f64], y: &[f64], window_size: usize, min_samples: usize, lag: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    let mut pass = Pass::new(window_size, min_samples, x.len());
    pass.run((&[x], 0), (&[y], &[lag]), 0, |results| out.extend(results.rows.iter().map(|row| row[0])));
    out
}
