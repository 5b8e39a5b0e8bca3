"""Drift of single series: cumulative sums, exponentially weighted mean, trend and changes of the last rows."""

from __future__ import annotations

import math

import polars as pl
from polars.selectors import is_selector

from acm_rs import _checks, _models
from acm_rs._plugin import IntoColumns, call, one_input

__all__ = ["cusum", "drift_trend", "ewma", "regime_volatility"]

State = pl.Series | pl.DataFrame | pl.Expr


def cusum(
    expr: IntoColumns,
    *,
    k: float = 0.5,
    h: float = 5.0,
    center: float | None = 0.0,
    scale: float | None = 1.0,
    reset: bool = False,
    state: State | None = None,
) -> pl.Expr:
    """Two-sided cumulative sums of each column: small shifts that last, with the row at which they began.

    With ``u = (x - center) / scale``: ``high = max(0, high + u - k)`` and ``low = max(0, low - u - k)``, and an alarm
    where one is above `h` (Page 1954).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    k : float
        Slack, at least 0, in units of `scale`: half of the shift that is to be found; default 0.5.
    h : float
        Limit, above 0; default 5.
    center : float or None
        Usual reading; default 0, for scores that are standardized already. None takes the median of the same rows.
    scale : float or None
        Usual spread, above 0; default 1. None takes 1.4826 times the median absolute deviation of the same rows.
    reset : bool
        True starts both sums again from 0 at the reading after an alarm; default False.
    state : Series, DataFrame, Expr or None
        The last row of an earlier result, where the series goes on; default None, or a null: a new series.

    Returns
    -------
    Expr
        Struct named ``cusum`` with, for each column, ``{column}_high``, ``{column}_low`` (Float64), their onsets
        ``{column}_high_since`` and ``{column}_low_since`` (UInt32: rows since the sum was 0 for the last time, so that
        the change began one row after it) and ``{column}_alarm`` (Boolean).

    Notes
    -----
    Null, NaN and infinity are missing: the sums stay as they are, the rows are counted, the alarm is null. So the
    last row of a result is always the `state` of the next, and a series in pieces gives the same bits as the whole, if
    `center` and `scale` are numbers; taken from the same rows they look ahead, and where the scale is 0 no reading
    counts. A row depends on all before it: one call needs the whole series (``.over("asset", order_by="time")``),
    and does not stream. Cost: a few operations per reading. ACM's CUSUM has k = 0.1, no limit, and returns the
    larger of the two sums.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"z": [0.1, -0.4, 2.0, 3.0, None, 2.5]})
    >>> df.select(acm.cusum("z")).unnest("cusum")
    shape: (6, 5)
    ┌────────┬───────┬──────────────┬─────────────┬─────────┐
    │ z_high ┆ z_low ┆ z_high_since ┆ z_low_since ┆ z_alarm │
    │ ---    ┆ ---   ┆ ---          ┆ ---         ┆ ---     │
    │ f64    ┆ f64   ┆ u32          ┆ u32         ┆ bool    │
    ╞════════╪═══════╪══════════════╪═════════════╪═════════╡
    │ 0.0    ┆ 0.0   ┆ 0            ┆ 0           ┆ false   │
    │ 0.0    ┆ 0.0   ┆ 0            ┆ 0           ┆ false   │
    │ 1.5    ┆ 0.0   ┆ 1            ┆ 0           ┆ false   │
    │ 4.0    ┆ 0.0   ┆ 2            ┆ 0           ┆ false   │
    │ 4.0    ┆ 0.0   ┆ 3            ┆ 0           ┆ null    │
    │ 6.0    ┆ 0.0   ┆ 4            ┆ 0           ┆ true    │
    └────────┴───────┴──────────────┴─────────────┴─────────┘
    """
    operation = "cusum"
    return call(
        operation,
        [one_input(operation, expr, always_pack=True), *_state(operation, state)],
        k=_checks.number(operation, "k", k, positive=False),
        h=_checks.number(operation, "h", h, positive=True),
        center=None if center is None else _checks.finite(operation, "center", center),
        scale=None if scale is None else _checks.number(operation, "scale", scale, positive=True),
        reset=_checks.flag(operation, "reset", reset),
    )


def ewma(
    expr: IntoColumns, *, alpha: float | None = None, half_life: float | None = None, state: State | None = None
) -> pl.Expr:
    """Exponentially weighted mean: ``e_t = e_{t-1} + alpha * (x_t - e_{t-1})``, from the first reading on.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns.
    alpha : float or None
        Weight of the newest reading, above 0 and at most 1; either this or `half_life`.
    half_life : float or None
        Readings after which a weight has halved, above 0: ``alpha = 1 - 2 ** (-1 / half_life)``.
    state : Series, DataFrame, Expr or None
        The last row of an earlier result, where the series goes on; default None, or a null: a new series.

    Returns
    -------
    Expr
        The columns under their names or, of a list or selector, a struct of them named ``ewma``; Float64, also of
        Float32, because the last row is the state. Null before the first reading.

    Notes
    -----
    Null, NaN and infinity are missing: the mean stays as it is, so the last row of a result is always the `state` of
    the next, and a series in pieces gives the same bits as the whole. Polars' ``ewm_mean(adjust=False,
    ignore_nulls=True)`` computes the same, but is null in the rows without a reading. A row depends on all before
    it: ``.over("asset", order_by="time")``; does not stream. Cost: three operations per reading.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> pl.DataFrame({"x": [None, 8.0, None, 4.0, 2.0]}).select(acm.ewma("x", alpha=0.25))
    shape: (5, 1)
    ┌──────┐
    │ x    │
    │ ---  │
    │ f64  │
    ╞══════╡
    │ null │
    │ 8.0  │
    │ 8.0  │
    │ 7.0  │
    │ 5.75 │
    └──────┘
    """
    operation = "ewma"
    if (alpha is None) == (half_life is None):
        allowed = "a number, if `half_life` is left out, else left out"
        raise _checks.invalid(operation, "alpha", allowed, alpha)
    if alpha is not None:
        weight = _checks.number(operation, "alpha", alpha, positive=True)
        if weight > 1:
            raise _checks.invalid(operation, "alpha", "> 0 and <= 1", alpha)
    else:
        length = _checks.number(operation, "half_life", half_life, positive=True)
        weight = -math.expm1(-math.log(2) / length)
    column = one_input(operation, expr, always_pack=True)
    means = call(operation, [column, *_state(operation, state)], alpha=weight)
    return means if isinstance(expr, (list, tuple)) or is_selector(expr) else means.struct.field("*")


def drift_trend(expr: IntoColumns, window_size: int = 20) -> pl.Expr:
    """Slope of the least-squares line through the last rows, per row.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns.
    window_size : int
        Number of last rows, at least 2; default 20.

    Returns
    -------
    Expr
        One row, under the column's name or, of a list or selector, a struct named ``drift_trend``; Float32 for Float32,
        else Float64. Null with fewer than two readings among these rows, where ACM has 0.

    Notes
    -----
    Null, NaN and infinity are missing; the other readings keep their places. The last row of
    ``rolling_slope(window_size)``, without the others. Cost: one pass over these rows.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> pl.DataFrame({"x": [9.0, 0.0, 2.0, 3.0, 7.0]}).select(acm.drift_trend("x", 4).round(3))
    shape: (1, 1)
    ┌─────┐
    │ x   │
    │ --- │
    │ f64 │
    ╞═════╡
    │ 2.2 │
    └─────┘
    """
    operation = "drift_trend"
    rows = _checks.integer(operation, "window_size", window_size, 2)
    return call(operation, [one_input(operation, expr, always_pack=False)], gives="one_row", window_size=rows)


def regime_volatility(expr: IntoColumns, window_size: int = 20) -> pl.Expr:
    """Share of the steps between the last labels at which the label changes.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Column or columns of labels: integers, text or booleans.
    window_size : int
        Number of last rows, at least 2; default 20.

    Returns
    -------
    Expr
        One row, under the column's name or, of a list or selector, a struct named ``regime_volatility``; Float64 from 0
        to 1. Null with fewer than two labels among these rows, where ACM has 0.

    Notes
    -----
    Null labels are skipped: the labels around them are neighbours. Cost: one pass over these rows.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> pl.DataFrame({"regime": [0, 0, 1, None, 1, 0]}).select(acm.regime_volatility("regime"))
    shape: (1, 1)
    ┌────────┐
    │ regime │
    │ ---    │
    │ f64    │
    ╞════════╡
    │ 0.5    │
    └────────┘
    """
    operation = "regime_volatility"
    rows = _checks.integer(operation, "window_size", window_size, 2)
    return call(operation, [one_input(operation, expr, always_pack=False)], gives="one_row", window_size=rows)


def _state(operation: str, state: State | None) -> list[pl.Expr]:
    """Return the row before the first, as an input of the call."""
    if state is None:
        return []
    if isinstance(state, pl.Expr):
        return [state]
    series: object = state
    if isinstance(state, pl.DataFrame):
        # one struct, or the columns of one
        only = state.to_series() if state.width == 1 else None
        series = only if only is not None and isinstance(only.dtype, pl.Struct) else state.to_struct(operation)
    if not isinstance(series, pl.Series) or series.len() != 1:
        raise _checks.mistyped(operation, "state", f"the last row of what `{operation}` gave, or None", state)
    return [_models.literal(series)]
