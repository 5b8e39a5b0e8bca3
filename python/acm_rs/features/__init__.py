"""Features of the readings of one sensor or of several."""

from acm_rs.features.correlation import correlation, pairwise_lag_corr, rolling_corr
from acm_rs.features.rolling import (
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

__all__ = [
    "correlation",
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
