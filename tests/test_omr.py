"""Overall model residual: against NumPy and scikit-learn, contributions, both backends, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from acm_rs import _plugin
from backends import both_backends, rust_only, within
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

COLUMNS = ["a", "b", "c", "d", "e", "f"]
RNG = np.random.default_rng(3)
CAUSED = RNG.normal(size=(300, 3)) @ RNG.normal(size=(3, 6))
DATA = (CAUSED + RNG.normal(size=(300, 6)) * 0.2) * [1, 5, 0.1, 2, 30, 1] + 40
FRAME = pl.DataFrame(DATA, schema=COLUMNS)
Z = (DATA - DATA.mean(axis=0)) / DATA.std(axis=0)

PARAMETERS: list[dict[str, Any]] = [
    {"n_components": 2},
    {"n_components": 50},
    {"method": "ridge"},
    {"method": "ridge", "alpha": 30.0},
    {"method": "ridge", "alpha": 0},
]
every_fit = pytest.mark.parametrize("parameters", PARAMETERS, ids=str)


def residuals(parameters: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Reconstruct by components, or by one ridge regression for each column."""
    if parameters.get("method") != "ridge":
        vectors = np.linalg.svd(Z, full_matrices=False)[2][: min(parameters["n_components"], 5)]
        return Z - Z @ vectors.T @ vectors
    residual = np.empty_like(Z)
    for j in range(6):
        others = np.delete(Z, j, axis=1)
        penalty = parameters.get("alpha", 1.0) * np.eye(5)
        residual[:, j] = Z[:, j] - others @ np.linalg.solve(others.T @ others + penalty, others.T @ Z[:, j])
    return residual


@every_fit
def test_scores_are_those_of_the_definition(parameters: dict[str, Any]) -> None:
    model = FRAME.select(acm.omr_fit(COLUMNS, **parameters))
    residual = residuals(parameters)
    norms = np.linalg.norm(residual, axis=1)
    tau = 1.4826 * np.median(np.abs(norms - np.median(norms)))
    parts = model.to_series().struct.unnest().row(0, named=True)
    assert parts["tau"] == pytest.approx(tau, rel=1e-9)
    np.testing.assert_allclose(parts["variances"], residual.var(axis=0), rtol=1e-9)
    scores = FRAME.select(acm.omr_score(COLUMNS, model)).to_series()
    np.testing.assert_allclose(scores, norms / tau, rtol=1e-9)
    clipped = FRAME.select(acm.omr_score(COLUMNS, model, clip=2)).to_series()
    np.testing.assert_allclose(clipped, np.minimum(norms / tau, 2), rtol=1e-9)
    shares = FRAME.select(acm.omr_contributions(COLUMNS, model)).unnest("omr_contributions")
    assert shares.columns == COLUMNS
    np.testing.assert_allclose(shares.to_numpy(), residual**2 / (norms**2)[:, None], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(shares.to_numpy().sum(axis=1), 1, rtol=1e-12)
    scaled = FRAME.select(acm.omr_contributions(COLUMNS, model, scaled=True)).unnest("omr_contributions")
    np.testing.assert_allclose(scaled.to_numpy(), residual**2 / (residual.var(axis=0) + 1e-9), rtol=1e-7, atol=1e-9)


def test_ridge_is_what_scikit_learn_says() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = FRAME.select(acm.omr_fit(COLUMNS, method="ridge", alpha=2.0))
    parts = model.to_series().struct.unnest().row(0, named=True)
    residual = np.empty_like(Z)
    for j in range(6):
        others = np.delete(Z, j, axis=1)
        residual[:, j] = Z[:, j] - linear_model.Ridge(alpha=2.0).fit(others, Z[:, j]).predict(others)
    scores = FRAME.select(acm.omr_score(COLUMNS, model)).to_series()
    np.testing.assert_allclose(scores * parts["tau"], np.linalg.norm(residual, axis=1), rtol=1e-9)


def test_the_largest_contribution_is_the_sensor_that_went_wrong() -> None:
    # every sensor sees the one cause, so the others give a wrong one away
    names = [f"s{j}" for j in range(10)]
    frame = pl.DataFrame(RNG.normal(size=(300, 1)) + RNG.normal(size=(300, 10)) * 0.3, schema=names)
    wrong = frame.with_columns(pl.col("s2") + 5)
    for parameters in ({"n_components": 1}, {"method": "ridge"}):
        model = acm.OmrModel.fit(frame, **parameters)  # type: ignore[arg-type]
        shares = wrong.select(acm.omr_contributions(names, model)).unnest("omr_contributions").to_numpy()
        assert (shares.argmax(axis=1) == 2).mean() > 0.95
        before, after = model.score(frame).to_series().median(), model.score(wrong).to_series().median()
        assert after > 3 * before  # type: ignore[operator]


def test_contributions_of_columns_that_the_model_does_not_hold_are_null() -> None:
    frame = FRAME.with_columns(still=pl.lit(1.0))
    model = frame.select(acm.omr_fit([*COLUMNS, "still"]))
    shares = frame.select(acm.omr_contributions(["still", *COLUMNS[::-1]], model)).unnest("omr_contributions")
    assert shares.columns == ["still", *COLUMNS[::-1]]
    assert shares["still"].null_count() == 300
    expected = FRAME.select(acm.omr_contributions(COLUMNS, model)).unnest("omr_contributions")
    assert_frame_equal(shares.select(COLUMNS), expected, check_exact=True)


def test_small_data() -> None:
    one = FRAME.select("a")
    model = one.select(acm.omr_fit("a"))
    assert model.to_series().struct.field("vectors").item().to_list() == []  # a column has no others
    scores = one.select(acm.omr_score("a", model)).to_series() * model.to_series().struct.field("tau").item()
    np.testing.assert_allclose(scores, np.abs(Z[:, 0]), rtol=1e-10)
    twins = one.with_columns(b="a")
    exact = twins.select(acm.omr_fit(["a", "b"]))
    assert exact.to_series().struct.field("tau").item() == 1e-6
    with pytest.raises(ComputeError, match=r"acm\.omr_fit: a column is a combination of others; give `alpha` a larger"):
        twins.select(acm.omr_fit(["a", "b"], method="ridge", alpha=0))
    assert twins.select(acm.omr_fit(["a", "b"], method="ridge", alpha=0, strict=False)).to_series().null_count() == 1


def test_missing_cells_are_the_medians() -> None:
    model = FRAME.select(acm.omr_fit(COLUMNS))
    medians = model.to_series().struct.field("medians").item().to_list()
    holed = FRAME.with_columns(a=pl.lit(None, dtype=pl.Float64), b=pl.lit(float("inf")))
    filled = FRAME.with_columns(a=pl.lit(medians[0]), b=pl.lit(medians[1]))
    for operation in (acm.omr_score, acm.omr_contributions):
        assert_frame_equal(holed.select(operation(COLUMNS, model)), filled.select(operation(COLUMNS, model)))
    dead = holed.with_columns(c=pl.lit(None, dtype=pl.Float64), d=pl.lit(float("nan")))
    assert dead.select(acm.omr_score(COLUMNS, model)).to_series().null_count() == 300


def test_readings_out_of_range_have_no_score() -> None:
    model = FRAME.select(acm.omr_fit(COLUMNS))
    row = pl.DataFrame([[1e300]] * 6, schema=COLUMNS)
    assert row.select(acm.omr_score(COLUMNS, model), acm.omr_score(COLUMNS, model, clip=10).alias("c")).row(0) == (
        None,
        None,
    )


def test_the_shares_of_an_exact_row_are_null() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, 6.0], "b": [2.0, 4.0, 6.0, 12.0]})
    model = frame.select(acm.omr_fit(["a", "b"]))
    middle = pl.DataFrame({"a": [3.0], "b": [6.0]})
    parts = model.to_series().struct.unnest().row(0, named=True)
    assert middle.row(0) == tuple(parts["center"])
    assert middle.select(acm.omr_contributions(["a", "b"], model)).unnest("omr_contributions").row(0) == (None, None)
    assert middle.select(acm.omr_score(["a", "b"], model)).item() == 0


def test_contributions_do_not_depend_on_layout_or_engine() -> None:
    model = FRAME.select(acm.omr_fit(COLUMNS, method="ridge"))
    expected = FRAME.select(acm.omr_contributions(COLUMNS, model))
    chunked = pl.concat([FRAME[start : start + 7] for start in range(0, 300, 7)], rechunk=False)
    for engine in ("in-memory", "streaming"):
        lazy = chunked.lazy().select(acm.omr_contributions(COLUMNS, model))
        assert_frame_equal(lazy.collect(engine=engine), expected, check_exact=True)  # type: ignore[call-overload]
    assert_frame_equal(FRAME.select(pl.all().acm.omr_contributions(model)), expected, check_exact=True)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: acm.omr_fit("a", method="pls"), ValueError, 'acm.omr_fit: `method` must be "pca" or "ridge", got'),
        (lambda: acm.omr_fit("a", n_components=0), ValueError, "`n_components` must be >= 1, got 0"),
        (lambda: acm.omr_fit("a", alpha=-1), ValueError, "`alpha` must be a finite number >= 0, got -1"),
        (lambda: acm.omr_fit("a", min_present=0), ValueError, "`min_present` must be a finite number > 0, got 0"),
        (lambda: acm.omr_fit("a", strict=None), TypeError, "`strict` must be True or False, got None"),
        (lambda: acm.omr_score("a", MODEL, clip=0), ValueError, "acm.omr_score: `clip` must be a finite number > 0"),
        (lambda: acm.omr_contributions("a", MODEL, scaled=1), TypeError, "`scaled` must be True or False, got 1"),
    ],
)
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


MODEL = FRAME.select(acm.omr_fit(COLUMNS))


@rust_only
def test_a_damaged_model_is_refused() -> None:
    parts = MODEL.to_series().struct.unnest()
    for part in ("center", "scale", "variances"):
        damaged = parts.with_columns(pl.col(part).list.head(1)).to_struct("omr_fit")
        with pytest.raises(ComputeError, match=f"`model` is damaged: its part `{part}`"):
            FRAME.select(acm.omr_score(COLUMNS, damaged))
    for part, value in (("method", pl.lit("pls")), ("vectors", pl.col("vectors").list.head(7))):
        damaged = parts.with_columns(value.alias(part)).to_struct("omr_fit")
        with pytest.raises(ComputeError, match=f"`model` is damaged: its part `{part}`"):
            FRAME.select(acm.omr_score(COLUMNS, damaged))


def test_what_was_learnt_is_shown() -> None:
    assert "5 components; tau" in repr(acm.OmrModel.fit(FRAME))
    assert "ridge regressions; tau" in repr(acm.OmrModel.fit(FRAME, method="ridge"))


@both_backends
@every_fit
def test_both_backends_agree(parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    frame = FRAME.with_columns(a=pl.when(pl.int_range(pl.len()) % 9 > 0).then("a"), still=pl.lit(3.0))
    columns = frame.columns

    def results() -> list[pl.DataFrame]:
        model = frame.select(acm.omr_fit(columns, **parameters))
        return [
            frame.select(
                acm.omr_score(columns, held),
                acm.omr_score(columns, held, clip=1.5).alias("clipped"),
                acm.omr_contributions(columns, held).struct.unnest(),
                acm.omr_contributions(columns, held, scaled=True).name.suffix("_scaled"),
            )
            for held in (MODEL, model)
        ]

    rust = results()
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    for other, expected in zip(results(), rust, strict=True):
        assert_frame_equal(other, expected, **within(rel=1e-9, abs=1e-11))
