"""The public functions: what they accept, what they refuse and with which words, and that their docs are true."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import detectors, fast_features, features, namespace, regimes
from backends import assert_same
from polars.exceptions import ColumnNotFoundError, ComputeError
from polars.testing import assert_frame_equal

OPERATIONS = [name for name in features.rolling.__all__ if name != "tail"]
METHODS = [name for name, _ in inspect.getmembers(namespace.AcmNamespace, inspect.isfunction) if name[0] != "_"]
DETECTORS = [name for name in detectors.__all__ if inspect.isfunction(getattr(detectors, name))]
REGIMES = [name for name in regimes.__all__ if inspect.isfunction(getattr(regimes, name))]
PER_COLUMN = [name for name in OPERATIONS if name not in ("rolling_features", "rolling_spectral_energy")]
WINDOW = 4

DF = pl.DataFrame({"a": [1.0, 2.0, 9.0, None, 4.0, 3.0], "b": [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]})


def function(name: str) -> Callable[..., pl.Expr]:
    return getattr(acm, name)


# --- one name, one signature, one text -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_function_and_method_have_one_signature(name: str) -> None:
    of_function = inspect.signature(function(name))
    of_method = inspect.signature(getattr(namespace.AcmNamespace, name))
    assert list(of_function.parameters.values())[1:] == list(of_method.parameters.values())[1:]
    assert of_function.return_annotation == of_method.return_annotation


@pytest.mark.parametrize("name", OPERATIONS)
def test_function_and_method_are_the_same_operation(name: str) -> None:
    method = getattr(pl.col("a").acm, name)
    assert_same(method(WINDOW), function(name)("a", WINDOW), DF)


def test_every_operation_is_exported_and_is_a_method() -> None:
    on_frames = {"gaps", "quality_report", "operating_columns", "regime_statistics", "tail"}
    assert set(METHODS) == {*features.__all__, *DETECTORS, *REGIMES} - on_frames
    for module in (features, detectors, regimes):
        assert set(module.__all__) < set(acm.__all__)
        assert all(getattr(acm, name) is getattr(module, name) for name in module.__all__)
    assert all(hasattr(acm, name) for name in acm.__all__)


def documented_parameters(text: str) -> list[str]:
    section = re.search(r"Parameters\n-+\n(.*?)\n\n\w+\n-+\n", text, re.DOTALL)
    assert section, "no parameters"
    return re.findall(r"^(\w+) : .", section[1], re.MULTILINE)


@pytest.mark.parametrize(
    "documented",
    [
        getattr(module, name)
        for module in (features, detectors, regimes, fast_features)
        for name in module.__all__
        if inspect.isfunction(getattr(module, name))
    ],
    ids=lambda f: f"{f.__module__.rpartition('.')[2]}.{f.__name__}",
)
def test_docstring_names_the_parameters(documented: Callable[..., Any]) -> None:
    text = inspect.getdoc(documented)
    assert text is not None
    assert documented_parameters(text) == list(inspect.signature(documented).parameters)
    assert "\nReturns\n" in text


@pytest.mark.parametrize("name", [*features.__all__, *DETECTORS, *REGIMES])
def test_docstring_has_notes_and_examples(name: str) -> None:
    text = inspect.getdoc(function(name))
    assert text is not None
    assert "\nNotes\n" in text
    assert "Cost" in text
    assert "\nExamples\n" in text


@pytest.mark.parametrize("name", METHODS)
def test_docstring_of_a_method_leads_to_the_function(name: str) -> None:
    assert f":func:`acm_rs.{name}`" in inspect.getdoc(getattr(namespace.AcmNamespace, name))


MODULES = [acm, features, detectors, regimes, namespace, fast_features]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_examples_run(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_col_is_polars_col() -> None:
    assert acm.col is pl.col
    assert_same(acm.col("a").acm.rolling_median(WINDOW), acm.rolling_median("a", WINDOW), DF)


# --- one column or many ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PER_COLUMN)
def test_name_and_expression_work_column_by_column(name: str) -> None:
    single = [DF.select(function(name)(column, WINDOW)) for column in DF.columns]
    expanded = DF.select(function(name)(pl.col("a", "b"), WINDOW))
    assert expanded.equals(pl.DataFrame([column for frame in single for column in frame]))
    assert DF.select(function(name)("^.$", WINDOW)).equals(expanded)


@pytest.mark.parametrize("name", PER_COLUMN)
@pytest.mark.parametrize("many", [["a", "b"], ("a", pl.col("b")), cs.numeric(), [cs.numeric()]], ids=str)
def test_list_tuple_and_selector_make_one_struct(name: str, many: Any) -> None:
    packed = DF.select(function(name)(many, WINDOW))
    assert packed.columns == [name]
    assert packed.unnest(name).equals(DF.select(function(name)(pl.col("a", "b"), WINDOW)))


@pytest.mark.parametrize("name", PER_COLUMN)
def test_a_list_of_one_is_a_struct_too(name: str) -> None:
    assert (
        DF.select(function(name)(["a"], WINDOW)).schema[name]
        == DF.select(pl.struct(function(name)("a", WINDOW))).to_series().dtype
    )


def test_namespace_of_a_selector_makes_one_struct() -> None:
    packed = DF.select(cs.numeric().acm.rolling_median(WINDOW))
    assert packed.equals(DF.select(acm.rolling_median(["a", "b"], WINDOW)))


@pytest.mark.parametrize("name", ["rolling_features", "rolling_spectral_energy"])
@pytest.mark.parametrize("by_name", ["a", "b"])
def test_several_results_are_a_struct_for_a_single_column(name: str, by_name: str) -> None:
    packed = DF.select(function(name)(by_name, WINDOW))
    assert packed.columns == [name]
    assert all(field.startswith(f"{by_name}_") for field in packed.unnest(name).columns)


@pytest.mark.parametrize("name", ["rolling_features", "rolling_spectral_energy"])
@pytest.mark.parametrize(
    "many",
    [pl.col("a", "b"), ["a", "b"], cs.numeric(), pl.struct("a", "b"), pl.struct("a", "b").alias("s")],
    ids=["expr", "list", "selector", "struct", "named struct"],
)
def test_several_results_of_several_columns_are_one_struct(name: str, many: Any) -> None:
    packed = DF.select(function(name)(many, WINDOW))
    assert packed.columns == [name]
    alone = [DF.select(function(name)(column, WINDOW).struct.unnest()) for column in DF.columns]
    assert packed.unnest(name).equals(pl.DataFrame([column for frame in alone for column in frame]))


def test_fields_of_rolling_features() -> None:
    energies = ["energy_0", "energy_1", "energy_2"]
    expected = ["med", "mad", "mean", "std", "slope", "skew", "kurt", *energies, "rz"]
    assert DF.select(acm.rolling_features("a", WINDOW).struct.unnest()).columns == [f"a_{f}" for f in expected]
    timed = DF.with_columns(t=pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 1, 5), "1h"))
    columns = timed.select(acm.rolling_features("a", "4h", by="t").struct.unnest()).columns
    assert columns == [f"a_{f}" for f in expected if f not in energies]


def test_rolling_features_are_the_operations() -> None:
    columns = ["a", "b"]
    frame = DF.select(acm.rolling_features(columns, WINDOW).struct.unnest())
    for suffix, name in {
        "med": "rolling_median",
        "mad": "rolling_mad",
        "mean": "rolling_mean",
        "std": "rolling_std",
        "slope": "rolling_slope",
        "skew": "rolling_skew",
        "kurt": "rolling_kurtosis",
        "rz": "rolling_robust_z",
    }.items():
        for column in columns:
            alone = DF.select(function(name)(column, WINDOW)).to_series()
            assert frame[f"{column}_{suffix}"].equals(alone), (column, name)
    energies = DF.select(acm.rolling_spectral_energy(columns, WINDOW).struct.unnest())
    assert frame.select(energies.columns).equals(energies)


@pytest.mark.parametrize("wanted", [["mean", "std"], ["rz", "energy", "med"], ("kurt",), ["slope", "mad", "skew"]])
def test_some_of_rolling_features_in_the_order_wanted(wanted: Any) -> None:
    every = DF.select(acm.rolling_features(["a", "b"], WINDOW)).unnest("rolling_features")
    some = DF.select(acm.rolling_features(["a", "b"], WINDOW, features=wanted)).unnest("rolling_features")
    bands = [f"energy_{band}" for band in range(3)]
    suffixes = [suffix for feature in wanted for suffix in (bands if feature == "energy" else [feature])]
    assert some.equals(every.select(f"{column}_{suffix}" for column in "ab" for suffix in suffixes))


def test_features_of_time_windows_have_no_energy_to_leave_out() -> None:
    timed = DF.with_columns(t=pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 1, 5), "1h"))
    some = acm.rolling_features("a", "4h", by="t", features=["mean", "rz"])
    every = timed.select(acm.rolling_features("a", "4h", by="t")).unnest("rolling_features")
    assert timed.select(some).unnest("rolling_features").equals(every.select("a_mean", "a_rz"))


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("number", [np.int64, np.uint8, np.int32])
def test_numpy_integers_are_integers(name: str, number: type) -> None:
    ours = function(name)("a", number(WINDOW), min_samples=number(2))
    assert DF.select(ours).equals(DF.select(function(name)("a", WINDOW, min_samples=2)))


def test_numpy_floats_are_floats() -> None:
    edges = np.array([[0.0, 0.5], [0.5, 1.0]])
    ours = acm.rolling_spectral_energy("a", WINDOW, bands=edges, sampling_hz=np.float32(2.0))
    assert DF.select(ours).equals(
        DF.select(acm.rolling_spectral_energy("a", WINDOW, bands=[(0, 0.5), (0.5, 1)], sampling_hz=2))
    )


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("window_size", [7, 1000])
def test_a_window_may_be_larger_than_the_column(name: str, window_size: int) -> None:
    parameters = {"min_samples": 2} if name == "rolling_spectral_energy" else {}
    result = DF.select(function(name)("b", window_size, **parameters))
    expected = DF.select(function(name)("b", DF.height, **parameters))
    if name == "rolling_features":  # whose energies need half of the window
        result, expected = (frame.unnest(name).select(~cs.contains("_energy_")) for frame in (result, expected))
    assert_frame_equal(result, expected)


def test_a_huge_window_takes_neither_memory_nor_time() -> None:
    # in a process of its own with little memory, because an allocation that fails ends the process
    code = f"""
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
except ImportError:
    pass
import acm_rs as acm
import polars as pl
df = pl.DataFrame({{"x": [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]}})
for name in {OPERATIONS}:
    for window_size in (10**5, 10**7, 2**40, 2**62):
        df.select(getattr(acm, name)("x", window_size))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


DURATIONS = {
    "7200s": timedelta(hours=2),
    "2h": timedelta(hours=2),
    "1h60m": timedelta(hours=2),
    "7200000ms": timedelta(hours=2),
    "7200000000us": timedelta(hours=2),
    "7200000000000ns": timedelta(hours=2),
    "1d12h": timedelta(days=1, hours=12),
    "1w": timedelta(weeks=1),
}


@pytest.mark.parametrize("text", DURATIONS)
def test_durations(text: str) -> None:
    start = datetime(2024, 1, 1)
    frame = DF.with_columns(t=pl.datetime_range(start, start + 5 * DURATIONS[text] / 2, DURATIONS[text] / 2))
    assert_same(acm.rolling_mean("a", text, by="t"), acm.rolling_mean("a", DURATIONS[text], by=pl.col("t")), frame)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.timedelta64(2, "h"), "2h"),
        (np.timedelta64(7200, "s"), "2h"),
        (np.timedelta64(1, "D"), "1d"),
        (np.timedelta64(1, "W"), "1w"),
        (np.timedelta64(90, "m"), "90m"),
        (np.timedelta64(3, "25s"), "75s"),
        (np.timedelta64(5, "ns"), "5ns"),
        (np.timedelta64(5, "us"), "5us"),
        (np.timedelta64(5, "ms"), "5ms"),
    ],
    ids=str,
)
def test_numpy_durations(value: Any, text: str) -> None:
    step = int(value / np.timedelta64(1, "ns")) * 2 // 5  # three readings to a window
    frame = DF.with_columns(t=(pl.int_range(pl.len()) * step).cast(pl.Datetime("ns")))
    assert_same(acm.rolling_mean("a", value, by="t"), acm.rolling_mean("a", text, by="t"), frame)
    with pytest.raises(ValueError, match="unless `by` names a time column"):  # and not a number of rows
        acm.rolling_mean("a", value)


@pytest.mark.parametrize("value", [np.timedelta64(1, "M"), np.timedelta64(1, "Y"), np.timedelta64("NaT", "s")], ids=str)
def test_numpy_durations_without_a_length(value: Any) -> None:
    with pytest.raises(ValueError, match="of fixed length, in ns, us, ms, s, m, h, D, W"):
        acm.rolling_mean("a", value, by="t")


def test_numpy_durations_are_not_other_numbers() -> None:
    hour = np.timedelta64(1, "h")
    for call in (lambda: acm.rolling_mean("a", 3, min_samples=hour), lambda: acm.rolling_mad("a", 3, scale=hour)):
        with pytest.raises(TypeError, match="timedelta64"):
            call()


@pytest.mark.parametrize("value", [list(range(10**6)), DF, np.arange(10**6), "x" * 1000, 10**400, {1: "y" * 500}])
def test_long_values_are_shortened_in_messages(value: Any) -> None:
    for parameter in ("scale", "window_size"):
        arguments = {"window_size": 3} | {parameter: value}
        with pytest.raises((TypeError, ValueError)) as caught:
            acm.rolling_mad("a", **arguments)
        text = str(caught.value)
        assert f"`{parameter}` must be" in text
        assert len(text) < 260, text
        assert "\n" not in text


def test_a_duration_looks_back_in_time() -> None:
    times = [datetime(2024, 1, 1, 0, minute) for minute in (0, 1, 5, 6, 6, 30)]
    result = DF.with_columns(t=pl.Series(times)).select(acm.rolling_mean("b", "5m", by="t")).to_series()
    expected = [3.0, 2.0, (1.0 + 4.0) / 2, (4.0 + 1.0) / 2, (4.0 + 1.0 + 5.0) / 3, 9.0]
    assert result.to_list() == pytest.approx(expected, rel=1e-15)


ROWS_ALLOWED = 'an int >= 1 (rows), or with `by` a duration such as "2h" or a timedelta'
UNITS = "ns, us, ms, s, m, h, d, w"
NO_COLUMN = "acm.rolling_mean: `expr` must be"


def message(call: Callable[[], Any], error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize("name", OPERATIONS)
def test_refused_windows_name_themselves(name: str) -> None:
    in_rows_alone = name == "rolling_spectral_energy"
    least = 2 if in_rows_alone else 1
    allowed = "an int >= 2 (rows)" if in_rows_alone else ROWS_ALLOWED
    call = function(name)
    for value in (0, -3, least - 1):
        expected = f"acm.{name}: `window_size` must be >= {least}, got {value}"
        assert message(lambda value=value: call("a", value), ValueError) == expected
    for value in (2.5, 3.0, True, None, [3]):
        expected = f"acm.{name}: `window_size` must be {allowed}, got {value!r} ({type(value).__name__})"
        assert message(lambda value=value: call("a", value), TypeError) == expected
    assert message(lambda: call("a", 2**63), ValueError).endswith(f"must be <= {2**63 - 1}, got {2**63}")
    text, error = "an int >= 1 (rows) unless `by` names a time column, got '2h'", ValueError
    if in_rows_alone:
        text, error = f"{allowed}, got '2h' (str)", TypeError
    assert message(lambda: call("a", "2h"), error) == f"acm.{name}: `window_size` must be {text}"
    assert "got datetime.timedelta" in message(lambda: call("a", timedelta(hours=2)), error)


@pytest.mark.parametrize("name", OPERATIONS)
def test_refused_min_samples_name_themselves(name: str) -> None:
    call = function(name)
    for value in (0, -1):
        expected = f"acm.{name}: `min_samples` must be >= 1, got {value}"
        assert message(lambda value=value: call("a", 4, min_samples=value), ValueError) == expected
    for value in (1.0, True, "2"):
        expected = f"acm.{name}: `min_samples` must be an int >= 1, got {value!r} ({type(value).__name__})"
        assert message(lambda value=value: call("a", 4, min_samples=value), TypeError) == expected
    expected = f"acm.{name}: `min_samples` must be <= `window_size` (4), got 5"
    assert message(lambda: call("a", 4, min_samples=5), ValueError) == expected


@pytest.mark.parametrize("name", OPERATIONS)
def test_refused_columns_name_themselves(name: str) -> None:
    call = function(name)
    expected = f"acm.{name}: `expr` must be a column name, an expression, a list of them or a selector, got 5 (int)"
    assert message(lambda: call(5, 4), TypeError) == expected
    expected = f"acm.{name}: `expr` must be at least one column, got []"
    assert message(lambda: call([], 4), ValueError) == expected
    expected = f"acm.{name}: `expr` must be column names or expressions, got None (NoneType)"
    assert message(lambda: call(["a", None], 4), TypeError) == expected


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # a window by duration
    (
        lambda: acm.rolling_mean("a", 16, by="t"),
        ValueError,
        'acm.rolling_mean: `window_size` must be a duration such as "2h" or a timedelta when `by` is given, got 16',
    ),
    (
        lambda: acm.rolling_mean("a", 2.5, by="t"),
        TypeError,
        f"acm.rolling_mean: `window_size` must be {ROWS_ALLOWED}, got 2.5 (float)",
    ),
    *[
        (
            lambda text=text: acm.rolling_mean("a", text, by="t"),
            ValueError,
            f"acm.rolling_mean: `window_size` must be of fixed length, in {UNITS} (not in the unit {unit!r}), "
            f"got {text!r}",
        )
        for text, unit in [("1mo", "mo"), ("1q", "q"), ("2y", "y"), ("3i", "i"), ("1d2mo", "mo")]
    ],
    *[
        (
            lambda text=text: acm.rolling_mean("a", text, by="t"),
            ValueError,
            f'acm.rolling_mean: `window_size` must be a positive duration such as "2h" or "1d12h", in {UNITS}, '
            f"got {text!r}",
        )
        for text in ["", "2", "h", "-2h", "2 h", "1.5h", "2x", "2H", "2hours"]
    ],
    *[
        (
            lambda value=value: acm.rolling_mean("a", value, by="t"),
            ValueError,
            "acm.rolling_mean: `window_size` must be a duration above 0 and below 2**63 nanoseconds (292 years), "
            f"got {value!r}",
        )
        for value in ["0h", timedelta(0), timedelta(hours=-1), "200000d", timedelta(days=200_000)]
    ],
    (
        lambda: acm.rolling_mean("a", "2h", by=3),
        TypeError,
        "acm.rolling_mean: `by` must be a column name, an expression or None, got 3 (int)",
    ),
    (
        lambda: acm.rolling_mean("a", "2h", by="t", min_samples=0),
        ValueError,
        "acm.rolling_mean: `min_samples` must be >= 1, got 0",
    ),
    # what single operations take
    *[
        (
            lambda value=value: acm.rolling_mad("a", 4, scale=value),
            ValueError,
            f"acm.rolling_mad: `scale` must be a finite number > 0, got {value!r}",
        )
        for value in [0.0, -1, float("nan"), float("inf")]
    ],
    (
        lambda: acm.rolling_mad("a", 4, scale="norm"),
        ValueError,
        "acm.rolling_mad: `scale` must be a finite number > 0 or \"normal\", got 'norm'",
    ),
    (
        lambda: acm.rolling_mad("a", 4, scale=True),
        TypeError,
        "acm.rolling_mad: `scale` must be a finite number > 0, got True (bool)",
    ),
    (lambda: acm.rolling_std("a", 4, ddof=-1), ValueError, "acm.rolling_std: `ddof` must be >= 0, got -1"),
    (
        lambda: acm.rolling_std("a", 4, ddof=1.0),
        TypeError,
        "acm.rolling_std: `ddof` must be an int >= 0, got 1.0 (float)",
    ),
    (
        lambda: acm.rolling_std("a", 4, ddof=2**32),
        ValueError,
        f"acm.rolling_std: `ddof` must be <= {2**32 - 1}, got {2**32}",
    ),
    (
        lambda: acm.rolling_skew("a", 4, bias=1),
        TypeError,
        "acm.rolling_skew: `bias` must be True or False, got 1 (int)",
    ),
    (
        lambda: acm.rolling_kurtosis("a", 4, clip=0),
        ValueError,
        "acm.rolling_kurtosis: `clip` must be a finite number > 0, got 0",
    ),
    (
        lambda: acm.rolling_robust_z("a", 4, clip=None),
        TypeError,
        "acm.rolling_robust_z: `clip` must be a finite number > 0, got None (NoneType)",
    ),
    (
        lambda: acm.rolling_robust_z("a", 4, scale_floor=-1e-9),
        ValueError,
        "acm.rolling_robust_z: `scale_floor` must be a finite number >= 0, got -1e-09",
    ),
    (
        lambda: acm.rolling_hampel("a", 4, -1),
        ValueError,
        "acm.rolling_hampel: `n_sigmas` must be a finite number >= 0, got -1",
    ),
    (
        lambda: acm.rolling_hampel("a", 4, "3"),
        TypeError,
        "acm.rolling_hampel: `n_sigmas` must be a finite number >= 0, got '3' (str)",
    ),
    # the spectrum
    (
        lambda: acm.rolling_spectral_energy("a", 4, by="t"),
        ValueError,
        "acm.rolling_spectral_energy: `by` must be None: a spectrum needs rows at equal intervals, got 't'",
    ),
    (
        lambda: acm.rolling_features("a", "2h", by="t", bands=[(0, 0.5)]),
        ValueError,
        "acm.rolling_features: `bands` must be None when `by` is given: a spectrum needs rows at equal intervals, "
        "got [(0, 0.5)]",
    ),
    *[
        (
            lambda wanted=wanted: acm.rolling_features("a", 4, features=wanted),
            ValueError,
            'acm.rolling_features: `features` must be some of "med", "mad", "mean", "std", "slope", "skew", "kurt", '
            f'"energy", "rz", each once, got {wanted!r}',
        )
        for wanted in ([], ["mean", "mean"], ["median"], "mode")
    ],
    (
        lambda: acm.rolling_features("a", "2h", by="t", features=["energy"]),
        ValueError,
        'acm.rolling_features: `features` must be some of "med", "mad", "mean", "std", "slope", "skew", "kurt", "rz", '
        "each once (a window by duration has no spectrum), got ['energy']",
    ),
    (
        lambda: acm.rolling_features("a", 4, features=["mean"], bands=[(0, 0.5)]),
        ValueError,
        'acm.rolling_features: `bands` must be None where `features` has no "energy", got [(0, 0.5)]',
    ),
    *[
        (
            lambda operation=operation, bands=bands: getattr(acm, operation)("a", 4, bands=bands, sampling_hz=2),
            error,
            f"acm.{operation}: {text}",
        )
        for operation in ("rolling_spectral_energy", "rolling_features")
        for bands, error, text in [
            ([], ValueError, "`bands` must be at least one pair (low, high) in Hz, or None, got []"),
            (0.5, TypeError, "`bands` must be a sequence of pairs (low, high) in Hz, got 0.5 (float)"),
            ("ab", TypeError, "`bands` must be a sequence of pairs (low, high) in Hz, got 'ab' (str)"),
            ([0.0, 0.5], TypeError, "`bands[0]` must be a pair (low, high) in Hz, got 0.0 (float)"),
            ([(0, 0.5), (0.5,)], TypeError, "`bands[1]` must be a pair (low, high) in Hz, got (0.5,) (tuple)"),
            ([(0, "1")], TypeError, "`bands[0]` must be a finite number >= 0, got '1' (str)"),
            ([(-0.1, 0.5)], ValueError, "`bands[0]` must be a finite number >= 0, got -0.1"),
            ([(0.5, 0.2)], ValueError, "`bands[0]` must be a pair with low < high, got (0.5, 0.2)"),
            ([(0.5, 0.5)], ValueError, "`bands[0]` must be a pair with low < high, got (0.5, 0.5)"),
            (
                [(0, 0.5), (0.5, 1.1)],
                ValueError,
                "`bands[1]` must be at most the Nyquist frequency sampling_hz / 2 = 1 Hz, got (0.5, 1.1)",
            ),
            (
                [(0, 0.5), (0.4, 1)],
                ValueError,
                "`bands[1]` must be ascending and without overlap, so start at 0.5 Hz or above, got (0.4, 1)",
            ),
            (
                [(0.5, 1), (0, 0.5)],
                ValueError,
                "`bands[1]` must be ascending and without overlap, so start at 1 Hz or above, got (0, 0.5)",
            ),
        ]
    ],
    *[
        (
            lambda value=value: acm.rolling_features("a", 4, sampling_hz=value),
            ValueError,
            f"acm.rolling_features: `sampling_hz` must be a finite number > 0, got {value!r}",
        )
        for value in [0, -1.0, float("inf"), float("nan")]
    ],
]


@pytest.mark.parametrize(("call", "error", "expected"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], expected: str) -> None:
    assert message(call, error) == expected


# --- data ------------------------------------------------------------------------------------------------------------

NOT_NUMERIC = {
    "str": pl.Series("x", ["1", "2"]),
    "bool": pl.Series("x", [True, False]),
    "list[f64]": pl.Series("x", [[1.0], [2.0]]),
    "date": pl.Series("x", [datetime(2024, 1, 1), datetime(2024, 1, 2)]).cast(pl.Date),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", NOT_NUMERIC)
@pytest.mark.parametrize("packed", [False, True], ids=["column", "list"])
def test_other_dtypes_are_an_error_with_name_and_remedy(name: str, dtype: str, packed: bool) -> None:
    expr = function(name)(["x"] if packed else "x", 4)
    lazy = NOT_NUMERIC[dtype].to_frame().lazy().select(expr)
    for run in (lazy.collect, lazy.collect_schema):
        with pytest.raises(ComputeError) as caught:
            run()
        text = str(caught.value)
        assert f"acm.{name}:" in text
        assert "`x`" in text
        assert dtype in text
        assert (".explode()" if dtype == "list[f64]" else "cast") in text


@pytest.mark.parametrize("name", OPERATIONS)
def test_unknown_columns_are_polars_errors(name: str) -> None:
    for columns in ("y", ["a", "y"]):
        with pytest.raises(ColumnNotFoundError, match="y"):
            DF.select(function(name)(columns, 4))


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "rolling_spectral_energy"])
def test_refused_times(name: str) -> None:
    times = pl.Series("t", [datetime(2024, 1, 1, hour) for hour in (0, 1, 2, 4, 3, 5)])
    by = function(name)("a", "2h", by="t")
    with pytest.raises(ComputeError, match=rf"acm\.{name}: `by` must be ascending.*`t`"):
        DF.with_columns(times).select(by)
    with pytest.raises(ComputeError, match=rf"acm\.{name}: `by` must have no nulls.*`t`"):
        DF.with_columns(pl.Series("t", [*times.sort().to_list()[:5], None])).select(by)
    with pytest.raises(ComputeError, match=rf"acm\.{name}: `by` must be a Datetime or Date column.*`t`.*i64"):
        DF.with_columns(t=pl.int_range(6)).select(by)
