"""Directions on NumPy; formulas and rules are those of `acm_rs.features.directions`.

The angle is first brought into a quarter turn, by operations without rounding for degrees, so that multiples of
90 degrees give exact vectors. Missing readings (NaN) have no vector and are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.columns import each
from acm_rs.fallback.rolling import one_each_dtype

# Below this length the mean vector is rounding, and has no direction: a unit vector is known to about 1e-16.
NO_DIRECTION = 1e-14


def _unit_vectors(x: Floats, period: float) -> tuple[Floats, Floats]:
    """Return the unit vectors of directions; `period` is the full circle."""
    quarter = period / 4
    within = np.fmod(x, period)
    turns = np.rint(within / quarter)
    angle = (within - turns * quarter) / period * (2 * np.pi)
    sin, cos = np.sin(angle), np.cos(angle)
    quadrant = np.mod(turns, 4)
    after = [quadrant == 1, quadrant == 2, quadrant == 3]
    # no negative zeros
    return np.select(after, [-sin, -cos, sin], cos) + 0.0, np.select(after, [cos, -sin, -cos], sin) + 0.0


def _mean_vector(x: Floats, period: float) -> tuple[float, float]:
    """Return the mean vector of the readings that are present; NaN if there is none."""
    present = x[~np.isnan(x)]
    if not len(present):
        return np.nan, np.nan
    cos, sin = _unit_vectors(present, period)
    return float(cos.mean()), float(sin.mean())


def _circular_mean(x: Floats, period: float) -> float:
    """Direction of the mean vector, in ``[0, period)``; NaN where there is none."""
    cos, sin = _mean_vector(x, period)
    if np.hypot(cos, sin) < NO_DIRECTION:
        return np.nan
    angle = np.arctan2(sin, cos) / (2 * np.pi) * period
    if angle < 0:
        angle += period
    return 0.0 if angle >= period else float(angle)  # a tiny negative angle rounds to the full circle


def _resultant_length(x: Floats, period: float) -> float:
    """Length of the mean vector, 0 to 1."""
    length = float(np.hypot(*_mean_vector(x, period)))
    return 1.0 if length > 1 else length


def _aggregate_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    return one_each_dtype(name, fields, result=pl.Float64())


def _aggregate(inputs: list[pl.Series], period: float, statistic: Callable[[Floats, float], float]) -> pl.Series:
    """One Float64 of each column; what is not a number is null."""

    def of(series: pl.Series) -> pl.Series:
        with np.errstate(all="ignore"):
            result = statistic(_io.read(series), period)
        return _io.write(series.name, np.array([result]), pl.Float64())

    return each(inputs, of)


@operation(dtype=_aggregate_dtype)
def circular_mean(inputs: list[pl.Series], *, period: float) -> pl.Series:  # noqa: D103
    return _aggregate(inputs, period, _circular_mean)


@operation(dtype=_aggregate_dtype)
def resultant_length(inputs: list[pl.Series], *, period: float) -> pl.Series:  # noqa: D103
    return _aggregate(inputs, period, _resultant_length)


def _xy_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    columns = [(field.name, _io.float_of(name, field)) for field in _io.struct_fields(name, fields[0])]
    return pl.Struct([pl.Field(f"{column}_{axis}", dtype) for column, dtype in columns for axis in "xy"])


@operation(dtype=_xy_dtype)
def to_xy(inputs: list[pl.Series], *, period: float) -> pl.Series:  # noqa: D103
    fields = []
    for series in _io.struct_columns(inputs[0]):
        dtype = _io.float_of("to_xy", Field(series.name, series.dtype))
        with np.errstate(all="ignore"):
            vectors = _unit_vectors(_io.read(series), period)
        for axis, values in zip("xy", vectors, strict=True):
            fields.append(_io.write(f"{series.name}_{axis}", values, dtype))
    return _io.struct_of(fields)
