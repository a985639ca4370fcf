"""The function's URL over HTTP: any path, any method, no authentication."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

from aiohttp import web

from o2_lambda.emulator import function_url
from o2_lambda.emulator.errors import EmulatorError

if TYPE_CHECKING:
    from o2_lambda.emulator.emulator import Emulator
    from o2_lambda.emulator.invocation import Invocation

REQUEST_BYTES_MAX = 6 * 1024 * 1024  # AWS: of the event
URL_ID_LENGTH = 32
HOP_BY_HOP = ("connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
FAILED = "Internal Server Error"


class FunctionUrl:
    """The handler. `streaming` is the invoke mode RESPONSE_STREAM."""

    def __init__(self, emulator: Emulator, *, streaming: bool) -> None:
        self._emulator = emulator
        self._streaming = streaming
        self._url_id = hashlib.sha256(emulator.config.function_arn.encode()).hexdigest()[:URL_ID_LENGTH]

    def routes(self) -> list[web.RouteDef]:
        """Return what to mount."""
        return [web.route("*", "/{path:.*}", self.invoke)]

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        """Invoke the function with the request, answer with what it makes of it; its failure is a 502."""
        try:
            invocation = await self._begin(request)
        except EmulatorError as error:
            return web.Response(status=502, text=str(error))
        if self._streaming:
            return await self._stream(request, invocation)
        return await self._buffered(invocation)

    async def _begin(self, request: web.Request) -> Invocation:
        body = await request.read()
        path, _, query = request.raw_path.partition("?")
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            if (lower := name.lower()) != "connection":
                headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
        arrived = function_url.Request(request.method, path, query, headers, body, request.remote or "127.0.0.1")
        event = function_url.event(
            arrived,
            url_id=self._url_id,
            region=self._emulator.config.region,
            request_id="",
            now_ms=self._emulator.clock.wall_ms(),
        )
        size = len(json.dumps(event))
        if size > REQUEST_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(REQUEST_BYTES_MAX, size)
        invocation = self._emulator.begin_invoke(b"", trace_id=request.headers.get("X-Amzn-Trace-Id"))
        event["requestContext"]["requestId"] = invocation.request_id
        if invocation.trace_id:
            event["headers"]["x-amzn-trace-id"] = invocation.trace_id.partition(";")[0]
        invocation.payload = json.dumps(event).encode()  # its task starts when this one waits
        if self._streaming:
            invocation.stream = asyncio.Queue()
        return invocation

    @staticmethod
    async def _buffered(invocation: Invocation) -> web.Response:
        response = await invocation.response
        if response.function_error:
            return _failed(invocation)
        try:
            reply = function_url.reply(response.payload)
        except function_url.MalformedError:
            return _failed(invocation)
        answer = web.Response(status=reply.status, body=reply.body)
        _put_headers(answer, reply, invocation)
        return answer

    @staticmethod
    async def _stream(request: web.Request, invocation: Invocation) -> web.StreamResponse:
        """Pass pieces on as they come; an error behind them breaks the connection, which is all that HTTP can tell."""
        assert invocation.stream is not None  # made before
        prelude = function_url.Prelude()
        answer: web.StreamResponse | None = None
        while (piece := await invocation.stream.get()) is not None:
            if answer is None:
                try:
                    head = _streamed_head(invocation, prelude, piece)
                except function_url.MalformedError:
                    return _failed(invocation)
                if head is None:
                    continue
                answer, piece = web.StreamResponse(status=head.status), head.body
                _put_headers(answer, head, invocation)
                await answer.prepare(request)
            if piece:
                await answer.write(piece)
        response = await invocation.response
        if answer is None:
            if response.function_error or response.streamed:
                return _failed(invocation)
            answer = web.Response(body=response.payload, headers={"Content-Type": response.content_type})
            answer.headers["x-amzn-RequestId"] = invocation.request_id
        elif response.function_error and request.transport is not None:
            request.transport.abort()
        return answer


def _streamed_head(invocation: Invocation, prelude: function_url.Prelude, piece: bytes) -> function_url.Reply | None:
    """The head of a streamed response: the function's own where it writes one, else its content type alone."""
    if invocation.content_type == function_url.INTEGRATION:
        return prelude.feed(piece)
    return function_url.Reply(headers=[("Content-Type", invocation.content_type)], body=piece)


def _put_headers(answer: web.StreamResponse, reply: function_url.Reply, invocation: Invocation) -> None:
    for name, value in reply.headers:
        if name.lower() not in HOP_BY_HOP:
            answer.headers.add(name, value)
    answer.headers["x-amzn-RequestId"] = invocation.request_id
    if invocation.trace_id:
        answer.headers["X-Amzn-Trace-Id"] = invocation.trace_id


def _failed(invocation: Invocation) -> web.Response:
    return web.Response(status=502, text=FAILED, headers={"x-amzn-RequestId": invocation.request_id})
