"""Enhanced metrics, decoded with the official protocol: names, units, values, temporality, and no request ids."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from o2_lambda.extension.core import otlp
from o2_lambda.extension.core.evidence import Evidence
from o2_lambda.extension.core.jsonscan import loads
from o2_lambda.extension.core.metrics import COUNTS, POINTS_MAX, Metrics
from o2_lambda.extension.core.telemetry import Fact

NOW_US = 1_767_225_600_000_000
RESOURCE = {"service.name": "größe", "faas.name": "f", "faas.version": "7", "deployment.environment": ""}
FIGURES = {"durationMs": 11.5, "billedDurationMs": 186, "memorySizeMB": 128, "maxMemoryUsedMB": 64}


class Book:
    """Metrics and the evidence beside them, as the engine joins them."""

    def __init__(self, *, aliases: bool = False) -> None:
        self.metrics = Metrics(RESOURCE, "1.2.3", aliases=aliases, now_us=NOW_US)
        self.evidence = Evidence(128, side_by_side=False)

    def report(self, status: str = "success", time_us: int = NOW_US, **more: Any) -> None:
        record = {
            "requestId": f"r{time_us}",
            "status": status,
            "metrics": {**FIGURES, **more.pop("metrics", {})},
            **more,
        }
        fact = Fact("platform.report", loads(json.dumps(record)), time_us)
        self.metrics.hear(fact, self.evidence.hear(fact, ""))

    def take(self) -> tuple[ExportMetricsServiceRequest, dict[str, Metric]]:
        body, count = self.metrics.take(NOW_US + 60_000_000)
        if not count:
            return ExportMetricsServiceRequest(), {}
        request = ExportMetricsServiceRequest.FromString(body)
        assert otlp.count("metrics", otlp.PROTOBUF, body) == count
        [resource] = request.resource_metrics
        [scope] = resource.scope_metrics
        found = {metric.name.removeprefix("aws.lambda.enhanced."): metric for metric in scope.metrics}
        assert len(found) == len(scope.metrics)
        return request, found


def counts(found: dict[str, Metric]) -> dict[str, int]:
    return {name: found[name].sum.data_points[0].as_int for name in COUNTS}


def test_a_report_becomes_measures_and_counts() -> None:
    """Every figure that Lambda gives, with its unit and its time."""
    book = Book()
    book.report(metrics={"initDurationMs": 174.25})
    request, found = book.take()
    gauges = {name: metric.gauge.data_points[0].as_double for name, metric in found.items() if metric.HasField("gauge")}
    assert gauges == {
        "duration": 11.5,
        "billed_duration": 186,
        "init_duration": 174.25,
        "memory_size": 128,
        "max_memory_used": 64,
        "memory_utilization": 0.5,
    }
    assert {name: found[name].unit for name in ("duration", "max_memory_used", "memory_utilization")} == {
        "duration": "ms",
        "max_memory_used": "MiBy",
        "memory_utilization": "1",
    }
    assert found["duration"].gauge.data_points[0].time_unix_nano == NOW_US * 1000
    assert counts(found) == {"invocations": 1, "errors": 0, "timeouts": 0, "out_of_memory": 0, "cold_starts": 1}
    [resource] = request.resource_metrics
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert attributes == {"service.name": "größe", "faas.name": "f", "faas.version": "7"}
    assert resource.scope_metrics[0].scope.version == "1.2.3"


def test_counts_are_deltas() -> None:
    """Each export covers the time since the one before; points carry nothing that makes a series of its own."""
    book = Book()
    book.report()
    book.take()
    for number in range(3):
        book.report(time_us=NOW_US + number)
    _request, found = book.take()
    invocations = found["invocations"].sum
    assert invocations.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    assert invocations.is_monotonic
    [point] = invocations.data_points
    assert (point.as_int, point.start_time_unix_nano) == (3, (NOW_US + 60_000_000) * 1000)
    assert point.time_unix_nano >= point.start_time_unix_nano
    assert len(found["duration"].gauge.data_points) == 3
    assert not any(point.attributes for point in found["duration"].gauge.data_points)
    assert book.take() == (ExportMetricsServiceRequest(), {})


@pytest.mark.parametrize(
    ("status", "error_type", "expected"),
    [
        ("error", "ValueError", {"errors": 1}),
        ("timeout", "", {"errors": 1, "timeouts": 1}),
        ("error", "Runtime.OutOfMemory", {"errors": 1, "out_of_memory": 1}),
        ("failure", "Runtime.ExitError", {"errors": 1}),
    ],
)
def test_failures_are_counted_by_kind(status: str, error_type: str, expected: dict[str, int]) -> None:
    """By the report, and by what the evidence makes of it."""
    book = Book()
    book.report(status, errorType=error_type)
    _request, found = book.take()
    assert counts(found) == {**dict.fromkeys(COUNTS, 0), "invocations": 1, **expected}


def test_a_failure_without_a_report_counts_all_the_same() -> None:
    """SHUTDOWN tells of it; an environment that fails between invocations is no invocation."""
    book = Book()
    book.evidence.began("a", NOW_US)
    for finding in book.evidence.shut_down("timeout", NOW_US + 5, ""):
        book.metrics.fail(finding)
    _request, found = book.take()
    assert counts(found) == {**dict.fromkeys(COUNTS, 0), "invocations": 1, "errors": 1, "timeouts": 1}
    for finding in Evidence(128, side_by_side=False).shut_down("failure", NOW_US, ""):
        book.metrics.fail(finding)
    assert book.take()[1] == {}


def test_aliases() -> None:
    """Three metrics under the names without `enhanced` as well."""
    book = Book(aliases=True)
    book.report()
    _request, found = book.take()
    for name in ("duration", "errors", "invocations"):
        alias, metric = found[f"aws.lambda.{name}"], found[name]
        assert (alias.gauge, alias.sum) == (metric.gauge, metric.sum)
    assert "aws.lambda.timeouts" not in found


def test_numbers_that_are_none() -> None:
    """The platform's figures are checked: what is no number is left out, the invocation counts."""
    book = Book()
    bad = {"durationMs": "long", "billedDurationMs": True, "memorySizeMB": 0, "maxMemoryUsedMB": -1}
    book.report(metrics=bad)
    fact = Fact("platform.report", loads('{"requestId":"x","metrics":{"durationMs":1e999}}'), NOW_US)
    book.metrics.hear(fact, None)
    book.metrics.hear(Fact("platform.report", loads("[]"), NOW_US), None)
    _request, found = book.take()
    assert set(found) == {*COUNTS, "memory_size"}
    assert counts(found)["invocations"] == 3


def test_points_are_bounded() -> None:
    """A busy function fills it before the minute is over: then it is taken."""
    book = Book()
    while not book.metrics.is_full:
        book.report()
    assert len(book.take()[1]["duration"].gauge.data_points) <= POINTS_MAX
    assert not book.metrics.is_full
