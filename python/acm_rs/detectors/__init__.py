"""Detectors: models of a machine's usual behaviour, and how far readings lie from it."""

from acm_rs.detectors.ar1 import Ar1Model, ar1_fit, ar1_residual, ar1_z
from acm_rs.detectors.cusum import cusum, drift_trend, ewma, regime_volatility
from acm_rs.detectors.gmm import GmmModel, gmm_fit, gmm_label, gmm_score
from acm_rs.detectors.isolation_forest import IsolationForestModel, isolation_forest_fit, isolation_forest_score
from acm_rs.detectors.omr import OmrModel, omr_contributions, omr_fit, omr_score
from acm_rs.detectors.pca import PcaModel, pca_contributions, pca_fit, pca_scores, pca_spe, pca_t2

__all__ = [
    "Ar1Model",
    "GmmModel",
    "IsolationForestModel",
    "OmrModel",
    "PcaModel",
    "ar1_fit",
    "ar1_residual",
    "ar1_z",
    "cusum",
    "drift_trend",
    "ewma",
    "gmm_fit",
    "gmm_label",
    "gmm_score",
    "isolation_forest_fit",
    "isolation_forest_score",
    "omr_contributions",
    "omr_fit",
    "omr_score",
    "pca_contributions",
    "pca_fit",
    "pca_scores",
    "pca_spe",
    "pca_t2",
    "regime_volatility",
]
