//! Robust scaling: a model of each column, made from data, and the scores that models give.
//!
//! A model is a struct with one field for each column, itself a struct of [`PARTS`]. How models and keys come in is said in
//! `expressions/models.rs`.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use super::columns::{Readings, each};
use super::rolling::one_each_field;
use crate::expressions::io::{error, struct_fields};
use crate::expressions::models::{elements, positions};
use crate::kernels::features::scaling::{self, Scale};
use crate::kernels::params::number;

const PARTS: [&str; 5] = ["center", "scale", "p05", "p95", "readings"];

fn part_fields() -> Vec<Field> {
    let dtype = |part: &str| if part == "readings" { DataType::Int64 } else { DataType::Float64 };
    PARTS.iter().map(|&part| Field::new(part.into(), dtype(part))).collect()
}

fn robust_scale_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("robust_scale_fit", fields, Some(DataType::Struct(part_fields())))
}

#[polars_expr(output_type_func=robust_scale_fit_field)]
fn robust_scale_fit(inputs: &[Series]) -> PolarsResult<Series> {
    each("robust_scale_fit", &inputs[0], |s| {
        let Scale { center, scale, p05, p95, readings } = scaling::fit(&Readings::new("robust_scale_fit", s)?.values);
        let number = |part: &str, value: f64| Series::new(part.into(), [Some(value).filter(|v| v.is_finite())]);
        let parts = [
            number("center", center),
            number("scale", scale),
            number("p05", p05),
            number("p95", p95),
            Series::new("readings".into(), [readings as i64]),
        ];
        Ok(StructChunked::from_series(s.name().clone(), 1, parts.iter())?.into_series())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RobustScaleKwargs {
    scale_floor: f64,
    /// The last model is for rows whose key is missing or unknown.
    has_default: bool,
    unknown_is_error: bool,
}

fn robust_scale_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "robust_scale";
    let models = models_dtype(fields[1].dtype())?;
    for field in struct_fields(NAME, fields[0].name(), fields[0].dtype())? {
        of_column(models, field.name())?;
    }
    one_each_field(NAME, &fields[..1], None)
}

/// The fields of the models in a list of them, or of the one model.
fn models_dtype(dtype: &DataType) -> PolarsResult<&[Field]> {
    match dtype {
        DataType::List(inner) => models_dtype(inner),
        DataType::Struct(fields) => Ok(fields),
        dtype => Err(error(
            "robust_scale",
            format!("`model` must be what `robust_scale_fit` gives, a struct of columns, got dtype {dtype}"),
        )),
    }
}

/// Refuses a model that lacks a column, or in which it is something else.
fn of_column(models: &[Field], column: &str) -> PolarsResult<()> {
    let known = || models.iter().map(|field| format!("`{}`", field.name())).collect::<Vec<_>>().join(", ");
    let Some(field) = models.iter().find(|field| field.name() == column) else {
        let text = format!("`model` has no column `{column}`, it was fitted on {}; fit it on this column too", known());
        return Err(error("robust_scale", text));
    };
    match field.dtype() {
        DataType::Struct(parts)
            if ["center", "scale"].iter().all(|&p| parts.iter().any(|f| f.name() == p && f.dtype().is_float())) =>
        {
            Ok(())
        }
        dtype => Err(error(
            "robust_scale",
            format!("`model` must be what `robust_scale_fit` gives, but its `{column}` has dtype {dtype}"),
        )),
    }
}

#[polars_expr(output_type_func=robust_scale_field)]
fn robust_scale(inputs: &[Series], kwargs: RobustScaleKwargs) -> PolarsResult<Series> {
    const NAME: &str = "robust_scale";
    number("scale_floor", kwargs.scale_floor, false).map_err(|e| error(NAME, e))?;
    let (input, models) = (&inputs[0], &inputs[1]);
    let models = elements(NAME, "model", models)?;
    let fitted = models.struct_()?.fields_as_series();
    let default = if kwargs.has_default { models.len() - 1 } else { usize::MAX };
    let positions = match inputs {
        [_, _, key, keys] => {
            let keys = elements(NAME, "model", keys)?;
            let remedy = "take on_unknown=\"null\", or a `default` with it";
            let remedy = kwargs.unknown_is_error.then_some(remedy);
            Some(positions(NAME, key, &keys, input.len(), default, remedy)?)
        }
        _ => None,
    };
    // rows of one model, one after the other; a row without a model has a position where there is none
    let runs: Vec<(usize, usize)> = match &positions {
        None => vec![(input.len(), 0)],
        Some(positions) => positions.chunk_by(|a, b| a == b).map(|run| (run.len(), run[0])).collect(),
    };
    each(NAME, input, |s| {
        let mut readings = Readings::new(NAME, s)?;
        let parts = fitted.iter().find(|column| column.name() == s.name());
        let parts = parts.ok_or_else(|| error(NAME, format!("`model` has no column `{}`", s.name())))?.struct_()?;
        let numbers = |part: &str| -> PolarsResult<Vec<f64>> {
            let column = parts.field_by_name(part)?.cast(&DataType::Float64)?;
            Ok(column.f64()?.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
        };
        let (center, scale) = (numbers("center")?, numbers("scale")?);
        let number = |values: &[f64], k: usize| values.get(k).copied().unwrap_or(f64::NAN);
        let mut values = std::mem::take(&mut readings.values);
        let mut rest = &mut values[..];
        for &(rows, k) in &runs {
            let run;
            (run, rest) = rest.split_at_mut(rows);
            scaling::score(run, number(&center, k), number(&scale, k), kwargs.scale_floor);
        }
        Ok(readings.floats(s.name(), &values))
    })
}
