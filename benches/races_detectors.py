"""Races of the detectors: fits and scores against scikit-learn, NumPy and numba."""

# a script's parts, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D103
from __future__ import annotations

from functools import cache
from typing import Any

import acm_rs as acm
import polars as pl
from contenders import Arrays, Contender, Data, Goal, Run, Workload, frame_arrays, need, on_matrix, ours


def numpy_ar1_z(x: Any) -> Any:
    """Fit and score AR(1) on arrays of sensors x rows, as ACM's detector does, without its loops."""
    np = need("numpy")
    y = x - np.median(x, axis=1, keepdims=True)
    last = y[:, :-1]
    phi = np.clip((y[:, 1:] * last).sum(axis=1) / (last * last).sum(axis=1), -0.999, 0.999)
    residual = y[:, 1:] - phi[:, None] * last
    spread = np.abs(residual - np.median(residual, axis=1, keepdims=True))
    scale = np.maximum(1.4826 * np.median(spread, axis=1), 1e-6)
    z = np.full_like(x, np.nan)
    np.divide(residual, scale[:, None], out=z[:, 1:])
    return [z]


def ar1_workload(sensors: int) -> Workload:
    return Workload(
        f"ar1_{sensors}",
        f"AR(1) fit + z, 10,000 x {sensors}",
        0,
        (*ours(["z"], acm.ar1_z), on_matrix("NumPy", ["z"], numpy_ar1_z, needs="numpy")),
        (Goal(8.0),),
        shape=(10_000, sensors),
    )


CUSUM = ("high", "low", "high_since", "low_since", "alarm")


@cache
def numba_cusum() -> Any:
    """Compile the loop over rows, threads over sensors, with all that the expression gives."""
    numba, np = need("numba"), need("numpy")

    @numba.njit(parallel=True)
    def run(x: Any, k: float, h: float) -> Any:
        high, low = np.empty_like(x), np.empty_like(x)
        high_since, low_since = np.empty(x.shape, np.uint32), np.empty(x.shape, np.uint32)
        alarm = np.empty(x.shape, np.bool_)
        for sensor in numba.prange(x.shape[0]):
            up, down, up_rows, down_rows = 0.0, 0.0, 0, 0
            for row in range(x.shape[1]):
                v = x[sensor, row]
                up, down = max(0.0, up + (v - k)), max(0.0, down + (-v - k))
                up_rows = up_rows + 1 if up > 0 else 0
                down_rows = down_rows + 1 if down > 0 else 0
                high[sensor, row], low[sensor, row] = up, down
                high_since[sensor, row], low_since[sensor, row] = up_rows, down_rows
                alarm[sensor, row] = up > h or down > h
        return high, low, high_since, low_since, alarm

    return run


def cusum_contenders() -> list[Contender]:
    def one_call(data: Data) -> Run:
        return lambda: data.frame.select(acm.cusum(data.columns))

    def lazy(data: Data) -> Run:
        return lambda: data.frame.lazy().select(acm.cusum(data.columns)).collect()

    def arrays(data: Data, frame: pl.DataFrame) -> Arrays:
        return frame_arrays(CUSUM)(data, frame.unnest("cusum"))

    return [
        *(Contender(name, form, arrays, ours=True) for name, form in (("one call", one_call), ("lazy", lazy))),
        on_matrix("numba", CUSUM, lambda x: numba_cusum()(x, 0.5, 5.0), needs="numba"),
    ]


WORKLOADS: tuple[Workload, ...] = (
    ar1_workload(50),
    ar1_workload(500),
    Workload("cusum", "CUSUM with alarms and onsets", 0, tuple(cusum_contenders()), (Goal(5.0),)),
)
