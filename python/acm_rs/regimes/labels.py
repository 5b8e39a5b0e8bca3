"""Labels of operating regimes: without flicker, with their transients, in a table, and alike from model to model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from acm_rs import _checks, _models
from acm_rs._models import Fitted
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.features.quality import GAP_STEPS
from acm_rs.features.rolling import IntoTime, PolarsFrame, WindowSize

__all__ = ["align_labels", "regime_statistics", "smooth_labels", "smooth_transitions", "transient_states"]

Label: TypeAlias = int | str | bool
Health: TypeAlias = Mapping[Any, str | None] | None
IntoModels: TypeAlias = str | pl.Expr | pl.Series | pl.DataFrame | Fitted

# from the best to the worst; labels without a state come last
HEALTH = ("healthy", "suspect", "critical")
# columns of `regime_statistics`
FACTS = ("rows", "segments", "transitions", "dwell", "avg_dwell", "dwell_fraction", "stability")
SCORE_FACTS = ("median_score", "p95_abs_score", "state", "normal")

STATES = ("steady", "transient", "startup", "shutdown", "trip")

ONE_MODEL = "one model; of a fleet join the frames and name the columns"

# A regime that takes this share of the time, with a median score up to this, may be the normal one. ACM's numbers.
NORMAL_SHARE, NORMAL_SCORE = 0.15, 2.0


def smooth_labels(
    expr: IntoColumns,
    window_size: WindowSize = 7,
    *,
    passes: int = 1,
    preserve_unknown: bool = True,
    health: Health = None,
    by: IntoTime = None,
) -> pl.Expr:
    """Replace each label by the most frequent one of the window about it.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Column or columns of labels: integers, text or booleans. A name or expression works column by column; a list,
        tuple or selector makes one call.
    window_size : int, str or timedelta
        Window with the row in its middle: an odd number of rows, at least 3, or with `by` a duration such as
        ``"30m"``, half of it on each side; default 7 rows.
    passes : int
        How often the labels are smoothed, at least 1; default 1. More passes remove what one pass leaves at the borders
        of regimes.
    preserve_unknown : bool
        Whether rows that had the label -1 in the beginning have it in the end, whatever was found for them; default
        True.
    health : mapping or None
        State of each label, ``"healthy"``, ``"suspect"`` or ``"critical"``, as `regime_statistics` finds it: of labels
        with equal votes the healthiest wins. Labels that are not in it, or have another state, come last. Default None:
        the smallest label wins.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a window by duration; default None: by rows.

    Returns
    -------
    Expr
        Labels of the same dtype, under the name of the column; a struct named ``smooth_labels`` for a list, tuple or
        selector. Null where the label is null.

    Notes
    -----
    Null labels stay null and have no vote. Of labels with equal votes the smallest wins: the least integer, the first
    text by the alphabet, the first category of an Enum. -1 is a label without a regime (integers only): where it wins,
    the row keeps its own label. Beyond both ends of the series the first and the last label are repeated; a window by
    duration ends there. Looks ahead by half a window, so that the last rows of a batch may change with the next one.
    Cost: two votes per row and pass. A row needs its neighbours: ``.over("asset", order_by="time")``; does not stream.
    ACM turns a duration into rows by the median interval, and with a health map -1 has no vote.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"regime": [0, 0, 0, 1, 0, 2, 2, None, 2, 2]})
    >>> df.select(acm.smooth_labels("regime", 3)).to_series().to_list()
    [0, 0, 0, 0, 0, 2, 2, None, 2, 2]
    """
    name = "smooth_labels"
    column = one_input(name, expr, always_pack=False)
    time = _checks.time_column(name, by)
    window = _checks.window(name, window_size, by, least=3)
    if by is None and window % 2 == 0:
        raise _checks.invalid(name, "window_size", "odd, so that the row is in the middle", window_size)
    return call(
        name,
        [column] if time is None else [column, time],
        window_size=window,
        passes=_checks.integer(name, "passes", passes, 1),
        preserve_unknown=_checks.flag(name, "preserve_unknown", preserve_unknown),
        ranks=_ranks(name, health),
    )


def smooth_transitions(
    expr: IntoColumns, min_dwell: WindowSize, *, health: Health = None, by: IntoTime = None
) -> pl.Expr:
    """Let short visits to a regime join the regime before or after them.

    A run of equal labels that is shorter than `min_dwell` takes the label of the longer one of its neighbouring runs,
    of the one before if they are equally long.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Column or columns of labels: integers, text or booleans. A name or expression works column by column; a list,
        tuple or selector makes one call.
    min_dwell : int, str or timedelta
        The least number of rows of a run, or with `by` the least time from its first to its last row, such as
        ``"15m"``: a single row spans no time.
    health : mapping or None
        State of each label, ``"healthy"``, ``"suspect"`` or ``"critical"``, as `regime_statistics` finds it: the
        neighbour of the better state wins before the longer one. Labels that are not in it, or have another state,
        come last. Default None: the length alone decides.
    by : str, Expr or None
        Time column (Datetime or Date), ascending and without nulls, for a dwell by duration; default None: by rows.

    Returns
    -------
    Expr
        Labels of the same dtype, under the name of the column; a struct named ``smooth_transitions`` for a list, tuple
        or selector. Null where the label is null.

    Notes
    -----
    Null labels stay null and are skipped: the labels around them are neighbours, and lengths are of the other rows.
    Runs of -1 (a label without a regime, integers only) stay as they are and are no neighbours. From left to right; a
    run that was joined counts with all its rows, so that in the end no run is short but for those without a neighbour.
    Cost: one pass. A row needs the whole series: ``.over("asset", order_by="time")``; does not stream.
    ACM looks at each run of the input alone, which may leave short ones behind.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"regime": [0, 0, 0, 1, 2, 2, 2, 2, 0]})
    >>> df.select(acm.smooth_transitions("regime", 2)).to_series().to_list()
    [0, 0, 0, 2, 2, 2, 2, 2, 2]
    """
    name = "smooth_transitions"
    column = one_input(name, expr, always_pack=False)
    time = _checks.time_column(name, by)
    return call(
        name,
        [column] if time is None else [column, time],
        min_dwell=_checks.rows_or_time(name, "min_dwell", min_dwell, by, least=1),
        ranks=_ranks(name, health),
    )


def _ranks(name: str, health: object) -> list[tuple[str, int]] | None:
    """Rank of each label, which travels as text: the lower is better."""
    if health is None:
        return None
    if not isinstance(health, Mapping):
        raise _checks.mistyped(name, "health", "a mapping of labels to states, or None", health)
    ranks = []
    for label, state in health.items():
        if isinstance(label, bool):
            text = str(label).lower()
        elif isinstance(label, str):
            text = label
        elif _checks.is_integer(label):
            text = str(int(label))
        else:
            raise _checks.mistyped(name, "health", "a mapping of integers, text or booleans to states", label)
        if state is not None and not isinstance(state, str):
            raise _checks.mistyped(name, f"health[{label!r}]", 'a state such as "healthy", or None', state)
        ranks.append((text, HEALTH.index(state) if state in HEALTH else len(HEALTH)))
    return ranks


def transient_states(
    expr: IntoColumns,
    labels: str | pl.Expr | None = None,
    *,
    window_size: int = 5,
    high: float = 3.0,
    trip: float = 5.0,
    lag: int = 3,
    weights: Mapping[str, float] | None = None,
) -> pl.Expr:
    """Say whether a machine runs steadily, is on its way up or down, trips, or changes its regime.

    The rate of a sensor is its change per row in units of its usual change, 1.4826 times the median of all. R is the
    mean of the rates' sizes over the sensors and over the trailing window, D the mean with their signs. ``trip``
    within `lag` rows of a row with R at or above `trip`; else ``startup`` or ``shutdown`` within `lag` rows of one with
    R at or above `high`, by the sign of D there; else ``transient`` within `lag` rows of a change of the label; else
    ``steady``.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns; always one call over all of them. Best a few sensors that say how hard the machine works:
        speed, power, flow.
    labels : str, Expr or None
        Column of labels of regimes, integers, text or booleans; default None: no row is ``transient``.
    window_size : int
        Rows of the trailing window, at least 1; default 5. One row finds jumps, more of them movements that last.
    high : float
        Least R of a startup or shutdown, above 0; default 3: three times the usual change.
    trip : float
        Least R of a trip, at least `high`; default 5.
    lag : int
        Rows before and after that belong to an event, at least 0; default 3.
    weights : mapping or None
        Weight of a column in the means; default None, and for columns that are not in it: 1. Its sign is the direction
        in which the sensor moves when the machine starts: a pitch angle that falls then has -1. 0 leaves a column out.

    Returns
    -------
    Expr
        Column named ``transient_states``, an Enum of these five words. Null where no column has a reading.

    Notes
    -----
    Null, NaN and infinity are missing: the change since the last reading is divided by the rows in between, and a
    sensor without a reading is left out of the mean; null labels are skipped. A sensor that mostly stands still, so
    that the median is 0, is measured by its mean change, and one that never moves has rate 0. The usual change is that
    of all rows at hand: give enough of them, a day and not an hour, and clean outliers before (`rolling_hampel`),
    because a single false reading looks like a trip. Looks ahead by `lag` rows. Needs the whole series:
    ``.over("asset", order_by="time")``; does not stream. Cost: a median and a few operations per reading.

    What ACM does otherwise: it divides changes by the reading before, so that sensors near 0 trip all the time, and
    caps them at the 99th percentile of all columns, which hides jumps; its startups are those whose R rises, whatever
    the sensors do; and it needs seven rows. So its thresholds do not carry over.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> power = [0.0, 1.0, 0.0, 1.0, 0.0, 9.0, 18.0, 27.0, 28.0, 27.0, 28.0, 27.0]
    >>> df = pl.DataFrame({"power": power})
    >>> states = df.select(acm.transient_states("power", window_size=2, trip=20, lag=0)).to_series()
    >>> states.to_list()[3:9]
    ['steady', 'steady', 'startup', 'startup', 'startup', 'startup']
    """
    name = "transient_states"
    columns = one_input(name, expr, always_pack=True)
    if labels is not None and not isinstance(labels, (str, pl.Expr)):
        raise _checks.mistyped(name, "labels", "a column name, an expression or None", labels)
    least = _checks.number(name, "high", high, positive=True)
    most = _checks.number(name, "trip", trip, positive=True)
    if most < least:
        raise _checks.invalid(name, "trip", f"at least `high` ({least:g})", trip)
    states = call(
        name,
        [columns] if labels is None else [columns, pl.col(labels) if isinstance(labels, str) else labels],
        window_size=_checks.integer(name, "window_size", window_size, 1),
        high=least,
        trip=most,
        lag=_checks.integer(name, "lag", lag, 0),
        weights=_weights(name, weights),
    )
    return states.cast(pl.Enum(STATES))


def _weights(name: str, weights: object) -> list[tuple[str, float]]:
    if weights is None:
        return []
    if not isinstance(weights, Mapping):
        raise _checks.mistyped(name, "weights", "a mapping of columns to numbers, or None", weights)
    for column in weights:
        if not isinstance(column, str):
            raise _checks.mistyped(name, "weights", "a mapping of columns to numbers, or None", weights)
    return [(column, _checks.finite(name, f"weights[{column!r}]", weight)) for column, weight in weights.items()]


def regime_statistics(
    frame: PolarsFrame,
    labels: str | pl.Expr,
    *,
    by: str | None = None,
    over: str | Sequence[str] | None = None,
    score: str | pl.Expr | None = None,
    warn: float = 1.5,
    alert: float = 3.0,
) -> PolarsFrame:
    """Table of the regimes: how much time each takes, how it is left, and how healthy it looks.

    Parameters
    ----------
    frame : DataFrame or LazyFrame
        Rows in the order of time, for each asset.
    labels : str or Expr
        Column of labels: integers, text or booleans.
    by : str or None
        Time column (Datetime or Date), ascending (in each asset) and without nulls, for dwell times; default None: in
        rows.
    over : str, list of str or None
        Columns whose values name the asset; default None: the frame is one asset.
    score : str, Expr or None
        Numeric column of anomaly scores, the higher the more unusual; default None: without states.
    warn : float
        Median score from which on a regime is suspect; default 1.5, as in ACM's code.
    alert : float
        Median score from which on a regime is critical, at least `warn`; default 3.

    Returns
    -------
    DataFrame or LazyFrame
        A row for each regime, in the order of assets and labels. A LazyFrame stays lazy. Columns: those of `over`, the
        label under its name, then

        - ``rows`` (Int64), ``segments``, the number of uninterrupted visits, and ``transitions``, a list of ``to`` and
          ``count``: how often the regime was left for which other;
        - ``dwell``, the time spent (Duration with `by`, else rows, Int64), ``avg_dwell``, that of a visit (Duration or
          Float64), and ``dwell_fraction``, the share of the asset's time that has labels;
        - ``stability``, 1 / segments;
        - with `score` ``median_score``, ``p95_abs_score`` (95th percentile of the score's size), ``state``
          (``healthy``, ``suspect``, ``critical``; null without a score) and ``normal``: whether this is the normal
          regime of its asset, if there is one.

    Notes
    -----
    Rows whose label is null are skipped: the labels around them are neighbours. Missing scores (null, NaN, infinity)
    are left out. A row lasts until the next one, but no longer than the asset's usual step (the median) where the next
    one is more than one and a half such steps away, and the last row lasts as long as the usual step.
    The normal regime is not -1, takes at least 15 % of the time with a median score of at most 2, and has the largest
    ``dwell_fraction / (1 + max(0, median_score))`` of those, the smallest label of equals. Cost: a few passes and a
    sort by label. ACM gives a gap to the regime before it, and counts transitions as ``segments - 1``.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"regime": [0, 0, 1, 0, 0, 2], "z": [0.1, 0.3, 4.0, 0.2, 0.2, 2.0]})
    >>> table = acm.regime_statistics(df, "regime", score="z")
    >>> table.select("regime", "rows", "segments", "avg_dwell", "state", "normal")
    shape: (3, 6)
    ┌────────┬──────┬──────────┬───────────┬──────────┬────────┐
    │ regime ┆ rows ┆ segments ┆ avg_dwell ┆ state    ┆ normal │
    │ ---    ┆ ---  ┆ ---      ┆ ---       ┆ ---      ┆ ---    │
    │ i64    ┆ i64  ┆ i64      ┆ f64       ┆ str      ┆ bool   │
    ╞════════╪══════╪══════════╪═══════════╪══════════╪════════╡
    │ 0      ┆ 4    ┆ 2        ┆ 2.0       ┆ healthy  ┆ true   │
    │ 1      ┆ 1    ┆ 1        ┆ 1.0       ┆ critical ┆ false  │
    │ 2      ┆ 1    ┆ 1        ┆ 1.0       ┆ suspect  ┆ false  │
    └────────┴──────┴──────────┴───────────┴──────────┴────────┘
    >>> table["transitions"].to_list()
    [[{'to': 1, 'count': 1}, {'to': 2, 'count': 1}], [{'to': 0, 'count': 1}], []]
    """
    name = "regime_statistics"
    if not isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        raise _checks.mistyped(name, "frame", "a polars DataFrame or LazyFrame", frame)
    if not isinstance(labels, (str, pl.Expr)):
        raise _checks.mistyped(name, "labels", "a column name or an expression", labels)
    if by is not None and not isinstance(by, str):
        raise _checks.mistyped(name, "by", "the name of the time column, or None", by)
    if score is not None and not isinstance(score, (str, pl.Expr)):
        raise _checks.mistyped(name, "score", "a column name, an expression or None", score)
    keys: list[str] = [] if over is None else _checks.names(name, "over", over)
    limits = [_checks.finite(name, "warn", warn), _checks.finite(name, "alert", alert)]
    if limits[1] < limits[0]:
        raise _checks.invalid(name, "alert", f"at least `warn` ({warn})", alert)

    def each(expr: pl.Expr) -> pl.Expr:
        return expr.over(keys) if keys else expr

    label = pl.col(labels) if isinstance(labels, str) else labels
    named, dtype = _only(name, "labels", frame, label)
    if not (dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)):
        raise _checks.invalid(name, "labels", f"integers, text or booleans in the column `{named}`", dtype)
    if named in keys:
        raise _checks.invalid(name, "labels", "another column than those of `over`", named)
    facts = FACTS if score is None else (*FACTS, *SCORE_FACTS)
    _checks.apart(name, "labels", [named], facts)
    _checks.apart(name, "over", keys, facts)
    base = frame.lazy().select(
        *keys,
        label.alias(_LABEL),
        *([] if by is None else [each(call("checked_times", [pl.col(by)], of=name)).alias(_TIME)]),
        *([] if score is None else [_score(name, frame, score)]),
    )
    lasts, unit = pl.lit(1, dtype=pl.Int64), None
    if by is not None:
        unit = pl.Duration(getattr(_only(name, "by", frame, pl.col(by))[1], "time_unit", "ms"))
        step = pl.col(_TIME).diff().shift(-1)
        usual = pl.col(_TIME).diff().median().fill_null(0)
        # else the last row, or one before a gap
        lasts = pl.when(step <= GAP_STEPS * usual).then(step).otherwise(usual.round().cast(pl.Int64))
    code = pl.col(_LABEL).to_physical()  # which old Polars compares where it refuses categories
    rows = (
        base.with_columns(each(lasts).alias(_LASTS))
        .filter(pl.col(_LABEL).is_not_null())
        .with_columns(
            each(code.ne_missing(code.shift())).alias(_BEGINS),
            each(code != code.shift(-1)).alias(_LEFT),
            each(pl.col(_LABEL).shift(-1)).alias(_TO),
        )
    )
    left = pl.col(_TO).filter(_LEFT).sort().rle()
    aggregates = [
        pl.len().cast(pl.Int64).alias("rows"),
        pl.col(_BEGINS).sum().cast(pl.Int64).alias("segments"),
        pl.struct(left.struct.field("value").alias("to"), left.struct.field("len").cast(pl.Int64).alias("count")).alias(
            "transitions"
        ),
        pl.col(_LASTS).sum().alias("dwell"),
    ]
    if score is not None:
        present = pl.col(_SCORE).filter(pl.col(_SCORE).is_finite())
        aggregates += [
            present.median().alias("median_score"),
            present.abs().quantile(0.95, interpolation="linear").alias("p95_abs_score"),
        ]
    table = rows.group_by(*keys, _LABEL).agg(aggregates).sort(*keys, _LABEL)
    fraction = pl.col("dwell") / each(pl.col("dwell").sum())
    per_visit = pl.col("dwell") / pl.col("segments")
    table = table.with_columns(
        pl.when(each(pl.col("dwell").sum()) > 0).then(fraction).alias("dwell_fraction"),
        pl.col("dwell") if unit is None else pl.col("dwell").cast(pl.Duration("ns")).cast(unit),
        (per_visit if unit is None else per_visit.round().cast(pl.Duration("ns")).cast(unit)).alias("avg_dwell"),
        (1 / pl.col("segments")).alias("stability"),
    )
    if score is not None:
        table = _states(table, each, *limits)
    table = table.select(*keys, pl.col(_LABEL).alias(named), *facts)
    return table if isinstance(frame, pl.LazyFrame) else table.collect()


def _only(name: str, parameter: str, frame: PolarsFrame, expr: pl.Expr) -> tuple[str, pl.DataType]:
    """Name and dtype of a column."""
    schema = frame.lazy().select(expr).collect_schema()
    if len(schema) != 1:
        raise _checks.invalid(name, parameter, "one column", schema.names())
    return next(iter(schema.items()))


def _score(name: str, frame: PolarsFrame, score: str | pl.Expr) -> pl.Expr:
    expr = pl.col(score) if isinstance(score, str) else score
    column, dtype = _only(name, "score", frame, expr)
    if not (dtype.is_numeric() or dtype == pl.Null):
        raise _checks.invalid(name, "score", f"numbers in the column `{column}`", dtype)
    return expr.cast(pl.Float64).alias(_SCORE)


# names of columns in between
_LABEL, _TIME, _SCORE, _LASTS, _BEGINS = "acm label", "acm ticks", "acm score", "acm lasts", "acm begins"
_LEFT, _TO, _MERIT = "acm left", "acm to", "acm merit"


def _states(table: pl.LazyFrame, each: Any, warn: float, alert: float) -> pl.LazyFrame:
    """Columns about health, from the median scores."""
    median, fraction = pl.col("median_score"), pl.col("dwell_fraction")
    at_alert = pl.when(median >= alert).then(pl.lit("critical"))
    state = at_alert.when(median >= warn).then(pl.lit("suspect")).when(median.is_not_null()).then(pl.lit("healthy"))
    usual = (fraction >= NORMAL_SHARE) & (median <= NORMAL_SCORE) & (pl.col(_LABEL).cast(pl.String) != "-1")
    merit = pl.when(usual).then(fraction / (1 + median.clip(0))).alias(_MERIT)
    best = pl.col(_MERIT) == each(pl.col(_MERIT).max())
    # step by step: the oldest Polars has no window within a window
    table = table.with_columns(state.alias("state"), merit).with_columns(best.fill_null(value=False).alias("normal"))
    return table.with_columns(pl.col("normal") & (each(pl.col("normal").cum_sum()) == 1))


def align_labels(new: IntoModels, old: IntoModels) -> pl.Expr:
    """Give the components of a new model the labels of the nearest components of an old one.

    The labels of a fit are arbitrary: of two fits on nearly the same rows the first may call 0 what the second calls 2.
    This assigns new components to old ones, one to one, at the least sum of distances between their centres (Jonker
    and Volgenant 1987).

    Parameters
    ----------
    new : str, Expr, Series, DataFrame, KMeansModel, GmmModel or RegimeModel
        What `kmeans_fit`, `gmm_fit` or `regime_fit` gave: one model, or a column of them.
    old : str, Expr, Series, DataFrame, KMeansModel, GmmModel or RegimeModel
        A model of the same kind, fitted on the same columns; or a column with one for each of `new`. Where it is null,
        the labels stay.

    Returns
    -------
    Expr
        Struct named ``align_labels``, row by row: ``model``, the new model with its components in the order of
        their labels, so that `kmeans_label` and `gmm_label` give the aligned ones; and ``mapping``, for each component
        its ``label`` before, ``aligned`` (Int64) and the ``distance`` to the old centre (Float64, null for a component
        without one). Null where the new model is.

    Notes
    -----
    Distances are Euclidean, in the units of the old model's ``scale``. Of fewer new components than old ones each gets
    the label of its old one, so that some labels are not in use; of more, those that are left over get the numbers
    above all old labels. Models of other columns than the old one, such as that of an asset with a dead sensor, are an
    error: give them null for `old`, and they keep their labels. Nothing but labels and order changes: the model
    scores every row as before. Cost: k cubed. ACM applies its mapping twice to mixtures, and never to the labels of
    the rows that it was fitted on.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 1.0, 20.0, 21.0, 50.0, 51.0]})
    >>> old = df.select(acm.kmeans_fit("x", 3, init=[[0.0], [20.0], [50.0]]))
    >>> new = df.select(acm.kmeans_fit("x", 3, init=[[50.0], [0.0], [20.0]]))
    >>> aligned = pl.select(acm.align_labels(new, old)).unnest("align_labels")
    >>> aligned["mapping"].explode().struct.unnest()
    shape: (3, 3)
    ┌───────┬─────────┬──────────┐
    │ label ┆ aligned ┆ distance │
    │ ---   ┆ ---     ┆ ---      │
    │ i64   ┆ i64     ┆ f64      │
    ╞═══════╪═════════╪══════════╡
    │ 0     ┆ 2       ┆ 0.0      │
    │ 1     ┆ 0       ┆ 0.0      │
    │ 2     ┆ 1       ┆ 0.0      │
    └───────┴─────────┴──────────┘
    >>> df.select(acm.kmeans_label("x", aligned.select("model"))).to_series().to_list()
    [0, 0, 1, 1, 2, 2]
    """
    return _models.align(_models_of("new", new), _models_of("old", old))


def _models_of(parameter: str, value: IntoModels) -> pl.Expr:
    """Return a column of models, or one as a scalar literal."""
    name = "align_labels"
    if isinstance(value, pl.Expr):
        return value
    if isinstance(value, str):
        return pl.col(value)
    data, key = _models.opened(value)

    def is_one(series: pl.Series) -> bool:
        return any(_models.is_model(series, kind) for kind in ("kmeans", "gmm", "regime"))

    several = isinstance(data, pl.DataFrame) and data.width > 1 and any(is_one(column) for column in data.get_columns())
    if key is not None or several:
        raise _checks.invalid(name, parameter, ONE_MODEL, value)
    return _models.literal(_models.one(name, parameter, data, is_one, "`kmeans_fit`, `gmm_fit` or `regime_fit`"))
