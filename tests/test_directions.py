"""Directions: neighbours on the circle are neighbours."""

from __future__ import annotations

import math

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from scipy import stats


@pytest.mark.parametrize("period", [360.0, 24.0, 2 * math.pi])
def test_second_opinions(period: float) -> None:
    rng = np.random.default_rng(3)
    for spread in (0.01, 0.1, 0.4):
        values = (rng.normal(scale=spread, size=500) + 0.98) % 1 * period
        frame = pl.DataFrame({"x": values})
        mean = frame.select(acm.circular_mean("x", period=period)).item()
        length = frame.select(acm.resultant_length("x", period=period)).item()
        assert mean == pytest.approx(stats.circmean(values, high=period) % period, rel=1e-12)
        assert 1 - length == pytest.approx(stats.circvar(values, high=period), abs=1e-14)
        points = frame.select(acm.to_xy("x", period=period)).unnest("to_xy")
        angle = values * 2 * np.pi / period
        np.testing.assert_allclose(points.to_numpy(), np.stack([np.cos(angle), np.sin(angle)]).T, atol=2e-15)


def test_the_wrap_is_no_jump() -> None:
    north = pl.DataFrame({"x": [358.0, 359.0, 0.0, 1.0, 2.0]})
    assert north.select(acm.circular_mean("x")).item() == pytest.approx(0.0, abs=1e-12)
    assert north["x"].median() == 2.0  # of five, and of these 358 is as near to the middle
    steps = north.select(acm.to_xy("x")).unnest("to_xy").select(pl.all().diff().abs().max())
    assert max(steps.row(0)) < 0.02


def test_signed_and_unsigned_directions_are_the_same() -> None:
    unsigned = pl.DataFrame({"x": [350.0, 355.0, 5.0, 190.0, 90.0]})
    signed = unsigned.select((pl.col("x") + 180) % 360 - 180)
    assert signed.select(acm.circular_mean("x")).item() == pytest.approx(
        unsigned.select(acm.circular_mean("x")).item(), rel=1e-13
    )
    points, others = (frame.select(acm.to_xy("x")).unnest("to_xy").to_numpy() for frame in (signed, unsigned))
    np.testing.assert_allclose(points, others, rtol=0, atol=1e-15)


@pytest.mark.parametrize("values", [[0.0, 180.0], [0.0, 120.0, 240.0], [], [None, math.nan]])
def test_no_mean_direction_is_null(values: list[float | None]) -> None:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64}, strict=False)
    assert frame.select(acm.circular_mean("x")).item() is None
    length = frame.select(acm.resultant_length("x")).item()
    assert length is None if len(values) in (0, 2) and values[:1] != [0.0] else length == pytest.approx(0, abs=1e-15)


def test_a_mean_lies_within_the_circle() -> None:
    for values in ([-1e-20], [359.9999999999999, 0.0], [-720.0], [1e15]):
        mean = pl.DataFrame({"x": values}).select(acm.circular_mean("x")).item()
        assert 0.0 <= mean < 360.0, values


def test_aggregates_in_groups_and_tables() -> None:
    frame = pl.DataFrame({"asset": ["a", "a", "b", "b"], "vane": [350.0, 10.0, 90.0, 90.0]})
    table = frame.group_by("asset", maintain_order=True).agg(
        acm.circular_mean("vane").round(9), acm.resultant_length("vane").alias("agreement")
    )
    assert table["vane"].to_list() == [0.0, 90.0]
    assert table["agreement"].to_list() == pytest.approx([math.cos(math.pi / 18), 1.0])


@pytest.mark.parametrize("name", ["circular_mean", "resultant_length", "to_xy"])
@pytest.mark.parametrize("period", [0, -360.0, math.nan, math.inf])
def test_refused_periods_name_themselves(name: str, period: float) -> None:
    with pytest.raises(ValueError, match=rf"acm\.{name}: `period` must be a finite number > 0, got {period}"):
        getattr(acm, name)("x", period=period)
    with pytest.raises(TypeError, match=rf"acm\.{name}: `period` must be a finite number > 0, got '360' \(str\)"):
        getattr(acm, name)("x", period="360")
