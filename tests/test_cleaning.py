"""What holds for every operation that prepares readings: filling, quality, directions and scaling."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import features
from backends import rust_only
from polars.exceptions import ColumnNotFoundError, ComputeError, InvalidOperationError
from polars.testing import assert_frame_equal

ROWS = 300
SENSORS = ["a", "b", "f", "i"]
START = datetime(2024, 3, 30, 22)


def make_frame() -> pl.DataFrame:
    """Steps with standstills, every kind of missing reading, Float32 and integers, three assets, uneven times."""
    rng = np.random.default_rng(1)
    row = pl.int_range(ROWS)
    steps = {name: np.repeat(rng.integers(0, 360, ROWS), rng.integers(1, 6, ROWS))[:ROWS] for name in SENSORS}
    minutes = np.cumsum(rng.integers(0, 5, ROWS))
    return pl.DataFrame(steps).select(
        pl.when(row % 11 == 4).then(None).when(row % 17 < 3).then(np.nan).otherwise(pl.col("a") / 3).alias("a"),
        pl.when(row % 23 < 7).then(-np.inf).otherwise(pl.col("b")).alias("b"),
        pl.when(row % 13 == 6).then(None).otherwise(pl.col("f") + 0.1).cast(pl.Float32).alias("f"),
        pl.when(row % 7 != 1).then("i").cast(pl.Int16).alias("i"),
        row.alias("row"),
        pl.Series("asset", rng.choice(["north", "south", "west"], ROWS)),
        (pl.lit(START) + pl.duration(minutes=pl.Series(minutes))).alias("time"),
    )


FRAME = make_frame()
MODEL = FRAME.select(acm.robust_scale_fit(SENSORS)).to_series()
FLEET = FRAME.group_by("asset", maintain_order=True).agg(acm.robust_scale_fit(SENSORS))


class Case(NamedTuple):
    operation: str
    parameters: dict[str, Any]
    packs: bool = False
    aggregates: bool = False
    row_by_row: bool = False

    def __call__(self, columns: Any) -> pl.Expr:
        return getattr(acm, self.operation)(columns, **self.parameters)

    def __str__(self) -> str:
        shown = {name: "..." if name in ("model", "default") else value for name, value in self.parameters.items()}
        return f"{self.operation}({', '.join(f'{name}={value}' for name, value in shown.items())})"


CASES = [
    *(Case("fill", {"method": method}) for method in ("median", "forward", "backward", "interpolate")),
    Case("fill", {"value": 3.5, "max_gap": 2}),
    Case("fill", {"method": "interpolate", "by": "time"}),
    Case("fill", {"method": "forward", "max_gap": "8m", "by": "time"}),
    Case("stuck", {"min_length": 3}),
    Case("stuck", {"min_length": 4, "tolerance": 40.0, "look_ahead": False}),
    Case("stuck", {"min_length": "6m", "by": "time"}),
    Case("out_of_range", {"low": 30, "high": 200.5}, row_by_row=True),
    Case("rate_of_change", {}),
    Case("rate_of_change", {"by": "time"}),
    Case("circular_mean", {}, aggregates=True),
    Case("resultant_length", {"period": 24.0}, aggregates=True),
    Case("to_xy", {}, packs=True, row_by_row=True),
    Case("robust_scale_fit", {}, packs=True, aggregates=True),
    Case("robust_scale", {"model": MODEL}, packs=True, row_by_row=True),
    Case("robust_scale", {"model": FLEET, "by": "asset", "scale_floor": 50.0}, packs=True, row_by_row=True),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
length_keeping = pytest.mark.parametrize("case", [case for case in CASES if not case.aggregates], ids=str)
FORMS: dict[str, Any] = {
    "expanded": pl.col(SENSORS),
    "list": SENSORS,
    "selector": cs.numeric() - cs.by_name("row"),
    "struct": pl.struct(SENSORS),
}
every_form = pytest.mark.parametrize("form", FORMS)


def chunked(frame: pl.DataFrame, size: int) -> pl.DataFrame:
    return pl.concat([frame.slice(start, size) for start in range(0, frame.height, size)], rechunk=False)


def test_every_operation_is_here() -> None:
    modules = (features.directions, features.filling, features.quality, features.scaling)
    expressions = {name for module in modules for name in module.__all__} - {"gaps", "quality_report"}
    assert {case.operation for case in CASES} == expressions


@every_case
@every_form
def test_the_schema_is_known_and_true(case: Case, form: str) -> None:
    lazy = FRAME.lazy().select(case(FORMS[form]))
    schema = lazy.collect_schema()
    eager = FRAME.select(case(FORMS[form]))
    assert eager.schema == schema == lazy.collect().schema
    assert FRAME.clear().select(case(FORMS[form])).schema == schema
    if form == "expanded" and not case.packs:
        assert schema.names() == SENSORS
    elif form == "list":
        assert schema.names() == [case.operation]
        fields = schema[case.operation].to_schema()
        of = {"to_xy": [f"{name}_{axis}" for name in SENSORS for axis in "xy"]}
        assert list(fields) == of.get(case.operation, SENSORS)
        if fields["f" if "f" in fields else "f_x"] in (pl.Float32, pl.Float64) and not case.aggregates:
            assert {dtype for name, dtype in fields.items() if name[0] == "f"} == {pl.Float32}
            assert {dtype for name, dtype in fields.items() if name[0] != "f"} == {pl.Float64}


@every_case
def test_all_forms_give_the_same(case: Case) -> None:
    packed = FRAME.select(case(SENSORS))
    assert_frame_equal(FRAME.select(case(FORMS["selector"])), packed, check_exact=True)
    assert_frame_equal(FRAME.select(case([pl.struct(SENSORS)])), packed, check_exact=True)
    if not case.packs:
        expanded = FRAME.select(case(FORMS["expanded"]))
        assert_frame_equal(packed.unnest(case.operation), expanded, check_exact=True)
        alone = [FRAME.select(case(name)).to_series() for name in SENSORS]
        assert_frame_equal(pl.DataFrame(alone), expanded, check_exact=True)


@every_case
def test_chunks_do_not_matter(case: Case) -> None:
    expected = FRAME.select(case(SENSORS))
    for size in (1, 7, 160):
        assert_frame_equal(chunked(FRAME, size).select(case(SENSORS)), expected, check_exact=True)
    sliced = pl.concat([FRAME.tail(13), FRAME, FRAME.head(9)], rechunk=True).slice(13, ROWS)
    assert_frame_equal(sliced.select(case(SENSORS)), expected, check_exact=True)


@every_case
@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_engines_agree(case: Case, engine: Any) -> None:
    for columns in (SENSORS, pl.col(SENSORS)):
        expected = FRAME.select(case(columns))
        lazy = chunked(FRAME, 40).lazy().select(case(columns))
        assert_frame_equal(lazy.collect(engine=engine), expected, check_exact=True)


@length_keeping
@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_over_is_a_loop_over_groups(case: Case, engine: Any) -> None:
    for columns in ("a", SENSORS):
        groups = FRAME.partition_by("asset", maintain_order=True)
        expected = pl.concat([group.select("row", case(columns)) for group in groups]).sort("row")
        query = FRAME.lazy().select("row", case(columns).over("asset"))
        assert_frame_equal(query.collect(engine=engine), expected, check_exact=True)
    shuffled = FRAME.sample(fraction=1.0, shuffle=True, seed=3)
    ordered = shuffled.select("row", case(SENSORS).over("asset", order_by="row"))
    assert_frame_equal(ordered.sort("row"), expected, check_exact=True)


@pytest.mark.parametrize("case", [case for case in CASES if case.aggregates], ids=str)
@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_aggregates_give_one_row(case: Case, engine: Any) -> None:
    assert FRAME.select(case(SENSORS)).height == 1
    assert FRAME.with_columns(case(SENSORS)).height == ROWS
    groups = FRAME.partition_by("asset", maintain_order=True)
    expected = pl.concat([group.select(pl.first("asset"), case(SENSORS)) for group in groups])
    query = FRAME.lazy().group_by("asset", maintain_order=True).agg(case(SENSORS))
    assert_frame_equal(query.collect(engine=engine), expected, check_exact=True)
    spread = FRAME.lazy().select("asset", case(SENSORS).over("asset")).unique(maintain_order=True)
    assert_frame_equal(spread.collect(engine=engine), expected, check_exact=True)


@pytest.mark.parametrize("case", [case for case in CASES if case.row_by_row], ids=str)
def test_row_by_row_operations_stream_and_models_stay_one_row(case: Case) -> None:
    lazy = FRAME.lazy().select(case(SENSORS))
    if "plan_stage" in inspect.signature(lazy.show_graph).parameters:
        plan = lazy.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
        for node in ("columnar-function", "in-memory-map", "zip-broadcast"):
            assert node not in plan, plan
    # filters pass below what needs its own row alone, without a change
    expected = FRAME.with_columns(case(SENSORS)).filter(pl.col("row") % 50 == 49)
    query = FRAME.lazy().with_columns(case(SENSORS)).filter(pl.col("row") % 50 == 49)
    assert_frame_equal(query.collect(), expected, check_exact=True)


@length_keeping
def test_later_filters_do_not_reach_the_operation(case: Case) -> None:
    expected = FRAME.with_columns(case(SENSORS)).filter(pl.col("row") > 280).tail(5)
    query = FRAME.lazy().with_columns(case(SENSORS)).filter(pl.col("row") > 280).tail(5)
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(query.collect(engine=engine), expected, check_exact=True)


# --- missing readings and dtypes -------------------------------------------------------------------------------------


@every_case
def test_null_nan_and_infinities_are_alike(case: Case) -> None:
    floats = ["a", "b"]
    nulls = FRAME.with_columns(pl.when(pl.col(floats).is_finite()).then(pl.col(floats)))
    for missing in (None, np.nan, np.inf, -np.inf):
        other = nulls.with_columns(pl.col(floats).fill_null(pl.lit(missing, dtype=pl.Float64)))
        assert_frame_equal(other.select(case(SENSORS)), nulls.select(case(SENSORS)), check_exact=True)


def flat(frame: pl.DataFrame) -> list[pl.Series]:
    columns = []
    for column in frame:
        columns += flat(column.struct.unnest()) if isinstance(column.dtype, pl.Struct) else [column]
    return columns


@every_case
def test_no_result_is_nan_or_infinite(case: Case) -> None:
    hostile = [None, np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 3.4e38, 1.7e308, -1.7e308, 1e160, 12.0, 12.0]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = [[hostile[k] for k in rng.integers(0, len(hostile), ROWS)] for _ in SENSORS]
        frame = FRAME.with_columns(
            pl.Series(name, column, dtype=pl.Float64).cast(pl.Float32 if name == "f" else pl.Float64)
            for name, column in zip(SENSORS, values, strict=True)
        )
        for column in flat(frame.select(case(SENSORS))):
            assert not column.dtype.is_float() or column.drop_nulls().is_finite().all(), column


@every_case
def test_empty_frames_and_frames_without_readings(case: Case) -> None:
    assert FRAME.clear().select(case(SENSORS)).height == (1 if case.aggregates else 0)
    nothing = FRAME.with_columns(pl.lit(None).cast(pl.Float64).alias(name) for name in SENSORS)
    for column in flat(nothing.select(case(SENSORS))):
        if column.name == "readings":
            assert column.to_list() == [0]
        elif "value" not in case.parameters:
            assert column.null_count() == column.len(), column


@every_case
def test_float32_is_the_narrowed_float64(case: Case) -> None:
    # integers a Float32 holds exactly
    frame = FRAME.with_columns(pl.col("i").cast(pl.Float64).alias("a"))
    narrow = frame.with_columns(pl.col("a").cast(pl.Float32))
    wide, ours = (flat(f.select(case(["a"]))) for f in (frame, narrow))
    for left, right in zip(ours, wide, strict=True):
        assert left.equals(right.cast(left.dtype)), left


@every_case
@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt64, pl.Int128, pl.Decimal(12, 2)], ids=str)
def test_other_numbers_give_float64(case: Case, dtype: Any) -> None:
    frame = FRAME.with_columns((pl.col("i") % 100).cast(dtype).alias("a"))
    expected = frame.with_columns(pl.col("a").cast(pl.Float64))
    assert_frame_equal(frame.select(case(["a"])), expected.select(case(["a"])), check_exact=True)


NOT_NUMBERS = {
    "str": pl.lit("1"),
    "bool": pl.lit(True),
    "date": pl.col("time").dt.date(),
    r"datetime\[μs\]": pl.col("time"),
    r"list\[f64\]": pl.concat_list("a", "b"),
    "cat": pl.lit("1").cast(pl.Categorical),
}


@every_case
@pytest.mark.parametrize("dtype", NOT_NUMBERS)
def test_a_column_that_is_not_numeric_is_named(case: Case, dtype: str) -> None:
    frame = FRAME.with_columns(NOT_NUMBERS[dtype].alias("i"))
    for columns in (["a", "i"], "i"):
        lazy = frame.lazy().select(case(columns))
        for run in (lazy.collect, lazy.collect_schema, lambda columns=columns: frame.select(case(columns))):
            with pytest.raises(ComputeError, match=rf"acm\.{case.operation}: column `i` has dtype {dtype}, .*leave"):
                run()


@every_case
def test_what_does_not_exist_is_polars_own_error(case: Case) -> None:
    for columns in ("nowhere", ["a", "nowhere"]):
        with pytest.raises(ColumnNotFoundError, match="nowhere"):
            FRAME.select(case(columns))
    with pytest.raises(InvalidOperationError, match=r"expected at least 1 input in .*as_struct"):
        FRAME.select(case(cs.by_dtype(pl.Time)))


@pytest.mark.parametrize("case", [case for case in CASES if case.parameters.get("by") == "time"], ids=str)
@pytest.mark.parametrize(
    ("time", "text"),
    [
        (pl.col("time").reverse(), "`by` must be ascending, .* goes back in time at row 1"),
        (pl.when(pl.col("row") != 5).then("time"), "`by` must have no nulls, .* has 1; drop"),
        (pl.col("row"), "`by` must be a Datetime or Date column, `time` has dtype i64"),
    ],
    ids=["descending", "null", "integer"],
)
def test_times_that_cannot_be_used(case: Case, time: pl.Expr, text: str) -> None:
    frame = FRAME.with_columns(time.alias("time"))
    for columns in ("a", SENSORS):
        for run in (lambda c=columns: frame.select(case(c)), frame.lazy().select(case(columns)).collect):
            with pytest.raises(ComputeError, match=rf"acm\.{case.operation}: {text}"):
                run()


# --- other processes -------------------------------------------------------------------------------------------------

CHILD = """
import io, sys
import polars as pl
plan = pl.LazyFrame.deserialize(io.BytesIO(sys.stdin.buffer.read()))
result = plan.collect()
assert "acm_rs" not in sys.modules
out = io.BytesIO()
result.write_ipc(out)
sys.stdout.buffer.write(out.getvalue())
"""


@rust_only
@pytest.mark.parametrize("threads", [1, 4])
def test_a_fresh_process_and_any_number_of_threads(threads: int) -> None:
    wide = pl.DataFrame([FRAME["a"].alias(f"a{k}") + k for k in range(80)]).with_columns(FRAME["time", "asset"])
    keeping = [case for case in CASES if not case.aggregates and "model" not in case.parameters]
    query = wide.lazy().select(case(cs.float()).alias(str(case)) for case in keeping)
    assert wide.height * 80 > 16384
    child = subprocess.run(
        [sys.executable, "-I", "-c", CHILD],
        input=query.serialize(),
        env=os.environ | {"POLARS_MAX_THREADS": str(threads), "POLARS_IDEAL_MORSEL_SIZE": "64"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    assert_frame_equal(pl.read_ipc(io.BytesIO(child.stdout)), query.collect(), check_exact=True)


@every_case
def test_an_expression_can_be_pickled_and_is_a_method(case: Case) -> None:
    expr = case(SENSORS)
    assert_frame_equal(FRAME.select(pickle.loads(pickle.dumps(expr))), FRAME.select(expr), check_exact=True)
    method: Callable[..., pl.Expr] = getattr(pl.col("a").acm, case.operation)
    assert_frame_equal(FRAME.select(method(**case.parameters)), FRAME.select(case("a")), check_exact=True)
