"""The way to OpenObserve and its end: one proxy, in front of a good backend and of some that nobody should trust."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import trustme

from o2_lambda.backend import BackendServer
from o2_lambda.backend.config import BackendConfig
from o2_lambda.backend.faults import Fault
from o2_lambda.backend.proxy import FaultProxy, ProxyFaults
from o2_lambda.backend.store import CountingStore

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.backend.flatten import Row
    from o2_lambda.backend.names import StreamKey
    from tests.chaos.troubles import Trouble

HOST = "localhost"


class Vault(CountingStore):
    """Keeps rows as they come: cheaper than a database, and no query is needed."""

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._rows: dict[tuple[str, str], list[Row]] = {}

    def insert(self, key: StreamKey, rows: list[Row]) -> None:
        with self._guard:
            self._rows.setdefault((key.stream_type, key.name), []).extend(rows)

    def rows(self, stream_type: str, stream: str) -> list[dict[str, Any]]:
        with self._guard:
            return [dict(row) for row in self._rows.get((stream_type, stream), ())]


class Upstream:
    """Servers for many schedules in a row; each schedule has streams of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self.vault = Vault()
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self._backends: dict[str, BackendServer] = {}
        self._tls = False
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._dead_port: int = free.getsockname()[1]

    def __enter__(self) -> Self:
        self.proxy = self._stack.enter_context(FaultProxy("127.0.0.1", self._dead_port))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def begin(self, *, tls: bool) -> BackendServer:
        """A clean start for a schedule; returns the good backend."""
        self._tls = tls
        self._route("good")
        self.proxy.faults = ProxyFaults()
        self.proxy.reset_all_connections()
        backend = self.backend
        backend.faults.clear()
        backend.clear_requests()
        return backend

    @property
    def backend(self) -> BackendServer:
        """The good one."""
        return self._server("tls" if self._tls else "plain")

    @property
    def url(self) -> str:
        """What goes into O2_ENDPOINT."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.proxy.port}"

    def befall(self, trouble: Trouble) -> bool:
        """Changes the weather; kept connections end where they would escape it. Returns whether they did."""
        faults = self.backend.faults
        faults.clear()
        if trouble.fault:
            faults.plan(trouble.count, Fault(**trouble.fault))
        self._route(trouble.route or "good")
        before = self.proxy.faults
        self.proxy.faults = ProxyFaults(**trouble.proxy)
        cuts = bool(trouble.route) or self.proxy.faults != before
        if cuts:
            self.proxy.reset_all_connections()
        return cuts

    @property
    def is_clear(self) -> bool:
        """Whether nothing is left of any trouble."""
        faults = self.backend.faults
        return not faults._plan and self.proxy.faults == ProxyFaults() and self.proxy.upstream[1] == self.backend.port

    def cut(self, how: str) -> None:
        """What a freeze does to kept connections."""
        if how == "reset":
            self.proxy.reset_all_connections()
        elif how == "forget":
            self.proxy.forget_all_connections()

    def restart(self) -> None:
        """The backend goes down and comes back."""
        self.backend.stop()
        self.backend.start()

    def _route(self, name: str) -> None:
        if name == "down":
            port = self._dead_port
        elif name == "good":
            port = self.backend.port
        else:
            port = self._server(name).port
        self.proxy.upstream = ("127.0.0.1", port)

    def _server(self, kind: str) -> BackendServer:
        """plain, tls, expired, misnamed or unknown, started when first asked for; all share the vault."""
        if kind not in self._backends:
            config: dict[str, Any] = {"store": self.vault}
            if kind != "plain":
                config |= self._certificate(kind)
            self._backends[kind] = self._stack.enter_context(BackendServer(BackendConfig(**config)))
        return self._backends[kind]

    def _certificate(self, kind: str) -> dict[str, Path]:
        authority = trustme.CA() if kind == "unknown" else self.authority
        name = "other.example" if kind == "misnamed" else HOST
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
        issued = authority.issue_cert(name, not_after=past) if kind == "expired" else authority.issue_cert(name)
        chain, key = self._folder / f"{kind}.pem", self._folder / f"{kind}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return {"certificate": chain, "private_key": key}
