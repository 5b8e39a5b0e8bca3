"""What holds for every detector of many columns: models as data, fleets, engines, files, classes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import acm_rs as acm
import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from acm_rs import _models
from acm_rs.models import Model, load_model
from backends import rust_only
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal

COLUMNS = ["a", "b", "c", "d"]
THREE: dict[str, Any] = {"k": 3, "min_present": 0.5}


class Detector(NamedTuple):
    """One row for each detector: its fit, its scores with one result a row, and its class."""

    fit: Callable[..., pl.Expr]
    scores: tuple[Callable[..., pl.Expr], ...]
    model: type[Model]
    own: Mapping[str, Any] = MappingProxyType({})  # what a fit of the class needs, too

    def learn(self, frame: Any, columns: Any = None, **parameters: Any) -> Any:
        return self.model.fit(frame, columns, **(dict(self.own) | parameters))


DETECTORS = {
    "pca": Detector(acm.pca_fit, (acm.pca_spe, acm.pca_t2), acm.PcaModel),
    "isolation_forest": Detector(acm.isolation_forest_fit, (acm.isolation_forest_score,), acm.IsolationForestModel),
    "gmm": Detector(acm.gmm_fit, (acm.gmm_score, acm.gmm_label), acm.GmmModel),
    "omr": Detector(acm.omr_fit, (acm.omr_score,), acm.OmrModel),
    "kmeans": Detector(
        lambda columns, **parameters: acm.kmeans_fit(columns, **(THREE | parameters)),
        (acm.kmeans_distance, acm.kmeans_label),
        acm.KMeansModel,
        THREE,
    ),
}
every_detector = pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
every_score = pytest.mark.parametrize(
    ("detector", "score"),
    [(detector, score) for detector in DETECTORS.values() for score in detector.scores],
    ids=[score.__name__ for detector in DETECTORS.values() for score in detector.scores],
)


def make_frame(rows: int = 400) -> pl.DataFrame:
    """Draw correlated sensors of three assets with missing cells of every kind; every 50th row has no sensor at all."""
    rng = np.random.default_rng(8)
    causes = rng.normal(size=(rows, 2))
    readings = causes @ rng.normal(size=(2, 4)) * [1.0, 5.0, 0.1, 2.0] + rng.normal(size=(rows, 4)) * 0.2
    row = pl.int_range(rows)
    dead = row % 50 == 17
    frame = pl.DataFrame(readings, schema=COLUMNS).with_columns(row=row)
    return frame.with_columns(
        pl.when(dead | (row % 13 == 5)).then(None).otherwise("a").alias("a"),
        pl.when(dead).then(np.nan).when(row % 29 == 7).then(np.inf).otherwise("b").alias("b"),
        pl.when(~dead).then(pl.col("c") + 3).alias("c"),
        pl.when(~dead).then("d").alias("d"),
        pl.Series("asset", rng.choice(["north", "south", "west"], rows)),
        (pl.datetime(2024, 1, 1) + pl.duration(minutes=row)).alias("time"),
    )


FRAME = make_frame()


def fitted(detector: Detector, frame: pl.DataFrame = FRAME) -> pl.DataFrame:
    return frame.select(detector.fit(COLUMNS))


def fleet(detector: Detector) -> pl.DataFrame:
    return FRAME.group_by("asset", maintain_order=True).agg(detector.fit(COLUMNS))


# --- fits ------------------------------------------------------------------------------------------------------------


@every_detector
def test_a_fit_is_one_row_with_a_schema_known_before(detector: Detector) -> None:
    lazy = FRAME.lazy().select(detector.fit(COLUMNS))
    model = lazy.collect()
    assert model.shape == (1, 1)
    assert lazy.collect_schema() == model.schema
    assert (
        FRAME.lazy().group_by("asset").agg(detector.fit(COLUMNS)).collect_schema()[model.columns[0]] == model.dtypes[0]
    )
    parts = model.to_series().struct.unnest().row(0, named=True)
    assert parts["columns"] == COLUMNS
    assert (parts["rows"], parts["rows_left_out"]) == (392, 8)
    other = FRAME.select(detector.fit(["a", "b", "c"]))
    assert other.dtypes == model.dtypes  # so that models of any columns make one fleet


@every_detector
def test_a_fit_does_not_depend_on_the_form(detector: Detector) -> None:
    expected = fitted(detector).to_series().to_list()
    for form in (tuple(COLUMNS), cs.by_name(COLUMNS), pl.col(COLUMNS), pl.struct(COLUMNS)):
        assert FRAME.select(detector.fit(form)).to_series().to_list() == expected


@every_detector
def test_columns_that_say_nothing_are_dropped_with_the_reason(detector: Detector) -> None:
    frame = FRAME.with_columns(still=pl.lit(7.0), gone=pl.lit(None, dtype=pl.Float64))
    model = frame.select(detector.fit([*COLUMNS, "still", "gone"])).to_series()
    parts = model.struct.unnest().row(0, named=True)
    assert parts["columns"] == COLUMNS
    assert parts["dropped"] == ["still", "gone"]
    assert parts["dropped_because"] == ["constant", "missing"]
    for score in detector.scores:  # dropped columns are not asked for again
        assert_frame_equal(frame.select(score(COLUMNS, model)), frame.select(score(frame.columns[:4], model)))


@every_detector
@pytest.mark.parametrize(
    "frame",
    [FRAME.clear(), FRAME.head(1), FRAME.select(pl.col(COLUMNS) * 0), FRAME.filter(pl.col("row") % 50 == 17)],
    ids=["empty", "one row", "constant", "missing"],
)
def test_what_cannot_be_fitted_is_an_error_or_null(detector: Detector, frame: pl.DataFrame) -> None:
    with pytest.raises(ComputeError, match=r"acm\.\w+_fit: .*strict=False gives null"):
        frame.select(detector.fit(COLUMNS))
    model = frame.select(detector.fit(COLUMNS, strict=False))
    assert model.height == 1
    assert model.to_series().null_count() == 1
    for score in detector.scores:
        assert FRAME.select(score(COLUMNS, model)).to_series().null_count() == FRAME.height


@every_detector
def test_min_present_decides_which_rows_teach(detector: Detector) -> None:
    rows = FRAME.select(detector.fit(COLUMNS, min_present=1.0)).to_series().struct.field("rows").item()
    complete = FRAME.filter(pl.all_horizontal(pl.col(COLUMNS).is_finite().fill_null(False))).height
    assert rows == complete < 392
    for value, error in ((0, ValueError), (1.5, ValueError), ("half", TypeError), (True, TypeError)):
        with pytest.raises(error, match="`min_present` must be"):
            detector.fit(COLUMNS, min_present=value)


@every_detector
def test_a_row_teaches_if_it_would_be_scored(detector: Detector) -> None:
    # `e` changes only where nothing else is known; without it rows know enough that lack two of five
    frame = FRAME.with_columns(e=pl.when(pl.col("row") % 50 == 17).then("row").when(pl.col("row") % 2 > 0).then(1))
    frame = frame.with_columns(b=pl.when(pl.col("row") % 6 != 2).then("b"))
    model = frame.select(detector.fit([*COLUMNS, "e"], min_present=0.7))
    parts = model.to_series().struct.unnest().row(0, named=True)
    assert parts["dropped"] == ["e"]
    for score in detector.scores:
        scores = frame.select(score(COLUMNS, model)).to_series()
        assert parts["rows"] == scores.count()


# --- scores ----------------------------------------------------------------------------------------------------------


@every_score
def test_scores_do_not_depend_on_the_form(detector: Detector, score: Callable[..., pl.Expr]) -> None:
    model = fitted(detector)
    expected = FRAME.select(score(COLUMNS, model))
    assert expected.columns == [score.__name__]
    missing = FRAME["row"] % 50 == 17
    assert (expected.to_series().is_null() == missing).all()  # a dead row must not look healthy
    shuffled = FRAME.select("row", "d", "time", "b", "a", "c", extra=pl.lit("text"))
    assert_frame_equal(shuffled.select(score(["d", "b", "row", "a", "c"], model)), expected, check_exact=True)
    assert_frame_equal(FRAME.select(getattr(pl.col(COLUMNS).acm, score.__name__)(model)), expected, check_exact=True)
    large = pl.concat([FRAME] * 30)
    assert_frame_equal(large.select(score(COLUMNS, model)), pl.concat([expected] * 30), check_exact=True)


@every_score
def test_a_row_is_scored_by_itself(detector: Detector, score: Callable[..., pl.Expr]) -> None:
    model = fitted(detector)
    expected = FRAME.select(score(COLUMNS, model))
    assert_frame_equal(FRAME[101:230].select(score(COLUMNS, model)), expected[101:230], check_exact=True)
    later = FRAME.lazy().with_columns(score(COLUMNS, model)).filter(pl.col("row") > 390).select(score.__name__)
    assert_frame_equal(later.collect(), expected.tail(9), check_exact=True)


@every_score
def test_float32_only_if_all_columns_are(detector: Detector, score: Callable[..., pl.Expr]) -> None:
    model = fitted(detector)
    labels = score.__name__.endswith("_label")
    narrow = FRAME.with_columns(pl.col(COLUMNS).cast(pl.Float32))
    assert narrow.select(score(COLUMNS, model)).dtypes == [pl.Int64 if labels else pl.Float32]
    mixed = narrow.with_columns(pl.col("a").cast(pl.Float64))
    assert mixed.select(score(COLUMNS, model)).dtypes == [pl.Int64 if labels else pl.Float64]


@every_score
def test_a_fleet_scores_each_row_with_the_model_of_its_key(detector: Detector, score: Callable[..., pl.Expr]) -> None:
    models = fleet(detector)
    by_key = FRAME.select("row", score(COLUMNS, models, by="asset"))
    parts = []
    for (asset,), group in FRAME.group_by("asset", maintain_order=True):
        model = models.filter(asset=asset).select(pl.exclude("asset"))
        parts.append(group.select("row", score(COLUMNS, model)))
    assert_frame_equal(by_key, pl.concat(parts).sort("row"), check_exact=True)
    lazy = FRAME.lazy().select("row", score(COLUMNS, models, by="asset"))
    assert_frame_equal(lazy.collect(engine="streaming"), by_key, check_exact=True)
    over = FRAME.select("row", score(COLUMNS, detector.fit(COLUMNS)).over("asset"))
    assert_frame_equal(over, by_key, check_exact=True)


@every_score
def test_keys_without_a_model(detector: Detector, score: Callable[..., pl.Expr]) -> None:
    models = fleet(detector).filter(pl.col("asset") != "west")
    scores = FRAME.select(score(COLUMNS, models, by="asset")).to_series()
    assert scores.filter(FRAME["asset"] == "west").null_count() == (FRAME["asset"] == "west").sum()
    with pytest.raises(
        ComputeError, match='`by` has the key "west", which no model is for; fit it too, or take on_unknown='
    ):
        FRAME.select(score(COLUMNS, models, by="asset", on_unknown="error"))
    known = FRAME.filter(pl.col("asset") != "west")
    expected = scores.filter(FRAME["asset"] != "west")
    found = known.select(score(COLUMNS, models, by="asset", on_unknown="error")).to_series()
    assert found.equals(expected, null_equal=True)


@every_score
def test_models_that_do_not_fit_are_refused(detector: Detector, score: Callable[..., pl.Expr]) -> None:
    model = fitted(detector)
    name = f"acm.{score.__name__}"
    with pytest.raises(
        ComputeError, match=f"{name}: `model` was fitted on the column `c`, which is not among `a`, `b`"
    ):
        FRAME.select(score(["a", "b"], model))
    stranger = next(fitted(other) for other in DETECTORS.values() if other is not detector)
    for wrong in (stranger, FRAME.select("a"), {"kind": "pca"}, pl.concat([model, model])):
        with pytest.raises(TypeError, match=f"{name}: `model` must be what"):
            score(COLUMNS, wrong)
    with pytest.raises(ComputeError, match=f"{name}: `model` must be what"):
        FRAME.select(score(COLUMNS, _models.literal(stranger.to_series())))
    with pytest.raises(ComputeError, match=f"{name}: `model` must be what"):
        FRAME.select(score(COLUMNS, pl.col("a").first()))
    parts = model.to_series().struct.unnest()
    newer = parts.with_columns(pl.col("format") + 1).to_struct("newer")
    with pytest.raises(ComputeError, match=rf"{name}: `model` must be .* format \d+, this version reads format"):
        FRAME.select(score(COLUMNS, newer))
    renamed = parts.with_columns(kind=pl.lit("other")).to_struct("renamed")
    with pytest.raises(TypeError, match=f"{name}: `model` must be what"):
        score(COLUMNS, renamed)
    with pytest.raises(ComputeError, match='a model of kind "other"'):
        FRAME.select(score(COLUMNS, _models.literal(renamed)))
    shorter = parts.with_columns(pl.col("medians").list.head(2)).to_struct("shorter")
    with pytest.raises(ComputeError, match=f"{name}: `model` is damaged"):
        FRAME.select(score(COLUMNS, shorter))
    with pytest.raises(ValueError, match="`on_unknown` must be left out unless `by`"):
        score(COLUMNS, model, on_unknown="error")
    with pytest.raises(TypeError, match="`model` must be a frame of a key column and"):
        score(COLUMNS, model, by="asset")


@rust_only
@every_score
def test_scoring_streams(detector: Detector, score: Callable[..., pl.Expr]) -> None:
    model, models = fitted(detector), fleet(detector)
    for expr in (score(COLUMNS, model), score(COLUMNS, models, by="asset")):
        lazy = FRAME.lazy().select(expr)
        try:
            plan = lazy.show_graph(engine="streaming", plan_stage="physical", raw_output=True, show=False)
        except (TypeError, ValueError):
            pytest.skip("this Polars does not show physical plans")
        assert plan is not None
        assert "zip-broadcast" not in plan  # the model would be repeated for every row
        assert "columnar-function" not in plan
        assert "in-memory-map" not in plan


# --- classes ---------------------------------------------------------------------------------------------------------


@every_detector
def test_a_class_learns_what_the_expression_learns_from_frames_of_every_kind(detector: Detector) -> None:
    pd = pytest.importorskip("pandas")
    expected = fitted(detector).to_series().to_list()
    sensors = FRAME.select(COLUMNS)
    for frame in (FRAME, FRAME.lazy(), pd.DataFrame({name: sensors[name].to_numpy() for name in COLUMNS})):
        model = detector.learn(frame, COLUMNS)
        assert model.data.to_series().to_list() == expected
        assert model.columns == COLUMNS
    assert detector.learn(sensors).data.to_series().to_list() == expected  # all numeric columns
    numbered = pd.DataFrame(sensors.to_numpy())  # labels that are no text
    assert detector.learn(numbered).score(numbered).height == FRAME.height
    array = detector.learn(sensors.to_numpy())
    assert array.columns == ["0", "1", "2", "3"]
    scores = array.score(sensors.to_numpy())
    assert scores.columns == list(detector.model.scores)
    renamed = FRAME.select(score(COLUMNS, fitted(detector)) for score in detector.model.scores.values())
    assert_frame_equal(scores, renamed, check_exact=True)


@every_detector
def test_a_class_holds_a_fleet(detector: Detector) -> None:
    model = detector.learn(FRAME, COLUMNS, by="asset")
    assert model.by == "asset"
    for name, score in detector.model.scores.items():
        expected = FRAME.select(score(COLUMNS, fleet(detector), by="asset"))
        assert_frame_equal(FRAME.select(score(COLUMNS, model)), expected, check_exact=True)
        assert_frame_equal(model.score(FRAME).select(name), expected, check_exact=True)
    with pytest.raises(ValueError, match="must be keyed by text or integers, cast the key first, got Float64"):
        detector.learn(FRAME.with_columns(pl.col("row") % 2 * 1.0), COLUMNS, by="row")
    assert "3 models by asset" in repr(model)
    assert "asset='north'" in repr(model)


@every_detector
def test_thresholds_are_exceeded_at_the_stated_rate(detector: Detector) -> None:
    model = detector.learn(FRAME, COLUMNS)
    for rate in (0.01, 0.1, 0.5):
        limits = model.thresholds(FRAME, false_alarm_rate=rate)
        scores = model.score(FRAME)
        for name in limits.columns:
            values = scores[name].drop_nulls()
            above = (values > limits[name].item()).sum()
            assert above <= rate * len(values)
            smaller = values.filter(values < limits[name].item()).max()
            assert (values > smaller).sum() > rate * len(values)  # the next smaller one would not do
    by_asset = detector.learn(FRAME, COLUMNS, by="asset").thresholds(FRAME)
    assert by_asset.columns == ["asset", *detector.model.scores]
    assert by_asset.height == 3
    for value in (0, 1, -0.1, "x"):
        with pytest.raises((ValueError, TypeError), match="`false_alarm_rate` must be"):
            model.thresholds(FRAME, false_alarm_rate=value)  # type: ignore[arg-type]


@every_detector
def test_what_was_learnt_is_shown(detector: Detector) -> None:
    frame = FRAME.with_columns(still=pl.lit(7.0))
    model = detector.learn(frame, [*COLUMNS, "still"])
    for text in (repr(model), model._repr_html_()):
        assert detector.model.__name__ in text
        assert "392 rows, 4 columns" in text
        assert "8 rows left out" in text
        assert "still (constant)" in text


# --- files -----------------------------------------------------------------------------------------------------------


@every_detector
@pytest.mark.parametrize("by", [None, "asset"])
def test_a_file_gives_the_model_back(detector: Detector, by: str | None, tmp_path: Any) -> None:
    model = detector.learn(FRAME, COLUMNS, by=by)
    path = tmp_path / "ein Modell ä.acm"
    path.write_bytes(b"replaced")
    model.save(path)
    for again in (detector.model.load(path), load_model(str(path))):
        assert type(again) is detector.model
        assert again.by == by
        assert_frame_equal(again.data, model.data, check_exact=True)
        assert_frame_equal(again.score(FRAME), model.score(FRAME), check_exact=True)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing is left beside it
    other = next(d.model for d in DETECTORS.values() if d is not detector)
    with pytest.raises(ValueError, match=f"holds a {detector.model.__name__}"):
        other.load(path)


def test_damage_of_any_bit_is_noticed(tmp_path: Any) -> None:
    path = tmp_path / "model"
    acm.PcaModel.fit(FRAME, COLUMNS).save(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"acm\.load_model: .* (is damaged|is not a file of a model)"):
            load_model(path)
    for other in (b"", whole[:20], whole[:-1], whole + b"\0", b"PAR1 something else"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=r"acm\.load_model: "):
            load_model(path)


def test_a_newer_file_says_so(tmp_path: Any) -> None:
    path = tmp_path / "model"
    acm.PcaModel.fit(FRAME, COLUMNS).save(path)
    whole = path.read_bytes()
    payload, newer = whole[44:], (2).to_bytes(4, "little")
    path.write_bytes(whole[:8] + newer + hashlib.sha256(newer + payload).digest() + payload)
    assert struct.unpack("<I", path.read_bytes()[8:12]) == (2,)
    with pytest.raises(ValueError, match="has format 2, this version of acm_rs reads format 1; update acm_rs"):
        load_model(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    model = acm.PcaModel.fit(FRAME, COLUMNS)
    model.save(path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
