"""Silhouettes: how well labels part the rows, whatever gave them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import polars as pl

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input

__all__ = ["silhouette", "silhouette_samples"]

Metric: TypeAlias = Literal["euclidean", "sqeuclidean"]
Scale: TypeAlias = Literal["standard", "robust", "none"]

METRICS = ("euclidean", "sqeuclidean")
SCALES = ("standard", "robust", "none")
_LARGEST_SEED = 2**64 - 1


def silhouette(
    expr: IntoColumns,
    labels: str | pl.Expr,
    *,
    metric: Metric = "euclidean",
    scale: Scale = "standard",
    sample: int | None = None,
    seed: int = 42,
    min_present: float = 1.0,
) -> pl.Expr:
    """Mean silhouette of labelled rows: near 1 where clusters lie apart, near 0 where they touch, below 0 where mixed.

    ``mean of (b - a) / max(a, b)`` (Rousseeuw 1987), where a is the mean distance of a row to the other rows of its
    cluster, and b the least mean distance to the rows of another cluster.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them.
    labels : str or Expr
        Column of integers, text or booleans, the cluster of each row. Rows whose label is null, or -1 as a number,
        which means noise, are left out.
    metric : "euclidean" or "sqeuclidean"
        Distance: ``"euclidean"`` (default), as the paper has it, of all pairs; ``"sqeuclidean"``, its square, which
        needs no pairs and so suits many rows.
    scale : "standard", "robust" or "none"
        What columns are centred on and divided by before: ``"standard"`` (default, so that no unit outweighs others),
        the mean and the standard deviation of the labelled rows; ``"robust"``, the median and the distance between the
        quartiles, or the standard deviation where that is 0; ``"none"``.
    sample : int or None
        Compare only so many of the labelled rows, drawn at random, at least 2; default None: all.
    seed : int
        Seed of the sample, at least 0; default 42. The same seed draws the same rows.
    min_present : float
        Share of a row's columns that must be present, above 0 up to 1; default 1.0: clusters are compared by what was
        measured. Missing cells of such rows become the medians of their columns, other rows are left out.

    Returns
    -------
    Expr
        One row: a column named ``silhouette``, Float64, from -1 to 1. Null with fewer than two clusters.

    Notes
    -----
    Null, NaN and infinity are missing. The only row of a cluster counts 0, as in the paper and in scikit-learn. Cost:
    3 operations per pair of rows and column, each pair once, on all threads; ``"sqeuclidean"``: 4 operations per row,
    cluster and column. Memory: a few numbers per row beside a copy of the columns.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"power": [0.0, 1.0, 2.0, 90.0, 91.0], "state": ["off", "off", "off", "on", "on"]})
    >>> df.select(acm.silhouette("power", "state").round(3))
    shape: (1, 1)
    ┌────────────┐
    │ silhouette │
    │ ---        │
    │ f64        │
    ╞════════════╡
    │ 0.987      │
    └────────────┘
    """
    name = "silhouette"
    return call(
        name,
        [one_input(name, expr, always_pack=True), _labels(name, labels)],
        gives="one_row",
        sample=None if sample is None else _checks.integer(name, "sample", sample, 2),
        seed=_checks.integer(name, "seed", seed, 0, _LARGEST_SEED),
        metric=_checks.choice(name, "metric", metric, METRICS),
        scale=_checks.choice(name, "scale", scale, SCALES),
        min_present=_checks.share(name, "min_present", min_present),
    )


def silhouette_samples(
    expr: IntoColumns,
    labels: str | pl.Expr,
    *,
    metric: Metric = "euclidean",
    scale: Scale = "standard",
    min_present: float = 1.0,
) -> pl.Expr:
    """Silhouette of each labelled row: below 0, it lies nearer to another cluster than to its own.

    ``(b - a) / max(a, b)`` (Rousseeuw 1987), where a is the mean distance of a row to the other rows of its cluster,
    and b the least mean distance to the rows of another cluster.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them.
    labels : str or Expr
        Column of integers, text or booleans, the cluster of each row. Rows whose label is null, or -1 as a number,
        which means noise, are left out.
    metric : "euclidean" or "sqeuclidean"
        Distance: ``"euclidean"`` (default), as the paper has it, of all pairs; ``"sqeuclidean"``, its square, which
        needs no pairs and so suits many rows.
    scale : "standard", "robust" or "none"
        What columns are centred on and divided by before: ``"standard"`` (default, so that no unit outweighs others),
        the mean and the standard deviation of the labelled rows; ``"robust"``, the median and the distance between the
        quartiles, or the standard deviation where that is 0; ``"none"``.
    min_present : float
        Share of a row's columns that must be present, above 0 up to 1; default 1.0: clusters are compared by what was
        measured. Missing cells of such rows become the medians of their columns, other rows are left out.

    Returns
    -------
    Expr
        Column named ``silhouette_samples``, Float64, from -1 to 1. Null for rows that are left out, and for all with
        fewer than two clusters.

    Notes
    -----
    Null, NaN and infinity are missing. The only row of a cluster has 0. Cost and memory as of `silhouette`. Every row
    needs all others, so this does not stream.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 1.0, 9.0, 8.0, 2.0], "label": [0, 0, 1, 1, 1]})
    >>> df.with_columns(acm.silhouette_samples("x", "label").round(2))
    shape: (5, 3)
    ┌─────┬───────┬────────────────────┐
    │ x   ┆ label ┆ silhouette_samples │
    │ --- ┆ ---   ┆ ---                │
    │ f64 ┆ i64   ┆ f64                │
    ╞═════╪═══════╪════════════════════╡
    │ 0.0 ┆ 0     ┆ 0.84               │
    │ 1.0 ┆ 0     ┆ 0.81               │
    │ 9.0 ┆ 1     ┆ 0.53               │
    │ 8.0 ┆ 1     ┆ 0.53               │
    │ 2.0 ┆ 1     ┆ -0.77              │
    └─────┴───────┴────────────────────┘
    """
    name = "silhouette_samples"
    return call(
        name,
        [one_input(name, expr, always_pack=True), _labels(name, labels)],
        metric=_checks.choice(name, "metric", metric, METRICS),
        scale=_checks.choice(name, "scale", scale, SCALES),
        min_present=_checks.share(name, "min_present", min_present),
    )


def _labels(name: str, labels: object) -> pl.Expr:
    if isinstance(labels, pl.Expr):
        return labels
    if isinstance(labels, str):
        return pl.col(labels)
    raise _checks.mistyped(name, "labels", "a column name or an expression", labels)
