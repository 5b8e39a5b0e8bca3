"""The operations by name; modules of families add theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import polars as pl


class Field(NamedTuple):
    """Name and dtype of an input or of a column of one."""

    name: str
    dtype: pl.DataType


Compute: TypeAlias = Callable[..., pl.Series]
Dtype: TypeAlias = Callable[..., pl.DataType]


class Operation(NamedTuple):
    """`compute(inputs, **parameters)` gives the result, `dtype(name, fields, **parameters)` its dtype."""

    compute: Compute
    dtype: Dtype


OPERATIONS: dict[str, Operation] = {}


def operation(*, dtype: Dtype) -> Callable[[Compute], Compute]:
    """Register a function as the operation of its name, with the function that gives its dtype."""

    def register(compute: Compute) -> Compute:
        OPERATIONS[compute.__name__] = Operation(compute, dtype)
        return compute

    return register
