//! Correlations of pairs of columns: rolling with lags, of all pairs, and as a matrix.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{Column, POOL, Results, error, float_of, struct_columns, struct_fields};
use crate::kernels::features::correlation::matrix;
use crate::kernels::features::correlation::rolling::{PARTNERS, Pairwise, Pass, Reduce, farthest_lag};
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::parallel;
use crate::kernels::params::{Span, Window, number};
use crate::kernels::simd::LANES;

/// A number of rows, parsed.
fn count(operation: &str, name: &str, value: i64, least: i64) -> PolarsResult<usize> {
    let refused = || error(operation, format!("`{name}` must be >= {least}, got {value}"));
    usize::try_from(value).ok().filter(|_| value >= least).ok_or_else(refused)
}

/// The window in rows and the samples it must hold.
fn window(operation: &str, window_size: i64, min_samples: i64) -> PolarsResult<(usize, usize)> {
    let rows = count(operation, "window_size", window_size, 2)?;
    let window = Window::rows(rows, count(operation, "min_samples", min_samples, 1)?);
    let window = window.map_err(|e| error(operation, e))?;
    match window.span() {
        Span::Rows(rows) => Ok((rows, window.min_samples())),
        Span::Duration(_) => Err(error(operation, "`window_size` must be a number of rows")),
    }
}

/// Float32 if both columns are.
fn float_of_both(a: &DataType, b: &DataType) -> DataType {
    if (a, b) == (&DataType::Float32, &DataType::Float32) { DataType::Float32 } else { DataType::Float64 }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollingKwargs {
    window_size: i64,
    min_samples: i64,
    lag: i64,
}

fn rolling_corr_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "rolling_corr";
    let (input, other) = (&fields[0], &fields[1]);
    let other = float_of(NAME, other.name(), other.dtype())?;
    let of = |field: &Field| -> PolarsResult<Field> {
        let own = float_of(NAME, field.name(), field.dtype())?;
        Ok(Field::new(field.name().clone(), float_of_both(&own, &other)))
    };
    if !matches!(input.dtype(), DataType::Struct(_)) {
        return of(input);
    }
    let columns = struct_fields(NAME, input.name(), input.dtype())?.iter().map(of).collect::<PolarsResult<_>>()?;
    Ok(Field::new(input.name().clone(), DataType::Struct(columns)))
}

#[polars_expr(output_type_func=rolling_corr_field)]
fn rolling_corr(inputs: &[Series], kwargs: RollingKwargs) -> PolarsResult<Series> {
    const NAME: &str = "rolling_corr";
    let (rows, min_samples) = window(NAME, kwargs.window_size, kwargs.min_samples)?;
    let lag = count(NAME, "lag", kwargs.lag, 0)?;
    let (input, other) = (&inputs[0], &inputs[1]);
    if other.len() != input.len() {
        let text = format!(
            "`other` must have a value for each of the {} rows, `{}` has {}; give a column of the same frame",
            input.len(),
            other.name(),
            other.len()
        );
        return Err(error(NAME, text));
    }
    let packed = matches!(input.dtype(), DataType::Struct(_));
    let series = if packed { struct_columns(NAME, input)? } else { vec![input.clone()] };
    let columns = series.iter().map(|s| Column::new(NAME, s)).collect::<PolarsResult<Vec<_>>>()?;
    let other = Column::new(NAME, other)?;
    let share = columns.len().div_ceil(POOL.current_num_threads()).next_multiple_of(LANES);
    let groups: Vec<&[Column]> = columns.chunks(share.clamp(LANES, PARTNERS)).collect();
    let results = parallel::map(
        &POOL,
        groups.len(),
        columns.len() * input.len(),
        || Pass::new(rows, min_samples, input.len()),
        |pass, group| {
            let members: Vec<&Column> = groups[group].iter().collect();
            let dtype = |column: &Column| float_of_both(&column.dtype(), &other.dtype());
            let mut sinks: Vec<Option<Results>> =
                members.iter().map(|column| Some(Results::floats(input.len(), &dtype(column)))).collect();
            pass.write((&[&other], lag), (&members, &[0]), &mut sinks);
            sinks
        },
    );
    let named: Vec<Series> = results
        .into_iter()
        .flatten()
        .flatten()
        .zip(&series)
        .map(|(results, column)| results.into_series(column.name().clone()))
        .collect();
    match (packed, named.as_slice()) {
        (false, [only]) => Ok(only.clone()),
        _ => Ok(StructChunked::from_series(input.name().clone(), input.len(), named.iter())?.into_series()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairwiseKwargs {
    window_size: i64,
    min_samples: i64,
    max_lag: i64,
    min_corr: f64,
    unique: bool,
    reduce: Option<Table>,
}

/// What a table of pairs shows.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Table {
    MaxAbs,
    Last,
    ArgmaxLag,
}

/// The columns of a struct, of which there must be two for a pair.
fn pair_fields<'a>(operation: &str, input: &'a Field) -> PolarsResult<&'a [Field]> {
    let fields = struct_fields(operation, input.name(), input.dtype())?;
    for field in fields {
        float_of(operation, field.name(), field.dtype())?;
    }
    if fields.len() < 2 {
        let text = format!("pairs need at least two columns, got {}; name another one in `columns`", fields.len());
        return Err(error(operation, text));
    }
    Ok(fields)
}

fn pair_name(a: &str, b: &str, lag: usize) -> PlSmallStr {
    format!("{a}__{b}_lag{lag}_corr").into()
}

fn pairwise_lag_corr_field(fields: &[Field], kwargs: PairwiseKwargs) -> PolarsResult<Field> {
    const NAME: &str = "pairwise_lag_corr";
    let columns = pair_fields(NAME, &fields[0])?;
    let max_lag = count(NAME, "max_lag", kwargs.max_lag, 0)?;
    let fields_out = if kwargs.reduce.is_some() {
        vec![
            Field::new("a".into(), DataType::String),
            Field::new("b".into(), DataType::String),
            Field::new("lag".into(), DataType::Int64),
            Field::new("corr".into(), DataType::Float64),
        ]
    } else {
        let wanted = |a: usize, b: usize| if kwargs.unique { a < b } else { a != b };
        let mut out = Vec::new();
        for (i, a) in columns.iter().enumerate() {
            for (_, b) in columns.iter().enumerate().filter(|(j, _)| wanted(i, *j)) {
                let dtype = float_of_both(a.dtype(), b.dtype());
                out.extend((0..=max_lag).map(|lag| Field::new(pair_name(a.name(), b.name(), lag), dtype.clone())));
            }
        }
        out
    };
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(fields_out)))
}

#[polars_expr(output_type_func_with_kwargs=pairwise_lag_corr_field)]
fn pairwise_lag_corr(inputs: &[Series], kwargs: PairwiseKwargs) -> PolarsResult<Series> {
    const NAME: &str = "pairwise_lag_corr";
    let (window_size, min_samples) = window(NAME, kwargs.window_size, kwargs.min_samples)?;
    let max_lag = count(NAME, "max_lag", kwargs.max_lag, 0)?;
    number("min_corr", kwargs.min_corr, false).map_err(|e| error(NAME, e))?;
    let input = &inputs[0];
    let series = struct_columns(NAME, input)?;
    let columns = series.iter().map(|s| Column::new(NAME, s)).collect::<PolarsResult<Vec<_>>>()?;
    // no row has a partner at a lag of the length of the series
    let within = max_lag.min(input.len().saturating_sub(1));
    let pairwise = Pairwise { columns: &columns, window_size, min_samples, max_lag: within, unique: kwargs.unique };
    let names: Vec<(&PlSmallStr, &PlSmallStr)> =
        pairwise.pairs().map(|(a, b)| (series[a].name(), series[b].name())).collect();
    // a comparison with NaN is false: a pair without any result reaches no threshold but 0
    let reaches = |r: f64| kwargs.min_corr == 0.0 || r.abs() >= kwargs.min_corr;
    let lags = within + 1;

    let Some(table) = kwargs.reduce else {
        let dtype = |a: &Column, b: &Column| float_of_both(&a.dtype(), &b.dtype());
        let results: Vec<(Results, f64)> = pairwise.write(&POOL, |a, b| Results::floats(input.len(), &dtype(a, b)));
        let kept: Vec<bool> =
            results.chunks(lags).map(|by_lag| by_lag.iter().any(|(_, farthest)| reaches(*farthest))).collect();
        let mut fields: Vec<Series> = Vec::with_capacity(names.len() * (max_lag + 1));
        for (k, (results, _)) in results.into_iter().enumerate() {
            let (pair, lag) = (k / lags, k % lags);
            let (a, b) = names[pair];
            let column = results.into_series(pair_name(a, b, lag));
            let (rows, dtype) = (column.len(), column.dtype().clone());
            let nothing = |lag| Series::full_null(pair_name(a, b, lag), rows, &dtype);
            fields.push(if kept[pair] { column } else { nothing(lag) });
            if lag == within {
                fields.extend((lags..=max_lag).map(nothing));
            }
        }
        return Ok(StructChunked::from_series(input.name().clone(), input.len(), fields.iter())?.into_series());
    };

    let (pairs, most) = (names.len(), IdxSize::MAX as usize);
    if table != Table::ArgmaxLag && pairs.saturating_mul(max_lag + 1) > most {
        let text = format!(
            "`max_lag` must be such that a table holds no more than {most} rows, got {max_lag} for {pairs} pairs"
        );
        return Err(error(NAME, format!("{text}; ask for fewer lags or columns, or for `reduce=\"argmax_lag\"`")));
    }
    let how = if table == Table::Last { Reduce::Last } else { Reduce::Farthest };
    let results = pairwise.reduce(&POOL, how);
    let mut rows: Vec<(&str, &str, Option<i64>, f64)> = Vec::new();
    for (&(a, b), by_lag) in names.iter().zip(results.chunks(lags)) {
        if !by_lag.iter().any(|r| reaches(*r)) {
            continue;
        }
        if table == Table::ArgmaxLag {
            let (lag, r) = farthest_lag(by_lag).map_or((None, f64::NAN), |(lag, r)| (Some(lag as i64), r));
            rows.push((a, b, lag, r));
        } else {
            let beyond = std::iter::repeat_n(&f64::NAN, max_lag - within);
            let of_lag = |(lag, r): (usize, &f64)| (a.as_str(), b.as_str(), Some(lag as i64), *r);
            rows.extend(by_lag.iter().chain(beyond).enumerate().map(of_lag));
        }
    }
    let fields = [
        StringChunked::from_iter_values("a".into(), rows.iter().map(|row| row.0)).into_series(),
        StringChunked::from_iter_values("b".into(), rows.iter().map(|row| row.1)).into_series(),
        Int64Chunked::from_iter_options("lag".into(), rows.iter().map(|row| row.2)).into_series(),
        Float64Chunked::from_iter_options("corr".into(), rows.iter().map(|row| Some(row.3).filter(|r| !r.is_nan())))
            .into_series(),
    ];
    Ok(StructChunked::from_series(input.name().clone(), rows.len(), fields.iter())?.into_series())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CorrelationKwargs {
    method: Method,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Method {
    Pearson,
    Spearman,
}

fn correlation_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "correlation";
    let columns = struct_fields(NAME, fields[0].name(), fields[0].dtype())?
        .iter()
        .map(|field| {
            float_of(NAME, field.name(), field.dtype())?;
            Ok(Field::new(field.name().clone(), DataType::Float64))
        })
        .collect::<PolarsResult<_>>()?;
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(columns)))
}

#[polars_expr(output_type_func=correlation_field)]
fn correlation(inputs: &[Series], kwargs: CorrelationKwargs) -> PolarsResult<Series> {
    const NAME: &str = "correlation";
    let input = &inputs[0];
    let series = struct_columns(NAME, input)?;
    let columns = series.iter().map(|s| Column::new(NAME, s)).collect::<PolarsResult<Vec<_>>>()?;
    let views: Vec<&(dyn Source + Sync)> = columns.iter().map(|column| column as &(dyn Source + Sync)).collect();
    let results = match kwargs.method {
        Method::Pearson => matrix::pearson(&POOL, &views),
        Method::Spearman => matrix::spearman(&POOL, &views),
    };
    // the matrix is symmetric: its rows are its columns
    let fields: Vec<Series> = results
        .chunks_exact(columns.len().max(1))
        .zip(&series)
        .map(|(row, column)| {
            let mut results = Results::floats(row.len(), &DataType::Float64);
            results.push(row);
            results.into_series(column.name().clone())
        })
        .collect();
    Ok(StructChunked::from_series(input.name().clone(), columns.len(), fields.iter())?.into_series())
}
