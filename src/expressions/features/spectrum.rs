//! Spectra of whole series: aggregates over every column of a struct, in one call.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{Column, POOL, error, float_of, struct_columns, struct_fields};
use crate::kernels::features::rolling::Source;
use crate::kernels::features::spectrum::{Spectrum, frequencies};
use crate::kernels::parallel;
use crate::kernels::params::{Bands, number};
use crate::kernels::simd::all_finite;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnergyKwargs {
    bands: Vec<(f64, f64)>,
    sampling_hz: f64,
    min_samples: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PowerKwargs {
    sampling_hz: f64,
    min_samples: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeriodKwargs {
    sampling_hz: f64,
    min_samples: Option<usize>,
    min_cycles: usize,
}

/// The names of the columns, all numeric, or an error.
fn names(operation: &str, input: &Field) -> PolarsResult<Vec<PlSmallStr>> {
    struct_fields(operation, input.name(), input.dtype())?
        .iter()
        .map(|field| float_of(operation, field.name(), field.dtype()).map(|_| field.name().clone()))
        .collect()
}

/// `f` of the readings of every column, which it may overwrite.
fn map_columns<T: Send>(
    operation: &str,
    columns: &[Series],
    f: impl Fn(&mut Spectrum, &mut [f64]) -> T + Sync + Send,
) -> PolarsResult<Vec<T>> {
    let cells = columns.iter().map(|s| s.len()).sum();
    let one = |(spectrum, x): &mut (Spectrum, Vec<f64>), i: usize| -> PolarsResult<T> {
        let column = Column::new(operation, &columns[i])?;
        x.resize(column.len(), 0.0);
        column.load(0, x);
        Ok(f(spectrum, x))
    };
    parallel::map(&POOL, columns.len(), cells, Default::default, one).into_iter().collect()
}

/// One row.
fn row_of(name: &PlSmallStr, fields: &[Series]) -> PolarsResult<Series> {
    Ok(StructChunked::from_series(name.clone(), 1, fields.iter())?.into_series())
}

/// A number, null if it is not finite.
fn cell(name: PlSmallStr, value: f64) -> Series {
    Series::new(name, &[value.is_finite().then_some(value)])
}

fn energy_names<'a>(column: &'a PlSmallStr, bands: &Bands) -> impl Iterator<Item = PlSmallStr> + use<'a> {
    (0..bands.len()).map(move |band| format!("{column}_energy_{band}").into())
}

fn spectral_energy_field(fields: &[Field], kwargs: EnergyKwargs) -> PolarsResult<Field> {
    const NAME: &str = "spectral_energy";
    let bands = Bands::new(&kwargs.bands, kwargs.sampling_hz).map_err(|e| error(NAME, e))?;
    let columns = names(NAME, &fields[0])?;
    let of_column = |column| energy_names(column, &bands).map(|name| Field::new(name, DataType::Float64));
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(columns.iter().flat_map(of_column).collect())))
}

#[polars_expr(output_type_func_with_kwargs=spectral_energy_field)]
fn spectral_energy(inputs: &[Series], kwargs: EnergyKwargs) -> PolarsResult<Series> {
    const NAME: &str = "spectral_energy";
    let bands = Bands::new(&kwargs.bands, kwargs.sampling_hz).map_err(|e| error(NAME, e))?;
    let columns = struct_columns(NAME, &inputs[0])?;
    let energies = map_columns(NAME, &columns, |spectrum, x| spectrum.energies(x, kwargs.min_samples, &bands))?;
    let fields = columns.iter().zip(energies).flat_map(|(column, energies)| {
        energy_names(column.name(), &bands).zip(energies).map(|(name, energy)| cell(name, energy)).collect::<Vec<_>>()
    });
    row_of(inputs[0].name(), &fields.collect::<Vec<_>>())
}

const FREQUENCY: PlSmallStr = PlSmallStr::from_static("frequency");

fn power_name(column: &PlSmallStr) -> PlSmallStr {
    format!("{column}_power").into()
}

fn power_spectrum_field(fields: &[Field], kwargs: PowerKwargs) -> PolarsResult<Field> {
    const NAME: &str = "power_spectrum";
    number("sampling_hz", kwargs.sampling_hz, true).map_err(|e| error(NAME, e))?;
    let columns = names(NAME, &fields[0])?;
    let fields_of = std::iter::once(FREQUENCY).chain(columns.iter().map(power_name));
    let fields_of = fields_of.map(|name| Field::new(name, DataType::List(Box::new(DataType::Float64))));
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(fields_of.collect())))
}

#[polars_expr(output_type_func_with_kwargs=power_spectrum_field)]
fn power_spectrum(inputs: &[Series], kwargs: PowerKwargs) -> PolarsResult<Series> {
    const NAME: &str = "power_spectrum";
    number("sampling_hz", kwargs.sampling_hz, true).map_err(|e| error(NAME, e))?;
    let input = &inputs[0];
    let columns = struct_columns(NAME, input)?;
    let list = |name, values: Float64Chunked| -> PolarsResult<Series> {
        Ok(values.with_name(name).into_series().implode()?.into_series())
    };
    let frequencies: Vec<f64> = frequencies(input.len(), kwargs.sampling_hz).collect();
    let powers = map_columns(NAME, &columns, |spectrum, x| match spectrum.powers(x, kwargs.min_samples) {
        Some(powers) if all_finite(powers) => Float64Chunked::from_vec(PlSmallStr::EMPTY, spectrum.take_powers()),
        Some(powers) => powers.iter().map(|power| power.is_finite().then_some(*power)).collect(),
        None => Float64Chunked::full_null(PlSmallStr::EMPTY, frequencies.len()),
    })?;
    let mut fields: Vec<Series> = vec![list(FREQUENCY, Float64Chunked::from_slice(PlSmallStr::EMPTY, &frequencies))?];
    for (column, powers) in columns.iter().zip(powers) {
        fields.push(list(power_name(column.name()), powers)?);
    }
    row_of(input.name(), &fields)
}

fn dominant_period_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "dominant_period";
    let input = &fields[0];
    if !matches!(input.dtype(), DataType::Struct(_)) {
        float_of(NAME, input.name(), input.dtype())?;
        return Ok(Field::new(input.name().clone(), DataType::Float64));
    }
    let columns = names(NAME, input)?.into_iter().map(|name| Field::new(name, DataType::Float64)).collect();
    Ok(Field::new(input.name().clone(), DataType::Struct(columns)))
}

#[polars_expr(output_type_func=dominant_period_field)]
fn dominant_period(inputs: &[Series], kwargs: PeriodKwargs) -> PolarsResult<Series> {
    const NAME: &str = "dominant_period";
    number("sampling_hz", kwargs.sampling_hz, true).map_err(|e| error(NAME, e))?;
    if kwargs.min_cycles == 0 {
        return Err(error(NAME, "`min_cycles` must be >= 1, got 0"));
    }
    let input = &inputs[0];
    let of_columns = |columns: &[Series]| {
        map_columns(NAME, columns, |spectrum, x| {
            spectrum.dominant_period(x, kwargs.min_samples, kwargs.sampling_hz, kwargs.min_cycles)
        })
    };
    if !matches!(input.dtype(), DataType::Struct(_)) {
        let periods = of_columns(std::slice::from_ref(input))?;
        return Ok(cell(input.name().clone(), periods[0]));
    }
    let columns = struct_columns(NAME, input)?;
    let periods = of_columns(&columns)?;
    let fields: Vec<Series> = columns.iter().zip(periods).map(|(s, period)| cell(s.name().clone(), period)).collect();
    row_of(input.name(), &fields)
}
