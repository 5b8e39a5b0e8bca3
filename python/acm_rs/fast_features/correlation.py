"""ACM's correlations: of a target with references, and of all pairs with lags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import polars as pl

from acm_rs import _checks, features
from acm_rs.fast_features._frames import Columns, ReturnType, read, write

PolarsFrame: TypeAlias = "pl.DataFrame | pl.LazyFrame"


def rolling_xcorr(
    df: Any,
    window: int,
    target_col: str,
    ref_cols: Columns = None,
    min_periods: int = 1,
    standardize: bool = True,
    return_type: ReturnType = None,
) -> Any:
    """Trailing correlations of a target with other columns: columns ``{ref}_xcorr``.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns; those of an array are named ``0``, ``1``, ...
    window : int
        Rows, at least 2.
    target_col : str
        The column that is correlated with the others.
    ref_cols : str, list of str or None
        The others; default None: all numeric columns but the target.
    min_periods : int
        Rows where both must be present, 1 to `window`; default 1. Two are needed in any case.
    standardize : bool
        Without effect, as in ACM: a correlation does not depend on the scale.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64, within [-1, 1]; missing where too few rows are common or one of the columns is constant on them.
    """
    operation = "rolling_xcorr"
    _checks.flag(operation, "standardize", standardize)
    if not isinstance(target_col, str):
        raise _checks.mistyped(operation, "target_col", "a column name", target_col)
    if ref_cols is None:
        frame, names = read(df, None)
        references = [name for name in names if name != target_col]
        if target_col not in names:
            raise _checks.invalid(operation, "target_col", f"one of the numeric columns {names}", target_col)
    else:
        references = _checks.names(operation, "ref_cols", ref_cols)
        frame, names = read(df, list(dict.fromkeys([target_col, *references])))
    if not references:
        return write(frame.select(), df, return_type)
    result = frame.select(features.rolling_corr(references, target_col, window, min_samples=min_periods))
    result = result.unnest("rolling_corr").rename({name: f"{name}_xcorr" for name in references})
    return write(result, df, return_type)


def rolling_pairwise_lag(
    df: Any,
    max_lag: int = 3,
    cols: Columns = None,
    window: int | None = None,
    min_periods: int = 1,
    return_type: ReturnType = None,
) -> Any:
    """Trailing correlations of every column with every other one lagged: columns ``{a}__{b}_lag{L}_corr``.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    max_lag : int
        Largest lag in rows, at least 0; default 3.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    window : int or None
        Rows, at least 2; default None: ``max_lag + 1``.
    min_periods : int
        Rows where both must be present, 1 to `window`; default 1. Two are needed in any case.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64: for all ordered pairs in the order of the columns the lags 0 to `max_lag` of ``b``. Without a column
        where there are fewer than two sensors.
    """
    operation = "rolling_pairwise_lag"
    frame, names = read(df, cols)
    rows = _window(operation, max_lag, window)
    return write(_pairs(frame, names, max_lag, rows, min_periods, unique=False), df, return_type)


def batched_pairwise_lag(
    df: Any,
    max_lag: int = 3,
    cols: Columns = None,
    window: int | None = None,
    min_periods: int = 1,
    batch_size: int = 100,
    min_corr: float = 0.0,
    unique_pairs: bool = True,
    return_type: ReturnType = None,
) -> Any:
    """Trailing correlations of the pairs that matter: columns ``{a}__{b}_lag{L}_corr``, sensors sorted by name.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    max_lag : int
        Largest lag in rows, at least 0; default 3.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    window : int or None
        Rows, at least 2; default None: ``max_lag + 1``.
    min_periods : int
        Rows where both must be present, 1 to `window`; default 1. Two are needed in any case.
    batch_size : int
        Pairs at a time in ACM, at least 1; without effect here, where nothing is made but the result.
    min_corr : float
        Only pairs of which a correlation, at any lag and in any row, is at least this far from 0, with all their lags;
        0 to 1, default 0: all pairs.
    unique_pairs : bool
        Default True: only pairs with ``a`` before ``b`` in the alphabet. False: all ordered pairs.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64, pair by pair and each by lag; without a column where no pair is left. With a `min_corr` above 0, which
        columns a lazy frame has depends on its data: these are looked up at once, by a first pass that
        keeps one number per pair and lag; the result is lazy.
    """
    operation = "batched_pairwise_lag"
    _checks.integer(operation, "batch_size", batch_size, 1)
    unique = _checks.flag(operation, "unique_pairs", unique_pairs)
    frame, names = read(df, cols)
    names = sorted(names)
    rows = _window(operation, max_lag, window)
    if min_corr == 0 or len(names) < 2:
        _checks.number(operation, "min_corr", min_corr, positive=False)
        return write(_pairs(frame, names, max_lag, rows, min_periods, unique=unique), df, return_type)
    strongest = features.pairwise_lag_corr(
        names, max_lag, rows, min_samples=min_periods, min_corr=min_corr, unique=unique, reduce="argmax_lag"
    )
    table = frame.lazy().select(strongest).unnest("pairwise_lag_corr").collect()
    kept = [
        f"{a}__{b}_lag{lag}_corr"
        for a, b in table.select("a", "b").iter_rows()
        for lag in range(_checks.integer(operation, "max_lag", max_lag, 0) + 1)
    ]
    used = [name for name in names if name in {*table["a"], *table["b"]}]
    result = _pairs(frame, used, max_lag, rows, min_periods, unique=unique)
    return write(result.select(kept), df, return_type)


def _window(operation: str, max_lag: int, window: int | None) -> int:
    """Return the window in rows. With a lag of 0 ACM's default would be one row, which has no correlation."""
    lags = _checks.integer(operation, "max_lag", max_lag, 0)
    if window is not None:
        return _checks.integer(operation, "window", window, 2)
    if lags == 0:
        raise _checks.invalid(operation, "window", ">= 2; its default max_lag + 1 is too short here", window)
    return lags + 1


def _pairs(
    frame: PolarsFrame, names: Sequence[str], max_lag: int, window: int, min_periods: int, *, unique: bool
) -> PolarsFrame:
    if len(names) < 2:
        return frame.select()
    pairs = features.pairwise_lag_corr(names, max_lag, window, min_samples=min_periods, unique=unique)
    return frame.select(pairs).unnest("pairwise_lag_corr")
