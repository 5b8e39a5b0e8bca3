"""Condition monitoring as Polars expressions, with Rust kernels.

``import acm_rs as acm`` registers the expression namespace `acm`. Every operation is a function,
``acm.rolling_mad("x", 16)``, and a method, ``pl.col("x").acm.rolling_mad(16)``, with one signature.
"""

from acm_rs import fast_features
from acm_rs._plugin import backend, version
from acm_rs.features import (
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

__version__ = version()

__all__ = [
    "AcmNamespace",
    "__version__",
    "backend",
    "col",
    "fast_features",
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
