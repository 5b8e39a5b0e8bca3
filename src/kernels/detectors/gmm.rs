//! Gaussian mixture: how unlikely a row is among the usual states of a machine, and which state it belongs to.
//!
//! ```text
//! p(x) = sum_c w_c N(x; m_c, S_c),  score = -log p(x),  label = argmax_c w_c N(x; m_c, S_c) (the first of equals)
//! ```
//!
//! of scaled columns. The covariances S_c are diagonal or full. Fitted by expectation and maximisation (Dempster, Laird and
//! Rubin 1977) from the clusters of a k-means start, `n_init` times; the fit of the largest likelihood is kept (the first
//! of equals). Or from given parameters. `reg_covar` is added to the variances in every round. It ends when the mean log-likelihood changes
//! by less than `tol`, scikit-learn's rule. Among several k the one with the least `BIC = -2 sum_i log p(x_i) + q ln n` is kept (Schwarz 1978),
//! the first of equals; `q = k d + (k - 1)` and `k d` for diagonal, `k d (d + 1) / 2` for full covariances.
//!
//! A round is one pass over the rows: expectation of a tile of 64 rows, then its moments while it lies in the cache. Moments are taken about the means
//! of the round before and shifted afterwards, so that nothing cancels where data lie far from 0: once the means rest, the
//! shift is nothing. A row's distance is `|L^-1 (x - m)|^2` with the Cholesky factor L of S_c.
//!
//! Responsibilities need `exp` for each row and component, eight at once (`elementary::exp`); the log-likelihood of a fit needs one
//! logarithm for each lane of a tile, because the sums of a lane are multiplied first. A score takes one of its own.
//!
//! Cost per round: `9 n k d` operations, diagonal, and `2 n k d^2`, full. Sums are taken in fixed pieces and added in their order,
//! so that the result does not depend on threads.
//!
//! Measured on one core of a busy machine with AVX2, processor time of fits from given parameters, the least of seven runs, beside
//! scikit-learn 1.9.1, whose rounds they take and whose log-likelihood they end at, to 1e-13: diagonal, 10,000 x 105, k = 3, in
//! 146 ms (805; 50 rounds) and 28 ms (155; 7 rounds); x 50, k = 4, in 16 ms (159); full, x 10, k = 4, in 12 ms (130).
//!
//! linfa-clustering 0.8.1 has full covariances only and starts from its own k-means. From that start both take the same 15
//! rounds to the same means (5e-15) on the random walks of `benches/kernels.rs`, 10,000 x 10, k = 3, one thread, AVX-512: 7 ms,
//! and linfa 32 ms besides its k-means, five times as long. Whole fits take 8 and 67 ms, but linfa's k-means starts ten times. It
//! sums densities without taking out the largest, so that a row far from all components has infinite responsibilities. So it
//! is not used here; it is an oracle of the tests and races in the benches.

use std::f64::consts::TAU;
use std::fmt;
use std::ops::Range;

use nalgebra::DMatrix;

use crate::kernels::detectors::Score;
use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::kernels::elementary::exp;
use crate::kernels::matrix::{Cells, FIT_ROWS, Matrix, Tile, Tiles};
use crate::kernels::parallel;
use crate::kernels::params::{ParamError, check, number};
use crate::kernels::random::Stream;
use crate::kernels::regimes::kmeans::{self, GROUP, Labels, Rounds, counted, for_groups, interleave, sum_of_lanes};
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// The k-means start ends like [`kmeans::fit`] with scikit-learn's defaults.
const START_MAX_ITER: usize = 300;
const START_TOL: f64 = 1e-4;

/// Scaled readings up to this size have squares, and sums of squares, that are numbers.
const LARGEST: f64 = 1e140;

/// Added to the number of rows of a component, so that one without rows divides nothing by 0 (scikit-learn has the same).
const NO_ROWS: f64 = 10.0 * f64::EPSILON;

/// By how much given weights may miss a sum of 1.
const WEIGHTS_TOLERANCE: f64 = 1e-6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covariance {
    Diagonal,
    Full,
}

impl Covariance {
    /// Numbers that describe one covariance, as they are stored.
    pub fn cells(self, columns: usize) -> usize {
        match self {
            Self::Diagonal => columns,
            Self::Full => columns * columns,
        }
    }

    fn free_parameters(self, k: usize, columns: usize) -> usize {
        let shape = match self {
            Self::Diagonal => columns,
            Self::Full => columns * (columns + 1) / 2,
        };
        k * columns + (k - 1) + k * shape
    }
}

#[derive(Clone, Debug)]
pub struct Params {
    least: usize,
    most: usize,
    covariance: Covariance,
    scaling: Scaling,
    n_init: usize,
    max_iter: usize,
    tol: f64,
    reg_covar: f64,
    seed: u64,
}

impl Params {
    /// `k` and all its alternatives up to the end of the range, of which BIC chooses.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        k: (usize, usize),
        covariance: Covariance,
        scaling: Scaling,
        n_init: usize,
        max_iter: usize,
        tol: f64,
        reg_covar: f64,
        seed: u64,
    ) -> Result<Self, ParamError> {
        let (least, most) = k;
        for (name, value) in [("k", least), ("n_init", n_init), ("max_iter", max_iter)] {
            check(value >= 1, || format!("`{name}` must be >= 1, got {value}"))?;
        }
        check(least <= most, || format!("`k_range` must be ascending, got ({least}, {most})"))?;
        number("tol", tol, false)?;
        number("reg_covar", reg_covar, false)?;
        Ok(Self { least, most, covariance, scaling, n_init, max_iter, tol, reg_covar, seed })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    FewRows { rows: usize },
    NoColumns,
    Start(kmeans::Error),
    Init(String),
    NotPositiveDefinite { component: usize, reg_covar: f64 },
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewRows { rows } => write!(f, "a Gaussian mixture needs at least 2 rows to learn from, got {rows}"),
            Self::NoColumns => write!(f, "no column is left to learn from"),
            Self::Start(kmeans::Error::FewRows { k, distinct }) => {
                write!(f, "{k} clusters need {k} different rows, but there are only {distinct}; lower `k` or `k_range`")
            }
            Self::Start(error) => error.fmt(f),
            Self::Init(text) => f.write_str(text),
            Self::NotPositiveDefinite { component, reg_covar } => write!(
                f,
                "the covariance of component {component} is not positive definite: its rows do not vary in every direction; a \
                 `reg_covar` above {reg_covar} or a smaller `k` helps"
            ),
            Self::TooLarge => write!(
                f,
                "the scaled readings lie too far apart for a Gaussian, their squares do not fit a number; remove the \
                 outliers or use another `scale`"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<kmeans::Error> for Error {
    fn from(error: kmeans::Error) -> Self {
        Self::Start(error)
    }
}

/// Of scaled columns, component by component; a full covariance row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub weights: Vec<f64>,
    pub means: Vec<f64>,
    pub covariances: Vec<f64>,
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    pub scale: Scale,
    pub covariance: Covariance,
    pub parameters: Parameters,
    /// Mean over the rows learnt from, of the scaled columns.
    pub log_likelihood: f64,
    pub bic: f64,
    /// Of the start that was kept.
    pub iterations: usize,
    pub converged: bool,
    /// Each number of components that was tried, with its BIC.
    pub tried: Vec<(usize, f64)>,
}

/// From `n_init` k-means starts for each number of components, or from the parameters given.
pub fn fit(
    matrix: Matrix<'_>,
    params: &Params,
    init: Option<&Parameters>,
    pool: &rayon::ThreadPool,
) -> Result<Mixture, Error> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    if rows < 2 {
        return Err(Error::FewRows { rows });
    }
    if columns == 0 {
        return Err(Error::NoColumns);
    }
    if let Some(init) = init {
        check_init(init, params, columns)?;
    }
    let scale = Scale::fit(matrix, params.scaling, pool);
    let tiles = Tiles::new(matrix, pool, |j, x, out| scale.convert(j, x, out));
    let moderate = |t: usize| tiles.get(t).data.iter().all(|z| z.abs() <= LARGEST);
    if parallel::map(pool, tiles.len(), rows * columns, || (), |(), t| moderate(t)).contains(&false) {
        return Err(Error::TooLarge);
    }
    let variance = if init.is_some() { 0.0 } else { mean_variance(&tiles, pool) };
    let em = Em { tiles: &tiles, params, pool, variance };
    let mut best: Option<Mixture> = None;
    let mut tried = Vec::new();
    'numbers: for k in params.least..=params.most {
        let mut kept: Option<Run> = None;
        for start in 0..if init.is_some() { 1 } else { params.n_init } {
            let run = em.run(match init.map_or_else(|| em.start(k, start), |init| Ok(init.clone())) {
                // as many components as there are different rows, but no more
                Err(Error::Start(kmeans::Error::FewRows { .. })) if best.is_some() => break 'numbers,
                start => start?,
            })?;
            if kept.as_ref().is_none_or(|kept| run.log_likelihood > kept.log_likelihood) {
                kept = Some(run);
            }
        }
        let Run { parameters, log_likelihood, iterations, converged } = kept.expect("at least one start");
        let free = params.covariance.free_parameters(k, columns) as f64;
        let bic = -2.0 * log_likelihood * rows as f64 + free * (rows as f64).ln();
        tried.push((k, bic));
        if best.as_ref().is_none_or(|best| bic < best.bic) {
            best = Some(Mixture {
                scale: scale.clone(),
                covariance: params.covariance,
                parameters,
                log_likelihood,
                bic,
                iterations,
                converged,
                tried: Vec::new(),
            });
        }
    }
    let best = best.expect("at least one number of components");
    Ok(Mixture { tried, ..best })
}

fn check_init(init: &Parameters, params: &Params, columns: usize) -> Result<(), Error> {
    let k = init.weights.len();
    let refuse = |text: String| Err(Error::Init(text));
    if (params.least, params.most) != (k, k) {
        return refuse(format!("`init` holds {k} weights, `k` is {}", params.most));
    }
    let cells = params.covariance.cells(columns);
    for (name, values, expected) in [("means", &init.means, k * columns), ("covariances", &init.covariances, k * cells)]
    {
        if values.len() != expected {
            return refuse(format!(
                "`init` must hold {expected} numbers as {name} of {k} components and {columns} columns, got {}",
                values.len()
            ));
        }
        if !values.iter().all(|v| v.abs() <= LARGEST) {
            return refuse(format!("`init` must hold finite {name} of moderate size"));
        }
    }
    let sum: f64 = init.weights.iter().sum();
    if !init.weights.iter().all(|&w| w > 0.0) || (sum - 1.0).abs() > WEIGHTS_TOLERANCE {
        return refuse(format!("the weights of `init` must be above 0 and add up to 1, got {:?}", init.weights));
    }
    Ok(())
}

/// Of the columns, each in two passes.
fn mean_variance(tiles: &Tiles, pool: &rayon::ThreadPool) -> f64 {
    let n = tiles.rows() as f64;
    let sum = |j: usize, f: &dyn Fn(f64) -> f64| -> f64 {
        let part = |t: usize| -> f64 {
            let Cells { data, rows, stride } = tiles.get(t);
            data[j * stride..j * stride + rows].iter().map(|&z| f(z)).sum()
        };
        (0..tiles.len()).map(part).sum()
    };
    let variance = |j| {
        let mean = sum(j, &|z| z) / n;
        sum(j, &|z| (z - mean) * (z - mean)) / n
    };
    let columns = tiles.columns();
    let variances = parallel::map(pool, columns, tiles.rows() * columns, || (), |(), j| variance(j));
    variances.iter().sum::<f64>() / columns as f64
}

struct Run {
    parameters: Parameters,
    log_likelihood: f64,
    iterations: usize,
    converged: bool,
}

/// Expectation and maximisation on scaled rows.
struct Em<'a> {
    tiles: &'a Tiles,
    params: &'a Params,
    pool: &'a rayon::ThreadPool,
    /// Of the readings, which the k-means start asks for.
    variance: f64,
}

impl Em<'_> {
    /// The moments of the clusters of k-means.
    fn start(&self, k: usize, start: usize) -> Result<Parameters, Error> {
        let work = self.tiles.rows() * self.tiles.columns() * k;
        let rounds = Rounds {
            tiles: self.tiles,
            max_iter: START_MAX_ITER,
            tolerance: START_TOL * self.variance,
            pool: self.pool,
        };
        let centers = rounds.draw(k, &mut Stream::new(self.params.seed, start), work)?;
        let centers = rounds.run(centers, work)?.centers;
        let totals = self.pass(Source::Nearest(&interleave(&centers, self.tiles.columns())), &centers, true);
        Ok(self.maximise(totals, &centers))
    }

    fn run(&self, mut parameters: Parameters) -> Result<Run, Error> {
        let rows = self.tiles.rows() as f64;
        let (mut before, mut iterations, mut converged) = (f64::NEG_INFINITY, 0, false);
        while iterations < self.params.max_iter && !converged {
            iterations += 1;
            let densities = self.densities(&parameters)?;
            let totals = self.pass(Source::Posterior(&densities), &parameters.means, true);
            let log_likelihood = totals.log_likelihood / rows;
            if !log_likelihood.is_finite() {
                return Err(Error::TooLarge);
            }
            parameters = self.maximise(totals, &parameters.means);
            converged = (log_likelihood - before).abs() < self.params.tol;
            before = log_likelihood;
        }
        let densities = self.densities(&parameters)?;
        let totals = self.pass(Source::Posterior(&densities), &parameters.means, false);
        let log_likelihood = totals.log_likelihood / rows;
        if log_likelihood.is_finite() {
            Ok(Run { parameters, log_likelihood, iterations, converged })
        } else {
            Err(Error::TooLarge)
        }
    }

    fn densities(&self, parameters: &Parameters) -> Result<Densities, Error> {
        let Params { covariance, reg_covar, .. } = *self.params;
        Densities::new(parameters, covariance, self.tiles.columns())
            .map_err(|component| Error::NotPositiveDefinite { component, reg_covar })
    }

    /// Sums over all rows, with responsibilities from `source`, moments about `means`.
    fn pass(&self, source: Source<'_>, means: &[f64], moments: bool) -> Totals {
        let (columns, pieces) = (self.tiles.columns(), self.tiles.pieces());
        let work = self.tiles.rows() * means.len();
        let parts = parallel::map(self.pool, pieces.len(), work, Scratch::default, |scratch, piece| {
            dispatch(Pass {
                tiles: self.tiles,
                range: pieces[piece].clone(),
                source,
                means,
                k: means.len() / columns,
                covariance: moments.then_some(self.params.covariance),
                scratch,
            })
        });
        parts.into_iter().reduce(Totals::plus).expect("at least one row")
    }

    fn maximise(&self, totals: Totals, means: &[f64]) -> Parameters {
        let columns = self.tiles.columns();
        let k = means.len() / columns;
        let counts: Vec<f64> = totals.counts.iter().map(|count| count + NO_ROWS).collect();
        let all: f64 = counts.iter().sum();
        let shifts: Vec<f64> = totals.sums.iter().enumerate().map(|(i, sum)| sum / counts[i / columns]).collect();
        let mut covariances = Vec::with_capacity(k * self.params.covariance.cells(columns));
        for c in 0..k {
            let shift = &shifts[c * columns..(c + 1) * columns];
            match self.params.covariance {
                Covariance::Diagonal => covariances.extend(shift.iter().enumerate().map(|(j, shift)| {
                    let variance = totals.squares[c * columns + j] / counts[c] - shift * shift;
                    variance.max(0.0) + self.params.reg_covar
                })),
                Covariance::Full => {
                    let side = even(columns);
                    let products = &totals.squares[c * side * side..(c + 1) * side * side];
                    for i in 0..columns {
                        for j in 0..columns {
                            let covariance = products[i.max(j) * side + i.min(j)] / counts[c] - shift[i] * shift[j];
                            covariances.push(covariance + if i == j { self.params.reg_covar } else { 0.0 });
                        }
                    }
                }
            }
        }
        Parameters {
            weights: counts.iter().map(|count| count / all).collect(),
            means: means.iter().zip(shifts).map(|(mean, shift)| mean + shift).collect(),
            covariances,
        }
    }
}

/// Products of columns are summed two by two columns at once.
fn even(columns: usize) -> usize {
    columns.next_multiple_of(2)
}

/// Where the responsibilities of a pass come from: 1 for the nearest centre (interleaved), or the posterior probabilities.
#[derive(Clone, Copy)]
enum Source<'a> {
    Nearest(&'a [f64]),
    Posterior(&'a Densities),
}

/// Of some rows: of each component the sum of responsibilities, and the sums of differences from the old means
/// and of their squares or products, times the responsibility.
struct Totals {
    counts: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
    log_likelihood: f64,
}

impl Totals {
    fn plus(mut self, other: Self) -> Self {
        let add = |a: &mut Vec<f64>, b: Vec<f64>| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        add(&mut self.counts, other.counts);
        add(&mut self.sums, other.sums);
        add(&mut self.squares, other.squares);
        self.log_likelihood += other.log_likelihood;
        self
    }
}

/// The densities of the components, times their weights, ready to be computed.
pub(crate) struct Densities {
    k: usize,
    columns: usize,
    /// The logarithm at the mean.
    peaks: Vec<f64>,
    shape: Shape,
}

enum Shape {
    /// Means and 1 / std, interleaved in groups.
    Diagonal { means: Vec<f64>, factors: Vec<f64> },
    /// Means component by component. Of each component the rows of L^-1, four side by side up to the diagonal.
    Full { means: Vec<f64>, factors: Vec<Vec<[f64; 4]>> },
}

impl Densities {
    /// The error is the component whose covariance is not positive definite.
    pub(crate) fn new(parameters: &Parameters, covariance: Covariance, columns: usize) -> Result<Self, usize> {
        let k = parameters.weights.len();
        let mut logs_of_factors = Vec::with_capacity(k);
        let shape = match covariance {
            Covariance::Diagonal => {
                let mut factors = Vec::with_capacity(k * columns);
                for (c, variances) in parameters.covariances.chunks_exact(columns).enumerate() {
                    if !variances.iter().all(|&v| v > 0.0) {
                        return Err(c);
                    }
                    let inverse = variances.iter().map(|v| 1.0 / v.sqrt());
                    logs_of_factors.push(inverse.clone().map(f64::ln).sum());
                    factors.extend(inverse);
                }
                Shape::Diagonal {
                    means: interleave(&parameters.means, columns),
                    factors: interleave(&factors, columns),
                }
            }
            Covariance::Full => {
                let mut factors = Vec::with_capacity(k);
                for (c, matrix) in parameters.covariances.chunks_exact(columns * columns).enumerate() {
                    let lower = DMatrix::from_row_slice(columns, columns, matrix).cholesky().ok_or(c)?.unpack();
                    let inverse = lower.solve_lower_triangular(&DMatrix::identity(columns, columns)).ok_or(c)?;
                    logs_of_factors.push((0..columns).map(|j| -lower[(j, j)].ln()).sum::<f64>());
                    let mut rows = Vec::new();
                    for first in (0..columns).step_by(4) {
                        for j in 0..columns.min(first + 4) {
                            let row = |i: usize| if i < columns && j <= i { inverse[(i, j)] } else { 0.0 };
                            rows.push(std::array::from_fn(|i| row(first + i)));
                        }
                    }
                    factors.push(rows);
                }
                Shape::Full { means: parameters.means.clone(), factors }
            }
        };
        let peak = |(weight, log): (&f64, f64)| weight.ln() - 0.5 * columns as f64 * TAU.ln() + log;
        let peaks = parameters.weights.iter().zip(logs_of_factors).map(peak).collect();
        Ok(Self { k, columns, peaks, shape })
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// The logarithm of weight times density at the mean.
    pub(crate) fn peak(&self, component: usize) -> f64 {
        self.peaks[component]
    }

    /// The logarithms of weight times density of the eight rows from `at` on, for component c at `out[c * stride + at]`, and the
    /// largest of them.
    #[inline(always)]
    pub(crate) fn logs<S: Simd>(
        &self,
        s: S,
        cells: Cells<'_>,
        at: usize,
        differences: &mut Vec<Lanes>,
        out: &mut [f64],
    ) -> S::V {
        let lowest = s.splat(f64::NEG_INFINITY);
        let mut largest = lowest;
        let half = s.splat(-0.5);
        match &self.shape {
            Shape::Diagonal { means, factors } => for_groups!(GROUP, self.k, |first, K| {
                let range = first * self.columns..(first + K) * self.columns;
                let groups = means[range.clone()].as_chunks::<K>().0.iter().zip(factors[range].as_chunks::<K>().0);
                let mut sums = [s.splat(0.0); K];
                for (column, (mean, factor)) in cells.data.chunks_exact(cells.stride).zip(groups) {
                    let x = s.load_at(column, at);
                    for c in 0..K {
                        let z = s.mul(s.sub(x, s.splat(mean[c])), s.splat(factor[c]));
                        sums[c] = s.add(sums[c], s.mul(z, z));
                    }
                }
                for (c, sum) in sums.into_iter().enumerate() {
                    let log = s.add(s.splat(self.peaks[first + c]), s.mul(half, sum));
                    largest = s.max(log, largest);
                    s.store_at(log, out, (first + c) * cells.stride + at);
                }
            }),
            Shape::Full { means, factors } => {
                differences.resize(self.columns, Lanes::default());
                for (c, (mean, factor)) in means.chunks_exact(self.columns).zip(factors).enumerate() {
                    let columns = cells.data.chunks_exact(cells.stride);
                    for ((difference, column), mean) in differences.iter_mut().zip(columns).zip(mean) {
                        s.store(s.sub(s.load_at(column, at), s.splat(*mean)), difference);
                    }
                    let mut sum = s.splat(0.0);
                    let mut rest = factor.as_slice();
                    for first in (0..self.columns).step_by(4) {
                        let (rows, behind) = rest.split_at(self.columns.min(first + 4));
                        rest = behind;
                        let mut y = [s.splat(0.0); 4];
                        for (row, difference) in rows.iter().zip(differences.iter()) {
                            let difference = s.load(difference);
                            for i in 0..4 {
                                y[i] = s.add(y[i], s.mul(s.splat(row[i]), difference));
                            }
                        }
                        for y in y {
                            sum = s.add(sum, s.mul(y, y));
                        }
                    }
                    let log = s.add(s.splat(self.peaks[c]), s.mul(half, sum));
                    // differences of infinities, where the squares of a row do not fit a number
                    let log = s.select(s.eq(log, log), log, lowest);
                    largest = s.max(log, largest);
                    s.store_at(log, out, c * cells.stride + at);
                }
            }
        }
        largest
    }
}

#[derive(Default)]
struct Scratch {
    labels: Labels,
    /// Logarithms of a tile, then its responsibilities: `responsibilities[c * stride + i]`.
    responsibilities: Vec<f64>,
    differences: Vec<Lanes>,
    /// Differences times responsibility, column by column.
    weighted: Vec<f64>,
}

struct Pass<'a> {
    tiles: &'a Tiles,
    range: Range<usize>,
    source: Source<'a>,
    means: &'a [f64],
    k: usize,
    /// None where only the log-likelihood is asked for.
    covariance: Option<Covariance>,
    scratch: &'a mut Scratch,
}

impl Kernel for Pass<'_> {
    type Output = Totals;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Totals {
        let Self { tiles, range, source, means, k, covariance, scratch } = self;
        let columns = tiles.columns();
        let mut counts = vec![0.0; k];
        let mut sums = vec![Lanes::default(); if covariance.is_some() { k * columns } else { 0 }];
        let mut squares =
            vec![Lanes::default(); if covariance == Some(Covariance::Diagonal) { k * columns } else { 0 }];
        let side = even(columns);
        let mut products = vec![0.0; if covariance == Some(Covariance::Full) { k * side * side } else { 0 }];
        let mut log_likelihood = 0.0;
        for t in range {
            let cells = tiles.get(t);
            let responsibilities = match source {
                Source::Nearest(centers) => {
                    scratch.labels.assign(s, cells, centers, k);
                    &scratch.labels.member
                }
                Source::Posterior(densities) => {
                    log_likelihood +=
                        expect(s, densities, cells, &mut scratch.differences, &mut scratch.responsibilities);
                    &scratch.responsibilities
                }
            };
            for (count, r) in counts.iter_mut().zip(responsibilities.chunks_exact(cells.stride)) {
                let sum = r.as_chunks().0.iter().fold(s.splat(0.0), |sum, r| s.add(sum, s.load(r)));
                *count += sum_of_lanes(&Lanes(s.to_array(sum)));
            }
            match covariance {
                None => {}
                Some(Covariance::Diagonal) => moments(s, cells, responsibilities, means, &mut sums, &mut squares),
                Some(Covariance::Full) => {
                    for c in 0..k {
                        product_moments(
                            s,
                            cells,
                            &responsibilities[c * cells.stride..(c + 1) * cells.stride],
                            &means[c * columns..(c + 1) * columns],
                            &mut scratch.weighted,
                            &mut sums[c * columns..(c + 1) * columns],
                            &mut products[c * side * side..(c + 1) * side * side],
                        );
                    }
                }
            }
        }
        let squares = if products.is_empty() { squares.iter().map(sum_of_lanes).collect() } else { products };
        Totals { counts, sums: sums.iter().map(sum_of_lanes).collect(), squares, log_likelihood }
    }
}

/// Responsibilities of a tile, 0 for the copies behind its rows; gives the log-likelihood of the rows.
#[inline(always)]
fn expect<S: Simd>(
    s: S,
    densities: &Densities,
    cells: Cells<'_>,
    differences: &mut Vec<Lanes>,
    out: &mut Vec<f64>,
) -> f64 {
    let (k, one) = (densities.k, s.splat(1.0));
    out.resize(k * FIT_ROWS, 0.0);
    let mut largest_ones = s.splat(0.0);
    let mut product = one;
    for at in (0..cells.stride).step_by(LANES) {
        let counted = counted(s, cells, at);
        let largest = densities.logs(s, cells, at, differences, out);
        let mut sum = s.splat(0.0);
        for c in 0..k {
            let e = exp(s, s.sub(s.load_at(out, c * cells.stride + at), largest));
            sum = s.add(sum, e);
            s.store_at(e, out, c * cells.stride + at);
        }
        let share = s.div(counted, sum);
        for c in 0..k {
            s.store_at(s.mul(s.load_at(out, c * cells.stride + at), share), out, c * cells.stride + at);
        }
        // a sum lies between 1 and k: the product over a tile is a number for every k
        product = s.mul(product, s.select(s.eq(counted, one), sum, one));
        largest_ones = s.add(largest_ones, s.mul(largest, counted));
    }
    let logs = s.to_array(product).map(f64::ln);
    sum_of_lanes(&Lanes(s.to_array(s.add(largest_ones, s.load(&logs)))))
}

/// Adds a tile to the sums of differences from the means and of their squares, times the responsibilities.
#[inline(always)]
fn moments<S: Simd>(
    s: S,
    cells: Cells<'_>,
    responsibilities: &[f64],
    means: &[f64],
    sums: &mut [Lanes],
    squares: &mut [Lanes],
) {
    let columns = cells.data.len() / cells.stride;
    let k = means.len() / columns;
    // as many as have room in the registers for two sums and a mean each
    let together = if S::REGISTERS > 3 * GROUP { GROUP } else { 2 };
    for_groups!(together, k, |first, K| {
        let shares: [&[f64]; K] =
            std::array::from_fn(|c| &responsibilities[(first + c) * cells.stride..(first + c + 1) * cells.stride]);
        for (j, column) in cells.data.chunks_exact(cells.stride).enumerate() {
            let center: [S::V; K] = std::array::from_fn(|c| s.splat(means[(first + c) * columns + j]));
            let (mut sum, mut square) = ([s.splat(0.0); K], [s.splat(0.0); K]);
            for at in (0..cells.stride).step_by(LANES) {
                let x = s.load_at(column, at);
                for c in 0..K {
                    let difference = s.sub(x, center[c]);
                    let share = s.mul(s.load_at(shares[c], at), difference);
                    sum[c] = s.add(sum[c], share);
                    square[c] = s.mul_add(share, difference, square[c]);
                }
            }
            for c in 0..K {
                let i = (first + c) * columns + j;
                s.store(s.add(s.load(&sums[i]), sum[c]), &mut sums[i]);
                s.store(s.add(s.load(&squares[i]), square[c]), &mut squares[i]);
            }
        }
    });
}

/// As [`moments`] for one component, with the products of columns i and j at `products[i * side + j]`, i >= j.
#[inline(always)]
fn product_moments<S: Simd>(
    s: S,
    cells: Cells<'_>,
    responsibilities: &[f64],
    means: &[f64],
    weighted: &mut Vec<f64>,
    sums: &mut [Lanes],
    products: &mut [f64],
) {
    let (columns, stride) = (means.len(), cells.stride);
    let side = even(columns);
    weighted.clear();
    weighted.resize(side * stride, 0.0);
    let weighted_columns = weighted.chunks_exact_mut(stride);
    for (((out, column), mean), total) in weighted_columns.zip(cells.data.chunks_exact(stride)).zip(means).zip(sums) {
        let mut sum = s.load(total);
        for at in (0..stride).step_by(LANES) {
            let share = s.mul(s.load_at(responsibilities, at), s.sub(s.load_at(column, at), s.splat(*mean)));
            sum = s.add(sum, share);
            s.store_at(share, out, at);
        }
        s.store(sum, total);
    }
    let mut pair = [[Lanes::default(); 2]; FIT_ROWS / LANES];
    for j in (0..side).step_by(2) {
        for (v, pair) in pair.iter_mut().enumerate().take(stride / LANES) {
            for (b, difference) in pair.iter_mut().enumerate() {
                if let Some(mean) = means.get(j + b) {
                    let x = s.load_at(cells.data, (j + b) * stride + v * LANES);
                    s.store(s.sub(x, s.splat(*mean)), difference);
                } else {
                    *difference = Lanes::default();
                }
            }
        }
        for i in (j..side).step_by(2) {
            let (one, two) = weighted[i * stride..(i + 2) * stride].split_at(stride);
            let mut sum = [s.splat(0.0); 4];
            let rows = one.as_chunks().0.iter().zip(two.as_chunks().0).zip(&pair);
            for ((one, two), pair) in rows {
                let (a, b, x, y) = (s.load(one), s.load(two), s.load(&pair[0]), s.load(&pair[1]));
                sum[0] = s.mul_add(a, x, sum[0]);
                sum[1] = s.mul_add(a, y, sum[1]);
                sum[2] = s.mul_add(b, x, sum[2]);
                sum[3] = s.mul_add(b, y, sum[3]);
            }
            for (cell, sum) in
                [i * side + j, i * side + j + 1, (i + 1) * side + j, (i + 1) * side + j + 1].into_iter().zip(sum)
            {
                products[cell] += sum_of_lanes(&Lanes(s.to_array(sum)));
            }
        }
    }
}

/// What is asked of a mixture for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `-log p(x)`.
    Score,
    /// The component of the largest posterior probability, from 0 on.
    Label,
}

/// A mixture ready to score rows. What does not fit a number is NaN.
pub struct Scorer {
    scale: Scale,
    densities: Densities,
    output: Output,
}

impl Scorer {
    /// The error names a component whose covariance is not positive definite: the model is damaged.
    ///
    /// # Panics
    /// If the numbers of the model do not belong together.
    pub fn new(model: &Mixture, output: Output) -> Result<Self, Error> {
        let (columns, k) = (model.scale.center.len(), model.parameters.weights.len());
        assert_eq!(model.scale.scale.len(), columns, "a scale for each column");
        assert_eq!(model.parameters.means.len(), k * columns, "a mean for each component and column");
        assert_eq!(
            model.parameters.covariances.len(),
            k * model.covariance.cells(columns),
            "a covariance for each component"
        );
        let densities = Densities::new(&model.parameters, model.covariance, columns)
            .map_err(|component| Error::NotPositiveDefinite { component, reg_covar: 0.0 })?;
        Ok(Self { scale: model.scale.clone(), densities, output })
    }
}

impl Score for Scorer {
    fn results(&self) -> usize {
        1
    }

    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]) {
        struct Run<'a> {
            densities: &'a Densities,
            cells: Cells<'a>,
            logs: &'a mut [f64],
            output: Output,
            out: &'a mut [f64],
        }

        impl Kernel for Run<'_> {
            type Output = ();

            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                let Self { densities, cells, logs, output, out } = self;
                let mut differences = Vec::new();
                for at in (0..cells.stride).step_by(LANES) {
                    let largest = densities.logs(s, cells, at, &mut differences, logs);
                    let mut result = s.splat(0.0);
                    match output {
                        Output::Label => {
                            // from the last to the first, so that the first of equals stays
                            for c in (0..densities.k).rev() {
                                let same = s.eq(s.load_at(logs, c * cells.stride + at), largest);
                                result = s.select(same, s.splat(c as f64), result);
                            }
                        }
                        Output::Score => {
                            for c in 0..densities.k {
                                let log = s.load_at(logs, c * cells.stride + at);
                                result = s.add(result, exp(s, s.sub(log, largest)));
                            }
                            let log = s.add(largest, s.load(&s.to_array(result).map(f64::ln)));
                            result = s.sub(s.splat(0.0), log);
                        }
                    }
                    let known = s.lt(s.splat(f64::NEG_INFINITY), largest);
                    s.store_at(s.select(known, result, s.splat(f64::NAN)), out, at);
                }
            }
        }

        let (stride, columns) = (tile.stride(), tile.columns());
        scratch.resize((columns + self.densities.k) * stride, 0.0);
        let (scaled, logs) = scratch.split_at_mut(columns * stride);
        for j in 0..columns {
            self.scale.convert(j, tile.column(j), &mut scaled[j * stride..(j + 1) * stride]);
        }
        let cells = Cells { data: scaled, rows: tile.rows(), stride };
        dispatch(Run { densities: &self.densities, cells, logs, output: self.output, out });
    }
}
