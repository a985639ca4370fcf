"""What all HTTP client patches share: the attributes of a call and of its answer."""

from __future__ import annotations

from .propagation import inject
from .spans import ERROR
from .urls import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .spans import Span

DEFAULT_PORTS = {"http": 80, "https": 443}
HTTP = "HTTP"  # the name of a span until it is described
CLIENT_ERROR = 400  # and above: an error for a client


def describe_http(span: Span, method: Any, *, scheme: str, host: Any, port: Any, url: str) -> None:
    """Names the span of an HTTP request and says what is asked of whom."""
    verb = method.upper() if isinstance(method, str) else str(method)
    span.name = verb
    span.set_all(
        {
            "http.request.method": verb,
            "url.full": redact(url),
            "server.address": host,
            "server.port": port or DEFAULT_PORTS.get(scheme),
        }
    )


def answered(span: Span | None, status: Any) -> None:
    """Notes the status of the answer."""
    if span is None or not isinstance(status, int):
        return
    span.set("http.response.status_code", status)
    if status >= CLIENT_ERROR:
        span.set("error.type", str(status))
        span.set_status(ERROR)


def inject_missing(span: Span, propagators: tuple[str, ...], headers: Any) -> list[str]:
    """Adds the headers that carry the trace to a mapping, unless the function has set its own; their names."""
    names = {name.lower() for name in headers}
    added = []

    def put(name: str, value: str) -> None:
        if name.lower() not in names:
            headers[name] = value
            added.append(name)

    inject(span.context, propagators, put)
    return added


def full_url(scheme: str, host: str, port: Any, url: str) -> str:
    """The URL of a request to a host; it is absolute already where it is a proxy that is asked."""
    if url.startswith(("http://", "https://")):
        return url
    place = f"[{host}]" if ":" in host else host
    return (
        f"{scheme}://{place}{url}" if port in (None, DEFAULT_PORTS.get(scheme)) else f"{scheme}://{place}:{port}{url}"
    )
