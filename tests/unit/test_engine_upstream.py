"""The engine and its upstream: a batch leaves the buffer on a verdict only, and every item is accounted for."""

from __future__ import annotations

import json

import pytest

from o2_lambda.extension.core.model import Outcome, Request
from o2_lambda.extension.core.otlp import PROTOBUF
from tests.unit import events
from tests.unit.otlp_samples import encode, logs, metrics, traces
from tests.unit.simulation import Reply, Upstream, World, content, delivered_ids, failing, healthy, silent, stored


def end(upstream: Upstream = healthy, **environ: str) -> World:
    return World(upstream, settings={"O2_FLUSH_STRATEGY": "end", **environ})


def count_of(request: Request) -> int:
    assert request.batch is not None
    return request.batch.count


def stream_of(request: Request) -> str:
    assert request.batch is not None
    return request.batch.stream[0]


def invocation(world: World, *, lines: int = 3, pad: str = "") -> None:
    """One invocation, up to our `/next`."""
    world.invoke()
    world.log(lines, pad=pad)
    world.advance(50)
    world.finish()
    world.let_go()


def test_request_is_what_openobserve_takes() -> None:
    """URL, headers and body of a batch of logs."""
    world = end(O2_STREAM="lambda", O2_ENDPOINT="https://o2.example/base")
    invocation(world)
    (request,) = world.requests
    assert str(request.url) == "https://o2.example/base/api/acme/lambda/_json"
    assert {name.lower(): value for name, value in request.headers} == {
        "content-type": "application/json",
        "content-encoding": "gzip",
        "authorization": world.config.authorization_header,
    }
    assert len(json.loads(content(request))) == 4
    assert 0 < request.timeout_ms <= world.config.request_timeout_ms


def test_otlp_requests_name_their_streams() -> None:
    """Traces and logs have streams; metrics are stored by name."""
    world = end(O2_TRACES_STREAM="spans", O2_STREAM="lines")
    world.invoke()
    for signal, request in (("traces", traces(1)), ("metrics", metrics(1)), ("otlp_logs", logs(1))):
        assert world.export(signal, PROTOBUF, encode(request, PROTOBUF)) == 200
    world.finish()
    world.let_go()
    sent = {str(request.url).rpartition("/")[2]: dict(request.headers) for request in world.requests}
    named = {
        name: {key.lower(): value for key, value in headers.items()}.get("stream-name")
        for name, headers in sent.items()
    }
    assert named == {"traces": "spans", "metrics": None, "logs": "lines", "_json": None}


def test_credentials_go_to_openobserve_only() -> None:
    """Where the SDK names another server with headers of its own, our credentials are not for it."""
    world = end(OTEL_EXPORTER_OTLP_ENDPOINT="https://other.example", OTEL_EXPORTER_OTLP_HEADERS="x-team=key")
    world.invoke()
    assert world.export("traces", PROTOBUF, encode(traces(1), PROTOBUF)) == 200
    world.finish()
    world.let_go()
    spans = next(request for request in world.requests if request.url.host == "other.example")
    assert ("x-team", "key") in spans.headers
    assert world.config.authorization_header not in dict(spans.headers).values()


def test_headers_of_the_sdk_go_where_its_endpoint_goes_and_nowhere_else() -> None:
    """Users of the reference name the traces endpoint alone: its headers are for traces, not for metrics or logs."""
    world = end(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://other.example/api/org/v1/traces",
        OTEL_EXPORTER_OTLP_HEADERS="Authorization=Basic eDp5,stream-name=mine",
    )
    world.invoke()
    world.export("traces", PROTOBUF, encode(traces(1), PROTOBUF))
    world.export("metrics", PROTOBUF, encode(metrics(1), PROTOBUF))
    world.finish()
    world.let_go()
    headers = {request.batch.stream[0]: dict(request.headers) for request in world.requests if request.batch}
    assert headers["traces"]["authorization"] == "Basic eDp5"
    assert headers["traces"]["stream-name"] == "mine"
    for signal in ("metrics", "logs"):
        assert headers[signal]["authorization"] == world.config.authorization_header
        assert "stream-name" not in headers[signal]


@pytest.mark.parametrize("failures", range(1, 9))
def test_first_requests_fail_and_nothing_is_lost(failures: int) -> None:
    """However many requests fail at first: all lines arrive, each once, in order."""
    world = end(failing(500, times=failures))
    for _ in range(30):
        invocation(world, lines=100)
        world.freeze(10_000)
    assert world.account()["held"] == 0
    accepted = world.requests[failures:]
    ids = delivered_ids(world, accepted)
    assert len(ids) == len(set(ids)) == world.account()["delivered"]
    assert ids == sorted(ids)
    assert world.account()["dropped"] == {}


@pytest.mark.parametrize(
    "outcome", [Outcome(status=503), Outcome(error="connection refused"), Outcome(status=200, body=b"<html>")]
)
def test_failed_send_keeps_the_batch(outcome: Outcome) -> None:
    """The very same bytes are sent again after a pause, beside the next invocation: none is held for it."""
    world = end(silent, O2_FLUSH_BUDGET_MS="60000")
    world.invoke(timeout_ms=120_000)
    world.log(3)
    world.finish()
    world.answer(outcome)
    assert world.is_polling
    assert world.account()["held"] == 4
    world.invoke(timeout_ms=120_000)
    world.advance(1000)
    assert len(world.requests) == 2
    assert world.requests[0].batch is world.requests[1].batch
    assert world.in_flight is not None
    world.answer(stored(world.in_flight))
    assert world.account()["delivered"] == 4
    assert world.engine.ledger.retries == 1


def test_circuit_opens_and_invocations_pay_nothing() -> None:
    """After three failures in a row one line tells it, and `/next` is never held for sending."""
    world = end(failing(500), O2_FLUSH_BUDGET_MS="60000")
    for _ in range(3):
        world.freeze(5000)
        invocation(world)
    assert len(world.requests) == 3
    assert len(world.said("WARN", "cannot be reached")) == 1
    for _ in range(5):
        invocation(world)
        assert world.hold_ms[-1] == 0


def test_probe_closes_the_circuit() -> None:
    """One success, and invocations are held again for what they have to send."""
    world = end(failing(500, times=3), O2_FLUSH_BUDGET_MS="60000")
    for _ in range(3):
        invocation(world)
        world.freeze(60_000)
    assert world.engine.destinations.senders[0].backoff.is_open
    world.invoke()
    world.advance(100)
    assert world.said("NOTICE", "answers again")
    world.log(1)
    world.finish()
    world.let_go()
    assert 0 < world.hold_ms[-1] <= 20
    assert world.account()["held"] == 0


@pytest.mark.parametrize("status", [401, 403, 302])
def test_refused_credentials_hold_everything(status: int) -> None:
    """Somebody has to act: nothing is dropped, attempts are rare, one error a minute says what to do."""
    world = end(failing(status))
    for _ in range(20):
        invocation(world)
        world.freeze(1000)
    assert len(world.requests) <= 3
    assert world.account()["dropped"] == {}
    assert world.account()["held"] == 80
    assert len(world.said("ERROR", str(status))) == 1
    assert any("O2_" in text for _level, text in world.lines)
    world.upstream = healthy
    world.freeze(60_000)
    invocation(world)
    world.freeze(60_000)
    invocation(world)
    assert world.account()["held"] == 0


def test_too_large_batch_is_halved_until_it_passes() -> None:
    """413: the halves are sent, in order, each line once."""

    def limited(_world: World, request: Request) -> Reply:
        if count_of(request) > 6:
            return Reply(Outcome(status=413))
        return Reply(stored(request))

    world = end(limited)
    invocation(world, lines=39)
    assert world.account() == {"received": 40, "delivered": 40, "rejected": 0, "dropped": {}, "held": 0}
    accepted = [request for request in world.requests if count_of(request) <= 6]
    ids = delivered_ids(world, accepted)
    assert ids == sorted(set(ids))
    assert len(ids) == 40


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome(status=413), "status_413"),
        (Outcome(status=200, body=b'{"code":200,"status":[{"successful":0,"failed":0}]}'), "not_stored"),
    ],
)
def test_single_item_that_cannot_be_taken_is_dropped_alone(outcome: Outcome, reason: str) -> None:
    """One poison record costs itself, under its reason, with a line."""

    def picky(_world: World, request: Request) -> Reply:
        return Reply(outcome if b"poison" in content(request) else stored(request))

    world = end(picky)
    world.invoke()
    world.log(20)
    world.telemetry(events.line("poison"))
    world.log(20)
    world.finish()
    world.let_go()
    assert world.account() == {"received": 42, "delivered": 41, "rejected": 0, "dropped": {reason: 1}, "held": 0}
    assert len(world.said("ERROR", reason)) == 1


def test_partial_failure_is_counted_and_not_repeated() -> None:
    """Records that the server refused one by one are rejected under its words; the rest is delivered."""
    world = end(lambda _world, request: Reply(stored(request, failed=2)))
    invocation(world, lines=9)
    assert len(world.requests) == 1
    assert world.account() == {"received": 10, "delivered": 8, "rejected": 2, "dropped": {}, "held": 0}
    assert world.engine.ledger.accounts["logs"].rejected == {"Too old data": 2}
    assert world.said("WARN", "refused 2 of 10")


@pytest.mark.parametrize("status", [400, 404, 415])
def test_fatal_answer_drops_the_batch_with_a_line(status: int) -> None:
    """Repeating cannot help; what it cost is in the line and in the ledger."""
    world = end(failing(status))
    invocation(world, lines=9)
    assert world.account()["dropped"] == {f"status_{status}": 10}
    assert len(world.said("ERROR", str(status))) == 1
    assert world.account()["held"] == 0


def test_bad_otlp_payload_costs_itself_alone() -> None:
    """Several clients share a batch: 400 halves it by resource blocks."""

    def picky(_world: World, request: Request) -> Reply:
        bad = stream_of(request) == "traces" and b"bad 0" in content(request)
        return Reply(Outcome(status=400) if bad else stored(request))

    world = end(picky)
    world.invoke()
    for part in (traces(2), traces(3), traces(1, name="bad"), traces(4)):
        assert world.export("traces", PROTOBUF, encode(part, PROTOBUF)) == 200
    world.finish()
    world.let_go()
    account = world.account("traces")
    assert account == {"received": 10, "delivered": 9, "rejected": 0, "dropped": {"status_400": 1}, "held": 0}


def test_retry_after_is_waited_for() -> None:
    """No attempt before the time that the server asked for; no invocation is held for it."""
    world = end(silent, O2_FLUSH_BUDGET_MS="1000")
    world.invoke()
    world.finish()
    world.answer(Outcome(status=429, retry_after=b"30"))
    assert world.is_polling
    world.invoke(timeout_ms=60_000)
    world.advance(29_999)
    assert len(world.requests) == 1
    world.advance(2000)
    assert len(world.requests) == 2


@pytest.mark.parametrize("failure", [Outcome(status=503), Outcome(status=429), Outcome(error="reset")])
@pytest.mark.parametrize("strategy", ["end", "auto", "periodic"])
def test_the_pause_after_a_failure_is_not_waited_for(strategy: str, failure: Outcome) -> None:
    """An invocation is held while its request is under way, and let go when that fails: a pause would be billed."""
    world = World(lambda _world, _request: Reply(failure, after_ms=40), O2_FLUSH_STRATEGY=strategy)
    invocation(world)
    assert world.hold_ms == [40]
    world.upstream = healthy
    world.freeze(60_000)
    world.invoke()
    world.advance(100)
    assert world.account()["held"] == 0, "it went beside the next one"


@pytest.mark.parametrize("strategy", ["end", "continuous"])
def test_nothing_sets_out_between_the_end_of_an_invocation_and_the_freeze(strategy: str) -> None:
    """Its answer would come while nobody can read it; what a failure left waits for the next event."""
    world = World(failing(503, times=1), O2_FLUSH_STRATEGY=strategy, O2_BATCH_SIZE="2")
    world.invoke()
    world.log(5)
    world.finish()
    world.let_go()
    world.advance(200)
    requests = len(world.requests)
    world.advance(60_000)
    assert len(world.requests) == requests
    held = world.account()["held"]
    assert held > 0
    world.shutdown()
    world.advance(2000)
    assert world.account()["held"] == 0


def test_one_poisonous_record_costs_itself_alone() -> None:
    """A server that cannot read one record refuses the whole request with 400: it is searched for, the rest arrives."""

    def answer(_world: World, request: Request) -> Reply:
        if b"line 700 " in content(request):
            return Reply(Outcome(status=400, body=b"invalid json"))
        return Reply(stored(request))

    world = end(answer, O2_FLUSH_BUDGET_MS="60000")
    invocation(world, lines=1000)
    account = world.account()
    assert (account["dropped"], account["held"]) == ({"status_400": 1}, 0)
    assert account["delivered"] == account["received"] - 1
    assert len(world.said("ERROR", "status_400")) == 1


@pytest.mark.parametrize("status", [400, 413])
def test_a_server_that_refuses_everything_is_not_asked_about_every_record(status: int) -> None:
    """A blocked organization is refused with 400 as well: some twenty halvings tell, not two thousand."""
    world = end(failing(status), O2_FLUSH_BUDGET_MS="60000")
    for _ in range(3):
        invocation(world, lines=1000)
    assert len(world.requests) <= 60
    assert world.account()["held"] == 0
    assert sum(world.account()["dropped"].values()) == world.account()["received"]


def test_a_record_as_deep_as_can_be_read_stops_nothing() -> None:
    """What could be read when it came in may be too deep to be read again one call further in."""
    for depth in range(900, 1000):
        world = end(
            lambda _world, request: Reply(Outcome(status=400) if b"deep" in content(request) else stored(request))
        )
        world.invoke()
        deep = '{"deep":' + "[" * depth + "]" * depth + "}"
        world.telemetry(events.line("a"), events.event("function", events.Raw(deep)))
        world.finish()
        world.let_go()
        assert world.account()["held"] == 0


def test_a_server_that_stores_nothing_under_200_pauses_sending() -> None:
    """Neither stored nor refused, whatever is sent: the server's fault, so everything is held."""
    nothing = b'{"code":200,"status":[{"name":"default","successful":0,"failed":0}]}'
    world = end(failing(200, body=nothing))
    for _ in range(5):
        invocation(world, lines=1000)
    assert len(world.requests) <= 40
    assert world.account()["held"] >= 4900


def test_connection_that_died_in_a_freeze_is_no_failure() -> None:
    """The server did nothing wrong: sent again at once, without a pause, and counted as a retry."""
    world = end(silent, O2_FLUSH_BUDGET_MS="50", O2_MAX_RETRIES="100")
    invocation(world)
    failures = world.engine.destinations.senders[0].backoff.failures
    world.freeze(600_000)
    world.invoke()
    world.answer(Outcome(error="connection reset"))
    assert world.engine.destinations.senders[0].backoff.failures == failures
    assert len(world.requests) == 2
    assert world.requests[0].batch is world.requests[1].batch
    assert world.account()["held"] == 4


@pytest.mark.parametrize(("frozen_ms", "given_up"), [(1000, False), (600_000, True)])
def test_request_in_flight_over_a_long_freeze_is_given_up(frozen_ms: int, given_up: bool) -> None:
    """Its answer is not worth its timeout of 30 s; after a short freeze the connection is as good as before."""
    world = end(silent, O2_FLUSH_BUDGET_MS="50")
    invocation(world)
    world.freeze(frozen_ms)
    world.invoke()
    assert world.aborts == int(given_up)
    world.advance(100)
    assert world.aborts == int(given_up)


def test_upstream_that_is_slow_is_not_taken_for_a_freeze() -> None:
    """Events that come one after another show that nothing was frozen: the answer is waited for as long as is set."""
    world = World(
        lambda _world, request: Reply(stored(request), after_ms=25_000),
        O2_FLUSH_STRATEGY="continuous",
        O2_REQUEST_TIMEOUT_MS="60000",
    )
    for _ in range(60):
        invocation(world)
        world.advance(1000)
    assert world.aborts == 0
    assert world.account()["delivered"] > 0


def test_upstream_that_is_slower_than_the_budget_is_not_waited_for_every_time() -> None:
    """Two budgets spent in vain, then invocations are let go at once; everything is delivered beside them."""
    world = end(lambda _world, request: Reply(stored(request), after_ms=400), O2_FLUSH_BUDGET_MS="300")
    for _ in range(30):
        invocation(world)
        world.advance(1000)
    assert world.hold_ms[:2] == [300, 300]
    assert set(world.hold_ms[2:]) == {0}
    assert world.account()["dropped"] == {}
    assert world.account()["held"] <= 8


def test_upstream_that_was_slow_is_waited_for_again_when_it_is_fast() -> None:
    """A trial after a minute finds out."""
    world = end(lambda _world, request: Reply(stored(request), after_ms=400), O2_FLUSH_BUDGET_MS="300")
    for _ in range(5):
        invocation(world)
        world.advance(1000)
    world.upstream = healthy
    world.freeze(60_000)
    for _ in range(3):
        invocation(world)
    assert world.hold_ms[-2:] == [10, 10]
    assert world.account()["held"] == 0


def test_upstream_that_hangs_is_tried_ever_more_rarely() -> None:
    """Each trial that is wasted doubles the pause before the next: an outage of a day costs few budgets."""
    world = end(silent, O2_FLUSH_BUDGET_MS="300")
    for _ in range(24 * 60):
        invocation(world)
        world.freeze(60_000)
    assert sum(1 for hold_ms in world.hold_ms if hold_ms) <= 110
    assert world.account()["dropped"] == {}
