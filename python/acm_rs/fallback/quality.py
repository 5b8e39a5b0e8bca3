"""Tests of readings on NumPy; rules are those of `acm_rs.features.quality`.

A standstill is found by its shortest runs: a reading belongs to one if a run of just `min_length`, within the tolerance
and without silence, begins before it and ends after it. Largest and smallest readings of all those runs come from
tables of blocks of 1, 2, 4, ... readings (Bender and Farach-Colton 2000), of which one at a time is held. Cost:
proportional to readings times the logarithm of the longest run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats, Times
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.columns import by, each, elapsed, floats
from acm_rs.fallback.rolling import Rows, one_each_dtype


def _flag_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    return one_each_dtype(name, fields, result=pl.Boolean())


def _ranges(readings: Floats, first: Rows, last: Rows) -> Floats:
    """Largest less smallest of the readings from `first` to `last`, for each pair of them."""
    out = np.empty(len(first))
    if not len(first):
        return out
    largest, smallest = readings, readings
    levels = np.frexp((last - first + 1).astype(np.float64))[1] - 1
    for level in range(int(levels.max()) + 1):
        pairs = np.flatnonzero(levels == level)
        left, right = first[pairs], last[pairs] - 2**level + 1
        top, bottom = np.maximum(largest[left], largest[right]), np.minimum(smallest[left], smallest[right])
        out[pairs] = top - bottom
        if 2 ** (level + 1) <= len(readings):
            largest = np.maximum(largest[: -(2**level)], largest[2**level :])
            smallest = np.minimum(smallest[: -(2**level)], smallest[2**level :])
    return out


def _runs(times: Times | None, readings: int, min_length: int, *, backward: bool) -> tuple[Rows, Rows]:
    """First and last readings of the shortest runs of `min_length`: of those that end at a reading or begin at one."""
    every = np.arange(readings)
    if times is None:
        first = every[: max(readings - min_length + 1, 0)]
        return first, first + min_length - 1
    length, limits = np.int64(min_length), np.iinfo(np.int64)
    if backward:
        last = every[times >= limits.min + length]  # else the run begins before all time
        first = np.searchsorted(times, times[last] - length, side="right") - 1
        return first[first >= 0], last[first >= 0]
    first = every[times <= limits.max - length]
    last = np.searchsorted(times, times[first] + length, side="left")
    return first[last < readings], last[last < readings]


def _stuck(x: Floats, times: Times | None, min_length: int, tolerance: float, *, look_ahead: bool) -> Floats:
    """1 where the reading belongs to a standstill, else 0; NaN where it is missing."""
    rows = np.flatnonzero(~np.isnan(x))
    readings = x[rows]
    at = None if times is None else times[rows]
    silent = np.diff(rows) > min_length if at is None else elapsed(at[1:], at[:-1]) >= np.uint64(min_length)
    spell = np.concatenate(([0], np.cumsum(silent)))  # readings between two silences have the same number

    def standing(*, backward: bool) -> tuple[Rows, Rows]:
        first, last = _runs(at, len(rows), min_length, backward=backward)
        unbroken = spell[first] == spell[last]
        first, last = first[unbroken], last[unbroken]
        still = _ranges(readings, first, last) <= tolerance
        return first[still], last[still]

    marked: NDArray[np.bool_] = np.zeros(len(rows), dtype=bool)
    first, last = standing(backward=True)
    if not look_ahead:
        marked[last] = True
    else:
        # by time, a run from one reading to another may be longer than any that is the shortest to end there
        further = standing(backward=False)
        first, last = np.concatenate((first, further[0])), np.concatenate((last, further[1]))
        begun = np.bincount(first, minlength=len(rows) + 1)
        over = np.bincount(last + 1, minlength=len(rows) + 1)
        marked = np.cumsum(begun - over)[:-1] > 0
    out = np.full(len(x), np.nan)
    out[rows] = marked
    return out


@operation(dtype=_flag_dtype)
def stuck(inputs: list[pl.Series], *, min_length: int, tolerance: float, look_ahead: bool) -> pl.Series:  # noqa: D103
    times = by("stuck", inputs)

    def of(series: pl.Series) -> pl.Series:
        with np.errstate(over="ignore"):
            flags = _stuck(_io.read(series), times, min_length, tolerance, look_ahead=look_ahead)
        return _io.write_flags(series.name, flags)

    return each(inputs, of)


@operation(dtype=_flag_dtype)
def out_of_range(inputs: list[pl.Series], *, low: float | None, high: float | None) -> pl.Series:  # noqa: D103
    lowest, highest = -np.inf if low is None else low, np.inf if high is None else high

    def of(series: pl.Series) -> pl.Series:
        x, limits = _io.read(series), np.array([lowest, highest])
        if series.dtype == pl.Float32:  # a limit is a number of the sensor's dtype
            with np.errstate(over="ignore"):
                limits = limits.astype(np.float32).astype(np.float64)
        return _io.write_flags(series.name, np.where(np.isnan(x), np.nan, (x < limits[0]) | (x > limits[1])))

    return each(inputs, of)


def _rates(x: Floats, times: Times | None) -> Floats:
    """Rise since the last reading, per row or second; NaN at one and the same time."""
    rows = np.flatnonzero(~np.isnan(x))
    now, before = x[rows[1:]], x[rows[:-1]]
    if times is None:
        distance = np.diff(rows).astype(np.float64)
    else:
        distance = elapsed(times[rows[1:]], times[rows[:-1]]).astype(np.float64) / 1e9
    rise = now - before
    rate = np.where(np.isfinite(rise), rise / distance, now / distance - before / distance)
    out = np.full(len(x), np.nan)
    out[rows[1:]] = np.where(distance == 0, np.nan, rate)
    return out


@operation(dtype=one_each_dtype)
def rate_of_change(inputs: list[pl.Series]) -> pl.Series:  # noqa: D103
    times = by("rate_of_change", inputs)

    def of(series: pl.Series) -> pl.Series:
        with np.errstate(all="ignore"):
            rates = _rates(_io.read(series), times)
        return floats("rate_of_change", series, rates)

    return each(inputs, of)


def _checked_times_dtype(_name: str, fields: list[Field], *, of: str) -> pl.DataType:
    _io.time_unit(of, fields[0])
    return pl.Int64()


@operation(dtype=_checked_times_dtype)
def checked_times(inputs: list[pl.Series], *, of: str) -> pl.Series:
    """Give the times of a `by` column in nanoseconds, or the errors of the operation `of`, which needs them."""
    remedy = "sort by it first, and name the series with `over=` where the frame holds several"
    return pl.Series(inputs[0].name, _io.times(of, inputs[0], len(inputs[0]), remedy))
