//! Operations on whole columns, each by itself: a column in, a column or a value out; of a struct, for each of its fields.

use polars::prelude::*;

use super::rolling::struct_of;
use crate::expressions::io::{self, Column, POOL, Results, struct_columns};
use crate::kernels::features::quality::Marks;
use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::parallel;

/// The readings of a column, missing ones as NaN.
pub struct Readings {
    column: Column,
    pub values: Vec<f64>,
    pub any_missing: bool,
}

impl Readings {
    pub fn new(operation: &str, s: &Series) -> PolarsResult<Self> {
        let column = Column::new(operation, s)?;
        let mut values = vec![0.0; column.len()];
        let any_missing = column.load(0, &mut values);
        Ok(Self { column, values, any_missing })
    }

    /// Numbers as a column of the dtype that goes with the input.
    pub fn floats(&self, name: &PlSmallStr, results: &[f64]) -> Series {
        let mut sink = self.column.results();
        sink.push(results);
        sink.into_series(name.clone())
    }

    /// Marks as booleans, null where the reading is missing.
    pub fn marked(&self, name: &PlSmallStr, marks: Marks) -> Series {
        let bits = |words: Vec<u64>| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let present = |rows: &[f64]| rows.iter().rev().fold(0, |word, v| word << 1 | u64::from(!v.is_nan()));
        let present = self.any_missing.then(|| bits(self.values.chunks(64).map(present).collect()));
        io::booleans(name.clone(), self.values.len(), bits(marks), present)
    }
}

/// 1, 0 and NaN as true, false and null.
pub fn booleans(name: &PlSmallStr, results: &[f64]) -> Series {
    let mut sink = Results::boolean(results.len());
    sink.push(results);
    sink.into_series(name.clone())
}

/// `f` of a column, or of every column of a struct, spread over threads.
pub fn each(
    operation: &str,
    input: &Series,
    f: impl Fn(&Series) -> PolarsResult<Series> + Sync + Send,
) -> PolarsResult<Series> {
    if !matches!(input.dtype(), DataType::Struct(_)) {
        return f(input);
    }
    let columns = struct_columns(operation, input)?;
    let results = spread(&columns, input.len(), f)?;
    match results.first() {
        // aggregates: one value each
        Some(first) if first.len() != input.len() => {
            Ok(StructChunked::from_series(input.name().clone(), first.len(), results.iter())?.into_series())
        }
        _ => struct_of(input, results),
    }
}

/// `f` of each column, spread over threads above a measured amount of work.
pub fn spread<T: Send>(
    columns: &[Series],
    rows: usize,
    f: impl Fn(&Series) -> PolarsResult<T> + Sync + Send,
) -> PolarsResult<Vec<T>> {
    let results = parallel::map(&POOL, columns.len(), columns.len() * rows, || (), |(), i| f(&columns[i]));
    results.into_iter().collect()
}
