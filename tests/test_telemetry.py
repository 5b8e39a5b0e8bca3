"""Spans and the counter as an application with an OpenTelemetry SDK sees them, and nothing where there is none."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import acm_rs as acm
import polars as pl
import pytest
from acm_rs import fast_features as ff
from acm_rs._telemetry import span

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

FRAME = pl.DataFrame({"a": [1.0, 2.0, 4.0, 3.0], "b": [3.0, 1.0, 4.0, 1.0]})


@pytest.fixture(scope="module")
def sdk() -> tuple[InMemorySpanExporter, InMemoryMetricReader]:
    """The SDK, set after the package was imported, as applications may do."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(MeterProvider([reader]))
    return exporter, reader


@pytest.fixture
def spans(sdk: Any) -> Iterator[InMemorySpanExporter]:
    exporter, _ = sdk
    exporter.clear()
    yield exporter
    exporter.clear()


def rows_counted(sdk: Any, operation: str) -> int:
    """The counter so far."""
    data = sdk[1].get_metrics_data()
    if data is None:
        return 0
    points = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        if scope.scope.name == "acm_rs"
        for metric in scope.metrics
        if metric.name == "acm.rows" and metric.unit == "{row}"
        for point in metric.data.data_points
    ]
    wanted = {"acm.operation": operation, "acm.backend": acm.backend()}
    return sum(point.value for point in points if point.attributes == wanted)


@pytest.mark.parametrize(
    ("operation", "build"),
    [
        ("compute_basic_features", lambda frame: ff.compute_basic_features(frame, 3)),
        ("compute_basic_features_pl", lambda frame: ff.compute_basic_features_pl(frame, 3)),
        ("rolling_median", lambda frame: ff.rolling_median(frame, 3)),
        ("rolling_skew_kurt", lambda frame: ff.rolling_skew_kurt(frame, 3)),
        ("rolling_spectral_energy", lambda frame: ff.rolling_spectral_energy(frame, 3)),
    ],
)
def test_a_build_of_features_is_a_span_and_is_counted(sdk: Any, spans: Any, operation: str, build: Any) -> None:
    before = rows_counted(sdk, operation)
    build(FRAME)
    (finished,) = spans.get_finished_spans()
    assert finished.name == "acm.features"
    assert finished.instrumentation_scope.name == "acm_rs"
    assert finished.attributes == {
        "acm.operation": operation,
        "acm.backend": acm.backend(),
        "acm.rows": 4,
        "acm.columns": 2,
    }
    assert finished.end_time > finished.start_time
    assert rows_counted(sdk, operation) == before + 4


def test_a_plan_is_no_work(spans: Any) -> None:
    ff.compute_basic_features(FRAME.lazy(), 3).collect()
    FRAME.select(acm.rolling_median("a", 3))
    assert not spans.get_finished_spans()


@pytest.mark.parametrize("kind", ["fit", "score"])
def test_detectors_may_use_it(sdk: Any, spans: Any, kind: Any) -> None:
    with (
        trace.get_tracer("application").start_as_current_span("job"),
        span(kind, "some_detector", rows=10, columns=3),
    ):
        pass
    ours, job = spans.get_finished_spans()
    assert ours.name == f"acm.{kind}"
    assert ours.parent.span_id == job.context.span_id


def test_work_that_fails_says_so_and_is_not_counted(sdk: Any, spans: Any) -> None:
    with pytest.raises(ZeroDivisionError), span("fit", "failing", rows=10, columns=3):
        1 / 0  # noqa: B018
    (finished,) = spans.get_finished_spans()
    assert finished.status.status_code is StatusCode.ERROR
    assert [event.name for event in finished.events] == ["exception"]
    assert rows_counted(sdk, "failing") == 0


def test_without_opentelemetry_nothing_is_missed() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
import polars as pl
from acm_rs import fast_features
print(fast_features.rolling_median(pl.DataFrame({"a": [1.0, 2.0]}), 2)["a_med"].to_list())
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert child.stdout.strip() == "[1.0, 1.5]"


def test_the_logger_is_silent_until_an_application_listens() -> None:
    handlers = logging.getLogger("acm_rs").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_a_normalizer_is_measured_as_it_fits_and_scores(sdk: Any, spans: InMemorySpanExporter) -> None:
    before = rows_counted(sdk, "normalize")
    normalizer = ff.ConfidenceGatedNormalizer(min_regime_samples=2).fit_global(FRAME).fit_regime(0, FRAME.head(2))
    normalizer.normalize(FRAME, [0] * 4, [1.0] * 4)
    normalizer.normalize(FRAME.lazy(), [0] * 4, [1.0] * 4)
    found = [
        (done.name, done.attributes["acm.operation"], done.attributes["acm.rows"])
        for done in spans.get_finished_spans()
    ]
    assert found == [("acm.fit", "fit_global", 4), ("acm.fit", "fit_regime", 2), ("acm.score", "normalize", 4)]
    assert rows_counted(sdk, "normalize") == before + 4
