"""Listens in on an HTTP server's connections: aiohttp reads the trailers of a chunked request, and forgets them."""

from __future__ import annotations

import asyncio
from typing import cast

TAIL_BYTES = 512 * 1024  # trailers may carry a whole stack trace
LAST_CHUNK = b"\r\n0\r\n"


class Tap(asyncio.Protocol):
    """Hands everything on to `inner`, and keeps the end of what came in."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._tail = (self._tail + data)[-TAIL_BYTES:] if len(data) < TAIL_BYTES else data[-TAIL_BYTES:]
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._inner.resume_writing()

    def trailers(self) -> dict[str, str]:
        """Return the trailers of the chunked request that has just been read to its end, names in lower case."""
        _body, found, block = self._tail.rpartition(LAST_CHUNK)
        lines = block.decode("latin-1").split("\r\n") if found else []
        pairs = [line.partition(":") for line in lines if ":" in line]
        return {name.strip().lower(): value.strip() for name, _colon, value in pairs}


def trailers_of(transport: asyncio.BaseTransport | None) -> dict[str, str]:
    """Return the trailers of the request just read from a connection behind a tap."""
    return cast("Tap", cast("asyncio.Transport", transport).get_protocol()).trailers() if transport else {}
