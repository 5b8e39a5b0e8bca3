//! Overall model residual: the model as lists, and what is computed of each row.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use super::pca::{components, named};
use crate::expressions::io::{POOL, error, struct_columns};
use crate::expressions::learning::{
    Detector, Learnt, Scorer, fit, fit_field, numeric_fields, score, score_dtype, score_field, single,
};
use crate::expressions::models::{Model, Part, Record, Value, check_dtype};
use crate::kernels::detectors::omr::{self as kernel, Method, Omr, Reconstruction, Statistic};
use crate::kernels::params::number;

struct OmrModel {
    learnt: Learnt,
    omr: Omr,
}

impl Model for OmrModel {
    const KIND: &'static str = "omr";
    const FORMAT: i64 = 1;
    const PARTS: &'static [(&'static str, Part)] = crate::learnt_parts![
        "center": Numbers,
        "scale": Numbers,
        "method": Text,
        "vectors": Numbers,
        "tau": Number,
        "variances": Numbers,
    ];

    fn to_values(&self) -> Vec<Value> {
        let Omr { center, scale, reconstruction, tau, variances, .. } = &self.omr;
        let (method, vectors) = match reconstruction {
            Reconstruction::Components(vectors) => ("pca", vectors),
            Reconstruction::Regressions(vectors) => ("ridge", vectors),
        };
        self.learnt.values([
            Value::Numbers(center.clone()),
            Value::Numbers(scale.clone()),
            Value::Text(method.into()),
            Value::Numbers(vectors.clone()),
            Value::Number(*tau),
            Value::Numbers(variances.clone()),
        ])
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let learnt = Learnt::from_record(record)?;
        let p = learnt.columns.len();
        let vectors = record.numbers("vectors")?;
        let reconstruction = match record.text("method")?.as_str() {
            "pca" if vectors.len().is_multiple_of(p) && vectors.len() <= p * p => Reconstruction::Components(vectors),
            "ridge" if vectors.len() == p * p => Reconstruction::Regressions(vectors),
            "pca" | "ridge" => return Err(record.damaged("vectors")),
            _ => return Err(record.damaged("method")),
        };
        let omr = Omr {
            center: record.known("center", p)?,
            scale: record.known("scale", p)?,
            reconstruction,
            tau: record.number("tau")?,
            variances: record.known("variances", p)?,
            rows: learnt.rows,
        };
        Ok(Self { learnt, omr })
    }
}

impl Detector for OmrModel {
    fn learnt(&self) -> &Learnt {
        &self.learnt
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FitKwargs {
    method: String,
    n_components: i64,
    alpha: f64,
    min_present: f64,
    strict: bool,
}

fn omr_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<OmrModel>("omr_fit", fields)
}

#[polars_expr(output_type_func=omr_fit_field)]
fn omr_fit(inputs: &[Series], kwargs: FitKwargs) -> PolarsResult<Series> {
    const NAME: &str = "omr_fit";
    let n_components = components(NAME, kwargs.n_components)?;
    number("alpha", kwargs.alpha, false).map_err(|e| error(NAME, e))?;
    let method = match kwargs.method.as_str() {
        "pca" => Method::Pca(n_components),
        "ridge" => Method::Ridge(kwargs.alpha),
        other => return Err(error(NAME, format!("`method` must be \"pca\" or \"ridge\", got {other:?}"))),
    };
    fit(NAME, &inputs[0], kwargs.min_present, kwargs.strict, |matrix, learnt| {
        Omr::fit(&POOL, matrix, method).map(|omr| OmrModel { learnt, omr })
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OmrScoreKwargs {
    clip: Option<f64>,
    unknown_is_error: bool,
}

fn omr_score_field(fields: &[Field]) -> PolarsResult<Field> {
    score_field::<OmrModel>("omr_score", fields)
}

#[polars_expr(output_type_func=omr_score_field)]
fn omr_score(inputs: &[Series], kwargs: OmrScoreKwargs) -> PolarsResult<Series> {
    const NAME: &str = "omr_score";
    if let Some(clip) = kwargs.clip {
        number("clip", clip, true).map_err(|e| error(NAME, e))?;
    }
    let clip = kwargs.clip.unwrap_or(f64::INFINITY);
    single(score(NAME, inputs, kwargs.unknown_is_error, 1, |model: &OmrModel, _: &[usize]| {
        Ok(Scorer::new(kernel::Scorer::new(&model.omr, Statistic::Score { clip })))
    })?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContributionsKwargs {
    scaled: bool,
    unknown_is_error: bool,
}

fn omr_contributions_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "omr_contributions";
    check_dtype::<OmrModel>(NAME, fields[1].dtype())?;
    let columns = numeric_fields(NAME, &fields[0])?;
    let dtype = score_dtype(columns);
    let parts = columns.iter().map(|column| Field::new(column.name().clone(), dtype.clone())).collect();
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(parts)))
}

#[polars_expr(output_type_func=omr_contributions_field)]
fn omr_contributions(inputs: &[Series], kwargs: ContributionsKwargs) -> PolarsResult<Series> {
    const NAME: &str = "omr_contributions";
    let columns = struct_columns(NAME, &inputs[0])?;
    let names: Vec<PlSmallStr> = columns.iter().map(|column| column.name().clone()).collect();
    let statistic = if kwargs.scaled { Statistic::Scaled } else { Statistic::Shares };
    let parts = score(NAME, inputs, kwargs.unknown_is_error, names.len(), |model: &OmrModel, positions: &[usize]| {
        let scorer = kernel::Scorer::new(&model.omr, statistic);
        Ok(Scorer { score: Box::new(scorer), places: positions.to_vec() })
    })?;
    named(&inputs[0], parts, names)
}
