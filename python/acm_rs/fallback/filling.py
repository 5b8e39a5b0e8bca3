"""Filling of gaps on NumPy; methods and rules are those of `acm_rs.features.filling`.

All gaps of a column are filled at once: what a gap gets is worked out for each gap, then repeated for its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats, Times
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.columns import by, each, elapsed, floats
from acm_rs.fallback.rolling import one_each_dtype

Method: TypeAlias = Literal["value", "median", "forward", "backward", "interpolate"]
Values: TypeAlias = Sequence[tuple[str, float]] | None


def median(readings: Floats) -> float:
    """Sample median (Hyndman and Fan 1996), rounded once and without overflow; NaN if there is no reading."""
    if not len(readings):
        return np.nan
    places = [(len(readings) - 1) // 2, len(readings) // 2]
    low, high = np.partition(readings, places)[places]
    total = low + high
    return float(total / 2 if np.isfinite(total) else low / 2 + high / 2)


def _between(start: Floats, end: Floats, part: Floats, whole: Floats) -> Floats:
    """Values at `part` of the way `whole` from one to the other; at one and the same time, the former."""
    share = part / whole
    step = (end - start) * share
    # the difference of two huge readings of unlike signs
    line = np.where(np.isfinite(step), start + step, start * (1 - share) + end * share)
    return np.where((whole == 0) | (start == end), start, line)


def _fill(
    x: Floats, times: Times | None, method: Method, value: float | None, max_gap: int | None, *, timed: bool
) -> Floats:
    """Fill the gaps of `x` that are no longer than `max_gap`, which is counted in time if it is `timed`."""
    missing = np.isnan(x)
    edges = np.diff(np.concatenate(([False], missing, [False])).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return x
    # the rows of the readings at both sides, or the first and the last row
    before, after = np.maximum(starts - 1, 0), np.minimum(ends, len(x) - 1)
    fillable = np.ones(len(starts), dtype=bool)
    if max_gap is not None:
        if timed:
            assert times is not None, "a limit in time has times"
            fillable = elapsed(times[after], times[before]) <= np.uint64(max_gap)
        else:
            fillable = ends - starts <= max_gap
    if method in ("forward", "interpolate"):
        fillable &= starts > 0
    if method in ("backward", "interpolate"):
        fillable &= ends < len(x)
    starts, ends, before, after = starts[fillable], ends[fillable], before[fillable], after[fillable]
    lengths = ends - starts
    # the rows of each gap, one gap behind the other
    rows = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    match method:
        case "value":
            assert value is not None, "checked before"
            x[rows] = value
        case "median":
            x[rows] = median(x[~missing])
        case "forward":
            x[rows] = np.repeat(x[before], lengths)
        case "backward":
            x[rows] = np.repeat(x[after], lengths)
        case "interpolate":
            first, last = np.repeat(before, lengths), np.repeat(after, lengths)
            part: Any = rows - first
            whole: Any = last - first
            if times is not None:
                part, whole = elapsed(times[rows], times[first]), elapsed(times[last], times[first])
            x[rows] = _between(x[first], x[last], part.astype(np.float64), whole.astype(np.float64))
    return x


def _value(method: Method, value: float | None, values: Values, column: str) -> float | None:
    """Return the value given for a column, which is an error to lack if the method is to fill with it."""
    found = value if value is not None else next((v for name, v in values or () if name == column), None)
    if method == "value" and found is None:
        raise _io.error("fill", f"`value` has nothing for column `{column}`; add it, or leave the column out")
    return found


def _fill_dtype(
    name: str, fields: list[Field], *, method: Method, value: float | None, values: Values, **_parameters: Any
) -> pl.DataType:
    result = one_each_dtype(name, fields)
    if isinstance(fields[0].dtype, pl.Struct):
        for field in _io.struct_fields(name, fields[0]):
            _value(method, value, values, field.name)
    return result


@operation(dtype=_fill_dtype)
def fill(  # noqa: D103
    inputs: list[pl.Series],
    *,
    method: Method,
    value: float | None,
    values: Values,
    max_gap: int | None,
    max_gap_is_duration: bool,
) -> pl.Series:
    times = by("fill", inputs)

    def of(series: pl.Series) -> pl.Series:
        given = _value(method, value, values, series.name)
        with np.errstate(all="ignore"):
            filled = _fill(_io.read(series), times, method, given, max_gap, timed=max_gap_is_duration)
        return floats("fill", series, filled)

    return each(inputs, of)
