//! Principal components: the model as lists, and what is computed of each row.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{POOL, error, struct_columns};
use crate::expressions::learning::{
    Detector, Learnt, ScoreKwargs, Scorer, fit, fit_field, numeric_fields, score, score_dtype, score_field, single,
};
use crate::expressions::models::{Model, Part, Record, Value, check_dtype};
use crate::kernels::detectors::pca::{self as kernel, Pca, Scale, Statistic};

struct PcaModel {
    learnt: Learnt,
    pca: Pca,
}

impl Model for PcaModel {
    const KIND: &'static str = "pca";
    const FORMAT: i64 = 1;
    const PARTS: &'static [(&'static str, Part)] = crate::learnt_parts![
        "center": Numbers,
        "scale": Numbers,
        "mean": Numbers,
        "components": Numbers,
        "eigenvalues": Numbers,
        "theta": Numbers,
        "spe_limit": Number,
        "t2_limit": Number,
    ];

    fn to_values(&self) -> Vec<Value> {
        let Pca { center, scale, mean, components, eigenvalues, theta, spe_limit, t2_limit, .. } = &self.pca;
        self.learnt.values([
            Value::Numbers(center.clone()),
            Value::Numbers(scale.clone()),
            Value::Numbers(mean.clone()),
            Value::Numbers(components.clone()),
            Value::Numbers(eigenvalues.clone()),
            Value::Numbers(theta.to_vec()),
            Value::Number(*spe_limit),
            Value::Number(*t2_limit),
        ])
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let learnt = Learnt::from_record(record)?;
        let p = learnt.columns.len();
        let eigenvalues = record.numbers("eigenvalues")?;
        let pca = Pca {
            center: record.known("center", p)?,
            scale: record.known("scale", p)?,
            mean: record.known("mean", p)?,
            components: record.known("components", eigenvalues.len() * p)?,
            eigenvalues,
            theta: record.known("theta", 3)?.try_into().map_err(|_| record.damaged("theta"))?,
            spe_limit: record.number("spe_limit")?,
            t2_limit: record.number("t2_limit")?,
            rows: learnt.rows,
        };
        Ok(Self { learnt, pca })
    }
}

impl Detector for PcaModel {
    fn learnt(&self) -> &Learnt {
        &self.learnt
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FitKwargs {
    n_components: i64,
    scale: String,
    confidence: f64,
    min_present: f64,
    strict: bool,
}

fn pca_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<PcaModel>("pca_fit", fields)
}

#[polars_expr(output_type_func=pca_fit_field)]
fn pca_fit(inputs: &[Series], kwargs: FitKwargs) -> PolarsResult<Series> {
    const NAME: &str = "pca_fit";
    let n_components = components(NAME, kwargs.n_components)?;
    let scale = match kwargs.scale.as_str() {
        "robust" => Scale::Robust,
        "standard" => Scale::Standard,
        "none" => Scale::None,
        other => {
            return Err(error(NAME, format!("`scale` must be \"robust\", \"standard\" or \"none\", got {other:?}")));
        }
    };
    let confidence = kwargs.confidence;
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(error(NAME, format!("`confidence` must be > 0 and < 1, got {confidence}")));
    }
    fit(NAME, &inputs[0], kwargs.min_present, kwargs.strict, |matrix, learnt| {
        // with as many as columns nothing is left for SPE
        let most = (matrix.columns() - 1).max(1);
        Pca::fit(&POOL, matrix, n_components.min(most), scale, confidence).map(|pca| PcaModel { learnt, pca })
    })
}

/// A number of components, at least 1.
pub(super) fn components(operation: &str, value: i64) -> PolarsResult<usize> {
    let count = usize::try_from(value).ok().filter(|count| *count > 0);
    count.ok_or_else(|| error(operation, format!("`n_components` must be >= 1, got {value}")))
}

fn pca_t2_field(fields: &[Field]) -> PolarsResult<Field> {
    score_field::<PcaModel>("pca_t2", fields)
}

#[polars_expr(output_type_func=pca_t2_field)]
fn pca_t2(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    single(score("pca_t2", inputs, kwargs.unknown_is_error, 1, |model: &PcaModel, _: &[usize]| {
        Ok(Scorer::new(kernel::Scorer::new(&model.pca, Statistic::T2, true)))
    })?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpeKwargs {
    mean_back: bool,
    unknown_is_error: bool,
}

fn pca_spe_field(fields: &[Field]) -> PolarsResult<Field> {
    score_field::<PcaModel>("pca_spe", fields)
}

#[polars_expr(output_type_func=pca_spe_field)]
fn pca_spe(inputs: &[Series], kwargs: SpeKwargs) -> PolarsResult<Series> {
    single(score("pca_spe", inputs, kwargs.unknown_is_error, 1, |model: &PcaModel, _: &[usize]| {
        Ok(Scorer::new(kernel::Scorer::new(&model.pca, Statistic::Spe, kwargs.mean_back)))
    })?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoresKwargs {
    n_components: i64,
    mean_back: bool,
    unknown_is_error: bool,
}

fn pca_scores_field(fields: &[Field], kwargs: ScoresKwargs) -> PolarsResult<Field> {
    const NAME: &str = "pca_scores";
    check_dtype::<PcaModel>(NAME, fields[1].dtype())?;
    let dtype = score_dtype(numeric_fields(NAME, &fields[0])?);
    let names = scores_names(components(NAME, kwargs.n_components)?);
    let scores = names.into_iter().map(|name| Field::new(name, dtype.clone())).collect();
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(scores)))
}

fn scores_names(n_components: usize) -> Vec<PlSmallStr> {
    let components = (1..=n_components).map(|a| format!("pc_{a}").into());
    components.chain(["spe".into(), "t2".into()]).collect()
}

#[polars_expr(output_type_func_with_kwargs=pca_scores_field)]
fn pca_scores(inputs: &[Series], kwargs: ScoresKwargs) -> PolarsResult<Series> {
    const NAME: &str = "pca_scores";
    let wanted = components(NAME, kwargs.n_components)?;
    let scores = score(NAME, inputs, kwargs.unknown_is_error, wanted + 2, |model: &PcaModel, _: &[usize]| {
        let count = wanted.min(model.pca.eigenvalues.len());
        let scorer = kernel::Scorer::new(&model.pca, Statistic::Scores(count), kwargs.mean_back);
        // a model of fewer components has no score on the others
        Ok(Scorer { score: Box::new(scorer), places: (0..count).chain([wanted, wanted + 1]).collect() })
    })?;
    named(&inputs[0], scores, scores_names(wanted))
}

/// One struct of all results.
pub(super) fn named(input: &Series, results: Vec<Series>, names: Vec<PlSmallStr>) -> PolarsResult<Series> {
    let fields: Vec<Series> = results.into_iter().zip(names).map(|(series, name)| series.with_name(name)).collect();
    Ok(StructChunked::from_series(input.name().clone(), input.len(), fields.iter())?.into_series())
}

fn contributions_names<'a>(columns: impl Iterator<Item = &'a PlSmallStr>) -> Vec<PlSmallStr> {
    columns.flat_map(|name| ["spe", "t2"].map(|statistic| format!("{name}_{statistic}").into())).collect()
}

fn pca_contributions_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "pca_contributions";
    check_dtype::<PcaModel>(NAME, fields[1].dtype())?;
    let columns = numeric_fields(NAME, &fields[0])?;
    let dtype = score_dtype(columns);
    let names = contributions_names(columns.iter().map(|column| column.name()));
    let parts = names.into_iter().map(|name| Field::new(name, dtype.clone())).collect();
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(parts)))
}

#[polars_expr(output_type_func=pca_contributions_field)]
fn pca_contributions(inputs: &[Series], kwargs: SpeKwargs) -> PolarsResult<Series> {
    const NAME: &str = "pca_contributions";
    let columns = struct_columns(NAME, &inputs[0])?;
    let names = contributions_names(columns.iter().map(|column| column.name()));
    let parts = score(NAME, inputs, kwargs.unknown_is_error, names.len(), |model: &PcaModel, positions: &[usize]| {
        let scorer = kernel::Scorer::new(&model.pca, Statistic::Contributions, kwargs.mean_back);
        let spe = positions.iter().map(|position| 2 * position);
        let t2 = positions.iter().map(|position| 2 * position + 1);
        Ok(Scorer { score: Box::new(scorer), places: spe.chain(t2).collect() })
    })?;
    named(&inputs[0], parts, names)
}
