"""Operations on whole columns, each by itself: a column in, a column or a value out; of a struct, for each field."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats, Times
from acm_rs.fallback._registry import Field


def each(inputs: list[pl.Series], f: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Apply `f` to a column, or to every column of a struct."""
    if not isinstance(inputs[0].dtype, pl.Struct):
        return f(inputs[0])
    return _io.struct_of([f(column) for column in _io.struct_columns(inputs[0])])


def by(operation: str, inputs: list[pl.Series]) -> Times | None:
    """Return the times of the rows, where a time column is given."""
    return _io.times(operation, inputs[1], len(inputs[0])) if len(inputs) > 1 else None


def floats(operation: str, series: pl.Series, results: Floats) -> pl.Series:
    """Results as a column of the dtype that goes with the input."""
    return _io.write(series.name, results, _io.float_of(operation, Field(series.name, series.dtype)))


def elapsed(later: Times, earlier: Times) -> NDArray[np.uint64]:
    """Nanoseconds in between, exact also over more than the 292 years that a signed number holds."""
    return later.view(np.uint64) - earlier.view(np.uint64)
