//! Operating regimes: the states a machine is run in, how sure a row's state is, and whether a row is in none of them.
//!
//! A fit has two steps. First the regimes are found, on at most `max_fit_rows` rows that are spread evenly over time: by HDBSCAN, by a
//! Gaussian mixture whose number of components has the least BIC, or by k-means whose number of clusters has the largest
//! silhouette. `Auto` takes the first of the three whose result is fit for use, and says why ([`Choice`]):
//!
//! - HDBSCAN if it finds at least one and at most the largest allowed number of clusters, no more than half of the rows are
//!   noise, and the mean of relative validity and persistence (persistence alone where validity is not positive) is at least 0.05;
//! - the mixture if the range of BIC over its numbers of components is at least 10 (Kass and Raftery 1995: very strong evidence);
//! - k-means otherwise.
//!
//! Then, however they were found, each regime c becomes a normal distribution of the basis: a weight, a mean, a full covariance.
//!
//! ```text
//! label = argmax_c w_c N(y; m_c, S_c)      confidence = w_label N(y; ...) / sum_c w_c N(y; ...)
//! novel: (y - m)' S^-1 (y - m) of the label above that of `distance_percentile` percent of the label's train rows
//! ```
//!
//! One predictor for train and later rows, each row by itself. Regimes are numbered from the largest weight on. The basis y is
//! the scaled columns, or their leading principal components. `reg_covar` is added to the variances of y.
//!
//! This is not what ACM does: there, rows that HDBSCAN is not sure of get the number of a component of an unrelated mixture.
//!
//! Cost: of the first step that of its method; the second takes `n k d^2` for d columns of the basis.

use std::fmt;
use std::ops::Range;

use rayon::ThreadPool;

use super::{hdbscan, kmeans, silhouette};
use crate::kernels::detectors::Score;
use crate::kernels::detectors::gmm::{self, Covariance, Densities, Parameters};
use crate::kernels::detectors::pca::{self, Pca};
use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::kernels::elementary::exp;
use crate::kernels::matrix::{Cells, Matrix, TILE_ROWS, Tile};
use crate::kernels::parallel;
use crate::kernels::params::{ParamError, check, number};
use crate::kernels::selection::quantile;
use crate::kernels::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// HDBSCAN's clusters are not regimes if more rows than this are in none of them, or their quality is below.
const MOST_NOISE: f64 = 0.5;
const LEAST_QUALITY: f64 = 0.05;
/// A range of BIC below this is no evidence for any number of components.
const BIC_RANGE: f64 = 10.0;
/// Rows of which silhouettes are taken, at most.
const SILHOUETTE_ROWS: usize = 4_000;
/// Starts and rounds of mixtures and k-means: the cost is small against that of a wrong regime.
const N_INIT: usize = 5;
const MAX_ITER: usize = 300;
const GMM_TOL: f64 = 1e-3;
const KMEANS_TOL: f64 = 1e-4;
/// Smallest cluster of HDBSCAN where none is asked for: two percent of the rows, at least ten.
const CLUSTER_SHARE: usize = 50;
const LEAST_CLUSTER: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Auto,
    Hdbscan,
    Gmm,
    KMeans,
}

impl Method {
    pub fn parse(word: &str) -> Result<Self, ParamError> {
        match word {
            "auto" => Ok(Self::Auto),
            "hdbscan" => Ok(Self::Hdbscan),
            "gmm" => Ok(Self::Gmm),
            "kmeans" => Ok(Self::KMeans),
            _ => {
                Err(ParamError(format!("`method` must be \"auto\", \"hdbscan\", \"gmm\" or \"kmeans\", got {word:?}")))
            }
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hdbscan => "hdbscan",
            Self::Gmm => "gmm",
            Self::KMeans => "kmeans",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Params {
    pub method: Method,
    pub k_range: (usize, usize),
    /// None: two percent of the rows, at least ten.
    pub min_cluster_size: Option<usize>,
    /// None: a tenth of the smallest cluster, at least three.
    pub min_samples: Option<usize>,
    pub max_fit_rows: usize,
    /// None: the scaled columns are the basis.
    pub n_components: Option<usize>,
    pub distance_percentile: f64,
    pub reg_covar: f64,
    pub scaling: Scaling,
    pub seed: u64,
}

impl Params {
    pub fn check(self) -> Result<Self, ParamError> {
        let (least, most) = self.k_range;
        check(1 <= least && least <= most, || {
            format!("`k_range` must be ascending numbers >= 1, got ({least}, {most})")
        })?;
        for (name, value, least) in [
            ("min_cluster_size", self.min_cluster_size, 2),
            ("min_samples", self.min_samples, 1),
            ("max_fit_rows", Some(self.max_fit_rows), 10),
            ("n_components", self.n_components, 1),
        ] {
            check(value.is_none_or(|value| value >= least), || {
                format!("`{name}` must be >= {least}, got {}", value.unwrap_or(0))
            })?;
        }
        check(self.distance_percentile > 0.0 && self.distance_percentile <= 100.0, || {
            format!("`distance_percentile` must be > 0 and <= 100, got {}", self.distance_percentile)
        })?;
        number("reg_covar", self.reg_covar, true)?;
        Ok(self)
    }
}

/// Why there are no regimes: what each method that was tried says.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// How the regimes were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub method: Method,
    /// Why this method, in words.
    pub reason: String,
    /// What `quality` is: "validity and persistence", "persistence", "bic" or "silhouette".
    pub metric: &'static str,
    pub quality: f64,
    /// Share of the rows at hand that were in no cluster.
    pub noise: f64,
    pub rows: usize,
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Regimes {
    pub scale: Scale,
    /// Principal components, one after the other; empty if the basis is the scaled columns.
    pub components: Vec<f64>,
    /// Of the basis.
    pub parameters: Parameters,
    /// Of each regime; 0, 1, ... unless they have been aligned with those of another model.
    pub labels: Vec<i64>,
    /// Largest squared distance of a usual row, of each regime.
    pub limits: Vec<f64>,
    /// Train rows of each regime.
    pub sizes: Vec<usize>,
    /// Means of the train rows of each regime in the units of the readings, regime by regime.
    pub centers: Vec<f64>,
    pub choice: Choice,
}

/// What a method found in some rows of the basis.
struct Found {
    parameters: Parameters,
    choice: Choice,
    /// Why it is not fit for use, if so.
    doubt: Option<String>,
}

pub fn fit(matrix: Matrix<'_>, params: &Params, pool: &ThreadPool) -> Result<Regimes, Error> {
    let (n, p) = (matrix.rows(), matrix.columns());
    if n < 2 || p == 0 {
        return Err(Error(format!("regimes need at least 2 rows and a column to learn from, got {n} and {p}")));
    }
    let scale = Scale::fit(matrix, params.scaling, pool);
    let mut z = vec![0.0; n * p];
    parallel::each(pool, z.chunks_exact_mut(n), n * p, || (), |(), j, out| scale.convert(j, matrix.column(j), out));
    let components = match params.n_components {
        None => Vec::new(),
        Some(count) => {
            let pca = Pca::fit(pool, Matrix::new(&z, n, p), count, pca::Scale::None, 0.5);
            pca.map_err(|e| Error(e.to_string()))?.components
        }
    };
    let basis = if components.is_empty() { z } else { projected(&z, n, &components, pool) };
    let d = basis.len() / n;
    let rows = spread(n, params.max_fit_rows);
    let some: Vec<f64> = basis.chunks_exact(n).flat_map(|column| rows.iter().map(|&i| column[i])).collect();
    let sample = Matrix::new(&some, rows.len(), d);
    let Found { parameters, choice, .. } = find(sample, params, pool)?;
    let parameters = sorted(parameters, d);
    let k = parameters.weights.len();
    let mut model = Regimes {
        scale,
        components,
        parameters,
        labels: Vec::new(),
        limits: vec![f64::INFINITY; k],
        sizes: vec![0; k],
        centers: Vec::new(),
        choice,
    };
    let (regime_of, distances) = loop {
        let (labels, distances) = model.of_train(matrix, pool)?;
        model.sizes.fill(0);
        labels.iter().filter(|label| !label.is_nan()).for_each(|label| model.sizes[*label as usize] += 1);
        if !model.sizes.contains(&0) {
            break (labels, distances);
        }
        // a component that is the likeliest of no row is no regime
        model.retain_with_rows(d);
        if model.sizes.is_empty() {
            return Err(Error(
                "no row lies near a regime: their squares do not fit a number; remove the outliers".into(),
            ));
        }
    };
    let k = model.sizes.len();
    let mut own = vec![Vec::new(); k];
    for (label, distance) in regime_of.iter().zip(&distances).filter(|(label, _)| !label.is_nan()) {
        own[*label as usize].push(*distance);
    }
    let scratch = &mut Vec::new();
    model.limits = own.iter().map(|own| quantile(own, params.distance_percentile / 100.0, scratch)).collect();
    let means = parallel::map(
        pool,
        p,
        n * p,
        || (),
        |(), j| {
            let mut means = vec![0.0; k];
            for (v, label) in matrix.column(j).iter().zip(&regime_of).filter(|(_, label)| !label.is_nan()) {
                // shares, which do not overflow
                means[*label as usize] += v / model.sizes[*label as usize] as f64;
            }
            means
        },
    );
    model.centers = (0..k).flat_map(|c| means.iter().map(move |means| means[c])).collect();
    model.labels = (0..model.sizes.len() as i64).collect();
    Ok(model)
}

/// At most `most` of `n` rows, spread evenly over time.
fn spread(n: usize, most: usize) -> Vec<usize> {
    let count = n.min(most);
    (0..count).map(|i| (i as u128 * n as u128 / count as u128) as usize).collect()
}

/// Scores on the components, column by column.
fn projected(z: &[f64], n: usize, components: &[f64], pool: &ThreadPool) -> Vec<f64> {
    let p = z.len() / n;
    let mut out = vec![0.0; components.len() / p * n];
    let work = out.len() * p;
    parallel::each(
        pool,
        out.chunks_exact_mut(n),
        work,
        || (),
        |(), a, out| {
            for (column, loading) in z.chunks_exact(n).zip(&components[a * p..(a + 1) * p]) {
                out.iter_mut().zip(column).for_each(|(out, z)| *out += z * loading);
            }
        },
    );
    out
}

/// The largest weight first, the first of equals.
fn sorted(parameters: Parameters, d: usize) -> Parameters {
    let mut order: Vec<usize> = (0..parameters.weights.len()).collect();
    order.sort_by(|&a, &b| parameters.weights[b].total_cmp(&parameters.weights[a]));
    ordered(&parameters, d, &order)
}

/// Some components in this order.
fn ordered(parameters: &Parameters, d: usize, order: &[usize]) -> Parameters {
    Parameters {
        weights: parts(&parameters.weights, 1, order),
        means: parts(&parameters.means, d, order),
        covariances: parts(&parameters.covariances, d * d, order),
    }
}

/// Parts of so many elements in this order.
fn parts<T: Copy>(from: &[T], size: usize, order: &[usize]) -> Vec<T> {
    order.iter().flat_map(|&c| &from[c * size..(c + 1) * size]).copied().collect()
}

fn find(rows: Matrix<'_>, params: &Params, pool: &ThreadPool) -> Result<Found, Error> {
    let mut rejected = String::new();
    let methods: &[Method] = match params.method {
        Method::Auto => &[Method::Hdbscan, Method::Gmm, Method::KMeans],
        Method::Hdbscan => &[Method::Hdbscan],
        Method::Gmm => &[Method::Gmm],
        Method::KMeans => &[Method::KMeans],
    };
    for &method in methods {
        let found = match method {
            Method::Hdbscan => by_hdbscan(rows, params, pool),
            Method::Gmm => by_gmm(rows, params, pool),
            _ => by_kmeans(rows, params, pool),
        };
        let doubt = match found {
            // the method that was asked for, or the last resort
            Ok(Found { parameters, mut choice, doubt }) if doubt.is_none() || Some(&method) == methods.last() => {
                choice.reason = format!("{rejected}{}", choice.reason);
                if let Some(doubt) = doubt {
                    choice.reason += &format!("; low quality: {doubt}");
                }
                return Ok(Found { parameters, choice, doubt: None });
            }
            Ok(found) => found.doubt.unwrap_or_default(),
            Err(error) => error.0,
        };
        rejected += &format!("not {}: {doubt}; ", method.as_str());
    }
    Err(Error(format!("no regimes were found ({})", rejected.trim_end_matches("; "))))
}

fn by_hdbscan(rows: Matrix<'_>, params: &Params, pool: &ThreadPool) -> Result<Found, Error> {
    let n = rows.rows();
    let size = params.min_cluster_size.unwrap_or((n / CLUSTER_SHARE).max(LEAST_CLUSTER));
    let samples = params.min_samples.unwrap_or((size / 10).max(3));
    let settings = hdbscan::Params::new(size, samples, 0.0, hdbscan::Method::Mass, true, Scaling::None);
    let model =
        settings.map_err(|e| e.0).and_then(|settings| hdbscan::fit(rows, &settings, pool).map_err(|e| e.to_string()));
    let model = model.map_err(Error)?;
    let k = model.sizes.len();
    if k == 0 {
        return Err(Error("it found no cluster; a smaller `min_cluster_size` finds smaller ones".into()));
    }
    let noise = model.labels.iter().filter(|label| **label < 0).count() as f64 / n as f64;
    let persistence = model.persistence.iter().sum::<f64>() / k as f64;
    let (metric, quality) = if model.relative_validity > 0.0 {
        ("validity and persistence", (model.relative_validity + persistence) / 2.0)
    } else {
        ("persistence", persistence)
    };
    let doubt = if k > params.k_range.1 {
        Some(format!("it found {k} clusters, `k_range` allows {}", params.k_range.1))
    } else if noise > MOST_NOISE {
        Some(format!("{:.0} % of the rows are in no cluster", noise * 100.0))
    } else if k > 1 && quality < LEAST_QUALITY {
        Some(format!("its quality is {quality:.3}, below {LEAST_QUALITY}"))
    } else {
        None
    };
    let labels: Vec<Option<usize>> = model.labels.iter().map(|&label| usize::try_from(label).ok()).collect();
    let reason = format!("hdbscan found {k} {}, {:.0} % of the rows in none", clusters(k), noise * 100.0);
    Ok(Found {
        parameters: moments(rows, &labels, k, params.reg_covar),
        choice: Choice { method: Method::Hdbscan, reason, metric, quality, noise, rows: n },
        doubt,
    })
}

/// In the words of this operation's parameters.
fn too_many(error: &kmeans::Error) -> Error {
    Error(match error {
        kmeans::Error::FewRows { k, distinct } => {
            format!(
                "{k} clusters need {k} different rows, but there are only {distinct}; lower `k_range`, or remove \
                 outliers beside which all others are equal"
            )
        }
        error => error.to_string(),
    })
}

/// What a choice at the upper end says.
fn at_the_end(k: usize, most: usize) -> &'static str {
    if k == most { ", the upper end: more might fit better still" } else { "" }
}

fn clusters(k: usize) -> &'static str {
    if k == 1 { "cluster" } else { "clusters" }
}

fn by_gmm(rows: Matrix<'_>, params: &Params, pool: &ThreadPool) -> Result<Found, Error> {
    let Params { k_range: (least, most), reg_covar, seed, .. } = *params;
    // three rows for every component
    let most = most.min(rows.rows() / 3);
    if most < least {
        return Err(Error(format!("{least} components need {} rows, there are {}", 3 * least, rows.rows())));
    }
    let settings =
        gmm::Params::new((least, most), Covariance::Full, Scaling::None, N_INIT, MAX_ITER, GMM_TOL, reg_covar, seed);
    let settings = settings.map_err(|e| Error(e.0))?;
    let mixture = gmm::fit(rows, &settings, None, pool).map_err(|error| match error {
        gmm::Error::Start(error) => too_many(&error),
        error => Error(error.to_string()),
    })?;
    let k = mixture.parameters.weights.len();
    let most = mixture.tried.last().map_or(most, |(k, _)| *k);
    let worst = mixture.tried.iter().map(|(_, bic)| *bic).fold(f64::NEG_INFINITY, f64::max);
    let doubt = (least < most && worst - mixture.bic < BIC_RANGE).then(|| {
        format!("BIC differs by {:.1} between {least} and {most} components, which says nothing", worst - mixture.bic)
    });
    let reason = if least == most {
        format!("gmm of {k} components, as `k_range` asks")
    } else {
        format!("gmm has its least BIC at {k} of {least} to {most} components{}", at_the_end(k, most))
    };
    Ok(Found {
        parameters: mixture.parameters,
        choice: Choice {
            method: Method::Gmm,
            reason,
            metric: "bic",
            quality: mixture.bic,
            noise: 0.0,
            rows: rows.rows(),
        },
        doubt,
    })
}

fn by_kmeans(rows: Matrix<'_>, params: &Params, pool: &ThreadPool) -> Result<Found, Error> {
    let (n, d) = (rows.rows(), rows.columns());
    let (least, most) = params.k_range;
    let sample = (n > SILHOUETTE_ROWS).then_some((SILHOUETTE_ROWS, params.seed));
    let settings = silhouette::Params::new(silhouette::Metric::Euclidean, Scaling::None, 1.0, sample);
    let settings = settings.map_err(|e| Error(e.0))?;
    let as_it_is = Scale { center: vec![0.0; d], scale: vec![1.0; d] };
    let mut best: Option<(f64, usize, Vec<Option<usize>>)> = None;
    let mut problem = None;
    for k in least..=most {
        let rule = kmeans::Params::new(k, N_INIT, MAX_ITER, KMEANS_TOL, params.seed).map_err(|e| Error(e.0))?;
        let model = match kmeans::fit(rows, &rule, None, pool) {
            Ok(model) => model,
            // as many clusters as there are different rows, but no more
            Err(error) => {
                problem = Some(too_many(&error));
                break;
            }
        };
        let nearest = kmeans::Nearest::new(&as_it_is, &model.centers, kmeans::Output::Label);
        let labels: Vec<Option<usize>> =
            scored(rows, &nearest, pool).iter().map(|label| (!label.is_nan()).then_some(*label as usize)).collect();
        let of = labels.iter().map(|label| label.map(|label| label as u32)).collect::<Vec<_>>();
        let cells = (0..d).flat_map(|j| rows.column(j).iter().copied()).collect();
        let quality = silhouette::mean(cells, &of, &settings, pool);
        if best.as_ref().is_none_or(|(most, ..)| quality > *most || most.is_nan()) {
            best = Some((quality, k, labels));
        }
    }
    let Some((quality, k, labels)) = best else {
        return Err(problem.unwrap_or_else(|| Error("`k_range` is empty".into())));
    };
    let reason = if least == most {
        format!("kmeans of {k} clusters, as `k_range` asks")
    } else {
        format!("kmeans has its largest silhouette at {k} of {least} to {most} clusters{}", at_the_end(k, most))
    };
    Ok(Found {
        parameters: moments(rows, &labels, k, params.reg_covar),
        choice: Choice { method: Method::KMeans, reason, metric: "silhouette", quality, noise: 0.0, rows: n },
        doubt: (k > 1 && quality < 0.15).then(|| format!("its silhouette is {quality:.3}, below 0.15")),
    })
}

/// Weights, means and covariances of the rows of each cluster.
fn moments(rows: Matrix<'_>, labels: &[Option<usize>], k: usize, reg_covar: f64) -> Parameters {
    let d = rows.columns();
    let mut counts = vec![0.0; k];
    labels.iter().flatten().for_each(|&c| counts[c] += 1.0);
    let all: f64 = counts.iter().sum();
    let mut means = vec![0.0; k * d];
    for j in 0..d {
        for (v, c) in rows.column(j).iter().zip(labels).filter_map(|(v, c)| Some((v, (*c)?))) {
            means[c * d + j] += v / counts[c];
        }
    }
    let mut covariances = vec![0.0; k * d * d];
    let mut difference = vec![0.0; d];
    for (row, c) in labels.iter().enumerate().filter_map(|(row, c)| Some((row, (*c)?))) {
        for (j, difference) in difference.iter_mut().enumerate() {
            *difference = rows.column(j)[row] - means[c * d + j];
        }
        for (i, x) in difference.iter().map(|x| x / counts[c]).enumerate() {
            let sums = &mut covariances[c * d * d + i * d..][..=i];
            sums.iter_mut().zip(&difference).for_each(|(sum, y)| *sum += x * y);
        }
    }
    for covariance in covariances.chunks_exact_mut(d * d) {
        for i in 0..d {
            covariance[i * d + i] += reg_covar;
            for j in 0..i {
                covariance[j * d + i] = covariance[i * d + j];
            }
        }
    }
    Parameters { weights: counts.iter().map(|count| count / all).collect(), means, covariances }
}

/// All results of each row, one result after the other.
fn scored(matrix: Matrix<'_>, score: &dyn Score, pool: &ThreadPool) -> Vec<f64> {
    let (n, p) = (matrix.rows(), matrix.columns());
    let tiles: Vec<Range<usize>> = (0..n).step_by(TILE_ROWS).map(|at| at..n.min(at + TILE_ROWS)).collect();
    let parts = parallel::map(pool, tiles.len(), n * p, <(Tile, Vec<f64>)>::default, |(tile, scratch), t| {
        let rows = tiles[t].clone();
        tile.resize(rows.len(), p);
        for j in 0..p {
            tile.column_mut(j).copy_from_slice(&matrix.column(j)[rows.clone()]);
        }
        tile.pad();
        let mut out = vec![0.0; score.results() * tile.stride()];
        score.score(tile, scratch, &mut out);
        (out, rows.len(), tile.stride())
    });
    (0..score.results())
        .flat_map(|r| parts.iter().flat_map(move |(out, rows, stride)| &out[r * stride..r * stride + rows]))
        .copied()
        .collect()
}

impl Regimes {
    /// Regime `order[i]` becomes regime i, with label `labels[i]`.
    pub fn reorder(&mut self, order: &[usize], labels: Vec<i64>) {
        let k = self.sizes.len();
        let (d, p) = (self.parameters.means.len() / k, self.centers.len() / k);
        self.parameters = ordered(&self.parameters, d, order);
        self.limits = parts(&self.limits, 1, order);
        self.sizes = parts(&self.sizes, 1, order);
        self.centers = parts(&self.centers, p, order);
        self.labels = labels;
    }

    fn retain_with_rows(&mut self, d: usize) {
        let kept: Vec<usize> = (0..self.sizes.len()).filter(|&c| self.sizes[c] > 0).collect();
        self.parameters = ordered(&self.parameters, d, &kept);
        let all: f64 = self.parameters.weights.iter().sum();
        self.parameters.weights.iter_mut().for_each(|weight| *weight /= all);
        self.sizes.truncate(kept.len());
        self.limits.truncate(kept.len());
    }

    fn of_train(&self, matrix: Matrix<'_>, pool: &ThreadPool) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let scorer = Scorer::new(self, Output::Distance)?;
        let mut labels = scored(matrix, &scorer, pool);
        let distances = labels.split_off(2 * matrix.rows());
        labels.truncate(matrix.rows());
        Ok((labels, distances))
    }
}

/// What a row gets besides its label and its confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The squared distance from the regime's mean.
    Distance,
    /// 1 if it is in none of the regimes, else 0.
    Novelty,
    /// The same, and the label of a novel row is -1.
    Unknown,
}

/// Regimes ready for rows.
pub struct Scorer<'a> {
    model: &'a Regimes,
    densities: Densities,
    output: Output,
}

impl<'a> Scorer<'a> {
    pub fn new(model: &'a Regimes, output: Output) -> Result<Self, Error> {
        let d = model.parameters.means.len() / model.parameters.weights.len();
        let densities = Densities::new(&model.parameters, Covariance::Full, d)
            .map_err(|c| Error(format!("the covariance of regime {c} is not positive definite")))?;
        Ok(Self { model, densities, output })
    }
}

impl Score for Scorer<'_> {
    fn results(&self) -> usize {
        3
    }

    fn score(&self, tile: &Tile, scratch: &mut Vec<f64>, out: &mut [f64]) {
        let (stride, p, k) = (tile.stride(), tile.columns(), self.model.limits.len());
        let d = if self.model.components.is_empty() { p } else { self.model.components.len() / p };
        scratch.clear();
        scratch.resize((p + d + k) * stride, 0.0);
        let (z, rest) = scratch.split_at_mut(p * stride);
        let (basis, logs) = rest.split_at_mut(d * stride);
        for (j, z) in z.chunks_exact_mut(stride).enumerate() {
            self.model.scale.convert(j, tile.column(j), z);
        }
        let data = if self.model.components.is_empty() {
            &*z
        } else {
            for (loadings, y) in self.model.components.chunks_exact(p).zip(basis.chunks_exact_mut(stride)) {
                for (z, loading) in z.chunks_exact(stride).zip(loadings) {
                    y.iter_mut().zip(z).for_each(|(y, z)| *y += z * loading);
                }
            }
            &*basis
        };
        let cells = Cells { data, rows: tile.rows(), stride };
        dispatch(Run { densities: &self.densities, cells, logs, out });
        if self.output != Output::Distance {
            let (labels, rest) = out.split_at_mut(stride);
            for (label, third) in labels.iter_mut().zip(&mut rest[stride..]).filter(|(label, _)| !label.is_nan()) {
                let c = *label as usize;
                let novel = *third > self.model.limits[c];
                *third = f64::from(u8::from(novel));
                *label = if novel && self.output == Output::Unknown { -1.0 } else { self.model.labels[c] as f64 };
            }
        }
    }
}

struct Run<'a> {
    densities: &'a Densities,
    cells: Cells<'a>,
    logs: &'a mut [f64],
    out: &'a mut [f64],
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { densities, cells, logs, out } = self;
        let (k, stride) = (densities.k(), cells.stride);
        let mut differences: Vec<Lanes> = Vec::new();
        for at in (0..stride).step_by(LANES) {
            let largest = densities.logs(s, cells, at, &mut differences, logs);
            let (mut label, mut peak, mut sum) = (s.splat(0.0), s.splat(0.0), s.splat(0.0));
            // from the last to the first, so that the first of equals stays
            for c in (0..k).rev() {
                let log = s.load_at(logs, c * stride + at);
                let same = s.eq(log, largest);
                label = s.select(same, s.splat(c as f64), label);
                peak = s.select(same, s.splat(densities.peak(c)), peak);
                sum = s.add(sum, exp(s, s.sub(log, largest)));
            }
            let distance = s.mul(s.splat(2.0), s.sub(peak, largest));
            let known = s.lt(s.splat(f64::NEG_INFINITY), largest);
            let nan = s.splat(f64::NAN);
            s.store_at(s.select(known, label, nan), out, at);
            s.store_at(s.select(known, s.div(s.splat(1.0), sum), nan), out, stride + at);
            s.store_at(s.select(known, s.max(distance, s.splat(0.0)), nan), out, 2 * stride + at);
        }
    }
}
