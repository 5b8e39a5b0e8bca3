"""Daily, weekly and other patterns of fixed periods: found, stored as data, and taken out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import polars as pl

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input

__all__ = ["deseasonalize", "seasonality"]

Formula: TypeAlias = Literal["phase_means", "acm"]
Periods: TypeAlias = Sequence[str | timedelta]
IntoModel: TypeAlias = pl.DataFrame | pl.Series | pl.Expr

PERIODS: Periods = ("1d", "7d")
FORMULAS = ("phase_means", "acm")
MODEL_FIELDS = ["formula", "time_zone", "every", "patterns"]


def seasonality(
    expr: IntoColumns,
    by: str | pl.Expr,
    *,
    periods: Periods = PERIODS,
    every: str | timedelta = "1h",
    min_cycles: int = 3,
    formula: Formula = "phase_means",
) -> pl.Expr:
    """Patterns that repeat with fixed periods, as a model.

    Time is cut into bins of `every`; the phase of a reading is the number of its bin within the period: the hour of day
    and the hour of week. The profile of a period is the mean of the readings of each phase, centred so that it sums to
    0 over a period (the seasonal component of classical decomposition, Brockwell & Davis 2016, 1.5.2). Periods are
    fitted in their order, each on what the ones before leave: the weekly pattern is what the daily one does not
    explain.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    by : str or Expr
        Time column (Datetime or Date) without nulls, in any order. With a time zone, its local clock counts.
    periods : sequence of str or timedelta
        Ascending durations, each a multiple of `every`; default a day and a week, the rhythms of people and weather.
    every : str or timedelta
        Width of a phase; default an hour, as in ACM: fine enough for a day, and 168 phases a week are met often enough.
    min_cycles : int
        Periods that the readings of a column must span, at least 2; default 3, as in ACM: what was seen once or twice
        is no pattern.
    formula : {"phase_means", "acm"}
        Default ``"phase_means"``, as described. ``"acm"`` is ACM's formula, for comparison only; see the notes.

    Returns
    -------
    Expr
        One row: struct named ``seasonality``, the model for `deseasonalize`. Fields: ``formula``; ``time_zone`` of `by`
        (null: none); ``every``; and ``patterns``, a list with a struct for every column and period of

        - ``column`` and ``period``;
        - ``confidence``: the share of the variance within a period (about the mean of each day, of each week) that the
          pattern explains, of what the other patterns leave, corrected for the number of phases: the adjusted partial
          R² of a randomised block design (Kelley 1935, Mordkoff 2019), 0 to 1. Null where there is no variance to
          explain, or where there are too few readings for so many phases;
        - ``amplitude``: half of the range of the profile, in the unit of the column;
        - ``peak``: begin of the phase with the largest mean, since 00:00, for longer periods since Monday 00:00;
        - ``profile``: list with a Float64 for each phase; null for a phase without readings.

        Confidence, amplitude, peak and profile are null where the readings span the period less than `min_cycles`
        times.

    Notes
    -----
    An aggregate: for `select` and ``group_by().agg()``. ``unnest``, ``explode`` and ``unnest`` make a table of it.
    Null, NaN and infinity are missing: they are skipped. Times may be irregular, with gaps, repeated and unsorted: each
    reading counts once, in the phase of its time. When clocks change, hours stay hours of the local clock: the hour
    that comes twice holds both, the one that is left out gets none; convert with ``.dt.convert_time_zone`` first if
    times are in UTC and the rhythm is that of people. Periods other than a day and a week are counted from Monday,
    1969-12-29, 00:00.
    Noise without a pattern has confidence 0 on average, whatever the number of phases. What changes from cycle to cycle
    (the year, the weather) does not lower the confidence, but a drift within the cycles does; in a series of few cycles
    it may look like a pattern, because neighbouring readings are not independent.
    Cost: two passes over the readings for the profiles, one for the confidence of each period. Columns are spread over
    threads.
    With ``formula="acm"``, as in ACM: the means of all bins from the first to the last (gaps interpolated) are compared
    with those a period before; the confidence is their correlation (0 if negative), ``peak`` is counted from the first
    bin, and the profile is not centred. At least 24 readings are needed.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> from datetime import datetime
    >>> time = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 28, 23), "1h", eager=True).alias("time")
    >>> daytime = time.dt.hour().is_between(8, 17).cast(pl.Float64) * 6
    >>> load = 20 + daytime * (time.dt.weekday() < 6) + pl.Series(range(len(time))) % 5
    >>> df = pl.DataFrame({"time": time, "load": load})
    >>> model = df.select(acm.seasonality("load", by="time"))
    >>> table = model.unnest("seasonality").explode("patterns").unnest("patterns")
    >>> table.select("column", "period", pl.col("confidence").round(3), pl.col("amplitude").round(3), "peak")
    shape: (2, 5)
    ┌────────┬──────────────┬────────────┬───────────┬──────────────┐
    │ column ┆ period       ┆ confidence ┆ amplitude ┆ peak         │
    │ ---    ┆ ---          ┆ ---        ┆ ---       ┆ ---          │
    │ str    ┆ duration[ns] ┆ f64        ┆ f64       ┆ duration[ns] │
    ╞════════╪══════════════╪════════════╪═══════════╪══════════════╡
    │ load   ┆ 1d           ┆ 0.691      ┆ 2.25      ┆ 9h           │
    │ load   ┆ 7d           ┆ 0.522      ┆ 3.554     ┆ 4d 12h       │
    └────────┴──────────────┴────────────┴───────────┴──────────────┘
    """
    operation = "seasonality"
    return call(
        operation,
        [one_input(operation, expr, always_pack=True), _time(operation, by)],
        gives="one_row",
        **_fit(operation, periods, every, min_cycles, formula),
    )


def deseasonalize(
    expr: IntoColumns,
    by: str | pl.Expr,
    *,
    periods: Periods | None = None,
    every: str | timedelta | None = None,
    min_cycles: int | None = None,
    min_confidence: float = 0.1,
    formula: Formula | None = None,
    model: IntoModel | None = None,
) -> pl.Expr:
    """Take the seasonal patterns out of readings.

    ``x - sum of the profiles at the phase of its time``: profiles sum to 0 over their period, so the level stays. They
    are those of `model`, fitted on other rows with `seasonality`, or, without a model, of the same rows.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    by : str or Expr
        Time column (Datetime or Date) without nulls, in any order; of the time zone that the model was fitted with.
    periods : sequence of str or timedelta, or None
        As in `seasonality`; default None: a day and a week. Not with `model`, which has its own.
    every : str, timedelta or None
        As in `seasonality`; default None: an hour. Not with `model`.
    min_cycles : int or None
        As in `seasonality`; default None: 3. Not with `model`.
    min_confidence : float
        Patterns of less confidence stay in, 0 to 1; default 0.1, as in ACM.
    formula : {"phase_means", "acm"} or None
        As in `seasonality`; default None: ``"phase_means"``. Not with `model`.
    model : DataFrame, Series, Expr or None
        One row of `seasonality`: a frame or Series of one row, which streams, or an expression of one row, for example
        ``pl.col("seasonality").first()`` within ``.over("asset")``. Default None: fitted on the same rows.

    Returns
    -------
    Expr
        Struct named ``deseasonalize`` with one field per column under its name, Float32 for Float32, else Float64. Null
        where the reading is missing, and where its phase had no reading when the profile was fitted.

    Notes
    -----
    Unnest it beside other columns with ``select``: the fields have the names of the sensors.
    Means are not robust: a few impossible readings (-273 degrees) lower the confidence of a pattern, below
    `min_confidence` it then stays in. Clean the sensors first, as with `out_of_range`.
    Null, NaN and infinity are missing: they are skipped, and stay null. Times are read as in `seasonality`.
    A pattern without confidence stays in, so a period that the rows do not span `min_cycles` times changes nothing: it
    is null in the model. A column that the model does not hold is an error.
    With a model each row is on its own, so the operation streams. Without one it looks at all rows, later ones too:
    use a model fitted on earlier rows where that must not be.
    Cost: one pass with a model, without one those of `seasonality`, too. Columns are spread over threads.
    With ``formula="acm"`` a sine is taken out instead, as in ACM: ``amplitude * sin(2 pi (h - peak) / period)``, where
    ``h`` is counted from midnight or Monday but ``peak`` from the first bin, and the sine is 0 at the peak. On data
    from midnight on this makes a pure daily cosine worse, not better; it is here for comparison only.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> from datetime import datetime
    >>> time = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 9, 23), "1h", eager=True).alias("time")
    >>> df = pl.DataFrame({"time": time, "load": 20.0 + (time.dt.hour() >= 12)})
    >>> train, score = df.head(168), df.tail(48).with_columns(load=pl.col("load") + (pl.int_range(48) == 30) * 5)
    >>> model = train.select(acm.seasonality("load", by="time", periods=["1d"]))
    >>> adjusted = score.select("time", acm.deseasonalize("load", by="time", model=model)).unnest("deseasonalize")
    >>> adjusted.slice(28, 4)
    shape: (4, 2)
    ┌─────────────────────┬──────┐
    │ time                ┆ load │
    │ ---                 ┆ ---  │
    │ datetime[μs]        ┆ f64  │
    ╞═════════════════════╪══════╡
    │ 2024-01-09 04:00:00 ┆ 20.5 │
    │ 2024-01-09 05:00:00 ┆ 20.5 │
    │ 2024-01-09 06:00:00 ┆ 25.5 │
    │ 2024-01-09 07:00:00 ┆ 20.5 │
    └─────────────────────┴──────┘
    """
    operation = "deseasonalize"
    inputs = [one_input(operation, expr, always_pack=True), _time(operation, by)]
    least = _checks.number(operation, "min_confidence", min_confidence, positive=False)
    if least > 1:
        raise _checks.invalid(operation, "min_confidence", "a number from 0 to 1", min_confidence)
    if model is None:
        fit = _fit(
            operation,
            PERIODS if periods is None else periods,
            "1h" if every is None else every,
            3 if min_cycles is None else min_cycles,
            "phase_means" if formula is None else formula,
        )
        return call(operation, inputs, fit=fit, min_confidence=least)
    own = {"periods": periods, "every": every, "min_cycles": min_cycles, "formula": formula}
    for parameter, value in own.items():
        if value is not None:
            raise _checks.invalid(operation, parameter, "None when `model` is given, which has its own", value)
    if isinstance(model, pl.Expr):
        return call(operation, [*inputs, model], fit=None, min_confidence=least)
    return call(operation, [*inputs, _literal(operation, model)], gives="each_row", fit=None, min_confidence=least)


def _fit(operation: str, periods: object, every: object, min_cycles: object, formula: object) -> dict[str, Any]:
    """Check what decides about the patterns."""
    width = _checks.duration(operation, "every", every)
    if formula not in FORMULAS:
        raise _checks.invalid(operation, "formula", f"one of {', '.join(map(repr, FORMULAS))}", formula)
    return {
        "periods": _checks.periods(operation, periods, width),
        "every": width,
        "min_cycles": _checks.integer(operation, "min_cycles", min_cycles, 2),
        "formula": formula,
    }


def _time(operation: str, by: object) -> pl.Expr:
    time = _checks.time_column(operation, by)
    if time is None:
        raise _checks.mistyped(operation, "by", "a column name or an expression", by)
    return time


def _literal(operation: str, model: object) -> pl.Expr:
    """Return a model as a scalar literal: a literal of a Series would be repeated for every row."""
    allowed = "one row of `seasonality`: a frame, a Series or an expression"
    if isinstance(model, pl.DataFrame):
        if model.width != 1:
            one_each = 'join a model for each asset and give pl.col("seasonality").first() under .over(asset)'
            raise _checks.invalid(operation, "model", f"{allowed} of one column ({one_each})", model.columns)
        model = model.to_series()
    if not isinstance(model, pl.Series):
        raise _checks.mistyped(operation, "model", allowed, model)
    if not isinstance(model.dtype, pl.Struct) or [field.name for field in model.dtype.fields] != MODEL_FIELDS:
        raise _checks.invalid(operation, "model", allowed, model.dtype)
    if len(model) != 1 or model.null_count():
        found = f"{len(model)} rows, {model.null_count()} of them null"
        raise _checks.invalid(operation, "model", f"{allowed}, which is not null", found)
    # through Python's integers, because its durations end at microseconds
    numbers = model.to_physical()
    return pl.lit(numbers.to_list(), dtype=pl.List(numbers.dtype)).cast(pl.List(model.dtype))
