"""Operating regimes: which rows belong together, and how well labels part them."""

from acm_rs.regimes.hdbscan import HdbscanModel, hdbscan_fit, hdbscan_label
from acm_rs.regimes.silhouette import silhouette, silhouette_samples

__all__ = [
    "HdbscanModel",
    "hdbscan_fit",
    "hdbscan_label",
    "silhouette",
    "silhouette_samples",
]
