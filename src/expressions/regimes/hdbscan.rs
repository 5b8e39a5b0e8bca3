//! HDBSCAN: a model, and label and strength of each row.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{POOL, error};
use crate::expressions::learning::{
    Detector, Learnt, ScoreKwargs, Scorer, fit, fit_field, numeric_fields, score, score_dtype,
};
use crate::expressions::models::{self, Model, Part, Record, Value};
use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::kernels::regimes::hdbscan::{self, Hdbscan, Method, Params, Predictor};
use crate::learnt_parts;

struct HdbscanModel {
    learnt: Learnt,
    hdbscan: Hdbscan,
}

fn integers(values: &[usize]) -> Value {
    Value::Integers(values.iter().map(|&v| v as i64).collect())
}

impl Model for HdbscanModel {
    const KIND: &'static str = "hdbscan";
    const FORMAT: i64 = 1;
    const PARTS: &'static [(&'static str, Part)] = learnt_parts!(
        "center": Numbers,
        "scale": Numbers,
        "min_samples": Integer,
        "train": Numbers,
        "core_distances": Numbers,
        "labels": Integers,
        "strengths": Numbers,
        "row_clusters": Integers,
        "row_distances": Numbers,
        "cluster_parents": Integers,
        "cluster_distances": Numbers,
        "cluster_labels": Integers,
        "inner_distances": Numbers,
        "outer_distances": Numbers,
        "sizes": Integers,
        "centers": Numbers,
        "persistence": Numbers,
        "relative_validity": Number,
    );

    fn to_values(&self) -> Vec<Value> {
        let model = &self.hdbscan;
        let numbers = |values: &[f64]| Value::Numbers(values.to_vec());
        self.learnt.values([
            numbers(&model.scale.center),
            numbers(&model.scale.scale),
            Value::Integer(model.min_samples as i64),
            numbers(&model.train),
            numbers(&model.cores),
            Value::Integers(model.labels.clone()),
            numbers(&model.strengths),
            integers(&model.row_clusters),
            numbers(&model.row_distances),
            Value::Integers(model.parents.iter().map(|parent| parent.map_or(-1, |parent| parent as i64)).collect()),
            Value::Numbers(model.starts.iter().map(|&d| if d.is_finite() { d } else { f64::NAN }).collect()),
            Value::Integers(model.cluster_labels.clone()),
            numbers(&model.inner),
            numbers(&model.outer),
            integers(&model.sizes),
            numbers(&model.centers),
            numbers(&model.persistence),
            Value::Number(model.relative_validity),
        ])
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let learnt = Learnt::from_record(record)?;
        // from `least` up to, but without, `end`
        let integers = |part: &str, count: usize, least: i64, end: usize| {
            let values = record.integers(part)?;
            let whole = values.len() == count && values.iter().all(|v| (least..end as i64).contains(v));
            if whole { Ok(values) } else { Err(record.damaged(part)) }
        };
        let places = |values: Vec<i64>| values.into_iter().map(|v| v as usize).collect();
        let (columns, rows) = (learnt.columns.len(), learnt.rows);
        let min_samples = record.integer("min_samples")?;
        if min_samples < 1 || min_samples as usize >= rows {
            return Err(record.damaged("min_samples"));
        }
        let clusters = record.integers("cluster_parents")?.len();
        let count = record.integers("sizes")?.len();
        let parents = integers("cluster_parents", clusters, -1, clusters)?;
        // so that climbing ends at the first
        if clusters == 0 || parents.iter().enumerate().any(|(c, &parent)| (parent >= c as i64) || (parent < 0 && c > 0))
        {
            return Err(record.damaged("cluster_parents"));
        }
        let mut starts = record.numbers("cluster_distances")?;
        if starts.len() != clusters || starts[1..].iter().any(|d| !d.is_finite()) {
            return Err(record.damaged("cluster_distances"));
        }
        starts[0] = f64::INFINITY;
        let hdbscan = Hdbscan {
            scale: Scale { center: record.known("center", columns)?, scale: record.known("scale", columns)? },
            min_samples: min_samples as usize,
            train: record.known("train", rows * columns)?,
            cores: record.known("core_distances", rows)?,
            labels: integers("labels", rows, -1, count)?,
            strengths: record.known("strengths", rows)?,
            row_clusters: places(integers("row_clusters", rows, 0, clusters)?),
            row_distances: record.known("row_distances", rows)?,
            parents: parents.iter().map(|&parent| usize::try_from(parent).ok()).collect(),
            starts,
            cluster_labels: integers("cluster_labels", clusters, -1, count)?,
            inner: record.known("inner_distances", count)?,
            outer: record.known("outer_distances", count)?,
            sizes: places(integers("sizes", count, 1, rows + 1)?),
            centers: record.known("centers", count * columns)?,
            persistence: record.known("persistence", count)?,
            relative_validity: record.number("relative_validity")?,
        };
        Ok(Self { learnt, hdbscan })
    }
}

impl Detector for HdbscanModel {
    fn learnt(&self) -> &Learnt {
        &self.learnt
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HdbscanFitKwargs {
    min_cluster_size: usize,
    min_samples: usize,
    cluster_selection_epsilon: f64,
    method: String,
    allow_single_cluster: bool,
    scale: String,
    min_present: f64,
    strict: bool,
}

fn hdbscan_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<HdbscanModel>("hdbscan_fit", fields)
}

#[polars_expr(output_type_func=hdbscan_fit_field)]
fn hdbscan_fit(inputs: &[Series], kwargs: HdbscanFitKwargs) -> PolarsResult<Series> {
    const NAME: &str = "hdbscan_fit";
    let method = Method::parse(&kwargs.method).map_err(|e| error(NAME, e))?;
    let scaling = Scaling::parse(&kwargs.scale).map_err(|e| error(NAME, e))?;
    let HdbscanFitKwargs { min_cluster_size, min_samples, cluster_selection_epsilon, allow_single_cluster, .. } =
        kwargs;
    let params =
        Params::new(min_cluster_size, min_samples, cluster_selection_epsilon, method, allow_single_cluster, scaling);
    let params = params.map_err(|e| error(NAME, e))?;
    fit(NAME, &inputs[0], kwargs.min_present, kwargs.strict, |matrix, learnt| {
        hdbscan::fit(matrix, &params, &POOL).map(|hdbscan| HdbscanModel { learnt, hdbscan })
    })
}

/// The fields of a label, the strength of this dtype.
fn label_fields(strength: DataType) -> [(PlSmallStr, DataType); 2] {
    [("label".into(), DataType::Int64), ("strength".into(), strength)]
}

fn hdbscan_label_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "hdbscan_label";
    models::check_dtype::<HdbscanModel>(NAME, fields[1].dtype())?;
    let strength = score_dtype(numeric_fields(NAME, &fields[0])?);
    let parts = label_fields(strength).map(|(name, dtype)| Field::new(name, dtype)).to_vec();
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(parts)))
}

#[polars_expr(output_type_func=hdbscan_label_field)]
fn hdbscan_label(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    let scores = score::<HdbscanModel>("hdbscan_label", inputs, kwargs.unknown_is_error, 2, |model, _| {
        Ok(Scorer::new(Predictor::new(&model.hdbscan)))
    })?;
    let strength = scores[1].dtype().clone();
    let parts: Vec<Series> = (label_fields(strength).into_iter().zip(&scores))
        .map(|((name, dtype), score)| Ok(score.cast(&dtype)?.with_name(name)))
        .collect::<PolarsResult<_>>()?;
    Ok(StructChunked::from_series(inputs[0].name().clone(), inputs[0].len(), parts.iter())?.into_series())
}
