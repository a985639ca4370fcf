"""Credentials from Secrets Manager and SSM: over real HTTP to moto, rotated, denied, unreachable, under SnapStart."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import trustme
from moto.server import ThreadedMotoServer

from tests.integration.connect_proxy import ForwardProxy
from tests.integration.rig import CREDENTIALS, QUICK
from tests.integration.secured import server_context, write_authority
from tests.integration.test_secrecy import PASSWORD, PLAIN, assert_silent, sent
from tests.integration.wire import PATIENCE_S, Request, Server, response

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.integration.rig import Arena, Rig, Settings
    from tests.integration.stub_sink import StubSink

KEYS: Settings = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t-key", "AWS_SESSION_TOKEN": "t0k"}
END: Settings = {"O2_FLUSH_STRATEGY": "end", "O2_FLUSH_BUDGET_MS": "10000", "O2_LOG_LEVEL": "DEBUG"}
OTHER = "Basic b3RoZXJAZXhhbXBsZS5jb206cm90YXRlZA=="
SETTING = "O2_AUTHORIZATION_SECRET"


class Moto:
    """A local AWS and hands in it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A client of a service."""
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, region_name=region, endpoint_url=self.url, **keys)

    def secret(self, name: str, value: str, region: str = "us-east-1") -> str:
        """Creates a secret; returns its ARN."""
        answer = self.client("secretsmanager", region).create_secret(Name=name, SecretString=value)
        return str(answer["ARN"])

    def parameter(self, name: str, value: str) -> str:
        """Creates an encrypted parameter; returns its ARN."""
        client = self.client("ssm")
        client.put_parameter(Name=name, Value=value, Type="SecureString")
        return str(client.get_parameter(Name=name)["Parameter"]["ARN"])


@pytest.fixture(scope="module")
def aws() -> Iterator[Moto]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield Moto(server.get_host_and_port()[1])
    server.stop()


class StubAws(Server):
    """AWS, or what gives out a sandbox's keys: answers as it is told, remembers what it was asked."""

    def __init__(self, answer: bytes = b"", **options: Any) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        super().__init__(**options)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def handle(self, request: Request, client: socket.socket) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        if self.answer:
            client.sendall(self.answer)


def document(status: int = 200, **members: str) -> bytes:
    return response(status, json.dumps(members).encode(), Content_Type="application/x-amz-json-1.1")


DENIED = document(
    400,
    __type="AccessDeniedException",
    Message="User: arn:x is not authorized to perform: secretsmanager:GetSecretValue",
)


def rig(arena: Arena, endpoint: str, reference: str, **settings: Any) -> Rig:
    named = {"O2_AUTHORIZATION_HEADER": None, SETTING: reference, "AWS_ENDPOINT_URL": endpoint}
    return arena.rig(**{**END, **QUICK, **KEYS, **named, **settings})


def accept_only(sink: StubSink, accepted: list[str]) -> None:
    """The sink refuses all but the last of `accepted`, which may grow."""

    def act(request: Request, client: socket.socket) -> None:
        if request.headers.get("authorization") == accepted[-1]:
            sink.store(request, client)
        else:
            client.sendall(response(401, b"Unauthorized"))

    sink.always = act


@pytest.mark.parametrize("notation", ["name", "ARN of another region", "member", "parameter", "parameter's ARN"])
def test_credentials_come_from_aws(arena: Arena, aws: Moto, notation: str) -> None:
    """Every notation, and every form of the value: the requests carry the header, nothing else tells it."""
    name = f"o2/{notation.replace(' ', '-')}".replace("'", "")
    reference = {
        "name": lambda: aws.secret(name, CREDENTIALS) and name,
        "ARN of another region": lambda: aws.secret(name, PLAIN, "eu-central-1"),
        "member": lambda: aws.secret(name, json.dumps({"user": "x", "auth": PLAIN})) and f"{name}#auth",
        "parameter": lambda: aws.parameter(f"/{name}", CREDENTIALS.partition(" ")[2]) and f"ssm:/{name}",
        "parameter's ARN": lambda: aws.parameter(f"/{name}", CREDENTIALS),
    }[notation]()
    each = rig(arena, aws.url, reference)
    for number in range(3):
        each.invocation(f"line {number}")
    ending = each.end()
    assert each.sink.lines() == ["line 0", "line 1", "line 2"]
    assert {request.headers["authorization"] for request in each.sink.requests} == {CREDENTIALS}
    assert ending.logs["held"] == 0
    assert len(each.process.matching("Credentials read from")) == 1
    assert_silent(ending.lines)
    assert_silent(sent(each.sink.requests, trusted=True))


def test_rotation_loses_nothing(arena: Arena, aws: Moto) -> None:
    """The secret changes, the old credentials are refused: they are fetched anew within the same invocation."""
    aws.secret("o2/rotated", CREDENTIALS)
    sink, accepted = arena.sink(), [CREDENTIALS]
    accept_only(sink, accepted)
    each = rig(arena, aws.url, "o2/rotated", sink=sink)
    each.invocation("before")
    aws.client("secretsmanager").put_secret_value(SecretId="o2/rotated", SecretString=OTHER)
    accepted.append(OTHER)
    each.invocation("after")
    assert sink.lines() == ["before", "after"]
    ending = each.end()
    assert ending.logs["delivered"] == ending.logs["received"]
    assert each.process.matching("ERROR") == []
    assert each.process.matching("status 401") == []
    assert "rotated" not in " ".join(ending.lines).replace("o2/rotated", "")


def test_a_missing_permission_is_one_line_and_holds_everything(arena: Arena) -> None:
    """No invocation is held, nothing is lost, and once the permission is there everything arrives."""
    aws = arena.stack.enter_context(StubAws(DENIED))
    each = rig(arena, aws.url, "o2")
    for number in range(4):
        each.invocation(f"line {number}")
    (line,) = each.process.matching("ERROR")
    assert "secret o2 cannot be read: AccessDeniedException: User: arn:x is not authorized" in line
    assert "allow the function's role secretsmanager:GetSecretValue" in line
    assert each.sink.requests == []
    aws.answer = document(SecretString=CREDENTIALS)
    each.begin()
    each.sink.wait(lambda: len(each.sink.lines()) == 4, "the held lines")
    each.done()
    each.await_next()
    ending = each.end()
    assert each.sink.lines() == [f"line {number}" for number in range(4)]
    assert ending.logs["delivered"] == ending.logs["received"]
    assert_silent(ending.lines)


def test_passive_where_that_is_wanted(arena: Arena) -> None:
    """O2_SECRET_FAILURE=passive: one line, the ledger, closed listeners; the function goes on being served."""
    aws = arena.stack.enter_context(StubAws(DENIED))
    each = rig(arena, aws.url, "o2", O2_SECRET_FAILURE="passive")
    line = each.process.await_line("telemetry is off")
    assert "Configuration error: secret o2 cannot be read: AccessDeniedException" in line
    each.lambda_.invoke("r-1")
    each.lambda_.await_next(2)
    each.lambda_.shutdown()
    ending = each.process.await_end()
    assert ending.status == 0
    assert len(aws.requests) == 1
    assert len(each.process.matching('{"ledger"')) == 1
    assert sum(ending.logs.get("dropped", {}).values()) == ending.logs.get("received", 0)


def test_aws_out_of_reach_holds_no_invocation_for_long(arena: Arena) -> None:
    """A black hole in a VPC without an endpoint: the budget once or twice, then nothing; the data stays."""
    aws = arena.stack.enter_context(StubAws())
    patch = "from o2_lambda.extension.core import secret\nsecret.TIMEOUT_MS = 300"
    each = rig(arena, aws.url, "o2", patch=patch, O2_FLUSH_BUDGET_MS="100", O2_MAX_RETRY_DELAY_MS="60000")
    for number in range(5):
        each.invocation(f"line {number}")
    aws.answer = document(SecretString=CREDENTIALS)
    ending = each.end()
    assert each.process.matching("in a VPC the function needs a route")
    assert ending.ledger["hold_ms_max"] < 1000
    assert each.sink.lines() == [f"line {number}" for number in range(5)]
    assert ending.logs["held"] == 0


def test_snapstart_keys_come_from_the_sandbox(arena: Arena) -> None:
    """Without keys in the environment they are asked for with the sandbox's token, past the proxy, and never told."""
    keys = document(AccessKeyId="ASIAEXAMPLE", SecretAccessKey="sandbox-key", Token="sandbox-token", Expiration="x")
    sandbox = arena.stack.enter_context(StubAws(keys))
    aws = arena.stack.enter_context(StubAws(document(SecretString=CREDENTIALS)))
    proxy = arena.stack.enter_context(ForwardProxy())
    settings = {
        **dict.fromkeys(KEYS),
        "O2_PROXY": f"http://127.0.0.1:{proxy.port}",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{sandbox.url}/2021-04-23/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "sandbox-authorization",
    }
    each = rig(arena, aws.url, "o2", **settings)
    each.invocation("a line")
    assert each.sink.lines() == ["a line"]
    (asked,) = sandbox.requests
    assert (asked.method, asked.target) == ("GET", "/2021-04-23/credentials")
    assert asked.headers["authorization"] == "sandbox-authorization"
    (signed,) = aws.requests
    assert signed.headers["x-amz-security-token"] == "sandbox-token"
    assert "Credential=ASIAEXAMPLE/" in signed.headers["authorization"]
    assert {request.target.partition("/api")[0] for request in proxy.requests} == {f"{aws.url}/", each.sink.url}
    assert "sandbox-" not in " ".join(each.end().lines)


def test_aws_is_trusted_by_the_systems_certificates(arena: Arena) -> None:
    """O2_CA_CERT names OpenObserve's own authority; AWS's are the system's, which must not be lost by that."""
    system, own = trustme.CA(), trustme.CA()
    (arena.folder / "system").mkdir()
    aws = arena.stack.enter_context(StubAws(document(SecretString=CREDENTIALS), tls=server_context(system)))
    authorities = {"O2_CA_CERT": write_authority(own, arena.folder)}
    authorities["SSL_CERT_FILE"] = write_authority(system, arena.folder / "system")
    each = rig(arena, aws.url, "o2", sink=arena.sink(server_context(own)), **authorities)
    each.invocation("a line")
    assert each.sink.lines() == ["a line"]
    impostor = arena.sink(server_context(system))
    other = rig(arena, aws.url, "o2", sink=impostor, **authorities)
    other.invocation("a line")
    assert impostor.requests == []


def test_the_secret_is_masked_from_its_arrival_on(arena: Arena, aws: Moto) -> None:
    """A server that repeats what it got cannot make us print it."""
    aws.secret("o2/echoed", CREDENTIALS)
    each = rig(arena, aws.url, "o2/echoed", O2_FLUSH_BUDGET_MS="1000")
    each.sink.always = response(400, f"denied: {CREDENTIALS} ({PLAIN}, {PASSWORD})".encode())
    each.invocation("a line")
    ending = each.end()
    assert each.process.matching("denied: ***")
    assert_silent(ending.lines)


@pytest.mark.parametrize("good", [True, False])
def test_health_check_fetches_the_secret(arena: Arena, aws: Moto, good: bool) -> None:
    """A step of its own, with what to do where it fails."""
    name = f"o2/checked-{good}"
    if good:
        aws.secret(name, CREDENTIALS)
    sink = arena.sink()
    environment = {"O2_ENDPOINT": sink.url, "O2_ORGANIZATION_ID": "default", SETTING: name}
    environment |= {"AWS_ENDPOINT_URL_SECRETS_MANAGER": aws.url, "AWS_REGION": "us-east-1", **KEYS}
    result = subprocess.run(
        [arena.launcher(), "-h"], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert result.returncode == (0 if good else 1), result.stdout
    if good:
        assert f"credentials read from secret {name}" in result.stdout
        assert {request.headers.get("authorization") for request in sink.requests} == {CREDENTIALS}
    else:
        assert f"secret {name} cannot be read: ResourceNotFoundException" in result.stdout
        assert "what to do: check O2_AUTHORIZATION_SECRET" in result.stdout
        assert sink.requests == []
    assert_silent([result.stdout, result.stderr])


def test_without_a_secret_nothing_of_it_is_loaded(arena: Arena) -> None:
    """Who gives the header itself does not pay for hashing and signing."""
    patch = """\
from o2_lambda.extension.io import loop
import sys
original = loop.Shell.close
def close(self):
    print("loaded:", [name for name in sys.modules if name in ("_sha2", "_sha256") or "secret" in name], flush=True)
    original(self)
loop.Shell.close = close
"""
    each = arena.rig(patch=patch, **END)
    each.invocation("a line")
    assert "loaded: []" in each.end().lines
