"""AR(1) on NumPy: medians, a least-squares phi for each column, and scores of each reading given the one before."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.models import INTEGERS, NUMBERS, TEXTS, Kind, Models, numbers, numeric_fields, score_dtype
from acm_rs.fallback.rolling import NORMAL

KIND = Kind("ar1", 1, {"columns": TEXTS, "center": NUMBERS, "phi": NUMBERS, "scale": NUMBERS, "readings": INTEGERS})
ROUNDING = 16 * np.finfo(np.float64).eps


@operation(dtype=KIND.fit_dtype)
def ar1_fit(inputs: list[pl.Series], *, phi_cap: float, scale_floor: float, close_gaps: bool) -> pl.Series:  # noqa: D103
    columns = _io.struct_columns(inputs[0])
    with np.errstate(all="ignore"):
        fits = [_fit(_io.read(column), phi_cap, scale_floor, close_gaps=close_gaps) for column in columns]
    center, phi, scale, readings = (list(part) for part in zip(*fits, strict=True))
    parts = {"center": center, "phi": phi, "scale": scale, "readings": readings}
    return KIND.series(inputs[0].name, {"columns": [column.name for column in columns], **parts})


def _fit(x: Floats, phi_cap: float, scale_floor: float, *, close_gaps: bool) -> tuple[float, float, float, int]:
    present = x[~np.isnan(x)]
    readings = len(present)
    if not readings:
        return np.nan, np.nan, np.nan, 0
    center = _median(present)
    largest = np.abs(present).max()
    # a power of two that keeps squares within the range of numbers
    unit = 2.0**-600 if largest > 2.0**400 else 2.0**600 if largest < 2.0**-400 else 1.0
    y = (present if close_gaps else x) * unit - center * unit
    last, current = y[:-1], y[1:]
    pairs = ~np.isnan(last * current)
    square = (last[pairs] ** 2).sum()
    known = readings > 2 and pairs.any()
    phi = 0.0
    if known and square > (ROUNDING * largest * unit) ** 2 * pairs.sum():
        phi = float(np.clip((last[pairs] * current[pairs]).sum() / square, -phi_cap, phi_cap))
    residuals = (current - phi * last)[pairs] if known else y[~np.isnan(y)]
    spread = NORMAL * _median(np.abs(residuals - _median(residuals))) / unit
    return center, phi, max(spread, scale_floor) if np.isfinite(spread) else np.nan, readings


def _median(values: Floats) -> float:
    """Median whose middle does not overflow."""
    ordered = np.partition(values, [(len(values) - 1) // 2, len(values) // 2])
    low, high = ordered[(len(values) - 1) // 2], ordered[len(values) // 2]
    middle = (low + high) / 2
    return float(middle if np.isfinite(middle) else low / 2 + high / 2)


def _scores(
    name: str, inputs: list[pl.Series], *, standardized: bool, fit: dict[str, Any] | None, unknown_is_error: bool
) -> list[Floats]:
    if fit is not None:  # the whole series is at hand
        inputs = [inputs[0], inputs[0].shift(1), ar1_fit(inputs, **fit)]
    columns = _io.struct_columns(inputs[0])
    before = _io.struct_columns(inputs[1])
    of_fleet = len(inputs) > 3  # then the key one row before comes third, and the keys after the models
    with_models = [inputs[0], *inputs[3 if of_fleet else 2 :]]
    models = Models(name, KIND, with_models, unknown_is_error=unknown_is_error)
    none_before = inputs[1].is_null()
    if of_fleet and len(inputs[2]) == len(with_models[2]) == len(none_before):  # a literal key is that of all rows
        none_before |= with_models[2].ne_missing(inputs[2])
    first = none_before.to_numpy()
    groups = list(models.groups())
    places = [_places(name, model, columns) for model, _ in groups]
    results = []
    for j, column in enumerate(columns):
        x, last = _io.read(column), _io.read(before[j])
        out = np.full(len(x), np.nan)
        for (model, rows), place in zip(groups, places, strict=True):
            center, phi, scale = (numbers(model[part])[place[j]] for part in ("center", "phi", "scale"))
            divisor = scale if standardized else 1.0
            with np.errstate(all="ignore"):
                y, z = x[rows] - center, np.nan_to_num(last[rows] - center, nan=0.0, posinf=np.inf, neginf=-np.inf)
                score = (y - phi * z) / divisor
                # numbers on the way that leave the range: quarters of them do not
                z = np.nan_to_num(last[rows] * 0.25 - center * 0.25, nan=0.0)
                quarters = (x[rows] * 0.25 - center * 0.25 - phi * z) / (divisor * 0.25)
            out[rows] = np.where(np.isfinite(score), score, quarters)
        out[first | ~np.isfinite(out)] = np.nan
        results.append(out)
    return results


def _places(name: str, model: dict[str, Any], columns: list[pl.Series]) -> list[int]:
    known = {column: j for j, column in enumerate(model["columns"])}
    for column in columns:
        if column.name not in known:
            given = ", ".join(f"`{column}`" for column in model["columns"][:20])
            text = f"`model` has no column `{column.name}`, it was fitted on {given}; fit it on this column too"
            raise _io.error(name, text)
    return [known[column.name] for column in columns]


def _each_column(name: str, inputs: list[pl.Series], **parameters: Any) -> pl.Series:
    scores = _scores(name, inputs, **parameters)
    columns = _io.struct_columns(inputs[0])
    return _io.struct_of(
        [
            _io.write(column.name, score, _io.float_of(name, Field(column.name, column.dtype)))
            for column, score in zip(columns, scores, strict=True)
        ]
    )


def _scores_dtype(name: str, fields: list[Field], *, fuse: str | None = None, **_parameters: Any) -> pl.DataType:
    if len(fields) > 1:
        KIND.check_dtype(name, fields[3 if len(fields) > 3 else 2].dtype)
    columns = numeric_fields(name, fields[0])
    if fuse is not None:
        return score_dtype(columns)
    return pl.Struct({column.name: _io.float_of(name, column) for column in columns})


@operation(dtype=_scores_dtype)
def ar1_residual(inputs: list[pl.Series], **parameters: Any) -> pl.Series:  # noqa: D103
    return _each_column("ar1_residual", inputs, standardized=False, **parameters)


@operation(dtype=_scores_dtype)
def ar1_z(inputs: list[pl.Series], *, fuse: str | None, **parameters: Any) -> pl.Series:  # noqa: D103
    if fuse is None:
        return _each_column("ar1_z", inputs, standardized=True, **parameters)
    columns = _io.struct_columns(inputs[0])
    z = np.abs(_scores("ar1_z", inputs, standardized=True, **parameters))
    out = np.full(z.shape[1], np.nan)
    known = ~np.isnan(z).all(axis=0)
    if fuse == "mean":
        counts = (~np.isnan(z[:, known])).sum(axis=0)
        with np.errstate(over="ignore"):
            sums = np.nansum(z[:, known], axis=0) / counts
        shares = np.minimum(np.nansum(z[:, known] / counts, axis=0), np.finfo(np.float64).max)
        out[known] = np.where(np.isfinite(sums), sums, shares)
    elif known.any():
        out[known] = np.nanquantile(z[:, known], 0.5 if fuse == "median" else 0.95, axis=0)
    return _io.write(inputs[0].name, out, score_dtype([Field(column.name, column.dtype) for column in columns]))
