//! Principal components of many sensors: how far a row lies from the subspace of usual rows (SPE), and how far out in it (T2).
//!
//! Columns are scaled, `x_j = (reading - center_j) / scale_j`, and `z = x - mean`. The components `v_1 .. v_k` are the leading
//! eigenvectors of the covariance `Z'Z / (n - 1)` with eigenvalues `l_1 .. l_k`. Of a row, with scores `t_a = v_a' z`:
//! - `SPE = |r|^2`, the squared prediction error (Jackson and Mudholkar 1979), with the residual `r = z - sum t_a v_a` itself:
//!   `|z|^2 - |t|^2` would cancel where SPE is small. Without the mean added back, `r + mean` stands for r. NaN where there are as many
//!   components as columns, so that nothing is left over.
//! - `T2 = sum t_a^2 / l_a` (Hotelling 1931).
//! - Contributions of the columns: `r_j^2`, and `z_j sum_a t_a v_aj / l_a` (complete decomposition; Alcala and Qin 2011); they add up to
//!   SPE and T2. Those to T2 may be negative.
//!
//! Scales: the interquartile range (quartiles of Hyndman and Fan 1996, type 7) about the median, or the standard deviation
//! about the mean, or none. An interquartile range of 0, or no more than rounding, says that the column hardly ever moves; its
//! standard deviation stands in, lest its few changes outweigh all other columns.
//!
//! Limits at a confidence c: `T2: k (n^2 - 1) / (n (n - k)) F_c(k, n - k)` (Tracy, Young and Mason 1992, of future rows); SPE
//! by Jackson and Mudholkar, from the sums `theta_m` of the m-th powers of the other eigenvalues; where their exponent h0 is not
//! positive, by Box (1954), `theta_2 / theta_1` times a chi-squared of `theta_1^2 / theta_2` degrees.
//!
//! The covariance squares the data: what is 1e-16 of the largest eigenvalue is lost in it, and what is 1e-5 has 11 digits left.
//! So components are taken from it down to [`RATIO`] of the largest only; the data without these give the next ones. Nearly
//! singular data thus costs passes, not digits. Where there are fewer rows than columns, the same is done with `ZZ'`, whose
//! eigenvectors u give `v = Z'u`. Components end at the rank of the data.
//!
//! Cost: fit n p^2 / 2 multiplications and additions, or n^2 p / 2, and 2/3 of the smaller side cubed; scoring 2 k p per row.
//! Scores are computed for eight rows at once, all statistics in one pass; sums run over the columns in their order.

use std::fmt;

use rayon::ThreadPool;
use statrs::distribution::{ChiSquared, ContinuousCDF, FisherSnedecor, Normal};

use super::Score;
use crate::kernels::linalg::eigen::{self, dot, normalise};
use crate::kernels::linalg::gram::Gram;
use crate::kernels::linalg::project::{finite, project, squares, subtract};
use crate::kernels::matrix::{Matrix, Tile};
use crate::kernels::parallel;
use crate::kernels::selection::{interquartile_range, median};
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

/// Smallest eigenvalue, in those of the largest, that one covariance gives to 1e-11.
const RATIO: f64 = 1e-5;
/// An interquartile range below this part of the standard deviation is rounding.
const IQR_FLOOR: f64 = 1e-9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Robust,
    Standard,
    None,
}

/// Why there is no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    NoColumns,
    TooFewRows(usize),
    OutOfRange,
    Collinear,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColumns => f.write_str("no column is left: all are constant or have no readings"),
            Self::TooFewRows(rows) => write!(f, "at least 2 rows with enough readings are needed, got {rows}"),
            Self::OutOfRange => {
                f.write_str("the readings are too large or too small to be squared; rescale the columns")
            }
            Self::Collinear => f.write_str("a column is a combination of others; give `alpha` a larger value"),
        }
    }
}

impl std::error::Error for Error {}

/// A fitted model; vectors have an element for each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    pub center: Vec<f64>,
    pub scale: Vec<f64>,
    /// Of the scaled columns.
    pub mean: Vec<f64>,
    /// One vector after the other.
    pub components: Vec<f64>,
    pub eigenvalues: Vec<f64>,
    /// Sums of the first, second and third powers of the eigenvalues that are not kept.
    pub theta: [f64; 3],
    /// NaN where nothing is left over.
    pub spe_limit: f64,
    /// NaN where there are no more rows than components.
    pub t2_limit: f64,
    pub rows: usize,
}

impl Pca {
    /// At most `n_components`, fewer where the rank of the data is lower; `confidence` lies in (0, 1).
    pub fn fit(
        pool: &ThreadPool,
        matrix: Matrix<'_>,
        n_components: usize,
        scale: Scale,
        confidence: f64,
    ) -> Result<Self, Error> {
        let (n, p) = (matrix.rows(), matrix.columns());
        if p == 0 {
            return Err(Error::NoColumns);
        }
        if n < 2 {
            return Err(Error::TooFewRows(n));
        }
        let scaling = Scaling::of(pool, matrix, scale)?;
        let components = Components::of(pool, matrix, &scaling, n_components.min(p).min(n - 1))?;
        let Components { mean, vectors, values, left } = components;
        let k = values.len();
        Ok(Self {
            center: scaling.center,
            scale: scaling.scale,
            mean,
            spe_limit: left.limit(confidence),
            t2_limit: t2_limit(n, k, confidence),
            components: vectors,
            eigenvalues: values,
            theta: left.theta(),
            rows: n,
        })
    }

    pub fn columns(&self) -> usize {
        self.center.len()
    }

    /// The variance of all scaled columns.
    pub fn total_variance(&self) -> f64 {
        self.eigenvalues.iter().sum::<f64>() + self.theta[0]
    }
}

/// How columns are scaled, and an anchor near the mean of each.
struct Scaling {
    center: Vec<f64>,
    scale: Vec<f64>,
    anchor: Vec<f64>,
}

impl Scaling {
    fn of(pool: &ThreadPool, matrix: Matrix<'_>, scale: Scale) -> Result<Self, Error> {
        let (n, p) = (matrix.rows(), matrix.columns());
        let columns = parallel::map(pool, p, n * p, Vec::new, |scratch, j| {
            let x = matrix.column(j);
            match scale {
                Scale::Robust => {
                    let center = median(x, scratch);
                    let range = interquartile_range(x, scratch);
                    // the deviation is at most the span, and takes three passes to know
                    let scale = if range > IQR_FLOOR * span(x) {
                        range
                    } else {
                        let deviation = deviation(x, mean(x));
                        if range > IQR_FLOOR * deviation { range } else { deviation }
                    };
                    (center, scale, center)
                }
                Scale::Standard => {
                    let center = mean(x);
                    (center, deviation(x, center), center)
                }
                Scale::None => (0.0, 1.0, mean(x)),
            }
        });
        // a constant column, which complete data do not hold, would give an infinite factor
        let usable = |&(center, scale, anchor): &(f64, f64, f64)| {
            center.is_finite() && scale.is_finite() && anchor.is_finite() && (1.0 / scale).is_finite()
        };
        if !columns.iter().all(usable) {
            return Err(Error::OutOfRange);
        }
        Ok(Self {
            center: columns.iter().map(|c| c.0).collect(),
            scale: columns.iter().map(|c| c.1).collect(),
            anchor: columns.iter().map(|c| c.2).collect(),
        })
    }
}

/// From the least to the largest.
fn span(x: &[f64]) -> f64 {
    struct Span<'a>(&'a [f64]);

    impl Kernel for Span<'_> {
        type Output = f64;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f64 {
            let (vectors, rest) = self.0.as_chunks();
            let (mut least, mut most) = (s.splat(f64::INFINITY), s.splat(f64::NEG_INFINITY));
            for v in vectors {
                let v = s.load(v);
                (least, most) = (s.min(v, least), s.max(v, most));
            }
            let least = s.to_array(least).iter().chain(rest).copied().fold(f64::INFINITY, f64::min);
            let most = s.to_array(most).iter().chain(rest).copied().fold(f64::NEG_INFINITY, f64::max);
            most - least
        }
    }

    dispatch(Span(x))
}

/// The sum of the shares, which does not overflow.
fn mean(x: &[f64]) -> f64 {
    let share = 1.0 / x.len() as f64;
    let (vectors, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for v in vectors {
        for i in 0..LANES {
            sums[i] += v[i] * share;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|v| v * share).sum::<f64>()
}

/// The population's standard deviation.
fn deviation(x: &[f64], mean: f64) -> f64 {
    let largest = x.iter().fold(0.0_f64, |a, v| a.max((v - mean).abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let square = |v: f64| ((v - mean) / largest) * ((v - mean) / largest);
    let (vectors, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for v in vectors {
        for i in 0..LANES {
            sums[i] += square(v[i]);
        }
    }
    let sum = sums.iter().sum::<f64>() + rest.iter().map(|v| square(*v)).sum::<f64>();
    largest * (sum / x.len() as f64).sqrt()
}

struct Components {
    mean: Vec<f64>,
    vectors: Vec<f64>,
    values: Vec<f64>,
    left: Left,
}

impl Components {
    fn of(pool: &ThreadPool, matrix: Matrix<'_>, scaling: &Scaling, wanted: usize) -> Result<Self, Error> {
        let (n, p) = (matrix.rows(), matrix.columns());
        let wide = n < p;
        let (long, short) = (n.max(p), n.min(p));
        let (mean, mut products) = if wide { (scaling.means(matrix), None) } else { scaling.products(pool, matrix) };
        // the centred data, with its shorter side in columns, once it is needed
        let mut z = Vec::new();
        let (mut values, mut vectors): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut rounding = 0.0;
        let left = loop {
            if wide && z.is_empty() {
                z = scaling.centred(matrix, &mean);
            }
            let products = products.take().unwrap_or_else(|| cross(pool, &z, long, short));
            let missing = wanted - values.len();
            let mut pairs = eigen::leading(&products, short, missing).ok_or(Error::OutOfRange)?;
            if values.is_empty() {
                let sum: f64 = (0..short).map(|j| products[j * short + j]).sum();
                if sum < f64::MIN_POSITIVE / f64::EPSILON {
                    return Err(Error::OutOfRange);
                }
                // as for the rank of a matrix, singular values below this are rounding; so is what a component leaves behind,
                // whose direction the covariance knows to a rounding of the largest eigenvalue in its own
                rounding = sum * ((long as f64).max(RATIO.recip().sqrt()) * f64::EPSILON).powi(2);
            }
            let largest = pairs.values.first().copied().unwrap_or(0.0);
            let accurate = |value: &&f64| **value > rounding && **value >= RATIO * largest;
            let count = pairs.values.iter().take_while(accurate).count();
            pairs.values.truncate(count);
            pairs.vectors.truncate(count * short);
            let left = Left::of(pool, products, short, &pairs);
            let again = count > 0 && (count < missing || (left.sum < RATIO * largest && values.len() + count < short));
            if again && z.is_empty() {
                z = scaling.centred(matrix, &mean);
            }
            for vector in pairs.vectors.chunks_exact(short) {
                let mut component = vector.to_vec();
                if wide || again {
                    let image = image(&z, long, vector);
                    if again {
                        deflate(&mut z, vector, &image);
                    }
                    if wide {
                        component = image;
                    }
                }
                // what rounding left of the larger components
                if wide || !values.is_empty() {
                    for other in vectors.chunks_exact(p) {
                        let share = dot(&component, other);
                        component.iter_mut().zip(other).for_each(|(v, o)| *v -= share * o);
                    }
                    normalise(&mut component);
                }
                vectors.extend(component);
            }
            values.extend(pairs.values);
            if !again {
                break if left.sum > rounding * short as f64 && values.len() < short { left } else { Left::NOTHING };
            }
        };
        vectors.chunks_exact_mut(p).for_each(eigen::orient);
        let degrees = (n - 1) as f64;
        values.iter_mut().for_each(|value| *value /= degrees);
        let left = Left { sum: left.sum / degrees, ..left };
        if !left.theta().iter().chain(&values).chain(&mean).all(|v| v.is_finite()) {
            return Err(Error::OutOfRange);
        }
        Ok(Self { mean, vectors, values, left })
    }
}

impl Scaling {
    fn factors(&self) -> Vec<f64> {
        self.scale.iter().map(|scale| 1.0 / scale).collect()
    }

    /// Adds the distance from center to anchor.
    fn means_about_center(&self, mean_about_anchor: impl Iterator<Item = f64>) -> Vec<f64> {
        let distance = |j: usize| (self.anchor[j] - self.center[j]) / self.scale[j];
        mean_about_anchor.enumerate().map(|(j, mean)| distance(j) + mean).collect()
    }

    /// Means of the scaled columns.
    fn means(&self, matrix: Matrix<'_>) -> Vec<f64> {
        let mean = |j: usize| {
            let sum: f64 = matrix.column(j).iter().map(|v| (v - self.anchor[j]) / self.scale[j]).sum();
            sum / matrix.rows() as f64
        };
        self.means_about_center((0..matrix.columns()).map(mean))
    }

    /// Means of the scaled columns, and products about them.
    fn products(&self, pool: &ThreadPool, matrix: Matrix<'_>) -> (Vec<f64>, Option<Vec<f64>>) {
        let gram = Gram::new(pool, matrix, &self.anchor, &self.factors());
        let means = self.means_about_center(gram.sums.iter().map(|sum| sum / matrix.rows() as f64));
        (means, Some(gram.about_means()))
    }

    /// The scaled data about its means; row by row where there are fewer rows than columns.
    fn centred(&self, matrix: Matrix<'_>, mean: &[f64]) -> Vec<f64> {
        let (n, p) = (matrix.rows(), matrix.columns());
        let mut z = vec![0.0; n * p];
        for (j, factor) in self.factors().into_iter().enumerate() {
            for (i, v) in matrix.column(j).iter().enumerate() {
                z[if n < p { i * p + j } else { j * n + i }] = (v - self.center[j]) * factor - mean[j];
            }
        }
        z
    }
}

/// `Z'Z`.
fn cross(pool: &ThreadPool, z: &[f64], long: usize, short: usize) -> Vec<f64> {
    Gram::new(pool, Matrix::new(z, long, short), &vec![0.0; short], &vec![1.0; short]).products
}

/// `Z v`.
fn image(z: &[f64], long: usize, vector: &[f64]) -> Vec<f64> {
    let mut image = vec![0.0; long];
    for (column, v) in z.chunks_exact(long).zip(vector) {
        image.iter_mut().zip(column).for_each(|(sum, z)| *sum += z * v);
    }
    image
}

/// `Z - (Z v) v'`.
fn deflate(z: &mut [f64], vector: &[f64], image: &[f64]) {
    for (column, v) in z.chunks_exact_mut(image.len()).zip(vector) {
        column.iter_mut().zip(image).for_each(|(z, y)| *z -= y * v);
    }
}

/// What the components leave over: the sum of the other eigenvalues, and the sums of the squares and cubes of their shares.
#[derive(Clone, Copy)]
struct Left {
    sum: f64,
    squares: f64,
    cubes: f64,
}

impl Left {
    const NOTHING: Self = Self { sum: 0.0, squares: 0.0, cubes: 0.0 };

    /// The traces of the matrix without the pairs, of its square and of its cube.
    fn of(pool: &ThreadPool, mut matrix: Vec<f64>, p: usize, pairs: &eigen::Eigenpairs) -> Self {
        for (vector, value) in pairs.vectors.chunks_exact(p).zip(&pairs.values) {
            for (row, v) in matrix.chunks_exact_mut(p).zip(vector) {
                row.iter_mut().zip(vector).for_each(|(cell, w)| *cell -= value * (v * w));
            }
        }
        let sum: f64 = (0..p).map(|j| matrix[j * p + j]).sum();
        // rounding may leave less than nothing
        if sum <= 0.0 {
            return Self::NOTHING;
        }
        matrix.iter_mut().for_each(|cell| *cell /= sum);
        let squared = cross(pool, &matrix, p, p);
        Self {
            sum,
            squares: matrix.iter().map(|cell| cell * cell).sum(),
            cubes: matrix.iter().zip(&squared).map(|(cell, square)| cell * square).sum(),
        }
    }

    fn theta(&self) -> [f64; 3] {
        [self.sum, self.squares * self.sum * self.sum, self.cubes * self.sum * self.sum * self.sum]
    }

    /// Jackson and Mudholkar 1979, equation 3.4, in units of the sum; else Box 1954.
    fn limit(&self, confidence: f64) -> f64 {
        if self.sum == 0.0 {
            return f64::NAN;
        }
        let h = 1.0 - 2.0 * self.cubes / (3.0 * self.squares * self.squares);
        let z = Normal::standard().inverse_cdf(confidence);
        let base = z * (2.0 * self.squares * h * h).sqrt() + 1.0 + self.squares * h * (h - 1.0);
        if h > 0.0 && base > 0.0 {
            self.sum * base.powf(1.0 / h)
        } else {
            let degrees = 1.0 / self.squares;
            let chi = ChiSquared::new(degrees).map_or(f64::NAN, |chi| chi.inverse_cdf(confidence));
            self.sum * self.squares * chi
        }
    }
}

/// Of rows that were not in the fit.
fn t2_limit(n: usize, k: usize, confidence: f64) -> f64 {
    if n <= k || k == 0 {
        return f64::NAN;
    }
    let (rows, components) = (n as f64, k as f64);
    let f = FisherSnedecor::new(components, rows - components).map_or(f64::NAN, |f| f.inverse_cdf(confidence));
    components * (rows * rows - 1.0) / (rows * (rows - components)) * f
}

/// What is computed of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    Spe,
    T2,
    /// Scores on the first so many components, then SPE and T2.
    Scores(usize),
    /// To SPE of every column, then to T2 of every column.
    Contributions,
}

/// A model made ready for scoring.
pub struct Scorer<'a> {
    model: &'a Pca,
    factor: Vec<f64>,
    /// Components divided by their eigenvalues.
    weighted: Vec<f64>,
    statistic: Statistic,
    mean_back: bool,
}

impl<'a> Scorer<'a> {
    /// Without `mean_back`, SPE is that of the residual plus the mean of the scaled columns.
    pub fn new(model: &'a Pca, statistic: Statistic, mean_back: bool) -> Self {
        let p = model.columns();
        if let Statistic::Scores(count) = statistic {
            assert!(count <= model.eigenvalues.len(), "no more scores than components");
        }
        let weigh = |(i, loading): (usize, &f64)| loading / model.eigenvalues[i / p];
        Self {
            model,
            factor: model.scale.iter().map(|scale| 1.0 / scale).collect(),
            weighted: model.components.iter().enumerate().map(weigh).collect(),
            statistic,
            mean_back,
        }
    }
}

impl Score for Scorer<'_> {
    fn results(&self) -> usize {
        match self.statistic {
            Statistic::Spe | Statistic::T2 => 1,
            Statistic::Scores(count) => count + 2,
            Statistic::Contributions => 2 * self.model.columns(),
        }
    }

    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]) {
        assert_eq!(tile.columns(), self.model.columns(), "the columns of the model");
        dispatch(Rows { scorer: self, tile, scratch, out });
    }
}

struct Rows<'a> {
    scorer: &'a Scorer<'a>,
    tile: &'a Tile,
    scratch: &'a mut Vec<f64>,
    out: &'a mut [f64],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { scorer, tile, scratch, out } = self;
        let Scorer { model, factor, weighted, statistic, mean_back } = scorer;
        let (p, k, stride) = (model.columns(), model.eigenvalues.len(), tile.stride());
        scratch.resize((2 * p + k) * LANES, 0.0);
        let (z, rest) = scratch.split_at_mut(p * LANES);
        let (residual, scores) = rest.split_at_mut(p * LANES);
        for at in (0..stride).step_by(LANES) {
            standardise(s, tile, at, &model.center, factor, &model.mean, z);
            project(s, z, &model.components, scores);
            if *statistic != Statistic::T2 {
                residual.copy_from_slice(z);
                if !mean_back {
                    for (row, mean) in residual.as_chunks_mut::<LANES>().0.iter_mut().zip(&model.mean) {
                        s.store(s.add(s.load(row), s.splat(*mean)), row);
                    }
                }
                subtract(s, residual, &model.components, scores);
            }
            if p == k {
                // nothing is left over: the residual is rounding
                residual.fill(f64::NAN);
            }
            match statistic {
                Statistic::Spe => s.store_at(finite(s, squares(s, residual)), out, at),
                Statistic::T2 => s.store_at(t2(s, scores, &model.eigenvalues), out, at),
                Statistic::Scores(count) => {
                    for a in 0..*count {
                        s.store_at(finite(s, s.load_at(scores, a * LANES)), out, a * stride + at);
                    }
                    s.store_at(finite(s, squares(s, residual)), out, count * stride + at);
                    s.store_at(t2(s, scores, &model.eigenvalues), out, (count + 1) * stride + at);
                }
                Statistic::Contributions => {
                    for j in 0..p {
                        let r = s.load_at(residual, j * LANES);
                        s.store_at(finite(s, s.mul(r, r)), out, j * stride + at);
                        let mut sum = s.splat(0.0);
                        for a in 0..k {
                            sum = s.add(sum, s.mul(s.load_at(scores, a * LANES), s.splat(weighted[a * p + j])));
                        }
                        let share = finite(s, s.mul(s.load_at(z, j * LANES), sum));
                        s.store_at(share, out, (p + j) * stride + at);
                    }
                }
            }
        }
    }
}

/// `(reading - center) factor - mean` of eight rows from `at` on.
#[inline(always)]
pub(super) fn standardise<S: Simd>(
    s: S,
    tile: &Tile,
    at: usize,
    center: &[f64],
    factor: &[f64],
    mean: &[f64],
    out: &mut [f64],
) {
    for (j, row) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let distance = s.sub(s.load_at(tile.column(j), at), s.splat(center[j]));
        s.store(s.sub(s.mul(distance, s.splat(factor[j])), s.splat(mean[j])), row);
    }
}

#[inline(always)]
fn t2<S: Simd>(s: S, scores: &[f64], eigenvalues: &[f64]) -> S::V {
    let mut sum = s.splat(0.0);
    for (score, value) in scores.as_chunks::<LANES>().0.iter().zip(eigenvalues) {
        let score = s.load(score);
        sum = s.add(sum, s.div(s.mul(score, score), s.splat(*value)));
    }
    finite(s, sum)
}
