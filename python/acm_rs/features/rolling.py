"""Rolling features: statistics of the trailing window of every row, of one column or of many in one call.

What holds for all of them:

- **Missing** means null, NaN or an infinity: the sensor gave no reading. It is skipped and counts neither in a
  statistic nor in `min_samples`. A result that cannot be computed is null; no result is NaN or infinite.
- The window of row ``t`` holds the rows ``max(0, t - window_size + 1)..t`` in the order of the frame or, with ``by=``,
  the rows up to and including the current one whose time lies in ``(time - window_size, time]``. Per asset:
  ``.over("asset", order_by="time")``.
- Float32 in gives Float32, every other numeric type gives Float64. Arithmetic is Float64.
- A name or an expression (also ``pl.col("a", "b")``) works column by column. A list, a tuple or a selector makes
  **one** call over all its columns, spread over threads, and gives one struct named after the operation: the fast form
  for wide frames in lazy queries. Spread such a struct with the frame's ``.unnest("rolling_median")``, not with
  ``.struct.unnest()`` in the expression, for which Polars may make one call per field. Its fields carry the columns'
  names; beside the columns themselves rename them first: ``.name.suffix_fields("_median")``.
- Results do not depend on chunks, on the engine, on the number of threads or, with `tail`, on the batches in which a
  series arrives.
- Nothing here is elementwise: the streaming engine collects the columns that a call reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import polars as pl

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input

__all__ = [
    "rolling_features",
    "rolling_hampel",
    "rolling_kurtosis",
    "rolling_mad",
    "rolling_mean",
    "rolling_median",
    "rolling_robust_z",
    "rolling_skew",
    "rolling_slope",
    "rolling_spectral_energy",
    "rolling_std",
    "tail",
]

WindowSize: TypeAlias = int | str | timedelta
IntoTime: TypeAlias = str | pl.Expr | None
Bands: TypeAlias = Iterable[Sequence[float]] | None
Feature: TypeAlias = Literal["med", "mad", "mean", "std", "slope", "skew", "kurt", "energy", "rz"]
PolarsFrame = TypeVar("PolarsFrame", pl.DataFrame, pl.LazyFrame)

# in the order of ACM's columns
FEATURES: Sequence[Feature] = get_args(Feature)

# The standard deviation of a normal distribution is 1.4826 times its median absolute deviation.
NORMAL_SCALE = 1.4826


def rolling_median(expr: IntoColumns, window_size: WindowSize, *, min_samples: int = 1, by: IntoTime = None) -> pl.Expr:
    """Median of the trailing window.

    The middle one of the sorted readings, or the midpoint of the middle two, rounded once and without overflow
    (Hyndman and Fan 1996, the sample median).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1, so that a series gives results from its first
        reading.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``rolling_median`` for a list,
        tuple or selector. Null where fewer than `min_samples` readings are present.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are. Cost per row: a few
    vector operations per eight rows and window position for small windows; for larger ones binary searches and a short
    move of memory. Polars' own `rolling_median` asks for a full window by default, gives NaN wherever a NaN is in the
    window, and its `rolling_median_by` gives rows of equal time one common window; pandas agrees with this function
    apart from infinities. **Directions in degrees have no median:** the median of 350 and 10 is 180; take the fields of
    `to_xy` instead, or `circular_mean`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 9.0, None, 4.0]})
    >>> df.with_columns(acm.rolling_median("x", 3).alias("median"))
    shape: (5, 2)
    ┌──────┬────────┐
    │ x    ┆ median │
    │ ---  ┆ ---    │
    │ f64  ┆ f64    │
    ╞══════╪════════╡
    │ 1.0  ┆ 1.0    │
    │ 2.0  ┆ 1.5    │
    │ 9.0  ┆ 2.0    │
    │ null ┆ 5.5    │
    │ 4.0  ┆ 6.5    │
    └──────┴────────┘
    """
    return _rolling("rolling_median", expr, window_size, min_samples, by)


def rolling_mad(
    expr: IntoColumns,
    window_size: WindowSize,
    *,
    min_samples: int = 1,
    scale: float | Literal["normal"] = 1.0,
    by: IntoTime = None,
) -> pl.Expr:
    """Median absolute deviation from the median of the trailing window.

    ``scale * median(|x_i - median(x)|)`` over the readings of one window (Hampel 1974): a measure of spread which a
    spike does not move.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1, so that a series gives results from its first
        reading.
    scale : float or "normal"
        Factor, above 0; default 1, the raw deviation in the unit of the column. ``"normal"`` is 1.4826, which makes it
        estimate the standard deviation of normally distributed readings.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``rolling_mad`` for a list,
        tuple or selector. Null where fewer than `min_samples` readings are present, 0 where more than half of them are
        equal.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are.
    Cost: about twice that of `rolling_median`, whose sorted window it needs.
    Neither Polars nor pandas has it: two nested rolling medians (also ACM's Polars path) are a different statistic, in
    which every deviation is taken from the median of its own row.
    **Directions in degrees have no MAD:** north wind would look as if it jumped by 360; take the fields of `to_xy`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 9.0, None, 4.0]})
    >>> df.with_columns(acm.rolling_mad("x", 3).alias("mad"))
    shape: (5, 2)
    ┌──────┬─────┐
    │ x    ┆ mad │
    │ ---  ┆ --- │
    │ f64  ┆ f64 │
    ╞══════╪═════╡
    │ 1.0  ┆ 0.0 │
    │ 2.0  ┆ 0.5 │
    │ 9.0  ┆ 1.0 │
    │ null ┆ 3.5 │
    │ 4.0  ┆ 2.5 │
    └──────┴─────┘
    """
    if isinstance(scale, str) and scale != "normal":
        raise _checks.invalid("rolling_mad", "scale", 'a finite number > 0 or "normal"', scale)
    factor = NORMAL_SCALE if isinstance(scale, str) else _checks.number("rolling_mad", "scale", scale, positive=True)
    return _rolling("rolling_mad", expr, window_size, min_samples, by, scale=factor)


def rolling_mean(expr: IntoColumns, window_size: WindowSize, *, min_samples: int = 1, by: IntoTime = None) -> pl.Expr:
    """Arithmetic mean of the trailing window.

    Computed about a reading of the window (Chan, Golub and LeVeque 1983), so that neither a large offset nor a spike
    that has left the window costs accuracy.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1, so that a series gives results from its first
        reading.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``rolling_mean`` for a list,
        tuple or selector. Null where fewer than `min_samples` readings are present.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are. Cost per row:
    proportional to the window while it is small, then constant. Polars and pandas add the newest reading to a running
    sum and subtract the oldest, so a spike of 1e15 leaves an error behind; nothing is ever subtracted here.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 9.0, None, 4.0]})
    >>> df.with_columns(acm.rolling_mean("x", 3).alias("mean"))
    shape: (5, 2)
    ┌──────┬──────┐
    │ x    ┆ mean │
    │ ---  ┆ ---  │
    │ f64  ┆ f64  │
    ╞══════╪══════╡
    │ 1.0  ┆ 1.0  │
    │ 2.0  ┆ 1.5  │
    │ 9.0  ┆ 4.0  │
    │ null ┆ 5.5  │
    │ 4.0  ┆ 6.5  │
    └──────┴──────┘
    """
    return _rolling("rolling_mean", expr, window_size, min_samples, by)


def rolling_std(
    expr: IntoColumns, window_size: WindowSize, *, min_samples: int = 1, ddof: int = 1, by: IntoTime = None
) -> pl.Expr:
    """Sample standard deviation of the trailing window.

    ``sqrt(sum((x_i - mean)^2) / (m - ddof))`` over the ``m`` present readings, in two passes or from sums about an
    anchor near the data (Chan, Golub and LeVeque 1983).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1. Two readings, and more than `ddof`, are
        needed in any case.
    ddof : int
        Subtracted from the number of readings, at least 0; default 1, the sample standard deviation, as in Polars and
        pandas.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``rolling_std`` for a list,
        tuple or selector. Null where fewer than `min_samples`, fewer than two or not more than `ddof` readings are
        present; exactly 0 where all readings of the window are equal.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are; with the default
    `ddof` the first reading has no standard deviation yet. Cost per row: proportional to the window while it is small,
    then constant. Running sums, as in Polars and pandas, leave about 1e-8 on a constant window that follows varying
    data; the result here is 0.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 2.0, None, 2.0]})
    >>> df.with_columns(acm.rolling_std("x", 3).alias("std"))
    shape: (5, 2)
    ┌──────┬──────────┐
    │ x    ┆ std      │
    │ ---  ┆ ---      │
    │ f64  ┆ f64      │
    ╞══════╪══════════╡
    │ 1.0  ┆ null     │
    │ 2.0  ┆ 0.707107 │
    │ 2.0  ┆ 0.57735  │
    │ null ┆ 0.0      │
    │ 2.0  ┆ 0.0      │
    └──────┴──────────┘
    """
    ddof = _checks.integer("rolling_std", "ddof", ddof, 0, most=2**32 - 1)
    return _rolling("rolling_std", expr, window_size, min_samples, by, ddof=ddof)


def rolling_skew(
    expr: IntoColumns,
    window_size: WindowSize,
    *,
    min_samples: int = 1,
    bias: bool = False,
    clip: float | None = None,
    by: IntoTime = None,
) -> pl.Expr:
    """Skewness of the trailing window.

    With the central moments ``m_k = sum((x_i - mean)^k) / m`` of the ``m`` present readings: ``g1 = m_3 / m_2^(3/2)``
    and, by default, the unbiased form ``G1 = g1 * sqrt(m (m - 1)) / (m - 2)`` (Joanes and Gill 1998).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1. Three readings are needed in any case.
    bias : bool
        True gives ``g1``; default False gives ``G1``, as pandas and ACM do.
    clip : float or None
        Limit of the result, above 0 (ACM: 100); default None, because the skewness of ``m`` readings is at most
        ``sqrt(m)``.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``rolling_skew`` for a list,
        tuple or selector. Null where fewer than `min_samples` or 3 readings are present and where all of them are
        equal.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are.
    Cost per row: proportional to the window while it is small, then constant.
    Polars' `rolling_skew` gives ``g1`` by default and asks for a full window. A constant window gives 0 in pandas 2 and
    rounding noise up to the clip in some Polars versions; here it has no skewness.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 9.0, None, 4.0]})
    >>> df.with_columns(acm.rolling_skew("x", 4).alias("skew"))
    shape: (5, 2)
    ┌──────┬──────────┐
    │ x    ┆ skew     │
    │ ---  ┆ ---      │
    │ f64  ┆ f64      │
    ╞══════╪══════════╡
    │ 1.0  ┆ null     │
    │ 2.0  ┆ null     │
    │ 9.0  ┆ 1.630059 │
    │ null ┆ 1.630059 │
    │ 4.0  ┆ 1.15207  │
    └──────┴──────────┘
    """
    return _shape("rolling_skew", expr, window_size, min_samples, by, bias, clip)


def rolling_kurtosis(
    expr: IntoColumns,
    window_size: WindowSize,
    *,
    min_samples: int = 1,
    bias: bool = False,
    clip: float | None = None,
    by: IntoTime = None,
) -> pl.Expr:
    """Excess kurtosis of the trailing window.

    With the central moments ``m_k = sum((x_i - mean)^k) / m`` of the ``m`` present readings: ``g2 = m_4 / m_2^2 - 3``
    and, by default, the unbiased form ``G2 = (m - 1) / ((m - 2) (m - 3)) * ((m + 1) g2 + 6)`` (Joanes and Gill 1998).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1. Four readings are needed in any case.
    bias : bool
        True gives ``g2``; default False gives ``G2``, as pandas and ACM do.
    clip : float or None
        Limit of the result, above 0 (ACM: 1000); default None, because the kurtosis of ``m`` readings is at most ``m``.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``rolling_kurtosis`` for a
        list, tuple or selector. Null where fewer than `min_samples` or 4 readings are present and where all of them
        are equal.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are. Cost per row:
    proportional to the window while it is small, then constant. Polars' `rolling_kurtosis` gives ``g2`` by default and
    asks for a full window. A constant window gives -3 in pandas 2 and rounding noise up to the clip in some Polars
    versions; here it has no kurtosis.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 9.0, None, 4.0]})
    >>> df.with_columns(acm.rolling_kurtosis("x", 5).alias("kurtosis"))
    shape: (5, 2)
    ┌──────┬──────────┐
    │ x    ┆ kurtosis │
    │ ---  ┆ ---      │
    │ f64  ┆ f64      │
    ╞══════╪══════════╡
    │ 1.0  ┆ null     │
    │ 2.0  ┆ null     │
    │ 9.0  ┆ null     │
    │ null ┆ null     │
    │ 4.0  ┆ 1.5      │
    └──────┴──────────┘
    """
    return _shape("rolling_kurtosis", expr, window_size, min_samples, by, bias, clip)


def rolling_slope(expr: IntoColumns, window_size: WindowSize, *, min_samples: int = 1, by: IntoTime = None) -> pl.Expr:
    """Slope of the least-squares line through the trailing window.

    ``sum((p_i - mean(p)) (x_i - mean(x))) / sum((p_i - mean(p))^2)`` with the position ``p`` of each present reading:
    its row or, with `by`, its time in seconds.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1. Two readings at different positions are needed in
        any case.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Change per row or, with `by`, per second: Float32 for Float32, else Float64, under the name of the column; a
        struct named ``rolling_slope`` for a list, tuple or selector. Null where fewer than `min_samples` or 2 readings
        are present and where all of them have one time.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped, and the readings around a gap keep their true positions. The
    first rows use the rows there are. Cost per row: proportional to the window while it is small, then constant.
    Neither Polars nor pandas has it. Slopes from differences of rolling means (ACM's Polars path) lose digits as the
    row number grows; positions here are counted within the window. ACM gives 0 where this gives null.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 4.0, None, 10.0]})
    >>> df.with_columns(acm.rolling_slope("x", 3).alias("slope"))
    shape: (5, 2)
    ┌──────┬───────┐
    │ x    ┆ slope │
    │ ---  ┆ ---   │
    │ f64  ┆ f64   │
    ╞══════╪═══════╡
    │ 1.0  ┆ null  │
    │ 2.0  ┆ 1.0   │
    │ 4.0  ┆ 1.5   │
    │ null ┆ 2.0   │
    │ 10.0 ┆ 3.0   │
    └──────┴───────┘
    """
    return _rolling("rolling_slope", expr, window_size, min_samples, by)


def rolling_robust_z(
    expr: IntoColumns,
    window_size: WindowSize,
    *,
    min_samples: int = 1,
    clip: float = 100.0,
    scale_floor: float = 0.0,
    by: IntoTime = None,
) -> pl.Expr:
    """Robust z-score of the current reading within its trailing window.

    ``(x - median) / max(1.4826 * MAD, scale_floor)``, limited to plus or minus `clip` (Iglewicz and Hoaglin 1993). The
    window includes the current reading.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1, so that a series gives results from its first
        reading.
    clip : float
        Limit of the result, above 0; default 100, as in ACM: a sensor that stood still gives a finite score when it
        moves.
    scale_floor : float
        Smallest scale, at least 0, in the unit of the column (a good choice is the resolution of the sensor); default
        0: none.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Float32 for Float32, else Float64, under the name of the column; a struct named ``rolling_robust_z`` for a
        list, tuple or selector. Null where the current reading is missing or fewer than `min_samples` readings are
        present. Where the scale is 0: 0 at the median, else plus or minus `clip`.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are; the first reading
    scores 0.
    Cost: that of `rolling_mad`.
    ACM adds 1e-9 to the scale; the choice here is `scale_floor`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 1.0, 3.0, 50.0]})
    >>> df.with_columns(acm.rolling_robust_z("x", 4).alias("z"))
    shape: (5, 2)
    ┌──────┬───────────┐
    │ x    ┆ z         │
    │ ---  ┆ ---       │
    │ f64  ┆ f64       │
    ╞══════╪═══════════╡
    │ 1.0  ┆ 0.0       │
    │ 2.0  ┆ 0.674491  │
    │ 1.0  ┆ 0.0       │
    │ 3.0  ┆ 2.023472  │
    │ 50.0 ┆ 32.038311 │
    └──────┴───────────┘
    """
    operation = "rolling_robust_z"
    clip = _checks.number(operation, "clip", clip, positive=True)
    scale_floor = _checks.number(operation, "scale_floor", scale_floor, positive=False)
    return _rolling(operation, expr, window_size, min_samples, by, clip=clip, scale_floor=scale_floor)


def rolling_hampel(
    expr: IntoColumns,
    window_size: WindowSize,
    n_sigmas: float = 3.0,
    *,
    min_samples: int = 1,
    by: IntoTime = None,
) -> pl.Expr:
    """Whether the current reading is an outlier in its trailing window.

    ``|x - median| > n_sigmas * 1.4826 * MAD`` (Hampel's identifier: Davies and Gather 1993). The window includes the
    current reading.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    n_sigmas : float
        Half width of the band in robust standard deviations, at least 0; default 3, the usual choice.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1, so that a series gives results from its first
        reading.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Boolean, under the name of the column; a struct named ``rolling_hampel`` for a list, tuple or selector. Null
        where the current reading is missing or fewer than `min_samples` readings are present.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are.
    Where more than half of the readings are equal the MAD is 0, and every other reading is an outlier.
    Cost: that of `rolling_mad`.
    The usual Hampel filter looks at a centred window; this one looks back only, so that it can run on live data.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 1.0, 3.0, 50.0]})
    >>> df.with_columns(acm.rolling_hampel("x", 4).alias("outlier"))
    shape: (5, 2)
    ┌──────┬─────────┐
    │ x    ┆ outlier │
    │ ---  ┆ ---     │
    │ f64  ┆ bool    │
    ╞══════╪═════════╡
    │ 1.0  ┆ false   │
    │ 2.0  ┆ false   │
    │ 1.0  ┆ false   │
    │ 3.0  ┆ false   │
    │ 50.0 ┆ true    │
    └──────┴─────────┘
    """
    n_sigmas = _checks.number("rolling_hampel", "n_sigmas", n_sigmas, positive=False)
    return _rolling("rolling_hampel", expr, window_size, min_samples, by, n_sigmas=n_sigmas)


def rolling_spectral_energy(
    expr: IntoColumns,
    window_size: int,
    *,
    bands: Bands = None,
    sampling_hz: float = 1.0,
    min_samples: int | None = None,
    by: None = None,
) -> pl.Expr:
    """Energy of the trailing window in frequency bands.

    With ``y = x - mean(x)`` over the ``m`` rows of the window, the frequencies ``f_k = k * sampling_hz / m`` for ``k =
    0..m // 2`` and the powers ``P_k = |sum_i y_i exp(-2 pi j k i / m)|^2`` (the unscaled periodogram, Schuster 1898),
    the energy of a band is the sum of the ``P_k`` with ``low <= f_k < high``.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    window_size : int
        Rows, at least 2.
    bands : sequence of pairs or None
        Bands ``(low, high)`` in Hz, ascending and without overlap, ``0 <= low < high <= sampling_hz / 2``; the upper
        edge is exclusive. Default None: ACM's three bands, up to 0.1, 0.3 and 1 times the Nyquist frequency
        ``sampling_hz / 2``.
    sampling_hz : float
        Rows per second, above 0; default 1, so that frequencies are counted per row where no rate is given.
    min_samples : int or None
        Readings that must be present, 1 to `window_size`; default None: half of the window and at least 2, because the
        spectrum of fewer says little.
    by : None
        Not available: a spectrum needs rows at equal intervals. Anything else is a ValueError.

    Returns
    -------
    Expr
        Struct named ``rolling_spectral_energy`` with the fields ``{column}_energy_0``, ``{column}_energy_1``, ... in
        the squared unit of the column, Float32 for Float32, else Float64. Null where fewer than `min_samples` readings
        are present.

    Notes
    -----
    Null, NaN and infinity are missing: they are replaced by the mean of the window, so that they add no energy.
    The first rows use the rows there are: until the window is full, the frequencies change from row to row.
    No window function is applied and one-sided powers are not doubled. Rows must be at equal intervals; fill gaps in
    the time stamps with empty rows first. Frequency 0 holds nothing, and the Nyquist frequency lies in no band, because
    upper edges are exclusive: at a window of 16 the first default band is always 0. A frequency within a share of 1e-12
    below an edge lies on it, so that the rounding of edges and rates moves none to another band.
    Cost per row: proportional to the window, for all bands together.
    Neither Polars nor pandas has it; ACM gives 0 where this gives null.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 1.0, 0.0, -1.0, 0.0, 1.0]})
    >>> energy = acm.rolling_spectral_energy("x", 4, bands=[(0.0, 0.2), (0.2, 0.3)])
    >>> df.select(energy).unnest("rolling_spectral_energy").select(pl.all().round(9))
    shape: (6, 2)
    ┌────────────┬────────────┐
    │ x_energy_0 ┆ x_energy_1 │
    │ ---        ┆ ---        │
    │ f64        ┆ f64        │
    ╞════════════╪════════════╡
    │ null       ┆ null       │
    │ 0.0        ┆ 0.0        │
    │ 0.0        ┆ 0.0        │
    │ 0.0        ┆ 4.0        │
    │ 0.0        ┆ 4.0        │
    │ 0.0        ┆ 4.0        │
    └────────────┴────────────┘
    """
    operation = "rolling_spectral_energy"
    if by is not None:
        raise _checks.invalid(operation, "by", "None: a spectrum needs rows at equal intervals", by)
    window = _checks.rows_only(operation, "window_size", window_size, least=2)
    sampling_hz = _checks.number(operation, "sampling_hz", sampling_hz, positive=True)
    return _rolling(
        operation,
        expr,
        window,
        max(2, window // 2) if min_samples is None else min_samples,
        None,
        always_pack=True,
        bands=_checks.bands(operation, bands, sampling_hz),
        sampling_hz=sampling_hz,
    )


def rolling_features(
    expr: IntoColumns,
    window_size: WindowSize,
    *,
    features: Feature | Sequence[Feature] | None = None,
    min_samples: int = 1,
    bands: Bands = None,
    sampling_hz: float = 1.0,
    clip: float = 100.0,
    scale_floor: float = 0.0,
    by: IntoTime = None,
) -> pl.Expr:
    """All features of the trailing window, or some of them, in one pass.

    Median, raw MAD, mean, sample standard deviation, slope, skewness ``G1``, kurtosis ``G2``, band energies and robust
    z-score, each as the operation of its name computes it with its defaults (ACM's basic features).

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    window_size : int, str or timedelta
        Rows (at least 1) or, with `by`, a duration such as ``"2h"``, ``"1d12h"`` or a timedelta.
    features : str, sequence of str or None
        One or some of ``"med"``, ``"mad"``, ``"mean"``, ``"std"``, ``"slope"``, ``"skew"``, ``"kurt"``, ``"energy"``
        and ``"rz"``, each once, in the order wanted; default None: all, in this order (without energies when `by` is
        given). What is not asked for costs nothing.
    min_samples : int
        Readings that must be present, 1 to `window_size`; default 1, as in ACM. The energies need half of the window
        and at least 2 in any case.
    bands : sequence of pairs or None
        Bands ``(low, high)`` in Hz, as in `rolling_spectral_energy`; default None: ACM's three. Only with energies.
    sampling_hz : float
        Rows per second, above 0; default 1, so that frequencies are counted per row where no rate is given.
    clip : float
        Limit of the robust z-score, above 0; default 100, as in ACM.
    scale_floor : float
        Smallest scale of the robust z-score, at least 0, in the unit of the column; default 0: none.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Struct named ``rolling_features`` with, for every column, the fields ``{column}_med``, ``_mad``, ``_mean``,
        ``_std``, ``_slope``, ``_skew``, ``_kurt``, ``_energy_0``, ``_energy_1``, ... and ``_rz``, or those of
        `features`. Float32 for Float32, else Float64. A field is null where its operation is.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped. The first rows use the rows there are.
    Cost: far less than the operations one by one, which would each sort, sum and transform the window again.
    ACM fills missing readings first and turns missing features into 0: `acm_rs.fast_features.compute_basic_features`.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 4.0, None, 10.0]})
    >>> features = df.select(acm.rolling_features("x", 4)).unnest("rolling_features")
    >>> print(*features.columns)
    x_med x_mad x_mean x_std x_slope x_skew x_kurt x_energy_0 x_energy_1 x_energy_2 x_rz
    >>> features.select("x_med", "x_mad", "x_mean", "x_slope", "x_rz")
    shape: (5, 5)
    ┌───────┬───────┬──────────┬──────────┬──────────┐
    │ x_med ┆ x_mad ┆ x_mean   ┆ x_slope  ┆ x_rz     │
    │ ---   ┆ ---   ┆ ---      ┆ ---      ┆ ---      │
    │ f64   ┆ f64   ┆ f64      ┆ f64      ┆ f64      │
    ╞═══════╪═══════╪══════════╪══════════╪══════════╡
    │ 1.0   ┆ 0.0   ┆ 1.0      ┆ null     ┆ 0.0      │
    │ 1.5   ┆ 0.5   ┆ 1.5      ┆ 1.0      ┆ 0.674491 │
    │ 2.0   ┆ 1.0   ┆ 2.333333 ┆ 1.5      ┆ 1.348982 │
    │ 2.0   ┆ 1.0   ┆ 2.333333 ┆ 1.5      ┆ null     │
    │ 4.0   ┆ 2.0   ┆ 5.333333 ┆ 2.714286 ┆ 2.023472 │
    └───────┴───────┴──────────┴──────────┴──────────┘
    >>> some = acm.rolling_features("x", 4, features=["mean", "std"])
    >>> print(*df.select(some).unnest("rolling_features").columns)
    x_mean x_std
    """
    return packed_features(
        expr,
        window_size,
        features=features,
        min_samples=min_samples,
        bands=bands,
        sampling_hz=sampling_hz,
        clip=clip,
        scale_floor=scale_floor,
        by=by,
    )


def packed_features(
    expr: IntoColumns,
    window_size: WindowSize,
    *,
    features: Feature | Sequence[Feature] | None = None,
    min_samples: int = 1,
    bands: Bands = None,
    sampling_hz: float = 1.0,
    clip: float = 100.0,
    scale_floor: float = 0.0,
    by: IntoTime = None,
    fill_null: float | None = None,
    order: Literal["column", "feature"] = "column",
) -> pl.Expr:
    """`rolling_features` with what ACM's builder needs besides: a value instead of null, and its column order."""
    operation = "rolling_features"
    sampling_hz = _checks.number(operation, "sampling_hz", sampling_hz, positive=True)
    if by is not None and bands is not None:
        raise _checks.invalid(
            operation, "bands", "None when `by` is given: a spectrum needs rows at equal intervals", bands
        )
    wanted = _wanted(operation, features, by)
    if bands is not None and "energy" not in wanted:
        raise _checks.invalid(operation, "bands", 'None where `features` has no "energy"', bands)
    window = _checks.window(operation, window_size, by)
    least = _checks.min_samples(operation, min_samples, window, by)
    return _rolling(
        operation,
        expr,
        window_size,
        least,
        by,
        always_pack=True,
        features=wanted,
        bands=_checks.bands(operation, bands, sampling_hz) if "energy" in wanted else [],
        sampling_hz=sampling_hz,
        spectrum_min_samples=max(least, 2, window // 2),
        clip=_checks.number(operation, "clip", clip, positive=True),
        scale_floor=_checks.number(operation, "scale_floor", scale_floor, positive=False),
        fill_null=fill_null,
        order=order,
    )


def _wanted(operation: str, features: Feature | Sequence[Feature] | None, by: IntoTime) -> list[Feature]:
    """Check which parts of `rolling_features` are wanted."""
    possible = [feature for feature in FEATURES if by is None or feature != "energy"]
    if features is None:
        return possible
    wanted: list[Any] = [features] if isinstance(features, str) else list(features)
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(possible):
        names = ", ".join(f'"{feature}"' for feature in possible)
        without = "" if by is None else " (a window by duration has no spectrum)"
        raise _checks.invalid(operation, "features", f"some of {names}, each once{without}", features)
    return wanted


def tail(
    frame: PolarsFrame, window_size: WindowSize, *, by: IntoTime = None, over: str | Sequence[str] | None = None
) -> PolarsFrame:
    """Rows that the next batch needs in front of it.

    With them a series scored in pieces equals the series scored at once. Keep the result, put it in front of the next
    batch, score both together and take the new rows: all results are bit for bit those of the whole series. Sums are
    taken in blocks whose borders are multiples of the window since the first row (or since the epoch), so the result
    holds the last full block and what came after it.

    Parameters
    ----------
    frame : DataFrame or LazyFrame
        The rows so far: the whole history, or the previous tail followed by the latest batch. They must be sorted by
        time (in each group): which rows are the last is taken from their order.
    window_size : int, str or timedelta
        Window in use, for several windows a common multiple of them: rows (at least 1) or, with `by`, a duration such
        as ``"2h"`` or a timedelta.
    by : str, Expr or None
        Time column (Datetime or Date) of windows by duration, ascending (in each group) and without nulls; default
        None: windows by rows.
    over : str, list of str or None
        Columns whose values name the series, for example the asset; default None: the frame is one series.

    Returns
    -------
    DataFrame or LazyFrame
        Rows of `frame` in their order, per series between `window_size` and ``2 * window_size - 1`` of them (all, if
        there are fewer) or, with `by`, those since the start of the block before the last one. A LazyFrame stays lazy.

    Notes
    -----
    A `by` column that is not ascending in each series, has nulls or holds no times is an error, of a LazyFrame when it
    is collected. Whether readings are missing plays no part. A series that ends stays in the result until it is dropped
    by the caller. Cost: one pass over the keys; nothing is computed but row numbers.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> monday = pl.DataFrame({"x": [1.0, 2.0, 4.0, 8.0, 16.0, 3.0, 5.0]})
    >>> carried = acm.tail(monday, 3)
    >>> carried["x"].to_list()
    [8.0, 16.0, 3.0, 5.0]
    >>> tuesday = pl.DataFrame({"x": [7.0, 9.0]})
    >>> pl.concat([carried, tuesday]).select(acm.rolling_mean("x", 3)).tail(tuesday.height)["x"].to_list()
    [5.0, 7.0]
    """
    if not isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        raise _checks.mistyped("tail", "frame", "a polars DataFrame or LazyFrame", frame)
    time = _checks.time_column("tail", by)
    window = _checks.window("tail", window_size, by)
    if time is None:
        rows = pl.len().cast(pl.Int64)
        keep = pl.int_range(rows) >= (rows // window - 1) * window
    else:
        block = call("checked_times", [time], of="tail") // window
        keep = block >= block.max() - 1
    if over is not None:
        keep = keep.over(_checks.names("tail", "over", over))
    return frame.filter(keep)


def _shape(
    operation: str,
    expr: IntoColumns,
    window_size: WindowSize,
    min_samples: int,
    by: IntoTime,
    bias: bool,
    clip: float | None,
) -> pl.Expr:
    """Skewness and kurtosis take the same parameters."""
    return _rolling(
        operation,
        expr,
        window_size,
        min_samples,
        by,
        bias=_checks.flag(operation, "bias", bias),
        clip=None if clip is None else _checks.number(operation, "clip", clip, positive=True),
    )


def _rolling(
    operation: str,
    expr: IntoColumns,
    window_size: WindowSize,
    min_samples: int,
    by: IntoTime,
    *,
    always_pack: bool = False,
    **parameters: Any,
) -> pl.Expr:
    """Check what all operations share, and call the library."""
    column = one_input(operation, expr, always_pack=always_pack)
    time = _checks.time_column(operation, by)
    window = _checks.window(operation, window_size, by)
    return call(
        operation,
        [column] if time is None else [column, time],
        window_size=window,
        min_samples=_checks.min_samples(operation, min_samples, window, by),
        **parameters,
    )
