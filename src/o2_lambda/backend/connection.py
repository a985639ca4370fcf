"""The HTTP/1.1 connection under the application: numbers it and lets faults reach its socket."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from o2_lambda.backend.journal import Journal

# SO_LINGER on, zero seconds: close() discards what is unsent and sends RST.
_LINGER_RESET = struct.pack("ii", 1, 0)


class Connection(H11Protocol):
    """uvicorn's protocol, handed to the application as `scope["state"]["connection"]`."""

    number = 0

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Number the connection."""
        journal: Journal = self.config.app.journal  # type: ignore[union-attr]
        self.number = journal.open_connection()
        super().connection_made(transport)

    def reset(self) -> None:
        """Send RST."""
        raw: socket.socket | None = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.transport.abort()

    def drop(self) -> None:
        """Close without an answer, as a server does whose handler panicked."""
        self.transport.close()

    def half_close(self) -> None:
        """Send FIN and go on reading; TLS has no such thing, there the connection is closed."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def close_when_idle(self, idle_ms: float) -> None:
        """Close the connection without notice when no request follows for this long."""
        self.timeout_keep_alive = idle_ms / 1000  # type: ignore[assignment]
