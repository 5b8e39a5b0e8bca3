"""Robust scaling on NumPy; models, formulas and rules are those of `acm_rs.features.scaling`.

Scoring takes a struct of columns, a list of models of one row, and for several models the key of each row and the list
of the models' keys.
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
from acm_rs.fallback.rolling import NORMAL, Rows, one_each_dtype

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


def _elements(lists: pl.Series) -> pl.Series:
    """Join the elements of all lists; an empty list has none."""
    return lists.filter(lists.list.len() > 0).explode()


def _key_kind(dtype: pl.DataType) -> pl.DataType | None:
    """Return what keys are compared as; None if they are all missing."""
    if dtype == pl.Null:
        return None
    if dtype.is_integer():
        return pl.Int64()
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return pl.String()
    text = f"`by` must be text or integers, got dtype {_io.dtype_name(dtype)}; cast it first"
    raise _io.error("robust_scale", text)


def _positions(key: pl.Series, keys: pl.Series, default: int, *, strict: bool) -> Rows:
    """For each row the position of the model of its key; `default` where the key is missing or unknown."""
    kind, other = _key_kind(key.dtype), _key_kind(keys.dtype)
    if None not in (kind, other) and kind != other:
        names = _io.dtype_name(key.dtype), _io.dtype_name(keys.dtype)
        raise _io.error("robust_scale", f"`by` has dtype {names[0]}, but the models' keys are {names[1]}; cast one")
    kind = kind or other or pl.Int64()
    key, keys = key.cast(kind, strict=False), keys.cast(kind, strict=False)
    known = pl.DataFrame({"key": keys, "position": np.arange(len(keys))}).drop_nulls("key")
    found = pl.DataFrame({"key": key}).join(known, on="key", how="left", maintain_order="left")["position"]
    if strict and (key.is_not_null() & found.is_null()).any():
        raise _io.error(
            "robust_scale",
            '`by` has a key that no model is for; fit it too, or take on_unknown="null", or a `default` with it',
        )
    return found.fill_null(default).to_numpy()


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
    models = inputs[1]
    if len(models) != 1:
        text = f"`model` must be one row, got {len(models)}; one model for each key goes with `by`"
        raise _io.error(name, text)
    if isinstance(models.dtype, pl.List):
        models = _elements(models)
    positions = np.zeros(1, dtype=np.intp)
    if len(inputs) > 2:
        # behind the models comes none, for rows without one
        default = len(models) - 1 if has_default else len(models)
        positions = _positions(inputs[2], _elements(inputs[3]), default, strict=unknown_is_error)

    def of(series: pl.Series) -> pl.Series:
        parts = models.struct.field(series.name)
        center, scale = (np.append(_io.read(parts.struct.field(part)), np.nan) for part in ("center", "scale"))
        with np.errstate(all="ignore"):
            scores = _score(_io.read(series), center[positions], scale[positions], scale_floor)
        return floats(name, series, scores)

    return each(inputs, of)
