//! Operations on labels. Each takes a column of labels, or a struct of them, and then the time column where one is given;
//! transient states take a struct of sensors, and then the labels.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::features::columns::{Readings, each, spread};
use crate::expressions::features::rolling::{by, check_by};
use crate::expressions::io::{Labels, POOL, error, label_kind, struct_columns, struct_fields};
use crate::expressions::learning::numeric_fields;
use crate::kernels::params::Span;
use crate::kernels::regimes::smoothing::{self, About, Kinds};
use crate::kernels::regimes::transients::{self, Rule, State};

/// A rank for labels, written as text: the lower is preferred. Others come behind all of them.
type Ranks = Option<Vec<(String, u32)>>;

fn kinds(labels: &Labels<'_>, ranks: &Ranks) -> PolarsResult<Kinds> {
    let ranks = match ranks {
        None => vec![0; labels.kinds()],
        Some(ranks) => {
            let last = ranks.iter().map(|(_, rank)| rank.saturating_add(1)).max().unwrap_or(0);
            let of = |label: &String| ranks.iter().find(|(other, _)| other == label).map_or(last, |(_, rank)| *rank);
            labels.texts()?.iter().map(of).collect()
        }
    };
    Ok(Kinds { ranks, unknown: labels.unknown() })
}

/// The schema of an operation that gives labels of the same dtype.
fn labels_field(operation: &str, fields: &[Field]) -> PolarsResult<Field> {
    check_by(operation, fields)?;
    let input = &fields[0];
    match input.dtype() {
        DataType::Struct(_) => {
            let columns = struct_fields(operation, input.name(), input.dtype())?;
            for column in columns {
                label_kind(operation, column.name(), column.dtype())?;
            }
            Ok(Field::new(input.name().clone(), DataType::Struct(columns.to_vec())))
        }
        dtype => {
            label_kind(operation, input.name(), dtype)?;
            Ok(input.clone())
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmoothKwargs {
    /// Rows, or nanoseconds where a time column is given.
    window_size: i64,
    passes: usize,
    preserve_unknown: bool,
    ranks: Ranks,
}

fn smooth_labels_field(fields: &[Field]) -> PolarsResult<Field> {
    labels_field("smooth_labels", fields)
}

#[polars_expr(output_type_func=smooth_labels_field)]
fn smooth_labels(inputs: &[Series], kwargs: SmoothKwargs) -> PolarsResult<Series> {
    const NAME: &str = "smooth_labels";
    let times = by(NAME, inputs)?;
    let about = About::new(kwargs.window_size, times.as_deref()).map_err(|e| error(NAME, e))?;
    each(NAME, &inputs[0], |s| {
        let mut labels = Labels::new(NAME, s)?;
        let kinds = kinds(&labels, &kwargs.ranks)?;
        smoothing::mode_filter(&mut labels.codes, about, kwargs.passes, kwargs.preserve_unknown, &kinds);
        labels.into_series()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransitionsKwargs {
    /// Rows, or nanoseconds where a time column is given.
    min_dwell: i64,
    ranks: Ranks,
}

fn smooth_transitions_field(fields: &[Field]) -> PolarsResult<Field> {
    labels_field("smooth_transitions", fields)
}

#[polars_expr(output_type_func=smooth_transitions_field)]
fn smooth_transitions(inputs: &[Series], kwargs: TransitionsKwargs) -> PolarsResult<Series> {
    const NAME: &str = "smooth_transitions";
    let times = by(NAME, inputs)?;
    let min_dwell = Span::new("min_dwell", kwargs.min_dwell, times.is_some()).map_err(|e| error(NAME, e))?;
    each(NAME, &inputs[0], |s| {
        let mut labels = Labels::new(NAME, s)?;
        let kinds = kinds(&labels, &kwargs.ranks)?;
        smoothing::join_short_runs(&mut labels.codes, min_dwell, times.as_deref(), &kinds);
        labels.into_series()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransientKwargs {
    window_size: usize,
    high: f64,
    trip: f64,
    lag: usize,
    /// Of the columns named; 1 for the others.
    weights: Vec<(String, f64)>,
}

fn transient_states_field(fields: &[Field]) -> PolarsResult<Field> {
    numeric_fields("transient_states", &fields[0])?;
    if let Some(labels) = fields.get(1) {
        label_kind("transient_states", labels.name(), labels.dtype())?;
    }
    Ok(Field::new(fields[0].name().clone(), DataType::String))
}

#[polars_expr(output_type_func=transient_states_field)]
fn transient_states(inputs: &[Series], kwargs: TransientKwargs) -> PolarsResult<Series> {
    const NAME: &str = "transient_states";
    let columns = struct_columns(NAME, &inputs[0])?;
    let known = |name: &str| columns.iter().any(|s| s.name() == name);
    if let Some((name, _)) = kwargs.weights.iter().find(|(name, _)| !known(name)) {
        let given: Vec<String> = columns.iter().take(20).map(|s| format!("`{}`", s.name())).collect();
        let text = format!(
            "`weights` must be of the columns given, got one of `{name}`, which is not among {}",
            given.join(", ")
        );
        return Err(error(NAME, text));
    }
    let weight = |s: &Series| kwargs.weights.iter().find(|(name, _)| s.name() == name).map_or(1.0, |(_, w)| *w);
    let weights = columns.iter().map(weight).collect();
    let rule = Rule::new(kwargs.window_size, kwargs.high, kwargs.trip, kwargs.lag, weights);
    let rule = rule.map_err(|e| error(NAME, e))?;
    let rows = inputs[0].len();
    let labels = inputs.get(1).map(|s| Labels::new(NAME, s)).transpose()?;
    if let Some(labels) = labels.as_ref().filter(|labels| labels.codes.len() != rows) {
        let text = format!("`labels` must have a label for each of the {rows} rows, got {}", labels.codes.len());
        return Err(error(NAME, text));
    }
    let readings = spread(&columns, rows, |s| Ok(Readings::new(NAME, s)?.values))?;
    let readings: Vec<&[f64]> = readings.iter().map(Vec::as_slice).collect();
    let states = transients::states(&readings, labels.as_ref().map(|labels| &labels.codes[..]), &rule, &POOL);
    let word = |state: State| match state {
        State::Steady => "steady",
        State::Transient => "transient",
        State::Startup => "startup",
        State::Shutdown => "shutdown",
        State::Trip => "trip",
    };
    let words: Vec<Option<&str>> = states.into_iter().map(|state| state.map(word)).collect();
    Ok(Series::new(inputs[0].name().clone(), words))
}
