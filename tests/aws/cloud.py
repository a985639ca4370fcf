"""A small AWS on a local port: moto's Lambda, and around it what moto leaves out and what goes wrong in real life.

Added: RevisionId with its check, updates in progress, pagination, the tagging API for functions, faults on request,
regions that are down, colleagues who change a function at the wrong moment. All requests come over real HTTP.
"""

from __future__ import annotations

import io
import json
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Answer = tuple[int, dict[str, Any]]
_CONFIGURATION = re.compile(r"/2015-03-31/functions/([^/]+)/configuration")
_ACCOUNT = "123456789012"
_DENIED = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
_SIMULATED = (
    "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults><member>"
    "<EvalActionName>x</EvalActionName><EvalDecision>{}</EvalDecision></member></EvaluationResults>"
    "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
)
_LISTS = {"Functions": "NextMarker", "LayerVersions": "NextMarker"}


@dataclass
class Fault:
    """Answers the next `times` requests of this kind with an error instead of passing them on."""

    method: str
    path: str
    status: int
    code: str
    message: str
    times: int = 1
    region: str = ""


@dataclass
class Request:
    region: str
    method: str
    path: str
    body: dict[str, Any]


@dataclass
class Cloud:
    """The WSGI application."""

    page_size: int = 2
    faults: list[Fault] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    busy_reads: dict[str, int] = field(default_factory=dict)
    settles_as: dict[str, tuple[str, str]] = field(default_factory=dict)
    before_update: list[Callable[[], None]] = field(default_factory=list)
    patches: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)  # of IAM's simulator; the last one for ever, none: it is refused
    simulated: list[dict[str, list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.RLock()
        self._revisions: dict[str, int] = {}
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def writes(self) -> list[Request]:
        return [each for each in self.requests if each.method != "GET" and not each.path.startswith("/!")]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(raw)
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        region, service = (scope[1], scope[2]) if scope else ("", "")
        path = unquote(environ["PATH_INFO"])
        body = json.loads(raw) if raw.startswith(b"{") else {}
        request = Request(region, environ["REQUEST_METHOD"], path, body)
        with self._lock:
            if service == "lambda":
                self.requests.append(request)
            answer = self._refuse(request, service)
            if service == "iam" and b"Action=SimulatePrincipalPolicy" in raw:
                return self._simulate(raw, start_response)
            if answer is None and service == "tagging":
                self.requests.append(Request(region, "GET", "/tagging", body))
                answer = self._tagged(request)
            if answer is None:
                status, headers, payload = self._pass_on(environ)
                if service == "lambda" and status < 300:
                    payload = self._complete(request, payload, parse_qs(environ.get("QUERY_STRING", "")))
                start_response(f"{status} .", [*headers, ("Content-Length", str(len(payload)))])
                return [payload]
        status, document = answer
        payload = json.dumps(document).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(payload)))]
        if "__type" in document:
            headers.append(("x-amzn-ErrorType", document["__type"]))
        start_response(f"{status} .", headers)
        return [payload]

    def _refuse(self, request: Request, service: str) -> Answer | None:
        if request.region in self.down:
            return _error(503, "ServiceUnavailableException", "the region is having a bad day")
        account = re.search(r":(\d{12}):function:", request.path)
        if account and account[1] != _ACCOUNT:  # moto reads the name alone
            return _error(403, "AccessDeniedException", f"not authorized to perform it on {request.path}")
        for fault in self.faults:
            if (
                fault.times
                and request.method == fault.method
                and re.search(fault.path, request.path)
                and fault.region in {"", request.region}
            ):
                fault.times -= 1
                return _error(fault.status, fault.code, fault.message)
        if service == "lambda" and request.method == "PUT" and (name := _function(request.path)):
            while self.before_update:
                self.before_update.pop(0)()
            key = f"{request.region}/{name}"
            if self.busy_reads.get(key):
                return _error(409, "ResourceConflictException", "The operation cannot be performed at this time.")
            sent = request.body.get("RevisionId")
            if sent is not None and sent != str(self._revisions.get(key, 0)):
                return _error(412, "PreconditionFailedException", "The Revision Id provided does not match.")
        return None

    def _complete(self, request: Request, payload: bytes, query: dict[str, list[str]]) -> bytes:
        document = json.loads(payload) if payload.startswith(b"{") else {}
        for listed, marker in _LISTS.items():
            if request.method == "GET" and listed in document:
                _paginate(document, listed, marker, int(query.get("Marker", ["0"])[0]), self.page_size)
                for item in document.get("Functions", ()):
                    item.update(self.patches.get(f"{request.region}/{item['FunctionName']}", {}))
        if name := _function(request.path):
            key = f"{request.region}/{name}"
            if request.method == "PUT":
                self._revisions[key] = self._revisions.get(key, 0) + 1
                self.busy_reads[key] = 1
            document["RevisionId"] = str(self._revisions.get(key, 0))
            document["LastUpdateStatus"] = "InProgress" if self.busy_reads.get(key) else "Successful"
            if request.method == "GET" and self.busy_reads.get(key):
                self.busy_reads[key] -= 1
            elif key in self.settles_as and self._revisions.get(key):
                document["LastUpdateStatus"], document["LastUpdateStatusReason"] = self.settles_as[key]
            document.update(self.patches.get(key, {}))
        return json.dumps(document).encode() if document else payload

    def _simulate(self, raw: bytes, start_response: Any) -> list[bytes]:
        """IAM's policy simulator, which moto lacks."""
        self.simulated.append(parse_qs(raw.decode()))
        status, payload = "403 .", _DENIED
        if self.decisions:
            decision = self.decisions.pop(0) if len(self.decisions) > 1 else self.decisions[0]
            status, payload = "200 .", _SIMULATED.format(decision)
        start_response(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(payload)))])
        return [payload.encode()]

    def _tagged(self, request: Request) -> Answer:
        wanted = {each["Key"]: each.get("Values") for each in request.body.get("TagFilters", ())}
        found = [
            {"ResourceARN": arn}
            for arn, tags in sorted(self.tags.items())
            if arn.split(":")[3] == request.region
            and all(key in tags and (not values or tags[key] in values) for key, values in wanted.items())
        ]
        document: dict[str, Any] = {"ResourceTagMappingList": found}
        start = int(request.body.get("PaginationToken") or 0)
        _paginate(document, "ResourceTagMappingList", "PaginationToken", start, self.page_size)
        return 200, document

    def _pass_on(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        got: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], _info: Any = None) -> None:
            got["status"] = int(status.split(maxsplit=1)[0])
            got["headers"] = [(name, value) for name, value in headers if name.lower() != "content-length"]

        payload = b"".join(self._moto(environ, start_response))
        return got["status"], got["headers"], payload


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def _function(path: str) -> str:
    matched = _CONFIGURATION.fullmatch(path)
    return matched[1].rpartition(":")[2] if matched else ""


def _error(status: int, code: str, message: str) -> Answer:
    return status, {"__type": code, "Type": "User", "Message": message}


def _paginate(document: dict[str, Any], listed: str, marker: str, start: int, size: int) -> None:
    items = document[listed]
    document[listed] = items[start : start + size]
    if start + size < len(items):
        document[marker] = str(start + size)
