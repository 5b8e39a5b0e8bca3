//! Seasonal patterns: a model as data (an aggregate), and readings without them.
//!
//! The model is a struct: `formula`, `time_zone` (null: none), `every`, and `patterns`, a list with a struct for every column and
//! period in their order.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{
    Column, POOL, Results, error, float_of, local_times, struct_columns, struct_fields, time_unit, time_zone,
};
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::features::seasonal::{Clock, Pattern, Periods, Seasons, offsets, subtract, subtract_sines};
use crate::kernels::parallel;

const SEASONALITY: &str = "seasonality";
const DESEASONALIZE: &str = "deseasonalize";

/// How patterns are found and taken out.
#[derive(Clone, Copy, Deserialize, PartialEq)]
enum Formula {
    #[serde(rename = "phase_means")]
    PhaseMeans,
    #[serde(rename = "acm")]
    Acm,
}

impl Formula {
    fn name(self) -> &'static str {
        match self {
            Self::PhaseMeans => "phase_means",
            Self::Acm => "acm",
        }
    }

    fn fit(self, seasons: &mut Seasons, x: &[f64], missing: bool, clock: &Clock, min_cycles: usize) -> Vec<Pattern> {
        match self {
            Self::PhaseMeans => seasons.fit(x, missing, clock, min_cycles),
            Self::Acm => seasons.fit_by_lag(x, clock, min_cycles),
        }
    }

    fn subtract(self, x: &mut [f64], clock: &Clock, periods: &Periods, patterns: &[Pattern], min_confidence: f64) {
        match self {
            Self::PhaseMeans => subtract(x, clock, &offsets(patterns, periods, min_confidence)),
            Self::Acm => subtract_sines(x, clock, patterns, min_confidence),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FitKwargs {
    periods: Vec<i64>,
    every: i64,
    min_cycles: usize,
    formula: Formula,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeseasonalizeKwargs {
    fit: Option<FitKwargs>,
    min_confidence: f64,
}

impl FitKwargs {
    fn periods(&self, operation: &str) -> PolarsResult<Periods> {
        if self.min_cycles < 2 {
            return Err(error(operation, format!("`min_cycles` must be >= 2, got {}", self.min_cycles)));
        }
        Periods::new(&self.periods, self.every).map_err(|e| error(operation, e))
    }
}

const DURATION: DataType = DataType::Duration(TimeUnit::Nanoseconds);

fn pattern_fields() -> Vec<Field> {
    let field = |name: &'static str, dtype| Field::new(PlSmallStr::from_static(name), dtype);
    vec![
        field("column", DataType::String),
        field("period", DURATION),
        field("confidence", DataType::Float64),
        field("amplitude", DataType::Float64),
        field("peak", DURATION),
        field("profile", DataType::List(Box::new(DataType::Float64))),
    ]
}

fn model_dtype() -> DataType {
    let field = |name: &'static str, dtype| Field::new(PlSmallStr::from_static(name), dtype);
    DataType::Struct(vec![
        field("formula", DataType::String),
        field("time_zone", DataType::String),
        field("every", DURATION),
        field("patterns", DataType::List(Box::new(DataType::Struct(pattern_fields())))),
    ])
}

/// The fields of the columns, all numeric, or an error.
fn checked_columns(operation: &str, fields: &[Field]) -> PolarsResult<Vec<Field>> {
    time_unit(operation, fields[1].name(), fields[1].dtype())?;
    struct_fields(operation, fields[0].name(), fields[0].dtype())?
        .iter()
        .map(|field| Ok(Field::new(field.name().clone(), float_of(operation, field.name(), field.dtype())?)))
        .collect()
}

fn seasonality_field(fields: &[Field]) -> PolarsResult<Field> {
    checked_columns(SEASONALITY, fields)?;
    Ok(Field::new(fields[0].name().clone(), model_dtype()))
}

#[polars_expr(output_type_func=seasonality_field)]
fn seasonality(inputs: &[Series], kwargs: FitKwargs) -> PolarsResult<Series> {
    let (input, time) = (&inputs[0], &inputs[1]);
    let periods = kwargs.periods(SEASONALITY)?;
    let times = local_times(SEASONALITY, time, input.len())?;
    let clock = Clock::new(&periods, &times);
    let columns = struct_columns(SEASONALITY, input)?;
    let one = |(seasons, x): &mut (Seasons, Vec<f64>), i: usize| -> PolarsResult<Vec<Pattern>> {
        let column = Column::new(SEASONALITY, &columns[i])?;
        x.resize(column.len(), 0.0);
        let missing = column.load(0, x);
        Ok(kwargs.formula.fit(seasons, x, missing, &clock, kwargs.min_cycles))
    };
    let cells = columns.len() * input.len();
    let patterns = parallel::map(&POOL, columns.len(), cells, Default::default, one);
    let patterns = patterns.into_iter().collect::<PolarsResult<Vec<_>>>()?;
    let names: Vec<&PlSmallStr> = columns.iter().map(|s| s.name()).collect();
    model(input.name().clone(), kwargs.formula, time_zone(time.dtype()), &periods, &names, &patterns)
}

/// The model as data.
fn model(
    name: PlSmallStr,
    formula: Formula,
    zone: Option<&str>,
    periods: &Periods,
    columns: &[&PlSmallStr],
    patterns: &[Vec<Pattern>],
) -> PolarsResult<Series> {
    let finite = |v: f64| v.is_finite().then_some(v);
    let rows = || columns.iter().zip(patterns).flat_map(|(name, of)| of.iter().enumerate().map(move |row| (name, row)));
    let mut profiles =
        ListPrimitiveChunkedBuilder::<Float64Type>::new("profile".into(), rows().count(), 0, DataType::Float64);
    for (_, (_, pattern)) in rows() {
        if pattern.profile.is_empty() {
            profiles.append_null();
        } else {
            profiles.append_iter(pattern.profile.iter().map(|v| finite(*v)));
        }
    }
    let duration = |name: &'static str, values: Int64Chunked| {
        values.with_name(PlSmallStr::from_static(name)).into_duration(TimeUnit::Nanoseconds).into_series()
    };
    let peak = |(_, (_, pattern)): (_, (usize, &Pattern))| pattern.peak.map(|phase| phase as i64 * periods.every());
    let fields = [
        rows().map(|(name, _)| Some(name.as_str())).collect::<StringChunked>().with_name("column".into()).into_series(),
        duration("period", rows().map(|(_, (i, _))| Some(periods.length(i))).collect()),
        rows()
            .map(|(_, (_, p))| finite(p.confidence))
            .collect::<Float64Chunked>()
            .with_name("confidence".into())
            .into_series(),
        rows()
            .map(|(_, (_, p))| finite(p.amplitude))
            .collect::<Float64Chunked>()
            .with_name("amplitude".into())
            .into_series(),
        duration("peak", rows().map(peak).collect()),
        profiles.finish().into_series(),
    ];
    let table = StructChunked::from_series("patterns".into(), rows().count(), fields.iter())?.into_series();
    let fields = [
        Series::new("formula".into(), &[formula.name()]),
        Series::new("time_zone".into(), &[zone]),
        duration("every", [Some(periods.every())].into_iter().collect()),
        table.implode()?.into_series(),
    ];
    Ok(StructChunked::from_series(name, 1, fields.iter())?.into_series())
}

/// A model as read from data.
struct Model {
    formula: Formula,
    periods: Periods,
    columns: Vec<(String, Vec<Pattern>)>,
}

impl Model {
    /// From a struct of one row, alone or as a literal (in lists), for readings with times of this zone.
    fn read(s: &Series, zone: Option<&str>) -> PolarsResult<Self> {
        let foreign = |what: String| {
            error(DESEASONALIZE, format!("`model` {what}; it must come from acm.seasonality, one row of it at a time"))
        };
        if let DataType::List(_) = s.dtype() {
            let inner = s.list()?.get_as_series(0).ok_or_else(|| foreign("is null".into()))?;
            return Self::read(&inner, zone);
        }
        // an element of a list has lost what its numbers mean; the schema has seen it
        if s.dtype().to_physical() != model_dtype().to_physical() {
            return Err(foreign(format!("has dtype {}", s.dtype())));
        }
        if s.len() != 1 || s.null_count() > 0 {
            return Err(foreign(format!("has {} rows, {} of them null", s.len(), s.null_count())));
        }
        let damaged = || foreign("is damaged".into());
        let fields = s.struct_()?.fields_as_series();
        let formula = match fields[0].str()?.get(0) {
            Some("phase_means") => Formula::PhaseMeans,
            Some("acm") => Formula::Acm,
            _ => return Err(damaged()),
        };
        let fitted = fields[1].str()?.get(0);
        if fitted != zone {
            let name = |zone: Option<&str>| zone.map_or("no time zone".to_string(), |zone| format!("time zone {zone}"));
            let text = format!(
                "`model` was fitted on times with {}, `by` has {}: hours would not mean the same; use .dt.convert_time_zone or .dt.replace_time_zone first",
                name(fitted),
                name(zone)
            );
            return Err(error(DESEASONALIZE, text));
        }
        let every = fields[2].to_physical_repr().i64()?.get(0).ok_or_else(damaged)?;
        let table = fields[3].list()?.get_as_series(0).ok_or_else(damaged)?;
        let parts = table.struct_()?.fields_as_series();
        let (names, lengths) = (parts[0].str()?, parts[1].to_physical_repr().into_owned());
        let (confidence, amplitude) = (parts[2].f64()?, parts[3].f64()?);
        let (peaks, profiles) = (parts[4].to_physical_repr().into_owned(), parts[5].list()?);
        let mut columns: Vec<(String, Vec<i64>, Vec<Pattern>)> = Vec::new();
        for row in 0..table.len() {
            let name = names.get(row).ok_or_else(damaged)?;
            let length = lengths.i64()?.get(row).ok_or_else(damaged)?;
            let profile = match profiles.get_as_series(row) {
                Some(profile) => profile.f64()?.iter().map(|v| v.unwrap_or(f64::NAN)).collect(),
                None => Vec::new(),
            };
            let peak = peaks.i64()?.get(row).map(|time| usize::try_from(time / every.max(1)).map_err(|_| damaged()));
            let pattern = Pattern {
                confidence: confidence.get(row).unwrap_or(f64::NAN),
                amplitude: amplitude.get(row).unwrap_or(f64::NAN),
                peak: peak.transpose()?,
                profile,
            };
            // the periods of a column ascend
            match columns.last_mut() {
                Some((last, lengths, of)) if last == name && lengths.last().is_some_and(|last| *last < length) => {
                    lengths.push(length);
                    of.push(pattern);
                }
                _ => columns.push((name.into(), vec![length], vec![pattern])),
            }
        }
        let lengths = columns.first().map_or(&[][..], |(_, lengths, _)| lengths);
        let periods = Periods::new(lengths, every).map_err(|_| damaged())?;
        let fits = |pattern: &Pattern, phases: usize| pattern.profile.is_empty() || pattern.profile.len() == phases;
        for (_, of_column, patterns) in &columns {
            if of_column != lengths || !patterns.iter().zip(periods.phases()).all(|(p, phases)| fits(p, *phases)) {
                return Err(damaged());
            }
        }
        let columns = columns.into_iter().map(|(name, _, patterns)| (name, patterns)).collect();
        Ok(Self { formula, periods, columns })
    }

    /// The patterns of a column of the readings.
    fn of(&self, name: &str) -> PolarsResult<&[Pattern]> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, patterns)| patterns.as_slice()).ok_or_else(
            || {
                let known: Vec<String> = self.columns.iter().map(|(column, _)| format!("`{column}`")).collect();
                let text = format!(
                    "column `{name}` is not in the model, which holds {}; fit the model with it, or leave it out",
                    known.join(", ")
                );
                error(DESEASONALIZE, text)
            },
        )
    }
}

fn deseasonalize_field(fields: &[Field]) -> PolarsResult<Field> {
    let mut model = fields.get(2).map(Field::dtype);
    while let Some(DataType::List(inner)) = model {
        model = Some(inner);
    }
    if let Some(dtype) = model.filter(|dtype| *dtype != &model_dtype()) {
        let text = format!("`model` has dtype {dtype}; it must come from acm.seasonality, one row of it at a time");
        return Err(error(DESEASONALIZE, text));
    }
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(checked_columns(DESEASONALIZE, fields)?)))
}

#[polars_expr(output_type_func=deseasonalize_field)]
fn deseasonalize(inputs: &[Series], kwargs: DeseasonalizeKwargs) -> PolarsResult<Series> {
    let (input, time) = (&inputs[0], &inputs[1]);
    let times = local_times(DESEASONALIZE, time, input.len())?;
    let columns = struct_columns(DESEASONALIZE, input)?;
    let fields = match (&kwargs.fit, inputs.get(2)) {
        (Some(fit), _) => {
            let periods = fit.periods(DESEASONALIZE)?;
            let clock = Clock::new(&periods, &times);
            map_columns(&columns, |seasons, x, missing, _| {
                let patterns = fit.formula.fit(seasons, x, missing, &clock, fit.min_cycles);
                fit.formula.subtract(x, &clock, &periods, &patterns, kwargs.min_confidence);
                Ok(())
            })?
        }
        (None, Some(model)) => {
            let model = Model::read(model, time_zone(time.dtype()))?;
            let clock = Clock::new(&model.periods, &times);
            map_columns(&columns, |_, x, _, name| {
                model.formula.subtract(x, &clock, &model.periods, model.of(name)?, kwargs.min_confidence);
                Ok(())
            })?
        }
        (None, None) => return Err(error(DESEASONALIZE, "neither `periods` nor `model` is given")),
    };
    Ok(StructChunked::from_series(input.name().clone(), input.len(), fields.iter())?.into_series())
}

/// The readings of every column after `change`.
fn map_columns(
    columns: &[Series],
    change: impl Fn(&mut Seasons, &mut [f64], bool, &str) -> PolarsResult<()> + Sync + Send,
) -> PolarsResult<Vec<Series>> {
    let one = |(seasons, x): &mut (Seasons, Vec<f64>), i: usize| -> PolarsResult<Series> {
        let s = &columns[i];
        let column = Column::new(DESEASONALIZE, s)?;
        x.resize(column.len(), 0.0);
        let missing = column.load(0, x);
        change(seasons, x, missing, s.name())?;
        let mut results: Results = column.results();
        results.push(x);
        Ok(results.into_series(s.name().clone()))
    };
    let cells = columns.iter().map(|s| s.len()).sum();
    parallel::map(&POOL, columns.len(), cells, Default::default, one).into_iter().collect()
}
