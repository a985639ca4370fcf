"""Enhanced metrics: what Lambda's reports say of each invocation, as OTLP metrics.

Measures are gauges, one point for each invocation. Counts are sums with delta temporality: OpenObserve stores points
and converts nothing, and a cumulative count of a sandbox that lives for minutes would start anew all the time. So add
them up (`sum(value)`, `sum_over_time`); `rate` is for cumulative ones. No point carries a request id.
"""

from __future__ import annotations

from _struct import pack

from o2_lambda.extension.core.evidence import OUT_OF_MEMORY, TIMEOUT
from o2_lambda.extension.core.jsonscan import get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from o2_lambda.extension.core.evidence import Finding
    from o2_lambda.extension.core.telemetry import Fact

PREFIX = "aws.lambda.enhanced."
BASE = "aws.lambda."
ALIASED = ("duration", "errors", "invocations")
# Metric -> (member of the report's `metrics`, unit).
MEASURES = {
    "duration": ("durationMs", "ms"),
    "billed_duration": ("billedDurationMs", "ms"),
    "init_duration": ("initDurationMs", "ms"),
    "restore_duration": ("restoreDurationMs", "ms"),
    "memory_size": ("memorySizeMB", "MiBy"),
    "max_memory_used": ("maxMemoryUsedMB", "MiBy"),
}
UTILIZATION = "memory_utilization"
COUNTS = ("invocations", "errors", "timeouts", "out_of_memory", "cold_starts")
POINTS_MAX = 2000  # kept between two exports: some 300 invocations
VALUE_LIMIT = 1e15
_DELTA = 1


class Metrics:
    """Collects points until they are taken. `resource`: attributes that are equal on all of them."""

    def __init__(self, resource: Mapping[str, str], version: str, *, aliases: bool, now_us: int) -> None:
        self._resource = b"".join(_message(1, _attribute(key, value)) for key, value in resource.items() if value)
        self._scope = _text(1, "o2-lambda-extension") + _text(2, version)
        self._aliases = aliases
        self._points: dict[str, list[tuple[int, float]]] = {}
        self._counts = dict.fromkeys(COUNTS, 0)
        self._size = 0
        self._since_us = now_us

    @property
    def is_full(self) -> bool:
        """Whether it is time to take what there is, whatever the clock says."""
        return self._size >= POINTS_MAX

    def hear(self, fact: Fact, finding: Finding | None) -> None:
        """A platform event, and the failure that it tells of."""
        if fact.type != "platform.report":
            return
        values = {}
        for name, (member, _unit) in MEASURES.items():
            value = get(fact.record, "metrics", member)
            if type(value) in (int, float) and 0 <= value < VALUE_LIMIT:
                values[name] = value
        if values.get("memory_size") and "max_memory_used" in values:
            values[UTILIZATION] = values["max_memory_used"] / values["memory_size"]
        for name, value in values.items():
            self._points.setdefault(name, []).append((fact.time_us, value))
        self._size += len(values)
        self._counts["invocations"] += 1
        self._counts["cold_starts"] += "init_duration" in values or "restore_duration" in values
        status = get(fact.record, "status")
        self._counts["errors"] += status in ("error", "failure", "timeout")
        self._counts["timeouts"] += status == "timeout"
        self._counts["out_of_memory"] += finding is not None and finding.reason == OUT_OF_MEMORY

    def fail(self, finding: Finding) -> None:
        """An invocation that ended without a report."""
        if finding.request_id:
            self._counts["invocations"] += 1
            self._counts["errors"] += 1
            self._counts["timeouts"] += finding.reason == TIMEOUT
            self._counts["out_of_memory"] += finding.reason == OUT_OF_MEMORY

    def take(self, now_us: int) -> tuple[bytes, int]:
        """An export request and the number of its points, which are kept no longer; 0 where nothing has come."""
        metrics: list[bytes] = []
        total = 0
        for name, points in self._points.items():
            unit = MEASURES[name][1] if name in MEASURES else "1"
            data = b"".join(_message(1, _time(3, time_us) + _double(4, value)) for time_us, value in points)
            total += self._add(metrics, name, unit, _message(5, data), len(points))
        if self._counts["invocations"]:
            for name, count in self._counts.items():
                point = _time(2, self._since_us) + _time(3, now_us) + _integer(6, count)
                data = _message(1, point) + bytes((0x10, _DELTA, 0x18, 1))  # temporality, is_monotonic
                total += self._add(metrics, name, "1", _message(7, data), 1)
        self._points = {}
        self._counts = dict.fromkeys(COUNTS, 0)
        self._size = 0
        self._since_us = now_us
        scope = _message(1, self._scope) + b"".join(_message(2, metric) for metric in metrics)
        return _message(1, _message(1, self._resource) + _message(2, scope)), total

    def _add(self, metrics: list[bytes], name: str, unit: str, data: bytes, count: int) -> int:
        """Adds a metric, under its other name as well where that is wanted; returns the number of points added."""
        names = [PREFIX + name, *([BASE + name] if self._aliases and name in ALIASED else [])]
        metrics += [_text(1, each) + _text(3, unit) + data for each in names]
        return count * len(names)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode("utf-8", "replace"))


def _attribute(key: str, value: str) -> bytes:
    return _text(1, key) + _message(2, _text(1, value))


def _time(number: int, time_us: int) -> bytes:
    return bytes((number << 3 | 1,)) + pack("<Q", time_us * 1000)


def _double(number: int, value: Any) -> bytes:
    return bytes((number << 3 | 1,)) + pack("<d", value)


def _integer(number: int, value: int) -> bytes:
    return bytes((number << 3 | 1,)) + pack("<q", value)
