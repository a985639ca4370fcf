"""The engine over one invocation or a few: what is held, for how long, and what leaves when."""

from __future__ import annotations

import pytest

from o2_lambda.extension.core.flush import DEADLINE_MARGIN_MS
from o2_lambda.extension.core.model import Outcome
from o2_lambda.extension.core.otlp import PROTOBUF
from o2_lambda.extension.engine import SILENCE_MS
from tests.unit import events
from tests.unit.otlp_samples import encode, logs, traces
from tests.unit.simulation import World, run, silent, stored

SPANS = encode(traces(2), PROTOBUF)


def test_end_holds_until_the_function_is_done_and_all_is_sent() -> None:
    """Nothing is sent beside the function; after runtimeDone everything leaves, then `/next` is asked for."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke()
    world.log(3)
    world.advance(500)
    assert (world.sent, world.polls) == ([], 1)
    world.finish()
    assert (world.sent, world.polls) == ([4], 1)
    world.advance(9)
    assert world.polls == 1
    world.advance(1)
    assert world.polls == 2
    assert world.account()["held"] == 0
    assert world.hold_ms == [10]


def test_deadline_of_a_clock_that_is_hours_ahead_is_not_believed() -> None:
    """Where runtimeDone never comes, the hold still ends before the function's real deadline."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke(timeout_ms=3000)
    world.finish()
    world.let_go()
    world.invoke(timeout_ms=7_200_000)
    world.advance(3000 - DEADLINE_MARGIN_MS)
    assert world.polls == 3


@pytest.mark.parametrize("skew_ms", [-500, 2000, 60_000])
def test_a_clock_that_is_ahead_does_not_move_the_deadline(skew_ms: int) -> None:
    """platform.start tells when the invocation began on Lambda's own clock, so how long it may take is known."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.skew_ms = skew_ms
    request_id = world.invoke(timeout_ms=3000)
    world.telemetry(events.start(request_id))
    world.advance(3000 - DEADLINE_MARGIN_MS + min(0, skew_ms) - 1)
    assert world.polls == 1
    world.advance(1)
    assert world.polls == 2


def test_slow_turns_let_go_earlier_before_the_deadline() -> None:
    """Where turns take long, the deadline is noticed late."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke(timeout_ms=3000)
    world.turn_ms = 150
    world.log(1)
    world.advance(3000 - DEADLINE_MARGIN_MS - 150)
    assert world.polls == 2


def test_end_without_anything_to_send_lets_go_at_once() -> None:
    """A function that says nothing costs nothing, where platform events are not wanted."""
    world = World(O2_FLUSH_STRATEGY="end", O2_LOG_TYPES="function")
    world.invoke()
    world.advance(100)
    world.finish()
    assert world.hold_ms == [0]
    assert world.requests == []


def test_end_sends_all_batches_of_an_invocation() -> None:
    """Sealed batches leave as they fill, the rest after runtimeDone."""
    world = World(O2_FLUSH_STRATEGY="end", O2_BATCH_SIZE="10")
    world.invoke()
    world.log(25)
    world.advance(100)
    assert world.sent == [10, 10]
    world.finish()
    world.let_go()
    assert world.sent == [10, 10, 6]


def test_end_waits_for_a_body_that_is_coming_in() -> None:
    """A payload that is half read belongs to this invocation."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke()
    world.receiving = True
    world.finish()
    world.advance(100)
    assert world.polls == 1
    world.receiving = False
    world.log(1)
    world.let_go()
    assert world.account()["held"] == 0


def test_budget_bounds_what_the_customer_pays() -> None:
    """A slow upstream costs the budget, no more; the batch stays and is delivered when its answer comes."""
    world = World(silent, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="300")
    world.invoke()
    world.log(3)
    world.finish()
    world.let_go()
    assert world.hold_ms == [300]
    assert world.account()["held"] == 4
    world.freeze(60_000)
    world.invoke()
    assert world.in_flight is not None
    world.answer(stored(world.in_flight))
    assert world.account()["held"] == 0
    assert world.engine.ledger.hold_ms_max == 300


def test_what_a_short_deadline_leaves_goes_beside_the_next_invocation() -> None:
    """Let go before the function was done: its lines do not wait for the end of the next one."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke(timeout_ms=300)
    world.log(3)
    world.let_go()
    world.finish()
    world.freeze(60_000)
    world.invoke(timeout_ms=900_000)
    world.advance(100)
    assert world.account()["held"] == 0


def test_deadline_bounds_the_hold_as_well() -> None:
    """`/next` is asked for before the function's own deadline, done or not."""
    world = World(silent, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="60000")
    world.invoke(timeout_ms=3000)
    begin_ms = world.ms
    world.log(1)
    world.let_go()
    assert world.ms - begin_ms == 3000 - DEADLINE_MARGIN_MS


def test_done_before_its_invoke_event() -> None:
    """The two come over different connections: a short function may be done before we know that it began."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.telemetry(events.start("early"), events.line("x"), events.done("early"))
    assert world.requests == []
    world.invoke("early")
    world.let_go()
    assert world.sent == [3]


def test_done_of_another_request_ends_no_hold() -> None:
    """A late runtimeDone of the invocation before says nothing of this one."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke("one")
    world.finish()
    world.let_go()
    world.invoke("two")
    world.log(1)
    world.telemetry(events.done("one"), events.line("new"))
    world.advance(100)
    assert not world.is_polling


def test_invocation_that_is_retried_is_held_until_its_own_done() -> None:
    """Lambda retries a failed asynchronous invocation under the same request id, often in the same sandbox."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke("same")
    world.finish(status="failure")
    world.let_go()
    world.freeze(60_000)
    world.invoke("same")
    world.telemetry(events.start("same"), events.line("second attempt"))
    world.advance(100)
    assert not world.is_polling
    world.telemetry(events.line("its last words"), events.done("same"))
    world.let_go()
    assert world.account()["held"] == 0


def test_report_tells_that_the_function_is_done() -> None:
    """Lambda reports an invocation that it has given up, and runtimeDone went missing: nobody waits any longer."""
    world = World(O2_FLUSH_STRATEGY="end")
    request_id = world.invoke()
    world.telemetry(events.start(request_id), events.line("last words"))
    world.advance(100)
    assert not world.is_polling
    world.report()
    world.let_go()
    assert world.ms < world.deadline_ms - DEADLINE_MARGIN_MS
    assert world.account()["held"] == 0


def test_report_of_an_earlier_attempt_is_not_that_of_its_retry() -> None:
    """Both have the same request id; the first report comes with the second attempt, before its start."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke("same")
    world.telemetry(events.start("same"))
    world.finish(status="failure")
    world.let_go()
    world.invoke("same")
    world.telemetry(events.report("same"), events.start("same"), events.line("second attempt"))
    world.advance(100)
    assert not world.is_polling
    world.finish()
    world.let_go()
    assert world.account()["held"] == 0


def test_a_silent_function_leaves_time_to_send() -> None:
    """What is held after a second of silence goes beside the function; the next time after two, and so on."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke(timeout_ms=25_000)
    world.log(2)
    world.advance(SILENCE_MS - 1)
    assert world.sent == []
    world.advance(1)
    assert world.sent == [2]
    world.log(1)
    world.advance(2 * SILENCE_MS - 1)
    assert world.sent == [2]
    world.advance(1)
    assert world.sent == [2, 1]
    world.finish()
    world.let_go()
    world.invoke()
    world.log(1)
    sent = len(world.sent)
    world.advance(SILENCE_MS)
    assert len(world.sent) == sent + 1, "each invocation begins anew"


def test_silence_sends_nothing_where_nothing_is_held() -> None:
    """A function that computes for a minute costs no request."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke(timeout_ms=900_000)
    world.advance(25_000)
    assert world.requests == []


def test_missing_done_is_not_waited_for_next_time() -> None:
    """A platform that tells no runtimeDone would hold every invocation to its deadline: once is enough."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke()
    world.log(2)
    world.let_go()
    world.invoke()
    assert world.is_polling
    assert world.said("WARN", "runtimeDone")
    assert world.sent == [2]
    world.finish()
    world.invoke()
    assert not world.is_polling


def test_unknown_event_is_passed_over() -> None:
    """An event type of the future is answered by asking for the next one."""
    world = World()
    world._lifecycle_event({"eventType": "NOVELTY"})
    assert (world.is_polling, world.polls) == (True, 2)
    assert world.said("WARN", "NOVELTY")


def test_report_of_the_last_invocation_goes_with_the_next() -> None:
    """It comes after everybody let go; it is delivered, not lost."""
    world = World(O2_FLUSH_STRATEGY="end")
    run(world)
    assert world.account()["held"] == 1
    run(world)
    assert world.account()["delivered"] == 9


def test_managed_instance_sends_by_interval_only() -> None:
    """There is no INVOKE to hang on to."""
    world = World(managed=True, O2_FLUSH_INTERVAL_MS="1000")
    world.telemetry(events.start("a"), events.start("b"), events.line("x"), events.done("a"))
    assert world.requests == []
    world.advance(1000)
    assert world.sent == [4]
    world.advance(100)
    world.shutdown()
    world.advance(2000)
    assert world.exit_ms is not None
    assert world.account()["held"] == 0
    assert world.polls == 1


def test_without_telemetry_only_otlp_is_carried() -> None:
    """A local stub without the Telemetry API: nothing is waited for, and shutdown does not settle."""
    world = World(telemetry=False, O2_FLUSH_STRATEGY="end")
    world.invoke()
    assert world.is_polling
    assert world.export("traces", PROTOBUF, SPANS) == 200
    world.invoke()
    world.advance(50)
    assert world.account("traces")["delivered"] == 2
    world.shutdown()
    assert world.exit_ms == world.ms


def test_spans_of_an_invocation_leave_with_it() -> None:
    """OTLP is held and sent like logs."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke()
    assert world.export("traces", PROTOBUF, SPANS) == 200
    assert world.export("otlp_logs", PROTOBUF, encode(logs(3), PROTOBUF)) == 200
    world.finish()
    world.let_go()
    assert [request.batch.stream[0] for request in world.requests if request.batch] == ["traces", "otlp_logs", "logs"]
    assert sum(world.account(signal)["delivered"] for signal in ("logs", "traces", "otlp_logs")) == 6


def test_split_record_with_done_in_its_second_half() -> None:
    """The hold waits for the second half, as runtimeDone comes with it."""
    world = World(O2_FLUSH_STRATEGY="end")
    request_id = world.invoke()
    head = '[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":'
    world.telemetry_raw(f'{head}"AAAA}}]'.encode())
    world.advance(20)
    world.telemetry_raw(f'{head}BBBB"}},{events.done(request_id)}]'.encode())
    world.let_go()
    assert world.sent == [2]


def test_split_record_without_second_half_holds_for_its_time_only() -> None:
    """Losing the half that carries runtimeDone must not hold an invocation to its deadline."""
    world = World(O2_FLUSH_STRATEGY="end")
    world.invoke(timeout_ms=900_000)
    begin_ms = world.ms
    world.telemetry_raw(b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":"AAAA}]')
    world.let_go()
    assert world.ms - begin_ms <= 2000
    assert world.account()["delivered"] == 1


def test_answer_without_request_is_a_bug() -> None:
    """The shell cannot invent one."""
    world = World()
    with pytest.raises(AssertionError):
        world.engine.answered(Outcome(status=200), world.now(), 0.5)
