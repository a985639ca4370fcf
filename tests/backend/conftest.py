from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from o2_lambda.backend import BackendServer

from .client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def backend() -> Iterator[BackendServer]:
    with BackendServer() as server:
        yield server


@pytest.fixture
def client(backend: BackendServer) -> Iterator[Client]:
    with Client(backend) as http:
        yield http
