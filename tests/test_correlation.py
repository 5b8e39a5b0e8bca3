"""Correlations: the contract of every operation, pandas as a second opinion, and exact arithmetic as the judge."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import acm_rs as acm
import numpy as np
import pandas as pd
import polars as pl
import polars.selectors as cs
import pytest
from backends import assert_same
from polars.exceptions import ColumnNotFoundError, ComputeError
from polars.testing import assert_frame_equal
from test_contract import FRAME, LAYOUTS, NOT_NUMBERS, SENSORS, WIDE, chunked, numeric_dtypes, refusal

PAIRS = list(itertools.combinations(SENSORS, 2))


def rowwise(columns: list[str]) -> dict[str, pl.Expr]:
    """A row for each row of the frame."""
    a, b, f, *_ = columns
    return {
        "rolling_corr(f, b)": acm.rolling_corr(f, b, 5),
        "rolling_corr(all, a, lag=3)": acm.rolling_corr(columns, a, 16, lag=3),
        "rolling_corr(expanded, min_samples)": acm.rolling_corr(pl.col(columns), pl.col(a) + 1, 100, min_samples=40),
        "pairwise_lag_corr": acm.pairwise_lag_corr(columns, 2, 7, min_samples=4),
        "pairwise_lag_corr(ordered)": acm.pairwise_lag_corr(columns, 1, 90, unique=False, min_corr=0.5),
    }


def tables(columns: list[str]) -> dict[str, pl.Expr]:
    """Rows of its own."""
    return {
        "max_abs": acm.pairwise_lag_corr(columns, 2, 7, reduce="max_abs"),
        "last": acm.pairwise_lag_corr(columns, 2, 7, reduce="last", unique=False),
        "argmax_lag": acm.pairwise_lag_corr(columns, 3, 30, min_samples=9, min_corr=0.7, reduce="argmax_lag"),
        "pearson": acm.correlation(columns),
        "spearman": acm.correlation(columns, "spearman"),
    }


ROWWISE, TABLES = rowwise(SENSORS), tables(SENSORS)
every_rowwise = pytest.mark.parametrize("name", ROWWISE)
every_expression = pytest.mark.parametrize("name", [*ROWWISE, *TABLES])
BOTH = ROWWISE | TABLES


def same(left: pl.DataFrame, right: pl.DataFrame) -> None:
    assert_frame_equal(left, right, check_exact=True)


# --- the contract ----------------------------------------------------------------------------------------------------


@every_expression
def test_the_schema_is_known_before_anything_is_computed(name: str) -> None:
    result = FRAME.select(BOTH[name])
    for frame in (FRAME, FRAME.clear()):
        lazy = frame.lazy().select(BOTH[name])
        assert lazy.collect_schema() == result.schema
        assert lazy.collect().schema == result.schema
        assert frame.select(BOTH[name]).schema == result.schema


def test_names_and_dtypes() -> None:
    frame = FRAME.with_columns(pl.col("b").cast(pl.Float32))
    assert frame.select(acm.rolling_corr("f", "b", 4)).schema == {"f": pl.Float32}
    assert frame.select(acm.rolling_corr("f", "a", 4)).schema == {"f": pl.Float64}
    assert frame.select(acm.rolling_corr("a", "f", 4)).schema == {"a": pl.Float64}
    fields = {"f": pl.Float32, "i": pl.Float64}
    assert frame.select(acm.rolling_corr(["f", "i"], "b", 4)).schema == {"rolling_corr": pl.Struct(fields)}
    fields = {
        "f__b_lag0_corr": pl.Float32,
        "f__b_lag1_corr": pl.Float32,
        "f__i_lag0_corr": pl.Float64,
        "f__i_lag1_corr": pl.Float64,
        "b__i_lag0_corr": pl.Float64,
        "b__i_lag1_corr": pl.Float64,
    }
    expr = acm.pairwise_lag_corr(["f", "b", "i"], 1, 4)
    assert frame.select(expr).schema == {"pairwise_lag_corr": pl.Struct(fields)}
    ordered = frame.select(acm.pairwise_lag_corr(["f", "b", "i"], 0, 4, unique=False)).unnest("pairwise_lag_corr")
    pairs = ["f__b", "f__i", "b__f", "b__i", "i__f", "i__b"]
    assert ordered.columns == [f"{pair}_lag0_corr" for pair in pairs]
    table = {"a": pl.String, "b": pl.String, "lag": pl.Int64, "corr": pl.Float64}
    for reduce in ("max_abs", "last", "argmax_lag"):
        expr = acm.pairwise_lag_corr(["f", "b"], 1, 4, reduce=reduce)
        assert frame.select(expr).schema == {"pairwise_lag_corr": pl.Struct(table)}
    for columns in (["f", "b"], ("f", pl.col("b")), pl.struct("f", "b"), cs.float() - cs.by_name("a")):
        matrix = frame.select(acm.correlation(columns))
        # a selector takes the columns in the order of the frame
        order = ["b", "f"] if cs.is_selector(columns) else ["f", "b"]
        assert matrix.schema == {"correlation": pl.Struct(dict.fromkeys(order, pl.Float64))}


@every_expression
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_in_memory_does_not_matter(name: str, layout: str) -> None:
    same(LAYOUTS[layout](FRAME).select(BOTH[name]), FRAME.select(BOTH[name]))


@every_expression
def test_engines_agree(name: str) -> None:
    eager = FRAME.select(BOTH[name])
    lazy = chunked(FRAME, 40).lazy().select(BOTH[name])
    for engine in ("in-memory", "streaming"):
        same(lazy.collect(engine=engine), eager)
        if name in ROWWISE:
            same(lazy.tail(3).collect(engine=engine), eager.tail(3))


@every_rowwise
def test_over_is_a_loop_over_groups(name: str) -> None:
    groups = FRAME.partition_by("asset", maintain_order=True)
    expected = pl.concat([group.select("row", ROWWISE[name]) for group in groups]).sort("row")
    if "min_corr" not in name:
        query = FRAME.lazy().select("row", ROWWISE[name].over("asset"))
        for engine in ("in-memory", "streaming"):
            same(query.collect(engine=engine), expected)
        shuffled = FRAME.sample(fraction=1.0, shuffle=True, seed=3)
        same(shuffled.select("row", ROWWISE[name].over("asset", order_by="time")).sort("row"), expected)


@every_expression
def test_group_by_is_a_loop_over_groups(name: str) -> None:
    groups = FRAME.partition_by("asset", maintain_order=True)
    lists = FRAME.lazy().group_by("asset", maintain_order=True).agg(BOTH[name])
    for engine in ("in-memory", "streaming"):
        result = lists.collect(engine=engine)
        for group, row in zip(groups, range(result.height), strict=True):
            expected = group.select(BOTH[name])
            same(pl.DataFrame([result[column][row].alias(column) for column in expected.columns]), expected)


@every_expression
def test_an_expression_can_be_pickled(name: str) -> None:
    expr = pickle.loads(pickle.dumps(BOTH[name]))
    same(FRAME.select(expr), FRAME.select(BOTH[name]))


@every_expression
def test_input_is_not_modified(name: str) -> None:
    before = pl.DataFrame(FRAME.to_dict(as_series=False), schema=FRAME.schema)
    FRAME.select(BOTH[name])
    same(FRAME, before)


CHILD = """
import hashlib, sys
import polars as pl, acm_rs as acm
wide = pl.read_ipc(sys.stdin.buffer)
for expr in (
    acm.rolling_corr(pl.all().exclude("time"), "s0", 20),
    acm.rolling_corr([f"s{k}" for k in range(40)], "s0", 20),
    acm.pairwise_lag_corr([f"s{k}" for k in range(40)], 1, 20, reduce="max_abs"),
    acm.correlation([f"s{k}" for k in range(40)]),
    acm.correlation([f"s{k}" for k in range(40)], "spearman"),
):
    print(hashlib.sha256(repr(wide.select(expr).to_dict(as_series=False)).encode()).hexdigest())
"""


def test_the_number_of_threads_does_not_matter() -> None:
    wide = pl.concat([WIDE.with_columns(cs.float() * k) for k in (1.0, 1.5, 0.3, -2.0, 7.0, 1.1)]).write_ipc(None)
    outputs = {
        subprocess.run(
            [sys.executable, "-c", CHILD],
            input=wide.getvalue(),
            env=os.environ | {"POLARS_MAX_THREADS": threads},
            stdout=subprocess.PIPE,
            check=True,
            timeout=300,
        ).stdout
        for threads in ("1", "2", "5")
    }
    assert len(outputs) == 1


def test_one_call_is_column_by_column() -> None:
    packed = FRAME.select(acm.rolling_corr(SENSORS, "b", 9, lag=1)).unnest("rolling_corr")
    same(packed, FRAME.select(acm.rolling_corr(pl.col(SENSORS), "b", 9, lag=1)))
    same(packed, pl.DataFrame([FRAME.select(acm.rolling_corr(name, "b", 9, lag=1)).to_series() for name in SENSORS]))


def test_pairs_are_rolling_correlations_to_the_bit() -> None:
    pairs = FRAME.select(acm.pairwise_lag_corr(SENSORS, 2, 8, min_samples=2, unique=False)).unnest("pairwise_lag_corr")
    alone = [
        acm.rolling_corr(a, b, 8, lag=lag).alias(f"{a}__{b}_lag{lag}_corr")
        for a, b in itertools.permutations(SENSORS, 2)
        for lag in range(3)
    ]
    same(pairs, FRAME.select(alone))


def test_the_strongest_of_a_pair_is_not_that_of_its_first_rows() -> None:
    noise = pl.DataFrame(np.random.default_rng(0).normal(size=(2000, 3)), schema=["a", "b", "c"])
    table = noise.select(acm.pairwise_lag_corr(pl.all(), 1, 48, reduce="max_abs")).unnest("pairwise_lag_corr")
    half = noise.select(acm.pairwise_lag_corr(pl.all(), 1, 48, min_samples=24, reduce="max_abs"))
    assert_frame_equal(table, half.unnest("pairwise_lag_corr"))
    assert table["corr"].abs().max() < 0.9
    two = noise.select(acm.pairwise_lag_corr(pl.all(), 1, 48, min_samples=2, reduce="max_abs"))
    assert two.unnest("pairwise_lag_corr")["corr"].abs().round(9).to_list() == [1.0] * 6


def test_lags_beyond_the_rows_are_null() -> None:
    frame = FRAME.head(5).select(SENSORS[:2])
    for size in (0, 1, 5):
        few = frame.head(size)
        pairs = few.select(acm.pairwise_lag_corr(few.columns, 9, 4, min_samples=2)).unnest("pairwise_lag_corr")
        assert pairs.shape == (size, 10)
        assert all(pairs[:, lag].null_count() == size for lag in range(max(size, 1), 10))
        table = few.select(acm.pairwise_lag_corr(few.columns, 9, 4, min_samples=2, reduce="max_abs"))
        table = table.unnest("pairwise_lag_corr")
        assert table["lag"].to_list() == list(range(10))
        assert table["corr"][max(size, 1) :].null_count() == 10 - max(size, 1)
        if size == 5:
            assert table["corr"][:3].null_count() == 0


def test_methods_are_the_functions() -> None:
    column, columns = acm.col("a"), pl.col("a", "b")
    assert_same(column.acm.rolling_corr("b", 5, lag=2), acm.rolling_corr(column, "b", 5, lag=2), FRAME)
    same(FRAME.select(columns.acm.correlation("spearman")), FRAME.select(acm.correlation(columns, "spearman")))
    kwargs: dict[str, Any] = {"min_samples": 3, "min_corr": 0.1, "unique": False, "reduce": "last"}
    same(
        FRAME.select(columns.acm.pairwise_lag_corr(2, 5, **kwargs)),
        FRAME.select(acm.pairwise_lag_corr(columns, 2, 5, **kwargs)),
    )


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: acm.rolling_corr("a", "b", 1), ValueError, "rolling_corr: `window_size` must be >= 2, got 1"),
    (lambda: acm.rolling_corr("a", "b", 2.0), TypeError, "`window_size` must be an int >= 2, got 2.0"),
    (lambda: acm.rolling_corr("a", "b", "2h"), TypeError, "`window_size` must be an int >= 2, got '2h'"),
    (lambda: acm.rolling_corr("a", "b", 4, lag=-1), ValueError, "rolling_corr: `lag` must be >= 0, got -1"),
    (lambda: acm.rolling_corr("a", "b", 4, lag=1.5), TypeError, "`lag` must be an int >= 0, got 1.5"),
    (lambda: acm.rolling_corr("a", "b", 4, lag=True), TypeError, "`lag` must be an int >= 0, got True"),
    (lambda: acm.rolling_corr("a", "b", 4, min_samples=0), ValueError, "`min_samples` must be >= 1, got 0"),
    (lambda: acm.rolling_corr("a", "b", 4, min_samples=5), ValueError, r"`min_samples` must be <= `window_size` \(4\)"),
    (lambda: acm.rolling_corr("a", 3, 4), TypeError, "`other` must be a column name or an expression, got 3"),  # type: ignore[arg-type]
    (lambda: acm.rolling_corr("a", ["b"], 4), TypeError, "`other` must be a column name or an expression"),  # type: ignore[arg-type]
    (lambda: acm.rolling_corr([], "b", 4), ValueError, "`expr` must be at least one column"),
    (lambda: acm.rolling_corr(1, "b", 4), TypeError, "`expr` must be a column name"),  # type: ignore[arg-type]
    (lambda: acm.pairwise_lag_corr("a", -1, 4), ValueError, "pairwise_lag_corr: `max_lag` must be >= 0, got -1"),
    (
        lambda: acm.pairwise_lag_corr("a", 2**62, 4),
        ValueError,
        "pairwise_lag_corr: `max_lag` must be <= 1000000, got 461",
    ),
    (lambda: acm.pairwise_lag_corr("a", 1.0, 4), TypeError, "`max_lag` must be an int >= 0, got 1.0"),  # type: ignore[arg-type]
    (lambda: acm.pairwise_lag_corr("a", 1, 1), ValueError, "pairwise_lag_corr: `window_size` must be >= 2"),
    (lambda: acm.pairwise_lag_corr("a", 1, 4, min_samples=5), ValueError, "pairwise_lag_corr: `min_samples`"),
    (lambda: acm.pairwise_lag_corr("a", 1, 4, min_corr=1.1), ValueError, "`min_corr` must be <= 1, got 1.1"),
    (lambda: acm.pairwise_lag_corr("a", 1, 4, min_corr=-0.1), ValueError, "`min_corr` must be a finite number >= 0"),
    (lambda: acm.pairwise_lag_corr("a", 1, 4, min_corr=math.nan), ValueError, "`min_corr` must be a finite number"),
    (lambda: acm.pairwise_lag_corr("a", 1, 4, unique=1), TypeError, "`unique` must be True or False, got 1"),  # type: ignore[arg-type]
    (
        lambda: acm.pairwise_lag_corr("a", 1, 4, reduce="max"),  # type: ignore[arg-type]
        ValueError,
        "`reduce` must be None or one of 'max_abs', 'last', 'argmax_lag', got 'max'",
    ),
    (
        lambda: acm.correlation("a", "kendall"),  # type: ignore[arg-type]
        ValueError,
        "correlation: `method` must be one of 'pearson', 'spearman', got 'kendall'",
    ),
    (lambda: acm.correlation("a", None), ValueError, "correlation: `method` must be one of"),  # type: ignore[arg-type]
    (lambda: acm.correlation([]), ValueError, "correlation: `expr` must be at least one column"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_parameters_are_named(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("dtype", NOT_NUMBERS)
def test_a_column_that_is_not_numeric_is_named(dtype: str) -> None:
    if dtype == "Object":  # Polars itself cannot put one into a struct
        pytest.skip("no struct of objects")
    series, text = NOT_NUMBERS[dtype]
    frame = pl.DataFrame({"x": series, "a": [1.0, 2.0]})
    calls = {
        "rolling_corr": [acm.rolling_corr("x", "a", 2), acm.rolling_corr("a", "x", 2), acm.rolling_corr(["x"], "a", 2)],
        "pairwise_lag_corr": [acm.pairwise_lag_corr(["a", "x"], 1, 2)],
        "correlation": [acm.correlation(["a", "x"])],
    }
    for operation, exprs in calls.items():
        for expr in exprs:
            lazy = frame.lazy().select(expr)
            for run in (lazy.collect, lazy.collect_schema, lambda expr=expr: frame.select(expr)):
                message = refusal(run)
                expected = rf"acm\.{operation}: column `x` has dtype ({text}), which is not numeric; "
                assert re.search(expected, message), message


def test_pairs_need_two_columns() -> None:
    for columns in ("a", ["a"]):
        lazy = FRAME.lazy().select(acm.pairwise_lag_corr(columns, 1, 4))
        for run in (lazy.collect, lazy.collect_schema):
            assert "acm.pairwise_lag_corr: pairs need at least two columns, got 1" in refusal(run)


@pytest.mark.parametrize("reduce", ["max_abs", "last"])
def test_a_table_has_no_more_rows_than_polars_counts(reduce: Any) -> None:
    frame = pl.DataFrame({f"s{i}": [1.0, 2.0] for i in range(100)})
    message = refusal(lambda: frame.select(acm.pairwise_lag_corr(pl.all(), 1_000_000, 2, reduce=reduce)))
    expected = (
        "acm.pairwise_lag_corr: `max_lag` must be such that a table holds no more than 4294967295 rows, got 1000000"
    )
    assert f"{expected} for 4950 pairs; ask for fewer lags or columns" in message


def test_the_other_column_must_have_a_value_for_each_row() -> None:
    # a literal without a dtype makes Polars 1.33 panic where it makes up rows for a Python function
    for other in (pl.col("b").head(3), pl.col("b").head(0), pl.lit(1.0, pl.Float64)):
        with pytest.raises(ComputeError, match=r"`other` must have a value for each of the 250 rows"):
            FRAME.select(acm.rolling_corr("a", other, 4))


def test_an_unknown_column_is_polars_own_error() -> None:
    for expr in (acm.rolling_corr("a", "nowhere", 4), acm.correlation(["a", "nowhere"])):
        with pytest.raises(ColumnNotFoundError, match="nowhere"):
            FRAME.select(expr)


# --- little data, missing data ---------------------------------------------------------------------------------------


def test_constant_columns_and_columns_without_overlap_are_null() -> None:
    row = pl.int_range(40)
    frame = pl.select(
        stuck=pl.repeat(0.1, 40),
        x=(row * 7 % 11).cast(pl.Float64),
        odd=pl.when(row % 2 == 1).then(row * 3 % 7).cast(pl.Float64),
        even=pl.when(row % 2 == 0).then(row * 5 % 9).cast(pl.Float64),
    )
    pairs = frame.select(acm.pairwise_lag_corr(frame.columns, 0, 8)).unnest("pairwise_lag_corr")
    nulls = {name for name in pairs.columns if pairs[name].null_count() == 40}
    stuck = {f"stuck__{other}_lag0_corr" for other in ("x", "odd", "even")}
    assert nulls == stuck | {"odd__even_lag0_corr"}
    for method in ("pearson", "spearman"):
        matrix = frame.select(acm.correlation(pl.all(), method)).unnest("correlation")
        assert matrix["stuck"].to_list() == [None] * 4
        assert matrix["x"].to_list()[:2] == [None, 1.0]
        assert matrix["odd"].to_list()[2:] == [1.0, None]
        assert matrix["even"].to_list()[2:] == [None, 1.0]
    table = frame.select(acm.pairwise_lag_corr(frame.columns, 0, 8, reduce="argmax_lag")).unnest("pairwise_lag_corr")
    assert table.filter(pl.col("corr").is_null()).select("a", "b", "lag").rows() == [
        ("stuck", "x", None),
        ("stuck", "odd", None),
        ("stuck", "even", None),
        ("odd", "even", None),
    ]


def test_empty_frames_single_rows_and_missing_columns() -> None:
    for height in (0, 1):
        frame = FRAME.head(height)
        assert frame.select(acm.rolling_corr("b", "i", 4)).to_series().to_list() == [None] * height
        matrix = frame.select(acm.correlation(SENSORS)).unnest("correlation")
        assert matrix.rows() == [(None,) * 4] * 4
        table = frame.select(acm.pairwise_lag_corr(SENSORS, 1, 4, reduce="last")).unnest("pairwise_lag_corr")
        assert table["corr"].to_list() == [None] * 12
    nothing = pl.DataFrame({"a": [None] * 5, "b": [1.0, 2.0, 4.0, 3.0, 5.0]})
    assert nothing.select(acm.rolling_corr("a", "b", 3)).to_series().to_list() == [None] * 5
    assert nothing.select(acm.correlation(["a", "b"])).unnest("correlation").rows() == [(None, None), (None, 1.0)]


@pytest.mark.parametrize("dtype", numeric_dtypes(), ids=str)
def test_other_numbers_are_read_as_float64(dtype: pl.DataType) -> None:
    numbers = {"a": [3, 1, 4, 1, None, 9, 2, 6], "b": [2, 7, 1, 8, 2, 8, None, 1]}
    frame = pl.DataFrame(numbers).cast(dtype)
    expected = frame.cast(pl.Float64)
    for expr in (acm.rolling_corr("a", "b", 4), acm.correlation(["a", "b"]), acm.pairwise_lag_corr(["a", "b"], 1, 4)):
        same(frame.select(expr), expected.select(expr))


def test_null_nan_and_infinities_are_alike() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 300))
    holes = rng.random((2, 300)) < 0.2
    expected = pl.DataFrame(np.where(holes, np.nan, values).T, schema=["a", "b"]).fill_nan(None)
    for hole in (np.nan, np.inf, -np.inf):
        frame = pl.DataFrame(np.where(holes, hole, values).T, schema=["a", "b"])
        for expr in (
            acm.rolling_corr("a", "b", 9),
            acm.correlation(["a", "b"]),
            acm.correlation(["a", "b"], "spearman"),
        ):
            same(frame.select(expr), expected.select(expr))


HOSTILE = [None, np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 5e-324, 2.3e-308, 3.4e38, -3.4e38, 1.7e308, -1.7e308, 1e160]


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_results_stay_within_one(dtype: type[pl.DataType]) -> None:
    for seed in range(8):
        choice = np.random.default_rng(seed).integers(0, len(HOSTILE), (4, 250))
        columns = {f"c{k}": [HOSTILE[i] for i in choice[k]] for k in range(4)}
        frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64)).cast(dtype)
        pairs = frame.select(acm.pairwise_lag_corr(pl.all(), 2, 6)).unnest("pairwise_lag_corr")
        matrices = [frame.select(acm.correlation(pl.all(), m)).unnest("correlation") for m in ("pearson", "spearman")]
        for column in [*pairs, *matrices[0], *matrices[1]]:
            assert column.drop_nulls().is_between(-1.0, 1.0).all()
            assert not column.is_nan().any()


# --- second opinions -------------------------------------------------------------------------------------------------

DATA = FRAME.select(pl.col(SENSORS).cast(pl.Float64))
PANDAS = pd.DataFrame({name: DATA[name].fill_null(np.nan).to_numpy() for name in SENSORS}).replace(
    [np.inf, -np.inf], np.nan
)


def close(ours: pl.Series, theirs: Any, tolerance: float = 1e-9) -> None:
    expected = pl.Series(np.asarray(theirs, dtype=float)).fill_nan(None)
    assert ours.is_null().to_list() == expected.is_null().to_list(), ours.name
    if ours.null_count() < len(ours):
        assert (ours - expected).abs().max() <= tolerance, ours.name


@pytest.mark.parametrize("lag", [0, 1, 5])
@pytest.mark.parametrize(("window", "least"), [(4, 3), (16, 3), (16, 16), (120, 2)])
def test_pandas_agrees_on_rolling_correlations(window: int, least: int, lag: int) -> None:
    for a, b in itertools.permutations(["a", "b", "f"], 2):
        theirs = PANDAS[a].rolling(window, min_periods=least).corr(PANDAS[b].shift(lag))
        close(DATA.select(acm.rolling_corr(a, b, window, lag=lag, min_samples=least)).to_series(), theirs)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_pandas_agrees_on_matrices(method: Any) -> None:
    for data in (PANDAS, PANDAS.dropna(), PANDAS.assign(b=1.5)):
        frame = pl.DataFrame(data.to_numpy(), schema=SENSORS)
        ours = frame.select(acm.correlation(SENSORS, method)).unnest("correlation")
        theirs = data.corr(method)
        for name in SENSORS:
            close(ours[name], theirs[name], 1e-12)


def test_numpy_agrees_on_clean_matrices() -> None:
    for rows, columns in ((50, 1), (128, 8), (1000, 9), (3001, 40), (20, 70)):
        values = np.random.default_rng(rows).normal(size=(rows, columns)).cumsum(axis=0)
        ours = pl.DataFrame(values).select(acm.correlation(pl.all())).unnest("correlation").to_numpy()
        np.testing.assert_allclose(ours, np.corrcoef(values, rowvar=False).reshape(columns, columns), atol=1e-12)
        assert (ours == ours.T).all()


def test_tables_are_reductions_of_the_columns() -> None:
    wide = FRAME.select(acm.pairwise_lag_corr(SENSORS, 3, 9)).unnest("pairwise_lag_corr")
    tables = {
        reduce: FRAME.select(acm.pairwise_lag_corr(SENSORS, 3, 9, reduce=reduce)).unnest("pairwise_lag_corr")
        for reduce in ("max_abs", "last", "argmax_lag")
    }
    expected = [(a, b, lag, wide[f"{a}__{b}_lag{lag}_corr"].cast(pl.Float64)) for a, b in PAIRS for lag in range(4)]
    assert tables["last"].rows() == [(a, b, lag, column[-1]) for a, b, lag, column in expected]
    strongest = [(a, b, lag, max(column.drop_nulls(), key=abs)) for a, b, lag, column in expected]
    found = tables["max_abs"]
    assert found.select("a", "b", "lag").rows() == [row[:3] for row in strongest]
    assert [abs(r) for r in found["corr"]] == [abs(row[3]) for row in strongest]
    assert all(r in set(row[3]) for r, row in zip(found["corr"], expected, strict=True))
    by_pair = found.with_columns(pl.col("corr").abs().alias("size")).group_by("a", "b", maintain_order=True)
    first = by_pair.agg(pl.col("lag", "corr").get(pl.col("size").arg_max()))
    same(tables["argmax_lag"], first)


def test_only_pairs_that_matter_are_kept_with_all_their_lags() -> None:
    everything = FRAME.select(acm.pairwise_lag_corr(SENSORS, 2, 60, min_samples=30, reduce="max_abs"))
    everything = everything.unnest("pairwise_lag_corr")
    strength = everything.group_by("a", "b", maintain_order=True).agg(pl.col("corr").abs().max())
    threshold = strength["corr"].sort()[3]  # exactly reached by one pair
    kept = strength.filter(pl.col("corr") >= threshold).select("a", "b")
    assert 0 < kept.height < strength.height
    options: dict[str, Any] = {"min_samples": 30, "min_corr": threshold}
    table = FRAME.select(acm.pairwise_lag_corr(SENSORS, 2, 60, **options, reduce="max_abs")).unnest("pairwise_lag_corr")
    same(table, everything.join(kept, on=["a", "b"], how="semi", maintain_order="left"))
    columns = FRAME.select(acm.pairwise_lag_corr(SENSORS, 2, 60, **options)).unnest("pairwise_lag_corr")
    plain = FRAME.select(acm.pairwise_lag_corr(SENSORS, 2, 60, min_samples=30)).unnest("pairwise_lag_corr")
    assert columns.schema == plain.schema
    for (a, b), lag in itertools.product(PAIRS, range(3)):
        name = f"{a}__{b}_lag{lag}_corr"
        expected = plain[name] if (a, b) in kept.rows() else plain[name].clear(FRAME.height)
        assert columns[name].equals(expected), name
    last = FRAME.select(acm.pairwise_lag_corr(SENSORS, 0, 60, reduce="last", min_corr=0.3)).unnest("pairwise_lag_corr")
    assert last["corr"].abs().min() >= 0.3
    assert 0 < last.height < len(PAIRS)


def test_a_lag_finds_the_leader() -> None:
    leader = np.random.default_rng(4).normal(size=500)
    frame = pl.DataFrame({"follower": np.roll(leader, 3), "leader": leader})[3:]
    table = frame.select(acm.pairwise_lag_corr(pl.all(), 5, 100, min_samples=50, reduce="argmax_lag"))
    assert table.unnest("pairwise_lag_corr").select("a", "b", "lag").rows() == [("follower", "leader", 3)]


# --- exact arithmetic ------------------------------------------------------------------------------------------------


def exactly(x: list[float], y: list[float]) -> float:
    """Pearson's correlation by rational arithmetic, rounded at the end."""
    columns = [[Fraction(v) for v in column] for column in (x, y)]
    centred = [[v - sum(column) / len(column) for v in column] for column in columns]
    xx, yy, xy = (sum(a * b for a, b in zip(centred[i], centred[j], strict=True)) for i, j in ((0, 0), (1, 1), (0, 1)))
    return math.copysign(math.sqrt(xy * xy / (xx * yy)), xy)


@pytest.mark.parametrize("window", [3, 16, 90])
def test_an_offset_costs_no_digits(window: int) -> None:
    rng = np.random.default_rng(8)
    x = 1e8 + 1e-3 * rng.normal(size=300)
    y = -1e8 + 1e-3 * rng.normal(size=300) + 0.5 * (x - 1e8)
    x[40] = 1e15  # a spike that leaves the window
    frame = pl.DataFrame({"x": x, "y": y})
    ours = frame.select(acm.rolling_corr("x", "y", window)).to_series()
    for row in range(2, 300, 7):
        start = max(0, row - window + 1)
        expected = exactly(x[start : row + 1].tolist(), y[start : row + 1].tolist())
        assert abs(ours[row] - expected) <= 1e-12, row
    matrix = frame[41:].select(acm.correlation(pl.all())).unnest("correlation")
    assert abs(matrix["x"][1] - exactly(x[41:].tolist(), y[41:].tolist())) <= 1e-12
