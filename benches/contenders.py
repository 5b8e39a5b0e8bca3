"""What races have in common: the data, the contenders, a workload and what it is to reach.

`compare.py` runs the races; `races_*.py` say who takes part in which.
"""

# a script's parts, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D101, D102, D103
from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

THREADS = min(2, os.cpu_count() or 1)
# read by the libraries when they load, hence before any of them is imported
os.environ |= dict.fromkeys(
    ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    str(THREADS),
)

import polars as pl  # noqa: E402

SEED = 20240229
FULL_SHAPE = (10_000, 50)
QUICK_SHAPE = (1_500, 3)
MISSING_SHARE = 0.05

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


# --- workloads -----------------------------------------------------------------------------------------------------


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
    memory: float | None = None  # what our thirstiest form may need at its peak, in that of the thriftiest peer


def part(name: str, contenders: Sequence[Contender]) -> list[Contender]:
    return [replace(contender, part=name) for contender in contenders]
