"""`aiohttp`'s client. One span a call, its redirects included."""

from __future__ import annotations

from ..clients import HTTP, answered, describe_http
from ..frames import drop_frame
from ..propagation import inject

SCOPE = "o2_lambda.aiohttp"


def patch(module, tracer) -> None:
    """Replaces `ClientSession._request`, which every method and context manager of a session goes through."""
    session = module.ClientSession
    plain_request = session._request

    async def _request(self, method, str_or_url, **options):
        span = _start(self, method, str_or_url, options, tracer)
        token = tracer.enter(span)
        try:
            response = await plain_request(self, method, str_or_url, **options)
        except BaseException as error:
            drop_frame(error)
            tracer.leave(token)
            answered(span, getattr(error, "status", None))  # of a session with raise_for_status
            tracer.end(span, error)
            raise
        tracer.leave(token)
        answered(span, response.status)
        tracer.end(span)
        return response

    session._request = _request


def _start(session, method, str_or_url, options, tracer):
    """The span, or None; the headers are put into `options`."""
    try:
        span = tracer.start_client(HTTP, scope=SCOPE)
        if span is not None:
            url = session._build_url(str_or_url)
            describe_http(span, method, scheme=url.scheme, host=url.host, port=url.port, url=str(url))
            from multidict import CIMultiDict  # aiohttp's own headers; it has imported it

            headers = CIMultiDict(options.get("headers") or {})
            inject(
                span.context,
                tracer.settings.injects,
                lambda name, value: headers.setdefault(name, value) if name not in session.headers else None,
            )
            options["headers"] = headers
    except Exception:
        return None
    return span
