"""The door between Polars and NumPy, as `src/expressions/io.rs` is for the library.

It decides what missing means: null, NaN and the infinities become NaN on the way in; a result that is not finite, or
not finite as a Float32, becomes null on the way out. Float32 stays Float32, every other number becomes Float64.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import ComputeError

from acm_rs._checks import NANOSECONDS
from acm_rs.fallback._registry import Field

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]


def error(operation: str, text: str) -> ComputeError:
    """Build the error for data that cannot be used; it names the operation."""
    return ComputeError(f"acm.{operation}: {text}")


def dtype_name(dtype: pl.DataType) -> str:
    """Name of a dtype as Polars prints it in frames and as the library does: ``f64``, ``list[str]``."""
    return dtype._string_repr()


def float_of(operation: str, field: Field) -> pl.DataType:
    """Dtype of the result of a column, or an error if it is not numeric."""
    if field.dtype == pl.Float32:
        return pl.Float32()
    if field.dtype.is_numeric() or field.dtype == pl.Null:
        return pl.Float64()
    remedy = "cast it, for example with `.cast(pl.Float64)`,"
    if isinstance(field.dtype, pl.List):
        remedy = "take one number of each list, for example with `.list.mean()`, or `.explode()` it,"
    elif isinstance(field.dtype, pl.Array):
        remedy = "take one number of each array, for example with `.arr.mean()`, or `.explode()` it,"
    elif isinstance(field.dtype, (pl.Categorical, pl.Enum)):
        remedy = "cast its text, for example with `.cast(pl.String).cast(pl.Float64)`,"
    elif isinstance(field.dtype, pl.Struct):
        remedy = "take its fields, with `.unnest()` of the frame or `.struct.field()`,"
    text = f"column `{field.name}` has dtype {dtype_name(field.dtype)}, which is not numeric; {remedy} or leave it out"
    raise error(operation, text)


def struct_fields(operation: str, field: Field) -> list[Field]:
    """Columns of a struct; a struct that holds nothing but one struct stands for that one."""
    if not isinstance(field.dtype, pl.Struct):
        text = f"`{field.name}` has dtype {dtype_name(field.dtype)}, a struct of numeric columns is needed"
        raise error(operation, text)
    fields = [Field(inner.name, inner.dtype) for inner in field.dtype.fields]  # type: ignore[arg-type]
    if len(fields) == 1 and isinstance(fields[0].dtype, pl.Struct):
        return struct_fields(operation, fields[0])
    return fields


def struct_columns(series: pl.Series) -> list[pl.Series]:
    """Columns of a struct, as `struct_fields` names them; a null of the struct is null in each."""
    columns = series.struct.unnest().get_columns()
    if series.null_count() > 0:
        present = series.is_not_null()
        columns = [column.zip_with(present, column.clear(len(column))) for column in columns]
    if len(columns) == 1 and isinstance(columns[0].dtype, pl.Struct):
        return struct_columns(columns[0])
    return columns


def struct_of(columns: list[pl.Series]) -> pl.Series:
    """Join columns into a struct."""
    return pl.DataFrame(columns).to_struct()


def read(series: pl.Series) -> Floats:
    """Return readings as a new array, missing ones as NaN."""
    values = series.cast(pl.Float64).to_numpy().astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def write(
    name: str, values: Floats, dtype: pl.DataType, *, clip: float | None = None, fill_null: float | None = None
) -> pl.Series:
    """Results as a Series: narrowed to their dtype, limited to `clip`, null or `fill_null` where there is none."""
    with np.errstate(over="ignore", under="ignore"):
        narrowed: Any = values.astype(np.float32 if dtype == pl.Float32 else np.float64)
    if clip is not None:
        narrowed = np.clip(narrowed, -clip, clip).astype(narrowed.dtype)
    finite = np.isfinite(narrowed)
    if not finite.all():
        narrowed[~finite] = np.nan if fill_null is None else fill_null
    return pl.Series(name, narrowed, dtype=dtype, nan_to_null=True)


def write_flags(name: str, values: Floats) -> pl.Series:
    """1 and 0 as true and false, NaN as null."""
    return pl.Series(name, values, nan_to_null=True).cast(pl.Boolean)


def _column_named(name: str) -> str:
    """Inside `.over` and `group_by` a column comes without its name."""
    return f"`{name}`" if name else "the one given"


def time_unit(operation: str, field: Field) -> int:
    """Nanoseconds per unit of a `by` column, or an error if it is not one of times."""
    if isinstance(field.dtype, pl.Datetime):
        return NANOSECONDS[field.dtype.time_unit]
    if field.dtype == pl.Date:
        return NANOSECONDS["d"]
    raise error(
        operation,
        f"`by` must be a Datetime or Date column, {_column_named(field.name)} has dtype {dtype_name(field.dtype)}; "
        "cast or parse it first",
    )


def instants(operation: str, series: pl.Series, rows: int) -> Times:
    """Return the times of a `by` column in nanoseconds, in any order: one for each row, no nulls, else an error."""
    column = _column_named(series.name)
    unit = time_unit(operation, Field(series.name, series.dtype))
    if len(series) != rows:
        raise error(operation, f"`by` must have a time for each of the {rows} rows, {column} has {len(series)}")
    if nulls := series.null_count():
        raise error(operation, f"`by` must have no nulls, {column} has {nulls}; drop those rows first")
    values = series.to_physical().cast(pl.Int64).to_numpy()
    limits = np.iinfo(np.int64)
    if ((values > limits.max // unit) | (values < -(-limits.min // unit))).any():
        raise error(operation, f"`by` must lie in the years 1677 to 2262, which nanoseconds reach; {column} does not")
    return np.asarray(values * np.int64(unit))


SORT = "sort by it first, or use .over(..., order_by=...)"


def times(operation: str, series: pl.Series, rows: int, remedy: str = SORT) -> Times:
    """Return the times of a `by` column in nanoseconds, which must ascend; `remedy` says what to do if they do not."""
    result = instants(operation, series, rows)
    back = np.flatnonzero(result[1:] < result[:-1]) + 1
    if len(back):
        raise error(
            operation,
            f"`by` must be ascending, {_column_named(series.name)} goes back in time at row {back[0]}; {remedy}",
        )
    return result


def local_times(operation: str, series: pl.Series, rows: int) -> Times:
    """Return the times as the clocks of the column's time zone show them, in nanoseconds, in any order."""
    result = instants(operation, series, rows)
    if not isinstance(series.dtype, pl.Datetime) or series.dtype.time_zone is None:
        return result
    clock = series.dt.replace_time_zone(None).to_physical() - series.to_physical()
    change = clock.to_numpy() * np.int64(time_unit(operation, Field(series.name, series.dtype)))
    limits = np.iinfo(np.int64)
    # what the clock shows may lie just beyond what nanoseconds reach
    return np.clip(result, limits.min - np.minimum(change, 0), limits.max - np.maximum(change, 0)) + change
