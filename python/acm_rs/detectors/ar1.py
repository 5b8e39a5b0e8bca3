"""First-order autoregression: what the last reading of a sensor says about the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias

import polars as pl
from polars.selectors import is_selector

from acm_rs import _checks, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model

__all__ = ["Ar1Model", "ar1_fit", "ar1_residual", "ar1_z"]

Fuse: TypeAlias = Literal["mean", "median", "p95"]

# how `ar1_fit` fits unless it is told otherwise, and what is fitted where a score is given no model
PHI_CAP, SCALE_FLOOR = 0.999, 1e-6


def ar1_fit(
    expr: IntoColumns, *, phi_cap: float = PHI_CAP, scale_floor: float = SCALE_FLOOR, close_gaps: bool = False
) -> pl.Expr:
    """How each column follows its own last reading: a model for `ar1_residual` and `ar1_z`.

    With ``y = x - center``, ``center`` is the median, ``phi`` is ``sum(y_t * y_{t-1}) / sum(y_{t-1}**2)``, and
    ``scale`` is ``1.4826 * median(|r - median(r)|)`` of the residuals ``r_t = y_t - phi * y_{t-1}``.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    phi_cap : float
        Largest size of ``phi``, from 0 to 1; default 0.999.
    scale_floor : float
        Smallest ``scale``, at least 0, in the unit of the columns; default 1e-6.
    close_gaps : bool
        True takes the readings before and after a gap as neighbours, as ACM does; default False: only neighbouring
        rows that are both present make a pair.

    Returns
    -------
    Expr
        One row: a struct named ``ar1_fit`` with the lists ``columns``, ``center``, ``phi``, ``scale`` (Float64; null
        where a column has no reading) and ``readings``.

    Notes
    -----
    Null, NaN and infinity are missing. ``phi`` is 0 with fewer than three readings, without a pair, and where the
    readings differ by no more than their rounding (16 times 2.2e-16 of the largest); ACM's limit is a variance of
    1e-8, whatever the unit, which makes constants of sensors in small units. The median is no least-squares center, so
    this is not the AR(1) of a textbook; one outlier moves it less. Cost: three medians and a few passes.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 4.0, 3.0, 2.0, 5.0]})
    >>> df.select(acm.ar1_fit("x")).unnest("ar1_fit").select(pl.col("center", "phi", "scale").list.first().round(4))
    shape: (1, 3)
    ┌────────┬─────────┬────────┐
    │ center ┆ phi     ┆ scale  │
    │ ---    ┆ ---     ┆ ---    │
    │ f64    ┆ f64     ┆ f64    │
    ╞════════╪═════════╪════════╡
    │ 3.0    ┆ -0.6667 ┆ 1.2355 │
    └────────┴─────────┴────────┘
    """
    operation = "ar1_fit"
    cap = _checks.number(operation, "phi_cap", phi_cap, positive=False)
    if cap > 1:
        raise _checks.invalid(operation, "phi_cap", "between 0 and 1", phi_cap)
    return call(
        operation,
        [one_input(operation, expr, always_pack=True)],
        gives="one_row",
        phi_cap=cap,
        scale_floor=_checks.number(operation, "scale_floor", scale_floor, positive=False),
        close_gaps=_checks.flag(operation, "close_gaps", close_gaps),
    )


def ar1_residual(
    expr: IntoColumns,
    model: IntoFitted | None = None,
    *,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Take from each reading what the one before says: ``x_t - (center + phi * (x_{t-1} - center))``.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns, all of them known to the model.
    model : Series, DataFrame, Ar1Model, Expr or None
        What `ar1_fit` gave, one row, or with `by` a frame of a key column and a model column. Default None: fitted
        on the same rows, so each residual knows the rows that come later.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``.

    Returns
    -------
    Expr
        The columns under their names or, of a list or selector, a struct of them named ``ar1_residual``; Float32 for
        Float32, else Float64. Null where the reading is missing, where no model applies, and in the first row,
        which has no predecessor.

    Notes
    -----
    Where only the predecessor is missing, the center is the prediction, as in ACM: the residual is then the reading's
    whole distance from it, for slow sensors much more than usual. With a model the operation needs the row and the one
    before it alone, and streams; a model that is an expression, or None, needs all rows. Several series in one frame:
    ``.over("asset", order_by="time")``, or the first row of one follows the last row of another. Cost: a few operations
    per reading.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 4.0, 3.0, 2.0, None, 5.0]})
    >>> df.select(acm.ar1_residual("x", df[:4].select(acm.ar1_fit("x"))))
    shape: (6, 1)
    ┌───────────┐
    │ x         │
    │ ---       │
    │ f64       │
    ╞═══════════╡
    │ null      │
    │ 0.947368  │
    │ 1.052632  │
    │ -0.315789 │
    │ null      │
    │ 2.5       │
    └───────────┘
    """
    return _each_column("ar1_residual", expr, _score("ar1_residual", expr, model, by, on_unknown))


def ar1_z(
    expr: IntoColumns,
    model: IntoFitted | None = None,
    *,
    fuse: Fuse | None = None,
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """How unusual each reading is after the one before it: the residual of `ar1_residual` in units of its usual spread.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns, all of them known to the model.
    model : Series, DataFrame, Ar1Model, Expr or None
        What `ar1_fit` gave, one row, or with `by` a frame of a key column and a model column. Default None: fitted
        on the same rows, so each score knows the rows that come later.
    fuse : "mean", "median", "p95" or None
        One score for all columns of a row: the mean, the median or the quantile at 0.95 (by linear interpolation) of
        the sizes ``|z|`` that are present. Default None: a signed score for each column.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``.

    Returns
    -------
    Expr
        The columns under their names or, of a list or selector, a struct of them named ``ar1_z``, Float32 for Float32,
        else Float64. With `fuse` one column named ``ar1_z``, Float32 only if all columns are. Null as in
        `ar1_residual`, and where the scale is 0.

    Notes
    -----
    Streams with a model, as `ar1_residual` does, and needs ``.over("asset", order_by="time")`` as that does. ACM
    scores 0 in the first row, and in all rows where four fifths of the columns have a ``phi`` of 0; both would pass for
    healthy here and are not done. Cost: a few operations per reading; with `fuse` by median or p95 also a selection in
    each row.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> train = pl.DataFrame({"x": [1.0, 4.0, 3.0, 2.0, 5.0, 4.0], "y": [0.0, 1.0, 0.0, 2.0, 1.0, 1.0]})
    >>> model = train.select(acm.ar1_fit(["x", "y"]))
    >>> new = pl.DataFrame({"x": [3.0, 3.5, 9.0], "y": [1.0, 1.0, None]})
    >>> new.select(acm.ar1_z(["x", "y"], model, fuse="mean").round(3))
    shape: (3, 1)
    ┌───────┐
    │ ar1_z │
    │ ---   │
    │ f64   │
    ╞═══════╡
    │ null  │
    │ 0.042 │
    │ 4.637 │
    └───────┘
    """
    operation = "ar1_z"
    word = None if fuse is None else _checks.choice(operation, "fuse", fuse, ("mean", "median", "p95"))
    scores = _score(operation, expr, model, by, on_unknown, fuse=word)
    return scores if word is not None else _each_column(operation, expr, scores)


def _score(
    operation: str, expr: IntoColumns, model: IntoFitted | None, by: str | pl.Expr | None, on_unknown: str, **own: Any
) -> pl.Expr:
    if model is None:
        if by is not None:
            raise _checks.invalid(operation, "by", "left out without a `model`; fit on each with .over(by)", by)
        if _checks.choice(operation, "on_unknown", on_unknown, ("null", "error")) == "error":
            raise _checks.invalid(operation, "on_unknown", "left out without a `model`", on_unknown)
        own |= {"fit": {"phi_cap": PHI_CAP, "scale_floor": SCALE_FLOOR, "close_gaps": False}}
        return call(operation, [one_input(operation, expr, always_pack=True)], unknown_is_error=False, **own)
    own |= {"fit": None}
    own_inputs = [one_input(operation, expr, always_pack=True).shift(1)]
    key = _models.opened(model)[1] if by is None else by
    if key is not None:  # a row before that belongs to another machine says nothing
        own_inputs.append(_models.column(operation, "by", key).shift(1))
    return _models.score(operation, "ar1", expr, model, by=by, on_unknown=on_unknown, own=own_inputs, **own)


def _each_column(operation: str, expr: IntoColumns, scores: pl.Expr) -> pl.Expr:
    """One column in, one out; a list or a selector stays a struct."""
    if isinstance(expr, (list, tuple)) or is_selector(expr):
        return scores
    return scores.struct.field("*")


def _fused(expr: IntoColumns, model: Ar1Model) -> pl.Expr:
    return _of_each(ar1_z(expr, model, fuse="mean"), model)


def _of_each(scores: pl.Expr, model: Ar1Model) -> pl.Expr:
    """Score a fleet asset by asset, so that the row before is one of the same asset."""
    return scores if model.by is None else scores.over(model.by)


class Ar1Model(Model):
    """A fitted AR(1) of each column, or with `by` a fleet of them with a key for each."""

    kind = "ar1"
    scores: ClassVar[dict[str, Callable[..., pl.Expr]]] = {"ar1_z": _fused}

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        by: str | None = None,
        phi_cap: float = 0.999,
        scale_floor: float = 1e-6,
        close_gaps: bool = False,
    ) -> Self:
        """Fit on the columns of a frame. See :func:`acm_rs.ar1_fit`.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows in the order of time.
        columns : str, list of str or None
            Columns to fit; default None: all numeric ones.
        by : str or None
            Key column of a fleet, one model for each key; default None: one model.
        phi_cap, scale_floor, close_gaps
            As in `ar1_fit`.

        Returns
        -------
        Ar1Model
            The fitted model.
        """

        def fit(names: list[str]) -> pl.Expr:
            return ar1_fit(names, phi_cap=phi_cap, scale_floor=scale_floor, close_gaps=close_gaps)

        return cls._fit(frame, columns, by, fit)

    def residual(self) -> pl.Expr:
        """Residuals of the model's columns. See :func:`acm_rs.ar1_residual`.

        Returns
        -------
        Expr
            A struct of the columns.
        """
        return self._scoring(ar1_residual)

    def z(self, *, fuse: Fuse | None = None) -> pl.Expr:
        """Scores of the model's columns. See :func:`acm_rs.ar1_z`.

        Parameters
        ----------
        fuse : "mean", "median", "p95" or None
            As in `ar1_z`.

        Returns
        -------
        Expr
            A struct of the columns or, with `fuse`, one column.
        """
        return self._scoring(ar1_z, fuse=fuse)

    def _scoring(self, operation: Any, **parameters: Any) -> pl.Expr:
        return _of_each(super()._scoring(operation, **parameters), self)

    def _facts(self, model: dict[str, Any]) -> list[str]:
        phis = zip(model["columns"][:5], model["phi"], strict=False)
        shown = ", ".join(f"{column} {'unknown' if phi is None else f'{phi:.3g}'}" for column, phi in phis)
        more = f" and {len(model['columns']) - 5} more" if len(model["columns"]) > 5 else ""
        return [f"{len(model['columns'])} columns", f"phi of {shown}{more}"]
