"""Seasonal patterns on NumPy; formulas and rules are those of `acm_rs.features.seasonal`.

Bins of time are counted from a Monday, 00:00, by the clock of the times' zone. All means come from one table with a
cell for each bin of the least common multiple of the periods. Readings far from 1 are scaled by a power of two, so that
squares neither overflow nor vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats, Times
from acm_rs.fallback._registry import Field, operation

MONDAY = -3 * 86_400_000_000_000  # 29 December 1969, 00:00
MINUTE = 60_000_000_000
CELLS_MAX = 2**20  # bins of the table
RESOLUTION = 8 * np.finfo(np.float64).eps  # of readings: sums of squares below are rounding
SAFE = 1e100  # largest readings up to this, and from its inverse on, have safe squares
ACM_READINGS = 24  # least number of readings of ACM's formula
LIMITS = np.iinfo(np.int64)


# --- time ------------------------------------------------------------------------------------------------------------


class Periods:
    """Periods and the width of a bin, in nanoseconds."""

    def __init__(self, lengths: Sequence[int], every: int) -> None:
        self.lengths = list(lengths)
        self.every = every
        self.phases = [length // every for length in lengths]
        self.cells = math.lcm(*self.phases)

    def new(self, i: int) -> int:
        """Count the frequencies of a period that none before it has."""
        waves = np.arange(self.phases[i], dtype=np.int64)
        known = np.zeros(len(waves), dtype=bool)
        for phases in self.phases[:i]:
            known |= waves * phases % self.phases[i] == 0
        return int(np.count_nonzero(~known))

    def bins(self, times: Times) -> Times:
        """Bins since the Monday."""
        whole, before = times // self.every, -(MONDAY // self.every)
        whole = np.where(
            whole > LIMITS.max - before, LIMITS.max, whole + np.minimum(before, LIMITS.max - whole.clip(0))
        )
        return np.asarray(whole - (times % self.every < MONDAY % self.every))


class Clock:
    """What all columns of a frame share: the bin, the cell and the cycles of each row."""

    def __init__(self, periods: Periods, times: Times) -> None:
        self.periods = periods
        self.times = times
        self.bins = periods.bins(times)
        self.cells = self.bins % periods.cells

    def cycles(self, i: int) -> Times:
        """Begin of the cycle of each row, as far as 64 bits reach."""
        length = self.periods.lengths[i]
        within = (self.times % length - MONDAY % length) % length
        return np.asarray(np.where(self.times < LIMITS.min + within, LIMITS.min, self.times - within))


# --- patterns --------------------------------------------------------------------------------------------------------


class Pattern(NamedTuple):
    """What a period explains; NaN and an empty profile where that is not known."""

    confidence: float = np.nan
    amplitude: float = np.nan
    peak: int | None = None
    """The phase with the largest mean."""
    profile: Floats = np.empty(0)

    def counts(self, min_confidence: float) -> bool:
        """Whether it is sure enough to be taken out."""
        return self.confidence >= min_confidence and len(self.profile) > 0


def _pattern(confidence: float, means: Floats) -> Pattern:
    if np.isnan(means).all():
        return Pattern()
    return Pattern(confidence, float(np.nanmax(means) - np.nanmin(means)) / 2, int(np.nanargmax(means)), means)


def _fit(x: Floats, clock: Clock, min_cycles: int) -> list[Pattern]:
    """Patterns by phase means."""
    largest = float(np.nanmax(np.abs(x), initial=0.0))
    if largest == 0 or 1 / SAFE <= largest < SAFE:
        return _patterns(x, largest, clock, min_cycles)
    # in two steps, because the inverse of the smallest numbers is no number
    half = int(-(math.frexp(largest)[1] - 1) / 2)
    scaled = np.ldexp(np.ldexp(x, half), half)
    patterns = _patterns(scaled, math.ldexp(math.ldexp(largest, half), half), clock, min_cycles)
    return [
        pattern._replace(
            amplitude=float(np.ldexp(np.ldexp(pattern.amplitude, -half), -half)),
            profile=np.ldexp(np.ldexp(pattern.profile, -half), -half),
        )
        for pattern in patterns
    ]


def _patterns(x: Floats, largest: float, clock: Clock, min_cycles: int) -> list[Pattern]:
    periods = clock.periods
    present = ~np.isnan(x)
    patterns = [Pattern() for _ in periods.lengths]
    if not present.any():
        return patterns
    x, cells, bins = x[present], clock.cells[present], clock.bins[present]
    spanned = int(bins.max()) - int(bins.min()) + 1
    counts = np.bincount(cells, minlength=periods.cells).astype(np.float64)
    occupied = counts > 0
    divisors = np.maximum(counts, 1)
    means = np.bincount(cells, x, periods.cells) / divisors
    means += np.bincount(cells, x - means[cells], periods.cells) / divisors
    # about the mean of all readings, itself about the mean of one cell
    count = float(len(x))
    about = means[np.argmax(occupied)]
    rest = np.where(occupied, means - (about + (counts * (means - about)).sum() / count), 0.0)
    level = rest.copy()
    centre_of_all = about + (counts * (means - about)).sum() / count
    new_means: list[float] = []
    for i, phases in enumerate(periods.phases):
        if spanned < min_cycles * phases:
            break  # those that follow are longer
        by_phase = counts.reshape(-1, phases).sum(axis=0)
        profile = (counts * rest).reshape(-1, phases).sum(axis=0) / by_phase  # missing where there is no reading
        known = by_phase > 0
        new_means.append(max(periods.new(i) * np.count_nonzero(known) / phases - (i == 0), 0.0))
        rest = np.where(occupied, rest - np.tile(profile, periods.cells // phases), 0.0)
        patterns[i] = _pattern(np.nan, profile - profile[known].sum() / np.count_nonzero(known))
    # what the patterns leave of the mean of a cell is not fitted
    residuals = x - (level + centre_of_all - rest)[cells]
    fitted, floor = sum(new_means), count * (RESOLUTION * largest) ** 2
    for i, new in enumerate(new_means):
        left, with_pattern, met = _within_cycles(
            residuals, clock.cycles(i)[present], patterns[i].profile[cells % periods.phases[i]]
        )
        free = count - met - fitted
        if free > 0 and with_pattern > floor:
            confidence = max(1 - left / free / (with_pattern / (free + new)), 0.0)
            patterns[i] = patterns[i]._replace(confidence=confidence)
    return patterns


def _within_cycles(residuals: Floats, cycles: Times, profile: Floats) -> tuple[float, float, int]:
    """Sum squares about the means of the cycles, of residuals and of those with their profile; count the cycles."""
    _, first, ids = np.unique(cycles, return_index=True, return_inverse=True)
    counts = np.bincount(ids)
    about = residuals - residuals[first][ids]  # so that a drift from cycle to cycle does no harm

    def squares(values: Floats) -> float:
        sums = np.bincount(ids, values)
        return float(np.maximum(np.bincount(ids, values * values) - sums * sums / counts, 0.0).sum())

    return squares(about), squares(about + profile), len(counts)


def _fit_by_lag(x: Floats, clock: Clock, min_cycles: int) -> list[Pattern]:
    """ACM's patterns: of bins from the first to the last, with gaps interpolated; not centred."""
    periods = clock.periods
    patterns = [Pattern() for _ in periods.lengths]
    present = ~np.isnan(x)
    if np.count_nonzero(present) < ACM_READINGS:
        return patterns
    x, bins, times = x[present], clock.bins[present], clock.times[present]
    first = int(bins.min())
    count = int(bins.max()) - first + 1
    if count > max(CELLS_MAX, 64 * len(present)):
        return patterns
    places = bins - first
    values = np.bincount(places, x, count) / np.bincount(places, minlength=count)
    known = np.flatnonzero(~np.isnan(values))
    gaps = np.flatnonzero(np.isnan(values))
    after = np.searchsorted(known, gaps).clip(1, len(known) - 1)
    start, end = known[after - 1], known[after]
    values[gaps] = values[start] + (values[end] - values[start]) * ((gaps - start) / (end - start))
    span = int(times.max()) - int(times.min())
    for i, lag in enumerate(periods.phases):
        if span < min_cycles * periods.lengths[i] or count < min_cycles * lag:
            continue
        phases = np.arange(count) % lag
        confidence = max(0.0, _correlation(values[lag:], values[:-lag]))
        patterns[i] = _pattern(confidence, np.bincount(phases, values) / np.bincount(phases))
    return patterns


def _correlation(a: Floats, b: Floats) -> float:
    a, b = (side - (side[0] + (side - side[0]).sum() / len(side)) for side in (a, b))
    aa, bb = float((a * a).sum()), float((b * b).sum())
    if not (aa > 0 and bb > 0):
        return np.nan
    return float(np.clip((a * b).sum() / np.sqrt(aa) / np.sqrt(bb), -1.0, 1.0))


def _find(x: Floats, clock: Clock, min_cycles: int, formula: str) -> list[Pattern]:
    with np.errstate(all="ignore"):
        return (_fit if formula == "phase_means" else _fit_by_lag)(x, clock, min_cycles)


def _subtract(x: Floats, clock: Clock, patterns: list[Pattern], min_confidence: float, formula: str) -> Floats:
    periods = clock.periods
    sure = [(i, pattern) for i, pattern in enumerate(patterns) if pattern.counts(min_confidence)]
    with np.errstate(all="ignore"):
        if formula == "phase_means":
            offsets = np.zeros(len(x))
            for i, pattern in sure:
                offsets += pattern.profile[clock.cells % periods.phases[i]]
            return x - offsets
        for i, pattern in sure:
            if pattern.peak is None:
                continue
            length, minutes = periods.lengths[i], clock.times - clock.times % MINUTE
            phase = (minutes % length - MONDAY % length) % length - pattern.peak * periods.every
            x = x - pattern.amplitude * np.sin(2 * np.pi * phase.astype(np.float64) / length)
    return x


# --- the model as data -----------------------------------------------------------------------------------------------

DURATION = pl.Duration("ns")
PATTERN = {
    "column": pl.String(),
    "period": DURATION,
    "confidence": pl.Float64(),
    "amplitude": pl.Float64(),
    "peak": DURATION,
    "profile": pl.List(pl.Float64()),
}
MODEL = pl.Struct(
    {
        "formula": pl.String(),
        "time_zone": pl.String(),
        "every": DURATION,
        "patterns": pl.List(pl.Struct(PATTERN)),
    }
)
ORIGIN = "it must come from acm.seasonality, one row of it at a time"


def _durations(name: str, nanoseconds: list[int | None]) -> pl.Series:
    return pl.Series(name, nanoseconds, dtype=pl.Int64).cast(DURATION)


def _zone(dtype: pl.DataType) -> str | None:
    return dtype.time_zone if isinstance(dtype, pl.Datetime) else None


def _model(
    formula: str, zone: str | None, periods: Periods, columns: list[str], found: list[list[Pattern]]
) -> pl.Series:
    patterns = [pattern for of_column in found for pattern in of_column]
    peaks = [None if pattern.peak is None else pattern.peak * periods.every for pattern in patterns]
    profiles = [_io.write("", p.profile, pl.Float64()) if len(p.profile) else None for p in patterns]
    table = _io.struct_of(
        [
            pl.Series("column", [name for name in columns for _ in periods.lengths], dtype=pl.String),
            _durations("period", [length for _ in columns for length in periods.lengths]),
            _io.write("confidence", np.array([p.confidence for p in patterns], dtype=np.float64), pl.Float64()),
            _io.write("amplitude", np.array([p.amplitude for p in patterns], dtype=np.float64), pl.Float64()),
            _durations("peak", peaks),
            pl.Series("profile", profiles, dtype=PATTERN["profile"]),
        ]
    )
    return _io.struct_of(
        [
            pl.Series("formula", [formula]),
            pl.Series("time_zone", [zone], dtype=pl.String),
            _durations("every", [periods.every]),
            table.implode().alias("patterns"),
        ]
    )


class Model(NamedTuple):
    """A model as read from data."""

    formula: str
    periods: Periods
    columns: dict[str, list[Pattern]]

    def of(self, name: str) -> list[Pattern]:
        """Patterns of a column of the readings."""
        if name not in self.columns:
            known = ", ".join(f"`{column}`" for column in self.columns)
            text = f"column `{name}` is not in the model, which holds {known}; fit the model with it, or leave it out"
            raise _io.error("deseasonalize", text)
        return self.columns[name]


def _foreign(what: str) -> Exception:
    return _io.error("deseasonalize", f"`model` {what}; {ORIGIN}")


def _read(series: pl.Series, zone: str | None) -> Model:
    """Read a model of one row, alone or in a list, for readings with times of this zone."""
    if isinstance(series.dtype, pl.List):
        inner = series[0] if len(series) else None
        if inner is None:
            raise _foreign("is null")
        return _read(inner, zone)
    if series.dtype != MODEL:
        raise _foreign(f"has dtype {_io.dtype_name(series.dtype)}")
    if len(series) != 1 or series.null_count():
        raise _foreign(f"has {len(series)} rows, {series.null_count()} of them null")
    formula, fitted, every, table = series.struct.unnest().with_columns(pl.col("every").to_physical()).row(0)
    if formula not in ("phase_means", "acm"):
        raise _foreign("is damaged")
    if fitted != zone:
        theirs, ours = ("no time zone" if name is None else f"time zone {name}" for name in (fitted, zone))
        raise _io.error(
            "deseasonalize",
            f"`model` was fitted on times with {theirs}, `by` has {ours}: hours would not mean the same; use "
            ".dt.convert_time_zone or .dt.replace_time_zone first",
        )
    if every is None or table is None:
        raise _foreign("is damaged")
    patterns = series.struct.field("patterns")[0].struct.unnest().with_columns(pl.col("period", "peak").to_physical())
    return _checked(formula, every, patterns)


def _checked(formula: str, every: int, patterns: pl.DataFrame) -> Model:
    """Build the model of a table of patterns, which somebody may have changed."""
    columns: list[tuple[str, list[int], list[Pattern]]] = []
    profiles = patterns["profile"]
    for row, (name, length, confidence, amplitude, peak) in enumerate(patterns.drop("profile").iter_rows()):
        if name is None or length is None or (peak is not None and peak // max(every, 1) < 0):
            raise _foreign("is damaged")
        pattern = Pattern(
            np.nan if confidence is None else confidence,
            np.nan if amplitude is None else amplitude,
            None if peak is None else peak // max(every, 1),
            np.empty(0) if (profile := profiles[row]) is None else _io.read(profile),
        )
        # the periods of a column ascend
        if columns and columns[-1][0] == name and columns[-1][1][-1] < length:
            columns[-1][1].append(length)
            columns[-1][2].append(pattern)
        else:
            columns.append((name, [length], [pattern]))
    lengths = columns[0][1] if columns else []
    fit = every >= 1 and bool(lengths) and all(length > every and length % every == 0 for length in lengths)
    if not fit or math.lcm(*(length // every for length in lengths)) > CELLS_MAX:
        raise _foreign("is damaged")
    periods = Periods(lengths, every)
    for _, of_column, of in columns:
        if of_column != lengths or any(
            len(pattern.profile) not in (0, phases) for pattern, phases in zip(of, periods.phases, strict=True)
        ):
            raise _foreign("is damaged")
    by_name: dict[str, list[Pattern]] = {}
    for name, _, of in columns:
        by_name.setdefault(name, of)
    return Model(formula, periods, by_name)


# --- operations ------------------------------------------------------------------------------------------------------


def _checked_columns(name: str, fields: list[Field]) -> list[pl.Field]:
    _io.time_unit(name, fields[1])
    return [pl.Field(field.name, _io.float_of(name, field)) for field in _io.struct_fields(name, fields[0])]


def _seasonality_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    _checked_columns(name, fields)
    return MODEL


@operation(dtype=_seasonality_dtype)
def seasonality(  # noqa: D103
    inputs: list[pl.Series], *, periods: list[int], every: int, min_cycles: int, formula: str
) -> pl.Series:
    name = "seasonality"
    cycle = Periods(periods, every)
    clock = Clock(cycle, _io.local_times(name, inputs[1], len(inputs[0])))
    columns = _io.struct_columns(inputs[0])
    found = [_find(_io.read(column), clock, min_cycles, formula) for column in columns]
    return _model(formula, _zone(inputs[1].dtype), cycle, [column.name for column in columns], found)


def _deseasonalize_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    if len(fields) > 2:
        dtype = fields[2].dtype
        while isinstance(dtype, pl.List):
            dtype = dtype.inner  # type: ignore[assignment]
        if dtype != MODEL:
            raise _io.error(name, f"`model` has dtype {_io.dtype_name(dtype)}; {ORIGIN}")
    return pl.Struct(_checked_columns(name, fields))


@operation(dtype=_deseasonalize_dtype)
def deseasonalize(  # noqa: D103
    inputs: list[pl.Series], *, fit: dict[str, Any] | None, min_confidence: float
) -> pl.Series:
    name = "deseasonalize"
    times = _io.local_times(name, inputs[1], len(inputs[0]))
    columns = _io.struct_columns(inputs[0])
    found: Callable[[str, Floats], list[Pattern]]
    if fit is None:
        model = _read(inputs[2], _zone(inputs[1].dtype))
        formula, clock = model.formula, Clock(model.periods, times)
        found = lambda column, _: model.of(column)  # noqa: E731
    else:
        formula, min_cycles = fit["formula"], fit["min_cycles"]
        clock = Clock(Periods(fit["periods"], fit["every"]), times)
        found = lambda _, x: _find(x, clock, min_cycles, formula)  # noqa: E731
    results = []
    for column in columns:
        x = _io.read(column)
        adjusted = _subtract(x, clock, found(column.name, x), min_confidence, formula)
        results.append(_io.write(column.name, adjusted, _io.float_of(name, Field(column.name, column.dtype))))
    return _io.struct_of(results)
