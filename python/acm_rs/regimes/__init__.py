"""Operating regimes: which rows belong together, how well labels part them, and labels that do not flicker."""

from acm_rs.regimes.hdbscan import HdbscanModel, hdbscan_fit, hdbscan_label
from acm_rs.regimes.kmeans import KMeansModel, kmeans_distance, kmeans_fit, kmeans_label
from acm_rs.regimes.labels import (
    align_labels,
    regime_statistics,
    smooth_labels,
    smooth_transitions,
    transient_states,
)
from acm_rs.regimes.regime import RegimeModel, operating_columns, regime_fit, regime_predict
from acm_rs.regimes.silhouette import silhouette, silhouette_samples

__all__ = [
    "HdbscanModel",
    "KMeansModel",
    "RegimeModel",
    "align_labels",
    "hdbscan_fit",
    "hdbscan_label",
    "kmeans_distance",
    "kmeans_fit",
    "kmeans_label",
    "operating_columns",
    "regime_fit",
    "regime_predict",
    "regime_statistics",
    "silhouette",
    "silhouette_samples",
    "smooth_labels",
    "smooth_transitions",
    "transient_states",
]
