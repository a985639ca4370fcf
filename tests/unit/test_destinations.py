"""Several destinations: each gets everything, none waits for another, and no invocation waits for the dead."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from o2_lambda.extension.config import Config, load
from o2_lambda.extension.core.batch import LOGS, split
from o2_lambda.extension.core.buffer import Buffer
from o2_lambda.extension.core.model import Outcome
from o2_lambda.extension.core.otlp import PROTOBUF
from o2_lambda.extension.core.url import ConfigError
from tests.unit.otlp_samples import encode, logs, metrics, traces
from tests.unit.simulation import ENVIRON, Reply, Upstream, World, delivered_ids, failing, healthy, silent

SETTING = "O2_ADDITIONAL_ENDPOINTS"
OTHER = "Basic b3RoZXI6czNjcjN0"
SECOND = {"endpoint": "https://dr.example/base", "organization": "backup", "stream": "lambda", "authorization": OTHER}


def loaded(*items: Any, **environ: str) -> Config:
    return load({**ENVIRON, SETTING: json.dumps(list(items)), **environ})


def world(upstream: Upstream, *others: Upstream, **environ: str) -> World:
    items = [SECOND | {"stream": f"s{number}"} for number in range(len(others))]
    settings = {SETTING: json.dumps(items), "O2_FLUSH_STRATEGY": "end", **environ}
    return World(upstream, others=others, settings=settings)


def invocation(each: World, lines: int = 3) -> None:
    each.invoke()
    each.log(lines)
    each.export("traces", PROTOBUF, encode(traces(2), PROTOBUF))
    each.advance(50)
    each.finish()
    each.let_go()


# The setting


def test_a_second_destination_as_it_is_written() -> None:
    """URLs and headers of each signal; what is not given is as at the first."""
    config = loaded(SECOND | {"traces_stream": "spans"}, {"endpoint": "https://eu.example", "authorization": OTHER})
    first, second, third = config.targets
    assert (first.label, second.label, third.label) == ("OpenObserve", "dr.example/backup", "eu.example/acme")
    assert str(second.urls["logs"]) == "https://dr.example/base/api/backup/lambda/_json"
    assert str(second.urls["traces"]) == "https://dr.example/base/api/backup/v1/traces"
    assert second.fields["traces"] == {"stream-name": "spans"}
    assert str(third.urls["logs"]) == "https://eu.example/api/acme/default/_json"
    assert OTHER.partition(" ")[2] in config.secrets()


def test_nothing_additional_is_the_default() -> None:
    """One target, unless OTLP data goes to somebody else."""
    assert [target.label for target in load(ENVIRON).targets] == ["OpenObserve"]
    elsewhere = load({**ENVIRON, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://otel.example/v1/traces"})
    assert [(target.label, sorted(target.urls)) for target in elsewhere.targets] == [
        ("OpenObserve", ["logs", "metrics", "otlp_logs"]),
        ("otel.example", ["traces"]),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "https://dr.example",
        "{}",
        "[1]",
        '["https://dr.example"]',
        "[{}]",
        json.dumps([SECOND | {"password": "x"}]),
        json.dumps([SECOND | {"stream": 1}]),
        json.dumps([SECOND | {"stream": "a/b"}]),
        json.dumps([SECOND | {"organization": ""}]),
        json.dumps([SECOND | {"endpoint": ""}]),
        json.dumps([SECOND | {"endpoint": "dr.example"}]),
        json.dumps([SECOND | {"endpoint": "https://user:s3cr3t@dr.example"}]),
        json.dumps([SECOND | {"endpoint": "http://127.0.0.1:4318"}]),
        json.dumps([SECOND | {"authorization": "b3RoZXI6czNjcjN0"}]),
        json.dumps([SECOND | {"authorization": ""}]),
        json.dumps([SECOND | {"secret": "prod/o2"}]),
        json.dumps([SECOND | {"authorization": "", "secret": "two words"}]),
        json.dumps([SECOND] * 5),
    ],
)
def test_what_cannot_be_used(text: str) -> None:
    """One line that names the setting, and shows no credential."""
    with pytest.raises(ConfigError, match=r"^O2_ADDITIONAL_ENDPOINTS") as caught:
        load({**ENVIRON, SETTING: text})
    assert "s3cr3t" not in str(caught.value)
    assert "b3RoZXI6" not in str(caught.value)


# The queues


def test_queues_share_memory() -> None:
    """A batch that two still owe is held once, and free when the last has done with it; halves belong to one alone."""
    buffer = Buffer(bytes_max=1 << 20, batch_items_max=4)
    first, second = buffer.queue(), buffer.queue()
    buffer.add(LOGS, b'"a","b","c","d"', 4)
    batch = first.next_batch(urgent_first=False)
    assert batch is not None
    assert batch is second.next_batch(urgent_first=False)
    size = len(batch.body)
    assert buffer.bytes_held == size
    halves = split(batch)
    first.replace(batch, halves)
    assert buffer.bytes_held == size + sum(len(half.body) for half in halves)
    second.remove(batch)
    assert buffer.bytes_held == first.bytes_held == sum(len(half.body) for half in halves)
    assert (first.items_held("logs"), second.items_held("logs")) == (4, 0)


def test_the_queue_that_holds_most_gives() -> None:
    """The backlog of a dead destination is shed before anything of a healthy one."""
    buffer = Buffer(bytes_max=10_000, batch_items_max=1)
    dead, healthy_one = buffer.queue(), buffer.queue()
    noise = random.Random(1)
    for _ in range(50):
        buffer.add(LOGS, json.dumps(noise.randbytes(500).hex()).encode(), 1)
        assert all(queue is dead for queue, _batch in buffer.shed(0))
        batch = healthy_one.next_batch(urgent_first=False)
        assert batch is not None
        healthy_one.remove(batch)
        assert buffer.bytes_held <= buffer.bytes_max
    assert dead.items_held("logs") > 5


def test_a_full_backlog_of_one_does_not_refuse_exports_for_the_other() -> None:
    """An SDK is asked to come back only where nobody could take what it sends."""
    each = world(healthy, silent, O2_MAX_BUFFER_SIZE_MB="1", O2_FLUSH_STRATEGY="continuous", O2_FLUSH_INTERVAL_MS="100")
    noise = random.Random(2)
    each.invoke(timeout_ms=900_000)
    for _ in range(30):
        body = encode(traces(1, name=noise.randbytes(50_000).hex()), PROTOBUF)
        assert each.export("traces", PROTOBUF, body) == 200
        each.advance(300)
    assert each.account("traces")["delivered"] == 30
    assert each.account("traces", 1)["dropped"]["buffer_full"] > 0
    assert each.account("traces")["dropped"] == {}


# The engine


def test_everybody_gets_everything() -> None:
    """All signals, each with its own credentials, and a ledger line for each."""
    each = world(healthy, healthy)
    invocation(each)
    each.export("metrics", PROTOBUF, encode(metrics(1), PROTOBUF))
    each.export("otlp_logs", PROTOBUF, encode(logs(1), PROTOBUF))
    each.shutdown()
    each.advance(2000)
    seen: dict[str, list[Any]] = {}
    for request in each.requests:
        assert request.batch is not None
        seen.setdefault(request.url.host, []).append((request.batch.stream[0], request.batch.count))
        own = OTHER if request.url.host == "dr.example" else each.config.authorization_header
        assert dict(request.headers)["authorization"] == own
    assert seen["dr.example"] == seen["o2.example"]
    assert {signal for signal, _count in seen["dr.example"]} == {"logs", "traces", "metrics", "otlp_logs"}
    additional, main = [json.loads(text)["ledger"] for level, text in each.lines if not level]
    assert additional["destination"] == "dr.example/backup"
    assert additional["logs"] | {"excluded": 0} == main["logs"] | {"excluded": 0}
    assert "destination" not in main
    assert "Successfully sent 4 logs to dr.example/backup" in each.said("INFO", "logs to dr.example")[0]


@pytest.mark.parametrize("dead", [failing(500), silent, failing(401), lambda _w, _r: Reply(Outcome(error="refused"))])
@pytest.mark.parametrize("first_is_dead", [True, False])
def test_a_dead_destination_harms_nobody(dead: Upstream, first_is_dead: bool) -> None:
    """The other gets every line within its invocation; holds end as if the dead one were not there."""
    pair = (dead, healthy) if first_is_dead else (healthy, dead)
    each = world(*pair, O2_FLUSH_BUDGET_MS="1000")
    alive = int(first_is_dead)
    for _ in range(10):
        invocation(each)
        assert each.hold_ms[-1] <= 1000
        assert each.account(destination=alive)["held"] == 0
    assert each.account(destination=alive)["delivered"] == each.account(destination=alive)["received"]
    assert max(each.hold_ms[3:]) <= 30, "the dead one is no longer waited for"
    assert each.account(destination=1 - alive)["delivered"] == 0
    assert each.account(destination=1 - alive)["held"] == each.account(destination=alive)["received"]


def test_the_dead_come_back() -> None:
    """What was held meanwhile arrives, in order and once, in a few requests and not in one for each invocation."""
    arrived: list[Any] = []

    def recovering(each: World, request: Any) -> Reply:
        if each.ms < 1_180_000:
            return Reply(Outcome(status=503))
        arrived.append(request)
        return healthy(each, request)

    each = world(healthy, recovering)
    for _ in range(60):
        invocation(each)
        each.freeze(20_000)
    each.invoke(timeout_ms=100_000)
    each.finish()
    each.advance(10_000)
    assert each.account(destination=1)["held"] == 0
    assert each.account(destination=1)["delivered"] == each.account()["delivered"]
    ids = delivered_ids(each, [request for request in arrived if request.batch.stream == LOGS])
    assert len(ids) == len(set(ids)) == each.account(destination=1)["delivered"]
    assert ids == sorted(ids)
    assert len(arrived) < 20


def test_a_foreign_server_of_traces_has_its_own_circuit() -> None:
    """A collector that refuses the SDK's credentials does not pause the logs."""

    def upstream(each: World, request: Any) -> Reply:
        return Reply(Outcome(status=401)) if request.url.host == "otel.example" else healthy(each, request)

    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://otel.example", "O2_FLUSH_STRATEGY": "end"}
    each = World(upstream, settings=environ)
    for _ in range(5):
        invocation(each)
    assert each.account()["held"] == 0
    assert each.account("traces")["held"] == 10
    assert each.hold_ms[-1] <= 30
    (line,) = each.said("ERROR")
    assert line.startswith("otel.example request failed with status 401")


def test_one_of_two_without_its_secret_retires_alone() -> None:
    """O2_SECRET_FAILURE=passive is of a destination: the other goes on, and only with the last is all over."""
    item = SECOND | {"authorization": "", "secret": "prod/o2"}
    settings = {SETTING: json.dumps([item]), "O2_SECRET_FAILURE": "passive", "O2_FLUSH_STRATEGY": "end"}
    each = World(healthy, others=(healthy,), settings={**settings, "AWS_REGION": "us-east-1"})
    for _ in range(3):
        invocation(each)
    (line,) = each.said("ERROR")
    assert "no AWS credentials" in line
    assert line.endswith("nothing is sent to dr.example/backup any more")
    assert each.passive == ""
    assert each.account()["delivered"] == each.account()["received"]
    assert each.account(destination=1)["held"] == 0
    each.shutdown()
    each.advance(2000)
    assert each.exit_ms is not None


def test_shutdown_waits_for_whoever_can_still_get_something() -> None:
    """A destination that has refused again and again does not cut the time of a slow one."""

    def slow(each: World, request: Any) -> Reply:
        return Reply(healthy(each, request).outcome, after_ms=900)

    each = world(failing(401), slow)
    each.log(5)  # printed during init: nothing holds it back
    each.shutdown()
    each.advance(2000)
    assert each.account(destination=1)["held"] == 0
    assert each.account()["held"] > 0
    assert each.exit_ms is not None
    assert each.exit_ms < each.deadline_ms
