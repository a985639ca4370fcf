"""OpenTelemetry SDKs inside functions, exporting to our receiver: what the backend holds is what was created.

Two views: the backend's columns, spelled out here; and every field of every message, by a witness that the SDK sends
the same to directly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from . import otel_material as material
from .conftest import node_unavailable
from .otel_witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from o2_lambda.emulator import LocalLambda

    from .conftest import Row, Scene

NODE_MISSING = node_unavailable("aws-lambda-ric/rapid-client.node", "@opentelemetry/sdk-trace-node")
KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
CODES = {"UNSET": 0, "OK": 1, "ERROR": 2}
ITEMS = {"traces": material.spans, "metrics": material.metrics, "logs": material.logs}
# Signal -> its name in the ledger, and how many spans, data points and records are created.
COUNTS = {"traces": ("traces", 5), "metrics": ("metrics", 9), "logs": ("otlp_logs", 6)}
Described = dict[str, Any]  # a span, metric or record, or what became of it
SCOPE = {"instrumentation_library_name": "shop", "instrumentation_library_version": "1.2.3"}


@dataclass(frozen=True)
class Sdk:
    """An SDK and how it exports."""

    language: str
    compression: str

    def start(self, scene: Scene, **environment: str) -> LocalLambda:
        """A function that exports what it is asked to."""
        if self.language == "python":
            return scene.python("otel_sdk.py", environment=environment)
        return scene.node("otel_node.cjs", environment=environment)

    def items(self, signal: str) -> list[Described]:
        return ITEMS[signal](material.INTEGERS_MAX[self.language])

    def export(self, function: LocalLambda, signal: str, items: list[Described], *witnesses: str) -> list[Described]:
        """Has the function export; every exporter must be content. Returns what the SDK made up."""
        event = {
            "signal": signal,
            "resource": material.RESOURCE,
            "items": items,
            "compression": self.compression,
            "witnesses": witnesses,
        }
        result = function.invoke(json.dumps(event).encode())
        assert result.outcome == "success", result.payload
        answer = json.loads(result.payload)
        assert answer["verdicts"] == ["SUCCESS"] * (1 + len(witnesses))
        made: list[Described] = answer["made"]
        return made


def _sdks() -> Iterator[Any]:
    for compression in ("none", "gzip"):
        yield pytest.param(Sdk("python", compression), id=f"python-{compression}")
    for compression in ("none", "gzip"):
        needs_node = pytest.mark.skipif(bool(NODE_MISSING), reason=NODE_MISSING or "available")
        yield pytest.param(Sdk("node", compression), id=f"node-{compression}", marks=needs_node)


every_sdk = pytest.mark.parametrize("sdk", list(_sdks()))


@every_sdk
def test_spans_are_stored_as_they_were_created(scene: Scene, sdk: Sdk) -> None:
    """Ids, parents, names, kinds, times, attributes of every type, events, links, status; and not a column more."""
    described = sdk.items("traces")
    with sdk.start(scene) as function:
        made = {span["name"]: span for span in sdk.export(function, "traces", described)}
    rows = {str(row["operation_name"]): row for row in scene.backend.rows("traces", "default")}
    whole = [(span, None) for span in described]
    whole += [(child, made[span["name"]]["span_id"]) for span in described for child in span.get("children", [])]
    assert sorted(rows) == sorted(made) == sorted(span["name"] for span, _parent in whole)
    for span, parent in whole:
        ids = made[span["name"]]
        assert ids["parent"] == parent
        row = dict(rows[span["name"]])
        happened, linked = json.loads(str(row.pop("events"))), json.loads(str(row.pop("links")))
        assert row == _span_row(span, ids)
        assert [_without_time(event) for event in happened] == [
            {"name": event["name"], **event["attributes"]} for event in span.get("events", [])
        ]
        assert [(link["context"]["traceId"], link["context"]["spanId"], link["attributes"]) for link in linked] == [
            (link["trace_id"], link["span_id"], link["attributes"]) for link in span.get("links", [])
        ]


def _span_row(span: Described, ids: Described) -> Row:
    start, end = int(ids["start"]), int(ids["end"])
    status = span.get("status", "UNSET")
    parents = {
        "reference_parent_span_id": ids["parent"],
        "reference_parent_trace_id": ids["trace_id"],
        "reference_ref_type": "ChildOf",
    }
    resource = {key: value for key, value in material.RESOURCE.items() if key != "service.name"}
    return {
        "_timestamp": start // 1000,
        "trace_id": ids["trace_id"],
        "span_id": ids["span_id"],
        "operation_name": span["name"],
        "span_kind": str(KINDS[span["kind"]]),
        "span_status": status,
        "status_code": CODES[status],
        "status_message": span.get("message", ""),
        "flags": 1,
        "start_time": start,
        "end_time": end,
        "duration": (end - start) // 1000,
        "service_name": "shop",
        **material.columns(resource, "service_"),
        **material.columns(span["attributes"]),
        **(parents if ids["parent"] else {}),
    }


def _without_time(event: dict[str, Any]) -> dict[str, Any]:
    assert event.pop("_timestamp") > 0
    return event


@every_sdk
def test_metrics_are_stored_as_they_were_recorded(scene: Scene, sdk: Sdk) -> None:
    """Sums, gauges and histograms of both kinds: values, labels, temporality, monotony."""
    with sdk.start(scene) as function:
        sdk.export(function, "metrics", sdk.items("metrics"))
    values = {
        stream: {row.get(label) if label else None: row["value"] for row in scene.backend.rows("metrics", stream)}
        for stream, label in (
            ("orders", "kind"), ("weight", None), ("stock", "shelf"), ("temperature", "room"), ("serial", None),
        )
    }  # fmt: skip
    assert values == {
        "orders": {"book": 7, "lämp": 1},
        "weight": {None: 0.75},
        "stock": {1: -7},
        "temperature": {"a": -7.5, "b": 21.25},
        "serial": {None: 2**53 - 1},
    }
    for stream, kind, monotonic in (
        ("orders", "counter", "true"), ("stock", "counter", "false"), ("temperature", "gauge", None),
    ):  # fmt: skip
        for row in scene.backend.rows("metrics", stream):
            assert (row["__type__"], row.get("is_monotonic")) == (kind, monotonic)
            assert {name: row[name] for name in SCOPE} == SCOPE
            assert (row["service_name"], row["deployment_environment"], row["host_cpus"]) == ("shop", "tést", 2)
    for stream, expected in (("latency", (3, 30_041, 1, 30_000)), ("size_exponential", (3, 8.5, 0.5, 4))):
        found = tuple(_value(scene, f"{stream}_{part}") for part in ("count", "sum", "min", "max"))
        assert found == expected
    buckets = {row["le"]: float(str(row["value"])) for row in scene.backend.rows("metrics", "latency_bucket")}
    assert (buckets["0"], buckets["5"], buckets["25"], buckets["50"], max(buckets.values())) == (0, 1, 1, 2, 3)


def _value(scene: Scene, stream: str) -> float:
    (row,) = scene.backend.rows("metrics", stream)
    assert row["aggregation_temporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE"
    return float(str(row["value"]))


@every_sdk
def test_log_records_are_stored_as_they_were_emitted(scene: Scene, sdk: Sdk) -> None:
    """Times, severities, attributes of every type, bodies of every shape: text, structure, numbers."""
    described = sdk.items("logs")
    with sdk.start(scene) as function:
        sdk.export(function, "logs", described)
    rows = [row for row in scene.backend.rows("logs", "default") if "severity" in row]
    assert [(row["_timestamp"], row["severity"]) for row in rows] == [
        (record["time_ms"] * 1000, record["level"]) for record in described
    ]
    for row, record in zip(rows, described, strict=True):
        assert {name: row[name] for name in SCOPE} == SCOPE
        assert row["service_name"] == "shop"
        wanted = material.columns(record["attributes"])
        assert {name: row.get(name) for name in wanted} == wanted
        body = material.columns({"body": record["body"]})
        # Bodies of several types share one column, which holds text then.
        assert {name: str(row[name]) for name in body} == {name: str(value) for name, value in body.items()}


@every_sdk
@pytest.mark.parametrize("signal", ITEMS)
def test_every_field_is_relayed(scene: Scene, sdk: Sdk, signal: str) -> None:
    """What reaches the upstream through the extension equals, field by field, what the SDK sends without it."""
    with Witness() as witness:
        with sdk.start(scene, O2_ENDPOINT=witness.url("relayed")) as function:
            sdk.export(function, signal, sdk.items(signal), witness.url("direct"))
            function.shutdown()
            ledger = _ledger(function)
        (direct,) = witness.sent("direct")
        (relayed,) = witness.sent("relayed")
        assert direct.items() == relayed.items()
        assert sum(direct.items().values()) == (7 if signal == "metrics" else COUNTS[signal][1])
    name, count = COUNTS[signal]
    assert (ledger[name]["received"], ledger[name]["delivered"]) == (count, count)
    assert direct.headers["content-type"] == relayed.headers["content-type"] == _content_type(sdk)
    assert relayed.path == f"/relayed/api/default/v1/{signal}"
    # That the clients are as different as they are said to be:
    assert ("transfer-encoding" in direct.headers) == (sdk.language == "node")
    assert direct.headers.get("content-encoding", "none") == sdk.compression


@every_sdk
def test_requests_of_several_invocations_lose_nothing(scene: Scene, sdk: Sdk) -> None:
    """Requests that the extension merges, over invocations and signals, carry the same spans, metrics and records."""
    with Witness() as witness:
        environment = {
            "O2_ENDPOINT": witness.url("relayed"),
            "O2_FLUSH_STRATEGY": "continuous",
            "O2_FLUSH_INTERVAL_MS": "60000",
        }
        with sdk.start(scene, **environment) as function:
            for _ in range(2):
                for signal in ITEMS:
                    sdk.export(function, signal, sdk.items(signal), witness.url("direct"))
        assert len(witness.sent("direct")) == 6
        assert witness.items("direct") == witness.items("relayed")


def test_the_port_that_sdks_know_needs_no_configuration(scene: Scene) -> None:
    """The receiver answers an SDK with its own content type and an empty success, on both loopback addresses."""
    import http.client
    import socket

    body = b'{"resourceSpans":[]}'
    with scene.python("obedient.py", freeze=False):
        hosts = ["127.0.0.1", *(["::1"] if socket.has_ipv6 else [])]
        for host in hosts:
            for content_type, sent, wanted in (
                ("application/json", body, b'{"partialSuccess":{}}'), ("application/x-protobuf", b"", b""),
            ):  # fmt: skip
                connection = http.client.HTTPConnection(host, scene.otlp_port, timeout=10)
                connection.request("POST", "/v1/traces", sent, {"Content-Type": content_type})
                answer = connection.getresponse()
                assert (answer.status, answer.headers["Content-Type"], answer.read()) == (200, content_type, wanted)
                connection.close()


def _content_type(sdk: Sdk) -> str:
    return "application/x-protobuf" if sdk.language == "python" else "application/json"


def _ledger(function: LocalLambda) -> dict[str, Any]:
    (line,) = [entry.line for entry in function.output if entry.line.startswith('{"ledger"')]
    ledger: dict[str, Any] = json.loads(line)["ledger"]
    return ledger
