"""Operating regimes: which rows belong together, and labels that do not flicker."""

from acm_rs.regimes.kmeans import KMeansModel, kmeans_distance, kmeans_fit, kmeans_label
from acm_rs.regimes.labels import (
    align_labels,
    regime_statistics,
    smooth_labels,
    smooth_transitions,
    transient_states,
)

__all__ = [
    "KMeansModel",
    "align_labels",
    "kmeans_distance",
    "kmeans_fit",
    "kmeans_label",
    "regime_statistics",
    "smooth_labels",
    "smooth_transitions",
    "transient_states",
]
