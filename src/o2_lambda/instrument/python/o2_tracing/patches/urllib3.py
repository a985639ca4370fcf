"""`urllib3`, and with it `requests` and botocore's transport. One span a call, its retries and redirects included."""

from __future__ import annotations

from ..clients import answered, origin, start_http
from ..frames import drop_frame
from ..propagation import inject

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
        full = url if "://" in url else origin(pool.scheme, pool.host, pool.port) + url
        span = start_http(tracer, SCOPE, method, scheme=pool.scheme, host=pool.host, port=pool.port, url=full)
        if span is not None:
            kept = pool.headers if headers is None else headers  # urllib3's own rule
            copy = kept.copy() if hasattr(kept, "copy") else dict(kept)
            names = {name.lower() for name in copy}
            inject(
                span.context,
                tracer.settings.injects,
                lambda name, value: copy.__setitem__(name, value) if name.lower() not in names else None,
            )
            headers = copy
    except Exception:
        return None, headers
    return span, headers
