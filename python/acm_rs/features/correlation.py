"""Correlations: of two columns in trailing windows, of all pairs with lags, and as a matrix of whole columns.

What holds for all of them:

- **Missing** means null, NaN or an infinity. Correlations are taken over the rows where both readings of a pair are
  present (pairwise complete, as in pandas).
- No result lies outside [-1, 1], is NaN or infinite. Where one side is constant, or too few rows are common, it is
  null.
- Sums are taken about an anchor near the data: an offset of 1e8, or a spike that has left the window, costs no digits.
- Results do not depend on chunks, on the engine or on the number of threads.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import polars as pl

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input

__all__ = ["correlation", "pairwise_lag_corr", "rolling_corr"]

Method: TypeAlias = Literal["pearson", "spearman"]
Reduce: TypeAlias = Literal["max_abs", "last", "argmax_lag"] | None

METHODS = ("pearson", "spearman")
# More than any series of readings needs, and few enough that a slip of the pen asks for no more memory than there is.
LARGEST_LAG = 1_000_000
REDUCTIONS = ("max_abs", "last", "argmax_lag")


def rolling_corr(
    expr: IntoColumns, other: str | pl.Expr, window_size: int, *, lag: int = 0, min_samples: int = 2
) -> pl.Expr:
    """Correlation with another column in the trailing window.

    Pearson's ``r = sum((x_i - mean(x)) (y_i - mean(y))) / sqrt(sum((x_i - mean(x))^2) sum((y_i - mean(y))^2))`` of
    ``x_i`` and ``y_i = other_{i - lag}`` over the rows of the window where both are present.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns ``x``. A name or expression works column by column; a list, tuple or selector makes
        one call.
    other : str or Expr
        One numeric column ``y``, with a value for each row.
    window_size : int
        Rows, at least 2.
    lag : int
        How many rows `other` comes before, at least 0; default 0: the same row. With 2, today's ``x`` is compared with
        the day before yesterday's ``y``: a high correlation says that ``y`` leads by two rows.
    min_samples : int
        Rows where both must be present, 1 to `window_size`; default 2, which are needed in any case.

    Returns
    -------
    Expr
        Float32 if both columns are, else Float64, under the name of the column; a struct named ``rolling_corr`` for a
        list, tuple or selector, with a field per column. Null where fewer than `min_samples` rows are common and where
        one of the columns is constant on them.

    Notes
    -----
    Null, NaN and infinity are missing: the row counts for neither column. The first rows use the rows there are.
    Columns in one call share the sums of their neighbours and of `other`, eight at a time. Cost per pair and row: a few
    operations, whatever the window; with missing readings some five times as many. Polars' own ``rolling_corr`` gives
    NaN or infinity for constant windows and values above 1 after large readings; pandas agrees with this function on
    well-scaled data. The running sums of both keep the errors of what has left the window.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 4.0, None, 3.0, 1.0], "y": [2.0, 1.0, 2.0, 4.0, 3.0, 3.0]})
    >>> df.select(acm.rolling_corr("x", "y", 4), acm.rolling_corr("x", "y", 4, lag=1).alias("y leads by 1"))
    shape: (6, 2)
    ┌───────────┬──────────────┐
    │ x         ┆ y leads by 1 │
    │ ---       ┆ ---          │
    │ f64       ┆ f64          │
    ╞═══════════╪══════════════╡
    │ null      ┆ null         │
    │ -1.0      ┆ null         │
    │ 0.188982  ┆ -1.0         │
    │ 0.188982  ┆ -1.0         │
    │ 0.5       ┆ -0.327327    │
    │ -0.755929 ┆ -0.5         │
    └───────────┴──────────────┘
    """
    operation = "rolling_corr"
    columns = one_input(operation, expr, always_pack=False)
    if not isinstance(other, (str, pl.Expr)):
        raise _checks.mistyped(operation, "other", "a column name or an expression", other)
    window = _checks.integer(operation, "window_size", window_size, 2)
    return call(
        operation,
        [columns, pl.col(other) if isinstance(other, str) else other],
        window_size=window,
        min_samples=_checks.min_samples(operation, min_samples, window, None),
        lag=_checks.integer(operation, "lag", lag, 0),
    )


def pairwise_lag_corr(
    columns: IntoColumns,
    max_lag: int,
    window_size: int,
    *,
    min_samples: int | None = None,
    min_corr: float = 0.0,
    unique: bool = True,
    reduce: Reduce = None,
) -> pl.Expr:
    """All pairs of columns: rolling correlations, the second of each pair lagged by 0 to `max_lag` rows.

    Each is what `rolling_corr` gives for the pair and the lag. With `reduce`, a table with a row per pair (and lag)
    takes the place of a column per pair and lag, and no such column is ever made: 500 columns with lags 0 to 3 are
    half a million of them.

    Parameters
    ----------
    columns : str, Expr, list, tuple or selector
        At least two numeric columns; always one call over all of them.
    max_lag : int
        Largest lag in rows, 0 to 1,000,000. With ``lag=2``, the second column of the pair comes two rows before the
        first.
    window_size : int
        Rows, at least 2.
    min_samples : int or None
        Rows where both must be present, 1 to `window_size`; default None: half of the window, at least 2, because the
        first windows of a series hold few rows and so few correlate by chance (two rows always by 1 or -1), which
        would be the strongest result of every pair.
    min_corr : float
        Pairs that matter, 0 to 1: those of which at least one result, at any lag and in any row (with
        ``reduce="last"`` in the last row), is at least this far from 0; all lags of such a pair are kept. Other pairs
        are left out of a table; without `reduce`, where the columns of the result must be known before anything is
        computed, theirs are null. Default 0: all pairs.
    unique : bool
        Default True: each pair once, ``(a, b)`` with ``a`` before ``b`` in the order of `columns`, so that only ``b``
        is ever lagged. False: both ``(a, b)`` and ``(b, a)``.
    reduce : {None, "max_abs", "last", "argmax_lag"}
        What is kept of each pair; default None: everything.

        - None: every row, as columns.
        - ``"max_abs"``: per lag the correlation that is farthest from 0 (with its sign; of r and -r the positive one)
          among all rows.
        - ``"last"``: per lag the correlation of the last row.
        - ``"argmax_lag"``: the lag at which the correlation farthest from 0 occurs, the smallest of equal ones, and
          that correlation.

    Returns
    -------
    Expr
        Struct named ``pairwise_lag_corr``. Without `reduce` one row per row and the fields ``{a}__{b}_lag{L}_corr``,
        pair by pair and each by lag; Float32 if both columns are, else Float64; null as in `rolling_corr`. With
        `reduce` the rows are those of a table with the fields ``a`` and ``b`` (names), ``lag`` (Int64) and ``corr``
        (Float64): one row per pair and lag in the same order or, for ``"argmax_lag"``, one per pair. ``corr`` is null
        where there is no result in any row, then also the ``lag`` of ``"argmax_lag"``.

    Notes
    -----
    Null, NaN and infinity are missing: a row counts for a pair where both are present. In `select` unnest the table or
    the columns with the frame's ``.unnest("pairwise_lag_corr")``; in ``group_by().agg()`` the result is a list for each
    group; a table fits neither `with_columns` nor ``.over()``.
    Cost per pair, lag and row: a few operations for eight pairs at a time, whatever the window, about six times as many
    where readings are missing. Sums of single columns are taken once for up to 64 partners. Memory: the result, and a
    tile of rows per thread. Differs from ACM: a pair without any correlation is dropped by any `min_corr` above 0
    (ACM keeps it).

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> x = [1.0, 4.0, 2.0, 7.0, 3.0, 9.0, 4.0, 6.0]
    >>> df = pl.DataFrame({"follower": [0.0, *x[:-1]], "leader": x, "other": [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]})
    >>> df.select(acm.pairwise_lag_corr(pl.all(), 1, 8, min_samples=6, reduce="argmax_lag")).unnest("pairwise_lag_corr")
    shape: (3, 4)
    ┌──────────┬────────┬─────┬──────────┐
    │ a        ┆ b      ┆ lag ┆ corr     │
    │ ---      ┆ ---    ┆ --- ┆ ---      │
    │ str      ┆ str    ┆ i64 ┆ f64      │
    ╞══════════╪════════╪═════╪══════════╡
    │ follower ┆ leader ┆ 1   ┆ 1.0      │
    │ follower ┆ other  ┆ 0   ┆ 0.425855 │
    │ leader   ┆ other  ┆ 0   ┆ 0.437595 │
    └──────────┴────────┴─────┴──────────┘
    """
    operation = "pairwise_lag_corr"
    packed = one_input(operation, columns, always_pack=True)
    window = _checks.integer(operation, "window_size", window_size, 2)
    if reduce is not None and reduce not in REDUCTIONS:
        raise _checks.invalid(operation, "reduce", f"None or one of {', '.join(map(repr, REDUCTIONS))}", reduce)
    threshold = _checks.number(operation, "min_corr", min_corr, positive=False)
    if threshold > 1:
        raise _checks.invalid(operation, "min_corr", "<= 1", min_corr)
    return call(
        operation,
        [packed],
        gives="table" if reduce is not None else "rows",
        window_size=window,
        min_samples=max(2, window // 2)
        if min_samples is None
        else _checks.min_samples(operation, min_samples, window, None),
        max_lag=_checks.integer(operation, "max_lag", max_lag, 0, LARGEST_LAG),
        min_corr=threshold,
        unique=_checks.flag(operation, "unique", unique),
        reduce=reduce,
    )


def correlation(columns: IntoColumns, method: Method = "pearson") -> pl.Expr:
    """Correlation matrix of all columns.

    Pearson's ``r`` of every pair over the rows where both are present, or Spearman's: Pearson's of the average ranks
    that these rows have among themselves.

    Parameters
    ----------
    columns : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them.
    method : {"pearson", "spearman"}
        Default Pearson, for linear relations. Spearman is for monotonic ones, and does not mind outliers.

    Returns
    -------
    Expr
        Struct named ``correlation`` with a Float64 field for each column, and as many rows as there are columns, in the
        same order: the matrix as a frame. Symmetric to the bit, 1 on the diagonal; null where fewer than two rows are
        common or one of the columns is constant on them (also on the diagonal).

    Notes
    -----
    Null, NaN and infinity are missing. In `select` unnest it with the frame's ``.unnest("correlation")``; in
    ``group_by().agg()`` the matrix is a list of p rows for each group, which ``.explode`` spreads; it does not fit
    ``.over()``, as it has rows of its own. Cost: ``n p^2 / 2`` multiplications without missing readings, six times that
    for pairs of columns with some; threads share the rows. No copy of the data is made: columns are read in blocks of
    rows. Spearman sorts each column and keeps its ranks, and ranks again for every pair with missing readings.
    ``DataFrame.corr`` of Polars and ``numpy.corrcoef`` give NaN for a pair as soon as one reading is NaN; pandas agrees
    with this function.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"a": [1.0, 2.0, 4.0, 8.0], "b": [2.0, None, 1.0, 0.0], "c": [5.0, 6.0, 7.0, 3.0]})
    >>> df.select(acm.correlation(pl.all(), "spearman")).unnest("correlation")
    shape: (3, 3)
    ┌──────┬──────┬──────┐
    │ a    ┆ b    ┆ c    │
    │ ---  ┆ ---  ┆ ---  │
    │ f64  ┆ f64  ┆ f64  │
    ╞══════╪══════╪══════╡
    │ 1.0  ┆ -1.0 ┆ -0.2 │
    │ -1.0 ┆ 1.0  ┆ 0.5  │
    │ -0.2 ┆ 0.5  ┆ 1.0  │
    └──────┴──────┴──────┘
    """
    operation = "correlation"
    packed = one_input(operation, columns, always_pack=True)
    if method not in METHODS:
        raise _checks.invalid(operation, "method", f"one of {', '.join(map(repr, METHODS))}", method)
    return call(operation, [packed], gives="table", method=method)
