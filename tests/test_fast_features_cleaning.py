"""ACM's cleaning functions, array functions and confidence-gated normaliser, for every kind of frame."""

from __future__ import annotations

import logging
import math
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import acm_rs as acm
import numpy as np
import pandas as pd
import polars as pl
import pytest
from acm_rs import fast_features as ff
from acm_rs.fast_features import arrays
from backends import rust_only
from polars.testing import assert_frame_equal

INDEX = pd.date_range("2024-01-01", periods=6, freq="10min")
KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": lambda columns: pd.DataFrame(columns, index=INDEX[: len(next(iter(columns.values())))]),
    "polars": lambda columns: pl.DataFrame(columns, strict=False),
    "lazy": lambda columns: pl.LazyFrame(columns, strict=False),
}
CLASSES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "lazy": pl.LazyFrame}
every_kind = pytest.mark.parametrize("kind", KINDS)
NAN, INF = math.nan, math.inf


def collected(frame: Any, kind: str) -> pl.DataFrame:
    assert isinstance(frame, CLASSES[kind])
    if kind == "pandas":
        return pl.DataFrame({name: frame[name].to_numpy() for name in frame})
    return frame.lazy().collect()


# --- impute_features -------------------------------------------------------------------------------------------------

TRAIN = {
    "good": [1.0, NAN, 3.0, INF, 2.0, 8.0],
    "empty": [NAN, INF, NAN, NAN, -INF, NAN],
    "flat": [5.0, 5.0, NAN, 5.0, 5.0, 5.00001],
    "more": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
}
SCORE = {"more": [NAN, 7.0, INF], "good": [NAN, 1.0, -INF], "other": [1.0, 2.0, 3.0], "flat": [1.0, 2.0, 3.0]}


@every_kind
def test_impute_features(kind: str) -> None:
    train, score, dropped = ff.impute_features(KINDS[kind](TRAIN), KINDS[kind](SCORE), 1e-4)
    assert dropped == {"empty": "all_NaN", "flat": "low_variance"}
    expected = {"good": [1.0, 2.5, 3.0, 2.5, 2.0, 8.0], "more": TRAIN["more"]}
    assert_frame_equal(collected(train, kind), pl.DataFrame(expected))
    assert_frame_equal(collected(score, kind), pl.DataFrame({"good": [2.5, 1.0, 2.5], "more": [2.5, 7.0, 2.5]}))
    if kind == "pandas":
        assert train.index.equals(INDEX)
        assert score.index.equals(INDEX[:3])


def test_impute_features_of_arrays_and_of_mixed_kinds() -> None:
    train, score = (np.array(list(columns.values())).T for columns in (TRAIN, SCORE))
    ours, scored, dropped = ff.impute_features(train, score)
    assert dropped == {"1": "all_NaN", "2": "low_variance"}
    assert ours.columns == scored.columns == ["0", "3"]
    mixed, scored, _ = ff.impute_features(pd.DataFrame(TRAIN), pl.DataFrame(SCORE))
    assert isinstance(mixed, pd.DataFrame)
    assert isinstance(scored, pl.DataFrame)


@every_kind
def test_a_feature_that_score_lacks_is_created(kind: str) -> None:
    _, score, _ = ff.impute_features(KINDS[kind](TRAIN), KINDS[kind]({"more": [1.0, 2.0]}))
    assert collected(score, kind).to_dict(as_series=False) == {"good": [2.5, 2.5], "more": [1.0, 2.0]}


def test_the_threshold_of_variance() -> None:
    frame = pl.DataFrame(TRAIN)
    deviation = pl.Series([5.0, 5.0, 5.0, 5.0, 5.0, 5.00001]).std()
    for threshold, kept in ((deviation * 1.01, False), (deviation * 0.99, True), (0.0, True)):
        train, _, dropped = ff.impute_features(frame, frame, threshold)
        assert ("flat" in train.columns) == kept == ("flat" not in dropped)


def test_dropped_features_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "acm_rs"):
        train, _, _ = ff.impute_features(pl.DataFrame(TRAIN), pl.DataFrame(SCORE))
    assert train.columns == ["good", "more"]
    assert "impute_features: dropped 2 of 4 features" in caplog.text
    assert "'empty': 'all_NaN'" in caplog.text


def test_impute_features_refuses() -> None:
    empty = pl.DataFrame({"x": [NAN, NAN], "y": [1.0, 1.0]})
    with pytest.raises(ValueError, match=r"acm\.impute_features: `train` must be a frame with a feature that varies"):
        ff.impute_features(empty, empty)
    with pytest.raises(ValueError, match="`low_var_threshold` must be a finite number >= 0, got -1"):
        ff.impute_features(empty, empty, -1)
    with pytest.raises(TypeError, match="`df` must be a pandas, Polars or lazy frame"):
        ff.impute_features([1.0], empty)


def test_a_lazy_score_is_not_collected() -> None:
    runs: list[int] = []

    def spy(frame: pl.DataFrame) -> pl.DataFrame:
        runs.append(frame.height)
        return frame

    score = pl.LazyFrame(SCORE).map_batches(
        spy,
        schema=pl.LazyFrame(SCORE).collect_schema(),
        projection_pushdown=False,  # old Polars expects all columns of this schema even where it drops some before
    )
    _, scored, _ = ff.impute_features(pl.LazyFrame(TRAIN), score)
    assert runs == []
    assert scored.collect().height == 3


# --- index -----------------------------------------------------------------------------------------------------------


def test_ensure_local_index_of_pandas() -> None:
    wall = pd.DatetimeIndex(["2024-07-01 12:00", "2024-07-01 13:00"], name="t")
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=wall.tz_localize("Europe/Paris"))
    ours = ff.ensure_local_index(frame)
    assert ours.index.equals(wall)
    assert ours.index.name == "t"
    assert frame.index.tz is not None  # the frame that was given is as it was
    assert ff.ensure_local_index(ours).index.equals(wall)
    texts = pd.DataFrame({"x": [1.0, 2.0]}, index=["2024-07-01 12:00", "noon"])
    assert ff.ensure_local_index(texts).index.isna().tolist() == [False, True]
    with pytest.raises(TypeError, match=r"acm\.ensure_local_index: `df` must be a frame with times as its index"):
        ff.ensure_local_index(pd.DataFrame({"x": [1.0]}))
    with pytest.raises(ValueError, match="`time` must be None for a pandas frame"):
        ff.ensure_local_index(frame, time="x")


@pytest.mark.parametrize("lazy", [False, True])
def test_ensure_local_index_of_polars(lazy: bool) -> None:
    wall = [datetime(2024, 7, 1, 12), datetime(2024, 7, 1, 13)]
    frame = pl.DataFrame({"s": ["2024-07-01 12:00", "noon"], "t": wall, "u": wall}).with_columns(
        pl.col("t").dt.replace_time_zone("Europe/Paris"), d=pl.col("t").dt.date()
    )
    given = frame.lazy() if lazy else frame
    ours = ff.ensure_local_index(given)
    assert isinstance(ours, type(given))
    ours = ours.lazy().collect()
    assert ours["t"].to_list() == wall
    assert ours.schema == frame.schema | {"t": pl.Datetime("us")}
    texts = ff.ensure_local_index(given, time="s").lazy().collect()["s"]
    assert texts.to_list() == [wall[0], None]
    assert ff.ensure_local_index(given, time="d").lazy().collect().schema["d"] == pl.Datetime("us")


def test_refused_time_columns() -> None:
    frame = pl.DataFrame({"x": [1.0]})
    for call in (ff.ensure_local_index, ff.deduplicate_index):
        with pytest.raises(ValueError, match="`time` must be given, because no column is a Datetime, got"):
            call(frame)
        with pytest.raises(ValueError, match=r"`time` must be one of the columns \['x'\], got 'y'"):
            call(frame, time="y")
        with pytest.raises(ValueError, match="`time` must be a Datetime, Date or String column, not Float64, got 'x'"):
            call(frame, time="x")
        with pytest.raises(TypeError, match="`time` must be a column name or None, got 3"):
            call(frame, time=3)
        with pytest.raises(TypeError, match="`df` must be a pandas, Polars or lazy frame"):
            call(np.zeros((2, 2)))


TIMES = [datetime(2024, 1, 1) + timedelta(minutes=minute) for minute in (5, 0, 5, 3, 0)]


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy"])
def test_deduplicate_index(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"x": [1.0, 2.0, 3.0, 4.0, 5.0]}
    make: dict[str, Callable[[list[datetime], Any], Any]] = {
        "pandas": lambda times, x: pd.DataFrame(x, index=pd.DatetimeIndex(times)),
        "polars": lambda times, x: pl.DataFrame({"t": times} | x),
        "lazy": lambda times, x: pl.LazyFrame({"t": times} | x),
    }
    frame = make[kind](TIMES, columns)
    ours, removed = ff.deduplicate_index(frame)
    assert isinstance(ours, type(frame))
    assert removed == 2
    assert "deduplicate_index: removed 2 rows" in caplog.text
    x = ours["x"].tolist() if kind == "pandas" else ours.lazy().collect()["x"].to_list()
    assert x == [5.0, 4.0, 3.0]
    # without duplicates nothing moves
    single = make[kind](TIMES[:2], {"x": [1.0, 2.0]})
    ours, removed = ff.deduplicate_index(single)
    assert (removed, ours is single) == (0, True)


# --- arrays ----------------------------------------------------------------------------------------------------------

ARRAYS = {
    ff.rolling_median_f64: [acm.rolling_median],
    ff.rolling_mad_f64: [acm.rolling_mad],
    ff.rolling_mean_std_f64: [acm.rolling_mean, acm.rolling_std],
    ff.rolling_skew_kurt_f64: [acm.rolling_skew, acm.rolling_kurtosis],
}
every_array = pytest.mark.parametrize("call", ARRAYS, ids=lambda call: call.__name__)


def noise(rows: int, sensors: int) -> Any:
    rng = np.random.default_rng(8)
    data = rng.normal(size=(rows, sensors))
    data[rng.random(data.shape) < 0.1] = np.nan
    return data


def results(call: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
    found = call(*args, **kwargs)
    return list(found) if isinstance(found, tuple) else [found]


@every_array
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sensors", [1, 3, arrays.SENSORS + 1])
@pytest.mark.parametrize("min_periods", [1, 5])
def test_arrays_are_the_expressions(call: Any, order: Any, sensors: int, min_periods: int) -> None:
    data = np.array(noise(200, sensors), order=order)
    before = data.copy()
    ours = results(call, data, 8, min_periods)
    for array, operation in zip(ours, ARRAYS[call], strict=True):
        frame = pl.DataFrame({str(i): data[:, i] for i in range(sensors)})
        expected = frame.select(operation(pl.all(), 8, min_samples=min_periods)).fill_null(np.nan).to_numpy()
        np.testing.assert_array_equal(array, expected)
        assert array.flags.f_contiguous
        assert array.dtype == np.float64
        array[0, 0] = 1.0  # ours alone
    np.testing.assert_array_equal(data, before)
    for array, whole in zip(
        results(call, data[:, 0], 8, min_periods), results(call, data, 8, min_periods), strict=True
    ):
        np.testing.assert_array_equal(array, whole[:, 0])
    default = results(call, data, 8)
    if min_periods == 1:
        np.testing.assert_array_equal(default[0], results(call, data, 8, 1)[0])


@every_array
def test_strides_and_empty_arrays(call: Any) -> None:
    data = noise(60, 6)
    for view in (data[::2, ::-2], data.T, data[10:50, 1:3], np.asfortranarray(data)[5:, :]):
        for ours, expected in zip(results(call, view, 4), results(call, view.copy(), 4), strict=True):
            np.testing.assert_array_equal(ours, expected)
    for shape in ((0, 3), (5, 0), (0,), (1,)):
        assert [array.shape for array in results(call, np.zeros(shape), 3)] == [shape] * len(ARRAYS[call])


def test_columns_in_fortran_order_are_not_copied() -> None:
    data = np.asfortranarray(noise(1000, 3))
    for column, place in zip(arrays._columns(data), data.T, strict=True):
        assert np.shares_memory(column.to_numpy(allow_copy=False), place)
    data.flags.writeable = False
    assert np.shares_memory(arrays._columns(data)[:, 1].to_numpy(allow_copy=False), data)
    copied = arrays._columns(np.ascontiguousarray(data))
    assert not np.shares_memory(copied[:, 0].to_numpy(), data)


@rust_only  # the windows of the Python code are NumPy's memory too
def test_the_result_is_one_allocation() -> None:
    data = np.asfortranarray(noise(20_000, 40))
    mean, std = ff.rolling_mean_std_f64(data, 8)
    assert mean.base is not None
    assert std.base is not None
    tracemalloc.start()
    mean, std = ff.rolling_mean_std_f64(data, 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # NumPy's memory is traced: both results, and no copy of the input or of a result beside them
    assert peak < 1.1 * (mean.nbytes + std.nbytes) + 20_000 * 8 * 2


@every_array
def test_arrays_refuse(call: Any) -> None:
    name, data = call.__name__, np.zeros((5, 2))
    for wrong in ([1.0], data.astype(np.float32), data.astype(int), pd.DataFrame(data)):
        with pytest.raises(TypeError, match=rf"acm\.{name}: `data` must be a NumPy array of float64"):
            call(wrong, 3)
    with pytest.raises(
        ValueError, match=rf"acm\.{name}: `data` must be 1-D or 2-D \(rows x sensors\), got \(1, 1, 1\)"
    ):
        call(np.zeros((1, 1, 1)), 3)
    with pytest.raises(ValueError, match=rf"acm\.{name}: `window` must be >= 1, got 0"):
        call(data, 0)
    with pytest.raises(ValueError, match=rf"acm\.{name}: `min_periods` must be <= `window` \(3\), got 4"):
        call(data, 3, 4)
