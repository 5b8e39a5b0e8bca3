"""HDBSCAN on NumPy: Prim's algorithm over all pairs, the rest as in the library, so that models are the same.

The spanning tree is the library's: of equal reaches the shorter pair comes first. Memory is a few numbers per row; time
grows with the square of the rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from acm_rs.fallback import _io, models
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.gmm import scaled, scaling
from acm_rs.fallback.models import INTEGER, INTEGERS, LEARNT, NUMBER, NUMBERS, Kind, numbers

KIND = Kind(
    "hdbscan",
    1,
    LEARNT
    | {
        "center": NUMBERS,
        "scale": NUMBERS,
        "min_samples": INTEGER,
        "train": NUMBERS,
        "core_distances": NUMBERS,
        "labels": INTEGERS,
        "strengths": NUMBERS,
        "row_clusters": INTEGERS,
        "row_distances": NUMBERS,
        "cluster_parents": INTEGERS,
        "cluster_distances": NUMBERS,
        "cluster_labels": INTEGERS,
        "inner_distances": NUMBERS,
        "outer_distances": NUMBERS,
        "sizes": INTEGERS,
        "centers": NUMBERS,
        "persistence": NUMBERS,
        "relative_validity": NUMBER,
    },
)

NOISE = -1


def _power(z: Floats) -> float:
    """Return the power of two that brings cells below 1, so that their squares are numbers."""
    return float(2.0 ** -np.clip(np.frexp(np.abs(z).max())[1], -1000, 1000).astype(float))


def _squares(z: Floats, x: Floats) -> Floats:
    """Squared distances of columns of rows to one row, added column by column as the library does."""
    total = np.zeros(z.shape[1])
    for column, value in zip(z, x, strict=True):
        total += (column - value) ** 2
    return total


# --- the spanning tree -----------------------------------------------------------------------------------------------


class _Edges(NamedTuple):
    """Edges in order: squares of reach and length, and the two rows."""

    reach: Floats
    square: Floats
    a: Any
    b: Any


def _spanning(z: Floats, min_samples: int) -> tuple[Floats, _Edges]:
    """Squared core distances and the edges, of columns of rows."""
    rows = z.shape[1]
    # the row itself is the first of its neighbours
    cores = np.array([np.partition(_squares(z, z[:, i]), min_samples)[min_samples] for i in range(rows)])
    left, best = np.arange(rows), np.full((2, rows), np.inf)
    nearest = np.zeros(rows, dtype=np.int64)
    joined, at, edges = 0, 0, []
    for _ in range(rows - 1):
        left = np.delete(left, at)
        square = _squares(z[:, left], z[:, joined])
        reach = np.maximum(np.maximum(cores[left], cores[joined]), square)
        before = (reach < best[0, left]) | ((reach == best[0, left]) & (square < best[1, left]))
        changed = left[before]
        best[0, changed], best[1, changed], nearest[changed] = reach[before], square[before], joined
        least = np.flatnonzero(best[0, left] == best[0, left].min())
        at = int(least[best[1, left[least]].argmin()])
        joined = int(left[at])
        edges.append((*best[:, joined], *sorted((joined, int(nearest[joined])))))
    reaches, squares, a, b = (np.array(part) for part in zip(*edges, strict=True))
    order = np.lexsort((b, a, squares, reaches))
    return cores, _Edges(reaches[order], squares[order], a[order].astype(int), b[order].astype(int))


# --- the condensed tree ----------------------------------------------------------------------------------------------


class _Cluster:
    """A cluster of the condensed tree."""

    def __init__(self, parent: int, start: float) -> None:
        self.parent, self.start, self.end, self.stability = parent, start, np.inf, 0.0


class _Tree:
    """The condensed tree: its clusters, the one that each row leaves last and at which distance."""

    def __init__(self, edges: _Edges, distances: Floats, min_cluster_size: int) -> None:
        self.rows = rows = len(distances) + 1
        self.halves: list[tuple[int, int]] = []
        sizes, group, above = [1] * rows, list(range(rows)), list(range(rows))

        def find(i: int) -> int:
            while above[i] != i:
                above[i] = above[above[i]]
                i = above[i]
            return i

        for i, (a, b) in enumerate(zip(edges.a.tolist(), edges.b.tolist(), strict=True)):
            a, b = find(a), find(b)
            self.halves.append((group[a], group[b]))
            sizes.append(sizes[group[a]] + sizes[group[b]])
            if sizes[group[a]] < sizes[group[b]]:
                a, b = b, a
            above[b] = a
            group[a] = rows + i
        self.clusters = [_Cluster(-1, np.inf)]
        self.row_clusters, self.row_distances = np.zeros(rows, dtype=int), np.zeros(rows)
        still_open = [(2 * rows - 2, 0)]
        while still_open:
            top, cluster = still_open.pop()
            distance, halves = float(distances[top - rows]), self.halves[top - rows]
            # an edge of length 0 is the last of none but equal rows
            keeps = [sizes[half] >= min_cluster_size and edges.square[top - rows] > 0 for half in halves]
            for half, keep in zip(halves, keeps, strict=True):
                if all(keeps):
                    self._count(cluster, distance, sizes[half])
                    still_open.append((half, len(self.clusters)))
                    self.clusters.append(_Cluster(cluster, distance))
                elif keep:
                    still_open.append((half, cluster))
                else:
                    self._count(cluster, distance, sizes[half])
                    left = self._rows_of(half)
                    self.row_clusters[left], self.row_distances[left] = cluster, distance

    def _count(self, cluster: int, distance: float, rows: int) -> None:
        """So many rows leave a cluster."""
        of = self.clusters[cluster]
        density = 1 / distance if distance > 0 else np.inf
        of.stability += (density - 1 / of.start) * rows
        of.end = distance

    def _rows_of(self, group: int) -> list[int]:
        found, still_open = [], [group]
        while still_open:
            group = still_open.pop()
            if group < self.rows:
                found.append(group)
            else:
                still_open.extend(self.halves[group - self.rows])
        return found

    def select(self, method: str, epsilon: float, *, allow_single: bool) -> list[int]:
        """Return the chosen clusters, none of which is part of another."""
        count = len(self.clusters)
        if method == "leaf":
            chosen = [True] * count
            for cluster in self.clusters[1:]:
                chosen[cluster.parent] = False
        else:
            chosen, within = [False] * count, [0.0] * count
            for c in reversed(range(count)):
                stability = self.clusters[c].stability
                chosen[c] = stability >= within[c]
                if c > 0:
                    within[self.clusters[c].parent] += stability if chosen[c] else within[c]
        chosen[0] = chosen[0] and allow_single
        self._keep_outermost(chosen)
        if epsilon > 0:
            for c in [c for c in range(1, count) if chosen[c]]:
                chosen[c] = False
                chosen[self._coarser(c, epsilon, allow_single=allow_single)] = True
            self._keep_outermost(chosen)
        return [c for c in range(count) if chosen[c]]

    def _keep_outermost(self, chosen: list[bool]) -> None:
        covered = [False] * len(chosen)
        for c in range(1, len(chosen)):
            parent = self.clusters[c].parent
            covered[c] = covered[parent] or chosen[parent]
            chosen[c] = chosen[c] and not covered[c]

    def _coarser(self, c: int, epsilon: float, *, allow_single: bool) -> int:
        while c > 0 and self.clusters[c].start < epsilon and (allow_single or self.clusters[c].parent > 0):
            c = self.clusters[c].parent
        return c


def _strengths(labels: Any, distances: Floats, inner: Floats) -> Floats:
    """Of rows that leave at these distances; 0 for noise."""
    of = np.where(labels >= 0, labels, 0)
    least = inner[of] if len(inner) else np.zeros(len(labels))
    strength = least / np.maximum(np.maximum(least, distances), np.finfo(float).tiny)
    return np.where(labels < 0, 0.0, np.where(distances == 0, 1.0, strength))


def _relative_validity(edges: _Edges, distances: Floats, labels: Any, sizes: list[int]) -> float:
    if not sizes:
        return float("nan")
    within, apart = np.zeros(len(sizes)), np.full(len(sizes), np.inf)
    a, b = labels[edges.a], labels[edges.b]
    inside = (a == b) & (a >= 0)
    np.maximum.at(within, a[inside], distances[inside])
    between = (a != b) & (a >= 0) & (b >= 0)
    np.minimum.at(apart, a[between], distances[between])
    np.minimum.at(apart, b[between], distances[between])
    to_noise = distances[(a != b) & ((a < 0) | (b < 0))]
    none = to_noise.min() if len(sizes) == 1 and len(to_noise) else distances.max()
    apart = np.where(np.isinf(apart), 2 * none, apart)
    most = np.maximum(apart, within)
    validity = (apart - within) / np.where(most > 0, most, 1.0)
    return float((np.array(sizes) / len(labels) * validity).sum())


def fit_rows(
    cells: Floats,
    *,
    min_cluster_size: int,
    min_samples: int,
    cluster_selection_epsilon: float,
    method: str,
    allow_single_cluster: bool,
    scale: str,
) -> dict[str, Any]:
    """Learn from complete rows."""
    rows = len(cells)
    if rows <= min_samples:
        raise ValueError(
            f"a row needs {min_samples} others for its core distance, but there are only {rows} rows in all; give it "
            "more rows or a smaller `min_cluster_size` or `min_samples`"
        )
    center, spread = scaling(cells, scale)
    z = scaled(cells, center, spread)
    if not np.isfinite(z).all():
        raise ValueError("the scaled readings do not fit a number; remove the outliers, or use another `scale`")
    power = _power(z)
    cores, edges = _spanning(np.ascontiguousarray(z.T) * power, min_samples)
    # times the power, so that densities are numbers
    distances = np.sqrt(edges.reach)
    tree = _Tree(edges, distances, min_cluster_size)
    clusters, epsilon = tree.clusters, cluster_selection_epsilon * power
    chosen = tree.select(method, epsilon, allow_single=allow_single_cluster) if rows >= min_cluster_size else []
    outer = {c: clusters[c].start if c > 0 else epsilon or clusters[c].end for c in chosen}
    around: list[int] = []  # the chosen cluster round each, -1 if there is none
    for c, cluster in enumerate(clusters):
        around.append(c if c in outer else around[cluster.parent] if c > 0 else -1)
    of = np.array(around)[tree.row_clusters]
    of[[c >= 0 and d > outer[c] for c, d in zip(of.tolist(), tree.row_distances.tolist(), strict=True)]] = -1
    members = {c: np.flatnonzero(of == c) for c in chosen}
    chosen = sorted((c for c in chosen if len(members[c])), key=lambda c: (-len(members[c]), members[c][0]))
    label = dict.fromkeys(range(-1, len(clusters)), NOISE) | {c: i for i, c in enumerate(chosen)}
    labels = np.array([label[c] for c in of.tolist()])
    inner = np.array([clusters[c].end for c in chosen])
    sizes = [len(members[c]) for c in chosen]
    densest = tree.row_distances.min()

    def unit(distance: Floats) -> Floats:
        # the distance of huge readings of unlike signs may be too large for a number
        return np.minimum(distance / power, np.finfo(float).max)

    return {
        "center": center,
        "scale": spread,
        "min_samples": min_samples,
        "train": z.T.ravel(),
        "core_distances": unit(np.sqrt(cores)),
        "labels": labels,
        "strengths": _strengths(labels, tree.row_distances, inner),
        "row_clusters": tree.row_clusters,
        "row_distances": unit(tree.row_distances),
        "cluster_parents": [cluster.parent for cluster in clusters],
        "cluster_distances": [np.nan, *unit(np.array([cluster.start for cluster in clusters[1:]]))],
        "cluster_labels": [label[c] for c in around],
        "inner_distances": unit(inner),
        "outer_distances": unit(np.array([outer[c] for c in chosen])),
        "sizes": sizes,
        "centers": [v for c in chosen for v in _center(cells[members[c]])],
        "persistence": [
            1.0 if densest == 0 else clusters[c].stability * densest / size
            for c, size in zip(chosen, sizes, strict=True)
        ],
        "relative_validity": _relative_validity(edges, distances, labels, sizes),
    }


def _center(cells: Floats) -> list[float]:
    # halves, because the difference of two huge readings does not fit
    means: list[float] = (cells[0] + 2 * (cells / 2 - cells[0] / 2).mean(axis=0)).tolist()
    return means


@operation(dtype=KIND.fit_dtype)
def hdbscan_fit(inputs: list[pl.Series], *, min_present: float, strict: bool, **parameters: Any) -> pl.Series:  # noqa: D103
    def learn(cells: Floats) -> dict[str, Any]:
        return fit_rows(cells, **parameters)

    return models.fit("hdbscan_fit", KIND, inputs, learn, min_present=min_present, strict=strict)


# --- new rows --------------------------------------------------------------------------------------------------------


def _label_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    return pl.Struct({"label": pl.Int64(), "strength": KIND.score_dtype(name, fields)})


def _check(model: dict[str, Any]) -> None:
    """Refuse a model whose parts do not fit together."""
    rows, columns = model["rows"], len(model["columns"])
    clusters, count = len(model["cluster_parents"]), len(model["sizes"])
    lengths = {"center": columns, "scale": columns, "train": rows * columns, "centers": count * columns}
    lengths |= dict.fromkeys(("core_distances", "labels", "strengths", "row_clusters", "row_distances"), rows)
    lengths |= dict.fromkeys(("cluster_distances", "cluster_labels"), clusters)
    lengths |= dict.fromkeys(("inner_distances", "outer_distances", "persistence"), count)
    bad = [part for part, length in lengths.items() if len(model[part]) != length]
    for part, least, end in (("labels", -1, count), ("cluster_labels", -1, count), ("row_clusters", 0, clusters)):
        bad += [part] if not all(least <= v < end for v in model[part]) else []
    # so that climbing ends at the first
    if not clusters or any(p >= c or (p < 0 < c) for c, p in enumerate(model["cluster_parents"])):
        bad.append("cluster_parents")
    if not 1 <= model["min_samples"] < rows:
        bad.append("min_samples")
    if bad:
        text = f"`model` is damaged: its part `{bad[0]}` does not fit the others; fit it again"
        raise _io.error("hdbscan_label", text)


class _Predictor:
    """Label and strength of one row after the other."""

    def __init__(self, model: dict[str, Any]) -> None:
        _check(model)
        self.center, self.spread = numbers(model["center"]), numbers(model["scale"])
        train = numbers(model["train"]).reshape(len(self.center), -1)
        self.power = _power(train)
        self.train = train * self.power
        self.cores = numbers(model["core_distances"])
        self.squared_cores = (self.cores * self.power) ** 2
        self.min_samples = model["min_samples"]
        self.labels, self.strengths = np.array(model["labels"]), numbers(model["strengths"])
        self.row_clusters, self.row_distances = np.array(model["row_clusters"]), numbers(model["row_distances"])
        self.parents, self.cluster_labels = model["cluster_parents"], model["cluster_labels"]
        self.starts = [np.inf, *model["cluster_distances"][1:]]
        self.inner, self.outer = numbers(model["inner_distances"]), model["outer_distances"]

    def predict(self, x: Floats) -> tuple[float, float]:
        square = _squares(self.train, x)
        core = np.partition(square, self.min_samples - 1)[self.min_samples - 1]
        if not np.isfinite(core):  # so far away that its squares are no numbers
            return NOISE, 0.0
        reach = np.where(square == 0, 0.0, np.maximum(np.maximum(square, self.squared_cores), core))
        row = int(np.lexsort((square, reach))[0])
        if square[row] == 0:
            return self.labels[row], self.strengths[row]
        own = np.sqrt(max(core, square[row])) / self.power
        distance = max(own, self.cores[row], self.row_distances[row])
        cluster = int(self.row_clusters[row])
        while self.starts[cluster] < distance:
            cluster = self.parents[cluster]
        label = self.cluster_labels[cluster]
        if label == NOISE or distance > self.outer[label]:
            return NOISE, 0.0
        return label, _strengths(np.array([label]), np.array([distance]), self.inner)[0]


@operation(dtype=_label_dtype)
def hdbscan_label(inputs: list[pl.Series], *, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def scorer(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        predictor = _Predictor(model)
        z = scaled(cells, predictor.center, predictor.spread) * predictor.power
        return np.array([predictor.predict(x) for x in z]).reshape(-1, 2)

    label, strength = models.score("hdbscan_label", KIND, inputs, 2, scorer, unknown_is_error=unknown_is_error)
    return pl.DataFrame({"label": label.cast(pl.Int64), "strength": strength}).to_struct(inputs[0].name)
