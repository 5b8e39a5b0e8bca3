"""Races of operating regimes: clusters and their silhouettes against scikit-learn, hdbscan and fast_hdbscan."""

# a script's parts, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D103
from __future__ import annotations

from functools import cache, partial
from typing import Any

import acm_rs as acm
import polars as pl
from contenders import SEED, THREADS, Arrays, Contender, Data, Goal, Run, Workload, need

CLUSTERS = 4


@cache
def states(rows: int, columns: int) -> tuple[Any, Any]:
    """Rows in clusters, and the cluster of each: random walks, as other races have them, have no regimes."""
    np = need("numpy")
    random = np.random.default_rng(SEED)
    of = random.integers(0, CLUSTERS, rows)
    centers = random.normal(size=(CLUSTERS, columns)) * (6 if columns < 5 else 3)
    return np.ascontiguousarray(centers[of] + random.normal(size=(rows, columns))), of


def rows_of(data: Data) -> tuple[Any, Any]:
    return states(data.frame.height, len(data.columns))


def frame_of(data: Data) -> pl.DataFrame:
    x, of = rows_of(data)
    return pl.DataFrame(x, schema=data.columns).with_columns(label=pl.Series(of))


# --- k-means ---------------------------------------------------------------------------------------------------------

STARTS = 10
# the best of ten starts is one of several minima that lie close together
MINIMA = {"inertia": 2e-2}


def fit_kmeans(data: Data, *, lazy: bool) -> Run:
    fit = acm.kmeans_fit(data.columns, CLUSTERS, n_init=STARTS, scale="none", seed=SEED)
    if lazy:
        return lambda: data.frame.lazy().select(fit).collect()
    return lambda: data.frame.select(fit)


def fit_kmeans_sklearn(data: Data) -> Run:
    rows = need("numpy").ascontiguousarray(data.matrix.T)
    kmeans = need("sklearn.cluster").KMeans(CLUSTERS, n_init=STARTS, random_state=SEED)
    return lambda: kmeans.fit(rows)


def our_inertia(_data: Data, model: pl.DataFrame) -> Arrays:
    return {"inertia": need("numpy").array([[model.item()["inertia"]]])}


def inertia_sklearn(_data: Data, kmeans: Any) -> Arrays:
    return {"inertia": need("numpy").array([[kmeans.inertia_]])}


def kmeans_workload(sensors: int) -> Workload:
    return Workload(
        f"kmeans_fit_{sensors}",
        f"k-means fit, k = {CLUSTERS}, {STARTS} starts, 10,000 x {sensors}",
        0,
        (
            Contender("one call", partial(fit_kmeans, lazy=False), our_inertia, ours=True),
            Contender("lazy", partial(fit_kmeans, lazy=True), our_inertia, ours=True),
            Contender("scikit-learn", fit_kmeans_sklearn, inertia_sklearn, needs=("sklearn",), tolerance=MINIMA),
        ),
        (Goal(3.0),),
        shape=(10_000, sensors),
    )


# --- silhouettes -----------------------------------------------------------------------------------------------------


def silhouette_workload(metric: Any, goal: float, shape: tuple[int, int]) -> Workload:
    def eager(data: Data) -> Run:
        frame, expr = frame_of(data), acm.silhouette(data.columns, "label", metric=metric, scale="none")
        return lambda: frame.select(expr)

    def lazy(data: Data) -> Run:
        frame, expr = frame_of(data).lazy(), acm.silhouette(data.columns, "label", metric=metric, scale="none")
        return lambda: frame.select(expr).collect()

    def sklearn(data: Data) -> Run:
        x, of = rows_of(data)
        score = need("sklearn.metrics").silhouette_score
        return lambda: score(x, of, metric=metric)

    def arrays(_data: Data, result: Any) -> Arrays:
        value = result.item() if isinstance(result, pl.DataFrame) else float(result)
        return {"silhouette": need("numpy").array([[value]])}

    return Workload(
        f"silhouette_{metric}",
        f"silhouette, {metric}, {CLUSTERS} clusters, {shape[0]:,} x {shape[1]}",
        0,
        (
            Contender("one call", eager, arrays, ours=True),
            Contender("lazy", lazy, arrays, ours=True, tolerance={"silhouette": 0.0}),
            Contender("scikit-learn", sklearn, arrays, needs=("sklearn",), tolerance={"silhouette": 1e-12}),
        ),
        (Goal(goal),),
        shape=shape,
    )


# --- HDBSCAN ---------------------------------------------------------------------------------------------------------

SIZE, SAMPLES = 50, 10
# rows between two clusters go to either of them, by the order of a package's edges
HDBSCAN_TOLERANCE = {"clusters": 0.0, "noise": 1e-3}


def found(_data: Data, labels: Any) -> Arrays:
    np = need("numpy")
    if isinstance(labels, pl.DataFrame):
        labels = labels.to_series().struct.field("labels").item().to_numpy()
    return {"clusters": np.array([[labels.max() + 1]]), "noise": np.array([[(labels < 0).mean()]])}


def fit(data: Data) -> Run:
    frame = frame_of(data)
    expr = acm.hdbscan_fit(data.columns, SIZE, min_samples=SAMPLES, scale="none")
    return lambda: frame.select(expr)


def fit_lazy(data: Data) -> Run:
    frame = frame_of(data).lazy()
    expr = acm.hdbscan_fit(data.columns, SIZE, min_samples=SAMPLES, scale="none")
    return lambda: frame.select(expr).collect()


def fit_fast_hdbscan(data: Data) -> Run:
    cluster = need("fast_hdbscan").HDBSCAN(min_cluster_size=SIZE, min_samples=SAMPLES)
    x = rows_of(data)[0]
    return lambda: cluster.fit_predict(x)


def fit_hdbscan(data: Data) -> Run:
    cluster = need("hdbscan").HDBSCAN(min_cluster_size=SIZE, min_samples=SAMPLES, core_dist_n_jobs=THREADS)
    x = rows_of(data)[0]
    return lambda: cluster.fit_predict(x)


def fit_sklearn(data: Data) -> Run:
    # it counts a row among its own neighbours
    parameters: dict[str, Any] = {"min_cluster_size": SIZE, "min_samples": SAMPLES + 1, "n_jobs": THREADS}
    cluster = need("sklearn.cluster").HDBSCAN(copy=True, **parameters)
    x = rows_of(data)[0]
    return lambda: cluster.fit_predict(x)


PEERS = {
    "fast_hdbscan": Contender("fast_hdbscan", fit_fast_hdbscan, found, ("fast_hdbscan",), HDBSCAN_TOLERANCE),
    "hdbscan": Contender("hdbscan", fit_hdbscan, found, ("hdbscan",), HDBSCAN_TOLERANCE),
    "scikit-learn": Contender("scikit-learn", fit_sklearn, found, ("sklearn",), HDBSCAN_TOLERANCE),
}


def hdbscan_workload(rows: int, sensors: int, goals: dict[str, float | None]) -> Workload:
    return Workload(
        f"hdbscan_{rows // 1000}k_{sensors}",
        f"HDBSCAN fit, {rows:,} x {sensors}",
        0,
        (
            Contender("one call", fit, found, ours=True),
            Contender("lazy", fit_lazy, found, ours=True, tolerance={"clusters": 0.0, "noise": 0.0}),
            *(PEERS[peer] for peer in goals),
        ),
        tuple(Goal(ratio, (peer,)) for peer, ratio in goals.items()),
        shape=(rows, sensors),
    )


# --- regimes ---------------------------------------------------------------------------------------------------------


def fit_regimes(data: Data, *, lazy: bool) -> Run:
    frame, expr = frame_of(data), acm.regime_fit(data.columns)
    if lazy:
        return lambda: frame.lazy().select(expr).collect()
    return lambda: frame.select(expr)


def regimes_by_hand(data: Data) -> Run:
    """Do the same with hdbscan and scikit-learn: scale, cluster, judge, describe the clusters, set limits."""
    np, x = need("numpy"), rows_of(data)[0]
    scaler = need("sklearn.preprocessing").StandardScaler()
    mixture, hdbscan = need("sklearn.mixture").GaussianMixture, need("hdbscan").HDBSCAN
    size = max(len(x) // 50, 10)  # as `regime_fit` has it

    def run() -> Any:
        z = scaler.fit_transform(x)
        clusters = hdbscan(
            min_cluster_size=size,
            min_samples=max(size // 10, 3),
            allow_single_cluster=True,
            gen_min_span_tree=True,
            core_dist_n_jobs=THREADS,
        ).fit(z)
        labels, k = clusters.labels_, clusters.labels_.max() + 1
        quality = (clusters.relative_validity_ + clusters.cluster_persistence_.mean()) / 2
        if quality < 0.05 or (labels < 0).mean() > 0.5:
            raise AssertionError("these data have regimes")
        members = [z[labels == c] for c in range(k)]
        described = mixture(k, covariance_type="full")
        described.weights_ = np.array([len(own) for own in members]) / sum(len(own) for own in members)
        described.means_ = np.array([own.mean(axis=0) for own in members])
        covariances = [np.cov(own.T, bias=True) + 1e-4 * np.eye(z.shape[1]) for own in members]
        described.precisions_cholesky_ = np.array([np.linalg.inv(np.linalg.cholesky(c)).T for c in covariances])
        found = described.predict(z)
        limits = []
        for c in range(k):
            y = (z[found == c] - described.means_[c]) @ described.precisions_cholesky_[c]
            limits.append(np.quantile((y * y).sum(axis=1), 0.99))
        return np.sort(np.bincount(found))[::-1], np.array(limits)[np.argsort(-described.weights_)]

    return run


def our_regimes(_data: Data, model: pl.DataFrame) -> Arrays:
    np, row = need("numpy"), model.item()
    return {"sizes": np.array([row["sizes"]]), "limits": np.array([row["limits"]])}


REGIMES = Workload(
    "regime_fit",
    "regime_fit, 8,000 x 12",
    0,
    (
        Contender("one call", partial(fit_regimes, lazy=False), our_regimes, ours=True),
        Contender("lazy", partial(fit_regimes, lazy=True), our_regimes, ours=True),
        Contender(
            "hdbscan and scikit-learn",
            regimes_by_hand,
            lambda _data, result: {"sizes": result[0].reshape(1, -1), "limits": result[1].reshape(1, -1)},
            needs=("sklearn", "hdbscan"),
            tolerance={"sizes": 0.0, "limits": 1e-6},
        ),
    ),
    (Goal(8.0),),
    shape=(8_000, 12),
)


# --- all races -------------------------------------------------------------------------------------------------------

WORKLOADS: tuple[Workload, ...] = (
    kmeans_workload(10),
    kmeans_workload(50),
    silhouette_workload("euclidean", 10.0, (10_000, 10)),
    # of 100,000 rows scikit-learn takes minutes
    silhouette_workload("sqeuclidean", 100.0, (10_000, 10)),
    hdbscan_workload(10_000, 10, {"fast_hdbscan": 2.0, "hdbscan": None, "scikit-learn": 6.0}),
    # of so many columns fast_hdbscan looks for neighbours approximately
    hdbscan_workload(10_000, 50, {"hdbscan": 6.0, "scikit-learn": 6.0}),
    # of so many rows scikit-learn takes minutes
    REGIMES,
    hdbscan_workload(100_000, 3, {"fast_hdbscan": 2.0, "hdbscan": None}),
)
