"""Java: the java variant's zip with AWS's own runtime client, and a function with an SDK of its own."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from o2_lambda.layer.build import INSTRUMENT, JAVA_AGENT, JAVA_EXTENSION, WRAPPER
from o2_lambda.layer.java import AGENT, COMPILER, extension
from o2_lambda.layer.maven import fetched
from o2_lambda.layer.names import EXECUTABLE
from o2_lambda.layer.process import LayerError
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import host
from tests.examples.conftest import Stage, java_zips, needs, thorough
from tests.examples.javas import VERSIONS
from tests.integration.wire import Request, Server, response
from tests.packaging.conftest import CACHE

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from o2_lambda.emulator import LocalLambda

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900), needs("javac", "mvn")]

SERVER = "2"
HELLO, TRACED = "example.Hello::handleRequest", "example.Traced::handleRequest"
FAIL = b'{"fail": true}'
INVOCATIONS_TO_RECOVER_MAX = 8  # exports that are skipped, and the one that tries
EVERY_VERSION = ["17", *(pytest.param(version, marks=thorough) for version in VERSIONS if version != "17")]


def printed(function: LocalLambda) -> list[str]:
    """What the function and its runtime have printed."""
    return [entry.line.strip() for entry in function.output if entry.source == "function"]


@pytest.mark.usefixtures("java")
def test_a_function_without_a_line_for_tracing_is_traced(opt: Path, plain: Path, stage: Stage) -> None:
    """A span of each invocation, with the function's identity and its failure, whatever X-Ray has decided to sample.

    Log lines carry its ids. Callers get what they get without the layer, and so does whoever reads the log, but for
    two lines.
    """
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": str(opt / WRAPPER), "OTEL_RESOURCE_ATTRIBUTES": "faas.version=7,a.b=c"}
    extension = opt / "extensions" / EXECUTABLE
    with stage.start("java", HELLO, plain, extension=extension, O2_TRACING="off", **environment) as function:
        bare = [function.invoke().payload, function.invoke(FAIL).payload]
        said_bare = printed(function)
    assert stage.spans() == []
    with stage.start("java", HELLO, plain, extension=extension, **environment) as function:
        first = function.invoke(trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0")
        second = function.invoke(FAIL)
        function.shutdown()
        said = printed(function)
    assert [first.payload, second.payload] == bare
    assert bare[0] == b'"ok"'
    spans = [span for span in stage.spans() if span["span_kind"] == SERVER]
    expected = {
        "operation_name": "hello", "service_name": "hello", "service_cloud_provider": "aws",
        "service_cloud_region": "us-east-1", "service_faas_name": "hello", "service_faas_version": "7",
        "service_a_b": "c", "cloud_account_id": "123456789012",
    }  # fmt: skip
    assert [{name: span[name] for name in expected} for span in spans] == [expected] * 2
    assert [span["faas_invocation_id"] for span in spans] == [first.request_id, second.request_id]
    assert [span["span_status"] == "ERROR" for span in spans] == [False, True]
    (recorded,) = json.loads(spans[1]["events"])
    assert (recorded["exception.type"], recorded["exception.message"]) == (
        "java.lang.IllegalStateException",
        "asked to",
    )
    assert not [name for span in spans for name in span if name.startswith(("service_process_", "service_host_"))]
    bare_line, line = (row for row in stage.lines() if row["record"] == "hello\n")
    assert "span_id" not in bare_line
    assert (line["trace_id"], line["span_id"]) == (spans[0]["trace_id"], spans[0]["span_id"])
    (agent,) = [line for line in said if line.startswith("[otel.javaagent ")]
    assert AGENT.version in agent
    assert [line for line in said if line != agent and "Sharing is only supported" not in line] == said_bare


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("java", EVERY_VERSION, indirect=True)
@pytest.mark.usefixtures("java")
def test_a_function_with_an_sdk_of_its_own(opt: Path, traced: Path, stage: Stage, wrapped: bool) -> None:
    """OpenTelemetry's wrapper handler: its spans arrive through the extension, the same ones with our wrapper."""
    environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "hello"}
    if wrapped:
        environment = {"AWS_LAMBDA_EXEC_WRAPPER": str(opt / WRAPPER)}
    environment |= {"OTEL_METRICS_EXPORTER": "none"}
    with stage.start("java", TRACED, traced, **environment) as function:
        assert function.invoke().payload == b'"ok"'
        function.shutdown()
    root, work = stage.spans()
    assert (root["operation_name"], root["span_kind"], root["service_name"]) == ("hello", SERVER, "hello")
    assert (work["operation_name"], work["reference_parent_span_id"]) == ("work", root["span_id"])
    assert work["trace_id"] == root["trace_id"]


class Receiver(Server):
    """Where spans go, in place of the extension's receiver: a collector, which knows nothing of invocations.

    `status` is its answer to exports, 0 for none yet. `taken` has the request ids of the handlers' spans.
    """

    status = 200
    exports = 0
    messages = 0

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._unanswered: list[socket.socket] = []
        super().__init__()

    def handle(self, request: Request, client: socket.socket) -> None:
        """Takes spans or refuses them."""
        if request.target != "/v1/traces":
            self.messages += 1
            client.sendall(response(404))
            return
        self.exports += 1
        if self.status in (0, 200):
            self.taken += request_ids(request.body)
        if self.status:
            client.sendall(response(self.status, Content_Type="application/x-protobuf"))
        else:
            self._unanswered.append(client)

    def answer(self) -> None:
        """What has waited for an answer gets it; so does what comes from here on."""
        self.status = 200
        while self._unanswered:
            self._unanswered.pop().sendall(response(200, Content_Type="application/x-protobuf"))


def request_ids(body: bytes) -> list[str]:
    """The request ids in an export."""
    return [
        attribute.value.string_value
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        for attribute in span.attributes
        if attribute.key == "faas.invocation_id"
    ]


class Troubled:
    """A function with such a receiver; each invocation would wait for longer than all of a test's may take."""

    LIMIT_MS = 10_000

    def __init__(self, function: LocalLambda, receiver: Receiver) -> None:
        self._function = function
        self._receiver = receiver
        self.invoked: list[str] = []
        self.waited_ms = 0.0

    def invoke(self, times: int) -> None:
        """Answers are as ever."""
        for _ in range(times):
            result = self._function.invoke()
            assert result.payload == b'"ok"'
            self.invoked.append(result.request_id)
            self.waited_ms += result.duration_ms

    def assert_recovered(self) -> None:
        """With a few invocations more, what was kept has arrived: all of it, once."""
        invoked = list(self.invoked)
        for _ in range(INVOCATIONS_TO_RECOVER_MAX):
            self.invoke(1)
            if set(invoked) <= set(self._receiver.taken):
                break
        assert sorted(each for each in self._receiver.taken if each in invoked) == sorted(invoked)
        assert self.waited_ms < self.LIMIT_MS


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
def troubled(opt: Path, plain: Path, stage: Stage, receiver: Receiver) -> Iterator[Troubled]:
    environment = {
        "AWS_LAMBDA_EXEC_WRAPPER": str(opt / WRAPPER),
        "OTEL_INSTRUMENTATION_AWS_LAMBDA_FLUSH_TIMEOUT": str(Troubled.LIMIT_MS),
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60000",  # so that nothing but the flush gives up
        "OTEL_BSP_EXPORT_TIMEOUT": "60000",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{receiver.port}",
        "O2_OTLP_PORT": str(receiver.port),  # so that it counts as the extension's
    }
    with stage.start("java", HELLO, plain, **environment) as function:
        yield Troubled(function, receiver)


def test_a_receiver_that_hangs_holds_one_invocation(troubled: Troubled, receiver: Receiver) -> None:
    """One export waits for its answer, all other spans for that one. A closed connection costs nothing.

    A receiver that does not understand which invocation begins is told once.
    """
    troubled.invoke(1)
    receiver.drop_connections()  # as after a freeze
    troubled.invoke(1)
    assert (receiver.exports, receiver.messages) == (3, 1)  # one of nothing, at the start
    receiver.status = 0
    troubled.invoke(5)
    assert receiver.exports == 4
    receiver.answer()
    troubled.assert_recovered()
    assert receiver.messages == 1


def test_a_receiver_that_refuses_gets_the_spans_later(troubled: Troubled, receiver: Receiver) -> None:
    """Nobody there, or 503: the spans are kept, and arrive once."""
    troubled.invoke(1)
    receiver.down()
    troubled.invoke(2)
    assert receiver.exports == 2
    receiver.status = 503
    receiver.up()
    troubled.invoke(3)
    assert 2 < receiver.exports < 2 + 3
    assert receiver.taken == troubled.invoked[:1]
    receiver.answer()
    troubled.assert_recovered()


def test_the_zip_holds_the_agent_and_says_so(java_zip: Path) -> None:
    """Beside the core: the wrapper, our extension, the agent, its licence, and its place in the bill of materials."""
    with zipfile.ZipFile(java_zip) as archive:
        names = set(archive.namelist())
        document = json.loads(archive.read("o2/sbom.spdx.json"))
        licence = archive.read(f"o2/licenses/{AGENT.name}.txt").decode()
        agent = archive.read(JAVA_AGENT)
    core = {name for name in names if name.startswith(("extensions/", "o2/ca/", "o2/licenses/", "o2/sbom"))}
    assert names - core == {WRAPPER, JAVA_AGENT, JAVA_EXTENSION}
    (package,) = [each for each in document["packages"] if each["name"] == AGENT.name]
    assert (package["versionInfo"], package["licenseDeclared"]) == (AGENT.version, "Apache-2.0")
    assert package["checksums"][0]["checksumValue"] == hashlib.sha256(agent).hexdigest()
    assert "Apache License" in licence
    assert "byte-buddy" in licence


def test_arm64_has_the_same_agent(java_zip: Path, tmp_path: Path) -> None:
    """The zips of the two architectures have the same files, and differ in the extension and what is said of it."""
    (other,) = java_zips(tmp_path, "arm64" if host().arch == "x86_64" else "x86_64")
    with zipfile.ZipFile(java_zip) as ours, zipfile.ZipFile(other) as theirs:
        assert ours.namelist() == theirs.namelist()
        different = {name for name in ours.namelist() if ours.read(name) != theirs.read(name)}
    assert different == {f"extensions/{EXECUTABLE}", "o2/sbom.spdx.json"}


@pytest.mark.parametrize("java", [*(pytest.param(each, marks=thorough) for each in VERSIONS[:-1]), "25"], indirect=True)
@pytest.mark.usefixtures("java")
def test_every_java_compiles_our_extension_to_the_same_bytes(java_zip: Path, tmp_path: Path) -> None:
    """Whoever builds the layer, with whatever Java."""
    agent, compiler = (fetched(Store(CACHE), artifact) for artifact in (AGENT, COMPILER))
    with zipfile.ZipFile(java_zip) as archive:
        shipped = archive.read(JAVA_EXTENSION)
    assert extension(Store(tmp_path), agent, compiler, INSTRUMENT / "java") == shipped


def test_packing_twice_gives_the_same_bytes(java_zip: Path, tmp_path: Path) -> None:
    """Whoever builds the same sources can verify a published layer."""
    (again,) = java_zips(tmp_path)
    assert again.read_bytes() == java_zip.read_bytes()


def test_an_agent_with_another_digest_is_refused(tmp_path: Path) -> None:
    """Whatever the repository serves, only the pinned release goes into the layer."""
    with pytest.raises(LayerError, match="pinned is 0000"):
        fetched(Store(tmp_path), AGENT._replace(sha256="0000"))
