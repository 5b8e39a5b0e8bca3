"""Fitted models as arguments of a call: one of them, or a fleet with a key for each, as scalar literals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import polars as pl

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input


@runtime_checkable
class Fitted(Protocol):
    """A model class of `acm_rs.models`: its data, and the name of its key column if it is a fleet."""

    data: pl.DataFrame
    by: str | None


IntoFitted: TypeAlias = pl.Series | pl.DataFrame | pl.Expr | Fitted
OnUnknown: TypeAlias = Literal["null", "error"]


def score(
    operation: str,
    kind: str,
    expr: IntoColumns,
    model: IntoFitted,
    *,
    by: str | pl.Expr | None,
    on_unknown: str,
    own: list[pl.Expr] | None = None,
    **parameters: Any,
) -> pl.Expr:
    """Call an operation that scores each row of all columns with a model of this kind, or with that of its key.

    The inputs of the operation are the struct of the columns, `own` ones, the models and, with `by`, the keys of the
    rows and of the models.
    """
    columns = [one_input(operation, expr, always_pack=True), *(own or [])]
    strict = _checks.choice(operation, "on_unknown", on_unknown, ("null", "error")) == "error"
    data, key_of_models = opened(model)
    by = key_of_models if by is None else by
    parameters |= {"unknown_is_error": strict}
    made_by = f"`{kind}_fit`"
    if by is not None:
        key = column(operation, "by", by)
        keys, models = fleet(operation, data, lambda series: is_model(series, kind), made_by)
        return call(operation, [*columns, literal(models), key, literal(keys)], gives="each_row", **parameters)
    if strict:
        raise _checks.invalid(operation, "on_unknown", "left out unless `by` names the model of each row", on_unknown)
    if isinstance(data, pl.Expr):
        return call(operation, [*columns, data], **parameters)
    series = one(operation, "model", data, lambda series: is_model(series, kind), made_by)
    return call(operation, [*columns, literal(series)], gives="each_row", **parameters)


def opened(model: IntoFitted) -> tuple[pl.Series | pl.DataFrame | pl.Expr, str | None]:
    """Return what a model class holds and the name of its key column, or what is given."""
    # what most calls get first: that it is no model class, a protocol takes long to find out
    if isinstance(model, (pl.Series, pl.DataFrame, pl.Expr)) or not isinstance(model, Fitted):
        return model, None
    return model.data, model.by


def align(new: pl.Expr, old: pl.Expr) -> pl.Expr:
    """Call the operation that gives models the labels of older ones; both are columns or scalar literals of models."""
    return call("align_labels", [new.alias("align_labels"), old], gives="each_row")


def is_model(series: pl.Series, kind: str) -> bool:
    """Whether these are models of a kind; null where a group could not be fitted."""
    try:  # without its dtype: making that takes longer than all of this
        if series.struct.fields[:2] != ["kind", "format"]:
            return False
        return bool((series.struct.unnest()["kind"] == kind).all())
    except pl.exceptions.PolarsError:  # no struct, or its kind no text
        return False


def one(operation: str, parameter: str, model: object, is_one: Callable[[pl.Series], bool], made_by: str) -> pl.Series:
    """One fitted model, however it is held."""
    series: object = model.to_series() if isinstance(model, pl.DataFrame) and model.width == 1 else model
    if not isinstance(series, pl.Series) or series.len() != 1 or not is_one(series):
        if isinstance(model, pl.DataFrame) and model.width > 1 and any(is_one(held) for held in model.get_columns()):
            allowed = "one model, as a Series or a frame of that column alone; of a fleet name the key with `by`"
            raise _checks.invalid(operation, parameter, allowed, model)
        allowed = f"what {made_by} gives: a Series or a frame in memory, of one row and that column alone"
        raise _checks.mistyped(operation, parameter, allowed, model)
    return series


def fleet(
    operation: str, models: object, is_one: Callable[[pl.Series], bool], made_by: str
) -> tuple[pl.Series, pl.Series]:
    """Return the keys and their models."""
    frame = f"a frame of a key column and a column of what {made_by} gives"
    allowed = f"{frame}, as group_by().agg() makes it, when `by` is given"
    if not isinstance(models, pl.DataFrame) or models.width != 2:
        raise _checks.mistyped(operation, "model", allowed, models)
    key, fitted = sorted(models.get_columns(), key=is_one)
    if not is_one(fitted) or is_one(key):
        raise _checks.mistyped(operation, "model", allowed, models)
    known = key.is_not_null()  # a missing key has no model of its own
    keys, values = key.filter(known), fitted.filter(known)
    if keys.dtype in (pl.Categorical, pl.Enum):
        keys = keys.cast(pl.String)
    if not (keys.dtype.is_integer() or keys.dtype in (pl.String, pl.Null)):
        raise _checks.invalid(operation, "model", "keyed by text or integers, cast the key first", keys.dtype)
    if keys.is_duplicated().any():
        doubles = keys.filter(keys.is_duplicated()).unique(maintain_order=True)
        raise _checks.invalid(operation, "model", "one model for each key, these have several", doubles.to_list())
    return keys, values


def column(operation: str, parameter: str, value: object) -> pl.Expr:
    """Accept a column by name or as an expression."""
    if isinstance(value, pl.Expr):
        return value
    if isinstance(value, str):
        return pl.col(value)
    raise _checks.mistyped(operation, parameter, "a column name, an expression or None", value)


def literal(values: pl.Series) -> pl.Expr:
    """Make one scalar of all values: a Series literal would be repeated for every row by the streaming engine."""
    try:
        return pl.lit([values])
    except TypeError:  # the oldest Polars make no list of a Series: they take the way over Python objects
        return pl.lit(values.to_list(), dtype=pl.List(values.dtype))
