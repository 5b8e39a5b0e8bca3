"""The rolling features of NumPy arrays, without a frame.

An array is 1-D (one sensor) or 2-D (rows x sensors); missing readings are NaN, going in and coming out. A column-major
array (Fortran order), and any 1-D array without strides, is read where it lies, and the result is one allocation; in
C order the readings of a sensor are not next to each other, so that they are copied first, sensor by sensor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from acm_rs import _checks, features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

# Sensors per call: what a call makes before it is copied into the result stays small beside the result.
SENSORS = 16


def rolling_median_f64(data: Array, window: int, min_periods: int = 1) -> Array:
    """Trailing medians of an array.

    Parameters
    ----------
    data : array
        Float64, 1-D or 2-D (rows x sensors).
    window : int
        Rows, at least 1.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.

    Returns
    -------
    array
        Float64 of the shape of `data`, column-major; NaN where fewer than `min_periods` readings are present.
    """
    return _rolling("rolling_median_f64", data, window, min_periods, [features.rolling_median])[0]


def rolling_mad_f64(data: Array, window: int, min_periods: int = 1) -> Array:
    """Trailing median absolute deviations of an array, not scaled.

    Parameters
    ----------
    data : array
        Float64, 1-D or 2-D (rows x sensors).
    window : int
        Rows, at least 1.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.

    Returns
    -------
    array
        Float64 of the shape of `data`, column-major; NaN where fewer than `min_periods` readings are present.
    """
    return _rolling("rolling_mad_f64", data, window, min_periods, [features.rolling_mad])[0]


def rolling_mean_std_f64(data: Array, window: int, min_periods: int = 1) -> tuple[Array, Array]:
    """Trailing means and sample standard deviations of an array.

    Parameters
    ----------
    data : array
        Float64, 1-D or 2-D (rows x sensors).
    window : int
        Rows, at least 1.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.

    Returns
    -------
    tuple of two arrays
        Means and deviations, Float64 of the shape of `data`, column-major; NaN where fewer than `min_periods` readings
        are present, a deviation also where fewer than 2 are.
    """
    operations = [features.rolling_mean, features.rolling_std]
    mean, std = _rolling("rolling_mean_std_f64", data, window, min_periods, operations)
    return mean, std


def rolling_skew_kurt_f64(data: Array, window: int, min_periods: int = 1) -> tuple[Array, Array]:
    """Trailing skewness ``G1`` and kurtosis ``G2`` of an array.

    Parameters
    ----------
    data : array
        Float64, 1-D or 2-D (rows x sensors).
    window : int
        Rows, at least 1.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.

    Returns
    -------
    tuple of two arrays
        Skewness and kurtosis, Float64 of the shape of `data`, column-major; NaN where fewer than `min_periods` readings
        (and 3 for the skewness, 4 for the kurtosis) are present, and where all of them are equal. Not limited.
    """
    operations = [features.rolling_skew, features.rolling_kurtosis]
    skew, kurt = _rolling("rolling_skew_kurt_f64", data, window, min_periods, operations)
    return skew, kurt


def _rolling(
    operation: str, data: Any, window: int, min_periods: int, operations: list[Callable[..., pl.Expr]]
) -> list[Array]:
    """One result per operation; the columns of the array are read in place where they are contiguous."""
    import numpy as np

    if not isinstance(data, np.ndarray) or data.dtype != np.float64:
        raise _checks.mistyped(operation, "data", "a NumPy array of float64", getattr(data, "dtype", data))
    if data.ndim not in (1, 2):
        raise _checks.invalid(operation, "data", "1-D or 2-D (rows x sensors)", data.shape)
    size = _checks.integer(operation, "window", window, 1)
    least = _checks.min_samples(operation, min_periods, size, None, name="min_periods", window_name="window")
    matrix = data.reshape(-1, 1) if data.ndim == 1 else data
    rows, sensors = matrix.shape
    # one block for all results, so that each is column-major without a copy
    block = np.empty((len(operations), sensors, rows))
    calls = [partial(operate, window_size=size, min_samples=least) for operate in operations]
    for start in range(0, sensors, SENSORS):
        chunk = _columns(matrix[:, start : start + SENSORS])
        for out, call in zip(block, calls, strict=True):
            packed = chunk.select(call(chunk.columns).alias("result"))["result"]
            for place, field in zip(out[start:], packed.struct.unnest(), strict=False):
                place[:] = field.fill_null(np.nan).to_numpy() if field.null_count() else field.to_numpy()
    return [out[0] if data.ndim == 1 else out.T for out in block]


def _columns(matrix: Array) -> pl.DataFrame:
    """Put the columns of an array into a frame: contiguous ones share its memory, others are copied."""
    return pl.DataFrame([pl.Series(str(index), matrix[:, index]) for index in range(matrix.shape[1])])
