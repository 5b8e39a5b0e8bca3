"""Spectra of whole series on SciPy; formulas and rules are those of `acm_rs.features.spectrum`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import fft

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.rolling import _bins

Bands = Sequence[Sequence[float]]

# Powers up to this share of their sum are rounding.
NOISE = 16 * np.finfo(np.float64).eps ** 2


# --- mathematics -----------------------------------------------------------------------------------------------------


def _powers(x: Floats, min_samples: int | None) -> Floats | None:
    """Powers at the frequencies 0 to n // 2; None where too few readings are present."""
    n = len(x)
    present = x[~np.isnan(x)]
    if len(present) < max(n // 2 if min_samples is None else min_samples, 2):
        return None
    with np.errstate(all="ignore"):
        # the mean in two steps: rounded to the digits of large readings it would leave a level between the gaps
        y = x - present[0]
        z = fft.rfft(np.where(np.isnan(x), 0.0, y - np.nanmean(y)))
        powers: Floats = np.square(z.real) + np.square(z.imag)
    powers[0] = 0.0
    return powers


def _dominant_period(x: Floats, min_samples: int | None, sampling_hz: float, min_cycles: int) -> float:
    powers = _powers(x, min_samples)
    if powers is None or len(powers) <= min_cycles:
        return np.nan
    with np.errstate(all="ignore"):
        noise = NOISE * powers.sum()
    if not np.isfinite(noise):
        return np.nan
    strongest = min_cycles + int(np.argmax(powers[min_cycles:]))
    return len(x) / strongest / sampling_hz if powers[strongest] > noise else np.nan


# --- operations ------------------------------------------------------------------------------------------------------


def _names(name: str, field: Field) -> list[str]:
    """Names of the columns of a struct, all numeric, or an error."""
    columns = _io.struct_fields(name, field)
    for column in columns:
        _io.float_of(name, column)
    return [column.name for column in columns]


def _cell(name: str, value: float) -> pl.Series:
    """Write a number, null if it is not finite."""
    return pl.Series(name, [value if np.isfinite(value) else None], dtype=pl.Float64)


def _energy_dtype(name: str, fields: list[Field], *, bands: Bands, **_parameters: Any) -> pl.DataType:
    columns = _names(name, fields[0])
    return pl.Struct(
        [pl.Field(f"{column}_energy_{band}", pl.Float64()) for column in columns for band in range(len(bands))]
    )


@operation(dtype=_energy_dtype)
def spectral_energy(  # noqa: D103
    inputs: list[pl.Series], *, bands: Bands, sampling_hz: float, min_samples: int | None
) -> pl.Series:
    cells = []
    for series in _io.struct_columns(inputs[0]):
        powers = _powers(_io.read(series), min_samples)
        for band, bins in enumerate(_bins(bands, sampling_hz, len(series))):
            with np.errstate(over="ignore", invalid="ignore"):
                energy = np.nan if powers is None else float(powers[bins].sum())
            cells.append(_cell(f"{series.name}_energy_{band}", energy))
    return _io.struct_of(cells)


def _power_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    names = ["frequency", *(f"{column}_power" for column in _names(name, fields[0]))]
    return pl.Struct([pl.Field(column, pl.List(pl.Float64())) for column in names])


def _list(name: str, values: Floats) -> pl.Series:
    return _io.write("", values, pl.Float64()).implode().alias(name)


@operation(dtype=_power_dtype)
def power_spectrum(inputs: list[pl.Series], *, sampling_hz: float, min_samples: int | None) -> pl.Series:  # noqa: D103
    n = len(inputs[0])
    bins = n // 2 + 1 if n else 0
    fields = [_list("frequency", np.arange(bins) * sampling_hz / max(n, 1))]
    for series in _io.struct_columns(inputs[0]):
        powers = _powers(_io.read(series), min_samples)
        fields.append(_list(f"{series.name}_power", np.full(bins, np.nan) if powers is None else powers))
    return _io.struct_of(fields)


def _period_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    if not isinstance(fields[0].dtype, pl.Struct):
        _io.float_of(name, fields[0])
        return pl.Float64()
    return pl.Struct([pl.Field(column, pl.Float64()) for column in _names(name, fields[0])])


@operation(dtype=_period_dtype)
def dominant_period(  # noqa: D103
    inputs: list[pl.Series], *, sampling_hz: float, min_samples: int | None, min_cycles: int
) -> pl.Series:
    def of(series: pl.Series) -> pl.Series:
        return _cell(series.name, _dominant_period(_io.read(series), min_samples, sampling_hz, min_cycles))

    if not isinstance(inputs[0].dtype, pl.Struct):
        return of(inputs[0])
    return _io.struct_of([of(series) for series in _io.struct_columns(inputs[0])])
