"""Silhouettes on NumPy and SciPy: a block of rows against all, summed by cluster.

Distances come from SciPy's `cdist`, which takes differences of readings; scikit-learn's products cancel far from 0.
Squared distances to a whole cluster come from its mean and its mean square about it, as in the library. A sample is
drawn with NumPy's random numbers, so it holds other rows than the library's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from acm_rs.fallback import _io, models
from acm_rs.fallback import labels as label_codes
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.cusum import label_kind
from acm_rs.fallback.gmm import scaled, scaling

BLOCK = 256  # rows against all at once


def _dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    models.numeric_fields(name, fields[0])
    label_kind(name, fields[1])
    return pl.Float64()


def _labels(operation: str, series: pl.Series, rows: int) -> Any:
    """Labels as numbers from 0 on; -1 where a row has none."""
    if len(series) != rows:
        text = f"`labels` must have a label for each of the {rows} rows, got {len(series)}"
        raise _io.error(operation, text)
    label_kind(operation, Field(series.name, series.dtype))
    found = label_codes.encoded(series, None)
    return np.where(found.codes == found.unknown, label_codes.MISSING, found.codes)


def _samples(
    operation: str,
    inputs: list[pl.Series],
    *,
    metric: str,
    scale: str,
    min_present: float,
    sample: tuple[int, int] | None,
) -> Floats:
    columns = _io.struct_columns(inputs[0])
    rows = len(inputs[0])
    of = _labels(operation, inputs[1], rows)
    found = np.full(rows, np.nan)
    if not columns:
        return found
    cells = np.column_stack([_io.read(column) for column in columns])
    needed = max(int(np.ceil(min_present * cells.shape[1])), 1)
    left = np.flatnonzero((of >= 0) & ((~np.isnan(cells)).sum(axis=1) >= needed))
    if not len(left):
        return found
    cells = cells[left]
    for column in cells.T:
        present = column[~np.isnan(column)]
        column[np.isnan(column)] = np.median(present) if len(present) else 0.0
    z = scaled(cells, *scaling(cells, scale))
    if sample is not None and sample[0] < len(left):
        drawn = np.sort(np.random.default_rng(sample[1]).choice(len(left), sample[0], replace=False))
        left, z = left[drawn], z[drawn]
    names, clusters = np.unique(of[left], return_inverse=True)
    if len(names) < 2:
        return found
    # by a power of two, so that squares are numbers
    z = z * 2.0 ** -np.clip(np.frexp(np.abs(z).max())[1], -1000, 1000).astype(float)
    sizes = np.bincount(clusters)
    sums = _distances(z, clusters, sizes) if metric == "euclidean" else _squares(z, clusters, sizes)
    every = np.arange(len(z))
    own = sums[every, clusters] / np.maximum(sizes[clusters] - 1, 1)
    sums[every, clusters] = np.inf
    nearest = (sums / sizes).min(axis=1)
    largest = np.maximum(own, nearest)
    usual = (sizes[clusters] > 1) & (largest > 0)
    found[left] = np.where(usual, (nearest - own) / np.where(largest > 0, largest, 1.0), 0.0)
    return found


def _distances(z: Floats, clusters: Any, sizes: Any) -> Floats:
    """Return sums of distances of each row to the rows of each cluster."""
    from scipy.spatial.distance import cdist

    order = np.argsort(clusters, kind="stable")
    starts = np.cumsum(sizes) - sizes
    blocks = [
        np.add.reduceat(cdist(z[from_ : from_ + BLOCK], z[order]), starts, axis=1) for from_ in range(0, len(z), BLOCK)
    ]
    return np.concatenate(blocks)


def _squares(z: Floats, clusters: Any, sizes: Any) -> Floats:
    """Return sums of squared distances of each row to the rows of each cluster."""
    sums = np.empty((len(z), len(sizes)))
    for cluster, size in enumerate(sizes):
        members = z[clusters == cluster]
        # differences to a row of the cluster: nothing cancels wherever it lies
        mean = (members - members[0]).mean(axis=0)
        square = (((members - members[0]) - mean) ** 2).sum(axis=1).mean()
        sums[:, cluster] = ((((z - members[0]) - mean) ** 2).sum(axis=1) + square) * size
    return sums


@operation(dtype=_dtype)
def silhouette(inputs: list[pl.Series], *, sample: int | None, seed: int, **parameters: Any) -> pl.Series:  # noqa: D103
    drawn = None if sample is None else (sample, seed)
    all_rows = _samples("silhouette", inputs, sample=drawn, **parameters)
    known = all_rows[~np.isnan(all_rows)]
    mean = known.mean() if len(known) else np.nan
    return _io.write(inputs[0].name, np.array([mean]), pl.Float64())


@operation(dtype=_dtype)
def silhouette_samples(inputs: list[pl.Series], **parameters: Any) -> pl.Series:  # noqa: D103
    return _io.write(inputs[0].name, _samples("silhouette_samples", inputs, sample=None, **parameters), pl.Float64())
