"""One invocation: what goes in, what is measured, what comes out."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from o2_lambda.emulator import events

if TYPE_CHECKING:
    from o2_lambda.emulator.errors import Fatal

LOG_TAIL_BYTES = 4096  # what `LogType: Tail` returns
UNHANDLED = "Unhandled"  # what X-Amz-Function-Error says of every function error


@dataclass(frozen=True)
class Response:
    """What the client gets, as soon as the runtime posted it."""

    payload: bytes
    function_error: str | None = None
    content_type: str = "application/json"
    status: int = 200
    error_details: str = ""  # of an error behind a streamed response
    streamed: bool = False  # piece by piece, as the function wrote it


@dataclass(frozen=True)
class InvokeResult:
    """A finished invocation. `outcome` is success, error (the function's), failure (a crash) or timeout.

    `duration_ms` runs from start to the last `next`; `extension_overhead_ms` is the part of it after the runtime was
    done; `billed_duration_ms` includes init or restore where there was one. `log_tail` is the last 4 KB of the log.
    """

    payload: bytes
    status: int
    function_error: str | None
    request_id: str
    outcome: str
    error_type: str | None
    duration_ms: float
    billed_duration_ms: int
    extension_overhead_ms: float
    init_duration_ms: float | None
    restore_duration_ms: float | None
    response_ms: float | None
    memory_used_mb: int
    log_tail: bytes

    def json(self) -> object:
        """Return the payload, parsed."""
        return json.loads(self.payload)


def new_trace_id(*, sampled: bool) -> str:
    """Return a fresh X-Ray trace header."""
    root = f"1-{secrets.token_hex(4)}-{secrets.token_hex(12)}"
    return f"Root={root};Parent={secrets.token_hex(8)};Sampled={int(sampled)}"


@dataclass
class Invocation:
    """An invocation on its way. `started_ms` and the like are monotonic, `*_wall_ms` are since the epoch."""

    payload: bytes
    arn: str
    trace_id: str | None
    client_context: str | None = None
    cognito_identity: str | None = None
    tenant_id: str | None = None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    started_ms: float = 0
    started_wall_ms: float = 0
    deadline_ms: float = 0
    deadline_wall_ms: float = 0
    first_byte_ms: float | None = None
    last_byte_ms: float | None = None
    runtime_done_ms: float | None = None
    delivered: bool = False
    outcome: str = "success"
    error_type: str | None = None
    content_type: str = "application/octet-stream"  # of the response
    produced_bytes: int = 0
    tail: bytes = b""
    stream: asyncio.Queue[bytes | None] | None = None  # for a client that takes pieces; None ends it
    settled: InvokeResult | None = None  # the result, once the phase has been reported

    def __post_init__(self) -> None:
        """Create the futures; needs a running loop."""
        loop = asyncio.get_running_loop()
        self.response: asyncio.Future[Response] = loop.create_future()
        self.done: asyncio.Future[InvokeResult] = loop.create_future()

    @property
    def told_error(self) -> str | None:
        """The error type telemetry tells; a timeout has none besides its status."""
        return None if self.outcome == "timeout" else self.error_type

    def answer(self, response: Response) -> None:
        """Give the client its response; only the first counts."""
        if not self.response.done():
            self.response.set_result(response)
            if self.stream is not None:
                self.stream.put_nowait(None)

    def abandon(self, error: BaseException) -> None:
        """Let go of whoever waits: the emulator itself cannot go on."""
        for waiting in (self.response, self.done):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # whoever waits gets it; nobody waiting is no warning
        if self.stream is not None:
            self.stream.put_nowait(None)

    def finish(self) -> None:
        """Hand out the settled result."""
        assert self.settled is not None  # reported before
        self.done.set_result(self.settled)

    def fail(self, fatal: Fatal) -> None:
        """Record the failure and tell the client, unless it has a response already."""
        self.outcome, self.error_type = fatal.status, fatal.error_type
        body = {"errorType": fatal.error_type, "errorMessage": f"RequestId: {self.request_id} Error: {fatal.message}"}
        self.answer(Response(fatal.payload or json.dumps(body).encode(), UNHANDLED))

    def log(self, line: str) -> None:
        """Append to the tail of the function's log."""
        self.tail = (self.tail + line.encode(errors="replace"))[-LOG_TAIL_BYTES:]

    def spans(self) -> list[events.Record]:
        """Return the spans of runtimeDone: how the response came about."""
        if self.first_byte_ms is None or self.last_byte_ms is None:
            return []
        first_wall_ms = self._wall(self.first_byte_ms)
        last_wall_ms = self._wall(self.last_byte_ms)
        spans = [
            events.span("responseLatency", self.started_wall_ms, self.first_byte_ms - self.started_ms),
            events.span("responseDuration", first_wall_ms, self.last_byte_ms - self.first_byte_ms),
        ]
        if self.runtime_done_ms is not None:
            spans.append(events.span("runtimeOverhead", last_wall_ms, self.runtime_done_ms - self.last_byte_ms))
        return spans

    def overhead_span(self, ended_ms: float) -> list[events.Record]:
        """Return the span of the report: what extensions added after the runtime was done."""
        if self.runtime_done_ms is None:
            return []
        return [events.span("extensionOverhead", self._wall(self.runtime_done_ms), ended_ms - self.runtime_done_ms)]

    def result(
        self,
        *,
        ended_ms: float,
        init_duration_ms: float | None,
        restore_duration_ms: float | None,
        memory_used_mb: int,
    ) -> InvokeResult:
        """Sum up, once the phase has ended at `ended_ms`."""
        duration_ms = ended_ms - self.started_ms
        response = self.response.result()
        done_ms = self.runtime_done_ms
        return InvokeResult(
            payload=response.payload,
            status=response.status,
            function_error=response.function_error,
            request_id=self.request_id,
            outcome=self.outcome,
            error_type=self.error_type,
            duration_ms=duration_ms,
            billed_duration_ms=math.ceil(duration_ms + (init_duration_ms or 0) + (restore_duration_ms or 0)),
            extension_overhead_ms=0.0 if done_ms is None else ended_ms - done_ms,
            init_duration_ms=init_duration_ms,
            restore_duration_ms=restore_duration_ms,
            response_ms=None if self.first_byte_ms is None else self.first_byte_ms - self.started_ms,
            memory_used_mb=memory_used_mb,
            log_tail=self.tail,
        )

    def _wall(self, mono_ms: float) -> float:
        return self.started_wall_ms + mono_ms - self.started_ms
