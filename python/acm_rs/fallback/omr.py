"""Overall model residual on NumPy; models, formulas and rules are those of `acm_rs.detectors.omr`."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from acm_rs.fallback import _io, models
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.models import NUMBER, NUMBERS, TEXT
from acm_rs.fallback.pca import (
    OUT_OF_RANGE,
    TOO_FEW_ROWS,
    learn,
    named,
    project,
    scaling,
    subtract,
    total,
)
from acm_rs.fallback.rolling import NORMAL

OMR = models.Kind(
    "omr",
    1,
    models.LEARNT
    | {
        "center": NUMBERS,
        "scale": NUMBERS,
        "method": TEXT,
        "vectors": NUMBERS,
        "tau": NUMBER,
        "variances": NUMBERS,
    },
)
TAU_FLOOR = 1e-6
VARIANCE_FLOOR = 1e-9
COLLINEAR = "a column is a combination of others; give `alpha` a larger value"


# --- fit -------------------------------------------------------------------------------------------------------------


def _regressions(z: Floats, alpha: float) -> Floats:
    """Return the rows that give the residual of each column, all from one inverse."""
    products = z.T @ z
    largest = products.diagonal().max()
    try:
        inverse = np.linalg.inv(products + alpha * np.eye(len(products)))
    except np.linalg.LinAlgError:
        raise ValueError(COLLINEAR) from None
    own = 1 / inverse.diagonal()
    if not (own > len(products) * np.finfo(np.float64).eps * largest).all():
        raise ValueError(COLLINEAR)
    return inverse * own[:, None]


def _residuals(method: str, vectors: Floats, z: Floats) -> Floats:
    vectors = vectors.reshape(-1, z.shape[1])
    return subtract(z, vectors, project(z, vectors)) if method == "pca" else project(z, vectors)


def _tau(norms: Floats) -> float:
    mad = NORMAL * np.median(np.abs(norms - np.median(norms)))
    return float(max(mad if mad > 0 else norms.std(), TAU_FLOOR))


@operation(dtype=OMR.fit_dtype)
def omr_fit(  # noqa: D103
    inputs: list[pl.Series], *, method: str, n_components: int, alpha: float, min_present: float, strict: bool
) -> pl.Series:
    def of(cells: Floats) -> dict[str, Any]:
        rows, columns = cells.shape
        if rows < 2:
            raise ValueError(TOO_FEW_ROWS.format(rows))
        center, scale = scaling(cells, "standard")
        z = (cells - center) / scale
        if method == "ridge":
            vectors = _regressions(z, alpha)
        elif columns == 1:
            vectors = np.empty((0, 1))
        else:
            vectors = np.array(learn(cells, min(n_components, columns - 1), "standard", 0.5)["components"])
        residuals = _residuals(method, vectors, z)
        tau, variances = _tau(np.sqrt(total(residuals**2))), residuals.var(axis=0)
        if not (np.isfinite(tau) and np.isfinite(variances).all()):
            raise ValueError(OUT_OF_RANGE)
        parts = {"center": center, "scale": scale, "method": method, "vectors": vectors.ravel()}
        return parts | {"tau": tau, "variances": variances}

    return models.fit("omr_fit", OMR, inputs, of, min_present=min_present, strict=strict)


# --- scores ----------------------------------------------------------------------------------------------------------


def _of_rows(model: dict[str, Any], cells: Floats) -> Floats:
    z = (cells - models.numbers(model["center"])) / models.numbers(model["scale"])
    return _residuals(model["method"], models.numbers(model["vectors"]), z)


@operation(dtype=OMR.score_dtype)
def omr_score(inputs: list[pl.Series], *, clip: float | None, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def of(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        scores = np.sqrt(total(_of_rows(model, cells) ** 2)) / model["tau"]
        # where it is out of range, there is none to clip
        scores = np.where(np.isfinite(scores), scores, np.nan)
        return (scores if clip is None else np.minimum(scores, clip))[:, None]

    return models.score("omr_score", OMR, inputs, 1, of, unknown_is_error=unknown_is_error)[0]


def _contributions_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    OMR.check_dtype(name, fields[1].dtype)
    columns = models.numeric_fields(name, fields[0])
    return pl.Struct(dict.fromkeys([column.name for column in columns], models.score_dtype(columns)))


@operation(dtype=_contributions_dtype)
def omr_contributions(inputs: list[pl.Series], *, scaled: bool, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    names = [column.name for column in _io.struct_columns(inputs[0])]

    def of(model: dict[str, Any], cells: Floats, positions: list[int]) -> Floats:
        squares = _of_rows(model, cells) ** 2
        unit = models.numbers(model["variances"]) + VARIANCE_FLOOR if scaled else total(squares)[:, None]
        parts = np.full((len(cells), len(names)), np.nan)
        parts[:, positions] = squares / unit
        return parts

    results = models.score("omr_contributions", OMR, inputs, len(names), of, unknown_is_error=unknown_is_error)
    return named(inputs, results, names)
