"""The engine under any schedule: whatever comes, in whatever order, the simulation's invariants hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.extension.core.ledger import SIGNALS
from o2_lambda.extension.core.model import Outcome, Request
from o2_lambda.extension.core.otlp import JSON, PROTOBUF
from tests.unit import events
from tests.unit.otlp_samples import encode, logs, metrics, traces
from tests.unit.simulation import Reply, World, content, stored

if TYPE_CHECKING:
    from collections.abc import Callable

EMPTY = b'{"code":200,"status":[{"name":"default","successful":0,"failed":0}]}'
OUTCOMES: dict[str, Outcome] = {
    "500": Outcome(status=500),
    "429": Outcome(status=429, retry_after=b"2"),
    "429 for long": Outcome(status=429, retry_after=b"600"),
    "401": Outcome(status=401, body=b"Unauthorized"),
    "302": Outcome(status=302),
    "413": Outcome(status=413),
    "400": Outcome(status=400, body=b"bad"),
    "404": Outcome(status=404),
    "0/0": Outcome(status=200, body=EMPTY),
    "page": Outcome(status=200, body=b"<html>"),
    "reset": Outcome(error="connection reset"),
}
OTLP_BODIES = [
    ("traces", PROTOBUF, encode(traces(2), PROTOBUF)),
    ("traces", JSON, encode(traces(1, 3), JSON)),
    ("metrics", PROTOBUF, encode(metrics(1, 2), PROTOBUF)),
    ("otlp_logs", JSON, encode(logs(2), JSON)),
]
HALF = b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":"AAAA}]'
REST = b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":BBBB"}]'


class Server:
    """An upstream that answers as it is told, and remembers what it has stored."""

    def __init__(self, replies: list[tuple[str, int]]) -> None:
        self.replies = list(replies)
        self.stored_ids: list[str] = []
        self.counts = dict.fromkeys(SIGNALS, 0)

    def __call__(self, _world: World, request: Request) -> Reply | None:
        kind, after_ms = self.replies.pop(0) if self.replies else ("ok", 10)
        if kind == "never":
            return None
        assert request.batch is not None
        signal = request.batch.stream[0]
        if kind in OUTCOMES and (signal == "logs" or OUTCOMES[kind].status != 200):  # OTLP's 200 is an acceptance
            return Reply(OUTCOMES[kind], after_ms=after_ms)
        failed = min(1, request.batch.count) if kind == "partial" and signal == "logs" else 0
        self.counts[signal] += request.batch.count - failed
        if signal == "logs":
            self.stored_ids += [each["event_id"] for each in json.loads(content(request))]
        return Reply(stored(request, failed=failed), after_ms=after_ms)


replies = st.lists(
    st.tuples(
        st.sampled_from(["ok", "ok", "partial", "never", *OUTCOMES]), st.sampled_from([1, 10, 80, 900, 5000, 40_000])
    ),
    max_size=25,
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("invoke"), st.sampled_from([150, 1000, 3000, 900_000])),
        st.tuples(st.just("invoke again"), st.just(3000)),
        st.tuples(st.just("log"), st.integers(1, 12)),
        st.tuples(st.just("noise"), st.integers(1, 6)),
        st.tuples(st.just("start"), st.just(0)),
        st.tuples(st.just("done"), st.sampled_from(["success", "error", "failure", "timeout"])),
        st.tuples(st.just("done before invoke"), st.just(0)),
        st.tuples(st.just("report"), st.just(0)),
        st.tuples(st.just("export"), st.integers(0, len(OTLP_BODIES) - 1)),
        st.tuples(st.just("raw"), st.sampled_from([HALF, REST, b"", b"{}", b"[{}]", b"\xff", b'[{"time":1}]'])),
        st.tuples(st.just("receiving"), st.booleans()),
        st.tuples(st.just("advance"), st.sampled_from([1, 10, 100, 1000, 6000, 40_000])),
        st.tuples(st.just("freeze"), st.sampled_from([5, 1000, 60_000, 3_600_000])),
        st.tuples(st.just("reset"), st.just(0)),
        st.tuples(st.just("other"), st.just(0)),
    ),
    max_size=40,
)
settings_of = st.fixed_dictionaries(
    {
        "O2_FLUSH_STRATEGY": st.sampled_from(["auto", "end", "continuous", "periodic"]),
        "O2_FLUSH_BUDGET_MS": st.sampled_from(["0", "50", "1000", "60000"]),
        "O2_BATCH_SIZE": st.sampled_from(["1", "3", "10", "5000"]),
        "O2_MAX_BUFFER_SIZE_MB": st.just("1"),
        "O2_MAX_RETRIES": st.sampled_from(["0", "1", "3", "100"]),
    }
)


def wake(world: World, event: str, timeout_ms: int) -> None:
    """The next lifecycle event, which comes when it has been asked for."""
    if not world.is_polling:
        world.let_go()
    if event == "other":
        world._lifecycle_event({"eventType": "NOVELTY"})
    else:
        freeze(world, 1)  # two invocations never share a millisecond: their runtimeDone would be equal byte for byte
        world.invoke(world._request_id if event == "invoke again" else None, timeout_ms=timeout_ms)


def freeze(world: World, duration_ms: int) -> None:
    if world.is_polling:
        world.freeze(duration_ms)
        world.advance(0)


def reset(world: World) -> None:
    if world.in_flight is not None:
        world.answer(Outcome(error="connection reset"))


def receive(world: World, *, receiving: bool) -> None:
    world.receiving = receiving
    world.step()


def noise(world: World, count: int) -> None:
    world.log(count, pad="".join(chr(33 + (7 * n * n + world.ms) % 1000) for n in range(60_000)))


PERFORM: dict[str, Callable[[World, Any], object]] = {
    "invoke": lambda world, value: wake(world, "invoke", value),
    "invoke again": lambda world, value: wake(world, "invoke again", value),
    "other": lambda world, value: wake(world, "other", value),
    "log": lambda world, value: world.log(value),
    "noise": noise,
    "start": lambda world, _value: world.telemetry(events.start(world._request_id)),
    "done": lambda world, value: world.finish(status=value),
    "done before invoke": lambda world, _value: world.telemetry(events.done(f"request-{world._numbers + 1}")),
    "report": lambda world, _value: world.report(),
    "export": lambda world, value: world.export(*OTLP_BODIES[value]),
    "raw": lambda world, value: world.telemetry_raw(value),
    "receiving": lambda world, value: receive(world, receiving=value),
    "advance": lambda world, value: world.advance(value),
    "freeze": freeze,
    "reset": lambda world, _value: reset(world),
}


@given(
    actions,
    replies,
    settings_of,
    st.floats(0, 0.99),
    st.booleans(),
    st.sampled_from([2000, 500, 100]),
    st.sampled_from(["spindown", "timeout", "FAILURE"]),
)
def test_invariants_hold_under_any_schedule(
    schedule: list[tuple[str, Any]],
    answers: list[tuple[str, int]],
    environ: dict[str, str],
    dice: float,
    telemetry: bool,
    shutdown_ms: int,
    reason: str,
) -> None:
    """Conservation, one request at a time, one poll per event, bounded holds and memory, an exit in time."""
    server = Server(answers)
    world = World(server, dice=dice, telemetry=telemetry, settings=environ)
    for action, value in schedule:
        PERFORM[action](world, value)
    world.receiving = False
    if not world.is_polling:
        world.step()
        world.let_go()
    world.shutdown(timeout_ms=shutdown_ms, reason=reason)
    world.advance(shutdown_ms)
    assert world.exit_ms is not None
    assert world.exit_ms <= world.deadline_ms - min(shutdown_ms, 200)
    final = json.loads(world.lines[-1][1])["ledger"]
    for signal in SIGNALS:
        account = world.account(signal)
        lost = account["rejected"] + sum(account["dropped"].values())
        assert account["received"] == account["delivered"] + lost + account["held"]
        assert account["delivered"] <= server.counts[signal]
        assert final.get(signal, {"received": 0})["received"] == account["received"]
    assert len(set(server.stored_ids)) >= world.account()["delivered"]


@given(actions, st.lists(st.sampled_from(["500", "reset", "page", "429", "401"]), max_size=12), settings_of)
def test_nothing_is_lost_while_the_upstream_only_fails(
    schedule: list[tuple[str, Any]], failures: list[str], environ: dict[str, str]
) -> None:
    """Whatever fails for a while, in the end every item was delivered, and exactly once."""
    server = Server([(kind, 10) for kind in failures])
    world = World(server, settings=environ | {"O2_MAX_BUFFER_SIZE_MB": "100"})
    for action, value in schedule:
        if action not in ("noise", "reset"):
            PERFORM[action](world, value)
    world.receiving = False
    for _ in range(60):
        if not world.is_polling:
            world.step()
            world.let_go()
        world.freeze(60_000)
        world.invoke(timeout_ms=20_000)
        world.finish()
        world.advance(15_000)
    world.let_go()
    world.shutdown()
    world.advance(2000)
    for signal in SIGNALS:
        account = world.account(signal)
        assert account["delivered"] == account["received"] == server.counts[signal]
    assert len(server.stored_ids) == len(set(server.stored_ids))


@given(actions, replies, replies, settings_of, st.floats(0, 0.99))
def test_every_destination_keeps_its_own_books(
    schedule: list[tuple[str, Any]],
    answers: list[tuple[str, int]],
    other_answers: list[tuple[str, int]],
    environ: dict[str, str],
    dice: float,
) -> None:
    """Whatever each of two servers does: conservation, bounds and holds as for one, and nobody gets another's data."""
    first, second = Server(answers), Server(other_answers)
    additional = [{"endpoint": "https://other.example", "authorization": "Basic b3RoZXI6b3RoZXI="}]
    settings = environ | {"O2_ADDITIONAL_ENDPOINTS": json.dumps(additional)}
    world = World(first, others=(second,), dice=dice, settings=settings)
    for action, value in schedule:
        PERFORM[action](world, value)
    world.receiving = False
    if not world.is_polling:
        world.step()
        world.let_go()
    world.shutdown()
    world.advance(2000)
    assert world.exit_ms is not None
    assert world.exit_ms < world.deadline_ms
    for destination, server in enumerate((first, second)):
        for signal in SIGNALS:
            account = world.account(signal, destination)
            lost = account["rejected"] + sum(account["dropped"].values())
            assert account["received"] == account["delivered"] + lost + account["held"]
            assert account["delivered"] <= server.counts[signal]
            assert account["received"] == world.account(signal)["received"]
    assert len([text for level, text in world.lines if not level]) == 2
