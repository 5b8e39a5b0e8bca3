"""Quality of the readings: what should be found before a model learns from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import polars as pl
import polars.selectors as cs

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.features.rolling import IntoTime, PolarsFrame, WindowSize

__all__ = ["gaps", "out_of_range", "quality_report", "rate_of_change", "stuck"]

Over: TypeAlias = str | Sequence[str] | None
Limits: TypeAlias = Mapping[str, tuple[float | None, float | None]] | None

# A step in time is a gap from this many usual steps on: half a step of jitter is no missing row.
GAP_STEPS = 1.5


def stuck(
    expr: IntoColumns,
    min_length: WindowSize,
    *,
    tolerance: float = 0.0,
    look_ahead: bool = True,
    by: IntoTime = None,
) -> pl.Expr:
    """Whether a reading belongs to a standstill of the sensor.

    A standstill is a run of readings, at least `min_length` long, whose largest and smallest differ by no more than
    `tolerance`.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    min_length : int, str or timedelta
        How many readings (at least 2) make a standstill or, with `by`, how much time from its first to its last
        reading, such as ``"6h"``. Choose more than the machine itself stands still: a stopped turbine's pitch does not
        move for hours.
    tolerance : float
        Range that counts as no movement, at least 0, in the unit of the column; default 0: equal readings. For steps
        of one resolution choose a little more than it: 4.4 - 4.3 is not exactly 0.1.
    look_ahead : bool
        True, the default: all readings of a standstill are marked, also its first ones, as is right for cleaning.
        False: those from which on it has lasted for `min_length`, which is what can be known live.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a length by duration; default None: by rows.

    Returns
    -------
    Expr
        Boolean, under the name of the column; a struct named ``stuck`` for a list, tuple or selector. Null where the
        reading is missing.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped and do not count. Silence is no evidence of a standstill: a gap
    of `min_length` or more (rows without a reading, or time between two readings) ends the run.
    Cost: one pass. With ``look_ahead=False`` a row needs no row after it, so that a prefix of a series gives the prefix
    of its result.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 2.0, None, 2.0, 3.0]})
    >>> df.with_columns(
    ...     acm.stuck("x", 3).alias("stuck"),
    ...     acm.stuck("x", 3, look_ahead=False).alias("known"),
    ... )
    shape: (6, 3)
    ┌──────┬───────┬───────┐
    │ x    ┆ stuck ┆ known │
    │ ---  ┆ ---   ┆ ---   │
    │ f64  ┆ bool  ┆ bool  │
    ╞══════╪═══════╪═══════╡
    │ 1.0  ┆ false ┆ false │
    │ 2.0  ┆ true  ┆ false │
    │ 2.0  ┆ true  ┆ false │
    │ null ┆ null  ┆ null  │
    │ 2.0  ┆ true  ┆ true  │
    │ 3.0  ┆ false ┆ false │
    └──────┴───────┴───────┘
    """
    column = one_input("stuck", expr, always_pack=False)
    time = _checks.time_column("stuck", by)
    return call(
        "stuck",
        [column] if time is None else [column, time],
        min_length=_checks.rows_or_time("stuck", "min_length", min_length, by, least=2),
        tolerance=_checks.number("stuck", "tolerance", tolerance, positive=False),
        look_ahead=_checks.flag("stuck", "look_ahead", look_ahead),
    )


def out_of_range(expr: IntoColumns, low: float | None = None, high: float | None = None) -> pl.Expr:
    """Whether a reading lies outside of what the sensor or the machine can do.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    low : float or None
        Smallest possible reading, itself allowed, in the unit of the column; default None: no limit below.
    high : float or None
        Largest possible reading, itself allowed; default None: no limit above. One of the two must be given.

    Returns
    -------
    Expr
        Boolean, under the name of the column; a struct named ``out_of_range`` for a list, tuple or selector. Null where
        the reading is missing.

    Notes
    -----
    Null, NaN and infinity are missing. Cost: two comparisons per reading; row by row, so that it streams.
    Polars' ``~is_between`` takes NaN and infinity for readings.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"celsius": [12.5, -273.2, float("inf"), 60.0]})
    >>> df.with_columns(acm.out_of_range("celsius", -40, 60).alias("impossible"))
    shape: (4, 2)
    ┌─────────┬────────────┐
    │ celsius ┆ impossible │
    │ ---     ┆ ---        │
    │ f64     ┆ bool       │
    ╞═════════╪════════════╡
    │ 12.5    ┆ false      │
    │ -273.2  ┆ true       │
    │ inf     ┆ null       │
    │ 60.0    ┆ false      │
    └─────────┴────────────┘
    """
    lowest, highest = _range("out_of_range", "low", low, "high", high)
    column = one_input("out_of_range", expr, always_pack=False)
    return call("out_of_range", [column], gives="each_row", low=lowest, high=highest)


def rate_of_change(expr: IntoColumns, *, by: IntoTime = None) -> pl.Expr:
    """How fast a sensor moved since its last reading.

    ``(x_i - x_j) / (i - j)`` with the last reading ``x_j`` before row ``i``; with `by` the difference in time instead,
    in seconds.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a rate per second; default None: per row.

    Returns
    -------
    Expr
        Unit of the column per row, or per second with `by`; Float32 for Float32, else Float64, under the name of the
        column; a struct named ``rate_of_change`` for a list, tuple or selector. Null where the reading is missing, at
        the first reading, and where both readings have one time.

    Notes
    -----
    Null, NaN and infinity are missing: they are skipped, and the step over a gap is divided by all of its length.
    Cost: one pass. A direction that passes 360 degrees seems to jump: take the fields of `to_xy`. Integers beyond 2**53
    are rounded to Float64 first, so that small steps of huge counters are lost: subtract the first reading before.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 4.0, None, 10.0]})
    >>> df.with_columns(acm.rate_of_change("x").alias("per row"))
    shape: (4, 2)
    ┌──────┬─────────┐
    │ x    ┆ per row │
    │ ---  ┆ ---     │
    │ f64  ┆ f64     │
    ╞══════╪═════════╡
    │ 1.0  ┆ null    │
    │ 4.0  ┆ 3.0     │
    │ null ┆ null    │
    │ 10.0 ┆ 3.0     │
    └──────┴─────────┘
    """
    column = one_input("rate_of_change", expr, always_pack=False)
    time = _checks.time_column("rate_of_change", by)
    return call("rate_of_change", [column] if time is None else [column, time])


def gaps(frame: PolarsFrame, by: str, *, longer_than: WindowSize | None = None, over: Over = None) -> PolarsFrame:
    """Find the times at which rows are missing: one row for each gap between two successive times.

    Parameters
    ----------
    frame : DataFrame or LazyFrame
        The readings, for each series in the order of time.
    by : str
        Time column (Datetime or Date), ascending (in each series) and without nulls.
    longer_than : str, timedelta or None
        A longer step in time is a gap. Default None: one and a half times the series' usual step, its median.
    over : str, list of str or None
        Columns whose values name the series, for example the asset; default None: the frame is one series.

    Returns
    -------
    DataFrame or LazyFrame
        The columns of `over`, ``start`` and ``end`` (times of the rows on both sides), ``duration`` (``end - start``)
        and ``missing_rows`` (how many rows of the usual step are absent, Int64); in the order of `frame`. A LazyFrame
        stays lazy.

    Notes
    -----
    Looks at times alone: rows that are there but hold no reading are counted by `quality_report`. Equal times are no
    gap; ``frame.unique(["asset", "time"], keep="last", maintain_order=True)`` removes them.
    Cost: one pass over the times.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> from datetime import datetime
    >>> times = [datetime(2025, 1, 1, 0, minute) for minute in (0, 10, 20, 50)]
    >>> acm.gaps(pl.DataFrame({"time": times}), "time")
    shape: (1, 4)
    ┌─────────────────────┬─────────────────────┬──────────────┬──────────────┐
    │ start               ┆ end                 ┆ duration     ┆ missing_rows │
    │ ---                 ┆ ---                 ┆ ---          ┆ ---          │
    │ datetime[μs]        ┆ datetime[μs]        ┆ duration[μs] ┆ i64          │
    ╞═════════════════════╪═════════════════════╪══════════════╪══════════════╡
    │ 2025-01-01 00:20:00 ┆ 2025-01-01 00:50:00 ┆ 30m          ┆ 2            │
    └─────────────────────┴─────────────────────┴──────────────┴──────────────┘
    """
    _check_frame("gaps", frame)
    if not isinstance(by, str):
        raise _checks.mistyped("gaps", "by", "the name of the time column", by)
    keys: list[str] = _keys("gaps", over, ("start", "end", "duration", "missing_rows"))
    limit = None if longer_than is None else _checks.duration("gaps", "longer_than", longer_than)

    def each(expr: pl.Expr) -> pl.Expr:
        return expr.over(keys) if keys else expr

    # the check and the steps of each series in one expression
    ticks = call("checked_times", [pl.col(by)], of="gaps")
    step = ticks.diff()
    usual = step.filter(step > 0).median()
    found = frame.select(
        *keys,
        each(pl.col(by).shift()).alias("start"),
        pl.col(by).alias("end"),
        each(step).alias("__step"),
        each(usual).alias("__usual"),
    )
    is_gap = pl.col("__step") > (GAP_STEPS * pl.col("__usual") if limit is None else limit)
    absent = (pl.col("__step") / pl.col("__usual")).round() - 1
    return found.filter(is_gap).select(
        *keys,
        "start",
        "end",
        (pl.col("end") - pl.col("start")).alias("duration"),
        absent.cast(pl.Int64).clip(0).alias("missing_rows"),
    )


def quality_report(
    frame: PolarsFrame,
    by: str,
    *,
    over: Over = None,
    columns: IntoColumns | None = None,
    limits: Limits = None,
    stuck_for: WindowSize = "6h",
    tolerance: float = 0.0,
) -> PolarsFrame:
    """Table of what is wrong with the readings: one row for each asset and sensor.

    Parameters
    ----------
    frame : DataFrame or LazyFrame
        The readings, for each asset in the order of time.
    by : str
        Time column (Datetime or Date), ascending (in each asset) and without nulls.
    over : str, list of str or None
        Columns whose values name the asset; default None: the frame is one asset.
    columns : str, list, tuple, selector or None
        Sensors; default None: all numeric columns, and those that hold nulls alone, but those of `over`.
    limits : mapping or None
        Possible readings, ``{column: (low, high)}``, both allowed themselves; None for no limit on that side. Default
        None: nothing is out of range. The table's ``min`` and ``max`` show what to limit.
    stuck_for : int, str or timedelta
        How long a standstill must last to be listed: readings (at least 2) or a duration; default ``"6h"``, because
        machines that are stopped stand still for an hour or two. See `stuck`.
    tolerance : float
        Range that counts as a standstill, at least 0; default 0: equal readings.

    Returns
    -------
    DataFrame or LazyFrame
        Assets in the order of `frame`, sensors in that of `columns`. A LazyFrame stays lazy. Columns: those of `over`,
        then

        - ``sensor`` (String), ``rows``, ``readings`` (Int64) and ``missing``, the share of rows without a reading;
        - ``interval``, the usual step in time (the median), and ``duplicated_times``, rows with the time of the row
          before;
        - ``longest_gap``, the longest time from one reading to the next one, or from the asset's first or to its last
          row where readings begin late or end early; null if there is no reading;
        - ``min``, ``max`` (Float64, null if there is no reading) and ``constant``, whether all readings are equal;
        - ``out_of_range``, readings outside of `limits`, null for a sensor without limits;
        - ``stuck_spells``, ``stuck_readings`` and ``longest_stuck``, the time of the longest standstill, null if there
          is none. A standstill that goes on at another value is another spell.

    Notes
    -----
    Null, NaN and infinity are missing. Cost: a few passes over every sensor.
    Rows that are absent altogether are listed by `gaps`. Circular sensors (0 to 360 degrees) may be reported: every
    column here has a meaning for them.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> from datetime import datetime
    >>> df = pl.DataFrame(
    ...     {
    ...         "time": [datetime(2025, 1, 1, hour) for hour in (0, 1, 2, 2, 3, 4, 9)],
    ...         "celsius": [20.5, 21.0, 32.2, 32.2, 32.2, -273.2, None],
    ...     }
    ... )
    >>> report = acm.quality_report(df, "time", limits={"celsius": (-40, 60)}, stuck_for=3)
    >>> report.select("sensor", "readings", "duplicated_times", "longest_gap", "out_of_range", "longest_stuck")
    shape: (1, 6)
    ┌─────────┬──────────┬──────────────────┬──────────────┬──────────────┬───────────────┐
    │ sensor  ┆ readings ┆ duplicated_times ┆ longest_gap  ┆ out_of_range ┆ longest_stuck │
    │ ---     ┆ ---      ┆ ---              ┆ ---          ┆ ---          ┆ ---           │
    │ str     ┆ i64      ┆ i64              ┆ duration[μs] ┆ i64          ┆ duration[μs]  │
    ╞═════════╪══════════╪══════════════════╪══════════════╪══════════════╪═══════════════╡
    │ celsius ┆ 6        ┆ 1                ┆ 5h           ┆ 1            ┆ 1h            │
    └─────────┴──────────┴──────────────────┴──────────────┴──────────────┴───────────────┘
    """
    operation = "quality_report"
    _check_frame(operation, frame)
    if not isinstance(by, str):
        raise _checks.mistyped(operation, "by", "the name of the time column", by)
    keys: list[str] = _keys(operation, over, _FACT_NAMES)
    timed = _checks.is_duration(stuck_for)
    _checks.rows_or_time(operation, "stuck_for", stuck_for, by if timed else None, least=2)
    _checks.number(operation, "tolerance", tolerance, positive=False)
    ranges = _limits(operation, limits)
    sensors = frame.select(_sensors(operation, keys, columns)).collect_schema()
    if not sensors:
        raise _checks.invalid(operation, "frame", "a frame with at least one numeric column", frame.collect_schema())
    for sensor, dtype in sensors.items():
        if not (dtype.is_numeric() or dtype == pl.Null):
            allowed = f"numeric sensors, cast `{sensor}` or leave it out"
            raise _checks.invalid(operation, "columns", allowed, dtype)
    if absent := sorted(set(ranges) - set(sensors)):
        allowed = f"for sensors alone, which are {_checks.shown(sensors.names())}"
        raise _checks.invalid(operation, "limits", allowed, absent)

    def each(expr: pl.Expr) -> pl.Expr:
        return expr.over(keys) if keys else expr

    ticks = call("checked_times", [pl.col(by)], of=operation)
    # the checked times serve `stuck` too, so that wrong ones are refused in the name of the report
    of_ticks = pl.col(_TICKS).cast(pl.Datetime("ns")) if timed else None
    standstills = stuck(sensors.names(), stuck_for, tolerance=tolerance, by=of_ticks)
    marked = (
        frame.with_columns(each(ticks).alias(_TICKS))
        .with_columns(each(standstills).name.suffix_fields(_STUCK).alias(_STUCK))
        .unnest(_STUCK)
    )
    facts = [
        _facts(sensor, dtype, by, ranges.get(sensor), tolerance).alias(f"sensor {number}")
        for number, (sensor, dtype) in enumerate(sensors.items())
    ]
    per_asset = marked.group_by(keys, maintain_order=True).agg(facts) if keys else marked.select(facts)
    return (
        per_asset.with_row_index(_ASSET)
        .unpivot(on=[f"sensor {number}" for number in range(len(sensors))], index=[_ASSET, *keys], value_name=_FACTS)
        .sort(_ASSET, maintain_order=True)
        .select(*keys, _FACTS)
        .unnest(_FACTS)
    )


# the columns of the report but those of `over`
_FACT_NAMES = (
    "sensor",
    "rows",
    "readings",
    "missing",
    "interval",
    "duplicated_times",
    "longest_gap",
    "min",
    "max",
    "constant",
    "out_of_range",
    "stuck_spells",
    "stuck_readings",
    "longest_stuck",
)
# names of columns in between
_TICKS, _STUCK, _ASSET, _FACTS = "acm ticks", " acm stuck", "acm asset", "acm facts"


def _facts(
    sensor: str, dtype: pl.DataType, by: str, limits: tuple[float | None, float | None] | None, tolerance: float
) -> pl.Expr:
    """All columns of the report for one sensor of one asset, as a struct."""
    time = pl.col(by)
    step = pl.col(_TICKS).diff()
    # missing readings are the ones of which no standstill is known
    present = pl.col(sensor + _STUCK).is_not_null()
    # the dtype of a column of nulls alone has no least value in old Polars
    values = pl.col(sensor) if dtype != pl.Null else pl.col(sensor).cast(pl.Float64)
    reading, at, is_stuck = (column.filter(present) for column in (values, time, pl.col(sensor + _STUCK)))
    begins = is_stuck & (~is_stuck.shift(1, fill_value=False) | (reading.cast(pl.Float64).diff().abs() > tolerance))
    since = pl.when(begins).then(at).forward_fill()
    silence = pl.max_horizontal(at.diff().max(), at.first() - time.first(), time.last() - at.last())
    outside = pl.lit(None, dtype=pl.Int64)
    if limits is not None:
        outside = out_of_range(sensor, *limits).sum().cast(pl.Int64)
    return pl.struct(
        pl.lit(sensor).alias("sensor"),
        pl.len().cast(pl.Int64).alias("rows"),
        present.sum().cast(pl.Int64).alias("readings"),
        (1 - present.mean()).alias("missing"),
        time.diff().filter(step > 0).median().alias("interval"),
        (step == 0).sum().cast(pl.Int64).alias("duplicated_times"),
        silence.alias("longest_gap"),
        reading.min().cast(pl.Float64).alias("min"),
        reading.max().cast(pl.Float64).alias("max"),
        (reading.min() == reading.max()).alias("constant"),
        outside.alias("out_of_range"),
        begins.sum().cast(pl.Int64).alias("stuck_spells"),
        is_stuck.sum().cast(pl.Int64).alias("stuck_readings"),
        (at - since).filter(is_stuck).max().alias("longest_stuck"),
    )


def _check_frame(operation: str, frame: object) -> None:
    if not isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        raise _checks.mistyped(operation, "frame", "a polars DataFrame or LazyFrame", frame)


def _keys(operation: str, over: Over, results: Sequence[str]) -> list[str]:
    """Return the key columns, none of which may be named like a result."""
    keys: list[str] = [] if over is None else _checks.names(operation, "over", over)
    _checks.apart(operation, "over", keys, results)
    return keys


def _sensors(operation: str, keys: Sequence[str], columns: IntoColumns | None) -> Sequence[str | pl.Expr]:
    if columns is None:
        # a column of nulls alone is a sensor that never reported
        return [(cs.numeric() | cs.by_dtype(pl.Null)) - cs.by_name(*keys, require_all=False)]
    return columns if isinstance(columns, (list, tuple)) else [columns]  # type: ignore[list-item]


def _limits(operation: str, limits: Limits) -> dict[str, tuple[float | None, float | None]]:
    if limits is None:
        return {}
    if not isinstance(limits, Mapping):
        raise _checks.mistyped(operation, "limits", "a mapping from sensor to a pair (low, high), or None", limits)
    ranges = {}
    for sensor, pair in limits.items():
        parameter = f"limits[{sensor!r}]"
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise _checks.mistyped(operation, parameter, "a pair (low, high), None for no limit", pair)
        ranges[sensor] = _range(operation, f"{parameter}[0]", pair[0], f"{parameter}[1]", pair[1])
    return ranges


def _range(
    operation: str, of_low: str, low: float | None, of_high: str, high: float | None
) -> tuple[float | None, float | None]:
    """Check a lower and an upper limit, one of which may be absent."""
    lowest = None if low is None else _checks.finite(operation, of_low, low)
    highest = None if high is None else _checks.finite(operation, of_high, high)
    if lowest is None and highest is None:
        raise _checks.invalid(operation, of_low, f"a number, or else `{of_high}`", None)
    if lowest is not None and highest is not None and lowest > highest:
        raise _checks.invalid(operation, of_low, f"<= `{of_high}` ({high})", low)
    return lowest, highest
