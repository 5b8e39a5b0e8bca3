"""Directions: sensors whose readings go round in a circle, such as a wind vane or a nacelle in degrees.

On a circle 359 and 1 are neighbours, but their mean, median and deviation take them for opposites. Turn directions into
x and y first (`to_xy`) and use the two as sensors, or summarise them with `circular_mean` and `resultant_length`.
"""

from __future__ import annotations

import polars as pl

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input

__all__ = ["circular_mean", "resultant_length", "to_xy"]


def circular_mean(expr: IntoColumns, *, period: float = 360.0) -> pl.Expr:
    """Mean direction of the whole series.

    The direction of the mean of the unit vectors ``(cos a, sin a)`` with ``a = 2 pi x / period`` (Mardia and Jupp 2000,
    *Directional Statistics*, section 2.2).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    period : float
        The full circle in the unit of the readings, above 0; default 360, for degrees.

    Returns
    -------
    Expr
        One Float64 in ``[0, period)``, under the name of the column; a struct named ``circular_mean`` for a list, tuple
        or selector. Null where no reading is present, or where the directions cancel, so that there is no mean.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. Cost: a sine and a cosine per reading. Directions counted from
    -180 to 180 are understood; bring the result back with ``(mean + 180) % 360 - 180``. Neither Polars nor pandas has
    it; SciPy's ``circmean`` agrees, but gives some direction where they cancel.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"vane": [350.0, 0.0, 10.0, 20.0, None]})
    >>> df.select(acm.circular_mean("vane").round(9), pl.col("vane").mean().alias("misleading"))
    shape: (1, 2)
    ┌──────┬────────────┐
    │ vane ┆ misleading │
    │ ---  ┆ ---        │
    │ f64  ┆ f64        │
    ╞══════╪════════════╡
    │ 5.0  ┆ 95.0       │
    └──────┴────────────┘
    """
    return _aggregate("circular_mean", expr, period)


def resultant_length(expr: IntoColumns, *, period: float = 360.0) -> pl.Expr:
    """How much the directions of the whole series agree: 1 if all are equal, 0 if they cancel.

    The length of the mean of the unit vectors ``(cos a, sin a)`` with ``a = 2 pi x / period`` (Mardia and Jupp 2000,
    *Directional Statistics*, section 2.3). ``1 - length`` is the circular variance.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    period : float
        The full circle in the unit of the readings, above 0; default 360, for degrees.

    Returns
    -------
    Expr
        One Float64 from 0 to 1, under the name of the column; a struct named ``resultant_length`` for a list, tuple or
        selector. Null where no reading is present.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. Cost: a sine and a cosine per reading.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"steady": [10.0, 10.0, 10.0], "opposite": [0.0, 180.0, None]})
    >>> df.select(acm.resultant_length(pl.col("steady", "opposite")))
    shape: (1, 2)
    ┌────────┬──────────┐
    │ steady ┆ opposite │
    │ ---    ┆ ---      │
    │ f64    ┆ f64      │
    ╞════════╪══════════╡
    │ 1.0    ┆ 0.0      │
    └────────┴──────────┘
    """
    return _aggregate("resultant_length", expr, period)


def to_xy(expr: IntoColumns, *, period: float = 360.0) -> pl.Expr:
    """Directions as points on the unit circle, which every other operation can work with.

    ``x = cos a`` and ``y = sin a`` with ``a = 2 pi direction / period``: neighbours on the circle are neighbours in x
    and y. For a compass, x points north and y east.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    period : float
        The full circle in the unit of the readings, above 0; default 360, for degrees.

    Returns
    -------
    Expr
        Struct named ``to_xy`` with the fields ``{column}_x`` and ``{column}_y`` from -1 to 1, Float32 for Float32, else
        Float64. Null where the reading is missing.

    Notes
    -----
    Null, NaN and infinity are missing. Multiples of a quarter circle give exact points. Cost: a sine and a cosine per
    reading; row by row, so that it streams.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"vane": [0.0, 90.0, 180.0, -90.0, None]})
    >>> df.with_columns(acm.to_xy("vane")).unnest("to_xy")
    shape: (5, 3)
    ┌───────┬────────┬────────┐
    │ vane  ┆ vane_x ┆ vane_y │
    │ ---   ┆ ---    ┆ ---    │
    │ f64   ┆ f64    ┆ f64    │
    ╞═══════╪════════╪════════╡
    │ 0.0   ┆ 1.0    ┆ 0.0    │
    │ 90.0  ┆ 0.0    ┆ 1.0    │
    │ 180.0 ┆ -1.0   ┆ 0.0    │
    │ -90.0 ┆ 0.0    ┆ -1.0   │
    │ null  ┆ null   ┆ null   │
    └───────┴────────┴────────┘
    """
    period = _checks.number("to_xy", "period", period, positive=True)
    return call("to_xy", [one_input("to_xy", expr, always_pack=True)], gives="each_row", period=period)


def _aggregate(operation: str, expr: IntoColumns, period: float) -> pl.Expr:
    period = _checks.number(operation, "period", period, positive=True)
    return call(operation, [one_input(operation, expr, always_pack=False)], gives="one_row", period=period)
