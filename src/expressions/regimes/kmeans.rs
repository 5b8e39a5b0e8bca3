//! k-means: a model, the nearest centre of each row, and the distance to it.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use super::alignment::{Components, label_field};
use crate::expressions::io::{POOL, error, struct_columns};
use crate::expressions::learning::{Detector, Learnt, ScoreKwargs, Scorer, fit, fit_field, score, score_field, single};
use crate::expressions::models::{Model, Part, Record, Value};
use crate::kernels::detectors::Labelled;
use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::kernels::regimes::kmeans::{self, KMeans, Nearest, Output, Params};
use crate::learnt_parts;

pub struct KMeansModel {
    learnt: Learnt,
    model: kmeans::Model,
    /// Of each centre.
    labels: Vec<i64>,
}

impl Model for KMeansModel {
    const KIND: &'static str = "kmeans";
    const FORMAT: i64 = 1;
    const PARTS: &'static [(&'static str, Part)] = learnt_parts!(
        "center": Numbers,
        "scale": Numbers,
        "centers": Numbers,
        "sizes": Integers,
        "labels": Integers,
        "inertia": Number,
        "iterations": Integer,
        "converged": Flag,
    );

    fn to_values(&self) -> Vec<Value> {
        let kmeans::Model { scale, kmeans: KMeans { centers, sizes, inertia, iterations, converged } } = &self.model;
        self.learnt.values([
            Value::Numbers(scale.center.clone()),
            Value::Numbers(scale.scale.clone()),
            Value::Numbers(centers.clone()),
            Value::Integers(sizes.iter().map(|&size| size as i64).collect()),
            Value::Integers(self.labels.clone()),
            Value::Number(*inertia),
            Value::Integer(*iterations as i64),
            Value::Flag(*converged),
        ])
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let learnt = Learnt::from_record(record)?;
        let columns = learnt.columns.len();
        let labels = record.integers("labels")?;
        let sizes = record.integers("sizes")?;
        if labels.is_empty() || columns == 0 {
            return Err(record.damaged("labels"));
        }
        if sizes.len() != labels.len() {
            return Err(record.damaged("sizes"));
        }
        let model = kmeans::Model {
            scale: Scale { center: record.known("center", columns)?, scale: record.known("scale", columns)? },
            kmeans: KMeans {
                centers: record.known("centers", labels.len() * columns)?,
                sizes: sizes.iter().map(|&size| size as usize).collect(),
                inertia: record.number("inertia")?,
                iterations: record.integer("iterations")? as usize,
                converged: record.flag("converged")?,
            },
        };
        Ok(Self { learnt, model, labels })
    }
}

impl Detector for KMeansModel {
    fn learnt(&self) -> &Learnt {
        &self.learnt
    }
}

impl Components for KMeansModel {
    fn scale(&self) -> &Scale {
        &self.model.scale
    }

    fn centers(&self) -> Vec<f64> {
        self.model.kmeans.centers.clone()
    }

    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn reorder(&mut self, order: &[usize], labels: Vec<i64>) {
        let KMeans { centers, sizes, .. } = &mut self.model.kmeans;
        let columns = self.learnt.columns.len();
        *centers = order.iter().flat_map(|&c| &centers[c * columns..(c + 1) * columns]).copied().collect();
        *sizes = order.iter().map(|&c| sizes[c]).collect();
        self.labels = labels;
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KMeansFitKwargs {
    k: usize,
    n_init: usize,
    max_iter: usize,
    tol: f64,
    /// Centre by centre, of all columns.
    init: Option<Vec<f64>>,
    seed: u64,
    scale: String,
    min_present: f64,
    strict: bool,
}

fn kmeans_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<KMeansModel>("kmeans_fit", fields)
}

#[polars_expr(output_type_func=kmeans_fit_field)]
fn kmeans_fit(inputs: &[Series], kwargs: KMeansFitKwargs) -> PolarsResult<Series> {
    const NAME: &str = "kmeans_fit";
    let scaling = Scaling::parse(&kwargs.scale).map_err(|e| error(NAME, e))?;
    let KMeansFitKwargs { k, n_init, max_iter, tol, seed, .. } = kwargs;
    let params = Params::new(k, n_init, max_iter, tol, seed).map_err(|e| error(NAME, e))?;
    let names: Vec<PlSmallStr> = struct_columns(NAME, &inputs[0])?.iter().map(|s| s.name().clone()).collect();
    if let Some(init) = kwargs.init.as_ref().filter(|init| init.len() != k * names.len()) {
        let text = format!("`init` must hold {k} centres of {} columns, got {} numbers", names.len(), init.len());
        return Err(error(NAME, text));
    }
    fit(NAME, &inputs[0], kwargs.min_present, kwargs.strict, |matrix, learnt| {
        // columns that say nothing are left out of the start, too
        let init: Option<Vec<f64>> = kwargs.init.map(|init| {
            let kept = |(at, _): &(usize, &f64)| learnt.columns.iter().any(|column| names[at % names.len()] == *column);
            init.iter().enumerate().filter(kept).map(|(_, &v)| v).collect()
        });
        kmeans::fit_scaled(matrix, scaling, &params, init.as_deref(), &POOL).map(|model| KMeansModel {
            learnt,
            labels: (0..k as i64).collect(),
            model,
        })
    })
}

fn rows(operation: &str, inputs: &[Series], kwargs: &ScoreKwargs, output: Output) -> PolarsResult<Series> {
    single(score::<KMeansModel>(operation, inputs, kwargs.unknown_is_error, 1, |model, _| {
        let nearest = Nearest::new(&model.model.scale, &model.model.kmeans.centers, output);
        Ok(match output {
            Output::Label => Scorer::new(Labelled::new(nearest, &model.labels)),
            Output::Distance => Scorer::new(nearest),
        })
    })?)
}

fn kmeans_label_field(fields: &[Field]) -> PolarsResult<Field> {
    label_field::<KMeansModel>("kmeans_label", fields)
}

#[polars_expr(output_type_func=kmeans_label_field)]
fn kmeans_label(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    rows("kmeans_label", inputs, &kwargs, Output::Label)?.cast(&DataType::Int64)
}

fn kmeans_distance_field(fields: &[Field]) -> PolarsResult<Field> {
    score_field::<KMeansModel>("kmeans_distance", fields)
}

#[polars_expr(output_type_func=kmeans_distance_field)]
fn kmeans_distance(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    rows("kmeans_distance", inputs, &kwargs, Output::Distance)
}
