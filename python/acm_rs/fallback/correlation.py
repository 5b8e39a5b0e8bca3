"""Correlations on NumPy; formulas and rules are those of `acm_rs.features.correlation`.

Pairs of series are the rows of two matrices, NaN where a reading is missing: the windows of one pair of columns, or
whole columns against each other. Each row is centred over the readings that both sides have, in two passes about one of
them, and scaled by a power of two where squares would leave the range of Float64.

Cost: rolling correlations rows times window for each pair and lag; matrices one product where nothing is missing, else
some passes over the readings for each pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.rolling import CELLS, Moments, Windows, _moments, _windows

# --- mathematics -----------------------------------------------------------------------------------------------------


def _moments_of(values: Floats) -> Moments:
    """Moments of each row."""
    return _moments(Windows(np.arange(len(values)), values, None))


def _limited(r: Floats) -> Floats:
    return np.clip(r, -1.0, 1.0) + 0.0  # -0.0 becomes 0.0


def _by_row(x: Floats, y: Floats, min_samples: int) -> Floats:
    """Correlation of each row of x with that of y, over the readings that both have."""
    missing = np.isnan(x) | np.isnan(y)
    left, right = (_moments_of(np.where(missing, np.nan, side)) for side in (x, y))
    n = left.n
    product = (left.deviations * right.deviations).sum(axis=1)
    product -= left.deviations.sum(axis=1) * right.deviations.sum(axis=1) / n
    r = _limited(product * ((1 / np.sqrt(left.m2)) * (1 / np.sqrt(right.m2))))
    return np.where((n >= max(min_samples, 2)) & ~left.constant & ~right.constant, r, np.nan)


def _rolling(x: Floats, y: Floats, window_size: int, min_samples: int, lag: int) -> Floats:
    """Correlation of every window of x with that of y, `lag` rows before."""
    out = np.full(len(x), np.nan)
    lag = min(lag, len(y))
    lagged = np.concatenate([np.full(lag, np.nan), y[: len(y) - lag]])
    with np.errstate(all="ignore"):
        for left, right in zip(_windows(x, window_size, None), _windows(lagged, window_size, None), strict=True):
            out[left.rows] = _by_row(left.values, right.values, min_samples)
    return out


def _ranks(values: Floats) -> Floats:
    """Average ranks of the readings of each row; NaN where missing."""
    missing = np.isnan(values)
    ranks: Floats = stats.rankdata(np.where(missing, np.inf, values), axis=1)  # missing readings come last
    ranks[missing] = np.nan
    return ranks


def _matrix(columns: Floats, method: str) -> Floats:
    """Correlation matrix of the rows of `columns`."""
    p, n = columns.shape
    out = np.full((p, p), np.nan)
    if n == 0:
        return out
    prepare: Callable[[Floats], Floats] = _ranks if method == "spearman" else lambda values: values
    whole = ~np.isnan(columns).any(axis=1)
    with np.errstate(all="ignore"):
        moments = _moments_of(prepare(columns[whole]))
        sums = moments.deviations.sum(axis=1)
        inverse = np.where(moments.constant, np.nan, 1 / np.sqrt(moments.m2))
        products = moments.deviations @ moments.deviations.T - np.outer(sums, sums) / n
        out[np.ix_(whole, whole)] = _limited(products * np.outer(inverse, inverse))
        step = max(1, CELLS // n)
        for i in np.flatnonzero(~whole):
            partners = np.flatnonzero(whole | (np.arange(p) >= i))
            for begin in range(0, len(partners), step):
                others = partners[begin : begin + step]
                missing = np.isnan(columns[others]) | np.isnan(columns[i])
                left = prepare(np.where(missing, np.nan, columns[i]))
                right = prepare(np.where(missing, np.nan, columns[others]))
                out[i, others] = out[others, i] = _by_row(left, right, 2)
    # symmetric to the bit, and exactly 1 with itself
    upper = np.triu(out, 1)
    diagonal = np.diag(np.where(np.isnan(np.diag(out)), np.nan, 1.0))
    matrix: Floats = upper + upper.T + diagonal
    return matrix


# --- operations ------------------------------------------------------------------------------------------------------


def _float_of_both(a: pl.DataType, b: pl.DataType) -> pl.DataType:
    return pl.Float32() if a == pl.Float32 and b == pl.Float32 else pl.Float64()


def _rolling_corr_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    column, other = fields
    theirs = _io.float_of(name, other)

    def of(field: Field) -> pl.DataType:
        return _float_of_both(_io.float_of(name, field), theirs)

    if not isinstance(column.dtype, pl.Struct):
        return of(column)
    return pl.Struct([pl.Field(field.name, of(field)) for field in _io.struct_fields(name, column)])


@operation(dtype=_rolling_corr_dtype)
def rolling_corr(inputs: list[pl.Series], *, window_size: int, min_samples: int, lag: int) -> pl.Series:  # noqa: D103
    column, other = inputs
    if len(other) != len(column):
        raise _io.error(
            "rolling_corr",
            f"`other` must have a value for each of the {len(column)} rows, `{other.name}` has {len(other)}; "
            "give a column of the same frame",
        )
    y = _io.read(other)

    def of(series: pl.Series) -> pl.Series:
        r = _rolling(_io.read(series), y, window_size, min_samples, lag)
        return _io.write(series.name, r, _float_of_both(series.dtype, other.dtype))

    if not isinstance(column.dtype, pl.Struct):
        return of(column)
    return _io.struct_of([of(series) for series in _io.struct_columns(column)])


def _pairs(columns: int, *, unique: bool) -> list[tuple[int, int]]:
    return [(a, b) for a in range(columns) for b in range(columns) if (a < b if unique else a != b)]


# Of a table: what Polars counts rows with.
MOST_ROWS = 2**32 - 1
TABLE = pl.Struct({"a": pl.String(), "b": pl.String(), "lag": pl.Int64(), "corr": pl.Float64()})


def _pairwise_dtype(
    name: str, fields: list[Field], *, max_lag: int, unique: bool, reduce: str | None, **_parameters: Any
) -> pl.DataType:
    columns = _io.struct_fields(name, fields[0])
    for column in columns:
        _io.float_of(name, column)
    if len(columns) < 2:
        raise _io.error(name, f"pairs need at least two columns, got {len(columns)}; name another one in `columns`")
    if reduce is not None:
        return TABLE
    return pl.Struct(
        [
            pl.Field(
                _pair_name(columns[a].name, columns[b].name, lag), _float_of_both(columns[a].dtype, columns[b].dtype)
            )
            for a, b in _pairs(len(columns), unique=unique)
            for lag in range(max_lag + 1)
        ]
    )


def _pair_name(a: str, b: str, lag: int) -> str:
    return f"{a}__{b}_lag{lag}_corr"


def _farthest(r: Floats) -> float:
    """Find the result farthest from 0, of r and -r the positive one; NaN if there is none."""
    present = r[~np.isnan(r)]
    if len(present) == 0:
        return np.nan
    largest, smallest = float(present.max()), float(present.min())
    return largest if abs(largest) >= abs(smallest) else smallest


@operation(dtype=_pairwise_dtype)
def pairwise_lag_corr(  # noqa: D103
    inputs: list[pl.Series],
    *,
    window_size: int,
    min_samples: int,
    max_lag: int,
    min_corr: float,
    unique: bool,
    reduce: str | None,
) -> pl.Series:
    columns = _io.struct_columns(inputs[0])
    pairs = _pairs(len(columns), unique=unique)
    if reduce in ("max_abs", "last") and len(pairs) * (max_lag + 1) > MOST_ROWS:
        text = f"`max_lag` must be such that a table holds no more than {MOST_ROWS} rows, got {max_lag}"
        remedy = 'ask for fewer lags or columns, or for `reduce="argmax_lag"`'
        raise _io.error("pairwise_lag_corr", f"{text} for {len(pairs)} pairs; {remedy}")
    readings = [_io.read(column) for column in columns]
    fields: list[pl.Series] = []
    table: list[tuple[str, str, int | None, float | None]] = []
    for a, b in pairs:
        by_lag = [_rolling(readings[a], readings[b], window_size, min_samples, lag) for lag in range(max_lag + 1)]
        if reduce == "last":
            values = [float(r[-1]) if len(r) else np.nan for r in by_lag]
        else:
            values = [_farthest(r) for r in by_lag]
        matters = min_corr == 0 or any(abs(r) >= min_corr for r in values)
        names = columns[a].name, columns[b].name
        if reduce is None:
            dtype = _float_of_both(columns[a].dtype, columns[b].dtype)
            for lag, r in enumerate(by_lag):
                fields.append(_io.write(_pair_name(*names, lag), r if matters else np.full(len(r), np.nan), dtype))
        elif matters:
            rows = [(lag, None if np.isnan(r) else r) for lag, r in enumerate(values)]
            if reduce == "argmax_lag":
                present = [(lag, r) for lag, r in rows if r is not None]
                # the first of equal ones
                table.append((*names, *max(present, key=lambda row: abs(row[1]), default=(None, None))))
            else:
                table.extend((*names, lag, r) for lag, r in rows)
    if reduce is None:
        return _io.struct_of(fields)
    return pl.DataFrame(table, schema={field.name: field.dtype for field in TABLE.fields}, orient="row").to_struct()


def _correlation_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    columns = _io.struct_fields(name, fields[0])
    for column in columns:
        _io.float_of(name, column)
    return pl.Struct([pl.Field(column.name, pl.Float64()) for column in columns])


@operation(dtype=_correlation_dtype)
def correlation(inputs: list[pl.Series], *, method: str) -> pl.Series:  # noqa: D103
    columns = _io.struct_columns(inputs[0])
    matrix = _matrix(np.array([_io.read(column) for column in columns]), method)
    return _io.struct_of(
        [_io.write(column.name, row, pl.Float64()) for column, row in zip(columns, matrix, strict=True)]
    )
