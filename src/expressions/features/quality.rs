//! Tests of readings. Each takes a numeric column, or a struct of them, and then the time column where one is given.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use super::columns::{Readings, booleans, each};
use super::rolling::{by, check_by, one_each_field};
use crate::expressions::io::{error, times_or};
use crate::kernels::features::quality::{self, Stuck};
use crate::kernels::params::{Span, number};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StuckKwargs {
    min_length: i64,
    tolerance: f64,
    look_ahead: bool,
}

fn stuck_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("stuck", fields, Some(DataType::Boolean))
}

#[polars_expr(output_type_func=stuck_field)]
fn stuck(inputs: &[Series], kwargs: StuckKwargs) -> PolarsResult<Series> {
    let times = by("stuck", inputs)?;
    number("tolerance", kwargs.tolerance, false).map_err(|e| error("stuck", e))?;
    let min_length = Span::new("min_length", kwargs.min_length, times.is_some()).map_err(|e| error("stuck", e))?;
    let rule = Stuck { min_length, tolerance: kwargs.tolerance, look_ahead: kwargs.look_ahead };
    each("stuck", &inputs[0], |s| {
        let readings = Readings::new("stuck", s)?;
        Ok(readings.marked(s.name(), quality::stuck(&readings.values, times.as_deref(), &rule)))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeKwargs {
    /// None: without this limit.
    low: Option<f64>,
    high: Option<f64>,
}

fn out_of_range_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("out_of_range", fields, Some(DataType::Boolean))
}

#[polars_expr(output_type_func=out_of_range_field)]
fn out_of_range(inputs: &[Series], kwargs: RangeKwargs) -> PolarsResult<Series> {
    let (low, high) = (kwargs.low.unwrap_or(f64::NEG_INFINITY), kwargs.high.unwrap_or(f64::INFINITY));
    if low.is_nan() || high.is_nan() || low > high {
        return Err(error("out_of_range", format!("`low` must be <= `high`, got {low} and {high}")));
    }
    each("out_of_range", &inputs[0], |s| {
        // a limit is a number of the sensor's dtype: a Float32 reading of 0.2 is not above 0.2
        let narrow = |limit: f64| if s.dtype() == &DataType::Float32 { f64::from(limit as f32) } else { limit };
        let (low, high) = (narrow(low), narrow(high));
        let mut out = Vec::new();
        quality::out_of_range(&Readings::new("out_of_range", s)?.values, low, high, &mut out);
        Ok(booleans(s.name(), &out))
    })
}

fn rate_of_change_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("rate_of_change", fields, None)
}

#[polars_expr(output_type_func=rate_of_change_field)]
fn rate_of_change(inputs: &[Series]) -> PolarsResult<Series> {
    let times = by("rate_of_change", inputs)?;
    each("rate_of_change", &inputs[0], |s| {
        let readings = Readings::new("rate_of_change", s)?;
        let mut out = Vec::with_capacity(readings.values.len());
        quality::rate_of_change(&readings.values, times.as_deref(), &mut out);
        Ok(readings.floats(s.name(), &out))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimesKwargs {
    /// The operation that needs the times, for the messages.
    of: String,
}

fn checked_times_field(fields: &[Field], kwargs: TimesKwargs) -> PolarsResult<Field> {
    let time = &fields[0];
    check_by(&kwargs.of, &[time.clone(), time.clone()])?;
    Ok(Field::new(time.name().clone(), DataType::Int64))
}

/// The times of a `by` column in nanoseconds, under the rules of every operation that takes one; for operations on frames.
#[polars_expr(output_type_func_with_kwargs=checked_times_field)]
fn checked_times(inputs: &[Series], kwargs: TimesKwargs) -> PolarsResult<Series> {
    let s = &inputs[0];
    let remedy = "sort by it first, and name the series with `over=` where the frame holds several";
    Ok(Series::new(s.name().clone(), times_or(&kwargs.of, s, s.len(), remedy)?))
}
