//! AR(1): a model of each column by itself, and the scores of each reading given its predecessor.
//!
//! An operation that scores takes the columns, the same columns one row before, of a fleet also the key one row before, and the
//! models. Where the row before is a null of the struct, and not a struct of nulls, or has another key, there is none: the first
//! row of a series has no score. With the columns
//! alone, the whole series is at hand: it is fitted and scored in one call.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{Column, POOL, Results, error, float_of, struct_columns};
use crate::expressions::learning::{fit_field, numeric_fields, score_dtype};
use crate::expressions::models::{self, Model, Models, Part, Record, Value};
use crate::kernels::detectors::ar1::{self, Ar1, FUSE_ROWS, Fuse, Measure, Rule, Scratch};
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::parallel;

/// The models of all columns of a fit.
struct Ar1Model {
    columns: Vec<String>,
    models: Vec<Ar1>,
}

impl Model for Ar1Model {
    const KIND: &'static str = "ar1";
    const FORMAT: i64 = 1;
    const PARTS: &'static [(&'static str, Part)] = &[
        ("columns", Part::Texts),
        ("center", Part::Numbers),
        ("phi", Part::Numbers),
        ("scale", Part::Numbers),
        ("readings", Part::Integers),
    ];

    fn to_values(&self) -> Vec<Value> {
        let numbers = |f: fn(&Ar1) -> f64| Value::Numbers(self.models.iter().map(f).collect());
        vec![
            Value::Texts(self.columns.clone()),
            numbers(|model| model.center),
            numbers(|model| model.phi),
            numbers(|model| model.scale),
            Value::Integers(self.models.iter().map(|model| model.readings as i64).collect()),
        ]
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let columns = record.texts("columns")?;
        let part = |part: &'static str| {
            let numbers = record.numbers(part)?;
            if numbers.len() == columns.len() { Ok(numbers) } else { Err(record.damaged(part)) }
        };
        let (center, phi, scale, readings) =
            (part("center")?, part("phi")?, part("scale")?, record.integers("readings")?);
        if readings.len() != columns.len() {
            return Err(record.damaged("readings"));
        }
        let models = (0..columns.len())
            .map(|j| Ar1 { center: center[j], phi: phi[j], scale: scale[j], readings: readings[j] as usize })
            .collect();
        Ok(Self { columns, models })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FitKwargs {
    phi_cap: f64,
    scale_floor: f64,
    close_gaps: bool,
}

impl FitKwargs {
    fn rule(&self, operation: &str) -> PolarsResult<Rule> {
        Rule::new(self.phi_cap, self.scale_floor, self.close_gaps).map_err(|e| error(operation, e))
    }
}

fn ar1_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<Ar1Model>("ar1_fit", fields)
}

#[polars_expr(output_type_func=ar1_fit_field)]
fn ar1_fit(inputs: &[Series], kwargs: FitKwargs) -> PolarsResult<Series> {
    const NAME: &str = "ar1_fit";
    let columns = struct_columns(NAME, &inputs[0])?;
    let model = fit(NAME, &columns, &read(NAME, &columns)?, &kwargs)?;
    models::to_series(inputs[0].name().clone(), Some(&model))
}

fn read(operation: &str, columns: &[Series]) -> PolarsResult<Vec<Column>> {
    columns.iter().map(|s| Column::new(operation, s)).collect()
}

fn fit(operation: &str, columns: &[Series], sources: &[Column], kwargs: &FitKwargs) -> PolarsResult<Ar1Model> {
    let rule = kwargs.rule(operation)?;
    let rows = columns.first().map_or(0, |s| s.len());
    let models = parallel::map(
        &POOL,
        sources.len(),
        sources.len() * rows,
        <(Vec<f64>, Scratch)>::default,
        |(buffer, scratch), j| ar1::fit(sources[j].readings(buffer), &rule, scratch),
    );
    Ok(Ar1Model { columns: columns.iter().map(|s| s.name().to_string()).collect(), models })
}

/// The inputs of a scoring operation: columns, the row before, and where there is none.
struct Inputs {
    columns: Vec<Series>,
    now: Vec<Column>,
    /// None: the row before is that of the same columns.
    before: Option<Vec<Column>>,
    /// Ascending.
    firsts: Vec<usize>,
    models: Models<Ar1Model>,
    /// For each model, where its columns' models are; None without a model.
    places: Vec<Option<Vec<usize>>>,
}

impl Inputs {
    fn new(operation: &str, inputs: &[Series], kwargs: &ScoreKwargs) -> PolarsResult<Self> {
        let columns = struct_columns(operation, &inputs[0])?;
        let now = read(operation, &columns)?;
        if let Some(kwargs) = &kwargs.fit {
            let models = Models::of(fit(operation, &columns, &now, kwargs)?);
            let places = vec![Some((0..columns.len()).collect())];
            return Ok(Self { columns, now, before: None, firsts: vec![0], models, places });
        }
        let before = read(operation, &predecessors(operation, &inputs[1])?)?;
        // of a fleet the key one row before comes third, and the keys after the models
        let of_fleet = inputs.len() > 3;
        let with_models: Vec<Series> = [&inputs[..1], &inputs[2 + usize::from(of_fleet)..]].concat();
        let models = Models::<Ar1Model>::new(operation, &with_models, kwargs.unknown_is_error)?;
        let mut places = Vec::with_capacity(models.models().len());
        for model in models.models() {
            places.push(match model {
                Some(model) => Some(places_in(operation, model, &columns)?),
                None => None,
            });
        }
        let mut first = inputs[1].is_null();
        // a literal key is that of all rows
        if of_fleet && inputs[2].len() == first.len() && with_models[2].len() == first.len() {
            first = &first | &with_models[2].not_equal_missing(&inputs[2])?;
        }
        let firsts = first.iter().enumerate().filter(|(_, first)| *first == Some(true)).map(|(row, _)| row).collect();
        Ok(Self { columns, now, before: Some(before), firsts, models, places })
    }

    /// Scores rows of a column; `buffers` hold its readings and their predecessors.
    fn score(&self, measure: Measure, j: usize, start: usize, buffers: &mut [Vec<f64>; 2], out: &mut [f64]) {
        let (n, end) = (out.len(), start + out.len());
        let [first, second] = buffers;
        let (now, before) = if let Some(columns) = &self.before {
            first.resize(n, 0.0);
            second.resize(n, 0.0);
            self.now[j].load(start, first);
            columns[j].load(start, second);
            (first.as_slice(), second.as_slice())
        } else {
            first.resize(n + 1, f64::NAN);
            let skip = usize::from(start == 0);
            self.now[j].load(start + skip - 1, &mut first[skip..]);
            (&first[1..], &first[..n])
        };
        for (k, from, to) in self.models.runs(start, end) {
            let rows = from - start..to - start;
            match (self.models.models().get(k), self.places.get(k)) {
                (Some(Some(model)), Some(Some(places))) => {
                    let model = &model.models[places[j]];
                    model.score(measure, &now[rows.clone()], &before[rows.clone()], &mut out[rows]);
                }
                _ => out[rows].fill(f64::NAN),
            }
        }
        let begin = self.firsts.partition_point(|&row| row < start);
        for &row in self.firsts[begin..].iter().take_while(|&&row| row < end) {
            out[row - start] = f64::NAN;
        }
    }
}

/// The columns one row before. The nulls of the struct need not be written into each: their rows have no score.
fn predecessors(operation: &str, s: &Series) -> PolarsResult<Vec<Series>> {
    let columns = s.struct_()?.fields_as_series();
    match columns.as_slice() {
        [only] if matches!(only.dtype(), DataType::Struct(_)) => struct_columns(operation, only),
        _ => Ok(columns),
    }
}

/// For each column of the input the position of its model.
fn places_in(operation: &str, model: &Ar1Model, columns: &[Series]) -> PolarsResult<Vec<usize>> {
    let known: std::collections::HashMap<&str, usize> =
        model.columns.iter().enumerate().map(|(j, name)| (name.as_str(), j)).collect();
    let find = |s: &Series| {
        known.get(s.name().as_str()).copied().ok_or_else(|| {
            let given: Vec<String> = model.columns.iter().take(20).map(|name| format!("`{name}`")).collect();
            let text = format!(
                "`model` has no column `{}`, it was fitted on {}; fit it on this column too",
                s.name(),
                given.join(", ")
            );
            error(operation, text)
        })
    };
    columns.iter().map(find).collect()
}

/// A result for each column.
fn each_column(operation: &str, measure: Measure, inputs: &[Series], kwargs: &ScoreKwargs) -> PolarsResult<Series> {
    let (input, rows) = (&inputs[0], inputs[0].len());
    if let Some(kwargs) = &kwargs.fit {
        return of_themselves(operation, measure, input, kwargs);
    }
    let inputs = Inputs::new(operation, inputs, kwargs)?;
    let results = parallel::map(
        &POOL,
        inputs.columns.len(),
        inputs.columns.len() * rows,
        || (<[Vec<f64>; 2]>::default(), vec![0.0; BLOCK]),
        |(buffers, out), j| {
            let mut sink = inputs.now[j].results();
            for start in (0..rows).step_by(BLOCK) {
                let out = &mut out[..BLOCK.min(rows - start)];
                inputs.score(measure, j, start, buffers, out);
                sink.push(out);
            }
            sink.into_series(inputs.columns[j].name().clone())
        },
    );
    Ok(StructChunked::from_series(input.name().clone(), rows, results.iter())?.into_series())
}

/// The same of models fitted on the columns themselves, each scored while it lies in the cache.
fn of_themselves(operation: &str, measure: Measure, input: &Series, kwargs: &FitKwargs) -> PolarsResult<Series> {
    let rule = kwargs.rule(operation)?;
    let (columns, rows) = (struct_columns(operation, input)?, input.len());
    let results = parallel::map(
        &POOL,
        columns.len(),
        columns.len() * rows,
        || (Vec::new(), Scratch::default(), vec![0.0; BLOCK]),
        |(buffer, scratch, out), j| -> PolarsResult<Series> {
            let column = Column::new(operation, &columns[j])?;
            let readings = column.readings(buffer);
            let model = ar1::fit(readings, &rule, scratch);
            let mut sink = column.results();
            for start in (0..rows).step_by(BLOCK) {
                let end = rows.min(start + BLOCK);
                let out = &mut out[..end - start];
                if start == 0 {
                    model.score_series(measure, &readings[..end], out);
                } else {
                    model.score(measure, &readings[start..end], &readings[start - 1..end - 1], out);
                }
                sink.push(out);
            }
            Ok(sink.into_series(columns[j].name().clone()))
        },
    );
    let results = results.into_iter().collect::<PolarsResult<Vec<_>>>()?;
    Ok(StructChunked::from_series(input.name().clone(), rows, results.iter())?.into_series())
}

/// Rows of a column that are scored at once; they lie in the cache together.
const BLOCK: usize = 4096;

/// One result for all columns.
fn all_columns(operation: &str, fuse: Fuse, inputs: &[Series], kwargs: &ScoreKwargs) -> PolarsResult<Series> {
    let (input, rows) = (&inputs[0], inputs[0].len());
    let inputs = Inputs::new(operation, inputs, kwargs)?;
    let fields: Vec<Field> = inputs.columns.iter().map(|s| s.field().into_owned()).collect();
    let p = inputs.columns.len();
    let blocks = parallel::map(
        &POOL,
        rows.div_ceil(FUSE_ROWS),
        p * rows,
        || (<[Vec<f64>; 2]>::default(), Vec::new(), <[Vec<f64>; 2]>::default()),
        |(buffers, z, scratch), block| {
            let start = block * FUSE_ROWS;
            let mut out = vec![0.0; FUSE_ROWS.min(rows - start)];
            z.resize(p * out.len(), 0.0);
            for (j, z) in z.chunks_exact_mut(out.len()).enumerate() {
                inputs.score(Measure::Z, j, start, buffers, z);
            }
            ar1::fuse(fuse, z, scratch, &mut out);
            out
        },
    );
    let mut sink = Results::floats(rows, &score_dtype(&fields));
    blocks.iter().for_each(|block| sink.push(block));
    Ok(sink.into_series(input.name().clone()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoreKwargs {
    /// Of `ar1_z`.
    fuse: Option<String>,
    /// How to fit where no model is given.
    fit: Option<FitKwargs>,
    unknown_is_error: bool,
}

impl ScoreKwargs {
    fn fuse(&self) -> PolarsResult<Option<Fuse>> {
        Ok(match self.fuse.as_deref() {
            None => None,
            Some("mean") => Some(Fuse::Mean),
            Some("median") => Some(Fuse::Median),
            Some("p95") => Some(Fuse::P95),
            Some(other) => {
                return Err(error(
                    "ar1_z",
                    format!(r#"`fuse` must be "mean", "median", "p95" or None, got "{other}""#),
                ));
            }
        })
    }
}

/// Refuses what is no model, where one is given.
fn check_model(operation: &str, fields: &[Field]) -> PolarsResult<()> {
    let model = fields.get(if fields.len() > 3 { 3 } else { 2 });
    model.map_or(Ok(()), |field| models::check_dtype::<Ar1Model>(operation, field.dtype()))
}

fn each_column_field(operation: &str, fields: &[Field]) -> PolarsResult<Field> {
    check_model(operation, fields)?;
    let columns = numeric_fields(operation, &fields[0])?.iter().map(|field| {
        let dtype = float_of(operation, field.name(), field.dtype())?;
        Ok(Field::new(field.name().clone(), dtype))
    });
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(columns.collect::<PolarsResult<_>>()?)))
}

fn ar1_residual_field(fields: &[Field]) -> PolarsResult<Field> {
    each_column_field("ar1_residual", fields)
}

#[polars_expr(output_type_func=ar1_residual_field)]
fn ar1_residual(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    each_column("ar1_residual", Measure::Residual, inputs, &kwargs)
}

fn ar1_z_field(fields: &[Field], kwargs: ScoreKwargs) -> PolarsResult<Field> {
    if kwargs.fuse()?.is_none() {
        return each_column_field("ar1_z", fields);
    }
    check_model("ar1_z", fields)?;
    Ok(Field::new(fields[0].name().clone(), score_dtype(numeric_fields("ar1_z", &fields[0])?)))
}

#[polars_expr(output_type_func_with_kwargs=ar1_z_field)]
fn ar1_z(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    match kwargs.fuse()? {
        Some(fuse) => all_columns("ar1_z", fuse, inputs, &kwargs),
        None => each_column("ar1_z", Measure::Z, inputs, &kwargs),
    }
}
