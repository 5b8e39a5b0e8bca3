"""Drop-in for ACM's module of this name: its functions, defaults and column names, computed by the plugin.

A pandas frame gives a pandas frame with its index, a Polars frame a Polars frame, a lazy frame a lazy frame with
nothing collected, and a 2-D NumPy array (rows x sensors) a Polars frame with columns ``0_med``, ... What `return_type`
asks for wins over this; ``return_type="pandas"`` collects a lazy frame. pandas is imported only where it is asked for.

Columns, their order and Float64 are those of ACM's pandas path for every kind of frame; the formulas are its sane ones:

- null, NaN and infinity are missing and are skipped; in ACM one of them makes MAD, slope and energies NaN for a window;
- a constant window has no skewness and no kurtosis (NaN in ACM on pandas 3, 0 and -3 on pandas 2);
- a missing result is 0.0 for slopes and energies and null (NaN in pandas) for other features, but 0.0 for all in
  `compute_basic_features` and `compute_basic_features_pl`.

By default all numeric columns are used; others, such as time stamps, are left out. A column of another type that `cols`
names is an error. Rows must be in time order.
"""

from acm_rs.fast_features.arrays import (
    rolling_mad_f64,
    rolling_mean_std_f64,
    rolling_median_f64,
    rolling_skew_kurt_f64,
)
from acm_rs.fast_features.cleaning import deduplicate_index, ensure_local_index, impute_features
from acm_rs.fast_features.correlation import batched_pairwise_lag, rolling_pairwise_lag, rolling_xcorr
from acm_rs.fast_features.normalizing import (
    ConfidenceGatedNormalizer,
    Normalized,
    normalize_with_confidence_gating,
)
from acm_rs.fast_features.rolling import (
    compute_basic_features,
    compute_basic_features_pl,
    rolling_mad,
    rolling_mean_std,
    rolling_median,
    rolling_ols_slope,
    rolling_skew_kurt,
    rolling_spectral_energy,
)
from acm_rs.fast_features.spectral import goertzel_energy, spectral_energy

__all__ = [
    "ConfidenceGatedNormalizer",
    "Normalized",
    "batched_pairwise_lag",
    "compute_basic_features",
    "compute_basic_features_pl",
    "deduplicate_index",
    "ensure_local_index",
    "goertzel_energy",
    "impute_features",
    "normalize_with_confidence_gating",
    "rolling_mad",
    "rolling_mad_f64",
    "rolling_mean_std",
    "rolling_mean_std_f64",
    "rolling_median",
    "rolling_median_f64",
    "rolling_ols_slope",
    "rolling_pairwise_lag",
    "rolling_skew_kurt",
    "rolling_skew_kurt_f64",
    "rolling_spectral_energy",
    "rolling_xcorr",
    "spectral_energy",
]
