"""HDBSCAN: what the hdbscan package says of the same rows, new rows, models as data, bad input."""

from collections.abc import Callable
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import _plugin
from acm_rs.models import load_model
from backends import both_backends, within
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

ROWS = 400
COLUMNS = ["a", "b", "c"]


def data(seed: int, rows: int = ROWS, columns: int = 3, k: int = 4) -> Any:
    """Clusters of different density and size, and a fifth of noise, in any order."""
    rng = np.random.default_rng(seed)
    of = np.minimum(rng.integers(0, k + 2, rows), rng.integers(0, k + 1, rows))
    centers = rng.normal(size=(k + 1, columns)) * 7
    x = centers[of] + rng.normal(size=(rows, columns)) * (0.3 + 0.25 * of[:, None])
    noise = rng.random(rows) < 0.2
    x[noise] = rng.uniform(-15, 15, (int(noise.sum()), columns))
    return x


def frame_of(x: Any) -> pl.DataFrame:
    return pl.DataFrame(x, schema=[f"x{i}" for i in range(x.shape[1])])


FRAME = pl.DataFrame(data(0), schema=COLUMNS)


def model_of(frame: pl.DataFrame, columns: Any = None, *args: Any, **kwargs: Any) -> dict[str, Any]:
    model: dict[str, Any] = frame.select(acm.hdbscan_fit(columns or frame.columns, *args, **kwargs)).item()
    return model


def labelled(frame: pl.DataFrame, model: Any, columns: Any = COLUMNS, **kwargs: Any) -> pl.DataFrame:
    return frame.select(acm.hdbscan_label(columns, model, **kwargs)).unnest("hdbscan_label")


def as_named(labels: Any, other: Any) -> Any:
    """`other` with the names of `labels`: each cluster takes that of which it shares most rows; noise stays noise."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((labels.max() + 1, other.max() + 1))
    both = (labels >= 0) & (other >= 0)
    np.add.at(table, (labels[both], other[both]), 1)
    ours, theirs = linear_sum_assignment(-table)
    names = np.full(other.max() + 2, -2)
    names[theirs], names[-1] = ours, -1
    return names[other]


# --- the hdbscan package ---------------------------------------------------------------------------------------------

SEEDS = range(10)


def theirs(x: Any, **parameters: Any) -> Any:
    package = pytest.importorskip("hdbscan")
    # its default looks for the spanning tree approximately
    fit = package.HDBSCAN(algorithm="generic", gen_min_span_tree=True, approx_min_span_tree=False, **parameters)
    return fit.fit(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["eom", "leaf"])
@pytest.mark.parametrize("seed", SEEDS)
def test_without_ties_it_is_the_hdbscan_packages(seed: int, method: Any) -> None:
    x = data(seed, columns=2 + seed % 4)
    # with one neighbour reach is the distance of a pair, nearly always
    reference = theirs(x, min_cluster_size=8, min_samples=1, cluster_selection_method=method)
    model = model_of(frame_of(x), None, 8, min_samples=1, method=method, scale="none")
    labels = np.array(model["labels"])
    assert len(model["sizes"]) > 1
    named = as_named(labels, reference.labels_)
    assert (named == labels).all()
    np.testing.assert_allclose(model["strengths"], reference.probabilities_, atol=1e-12)
    order = [reference.labels_[np.flatnonzero(labels == label)[0]] for label in range(len(model["sizes"]))]
    np.testing.assert_allclose(model["persistence"], reference.cluster_persistence_[order], atol=1e-12)
    assert model["relative_validity"] == pytest.approx(reference.relative_validity_, abs=1e-12)
    centers = [x[labels == label].mean(axis=0) for label in range(len(model["sizes"]))]
    np.testing.assert_allclose(model["centers"], np.concatenate(centers), atol=1e-12)
    assert model["sizes"] == [int((labels == label).sum()) for label in range(len(model["sizes"]))]
    assert model["sizes"] == sorted(model["sizes"], reverse=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("parameters", [{}, {"min_samples": 4}, {"min_samples": 3, "allow_single_cluster": True}])
@pytest.mark.parametrize("seed", SEEDS)
def test_with_ties_it_is_the_hdbscan_packages_but_for_rows_between(seed: int, parameters: dict[str, Any]) -> None:
    x = data(seed, columns=2 + seed % 4)
    reference = theirs(x, min_cluster_size=10, **parameters)
    model = model_of(frame_of(x), None, 10, scale="none", **parameters)
    labels = np.array(model["labels"])
    assert len(model["sizes"]) == reference.labels_.max() + 1
    differ = as_named(labels, reference.labels_) != labels
    # rows that leave just where two clusters part: their core distance joins both, and any order is one of reach
    between = np.isin(model["row_distances"], model["cluster_distances"])
    assert not (differ & ~between).any()
    assert differ.sum() <= 4
    np.testing.assert_allclose(np.array(model["strengths"])[~between], reference.probabilities_[~between], atol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("epsilon", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("method", ["eom", "leaf"])
def test_epsilon_is_the_hdbscan_packages(epsilon: float, single: bool, method: Any) -> None:
    for seed in SEEDS:
        x = data(seed, columns=2)
        parameters: dict[str, Any] = {"cluster_selection_epsilon": epsilon, "allow_single_cluster": single}
        reference = theirs(x, min_cluster_size=6, min_samples=1, cluster_selection_method=method, **parameters)
        model = model_of(frame_of(x), None, 6, min_samples=1, method=method, scale="none", **parameters)
        labels = np.array(model["labels"])
        assert len(model["sizes"]) == reference.labels_.max() + 1
        assert (as_named(labels, reference.labels_) == labels).all() or len(model["sizes"]) == 0


def test_it_finds_what_scikit_learn_finds() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in SEEDS:
        x = data(seed)
        # scikit-learn counts a row among its own neighbours
        reference = cluster.HDBSCAN(min_cluster_size=10, min_samples=6, copy=True).fit(x).labels_
        labels = model_of(frame_of(x), None, 10, min_samples=5, scale="none")["labels"]
        assert metrics.adjusted_rand_score(reference, labels) > 0.97


# --- fits ------------------------------------------------------------------------------------------------------------


def test_the_order_of_rows_does_not_matter() -> None:
    model = model_of(FRAME)
    assert len(set(model["sizes"])) == len(model["sizes"]) > 1
    order = np.random.default_rng(1).permutation(ROWS)
    again = model_of(FRAME[order])
    for part in ("labels", "strengths", "core_distances", "row_distances"):
        # standardised by sums in another order
        np.testing.assert_allclose(np.array(again[part]), np.array(model[part])[order], atol=1e-12)
    assert again["sizes"] == model["sizes"]


def test_parameters_do_what_they_say() -> None:
    usual = model_of(FRAME)
    assert usual["min_samples"] == 10
    assert model_of(FRAME, None, 10, min_samples=10) == usual
    assert all(size >= 30 for size in model_of(FRAME, None, 30, min_samples=3)["sizes"])
    noise = [model_of(FRAME, None, 10, min_samples=m)["labels"].count(-1) for m in (2, 30)]
    assert noise[0] < noise[1]
    assert len(model_of(FRAME, None, 5, method="leaf")["sizes"]) > len(model_of(FRAME, None, 5)["sizes"])
    merged = model_of(FRAME, None, 5, method="leaf", cluster_selection_epsilon=0.8)
    assert len(merged["sizes"]) < len(model_of(FRAME, None, 5, method="leaf")["sizes"])
    blob = pl.DataFrame({"x": np.random.default_rng(0).normal(size=200)})
    assert model_of(blob, None, 101, min_samples=5)["sizes"] == []
    single = model_of(blob, None, 101, min_samples=5, allow_single_cluster=True)
    assert len(single["sizes"]) == 1
    for scale, center, spread in (
        ("standard", FRAME["a"].mean(), FRAME["a"].std(ddof=0)),
        ("robust", FRAME["a"].median(), FRAME["a"].quantile(0.75, "linear") - FRAME["a"].quantile(0.25, "linear")),  # type: ignore[operator]
        ("none", 0.0, 1.0),
    ):
        model = model_of(FRAME, scale=scale)
        assert model["center"][0] == pytest.approx(center, abs=1e-12)
        assert model["scale"][0] == pytest.approx(spread, rel=1e-12)
        np.testing.assert_allclose(
            model["train"][:ROWS], (FRAME["a"].to_numpy() - model["center"][0]) / model["scale"][0], atol=1e-12
        )
    assert model_of(FRAME * 1000)["labels"] == usual["labels"]


def test_missing_rows_are_left_out() -> None:
    row = pl.int_range(pl.len())
    holes = FRAME.with_columns(
        pl.when(row % 8 == 1).then(None).when(row % 8 == 2).then(np.inf).otherwise("a").alias("a"), still=pl.lit(3.0)
    )
    fitted = holes.select(acm.hdbscan_fit([*COLUMNS, "still"]))
    model = fitted.item()
    left = FRAME.filter(~(pl.int_range(pl.len()) % 8).is_in([1, 2]))
    assert model | {"dropped": [], "dropped_because": [], "rows_left_out": 0} == model_of(left)
    assert (model["dropped"], model["dropped_because"], model["rows_left_out"]) == (["still"], ["constant"], 100)
    found = labelled(holes, fitted)
    for part in ("label", "strength"):
        assert (found[part].is_null() == holes.select((row % 8).is_in([1, 2])).to_series()).all()
    # with two of three columns the median stands in, in fits and for labels
    some = holes.select(acm.hdbscan_fit(COLUMNS, min_present=0.6))
    parts = some.item()
    assert parts["rows"] == ROWS
    found = labelled(holes, some)
    assert (found["label"].to_list(), found["strength"].to_list()) == (parts["labels"], parts["strengths"])


def test_duplicates_and_rows_all_alike() -> None:
    standstill = pl.DataFrame({"x": [0.0] * 50 + np.random.default_rng(2).normal(20, 3, 60).tolist()})
    fitted = standstill.select(acm.hdbscan_fit("x", 12, min_samples=5))
    model = fitted.item()
    assert model["labels"][:50] == [model["labels"][0]] * 50
    assert model["labels"][0] >= 0
    assert model["strengths"][:50] == [1.0] * 50
    assert labelled(standstill, fitted, "x")["label"].to_list() == model["labels"]
    # a reading that is not quite 0 has a finite density, which is nothing beside an infinite one
    near = labelled(pl.DataFrame({"x": [0.0, 1e-3]}), fitted, "x")
    assert near["label"].to_list() == [model["labels"][0]] * 2
    assert near["strength"].to_list() == [1.0, 0.0]


def test_offsets_and_units_do_not_matter() -> None:
    exact = FRAME.select(pl.all().mul(1024).round().truediv(1024))
    near = model_of(exact, scale="none")
    far = model_of(exact.select(pl.all() + 1e8), scale="none")
    assert (far["labels"], far["strengths"]) == (near["labels"], near["strengths"])
    huge = exact.select(pl.all() * 2.0**900)
    fitted = huge.select(acm.hdbscan_fit(COLUMNS, scale="none"))
    assert fitted.item()["labels"] == near["labels"]
    assert labelled(huge, fitted)["label"].to_list() == near["labels"]


# --- labels of rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["eom", "leaf"])
@pytest.mark.parametrize("single", [False, True])
def test_train_rows_get_the_labels_of_the_fit(method: Any, single: bool) -> None:
    fitted = FRAME.select(acm.hdbscan_fit(COLUMNS, 8, min_samples=4, method=method, allow_single_cluster=single))
    model = fitted.item()
    found = labelled(FRAME, fitted)
    assert found["label"].to_list() == model["labels"]
    assert found["strength"].to_list() == model["strengths"]


def predicted(model: dict[str, Any], x: Any) -> tuple[int, float]:
    """As the docstring has it, straight from the parts of the model."""
    train = np.array(model["train"]).reshape(len(model["columns"]), -1).T
    z = (x - np.array(model["center"])) / np.array(model["scale"])
    away = np.sqrt(((train - z) ** 2).sum(axis=1))
    core = np.sort(away)[model["min_samples"] - 1]
    reach = np.maximum(np.maximum(away, core), model["core_distances"])
    t = np.lexsort((away, reach))[0]
    d = max(reach[t], model["row_distances"][t])
    cluster = model["row_clusters"][t]
    while cluster > 0 and model["cluster_distances"][cluster] < d:
        cluster = model["cluster_parents"][cluster]
    label = model["cluster_labels"][cluster]
    if label < 0 or d > model["outer_distances"][label]:
        return -1, 0.0
    return label, model["inner_distances"][label] / max(d, model["inner_distances"][label])


@pytest.mark.parametrize("columns", [2, 6])
def test_new_rows_join_the_tree(columns: int) -> None:
    frame = frame_of(data(5, columns=columns))
    new = frame_of(np.concatenate([data(5, rows=150, columns=columns), data(6, rows=150, columns=columns)]))
    fitted = frame.select(acm.hdbscan_fit(frame.columns, 8, min_samples=4))
    found = labelled(new, fitted, frame.columns)
    expected = [predicted(fitted.item(), x) for x in new.to_numpy()]
    assert found["label"].to_list() == [label for label, _ in expected]
    np.testing.assert_allclose(found["strength"], [strength for _, strength in expected], atol=1e-9)
    assert 0 < found["label"].eq(-1).sum() < new.height


@pytest.mark.filterwarnings("ignore")
def test_new_rows_are_mostly_where_approximate_predict_puts_them() -> None:
    package = pytest.importorskip("hdbscan")
    x, new = data(3), data(3, rows=2 * ROWS)
    reference = package.HDBSCAN(10, min_samples=5, approx_min_span_tree=False, prediction_data=True).fit(x)
    label, _ = package.approximate_predict(reference, new)
    frame = frame_of(x)
    fitted = frame.select(acm.hdbscan_fit(frame.columns, 10, min_samples=5, scale="none"))
    ours = labelled(frame_of(new), fitted, frame.columns)["label"].to_numpy()
    assert (as_named(ours, label) == ours).mean() > 0.97


def test_far_rows_are_noise() -> None:
    fitted = FRAME.select(acm.hdbscan_fit(COLUMNS))
    far = pl.DataFrame({"a": [1e300, -1e9, 1e155], "b": [0.0] * 3, "c": [-1e300, 0.0, 0.0]})
    found = labelled(far, fitted)
    assert found["label"].to_list() == [-1] * 3
    assert found["strength"].to_list() == [0.0] * 3
    none = FRAME.head(30).select(acm.hdbscan_fit(COLUMNS, 29))
    assert labelled(FRAME, none)["label"].unique().to_list() == [-1]


@pytest.mark.parametrize("chunks", [2, 7, ROWS])
def test_form_layout_and_engine_change_nothing(chunks: int) -> None:
    fitted = FRAME.select(acm.hdbscan_fit(COLUMNS))
    expected = FRAME.select(acm.hdbscan_label(COLUMNS, fitted))
    assert fitted.columns == ["hdbscan_fit"]
    assert expected.schema == {"hdbscan_label": pl.Struct({"label": pl.Int64, "strength": pl.Float64})}
    step = -(-ROWS // chunks)
    parts = pl.concat([FRAME[start : start + step] for start in range(0, ROWS, step)], rechunk=False)
    assert_frame_equal(parts.select(acm.hdbscan_fit(COLUMNS)), fitted, check_exact=True)
    assert_frame_equal(parts.select(acm.hdbscan_label(COLUMNS, fitted)), expected, check_exact=True)
    for engine in ("in-memory", "streaming"):
        lazy = parts.lazy().select(acm.hdbscan_label(COLUMNS, fitted))
        assert lazy.collect_schema() == expected.schema
        assert_frame_equal(lazy.collect(engine=engine), expected, check_exact=True)  # type: ignore[call-overload]
        fit = parts.lazy().select(acm.hdbscan_fit(COLUMNS))
        assert fit.collect_schema() == fitted.schema
        assert_frame_equal(fit.collect(engine=engine), fitted, check_exact=True)  # type: ignore[call-overload]
    for form in (cs.numeric(), pl.col(COLUMNS), list(reversed(COLUMNS)), pl.struct(COLUMNS)):
        got = FRAME.select(acm.hdbscan_label(form, fitted.to_series()))
        assert_frame_equal(got, expected, check_exact=True)
    assert_frame_equal(FRAME.select(acm.col(*COLUMNS).acm.hdbscan_fit()), fitted)
    assert_frame_equal(FRAME.select(acm.col(*COLUMNS).acm.hdbscan_label(fitted)), expected)
    # each row by itself
    assert_frame_equal(FRAME[100:103].select(acm.hdbscan_label(COLUMNS, fitted)), expected[100:103], check_exact=True)


def test_dtypes() -> None:
    fitted = FRAME.select(acm.hdbscan_fit(COLUMNS))
    narrow = FRAME.cast(pl.Float32)
    assert labelled(narrow, fitted).schema == {"label": pl.Int64, "strength": pl.Float32}
    assert labelled(narrow.with_columns(pl.col("a").cast(pl.Float64)), fitted).schema["strength"] == pl.Float64
    whole = (FRAME * 100).cast(pl.Int32)
    assert model_of(whole) == model_of(whole.cast(pl.Float64))
    assert labelled(FRAME.clear(), fitted).schema == {"label": pl.Int64, "strength": pl.Float64}


def test_a_fleet_is_a_loop_over_its_members() -> None:
    fleet = pl.concat(
        [
            pl.DataFrame(data(seed, rows=150, columns=2), schema=["a", "b"]).with_columns(turbine=pl.lit(f"t{seed}"))
            for seed in (3, 4, 5)
        ]
    ).sample(fraction=1.0, shuffle=True, seed=1)
    models = fleet.group_by("turbine", maintain_order=True).agg(acm.hdbscan_fit(["a", "b"], 6))
    found = labelled(fleet, models, ["a", "b"], by="turbine")
    for _, part in fleet.with_columns(found).group_by("turbine"):
        own = part.select(acm.hdbscan_fit(["a", "b"], 6))
        assert_frame_equal(labelled(part, own, ["a", "b"]), part.select("label", "strength"))
    over = fleet.select(acm.hdbscan_label(["a", "b"], acm.hdbscan_fit(["a", "b"], 6)).over("turbine"))
    assert_frame_equal(over.unnest("hdbscan_label"), found)
    stranger = fleet.with_columns(turbine=pl.lit("t9"))
    assert labelled(stranger, models, ["a", "b"], by="turbine")["label"].null_count() == stranger.height
    with pytest.raises(ComputeError, match="no model is for"):
        labelled(stranger, models, ["a", "b"], by="turbine", on_unknown="error")


def test_the_model_class(tmp_path: Any) -> None:
    model = acm.HdbscanModel.fit(FRAME.lazy(), COLUMNS, min_cluster_size=12, min_samples=4)
    fitted = FRAME.select(acm.hdbscan_fit(COLUMNS, 12, min_samples=4))
    parts = fitted.item()
    assert f"clusters of {parts['sizes']} rows, {parts['labels'].count(-1)} of noise, relative validity" in repr(model)
    assert_frame_equal(model.score(FRAME), labelled(FRAME, fitted))
    assert_frame_equal(FRAME.select(model.hdbscan_label()).unnest("hdbscan_label"), labelled(FRAME, fitted))
    with pytest.raises(TypeError, match=r"acm\.HdbscanModel: labels have no thresholds; choose a least strength"):
        model.thresholds(FRAME)
    model.save(tmp_path / "regimes.acm")
    again = load_model(tmp_path / "regimes.acm")
    assert isinstance(again, acm.HdbscanModel)
    assert_frame_equal(again.data, model.data, check_exact=True)
    keyed = FRAME.with_columns(asset=pl.Series(["n", "s"] * (ROWS // 2)))
    fleet = acm.HdbscanModel.fit(keyed, COLUMNS, by="asset")
    assert fleet.score(keyed).columns == ["asset", "label", "strength"]


@both_backends
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"min_samples": 3, "method": "leaf"},
        {"min_samples": 1, "allow_single_cluster": True},
        {"min_samples": 2, "cluster_selection_epsilon": 0.3, "method": "leaf", "scale": "robust"},
        {"scale": "none", "min_present": 0.6},
    ],
)
def test_both_backends_agree(parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    row = pl.int_range(pl.len())
    # missing readings, equal rows, and offsets
    frame = FRAME.with_columns(
        pl.when(row % 11 == 1).then(None).when(row % 11 == 2).then(5.0).otherwise("a").alias("a"),
        pl.when(row % 11 == 2).then(5.0).otherwise(pl.col("b") + 1e6).alias("b"),
        pl.when(row % 11 == 2).then(5.0).otherwise("c").alias("c"),
    )
    new = pl.concat([frame, frame.select(pl.all() + 0.3)])
    rust = frame.select(acm.hdbscan_fit(COLUMNS, **parameters))
    labels = labelled(new, rust)
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    python = frame.select(acm.hdbscan_fit(COLUMNS, **parameters))
    assert_frame_equal(python, rust, **within(rel=1e-9, abs=1e-9))
    assert_frame_equal(labelled(new, rust), labels, **within(rel=0, abs=1e-9))
    assert labels["label"].n_unique() > 2


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: acm.hdbscan_fit(COLUMNS, 1), ValueError, "`min_cluster_size` must be >= 2, got 1"),
        (lambda: acm.hdbscan_fit(COLUMNS, 5.0), TypeError, "`min_cluster_size` must be an int >= 2, got 5.0"),
        (lambda: acm.hdbscan_fit(COLUMNS, min_samples=0), ValueError, "`min_samples` must be >= 1, got 0"),
        (
            lambda: acm.hdbscan_fit(COLUMNS, cluster_selection_epsilon=-1),
            ValueError,
            "`cluster_selection_epsilon` must be a finite number >= 0, got -1",
        ),
        (lambda: acm.hdbscan_fit(COLUMNS, method="mass"), ValueError, '`method` must be "eom" or "leaf", got'),
        (
            lambda: acm.hdbscan_fit(COLUMNS, allow_single_cluster=1),
            TypeError,
            "`allow_single_cluster` must be True or False, got 1",
        ),
        (lambda: acm.hdbscan_fit(COLUMNS, scale="max"), ValueError, '`scale` must be "standard", "robust" or "none"'),
        (lambda: acm.hdbscan_fit(COLUMNS, min_present=0), ValueError, "`min_present` must be a finite number > 0"),
        (lambda: acm.hdbscan_fit(COLUMNS, strict=1), TypeError, "`strict` must be True or False"),
        (lambda: acm.hdbscan_label(COLUMNS, 3), TypeError, "`model` must be what `hdbscan_fit` gives"),
        (
            lambda: acm.hdbscan_label(COLUMNS, FRAME.select(acm.gmm_fit(COLUMNS, 1))),
            TypeError,
            "what `hdbscan_fit` gives",
        ),
    ],
)
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (FRAME.head(10), "a row needs 10 others for its core distance, but there are only 10 rows in all"),
        (FRAME.clear(), "none of the 0 rows teaches anything"),
        (FRAME.select(pl.all() * 0), "none of the 400 rows teaches anything"),
    ],
)
def test_what_cannot_be_fitted_is_an_error_or_null(frame: pl.DataFrame, text: str) -> None:
    with pytest.raises(ComputeError) as caught:
        frame.select(acm.hdbscan_fit(COLUMNS))
    assert f"acm.hdbscan_fit: {text}" in str(caught.value)
    fitted = frame.select(acm.hdbscan_fit(COLUMNS, strict=False))
    assert fitted.to_series().null_count() == 1
    assert labelled(FRAME, fitted)["label"].null_count() == ROWS


def test_columns_that_do_not_fit_are_named() -> None:
    fitted = FRAME.select(acm.hdbscan_fit(COLUMNS))
    with pytest.raises(ComputeError, match="was fitted on the column `c`, which is not among `a`, `b`"):
        labelled(FRAME, fitted, ["a", "b"])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("min_samples", 0),
        ("train", [1.0]),
        ("labels", [99] * ROWS),
        ("row_clusters", [99] * ROWS),
        ("cluster_parents", [0, 0]),
        ("cluster_labels", []),
        ("outer_distances", [1.0] * 99),
    ],
)
def test_a_damaged_model_is_refused(part: str, value: Any) -> None:
    fitted = FRAME.select(acm.hdbscan_fit(COLUMNS)).to_series()
    damaged = pl.Series("hdbscan_fit", [fitted.item() | {part: value}], dtype=fitted.dtype)
    with pytest.raises(ComputeError, match=r"acm\.hdbscan_label: `model` is damaged: its part `\w+` does not fit"):
        labelled(FRAME, damaged)
