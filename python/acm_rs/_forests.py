"""Trees of scikit-learn as the lists that models of isolation forests hold."""

from __future__ import annotations

from typing import Any


def lists(forest: Any) -> dict[str, Any]:
    """Return the trees of a fitted `sklearn.ensemble.IsolationForest`.

    The nodes of a tree come level by level, so that the right child stands behind the left one.
    """
    import numpy as np

    feature, value, child, start = [], [], [], [0]
    for estimator, columns in zip(forest.estimators_, forest.estimators_features_, strict=True):
        tree = estimator.tree_
        left, right = tree.children_left, tree.children_right
        levels = [np.zeros(1, dtype=np.int64)]
        while len(levels[-1]):
            inner = levels[-1][left[levels[-1]] >= 0]
            levels.append(np.column_stack([left[inner], right[inner]]).ravel())
        order = np.concatenate(levels)
        depth = np.repeat(np.arange(len(levels)), [len(level) for level in levels])
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        inner = left[order] >= 0
        child.append(np.where(inner, place[left[order]], 0))
        feature.append(np.where(inner, np.asarray(columns)[np.maximum(tree.feature[order], 0)], 0))
        lengths = depth + average_path(tree.n_node_samples[order])
        value.append(np.where(inner, tree.threshold[order], lengths))
        start.append(start[-1] + len(order))
    return {
        "feature": np.concatenate(feature).tolist(),
        "value": np.concatenate(value).tolist(),
        "child": np.concatenate(child).tolist(),
        "start": start[:-1],
        "sample_size": int(forest.max_samples_),
        "narrow": True,
    }


def average_path(rows: Any) -> Any:
    """Mean path length of an unsuccessful search in a binary search tree (Liu, Ting and Zhou 2008, equation 1)."""
    import numpy as np

    m = np.maximum(np.asarray(rows, dtype=np.float64), 3)
    length = 2 * (np.log(m - 1) + np.euler_gamma) - 2 * (m - 1) / m
    return np.where(np.asarray(rows) > 2, length, np.maximum(np.asarray(rows, dtype=np.float64) - 1, 0))
