"""Rolling features on NumPy; formulas and rules are those of `acm_rs.features.rolling`.

The windows of many rows at once are the rows of one matrix, right-aligned: the newest reading stands in the last
column, NaN is missing or before the window. Every statistic is taken of each window by itself, so nothing is ever
subtracted that was added before, and a spike that has left a window has left nothing behind. Moments are taken in two
passes about the newest reading (Chan, Golub and LeVeque 1983).

A window that is not full, or is counted in time, stands in a matrix as wide as the next power of two of its rows. So
the width, and with it the order of summation, is a matter of the window alone: a series scored in pieces gives the same
bits.

Cost: proportional to rows times window, for order statistics times its logarithm. Matrices hold at most `CELLS`
values, or one window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats, Times
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.columns import by

NORMAL = 1.4826  # standard deviation of a normal distribution in units of its MAD, with the digits that ACM uses
CELLS = 2**18  # values per matrix: 2 MiB, so that the handful in use at once stays near the processor
# Outside of these bounds of the largest deviation, fourth powers and their sums may leave the range of Float64.
TINY, HUGE = 1e-70, 1e70

Rows = NDArray[np.intp]
Bands = Sequence[Sequence[float]]


# --- windows ---------------------------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """Some rows of a column and their windows."""

    rows: Rows
    values: Floats
    """A window per row, right-aligned; NaN is missing."""
    nanoseconds: Floats | None
    """Times of the readings before that of the row, in windows by time."""


def _starts(rows: int, window_size: int, times: Times | None) -> Rows:
    """First row of every window."""
    if times is None:
        return np.maximum(np.arange(rows) - min(window_size, rows) + 1, 0)
    reachable = times >= np.iinfo(np.int64).min + window_size  # else the window begins before all time
    begin = np.searchsorted(times, np.where(reachable, times - np.int64(window_size), 0), side="right")
    return np.where(reachable, begin, 0)


def _windows(x: Floats, window_size: int, times: Times | None) -> Iterator[Windows]:
    """Windows of all rows, those of one width together and not too many at once."""
    starts = _starts(len(x), window_size, times)
    lengths = np.arange(len(x)) - starts + 1
    full = lengths >= window_size if times is None else np.zeros(len(x), dtype=bool)
    widths = 2 ** np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    if times is None:
        widths = np.minimum(widths, window_size)
    if full.any():  # neighbours in memory: no need to gather
        view = sliding_window_view(x, window_size)
        step = max(1, CELLS // window_size)
        for begin in range(0, len(view), step):
            part = view[begin : begin + step]
            rows = np.arange(begin, begin + len(part)) + window_size - 1
            yield Windows(rows, np.ascontiguousarray(part), None)
    for width in np.unique(widths[~full]):
        members = np.flatnonzero((widths == width) & ~full)
        step = max(1, CELLS // int(width))
        for begin in range(0, len(members), step):
            rows = members[begin : begin + step]
            places = rows[:, None] + np.arange(1 - width, 1)
            outside = places < starts[rows][:, None]
            places[outside] = np.broadcast_to(rows[:, None], places.shape)[outside]
            values = x[places]
            values[outside] = np.nan
            before = None if times is None else (times[places] - times[rows][:, None]).astype(np.float64)
            yield Windows(rows, values, before)


# --- order statistics ------------------------------------------------------------------------------------------------


def _middle(ordered: Floats, count: NDArray[np.intp]) -> Floats:
    """Median of the first `count` of each row, which are in order: a midpoint is rounded once and does not overflow."""
    last = np.maximum(count - 1, 0)
    low = np.take_along_axis(ordered, (last // 2)[:, None], axis=1)[:, 0]
    high = np.take_along_axis(ordered, ((last + 1) // 2)[:, None], axis=1)[:, 0]
    total = low + high
    return np.where(np.isfinite(total), total / 2, low / 2 + high / 2) + 0.0  # -0.0 becomes 0.0


class Order(NamedTuple):
    """Order statistics of the windows of some rows."""

    median: Floats
    mad: Floats


def _order(windows: Windows, min_samples: int, *, mad: bool) -> Order:
    ordered = np.sort(windows.values, axis=1)  # NaN comes last
    count = np.count_nonzero(~np.isnan(ordered), axis=1)
    median = np.where(count >= min_samples, _middle(ordered, count), np.nan)
    if not mad:
        return Order(median, median)
    distances = np.abs(np.subtract(ordered, median[:, None], out=ordered), out=ordered)
    distances.sort(axis=1)
    return Order(median, _middle(distances, count))


def _robust_z(reading: Floats, order: Order, clip: float, scale_floor: float) -> Floats:
    scale = np.fmax(NORMAL * order.mad, scale_floor)
    distance = reading - order.median
    at_limit = np.where(distance == 0, 0.0, np.copysign(clip, distance))
    z = np.where(scale == 0, at_limit, np.clip(distance / scale, -clip, clip))
    return np.where(np.isnan(distance), np.nan, z) + 0.0


def _hampel(reading: Floats, order: Order, n_sigmas: float) -> Floats:
    distance = reading - order.median
    outside = np.abs(distance) > n_sigmas * (NORMAL * order.mad)
    return np.where(np.isnan(distance), np.nan, outside)


# --- moments ---------------------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Central sums of the windows of some rows, of deviations divided by ``2**exponent``."""

    n: NDArray[np.intp]
    mean: Floats
    exponent: NDArray[np.int64]
    m2: Floats
    deviations: Floats
    """From the mean, 0 where a reading is missing."""
    constant: NDArray[np.bool_]


def _moments(windows: Windows) -> Moments:
    values = windows.values
    present = ~np.isnan(values)
    count = np.count_nonzero(present, axis=1)
    divisor = np.maximum(count, 1)
    width = values.shape[1]
    newest = width - 1 - np.argmax(present[:, ::-1], axis=1)
    anchor = np.take_along_axis(values, newest[:, None], axis=1)
    differences = np.where(present, values - anchor, 0.0)
    widest = np.max(np.abs(differences), axis=1)
    constant = widest == 0
    exponent = np.zeros(len(values), dtype=np.int64)
    mean_exponent = exponent.copy()
    extreme = np.flatnonzero(~constant & ~((widest > TINY) & (widest < HUGE)))
    if len(extreme):  # scaled by powers of two: first the readings, so that differences fit, then those
        size = np.frexp(np.max(np.abs(np.where(present[extreme], values[extreme], 0.0)), axis=1))[1]
        scaled = np.ldexp(values[extreme], -size[:, None])
        anchor[extreme] = np.ldexp(anchor[extreme], -size[:, None])
        scaled = np.where(present[extreme], scaled - anchor[extreme], 0.0)
        further = np.frexp(np.max(np.abs(scaled), axis=1))[1]
        differences[extreme] = np.ldexp(scaled, -further[:, None])
        exponent[extreme] = size + further
        mean_exponent[extreme] = size
    shift = differences.sum(axis=1) / divisor
    mean = anchor[:, 0] + np.ldexp(shift, (exponent - mean_exponent).astype(np.int32))
    mean = np.ldexp(mean, mean_exponent.astype(np.int32))
    deviations = np.where(present, differences - shift[:, None], 0.0)
    m2 = np.square(deviations).sum(axis=1) - np.square(deviations.sum(axis=1)) / divisor
    return Moments(count, mean, exponent, m2, deviations, constant)


def _unscaled(values: Floats, moments: Moments) -> Floats:
    return np.ldexp(values, moments.exponent.astype(np.int32))


def _mean(moments: Moments, min_samples: int) -> Floats:
    return np.where(moments.n >= min_samples, moments.mean, np.nan) + 0.0


def _std(moments: Moments, min_samples: int, ddof: int) -> Floats:
    enough = (moments.n >= max(min_samples, 2)) & (moments.n > ddof)
    return np.where(enough, _unscaled(np.sqrt(moments.m2 / (moments.n - ddof)), moments), np.nan)


def _skew(moments: Moments, min_samples: int, *, bias: bool) -> Floats:
    n = moments.n.astype(np.float64)
    d = moments.deviations
    rest = d.sum(axis=1) / n  # what the rounding of the mean has left
    m3 = (d * np.square(d)).sum(axis=1) - 3 * rest * np.square(d).sum(axis=1) + 2 * n * rest**3
    skew = np.sqrt(n) * m3 / moments.m2**1.5
    if not bias:
        skew *= np.sqrt(n * (n - 1)) / (n - 2)
    return np.where((moments.n >= max(min_samples, 3)) & ~moments.constant, skew, np.nan) + 0.0


def _kurtosis(moments: Moments, min_samples: int, *, bias: bool) -> Floats:
    n = moments.n.astype(np.float64)
    d = moments.deviations
    squares = np.square(d)
    rest = d.sum(axis=1) / n
    m4 = np.square(squares).sum(axis=1) - 4 * rest * (d * squares).sum(axis=1) + 6 * rest**2 * squares.sum(axis=1)
    kurtosis = n * (m4 - 3 * n * rest**4) / np.square(moments.m2) - 3
    if not bias:
        kurtosis = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * kurtosis + 6)
    return np.where((moments.n >= max(min_samples, 4)) & ~moments.constant, kurtosis, np.nan) + 0.0


def _slope(windows: Windows, moments: Moments, min_samples: int) -> Floats:
    """Slope per row or, in windows by time, per second."""
    present = ~np.isnan(windows.values)
    if windows.nanoseconds is None:
        places: Any = np.broadcast_to(np.arange(1.0 - present.shape[1], 1.0), present.shape)
        unit = 1.0
    else:
        places, unit = windows.nanoseconds, 1e9
    centre = np.where(present, places, 0.0).sum(axis=1) / np.maximum(moments.n, 1)
    offsets = np.where(present, places - centre[:, None], 0.0)
    spread = np.square(offsets).sum(axis=1)
    slope = (offsets * moments.deviations).sum(axis=1) / spread * unit
    first = np.take_along_axis(places, np.argmax(present, axis=1)[:, None], axis=1)[:, 0]
    last = np.take_along_axis(places, -1 - np.argmax(present[:, ::-1], axis=1)[:, None], axis=1)[:, 0]
    enough = (moments.n >= max(min_samples, 2)) & (first != last)
    return np.where(enough, _unscaled(slope, moments), np.nan) + 0.0


# --- the spectrum ----------------------------------------------------------------------------------------------------


# A frequency that lies no farther below an edge, as a share of it, lies on it.
ON_EDGE = 1e-12


def _bins(bands: Bands, sampling_hz: float, rows: int) -> list[slice]:
    """For each band the bins ``k >= 1`` of a transform of this many rows that lie in it."""
    frequencies = np.arange(1, rows // 2 + 1) * sampling_hz / rows
    edges = np.asarray(bands) * (1 - ON_EDGE)
    return [slice(*(1 + np.searchsorted(frequencies, band)).tolist()) for band in edges]


def _energies(x: Floats, window_size: int, min_samples: int, bands: Bands, sampling_hz: float) -> Floats:
    """Energy of every band and row."""
    out = np.full((len(bands), len(x)), np.nan)

    def transform(rows: Any, values: Floats) -> None:
        moments = _moments(Windows(rows, values, None))
        power = np.square(np.abs(fft.rfft(moments.deviations, axis=1)))
        enough = moments.n >= max(min_samples, 1)
        for band, bins in enumerate(_bins(bands, sampling_hz, values.shape[1])):
            energy = np.ldexp(power[:, bins].sum(axis=1), 2 * moments.exponent.astype(np.int32))
            out[band, rows] = np.where(enough, energy, np.nan)

    # the first windows have a length each
    for end in range(max(1, min_samples), min(window_size, len(x) + 1)):
        transform(np.array([end - 1]), x[None, :end].copy())
    if len(x) >= window_size:
        view = sliding_window_view(x, window_size)
        step = max(1, CELLS // window_size)
        for begin in range(0, len(view), step):
            part = np.ascontiguousarray(view[begin : begin + step])
            transform(np.arange(begin, begin + len(part)) + window_size - 1, part)
    return out


# --- operations ------------------------------------------------------------------------------------------------------


def one_each_dtype(
    name: str, fields: list[Field], *, result: pl.DataType | None = None, **_parameters: Any
) -> pl.DataType:
    """Dtype of one result per column: the float that goes with the column, unless `result` says otherwise."""
    if len(fields) > 1:
        _io.time_unit(name, fields[1])

    def of(field: Field) -> pl.DataType:
        number = _io.float_of(name, field)
        return number if result is None else result

    if not isinstance(fields[0].dtype, pl.Struct):
        return of(fields[0])
    return pl.Struct([pl.Field(field.name, of(field)) for field in _io.struct_fields(name, fields[0])])


def _flag_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    return one_each_dtype(name, fields, result=pl.Boolean())


def _one_each(
    name: str,
    inputs: list[pl.Series],
    window_size: int,
    statistic: Callable[[Windows], Floats],
    write: Callable[[pl.Series, Floats], pl.Series] | None = None,
) -> pl.Series:
    """Apply a statistic to a column, or to every column of a struct."""
    times = by(name, inputs)

    def of(series: pl.Series) -> pl.Series:
        x = _io.read(series)
        out = np.full(len(x), np.nan)
        with np.errstate(all="ignore"):
            for windows in _windows(x, window_size, times):
                out[windows.rows] = statistic(windows)
        if write is not None:
            return write(series, out)
        return _io.write(series.name, out, _io.float_of(name, Field(series.name, series.dtype)))

    if not isinstance(inputs[0].dtype, pl.Struct):
        return of(inputs[0])
    return _io.struct_of([of(column) for column in _io.struct_columns(inputs[0])])


@operation(dtype=one_each_dtype)
def rolling_median(inputs: list[pl.Series], *, window_size: int, min_samples: int) -> pl.Series:  # noqa: D103
    return _one_each(
        "rolling_median", inputs, window_size, lambda windows: _order(windows, min_samples, mad=False).median
    )


@operation(dtype=one_each_dtype)
def rolling_mad(inputs: list[pl.Series], *, window_size: int, min_samples: int, scale: float) -> pl.Series:  # noqa: D103
    def statistic(windows: Windows) -> Floats:
        return scale * _order(windows, min_samples, mad=True).mad

    return _one_each("rolling_mad", inputs, window_size, statistic)


@operation(dtype=one_each_dtype)
def rolling_mean(inputs: list[pl.Series], *, window_size: int, min_samples: int) -> pl.Series:  # noqa: D103
    return _one_each("rolling_mean", inputs, window_size, lambda windows: _mean(_moments(windows), min_samples))


@operation(dtype=one_each_dtype)
def rolling_std(inputs: list[pl.Series], *, window_size: int, min_samples: int, ddof: int) -> pl.Series:  # noqa: D103
    return _one_each("rolling_std", inputs, window_size, lambda windows: _std(_moments(windows), min_samples, ddof))


def _limited(clip: float | None) -> Callable[[pl.Series, Floats], pl.Series]:
    def write(series: pl.Series, values: Floats) -> pl.Series:
        dtype = pl.Float32() if series.dtype == pl.Float32 else pl.Float64()
        return _io.write(series.name, values, dtype, clip=clip)

    return write


@operation(dtype=one_each_dtype)
def rolling_skew(  # noqa: D103
    inputs: list[pl.Series], *, window_size: int, min_samples: int, bias: bool, clip: float | None
) -> pl.Series:
    def statistic(windows: Windows) -> Floats:
        return _skew(_moments(windows), min_samples, bias=bias)

    return _one_each("rolling_skew", inputs, window_size, statistic, _limited(clip))


@operation(dtype=one_each_dtype)
def rolling_kurtosis(  # noqa: D103
    inputs: list[pl.Series], *, window_size: int, min_samples: int, bias: bool, clip: float | None
) -> pl.Series:
    def statistic(windows: Windows) -> Floats:
        return _kurtosis(_moments(windows), min_samples, bias=bias)

    return _one_each("rolling_kurtosis", inputs, window_size, statistic, _limited(clip))


@operation(dtype=one_each_dtype)
def rolling_slope(inputs: list[pl.Series], *, window_size: int, min_samples: int) -> pl.Series:  # noqa: D103
    def statistic(windows: Windows) -> Floats:
        return _slope(windows, _moments(windows), min_samples)

    return _one_each("rolling_slope", inputs, window_size, statistic)


@operation(dtype=one_each_dtype)
def rolling_robust_z(  # noqa: D103
    inputs: list[pl.Series], *, window_size: int, min_samples: int, clip: float, scale_floor: float
) -> pl.Series:
    def statistic(windows: Windows) -> Floats:
        return _robust_z(windows.values[:, -1], _order(windows, min_samples, mad=True), clip, scale_floor)

    return _one_each("rolling_robust_z", inputs, window_size, statistic)


@operation(dtype=_flag_dtype)
def rolling_hampel(inputs: list[pl.Series], *, window_size: int, min_samples: int, n_sigmas: float) -> pl.Series:  # noqa: D103
    def statistic(windows: Windows) -> Floats:
        return _hampel(windows.values[:, -1], _order(windows, min_samples, mad=True), n_sigmas)

    return _one_each(
        "rolling_hampel", inputs, window_size, statistic, lambda series, values: _io.write_flags(series.name, values)
    )


def _layout(suffixes: Sequence[str], columns: int, order: str) -> Iterator[tuple[int, str]]:
    """Column and suffix of every field, in their order."""
    if order == "column":
        yield from ((column, suffix) for column in range(columns) for suffix in suffixes)
        return
    energies = [suffix for suffix in suffixes if suffix.startswith("energy_")]
    for suffix in suffixes:
        if suffix not in energies:
            yield from ((column, suffix) for column in range(columns))
        elif suffix == energies[0]:  # the energies together, column by column, as ACM has them
            yield from ((column, energy) for column in range(columns) for energy in energies)


def _several_dtype(name: str, fields: list[Field], suffixes: Sequence[str], order: str = "column") -> pl.DataType:
    if len(fields) > 1:
        _io.time_unit(name, fields[1])
    columns = [(field.name, _io.float_of(name, field)) for field in _io.struct_fields(name, fields[0])]
    return pl.Struct(
        [
            pl.Field(f"{columns[column][0]}_{suffix}", columns[column][1])
            for column, suffix in _layout(suffixes, len(columns), order)
        ]
    )


def _energy_suffixes(bands: Bands) -> list[str]:
    return [f"energy_{band}" for band in range(len(bands))]


def _spectral_dtype(name: str, fields: list[Field], *, bands: Bands, **_parameters: Any) -> pl.DataType:
    return _several_dtype(name, fields, _energy_suffixes(bands))


@operation(dtype=_spectral_dtype)
def rolling_spectral_energy(  # noqa: D103
    inputs: list[pl.Series], *, window_size: int, min_samples: int, bands: Bands, sampling_hz: float
) -> pl.Series:
    fields = []
    for series in _io.struct_columns(inputs[0]):
        with np.errstate(all="ignore"):
            energies = _energies(_io.read(series), window_size, min_samples, bands, sampling_hz)
        dtype = _io.float_of("rolling_spectral_energy", Field(series.name, series.dtype))
        for suffix, energy in zip(_energy_suffixes(bands), energies, strict=True):
            fields.append(_io.write(f"{series.name}_{suffix}", energy, dtype))
    return _io.struct_of(fields)


ORDERED = {"med", "mad", "rz"}
SUMMED = {"mean", "std", "slope", "skew", "kurt"}


def _feature_suffixes(features: Sequence[str], bands: Bands) -> list[str]:
    energies = _energy_suffixes(bands)
    return [suffix for feature in features for suffix in (energies if feature == "energy" else [feature])]


def _features_dtype(
    name: str,
    fields: list[Field],
    *,
    features: Sequence[str],
    bands: Bands,
    order: Literal["column", "feature"],
    **_parameters: Any,
) -> pl.DataType:
    return _several_dtype(name, fields, _feature_suffixes(features, bands), order)


@operation(dtype=_features_dtype)
def rolling_features(  # noqa: D103
    inputs: list[pl.Series],
    *,
    window_size: int,
    min_samples: int,
    features: Sequence[str],
    bands: Bands,
    sampling_hz: float,
    spectrum_min_samples: int,
    clip: float,
    scale_floor: float,
    fill_null: float | None,
    order: Literal["column", "feature"],
) -> pl.Series:
    name = "rolling_features"
    times = by(name, inputs)
    suffixes = _feature_suffixes(features, bands)
    columns = _io.struct_columns(inputs[0])
    results: list[dict[str, pl.Series]] = []
    for series in columns:
        x = _io.read(series)
        out = {suffix: np.full(len(x), np.nan) for suffix in suffixes}
        with np.errstate(all="ignore"):
            for windows in _windows(x, window_size, times):
                of: dict[str, np.ndarray] = {}
                if ORDERED & set(features):
                    ranks = _order(windows, min_samples, mad=True)
                    of |= {"med": ranks.median, "mad": ranks.mad}
                    of["rz"] = _robust_z(windows.values[:, -1], ranks, clip, scale_floor)
                if SUMMED & set(features):
                    moments = _moments(windows)
                    of["mean"] = _mean(moments, min_samples)
                    of["std"] = _std(moments, min_samples, 1)
                    of["slope"] = _slope(windows, moments, min_samples)
                    of["skew"] = _skew(moments, min_samples, bias=False)
                    of["kurt"] = _kurtosis(moments, min_samples, bias=False)
                for suffix in of.keys() & set(features):
                    out[suffix][windows.rows] = of[suffix]
            if bands:
                energies = _energies(x, window_size, spectrum_min_samples, bands, sampling_hz)
                out |= dict(zip(_energy_suffixes(bands), energies, strict=True))
        dtype = _io.float_of(name, Field(series.name, series.dtype))
        results.append({s: _io.write(f"{series.name}_{s}", out[s], dtype, fill_null=fill_null) for s in suffixes})
    return _io.struct_of([results[column][suffix] for column, suffix in _layout(suffixes, len(columns), order)])
