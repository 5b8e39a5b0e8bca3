//! Operating regimes: a model, and label, confidence and novelty of each row.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use super::alignment::Components;
use crate::expressions::io::{POOL, error};
use crate::expressions::learning::{Detector, Learnt, Scorer, fit, fit_field, numeric_fields, score, score_dtype};
use crate::expressions::models::{Model, Part, Record, Value, check_dtype};
use crate::kernels::detectors::gmm::Parameters;
use crate::kernels::detectors::scaling::{Scale, Scaling};
use crate::kernels::regimes::regime::{self, Choice, Method, Output, Params, Regimes};
use crate::learnt_parts;

pub struct RegimeModel {
    learnt: Learnt,
    regimes: Regimes,
}

/// What `quality` may be.
const METRICS: [&str; 4] = ["validity and persistence", "persistence", "bic", "silhouette"];

impl Model for RegimeModel {
    const KIND: &'static str = "regime";
    const FORMAT: i64 = 1;
    const PARTS: &'static [(&'static str, Part)] = learnt_parts!(
        "center": Numbers,
        "scale": Numbers,
        "components": Numbers,
        "weights": Numbers,
        "means": Numbers,
        "covariances": Numbers,
        "labels": Integers,
        "limits": Numbers,
        "sizes": Integers,
        "centers": Numbers,
        "method": Text,
        "reason": Text,
        "metric": Text,
        "quality": Number,
        "noise_share": Number,
        "fit_rows": Integer,
    );

    fn to_values(&self) -> Vec<Value> {
        let Regimes { scale, components, parameters, labels, limits, sizes, centers, choice } = &self.regimes;
        self.learnt.values([
            Value::Numbers(scale.center.clone()),
            Value::Numbers(scale.scale.clone()),
            Value::Numbers(components.clone()),
            Value::Numbers(parameters.weights.clone()),
            Value::Numbers(parameters.means.clone()),
            Value::Numbers(parameters.covariances.clone()),
            Value::Integers(labels.clone()),
            Value::Numbers(limits.clone()),
            Value::Integers(sizes.iter().map(|&size| size as i64).collect()),
            Value::Numbers(centers.clone()),
            Value::Text(choice.method.as_str().into()),
            Value::Text(choice.reason.clone()),
            Value::Text(choice.metric.into()),
            Value::Number(choice.quality),
            Value::Number(choice.noise),
            Value::Integer(choice.rows as i64),
        ])
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let learnt = Learnt::from_record(record)?;
        let p = learnt.columns.len();
        let (labels, n) = (record.integers("labels")?, record.numbers("components")?.len());
        let k = labels.len();
        if k == 0 {
            return Err(record.damaged("labels"));
        }
        if !n.is_multiple_of(p) || n > p * p {
            return Err(record.damaged("components"));
        }
        let d = if n == 0 { p } else { n / p };
        let sizes = record.integers("sizes")?;
        if sizes.len() != k {
            return Err(record.damaged("sizes"));
        }
        let metric = record.text("metric")?;
        let regimes = Regimes {
            scale: Scale { center: record.known("center", p)?, scale: record.known("scale", p)? },
            components: record.known("components", n)?,
            parameters: Parameters {
                weights: record.known("weights", k)?,
                means: record.known("means", k * d)?,
                covariances: record.known("covariances", k * d * d)?,
            },
            labels,
            limits: record.known("limits", k)?,
            sizes: sizes.iter().map(|&size| size as usize).collect(),
            centers: record.known("centers", k * p)?,
            choice: Choice {
                method: Method::parse(&record.text("method")?).map_err(|_| record.damaged("method"))?,
                reason: record.text("reason")?,
                metric: METRICS.into_iter().find(|known| *known == metric).ok_or_else(|| record.damaged("metric"))?,
                quality: record.number("quality")?,
                noise: record.number("noise_share")?,
                rows: record.integer("fit_rows")? as usize,
            },
        };
        Ok(Self { learnt, regimes })
    }
}

impl Detector for RegimeModel {
    fn learnt(&self) -> &Learnt {
        &self.learnt
    }
}

impl Components for RegimeModel {
    fn scale(&self) -> &Scale {
        &self.regimes.scale
    }

    fn centers(&self) -> Vec<f64> {
        self.regimes.centers.clone()
    }

    fn labels(&self) -> &[i64] {
        &self.regimes.labels
    }

    fn reorder(&mut self, order: &[usize], labels: Vec<i64>) {
        self.regimes.reorder(order, labels);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegimeFitKwargs {
    method: String,
    k_range: (usize, usize),
    min_cluster_size: Option<usize>,
    min_samples: Option<usize>,
    max_fit_rows: usize,
    n_components: Option<usize>,
    distance_percentile: f64,
    reg_covar: f64,
    scale: String,
    seed: u64,
    min_present: f64,
    strict: bool,
}

fn regime_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<RegimeModel>("regime_fit", fields)
}

#[polars_expr(output_type_func=regime_fit_field)]
fn regime_fit(inputs: &[Series], kwargs: RegimeFitKwargs) -> PolarsResult<Series> {
    const NAME: &str = "regime_fit";
    let params = Params {
        method: Method::parse(&kwargs.method).map_err(|e| error(NAME, e))?,
        k_range: kwargs.k_range,
        min_cluster_size: kwargs.min_cluster_size,
        min_samples: kwargs.min_samples,
        max_fit_rows: kwargs.max_fit_rows,
        n_components: kwargs.n_components,
        distance_percentile: kwargs.distance_percentile,
        reg_covar: kwargs.reg_covar,
        scaling: Scaling::parse(&kwargs.scale).map_err(|e| error(NAME, e))?,
        seed: kwargs.seed,
    };
    let params = params.check().map_err(|e| error(NAME, e))?;
    fit(NAME, &inputs[0], kwargs.min_present, kwargs.strict, |matrix, learnt| {
        regime::fit(matrix, &params, &POOL).map(|regimes| RegimeModel { learnt, regimes })
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegimePredictKwargs {
    novel: String,
    unknown_is_error: bool,
}

fn regime_predict_field(fields: &[Field]) -> PolarsResult<Field> {
    const NAME: &str = "regime_predict";
    check_dtype::<RegimeModel>(NAME, fields[1].dtype())?;
    let confidence = score_dtype(numeric_fields(NAME, &fields[0])?);
    let parts = [("label", DataType::Int64), ("confidence", confidence), ("is_novel", DataType::Boolean)];
    let parts = parts.map(|(name, dtype)| Field::new(name.into(), dtype));
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(parts.into())))
}

#[polars_expr(output_type_func=regime_predict_field)]
fn regime_predict(inputs: &[Series], kwargs: RegimePredictKwargs) -> PolarsResult<Series> {
    const NAME: &str = "regime_predict";
    let output = match kwargs.novel.as_str() {
        "flag" => Output::Novelty,
        "unknown" => Output::Unknown,
        other => return Err(error(NAME, format!("`novel` must be \"flag\" or \"unknown\", got {other:?}"))),
    };
    let results = score(NAME, inputs, kwargs.unknown_is_error, 3, |model: &RegimeModel, _: &[usize]| {
        regime::Scorer::new(&model.regimes, output).map(Scorer::new).map_err(|e| error(NAME, e))
    })?;
    let dtypes = [DataType::Int64, results[1].dtype().clone(), DataType::Boolean];
    let fields = results.iter().zip(dtypes).zip(["label", "confidence", "is_novel"]);
    let fields = fields.map(|((s, dtype), name)| Ok(s.cast(&dtype)?.with_name(name.into())));
    let fields = fields.collect::<PolarsResult<Vec<_>>>()?;
    Ok(StructChunked::from_series(inputs[0].name().clone(), inputs[0].len(), fields.iter())?.into_series())
}
