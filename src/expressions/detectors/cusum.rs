//! Drift of single series: operations that carry a state from row to row, and aggregates of the last rows.
//!
//! The recursive ones take a struct of columns and, where a series goes on, the row that stands for what was before. Their
//! results are Float64, so that a row of them is the whole state.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::features::columns::{Readings, each};
use crate::expressions::features::rolling::one_each_field;
use crate::expressions::io::{Column, POOL, Results, booleans, error, label_kind, struct_columns};
use crate::expressions::learning::numeric_fields;
use crate::expressions::models::elements;
use crate::kernels::detectors::cusum::{self, Path, Rule, State, Subject};
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::features::scaling;
use crate::kernels::parallel;
use crate::kernels::params::number;
use crate::kernels::simd::LANES;

/// Numbers of the row before the first, by their names.
struct Before<'a> {
    operation: &'a str,
    fields: Vec<Series>,
}

impl<'a> Before<'a> {
    /// None where there is no row before, or it is null.
    fn new(operation: &'a str, inputs: &[Series]) -> PolarsResult<Option<Self>> {
        let Some(state) = inputs.get(1) else { return Ok(None) };
        let state = elements(operation, "state", state)?;
        if state.null_count() == 1 {
            return Ok(None);
        }
        let fields = match state.dtype() {
            DataType::Struct(_) => state.struct_()?.fields_as_series(),
            _ => vec![state],
        };
        Ok(Some(Self { operation, fields }))
    }

    /// None if it is null.
    fn number(&self, name: &str) -> PolarsResult<Option<f64>> {
        let Some(field) = self.fields.iter().find(|field| field.name() == name) else {
            let known: Vec<String> = self.fields.iter().take(20).map(|field| format!("`{}`", field.name())).collect();
            let text = format!(
                "`state` must be a row that `{}` gave for the same columns; it lacks `{name}` and has {}",
                self.operation,
                known.join(", ")
            );
            return Err(error(self.operation, text));
        };
        if !field.dtype().is_primitive_numeric() && *field.dtype() != DataType::Null {
            let text = format!("`state` must be a row of numbers, its `{name}` has dtype {}", field.dtype());
            return Err(error(self.operation, text));
        }
        Ok(field.get(0)?.extract())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CusumKwargs {
    k: f64,
    h: f64,
    /// None: the median of the rows at hand.
    center: Option<f64>,
    /// None: their median absolute deviation times 1.4826.
    scale: Option<f64>,
    reset: bool,
}

const FIELDS: [(&str, DataType); 5] = [
    ("high", DataType::Float64),
    ("low", DataType::Float64),
    ("high_since", DataType::UInt32),
    ("low_since", DataType::UInt32),
    ("alarm", DataType::Boolean),
];

fn cusum_field(fields: &[Field]) -> PolarsResult<Field> {
    let columns = numeric_fields("cusum", &fields[0])?;
    let of =
        |column: &Field| FIELDS.map(|(field, dtype)| Field::new(format!("{}_{field}", column.name()).into(), dtype));
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(columns.iter().flat_map(of).collect())))
}

#[polars_expr(output_type_func=cusum_field)]
fn cusum(inputs: &[Series], kwargs: CusumKwargs) -> PolarsResult<Series> {
    const NAME: &str = "cusum";
    let rule = Rule::new(kwargs.k, kwargs.h, kwargs.reset).map_err(|e| error(NAME, e))?;
    if let Some(scale) = kwargs.scale {
        number("scale", scale, true).map_err(|e| error(NAME, e))?;
    }
    if kwargs.center.is_some_and(|center| !center.is_finite()) {
        return Err(error(NAME, "`center` must be a finite number or None"));
    }
    let (columns, rows) = (struct_columns(NAME, &inputs[0])?, inputs[0].len());
    let sources = columns.iter().map(|s| Column::new(NAME, s)).collect::<PolarsResult<Vec<_>>>()?;
    let before = Before::new(NAME, inputs)?;
    let state = |s: &Series| -> PolarsResult<State> {
        let Some(before) = &before else { return Ok(State::default()) };
        let of =
            |field: &str| -> PolarsResult<f64> { Ok(before.number(&format!("{}_{field}", s.name()))?.unwrap_or(0.0)) };
        Ok(State {
            high: of("high")?,
            low: of("low")?,
            high_since: of("high_since")? as u32,
            low_since: of("low_since")? as u32,
        })
    };
    let states = columns.iter().map(state).collect::<PolarsResult<Vec<_>>>()?;
    let groups: Vec<Vec<Path>> = parallel::map(
        &POOL,
        columns.len().div_ceil(LANES),
        columns.len() * rows,
        || vec![0.0; LANES * rows],
        |readings, group| {
            let members = group * LANES..columns.len().min((group + 1) * LANES);
            for (j, readings) in members.clone().zip(readings.chunks_exact_mut(rows.max(1))) {
                sources[j].load(0, readings);
            }
            let subject = |j: usize| {
                let x = &readings[(j % LANES) * rows..(j % LANES + 1) * rows];
                let (center, scale) = match (kwargs.center, kwargs.scale) {
                    (Some(center), Some(scale)) => (center, scale),
                    (center, scale) => {
                        let fitted = scaling::fit(x);
                        (center.unwrap_or(fitted.center), scale.unwrap_or(fitted.scale))
                    }
                };
                Subject { x, center, scale, state: states[j] }
            };
            cusum::cusum(&members.map(subject).collect::<Vec<_>>(), &rule)
        },
    );
    let fields: Vec<Series> =
        columns.iter().zip(groups.into_iter().flatten()).flat_map(|(s, path)| fields(s, path)).collect();
    Ok(StructChunked::from_series(inputs[0].name().clone(), rows, fields.iter())?.into_series())
}

fn fields(s: &Series, path: Path) -> [Series; 5] {
    let rows = path.high.len();
    let name = |field: &str| PlSmallStr::from(format!("{}_{field}", s.name()));
    [
        Series::from_vec(name("high"), path.high),
        Series::from_vec(name("low"), path.low),
        Series::from_vec(name("high_since"), path.high_since),
        Series::from_vec(name("low_since"), path.low_since),
        booleans(name("alarm"), rows, path.alarm, Some(path.present)),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EwmaKwargs {
    alpha: f64,
}

fn ewma_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("ewma", &fields[..1], Some(DataType::Float64))
}

#[polars_expr(output_type_func=ewma_field)]
fn ewma(inputs: &[Series], kwargs: EwmaKwargs) -> PolarsResult<Series> {
    if !(kwargs.alpha > 0.0 && kwargs.alpha <= 1.0) {
        return Err(error("ewma", format!("`alpha` must be > 0 and <= 1, got {}", kwargs.alpha)));
    }
    let before = Before::new("ewma", inputs)?;
    each("ewma", &inputs[0], |s| {
        let state = match &before {
            None => None,
            Some(before) => before.number(s.name())?,
        };
        let (mut out, mut sink) = (Vec::new(), Results::floats(s.len(), &DataType::Float64));
        cusum::ewma(&Readings::new("ewma", s)?.values, kwargs.alpha, state.unwrap_or(f64::NAN), &mut out);
        sink.push(&out);
        Ok(sink.into_series(s.name().clone()))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LastKwargs {
    window_size: i64,
}

impl LastKwargs {
    fn rows(&self, operation: &str) -> PolarsResult<usize> {
        match usize::try_from(self.window_size) {
            Ok(rows) if rows >= 2 => Ok(rows),
            _ => Err(error(operation, format!("`window_size` must be >= 2, got {}", self.window_size))),
        }
    }
}

fn drift_trend_field(fields: &[Field]) -> PolarsResult<Field> {
    one_each_field("drift_trend", fields, None)
}

#[polars_expr(output_type_func=drift_trend_field)]
fn drift_trend(inputs: &[Series], kwargs: LastKwargs) -> PolarsResult<Series> {
    let rows = kwargs.rows("drift_trend")?;
    each("drift_trend", &inputs[0], |s| {
        let readings = Readings::new("drift_trend", &s.tail(Some(rows)))?;
        Ok(readings.floats(s.name(), &[cusum::drift_trend(&readings.values, rows)]))
    })
}

fn regime_volatility_field(fields: &[Field]) -> PolarsResult<Field> {
    let of = |field: &Field| {
        label_kind("regime_volatility", field.name(), field.dtype())?;
        Ok(Field::new(field.name().clone(), DataType::Float64))
    };
    match fields[0].dtype() {
        DataType::Struct(columns) => {
            let columns = columns.iter().map(of).collect::<PolarsResult<_>>()?;
            Ok(Field::new(fields[0].name().clone(), DataType::Struct(columns)))
        }
        _ => of(&fields[0]),
    }
}

#[polars_expr(output_type_func=regime_volatility_field)]
fn regime_volatility(inputs: &[Series], kwargs: LastKwargs) -> PolarsResult<Series> {
    const NAME: &str = "regime_volatility";
    let rows = kwargs.rows(NAME)?;
    each(NAME, &inputs[0], |s| {
        let labels = s.tail(Some(rows)).cast(&label_kind(NAME, s.name(), s.dtype())?)?;
        let volatility = match labels.dtype() {
            DataType::String => cusum::regime_volatility(&labels.str()?.iter().collect::<Vec<_>>(), rows),
            _ => cusum::regime_volatility(&labels.i128()?.iter().collect::<Vec<_>>(), rows),
        };
        Ok(Series::new(s.name().clone(), [Some(volatility).filter(|v| !v.is_nan())]))
    })
}
