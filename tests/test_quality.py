"""Quality of readings: each parameter, the table of the real turbines, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

TURBINES = Path(__file__).parent.parent / "examples/data/la_haute_borne/la_haute_borne_2014_2015.parquet"
START = datetime(2024, 1, 1)


def times(minutes: list[int]) -> pl.Series:
    return pl.Series("t", [START + timedelta(minutes=minute) for minute in minutes])


def column(expr: pl.Expr, x: list[Any], minutes: list[int] | None = None) -> list[Any]:
    frame = pl.DataFrame({"x": x}, strict=False).with_columns(times(minutes or list(range(len(x)))))
    return frame.select(expr).to_series().to_list()


# --- standstills -----------------------------------------------------------------------------------------------------


def test_stuck_by_rows() -> None:
    x = [1, 2, 2, None, 2, 3, 3]
    assert column(acm.stuck("x", 3), x) == [False, True, True, None, True, False, False]
    assert column(acm.stuck("x", 2), x) == [False, True, True, None, True, True, True]
    assert column(acm.stuck("x", 3, look_ahead=False), x) == [False, False, False, None, True, False, False]


def test_stuck_by_time() -> None:
    x, minutes = [5, 5, 5, 6, 6, 6], [0, 10, 20, 30, 35, 40]
    assert column(acm.stuck("x", "20m", by="t"), x, minutes) == [True] * 3 + [False] * 3
    assert column(acm.stuck("x", timedelta(minutes=11), by="t"), x, minutes) == [True] * 3 + [False] * 3
    # readings that are as far apart as the standstill is long say nothing
    assert column(acm.stuck("x", timedelta(minutes=10), by="t"), x, minutes) == [False] * 3 + [True] * 3
    assert column(acm.stuck("x", "21m", by="t"), x, minutes) == [False] * 6


def test_tolerance_is_the_range_of_the_run() -> None:
    drift = [0.0, 0.4, 0.8, 1.2, 1.6]  # never more than 0.4 from one reading to the next
    assert column(acm.stuck("x", 3, tolerance=0.9), drift) == [True] * 5
    assert column(acm.stuck("x", 4, tolerance=0.9), drift) == [False] * 5
    assert column(acm.stuck("x", 4, tolerance=1.3), drift) == [True] * 5
    assert column(acm.stuck("x", 3), drift) == [False] * 5


def test_silence_is_no_standstill() -> None:
    assert column(acm.stuck("x", "1h", by="t"), [5, 5], [0, 60]) == [False, False]
    assert column(acm.stuck("x", "1h", by="t"), [5, 5, 5], [0, 59, 60]) == [True] * 3
    assert column(acm.stuck("x", 2), [5, None, None, 5]) == [False, None, None, False]
    assert column(acm.stuck("x", 2), [5, None, 5]) == [True, None, True]


def test_polars_agrees_on_equal_readings() -> None:
    x = np.random.default_rng(2).integers(0, 2, 1000)
    frame = pl.DataFrame({"x": x})
    for rows in (2, 3, 6):
        theirs = frame.select((pl.len().over(pl.col("x").rle_id()) >= rows).alias("x"))
        assert_frame_equal(frame.select(acm.stuck("x", rows)), theirs)


# --- ranges and rates ------------------------------------------------------------------------------------------------


def test_a_limit_is_a_number_of_the_sensors_dtype() -> None:
    x = pl.Series("x", [0.1, 0.2, -0.97], dtype=pl.Float32)
    frame = x.to_frame()
    assert frame.select(acm.out_of_range("x", -0.97, 0.2)).to_series().to_list() == [False] * 3
    assert frame.select(acm.out_of_range("x", 0.1000001, 0.2)).to_series().to_list() == [True, False, True]
    assert frame.select(acm.out_of_range("x", high=1e300)).to_series().to_list() == [False] * 3


def test_a_sensor_that_never_reported_is_in_the_report() -> None:
    times = [datetime(2025, 1, day) for day in (1, 2, 3)]
    report = acm.quality_report(pl.DataFrame({"t": times, "x": [None] * 3, "y": [1.0, 2.0, 3.0]}), "t")
    assert report["sensor"].to_list() == ["x", "y"]
    assert report["readings"].to_list() == [0, 3]
    assert report["missing"].to_list() == [1.0, 0.0]


def test_unsorted_times_of_a_frame_are_told_of_over() -> None:
    times = [datetime(2025, 1, 2), datetime(2025, 1, 1)]
    with pytest.raises(
        ComputeError, match="goes back in time at row 1; sort by it first, and name the series with `over="
    ):
        acm.quality_report(pl.DataFrame({"t": times, "x": [1.0, 2.0]}), "t")


def test_out_of_range() -> None:
    x = [-1, 0, 5, 10, 11, None, float("nan"), float("inf")]
    assert column(acm.out_of_range("x", 0, 10), x) == [True, False, False, False, True, None, None, None]
    assert column(acm.out_of_range("x", low=0), x) == [True, False, False, False, False, None, None, None]
    assert column(acm.out_of_range("x", high=4.5), x) == [False, False, True, True, True, None, None, None]


def test_rate_of_change() -> None:
    x, minutes = [None, 1, 4, None, 10, 8, 9], [0, 1, 3, 4, 5, 6, 6]
    assert column(acm.rate_of_change("x"), x) == [None, None, 3, None, 3, -2, 1]
    per_second = column(acm.rate_of_change("x", by="t"), x, minutes)
    assert per_second == [None, None, 3 / 120, None, 6 / 120, -2 / 60, None]
    # longer than a signed number of nanoseconds can tell
    centuries = pl.DataFrame({"x": [0.0, 1.0], "t": [datetime(1700, 1, 1), datetime(2200, 1, 1)]})
    seconds = (datetime(2200, 1, 1) - datetime(1700, 1, 1)).total_seconds()
    assert centuries.select(acm.rate_of_change("x", by="t"))["x"][1] == pytest.approx(1 / seconds, rel=1e-15)


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_gaps() -> None:
    frame = pl.DataFrame(times([0, 10, 20, 20, 30, 40, 50, 60, 90, 100, 116, 130, 240]))
    rows = acm.gaps(frame, "t")
    assert rows["missing_rows"].to_list() == [2, 1, 10]
    assert rows["duration"].to_list() == [timedelta(minutes=m) for m in (30, 16, 110)]
    assert (rows["end"] - rows["start"]).equals(rows["duration"].rename("end"))
    assert acm.gaps(frame, "t", longer_than="30m")["missing_rows"].to_list() == [10]
    assert acm.gaps(frame, "t", longer_than=timedelta(minutes=29))["missing_rows"].to_list() == [2, 10]
    assert_frame_equal(acm.gaps(frame.lazy(), "t").collect(), rows)
    assert acm.gaps(frame.head(1), "t").is_empty()
    assert acm.gaps(frame.clear(), "t").schema == rows.schema


def test_gaps_of_each_asset_have_its_own_step() -> None:
    slow = pl.DataFrame(times([0, 60, 120, 180])).with_columns(asset=pl.lit("slow"))
    fast = pl.DataFrame(times([0, 1, 2, 30, 31])).with_columns(asset=pl.lit("fast"))
    found = acm.gaps(pl.concat([slow, fast]), "t", over="asset")
    assert found.rows() == [
        ("fast", START + timedelta(minutes=2), START + timedelta(minutes=30), timedelta(minutes=28), 27)
    ]


# --- the report ------------------------------------------------------------------------------------------------------

REPORT = pl.DataFrame(
    {
        "asset": ["b", "b", "b", "b", "b", "a", "a", "a"],
        "x": [1.0, 1.0, 1.0, None, 9.0, None, float("nan"), None],
        "n": [1, 2, 3, 4, 5, 6, 6, 6],
    }
).with_columns(times([0, 10, 10, 20, 30, 0, 10, 30]))


def test_report_by_hand() -> None:
    table = acm.quality_report(REPORT, "t", over="asset", limits={"x": (None, 5)}, stuck_for=3)
    minutes = {m: timedelta(minutes=m) for m in (10, 15, 20, 30)}
    expected = {
        "asset": ["b", "b", "a", "a"],
        "sensor": ["x", "n", "x", "n"],
        "rows": [5, 5, 3, 3],
        "readings": [4, 5, 0, 3],
        "missing": [0.2, 0.0, 1.0, 0.0],
        "interval": [minutes[10], minutes[10], minutes[15], minutes[15]],
        "duplicated_times": [1, 1, 0, 0],
        "longest_gap": [minutes[20], minutes[10], None, minutes[20]],
        "min": [1.0, 1.0, None, 6.0],
        "max": [9.0, 5.0, None, 6.0],
        "constant": [False, False, None, True],
        "out_of_range": [1, None, 0, None],
        "stuck_spells": [1, 0, 0, 1],
        "stuck_readings": [3, 0, 0, 3],
        "longest_stuck": [minutes[10], None, None, minutes[30]],
    }
    assert table.columns == list(expected)
    for name, values in expected.items():
        assert table[name].to_list() == pytest.approx(values) if name == "missing" else table[name].to_list() == values
    for engine in ("in-memory", "streaming"):
        lazy = acm.quality_report(REPORT.lazy(), "t", over="asset", limits={"x": (None, 5)}, stuck_for=3)
        assert isinstance(lazy, pl.LazyFrame)
        assert lazy.collect_schema() == table.schema
        assert_frame_equal(lazy.collect(engine=engine), table)


@pytest.mark.parametrize("columns", ["x", ["x"], ("x",), cs.by_name("x"), pl.col("x")], ids=str)
def test_report_of_one_asset_and_chosen_columns(columns: Any) -> None:
    one = REPORT.filter(asset="b")
    table = acm.quality_report(one, "t", columns=columns, stuck_for=2)
    assert table.columns[0] == "sensor"
    assert table["sensor"].to_list() == ["x"]
    grouped = acm.quality_report(one, "t", columns=columns, stuck_for=2, over=["asset"])
    assert_frame_equal(grouped.drop("asset"), table)


def test_report_counts_a_standstill_at_another_value_as_another() -> None:
    frame = pl.DataFrame({"x": [1.0] * 4 + [2.0] * 4 + [7.0] + [2.0] * 4}).with_columns(times(list(range(13))))
    row = acm.quality_report(frame, "t", stuck_for=4).row(0, named=True)
    assert (row["stuck_spells"], row["stuck_readings"], row["longest_stuck"]) == (3, 12, timedelta(minutes=3))
    row = acm.quality_report(frame, "t", stuck_for="3m", tolerance=1.0).row(0, named=True)
    assert (row["stuck_spells"], row["stuck_readings"], row["longest_stuck"]) == (2, 12, timedelta(minutes=7))


def test_report_of_nothing() -> None:
    assert acm.quality_report(REPORT.clear(), "t", over="asset").is_empty()
    row = acm.quality_report(REPORT.clear(), "t", columns="x").row(0, named=True)
    assert (row["rows"], row["readings"], row["missing"], row["longest_gap"], row["constant"]) == (
        0,
        0,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Int8, pl.Decimal(10, 2)], ids=str)
def test_report_of_other_numbers(dtype: Any) -> None:
    table = acm.quality_report(REPORT.with_columns(pl.col("n").cast(dtype)), "t", columns="n", over="asset")
    assert table["max"].to_list() == [5.0, 6.0]
    assert table.schema["max"] == pl.Float64


@pytest.fixture(scope="module")
def turbines() -> pl.DataFrame:
    return pl.read_parquet(TURBINES)


def test_the_real_turbines(turbines: pl.DataFrame) -> None:
    table = acm.quality_report(turbines, "time", over="turbine", limits={"Ot_avg": (-40, 60), "Ba_avg": (-180, 180)})
    assert table.height == 4 * 7
    assert table["rows"].to_list() == [105_120] * 28
    assert set(table["duplicated_times"]) == {12}
    assert set(table["interval"]) == {timedelta(minutes=10)}
    assert table.filter(sensor="P_avg")["readings"].sum() == 420_480 - 2_569
    found = {(row["turbine"], row["sensor"]): row for row in table.iter_rows(named=True)}
    # the temperature that stood still at 32.2, read -273.2 for hours, and stood still again for twelve hours
    broken = found["R80721", "Ot_avg"]
    assert broken["min"] == pytest.approx(-273.2)
    outside = turbines.filter(pl.col("turbine") == "R80721", ~pl.col("Ot_avg").is_between(-40, 60))
    assert broken["out_of_range"] == outside.height > 30
    assert broken["stuck_spells"] == 2
    assert broken["longest_stuck"] == timedelta(hours=12)
    for turbine in ("R80711", "R80736", "R80790"):
        assert (found[turbine, "Ot_avg"]["out_of_range"], found[turbine, "Ot_avg"]["stuck_spells"]) == (0, 0)
    # the pitch angle of 262.61 degrees
    pitch = turbines.filter(pl.col("turbine") == "R80711", pl.col("Ba_avg").abs() > 180)
    assert pitch["Ba_avg"].max() == pytest.approx(262.61)
    assert found["R80711", "Ba_avg"]["out_of_range"] == pitch.height
    # winter time begins: an hour is missing, and one came twice in spring
    missing = acm.gaps(turbines, "time", over="turbine")
    assert set(missing["duration"]) == {timedelta(minutes=70)}
    assert missing["turbine"].n_unique() == 4


def test_the_turbine_that_stood_still_is_found_reading_by_reading(turbines: pl.DataFrame) -> None:
    one = turbines.filter(turbine="R80721")
    marked = one.select("time", "Ot_avg", acm.stuck("Ot_avg", "5h", by="time").alias("stuck")).filter("stuck")
    spells = marked.group_by(pl.col("Ot_avg").rle_id(), maintain_order=True).agg(
        pl.first("Ot_avg").cast(pl.Float64).round(1).alias("value"),
        pl.min("time").dt.replace_time_zone(None).alias("first"),
        pl.max("time").dt.replace_time_zone(None).alias("last"),
    )
    june = partial(datetime, 2014, 6)
    assert spells.select("value", "first", "last").rows() == [
        (32.2, june(8, 14, 10), june(8, 20, 30)),
        (-273.2, june(8, 20, 40), june(9, 2, 0)),
        (34.5, june(9, 12, 0), june(10, 0, 0)),
    ]


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: acm.stuck("x", 1), ValueError, "acm.stuck: `min_length` must be >= 2, got 1"),
    (
        lambda: acm.stuck("x", "6h"),
        ValueError,
        "acm.stuck: `min_length` must be an int >= 2 (rows) unless `by` names a time column, got '6h'",
    ),
    (
        lambda: acm.stuck("x", 6, by="t"),
        ValueError,
        'acm.stuck: `min_length` must be a duration such as "2h" or a timedelta when `by` is given, got 6',
    ),
    (
        lambda: acm.stuck("x", 3, tolerance=-1),
        ValueError,
        "acm.stuck: `tolerance` must be a finite number >= 0, got -1",
    ),
    (
        lambda: acm.stuck("x", 3, look_ahead=1),
        TypeError,
        "acm.stuck: `look_ahead` must be True or False, got 1 (int)",
    ),
    (lambda: acm.out_of_range("x"), ValueError, "acm.out_of_range: `low` must be a number, or else `high`, got None"),
    (lambda: acm.out_of_range("x", 2, 1), ValueError, "acm.out_of_range: `low` must be <= `high` (1), got 2"),
    (
        lambda: acm.out_of_range("x", high="9"),
        TypeError,
        "acm.out_of_range: `high` must be a finite number, got '9' (str)",
    ),
    (
        lambda: acm.rate_of_change(3),
        TypeError,
        "acm.rate_of_change: `expr` must be a column name, an expression, a list of them or a selector, got 3 (int)",
    ),
    (
        lambda: acm.gaps([1], "t"),
        TypeError,
        "acm.gaps: `frame` must be a polars DataFrame or LazyFrame, got [1] (list)",
    ),
    (
        lambda: acm.gaps(REPORT, pl.col("t")),
        TypeError,
        "acm.gaps: `by` must be the name of the time column, got <Expr ['col(\"t\")'] at ...",
    ),
    (
        lambda: acm.gaps(REPORT, "t", longer_than=3),
        TypeError,
        'acm.gaps: `longer_than` must be a duration such as "2h" or a timedelta, got 3 (int)',
    ),
    (
        lambda: acm.quality_report(REPORT, "t", over=[]),
        ValueError,
        "acm.quality_report: `over` must be at least one column name, or None, got []",
    ),
    (
        lambda: acm.quality_report(REPORT, "t", stuck_for=1),
        ValueError,
        "acm.quality_report: `stuck_for` must be >= 2, got 1",
    ),
    (
        lambda: acm.quality_report(REPORT, "t", tolerance="0"),
        TypeError,
        "acm.quality_report: `tolerance` must be a finite number >= 0, got '0' (str)",
    ),
    (
        lambda: acm.quality_report(REPORT.rename({"asset": "sensor"}), "t", over="sensor"),
        ValueError,
        "acm.quality_report: `over` must be named otherwise than the columns of the table, rename it, got 'sensor'",
    ),
    (
        lambda: acm.gaps(REPORT.rename({"asset": "start"}), "t", over=["start"]),
        ValueError,
        "acm.gaps: `over` must be named otherwise than the columns of the table, rename it, got 'start'",
    ),
    (
        lambda: acm.quality_report(REPORT, "t", limits={"x": 5}),
        TypeError,
        "acm.quality_report: `limits['x']` must be a pair (low, high), None for no limit, got 5 (int)",
    ),
    (
        lambda: acm.quality_report(REPORT, "t", limits={"x": (5, 1)}),
        ValueError,
        "acm.quality_report: `limits['x'][0]` must be <= `limits['x'][1]` (1), got 5",
    ),
    (
        lambda: acm.quality_report(REPORT, "t", limits={"temperature": (0, 1)}, over="asset"),
        ValueError,
        "acm.quality_report: `limits` must be for sensors alone, which are ['x', 'n'], got ['temperature']",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    head, dots, _ = text.partition("...")
    assert str(caught.value).startswith(head) if dots else str(caught.value) == text


@pytest.mark.parametrize("call", [acm.gaps, acm.quality_report])
@pytest.mark.parametrize("over", [None, "asset"])
def test_times_that_cannot_be_used(call: Callable[..., Any], over: str | None) -> None:
    operation = call.__name__
    unsorted = REPORT.sort("t", descending=True)
    for frame, text in (
        (unsorted, "`by` must be ascending"),
        (REPORT.with_columns(t=None), "`by` must be a Datetime or Date column, `t` has dtype null"),
        (REPORT.with_columns(pl.when(pl.col("n") != 2).then("t")), "`by` must have no nulls"),
    ):
        for run in (lambda f=frame: call(f, "t", over=over), lambda f=frame: call(f.lazy(), "t", over=over).collect()):
            with pytest.raises(ComputeError) as caught:
                run()
            assert f"acm.{operation}: {text}" in str(caught.value)


def test_no_key_may_be_named_like_a_result() -> None:
    for call in (acm.quality_report, acm.gaps):
        for name in call(REPORT, "t", over="asset").columns[1:]:
            with pytest.raises(ValueError, match=rf"`over` must be named otherwise than .* got '{name}'"):
                call(REPORT.rename({"asset": name}), "t", over=name)


def test_a_report_without_sensors() -> None:
    with pytest.raises(ValueError, match=r"acm\.quality_report: `frame` must be a frame with at least one numeric"):
        acm.quality_report(REPORT.select("asset", "t"), "t", over="asset")
    with pytest.raises(
        ValueError, match=r"acm\.quality_report: `columns` must be numeric sensors, cast `asset` or leave it"
    ):
        acm.quality_report(REPORT.head(5), "t", columns=["x", "asset"])
