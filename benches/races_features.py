"""Races of the features: rolling windows, correlations, spectra, seasons, cleaning."""

# a script's parts, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D103
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Literal

import acm_rs as acm
import polars as pl
from contenders import (
    FULL_SHAPE,
    MISSING_SHARE,
    QUICK_SHAPE,
    THREADS,
    TUNED,
    Arrays,
    Contender,
    Data,
    Goal,
    Operation,
    Run,
    Workload,
    frame_arrays,
    need,
    on_matrix,
    ours,
    pandas,
    part,
    polars,
)

APPLY_SENSORS = 2  # pandas' apply takes 8 s for 50 sensors: timed on two and scaled up, unless --full


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


def together(features: Sequence[str], *operations: Operation) -> tuple[Contender, ...]:
    """Enter features of one window in one call; sensor by sensor the operations one by one."""
    fused = partial(acm.rolling_features, window_size=16, features=features)
    apart = (contender for contender in ours(features, *operations) if contender.name == "expanded")
    return (*ours(features, fused, expand=False), *apart)


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
            *together(["mean", "std"], OPERATIONS["mean"], OPERATIONS["std"]),
            *mean_std_peers(16),
        ),
        (Goal(2.0),),
    ),
    Workload(
        "skew_kurtosis",
        "rolling skew + kurtosis, w = 16",
        16,
        (
            *together(["skew", "kurt"], OPERATIONS["skew"], OPERATIONS["kurtosis"]),
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
