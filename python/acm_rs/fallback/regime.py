"""Operating regimes on NumPy and scikit-learn; methods, choice and predictor are those of the library.

Mixtures and k-means start from other random numbers, so fits agree with the library's in quality; scores of a given
model agree in number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from acm_rs.fallback import gmm, hdbscan, kmeans, models, pca
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Field, operation
from acm_rs.fallback.gmm import scaled, scaling
from acm_rs.fallback.models import INTEGER, INTEGERS, LEARNT, NUMBER, NUMBERS, TEXT, Kind

KIND = Kind(
    "regime",
    1,
    LEARNT
    | {
        "center": NUMBERS,
        "scale": NUMBERS,
        "components": NUMBERS,
        "weights": NUMBERS,
        "means": NUMBERS,
        "covariances": NUMBERS,
        "labels": INTEGERS,
        "limits": NUMBERS,
        "sizes": INTEGERS,
        "centers": NUMBERS,
        "method": TEXT,
        "reason": TEXT,
        "metric": TEXT,
        "quality": NUMBER,
        "noise_share": NUMBER,
        "fit_rows": INTEGER,
    },
)

# as in the library
MOST_NOISE, LEAST_QUALITY, BIC_RANGE, LEAST_SILHOUETTE = 0.5, 0.05, 10.0, 0.15
SILHOUETTE_ROWS = 4_000
STARTS: dict[str, Any] = {"n_init": 5, "max_iter": 300}
METHODS = ("hdbscan", "gmm", "kmeans")


class _Found(NamedTuple):
    """What a method found; a doubt says why it is not fit for use."""

    weights: Floats
    means: Floats
    covariances: Floats
    metric: str
    quality: float
    noise: float
    reason: str
    doubt: str | None


def _moments(rows: Floats, labels: Any, k: int, reg_covar: float) -> tuple[Floats, Floats, Floats]:
    members = [rows[labels == c] for c in range(k)]
    counts = np.array([len(own) for own in members], dtype=float)
    means = np.array([own.mean(axis=0) for own in members])
    covariances = np.array(
        [
            (own - mean).T @ (own - mean) / len(own) + reg_covar * np.eye(rows.shape[1])
            for own, mean in zip(members, means, strict=True)
        ]
    )
    return counts / counts.sum(), means, covariances


def _too_many(k: int, distinct: int) -> ValueError:
    text = f"{k} clusters need {k} different rows, but there are only {distinct}"
    return ValueError(f"{text}; lower `k_range`, or remove outliers beside which all others are equal")


def _at_the_end(k: int, most: int) -> str:
    return ", the upper end: more might fit better still" if k == most else ""


def _by_hdbscan(rows: Floats, p: dict[str, Any]) -> _Found:
    n = len(rows)
    size = p["min_cluster_size"] or max(n // 50, 10)
    model = hdbscan.fit_rows(
        rows,
        min_cluster_size=size,
        min_samples=p["min_samples"] or max(size // 10, 3),
        cluster_selection_epsilon=0.0,
        method="eom",
        allow_single_cluster=True,
        scale="none",
    )
    k, labels = len(model["sizes"]), np.array(model["labels"])
    if k == 0:
        raise ValueError("it found no cluster; a smaller `min_cluster_size` finds smaller ones")
    noise = float((labels < 0).mean())
    persistence, validity = float(np.mean(model["persistence"])), model["relative_validity"]
    valid = validity > 0
    quality = (validity + persistence) / 2 if valid else persistence
    doubt = None
    if k > p["k_range"][1]:
        doubt = f"it found {k} clusters, `k_range` allows {p['k_range'][1]}"
    elif noise > MOST_NOISE:
        doubt = f"{noise * 100:.0f} % of the rows are in no cluster"
    elif k > 1 and quality < LEAST_QUALITY:
        doubt = f"its quality is {quality:.3f}, below {LEAST_QUALITY}"
    reason = f"hdbscan found {k} cluster{'s' * (k != 1)}, {noise * 100:.0f} % of the rows in none"
    metric = "validity and persistence" if valid else "persistence"
    return _Found(*_moments(rows, labels, k, p["reg_covar"]), metric, quality, noise, reason, doubt)


def _by_gmm(rows: Floats, p: dict[str, Any]) -> _Found:
    least, most = p["k_range"]
    most = min(most, len(rows) // 3)  # three rows for every component
    if most < least:
        raise ValueError(f"{least} components need {3 * least} rows, there are {len(rows)}")
    distinct = len(np.unique(rows, axis=0))
    if distinct < least:
        raise _too_many(least, distinct)
    most = min(most, distinct)
    parameters = {"covariance": "full", "scale": "none", "tol": 1e-3, "init": None, **STARTS}
    model = gmm.fit_rows(rows, k_range=(least, most), reg_covar=p["reg_covar"], seed=p["seed"], **parameters)
    k, d = len(model["weights"]), rows.shape[1]
    reach = max(model["tried_bic"]) - model["bic"]
    doubt = None
    if least < most and reach < BIC_RANGE:
        doubt = f"BIC differs by {reach:.1f} between {least} and {most} components, which says nothing"
    if least == most:
        reason = f"gmm of {k} components, as `k_range` asks"
    else:
        reason = f"gmm has its least BIC at {k} of {least} to {most} components{_at_the_end(k, most)}"
    means, covariances = np.reshape(model["means"], (k, d)), np.reshape(model["covariances"], (k, d, d))
    return _Found(np.array(model["weights"]), means, covariances, "bic", model["bic"], 0.0, reason, doubt)


def _by_kmeans(rows: Floats, p: dict[str, Any]) -> _Found:
    from sklearn.metrics import silhouette_score

    least, most = p["k_range"]
    distinct = len(np.unique(rows, axis=0))
    best: tuple[float, int, Any] | None = None
    for k in range(least, min(most, distinct) + 1):
        parameters = {"tol": 1e-4, "init": None, "scale": "none", **STARTS}
        model = kmeans.fit_rows(rows, k=k, seed=p["seed"], **parameters)
        centers = np.reshape(model["centers"], (k, -1))
        labels = np.stack([((rows - center) ** 2).sum(axis=1) for center in centers]).argmin(axis=0)
        sample = SILHOUETTE_ROWS if len(rows) > SILHOUETTE_ROWS else None
        quality = np.nan
        if 1 < k < len(rows):
            quality = float(silhouette_score(rows, labels, sample_size=sample, random_state=p["seed"] % 2**32))
        if best is None or quality > best[0] or np.isnan(best[0]):
            best = quality, k, labels
    if best is None:
        raise _too_many(least, distinct)
    quality, k, labels = best
    doubt = None
    if k > 1 and quality < LEAST_SILHOUETTE:
        doubt = f"its silhouette is {quality:.3f}, below {LEAST_SILHOUETTE}"
    if least == most:
        reason = f"kmeans of {k} clusters, as `k_range` asks"
    else:
        reason = f"kmeans has its largest silhouette at {k} of {least} to {most} clusters{_at_the_end(k, most)}"
    return _Found(*_moments(rows, labels, k, p["reg_covar"]), "silhouette", quality, 0.0, reason, doubt)


def _find(rows: Floats, p: dict[str, Any]) -> tuple[str, _Found]:
    methods = METHODS if p["method"] == "auto" else (p["method"],)
    rejected = ""
    for method in methods:
        try:
            found = {"hdbscan": _by_hdbscan, "gmm": _by_gmm, "kmeans": _by_kmeans}[method](rows, p)
        except ValueError as failure:
            doubt = str(failure)
        else:
            if found.doubt is None or method == methods[-1]:
                low = "" if found.doubt is None else f"; low quality: {found.doubt}"
                return method, found._replace(reason=f"{rejected}{found.reason}{low}")
            doubt = found.doubt
        rejected += f"not {method}: {doubt}; "
    raise ValueError(f"no regimes were found ({rejected.removesuffix('; ')})")


def _learn(cells: Floats, **p: Any) -> dict[str, Any]:
    n = len(cells)
    if n < 2:
        raise ValueError(f"regimes need at least 2 rows and a column to learn from, got {n} and {cells.shape[1]}")
    center, spread = scaling(cells, p["scale"])
    z = scaled(cells, center, spread)
    components: Floats = np.empty(0)
    basis = z
    if p["n_components"] is not None:
        components = np.array(pca.learn(z, p["n_components"], "none", 0.5)["components"])
        basis = z @ components.reshape(-1, z.shape[1]).T
    count = min(n, p["max_fit_rows"])
    method, found = _find(basis[np.arange(count) * n // count], p)
    order = np.argsort(-found.weights, kind="stable")
    while True:
        weights = found.weights[order] / found.weights[order].sum()
        parts = {
            "center": center,
            "scale": spread,
            "components": components,
            "weights": weights,
            "means": found.means[order].ravel(),
            "covariances": found.covariances[order].ravel(),
        }
        with np.errstate(all="ignore"):
            regime, _, distances = _predict(parts, cells)
        sizes = np.array([(regime == c).sum() for c in range(len(order))])
        if (sizes > 0).all():
            break
        # a component that is the likeliest of no row is no regime
        order = order[sizes > 0]
        if not len(order):
            raise ValueError("no row lies near a regime: their squares do not fit a number; remove the outliers")
    members = [regime == c for c in range(len(order))]
    return parts | {
        "labels": list(range(len(order))),
        "limits": [float(np.quantile(distances[own], p["distance_percentile"] / 100)) for own in members],
        "sizes": sizes.tolist(),
        "centers": np.array([(cells[own] / own.sum()).sum(axis=0) for own in members]).ravel(),
        "method": method,
        "reason": found.reason,
        "metric": found.metric,
        "quality": found.quality,
        "noise_share": found.noise,
        "fit_rows": count,
    }


@operation(dtype=KIND.fit_dtype)
def regime_fit(inputs: list[pl.Series], *, min_present: float, strict: bool, **parameters: Any) -> pl.Series:  # noqa: D103
    def learn(cells: Floats) -> dict[str, Any]:
        return _learn(cells, **parameters)

    return models.fit("regime_fit", KIND, inputs, learn, min_present=min_present, strict=strict)


def _predict(model: dict[str, Any], cells: Floats) -> tuple[Floats, Floats, Floats]:
    """Regime, confidence and squared distance of each row; NaN where they do not fit a number."""
    names = ("center", "scale", "components", "weights", "means", "covariances")
    center, spread, components, weights, means, covariances = (models.numbers(model[part]) for part in names)
    z = scaled(cells, center, spread)
    basis = pca.project(z, components.reshape(-1, z.shape[1])) if len(components) else z
    k, d = len(weights), basis.shape[1]
    logs, distances = np.empty((len(z), k)), np.empty((len(z), k))
    for c, covariance in enumerate(covariances.reshape(k, d, d)):
        factor = np.linalg.cholesky(covariance)
        y = pca.project(basis - means.reshape(k, d)[c], np.linalg.inv(factor))
        distances[:, c] = pca.total(y * y)
        peak = np.log(weights[c]) - d / 2 * np.log(2 * np.pi) - np.log(np.diag(factor)).sum()
        logs[:, c] = peak - distances[:, c] / 2
    logs = np.where(np.isnan(logs), -np.inf, logs)
    largest, regime = logs.max(axis=1), logs.argmax(axis=1)
    known = np.isfinite(largest)
    confidence = 1 / pca.total(np.exp(logs - largest[:, None]))
    nearest = distances[np.arange(len(z)), regime]
    return tuple(np.where(known, values, np.nan) for values in (regime, confidence, nearest))  # type: ignore[return-value]


def _predict_dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
    confidence = KIND.score_dtype(name, fields)
    return pl.Struct({"label": pl.Int64(), "confidence": confidence, "is_novel": pl.Boolean()})


@operation(dtype=_predict_dtype)
def regime_predict(inputs: list[pl.Series], *, novel: str, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def scorer(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        with np.errstate(all="ignore"):
            regime, confidence, distance = _predict(model, cells)
        known = ~np.isnan(regime)
        place = np.where(known, regime, 0).astype(int)
        is_novel = np.where(known, distance > models.numbers(model["limits"])[place], np.nan)
        label = np.where(known, np.array(model["labels"])[place], np.nan)
        if novel == "unknown":
            label = np.where(is_novel == 1, -1, label)
        return np.column_stack([label, confidence, is_novel])

    results = models.score("regime_predict", KIND, inputs, 3, scorer, unknown_is_error=unknown_is_error)
    label, confidence, is_novel = results
    fields = [
        label.cast(pl.Int64).alias("label"),
        confidence.alias("confidence"),
        is_novel.cast(pl.Boolean).alias("is_novel"),
    ]
    return pl.DataFrame(fields).to_struct(inputs[0].name)
