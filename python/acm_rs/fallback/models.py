"""Fitted models as data, as `src/expressions/models.rs` has them for the library: reading, writing, finding by key.

An operation that scores takes the columns as a struct, the models, and for a fleet the key of each row and the keys of
the models. Models and keys come as scalar literals, lists of lists; one model may also come as a column of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from acm_rs.fallback import _io
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field
from acm_rs.fallback.rolling import Rows

NUMBER, INTEGER, FLAG, TEXT = pl.Float64(), pl.Int64(), pl.Boolean(), pl.String()
NUMBERS, INTEGERS, TEXTS = pl.List(NUMBER), pl.List(INTEGER), pl.List(TEXT)

# the first parts of every model of many columns
LEARNT = {
    "columns": TEXTS,
    "medians": NUMBERS,
    "min_present": NUMBER,
    "rows": INTEGER,
    "rows_left_out": INTEGER,
    "dropped": TEXTS,
    "dropped_because": TEXTS,
}


class Kind(NamedTuple):
    """A kind of models: its name, its format, and its parts with their dtypes."""

    name: str
    format: int
    parts: Mapping[str, pl.DataType]

    @property
    def dtype(self) -> pl.Struct:
        """The dtype of its models."""
        return pl.Struct({"kind": TEXT, "format": INTEGER, **self.parts})

    def fit_dtype(self, name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
        """Dtype of a fit: a struct of numeric columns in, a model out."""
        numeric_fields(name, fields[0])
        return self.dtype

    def score_dtype(self, name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
        """Dtype of one score for each row."""
        self.check_dtype(name, fields[1].dtype)
        return score_dtype(numeric_fields(name, fields[0]))

    def series(self, name: str, parts: Mapping[str, Any] | None) -> pl.Series:
        """Return a model as a Series of one row; null where there is none."""
        if parts is None:
            return pl.Series(name, [None], dtype=self.dtype)
        row = {"kind": self.name, "format": self.format} | {part: _plain(parts[part]) for part in self.parts}
        return pl.Series(name, [row], dtype=self.dtype)

    def check_dtype(self, operation: str, dtype: pl.DataType) -> None:
        """Refuse what cannot hold models of this kind."""
        while isinstance(dtype, pl.List):
            dtype = dtype.inner  # type: ignore[assignment]
        if dtype != self.dtype:
            raise self.not_ours(operation, f"dtype {_io.dtype_name(dtype)}")

    def check_format(self, operation: str, model: Mapping[str, Any]) -> None:
        """Refuse a model of another kind or format."""
        if model["kind"] != self.name:
            raise self.not_ours(operation, f'a model of kind "{model["kind"]}"')
        if model["format"] != self.format:
            got = f"one of format {model['format']}, this version reads format {self.format}"
            raise self.not_ours(operation, got)

    def not_ours(self, operation: str, got: str) -> Exception:
        """Build the error for something else than a model of this kind."""
        text = f"`model` must be what this version's `{self.name}_fit` gives, got {got}"
        return _io.error(operation, text)


def _plain(value: Any) -> Any:
    """Return Python's own numbers, and None for NaN."""
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def numbers(values: list[float | None]) -> Floats:
    """Return a list of a model as an array, NaN where it is null."""
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


class Models:
    """The models of an operation, as dicts of their parts, and which of them goes with each row."""

    def __init__(self, operation: str, kind: Kind, inputs: list[pl.Series], *, unknown_is_error: bool) -> None:
        kind.check_dtype(operation, inputs[1].dtype)
        series = elements(operation, "model", inputs[1])
        self.models: list[dict[str, Any] | None] = series.to_list()
        self.rows = len(inputs[0])
        self.positions: Rows | None = None
        needed = set(range(len(series)))
        if len(inputs) > 2:
            keys = elements(operation, "model", inputs[3])
            remedy = 'take on_unknown="null"' if unknown_is_error else None
            found = key_positions(operation, inputs[2], keys, len(series), remedy)
            self.positions = np.broadcast_to(found, self.rows)
            needed = set(found.tolist())
        for k, model in enumerate(self.models):
            if model is None or k not in needed:
                self.models[k] = None
            else:
                kind.check_format(operation, model)

    def groups(self) -> Iterator[tuple[dict[str, Any], Any]]:
        """Give each model with the rows that go with it, as an index."""
        if self.positions is None:
            if self.models[0] is not None:
                yield self.models[0], slice(None)
            return
        for k, model in enumerate(self.models):
            if model is not None:
                yield model, np.flatnonzero(self.positions == k)


def score(
    operation: str,
    kind: Kind,
    inputs: list[pl.Series],
    results: int,
    scorer: Callable[[dict[str, Any], Floats, list[int]], Floats],
    *,
    unknown_is_error: bool,
) -> list[pl.Series]:
    """Score every row with its model: `results` numbers for each, NaN where the model does not give one.

    `scorer` gets a model, complete rows of its columns, and the positions of its columns in the input; it returns an
    array of rows by results.
    """
    columns = _io.struct_columns(inputs[0])
    models = Models(operation, kind, inputs, unknown_is_error=unknown_is_error)
    places = {column.name: i for i, column in enumerate(columns)}
    dtype = score_dtype([Field(column.name, column.dtype) for column in columns])
    readings = [_io.read(column) for column in columns]
    scores = np.full((models.rows, results), np.nan)
    for model, rows in models.groups():
        positions = [_position(operation, places, name) for name in model["columns"]]
        for part in ("medians", "center", "scale"):
            values = numbers(model.get(part, [0.0] * len(positions)))
            # forests of scikit-learn know no medians
            if len(values) != len(positions) or (part != "medians" and not np.isfinite(values).all()):
                text = f"`model` is damaged: its part `{part}` does not fit the others; fit it again"
                raise _io.error(operation, text)
        cells = np.column_stack([readings[position][rows] for position in positions])
        missing = np.isnan(cells)
        needed = max(int(np.ceil(model["min_present"] * len(positions))), 1)
        known = (~missing).sum(axis=1) >= needed
        cells = np.where(missing, numbers(model["medians"]), cells)
        with np.errstate(all="ignore"):
            scored = scorer(model, cells, positions)
        scores[rows] = np.where(known[:, None], scored, np.nan)
    return [_io.write(inputs[0].name, scores[:, k], dtype) for k in range(results)]


def _position(operation: str, places: dict[str, int], name: str) -> int:
    if name not in places:
        given = ", ".join(f"`{column}`" for column in list(places)[:20])
        raise _io.error(
            operation,
            f"`model` was fitted on the column `{name}`, which is not among {given}; add it, with nulls if the "
            "sensor is gone, or fit again without it",
        )
    return places[name]


def score_dtype(fields: list[Field]) -> pl.DataType:
    """Dtype of scores: Float32 only if all columns are."""
    narrow = bool(fields) and all(field.dtype == pl.Float32 for field in fields)
    return pl.Float32() if narrow else pl.Float64()


def numeric_fields(operation: str, field: Field) -> list[Field]:
    """Columns of a struct, all numeric."""
    fields = _io.struct_fields(operation, field)
    for column in fields:
        _io.float_of(operation, column)
    return fields


def fit(
    operation: str,
    kind: Kind,
    inputs: list[pl.Series],
    learn: Callable[[Floats], dict[str, Any]],
    *,
    min_present: float,
    strict: bool,
) -> pl.Series:
    """Fit a model; `learn` gets the complete matrix, rows by columns, and returns the detector's own parts.

    What cannot be fitted (`learn` raises ValueError) is an error or, unless `strict`, a null model.
    """
    columns = _io.struct_columns(inputs[0])
    cells = np.column_stack([_io.read(column) for column in columns])
    rows = cells.shape[0]
    kept, dropped, left = teaching(cells, min_present)
    cells = cells[left][:, kept]
    name = inputs[0].name
    try:
        if not kept:
            reasons = ", ".join(f"`{columns[j].name}` is {dropped[j]}" for j in sorted(dropped)[:10])
            raise ValueError(
                f"none of the {rows} rows teaches anything: no column changes ({reasons}); give it more rows"
            )
        medians = np.nanmedian(cells, axis=0)
        cells = np.where(np.isnan(cells), medians, cells)
        with np.errstate(all="ignore"):
            own = learn(cells)
    except ValueError as refusal:
        if not strict:
            return kind.series(name, None)
        text = f"{refusal}; strict=False gives null for a model that cannot be fitted"
        raise _io.error(operation, text) from refusal
    learnt = {
        "columns": [columns[j].name for j in kept],
        "medians": medians,
        "min_present": min_present,
        "rows": len(left),
        "rows_left_out": rows - len(left),
        "dropped": [columns[j].name for j in sorted(dropped)],
        "dropped_because": [dropped[j] for j in sorted(dropped)],
    }
    return kind.series(name, learnt | own)


def teaching(cells: Floats, min_present: float) -> tuple[list[int], dict[int, str], Rows]:
    """Columns that change, why the others are dropped, and the rows that know enough of those columns.

    Rows are counted anew for each set of columns, as scores count them. A dropped column does not come back.
    """
    kept, dropped = list(range(cells.shape[1])), {}
    left = np.arange(len(cells))
    while True:
        before = len(kept), len(left)
        for j in list(kept):
            present = cells[left, j]
            present = present[~np.isnan(present)]
            if not len(present) or (present == present[0]).all():
                dropped[j] = "constant" if len(present) else "missing"
                kept.remove(j)
        needed = max(int(np.ceil(min_present * len(kept))), 1)
        left = np.flatnonzero((~np.isnan(cells[:, kept])).sum(axis=1) >= needed)
        if (len(kept), len(left)) == before:
            return kept, dropped, left


def elements(operation: str, parameter: str, series: pl.Series) -> pl.Series:
    """Return what lies in the lists of a scalar literal; a column is itself, of one row."""
    if len(series) != 1:
        remedy = "one model for each key goes with `by`" if parameter == "model" else "take the last one"
        raise _io.error(operation, f"`{parameter}` must be one row, got {len(series)}; {remedy}")
    while isinstance(series.dtype, pl.List):
        series = series[0]
    return series


def key_positions(operation: str, key: pl.Series, keys: pl.Series, default: int, remedy: str | None) -> Rows:
    """For each row the position of the model of its key; `default` where the key is missing or unknown.

    With a `remedy`, an unknown key is an error.
    """
    kind, other = _key_kind(operation, key.dtype), _key_kind(operation, keys.dtype)
    if None not in (kind, other) and kind != other:
        names = _io.dtype_name(key.dtype), _io.dtype_name(keys.dtype)
        raise _io.error(operation, f"`by` has dtype {names[0]}, but the models' keys are {names[1]}; cast one")
    kind = kind or other or pl.Int64()
    key, keys = key.cast(kind, strict=False), keys.cast(kind, strict=False)
    known = pl.DataFrame({"key": keys, "position": np.arange(len(keys))}).drop_nulls("key")
    found = pl.DataFrame({"key": key}).join(known, on="key", how="left", maintain_order="left")["position"]
    unknown = key.filter(key.is_not_null() & found.is_null())
    if remedy is not None and len(unknown):
        text = f'"{unknown[0]}"' if kind == pl.String else unknown[0]
        raise _io.error(operation, f"`by` has the key {text}, which no model is for; fit it too, or {remedy}")
    return found.fill_null(default).to_numpy()


def _key_kind(operation: str, dtype: pl.DataType) -> pl.DataType | None:
    """Return what keys are compared as; None if they are all missing."""
    if dtype == pl.Null:
        return None
    if dtype.is_integer():
        return pl.Int64()
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return pl.String()
    text = f"`by` must be text or integers, got dtype {_io.dtype_name(dtype)}; cast it first"
    raise _io.error(operation, text)
