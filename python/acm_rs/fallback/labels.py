"""Operations on labels on NumPy and SciPy; rules are those of `acm_rs.regimes.labels`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from acm_rs.fallback import _io, gmm, kmeans, models, regime
from acm_rs.fallback._io import Floats, Times
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.columns import by, each
from acm_rs.fallback.cusum import label_kind
from acm_rs.fallback.gmm import scaled
from acm_rs.fallback.models import numeric_fields
from acm_rs.fallback.rolling import Rows

NORMAL = 1.4826
LARGEST = 1e150
FARTHEST = 1e300
MISSING = -1  # code of a row without a label

Ranks = list[tuple[str, int]] | None


class Labels(NamedTuple):
    """Labels as codes in the order of what they stand for, with a row, a rank and a text for each."""

    series: pl.Series
    codes: Rows
    rows: Rows
    ranks: list[int]
    unknown: int | None

    def write(self, codes: Rows) -> pl.Series:
        """Return labels of the dtype that they came with."""
        places: Any = [None if code == MISSING else int(self.rows[code]) for code in codes]
        return self.series.gather(pl.Series(places, dtype=pl.UInt32))


def encoded(series: pl.Series, ranks: Ranks) -> Labels:
    """Take labels as codes."""
    keys = series
    if isinstance(series.dtype, (pl.Categorical, pl.Boolean, pl.Null)):
        keys = series.cast(pl.String if isinstance(series.dtype, pl.Categorical) else pl.UInt8)
    codes = (keys.rank("dense").cast(pl.Int64) - 1).fill_null(MISSING).to_numpy()
    found, rows = np.unique(codes, return_index=True)
    rows = rows[found != MISSING]
    texts = series.gather(pl.Series(rows, dtype=pl.UInt32)).cast(pl.String).to_list()
    known = dict(reversed(ranks or []))
    last = max((rank + 1 for rank in known.values()), default=0)
    unknown = texts.index("-1") if series.dtype.is_integer() and "-1" in texts else None
    return Labels(series, codes, rows, [known.get(text, last) for text in texts], unknown)


def _labels_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    if len(fields) > 1:
        _io.time_unit(name, fields[1])
    if not isinstance(fields[0].dtype, pl.Struct):
        label_kind(name, fields[0])
        return fields[0].dtype
    columns = _io.struct_fields(name, fields[0])
    for column in columns:
        label_kind(name, column)
    return pl.Struct({column.name: column.dtype for column in columns})


# --- smoothing -------------------------------------------------------------------------------------------------------


@operation(dtype=_labels_dtype)
def smooth_labels(  # noqa: D103
    inputs: list[pl.Series], *, window_size: int, passes: int, preserve_unknown: bool, ranks: Ranks
) -> pl.Series:
    times = by("smooth_labels", inputs)

    def of(series: pl.Series) -> pl.Series:
        labels = encoded(series, ranks)
        codes = labels.codes
        for _ in range(passes):
            codes = _filtered(codes, labels, window_size // 2, times)
        if preserve_unknown and labels.unknown is not None:
            codes = np.where(labels.codes == labels.unknown, labels.unknown, codes)
        return labels.write(codes)

    return each(inputs, of)


def _filtered(codes: Rows, labels: Labels, half: int, times: Times | None) -> Rows:
    """Each code replaced by the winner of its window: votes of one kind after the other, from the preferred on."""
    n = len(codes)
    if times is None:
        half = min(half, 2 * n)
        padded = codes[np.clip(np.arange(-half, n + half), 0, max(n - 1, 0))] if n else codes
        first, behind = np.arange(n), np.arange(n) + 2 * half + 1
    else:
        padded, limits = codes, np.iinfo(np.int64)
        lowest = np.where(times >= limits.min + half, times - np.int64(half), limits.min)
        highest = np.where(times <= limits.max - half, times + np.int64(half), limits.max)
        first, behind = np.searchsorted(times, lowest, "left"), np.searchsorted(times, highest, "right")
    winner, most = np.full(n, MISSING), np.zeros(n, dtype=np.int64)
    for code in sorted(range(len(labels.ranks)), key=lambda code: (labels.ranks[code], code)):
        total = np.concatenate(([0], np.cumsum(padded == code)))
        votes = total[behind] - total[first]
        winner, most = np.where(votes > most, code, winner), np.maximum(votes, most)
    keeps = (codes == MISSING) | (winner == (MISSING if labels.unknown is None else labels.unknown))
    return np.where(keeps, codes, winner)


@operation(dtype=_labels_dtype)
def smooth_transitions(inputs: list[pl.Series], *, min_dwell: int, ranks: Ranks) -> pl.Series:  # noqa: D103
    times = by("smooth_transitions", inputs)

    def of(series: pl.Series) -> pl.Series:
        labels = encoded(series, ranks)
        known = np.flatnonzero(labels.codes != MISSING)
        codes = labels.codes.copy()
        for code, first, last in _joined(labels, known, min_dwell, None if times is None else times[known]):
            codes[known[first : last + 1]] = code
        return labels.write(codes)

    return each(inputs, of)


Run = tuple[int, int, int]  # code, first and last place among the rows with a label


def _joined(labels: Labels, known: Rows, min_dwell: int, times: Times | None) -> list[Run]:
    def is_short(run: Run) -> bool:
        if times is None:
            return run[2] - run[1] + 1 < min_dwell
        return int(times[run[2]]) - int(times[run[1]]) < min_dwell

    def neighbour(runs: list[Run]) -> Run | None:
        return runs[-1] if runs and runs[-1][0] != labels.unknown else None

    def key(run: Run) -> tuple[int, int]:
        return labels.ranks[run[0]], run[1] - run[2]

    codes = labels.codes[known]
    starts = np.flatnonzero(np.diff(codes, prepend=MISSING)).tolist()
    ends = [start - 1 for start in starts[1:]] + [len(codes) - 1]
    ahead = [(int(codes[start]), start, end) for start, end in zip(starts, ends, strict=False)][::-1]
    done: list[Run] = []
    while ahead:
        run = ahead.pop()
        if done and done[-1][0] == run[0]:
            done[-1] = (run[0], done[-1][1], run[2])
            continue
        before, after = neighbour(done), neighbour(ahead)
        if run[0] == labels.unknown or not is_short(run) or (before is None and after is None):
            done.append(run)
        elif after is None or (before is not None and key(before) <= key(after)):
            done[-1] = (done[-1][0], done[-1][1], run[2])
        else:
            first = done.pop()[1] if before is not None and before[0] == after[0] else run[1]
            ahead[-1] = (after[0], first, after[2])
    return done


# --- transients ------------------------------------------------------------------------------------------------------


def _states_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    numeric_fields(name, fields[0])
    if len(fields) > 1:
        label_kind(name, fields[1])
    return pl.String()


@operation(dtype=_states_dtype)
def transient_states(  # noqa: D103
    inputs: list[pl.Series], *, window_size: int, high: float, trip: float, lag: int, weights: list[tuple[str, float]]
) -> pl.Series:
    name = "transient_states"
    columns, rows = _io.struct_columns(inputs[0]), len(inputs[0])
    given = dict(weights)
    for column in given:
        if column not in (names := [column.name for column in columns]):
            known = ", ".join(f"`{known}`" for known in names[:20])
            text = f"`weights` must be of the columns given, got one of `{column}`, which is not among {known}"
            raise _io.error(name, text)
    w = np.array([given.get(column.name, 1.0) for column in columns])
    if not (w != 0).any():
        raise _io.error(name, f"`weights` must be finite numbers, one of them not 0, got {w.tolist()}")
    w = w / np.abs(w).max()
    readings = [_io.read(column) for column in columns]
    if len(inputs) > 1 and len(inputs[1]) != rows:
        raise _io.error(name, f"`labels` must have a label for each of the {rows} rows, got {len(inputs[1])}")
    rates = np.stack([_rates(x) for x in readings])
    with np.errstate(all="ignore"):
        weight = (np.abs(w)[:, None] * ~np.isnan(rates)).sum(axis=0)
        means = [np.nansum(w[:, None] * rates, axis=0) / weight, np.nansum(np.abs(w[:, None] * rates), axis=0) / weight]
    (direction, _), (moved, counts) = (_trailing(np.where(weight > 0, mean, np.nan), window_size) for mean in means)
    size = np.where(counts > 0, moved / np.maximum(counts, 1), 0.0)
    near_trip = _nearest(size >= trip, lag)
    near_high = _nearest((size >= high) & (size < trip), lag)
    near_change = _nearest(_changes(inputs[1]) if len(inputs) > 1 else np.zeros(rows, dtype=bool), lag)
    states = np.full(rows, "steady", dtype=object)
    states[near_change >= 0] = "transient"
    states[near_high >= 0] = "startup"
    states[(near_high >= 0) & (direction[near_high] < 0)] = "shutdown"
    states[near_trip >= 0] = "trip"
    states[np.isnan(np.stack(readings)).all(axis=0)] = None
    return pl.Series(inputs[0].name, states.tolist(), dtype=pl.String)


def _rates(x: Floats) -> Floats:
    places = np.flatnonzero(~np.isnan(x))
    rates = np.full(len(x), np.nan)
    if len(places) < 2:
        return rates
    largest = np.finfo(float).max
    with np.errstate(all="ignore"):
        change = np.clip(np.diff(x[places] / 2) / np.diff(places) * 2, -largest, largest)
        sizes = np.sort(np.abs(change))
        lower, upper = sizes[(len(sizes) - 1) // 2], sizes[len(sizes) // 2]
        scale = NORMAL * (lower / 2 + upper / 2)
        scale = scale if scale > 0 else (sizes / len(sizes)).sum()
        rates[places[1:]] = np.clip(change / scale, -LARGEST, LARGEST) if scale > 0 else change
    return rates


def _trailing(x: Floats, window: int) -> tuple[Floats, Floats]:
    """Give sums and counts of the present numbers of trailing windows."""
    window = min(window, max(len(x), 1))
    padded = np.concatenate((np.full(window - 1, np.nan), x))
    windows = np.lib.stride_tricks.sliding_window_view(padded, window) if len(x) else padded.reshape(0, 1)
    return np.nansum(windows, axis=1), (~np.isnan(windows)).sum(axis=1).astype(np.float64)


def _nearest(chosen: NDArray[np.bool_], lag: int) -> Rows:
    """For each row the nearest chosen one within `lag` rows, the earlier of two; -1 where there is none."""
    rows, places = np.arange(len(chosen)), np.flatnonzero(chosen)
    if not len(places):
        return np.full(len(chosen), -1)
    after = np.searchsorted(places, rows)
    before = places[np.maximum(np.searchsorted(places, rows, "right") - 1, 0)]
    after = places[np.minimum(after, len(places) - 1)]
    nearest = np.where(np.abs(rows - before) <= np.abs(after - rows), before, after)
    return np.where(np.abs(nearest - rows) <= lag, nearest, -1)


def _changes(series: pl.Series) -> NDArray[np.bool_]:
    codes = encoded(series, None).codes
    known = np.flatnonzero(codes != MISSING)
    changes = np.zeros(len(codes), dtype=bool)
    changes[known[1:]] = codes[known][1:] != codes[known][:-1]
    return changes


# --- alignment -------------------------------------------------------------------------------------------------------

MAPPING = pl.List(pl.Struct({"label": pl.Int64(), "aligned": pl.Int64(), "distance": pl.Float64()}))
KINDS = (kmeans.KIND, gmm.KIND, regime.KIND)


def _innermost(dtype: pl.DataType) -> pl.DataType:
    return _innermost(dtype.inner) if isinstance(dtype, pl.List) else dtype  # type: ignore[arg-type]


def _align_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    new, old = (_innermost(field.dtype) for field in fields)
    if new not in [kind.dtype for kind in KINDS]:
        makers = "this version's `kmeans_fit`, `gmm_fit` or `regime_fit`"
        raise _io.error(name, f"`new` must be what {makers} gives, got dtype {_io.dtype_name(new)}")
    if old != new:
        text = f"`old` must be a model of the same kind as `new`, got dtype {_io.dtype_name(old)}"
        raise _io.error(name, text)
    return pl.Struct({"model": new, "mapping": MAPPING})


@operation(dtype=_align_dtype)
def align_labels(inputs: list[pl.Series]) -> pl.Series:  # noqa: D103
    name = "align_labels"
    kind = next(kind for kind in KINDS if kind.dtype == _innermost(inputs[0].dtype))
    new, old = (models.elements(name, "model", s) if isinstance(s.dtype, pl.List) else s for s in inputs)
    if len(old) not in (1, len(new)):
        text = f"`old` must be one model, or one for each of the {len(new)} of `new`, got {len(old)}"
        raise _io.error(name, text)
    for series in (new, old):
        for model in series.drop_nulls().to_list():
            kind.check_format(name, model)
    results = []
    for i, model in enumerate(new.to_list()):
        results.append(_aligned(name, model, old[i if len(old) > 1 else 0]))
    dtype = pl.Struct({"model": kind.dtype, "mapping": MAPPING})
    return pl.Series(inputs[0].name, results, dtype=dtype)


def _centers(model: dict[str, Any]) -> Floats:
    center, scale = (models.numbers(model[part]) for part in ("center", "scale"))
    if model["kind"] in ("kmeans", "regime"):
        return models.numbers(model["centers"]).reshape(-1, len(center))
    return kmeans.restored(models.numbers(model["means"]).reshape(-1, len(center)), center, scale)


def _aligned(name: str, new: dict[str, Any] | None, old: dict[str, Any] | None) -> dict[str, Any]:
    from scipy.optimize import linear_sum_assignment

    if new is None:
        return {"model": None, "mapping": None}
    labels: list[int] = list(new["labels"])
    distances: list[float | None] = [None] * len(labels)
    if old is not None:
        if sorted(new["columns"]) != sorted(old["columns"]):
            names = [str(model["columns"]).replace("'", '"') for model in (new, old)]
            text = f"`new` and `old` must be fitted on the same columns, got {names[0]} and {names[1]}"
            raise _io.error(name, f"{text}; fit both on those that they share")
        ours = _centers(new)[:, [new["columns"].index(column) for column in old["columns"]]]
        scale = models.numbers(old["scale"])
        zeros = np.zeros_like(scale)
        z, of_old = scaled(ours, zeros, scale), scaled(_centers(old), zeros, scale)
        with np.errstate(all="ignore"):
            cost = np.minimum(np.stack([kmeans.distance(of_old, center) for center in z]), FARTHEST)
        pairs = dict(zip(*(side.tolist() for side in linear_sum_assignment(cost)), strict=True))
        free = max(old["labels"]) + 1
        for i in range(len(labels)):
            labels[i] = old["labels"][pairs[i]] if i in pairs else free
            distances[i] = float(cost[i, pairs[i]]) if i in pairs else None
            free += i not in pairs
    mapping = [
        {"label": label, "aligned": aligned, "distance": distance}
        for label, aligned, distance in zip(new["labels"], labels, distances, strict=True)
    ]
    order = np.argsort(labels, kind="stable")
    parts = {
        "kmeans": ("centers", "sizes"),
        "gmm": ("weights", "means", "covariances"),
        "regime": ("weights", "means", "covariances", "limits", "sizes", "centers"),
    }[new["kind"]]
    reordered = {part: np.array(new[part]).reshape(len(labels), -1)[order].ravel().tolist() for part in parts}
    return {"model": new | reordered | {"labels": [labels[i] for i in order]}, "mapping": mapping}
