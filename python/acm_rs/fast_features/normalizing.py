"""Readings in units of their usual spread: that of the regime where the regime is sure, else that of the machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from acm_rs import _checks
from acm_rs._telemetry import span
from acm_rs.fast_features._frames import Columns, read, write
from acm_rs.features.scaling import robust_scale, robust_scale_fit

LOGGER = logging.getLogger("acm_rs")

EPSILON = 1e-10  # ACM's scale where readings have none
THRESHOLD = 0.7  # ACM's least confidence

# Names of helping columns, which no sensor has.
LABEL, CONFIDENCE, PACKED = "acm_rs:label", "acm_rs:confidence", "acm_rs:scaled"
STATISTICS = ("center", "scale", "p05", "p95")
# what Polars 2 takes for granted, the last 1.x want to be told
_POLARS = tuple(int(part) for part in pl.__version__.split(".")[:2])
EQUAL_HEIGHTS: dict[str, Any] = {"strict": True} if (1, 42) <= _POLARS < (2, 0) else {}

Table = dict[str, dict[str, float | None]]


class Normalized(NamedTuple):
    """What a confidence-gated normalisation gives.

    Attributes
    ----------
    z : pandas, Polars or lazy frame
        Normalised readings, Float64, under the names of the columns; null (NaN in pandas) where missing.
    method_used : Series or lazy frame
        For each row ``"global"`` or ``"regime_{label}"``: whose statistics were used.
    confidence : Series or lazy frame
        For each row its confidence, Float64; 0 where missing.
    label : Series or lazy frame
        For each row its label, Int64; -1 where missing.

    Notes
    -----
    The last three are pandas Series with the index of the frame for a pandas frame, Polars Series for a Polars frame
    or an array, and lazy frames of one column for a lazy frame.
    """

    z: Any
    method_used: Any
    confidence: Any
    label: Any


class ConfidenceGatedNormalizer:
    """Robust z of readings, by the statistics of a regime only where the regime is sure.

    ``(x - center) / scale`` with ``center`` the median and ``scale = 1.4826 * median(|x - median(x)|)``.

    Parameters
    ----------
    confidence_threshold : float
        Least confidence with which a row uses its regime's statistics, at least 0; default 0.7, as in ACM.
    min_regime_samples : int
        Least number of rows of a regime that gets statistics of its own, at least 1; default 50, as in ACM.
    epsilon : float
        Scale of a column whose scale is exactly 0 or which has no reading, above 0, in the column's unit; default
        1e-10, as in ACM. Readings of such a column off its center get a z of up to 1e10 and more.

    Notes
    -----
    Null, NaN and infinity are missing. A column without any reading in what was fitted has no center, so that z is
    missing. A column that is not numeric is an error (in ACM it becomes NaN).

    Examples
    --------
    >>> import polars as pl
    >>> from acm_rs.fast_features import ConfidenceGatedNormalizer
    >>> normalizer = ConfidenceGatedNormalizer(min_regime_samples=3)
    >>> normalizer = normalizer.fit_global(pl.DataFrame({"x": [1.0, 2.0, 4.0, 50.0, 60.0, 90.0]}))
    >>> normalizer = normalizer.fit_regime(1, pl.DataFrame({"x": [50.0, 60.0, 90.0]}))
    >>> result = normalizer.normalize(pl.DataFrame({"x": [60.0, 60.0]}), [1, 1], [0.9, 0.2])
    >>> result.z.with_columns(result.method_used, pl.col("x").round(3))
    shape: (2, 2)
    ┌───────┬─────────────┐
    │ x     ┆ method_used │
    │ ---   ┆ ---         │
    │ f64   ┆ str         │
    ╞═══════╪═════════════╡
    │ 0.0   ┆ regime_1    │
    │ 0.873 ┆ global      │
    └───────┴─────────────┘
    """

    def __init__(
        self,
        confidence_threshold: float = THRESHOLD,
        min_regime_samples: int = 50,
        epsilon: float = EPSILON,
    ) -> None:
        operation = "ConfidenceGatedNormalizer"
        self.confidence_threshold = _checks.number(
            operation, "confidence_threshold", confidence_threshold, positive=False
        )
        self.min_regime_samples = _checks.integer(operation, "min_regime_samples", min_regime_samples, 1)
        self.epsilon = _checks.number(operation, "epsilon", epsilon, positive=True)
        self.columns: list[str] = []
        self.global_rows = 0
        self.global_statistics: Table = {}
        self.regime_rows: dict[int, int] = {}
        self.regime_statistics: dict[int, Table] = {}

    def fit_global(self, df: Any, cols: Columns = None) -> ConfidenceGatedNormalizer:
        """Learn the statistics of the whole machine, and forget those of all regimes.

        Parameters
        ----------
        df : pandas, Polars or lazy frame, or 2-D array
            Training data, at least one row. Of a lazy frame only the statistics are collected.
        cols : str, sequence of str or None
            Numeric columns; default None: all numeric ones.

        Returns
        -------
        ConfidenceGatedNormalizer
            Itself. ``global_statistics`` has center, scale, p05 and p95 of every column, ``global_rows`` the rows.
        """
        operation = "fit_global"
        if isinstance(cols, (list, tuple)) and len(set(cols)) < len(cols):
            raise _checks.invalid(operation, "cols", "names without doubles", cols)
        frame, names = read(df, cols)
        rows, table = self._fit(operation, frame, names)
        if rows == 0:
            raise _checks.invalid(operation, "df", "a frame with at least one row", names)
        self.columns, self.global_rows, self.global_statistics = names, rows, table
        self.regime_rows, self.regime_statistics = {}, {}
        return self

    def fit_regime(self, label: int, df: Any) -> ConfidenceGatedNormalizer:
        """Learn the statistics of one regime, if it has enough rows; `fit_global` comes first.

        Parameters
        ----------
        label : int
            The regime's label, at least 0.
        df : pandas, Polars or lazy frame, or 2-D array
            The regime's rows, with all columns of `fit_global`. With fewer rows than `min_regime_samples` nothing is
            learned (logged as ``acm_rs``), and what was known of the regime stays.

        Returns
        -------
        ConfidenceGatedNormalizer
            Itself. ``regime_statistics[label]`` has center, scale, p05 and p95 of every column.
        """
        operation = "fit_regime"
        key = _checks.integer(operation, "label", label, 0)
        self._check_fitted(operation)
        frame = _chosen(operation, df, self.columns)
        rows, table = self._fit(operation, frame, self.columns)
        if rows < self.min_regime_samples:
            LOGGER.info("%s: regime %d has %d rows, too few (%d)", operation, key, rows, self.min_regime_samples)
            return self
        self.regime_rows[key], self.regime_statistics[key] = rows, table
        return self

    def normalize(self, df: Any, labels: Any, confidence: Any) -> Normalized:
        """Normalise readings.

        Parameters
        ----------
        df : pandas, Polars or lazy frame, or 2-D array
            Readings, with all columns of `fit_global`.
        labels : str, Series, array or sequence of int
            Regime of each row, or the column of `df` that holds it: whole numbers. Missing: -1, no regime. A pandas
            Series must have the index of a pandas `df`.
        confidence : str, Series, array or sequence of float
            How sure the regime of each row is, or the column of `df` that holds it. Missing: 0.

        Returns
        -------
        Normalized
            ``z``, ``method_used``, ``confidence``, ``label``. A row uses its regime's statistics if its confidence is
            at least `confidence_threshold`, its label at least 0, and the regime has statistics; else the global ones.

        Notes
        -----
        z is not clipped. Of a lazy frame nothing is collected if `labels` and `confidence` name columns (labels of an
        integer type); if one of them is values, the number of rows is, to compare it with theirs.
        """
        operation = "normalize"
        self._check_fitted(operation)
        return _gated(
            operation,
            df,
            labels,
            confidence,
            self.columns,
            self.global_statistics,
            self.regime_statistics,
            self.confidence_threshold,
            0.0,
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings and statistics, of types that JSON has; what is undefined is None.

        Returns
        -------
        dict
            For `from_dict`.
        """
        return {
            "confidence_threshold": self.confidence_threshold,
            "min_regime_samples": self.min_regime_samples,
            "epsilon": self.epsilon,
            "columns": list(self.columns),
            "global": {"rows": self.global_rows, "statistics": _copy(self.global_statistics)},
            "regimes": {
                str(label): {"rows": self.regime_rows[label], "statistics": _copy(table)}
                for label, table in self.regime_statistics.items()
            },
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ConfidenceGatedNormalizer:
        """Make a normaliser from what `to_dict` gave.

        Parameters
        ----------
        state : mapping
            What `to_dict` gave, also by way of JSON.

        Returns
        -------
        ConfidenceGatedNormalizer
            One that normalises as the first did.
        """
        operation = "from_dict"
        if not isinstance(state, Mapping):
            raise _checks.mistyped(operation, "state", "a dict that `to_dict` made", state)
        parts = ("confidence_threshold", "min_regime_samples", "epsilon", "columns", "global", "regimes")
        if absent := [part for part in parts if part not in state]:
            raise _checks.invalid(operation, "state", f"a dict that `to_dict` made, also with {absent}", list(state))
        result = cls(state["confidence_threshold"], state["min_regime_samples"], state["epsilon"])
        if not state["columns"]:
            return result
        result.columns = _checks.names(operation, "columns", state["columns"])
        result.global_rows, result.global_statistics = _entry(operation, "global", state["global"], result.columns)
        if not isinstance(state["regimes"], Mapping):
            raise _checks.mistyped(operation, "regimes", "a dict from label to statistics", state["regimes"])
        for text, entry in state["regimes"].items():
            if not str(text).isdecimal():
                raise _checks.invalid(operation, "regimes", "a dict whose keys are labels of at least 0", text)
            label = int(text)
            rows, table = _entry(operation, f"regimes[{label}]", entry, result.columns)
            result.regime_rows[label], result.regime_statistics[label] = rows, table
        return result

    def _check_fitted(self, operation: str) -> None:
        if not self.columns:
            raise ValueError(f"acm.{operation}: the normaliser knows no statistics yet; call `fit_global` first")

    def _fit(self, operation: str, frame: pl.DataFrame | pl.LazyFrame, names: list[str]) -> tuple[int, Table]:
        wanted = (robust_scale_fit(names).alias(PACKED), pl.len().alias("rows"))
        if isinstance(frame, pl.LazyFrame):
            row = frame.select(*wanted).collect().row(0, named=True)
        else:
            with span("fit", operation, rows=frame.height, columns=len(names)):
                row = frame.select(*wanted).row(0, named=True)
        fitted = row[PACKED] or {}
        table: Table = {}
        for name in names:
            known = fitted.get(name) or {}
            table[name] = {key: known.get(key) for key in STATISTICS}
            table[name]["scale"] = table[name]["scale"] or self.epsilon  # 0 or undefined
        return row["rows"], table


def normalize_with_confidence_gating(
    df: Any,
    labels: Any,
    confidence: Any,
    global_means: Mapping[str, float],
    global_stds: Mapping[str, float],
    regime_means: Mapping[int, Mapping[str, float]] | None = None,
    regime_stds: Mapping[int, Mapping[str, float]] | None = None,
    confidence_threshold: float = THRESHOLD,
) -> Normalized:
    """Normalise readings by given means and standard deviations, those of a regime only where it is sure.

    Parameters
    ----------
    df : pandas, Polars or lazy frame, or 2-D array
        Readings, with all columns of `global_means`; these are normalised.
    labels : str, Series, array or sequence of int
        Regime of each row, as in `ConfidenceGatedNormalizer.normalize`.
    confidence : str, Series, array or sequence of float
        How sure the regime of each row is, as there.
    global_means : mapping from column to float
        Mean of every column, in its unit.
    global_stds : mapping from column to float
        Standard deviation of every column, in its unit; below 1e-10 it counts as 1e-10, as in ACM.
    regime_means : mapping from label to such a mapping, or None
        Means of the regimes; a label without means uses the global statistics. Default None: no regime.
    regime_stds : mapping from label to such a mapping, or None
        Deviations of the regimes; a regime that has none uses the global ones. Default None: all do. Those of a label
        without means are not used.
    confidence_threshold : float
        Least confidence with which a row uses its regime's statistics, at least 0; default 0.7, as in ACM.

    Returns
    -------
    Normalized
        ``z``, ``method_used``, ``confidence``, ``label``.

    Examples
    --------
    >>> import polars as pl
    >>> from acm_rs.fast_features import normalize_with_confidence_gating
    >>> df = pl.DataFrame({"x": [6.0, 6.0]})
    >>> result = normalize_with_confidence_gating(df, [3, 3], [0.9, 0.1], {"x": 2.0}, {"x": 4.0}, {3: {"x": 5.0}})
    >>> result.z.with_columns(result.method_used)
    shape: (2, 2)
    ┌──────┬─────────────┐
    │ x    ┆ method_used │
    │ ---  ┆ ---         │
    │ f64  ┆ str         │
    ╞══════╪═════════════╡
    │ 0.25 ┆ regime_3    │
    │ 1.0  ┆ global      │
    └──────┴─────────────┘
    """
    operation = "normalize_with_confidence_gating"
    threshold = _checks.number(operation, "confidence_threshold", confidence_threshold, positive=False)
    if not isinstance(global_means, Mapping):
        raise _checks.mistyped(operation, "global_means", "a dict from column to number", global_means)
    names = _checks.names(operation, "global_means", list(global_means))
    means = _numbers(operation, "global_means", global_means, names, deviations=False)
    stds = _numbers(operation, "global_stds", global_stds, names, deviations=True)
    regimes = {}
    deviations = _by_label(operation, "regime_stds", regime_stds)
    for label, given in _by_label(operation, "regime_means", regime_means).items():
        own = _numbers(operation, f"regime_means[{label}]", given, names, deviations=False)
        spread = stds
        if label in deviations:
            spread = _numbers(operation, f"regime_stds[{label}]", deviations[label], names, deviations=True)
        regimes[label] = _table(own, spread)
    return _gated(operation, df, labels, confidence, names, _table(means, stds), regimes, threshold, EPSILON)


def _table(centers: dict[str, float], scales: dict[str, float]) -> Table:
    return {name: {"center": centers[name], "scale": scales[name]} for name in centers}


def _copy(table: Table) -> Table:
    return {name: dict(values) for name, values in table.items()}


def _numbers(operation: str, parameter: str, given: object, names: list[str], *, deviations: bool) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise _checks.mistyped(operation, parameter, "a dict from column to number", given)
    if absent := [name for name in names if name not in given]:
        raise _checks.invalid(operation, parameter, f"a dict with all columns, also {absent}", list(given))
    if deviations:
        return {n: _checks.number(operation, f"{parameter}[{n!r}]", given[n], positive=False) for n in names}
    return {n: _checks.finite(operation, f"{parameter}[{n!r}]", given[n]) for n in names}


def _by_label(operation: str, parameter: str, given: object) -> dict[int, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _checks.mistyped(operation, parameter, "a dict from label to a dict, or None", given)
    return {_checks.integer(operation, f"{parameter} key", label, 0): part for label, part in given.items()}


def _entry(operation: str, parameter: str, entry: Any, names: list[str]) -> tuple[int, Table]:
    allowed = "rows and statistics of all columns, as `to_dict` gives them"
    if not isinstance(entry, Mapping) or not {"rows", "statistics"} <= set(entry):
        raise _checks.invalid(operation, parameter, allowed, entry)
    tables = entry["statistics"]
    if not isinstance(tables, Mapping) or set(tables) != set(names):
        raise _checks.invalid(operation, parameter, allowed, tables)
    result: Table = {}
    for name in names:
        if not isinstance(tables[name], Mapping) or not set(STATISTICS) <= set(tables[name]):
            raise _checks.invalid(operation, parameter, allowed, tables[name])
        values: dict[str, float | None] = {}
        for key in STATISTICS:
            value, where = tables[name][key], f"{parameter} {name!r} {key}"
            if key == "scale":
                values[key] = _checks.number(operation, where, value, positive=True)
            else:
                values[key] = None if value is None else _checks.finite(operation, where, value)
        result[name] = values
    return _checks.integer(operation, f"{parameter} rows", entry["rows"], 1), result


def _chosen(operation: str, df: Any, names: list[str]) -> pl.DataFrame | pl.LazyFrame:
    """Columns of these names, as Float64."""
    if _checks.is_a(df, "pandas", "DataFrame"):
        labels = {str(label): label for label in df.columns}  # pandas labels may be numbers
        known: Sequence[str] = list(labels)
        wanted: Any = [labels.get(name) for name in names]
    elif _checks.is_a(df, "numpy", "ndarray") and df.ndim == 2:
        known, wanted = [str(index) for index in range(df.shape[1])], names
    elif isinstance(df, (pl.DataFrame, pl.LazyFrame)):
        known, wanted = df.collect_schema().names(), names
    else:
        raise _checks.mistyped(operation, "df", "a pandas, Polars or lazy frame or a 2-D NumPy array", df)
    if absent := [name for name in names if name not in known]:
        raise _checks.invalid(operation, "df", f"a frame with all fitted columns, also {absent}", list(known))
    return read(df, wanted)[0]


def _gated(
    operation: str,
    df: Any,
    labels: Any,
    confidence: Any,
    names: list[str],
    whole: Table,
    regimes: dict[int, Table],
    threshold: float,
    floor: float,
) -> Normalized:
    frame = _chosen(operation, df, names)
    if isinstance(frame, pl.LazyFrame):
        frame = _joined_lazy(operation, df, frame, names, labels, confidence)
    else:
        frame = frame.with_columns(
            _label_values(operation, _values(operation, "labels", labels, df, frame.height)).alias(LABEL),
            _float_values(operation, _values(operation, "confidence", confidence, df, frame.height)).alias(CONFIDENCE),
        )
    label = pl.col(LABEL).fill_null(-1)
    sure = pl.when(pl.col(CONFIDENCE).is_finite()).then(pl.col(CONFIDENCE)).otherwise(0.0)
    frame = frame.with_columns(label, sure)
    dtype = pl.Struct({name: pl.Struct({"center": pl.Float64, "scale": pl.Float64}) for name in names})
    default = pl.Series("model", [_model(whole)], dtype=dtype)
    if regimes:
        keys = pl.Series("label", list(regimes), dtype=pl.Int64)
        fleet = pl.DataFrame([keys, pl.Series("model", [_model(table) for table in regimes.values()], dtype=dtype)])
        scaled = robust_scale(
            names,
            fleet,
            scale_floor=floor,
            by=LABEL,
            default=default,
            confidence=CONFIDENCE,
            min_confidence=threshold,
        )
        own = (pl.col(CONFIDENCE) >= threshold) & pl.col(LABEL).is_in(list(regimes))
        method = pl.when(own).then(pl.format("regime_{}", pl.col(LABEL))).otherwise(pl.lit("global"))
    else:
        scaled = robust_scale(names, default, scale_floor=floor)
        # one for each row, also where there is none
        method = pl.when(pl.col(LABEL).is_null()).then(None).otherwise(pl.lit("global"))
    parts = (method.alias("method_used"), pl.col(CONFIDENCE).alias("confidence"), pl.col(LABEL).alias("label"))
    if isinstance(frame, pl.LazyFrame):
        return Normalized(frame.select(scaled.alias(PACKED)).unnest(PACKED), *(frame.select(part) for part in parts))
    with span("score", operation, rows=frame.height, columns=len(names)):
        z = frame.select(scaled.alias(PACKED)).unnest(PACKED)
    series = frame.select(parts).get_columns()
    if not _checks.is_a(df, "pandas", "DataFrame"):
        return Normalized(z, *series)
    import pandas as pd

    of_pandas = (
        pd.Series(part.to_list(), index=df.index, name=part.name, dtype=kind)
        for part, kind in zip(series, ("object", "float64", "int64"), strict=True)
    )
    return Normalized(write(z, df, None), *of_pandas)


def _model(table: Table) -> dict[str, dict[str, float | None]]:
    return {name: {"center": values["center"], "scale": values["scale"]} for name, values in table.items()}


def _joined_lazy(
    operation: str, df: pl.LazyFrame, frame: pl.LazyFrame, names: list[str], labels: Any, confidence: Any
) -> pl.LazyFrame:
    """Put labels and confidences beside the readings; only values, of which there may be too few, need the rows."""
    schema = df.collect_schema()
    named, values = [], []
    height = None
    for parameter, given, alias in (("labels", labels, LABEL), ("confidence", confidence, CONFIDENCE)):
        if isinstance(given, str):
            if given not in schema:
                raise _checks.invalid(operation, parameter, f"one of the columns {schema.names()}", given)
            dtype = schema[given]
            if not (dtype.is_integer() if parameter == "labels" else dtype.is_numeric()):
                allowed = f"a column of {'an integer' if parameter == 'labels' else 'a numeric'} type, not {dtype}"
                raise _checks.invalid(operation, parameter, allowed, given)
            named.append(pl.col(given).cast(pl.Int64 if parameter == "labels" else pl.Float64).alias(alias))
        else:
            if height is None:
                height = int(df.select(pl.len()).collect().item())
            series = _values(operation, parameter, given, df, height)
            convert = _label_values if parameter == "labels" else _float_values
            values.append(convert(operation, series).alias(alias))
    if named:
        # text is not cast: the plugin refuses it by name
        readings = (pl.col(name).cast(pl.Float64) if schema[name].is_numeric() else pl.col(name) for name in names)
        frame = df.select(*readings, *named)
    if values:
        frame = pl.concat([frame, pl.DataFrame(values).lazy()], how="horizontal", **EQUAL_HEIGHTS)
    return frame


def _values(operation: str, parameter: str, given: Any, df: Any, height: int) -> pl.Series:
    """One value for each row."""
    allowed = "a column name, or a Series, array or sequence of numbers, one for each row"
    if isinstance(given, str):
        if isinstance(df, pl.DataFrame) and given in df.columns:
            return df[given]
        if not _checks.is_a(df, "pandas", "DataFrame") or given not in df.columns:
            known = list(getattr(df, "columns", []))
            raise _checks.invalid(operation, parameter, f"one of the columns {_checks.shown(known)}", given)
        given = df[given]
    if _checks.is_a(given, "pandas", "Series"):
        if _checks.is_a(df, "pandas", "DataFrame") and not given.index.equals(df.index):
            raise _checks.invalid(operation, parameter, "a Series with the index of `df`", given)
        given = given.astype(object).where(given.notna(), None).to_list()
    elif _checks.is_a(given, "numpy", "ndarray") and given.ndim == 1:
        given = given.tolist()
    if not isinstance(given, pl.Series):
        if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
            raise _checks.mistyped(operation, parameter, allowed, given)
        try:
            given = pl.Series(parameter, list(given), strict=True) if len(given) else pl.Series([], dtype=pl.Int64)
        except (TypeError, pl.exceptions.PolarsError):
            try:  # ints among floats
                given = pl.Series(parameter, list(given), dtype=pl.Float64, strict=True)
            except (TypeError, pl.exceptions.PolarsError):
                raise _checks.mistyped(operation, parameter, allowed, given) from None
    if not (given.dtype.is_numeric() or given.dtype == pl.Null):
        raise _checks.mistyped(operation, parameter, allowed, given)
    if given.len() != height:
        raise _checks.invalid(operation, parameter, f"as long as `df` ({height} rows)", given.len())
    result: pl.Series = given.rename(parameter)
    return result


def _label_values(operation: str, values: pl.Series) -> pl.Series:
    if values.dtype.is_float():
        values = values.rename("x").to_frame().select(pl.when(pl.col("x").is_finite()).then("x")).to_series()
        if (values != values.floor()).any() or (values.abs() >= 2.0**53).any():
            raise _checks.invalid(operation, "labels", "whole numbers", values.to_list())
    try:
        return values.cast(pl.Int64)
    except pl.exceptions.PolarsError:
        raise _checks.invalid(operation, "labels", "whole numbers below 2**63", values.to_list()) from None


def _float_values(_operation: str, values: pl.Series) -> pl.Series:
    return values.cast(pl.Float64)
