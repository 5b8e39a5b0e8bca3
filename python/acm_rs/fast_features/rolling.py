"""ACM's rolling functions and its builder of basic features."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

import polars as pl

from acm_rs import _checks, features
from acm_rs.fast_features._frames import Columns, ReturnType, measured, read, unnested, write
from acm_rs.features.rolling import NORMAL_SCALE, Bands, Feature, packed_features

if TYPE_CHECKING:
    import pandas as pd

FillValues: TypeAlias = "Mapping[Any, float | None] | pd.Series[float] | pl.DataFrame | None"
Frame = TypeVar("Frame", bound="pl.DataFrame | pl.LazyFrame | pd.DataFrame")

# ACM divides by 1.4826 * max(MAD, EPSILON) + EPSILON. A floor of this size gives its score where the MAD is 0;
# elsewhere the second EPSILON is left out, which changes a score by less than 1e-9 / MAD of itself.
EPSILON = 1e-9
SCALE_FLOOR = NORMAL_SCALE * EPSILON + EPSILON

SKEW_CLIP = 100.0
KURT_CLIP = 1000.0


def rolling_median(
    df: Any, window: int, cols: Columns = None, min_periods: int = 1, return_type: ReturnType = None
) -> Any:
    """Trailing medians: columns ``{c}_med``.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 1.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64; missing where fewer than `min_periods` readings are present.
    """
    return _rolling("rolling_median", df, window, cols, min_periods, return_type, ["med"])


def rolling_mad(
    df: Any, window: int, cols: Columns = None, min_periods: int = 1, return_type: ReturnType = None
) -> Any:
    """Trailing median absolute deviations, not scaled: columns ``{c}_mad``.

    Exact, as on ACM's pandas path; its Polars path gives the median of deviations from a running median.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 1.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64; missing where fewer than `min_periods` readings are present.
    """
    return _rolling("rolling_mad", df, window, cols, min_periods, return_type, ["mad"])


def rolling_mean_std(
    df: Any, window: int, cols: Columns = None, min_periods: int = 1, return_type: ReturnType = None
) -> Any:
    """Trailing means and sample standard deviations: all columns ``{c}_mean``, then all ``{c}_std``.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 1.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64; missing where fewer than `min_periods` readings are present, a deviation also where fewer than 2 are.
    """
    return _rolling("rolling_mean_std", df, window, cols, min_periods, return_type, ["mean", "std"])


def rolling_skew_kurt(
    df: Any,
    window: int,
    cols: Columns = None,
    min_periods: int = 1,
    *,
    skew_clip: float = SKEW_CLIP,
    kurt_clip: float = KURT_CLIP,
    return_type: ReturnType = None,
) -> Any:
    """Trailing skewness ``G1`` and kurtosis ``G2``: all columns ``{c}_skew``, then all ``{c}_kurt``.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 1.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.
    skew_clip : float
        Limit of the skewness, above 0; default 100.
    kurt_clip : float
        Limit of the kurtosis, above 0; default 1000.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64; missing where fewer than `min_periods` readings (and 3 for the skewness, 4 for the kurtosis) are
        present, and where all of them are equal.
    """
    limits = {
        "skew": _checks.number("rolling_skew_kurt", "skew_clip", skew_clip, positive=True),
        "kurt": _checks.number("rolling_skew_kurt", "kurt_clip", kurt_clip, positive=True),
    }
    return _rolling("rolling_skew_kurt", df, window, cols, min_periods, return_type, ["skew", "kurt"], limits=limits)


def rolling_ols_slope(
    df: Any, window: int, cols: Columns = None, min_periods: int = 1, return_type: ReturnType = None
) -> Any:
    """Trailing least-squares slopes per row: columns ``{c}_slope``.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 1.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64; 0.0 where fewer than `min_periods` or 2 readings are present.
    """
    return _rolling("rolling_ols_slope", df, window, cols, min_periods, return_type, ["slope"], fill_null=0.0)


def rolling_spectral_energy(
    df: Any,
    window: int,
    cols: Columns = None,
    *,
    bands: Bands = None,
    fs: float = 1.0,
    min_periods: int = 1,
    method: Literal["auto", "fft", "goertzel"] = "auto",
    return_type: ReturnType = None,
) -> Any:
    """Energies of the trailing windows in frequency bands: per sensor ``{c}_energy_0``, ``{c}_energy_1``, ...

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 2.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    bands : sequence of pairs or None
        Bands ``(low, high)`` in Hz, upper edges exclusive; default None: up to 0.1, 0.3 and 1 times ``fs / 2``.
    fs : float
        Rows per second, above 0; default 1.
    min_periods : int
        Readings that must be present, 1 to `window`; default 1.
    method : "auto", "fft" or "goertzel"
        Accepted as in ACM, without effect: its methods are two ways to one number.
    return_type : "pandas", "polars" or None
        Kind of the result; default None: that of `df`.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64; 0.0 where fewer than `min_periods` or ``window // 2`` readings are present. No columns if the whole
        frame has fewer than ``window // 2`` rows; of a lazy frame that is not known, and it gives 0.0.

    Notes
    -----
    Missing readings are replaced by the mean of the window. Definition: `acm_rs.rolling_spectral_energy`.
    """
    operation = "rolling_spectral_energy"
    if method not in ("auto", "fft", "goertzel"):
        raise _checks.invalid(operation, "method", '"auto", "fft" or "goertzel"', method)
    window = _checks.rows_only(operation, "window", window, least=2)
    min_periods = _checks.min_samples(operation, min_periods, window, None, name="min_periods", window_name="window")
    frame, names = read(df, cols)
    packed = features.rolling_spectral_energy(
        names, window, bands=bands, sampling_hz=fs, min_samples=max(min_periods, 2, window // 2)
    )
    with measured(operation, frame, names):
        energies = unnested(frame, packed).fill_null(0.0)
    return write(energies.select() if _is_short(frame, window) else energies, df, return_type)


@overload
def compute_basic_features(
    df: Frame, window: int = 3, cols: Columns = None, fill_values: FillValues = None
) -> Frame: ...
@overload
def compute_basic_features(df: Any, window: int = 3, cols: Columns = None, fill_values: FillValues = None) -> Any: ...
def compute_basic_features(df: Any, window: int = 3, cols: Columns = None, fill_values: FillValues = None) -> Any:
    """ACM's eleven basic features of every sensor.

    Missing readings are filled; then all ``{c}_med``, all ``{c}_mad``, ``_mean``, ``_std``, ``_slope``, ``_skew``,
    ``_kurt``, the energies ``{c}_energy_0`` to ``{c}_energy_2`` sensor by sensor, and all ``{c}_rz`` are computed in
    one call.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 1; default 3, as in ACM's code (its shipped configuration sets 16).
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    fill_values : mapping, pandas Series, one-row Polars frame or None
        What replaces missing readings, per column: as a rule the medians of the training data. **Default None: the
        median of the whole column, which looks ahead**, as ACM does; do not use it for scoring. Given, it should hold a
        finite number for every column: one that it lacks, or for which it holds None, NaN or infinity, gets the median
        of the whole column too, and a UserWarning names it. Numbers for other columns are not used.

    Returns
    -------
    pandas, Polars or lazy frame
        Float64 without missing values: 0.0 where a feature cannot be computed. A frame of fewer than ``window // 2``
        rows has no energy columns; of a lazy frame that is not known, and it has them, 0.0.

    Notes
    -----
    The scale of ``{c}_rz`` has ACM's floor of 1e-9, up to a relative difference of 1e-9 / MAD; scores end at plus or
    minus 100. Skewness and kurtosis end at 100 and 1000. Filling a clean frame costs one look at every reading; only
    columns with missing readings are copied.
    """
    return write(_basic_features("compute_basic_features", df, window, cols, fill_values), df, None)


@overload
def compute_basic_features_pl(
    df: pl.LazyFrame, window: int = 3, cols: Columns = None, fill_values: FillValues = None
) -> pl.LazyFrame: ...
@overload
def compute_basic_features_pl(
    df: Any, window: int = 3, cols: Columns = None, fill_values: FillValues = None
) -> pl.DataFrame: ...
def compute_basic_features_pl(df: Any, window: int = 3, cols: Columns = None, fill_values: FillValues = None) -> Any:
    """`compute_basic_features` with a Polars frame as its result, lazy for a lazy one.

    ACM's function of this name has other columns and statistics than its pandas one; here they are the same.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Sensors in columns.
    window : int
        Rows, at least 1; default 3.
    cols : str, list of str or None
        Columns to use; default None: all numeric ones.
    fill_values : mapping, pandas Series, one-row Polars frame or None
        What replaces missing readings; default None: the median of the whole column, which looks ahead.

    Returns
    -------
    DataFrame or LazyFrame
        As `compute_basic_features`.
    """
    return _basic_features("compute_basic_features_pl", df, window, cols, fill_values)


def _rolling(
    name: str,
    df: Any,
    window: int,
    cols: Columns,
    min_periods: int,
    return_type: ReturnType,
    wanted: Sequence[Feature],
    *,
    limits: Mapping[str, float] | None = None,
    fill_null: float | None = None,
) -> Any:
    """Columns `{c}_{suffix}` in one call: all of the first feature, then all of the next."""
    window = _checks.rows_only(name, "window", window)
    min_periods = _checks.min_samples(name, min_periods, window, None, name="min_periods", window_name="window")
    frame, names = read(df, cols)
    packed = packed_features(
        names, window, features=wanted, min_samples=min_periods, fill_null=fill_null, order="feature"
    )
    with measured(name, frame, names):
        result = unnested(frame, packed)
        return write(_limited(result, names, window, limits or {}), df, return_type)


def _limited(
    result: pl.DataFrame | pl.LazyFrame, names: Sequence[str], window: int, limits: Mapping[str, float]
) -> pl.DataFrame | pl.LazyFrame:
    """Skewness and kurtosis within their limits: `|G1| <= sqrt(n)` and `-6 <= G2 <= n` hold without them."""
    reach = {"skew": math.sqrt(window), "kurt": max(window, 6)}
    for suffix, limit in limits.items():
        if limit < reach[suffix]:
            result = result.with_columns(pl.col(f"{name}_{suffix}").clip(-limit, limit) for name in names)
    return result


def _basic_features(
    name: str, df: Any, window: int, cols: Columns, fill_values: FillValues
) -> pl.DataFrame | pl.LazyFrame:
    window = _checks.rows_only(name, "window", window)
    frame, names = read(df, cols)
    given = _given(fill_values, names)
    packed = packed_features(names, window, scale_floor=SCALE_FLOOR, fill_null=0.0, order="feature")
    with measured(name, frame, names):
        result = unnested(_fill(frame, given), packed)
    result = _limited(result, names, window, {"skew": SKEW_CLIP, "kurt": KURT_CLIP})
    if _is_short(frame, window):
        bands = range(len(_checks.DEFAULT_BANDS))
        result = result.drop(f"{name}_energy_{band}" for name in names for band in bands)
    return result


def _given(fill_values: FillValues, names: Sequence[str]) -> dict[str, float]:
    """Return the finite fill values by column; any other column gets its own median, and a warning."""
    operation = "compute_basic_features"
    if fill_values is None:
        return {}
    if isinstance(fill_values, pl.DataFrame):
        if fill_values.height != 1:
            raise _checks.invalid(operation, "fill_values", "a frame of one row", fill_values)
        values: Mapping[Any, Any] = fill_values.row(0, named=True)
    elif isinstance(fill_values, Mapping):
        values = fill_values
    elif _checks.is_a(fill_values, "pandas", "Series"):
        values = fill_values.astype("float64").to_dict()  # pandas.NA becomes NaN
    else:
        allowed = "a mapping from column to value, a pandas Series, a one-row polars DataFrame or None"
        raise _checks.mistyped(operation, "fill_values", allowed, fill_values)
    numbers = {}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (Real, Decimal, type(None))):
            raise _checks.mistyped(operation, f"fill_values[{name!r}]", "a number or None", value)
        if value is not None and math.isfinite(value):
            numbers[str(name)] = float(value)
    if absent := [name for name in names if name not in numbers]:
        warnings.warn(
            f"acm.{operation}: `fill_values` has no finite number for {_checks.shown(absent)}: their missing readings "
            "get the median of the whole column, which looks ahead",
            UserWarning,
            stacklevel=4,
        )
    return numbers


def _fill(frame: pl.DataFrame | pl.LazyFrame, given: dict[str, float]) -> pl.DataFrame | pl.LazyFrame:
    """Replace missing readings by the given value of the column, or by its median."""
    if isinstance(frame, pl.DataFrame):
        return _fill_eager(frame, given)
    schema = frame.collect_schema()
    names = _floats(schema)
    if all(name in given for name in names):
        return frame.with_columns(_filled(name, given) for name in names)
    # As expressions, the medians of 50 columns are over 100 nodes which the streaming engine runs one after another:
    # 18 ms for 10,000 rows, against 1 ms in one step. Nothing may be pushed below it: a median needs all rows.
    return frame.map_batches(
        partial(_fill_eager, given=given),
        predicate_pushdown=False,
        projection_pushdown=False,
        slice_pushdown=False,
        schema=schema,
    )


def _fill_eager(frame: pl.DataFrame, given: dict[str, float]) -> pl.DataFrame:
    """Look first, then fill: a clean column is neither copied nor searched for its median."""
    finite = frame.select(pl.col(_floats(frame.schema)).is_finite().all(ignore_nulls=False))
    return frame.with_columns(_filled(column.name, given) for column in finite if column.item() is not True)


def _floats(schema: pl.Schema) -> list[str]:
    return [name for name, dtype in schema.items() if dtype == pl.Float64]


def _filled(name: str, given: dict[str, float]) -> pl.Expr:
    """Replace what is missing in one column. Polars takes a median eight times faster when nulls are filtered out."""
    column = pl.col(name)
    value = pl.lit(given[name]) if name in given else column.filter(column.is_finite()).median()
    return pl.when(column.is_finite()).then(column).otherwise(value)


def _is_short(frame: pl.DataFrame | pl.LazyFrame, window: int) -> bool:
    """Whether the frame has too few rows for ACM to give it energies; of a lazy frame that is not known."""
    return isinstance(frame, pl.DataFrame) and frame.height < window // 2
