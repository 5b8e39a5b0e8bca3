"""HDBSCAN: clusters of any shape and number, with noise, and where new rows belong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import polars as pl

from acm_rs import _checks, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model
from acm_rs.regimes.silhouette import SCALES, Scale

__all__ = ["HdbscanModel", "hdbscan_fit", "hdbscan_label"]


def hdbscan_fit(
    expr: IntoColumns,
    min_cluster_size: int = 10,
    *,
    min_samples: int | None = None,
    cluster_selection_epsilon: float = 0.0,
    method: Literal["eom", "leaf"] = "eom",
    allow_single_cluster: bool = False,
    scale: Scale = "standard",
    min_present: float = 1.0,
    strict: bool = True,
) -> pl.Expr:
    """Find clusters of rows by density: a model for `hdbscan_label`.

    HDBSCAN (Campello, Moulavi and Sander 2013) on the scaled columns, with
    ``reach(a, b) = max(core_a, core_b, |a - b|)``: the single-linkage tree of reach, cut down to groups of at least
    `min_cluster_size` rows, of which those are chosen that last longest as the density ``1 / distance`` grows.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them.
    min_cluster_size : int
        Least rows of a cluster, at least 2; default 10.
    min_samples : int or None
        A row's core distance is that to its other row number `min_samples`, at least 1; the larger, the more rows are
        noise. Default None: `min_cluster_size`, as in the hdbscan package.
    cluster_selection_epsilon : float
        Clusters that part at a smaller distance than this, in scaled units, are merged (Malzer and Baum 2020); default
        0: none.
    method : "eom" or "leaf"
        Which clusters are chosen: ``"eom"`` (default), excess of mass, those of greatest stability in sum, or
        ``"leaf"``, those that do not part any further.
    allow_single_cluster : bool
        Whether all rows may be one cluster; default False. It then holds the rows that stay to the end, or those that
        leave within `cluster_selection_epsilon` if that is set.
    scale : "standard", "robust" or "none"
        What columns are centred on and divided by before: ``"standard"`` (default, so that no unit outweighs others),
        the mean and the standard deviation; ``"robust"``, the median and the distance between the quartiles, or the
        standard deviation where that is 0; ``"none"``.
    min_present : float
        Share of a row's columns that must be present, above 0 up to 1; default 1.0: many rows with medians in place
        of readings would look like a dense cluster. Missing cells of such rows become the medians of their columns,
        other rows are left out.
    strict : bool
        Whether data that cannot be fitted are an error (default) or give a null model.

    Returns
    -------
    Expr
        One row: a struct named ``hdbscan_fit``. Besides what every model of many columns knows (``columns``,
        ``medians``, ``rows``, ``rows_left_out``, ``dropped`` and why), the ``center`` and ``scale`` of each column. By
        cluster, from the largest on: ``sizes``, ``centers`` in the units of the readings, ``persistence`` (share of the
        largest density over which it lasts), and the least and largest distance at which its rows leave
        (``inner_distances``, ``outer_distances``). ``relative_validity``, a fast form of DBCV (Moulavi et al. 2014),
        from -1 to 1. Of each train row, in order: ``labels``, ``strengths``, and what `hdbscan_label` needs (``train``,
        the scaled rows, column after column, ``core_distances``, ``row_clusters``, ``row_distances``). Of the condensed
        tree: ``cluster_parents``, ``cluster_distances``, ``cluster_labels``.

    Notes
    -----
    Null, NaN and infinity are missing. Constant columns are dropped. Clusters are numbered by size, the largest is 0,
    of equal ones that with the earliest row comes first; -1 is noise. Where two clusters part, a row often reaches
    both at its core distance: it goes with the row that is nearer, so that the order of rows does not matter unless
    pairs are equally far apart. The hdbscan package leaves that to the order of its edges. Equal rows are never
    parted: of coarse readings, such as integers, each frequent value is a cluster of infinite density, unless
    `cluster_selection_epsilon` is larger than the step between values in scaled units. Cost: for each row a search for
    its neighbours, then about ``log2(rows)`` rounds with fewer and fewer searches, on all threads; a search is some
    hundred distances with few columns, and up to all rows with many. The model holds all train rows.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> wind = [4.0, 4.2, 4.4, 4.1, 4.3, 12.0, 12.2, 12.4, 12.1, 30.0]
    >>> df = pl.DataFrame({"wind": wind, "power": [v**2 for v in wind]})
    >>> model = df.select(acm.hdbscan_fit(["wind", "power"], 3, min_samples=1))
    >>> model.unnest("hdbscan_fit").select("sizes", "labels")
    shape: (1, 2)
    ┌───────────┬──────────────┐
    │ sizes     ┆ labels       │
    │ ---       ┆ ---          │
    │ list[i64] ┆ list[i64]    │
    ╞═══════════╪══════════════╡
    │ [5, 4]    ┆ [0, 0, … -1] │
    └───────────┴──────────────┘
    """
    name = "hdbscan_fit"
    columns = one_input(name, expr, always_pack=True)
    size = _checks.integer(name, "min_cluster_size", min_cluster_size, 2)
    return call(
        name,
        [columns],
        gives="one_row",
        min_cluster_size=size,
        min_samples=size if min_samples is None else _checks.integer(name, "min_samples", min_samples, 1),
        cluster_selection_epsilon=_checks.number(
            name, "cluster_selection_epsilon", cluster_selection_epsilon, positive=False
        ),
        method=_checks.choice(name, "method", method, ("eom", "leaf")),
        allow_single_cluster=_checks.flag(name, "allow_single_cluster", allow_single_cluster),
        scale=_checks.choice(name, "scale", scale, SCALES),
        min_present=_checks.share(name, "min_present", min_present),
        strict=_checks.flag(name, "strict", strict),
    )


def hdbscan_label(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Label rows with the cluster of a fitted HDBSCAN that they would join, and how strongly they belong to it.

    The label that the row would have if its own least edge joined it to the tree of the train rows and changed nothing
    else: with its core distance among the train rows and the train row t of least reach, it leaves at
    ``d = max(reach, distance at which t leaves)`` and belongs to the innermost cluster round t that starts at d or
    farther. Strength is ``d_c / max(d, d_c)``, with d_c the least distance at which anything leaves the chosen cluster.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns, among them those of the model, in any order; always one call over all of them.
    model : Series, DataFrame, Expr or HdbscanModel
        What `hdbscan_fit` gave: a Series or frame of one row, or an expression that gives it. With `by` a fleet of
        models: a frame with a key column and a model column, as ``group_by(key).agg(hdbscan_fit(...))`` makes it.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``. ``"error"`` raises.

    Returns
    -------
    Expr
        Struct named ``hdbscan_label`` of ``label``, Int64 from 0 on, -1 for noise, and ``strength``, from 0, which all
        noise has, to 1, Float32 if all columns are, else Float64. Both null where too few columns are present for the
        model's ``min_present`` and where no model applies.

    Notes
    -----
    Null, NaN and infinity are missing: with a ``min_present`` below 1 such cells become the medians of the fit. A row
    that equals a train row gets that row's label and strength (equal train rows share theirs), so that the train rows
    get those of the fit. This differs from ``approximate_predict`` of the hdbscan package, which looks among
    ``2 * min_samples`` neighbours only, counts a train row among its own neighbours, and takes the new row's density
    alone for its strength. Cost: two searches among the train rows per row, some hundred distances each with few
    columns, up to all rows with many, and once per call a sort of the train rows; row by row, so that it streams,
    unless `model` is an expression.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> train = pl.DataFrame({"x": [1.0, 1.1, 1.2, 1.3, 5.0, 5.1, 5.2, 5.3]})
    >>> model = train.select(acm.hdbscan_fit("x", 3, min_samples=1, scale="none"))
    >>> new = pl.DataFrame({"x": [1.05, 1.5, 10.0, None]})
    >>> new.with_columns(acm.hdbscan_label("x", model)).unnest("hdbscan_label")
    shape: (4, 3)
    ┌──────┬───────┬──────────┐
    │ x    ┆ label ┆ strength │
    │ ---  ┆ ---   ┆ ---      │
    │ f64  ┆ i64   ┆ f64      │
    ╞══════╪═══════╪══════════╡
    │ 1.05 ┆ 0     ┆ 1.0      │
    │ 1.5  ┆ 0     ┆ 0.5      │
    │ 10.0 ┆ -1    ┆ 0.0      │
    │ null ┆ null  ┆ null     │
    └──────┴───────┴──────────┘
    """
    return _models.score("hdbscan_label", "hdbscan", expr, model, by=by, on_unknown=on_unknown)


class HdbscanModel(Model):
    """HDBSCAN, as `hdbscan_fit` fits it."""

    kind = "hdbscan"
    scores: ClassVar[dict[str, Callable[..., pl.Expr]]] = {"hdbscan_label": hdbscan_label}

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        by: str | None = None,
        min_cluster_size: int = 10,
        min_samples: int | None = None,
        cluster_selection_epsilon: float = 0.0,
        method: Literal["eom", "leaf"] = "eom",
        allow_single_cluster: bool = False,
        scale: Scale = "standard",
        min_present: float = 1.0,
        strict: bool = True,
    ) -> Self:
        """Fit on the columns of a frame of any kind, or with `by` one model for each key.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows to learn from. A lazy frame is collected.
        columns : sequence of str, str or None
            Columns to learn; default None: all numeric ones.
        by : str or None
            Key column of a fleet; default None: one model.
        min_cluster_size, min_samples, cluster_selection_epsilon, method, allow_single_cluster, scale, min_present, strict
            As of `hdbscan_fit`.

        Returns
        -------
        HdbscanModel
            The fitted model or fleet.
        """  # noqa: E501

        def fit(names: list[str]) -> pl.Expr:
            return hdbscan_fit(
                names,
                min_cluster_size,
                min_samples=min_samples,
                cluster_selection_epsilon=cluster_selection_epsilon,
                method=method,
                allow_single_cluster=allow_single_cluster,
                scale=scale,
                min_present=min_present,
                strict=strict,
            )

        return cls._fit(frame, columns, by, fit)

    def hdbscan_label(self, **parameters: Any) -> pl.Expr:
        """`hdbscan_label` of the model's columns."""
        return self._scoring(hdbscan_label, **parameters)

    def score(self, frame: Any) -> pl.DataFrame:
        """Label the rows of a frame of any kind.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows with the model's columns and, for a fleet, its key column. A lazy frame is collected.

        Returns
        -------
        DataFrame
            The columns ``label`` and ``strength``; for a fleet also the key.
        """
        return super().score(frame).unnest("hdbscan_label")

    def thresholds(self, healthy: Any, *, false_alarm_rate: float = 0.01) -> pl.DataFrame:
        """Refuse: a label is no score, so there is no limit to exceed.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "acm.HdbscanModel: labels have no thresholds; choose a least strength, or take the distance to `centers`"
        )

    def _facts(self, model: dict[str, Any]) -> list[str]:
        noise = sum(label == -1 for label in model["labels"])
        validity = model["relative_validity"]
        quality = "" if validity is None else f", relative validity {validity:.3g}"
        return [*super()._facts(model), f"clusters of {model['sizes']} rows, {noise} of noise{quality}"]
