"""ACM's cleaning of feature frames and of their time index."""

from __future__ import annotations

import logging
from typing import Any

import polars as pl

from acm_rs import _checks
from acm_rs.fast_features._frames import read, write

LOGGER = logging.getLogger("acm_rs")


def impute_features(
    train: Any,
    score: Any,
    low_var_threshold: float = 1e-4,
) -> tuple[Any, Any, dict[str, str]]:
    """Fill training and scoring features by the training medians, and drop features that say nothing.

    Parameters
    ----------
    train : pandas, Polars or lazy frame, or 2-D array
        Features of the training data; numeric columns are used.
    score : pandas, Polars or lazy frame, or 2-D array
        Features to be scored. It gets the columns of `train`: absent ones are created (and filled), others are left
        out.
    low_var_threshold : float
        A feature is dropped if the standard deviation of its filled training values is below this, at least 0, in the
        feature's own unit; default 1e-4, as in ACM. It is not free of scale: lower it for channels in small units.

    Returns
    -------
    tuple
        `train`, `score`, each as the kind of frame it came as, Float64 and without missing values, and the dropped
        columns with their reasons: a dict from name to ``"all_NaN"`` or ``"low_variance"`` (also logged, as
        ``acm_rs``).

    Notes
    -----
    Null, NaN and infinity are missing. The statistics of a lazy `train` are collected by the call, because they decide
    which columns there are; the frames stay lazy. No feature left is a ValueError.
    """
    operation = "impute_features"
    threshold = _checks.number(operation, "low_var_threshold", low_var_threshold, positive=False)
    fitting, names = read(train, None)
    scoring, known = read(score, None)
    medians = _one_row(fitting, {name: pl.col(name).filter(pl.col(name).is_finite()).median() for name in names})
    there = [name for name in names if medians[name] is not None]
    deviations = _one_row(fitting, {name: _filled(name, medians[name]).std() for name in there})
    dropped = {}
    for name in names:
        if medians[name] is None:
            dropped[name] = "all_NaN"
        elif (deviations[name] or 0.0) < threshold:
            dropped[name] = "low_variance"
    kept = [name for name in names if name not in dropped]
    if not kept:
        allowed = f"a frame with a feature that varies by {threshold:g} or more; all were dropped"
        raise _checks.invalid(operation, "train", allowed, dropped)
    if dropped:
        LOGGER.info("%s: dropped %d of %d features: %s", operation, len(dropped), len(names), dropped)
    train_filled = fitting.select(_filled(name, medians[name]) for name in kept)
    score_filled = scoring.select(
        _filled(name, medians[name])
        if name in known
        else pl.repeat(medians[name], pl.len(), dtype=pl.Float64).alias(name)
        for name in kept
    )
    return write(train_filled, train, None), write(score_filled, score, None), dropped


def _one_row(frame: pl.DataFrame | pl.LazyFrame, values: dict[str, pl.Expr]) -> dict[str, float | None]:
    if not values:
        return {}
    return frame.lazy().select(**values).collect().row(0, named=True)


def _filled(name: str, value: float | None) -> pl.Expr:
    column = pl.col(name)
    return pl.when(column.is_finite()).then(column).otherwise(pl.lit(value, dtype=pl.Float64))


def ensure_local_index(df: Any, time: str | None = None) -> Any:
    """Make times naive: a time zone is taken off, what the clock on the wall says is kept.

    Parameters
    ----------
    df : pandas, Polars or lazy frame
        A pandas frame has its times in the index, a Polars frame in a column.
    time : str or None
        Time column of a Polars frame, Datetime, Date or String; default None: the first Datetime column. Not for
        pandas.

    Returns
    -------
    pandas, Polars or lazy frame
        A new frame, `df` itself is left as it is (ACM changes it). Text that is no time becomes null or NaT, as in ACM.

    Notes
    -----
    A numeric index is an error: ACM would take it for nanoseconds since 1970.
    """
    operation = "ensure_local_index"
    if _is_pandas(operation, df, time):
        import pandas as pd

        index = df.index
        if index.dtype.kind in "iufb" and len(index) > 0:
            raise _checks.mistyped(operation, "df", "a frame with times as its index", index)
        if not isinstance(index, pd.DatetimeIndex):
            index = pd.DatetimeIndex(pd.to_datetime(index, errors="coerce"), name=index.name)
        return df.set_axis(index.tz_localize(None), axis=0)
    name = _time_column(operation, df, time)
    dtype = df.collect_schema()[name]
    column = pl.col(name)
    if dtype == pl.String:
        column = column.str.to_datetime(strict=False)
    elif dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    return df.with_columns(column if dtype == pl.Date else column.dt.replace_time_zone(None))


def deduplicate_index(df: Any, time: str | None = None) -> tuple[Any, int]:
    """Keep the last row of every time.

    Parameters
    ----------
    df : pandas, Polars or lazy frame
        A pandas frame has its times in the index, a Polars frame in a column.
    time : str or None
        Time column of a Polars frame; default None: the first Datetime column. Not for pandas.

    Returns
    -------
    tuple
        The frame, sorted by time if rows were removed and else as it came, and the number of rows removed.

    Notes
    -----
    Missing times are one time, which is sorted last. Of a lazy frame the times are collected by the call, to count
    them; the frame stays lazy. Removed rows are a warning in the log (``acm_rs``).
    """
    operation = "deduplicate_index"
    removed: int
    if _is_pandas(operation, df, time):
        doubles = df.index.duplicated(keep="last")
        removed = int(doubles.sum())
        result = df[~doubles].sort_index() if removed else df
    else:
        column = _time_column(operation, df, time)
        times = df.lazy().select(column).collect()
        removed = times.height - times.n_unique()
        result = df
        if removed:
            kept = df.unique(column, keep="last", maintain_order=True)
            result = kept.sort(column, nulls_last=True)
    if removed:
        LOGGER.warning("%s: removed %d rows with a time that comes again", operation, removed)
    return result, removed


def _is_pandas(operation: str, df: Any, time: str | None) -> bool:
    if isinstance(df, (pl.DataFrame, pl.LazyFrame)):
        return False
    if not _checks.is_a(df, "pandas", "DataFrame"):
        raise _checks.mistyped(operation, "df", "a pandas, Polars or lazy frame", df)
    if time is not None:
        raise _checks.invalid(operation, "time", "None for a pandas frame, whose times are its index", time)
    return True


def _time_column(operation: str, frame: pl.DataFrame | pl.LazyFrame, time: str | None) -> str:
    schema = frame.collect_schema()
    if time is None:
        found = next((name for name, dtype in schema.items() if dtype == pl.Datetime), None)
        if found is None:
            raise _checks.invalid(operation, "time", "given, because no column is a Datetime", schema.names())
        return found
    if not isinstance(time, str):
        raise _checks.mistyped(operation, "time", "a column name or None", time)
    if time not in schema:
        raise _checks.invalid(operation, "time", f"one of the columns {_checks.shown(schema.names())}", time)
    if schema[time].base_type() not in (pl.Datetime, pl.Date, pl.String):
        raise _checks.invalid(operation, "time", f"a Datetime, Date or String column, not {schema[time]}", time)
    return time
