"""HTTP side of the Runtime API: how a runtime fetches invocations and posts what came of them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from aiohttp import web

from o2_lambda.emulator import events
from o2_lambda.emulator.errors import ApiError, Fatal
from o2_lambda.emulator.invocation import UNHANDLED, Invocation, Response
from o2_lambda.emulator.server import json_answer
from o2_lambda.emulator.tap import trailers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from o2_lambda.emulator.sandbox import Sandbox

PREFIX = "/2018-06-01/runtime"
RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100  # AWS: 6 MB and a little for the envelope
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
STREAMING = "streaming"
RESPONSE_MODE = "Lambda-Runtime-Function-Response-Mode"
UNKNOWN_ERROR = "Runtime.UnknownReason"
AFTER_RESTORE_ERROR = "Runtime.AfterRestoreError"
STATUS_OK = {"status": "OK"}


class RuntimeApi:
    """The handlers; `current` returns the environment there is now."""

    def __init__(self, current: Callable[[], Sandbox]) -> None:
        self._current = current

    def routes(self) -> list[web.RouteDef]:
        """Return what to mount."""
        return [
            web.get("/2018-06-01/ping", self.ping, allow_head=False),
            web.get(f"{PREFIX}/invocation/next", self.next, allow_head=False),
            web.post(f"{PREFIX}/invocation/{{id}}/response", self.response),
            web.post(f"{PREFIX}/invocation/{{id}}/error", self.error),
            web.post(f"{PREFIX}/init/error", self.init_error),
            web.get(f"{PREFIX}/restore/next", self.restore_next, allow_head=False),
            web.post(f"{PREFIX}/restore/error", self.restore_error),
        ]

    async def ping(self, _request: web.Request) -> web.Response:
        """`GET /ping`."""
        return web.Response(text="pong")

    async def next(self, _request: web.Request) -> web.Response:
        """`GET /invocation/next`: answers when there is an invocation."""
        invocation = await self._current().runtime_next()
        headers = events.drop_none(**{
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline_wall_ms)),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
            "Lambda-Runtime-Client-Context": invocation.client_context,
            "Lambda-Runtime-Cognito-Identity": invocation.cognito_identity,
            "Lambda-Runtime-Aws-Tenant-Id": invocation.tenant_id,
        })  # fmt: skip
        return web.Response(body=invocation.payload, content_type="application/json", headers=headers)

    async def response(self, request: web.Request) -> web.Response:
        """`POST /invocation/ID/response`, whole or chunked."""
        sandbox = self._current()
        invocation = self._find(sandbox, request)
        body = await self._receive(sandbox, invocation, request)
        if body is None:
            message = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
            invocation.fail(Fatal("Function.ResponseSizeTooLarge", message, status="error"))
            self._finish(sandbox, invocation)
            too_large = f"Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
            raise ApiError("RequestEntityTooLarge", too_large, status=413)
        trailers = trailers_of(request.transport) if request.headers.get("Trailer") else {}
        error_type = trailers.get(ERROR_TYPE.lower())
        if error_type:  # it came too late for a status: the client gets what there is, and the error behind it
            invocation.outcome, invocation.error_type = "error", error_type
        invocation.answer(Response(
            body,
            UNHANDLED if error_type else None,
            request.headers.get("Content-Type", "application/json"),
            error_details=_decoded(trailers.get(ERROR_BODY.lower(), "")),
            streamed=request.headers.get(RESPONSE_MODE) == STREAMING,
        ))  # fmt: skip
        self._finish(sandbox, invocation)
        return json_answer(STATUS_OK, status=202)

    async def error(self, request: web.Request) -> web.Response:
        """`POST /invocation/ID/error`: the function raised."""
        sandbox = self._current()
        invocation = self._find(sandbox, request)
        body = await self._receive(sandbox, invocation, request) or b"{}"
        invocation.outcome = "error"
        invocation.error_type = _error_type(request, body)
        invocation.answer(Response(body, UNHANDLED))
        self._finish(sandbox, invocation)
        return json_answer(STATUS_OK, status=202)

    async def init_error(self, request: web.Request) -> web.Response:
        """`POST /init/error`: the runtime could not load the function."""
        sandbox = self._current()
        if sandbox.runtime_seen:
            raise ApiError("InvalidStateTransition", "Transition from Ready to InitError is not allowed")
        body = await request.read()
        sandbox.drain_output()
        message = _field(body, "errorMessage") or "the runtime reported an error during init"
        sandbox.latch(Fatal(_error_type(request, body), message, status="error", payload=body))
        return json_answer(STATUS_OK, status=202)

    async def restore_next(self, _request: web.Request) -> web.Response:
        """`GET /restore/next`, with SnapStart only: answers when the snapshot has been restored."""
        sandbox = self._current()
        if not sandbox.config.snap_start:
            raise web.HTTPNotFound
        await sandbox.restore_next()
        return web.Response()

    async def restore_error(self, request: web.Request) -> web.Response:
        """`POST /restore/error`: an after-restore hook failed."""
        sandbox = self._current()
        if not sandbox.config.snap_start:
            raise web.HTTPNotFound
        body = await request.read()
        sandbox.drain_output()
        message = _field(body, "errorMessage") or "an after-restore hook failed"
        error_type = request.headers.get(ERROR_TYPE) or AFTER_RESTORE_ERROR
        sandbox.latch(Fatal(error_type, message, status="error", payload=body))
        sandbox.changed()
        return json_answer(STATUS_OK, status=202)

    @staticmethod
    def _find(sandbox: Sandbox, request: web.Request) -> Invocation:
        invocation = sandbox.active.get(request.match_info["id"])
        if invocation is None:
            raise ApiError("InvalidRequestID", "Invalid request ID", status=400)
        if invocation.first_byte_ms is not None:
            message = "Transition from InvocationResponse to InvocationResponse is not allowed"
            raise ApiError("InvalidStateTransition", message)
        return invocation

    @staticmethod
    async def _receive(sandbox: Sandbox, invocation: Invocation, request: web.Request) -> bytes | None:
        """Read the body and take its times; None when it is over the limit."""
        sandbox.drain_output()
        invocation.first_byte_ms = sandbox.clock.mono_ms()
        invocation.content_type = request.headers.get("Content-Type", invocation.content_type)
        streaming = request.headers.get(RESPONSE_MODE) == STREAMING
        chunks, size = [], 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if streaming and invocation.stream is not None:
                invocation.stream.put_nowait(chunk)
            if size <= RESPONSE_BYTES_MAX or streaming:
                chunks.append(chunk)
        invocation.produced_bytes = size
        return b"".join(chunks) if streaming or size <= RESPONSE_BYTES_MAX else None

    @staticmethod
    def _finish(sandbox: Sandbox, invocation: Invocation) -> None:
        invocation.last_byte_ms = sandbox.clock.mono_ms()
        if sandbox.config.managed:
            sandbox.runtime_done(invocation)
        sandbox.changed()


def _error_type(request: web.Request, body: bytes) -> str:
    return _field(body, "errorType") or request.headers.get(ERROR_TYPE) or UNKNOWN_ERROR


def _decoded(text: str) -> str:
    """Return an error body's text, which runtimes send in base64."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return text


def _field(body: bytes, name: str) -> str | None:
    try:
        return str(json.loads(body)[name])
    except (ValueError, KeyError, TypeError):
        return None
