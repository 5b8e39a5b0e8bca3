"""Overall model residual: rows that the sensors' own relations to each other do not explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias

import polars as pl

from acm_rs import _checks, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model

__all__ = ["OmrModel", "omr_contributions", "omr_fit", "omr_score"]

KIND = "omr"
OmrMethod: TypeAlias = Literal["pca", "ridge"]


def omr_fit(
    expr: IntoColumns,
    *,
    method: OmrMethod = "pca",
    n_components: int = 5,
    alpha: float = 1.0,
    min_present: float = 0.5,
    strict: bool = True,
) -> pl.Expr:
    """Learn to reconstruct each row from itself: a model for `omr_score` and `omr_contributions`.

    Columns are standardised (mean, and standard deviation of the population) and reconstructed; what is left, the
    residual, is small while the sensors agree with each other as they used to.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them.
    method : {"pca", "ridge"}
        ``"pca"`` (default): by the leading principal components, at most one less than columns. ``"ridge"``: each
        column by ridge regression on all others.
    n_components : int
        Largest number of components of ``"pca"``, at least 1; default 5.
    alpha : float
        Penalty of ``"ridge"``, at least 0; default 1. It is added to sums over all rows of standardised columns.
    min_present : float
        Share of the columns that a row needs, above 0 and at most 1; default 0.5. Missing cells of such a row are
        replaced by the medians; other rows are left out.
    strict : bool
        Whether it is an error if nothing can be learnt; default True. Otherwise the model is null then.

    Returns
    -------
    Expr
        One row: the model, a struct named ``omr_fit``. Besides what every model has, it holds ``center`` and ``scale``
        for each column, ``method``, ``vectors`` (the components, or the rows that give each column's residual),
        ``tau``, the unit of the score, and ``variances`` of the residuals.

    Notes
    -----
    Null, NaN and infinity are missing. Columns that never change or are never present are dropped; the model says which
    and why. Cost: ``rows * columns ** 2``; scoring with ``"ridge"`` is dear on wide data, ``columns ** 2`` for each
    row. ACM's third method, partial least squares of the columns on themselves, has the solution of ``"pca"``. All
    ridge regressions come from one inverse, in Float64, where ACM solves each and keeps Float32.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 5.0], "y": [2.0, 4.1, 6.0, 8.1, 9.9]})
    >>> model = df.select(acm.omr_fit(["x", "y"]))
    >>> new = pl.DataFrame({"x": [2.0, 2.0], "y": [4.0, 9.0]})
    >>> new.select(acm.omr_score(["x", "y"], model) > 10).to_series().to_list()
    [False, True]
    """
    name = "omr_fit"
    return call(
        name,
        [one_input(name, expr, always_pack=True)],
        gives="one_row",
        method=_checks.choice(name, "method", method, ("pca", "ridge")),
        n_components=_checks.integer(name, "n_components", n_components, 1),
        alpha=_checks.number(name, "alpha", alpha, positive=False),
        min_present=_checks.share(name, "min_present", min_present),
        strict=_checks.flag(name, "strict", strict),
    )


def omr_score(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    clip: float | None = None,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Score how badly each row is reconstructed: the norm of its residual in units of the usual spread of norms.

    ``|r| / tau`` with ``tau = 1.4826 * MAD`` of the norms of the train rows, or their standard deviation where that is
    0, and at least 1e-6.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        The columns that the model was fitted on, in any order; others are ignored.
    model : Series, DataFrame, Expr or OmrModel
        What `omr_fit` gives; with `by` a frame of a key column and a column of models. An expression is one model for
        the whole call, and such a call does not stream.
    clip : float or None
        Largest score, above 0; default None: none. ACM clips at 10.
    by : str, Expr or None
        Key of the model of each row, text or integers; default None: the `by` of a model class that was fitted with
        one, else one model for all rows.
    on_unknown : {"null", "error"}
        What becomes of rows whose key no model is for; default "null". A missing key always gives null.

    Returns
    -------
    Expr
        A score for each row, at least 0, named ``omr_score``; Float32 only if all columns are. Null where fewer than
        `min_present` of the model's columns are present.

    Notes
    -----
    Row by row: it streams. Cost: four operations per column and component, with ridge two per pair of columns. Missing
    cells are replaced by the medians of the model. As in ACM, the score is a ratio and
    not centred: usual rows score about ``median(|r|) / tau``, typically 3 or 4, more where there are many columns.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 5.0], "y": [2.0, 4.1, 6.0, 8.1, 9.9]})
    >>> model = df.select(acm.omr_fit(["x", "y"], method="ridge"))
    >>> df.select(acm.omr_score(["x", "y"], model, clip=1).max()).item()
    1.0
    """
    name = "omr_score"
    most = None if clip is None else _checks.number(name, "clip", clip, positive=True)
    return _models.score(name, KIND, expr, model, by=by, on_unknown=on_unknown, clip=most)


def omr_contributions(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    scaled: bool = False,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Contributions of each column to the residual of each row: where to look first.

    ``r_j^2 / |r|^2``, the shares of the columns, which add up to 1.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        The columns that the model was fitted on, in any order, and others.
    model : Series, DataFrame, Expr or OmrModel
        What `omr_fit` gives; with `by` a frame of a key column and a column of models. An expression is one model for
        the whole call, and such a call does not stream.
    scaled : bool
        Whether to give ``r_j^2 / (v_j + 1e-9)`` instead, with the variance ``v_j`` of the train rows' residuals of that
        column; default False. It tells what is unusual for the column, where shares favour columns that are always hard
        to reconstruct.
    by : str, Expr or None
        Key of the model of each row, text or integers; default None: the `by` of a model class that was fitted with
        one, else one model for all rows.
    on_unknown : {"null", "error"}
        What becomes of rows whose key no model is for; default "null". A missing key always gives null.

    Returns
    -------
    Expr
        Struct named ``omr_contributions`` with a field for each column of `expr` under its name; Float32 only if all
        columns are. Null for columns that the model does not hold, where fewer than `min_present` of its columns are
        present, and shares also where a row is reconstructed exactly.

    Notes
    -----
    Row by row: it streams. Cost: that of `omr_score`. ACM divides by the variance over the batch that is scored, so
    that a sensor that is bad all through it hides itself, and weighs some features down; we do neither.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.0], "z": [1.0, 2.0, 3.0, 4.1]})
    >>> model = df.select(acm.omr_fit(["x", "y", "z"], n_components=1))
    >>> new = pl.DataFrame({"x": [2.5], "y": [2.5], "z": [5.5]})
    >>> shares = new.select(acm.omr_contributions(["x", "y", "z"], model)).unnest("omr_contributions")
    >>> shares.row(0, named=True)["z"] > 0.6
    True
    """
    name = "omr_contributions"
    flag = _checks.flag(name, "scaled", scaled)
    return _models.score(name, KIND, expr, model, by=by, on_unknown=on_unknown, scaled=flag)


class OmrModel(Model):
    """An overall model residual, or with `by` a fleet of them.

    Parameters
    ----------
    data : DataFrame or Series
        What `omr_fit` gave: one row; or a frame of a key column and a model column.
    by : str or None
        Name of the key column of a fleet; default None: one model.
    """

    kind: ClassVar[str] = KIND
    scores = {"omr_score": omr_score}  # noqa: RUF012

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        by: str | None = None,
        method: OmrMethod = "pca",
        n_components: int = 5,
        alpha: float = 1.0,
        min_present: float = 0.5,
        strict: bool = True,
    ) -> Self:
        """Fit on the columns of a frame.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows to learn from. A lazy frame is collected.
        columns : list of str, str or None
            Columns to learn; default None: all numeric ones.
        by : str or None
            Key column: one model for each of its values, rows without one are left out; default None: one model.
        method, n_components, alpha, min_present, strict
            As in `omr_fit`.

        Returns
        -------
        OmrModel
            The fitted model.
        """

        def learn(names: list[str]) -> pl.Expr:
            return omr_fit(
                names,
                method=method,
                n_components=n_components,
                alpha=alpha,
                min_present=min_present,
                strict=strict,
            )

        return cls._fit(frame, columns, by, learn)

    def _facts(self, model: dict[str, Any]) -> list[str]:
        vectors = len(model["vectors"]) // len(model["columns"])
        how = f"{vectors} component{'s' * (vectors != 1)}" if model["method"] == "pca" else "ridge regressions"
        return [*super()._facts(model), how, f"tau {model['tau']:.4g}"]
