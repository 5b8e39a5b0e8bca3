"""Gaussian mixtures: how unlikely a row is among the usual states of a machine, and which of them it is in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import polars as pl

from acm_rs import _checks, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model

__all__ = ["GmmModel", "gmm_fit", "gmm_label", "gmm_score"]


def gmm_fit(
    expr: IntoColumns,
    k: int | None = None,
    *,
    k_range: Sequence[int] = (1, 5),
    covariance: Literal["diag", "full"] = "diag",
    scale: Literal["robust", "standard", "none"] = "robust",
    n_init: int = 3,
    max_iter: int = 100,
    tol: float = 1e-3,
    reg_covar: float = 1e-3,
    init: Mapping[str, Any] | None = None,
    seed: int = 42,
    min_present: float = 0.5,
    strict: bool = True,
) -> pl.Expr:
    """Fit a Gaussian mixture to the rows of all columns: a model for `gmm_score` and `gmm_label`.

    ``p(x) = sum_c w_c N(x; m_c, S_c)`` of the scaled columns, fitted by expectation and maximisation (Dempster, Laird
    and Rubin 1977) from the clusters of k-means.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them.
    k : int or None
        Number of components, at least 1; default None: that of `k_range` with the least BIC.
    k_range : pair of int
        Least and largest number of components to try, where `k` is not given, no more than there are different rows;
        default ``(1, 5)``.
    covariance : "diag" or "full"
        Covariance of a component: ``"diag"`` (default), a variance for each column, or ``"full"``.
    scale : "robust", "standard" or "none"
        What columns are centred on and divided by before: ``"robust"`` (default), the median and the distance between
        the quartiles, or the standard deviation where that is 0; ``"standard"``, the mean and the standard deviation;
        ``"none"``.
    n_init : int
        Starts for each number of components, at least 1, of which the likeliest is kept; default 3.
    max_iter : int
        Most rounds of a start, at least 1; default 100.
    tol : float
        A start ends when the mean log-likelihood changes by less than this; default 1e-3.
    reg_covar : float
        Added to every variance, in squares of scaled units, at least 0; default 1e-3.
    init : mapping or None
        Start from these parameters of scaled columns instead of k-means, once: ``weights`` of k components, ``means``,
        k by columns, and ``covariances``, k by columns, or k by columns by columns if full. Needs `k`.
    seed : int
        Seed of the random starts, at least 0; default 42. The same seed gives the same model, whatever the number of
        threads.
    min_present : float
        Share of a row's columns that must be present, above 0 up to 1; default 0.5. Missing cells of such rows become
        the medians of their columns, other rows are left out.
    strict : bool
        Whether data that cannot be fitted are an error (default) or give a null model.

    Returns
    -------
    Expr
        One row: a struct named ``gmm_fit``. Besides what every model of many columns knows (``columns``, ``medians``,
        ``rows``, ``rows_left_out``, ``dropped`` and why), the ``center`` and ``scale`` of each column, the ``weights``,
        ``means`` and ``covariances`` of scaled columns, component by component, their ``labels`` (0 to k - 1), the mean
        ``log_likelihood`` of a row, ``bic``, ``iterations``, ``converged``, and the ``bic`` of each number of
        components (``tried_k``, ``tried_bic``).

    Notes
    -----
    Null, NaN and infinity are missing. Constant columns are dropped. Cost of a round, eight rows at once: 9 operations
    per row, component and column, or 2 per pair of columns if full.
    ACM searches only up to 3 components, counts a scale of 0 as 1, and imputes the medians of the frame at hand.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> wind = [4.0, 4.2, 4.4, 4.1, 4.3, 12.0, 12.2, 12.4, 12.1, 12.3]
    >>> df = pl.DataFrame({"wind": wind, "power": [v**2 for v in wind]})
    >>> model = df.select(acm.gmm_fit(["wind", "power"], 2))
    >>> model.unnest("gmm_fit").select("columns", "weights", "converged")
    shape: (1, 3)
    ┌───────────────────┬────────────┬───────────┐
    │ columns           ┆ weights    ┆ converged │
    │ ---               ┆ ---        ┆ ---       │
    │ list[str]         ┆ list[f64]  ┆ bool      │
    ╞═══════════════════╪════════════╪═══════════╡
    │ ["wind", "power"] ┆ [0.5, 0.5] ┆ true      │
    └───────────────────┴────────────┴───────────┘
    """
    name = "gmm_fit"
    columns = one_input(name, expr, always_pack=True)
    pair = _k_range(name, k_range) if k is None else (_checks.integer(name, "k", k, 1),) * 2
    return call(
        name,
        [columns],
        gives="one_row",
        k_range=pair,
        covariance=_checks.choice(name, "covariance", covariance, ("diag", "full")),
        scale=_checks.choice(name, "scale", scale, ("robust", "standard", "none")),
        n_init=_checks.integer(name, "n_init", n_init, 1),
        max_iter=_checks.integer(name, "max_iter", max_iter, 1),
        tol=_checks.number(name, "tol", tol, positive=False),
        reg_covar=_checks.number(name, "reg_covar", reg_covar, positive=False),
        init=None if init is None else _init(name, init, k, covariance),
        seed=_checks.integer(name, "seed", seed, 0, _checks.LARGEST_SEED),
        min_present=_checks.share(name, "min_present", min_present),
        strict=_checks.flag(name, "strict", strict),
    )


def _k_range(name: str, value: object) -> tuple[int, int]:
    allowed = "two numbers of components, the least and the largest"
    if not isinstance(value, (tuple, list)):
        raise _checks.mistyped(name, "k_range", allowed, value)
    if len(value) != 2:
        raise _checks.invalid(name, "k_range", allowed, value)
    least, most = (_checks.integer(name, "k_range", v, 1) for v in value)
    if least > most:
        raise _checks.invalid(name, "k_range", "ascending", value)
    return least, most


def _init(name: str, value: object, k: int | None, covariance: str) -> tuple[list[float], list[float], list[float]]:
    allowed = "a mapping of `weights`, `means` and `covariances`"
    if not isinstance(value, Mapping):
        raise _checks.mistyped(name, "init", allowed, value)
    if set(value) != {"weights", "means", "covariances"}:
        raise _checks.invalid(name, "init", allowed, sorted(map(str, value)))
    if k is None:
        raise _checks.invalid(name, "k", "given together with `init`", k)
    weights, means, covariances = (
        _checks.numbers(name, f"init[{part!r}]", value[part]) for part in ("weights", "means", "covariances")
    )
    columns = len(means[0]) // k if len(means[0]) % k == 0 else -1
    shapes = {
        "weights": (weights[1], (k,)),
        "means": (means[1], (k, columns)),
        "covariances": (covariances[1], (k, columns) if covariance == "diag" else (k, columns, columns)),
    }
    for part, (shape, wanted) in shapes.items():
        # flat lists, as a model holds them, have no shape of their own
        if shape != wanted and shape != (math.prod(wanted),):
            words = " by ".join(["k", "columns", "columns"][: len(wanted)])
            raise _checks.invalid(name, f"init[{part!r}]", f"of shape {words} with k = {k}", value[part])
    return weights[0], means[0], covariances[0]


def gmm_score(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Score rows by how unlikely they are: ``-log p(x)`` of the scaled columns.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns, among them those of the model, in any order; always one call over all of them.
    model : Series, DataFrame, Expr or GmmModel
        What `gmm_fit` gave: a Series or frame of one row, or an expression that gives it. With `by` a fleet of models:
        a frame with a key column and a model column, as ``group_by(key).agg(gmm_fit(...))`` makes it.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``. ``"error"`` raises.

    Returns
    -------
    Expr
        Column named ``gmm_score``, the higher the more unusual, Float32 if all columns are, else Float64. Null where
        too few columns are present for the model's ``min_present``, where no model applies, and where a reading lies so
        far away that the score does not fit.

    Notes
    -----
    Null, NaN and infinity are missing: such cells become the medians of the fit. Cost: 4 operations per row, component
    and column, or 1 per pair of columns if full; row by row, so that it streams, unless `model` is an
    expression.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0, 4.0]})
    >>> model = df.select(acm.gmm_fit("x", 1))
    >>> pl.DataFrame({"x": [2.0, 20.0]}).select(acm.gmm_score("x", model).round(2))
    shape: (2, 1)
    ┌───────────┐
    │ gmm_score │
    │ ---       │
    │ f64       │
    ╞═══════════╡
    │ 0.57      │
    │ 81.41     │
    └───────────┘
    """
    return _models.score("gmm_score", "gmm", expr, model, by=by, on_unknown=on_unknown)


def gmm_label(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Label rows with the likeliest component of a Gaussian mixture.

    ``argmax_c w_c N(x; m_c, S_c)`` of the scaled columns, the first of equals.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns, among them those of the model, in any order; always one call over all of them.
    model : Series, DataFrame, Expr or GmmModel
        What `gmm_fit` gave: a Series or frame of one row, or an expression that gives it. With `by` a fleet of models:
        a frame with a key column and a model column, as ``group_by(key).agg(gmm_fit(...))`` makes it.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``. ``"error"`` raises.

    Returns
    -------
    Expr
        Column named ``gmm_label``, Int64: the label of a component, from 0 on unless `align_labels` has changed it.
        Null where too few columns are present for the model's ``min_present``, where no model applies, and where a
        reading lies so far away that no density fits.

    Notes
    -----
    Null, NaN and infinity are missing: such cells become the medians of the fit. Cost as of `gmm_score`; row by row, so
    that it streams, unless `model` is an expression.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 0.1, 0.2, 9.0, 9.1, 9.2]})
    >>> model = df.select(acm.gmm_fit("x", 2))
    >>> labels = df.select(acm.gmm_label("x", model)).to_series()
    >>> labels.n_unique(), (labels == labels[0]).to_list()
    (2, [True, True, True, False, False, False])
    """
    return _models.score("gmm_label", "gmm", expr, model, by=by, on_unknown=on_unknown)


class GmmModel(Model):
    """Gaussian mixture, as `gmm_fit` fits it."""

    kind = "gmm"
    scores: ClassVar[dict[str, Callable[..., pl.Expr]]] = {"gmm_score": gmm_score}

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        by: str | None = None,
        k: int | None = None,
        k_range: Sequence[int] = (1, 5),
        covariance: Literal["diag", "full"] = "diag",
        scale: Literal["robust", "standard", "none"] = "robust",
        n_init: int = 3,
        max_iter: int = 100,
        tol: float = 1e-3,
        reg_covar: float = 1e-3,
        init: Mapping[str, Any] | None = None,
        seed: int = 42,
        min_present: float = 0.5,
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
        k, k_range, covariance, scale, n_init, max_iter, tol, reg_covar, init, seed, min_present, strict
            As of `gmm_fit`.

        Returns
        -------
        GmmModel
            The fitted model or fleet.
        """

        def fit(names: list[str]) -> pl.Expr:
            return gmm_fit(
                names,
                k,
                k_range=k_range,
                covariance=covariance,
                scale=scale,
                n_init=n_init,
                max_iter=max_iter,
                tol=tol,
                reg_covar=reg_covar,
                init=init,
                seed=seed,
                min_present=min_present,
                strict=strict,
            )

        return cls._fit(frame, columns, by, fit)

    def align_labels(self, old: GmmModel) -> tuple[Self, pl.DataFrame]:
        """Give the components the labels of the nearest components of an older model.

        Parameters
        ----------
        old : GmmModel
            A model or, for a fleet, a fleet with the same keys; models without an old one keep their labels.

        Returns
        -------
        GmmModel
            The same model with the aligned labels.
        DataFrame
            ``label``, ``aligned`` and ``distance``, as of `acm_rs.align_labels`; for a fleet after the key.
        """
        return self._aligned(old)

    def gmm_score(self, **parameters: Any) -> pl.Expr:
        """`gmm_score` of the model's columns."""
        return self._scoring(gmm_score, **parameters)

    def gmm_label(self, **parameters: Any) -> pl.Expr:
        """`gmm_label` of the model's columns."""
        return self._scoring(gmm_label, **parameters)

    def _facts(self, model: dict[str, Any]) -> list[str]:
        state = "" if model["converged"] else ", not converged"
        fit = f"{len(model['weights'])} components, {model['covariance']}, {model['iterations']} rounds{state}"
        return [*super()._facts(model), fit, f"mean log-likelihood {model['log_likelihood']:.4g}"]
