"""The compiled library, what stands in for it, and the one place that calls either.

The environment variable ``ACM_RS_BACKEND`` is read once, when the package is imported:

- ``auto``, the same as not set: the compiled library or, if it cannot be loaded, one warning with the reason and the
  same operations on Polars, NumPy and SciPy (`acm_rs.fallback`).
- ``rust``: the compiled library, or an ImportError that says why it cannot be loaded.
- ``python``: never the compiled library; it is not even looked for.
"""

from __future__ import annotations

import importlib
import logging
import os
import tomllib
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import polars as pl
from polars.plugins import register_plugin_function
from polars.selectors import is_selector

from acm_rs import _checks

IntoColumns: TypeAlias = str | pl.Expr | Sequence[str | pl.Expr]
Backend: TypeAlias = Literal["rust", "python"]
Gives: TypeAlias = Literal["rows", "each_row", "one_row", "table"]

VARIABLE = "ACM_RS_BACKEND"
REMEDY = (
    f"reinstall acm-rs for this platform, or set {VARIABLE}=python to choose the slower Python code without a warning"
)

# Handlers are the application's choice: which backend was chosen and why.
_log = logging.getLogger("acm_rs")
_log.addHandler(logging.NullHandler())


def _load() -> ModuleType | None:
    """Load the compiled library; None if the Python code is to do its work."""
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted not in ("auto", "rust", "python"):
        raise ValueError(f'acm: environment variable `{VARIABLE}` must be "auto", "rust" or "python", got {wanted!r}')
    if wanted == "python":
        _log.info("backend python: chosen by %s", VARIABLE)
        return None
    try:
        library = importlib.import_module("acm_rs._internal")
    except Exception as error:  # whatever is wrong with the file, work must go on
        reason = f"{type(error).__name__}: {error}"
        if wanted == "rust":
            text = f"acm: {VARIABLE}=rust, but the compiled library cannot be loaded ({reason}); {REMEDY}"
            raise ImportError(text) from error
        _log.warning("backend python: the compiled library cannot be loaded (%s)", reason)
        text = f"acm_rs runs without its compiled library, which cannot be loaded ({reason}); {REMEDY}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return None
    _log.info("backend rust: %s", library.__file__)
    return library


_LIBRARY = _load()


def backend() -> Backend:
    """Name what computes: the compiled library or the Python code that stands in for it.

    Returns
    -------
    str
        ``"rust"`` or ``"python"``. The environment variable ``ACM_RS_BACKEND`` (``auto``, ``rust`` or ``python``)
        chooses when the package is imported; a later change of it has no effect.

    Examples
    --------
    >>> import acm_rs as acm
    >>> acm.backend() in ("rust", "python")
    True
    """
    return "python" if _LIBRARY is None else "rust"


def version() -> str:
    """Version of the package, also where the library that knows it is missing."""
    if _LIBRARY is not None:
        return str(_LIBRARY.__version__)
    manifest = Path(__file__).parents[2] / "Cargo.toml"  # there in a checkout
    if manifest.is_file():
        package = tomllib.loads(manifest.read_text(encoding="utf-8")).get("package", {})
        if package.get("name") == "acm_rs":
            return str(package["version"])
    try:
        return metadata.version("acm-rs")
    except metadata.PackageNotFoundError:  # copied without its metadata
        return "0+unknown"


def call(operation: str, args: list[pl.Expr], *, gives: Gives = "rows", **kwargs: Any) -> pl.Expr:
    """Call the operation of this name, in the library or in Python.

    `gives` is a contract with Polars: ``"rows"``, one for each row, which may need other rows too; ``"each_row"``,
    row i of the result needs row i of the inputs alone, so that it streams; ``"one_row"``, an aggregation; ``"table"``,
    as many rows as the result has. `kwargs` are plain Python values (they travel pickled, and NumPy scalars would not
    survive) and always complete: defaults live in the Python signatures, neither backend has any.
    """
    if _LIBRARY is None:
        from acm_rs import fallback

        return fallback.call(operation, args, gives, kwargs)
    return register_plugin_function(
        # the file itself: given only its folder, Polars would take whichever library it meets there first
        plugin_path=str(_LIBRARY.__file__),
        function_name=operation,
        args=args,
        kwargs=kwargs,
        is_elementwise=gives == "each_row",
        returns_scalar=gives == "one_row",
        changes_length=gives == "table",
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


def _pack(operation: str, columns: Sequence[str | pl.Expr]) -> pl.Expr:
    """Join columns into one struct, so that one call works on all of them.

    The result takes the operation's name, so that `with_columns` never overwrites a sensor.
    """
    names = [column for column in columns if isinstance(column, str)]
    if len(names) == len(columns) > 1:
        columns = [pl.col(names)]  # one expression instead of one for each name: a fifth of the time
    return pl.struct(columns).alias(operation)
