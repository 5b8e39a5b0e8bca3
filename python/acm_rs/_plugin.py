"""The compiled library, and the one place that calls into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
from polars.plugins import register_plugin_function

from acm_rs import _internal

# The file itself: given only its folder, Polars would take whichever library it meets there first.
LIBRARY = _internal.__file__


def call(operation: str, args: list[pl.Expr], **kwargs: Any) -> pl.Expr:
    """Call the plugin function of this name.

    `kwargs` are plain Python values (they travel pickled, and NumPy scalars would not survive) and always complete:
    defaults live in the Python signatures, the library has none.
    """
    return register_plugin_function(plugin_path=LIBRARY, function_name=operation, args=args, kwargs=kwargs)


def pack(operation: str, columns: Iterable[str | pl.Expr]) -> pl.Expr:
    """Join columns into one struct, so that one call works on all of them.

    The result takes the operation's name, so that `with_columns` never overwrites a sensor.
    """
    return pl.struct(columns).alias(operation)
