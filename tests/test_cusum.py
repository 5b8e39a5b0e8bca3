"""CUSUM, exponentially weighted mean, trend and volatility against plain loops and Polars; series in pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from backends import assert_same
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

SENSORS = ["a", "b", "f", "i"]


def make_frame(rows: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(6)
    row = pl.int_range(rows)
    frame = pl.DataFrame(rng.normal(size=(rows, 4)) * [1.0, 1.5, 1.0, 2.0], schema=SENSORS)
    return frame.select(
        pl.when(row % 13 == 4).then(None).when(row % 31 == 5).then(np.nan).otherwise("a").alias("a"),
        pl.when(row % 23 == 7).then(-np.inf).otherwise(pl.col("b") + (row > 200)).alias("b"),
        pl.col("f").cast(pl.Float32),
        pl.when(row % 7 != 1).then(pl.col("i").round().cast(pl.Int16)).alias("i"),
        row.alias("row"),
        pl.Series("asset", rng.choice(["north", "south", "west"], rows)),
        pl.Series("label", rng.integers(0, 3, rows)),
    )


FRAME = make_frame()


def naive(values: list[Any], k: float, h: float, center: float, scale: float, *, reset: bool) -> list[tuple[Any, ...]]:
    high = low = 0.0
    since_high = since_low = 0
    out: list[tuple[Any, ...]] = []
    for v in values:
        known = v is not None and np.isfinite(v)
        if known:
            if reset and max(high, low) > h:
                high = low = 0.0
                since_high = since_low = 0
            u = (v - center) / scale
            high, low = max(0.0, high + (u - k)), max(0.0, low + (-u - k))
        since_high = since_high + 1 if high > 0 else 0
        since_low = since_low + 1 if low > 0 else 0
        out.append((high, low, since_high, since_low, max(high, low) > h if known else None))
    return out


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("k", "h", "center", "scale"), [(0.5, 5.0, 0.0, 1.0), (0.1, 2.0, 0.5, 0.7413)])
def test_cusum_is_its_definition(k: float, h: float, center: float, scale: float, reset: bool) -> None:
    found = FRAME.select(acm.cusum(SENSORS, k=k, h=h, center=center, scale=scale, reset=reset)).unnest("cusum")
    alarms = 0
    for sensor in SENSORS:
        expected = naive(FRAME[sensor].to_list(), k, h, center, scale, reset=reset)
        columns = [f"{sensor}_{field}" for field in ("high", "low", "high_since", "low_since", "alarm")]
        assert found.select(columns).dtypes == [pl.Float64, pl.Float64, pl.UInt32, pl.UInt32, pl.Boolean]
        assert found.select(columns).rows() == expected
        alarms += found[columns[-1]].sum()
    assert alarms > 0


def test_acm_on_its_own_example() -> None:
    train = pl.Series([0.0] * 20 + [1.0] * 20)
    center, scale = train.median(), 1.4826 * (train - train.median()).abs().median()  # type: ignore[operator]
    found = pl.DataFrame({"x": [3.0] * 5}).select(acm.cusum("x", k=0.1, center=center, scale=scale))  # type: ignore[arg-type]
    highs = found.unnest("cusum")["x_high"].to_list()
    assert highs == pytest.approx([3.27245, 6.54491, 9.81736, 13.08982, 16.36227], abs=1e-5)


def test_center_and_scale_of_the_rows_themselves() -> None:
    model = FRAME.select(acm.robust_scale_fit("b")).to_series().struct.field("b").struct.unnest()
    given = acm.cusum("b", center=model["center"].item(), scale=model["scale"].item())
    assert_frame_equal(FRAME.select(acm.cusum("b", center=None, scale=None)), FRAME.select(given))
    constant = pl.DataFrame({"x": [2.0] * 4}).select(acm.cusum("x", center=None, scale=None)).unnest("cusum")
    assert constant.rows() == [(0.0, 0.0, 0, 0, None)] * 4  # no spread, nothing to say


@pytest.mark.parametrize("cut", [0, 1, 104, 399, 400])  # a missing reading before the cut among them
@pytest.mark.parametrize("reset", [False, True])
def test_a_series_in_pieces(cut: int, reset: bool) -> None:
    def cusum(frame: pl.DataFrame, state: Any = None) -> pl.DataFrame:
        return frame.select(acm.cusum(SENSORS, h=3.0, reset=reset, state=state))

    def ewma(frame: pl.DataFrame, state: Any = None) -> pl.DataFrame:
        return frame.select(acm.ewma(SENSORS, alpha=0.3, state=state))

    for operation in (cusum, ewma):
        whole = operation(FRAME)
        first = operation(FRAME[:cut])
        last = first.tail(1)
        states = [last, last.to_series(), last.unnest(last.columns[0]), pl.lit(last.to_series())] if cut else [None]
        for state in states:
            assert_frame_equal(pl.concat([first, operation(FRAME[cut:], state)]), whole, check_exact=True)


def test_a_state_for_each_asset() -> None:
    head, rest = FRAME[:300], FRAME[300:]
    whole = FRAME.select(acm.cusum(["a", "b"]).over("asset"))
    states = head.group_by("asset").agg(acm.cusum(["a", "b"]).last().alias("state"))
    found = rest.join(states, on="asset", how="left", maintain_order="left")
    found = found.select(acm.cusum(["a", "b"], state=pl.col("state").first()).over("asset"))
    assert_frame_equal(found, whole[300:], check_exact=True)
    new = rest.with_columns(state=pl.lit(None, dtype=states.schema["state"]))
    fresh = new.select(acm.cusum(["a", "b"], state=pl.col("state").first()))
    assert_frame_equal(fresh, rest.select(acm.cusum(["a", "b"])))


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0])
def test_ewma_against_polars(alpha: float) -> None:
    found = FRAME.select(acm.ewma(SENSORS, alpha=alpha)).unnest("ewma")
    for sensor in SENSORS:
        x = FRAME[sensor].cast(pl.Float64)
        x = x.to_frame().select(pl.when(pl.col(sensor).is_finite()).then(sensor)).to_series()
        expected = x.ewm_mean(alpha=alpha, adjust=False, ignore_nulls=True, min_samples=1)
        assert found[sensor].dtype == pl.Float64
        both = found.select(pl.col(sensor) - expected).to_series().drop_nulls()
        assert both.len() == x.drop_nulls().len()
        assert both.abs().max() < 1e-12  # type: ignore[operator]
        # a row without a reading keeps the mean
        assert found[sensor].equals(found[sensor].zip_with(x.is_not_null(), found[sensor].shift(1)))


def test_ewma_by_half_life_and_with_a_number_as_state() -> None:
    frame = pl.DataFrame({"x": [8.0, 0.0, 0.0, 0.0]})
    found = frame.select(acm.ewma("x", half_life=2))["x"].to_list()
    assert found == pytest.approx([8.0, 8 / np.sqrt(2), 4.0, 4 / np.sqrt(2)])
    state = pl.DataFrame({"x": [4.0]})
    assert frame.select(acm.ewma("x", alpha=0.5, state=state))["x"].to_list() == [6.0, 3.0, 1.5, 0.75]
    null = pl.DataFrame({"x": [None]}, schema={"x": pl.Float64})
    assert frame.select(acm.ewma("x", alpha=0.5, state=null))["x"].to_list() == [8.0, 4.0, 2.0, 1.0]


def test_trends_against_numpy() -> None:
    for sensor in SENSORS:
        for window in (2, 5, 20, 1000):
            x = np.array([np.nan if v is None else float(v) for v in FRAME[sensor].to_list()])[-window:]
            known = np.flatnonzero(np.isfinite(x))
            found = FRAME.select(acm.drift_trend(sensor, window))
            assert found.shape == (1, 1)
            if len(known) < 2:
                assert found.item() is None
            else:
                assert found.item() == pytest.approx(np.polyfit(known, x[known], 1)[0], rel=1e-5, abs=1e-6)
                rolled = FRAME.select(acm.rolling_slope(sensor, window))[sensor][-1]
                assert found.item() == pytest.approx(rolled, rel=1e-5, abs=1e-12)
    assert FRAME.select(acm.drift_trend("f")).dtypes == [pl.Float32]


def test_changes_of_labels() -> None:
    labels = FRAME["label"].to_list()[-20:]
    expected = sum(a != b for a, b in pairwise(labels)) / 19
    kinds = [pl.Int64, pl.UInt8, pl.String, pl.Categorical]
    frame = FRAME.select(
        pl.col("label").cast(pl.String if k == pl.Categorical else k).cast(k).alias(str(k)) for k in kinds
    )
    found = frame.select(acm.regime_volatility(frame.columns)).unnest("regime_volatility")
    assert found.row(0) == (expected,) * 4
    few = pl.DataFrame({"l": [1, None, 1, 2, None], "n": [None] * 5, "b": [True, False, None, None, True]})
    assert few.select(acm.regime_volatility(["l", "n", "b"])).item() == {"l": 0.5, "n": None, "b": 1.0}
    assert few.select(acm.regime_volatility("l", 2)).item() is None
    grouped = FRAME.group_by("asset", maintain_order=True).agg(acm.regime_volatility("label"), acm.drift_trend("a"))
    for asset, volatility, trend in grouped.rows():
        alone = FRAME.filter(asset=asset).select(acm.regime_volatility("label"), acm.drift_trend("a"))
        assert alone.row(0) == (volatility, trend)


def test_names() -> None:
    assert FRAME.select(acm.ewma("a", alpha=0.5)).columns == ["a"]
    assert FRAME.select(acm.ewma(pl.col("a", "f"), alpha=0.5)).columns == ["a", "f"]
    assert FRAME.select(acm.ewma(cs.by_name("a", "f"), alpha=0.5)).columns == ["ewma"]
    assert FRAME.select(acm.cusum("a")).columns == ["cusum"]
    assert FRAME.select(acm.drift_trend("a"), acm.regime_volatility("label")).columns == ["a", "label"]
    assert_same(pl.col("a").acm.cusum(k=1.0), acm.cusum("a", k=1.0), FRAME)
    assert_same(pl.col("a").acm.ewma(half_life=3), acm.ewma("a", half_life=3), FRAME)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: acm.cusum("a", k=-1), ValueError, "`k` must be a finite number >= 0"),
        (lambda: acm.cusum("a", h=0), ValueError, "`h` must be a finite number > 0"),
        (lambda: acm.cusum("a", scale=0.0), ValueError, "`scale` must be a finite number > 0"),
        (lambda: acm.cusum("a", center=np.nan), ValueError, "`center` must be a finite number"),
        (lambda: acm.cusum("a", reset="yes"), TypeError, "`reset` must be True or False"),  # type: ignore[arg-type]
        (lambda: acm.cusum("a", state=FRAME), TypeError, "`state` must be the last row of what `cusum` gave"),
        (lambda: acm.cusum("a", state=3.0), TypeError, "`state` must be the last row of what `cusum` gave"),  # type: ignore[arg-type]
        (lambda: acm.ewma("a"), ValueError, "`alpha` must be a number, if `half_life` is left out"),
        (lambda: acm.ewma("a", alpha=0.1, half_life=2), ValueError, "else left out, got 0.1"),
        (lambda: acm.ewma("a", alpha=1.5), ValueError, "`alpha` must be > 0 and <= 1"),
        (lambda: acm.ewma("a", half_life=0), ValueError, "`half_life` must be a finite number > 0"),
        (lambda: acm.drift_trend("a", 1), ValueError, "`window_size` must be >= 2"),
        (lambda: acm.regime_volatility("a", 2.0), TypeError, "`window_size` must be an int >= 2"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        make()
    assert text in str(error.value)


def test_wrong_data() -> None:
    other = FRAME.select(acm.cusum("b")).tail(1)
    with pytest.raises(ComputeError, match=r"acm\.cusum: `state` must be a row .* lacks `a_high` and has `b_high`"):
        FRAME.select(acm.cusum("a", state=other))
    text = pl.DataFrame({"a": ["x"]})
    with pytest.raises(ComputeError, match=r"acm\.ewma: `state` must be a row of numbers, its `a` has dtype str"):
        FRAME.select(acm.ewma("a", alpha=0.5, state=text))
