"""`http.client`, and with it `urllib.request` and what else sends through `HTTPConnection.request`.

The span begins with the request, connecting included, and ends with the head of the answer.
"""

from __future__ import annotations

from ..clients import HTTP, answered, describe_http, full_url, inject_missing
from ..frames import drop_frame

SCOPE = "o2_lambda.http.client"


def patch(module, tracer) -> None:
    """Replaces `request` and `getresponse` of `HTTPConnection`."""
    connection = module.HTTPConnection
    plain_request, plain_getresponse = connection.request, connection.getresponse

    def request(self, method, url, body=None, headers={}, **options):  # noqa: B006 - the default of what it replaces
        span, headers = _start(self, method, url, headers, tracer, module)
        token = tracer.enter(span)
        try:
            plain_request(self, method, url, body, headers, **options)
        except BaseException as error:
            drop_frame(error)
            tracer.leave(token)
            tracer.end(span, error)
            raise
        tracer.leave(token)
        self.__dict__["_o2_span"] = span

    def getresponse(self):
        span = self.__dict__.pop("_o2_span", None)
        try:
            response = plain_getresponse(self)
        except BaseException as error:
            drop_frame(error)
            tracer.end(span, error)
            raise
        answered(span, response.status)
        tracer.end(span)
        return response

    connection.request, connection.getresponse = request, getresponse


def _copied(headers, message):
    """A message, such as the headers of a request that is passed on, may have one several times."""
    if not isinstance(headers, message):
        return dict(headers)
    copy = message()
    for name, value in headers.items():
        copy[name] = value
    return copy


def _start(connection, method, url, headers, tracer, module):
    """The span, or None, and the headers to send."""
    try:
        span = tracer.start_client(HTTP, scope=SCOPE)
        if span is not None:
            secure = getattr(module, "HTTPSConnection", ())  # a Python without `ssl` has none
            scheme = "https" if isinstance(connection, secure) else "http"
            host, port = connection._tunnel_host or connection.host, connection._tunnel_port or connection.port
            describe_http(span, method, scheme=scheme, host=host, port=port, url=full_url(scheme, host, port, url))
            copy = _copied(headers, module.email.message.Message)
            inject_missing(span, tracer.settings.injects, copy)
            headers = copy
    except Exception:
        return None, headers
    return span, headers
