"""k-means: what scikit-learn says of the same rows, rows of every kind, and what a user gets for bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from acm_rs import _plugin
from backends import AS_NULL, RUST, both_backends, rust_only, within
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

cluster = pytest.importorskip("sklearn.cluster")
metrics = pytest.importorskip("sklearn.metrics")

COLUMNS = ["a", "b", "c"]
ROWS, STATES = 600, 4


def states(seed: int = 0, *, apart: float = 8.0, rows: int = ROWS) -> tuple[Any, Any]:
    """Rows of three columns in four states, and the state of each."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(STATES, 3)) * apart
    of = rng.integers(0, STATES, rows)
    return centers[of] + rng.normal(size=(rows, 3)), of


X, OF = states()
FRAME = pl.DataFrame(X, schema=COLUMNS)


def model_of(frame: pl.DataFrame, *args: Any, **kwargs: Any) -> dict[str, Any]:
    model: dict[str, Any] = frame.select(acm.kmeans_fit(*args, **kwargs)).item()
    return model


def table(model: dict[str, Any]) -> Any:
    return np.reshape(model["centers"], (len(model["labels"]), -1))


# --- against scikit-learn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_from_the_same_centres_it_is_scikit_learns(k: int) -> None:
    start = X[:k]
    theirs = cluster.KMeans(k, init=start, n_init=1).fit(X)
    fitted = FRAME.select(acm.kmeans_fit(COLUMNS, k, init=start, scale="none"))
    ours = fitted.item()
    np.testing.assert_allclose(table(ours), theirs.cluster_centers_, atol=1e-9)
    assert ours["inertia"] == pytest.approx(theirs.inertia_, rel=1e-12)
    assert ours["sizes"] == np.bincount(theirs.labels_).tolist()
    assert ours["converged"]
    labels = FRAME.select(acm.kmeans_label(COLUMNS, fitted)).to_series()
    assert labels.to_list() == theirs.labels_.tolist()
    distances = FRAME.select(acm.kmeans_distance(COLUMNS, fitted)).to_series()
    np.testing.assert_allclose(distances, theirs.transform(X).min(axis=1), atol=1e-9)
    # a start in any form, and a model's own centres as they lie in it
    for init in (start.tolist(), pl.DataFrame(start, schema=COLUMNS), start.ravel().tolist()):
        assert_frame_equal(FRAME.select(acm.kmeans_fit(COLUMNS, k, init=init, scale="none")), fitted)
    end = model_of(FRAME, COLUMNS, k, init=start, scale="none", tol=0)
    again = model_of(FRAME, COLUMNS, k, init=end["centers"], scale="none", tol=0)
    np.testing.assert_allclose(table(again), table(end), atol=1e-12)
    assert again["iterations"] <= 2


@pytest.mark.parametrize("apart", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("k", [2, 4, 6])
def test_its_inertia_is_no_worse(k: int, apart: float) -> None:
    ours, theirs = [], []
    for seed in range(4):
        x, _ = states(seed, apart=apart, rows=300)
        theirs.append(cluster.KMeans(k, n_init=10, random_state=seed).fit(x).inertia_)
        frame = pl.DataFrame(x, schema=COLUMNS)
        ours.append(model_of(frame, COLUMNS, k, scale="none", seed=seed)["inertia"])
    assert sum(ours) <= sum(theirs) * 1.005  # each of them ends in one of several minima


@pytest.mark.parametrize("scale", ["standard", "robust"])
def test_it_finds_the_states_whatever_the_units(scale: Any) -> None:
    x, of = states(3, apart=12.0)
    units = np.array([1e-3, 1.0, 1e6])
    frame = pl.DataFrame(x * units, schema=COLUMNS)
    fitted = frame.select(acm.kmeans_fit(COLUMNS, STATES, scale=scale))
    labels = frame.select(acm.kmeans_label(COLUMNS, fitted)).to_series()
    assert metrics.adjusted_rand_score(of, labels) == 1.0
    model = fitted.item()
    for label, center in enumerate(table(model)):
        rows = (labels == label).to_numpy()
        np.testing.assert_allclose(center, (x * units)[rows].mean(axis=0), rtol=1e-9)
        assert model["sizes"][label] == rows.sum()
    center, spread = np.array(model["center"]), np.array(model["scale"])
    expected = {
        "standard": (x.mean(axis=0), x.std(axis=0)),
        "robust": (np.median(x, axis=0), np.subtract(*np.quantile(x, [0.75, 0.25], axis=0))),
    }[scale]
    np.testing.assert_allclose(center / units, expected[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(spread / units, expected[1], rtol=1e-9)
    z = (x * units - center) / spread
    distances = np.linalg.norm(z[:, None] - (table(model) - center) / spread, axis=2)
    assert model["inertia"] == pytest.approx((distances.min(axis=1) ** 2).sum(), rel=1e-9)
    found = frame.select(acm.kmeans_distance(COLUMNS, fitted)).to_series()
    np.testing.assert_allclose(found, distances.min(axis=1), atol=1e-9)


# --- rows of every kind ----------------------------------------------------------------------------------------------


def test_one_centre_is_the_mean() -> None:
    model = model_of(FRAME, COLUMNS, 1, scale="none")
    np.testing.assert_allclose(table(model)[0], X.mean(axis=0), atol=1e-12)
    assert model["sizes"] == [ROWS]
    assert model["labels"] == [0]
    assert model["inertia"] == pytest.approx(X.var(axis=0).sum() * ROWS, rel=1e-12)


def test_as_many_centres_as_different_rows() -> None:
    doubled = pl.DataFrame({"x": [1.0, 2.0, 1.0, 5.0, 2.0, 1.0]})
    fitted = doubled.select(acm.kmeans_fit("x", 3))
    assert sorted(fitted.item()["centers"]) == pytest.approx([1.0, 2.0, 5.0])
    assert fitted.item()["inertia"] == pytest.approx(0.0, abs=1e-20)
    labels = doubled.select(acm.kmeans_label("x", fitted)).to_series()
    assert labels[0] == labels[2] == labels[5]
    assert labels[1] == labels[4]
    assert labels.n_unique() == 3
    with pytest.raises(ComputeError, match="4 clusters need 4 different rows, but there are only 3; ask for a smaller"):
        doubled.select(acm.kmeans_fit("x", 4))
    # centres that find no row move to rows of their own
    moved = doubled.select(acm.kmeans_fit("x", 3, init=[[1.0], [1.0], [1.0]]))
    assert sorted(moved.item()["centers"]) == pytest.approx([1.0, 2.0, 5.0])
    assert all(size > 0 for size in moved.item()["sizes"])


def test_missing_rows_have_no_label() -> None:
    row = pl.int_range(pl.len())
    holes = FRAME.with_columns(
        pl.when(row % 7 == 0).then(None).otherwise("a").alias("a"),
        pl.when(row % 7 == 1).then(np.inf).when(row % 7 == 2).then(np.nan).otherwise("b").alias("b"),
        still=pl.lit(3.0),
    )
    known = pl.Series([i % 7 > 2 for i in range(ROWS)])
    every = [*COLUMNS, "still"]
    fitted = holes.select(acm.kmeans_fit(every, STATES))
    model = fitted.item()
    assert model["columns"] == COLUMNS
    assert (model["dropped"], model["dropped_because"]) == (["still"], ["constant"])
    assert model["rows"] == known.sum()
    assert model["rows_left_out"] == ROWS - known.sum()
    alone = holes.filter(known).select(acm.kmeans_fit(COLUMNS, STATES)).item()
    assert (alone["centers"], alone["sizes"]) == (model["centers"], model["sizes"])
    scored = holes.select(acm.kmeans_label(every, fitted), acm.kmeans_distance(every, fitted))
    for name in scored.columns:
        assert (scored[name].is_not_null() == known).all()
    # with `min_present` the cells that are missing become medians
    some = holes.select(acm.kmeans_fit(COLUMNS, STATES, min_present=0.6))
    assert some.item()["rows"] == ROWS
    filled = FRAME.with_columns(pl.lit(some.item()["medians"][0]).alias("a"))
    gone = FRAME.with_columns(pl.lit(None, dtype=pl.Float64).alias("a"))
    for score in (acm.kmeans_label, acm.kmeans_distance):
        assert_frame_equal(gone.select(score(COLUMNS, some)), filled.select(score(COLUMNS, some)))


def test_a_start_leaves_constant_columns_out_too() -> None:
    frame = FRAME.select("a", pl.lit(3.0).alias("still"), "b")
    start = np.column_stack([X[:2, 0], [3.0, 3.0], X[:2, 1]])
    with_it = model_of(frame, ["a", "still", "b"], 2, init=start, scale="none")
    without = model_of(frame, ["a", "b"], 2, init=start[:, [0, 2]], scale="none")
    assert with_it["centers"] == without["centers"]
    with pytest.raises(ComputeError, match="`init` must hold 2 centres of 3 columns, got 4 numbers"):
        frame.select(acm.kmeans_fit(["a", "still", "b"], 2, init=start[:, [0, 2]]))


def test_offsets_and_units_do_not_matter() -> None:
    exact = FRAME.select(pl.all().mul(1024).round().truediv(1024))
    near = model_of(exact, COLUMNS, STATES)
    far = model_of(exact.select(pl.all() + 1e8), COLUMNS, STATES)
    assert far["sizes"] == near["sizes"]
    assert far["inertia"] == pytest.approx(near["inertia"], rel=1e-7)
    np.testing.assert_allclose(table(far) - 1e8, table(near), atol=1e-7)
    for power in (2.0**900, 2.0**-900):
        frame = exact.select(pl.all() * power)
        fitted = frame.select(acm.kmeans_fit(COLUMNS, STATES))
        assert fitted.item()["inertia"] == pytest.approx(near["inertia"], rel=1e-9)
        plain = frame.select(acm.kmeans_fit(COLUMNS, STATES, scale="none"))
        labels = frame.select(acm.kmeans_label(COLUMNS, plain)).to_series()
        expected = exact.select(acm.kmeans_label(COLUMNS, exact.select(acm.kmeans_fit(COLUMNS, STATES, scale="none"))))
        assert metrics.adjusted_rand_score(expected.to_series(), labels) > 0.999


def test_rows_far_away() -> None:
    fitted = FRAME.select(acm.kmeans_fit(COLUMNS, STATES))
    far = pl.DataFrame({"a": [1e300, 1e9, 1.7e308], "b": [0.0, 0.0, -1.7e308], "c": [0.0, 0.0, 1.7e308]})
    scored = far.select(acm.kmeans_label(COLUMNS, fitted), acm.kmeans_distance(COLUMNS, fitted))
    assert scored["kmeans_label"].null_count() == 0
    assert scored["kmeans_label"][0] == 0  # all centres are equally far, as far as numbers go
    assert scored["kmeans_label"][1] == np.argmax(table(fitted.item())[:, 0])
    scale = fitted.item()["scale"]
    assert scored["kmeans_distance"][0] == pytest.approx(1e300 / scale[0], rel=1e-6)


def test_seeds_starts_and_rounds() -> None:
    x = states(5, apart=1.0)[0]
    overlap = pl.DataFrame(x, schema=COLUMNS)
    fit = acm.kmeans_fit(COLUMNS, 5, max_iter=2, tol=0)
    assert_frame_equal(overlap.select(fit), overlap.select(fit), check_exact=True)
    assert overlap.select(fit).item()["iterations"] == 2
    assert not overlap.select(fit).item()["converged"]
    one, two = (model_of(overlap, COLUMNS, 5, n_init=1, seed=seed) for seed in (1, 2))
    assert one["centers"] != two["centers"]
    best = [model_of(overlap, COLUMNS, 5, n_init=n)["inertia"] for n in (1, 30)]
    assert best[1] <= best[0]
    # centres may still move by this share of the variance
    loose = model_of(overlap, COLUMNS, 5, n_init=1, tol=10.0)
    assert loose["iterations"] < model_of(overlap, COLUMNS, 5, n_init=1)["iterations"]
    assert loose["iterations"] == 1


@rust_only
def test_many_rows_on_all_threads_give_the_bits_of_one_call() -> None:
    x, _ = states(6, rows=20_000, apart=2.0)
    frame = pl.DataFrame(x, schema=COLUMNS)
    fit = acm.kmeans_fit(COLUMNS, 5, n_init=3)
    groups = pl.concat([frame.with_columns(key=pl.lit(key)) for key in range(6)])
    models = groups.group_by("key").agg(fit)["kmeans_fit"].to_list()
    assert all(model == frame.select(fit).item() for model in models)


@both_backends
def test_both_backends_agree_on_a_given_start(monkeypatch: pytest.MonkeyPatch) -> None:
    holes = FRAME.with_columns(pl.when(pl.int_range(pl.len()) % 9 > 0).then("a").alias("a"))
    cases = [(k, scale) for k in (1, 2, 5) for scale in ("none", "standard", "robust")]

    def results() -> list[pl.DataFrame]:
        found = []
        for k, scale in cases:
            fitted = holes.select(acm.kmeans_fit(COLUMNS, k, init=X[1 : k + 1], scale=scale, min_present=0.5))
            found += [fitted.unnest("kmeans_fit").explode("columns", "medians", "center", "scale", **AS_NULL)]
            found += [holes.select(score(COLUMNS, fitted)) for score in (acm.kmeans_label, acm.kmeans_distance)]
        return found

    ours = results()
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    for one, other in zip(ours, results(), strict=True):
        assert_frame_equal(one, other, **within(rel=1e-9, abs=1e-9))


# --- the class -------------------------------------------------------------------------------------------------------


def test_the_model_class(tmp_path: Any) -> None:
    model = acm.KMeansModel.fit(FRAME.lazy(), COLUMNS, k=STATES)
    fitted = FRAME.select(acm.kmeans_fit(COLUMNS, STATES))
    assert model.data.item() == fitted.item()
    assert "4 centres" in repr(model)
    assert "inertia" in repr(model)
    centers = model.centers
    assert centers.columns == ["label", "size", *COLUMNS]
    assert centers["label"].to_list() == [0, 1, 2, 3]
    assert centers["size"].to_list() == fitted.item()["sizes"]
    np.testing.assert_array_equal(centers.select(COLUMNS).to_numpy(), table(fitted.item()))
    assert model.inertia.to_list() == [fitted.item()["inertia"]]
    labels = FRAME.select(acm.kmeans_label(COLUMNS, fitted)).to_series()
    assert model.labels(FRAME).equals(labels, check_names=True)
    assert FRAME.select(model.kmeans_label()).to_series().equals(labels)
    distances = FRAME.select(acm.kmeans_distance(COLUMNS, fitted))
    assert_frame_equal(FRAME.select(model.kmeans_distance()), distances, check_exact=True)
    model.save(tmp_path / "states.acm")
    again = acm.load_model(tmp_path / "states.acm")
    assert isinstance(again, acm.KMeansModel)
    assert again.labels(FRAME.clear()).len() == 0


def test_a_fleet_of_models() -> None:
    fleet = pl.concat([FRAME.with_columns(asset=pl.lit("n")), (FRAME * 2).with_columns(asset=pl.lit("s"))])
    model = acm.KMeansModel.fit(fleet, COLUMNS, k=3, by="asset")
    centers = model.centers
    assert centers.columns == ["asset", "label", "size", *COLUMNS]
    assert centers["asset"].to_list() == ["n"] * 3 + ["s"] * 3
    assert model.inertia.len() == 2
    one = acm.KMeansModel.fit(FRAME, COLUMNS, k=3)
    assert model.labels(fleet)[:ROWS].equals(one.labels(FRAME))
    none = pl.DataFrame({"asset": ["x"], "kmeans": [None]}, schema_overrides={"kmeans": one.data.dtypes[0]})
    assert acm.KMeansModel(pl.concat([model.data, none]), by="asset").centers.height == 6


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: acm.kmeans_fit(COLUMNS, 0), ValueError, "`k` must be >= 1, got 0"),
        (lambda: acm.kmeans_fit(COLUMNS, 2.0), TypeError, "`k` must be an int >= 1, got 2.0"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, n_init=0), ValueError, "`n_init` must be >= 1, got 0"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, max_iter=0), ValueError, "`max_iter` must be >= 1, got 0"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, tol=-1), ValueError, "`tol` must be a finite number >= 0"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, seed=-1), ValueError, "`seed` must be >= 0, got -1"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, seed=2**64), ValueError, "`seed` must be <= 18446744073709551615"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, scale="max"), ValueError, '`scale` must be "standard", "robust" or "none"'),
        (lambda: acm.kmeans_fit(COLUMNS, 2, min_present=0), ValueError, "`min_present` must be a finite number > 0"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, strict=1), TypeError, "`strict` must be True or False"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, init=X[:3]), ValueError, "`init` must be of shape k by columns with k = 2"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, init=[1.0] * 5), ValueError, "`init` must be of shape k by columns"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, init=[]), ValueError, "`init` must be of shape k by columns"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, init=[[1.0], [1.0, 2.0]]), ValueError, "`init` must be rows of one length"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, init=[[1.0], [np.nan]]), ValueError, "`init` must be a finite number"),
        (lambda: acm.kmeans_fit(COLUMNS, 2, init="x"), TypeError, "`init` must be a finite number"),
        (lambda: acm.kmeans_label(COLUMNS, 3), TypeError, "`model` must be what `kmeans_fit` gives"),
        (lambda: acm.kmeans_distance(COLUMNS, FRAME), TypeError, "`model` must be what `kmeans_fit` gives"),
    ],
)
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


FEW = pl.DataFrame({"a": [1.0, 2.0, 1.0], "b": [1.0, 2.0, 1.0]})


@pytest.mark.parametrize(
    ("frame", "arguments", "text"),
    [
        (FEW, {"k": 3}, "3 clusters need 3 different rows, but there are only 2; ask for a smaller `k`"),
        (FEW, {"k": 3, "init": [[1.0, 1.0]] * 3}, "3 clusters need 3 different rows, but there are only 2"),
        (FEW.head(1), {"k": 1}, "none of the 1 rows teaches anything: no column changes"),
        (FEW.clear(), {"k": 1}, "none of the 0 rows teaches anything"),
        (FEW.select(pl.all().cast(pl.Float64) * np.nan), {"k": 1}, "`a` is missing"),
    ],
)
def test_data_that_cannot_be_fitted(frame: pl.DataFrame, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ComputeError) as caught:
        frame.select(acm.kmeans_fit(["a", "b"], **arguments))
    assert "acm.kmeans_fit:" in str(caught.value)
    assert text in str(caught.value)
    assert "strict=False" in str(caught.value)
    fitted = frame.select(acm.kmeans_fit(["a", "b"], **arguments, strict=False))
    assert fitted.item() is None
    assert FEW.select(acm.kmeans_label(["a", "b"], fitted)).to_series().null_count() == 3


@pytest.mark.parametrize("part", ["centers", "sizes", "labels", "scale"])
def test_damaged_models(part: str) -> None:
    if not RUST:
        pytest.skip("NumPy's own words")
    fitted = FRAME.select(acm.kmeans_fit(COLUMNS, 2))
    damaged = fitted.select(pl.col("kmeans_fit").struct.with_fields(pl.field(part).list.head(1)))
    with pytest.raises(ComputeError, match=r"acm\.kmeans_label: `model` is damaged: its part"):
        FRAME.select(acm.kmeans_label(COLUMNS, damaged))
