"""Operations on labels: twins straight from the definition, every kind of label, and what a user gets for bad input."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import groupby, permutations
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import _plugin
from backends import AS_NULL, assert_same, both_backends, within
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal, assert_series_equal

START = datetime(2024, 3, 30, 22)
CATEGORIES = ["off", "idle", "part", "full"]


def make_frame(rows: int = 240) -> pl.DataFrame:
    """Labels that flicker, some of them missing or unknown, sensors, three assets, and times with gaps."""
    rng = np.random.default_rng(4)
    level = np.repeat(rng.integers(0, 4, rows // 8 + 1), 8)[:rows]
    label = np.where(rng.random(rows) < 0.25, rng.integers(-1, 4, rows), level)
    row = pl.int_range(rows)
    frame = pl.DataFrame({"label": label, "x": level * 10.0 + rng.normal(size=rows), "y": rng.normal(size=rows)})
    seconds = np.where(rng.random(rows) < 0.05, 4000, 600).cumsum()
    return frame.select(
        pl.when(row % 13 != 5).then("label").alias("label"),
        pl.when(row % 11 == 4).then(None).when(row % 17 == 5).then(np.inf).otherwise("x").alias("x"),
        "y",
        row.alias("row"),
        pl.Series("asset", rng.choice(["north", "south", "west"], rows)),
        pl.Series("time", [START + timedelta(seconds=int(s)) for s in seconds]),
    )


FRAME = make_frame()
LABELS = FRAME["label"].to_list()
SECONDS = [(time - START).total_seconds() for time in FRAME["time"]]


class Case:
    """An operation on a column with its parameters; `values` is the column, `by` whether it takes the times."""

    def __init__(self, name: str, **parameters: Any) -> None:
        self.name, self.parameters = name, parameters

    def __call__(self, columns: Any = None, **changes: Any) -> pl.Expr:
        default = ["x", "y"] if self.name == "transient_states" else "label"
        result: pl.Expr = getattr(acm, self.name)(
            default if columns is None else columns, **(self.parameters | changes)
        )
        return result

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.parameters.items())})"


HEALTH = {0: "critical", 1: "healthy", 2: "suspect", 3: "healthy"}
CASES = [
    Case("smooth_labels"),
    Case("smooth_labels", window_size=3, passes=4, preserve_unknown=False),
    Case("smooth_labels", window_size=5, health=HEALTH),
    Case("smooth_labels", window_size="1h", by="time"),
    Case("smooth_transitions", min_dwell=4),
    Case("smooth_transitions", min_dwell=6, health=HEALTH),
    Case("smooth_transitions", min_dwell="40m", by="time"),
    Case("transient_states"),
    Case("transient_states", labels="label", window_size=2, high=0.9, trip=2.5, lag=1, weights={"y": -0.5}),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
on_labels = pytest.mark.parametrize("case", [c for c in CASES if c.name != "transient_states"], ids=str)


# --- what holds for every operation ----------------------------------------------------------------------------------


def by_group(case: Case) -> pl.DataFrame:
    groups = FRAME.partition_by("asset", maintain_order=True)
    return pl.concat([group.select("row", case().alias("result")) for group in groups]).sort("row")


@every_case
def test_schema_layout_and_engines(case: Case) -> None:
    expected = FRAME.select(case())
    name = "transient_states" if case.name == "transient_states" else "label"
    dtype = pl.Enum(["steady", "transient", "startup", "shutdown", "trip"]) if name != "label" else pl.Int64
    assert expected.schema == {name: dtype}
    assert expected.to_series().n_unique() > 1
    for size in (1, 7, 120):
        chunks = [FRAME[start : start + size] for start in range(0, FRAME.height, size)]
        chunked = pl.concat(chunks, rechunk=False)
        assert_frame_equal(chunked.select(case()), expected)
        lazy = chunked.lazy().select(case())
        assert lazy.collect_schema() == expected.schema
        for engine in ("in-memory", "streaming"):
            assert_frame_equal(lazy.collect(engine=engine), expected)  # type: ignore[call-overload]
    assert FRAME.clear().select(case()).schema == expected.schema
    assert FRAME.lazy().with_columns(case()).tail(5).collect().select(name).equals(expected.tail(5))


@every_case
def test_groups(case: Case) -> None:
    expected = by_group(case)
    query = FRAME.lazy().select("row", case().over("asset").alias("result"))
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(query.collect(engine=engine), expected)  # type: ignore[call-overload]
    shuffled = FRAME.sample(fraction=1.0, shuffle=True, seed=3)
    ordered = shuffled.select("row", case().over("asset", order_by="time").alias("result"))
    assert_frame_equal(ordered.sort("row"), expected)
    lists = FRAME.group_by("asset").agg("row", case().alias("result")).drop("asset")
    ours = pl.concat(pl.DataFrame({column.name: column[k] for column in lists}) for k in range(lists.height))
    assert_frame_equal(ours.sort("row"), expected)


@every_case
def test_function_method_and_pickle(case: Case) -> None:
    columns = pl.col("x", "y") if case.name == "transient_states" else pl.col("label")
    method = getattr(columns.acm, case.name)(**case.parameters)
    assert_same(method, case(columns), FRAME)
    assert_same(pickle.loads(pickle.dumps(case())), case(), FRAME)


@on_labels
def test_several_columns_of_labels(case: Case) -> None:
    other = FRAME.with_columns(other=pl.col("label").reverse().cast(pl.Int8))
    packed = other.select(case(["label", "other"]))
    assert packed.columns == [case.name]
    assert packed.schema[case.name] == pl.Struct({"label": pl.Int64, "other": pl.Int8})
    alone = other.select(case("label"), case("other"))
    assert_frame_equal(packed.unnest(case.name), alone)
    assert_frame_equal(other.select(case(pl.col("label", "other"))), alone)
    assert_frame_equal(other.select(case(cs.by_name("label", "other"))), packed)


@on_labels
@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, "enum"])
def test_names_as_labels_keep_their_dtype(case: Case, dtype: Any) -> None:
    if "health" in case.parameters:
        case = Case(case.name, **(case.parameters | {"health": None}))
    frame = FRAME.with_columns(label=pl.when(pl.col("label") >= 0).then("label"))  # text has no unknown label
    expected = frame.select(case())
    if dtype != "enum":
        # in the order of the numbers by the alphabet
        words = dict(zip(range(4), "abcd", strict=True))
        frame = frame.with_columns(pl.col("label").replace_strict(words, return_dtype=pl.String).cast(dtype))
        expected = expected.select(pl.col("label").replace_strict(words, return_dtype=pl.String).cast(dtype))
    else:
        # in the order of the categories, not by the alphabet
        if pl.__version__.startswith(("1.31.", "1.32.")):
            pytest.skip("an Enum comes back from a plugin as a Categorical")
        dtype = pl.Enum(CATEGORIES)
        words = dict(enumerate(CATEGORIES))
        frame = frame.with_columns(pl.col("label").replace_strict(words, return_dtype=dtype))
        expected = expected.select(pl.col("label").replace_strict(words, return_dtype=dtype))
    assert frame.lazy().select(case()).collect_schema()["label"] == dtype
    assert_frame_equal(frame.select(case()).cast(pl.String), expected.cast(pl.String))
    assert frame.select(case()).schema["label"] == dtype


def test_booleans_nulls_and_huge_integers() -> None:
    flags = pl.DataFrame({"on": [True, True, False, True, None, False, False]})
    assert flags.select(acm.smooth_labels("on", 3)).to_series().to_list() == [
        True,
        True,
        True,
        False,
        None,
        False,
        False,
    ]
    empty = pl.DataFrame({"label": [None, None]})
    assert empty.select(acm.smooth_labels("label")).to_series().to_list() == [None, None]
    assert empty.select(acm.smooth_transitions("label", 3)).to_series().to_list() == [None, None]
    huge = pl.DataFrame({"label": [2**63 - 1, -(2**63), 2**63 - 1, 2**63 - 2, 2**63 - 1]})
    largest, smallest = 2**63 - 1, -(2**63)
    expected = [largest, largest, smallest, largest, largest]
    assert huge.select(acm.smooth_labels("label", 3)).to_series().to_list() == expected
    many = pl.DataFrame({"label": range(5000)})  # every row its own regime
    assert many.select(acm.smooth_labels("label", 3)).to_series().to_list() == [0, *range(4998), 4999]


@both_backends
@every_case
def test_both_backends_agree(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [FRAME, *(FRAME.sample(fraction=0.6, seed=seed) for seed in range(8))]
    frames = [frame.sort("time").with_columns(pl.col("label").cast(pl.Int32)) for frame in frames]
    expected = [frame.select(case(), case().over("asset").alias("over")) for frame in frames]
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    assert acm.backend() == "python"
    for frame, result in zip(frames, expected, strict=True):
        assert_frame_equal(frame.select(case(), case().over("asset").alias("over")), result)


# --- smooth_labels ---------------------------------------------------------------------------------------------------


def mode_twin(
    labels: list[Any], around: Callable[[int], list[Any]], rank: Callable[[Any], Any], passes: int, preserve: bool
) -> list[Any]:
    """Count the window of each row; `around(labels, i)` is the window."""
    now = list(labels)
    for _ in range(passes):
        after = []
        for i, own in enumerate(now):
            window = [label for label in around(now, i) if label is not None]  # type: ignore[call-arg]
            best = min(set(window), key=lambda label: (-window.count(label), rank(label), label), default=None)
            after.append(own if own is None or best == -1 else best)
        now = after
    return [-1 if preserve and before == -1 else label for label, before in zip(now, labels, strict=True)]


def rank_of(label: Any) -> int:
    return ["healthy", "suspect", "critical"].index(HEALTH[label]) if label in HEALTH else 9


@pytest.mark.parametrize("window", [3, 5, 7, 101, 9999])
@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("preserve", [True, False])
@pytest.mark.parametrize("health", [None, HEALTH])
def test_modes_as_the_twin(window: int, passes: int, preserve: bool, health: Any) -> None:
    def around(labels: list[Any], i: int) -> list[Any]:
        half = window // 2
        last = len(labels) - 1
        return [labels[min(max(p, 0), last)] for p in range(i - half, i + half + 1)]

    rank = rank_of if health else lambda _label: 0
    expected = mode_twin(LABELS, around, rank, passes, preserve)  # type: ignore[arg-type]
    expr = acm.smooth_labels("label", window, passes=passes, preserve_unknown=preserve, health=health)
    assert FRAME.select(expr).to_series().to_list() == expected


@pytest.mark.parametrize("window", ["1us", "20m", "2h", timedelta(days=1000)])
def test_modes_of_times_as_the_twin(window: Any) -> None:
    half = {"1us": 0.0, "20m": 600.0, "2h": 3600.0}.get(window, 1e9) if isinstance(window, str) else 1e9

    def around(labels: list[Any], i: int) -> list[Any]:
        return [label for label, s in zip(labels, SECONDS, strict=True) if abs(s - SECONDS[i]) <= half]

    expected = mode_twin(LABELS, around, lambda _label: 0, 2, True)  # type: ignore[arg-type]
    for frame in (FRAME, FRAME.cast({"time": pl.Datetime("ns")}), FRAME.cast({"time": pl.Datetime("ms", "UTC")})):
        expr = acm.smooth_labels("label", window, passes=2, by="time")
        assert frame.select(expr).to_series().to_list() == expected


def test_the_examples_of_the_definition() -> None:
    frame = pl.DataFrame({"label": [0, 0, 0, 0, 0, 1, 2, 1, 2, 2, 2, 2, 2, 2]})
    once = frame.select(acm.smooth_labels("label", 3)).to_series().to_list()
    assert once == [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2]
    thrice = frame.select(acm.smooth_labels("label", 7, passes=3)).to_series().to_list()
    assert thrice == [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2]
    assert frame.select(acm.smooth_labels("label")).equals(frame.select(acm.smooth_labels("label", 7)))


# --- smooth_transitions ----------------------------------------------------------------------------------------------


def runs_of(labels: list[Any]) -> list[tuple[Any, list[int]]]:
    known = [i for i, label in enumerate(labels) if label is not None]
    return [(label, list(places)) for label, places in groupby(known, key=lambda i: labels[i])]


@pytest.mark.parametrize("min_dwell", [1, 2, 5, 12])
@pytest.mark.parametrize("by", [None, "time"])
def test_no_run_is_short_in_the_end(min_dwell: int, by: str | None) -> None:
    dwell: Any = min_dwell if by is None else f"{10 * min_dwell}m"
    result = FRAME.select(acm.smooth_transitions("label", dwell, by=by)).to_series().to_list()
    assert [label is None for label in result] == [label is None for label in LABELS]
    assert [label == -1 for label in result] == [label == -1 for label in LABELS]
    runs = runs_of(result)
    for r, (label, rows) in enumerate(runs):
        length = len(rows) if by is None else (SECONDS[rows[-1]] - SECONDS[rows[0]]) / 600
        neighbours = {runs[k][0] for k in (r - 1, r + 1) if 0 <= k < len(runs)} - {-1}
        assert length >= min_dwell or label == -1 or not neighbours
        assert any(LABELS[row] == label for row in rows)
    again = pl.DataFrame({"label": result, "time": FRAME["time"]})
    assert again.select(acm.smooth_transitions("label", dwell, by=by)).to_series().to_list() == result
    if min_dwell == 1 and by is None:
        assert result == LABELS


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        ([0] * 10 + [1] * 3 + [2] * 3 + [0] * 10, {"min_dwell": 5}, [0] * 26),
        ([0] * 5 + [1] * 2 + [2] * 6, {"min_dwell": 3}, [0] * 5 + [2] * 8),
        ([0] * 5 + [1] * 2 + [2] * 5, {"min_dwell": 3}, [0] * 7 + [2] * 5),
        ([1, 1, 2, 2, 2, 2, 3, 3, 3], {"min_dwell": 5}, [2] * 9),  # ACM's look at the input alone leaves 2, 2, 3, ...
        ([0, 0, -1, 2, -1, 0, 0], {"min_dwell": 3}, [0, 0, -1, 2, -1, 0, 0]),
        ([0] * 9 + [1] * 2 + [2] * 4, {"min_dwell": 3, "health": {2: "healthy", 0: "suspect"}}, [0] * 9 + [2] * 6),
        ([0] * 9 + [1] * 2 + [2] * 4, {"min_dwell": 3, "health": {2: "healthy", 0: "healthy"}}, [0] * 11 + [2] * 4),
        ([0] * 9 + [1] * 2 + [2] * 4, {"min_dwell": 3, "health": {2: "critical"}}, [0] * 9 + [2] * 6),
        ([0] * 9 + [1] * 2 + [2] * 4, {"min_dwell": 3, "health": {2: "?", 0: None}}, [0] * 11 + [2] * 4),
    ],
)
def test_runs_by_hand(labels: list[int], options: dict[str, Any], expected: list[int]) -> None:
    frame = pl.DataFrame({"label": labels})
    assert frame.select(acm.smooth_transitions("label", **options)).to_series().to_list() == expected
    words = frame.with_columns(pl.col("label").cast(pl.String))
    if -1 not in labels:
        text = {str(label): state for label, state in options.get("health", {}).items()} or None
        smoothed = words.select(acm.smooth_transitions("label", options["min_dwell"], health=text)).to_series()
        assert smoothed.cast(pl.Int64).to_list() == expected


# --- transient_states ------------------------------------------------------------------------------------------------


def states(frame: pl.DataFrame, columns: Any = "x", **parameters: Any) -> str:
    found = frame.select(acm.transient_states(columns, **parameters)).to_series()
    letters = {"steady": "s", "transient": "t", "startup": "U", "shutdown": "D", "trip": "T", None: "."}
    return "".join(letters[state] for state in found)


def test_states_by_hand() -> None:
    # changes of 1 but for one of 10: the median is 1, so that its rate is 10 / 1.4826 = 6.7
    frame = pl.DataFrame({"x": [0.0, 1.0, 0.0, 1.0, 11.0, 10.0, 11.0, 10.0], "label": [0, 0, 0, 0, 0, 0, None, 1]})
    plain: dict[str, Any] = {"window_size": 1, "high": 3.0, "trip": 7.0, "lag": 0}
    assert states(frame, **plain) == "ssssUsss"
    assert states(frame, **(plain | {"lag": 1})) == "sssUUUss"
    assert states(frame, **(plain | {"lag": 1, "trip": 6.0})) == "sssTTTss"
    assert states(frame, **(plain | {"weights": {"x": -2.0}})) == "ssssDsss"
    assert states(frame, **(plain | {"window_size": 2, "high": 3.7})) == "ssssUUss"
    assert states(frame, labels="label", **(plain | {"lag": 1})) == "sssUUUtt"
    assert states(frame, labels=pl.col("label").cast(pl.String), **(plain | {"lag": 1})) == "sssUUUtt"
    both = frame.with_columns(y=pl.lit(3.0))
    assert states(both, ["x", "y"], **(plain | {"high": 3.4})) == "ssssssss"
    assert states(both, ["x", "y"], **(plain | {"high": 3.4, "weights": {"y": 0}})) == "ssssUsss"
    gap = pl.DataFrame({"x": [0.0, 1.0, None, np.nan, 4.0, 5.0]})
    assert states(gap, **(plain | {"high": 0.67})) == "sU..UU"


def test_a_jump_of_a_quiet_machine_is_found() -> None:
    jump = pl.DataFrame({"x": [10.0] * 30 + [100.0] * 30})
    assert states(jump) == "s" * 27 + "T" * 11 + "s" * 22
    noise = np.random.default_rng(2).normal(size=400)
    level = np.concatenate([np.zeros(100), np.linspace(0, 80, 20), np.full(180, 80.0), np.zeros(100)])
    found = states(pl.DataFrame({"x": level + noise}))
    assert set(found[:90]) == {"s"}
    assert "U" in found[100:122]
    assert "D" not in found[100:122]
    assert found[300] == "T"  # it stops from one row to the next
    assert set(found[130:290]) == {"s"}


@pytest.mark.parametrize("rows", range(9))
def test_any_number_of_rows(rows: int) -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0] * 5}).head(rows)
    assert states(frame) == "s" * rows


# --- regime_statistics -----------------------------------------------------------------------------------------------


def test_statistics_by_hand() -> None:
    minutes = [0, 10, 20, 30, 40, 140, 150, 160]
    frame = pl.DataFrame(
        {
            "regime": [1, 1, 0, None, 1, -1, 0, 0],
            "z": [0.5, 1.5, 4.0, 9.0, None, 7.0, float("nan"), 2.5],
            "time": [START + timedelta(minutes=m) for m in minutes],
        }
    )
    table = acm.regime_statistics(frame, "regime", by="time", score="z")
    minute = timedelta(minutes=1)
    assert table.drop("transitions").rows(named=True) == [
        {
            "regime": -1, "rows": 1, "segments": 1, "dwell": 10 * minute, "avg_dwell": 10 * minute,
            "dwell_fraction": pytest.approx(1 / 7), "stability": 1.0, "median_score": 7.0, "p95_abs_score": 7.0,
            "state": "critical", "normal": False,
        },
        {
            "regime": 0, "rows": 3, "segments": 2, "dwell": 30 * minute, "avg_dwell": 15 * minute,
            "dwell_fraction": pytest.approx(3 / 7), "stability": 0.5, "median_score": 3.25,
            "p95_abs_score": pytest.approx(3.925), "state": "critical", "normal": False,
        },
        {
            # the row before the gap of 100 minutes counts as long as a usual step
            "regime": 1, "rows": 3, "segments": 2, "dwell": 30 * minute, "avg_dwell": 15 * minute,
            "dwell_fraction": pytest.approx(3 / 7), "stability": 0.5, "median_score": 1.0,
            "p95_abs_score": pytest.approx(1.45), "state": "healthy", "normal": True,
        },
    ]  # fmt: skip
    # the row without a label is skipped
    assert table["transitions"].to_list() == [
        [{"to": 0, "count": 1}],
        [{"to": 1, "count": 1}],
        [{"to": -1, "count": 1}, {"to": 0, "count": 1}],
    ]
    bare = acm.regime_statistics(frame, "regime")
    assert bare["dwell"].to_list() == [1, 3, 3]
    assert bare["avg_dwell"].to_list() == [1.0, 1.5, 1.5]
    assert bare.columns == [
        "regime", "rows", "segments", "transitions", "dwell", "avg_dwell", "dwell_fraction", "stability",
    ]  # fmt: skip


def as_text(table: pl.DataFrame) -> pl.DataFrame:
    """Labels as text: old Polars does not compare categories of two frames."""
    transitions = pl.Series("transitions", [str(pairs) for pairs in table["transitions"].to_list()])
    return table.with_columns(pl.col("label").cast(pl.String), transitions)


@pytest.mark.parametrize("dtype", [pl.Int64, pl.String, pl.Categorical])
def test_statistics_of_assets_are_those_of_each(dtype: Any) -> None:
    frame = FRAME.with_columns(pl.col("label").cast(pl.String).cast(dtype), z=pl.col("y") * 3)
    table = acm.regime_statistics(frame, "label", by="time", over="asset", score="z")
    parts = [
        acm.regime_statistics(part, pl.col("label"), by="time", score=pl.col("z")).select(
            pl.lit(asset).alias("asset"), pl.all()
        )
        for (asset,), part in frame.sort("asset", maintain_order=True).group_by("asset", maintain_order=True)
    ]
    assert_frame_equal(as_text(table), pl.concat(as_text(part) for part in parts))
    lazy = acm.regime_statistics(frame.lazy(), "label", by="time", over=["asset"], score="z")
    assert lazy.collect_schema() == table.schema
    assert_frame_equal(as_text(lazy.collect()), as_text(table))
    assert table.schema["label"] == dtype
    assert table.group_by("asset").agg(pl.col("normal").sum())["normal"].max() == 1
    assert table["rows"].sum() == frame["label"].count()
    segments = sum(len(runs_of(part["label"].to_list())) for part in frame.partition_by("asset"))
    assert table["segments"].sum() == segments
    left = table["transitions"].explode(**AS_NULL).struct.field("count").sum()
    assert left == segments - 3  # all visits but the last of each asset
    fractions = table.group_by("asset").agg(pl.col("dwell_fraction").sum())["dwell_fraction"]
    assert fractions.to_list() == pytest.approx([1.0] * 3)


def test_limits_and_the_normal_regime() -> None:
    def of(medians: list[float], rows: list[int], **limits: float) -> pl.DataFrame:
        labels = [label for label, count in enumerate(rows) for _ in range(count)]
        frame = pl.DataFrame({"label": labels}).with_columns(z=pl.col("label").replace_strict(dict(enumerate(medians))))
        return acm.regime_statistics(frame, "label", score="z", **limits)

    table = of([0.0, 1.5, 3.0, -4.0], [5, 5, 5, 5])
    assert table["state"].to_list() == ["healthy", "suspect", "critical", "healthy"]
    assert table["normal"].to_list() == [True, False, False, False]  # the first of equals
    assert table["p95_abs_score"].to_list() == [0.0, 1.5, 3.0, 4.0]
    assert of([0.0, 1.5, 3.0], [5, 5, 5], warn=2.0, alert=4.0)["state"].to_list() == ["healthy", "healthy", "suspect"]
    # 40 / (1 + 1.5) is less than 20 / (1 + 0); a share below 15 % or a median above 2 is not normal
    assert of([1.5, 0.0, 9.0], [40, 20, 40])["normal"].to_list() == [False, True, False]
    assert of([2.1, 0.0], [90, 10])["normal"].to_list() == [False, False]
    health = dict(of([4.0, 0.0], [1, 1]).select("label", "state").rows())
    assert health == {0: "critical", 1: "healthy"}
    flicker = pl.DataFrame({"label": [0, 1, 2, 0]})
    assert flicker.select(acm.smooth_labels("label", 3, health=health)).to_series().to_list() == [0, 1, 1, 0]


def test_statistics_of_assets_in_a_column_of_any_name() -> None:
    usual = acm.regime_statistics(FRAME, "label", over="asset")
    for name in ("to", "count", "state"):  # names in between and those of other tables
        renamed = acm.regime_statistics(FRAME.rename({"asset": name}), "label", over=name)
        assert_frame_equal(renamed, usual.rename({"asset": name}))


def test_statistics_of_nothing() -> None:
    empty = acm.regime_statistics(FRAME.clear(), "label", by="time", score="y", over="asset")
    assert empty.height == 0
    assert empty.schema == acm.regime_statistics(FRAME, "label", by="time", score="y", over="asset").schema
    one = acm.regime_statistics(FRAME.head(1), "label", by="time", score=pl.lit(None))
    assert one.select("dwell", "dwell_fraction", "state", "normal").rows() == [(timedelta(0), None, None, False)]
    none = acm.regime_statistics(pl.DataFrame({"label": [None, None]}), "label")
    assert none.height == 0


# --- align_labels ----------------------------------------------------------------------------------------------------

POINTS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def clouds(points: Any, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(np.repeat(points, 50, axis=0) + rng.normal(size=(50 * len(points), 2)), schema=["a", "b"])


def kmeans(points: Any, order: Any = None, columns: Any = ("a", "b"), seed: int = 0) -> pl.DataFrame:
    init = points if order is None else points[list(order)]
    at = [["a", "b"].index(column) for column in columns]
    return clouds(points, seed).select(acm.kmeans_fit(list(columns), len(points), init=init[:, at]))


def mixture(points: Any, order: Any = None, seed: int = 0) -> pl.DataFrame:
    means = points if order is None else points[list(order)]
    k = len(points)
    init = {"weights": np.full(k, 1 / k), "means": means, "covariances": np.ones((k, 2))}
    return clouds(points, seed).select(acm.gmm_fit(["a", "b"], k, scale="none", init=init))


LABEL = {"kmeans": acm.kmeans_label, "gmm": acm.gmm_label}
FITS: dict[str, Any] = {"kmeans": kmeans, "gmm": mixture}
every_kind = pytest.mark.parametrize("kind", FITS)


@every_kind
@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
def test_a_new_fit_has_the_labels_of_the_old_one(kind: str, order: Any) -> None:
    fit, label = FITS[kind], LABEL[kind]
    old, new = fit(POINTS), fit(POINTS + 0.3, order, seed=1)
    aligned = pl.select(acm.align_labels(new, old)).unnest("align_labels")
    rows = clouds(POINTS, 2)
    expected = rows.select(label(["a", "b"], old))
    assert_frame_equal(rows.select(label(["a", "b"], aligned.select("model"))), expected)
    before = rows.select(label(["a", "b"], new)).to_series()
    mapping = aligned["mapping"].explode(**AS_NULL).struct.unnest()
    assert mapping["label"].to_list() == [0, 1, 2, 3]
    assert mapping["aligned"].to_list() == list(order)
    renamed = before.replace_strict(dict(mapping.select("label", "aligned").rows()))
    assert_series_equal(renamed, expected.to_series())
    assert (mapping["distance"] < 1).all()
    assert (mapping["distance"] > 0).all()
    # applied once: nothing is left to do, and all parts have moved together
    model, twice = (
        frame["model"].item()
        for frame in (aligned, pl.select(acm.align_labels(aligned.select("model"), old)).unnest("align_labels"))
    )
    assert model == twice
    assert model["labels"] == [0, 1, 2, 3]
    before = new.item()
    inverse = np.argsort(order)
    parts = ("centers", "sizes") if kind == "kmeans" else ("weights", "means", "covariances")
    for part in parts:
        moved = np.reshape(before[part], (4, -1))[inverse].ravel()
        np.testing.assert_array_equal(model[part], moved)
    for part in set(before) - {*parts, "labels"}:
        assert model[part] == before[part]
    if kind == "gmm":
        density = acm.gmm_score(["a", "b"], aligned.select("model"))
        assert_frame_equal(rows.select(density), rows.select(acm.gmm_score(["a", "b"], new)))


@every_kind
def test_other_numbers_of_components(kind: str) -> None:
    fit, label = FITS[kind], LABEL[kind]
    old = fit(POINTS)
    fewer = fit(POINTS[[3, 1]], seed=1)
    aligned = pl.select(acm.align_labels(fewer, old)).unnest("align_labels")
    assert aligned["model"].item()["labels"] == [1, 3]
    assert aligned["mapping"].explode(**AS_NULL).struct.field("aligned").to_list() == [3, 1]
    rows = pl.DataFrame(POINTS[[1, 3]], schema=["a", "b"])
    assert rows.select(label(["a", "b"], aligned.select("model"))).to_series().to_list() == [1, 3]
    # and on from there: the numbers of the old model stay in use
    more = np.concatenate([[[30.0, 30.0]], POINTS, [[-30.0, 5.0]]])
    wide = pl.select(acm.align_labels(fit(more, seed=2), aligned.select("model"))).unnest("align_labels")
    mapping = wide["mapping"].explode(**AS_NULL).struct.unnest()
    assert mapping["aligned"].to_list() == [4, 5, 1, 6, 3, 7]
    assert mapping["distance"].is_null().to_list() == [True, True, False, True, False, True]
    assert wide["model"].item()["labels"] == [1, 3, 4, 5, 6, 7]


@both_backends
def test_both_backends_align_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)

    def fit(k: int) -> pl.DataFrame:
        frame = pl.DataFrame(random.normal(size=(200, 2)) * [1, 50], schema=["a", "b"])
        return frame.select(acm.kmeans_fit(["a", "b"], k, n_init=1), acm.gmm_fit(["a", "b"], k, n_init=1))

    pairs = [(fit(k), fit(m)) for k in (1, 3, 6) for m in (1, 4, 6)]

    def aligned() -> list[dict[str, Any]]:
        kinds = ("kmeans_fit", "gmm_fit")
        return [pl.select(acm.align_labels(new[[k]], old[[k]])).item() for new, old in pairs for k in kinds]

    ours = aligned()
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    for one, other in zip(ours, aligned(), strict=True):
        assert one["model"] == other["model"]
        assert_frame_equal(pl.DataFrame(one["mapping"]), pl.DataFrame(other["mapping"]), **within(rel=1e-12))


def test_columns_in_another_order_and_units() -> None:
    old, new = kmeans(POINTS), kmeans(POINTS, (2, 0, 3, 1), columns=("b", "a"), seed=3)
    aligned = pl.select(acm.align_labels(new, old)).unnest("align_labels")
    assert aligned["mapping"].explode(**AS_NULL).struct.field("aligned").to_list() == [2, 0, 3, 1]
    # a column counts in units of the old model's scale
    rows = pl.DataFrame({"a": [0.0, 1.0, 0.0, 1.0], "b": [0.0, 0.0, 1e6, 1e6]})
    old = rows.select(acm.kmeans_fit(["a", "b"], 4, init=rows))
    new = rows.select(acm.kmeans_fit(["a", "b"], 4, init=rows.reverse()))
    aligned = pl.select(acm.align_labels(new, old)).unnest("align_labels")
    assert aligned["mapping"].explode(**AS_NULL).struct.field("aligned").to_list() == [3, 2, 1, 0]


def test_columns_of_models_and_classes() -> None:
    frame = pl.concat([clouds(POINTS, seed).with_columns(asset=pl.lit(f"t{seed}")) for seed in range(3)])
    fit = acm.kmeans_fit(["a", "b"], 4, scale="none")
    old = frame.group_by("asset", maintain_order=True).agg(fit)
    new = frame.group_by("asset", maintain_order=True).agg(acm.kmeans_fit(["a", "b"], 4, seed=7, scale="none"))
    joined = new.rename({"kmeans_fit": "new"}).join(old.head(2), on="asset", how="left", maintain_order="left")
    aligned = joined.select("asset", acm.align_labels("new", "kmeans_fit"))
    assert (
        aligned.lazy().collect_schema()
        == joined.lazy().select("asset", acm.align_labels("new", "kmeans_fit")).collect_schema()
    )
    for asset in ("t0", "t1"):
        rows = frame.filter(asset=asset)
        ours = aligned.filter(asset=asset).select(pl.col("align_labels").struct.field("model"))
        theirs = old.filter(asset=asset).select("kmeans_fit")
        assert rows.select(acm.kmeans_label(["a", "b"], ours)).equals(rows.select(acm.kmeans_label(["a", "b"], theirs)))
    alone = aligned.filter(asset="t2")["align_labels"].item()
    assert alone["model"] == new.filter(asset="t2")["kmeans_fit"].item()
    assert [pair["distance"] for pair in alone["mapping"]] == [None] * 4
    fleet, mapping = acm.KMeansModel(new, by="asset").align_labels(acm.KMeansModel(old.head(2), by="asset"))
    assert fleet.data["kmeans"].to_list() == aligned["align_labels"].struct.field("model").to_list()
    assert mapping.columns == ["asset", "label", "aligned", "distance"]
    assert mapping.height == 12
    # fitted and aligned in one query
    one = frame.filter(asset="t0")
    query = one.lazy().select(acm.align_labels(fit, old.head(1).select("kmeans_fit")).struct.field("model"))
    assert query.collect().item()["labels"] == [0, 1, 2, 3]
    for kind, (new_one, old_one) in {
        acm.KMeansModel: (kmeans(POINTS, (1, 0, 3, 2)), kmeans(POINTS)),
        acm.GmmModel: (mixture(POINTS, (1, 0, 3, 2)), mixture(POINTS)),
    }.items():
        model, table = kind(new_one).align_labels(kind(old_one))  # type: ignore[arg-type, var-annotated]
        assert table["aligned"].to_list() == [1, 0, 3, 2]
        assert type(model) is kind
        missing = pl.select(acm.align_labels(pl.lit(None, dtype=new_one.dtypes[0]), model)).item()
        assert missing == {"model": None, "mapping": None}
        objects = pl.select(acm.align_labels(kind(new_one), kind(old_one))).item()
        assert objects["model"] == model.data.item()


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: acm.smooth_labels("label", 4),
            ValueError,
            "`window_size` must be odd, so that the row is in the middle",
        ),
        (lambda: acm.smooth_labels("label", 1), ValueError, "`window_size` must be >= 3, got 1"),
        (lambda: acm.smooth_labels("label", "1h"), ValueError, "`window_size` must be an int >= 3 (rows) unless `by`"),
        (lambda: acm.smooth_labels("label", 7, by="time"), ValueError, '`window_size` must be a duration such as "2h"'),
        (lambda: acm.smooth_labels("label", passes=0), ValueError, "`passes` must be >= 1, got 0"),
        (lambda: acm.smooth_labels("label", preserve_unknown=1), TypeError, "`preserve_unknown` must be True or False"),
        (lambda: acm.smooth_labels("label", health=[1]), TypeError, "`health` must be a mapping of labels to states"),
        (lambda: acm.smooth_labels("label", health={1: 2}), TypeError, "`health[1]` must be a state such as"),
        (
            lambda: acm.smooth_labels("label", health={1.5: "healthy"}),
            TypeError,
            "`health` must be a mapping of integers",
        ),
        (lambda: acm.smooth_labels("label", by=3), TypeError, "`by` must be a column name"),
        (lambda: acm.smooth_transitions("label", 0), ValueError, "`min_dwell` must be >= 1, got 0"),
        (lambda: acm.smooth_transitions("label", 2.5), TypeError, "`min_dwell` must be an int >= 1 (rows)"),
        (lambda: acm.smooth_transitions("label", "1mo", by="time"), ValueError, "`min_dwell` must be of fixed length"),
        (lambda: acm.transient_states("x", 3), TypeError, "`labels` must be a column name, an expression or None"),
        (lambda: acm.transient_states("x", window_size=0), ValueError, "`window_size` must be >= 1, got 0"),
        (lambda: acm.transient_states("x", high=0), ValueError, "`high` must be a finite number > 0, got 0"),
        (lambda: acm.transient_states("x", trip=2), ValueError, "`trip` must be at least `high` (3), got 2"),
        (lambda: acm.transient_states("x", lag=-1), ValueError, "`lag` must be >= 0, got -1"),
        (lambda: acm.transient_states("x", weights=[1]), TypeError, "`weights` must be a mapping of columns"),
        (lambda: acm.transient_states("x", weights={0: 1}), TypeError, "`weights` must be a mapping of columns"),
        (
            lambda: acm.transient_states("x", weights={"x": np.nan}),
            ValueError,
            "`weights['x']` must be a finite number",
        ),
        (lambda: acm.regime_statistics([1], "label"), TypeError, "`frame` must be a polars DataFrame or LazyFrame"),
        (lambda: acm.regime_statistics(FRAME, 1), TypeError, "`labels` must be a column name or an expression"),
        (lambda: acm.regime_statistics(FRAME, pl.col("x", "y")), ValueError, "`labels` must be one column, got"),
        (lambda: acm.regime_statistics(FRAME, "asset", over="asset"), ValueError, "`labels` must be another column"),
        (
            lambda: acm.regime_statistics(FRAME.rename({"label": "rows"}), "rows"),
            ValueError,
            "`labels` must be named otherwise than the columns of the table, rename it, got 'rows'",
        ),
        (
            lambda: acm.regime_statistics(FRAME.rename({"asset": "dwell"}), "label", over="dwell"),
            ValueError,
            "`over` must be named otherwise",
        ),
        (
            lambda: acm.regime_statistics(FRAME, "label", by=pl.col("time")),
            TypeError,
            "`by` must be the name of the time",
        ),
        (lambda: acm.regime_statistics(FRAME, "label", score=1), TypeError, "`score` must be a column name"),
        (lambda: acm.regime_statistics(FRAME, "label", warn=4), ValueError, "`alert` must be at least `warn` (4"),
        (lambda: acm.regime_statistics(FRAME, "label", over=3), TypeError, "`over` must be a column name or a list"),
        (
            lambda: acm.align_labels(FRAME, FRAME),
            TypeError,
            "`new` must be what `kmeans_fit`, `gmm_fit` or `regime_fit` gives",
        ),
        (
            lambda: acm.align_labels(kmeans(POINTS), 3),
            TypeError,
            "`old` must be what `kmeans_fit`, `gmm_fit` or `regime_fit` gives",
        ),
        (
            lambda: acm.align_labels(kmeans(POINTS), acm.KMeansModel.fit(FRAME, ["x", "y"], k=2, by="asset")),
            ValueError,
            "`old` must be one model; of a fleet",
        ),
        (
            lambda: acm.KMeansModel(kmeans(POINTS)).align_labels(acm.GmmModel(mixture(POINTS))),  # type: ignore[arg-type]
            TypeError,
            "`old` must be a KMeansModel",
        ),
        (
            lambda: acm.KMeansModel(kmeans(POINTS)).align_labels(
                acm.KMeansModel.fit(FRAME, ["x", "y"], k=2, by="asset")
            ),
            ValueError,
            "`old` must be one model for one model, and a fleet for a fleet",
        ),
    ],
)
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


BACK = FRAME.with_columns(time=pl.col("time").reverse())


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: FRAME.select(acm.smooth_labels(["label", "x"])), "acm.smooth_labels: column `x` has dtype f64"),
        (lambda: FRAME.select(acm.smooth_labels("y").over("asset")), "has dtype f64; labels are integers"),
        (
            lambda: FRAME.select(acm.smooth_labels("label", "1h", by="row")),
            "acm.smooth_labels: `by` must be a Datetime",
        ),
        (lambda: BACK.select(acm.smooth_labels("label", "1h", by="time")), "acm.smooth_labels: `by` must be ascending"),
        (
            lambda: BACK.select(acm.smooth_transitions("label", "1h", by="time")),
            "acm.smooth_transitions: `by` must be ascending",
        ),
        (
            lambda: FRAME.select(acm.transient_states("x", weights={"q": 1})),
            "acm.transient_states: `weights` must be of the columns given, got one of `q`, which is not among `x`",
        ),
        (
            lambda: FRAME.select(acm.transient_states("x", weights={"x": 0})),
            "acm.transient_states: `weights` must be finite numbers, one of them not 0",
        ),
        (
            lambda: FRAME.select(acm.transient_states("x", pl.col("label").head(3))),
            "acm.transient_states: `labels` must have a label for each of the 240 rows, got 3",
        ),
        (
            lambda: acm.regime_statistics(BACK, "label", by="time"),
            "acm.regime_statistics: `by` must be ascending",
        ),
        (
            lambda: pl.select(acm.align_labels(kmeans(POINTS), mixture(POINTS))),
            "acm.align_labels: `old` must be a model of the same kind as `new`",
        ),
        (
            lambda: FRAME.select(acm.align_labels("x", "y")),
            "acm.align_labels: `new` must be what this version's `kmeans_fit`, `gmm_fit` or",
        ),
        (
            lambda: pl.select(acm.align_labels(kmeans(POINTS), FRAME.select(acm.kmeans_fit(["x", "y"], 2)))),
            'acm.align_labels: `new` and `old` must be fitted on the same columns, got ["a", "b"] and ["x", "y"]',
        ),
        (
            lambda: pl.select(acm.align_labels(kmeans(POINTS), pl.lit(pl.concat([kmeans(POINTS)] * 2).to_series()))),
            "acm.align_labels: `old` must be one model, or one for each of the 1 of `new`, got 2",
        ),
    ],
)
def test_data_that_cannot_be_used(run: Callable[[], Any], text: str) -> None:
    with pytest.raises(ComputeError) as caught:
        run()
    assert text in str(caught.value)
