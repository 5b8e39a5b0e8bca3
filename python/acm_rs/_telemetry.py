"""Spans and metrics through OpenTelemetry, where its API is installed (extra ``otel``); else nothing, at no cost.

What is measured is work that a Python function does itself: building features of frames in memory, fitting, scoring.
An expression or a lazy frame is only a plan; Polars does its work later, when nobody here looks on. (So a lazy frame
that ``return_type="pandas"`` collects in `acm_rs.fast_features` is not measured either: its rows are not known before.)

Names, all of the instrumentation scope ``acm_rs``:

========================  =========  ==================================================================================
span ``acm.features``     span       one build of features; attributes as below
span ``acm.fit``          span       one fit of a model
span ``acm.score``        span       one scoring with a model
``acm.rows``              counter    rows worked on; attributes ``acm.backend`` and ``acm.operation``
========================  =========  ==================================================================================

Attributes of spans: ``acm.operation`` (the function, such as ``compute_basic_features``), ``acm.backend`` (``rust`` or
``python``), ``acm.rows`` and ``acm.columns``. A span of work that fails records the exception and has the status ERROR;
its rows are not counted. Nothing of the data is recorded, neither values nor names of columns.

A provider is the application's choice; without one the API itself does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from acm_rs._plugin import backend

try:
    from opentelemetry import metrics, trace
except ImportError:  # the extra is not installed
    _INSTALLED = False
else:
    _INSTALLED = True
    # made once; both find the provider that the application sets, also after this package is imported
    _TRACER = trace.get_tracer("acm_rs")
    _ROWS = metrics.get_meter("acm_rs").create_counter("acm.rows", unit="{row}", description="rows worked on")

Kind: TypeAlias = Literal["features", "fit", "score"]


@contextmanager
def span(kind: Kind, operation: str, *, rows: int, columns: int) -> Iterator[None]:
    """Measure a block of work: ``with span("fit", "pca_fit", rows=frame.height, columns=frame.width): ...``."""
    if not _INSTALLED:
        yield
        return
    attributes: dict[str, Any] = {"acm.operation": operation, "acm.backend": backend()}
    size = {"acm.rows": rows, "acm.columns": columns}
    with _TRACER.start_as_current_span(f"acm.{kind}", attributes=attributes | size):
        yield
    _ROWS.add(rows, attributes)
