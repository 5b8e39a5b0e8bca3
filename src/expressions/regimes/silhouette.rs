//! Silhouettes of labelled rows: of each, and their mean.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{Column, Labels, POOL, Results, error, label_kind, struct_columns};
use crate::expressions::learning::numeric_fields;
use crate::kernels::detectors::scaling::Scaling;
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::regimes::MISSING;
use crate::kernels::regimes::silhouette::{self as kernel, Metric, Params};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SamplesKwargs {
    metric: String,
    scale: String,
    min_present: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeanKwargs {
    metric: String,
    scale: String,
    min_present: f64,
    sample: Option<usize>,
    seed: u64,
}

fn field(operation: &str, fields: &[Field]) -> PolarsResult<Field> {
    numeric_fields(operation, &fields[0])?;
    label_kind(operation, fields[1].name(), fields[1].dtype())?;
    Ok(Field::new(fields[0].name().clone(), DataType::Float64))
}

/// Labels as numbers from 0 on; none where a row is missing its label or is noise.
fn labels(operation: &str, s: &Series, rows: usize) -> PolarsResult<Vec<Option<u32>>> {
    if s.len() != rows {
        let text = format!("`labels` must have a label for each of the {rows} rows, got {}", s.len());
        return Err(error(operation, text));
    }
    let labels = Labels::new(operation, s)?;
    let noise = labels.unknown().unwrap_or(MISSING);
    Ok(labels.codes.iter().map(|&code| Some(code).filter(|&code| code != MISSING && code != noise)).collect())
}

/// The cells of the columns one after the other, and the labels of the rows.
fn read(operation: &str, inputs: &[Series]) -> PolarsResult<(Vec<f64>, Vec<Option<u32>>)> {
    let columns = struct_columns(operation, &inputs[0])?;
    let rows = inputs[0].len();
    let mut data = vec![0.0; rows * columns.len()];
    for (j, s) in columns.iter().enumerate() {
        Column::new(operation, s)?.load(0, &mut data[j * rows..(j + 1) * rows]);
    }
    Ok((data, labels(operation, &inputs[1], rows)?))
}

fn params(
    operation: &str,
    metric: &str,
    scale: &str,
    min_present: f64,
    sample: Option<(usize, u64)>,
) -> PolarsResult<Params> {
    let metric = Metric::parse(metric).map_err(|e| error(operation, e))?;
    let scaling = Scaling::parse(scale).map_err(|e| error(operation, e))?;
    Params::new(metric, scaling, min_present, sample).map_err(|e| error(operation, e))
}

fn series(values: &[f64], name: &PlSmallStr) -> Series {
    let mut results = Results::floats(values.len(), &DataType::Float64);
    results.push(values);
    results.into_series(name.clone())
}

fn silhouette_field(fields: &[Field]) -> PolarsResult<Field> {
    field("silhouette", fields)
}

#[polars_expr(output_type_func=silhouette_field)]
fn silhouette(inputs: &[Series], kwargs: MeanKwargs) -> PolarsResult<Series> {
    const NAME: &str = "silhouette";
    let MeanKwargs { metric, scale, min_present, sample, seed } = kwargs;
    let params = params(NAME, &metric, &scale, min_present, sample.map(|size| (size, seed)))?;
    let (data, labels) = read(NAME, inputs)?;
    Ok(series(&[kernel::mean(data, &labels, &params, &POOL)], inputs[0].name()))
}

fn silhouette_samples_field(fields: &[Field]) -> PolarsResult<Field> {
    field("silhouette_samples", fields)
}

#[polars_expr(output_type_func=silhouette_samples_field)]
fn silhouette_samples(inputs: &[Series], kwargs: SamplesKwargs) -> PolarsResult<Series> {
    const NAME: &str = "silhouette_samples";
    let params = params(NAME, &kwargs.metric, &kwargs.scale, kwargs.min_present, None)?;
    let (data, labels) = read(NAME, inputs)?;
    Ok(series(&kernel::samples(data, &labels, &params, &POOL), inputs[0].name()))
}
