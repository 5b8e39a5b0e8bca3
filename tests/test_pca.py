"""Principal components: against NumPy and SciPy, limits, contributions, both backends, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import acm_rs as acm
import numpy as np
import polars as pl
import pytest
from acm_rs import _plugin
from backends import both_backends, rust_only, within
from polars.exceptions import ComputeError
from polars.testing import assert_frame_equal
from scipy import stats

COLUMNS = ["a", "b", "c", "d", "e", "f"]
SCALES = ("robust", "standard", "none")


def make_data(rows: int = 400, columns: int = 6, offset: float = 0.0) -> np.ndarray[Any, Any]:
    """Draw columns of three causes, with noise, on scales of their own."""
    rng = np.random.default_rng([rows, columns])
    causes = rng.normal(size=(rows, 3)) * [3.0, 2.0, 1.0]
    noise = rng.standard_t(5, size=(rows, columns)) * 0.3
    return (causes @ rng.normal(size=(3, columns)) + noise) * np.geomspace(0.5, 4, columns) + offset


def frame_of(data: np.ndarray[Any, Any]) -> pl.DataFrame:
    return pl.DataFrame(data, schema=[f"c{j}" for j in range(data.shape[1])] if data.shape[1] != 6 else COLUMNS)


DATA = make_data()
FRAME = frame_of(DATA)


def parts_of(frame: pl.DataFrame, *args: Any, **kwargs: Any) -> dict[str, Any]:
    model = frame.select(acm.pca_fit(frame.columns, *args, **kwargs)).to_series()
    parts = model.struct.unnest().row(0, named=True)
    k = len(parts["eigenvalues"])
    numbers = ("center", "scale", "mean", "components", "eigenvalues", "theta")
    parts |= {name: np.array(parts[name]) for name in numbers}
    parts["components"] = parts["components"].reshape(k, len(parts["columns"]))
    return parts


def expected_parts(data: np.ndarray[Any, Any], k: int, scale: str) -> dict[str, Any]:
    if scale == "robust":
        center, width = np.median(data, axis=0), np.subtract(*np.quantile(data, [0.75, 0.25], axis=0))
    elif scale == "standard":
        center, width = data.mean(axis=0), data.std(axis=0)
    else:
        center, width = np.zeros(data.shape[1]), np.ones(data.shape[1])
    scaled = (data - center) / width
    mean = scaled.mean(axis=0)
    _, singular, vectors = np.linalg.svd(scaled - mean, full_matrices=False)
    values = singular**2 / (len(data) - 1)
    signs = np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)])
    return {
        "center": center,
        "scale": width,
        "mean": mean,
        "components": (vectors * signs[:, None])[:k],
        "eigenvalues": values[:k],
        "theta": np.array([(values[k:] ** power).sum() for power in (1, 2, 3)]),
    }


# --- fit -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("rows", "columns"), [(400, 6), (60, 20), (12, 30), (3000, 64)])
def test_a_fit_is_what_numpy_says(scale: str, rows: int, columns: int) -> None:
    data = make_data(rows, columns)
    found = parts_of(frame_of(data), 3, scale=scale)
    for part, expected in expected_parts(data, 3, scale).items():
        size = max(1.0, np.abs(expected).max()) if part == "mean" else np.abs(expected).max()
        np.testing.assert_allclose(found[part], expected, rtol=1e-10, atol=1e-12 * size, err_msg=part)
    assert (found["rows"], found["rows_left_out"], found["dropped"]) == (rows, 0, [])


def test_an_offset_costs_nothing() -> None:
    near = np.round(make_data() * 1024) / 1024  # exact at any offset
    expected = parts_of(frame_of(near), 3, scale="none")
    found = parts_of(frame_of(near + 1e8), 3, scale="none")
    np.testing.assert_allclose(found["eigenvalues"], expected["eigenvalues"], rtol=1e-12)
    np.testing.assert_allclose(found["components"], expected["components"], atol=1e-12)
    np.testing.assert_allclose(found["mean"], expected["mean"] + 1e8, rtol=1e-15)


def test_nearly_singular_data_keep_their_digits() -> None:
    rng = np.random.default_rng(5)
    causes = np.linalg.qr(rng.normal(size=(200, 4)))[0]
    causes -= causes.mean(axis=0)
    vectors = np.linalg.qr(rng.normal(size=(8, 4)))[0]
    data = causes * [1.0, 1e-3, 1e-6, 1e-8] @ vectors.T
    found = parts_of(frame_of(data), 4, scale="none")
    singular = np.linalg.svd(data - data.mean(axis=0), compute_uv=False)[:4]
    np.testing.assert_allclose(np.sqrt(found["eigenvalues"] * 199), singular, rtol=1e-7)


def test_components_end_at_the_rank() -> None:
    frame = FRAME.with_columns(g=pl.col("a") * 2, h=pl.col("a") + pl.col("b")).select("a", "b", "g", "h")
    parts = parts_of(frame, scale="standard")
    assert len(parts["eigenvalues"]) == 2
    assert parts["spe_limit"] is None
    assert parts["t2_limit"] > 0
    assert len(parts_of(FRAME.head(3), scale="none")["eigenvalues"]) == 2


def test_a_column_that_hardly_moves_is_not_left_in_its_unit() -> None:
    rare = np.zeros(400)
    rare[::50] = 1e6
    parts = parts_of(FRAME.with_columns(rare=pl.Series(rare)))
    assert parts["scale"][-1] == pytest.approx(rare.std(), rel=1e-14)


@pytest.mark.parametrize("confidence", [0.9, 0.99, 0.9999])
def test_limits_are_those_of_the_papers(confidence: float) -> None:
    parts = parts_of(FRAME, 2, confidence=confidence)
    n, k = 400, 2
    assert parts["t2_limit"] == pytest.approx(
        k * (n**2 - 1) / (n * (n - k)) * stats.f.ppf(confidence, k, n - k), rel=1e-9
    )
    one, two, three = parts["theta"]
    h = 1 - 2 * one * three / (3 * two**2)
    z = stats.norm.ppf(confidence)
    jackson = one * (z * np.sqrt(2 * two * h**2) / one + 1 + two * h * (h - 1) / one**2) ** (1 / h)
    box = two / one * stats.chi2.ppf(confidence, one**2 / two)
    assert parts["spe_limit"] == pytest.approx(jackson if h > 0 else box, rel=1e-9)


def test_limits_hold_on_normal_rows() -> None:
    rng = np.random.default_rng(9)
    data = rng.normal(size=(40_000, 3)) @ rng.normal(size=(3, 8)) + 0.2 * rng.normal(size=(40_000, 8))
    frame = pl.DataFrame(data, schema=[f"c{j}" for j in range(8)])
    model = acm.PcaModel.fit(frame.head(20_000), n_components=3, confidence=0.99)
    scores = model.score(frame.tail(20_000))
    parts = model.data.to_series().struct.unnest()
    for name, limit in (("pca_spe", "spe_limit"), ("pca_t2", "t2_limit")):
        share = (scores[name] > parts[limit].item()).mean()
        assert share == pytest.approx(0.01, abs=0.004), name


def test_a_single_column_has_a_model() -> None:
    parts = parts_of(FRAME.select("a"))
    assert parts["components"].tolist() == [[1.0]]
    assert parts["spe_limit"] is None


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean_back", [True, False])
@pytest.mark.parametrize("scale", SCALES)
def test_scores_are_those_of_the_definition(scale: str, mean_back: bool) -> None:
    model = FRAME.select(acm.pca_fit(COLUMNS, 3, scale=scale))  # type: ignore[arg-type]
    parts = parts_of(FRAME, 3, scale=scale)
    x = (DATA - parts["center"]) / parts["scale"]
    z = x - parts["mean"]
    t = z @ parts["components"].T
    residual = (z if mean_back else x) - t @ parts["components"]
    found = FRAME.select(acm.pca_scores(COLUMNS, model, mean_back=mean_back)).unnest("pca_scores")
    assert found.columns == ["pc_1", "pc_2", "pc_3", "spe", "t2"]
    np.testing.assert_allclose(found.to_numpy()[:, :3], t, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found["spe"], (residual**2).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(found["t2"], (t**2 / parts["eigenvalues"]).sum(axis=1), rtol=1e-9)
    single = FRAME.select(
        acm.pca_spe(COLUMNS, model, mean_back=mean_back).alias("spe"), acm.pca_t2(COLUMNS, model).alias("t2")
    )
    np.testing.assert_allclose(single.to_numpy(), found.select("spe", "t2").to_numpy(), rtol=1e-13)
    shares = FRAME.select(acm.pca_contributions(COLUMNS, model, mean_back=mean_back)).unnest("pca_contributions")
    assert shares.columns == [f"{column}_{statistic}" for column in COLUMNS for statistic in ("spe", "t2")]
    np.testing.assert_allclose(shares.to_numpy()[:, ::2], residual**2, rtol=1e-9, atol=1e-11)
    weights = t / parts["eigenvalues"] @ parts["components"]
    np.testing.assert_allclose(shares.to_numpy()[:, 1::2], z * weights, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(shares.to_numpy()[:, ::2].sum(axis=1), found["spe"], rtol=1e-12)
    np.testing.assert_allclose(shares.to_numpy()[:, 1::2].sum(axis=1), found["t2"], rtol=1e-10)


def test_missing_cells_are_the_medians() -> None:
    model = FRAME.select(acm.pca_fit(COLUMNS, 2))
    medians = model.to_series().struct.field("medians").item().to_list()
    row = FRAME.head(1)
    holed = row.with_columns(a=pl.lit(None, dtype=pl.Float64), b=pl.lit(float("nan")), c=pl.lit(float("inf")))
    filled = row.with_columns(a=pl.lit(medians[0]), b=pl.lit(medians[1]), c=pl.lit(medians[2]))
    for operation in (acm.pca_spe, acm.pca_t2, acm.pca_scores, acm.pca_contributions):
        assert_frame_equal(holed.select(operation(COLUMNS, model)), filled.select(operation(COLUMNS, model)))
        dead = holed.with_columns(d=pl.lit(None, dtype=pl.Float64))
        result = dead.select(operation(COLUMNS, model)).to_series()
        fields = result.struct.unnest().get_columns() if isinstance(result.dtype, pl.Struct) else [result]
        assert all(field.to_list() == [None] for field in fields)


def test_contributions_of_columns_that_the_model_does_not_hold_are_null() -> None:
    frame = FRAME.with_columns(still=pl.lit(1.0))
    model = frame.select(acm.pca_fit([*COLUMNS, "still"]))
    shares = frame.select(
        acm.pca_contributions(
            [
                "still",
                "f",
                *COLUMNS[:5],
            ],
            model,
        )
    ).unnest("pca_contributions")
    assert shares.columns[:3] == ["still_spe", "still_t2", "f_spe"]
    assert shares.select("still_spe", "still_t2").null_count().row(0) == (400, 400)
    assert_frame_equal(
        shares.drop("still_spe", "still_t2").select(sorted(shares.columns[2:])),
        FRAME.select(acm.pca_contributions(COLUMNS, model))
        .unnest("pca_contributions")
        .select(sorted(shares.columns[2:])),
        check_exact=True,
    )


def test_the_largest_contribution_is_the_sensor_that_went_wrong() -> None:
    model = FRAME.select(acm.pca_fit(COLUMNS, 3))
    width = model.to_series().struct.field("scale").item()[2]
    wrong = FRAME.with_columns(c=pl.col("c") + 30 * width)
    shares = wrong.select(acm.pca_contributions(COLUMNS, model)).unnest("pca_contributions")
    spe = shares.select(f"{column}_spe" for column in COLUMNS).to_numpy()
    assert (spe.argmax(axis=1) == 2).mean() > 0.95


def test_the_number_of_scores_is_known_beforehand() -> None:
    model = FRAME.select(acm.pca_fit(COLUMNS, 2))
    wanted = FRAME.lazy().select(acm.pca_scores(COLUMNS, model, n_components=4))
    assert wanted.collect_schema() == wanted.collect().schema
    scores = wanted.collect().unnest("pca_scores")
    assert scores.columns == ["pc_1", "pc_2", "pc_3", "pc_4", "spe", "t2"]
    assert scores["pc_2"].null_count() == 0
    assert scores["pc_3"].null_count() == scores["pc_4"].null_count() == 400
    first = FRAME.select(acm.pca_scores(COLUMNS, model, n_components=1)).unnest("pca_scores")
    assert_frame_equal(first, scores.select("pc_1", "spe", "t2"), check_exact=True)
    fleet = FRAME.with_columns(key=pl.int_range(pl.len()) % 2).group_by("key", maintain_order=True)
    models = fleet.agg(acm.pca_fit(COLUMNS, 2))
    keyed = FRAME.with_columns(key=pl.int_range(pl.len()) % 2)
    assert keyed.select(acm.pca_scores(COLUMNS, models, by="key")).unnest("pca_scores").width == 4
    by_class = acm.PcaModel(models, by="key")
    assert keyed.select(acm.pca_scores(COLUMNS, by_class)).unnest("pca_scores").width == 4
    with pytest.raises(ValueError, match=r"acm\.pca_scores: `n_components` must be given where `model` is an expr"):
        acm.pca_scores(COLUMNS, acm.pca_fit(COLUMNS))
    fitted_here = acm.pca_scores(COLUMNS, acm.pca_fit(COLUMNS, 2), n_components=2)
    assert_frame_equal(FRAME.select(fitted_here), FRAME.select(acm.pca_scores(COLUMNS, model)), check_exact=True)


@pytest.mark.parametrize("operation", [acm.pca_scores, acm.pca_contributions])
def test_structs_do_not_depend_on_layout_or_engine(operation: Callable[..., pl.Expr]) -> None:
    model = FRAME.select(acm.pca_fit(COLUMNS, 2))
    expected = FRAME.select(operation(COLUMNS, model))
    chunked = pl.concat([FRAME[start : start + 7] for start in range(0, 400, 7)], rechunk=False)
    for engine in ("in-memory", "streaming"):
        found = chunked.lazy().select(operation(COLUMNS, model)).collect(engine=engine)  # type: ignore[call-overload]
        assert_frame_equal(found, expected, check_exact=True)
    method = getattr(pl.col(COLUMNS).acm, operation.__name__)  # type: ignore[attr-defined]
    assert_frame_equal(FRAME.select(method(model)), expected, check_exact=True)
    assert FRAME.clear().select(operation(COLUMNS, model)).schema == expected.schema
    narrow = FRAME.cast(pl.Float32).select(operation(COLUMNS, model)).to_series()
    assert {field.dtype for field in narrow.dtype.fields} == {pl.Float32()}  # type: ignore[attr-defined]


# --- sixty digits ----------------------------------------------------------------------------------------------------


def rounded(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.round(data * 1024) / 1024  # sums of two are exact


SMALL = {
    "12 x 4": make_data(12, 4),
    "offset 1e8": make_data(12, 4, offset=1e8),
    "rank 3 of 5": (lambda data: np.column_stack([data, data[:, 0] + data[:, 1], data[:, 1] - data[:, 2]]))(
        rounded(make_data(12, 3))
    ),
    "more columns than rows": make_data(5, 9),
}
DIGITS = 60
ROUNDING = 1e-10


def exact_width(mp: Any, x: list[Any], scale: str) -> Any:
    if scale == "none":
        return mp.mpf(1)
    if scale == "standard":
        center = mp.fsum(x) / len(x)
        return mp.sqrt(mp.fsum((v - center) ** 2 for v in x) / len(x))
    ascending = sorted(x)

    def quantile(q: Any) -> Any:
        at = q * (len(x) - 1)
        below = int(mp.floor(at))
        return ascending[below] + (at - below) * (ascending[min(below + 1, len(x) - 1)] - ascending[below])

    return quantile(mp.mpf(3) / 4) - quantile(mp.mpf(1) / 4)


def exact_pca(data: np.ndarray[Any, Any], k: int, scale: str, parts: dict[str, Any]) -> dict[str, Any]:
    """Straight from the definition, of the doubles as they are, and of the center and scale of the model."""
    mp = pytest.importorskip("mpmath")
    rows, columns = data.shape
    with mp.workdps(DIGITS):
        cells = [[mp.mpf(float(v)) for v in readings] for readings in data.T]
        widths = np.array([float(exact_width(mp, column, scale)) for column in cells])
        center, width = ([mp.mpf(float(v)) for v in parts[name]] for name in ("center", "scale"))
        x = [[(v - center[j]) / width[j] for v in column] for j, column in enumerate(cells)]
        means = [mp.fsum(column) / rows for column in x]
        z = mp.matrix(rows, columns)
        for i, j in np.ndindex(rows, columns):
            z[i, j] = x[j][i] - means[j]
        values, vectors = mp.eigsy(z.T * z / (rows - 1))  # ascending
        values = [values[columns - 1 - a] for a in range(columns)]
        axes = mp.matrix(k, columns)
        for a, j in np.ndindex(k, columns):
            axes[a, j] = vectors[j, columns - 1 - a]
        if scale == "none":  # the mean is as large as the readings, and a model keeps it as a double
            for i, j in np.ndindex(rows, columns):
                z[i, j] = x[j][i] - mp.mpf(float(parts["mean"][j]))
        t = z * axes.T
        r = z - t * axes
        over = mp.matrix(rows, k)
        for i, a in np.ndindex(rows, k):
            over[i, a] = t[i, a] / values[a]
        weights = over * axes

        def array(of: Callable[[int, int], Any], width: int = columns) -> np.ndarray[Any, Any]:
            return np.array([[float(of(i, j)) for j in range(width)] for i in range(rows)])

        return {
            "scale": widths,
            "rank": sum(value > mp.mpf(10) ** (10 - DIGITS) for value in values),
            "eigenvalues": np.array([float(value) for value in values[:k]]),
            "theta": np.array([float(mp.fsum(v**power for v in values[k:])) for power in (1, 2, 3)]),
            "components": np.array([[float(axes[a, j]) for j in range(columns)] for a in range(k)]),
            "scores": array(lambda i, a: t[i, a], k),
            "spe": array(lambda i, _: mp.fsum(r[i, j] ** 2 for j in range(columns)), 1)[:, 0],
            "t2": array(lambda i, _: mp.fsum(t[i, a] * over[i, a] for a in range(k)), 1)[:, 0],
            "spe shares": array(lambda i, j: r[i, j] ** 2),
            "t2 shares": array(lambda i, j: z[i, j] * weights[i, j]),
        }


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", SMALL)
def test_sixty_digits_agree(kind: str, scale: str) -> None:
    data, k = SMALL[kind], 2
    frame = frame_of(data)
    parts = parts_of(frame, k, scale=scale)
    exact = exact_pca(data, k, scale, parts)
    np.testing.assert_allclose(parts["scale"], exact["scale"], rtol=1e-14)
    np.testing.assert_allclose(parts["eigenvalues"], exact["eigenvalues"], rtol=ROUNDING)
    np.testing.assert_allclose(parts["theta"], exact["theta"], rtol=ROUNDING)
    signs = np.sign((parts["components"] * exact["components"]).sum(axis=1))
    np.testing.assert_allclose(parts["components"] * signs[:, None], exact["components"], rtol=0, atol=ROUNDING)

    assert len(parts_of(frame, 99, scale=scale)["eigenvalues"]) == min(exact["rank"], data.shape[1] - 1)

    model = frame.select(acm.pca_fit(frame.columns, k, scale=scale))  # type: ignore[arg-type]
    found = frame.select(acm.pca_scores(frame.columns, model)).unnest("pca_scores")
    distance = np.abs(exact["scores"]).max(axis=1, keepdims=True)
    for a in range(k):
        error = np.abs(found[f"pc_{a + 1}"].to_numpy() * signs[a] - exact["scores"][:, a])
        assert (error <= ROUNDING * distance[:, 0]).all()
    np.testing.assert_allclose(found["spe"], exact["spe"], rtol=ROUNDING)
    np.testing.assert_allclose(found["t2"], exact["t2"], rtol=ROUNDING)
    shares = frame.select(acm.pca_contributions(frame.columns, model)).unnest("pca_contributions").to_numpy()
    for name, ours in (("spe shares", shares[:, ::2]), ("t2 shares", shares[:, 1::2])):
        size = np.abs(exact[name]).max(axis=1, keepdims=True)  # one share may be as small as it likes
        assert (np.abs(ours - exact[name]) <= ROUNDING * size).all(), name


# --- what the user is told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: acm.pca_fit("a", 0), ValueError, "acm.pca_fit: `n_components` must be >= 1, got 0"),
        (lambda: acm.pca_fit("a", 2.0), TypeError, "`n_components` must be an int >= 1, got 2.0"),
        (lambda: acm.pca_fit("a", scale="iqr"), ValueError, '`scale` must be "robust", "standard" or "none"'),
        (lambda: acm.pca_fit("a", confidence=1.0), ValueError, "`confidence` must be < 1, got 1.0"),
        (lambda: acm.pca_fit("a", confidence=0), ValueError, "`confidence` must be a finite number > 0, got 0"),
        (lambda: acm.pca_fit("a", min_present=1.1), ValueError, "`min_present` must be <= 1, got 1.1"),
        (lambda: acm.pca_fit("a", strict=1), TypeError, "`strict` must be True or False, got 1"),
        (lambda: acm.pca_spe("a", MODEL, mean_back="no"), TypeError, "acm.pca_spe: `mean_back` must be True or False"),
        (lambda: acm.pca_contributions("a", MODEL, mean_back=0), TypeError, "`mean_back` must be True or False"),
        (lambda: acm.pca_scores("a", MODEL, n_components=0), ValueError, "`n_components` must be >= 1, got 0"),
        (lambda: acm.pca_scores("a", 7), TypeError, "acm.pca_scores: `model` must be what `pca_fit` gives"),
        (
            lambda: acm.pca_spe("a", pl.DataFrame({"a": [1.0, 2.0]}).select(acm.gmm_fit("a", 1))),
            TypeError,
            "got 1 rows of ['gmm_fit'] (DataFrame)",
        ),
    ],
)
def test_refused_parameters_name_themselves(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


MODEL = FRAME.select(acm.pca_fit(COLUMNS))


def test_readings_out_of_range_are_refused() -> None:
    for huge in ([1e200, -1e200, 3e200], [1e-200, 2e-200, 5e-200]):
        frame = pl.DataFrame({"x": huge})
        with pytest.raises(ComputeError, match=r"acm\.pca_fit: the readings are too large or too small to be squared"):
            frame.select(acm.pca_fit("x", scale="none"))
        assert len(parts_of(frame)["eigenvalues"]) == 1
    huge_row = pl.DataFrame([[1e300]] * 6, schema=COLUMNS)
    assert huge_row.select(acm.pca_spe(COLUMNS, MODEL), acm.pca_t2(COLUMNS, MODEL)).row(0) == (None, None)


def test_one_row_is_not_enough() -> None:
    with pytest.raises(ComputeError, match="no column changes"):
        FRAME.head(1).select(acm.pca_fit(COLUMNS))


@rust_only
def test_a_damaged_model_is_refused() -> None:
    parts = MODEL.to_series().struct.unnest()
    for part in ("center", "scale", "mean", "components", "theta"):
        some = pl.col(part).list.head(1)
        holes = pl.col(part).list.eval(pl.when(pl.int_range(pl.len()) > 0).then(pl.element()))
        for values in (some, holes):
            damaged = parts.with_columns(values).to_struct("pca_fit")
            with pytest.raises(ComputeError, match=f"`model` is damaged: its part `{part}`"):
                FRAME.select(acm.pca_spe(COLUMNS, damaged))


def test_something_is_left_for_spe() -> None:
    for n_components in (5, 99):
        model = FRAME.select(acm.pca_fit(COLUMNS[:3], n_components)).to_series().struct.unnest()
        assert len(model["eigenvalues"][0]) == 2
        assert model["spe_limit"][0] > 0
    alone = FRAME.select(acm.pca_fit(COLUMNS[:1]))
    scores = FRAME.select(acm.pca_scores(COLUMNS[:1], alone)).unnest("pca_scores")
    assert scores["spe"].null_count() == FRAME.height
    assert scores["t2"].null_count() == scores["pc_1"].null_count() < FRAME.height


def test_what_was_learnt_is_shown() -> None:
    text = repr(acm.PcaModel.fit(FRAME, n_components=3))
    assert "3 components with" in text
    assert "SPE limit" in text
    assert "T2 limit" in text


# --- both backends ---------------------------------------------------------------------------------------------------


@both_backends
@pytest.mark.parametrize("scale", SCALES)
def test_both_backends_agree(scale: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = FRAME.with_columns(a=pl.when(pl.int_range(pl.len()) % 9 > 0).then("a"), still=pl.lit(3.0))
    columns = frame.columns

    def results() -> tuple[dict[str, Any], pl.DataFrame]:
        model = frame.select(acm.pca_fit(columns, 3, scale=scale))
        scores = frame.select(
            acm.pca_spe(columns, MODEL),
            acm.pca_spe(columns, MODEL, mean_back=False).alias("acm"),
            acm.pca_t2(columns, MODEL),
            acm.pca_scores(columns, MODEL, n_components=6),
            acm.pca_contributions(columns, MODEL),
        )
        flat = scores.unnest("pca_contributions").unnest("pca_scores")
        return model.to_series().struct.unnest().row(0, named=True), flat

    parts, scores = results()
    monkeypatch.setattr(_plugin, "_LIBRARY", None)
    other_parts, other_scores = results()
    assert_frame_equal(other_scores, scores, **within(rel=1e-9, abs=1e-11))
    for part, value in parts.items():
        if isinstance(value, list) and value and isinstance(value[0], float):
            np.testing.assert_allclose(other_parts[part], value, rtol=1e-9, atol=1e-12, err_msg=part)
        elif isinstance(value, float):
            assert other_parts[part] == pytest.approx(value, rel=1e-9), part
        else:
            assert other_parts[part] == value, part
