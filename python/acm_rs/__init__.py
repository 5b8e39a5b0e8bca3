"""Condition monitoring as Polars expressions, with Rust kernels.

``import acm_rs as acm`` registers the expression namespace `acm`. Every operation is a function,
``acm.rolling_mad("x", 16)``, and a method, ``pl.col("x").acm.rolling_mad(16)``, with one signature.
"""

from acm_rs import fast_features
from acm_rs._plugin import backend, version
from acm_rs.features import (
    circular_mean,
    deseasonalize,
    dominant_period,
    fill,
    gaps,
    out_of_range,
    power_spectrum,
    quality_report,
    rate_of_change,
    resultant_length,
    robust_scale,
    robust_scale_fit,
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
    seasonality,
    spectral_energy,
    stuck,
    tail,
    to_xy,
)
from acm_rs.namespace import AcmNamespace, col

__version__ = version()

__all__ = [
    "AcmNamespace",
    "__version__",
    "backend",
    "circular_mean",
    "col",
    "deseasonalize",
    "dominant_period",
    "fast_features",
    "fill",
    "gaps",
    "out_of_range",
    "power_spectrum",
    "quality_report",
    "rate_of_change",
    "resultant_length",
    "robust_scale",
    "robust_scale_fit",
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
    "seasonality",
    "spectral_energy",
    "stuck",
    "tail",
    "to_xy",
]
