"""Settings of the local backend."""

from __future__ import annotations

import base64
import hmac
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from o2_lambda.backend.encoding import BODY_BYTES_MAX
from o2_lambda.backend.records import COLUMNS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from o2_lambda.backend.store import Store

# OpenObserve's own HTTP port, and the credentials its documentation uses.
DEFAULT_PORT = 5080
DEFAULT_USER = "root@example.com"
DEFAULT_SECRET = "Complexpass#123"  # noqa: S105 - a default for local use, printed on start
DEFAULT_ORGANIZATION = "default"

# How long a connection may sit idle before the server closes it.
KEEP_ALIVE_SECONDS = 30


def _now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """What a backend is started with; `port` 0 takes a free one, `store` overrides `database`."""

    host: str = "127.0.0.1"
    port: int = 0
    user: str = DEFAULT_USER
    secret: str = field(default=DEFAULT_SECRET, repr=False)
    organization: str = DEFAULT_ORGANIZATION
    # A root user creates an organization by posting to it; any other is refused with 401.
    is_root: bool = True
    # Path in front of every route, as ZO_BASE_URI sets it: "/o2".
    base_path: str = ""
    database: Path | str = ":memory:"
    store: Store | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    body_bytes_max: int = BODY_BYTES_MAX
    columns_max: int = COLUMNS_MAX
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS
    now_us: Callable[[], int] = _now_us

    @property
    def authorization_header(self) -> str:
        """The value of Authorization that the backend accepts."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    def accepts(self, authorization: str) -> bool:
        """Tell whether a request's Authorization is ours; the scheme is case-insensitive."""
        scheme, _, credentials = authorization.partition(" ")
        expected = self.authorization_header.partition(" ")[2]
        return scheme.lower() == "basic" and hmac.compare_digest(credentials.strip().encode(), expected.encode())
