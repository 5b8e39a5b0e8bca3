"""Robust scaling: models as data, one or a fleet of them, and the gate of confidence."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal
from scipy import stats

RNG = np.random.default_rng(6)
TRAIN = pl.DataFrame(
    {
        "regime": [0] * 60 + [1] * 60 + [None] * 5,
        "asset": ["a", "b"] * 62 + ["a"],
        "x": np.concatenate([RNG.normal(10, 2, 60), RNG.normal(50, 9, 60), [np.nan, np.inf, 1.0, 2.0, 3.0]]),
        "y": RNG.normal(size=125).astype(np.float32),
    }
)
WHOLE = TRAIN.select(acm.robust_scale_fit(["x", "y"]))
REGIMES = TRAIN.group_by("regime", maintain_order=True).agg(acm.robust_scale_fit(["x", "y"]))


def parts(model: pl.Series, column: str) -> dict[str, float]:
    return model.struct.field(column).to_list()[0]


def test_a_fit_is_what_numpy_and_scipy_say() -> None:
    for column in ("x", "y"):
        values = TRAIN[column].cast(pl.Float64).to_numpy()
        values = values[np.isfinite(values)]
        model = parts(WHOLE.to_series(), column)
        assert model["center"] == np.median(values)
        assert model["scale"] == pytest.approx(1.4826 * stats.median_abs_deviation(values), rel=1e-15)
        assert (model["p05"], model["p95"]) == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])), rel=1e-14)
        assert model["readings"] == len(values)


def test_scores_are_what_numpy_says() -> None:
    scores = TRAIN.select(acm.robust_scale(["x", "y"], WHOLE)).unnest("robust_scale")
    assert scores.schema == {"x": pl.Float64, "y": pl.Float32}
    model = parts(WHOLE.to_series(), "x")
    values = TRAIN["x"].to_numpy()
    expected = np.where(np.isfinite(values), (values - model["center"]) / model["scale"], np.nan)
    np.testing.assert_array_equal(scores["x"].fill_null(np.nan).to_numpy(), expected)


@pytest.mark.parametrize("held", [WHOLE, WHOLE.to_series(), acm.robust_scale_fit(["x", "y"])], ids=str)
def test_a_model_may_be_a_frame_a_series_or_an_expression(held: Any) -> None:
    expected = TRAIN.select(acm.robust_scale(["x", "y"], WHOLE))
    assert_frame_equal(TRAIN.select(acm.robust_scale(["x", "y"], held)), expected, check_exact=True)
    assert_frame_equal(TRAIN.lazy().select(acm.robust_scale(["x", "y"], held)).collect(), expected, check_exact=True)


def test_a_model_may_know_more_columns_than_are_scored() -> None:
    expected = TRAIN.select(acm.robust_scale(["x", "y"], WHOLE)).unnest("robust_scale").select("y")
    assert_frame_equal(TRAIN.select(acm.robust_scale("y", WHOLE)).unnest("robust_scale"), expected)
    one = TRAIN.select(acm.robust_scale_fit("y"))
    assert_frame_equal(TRAIN.select(acm.robust_scale("y", one)).unnest("robust_scale"), expected)


def test_models_are_data() -> None:
    file = io.BytesIO()
    REGIMES.write_parquet(file)
    file.seek(0)
    again = pl.read_parquet(file)
    ours, theirs = (TRAIN.select(acm.robust_scale(["x"], fleet, by="regime")) for fleet in (REGIMES, again))
    assert_frame_equal(ours, theirs, check_exact=True)


def test_an_expression_fits_each_group() -> None:
    expr = acm.robust_scale("x", acm.robust_scale_fit("x"))
    by_group = TRAIN.with_columns(expr.over("asset")).select(pl.col("robust_scale").struct.field("x"))
    fleet = TRAIN.group_by("asset").agg(acm.robust_scale_fit("x"))
    expected = TRAIN.select(acm.robust_scale("x", fleet, by="asset")).unnest("robust_scale")
    assert_frame_equal(by_group, expected, check_exact=True)


def test_scale_floor_and_a_scale_of_zero() -> None:
    still = pl.DataFrame({"x": [5.0, 5.0, 5.0, 5.0, 9.0]})
    model = still.select(acm.robust_scale_fit("x"))
    assert parts(model.to_series(), "x")["scale"] == 0.0
    scores = still.select(acm.robust_scale("x", model)).unnest("robust_scale")["x"]
    assert scores.to_list() == [None] * 5
    scores = still.select(acm.robust_scale("x", model, scale_floor=2.0)).unnest("robust_scale")["x"]
    assert scores.to_list() == [0.0, 0.0, 0.0, 0.0, 2.0]


def score(frame: pl.DataFrame, **parameters: Any) -> list[float | None]:
    lazy = frame.lazy().select(acm.robust_scale("x", REGIMES, by="regime", **parameters)).unnest("robust_scale")
    eager = lazy.collect(engine="in-memory")
    assert_frame_equal(lazy.collect(engine="streaming"), eager, check_exact=True)
    return eager["x"].to_list()


def z(x: float, model: pl.Series) -> float:
    return (x - parts(model, "x")["center"]) / parts(model, "x")["scale"]


def test_a_fleet_by_regime_and_the_gate() -> None:
    models = {key: REGIMES.filter(regime=key)["robust_scale_fit"] for key in (0, 1)}
    whole = WHOLE.to_series()
    new = pl.DataFrame({"x": [20.0] * 6, "regime": [0, 1, 1, 7, None, 0], "sure": [0.7, 0.9, 0.69, 1.0, 1.0, None]})
    by_key = [z(20, models[0]), z(20, models[1]), z(20, models[1]), None, None, z(20, models[0])]
    assert score(new) == by_key
    otherwise = z(20, whole)
    assert score(new, default=WHOLE) == [*by_key[:3], otherwise, otherwise, by_key[5]]
    gated = [z(20, models[0]), z(20, models[1]), None, None, None, None]
    assert score(new, confidence="sure") == gated
    assert score(new, confidence=pl.col("sure"), default=whole) == [*gated[:2], *[otherwise] * 4]
    assert score(new, confidence="sure", min_confidence=0.6)[2] == z(20, models[1])
    strict = new.filter(pl.col("regime").is_null() | (pl.col("regime") < 2))
    assert score(strict, on_unknown="error") == [*by_key[:3], None, by_key[5]]
    for default in (None, WHOLE):
        with pytest.raises(
            ComputeError,
            match=r"acm\.robust_scale: `by` has the key 7, which no model is for; fit it too, or .*, or a `default`",
        ):
            score(new, on_unknown="error", default=default)


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["a", "b", "c"])], ids=str)
def test_keys_of_every_kind(dtype: Any) -> None:
    fleet = TRAIN.group_by("asset").agg(acm.robust_scale_fit("x"))
    expected = TRAIN.select(acm.robust_scale("x", fleet, by="asset"))
    for keys, frame in ((dtype, TRAIN), (pl.String, TRAIN.with_columns(pl.col("asset").cast(dtype)))):
        other = fleet.with_columns(pl.col("asset").cast(keys))
        assert_frame_equal(frame.select(acm.robust_scale("x", other, by="asset")), expected, check_exact=True)
    assert TRAIN.select(acm.robust_scale("x", fleet, by=pl.lit("b"))).height == TRAIN.height


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.UInt64], ids=str)
def test_integer_keys_of_every_width(dtype: Any) -> None:
    expected = TRAIN.select(acm.robust_scale("x", REGIMES, by="regime"))
    other = TRAIN.with_columns(pl.col("regime").cast(dtype))
    assert_frame_equal(other.select(acm.robust_scale("x", REGIMES, by="regime")), expected, check_exact=True)


def test_a_large_fleet() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"asset": rng.integers(0, 3000, 60_000), "x": rng.normal(size=60_000)})
    fleet = frame.group_by("asset").agg(acm.robust_scale_fit("x"))
    ours = frame.select(acm.robust_scale("x", fleet, by="asset")).unnest("robust_scale")
    x = pl.col("x")
    center = x.median().over("asset")
    native = frame.with_columns(c=center).select(
        (x - pl.col("c")) / (1.4826 * (x - pl.col("c")).abs().median().over("asset"))
    )
    np.testing.assert_allclose(ours["x"].to_numpy(), native["x"].to_numpy(), rtol=1e-12)


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: acm.robust_scale("x", {"x": 1}),
        TypeError,
        "`model` must be what `robust_scale_fit` gives: a Series or a frame in memory, of one row and that column "
        "alone, got {'x': 1} (dict)",
    ),
    (lambda: acm.robust_scale("x", REGIMES["robust_scale_fit"]), TypeError, "`model` must be what `robust_scale_fit`"),
    (lambda: acm.robust_scale("x", TRAIN.select("x")), TypeError, "`model` must be what `robust_scale_fit` gives"),
    (lambda: acm.robust_scale("x", WHOLE, by="regime"), TypeError, "`model` must be a frame of a key column and"),
    (lambda: acm.robust_scale("x", TRAIN.select("x", "y"), by="regime"), TypeError, "`model` must be a frame of a key"),
    (
        lambda: acm.robust_scale("x", pl.concat([REGIMES, REGIMES]), by="regime"),
        ValueError,
        "`model` must be one model for each key, these have several, got [0, 1]",
    ),
    (
        lambda: acm.robust_scale("x", REGIMES, by="regime", default=TRAIN.select(acm.robust_scale_fit("x"))),
        ValueError,
        "`default` must be fitted on all columns of `model`, also ['y'], got ['x']",
    ),
    (lambda: acm.robust_scale("x", REGIMES, by="regime", default=3), TypeError, "`default` must be what"),
    (lambda: acm.robust_scale("x", WHOLE, default=WHOLE), ValueError, "`default` must be left out unless `by` names"),
    (lambda: acm.robust_scale("x", WHOLE, confidence="c"), ValueError, "`confidence` must be left out unless `by`"),
    (lambda: acm.robust_scale("x", WHOLE, on_unknown="error"), ValueError, "`on_unknown` must be left out unless `by`"),
    (
        lambda: acm.robust_scale("x", REGIMES, by="regime", on_unknown="skip"),
        ValueError,
        '`on_unknown` must be "null" or "error", got \'skip\'',
    ),
    (
        lambda: acm.robust_scale("x", REGIMES, by=3),
        TypeError,
        "`by` must be a column name, an expression or None, got 3",
    ),
    (
        lambda: acm.robust_scale("x", REGIMES, by="regime", confidence=0.9),
        TypeError,
        "`confidence` must be a column name, an expression or None, got 0.9 (float)",
    ),
    (
        lambda: acm.robust_scale("x", WHOLE, scale_floor=-1),
        ValueError,
        "`scale_floor` must be a finite number >= 0, got -1",
    ),
    (
        lambda: acm.robust_scale("x", WHOLE, min_confidence=math.nan),
        ValueError,
        "`min_confidence` must be a finite number >= 0, got nan",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(f"acm.robust_scale: {text}")


def test_data_that_the_model_does_not_fit() -> None:
    frame = TRAIN.with_columns(w=pl.col("x"), when=pl.lit(1.5))
    for expr, text in (
        (acm.robust_scale(["x", "w"], WHOLE), "`model` has no column `w`, it was fitted on `x`, `y`; fit it"),
        (acm.robust_scale("x", REGIMES, by="asset"), "`by` has dtype str, but the models' keys are i64; cast one"),
        (acm.robust_scale("x", REGIMES, by="when"), "`by` must be text or integers, got dtype f64; cast it first"),
        (acm.robust_scale("x", pl.col("x")), "`model` must be what `robust_scale_fit` gives, a struct of columns, got"),
        (acm.robust_scale("x", pl.struct("x")), "`model` must be what `robust_scale_fit` gives, but its `x` has dtype"),
        (
            acm.robust_scale("x", pl.lit(WHOLE.to_series()).append(pl.lit(WHOLE.to_series()))),
            "one row",
        ),
    ):
        with pytest.raises(ComputeError) as caught:
            frame.select(expr)
        assert "acm.robust_scale: " in str(caught.value)
        assert text in str(caught.value)
