"""What all HTTP client patches share: the attributes of a call and of its answer."""

from __future__ import annotations

from .spans import ERROR
from .urls import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .spans import Span
    from .tracer import Tracer

DEFAULT_PORTS = {"http": 80, "https": 443}
CLIENT_ERROR = 400  # and above: an error for a client


def start_http(tracer: Tracer, scope: str, method: Any, *, scheme: str, host: Any, port: Any, url: str) -> Span | None:
    """Starts the span of an HTTP request; None where there is nothing to trace."""
    verb = method.upper() if isinstance(method, str) else str(method)
    span = tracer.start_client(verb, scope=scope)
    if span is not None:
        span.set("http.request.method", verb)
        span.set("url.full", redact(url))
        span.set("server.address", host)
        span.set("server.port", port or DEFAULT_PORTS.get(scheme))
    return span


def answered(span: Span | None, status: Any) -> None:
    """Notes the status of the answer."""
    if span is None or not isinstance(status, int):
        return
    span.set("http.response.status_code", status)
    if status >= CLIENT_ERROR:
        span.set("error.type", str(status))
        span.set_status(ERROR)


def origin(scheme: str, host: str, port: Any) -> str:
    """`scheme://host[:port]`, the port where it is not the scheme's own."""
    place = f"[{host}]" if ":" in host else host
    return f"{scheme}://{place}" if port in (None, DEFAULT_PORTS.get(scheme)) else f"{scheme}://{place}:{port}"
