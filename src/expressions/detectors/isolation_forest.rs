//! Isolation forest: trees as lists, and the score of each row.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;
use serde::Deserialize;

use crate::expressions::io::{POOL, error};
use crate::expressions::learning::{Detector, Learnt, ScoreKwargs, Scorer, fit, fit_field, score, score_field, single};
use crate::expressions::models::{Model, Part, Record, Value};
use crate::kernels::detectors::isolation_forest::{self as kernel, Forest, Plan};

const FIT: &str = "isolation_forest_fit";
const SCORE: &str = "isolation_forest_score";

struct IsolationForest {
    learnt: Learnt,
    forest: Forest,
}

impl Model for IsolationForest {
    const KIND: &'static str = "isolation_forest";
    const FORMAT: i64 = 1;
    const PARTS: &'static [(&'static str, Part)] = crate::learnt_parts![
        "feature": Integers,
        "value": Numbers,
        "child": Integers,
        "start": Integers,
        "sample_size": Integer,
        "narrow": Flag,
    ];

    fn to_values(&self) -> Vec<Value> {
        let Forest { feature, value, child, start, sample_size, narrow } = &self.forest;
        let integers = |list: &[u32]| Value::Integers(list.iter().map(|&v| i64::from(v)).collect());
        self.learnt.values([
            integers(feature),
            Value::Numbers(value.clone()),
            integers(child),
            integers(start),
            Value::Integer(*sample_size as i64),
            Value::Flag(*narrow),
        ])
    }

    fn from_record(record: &Record<'_>) -> PolarsResult<Self> {
        let integers = |part: &str| -> PolarsResult<Vec<u32>> {
            let list = record.integers(part)?.into_iter().map(|v| u32::try_from(v).ok());
            list.collect::<Option<_>>().ok_or_else(|| record.damaged(part))
        };
        let sample_size = usize::try_from(record.integer("sample_size")?);
        Ok(Self {
            learnt: Learnt::from_record(record)?,
            forest: Forest {
                feature: integers("feature")?,
                value: record.numbers("value")?,
                child: integers("child")?,
                start: integers("start")?,
                sample_size: sample_size.map_err(|_| record.damaged("sample_size"))?,
                narrow: record.flag("narrow")?,
            },
        })
    }
}

impl Detector for IsolationForest {
    fn learnt(&self) -> &Learnt {
        &self.learnt
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FitKwargs {
    n_trees: i64,
    max_samples: i64,
    bootstrap: bool,
    seed: u64,
    min_present: f64,
    strict: bool,
}

fn isolation_forest_fit_field(fields: &[Field]) -> PolarsResult<Field> {
    fit_field::<IsolationForest>(FIT, fields)
}

#[polars_expr(output_type_func=isolation_forest_fit_field)]
fn isolation_forest_fit(inputs: &[Series], kwargs: FitKwargs) -> PolarsResult<Series> {
    let plan = Plan::new(kwargs.n_trees, kwargs.max_samples, kwargs.bootstrap, kwargs.seed);
    let plan = plan.map_err(|e| error(FIT, e))?;
    fit(FIT, &inputs[0], kwargs.min_present, kwargs.strict, |matrix, learnt| {
        kernel::fit(matrix, &plan, &POOL).map(|forest| IsolationForest { learnt, forest })
    })
}

fn isolation_forest_score_field(fields: &[Field]) -> PolarsResult<Field> {
    score_field::<IsolationForest>(SCORE, fields)
}

#[polars_expr(output_type_func=isolation_forest_score_field)]
fn isolation_forest_score(inputs: &[Series], kwargs: ScoreKwargs) -> PolarsResult<Series> {
    let scores = score(SCORE, inputs, kwargs.unknown_is_error, 1, |model: &IsolationForest, positions| {
        kernel::Scorer::new(&model.forest, positions.len()).map(Scorer::new).map_err(|e| error(SCORE, e))
    });
    single(scores?)
}
