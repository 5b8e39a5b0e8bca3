"""Isolation forests: scikit-learn grows the trees, NumPy walks them, all rows at once, level by level."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from acm_rs import _forests
from acm_rs.fallback import _io, models
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import operation
from acm_rs.fallback.models import FLAG, INTEGER, INTEGERS, LEARNT, NUMBERS, Kind

KIND = Kind(
    "isolation_forest",
    1,
    LEARNT
    | {
        "feature": INTEGERS,
        "value": NUMBERS,
        "child": INTEGERS,
        "start": INTEGERS,
        "sample_size": INTEGER,
        "narrow": FLAG,
    },
)


@operation(dtype=KIND.fit_dtype)
def isolation_forest_fit(
    inputs: list[pl.Series],
    *,
    n_trees: int,
    max_samples: int,
    bootstrap: bool,
    seed: int,
    min_present: float,
    strict: bool,
) -> pl.Series:
    """Grow trees with scikit-learn, on readings narrowed to Float32; those beyond its range stand at its ends."""

    def learn(cells: Floats) -> dict[str, Any]:
        from sklearn.ensemble import IsolationForest

        limits = np.finfo(np.float32)
        forest = IsolationForest(
            n_estimators=n_trees,
            max_samples=min(max_samples, len(cells)),
            bootstrap=bootstrap,
            random_state=np.random.RandomState(np.random.MT19937(seed)),
        )
        return _forests.lists(forest.fit(np.clip(cells, limits.min, limits.max).astype(np.float32)))

    name = "isolation_forest_fit"
    return models.fit(name, KIND, inputs, learn, min_present=min_present, strict=strict)


@operation(dtype=KIND.score_dtype)
def isolation_forest_score(inputs: list[pl.Series], *, unknown_is_error: bool) -> pl.Series:
    """Mean path lengths of all rows, tree by tree."""
    name = "isolation_forest_score"

    def scorer(model: dict[str, Any], cells: Floats, positions: list[int]) -> Floats:
        if model["narrow"]:
            cells = cells.astype(np.float32).astype(np.float64)
        total = np.zeros(len(cells))
        starts = model["start"]
        feature, child = (np.array(model[part], dtype=np.int64) for part in ("feature", "child"))
        value = models.numbers(model["value"])
        _check(name, feature, value, child, starts, model["sample_size"], len(positions))
        rows = np.arange(len(cells))
        for start, end in zip(starts, [*starts[1:], len(child)], strict=True):
            at = np.full(len(cells), start)
            while (inner := child[at] > 0).any():
                right = cells[rows, feature[at]] > value[at]
                at = np.where(inner, start + child[at] + right, at)
            total += value[at]
            assert at.max(initial=start) < end
        scale = len(starts) * _forests.average_path(model["sample_size"])
        return np.exp2(-(total / scale if scale > 0 else np.ones(len(cells))))[:, None]

    return models.score(name, KIND, inputs, 1, scorer, unknown_is_error=unknown_is_error)[0]


def _check(
    name: str, feature: Any, value: Floats, child: Any, starts: list[int], sample_size: int, columns: int
) -> None:
    """Refuse lists that are not a forest on so many columns."""

    def damaged(what: str) -> Exception:
        return _io.error(name, f"the model is damaged: {what}")

    n = len(child)
    if len(feature) != n or len(value) != n:
        raise damaged("its lists of nodes have different lengths")
    if not starts or starts[0] != 0:
        raise damaged("it has no first tree")
    if sample_size <= 0:
        raise damaged("its trees drew no rows")
    roots = np.array(starts, dtype=np.int64)
    ends = np.append(roots[1:], n)
    if (ends <= roots).any() or ends.max() > n:
        raise damaged("its trees do not follow one another")
    if not np.isfinite(value).all():
        raise damaged("a threshold or a path length is not a number")
    if ((feature < 0) | (feature >= columns)).any():
        raise damaged("a node asks for a column that the model lacks")
    sizes = ends - roots
    own = np.arange(n) - np.repeat(roots, sizes)
    if ((child != 0) & ((child <= own) | (child + 2 > np.repeat(sizes, sizes)))).any():
        raise damaged("a node has no children")
