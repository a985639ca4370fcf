"""The engine at shutdown: all that is left leaves, failures first, and the exit precedes the deadline."""

from __future__ import annotations

import json
from typing import Any

import pytest

from o2_lambda.extension.core.lifecycle import RUNTIME_GRACE_MS
from o2_lambda.extension.core.model import Outcome, Request
from o2_lambda.extension.core.otlp import PROTOBUF
from o2_lambda.extension.engine import SETTLE_MS, SETTLE_WITHOUT_REPORT_MS, SHUTDOWN_RESERVE_MS, TURN_MS_MAX
from tests.unit import events
from tests.unit.otlp_samples import encode, traces
from tests.unit.simulation import Reply, Upstream, World, content, failing, healthy, silent, stored


def after_one_invocation(upstream: Upstream = healthy, *, report: bool = True, **environ: str) -> World:
    """A sandbox whose only invocation is over."""
    world = World(upstream, settings={"O2_FLUSH_STRATEGY": "end", **environ})
    world.invoke()
    world.log(2)
    world.finish()
    world.let_go()
    if report:
        world.report()
    return world


def exit_after_ms(world: World) -> int:
    """Shuts down and gives the time it took."""
    begin_ms = world.ms
    world.shutdown()
    world.advance(3000)
    assert world.exit_ms is not None
    return world.exit_ms - begin_ms


def ledger_line(world: World) -> dict[str, object]:
    """The last line, which is the ledger."""
    level, text = world.lines[-1]
    assert level == ""
    ledger: dict[str, object] = json.loads(text)["ledger"]
    return ledger


def test_everything_is_sent_and_counted() -> None:
    """The report goes as well; the last two lines are the verdict and the ledger."""
    world = after_one_invocation()
    assert exit_after_ms(world) <= SETTLE_MS + 20
    assert world.account() == {"received": 4, "delivered": 4, "rejected": 0, "dropped": {}, "held": 0}
    assert world.lines[-2] == ("NOTICE", "Final flush completed successfully")
    assert ledger_line(world)["invocations"] == 1
    assert world.said("NOTICE", "Starting shutdown sequence with 2.0s deadline")


def test_owed_report_is_waited_for_a_little_longer() -> None:
    """It may come with the shutdown; where it does not, the exit does not wait for the deadline."""
    world = after_one_invocation(report=False)
    assert SETTLE_WITHOUT_REPORT_MS <= exit_after_ms(world) <= SETTLE_WITHOUT_REPORT_MS + 20


def test_report_that_comes_during_the_drain_is_delivered() -> None:
    """Telemetry starts the silence anew."""
    world = after_one_invocation(report=False)
    world.shutdown()
    world.advance(200)
    world.report()
    world.advance(1000)
    assert world.account()["held"] == 0
    assert world.account()["delivered"] == 4
    assert world.exit_ms is not None


def test_telemetry_that_keeps_coming_is_taken_until_the_reserve() -> None:
    """The last word is ours: the exit comes in time whatever arrives."""
    world = after_one_invocation()
    begin_ms = world.ms
    world.shutdown()
    for _ in range(200):
        if world.exit_ms is None:
            world.log(1)
            world.advance(20)
    assert world.exit_ms is not None
    assert world.exit_ms - begin_ms <= 2000 - SHUTDOWN_RESERVE_MS


def test_slow_turns_end_before_the_reserve() -> None:
    """With a small share of a processor a turn takes long: neither it nor the one after it may pass the deadline."""
    world = after_one_invocation(silent, O2_FLUSH_BUDGET_MS="100")
    world.turn_ms = 300
    world.shutdown()
    while world.exit_ms is None:
        world.log(1)
        world.advance(350)
    assert world.deadline_ms - SHUTDOWN_RESERVE_MS - 350 <= world.exit_ms + world.turn_ms
    assert world.exit_ms + world.turn_ms <= world.deadline_ms - SHUTDOWN_RESERVE_MS


def test_the_end_that_comes_within_a_turn_is_noticed_at_its_end() -> None:
    """And not after the next one, which could take as long."""
    world = after_one_invocation(silent, O2_FLUSH_BUDGET_MS="100")
    world.shutdown()
    world.turn_ms = 300
    world.log(1)
    world.turn_ms = 0
    world.advance(2000 - SHUTDOWN_RESERVE_MS - 300 - 100)
    assert world.exit_ms is None
    world.turn_ms = 300
    world.log(1)
    assert world.exit_ms == world.ms


def test_a_turn_that_a_freeze_was_part_of_is_not_reserved_for() -> None:
    """While `/next` is outstanding time may have stood still."""
    world = after_one_invocation(silent, O2_FLUSH_BUDGET_MS="100")
    world.turn_ms = 3_600_000
    world.log(1)
    world.turn_ms = 0
    assert exit_after_ms(world) == 2000 - SHUTDOWN_RESERVE_MS


def test_slow_turns_are_forgotten() -> None:
    """One at the cold start must not cost every shutdown its time."""
    world = World(silent, O2_FLUSH_STRATEGY="continuous")
    for turn_ms in (TURN_MS_MAX, *[0] * 10):
        world.invoke()
        world.turn_ms = turn_ms
        world.finish()
    assert exit_after_ms(world) == 2000 - SHUTDOWN_RESERVE_MS


def test_time_for_sending_is_left_however_slow_the_turns_were() -> None:
    """What is reserved is bounded."""
    world = World(silent, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="100")
    world.invoke()
    world.turn_ms = 60_000
    world.finish()
    world.turn_ms = 0
    world.let_go()
    assert exit_after_ms(world) == 2000 - SHUTDOWN_RESERVE_MS - TURN_MS_MAX


def test_body_that_is_coming_in_is_waited_for() -> None:
    """Half a payload is no silence."""
    world = after_one_invocation()
    world.receiving = True
    world.shutdown()
    world.advance(500)
    assert world.exit_ms is None
    world.receiving = False
    world.log(1)
    world.advance(500)
    assert world.exit_ms is not None
    assert world.account()["held"] == 0


@pytest.mark.parametrize("timeout_ms", [1, 100, 300, 500, 2000])
def test_upstream_that_never_answers_costs_no_deadline(timeout_ms: int) -> None:
    """What is left is told with its number; the exit precedes the deadline, for any deadline."""
    world = after_one_invocation(silent, O2_FLUSH_BUDGET_MS="100")
    world.shutdown(timeout_ms=timeout_ms)
    world.advance(3000)
    assert world.exit_ms is not None
    assert world.exit_ms <= world.deadline_ms - min(SHUTDOWN_RESERVE_MS, timeout_ms)
    assert world.account()["held"] == 4
    assert world.said("ERROR", "4 items could not be delivered")
    told = ledger_line(world)["logs"]
    assert told == {"received": 4, "delivered": 0, "rejected": {}, "dropped": {}, "held": 4, "excluded": {}}


@pytest.mark.parametrize("skew_ms", [-7_200_000, -2500, 500, 7_200_000])
def test_deadline_that_cannot_be_is_not_believed(skew_ms: int) -> None:
    """After a freeze Lambda's clock and ours may differ by hours: what is surely left of the two seconds is used."""
    world = after_one_invocation(silent, O2_FLUSH_BUDGET_MS="100")
    began_ms = world.ms
    world.skew_ms = skew_ms
    world.shutdown()
    world.advance(3000)
    assert world.exit_ms == began_ms + 2000 - RUNTIME_GRACE_MS - SHUTDOWN_RESERVE_MS


@pytest.mark.parametrize("runtime_ms", [100, 500, 599])
def test_a_clock_that_is_ahead_does_not_hide_what_the_runtime_took(runtime_ms: int) -> None:
    """Lambda's clock is ahead by what a slow runtime has used of the two seconds: the sum looks like all of them."""
    world = World(silent, settings={"O2_FLUSH_BUDGET_MS": "100", "O2_FLUSH_STRATEGY": "end"})
    world.skew_ms = runtime_ms
    world.telemetry(events.start(world.invoke()))
    world.finish()
    world.let_go()
    began_ms = world.ms
    world.shutdown(timeout_ms=2000 - runtime_ms)
    world.advance(3000)
    assert world.exit_ms == began_ms + 2000 - runtime_ms - SHUTDOWN_RESERVE_MS


def test_request_at_shutdown_ends_with_the_drain() -> None:
    """No request is given more time than there is."""
    world = after_one_invocation()
    world.log(1)
    world.upstream = silent
    world.shutdown()
    assert world.in_flight is not None
    assert world.in_flight.timeout_ms <= 2000 - SHUTDOWN_RESERVE_MS


@pytest.mark.parametrize(
    ("timeout_ms", "after_ms", "delivered"),
    [(30_000, 400, 10), (30_000, 700, 6), (30_000, 1500, 3), (30_000, 2500, 0), (250, 100, 10), (250, 700, 6)],
)
def test_what_a_slow_upstream_may_still_answer_is_not_sent_again(
    timeout_ms: int, after_ms: int, delivered: int
) -> None:
    """At shutdown each batch sets out once: nothing goes out again while the first request may bring the answer.

    Where O2_REQUEST_TIMEOUT_MS is shorter, one is given up for it, and then there is time.
    """

    def slow(_world: World, request: Request) -> Reply:
        if after_ms < request.timeout_ms:
            return Reply(stored(request), after_ms=after_ms)
        return Reply(Outcome(error="timed out"), after_ms=request.timeout_ms)

    settings = {"O2_FLUSH_STRATEGY": "end", "O2_BATCH_SIZE": "3", "O2_REQUEST_TIMEOUT_MS": str(timeout_ms)}
    world = World(failing(503, times=1), settings=settings)
    world.invoke()
    world.log(8)
    world.finish()
    world.let_go()
    world.report()
    del world.requests[:]
    world.upstream = slow
    world.shutdown()
    world.advance(2000)
    bodies = [content(request) for request in world.requests]
    assert len(bodies) - len(set(bodies)) == (after_ms > timeout_ms)
    assert world.account()["delivered"] == delivered
    assert world.account()["held"] == 10 - delivered


def test_failing_upstream_is_tried_again_in_the_time_left() -> None:
    """The configured pauses of seconds do not count any more."""
    world = after_one_invocation(failing(503, times=8))
    exit_after_ms(world)
    assert world.account()["held"] == 0
    assert world.account()["delivered"] == 4


def test_pause_of_before_is_cut_short() -> None:
    """A circuit that opened long ago gets its last chance."""
    world = after_one_invocation(failing(503))
    for _ in range(5):
        world.invoke()
        world.finish()
        world.let_go()
        world.freeze(100)
    world.upstream = healthy
    exit_after_ms(world)
    assert world.account()["held"] == 0


def test_evidence_of_a_failure_goes_first() -> None:
    """Where time may not suffice, the order is by worth."""
    world = World(silent, O2_FLUSH_STRATEGY="continuous", O2_BATCH_SIZE="3")
    world.invoke()
    world.log(3)
    world.log(3)
    world.telemetry(*(events.done("x", "error") for _ in range(3)))
    world.answer(Outcome(status=503))
    world.upstream = lambda _world, request: Reply(stored(request), after_ms=100)
    world.shutdown()
    world.advance(2000)
    assert b"platform.runtimeDone" in content(world.requests[1])
    assert world.account()["held"] == 0


def test_refused_credentials_do_not_prolong_the_shutdown() -> None:
    """One more attempt, then the exit: nobody will change them within two seconds."""
    world = after_one_invocation(failing(401))
    assert exit_after_ms(world) <= 500
    assert world.account()["held"] == 4
    assert world.said("ERROR", "could not be delivered")


def test_half_of_a_record_is_not_lost() -> None:
    """The second half will not come any more: what there is arrives as text."""
    world = after_one_invocation()
    world.telemetry_raw(b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":"AAAA}]')
    exit_after_ms(world)
    assert world.account()["received"] == world.account()["delivered"] == 5


def test_shutdown_during_a_request_delivers_the_rest() -> None:
    """What is in flight is waited for, then the rest goes."""
    world = after_one_invocation(silent, O2_FLUSH_BUDGET_MS="50")
    world.log(5)
    world.shutdown()
    world.advance(100)
    world.upstream = healthy
    assert world.in_flight is not None
    world.answer(stored(world.in_flight))
    world.advance(1500)
    assert world.account()["held"] == 0
    assert world.exit_ms is not None


def test_shutdown_without_any_invocation() -> None:
    """A sandbox that was started and never used."""
    world = World()
    world.telemetry(events.event("platform.initStart", {"phase": "init"}))
    assert exit_after_ms(world) <= 1000
    assert world.account()["delivered"] == 1


def test_nothing_is_sent_or_asked_for_after_the_exit() -> None:
    """The end is the end."""
    world = after_one_invocation()
    exit_after_ms(world)
    requests, polls = len(world.requests), world.polls
    actions = world.engine.step(world.now(), receiving=False)
    assert (actions.poll_next, actions.exit) == (False, False)
    assert (len(world.requests), world.polls) == (requests, polls)


def test_half_a_record_at_the_very_end_is_accounted_for() -> None:
    """The second half will not come, and there is no time to send the first: the ledger says that it is held."""
    world = World(silent, O2_FLUSH_STRATEGY="end")
    world.invoke()
    world.finish()
    world.let_go()
    world.shutdown()
    world.advance(1500)
    world.telemetry_raw(f'[{{"time":"{events.TIME}","type":"function","record":"AAA}}]'.encode())
    before = world.account()["received"]
    world.advance(2000)
    assert world.exit_ms is not None
    assert world.account()["received"] == before + 1
    assert world.account()["held"] == before + 1


def failures(world: World) -> list[dict[str, Any]]:
    """The records that say what became of an invocation, as they were sent."""
    records = [each for request in world.requests for each in json.loads(content(request))]
    return [each for each in records if each.get("type") == "failure"]


def test_a_timeout_is_told_before_the_exit() -> None:
    """SHUTDOWN for a timeout, and no report: the record is made once the telemetry is quiet, counted and delivered."""
    world = World(O2_LOG_FIELDS="event_id,message,level,cold_start")
    request_id = world.invoke(timeout_ms=3000)
    world.telemetry(events.start(request_id))
    world.log(1)
    world.let_go()
    world.advance(3000)
    world.shutdown(reason="timeout")
    world.finish(status="timeout")
    assert failures(world) == []
    world.advance(2000)
    [told] = failures(world)
    assert (told["requestId"], told["record"]["reason"]) == (request_id, "timeout")
    assert told["level"] == "ERROR"
    assert told["cold_start"] is True
    assert told["event_id"].startswith(events.INSTANCE_ID)
    assert world.account() == {"received": 4, "delivered": 4, "rejected": 0, "dropped": {}, "held": 0}


def test_a_report_in_the_drain_completes_the_record() -> None:
    """It has the figures, and makes a second record needless."""
    world = World()
    world.invoke()
    world.finish(status="failure")
    world.let_go()
    world.shutdown(reason="failure")
    world.telemetry(events.report(world._request_id, "failure"))
    world.advance(2000)
    [told] = failures(world)
    assert told["record"]["durationMs"] == 2.5


def test_a_failure_is_told_though_telemetry_never_ends() -> None:
    """Its time is half a second before the drain's end at the latest."""
    world = World()
    world.invoke()
    world.let_go()
    world.shutdown(reason="timeout")
    for _ in range(200):
        if world.exit_ms is None:
            world.log(1)
            world.advance(20)
    assert [each["record"]["reason"] for each in failures(world)] == ["timeout"]


def test_a_failure_without_telemetry() -> None:
    """A local stub offers none: INVOKE and SHUTDOWN are enough."""
    world = World(telemetry=False)
    request_id = world.invoke()
    world.shutdown(reason="Timeout")
    world.advance(2000)
    assert [each["requestId"] for each in failures(world)] == [request_id]


def test_failures_can_be_left_out() -> None:
    """O2_LOG_TYPES without `failure`: nothing is made, nothing is counted."""
    world = World(O2_LOG_TYPES="function,platform")
    world.invoke()
    world.finish(status="timeout")
    world.let_go()
    world.shutdown(reason="timeout")
    world.advance(2000)
    assert failures(world) == []
    assert world.account()["received"] == 1


def test_the_last_lines_and_spans_of_a_failure_go_first() -> None:
    """A backlog must not stand before what explains the failure."""
    world = World(silent, O2_FLUSH_STRATEGY="continuous", O2_BATCH_SIZE="3", O2_REQUEST_TIMEOUT_MS="100")
    world.invoke()
    world.log(3)
    world.log(3)
    world.log(1)
    assert world.export("traces", PROTOBUF, encode(traces(2), PROTOBUF)) == 200
    world.shutdown(reason="failure")
    world.upstream = healthy
    world.answer(Outcome(error="timed out"))
    world.advance(2000)
    streams = [(request.batch.stream[0], request.batch.count) for request in world.requests[1:] if request.batch]
    assert set(streams[:2]) == {("logs", 1), ("traces", 2)}
    assert world.account()["held"] == 0
