"""Fixtures: the examples, built as their users build them, under the emulator with our extension and a backend."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.backend import BackendServer
from o2_lambda.emulator import LambdaConfig, LocalLambda
from o2_lambda.emulator.runtimes import resolve
from o2_lambda.layer.build import build as build_layer
from o2_lambda.layer.source import write_extension
from o2_lambda.layer.toolchain import host
from tests.examples.javas import VERSIONS, folders
from tests.integration.wire import free_port
from tests.packaging.conftest import CACHE, skip_unavailable, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
BUILD_LIMIT_S = 400
TIMEOUT_MS = 60_000  # of a function: a JVM on a busy machine takes its time

Row = dict[str, Any]


def needs(*tools: str) -> pytest.MarkDecorator:
    """Skips where the example's toolchain is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")


# Set by `make examples`: what takes minutes, most of them to compile from nothing, is run too.
thorough = pytest.mark.skipif(
    os.environ.get("O2_TEST_EXAMPLES") != "all", reason="of what takes minutes: run `make examples`"
)


def build(folder: Path, *command: str, **environment: str) -> None:
    """Runs a build command of an example, shows what it says where it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def copied(name: str, folder: Path) -> Path:
    """The example's folder, copied: builds leave no file in the checkout."""
    return Path(shutil.copytree(EXAMPLES / name, folder / name))


class Stage:
    """Starts functions and reads what they leave at the backend."""

    def __init__(self, folder: Path, backend: BackendServer) -> None:
        self.folder = folder
        self.backend = backend

    def start(
        self, runtime: str, handler: str, task: Path, *, extension: Path | None = None, **environment: str
    ) -> LocalLambda:
        """A function of `o2-lambda local run --runtime`, with the extension from source or another one."""
        found = resolve(runtime, handler, task)
        settings = {
            "O2_ENDPOINT": self.backend.url,
            "O2_ORGANIZATION_ID": self.backend.config.organization,
            "O2_AUTHORIZATION_HEADER": self.backend.authorization_header,
            "O2_OTLP_PORT": str(free_port()),
        }
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://localhost:{settings['O2_OTLP_PORT']}"
        return LocalLambda(
            LambdaConfig(
                found.command,
                handler=handler,
                task_root=task,
                extensions=[extension or write_extension(self.folder)],
                environment=settings | environment,
                execution_env=found.execution_env,
                function_name="hello",
                timeout_ms=TIMEOUT_MS,
                init_timeout_ms=TIMEOUT_MS,
                memory_mb=512,
            )
        )

    def spans(self) -> list[Row]:
        """The spans at the backend, by start."""
        return sorted(self.backend.rows("traces", "default"), key=lambda row: row["start_time"])

    def lines(self) -> list[Row]:
        """The lines of the function itself that have arrived."""
        return [row for row in self.backend.rows("logs", "default") if row["type"] == "function"]

    def printed(self) -> list[str]:
        """What is written in them."""
        return [row["record"] for row in self.lines()]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with BackendServer() as backend:
        yield Stage(tmp_path, backend)


@pytest.fixture(params=VERSIONS)
def java(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each Java that Lambda offers, as the one on the PATH."""
    folder = folders().get(request.param)
    if folder is None:
        pytest.skip(f"there is no Java {request.param} here: `make clients` brings it where it can be had")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return str(request.param)


@pytest.fixture(scope="session")
def java_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Java example, built."""
    folder = copied("java", tmp_path_factory.mktemp("java"))
    build(folder, "mvn", "-q", "-B", "compile", "dependency:copy-dependencies")
    return folder


@pytest.fixture
def traced(java_project: Path, tmp_path: Path) -> Path:
    """A function with all of the Java example, as Lambda unpacks it: classes, and jars in lib."""
    task = shutil.copytree(java_project / "target" / "classes", tmp_path / "task")
    shutil.copytree(java_project / "target" / "dependency", task / "lib")
    return Path(task)


@pytest.fixture
def plain(traced: Path) -> Path:
    """A Java function without OpenTelemetry."""
    (traced / "example" / "Traced.class").unlink()
    for jar in traced.glob("lib/opentelemetry-*.jar"):
        jar.unlink()
    return traced


def java_zips(folder: Path, *arches: str) -> list[Path]:
    """The java variant as it ships, for this machine's own architecture unless others are asked for."""
    with skip_unavailable():
        return build_layer(arches or [host().arch], ["java"], folder, CACHE)


@pytest.fixture(scope="session")
def java_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The java layer's zip."""
    return java_zips(tmp_path_factory.mktemp("target"))[0]


@pytest.fixture(scope="session")
def opt(java_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The java layer, unpacked."""
    return unpacked(java_zip, tmp_path_factory.mktemp("opt"))
