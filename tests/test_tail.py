"""A series scored in batches, each with the tail of what came before, equals the series scored at once, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from acm_rs.features import rolling
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

OPERATIONS = [name for name in rolling.__all__ if name != "tail"]
SENSORS = ["walk", "offset", "ticks", "spike"]
ASSETS = 3
START = datetime(1969, 12, 31, 12)  # times before the epoch are negative


def history(rows: int, seed: int) -> pl.DataFrame:
    """Several assets in one frame, with gaps, ties, an offset, a spike that leaves the window, and irregular times."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=rows)
    values = {
        "walk": np.cumsum(noise),
        "offset": 1e8 + 1e-3 * noise,
        "ticks": np.round(noise),
        "spike": np.where(rng.random(rows) < 0.01, 1e15, noise),
    }
    for column in values.values():
        column[rng.random(rows) < 0.05] = np.nan
    minutes = np.cumsum(rng.integers(0, 9, rows))
    times = [START + timedelta(minutes=int(minute)) for minute in minutes]
    return pl.DataFrame(values).with_columns(asset=pl.Series(rng.integers(0, ASSETS, rows)), t=pl.Series(times))


def bits(frame: pl.DataFrame) -> list[Any]:
    return [
        (column.is_null().to_list(), column.cast(pl.Float64).fill_null(0.0).to_numpy().view(np.uint64).tolist())
        for column in frame
    ]


def score(frame: pl.DataFrame, window_size: int | str, by: str | None, over: str | None) -> pl.DataFrame:
    results = []
    for name in OPERATIONS:
        if name == "rolling_spectral_energy" and (by is not None or window_size == 1):
            continue
        expr = getattr(acm, name)(SENSORS, window_size, by=by)
        expr = expr if over is None else expr.over(over)
        fields = frame.select(expr).unnest(name)
        results.append(fields.rename({column: f"{name} {column}" for column in fields.columns}))
    return pl.DataFrame([column for frame in results for column in frame])


@pytest.mark.parametrize("over", [None, "asset"])
@pytest.mark.parametrize(
    ("window_size", "by"),
    [(1, None), (2, None), (7, None), (16, None), (150, None), ("10m", "t"), ("2h", "t"), ("1d", "t")],
)
def test_batches_equal_the_whole(window_size: int | str, by: str | None, over: str | None) -> None:
    rng = np.random.default_rng(1)
    whole = history(1200, seed=2)
    expected = score(whole, window_size, by, over)
    carried = whole.clear()
    start = 0
    while start < whole.height:
        size = int(rng.choice([0, 1, 2, 5, 30, 170, 400]))
        batch = whole.slice(start, size)
        joined = pl.concat([carried, batch])
        ours = score(joined, window_size, by, over).slice(carried.height)
        assert bits(ours) == bits(expected.slice(start, size)), (start, size)
        carried = acm.tail(joined, window_size, by=by, over=over)
        assert_frame_equal(acm.tail(carried, window_size, by=by, over=over), carried)
        start += size


@pytest.mark.parametrize("rows", range(0, 40))
def test_length_of_a_tail_by_rows(rows: int) -> None:
    frame = pl.DataFrame({"x": range(rows)})
    carried = acm.tail(frame, 5)["x"].to_list()
    assert carried == list(range(rows))[rows - len(carried) :]
    assert min(rows, 5) <= len(carried) <= 9
    assert (rows - len(carried)) % 5 == 0


def test_a_tail_serves_all_windows_that_divide_its_own() -> None:
    whole = history(500, seed=3)
    first = whole.head(433)
    carried = acm.tail(first, 48)
    joined = pl.concat([carried, whole.slice(433)])
    for window_size in (4, 16, 48):
        ours = score(joined, window_size, None, None).slice(carried.height)
        assert bits(ours) == bits(score(whole, window_size, None, None).slice(433))


@pytest.mark.parametrize("over", [None, "asset", ["asset", "line"]])
@pytest.mark.parametrize(("window_size", "by"), [(16, None), ("2h", "t"), (timedelta(hours=2), pl.col("t"))])
def test_lazy_tails_stay_lazy(window_size: Any, by: Any, over: Any) -> None:
    frame = history(300, seed=4).with_columns(line=pl.col("asset") % 2)
    runs: list[int] = []

    def spy(frame: pl.DataFrame) -> pl.DataFrame:
        runs.append(frame.height)
        return frame

    lazy = acm.tail(frame.lazy().map_batches(spy, schema=frame.schema), window_size, by=by, over=over)
    assert isinstance(lazy, pl.LazyFrame)
    assert runs == []
    assert_frame_equal(lazy.collect(), acm.tail(frame, window_size, by=by, over=over))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_any_time_column(unit: str, zone: str) -> None:
    frame = history(300, seed=5)
    time = pl.col("t").cast(pl.Datetime(unit))
    other = frame.with_columns(time.dt.replace_time_zone("UTC").dt.convert_time_zone(zone))
    ours = acm.tail(other, "2h", by="t")
    assert ours["walk"].equals(acm.tail(frame, "2h", by="t")["walk"])
    days = pl.DataFrame({"d": pl.date_range(datetime(2024, 1, 1), datetime(2024, 1, 31), eager=True)})
    assert acm.tail(days, "1w", by="d").height <= 14


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: acm.tail([1], 3), TypeError, "acm.tail: `frame` must be a polars DataFrame or LazyFrame, got [1] (list)"),
    (lambda: acm.tail(pl.DataFrame(), 0), ValueError, "acm.tail: `window_size` must be >= 1, got 0"),
    (
        lambda: acm.tail(pl.DataFrame(), "2h"),
        ValueError,
        "acm.tail: `window_size` must be an int >= 1 (rows) unless `by` names a time column, got '2h'",
    ),
    (
        lambda: acm.tail(pl.DataFrame(), 3, by="t"),
        ValueError,
        'acm.tail: `window_size` must be a duration such as "2h" or a timedelta when `by` is given, got 3',
    ),
    (
        lambda: acm.tail(pl.DataFrame(), 3, over=1),
        TypeError,
        "acm.tail: `over` must be a column name or a list of column names, got 1 (int)",
    ),
    (
        lambda: acm.tail(pl.DataFrame(), 3, over=[]),
        ValueError,
        "acm.tail: `over` must be at least one column name, or None, got []",
    ),
]


@pytest.mark.parametrize(("call", "error", "expected"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], expected: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == expected


# --- the time column -------------------------------------------------------------------------------------------------

HOUR = [datetime(2024, 1, 1, hour) for hour in range(4)]
WRONG_TIMES = {
    "unsorted": ([*HOUR[:3], HOUR[0]], "`by` must be ascending"),
    "null": ([*HOUR[:3], None], "`by` must have no nulls"),
    "integers": ([1, 2, 3, 4], "`by` must be a Datetime or Date column, `t` has dtype i64"),
    "text": (["a", "b", "c", "d"], "`by` must be a Datetime or Date column, `t` has dtype str"),
}


@pytest.mark.parametrize("kind", WRONG_TIMES)
@pytest.mark.parametrize("over", [None, "asset"])
def test_wrong_times_are_refused(kind: str, over: str | None) -> None:
    times, text = WRONG_TIMES[kind]
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "t": times, "asset": "a"})
    lazy = acm.tail(frame.lazy(), "2h", by="t", over=over)  # nothing is computed yet
    engines = ("in-memory", "streaming")
    runs = [lambda: acm.tail(frame, "2h", by="t", over=over), *(lambda e=e: lazy.collect(engine=e) for e in engines)]
    for run in runs:
        with pytest.raises(ComputeError) as caught:
            run()
        assert "acm.tail: " in str(caught.value)
        assert text in str(caught.value).replace("the one given", "`t`")


def test_times_need_to_ascend_only_within_their_series() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "t": HOUR[2:] + HOUR[:2], "asset": ["a", "a", "b", "b"]})
    assert acm.tail(frame, "1d", by="t", over="asset").height == 4
    with pytest.raises(ComputeError, match=r"acm\.tail: `by` must be ascending, `t` goes back in time at row 2"):
        acm.tail(frame, "1d", by="t")
