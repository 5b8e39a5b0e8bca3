"""Which backend is chosen and what it says, and that both give the same results."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import pickle
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import _plugin, fallback, features
from acm_rs.fallback._registry import OPERATIONS
from backends import AS_NULL, RUST, both_backends, needs_python_backend, rust_only, within
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal
from test_aggregates import CASES as AGGREGATES
from test_aggregates import Case as Aggregate
from test_cleaning import CASES as CLEANING
from test_cleaning import Case as CleaningCase
from test_contract import CASES, START, Case, flat
from test_correlation import BOTH, rowwise, tables

pytestmark = needs_python_backend

PACKAGE = Path(acm.__file__).parent
USE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import acm_rs as acm
    from acm_rs import fast_features, features, namespace
import polars as pl
import sys
frame = pl.DataFrame({"x": [1.0, 2.0, 9.0]})
print(acm.backend(), frame.select(acm.rolling_median("x", 3))["x"].to_list(), "acm_rs._internal" in sys.modules)
print(acm.__version__)
print(*(f"{w.category.__name__}: {w.message}" for w in caught), sep="\\n")
"""


def run(code: str, *, backend: str | None = None, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with the package at `path` and the variable set to `backend`."""
    environment = {name: value for name, value in os.environ.items() if name != "ACM_RS_BACKEND"}
    environment["PYTHONPATH"] = str(path or PACKAGE.parent)
    environment["PYTHONUTF8"] = "1"
    if backend is not None:
        environment["ACM_RS_BACKEND"] = backend
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", env=environment, timeout=120
    )


@pytest.fixture(scope="module")
def without_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that lacks the compiled file."""
    folder = tmp_path_factory.mktemp("without")
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "*.dll", "*.dylib", "__pycache__")
    shutil.copytree(PACKAGE, folder / "acm_rs", ignore=ignored)
    return folder


# --- which one -------------------------------------------------------------------------------------------------------


def test_the_variable_decides() -> None:
    wanted = os.environ.get("ACM_RS_BACKEND") or "auto"
    assert acm.backend() in (["rust", "python"] if wanted == "auto" else [wanted])


@rust_only
@pytest.mark.parametrize("backend", [None, "", "auto", "rust"])
def test_the_library_is_used_where_there_is_one(backend: str | None) -> None:
    child = run(USE, backend=backend)
    assert child.stdout.splitlines() == ["rust [1.0, 1.5, 2.0] True", acm.__version__, ""], child.stderr


def test_python_never_touches_the_library() -> None:
    child = run(USE, backend="python")
    assert child.stdout.splitlines() == ["python [1.0, 1.5, 2.0] False", acm.__version__, ""], child.stderr


@pytest.mark.parametrize("backend", ["Rust", "numpy", "0", " "])
def test_another_value_is_refused(backend: str) -> None:
    child = run("import acm_rs", backend=backend)
    expected = f'environment variable `ACM_RS_BACKEND` must be "auto", "rust" or "python", got {backend!r}'
    assert child.stderr.splitlines()[-1] == f"ValueError: acm: {expected}"


@pytest.mark.parametrize("backend", [None, "auto"])
def test_a_missing_library_warns_once_with_the_reason(backend: str | None, without_library: Path) -> None:
    child = run(USE, backend=backend, path=without_library)
    result, _, *warned = child.stdout.splitlines()
    assert result == "python [1.0, 1.5, 2.0] False", child.stderr
    (warning,) = warned
    assert warning.startswith("RuntimeWarning: acm_rs runs without its compiled library")
    assert "ModuleNotFoundError: No module named 'acm_rs._internal'" in warning
    assert "ACM_RS_BACKEND=python" in warning


def test_a_library_that_cannot_be_loaded_is_a_reason_too(without_library: Path, tmp_path: Path) -> None:
    shutil.copytree(without_library / "acm_rs", tmp_path / "acm_rs")
    broken = f"_internal{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    (tmp_path / "acm_rs" / broken).write_bytes(b"no library")
    child = run(USE, path=tmp_path)
    result, _, warning = child.stdout.splitlines()
    assert result == "python [1.0, 1.5, 2.0] False", child.stderr
    assert "cannot be loaded (ImportError: " in warning


def test_a_chosen_python_does_not_warn_of_a_missing_library(without_library: Path) -> None:
    child = run(USE, backend="python", path=without_library)
    assert child.stdout.splitlines()[2:] == [""], child.stderr


def test_rust_without_a_library_is_an_error_that_says_why(without_library: Path) -> None:
    child = run("import acm_rs", backend="rust", path=without_library)
    last = child.stderr.splitlines()[-1]
    assert last.startswith("ImportError: acm: ACM_RS_BACKEND=rust, but the compiled library cannot be loaded")
    assert "No module named 'acm_rs._internal'" in last


def test_the_log_tells(without_library: Path) -> None:
    code = "import logging; logging.basicConfig(level=logging.INFO); import acm_rs"
    assert "INFO:acm_rs:backend python: chosen by ACM_RS_BACKEND" in run(code, backend="python").stderr
    assert (
        "WARNING:acm_rs:backend python: the compiled library cannot be loaded (Mod"
        in run(code, path=without_library).stderr
    )
    assert run("import acm_rs", backend="python").stderr == ""


def test_what_is_not_installed_is_named_with_the_extra() -> None:
    code = """
import sys
sys.modules["scipy"] = None  # as if it were not installed
import acm_rs as acm
import polars as pl
assert acm.tail(pl.DataFrame({"x": [1.0, 2.0, 3.0]}), 1).height == 1
acm.rolling_median("x", 3)
"""
    last = run(code, backend="python").stderr.splitlines()[-1]
    assert last.startswith("ImportError: acm.rolling_median: without the compiled library NumPy and SciPy are needed")
    assert 'pip install "acm-rs[fallback]"' in last


def test_polars_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl, "__version__", "1.32.3")
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    with pytest.raises(ImportError, match=r"acm\.rolling_mean: .*Polars 1\.33 or newer is needed, this is 1\.32\.3"):
        acm.rolling_mean("x", 3)


ON_FRAMES = {"gaps", "quality_report", "tail"}  # they are made of `checked_times`, expressions and other operations
FAMILIES = [module.name for module in pkgutil.iter_modules(features.__path__)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operation_is_there(family: str) -> None:
    fallback.call("rolling_mean", [pl.col("x")], "rows", {"window_size": 3, "min_samples": 1})
    there = {name for name, operation in OPERATIONS.items() if operation.compute.__module__.endswith(f".{family}")}
    module = importlib.import_module(f"acm_rs.features.{family}")  # `correlation` is a function, too
    expected = set(module.__all__) - ON_FRAMES
    assert there == expected | ({"checked_times"} if family == "quality" else set())
    assert family in fallback.FAMILIES


# --- expressions of the Python backend -------------------------------------------------------------------------------


@pytest.fixture
def python_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plugin, "_LIBRARY", None)


@pytest.mark.usefixtures("python_backend")
def test_an_expression_serves_frames_of_other_dtypes() -> None:
    double = pl.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    for columns in ("a", ["a", "b"], pl.col("a", "b")):
        expr = acm.rolling_mean(columns, 2)
        for dtype in (pl.Float64, pl.Float32, pl.Int8):
            frame = double.cast(dtype)
            result = flat(frame.select(expr))
            assert set(result.dtypes) == {pl.Float32 if dtype == pl.Float32 else pl.Float64}
            assert result["a"].to_list() == [1.0, 1.5]
        with pytest.raises(ComputeError, match=r"acm\.rolling_mean: column `a` has dtype str"):
            double.cast(pl.String).select(expr)


@pytest.mark.usefixtures("python_backend")
def test_a_plan_travels() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 9.0]})
    plan = frame.lazy().select(acm.rolling_features("a", 2))
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).collect().to_dict(as_series=False))"
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=pickle.dumps(plan),
        capture_output=True,
        check=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert child.stdout.decode().strip() == str(plan.collect().to_dict(as_series=False))


@pytest.mark.usefixtures("python_backend")
def test_windows_of_more_rows_than_a_block_holds() -> None:
    x = np.random.default_rng(1).normal(size=30_000)
    frame = pl.DataFrame({"x": x})
    ours = frame.select(acm.rolling_mean("x", 5000))["x"].to_numpy()
    assert ours[-1] == pytest.approx(x[-5000:].mean(), rel=1e-9)
    assert ours[6000] == pytest.approx(x[1001:6001].mean(), rel=1e-9)
    assert ours[3000] == pytest.approx(x[:3001].mean(), rel=1e-9)


# --- one result ------------------------------------------------------------------------------------------------------


def hostile() -> pl.DataFrame:
    """What breaks running sums, naive variances and comparisons."""
    rng = np.random.default_rng(8)
    rows = 400
    noise = rng.normal(size=rows)
    columns = {
        "walk": noise.cumsum(),
        "offset": 1e8 + 1e-3 * noise,
        "ticks": np.round(noise),
        "steps": np.repeat(noise[: rows // 40], 40),
        "spike": np.where(rng.random(rows) < 0.02, 1e15, noise),
        "signs": np.where(rng.random(rows) < 0.5, -0.0, 0.0),
        "huge": 1e307 * noise,
        "tiny": 1e-310 * noise,
        "mixed": noise * 10.0 ** rng.integers(-200, 200, rows),
    }
    for column in columns.values():
        column[rng.random(rows) < 0.15] = rng.choice([np.nan, np.inf, -np.inf])
    minutes = np.cumsum(rng.integers(0, 3, rows))
    return pl.DataFrame(columns).with_columns(
        pl.col("walk").cast(pl.Float32).alias("narrow"),
        (pl.lit(START) + pl.duration(minutes=pl.Series(minutes))).alias("time"),
    )


HOSTILE = hostile()
READINGS = [name for name in HOSTILE.columns if name != "time"]
EXACT = ("rolling_median", "rolling_mad", "rolling_robust_z", "rolling_hampel", "_med", "_mad", "_rz")
EXTREME = ("huge", "mixed")  # whose squares leave the range of Float64, so that band energies are of no use


@both_backends
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_backends_agree(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    window = {name: case.parameters[name] for name in ("window_size", "by") if name in case.parameters}
    rust = flat(HOSTILE.select(case(READINGS)))
    # of one window, what errors are measured by: the spread of its readings
    spreads = flat(HOSTILE.select(acm.rolling_std(READINGS, **window, ddof=0)))
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    expr = case(READINGS)
    assert HOSTILE.lazy().select(expr).collect_schema() == HOSTILE.select(expr).schema
    python = flat(HOSTILE.select(expr))
    assert python.schema == rust.schema
    for name in rust.columns:
        if case.operation.endswith(EXACT) or name.endswith(EXACT):
            assert_frame_equal(python.select(name), rust.select(name), check_exact=True)
            continue
        column = next(reading for reading in READINGS if name == reading or name.startswith(f"{reading}_"))
        energy = "_energy_" in name
        if energy and column in EXTREME:
            continue
        assert python[name].is_null().to_list() == rust[name].is_null().to_list(), name
        ours, theirs = (np.nan_to_num(frame[name].cast(pl.Float64).to_numpy()) for frame in (python, rust))
        spread = np.nan_to_num(spreads[column].cast(pl.Float64).to_numpy())
        shape = name.endswith(("_skew", "_kurt")) or case.operation in ("rolling_skew", "rolling_kurtosis")
        rows = 100 if case.by else case.parameters["window_size"]
        with np.errstate(over="ignore"):
            scale = 1.0 if shape else (spread * rows) ** 2 if energy else spread
        tolerance = 1e-6 if column == "narrow" else 1e-9
        # a subnormal number has fewer digits
        allowed = tolerance * (np.maximum(np.abs(ours), np.abs(theirs)) + scale) + 1e-320
        worst = np.argmax(np.abs(ours - theirs) - allowed)
        assert np.abs(ours - theirs)[worst] <= np.broadcast_to(allowed, ours.shape)[worst], (
            f"{name}, row {worst}: {ours[worst]!r} instead of {theirs[worst]!r}"
        )


ASSETS = pl.Series("asset", ["north", "south", "west"]).gather(np.arange(HOSTILE.height) // 7 % 3)
FITTED = HOSTILE.select(acm.robust_scale_fit(READINGS))
MODELS = HOSTILE.with_columns(ASSETS).group_by("asset", maintain_order=True).agg(acm.robust_scale_fit(READINGS))
BY_ASSET = {"model": MODELS.head(2), "by": "asset"}
PREPARING = [
    *(case for case in CLEANING if "model" not in case.parameters),
    CleaningCase("fill", {"value": {name: float(place) for place, name in enumerate(READINGS)}}),
    CleaningCase("fill", {"method": "backward", "max_gap": 1}),
    CleaningCase("fill", {"method": "interpolate", "max_gap": "4m", "by": "time"}),
    CleaningCase("stuck", {"min_length": 2, "tolerance": 1e-3}),
    CleaningCase("stuck", {"min_length": 30, "tolerance": 1e300}),
    *(
        CleaningCase("stuck", {"min_length": "5m", "tolerance": 1.0, "look_ahead": ahead, "by": "time"})
        for ahead in (True, False)
    ),
    CleaningCase("out_of_range", {"low": 0.0}),
    CleaningCase("robust_scale", {"model": FITTED}),
    CleaningCase("robust_scale", {"model": FITTED, "scale_floor": 1.0}),
    CleaningCase("robust_scale", BY_ASSET),
    CleaningCase("robust_scale", BY_ASSET | {"default": FITTED, "confidence": pl.col("ticks").abs()}),
]
ROUNDED = {"circular_mean": 1e-9, "resultant_length": 1e-9, "to_xy": 1e-9}  # by sines and cosines; the others are exact


@both_backends
@pytest.mark.parametrize("case", PREPARING, ids=str)
def test_both_backends_prepare_readings_alike(case: CleaningCase, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = HOSTILE.with_columns(ASSETS)
    rust = frame.select(case(READINGS))
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    python = frame.select(case(READINGS))
    assert frame.lazy().select(case(READINGS)).collect_schema() == python.schema == rust.schema
    tolerance = ROUNDED.get(case.operation, 0.0)
    assert_frame_equal(python, rust, check_exact=not tolerance, **within(rel=tolerance, abs=tolerance))


@both_backends
@pytest.mark.parametrize("name", BOTH)
def test_both_backends_correlate_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rust = HOSTILE.select((rowwise(READINGS) | tables(READINGS))[name])
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    expr = (rowwise(READINGS) | tables(READINGS))[name]
    python = HOSTILE.select(expr)
    assert HOSTILE.lazy().select(expr).collect_schema() == python.schema == rust.schema
    rust, python = (frame.unnest(cs.struct()) for frame in (rust, python))
    if name == "max_abs":  # of two rows it is 1 or -1, and the farther one a matter of rounding
        rust, python = (frame.with_columns(pl.col("corr").abs()) for frame in (rust, python))
    assert_frame_equal(python, rust, **within(rel=0, abs=1e-9))


@both_backends
@pytest.mark.parametrize("case", AGGREGATES, ids=str)
def test_both_backends_find_the_same_rhythms(case: Aggregate, monkeypatch: pytest.MonkeyPatch) -> None:
    for readings in READINGS:
        if case.operation in ("spectral_energy", "power_spectrum", "dominant_period") and readings in EXTREME:
            continue
        x = HOSTILE[readings].cast(pl.Float64)
        largest = float(x.filter(x.is_finite()).abs().max())  # type: ignore[arg-type]
        with monkeypatch.context() as patch:
            rust = HOSTILE.select(case([readings]))
            patch.setattr(_plugin, "_LIBRARY", None)
            python = HOSTILE.select(case([readings]))
            assert HOSTILE.lazy().select(case([readings])).collect_schema() == python.schema == rust.schema
        rust, python = (frame.unnest(case.operation) for frame in (rust, python))
        if case.operation == "seasonality":
            rust, python = (frame.explode("patterns", **AS_NULL).unnest("patterns") for frame in (rust, python))
            assert_frame_equal(python.select("confidence"), rust.select("confidence"), **within(rel=0, abs=1e-9))
            rust, python = (frame.drop("confidence").explode("profile", **AS_NULL) for frame in (rust, python))
        elif case.operation == "power_spectrum":
            rust, python = (frame.explode(pl.all(), **AS_NULL) for frame in (rust, python))
        power = case.operation in ("spectral_energy", "power_spectrum")
        spread = float(x.filter(x.is_finite()).std())  # type: ignore[arg-type]
        scale = (spread * HOSTILE.height) ** 2 if power else largest
        assert_frame_equal(python, rust, **within(rel=1e-9, abs=1e-9 * scale))


def test_the_suite_runs_on_the_backend_that_was_asked_for() -> None:
    """Else a run with `ACM_RS_BACKEND=python` would prove nothing."""
    assert (_plugin._LIBRARY is not None) == RUST
    expr = str(acm.rolling_mean("x", 3))
    assert ("python_udf" in expr) != RUST
