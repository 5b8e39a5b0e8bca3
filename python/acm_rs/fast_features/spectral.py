"""Energies of a whole series, as ACM's functions of these names give them."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

import polars as pl

from acm_rs import _checks
from acm_rs._checks import is_a
from acm_rs.features.rolling import Bands

READINGS = "a 1-D array, a Series or a list of numbers"


def spectral_energy(x: Any, bands: Bands = None, fs: float = 1.0) -> list[float]:
    """Energy of a whole series in frequency bands.

    The sum of ``P_k = |sum_i y_i exp(-2 pi j k i / n)|^2`` with ``y = x - mean(x)`` over ``low <= k fs / n < high``,
    for every band.

    Parameters
    ----------
    x : 1-D array, Series or list
        Readings at equal intervals; missing ones count as the mean.
    bands : sequence of pairs or None
        Bands ``(low, high)`` in Hz, upper edges exclusive; default None: up to 0.1, 0.3 and 1 times ``fs / 2``.
    fs : float
        Rows per second, above 0; default 1.

    Returns
    -------
    list of float
        One energy per band; 0.0 where fewer than 2 readings are present.

    Notes
    -----
    Uses NumPy's FFT; without NumPy installed it is `goertzel_energy`.
    """
    y, bins = _series("spectral_energy", x, bands, fs)
    try:
        import numpy as np
    except ImportError:
        return _goertzel_energies(y, bins)
    power = np.abs(np.fft.rfft(y)) ** 2 if y else np.empty(0)
    return [float(power[band.start : band.stop].sum()) for band in bins]


def goertzel_energy(x: Any, bands: Bands = None, fs: float = 1.0) -> list[float]:
    """Energy of a whole series in frequency bands, by Goertzel's recurrence.

    The number that `spectral_energy` gives, from only the frequencies that lie in a band (Goertzel 1958): for short
    series or narrow bands.

    Parameters
    ----------
    x : 1-D array, Series or list
        Readings at equal intervals; missing ones count as the mean.
    bands : sequence of pairs or None
        Bands ``(low, high)`` in Hz, upper edges exclusive; default None: up to 0.1, 0.3 and 1 times ``fs / 2``.
    fs : float
        Rows per second, above 0; default 1.

    Returns
    -------
    list of float
        One energy per band; 0.0 where fewer than 2 readings are present.

    Notes
    -----
    Cost: the length times the number of frequencies, in plain Python.
    """
    return _goertzel_energies(*_series("goertzel_energy", x, bands, fs))


def _goertzel_energies(y: list[float], bins: list[range]) -> list[float]:
    return [sum((_goertzel_power(y, k) for k in band), 0.0) for band in bins]


def _goertzel_power(y: list[float], k: int) -> float:
    """Power of `y` at ``k`` periods per length."""
    omega = 2 * math.pi * k / len(y)
    factor = 2 * math.cos(omega)
    newer = older = 0.0
    for reading in y:
        newer, older = reading + factor * newer - older, newer
    real, imaginary = newer - older * math.cos(omega), older * math.sin(omega)
    return real * real + imaginary * imaginary


def _series(operation: str, x: Any, bands: Bands, fs: float) -> tuple[list[float], list[range]]:
    """Return the centred series, 0 where a reading is missing, and the frequencies of every band as bins."""
    fs = _checks.number(operation, "fs", fs, positive=True)
    edges = _checks.bands(operation, bands, fs)
    try:  # not strict: a list may begin with integers
        readings = pl.Series("x", x.to_numpy() if is_a(x, "pandas", "Series") else x, strict=False)
    except TypeError as error:
        raise _checks.mistyped(operation, "x", READINGS, x) from error
    if x is None or not (readings.dtype.is_numeric() or readings.dtype in (pl.Null, pl.Boolean)):
        raise _checks.mistyped(operation, "x", READINGS, x)
    series = readings.cast(pl.Float64)
    present = series.is_finite().fill_null(False)
    centred = series - series.filter(present).mean()
    y = [value if there else 0.0 for value, there in zip(centred, present, strict=True)]
    n = len(y)

    def first_bin(edge: float) -> int:  # of those from 1 on: bin 0 holds the mean, which is gone
        return 1 + bisect_left(range(1, n // 2 + 1), edge, key=lambda k: k * fs / n)

    return y, [range(first_bin(low), first_bin(high)) for low, high in edges]
