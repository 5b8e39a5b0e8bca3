//! Gaussian mixtures: a model, `-log p(x)` and the likeliest component of each row.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{POOL, error};
use crate::expressions::learning::{Detector, Learnt, ScoreKwargs, Scorer, fit, fit_field, score, score_field, single};
use crate::expressions::models::{Model, Part, Record, Value};
use crate::expressions::regimes::alignment::{Components, label_field};
use crate::kernels::detectors::Labelled;
use crate::kernels::detectors::gmm::{self, Covariance, Mixture, Output, Parameters, Params};
use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::learnt_parts;

pub struct GmmModel {
    learnt: Learnt,
    mixture: Mixture,
    /// Of each component.
    labels: Vec<i64>,
}

fn covariance_of(word: &str) -> Option<Covariance> {
    match word {
        "diag" => Some(Covariance::Diagonal),
        "full" => Some(Covariance::Full),
        _ => None,
    }
}

impl Model for GmmModel {
    const KIND: &'static str = "gmm";
    const FORMAT: i64 = 2;
    const PARTS: &'static [(&'static str, Part)] = learnt_parts!(
        "center": Numbers,
        "scale": Numbers,
        "covariance": Text,
        "weights": Numbers,
        "means": Numbers,
        "covariances": Numbers,
        "labels": Integers,
        "log_likelihood": Number,
        "bic": Number,
        "iterations": Integer,
        "converged": Flag,
        "tried_k": Integers,
        "tried_bic": Numbers,
    );

    fn to_values(&self) -> Vec<Value> {
        let Mixture { scale, covariance, parameters, log_likelihood, bic, iterations, converged, tried } =
            &self.mixture;
        let word = match covariance {
            Covariance::Diagonal => "diag",
            Covariance::Full => "full",
        };
        let (k, bics) = tried.iter().map(|&(k, bic)| (k as i64, bic)).unzip();
        self.learnt.values([
            Value::Numbers(scale.center.clone()),
            Value::Numbers(scale.scale.clone()),
            Value::Text(word.into()),
            Value::Numbers(parameters.weights.clone()),
            Value::Numbers(parameters.means.clone()),
            Value::Numbers(parameters.covariances.clone()),
            Value::Integers(self.labels.clone()),
            Value::Number(*log_likelihood),
            Value::Number(*bic),
            Value::Integer(*iterations as i64),
            Value::Flag(*converged),
            Value::Integers(k),
            Value::Numbers(bics),
        ])
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let learnt = Learnt::from_record(record)?;
        let columns = learnt.columns.len();
        let covariance = covariance_of(&record.text("covariance")?).ok_or_else(|| record.damaged("covariance"))?;
        let k = record.numbers("weights")?.len();
        if k == 0 {
            return Err(record.damaged("weights"));
        }
        let labels = record.integers("labels")?;
        if labels.len() != k {
            return Err(record.damaged("labels"));
        }
        let mixture = Mixture {
            scale: Scale { center: record.known("center", columns)?, scale: record.known("scale", columns)? },
            covariance,
            parameters: Parameters {
                weights: record.known("weights", k)?,
                means: record.known("means", k * columns)?,
                covariances: record.known("covariances", k * covariance.cells(columns))?,
            },
            log_likelihood: record.number("log_likelihood")?,
            bic: record.number("bic")?,
            iterations: record.integer("iterations")? as usize,
            converged: record.flag("converged")?,
            tried: record.integers("tried_k")?.iter().map(|&k| k as usize).zip(record.numbers("tried_bic")?).collect(),
        };
        Ok(Self { learnt, mixture, labels })
    }
}

impl Detector for GmmModel {
    fn learnt(&self) -> &Learnt {
        &self.learnt
    }
}

impl Components for GmmModel {
    fn scale(&self) -> &Scale {
        &self.mixture.scale
    }

    fn centers(&self) -> Vec<f64> {
        self.mixture.scale.restore_rows(&self.mixture.parameters.means)
    }

    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn reorder(&mut self, order: &[usize], labels: Vec<i64>) {
        let k = order.len();
        let Parameters { weights, means, covariances } = &mut self.mixture.parameters;
        for part in [weights, means, covariances] {
            let size = part.len() / k;
            *part = order.iter().flat_map(|&c| &part[c * size..(c + 1) * size]).copied().collect();
        }
        self.labels = labels;
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GmmFitKwargs {
    k_range: (usize, usize),
    covariance: String,
    scale: String,
    n_init: usize,
    max_iter: usize,
    tol: f64,
    reg_covar: f64,
    /// Weights, means and covariances.
    init: Option<(Vec<f64>, Vec<f64>, Vec<f64>)>,
    seed: u64,
    min_present: f64,
    strict: bool,
}

fn gmm_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<GmmModel>("gmm_fit", fields)
}

#[polars_expr(output_type_func=gmm_fit_field)]
fn gmm_fit(inputs: &[Series], kwargs: GmmFitKwargs) -> PolarsResult<Series> {
    const NAME: &str = "gmm_fit";
    let covariance = covariance_of(&kwargs.covariance).ok_or_else(|| {
        error(NAME, format!("`covariance` must be \"diag\" or \"full\", got {:?}", kwargs.covariance))
    })?;
    let scaling = Scaling::parse(&kwargs.scale).map_err(|e| error(NAME, e))?;
    let GmmFitKwargs { k_range, n_init, max_iter, tol, reg_covar, seed, .. } = kwargs;
    let params = Params::new(k_range, covariance, scaling, n_init, max_iter, tol, reg_covar, seed);
    let params = params.map_err(|e| error(NAME, e))?;
    let init = kwargs.init.map(|(weights, means, covariances)| Parameters { weights, means, covariances });
    fit(NAME, &inputs[0], kwargs.min_present, kwargs.strict, |matrix, learnt| {
        gmm::fit(matrix, &params, init.as_ref(), &POOL).map(|mixture| {
            let labels = (0..mixture.parameters.weights.len() as i64).collect();
            GmmModel { learnt, mixture, labels }
        })
    })
}

fn gmm_score_field(fields: &[Field]) -> PolarsResult<Field> {
    score_field::<GmmModel>("gmm_score", fields)
}

fn rows(operation: &str, inputs: &[Series], kwargs: &ScoreKwargs, output: Output) -> PolarsResult<Series> {
    single(score::<GmmModel>(operation, inputs, kwargs.unknown_is_error, 1, |model, _| {
        let scorer = gmm::Scorer::new(&model.mixture, output).map_err(|e| error(operation, e))?;
        Ok(match output {
            Output::Score => Scorer::new(scorer),
            Output::Label => Scorer::new(Labelled::new(scorer, &model.labels)),
        })
    })?)
}

#[polars_expr(output_type_func=gmm_score_field)]
fn gmm_score(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    rows("gmm_score", inputs, &kwargs, Output::Score)
}

fn gmm_label_field(fields: &[Field]) -> PolarsResult<Field> {
    label_field::<GmmModel>("gmm_label", fields)
}

#[polars_expr(output_type_func=gmm_label_field)]
fn gmm_label(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    rows("gmm_label", inputs, &kwargs, Output::Label)?.cast(&DataType::Int64)
}
