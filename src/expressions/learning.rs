//! Models of many columns: a struct of columns and rows in, a model or scores out.
//!
//! A file for each kind says what its models hold (`impl Model`) and which kernels its operations call; [`fit`] and [`score`] do
//! the rest.

use polars::prelude::*;
use serde::Deserialize;

use super::io::{Column, POOL, Results, error, float_of, struct_columns, struct_fields};
use super::models::{self, Model, Models, Record, Value};
use crate::kernels::detectors::Score;
use crate::kernels::detectors::complete::{Complete, Imputation};
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::matrix::{Matrix, TILE_ROWS, Tile};
use crate::kernels::parallel;

/// What a model knows of its columns, in the order in which every model of many columns keeps it.
pub struct Learnt {
    /// Names of the columns that the model holds.
    pub columns: Vec<String>,
    pub imputation: Imputation,
    /// Rows it was fitted on.
    pub rows: usize,
    pub rows_left_out: usize,
    /// Columns it does not hold, and why: "constant" or "missing".
    pub dropped: Vec<String>,
    pub dropped_because: Vec<String>,
}

/// The first parts of every model of many columns; those of the detector follow.
#[macro_export]
#[doc(hidden)]
macro_rules! learnt_parts {
    ($($name:literal: $part:ident),* $(,)?) => {
        &[
            ("columns", $crate::expressions::models::Part::Texts),
            ("medians", $crate::expressions::models::Part::Numbers),
            ("min_present", $crate::expressions::models::Part::Number),
            ("rows", $crate::expressions::models::Part::Integer),
            ("rows_left_out", $crate::expressions::models::Part::Integer),
            ("dropped", $crate::expressions::models::Part::Texts),
            ("dropped_because", $crate::expressions::models::Part::Texts),
            $(($name, $crate::expressions::models::Part::$part)),*
        ]
    };
}

impl Learnt {
    /// The values of the first parts, and of the detector's own.
    pub fn values(&self, own: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let mut values = vec![
            Value::Texts(self.columns.clone()),
            Value::Numbers(self.imputation.medians.clone()),
            Value::Number(self.imputation.min_present),
            Value::Integer(self.rows as i64),
            Value::Integer(self.rows_left_out as i64),
            Value::Texts(self.dropped.clone()),
            Value::Texts(self.dropped_because.clone()),
        ];
        values.extend(own);
        values
    }

    pub fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let columns = record.texts("columns")?;
        let medians = record.numbers("medians")?;
        if medians.len() != columns.len() {
            return Err(record.damaged("medians"));
        }
        Ok(Self {
            columns,
            imputation: Imputation { medians, min_present: record.number("min_present")? },
            rows: record.integer("rows")? as usize,
            rows_left_out: record.integer("rows_left_out")? as usize,
            dropped: record.texts("dropped")?,
            dropped_because: record.texts("dropped_because")?,
        })
    }
}

/// A model of many columns.
pub trait Detector: Model + Sync {
    fn learnt(&self) -> &Learnt;
}

/// The schema of a fit: a struct of numeric columns in, a model out.
pub fn fit_field<M: Model>(operation: &str, fields: &[Field]) -> PolarsResult<Field> {
    numeric_fields(operation, &fields[0])?;
    Ok(Field::new(fields[0].name().clone(), models::dtype::<M>()))
}

/// The columns of a struct, all numeric.
pub fn numeric_fields<'a>(operation: &str, field: &'a Field) -> PolarsResult<&'a [Field]> {
    let fields = struct_fields(operation, field.name(), field.dtype())?;
    for column in fields {
        float_of(operation, column.name(), column.dtype())?;
    }
    Ok(fields)
}

/// Fits a model; `learn` gets the complete matrix. What cannot be fitted is an error or, unless `strict`, a null model.
pub fn fit<M: Model, E: std::fmt::Display>(
    operation: &str,
    input: &Series,
    min_present: f64,
    strict: bool,
    learn: impl FnOnce(Matrix<'_>, Learnt) -> Result<M, E>,
) -> PolarsResult<Series> {
    if !(min_present > 0.0 && min_present <= 1.0) {
        return Err(error(operation, format!("`min_present` must be > 0 and <= 1, got {min_present}")));
    }
    let columns = struct_columns(operation, input)?;
    let rows = input.len();
    let sources = columns.iter().map(|s| Column::new(operation, s)).collect::<PolarsResult<Vec<_>>>()?;
    let views: Vec<&(dyn Source + Sync)> = sources.iter().map(|column| column as &(dyn Source + Sync)).collect();
    let complete = Complete::new(&POOL, rows, &views, min_present);
    let name = |j: usize| columns[j].name().to_string();
    let learnt = Learnt {
        columns: complete.kept.iter().map(|&j| name(j)).collect(),
        imputation: complete.imputation.clone(),
        rows: complete.matrix().rows(),
        rows_left_out: complete.rows_left_out,
        dropped: complete.dropped.iter().map(|&(j, _)| name(j)).collect(),
        dropped_because: complete.dropped.iter().map(|(_, reason)| reason.as_str().into()).collect(),
    };
    let model = if learnt.columns.is_empty() {
        Err(nothing_to_learn(rows, &learnt))
    } else {
        learn(complete.matrix(), learnt).map_err(|e| e.to_string())
    };
    match model {
        Ok(model) => models::to_series(input.name().clone(), Some(&model)),
        Err(_) if !strict => models::to_series::<M>(input.name().clone(), None),
        Err(text) => {
            Err(error(operation, format!("{text}; strict=False gives null for a model that cannot be fitted")))
        }
    }
}

fn nothing_to_learn(rows: usize, learnt: &Learnt) -> String {
    let dropped: Vec<String> = (learnt.dropped.iter().zip(&learnt.dropped_because).take(10))
        .map(|(column, reason)| format!("`{column}` is {reason}"))
        .collect();
    format!("none of the {rows} rows teaches anything: no column changes ({}); give it more rows", dropped.join(", "))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreKwargs {
    pub unknown_is_error: bool,
}

/// What a model makes of a tile.
pub struct Scorer<'a> {
    pub score: Box<dyn Score + 'a>,
    /// Where each of its results belongs among those of the operation.
    pub places: Vec<usize>,
}

impl<'a> Scorer<'a> {
    /// The results in their order.
    pub fn new(score: impl Score + 'a) -> Self {
        let places = (0..score.results()).collect();
        Self { score: Box::new(score), places }
    }
}

/// The dtype of scores: Float32 only if all columns are.
pub fn score_dtype(fields: &[Field]) -> DataType {
    let all = !fields.is_empty() && fields.iter().all(|field| *field.dtype() == DataType::Float32);
    if all { DataType::Float32 } else { DataType::Float64 }
}

/// The schema of one score for each row.
pub fn score_field<M: Model>(operation: &str, fields: &[Field]) -> PolarsResult<Field> {
    models::check_dtype::<M>(operation, fields[1].dtype())?;
    let dtype = score_dtype(numeric_fields(operation, &fields[0])?);
    Ok(Field::new(fields[0].name().clone(), dtype))
}

/// Cells that one thread scores at a time.
const BLOCK: usize = 65_536;

/// Scores every row with its model: `results` numbers for each, null where the model does not give one.
///
/// `scorer` gets a model and, for each of its columns, the position of that column in the input.
pub fn score<M: Detector>(
    operation: &str,
    inputs: &[Series],
    unknown_is_error: bool,
    results: usize,
    scorer: impl for<'m> Fn(&'m M, &[usize]) -> PolarsResult<Scorer<'m>>,
) -> PolarsResult<Vec<Series>> {
    let columns = struct_columns(operation, &inputs[0])?;
    let sources = columns.iter().map(|s| Column::new(operation, s)).collect::<PolarsResult<Vec<_>>>()?;
    let all_narrow = !sources.is_empty() && sources.iter().all(|c| c.dtype() == DataType::Float32);
    let dtype = if all_narrow { DataType::Float32 } else { DataType::Float64 };
    let models = Models::<M>::new(operation, inputs, unknown_is_error)?;
    let mut ready = Vec::with_capacity(models.models().len());
    for model in models.models() {
        ready.push(match model {
            Some(model) => {
                let positions = positions_of(operation, &columns, &model.learnt().columns)?;
                Some((scorer(model, &positions)?, positions, &model.learnt().imputation))
            }
            None => None,
        });
    }
    let rows = inputs[0].len();
    let size = (BLOCK / columns.len().max(1)).next_multiple_of(TILE_ROWS).max(TILE_ROWS);
    let blocks = rows.div_ceil(size);
    let block = |state: &mut State, b: usize| {
        let (start, end) = (b * size, rows.min((b + 1) * size));
        let mut block = vec![f64::NAN; results * (end - start)];
        for (k, from, to) in models.runs(start, end) {
            let Some(Some((scorer, positions, imputation))) = ready.get(k) else { continue };
            for at in (from..to).step_by(TILE_ROWS) {
                state.tile.resize(TILE_ROWS.min(to - at), positions.len());
                state.with_gaps.clear();
                for (j, &position) in positions.iter().enumerate() {
                    if sources[position].load(at, state.tile.column_mut(j)) {
                        state.with_gaps.push(j);
                    }
                }
                imputation.fill(&mut state.tile, &state.with_gaps, &mut state.complete);
                let stride = state.tile.stride();
                state.out.resize(stride * scorer.places.len(), 0.0);
                scorer.score.score(&state.tile, &mut state.scratch, &mut state.out);
                for (out, &place) in state.out.chunks_exact(stride).zip(&scorer.places) {
                    let block = &mut block[place * (end - start) + at - start..];
                    for ((to, &from), &complete) in block.iter_mut().zip(out).zip(&state.complete) {
                        *to = if complete { from } else { f64::NAN };
                    }
                }
            }
        }
        block
    };
    let scored = parallel::map(&POOL, blocks, rows * columns.len(), State::default, block);
    let mut sinks: Vec<Results> = (0..results).map(|_| Results::floats(rows, &dtype)).collect();
    for block in &scored {
        let rows = block.len() / results;
        for (sink, values) in sinks.iter_mut().zip(block.chunks_exact(rows)) {
            sink.push(values);
        }
    }
    Ok(sinks.into_iter().map(|sink| sink.into_series(inputs[0].name().clone())).collect())
}

/// What a thread keeps from tile to tile.
#[derive(Default)]
struct State {
    tile: Tile,
    with_gaps: Vec<usize>,
    complete: Vec<bool>,
    scratch: Vec<f64>,
    out: Vec<f64>,
}

/// Where the columns of a model are in the input, which may hold them in another order and others besides.
fn positions_of(operation: &str, columns: &[Series], wanted: &[String]) -> PolarsResult<Vec<usize>> {
    let known: std::collections::HashMap<&str, usize> =
        columns.iter().enumerate().map(|(i, s)| (s.name().as_str(), i)).collect();
    let find = |name: &String| {
        known.get(name.as_str()).copied().ok_or_else(|| {
            let given: Vec<String> = columns.iter().take(20).map(|s| format!("`{}`", s.name())).collect();
            let text = format!(
                "`model` was fitted on the column `{name}`, which is not among {}; add it, with nulls if the sensor is gone, or fit \
                 again without it",
                given.join(", ")
            );
            error(operation, text)
        })
    };
    wanted.iter().map(find).collect()
}

/// A row's only score.
pub fn single(mut scores: Vec<Series>) -> PolarsResult<Series> {
    Ok(scores.swap_remove(0))
}
