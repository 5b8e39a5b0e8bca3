"""Silhouettes: what scikit-learn says of the same rows, who takes part, and what a user gets for bad input."""

from collections.abc import Callable
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import _plugin
from backends import both_backends, within
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal, assert_series_equal

metrics = pytest.importorskip("sklearn.metrics")

COLUMNS = ["a", "b", "c"]
ROWS = 900
METRICS: Any = ["euclidean", "sqeuclidean"]
every_metric = pytest.mark.parametrize("metric", METRICS)


def states(seed: int = 0, rows: int = ROWS, columns: int = 3, k: int = 4) -> tuple[Any, Any]:
    """Rows in clusters of different size, and the cluster of each; some in the wrong one."""
    rng = np.random.default_rng(seed)
    of = np.minimum(rng.integers(0, 2 * k, rows), rng.integers(0, k, rows))
    x = rng.normal(size=(k, columns))[of] * 3 + rng.normal(size=(rows, columns))
    return x, np.where(rng.random(rows) < 0.1, rng.integers(0, k, rows), of)


X, OF = states()
FRAME = pl.DataFrame(X, schema=COLUMNS).with_columns(label=pl.Series(OF))


def samples(frame: pl.DataFrame, columns: Any = COLUMNS, labels: Any = "label", **parameters: Any) -> Any:
    return frame.select(acm.silhouette_samples(columns, labels, **parameters)).to_series().to_numpy()


def mean(frame: pl.DataFrame, columns: Any = COLUMNS, labels: Any = "label", **parameters: Any) -> Any:
    return frame.select(acm.silhouette(columns, labels, **parameters)).item()


@every_metric
@pytest.mark.parametrize(("rows", "columns", "k"), [(900, 3, 4), (50, 1, 2), (301, 12, 9), (40, 2, 30), (3000, 2, 3)])
def test_it_is_scikit_learns(metric: Any, rows: int, columns: int, k: int) -> None:
    x, of = states(k, rows, columns, k)
    frame = pl.DataFrame(x).with_columns(label=pl.Series(of))
    names = frame.columns[:-1]
    theirs = metrics.silhouette_samples(x, of, metric=metric)
    np.testing.assert_allclose(samples(frame, names, metric=metric, scale="none"), theirs, rtol=0, atol=1e-12)
    assert mean(frame, names, metric=metric, scale="none") == pytest.approx(theirs.mean(), abs=1e-12)


@every_metric
def test_scale_is_that_of_the_columns(metric: Any) -> None:
    spread = np.subtract(*np.quantile(X, [0.75, 0.25], axis=0))
    for scale, z in (
        ("standard", (X - X.mean(axis=0)) / X.std(axis=0)),
        ("robust", (X - np.median(X, axis=0)) / spread),
    ):
        theirs = metrics.silhouette_samples(z, OF, metric=metric)
        np.testing.assert_allclose(samples(FRAME, metric=metric, scale=scale), theirs, rtol=0, atol=1e-12)
    # standard is the default: units do not matter
    units = FRAME.with_columns(pl.col("a") * 1000, pl.col("b") / 1000)
    assert mean(units, metric=metric) == pytest.approx(mean(FRAME, metric=metric, scale="standard"), abs=1e-12)
    assert mean(units, metric=metric, scale="none") != pytest.approx(mean(FRAME, metric=metric, scale="none"), abs=0.01)


@every_metric
def test_rows_without_a_label_or_a_reading_are_left_out(metric: Any) -> None:
    row = pl.int_range(pl.len())
    holes = FRAME.with_columns(
        pl.when(row % 9 == 1).then(None).when(row % 9 == 2).then(-1).otherwise("label").alias("label"),
        pl.when(row % 9 == 3).then(None).when(row % 9 == 4).then(np.nan).otherwise("a").alias("a"),
        pl.when(row % 9 == 5).then(np.inf).otherwise("b").alias("b"),
    )
    left = np.isin(np.arange(ROWS) % 9, [0, 6, 7, 8])
    expected = np.full(ROWS, np.nan)
    expected[left] = metrics.silhouette_samples(X[left], OF[left], metric=metric)
    got = samples(holes, metric=metric, scale="none")
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert mean(holes, metric=metric, scale="none") == pytest.approx(np.nanmean(expected), abs=1e-12)
    # two of three columns are enough: the median stands in
    filled = X.copy()
    known = np.isin(np.arange(ROWS) % 9, [0, 3, 4, 5, 6, 7, 8])
    gone_a, gone_b = np.isin(np.arange(ROWS) % 9, [3, 4]), np.arange(ROWS) % 9 == 5
    filled[gone_a, 0] = np.median(X[known & ~gone_a, 0])
    filled[gone_b, 1] = np.median(X[known & ~gone_b, 1])
    expected[known] = metrics.silhouette_samples(filled[known], OF[known], metric=metric)
    got = samples(holes, metric=metric, scale="none", min_present=0.6)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert holes.select(acm.silhouette_samples(COLUMNS, "label")).to_series().null_count() == (~left).sum()


@every_metric
def test_without_two_clusters_there_is_none(metric: Any) -> None:
    one = FRAME.with_columns(label=pl.lit(3))
    for frame in (one, FRAME.with_columns(label=pl.lit(-1)), FRAME.with_columns(label=None), FRAME.clear()):
        assert mean(frame, metric=metric) is None
        found = frame.select(acm.silhouette_samples(COLUMNS, "label", metric=metric)).to_series()
        assert found.dtype == pl.Float64
        assert found.null_count() == frame.height
    alone = pl.DataFrame({"x": [0.0, 1.0, 7.0], "label": [0, 0, 1]})
    assert samples(alone, "x", metric=metric)[2] == 0.0  # the only row of its cluster
    alike = pl.DataFrame({"x": [2.0] * 4, "label": [0, 0, 1, 1]})
    assert samples(alike, "x", metric=metric).tolist() == [0.0] * 4


def test_labels_of_any_kind() -> None:
    words = ["off", "part load", "full load", "-1"]
    expected = FRAME.select(acm.silhouette_samples(COLUMNS, "label"))
    names = pl.Series("label", [words[label] for label in OF])
    for labels in (names, names.cast(pl.Categorical), names.cast(pl.Enum(words)), pl.Series("label", OF - 5)):
        frame = FRAME.with_columns(labels)
        # as text, "-1" is a name like others; the order of names may change the last digits
        assert_frame_equal(frame.select(acm.silhouette_samples(COLUMNS, "label")), expected, **within(rel=1e-12))


@every_metric
def test_offsets_and_units_do_not_matter(metric: Any) -> None:
    exact = FRAME.with_columns(pl.col(COLUMNS).mul(1024).round().truediv(1024))
    near = samples(exact, metric=metric, scale="none")
    far = exact.with_columns(pl.col(COLUMNS) + 1e8)
    np.testing.assert_allclose(samples(far, metric=metric, scale="none"), near, rtol=0, atol=1e-12)
    for unit in (2.0**900, 2.0**-900):
        other = exact.with_columns(pl.col(COLUMNS) * unit)
        np.testing.assert_allclose(samples(other, metric=metric, scale="none"), near, rtol=0, atol=1e-12)


def test_a_sample_is_compared_with_itself() -> None:
    whole = mean(FRAME)
    some = [mean(FRAME, sample=300, seed=seed) for seed in range(5)]
    assert len(set(some)) == 5
    assert np.abs(np.array(some) - whole).max() < 0.1
    assert mean(FRAME, sample=300, seed=3) == some[3]
    assert mean(FRAME, sample=ROWS) == mean(FRAME, sample=10 * ROWS) == whole
    pair = [mean(pl.DataFrame({"x": [0.0, 5.0, 9.0], "label": [0, 1, 2]}), "x", sample=2, seed=s) for s in range(3)]
    assert pair == [0.0] * 3  # two rows alone


@pytest.mark.parametrize("chunks", [2, 7, ROWS])
def test_form_layout_and_engine_change_nothing(chunks: int) -> None:
    expressions = [
        acm.silhouette_samples(COLUMNS, "label"),
        acm.silhouette_samples(COLUMNS, "label", metric="sqeuclidean"),
    ]
    expressions = [e.alias(str(i)) for i, e in enumerate(expressions)]
    expected = FRAME.select(expressions)
    step = -(-ROWS // chunks)
    parts = pl.concat([FRAME[start : start + step] for start in range(0, ROWS, step)], rechunk=False)
    assert_frame_equal(parts.select(expressions), expected, check_exact=True)
    for engine in ("in-memory", "streaming"):
        lazy = parts.lazy().select(expressions)
        assert lazy.collect_schema() == expected.schema
        assert_frame_equal(lazy.collect(engine=engine), expected, check_exact=True)  # type: ignore[call-overload]
    whole = FRAME.select(acm.silhouette(COLUMNS, "label"))
    assert whole.columns == ["silhouette"]
    assert FRAME.select(acm.silhouette_samples(COLUMNS, "label")).columns == ["silhouette_samples"]
    for form in (cs.by_name(COLUMNS), pl.col(COLUMNS), tuple(COLUMNS), pl.struct(COLUMNS)):
        assert_frame_equal(FRAME.select(acm.silhouette(form, "label")), whole)
    assert_frame_equal(FRAME.select(acm.col(*COLUMNS).acm.silhouette(pl.col("label"))), whole)
    narrow = FRAME.with_columns(pl.col(COLUMNS).cast(pl.Float32))
    assert narrow.select(acm.silhouette_samples(COLUMNS, "label")).dtypes == [pl.Float64]
    integers = FRAME.with_columns((pl.col(COLUMNS) * 100).cast(pl.Int32))
    assert mean(integers) == mean(integers.with_columns(pl.col(COLUMNS).cast(pl.Float64)))


def test_groups_are_a_loop_over_them() -> None:
    frame = FRAME.with_columns(asset=pl.Series(np.random.default_rng(1).choice(["n", "s"], ROWS)))
    grouped = frame.group_by("asset", maintain_order=True).agg(acm.silhouette(COLUMNS, "label"))
    over = frame.select(acm.silhouette_samples(COLUMNS, "label").over("asset")).to_series()
    for asset, value in grouped.rows():
        part = frame.filter(asset=asset)
        assert mean(part) == value
        own = part.select(acm.silhouette_samples(COLUMNS, "label")).to_series()
        assert_series_equal(over.filter(frame["asset"] == asset), own, check_names=False)


@both_backends
@every_metric
@pytest.mark.parametrize("scale", ["none", "standard", "robust"])
def test_both_backends_agree(metric: Any, scale: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = pl.int_range(pl.len())
    frame = FRAME.with_columns(
        pl.when(row % 9 == 1).then(None).when(row % 9 == 2).then(-1).otherwise("label").alias("label"),
        pl.when(row % 9 == 3).then(None).otherwise(pl.col("a") + 1e8).alias("a"),
    )

    def both() -> pl.DataFrame:
        parameters: dict[str, Any] = {"metric": metric, "scale": scale, "min_present": 0.6}
        return frame.select(
            acm.silhouette_samples(COLUMNS, "label", **parameters), acm.silhouette(COLUMNS, "label", **parameters)
        )

    rust = both()
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    assert_frame_equal(both(), rust, **within(rel=0, abs=1e-9))


@pytest.mark.parametrize("operation", [acm.silhouette, acm.silhouette_samples])
@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"labels": 3}, TypeError, "`labels` must be a column name or an expression, got 3"),
        ({"metric": "manhattan"}, ValueError, '`metric` must be "euclidean" or "sqeuclidean", got'),
        ({"scale": "max"}, ValueError, '`scale` must be "standard", "robust" or "none", got'),
        ({"min_present": 0}, ValueError, "`min_present` must be a finite number > 0, got 0"),
        ({"min_present": 1.5}, ValueError, "`min_present` must be <= 1, got 1.5"),
        ({"sample": 1}, ValueError, "`sample` must be >= 2, got 1"),
        ({"sample": 2.5}, TypeError, "`sample` must be an int >= 2, got 2.5"),
        ({"seed": -1}, ValueError, "`seed` must be >= 0, got -1"),
    ],
)
def test_refused_parameters_name_themselves(
    operation: Callable[..., pl.Expr], parameters: dict[str, Any], error: type[Exception], text: str
) -> None:
    if operation is acm.silhouette_samples and {"sample", "seed"} & set(parameters):
        return  # it has no such parameter
    with pytest.raises(error) as caught:
        operation(COLUMNS, **{"labels": "label"} | parameters)
    assert f"acm.{operation.__name__}: {text}" in str(caught.value)


@pytest.mark.parametrize("operation", [acm.silhouette, acm.silhouette_samples])
@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (pl.struct(label="label"), 'take the field that holds them, for example with `.struct.field("label")`'),
        (pl.lit(1), f"`labels` must have a label for each of the {ROWS} rows, got 1"),
    ],
    ids=["struct", "length"],
)
def test_labels_that_are_none_are_refused(operation: Callable[..., pl.Expr], labels: pl.Expr, text: str) -> None:
    with pytest.raises(ComputeError) as caught:
        FRAME.lazy().select(operation(COLUMNS, labels)).collect()
    assert f"acm.{operation.__name__}: " in str(caught.value)
    assert text in str(caught.value)
