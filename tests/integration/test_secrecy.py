"""The credential is in the Authorization header to OpenObserve, and nowhere else: printed, sent, or stored."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import trustme

from tests.integration.otlp_requests import export_request
from tests.integration.rig import CREDENTIALS, QUICK, with_otlp
from tests.integration.secured import server_context, write_authority
from tests.integration.stub_lambda import event, refusal
from tests.integration.stub_sink import decoded
from tests.integration.wire import response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.integration.rig import Arena, Rig, Settings
    from tests.integration.wire import Request

ENCODED = CREDENTIALS.partition(" ")[2]
PLAIN = base64.b64decode(ENCODED).decode()
PASSWORD = PLAIN.partition(":")[2]
SHAPES = {
    CREDENTIALS,
    ENCODED,
    PLAIN,
    PASSWORD,
    quote(PLAIN, safe=""),
    quote(PASSWORD, safe=""),
    quote(ENCODED, safe=""),
    quote(CREDENTIALS, safe=""),
    base64.b64encode(CREDENTIALS.encode()).decode(),
    base64.b64encode(ENCODED.encode()).decode(),
    json.dumps(PLAIN)[1:-1],
}
END: Settings = {"O2_FLUSH_STRATEGY": "end"}


def assert_silent(texts: Iterable[str | bytes]) -> None:
    """No text contains the credential in any shape."""
    for text in texts:
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        for shape in SHAPES:
            assert shape.encode() not in data, (shape, text)


def sent(requests: Iterable[Request], *, trusted: bool) -> Iterable[bytes]:
    """Everything of requests but, to the trusted, the Authorization header."""
    for request in requests:
        lines = request.head.split(b"\r\n")
        kept = [line for line in lines if not (trusted and line.lower().startswith(b"authorization:"))]
        assert len(lines) - len(kept) <= 1
        yield b"\r\n".join(kept)
        yield request.body
        yield decoded(request) if request.headers.get("content-encoding") == "gzip" else b""


def healthy(rig: Rig) -> None:
    rig.invocation("a")


def echoing(status: int) -> Callable[[Rig], None]:
    """The server repeats the credential in its answer, as debugging proxies do."""

    def act(rig: Rig) -> None:
        echo = f"denied: Authorization: {CREDENTIALS} ({PLAIN}, {quote(PLAIN, safe='')})".encode()
        rig.sink.always = response(status, echo)
        for number in range(4):
            rig.invocation(f"line {number}")

    return act


def refusing_inside_a_200(rig: Rig) -> None:
    status = {"name": "default", "successful": 2, "failed": 1, "error": f"bad token {ENCODED} of {PLAIN}"}
    rig.sink.plan = [response(200, json.dumps({"code": 200, "status": [status]}).encode())]
    rig.invocation("a")
    rig.invocation("b")


def down(rig: Rig) -> None:
    rig.sink.down()
    for number in range(4):
        rig.invocation(f"line {number}")


def malformed(rig: Rig) -> None:
    rig.begin()
    rig.lambda_.post_bytes(b'[{"time":"x","type":"function","record":"unfinished')
    rig.lambda_.post(event("function", "fine"))
    rig.done()
    rig.await_next()


def exporting(rig: Rig) -> None:
    rig.begin()
    for signal in ("traces", "metrics", "logs"):
        rig.export(f"/v1/{signal}", export_request(signal).SerializeToString())
    rig.export("/v1/traces", b"nonsense")
    rig.done()
    rig.await_next()


LIVES: dict[str, Callable[[Rig], None]] = {
    "healthy": healthy,
    "echo 400": echoing(400),
    "echo 401": echoing(401),
    "echo 413": echoing(413),
    "echo 429": echoing(429),
    "echo 500": echoing(500),
    "echo 302": echoing(302),
    "echo 200": echoing(200),
    "refusing inside a 200": refusing_inside_a_200,
    "down": down,
    "malformed": malformed,
    "exporting": exporting,
}


@pytest.mark.parametrize("name", LIVES)
def test_whatever_happens_the_credential_stays_where_it_belongs(arena: Arena, name: str) -> None:
    """Lines, requests to Lambda and to OpenObserve, in good times and in bad, at the most talkative level."""
    rig = arena.rig(**END, **QUICK, **with_otlp(), O2_LOG_LEVEL="DEBUG")
    LIVES[name](rig)
    ending = rig.end()
    assert ending.lines
    assert_silent(ending.lines)
    assert_silent(sent(rig.lambda_.requests, trusted=False))
    assert_silent(sent(rig.sink.requests, trusted=True))
    assert_silent(sent(rig.sink.probes, trusted=True))
    if name != "down":
        assert {request.headers["authorization"] for request in rig.sink.requests} == {CREDENTIALS}


BUG = """\
from o2_lambda.extension.engine import Engine
def step(self, *arguments, **options):
    raise RuntimeError("broken with " + self.config.authorization_header)
Engine.step = step
"""


def test_a_bug_does_not_tell_it(arena: Arena) -> None:
    """An exception whose text holds the credential is printed without."""
    rig = arena.rig(patch=BUG)
    rig.lambda_.invoke("r-1")
    rig.process.await_line("Internal error")
    rig.lambda_.shutdown()
    assert_silent(rig.process.await_end().lines)


@pytest.mark.parametrize(
    "value",
    [
        ENCODED,
        f"Basic{ENCODED}",
        f"basic {PLAIN}",
        f"Token {ENCODED}",
        f"Basic {ENCODED}\nX-Header: {PLAIN}",
        f"Basic {ENCODED}\x7f",
        f"Basic {PLAIN}é",
    ],
)
def test_a_refused_credential_is_not_told(arena: Arena, value: str) -> None:
    """What is wrong with O2_AUTHORIZATION_HEADER is said without showing it; so with O2_STRICT, and in the check."""
    rig = arena.rig(O2_AUTHORIZATION_HEADER=value)
    if rig.process.await_line(" O2_AUTHORIZATION_HEADER "):
        assert_silent(rig.process.lines)
    strict = arena.rig(starts=False, O2_AUTHORIZATION_HEADER=value, O2_STRICT="1")
    assert_silent(strict.process.await_end().lines)
    assert_silent(sent(strict.lambda_.requests, trusted=False))
    result = subprocess.run(
        [arena.launcher(), "-h"], env=strict.environment, capture_output=True, timeout=15, check=False
    )
    assert_silent([result.stdout, result.stderr])


@pytest.mark.parametrize("name", ["O2_ENDPOINT", "O2_PROXY"])
@pytest.mark.parametrize(
    "shape", ["https://{0}@host", "htp://{0}@host", "https://{0}@host?x", "https://{0}@:1", "https://{0}@h:x"]
)
def test_credentials_in_a_url_are_not_told(arena: Arena, name: str, shape: str) -> None:
    """People paste URLs with a password: an error line must not repeat it."""
    settings: Settings = {name: shape.format(quote(PLAIN, safe=":"))}
    rig = arena.rig(**settings)
    rig.process.await_line("Configuration error: ")
    assert_silent(rig.process.lines)


def test_strangers_do_not_get_it(arena: Arena) -> None:
    """A telemetry client, an OTLP client, another upstream: none sees it, in heads or bodies."""
    other = arena.sink()
    elsewhere = {**arena.elsewhere(other), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other.example"}
    rig = arena.rig(**END, **with_otlp(), **elsewhere)
    answers = [rig.export(path, b"x") for path in ("/v1/traces", "/v1/logs", "/", "/metrics")]
    exporting(rig)
    rig.end()
    assert_silent(answer.body for answer in answers)
    assert_silent(str(answer.headers) for answer in answers)
    assert other.requests
    assert_silent(sent(other.requests, trusted=False))
    assert not [request for request in other.requests if "authorization" in request.headers]


def test_a_redirect_is_not_followed(arena: Arena) -> None:
    """A server that points elsewhere does not send the credential there; the data is held."""
    other = arena.sink()
    rig = arena.rig(**END, **QUICK)
    rig.sink.always = response(307, Location=f"{other.url}/api/default/default/_json")
    rig.invocation("a")
    rig.invocation("b")
    assert rig.end().logs["held"] > 0
    assert other.connections == 0


def test_an_impostor_does_not_get_it(arena: Arena) -> None:
    """Over TLS nothing of a request is sent before the certificate has been verified."""
    sink = arena.sink(server_context(trustme.CA()))
    rig = arena.rig(sink=sink, **END, **QUICK, O2_CA_CERT=write_authority(trustme.CA(), arena.folder))
    rig.invocation("a")
    rig.end()
    assert sink.requests == []
    assert sink.probes == []


def test_records_do_not_carry_it(arena: Arena) -> None:
    """The extension's own environment is nowhere in what it stores."""
    rig = arena.rig(**END)
    rig.invocation("a")
    rig.end()
    assert_silent(rig.sink.texts)
    assert_silent(gzip.decompress(request.body) for request in rig.sink.requests)


def test_the_process_leaves_nothing_on_disk(arena: Arena) -> None:
    """No file is opened for writing: nothing that a layer or a function could read later."""
    rig = arena.rig(**END)
    rig.invocation("a")
    links = [str(link.readlink()) for link in Path(f"/proc/{rig.process.pid}/fd").iterdir()]
    assert not [link for link in links if link.startswith("/") and not link.startswith("/dev/")], links


def test_the_command_line_for_a_person_does_not_tell_it(arena: Arena) -> None:
    """Health check, help and version, with a server that echoes."""
    sink = arena.sink()
    sink.always = response(500, f"echo {CREDENTIALS} {PLAIN}".encode())
    environment = {"O2_ENDPOINT": sink.url, "O2_ORGANIZATION_ID": "default", "O2_AUTHORIZATION_HEADER": CREDENTIALS}
    for argument in ("-h", "--help", "-v", "--nonsense"):
        result = subprocess.run(
            [arena.launcher(), argument], env=environment, capture_output=True, timeout=15, check=False
        )
        assert_silent([result.stdout, result.stderr])


def test_a_refused_registration_does_not_tell_it(arena: Arena) -> None:
    """Lambda's own words are printed; ours are not sent to it."""
    from tests.integration.stub_lambda import StubLambda

    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.scripts["register"] = [refusal(500, "ServiceError", f"echo {CREDENTIALS}")] * 8
    rig = arena.rig(lambda_=lambda_)
    rig.process.await_line("Registration failed")
    rig.invocation("a")
    rig.end()
    assert_silent(sent(rig.lambda_.requests, trusted=False))
