"""Isolation forest: rows that few random splits part from all others are unusual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import polars as pl

from acm_rs import _checks, _forests, _models
from acm_rs._models import IntoFitted, OnUnknown
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.models import Model

__all__ = ["IsolationForestModel", "isolation_forest_fit", "isolation_forest_score"]

KIND = "isolation_forest"
MOST_TREES = 1_000_000  # far beyond use; each takes some kilobytes

DTYPE = pl.Struct(
    {
        "kind": pl.String,
        "format": pl.Int64,
        "columns": pl.List(pl.String),
        "medians": pl.List(pl.Float64),
        "min_present": pl.Float64,
        "rows": pl.Int64,
        "rows_left_out": pl.Int64,
        "dropped": pl.List(pl.String),
        "dropped_because": pl.List(pl.String),
        "feature": pl.List(pl.Int64),
        "value": pl.List(pl.Float64),
        "child": pl.List(pl.Int64),
        "start": pl.List(pl.Int64),
        "sample_size": pl.Int64,
        "narrow": pl.Boolean,
    }
)


def isolation_forest_fit(
    expr: IntoColumns,
    n_trees: int = 100,
    max_samples: int = 256,
    *,
    bootstrap: bool = False,
    seed: int = 17,
    min_present: float = 0.5,
    strict: bool = True,
) -> pl.Expr:
    """Grow an isolation forest: a model for `isolation_forest_score`.

    Each tree draws rows at random. A node draws a column among those that vary in it, and a threshold uniform between
    its smallest and largest reading; rows at or below it go left (Liu, Ting and Zhou 2008). A tree ends at single or
    equal rows, or ``ceil(log2(max_samples))`` levels below its root.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    n_trees : int
        Number of trees, at least 1; default 100.
    max_samples : int
        Number of rows that a tree draws, at least 2, all where there are fewer; default 256.
    bootstrap : bool
        Whether a tree draws its rows with replacement; default False. A row drawn twice is in the tree once.
    seed : int
        Which random numbers, at least 0; default 17. The same seed gives the same forest for any number of threads.
    min_present : float
        Share of the columns that a row needs, above 0 and at most 1; default 0.5. Missing cells of such a row are
        replaced by the medians; other rows are left out.
    strict : bool
        Whether it is an error if nothing can be learnt; default True. Otherwise the model is null then.

    Returns
    -------
    Expr
        One row: the model, a struct named ``isolation_forest_fit``.

    Notes
    -----
    Null, NaN and infinity are missing. Columns that never change or are never present are dropped; the model says which
    and why. Columns are drawn blindly: leave out those that say nothing of the machine, they dilute the others. Cost:
    about ``n_trees * max_samples * log2(max_samples)`` readings are looked at, whatever the number of rows and columns.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 50.0], "y": [2.0, 3.0, 2.0, 3.0, -40.0]})
    >>> model = df.select(acm.isolation_forest_fit(["x", "y"], 200))
    >>> scores = df.select(acm.isolation_forest_score(["x", "y"], model)).to_series()
    >>> scores.arg_max()
    4
    """
    name = "isolation_forest_fit"
    return call(
        name,
        [one_input(name, expr, always_pack=True)],
        gives="one_row",
        n_trees=_checks.integer(name, "n_trees", n_trees, 1, MOST_TREES),
        max_samples=_checks.integer(name, "max_samples", max_samples, 2),
        bootstrap=_checks.flag(name, "bootstrap", bootstrap),
        seed=_checks.integer(name, "seed", seed, 0),
        min_present=_checks.share(name, "min_present", min_present),
        strict=_checks.flag(name, "strict", strict),
    )


def isolation_forest_score(
    expr: IntoColumns, model: IntoFitted, *, by: str | pl.Expr | None = None, on_unknown: OnUnknown = "null"
) -> pl.Expr:
    """Score how unusual each row is: above 0 and at most 1, the higher the more unusual.

    ``2 ** -(h / c)``, with the mean path length ``h`` of the row over all trees and its expectation ``c`` for a random
    search tree of as many rows as each tree drew; what is usual scores 0.5 or less.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        The columns that the model was fitted on, in any order; others are ignored.
    model : Series, DataFrame, Expr or IsolationForestModel
        What `isolation_forest_fit` gives; with `by` a frame of a key column and a column of models. An expression is
        one model for the whole call, and such a call does not stream.
    by : str, Expr or None
        Key of the model of each row, text or integers; default None: the `by` of a model class that was fitted with
        one, else one model for all rows.
    on_unknown : {"null", "error"}
        What becomes of rows whose key no model is for; default "null". A missing key always gives null.

    Returns
    -------
    Expr
        A score for each row, named ``isolation_forest_score``; Float32 only if all columns are. Null where fewer than
        `min_present` of the model's columns are present.

    Notes
    -----
    Row by row: it streams. Cost: with up to 256 leaves per tree a comparison
    with every node, 32 rows at once; with more a walk down every tree. Missing cells are
    replaced by the medians of the model. Forests of scikit-learn come in by
    `IsolationForestModel.from_sklearn`; the score is its ``score_samples`` with the sign turned.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 50.0], "unit": ["a", "a", "a", "a", "b"]})
    >>> models = df.group_by("unit").agg(acm.isolation_forest_fit("x", strict=False).alias("model"))
    >>> df.select(acm.isolation_forest_score("x", models, by="unit").is_null())["isolation_forest_score"].to_list()
    [False, False, False, False, True]
    """
    return _models.score("isolation_forest_score", KIND, expr, model, by=by, on_unknown=on_unknown)


class IsolationForestModel(Model):
    """An isolation forest, or with `by` a fleet of them.

    Parameters
    ----------
    data : DataFrame or Series
        What `isolation_forest_fit` gave: one row; or a frame of a key column and a model column.
    by : str or None
        Name of the key column of a fleet; default None: one model.
    """

    kind: ClassVar[str] = KIND
    scores = {"isolation_forest_score": isolation_forest_score}  # noqa: RUF012

    @classmethod
    def fit(
        cls,
        frame: Any,
        columns: Sequence[str] | str | None = None,
        *,
        by: str | None = None,
        n_trees: int = 100,
        max_samples: int = 256,
        bootstrap: bool = False,
        seed: int = 17,
        min_present: float = 0.5,
        strict: bool = True,
    ) -> Self:
        """Fit on the columns of a frame.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows to learn from. A lazy frame is collected.
        columns : list of str, str or None
            Columns to learn; default None: all numeric ones.
        by : str or None
            Key column: one model for each of its values, rows without one are left out; default None: one model.
        n_trees, max_samples, bootstrap, seed, min_present, strict
            As in `isolation_forest_fit`.

        Returns
        -------
        IsolationForestModel
            The fitted model.
        """

        def grow(names: list[str]) -> pl.Expr:
            return isolation_forest_fit(
                names,
                n_trees,
                max_samples,
                bootstrap=bootstrap,
                seed=seed,
                min_present=min_present,
                strict=strict,
            )

        return cls._fit(frame, columns, by, grow)

    @classmethod
    def from_sklearn(cls, forest: Any, columns: Sequence[str] | None = None) -> Self:
        """Take over the trees of a forest that scikit-learn has fitted; its scores stay the same.

        Parameters
        ----------
        forest : sklearn.ensemble.IsolationForest
            A fitted forest.
        columns : list of str or None
            Names of its columns in their order; default None: those it was fitted with or, if it was fitted on an
            array, "0", "1", ...

        Returns
        -------
        IsolationForestModel
            The same trees. It knows no medians, so a row with a missing cell has no score. Readings are narrowed to
            Float32 before they are compared, as scikit-learn does.
        """
        name = f"{cls.__name__}.from_sklearn"
        if not _checks.is_a(forest, "sklearn.ensemble", "IsolationForest"):
            raise _checks.mistyped(name, "forest", "an IsolationForest of scikit-learn", forest)
        if not hasattr(forest, "estimators_"):
            raise _checks.invalid(name, "forest", "fitted, call its `fit` first", forest)
        width = int(forest.n_features_in_)
        if columns is None:
            names = [str(column) for column in getattr(forest, "feature_names_in_", range(width))]
        else:
            names = _checks.names(name, "columns", columns)
            if len(names) != width or len(set(names)) != width:
                raise _checks.invalid(name, "columns", f"{width} different names, as many as the forest has", columns)
        learnt = {
            "columns": names,
            "medians": [None] * width,
            "min_present": 1.0,
            "rows": 0,
            "rows_left_out": 0,
            "dropped": [],
            "dropped_because": [],
        }
        row = {"kind": KIND, "format": 1} | learnt | _forests.lists(forest)
        return cls(pl.Series(KIND, [row], dtype=DTYPE))

    def _facts(self, model: dict[str, Any]) -> list[str]:
        facts = super()._facts(model)
        if model["narrow"] and model["rows"] == 0:
            facts[0] = f"taken from scikit-learn, {len(model['columns'])} columns"
        return [*facts, f"{len(model['start'])} trees of {model['sample_size']} rows"]
