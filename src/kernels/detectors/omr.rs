//! Overall model residual: how far a row lies from what the other sensors make of it, all sensors together.
//!
//! Columns are standardised by mean and standard deviation of the train rows (of the population) and reconstructed,
//! `r = z - z^`, in one of two ways:
//! - `Pca`: by the leading principal components, at most one less than columns (partial least squares of the columns on themselves
//!   has the same solution);
//! - `Ridge`: each column by ridge regression on all others (Hoerl and Kennard 1970), `b = (X'X + alpha)^-1 X'y`. All regressions come from
//!   one inverse `P = (Z'Z + alpha)^-1`: by the inverse of a partitioned matrix, `r_j = sum_i z_i P_ij / P_jj`.
//!
//! The score is `|r| / tau`, where tau is 1.4826 times the median absolute deviation of the train rows' `|r|`, their standard deviation
//! where that is 0, and at least [`TAU_FLOOR`]. It is a ratio, not centred: usual rows score near `median(|r|) / tau`, not 0.
//!
//! Contributions: the share `r_j^2 / |r|^2`, which add up to 1, or `r_j^2 / (v_j + VARIANCE_FLOOR)` with the variance `v_j` of the
//! train rows' residuals, which tells what is unusual for that column.
//!
//! Cost: as PCA; ridge p^3 for the fit and p^2 per row.

use nalgebra::{Cholesky, DMatrix};
use rayon::ThreadPool;

use super::Score;
use super::pca::{Error, Pca, Scale, standardise};
use crate::kernels::features::scaling::NORMAL_SCALE;
use crate::kernels::linalg::gram::Gram;
use crate::kernels::linalg::project::{finite, project, squares, subtract};
use crate::kernels::matrix::{Matrix, TILE_ROWS, Tile};
use crate::kernels::parallel;
use crate::kernels::selection::median;
use crate::kernels::simd::{Kernel, LANES, Simd, dispatch};

pub const TAU_FLOOR: f64 = 1e-6;
pub const VARIANCE_FLOOR: f64 = 1e-9;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// With at most so many components.
    Pca(usize),
    /// With this penalty, at least 0.
    Ridge(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Omr {
    pub center: Vec<f64>,
    pub scale: Vec<f64>,
    pub reconstruction: Reconstruction,
    pub tau: f64,
    /// Of the train rows' residuals, one for each column.
    pub variances: Vec<f64>,
    pub rows: usize,
}

/// Vectors of one element per column, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconstruction {
    /// What is taken off: the projections on these components.
    Components(Vec<f64>),
    /// What gives the residual of each column: a row of the inverse, divided by its own element.
    Regressions(Vec<f64>),
}

impl Omr {
    pub fn fit(pool: &ThreadPool, matrix: Matrix<'_>, method: Method) -> Result<Self, Error> {
        let (n, p) = (matrix.rows(), matrix.columns());
        let components = match method {
            Method::Pca(k) => k.min(p.saturating_sub(1)),
            Method::Ridge(_) => 0,
        };
        let pca = Pca::fit(pool, matrix, components, Scale::Standard, 0.5)?;
        let reconstruction = match method {
            Method::Pca(_) => Reconstruction::Components(pca.components),
            Method::Ridge(alpha) => {
                let factor: Vec<f64> = pca.scale.iter().map(|scale| 1.0 / scale).collect();
                let products = Gram::new(pool, matrix, &pca.center, &factor).about_means();
                Reconstruction::Regressions(regressions(products, p, alpha)?)
            }
        };
        let (center, scale) = (pca.center, pca.scale);
        let mut model = Self { center, scale, reconstruction, tau: 1.0, variances: vec![0.0; p], rows: n };
        let (mut norms, sums) = model.residuals(pool, matrix);
        model.variances =
            sums.iter().map(|[sum, square]| (square - sum * sum / n as f64).max(0.0) / n as f64).collect();
        model.tau = tau(&mut norms);
        if model.tau.is_finite() && model.variances.iter().all(|v| v.is_finite()) {
            Ok(model)
        } else {
            Err(Error::OutOfRange)
        }
    }

    /// The norms of all rows, and of each column the sum of its residuals and of their squares.
    fn residuals(&self, pool: &ThreadPool, matrix: Matrix<'_>) -> (Vec<f64>, Vec<[f64; 2]>) {
        let (n, p) = (matrix.rows(), matrix.columns());
        let scorer = Scorer::new(self, Statistic::Residuals);
        let tiles = parallel::map(
            pool,
            n.div_ceil(TILE_ROWS),
            n * p,
            || (Tile::default(), Vec::new(), Vec::new()),
            |(tile, scratch, out), i| {
                let rows = i * TILE_ROWS..n.min((i + 1) * TILE_ROWS);
                tile.resize(rows.len(), p);
                (0..p).for_each(|j| tile.column_mut(j).copy_from_slice(&matrix.column(j)[rows.clone()]));
                tile.pad();
                out.resize(p * tile.stride(), 0.0);
                scorer.score(tile, scratch, out);
                let mut norms = vec![0.0; rows.len()];
                let sums: Vec<[f64; 2]> = out
                    .chunks_exact(tile.stride())
                    .map(|column| {
                        let mut sums = [0.0; 2];
                        for (norm, r) in norms.iter_mut().zip(column) {
                            *norm += r * r;
                            sums = [sums[0] + r, sums[1] + r * r];
                        }
                        sums
                    })
                    .collect();
                norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
                (norms, sums)
            },
        );
        let mut all = vec![[0.0; 2]; p];
        for (_, sums) in &tiles {
            all.iter_mut().zip(sums).for_each(|(all, sums)| *all = [all[0] + sums[0], all[1] + sums[1]]);
        }
        (tiles.into_iter().flat_map(|(norms, _)| norms).collect(), all)
    }
}

/// Row j of the result gives the residual of column j.
fn regressions(products: Vec<f64>, p: usize, alpha: f64) -> Result<Vec<f64>, Error> {
    let mut matrix = DMatrix::from_vec(p, p, products);
    let largest = matrix.diagonal().max();
    for j in 0..p {
        matrix[(j, j)] += alpha;
    }
    let inverse = Cholesky::new(matrix).ok_or(Error::Collinear)?.inverse();
    // what a column has of its own, 1 / P_jj, must stand out of rounding
    let own = |j: usize| 1.0 / inverse[(j, j)];
    let stand_out = (0..p).all(|j| own(j) > p as f64 * f64::EPSILON * largest);
    if !stand_out {
        return Err(Error::Collinear);
    }
    Ok((0..p).flat_map(|j| inverse.column(j).iter().map(|v| v * own(j)).collect::<Vec<_>>()).collect())
}

fn tau(norms: &mut [f64]) -> f64 {
    let n = norms.len() as f64;
    let mean = norms.iter().sum::<f64>() / n;
    let deviation = (norms.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
    let scratch = &mut Vec::new();
    let center = median(norms, scratch);
    norms.iter_mut().for_each(|v| *v = (*v - center).abs());
    let mad = NORMAL_SCALE * median(norms, scratch);
    (if mad > 0.0 { mad } else { deviation }).max(TAU_FLOOR)
}

/// What is computed of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    Score {
        /// Larger scores become this.
        clip: f64,
    },
    /// Of every column; NaN where the row is reconstructed exactly.
    Shares,
    /// Squares in units of the train variance, of every column.
    Scaled,
    Residuals,
}

/// A model made ready for scoring.
pub struct Scorer<'a> {
    model: &'a Omr,
    factor: Vec<f64>,
    no_mean: Vec<f64>,
    statistic: Statistic,
}

impl<'a> Scorer<'a> {
    pub fn new(model: &'a Omr, statistic: Statistic) -> Self {
        let factor: Vec<f64> = model.scale.iter().map(|scale| 1.0 / scale).collect();
        Self { model, no_mean: vec![0.0; factor.len()], factor, statistic }
    }
}

impl Score for Scorer<'_> {
    fn results(&self) -> usize {
        if matches!(self.statistic, Statistic::Score { .. }) { 1 } else { self.factor.len() }
    }

    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]) {
        assert_eq!(tile.columns(), self.factor.len(), "the columns of the model");
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
        let Scorer { model, factor, no_mean, statistic } = scorer;
        let (p, stride) = (factor.len(), tile.stride());
        scratch.resize(2 * p * LANES, 0.0);
        let (z, other) = scratch.split_at_mut(p * LANES);
        for at in (0..stride).step_by(LANES) {
            standardise(s, tile, at, &model.center, factor, no_mean, z);
            let residual: &[f64] = match &model.reconstruction {
                Reconstruction::Components(components) => {
                    let scores = &mut other[..components.len() / p * LANES];
                    project(s, z, components, scores);
                    subtract(s, z, components, scores);
                    z
                }
                Reconstruction::Regressions(rows) => {
                    project(s, z, rows, other);
                    other
                }
            };
            let square = squares(s, residual);
            if let Statistic::Score { clip } = statistic {
                let score = s.div(s.sqrt(square), s.splat(model.tau));
                // where it is NaN or infinite, there is none to clip
                s.store_at(s.min(s.splat(*clip), finite(s, score)), out, at);
                continue;
            }
            for j in 0..p {
                let r = s.load_at(residual, j * LANES);
                let result = match statistic {
                    Statistic::Shares => s.div(s.mul(r, r), square),
                    Statistic::Scaled => s.div(s.mul(r, r), s.splat(model.variances[j] + VARIANCE_FLOOR)),
                    Statistic::Residuals | Statistic::Score { .. } => r,
                };
                s.store_at(finite(s, result), out, j * stride + at);
            }
        }
    }
}
