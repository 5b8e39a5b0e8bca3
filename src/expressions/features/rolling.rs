//! Rolling features. Each takes one numeric column, or a struct of them (one call, spread over threads), and then, for
//! duration windows, the time column.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{Column, POOL, Results, error, float_of, struct_columns, struct_fields, time_unit, times};
use crate::kernels::features::rolling::{Pass, Plan, Source, Statistic};
use crate::kernels::parallel;
use crate::kernels::params::{Bands, Window};

/// Defines the kwargs of an operation: those of the window and its own. `window_size` counts rows, or nanoseconds where a
/// time column is given.
macro_rules! kwargs {
    ($name:ident { $($field:ident: $type:ty),* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            window_size: i64,
            min_samples: i64,
            $($field: $type,)*
        }

        impl $name {
            fn window(&self, operation: &str, inputs: &[Series]) -> PolarsResult<Window> {
                let count = |name: &str, value: i64| {
                    usize::try_from(value).map_err(|_| error(operation, format!("`{name}` must be >= 1, got {value}")))
                };
                let min_samples = count("min_samples", self.min_samples)?;
                let window = if inputs.len() > 1 {
                    Window::duration(self.window_size, min_samples)
                } else {
                    Window::rows(count("window_size", self.window_size)?, min_samples)
                };
                window.map_err(|e| error(operation, e))
            }
        }
    };
}

kwargs!(PlainKwargs {});
kwargs!(MadKwargs { scale: f64 });
kwargs!(StdKwargs { ddof: u32 });
kwargs!(ShapeKwargs { bias: bool, clip: Option<f64> });
kwargs!(RobustZKwargs { clip: f64, scale_floor: f64 });
kwargs!(HampelKwargs { n_sigmas: f64 });
kwargs!(SpectralKwargs { bands: Vec<(f64, f64)>, sampling_hz: f64 });
kwargs!(FeaturesKwargs {
    features: Vec<Feature>,
    bands: Vec<(f64, f64)>,
    sampling_hz: f64,
    spectrum_min_samples: usize,
    clip: f64,
    scale_floor: f64,
    fill_null: Option<f64>,
    order: Order
});

impl ShapeKwargs {
    fn clip(&self) -> f64 {
        self.clip.unwrap_or(f64::INFINITY)
    }
}

/// A part of [`rolling_features`], by ACM's suffix.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Feature {
    Med,
    Mad,
    Mean,
    Std,
    Slope,
    Skew,
    Kurt,
    Energy,
    Rz,
}

/// Order of the fields of [`rolling_features`].
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// All features of a column together.
    Column,
    /// All columns of a feature together, the energies by column, as ACM has them.
    Feature,
}

/// The times of the second input, where there is one.
pub(in crate::expressions) fn by(operation: &str, inputs: &[Series]) -> PolarsResult<Option<Vec<i64>>> {
    inputs.get(1).map(|s| times(operation, s, inputs[0].len())).transpose()
}

/// One statistic of a column, or of every column of a struct.
fn one_each(operation: &str, inputs: &[Series], window: Window, statistic: Statistic) -> PolarsResult<Series> {
    let statistic = statistic.checked().map_err(|e| error(operation, e))?;
    let plan = Plan::new(window, vec![statistic]);
    let times = by(operation, inputs)?;
    let one = |pass: &mut Pass, s: &Series| -> PolarsResult<Series> {
        let column = Column::new(operation, s)?;
        let results = match statistic {
            Statistic::Hampel { .. } => Results::boolean(column.len()),
            _ => column.results(),
        };
        let mut sinks = [results];
        pass.run(&column, times.as_deref(), &mut sinks);
        let [results] = sinks;
        Ok(results.into_series(s.name().clone()))
    };
    let input = &inputs[0];
    if !matches!(input.dtype(), DataType::Struct(_)) {
        return one(&mut Pass::new(&plan), input);
    }
    let columns = struct_columns(operation, input)?;
    let cells = columns.len() * input.len();
    let results = parallel::map(&POOL, columns.len(), cells, || Pass::new(&plan), |pass, i| one(pass, &columns[i]));
    struct_of(input, results.into_iter().collect::<PolarsResult<Vec<_>>>()?)
}

pub(super) fn struct_of(input: &Series, fields: Vec<Series>) -> PolarsResult<Series> {
    Ok(StructChunked::from_series(input.name().clone(), input.len(), fields.iter())?.into_series())
}

/// Refuses at schema time what [`by`] would refuse for its dtype.
pub(in crate::expressions) fn check_by(operation: &str, fields: &[Field]) -> PolarsResult<()> {
    fields.get(1).map_or(Ok(()), |field| time_unit(operation, field.name(), field.dtype()).map(drop))
}

/// The schema of [`one_each`].
pub(in crate::expressions) fn one_each_field(
    operation: &str,
    fields: &[Field],
    output: Option<DataType>,
) -> PolarsResult<Field> {
    check_by(operation, fields)?;
    let input = &fields[0];
    let of = |field: &Field| -> PolarsResult<Field> {
        let float = float_of(operation, field.name(), field.dtype())?;
        Ok(Field::new(field.name().clone(), output.clone().unwrap_or(float)))
    };
    if !matches!(input.dtype(), DataType::Struct(_)) {
        return of(input);
    }
    let columns = struct_fields(operation, input.name(), input.dtype())?.iter().map(of).collect::<PolarsResult<_>>()?;
    Ok(Field::new(input.name().clone(), DataType::Struct(columns)))
}

/// Defines an operation with one result per column, and its schema.
macro_rules! operation {
    ($name:ident, $field:ident, $kwargs:ident, $output:expr, $statistic:expr) => {
        fn $field(fields: &[Field]) -> PolarsResult<Field> {
            one_each_field(stringify!($name), fields, $output)
        }

        #[polars_expr(output_type_func=$field)]
        fn $name(inputs: &[Series], kwargs: $kwargs) -> PolarsResult<Series> {
            let statistic: fn(&$kwargs) -> Statistic = $statistic;
            let window = kwargs.window(stringify!($name), inputs)?;
            one_each(stringify!($name), inputs, window, statistic(&kwargs))
        }
    };
}

operation!(rolling_median, rolling_median_field, PlainKwargs, None, |_| Statistic::Median);
operation!(rolling_mad, rolling_mad_field, MadKwargs, None, |k| Statistic::Mad { scale: k.scale });
operation!(rolling_mean, rolling_mean_field, PlainKwargs, None, |_| Statistic::Mean);
operation!(rolling_std, rolling_std_field, StdKwargs, None, |k| Statistic::Std { ddof: k.ddof });
operation!(rolling_skew, rolling_skew_field, ShapeKwargs, None, |k| Statistic::Skew { bias: k.bias, clip: k.clip() });
operation!(rolling_kurtosis, rolling_kurtosis_field, ShapeKwargs, None, |k| Statistic::Kurtosis {
    bias: k.bias,
    clip: k.clip()
});
operation!(rolling_slope, rolling_slope_field, PlainKwargs, None, |_| Statistic::Slope);
operation!(rolling_robust_z, rolling_robust_z_field, RobustZKwargs, None, |k| Statistic::RobustZ {
    clip: k.clip,
    scale_floor: k.scale_floor
});
operation!(rolling_hampel, rolling_hampel_field, HampelKwargs, Some(DataType::Boolean), |k| Statistic::Hampel {
    n_sigmas: k.n_sigmas
});

/// Several statistics of every column of a struct, each with the suffix of its field's name.
struct Several {
    statistics: Vec<(Statistic, String)>,
    order: Order,
}

impl Several {
    /// Column and statistic of each field of the result.
    fn places(&self, columns: usize) -> Vec<(usize, usize)> {
        let together = |a: &(Statistic, String), b: &(Statistic, String)| match self.order {
            Order::Column => true,
            Order::Feature => matches!((a.0, b.0), (Statistic::Energy(_), Statistic::Energy(_))),
        };
        let mut places = Vec::with_capacity(columns * self.statistics.len());
        let mut first = 0;
        for group in self.statistics.chunk_by(together) {
            places.extend((0..columns).flat_map(|c| (first..first + group.len()).map(move |k| (c, k))));
            first += group.len();
        }
        places
    }

    fn plan(&self, window: Window) -> Plan {
        Plan::new(window, self.statistics.iter().map(|(statistic, _)| *statistic).collect())
    }

    fn name(&self, column: &str, k: usize) -> PlSmallStr {
        format!("{column}_{}", self.statistics[k].1).into()
    }

    fn field(&self, operation: &str, fields: &[Field]) -> PolarsResult<Field> {
        check_by(operation, fields)?;
        let input = &fields[0];
        let columns = struct_fields(operation, input.name(), input.dtype())?;
        let dtypes = columns
            .iter()
            .map(|column| float_of(operation, column.name(), column.dtype()))
            .collect::<PolarsResult<Vec<_>>>()?;
        let places = self.places(columns.len()).into_iter();
        let fields = places.map(|(c, k)| Field::new(self.name(columns[c].name(), k), dtypes[c].clone()));
        Ok(Field::new(input.name().clone(), DataType::Struct(fields.collect())))
    }

    /// Runs the plan over every column, in one pass over each.
    fn run(&self, operation: &str, inputs: &[Series], plan: &Plan, fill_null: Option<f64>) -> PolarsResult<Series> {
        let times = by(operation, inputs)?;
        let input = &inputs[0];
        let columns = struct_columns(operation, input)?;
        let one = |pass: &mut Pass, s: &Series| -> PolarsResult<Vec<Series>> {
            let column = Column::new(operation, s)?;
            let sinks = || column.results().instead_of_null(fill_null);
            let mut sinks: Vec<Results> = self.statistics.iter().map(|_| sinks()).collect();
            pass.run(&column, times.as_deref(), &mut sinks);
            let named = |(k, results): (usize, Results)| results.into_series(self.name(s.name(), k));
            Ok(sinks.into_iter().enumerate().map(named).collect())
        };
        let cells = columns.len() * input.len();
        let results = parallel::map(&POOL, columns.len(), cells, || Pass::new(plan), |pass, c| one(pass, &columns[c]))
            .into_iter()
            .collect::<PolarsResult<Vec<_>>>()?;
        struct_of(input, self.places(columns.len()).into_iter().map(|(c, k)| results[c][k].clone()).collect())
    }
}

fn energies(bands: &Bands) -> impl Iterator<Item = (Statistic, String)> + use<> {
    (0..bands.len()).map(|band| (Statistic::Energy(band), format!("energy_{band}")))
}

fn parse_bands(operation: &str, bands: &[(f64, f64)], sampling_hz: f64) -> PolarsResult<Bands> {
    Bands::new(bands, sampling_hz).map_err(|e| error(operation, e))
}

fn spectral_energies(operation: &str, kwargs: &SpectralKwargs) -> PolarsResult<(Several, Bands)> {
    let bands = parse_bands(operation, &kwargs.bands, kwargs.sampling_hz)?;
    Ok((Several { statistics: energies(&bands).collect(), order: Order::Column }, bands))
}

fn rolling_spectral_energy_field(fields: &[Field], kwargs: SpectralKwargs) -> PolarsResult<Field> {
    const NAME: &str = "rolling_spectral_energy";
    spectral_energies(NAME, &kwargs)?.0.field(NAME, fields)
}

#[polars_expr(output_type_func_with_kwargs=rolling_spectral_energy_field)]
fn rolling_spectral_energy(inputs: &[Series], kwargs: SpectralKwargs) -> PolarsResult<Series> {
    const NAME: &str = "rolling_spectral_energy";
    let (several, bands) = spectral_energies(NAME, &kwargs)?;
    let window = kwargs.window(NAME, inputs)?;
    let plan = several.plan(window).with_spectrum(bands, window.min_samples()).map_err(|e| error(NAME, e))?;
    several.run(NAME, inputs, &plan, None)
}

impl FeaturesKwargs {
    /// The statistics asked for with their suffixes, and the bands of their energies.
    fn several(&self, operation: &str) -> PolarsResult<(Several, Option<Bands>)> {
        let spectral = self.features.contains(&Feature::Energy);
        let bands = spectral.then(|| parse_bands(operation, &self.bands, self.sampling_hz)).transpose()?;
        let mut statistics: Vec<(Statistic, String)> = Vec::new();
        for feature in &self.features {
            let (statistic, suffix) = match feature {
                Feature::Med => (Statistic::Median, "med"),
                Feature::Mad => (Statistic::Mad { scale: 1.0 }, "mad"),
                Feature::Mean => (Statistic::Mean, "mean"),
                Feature::Std => (Statistic::Std { ddof: 1 }, "std"),
                Feature::Slope => (Statistic::Slope, "slope"),
                Feature::Skew => (Statistic::Skew { bias: false, clip: f64::INFINITY }, "skew"),
                Feature::Kurt => (Statistic::Kurtosis { bias: false, clip: f64::INFINITY }, "kurt"),
                Feature::Rz => (Statistic::RobustZ { clip: self.clip, scale_floor: self.scale_floor }, "rz"),
                Feature::Energy => {
                    statistics.extend(bands.iter().flat_map(energies));
                    continue;
                }
            };
            statistics.push((statistic.checked().map_err(|e| error(operation, e))?, suffix.to_string()));
        }
        Ok((Several { statistics, order: self.order }, bands))
    }
}

fn rolling_features_field(fields: &[Field], kwargs: FeaturesKwargs) -> PolarsResult<Field> {
    const NAME: &str = "rolling_features";
    kwargs.several(NAME)?.0.field(NAME, fields)
}

#[polars_expr(output_type_func_with_kwargs=rolling_features_field)]
fn rolling_features(inputs: &[Series], kwargs: FeaturesKwargs) -> PolarsResult<Series> {
    const NAME: &str = "rolling_features";
    let (several, bands) = kwargs.several(NAME)?;
    let mut plan = several.plan(kwargs.window(NAME, inputs)?);
    if let Some(bands) = bands {
        plan = plan.with_spectrum(bands, kwargs.spectrum_min_samples).map_err(|e| error(NAME, e))?;
    }
    several.run(NAME, inputs, &plan, kwargs.fill_null)
}
