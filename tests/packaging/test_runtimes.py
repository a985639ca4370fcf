"""The layer's tracer in AWS's own runtime client, under every Python that this machine has or Debian carries."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.emulator import LambdaConfig, LocalLambda
from o2_lambda.layer.build import tracing_entries
from o2_lambda.layer.inputs import Inputs
from o2_lambda.layer.process import UnavailableError
from o2_lambda.layer.store import Store
from tests.instrument.pythons import interpreters
from tests.instrument.recording import CLIENTS, Sink
from tests.instrument.test_events import HTTP_API, LOAD_BALANCER, REST_API, sqs
from tests.packaging.conftest import CACHE

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.emulator import InvokeResult


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer's files for tracing, as they lie in the zip; the extension is not needed here."""
    opt = tmp_path_factory.mktemp("opt")
    try:
        entries = tracing_entries(Inputs(Store(CACHE)))
    except UnavailableError as reason:
        pytest.skip(f"the layer cannot be built here: {reason}")
    for name, entry in entries.items():
        path = opt / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.content)
        path.chmod(entry.mode)
    return opt


pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

RUNTIMES = CLIENTS.parent / "runtimes"
VERSIONS = {version: python for version, python in interpreters().items() if (RUNTIMES / version).exists()}
FUNCTION = """
import json, threading, urllib.request

def handler(event, context):
    if event.get("fail"):
        raise LookupError("no\\u00e9")
    if event.get("deep"):
        try:
            json.loads("{")
        except ValueError as cause:
            raise KeyError("y") from cause
    if event.get("thread"):
        thread = threading.Thread(target=lambda: urllib.request.urlopen(event["thread"], b"x").close())
        thread.start()
        thread.join()
    return {"statusCode": 201}
"""
EVENTS: dict[str, Any] = {
    "shop": {},
    "GET /items/{id}": HTTP_API,
    "POST /items/{id}": REST_API,
    "GET": LOAD_BALANCER,
    "orders process": {"Records": [sqs(), sqs()]},
    "news process": {"Records": [{"EventSource": "aws:sns", "Sns": {"TopicArn": "arn:aws:sns:x:1:news"}}]},
    "clicks process": {
        "Records": [{"eventSource": "aws:kinesis", "eventSourceARN": "arn:aws:kinesis:x:1:stream/clicks"}]
    },
    "carts process": {"Records": [{"eventSource": "aws:dynamodb", "eventSourceARN": "arn:x:table/carts/stream/1"}]},
    "pictures process": {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "pictures"}}}]},
    "bus process": {"source": "bus", "detail-type": "OrderPlaced", "detail": {}},
}
FAILURES: tuple[dict[str, Any], ...] = ({"fail": True}, {"deep": True})
BROKEN = {"absent.handler": "", "broken.handler": "import json\njson.nothing\n"}


def run(task: Path, version: str, handler: str, events: list[Any], **environment: str) -> list[InvokeResult]:
    config = LambdaConfig(
        [VERSIONS[version], "-m", "awslambdaric"],
        handler=handler,
        task_root=task,
        function_name="shop",
        timeout_ms=60_000,
        environment={"PYTHONPATH": str(RUNTIMES / version), "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    with LocalLambda(config) as function:
        return [function.invoke(json.dumps(event).encode()) for event in events]


def without_ids(payload: bytes) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+", "<id>", payload.decode())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_kind_of_event_has_its_span_and_errors_are_untouched(layer: Path, tmp_path: Path, version: str) -> None:
    """One invocation after the other: names by event, a call from a thread, and payloads as without the layer."""
    (tmp_path / "app.py").write_text(FUNCTION)
    sink = Sink()
    try:
        traced = {"AWS_LAMBDA_EXEC_WRAPPER": str(layer / "otel-instrument"), "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
        events = [*EVENTS.values(), {"thread": f"{sink.url}/called"}, *FAILURES]
        results = run(tmp_path, version, "app.handler", events, **traced)
        spans = sink.take(results[-1].request_id)
    finally:
        sink.close()
    roots = [span for span in spans if span.kind in {"server", "consumer"}]
    assert [span.name for span in roots] == [*EVENTS, "shop", "shop", "shop"]
    assert [span.attributes["faas.coldstart"] for span in roots] == [True, *[False] * (len(roots) - 1)]
    assert [(span.name, span.parent) for span in spans if span.kind == "client"] == [("POST", "shop")]
    assert [span.failed for span in roots] == [*[False] * (len(roots) - 2), True, True]
    assert [event["exception.type"] for span in roots for event in span.events] == ["LookupError", "KeyError"]
    assert roots[0].resource["process.runtime.version"].startswith(f"{version}.")
    bare = run(tmp_path, version, "app.handler", list(FAILURES))
    assert [without_ids(result.payload) for result in results[-2:]] == [without_ids(result.payload) for result in bare]


@pytest.mark.parametrize("handler", BROKEN)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_function_that_does_not_start_fails_as_without_the_layer(
    layer: Path, tmp_path: Path, version: str, handler: str
) -> None:
    """Imports, names, exceptions and syntax: the same bytes, which end up in front of the caller."""
    if BROKEN[handler]:
        (tmp_path / f"{handler.partition('.')[0]}.py").write_text(BROKEN[handler])
    traced = {"AWS_LAMBDA_EXEC_WRAPPER": str(layer / "otel-instrument")}
    payloads = [run(tmp_path, version, handler, [{}], **variables)[0].payload for variables in ({}, traced)]
    assert b"errorType" in payloads[0]
    assert without_ids(payloads[0]) == without_ids(payloads[1])
