"""Isolation forests: scikit-learn's scores on its trees, quality on labelled data, and what a user gets for bad input.

What holds for every detector is in `test_models.py`.
"""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from polars.exceptions import ComputeError
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

RNG = np.random.default_rng(4)
READINGS = RNG.normal(size=(1_000, 5)) * [1.0, 1e3, 1e-3, 1e6, 1.0] + [0.0, 1e6, 0.0, 0.0, 1e8]
COLUMNS = ["a", "b", "c", "d", "e"]
FRAME = pl.DataFrame(READINGS, schema=COLUMNS)


def scores(frame: pl.DataFrame, model: Any, **kwargs: Any) -> np.ndarray:
    return frame.select(acm.isolation_forest_score(pl.all(), model, **kwargs)).to_series().to_numpy()


# --- scikit-learn's trees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_estimators": 1},
        {"max_samples": 2},
        {"max_samples": 1},
        {"max_samples": 1.0},
        {"bootstrap": True, "max_samples": 600},
        {"max_features": 2},
        {"max_features": 0.5, "bootstrap": True},
        {"contamination": 0.05},
    ],
    ids=str,
)
def test_scores_of_scikit_learn(options: dict[str, Any]) -> None:
    forest = IsolationForest(random_state=3, **options).fit(READINGS)
    model = acm.IsolationForestModel.from_sklearn(forest, COLUMNS)
    others = READINGS[RNG.permutation(len(READINGS))] * 1.1
    for rows in (READINGS, others):
        got = scores(pl.DataFrame(rows, schema=COLUMNS), model)
        np.testing.assert_allclose(got, -forest.score_samples(rows), rtol=0, atol=1e-12)


def test_readings_are_narrowed_as_scikit_learn_does() -> None:
    # neighbours in float64 that float32 cannot tell apart, thresholds between them
    rows = np.repeat(READINGS[:, [4]], 2, axis=1)
    forest = IsolationForest(random_state=0).fit(rows)
    model = acm.IsolationForestModel.from_sklearn(forest, ["a", "b"])
    for shift in (0.0, 1e-7, 0.9, -3.9):
        shifted = rows + shift
        got = scores(pl.DataFrame(shifted, schema=["a", "b"]), model)
        np.testing.assert_allclose(got, -forest.score_samples(shifted), rtol=0, atol=1e-12)


def test_ties_with_thresholds() -> None:
    rows = RNG.integers(0, 4, size=(500, 3)).astype(float)
    forest = IsolationForest(random_state=0).fit(rows)
    model = acm.IsolationForestModel.from_sklearn(forest, ["a", "b", "c"])
    thresholds = np.concatenate([tree.tree_.threshold for tree in forest.estimators_])[:300].astype(np.float32)
    probes = thresholds.astype(float).reshape(-1, 3)
    got = scores(pl.DataFrame(probes, schema=["a", "b", "c"]), model)
    np.testing.assert_allclose(got, -forest.score_samples(probes), rtol=0, atol=1e-12)


def test_names_of_a_forest_of_scikit_learn() -> None:
    forest = IsolationForest(n_estimators=5, random_state=0).fit(READINGS)
    assert acm.IsolationForestModel.from_sklearn(forest).columns == ["0", "1", "2", "3", "4"]
    named = IsolationForest(n_estimators=5, random_state=0).fit(FRAME.to_pandas())
    model = acm.IsolationForestModel.from_sklearn(named)
    assert model.columns == COLUMNS
    assert "taken from scikit-learn, 5 columns; 5 trees of 256 rows" in repr(model)
    # columns in another order, and others besides
    mixed = FRAME.select("e", pl.lit(0.0).alias("more"), "c", "a", "d", "b")
    np.testing.assert_array_equal(scores(mixed, model), scores(FRAME, model))


def test_a_forest_of_scikit_learn_knows_no_medians() -> None:
    forest = IsolationForest(n_estimators=5, random_state=0).fit(READINGS)
    model = acm.IsolationForestModel.from_sklearn(forest, COLUMNS)
    frame = FRAME.head(3).with_columns(a=pl.Series([None, 1.0, float("nan")]))
    assert np.isnan(scores(frame, model)).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("forest", "columns", "error", "message"),
    [
        (IsolationForest(), None, ValueError, "`forest` must be fitted, call its `fit` first"),
        ("forest", None, TypeError, "`forest` must be an IsolationForest of scikit-learn"),
        (None, ["a"], ValueError, "`columns` must be 5 different names"),
        (None, ["a", "b", "c", "d", "d"], ValueError, "`columns` must be 5 different names"),
        (None, [1, 2], TypeError, "`columns` must be a column name or a list"),
    ],
)
def test_refused_forests(forest: Any, columns: Any, error: type[Exception], message: str) -> None:
    if forest is None:
        forest = IsolationForest(n_estimators=2, random_state=0).fit(READINGS)
    with pytest.raises(error, match=r"acm\.IsolationForestModel\.from_sklearn: ") as caught:
        acm.IsolationForestModel.from_sklearn(forest, columns)
    assert message in str(caught.value)


# --- fits ------------------------------------------------------------------------------------------------------------


def shuttle() -> pl.DataFrame:
    """Readings of a space shuttle's radiators with labels (UCI Statlog), which the package river ships."""
    found = importlib.util.find_spec("river")
    assert found is not None
    assert found.submodule_search_locations is not None
    return pl.read_csv(Path(found.submodule_search_locations[0]) / "datasets" / "shuttle.csv.gz")


def test_quality_on_labelled_data() -> None:
    frame = shuttle()
    readings, labels = frame.drop("anomaly"), frame["anomaly"].to_numpy()
    assert readings.shape == (49_097, 9)
    theirs, ours = [], []
    for seed in range(10):
        forest = IsolationForest(random_state=seed).fit(readings.to_numpy().astype(np.float32))
        theirs.append(roc_auc_score(labels, -forest.score_samples(readings.to_numpy().astype(np.float32))))
        model = readings.select(acm.isolation_forest_fit(pl.all(), seed=seed))
        ours.append(roc_auc_score(labels, scores(readings, model)))
    # ten seeds of ours lie no lower than ten of theirs, but for the spread of a single one
    spread = max(np.std(theirs), np.std(ours))
    assert min(ours) > min(theirs) - 2 * spread, (ours, theirs)
    assert abs(np.mean(ours) - np.mean(theirs)) < 3 * spread / np.sqrt(5), (ours, theirs)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_scores_are_distributed_as_those_of_scikit_learn(bootstrap: bool) -> None:
    rows = np.random.default_rng(11).normal(size=(3_000, 4)) * [1.0, 2.0, 3.0, 4.0]

    def sklearn(seed: int) -> Any:
        forest = IsolationForest(n_estimators=500, max_samples=256, bootstrap=bootstrap, random_state=seed)
        return -forest.fit(rows).score_samples(rows)

    frame = pl.DataFrame(rows, schema=["a", "b", "c", "d"])
    model = frame.select(acm.isolation_forest_fit(pl.all(), 500, bootstrap=bootstrap))
    ours, theirs = scores(frame, model), sklearn(1)
    # as alike as two of their own forests are, give or take half of what these differ by
    by_chance = 1 - np.corrcoef(sklearn(2), theirs)[0, 1]
    assert 1 - np.corrcoef(ours, theirs)[0, 1] < 1.5 * by_chance
    np.testing.assert_allclose(np.quantile(ours, [0.1, 0.5, 0.9]), np.quantile(theirs, [0.1, 0.5, 0.9]), atol=0.005)


def test_the_seed_decides() -> None:
    model = FRAME.select(acm.isolation_forest_fit(pl.all(), 10))
    assert model.equals(FRAME.select(acm.isolation_forest_fit(pl.all(), 10, seed=17)))
    assert not model.equals(FRAME.select(acm.isolation_forest_fit(pl.all(), 10, seed=18)))


def test_what_a_model_holds() -> None:
    frame = FRAME.with_columns(flat=pl.lit(1.0), gone=pl.lit(None, pl.Float64))
    model = acm.IsolationForestModel.fit(frame, n_trees=7, max_samples=32)
    held = model.data.to_series()[0]
    assert held["columns"] == COLUMNS
    assert (held["dropped"], held["dropped_because"]) == (["flat", "gone"], ["constant", "missing"])
    assert (held["sample_size"], len(held["start"]), held["rows"]) == (32, 7, 1_000)
    assert "7 trees of 32 rows" in repr(model)
    assert "flat (constant)" in repr(model)


def test_missing_cells_stand_at_the_median() -> None:
    model = FRAME.select(acm.isolation_forest_fit(pl.all(), 20))
    medians = FRAME.median()
    holes = FRAME.head(20).with_columns(a=pl.lit(None, pl.Float64), b=pl.lit(float("inf")))
    filled = FRAME.head(20).with_columns(a=pl.lit(medians["a"][0]), b=pl.lit(medians["b"][0]))
    np.testing.assert_array_equal(scores(holes, model), scores(filled, model))
    three = holes.with_columns(c=pl.lit(None, pl.Float64))
    assert np.isnan(scores(three, model)).all()


def test_dtypes() -> None:
    narrow = FRAME.cast(pl.Float32)
    model = narrow.select(acm.isolation_forest_fit(pl.all(), 20))
    score = narrow.select(acm.isolation_forest_score(pl.all(), model))
    assert score.schema == {"isolation_forest_score": pl.Float32}
    wide = scores(narrow.cast(pl.Float64), model)
    np.testing.assert_array_equal(score.to_series().to_numpy(), wide.astype(np.float32))
    integers = pl.DataFrame({"a": [1, 2, 3, 4, 50], "b": [1, 2, 1, 2, 90]})
    score = integers.select(acm.isolation_forest_score(pl.all(), integers.select(acm.isolation_forest_fit(pl.all()))))
    assert score.to_series().arg_max() == 4


def test_expressions_and_methods_have_one_signature() -> None:
    for name in ("isolation_forest_fit", "isolation_forest_score"):
        function, method = (
            list(inspect.signature(f).parameters.values())
            for f in (getattr(acm, name), getattr(acm.AcmNamespace, name))
        )
        assert [(p.name, p.default, p.kind) for p in function[1:]] == [(p.name, p.default, p.kind) for p in method[1:]]
    model = FRAME.select(pl.all().acm.isolation_forest_fit(5, seed=2))
    assert model.equals(FRAME.select(acm.isolation_forest_fit(pl.all(), 5, seed=2)))
    np.testing.assert_array_equal(
        FRAME.select(pl.all().acm.isolation_forest_score(model)).to_series().to_numpy(), scores(FRAME, model)
    )


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_trees": 0}, ValueError, "`n_trees` must be >= 1, got 0"),
        ({"n_trees": 10**9}, ValueError, "`n_trees` must be <= 1000000"),
        ({"n_trees": 1.5}, TypeError, "`n_trees` must be an int >= 1, got 1.5"),
        ({"max_samples": 1}, ValueError, "`max_samples` must be >= 2, got 1"),
        ({"max_samples": "auto"}, TypeError, "`max_samples` must be an int >= 2"),
        ({"bootstrap": 1}, TypeError, "`bootstrap` must be True or False"),
        ({"seed": -1}, ValueError, "`seed` must be >= 0"),
        ({"min_present": 0}, ValueError, "`min_present` must be a finite number > 0"),
        ({"min_present": 1.5}, ValueError, "`min_present` must be <= 1"),
        ({"strict": None}, TypeError, "`strict` must be True or False"),
    ],
    ids=str,
)
def test_refused_parameters(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=r"acm\.isolation_forest_fit: ") as caught:
        acm.isolation_forest_fit("a", **parameters)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "frame",
    [FRAME.clear(), FRAME.head(1), FRAME.select(pl.all() * 0), FRAME.select(pl.all() * float("nan"))],
    ids=["empty", "one row", "constant", "missing"],
)
def test_nothing_to_learn(frame: pl.DataFrame) -> None:
    with pytest.raises(ComputeError, match=r"acm\.isolation_forest_fit: none of the \d+ rows teaches anything"):
        frame.select(acm.isolation_forest_fit(pl.all()))
    assert frame.select(acm.isolation_forest_fit(pl.all(), strict=False)).to_series().to_list() == [None]


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("child", [-1], "damaged"),
        ("feature", [1], "damaged: a node asks for a column that the model lacks"),
        ("value", [None], "damaged: a threshold or a path length is not a number"),
        ("start", [], "damaged: it has no first tree"),
        ("start", [0, 5], "damaged: its trees do not follow one another"),
        ("sample_size", 0, "damaged: its trees drew no rows"),
        ("child", [1], "damaged: a node has no children"),
    ],
)
def test_damaged_models(part: str, value: Any, message: str) -> None:
    model = FRAME.select(acm.isolation_forest_fit("a", 1, 2))
    held = model.to_series()[0]
    leaf = {"feature": [0], "value": [1.0], "child": [0], "start": [0], "sample_size": 2, "narrow": False}
    damaged = pl.DataFrame([pl.Series("model", [held | leaf | {part: value}], dtype=model.dtypes[0])])
    with pytest.raises(ComputeError, match=r"acm\.isolation_forest_score: ") as caught:
        FRAME.select(acm.isolation_forest_score("a", damaged))
    assert message in str(caught.value)
