"""The gate in front of the application: writes the journal and carries out faults."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from o2_lambda.backend.faults import Fault, Faults, Reset
from o2_lambda.backend.journal import Journal, RequestRecord

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from o2_lambda.backend.connection import Connection


class Gate:
    """ASGI application around the real one. Faults that replace the answer never reach the inner application."""

    def __init__(self, app: ASGIApp, faults: Faults, journal: Journal) -> None:
        self._app = app
        self._faults = faults
        self._held: set[Connection] = set()
        self.journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection: Connection = scope["state"]["connection"]
        fault = self._faults.take(scope["path"])
        record = _open_record(scope, connection.number)
        self.journal.add(record)
        if fault.idle_close_ms is not None:
            connection.close_when_idle(fault.idle_close_ms)
        exchange = Exchange(connection, fault, record, receive, send)
        if fault.reset is Reset.BEFORE_READING:
            await exchange.reset()
        elif fault.half_close:
            connection.half_close()
            await self._hold(exchange)
        elif fault.black_hole:
            await self._hold(exchange)
        elif fault.status is not None:
            await exchange.answer_status(fault.status)
        else:
            scope["state"]["exchange"] = exchange
            await self._app(scope, exchange.receive, exchange.send)

    async def _hold(self, exchange: Exchange) -> None:
        """Read what comes and never answer, until the client leaves or the backend stops."""
        self._held.add(exchange.connection)
        try:
            await exchange.wait_for_disconnect()
        finally:
            self._held.discard(exchange.connection)

    def release(self) -> None:
        """Cut the connections that black holes hold; called in the event loop when the server stops."""
        for connection in list(self._held):
            connection.drop()


def _open_record(scope: Scope, connection: int) -> RequestRecord:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    path = scope["path"] + (f"?{query}" if query else "")
    return RequestRecord(scope["method"], path, connection, time.monotonic(), headers)


class Exchange:
    """One request and its answer, with the faults of its body and its answer applied on the way through."""

    def __init__(
        self, connection: Connection, fault: Fault, record: RequestRecord, receive: Receive, send: Send
    ) -> None:
        self.connection = connection
        self.fault = fault
        self.record = record
        self._receive = receive
        self._send = send
        self._answered_bytes = 0
        self._is_gone = False

    async def receive(self) -> Message:
        """Pass on what arrives, counting the body."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.record.body_bytes += len(message.get("body", b""))
            if self.fault.reset is Reset.IN_BODY and self.record.body_bytes >= self.fault.reset_at_bytes:
                await self.reset()
                return {"type": "http.disconnect"}
        return message

    async def wait_for_disconnect(self) -> None:
        """Read and discard until the client is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def reset(self) -> None:
        """Send RST; what the application still answers goes nowhere."""
        self._is_gone = True
        self.connection.reset()
        await self._await_end()

    async def drop(self) -> None:
        """Close the connection; what the application still answers goes nowhere."""
        self._is_gone = True
        self.connection.drop()
        await self._await_end()

    async def _await_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: Message) -> None:
        """Pass on the answer, as the fault deforms it."""
        if self._is_gone:
            return
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message["type"] == "http.response.body":
            await self._send_body(message)

    async def _start(self, message: Message) -> None:
        if self.fault.latency_ms:
            await asyncio.sleep(self.fault.latency_ms / 1000)
        if self.fault.reset is Reset.BEFORE_ANSWER:
            await self.reset()
            return
        if self.fault.content_type is not None:
            headers = [pair for pair in message["headers"] if pair[0].lower() != b"content-type"]
            message["headers"] = [*headers, (b"content-type", self.fault.content_type.encode("latin-1"))]
        self.record.status = message["status"]
        self.record.t_answered = time.monotonic()
        await self._send(message)

    async def _send_body(self, message: Message) -> None:
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self.fault.reset is Reset.IN_ANSWER and self._answered_bytes + len(body) >= self.fault.reset_at_bytes:
            await self._send_part(body[: self.fault.reset_at_bytes - self._answered_bytes], more=True)
            await self.reset()
            return
        step = 1 if self.fault.slow_loris_ms and body else max(1, len(body))
        for start in range(0, max(1, len(body)), step):
            if self.fault.slow_loris_ms:
                await asyncio.sleep(self.fault.slow_loris_ms / 1000)
            part = body[start : start + step]
            await self._send_part(part, more=more or start + step < len(body))

    async def _send_part(self, part: bytes, *, more: bool) -> None:
        self._answered_bytes += len(part)
        await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def answer_status(self, status: int) -> None:
        """Read the body and answer with a bare status."""
        message = await self.receive()
        while message["type"] == "http.request" and message.get("more_body", False):
            message = await self.receive()
        body = self.fault.body if self.fault.body is not None else f"fault: {status}".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        if self.fault.retry_after is not None:
            headers.append((b"retry-after", self.fault.retry_after.encode("latin-1")))
        start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})
