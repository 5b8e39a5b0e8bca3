"""What holds for every operation, whatever it computes. A new operation adds one row to REGISTRY and gets all tests."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from functools import cache, partial
from typing import Any, NamedTuple

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import detectors, features, regimes
from backends import RUST, assert_same, rust_only
from polars.exceptions import ColumnNotFoundError, ComputeError, InvalidOperationError, SchemaError
from polars.testing import assert_frame_equal

# --- the registry ----------------------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """`own`: parameters to try besides the window; `fields`: suffixes of a struct that is always made."""

    own: tuple[dict[str, Any], ...] = ()
    fields: tuple[str, ...] = ()
    dtype: type[pl.DataType] | None = None  # of the result, if not the float that goes with the column
    durations: bool = True


BANDS = ((0.0, 0.2), (0.3, 0.5))

REGISTRY = {
    "rolling_median": Operation(),
    "rolling_mad": Operation(own=({"scale": "normal"}, {"scale": 2.5})),
    "rolling_mean": Operation(),
    "rolling_std": Operation(own=({"ddof": 0}, {"ddof": 3})),
    "rolling_skew": Operation(own=({"bias": True}, {"clip": 0.1})),
    "rolling_kurtosis": Operation(own=({"bias": True}, {"clip": 0.1})),
    "rolling_slope": Operation(),
    "rolling_robust_z": Operation(own=({"clip": 1.5}, {"scale_floor": 2.0})),
    "rolling_hampel": Operation(own=({"n_sigmas": 1.0},), dtype=pl.Boolean),
    "rolling_spectral_energy": Operation(
        own=({"bands": BANDS}, {"sampling_hz": 0.1, "min_samples": 3}), fields=("energy",), durations=False
    ),
    "rolling_features": Operation(
        own=({"bands": BANDS, "sampling_hz": 2.0}, {"clip": 1.5, "scale_floor": 2.0}, {"features": None}),
        fields=("med", "mad", "mean", "std", "slope", "skew", "kurt", "energy", "rz"),
    ),
}
ROWS: tuple[dict[str, Any], ...] = (
    {"window_size": 2},
    {"window_size": 5, "min_samples": 3},
    {"window_size": 16},
    {"window_size": 100, "min_samples": 30},
)
DURATIONS: tuple[dict[str, Any], ...] = (
    {"window_size": "5m", "min_samples": 3, "by": "time"},
    {"window_size": "100m", "by": "time"},
)


class Case(NamedTuple):
    operation: str
    parameters: dict[str, Any]

    def __call__(self, columns: Any = "a", **changes: Any) -> pl.Expr:
        return getattr(acm, self.operation)(columns, **(self.parameters | changes))

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{name}={value}' for name, value in self.parameters.items())})"

    @property
    def by(self) -> bool:
        return "by" in self.parameters

    @property
    def packs(self) -> bool:
        return bool(REGISTRY[self.operation].fields)

    def schema(self, column: str, dtype: pl.DataType) -> dict[str, Any]:
        of, bands = REGISTRY[self.operation], range(0 if self.by else len(self.parameters.get("bands", range(3))))
        result = of.dtype or (pl.Float32 if dtype == pl.Float32 else pl.Float64)
        suffixes = [s for f in of.fields for s in ([f"energy_{i}" for i in bands] if f == "energy" else [f])]
        return {f"{column}_{suffix}": result for suffix in suffixes} or {column: result}


CASES = [
    Case(name, parameters)
    for name, operation in REGISTRY.items()
    for parameters in (
        *ROWS,
        *({"window_size": 16} | own for own in operation.own),
        *(DURATIONS if operation.durations else ()),
    )
]
# where the parameters play no part
SIMPLE = [Case(name, {"window_size": 4}) for name in REGISTRY]
SIMPLE_BY = [Case(name, {"window_size": "4m", "by": "time"}) for name in REGISTRY if REGISTRY[name].durations]


class Trained(NamedTuple):
    """An operation of a detector or of regimes; `fit` is what its model is fitted with, if it needs one.

    `rows`: it has a result for each row, so it is no aggregate; `labels`: it takes labels beside the columns.
    """

    operation: str
    parameters: dict[str, Any] = {}  # noqa: RUF012
    fit: str | None = None
    rows: bool = True
    labels: bool = False

    def __call__(self, columns: Any = "a", **changes: Any) -> pl.Expr:
        own = self.parameters | ({"labels": pl.int_range(pl.len()) % 3} if self.labels else {}) | changes
        if self.fit is not None:
            own |= {"model": model_of(self.fit, names_of(columns))}
        return getattr(acm, self.operation)(columns, **own)

    def __str__(self) -> str:
        return f"{self.operation}{f' by {self.fit}' if self.fit else ''}"


FITS: dict[str, dict[str, Any]] = {
    "ar1_fit": {},
    "pca_fit": {"strict": False},
    "isolation_forest_fit": {"strict": False, "n_trees": 5, "max_samples": 16},
    "gmm_fit": {"strict": False, "k": 2, "max_iter": 5},
    "omr_fit": {"strict": False},
    "kmeans_fit": {"strict": False, "k": 2},
    "hdbscan_fit": {"strict": False, "min_cluster_size": 3},
    "regime_fit": {"strict": False, "method": "kmeans", "k_range": (2, 3)},
}
TRAINED = [
    *(Trained(name, parameters, rows=False) for name, parameters in FITS.items()),
    Trained("ar1_residual"),
    Trained("ar1_residual", fit="ar1_fit"),
    Trained("ar1_z"),
    Trained("ar1_z", {"fuse": "mean"}, fit="ar1_fit"),
    Trained("cusum"),
    Trained("ewma", {"alpha": 0.3}),
    Trained("drift_trend", {"window_size": 4}, rows=False),
    *(Trained(name, fit="pca_fit") for name in ("pca_scores", "pca_spe", "pca_t2", "pca_contributions")),
    Trained("isolation_forest_score", fit="isolation_forest_fit"),
    *(Trained(name, fit="gmm_fit") for name in ("gmm_score", "gmm_label")),
    *(Trained(name, fit="omr_fit") for name in ("omr_score", "omr_contributions")),
    *(Trained(name, fit="kmeans_fit") for name in ("kmeans_label", "kmeans_distance")),
    Trained("hdbscan_label", fit="hdbscan_fit"),
    Trained("regime_predict", fit="regime_fit"),
    Trained("silhouette", rows=False, labels=True),
    Trained("silhouette_samples", labels=True),
    Trained("transient_states", {"window_size": 3}, labels=True),
]
# operations on columns of labels
LABELLED: dict[str, dict[str, Any]] = {
    "smooth_labels": {"window_size": 3},
    "smooth_transitions": {"min_dwell": 2},
    "regime_volatility": {"window_size": 9},
}
# what is asked of all operations on numeric columns, and what only of those that give a result for each row
EVERYTHING = [*CASES, *TRAINED]
EVERY_ROW = [*CASES, *(case for case in TRAINED if case.rows)]

every_subject = pytest.mark.parametrize("case", EVERYTHING, ids=str)
every_row_subject = pytest.mark.parametrize("case", EVERY_ROW, ids=str)
every_simple_subject = pytest.mark.parametrize("case", [*SIMPLE, *TRAINED], ids=str)
every_aggregate = pytest.mark.parametrize("case", [case for case in TRAINED if not case.rows], ids=str)
every_trained = pytest.mark.parametrize("case", TRAINED, ids=str)
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_case_by = pytest.mark.parametrize("case", [case for case in CASES if case.by], ids=str)
every_operation = pytest.mark.parametrize("case", SIMPLE, ids=str)
every_operation_by = pytest.mark.parametrize("case", SIMPLE_BY, ids=str)

START = datetime(2024, 3, 30, 22)  # summer time begins in Europe two and a half hours later


def readings(rows: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=rows).cumsum().round(2)


def make_frame(rows: int = 250) -> pl.DataFrame:
    """Floats, Float32 and integers with every kind of missing reading, three assets, and minutes."""
    rng = np.random.default_rng(5)
    row = pl.int_range(rows)
    frame = pl.DataFrame({"a": readings(rows, 1), "b": readings(rows, 2), "f": readings(rows, 3)})
    return frame.select(
        pl.when(row % 11 == 4).then(None).when(row % 17 == 5).then(np.nan).otherwise("a").alias("a"),
        pl.when(row % 23 == 7).then(-np.inf).otherwise("b").alias("b"),
        pl.when(row % 13 == 6).then(None).otherwise("f").cast(pl.Float32).alias("f"),
        pl.when(row % 7 != 1).then(row * row % 19).cast(pl.Int16).alias("i"),
        row.alias("row"),
        pl.Series("asset", rng.choice(["north", "south", "west"], rows)),
        (pl.lit(START) + pl.duration(minutes=row)).alias("time"),
    )


FRAME = make_frame()
SENSORS = ["a", "b", "f", "i"]
# each form gives other columns
FORMS: dict[str, Any] = {
    "column": "f",
    "expanded": pl.col(SENSORS),
    "list": SENSORS,
    "selector": cs.numeric() - cs.by_name("row"),
}
every_form = pytest.mark.parametrize("form", FORMS)


def names_of(columns: Any) -> tuple[str, ...]:
    """Sensors among the columns, for a model to be fitted on; one of them where there is none."""
    given = [columns] if isinstance(columns, str) else columns if isinstance(columns, list) else SENSORS
    return tuple(name for name in given if name in SENSORS) or ("a",)


@cache
def model_of(fit: str, columns: tuple[str, ...]) -> pl.DataFrame:
    return FRAME.select(getattr(acm, fit)(list(columns), **FITS[fit]))


def flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Without structs."""
    structs = [name for name, dtype in frame.schema.items() if dtype == pl.Struct]
    return frame.unnest(structs) if structs else frame


def test_the_registry_has_every_operation() -> None:
    assert set(REGISTRY) == set(features.rolling.__all__) - {"tail"}  # others have files of their own
    for name, operation in REGISTRY.items():
        own = set(inspect.signature(getattr(acm, name)).parameters) - {"expr", "window_size", "min_samples", "by"}
        tried = {parameter for parameters in operation.own for parameter in parameters} - {"min_samples"}
        assert tried == own, name


def test_the_registry_has_every_detector_and_all_of_the_regimes() -> None:
    operations = {name for name in (*detectors.__all__, *regimes.__all__) if inspect.isfunction(getattr(acm, name))}
    # of labels, below; of models; of names
    apart = {*LABELLED, "regime_statistics", "align_labels", "operating_columns"}
    assert {case.operation for case in TRAINED} == operations - apart


# --- names and dtypes ------------------------------------------------------------------------------------------------


@every_case
@every_form
def test_the_schema_is_known_before_anything_is_computed(case: Case, form: str) -> None:
    names = ["f"] if form == "column" else SENSORS
    expected: dict[str, Any] = {}
    for name in names:
        expected |= case.schema(name, FRAME.schema[name])
    if case.packs or form in ("list", "selector"):
        expected = {case.operation: pl.Struct(expected)}
    lazy = FRAME.lazy().select(case(FORMS[form]))
    assert lazy.collect_schema() == expected
    assert lazy.collect().schema == expected
    assert FRAME.select(case(FORMS[form])).schema == expected
    assert FRAME.clear().select(case(FORMS[form])).schema == expected


@every_trained
@every_form
def test_the_schema_of_a_trained_operation_is_known_before_anything_is_computed(case: Trained, form: str) -> None:
    lazy = FRAME.lazy().select(case(FORMS[form]))
    schema = lazy.collect_schema()
    assert lazy.collect().schema == schema
    assert FRAME.select(case(FORMS[form])).schema == schema
    assert FRAME.clear().select(case(FORMS[form])).schema == schema


@every_case
@every_form
def test_the_length_is_kept_and_no_sensor_is_overwritten_by_a_struct(case: Case, form: str) -> None:
    result = FRAME.with_columns(case(FORMS[form]))
    assert result.height == FRAME.height
    if case.packs or form in ("list", "selector"):
        assert_frame_equal(result.drop(case.operation), FRAME)


@every_case
def test_function_and_method_agree(case: Case) -> None:
    assert_same(getattr(pl.col("a").acm, case.operation)(**case.parameters), case("a"), FRAME)


# --- chunks, engines, contexts ---------------------------------------------------------------------------------------


def chunked(frame: pl.DataFrame, size: int) -> pl.DataFrame:
    pieces = [frame.slice(start, size) for start in range(0, frame.height, size)]
    result = pl.concat(pieces, rechunk=False)
    assert result.n_chunks() == len(pieces)
    return result


def unaligned(frame: pl.DataFrame) -> pl.DataFrame:
    """Every column has chunks of its own."""
    return pl.DataFrame([chunked(frame.select(name), 9 + 2 * k)[name] for k, name in enumerate(frame.columns)])


def sliced(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of the frame within a larger one, which starts at no byte of a validity bitmap."""
    return pl.concat([frame.tail(13), frame, frame.head(30)], rechunk=True).slice(13, frame.height)


LAYOUTS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "2 chunks": lambda frame: chunked(frame, frame.height // 2 + 3),
    "7 chunks": lambda frame: chunked(frame, frame.height // 7 + 1),
    "n chunks": lambda frame: chunked(frame, 1),
    "unaligned chunks": unaligned,
    "empty chunks": lambda frame: pl.concat([frame.clear(), frame.head(40), frame.clear(), frame[40:]], rechunk=False),
    "slice": sliced,
    "slice of chunks": lambda frame: chunked(pl.concat([frame.tail(13), frame], rechunk=True), 5).slice(13),
}


@every_subject
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_in_memory_does_not_matter(case: Case | Trained, layout: str) -> None:
    other = LAYOUTS[layout](FRAME)
    for columns in ("a", SENSORS):
        assert_frame_equal(other.select(case(columns)), FRAME.select(case(columns)), check_exact=True)


@pytest.mark.parametrize("case", [case for case in TRAINED if case.fit not in {None, "ar1_fit"}], ids=str)
def test_a_row_scores_alone_as_among_others(case: Trained) -> None:
    """Eleven columns: sums of so many are taken in another order where rows are added side by side."""
    rng = np.random.default_rng(11)
    frame = pl.DataFrame({f"x{i}": rng.normal(size=120) + i for i in range(11)})
    assert case.fit is not None
    model = frame.select(getattr(acm, case.fit)(frame.columns, **FITS[case.fit]))
    score = getattr(acm, case.operation)(frame.columns, model=model, **case.parameters)
    alone = pl.concat([frame[row].select(score) for row in range(0, 120, 7)])
    assert_frame_equal(alone, frame.select(score)[::7], check_exact=True)


def test_thousands_of_chunks() -> None:
    frame = make_frame(4000)
    many = chunked(frame, 1)
    for case in SIMPLE + SIMPLE_BY:
        assert_frame_equal(many.select(case("a")), frame.select(case("a")), check_exact=True)


@every_subject
@every_form
def test_engines_agree(case: Case | Trained, form: str) -> None:
    eager = FRAME.select(case(FORMS[form]))
    lazy = chunked(FRAME, 40).lazy().select(case(FORMS[form]))
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(lazy.collect(engine=engine), eager, check_exact=True)


LATER: dict[str, Callable[[Any], Any]] = {
    "filter": lambda frame: frame.filter(pl.col("row") % 50 == 49),
    "filter by group": lambda frame: frame.filter(pl.col("asset") == "west"),
    "head": lambda frame: frame.head(3),
    "tail": lambda frame: frame.tail(3),
    "slice": lambda frame: frame.slice(120, 5),
}


@every_subject
@pytest.mark.parametrize("later", LATER)
def test_later_filters_and_slices_do_not_reach_the_window(case: Case | Trained, later: str) -> None:
    for expr in (case(SENSORS), case(SENSORS).over("asset")):
        expected = LATER[later](FRAME.with_columns(expr))
        query = LATER[later](FRAME.lazy().with_columns(expr))
        for engine in ("in-memory", "streaming"):
            assert_frame_equal(query.collect(engine=engine), expected, check_exact=True)


def by_group(case: Case | Trained, columns: Any) -> pl.DataFrame:
    groups = FRAME.partition_by("asset", maintain_order=True)
    return pl.concat([group.select("row", case(columns)) for group in groups]).sort("row")


@every_subject
@pytest.mark.parametrize("form", ["column", "expanded", "list"])
def test_over_is_a_loop_over_groups(case: Case | Trained, form: str) -> None:
    expected = by_group(case, FORMS[form])
    query = FRAME.lazy().select("row", case(FORMS[form]).over("asset"))
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(query.collect(engine=engine), expected, check_exact=True)
    shuffled = FRAME.sample(fraction=1.0, shuffle=True, seed=3)
    ordered = shuffled.select("row", case(FORMS[form]).over("asset", order_by="time"))
    assert_frame_equal(ordered.sort("row"), expected, check_exact=True)


@every_row_subject
@pytest.mark.parametrize("form", ["column", "expanded", "list"])
def test_group_by_is_a_loop_over_groups(case: Case | Trained, form: str) -> None:
    expected = by_group(case, FORMS[form])
    groups = FRAME.lazy().group_by("asset").agg("row", case(FORMS[form]))
    for engine in ("in-memory", "streaming"):
        lists = groups.drop("asset").collect(engine=engine)
        ours = pl.concat(pl.DataFrame({column.name: column[k] for column in lists}) for k in range(lists.height))
        assert_frame_equal(ours.sort("row"), expected, check_exact=True)


@every_aggregate
@pytest.mark.parametrize("form", ["column", "expanded", "list"])
def test_an_aggregate_of_groups_is_a_loop_over_groups(case: Trained, form: str) -> None:
    groups = FRAME.partition_by("asset", maintain_order=True)
    expected = pl.concat([group.select(pl.col("asset").first(), case(FORMS[form])) for group in groups])
    query = FRAME.lazy().group_by("asset", maintain_order=True).agg(case(FORMS[form]))
    assert query.collect_schema() == expected.schema
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(query.collect(engine=engine), expected, check_exact=True)


@every_case
def test_expanded_and_one_call_agree(case: Case) -> None:
    one_call = FRAME.select(case(SENSORS)).unnest(case.operation)
    alone = pl.DataFrame([column for name in SENSORS for column in flat(FRAME.select(case(name)))])
    assert_frame_equal(one_call, alone, check_exact=True)
    if not case.packs:
        assert_frame_equal(FRAME.select(case(pl.col(SENSORS))), alone, check_exact=True)


@pytest.mark.parametrize("window", ROWS + DURATIONS, ids=str)
def test_one_pass_over_all_features_equals_one_pass_for_each(window: dict[str, Any]) -> None:
    ours = FRAME.select(acm.rolling_features(SENSORS, **window)).unnest("rolling_features")
    for suffix, operation in {
        "med": acm.rolling_median,
        "mad": acm.rolling_mad,
        "mean": acm.rolling_mean,
        "std": acm.rolling_std,
        "slope": acm.rolling_slope,
        "skew": acm.rolling_skew,
        "kurt": acm.rolling_kurtosis,
        "rz": acm.rolling_robust_z,
    }.items():
        alone = FRAME.select(operation(pl.col(SENSORS), **window).name.suffix(f"_{suffix}"))
        assert_frame_equal(ours.select(alone.columns), alone, check_exact=True)


@every_case
def test_a_struct_column_is_its_fields(case: Case) -> None:
    expected = FRAME.select(case(SENSORS)).unnest(case.operation)
    frame = FRAME.select(pl.struct(SENSORS).alias("s"), "time")
    for column, named in (("s", "s"), (["s"], case.operation), (cs.by_name("s"), case.operation)):
        name = case.operation if case.packs else named
        lazy = frame.lazy().select(case(column))
        assert lazy.collect_schema() == {name: pl.Struct(expected.schema)}
        assert_frame_equal(lazy.collect().unnest(name), expected, check_exact=True)


@every_operation
def test_a_missing_struct_is_missing_in_every_field(case: Case) -> None:
    present = pl.col("row") % 3 > 0
    frame = FRAME.select(pl.when(present).then(pl.struct(SENSORS)).alias("s"))
    expected = FRAME.select(pl.when(present).then(pl.col(SENSORS))).select(case(SENSORS))
    assert_frame_equal(frame.select(case(["s"])), expected, check_exact=True)


@every_subject
def test_input_is_not_modified(case: Case | Trained) -> None:
    frame = chunked(FRAME, 60)
    before = pl.DataFrame(frame.to_dict(as_series=False), schema=frame.schema)
    for columns in FORMS.values():
        frame.select(case(columns), case(columns).over("asset").name.suffix("_over"))
    assert_frame_equal(frame, before, check_exact=True)


# --- dtypes ----------------------------------------------------------------------------------------------------------


@every_case
def test_float32_is_the_narrowed_float64(case: Case) -> None:
    wide = FRAME.with_columns(pl.col("f").cast(pl.Float64))
    expected = flat(wide.select(case("f"))).cast({cs.float(): pl.Float32})
    assert_frame_equal(flat(FRAME.select(case("f"))), expected, check_exact=True)


def numeric_dtypes() -> list[pl.DataType]:
    names = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128)] + ["Float16", "Float64"]
    return [getattr(pl, name)() for name in names if hasattr(pl, name)] + [pl.Decimal(10, 2), pl.Decimal(38, 4)]


@every_simple_subject
@pytest.mark.parametrize("dtype", numeric_dtypes(), ids=str)
def test_other_numbers_give_float64(case: Case | Trained, dtype: pl.DataType) -> None:
    numbers = [3, 1, 4, 1, None, 9, 2, 6, 5, 3, 5, 8, None, 9, 7, 9]
    frame = pl.DataFrame({"a": numbers, "b": numbers[::-1]}).cast(dtype)
    expected = frame.cast(pl.Float64)
    for columns in ("a", ["a"], ["a", "b"]):
        result = frame.select(case(columns))
        assert_frame_equal(result, expected.select(case(columns)), check_exact=True)
    assert any(column.null_count() < result.height for column in flat(result))


DAY = datetime(2024, 1, 1)
# For every other dtype a column, and its name as it stands in the message. Polars hands an Object over as binary, and
# its oldest versions an Enum as a Categorical.
NOT_NUMBERS: dict[str, tuple[pl.Series, str]] = {
    "Boolean": (pl.Series([True, None]), "bool"),
    "String": (pl.Series(["1", None]), "str"),
    "Binary": (pl.Series([b"1", None]), "binary"),
    "Categorical": (pl.Series(["1", None], dtype=pl.Categorical), "cat"),
    "Enum": (pl.Series(["1", None], dtype=pl.Enum(["1"])), "enum|cat"),
    "Date": (pl.Series([date(2024, 1, 1), None]), "date"),
    "Datetime": (pl.Series([DAY, None], dtype=pl.Datetime("ns", "Europe/Paris")), r"datetime\[ns, Europe/Paris\]"),
    "Duration": (pl.Series([timedelta(1), None], dtype=pl.Duration("ms")), r"duration\[ms\]"),
    "Time": (pl.Series([time(1), None]), "time"),
    "List": (pl.Series([[1.0], None]), r"list\[f64\]"),
    "Array": (pl.Series([[1.0], None], dtype=pl.Array(pl.Float64, 1)), r"array\[f64, 1\]"),
    "Object": (pl.Series([object(), object()], dtype=pl.Object), "object|binary"),
}
if hasattr(pl, "Map"):
    NOT_NUMBERS["Map"] = (pl.Series([{1: 1.0}, None], dtype=pl.Map(pl.Int64, pl.Float64)), r"map\[.*\]|list\[.*\]")
LABELS = {"Boolean", "String", "Categorical", "Enum"}  # beside the integers
TEXT = r"cast its text, for example with `\.cast\(pl\.String\)\.cast\(pl\.Float64\)`, or leave it out"
REMEDIES = {
    "Categorical": TEXT,
    "Enum": TEXT,
    "List": r"take .*`\.list\.mean\(\)`",
    "Array": r"take .*`\.arr\.mean\(\)`",
    "Map": "(take|cast) ",
}
NUMBERS = {str(dtype.base_type()) for dtype in numeric_dtypes()} | {"Float32"}
# abstract, an alias, or tested apart
OTHERS = {"DataType", "BaseExtension", "Extension", "Unknown", "Utf8", "Struct", "Null"}
REFUSED = (ComputeError, InvalidOperationError, SchemaError)


def test_every_dtype_of_polars_is_tried() -> None:
    known = {name for name, value in vars(pl).items() if inspect.isclass(value) and issubclass(value, pl.DataType)}
    assert known <= {*NOT_NUMBERS, *NUMBERS, *OTHERS}


def refusal(run: Callable[[], Any]) -> str:
    with pytest.raises(REFUSED) as caught:
        run()
    assert "panicked" not in str(caught.value)
    return str(caught.value)


@every_simple_subject
@pytest.mark.parametrize("dtype", NOT_NUMBERS)
def test_a_column_that_is_not_numeric_is_named(case: Case | Trained, dtype: str) -> None:
    if dtype == "Object" and not RUST:
        pytest.xfail("Polars panics where it makes up rows of an Object column to find the dtype of a Python function")
    series, text = NOT_NUMBERS[dtype]
    frame = pl.DataFrame({"x": series, "a": [1.0, 2.0], "asset": [1, 2]})
    forms = ["x", ["x"], ["a", "x"]]
    if dtype != "Object":  # Polars itself cannot put one into a struct
        forms.append(pl.struct("a", pl.struct("a", "x").alias("x")).struct.field("x"))
    for columns in forms:
        expr = case(columns)
        lazy = frame.lazy().select(expr)
        for run in (lazy.collect, lazy.collect_schema, lambda expr=expr: frame.select(expr)):
            message = refusal(run)
            remedy = REMEDIES.get(dtype, "cast it")
            expected = rf"acm\.{case.operation}: column `x` has dtype ({text}), which is not numeric; {remedy}"
            assert re.search(expected, message), message


@every_simple_subject
def test_a_struct_within_a_struct_is_named(case: Case | Trained) -> None:
    frame = pl.DataFrame({"a": [1.0], "x": [{"p": 1.0, "q": 2.0}]})
    message = refusal(lambda: frame.select(case(["a", "x"])))
    assert f"acm.{case.operation}: column `x` has dtype struct[2]" in message


@pytest.mark.skipif(not hasattr(pl, "Extension"), reason="Polars without extension types")
@every_simple_subject
@pytest.mark.parametrize("values", [[1.0, 2.0], ["1", "2"]], ids=["Float64", "String"])
def test_an_extension_type_is_named(case: Case | Trained, values: list[Any]) -> None:
    storage = pl.Series("x", values)
    frame = storage.ext.to(pl.Extension("acm.test", storage.dtype, None)).to_frame()
    for columns in ("x", ["x"]):
        lazy = frame.lazy().select(case(columns))
        for run in (lazy.collect, lazy.collect_schema):
            assert f"acm.{case.operation}: column `x` has dtype" in refusal(run)


@every_simple_subject
def test_a_column_of_nulls_without_a_dtype(case: Case | Trained) -> None:
    frame = pl.DataFrame({"a": [None] * 9})
    expected = frame.cast(pl.Float64)
    for columns in ("a", ["a"]):
        assert_frame_equal(frame.select(case(columns)), expected.select(case(columns)))
        assert frame.lazy().select(case(columns)).collect_schema() == expected.select(case(columns)).schema


# --- labels ----------------------------------------------------------------------------------------------------------

TAKES_LABELS: dict[str, Callable[[Any], pl.Expr]] = {
    **{name: partial(getattr(acm, name), **parameters) for name, parameters in LABELLED.items()},
    **{case.operation: partial(lambda case, labels: case("a", labels=labels), case) for case in TRAINED if case.labels},
}
every_taker_of_labels = pytest.mark.parametrize("operation", TAKES_LABELS)
NOT_LABELS = {name: entry for name, entry in NOT_NUMBERS.items() if name not in LABELS} | {
    "Float32": (pl.Series([1.0, None], dtype=pl.Float32), "f32"),
    "Float64": (pl.Series([1.0, None]), "f64"),
    "Decimal": (pl.Series(["1", None]).cast(pl.Decimal(10, 2)), r"decimal\[10,2\]"),
    "Struct": (pl.Series([{"p": 1}, {"p": 2}]), r"struct\[1\]"),
}


@every_taker_of_labels
@pytest.mark.parametrize("dtype", NOT_LABELS)
def test_a_column_that_holds_no_labels_is_named(operation: str, dtype: str) -> None:
    if dtype == "Object" and not RUST:
        pytest.xfail("Polars panics where it makes up rows of an Object column to find the dtype of a Python function")
    if dtype == "Struct" and operation in LABELLED:
        pytest.skip("its fields are the columns")
    series, text = NOT_LABELS[dtype]
    frame = pl.DataFrame({"x": series, "a": [1.0, 2.0]})
    lazy = frame.lazy().select(TAKES_LABELS[operation]("x"))
    for run in (lazy.collect, lazy.collect_schema):
        message = refusal(run)
        expected = rf"acm\.{operation}: column `x` has dtype ({text}); labels are integers, text or booleans: "
        assert re.search(expected, message), message


@pytest.mark.parametrize("dtype", [*NOT_NUMBERS, *(name for name in NOT_LABELS if name not in NOT_NUMBERS)])
def test_statistics_name_a_column_that_they_cannot_use(dtype: str) -> None:
    series, _ = (NOT_NUMBERS | NOT_LABELS)[dtype]
    frame = pl.DataFrame({"x": series, "label": [1, 2]})
    own = re.escape(str(series.dtype))
    if dtype in NOT_LABELS:
        expected = rf"acm\.regime_statistics: `labels` must be integers, text or booleans in the column `x`, got {own}"
        with pytest.raises(ValueError, match=expected):
            acm.regime_statistics(frame, "x")
    if dtype in NOT_NUMBERS:
        with pytest.raises(
            ValueError, match=rf"acm\.regime_statistics: `score` must be numbers in the column `x`, got {own}"
        ):
            acm.regime_statistics(frame, "label", score="x")


@every_taker_of_labels
@pytest.mark.parametrize("dtype", [dtype for dtype in numeric_dtypes() if dtype.is_integer()], ids=str)
def test_labels_of_every_integer_are_alike(operation: str, dtype: pl.DataType) -> None:
    labels = [0, 0, 1, 0, 0, None, 2, 2, 2, 1, 1, 1, 1, 2, 1, 1]
    frame = FRAME.head(len(labels)).select("a", pl.Series("x", labels, dtype=pl.Int64))
    expected = frame.select(TAKES_LABELS[operation]("x"))
    assert expected.to_series().null_count() < expected.height
    result = frame.with_columns(pl.col("x").cast(dtype)).select(TAKES_LABELS[operation]("x"))
    assert result.dtypes == ([dtype] if operation.startswith("smooth") else expected.dtypes)
    assert_frame_equal(result.cast({cs.integer(): pl.Int64}), expected, check_exact=True)


# --- little data, missing data, hostile data -------------------------------------------------------------------------


@every_row_subject
def test_an_empty_frame_gives_an_empty_result(case: Case | Trained) -> None:
    empty = FRAME.clear()
    for columns in FORMS.values():
        assert empty.select(case(columns)).is_empty()
        assert empty.lazy().select(case(columns)).collect(engine="streaming").is_empty()
        assert empty.select(case(columns).over("asset")).is_empty()


@every_case
def test_one_row_is_the_first_row(case: Case) -> None:
    for columns in FORMS.values():
        assert_frame_equal(FRAME.head(1).select(case(columns)), FRAME.select(case(columns)).head(1), check_exact=True)


MISSING = {
    "null": [None],
    "nan": [np.nan],
    "inf": [np.inf],
    "-inf": [-np.inf],
    "mixed": [None, np.nan, np.inf, -np.inf, -np.nan],
}


def with_missing(kinds: list[float | None], dtype: type[pl.DataType], *, every: int) -> pl.DataFrame:
    values: list[float | None] = readings(FRAME.height, 7).tolist()
    for count, row in enumerate(range(0, len(values), every)):
        values[row] = kinds[count % len(kinds)]
    return FRAME.select("time", pl.Series("a", values, dtype=dtype))


@every_subject
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_null_nan_and_infinities_are_alike(case: Case | Trained, dtype: type[pl.DataType]) -> None:
    expected = with_missing([None], dtype, every=3).select(case("a"))
    for kinds in MISSING.values():
        assert_frame_equal(with_missing(kinds, dtype, every=3).select(case("a")), expected, check_exact=True)


@pytest.mark.parametrize("case", [*CASES, *(case for case in TRAINED if case.fit)], ids=str)
@pytest.mark.parametrize("kind", MISSING)
def test_nothing_but_missing_readings_gives_nulls(case: Case | Trained, kind: str) -> None:
    for dtype in (pl.Float32, pl.Float64):
        result = flat(with_missing(MISSING[kind], dtype, every=1).select(case("a")))
        assert all(column.null_count() == FRAME.height for column in result)


HOSTILE = [None, np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 5e-324, 2.3e-308, 3.4e38, -3.4e38, 1.7e308, -1.7e308, 1e160]


@every_row_subject
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_no_result_is_nan_or_infinite(case: Case | Trained, dtype: type[pl.DataType]) -> None:
    for seed in range(3):
        values = [HOSTILE[k] for k in np.random.default_rng(seed).integers(0, len(HOSTILE), FRAME.height)]
        frame = FRAME.select("time", pl.Series("a", values, dtype=pl.Float64).cast(dtype))
        result = flat(frame.select(case("a")))
        assert all(column.drop_nulls().is_finite().all() for column in result if column.dtype.is_float())


# --- what does not exist ---------------------------------------------------------------------------------------------


@every_simple_subject
def test_an_unknown_column_is_polars_own_error(case: Case | Trained) -> None:
    exprs = [case("nowhere"), case(["a", "nowhere"])]
    if isinstance(case, Case) and REGISTRY[case.operation].durations:
        exprs.append(case("a", window_size="4m", by="nowhere"))
    for expr in exprs:
        for run in (lambda expr=expr: FRAME.select(expr), FRAME.lazy().select(expr).collect_schema):
            with pytest.raises(ColumnNotFoundError, match="nowhere"):
                run()


@every_simple_subject
def test_a_selector_without_columns_is_polars_own_error(case: Case | Trained) -> None:
    none = cs.by_dtype(pl.Time)
    lazy = FRAME.lazy().select(case(none))
    with pytest.raises(InvalidOperationError) as polars_own:
        FRAME.select(pl.struct(none))
    for run in (lambda: FRAME.select(case(none)), lazy.collect, lazy.collect_schema):
        assert str(polars_own.value).splitlines()[0] in refusal(run)


# --- time ------------------------------------------------------------------------------------------------------------


def assert_close(ours: pl.DataFrame, expected: pl.DataFrame, tolerance: float) -> None:
    """Equal names and nulls; floats differ at most by `tolerance`, relative to the largest of the column if above 1."""
    assert ours.columns == expected.columns
    assert ours.height == expected.height
    for left, right in zip(ours, expected, strict=True):
        assert left.is_null().to_list() == right.is_null().to_list(), left.name
        if left.dtype == pl.Boolean:
            assert left.to_list() == right.to_list(), left.name
        elif left.null_count() < len(left):
            scale = max(1.0, float(right.abs().max()))
            assert (left - right).abs().max() <= tolerance * scale, left.name


@every_case_by
def test_regular_times_are_rows(case: Case) -> None:
    window_size = int(case.parameters["window_size"].removesuffix("m"))
    rows = Case(case.operation, case.parameters | {"window_size": window_size, "by": None})
    by_rows = flat(FRAME.select(rows(["a", "b"]))).select(~cs.contains("_energy_"))
    by_time = flat(FRAME.select(case(["a", "b"])))
    slopes = cs.all() if case.operation == "rolling_slope" else cs.ends_with("_slope")
    assert_close(by_time.with_columns(slopes * 60), by_rows, 1e-12)


TIMES = {
    "ms": pl.col("time").cast(pl.Datetime("ms")),
    "ns": pl.col("time").cast(pl.Datetime("ns")),
    "UTC": pl.col("time").dt.replace_time_zone("UTC"),
    "Europe/Paris": pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Paris"),
    "Asia/Kolkata ns": pl.col("time").cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone("Asia/Kolkata"),
    "before 1970": pl.col("time").dt.offset_by("-700000h"),
}


@every_case_by
@pytest.mark.parametrize("kind", TIMES)
def test_units_and_time_zones_do_not_matter(case: Case, kind: str) -> None:
    expected = flat(FRAME.select(case(["a", "f"])))
    ours = flat(FRAME.with_columns(TIMES[kind]).select(case(["a", "f"])))
    if kind == "before 1970":  # blocks, so the order of summation, go with the epoch
        assert_close(ours, expected, 1e-6)
    else:
        assert_frame_equal(ours, expected, check_exact=True)


@every_operation_by
def test_dates(case: Case) -> None:
    by_date = FRAME.with_columns(pl.date_range(date(1969, 11, 1), interval="1d", end=date(1970, 7, 8)).alias("time"))
    expected = by_date.with_columns(pl.col("time").cast(pl.Datetime("us")))
    assert_frame_equal(
        by_date.select(case(["a", "f"], window_size="4d")),
        expected.select(case(["a", "f"], window_size="4d")),
        check_exact=True,
    )


@every_operation_by
@pytest.mark.parametrize(
    "dtype", sorted({*NOT_NUMBERS} - {"Date", "Datetime"} | {"Null", "Float64", "Int64", "Struct"})
)
def test_a_time_that_is_none_is_named(case: Case, dtype: str) -> None:
    more = {
        "Null": (pl.Series([None, None]), "null"),
        "Float64": (pl.Series([1.0, 2.0]), "f64"),
        "Int64": (pl.Series([1, 2]), "i64"),
        "Struct": (pl.Series([{"p": 1.0}, {"p": 2.0}]), r"struct\[1\]"),
    }
    series, text = (NOT_NUMBERS | more)[dtype]
    frame = pl.DataFrame({"a": [1.0, 2.0], "time": series})
    expected = rf"acm\.{case.operation}: `by` must be a Datetime or Date column, `time` has dtype ({text})"
    for columns in ("a", ["a"]):
        lazy = frame.lazy().select(case(columns))
        for run in (lazy.collect, lazy.collect_schema):
            message = refusal(run)
            assert re.search(expected, message), message


@every_operation_by
@pytest.mark.parametrize(
    ("times", "text"),
    [
        ([DAY, DAY + timedelta(1), DAY], "`by` must be ascending"),
        ([DAY, None, DAY + timedelta(1)], "`by` must have no nulls"),
        ([None, None, None], "`by` must have no nulls"),
        ([DAY, DAY, datetime(9999, 1, 1)], "years 1677 to 2262"),
    ],
)
def test_times_that_cannot_be_used_are_named_in_groups_too(case: Case, times: list[datetime], text: str) -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "asset": 1}).with_columns(
        pl.Series("time", times, dtype=pl.Datetime("us"))
    )
    for columns in ("a", ["a"]):
        assert "`time`" in refusal(lambda columns=columns: frame.select(case(columns)))
        for run in (
            lambda columns=columns: frame.select(case(columns)),
            lambda columns=columns: frame.select(case(columns).over("asset")),
            lambda columns=columns: frame.group_by("asset").agg(case(columns)),
        ):
            message = refusal(run)
            assert f"acm.{case.operation}:" in message
            assert text in message
            assert "``" not in message  # within groups Polars may hand over columns without their names


@every_operation_by
def test_a_time_column_of_another_length_is_refused(case: Case) -> None:
    longer = pl.datetime_range(START, START + timedelta(minutes=FRAME.height), "1m")
    for by in (pl.col("time").head(3), pl.col("time").head(0), pl.lit(START), longer):
        for columns in ("a", SENSORS):
            message = refusal(lambda by=by, columns=columns: FRAME.select(case(columns, by=by)))
            assert f"acm.{case.operation}: `by`" in message


# --- other processes -------------------------------------------------------------------------------------------------

# has never heard of acm_rs
CHILD = """
import io, sys
import polars as pl
plan = pl.LazyFrame.deserialize(io.BytesIO(sys.stdin.buffer.read()))
result = plan.collect(engine=sys.argv[1])
assert "acm_rs" not in sys.modules
out = io.BytesIO()
result.write_ipc(out)
sys.stdout.buffer.write(out.getvalue())
"""
WIDE = pl.DataFrame({f"s{k}": readings(450, k) for k in range(40)}).with_columns(
    pl.col("^s.$").cast(pl.Float32), (pl.lit(START) + pl.duration(minutes=pl.int_range(450))).alias("time")
)


def all_cases() -> pl.LazyFrame:
    """All operations over more cells than one thread is given."""
    assert WIDE.height * (WIDE.width - 1) > 16384
    return WIDE.lazy().select(case(cs.float()).alias(str(case)) for case in CASES)


@pytest.fixture(scope="module")
def expected_of_all_cases() -> pl.DataFrame:
    return all_cases().collect()


@rust_only
@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_fresh_process_and_any_number_of_threads(
    engine: str, threads: int, expected_of_all_cases: pl.DataFrame
) -> None:
    settings = {"POLARS_MAX_THREADS": str(threads), "POLARS_IDEAL_MORSEL_SIZE": "64"}
    child = subprocess.run(
        [sys.executable, "-I", "-c", CHILD, engine],
        input=all_cases().serialize(),
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    assert_frame_equal(pl.read_ipc(io.BytesIO(child.stdout)), expected_of_all_cases, check_exact=True)


@every_subject
def test_an_expression_can_be_pickled(case: Case | Trained) -> None:
    expr = pickle.loads(pickle.dumps(case(SENSORS)))
    assert_same(expr, case(SENSORS), FRAME)


# --- oracles from outside --------------------------------------------------------------------------------------------

# Readings are well-scaled, so that each oracle is accurate to far more than this.
TOLERANCE = 1e-9
ORACLE_WINDOWS = [(4, 1), (4, 4), (16, 3), (16, 16), (120, 1), (120, 60)]
every_window = pytest.mark.parametrize(("window_size", "min_samples"), ORACLE_WINDOWS)


def noise(gaps: float = 0.1, rows: int = 400) -> Any:
    rng = np.random.default_rng(11)
    values = rng.normal(loc=2.0, size=rows)
    values[rng.random(rows) < gaps] = np.nan
    return values


def assert_values(expr: pl.Expr, frame: pl.DataFrame, expected: Iterable[float], tolerance: float = TOLERANCE) -> None:
    ours = flat(frame.select(expr)).to_series()
    theirs = pl.Series(ours.name, np.asarray(expected, dtype=float)).fill_nan(None)
    assert_close(ours.to_frame(), theirs.to_frame(), tolerance)


def windows(values: Any, window_size: int) -> list[Any]:
    return [values[max(0, row - window_size + 1) : row + 1] for row in range(len(values))]


def per_window(values: Any, window_size: int, min_samples: int, statistic: Callable[[Any], float]) -> list[float]:
    """`statistic` of the readings that are present, where there are enough."""
    present = [window[~np.isnan(window)] for window in windows(values, window_size)]
    return [statistic(window) if len(window) >= min_samples else np.nan for window in present]


PANDAS = {
    "rolling_median": ("median", 1),
    "rolling_mean": ("mean", 1),
    "rolling_std": ("std", 2),
    "rolling_skew": ("skew", 3),
    "rolling_kurtosis": ("kurt", 4),
}


@every_window
@pytest.mark.parametrize("name", PANDAS)
def test_pandas_agrees(name: str, window_size: int, min_samples: int) -> None:
    pd = pytest.importorskip("pandas")
    method, _ = PANDAS[name]
    values = noise()
    theirs = getattr(pd.Series(values).rolling(window_size, min_periods=min_samples), method)()
    ours = getattr(acm, name)("x", window_size, min_samples=min_samples)
    assert_values(ours, pl.DataFrame({"x": values}), theirs.to_numpy())


@pytest.mark.parametrize("name", PANDAS)
@pytest.mark.parametrize("min_samples", [1, 5])
def test_pandas_agrees_on_irregular_times(name: str, min_samples: int) -> None:
    pd = pytest.importorskip("pandas")
    method, least = PANDAS[name]
    values = noise()
    seconds = np.random.default_rng(2).integers(0, 90, len(values)).cumsum()  # some of them equal
    times = (np.datetime64("2024-01-01") + seconds.astype("timedelta64[s]")).astype("datetime64[ns]")
    rolling = pd.Series(values, index=times).rolling("10min", min_periods=max(min_samples, least))
    ours = getattr(acm, name)("x", "10m", min_samples=min_samples, by="t")
    assert_values(ours, pl.DataFrame({"x": values, "t": times}), getattr(rolling, method)().to_numpy())


@every_window
@pytest.mark.parametrize("scale", [1.0, "normal"])
def test_scipy_agrees_on_the_mad(window_size: int, min_samples: int, scale: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = noise()
    divisor = 1 / 1.4826 if scale == "normal" else 1.0
    theirs = per_window(
        values, window_size, min_samples, lambda window: stats.median_abs_deviation(window, scale=divisor)
    )
    ours = acm.rolling_mad("x", window_size, min_samples=min_samples, scale=scale)
    assert_values(ours, pl.DataFrame({"x": values}), theirs)


@every_window
def test_numpy_agrees_on_outliers(window_size: int, min_samples: int) -> None:
    values = noise()

    def z(window: Any) -> float:
        centre = np.median(window)
        spread = 1.4826 * np.median(np.abs(window - centre))
        distance = window[-1] - centre
        return distance / spread if spread > 0 else np.sign(distance) * np.inf if distance else 0.0

    scores = np.asarray(per_window(values, window_size, min_samples, z))
    scores[np.isnan(values)] = np.nan
    frame = pl.DataFrame({"x": values})
    ours = acm.rolling_robust_z("x", window_size, min_samples=min_samples)
    assert_values(ours, frame, np.clip(scores, -100, 100))
    outliers = [None if np.isnan(score) else bool(abs(score) > 2.0) for score in scores]
    ours = acm.rolling_hampel("x", window_size, 2.0, min_samples=min_samples)
    assert frame.select(ours).to_series().to_list() == outliers


@every_window
def test_numpy_agrees_on_the_slope(window_size: int, min_samples: int) -> None:
    values = noise()

    def slope(window: Any) -> float:
        present = ~np.isnan(window)
        if present.sum() < max(2, min_samples):
            return np.nan
        return np.polyfit(np.arange(len(window))[present], window[present], 1)[0]

    theirs = [slope(window) for window in windows(values, window_size)]
    assert_values(acm.rolling_slope("x", window_size, min_samples=min_samples), pl.DataFrame({"x": values}), theirs)


@pytest.mark.parametrize("sampling_hz", [1.0, 0.25])
@pytest.mark.parametrize(("window_size", "min_samples"), [(2, 2), (5, 3), (16, 8), (60, 1), (64, 32), (97, 48)])
def test_numpy_agrees_on_the_energies(window_size: int, min_samples: int, sampling_hz: float) -> None:
    values = noise()
    nyquist = sampling_hz / 2
    edges = [(0.0, 0.1 * nyquist), (0.1 * nyquist, 0.3 * nyquist), (0.3 * nyquist, nyquist)]

    def energies(window: Any) -> list[float]:
        present = ~np.isnan(window)
        if present.sum() < min_samples:
            return [np.nan] * len(edges)
        centred = np.where(present, window - window[present].mean(), 0.0)
        power = np.abs(np.fft.rfft(centred)) ** 2
        frequencies = np.fft.rfftfreq(len(window)) * sampling_hz
        return [power[(low <= frequencies) & (frequencies < high)].sum() for low, high in edges]

    theirs = [energies(window) for window in windows(values, window_size)]
    ours = acm.rolling_spectral_energy("x", window_size, sampling_hz=sampling_hz, min_samples=min_samples)
    frame = pl.DataFrame({"x": values}).select(ours).unnest("rolling_spectral_energy")
    assert_close(frame, pl.DataFrame(theirs, schema=frame.schema, orient="row").fill_nan(None), TOLERANCE)
