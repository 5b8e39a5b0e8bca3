"""AR(1): fits and scores against their definition in NumPy, and what holds for models of single series."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from backends import OLD_POLARS, assert_same, rust_only
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

SENSORS = ["a", "b", "f", "i"]


def make_frame(rows: int = 600) -> pl.DataFrame:
    """Draw slow sensors with every kind of missing reading, and rows of three assets."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(rows, 4))
    readings = np.empty_like(noise)
    readings[0] = noise[0]
    for row in range(1, rows):
        readings[row] = readings[row - 1] * [0.9, 0.5, -0.3, 0.0] + noise[row]
    row = pl.int_range(rows)
    frame = pl.DataFrame(readings * [1.0, 20.0, 1.0, 10.0] + [5.0, 1e3, 0.0, 0.0], schema=SENSORS)
    return frame.select(
        pl.when(row % 17 == 4).then(None).when(row % 31 == 5).then(np.nan).otherwise("a").alias("a"),
        pl.when(row % 23 == 7).then(-np.inf).otherwise("b").alias("b"),
        pl.col("f").cast(pl.Float32),
        pl.when(row % 7 != 1).then(pl.col("i").round().cast(pl.Int16)).alias("i"),
        row.alias("row"),
        pl.Series("asset", rng.choice(["north", "south", "west"], rows)),
    )


FRAME = make_frame()
MODEL = FRAME.select(acm.ar1_fit(SENSORS))


def naive_fit(x: Any, *, close_gaps: bool = False, cap: float = 0.999, floor: float = 1e-6) -> tuple[float, ...]:
    x = np.array([np.nan if v is None or not np.isfinite(v) else float(v) for v in x])
    if close_gaps:
        x = x[~np.isnan(x)]
    y = x - np.nanmedian(x)
    pairs = [(last, now) for last, now in pairwise(y) if not np.isnan(last * now)]
    phi = sum(last * now for last, now in pairs) / sum(last * last for last, _ in pairs)
    phi = min(max(phi, -cap), cap)
    residuals = np.array([now - phi * last for last, now in pairs])
    scale = 1.4826 * np.median(np.abs(residuals - np.median(residuals)))
    return float(np.nanmedian(x)), phi, max(float(scale), floor), int((~np.isnan(x)).sum())


def naive_residual(x: Any, center: float, phi: float) -> list[float | None]:
    values = [None if v is None or not np.isfinite(v) else float(v) - center for v in x]
    out: list[float | None] = [None]
    for last, now in pairwise(values):
        out.append(None if now is None else now - phi * (last or 0.0))
    return out


def parts(model: pl.DataFrame) -> dict[str, tuple[float, float, float, int]]:
    row = model.to_series().struct.unnest().row(0, named=True)
    numbers = zip(row["center"], row["phi"], row["scale"], row["readings"], strict=True)
    return dict(zip(row["columns"], numbers, strict=True))


def assert_close(found: pl.Series, expected: list[float | None], tolerance: float = 1e-9) -> None:
    dtype = pl.Float64
    assert found.is_null().to_list() == [v is None for v in expected]
    error = (found.cast(dtype) - pl.Series(expected, dtype=dtype)).abs().max()
    assert error is None or error <= tolerance


# --- fit -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close_gaps", [False, True])
def test_a_fit_is_its_definition(close_gaps: bool) -> None:
    fitted = parts(FRAME.select(acm.ar1_fit(SENSORS, close_gaps=close_gaps)))
    for sensor, found in fitted.items():
        expected = naive_fit(FRAME[sensor].to_list(), close_gaps=close_gaps)
        assert found == pytest.approx(expected, rel=1e-11, abs=1e-12)


def test_a_model_is_one_row_known_before() -> None:
    lazy = FRAME.lazy().select(acm.ar1_fit(SENSORS))
    assert lazy.collect_schema() == lazy.collect().schema == MODEL.schema
    row = MODEL.to_series().struct.unnest().row(0, named=True)
    assert (row["kind"], row["format"], row["columns"]) == ("ar1", 1, SENSORS)
    fleet = FRAME.group_by("asset", maintain_order=True).agg(acm.ar1_fit(SENSORS))
    for asset, model in fleet.rows():
        assert FRAME.filter(asset=asset).select(acm.ar1_fit(SENSORS)).item() == model


def test_few_readings() -> None:
    frame = pl.DataFrame({"none": [None, np.nan, np.inf], "one": [None, 2.0, None], "two": [1.0, 3.0, None]})
    fitted = parts(frame.select(acm.ar1_fit(["none", "one", "two"])))
    assert fitted == {"none": (None, None, None, 0), "one": (2.0, 0.0, 1e-6, 1), "two": (2.0, 0.0, 1.4826, 2)}
    empty = frame.clear()
    model = empty.select(acm.ar1_fit(["one"]))
    assert parts(model) == {"one": (None, None, None, 0)}
    assert empty.select(acm.ar1_z(["one"], model)).shape == (0, 1)
    # nothing known of a column, nothing said
    assert frame.select(acm.ar1_z(["one"], model).struct.field("one")).to_series().null_count() == 3


def test_constant_columns_have_a_floor() -> None:
    frame = pl.DataFrame({"x": [4.0] * 5})
    assert parts(frame.select(acm.ar1_fit("x"))) == {"x": (4.0, 0.0, 1e-6, 5)}
    model = frame.select(acm.ar1_fit("x", scale_floor=0.0))
    assert frame.select(acm.ar1_z("x", model))["x"].to_list() == [None] * 5  # no scale, no score
    small = pl.DataFrame({"x": np.cumsum(np.random.default_rng(1).normal(size=300)) * 1e-9})
    assert parts(small.select(acm.ar1_fit("x")))["x"][1] > 0.9  # in a small unit, not constant


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_their_definition() -> None:
    residuals = FRAME.select(acm.ar1_residual(SENSORS, MODEL)).unnest("ar1_residual")
    z = FRAME.select(acm.ar1_z(SENSORS, MODEL)).unnest("ar1_z")
    assert residuals.dtypes == z.dtypes == [pl.Float64, pl.Float64, pl.Float32, pl.Float64]
    for sensor, (center, phi, scale, _) in parts(MODEL).items():
        expected = naive_residual(FRAME[sensor].to_list(), center, phi)
        narrow = 1e-5 if sensor == "f" else 1e-9
        assert_close(residuals[sensor], expected, narrow)
        assert_close(z[sensor], [None if v is None else v / scale for v in expected], narrow)


@pytest.mark.parametrize(("fuse", "numpy"), [("mean", np.mean), ("median", np.median), ("p95", None)])
def test_fused_scores(fuse: Any, numpy: Any) -> None:
    z = FRAME.select(acm.ar1_z(["a", "b", "i"], MODEL)).unnest("ar1_z")
    expected: list[float | None] = []
    for row in z.rows():
        known = [abs(v) for v in row if v is not None]
        reduced = numpy(known) if numpy and known else np.quantile(known, 0.95) if known else None
        expected.append(None if reduced is None else float(reduced))
    found = FRAME.select(acm.ar1_z(["a", "b", "i"], MODEL, fuse=fuse))
    assert found.schema == {"ar1_z": pl.Float64}
    assert_close(found.to_series(), expected)
    assert FRAME.select(acm.ar1_z(["f"], MODEL, fuse=fuse)).schema == {"ar1_z": pl.Float32}


def test_names_and_forms() -> None:
    whole = FRAME.select(acm.ar1_z(SENSORS, MODEL)).unnest("ar1_z")
    for form in ("a", pl.col("a")):
        assert_frame_equal(FRAME.select(acm.ar1_z(form, MODEL)), whole.select("a"))
    assert_frame_equal(FRAME.select(acm.ar1_z(pl.col("a", "f"), MODEL)), whole.select("a", "f"))
    assert_frame_equal(FRAME.select(acm.ar1_z(cs.by_name(*SENSORS), MODEL)).unnest("ar1_z"), whole)
    packed = FRAME.select(pl.struct("a", "f").alias("s"))
    assert_frame_equal(packed.select(acm.ar1_z(["s"], MODEL)).unnest("ar1_z"), whole.select("a", "f"))
    for model in (MODEL.to_series(), acm.Ar1Model(MODEL)):
        assert_frame_equal(FRAME.select(acm.ar1_z(SENSORS, model)).unnest("ar1_z"), whole)
    assert_frame_equal(FRAME.select(acm.ar1_z(["f", "a"], MODEL)).unnest("ar1_z"), whole.select("f", "a"))
    assert_same(pl.col("a").acm.ar1_z(MODEL, fuse="mean"), acm.ar1_z("a", MODEL, fuse="mean"), FRAME)


def test_a_missing_predecessor_is_the_center_a_missing_row_is_null() -> None:
    model = pl.DataFrame({"x": [1.0, 4.0, 3.0, 2.0, 5.0]}).select(acm.ar1_fit("x"))  # center 3, phi -2/3
    frame = pl.DataFrame({"x": [4.0, None, 4.0, 4.0]})
    assert_close(frame.select(acm.ar1_residual("x", model))["x"], [None, None, 1.0, 1.0 + 2 / 3])


@pytest.mark.parametrize("operation", [acm.ar1_residual, acm.ar1_z])
def test_without_a_model_rows_are_scored_by_their_own(operation: Any) -> None:
    assert_frame_equal(FRAME.select(operation(SENSORS)), FRAME.select(operation(SENSORS, MODEL)))
    for over in (
        FRAME.select(operation(["a", "b"]).over("asset")),
        FRAME.select(operation(["a", "b"], None).over("asset")),
    ):
        for asset in ("north", "south", "west"):
            alone = FRAME.filter(asset=asset).select(operation(["a", "b"]))
            assert_frame_equal(over.filter(FRAME["asset"] == asset), alone)


def test_layout_engines_and_order() -> None:
    expected = FRAME.select(acm.ar1_z(SENSORS, MODEL), acm.ar1_z(SENSORS, MODEL, fuse="p95").alias("fused"))
    chunked = pl.concat([FRAME[start : start + 37] for start in range(0, FRAME.height, 37)], rechunk=False)
    for engine in ("in-memory", "streaming"):
        lazy = chunked.lazy().select(acm.ar1_z(SENSORS, MODEL), acm.ar1_z(SENSORS, MODEL, fuse="p95").alias("fused"))
        assert lazy.collect_schema() == expected.schema
        assert_frame_equal(lazy.collect(engine=engine), expected)  # type: ignore[call-overload]
    shuffled = FRAME.sample(fraction=1.0, shuffle=True, seed=1)
    ordered = shuffled.select("row", acm.ar1_z(["a"], MODEL).over("asset", order_by="row")).sort("row").drop("row")
    assert_frame_equal(ordered, FRAME.select(acm.ar1_z(["a"], MODEL).over("asset")))


@rust_only
def test_scoring_with_a_model_streams() -> None:
    lazy = FRAME.lazy().select(acm.ar1_z(SENSORS, MODEL, fuse="mean"))
    if OLD_POLARS:
        pytest.skip("this Polars shifts in memory")
    plan = lazy.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
    assert plan is not None
    assert "in-memory-map" not in plan
    # the rows are zipped with those before; the model is no third stream but part of the call
    assert plan.count("zip-broadcast") == 1
    assert plan.count("input-independent-select") == 1  # the 1 of the shift


def test_a_fleet_scores_each_row_with_its_model() -> None:
    fleet = FRAME.group_by("asset", maintain_order=True).agg(acm.ar1_fit(SENSORS))
    scores = acm.ar1_z(SENSORS, fleet, by="asset").over("asset")
    found = FRAME.select("asset", scores)
    for asset, model in fleet.rows():
        alone = pl.DataFrame({"model": [model]}, schema={"model": fleet.dtypes[1]})
        expected = FRAME.filter(asset=asset).select(acm.ar1_z(SENSORS, alone))
        assert_frame_equal(found.filter(asset=asset).drop("asset"), expected)
    some = fleet.filter(pl.col("asset") != "west")
    found = FRAME.select("asset", acm.ar1_z(SENSORS, some, by="asset", fuse="mean"))
    assert found.filter(asset="west")["ar1_z"].null_count() == (FRAME["asset"] == "west").sum()
    # a row before that is of another asset is none: asset after asset, .over changes nothing
    z, ordered = acm.ar1_z(SENSORS, fleet, by="asset"), FRAME.sort("asset", maintain_order=True)
    assert_frame_equal(ordered.select(z), ordered.select(z.over("asset")))
    with pytest.raises(
        ComputeError, match='`by` has the key "west", which no model is for; fit it too, or take on_unknown='
    ):
        FRAME.select(acm.ar1_z(SENSORS, some, by="asset", on_unknown="error"))


@rust_only
def test_plans_travel() -> None:
    expr = acm.ar1_z(["a", "b"], MODEL)
    assert_frame_equal(FRAME.select(pickle.loads(pickle.dumps(expr))), FRAME.select(expr))


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: acm.ar1_fit("a", phi_cap=1.5), ValueError, "`phi_cap` must be between 0 and 1, got 1.5"),
        (lambda: acm.ar1_fit("a", phi_cap=-0.5), ValueError, "`phi_cap` must be a finite number >= 0"),
        (lambda: acm.ar1_fit("a", scale_floor=-1), ValueError, "`scale_floor` must be a finite number >= 0"),
        (lambda: acm.ar1_fit("a", close_gaps=1), TypeError, "`close_gaps` must be True or False"),  # type: ignore[arg-type]
        (lambda: acm.ar1_z("a", MODEL, fuse="max"), ValueError, '`fuse` must be "mean", "median" or "p95"'),  # type: ignore[arg-type]
        (lambda: acm.ar1_z("a", by="asset"), ValueError, "`by` must be left out without a `model`"),
        (lambda: acm.ar1_z("a", 3.0), TypeError, "`model` must be what `ar1_fit` gives"),  # type: ignore[arg-type]
        (lambda: acm.ar1_z("a", FRAME[:1]), TypeError, "`model` must be what `ar1_fit` gives"),
        (lambda: acm.ar1_z("a", MODEL, by="asset"), TypeError, "`model` must be a frame of a key column"),
        (lambda: acm.ar1_z([], MODEL), ValueError, "`expr` must be at least one column"),
    ],
)
def test_wrong_arguments(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        make()
    assert text in str(error.value)


def test_wrong_data() -> None:
    with pytest.raises(ComputeError, match=r"acm\.ar1_z: `model` has no column `row`, it was fitted on `a`, `b`"):
        FRAME.select(acm.ar1_z(["a", "row"], MODEL))


# --- the class -------------------------------------------------------------------------------------------------------


def test_the_class(tmp_path: Any) -> None:
    model = acm.Ar1Model.fit(FRAME, SENSORS)
    assert_frame_equal(model.data.rename({"ar1": "ar1_fit"}), MODEL)
    assert repr(model).startswith("Ar1Model(4 columns; phi of a 0.")
    assert_frame_equal(FRAME.select(model.z()), FRAME.select(acm.ar1_z(SENSORS, MODEL)))
    assert_frame_equal(FRAME.select(model.residual()), FRAME.select(acm.ar1_residual(SENSORS, MODEL)))
    assert_frame_equal(model.score(FRAME), FRAME.select(model.z(fuse="mean")))
    limit = model.thresholds(FRAME, false_alarm_rate=0.05)["ar1_z"].item()
    assert (model.score(FRAME)["ar1_z"] > limit).mean() == pytest.approx(0.05, abs=0.005)
    model.save(tmp_path / "model")
    assert_frame_equal(acm.Ar1Model.load(tmp_path / "model").data, model.data)
    fleet = acm.Ar1Model.fit(FRAME, SENSORS, by="asset")
    assert repr(fleet).startswith("Ar1Model(3 models by asset)")
    # rows of other assets in between are no predecessors
    scored = fleet.score(FRAME)
    for asset in ("north", "south", "west"):
        alone = acm.Ar1Model.fit(FRAME.filter(asset=asset), SENSORS).score(FRAME.filter(asset=asset))
        assert_frame_equal(scored.filter(asset=asset).select("ar1_z"), alone)
