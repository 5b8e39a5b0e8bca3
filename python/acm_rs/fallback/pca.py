"""Principal components on NumPy and SciPy; models, formulas and rules are those of `acm_rs.detectors.pca`."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from acm_rs.fallback import _io, models
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.models import NUMBER, NUMBERS

PCA = models.Kind(
    "pca",
    1,
    models.LEARNT
    | {
        "center": NUMBERS,
        "scale": NUMBERS,
        "mean": NUMBERS,
        "components": NUMBERS,
        "eigenvalues": NUMBERS,
        "theta": NUMBERS,
        "spe_limit": NUMBER,
        "t2_limit": NUMBER,
    },
)
IQR_FLOOR = 1e-9

TOO_FEW_ROWS = "at least 2 rows with enough readings are needed, got {}"
OUT_OF_RANGE = "the readings are too large or too small to be squared; rescale the columns"


# --- fit -------------------------------------------------------------------------------------------------------------


def scaling(cells: Floats, scale: str) -> tuple[Floats, Floats]:
    """Return center and scale of each column."""
    columns = cells.shape[1]
    if scale == "none":
        return np.zeros(columns), np.ones(columns)
    # the deviations are squared in units of the largest
    center = (cells / len(cells)).sum(axis=0)
    distance = np.abs(cells - center)
    reach = distance.max(axis=0)
    deviation = reach * np.sqrt(((distance / reach) ** 2).mean(axis=0))
    if scale == "robust":
        center = np.median(cells, axis=0)
        # of the distances: an offset costs no digits
        lower, upper = np.quantile(cells - center, [0.25, 0.75], axis=0)
        spread = upper - lower
        deviation = np.where(spread > IQR_FLOOR * deviation, spread, deviation)
    if not (np.isfinite(center) & np.isfinite(deviation) & np.isfinite(1 / deviation)).all():
        raise ValueError(OUT_OF_RANGE)
    return center, deviation


def learn(cells: Floats, n_components: int, scale: str, confidence: float) -> dict[str, Any]:
    """Return the parts of a model of complete rows."""
    rows, columns = cells.shape
    if rows < 2:
        raise ValueError(TOO_FEW_ROWS.format(rows))
    center, width = scaling(cells, scale)
    scaled = (cells - center) / width
    # the mean of what is left of the mean
    mean = scaled.mean(axis=0)
    mean += (scaled - mean).mean(axis=0)
    try:
        _, singular, vectors = np.linalg.svd(scaled - mean, full_matrices=False)
    except np.linalg.LinAlgError:
        raise ValueError(OUT_OF_RANGE) from None
    values = singular**2 / (rows - 1)
    smallest = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
    if not (np.isfinite(values).all() and np.isfinite(mean).all() and values.sum() >= smallest):
        raise ValueError(OUT_OF_RANGE)
    rank = int((singular > singular[0] * max(rows, columns) * np.finfo(np.float64).eps).sum())
    k = min(n_components, columns, rows - 1, rank)
    components = vectors[:k]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    components = components * np.where(largest < 0, -1.0, 1.0)
    left = values[k:rank]
    theta = [float((left**power).sum()) for power in (1, 2, 3)]
    if not np.isfinite(theta).all():
        raise ValueError(OUT_OF_RANGE)
    return {
        "center": center,
        "scale": width,
        "mean": mean,
        "components": components.ravel(),
        "eigenvalues": values[:k],
        "theta": theta,
        "spe_limit": _spe_limit(left, confidence),
        "t2_limit": _t2_limit(rows, k, confidence),
    }


def _spe_limit(left: Floats, confidence: float) -> float:
    """Limit of Jackson and Mudholkar (1979, equation 3.4), else of Box (1954)."""
    if not len(left):
        return np.nan
    total = left.sum()
    shares = left / total
    squares, cubes = (shares**2).sum(), (shares**3).sum()
    h = 1 - 2 * cubes / (3 * squares**2)
    base = stats.norm.ppf(confidence) * np.sqrt(2 * squares * h**2) + 1 + squares * h * (h - 1)
    if h > 0 and base > 0:
        return float(total * base ** (1 / h))
    return float(total * squares * stats.chi2.ppf(confidence, 1 / squares))


def _t2_limit(rows: int, k: int, confidence: float) -> float:
    return float(k * (rows**2 - 1) / (rows * (rows - k)) * stats.f.ppf(confidence, k, rows - k))


@operation(dtype=PCA.fit_dtype)
def pca_fit(  # noqa: D103
    inputs: list[pl.Series], *, n_components: int, scale: str, confidence: float, min_present: float, strict: bool
) -> pl.Series:
    def of(cells: Floats) -> dict[str, Any]:
        most = max(cells.shape[1] - 1, 1)  # with as many as columns nothing is left for SPE
        return learn(cells, min(n_components, most), scale, confidence)

    return models.fit("pca_fit", PCA, inputs, of, min_present=min_present, strict=strict)


# --- scores ----------------------------------------------------------------------------------------------------------


def named(inputs: list[pl.Series], results: list[pl.Series], names: list[str]) -> pl.Series:
    """Return one struct of all results."""
    fields = [series.alias(name) for series, name in zip(results, names, strict=True)]
    return pl.DataFrame(fields).to_struct(inputs[0].name)


# Column by column: the rounding of a matrix product depends on how many rows it has, a score must not.


def project(rows: Floats, vectors: Floats) -> Floats:
    """Return the products of all rows with all vectors."""
    products = np.zeros((len(rows), len(vectors)))
    for j in range(rows.shape[1]):
        products += rows[:, j, None] * vectors[:, j]
    return products


def subtract(rows: Floats, vectors: Floats, scores: Floats) -> Floats:
    """Take the shares of the vectors off the rows."""
    rest = rows.copy()
    for vector, score in zip(vectors, scores.T, strict=True):
        rest -= score[:, None] * vector
    return rest


def total(rows: Floats) -> Floats:
    """Return the sum of each row."""
    sums = np.zeros(len(rows))
    for column in rows.T:
        sums += column
    return sums


class _Row:
    """What is computed of complete rows with a model."""

    def __init__(self, model: dict[str, Any], cells: Floats, *, mean_back: bool) -> None:
        center, scale, mean = (models.numbers(model[part]) for part in ("center", "scale", "mean"))
        self.values = models.numbers(model["eigenvalues"])
        self.components = models.numbers(model["components"]).reshape(len(self.values), -1)
        self.z: Floats = (cells - center) / scale - mean
        self.scores = project(self.z, self.components)
        self.residual = subtract(self.z, self.components, self.scores)
        if not mean_back:
            self.residual = subtract(self.z + mean, self.components, self.scores)
        if self.components.shape[0] == self.components.shape[1]:
            self.residual[:] = np.nan  # nothing is left over: it is rounding

    def spe(self) -> Floats:
        return total(self.residual**2)

    def t2(self) -> Floats:
        return total(self.scores**2 / self.values)


@operation(dtype=PCA.score_dtype)
def pca_spe(inputs: list[pl.Series], *, mean_back: bool, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def of(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        return _Row(model, cells, mean_back=mean_back).spe()[:, None]

    return models.score("pca_spe", PCA, inputs, 1, of, unknown_is_error=unknown_is_error)[0]


@operation(dtype=PCA.score_dtype)
def pca_t2(inputs: list[pl.Series], *, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def of(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        return _Row(model, cells, mean_back=True).t2()[:, None]

    return models.score("pca_t2", PCA, inputs, 1, of, unknown_is_error=unknown_is_error)[0]


def _scores_names(n_components: int) -> list[str]:
    return [*(f"pc_{a + 1}" for a in range(n_components)), "spe", "t2"]


def _scores_dtype(name: str, fields: list[Field], *, n_components: int, **_parameters: Any) -> pl.DataType:
    dtype = PCA.score_dtype(name, fields)
    return pl.Struct(dict.fromkeys(_scores_names(n_components), dtype))


@operation(dtype=_scores_dtype)
def pca_scores(  # noqa: D103
    inputs: list[pl.Series], *, n_components: int, mean_back: bool, unknown_is_error: bool
) -> pl.Series:
    names = _scores_names(n_components)

    def of(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        row = _Row(model, cells, mean_back=mean_back)
        # a model of fewer components has no score on the others
        scores = np.full((len(cells), len(names)), np.nan)
        count = min(n_components, row.scores.shape[1])
        scores[:, :count] = row.scores[:, :count]
        scores[:, -2], scores[:, -1] = row.spe(), row.t2()
        return scores

    results = models.score("pca_scores", PCA, inputs, len(names), of, unknown_is_error=unknown_is_error)
    return named(inputs, results, names)


def _contributions_names(columns: list[str]) -> list[str]:
    return [f"{column}_{statistic}" for column in columns for statistic in ("spe", "t2")]


def _contributions_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    PCA.check_dtype(name, fields[1].dtype)
    columns = models.numeric_fields(name, fields[0])
    return pl.Struct(
        dict.fromkeys(_contributions_names([column.name for column in columns]), models.score_dtype(columns))
    )


@operation(dtype=_contributions_dtype)
def pca_contributions(inputs: list[pl.Series], *, mean_back: bool, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    names = _contributions_names([column.name for column in _io.struct_columns(inputs[0])])

    def of(model: dict[str, Any], cells: Floats, positions: list[int]) -> Floats:
        row = _Row(model, cells, mean_back=mean_back)
        parts = np.full((len(cells), len(names)), np.nan)
        places = 2 * np.array(positions)
        parts[:, places] = row.residual**2
        parts[:, places + 1] = row.z * project(row.scores, (row.components / row.values[:, None]).T)
        return parts

    results = models.score("pca_contributions", PCA, inputs, len(names), of, unknown_is_error=unknown_is_error)
    return named(inputs, results, names)
