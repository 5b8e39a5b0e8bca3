"""The expression namespace `acm`: the functions of `features`, `detectors` and `regimes` as methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import polars as pl

from acm_rs import detectors, features, regimes
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs.detectors.ar1 import Fuse
from acm_rs.detectors.cusum import State
from acm_rs.detectors.omr import OmrMethod
from acm_rs.detectors.pca import PcaScale
from acm_rs.features.correlation import Method, Reduce
from acm_rs.features.filling import FillMethod, Values
from acm_rs.features.rolling import Bands, Feature, IntoTime, WindowSize, rolling_features
from acm_rs.features.scaling import Model
from acm_rs.features.seasonal import PERIODS, Formula, IntoModel, Periods
from acm_rs.regimes.labels import Health, IntoModels
from acm_rs.regimes.regime import RegimeMethod
from acm_rs.regimes.silhouette import Metric, Scale

__all__ = ["AcmNamespace", "col"]


@pl.api.register_expr_namespace("acm")
class AcmNamespace:
    """Condition monitoring on expressions: ``pl.col("x").acm.rolling_mad(16)``."""

    def __init__(self, expr: pl.Expr) -> None:
        self._expr = expr

    def rolling_median(self, window_size: WindowSize, *, min_samples: int = 1, by: IntoTime = None) -> pl.Expr:
        """Median of the trailing window. See :func:`acm_rs.rolling_median`."""
        return features.rolling_median(self._expr, window_size, min_samples=min_samples, by=by)

    def rolling_mad(
        self,
        window_size: WindowSize,
        *,
        min_samples: int = 1,
        scale: float | Literal["normal"] = 1.0,
        by: IntoTime = None,
    ) -> pl.Expr:
        """Median absolute deviation of the trailing window. See :func:`acm_rs.rolling_mad`."""
        return features.rolling_mad(self._expr, window_size, min_samples=min_samples, scale=scale, by=by)

    def rolling_mean(self, window_size: WindowSize, *, min_samples: int = 1, by: IntoTime = None) -> pl.Expr:
        """Arithmetic mean of the trailing window. See :func:`acm_rs.rolling_mean`."""
        return features.rolling_mean(self._expr, window_size, min_samples=min_samples, by=by)

    def rolling_std(
        self, window_size: WindowSize, *, min_samples: int = 1, ddof: int = 1, by: IntoTime = None
    ) -> pl.Expr:
        """Sample standard deviation of the trailing window. See :func:`acm_rs.rolling_std`."""
        return features.rolling_std(self._expr, window_size, min_samples=min_samples, ddof=ddof, by=by)

    def rolling_skew(
        self,
        window_size: WindowSize,
        *,
        min_samples: int = 1,
        bias: bool = False,
        clip: float | None = None,
        by: IntoTime = None,
    ) -> pl.Expr:
        """Skewness of the trailing window. See :func:`acm_rs.rolling_skew`."""
        return features.rolling_skew(self._expr, window_size, min_samples=min_samples, bias=bias, clip=clip, by=by)

    def rolling_kurtosis(
        self,
        window_size: WindowSize,
        *,
        min_samples: int = 1,
        bias: bool = False,
        clip: float | None = None,
        by: IntoTime = None,
    ) -> pl.Expr:
        """Excess kurtosis of the trailing window. See :func:`acm_rs.rolling_kurtosis`."""
        return features.rolling_kurtosis(self._expr, window_size, min_samples=min_samples, bias=bias, clip=clip, by=by)

    def rolling_slope(self, window_size: WindowSize, *, min_samples: int = 1, by: IntoTime = None) -> pl.Expr:
        """Slope of the line through the trailing window. See :func:`acm_rs.rolling_slope`."""
        return features.rolling_slope(self._expr, window_size, min_samples=min_samples, by=by)

    def rolling_robust_z(
        self,
        window_size: WindowSize,
        *,
        min_samples: int = 1,
        clip: float = 100.0,
        scale_floor: float = 0.0,
        by: IntoTime = None,
    ) -> pl.Expr:
        """Robust z-score of the reading within its trailing window. See :func:`acm_rs.rolling_robust_z`."""
        return features.rolling_robust_z(
            self._expr, window_size, min_samples=min_samples, clip=clip, scale_floor=scale_floor, by=by
        )

    def rolling_hampel(
        self, window_size: WindowSize, n_sigmas: float = 3.0, *, min_samples: int = 1, by: IntoTime = None
    ) -> pl.Expr:
        """Whether the reading is an outlier in its trailing window. See :func:`acm_rs.rolling_hampel`."""
        return features.rolling_hampel(self._expr, window_size, n_sigmas, min_samples=min_samples, by=by)

    def rolling_spectral_energy(
        self,
        window_size: int,
        *,
        bands: Bands = None,
        sampling_hz: float = 1.0,
        min_samples: int | None = None,
        by: None = None,
    ) -> pl.Expr:
        """Energy of the trailing window in frequency bands. See :func:`acm_rs.rolling_spectral_energy`."""
        return features.rolling_spectral_energy(
            self._expr, window_size, bands=bands, sampling_hz=sampling_hz, min_samples=min_samples, by=by
        )

    def rolling_features(
        self,
        window_size: WindowSize,
        *,
        features: Feature | Sequence[Feature] | None = None,
        min_samples: int = 1,
        bands: Bands = None,
        sampling_hz: float = 1.0,
        clip: float = 100.0,
        scale_floor: float = 0.0,
        by: IntoTime = None,
    ) -> pl.Expr:
        """All features of the trailing window, or some, in one pass. See :func:`acm_rs.rolling_features`."""
        return rolling_features(
            self._expr,
            window_size,
            features=features,
            min_samples=min_samples,
            bands=bands,
            sampling_hz=sampling_hz,
            clip=clip,
            scale_floor=scale_floor,
            by=by,
        )

    def fill(
        self,
        method: FillMethod | None = None,
        *,
        value: Values = None,
        max_gap: WindowSize | None = None,
        by: IntoTime = None,
    ) -> pl.Expr:
        """Fill gaps that are not too long. See :func:`acm_rs.fill`."""
        return features.fill(self._expr, method, value=value, max_gap=max_gap, by=by)

    def stuck(
        self,
        min_length: WindowSize,
        *,
        tolerance: float = 0.0,
        look_ahead: bool = True,
        by: IntoTime = None,
    ) -> pl.Expr:
        """Whether a reading belongs to a standstill. See :func:`acm_rs.stuck`."""
        return features.stuck(self._expr, min_length, tolerance=tolerance, look_ahead=look_ahead, by=by)

    def out_of_range(self, low: float | None = None, high: float | None = None) -> pl.Expr:
        """Whether a reading is impossible. See :func:`acm_rs.out_of_range`."""
        return features.out_of_range(self._expr, low, high)

    def rate_of_change(self, *, by: IntoTime = None) -> pl.Expr:
        """Change since the last reading, per row or second. See :func:`acm_rs.rate_of_change`."""
        return features.rate_of_change(self._expr, by=by)

    def circular_mean(self, *, period: float = 360.0) -> pl.Expr:
        """Mean direction of the whole series. See :func:`acm_rs.circular_mean`."""
        return features.circular_mean(self._expr, period=period)

    def resultant_length(self, *, period: float = 360.0) -> pl.Expr:
        """How much the directions agree. See :func:`acm_rs.resultant_length`."""
        return features.resultant_length(self._expr, period=period)

    def to_xy(self, *, period: float = 360.0) -> pl.Expr:
        """Directions as points on the unit circle. See :func:`acm_rs.to_xy`."""
        return features.to_xy(self._expr, period=period)

    def robust_scale_fit(self) -> pl.Expr:
        """Center and scale of every column. See :func:`acm_rs.robust_scale_fit`."""
        return features.robust_scale_fit(self._expr)

    def robust_scale(
        self,
        model: Model,
        *,
        scale_floor: float = 0.0,
        by: str | pl.Expr | None = None,
        default: pl.Series | pl.DataFrame | None = None,
        confidence: str | pl.Expr | None = None,
        min_confidence: float = 0.7,
        on_unknown: Literal["null", "error"] = "null",
    ) -> pl.Expr:
        """Scale readings to units of their usual spread. See :func:`acm_rs.robust_scale`."""
        return features.robust_scale(
            self._expr,
            model,
            scale_floor=scale_floor,
            by=by,
            default=default,
            confidence=confidence,
            min_confidence=min_confidence,
            on_unknown=on_unknown,
        )

    def spectral_energy(
        self, *, bands: Bands = None, sampling_hz: float = 1.0, min_samples: int | None = None
    ) -> pl.Expr:
        """Energy of the whole series in frequency bands. See :func:`acm_rs.spectral_energy`."""
        return features.spectral_energy(self._expr, bands=bands, sampling_hz=sampling_hz, min_samples=min_samples)

    def power_spectrum(self, *, sampling_hz: float = 1.0, min_samples: int | None = None) -> pl.Expr:
        """Power of the whole series at every frequency. See :func:`acm_rs.power_spectrum`."""
        return features.power_spectrum(self._expr, sampling_hz=sampling_hz, min_samples=min_samples)

    def dominant_period(
        self, *, sampling_hz: float = 1.0, min_samples: int | None = None, min_cycles: int = 2
    ) -> pl.Expr:
        """Period of the strongest frequency of the whole series. See :func:`acm_rs.dominant_period`."""
        return features.dominant_period(
            self._expr, sampling_hz=sampling_hz, min_samples=min_samples, min_cycles=min_cycles
        )

    def seasonality(
        self,
        by: str | pl.Expr,
        *,
        periods: Periods = PERIODS,
        every: str | timedelta = "1h",
        min_cycles: int = 3,
        formula: Formula = "phase_means",
    ) -> pl.Expr:
        """Patterns that repeat with fixed periods, as a model. See :func:`acm_rs.seasonality`."""
        return features.seasonality(
            self._expr, by, periods=periods, every=every, min_cycles=min_cycles, formula=formula
        )

    def deseasonalize(
        self,
        by: str | pl.Expr,
        *,
        periods: Periods | None = None,
        every: str | timedelta | None = None,
        min_cycles: int | None = None,
        min_confidence: float = 0.1,
        formula: Formula | None = None,
        model: IntoModel | None = None,
    ) -> pl.Expr:
        """Take the seasonal patterns out of readings. See :func:`acm_rs.deseasonalize`."""
        return features.deseasonalize(
            self._expr,
            by,
            periods=periods,
            every=every,
            min_cycles=min_cycles,
            min_confidence=min_confidence,
            formula=formula,
            model=model,
        )

    def rolling_corr(self, other: str | pl.Expr, window_size: int, *, lag: int = 0, min_samples: int = 2) -> pl.Expr:
        """Correlation with another column in the trailing window. See :func:`acm_rs.rolling_corr`."""
        return features.rolling_corr(self._expr, other, window_size, lag=lag, min_samples=min_samples)

    def pairwise_lag_corr(
        self,
        max_lag: int,
        window_size: int,
        *,
        min_samples: int | None = None,
        min_corr: float = 0.0,
        unique: bool = True,
        reduce: Reduce = None,
    ) -> pl.Expr:
        """All pairs of columns with lags: rolling correlations. See :func:`acm_rs.pairwise_lag_corr`."""
        return features.pairwise_lag_corr(
            self._expr,
            max_lag,
            window_size,
            min_samples=min_samples,
            min_corr=min_corr,
            unique=unique,
            reduce=reduce,
        )

    def correlation(self, method: Method = "pearson") -> pl.Expr:
        """Correlation matrix of all columns. See :func:`acm_rs.correlation`."""
        return features.correlation(self._expr, method)

    def ar1_fit(self, *, phi_cap: float = 0.999, scale_floor: float = 1e-6, close_gaps: bool = False) -> pl.Expr:
        """How columns follow their last reading: a model. See :func:`acm_rs.ar1_fit`."""
        return detectors.ar1_fit(self._expr, phi_cap=phi_cap, scale_floor=scale_floor, close_gaps=close_gaps)

    def ar1_residual(
        self,
        model: IntoFitted | None = None,
        *,
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """Take from each reading what the one before says. See :func:`acm_rs.ar1_residual`."""
        return detectors.ar1_residual(self._expr, model, by=by, on_unknown=on_unknown)

    def ar1_z(
        self,
        model: IntoFitted | None = None,
        *,
        fuse: Fuse | None = None,
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """How unusual a reading is after the one before it. See :func:`acm_rs.ar1_z`."""
        return detectors.ar1_z(self._expr, model, fuse=fuse, by=by, on_unknown=on_unknown)

    def cusum(
        self,
        *,
        k: float = 0.5,
        h: float = 5.0,
        center: float | None = 0.0,
        scale: float | None = 1.0,
        reset: bool = False,
        state: State | None = None,
    ) -> pl.Expr:
        """Two-sided cumulative sums with alarms and onsets. See :func:`acm_rs.cusum`."""
        return detectors.cusum(self._expr, k=k, h=h, center=center, scale=scale, reset=reset, state=state)

    def ewma(
        self, *, alpha: float | None = None, half_life: float | None = None, state: State | None = None
    ) -> pl.Expr:
        """Exponentially weighted mean. See :func:`acm_rs.ewma`."""
        return detectors.ewma(self._expr, alpha=alpha, half_life=half_life, state=state)

    def drift_trend(self, window_size: int = 20) -> pl.Expr:
        """Slope of the last rows. See :func:`acm_rs.drift_trend`."""
        return detectors.drift_trend(self._expr, window_size)

    def regime_volatility(self, window_size: int = 20) -> pl.Expr:
        """Share of the last steps at which the label changes. See :func:`acm_rs.regime_volatility`."""
        return detectors.regime_volatility(self._expr, window_size)

    def gmm_fit(
        self,
        k: int | None = None,
        *,
        k_range: Sequence[int] = (1, 5),
        covariance: Literal["diag", "full"] = "diag",
        scale: Literal["robust", "standard", "none"] = "robust",
        n_init: int = 3,
        max_iter: int = 100,
        tol: float = 1e-3,
        reg_covar: float = 1e-3,
        init: Mapping[str, Any] | None = None,
        seed: int = 42,
        min_present: float = 0.5,
        strict: bool = True,
    ) -> pl.Expr:
        """Fit a Gaussian mixture. See :func:`acm_rs.gmm_fit`."""
        return detectors.gmm_fit(
            self._expr,
            k,
            k_range=k_range,
            covariance=covariance,
            scale=scale,
            n_init=n_init,
            max_iter=max_iter,
            tol=tol,
            reg_covar=reg_covar,
            init=init,
            seed=seed,
            min_present=min_present,
            strict=strict,
        )

    def gmm_label(
        self, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
    ) -> pl.Expr:
        """Likeliest component of a Gaussian mixture. See :func:`acm_rs.gmm_label`."""
        return detectors.gmm_label(self._expr, model, by=by, on_unknown=on_unknown)

    def gmm_score(
        self, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
    ) -> pl.Expr:
        """``-log p(x)`` by a Gaussian mixture. See :func:`acm_rs.gmm_score`."""
        return detectors.gmm_score(self._expr, model, by=by, on_unknown=on_unknown)

    def hdbscan_fit(
        self,
        min_cluster_size: int = 10,
        *,
        min_samples: int | None = None,
        cluster_selection_epsilon: float = 0.0,
        method: Literal["eom", "leaf"] = "eom",
        allow_single_cluster: bool = False,
        scale: Scale = "standard",
        min_present: float = 1.0,
        strict: bool = True,
    ) -> pl.Expr:
        """Find clusters of rows by density. See :func:`acm_rs.hdbscan_fit`."""
        return regimes.hdbscan_fit(
            self._expr,
            min_cluster_size,
            min_samples=min_samples,
            cluster_selection_epsilon=cluster_selection_epsilon,
            method=method,
            allow_single_cluster=allow_single_cluster,
            scale=scale,
            min_present=min_present,
            strict=strict,
        )

    def hdbscan_label(
        self, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
    ) -> pl.Expr:
        """Cluster of a fitted HDBSCAN, and strength. See :func:`acm_rs.hdbscan_label`."""
        return regimes.hdbscan_label(self._expr, model, by=by, on_unknown=on_unknown)

    def silhouette(
        self,
        labels: str | pl.Expr,
        *,
        metric: Metric = "euclidean",
        scale: Scale = "standard",
        sample: int | None = None,
        seed: int = 42,
        min_present: float = 1.0,
    ) -> pl.Expr:
        """Mean silhouette of labelled rows. See :func:`acm_rs.silhouette`."""
        return regimes.silhouette(
            self._expr, labels, metric=metric, scale=scale, sample=sample, seed=seed, min_present=min_present
        )

    def silhouette_samples(
        self,
        labels: str | pl.Expr,
        *,
        metric: Metric = "euclidean",
        scale: Scale = "standard",
        min_present: float = 1.0,
    ) -> pl.Expr:
        """Silhouette of each labelled row. See :func:`acm_rs.silhouette_samples`."""
        return regimes.silhouette_samples(self._expr, labels, metric=metric, scale=scale, min_present=min_present)

    def omr_contributions(
        self,
        model: IntoFitted,
        *,
        scaled: bool = False,
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """Contributions of each column to the residual. See :func:`acm_rs.omr_contributions`."""
        return detectors.omr_contributions(self._expr, model, scaled=scaled, by=by, on_unknown=on_unknown)

    def omr_fit(
        self,
        *,
        method: OmrMethod = "pca",
        n_components: int = 5,
        alpha: float = 1.0,
        min_present: float = 0.5,
        strict: bool = True,
    ) -> pl.Expr:
        """Overall model residual of all columns: a model. See :func:`acm_rs.omr_fit`."""
        return detectors.omr_fit(
            self._expr,
            method=method,
            n_components=n_components,
            alpha=alpha,
            min_present=min_present,
            strict=strict,
        )

    def omr_score(
        self,
        model: IntoFitted,
        *,
        clip: float | None = None,
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """How badly each row is reconstructed. See :func:`acm_rs.omr_score`."""
        return detectors.omr_score(self._expr, model, clip=clip, by=by, on_unknown=on_unknown)

    def pca_contributions(
        self,
        model: IntoFitted,
        *,
        mean_back: bool = True,
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """Contributions of each column to SPE and T2. See :func:`acm_rs.pca_contributions`."""
        return detectors.pca_contributions(self._expr, model, mean_back=mean_back, by=by, on_unknown=on_unknown)

    def pca_fit(
        self,
        n_components: int = 5,
        *,
        scale: PcaScale = "robust",
        confidence: float = 0.99,
        min_present: float = 0.5,
        strict: bool = True,
    ) -> pl.Expr:
        """Principal components of all columns: a model. See :func:`acm_rs.pca_fit`."""
        return detectors.pca_fit(
            self._expr,
            n_components,
            scale=scale,
            confidence=confidence,
            min_present=min_present,
            strict=strict,
        )

    def pca_scores(
        self,
        model: IntoFitted,
        *,
        n_components: int | None = None,
        mean_back: bool = True,
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """Scores on the components, SPE and T2 of each row. See :func:`acm_rs.pca_scores`."""
        return detectors.pca_scores(
            self._expr, model, n_components=n_components, mean_back=mean_back, by=by, on_unknown=on_unknown
        )

    def pca_spe(
        self,
        model: IntoFitted,
        *,
        mean_back: bool = True,
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """Squared distance of each row from the components. See :func:`acm_rs.pca_spe`."""
        return detectors.pca_spe(self._expr, model, mean_back=mean_back, by=by, on_unknown=on_unknown)

    def pca_t2(self, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null") -> pl.Expr:
        """Hotelling's T2 of each row along the components. See :func:`acm_rs.pca_t2`."""
        return detectors.pca_t2(self._expr, model, by=by, on_unknown=on_unknown)

    def isolation_forest_fit(
        self,
        n_trees: int = 100,
        max_samples: int = 256,
        *,
        bootstrap: bool = False,
        seed: int = 17,
        min_present: float = 0.5,
        strict: bool = True,
    ) -> pl.Expr:
        """Isolation forest of all columns: a model. See :func:`acm_rs.isolation_forest_fit`."""
        return detectors.isolation_forest_fit(
            self._expr,
            n_trees,
            max_samples,
            bootstrap=bootstrap,
            seed=seed,
            min_present=min_present,
            strict=strict,
        )

    def isolation_forest_score(
        self, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
    ) -> pl.Expr:
        """How unusual each row is. See :func:`acm_rs.isolation_forest_score`."""
        return detectors.isolation_forest_score(self._expr, model, by=by, on_unknown=on_unknown)

    def align_labels(self, old: IntoModels) -> pl.Expr:
        """Models with the labels of older ones. See :func:`acm_rs.align_labels`."""
        return regimes.align_labels(self._expr, old)

    def kmeans_distance(
        self, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
    ) -> pl.Expr:
        """Distance of each row from the nearest centre. See :func:`acm_rs.kmeans_distance`."""
        return regimes.kmeans_distance(self._expr, model, by=by, on_unknown=on_unknown)

    def kmeans_fit(
        self,
        k: int,
        *,
        n_init: int = 10,
        max_iter: int = 300,
        tol: float = 1e-4,
        init: Any = None,
        seed: int = 42,
        scale: Literal["standard", "robust", "none"] = "standard",
        min_present: float = 1.0,
        strict: bool = True,
    ) -> pl.Expr:
        """Centres of k regimes of all columns: a model. See :func:`acm_rs.kmeans_fit`."""
        return regimes.kmeans_fit(
            self._expr,
            k,
            n_init=n_init,
            max_iter=max_iter,
            tol=tol,
            init=init,
            seed=seed,
            scale=scale,
            min_present=min_present,
            strict=strict,
        )

    def kmeans_label(
        self, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
    ) -> pl.Expr:
        """Nearest centre of each row. See :func:`acm_rs.kmeans_label`."""
        return regimes.kmeans_label(self._expr, model, by=by, on_unknown=on_unknown)

    def regime_fit(
        self,
        *,
        method: RegimeMethod = "auto",
        k_range: Sequence[int] = (2, 6),
        min_cluster_size: int | None = None,
        min_samples: int | None = None,
        max_fit_rows: int = 8_000,
        n_components: int | None = None,
        distance_percentile: float = 99.0,
        reg_covar: float = 1e-4,
        scale: Scale = "standard",
        seed: int = 42,
        min_present: float = 1.0,
        strict: bool = True,
    ) -> pl.Expr:
        """Operating regimes of all columns. See :func:`acm_rs.regime_fit`."""
        return regimes.regime_fit(
            self._expr,
            method=method,
            k_range=k_range,
            min_cluster_size=min_cluster_size,
            min_samples=min_samples,
            max_fit_rows=max_fit_rows,
            n_components=n_components,
            distance_percentile=distance_percentile,
            reg_covar=reg_covar,
            scale=scale,
            seed=seed,
            min_present=min_present,
            strict=strict,
        )

    def regime_predict(
        self,
        model: IntoFitted,
        *,
        novel: Literal["flag", "unknown"] = "flag",
        by: str | pl.Expr | None = None,
        on_unknown: OnUnknown = "null",
    ) -> pl.Expr:
        """Regime of each row, how sure it is, and whether it is in none. See :func:`acm_rs.regime_predict`."""
        return regimes.regime_predict(self._expr, model, novel=novel, by=by, on_unknown=on_unknown)

    def smooth_labels(
        self,
        window_size: WindowSize = 7,
        *,
        passes: int = 1,
        preserve_unknown: bool = True,
        health: Health = None,
        by: IntoTime = None,
    ) -> pl.Expr:
        """Most frequent label of the window about each row. See :func:`acm_rs.smooth_labels`."""
        return regimes.smooth_labels(
            self._expr, window_size, passes=passes, preserve_unknown=preserve_unknown, health=health, by=by
        )

    def smooth_transitions(self, min_dwell: WindowSize, *, health: Health = None, by: IntoTime = None) -> pl.Expr:
        """Labels without short visits. See :func:`acm_rs.smooth_transitions`."""
        return regimes.smooth_transitions(self._expr, min_dwell, health=health, by=by)

    def transient_states(
        self,
        labels: str | pl.Expr | None = None,
        *,
        window_size: int = 5,
        high: float = 3.0,
        trip: float = 5.0,
        lag: int = 3,
        weights: Mapping[str, float] | None = None,
    ) -> pl.Expr:
        """Steady, transient, startup, shutdown or trip. See :func:`acm_rs.transient_states`."""
        return regimes.transient_states(
            self._expr, labels, window_size=window_size, high=high, trip=trip, lag=lag, weights=weights
        )


if TYPE_CHECKING:

    class AcmExpr(pl.Expr):
        """An expression of which type checkers know the namespace; Polars has no way to declare one."""

        @property
        def acm(self) -> AcmNamespace: ...

    class _Col(Protocol):
        def __call__(self, name: Any, *more_names: Any) -> AcmExpr: ...

        def __getattr__(self, name: str) -> AcmExpr: ...


# `pl.col`, typed: `acm.col("x").acm.rolling_mad(16)` passes a type checker
col = cast("_Col", pl.col)
