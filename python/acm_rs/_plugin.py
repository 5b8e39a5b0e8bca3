"""The compiled library, and the one place that calls into it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import polars as pl
from polars.plugins import register_plugin_function
from polars.selectors import is_selector

from acm_rs import _checks, _internal

IntoColumns: TypeAlias = str | pl.Expr | Sequence[str | pl.Expr]

# The file itself: given only its folder, Polars would take whichever library it meets there first.
LIBRARY = _internal.__file__


def call(operation: str, args: list[pl.Expr], *, changes_length: bool = False, **kwargs: Any) -> pl.Expr:
    """Call the plugin function of this name.

    `changes_length` says that the result has not one row per row of the input: an aggregate with rows of its own.
    `kwargs` are plain Python values (they travel pickled, and NumPy scalars would not survive) and always complete:
    defaults live in the Python signatures, the library has none.
    """
    return register_plugin_function(
        plugin_path=LIBRARY, function_name=operation, args=args, kwargs=kwargs, changes_length=changes_length
    )


def one_input(operation: str, expr: IntoColumns, *, always_pack: bool) -> pl.Expr:
    """Return the one input of the call: a column, or a struct of columns where one call serves them all."""
    if isinstance(expr, (list, tuple)):
        if not expr:
            raise _checks.invalid(operation, "expr", "at least one column", expr)
        for column in expr:
            if not isinstance(column, (str, pl.Expr)):
                raise _checks.mistyped(operation, "expr", "column names or expressions", column)
        return _pack(operation, expr)
    if not isinstance(expr, (str, pl.Expr)):
        raise _checks.mistyped(operation, "expr", "a column name, an expression, a list of them or a selector", expr)
    if always_pack or is_selector(expr):
        return _pack(operation, [expr])
    return pl.col(expr) if isinstance(expr, str) else expr


def _pack(operation: str, columns: Iterable[str | pl.Expr]) -> pl.Expr:
    """Join columns into one struct, so that one call works on all of them.

    The result takes the operation's name, so that `with_columns` never overwrites a sensor.
    """
    return pl.struct(columns).alias(operation)
