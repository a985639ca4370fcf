"""Runtimes that bring their own SDK, or none: the extension serves them all, through one receiver."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.examples.conftest import Stage, build, copied, needs, thorough

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.emulator import LocalLambda

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(600)]

SERVER = "2"


@thorough
@needs("go")
def test_go(stage: Stage, tmp_path: Path) -> None:
    """The Go SDK, flushed at the end of each invocation, as locked in go.sum."""
    folder = copied("go", tmp_path)
    build(folder, "go", "build", "-mod=readonly", "-o", "bootstrap", ".")
    environment = {"OTEL_SERVICE_NAME": "hello"}
    with stage.start(str(folder / "bootstrap"), "bootstrap", folder, **environment) as function:
        results = [function.invoke(), function.invoke()]
        function.shutdown()
    assert [result.payload for result in results] == [b'"ok"', b'"ok"']
    roots = [span for span in stage.spans() if span["span_kind"] == SERVER]
    works = [span for span in stage.spans() if span["operation_name"] == "work"]
    assert [root["faas_invocation_id"] for root in roots] == [result.request_id for result in results]
    assert [root["operation_name"] for root in roots] == ["hello", "hello"]
    assert [work["reference_parent_span_id"] for work in works] == [root["span_id"] for root in roots]
    assert stage.printed() == ["hello\n", "hello\n"]


GEMS = (
    "aws_lambda_ric",
    "opentelemetry/sdk",
    "opentelemetry/exporter/otlp",
    "opentelemetry/instrumentation/aws_lambda",
)


def assert_traced(stage: Stage, function: LocalLambda) -> None:
    """Two invocations answer, print and leave a span each."""
    with function:
        results = [function.invoke(), function.invoke()]
        function.shutdown()
    assert [result.payload for result in results] == [b'"ok"', b'"ok"']
    assert len([span for span in stage.spans() if span["span_kind"] == SERVER]) == 2
    assert {span["service_name"] for span in stage.spans()} == {"hello"}
    assert stage.printed() == ["hello\n", "hello\n"]


@needs("ruby")
def test_ruby(stage: Stage, tmp_path: Path) -> None:
    """OpenTelemetry's own instrumentation; without its gems the syntax alone is checked."""
    folder = copied("ruby", tmp_path)
    build(folder, "ruby", "-wc", "app.rb")
    load = "".join(f"require '{gem}';" for gem in GEMS)
    if subprocess.run(["ruby", "-e", load], capture_output=True, check=False).returncode:
        pytest.skip(f"the syntax is right; to run it takes the gems that bring {', '.join(GEMS)}")
    environment = {"OTEL_SERVICE_NAME": "hello", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert_traced(stage, stage.start("aws_lambda_ric", "app.Hello.process", folder, **environment))


@thorough
@needs("dotnet")
def test_dotnet(stage: Stage, tmp_path: Path) -> None:
    """OpenTelemetry's own instrumentation, in a function that is an executable."""
    folder = copied("dotnet", tmp_path)
    build(folder, "dotnet", "build", "--output", "out")
    environment = {"OTEL_SERVICE_NAME": "hello", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert_traced(stage, stage.start(f"dotnet {folder}/out/Hello.dll", "Hello", folder, **environment))


@needs("bash", "curl")
def test_a_custom_runtime(stage: Stage, tmp_path: Path) -> None:
    """A bootstrap of a few lines: its hand-made spans arrive as any SDK's."""
    folder = copied("custom", tmp_path)
    with stage.start(str(folder / "bootstrap"), "bootstrap", folder) as function:
        results = [function.invoke(), function.invoke()]
        function.shutdown()
    assert [result.json() for result in results] == ["ok", "ok"]
    expected = {"operation_name": "hello", "span_kind": SERVER, "service_name": "hello", "service_faas_name": "hello"}
    spans = stage.spans()
    assert [{name: span[name] for name in expected} for span in spans] == [expected] * 2
    assert [span["faas_invocation_id"] for span in spans] == [result.request_id for result in results]
    assert all(int(span["duration"]) > 0 for span in spans)
    assert stage.printed() == ["hello\n", "hello\n"]
