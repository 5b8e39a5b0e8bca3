"""Spectra of whole series and seasonal patterns: the contract of aggregates, oracles from outside, refusals."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs.features import seasonal, spectrum
from backends import AS_NULL, RUST, assert_same, rust_only, within
from polars.exceptions import ColumnNotFoundError
from polars.testing import assert_frame_equal
from test_contract import CHILD, HOSTILE, LAYOUTS, MISSING, NOT_NUMBERS, chunked, numeric_dtypes, refusal

# --- the registry ----------------------------------------------------------------------------------------------------

PATTERN = {
    "column": pl.String(),
    "period": pl.Duration("ns"),
    "confidence": pl.Float64(),
    "amplitude": pl.Float64(),
    "peak": pl.Duration("ns"),
    "profile": pl.List(pl.Float64()),
}
MODEL = pl.Struct(
    {
        "formula": pl.String(),
        "time_zone": pl.String(),
        "every": pl.Duration("ns"),
        "patterns": pl.List(pl.Struct(PATTERN)),
    }
)
LIST = pl.List(pl.Float64())


class Case(NamedTuple):
    """`schema`: the struct for these columns; `scalar`: one row however many come; `packs`: always one call."""

    operation: str
    parameters: dict[str, Any]
    schema: Callable[[list[str]], pl.DataType]
    scalar: bool = True
    packs: bool = True

    def __call__(self, columns: Any = "a", **changes: Any) -> pl.Expr:
        return getattr(acm, self.operation)(columns, **(self.parameters | changes))

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{name}={value}' for name, value in self.parameters.items())})"


def energies(bands: int) -> Callable[[list[str]], pl.DataType]:
    return lambda names: pl.Struct({f"{name}_energy_{band}": pl.Float64 for name in names for band in range(bands)})


def powers(names: list[str]) -> pl.DataType:
    return pl.Struct({"frequency": LIST} | {f"{name}_power": LIST for name in names})


def floats(names: list[str]) -> pl.DataType:
    return pl.Struct(dict.fromkeys(names, pl.Float64))


def kept(names: list[str]) -> pl.DataType:
    return pl.Struct({name: pl.Float32 if name == "f" else pl.Float64 for name in names})


BY = {"by": "time"}
SHORT = {"periods": ["3h", timedelta(hours=6)], "every": "30m"}
CASES = [
    Case("spectral_energy", {}, energies(3)),
    Case("spectral_energy", {"bands": [(0, 0.2), (0.3, 0.5)], "sampling_hz": 2.0, "min_samples": 3}, energies(2)),
    Case("power_spectrum", {}, powers),
    Case("power_spectrum", {"sampling_hz": 0.5, "min_samples": 2}, powers),
    Case("dominant_period", {}, floats, packs=False),
    Case("dominant_period", {"sampling_hz": 0.5, "min_samples": 2, "min_cycles": 5}, floats, packs=False),
    Case("seasonality", BY, lambda names: MODEL),
    Case("seasonality", BY | SHORT | {"min_cycles": 2}, lambda names: MODEL),
    Case("seasonality", BY | SHORT | {"formula": "acm"}, lambda names: MODEL),
    Case("deseasonalize", BY, kept, scalar=False),
    Case("deseasonalize", BY | SHORT | {"min_cycles": 2, "min_confidence": 0.0}, kept, scalar=False),
    Case("deseasonalize", BY | SHORT | {"formula": "acm"}, kept, scalar=False),
]
SIMPLE = list({case.operation: case for case in CASES}.values())
AGGREGATES = [case for case in CASES if case.scalar]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_aggregate = pytest.mark.parametrize("case", AGGREGATES, ids=str)
every_operation = pytest.mark.parametrize("case", SIMPLE, ids=str)

START = datetime(2024, 3, 29, 22)  # Friday; summer time begins in Europe on Sunday
SENSORS = ["a", "b", "f", "i"]


def make_frame(rows: int = 300) -> pl.DataFrame:
    """A daily and a six-hour rhythm, with every kind of missing reading, three assets, a row every 20 minutes."""
    rng = np.random.default_rng(5)
    row = pl.int_range(rows)
    hours = np.arange(rows) / 3
    wave = 3 * np.sin(hours * 2 * np.pi / 24) + np.cos(hours * 2 * np.pi / 6)
    frame = pl.DataFrame({name: wave * (k + 1) + rng.normal(size=rows) for k, name in enumerate("abf")})
    return frame.select(
        pl.when(row % 11 == 4).then(None).when(row % 17 == 5).then(np.nan).otherwise("a").alias("a"),
        pl.when(row % 23 == 7).then(-np.inf).otherwise("b").alias("b"),
        pl.when(row % 13 == 6).then(None).otherwise("f").cast(pl.Float32).alias("f"),
        pl.when(row % 7 != 1).then(row * row % 19).cast(pl.Int16).alias("i"),
        row.alias("row"),
        pl.Series("asset", rng.choice(["north", "south", "west"], rows)),
        (pl.lit(START) + pl.duration(minutes=20 * row)).alias("time"),
    )


FRAME = make_frame()
FORMS: dict[str, Any] = {"column": "f", "expanded": pl.col(SENSORS), "list": SENSORS, "selector": cs.by_name(SENSORS)}
every_form = pytest.mark.parametrize("form", FORMS)


def test_the_registry_has_every_operation() -> None:
    assert {case.operation for case in CASES} == {*spectrum.__all__, *seasonal.__all__}
    for operation in {case.operation for case in CASES}:
        own = set(inspect.signature(getattr(acm, operation)).parameters) - {"expr", "model"}
        assert {name for case in CASES if case.operation == operation for name in case.parameters} == own


# --- the contract ----------------------------------------------------------------------------------------------------


@every_case
@every_form
def test_the_schema_is_known_before_anything_is_computed(case: Case, form: str) -> None:
    names = ["f"] if form == "column" else SENSORS
    expected: dict[str, Any] = {case.operation: case.schema(names)}
    if not case.packs and form in ("column", "expanded"):
        expected = dict.fromkeys(names, pl.Float64())
    lazy = FRAME.lazy().select(case(FORMS[form]))
    assert lazy.collect_schema() == expected
    for frame in (FRAME, FRAME.head(1), FRAME.clear()):
        result = frame.select(case(FORMS[form]))
        assert result.schema == expected
        assert result.height == (1 if case.scalar else frame.height)


@every_case
def test_function_and_method_agree(case: Case) -> None:
    assert_same(getattr(pl.col("a").acm, case.operation)(**case.parameters), case("a"), FRAME)


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_in_memory_does_not_matter(case: Case, layout: str) -> None:
    other = LAYOUTS[layout](FRAME)
    for columns in ("a", SENSORS):
        assert_frame_equal(other.select(case(columns)), FRAME.select(case(columns)), check_exact=True)


@every_case
@every_form
def test_engines_agree(case: Case, form: str) -> None:
    eager = FRAME.select(case(FORMS[form]))
    lazy = chunked(FRAME, 40).lazy().select(case(FORMS[form]))
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(lazy.collect(engine=engine), eager, check_exact=True)


@every_case
@pytest.mark.parametrize("form", ["column", "list"])
def test_groups_are_a_loop(case: Case, form: str) -> None:
    groups = FRAME.partition_by("asset", maintain_order=True)
    alone = [group.select("asset", "row", case(FORMS[form]).alias("result")) for group in groups]
    expected = pl.concat(alone).sort("row")
    over = FRAME.lazy().select("asset", "row", case(FORMS[form]).over("asset").alias("result"))
    aggregated = FRAME.lazy().group_by("asset").agg("row", case(FORMS[form]).alias("result"))
    aggregated = aggregated.explode("row" if case.scalar else ["row", "result"], **AS_NULL).sort("row")
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(over.collect(engine=engine), expected, check_exact=True)
        assert_frame_equal(aggregated.collect(engine=engine), expected, check_exact=True)


@every_case
def test_one_call_is_each_column_alone(case: Case) -> None:
    together = FRAME.select(case(SENSORS).alias("result")).unnest("result")
    alone = [FRAME.select(case([name]).alias("result")).unnest("result") for name in SENSORS]
    if case.operation == "seasonality":
        patterns = pl.concat(frame.select(pl.col("patterns").explode(**AS_NULL)) for frame in alone)
        assert_frame_equal(together.select(pl.col("patterns").explode(**AS_NULL)), patterns, check_exact=True)
        return
    columns = {column.name: column for frame in alone for column in frame}
    assert_frame_equal(together, pl.DataFrame(columns), check_exact=True)


@every_case
def test_a_struct_column_is_its_fields(case: Case) -> None:
    frame = FRAME.select(pl.struct(SENSORS).alias("s"), "time")
    expected = FRAME.select(case(SENSORS).alias("result"))
    for column in ("s", ["s"], cs.by_name("s")):
        assert_frame_equal(frame.select(case(column).alias("result")), expected, check_exact=True)


@every_operation
@pytest.mark.parametrize("dtype", numeric_dtypes(), ids=str)
def test_other_numbers_are_float64(case: Case, dtype: pl.DataType) -> None:
    numbers = [3, 1, 4, 1, None, 9, 2, 6, 5, 3, 5, 8, None, 9, 7, 9]
    frame = FRAME.head(16).select("time", pl.Series("a", numbers).cast(dtype))
    expected = frame.with_columns(pl.col("a").cast(pl.Float64))
    assert_frame_equal(frame.select(case(["a"])), expected.select(case(["a"])), check_exact=True)


@every_aggregate
def test_float32_is_read_as_it_is(case: Case) -> None:
    wide = FRAME.with_columns(pl.col("f").cast(pl.Float64))
    assert_frame_equal(FRAME.select(case("f")), wide.select(case("f")), check_exact=True)


@every_operation
@pytest.mark.parametrize("dtype", NOT_NUMBERS)
def test_a_column_that_is_not_numeric_is_named(case: Case, dtype: str) -> None:
    if dtype == "Object" and not RUST:
        pytest.xfail("Polars panics where it makes up rows of an Object column to find the dtype of a Python function")
    series, text = NOT_NUMBERS[dtype]
    frame = pl.DataFrame({"x": series, "a": [1.0, 2.0], "time": [START, START]})
    for columns in ("x", ["a", "x"]):
        lazy = frame.lazy().select(case(columns))
        for run in (lazy.collect, lazy.collect_schema):
            message = refusal(run)
            expected = rf"acm\.{case.operation}: column `x` has dtype ({text}), which is not numeric; "
            assert re.search(expected, message), message


@every_operation
def test_columns_that_do_not_exist_are_polars_own_error(case: Case) -> None:
    for expr in (case("nowhere"), case(["a", "nowhere"])):
        with pytest.raises(ColumnNotFoundError, match="nowhere"):
            FRAME.select(expr)
    assert "acm" not in refusal(lambda: FRAME.select(case(cs.by_dtype(pl.Time))))


def with_missing(kinds: list[float | None], *, every: int) -> pl.DataFrame:
    values: list[float | None] = np.random.default_rng(7).normal(size=FRAME.height).tolist()
    for count, row in enumerate(range(0, len(values), every)):
        values[row] = kinds[count % len(kinds)]
    return FRAME.select("time", pl.Series("a", values, dtype=pl.Float64))


@every_case
def test_null_nan_and_infinities_are_alike(case: Case) -> None:
    expected = with_missing([None], every=3).select(case("a"))
    for kinds in MISSING.values():
        assert_frame_equal(with_missing(kinds, every=3).select(case("a")), expected, check_exact=True)


def numbers(frame: pl.DataFrame) -> list[pl.Series]:
    """All floats of a frame, however deep."""
    found = []
    for column in frame:
        if isinstance(column.dtype, pl.Struct):
            found += numbers(column.struct.unnest())
        elif isinstance(column.dtype, pl.List):
            found += numbers(column.explode(**AS_NULL).to_frame())
        elif column.dtype.is_float():
            found.append(column)
    assert found or isinstance(column.dtype, (pl.String, pl.Duration))
    return found


@every_case
@pytest.mark.parametrize("kind", MISSING)
def test_nothing_but_missing_readings_gives_nulls(case: Case, kind: str) -> None:
    for series in numbers(with_missing(MISSING[kind], every=1).select(case("a"))):
        assert series.name == "frequency" or series.null_count() == len(series)


@every_case
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_no_result_is_nan_or_infinite(case: Case, dtype: type[pl.DataType]) -> None:
    for seed in range(5):
        values = [HOSTILE[k] for k in np.random.default_rng(seed).integers(0, len(HOSTILE), FRAME.height)]
        frame = FRAME.select("time", pl.Series("a", values, dtype=pl.Float64).cast(dtype))
        for series in numbers(frame.select(case("a"))):
            assert series.drop_nulls().is_finite().all()


WIDE = FRAME.select("time", *[(pl.col("b") * k).alias(f"s{k}") for k in range(80)])


def all_cases() -> pl.LazyFrame:
    """All operations over more cells than one thread is given."""
    assert WIDE.height * (WIDE.width - 1) > 16384
    return WIDE.lazy().select(case(cs.float()).alias(str(case)) for case in CASES)


@rust_only
@pytest.mark.parametrize("threads", [1, 4])
def test_a_fresh_process_and_any_number_of_threads(threads: int) -> None:
    child = subprocess.run(
        [sys.executable, "-I", "-c", CHILD, "streaming"],
        input=all_cases().serialize(),
        env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    assert_frame_equal(pl.read_ipc(io.BytesIO(child.stdout)), all_cases().collect(), check_exact=True)


@every_case
def test_an_expression_can_be_pickled(case: Case) -> None:
    expr = pickle.loads(pickle.dumps(case(SENSORS)))
    assert_frame_equal(FRAME.select(expr), FRAME.select(case(SENSORS)), check_exact=True)


# --- spectra against NumPy and SciPy ---------------------------------------------------------------------------------

TOLERANCE = 1e-12  # of the sum of all powers


def gappy(rows: int, gaps: float = 0.1) -> Any:
    rng = np.random.default_rng(rows)
    values = rng.normal(loc=20.0, size=rows)
    values[1:][rng.random(rows - 1) < gaps] = np.nan
    return values


def centred(values: Any) -> Any:
    return np.nan_to_num(values - np.nanmean(values))


@pytest.mark.parametrize("rows", [2, 3, 4, 7, 64, 97, 1000, 1001, 10_007])
@pytest.mark.parametrize("sampling_hz", [1.0, 0.1])
def test_numpy_agrees_on_the_spectrum(rows: int, sampling_hz: float) -> None:
    values = gappy(rows)
    expr = acm.power_spectrum("x", sampling_hz=sampling_hz, min_samples=2)
    ours = pl.DataFrame({"x": values}).select(expr).unnest("power_spectrum").explode(pl.all(), **AS_NULL)
    expected = np.abs(np.fft.rfft(centred(values))) ** 2
    if np.isfinite(values).sum() < 2:
        assert ours["x_power"].null_count() == ours.height == len(expected)
        return
    assert np.allclose(ours["frequency"], np.fft.rfftfreq(rows, 1 / sampling_hz), rtol=1e-15)
    assert np.abs(ours["x_power"].to_numpy() - expected).max() <= TOLERANCE * expected.sum()
    assert ours["x_power"][0] == 0.0


def test_scipy_agrees_on_scalings_of_the_docs() -> None:
    signal = pytest.importorskip("scipy.signal")
    n, hz, values = 500, 10.0, gappy(500, gaps=0.0)
    ours = pl.DataFrame({"x": values}).select(acm.power_spectrum("x", sampling_hz=hz)).unnest("power_spectrum")
    powers = ours["x_power"].explode(**AS_NULL).to_numpy()[1:-1]
    for scaling, factor in (("spectrum", 2 / n**2), ("density", 2 / (n * hz))):
        frequencies, theirs = signal.periodogram(values, hz, scaling=scaling)
        assert np.allclose(powers * factor, theirs[1:-1], rtol=1e-9)
    assert np.allclose(ours["frequency"].explode(**AS_NULL), frequencies)


@pytest.mark.parametrize("rows", [2, 5, 16, 97, 1000])
def test_energies_are_sums_of_powers(rows: int) -> None:
    frame = pl.DataFrame({"x": gappy(rows), "y": gappy(rows, 0.0)})
    bands = [(0.0, 0.3), (0.3, 0.7), (0.8, 1.0)]
    energy = frame.select(acm.spectral_energy(["x", "y"], bands=bands, sampling_hz=2.0, min_samples=2))
    spectrum = frame.select(acm.power_spectrum(["x", "y"], sampling_hz=2.0, min_samples=2))
    spectrum = spectrum.unnest("power_spectrum").explode(pl.all(), **AS_NULL)
    for name in ("x", "y"):
        for band, (low, high) in enumerate(bands):
            inside = spectrum.filter((pl.col("frequency") >= low) & (pl.col("frequency") < high))
            total = spectrum[f"{name}_power"].sum()
            got = energy["spectral_energy"].struct.field(f"{name}_energy_{band}")[0]
            assert got is None or abs(got - inside[f"{name}_power"].sum()) <= TOLERANCE * total


@pytest.mark.parametrize("sampling_hz", [3.0, 7.0, 0.1, 25.6, 1 / 300, 1 / 600])
def test_default_bands_do_not_depend_on_the_rounding_of_the_rate(sampling_hz: float) -> None:
    for rows in (10, 20, 40, 60, 100, 200, 333):
        frame = pl.DataFrame({"x": gappy(rows), "nyquist": [1.0, -1.0] * (rows // 2) + [0.0] * (rows % 2)})
        for energies in (
            lambda hz: acm.spectral_energy(["x", "nyquist"], sampling_hz=hz),
            lambda hz, rows=rows: acm.rolling_spectral_energy(["x", "nyquist"], rows, sampling_hz=hz),
        ):
            one, other = (frame.select(energies(hz)).to_series().struct.unnest().tail(1) for hz in (1.0, sampling_hz))
            assert_frame_equal(one, other, **within(rel=1e-12))
            if rows % 2 == 0:  # all of its energy lies at the Nyquist frequency, which is in no band
                assert other["nyquist_energy_2"][0] < 1e-20


def test_the_last_full_window_of_the_rolling_energy_is_the_energy() -> None:
    frame = pl.DataFrame({"x": gappy(64)})
    rolling = frame.select(acm.rolling_spectral_energy("x", 64)).unnest("rolling_spectral_energy").tail(1)
    assert_frame_equal(frame.select(acm.spectral_energy("x")).unnest("spectral_energy"), rolling, **within(rel=1e-9))


def test_the_dominant_period_of_a_rhythm_under_noise() -> None:
    rng = np.random.default_rng(3)
    rows = np.arange(24 * 30)
    frame = pl.DataFrame({"x": np.sin(2 * np.pi * rows / 24) + rng.normal(size=len(rows)), "still": 7.5})
    hourly = frame.select(acm.dominant_period(pl.all(), sampling_hz=1 / 3600))
    assert hourly.row(0) == (pytest.approx(86_400), None)
    drift = frame.select(x=pl.int_range(pl.len()) * 10.0)
    assert drift.select(acm.dominant_period("x", min_cycles=1)).item() == drift.height
    assert drift.select(acm.dominant_period("x")).item() == drift.height / 2


@pytest.mark.parametrize("operation", ["spectral_energy", "power_spectrum", "dominant_period"])
def test_half_of_the_rows_must_be_present_unless_said(operation: str) -> None:
    function = getattr(acm, operation)
    few = pl.DataFrame({"a": [1.0, 3.0, 2.0, None, None, None, None]})
    for frame, parameters, present in (
        (few.head(6), {}, True),
        (few, {}, True),
        (few.vstack(few.tail(1)), {}, False),
        (few, {"min_samples": 4}, False),
        (few.vstack(few), {"min_samples": 6}, True),
        (few.head(1), {}, False),
    ):
        values = numbers(frame.select(function("a", **parameters)))[-1]
        assert (values.null_count() == 0) == present, (frame, parameters)


# --- patterns against pandas -----------------------------------------------------------------------------------------


def weeks(rows: int = 6 * 24 * 7 * 4, seed: int = 1, **columns: Any) -> pl.DataFrame:
    """A month of readings every ten minutes: quiet at night and at weekends."""
    rng = np.random.default_rng(seed)
    time = pl.select(pl.lit(datetime(2024, 1, 3, 7, 40)) + pl.duration(minutes=10 * pl.int_range(rows))).to_series()
    hour, weekend = time.dt.hour().to_numpy(), time.dt.weekday().to_numpy() > 5
    load = 40 + 10 * np.sin(2 * np.pi * (hour - 9) / 24) * ~weekend + rng.normal(size=rows)
    load[rng.random(rows) < 0.05] = np.nan
    return pl.DataFrame({"time": time, "load": load, "noise": rng.normal(size=rows), **columns})


def patterns(frame: pl.DataFrame, columns: Any = "load", **parameters: Any) -> pl.DataFrame:
    model = frame.select(acm.seasonality(columns, "time", **parameters))
    return model.unnest("seasonality").explode("patterns", **AS_NULL).unnest("patterns")


def pandas_profiles(frame: pl.DataFrame) -> tuple[Any, Any, Any]:
    """Return daily and weekly profile and the adjusted readings, as one writes it with pandas."""
    pd = pytest.importorskip("pandas")
    index = pd.DatetimeIndex(frame["time"].to_numpy())
    x = pd.Series(frame["load"].to_numpy(), index=index)
    hour, week = x.index.hour, x.index.day_of_week * 24 + x.index.hour
    daily = x.groupby(hour).mean()
    daily -= daily.mean()
    rest = x - daily.reindex(hour).to_numpy()
    weekly = rest.groupby(week).mean()
    weekly -= weekly.mean()
    return daily, weekly, rest - weekly.reindex(week).to_numpy()


def test_pandas_agrees_on_profiles_and_adjusted_readings() -> None:
    frame = weeks()
    daily, weekly, adjusted = pandas_profiles(frame)
    table = patterns(frame)
    for row, profile in enumerate((daily, weekly)):
        assert np.allclose(table["profile"][row], profile, atol=1e-12)
        assert table["amplitude"][row] == pytest.approx((profile.max() - profile.min()) / 2)
        assert table["peak"][row] == timedelta(hours=int(profile.argmax()))
    ours = frame.select(acm.deseasonalize("load", "time").struct.field("load")).to_series()
    assert np.allclose(ours.fill_null(np.nan), adjusted, atol=1e-12, equal_nan=True)


def test_confidence_is_the_adjusted_share_of_variance() -> None:
    frame = weeks().drop_nans()
    n, load = frame.height, frame["load"].to_numpy()

    def means(x: Any, keys: Any) -> Any:
        return pl.DataFrame({"x": x, "key": keys}).select(pl.col("x").mean().over("key")).to_series().to_numpy()

    def profile(x: Any, phases: Any) -> Any:
        of_phase = pl.DataFrame({"x": x, "phase": phases}).group_by("phase").agg(pl.col("x").mean())
        return means(x, phases) - of_phase["x"].mean()

    hour = frame["time"].dt.hour().cast(pl.Int32)
    week = frame["time"].dt.weekday().cast(pl.Int32) * 24 + hour
    of_day = profile(load, hour)
    of_week = profile(load - of_day, week)
    rest = load - of_day - of_week
    cycles = (frame["time"].dt.date(), frame["time"].dt.truncate("1w"))
    for row, (pattern, cycle, new) in enumerate(zip((of_day, of_week), cycles, (23, 144), strict=True)):
        free = n - cycle.n_unique() - 167
        without, with_pattern = (((y - means(y, cycle)) ** 2).sum() for y in (rest, rest + pattern))
        expected = 1 - without / free / (with_pattern / (free + new))
        assert patterns(frame)["confidence"][row] == pytest.approx(expected, rel=1e-9)
    # what changes from day to day does not hide a daily pattern
    whole = weeks().filter(pl.col("time").dt.day().is_between(4, 24)).drop_nans()
    levels = whole.with_columns(pl.col("load") + pl.col("time").dt.day() % 5 * 100)
    assert patterns(levels, periods=["1d"])["confidence"][0] == pytest.approx(
        patterns(whole, periods=["1d"])["confidence"][0], abs=0.1
    )
    assert patterns(frame, "noise")["confidence"].max() < 0.02


def test_scipy_agrees_on_the_share_of_variance() -> None:
    stats = pytest.importorskip("scipy.stats")
    # whole days of one reading an hour, so that blocks and phases are balanced
    frame = weeks().filter(pl.col("time").dt.minute() == 0, pl.col("time").dt.day().is_between(4, 28))
    frame = frame.with_columns(load=pl.col("noise") + pl.col("time").dt.hour() / 10 + pl.col("time").dt.day())
    days = frame["load"].to_numpy().reshape(-1, 24)
    blocks = days - days.mean(axis=1, keepdims=True)
    f = stats.f_oneway(*blocks.T).statistic
    # the means of the days take degrees of freedom from the rest
    n, c, k = days.size, len(days), 24
    f *= (n - c - k + 1) / (n - k)
    epsilon_squared = (f - 1) / (f + (n - c - k + 1) / (k - 1))  # Kelley 1935
    assert patterns(frame, periods=["1d"])["confidence"][0] == pytest.approx(epsilon_squared, rel=1e-9)


def test_the_weekly_pattern_is_what_the_daily_one_leaves() -> None:
    table = patterns(weeks(), ["load", "noise"])
    assert table["column"].to_list() == ["load", "load", "noise", "noise"]
    assert table["period"].to_list() == [timedelta(days=1), timedelta(days=7)] * 2
    load = table.head(2)
    assert (load["confidence"] > 0.3).all()
    assert [len(profile) for profile in table["profile"]] == [24, 168, 24, 168]
    assert all(abs(profile.sum()) < 1e-9 for profile in table["profile"])
    before = weeks().select(pl.col("load").fill_nan(None).std()).item()
    after = weeks().select(acm.deseasonalize("load", "time").struct.field("load").std()).item()
    assert after < 1.05 < 5 < before


# --- times -----------------------------------------------------------------------------------------------------------


def test_times_in_any_order_repeated_and_with_gaps() -> None:
    frame = weeks()
    gaps = frame.filter((pl.int_range(pl.len()) // 300) % 4 != 2)
    repeated = pl.concat([gaps, gaps.head(500)])
    shuffled = repeated.sample(fraction=1.0, shuffle=True, seed=3)
    daily, weekly, _ = pandas_profiles(repeated)
    for other in (repeated, shuffled):
        table = patterns(other)
        assert np.allclose(table["profile"][0], daily, atol=1e-12)
        assert np.allclose(table["profile"][1], weekly, atol=1e-12)
    assert_frame_equal(patterns(shuffled), patterns(repeated), **within(abs=1e-12))


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
def test_hours_are_those_of_the_local_clock(zone: str) -> None:
    time = pl.datetime_range(datetime(2023, 1, 1), datetime(2024, 6, 1), "30m", time_zone="UTC", eager=True)
    local = time.dt.convert_time_zone(zone)
    wall = local.dt.hour().cast(pl.Float64) + local.dt.weekday() * 100
    frame = pl.DataFrame({"time": local, "load": wall})
    table = patterns(frame)
    assert np.allclose(table["profile"][0], np.arange(24) - 11.5, atol=1)  # weekdays come not quite equally often
    naive = frame.with_columns(pl.col("time").dt.replace_time_zone(None))
    assert_frame_equal(table.drop("time_zone"), patterns(naive).drop("time_zone"), check_exact=True)
    adjusted = frame.select(acm.deseasonalize("load", "time").struct.field("load"))
    assert adjusted.to_series().std() < 1e-9
    model = frame.select(acm.seasonality("load", "time"))
    assert model["seasonality"].struct.field("time_zone").item() == zone
    # summer time keeps the profile sharp; the clock of another zone would not
    if zone == "Europe/Paris":
        blurred = frame.with_columns(pl.col("time").dt.convert_time_zone("UTC"))
        assert patterns(blurred)["confidence"][1] < 1 - 1e-4 < 1 - 1e-9 < table["confidence"][1]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_units_of_time_and_years_before_1970_do_not_matter(unit: Any) -> None:
    frame = weeks().with_columns(pl.col("time").cast(pl.Datetime(unit)))
    assert_frame_equal(patterns(frame), patterns(weeks()), check_exact=True)
    earlier = frame.with_columns(pl.col("time").dt.offset_by(f"-{7 * 52 * 60}d"))
    assert_frame_equal(patterns(earlier), patterns(weeks()), check_exact=True)


def test_dates_have_days_of_the_week() -> None:
    days = pl.date_range(date(2024, 1, 1), date(2024, 12, 31), eager=True)
    frame = pl.DataFrame({"time": days, "load": (days.dt.weekday() == 3) * 7.0})
    table = patterns(frame, periods=["7d"], every="1d")
    assert table["peak"].to_list() == [timedelta(days=2)]
    assert np.allclose(table["profile"][0], [-1, -1, 6, -1, -1, -1, -1], atol=1e-12)


@pytest.mark.parametrize("operation", ["seasonality", "deseasonalize"])
@pytest.mark.parametrize(
    ("times", "text"),
    [
        (pl.Series([START, None, START]), "`by` must have no nulls, `time` has 1; drop those rows first"),
        (pl.Series([datetime(9999, 1, 1)] * 3), "`by` must lie in the years 1677 to 2262"),
        (pl.Series([1, 2, 3]), "`by` must be a Datetime or Date column, `time` has dtype i64"),
        (pl.Series(["a", "b", "c"]), "`by` must be a Datetime or Date column, `time` has dtype str"),
    ],
    ids=["null", "9999", "int", "str"],
)
def test_times_that_cannot_be_used_are_named(operation: str, times: pl.Series, text: str) -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "time": times})
    message = refusal(lambda: frame.select(getattr(acm, operation)("a", "time")))
    assert f"acm.{operation}: {text}" in message


def test_times_of_another_length_are_refused() -> None:
    message = refusal(lambda: FRAME.select(acm.deseasonalize("a", pl.col("time").head(3))))
    assert "acm.deseasonalize: `by` must have a time for each of the 300 rows, `time` has 3" in message


# --- little data -----------------------------------------------------------------------------------------------------


def test_a_period_longer_than_the_data_has_no_pattern_and_changes_nothing() -> None:
    frame = weeks(6 * 24 * 3)
    table = patterns(frame)
    assert table["confidence"].is_null().to_list() == [False, True]
    assert table.select("amplitude", "peak", "profile").row(1) == (None, None, None)
    two_days = frame.head(6 * 24 * 3 - 12)
    assert patterns(two_days)["confidence"].null_count() == 2
    assert patterns(two_days, min_cycles=2)["confidence"].null_count() == 1
    untouched = two_days.select(acm.deseasonalize("load", "time").struct.field("load"))
    assert_frame_equal(untouched, two_days.select(pl.col("load").fill_nan(None)), check_exact=True)
    model = two_days.select(acm.seasonality("load", "time"))
    applied = two_days.select(acm.deseasonalize("load", "time", model=model).struct.field("load"))
    assert_frame_equal(applied, untouched, check_exact=True)


def test_a_phase_without_readings_is_not_known() -> None:
    frame = weeks()
    days = frame.filter(pl.col("time").dt.hour() >= 6)
    table = patterns(days, periods=["1d"])
    assert table["profile"][0].is_null().to_list() == [True] * 6 + [False] * 18
    model = days.select(acm.seasonality("load", "time", periods=["1d"]))
    adjusted = frame.select(acm.deseasonalize("load", "time", model=model).struct.field("load")).to_series()
    expected = (frame["time"].dt.hour() < 6) | frame["load"].is_nan()
    assert adjusted.is_null().to_list() == expected.to_list()


def test_a_constant_has_no_confidence() -> None:
    frame = weeks().with_columns(load=pl.lit(0.1))
    assert patterns(frame)["confidence"].to_list() == [None, None]
    adjusted = frame.select(acm.deseasonalize("load", "time", min_confidence=0).struct.field("load"))
    assert adjusted["load"].unique().to_list() == [0.1]


def test_a_strong_weekly_pattern_does_not_hide_the_daily_one() -> None:
    frame = weeks().with_columns(load=pl.col("time").dt.hour() + pl.col("time").dt.weekday() * 100.0)
    assert (patterns(frame)["confidence"] > 1 - 1e-9).all()


def test_patterns_of_little_confidence_stay_in() -> None:
    frame = weeks()
    daily, weekly = patterns(frame)["confidence"]
    assert weekly > 0.1
    for least, same in ((0.0, False), (min(daily, weekly), False), (np.nextafter(max(daily, weekly), 1), True)):
        adjusted = frame.select(acm.deseasonalize("load", "time", min_confidence=least).struct.field("load"))
        assert adjusted.equals(frame.select(pl.col("load").fill_nan(None))) == same
    noise = frame.select(acm.deseasonalize("noise", "time").struct.field("noise"))
    assert_frame_equal(noise, frame.select("noise"), check_exact=True)


# --- models as data --------------------------------------------------------------------------------------------------

TRAIN, SCORE = weeks(), weeks(seed=2).with_columns(pl.col("time").dt.offset_by("28d"))
COLUMNS = ["load", "noise"]


def fitted(**parameters: Any) -> pl.DataFrame:
    return TRAIN.select(acm.seasonality(COLUMNS, "time", **parameters))


@pytest.mark.parametrize("formula", ["phase_means", "acm"])
def test_a_model_of_the_same_rows_is_no_model(formula: Any) -> None:
    expected = TRAIN.select(acm.deseasonalize(COLUMNS, "time", formula=formula))
    model = fitted(formula=formula)
    for given in (model, model.to_series(), pl.lit(model.to_series()).first()):
        ours = TRAIN.select(acm.deseasonalize(COLUMNS, "time", model=given))
        assert_frame_equal(ours, expected, check_exact=True)
    assert not expected.unnest("deseasonalize").equals(TRAIN.select(COLUMNS))


def test_a_model_fits_in_files_and_to_some_of_its_columns(tmp_path: Any) -> None:
    model = fitted()
    model.write_parquet(tmp_path / "model.parquet")
    model.write_ipc(tmp_path / "model.arrow")
    expected = SCORE.select(acm.deseasonalize(COLUMNS, "time", model=model)).unnest("deseasonalize")
    for read in (pl.read_parquet(tmp_path / "model.parquet"), pl.read_ipc(tmp_path / "model.arrow")):
        ours = SCORE.select(acm.deseasonalize(["noise", "load"], "time", model=read)).unnest("deseasonalize")
        assert_frame_equal(ours.select(COLUMNS), expected, check_exact=True)
    alone = SCORE.select(acm.deseasonalize("load", "time", model=model)).unnest("deseasonalize")
    assert_frame_equal(alone, expected.select("load"), check_exact=True)
    assert alone["load"].std() < 1.1


def test_a_model_keeps_its_nanoseconds() -> None:
    frame = pl.DataFrame({"time": pl.int_range(64, eager=True).cast(pl.Datetime("ns")), "a": [0.0, 1.0, 2.0, 3.0] * 16})
    model = frame.select(acm.seasonality("a", "time", periods=["4ns"], every="1ns"))
    adjusted = frame.select(acm.deseasonalize("a", "time", model=model)).unnest("deseasonalize")
    assert adjusted["a"].to_list() == pytest.approx([1.5] * 64)


def test_scoring_with_a_model_streams() -> None:
    query = SCORE.lazy().select("time", acm.deseasonalize(COLUMNS, "time", model=fitted())).unnest("deseasonalize")
    expected = query.collect(engine="in-memory")
    assert_frame_equal(
        chunked(SCORE, 100)
        .lazy()
        .select("time", acm.deseasonalize(COLUMNS, "time", model=fitted()))
        .unnest("deseasonalize")
        .collect(engine="streaming"),
        expected,
        check_exact=True,
    )
    rows = [SCORE[row].select(acm.deseasonalize(COLUMNS, "time", model=fitted())) for row in range(0, 200, 17)]
    assert_frame_equal(
        pl.concat(rows).unnest("deseasonalize"), expected.select(COLUMNS)[range(0, 200, 17)], check_exact=True
    )
    if "plan_stage" in inspect.signature(pl.LazyFrame.show_graph).parameters:
        scored = SCORE.lazy().select("time", acm.deseasonalize(COLUMNS, "time", model=fitted()))
        plan = scored.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
        assert plan is not None
        # the model travels once: it is not zipped with the rows, and nothing is collected first
        assert not re.search("zip|columnar-function|in-memory-map", plan)


def test_a_model_for_each_asset() -> None:
    train = pl.concat(
        [TRAIN.with_columns(asset=pl.lit("p")), TRAIN.with_columns(asset=pl.lit("q"), load=-pl.col("load"))]
    )
    score = pl.concat(
        [SCORE.with_columns(asset=pl.lit("q"), load=-pl.col("load")), SCORE.with_columns(asset=pl.lit("p"))]
    )
    fleet = train.group_by("asset").agg(acm.seasonality("load", "time"))
    ours = score.join(fleet, on="asset", how="left", maintain_order="left").select(
        "asset", acm.deseasonalize("load", "time", model=pl.col("seasonality").first()).over("asset")
    )
    expected = SCORE.select(acm.deseasonalize("load", "time", model=fitted()).struct.field("load"))["load"]
    assert_frame_equal(
        ours.unnest("deseasonalize").select("load"), pl.DataFrame({"load": pl.concat([-expected, expected])})
    )


def test_a_model_that_does_not_fit_is_named() -> None:
    model, score = fitted(), SCORE.with_columns(other=pl.col("load"))
    expr = acm.deseasonalize(["load", "other"], "time", model=model)
    expected = (
        "acm.deseasonalize: column `other` is not in the model, which holds `load`, `noise`; fit the model with it"
    )
    assert expected in refusal(lambda: score.select(expr))
    paris = SCORE.with_columns(pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Paris"))
    message = refusal(lambda: paris.select(acm.deseasonalize("load", "time", model=model)))
    assert "`model` was fitted on times with no time zone, `by` has time zone Europe/Paris" in message
    message = refusal(lambda: SCORE.select(acm.deseasonalize("load", "time", model=pl.col("load"))))
    assert "acm.deseasonalize: `model` has dtype f64; it must come from acm.seasonality" in message
    two = pl.concat([model, model])["seasonality"]
    message = refusal(
        lambda: SCORE.head(2).with_columns(m=two).select(acm.deseasonalize("load", "time", model=pl.col("m")))
    )
    assert "acm.deseasonalize: `model` has 2 rows, 0 of them null" in message


DAMAGES = {
    "formula": lambda m: m.with_columns(formula=pl.lit("other")),
    "every": lambda m: m.with_columns(every=pl.duration(hours=0, time_unit="ns")),
    "period": lambda m: m.with_columns(every=pl.duration(hours=2, time_unit="ns")),
    "null": lambda m: m.with_columns(patterns=pl.lit(None, pl.List(pl.Struct(PATTERN)))),
    "empty": lambda m: m.with_columns(patterns=pl.col("patterns").list.head(0)),
    "half": lambda m: m.with_columns(patterns=pl.col("patterns").list.tail(3)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused(damage: str) -> None:
    model = DAMAGES[damage](fitted().unnest("seasonality")).to_struct("seasonality")
    assert model.dtype == MODEL
    message = refusal(lambda: SCORE.select(acm.deseasonalize("load", "time", model=model)))
    assert "acm.deseasonalize: `model` is damaged; it must come from acm.seasonality" in message


# --- ACM's formula ---------------------------------------------------------------------------------------------------


def acm_pattern(values: Any, lag: int) -> tuple[float, float, int]:
    """Confidence, amplitude and shift of ACM for hourly means without gaps."""
    rho = np.corrcoef(values[lag:], values[:-lag])[0, 1]
    means = [values[k::lag].mean() for k in range(lag)]
    return max(0.0, rho), (max(means) - min(means)) / 2, int(np.argmax(means))


def test_the_formula_of_acm() -> None:
    pd = pytest.importorskip("pandas")
    frame = weeks()
    x = pd.Series(frame["load"].to_numpy(), index=pd.DatetimeIndex(frame["time"].to_numpy())).dropna()
    hourly = x.resample("1h").mean().interpolate().to_numpy()
    table = patterns(frame, formula="acm")
    adjusted = frame["load"].fill_nan(None)
    hours = frame["time"].dt.hour() + frame["time"].dt.minute() / 60
    week = (frame["time"].dt.weekday().cast(pl.Float64) - 1) * 24 + hours
    for row, (lag, clock) in enumerate(((24, hours), (168, week))):
        confidence, amplitude, shift = acm_pattern(hourly, lag)
        assert table["confidence"][row] == pytest.approx(confidence)
        assert table["amplitude"][row] == pytest.approx(amplitude)
        assert table["peak"][row] == timedelta(hours=shift)
        adjusted = adjusted - amplitude * (2 * np.pi * (clock - shift) / lag).sin()
    ours = frame.select(acm.deseasonalize("load", "time", formula="acm").struct.field("load")).to_series()
    assert np.allclose(ours.fill_null(0), adjusted.fill_null(0), atol=1e-9)


# --- what is refused at the call -------------------------------------------------------------------------------------

REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: acm.spectral_energy("a", sampling_hz=0), ValueError, "spectral_energy: `sampling_hz` must be a finite"),
    (lambda: acm.spectral_energy("a", bands=[(0.4, 0.2)]), ValueError, r"spectral_energy: `bands\[0\]` must be a pair"),
    (lambda: acm.spectral_energy("a", min_samples=1), ValueError, "spectral_energy: `min_samples` must be >= 2, got 1"),
    (lambda: acm.spectral_energy(3), TypeError, "spectral_energy: `expr` must be a column name"),
    (lambda: acm.power_spectrum("a", sampling_hz="1"), TypeError, "power_spectrum: `sampling_hz` must be a finite"),
    (lambda: acm.power_spectrum("a", min_samples=2.5), TypeError, "power_spectrum: `min_samples` must be an int"),
    (lambda: acm.dominant_period("a", min_cycles=0), ValueError, "dominant_period: `min_cycles` must be >= 1, got 0"),
    (lambda: acm.dominant_period([]), ValueError, "dominant_period: `expr` must be at least one column"),
    (lambda: acm.seasonality("a", None), TypeError, "seasonality: `by` must be a column name or an expression"),
    (lambda: acm.seasonality("a", 7), TypeError, "seasonality: `by` must be a column name, an expression"),
    (lambda: acm.seasonality("a", "t", periods="1d"), TypeError, "seasonality: `periods` must be a sequence"),
    (lambda: acm.seasonality("a", "t", periods=[]), ValueError, "seasonality: `periods` must be at least one"),
    (lambda: acm.seasonality("a", "t", periods=[24]), TypeError, r"seasonality: `periods\[0\]` must be a duration"),
    (lambda: acm.seasonality("a", "t", periods=["1mo"]), ValueError, r"`periods\[0\]` must be of fixed length"),
    (
        lambda: acm.seasonality("a", "t", periods=["1h"]),
        ValueError,
        "must be a multiple of `every` .1h., at least twice",
    ),
    (
        lambda: acm.seasonality("a", "t", periods=["90m"]),
        ValueError,
        "must be a multiple of `every` .1h., at least twice",
    ),
    (
        lambda: acm.seasonality("a", "t", periods=["7d", "1d"]),
        ValueError,
        r"`periods\[1\]` must be longer than .* .7d.",
    ),
    (lambda: acm.seasonality("a", "t", periods=["10007h", "10009h"]), ValueError, "least common multiple is at most"),
    (lambda: acm.seasonality("a", "t", every="0h"), ValueError, "seasonality: `every` must be a duration above 0"),
    (lambda: acm.seasonality("a", "t", every=3600), TypeError, "seasonality: `every` must be a duration"),
    (lambda: acm.seasonality("a", "t", min_cycles=1), ValueError, "seasonality: `min_cycles` must be >= 2, got 1"),
    (
        lambda: acm.seasonality("a", "t", formula="sine"),
        ValueError,
        "seasonality: `formula` must be one of 'phase_means'",
    ),
    (
        lambda: acm.deseasonalize("a", "t", min_confidence=-1),
        ValueError,
        "`min_confidence` must be a finite number >= 0",
    ),
    (
        lambda: acm.deseasonalize("a", "t", min_confidence=2),
        ValueError,
        "`min_confidence` must be a number from 0 to 1",
    ),
    *[
        (
            lambda own=own: acm.deseasonalize("a", "t", model=fitted(), **own),
            ValueError,
            f"deseasonalize: `{next(iter(own))}` must be None when `model` is given, which has its own",
        )
        for own in ({"periods": ["1d"]}, {"every": "1h"}, {"min_cycles": 3}, {"formula": "acm"})
    ],
    (
        lambda: acm.deseasonalize("a", "t", model=5),
        TypeError,
        "deseasonalize: `model` must be one row of `seasonality`",
    ),
    (
        lambda: acm.deseasonalize("a", "t", model=TRAIN),
        ValueError,
        "`model` must be one row of .* of one column .*join a model for each asset",
    ),
    (
        lambda: acm.deseasonalize("a", "t", model=TRAIN["load"]),
        ValueError,
        "`model` must be one row of .*, got Float64",
    ),
    (
        lambda: acm.deseasonalize("a", "t", model=pl.concat([fitted(), fitted()])),
        ValueError,
        "`model` must be one row of .*, got '2 rows, 0 of them null'",
    ),
]


@pytest.mark.parametrize("row", range(len(REFUSED)))
def test_refused_arguments_name_themselves(row: int) -> None:
    call, error, text = REFUSED[row]
    with pytest.raises(error, match=rf"^acm\.(?:\w+: )?.*{text}") as caught:
        call()
    assert type(caught.value) is error
