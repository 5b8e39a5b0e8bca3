"""k-means on NumPy; models and rules are those of `acm_rs.regimes.kmeans`.

Starts are drawn from NumPy's random numbers, so fits agree with the library's in quality; from given centres they agree
in number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from acm_rs.fallback import _io, models
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import operation
from acm_rs.fallback.gmm import label_dtype_of, scaled, scaling
from acm_rs.fallback.models import FLAG, INTEGER, INTEGERS, LEARNT, NUMBER, NUMBERS, Kind
from acm_rs.fallback.pca import total

KIND = Kind(
    "kmeans",
    1,
    LEARNT
    | {
        "center": NUMBERS,
        "scale": NUMBERS,
        "centers": NUMBERS,
        "sizes": INTEGERS,
        "labels": INTEGERS,
        "inertia": NUMBER,
        "iterations": INTEGER,
        "converged": FLAG,
    },
)


def _power(*values: Floats) -> float:
    """Power of two that brings these numbers below 1, so that they can be squared."""
    largest = max((float(np.abs(v).max(initial=0.0)) for v in values), default=0.0)
    return float(2.0 ** -np.clip(np.frexp(largest)[1], -1000, 1000))


# --- fit -------------------------------------------------------------------------------------------------------------


@operation(dtype=KIND.fit_dtype)
def kmeans_fit(  # noqa: D103
    inputs: list[pl.Series],
    *,
    k: int,
    n_init: int,
    max_iter: int,
    tol: float,
    init: list[float] | None,
    seed: int,
    scale: str,
    min_present: float,
    strict: bool,
) -> pl.Series:
    name = "kmeans_fit"
    columns = _io.struct_columns(inputs[0])
    if init is not None and len(init) != k * len(columns):
        raise _io.error(name, f"`init` must hold {k} centres of {len(columns)} columns, got {len(init)} numbers")

    def start() -> Floats | None:
        if init is None:
            return None
        # columns that say nothing are left out of the start, too
        cells = np.column_stack([_io.read(column) for column in columns])
        return np.array(init).reshape(k, -1)[:, models.teaching(cells, min_present)[0]]

    def learn(cells: Floats) -> dict[str, Any]:
        rules: dict[str, Any] = {
            "k": k,
            "n_init": n_init,
            "max_iter": max_iter,
            "tol": tol,
            "seed": seed,
            "scale": scale,
        }
        return fit_rows(cells, init=start(), **rules)

    return models.fit(name, KIND, inputs, learn, min_present=min_present, strict=strict)


def fit_rows(
    cells: Floats, *, k: int, n_init: int, max_iter: int, tol: float, init: Floats | None, seed: int, scale: str
) -> dict[str, Any]:
    """Learn from complete rows."""
    center, spread = scaling(cells, scale)
    z = scaled(cells, center, spread)
    starts = None if init is None else scaled(init, center, spread)
    power = _power(z, *([] if starts is None else [starts]))
    shift = (z * power).mean(axis=0)
    x = z * power - shift
    rounds = _Rounds(x, max_iter, tol * x.var(axis=0).mean())
    if starts is not None:
        fits = [rounds.run(starts * power - shift)]
    else:
        fits = [rounds.run(rounds.draw(k, np.random.default_rng([seed, i]))) for i in range(n_init)]
    centers, sizes, inertia, iterations, converged = min(fits, key=lambda fit: fit[2])
    inertia = inertia / power / power
    return {
        "center": center,
        "scale": spread,
        "centers": restored((centers + shift) / power, center, spread).ravel(),
        "sizes": sizes,
        "labels": list(range(k)),
        "inertia": inertia if np.isfinite(inertia) else np.nan,
        "iterations": iterations,
        "converged": converged,
    }


def restored(z: Floats, center: Floats, scale: Floats) -> Floats:
    """Scaled rows in the units of the readings."""
    x = z * scale + center
    x = np.where(np.isfinite(x), x, (z / 2 * scale + center / 2) * 2)
    largest = np.finfo(float).max
    return np.clip(x, -largest, largest)


Fit = tuple[Floats, list[int], float, int, bool]


class _Rounds:
    """Lloyd's iteration."""

    def __init__(self, x: Floats, max_iter: int, tolerance: float) -> None:
        self.x, self.max_iter, self.tolerance = x, max_iter, tolerance

    def squares(self, center: Floats) -> Floats:
        return np.asarray(((self.x - center) ** 2).sum(axis=1))

    def run(self, centers: Floats) -> Fit:
        centers, k, iterations, moved = centers.copy(), len(centers), 0, np.inf
        while True:
            squares = np.stack([self.squares(center) for center in centers])
            label, inertia = squares.argmin(axis=0), float(squares.min(axis=0).sum())
            counts = np.bincount(label, minlength=k)
            if moved <= self.tolerance or iterations == self.max_iter:
                return centers, counts.tolist(), inertia, iterations, bool(moved <= self.tolerance)
            iterations += 1
            empty = np.flatnonzero(counts == 0)
            moved = 0.0
            for c in np.flatnonzero(counts):
                mean = self.x[label == c].mean(axis=0)
                moved += float(((mean - centers[c]) ** 2).sum())
                centers[c] = mean
            if len(empty):
                self.move_to_farthest(centers, empty)
                moved = np.inf

    def move_to_farthest(self, centers: Floats, empty: NDArray[np.intp]) -> None:
        kept = np.delete(centers, empty, axis=0)
        near = np.min([self.squares(center) for center in kept], axis=0)
        for moved, c in enumerate(empty):
            if near.max() == 0:
                raise _few_rows(len(centers), len(kept) + moved)
            centers[c] = self.x[near.argmax()]
            near = np.minimum(near, self.squares(centers[c]))

    def draw(self, k: int, random: np.random.Generator) -> Floats:
        """Centres by k-means++."""
        rows = len(self.x)
        centers = [self.x[random.integers(rows)]]
        near = self.squares(centers[0])
        for found in range(1, k):
            if near.sum() == 0:
                raise _few_rows(k, found)
            trials = random.choice(rows, 2 + int(np.log(k)), p=near / near.sum())
            nearer = [np.minimum(near, self.squares(self.x[row])) for row in trials]
            best = int(np.argmin([candidate.sum() for candidate in nearer]))
            centers.append(self.x[trials[best]])
            near = nearer[best]
        return np.stack(centers)


def _few_rows(k: int, distinct: int) -> ValueError:
    return ValueError(f"{k} clusters need {k} different rows, but there are only {distinct}; ask for a smaller `k`")


# --- labels and distances --------------------------------------------------------------------------------------------


def _nearest(model: dict[str, Any], cells: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Position of the nearest centre and the distance to it."""
    center, spread = (models.numbers(model[part]) for part in ("center", "scale"))
    centers = scaled(models.numbers(model["centers"]).reshape(-1, len(center)), center, spread)
    z, power = scaled(cells, center, spread), _power(centers)
    distances = np.stack([distance(z * power, c * power) for c in centers])
    return distances.argmin(axis=0), distances.min(axis=0) / power


def distance(z: Floats, center: Floats) -> Floats:
    """Halves and their largest are taken out where squares do not fit a number."""
    squares = total((z - center) ** 2)
    halves = z / 2 - center / 2
    largest = np.abs(halves).max(axis=1)
    unit = np.where(largest > 0, largest, 1.0)
    huge = np.sqrt(total((halves / unit[:, None]) ** 2)) * unit
    return np.asarray(np.where(np.isfinite(squares), np.sqrt(squares), huge * 2))


def _rows(name: str, inputs: list[pl.Series], of: Callable[..., Floats], *, unknown_is_error: bool) -> pl.Series:
    def scorer(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        return of(model, *_nearest(model, cells))[:, None]

    return models.score(name, KIND, inputs, 1, scorer, unknown_is_error=unknown_is_error)[0]


@operation(dtype=label_dtype_of(KIND))
def kmeans_label(inputs: list[pl.Series], *, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def of(model: dict[str, Any], position: NDArray[np.intp], _distance: Floats) -> Floats:
        return np.array(model["labels"], dtype=np.float64)[position]

    return _rows("kmeans_label", inputs, of, unknown_is_error=unknown_is_error).cast(pl.Int64)


@operation(dtype=KIND.score_dtype)
def kmeans_distance(inputs: list[pl.Series], *, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def of(_model: dict[str, Any], _position: NDArray[np.intp], distance: Floats) -> Floats:
        return distance

    return _rows("kmeans_distance", inputs, of, unknown_is_error=unknown_is_error)
