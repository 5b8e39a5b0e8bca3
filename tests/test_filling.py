"""Filling of gaps: what each parameter does, second opinions, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import acm_rs as acm
import numpy as np
import pandas as pd
import polars as pl
import polars.selectors as cs
import pytest
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

X = [None, 1.0, math.nan, 3.0, None, math.inf, 9.0, None]
MINUTES = [0, 10, 11, 20, 30, 50, 60, 70]
DF = pl.DataFrame({"x": X, "y": [1.0, None, 2.0, 4.0, None, None, None, 8.0]}, strict=False).with_columns(
    t=pl.Series([datetime(2024, 1, 1) + timedelta(minutes=minute) for minute in MINUTES])
)


def fill(*args: Any, **kwargs: Any) -> list[float | None]:
    return DF.select(acm.fill("x", *args, **kwargs)).to_series().to_list()


def test_methods() -> None:
    assert fill("median") == [3, 1, 3, 3, 3, 3, 9, 3]
    assert fill(value=-2) == [-2, 1, -2, 3, -2, -2, 9, -2]
    assert fill("forward") == [None, 1, 1, 3, 3, 3, 9, 9]
    assert fill("backward") == [1, 1, 3, 3, 9, 9, 9, None]
    assert fill("interpolate") == [None, 1, 2, 3, 5, 7, 9, None]
    assert fill("interpolate", by="t") == [None, 1, 1.2, 3, 4.5, 7.5, 9, None]


def test_a_gap_that_is_too_long_stays_whole() -> None:
    for method in ("median", "forward", "backward", "interpolate"):
        whole, limited = fill(method), fill(method, max_gap=1)
        assert limited == [*whole[:4], None, None, *whole[6:]]
        assert fill(method, max_gap=2) == whole
    # where pandas fills the first row of the gap
    theirs = pd.Series(DF["x"].to_numpy()).replace(math.inf, math.nan).ffill(limit=1)
    assert theirs[4] == 3.0


def test_gaps_by_duration() -> None:
    # the gaps last 10, 10, 40 and 10 minutes, from reading to reading, or to the end of the series
    assert fill(value=0.0, max_gap="10m", by="t") == [0, 1, 0, 3, None, None, 9, 0]
    assert fill(value=0.0, max_gap=timedelta(minutes=40), by="t") == fill(value=0.0)
    assert fill(value=0.0, max_gap=np.timedelta64(39, "m"), by=pl.col("t")) == [0, 1, 0, 3, None, None, 9, 0]
    assert fill(value=0.0, max_gap="9m", by="t") == [None, 1, None, 3, None, None, 9, None]
    assert fill("interpolate", max_gap="10m", by="t") == [None, 1, 1.2, 3, None, None, 9, None]
    assert fill("interpolate", max_gap=1, by="t") == [None, 1, 1.2, 3, None, None, 9, None]


def test_a_gap_of_centuries() -> None:
    # longer than a signed number of nanoseconds can tell
    years = pl.Series("t", [datetime(year, 1, 1) for year in (1700, 1800, 2000, 2200)], dtype=pl.Datetime("us"))
    frame = pl.DataFrame({"x": [0.0, None, None, 1.0], "t": years})
    whole = years[3] - years[0]
    expected = [0.0, (years[1] - years[0]) / whole, (years[2] - years[0]) / whole, 1.0]
    assert frame.select(acm.fill("x", "interpolate", by="t"))["x"].to_list() == pytest.approx(expected, rel=1e-15)
    for method in ("forward", "backward"):
        filled = frame.select(acm.fill("x", method, max_gap=timedelta(days=365 * 290), by="t"))
        assert filled["x"].null_count() == 2


def test_values_by_column() -> None:
    values = {"x": 5, "y": np.float32(-1.5), "z": 0.0}
    expected = DF.select(acm.fill("x", value=5.0), acm.fill("y", value=-1.5))
    for columns in (["x", "y"], ("x", pl.col("y")), cs.float()):
        assert_frame_equal(DF.select(acm.fill(columns, value=values)).unnest("fill"), expected)
    with pytest.raises(ValueError, match=r"`value` must be a mapping with a number for every column, also \['y'\]"):
        acm.fill(["x", "y"], value={"x": 1.0})
    lazy = DF.lazy().select(acm.fill(cs.float(), value={"x": 1.0}))
    for run in (lazy.collect, lazy.collect_schema):
        with pytest.raises(ComputeError, match=r"acm\.fill: `value` has nothing for column `y`; add it"):
            run()


def test_medians_of_training_data_fill_the_score_data() -> None:
    train = pl.DataFrame({"x": [1.0, 2.0, 30.0], "y": [4.0, None, 6.0]})
    values = train.select(pl.all().median()).row(0, named=True)
    filled = DF.select(acm.fill(["x", "y"], value=values)).unnest("fill")
    assert filled["x"].to_list() == [2, 1, 2, 3, 2, 2, 9, 2]
    assert filled["y"].to_list() == [1, 5, 2, 4, 5, 5, 5, 8]


def test_a_median_of_a_group_is_its_own() -> None:
    frame = pl.DataFrame({"asset": ["a", "b", "a", "b", "a"], "x": [1.0, 10.0, None, None, 3.0]})
    assert frame.select(acm.fill("x", "median").over("asset")).to_series().to_list() == [1, 10, 2, 10, 3]


def test_an_even_median_does_not_overflow() -> None:
    frame = pl.DataFrame({"x": [1.7e308, None, 1.5e308]})
    assert frame.select(acm.fill("x", "median"))["x"][1] == 1.6e308


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_second_opinions(share: float) -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=2000)
    values[rng.random(2000) < share] = np.nan
    times = np.datetime64("2024-01-01") + (1_000_000 * rng.integers(1, 9, 2000).cumsum()).astype("timedelta64[us]")
    frame = pl.DataFrame({"x": values, "t": times})
    series = pd.Series(values)
    inside = {"limit_area": "inside"}
    at_times = pd.Series(values, index=times)
    for ours, theirs in (
        (acm.fill("x", "median"), series.fillna(series.median())),
        (acm.fill("x", "forward"), series.ffill()),
        (acm.fill("x", "backward"), series.bfill()),
        (acm.fill("x", "interpolate"), series.interpolate(**inside)),
        (acm.fill("x", "interpolate", by="t"), at_times.interpolate("time", **inside)),
    ):
        result = frame.select(ours.fill_null(np.nan)).to_series().to_numpy()
        np.testing.assert_allclose(result, theirs.to_numpy(), rtol=1e-12, atol=1e-14)  # another order of operations
    # with Polars alone, for any limit: the gap of a row is the distance of the readings at both sides
    row, present = pl.int_range(pl.len()), pl.col("x").is_finite()
    before = pl.when(present).then(row).forward_fill().fill_null(-1)
    after = pl.when(present).then(row).backward_fill().fill_null(pl.len())
    x = pl.when(present).then("x")
    for most in (1, 2, 5):
        native = frame.select(pl.when((after - before - 1 <= most) | present).then(x.forward_fill()).alias("x"))
        assert_frame_equal(frame.select(acm.fill("x", "forward", max_gap=most)), native)


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: acm.fill("x"), ValueError, "`method` must be given, or else `value`, and not both, got (None, None)"),
    (
        lambda: acm.fill("x", "median", value=1.0),
        ValueError,
        "`method` must be given, or else `value`, and not both, got ('median', 1.0)",
    ),
    (
        lambda: acm.fill("x", "mean"),
        ValueError,
        '`method` must be "median", "forward", "backward" or "interpolate", got \'mean\'',
    ),
    (lambda: acm.fill("x", value="1"), TypeError, "`value` must be a finite number, got '1' (str)"),
    (lambda: acm.fill("x", value=math.nan), ValueError, "`value` must be a finite number, got nan"),
    (
        lambda: acm.fill(["x"], value={"x": None}),
        TypeError,
        "`value['x']` must be a finite number, got None (NoneType)",
    ),
    (
        lambda: acm.fill("x", value={"x": 1.0}),
        ValueError,
        "`value` must be a number, because a mapping needs a list, tuple or selector of columns, got {'x': 1.0}",
    ),
    (lambda: acm.fill("x", "median", max_gap=0), ValueError, "`max_gap` must be >= 1, got 0"),
    (
        lambda: acm.fill("x", "median", max_gap=1.5),
        TypeError,
        '`max_gap` must be an int >= 1 (rows), or with `by` a duration such as "2h" or a timedelta, got 1.5 (float)',
    ),
    (
        lambda: acm.fill("x", "median", max_gap="2h"),
        ValueError,
        "`max_gap` must be an int >= 1 (rows) unless `by` names a time column, got '2h'",
    ),
    (
        lambda: acm.fill("x", "median", max_gap="1mo", by="t"),
        ValueError,
        "`max_gap` must be of fixed length, in ns, us, ms, s, m, h, d, w (not in the unit 'mo'), got '1mo'",
    ),
    (
        lambda: acm.fill("x", "forward", max_gap=2, by="t"),
        ValueError,
        "`by` must be None unless `max_gap` is a duration or `method` is \"interpolate\", got 't'",
    ),
    (lambda: acm.fill([], "median"), ValueError, "`expr` must be at least one column, got []"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == f"acm.fill: {text}"
