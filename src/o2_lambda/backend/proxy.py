"""A TCP proxy for faults below HTTP: connections never accepted, handshakes that stall, resets at a byte position.

It forwards to any host and port, TLS or not, without looking inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import socket
import struct
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeAlias

    # What is still to be awaited in the loop's thread.
    _Pending: TypeAlias = asyncio.Future[list[BaseException | None]]

_CHUNK_BYTES = 65_536
# Connections the kernel holds while the proxy is paused.
_BACKLOG = 128
# SO_LINGER on, zero seconds: close() discards what is unsent and sends RST.
_LINGER_RESET = struct.pack("ii", 1, 0)
# Linux: a socket filter of one instruction, "return 0", discards what comes before TCP sees it.
_SO_ATTACH_FILTER = 26
_RETURN = 0x06
# TLS says goodbye in a record of this size at most; what is longer asks for something.
_FAREWELL_BYTES = 64
_CONTENT_LENGTH = re.compile(rb"(?i)(content-length: *)(\d+)")


@dataclass
class ProxyFaults:
    """What goes wrong with connections accepted from now on; byte positions count from a connection's first byte."""

    # Accepted, but nothing is read or written: a TLS handshake stalls, a request is never taken.
    stall: bool = False
    # Reset as soon as accepted.
    reset_on_accept: bool = False
    # Reset once the client has sent, or was answered, this many bytes; those bytes still pass.
    reset_after_request_bytes: int | None = None
    reset_after_answer_bytes: int | None = None
    # FIN towards the client once it was answered this many bytes; what it sends is still read.
    half_close_after_answer_bytes: int | None = None
    # The answer one byte per this time, status line included.
    dribble_ms: float = 0
    # Added to every chunk, both ways.
    latency_ms: float = 0
    # Added to the answer's Content-Length, whose digits must come in the answer's first chunk: a server that miscounts.
    content_length_off: int = 0


class _ResetError(Exception):
    """The byte position of a reset is reached."""


class FaultProxy:
    """Forwards connections from a port of its own, `port` on 127.0.0.1; a context manager with a thread inside."""

    def __init__(self, upstream_host: str, upstream_port: int, faults: ProxyFaults | None = None) -> None:
        self.faults = faults if faults is not None else ProxyFaults()
        self.upstream = (upstream_host, upstream_port)  # of connections accepted from now on
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]
        self._accepted = 0
        self._abandoned = 0
        self._tunnels: dict[asyncio.Task[None], _Tunnel] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="o2-fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pause()
        self._call(self._end_tunnels)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    @property
    def connections_accepted(self) -> int:
        """How many connections were accepted, those included that a fault cut at once."""
        return self._accepted

    @property
    def requests_abandoned(self) -> int:
        """How often a client hung up, or reset its connection, with an answer still to come: it gave up waiting."""
        return self._abandoned

    def pause(self) -> None:
        """Accept no more: new connections wait in the kernel's backlog, open ones go on."""
        self._call(self._stop_accepting)

    def resume(self) -> None:
        """Accept again, first what waits in the backlog."""
        self._call(self._start_accepting)

    def reset_all_connections(self) -> None:
        """Send RST on every open connection; it is done on return."""
        self._call(self._reset_tunnels)

    def forget_all_connections(self) -> None:
        """Discard what open connections bring from now on, unacknowledged, as a NAT does that forgot them (Linux)."""
        self._call(self._forget_tunnels)

    def _call(self, act: Callable[[], _Pending | None]) -> None:
        """Run `act` in the loop's thread, and wait for it and for what it returns."""

        async def run() -> None:
            pending = act()
            if pending is not None:
                await pending

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _start_accepting(self) -> None:
        if self._accepting is None:
            self._accepting = self._loop.create_task(self._accept())

    def _stop_accepting(self) -> _Pending:
        accepting, self._accepting = self._accepting, None
        return _cancel([] if accepting is None else [accepting])

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            self._accepted += 1
            tunnel = _Tunnel(client, self.upstream, replace(self.faults), self._note_abandoned)
            task = self._loop.create_task(tunnel.run())
            self._tunnels[task] = tunnel
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tunnels.pop(task).hang_up()  # a task that is cancelled before its first turn has not done it itself

    def _note_abandoned(self) -> None:
        self._abandoned += 1

    def _reset_tunnels(self) -> _Pending:
        for tunnel in self._tunnels.values():
            tunnel.ends_with_reset = True
        return self._end_tunnels()

    def _forget_tunnels(self) -> None:
        for tunnel in self._tunnels.values():
            tunnel.forget()

    def _end_tunnels(self) -> _Pending:
        return _cancel(list(self._tunnels))


def _cancel(tasks: list[asyncio.Task[None]]) -> _Pending:
    for task in tasks:
        task.cancel()
    return asyncio.gather(*tasks, return_exceptions=True)


class _Tunnel:
    """One connection through the proxy."""

    def __init__(
        self, client: socket.socket, upstream: tuple[str, int], faults: ProxyFaults, abandoned: Callable[[], None]
    ) -> None:
        self.ends_with_reset = False
        self._abandoned = abandoned
        self._awaits_answer = False  # the client's last words were a question
        self._client = client
        self._upstream = upstream
        self._faults = faults

    async def run(self) -> None:
        """Forward both ways until both ends are closed, a fault strikes, or the task is cancelled."""
        self._client.settimeout(0)
        family = socket.AF_INET6 if ":" in self._upstream[0] else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        server.settimeout(0)
        for end in (self._client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._forward(server)
        except* (_ResetError, OSError):
            self.ends_with_reset = True
        finally:
            server.close()
            self.hang_up()

    def hang_up(self) -> None:
        """End the client's connection, once."""
        if self.ends_with_reset and self._client.fileno() >= 0:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._client.close()

    def forget(self) -> None:
        """Discard from now on whatever the client's side sends."""
        instruction = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
        program = struct.pack("HxxxxxxP", 1, ctypes.addressof(instruction))
        self._client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    async def _forward(self, server: socket.socket) -> None:
        faults = self._faults
        if faults.reset_on_accept:
            raise _ResetError
        if faults.stall:
            await asyncio.get_running_loop().create_future()
        await asyncio.get_running_loop().sock_connect(server, self._upstream)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(self._client, server, reset_after=faults.reset_after_request_bytes))
            group.create_task(
                self._pump(
                    server,
                    self._client,
                    reset_after=faults.reset_after_answer_bytes,
                    close_after=faults.half_close_after_answer_bytes,
                    dribble_ms=faults.dribble_ms,
                    length_off=faults.content_length_off,
                )
            )

    async def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        *,
        reset_after: int | None,
        close_after: int | None = None,
        dribble_ms: float = 0,
        length_off: int = 0,
    ) -> None:
        """Forward one direction, up to the first byte position at which something is to happen."""
        loop = asyncio.get_running_loop()
        bounds = [bound for bound in (reset_after, close_after) if bound is not None]
        room = min(bounds, default=None)
        while room is None or room > 0:
            chunk = await self._receive(source, 1 if dribble_ms else _CHUNK_BYTES)
            if not chunk:
                break
            await asyncio.sleep((self._faults.latency_ms + dribble_ms) / 1000)
            if length_off:
                chunk = _CONTENT_LENGTH.sub(lambda found: b"%s%d" % (found[1], int(found[2]) + length_off), chunk, 1)
            passing = chunk if room is None else chunk[:room]
            await loop.sock_sendall(sink, passing)
            if sink is self._client:
                self._awaits_answer = False
            room = None if room is None else room - len(passing)
        if room == 0 and reset_after is not None and reset_after == min(bounds):
            raise _ResetError
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(source, _CHUNK_BYTES):
            pass

    async def _receive(self, source: socket.socket, bytes_max: int) -> bytes:
        """What has come, empty at the end; of a client it is noted whether it still wanted an answer then."""
        loop = asyncio.get_running_loop()
        if source is not self._client:
            return await loop.sock_recv(source, bytes_max)
        try:
            chunk = await loop.sock_recv(source, bytes_max)
        except ConnectionError:  # what it had been sent was not read
            self._abandoned()
            raise
        if len(chunk) > _FAREWELL_BYTES:
            self._awaits_answer = True
        elif not chunk and self._awaits_answer:
            self._abandoned()
        return chunk
