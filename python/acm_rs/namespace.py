"""The expression namespace `acm`: every function of `acm_rs.features` as a method of an expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import polars as pl

from acm_rs import features
from acm_rs.features.correlation import Method, Reduce
from acm_rs.features.rolling import Bands, IntoTime, WindowSize

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
        min_samples: int = 1,
        bands: Bands = None,
        sampling_hz: float = 1.0,
        clip: float = 100.0,
        scale_floor: float = 0.0,
        by: IntoTime = None,
    ) -> pl.Expr:
        """All features of the trailing window in one pass. See :func:`acm_rs.rolling_features`."""
        return features.rolling_features(
            self._expr,
            window_size,
            min_samples=min_samples,
            bands=bands,
            sampling_hz=sampling_hz,
            clip=clip,
            scale_floor=scale_floor,
            by=by,
        )

    def rolling_corr(self, other: str | pl.Expr, window_size: int, *, lag: int = 0, min_samples: int = 2) -> pl.Expr:
        """Correlation with another column in the trailing window. See :func:`acm_rs.rolling_corr`."""
        return features.rolling_corr(self._expr, other, window_size, lag=lag, min_samples=min_samples)

    def pairwise_lag_corr(
        self,
        max_lag: int,
        window_size: int,
        *,
        min_samples: int = 2,
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
