"""Lambda's Invoke API over HTTP, so that `aws lambda invoke --endpoint-url` and curl work."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import TYPE_CHECKING

from aiohttp import web

from o2_lambda.emulator import event_stream
from o2_lambda.emulator.errors import EmulatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from o2_lambda.emulator.emulator import Emulator
    from o2_lambda.emulator.invocation import Invocation

STREAM_PATH = "/2021-11-15/functions/{name}/response-streaming-invocations"
PATH = "/2015-03-31/functions/{name}/invocations"
REQUEST_BYTES_MAX = 6 * 1024 * 1024
EVENT_BYTES_MAX = 1024 * 1024  # an asynchronous invocation's payload
INVOCATION_TYPES = ("RequestResponse", "Event", "DryRun")
STREAM_TYPES = ("RequestResponse", "DryRun")


class InvokeError(Exception):
    """A request the Invoke API refuses: status, AWS's error code, its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> web.Response:
        """Return the answer as AWS's SDKs expect it."""
        kind = "User" if self.status < 500 else "Service"  # noqa: PLR2004 - HTTP server errors
        body = {"Type": kind, "message": str(self), "Message": str(self)}
        return web.json_response(body, status=self.status, headers={"X-Amzn-ErrorType": self.code})


class InvokeApi:
    """The handler; any function name is accepted, there is but one function."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        """Return what to mount."""
        return [web.post(PATH, self.invoke), web.post(STREAM_PATH, self.stream)]

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        """`POST /2015-03-31/functions/NAME/invocations`."""
        return await self._answered(self._invoke(request))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`POST /2021-11-15/functions/NAME/response-streaming-invocations`."""
        return await self._answered(self._stream(request))

    @staticmethod
    async def _answered(answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        try:
            return await answer
        except InvokeError as error:
            return error.response()
        except EmulatorError as error:
            return InvokeError(500, "ServiceException", str(error)).response()

    async def _invoke(self, request: web.Request) -> web.StreamResponse:
        kind = _invocation_type(request, INVOCATION_TYPES)
        invocation = await self._begin(request, EVENT_BYTES_MAX if kind == "Event" else REQUEST_BYTES_MAX, kind)
        if invocation is None:
            return web.Response(status=204)
        headers = {"x-amzn-RequestId": invocation.request_id}
        if kind == "Event":
            return web.Response(status=202, headers=headers)
        return await self._answer(invocation, headers, tail=request.headers.get("X-Amz-Log-Type") == "Tail")

    async def _begin(self, request: web.Request, limit: int, kind: str) -> Invocation | None:
        """Check the request and start the invocation that it asks for; None for a dry run."""
        payload = await self._payload(request, limit)
        context = _client_context(request.headers.get("X-Amz-Client-Context"))
        if kind == "DryRun":
            return None
        return self._emulator.begin_invoke(
            payload,
            client_context=context,
            trace_id=request.headers.get("X-Amzn-Trace-Id"),
            tenant_id=request.headers.get("X-Amz-Tenant-Id"),
            qualifier=request.query.get("Qualifier"),
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """The response in pieces as they come, and at last how it ended; a response in one piece is one piece."""
        kind = _invocation_type(request, STREAM_TYPES)
        invocation = await self._begin(request, REQUEST_BYTES_MAX, kind)
        if invocation is None:
            return web.Response(status=204)
        invocation.stream = asyncio.Queue()
        answer = web.StreamResponse(headers={
            "Content-Type": event_stream.CONTENT_TYPE,
            "x-amzn-RequestId": invocation.request_id,
            "X-Amz-Executed-Version": self._emulator.config.function_version,
        })  # fmt: skip
        await answer.prepare(request)
        while (piece := await invocation.stream.get()) is not None:
            await answer.write(event_stream.message("PayloadChunk", piece))
        response = invocation.response.result()
        if not response.streamed and not response.function_error:
            await answer.write(event_stream.message("PayloadChunk", response.payload))
        complete = {}
        if response.function_error:
            details = response.error_details if response.streamed else response.payload.decode(errors="replace")
            complete = {"ErrorCode": invocation.error_type, "ErrorDetails": details}
        if request.headers.get("X-Amz-Log-Type") == "Tail":
            complete["LogResult"] = base64.b64encode((await invocation.done).log_tail).decode()
        body = json.dumps(complete).encode()
        await answer.write(event_stream.message("InvokeComplete", body, content_type="application/json"))
        return answer

    async def _answer(self, invocation: Invocation, headers: dict[str, str], *, tail: bool) -> web.Response:
        response = await invocation.response
        headers["X-Amz-Executed-Version"] = self._emulator.config.function_version
        if invocation.trace_id:
            headers["X-Amzn-Trace-Id"] = invocation.trace_id
        if response.function_error:
            headers["X-Amz-Function-Error"] = response.function_error
        if tail:  # the tail ends with the REPORT line, which is written after the extensions are done
            result = await invocation.done
            headers["X-Amz-Log-Result"] = base64.b64encode(result.log_tail).decode()
        headers["Content-Type"] = response.content_type
        return web.Response(status=response.status, body=response.payload, headers=headers)

    @staticmethod
    async def _payload(request: web.Request, limit: int) -> bytes:
        payload = await request.read() or b"{}"
        if len(payload) > limit:
            message = f"{len(payload)} byte payload is too large for the invocation type (limit {limit} bytes)"
            raise InvokeError(413, "RequestTooLargeException", message)
        try:
            json.loads(payload)
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            raise InvokeError(400, "InvalidRequestContentException", message) from None
        return payload


def _invocation_type(request: web.Request, allowed: tuple[str, ...]) -> str:
    kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
    if kind not in allowed:
        message = f"InvocationType must be one of {', '.join(allowed)}, got {kind}"
        raise InvokeError(400, "InvalidParameterValueException", message)
    return kind


def _client_context(header: str | None) -> str | None:
    if not header:
        return None
    try:
        decoded = base64.b64decode(header, validate=True).decode()
        json.loads(decoded)
    except (binascii.Error, ValueError):
        message = "Client context must be a valid Base64-encoded JSON object."
        raise InvokeError(400, "InvalidRequestContentException", message) from None
    return decoded
