"""ACM's confidence-gated normaliser, for every kind of frame."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from acm_rs import fast_features as ff
from acm_rs.fast_features import ConfidenceGatedNormalizer, normalize_with_confidence_gating

NAN, INF = math.nan, math.inf
KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": lambda columns: pd.DataFrame(columns, index=range(10, 10 + len(next(iter(columns.values()))))),
    "polars": pl.DataFrame,
    "lazy": pl.LazyFrame,
    "numpy": lambda columns: np.column_stack(list(columns.values())),
}
CLASSES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "lazy": pl.LazyFrame, "numpy": pl.DataFrame}
# center 3, deviations 2 1 1 5: scale 1.4826 * 1.5 = 2.2239; quantiles 1.15 and 7.4
TRAIN = {"0": [1.0, 2.0, 4.0, 8.0, NAN], "1": [5.0, 5.0, 5.0, 6.0, 7.0]}
REGIME = {"0": [50.0, 60.0, 90.0], "1": [1.0, 2.0, 3.0]}  # centers 60 and 2, scales 14.826 and 1.4826
NEW = {"0": [74.826, 5.2239, INF, 5.2239, 60.0, 60.0], "1": [2.0, 5.0, NAN, 6.0, 3.4826, 3.4826]}
LABELS = [4, 4, 4, 9, None, -3]
SURE = [0.7, 0.6999, 0.9, 1.0, 1.0, 1.0]


def fitted(kind: str = "polars") -> ConfidenceGatedNormalizer:
    normalizer = ConfidenceGatedNormalizer(min_regime_samples=3)
    assert normalizer.fit_global(KINDS[kind](TRAIN)) is normalizer
    assert normalizer.fit_regime(4, KINDS[kind](REGIME)) is normalizer
    return normalizer


def listed(part: Any) -> list[Any]:
    if isinstance(part, pl.LazyFrame):
        return part.collect().to_series().to_list()
    return list(part) if isinstance(part, pd.Series) else part.to_list()


def column(z: Any, name: str) -> list[float | None]:
    values = z.lazy().collect()[name].to_list() if not isinstance(z, pd.DataFrame) else z[name].to_list()
    return [None if value is None or math.isnan(value) else value for value in values]


@pytest.mark.parametrize("kind", KINDS)
def test_normalize(kind: str) -> None:
    df = KINDS[kind](NEW)
    result = fitted(kind).normalize(df, LABELS, SURE)
    assert isinstance(result.z, CLASSES[kind])
    assert column(result.z, "0") == pytest.approx([1.0, 1.0, None, 1.0, 57 / 2.2239, 57 / 2.2239])
    assert column(result.z, "1") == pytest.approx([0.0, 0.0, None, 1e10, -1.5174e10, -1.5174e10])
    assert listed(result.method_used) == ["regime_4", "global", "regime_4", "global", "global", "global"]
    assert listed(result.confidence) == SURE
    assert listed(result.label) == [4, 4, 4, 9, -1, -3]
    if kind == "pandas":
        assert all(part.index.equals(df.index) for part in result)


def test_statistics() -> None:
    normalizer = fitted()
    assert normalizer.global_statistics["0"] == pytest.approx({"center": 3, "scale": 2.2239, "p05": 1.15, "p95": 7.4})
    assert normalizer.global_statistics["1"]["scale"] == 1e-10
    assert (normalizer.global_rows, normalizer.regime_rows, normalizer.columns) == (5, {4: 3}, ["0", "1"])
    assert normalizer.fit_global(pl.DataFrame(TRAIN), "1").regime_statistics == {}
    assert normalizer.columns == ["1"]


def test_parameters() -> None:
    df = pl.DataFrame(NEW)
    strict = ConfidenceGatedNormalizer(0.95, 3, 0.5).fit_global(pl.DataFrame(TRAIN)).fit_regime(4, pl.DataFrame(REGIME))
    result = strict.normalize(df, [4] * 6, SURE)
    assert listed(result.method_used) == ["global"] * 3 + ["regime_4"] * 3
    assert strict.normalize(df, [-1] * 6, SURE).z["1"][3] == 2.0  # (6 - 5) / 0.5
    few = ConfidenceGatedNormalizer().fit_global(pl.DataFrame(TRAIN)).fit_regime(4, pl.DataFrame(REGIME))
    assert few.regime_statistics == {}
    assert listed(few.normalize(df, [4] * 6, SURE).method_used) == ["global"] * 6
    assert few.fit_regime(4, pl.DataFrame({"0": [1.0] * 50, "1": [1.0] * 50})).regime_rows == {4: 50}


def test_missing_confidence_and_column_without_readings() -> None:
    empty = {"0": [NAN, None, INF], "1": [1.0, 2.0, 3.0]}
    normalizer = ConfidenceGatedNormalizer(0.0, 1).fit_global(pl.DataFrame(empty, strict=False))
    assert normalizer.global_statistics["0"] == {"center": None, "scale": 1e-10, "p05": None, "p95": None}
    result = normalizer.normalize(pl.DataFrame({"0": [1.0], "1": [2.0]}), [NAN], [None])
    assert (listed(result.confidence), listed(result.label), column(result.z, "0")) == ([0.0], [-1], [None])
    again = ConfidenceGatedNormalizer.from_dict(json.loads(json.dumps(normalizer.to_dict(), allow_nan=False)))
    assert again.to_dict() == normalizer.to_dict()


def test_round_trip() -> None:
    normalizer = fitted()
    again = ConfidenceGatedNormalizer.from_dict(json.loads(json.dumps(normalizer.to_dict(), allow_nan=False)))
    assert again.to_dict() == normalizer.to_dict()
    df = pl.DataFrame(NEW)
    assert again.normalize(df, LABELS, SURE).z.equals(normalizer.normalize(df, LABELS, SURE).z)
    with pytest.raises(ValueError, match="also with"):
        ConfidenceGatedNormalizer.from_dict({"epsilon": 1.0})
    with pytest.raises(ValueError, match="statistics of all columns"):
        ConfidenceGatedNormalizer.from_dict(normalizer.to_dict() | {"columns": ["0"]})


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy"])
def test_labels_and_confidence_in_columns(kind: str) -> None:
    df = KINDS[kind](NEW | {"regime": [4] * 6, "sure": SURE})
    result = fitted().normalize(df, "regime", "sure")
    assert listed(result.method_used) == ["regime_4", "global"] + ["regime_4"] * 4
    assert column(result.z, "0")[0] == pytest.approx(1.0)
    assert listed(fitted().normalize(df, "regime", [0.0] * 6).method_used) == ["global"] * 6


def test_columns_of_a_lazy_frame_collect_nothing() -> None:
    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError("collected")

    df = pl.LazyFrame(NEW | {"r": [4] * 6, "s": SURE})
    df = df.map_batches(fail, schema=df.collect_schema())
    assert isinstance(fitted().normalize(df, "r", "s").z, pl.LazyFrame)
    with pytest.raises(Exception, match="collected"):
        fitted().normalize(df, [4] * 6, "s")


@pytest.mark.parametrize("kind", KINDS)
def test_one_shot(kind: str) -> None:
    df = KINDS[kind]({"0": [6.0, 6.0, 6.0, 6.0], "1": [1.0, 1.0, 1.0, 1.0]})
    means, stds = {"0": 2.0, "1": 0.0}, {"0": 4.0, "1": 0.0}
    regimes = {3: {"0": 5.0, "1": 1.0}, 5: {"0": 5.0, "1": 1.0}}
    labels, sure = [3, 5, 3, 7], [0.9, 0.9, 0.6, 0.9]
    result = normalize_with_confidence_gating(df, labels, sure, means, stds, regimes, {5: {"0": 2.0, "1": 1.0}})
    assert column(result.z, "0") == pytest.approx([0.25, 0.5, 1.0, 1.0])
    assert column(result.z, "1") == pytest.approx([0.0, 0.0, 1e10, 1e10])
    assert listed(result.method_used) == ["regime_3", "regime_5", "global", "global"]
    loose = normalize_with_confidence_gating(df, labels, sure, means, stds, regimes, None, 0.5)
    assert listed(loose.method_used) == ["regime_3", "regime_5", "regime_3", "global"]
    assert listed(normalize_with_confidence_gating(df, labels, sure, means, stds).method_used) == ["global"] * 4


DF = pl.DataFrame({"0": [1.0], "1": [1.0]})


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ConfidenceGatedNormalizer(-1), ValueError, "confidence_threshold"),
        (lambda: ConfidenceGatedNormalizer(min_regime_samples=0), ValueError, "min_regime_samples"),
        (lambda: ConfidenceGatedNormalizer(epsilon=0), ValueError, "epsilon"),
        (lambda: ConfidenceGatedNormalizer().fit_regime(1, DF), ValueError, "fit_global"),
        (lambda: ConfidenceGatedNormalizer().normalize(DF, [1], [1]), ValueError, "fit_global"),
        (lambda: ConfidenceGatedNormalizer().fit_global(DF.clear()), ValueError, "one row"),
        (lambda: ConfidenceGatedNormalizer().fit_global(DF, []), ValueError, "cols"),
        (lambda: ConfidenceGatedNormalizer().fit_global(DF, ["0", "0"]), ValueError, "doubles"),
        (lambda: fitted().fit_regime(-1, DF), ValueError, "label"),
        (lambda: fitted().fit_regime(1, DF.select("0")), ValueError, "all fitted columns"),
        (lambda: fitted().normalize([1.0], [1], [1.0]), TypeError, "`df`"),
        (lambda: fitted().normalize(DF, [1, 2], [1.0]), ValueError, "labels"),
        (lambda: fitted().normalize(DF.lazy(), [1, 2], [1.0]), ValueError, "labels"),
        (lambda: fitted().normalize(DF, [1], [1.0, 2.0]), ValueError, "confidence"),
        (lambda: fitted().normalize(DF, [1.5], [1.0]), ValueError, "whole numbers"),
        (lambda: fitted().normalize(DF, ["a"], [1.0]), TypeError, "labels"),
        (lambda: fitted().normalize(DF, [True], [1.0]), TypeError, "labels"),
        (lambda: fitted().normalize(DF, "none", [1.0]), ValueError, "labels"),
        (lambda: fitted().normalize(DF.lazy(), "0", [1.0]), ValueError, "integer"),
        (lambda: fitted().normalize(DF.to_pandas(), pd.Series([1], index=[7]), [1.0]), ValueError, "index"),
        (lambda: normalize_with_confidence_gating(DF, [1], [1], {}, {}), ValueError, "global_means"),
        (lambda: normalize_with_confidence_gating(DF, [1], [1], {"0": 1.0}, {}), ValueError, "global_stds"),
        (lambda: normalize_with_confidence_gating(DF, [1], [1], {"0": 1}, {"0": -1}), ValueError, "global_stds"),
        (
            lambda: normalize_with_confidence_gating(DF, [1], [1], {"0": 1}, {"0": 1}, {1: {}}),
            ValueError,
            "regime_means",
        ),
    ],
)
def test_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("text", ["a", "7"])
@pytest.mark.parametrize("kind", ["polars", "lazy"])
@pytest.mark.parametrize("named", [False, True])
def test_text_is_refused(kind: str, named: bool, text: str) -> None:
    df = KINDS[kind]({"0": [text], "1": [1.0], "regime": [4], "sure": [1.0]})
    with pytest.raises(pl.exceptions.ComputeError, match="column `0` has dtype str"):
        fitted().normalize(df, "regime" if named else [4], "sure" if named else [1.0]).z.lazy().collect()
    with pytest.raises(pl.exceptions.ComputeError, match="column `0` has dtype str"):
        ConfidenceGatedNormalizer().fit_global(df, "0")


def test_missing_values_of_pandas_and_no_rows() -> None:
    labels = pd.Series([4, pd.NA], dtype="Int64")
    sure = pd.Series([pd.NA, 1.0], dtype="Float64")
    df = pd.DataFrame({"0": [3.0, 3.0], "1": [5.0, 5.0]})
    result = fitted().normalize(df, labels, sure)
    assert (listed(result.label), listed(result.confidence)) == ([4, -1], [0.0, 1.0])
    assert listed(result.method_used) == ["global", "global"]
    assert [len(part) for part in fitted().normalize(pl.DataFrame(NEW).clear(), [], [])] == [0, 0, 0, 0]


def test_exported() -> None:
    assert {"ConfidenceGatedNormalizer", "Normalized", "normalize_with_confidence_gating"} <= set(ff.__all__)
