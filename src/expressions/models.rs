//! Fitted models as data: a struct of one row with the same fields for all models of a kind, whatever columns they were
//! fitted on, so that a fleet of them is one column.
//!
//! An operation that scores takes the columns as a struct, the models, and for a fleet the key of each row and the keys of
//! the models. Models and keys come as scalar literals, lists of lists, which the streaming engine does not repeat; one model
//! may also come as a column of one row.

use std::collections::HashMap;
use std::hash::Hash;

use polars::prelude::*;

use super::io::error;

/// What a part of a model holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Number,
    Integer,
    Flag,
    Text,
    Numbers,
    Integers,
    Texts,
}

impl Part {
    fn dtype(self) -> DataType {
        match self {
            Self::Number => DataType::Float64,
            Self::Integer => DataType::Int64,
            Self::Flag => DataType::Boolean,
            Self::Text => DataType::String,
            Self::Numbers => DataType::List(Box::new(DataType::Float64)),
            Self::Integers => DataType::List(Box::new(DataType::Int64)),
            Self::Texts => DataType::List(Box::new(DataType::String)),
        }
    }
}

/// A part with its value; a number that is NaN is null.
pub enum Value {
    Number(f64),
    Integer(i64),
    Flag(bool),
    Text(String),
    Numbers(Vec<f64>),
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

impl Value {
    fn into_series(self, name: &str) -> PolarsResult<Series> {
        let name = PlSmallStr::from(name);
        let missing = |v: f64| Some(v).filter(|v| !v.is_nan());
        let list = |values: Series| Series::new(name.clone(), [values]);
        Ok(match self {
            Self::Number(v) => Series::new(name, [missing(v)]),
            Self::Integer(v) => Series::new(name, [v]),
            Self::Flag(v) => Series::new(name, [v]),
            Self::Text(v) => Series::new(name, [v]),
            Self::Numbers(v) => {
                list(Float64Chunked::from_iter_options("".into(), v.into_iter().map(missing)).into_series())
            }
            Self::Integers(v) => list(Series::from_vec("".into(), v)),
            Self::Texts(v) => list(Series::new("".into(), v)),
        })
    }
}

/// A model of a kind, as a row.
pub trait Model: Sized {
    /// The detector's name, the first field of every model.
    const KIND: &'static str;
    /// Raised when the parts or their meaning change.
    const FORMAT: i64;
    const PARTS: &'static [(&'static str, Part)];

    /// The parts in their order.
    fn to_values(&self) -> Vec<Value>;

    fn from_record(record: &Record<'_>) -> PolarsResult<Self>;
}

fn parts<M: Model>() -> impl Iterator<Item = (&'static str, Part)> {
    [("kind", Part::Text), ("format", Part::Integer)].into_iter().chain(M::PARTS.iter().copied())
}

/// The dtype of the models of a kind.
pub fn dtype<M: Model>() -> DataType {
    DataType::Struct(parts::<M>().map(|(name, part)| Field::new(name.into(), part.dtype())).collect())
}

/// A model as a Series of one row; null where there is none.
pub fn to_series<M: Model>(name: PlSmallStr, model: Option<&M>) -> PolarsResult<Series> {
    let Some(model) = model else { return Ok(Series::full_null(name, 1, &dtype::<M>())) };
    let head = [Value::Text(M::KIND.into()), Value::Integer(M::FORMAT)];
    let values = head.into_iter().chain(model.to_values());
    let fields = parts::<M>().zip(values).map(|((part, _), value)| value.into_series(part));
    let fields = fields.collect::<PolarsResult<Vec<_>>>()?;
    Ok(StructChunked::from_series(name, 1, fields.iter())?.into_series())
}

/// Refuses at schema time what cannot hold models of a kind.
pub fn check_dtype<M: Model>(operation: &str, model: &DataType) -> PolarsResult<()> {
    match model {
        DataType::List(inner) => check_dtype::<M>(operation, inner),
        model if *model == dtype::<M>() => Ok(()),
        model => Err(error(operation, not_ours::<M>(&format!("dtype {model}")))),
    }
}

fn not_ours<M: Model>(got: &str) -> String {
    format!("`model` must be what this version's `{}_fit` gives, got {got}", M::KIND)
}

/// One of several models as it lies in its struct.
pub struct Record<'a> {
    operation: &'a str,
    fields: &'a [Series],
    row: usize,
}

impl Record<'_> {
    fn value(&self, part: &str) -> PolarsResult<AnyValue<'_>> {
        let field = self.fields.iter().find(|field| field.name() == part);
        field.ok_or_else(|| self.damaged(part))?.get(self.row)
    }

    /// The error for a part that does not hold what it should.
    pub fn damaged(&self, part: &str) -> PolarsError {
        error(self.operation, format!("`model` is damaged: its part `{part}` does not fit the others; fit it again"))
    }

    /// NaN if it is null.
    pub fn number(&self, part: &str) -> PolarsResult<f64> {
        Ok(self.value(part)?.extract().unwrap_or(f64::NAN))
    }

    pub fn integer(&self, part: &str) -> PolarsResult<i64> {
        self.value(part)?.extract().ok_or_else(|| self.damaged(part))
    }

    pub fn flag(&self, part: &str) -> PolarsResult<bool> {
        match self.value(part)? {
            AnyValue::Boolean(v) => Ok(v),
            _ => Err(self.damaged(part)),
        }
    }

    pub fn text(&self, part: &str) -> PolarsResult<String> {
        self.value(part)?.get_str().map(str::to_owned).ok_or_else(|| self.damaged(part))
    }

    fn list(&self, part: &str) -> PolarsResult<Series> {
        match self.value(part)? {
            AnyValue::List(values) => Ok(values),
            _ => Err(self.damaged(part)),
        }
    }

    pub fn numbers(&self, part: &str) -> PolarsResult<Vec<f64>> {
        let values = self.list(part)?;
        let values = values.f64()?.to_vec_null_aware();
        Ok(values.left_or_else(|values| values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect()))
    }

    /// So many numbers, none of them missing.
    pub fn known(&self, part: &str, count: usize) -> PolarsResult<Vec<f64>> {
        let values = self.numbers(part)?;
        let whole = values.len() == count && values.iter().all(|v| v.is_finite());
        if whole { Ok(values) } else { Err(self.damaged(part)) }
    }

    pub fn integers(&self, part: &str) -> PolarsResult<Vec<i64>> {
        let values = self.list(part)?;
        values.i64()?.to_vec_null_aware().left().ok_or_else(|| self.damaged(part))
    }

    pub fn texts(&self, part: &str) -> PolarsResult<Vec<String>> {
        let values = self.list(part)?;
        let texts = values.str()?.iter().map(|v| v.map(str::to_owned)).collect::<Option<_>>();
        texts.ok_or_else(|| self.damaged(part))
    }
}

/// The models of an operation, and which of them goes with each row.
pub struct Models<M> {
    models: Vec<Option<M>>,
    places: Places,
}

enum Places {
    One,
    /// A position for each row; one behind the last model where there is none.
    ByKey(Vec<usize>),
}

impl<M: Model> Models<M> {
    /// `inputs` are the columns, the models and, of a fleet, the keys of the rows and those of the models; models that no row
    /// needs are not read.
    pub fn new(operation: &str, inputs: &[Series], unknown_is_error: bool) -> PolarsResult<Self> {
        check_dtype::<M>(operation, inputs[1].dtype())?;
        let series = elements(operation, "model", &inputs[1])?;
        let (places, needed) = match inputs {
            [input, _, key, keys] => {
                let keys = elements(operation, "model", keys)?;
                let remedy = unknown_is_error.then_some("take on_unknown=\"null\"");
                let places = positions(operation, key, &keys, input.len(), series.len(), remedy)?;
                let mut needed = vec![false; series.len() + 1];
                places.iter().for_each(|&k| needed[k] = true);
                (Places::ByKey(places), needed)
            }
            _ => (Places::One, vec![true]),
        };
        Ok(Self { models: read(operation, &series, |row| needed[row])?, places })
    }

    /// The only one.
    pub fn of(model: M) -> Self {
        Self { models: vec![Some(model)], places: Places::One }
    }

    pub fn models(&self) -> &[Option<M>] {
        &self.models
    }

    /// Runs of rows that go with the same model, from `start` to `end`: the model's position, the first row, the one behind.
    pub fn runs(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let mut row = start;
        std::iter::from_fn(move || {
            if row >= end {
                return None;
            }
            let from = row;
            let k = match &self.places {
                Places::One => {
                    row = end;
                    0
                }
                Places::ByKey(places) => {
                    let k = places[from];
                    row = from + places[from..end].iter().take_while(|&&other| other == k).count();
                    k
                }
            };
            Some((k, from, row))
        })
    }
}

/// The models of a kind in a Series of them: those that are needed, None for the others and where there is none.
pub fn read<M: Model>(
    operation: &str,
    series: &Series,
    needed: impl Fn(usize) -> bool,
) -> PolarsResult<Vec<Option<M>>> {
    let fields = series.struct_()?.fields_as_series();
    let present = series.is_not_null();
    let read = |row: usize| -> PolarsResult<Option<M>> {
        if !needed(row) || !present.get(row).unwrap_or(false) {
            return Ok(None);
        }
        let record = Record { operation, fields: &fields, row };
        let (kind, format) = (record.text("kind")?, record.integer("format")?);
        if kind != M::KIND {
            return Err(error(operation, not_ours::<M>(&format!("a model of kind {kind:?}"))));
        }
        if format != M::FORMAT {
            let got = format!("one of format {format}, this version reads format {}", M::FORMAT);
            return Err(error(operation, not_ours::<M>(&got)));
        }
        M::from_record(&record).map(Some)
    };
    (0..series.len()).map(read).collect()
}

/// What lies in the lists of a scalar literal; a column is itself, of one row.
pub fn elements(operation: &str, parameter: &str, s: &Series) -> PolarsResult<Series> {
    if s.len() != 1 {
        let remedy = if parameter == "model" { "one model for each key goes with `by`" } else { "take the last one" };
        return Err(error(operation, format!("`{parameter}` must be one row, got {}; {remedy}", s.len())));
    }
    let mut s = s.clone();
    while matches!(s.dtype(), DataType::List(_)) {
        s = s.explode(ExplodeOptions { empty_as_null: false, keep_nulls: false })?;
    }
    Ok(s)
}

/// For each row the position of the model of its key; `default` where the key is missing or unknown. With a `remedy`, an unknown
/// key is an error.
pub fn positions(
    operation: &str,
    key: &Series,
    keys: &Series,
    rows: usize,
    default: usize,
    remedy: Option<&str>,
) -> PolarsResult<Vec<usize>> {
    let of = |s: &Series| match s.dtype() {
        DataType::Null => Ok(None),
        dtype if dtype.is_integer() => Ok(Some(DataType::Int64)),
        DataType::String | DataType::Categorical(..) | DataType::Enum(..) => Ok(Some(DataType::String)),
        dtype => Err(error(operation, format!("`by` must be text or integers, got dtype {dtype}; cast it first"))),
    };
    let kind = match (of(key)?, of(keys)?) {
        (Some(a), Some(b)) if a != b => {
            let text = format!("`by` has dtype {}, but the models' keys are {}; cast one", key.dtype(), keys.dtype());
            return Err(error(operation, text));
        }
        (a, b) => a.or(b).unwrap_or(DataType::Int64),
    };
    let (key, keys) = (key.cast(&kind)?, keys.cast(&kind)?);
    let (found, unknown) = match kind {
        DataType::String => look_up(key.str()?.iter(), keys.str()?.iter(), default),
        _ => look_up(key.i64()?.iter(), keys.i64()?.iter(), default),
    };
    if let (Some(row), Some(remedy)) = (unknown, remedy) {
        let text = format!("`by` has the key {}, which no model is for; fit it too, or {remedy}", key.get(row)?);
        return Err(error(operation, text));
    }
    // a literal key
    Ok(if found.len() == 1 { vec![found[0]; rows] } else { found })
}

/// Positions, and the first row whose key is unknown. Runs of equal keys, which are the rule, are looked up once.
fn look_up<K: Copy + Eq + Hash>(
    key: impl Iterator<Item = Option<K>>,
    keys: impl Iterator<Item = Option<K>>,
    default: usize,
) -> (Vec<usize>, Option<usize>) {
    let known: HashMap<K, usize> = keys.enumerate().filter_map(|(i, k)| Some((k?, i))).collect();
    let (mut last, mut unknown) = ((None, default), None);
    let found = key
        .enumerate()
        .map(|(row, k)| {
            if k != last.0 {
                let position = k.and_then(|k| known.get(&k).copied());
                if k.is_some() && position.is_none() {
                    unknown.get_or_insert(row);
                }
                last = (k, position.unwrap_or(default));
            }
            last.1
        })
        .collect();
    (found, unknown)
}
