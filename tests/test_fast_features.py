"""The drop-in for ACM's feature module: ACM's numbers, names and order for every kind of frame."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import acm_rs as acm
import numpy as np
import pandas as pd
import polars as pl
import pytest
from acm_rs import fast_features as ff
from backends import rust_only
from polars.exceptions import ColumnNotFoundError, ComputeError
from polars.testing import assert_frame_equal

A = [1.0, 2.0, 4.0, 8.0, 16.0, 3.0, 5.0, 7.0, 2.0, 9.0, 6.0, 0.5]
W = 8

# What ACM itself printed for the series A with W = 8 (six significant digits; -: missing).
ACM = {
    "med": "1 1.5 2 3 4 3.5 4 4.5 4.5 6 6.5 5.5",
    "mad": "0 0.5 1 1.5 3 2 2 2.5 2.5 2.5 2 3",
    "mean": "1 1.5 2.33333 3.75 6.2 5.66667 5.57143 5.75 5.875 6.75 7 6.0625",
    "std": "- .707107 1.52753 3.0957 6.09918 5.60952 5.12696 4.77344 4.64258 4.46414 4.34248 4.87294",
    "slope": "0 1 1.5 2.3 3.6 1.6 .928571 .738095 -.0833333 -.238095 -.595238 -1.02976",
    "skew": "- - .93522 1.13762 1.32531 1.60026 1.70772 1.58269 1.71622 1.32477 1.25609 1.21561",
    "kurt": "- - - .757656 1.30376 2.33567 3.05059 2.91873 3.26532 2.11206 2.30826 1.87782",
    "energy_0": "0 0 0 0 0 0 0 0 0 0 0 0",
    "energy_1": "0 0 0 0 0 0 340.868 270.426 238.598 125.106 144.905 27.0555",
    "energy_2": "0 0 0 45 372 440 211.132 349.574 340.402 432.894 381.095 592.694",
    "rz": "0 .674491 1.34898 2.2483 2.69796 -.168623 .337245 .674491 -.674491 .809389 -.168623 -1.12415",
}
FEATURES = list(ACM)


def table(feature: str) -> list[float | None]:
    return [None if text == "-" else float(text) for text in ACM[feature].split()]


def six_digits(values: list[float | None]) -> list[float | None]:
    return [None if value is None or math.isnan(value) else float(f"{value:.6g}") for value in values]


INDEX = pd.date_range("2024-01-01", periods=len(A), freq="10min")
KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": lambda columns: pd.DataFrame(columns, index=INDEX),
    "polars": lambda columns: pl.DataFrame(columns, strict=False),
    "lazy": lambda columns: pl.LazyFrame(columns, strict=False),
}
CLASSES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "lazy": pl.LazyFrame}
every_kind = pytest.mark.parametrize("kind", KINDS)


def collected(frame: Any, kind: str) -> pl.DataFrame:
    """The result as a Polars frame, after a look at its class, index and dtypes."""
    assert isinstance(frame, CLASSES[kind])
    if kind == "pandas":
        assert frame.index.equals(INDEX)
        frame = pl.DataFrame({column: pl.Series(frame[column].to_numpy()) for column in frame}, nan_to_null=True)
        frame = frame.fill_nan(None)
    frame = frame.lazy().collect()
    assert set(frame.dtypes) <= {pl.Float64}
    return frame


@every_kind
@pytest.mark.parametrize(
    ("call", "features"),
    [
        (ff.rolling_median, ["med"]),
        (ff.rolling_mad, ["mad"]),
        (ff.rolling_mean_std, ["mean", "std"]),
        (ff.rolling_skew_kurt, ["skew", "kurt"]),
        (ff.rolling_ols_slope, ["slope"]),
        (ff.rolling_spectral_energy, ["energy_0", "energy_1", "energy_2"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_rolling_functions_give_acms_numbers(call: Callable[..., Any], features: list[str], kind: str) -> None:
    frame = collected(call(KINDS[kind]({"a": A, "b": A[::-1]}), W), kind)
    ours = {f"a_{feature}": six_digits(frame[f"a_{feature}"].to_list()) for feature in features}
    assert ours == {f"a_{feature}": table(feature) for feature in features}
    by_feature = [f"{column}_{feature}" for feature in features for column in "ab"]
    by_sensor = [f"{column}_{feature}" for column in "ab" for feature in features]
    assert frame.columns == (by_sensor if call is ff.rolling_spectral_energy else by_feature)


@every_kind
@pytest.mark.parametrize("call", [ff.compute_basic_features, ff.compute_basic_features_pl])
def test_basic_features_give_acms_numbers(call: Callable[..., Any], kind: str) -> None:
    features = call(KINDS[kind]({"a": A}), W)
    is_pandas = kind == "pandas" and call is ff.compute_basic_features
    frame = collected(features, "pandas" if is_pandas else "lazy" if kind == "lazy" else "polars")
    assert frame.columns == [f"a_{feature}" for feature in FEATURES]
    for feature in FEATURES:
        expected = [0.0 if value is None else value for value in table(feature)]
        assert six_digits(frame[f"a_{feature}"].to_list()) == expected, feature


@every_kind
def test_columns_are_in_acms_order(kind: str) -> None:
    frame = collected(ff.compute_basic_features(KINDS[kind]({"b": A, "a": A}), W), kind)
    expected = [f"{column}_{feature}" for feature in FEATURES[:7] for column in "ba"]
    expected += [f"{column}_energy_{band}" for column in "ba" for band in range(3)]
    assert frame.columns == [*expected, "b_rz", "a_rz"]


def test_default_window_is_acms() -> None:
    frame = pl.DataFrame({"a": A})
    assert ff.compute_basic_features(frame).equals(ff.compute_basic_features(frame, 3))


@every_kind
def test_a_mad_of_zero_scores_as_in_acm(kind: str) -> None:
    steps = [2.0, 2.0, 2.0, 2.0 + 1e-8, 2.0, 2.0, 5.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    frame = collected(ff.compute_basic_features(KINDS[kind]({"a": steps}), W), kind)
    expected = [min((x - 2.0) / (1.4826 * 1e-9 + 1e-9), 100.0) for x in steps]
    assert frame["a_rz"].to_list() == pytest.approx(expected, rel=1e-12)


# --- filling ---------------------------------------------------------------------------------------------------------

HOLES = [1.0, 2.0, None, 8.0, float("nan"), 3.0, float("inf"), 7.0, 2.0, float("-inf"), 6.0, 0.5]
TRAINED = {"a": 4.0, "b": -1.0}


def filled(value: float) -> list[float]:
    return [value if x is None or not math.isfinite(x) else x for x in HOLES]


@every_kind
@pytest.mark.parametrize(
    "fill_values",
    [TRAINED, pd.Series(TRAINED), pd.Series(TRAINED).astype("Float64"), pl.DataFrame(TRAINED)],
    ids=["dict", "pandas", "nullable pandas", "polars"],
)
def test_fill_values_are_honoured(kind: str, fill_values: Any) -> None:
    ours = ff.compute_basic_features(KINDS[kind]({"a": HOLES, "b": HOLES}), W, fill_values=fill_values)
    expected = ff.compute_basic_features(KINDS[kind]({"a": filled(4.0), "b": filled(-1.0)}), W)
    assert_frame_equal(collected(ours, kind), collected(expected, kind), check_exact=True)


@every_kind
@pytest.mark.parametrize("fill_values", [None, {}, {"b": -1.0}, {"a": None, "b": -1.0}, {"a": math.nan, "b": -1.0}])
def test_without_fill_values_the_median_of_the_column_is_used(kind: str, fill_values: Any) -> None:
    median = 2.5  # of 0.5 1 2 2 3 6 7 8
    if fill_values is None:
        ours = ff.compute_basic_features(KINDS[kind]({"a": HOLES, "b": HOLES}), W)
    else:
        columns = r"\['a'\]" if fill_values else r"\['a', 'b'\]"
        with pytest.warns(UserWarning, match=f"`fill_values` has no finite number for {columns}: .* looks ahead"):
            ours = ff.compute_basic_features(KINDS[kind]({"a": HOLES, "b": HOLES}), W, fill_values=fill_values)
    other = -1.0 if fill_values else median
    expected = ff.compute_basic_features(KINDS[kind]({"a": filled(median), "b": filled(other)}), W)
    assert_frame_equal(collected(ours, kind), collected(expected, kind), check_exact=True)


@every_kind
def test_an_all_missing_sensor_gives_zeros(kind: str) -> None:
    frame = collected(ff.compute_basic_features(KINDS[kind]({"a": [math.nan] * len(A)}), W), kind)
    assert frame.columns == [f"a_{feature}" for feature in FEATURES]
    assert all(column.to_list() == [0.0] * len(A) for column in frame)


@every_kind
def test_rolling_functions_skip_missing_readings(kind: str) -> None:
    data = KINDS[kind]({"a": HOLES})
    reference = pl.DataFrame({"a": HOLES}, strict=False)
    for call, operations in {
        ff.rolling_median: ["rolling_median"],
        ff.rolling_mad: ["rolling_mad"],
        ff.rolling_mean_std: ["rolling_mean", "rolling_std"],
        ff.rolling_skew_kurt: ["rolling_skew", "rolling_kurtosis"],
    }.items():
        frame = collected(call(data, W, min_periods=2), kind)
        for column, operation in zip(frame, operations, strict=True):
            expected = reference.select(getattr(acm, operation)("a", W, min_samples=2)).to_series()
            assert column.equals(expected.rename(column.name)), operation
    slope = collected(ff.rolling_ols_slope(data, W, min_periods=2), kind)["a_slope"]
    assert slope.equals(
        reference.select(acm.rolling_slope("a", W, min_samples=2).fill_null(0.0).alias("a_slope")).to_series()
    )


@pytest.mark.parametrize(
    "name",
    ["rolling_median", "rolling_mad", "rolling_mean_std", "rolling_skew_kurt", "rolling_ols_slope"],
)
def test_windows_are_refused_in_the_words_of_the_caller(name: str) -> None:
    frame = pl.DataFrame({"a": A})
    with pytest.raises(ValueError, match=rf"acm\.{name}: `window` must be >= 1, got 0"):
        getattr(ff, name)(frame, 0)
    with pytest.raises(TypeError, match=rf"acm\.{name}: `window` must be an int >= 1 \(rows\), got '2h'"):
        getattr(ff, name)(frame, "2h")
    with pytest.raises(ValueError, match=rf"acm\.{name}: `min_periods` must be <= `window` \(3\), got 4"):
        getattr(ff, name)(frame, 3, min_periods=4)


def test_fill_values_of_another_kind_are_refused() -> None:
    frame = pl.DataFrame({"a": A})
    with pytest.raises(TypeError, match="compute_basic_features: `fill_values` must be a mapping"):
        ff.compute_basic_features(frame, W, fill_values=3.0)
    for value in ("high", True, [1.0]):
        with pytest.raises(TypeError, match=r"`fill_values\['a'\]` must be a number or None, got .*(str|bool|list)"):
            ff.compute_basic_features(frame, W, fill_values={"a": value})
    with pytest.raises(ValueError, match="`fill_values` must be a frame of one row"):
        ff.compute_basic_features(frame, W, fill_values=pl.DataFrame({"a": [1.0, 2.0]}))


def test_the_warning_about_fill_values_points_at_the_caller() -> None:
    with pytest.warns(UserWarning, match="fill_values") as caught:
        ff.compute_basic_features(pl.DataFrame({"a": A}), W, fill_values={"b": 1.0})
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="fill_values") as caught:
        ff.compute_basic_features_pl(pl.DataFrame({"a": A}), W, fill_values={"b": 1.0})
    assert caught[0].filename == __file__


def test_fill_values_may_hold_more_columns_than_the_frame() -> None:
    frame = pl.DataFrame({"a": HOLES}, strict=False)
    ours = ff.compute_basic_features(frame, W, fill_values=TRAINED)
    assert_frame_equal(ours, ff.compute_basic_features(pl.DataFrame({"a": filled(4.0)}), W), check_exact=True)


def test_clips_of_long_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    # a single spike reaches the bounds: skewness sqrt(window), kurtosis window
    spike = pl.DataFrame({"a": [1.0] + [0.0] * 1499})
    last = ff.compute_basic_features(spike, 1500).row(-1, named=True)
    assert last["a_skew"] == pytest.approx(math.sqrt(1500), rel=1e-9)
    assert last["a_kurt"] == ff.rolling.KURT_CLIP == 1000.0
    assert ff.rolling.SKEW_CLIP == 100.0
    monkeypatch.setattr(ff.rolling, "SKEW_CLIP", 5.0)
    assert ff.compute_basic_features(spike.head(50), 50)["a_skew"][-1] == 5.0
    clipped = ff.rolling_skew_kurt(spike.head(50), 50, skew_clip=2.0, kurt_clip=3.0)
    assert clipped.row(-1) == (2.0, 3.0)


# --- kinds of frames -------------------------------------------------------------------------------------------------


def test_return_type_wins() -> None:
    frames = {kind: make({"a": A}) for kind, make in KINDS.items()}
    for kind, frame in frames.items():
        as_pandas = ff.rolling_median(frame, W, return_type="pandas")
        assert isinstance(as_pandas, pd.DataFrame)
        assert as_pandas.index.equals(INDEX if kind == "pandas" else pd.RangeIndex(len(A)))
        as_polars = ff.rolling_median(frame, W, return_type="polars")
        assert isinstance(as_polars, pl.LazyFrame if kind == "lazy" else pl.DataFrame)
        assert six_digits(as_pandas["a_med"].tolist()) == as_polars.lazy().collect()["a_med"].to_list() == table("med")
    with pytest.raises(ValueError, match='`return_type` must be "pandas", "polars" or None, got \'numpy\''):
        ff.rolling_median(frames["polars"], W, return_type="numpy")


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_gives_a_polars_frame(order: Any) -> None:
    array = np.array([A, A[::-1]]).T.copy(order=order)
    frame = ff.compute_basic_features(array, W)
    expected = ff.compute_basic_features(pl.DataFrame({"0": A, "1": A[::-1]}), W)
    assert_frame_equal(frame, expected, check_exact=True)


def test_pandas_results_may_be_written_to() -> None:
    frame = ff.compute_basic_features(pd.DataFrame({"a": A}), W)
    frame.iloc[0, 0] = 5.0
    frame.loc[1, "a_mad"] = 6.0
    assert (frame.iloc[0, 0], frame.iloc[1, 1]) == (5.0, 6.0)


def test_pandas_input_is_not_changed() -> None:
    frame = pd.DataFrame({"a": HOLES, "b": A}, dtype="float64")
    before = frame.copy()
    ff.compute_basic_features(frame, W)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "Int64", "Float64"])
def test_pandas_dtypes(dtype: str) -> None:
    whole = [round(x) for x in A]
    ours = ff.compute_basic_features(pd.DataFrame({"a": pd.Series(whole, dtype=dtype)}), W)
    expected = ff.compute_basic_features(pd.DataFrame({"a": pd.Series(whole, dtype="float64")}), W)
    pd.testing.assert_frame_equal(ours, expected)


def test_nullable_pandas_columns_may_have_holes() -> None:
    column = pd.Series([1, None, 3, 4], dtype="Int64")
    ours = ff.rolling_mean_std(pd.DataFrame({"a": column}), 2)
    assert ours["a_mean"].tolist() == [1.0, 1.0, 3.0, 3.5]


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Int16, pl.UInt64, pl.Decimal(10, 2)])
def test_polars_dtypes(dtype: Any) -> None:
    frame = pl.DataFrame({"a": [round(x) for x in A]})
    ours = ff.compute_basic_features(frame.cast(dtype), W)
    assert_frame_equal(ours, ff.compute_basic_features(frame.cast(pl.Float64), W), check_exact=True)


@every_kind
def test_other_columns_are_left_out(kind: str) -> None:
    data = KINDS[kind]({"t": [datetime(2024, 1, 1)] * len(A), "a": A, "s": ["x"] * len(A), "ok": [True] * len(A)})
    assert collected(ff.rolling_median(data, W), kind).columns == ["a_med"]


@every_kind
def test_chosen_columns(kind: str) -> None:
    data = KINDS[kind]({"a": A, "b": A, "c": A})
    assert collected(ff.rolling_median(data, W, ["c", "a"]), kind).columns == ["c_med", "a_med"]
    assert collected(ff.rolling_median(data, W, "b"), kind).columns == ["b_med"]


@every_kind
@pytest.mark.parametrize("values", [["x"] * len(A), [True] * len(A), ["1.5"] * len(A)])
@pytest.mark.parametrize("call", [ff.compute_basic_features, ff.rolling_median])
def test_a_chosen_column_that_is_not_numeric_is_an_error(call: Callable[..., Any], kind: str, values: Any) -> None:
    with pytest.raises(ComputeError, match=r"acm\.rolling_\w+: .*`s`.* (str|bool)"):
        collected(call(KINDS[kind]({"a": A, "s": values}), W, ["a", "s"]), kind)


def test_unknown_columns() -> None:
    for frame in (pl.DataFrame({"a": A}), pl.LazyFrame({"a": A})):
        with pytest.raises(ColumnNotFoundError, match="nope"):
            ff.rolling_median(frame, W, ["nope"]).lazy().collect()
    with pytest.raises(KeyError, match=r"acm\.fast_features: `cols` names \['nope'\], but the frame has \['a'\]"):
        ff.rolling_median(pd.DataFrame({"a": A}), W, ["nope"])


@pytest.mark.parametrize("cols", [None, ["a"], "a"])
def test_pandas_columns_of_one_name_are_refused(cols: Any) -> None:
    frame = pd.DataFrame([[1.0, 2.0, 3.0]] * 4, columns=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"`df` must be a frame in which every column has a name .* \['a'\]"):
        ff.rolling_median(frame, 2, cols)
    assert list(ff.rolling_median(frame, 2, ["b"]).columns) == ["b_med"]
    numbers = pd.DataFrame([[1.0, 2.0]] * 4, columns=[1, "1"])  # one name once they are text
    with pytest.raises(ValueError, match=r"name of its own.* \['1'\]"):
        ff.rolling_median(numbers, 2)


def test_a_pandas_column_of_objects_is_refused() -> None:
    frame = pd.DataFrame({"a": A, "o": pd.Series([1.0, "x"] * (len(A) // 2), dtype=object)})
    assert list(ff.rolling_median(frame, 2).columns) == ["a_med"]
    with pytest.raises(TypeError, match=r"column `o` has dtype object, .* convert it, .*to_numeric"):
        ff.rolling_median(frame, 2, ["a", "o"])


def test_a_column_chosen_twice_is_an_error() -> None:
    text = r"acm.fast_features: `cols` must be column names of which each comes once, got \['a', 'a'\]"
    frame = pl.DataFrame({"a": [1.0, 2.0]})
    for df in (frame, frame.lazy(), frame.to_pandas()):
        with pytest.raises(ValueError, match=text):
            ff.rolling_median(df, 2, ["a", "a"])


def test_refused_frames() -> None:
    with pytest.raises(TypeError, match="`df` must be a pandas, Polars or lazy frame or a 2-D NumPy array"):
        ff.rolling_median([1.0], W)
    with pytest.raises(TypeError, match="`df` must be"):
        ff.rolling_median(np.array(A), W)
    with pytest.raises(ValueError, match="`df` must be a frame with at least one numeric column"):
        ff.rolling_median(pl.DataFrame({"s": ["x"]}), W)
    with pytest.raises(TypeError, match="`cols` must be a column name or a list of column names"):
        ff.rolling_median(pl.DataFrame({"a": A}), W, 5)


@every_kind
def test_short_frames_have_no_energies_unless_lazy(kind: str) -> None:
    for rows, short in ((3, True), (4, False)):
        data = KINDS[kind]({"a": A})
        data = data.iloc[:rows] if kind == "pandas" else data.head(rows)
        for call in (ff.rolling_spectral_energy, ff.compute_basic_features):
            result = call(data, W)
            if kind == "pandas":
                assert result.index.equals(INDEX[:rows])
                columns = list(result.columns)
            else:
                columns = result.collect_schema().names()
            energies = [column for column in columns if "_energy_" in column]
            assert len(energies) == (0 if short and kind != "lazy" else 3)


@every_kind
def test_empty_frames(kind: str) -> None:
    data = KINDS[kind]({"a": A})
    data = data.iloc[:0] if kind == "pandas" else data.head(0)
    features = ff.compute_basic_features(data, 3)
    if kind == "lazy":
        features = features.collect()
    assert len(features) == 0
    assert "a_rz" in features.columns


def test_method_is_checked_and_changes_nothing() -> None:
    frame = pl.DataFrame({"a": A})
    expected = ff.rolling_spectral_energy(frame, W)
    for method in ("fft", "goertzel"):
        assert ff.rolling_spectral_energy(frame, W, method=method).equals(expected)
    with pytest.raises(ValueError, match="`method` must be"):
        ff.rolling_spectral_energy(frame, W, method="dft")


# --- laziness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill_values", [None, TRAINED])
def test_a_lazy_frame_collects_nothing(fill_values: Any) -> None:
    runs: list[int] = []

    def spy(frame: pl.DataFrame) -> pl.DataFrame:
        runs.append(frame.height)
        return frame

    schema = {"a": pl.Float64(), "b": pl.Float32()}
    source = pl.LazyFrame({"a": HOLES, "b": HOLES}, schema=schema, strict=False).map_batches(spy, schema=schema)
    lazy = [
        ff.rolling_median(source, W),
        ff.rolling_mad(source, W),
        ff.rolling_mean_std(source, W),
        ff.rolling_skew_kurt(source, W),
        ff.rolling_ols_slope(source, W),
        ff.rolling_spectral_energy(source, W),
        ff.compute_basic_features(source, W, fill_values=fill_values),
        ff.compute_basic_features_pl(source, W, fill_values=fill_values),
    ]
    assert all(isinstance(frame, pl.LazyFrame) for frame in lazy)
    assert runs == []
    eager = ff.compute_basic_features(source.collect(), W, fill_values=fill_values)
    assert_frame_equal(lazy[-1].collect(), eager, check_exact=True)


@rust_only
@pytest.mark.parametrize("fill_values", [None, TRAINED])
def test_basic_features_are_one_call(fill_values: Any) -> None:
    lazy = ff.compute_basic_features(pl.LazyFrame({"a": A, "b": A}), W, fill_values=fill_values)
    assert lazy.explain().count("rolling_features()") == 1
    if "plan_stage" in inspect.signature(lazy.show_graph).parameters:
        # the plan that runs: it has made one call per result of what looked like one
        plan = lazy.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
        assert plan.count("columnar-function") <= 1, plan


@pytest.mark.parametrize("fill_values", [None, TRAINED])
def test_later_filters_and_slices_do_not_reach_the_fill(fill_values: Any) -> None:
    frame = pl.DataFrame({"a": HOLES, "b": HOLES}, strict=False)
    whole = ff.compute_basic_features(frame, W, fill_values=fill_values)
    lazy = ff.compute_basic_features(frame.lazy(), W, fill_values=fill_values)
    assert_frame_equal(lazy.filter(pl.col("a_med") > 2).collect(), whole.filter(pl.col("a_med") > 2), check_exact=True)
    assert_frame_equal(lazy.slice(6, 3).collect(), whole.slice(6, 3), check_exact=True)
    assert_frame_equal(lazy.select("b_rz").collect(), whole.select("b_rz"), check_exact=True)


def test_polars_frames_do_not_import_pandas() -> None:
    code = """
import sys
import polars as pl
from acm_rs import fast_features as ff
frame = pl.DataFrame({"a": [1.0, None, 4.0, 8.0]})
ff.compute_basic_features(frame)
ff.compute_basic_features(frame.lazy(), fill_values={"a": 1.0}).collect()
ff.rolling_mean_std(frame, 3)
ff.spectral_energy(frame["a"])
ff.goertzel_energy([1.0, 2.0, 4.0])
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- whole series ----------------------------------------------------------------------------------------------------


def energies_by_definition(y: np.ndarray, bands: list[tuple[float, float]], fs: float) -> list[float]:
    present = np.isfinite(y)
    y = np.where(present, y - y[present].mean(), 0.0)
    n = len(y)
    f = np.arange(n // 2 + 1) * fs / n
    rows = np.arange(n)
    power = np.array([abs(np.sum(y * np.exp(-2j * np.pi * k * rows / n))) ** 2 for k in range(n // 2 + 1)])
    return [float(power[(low <= f) & (f < high)].sum()) for low, high in bands]


@pytest.mark.parametrize("n", [2, 3, 16, 97, 500])
@pytest.mark.parametrize("fs", [1.0, 0.37])
def test_energies_of_a_whole_series(n: int, fs: float) -> None:
    rng = np.random.default_rng(n)
    y = np.cumsum(rng.normal(size=n)) + 50.0
    if n > 10:
        y[[3, 7]] = np.nan, np.inf
    bands = [(0.0, 0.05 * fs), (0.05 * fs, 0.15 * fs), (0.15 * fs, 0.5 * fs)]
    expected = energies_by_definition(y, bands, fs)
    tolerance = 1e-9 * sum(expected) + 1e-20
    for series in (y, pd.Series(y), pl.Series(y), y.tolist()):
        for call in (ff.spectral_energy, ff.goertzel_energy):
            ours = call(series, fs=fs)
            assert all(type(energy) is float for energy in ours)
            assert ours == pytest.approx(expected, rel=0, abs=tolerance), (call, type(series))
            assert call(series, bands[1:2], fs) == pytest.approx(expected[1:2], rel=0, abs=tolerance)


@pytest.mark.parametrize("call", [ff.spectral_energy, ff.goertzel_energy])
def test_what_a_whole_series_may_be(call: Callable[..., list[float]]) -> None:
    expected = call([1.0, None, 3.0, 5.0])
    assert call([1, None, 3.0, 5]) == call((1, None, 3, 5)) == expected  # a list may begin with an integer
    assert call([Decimal(1), None, 3, 5]) == expected
    assert call([]) == call([None, None]) == [0.0] * 3
    for wrong in (None, 5, ["a"], [[1.0], [2.0]], np.ones((2, 2))):
        with pytest.raises(TypeError, match=f"acm.{call.__name__}: `x` must be a 1-D array, a Series or a list of num"):
            call(wrong)


def test_energies_of_a_whole_series_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert ff.spectral_energy(A) == ff.goertzel_energy(A)


@pytest.mark.parametrize("call", [ff.spectral_energy, ff.goertzel_energy])
@pytest.mark.parametrize("values", [[], [1.0], [None, 2.0, math.nan], [3, 3, 3], [None, None]])
def test_energies_of_next_to_nothing(call: Callable[..., Any], values: list[Any]) -> None:
    assert call(values) == [0.0, 0.0, 0.0]
    assert call(np.array(values, dtype=float)) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("call", [ff.spectral_energy, ff.goertzel_energy])
def test_energies_check_their_parameters(call: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=rf"acm\.{call.__name__}: `bands\[0\]` must be a pair with low < high"):
        call(A, [(0.3, 0.1)])
    with pytest.raises(ValueError, match=rf"acm\.{call.__name__}: `fs` must be a finite number > 0, got 0"):
        call(A, fs=0)
