"""Features of the readings of one sensor or of several, and what the readings need before."""

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

__all__ = [
    "circular_mean",
    "fill",
    "gaps",
    "out_of_range",
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
    "stuck",
    "tail",
    "to_xy",
]
