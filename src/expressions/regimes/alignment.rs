//! Labels of a new model as those of an old one: a model of labelled components in, the same model with other labels out.

use polars::prelude::*;
use pyo3_polars::derive::polars_expr;

use super::kmeans::KMeansModel;
use super::regime::RegimeModel;
use crate::expressions::detectors::gmm::GmmModel;
use crate::expressions::io::error;
use crate::expressions::learning::{Detector, numeric_fields};
use crate::expressions::models::{self, Model, elements, read};
use crate::kernels::detectors::scaling::Scale;
use crate::kernels::regimes::assignment::{Alignment, align};

/// A model whose components have labels.
pub trait Components: Detector {
    fn scale(&self) -> &Scale;

    /// Component by component, in the units of the readings.
    fn centers(&self) -> Vec<f64>;

    /// Of each component.
    fn labels(&self) -> &[i64];

    /// Component `order[i]` becomes component i, with label `labels[i]`.
    fn reorder(&mut self, order: &[usize], labels: Vec<i64>);
}

/// The schema of an operation that labels rows.
pub fn label_field<M: Model>(operation: &str, fields: &[Field]) -> PolarsResult<Field> {
    models::check_dtype::<M>(operation, fields[1].dtype())?;
    numeric_fields(operation, &fields[0])?;
    Ok(Field::new(fields[0].name().clone(), DataType::Int64))
}

const NAME: &str = "align_labels";

/// What a scalar literal holds.
fn innermost(dtype: &DataType) -> &DataType {
    match dtype {
        DataType::List(inner) => innermost(inner),
        dtype => dtype,
    }
}

fn mapping_dtype() -> DataType {
    let field = |name: &str, dtype| Field::new(name.into(), dtype);
    DataType::List(Box::new(DataType::Struct(vec![
        field("label", DataType::Int64),
        field("aligned", DataType::Int64),
        field("distance", DataType::Float64),
    ])))
}

fn align_labels_field(fields: &[Field]) -> PolarsResult<Field> {
    let (new, old) = (innermost(fields[0].dtype()), innermost(fields[1].dtype()));
    let known = [models::dtype::<KMeansModel>(), models::dtype::<GmmModel>(), models::dtype::<RegimeModel>()];
    if !known.contains(new) {
        let text =
            format!("`new` must be what this version's `kmeans_fit`, `gmm_fit` or `regime_fit` gives, got dtype {new}");
        return Err(error(NAME, text));
    }
    if old != new {
        return Err(error(NAME, format!("`old` must be a model of the same kind as `new`, got dtype {old}")));
    }
    let parts = vec![Field::new("model".into(), new.clone()), Field::new("mapping".into(), mapping_dtype())];
    Ok(Field::new(fields[0].name().clone(), DataType::Struct(parts)))
}

#[polars_expr(output_type_func=align_labels_field)]
fn align_labels(inputs: &[Series]) -> PolarsResult<Series> {
    match innermost(inputs[0].dtype()) {
        dtype if *dtype == models::dtype::<KMeansModel>() => aligned::<KMeansModel>(inputs),
        dtype if *dtype == models::dtype::<GmmModel>() => aligned::<GmmModel>(inputs),
        _ => aligned::<RegimeModel>(inputs),
    }
}

fn aligned<M: Components>(inputs: &[Series]) -> PolarsResult<Series> {
    let models_of = |s: &Series| -> PolarsResult<Vec<Option<M>>> {
        let s = if matches!(s.dtype(), DataType::List(_)) { elements(NAME, "model", s)? } else { s.clone() };
        read(NAME, &s, |_| true)
    };
    let (new, old) = (models_of(&inputs[0])?, models_of(&inputs[1])?);
    if old.len() != 1 && old.len() != new.len() {
        let text = format!("`old` must be one model, or one for each of the {} of `new`, got {}", new.len(), old.len());
        return Err(error(NAME, text));
    }
    let mut rows = Vec::with_capacity(new.len());
    let mut mappings: Vec<Option<Series>> = Vec::with_capacity(new.len());
    for (i, new) in new.into_iter().enumerate() {
        let Some(mut new) = new else {
            rows.push(models::to_series::<M>("model".into(), None)?);
            mappings.push(None);
            continue;
        };
        let before = new.labels().to_vec();
        let Alignment { labels, distances } = match &old[i.min(old.len() - 1)] {
            Some(old) => alignment(&new, old)?,
            None => Alignment { labels: before.clone(), distances: vec![f64::NAN; before.len()] },
        };
        let mut order: Vec<usize> = (0..before.len()).collect();
        order.sort_by_key(|&c| labels[c]);
        let fields = [
            Series::from_vec("label".into(), before),
            Series::from_vec("aligned".into(), labels.clone()),
            Float64Chunked::from_iter_options(
                "distance".into(),
                distances.into_iter().map(|d| Some(d).filter(|d| !d.is_nan())),
            )
            .into_series(),
        ];
        mappings.push(Some(StructChunked::from_series("".into(), order.len(), fields.iter())?.into_series()));
        new.reorder(&order, order.iter().map(|&c| labels[c]).collect());
        rows.push(models::to_series("model".into(), Some(&new))?);
    }
    let mut model = Series::new_empty("model".into(), &models::dtype::<M>());
    for row in &rows {
        model.append(row)?;
    }
    let mut mapping = Series::new_empty("mapping".into(), &mapping_dtype());
    for row in mappings {
        let row = match row {
            Some(row) => Series::new("mapping".into(), [row]),
            None => Series::full_null("mapping".into(), 1, &mapping_dtype()),
        };
        mapping.append(&row)?;
    }
    Ok(StructChunked::from_series(inputs[0].name().clone(), rows.len(), [model, mapping].iter())?.into_series())
}

fn alignment<M: Components>(new: &M, old: &M) -> PolarsResult<Alignment> {
    let (ours, theirs) = (&new.learnt().columns, &old.learnt().columns);
    let place = |column: &String| ours.iter().position(|other| other == column);
    let places: Option<Vec<usize>> = theirs.iter().map(place).collect();
    let Some(places) = places.filter(|places| places.len() == ours.len()) else {
        let text = format!(
            "`new` and `old` must be fitted on the same columns, got {ours:?} and {theirs:?}; fit both on those that they share"
        );
        return Err(error(NAME, text));
    };
    let centers: Vec<f64> =
        new.centers().chunks_exact(places.len()).flat_map(|center| places.iter().map(|&j| center[j])).collect();
    Ok(align(&centers, &old.centers(), &old.scale().scale, old.labels()))
}
