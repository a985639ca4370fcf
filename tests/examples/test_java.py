"""Java: the java variant's zip with AWS's own runtime client, and a function with an SDK of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from o2_lambda.layer.build import JAVA_AGENT, WRAPPER
from o2_lambda.layer.build import build as build_layer
from o2_lambda.layer.java import AGENT, fetched
from o2_lambda.layer.linking import EXECUTABLE
from o2_lambda.layer.process import LayerError
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import host
from tests.examples.conftest import Stage, build, copied, needs
from tests.packaging.conftest import CACHE, skip_unavailable, unpacked

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900), needs("javac", "mvn")]

SERVER = "2"
HELLO, TRACED = "example.Hello::handleRequest", "example.Traced::handleRequest"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built."""
    folder = copied("java", tmp_path_factory.mktemp("java"))
    build(folder, "mvn", "-q", "-B", "compile", "dependency:copy-dependencies")
    return folder


@pytest.fixture
def traced(project: Path, tmp_path: Path) -> Path:
    """A function with all of the example, as Lambda unpacks it: classes, and jars in lib."""
    task = shutil.copytree(project / "target" / "classes", tmp_path / "task")
    shutil.copytree(project / "target" / "dependency", task / "lib")
    return Path(task)


@pytest.fixture
def plain(traced: Path) -> Path:
    """A function without OpenTelemetry."""
    (traced / "example" / "Traced.class").unlink()
    for jar in traced.glob("lib/opentelemetry-*.jar"):
        jar.unlink()
    return traced


def java_zips(folder: Path) -> list[Path]:
    """The java variant for this machine's own architecture, as it ships."""
    with skip_unavailable():
        return build_layer([host().arch], ["java"], folder, CACHE)


@pytest.fixture(scope="module")
def java_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip."""
    return java_zips(tmp_path_factory.mktemp("target"))[0]


@pytest.fixture(scope="module")
def opt(java_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The java layer, unpacked."""
    return unpacked(java_zip, tmp_path_factory.mktemp("opt"))


def test_a_function_without_a_line_for_tracing_is_traced(opt: Path, plain: Path, stage: Stage) -> None:
    """A span of each invocation, with the function's identity; X-Ray's sampling decision is none of ours."""
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": str(opt / WRAPPER), "OTEL_RESOURCE_ATTRIBUTES": "faas.version=7,a.b=c"}
    with stage.start("java", HELLO, plain, extension=opt / "extensions" / EXECUTABLE, **environment) as function:
        first = function.invoke(trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0")
        second = function.invoke()
        function.shutdown()
        said = {entry.line.strip() for entry in function.output if entry.source == "function"}
    assert (first.payload, second.payload) == (b'"ok"', b'"ok"')
    spans = stage.spans()
    expected = {
        "operation_name": "hello", "span_kind": SERVER, "service_name": "hello", "service_cloud_provider": "aws",
        "service_cloud_region": "us-east-1", "service_faas_name": "hello", "service_faas_version": "7",
        "service_a_b": "c", "cloud_account_id": "123456789012",
    }  # fmt: skip
    assert [{name: span[name] for name in expected} for span in spans] == [expected] * 2
    assert [span["faas_invocation_id"] for span in spans] == [first.request_id, second.request_id]
    assert not [name for span in spans for name in span if name.startswith(("service_process_", "service_host_"))]
    assert stage.printed().count("hello\n") == 2
    assert [line for line in said if not line.startswith(("OpenJDK ", "[otel.javaagent "))] == ["hello"]


def test_an_error_is_the_callers_and_the_spans(opt: Path, plain: Path, stage: Stage) -> None:
    """The payload is the one without the layer; the span carries the exception."""
    event = b'{"fail": true}'
    with stage.start("java", HELLO, plain, AWS_LAMBDA_EXEC_WRAPPER=str(opt / WRAPPER), O2_TRACING="off") as function:
        bare = function.invoke(event)
        said = [entry.line for entry in function.output if entry.source == "function"]
    assert stage.spans() == []
    assert said[0].startswith("asked to: java.lang.IllegalStateException")
    with stage.start("java", HELLO, plain, AWS_LAMBDA_EXEC_WRAPPER=str(opt / WRAPPER)) as function:
        traced = function.invoke(event)
        function.shutdown()
    assert traced.payload == bare.payload
    span = next(span for span in stage.spans() if span["span_kind"] == SERVER)
    assert span["span_status"] == "ERROR"
    (recorded,) = json.loads(span["events"])
    assert (recorded["exception.type"], recorded["exception.message"]) == (
        "java.lang.IllegalStateException",
        "asked to",
    )


@pytest.mark.parametrize("wrapped", [False, True])
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


def test_the_zip_holds_the_agent_and_says_so(java_zip: Path) -> None:
    """Beside the core: the wrapper, the agent, its licence, and its place in the bill of materials."""
    with zipfile.ZipFile(java_zip) as archive:
        names = set(archive.namelist())
        document = json.loads(archive.read("o2/sbom.spdx.json"))
        licence = archive.read(f"o2/licenses/{AGENT.name}.txt").decode()
        agent = archive.read(JAVA_AGENT)
    core = {name for name in names if name.startswith(("extensions/", "o2/ca/", "o2/licenses/", "o2/sbom"))}
    assert names - core == {WRAPPER, JAVA_AGENT}
    (package,) = [each for each in document["packages"] if each["name"] == AGENT.name]
    assert (package["versionInfo"], package["licenseDeclared"]) == (AGENT.version, "Apache-2.0")
    assert package["checksums"][0]["checksumValue"] == hashlib.sha256(agent).hexdigest()
    assert "Apache License" in licence
    assert "byte-buddy" in licence


def test_packing_twice_gives_the_same_bytes(java_zip: Path, tmp_path: Path) -> None:
    """Whoever builds the same sources can verify a published layer."""
    (again,) = java_zips(tmp_path)
    assert again.read_bytes() == java_zip.read_bytes()


def test_an_agent_with_another_digest_is_refused(tmp_path: Path) -> None:
    """Whatever the repository serves, only the pinned release goes into the layer."""
    with pytest.raises(LayerError, match="pinned is 0000"):
        fetched(Store(tmp_path), AGENT._replace(sha256="0000"))
