"""Robust scaling on NumPy; models, formulas and rules are those of `acm_rs.features.scaling`.

How models and keys come in is said in `acm_rs.fallback.models`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.columns import each, floats
from acm_rs.fallback.filling import median
from acm_rs.fallback.models import elements, key_positions
from acm_rs.fallback.rolling import NORMAL, one_each_dtype

PARTS = pl.Struct(
    {"center": pl.Float64, "scale": pl.Float64, "p05": pl.Float64, "p95": pl.Float64, "readings": pl.Int64}
)


# --- models ----------------------------------------------------------------------------------------------------------


def _quantile(readings: Floats, p: float) -> float:
    """Quantile by linear interpolation (Hyndman and Fan 1996, type 7); NaN if there is no reading."""
    if not len(readings):
        return np.nan
    h = (len(readings) - 1) * p
    k = int(h)
    share = h - k
    places = [k, min(k + 1, len(readings) - 1)]
    lower, upper = np.partition(readings, places)[places]
    if share == 0 or upper == lower:
        return float(lower)
    step = (upper - lower) * share
    return float(lower + step if np.isfinite(step) else lower * (1 - share) + upper * share)


def _fit(x: Floats) -> dict[str, float | None]:
    """Return the model of a column."""
    readings = x[~np.isnan(x)]
    center = median(readings)
    numbers = {
        "center": center,
        "scale": NORMAL * median(np.abs(readings - center)),
        "p05": _quantile(readings, 0.05),
        "p95": _quantile(readings, 0.95),
    }
    return {part: value if np.isfinite(value) else None for part, value in numbers.items()} | {
        "readings": len(readings)
    }


def _model_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    return one_each_dtype(name, fields, result=PARTS)


@operation(dtype=_model_dtype)
def robust_scale_fit(inputs: list[pl.Series]) -> pl.Series:  # noqa: D103
    def of(series: pl.Series) -> pl.Series:
        with np.errstate(all="ignore"):
            model = _fit(_io.read(series))
        return pl.Series(series.name, [model], dtype=PARTS)

    return each(inputs, of)


# --- scores ----------------------------------------------------------------------------------------------------------


def _columns_of(dtype: pl.DataType) -> list[Field]:
    """Columns of the models in a list of them, or of the one model."""
    if isinstance(dtype, pl.List):
        return _columns_of(dtype.inner)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return [Field(field.name, field.dtype) for field in dtype.fields]  # type: ignore[arg-type]
    raise _io.error(
        "robust_scale",
        f"`model` must be what `robust_scale_fit` gives, a struct of columns, got dtype {_io.dtype_name(dtype)}",
    )


def _check_column(models: list[Field], column: str) -> None:
    """Refuse a model that lacks a column, or in which it is something else."""
    dtype = next((field.dtype for field in models if field.name == column), None)
    if dtype is None:
        known = ", ".join(f"`{field.name}`" for field in models)
        text = f"`model` has no column `{column}`, it was fitted on {known}; fit it on this column too"
        raise _io.error("robust_scale", text)
    parts = {field.name: field.dtype for field in dtype.fields} if isinstance(dtype, pl.Struct) else {}
    if not all(part in parts and parts[part].is_float() for part in ("center", "scale")):
        text = f"`model` must be what `robust_scale_fit` gives, but its `{column}` has dtype {_io.dtype_name(dtype)}"
        raise _io.error("robust_scale", text)


def _scores_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    models = _columns_of(fields[1].dtype)
    for field in _io.struct_fields(name, fields[0]):
        _check_column(models, field.name)
    return one_each_dtype(name, fields[:1])


def _score(x: Floats, center: Floats, scale: Floats, floor: float) -> Floats:
    """Return ``(x - center) / max(scale, floor)``; NaN where that scale is 0 or unknown."""
    scale = np.where(scale < floor, floor, scale)
    distance = x - center
    # two huge readings of unlike signs
    score = np.where(np.isfinite(distance), distance / scale, x / scale - center / scale)
    return np.where(scale > 0, score, np.nan)


@operation(dtype=_scores_dtype)
def robust_scale(  # noqa: D103
    inputs: list[pl.Series], *, scale_floor: float, has_default: bool, unknown_is_error: bool
) -> pl.Series:
    name = "robust_scale"
    models = elements(name, "model", inputs[1])
    positions = np.zeros(1, dtype=np.intp)
    if len(inputs) > 2:
        # behind the models comes none, for rows without one
        default = len(models) - 1 if has_default else len(models)
        remedy = 'take on_unknown="null", or a `default` with it' if unknown_is_error else None
        keys = elements(name, "model", inputs[3])
        positions = key_positions(name, inputs[2], keys, default, remedy)

    def of(series: pl.Series) -> pl.Series:
        parts = models.struct.field(series.name)
        center, scale = (np.append(_io.read(parts.struct.field(part)), np.nan) for part in ("center", "scale"))
        with np.errstate(all="ignore"):
            scores = _score(_io.read(series), center[positions], scale[positions], scale_floor)
        return floats(name, series, scores)

    return each(inputs, of)
