"""Features of the readings of one sensor or of several."""

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
from acm_rs.features.seasonal import deseasonalize, seasonality
from acm_rs.features.spectrum import dominant_period, power_spectrum, spectral_energy

__all__ = [
    "deseasonalize",
    "dominant_period",
    "power_spectrum",
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
    "tail",
]
