"""Races of the regimes: fits against scikit-learn."""

# a script's parts, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D103
from __future__ import annotations

from functools import partial
from typing import Any

import acm_rs as acm
import polars as pl
from contenders import SEED, Arrays, Contender, Data, Goal, Run, Workload, need

REGIMES, STARTS = 4, 10
# the best of ten starts is one of several minima that lie close together
MINIMA = {"inertia": 2e-2}


def fit_kmeans(data: Data, *, lazy: bool) -> Run:
    fit = acm.kmeans_fit(data.columns, REGIMES, n_init=STARTS, scale="none", seed=SEED)
    if lazy:
        return lambda: data.frame.lazy().select(fit).collect()
    return lambda: data.frame.select(fit)


def fit_kmeans_sklearn(data: Data) -> Run:
    rows = need("numpy").ascontiguousarray(data.matrix.T)
    kmeans = need("sklearn.cluster").KMeans(REGIMES, n_init=STARTS, random_state=SEED)
    return lambda: kmeans.fit(rows)


def inertia(_data: Data, model: pl.DataFrame) -> Arrays:
    return {"inertia": need("numpy").array([[model.item()["inertia"]]])}


def inertia_sklearn(_data: Data, kmeans: Any) -> Arrays:
    return {"inertia": need("numpy").array([[kmeans.inertia_]])}


def kmeans_workload(sensors: int) -> Workload:
    return Workload(
        f"kmeans_fit_{sensors}",
        f"k-means fit, k = {REGIMES}, {STARTS} starts, 10,000 x {sensors}",
        0,
        (
            Contender("one call", partial(fit_kmeans, lazy=False), inertia, ours=True),
            Contender("lazy", partial(fit_kmeans, lazy=True), inertia, ours=True),
            Contender("scikit-learn", fit_kmeans_sklearn, inertia_sklearn, needs=("sklearn",), tolerance=MINIMA),
        ),
        (Goal(3.0),),
        shape=(10_000, sensors),
    )


# --- all races -------------------------------------------------------------------------------------------------------

WORKLOADS: tuple[Workload, ...] = (kmeans_workload(10), kmeans_workload(50))
