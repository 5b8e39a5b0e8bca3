"""Features of the readings of one sensor or of several, and what the readings need before."""

from acm_rs.features.correlation import correlation, pairwise_lag_corr, rolling_corr
from acm_rs.features.directions import circular_mean, resultant_length, to_xy
from acm_rs.features.filling import fill
from acm_rs.features.quality import gaps, out_of_range, quality_report, rate_of_change, stuck
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
from acm_rs.features.scaling import robust_scale, robust_scale_fit
from acm_rs.features.seasonal import deseasonalize, seasonality
from acm_rs.features.spectrum import dominant_period, power_spectrum, spectral_energy

__all__ = [
    "circular_mean",
    "correlation",
    "deseasonalize",
    "dominant_period",
    "fill",
    "gaps",
    "out_of_range",
    "pairwise_lag_corr",
    "power_spectrum",
    "quality_report",
    "rate_of_change",
    "resultant_length",
    "robust_scale",
    "robust_scale_fit",
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
    "seasonality",
    "spectral_energy",
    "stuck",
    "tail",
    "to_xy",
]
