"""Fixtures: a backend, our extension as a file, and functions under the emulator with both."""

from __future__ import annotations

import fcntl
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.backend import BackendServer
from o2_lambda.emulator import LambdaConfig, LocalLambda
from o2_lambda.layer.source import EXTENSION_NAME, write_extension
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
FUNCTIONS = HERE / "functions"
NODE_MODULES = HERE / "node" / "node_modules"
PYTHON = (sys.executable, "-m", "awslambdaric")
NODE_CLIENT = NODE_MODULES / "aws-lambda-ric"
EXPORT_LIMIT_MS = 10_000  # of an SDK inside the function; the machine may be busy

Row = dict[str, Any]


def node_unavailable(*needed: str) -> str:
    """Why a test with these Node.js packages cannot run here; "" where it can."""
    if not shutil.which("node"):
        return "Node.js is not installed"
    missing = [name for name in needed if not (NODE_MODULES / name).exists()]
    return f"{', '.join(missing)} missing: run `make node`" if missing else ""


@contextmanager
def exclusive(port: int) -> Iterator[None]:
    """Keeps a fixed port to one test of this machine at a time, whichever process runs it."""
    with Path(tempfile.gettempdir(), f"o2-lambda-tests-port-{port}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def backend() -> Iterator[BackendServer]:
    with BackendServer() as server:
        yield server


@dataclass
class Scene:
    """One test's function, extension and backend."""

    folder: Path
    backend: BackendServer
    otlp_port: int

    @property
    def settings(self) -> dict[str, str]:
        """The extension's settings: the backend, and a port of its own for OTLP."""
        return {
            "O2_ORGANIZATION_ID": "default",
            "O2_AUTHORIZATION_HEADER": self.backend.authorization_header,
            "O2_ENDPOINT": self.backend.url,
            "O2_OTLP_PORT": str(self.otlp_port),
            "O2_ENHANCED_METRICS": "false",
        }

    @property
    def extension(self) -> Path:
        """Our extension, from source."""
        folder = self.folder / "opt" / "extensions"
        if not (folder / EXTENSION_NAME).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_extension(folder)
        return folder / EXTENSION_NAME

    def task(self, name: str) -> Path:
        """The function's folder, with one of our functions in it."""
        folder = self.folder / "task"
        folder.mkdir(exist_ok=True)
        shutil.copy(FUNCTIONS / name, folder)
        return folder

    def python(self, file: str, **changes: Any) -> LocalLambda:
        """A function under AWS's Python client."""
        return self._function(PYTHON, file, changes)

    def node(self, file: str, **changes: Any) -> LocalLambda:
        """A function under AWS's Node.js client. Its packages are found beside it, as in a deployment package."""
        task = self.task(file)
        if not (task / "node_modules").exists():
            (task / "node_modules").symlink_to(NODE_MODULES)
        node = shutil.which("node")
        assert node is not None
        changes = {"execution_env": "AWS_Lambda_nodejs20.x", **changes}
        return self._function((node, str(NODE_CLIENT / "index.mjs")), file, changes)

    def _function(self, command: tuple[str, ...], file: str, changes: dict[str, Any]) -> LocalLambda:
        environment = {**self.settings, **changes.pop("environment", {})}
        config: dict[str, Any] = {
            "handler": f"{Path(file).stem}.handler",
            "task_root": self.task(file),
            "extensions": [self.extension],
            "environment": environment,
            "timeout_ms": EXPORT_LIMIT_MS * 2,
            **changes,
        }
        return LocalLambda(LambdaConfig(command, **config))

    def logs(self, kind: str = "function") -> list[Row]:
        """The stored log records of one type, in the order in which they were sent."""
        return [row for row in self.backend.rows("logs", "default") if row["type"] == kind]


@pytest.fixture
def scene(tmp_path: Path, backend: BackendServer) -> Scene:
    return Scene(tmp_path, backend, free_port())
