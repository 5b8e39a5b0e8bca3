"""Races acm_rs against the strongest peers, in one run, on the same data and the same two cores.

    python benches/compare.py                 the whole race; figures count with a wheel: `pip install ".[dev]"`
    python benches/compare.py --only median   the entries whose names begin so (see --help for the names)
    python benches/compare.py --quick         tiny data, agreement only, no clock: what CI runs
    python benches/compare.py --write         the whole race, and the tables of README.md

Before anything is timed, every contender's result is compared with ours: medians and MADs to the bit, everything else
to 1e-9 of max(1, |value|). Contenders take turns, so that a slow spell of the machine hits all of them alike; the time
of a contender is the median of its runs, and a ratio is the peer's time / ours. Every contender gets its data in the
form that suits it best (Polars and pandas their own frames, the others contiguous arrays of sensors x rows), prepared
outside the clock, and is called as a user calls it, with its result materialised.
"""

# a script, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D101, D102, D103
from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, Literal

THREADS = min(2, os.cpu_count() or 1)
# read by the libraries when they load, hence before any of them is imported
os.environ |= dict.fromkeys(
    ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    str(THREADS),
)

import acm_rs as acm  # noqa: E402
import polars as pl  # noqa: E402
from acm_rs import _internal, fast_features  # noqa: E402

README = Path(__file__).resolve().parent.parent / "README.md"
MARKERS = ("<!-- speed:start -->", "<!-- speed:end -->")
# settings for other processors than the one at hand, with which NumPy looks slower than it is
MISLEADING_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

SEED = 20240229
FULL_SHAPE = (10_000, 50)
QUICK_SHAPE = (1_500, 3)
MISSING_SHARE = 0.05
APPLY_SENSORS = 2  # pandas' apply takes 8 s for 50 sensors: timed on two and scaled up, unless --full
MINIMUM_RUNS = 7
# idle threads of OpenMP and OpenBLAS spin for up to 26 ms: a rest, so that they do not take a core from whoever is next
REST_SECONDS = 0.03
# a turn: as many runs as fit into this time, two at least; the second half of them is timed
BURST_SECONDS = 0.1

TOLERANCE = 1e-9
EXACT = {"med": 0.0, "mad": 0.0}
# Polars takes the midpoint as lo + (hi - lo) / 2, which is not correctly rounded: off in the last bits
POLARS_MIDPOINT = {"med": 1e-12}
# against exact arithmetic on these data: pandas' carried sums are off by 5e-9 in the kurtosis, Polars by 2e-13
PANDAS_DRIFT = {"skew": 1e-8, "kurt": 1e-7}

Arrays = Mapping[str, Any]  # output -> array of sensors x rows; missing is NaN; shorter arrays are the last rows
Run = Callable[[], Any]
Operation = Callable[[Any], pl.Expr]  # of a list of column names (one call) or of pl.all() (expanded)


def need(module: str) -> Any:
    """Import a package of the development extra, or say where it comes from."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SystemExit(f'{error}; benches/compare.py needs it: pip install -e ".[dev]"') from None


# --- data ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    frame: pl.DataFrame

    @property
    def columns(self) -> list[str]:
        return self.frame.columns

    @cached_property
    def matrix(self) -> Any:
        """Sensors x rows, each sensor contiguous: the order in which NumPy, SciPy, numba and bottleneck are fastest."""
        return need("numpy").stack([series.to_numpy() for series in self.frame])

    @cached_property
    def pandas(self) -> Any:
        return need("pandas").DataFrame(self.matrix.T, columns=self.columns)

    def head(self, sensors: int) -> Data:
        return Data(self.frame.select(self.columns[:sensors]))


@cache
def make_data(rows: int, sensors: int, missing: float = 0.0) -> Data:
    """Draw random walks with noise on top, which is what sensors look like.

    Windows overlap in value from row to row, but are neither nearly sorted (a plain walk would spare heaps and sorted
    windows their moves) nor without any order (white noise); there are no ties.
    """
    np = need("numpy")

    def sensor(index: int) -> pl.Series:
        random = np.random.default_rng([SEED, index])
        values = random.standard_normal(rows)
        np.cumsum(values, out=values)
        values += random.standard_normal(rows)
        series = pl.Series(f"s{index:02}", values)
        if not missing:
            return series
        gaps = pl.Series(random.random(rows) < missing)
        return pl.select(pl.when(~gaps).then(series).alias(series.name)).to_series()

    return Data(pl.DataFrame([sensor(index) for index in range(sensors)]))


# --- contenders ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    name: str
    prepare: Callable[[Data], Run]  # outside the clock; what it returns is timed
    arrays: Callable[[Data, Any], Arrays] | None  # the result in the common form; none: it is not compared
    needs: tuple[str, ...] = ()
    tolerance: Mapping[str, float] = field(default_factory=dict)
    ours: bool = False
    part: str = ""  # which part of a composite workload it computes
    sensors: int | None = None  # runs on the first sensors only; the time is scaled up
    note: str = ""  # what it computes instead, for those that are timed but do not count as peers
    tuned: bool = False  # a numba kernel tuned for this race: no library offers it

    def data(self, data: Data) -> Data:
        return data if self.sensors is None else data.head(self.sensors)

    def scale(self, data: Data) -> float:
        return 1.0 if self.sensors is None else max(1.0, len(data.columns) / self.sensors)


def frame_arrays(outputs: Sequence[str]) -> Callable[[Data, pl.DataFrame], Arrays]:
    """Results named `{sensor}_{output}`, or one struct of all sensors per output."""

    def arrays(data: Data, frame: pl.DataFrame) -> Arrays:
        np = need("numpy")
        named: dict[str, pl.Series] = {}
        for output, series in zip(outputs, frame, strict=False):
            if isinstance(series.dtype, pl.Struct):
                fields = series.struct.unnest()
                suffix = f"_{output}" if fields.columns == data.columns else ""
                named |= {f"{name}{suffix}": fields[name] for name in fields.columns}
        named = named or {series.name: series for series in frame}
        return {
            output: np.stack([named[f"{c}_{output}"].to_numpy() for c in data.columns], dtype=float)
            for output in outputs
        }

    return arrays


def ours(outputs: Sequence[str], *operations: Operation, expand: bool = True) -> list[Contender]:
    """Enter the forms a user can choose from: all sensors in one call, eager and lazy, and sensor by sensor."""

    def one_call(data: Data) -> Run:
        return lambda: data.frame.select(operation(data.columns) for operation in operations)

    def lazy(data: Data) -> Run:
        return lambda: data.frame.lazy().select(operation(data.columns) for operation in operations).collect()

    def expanded(data: Data) -> Run:
        each = list(zip(operations, outputs, strict=True))
        return lambda: data.frame.select(operation(pl.all()).name.suffix(f"_{output}") for operation, output in each)

    forms = {"one call": one_call, "lazy": lazy} | ({"expanded": expanded} if expand else {})
    # the forms agree to the bit: they run the same kernel
    exact = dict.fromkeys(outputs, 0.0)
    return [Contender(name, form, frame_arrays(outputs), tolerance=exact, ours=True) for name, form in forms.items()]


def polars(
    outputs: Sequence[str], *expressions: Callable[[pl.Expr], pl.Expr], name: str = "Polars", note: str = ""
) -> list[Contender]:
    def query(outputs: Sequence[str]) -> list[pl.Expr]:
        pairs = zip(expressions, outputs, strict=True)
        return [expression(pl.all()).name.suffix(f"_{output}") for expression, output in pairs]

    def eager(data: Data) -> Run:
        return lambda: data.frame.select(query(outputs))

    def lazy(data: Data) -> Run:
        return lambda: data.frame.lazy().select(query(outputs)).collect()

    forms = {name: eager, f"{name}, lazy": lazy}
    arrays = None if note else frame_arrays(outputs)
    return [Contender(name, form, arrays, tolerance=POLARS_MIDPOINT, note=note) for name, form in forms.items()]


def pandas(
    outputs: Sequence[str],
    window: int,
    call: Callable[[Any], Sequence[Any]],
    *,
    name: str = "pandas",
    sensors: int | None = None,
) -> Contender:
    def prepare(data: Data) -> Run:
        frame = data.pandas
        return lambda: call(frame.rolling(window, min_periods=1))

    def arrays(data: Data, frames: Sequence[Any]) -> Arrays:
        return {output: frame.to_numpy().T for output, frame in zip(outputs, frames, strict=True)}

    return Contender(name, prepare, arrays, needs=("pandas",), tolerance=PANDAS_DRIFT, sensors=sensors)


def on_matrix(
    name: str,
    outputs: Sequence[str],
    call: Callable[[Any], Any],
    *,
    needs: str,
    arrays: Callable[[Data, Any], Arrays] | None = None,
    note: str = "",
) -> Contender:
    """Enter a peer that takes an array of sensors x rows and gives one array per output."""

    def prepare(data: Data) -> Run:
        matrix = data.matrix
        return lambda: call(matrix)

    def as_given(data: Data, results: Any) -> Arrays:
        return dict(zip(outputs, results, strict=True))

    return Contender(name, prepare, arrays or as_given, needs=(needs,), note=note)


@cache
def numba_kernels(parallel: bool = True) -> SimpleNamespace:
    """Compile what a good numba programmer writes for readings without gaps: threads over sensors, one pass each."""
    numba, np = need("numba"), need("numpy")
    jit, prange = numba.njit(parallel=parallel), numba.prange

    @numba.njit(inline="always")
    def replace_sorted(window: Any, size: int, old: float, new: float) -> None:
        left, right = 0, size - 1
        while left < right:
            middle = (left + right) // 2
            if window[middle] < old:
                left = middle + 1
            else:
                right = middle
        if new > old:
            while left + 1 < size and window[left + 1] < new:
                window[left] = window[left + 1]
                left += 1
        else:
            while left > 0 and window[left - 1] > new:
                window[left] = window[left - 1]
                left -= 1
        window[left] = new

    @jit
    def rolling_median(x: Any, width: int) -> Any:
        out = np.empty_like(x)
        for sensor in prange(x.shape[0]):
            window = np.full(width, np.inf)
            for row in range(x.shape[1]):
                size = min(row + 1, width)
                replace_sorted(window, size, x[sensor, row - width] if row >= width else np.inf, x[sensor, row])
                half = size // 2
                out[sensor, row] = window[half] if size % 2 else (window[half - 1] + window[half]) / 2
        return out

    @jit
    def rolling_mad(x: Any, width: int) -> Any:
        # the readings nearest to the median lie side by side in the sorted window: a binary search finds the first
        out = np.empty_like(x)
        for sensor in prange(x.shape[0]):
            window = np.full(width, np.inf)
            for row in range(x.shape[1]):
                size = min(row + 1, width)
                replace_sorted(window, size, x[sensor, row - width] if row >= width else np.inf, x[sensor, row])
                half = size // 2
                centre = window[half] if size % 2 else (window[half - 1] + window[half]) / 2
                first, last = 0, size - half - 1
                while first < last:
                    middle = (first + last) // 2
                    if centre - window[middle] > window[middle + half + 1] - centre:
                        first = middle + 1
                    else:
                        last = middle
                below, above = centre - window[first], window[first + half] - centre
                deviation = max(below, above)
                if size % 2 == 0:
                    if below > above:
                        deviation = (deviation + max(centre - window[first + 1], above)) / 2
                    else:
                        deviation = (deviation + max(below, window[first + half - 1] - centre)) / 2
                out[sensor, row] = deviation
        return out

    @jit
    def rolling_mad_by_definition(x: Any, width: int) -> Any:
        out = np.empty_like(x)
        for sensor in prange(x.shape[0]):
            for row in range(x.shape[1]):
                window = x[sensor, max(0, row - width + 1) : row + 1]
                out[sensor, row] = np.median(np.abs(window - np.median(window)))
        return out

    @jit
    def rolling_slope(x: Any, width: int) -> Any:
        # the sums of x and of i * x are carried along: what leaves is subtracted, so errors stay
        out = np.empty_like(x)
        centre, factor = (width - 1) / 2, 12 / (width * (width * width - 1))
        for sensor in prange(x.shape[0]):
            total, weighted = 0.0, 0.0
            for row in range(min(width, x.shape[1])):
                total += x[sensor, row]
                weighted += row * x[sensor, row]
                size = row + 1
                out[sensor, row] = np.nan
                if size > 1:
                    out[sensor, row] = (weighted - row / 2 * total) * 12 / (size * (size * size - 1))
            for row in range(width, x.shape[1]):
                old, new = x[sensor, row - width], x[sensor, row]
                weighted += (width - 1) * new - (total - old)
                total += new - old
                out[sensor, row] = (weighted - centre * total) * factor
        return out

    @jit
    def rolling_median_by_definition(x: Any, width: int) -> Any:
        out = np.empty_like(x)
        for sensor in prange(x.shape[0]):
            for row in range(x.shape[1]):
                out[sensor, row] = np.median(x[sensor, max(0, row - width + 1) : row + 1])
        return out

    @jit
    def rolling_slope_by_definition(x: Any, width: int) -> Any:
        out = np.empty_like(x)
        for sensor in prange(x.shape[0]):
            for row in range(x.shape[1]):
                size = min(row + 1, width)
                first, total, weighted = row - size + 1, 0.0, 0.0
                for i in range(size):
                    total += x[sensor, first + i]
                mean = total / size
                for i in range(size):
                    weighted += (i - (size - 1) / 2) * (x[sensor, first + i] - mean)
                out[sensor, row] = weighted * 12 / (size * (size * size - 1)) if size > 1 else np.nan
        return out

    return SimpleNamespace(
        median=rolling_median,
        median_by_definition=rolling_median_by_definition,
        mad=rolling_mad,
        mad_by_definition=rolling_mad_by_definition,
        slope=rolling_slope,
        slope_by_definition=rolling_slope_by_definition,
    )


def numba(name: str, output: str, kernel: str, window: int, *, tuned: bool = False) -> Contender:
    def call(matrix: Any) -> Any:
        # tiny data (--quick): compiling the threaded form would take longer than everything else
        return [getattr(numba_kernels(parallel=matrix.size > 100_000), kernel)(matrix, window)]

    return replace(on_matrix(name, [output], call, needs="numba"), tuned=tuned)


# --- peers, operation by operation ---------------------------------------------------------------------------------


def median_peers(window: int) -> list[Contender]:
    def scipy_median(matrix: Any) -> list[Any]:
        median_filter = need("scipy.ndimage").median_filter
        # one sensor at a time: the fast path of SciPy is for one dimension; the origin makes the window trailing
        return [median_filter(row, window, origin=(window - 1) // 2) for row in matrix]

    def scipy_arrays(data: Data, upper: list[Any]) -> Arrays:
        # the same filter on -x gives minus the lower of the two middle values; full windows only
        np = need("numpy")
        lower = -np.stack(scipy_median(-data.matrix))
        return {"med": ((np.stack(upper) + lower) / 2)[:, window - 1 :]}

    def bottleneck_median(matrix: Any) -> list[Any]:
        return [need("bottleneck").move_median(matrix, window, min_count=1, axis=1)]

    return [
        on_matrix("bottleneck", ["med"], bottleneck_median, needs="bottleneck"),
        *polars(["med"], lambda x: x.rolling_median(window, min_samples=1)),
        pandas(["med"], window, lambda rolling: [rolling.median()]),
        on_matrix(
            "SciPy", ["med"], scipy_median, needs="scipy", arrays=scipy_arrays, note="the upper of two middle values"
        ),
        numba("numba, np.median per window", "med", "median_by_definition", window),
        numba("numba, sorted window", "med", "median", window, tuned=True),
    ]


def mad_peers(window: int) -> list[Contender]:
    def nested(x: pl.Expr) -> pl.Expr:
        deviations = (x - x.rolling_median(window, min_samples=1)).abs()
        return deviations.rolling_median(window, min_samples=1)

    return [
        numba("numba, sorted window", "mad", "mad", window, tuned=True),
        numba("numba, two np.median per window", "mad", "mad_by_definition", window),
        pandas(["mad"], window, lambda r: [r.apply(mad_of, raw=True)], name="pandas apply", sensors=APPLY_SENSORS),
        *polars(["mad"], nested, name="Polars, nested medians", note="deviations from each row's own median"),
    ]


def mean_std_peers(window: int) -> list[Contender]:
    def bottleneck_moments(matrix: Any) -> list[Any]:
        bn = need("bottleneck")
        mean = bn.move_mean(matrix, window, min_count=1, axis=1)
        return [mean, bn.move_std(matrix, window, min_count=1, axis=1, ddof=1)]

    return [
        on_matrix("bottleneck", ["mean", "std"], bottleneck_moments, needs="bottleneck"),
        *polars(
            ["mean", "std"],
            lambda x: x.rolling_mean(window, min_samples=1),
            lambda x: x.rolling_std(window, min_samples=1),
        ),
        pandas(["mean", "std"], window, lambda rolling: [rolling.mean(), rolling.std()]),
    ]


def skew_kurtosis_peers(window: int) -> list[Contender]:
    return [
        *polars(
            ["skew", "kurt"],
            lambda x: x.rolling_skew(window, bias=False, min_samples=1),
            lambda x: x.rolling_kurtosis(window, bias=False, min_samples=1),
        ),
        pandas(["skew", "kurt"], window, lambda rolling: [rolling.skew(), rolling.kurt()]),
    ]


def slope_peers(window: int) -> list[Contender]:
    def scipy_slope(matrix: Any) -> list[Any]:
        np = need("numpy")
        steps = np.arange(window) - (window - 1) / 2
        filtered = need("scipy.ndimage").correlate1d(matrix, steps / (steps @ steps), origin=(window - 1) // 2)
        return [filtered[:, window - 1 :]]

    return [
        numba("numba, window by window", "slope", "slope_by_definition", window),
        numba("numba, carried sums", "slope", "slope", window, tuned=True),
        on_matrix("SciPy", ["slope"], scipy_slope, needs="scipy"),
    ]


def spectral_peers(window: int) -> list[Contender]:
    """NumPy over strided windows, in blocks that fit the cache; full windows only, default bands."""
    outputs = ENERGIES

    def bins(np: Any) -> list[slice]:
        # bin 0 holds the mean alone, which the operation removes: leaving it out spares the subtraction
        edges = np.searchsorted(np.fft.rfftfreq(window), [0.0, 0.05, 0.15, 0.5]).tolist()
        return [slice(max(1, low), high) for low, high in pairwise(edges)]

    def over_blocks(matrix: Any, block: int, energies: Callable[[Any, Any], None]) -> Any:
        np = need("numpy")
        out = np.empty((len(outputs), len(matrix), matrix.shape[1] - window + 1))
        for sensor, row in enumerate(matrix):
            windows = np.lib.stride_tricks.sliding_window_view(row, window)
            for start in range(0, len(windows), block):
                energies(windows[start : start + block], out[:, sensor, start : start + block])
        return out

    def by_fft(matrix: Any, *, centre: bool) -> Any:
        np = need("numpy")
        bands = bins(np)

        def energies(windows: Any, out: Any) -> None:
            if centre:
                windows = windows - windows.mean(axis=1, keepdims=True)
            spectrum = np.fft.rfft(windows)
            power = spectrum.real**2 + spectrum.imag**2
            for band, energy in zip(bands, out, strict=True):
                power[:, band].sum(axis=1, out=energy)

        return over_blocks(matrix, max(1, 65_536 // window), energies)

    def by_product(matrix: Any) -> Any:
        np = need("numpy")
        bands = bins(np)
        used = np.arange(bands[-1].stop)
        angles = 2 * np.pi / window * (np.outer(np.arange(window), used) % window)
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        membership = np.tile([(used >= band.start) & (used < band.stop) for band in bands], 2).astype(float)

        def energies(windows: Any, out: Any) -> None:
            product = np.ascontiguousarray(windows) @ waves
            product *= product
            np.matmul(membership, product.T, out=out)

        return over_blocks(matrix, max(1, 16_384 // window), energies)

    peers = [
        on_matrix("NumPy, rfft of centred windows", outputs, lambda x: by_fft(x, centre=True), needs="numpy"),
        on_matrix("NumPy, rfft without bin 0", outputs, lambda x: by_fft(x, centre=False), needs="numpy"),
    ]
    if window <= 32:  # w * w operations per row: the faster form for short windows only
        peers.append(on_matrix("NumPy, matrix product", outputs, by_product, needs="numpy"))
    return peers


def robust_z_peers(window: int) -> list[Contender]:
    """Enter the arithmetic alone: median and MAD are there already, computed by the other parts."""

    def given(data: Data) -> list[Any]:
        names = ["med", "mad"]
        frame = data.frame.select(acm.rolling_median(data.columns, window), acm.rolling_mad(data.columns, window))
        arrays = frame_arrays(names)(data, frame)
        return [arrays[name] for name in names]

    def by_numpy(data: Data) -> Run:
        np, matrix, (centre, mad) = need("numpy"), data.matrix, given(data)

        def run() -> Any:
            scale = 1.4826 * mad
            z = matrix - centre
            with np.errstate(divide="ignore"):
                np.divide(z, scale, out=z, where=z != 0.0)
            return np.clip(z, -100.0, 100.0, out=z)

        return run

    def by_polars(data: Data) -> Run:
        names = data.columns
        parts = dict(zip(("", "_med", "_mad"), (data.matrix, *given(data)), strict=True))
        frame = pl.DataFrame({f"{names[i]}{p}": matrix[i] for p, matrix in parts.items() for i in range(len(names))})

        def z(name: str) -> pl.Expr:
            distance = pl.col(name) - pl.col(f"{name}_med")
            ratio = (distance / (1.4826 * pl.col(f"{name}_mad"))).clip(-100.0, 100.0)
            return pl.when(distance == 0.0).then(0.0).otherwise(ratio).alias(f"{name}_rz")

        return lambda: frame.select(z(name) for name in names)

    return [
        Contender("NumPy", by_numpy, lambda data, z: {"rz": z}, needs=("numpy",)),
        Contender("Polars", by_polars, frame_arrays(["rz"])),
    ]


# --- correlations --------------------------------------------------------------------------------------------------

# sums that are carried along keep the errors of what has left the window
CARRIED = {"corr": 1e-8}
MAX_LAG = 3


@cache
def numba_correlation(parallel: bool = True) -> Any:
    """Compile five sliding sums per pair, threads over pairs: x against each row of y, readings without gaps."""
    numba, np = need("numba"), need("numpy")
    prange = numba.prange

    @numba.njit(parallel=parallel, error_model="numpy")
    def rolling(x: Any, y: Any, width: int) -> Any:
        out = np.empty_like(y)
        for k in prange(y.shape[0]):
            sx, sy, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0, 0.0
            for row in range(y.shape[1]):
                a, b = x[row], y[k, row]
                sx, sy, sxx, syy, sxy = sx + a, sy + b, sxx + a * a, syy + b * b, sxy + a * b
                n = row + 1
                if row >= width:
                    a, b = x[row - width], y[k, row - width]
                    sx, sy, sxx, syy, sxy = sx - a, sy - b, sxx - a * a, syy - b * b, sxy - a * b
                    n = width
                out[k, row] = (n * sxy - sx * sy) / np.sqrt((n * sxx - sx * sx) * (n * syy - sy * sy))
            out[k, 0] = np.nan
        return out

    return rolling


def rolling_correlation(window: int) -> list[Contender]:
    """Enter the first sensor against all others."""

    def one_call(data: Data) -> Run:
        first, *others = data.columns
        return lambda: data.frame.select(acm.rolling_corr(others, first, window))

    def lazy(data: Data) -> Run:
        first, *others = data.columns
        return lambda: data.frame.lazy().select(acm.rolling_corr(others, first, window)).collect()

    def expanded(data: Data) -> Run:
        first, *others = data.columns
        return lambda: data.frame.select(acm.rolling_corr(pl.col(others), first, window))

    def by_polars(data: Data) -> Run:
        first, *others = data.columns
        return lambda: data.frame.select(
            pl.rolling_corr(name, first, window_size=window, min_samples=2).alias(name) for name in others
        )

    def by_pandas(data: Data) -> Run:
        frame, (first, *others) = data.pandas, data.columns
        return lambda: frame[others].rolling(window, min_periods=2).corr(frame[first])

    def by_numbagg(data: Data) -> Run:
        np, numbagg, matrix = need("numpy"), need("numbagg"), data.matrix
        first, others = matrix[0], matrix[1:]
        return lambda: numbagg.move_corr(others, np.broadcast_to(first, others.shape), window=window, min_count=2)

    def by_numba(data: Data) -> Run:
        matrix = data.matrix
        first, others = matrix[0], matrix[1:]
        return lambda: numba_correlation(parallel=matrix.size > 100_000)(first, others, window)

    def frame_values(_: Data, frame: Any) -> Arrays:
        if isinstance(frame, pl.DataFrame) and frame.width == 1 and isinstance(frame.dtypes[0], pl.Struct):
            frame = frame.unnest(frame.columns)
        return {"corr": frame.to_numpy().T}

    def values(_: Data, array: Any) -> Arrays:
        return {"corr": array}

    own = {"one call": one_call, "lazy": lazy, "expanded": expanded}
    return [
        *(Contender(name, form, frame_values, tolerance={"corr": 0.0}, ours=True) for name, form in own.items()),
        Contender("Polars", by_polars, frame_values, tolerance=CARRIED),
        Contender("pandas", by_pandas, frame_values, needs=("pandas",), tolerance=CARRIED),
        Contender("numbagg", by_numbagg, values, needs=("numbagg",), tolerance=CARRIED),
        Contender("numba, five sums", by_numba, values, needs=("numba",), tolerance=CARRIED),
    ]


def pairwise_correlation(window: int) -> list[Contender]:
    """Enter the largest |r| of every pair at every lag."""

    def expression(data: Data) -> pl.Expr:
        return acm.pairwise_lag_corr(data.columns, MAX_LAG, window, min_samples=2, reduce="max_abs")

    def one_call(data: Data) -> Run:
        return lambda: data.frame.select(expression(data))

    def lazy(data: Data) -> Run:
        return lambda: data.frame.lazy().select(expression(data)).collect()

    def pairs(data: Data) -> list[tuple[int, int]]:
        sensors = range(len(data.columns))
        return [(i, j) for i in sensors for j in sensors if i < j]

    def by_polars(data: Data) -> Run:
        names = data.columns
        query = [
            pl.rolling_corr(names[i], pl.col(names[j]).shift(lag), window_size=window, min_samples=2)
            .abs()
            .max()
            .alias(f"{i} {j} {lag}")
            for i, j in pairs(data)
            for lag in range(MAX_LAG + 1)
        ]
        return lambda: data.frame.select(query)

    def by_numbagg(data: Data) -> Run:
        np, numbagg, matrix = need("numpy"), need("numbagg"), data.matrix

        def run() -> Any:
            out = []
            for sensor in range(len(matrix) - 1):
                later = matrix[sensor + 1 :]
                strongest = []
                for lag in range(MAX_LAG + 1):
                    y = later[:, : later.shape[1] - lag]
                    r = numbagg.move_corr(np.broadcast_to(matrix[sensor, lag:], y.shape), y, window=window, min_count=2)
                    strongest.append(np.nanmax(np.abs(r, out=r), axis=1))
                out.append(np.stack(strongest, axis=1).ravel())
            return np.concatenate(out)

        return run

    def table(_: Data, frame: pl.DataFrame) -> Arrays:
        return {"corr": frame.unnest(frame.columns)["corr"].abs().to_numpy().reshape(-1, 1)}

    def columns(_: Data, frame: pl.DataFrame) -> Arrays:
        return {"corr": frame.to_numpy().reshape(-1, 1)}

    def values(_: Data, array: Any) -> Arrays:
        return {"corr": array.reshape(-1, 1)}

    return [
        Contender("one call", one_call, table, tolerance={"corr": 0.0}, ours=True),
        Contender("lazy", lazy, table, tolerance={"corr": 0.0}, ours=True),
        Contender("Polars", by_polars, columns, tolerance=CARRIED),
        Contender("numbagg", by_numbagg, values, needs=("numbagg",), tolerance=CARRIED),
    ]


def correlation_matrix(method: Literal["pearson", "spearman"]) -> list[Contender]:
    def one_call(data: Data) -> Run:
        return lambda: data.frame.select(acm.correlation(data.columns, method))

    def lazy(data: Data) -> Run:
        return lambda: data.frame.lazy().select(acm.correlation(data.columns, method)).collect()

    def by_pandas(data: Data) -> Run:
        frame = data.pandas
        return lambda: frame.corr(method)

    def by_numpy(data: Data) -> Run:
        np, matrix = need("numpy"), data.matrix
        return lambda: np.corrcoef(matrix)

    def values(_: Data, result: Any) -> Arrays:
        np = need("numpy")
        if isinstance(result, pl.DataFrame) and isinstance(result.dtypes[0], pl.Struct):
            result = result.unnest(result.columns)
        return {"corr": np.asarray(result)}

    peers = [Contender("pandas", by_pandas, values, needs=("pandas",))]
    if method == "pearson":
        peers.append(Contender("NumPy", by_numpy, values, needs=("numpy",)))
        peers.append(Contender("Polars", lambda data: lambda: data.frame.corr(), values))
    return [
        Contender("one call", one_call, values, tolerance={"corr": 0.0}, ours=True),
        Contender("lazy", lazy, values, tolerance={"corr": 0.0}, ours=True),
        *peers,
    ]


def mad_of(window: Any) -> float:
    np = need("numpy")
    present = window[~np.isnan(window)]
    return float(np.median(np.abs(present - np.median(present))))


def slope_of(window: Any) -> float:
    np = need("numpy")
    rows = np.flatnonzero(~np.isnan(window)).astype(float)
    if len(rows) < 2:
        return float("nan")
    present = window[~np.isnan(window)]
    rows -= rows.mean()
    return float(rows @ (present - present.mean()) / (rows @ rows))


def gap_witnesses(window: int) -> list[Contender]:
    """Enter the features of readings with gaps, by definition; too slow to race."""

    def spectral(matrix: Any) -> Any:
        np = need("numpy")
        windows = np.lib.stride_tricks.sliding_window_view(matrix, window, axis=1)
        centred = np.nan_to_num(windows - np.nanmean(windows, axis=2, keepdims=True))
        power, frequencies = np.abs(np.fft.rfft(centred)) ** 2, np.fft.rfftfreq(window)
        edges = [0.0, 0.05, 0.15, 0.5]
        energies = [
            power[:, :, (frequencies >= low) & (frequencies < high)].sum(axis=2) for low, high in pairwise(edges)
        ]
        enough = (~np.isnan(windows)).sum(axis=2) >= window // 2
        return np.where(enough, energies, np.nan)

    return [
        pandas(["med", "mean", "std"], window, lambda r: [r.median(), r.mean(), r.std()]),
        pandas(["skew", "kurt"], window, lambda r: [r.skew(), r.kurt()]),
        pandas(
            ["mad", "slope"],
            window,
            lambda r: [r.apply(mad_of, raw=True), r.apply(slope_of, raw=True)],
            name="pandas apply",
        ),
        on_matrix("NumPy", ENERGIES, spectral, needs="numpy"),
    ]


def fill_peers(max_gap: int) -> list[Contender]:
    """Fill gaps of up to `max_gap` rows by the straight line: none of them has a limit that leaves a gap whole."""

    def native(x: pl.Expr) -> pl.Expr:
        row, present = pl.int_range(pl.len()), x.is_not_null()
        before = pl.when(present).then(row).forward_fill()
        after = pl.when(present).then(row).backward_fill()
        return pl.when(after - before - 1 <= max_gap).then(x.interpolate()).otherwise(x)

    def by_pandas(data: Data) -> Run:
        frame = data.pandas

        def run() -> Any:
            missing = frame.isna()
            filled = frame.interpolate(limit_area="inside")
            # the length of a run of missing readings, at each of its rows
            lengths = missing.apply(lambda column: column.groupby((~column).cumsum()).transform("sum"))
            return filled.where(~missing | (lengths <= max_gap))

        return run

    return [
        *polars(["filled"], native),
        Contender("pandas", by_pandas, lambda data, frame: {"filled": frame.to_numpy().T}, needs=("pandas",)),
    ]


def stuck_peers(rows: int) -> list[Contender]:
    def native(x: pl.Expr) -> pl.Expr:
        # missing readings end a run here; the data have none
        return x.len().over(x.rle_id()) >= rows

    def by_pandas(data: Data) -> Run:
        frame = data.pandas

        def of(column: Any) -> Any:
            runs = (column != column.shift()).cumsum()
            return runs.map(runs.value_counts()) >= rows

        return lambda: frame.apply(of)

    return [
        *polars(["stuck"], native),
        Contender("pandas", by_pandas, lambda data, frame: {"stuck": frame.to_numpy(float).T}, needs=("pandas",)),
    ]


def robust_scale_peers() -> list[Contender]:
    """Fit and score all sensors on the same data."""

    def native(x: pl.Expr) -> pl.Expr:
        center = x.median()
        return (x - center) / (1.4826 * (x - center).abs().median())

    def by_numpy(matrix: Any) -> list[Any]:
        np = need("numpy")
        distance = matrix - np.median(matrix, axis=1, keepdims=True)
        return [distance / (1.4826 * np.median(np.abs(distance), axis=1, keepdims=True))]

    return [*polars(["z"], native), on_matrix("NumPy", ["z"], by_numpy, needs="numpy")]


def spectrum_contenders() -> list[Contender]:
    """Enter the powers of whole series; NumPy's plans, too, are kept from call to call."""

    def our_arrays(data: Data, frame: pl.DataFrame) -> Arrays:
        fields = frame["power_spectrum"].struct.unnest()
        return {"power": need("numpy").stack([fields[f"{name}_power"].explode().to_numpy() for name in data.columns])}

    def transform(rfft: Callable[[Any], Any], *, centre: bool) -> Callable[[Any], list[Any]]:
        def power(matrix: Any) -> list[Any]:
            spectrum = rfft(matrix - matrix.mean(axis=1, keepdims=True) if centre else matrix)
            power = spectrum.real**2
            power += spectrum.imag**2
            power[:, 0] = 0.0  # all that centring changes
            return [power]

        return power

    def by_numpy(matrix: Any) -> Any:
        return need("numpy").fft.rfft(matrix)

    def by_scipy(matrix: Any) -> Any:
        return need("scipy.fft").rfft(matrix, workers=THREADS)

    own = ours(["power"], acm.power_spectrum, expand=False)
    scipy = f"SciPy, {THREADS} workers"
    return [
        *(replace(contender, arrays=our_arrays) for contender in own),
        on_matrix("NumPy, rfft of centred series", ["power"], transform(by_numpy, centre=True), needs="numpy"),
        on_matrix("NumPy, rfft without bin 0", ["power"], transform(by_numpy, centre=False), needs="numpy"),
        on_matrix(f"{scipy}, centred", ["power"], transform(by_scipy, centre=True), needs="scipy"),
        on_matrix(f"{scipy}, without bin 0", ["power"], transform(by_scipy, centre=False), needs="scipy"),
    ]


def seasonal_contenders() -> list[Contender]:
    """Enter detection (profiles and confidences of the day and the week) and adjustment of half-hourly readings."""

    def timed(data: Data) -> pl.DataFrame:
        minutes = pl.int_range(data.frame.height) * 30
        wave = (minutes * (6.283185307179586 / 1440)).sin() * 20
        time = pl.datetime(2024, 1, 3) + pl.duration(minutes=minutes)
        return data.frame.with_columns(pl.all() + wave, time.alias("time"))

    def own(data: Data, run: Callable[[pl.DataFrame, pl.Expr], pl.DataFrame]) -> Run:
        frame = timed(data)

        def both() -> tuple[pl.DataFrame, pl.DataFrame]:
            model = run(frame, acm.seasonality(data.columns, "time"))
            adjust = acm.deseasonalize(data.columns, "time", model=model, min_confidence=0.0)
            return model, run(frame, adjust)

        return both

    def our_arrays(data: Data, results: tuple[pl.DataFrame, pl.DataFrame]) -> Arrays:
        np, (model, adjusted) = need("numpy"), results
        patterns = model["seasonality"].struct.field("patterns").explode().struct.unnest()
        confidence = patterns["confidence"].to_numpy().reshape(-1, 2)
        fields = adjusted["deseasonalize"].struct.unnest()
        return {"adjusted": np.stack([series.to_numpy() for series in fields]), "confidence": confidence}

    def confidence(np: Any, rest: Any, with_pattern: Any, free: int, means: int) -> Any:
        return np.maximum(0.0, 1 - rest / free / (with_pattern / (free + means)))

    def by_pandas(data: Data) -> Run:
        np, pd = need("numpy"), need("pandas")
        frame = timed(data)
        # one block of sensors, as pandas builds it from a matrix
        values = np.ascontiguousarray(frame.select(data.columns).to_numpy())
        x = pd.DataFrame(values, columns=data.columns, index=pd.DatetimeIndex(frame["time"].to_numpy()))

        def run() -> Any:
            hour = x.index.hour.to_numpy()
            day = x.index.to_numpy().astype("datetime64[D]").astype("int64")
            rest, profiles = x, []
            for phase in (hour, x.index.day_of_week.to_numpy() * 24 + hour):
                means = rest.groupby(phase).mean()
                rest = rest - means.to_numpy()[phase]
                profiles.append((means - means.mean()).to_numpy()[phase])
            # days since a Thursday; weeks begin on Monday
            confidences = []
            for profile, cycle, means in zip(profiles, (day, (day + 3) // 7), (23, 144), strict=True):
                free = len(x) - len(np.unique(cycle)) - 167

                def squares(y: Any, cycle: Any = cycle) -> Any:
                    grouped = y.groupby(cycle)
                    return (grouped.var(ddof=0) * grouped.count()).sum().to_numpy()

                confidences.append(confidence(np, squares(rest), squares(rest + profile), free, means))
            return x - (profiles[0] + profiles[1]), np.stack(confidences, axis=1)

        return run

    def pandas_arrays(data: Data, results: Any) -> Arrays:
        adjusted, confidence = results
        return {"adjusted": adjusted.to_numpy().T, "confidence": confidence}

    def by_polars(data: Data) -> Run:
        np, frame = need("numpy"), timed(data)
        hour = pl.col("time").dt.hour().cast(pl.Int32)
        week = (pl.col("time").dt.weekday().cast(pl.Int32) - 1) * 24 + hour
        sensors = pl.col(data.columns)

        def run() -> Any:
            cycles = {"date": pl.col("time").dt.date(), "monday": pl.col("time").dt.truncate("1w")}
            keys = frame.select(hour.alias("hour"), week.alias("week"), **cycles)
            readings, parts = frame.select(data.columns), []
            for phase in ("hour", "week"):
                part = readings.hstack(keys).select(sensors.mean().over(phase))
                readings = readings - part
                centre = part.hstack(keys).group_by(phase).agg(sensors.first()).select(sensors.mean()).row(0)
                parts.append(part.select(pl.col(c) - m for c, m in zip(data.columns, centre, strict=True)))
            confidences = []
            for part, cycle, means in zip(parts, ("date", "monday"), (23, 144), strict=True):
                free = frame.height - keys[cycle].n_unique() - 167

                def squares(y: pl.DataFrame, cycle: str = cycle) -> Any:
                    of_cycle = y.hstack(keys).group_by(cycle).agg(sensors.var(ddof=0) * sensors.count())
                    return np.array(of_cycle.select(sensors.sum()).row(0))

                confidences.append(confidence(np, squares(readings), squares(readings + part), free, means))
            return frame.select(data.columns) - parts[0] - parts[1], np.stack(confidences, axis=1)

        return run

    eager = partial(own, run=lambda frame, expr: frame.select(expr))
    lazy = partial(own, run=lambda frame, expr: frame.lazy().select(expr).collect())
    return [
        Contender("one call", eager, our_arrays, ours=True),
        Contender("lazy", lazy, our_arrays, ours=True),
        Contender("pandas", by_pandas, pandas_arrays, needs=("pandas",)),
        Contender("Polars", by_polars, pandas_arrays),
    ]


# --- the table of races --------------------------------------------------------------------------------------------


OPERATIONS: dict[str, Operation] = {
    **{f"median_{w}": partial(acm.rolling_median, window_size=w) for w in (16, 64, 256, 1024)},
    **{f"mad_{w}": partial(acm.rolling_mad, window_size=w) for w in (16, 256)},
    "mean": partial(acm.rolling_mean, window_size=16),
    "std": partial(acm.rolling_std, window_size=16),
    "skew": partial(acm.rolling_skew, window_size=16),
    "kurtosis": partial(acm.rolling_kurtosis, window_size=16),
    "slope": partial(acm.rolling_slope, window_size=16),
    "robust_z": partial(acm.rolling_robust_z, window_size=16),
    "hampel": partial(acm.rolling_hampel, window_size=16),
    "spectral": partial(acm.rolling_spectral_energy, window_size=64),
    "features": partial(acm.rolling_features, window_size=16),
}
CLEANING: dict[str, Operation] = {
    "fill": partial(acm.fill, method="interpolate", max_gap=2),
    "stuck": partial(acm.stuck, min_length=3),
    "robust_scale": lambda columns: acm.robust_scale(columns, acm.robust_scale_fit(columns)),
}
FEATURES = ("med", "mad", "mean", "std", "slope", "skew", "kurt", "energy_0", "energy_1", "energy_2", "rz")
ENERGIES = FEATURES[7:10]


@dataclass(frozen=True)
class Goal:
    ratio: float | None  # peer's time / ours, in our fastest form; None: no target, raced for information
    peers: tuple[str, ...] = ()  # the names meant; none: whichever is the fastest
    tuned: bool = False  # whether numba kernels that were tuned for this race count too


TUNED = Goal(None, tuned=True)


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    window: int
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()  # none: results are compared, nothing is timed
    missing: float = 0.0
    shape: tuple[int, int] | None = None


def part(name: str, contenders: Sequence[Contender]) -> list[Contender]:
    return [replace(contender, part=name) for contender in contenders]


def rounded(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """Give them readings of which some are equal to the one before."""

    def of(prepare: Callable[[Data], Run]) -> Callable[[Data], Run]:
        return lambda data: prepare(Data(data.frame.select((pl.all() / 2).round())))

    return tuple(replace(contender, prepare=of(contender.prepare)) for contender in contenders)


def fast(contenders: Sequence[Contender]) -> list[Contender]:
    """Leave out those that are far behind in their own race, and those that do not count."""
    return [contender for contender in contenders if contender.name != "pandas apply" and not contender.note]


def median_workload(window: int, target: float) -> Workload:
    own = ours(["med"], OPERATIONS[f"median_{window}"])
    title = f"rolling median, w = {window}"
    return Workload(f"median_{window}", title, window, (*own, *median_peers(window)), (Goal(target), TUNED))


WORKLOADS = (
    median_workload(16, 10.0),
    median_workload(64, 6.0),
    median_workload(256, 3.0),
    median_workload(1024, 3.0),
    Workload(
        "mad",
        "rolling MAD (exact), w = 16",
        16,
        (*ours(["mad"], OPERATIONS["mad_16"]), *mad_peers(16)),
        (Goal(50.0), TUNED, Goal(12.0, ("Polars, nested medians", "Polars, nested medians, lazy"))),
    ),
    Workload(
        "mean_std",
        "rolling mean + std, w = 16",
        16,
        (
            *ours(["mean", "std"], OPERATIONS["mean"], OPERATIONS["std"]),
            *mean_std_peers(16),
        ),
        (Goal(2.0),),
    ),
    Workload(
        "skew_kurtosis",
        "rolling skew + kurtosis, w = 16",
        16,
        (
            *ours(["skew", "kurt"], OPERATIONS["skew"], OPERATIONS["kurtosis"]),
            *skew_kurtosis_peers(16),
        ),
        (Goal(5.0),),
    ),
    Workload(
        "slope",
        "rolling slope, w = 16",
        16,
        (*ours(["slope"], OPERATIONS["slope"]), *slope_peers(16)),
        (Goal(2.5), TUNED),
    ),
    Workload(
        "spectral",
        "rolling spectral energy, w = 64, 3 bands",
        64,
        (
            *ours(ENERGIES, OPERATIONS["spectral"], expand=False),
            *spectral_peers(64),
        ),
        (Goal(25.0),),
    ),
    Workload("spectrum", "power spectrum of whole series", 1, tuple(spectrum_contenders()), (Goal(1.3),)),
    Workload(
        "seasonality",
        "daily and weekly patterns, found and taken out, 50,000 x 100",
        1,
        tuple(seasonal_contenders()),
        (Goal(10.0, ("pandas",)),),
        shape=(50_000, 100),
    ),
    Workload(
        "features",
        "rolling_features, w = 16 (eleven outputs)",
        16,
        (
            *ours(FEATURES, OPERATIONS["features"], expand=False),
            *part("median", fast(median_peers(16))),
            *part("MAD", fast(mad_peers(16))),
            *part("mean + std", mean_std_peers(16)),
            *part("slope", slope_peers(16)),
            *part("skew + kurtosis", skew_kurtosis_peers(16)),
            *part("energies", spectral_peers(16)),
            *part("robust z", robust_z_peers(16)),
        ),
        (Goal(15.0), TUNED),
    ),
    Workload(
        "fill",
        "fill, interpolated, gaps of up to 2 rows, 5 % missing",
        2,
        (*ours(["filled"], CLEANING["fill"]), *fill_peers(2)),
        (Goal(2.0),),
        missing=MISSING_SHARE,
    ),
    Workload(
        "stuck",
        "stuck for 3 rows",
        3,
        rounded([*ours(["stuck"], CLEANING["stuck"]), *stuck_peers(3)]),
        (Goal(1.0),),
    ),
    Workload(
        "robust_scale",
        "robust_scale_fit + robust_scale",
        1,
        (*ours(["z"], CLEANING["robust_scale"], expand=False), *robust_scale_peers()),
        (Goal(1.0, ("Polars", "Polars, lazy")),),
    ),
    Workload(
        "features_with_gaps",
        "rolling_features, w = 16, 5 % missing (agreement only)",
        16,
        (*ours(FEATURES, OPERATIONS["features"], expand=False), *gap_witnesses(16)),
        missing=MISSING_SHARE,
        shape=QUICK_SHAPE,  # pandas' apply is slow
    ),
    Workload(
        "rolling_corr",
        "rolling correlation, 49 pairs, w = 16",
        16,
        tuple(rolling_correlation(16)),
        (Goal(8.0, ("Polars", "pandas")), Goal(1.0, ("numbagg", "numba, five sums"))),
    ),
    Workload(
        "pairwise_lag_corr",
        'all pairs, lags 0 to 3, w = 16, reduce="max_abs"',
        16,
        tuple(pairwise_correlation(16)),
        (Goal(10.0),),
    ),
    Workload(
        "correlation_50",
        "correlation matrix",
        1,
        tuple(correlation_matrix("pearson")),
        (Goal(1.5, ("NumPy",)), Goal(30.0, ("pandas",))),
    ),
    Workload(
        "correlation_500",
        "correlation matrix, 500 sensors",
        1,
        tuple(contender for contender in correlation_matrix("pearson") if contender.name != "pandas"),
        (Goal(1.5, ("NumPy",)),),
        shape=(FULL_SHAPE[0], 500),
    ),
    Workload(
        "correlation_spearman",
        "correlation matrix, Spearman",
        1,
        tuple(correlation_matrix("spearman")),
        (Goal(2.0),),
    ),
    Workload(
        "correlation_with_gaps",
        "correlation matrices, 5 % missing (agreement only)",
        1,
        tuple(contender for contender in correlation_matrix("pearson") if contender.name not in ("NumPy", "Polars")),
        missing=MISSING_SHARE,
    ),
)


# --- our own limits ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    label: str
    shape: tuple[int, int]
    prepare: Callable[[Data], Run]
    missing: float = 0.0


@dataclass(frozen=True)
class Limit:
    """One of our own runs against another: time per reading of `trial` / of `base` must stay below `ratio`."""

    name: str
    title: str
    base: Trial
    trial: Trial
    ratio: float
    same_result: bool = False


def eager_run(operation: Operation) -> Callable[[Data], Run]:
    return lambda data: lambda: data.frame.select(operation(data.columns))


def lazy_run(operation: Operation) -> Callable[[Data], Run]:
    return lambda data: lambda: data.frame.lazy().select(operation(data.columns)).collect()


def basic_features(data: Data) -> Run:
    return lambda: fast_features.compute_basic_features(data.frame, window=16)


def lazy_basic_features(data: Data) -> Run:
    return lambda: fast_features.compute_basic_features(data.frame.lazy(), window=16).collect()


LIMITS = (
    Limit(
        "lazy_basic_features",
        "compute_basic_features, w = 16: lazy to eager",
        Trial("eager", FULL_SHAPE, basic_features),
        Trial("lazy", FULL_SHAPE, lazy_basic_features),
        ratio=1.3,
        same_result=True,
    ),
    Limit(
        "lazy_rolling_features",
        "rolling_features, w = 16: lazy to eager",
        Trial("eager", FULL_SHAPE, eager_run(OPERATIONS["features"])),
        Trial("lazy", FULL_SHAPE, lazy_run(OPERATIONS["features"])),
        ratio=1.3,
        same_result=True,
    ),
    *(
        Limit(
            f"missing_{name}",
            f"rolling_{name}: 5 % missing to none",
            Trial("none missing", FULL_SHAPE, eager_run(operation)),
            Trial("5 % missing", FULL_SHAPE, eager_run(operation), missing=MISSING_SHARE),
            ratio=2.0,
        )
        for name, operation in OPERATIONS.items()
    ),
    Limit(
        "rows_million",
        "rolling_features, w = 16, per reading: 1,000,000 x 10 to 10,000 x 50",
        Trial("10,000 x 50", FULL_SHAPE, eager_run(OPERATIONS["features"])),
        Trial("1,000,000 x 10", (1_000_000, 10), eager_run(OPERATIONS["features"])),
        ratio=1.6,
    ),
    Limit(
        "rows_ten_million",
        "rolling_features, w = 16, per reading: 10,000,000 x 1 to 1,000,000 x 1",
        Trial("1,000,000 x 1", (1_000_000, 1), eager_run(OPERATIONS["features"])),
        Trial("10,000,000 x 1", (10_000_000, 1), eager_run(OPERATIONS["features"])),
        ratio=1.2,  # "linear"
    ),
)


# --- memory --------------------------------------------------------------------------------------------------------

MEMORY_SHAPE = (1_000_000, 20)
MEMORY_ALLOWANCE_MIB = 64.0
MEMORY: dict[str, Operation] = {
    "memory_features": OPERATIONS["features"],
    "memory_median": OPERATIONS["median_16"],
}
MIB = 2.0**20


def memory_now_and_peak() -> tuple[float, float]:
    """Resident memory of this process and the most it ever was, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # not ru_maxrss, which on Linux begins with what the parent process had
        kib = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(kib["VmRSS"].split()[0]) / 1024, float(kib["VmHWM"].split()[0]) / 1024
    if sys.platform == "win32":
        info = need("psutil").Process().memory_info()
        return info.rss / MIB, info.peak_wset / MIB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)
    now = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return float(now.stdout) / 1024, peak


def measure_memory(name: str) -> None:
    """Print what an operation needs at the worst moment, beside the interpreter; runs in a process of its own."""

    def run(rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        frame = make_data(rows, MEMORY_SHAPE[1]).frame
        return frame, frame.select(MEMORY[name](frame.columns))

    run(100)  # loads everything and starts the threads
    before, _ = memory_now_and_peak()
    frame, result = run(MEMORY_SHAPE[0])
    _, peak = memory_now_and_peak()
    assert frame.n_chunks() == 1
    sizes = {"input": frame.estimated_size() / MIB, "output": result.estimated_size() / MIB, "needed": peak - before}
    print(json.dumps(sizes))


# --- agreement -----------------------------------------------------------------------------------------------------


def disagreements(workload: Workload, data: Data, contender: Contender, reference: Arrays, found: Arrays) -> list[str]:
    np = need("numpy")
    lines = []
    for output, theirs in found.items():
        expected = reference[output][: len(theirs), -theirs.shape[1] :]
        tolerance = (EXACT | dict(contender.tolerance)).get(output, TOLERANCE)
        with np.errstate(invalid="ignore"):
            error = np.abs(theirs - expected) / np.maximum(1.0, np.abs(expected))
        error[(theirs == expected) | (np.isnan(theirs) & np.isnan(expected))] = 0.0
        error[np.isnan(error)] = np.inf  # one has a value, the other none
        bad = error > tolerance
        if not bad.any():
            continue
        sensor, column = np.unravel_index(np.argmax(error), error.shape)
        row = int(column) + reference[output].shape[1] - theirs.shape[1]
        values = data.frame.to_series(int(sensor)).head(row + 1).tail(workload.window)
        lines.append(
            f"  DISAGREES: {contender.name}, {output}: {int(bad.sum())} of {bad.size} values differ by more than "
            f"{tolerance:g}; the worst, sensor {sensor}, row {row}: theirs {float(theirs[sensor, column])!r}, "
            f"ours {float(expected[sensor, column])!r}\n    window: {values.to_list()[-32:]}"
        )
    return lines


# --- timing and reporting ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    seconds: tuple[float, ...]
    scale: float = 1.0

    @property
    def ms(self) -> float:
        return median(self.seconds) * self.scale * 1e3

    def __str__(self) -> str:
        low, high = min(self.seconds) * self.scale * 1e3, max(self.seconds) * self.scale * 1e3
        return f"{self.ms:10.2f} ms   ({low:.2f} to {high:.2f})"


def take_turns(runs: Sequence[Run], rounds: int) -> list[tuple[float, ...]]:
    """Everybody has run once before (the comparison, or the warm-up), so that nothing is compiled or loaded here.

    A turn is a burst of runs, of which the first are not timed: threads that sleep and memory that an allocator gave
    back while the others had their turns (2 microseconds per page) would be timed with them.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for run, times in zip(runs, seconds, strict=True):
                time.sleep(REST_SECONDS)
                burst: list[float] = []
                while len(burst) < 2 or sum(burst) < BURST_SECONDS:
                    start = time.perf_counter()
                    result = run()
                    burst.append(time.perf_counter() - start)
                    del result
                times.append(median(burst[len(burst) // 2 :]))
    finally:
        gc.enable()
    return [tuple(times) for times in seconds]


@dataclass
class Report:
    races: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    disagreements: int = 0

    def markdown(self) -> str:
        races = [
            "| workload, 10,000 rows x 50 sensors | fastest peer | its time | ours, one call "
            "| ours, lazy | ours, expanded | ratio | target | reached |",
            "|---|---|--:|--:|--:|--:|--:|--:|---|",
            *self.races,
        ]
        limits = [
            "| our own limits | from | to | ratio | limit | kept |",
            "|---|--:|--:|--:|--:|---|",
            *self.limits,
        ]
        return "\n".join([*(races if self.races else []), "", *(limits if self.limits else [])]).strip()


def verdict(reached: bool) -> str:
    return "yes" if reached else "**no**"


def milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def run_workload(workload: Workload, options: argparse.Namespace, report: Report) -> None:
    print(f"\n{workload.title}  [{workload.name}]")
    shape = QUICK_SHAPE if options.quick else workload.shape or FULL_SHAPE
    data = make_data(*shape, workload.missing)
    reference: Arrays = {}
    entries: list[tuple[Contender, Run]] = []
    agree = True
    for contender in workload.contenders:
        if options.quick and (absent := [m for m in contender.needs if importlib.util.find_spec(m) is None]):
            print(f"  {contender.name}: not compared, {', '.join(absent)} is not installed")
            continue
        if options.full:
            contender = replace(contender, sensors=None)
        own_data = contender.data(data)
        run = contender.prepare(own_data)
        entries.append((contender, run))
        result = run()  # the warm-up, too
        if contender.arrays is None:
            continue
        found = contender.arrays(own_data, result)
        del result
        reference = reference or found
        lines = disagreements(workload, data, contender, reference, found)
        agree = agree and not lines
        report.disagreements += len(lines)
        print("".join(f"{line}\n" for line in lines), end="")
    if not agree:
        print("  not timed, because the results differ")
    elif options.quick or not workload.goals:
        print(f"  {len(entries)} contenders agree")
    else:
        seconds = take_turns([run for _, run in entries], options.runs)
        timings = [
            (contender, Timing(times, contender.scale(data)))
            for (contender, _), times in zip(entries, seconds, strict=True)
        ]
        report_race(workload, timings, report)


def report_race(workload: Workload, timings: Sequence[tuple[Contender, Timing]], report: Report) -> None:
    own = {contender.name: timing.ms for contender, timing in timings if contender.ours}
    for contender, timing in timings:
        name = f"{'ours, ' * contender.ours}{contender.name}{contender.part and f' [{contender.part}]'}"
        scaled = f"   scaled up from {contender.sensors} sensors" if timing.scale != 1.0 else ""
        note = f"   another statistic: {contender.note}" if contender.note else ""
        print(f"  {name:42}{timing}{scaled}{note}")
    for goal in workload.goals:
        peers = [
            (contender, timing.ms)
            for contender, timing in timings
            if not contender.ours
            and (contender.name in goal.peers if goal.peers else not contender.note)
            and (goal.tuned or not contender.tuned)
        ]
        parts = list(dict.fromkeys(contender.part for contender, _ in peers))
        fastest = [min((p for p in peers if p[0].part == name), key=lambda p: p[1]) for name in parts]
        if goal.ratio is None and not any(contender.tuned for contender, _ in fastest):
            continue  # the row with the target says the same
        total = sum(ms for _, ms in fastest)
        label = " + ".join(f"{c.name} {ms:.1f} ({c.part})" if c.part else c.name for c, ms in fastest)
        if notes := {contender.note for contender, _ in fastest if contender.note}:
            label += f" (another statistic: {', '.join(sorted(notes))})"
        form, best = min(own.items(), key=lambda item: item[1])
        ratio = total / best
        target = "" if goal.ratio is None else f"{goal.ratio:g}"
        reached = "" if goal.ratio is None else verdict(ratio >= goal.ratio)
        print(f"  => {ratio:.2f} x {label} ({form})" + (f", target {target}, reached: {reached}" if target else ""))
        times = [milliseconds(own[form]) if form in own else "" for form in ("one call", "lazy", "expanded")]
        cells = [workload.title, label, milliseconds(total), *times, f"{ratio:.1f}", target, reached]
        report.races.append(f"| {' | '.join(cells)} |")


def run_limit(limit: Limit, options: argparse.Namespace, report: Report) -> None:
    if options.quick and not limit.same_result:
        return
    print(f"\n{limit.title}  [{limit.name}]")
    trials = (limit.base, limit.trial)
    shapes = [QUICK_SHAPE if options.quick else trial.shape for trial in trials]
    runs = [t.prepare(make_data(*shape, t.missing)) for t, shape in zip(trials, shapes, strict=True)]
    first, second = (run() for run in runs)
    if limit.same_result:
        if not first.equals(second):
            report.disagreements += 1
            print(f"  DISAGREES: {limit.base.label} and {limit.trial.label} differ")
            return
        print("  results agree")
    del first, second
    if options.quick:
        return
    timings = [Timing(times) for times in take_turns(runs, options.runs)]
    for trial, timing in zip(trials, timings, strict=True):
        print(f"  {trial.label:42}{timing}")
    cells = [rows * sensors for rows, sensors in shapes]
    ratio = (timings[1].ms / cells[1]) / (timings[0].ms / cells[0])
    print(f"  => {ratio:.2f} x, limit {limit.ratio:g}, kept: {verdict(ratio <= limit.ratio)}")
    base, other = (milliseconds(timing.ms) for timing in timings)
    report.limits.append(
        f"| {limit.title} | {base} | {other} | {ratio:.2f} | {limit.ratio:g} | {verdict(ratio <= limit.ratio)} |"
    )


def run_memory(name: str, report: Report) -> None:
    rows, sensors = MEMORY_SHAPE
    title = f"peak memory of rolling_{name.removeprefix('memory_')}, w = 16, {rows:,} x {sensors}, eager"
    print(f"\n{title}  [{name}]")
    if sys.platform == "win32" and importlib.util.find_spec("psutil") is None:
        print("  skipped: needs psutil on Windows")
        return
    command = [sys.executable, __file__, "--measure-memory", name]
    sizes = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    frames = sizes["input"] + sizes["output"]
    extra = sizes["needed"] - frames
    kept = verdict(extra <= MEMORY_ALLOWANCE_MIB)
    print(f"  input {sizes['input']:.0f} MiB, output {sizes['output']:.0f} MiB, at the peak {extra:.1f} MiB more")
    print(f"  => limit {MEMORY_ALLOWANCE_MIB:g} MiB more, kept: {kept}")
    report.limits.append(
        f"| {title}: peak to input + output | {frames:,.0f} MiB | {sizes['needed']:,.0f} MiB "
        f"| {extra:+.1f} MiB | +{MEMORY_ALLOWANCE_MIB:g} MiB | {kept} |"
    )


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def machine_and_versions() -> str:
    packages = {"polars": "Polars", "numpy": "NumPy", "pandas": "pandas", "scipy": "SciPy", "numba": "numba"}
    found = []
    for package, name in (packages | {"bottleneck": "bottleneck"}).items():
        try:
            found.append(f"{name} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return (
        f"{processor()}, {os.cpu_count()} cores, {THREADS} threads for everybody, {platform.system()}; "
        f"acm_rs {_internal.__version__} (profile {_internal.__profile__}, {_internal.simd_level()}), "
        f"Python {platform.python_version()}, {', '.join(found)}"
    )


def write_readme(report: Report, runs: int) -> None:
    text = README.read_text(encoding="utf-8")
    start, end = MARKERS
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"README.md must hold {start} and {end} once each")
    head, rest = text.split(start)
    tail = rest.split(end)[1]
    legend = (
        f"Written by `python benches/compare.py --write`: medians of {runs} alternating turns on the same data, each "
        "the median of the second half of a burst of runs. A ratio is the peer's time / that of our fastest form. Rows "
        "with a target race what libraries offer and numba code that takes each window by itself; rows without one "
        "race also numba kernels tuned for this comparison (a sorted window, sums that are carried along). "
    )
    README.write_text(
        f"{head}{start}\n\n{report.markdown()}\n\n{legend}{machine_and_versions()}.\n\n{end}{tail}", encoding="utf-8"
    )
    print("\nREADME.md: the tables are written")


# --- command line --------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [*(entry.name for entry in WORKLOADS), *(entry.name for entry in LIMITS), *MEMORY]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], epilog="names: " + ", ".join(names))
    parser.add_argument("--quick", action="store_true", help="tiny data, agreement only; exit code 1 where any differ")
    parser.add_argument("--write", action="store_true", help="write the tables into README.md")
    parser.add_argument("--only", metavar="NAME", help="only the entries whose names begin with NAME")
    parser.add_argument("--full", action="store_true", help="pandas' apply on all sensors too (8 s a run)")
    parser.add_argument("--runs", type=int, default=9, help="runs of each contender, at least 7 (default 9)")
    parser.add_argument("--measure-memory", choices=list(MEMORY), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.names = [name for name in names if name.startswith(options.only or "")]
    if not options.names:
        parser.error(f"--only {options.only}: nothing begins so; names: {', '.join(names)}")
    if options.runs < MINIMUM_RUNS:
        parser.error(f"--runs {options.runs}: at least {MINIMUM_RUNS}")
    if options.write and (options.quick or options.only):
        parser.error("--write takes the whole race, without --quick and --only")
    return options


def start_again_without_misleading_settings() -> None:
    if not any(setting in os.environ for setting in MISLEADING_SETTINGS):
        return
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING_SETTINGS}
    command = [sys.executable, *sys.orig_argv[1:]]
    if os.name == "posix":
        os.execve(command[0], command, environment)  # in place, so that whoever stops this process stops the race
    raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)


def main() -> int:
    options = parse()
    start_again_without_misleading_settings()
    if options.measure_memory:
        measure_memory(options.measure_memory)
        return 0
    profile = _internal.__profile__
    if not options.quick and profile in ("debug", "dev", "test"):
        raise SystemExit(f"this acm_rs is a {profile} build: its speed says nothing; build it with --release")
    if options.write and profile != "release":
        raise SystemExit(f"the README shows figures of the release profile, this acm_rs is a {profile} build")
    print(machine_and_versions())
    report = Report()
    for workload in WORKLOADS:
        if workload.name in options.names:
            run_workload(workload, options, report)
    make_data.cache_clear()
    for limit in LIMITS:
        if limit.name in options.names:
            run_limit(limit, options, report)
            make_data.cache_clear()
    for name in MEMORY:
        if name in options.names and not options.quick:
            run_memory(name, report)
    if report.markdown():
        print(f"\n{report.markdown()}")
    if report.disagreements:
        print(f"\n{report.disagreements} disagreements", file=sys.stderr)
        return 1
    if options.write:
        write_readme(report, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
