"""Races of the detectors: fits and scores against scikit-learn, NumPy and numba."""

# a script's parts, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D103
from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import acm_rs as acm
import polars as pl
from contenders import SEED, THREADS, Arrays, Contender, Data, Goal, Run, Workload, frame_arrays, need, on_matrix, ours


def numpy_ar1_z(x: Any) -> Any:
    """Fit and score AR(1) on arrays of sensors x rows, as ACM's detector does, without its loops."""
    np = need("numpy")
    y = x - np.median(x, axis=1, keepdims=True)
    last = y[:, :-1]
    phi = np.clip((y[:, 1:] * last).sum(axis=1) / (last * last).sum(axis=1), -0.999, 0.999)
    residual = y[:, 1:] - phi[:, None] * last
    spread = np.abs(residual - np.median(residual, axis=1, keepdims=True))
    scale = np.maximum(1.4826 * np.median(spread, axis=1), 1e-6)
    z = np.full_like(x, np.nan)
    np.divide(residual, scale[:, None], out=z[:, 1:])
    return [z]


def ar1_workload(sensors: int) -> Workload:
    return Workload(
        f"ar1_{sensors}",
        f"AR(1) fit + z, 10,000 x {sensors}",
        0,
        (*ours(["z"], acm.ar1_z), on_matrix("NumPy", ["z"], numpy_ar1_z, needs="numpy")),
        (Goal(8.0),),
        shape=(10_000, sensors),
    )


CUSUM = ("high", "low", "high_since", "low_since", "alarm")


@cache
def numba_cusum() -> Any:
    """Compile the loop over rows, threads over sensors, with all that the expression gives."""
    numba, np = need("numba"), need("numpy")

    @numba.njit(parallel=True)
    def run(x: Any, k: float, h: float) -> Any:
        high, low = np.empty_like(x), np.empty_like(x)
        high_since, low_since = np.empty(x.shape, np.uint32), np.empty(x.shape, np.uint32)
        alarm = np.empty(x.shape, np.bool_)
        for sensor in numba.prange(x.shape[0]):
            up, down, up_rows, down_rows = 0.0, 0.0, 0, 0
            for row in range(x.shape[1]):
                v = x[sensor, row]
                up, down = max(0.0, up + (v - k)), max(0.0, down + (-v - k))
                up_rows = up_rows + 1 if up > 0 else 0
                down_rows = down_rows + 1 if down > 0 else 0
                high[sensor, row], low[sensor, row] = up, down
                high_since[sensor, row], low_since[sensor, row] = up_rows, down_rows
                alarm[sensor, row] = up > h or down > h
        return high, low, high_since, low_since, alarm

    return run


def cusum_contenders() -> list[Contender]:
    def one_call(data: Data) -> Run:
        return lambda: data.frame.select(acm.cusum(data.columns))

    def lazy(data: Data) -> Run:
        return lambda: data.frame.lazy().select(acm.cusum(data.columns)).collect()

    def arrays(data: Data, frame: pl.DataFrame) -> Arrays:
        return frame_arrays(CUSUM)(data, frame.unnest("cusum"))

    return [
        *(Contender(name, form, arrays, ours=True) for name, form in (("one call", one_call), ("lazy", lazy))),
        on_matrix("numba", CUSUM, lambda x: numba_cusum()(x, 0.5, 5.0), needs="numba"),
    ]


# --- isolation forest ------------------------------------------------------------------------------------------------

TREES = 200


def sklearn_forest() -> Any:
    return need("sklearn.ensemble").IsolationForest(n_estimators=TREES, random_state=SEED, n_jobs=THREADS)


def rows_by_sensors(data: Data) -> Any:
    """Float32, which scikit-learn would convert to."""
    np = need("numpy")
    return np.ascontiguousarray(data.matrix.T, dtype=np.float32)


def forest_of(data: Data) -> Any:
    """Grow the same forest for all who score with it: the seed is fixed."""
    return sklearn_forest().fit(rows_by_sensors(data))


def forest_score(data: Data, frame: Any) -> Arrays:
    return {"score": frame.to_series().to_numpy().reshape(1, -1)}


def grow(data: Data) -> Run:
    return lambda: data.frame.select(acm.isolation_forest_fit(data.columns, TREES))


def grow_lazy(data: Data) -> Run:
    return lambda: data.frame.lazy().select(acm.isolation_forest_fit(data.columns, TREES)).collect()


def grow_sklearn(data: Data) -> Run:
    rows = rows_by_sensors(data)
    return lambda: sklearn_forest().fit(rows)


def score(data: Data) -> Run:
    model = acm.IsolationForestModel.from_sklearn(forest_of(data), data.columns)
    return lambda: data.frame.select(acm.isolation_forest_score(data.columns, model))


def score_lazy(data: Data) -> Run:
    model = acm.IsolationForestModel.from_sklearn(forest_of(data), data.columns)
    return lambda: data.frame.lazy().select(acm.isolation_forest_score(data.columns, model)).collect()


def score_sklearn(data: Data) -> Run:
    forest, rows = forest_of(data), rows_by_sensors(data)
    return lambda: -forest.score_samples(rows)


FOREST_FIT = Workload(
    "isolation_forest_fit",
    f"isolation forest fit, {TREES} trees",  # forests are random: their quality is compared in the tests
    0,
    (
        Contender("one call", grow, None, ours=True),
        Contender("lazy", grow_lazy, None, ours=True),
        Contender("scikit-learn", grow_sklearn, None, needs=("sklearn",)),
    ),
    (Goal(20.0),),
)
FOREST_SCORE = Workload(
    "isolation_forest_score",
    f"isolation forest score, {TREES} trees of scikit-learn",
    0,
    (
        Contender("one call", score, forest_score, ours=True),
        Contender("lazy", score_lazy, forest_score, ours=True, tolerance={"score": 0.0}),
        Contender(
            "scikit-learn",
            score_sklearn,
            lambda data, scores: {"score": scores.reshape(1, -1)},
            needs=("sklearn",),
            tolerance={"score": 1e-12},
        ),
    ),
    (Goal(8.0),),
)


# --- principal components --------------------------------------------------------------------------------------------

COMPONENTS = 5


def rows_of(data: Data) -> Any:
    """Rows x sensors, rows contiguous, as scikit-learn has them."""
    return need("numpy").ascontiguousarray(data.matrix.T)


def pca_parts(values: Any, components: Any) -> Arrays:
    """Eigenvalues and components up to their sign."""
    np = need("numpy")
    values = np.asarray(values)
    return {"eigenvalues": values.reshape(1, -1), "components": np.abs(np.reshape(components, (len(values), -1)))}


def our_parts(_data: Data, frame: Any) -> Arrays:
    model = frame.to_series().struct
    return pca_parts(*(model.field(part).item().to_numpy() for part in ("eigenvalues", "components")))


def pca_fit_workload(sensors: int, scale: Any, goals: tuple[Goal, ...]) -> Workload:
    def expression(data: Data) -> pl.Expr:
        return acm.pca_fit(data.columns, COMPONENTS, scale=scale)

    def eager(data: Data) -> Run:
        return lambda: data.frame.select(expression(data))

    def lazy(data: Data) -> Run:
        return lambda: data.frame.lazy().select(expression(data)).collect()

    def sklearn(solver: str) -> Contender:
        def prepare(data: Data) -> Run:
            rows = rows_of(data)
            pca = need("sklearn.decomposition").PCA(min(COMPONENTS, len(data.columns) - 1), svd_solver=solver)
            if scale == "none":
                return lambda: pca.fit(rows)
            scaler = need("sklearn.preprocessing").RobustScaler()
            return lambda: pca.fit(scaler.fit_transform(rows))

        def arrays(_data: Data, pca: Any) -> Arrays:
            return pca_parts(pca.explained_variance_, pca.components_)

        return Contender(f"scikit-learn {solver}", prepare, arrays, needs=("sklearn",))

    return Workload(
        f"pca_fit_{scale}_{sensors}",
        f"PCA fit, k={COMPONENTS}, scale={scale}, 10,000 x {sensors}",
        0,
        (
            Contender("one call", eager, our_parts, ours=True),
            Contender("lazy", lazy, our_parts, ours=True, tolerance={"eigenvalues": 0.0, "components": 0.0}),
            sklearn("covariance_eigh"),
            sklearn("full"),
        ),
        goals,
        shape=(10_000, sensors),
    )


def pca_score_workload(sensors: int, goal: float) -> Workload:
    def model_of(data: Data) -> pl.DataFrame:
        return data.frame.select(acm.pca_fit(data.columns, COMPONENTS))

    def eager(data: Data) -> Run:
        model = model_of(data)
        return lambda: data.frame.select(acm.pca_scores(data.columns, model))

    def lazy(data: Data) -> Run:
        model = model_of(data)
        return lambda: data.frame.lazy().select(acm.pca_scores(data.columns, model)).collect()

    def ours_of(_data: Data, frame: Any) -> Arrays:
        fields = frame.to_series().struct
        return {name: fields.field(name).to_numpy().reshape(1, -1) for name in ("spe", "t2")}

    def numpy(data: Data) -> Run:
        np, rows = need("numpy"), rows_of(data)
        model = model_of(data).to_series().struct
        part = {name: model.field(name).item().to_numpy() for name in ("center", "scale", "mean", "eigenvalues")}
        components = model.field("components").item().to_numpy().reshape(len(part["eigenvalues"]), -1)

        def run() -> list[Any]:
            z = (rows - part["center"]) / part["scale"] - part["mean"]
            scores = z @ components.T
            residual = z - scores @ components
            return [np.sum(residual * residual, axis=1), np.sum(scores * scores / part["eigenvalues"], axis=1)]

        return run

    def numpy_of(_data: Data, results: Any) -> Arrays:
        return {name: result.reshape(1, -1) for name, result in zip(("spe", "t2"), results, strict=True)}

    return Workload(
        f"pca_scores_{sensors}",
        f"PCA, SPE and T2, 10,000 x {sensors}",
        0,
        (
            Contender("one call", eager, ours_of, ours=True),
            Contender("lazy", lazy, ours_of, ours=True, tolerance={"spe": 0.0, "t2": 0.0}),
            Contender("NumPy", numpy, numpy_of, needs=("numpy",)),
        ),
        (Goal(goal),),
        shape=(10_000, sensors),
    )


# --- Gaussian mixture ------------------------------------------------------------------------------------------------

STATES = 3


def mixture_start(data: Data) -> dict[str, Any]:
    """Start everybody from the same mixture: three rows as means, the variances of the columns, equal weights."""
    np = need("numpy")
    variances = np.var(data.matrix, axis=1)
    rows = np.linspace(0, data.frame.height - 1, STATES).astype(int)
    return {
        "weights": [1 / STATES] * STATES,
        "means": data.matrix[:, rows].T.tolist(),
        "covariances": [variances.tolist()] * STATES,
    }


def fit_mixture(data: Data, *, lazy: bool) -> Run:
    fit = acm.gmm_fit(data.columns, STATES, scale="none", init=mixture_start(data))
    if lazy:
        return lambda: data.frame.lazy().select(fit).collect()
    return lambda: data.frame.select(fit)


def fit_mixture_sklearn(data: Data) -> Run:
    np = need("numpy")
    start, rows = mixture_start(data), np.ascontiguousarray(data.matrix.T)
    mixture = need("sklearn.mixture").GaussianMixture(
        STATES,
        covariance_type="diag",
        weights_init=start["weights"],
        means_init=start["means"],
        precisions_init=1 / np.array(start["covariances"]),
        reg_covar=1e-3,
        tol=1e-3,
        max_iter=100,
    )
    return lambda: mixture.fit(rows)


def mixture_likelihood(data: Data, model: pl.DataFrame) -> Arrays:
    scores = data.frame.select(acm.gmm_score(data.columns, model)).to_series()
    return {"log_likelihood": need("numpy").array([[-scores.mean()]])}


def mixture_likelihood_sklearn(data: Data, mixture: Any) -> Arrays:
    return {"log_likelihood": need("numpy").array([[mixture.score(data.matrix.T)]])}


GMM_FIT = Workload(
    "gmm_fit",
    f"Gaussian mixture fit, diagonal, {STATES} components, from the same start, 10,000 x 105",
    0,
    (
        Contender("one call", partial(fit_mixture, lazy=False), mixture_likelihood, ours=True),
        Contender("lazy", partial(fit_mixture, lazy=True), mixture_likelihood, ours=True),
        Contender("scikit-learn", fit_mixture_sklearn, mixture_likelihood_sklearn, needs=("sklearn",)),
    ),
    (Goal(5.0),),
    shape=(10_000, 105),
)


# --- the six streams ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Streams:
    """What has been fitted, once for all who score with it."""

    ar1: pl.DataFrame
    pca: pl.DataFrame
    omr: pl.DataFrame
    gmm: pl.DataFrame
    forest: Any

    @staticmethod
    def of(data: Data) -> Streams:
        """Fit all detectors on the data."""
        fits = (acm.ar1_fit, acm.pca_fit, acm.omr_fit, partial(acm.gmm_fit, k=STATES, max_iter=10))
        return Streams(*(data.frame.select(fit(data.columns)) for fit in fits), forest=forest_of(data))


def parts(model: pl.DataFrame, *names: str) -> dict[str, Any]:
    """Take arrays out of a model."""
    fields = model.to_series().struct
    return {name: need("numpy").array(fields.field(name).to_list()[0]) for name in names}


STREAMS = ("ar1_z", "spe", "t2", "isolation_forest_score", "gmm_score", "omr_score")


def our_streams(data: Data, *, lazy: bool) -> Run:
    fitted, columns = Streams.of(data), data.columns
    scores = [
        acm.ar1_z(columns, fitted.ar1, fuse="mean"),
        acm.pca_scores(columns, fitted.pca, n_components=1),
        acm.isolation_forest_score(columns, acm.IsolationForestModel.from_sklearn(fitted.forest, columns)),
        acm.gmm_score(columns, fitted.gmm),
        acm.omr_score(columns, fitted.omr),
    ]
    if lazy:
        return lambda: data.frame.lazy().select(scores).collect()
    return lambda: data.frame.select(scores)


def streams_of(_data: Data, frame: pl.DataFrame) -> Arrays:
    return {name: frame.unnest("pca_scores")[name].to_numpy().reshape(1, -1) for name in STREAMS}


def their_streams(data: Data) -> Run:
    """Score with the same models by NumPy and scikit-learn, one detector after the other, as ACM does."""
    np, rows, narrow = need("numpy"), rows_of(data), rows_by_sensors(data)
    fitted = Streams.of(data)
    ar1 = parts(fitted.ar1, "center", "phi", "scale")
    pca = parts(fitted.pca, "center", "scale", "mean", "eigenvalues", "components")
    axes = pca["components"].reshape(len(pca["eigenvalues"]), -1)
    omr = parts(fitted.omr, "center", "scale", "vectors", "tau")
    vectors = omr["vectors"].reshape(-1, len(data.columns))
    gmm = parts(fitted.gmm, "center", "scale", "weights", "means", "covariances")
    mixture = need("sklearn.mixture").GaussianMixture(STATES, covariance_type="diag")
    mixture.weights_, mixture.means_ = gmm["weights"], gmm["means"].reshape(STATES, -1)
    mixture.covariances_ = gmm["covariances"].reshape(STATES, -1)
    mixture.precisions_cholesky_ = 1 / np.sqrt(mixture.covariances_)

    def run() -> list[Any]:
        y = rows - ar1["center"]
        z = np.full(len(rows), np.nan)
        z[1:] = np.abs((y[1:] - ar1["phi"] * y[:-1]) / ar1["scale"]).mean(axis=1)
        x = (rows - pca["center"]) / pca["scale"] - pca["mean"]
        scores = x @ axes.T
        residual = x - scores @ axes
        spe, t2 = np.sum(residual * residual, axis=1), np.sum(scores * scores / pca["eigenvalues"], axis=1)
        forest = -fitted.forest.score_samples(narrow)
        likelihood = -mixture.score_samples((rows - gmm["center"]) / gmm["scale"])
        x = (rows - omr["center"]) / omr["scale"]
        residual = x - (x @ vectors.T) @ vectors
        return [z, spe, t2, forest, likelihood, np.sqrt(np.sum(residual * residual, axis=1)) / omr["tau"]]

    return run


def their_arrays(_data: Data, results: list[Any]) -> Arrays:
    return {name: result.reshape(1, -1) for name, result in zip(STREAMS, results, strict=True)}


SIX_STREAMS = Workload(
    "six_streams",
    "all six streams scored, 10,000 x 110",
    0,
    (
        Contender("one call", partial(our_streams, lazy=False), streams_of, ours=True),
        Contender("lazy", partial(our_streams, lazy=True), streams_of, ours=True),
        Contender("scikit-learn and NumPy", their_streams, their_arrays, needs=("sklearn",)),
    ),
    (Goal(10.0),),
    shape=(10_000, 110),
    memory=0.5,
)


# --- all races -------------------------------------------------------------------------------------------------------

WORKLOADS: tuple[Workload, ...] = (
    ar1_workload(50),
    ar1_workload(500),
    Workload("cusum", "CUSUM with alarms and onsets", 0, tuple(cusum_contenders()), (Goal(5.0),)),
    FOREST_FIT,
    FOREST_SCORE,
    GMM_FIT,
    SIX_STREAMS,
    *(
        pca_fit_workload(sensors, "none", (Goal(goal, ("scikit-learn covariance_eigh",)),))
        for sensors, goal in ((50, 1.2), (500, 2.0))
    ),
    *(pca_fit_workload(sensors, "robust", (Goal(5.0),)) for sensors in (50, 500)),
    pca_score_workload(50, 6.0),
    pca_score_workload(500, 2.0),
)
