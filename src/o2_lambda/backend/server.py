"""The backend as a server: uvicorn in a thread of this process, started and stopped at will."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Self

import duckdb
import uvicorn

from o2_lambda.backend.app import build_app
from o2_lambda.backend.config import BackendConfig
from o2_lambda.backend.connection import Connection
from o2_lambda.backend.duckstore import DuckStore
from o2_lambda.backend.faults import Faults
from o2_lambda.backend.gate import Gate
from o2_lambda.backend.journal import Journal, RequestRecord
from o2_lambda.backend.names import LOGS, StreamKey
from o2_lambda.backend.sql import quote
from o2_lambda.backend.store import CountingStore, Query, StreamInfo

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

# Listening is a matter of milliseconds; anything near this means that the thread is dead.
START_SECONDS_MAX = 10
# Requests in progress get this long to finish when the server stops.
STOP_SECONDS_MAX = 2
# Connections waiting to be accepted; a load test opens many at once.
BACKLOG = 512


class BackendError(RuntimeError):
    """The backend cannot start; the message names the reason and what to do."""


class BackendServer:
    """A running backend. Use it as a context manager, or call start() and stop(), in any order and again.

    The port and the data outlive stop(), so that a client sees one backend go down and come back; close() ends both.
    """

    def __init__(self, config: BackendConfig | None = None) -> None:
        self.config = config if config is not None else BackendConfig()
        self.faults = Faults()
        self._journal = Journal()
        self._store = self.config.store if self.config.store is not None else _open_database(self.config.database)
        self._gate = Gate(build_app(self.config, self._store), self.faults, self._journal)
        self._port = self.config.port
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen, and return once connections are accepted. Raises BackendError when the port is taken."""
        if self._running is not None:
            return
        settings = _uvicorn_config(self._gate, self.config)
        listener = _listen(self.config.host, self._port)
        self._port = listener.getsockname()[1]
        self._running = _Running(self._gate, settings, listener)

    def stop(self) -> None:
        """Close the port and all connections; requests in progress may finish first, within a bound."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def close(self) -> None:
        """Stop and release the store."""
        self.stop()
        self._store.close()

    @property
    def port(self) -> int:
        """The port in use; 0 before the first start when none was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """The URL to put in O2_ENDPOINT."""
        scheme = "http" if self.config.certificate is None else "https"
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{scheme}://{host}:{self._port}{self.config.base_path}"

    @property
    def authorization_header(self) -> str:
        """The value to put in O2_AUTHORIZATION_HEADER."""
        return self.config.authorization_header

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests so far, in order of arrival."""
        return self._journal.requests()

    @property
    def connections_accepted(self) -> int:
        """How many connections were opened so far."""
        return self._journal.connections()

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._journal.clear()

    def search(self, sql: str, stream_type: str = LOGS) -> list[dict[str, object]]:
        """Run a SELECT over all time and return every row. Raises SearchError."""
        return self._store.query(Query(sql, self.config.organization, stream_type)).hits

    def rows(self, stream_type: str, stream: str) -> list[dict[str, object]]:
        """Return a stream's rows, oldest first; none when there is no such stream."""
        if not any((info.key.stream_type, info.key.name) == (stream_type, stream) for info in self.streams()):
            return []
        return self.search(f"SELECT * FROM {quote(stream)} ORDER BY _timestamp", stream_type)  # noqa: S608 - quoted

    def count(self, stream_type: str, stream: str) -> int:
        """Return how many rows a stream holds; works with a store that only counts, too."""
        if isinstance(self._store, CountingStore):
            return self._store.count(StreamKey(self.config.organization, stream_type, stream))
        return next(
            (info.rows for info in self.streams() if (info.key.stream_type, info.key.name) == (stream_type, stream)), 0
        )

    def streams(self) -> list[StreamInfo]:
        """Return the streams of the organization."""
        return self._store.streams(self.config.organization)


def _open_database(database: Path | str) -> DuckStore:
    try:
        return DuckStore(database)
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        raise BackendError(f"cannot open the database {database} ({reason}); choose another file") from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise BackendError(f"cannot listen on {host}:{port} ({reason}); choose another with --port") from error
    return listener


class _Server(uvicorn.Server):
    """Says when it listens, and leaves no connection behind."""

    def __init__(self, config: uvicorn.Config, listening: threading.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it; a connection that is still there then, half closed perhaps, ends with the server."""
        await super().shutdown(sockets)
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # in which they come to their end


class _Running:
    """One life of the server, from start to stop."""

    def __init__(self, gate: Gate, settings: uvicorn.Config, listener: socket.socket) -> None:
        self._gate = gate
        listening = threading.Event()
        self._server = _Server(settings, listening)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(listener,), name="o2-backend", daemon=True)
        self._thread.start()
        if not listening.wait(START_SECONDS_MAX):
            raise BackendError("the server thread did not start; look for an error of uvicorn above")

    def _serve(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve([listener]))

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._gate.release)
        self._thread.join()


def _uvicorn_config(gate: Gate, config: BackendConfig) -> uvicorn.Config:
    settings = uvicorn.Config(
        gate,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=config.keep_alive_seconds,
        timeout_graceful_shutdown=STOP_SECONDS_MAX,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.private_key,
    )
    try:
        settings.load()
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or str(error)
        raise BackendError(
            f"cannot use the certificate {config.certificate} ({reason}); check it and its key"
        ) from error
    return settings
