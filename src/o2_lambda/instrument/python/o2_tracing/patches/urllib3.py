"""`urllib3`, and with it `requests` and botocore's transport. One span a call, its retries and redirects included."""

from __future__ import annotations

from ..clients import HTTP, answered, describe_http, full_url, inject_missing
from ..frames import drop_frame

SCOPE = "o2_lambda.urllib3"


def patch(module, tracer) -> None:
    """Replaces `HTTPConnectionPool.urlopen`."""
    pool = module.HTTPConnectionPool
    plain_urlopen = pool.urlopen

    def urlopen(self, method, url, body=None, headers=None, *arguments, **options):
        span, headers = _start(self, method, url, headers, tracer)
        token = tracer.enter(span)
        try:
            response = plain_urlopen(self, method, url, body, headers, *arguments, **options)
        except BaseException as error:
            drop_frame(error)
            tracer.leave(token)
            tracer.end(span, error)
            raise
        tracer.leave(token)
        answered(span, getattr(response, "status", None))
        tracer.end(span)
        return response

    pool.urlopen = urlopen


def _start(pool, method, url, headers, tracer):
    """The span, or None, and the headers to send."""
    try:
        span = tracer.start_client(HTTP, scope=SCOPE)
        if span is not None:
            scheme, host, port = pool.scheme, pool.host, pool.port
            describe_http(span, method, scheme=scheme, host=host, port=port, url=full_url(scheme, host, port, url))
            kept = pool.headers if headers is None else headers  # urllib3's own rule
            copy = kept.copy() if hasattr(kept, "copy") else dict(kept)
            inject_missing(span, tracer.settings.injects, copy)
            headers = copy
    except Exception:
        return None, headers
    return span, headers
