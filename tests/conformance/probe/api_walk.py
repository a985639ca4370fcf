"""A probe extension: makes calls of the Extensions and Telemetry API, right and wrong, and writes down each answer.

PROBE_WALK names the walk, PROBE_TRACE the file that takes one JSON object per line:
`{"step", "status", "headers", "body"}` for an answer, `{"mark", "at_ms", ...}` for anything else that happened.
While the process lives it touches `PROBE_TRACE.alive`, so that the time of its death is known however it died.
Standard library only: the same file runs under any emulator that calls itself Lambda.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = Path(sys.argv[0]).name
TRACE = Path(os.environ["PROBE_TRACE"])
ALIVE = TRACE.with_name(f"{TRACE.name}.alive")
BASE = "/2020-01-01/extension"
REGISTER, NEXT = f"{BASE}/register", f"{BASE}/event/next"
INIT_ERROR, EXIT_ERROR = f"{BASE}/init/error", f"{BASE}/exit/error"
TELEMETRY = "/2022-07-01/telemetry"
NAME_HEADER = "Lambda-Extension-Name"
ID_HEADER = "Lambda-Extension-Identifier"
TYPE_HEADER = "Lambda-Extension-Function-Error-Type"
HEADERS_OF_INTEREST = ("Content-Type", "Allow", ID_HEADER, "Lambda-Extension-Event-Identifier")
NOBODY = "00000000-0000-4000-8000-000000000000"
HEARTBEAT_S = 0.02
LIMIT_S = 60  # of one call; the tests' own limits are shorter
CROWD = 12  # more than Lambda's quota of extensions

Headers = dict[str, str]
Answer = dict[str, Any]


def write(entry: dict[str, Any]) -> None:
    with TRACE.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def mark(what: str, **detail: Any) -> None:
    write({"mark": what, "at_ms": time.time() * 1000, **detail})


def call(step: str, method: str, path: str, headers: Headers | None = None, body: bytes | None = None) -> Answer:
    """Makes one call on a connection of its own and writes its answer down."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=LIMIT_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        found = {name: response.headers[name] for name in HEADERS_OF_INTEREST if name in response.headers}
        answer: Answer = {"step": step, "status": response.status, "headers": found, "body": text}
    except (OSError, http.client.HTTPException) as error:
        answer = {"step": step, "status": 0, "headers": {}, "body": type(error).__name__}
    finally:
        connection.close()
    write(answer)
    return answer


def register(step: str, name: str | None = NAME, body: Any = b"", **headers: str) -> Headers:
    """Registers; returns the identity header, or none where it was refused. `body`: bytes, or what becomes JSON."""
    named = {} if name is None else {NAME_HEADER: name}
    extra = {key.replace("_", "-"): value for key, value in headers.items()}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = call(step, "POST", REGISTER, {**named, **extra}, raw)
    identifier = answer["headers"].get(ID_HEADER)
    return {ID_HEADER: identifier} if identifier else {}


def registered(events: list[str] | None = None) -> Headers:
    return register("register", body={"events": ["INVOKE", "SHUTDOWN"] if events is None else events})


def next_event(step: str, identity: Headers) -> dict[str, Any]:
    answer = call(step, "GET", NEXT, identity)
    event: dict[str, Any] = json.loads(answer["body"]) if answer["status"] == 200 else {}
    mark("event", kind=event.get("eventType"), call=step, deadline_ms=event.get("deadlineMs"))
    return event


def leave(code: int) -> None:
    mark("exit", code=code)
    os._exit(code)


def serve(identity: Headers) -> None:
    """Takes every event until SHUTDOWN has come."""
    count = 1
    while next_event(f"next {count}", identity).get("eventType") == "INVOKE":
        count += 1


def until_shutdown(identity: Headers) -> None:
    """Serves, then leaves as an extension should."""
    serve(identity)
    leave(0)


# The walks


def walk_calls() -> None:
    """Every call, right and wrong, in every state that an extension passes through."""
    call("unknown path", "GET", "/nothing")
    call("unknown extension path", "GET", f"{BASE}/nothing")
    call("unknown version", "POST", "/2019-01-01/extension/register", {NAME_HEADER: NAME}, b'{"events":[]}')
    wrong = ("GET", REGISTER), ("DELETE", REGISTER), ("POST", NEXT), ("GET", INIT_ERROR), ("PUT", EXIT_ERROR)
    for method, path in wrong:
        call(f"wrong method {method} {path.removeprefix(BASE)}", method, path)
    for what, identity in (("no id", {}), ("bad id", {ID_HEADER: "nobody"}), ("unknown id", {ID_HEADER: NOBODY})):
        call(f"next, {what}", "GET", NEXT, identity)
        call(f"init/error, {what}", "POST", INIT_ERROR, {**identity, TYPE_HEADER: "Probe.Bad"})
        call(f"exit/error, {what}", "POST", EXIT_ERROR, {**identity, TYPE_HEADER: "Probe.Bad"})
    register("register without name", None, {"events": ["INVOKE"]})
    register("register with empty name", "", {"events": ["INVOKE"]})
    register("register without body")
    register("register with bad JSON", body=b'{"events":')
    register("register with a list", body=["INVOKE"])
    register("register with a string", body="INVOKE")
    register("register with events a string", body={"events": "INVOKE"})
    register("register with events of numbers", body={"events": [1]})
    register("register for FOO", body={"events": ["FOO"]})
    register("register for INVOKE and FOO", body={"events": ["INVOKE", "FOO"]})
    register("register for invoke in lower case", body={"events": ["invoke"]})
    identity = registered()
    registered_again = {"events": ["INVOKE"]}
    register("register twice", body=registered_again)
    call("init/error without type", "POST", INIT_ERROR, identity)
    call("exit/error without type", "POST", EXIT_ERROR, identity)
    next_event("next 1", identity)
    register("register while running", body=registered_again)
    register("register somebody else while running", "latecomer", registered_again)
    call("init/error while running", "POST", INIT_ERROR, {**identity, TYPE_HEADER: "Probe.Bad"})
    call("exit/error while running without type", "POST", EXIT_ERROR, identity)
    next_event("next 2", identity)
    next_event("next 3", identity)
    leave(0)


def subscription(**changes: Any) -> dict[str, Any]:
    """A valid subscription, changed: `buffering` and `destination` member by member, None removes a member."""
    request: dict[str, Any] = {
        "schemaVersion": "2022-12-13",
        "types": ["platform", "function"],
        "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 100},
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:9/telemetry"},
    }
    for key, value in changes.items():
        if isinstance(value, dict) and key in request:
            value = {**request[key], **value}  # noqa: PLW2901 - the members that were not given
        request[key] = value
    return {key: value for key, value in request.items() if value is not None}


# What each says is what is wrong with it.
WRONG_SUBSCRIPTIONS: dict[str, Any] = {
    "no JSON": b"{",
    "no types": subscription(types=None),
    "empty types": subscription(types=[]),
    "unknown type": subscription(types=["weather"]),
    "types a string": subscription(types="function"),
    "unknown schema": subscription(schemaVersion="1999-01-01"),
    "maxItems below 1000": subscription(buffering={"maxItems": 999}),
    "maxItems above 10000": subscription(buffering={"maxItems": 10_001}),
    "maxBytes below 256 KiB": subscription(buffering={"maxBytes": 262_143}),
    "maxBytes above 1 MiB": subscription(buffering={"maxBytes": 1_048_577}),
    "timeoutMs below 25": subscription(buffering={"timeoutMs": 24}),
    "timeoutMs above 30000": subscription(buffering={"timeoutMs": 30_001}),
    "maxItems a string": subscription(buffering={"maxItems": "1000"}),
    "no destination": subscription(destination=None),
    "no URI": subscription(destination={"URI": ""}),
    "https": subscription(destination={"URI": "https://sandbox.localdomain:9/"}),
    "localhost": subscription(destination={"URI": "http://localhost:9/"}),
    "elsewhere": subscription(destination={"URI": "http://example.com:9/"}),
    "unknown protocol": subscription(destination={"protocol": "UDP"}),
    "TCP without port": subscription(destination={"protocol": "TCP"}),
}


def subscribe(step: str, identity: Headers, request: Any) -> None:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    call(f"telemetry, {step}", "PUT", TELEMETRY, identity, body)


def walk_telemetry() -> None:
    """Subscriptions without identity, out of every range, valid, and too late."""
    call("telemetry, wrong method", "POST", TELEMETRY, {}, b"{}")
    subscribe("no id", {}, subscription())
    subscribe("bad id", {ID_HEADER: "nobody"}, subscription())
    subscribe("unknown id", {ID_HEADER: NOBODY}, subscription())
    identity = registered()
    for what, request in WRONG_SUBSCRIPTIONS.items():
        subscribe(what, identity, request)
    subscribe("valid", identity, subscription())
    next_event("next", identity)
    subscribe("after init", identity, subscription())
    until_shutdown(identity)


def walk_features() -> None:
    """Asks for the account id, and for a feature that there is not."""
    body = {"events": ["INVOKE", "SHUTDOWN"]}
    identity = register("register with features", body=body, Lambda_Extension_Accept_Feature="accountId,teleport")
    until_shutdown(identity)


def walk_crowd() -> None:
    """Internal extensions, under other names than the file's: what they may subscribe to, and how many there may be."""
    register("internal for SHUTDOWN", "internal", {"events": ["SHUTDOWN"]})
    for number in range(1, CROWD):
        internal = register(f"internal {number}", f"internal-{number}", {"events": ["INVOKE"]})
        if internal:
            threading.Thread(target=serve_quietly, args=(internal,), daemon=True).start()
    until_shutdown(registered())  # last: it lets the runtime start, whose first call closes the registration


def serve_quietly(identity: Headers) -> None:
    """Polls as an internal extension; nobody's answers but the main extension's are written down."""
    while True:
        connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=LIMIT_S)
        try:
            connection.request("GET", NEXT, headers=identity)
            if connection.getresponse().status != 200:
                return
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def walk_init_error() -> None:
    """Gives up before the first next; nothing else is possible afterwards."""
    report_error("init/error", INIT_ERROR, "exit/error", EXIT_ERROR, registered())
    leave(1)


def walk_exit_error_early() -> None:
    """Gives up with exit/error although it has served nothing."""
    report_error("exit/error", EXIT_ERROR, "init/error", INIT_ERROR, registered())
    leave(1)


def walk_exit_error() -> None:
    """Gives up while it serves its first invocation."""
    identity = registered()
    next_event("next 1", identity)
    report_error("exit/error", EXIT_ERROR, "init/error", INIT_ERROR, identity)
    leave(1)


def report_error(step: str, path: str, other_step: str, other_path: str, identity: Headers) -> None:
    headers = {**identity, TYPE_HEADER: "Extension.ProbeGaveUp"}
    call(step, "POST", path, headers)
    call(f"{step} repeated", "POST", path, headers)
    call(f"{other_step} afterwards", "POST", other_path, headers)
    call("next afterwards", "GET", NEXT, identity)


def walk_unregistered_exit() -> None:
    """Ends, with status 0, without having registered."""
    leave(0)


def walk_early_exit() -> None:
    """Registers and ends with status 0: a crash all the same."""
    registered()
    leave(0)


def walk_exit_when_invoked() -> None:
    """Ends with status 0 in the middle of an invocation."""
    next_event("next 1", registered())
    leave(0)


def walk_serve() -> None:
    """What a well-behaved extension does."""
    until_shutdown(registered())


def walk_dawdle() -> None:
    """Takes half a second over its farewell: time enough to see a signal, if one came."""
    identity = registered()
    serve(identity)
    time.sleep(0.5)
    leave(0)


def walk_stubborn() -> None:
    """Polls on after SHUTDOWN."""
    identity = registered()
    serve(identity)
    next_event("next after SHUTDOWN", identity)
    leave(0)


def walk_deaf() -> None:
    """Subscribed to INVOKE only: nobody tells it about the end."""
    until_shutdown(registered(["INVOKE"]))


def walk_indifferent() -> None:
    """Subscribed to SHUTDOWN only."""
    until_shutdown(registered(["SHUTDOWN"]))


def walk_no_events() -> None:
    """Subscribed to nothing."""
    until_shutdown(registered([]))


WALKS: dict[str, Callable[[], None]] = {
    name.removeprefix("walk_"): value for name, value in list(globals().items()) if name.startswith("walk_")
}


def heartbeat() -> None:
    while True:
        ALIVE.touch()
        time.sleep(HEARTBEAT_S)


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: mark("signal", name=signal.Signals(received).name))
    threading.Thread(target=heartbeat, daemon=True).start()
    mark("start", variables=sorted(os.environ), leads_group=os.getpgid(0) == os.getpid())
    WALKS[os.environ["PROBE_WALK"]]()


main()
