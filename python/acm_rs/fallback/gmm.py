"""Gaussian mixtures on NumPy; the fit is scikit-learn's, models and rules are those of `acm_rs.detectors.gmm`.

scikit-learn draws its k-means starts from its own random numbers, so fits agree with the library's in quality; from
given parameters they agree in number.
"""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import polars as pl

from acm_rs.fallback import models
from acm_rs.fallback._io import Floats
from acm_rs.fallback._registry import Dtype, Field, operation
from acm_rs.fallback.models import FLAG, INTEGER, INTEGERS, LEARNT, NUMBER, NUMBERS, TEXT, Kind
from acm_rs.fallback.pca import project, total

KIND = Kind(
    "gmm",
    2,
    LEARNT
    | {
        "center": NUMBERS,
        "scale": NUMBERS,
        "covariance": TEXT,
        "weights": NUMBERS,
        "means": NUMBERS,
        "covariances": NUMBERS,
        "labels": INTEGERS,
        "log_likelihood": NUMBER,
        "bic": NUMBER,
        "iterations": INTEGER,
        "converged": FLAG,
        "tried_k": INTEGERS,
        "tried_bic": NUMBERS,
    },
)

LARGEST = 1e140  # scaled readings up to this size have squares that are numbers
WEIGHTS_TOLERANCE = 1e-6
# the filters of warnings are those of all threads, and Polars fits the groups of `.over` on several
_QUIET = threading.Lock()


# --- scaling ---------------------------------------------------------------------------------------------------------


def scaling(cells: Floats, scale: str) -> tuple[Floats, Floats]:
    """Center and scale of each column; 1 where it never changes."""
    columns = cells.shape[1]
    if scale == "none":
        return np.zeros(columns), np.ones(columns)
    # by powers of two, so that squares are numbers
    power = 2.0 ** -np.clip(np.frexp(np.abs(cells).max(axis=0))[1], -1000, 1000).astype(float)
    std = np.minimum((cells * power).std(axis=0) / power, np.finfo(float).max)
    if scale == "standard":
        center = (cells * power).mean(axis=0) / power
        spread = std
    else:
        center = np.median(cells * power, axis=0)
        # of the distances: an offset costs no digits
        q1, q3 = np.quantile(cells * power - center, [0.25, 0.75], axis=0)
        spread = np.where(q3 > q1, np.minimum((q3 - q1) / power, np.finfo(float).max), std)
        center = center / power
    return center, np.where(spread > 0, spread, 1.0)


def scaled(cells: Floats, center: Floats, scale: Floats) -> Floats:
    """``(x - center) / scale``, also where two huge readings of unlike signs are subtracted."""
    z = (cells - center) / scale
    return np.where(np.isfinite(z), z, cells / scale - center / scale)


# --- fit -------------------------------------------------------------------------------------------------------------


@operation(dtype=KIND.fit_dtype)
def gmm_fit(inputs: list[pl.Series], *, min_present: float, strict: bool, **parameters: Any) -> pl.Series:  # noqa: D103
    def learn(cells: Floats) -> dict[str, Any]:
        return fit_rows(cells, **parameters)

    return models.fit("gmm_fit", KIND, inputs, learn, min_present=min_present, strict=strict)


def fit_rows(
    cells: Floats,
    *,
    k_range: tuple[int, int],
    covariance: str,
    scale: str,
    n_init: int,
    max_iter: int,
    tol: float,
    reg_covar: float,
    init: tuple[list[float], list[float], list[float]] | None,
    seed: int,
) -> dict[str, Any]:
    """Learn from complete rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    rows, columns = cells.shape
    if rows < 2:
        raise ValueError(f"a Gaussian mixture needs at least 2 rows to learn from, got {rows}")
    center, spread = scaling(cells, scale)
    z = scaled(cells, center, spread)
    if not (np.abs(z) <= LARGEST).all():
        raise ValueError(
            "the scaled readings lie too far apart for a Gaussian, their squares do not fit a number; remove the "
            "outliers or use another `scale`"
        )
    start = {} if init is None else _start(init, k_range, columns, covariance)
    tried, best = [], None
    for k in range(k_range[0], k_range[1] + 1):
        if init is None:
            distinct = len(np.unique(z, axis=0)) if k > 1 else 1
            if distinct < k:
                if best is not None:
                    break  # as many components as there are different rows, but no more
                raise ValueError(
                    f"{k} clusters need {k} different rows, but there are only {distinct}; lower `k` or `k_range`"
                )
        mixture = GaussianMixture(
            k,
            covariance_type=covariance,
            tol=tol,
            reg_covar=reg_covar,
            max_iter=max_iter,
            n_init=n_init if init is None else 1,
            init_params="kmeans" if init is None else "random_from_data",
            random_state=seed % 2**32,
            **start,
        )
        try:
            with _QUIET, warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the model says whether it converged
                mixture.fit(z)
        except ValueError as failure:
            raise ValueError(
                "the covariance of a component is not positive definite: its rows do not vary in every direction; a "
                f"`reg_covar` above {reg_covar:g} or a smaller `k` helps"
            ) from failure
        bic = float(mixture.bic(z))
        tried.append((k, bic))
        if best is None or bic < best[1]:
            best = mixture, bic
    assert best is not None
    mixture, bic = best
    return {
        "center": center,
        "scale": spread,
        "covariance": covariance,
        "weights": mixture.weights_,
        "means": mixture.means_.ravel(),
        "covariances": mixture.covariances_.ravel(),
        "labels": list(range(len(mixture.weights_))),
        "log_likelihood": float(mixture.score(z)),
        "bic": bic,
        "iterations": int(mixture.n_iter_),
        "converged": bool(mixture.converged_),
        "tried_k": [k for k, _ in tried],
        "tried_bic": [bic for _, bic in tried],
    }


def _start(
    init: tuple[list[float], list[float], list[float]], k_range: tuple[int, int], columns: int, covariance: str
) -> dict[str, Any]:
    """Given parameters as scikit-learn takes them."""
    weights, means, covariances = (np.array(part, dtype=np.float64) for part in init)
    k = len(weights)
    if k_range != (k, k):
        raise ValueError(f"`init` holds {k} weights, `k` is {k_range[1]}")
    shape = (k, columns) if covariance == "diag" else (k, columns, columns)
    for name, values, expected in (
        ("means", means, k * columns),
        ("covariances", covariances, int(np.prod(shape))),
    ):
        if len(values) != expected:
            raise ValueError(
                f"`init` must hold {expected} numbers as {name} of {k} components and {columns} columns, "
                f"got {len(values)}"
            )
        if not (np.abs(values) <= LARGEST).all():
            raise ValueError(f"`init` must hold finite {name} of moderate size")
    if not (weights > 0).all() or abs(weights.sum() - 1) > WEIGHTS_TOLERANCE:
        raise ValueError(f"the weights of `init` must be above 0 and add up to 1, got {weights.tolist()}")
    table = covariances.reshape(shape)
    for component in range(k):
        _factor(table[component], component)
    precisions = 1 / table if covariance == "diag" else np.linalg.inv(table)
    return {"weights_init": weights, "means_init": means.reshape(k, columns), "precisions_init": precisions}


# --- scores ----------------------------------------------------------------------------------------------------------


def _factor(covariance: Floats, component: int) -> Any:
    """Cholesky factor, or standard deviations."""
    if covariance.ndim == 1:
        if not (covariance > 0).all():
            raise _not_positive(component)
        return np.sqrt(covariance)
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise _not_positive(component) from None


def _not_positive(component: int) -> ValueError:
    return ValueError(
        f"the covariance of component {component} is not positive definite: its rows do not vary in every direction; a "
        "`reg_covar` above 0 or a smaller `k` helps"
    )


def _logs(model: dict[str, Any], cells: Floats) -> Floats:
    """``log(w_c N(x; m_c, S_c))``, rows by components; -inf where it does not fit."""
    center, spread, weights, means, covariances = (
        models.numbers(model[part]) for part in ("center", "scale", "weights", "means", "covariances")
    )
    columns, k = len(center), len(weights)
    z = scaled(cells, center, spread)
    shape = (k, columns) if model["covariance"] == "diag" else (k, columns, columns)
    logs = np.empty((len(z), k))
    for c, covariance in enumerate(covariances.reshape(shape)):
        factor = _factor(covariance, c)
        difference = z - means.reshape(k, columns)[c]
        if factor.ndim == 1:
            y, determinant = difference / factor, np.log(factor).sum()
        else:
            y, determinant = project(difference, np.linalg.inv(factor)), np.log(np.diag(factor)).sum()
        logs[:, c] = np.log(weights[c]) - columns / 2 * np.log(2 * np.pi) - determinant - total(y * y) / 2
    return np.where(np.isnan(logs), -np.inf, logs)


@operation(dtype=KIND.score_dtype)
def gmm_score(inputs: list[pl.Series], *, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def scorer(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        logs = _logs(model, cells)
        largest = logs.max(axis=1)
        score = -(largest + np.log(total(np.exp(logs - largest[:, None]))))
        return np.where(np.isfinite(largest), score, np.nan)[:, None]

    return models.score("gmm_score", KIND, inputs, 1, scorer, unknown_is_error=unknown_is_error)[0]


def label_dtype_of(kind: Kind) -> Dtype:
    """Dtype of an operation that labels rows with models of this kind."""

    def dtype(name: str, fields: list[Field], **_parameters: Any) -> pl.DataType:
        kind.score_dtype(name, fields)
        return pl.Int64()

    return dtype


@operation(dtype=label_dtype_of(KIND))
def gmm_label(inputs: list[pl.Series], *, unknown_is_error: bool) -> pl.Series:  # noqa: D103
    def scorer(model: dict[str, Any], cells: Floats, _positions: list[int]) -> Floats:
        logs = _logs(model, cells)
        labels = np.array(model["labels"], dtype=np.float64)[logs.argmax(axis=1)]
        return np.where(np.isfinite(logs.max(axis=1)), labels, np.nan)[:, None]

    labels = models.score("gmm_label", KIND, inputs, 1, scorer, unknown_is_error=unknown_is_error)[0]
    return labels.cast(pl.Int64)
