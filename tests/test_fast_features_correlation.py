"""ACM's correlations: its numbers, names and order, for every kind of frame."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from acm_rs import fast_features as ff
from backends import within
from polars.testing import assert_frame_equal

A = [1.0, 2.0, 4.0, 8.0, 16.0, 3.0, 5.0, 7.0, 2.0, 9.0, 6.0, 0.5]
Y = [0.5, *A[:-1]]
W = 5

# What ACM itself printed for A and Y (six significant digits; -: missing).
XCORR = "- 1 1 1 1 .0959039 -.0547403 -.217915 -.156447 -.649164 -.49918 -.493468"
LAG_1 = "- - 1 1 1 .0959039 -.274139 -.460242 -.327729 -.0843191 -.0932232 -.416484"

INDEX = pd.date_range("2024-01-01", periods=len(A), freq="10min")
KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": lambda columns: pd.DataFrame(columns, index=INDEX[: len(next(iter(columns.values())))]),
    "polars": lambda columns: pl.DataFrame(columns),
    "lazy": lambda columns: pl.LazyFrame(columns),
}
CLASSES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "lazy": pl.LazyFrame}
every_kind = pytest.mark.parametrize("kind", KINDS)


def table(text: str) -> list[float | None]:
    return [None if word == "-" else float(word) for word in text.split()]


def six_digits(values: Any) -> list[float | None]:
    return [None if value is None or math.isnan(value) else float(f"{value:.6g}") for value in values]


def collected(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pd.DataFrame):
        return pl.DataFrame({name: frame[name].to_numpy() for name in frame}).fill_nan(None)
    return frame.lazy().collect()


def walks(columns: int = 4, rows: int = 200, gaps: float = 0.1) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(rows, columns)).cumsum(axis=0)
    values[rng.random(values.shape) < gaps] = np.nan
    return pd.DataFrame(values, columns=["d", "b", "a", "c"][:columns])


def close(ours: pl.DataFrame, theirs: pd.DataFrame) -> None:
    assert ours.columns == list(theirs.columns)
    expected = pl.DataFrame(theirs.to_numpy(), schema=ours.columns).fill_nan(None)
    assert_frame_equal(ours, expected, **within(rel=0, abs=1e-9))


def lag_by_pandas(frame: pd.DataFrame, pairs: Any, max_lag: int, window: int, least: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            f"{a}__{b}_lag{lag}_corr": frame[a].rolling(window, min_periods=least).corr(frame[b].shift(lag))
            for a, b in pairs
            for lag in range(max_lag + 1)
        }
    )


# --- ACM's numbers ---------------------------------------------------------------------------------------------------


@every_kind
def test_acms_own_numbers(kind: str) -> None:
    frame = KINDS[kind]({"a": A, "y": Y})
    result = ff.rolling_xcorr(frame, W, "a")
    assert isinstance(result, CLASSES[kind])
    if kind == "pandas":
        assert result.index.equals(INDEX)
    result = collected(result)
    assert result.schema == {"y_xcorr": pl.Float64}
    assert six_digits(result["y_xcorr"]) == table(XCORR)
    for result in (ff.rolling_pairwise_lag(frame, 1, window=W), ff.batched_pairwise_lag(frame, 1, window=W)):
        assert isinstance(result, CLASSES[kind])
        result = collected(result)
        assert six_digits(result["a__y_lag0_corr"]) == table(XCORR)
        assert six_digits(result["a__y_lag1_corr"]) == table(LAG_1)


def test_signatures_are_acms() -> None:
    def defaults(function: Callable[..., Any]) -> dict[str, Any]:
        return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}

    empty = inspect.Parameter.empty
    assert defaults(ff.rolling_xcorr) == {
        "df": empty,
        "window": empty,
        "target_col": empty,
        "ref_cols": None,
        "min_periods": 1,
        "standardize": True,
        "return_type": None,
    }
    lags = {"df": empty, "max_lag": 3, "cols": None, "window": None, "min_periods": 1}
    assert defaults(ff.rolling_pairwise_lag) == lags | {"return_type": None}
    assert defaults(ff.batched_pairwise_lag) == lags | {
        "batch_size": 100,
        "min_corr": 0.0,
        "unique_pairs": True,
        "return_type": None,
    }
    assert list(defaults(ff.batched_pairwise_lag)) == [*lags, "batch_size", "min_corr", "unique_pairs", "return_type"]


# --- pandas as an oracle ---------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize(("window", "least"), [(16, 3), (30, 30)])
def test_cross_correlations_are_those_of_pandas(kind: str, window: int, least: int) -> None:
    data = walks(gaps=0.02)
    frame = {"pandas": data, "polars": pl.DataFrame(data.to_dict("list"))}
    frame["lazy"] = frame["polars"].lazy()
    rolling = data["b"].rolling(window, min_periods=least)
    for given, references in ((None, ["d", "a", "c"]), (["c", "d"], ["c", "d"]), ("a", ["a"])):
        ours = collected(ff.rolling_xcorr(frame[kind], window, "b", given, least))
        close(ours, pd.DataFrame({f"{name}_xcorr": rolling.corr(data[name]) for name in references}))


@every_kind
def test_lags_are_those_of_pandas(kind: str) -> None:
    data = walks()
    frame = {"pandas": data, "polars": pl.DataFrame(data.to_dict("list"))}
    frame["lazy"] = frame["polars"].lazy()
    ordered = collected(ff.rolling_pairwise_lag(frame[kind], 2, window=12, min_periods=4))
    close(ordered, lag_by_pandas(data, itertools.permutations(data.columns, 2), 2, 12, 4))
    some = collected(ff.rolling_pairwise_lag(frame[kind], 1, ["c", "a"], 12, 4))
    close(some, lag_by_pandas(data, [("c", "a"), ("a", "c")], 1, 12, 4))
    unique = collected(ff.batched_pairwise_lag(frame[kind], 2, window=12, min_periods=4, batch_size=1))
    close(unique, lag_by_pandas(data, itertools.combinations("abcd", 2), 2, 12, 4))
    every = collected(ff.batched_pairwise_lag(frame[kind], 2, window=12, min_periods=4, unique_pairs=False))
    close(every, lag_by_pandas(data, itertools.permutations("abcd", 2), 2, 12, 4))


@every_kind
@pytest.mark.parametrize("unique", [True, False])
def test_pairs_below_the_threshold_are_left_out_with_all_their_lags(kind: str, unique: bool) -> None:
    data = walks()
    frame = {"pandas": data, "polars": pl.DataFrame(data.to_dict("list"))}
    frame["lazy"] = frame["polars"].lazy()
    pairs = list((itertools.combinations if unique else itertools.permutations)("abcd", 2))
    everything = lag_by_pandas(data, pairs, 2, 60, 40)
    strength = {pair: everything.filter(like="__".join(pair)).abs().max().max() for pair in pairs}
    threshold = sorted(strength.values())[len(pairs) // 2] - 1e-6
    kept = [pair for pair in pairs if strength[pair] >= threshold]
    assert 0 < len(kept) < len(pairs)
    options: dict[str, Any] = {"window": 60, "min_periods": 40, "min_corr": threshold, "unique_pairs": unique}
    result = ff.batched_pairwise_lag(frame[kind], 2, **options)
    assert isinstance(result, CLASSES[kind])
    close(collected(result), lag_by_pandas(data, kept, 2, 60, 40))
    none = ff.batched_pairwise_lag(frame[kind], 2, **(options | {"min_corr": 1.0}))
    assert isinstance(none, CLASSES[kind])
    assert collected(none).columns == []
    if kind == "pandas":
        assert none.index.equals(data.index)


def test_a_pair_without_any_correlation_reaches_no_threshold() -> None:
    frame = pl.DataFrame({"a": A, "stuck": [3.0] * len(A), "y": Y})
    kept = ff.batched_pairwise_lag(frame, 0, window=4, min_corr=0.5)
    assert kept.columns == ["a__y_lag0_corr"]
    everything = ff.batched_pairwise_lag(frame, 0, window=4)
    assert everything["a__stuck_lag0_corr"].null_count() == len(A)


# --- forms -----------------------------------------------------------------------------------------------------------


def test_arrays_and_return_types() -> None:
    array = walks().to_numpy()
    named = pl.DataFrame(array, schema=["0", "1", "2", "3"])
    for call in (
        lambda df, **more: ff.rolling_xcorr(df, 8, "1", **more),
        lambda df, **more: ff.rolling_pairwise_lag(df, 1, window=8, **more),
        lambda df, **more: ff.batched_pairwise_lag(df, 1, window=8, min_corr=0.999, **more),
    ):
        expected = call(named)
        assert_frame_equal(call(array), expected, check_exact=True)
        assert_frame_equal(call(np.asfortranarray(array)), expected, check_exact=True)
        for df in (array, named, named.lazy(), named.to_pandas()):
            as_pandas = call(df, return_type="pandas")
            assert isinstance(as_pandas, pd.DataFrame)
            close(expected, as_pandas)
        assert isinstance(call(named.to_pandas(), return_type="polars"), pl.DataFrame)
        assert isinstance(call(named.lazy(), return_type="polars"), pl.LazyFrame)


def test_defaults() -> None:
    data = walks()
    lags = ff.rolling_pairwise_lag(data)
    assert lags.shape == (200, 4 * 3 * 4)
    given = ff.rolling_pairwise_lag(data, 3, window=4, min_periods=1)
    pd.testing.assert_frame_equal(lags, given)
    assert ff.batched_pairwise_lag(data).shape == (200, 6 * 4)
    plain = ff.rolling_xcorr(data, 8, "a")
    pd.testing.assert_frame_equal(plain, ff.rolling_xcorr(data, 8, "a", min_periods=2, standardize=False))


@every_kind
def test_a_single_sensor_has_no_pairs(kind: str) -> None:
    frame = KINDS[kind]({"a": A})
    for result in (
        ff.rolling_pairwise_lag(frame),
        ff.batched_pairwise_lag(frame),
        ff.batched_pairwise_lag(frame, min_corr=0.5),
        ff.rolling_xcorr(frame, 4, "a"),
    ):
        assert isinstance(result, CLASSES[kind])
        assert collected(result).columns == []


def test_other_columns_are_left_out_and_integers_are_numbers() -> None:
    frame = pl.DataFrame({"time": INDEX, "a": A, "n": range(len(A)), "name": ["x"] * len(A)})
    result = ff.rolling_pairwise_lag(frame, 0, window=4)
    assert result.schema == {"a__n_lag0_corr": pl.Float64, "n__a_lag0_corr": pl.Float64}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda df: ff.rolling_xcorr(df, 4, "nowhere"), ValueError, "`target_col` must be one of the numeric columns"),
        (lambda df: ff.rolling_xcorr(df, 4, 3), TypeError, "`target_col` must be a column name, got 3"),
        (lambda df: ff.rolling_xcorr(df, 4, "a", []), ValueError, "`ref_cols` must be at least one column name"),
        (lambda df: ff.rolling_xcorr(df, 4, "a", standardize=1), TypeError, "`standardize` must be True or False"),
        (lambda df: ff.rolling_xcorr(df, 1, "a"), ValueError, "`window_size` must be >= 2, got 1"),
        (lambda df: ff.rolling_xcorr(df, 4, "a", min_periods=5), ValueError, "`min_samples` must be <= "),
        (lambda df: ff.rolling_pairwise_lag(df, -1), ValueError, "rolling_pairwise_lag: `max_lag` must be >= 0"),
        (lambda df: ff.rolling_pairwise_lag(df, 0), ValueError, "`window` must be >= 2; its default max_lag"),
        (lambda df: ff.rolling_pairwise_lag(df, window=1), ValueError, "`window` must be >= 2, got 1"),
        (lambda df: ff.batched_pairwise_lag(df, batch_size=0), ValueError, "`batch_size` must be >= 1, got 0"),
        (lambda df: ff.batched_pairwise_lag(df, min_corr=2), ValueError, "`min_corr` must be <= 1, got 2"),
        (lambda df: ff.batched_pairwise_lag(df, min_corr="a"), TypeError, "`min_corr` must be a finite number"),
        (lambda df: ff.batched_pairwise_lag(df, unique_pairs=None), TypeError, "`unique_pairs` must be True or False"),
        (lambda df: ff.batched_pairwise_lag(df, return_type="numpy"), ValueError, "`return_type` must be"),
        (lambda df: ff.rolling_pairwise_lag([1]), TypeError, "`df` must be a pandas, Polars or lazy frame"),
        (lambda df: ff.rolling_pairwise_lag(df.select(pl.lit("x"))), ValueError, "at least one numeric column"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[Any], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(pl.DataFrame({"a": A, "y": Y}))
