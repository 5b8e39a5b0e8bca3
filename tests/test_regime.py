"""Operating regimes: known states, the choice in words, prediction with confidence, both backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from acm_rs import RegimeModel
from backends import rust_only
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal, assert_series_equal

COLUMNS = ["power_kw", "rotor_rpm", "pitch"]
SHARES = {1: 0.5, 2: 0.3, 0: 0.2}  # of the states: part load, full load, standstill


def machine(rows: int, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    state = np.array([1, 1, 0, 2, 1, 2, 1, 0, 2, 1])[np.arange(rows) // 10 % 10]
    levels = np.array([[0.0, 2.0, 90.0], [800.0, 12.0, 1.0], [2000.0, 16.0, 10.0]])[state]
    readings = levels + random.normal(size=(rows, 3)) * [30.0, 0.5, 1.0]
    asset = np.where(np.arange(rows) % 2 == 0, "north", "south")
    return pl.DataFrame(readings, schema=COLUMNS).with_columns(state=pl.Series(state), asset=pl.Series(asset))


FRAME = machine(2_000)
MODEL = FRAME.select(acm.regime_fit(COLUMNS))
NUMBER = pl.col("state").replace_strict({1: 0, 2: 1, 0: 2}, return_dtype=pl.Int64)


def parts(model: pl.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = model.to_series().item()
    return row


def predicted(frame: pl.DataFrame, model: Any, **parameters: Any) -> pl.DataFrame:
    return frame.select(acm.regime_predict(COLUMNS, model, **parameters)).unnest("regime_predict")


@pytest.mark.parametrize("method", ["auto", "hdbscan", "gmm", "kmeans"])
@pytest.mark.parametrize("n_components", [None, 2])
def test_every_method_finds_the_states(method: Any, n_components: int | None) -> None:
    model = FRAME.select(acm.regime_fit(COLUMNS, method=method, n_components=n_components))
    row = parts(model)
    assert row["sizes"] == [1000, 600, 400]
    assert row["method"] == ("hdbscan" if method == "auto" else method)
    assert row["metric"] in ("validity and persistence", "persistence", "bic", "silhouette")
    assert len(row["components"]) == (0 if n_components is None else 6)
    found = predicted(FRAME, model)
    assert_series_equal(found["label"], FRAME.select(NUMBER).to_series(), check_names=False)
    assert found["confidence"].min() > 0.999  # type: ignore[operator]
    centers = np.reshape(row["centers"], (3, 3))
    np.testing.assert_allclose(centers, [[800, 12, 1], [2000, 16, 10], [0, 2, 90]], atol=5)


def test_novelty_is_a_flag_or_a_label() -> None:
    for percentile in (90.0, 99.0, 100.0):
        model = FRAME.select(acm.regime_fit(COLUMNS, distance_percentile=percentile))
        flagged, unknown = (predicted(FRAME, model, novel=novel) for novel in ("flag", "unknown"))
        assert abs(flagged["is_novel"].sum() - FRAME.height * (1 - percentile / 100)) <= 3
        assert flagged["label"].min() == 0
        expected = flagged.with_columns(label=pl.when("is_novel").then(-1).otherwise("label"))
        assert_frame_equal(unknown, expected.cast({"label": pl.Int64}))
    far = pl.DataFrame({"power_kw": [400.0], "rotor_rpm": [30.0], "pitch": [45.0]})
    assert predicted(far, MODEL)["is_novel"].item()


def test_missing_rows_have_no_regime() -> None:
    holes = pl.DataFrame(
        {"power_kw": [800.0, None, float("nan"), 2000.0], "rotor_rpm": [12.0] * 4, "pitch": [1.0, 1, 1, None]}
    )
    found = predicted(holes, MODEL)
    assert found["label"].to_list() == [0, None, None, None]
    assert found.null_count().row(0) == (3, 3, 3)
    # with less asked of a row, medians stand in
    lenient = FRAME.select(acm.regime_fit(COLUMNS, min_present=0.5))
    assert predicted(holes, lenient)["label"].null_count() == 0


def test_the_reason_is_told_in_words() -> None:
    assert parts(MODEL)["reason"].startswith("hdbscan found 3 clusters, ")
    many = pl.DataFrame({"x": (np.arange(1_000) % 10) * 100.0 + np.random.default_rng(0).normal(size=1_000)})
    row = parts(many.select(acm.regime_fit("x", k_range=(2, 4))))
    assert row["method"] != "hdbscan"
    assert row["reason"].startswith("not hdbscan: it found 10 clusters, `k_range` allows 4; ")
    row = parts(many.select(acm.regime_fit("x", k_range=(2, 4), method="hdbscan")))
    assert len(row["sizes"]) == 10
    assert "; low quality: it found 10 clusters" in row["reason"]
    row = parts(many.select(acm.regime_fit("x", min_cluster_size=400, method="auto", k_range=(2, 4))))
    assert "not hdbscan: " in row["reason"] or len(row["sizes"]) == 1


def test_parameters_do_what_they_say() -> None:
    assert parts(FRAME.select(acm.regime_fit(COLUMNS, max_fit_rows=500)))["fit_rows"] == 500
    assert parts(MODEL)["fit_rows"] == FRAME.height
    two = parts(FRAME.select(acm.regime_fit(COLUMNS, method="kmeans", k_range=(2, 2))))
    assert len(two["sizes"]) == 2
    # between the states lie rows of none: the more neighbours count, the more of them are noise
    between = pl.DataFrame(np.random.default_rng(2).uniform([0, 0, -9], [2000, 20, 90], (500, 3)), schema=COLUMNS)
    frame = pl.concat([FRAME.select(COLUMNS), between])
    noise = [
        parts(frame.select(acm.regime_fit(COLUMNS, method="hdbscan", min_samples=samples)))["noise_share"]
        for samples in (1, 30)
    ]
    assert 0 < noise[0] < noise[1] < 0.3
    spells = pl.DataFrame({"x": (np.arange(600) % 20) * 50.0 + np.random.default_rng(3).normal(size=600)})
    sizes = [
        parts(spells.select(acm.regime_fit("x", method="hdbscan", min_cluster_size=size)))["sizes"] for size in (20, 60)
    ]
    assert sizes[0] == [30] * 20
    assert len(sizes[1]) < 20
    wide = parts(FRAME.select(acm.regime_fit(COLUMNS, method="kmeans", reg_covar=4.0)))
    assert np.reshape(wide["covariances"], (3, 3, 3))[:, 0, 0].min() > 4
    units = parts(FRAME.select(acm.regime_fit(COLUMNS, method="kmeans", scale="none", reg_covar=1.0)))
    assert units["scale"] == [1.0, 1.0, 1.0]
    robust = parts(FRAME.select(acm.regime_fit(COLUMNS, method="kmeans", scale="robust")))
    assert robust["center"] == FRAME.select(COLUMNS).median().row(0) or np.allclose(
        robust["center"], FRAME.select(COLUMNS).median().row(0)
    )


def test_seeds_repeat() -> None:
    for seed in (0, 7):
        one, two = (FRAME.select(acm.regime_fit(COLUMNS, method="gmm", seed=seed)) for _ in range(2))
        assert_frame_equal(one, two)


def test_fleets_and_unknown_keys() -> None:
    fleet = FRAME.group_by("asset", maintain_order=True).agg(acm.regime_fit(COLUMNS))
    found = FRAME.select("asset", acm.regime_predict(COLUMNS, fleet, by="asset"))
    for asset, model in fleet.rows():
        alone = pl.DataFrame({"model": [model]}, schema={"model": fleet.dtypes[1]})
        own = FRAME.filter(asset=asset)
        expected = own.select(acm.regime_predict(COLUMNS, alone))
        assert_frame_equal(found.filter(asset=asset).drop("asset"), expected)
    some = fleet.filter(pl.col("asset") == "north")
    null = FRAME.select(acm.regime_predict(COLUMNS, some, by="asset")).unnest("regime_predict")
    assert null["label"].null_count() == (FRAME["asset"] == "south").sum()
    with pytest.raises(ComputeError, match='`by` has the key "south", which no model is for'):
        FRAME.select(acm.regime_predict(COLUMNS, some, by="asset", on_unknown="error"))


def test_chunks_order_and_engines_change_nothing() -> None:
    expected = predicted(FRAME, MODEL)
    chunked = pl.concat([FRAME[:7], FRAME[7:900], FRAME[900:]], rechunk=False)
    assert_frame_equal(predicted(chunked, MODEL), expected)
    assert_frame_equal(chunked.select(acm.regime_fit(COLUMNS)), MODEL)
    shuffled = FRAME.select(acm.regime_predict(["pitch", *COLUMNS[:2]], MODEL)).unnest("regime_predict")
    assert_frame_equal(shuffled, expected)
    lazy = FRAME.lazy().select(acm.regime_predict(COLUMNS, MODEL)).collect(engine="streaming")
    assert_frame_equal(lazy.unnest("regime_predict"), expected)
    narrow = FRAME.cast(dict.fromkeys(COLUMNS, pl.Float32))
    found = predicted(narrow, MODEL)
    assert found.schema == {"label": pl.Int64(), "confidence": pl.Float32(), "is_novel": pl.Boolean()}
    assert (found["label"] == expected["label"]).all()


@rust_only
def test_prediction_streams() -> None:
    lazy = FRAME.lazy().select(acm.regime_predict(COLUMNS, MODEL))
    try:
        plan = lazy.show_graph(engine="streaming", plan_stage="physical", raw_output=True, show=False)
    except (TypeError, ValueError):
        pytest.skip("this Polars does not show physical plans")
    assert plan is not None
    for node in ("zip-broadcast", "columnar-function", "in-memory-map"):
        assert node not in plan


def test_aligned_with_an_older_model() -> None:
    old = RegimeModel(MODEL)
    # an older machine that stood more than it ran: the numbers of its regimes are others
    idle = FRAME.filter((pl.col("state") == 0) | (pl.int_range(pl.len()) % 5 == 0))
    new = RegimeModel.fit(idle, COLUMNS)
    assert new.centers["power_kw"][0] < 10 < old.centers["power_kw"][0]
    aligned, mapping = new.align_labels(old)
    assert sorted(mapping["aligned"]) == [0, 1, 2]
    assert (mapping["distance"] < 0.2).all()
    assert_series_equal(aligned.predict(FRAME)["label"], old.predict(FRAME)["label"])
    # nothing else has changed
    before, after = new.predict(FRAME), aligned.predict(FRAME)
    names = dict(zip(mapping["label"], mapping["aligned"], strict=True))
    assert_series_equal(before["label"].replace_strict(names, return_dtype=pl.Int64), after["label"])
    np.testing.assert_allclose(before["confidence"], after["confidence"], rtol=1e-12)
    assert_series_equal(before["is_novel"], after["is_novel"])


def test_the_class(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    model = RegimeModel.fit(FRAME.lazy().select(COLUMNS), COLUMNS)
    expected = predicted(FRAME, MODEL)
    assert_frame_equal(model.predict(FRAME), expected)
    assert_frame_equal(model.score(FRAME), expected)
    assert_frame_equal(model.predict(pandas.DataFrame({c: FRAME[c].to_numpy() for c in COLUMNS})), expected)
    assert_frame_equal(FRAME.select(model.regime_predict()).unnest("regime_predict"), expected)
    assert "3 regimes; hdbscan found 3 clusters" in repr(model)
    assert model.reason.item().startswith("hdbscan found 3 clusters")
    assert model.centers.columns == ["label", "size", *COLUMNS]
    model.save(tmp_path / "regimes.acm")
    again = acm.load_model(tmp_path / "regimes.acm")
    assert isinstance(again, RegimeModel)
    assert_frame_equal(again.predict(FRAME, novel="unknown"), model.predict(FRAME, novel="unknown"))
    with pytest.raises(TypeError, match=r"acm\.RegimeModel: regimes have their limits"):
        model.thresholds(FRAME)


def test_columns_are_chosen_by_their_names() -> None:
    assert acm.operating_columns(COLUMNS) == ["power_kw"]
    assert acm.operating_columns(COLUMNS, unknown=True) == ["power_kw", "pitch"]
    assert acm.operating_columns(COLUMNS, operating_words=["Rotor_RPM", "pitch"]) == COLUMNS
    assert acm.operating_columns(COLUMNS, operating_words=["pitch"], condition_words=["POWER"]) == ["pitch"]
    assert acm.operating_columns(["DWATT", "x"]) == []
    assert RegimeModel.fit(FRAME).columns == ["power_kw"]
    # no name speaks of operation: principal components of all columns
    anonymous = FRAME.select(pl.col(COLUMNS).name.map(lambda name: f"t{COLUMNS.index(name)}"))
    model = RegimeModel.fit(anonymous)
    assert model.columns == ["t0", "t1", "t2"]
    assert len(model.data["regime"].item()["components"]) == 9
    with pytest.raises(TypeError, match="`operating_words` must be a sequence of words"):
        acm.operating_columns(COLUMNS, operating_words="pitch")
    with pytest.raises(TypeError, match="`columns` must be names of columns"):
        acm.operating_columns([1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="`columns` must be names of columns, not one name, got 'speed'"):
        acm.operating_columns("speed")  # letters, none of which is a word


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: acm.regime_fit("a", method="dbscan"), ValueError, "`method` must be"),
        (lambda: acm.regime_fit("a", k_range=(3, 2)), ValueError, "`k_range` must be ascending"),
        (lambda: acm.regime_fit("a", k_range=3), TypeError, "`k_range` must be a pair of ints"),
        (lambda: acm.regime_fit("a", k_range=(0, 2)), ValueError, "`k_range` must be >= 1"),
        (lambda: acm.regime_fit("a", min_cluster_size=1), ValueError, "`min_cluster_size` must be >= 2"),
        (lambda: acm.regime_fit("a", min_samples=0), ValueError, "`min_samples` must be >= 1"),
        (lambda: acm.regime_fit("a", max_fit_rows=9), ValueError, "`max_fit_rows` must be >= 10"),
        (lambda: acm.regime_fit("a", n_components=0), ValueError, "`n_components` must be >= 1"),
        (lambda: acm.regime_fit("a", distance_percentile=101), ValueError, "`distance_percentile` must be above 0"),
        (lambda: acm.regime_fit("a", reg_covar=0), ValueError, "`reg_covar` must be"),
        (lambda: acm.regime_fit("a", scale="minmax"), ValueError, "`scale` must be"),
        (lambda: acm.regime_fit("a", seed=-1), ValueError, "`seed` must be"),
        (lambda: acm.regime_fit("a", min_present=0), ValueError, "`min_present` must be"),
        (lambda: acm.regime_fit("a", strict="no"), TypeError, "`strict` must be"),
        (lambda: acm.regime_predict("a", MODEL, novel="drop"), ValueError, "`novel` must be"),
        (lambda: acm.regime_predict("a", 3), TypeError, "`model` must be what `regime_fit` gives"),
        (
            lambda: acm.regime_predict("a", pl.DataFrame({"key": ["p"]}).hstack(MODEL)),
            ValueError,
            "of a fleet name the key with `by`",
        ),
    ],
)
def test_wrong_arguments_are_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert "acm.regime_" in str(caught.value)
    assert text in str(caught.value)


def test_data_without_regimes() -> None:
    cases = {
        "one row": FRAME.head(1),
        "constant": FRAME.head(20).with_columns(pl.lit(1.0).alias(column) for column in COLUMNS),
        "missing": FRAME.head(20).with_columns(pl.lit(None, dtype=pl.Float64).alias(column) for column in COLUMNS),
    }
    for name, frame in cases.items():
        with pytest.raises(ComputeError, match=r"acm\.regime_fit: "):
            frame.select(acm.regime_fit(COLUMNS))
        assert frame.select(acm.regime_fit(COLUMNS, strict=False)).to_series().null_count() == 1, name
    with pytest.raises(ComputeError, match="no regimes were found"):
        FRAME.head(3).select(acm.regime_fit(COLUMNS, method="hdbscan"))
    no_model = FRAME.head(1).select(acm.regime_fit(COLUMNS, strict=False))
    assert predicted(FRAME, no_model)["label"].null_count() == FRAME.height
    with pytest.raises(ValueError, match="no model could be fitted, so there is nothing to score with"):
        RegimeModel(no_model).predict(FRAME)
    offset = FRAME.with_columns(pl.col(COLUMNS) + 1e8)
    assert parts(offset.select(acm.regime_fit(COLUMNS, method="kmeans")))["sizes"] == [1000, 600, 400]


@rust_only
def test_a_damaged_model_is_refused() -> None:
    whole = MODEL.to_series().struct.unnest()
    for part in ("center", "scale", "means", "covariances", "limits", "weights"):
        cut = whole.with_columns(pl.col(part).list.head(1)).to_struct("regime_fit")
        with pytest.raises(ComputeError, match="`model` is damaged"):
            FRAME.select(acm.regime_predict(COLUMNS, cut))
