//! HDBSCAN: clusters of any shape as the parts of a density that last longest; rows in none of them are noise.
//!
//! Campello, Moulavi and Sander (2013), with the names of McInnes and Healy (2017):
//!
//! ```text
//! core_a = distance to the `min_samples`-th other row,  reach(a, b) = max(core_a, core_b, |a - b|)
//! ```
//!
//! - `spanning`: the minimum spanning tree of `reach`.
//! - `hierarchy`: the condensed tree, stabilities and the choice of clusters: excess of mass or leaves, clusters that start
//!   at a smaller distance than `cluster_selection_epsilon` merged (Malzer and Baum 2020), and whether all rows may be one cluster.
//! - Labels: 0 is the largest cluster, of equal ones that with the earliest row; -1 is noise. If all rows are one cluster, it
//!   holds those that leave at the end, or within `cluster_selection_epsilon` if that is set.
//! - Strength of a row that leaves at `d`: `d_c / max(d, d_c)`, where d_c is the least distance at which anything leaves its
//!   cluster; 1 at distance 0; 0 for noise.
//! - Persistence: stability / (rows of the cluster * largest density of all rows), 1 if that density is infinite.
//! - Relative validity (a fast stand-in for DBCV, Moulavi et al. 2014): the sum over clusters of
//!   `share of all rows * (apart - within) / max(apart, within)`, within = the longest edge of the spanning tree inside,
//!   apart = the shortest to another cluster, or twice the longest edge of all if there is none; of a single cluster twice
//!   the shortest to noise, or twice the longest of all. NaN without clusters.
//!
//! A new row gets the label that it would have if it were joined to the tree by its own least edge and changed nothing else:
//! with its core distance among the train rows, the row t of least `reach` (the nearest of equals), and
//! `d = max(reach, distance at which t leaves)`, it belongs to the innermost cluster round t that starts at d or farther.
//! A row that equals a train row is that row and gets its label and strength: it is no neighbour of itself in the fit.
//! This differs from the hdbscan package's `approximate_predict`, which looks among `2 min_samples` neighbours only, counts a train
//! row among its own neighbours, and takes the new row's density alone for its strength.
//!
//! Cost: see `spanning`; the rest is `n log n`. All rows are scaled before and multiplied by a power of two, so that squares are
//! numbers.
//!
//! Measured on one thread with AVX-512, processor time of a fit of 10,000 x 10, four clusters, `min_samples` 10 and
//! `min_cluster_size` 50: 59 ms. petal-clustering 0.14.0 finds the same clusters in 1,650 ms by Boruvka's rounds, 28 times as
//! long, and in 1,990 ms by Prim's algorithm, 34 times; it counts a row among its own neighbours (`min_samples` 11). So it is
//! not used here; it is an oracle of the tests and races in the benches. Edges of equal reachability it removes at once: a
//! row that leaves a cluster at the distance where the cluster starts is noise there, and belongs to the cluster here.

pub mod hierarchy;
pub mod points;
pub mod spanning;

use std::fmt;

use crate::kernels::detectors::Score;
use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::kernels::elementary::power_of_two_below;
use crate::kernels::matrix::{Matrix, Tile};
use crate::kernels::parallel;
use crate::kernels::params::{ParamError, check, number};
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

use hierarchy::Condensed;
pub use hierarchy::Method;
use points::{Bound, Nearest, Node, Points, Walk};
use spanning::{Edge, Spanning};

#[derive(Clone, Debug)]
pub struct Params {
    min_cluster_size: usize,
    min_samples: usize,
    epsilon: f64,
    method: Method,
    allow_single_cluster: bool,
    scaling: Scaling,
}

impl Params {
    pub fn new(
        min_cluster_size: usize,
        min_samples: usize,
        epsilon: f64,
        method: Method,
        allow_single_cluster: bool,
        scaling: Scaling,
    ) -> Result<Self, ParamError> {
        check(min_cluster_size >= 2, || format!("`min_cluster_size` must be >= 2, got {min_cluster_size}"))?;
        check(min_samples >= 1, || format!("`min_samples` must be >= 1, got {min_samples}"))?;
        number("cluster_selection_epsilon", epsilon, false)?;
        Ok(Self { min_cluster_size, min_samples, epsilon, method, allow_single_cluster, scaling })
    }
}

impl Method {
    pub fn parse(word: &str) -> Result<Self, ParamError> {
        match word {
            "eom" => Ok(Self::Mass),
            "leaf" => Ok(Self::Leaf),
            _ => Err(ParamError(format!("`method` must be \"eom\" or \"leaf\", got {word:?}"))),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    NoColumns,
    FewRows { rows: usize, min_samples: usize },
    Huge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColumns => write!(f, "no column is left to learn from"),
            Self::FewRows { rows, min_samples } => write!(
                f,
                "a row needs {min_samples} others for its core distance, but there are only {rows} rows in all; give it \
                 more rows or a smaller `min_cluster_size` or `min_samples`"
            ),
            Self::Huge => {
                write!(f, "the scaled readings do not fit a number; remove the outliers, or use another `scale`")
            }
        }
    }
}

impl std::error::Error for Error {}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Hdbscan {
    pub scale: Scale,
    pub min_samples: usize,
    /// The scaled train rows, column after column.
    pub train: Vec<f64>,
    /// Of each train row: its core distance, label, strength, the cluster of the condensed tree that it leaves last and the
    /// distance at which it does.
    pub cores: Vec<f64>,
    pub labels: Vec<i64>,
    pub strengths: Vec<f64>,
    pub row_clusters: Vec<usize>,
    pub row_distances: Vec<f64>,
    /// Of each cluster of the condensed tree: the one it is part of, if any, the distance at which it starts (infinite for the first),
    /// and the label of its rows, -1 if it is part of no chosen cluster.
    pub parents: Vec<Option<usize>>,
    pub starts: Vec<f64>,
    pub cluster_labels: Vec<i64>,
    /// By label: rows, least distance at which anything leaves, largest at which a row may leave and still belongs to it.
    pub sizes: Vec<usize>,
    pub inner: Vec<f64>,
    pub outer: Vec<f64>,
    pub persistence: Vec<f64>,
    /// Mean of its rows in the units of the readings, label by label.
    pub centers: Vec<f64>,
    pub relative_validity: f64,
}

pub fn fit(matrix: Matrix<'_>, params: &Params, pool: &rayon::ThreadPool) -> Result<Hdbscan, Error> {
    let (rows, columns, min_samples) = (matrix.rows(), matrix.columns(), params.min_samples);
    if columns == 0 {
        return Err(Error::NoColumns);
    }
    if rows <= min_samples {
        return Err(Error::FewRows { rows, min_samples });
    }
    let scale = Scale::fit(matrix, params.scaling, pool);
    let mut train = vec![0.0; rows * columns];
    let parts = train.chunks_exact_mut(rows);
    parallel::each(pool, parts, rows * columns, || (), |(), j, z| scale.convert(j, matrix.column(j), z));
    let power = power_for(&train);
    if !train.iter().all(|v| v.is_finite()) {
        return Err(Error::Huge);
    }
    let points = Points::new(rows, columns, |i, j| train[j * rows + i] * power);
    let Spanning { cores, edges } = spanning::spanning(&points, min_samples, pool);
    // times the power, so that densities are numbers
    let distances: Vec<f64> = edges.iter().map(|edge| edge.reach.sqrt()).collect();
    let epsilon = params.epsilon * power;
    let tree = Condensed::new(&edges, &distances, params.min_cluster_size);
    let mut chosen = tree.select(params.method, epsilon, params.allow_single_cluster);
    if rows < params.min_cluster_size {
        chosen.clear();
    }
    let reach = |c: usize| match tree.clusters[c].parent {
        Some(_) => tree.clusters[c].start,
        None if epsilon > 0.0 => epsilon,
        None => tree.clusters[c].end,
    };
    // the chosen cluster round each
    let mut round: Vec<Option<usize>> = vec![None; tree.clusters.len()];
    chosen.iter().for_each(|&c| round[c] = Some(c));
    for (c, cluster) in tree.clusters.iter().enumerate() {
        round[c] = round[c].or(cluster.parent.and_then(|parent| round[parent]));
    }
    let cluster_of = |i: usize| round[tree.row_clusters[i]].filter(|&c| tree.row_distances[i] <= reach(c));
    let mut members: Vec<(usize, usize)> = vec![(0, rows); tree.clusters.len()];
    for i in (0..rows).rev() {
        if let Some(c) = cluster_of(i) {
            members[c] = (members[c].0 + 1, i);
        }
    }
    chosen.retain(|&c| members[c].0 > 0);
    chosen.sort_unstable_by_key(|&c| (std::cmp::Reverse(members[c].0), members[c].1));
    let mut label = vec![-1; tree.clusters.len()];
    chosen.iter().enumerate().for_each(|(l, &c)| label[c] = l as i64);
    let label_of = |c: Option<usize>| c.map_or(-1, |c| label[c]);
    let labels: Vec<i64> = (0..rows).map(|i| label_of(cluster_of(i))).collect();
    let inner: Vec<f64> = chosen.iter().map(|&c| tree.clusters[c].end).collect();
    let strengths = labels.iter().zip(&tree.row_distances).map(|(&l, &d)| strength(l, d, &inner)).collect();
    let densest = tree.least_distance();
    let persistence = |&c: &usize| {
        if densest == 0.0 { 1.0 } else { tree.clusters[c].stability * densest / members[c].0 as f64 }
    };
    // the distance of huge readings of unlike signs may be too large for a number
    let unit = |distance: f64| (distance / power).min(f64::MAX);
    Ok(Hdbscan {
        scale,
        min_samples,
        cores: cores.iter().map(|core| unit(core.sqrt())).collect(),
        strengths,
        parents: tree.clusters.iter().map(|cluster| cluster.parent).collect(),
        starts: tree.clusters.iter().map(|of| of.parent.map_or(f64::INFINITY, |_| unit(of.start))).collect(),
        cluster_labels: round.iter().map(|&c| label_of(c)).collect(),
        sizes: chosen.iter().map(|&c| members[c].0).collect(),
        outer: chosen.iter().map(|&c| unit(reach(c))).collect(),
        persistence: chosen.iter().map(persistence).collect(),
        centers: centers(matrix, &labels, chosen.len(), pool),
        relative_validity: relative_validity(&edges, &distances, &labels, chosen.len()),
        inner: inner.iter().map(|&d| unit(d)).collect(),
        train,
        labels,
        row_clusters: tree.row_clusters,
        row_distances: tree.row_distances.iter().map(|&d| unit(d)).collect(),
    })
}

fn power_for(cells: &[f64]) -> f64 {
    power_of_two_below(cells.iter().fold(0.0_f64, |most, v| v.abs().max(most)))
}

/// Of a row of this label that leaves at `distance`.
fn strength(label: i64, distance: f64, inner: &[f64]) -> f64 {
    match usize::try_from(label) {
        Err(_) => 0.0,
        Ok(_) if distance == 0.0 => 1.0,
        Ok(label) => inner[label] / inner[label].max(distance),
    }
}

/// Means as differences to a row of the cluster.
fn centers(matrix: Matrix<'_>, labels: &[i64], clusters: usize, pool: &rayon::ThreadPool) -> Vec<f64> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let centers = parallel::map(
        pool,
        columns,
        rows * columns,
        || (),
        |(), j| {
            let mut means = vec![(0.0, 0.0, 0.0); clusters];
            for (&label, &x) in labels.iter().zip(matrix.column(j)).filter(|(label, _)| **label >= 0) {
                let (first, mean, count) = &mut means[label as usize];
                if *count == 0.0 {
                    *first = x;
                }
                *count += 1.0;
                // halves, because the difference of two huge readings does not fit
                *mean += ((x / 2.0 - *first / 2.0) - *mean) / *count;
            }
            means
        },
    );
    let center = |(first, mean, _): (f64, f64, f64)| first + 2.0 * mean;
    (0..clusters).flat_map(|label| centers.iter().map(move |means| center(means[label]))).collect()
}

fn relative_validity(edges: &[Edge], distances: &[f64], labels: &[i64], clusters: usize) -> f64 {
    if clusters == 0 {
        return f64::NAN;
    }
    let mut within = vec![0.0_f64; clusters];
    let mut apart = vec![f64::INFINITY; clusters];
    let (mut longest, mut to_noise) = (0.0_f64, f64::INFINITY);
    for (edge, &distance) in edges.iter().zip(distances) {
        longest = longest.max(distance);
        match (usize::try_from(labels[edge.a]), usize::try_from(labels[edge.b])) {
            (Ok(a), Ok(b)) if a == b => within[a] = within[a].max(distance),
            (Ok(a), Ok(b)) => [a, b].iter().for_each(|&c| apart[c] = apart[c].min(distance)),
            (Err(_), Err(_)) => {}
            _ => to_noise = to_noise.min(distance),
        }
    }
    let none = 2.0 * if clusters == 1 && to_noise < f64::INFINITY { to_noise } else { longest };
    let mut sizes = vec![0_usize; clusters];
    labels.iter().filter_map(|&label| usize::try_from(label).ok()).for_each(|label| sizes[label] += 1);
    (0..clusters)
        .map(|c| {
            let apart = if apart[c] < f64::INFINITY { apart[c] } else { none };
            let most = apart.max(within[c]);
            // rows that are all alike
            let validity = if most > 0.0 { (apart - within[c]) / most } else { 0.0 };
            sizes[c] as f64 / labels.len() as f64 * validity
        })
        .sum()
}

/// Labels and strengths of new rows.
pub struct Predictor<'a> {
    model: &'a Hdbscan,
    points: Points,
    power: f64,
    /// Squared core distance of each place, and the least of each node.
    cores: Vec<f64>,
    node_cores: Vec<f64>,
}

impl<'a> Predictor<'a> {
    /// Of a model whose parts fit together, of at least one row and one column.
    pub fn new(model: &'a Hdbscan) -> Self {
        let (rows, columns) = (model.labels.len(), model.scale.center.len());
        let power = power_for(&model.train);
        let points = Points::new(rows, columns, |i, j| model.train[j * rows + i] * power);
        let cores: Vec<f64> =
            points.order.iter().map(|&i| (model.cores[i] * power) * (model.cores[i] * power)).collect();
        let least = |node: &Node| {
            cores[node.from * LANES..rows.min(node.to * LANES)].iter().copied().fold(f64::INFINITY, f64::min)
        };
        let node_cores = points.nodes.iter().map(least).collect();
        Self { model, points, power, cores, node_cores }
    }

    #[inline(always)]
    fn predict<S: Simd>(
        &self,
        s: S,
        x: impl Iterator<Item = f64>,
        walk: &mut Walk,
        nearest: &mut Nearest,
    ) -> (f64, f64) {
        let model = self.model;
        nearest.clear(model.min_samples);
        walk.clear();
        walk.add(x);
        self.points.nearest(s, walk, usize::MAX, std::slice::from_mut(nearest));
        let core = nearest.limit();
        if core == f64::INFINITY {
            // so far away that its squares are no numbers
            return (-1.0, 0.0);
        }
        let (row, reach) = self.joined(s, core, walk);
        if reach.1 == 0.0 {
            return (model.labels[row] as f64, model.strengths[row]);
        }
        // cores as the model has them: a tie stays one
        let own = core.max(reach.1).sqrt() / self.power;
        let distance = own.max(model.cores[row]).max(model.row_distances[row]);
        let mut cluster = model.row_clusters[row];
        while model.starts[cluster] < distance
            && let Some(parent) = model.parents[cluster]
        {
            cluster = parent;
        }
        let label = model.cluster_labels[cluster];
        match usize::try_from(label) {
            Ok(l) if distance <= model.outer[l] => (label as f64, strength(label, distance, &model.inner)),
            _ => (-1.0, 0.0),
        }
    }

    /// The train row of least mutual reachability to the row of a walk, with its square and that of the distance. An equal
    /// row comes first, whatever its core distance.
    #[inline(always)]
    fn joined<S: Simd>(&self, s: S, core: f64, walk: &mut Walk) -> (usize, (f64, f64)) {
        let (mut row, mut best) = (usize::MAX, (f64::INFINITY, f64::INFINITY));
        self.points.start(s, walk);
        while let Some(node) = self.points.next_leaf(s, walk, &Joined { predictor: self, core }, best.0) {
            let Some(squares) = self.points.squares_of(s, node, walk, 0, best.0) else { continue };
            for (v, squares) in squares.into_iter().enumerate() {
                if !s.any(s.le(squares, s.splat(best.0))) {
                    continue;
                }
                for (lane, square) in s.to_array(squares).into_iter().enumerate() {
                    let place = (self.points.nodes[node].from + v) * LANES + lane;
                    if place >= self.points.rows() {
                        break;
                    }
                    let of = self.points.order[place];
                    let reach = if square == 0.0 { 0.0 } else { square.max(self.cores[place]).max(core) };
                    if (reach, square, of) < (best.0, best.1, row) {
                        (row, best) = (of, (reach, square));
                    }
                }
            }
            if best.1 == 0.0 {
                // equal train rows share their label
                break;
            }
        }
        (row, best)
    }
}

/// No row of a node has less reachability to a row with this squared core distance; 0 where one may be equal to it.
struct Joined<'a> {
    predictor: &'a Predictor<'a>,
    core: f64,
}

impl Bound for Joined<'_> {
    #[inline(always)]
    fn least(&self, node: usize, square: f64) -> f64 {
        if square == 0.0 { 0.0 } else { square.max(self.predictor.node_cores[node]).max(self.core) }
    }
}

impl Score for Predictor<'_> {
    /// Label and strength.
    fn results(&self) -> usize {
        2
    }

    fn score(&self, tile: &Tile, _: &mut Vec<f64>, out: &mut [f64]) {
        struct Rows<'a>(&'a Predictor<'a>, &'a Tile, &'a mut [f64]);

        impl Kernel for Rows<'_> {
            type Output = ();

            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                let Self(predictor, tile, out) = self;
                let (mut walk, mut nearest) = (Walk::default(), Nearest::default());
                let mut z = vec![0.0; tile.stride() * tile.columns()];
                for (j, z) in z.chunks_exact_mut(tile.stride()).enumerate() {
                    predictor.model.scale.convert(j, tile.column(j), z);
                }
                let (labels, strengths) = out.split_at_mut(tile.stride());
                for i in 0..tile.stride() {
                    let x = z.iter().skip(i).step_by(tile.stride()).map(|z| z * predictor.power);
                    (labels[i], strengths[i]) = predictor.predict(s, x, &mut walk, &mut nearest);
                }
            }
        }

        dispatch(Rows(self, tile, out));
    }
}
