"""The operations without the compiled library: the same results from Polars, NumPy and SciPy, only slower.

`acm_rs._plugin.call` comes here instead of into the library; nothing above it knows the difference, and names,
parameters, checks and docstrings are the same. Missing readings, dtypes and the texts of errors are those of the
library; results agree to 1e-9, order statistics exactly.

Adding an operation
-------------------
Write two functions in the module of its family (`rolling.py` is the first) and name the module in `FAMILIES`:

- the operation, under its own name: it takes the inputs as a list of Series, in the order in which `call` gets them,
  and the parameters by name, all that `call` gets and without defaults; it returns a Series.
- its dtype: it takes the operation's name, the inputs as a list of `Field` and the same parameters, and returns
  the dtype of the result. It refuses dtypes of inputs by raising `_io.error`. Operations may share one.

The decorator joins them::

    @operation(dtype=one_each_dtype)
    def rolling_median(inputs, *, window_size, min_samples): ...

`_io.py` has what they share: reading columns with missing readings as NaN, the float that goes with a column, results
as Series, the checks of a time column; `columns.py` what operations on each column by itself share. Raise
`_io.error(operation, text)` for data that cannot be used, with the text of the library. Names: the result's own name
does not matter, that of the first input stands; inside `.over` and `group_by` inputs come without names, so take names
of fields from the struct.
The contract tests (`ACM_RS_BACKEND=python`) and `tests/test_backend.py`, which compares both backends, then cover it.

How it works
------------
Polars finds the dtype of a Python function by calling it with two made-up rows of the dtypes at hand, while it resolves
the schema (from 1.33 on). That gives every operation its schema in every context. Two things are in the way:

- An error of the function is hidden then. So `_Evaluate` does not raise where a dtype is refused but names the only
  field of its result after the error; ``name.map_fields`` shows that name to `_raise_refusal`, whose errors come
  through.
- A dtype that was found stays with the expression, even when it is used on another frame. Polars makes a fresh copy of
  an expression in which it has to look names up, as in ``struct.field("*")``, which takes the result out again:
  the field has the name of the column.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import polars as pl
from polars.exceptions import ComputeError

from acm_rs.fallback._registry import OPERATIONS, Field, Operation

__all__ = ["call"]

FAMILIES = (
    "ar1",
    "cusum",
    "rolling",
    "correlation",
    "directions",
    "filling",
    "gmm",
    "hdbscan",
    "isolation_forest",
    "kmeans",
    "labels",
    "omr",
    "pca",
    "quality",
    "regime",
    "scaling",
    "seasonal",
    "silhouette",
    "spectrum",
)
EXTRA = 'pip install "acm-rs[fallback]"'
OLDEST_POLARS = (1, 33)

_REFUSED = "\0refused\0"  # no column is named like this


def call(operation: str, args: list[pl.Expr], gives: str, kwargs: dict[str, Any]) -> pl.Expr:
    """Build the expression that `acm_rs._plugin.call` would build with the library."""
    _find(operation)  # says here what is not installed, not in the middle of a query
    evaluated = pl.map_batches(
        args,
        _Evaluate(operation, kwargs),
        is_elementwise=gives == "each_row",
        returns_scalar=gives == "one_row",
    )
    return evaluated.name.map_fields(_raise_refusal).struct.field("*")


def _find(operation: str) -> Operation:
    """Look an operation up; the modules of the families are loaded when the first operation is asked for."""
    version = tuple(int(part) for part in pl.__version__.split(".")[:2])
    if version < OLDEST_POLARS:
        raise ImportError(
            f"acm.{operation}: without the compiled library Polars 1.33 or newer is needed, this is {pl.__version__}; "
            f"{EXTRA}"
        )
    try:
        for family in FAMILIES:
            importlib.import_module(f"acm_rs.fallback.{family}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("numpy", "scipy"):
            raise
        raise ImportError(
            f"acm.{operation}: without the compiled library NumPy and SciPy are needed ({error}); {EXTRA}"
        ) from error
    return OPERATIONS[operation]


class _Evaluate:
    """An operation with its parameters, as Polars calls it; pickled by name, so that plans can travel."""

    def __init__(self, operation: str, kwargs: dict[str, Any]) -> None:
        self.operation = operation
        self.kwargs = kwargs

    def __call__(self, inputs: Sequence[pl.Series], return_dtype: pl.DataType | None = None) -> pl.Series:
        """Give a struct of one field; `return_dtype` is what it was when the schema was resolved, None if it is now."""
        operation = _find(self.operation)
        rows = len(inputs[0])
        try:
            fields = [Field(series.name, series.dtype) for series in inputs]
            dtype = operation.dtype(self.operation, fields, **self.kwargs)
        except ComputeError as refusal:
            result = pl.Series(f"{_REFUSED}{refusal}", [None] * rows, dtype=pl.Null)
            return result.to_frame().to_struct(inputs[0].name)
        try:
            result = operation.compute(list(inputs), **self.kwargs)
        except ComputeError:
            if return_dtype is not None:
                raise
            result = pl.Series([None] * rows, dtype=dtype)  # made-up rows say nothing about the data
        assert result.dtype == dtype, f"acm.{self.operation}: {result.dtype} where {dtype} was announced"
        # inside `.over` and `group_by` inputs come without names
        name = return_dtype.fields[0].name if isinstance(return_dtype, pl.Struct) else inputs[0].name
        return result.alias(name).to_frame().to_struct(inputs[0].name)


def _raise_refusal(field: str) -> str:
    if field.startswith(_REFUSED):
        raise ComputeError(field.removeprefix(_REFUSED))
    return field
