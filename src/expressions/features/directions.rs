//! Directions. Each takes a numeric column, or a struct of them.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use super::columns::{Readings, each, spread};
use super::rolling::{one_each_field, struct_of};
use crate::expressions::io::{error, float_of, struct_columns, struct_fields};
use crate::kernels::features::directions;
use crate::kernels::params::number;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectionKwargs {
    period: f64,
}

fn circular_mean_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("circular_mean", fields, Some(DataType::Float64))
}

#[polars_expr(output_type_func=circular_mean_field)]
fn circular_mean(inputs: &[Series], kwargs: DirectionKwargs) -> PolarsResult<Series> {
    aggregate("circular_mean", inputs, kwargs.period, directions::circular_mean)
}

fn resultant_length_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("resultant_length", fields, Some(DataType::Float64))
}

#[polars_expr(output_type_func=resultant_length_field)]
fn resultant_length(inputs: &[Series], kwargs: DirectionKwargs) -> PolarsResult<Series> {
    aggregate("resultant_length", inputs, kwargs.period, directions::resultant_length)
}

/// One Float64 of each column; what is not a number is null.
fn aggregate(operation: &str, inputs: &[Series], period: f64, of: fn(&[f64], f64) -> f64) -> PolarsResult<Series> {
    number("period", period, true).map_err(|e| error(operation, e))?;
    each(operation, &inputs[0], |s| {
        let result = Some(of(&Readings::new(operation, s)?.values, period)).filter(|v| v.is_finite());
        Ok(Series::new(s.name().clone(), [result]))
    })
}

fn to_xy_field(fields: &[Field]) -> PolarsResult<Field> {
    let input = &fields[0];
    let mut both = Vec::new();
    for field in struct_fields("to_xy", input.name(), input.dtype())? {
        let dtype = float_of("to_xy", field.name(), field.dtype())?;
        both.extend(["x", "y"].map(|axis| Field::new(format!("{}_{axis}", field.name()).into(), dtype.clone())));
    }
    Ok(Field::new(input.name().clone(), DataType::Struct(both)))
}

#[polars_expr(output_type_func=to_xy_field)]
fn to_xy(inputs: &[Series], kwargs: DirectionKwargs) -> PolarsResult<Series> {
    number("period", kwargs.period, true).map_err(|e| error("to_xy", e))?;
    let columns = struct_columns("to_xy", &inputs[0])?;
    let pairs = spread(&columns, inputs[0].len(), |s| {
        let readings = Readings::new("to_xy", s)?;
        let (x, y): (Vec<f64>, Vec<f64>) =
            readings.values.iter().map(|&v| directions::unit_vector(v, kwargs.period)).unzip();
        Ok([("x", x), ("y", y)].map(|(axis, v)| readings.floats(&format!("{}_{axis}", s.name()).into(), &v)))
    })?;
    struct_of(&inputs[0], pairs.into_iter().flatten().collect())
}
