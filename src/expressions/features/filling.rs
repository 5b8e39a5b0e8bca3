//! Filling of gaps. Takes a numeric column, or a struct of them, and then the time column where one is needed.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use super::columns::{Readings, each};
use super::rolling::{by, one_each_field};
use crate::expressions::io::{error, struct_fields};
use crate::kernels::features::filling::{self, Method};
use crate::kernels::params::Span;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FillKwargs {
    method: FillMethod,
    /// The values given: one for all columns, or one for each column by its name.
    value: Option<f64>,
    values: Option<Vec<(String, f64)>>,
    max_gap: Option<i64>,
    max_gap_is_duration: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FillMethod {
    Value,
    Median,
    Forward,
    Backward,
    Interpolate,
}

impl FillKwargs {
    fn method(&self, column: &str) -> PolarsResult<Method> {
        Ok(match self.method {
            FillMethod::Median => Method::Median,
            FillMethod::Forward => Method::Forward,
            FillMethod::Backward => Method::Backward,
            FillMethod::Interpolate => Method::Interpolate,
            FillMethod::Value => {
                let given = |values: &Vec<(String, f64)>| {
                    values.iter().find_map(|(name, value)| (name == column).then_some(*value))
                };
                let value = self.value.or_else(|| self.values.as_ref().and_then(given));
                Method::Value(value.ok_or_else(|| {
                    error("fill", format!("`value` has nothing for column `{column}`; add it, or leave the column out"))
                })?)
            }
        })
    }
}

fn fill_field(fields: &[Field], kwargs: FillKwargs) -> PolarsResult<Field> {
    let result = one_each_field("fill", fields, None)?;
    if matches!(fields[0].dtype(), DataType::Struct(_)) {
        for field in struct_fields("fill", fields[0].name(), fields[0].dtype())? {
            kwargs.method(field.name())?;
        }
    }
    Ok(result)
}

#[polars_expr(output_type_func_with_kwargs=fill_field)]
fn fill(inputs: &[Series], kwargs: FillKwargs) -> PolarsResult<Series> {
    let times = by("fill", inputs)?;
    if kwargs.max_gap_is_duration && times.is_none() {
        return Err(error("fill", "`max_gap` is a duration, so `by` must name a time column"));
    }
    let span = |length| Span::new("max_gap", length, kwargs.max_gap_is_duration).map_err(|e| error("fill", e));
    let max_gap = kwargs.max_gap.map(span).transpose()?;
    each("fill", &inputs[0], |s| {
        let method = kwargs.method(s.name())?;
        let mut readings = Readings::new("fill", s)?;
        if readings.any_missing {
            filling::fill(&mut readings.values, times.as_deref(), method, max_gap);
        }
        Ok(readings.floats(s.name(), &readings.values))
    })
}
