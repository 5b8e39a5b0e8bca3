"""What the tests share to run on both backends: `pytest`, and `ACM_RS_BACKEND=python pytest`."""

from __future__ import annotations

import inspect
from typing import Any

import acm_rs as acm
import polars as pl
import pytest
from polars.testing import assert_frame_equal

RUST = acm.backend() == "rust"

# physical plans, plans that run without the package, and the library itself
rust_only = pytest.mark.skipif(not RUST, reason="about the compiled library")


OLD_POLARS = pl.__version__.startswith(("1.31.", "1.32."))
needs_python_backend = pytest.mark.skipif(OLD_POLARS, reason="the Python backend needs Polars 1.33")
both_backends = pytest.mark.skipif(not RUST or OLD_POLARS, reason="needs the library, and Polars 1.33 without it")

# an empty list gives a null, as always before Polars 2; old Polars does not know the word, 1.44 warns without it
AS_NULL: dict[str, Any] = (
    {"empty_as_null": True} if "empty_as_null" in inspect.signature(pl.DataFrame.explode).parameters else {}
)


def within(*, rel: float = 1e-5, abs: float = 1e-8) -> dict[str, Any]:
    """Arguments of Polars' assertions, which had other names before Polars 1.32."""
    names = inspect.signature(assert_frame_equal).parameters
    return {"rel_tol": rel, "abs_tol": abs} if "rel_tol" in names else {"rtol": rel, "atol": abs}


def assert_same(left: pl.Expr, right: pl.Expr, frame: pl.DataFrame) -> None:
    """Assert that two expressions are one and, where Polars cannot tell (Python functions), that their results are."""
    if RUST:
        assert left.meta.eq(right)
    assert_frame_equal(frame.select(left), frame.select(right), check_exact=True)
