"""Lambda's Invoke API over HTTP, so that `aws lambda invoke --endpoint-url` and curl work."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from aiohttp import web

from o2_lambda.emulator.errors import EmulatorError

if TYPE_CHECKING:
    from o2_lambda.emulator.emulator import Emulator
    from o2_lambda.emulator.invocation import Invocation

PATH = "/2015-03-31/functions/{name}/invocations"
REQUEST_BYTES_MAX = 6 * 1024 * 1024
EVENT_BYTES_MAX = 1024 * 1024  # an asynchronous invocation's payload
INVOCATION_TYPES = ("RequestResponse", "Event", "DryRun")


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
        return [web.post(PATH, self.invoke)]

    async def invoke(self, request: web.Request) -> web.Response:
        """`POST /2015-03-31/functions/NAME/invocations`."""
        try:
            return await self._invoke(request)
        except InvokeError as error:
            return error.response()
        except EmulatorError as error:
            return InvokeError(500, "ServiceException", str(error)).response()

    async def _invoke(self, request: web.Request) -> web.Response:
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if kind not in INVOCATION_TYPES:
            message = f"InvocationType must be one of {', '.join(INVOCATION_TYPES)}, got {kind}"
            raise InvokeError(400, "InvalidParameterValueException", message)
        payload = await self._payload(request, EVENT_BYTES_MAX if kind == "Event" else REQUEST_BYTES_MAX)
        context = _client_context(request.headers.get("X-Amz-Client-Context"))
        if kind == "DryRun":
            return web.Response(status=204)
        invocation = self._emulator.begin_invoke(
            payload,
            client_context=context,
            trace_id=request.headers.get("X-Amzn-Trace-Id"),
            tenant_id=request.headers.get("X-Amz-Tenant-Id"),
            qualifier=request.query.get("Qualifier"),
        )
        headers = {"x-amzn-RequestId": invocation.request_id}
        if kind == "Event":
            return web.Response(status=202, headers=headers)
        return await self._answer(invocation, headers, tail=request.headers.get("X-Amz-Log-Type") == "Tail")

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
