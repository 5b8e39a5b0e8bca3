"""What the tests share to run on both backends: `pytest`, and `ACM_RS_BACKEND=python pytest`."""

from __future__ import annotations

import acm_rs as acm
import polars as pl
import pytest
from polars.testing import assert_frame_equal

RUST = acm.backend() == "rust"

# physical plans, plans that run without the package, and the library itself
rust_only = pytest.mark.skipif(not RUST, reason="about the compiled library")


def assert_same(left: pl.Expr, right: pl.Expr, frame: pl.DataFrame) -> None:
    """Assert that two expressions are one and, where Polars cannot tell (Python functions), that their results are."""
    if RUST:
        assert left.meta.eq(right)
    assert_frame_equal(frame.select(left), frame.select(right), check_exact=True)
