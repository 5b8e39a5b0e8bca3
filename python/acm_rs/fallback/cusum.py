"""Drift on NumPy: a loop over rows for all columns at once where each row needs the one before."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.ar1 import _median
from acm_rs.fallback.columns import each, floats
from acm_rs.fallback.models import elements, numeric_fields
from acm_rs.fallback.rolling import NORMAL, one_each_dtype

FIELDS = {
    "high": pl.Float64(),
    "low": pl.Float64(),
    "high_since": pl.UInt32(),
    "low_since": pl.UInt32(),
    "alarm": pl.Boolean(),
}
LARGEST = np.finfo(np.float64).max


def _before(name: str, inputs: list[pl.Series]) -> dict[str, Any] | None:
    """Numbers of the row before the first, by their names; None where there is none."""
    if len(inputs) < 2:
        return None
    state = elements(name, "state", inputs[1])
    row = state.item()
    return row if row is None or isinstance(row, dict) else {state.name: row}


def _number(name: str, before: dict[str, Any], field: str) -> float | None:
    if field not in before:
        known = ", ".join(f"`{other}`" for other in list(before)[:20])
        raise _io.error(
            name, f"`state` must be a row that `{name}` gave for the same columns; it lacks `{field}` and has {known}"
        )
    value = before[field]
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        dtype = _io.dtype_name(pl.Series([value]).dtype)
        raise _io.error(name, f"`state` must be a row of numbers, its `{field}` has dtype {dtype}")
    return None if value is None or not np.isfinite(value) else float(value)


def _cusum_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    columns = numeric_fields(name, fields[0])
    return pl.Struct({f"{column.name}_{field}": dtype for column in columns for field, dtype in FIELDS.items()})


@operation(dtype=_cusum_dtype)
def cusum(  # noqa: D103
    inputs: list[pl.Series], *, k: float, h: float, center: float | None, scale: float | None, reset: bool
) -> pl.Series:
    name = "cusum"
    columns = _io.struct_columns(inputs[0])
    before = _before(name, inputs)
    state = {
        field: np.array(
            [0.0 if before is None else _number(name, before, f"{column.name}_{field}") or 0.0 for column in columns]
        )
        for field in list(FIELDS)[:4]
    }
    u = np.column_stack([_standardized(_io.read(column), center, scale) for column in columns])
    present = ~np.isnan(u)
    rows = {field: np.zeros(u.shape) for field in state}
    high, low, high_since, low_since = state.values()
    with np.errstate(all="ignore"):
        for t in range(len(u)):
            quiet = ~(present[t] & ((high > h) | (low > h))) if reset else np.ones(len(columns), dtype=bool)
            high, low = np.where(quiet, high, 0.0), np.where(quiet, low, 0.0)
            high = np.where(present[t], np.clip(high + (u[t] - k), 0.0, LARGEST), high)
            low = np.where(present[t], np.clip(low + (-u[t] - k), 0.0, LARGEST), low)
            high_since = np.where(high > 0, np.where(quiet, high_since, 0) + 1, 0)
            low_since = np.where(low > 0, np.where(quiet, low_since, 0) + 1, 0)
            for field, values in zip(rows, (high, low, high_since, low_since), strict=True):
                rows[field][t] = values
    alarm = np.where(present, (rows["high"] > h) | (rows["low"] > h), np.nan)
    results = []
    for j, column in enumerate(columns):
        for field in state:
            values = np.ascontiguousarray(rows[field][:, j]) + 0.0
            results.append(pl.Series(f"{column.name}_{field}", values).cast(FIELDS[field]))
        results.append(_io.write_flags(f"{column.name}_alarm", alarm[:, j]))
    return _io.struct_of(results)


def _standardized(x: Floats, center: float | None, scale: float | None) -> Floats:
    present = x[~np.isnan(x)]
    with np.errstate(all="ignore"):
        if center is None or scale is None:
            median = _median(present) if len(present) else np.nan
            mad = _median(np.abs(present - median)) if len(present) else np.nan
            center = median if center is None else center
            scale = NORMAL * mad if scale is None else scale
        return (x - center) / scale if scale > 0 else np.full(len(x), np.nan)


def _ewma_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    return pl.Struct({column.name: pl.Float64() for column in numeric_fields(name, fields[0])})


@operation(dtype=_ewma_dtype)
def ewma(inputs: list[pl.Series], *, alpha: float) -> pl.Series:  # noqa: D103
    name = "ewma"
    columns = _io.struct_columns(inputs[0])
    before = _before(name, inputs)
    states = [None if before is None else _number(name, before, column.name) for column in columns]
    x = np.column_stack([_io.read(column) for column in columns])
    mean = np.array([np.nan if state is None else state for state in states])
    out = np.empty(x.shape)
    with np.errstate(all="ignore"):
        for t, row in enumerate(x):
            moved = mean + alpha * (row - mean)
            shares = np.where(np.isnan(mean), row, mean * (1.0 - alpha) + row * alpha)
            mean = np.where(np.isnan(row), mean, np.where(np.isfinite(moved), moved, shares))
            out[t] = mean
    written = [_io.write(column.name, out[:, j].copy(), pl.Float64()) for j, column in enumerate(columns)]
    return _io.struct_of(written)


def _trend_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    return one_each_dtype(name, fields)


@operation(dtype=_trend_dtype)
def drift_trend(inputs: list[pl.Series], *, window_size: int) -> pl.Series:  # noqa: D103
    def of(series: pl.Series) -> pl.Series:
        x = _io.read(series.tail(window_size))
        places = np.flatnonzero(~np.isnan(x))
        slope = np.nan
        if len(places) > 1:
            x, offsets = x[places], places - places.mean()
            with np.errstate(all="ignore"):
                # halves of huge readings stay within the range of numbers
                slope = 4.0 * ((offsets * (x / 4 - (x / 4).mean())).sum() / (offsets**2).sum())
        return floats("drift_trend", series, np.array([slope]))

    return each(inputs, of)


def label_kind(name: str, field: Field) -> None:
    """Refuse what cannot be labels."""
    known = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)
    if not field.dtype.is_integer() and not isinstance(field.dtype, known):
        dtype = _io.dtype_name(field.dtype)
        column = f"column `{field.name}`" if field.name else "the column"
        is_struct = isinstance(field.dtype, pl.Struct)
        remedy = (
            'take the field that holds them, for example with `.struct.field("label")`'
            if is_struct
            else "cast it first"
        )
        text = f"{column} has dtype {dtype}; labels are integers, text or booleans: {remedy}"
        raise _io.error(name, text)


def _volatility_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    if not isinstance(fields[0].dtype, pl.Struct):
        label_kind(name, fields[0])
        return pl.Float64()
    columns = _io.struct_fields(name, fields[0])
    for column in columns:
        label_kind(name, column)
    return pl.Struct({column.name: pl.Float64() for column in columns})


@operation(dtype=_volatility_dtype)
def regime_volatility(inputs: list[pl.Series], *, window_size: int) -> pl.Series:  # noqa: D103
    def of(series: pl.Series) -> pl.Series:
        labels = series.tail(window_size).drop_nulls().to_list()
        changes = sum(a != b for a, b in pairwise(labels))
        result = changes / (len(labels) - 1) if len(labels) > 1 else None
        return pl.Series(series.name, [result], dtype=pl.Float64)

    return each(inputs, of)
