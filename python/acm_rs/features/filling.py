"""Filling of gaps: a run of missing readings gets a value as a whole, or is left alone as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import polars as pl
from polars.selectors import is_selector

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.features.rolling import IntoTime, WindowSize

__all__ = ["fill"]

FillMethod: TypeAlias = Literal["median", "forward", "backward", "interpolate"]
Values: TypeAlias = float | Mapping[str, float] | None
METHODS = ("median", "forward", "backward", "interpolate")


def fill(
    expr: IntoColumns,
    method: FillMethod | None = None,
    *,
    value: Values = None,
    max_gap: WindowSize | None = None,
    by: IntoTime = None,
) -> pl.Expr:
    """Fill missing readings, but no gap that is longer than `max_gap`.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    method : "median", "forward", "backward", "interpolate" or None
        ``"median"``: the median of the whole series, or of the group under ``.over``; it looks ahead, so for scoring
        give the medians of the training data as `value`. ``"forward"``: the last reading before the gap.
        ``"backward"``: the first reading after it, which looks ahead. ``"interpolate"``: the straight line between
        both, over rows or with `by` over time. Default None: `value` is given instead.
    value : float, mapping or None
        What to put in: a number for every column or, for a list, tuple or selector, a mapping from column to number.
        Every column needs its number; the mapping may hold more. Default None: `method` is given instead.
    max_gap : int, str, timedelta or None
        Longest gap to fill: rows (at least 1) or, with `by`, a duration from the reading before the gap to the reading
        after it. Default None: gaps of any length.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a `max_gap` by duration or to interpolate over
        time; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``fill`` for a list, tuple or
        selector. Null where a gap is too long, where the series begins with the gap (``"forward"``), ends with it
        (``"backward"``) or either (``"interpolate"``: nothing is extrapolated), and where no reading is present.

    Notes
    -----
    Null, NaN and infinity are missing; neighbouring missing readings are one gap. Where the series begins or ends with
    a gap, its duration is counted from the first or to the last row.
    **A gap longer than `max_gap` stays null as a whole**: what is trusted for three rows says nothing about the first
    three rows of a thousand. `limit` of pandas and Polars fills the first rows of every gap, however long it is.
    pandas' ``interpolate(limit_direction="both")``, which ACM uses, also repeats the outermost readings at the ends.
    Cost: one pass; ``"median"`` selects once, in linear time. Directions in degrees must not be interpolated or filled
    by a median across 360: fill the fields of `to_xy`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, None, 3.0, None, float("nan"), None, 7.0]})
    >>> df.with_columns(
    ...     acm.fill("x", "interpolate").alias("all"),
    ...     acm.fill("x", "interpolate", max_gap=2).alias("short"),
    ...     acm.fill("x", value=0.0, max_gap=2).alias("zero"),
    ... )
    shape: (7, 4)
    ┌──────┬─────┬───────┬──────┐
    │ x    ┆ all ┆ short ┆ zero │
    │ ---  ┆ --- ┆ ---   ┆ ---  │
    │ f64  ┆ f64 ┆ f64   ┆ f64  │
    ╞══════╪═════╪═══════╪══════╡
    │ 1.0  ┆ 1.0 ┆ 1.0   ┆ 1.0  │
    │ null ┆ 2.0 ┆ 2.0   ┆ 0.0  │
    │ 3.0  ┆ 3.0 ┆ 3.0   ┆ 3.0  │
    │ null ┆ 4.0 ┆ null  ┆ null │
    │ NaN  ┆ 5.0 ┆ null  ┆ null │
    │ null ┆ 6.0 ┆ null  ┆ null │
    │ 7.0  ┆ 7.0 ┆ 7.0   ┆ 7.0  │
    └──────┴─────┴───────┴──────┘
    """
    if (method is None) == (value is None):
        both = (method, value)
        raise _checks.invalid("fill", "method", "given, or else `value`, and not both", both)
    if method is not None:
        _checks.choice("fill", "method", method, METHODS)
    column = one_input("fill", expr, always_pack=False)
    time = _checks.time_column("fill", by)
    timed = _checks.is_duration(max_gap)
    if time is not None and not timed and method != "interpolate":
        allowed = 'None unless `max_gap` is a duration or `method` is "interpolate"'
        raise _checks.invalid("fill", "by", allowed, by)
    gap = None if max_gap is None else _checks.rows_or_time("fill", "max_gap", max_gap, by if timed else None)
    return call(
        "fill",
        [column] if time is None else [column, time],
        method=method or "value",
        **_values(expr, value),
        max_gap=gap,
        max_gap_is_duration=timed,
    )


def _values(expr: IntoColumns, value: Values) -> dict[str, Any]:
    """One number for all columns, or a number for each."""
    if not isinstance(value, Mapping):
        return {"value": None if value is None else _checks.finite("fill", "value", value), "values": None}
    if isinstance(expr, str) or (isinstance(expr, pl.Expr) and not is_selector(expr)):
        allowed = "a number, because a mapping needs a list, tuple or selector of columns"
        raise _checks.invalid("fill", "value", allowed, value)
    pairs = [(str(name), _checks.finite("fill", f"value[{name!r}]", number)) for name, number in value.items()]
    if isinstance(expr, Sequence) and all(isinstance(column, str) for column in expr):
        given = {name for name, _ in pairs}
        if absent := [column for column in expr if column not in given]:
            raise _checks.invalid("fill", "value", f"a mapping with a number for every column, also {absent}", value)
    return {"value": None, "values": pairs}
