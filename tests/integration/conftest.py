"""Fixtures: the extension as a real process, between stubs or under the emulator with a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from o2_lambda.backend import BackendServer
from tests.integration.rig import Arena
from tests.integration.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """Builds extensions between stubs."""
    built = Arena(tmp_path)
    with built.stack:
        yield built


@pytest.fixture
def backend() -> Iterator[BackendServer]:
    """A fresh backend."""
    with BackendServer() as server:
        yield server


@pytest.fixture
def stage(tmp_path: Path, backend: BackendServer) -> Stage:
    """Builds Lambda functions with the extension, which send to `backend`."""
    return Stage(tmp_path, backend)
