"""`httpx`: its two transports, so that each request that goes out has a span."""

from __future__ import annotations

from ..clients import HTTP, answered, describe_http, inject_missing
from ..frames import drop_frame

SCOPE = "o2_lambda.httpx"


def patch(module, tracer) -> None:
    """Replaces `handle_request` and `handle_async_request`."""
    sync, asynchronous = module.HTTPTransport, module.AsyncHTTPTransport
    plain, plain_async = sync.handle_request, asynchronous.handle_async_request

    def handle_request(self, request):
        span, added = _start(request, tracer)
        token = tracer.enter(span)
        try:
            response = plain(self, request)
        except BaseException as error:
            drop_frame(error)
            tracer.leave(token)
            _remove(request, added)
            tracer.end(span, error)
            raise
        tracer.leave(token)
        _remove(request, added)
        answered(span, response.status_code)
        tracer.end(span)
        return response

    async def handle_async_request(self, request):
        span, added = _start(request, tracer)
        token = tracer.enter(span)
        try:
            response = await plain_async(self, request)
        except BaseException as error:
            drop_frame(error)
            tracer.leave(token)
            _remove(request, added)
            tracer.end(span, error)
            raise
        tracer.leave(token)
        _remove(request, added)
        answered(span, response.status_code)
        tracer.end(span)
        return response

    sync.handle_request, asynchronous.handle_async_request = handle_request, handle_async_request


def _start(request, tracer):
    """The span, or None, and the names of the headers that were added for it."""
    try:
        span = tracer.start_client(HTTP, scope=SCOPE)
        if span is None:
            return None, ()
        url = request.url
        describe_http(span, request.method, scheme=url.scheme, host=url.host, port=url.port, url=str(url))
        return span, inject_missing(span, tracer.settings.injects, request.headers)
    except Exception:
        return None, ()


def _remove(request, added):
    """A request that is sent again, or followed to where it is redirected, belongs to another span."""
    for name in added:
        request.headers.pop(name, None)
