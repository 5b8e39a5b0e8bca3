"""Robust scaling: readings in units of their usual spread, by a model that was fitted before.

A model is data: one row of a struct, with one field for each column. It is made in ``select`` or, one for each asset or
regime, in ``group_by().agg()``, and can be stored in a column of any file that keeps structs.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import polars as pl

from acm_rs import _checks, _models
from acm_rs._plugin import IntoColumns, call, one_input

__all__ = ["robust_scale", "robust_scale_fit"]

Model: TypeAlias = pl.Series | pl.DataFrame | pl.Expr


def robust_scale_fit(expr: IntoColumns) -> pl.Expr:
    """Center and scale of every column: a model for `robust_scale`.

    ``center`` is the median, ``scale`` is ``1.4826 * median(|x - median(x)|)``, for normally distributed readings the
    standard deviation (Hampel 1974).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.

    Returns
    -------
    Expr
        One row: a struct named ``robust_scale_fit`` with a field for each column, itself a struct of ``center``,
        ``scale``, ``p05``, ``p95`` (Float64, in the unit of the column; the quantiles by linear interpolation) and
        ``readings`` (Int64). Null where no reading is present; ``scale`` is 0 where more than half of them are equal.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. Cost: four selections, linear in the number of rows.
    Directions in degrees have no median: fit the fields of `to_xy`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 4.0, 8.0, None], "y": [5.0, 5.0, 5.0, 6.0, 7.0]})
    >>> model = df.select(acm.robust_scale_fit(["x", "y"]))
    >>> model.unnest("robust_scale_fit").select("x").unnest("x")
    shape: (1, 5)
    ┌────────┬────────┬──────┬─────┬──────────┐
    │ center ┆ scale  ┆ p05  ┆ p95 ┆ readings │
    │ ---    ┆ ---    ┆ ---  ┆ --- ┆ ---      │
    │ f64    ┆ f64    ┆ f64  ┆ f64 ┆ i64      │
    ╞════════╪════════╪══════╪═════╪══════════╡
    │ 3.0    ┆ 2.2239 ┆ 1.15 ┆ 7.4 ┆ 4        │
    └────────┴────────┴──────┴─────┴──────────┘
    """
    return call("robust_scale_fit", [one_input("robust_scale_fit", expr, always_pack=True)], gives="one_row")


def robust_scale(
    expr: IntoColumns,
    model: Model,
    *,
    scale_floor: float = 0.0,
    by: str | pl.Expr | None = None,
    default: pl.Series | pl.DataFrame | None = None,
    confidence: str | pl.Expr | None = None,
    min_confidence: float = 0.7,
    on_unknown: Literal["null", "error"] = "null",
) -> pl.Expr:
    """Scale readings to distances from their usual center, in units of their usual spread.

    ``(x - center) / max(scale, scale_floor)`` with the center and scale of the model.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns, all of them known to the model; always one call over all of them.
    model : Series, DataFrame or Expr
        What `robust_scale_fit` gave: a Series or frame of one row, or an expression that gives it. With `by` a fleet of
        models: a frame with a key column and a model column, one row for each key, as
        ``group_by(key).agg(robust_scale_fit(...))`` makes it.
    scale_floor : float
        Smallest scale, at least 0, in the unit of the columns; default 0: none.
    by : str, Expr or None
        Column of text or integers that names the model of each row, the asset or the regime; default None: one model
        for all.
    default : Series, DataFrame or None
        With `by`: the model of rows whose key is missing, has no model, or is not sure enough, say the model of the
        whole machine where `model` has one for each regime; default None: such rows have no result.
    confidence : str, Expr or None
        With `by`: how sure the key of each row is. A row takes the model of its key only if this is at least
        `min_confidence`; a missing confidence is 0. Default None: every key is sure.
    min_confidence : float
        Least confidence, a finite number of at least 0; default 0.7, as in ACM.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``, or the `default` model if there is one.
        ``"error"`` raises, so that a new asset does not go unnoticed.

    Returns
    -------
    Expr
        Struct named ``robust_scale`` with one field for each column under its name, without unit, Float32 for Float32,
        else Float64. Null where the reading is missing, where no model applies, and where the scale is 0.

    Notes
    -----
    Null, NaN and infinity are missing. Cost: a subtraction and a division per reading; row by row, so that it streams,
    unless `model` is an expression. ACM puts 1e-10 where a scale is 0, which gives scores of 1e10:
    `acm_rs.fast_features.ConfidenceGatedNormalizer`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> train = pl.DataFrame({"regime": [0, 0, 0, 1, 1, 1], "x": [1.0, 2.0, 4.0, 50.0, 60.0, 90.0]})
    >>> whole = train.select(acm.robust_scale_fit("x"))
    >>> regimes = train.group_by("regime").agg(acm.robust_scale_fit("x"))
    >>> new = pl.DataFrame({"x": [2.0, 60.0, 60.0], "regime": [0, 1, 1], "sure": [0.9, 0.9, 0.2]})
    >>> scaled = acm.robust_scale("x", regimes, by="regime", default=whole, confidence="sure")
    >>> new.select(scaled).unnest("robust_scale").select(pl.col("x").round(3))
    shape: (3, 1)
    ┌───────┐
    │ x     │
    │ ---   │
    │ f64   │
    ╞═══════╡
    │ 0.0   │
    │ 0.0   │
    │ 0.873 │
    └───────┘
    """
    operation = "robust_scale"
    column = one_input(operation, expr, always_pack=True)
    floor = _checks.number(operation, "scale_floor", scale_floor, positive=False)
    least = _checks.number(operation, "min_confidence", min_confidence, positive=False)
    strict = _checks.choice(operation, "on_unknown", on_unknown, ("null", "error")) == "error"
    if by is not None:
        keys, models = _fleet(operation, model, default)
        key = _models.column(operation, "by", by)
        if confidence is not None:
            sure = _models.column(operation, "confidence", confidence)
            key = pl.when(sure.is_finite() & (sure >= least)).then(key)
        return call(
            operation,
            [column, _models.literal(models), key, _models.literal(keys)],
            gives="each_row",
            scale_floor=floor,
            has_default=default is not None,
            unknown_is_error=strict,
        )
    given = (("default", default), ("confidence", confidence), ("on_unknown", on_unknown if strict else None))
    for parameter, value in given:
        if value is not None:
            raise _checks.invalid(operation, parameter, "left out unless `by` names the model of each row", value)
    if isinstance(model, pl.Expr):
        return call(operation, [column, model], scale_floor=floor, has_default=False, unknown_is_error=False)
    models = _one_model(operation, "model", model)
    return call(
        operation,
        [column, _models.literal(models)],
        gives="each_row",
        scale_floor=floor,
        has_default=False,
        unknown_is_error=False,
    )


def _one_model(operation: str, parameter: str, model: object) -> pl.Series:
    """One fitted model, however it is held."""
    return _models.one(operation, parameter, model, _is_model, "`robust_scale_fit`")


def _is_model(series: pl.Series) -> bool:
    return isinstance(series.dtype, pl.Struct) and all(
        isinstance(field.dtype, pl.Struct) and {"center", "scale"} <= {part.name for part in field.dtype.fields}
        for field in series.dtype.fields
    )


def _fleet(operation: str, fleet: object, default: pl.Series | pl.DataFrame | None) -> tuple[pl.Series, pl.Series]:
    """Return the keys and their models, behind which comes the default one."""
    keys, models = _models.fleet(operation, fleet, _is_model, "`robust_scale_fit`")
    if default is not None:
        other = _one_model(operation, "default", default)
        known, given = (series.struct.fields for series in (models, other))
        if absent := sorted(set(known) - set(given)):
            raise _checks.invalid(operation, "default", f"fitted on all columns of `model`, also {absent}", given)
        models = pl.Series([*models.to_list(), *other.to_list()], dtype=models.dtype)
    return keys, models
