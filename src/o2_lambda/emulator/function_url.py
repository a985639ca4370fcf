"""A function's URL: HTTP requests as events of payload format 2.0, and what functions answer as responses. Pure."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Iterable

BUFFERED, RESPONSE_STREAM = "BUFFERED", "RESPONSE_STREAM"
INVOKE_MODES = (BUFFERED, RESPONSE_STREAM)
INTEGRATION = "application/vnd.awslambda.http-integration-response"  # the content type of a stream with a prelude
DELIMITER = bytes(8)  # between the prelude and the body
PRELUDE_BYTES_MAX = 1024 * 1024
TEXT_TYPES = ("text", "json", "xml")  # any of them in its content type makes a body text
JSON_TYPE = "application/json"
STATUS_MIN, STATUS_MAX = 100, 599


class MalformedError(ValueError):
    """An answer of the function's that is no HTTP response."""


@dataclass(frozen=True)
class Request:
    """A request as it came; names of headers in lower case, values of one name joined by commas."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    source_ip: str


@dataclass(frozen=True)
class Reply:
    """What the client gets; header names as the function wrote them."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def event(request: Request, *, url_id: str, region: str, request_id: str, now_ms: float) -> dict[str, Any]:
    """Return the event; what function URLs leave out or set to a placeholder is as in AWS's events."""
    domain = f"{url_id}.lambda-url.{region}.on.aws"
    headers = {**request.headers, "host": domain, "x-forwarded-for": request.source_ip, "x-forwarded-proto": "https",
               "x-forwarded-port": "443"}  # fmt: skip
    is_text = _is_text(request)
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",  # whoever calls without credentials
            "apiId": url_id,
            "domainName": domain,
            "domainPrefix": url_id,
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.source_ip,
                "userAgent": request.headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now_ms / 1000)),
            "timeEpoch": int(now_ms),
        },
        "isBase64Encoded": bool(request.body) and not is_text,
    }
    if cookies := [cookie for part in request.headers.get("cookie", "").split(";") if (cookie := part.strip())]:
        made["cookies"] = cookies
    if request.query:
        parameters: dict[str, list[str]] = {}
        for name, value in parse_qsl(request.query, keep_blank_values=True):
            parameters.setdefault(name, []).append(value)
        made["queryStringParameters"] = {name: ",".join(values) for name, values in parameters.items()}
    if request.body:
        made["body"] = request.body.decode() if is_text else base64.b64encode(request.body).decode()
    return made


def reply(payload: bytes) -> Reply:
    """Return the response that a function's answer in one piece stands for. Raises MalformedError.

    An object with a `statusCode` describes a response; anything else is its body.
    """
    try:
        answer = json.loads(payload)
    except ValueError:
        raise MalformedError("the answer is not JSON") from None
    if not isinstance(answer, dict) or "statusCode" not in answer:
        body = answer.encode() if isinstance(answer, str) else payload
        return Reply(headers=[("Content-Type", JSON_TYPE)], body=body)
    head = _head(answer)
    body = answer.get("body", "")
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    try:
        content = base64.b64decode(text, validate=True) if answer.get("isBase64Encoded") else text.encode()
    except ValueError:
        raise MalformedError("the body is not base64") from None
    if not any(name.lower() == "content-type" for name, _ in head.headers):
        head.headers.append(("Content-Type", JSON_TYPE))
    return Reply(head.status, head.headers, content)


class Prelude:
    """What stands in front of a streamed body: status, headers and cookies as JSON, then eight NUL bytes."""

    def __init__(self) -> None:
        self._read = b""

    def feed(self, piece: bytes) -> Reply | None:
        """Take a piece; return the head with the body's first bytes once it is complete. Raises MalformedError."""
        self._read += piece
        text, delimiter, body = self._read.partition(DELIMITER)
        if not delimiter:
            if len(self._read) > PRELUDE_BYTES_MAX:
                raise MalformedError("the prelude has no end")
            return None
        try:
            described = json.loads(text)
        except ValueError:
            raise MalformedError("the prelude is not JSON") from None
        if not isinstance(described, dict):
            raise MalformedError("the prelude is no object")
        head = _head(described)
        return Reply(head.status, head.headers, body)


def _is_text(request: Request) -> bool:
    content_type = request.headers.get("content-type", "").lower()
    if not any(kind in content_type for kind in TEXT_TYPES):
        return False
    try:
        request.body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _head(described: dict[str, Any]) -> Reply:
    try:
        status = int(described.get("statusCode", 200))
        headers = [(str(name), _text(value)) for name, value in dict(described.get("headers") or {}).items()]
        cookies: Iterable[Any] = list(described.get("cookies") or [])
    except (TypeError, ValueError):
        raise MalformedError("statusCode, headers or cookies are of the wrong kind") from None
    if not STATUS_MIN <= status <= STATUS_MAX:
        raise MalformedError(f"there is no status {status}")
    return Reply(status, headers + [("Set-Cookie", _text(cookie)) for cookie in cookies])


def _text(value: object) -> str:
    """A header's value; a number or a truth value is written as JSON does. Line breaks would end the header."""
    text = value if isinstance(value, str) else json.dumps(value)
    if "\r" in text or "\n" in text or "\0" in text:
        raise MalformedError("a header has line breaks")
    return text
