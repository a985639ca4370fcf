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
from o2_lambda.layer.source import write_extension
from tests.integration.wire import free_port

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


# Set by `make examples`: what takes minutes to compile from nothing is built too.
thorough = pytest.mark.skipif(
    os.environ.get("O2_TEST_EXAMPLES") != "all", reason="compiles for a minute or more: run `make examples`"
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
                memory_mb=512,
            )
        )

    def spans(self) -> list[Row]:
        """The spans at the backend, by start."""
        return sorted(self.backend.rows("traces", "default"), key=lambda row: row["start_time"])

    def printed(self) -> list[str]:
        """The lines of the function itself that have arrived."""
        return [row["record"] for row in self.backend.rows("logs", "default") if row["type"] == "function"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with BackendServer() as backend:
        yield Stage(tmp_path, backend)
