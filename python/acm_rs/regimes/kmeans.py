"""k-means: the operating points of a machine, and the nearest of them to each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import polars as pl

from acm_rs import _checks, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model

__all__ = ["KMeansModel", "kmeans_distance", "kmeans_fit", "kmeans_label"]


def kmeans_fit(
    expr: IntoColumns,
    k: int,
    *,
    n_init: int = 10,
    max_iter: int = 300,
    tol: float = 1e-4,
    init: Any = None,
    seed: int = 42,
    scale: Literal["standard", "robust", "none"] = "standard",
    min_present: float = 1.0,
    strict: bool = True,
) -> pl.Expr:
    """Fit k centres to the rows of all columns: a model for `kmeans_label` and `kmeans_distance`.

    The centres minimise the inertia, ``sum_i min_c |x_i - m_c|^2`` of the scaled columns, as far as Lloyd's iteration
    (Lloyd 1982) from starts by k-means++ (Arthur and Vassilvitskii 2007) finds the least of it.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them.
    k : int
        Number of centres, at least 1.
    n_init : int
        Starts, at least 1, of which the one with the least inertia is kept; default 10.
    max_iter : int
        Most rounds of a start, at least 1; default 300.
    tol : float
        A start ends when the squares of the moves of all centres add up to no more than this share of the mean variance
        of the columns; default 1e-4.
    init : array, nested list, DataFrame or None
        Start from these centres instead, once: k by columns, in the order and the units of the columns of `expr`. Also
        flat, as ``centers`` lie in a model. Default None: `n_init` random starts.
    seed : int
        Seed of the random starts, at least 0; default 42. The same seed gives the same model, whatever the number of
        threads.
    scale : "standard", "robust" or "none"
        What columns are centred on and divided by before, so that their units do not matter: ``"standard"`` (default),
        the mean and the standard deviation; ``"robust"``, the median and the distance between the quartiles, or the
        standard deviation where that is 0; ``"none"``.
    min_present : float
        Share of a row's columns that must be present, above 0 up to 1; default 1: all of them, because a cell that
        was filled with a median lies between the regimes. Missing cells of rows that know enough become the medians
        of their columns, other rows are left out.
    strict : bool
        Whether data that cannot be fitted are an error (default) or give a null model.

    Returns
    -------
    Expr
        One row: a struct named ``kmeans_fit``. Besides what every model of many columns knows (``columns``,
        ``medians``, ``rows``, ``rows_left_out``, ``dropped`` and why), the ``center`` and ``scale`` of each column, the
        ``centers`` in the units of the readings, one after the other, with their ``sizes`` in rows and their
        ``labels`` (0 to k - 1), the ``inertia``, in squares of scaled units, ``iterations`` and ``converged``.

    Notes
    -----
    Null, NaN and infinity are missing. Constant columns are dropped. A cluster that loses all rows moves to the row
    that lies farthest from its centre; k centres need k different rows. Cost: about 5 operations per row, centre and
    column and round, eight rows at once. With ``scale="none"`` and the same `init` the centres are scikit-learn's.
    ACM tries 2 to 6 centres as the last of its methods, on columns that it has standardised before.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> wind = [4.0, 4.2, 4.4, 12.0, 12.2, 12.4]
    >>> df = pl.DataFrame({"wind": wind, "power": [v**3 for v in wind]})
    >>> model = df.select(acm.kmeans_fit(["wind", "power"], 2))
    >>> acm.KMeansModel(model).centers.sort("wind").select("size", pl.col("wind", "power").round(1))
    shape: (2, 3)
    ┌──────┬──────┬────────┐
    │ size ┆ wind ┆ power  │
    │ ---  ┆ ---  ┆ ---    │
    │ i64  ┆ f64  ┆ f64    │
    ╞══════╪══════╪════════╡
    │ 3    ┆ 4.2  ┆ 74.4   │
    │ 3    ┆ 12.2 ┆ 1816.8 │
    └──────┴──────┴────────┘
    """
    name = "kmeans_fit"
    count = _checks.integer(name, "k", k, 1)
    return call(
        name,
        [one_input(name, expr, always_pack=True)],
        gives="one_row",
        k=count,
        n_init=_checks.integer(name, "n_init", n_init, 1),
        max_iter=_checks.integer(name, "max_iter", max_iter, 1),
        tol=_checks.number(name, "tol", tol, positive=False),
        init=None if init is None else _init(name, init, count),
        seed=_checks.integer(name, "seed", seed, 0, _checks.LARGEST_SEED),
        scale=_checks.choice(name, "scale", scale, ("standard", "robust", "none")),
        min_present=_checks.share(name, "min_present", min_present),
        strict=_checks.flag(name, "strict", strict),
    )


def _init(name: str, value: Any, k: int) -> list[float]:
    rows = value.rows() if isinstance(value, pl.DataFrame) else value
    centers, shape = _checks.numbers(name, "init", rows)
    # a flat list, as a model holds it, has no shape of its own
    if not centers or (shape[0] != k if len(shape) == 2 else len(shape) > 2 or shape[0] % k):
        raise _checks.invalid(name, "init", f"of shape k by columns with k = {k}", value)
    return centers


def kmeans_label(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Label rows with the nearest centre of a k-means model.

    ``argmin_c |x - m_c|`` of the scaled columns, the first of equals.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns, among them those of the model, in any order; always one call over all of them.
    model : Series, DataFrame, Expr or KMeansModel
        What `kmeans_fit` gave: a Series or frame of one row, or an expression that gives it. With `by` a fleet of
        models: a frame with a key column and a model column, as ``group_by(key).agg(kmeans_fit(...))`` makes it.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``. ``"error"`` raises.

    Returns
    -------
    Expr
        Column named ``kmeans_label``, Int64: the label of a centre, from 0 on unless `align_labels` has changed it.
        Null where too few columns are present for the model's ``min_present`` and where no model applies.

    Notes
    -----
    Null, NaN and infinity are missing: such cells become the medians of the fit where enough others are present.
    Cost: 3 operations per row, centre and column, eight rows at once; row by row, so that it streams, unless `model` is
    an expression.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 0.1, None, 9.0, 9.1, 9.2]})
    >>> model = df.select(acm.kmeans_fit("x", 2))
    >>> labels = df.select(acm.kmeans_label("x", model)).to_series()
    >>> labels.n_unique(), (labels == labels[0]).to_list()
    (3, [True, True, None, False, False, False])
    """
    return _models.score("kmeans_label", "kmeans", expr, model, by=by, on_unknown=on_unknown)


def kmeans_distance(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Score rows by their distance from the nearest centre of a k-means model.

    ``min_c |x - m_c|`` of the scaled columns: rows far from all centres belong to no regime that the model knows.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns, among them those of the model, in any order; always one call over all of them.
    model : Series, DataFrame, Expr or KMeansModel
        What `kmeans_fit` gave: a Series or frame of one row, or an expression that gives it. With `by` a fleet of
        models: a frame with a key column and a model column, as ``group_by(key).agg(kmeans_fit(...))`` makes it.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``. ``"error"`` raises.

    Returns
    -------
    Expr
        Column named ``kmeans_distance``, at least 0, Float32 if all columns are, else Float64. Null where too few
        columns are present for the model's ``min_present``, where no model applies, and where a reading lies so far
        away that the distance does not fit.

    Notes
    -----
    Null, NaN and infinity are missing: such cells become the medians of the fit where enough others are present.
    ``KMeansModel.thresholds`` gives the distance that a stated share of good rows exceeds. Cost: as of `kmeans_label`;
    row by row, so that it streams, unless `model` is an expression.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 3.0, 11.0, 13.0]})
    >>> model = df.select(acm.kmeans_fit("x", 2, scale="none"))
    >>> pl.DataFrame({"x": [2.5, 30.0]}).select(acm.kmeans_distance("x", model))
    shape: (2, 1)
    ┌─────────────────┐
    │ kmeans_distance │
    │ ---             │
    │ f64             │
    ╞═════════════════╡
    │ 0.5             │
    │ 18.0            │
    └─────────────────┘
    """
    return _models.score("kmeans_distance", "kmeans", expr, model, by=by, on_unknown=on_unknown)


class KMeansModel(Model):
    """k-means, or with `by` a fleet of models, as `kmeans_fit` fits them.

    Parameters
    ----------
    data : DataFrame or Series
        What `kmeans_fit` gave: one row; or a frame of a key column and a model column.
    by : str or None
        Name of the key column of a fleet; default None: one model.
    """

    kind = "kmeans"
    scores: ClassVar[dict[str, Callable[..., pl.Expr]]] = {"kmeans_distance": kmeans_distance}

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        k: int,
        by: str | None = None,
        n_init: int = 10,
        max_iter: int = 300,
        tol: float = 1e-4,
        init: Any = None,
        seed: int = 42,
        scale: Literal["standard", "robust", "none"] = "standard",
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
        k : int
            Number of centres.
        by : str or None
            Key column of a fleet; default None: one model.
        n_init, max_iter, tol, init, seed, scale, min_present, strict
            As of `kmeans_fit`.

        Returns
        -------
        KMeansModel
            The fitted model or fleet.
        """

        def fit(names: list[str]) -> pl.Expr:
            return kmeans_fit(
                names,
                k,
                n_init=n_init,
                max_iter=max_iter,
                tol=tol,
                init=init,
                seed=seed,
                scale=scale,
                min_present=min_present,
                strict=strict,
            )

        return cls._fit(frame, columns, by, fit)

    @property
    def centers(self) -> pl.DataFrame:
        """Centres in the units of the readings: a row each, with ``label``, ``size`` (rows of the fit) and the columns.

        Of a fleet after the key; null in columns that a model does not hold.
        """
        return self._centers()

    @property
    def inertia(self) -> pl.Series:
        """Sum of the squared scaled distances of the rows of the fit to their centres, of each model."""
        return self.data[self.kind].struct.field("inertia")

    def labels(self, frame: Any) -> pl.Series:
        """Label the rows of a frame of any kind.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows with the model's columns and, for a fleet, its key column. A lazy frame is collected.

        Returns
        -------
        Series
            A label for each row, named ``kmeans_label``.
        """
        return self._apply(frame, {"kmeans_label": kmeans_label})["kmeans_label"]

    def align_labels(self, old: KMeansModel) -> tuple[Self, pl.DataFrame]:
        """Give the centres the labels of the nearest centres of an older model.

        Parameters
        ----------
        old : KMeansModel
            A model or, for a fleet, a fleet with the same keys; models without an old one keep their labels.

        Returns
        -------
        KMeansModel
            The same model with the aligned labels.
        DataFrame
            ``label``, ``aligned`` and ``distance``, as of `acm_rs.align_labels`; for a fleet after the key.
        """
        return self._aligned(old)

    def kmeans_label(self, **parameters: Any) -> pl.Expr:
        """`kmeans_label` of the model's columns."""
        return self._scoring(kmeans_label, **parameters)

    def kmeans_distance(self, **parameters: Any) -> pl.Expr:
        """`kmeans_distance` of the model's columns."""
        return self._scoring(kmeans_distance, **parameters)

    def _facts(self, model: dict[str, Any]) -> list[str]:
        state = "" if model["converged"] else ", not converged"
        count = len(model["sizes"])
        fit = f"{count} centre{'s' * (count != 1)}, {model['iterations']} rounds{state}"
        inertia = model["inertia"]
        return [*super()._facts(model), fit, *([] if inertia is None else [f"inertia {inertia:.4g}"])]
