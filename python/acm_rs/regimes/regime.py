"""Operating regimes: the states that a machine is run in, how sure a row's state is, and rows in none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias

import polars as pl

from acm_rs import _checks, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model
from acm_rs.regimes.silhouette import SCALES, Scale

__all__ = ["RegimeModel", "operating_columns", "regime_fit", "regime_predict"]

RegimeMethod: TypeAlias = Literal["auto", "hdbscan", "gmm", "kmeans"]

# parts of sensors' names that speak of a machine's condition, and of how it is run
CONDITION_WORDS = (
    *("bearing", "brg", "journal", "winding", "stator", "rotor", "vibration", "vib", "velocity", "acceleration"),
    *("displacement", "oil_temp", "oil_pressure", "debris", "particle", "contamination", "exhaust", "hot_spot"),
    *("thermal", "acoustic", "ultrasonic", "noise"),
)
OPERATING_WORDS = (
    *("speed", "rpm", "frequency", "hz", "vfd", "load", "power", "torque", "kw", "mw", "flow", "pressure"),
    *("discharge", "suction", "differential", "valve", "guide_vane", "igv", "damper", "position", "current"),
    *("voltage", "amps", "ambient", "inlet_temp", "inlet_pressure", "atmospheric"),
)
# components of all columns where no name speaks of operation, as in ACM
BASIS_COMPONENTS = 3


def operating_columns(
    columns: Iterable[str],
    *,
    operating_words: Sequence[str] = (),
    condition_words: Sequence[str] = (),
    unknown: bool = False,
) -> list[str]:
    """Choose the columns whose names say how a machine is run, not how it is doing.

    Regimes that are found in temperatures or vibrations would explain a fault away: it becomes a regime of its own.

    Parameters
    ----------
    columns : iterable of str
        Names of sensors.
    operating_words : sequence of str
        Words of yours that mean operation, beside those that are known (speed, rpm, load, power, torque, flow,
        pressure, valve, position, current, voltage, ambient and others); default none.
    condition_words : sequence of str
        Words of yours that mean condition, beside those that are known (bearing, winding, rotor, vibration, oil_temp,
        exhaust, noise and others); default none.
    unknown : bool
        Whether columns without any such word are taken, too; default False.

    Returns
    -------
    list of str
        The chosen columns in their order.

    Notes
    -----
    A word counts wherever it stands in the name, in upper or lower case. A word for condition wins over one for
    operation (``rotor_speed`` is condition), unless it is one of your `operating_words` and none of your
    `condition_words`. The known words are those of ACM, where built-in words for condition win over yours. Cost: none
    to speak of.

    Examples
    --------
    >>> import acm_rs as acm
    >>> acm.operating_columns(["Rotor_Speed", "active_power", "bearing_temp", "x7"])
    ['active_power']
    >>> acm.operating_columns(["Rotor_Speed", "active_power", "bearing_temp", "x7"], operating_words=["rotor_speed"])
    ['Rotor_Speed', 'active_power']
    """
    name = "operating_columns"
    take_unknown = _checks.flag(name, "unknown", unknown)
    own_operating = _words(name, "operating_words", operating_words)
    own_condition = _words(name, "condition_words", condition_words)
    if isinstance(columns, str):  # an iterable of letters
        raise _checks.mistyped(name, "columns", "names of columns, not one name", columns)
    chosen = []
    for column in columns:
        if not isinstance(column, str):
            raise _checks.mistyped(name, "columns", "names of columns", column)
        text = column.lower()
        verdicts = (
            (own_condition, False),
            (own_operating, True),
            (CONDITION_WORDS, False),
            (OPERATING_WORDS, True),
        )
        found = [operating for words, operating in verdicts if any(word in text for word in words)]
        if found[0] if found else take_unknown:
            chosen.append(column)
    return chosen


def _words(name: str, parameter: str, words: Sequence[str]) -> list[str]:
    if isinstance(words, str) or not all(isinstance(word, str) and word for word in words):
        raise _checks.mistyped(name, parameter, "a sequence of words", words)
    return [word.lower() for word in words]


def regime_fit(
    expr: IntoColumns,
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
    """Find the operating regimes of a machine: a model for `regime_predict`.

    The regimes are found by one of three methods. Then each becomes a normal distribution of the scaled columns, with
    a weight, a mean and a full covariance: one predictor for the train rows and for all later ones.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns that say how the machine is run (`operating_columns` chooses them by their names); always one
        call over all of them.
    method : "auto", "hdbscan", "gmm" or "kmeans"
        ``"hdbscan"`` finds dense regions of any number and shape, ``"gmm"`` normal distributions, as many as have the
        least BIC, ``"kmeans"`` centres, as many as have the largest silhouette. ``"auto"`` (default) takes the first
        of the three whose result is fit for use; ``reason`` in the model says why.
    k_range : pair of int
        Least and largest number of regimes that gmm and kmeans try; ``"auto"`` takes no more from hdbscan either.
        Default (2, 6), as in ACM.
    min_cluster_size : int or None
        Of hdbscan: least rows of a regime, at least 2; default None: 2 percent of the rows at hand, at least 10.
    min_samples : int or None
        Of hdbscan: as of `hdbscan_fit`, at least 1; default None: a tenth of the smallest cluster, at least 3.
    max_fit_rows : int
        Regimes are looked for in at most so many rows, spread evenly over the rows as they come (in the order of
        time), at least 10; default 8,000, as in ACM. All rows count for limits and sizes.
    n_components : int or None
        Look for regimes in so many leading principal components of the scaled columns; default None: in the columns.
        For many columns, or such as no name tells to be operating.
    distance_percentile : float
        Percentage of a regime's train rows that lie within its limit, above 0 up to 100; default 99: one usual row in
        a hundred counts as novel. (ACM's default is 95, one in twenty.)
    reg_covar : float
        Added to the variances of the scaled columns, above 0, so that a column that stands still in a regime has some;
        default 1e-4, a hundredth of the standard deviation.
    scale : "standard", "robust" or "none"
        What columns are centred on and divided by before, as of `kmeans_fit`; default ``"standard"``.
    seed : int
        Seed of random starts, at least 0; default 42. The same seed gives the same model.
    min_present : float
        Share of a row's columns that must be present, above 0 up to 1; default 1.0: rows with medians in place of
        readings would look like a regime.
    strict : bool
        Whether data without regimes are an error (default) or give a null model.

    Returns
    -------
    Expr
        One row: a struct named ``regime_fit``. Besides what every model of many columns knows, it holds ``method`` and
        ``reason``, ``metric`` and ``quality`` (validity and persistence of hdbscan, BIC or silhouette),
        ``noise_share``, ``fit_rows``; by regime, from the largest weight on, ``labels``, ``sizes`` (train rows),
        ``centers`` (means of the train rows in their units), ``weights``, ``means``, ``covariances`` and ``limits``
        (squared distances); ``center``, ``scale`` and ``components`` of the basis.

    Notes
    -----
    Null, NaN and infinity are missing. Columns that never change or are never present are dropped, and rows are no
    longer asked for them. ``"auto"`` takes hdbscan if no more than half of the rows are in no cluster and the mean
    of relative validity and persistence is at least 0.05; gmm if its BIC differs by 10 or more over `k_range`; else
    kmeans. ACM asks an unrelated mixture for the rows that hdbscan is not sure of, whose numbers mean something
    else; here every row gets the likeliest regime. Rows whose squares do not fit a number have no label.

    Look at the centres. HDBSCAN parts regimes where there are no rows in between: a load that takes all values, such as
    a power curve, is one regime to it, and of coarse readings, such as integers, each value may be one. A mixture
    parts a bent curve where it bends, but more components always fit it better, so that the least BIC is at the
    upper end of `k_range`: give the number that you can name. BIC finds that there is but one regime only where
    `k_range` begins with 1, the silhouette never. Cost: mostly that of the method on `max_fit_rows` rows.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> load = [v + d / 10 for v in (0.0, 60.0, 100.0) for d in range(12)]
    >>> df = pl.DataFrame({"load": load, "flow": [v / 2 for v in load]})
    >>> model = df.select(acm.regime_fit(["load", "flow"], method="kmeans")).unnest("regime_fit")
    >>> model.select("reason", "sizes")
    shape: (1, 2)
    ┌─────────────────────────────────┬──────────────┐
    │ reason                          ┆ sizes        │
    │ ---                             ┆ ---          │
    │ str                             ┆ list[i64]    │
    ╞═════════════════════════════════╪══════════════╡
    │ kmeans has its largest silhoue… ┆ [12, 12, 12] │
    └─────────────────────────────────┴──────────────┘
    """
    name = "regime_fit"
    if not isinstance(k_range, (list, tuple)) or len(k_range) != 2:
        raise _checks.mistyped(name, "k_range", "a pair of ints", k_range)
    least, most = (_checks.integer(name, "k_range", k, 1) for k in k_range)
    if least > most:
        raise _checks.invalid(name, "k_range", "ascending", k_range)
    percentile = _checks.number(name, "distance_percentile", distance_percentile, positive=True)
    if percentile > 100:
        raise _checks.invalid(name, "distance_percentile", "above 0 up to 100", distance_percentile)

    def optional(parameter: str, value: int | None, least: int) -> int | None:
        return None if value is None else _checks.integer(name, parameter, value, least)

    return call(
        name,
        [one_input(name, expr, always_pack=True)],
        gives="one_row",
        method=_checks.choice(name, "method", method, ("auto", "hdbscan", "gmm", "kmeans")),
        k_range=(least, most),
        min_cluster_size=optional("min_cluster_size", min_cluster_size, 2),
        min_samples=optional("min_samples", min_samples, 1),
        max_fit_rows=_checks.integer(name, "max_fit_rows", max_fit_rows, 10),
        n_components=optional("n_components", n_components, 1),
        distance_percentile=percentile,
        reg_covar=_checks.number(name, "reg_covar", reg_covar, positive=True),
        scale=_checks.choice(name, "scale", scale, SCALES),
        seed=_checks.integer(name, "seed", seed, 0, _checks.LARGEST_SEED),
        min_present=_checks.share(name, "min_present", min_present),
        strict=_checks.flag(name, "strict", strict),
    )


def regime_predict(
    expr: IntoColumns,
    model: IntoFitted,
    *,
    novel: Literal["flag", "unknown"] = "flag",
    by: str | pl.Expr | None = None,
    on_unknown: OnUnknown = "null",
) -> pl.Expr:
    """Give each row its regime, how sure that is, and whether the row is in none of them.

    ``label = argmax_c w_c N(y; m_c, S_c)``, ``confidence`` is the share of that in the sum over all regimes, and
    ``is_novel`` says whether the squared distance ``(y - m)' S^-1 (y - m)`` is above the regime's limit.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric columns, among them those of the model, in any order; always one call over all of them.
    model : Series, DataFrame, Expr or RegimeModel
        What `regime_fit` gave: a Series or frame of one row, or an expression that gives it. With `by` a fleet of
        models: a frame with a key column and a model column, as ``group_by(key).agg(regime_fit(...))`` makes it.
    novel : "flag" or "unknown"
        What becomes of the label of a novel row: ``"flag"`` (default) keeps the likeliest regime, ``"unknown"`` makes
        it -1.
    by : str, Expr or None
        Column of text or integers that names the model of each row; default None: one model for all.
    on_unknown : "null" or "error"
        With `by`: what a key without a model gives; default ``"null"``. ``"error"`` raises.

    Returns
    -------
    Expr
        Struct named ``regime_predict`` with the fields ``label`` (Int64), ``confidence`` (from 1 / number of regimes
        to 1; Float32 if all columns are, else Float64) and ``is_novel`` (Boolean). Null in all fields where too few
        columns are present for the model's ``min_present`` and where no model applies.

    Notes
    -----
    Null, NaN and infinity are missing: such cells become the medians of the fit where enough others are present. A
    novel row may be sure of its label: the confidence compares regimes, the distance says whether any fits. Cost: for
    each regime the square of the columns; row by row, so that it streams, unless `model` is an expression.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> load = [v + d / 10 for v, rows in ((0.0, 14), (60.0, 12), (100.0, 10)) for d in range(rows)]
    >>> model = pl.DataFrame({"load": load}).select(acm.regime_fit("load", method="kmeans"))
    >>> new = pl.DataFrame({"load": [0.5, 60.4, 80.0, None]})
    >>> found = new.select(acm.regime_predict("load", model, novel="unknown")).unnest("regime_predict")
    >>> found.select("label", "is_novel")
    shape: (4, 2)
    ┌───────┬──────────┐
    │ label ┆ is_novel │
    │ ---   ┆ ---      │
    │ i64   ┆ bool     │
    ╞═══════╪══════════╡
    │ 0     ┆ false    │
    │ 1     ┆ false    │
    │ -1    ┆ true     │
    │ null  ┆ null     │
    └───────┴──────────┘
    """
    name = "regime_predict"
    word = _checks.choice(name, "novel", novel, ("flag", "unknown"))
    return _models.score(name, "regime", expr, model, by=by, on_unknown=on_unknown, novel=word)


class RegimeModel(Model):
    """Operating regimes, or with `by` a fleet of models, as `regime_fit` finds them.

    Parameters
    ----------
    data : DataFrame or Series
        What `regime_fit` gave: one row; or a frame of a key column and a model column.
    by : str or None
        Name of the key column of a fleet; default None: one model.
    """

    kind = "regime"
    scores: ClassVar[dict[str, Callable[..., pl.Expr]]] = {"regime_predict": regime_predict}

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        by: str | None = None,
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
    ) -> Self:
        """Fit on the columns of a frame of any kind, or with `by` one model for each key.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows to learn from, in the order of time. A lazy frame is collected.
        columns : sequence of str, str or None
            Columns to learn; default None: those that `operating_columns` chooses among the numeric ones or, where
            no name speaks of operation, 3 principal components of all numeric ones.
        by : str or None
            Key column of a fleet; default None: one model.
        method, k_range, min_cluster_size, min_samples, max_fit_rows
            As of `regime_fit`.
        n_components, distance_percentile, reg_covar, scale, seed, min_present, strict
            As of `regime_fit`.

        Returns
        -------
        RegimeModel
            The fitted model or fleet.
        """

        def fit(names: list[str]) -> pl.Expr:
            chosen, components = names, n_components
            if columns is None:
                chosen = operating_columns(names)
                if not chosen:
                    chosen, components = names, min(n_components or BASIS_COMPONENTS, len(names))
            return regime_fit(
                chosen,
                method=method,
                k_range=k_range,
                min_cluster_size=min_cluster_size,
                min_samples=min_samples,
                max_fit_rows=max_fit_rows,
                n_components=components,
                distance_percentile=distance_percentile,
                reg_covar=reg_covar,
                scale=scale,
                seed=seed,
                min_present=min_present,
                strict=strict,
            )

        return cls._fit(frame, columns, by, fit)

    def predict(self, frame: Any, *, novel: Literal["flag", "unknown"] = "flag") -> pl.DataFrame:
        """Give the rows of a frame of any kind their regimes.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows with the model's columns and, for a fleet, its key column. A lazy frame is collected.
        novel : "flag" or "unknown"
            As of `regime_predict`.

        Returns
        -------
        DataFrame
            ``label``, ``confidence`` and ``is_novel`` of each row; for a fleet also the key.
        """

        def operation(*args: Any, **parameters: Any) -> pl.Expr:
            return regime_predict(*args, novel=novel, **parameters)

        return self._apply(frame, {"regime_predict": operation}).unnest("regime_predict")

    def score(self, frame: Any) -> pl.DataFrame:
        """Give the rows of a frame of any kind their regimes.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows with the model's columns and, for a fleet, its key column. A lazy frame is collected.

        Returns
        -------
        DataFrame
            As of `predict`.
        """
        return self.predict(frame)

    def thresholds(self, healthy: Any, *, false_alarm_rate: float = 0.01) -> pl.DataFrame:
        """Refuse: regimes have their limits from the fit.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("acm.RegimeModel: regimes have their limits from the fit; choose `distance_percentile` there")

    @property
    def centers(self) -> pl.DataFrame:
        """Means of the regimes in the units of the readings: a row each, with ``label``, ``size`` and the columns.

        Of a fleet after the key; null in columns that a model does not hold.
        """
        return self._centers()

    @property
    def reason(self) -> pl.Series:
        """How the regimes of each model were found, in words."""
        return self.data[self.kind].struct.field("reason")

    def align_labels(self, old: RegimeModel) -> tuple[Self, pl.DataFrame]:
        """Give the regimes the labels of the nearest regimes of an older model.

        Parameters
        ----------
        old : RegimeModel
            A model or, for a fleet, a fleet with the same keys; models without an old one keep their labels.

        Returns
        -------
        RegimeModel
            The same model with the aligned labels.
        DataFrame
            ``label``, ``aligned`` and ``distance``, as of `acm_rs.align_labels`; for a fleet after the key.
        """
        return self._aligned(old)

    def regime_predict(self, **parameters: Any) -> pl.Expr:
        """`regime_predict` of the model's columns."""
        return self._scoring(regime_predict, **parameters)

    def _facts(self, model: dict[str, Any]) -> list[str]:
        count = len(model["sizes"])
        facts = [*super()._facts(model), f"{count} regime{'s' * (count != 1)}", model["reason"]]
        quality = model["quality"]
        return facts if quality is None else [*facts, f"{model['metric']} {quality:.4g}"]
