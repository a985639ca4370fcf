"""Credentials that are fetched: where from, what they may look like, and what an engine does while there are none."""

from __future__ import annotations

import base64
import json
from typing import Any

import boto3
import pytest

from o2_lambda.extension.config import load
from o2_lambda.extension.core.aws import Access
from o2_lambda.extension.core.model import AWS, LOCAL, UPSTREAM, Outcome, Request
from o2_lambda.extension.core.secret import AGE_MS_MAX, REFRESH_PAUSE_MS, Reference, Secret, header_of
from o2_lambda.extension.core.url import ConfigError
from tests.unit import events
from tests.unit.simulation import ENVIRON, Reply, World, failing, stored

HEADER = "Basic dXNlcjpwYXNz"
OTHER = "Basic dXNlcjpuZXc="
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "hidden-key", "AWS_SESSION_TOKEN": "hidden-token"}
WITHOUT = {name: value for name, value in ENVIRON.items() if name != "O2_AUTHORIZATION_HEADER"}
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/o2-AbCdEf"
PARAMETER_ARN = "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/prod/o2"


@pytest.mark.parametrize(
    ("text", "service", "name", "region", "key"),
    [
        ("prod/o2", "secretsmanager", "prod/o2", "", ""),
        ("prod/o2#auth", "secretsmanager", "prod/o2", "", "auth"),
        (ARN, "secretsmanager", ARN, "eu-west-1", ""),
        (f"{ARN}#a key", "secretsmanager", ARN, "eu-west-1", "a key"),
        ("ssm:/prod/o2", "ssm", "/prod/o2", "", ""),
        ("ssm:o2:3#auth", "ssm", "o2:3", "", "auth"),
        (PARAMETER_ARN, "ssm", PARAMETER_ARN, "cn-north-1", ""),
    ],
)
def test_references(text: str, service: str, name: str, region: str, key: str) -> None:
    """Each notation says which service is asked for what, and where."""
    reference = Reference("O2_AUTHORIZATION_SECRET", text)
    assert (reference.service, reference.name, reference.region, reference.key) == (service, name, region, key)


@pytest.mark.parametrize(
    "text",
    [
        "#key",
        "ssm:",
        "arn:aws:s3:::bucket",
        "arn:aws:secretsmanager:eu-west-1:123456789012",
        "arn:aws:secretsmanager::123456789012:secret:x",
        "arn:aws:ssm:eu-west-1:123456789012:document/x",
        "two words",
        "name:with-colon",
        HEADER,
        HEADER.partition(" ")[2],
    ],
)
def test_references_that_are_none(text: str) -> None:
    """One line that names the setting and does not repeat what may be a credential."""
    with pytest.raises(ConfigError, match=r"^O2_AUTHORIZATION_SECRET ") as caught:
        load({**WITHOUT, "O2_AUTHORIZATION_SECRET": text})
    assert len(text) < 5 or text not in str(caught.value)


def test_exactly_one_source() -> None:
    """Header and secret exclude each other, and one of them must be there."""
    with pytest.raises(ConfigError, match="exclude each other"):
        load({**ENVIRON, "O2_AUTHORIZATION_SECRET": "prod/o2"})
    with pytest.raises(ConfigError, match=r"^O2_AUTHORIZATION_HEADER environment variable is required"):
        load(WITHOUT)


@pytest.mark.parametrize(
    ("value", "key", "header"),
    [
        (HEADER, "", HEADER),
        (f" {HEADER}\n", "", HEADER),
        ("Bearer abc", "", "Bearer abc"),
        ("user:pass", "", HEADER),
        ("user:p ä:ß", "", "Basic " + base64.b64encode("user:p ä:ß".encode()).decode()),
        ("dXNlcjpwYXNz", "", HEADER),
        (json.dumps({"auth": HEADER, "x": 1}), "auth", HEADER),
        (json.dumps({"a b": "user:pass"}), "a b", HEADER),
    ],
)
def test_what_a_secret_may_hold(value: str, key: str, header: str) -> None:
    """The header's value, user and password, or their base64; alone or as a member of an object."""
    assert header_of(value, key) == (header, "")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("", ""),
        (" ", ""),
        (None, ""),
        (17, ""),
        ("no credential", ""),
        ("Basic two words", ""),
        ("tökén", ""),
        ("line\nline", ""),
        (json.dumps({"auth": HEADER}), ""),
        (json.dumps({"auth": HEADER}), "other"),
        (json.dumps({"auth": {"deep": HEADER}}), "auth"),
        (HEADER, "auth"),
    ],
)
def test_what_a_secret_may_not_hold(value: object, key: str) -> None:
    """The reason does not show it."""
    header, problem = header_of(value, key)
    assert header == ""
    assert problem
    assert len(str(value)) < 5 or str(value) not in problem
    assert "dXNlcjpwYXNz" not in problem


def test_every_region_has_its_endpoint() -> None:
    """All that AWS's own library knows, in every partition."""
    session = boto3.session.Session()
    access = Access({})
    checked = 0
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("secretsmanager", partition):
            for service in ("secretsmanager", "ssm"):
                client = boto3.client(service, region, aws_access_key_id="x", aws_secret_access_key="x")
                expected = client.meta.endpoint_url
                assert str(access.endpoint(service, region)) == expected
                checked += 1
            break  # building a client takes long; the domain is the partition's
    assert checked >= 8


def test_endpoints_can_be_named() -> None:
    """The variables of the AWS SDKs; that of the service comes first."""
    access = Access({"AWS_ENDPOINT_URL": "http://aws:1", "AWS_ENDPOINT_URL_SSM": "http://ssm:2"})
    assert str(access.endpoint("secretsmanager", "eu-west-1")) == "http://aws:1"
    assert str(access.endpoint("ssm", "eu-west-1")) == "http://ssm:2"


# The engine


def secret_answer(value: str, request: Request) -> Outcome:
    """What Secrets Manager or SSM answers."""
    fields = dict(request.headers)
    if fields["x-amz-target"].startswith("AmazonSSM"):
        assert json.loads(request.body) == {"Name": "/prod/o2", "WithDecryption": True}
        return Outcome(status=200, body=json.dumps({"Parameter": {"Value": value}}).encode())
    assert "SecretId" in json.loads(request.body)
    return Outcome(status=200, body=json.dumps({"Name": "x", "SecretString": value}).encode())


def refusal(kind: str, message: str, status: int = 400) -> Outcome:
    return Outcome(status=status, body=json.dumps({"__type": kind, "Message": message}).encode())


DENIED = refusal("AccessDeniedException", "User: x is not authorized to perform: secretsmanager:GetSecretValue")


class Cloud:
    """AWS, and an OpenObserve that takes one credential."""

    def __init__(self, *answers: str | Outcome, accepted: str = HEADER) -> None:
        self.answers = list(answers)  # of AWS; the last one for ever
        self.accepted = accepted
        self.fetches: list[Request] = []
        self.lines = 0

    def __call__(self, _world: World, request: Request) -> Reply:
        if request.route == LOCAL:
            self.fetches.append(request)
            document = {"AccessKeyId": "ASIA", "SecretAccessKey": "s3cr3t", "Token": "t0k3n", "Expiration": "soon"}
            return Reply(Outcome(status=200, body=json.dumps(document).encode()))
        if request.route == AWS:
            self.fetches.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return Reply(secret_answer(answer, request) if isinstance(answer, str) else answer)
        assert request.route == UPSTREAM
        if dict(request.headers)["authorization"] != self.accepted:
            return Reply(Outcome(status=401, body=b"Unauthorized"))
        assert request.batch is not None
        self.lines += request.batch.count
        return Reply(stored(request))


def world(cloud: Any, reference: str = "prod/o2", **environ: str) -> World:
    settings = {"O2_AUTHORIZATION_HEADER": "", "O2_AUTHORIZATION_SECRET": reference, "O2_FLUSH_STRATEGY": "end"}
    built = World(cloud, settings={**settings, "AWS_REGION": "us-east-1", **KEYS, **environ})
    built.step()
    return built


def invocation(each: World, lines: int = 3) -> None:
    each.invoke()
    each.log(lines)
    each.advance(50)
    each.finish()
    each.let_go()


@pytest.mark.parametrize("reference", ["prod/o2", ARN, "ssm:/prod/o2"])
def test_fetched_at_once_and_once(reference: str) -> None:
    """The first request of a sandbox is for the credentials, before there is anything to send; then they are kept."""
    cloud = Cloud(HEADER)
    each = world(cloud, reference)
    assert [request.route for request in each.requests] == [AWS]
    region = "eu-west-1" if reference == ARN else "us-east-1"
    service = "ssm" if reference.startswith("ssm") else "secretsmanager"
    assert str(cloud.fetches[0].url) == f"https://{service}.{region}.amazonaws.com"
    assert f"/{region}/{service}/aws4_request" in dict(cloud.fetches[0].headers)["authorization"]
    for _ in range(5):
        invocation(each)
    assert len(cloud.fetches) == 1
    assert each.account()["delivered"] == each.account()["received"] == cloud.lines == 20
    assert each.engine.destinations.confidential() >= {HEADER}


def test_snapstart_has_its_own_keys() -> None:
    """Without keys in the environment the sandbox is asked for some, past the proxy; each time anew, as they expire."""
    named = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9001/creds", "AWS_ACCESS_KEY_ID": ""}
    cloud = Cloud(HEADER, OTHER, accepted=HEADER)
    each = world(cloud, **named, AWS_CONTAINER_AUTHORIZATION_TOKEN="letmein", O2_PROXY="http://proxy:1")
    invocation(each)
    assert [request.route for request in cloud.fetches] == [LOCAL, AWS]
    assert dict(cloud.fetches[0].headers)["authorization"] == "letmein"
    fields = dict(cloud.fetches[1].headers)
    assert fields["x-amz-security-token"] == "t0k3n"
    assert "Credential=ASIA/" in fields["authorization"]
    assert each.engine.destinations.confidential() >= {"s3cr3t", "t0k3n"}
    cloud.accepted = OTHER
    invocation(each)
    assert [request.route for request in cloud.fetches] == [LOCAL, AWS, LOCAL, AWS]
    assert each.account()["held"] == 0


def test_rotation_is_followed_within_the_invocation() -> None:
    """A refusal fetches the credentials anew, and the same batch goes again: nothing lost, nothing paused."""
    cloud = Cloud(HEADER, OTHER)
    each = world(cloud)
    invocation(each)
    cloud.accepted = OTHER
    invocation(each)
    assert each.account()["held"] == 0
    assert each.account()["delivered"] == cloud.lines == 8
    assert len(cloud.fetches) == 2
    assert each.said("ERROR") == []


def test_refused_credentials_are_fetched_once_a_minute() -> None:
    """A server that refuses whatever it gets does not make AWS suffer."""
    cloud = Cloud(HEADER, accepted="nothing")
    each = world(cloud)
    invocation(each)
    assert len(cloud.fetches) == 2
    assert "refuses the credentials that secret prod/o2 holds" in each.said("ERROR")[0]
    for _ in range(20):
        each.freeze(REFRESH_PAUSE_MS // 20)
        invocation(each)
        assert each.hold_ms[-1] == 0
    assert len(cloud.fetches) <= 4
    cloud.accepted = HEADER
    for _ in range(20):
        each.freeze(30_000)
        invocation(each)
    assert each.account()["held"] == 0
    assert each.account()["delivered"] == cloud.lines


def test_credentials_age() -> None:
    """After an hour they are fetched anew before the next request; where that fails the known ones go on."""
    cloud = Cloud(HEADER, DENIED, HEADER)
    each = world(cloud)
    invocation(each)
    each.freeze(AGE_MS_MAX)
    invocation(each)
    assert len(cloud.fetches) == 2
    assert each.account()["held"] == 0
    assert "what is known of it is used on" in each.said("WARN")[0]
    each.freeze(REFRESH_PAUSE_MS)
    invocation(each)
    invocation(each)
    assert len(cloud.fetches) == 3
    assert each.account()["delivered"] == cloud.lines


FAULTS = {
    "denied": (DENIED, "allow the function's role secretsmanager:GetSecretValue"),
    "not found": (refusal("ResourceNotFoundException", "can't find it"), "ResourceNotFoundException: can't find it"),
    "throttled": (refusal("ThrottlingException", "slow down"), "ThrottlingException"),
    "signature": (refusal("InvalidSignatureException", "hidden-token"), "InvalidSignatureException; everything"),
    "broken": (Outcome(status=500, body=b"<html>"), "status 500"),
    "timeout": (Outcome(error="aws:443: timed out"), "in a VPC the function needs a route"),
    "page": (Outcome(status=200, body=b"<html>"), "holds no text"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_without_credentials_everything_is_held(name: str) -> None:
    """One line, then pauses: no invocation waits for what does not come; once it comes nothing is missing."""
    outcome, part = FAULTS[name]
    cloud = Cloud(outcome)
    each = world(cloud)
    for _ in range(6):
        invocation(each)
        each.freeze(1000)
    assert part in each.said("ERROR")[0]
    assert len(each.said("ERROR")) == 1
    assert "hidden" not in str(each.lines)
    assert each.hold_ms[-1] == 0
    assert [request.route for request in each.requests if request.batch] == []
    assert each.account()["held"] == each.account()["received"] == 24
    cloud.answers = [HEADER]
    each.freeze(60_000)
    invocation(each)
    invocation(each)
    assert each.account()["held"] == 0
    assert each.account()["delivered"] == cloud.lines == 32


@pytest.mark.parametrize("name", FAULTS)
def test_passive_without_credentials(name: str) -> None:
    """With O2_SECRET_FAILURE=passive the extension retires; what it held stands in the ledger."""
    outcome, part = FAULTS[name]
    each = world(Cloud(outcome), O2_SECRET_FAILURE="passive")
    for _ in range(5):
        if not each.passive:
            each.invoke()
            each.log(3)
            each.finish()
            each.advance(5000)
    assert part.partition(";")[0] in each.passive
    dropped = each.account()["dropped"]
    assert each.account()["held"] == 0
    assert sum(dropped.values()) == each.account()["received"]
    assert set(dropped) <= {"no_credentials"}
    assert each.engine.ledger.requests == 0


def test_passive_needs_the_credentials_once() -> None:
    """A sandbox that has had credentials holds on to its data: a refusal or an outage later is no reason to retire."""
    cloud = Cloud(HEADER, DENIED)
    each = world(cloud, O2_SECRET_FAILURE="passive")
    invocation(each)
    cloud.accepted = OTHER
    for _ in range(5):
        invocation(each)
        each.freeze(60_000)
    assert each.passive == ""
    assert each.account()["held"] > 0


@pytest.mark.parametrize(
    ("missing", "part"), [("AWS_ACCESS_KEY_ID", "no AWS credentials in the environment"), ("AWS_REGION", "AWS_REGION")]
)
def test_an_environment_that_lacks_something(missing: str, part: str) -> None:
    """Nothing is asked of anybody; one line says what is missing, and the function goes on."""
    cloud = Cloud(HEADER)
    each = world(cloud, **{missing: ""})
    for _ in range(3):
        invocation(each)
    assert cloud.fetches == []
    assert part in each.said("ERROR")[0]
    assert each.account()["held"] == 12


def test_shutdown_without_credentials_ends_in_time() -> None:
    """What is held is told; the deadline is kept."""
    each = world(Cloud(Outcome(error="timed out")))
    invocation(each)
    each.shutdown()
    each.advance(2000)
    assert each.exit_ms is not None
    assert each.exit_ms <= each.deadline_ms - 200
    assert each.account()["held"] == each.account()["received"]


def test_a_restored_snapshot_fetches_anew() -> None:
    """What the snapshot knew may have been rotated since: it is not even tried."""
    cloud = Cloud(HEADER, OTHER)
    each = world(cloud)
    invocation(each)
    each.freeze(1000)
    cloud.accepted = OTHER
    each.telemetry(events.event("platform.restoreStart", {"functionName": "f"}))
    invocation(each)
    assert each.account()["held"] == 0
    assert len(cloud.fetches) == 2
    assert each.engine.ledger.retries == 0


def test_other_failures_do_not_fetch() -> None:
    """A server error is no reason to doubt the credentials."""
    cloud = Cloud(HEADER)
    down = failing(500)
    each = world(lambda world, request: cloud(world, request) if request.route == AWS else down(world, request))
    for _ in range(5):
        invocation(each)
        each.freeze(60_000)
    assert len(cloud.fetches) == 1


def test_a_secret_in_binary_form() -> None:
    """Secrets Manager can hold bytes: they are taken for text."""
    secret = Secret(Reference("X", "prod/o2"), Access({**KEYS, "AWS_REGION": "us-east-1"}))
    assert isinstance(secret.request(0), Request)
    body = json.dumps({"SecretBinary": base64.b64encode(b"user:pass").decode()}).encode()
    assert secret.answered(Outcome(status=200, body=body), 0) is None
    assert secret.header == HEADER
