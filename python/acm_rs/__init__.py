"""Condition monitoring as Polars expressions, with Rust kernels.

``import acm_rs as acm`` registers the expression namespace `acm`. Every operation is a function,
``acm.rolling_mad("x", 16)``, and a method, ``pl.col("x").acm.rolling_mad(16)``, with one signature.
"""

from acm_rs import fast_features
from acm_rs._internal import __version__
from acm_rs.features import (
    correlation,
    pairwise_lag_corr,
    rolling_corr,
    rolling_features,
    rolling_hampel,
    rolling_kurtosis,
    rolling_mad,
    rolling_mean,
    rolling_median,
    rolling_robust_z,
    rolling_skew,
    rolling_slope,
    rolling_spectral_energy,
    rolling_std,
    tail,
)
from acm_rs.namespace import AcmNamespace, col

__all__ = [
    "AcmNamespace",
    "__version__",
    "col",
    "correlation",
    "fast_features",
    "pairwise_lag_corr",
    "rolling_corr",
    "rolling_features",
    "rolling_hampel",
    "rolling_kurtosis",
    "rolling_mad",
    "rolling_mean",
    "rolling_median",
    "rolling_robust_z",
    "rolling_skew",
    "rolling_slope",
    "rolling_spectral_energy",
    "rolling_std",
    "tail",
]
