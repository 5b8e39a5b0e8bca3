"""Fitted models as objects, for people who prefer them to expressions, and the files that keep them.

A model is data: a row of a struct, as the ``*_fit`` expressions give it, or a fleet of them, a frame with a key column.
The classes hold that data, add nothing to it, and score with the same expressions.
"""

from __future__ import annotations

import hashlib
import html
import io
import os
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from acm_rs import _checks, _models
from acm_rs._telemetry import span
from acm_rs.fast_features import _frames

__all__ = ["Model", "load_model"]

# A file: these 8 bytes, the format as a little-endian uint32, the SHA-256 of that number and of all that follows, and
# the frame of models as Arrow IPC. The checksum is compared before Arrow reads a byte.
MAGIC = b"ACM_RS\r\n"
FORMAT = 1
_HEAD = struct.Struct("<8sI32s")


class Model:
    """One fitted model, or with `by` a fleet of them with a key for each.

    Parameters
    ----------
    data : DataFrame or Series
        What the ``*_fit`` expression gave: one row; or a frame of a key column and a model column.
    by : str or None
        Name of the key column of a fleet; default None: one model.
    """

    kind: ClassVar[str]
    # scoring operations that give one number a row, the higher the more unusual: they have thresholds
    scores: ClassVar[dict[str, Callable[..., pl.Expr]]]
    _kinds: ClassVar[dict[str, type[Model]]] = {}

    data: pl.DataFrame
    by: str | None

    def __init_subclass__(cls) -> None:
        Model._kinds[cls.kind] = cls

    def __init__(self, data: pl.DataFrame | pl.Series, by: str | None = None) -> None:
        name, made_by = type(self).__name__, f"`{self.kind}_fit`"
        if by is None:
            series = _models.one(name, "data", data, self._is_one, made_by)
            self.data = series.alias(self.kind).to_frame()
        else:
            keys, models = _models.fleet(name, data, self._is_one, made_by)
            self.data = pl.DataFrame([keys.alias(by), models.alias(self.kind)])
        self.by = by

    @classmethod
    def _is_one(cls, series: pl.Series) -> bool:
        return _models.is_model(series, cls.kind)

    @classmethod
    def _fit(
        cls, frame: Any, columns: Sequence[str] | str | None, by: str | None, fit: Callable[[list[str]], pl.Expr]
    ) -> Self:
        """Fit on the columns of a frame of any kind; by default on all numeric ones."""
        readings, names, keys = _read(cls.__name__, frame, columns, by)
        with span("fit", f"{cls.kind}_fit", rows=readings.height, columns=len(names)):
            expr = fit(names)
            if keys is None:
                return cls(readings.select(expr))
            grouped = readings.with_columns(keys).group_by(keys.name, maintain_order=True)
            return cls(grouped.agg(expr), by=keys.name)

    @property
    def columns(self) -> list[str]:
        """Names of the columns that scoring needs, of all models of a fleet."""
        held = self.data[self.kind].struct.field("columns").drop_nulls()
        return list(dict.fromkeys(name for columns in held.to_list() for name in columns))

    def _scoring(self, operation: Callable[..., pl.Expr], **parameters: Any) -> pl.Expr:
        return operation(self._needed(), self, **parameters)

    def _needed(self) -> list[str]:
        columns = self.columns
        if not columns:
            raise ValueError(f"acm.{type(self).__name__}: no model could be fitted, so there is nothing to score with")
        return columns

    def score(self, frame: Any) -> pl.DataFrame:
        """Score the rows of a frame of any kind with all scores of the detector.

        Parameters
        ----------
        frame : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows with the model's columns and, for a fleet, its key column. A lazy frame is collected.

        Returns
        -------
        DataFrame
            A column for each score, under the name of the operation; for a fleet also the key.
        """
        return self._apply(frame, self.scores)

    def _apply(self, frame: Any, operations: Mapping[str, Callable[..., pl.Expr]]) -> pl.DataFrame:
        readings, names, keys = _read(type(self).__name__, frame, self._needed(), self.by)
        if keys is not None:
            readings = readings.with_columns(keys)
        with span("score", f"{self.kind}_score", rows=readings.height, columns=len(names)):
            results = [operation(names, self).alias(name) for name, operation in operations.items()]
            return readings.select(*([keys.name] if keys is not None else []), *results)

    def thresholds(self, healthy: Any, *, false_alarm_rate: float = 0.01) -> pl.DataFrame:
        """Limits that the scores of healthy rows exceed at a stated rate.

        Parameters
        ----------
        healthy : DataFrame, LazyFrame, pandas.DataFrame or 2-D numpy.ndarray
            Rows known to be good, best others than those of the fit, whose scores are a little too low.
        false_alarm_rate : float
            Share of these rows that may lie above the limit, above 0 and below 1; default 0.01.

        Returns
        -------
        DataFrame
            One row, or one for each key of a fleet: a limit for each score, the smallest of the scores with no more
            than that share of the scores above it. Null where no row has a score.

        Notes
        -----
        The empirical quantile at ``1 - false_alarm_rate`` (Hyndman and Fan 1996, type 1). Readings of neighbouring rows
        are alike, so alarms come in runs: the rate is one of rows, not of events.
        """
        name = type(self).__name__
        rate = _checks.number(name, "false_alarm_rate", false_alarm_rate, positive=True)
        if rate >= 1:
            raise _checks.invalid(name, "false_alarm_rate", "< 1", false_alarm_rate)
        scored = self.score(healthy)
        limits = []
        for score in self.scores:
            values = pl.col(score).drop_nulls().sort()
            # the least count of values at or below the limit; a hair less, because 0.99 * 100 is not quite 99
            count = ((1 - rate) * values.len() - 1e-9).ceil().clip(1).cast(pl.Int64)
            limits.append(values.slice(count - 1, 1).first().alias(score))
        if self.by is None:
            return scored.select(limits)
        return scored.group_by(self.by, maintain_order=True).agg(limits)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file.

        The file is written beside its place and then moved there, so that at no time it is half of one.

        Parameters
        ----------
        path : str or PathLike
            Name of the file, which is replaced if it is there; its folder must exist.
        """
        buffer = io.BytesIO()
        self.data.write_ipc(buffer)
        payload = buffer.getvalue()
        target = Path(path)
        head = _HEAD.pack(MAGIC, FORMAT, _checksum(FORMAT, payload))
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head + payload)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(target)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that `save` wrote.

        Parameters
        ----------
        path : str or PathLike
            Name of the file.

        Returns
        -------
        Model
            One of this class.

        Raises
        ------
        ValueError
            If the file is damaged, was written by a newer version, or holds something else.
        """
        model = load_model(path)
        if not isinstance(model, cls):
            raise ValueError(
                f"acm.{cls.__name__}.load: {str(path)!r} holds a {type(model).__name__}; load it with that"
            )
        return model

    def _aligned(self, old: Model) -> tuple[Self, pl.DataFrame]:
        """Give the components the labels of an older model of this class; each model of a fleet those of its key."""
        name = f"{type(self).__name__}.align_labels"
        if type(old) is not type(self):
            raise _checks.mistyped(name, "old", f"a {type(self).__name__}", old)
        if (self.by is None) != (old.by is None):
            raise _checks.invalid(name, "old", "one model for one model, and a fleet for a fleet", old)
        theirs = old.data.rename({old.kind: "old"})
        if self.by is None or old.by is None:
            pairs = self.data.hstack(theirs)
        else:
            pairs = self.data.join(theirs, left_on=self.by, right_on=old.by, how="left", maintain_order="left")
        aligned = pairs.select(*([] if self.by is None else [self.by]), _models.align(pl.col(self.kind), pl.col("old")))
        aligned = aligned.unnest("align_labels")
        keys = {} if self.by is None else {self.by: aligned.schema[self.by]}
        entries = [
            {key: row[key] for key in keys} | entry
            for row in aligned.drop("model").iter_rows(named=True)
            for entry in row["mapping"] or []
        ]
        schema = keys | {"label": pl.Int64(), "aligned": pl.Int64(), "distance": pl.Float64()}
        return type(self)(aligned.drop("mapping"), by=self.by), pl.DataFrame(entries, schema=schema)

    def _centers(self) -> pl.DataFrame:
        """Give the centers of models that have some: a row each, with key, label, size and the columns."""
        keys = [] if self.by is None else [self.by]
        rows = []
        for row in self.data.iter_rows(named=True):
            model = row[self.kind]
            if model is not None:
                width = len(model["columns"])
                for c, (label, size) in enumerate(zip(model["labels"], model["sizes"], strict=True)):
                    center = model["centers"][c * width : (c + 1) * width]
                    facts = {key: row[key] for key in keys} | {"label": label, "size": size}
                    rows.append(facts | dict(zip(model["columns"], center, strict=True)))
        schema = {key: self.data.schema[key] for key in keys} | {"label": pl.Int64(), "size": pl.Int64()}
        return pl.DataFrame(rows, schema=schema | dict.fromkeys(self.columns, pl.Float64()))

    # --- what was learnt ---------------------------------------------------------------------------------------------

    def _facts(self, model: dict[str, Any]) -> list[str]:
        """Say in a few words what a model has learnt; detectors add theirs."""
        facts = [f"{model['rows']:,} rows, {len(model['columns'])} columns"]
        if model["rows_left_out"]:
            facts.append(f"{model['rows_left_out']:,} rows left out (too few readings)")
        if model["dropped"]:
            reasons = zip(model["dropped"], model["dropped_because"], strict=True)
            facts.append("dropped " + ", ".join(f"{column} ({reason})" for column, reason in reasons))
        return facts

    def _lines(self) -> list[str]:
        lines = []
        for row in self.data.head(10).iter_rows(named=True):
            key = "" if self.by is None else f"{self.by}={row[self.by]!r}: "
            model = row[self.kind]
            lines.append(key + ("; ".join(self._facts(model)) if model is not None else "no model"))
        if self.data.height > len(lines):
            lines.append(f"... {self.data.height - len(lines)} more")
        return lines

    def __repr__(self) -> str:
        name, lines = type(self).__name__, self._lines()
        if self.by is None:
            return f"{name}({lines[0]})"
        return "\n  ".join([f"{name}({self.data.height} models by {self.by})", *lines])

    def _repr_html_(self) -> str:
        name = type(self).__name__
        items = "".join(f"<li>{html.escape(line)}</li>" for line in self._lines())
        return f"<b>{name}</b><ul>{items}</ul>"


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model of any kind that `Model.save` wrote.

    Parameters
    ----------
    path : str or PathLike
        Name of the file.

    Returns
    -------
    Model
        An object of the class that was saved.

    Raises
    ------
    ValueError
        If the file is damaged (any changed, missing or added byte is noticed), was written by a newer version of
        acm_rs, or is no file of a model.
    """
    data = Path(path).read_bytes()
    head, payload = data[: _HEAD.size], data[_HEAD.size :]

    def refused(text: str) -> ValueError:
        return ValueError(f"acm.load_model: {str(path)!r} {text}")

    if len(head) < _HEAD.size or head[: len(MAGIC)] != MAGIC:
        raise refused("is not a file of a model that acm_rs saved, or its first bytes are damaged")
    _, written, checksum = _HEAD.unpack(head)
    if checksum != _checksum(written, payload):
        raise refused("is damaged: its checksum does not fit; take a copy or fit again")
    if written != FORMAT:
        raise refused(f"has format {written}, this version of acm_rs reads format {FORMAT}; update acm_rs")
    frame = pl.read_ipc(io.BytesIO(payload))
    *by, kind = frame.columns
    if kind not in Model._kinds:
        raise refused(f"holds a model of kind {kind!r}, which this version of acm_rs does not know; update acm_rs")
    return Model._kinds[kind](frame if by else frame.to_series(), by=by[0] if by else None)


def _checksum(written: int, payload: bytes) -> bytes:
    return hashlib.sha256(written.to_bytes(4, "little") + payload).digest()


def _read(
    operation: str, frame: Any, columns: Sequence[str] | str | None, by: str | None
) -> tuple[pl.DataFrame, list[str], pl.Series | None]:
    """Return the chosen columns of a frame of any kind, their names, and the keys."""
    if by is not None and not isinstance(by, str):
        raise _checks.mistyped(operation, "by", "the name of a column or None", by)
    selected, names = _frames.select(frame, columns, _frames.Caller(operation, "frame", "columns"))
    if columns is None:
        names = [name for name in names if name != by]
    keys = None if by is None else _keys(operation, frame, by)
    return selected.lazy().select(names).collect(), names, keys


def _keys(operation: str, frame: Any, by: str) -> pl.Series:
    if isinstance(frame, pl.LazyFrame):
        return frame.select(by).collect().to_series()
    if isinstance(frame, pl.DataFrame):
        return frame[by]
    if _checks.is_a(frame, "pandas", "DataFrame"):
        return pl.Series(by, frame[by].to_list())
    raise _checks.invalid(operation, "by", "left out for an array, which has no named column", by)
