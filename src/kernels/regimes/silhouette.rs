//! Silhouette: how much nearer a row lies to the rows of its own cluster than to those of the nearest other one.
//!
//! ```text
//! s_i = (b_i - a_i) / max(a_i, b_i)    (Rousseeuw 1987)
//! a_i = mean distance to the other rows of its cluster,  b_i = least mean distance to the rows of another cluster
//! ```
//!
//! 0 for the only row of a cluster, as in the paper, and where a and b are 0. Without two clusters there is none.
//!
//! Rows lie cluster by cluster in tiles of one cluster each. Euclidean distances are computed once per pair: a tile against
//! each tile behind it gives sums for the rows of both. The clusters that a row is compared with come one after the other, so
//! only the nearest of them is kept: memory is a few numbers per row, whatever the number of clusters.
//! Cost: `3 d + 5` operations and a square root per pair, eight pairs at once. Tiles are functions of the labels alone and
//! their sums are added in order, so that the result does not depend on threads.
//!
//! Squared distances need no pairs: `mean |x - y|^2 = |x - m|^2 + v` over a cluster with mean m and mean square v about it,
//! `4 d` operations per row and cluster. Differences are taken to a row of the cluster and the mean is held as a difference to
//! that row, too, so that nothing cancels wherever a cluster lies.
//!
//! Rows with too few readings, without a label, or, where a sample is asked for, outside it have none. Before, cells are
//! multiplied by a power of two, which changes no ratio, so that their squares are numbers.

use std::ops::Range;

use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::kernels::elementary::power_of_two_below;
use crate::kernels::matrix::Matrix;
use crate::kernels::parallel;
use crate::kernels::params::{ParamError, check};
use crate::kernels::random::Stream;
use crate::kernels::regimes::kmeans::{COUNTED, for_groups, sum_of_lanes};
use crate::kernels::selection::median;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// Rows of a tile: with 10 columns two of them fit the first cache.
const TILE: usize = 256;
/// Rows, in tiles, that are one piece of work against a tile.
const PIECE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Euclidean,
    Squared,
}

impl Metric {
    pub fn parse(word: &str) -> Result<Self, ParamError> {
        match word {
            "euclidean" => Ok(Self::Euclidean),
            "sqeuclidean" => Ok(Self::Squared),
            _ => Err(ParamError(format!("`metric` must be \"euclidean\" or \"sqeuclidean\", got {word:?}"))),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Params {
    metric: Metric,
    scaling: Scaling,
    min_present: f64,
    /// So many rows, drawn with this seed.
    sample: Option<(usize, u64)>,
}

impl Params {
    pub fn new(
        metric: Metric,
        scaling: Scaling,
        min_present: f64,
        sample: Option<(usize, u64)>,
    ) -> Result<Self, ParamError> {
        check(min_present > 0.0 && min_present <= 1.0, || {
            format!("`min_present` must be > 0 and <= 1, got {min_present}")
        })?;
        if let Some((size, _)) = sample {
            check(size >= 2, || format!("`sample` must be >= 2, got {size}"))?;
        }
        Ok(Self { metric, scaling, min_present, sample })
    }
}

/// The silhouette of each row, NaN where it has none. `data` holds the columns one after the other, missing cells NaN.
///
/// Missing cells of rows that count become the medians of their columns.
///
/// # Panics
/// If `data` does not hold whole columns of as many cells as there are labels.
pub fn samples(mut data: Vec<f64>, labels: &[Option<u32>], params: &Params, pool: &rayon::ThreadPool) -> Vec<f64> {
    let rows = labels.len();
    let mut out = vec![f64::NAN; rows];
    if rows == 0 || data.is_empty() {
        return out;
    }
    assert!(data.len().is_multiple_of(rows), "whole columns of {rows} rows");
    let columns = data.len() / rows;
    let mut present = vec![0_usize; rows];
    for column in data.chunks_exact(rows) {
        present.iter_mut().zip(column).for_each(|(count, v)| *count += usize::from(!v.is_nan()));
    }
    let needed = ((params.min_present * columns as f64).ceil() as usize).max(1);
    let mut left: Vec<usize> = (0..rows).filter(|&i| labels[i].is_some() && present[i] >= needed).collect();
    if left.is_empty() {
        return out;
    }
    // no cell moves back
    let mut to = 0;
    for j in 0..columns {
        for &i in &left {
            data[to] = data[j * rows + i];
            to += 1;
        }
    }
    data.truncate(to);
    let mut scratch = Vec::new();
    for column in data.chunks_exact_mut(left.len()).filter(|column| column.iter().any(|v| v.is_nan())) {
        // a column without any reading does not tell rows apart
        let median = Some(median(column, &mut scratch)).filter(|v| !v.is_nan()).unwrap_or(0.0);
        column.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = median);
    }
    let scale = Scale::fit(Matrix::new(&data, left.len(), columns), params.scaling, pool);
    let mut scaled = vec![0.0; data.len()];
    for (j, (x, z)) in data.chunks_exact(left.len()).zip(scaled.chunks_exact_mut(left.len())).enumerate() {
        scale.convert(j, x, z);
    }
    drop(data);
    if let Some((size, seed)) = params.sample.filter(|&(size, _)| size < left.len()) {
        let drawn = draw(left.len(), size, seed);
        let cells = scaled.chunks_exact(left.len()).flat_map(|z| drawn.iter().map(|&i| z[i])).collect();
        scaled = cells;
        left = drawn.iter().map(|&i| left[i]).collect();
    }
    let of: Vec<u32> = left.iter().filter_map(|&i| labels[i]).collect();
    let clusters = Clusters::new(Matrix::new(&scaled, left.len(), columns), &of);
    if clusters.sizes.len() < 2 {
        return out;
    }
    drop(scaled);
    let found = match params.metric {
        Metric::Euclidean => clusters.euclidean(pool),
        Metric::Squared => clusters.squared(pool),
    };
    for (&place, value) in clusters.order.iter().zip(found) {
        out[left[place]] = value;
    }
    out
}

/// The mean of the rows that have a silhouette; NaN if none has.
pub fn mean(data: Vec<f64>, labels: &[Option<u32>], params: &Params, pool: &rayon::ThreadPool) -> f64 {
    let all = samples(data, labels, params, pool);
    let (sum, count) = all.iter().filter(|v| !v.is_nan()).fold((0.0, 0_usize), |(sum, count), v| (sum + v, count + 1));
    sum / count as f64
}

/// So many of `n` rows, ascending, each set as likely as any other (Fan, Muller and Rezucha 1962).
fn draw(n: usize, size: usize, seed: u64) -> Vec<usize> {
    let mut stream = Stream::new(seed, 0);
    let mut drawn = Vec::with_capacity(size);
    for i in 0..n {
        if stream.below(n - i) < size - drawn.len() {
            drawn.push(i);
        }
    }
    drawn
}

/// Rows cluster by cluster.
struct Clusters {
    columns: usize,
    /// The row at each place.
    order: Vec<usize>,
    sizes: Vec<usize>,
    tiles: Vec<Tile>,
    /// Eight rows of a column side by side, their columns one after the other; behind a tile's last row come copies of it.
    cells: Vec<Lanes>,
}

/// Rows of one cluster.
struct Tile {
    cluster: usize,
    places: Range<usize>,
    /// Where its cells begin.
    start: usize,
}

impl Tile {
    fn rows(&self) -> usize {
        self.places.len()
    }

    fn vectors(&self) -> usize {
        self.rows().div_ceil(LANES)
    }
}

impl Clusters {
    /// Of at least one row.
    fn new(matrix: Matrix<'_>, labels: &[u32]) -> Self {
        let columns = matrix.columns();
        let mut order: Vec<usize> = (0..matrix.rows()).collect();
        order.sort_by_key(|&i| labels[i]);
        let (mut sizes, mut tiles, mut start, mut first) = (Vec::new(), Vec::new(), 0, 0);
        for cluster in order.chunk_by(|&a, &b| labels[a] == labels[b]) {
            for from in (0..cluster.len()).step_by(TILE) {
                let places = first + from..first + cluster.len().min(from + TILE);
                let tile = Tile { cluster: sizes.len(), places, start };
                start += tile.vectors() * columns;
                tiles.push(tile);
            }
            first += cluster.len();
            sizes.push(cluster.len());
        }
        let largest = (0..columns).flat_map(|j| matrix.column(j)).fold(0.0_f64, |most, v| v.abs().max(most));
        let power = power_of_two_below(largest);
        let mut cells = vec![Lanes::default(); start];
        for tile in &tiles {
            for j in 0..columns {
                let column = matrix.column(j);
                for v in 0..tile.vectors() {
                    for (lane, cell) in cells[tile.start + v * columns + j].iter_mut().enumerate() {
                        let place = (tile.places.start + v * LANES + lane).min(tile.places.end - 1);
                        *cell = column[order[place]] * power;
                    }
                }
            }
        }
        Self { columns, order, sizes, tiles, cells }
    }

    fn cells_of(&self, tile: &Tile) -> &[Lanes] {
        &self.cells[tile.start..tile.start + tile.vectors() * self.columns]
    }

    /// Silhouettes from the mean distances of rows to their own cluster and to the nearest other one.
    fn ratio(&self, cluster: usize, own: f64, nearest: f64) -> f64 {
        let largest = own.max(nearest);
        if self.sizes[cluster] == 1 || largest == 0.0 { 0.0 } else { (nearest - own) / largest }
    }

    fn euclidean(&self, pool: &rayon::ThreadPool) -> Vec<f64> {
        let rows = self.order.len();
        let mut own = vec![0.0; rows];
        let mut nearest = vec![f64::INFINITY; rows];
        // sums of distances of later rows to the rows of the cluster at hand
        let mut to_cluster = vec![0.0; rows];
        let mut first = 0;
        for (cluster, tiles) in self.tiles.chunk_by(|a, b| a.cluster == b.cluster).enumerate() {
            let size = self.sizes[cluster] as f64;
            for (at, tile) in tiles.iter().enumerate() {
                let mut sums = vec![0.0; tile.rows()];
                let mut of = cluster;
                for (b, sums_a, sums_b) in self.against(first + at, pool) {
                    let other = &self.tiles[b];
                    if other.cluster != of {
                        self.nearer(&mut nearest[tile.places.clone()], &mut sums, of, cluster);
                        of = other.cluster;
                    }
                    let target = if of == cluster { &mut own[tile.places.clone()] } else { &mut sums[..] };
                    target.iter_mut().zip(&sums_a).for_each(|(sum, part)| *sum += part);
                    let target = if of == cluster { &mut own } else { &mut to_cluster };
                    target[other.places.clone()].iter_mut().zip(&sums_b).for_each(|(sum, part)| *sum += part);
                }
                self.nearer(&mut nearest[tile.places.clone()], &mut sums, of, cluster);
            }
            first += tiles.len();
            let behind = tiles.last().map_or(0, |tile| tile.places.end);
            for (nearest, sum) in nearest[behind..].iter_mut().zip(&mut to_cluster[behind..]) {
                *nearest = nearest.min(*sum / size);
                *sum = 0.0;
            }
        }
        let ratio = |(place, tile): (usize, &Tile)| {
            let others = (self.sizes[tile.cluster] - 1) as f64;
            self.ratio(tile.cluster, own[place] / others, nearest[place])
        };
        self.tiles.iter().flat_map(|tile| tile.places.clone().map(move |place| (place, tile))).map(ratio).collect()
    }

    /// Takes the sums of a tile's rows over another cluster into account, and clears them.
    fn nearer(&self, nearest: &mut [f64], sums: &mut [f64], of: usize, own: usize) {
        if of != own {
            for (nearest, sum) in nearest.iter_mut().zip(sums) {
                *nearest = nearest.min(*sum / self.sizes[of] as f64);
                *sum = 0.0;
            }
        }
    }

    /// A tile against itself and each tile behind it, in order: which one, and the sums of distances of the rows of both;
    /// against itself those of the first alone.
    fn against(&self, a: usize, pool: &rayon::ThreadPool) -> impl Iterator<Item = (usize, Vec<f64>, Vec<f64>)> {
        let (mut pieces, mut from, mut rows) = (Vec::new(), a, 0);
        for b in a..self.tiles.len() {
            rows += self.tiles[b].rows();
            if rows >= PIECE || b + 1 == self.tiles.len() {
                pieces.push(from..b + 1);
                (from, rows) = (b + 1, 0);
            }
        }
        let work = self.tiles[a].rows() * (self.order.len() - self.tiles[a].places.start) * self.columns;
        let parts = parallel::map(
            pool,
            pieces.len(),
            work,
            || (),
            |(), piece| pieces[piece].clone().map(|b| self.pair(a, b)).collect::<Vec<_>>(),
        );
        parts.into_iter().flatten()
    }

    fn pair(&self, a: usize, b: usize) -> (usize, Vec<f64>, Vec<f64>) {
        let (first, second) = (&self.tiles[a], &self.tiles[b]);
        let mut sums_a = vec![Lanes::default(); first.vectors()];
        let mut sums_b = vec![0.0; second.rows()];
        dispatch(Distances {
            columns: self.columns,
            a: self.cells_of(first),
            rows_a: first.rows(),
            b: self.cells_of(second),
            sums_a: &mut sums_a,
            sums_b: &mut sums_b,
        });
        if a == b {
            sums_b.clear();
        }
        let sums_a = sums_a.iter().flat_map(|sums| sums.0).take(first.rows()).collect();
        (b, sums_a, sums_b)
    }

    fn squared(&self, pool: &rayon::ThreadPool) -> Vec<f64> {
        let groups: Vec<&[Tile]> = self.tiles.chunk_by(|a, b| a.cluster == b.cluster).collect();
        let cells = self.order.len() * self.columns;
        let about = parallel::map(
            pool,
            groups.len(),
            cells,
            || (),
            |(), cluster| dispatch(About { clusters: self, tiles: groups[cluster] }),
        );
        let found = parallel::map(
            pool,
            self.tiles.len(),
            cells * self.sizes.len(),
            || (),
            |(), t| {
                let tile = &self.tiles[t];
                let (own, nearest) = dispatch(Squares { clusters: self, tile, about: &about });
                let size = self.sizes[tile.cluster] as f64;
                let ratio = |(own, nearest)| self.ratio(tile.cluster, own * size / (size - 1.0), nearest);
                let pairs = own.iter().flat_map(|v| v.0).zip(nearest.iter().flat_map(|v| v.0));
                pairs.take(tile.rows()).map(ratio).collect::<Vec<f64>>()
            },
        );
        found.concat()
    }
}

/// 1 for the rows of a tile, 0 for the copies behind them, from row `at` on.
#[inline(always)]
fn counted<S: Simd>(s: S, rows: usize, at: usize) -> S::V {
    s.load_at(&COUNTED, LANES - (rows - at).min(LANES))
}

/// Sums of the distances between the rows of two tiles.
struct Distances<'a> {
    columns: usize,
    a: &'a [Lanes],
    rows_a: usize,
    b: &'a [Lanes],
    sums_a: &'a mut [Lanes],
    sums_b: &'a mut [f64],
}

impl Kernel for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows_b = self.sums_b.len();
        for_groups!(4, rows_b, |first, K| {
            let (vector, lane) = (first / LANES, first % LANES);
            let b = &self.b[vector * self.columns..(vector + 1) * self.columns];
            let mut sums = [s.splat(0.0); K];
            for (v, (a, sum_a)) in self.a.chunks_exact(self.columns).zip(self.sums_a.iter_mut()).enumerate() {
                let mut squares = [s.splat(0.0); K];
                for (x, y) in a.iter().zip(b) {
                    let x = s.load(x);
                    for c in 0..K {
                        let difference = s.sub(x, s.splat(y.0[lane + c]));
                        squares[c] = s.add(squares[c], s.mul(difference, difference));
                    }
                }
                let counted = counted(s, self.rows_a, v * LANES);
                let mut total = s.load(sum_a);
                for c in 0..K {
                    let distance = s.sqrt(squares[c]);
                    total = s.add(total, distance);
                    sums[c] = s.add(sums[c], s.mul(distance, counted));
                }
                s.store(total, sum_a);
            }
            for c in 0..K {
                self.sums_b[first + c] = sum_of_lanes(&Lanes(s.to_array(sums[c])));
            }
        });
    }
}

/// What squared distances to a cluster need.
struct Center {
    /// A row of the cluster, and the mean as the difference to it.
    row: Vec<f64>,
    mean: Vec<f64>,
    /// Mean square about the mean.
    square: f64,
}

/// The [`Center`] of the cluster of some tiles.
struct About<'a> {
    clusters: &'a Clusters,
    tiles: &'a [Tile],
}

impl Kernel for About<'_> {
    type Output = Center;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Center {
        let columns = self.clusters.columns;
        let size = self.clusters.sizes[self.tiles[0].cluster] as f64;
        let row: Vec<f64> = self.clusters.cells_of(&self.tiles[0])[..columns].iter().map(|cell| cell.0[0]).collect();
        let mut mean = Vec::with_capacity(columns);
        let mut square = 0.0;
        for (j, &reference) in row.iter().enumerate() {
            let reference = s.splat(reference);
            let mut sum = s.splat(0.0);
            for tile in self.tiles {
                let cells = self.clusters.cells_of(tile);
                for v in 0..tile.vectors() {
                    let difference = s.sub(s.load(&cells[v * columns + j]), reference);
                    sum = s.add(sum, s.mul(difference, counted(s, tile.rows(), v * LANES)));
                }
            }
            let of = sum_of_lanes(&Lanes(s.to_array(sum))) / size;
            let mut sum = s.splat(0.0);
            for tile in self.tiles {
                let cells = self.clusters.cells_of(tile);
                for v in 0..tile.vectors() {
                    let difference = s.sub(s.sub(s.load(&cells[v * columns + j]), reference), s.splat(of));
                    let counted = counted(s, tile.rows(), v * LANES);
                    sum = s.add(sum, s.mul(s.mul(difference, difference), counted));
                }
            }
            square += sum_of_lanes(&Lanes(s.to_array(sum))) / size;
            mean.push(of);
        }
        Center { row, mean, square }
    }
}

/// Mean squared distances of the rows of a tile to all rows of their cluster, and to those of the nearest other one.
struct Squares<'a> {
    clusters: &'a Clusters,
    tile: &'a Tile,
    about: &'a [Center],
}

impl Kernel for Squares<'_> {
    type Output = (Vec<Lanes>, Vec<Lanes>);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut own = vec![Lanes::default(); self.tile.vectors()];
        let mut nearest = own.clone();
        for (v, cells) in self.clusters.cells_of(self.tile).chunks_exact(self.clusters.columns).enumerate() {
            let mut least = s.splat(f64::INFINITY);
            for (cluster, center) in self.about.iter().enumerate() {
                let mut square = s.splat(center.square);
                for ((x, &row), &mean) in cells.iter().zip(&center.row).zip(&center.mean) {
                    let difference = s.sub(s.sub(s.load(x), s.splat(row)), s.splat(mean));
                    square = s.add(square, s.mul(difference, difference));
                }
                if cluster == self.tile.cluster {
                    s.store(square, &mut own[v]);
                } else {
                    least = s.min(square, least);
                }
            }
            s.store(least, &mut nearest[v]);
        }
        (own, nearest)
    }
}
