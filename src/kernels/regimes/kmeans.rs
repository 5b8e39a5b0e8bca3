//! k-means: centres that minimise the sum of squared distances of the rows to the nearest of them, the inertia.
//!
//! ```text
//! label_i = argmin_c |x_i - m_c|^2 (the first of equals),  m_c = mean of the rows with label c
//! ```
//!
//! Lloyd's iteration (Lloyd 1982), from several starts, of which the one with the least inertia is kept (the first of equals). A
//! start draws its centres by k-means++ (Arthur and Vassilvitskii 2007): each from the rows with a probability in proportion
//! to the squared distance to the nearest centre so far, greedily the best of 2 + ln k such draws. Or the centres are given.
//!
//! It ends when the centres move by no more than `tol` times the mean variance of the columns, in sum of squares, which is
//! scikit-learn's rule, or after `max_iter` rounds. A cluster that lost all rows moves to the row that lies farthest from its
//! centre; k centres need k different rows.
//!
//! Distances are sums of squared differences, not `|x|^2 - 2 x m + |m|^2`, which cancels where data lie far from 0. Before a fit
//! columns are centred and all are multiplied by one power of two, so that no readings are too large or too small to be squared.
//!
//! [`fit_scaled`] scales columns before, so that their units do not matter, and gives the centres in the units of the readings;
//! rows are labelled under the same scaling. What lies too far away for a square is compared after a division.
//!
//! Cost: `3 n k d` operations for distances and `2 n k d` for sums per round, eight rows at once. One start runs on all
//! threads, several side by side; sums are taken in fixed pieces and added in their order, so that the result does not
//! depend on threads.
//!
//! Measured on one thread with AVX-512, processor time of ten starts with k = 4 on the random walks of `benches/kernels.rs`:
//! 10,000 x 10 in 12 ms and x 50 in 57 ms. scikit-learn 1.9.1, held to one thread, 31 and 70; linfa-clustering 0.8.1, which ends
//! by the same rule at the same inertia (to 4e-6), 62 and 288. So linfa is not used here; it is an oracle of the tests and
//! races in the benches. It counts the old centre of a cluster among its rows.
//! Tiles of 128 rows were slower for x 50 (192 ms where those of 64 took 142, with AVX2), those of 32 rows no faster: the eight
//! rows of a vector lie in as many places of a tile as there are columns.

use std::fmt;

use crate::kernels::detectors::Score;
use crate::kernels::detectors::scaling::{Scale, Scaling, mean_and_std};
use crate::kernels::elementary::power_of_two_below;
use crate::kernels::matrix::{Cells, FIT_ROWS, Matrix, Tile, Tiles};
use crate::kernels::parallel;
use crate::kernels::params::{ParamError, check, number};
use crate::kernels::random::Stream;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// Centres whose distances are computed side by side: their sums fit the registers of every level.
pub(crate) const GROUP: usize = 4;

#[derive(Clone, Debug)]
pub struct Params {
    k: usize,
    n_init: usize,
    max_iter: usize,
    tol: f64,
    seed: u64,
}

impl Params {
    pub fn new(k: usize, n_init: usize, max_iter: usize, tol: f64, seed: u64) -> Result<Self, ParamError> {
        for (name, value) in [("k", k), ("n_init", n_init), ("max_iter", max_iter)] {
            check(value >= 1, || format!("`{name}` must be >= 1, got {value}"))?;
        }
        number("tol", tol, false)?;
        Ok(Self { k, n_init, max_iter, tol, seed })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    NoRows,
    NoColumns,
    FewRows { k: usize, distinct: usize },
    Start { got: usize, k: usize, columns: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRows => write!(f, "no row is left to learn from"),
            Self::NoColumns => write!(f, "no column is left to learn from"),
            Self::FewRows { k, distinct } => {
                write!(f, "{k} clusters need {k} different rows, but there are only {distinct}; ask for a smaller `k`")
            }
            Self::Start { got, k, columns } => write!(
                f,
                "`init` must hold {k} centres of {columns} columns, {} finite numbers; got {got}",
                k * columns
            ),
        }
    }
}

impl std::error::Error for Error {}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeans {
    /// Centre by centre.
    pub centers: Vec<f64>,
    /// Rows of each cluster.
    pub sizes: Vec<usize>,
    /// NaN where the squares of huge readings do not fit a number.
    pub inertia: f64,
    /// Of the start that was kept.
    pub iterations: usize,
    pub converged: bool,
}

/// From `n_init` starts, or from the centres given.
pub fn fit(
    matrix: Matrix<'_>,
    params: &Params,
    init: Option<&[f64]>,
    pool: &rayon::ThreadPool,
) -> Result<KMeans, Error> {
    let (rows, columns, k) = (matrix.rows(), matrix.columns(), params.k);
    if rows == 0 {
        return Err(Error::NoRows);
    }
    if columns == 0 {
        return Err(Error::NoColumns);
    }
    if let Some(init) = init
        && (init.len() != k * columns || !init.iter().all(|v| v.is_finite()))
    {
        return Err(Error::Start { got: init.len(), k, columns });
    }
    let largest = |x: &[f64]| x.iter().fold(0.0_f64, |most, v| v.abs().max(most));
    let summary = |j: usize| (largest(matrix.column(j)), mean_and_std(matrix.column(j)));
    let summaries = parallel::map(pool, columns, rows * columns, || (), |(), j| summary(j));
    let power =
        power_of_two_below(summaries.iter().map(|(most, _)| *most).fold(largest(init.unwrap_or(&[])), f64::max));
    let (shift, std): (Vec<f64>, Vec<f64>) =
        summaries.iter().map(|(_, (mean, std))| (mean * power, std * power)).unzip();
    let tiles = Tiles::new(matrix, pool, |j, x, out| {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = x * power - shift[j]);
    });
    let variance = std.iter().map(|std| std * std).sum::<f64>() / columns as f64;
    let rounds = Rounds { tiles: &tiles, max_iter: params.max_iter, tolerance: params.tol * variance, pool };
    let work = rows * columns * k;
    let mut best = if let Some(init) = init {
        let centers = init.iter().enumerate().map(|(i, v)| v * power - shift[i % columns]).collect();
        rounds.run(centers, work)?
    } else if params.n_init == 1 {
        let centers = rounds.draw(k, &mut Stream::new(params.seed, 0), work)?;
        rounds.run(centers, work)?
    } else {
        // side by side, each on one thread
        let fits = parallel::map(
            pool,
            params.n_init,
            work * params.n_init,
            || (),
            |(), start| {
                let centers = rounds.draw(k, &mut Stream::new(params.seed, start), 0)?;
                rounds.run(centers, 0)
            },
        );
        let mut best: Option<KMeans> = None;
        for fit in fits {
            let fit = fit?;
            if best.as_ref().is_none_or(|best| fit.inertia < best.inertia) {
                best = Some(fit);
            }
        }
        best.expect("at least one start")
    };
    for (i, center) in best.centers.iter_mut().enumerate() {
        *center = (*center + shift[i % columns]) / power;
    }
    best.inertia = best.inertia / power / power;
    if best.inertia.is_infinite() {
        best.inertia = f64::NAN;
    }
    Ok(best)
}

/// Lloyd's iteration on rows whose squares are numbers. `work` is the number of cells that count for using threads.
pub(crate) struct Rounds<'a> {
    pub tiles: &'a Tiles,
    pub max_iter: usize,
    /// Sum of squares by which the centres still move at the end.
    pub tolerance: f64,
    pub pool: &'a rayon::ThreadPool,
}

impl Rounds<'_> {
    pub fn run(&self, mut centers: Vec<f64>, work: usize) -> Result<KMeans, Error> {
        let columns = self.tiles.columns();
        let mut iterations = 0;
        let mut moved = f64::INFINITY;
        loop {
            let totals = self.pass(&centers, work);
            if moved <= self.tolerance || iterations == self.max_iter {
                return Ok(KMeans {
                    centers,
                    sizes: totals.counts.iter().map(|&count| count as usize).collect(),
                    inertia: totals.inertia,
                    iterations,
                    converged: moved <= self.tolerance,
                });
            }
            iterations += 1;
            moved = 0.0;
            let mut empty = Vec::new();
            for (c, &count) in totals.counts.iter().enumerate() {
                if count == 0.0 {
                    empty.push(c);
                    continue;
                }
                let center = &mut centers[c * columns..(c + 1) * columns];
                for (m, sum) in center.iter_mut().zip(&totals.sums[c * columns..]) {
                    let mean = sum / count;
                    moved += (mean - *m) * (mean - *m);
                    *m = mean;
                }
            }
            if !empty.is_empty() {
                self.move_to_farthest(&mut centers, &empty)?;
                moved = f64::INFINITY;
            }
        }
    }

    /// Centres by k-means++.
    pub fn draw(&self, k: usize, stream: &mut Stream, work: usize) -> Result<Vec<f64>, Error> {
        let row = |i: usize| (0..self.tiles.columns()).map(move |j| self.tiles.cell(i, j));
        let trials = 2 + (k as f64).ln() as usize;
        let mut centers: Vec<f64> = row(stream.below(self.tiles.rows())).collect();
        let mut near = self.nearer(&Near::unknown(self.tiles), &centers, 1, work).swap_remove(0);
        for found in 1..k {
            let total: f64 = near.sums.iter().sum();
            if total == 0.0 {
                return Err(Error::FewRows { k, distinct: found });
            }
            let candidates: Vec<f64> =
                (0..trials).flat_map(|_| row(near.row_at(self.tiles, stream.uniform() * total))).collect();
            let mut best: Option<(f64, Near, usize)> = None;
            for (t, candidate) in self.nearer(&near, &candidates, trials, work).into_iter().enumerate() {
                let sum = candidate.sums.iter().sum();
                if best.as_ref().is_none_or(|(least, ..)| sum < *least) {
                    best = Some((sum, candidate, t));
                }
            }
            let (_, chosen, t) = best.expect("at least two trials");
            near = chosen;
            centers.extend_from_slice(&candidates[t * self.tiles.columns()..][..self.tiles.columns()]);
        }
        Ok(centers)
    }

    /// For each candidate, how near the rows are if it joins.
    fn nearer(&self, near: &Near, candidates: &[f64], count: usize, work: usize) -> Vec<Near> {
        let columns = self.tiles.columns();
        let pieces = self.tiles.pieces();
        let interleaved = interleave(candidates, columns);
        let parts = parallel::map(
            self.pool,
            pieces.len(),
            work,
            || (),
            |(), piece| {
                dispatch(Nearer {
                    tiles: self.tiles,
                    range: pieces[piece].clone(),
                    near,
                    candidates: &interleaved,
                    count,
                })
            },
        );
        let mut joined: Vec<Near> = (0..count).map(|_| Near::default()).collect();
        for part in parts {
            for (joined, part) in joined.iter_mut().zip(part) {
                joined.squares.extend_from_slice(&part.squares);
                joined.sums.extend_from_slice(&part.sums);
            }
        }
        joined
    }

    /// Each of these centres to the row that lies farthest from all others and from those that have moved before it.
    fn move_to_farthest(&self, centers: &mut [f64], empty: &[usize]) -> Result<(), Error> {
        let columns = self.tiles.columns();
        let k = centers.len() / columns;
        let kept: Vec<f64> = (0..k)
            .filter(|c| !empty.contains(c))
            .flat_map(|c| &centers[c * columns..(c + 1) * columns])
            .copied()
            .collect();
        let mut near = Near::unknown(self.tiles);
        for center in kept.chunks_exact(columns) {
            near = self.nearer(&near, center, 1, 0).swap_remove(0);
        }
        for (moved, &c) in empty.iter().enumerate() {
            let (mut farthest, mut most) = (0, 0.0);
            for (i, &square) in near.squares.iter().enumerate().take(self.tiles.rows()) {
                if square > most {
                    (farthest, most) = (i, square);
                }
            }
            if most == 0.0 {
                return Err(Error::FewRows { k, distinct: k - empty.len() + moved });
            }
            let center = &mut centers[c * columns..(c + 1) * columns];
            center.iter_mut().enumerate().for_each(|(j, m)| *m = self.tiles.cell(farthest, j));
            near = self.nearer(&near, center, 1, 0).swap_remove(0);
        }
        Ok(())
    }

    fn pass(&self, centers: &[f64], work: usize) -> Totals {
        let (columns, pieces) = (self.tiles.columns(), self.tiles.pieces());
        let k = centers.len() / columns;
        let interleaved = interleave(centers, columns);
        let parts = parallel::map(self.pool, pieces.len(), work, Labels::default, |labels, piece| {
            dispatch(Pass { tiles: self.tiles, range: pieces[piece].clone(), centers: &interleaved, k, labels })
        });
        parts.into_iter().reduce(Totals::plus).expect("at least one row")
    }
}

/// What a round learns.
struct Totals {
    sums: Vec<f64>,
    counts: Vec<f64>,
    inertia: f64,
}

impl Totals {
    fn plus(mut self, other: Self) -> Self {
        self.sums.iter_mut().zip(other.sums).for_each(|(a, b)| *a += b);
        self.counts.iter_mut().zip(other.counts).for_each(|(a, b)| *a += b);
        self.inertia += other.inertia;
        self
    }
}

/// Parameters of k components, component by component, as [`for_groups`] reads them: those of a group side by side, column by column.
pub(crate) fn interleave(parameters: &[f64], columns: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(parameters.len());
    for group in parameters.chunks(GROUP * columns) {
        for j in 0..columns {
            out.extend(group.iter().skip(j).step_by(columns));
        }
    }
    out
}

/// Runs `$body` with `$K`, the size of a group of up to `$most` components as a constant, and `$first`, its first component.
macro_rules! for_groups {
    ($most:expr, $k:expr, |$first:ident, $K:ident| $body:expr) => {{
        let mut $first = 0;
        while $first < $k {
            macro_rules! group {
                ($size:literal) => {{
                    const $K: usize = $size;
                    $body;
                    $first += $size;
                }};
            }
            match ($k - $first).min($most) {
                1 => group!(1),
                2 => group!(2),
                3 => group!(3),
                _ => group!(4),
            }
        }
    }};
}
pub(crate) use for_groups;

/// Squared distances of the eight rows from `at` on to K centres.
#[inline(always)]
fn squares<S: Simd, const K: usize>(s: S, cells: Cells<'_>, at: usize, centers: &[f64]) -> [S::V; K] {
    let mut sums = [s.splat(0.0); K];
    for (column, center) in cells.data.chunks_exact(cells.stride).zip(centers.as_chunks::<K>().0) {
        let x = s.load_at(column, at);
        for c in 0..K {
            let difference = s.sub(x, s.splat(center[c]));
            // not fused: which of equal distances is the first must not depend on the machine
            sums[c] = s.add(sums[c], s.mul(difference, difference));
        }
    }
    sums
}

/// The label of eight rows and the squared distance that goes with it.
#[inline(always)]
fn nearest<S: Simd>(s: S, cells: Cells<'_>, at: usize, centers: &[f64], k: usize) -> (S::V, S::V) {
    let columns = centers.len() / k;
    let (mut label, mut least) = (s.splat(0.0), s.splat(f64::INFINITY));
    for_groups!(GROUP, k, |first, K| {
        let squares = squares::<S, K>(s, cells, at, &centers[first * columns..(first + K) * columns]);
        for (c, square) in squares.into_iter().enumerate() {
            let nearer = s.lt(square, least);
            least = s.select(nearer, square, least);
            label = s.select(nearer, s.splat((first + c) as f64), label);
        }
    });
    (label, least)
}

/// 1 for the rows of a tile, 0 for the copies behind them.
pub(crate) const COUNTED: [f64; 2 * LANES] = {
    let mut counted = [0.0; 2 * LANES];
    let mut i = 0;
    while i < LANES {
        counted[i] = 1.0;
        i += 1;
    }
    counted
};

/// The part of [`COUNTED`] for the eight rows from `at` on.
#[inline(always)]
pub(crate) fn counted<S: Simd>(s: S, cells: Cells<'_>, at: usize) -> S::V {
    s.load_at(&COUNTED, LANES - (cells.rows - at).min(LANES))
}

/// The labels of a tile, for each cluster 1 where a row belongs to it: `member[c * stride + i]`.
#[derive(Default)]
pub(crate) struct Labels {
    pub member: Vec<f64>,
}

impl Labels {
    /// Finds them; gives the sum of the squared distances, lane by lane.
    #[inline(always)]
    pub fn assign<S: Simd>(&mut self, s: S, cells: Cells<'_>, centers: &[f64], k: usize) -> S::V {
        self.member.resize(k * FIT_ROWS, 0.0);
        let mut sum = s.splat(0.0);
        for at in (0..cells.stride).step_by(LANES) {
            let counted = counted(s, cells, at);
            let (label, least) = nearest(s, cells, at, centers, k);
            sum = s.add(sum, s.mul(least, counted));
            for (c, member) in self.member.chunks_exact_mut(cells.stride).take(k).enumerate() {
                s.store_at(s.keep(s.eq(label, s.splat(c as f64)), counted), member, at);
            }
        }
        sum
    }
}

/// A round over some tiles.
struct Pass<'a> {
    tiles: &'a Tiles,
    range: std::ops::Range<usize>,
    centers: &'a [f64],
    k: usize,
    labels: &'a mut Labels,
}

impl Kernel for Pass<'_> {
    type Output = Totals;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Totals {
        let (k, columns) = (self.k, self.tiles.columns());
        let mut sums = vec![Lanes::default(); k * columns];
        let mut counts = vec![0.0; k];
        let mut inertia = s.splat(0.0);
        for t in self.range {
            let cells = self.tiles.get(t);
            inertia = s.add(inertia, self.labels.assign(s, cells, self.centers, k));
            for (count, member) in counts.iter_mut().zip(self.labels.member.chunks_exact(cells.stride)) {
                let sum = member.as_chunks().0.iter().fold(s.splat(0.0), |sum, one| s.add(sum, s.load(one)));
                *count += sum_of_lanes(&Lanes(s.to_array(sum)));
            }
            for_groups!(GROUP, k, |first, K| {
                let members: [&[f64]; K] =
                    std::array::from_fn(|c| &self.labels.member[(first + c) * cells.stride..][..cells.stride]);
                for (j, column) in cells.data.chunks_exact(cells.stride).enumerate() {
                    let mut part = [s.splat(0.0); K];
                    for (v, x) in column.as_chunks().0.iter().enumerate() {
                        let x = s.load(x);
                        for c in 0..K {
                            // by 1 or 0: rounded once on every machine
                            part[c] = s.mul_add(x, s.load_at(members[c], v * LANES), part[c]);
                        }
                    }
                    for c in 0..K {
                        let sum = &mut sums[(first + c) * columns + j];
                        s.store(s.add(s.load(sum), part[c]), sum);
                    }
                }
            });
        }
        Totals {
            sums: sums.iter().map(sum_of_lanes).collect(),
            counts,
            inertia: sum_of_lanes(&Lanes(s.to_array(inertia))),
        }
    }
}

/// In one order on every level.
pub(crate) fn sum_of_lanes(lanes: &Lanes) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes.0;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// How near the rows are to the nearest centre.
#[derive(Default)]
struct Near {
    /// Squared distances, tile by tile with the copies, which have 0.
    squares: Vec<f64>,
    /// Their sums over each tile.
    sums: Vec<f64>,
}

impl Near {
    fn unknown(tiles: &Tiles) -> Self {
        Self { squares: vec![f64::INFINITY; tiles.rows().next_multiple_of(LANES)], sums: Vec::new() }
    }

    /// The row at this place of the sum of all squares.
    fn row_at(&self, tiles: &Tiles, mut place: f64) -> usize {
        let mut last = 0;
        for (t, sum) in self.sums.iter().enumerate() {
            if place >= *sum && t + 1 < self.sums.len() {
                place -= sum;
                continue;
            }
            let from = t * FIT_ROWS;
            for (i, &square) in self.squares[from..from + tiles.get(t).rows].iter().enumerate() {
                if square > 0.0 {
                    last = from + i;
                    if place < square {
                        return last;
                    }
                    place -= square;
                }
            }
        }
        // rounding: the last row that has a share
        last
    }
}

/// Rows of some tiles with each candidate.
struct Nearer<'a> {
    tiles: &'a Tiles,
    range: std::ops::Range<usize>,
    near: &'a Near,
    candidates: &'a [f64],
    count: usize,
}

impl Kernel for Nearer<'_> {
    type Output = Vec<Near>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<Near> {
        let (count, columns) = (self.count, self.tiles.columns());
        let rows = self.range.len() * FIT_ROWS;
        let mut out: Vec<Near> = (0..count)
            .map(|_| Near { squares: Vec::with_capacity(rows), sums: Vec::with_capacity(self.range.len()) })
            .collect();
        for t in self.range {
            let cells = self.tiles.get(t);
            let from = t * FIT_ROWS;
            let before = &self.near.squares[from..from + cells.stride];
            for_groups!(GROUP, count, |first, K| {
                let centers = &self.candidates[first * columns..(first + K) * columns];
                let mut sums = [s.splat(0.0); K];
                let begin = out[first].squares.len();
                for near in &mut out[first..first + K] {
                    near.squares.resize(begin + cells.stride, 0.0);
                }
                for at in (0..cells.stride).step_by(LANES) {
                    let counted = counted(s, cells, at);
                    let near = s.load_at(before, at);
                    let squares = squares::<S, K>(s, cells, at, centers);
                    for (c, square) in squares.into_iter().enumerate() {
                        let square = s.mul(s.min(square, near), counted);
                        sums[c] = s.add(sums[c], square);
                        s.store_at(square, &mut out[first + c].squares, begin + at);
                    }
                }
                for c in 0..K {
                    out[first + c].sums.push(sum_of_lanes(&Lanes(s.to_array(sums[c]))));
                }
            });
        }
        out
    }
}

/// Centres in the units of the readings, with the scaling of columns under which they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub scale: Scale,
    /// The inertia is one of scaled columns.
    pub kmeans: KMeans,
}

/// [`fit`] of scaled columns; `init` and the centres that come back are in the units of the readings.
pub fn fit_scaled(
    matrix: Matrix<'_>,
    scaling: Scaling,
    params: &Params,
    init: Option<&[f64]>,
    pool: &rayon::ThreadPool,
) -> Result<Model, Error> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    if rows == 0 {
        return Err(Error::NoRows);
    }
    let scale = Scale::fit(matrix, scaling, pool);
    if scaling == Scaling::None {
        return Ok(Model { scale, kmeans: fit(matrix, params, init, pool)? });
    }
    let mut data = vec![0.0; rows * columns];
    for (j, out) in data.chunks_exact_mut(rows).enumerate() {
        scale.convert(j, matrix.column(j), out);
    }
    // a start of another number of columns is refused by the fit
    let init = init.map(|init| scale.convert_rows(init));
    let mut kmeans = fit(Matrix::new(&data, rows, columns), params, init.as_deref(), pool)?;
    kmeans.centers = scale.restore_rows(&kmeans.centers);
    Ok(Model { scale, kmeans })
}

/// What a row gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The number of the nearest centre, from 0 on.
    Label,
    /// The distance to it, in scaled units; infinite where it does not fit a number.
    Distance,
}

/// Centres ready to label rows.
pub struct Nearest {
    scale: Scale,
    /// Multiplies scaled readings, so that squares of small ones are numbers.
    power: f64,
    /// Scaled and multiplied.
    centers: Vec<f64>,
    interleaved: Vec<f64>,
    k: usize,
    output: Output,
}

impl Nearest {
    /// Of centres in the units of the readings.
    ///
    /// # Panics
    /// If there is no column, or no centre of all columns.
    pub fn new(scale: &Scale, centers: &[f64], output: Output) -> Self {
        let columns = scale.center.len();
        assert!(columns > 0 && centers.len().is_multiple_of(columns), "centres of {columns} columns");
        let mut centers = scale.convert_rows(centers);
        let power = power_of_two_below(centers.iter().fold(0.0, |most, v| v.abs().max(most)));
        centers.iter_mut().for_each(|v| *v *= power);
        let (interleaved, k) = (interleave(&centers, columns), centers.len() / columns);
        Self { scale: scale.clone(), power, centers, interleaved, k, output }
    }

    /// Label and distance where the squares of huge differences do not fit a number: compared after a division by the
    /// largest of them.
    fn nearest_of_huge(&self, x: impl Fn(usize) -> f64) -> (f64, f64) {
        let columns = self.centers.len() / self.k;
        // halves, because the difference of two huge numbers of unlike signs does not fit either
        let halves =
            |c: usize| (0..columns).map(move |j| (j, c)).map(|(j, c)| x(j) / 2.0 - self.centers[c * columns + j] / 2.0);
        let largest = (0..self.k).flat_map(halves).fold(0.0_f64, |most, v| v.abs().max(most));
        let power = power_of_two_below(largest);
        let (mut label, mut least) = (0, f64::INFINITY);
        for c in 0..self.k {
            let square: f64 = halves(c).map(|v| v * power * (v * power)).sum();
            if square < least {
                (label, least) = (c, square);
            }
        }
        (label as f64, least.sqrt() / power * 2.0)
    }
}

impl Score for Nearest {
    fn results(&self) -> usize {
        1
    }

    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]) {
        struct Run<'a> {
            cells: Cells<'a>,
            centers: &'a [f64],
            k: usize,
            labels: &'a mut [f64],
            squares: &'a mut [f64],
        }

        impl Kernel for Run<'_> {
            type Output = ();

            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                for at in (0..self.cells.stride).step_by(LANES) {
                    let (label, least) = nearest(s, self.cells, at, self.centers, self.k);
                    s.store_at(label, self.labels, at);
                    s.store_at(least, self.squares, at);
                }
            }
        }

        let (stride, columns) = (tile.stride(), tile.columns());
        scratch.resize((columns + 1) * stride, 0.0);
        let (cells, squares) = scratch.split_at_mut(columns * stride);
        for (j, cells) in cells.chunks_exact_mut(stride).enumerate() {
            self.scale.convert(j, tile.column(j), cells);
            cells.iter_mut().for_each(|v| *v *= self.power);
        }
        let cells = Cells { data: cells, rows: tile.rows(), stride };
        dispatch(Run { cells, centers: &self.interleaved, k: self.k, labels: out, squares });
        for (i, (out, &mut square)) in out.iter_mut().zip(squares).enumerate() {
            let (label, distance) = if square < f64::INFINITY {
                (*out, square.sqrt())
            } else {
                self.nearest_of_huge(|j| cells.data[j * stride + i])
            };
            *out = match self.output {
                Output::Label => label,
                Output::Distance => distance / self.power,
            };
        }
    }
}
