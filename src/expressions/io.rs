//! The only door between Polars and the kernels: Series to numbers, results to Series.
//!
//! It decides what missing means: null, NaN, +inf and -inf are missing and reach the kernels as NaN; a result that is not
//! finite, or not finite as a Float32, becomes null. Float32 stays Float32; every other numeric dtype becomes Float64.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::LazyLock;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use polars::prelude::*;
use polars_arrow::array::BooleanArray;
use polars_arrow::bitmap::{Bitmap, MutableBitmap};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::kernels::features::rolling::{Sink, Source};
use crate::kernels::regimes::MISSING;
use crate::kernels::simd::all_finite;

/// The threads of calls with many columns: made on first use, so that a process may fork before.
pub static POOL: LazyLock<ThreadPool> = LazyLock::new(|| {
    let limit = std::env::var("POLARS_MAX_THREADS").ok().and_then(|n| n.parse().ok());
    let threads = limit.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("acm_rs-{i}"))
        .build()
        .expect("the operating system gives threads")
});

/// An error that names the operation; Polars puts its own words before it.
pub fn error(operation: &str, text: impl std::fmt::Display) -> PolarsError {
    PolarsError::ComputeError(format!("acm.{operation}: {text}").into())
}

/// The dtype of the result of a column, or an error if it is not numeric.
pub fn float_of(operation: &str, column: &str, dtype: &DataType) -> PolarsResult<DataType> {
    match dtype {
        DataType::Float32 => Ok(DataType::Float32),
        DataType::Null => Ok(DataType::Float64),
        dtype if dtype.is_primitive_numeric() || dtype.is_decimal() => Ok(DataType::Float64),
        dtype => {
            let remedy = match dtype {
                DataType::List(_) => {
                    "take one number of each list, for example with `.list.mean()`, or `.explode()` it,"
                }
                DataType::Array(..) => {
                    "take one number of each array, for example with `.arr.mean()`, or `.explode()` it,"
                }
                DataType::Struct(_) => "take its fields, with `.unnest()` of the frame or `.struct.field()`,",
                DataType::Categorical(..) | DataType::Enum(..) => {
                    "cast its text, for example with `.cast(pl.String).cast(pl.Float64)`,"
                }
                _ => "cast it, for example with `.cast(pl.Float64)`,",
            };
            let text = format!("column `{column}` has dtype {dtype}, which is not numeric; {remedy} or leave it out");
            Err(error(operation, text))
        }
    }
}

/// The fields of a struct; a struct that holds nothing but one struct stands for that one.
pub fn struct_fields<'a>(operation: &str, name: &str, dtype: &'a DataType) -> PolarsResult<&'a [Field]> {
    match dtype {
        DataType::Struct(fields) => match fields.as_slice() {
            [only] if matches!(only.dtype(), DataType::Struct(_)) => {
                struct_fields(operation, only.name(), only.dtype())
            }
            fields => Ok(fields),
        },
        dtype => Err(error(operation, format!("`{name}` has dtype {dtype}, a struct of numeric columns is needed"))),
    }
}

/// The columns of a struct, as [`struct_fields`] names them; a null of the struct is null in each.
pub fn struct_columns(operation: &str, s: &Series) -> PolarsResult<Vec<Series>> {
    let ca = s.struct_().map_err(|_| {
        error(operation, format!("`{}` has dtype {}, a struct of numeric columns is needed", s.name(), s.dtype()))
    })?;
    let columns: Vec<Series> = ca.fields_as_series();
    let columns = if ca.null_count() == 0 {
        columns
    } else {
        let present = s.is_not_null();
        columns
            .iter()
            .map(|column| column.zip_with(&present, &Series::full_null(column.name().clone(), s.len(), column.dtype())))
            .collect::<PolarsResult<_>>()?
    };
    match columns.as_slice() {
        [only] if matches!(only.dtype(), DataType::Struct(_)) => struct_columns(operation, only),
        _ => Ok(columns),
    }
}

/// A numeric column, read without copying what is Float64 or Float32 already.
pub enum Column {
    Float32(Chunks<Float32Type>),
    Float64(Chunks<Float64Type>),
}

/// Chunks and the first row of each.
pub struct Chunks<T: PolarsNumericType> {
    ca: ChunkedArray<T>,
    starts: Vec<usize>,
}

impl<T: PolarsNumericType> Chunks<T> {
    fn new(ca: ChunkedArray<T>) -> Self {
        let mut starts = Vec::with_capacity(ca.chunks().len());
        let mut row = 0;
        for chunk in ca.downcast_iter() {
            starts.push(row);
            row += chunk.len();
        }
        Self { ca, starts }
    }
}

impl<T: PolarsNumericType> Chunks<T>
where
    T::Native: Into<f64>,
{
    fn load(&self, start: usize, out: &mut [f64]) -> bool {
        let mut finite = true;
        let mut chunk_index = self.starts.partition_point(|&s| s <= start).saturating_sub(1);
        let mut done = 0;
        while done < out.len() {
            let chunk = self.ca.downcast_get(chunk_index).expect("as many rows as the column has");
            let skip = start + done - self.starts[chunk_index];
            let values = chunk.values().as_slice();
            let values = &values[skip.min(values.len())..];
            let rows = values.len().min(out.len() - done).min(BLOCK);
            let to = &mut out[done..done + rows];
            for (to, &from) in to.iter_mut().zip(values) {
                *to = from.into();
            }
            if let Some(validity) = chunk.validity().filter(|validity| validity.unset_bits() > 0) {
                let missing = !&validity.clone().sliced(skip, rows);
                missing.true_idx_iter().for_each(|row| to[row] = f64::NAN);
            }
            finite = finite && all_finite(to);
            done += rows;
            chunk_index += usize::from(rows == values.len());
        }
        if !finite {
            out.iter_mut().filter(|v| v.is_infinite()).for_each(|v| *v = f64::NAN);
        }
        !finite
    }
}

/// Rows that are copied and looked at together, while they lie in the first cache level.
const BLOCK: usize = 512;

impl Column {
    pub fn new(operation: &str, s: &Series) -> PolarsResult<Self> {
        Ok(match float_of(operation, s.name(), s.dtype())? {
            DataType::Float32 => Self::Float32(Chunks::new(s.f32()?.clone())),
            _ => Self::Float64(Chunks::new(s.cast(&DataType::Float64)?.f64()?.clone())),
        })
    }

    /// All rows, missing readings as NaN: where they lie if there is none, else copied to `buffer`.
    pub fn readings<'a>(&'a self, buffer: &'a mut Vec<f64>) -> &'a [f64] {
        match self.values().filter(|values| all_finite(values)) {
            Some(values) => values,
            None => {
                buffer.resize(self.len(), 0.0);
                self.load(0, buffer);
                buffer
            }
        }
    }

    pub fn results(&self) -> Results {
        Results::floats(self.len(), &self.dtype())
    }

    /// The dtype of its results.
    pub fn dtype(&self) -> DataType {
        match self {
            Self::Float32(_) => DataType::Float32,
            Self::Float64(_) => DataType::Float64,
        }
    }
}

impl Source for Column {
    fn len(&self) -> usize {
        match self {
            Self::Float32(chunks) => chunks.ca.len(),
            Self::Float64(chunks) => chunks.ca.len(),
        }
    }
    fn load(&self, start: usize, out: &mut [f64]) -> bool {
        match self {
            Self::Float32(chunks) => chunks.load(start, out),
            Self::Float64(chunks) => chunks.load(start, out),
        }
    }
    fn values(&self) -> Option<&[f64]> {
        match self {
            Self::Float32(_) => None,
            Self::Float64(chunks) => chunks.ca.cont_slice().ok(),
        }
    }
}

/// One result per row, of the dtype that goes with the column.
pub struct Results {
    kind: Kind,
    validity: Validity,
    instead_of_null: Option<f64>,
}

enum Kind {
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Boolean(MutableBitmap),
}

impl Results {
    /// Float32 where that is asked for, else Float64.
    pub fn floats(rows: usize, dtype: &DataType) -> Self {
        let kind = match dtype {
            DataType::Float32 => Kind::Float32(Vec::with_capacity(rows)),
            _ => Kind::Float64(Vec::with_capacity(rows)),
        };
        Self { kind, validity: Validity::default(), instead_of_null: None }
    }

    /// 1 and 0 become true and false.
    pub fn boolean(rows: usize) -> Self {
        Self {
            kind: Kind::Boolean(MutableBitmap::with_capacity(rows)),
            validity: Validity::default(),
            instead_of_null: None,
        }
    }

    /// Writes this value where there is no result.
    pub fn instead_of_null(mut self, value: Option<f64>) -> Self {
        self.instead_of_null = value;
        self
    }

    pub fn into_series(self, name: PlSmallStr) -> Series {
        let validity = self.validity.0.map(Into::into);
        match self.kind {
            Kind::Float32(values) => Float32Chunked::from_vec_validity(name, values, validity).into_series(),
            Kind::Float64(values) => Float64Chunked::from_vec_validity(name, values, validity).into_series(),
            Kind::Boolean(values) => {
                BooleanChunked::with_chunk(name, BooleanArray::new(ArrowDataType::Boolean, values.into(), validity))
                    .into_series()
            }
        }
    }
}

impl Sink for Results {
    fn push(&mut self, rows: &[f64]) {
        let Self { kind, validity, instead_of_null } = self;
        for rows in rows.chunks(BLOCK) {
            match kind {
                Kind::Float64(values) => {
                    let before = values.len();
                    values.extend_from_slice(rows);
                    let new = &mut values[before..];
                    match instead_of_null {
                        Some(value) if !all_finite(new) => {
                            new.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = *value)
                        }
                        Some(_) => {}
                        None => validity.extend(before, new, all_finite(new), |v| v.is_finite()),
                    }
                }
                Kind::Float32(values) => {
                    let before = values.len();
                    values.extend(rows.iter().map(|&v| v as f32));
                    let new = &mut values[before..];
                    match instead_of_null {
                        Some(value) => new.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = *value as f32),
                        None => {
                            let all = new.iter().fold(true, |all, v| all & v.is_finite());
                            validity.extend(before, new, all, |v| v.is_finite());
                        }
                    }
                }
                Kind::Boolean(values) => {
                    let before = values.len();
                    values.extend_from_trusted_len_iter(rows.iter().map(|v| *v == 1.0));
                    validity.extend(before, rows, all_finite(rows), |v| v.is_finite());
                }
            }
        }
    }
}

/// Which rows have a result. A bitmap is made when the first null comes.
#[derive(Default)]
struct Validity(Option<MutableBitmap>);

impl Validity {
    /// Notes which of the next results, which come after `before` others, are present, and whether all are: nulls come in clusters, at
    /// the start of a series and in gaps, so that few blocks are looked at one by one.
    fn extend<T>(&mut self, before: usize, results: &[T], all: bool, present: impl Fn(&T) -> bool) {
        match &mut self.0 {
            None if all => {}
            Some(bitmap) if all => bitmap.extend_constant(results.len(), true),
            bitmap => bitmap
                .get_or_insert_with(|| {
                    let mut bitmap = MutableBitmap::new();
                    bitmap.extend_constant(before, true);
                    bitmap
                })
                .extend_from_trusted_len_iter(results.iter().map(present)),
        }
    }
}

/// Booleans from bits, row i in bit `i % 8` of byte `i / 8`; null where the row is not present. None: all are.
pub fn booleans(name: PlSmallStr, rows: usize, values: Vec<u8>, present: Option<Vec<u8>>) -> Series {
    let present = present.map(|present| Bitmap::from_u8_vec(present, rows));
    let validity = present.filter(|present| present.unset_bits() > 0);
    let values = BooleanArray::new(ArrowDataType::Boolean, Bitmap::from_u8_vec(values, rows), validity);
    BooleanChunked::with_chunk(name, values).into_series()
}

/// What labels are compared as: integers or text, in whose order they are.
pub fn label_kind(operation: &str, column: &str, dtype: &DataType) -> PolarsResult<DataType> {
    match dtype {
        DataType::Null | DataType::Boolean => Ok(DataType::Int128),
        dtype if dtype.is_integer() => Ok(DataType::Int128),
        DataType::String | DataType::Categorical(..) | DataType::Enum(..) => Ok(DataType::String),
        dtype => {
            let column = if column.is_empty() { "the column".into() } else { format!("column `{column}`") };
            let remedy = match dtype {
                DataType::Struct(_) => "take the field that holds them, for example with `.struct.field(\"label\")`",
                _ => "cast it first",
            };
            let text = format!("{column} has dtype {dtype}; labels are integers, text or booleans: {remedy}");
            Err(error(operation, text))
        }
    }
}

/// Labels of rows as the kernels take them: codes in the order of what they stand for; a null is [`MISSING`].
pub struct Labels<'a> {
    series: &'a Series,
    pub codes: Vec<u32>,
    /// For each code a row that has it.
    rows: Vec<IdxSize>,
    unknown: Option<u32>,
}

impl<'a> Labels<'a> {
    pub fn new(operation: &str, series: &'a Series) -> PolarsResult<Self> {
        let kind = label_kind(operation, series.name(), series.dtype())?;
        let (codes, rows, unknown) = match (series.dtype(), kind) {
            // in the order of its categories
            (DataType::Enum(..), _) => {
                let physical = series.to_physical_repr().cast(&DataType::UInt32)?;
                let (codes, rows, _) = encoded(physical.u32()?.iter());
                (codes, rows, None)
            }
            (_, DataType::String) => {
                let texts = series.cast(&DataType::String)?;
                let (codes, rows, _) = encoded(texts.str()?.iter());
                (codes, rows, None)
            }
            (_, kind) => {
                let integers = series.cast(&kind)?;
                let (codes, rows, keys) = encoded(integers.i128()?.iter());
                (codes, rows, keys.binary_search(&-1).ok().map(|code| code as u32))
            }
        };
        Ok(Self { series, codes, rows, unknown })
    }

    pub fn kinds(&self) -> usize {
        self.rows.len()
    }

    /// The code of -1, which belongs to no regime.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The label of each code.
    pub fn texts(&self) -> PolarsResult<Vec<String>> {
        let rows = IdxCa::from_vec("".into(), self.rows.clone());
        let texts = self.series.take(&rows)?.cast(&DataType::String)?;
        Ok(texts.str()?.iter().flatten().map(str::to_owned).collect())
    }

    /// The labels of the codes as they are now, of the dtype that they came with.
    pub fn into_series(self) -> PolarsResult<Series> {
        let row = |&code: &u32| (code != MISSING).then(|| self.rows[code as usize]);
        let rows = IdxCa::from_iter_options(self.series.name().clone(), self.codes.iter().map(row));
        self.series.take(&rows)
    }
}

/// For each row the position of its key among all keys, which ascend; for each key a row, and the key.
fn encoded<K: Copy + Ord + Hash>(keys: impl Iterator<Item = Option<K>>) -> (Vec<u32>, Vec<IdxSize>, Vec<K>) {
    let mut known: HashMap<K, u32> = HashMap::new();
    let mut found: Vec<(K, IdxSize)> = Vec::new();
    let mut last: Option<(K, u32)> = None;
    let mut codes: Vec<u32> = Vec::with_capacity(keys.size_hint().0);
    for (row, key) in keys.enumerate() {
        let Some(key) = key else {
            codes.push(MISSING);
            continue;
        };
        // runs of equal labels, which are the rule, are looked up once
        let code = match last {
            Some((other, code)) if other == key => code,
            _ => *known.entry(key).or_insert_with(|| {
                found.push((key, row as IdxSize));
                found.len() as u32 - 1
            }),
        };
        last = Some((key, code));
        codes.push(code);
    }
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_unstable_by_key(|&code| found[code].0);
    let mut place = vec![0; found.len()];
    for (at, &code) in order.iter().enumerate() {
        place[code] = at as u32;
    }
    codes.iter_mut().filter(|code| **code != MISSING).for_each(|code| *code = place[*code as usize]);
    let (keys, rows) = order.into_iter().map(|code| found[code]).unzip();
    (codes, rows, keys)
}

/// Nanoseconds per unit of a `by` column, or an error if it is not one of times.
pub fn time_unit(operation: &str, name: &str, dtype: &DataType) -> PolarsResult<i64> {
    Ok(match dtype {
        DataType::Datetime(TimeUnit::Nanoseconds, _) => 1,
        DataType::Datetime(TimeUnit::Microseconds, _) => 1_000,
        DataType::Datetime(TimeUnit::Milliseconds, _) => 1_000_000,
        DataType::Date => 86_400_000_000_000,
        dtype => {
            let column = column_named(name);
            let text =
                format!("`by` must be a Datetime or Date column, {column} has dtype {dtype}; cast or parse it first");
            return Err(error(operation, text));
        }
    })
}

/// Inside `.over` and `group_by` a column comes without its name.
fn column_named(name: &str) -> String {
    if name.is_empty() { "the one given".into() } else { format!("`{name}`") }
}

/// The times of a `by` column in nanoseconds: one for each row, ascending and without nulls, else an error.
pub fn times(operation: &str, s: &Series, rows: usize) -> PolarsResult<Vec<i64>> {
    times_or(operation, s, rows, "sort by it first, or use .over(..., order_by=...)")
}

/// The same with another remedy for times that do not ascend.
pub fn times_or(operation: &str, s: &Series, rows: usize, remedy: &str) -> PolarsResult<Vec<i64>> {
    let out = instants(operation, s, rows)?;
    if let Some(row) = out.windows(2).position(|pair| pair[0] > pair[1]) {
        let (column, row) = (column_named(s.name()), row + 1);
        let text = format!("`by` must be ascending, {column} goes back in time at row {row}; {remedy}");
        return Err(error(operation, text));
    }
    Ok(out)
}

/// The times of a `by` column in nanoseconds, in any order: one for each row and without nulls, else an error.
fn instants(operation: &str, s: &Series, rows: usize) -> PolarsResult<Vec<i64>> {
    let column = column_named(s.name());
    let unit = time_unit(operation, s.name(), s.dtype())?;
    if s.len() != rows {
        let text = format!("`by` must have a time for each of the {rows} rows, {column} has {}", s.len());
        return Err(error(operation, text));
    }
    if s.null_count() > 0 {
        let text = format!("`by` must have no nulls, {column} has {}; drop those rows first", s.null_count());
        return Err(error(operation, text));
    }
    let physical = s.to_physical_repr().cast(&DataType::Int64)?;
    let mut out: Vec<i64> = Vec::with_capacity(s.len());
    for value in physical.i64()?.into_no_null_iter() {
        let time = value.checked_mul(unit).ok_or_else(|| {
            error(
                operation,
                format!("`by` must lie in the years 1677 to 2262, which nanoseconds reach; {column} does not"),
            )
        })?;
        out.push(time);
    }
    Ok(out)
}

/// The time zone of a column, if it has one.
pub fn time_zone(dtype: &DataType) -> Option<&str> {
    match dtype {
        DataType::Datetime(_, Some(zone)) => Some(zone.as_str()),
        _ => None,
    }
}

/// No time zone changes its clock twice within so many nanoseconds.
const CLOCK_KEPT: i64 = 12 * 3_600_000_000_000;

/// Times as the clocks of the column's time zone show them, in nanoseconds, in any order; otherwise as [`times`].
pub fn local_times(operation: &str, s: &Series, rows: usize) -> PolarsResult<Vec<i64>> {
    let mut out = instants(operation, s, rows)?;
    let Some(name) = time_zone(s.dtype()) else { return Ok(out) };
    let zone: Tz = name.parse().map_err(|e| error(operation, format!("`by` has the unknown time zone {name}: {e}")))?;
    let offset = |time: i64| {
        let utc = DateTime::from_timestamp_nanos(time).naive_utc();
        i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1_000_000_000
    };
    let (mut known, mut kept) = (0..0, 0);
    for time in &mut out {
        let change = if known.contains(time) {
            kept
        } else {
            // one offset for the whole span if it is the same at both ends
            let start = time.div_euclid(CLOCK_KEPT).saturating_mul(CLOCK_KEPT);
            let end = start.saturating_add(CLOCK_KEPT);
            let own = offset(*time);
            if offset(start) == own && offset(end) == own {
                (known, kept) = (start..end, own);
            }
            own
        };
        *time = time.saturating_add(change);
    }
    Ok(out)
}
