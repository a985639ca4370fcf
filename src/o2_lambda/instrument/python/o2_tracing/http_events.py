"""Events of API Gateway (REST and HTTP APIs), function URLs and load balancers."""

from __future__ import annotations

from . import propagation
from .triggers import Trigger
from .urls import URL_CHARS_MAX, redact_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# HTTP methods of the semantic conventions; any other is _OTHER, so that names stay few.
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")


def read(event: dict[str, Any], asked: dict[str, Any], propagators: tuple[str, ...]) -> Trigger:
    """The trigger of an HTTP event; `asked` is its request context."""
    headers = event.get("headers") or event.get("multiValueHeaders") or {}
    plain = {name.lower(): _first(value) for name, value in headers.items()}
    call = asked.get("http")
    attributes = _version_2(event, asked, call) if isinstance(call, dict) else _version_1(event, asked)
    query = attributes.get("url.query")
    if isinstance(query, str):
        attributes["url.query"] = redact_query(query[:URL_CHARS_MAX])
    attributes["url.scheme"] = plain.get("x-forwarded-proto", "https")
    attributes["server.address"] = asked.get("domainName") or plain.get("host")
    attributes["user_agent.original"] = plain.get("user-agent")
    port = plain.get("x-forwarded-port", "")
    if port.isdigit():
        attributes["server.port"] = int(port)
    if "client.address" not in attributes and plain.get("x-forwarded-for"):
        attributes["client.address"] = plain["x-forwarded-for"].partition(",")[0].strip()
    method = str(attributes["http.request.method"])
    if method not in METHODS:
        attributes["http.request.method"] = "_OTHER"
        attributes["http.request.method_original"] = method
        method = "HTTP"
    route = attributes.get("http.route")
    picked = propagation.pick(headers)
    return Trigger(
        "http",
        name=f"{method} {route}" if route else method,
        attributes=attributes,
        parent=propagation.extract(picked, propagators),
        baggage=propagation.baggage(picked, propagators),
    )


def _version_2(event: dict[str, Any], asked: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    """HTTP APIs and function URLs (payload format 2.0)."""
    _method, _, route = str(asked.get("routeKey") or event.get("routeKey") or "").partition(" ")
    found = {
        "http.request.method": call.get("method"),
        "url.path": call.get("path") or event.get("rawPath"),
        "url.query": event.get("rawQueryString") or None,
        "http.route": route or None,
        "client.address": call.get("sourceIp"),
        "network.protocol.version": _protocol(call.get("protocol")),
    }
    return {key: value for key, value in found.items() if value is not None}


def _version_1(event: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """REST APIs (payload format 1.0) and load balancers, which have no `resource`."""
    identity = asked.get("identity") or {}
    found = {
        "http.request.method": event.get("httpMethod"),
        "url.path": asked.get("path") or event.get("path"),
        "url.query": _query(event, is_encoded="elb" in asked) or None,
        "http.route": event.get("resource"),
        "client.address": identity.get("sourceIp"),
        "network.protocol.version": _protocol(asked.get("protocol")),
    }
    return {key: value for key, value in found.items() if value is not None}


def _query(event: dict[str, Any], *, is_encoded: bool) -> str:
    """The query, which a load balancer hands on as it came."""
    several = event.get("multiValueQueryStringParameters")
    if not several:
        several = {name: [value] for name, value in (event.get("queryStringParameters") or {}).items()}
    if not several:
        return ""
    if is_encoded:
        pairs = [(name, values if isinstance(values, list) else [values]) for name, values in several.items()]
        return "&".join([f"{name}={value}" for name, values in pairs for value in values])
    from urllib.parse import urlencode  # only requests that have a query

    return urlencode(several, doseq=True)


def _protocol(value: Any) -> Any:
    return value.partition("/")[2] or None if isinstance(value, str) else None


def _first(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""
