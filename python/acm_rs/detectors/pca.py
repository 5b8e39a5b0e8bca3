"""Principal components: rows that break the usual correlations (SPE), and rows that lie far out along them (T2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias

import polars as pl

from acm_rs import _checks, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model

__all__ = ["PcaModel", "pca_contributions", "pca_fit", "pca_scores", "pca_spe", "pca_t2"]

KIND = "pca"
PcaScale: TypeAlias = Literal["robust", "standard", "none"]
MOST_COMPONENTS = 1_000_000  # far beyond use; as many fields has the result of `pca_scores`


def pca_fit(
    expr: IntoColumns,
    n_components: int = 5,
    *,
    scale: PcaScale = "robust",
    confidence: float = 0.99,
    min_present: float = 0.5,
    strict: bool = True,
) -> pl.Expr:
    """Learn the principal components of the scaled columns: a model for `pca_spe`, `pca_t2` and their contributions.

    ``x = (reading - center) / scale``, ``z = x - mean``; the components are the leading eigenvectors of the covariance
    of ``z`` (divisor ``rows - 1``).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    n_components : int
        Largest number of components, at least 1; default 5. There are never more than columns less one (with as many,
        nothing would be left for SPE), rows less one, or the rank of the data.
    scale : {"robust", "standard", "none"}
        ``"robust"`` (default): the median and the interquartile range (linear interpolation) or, where that is 0 or no
        more than rounding, the standard deviation, so that a column that hardly ever moves does not outweigh the
        others. ``"standard"``: the mean and the standard deviation (of the population). ``"none"``: readings as they
        are.
    confidence : float
        Share of usual rows below each limit, above 0 and below 1; default 0.99.
    min_present : float
        Share of the columns that a row needs, above 0 and at most 1; default 0.5. Missing cells of such a row are
        replaced by the medians; other rows are left out.
    strict : bool
        Whether it is an error if nothing can be learnt; default True. Otherwise the model is null then.

    Returns
    -------
    Expr
        One row: the model, a struct named ``pca_fit``. Besides what every model has, it holds ``center``, ``scale`` and
        ``mean`` for each column, ``components`` (one after the other; the largest loading of each is positive),
        ``eigenvalues``, ``theta`` (the sums of the first three powers of the eigenvalues left out), ``spe_limit``
        (Jackson and Mudholkar 1979, or Box 1954 where that does not apply; null if nothing is left over) and
        ``t2_limit`` (of future rows, by the F distribution; Tracy, Young and Mason 1992).

    Notes
    -----
    Null, NaN and infinity are missing. Columns that never change or are never present are dropped; the model says which
    and why. The limits suppose normally distributed, independent rows, which readings seldom are:
    `PcaModel.thresholds` takes them from healthy rows instead. Cost: ``rows * columns ** 2``. Accurate at any offset
    and where columns nearly depend on each other. ACM takes zeros for missing, leaves columns without a range in their
    raw unit and clips readings at 1e6; we do not. Directions in degrees have no mean: fit the fields of `to_xy`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 5.0], "y": [2.0, 4.0, 6.0, 8.0, 11.0]})
    >>> model = df.select(acm.pca_fit(["x", "y"], 1, scale="standard"))
    >>> model.unnest("pca_fit").select(pl.col("eigenvalues").list.eval(pl.element().round(3)))
    shape: (1, 1)
    ┌─────────────┐
    │ eigenvalues │
    │ ---         │
    │ list[f64]   │
    ╞═════════════╡
    │ [2.495]     │
    └─────────────┘
    """
    name = "pca_fit"
    level = _checks.number(name, "confidence", confidence, positive=True)
    if level >= 1:
        raise _checks.invalid(name, "confidence", "< 1", confidence)
    return call(
        name,
        [one_input(name, expr, always_pack=True)],
        gives="one_row",
        n_components=_checks.integer(name, "n_components", n_components, 1),
        scale=_checks.choice(name, "scale", scale, ("robust", "standard", "none")),
        confidence=level,
        min_present=_checks.share(name, "min_present", min_present),
        strict=_checks.flag(name, "strict", strict),
    )


def pca_spe(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    mean_back: bool = True,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Squared prediction error: how far each row lies from the subspace of the components.

    ``|r|^2`` with ``r = z - V'Vz``, in squared units of the scales.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        The columns that the model was fitted on, in any order; others are ignored.
    model : Series, DataFrame, Expr or PcaModel
        What `pca_fit` gives; with `by` a frame of a key column and a column of models. An expression is one model for
        the whole call, and such a call does not stream.
    mean_back : bool
        Whether the mean of the scaled columns belongs to the reconstruction; default True. ACM leaves it out: False
        gives ``|r + mean|^2``, which is larger on skewed data.
    by : str, Expr or None
        Key of the model of each row, text or integers; default None: the `by` of a model class that was fitted with
        one, else one model for all rows.
    on_unknown : {"null", "error"}
        What becomes of rows whose key no model is for; default "null". A missing key always gives null.

    Returns
    -------
    Expr
        A number for each row, named ``pca_spe``; Float32 only if all columns are. Null where fewer than `min_present`
        of the model's columns are present, and of a model of a single column, where nothing is left over.

    Notes
    -----
    Row by row: it streams. Cost: four operations per column and component. Missing cells are replaced by the medians of
    the model. ACM clips SPE at 1e6; we do not.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.0], "unit": ["a", "a", "a", "a"]})
    >>> models = df.group_by("unit").agg(acm.pca_fit(["x", "y"], 1))
    >>> new = pl.DataFrame({"x": [9.0, 2.5, 2.5], "y": [9.0, 4.0, None], "unit": ["a", "a", "b"]})
    >>> new.select(acm.pca_spe(["x", "y"], models, by="unit").round(3))
    shape: (3, 1)
    ┌─────────┐
    │ pca_spe │
    │ ---     │
    │ f64     │
    ╞═════════╡
    │ 0.0     │
    │ 0.5     │
    │ null    │
    └─────────┘
    """
    flag = _checks.flag("pca_spe", "mean_back", mean_back)
    return _models.score("pca_spe", KIND, expr, model, by=by, on_unknown=on_unknown, mean_back=flag)


def pca_t2(
    expr: IntoColumns, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
) -> pl.Expr:
    """Hotelling's T2: how far out each row lies along the components, in units of their variance.

    ``sum t_a^2 / l_a`` of the scores ``t`` and the eigenvalues ``l`` of the model.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        The columns that the model was fitted on, in any order; others are ignored.
    model : Series, DataFrame, Expr or PcaModel
        What `pca_fit` gives; with `by` a frame of a key column and a column of models. An expression is one model for
        the whole call, and such a call does not stream.
    by : str, Expr or None
        Key of the model of each row, text or integers; default None: the `by` of a model class that was fitted with
        one, else one model for all rows.
    on_unknown : {"null", "error"}
        What becomes of rows whose key no model is for; default "null". A missing key always gives null.

    Returns
    -------
    Expr
        A number for each row, named ``pca_t2``; Float32 only if all columns are. Null where fewer than `min_present` of
        the model's columns are present.

    Notes
    -----
    Row by row: it streams. Cost: two operations per column and component. Missing cells are replaced by the medians of
    the model. ACM clips T2 at 1e6; we do not.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.0]})
    >>> model = df.select(acm.pca_fit(["x", "y"], 1))
    >>> df.select(acm.pca_t2(["x", "y"], model).round(3)).to_series().to_list()
    [1.35, 0.15, 0.15, 1.35]
    """
    return _models.score("pca_t2", KIND, expr, model, by=by, on_unknown=on_unknown)


def pca_scores(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    n_components: int | None = None,
    mean_back: bool = True,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Scores of each row on the components, with SPE and T2, in one pass.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        The columns that the model was fitted on, in any order; others are ignored.
    model : Series, DataFrame, Expr or PcaModel
        What `pca_fit` gives; with `by` a frame of a key column and a column of models. An expression is one model for
        the whole call, and such a call does not stream.
    n_components : int or None
        How many scores to give, at least 1; default None: as many as the model, or the largest of a fleet, has. An
        expression as model does not say it beforehand: then it is needed.
    mean_back : bool
        As in `pca_spe`.
    by : str, Expr or None
        Key of the model of each row, text or integers; default None: the `by` of a model class that was fitted with
        one, else one model for all rows.
    on_unknown : {"null", "error"}
        What becomes of rows whose key no model is for; default "null". A missing key always gives null.

    Returns
    -------
    Expr
        Struct named ``pca_scores`` with the fields ``pc_1``, ``pc_2``, ..., ``spe`` and ``t2``; Float32 only if all
        columns are. Null where fewer than `min_present` of the model's columns are present; scores on components that
        the model does not have are null.

    Notes
    -----
    Row by row: it streams. Cost: that of `pca_spe`, so that it is cheaper than `pca_spe` and `pca_t2` one after the
    other.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.0]})
    >>> model = df.select(acm.pca_fit(["x", "y"], scale="none"))
    >>> df.select(acm.pca_scores(["x", "y"], model)).unnest("pca_scores").columns
    ['pc_1', 'spe', 't2']
    """
    name = "pca_scores"
    if n_components is None:
        count = _components_of(model)
        if count is None:
            allowed = "given where `model` is an expression, which does not say how many components it has"
            raise _checks.invalid(name, "n_components", allowed, n_components)
    else:
        count = _checks.integer(name, "n_components", n_components, 1, MOST_COMPONENTS)
    flag = _checks.flag(name, "mean_back", mean_back)
    return _models.score(name, KIND, expr, model, by=by, on_unknown=on_unknown, n_components=count, mean_back=flag)


def _components_of(model: IntoFitted) -> int | None:
    """Most components of a model or a fleet; None if they are not known yet. What is no model is refused later."""
    data: object = _models.opened(model)[0]
    if isinstance(data, pl.Expr):
        return None
    series = list(data) if isinstance(data, pl.DataFrame) else [data]
    found = [
        len(values)
        for one in series
        if isinstance(one, pl.Series) and _models.is_model(one, KIND)
        for values in one.struct.unnest()["eigenvalues"]
        if values is not None
    ]
    return max(found, default=1)


def pca_contributions(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    mean_back: bool = True,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Contributions of each column to SPE and T2 of each row: where to look first.

    To SPE ``r_j^2``, to T2 ``z_j * sum_a t_a v_aj / l_a`` (complete decomposition; Alcala and Qin 2011). They add up to
    `pca_spe` and `pca_t2`.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        The columns that the model was fitted on, in any order, and others.
    model : Series, DataFrame, Expr or PcaModel
        What `pca_fit` gives; with `by` a frame of a key column and a column of models. An expression is one model for
        the whole call, and such a call does not stream.
    mean_back : bool
        As in `pca_spe`.
    by : str, Expr or None
        Key of the model of each row, text or integers; default None: the `by` of a model class that was fitted with
        one, else one model for all rows.
    on_unknown : {"null", "error"}
        What becomes of rows whose key no model is for; default "null". A missing key always gives null.

    Returns
    -------
    Expr
        Struct named ``pca_contributions`` with the fields ``{column}_spe`` and ``{column}_t2`` for each column of
        `expr`; Float32 only if all columns are. Null for columns that the model does not hold, and where fewer than
        `min_present` of its columns are present.

    Notes
    -----
    Row by row: it streams. Cost: twice that of `pca_spe`. Contributions to T2 may be negative. A fault smears over the
    columns that correlate with the faulty one, so the largest contribution is where to look first, no proof.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.0], "z": [1.0, 2.0, 3.0, 4.0]})
    >>> model = df.select(acm.pca_fit(["x", "y", "z"], 1))
    >>> new = pl.DataFrame({"x": [2.5], "y": [2.5], "z": [5.5]})
    >>> shares = acm.pca_contributions(["x", "y", "z"], model).struct.field("x_spe", "y_spe", "z_spe")
    >>> new.select(shares.round(3)).rows()
    [(0.444, 0.444, 1.778)]
    """
    name = "pca_contributions"
    flag = _checks.flag(name, "mean_back", mean_back)
    return _models.score(name, KIND, expr, model, by=by, on_unknown=on_unknown, mean_back=flag)


class PcaModel(Model):
    """Principal components, or with `by` a fleet of them.

    Parameters
    ----------
    data : DataFrame or Series
        What `pca_fit` gave: one row; or a frame of a key column and a model column.
    by : str or None
        Name of the key column of a fleet; default None: one model.
    """

    kind: ClassVar[str] = KIND
    scores = {"pca_spe": pca_spe, "pca_t2": pca_t2}  # noqa: RUF012

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        by: str | None = None,
        n_components: int = 5,
        scale: PcaScale = "robust",
        confidence: float = 0.99,
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
        n_components, scale, confidence, min_present, strict
            As in `pca_fit`.

        Returns
        -------
        PcaModel
            The fitted model.
        """

        def learn(names: list[str]) -> pl.Expr:
            return pca_fit(
                names,
                n_components,
                scale=scale,
                confidence=confidence,
                min_present=min_present,
                strict=strict,
            )

        return cls._fit(frame, columns, by, learn)

    def _facts(self, model: dict[str, Any]) -> list[str]:
        held = sum(model["eigenvalues"])
        total = held + model["theta"][0]
        count = len(model["eigenvalues"])
        facts = [f"{count} component{'s' * (count != 1)} with {100 * held / total:.1f} % of the variance"]
        limits = {"SPE": model["spe_limit"], "T2": model["t2_limit"]}
        facts += [f"{name} limit {limit:.4g}" for name, limit in limits.items() if limit is not None]
        return [*super()._facts(model), *facts]
