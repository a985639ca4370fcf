"""What users of the reference met: its lifecycle. Each test would have failed there, as `plants.py` proves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.rig import QUICK
from tests.integration.stub_lambda import event
from tests.integration.wire import eventually

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Settings

END: Settings = {"O2_FLUSH_STRATEGY": "end"}
CONTINUOUS: Settings = {"O2_FLUSH_STRATEGY": "continuous"}


def test_next_waits_for_runtime_done(arena: Arena) -> None:
    """It slept 100 ms at the start of each invocation instead of waiting for runtimeDone.

    Users saw: the lines of everything that took longer than 100 ms appeared with the next invocation, or never.
    """
    rig = arena.rig(**END)
    rig.begin()
    rig.log("early")
    rig.lambda_.never(lambda: rig.lambda_.nexts > 1, for_s=0.4, what="/next came before runtimeDone")
    rig.log("late")
    rig.done()
    rig.await_next()
    assert rig.sink.lines() == ["early", "late"]


def test_a_failed_batch_is_sent_again(arena: Arena) -> None:
    """Batches were taken out of the buffer before they were sent: a failed send lost them.

    Users saw: 99 to 1000 of 1000 lines missing after a few answers of 500.
    """
    rig = arena.rig(**END, **QUICK)
    rig.sink.plan = [500, 500]
    rig.invocation("a", "b")
    assert rig.end().logs["held"] == 0
    assert rig.sink.lines() == ["a", "b"]


def test_a_slow_backend_loses_nothing_in_continuous_mode(arena: Arena) -> None:
    """The sending task was cancelled by a timeout after it had taken its batch out.

    Users saw: gaps in the logs whenever OpenObserve took longer than usual.
    """
    rig = arena.rig(**CONTINUOUS)
    rig.sink.latency_s = 0.4
    for number in range(5):
        rig.invocation(f"line {number}")
    ending = rig.end()
    assert rig.sink.lines() == [f"line {number}" for number in range(5)]
    assert ending.logs["received"] == ending.logs["delivered"]


def test_continuous_mode_keeps_up_with_a_busy_function(arena: Arena) -> None:
    """One batch of 100 every 5 s, at most: 20 events a second, and the rest into an unbounded queue.

    Users saw: logs that were minutes late, then memory that grew until the sandbox died.
    """
    rig = arena.rig(**CONTINUOUS)
    rig.invocation(*(f"line {number}" for number in range(1000)))
    rig.begin()
    for start in range(1000, 5000, 1000):
        rig.log(*(f"line {number}" for number in range(start, start + 1000)))
    rig.done()
    rig.begin()
    rig.sink.await_lines(5000)


def test_continuous_mode_delivers_the_last_invocation(arena: Arena) -> None:
    """Nothing was sent at the end in continuous mode.

    Users saw: the lines of the last invocations before a pause never arrived.
    """
    rig = arena.rig(**CONTINUOUS)
    rig.invocation("last")
    ending = rig.end()
    assert rig.sink.lines() == ["last"]
    assert ending.logs["received"] == ending.logs["delivered"]


def test_a_long_invocation_is_sent_while_it_runs(arena: Arena) -> None:
    """The periodic strategy was unreachable.

    Users saw: nothing of an invocation of ten minutes until it had ended.
    """
    rig = arena.rig(**END, O2_FLUSH_INTERVAL_MS="100", patch=SHORT_LONG_INVOCATION)
    rig.begin()
    rig.log("early")
    rig.sink.await_lines(1)
    assert rig.lambda_.nexts == 1, "the invocation still runs"


# An invocation counts as long after 30 s: here after 200 ms.
SHORT_LONG_INVOCATION = "from o2_lambda.extension.core import flush\nflush.LONG_INVOCATION_MS = 200"


def test_the_periodic_strategy_sends_every_interval(arena: Arena) -> None:
    """The same where periodic sending is asked for."""
    rig = arena.rig(O2_FLUSH_STRATEGY="periodic", O2_FLUSH_INTERVAL_MS="100")
    rig.begin()
    for number in range(1, 4):
        rig.log(f"line {number}")
        rig.sink.await_lines(number)
    assert rig.lambda_.nexts == 1, "the invocation still runs"


def test_a_few_invocations_are_no_high_rate(arena: Arena) -> None:
    """The rate was count / (newest - oldest): two calls 11 s apart counted as 10.9 a minute.

    Users saw: functions that are called now and then were never flushed at the end.
    """
    rig = arena.rig()
    for number in range(1, 5):
        rig.invocation(f"line {number}")
        assert len(rig.sink.lines()) == number, "sent before /next"


def test_a_dead_backend_does_not_make_the_function_time_out(arena: Arena) -> None:
    """DeadlineMs was ignored: up to 127 s of retries on the way to `/next`.

    Users saw: invocations that had succeeded ended as timeouts while OpenObserve was away.
    """
    rig = arena.rig(**END, O2_FLUSH_BUDGET_MS="60000")
    rig.sink.open.clear()
    rig.begin(timeout_ms=1000)
    rig.log("a")
    rig.done()
    rig.lambda_.wait(lambda: rig.lambda_.nexts == 2, "/next before the deadline")
    began_s = rig.lambda_.calls("/event/next")[0].at_s
    assert rig.lambda_.calls("/event/next")[1].at_s - began_s < 1.5


def test_a_dead_backend_does_not_outlast_the_shutdown(arena: Arena) -> None:
    """Some 14 s of retries for each batch at shutdown, of which Lambda grants two.

    Users saw: the extension was killed, whatever it still held was lost, and nothing told so.
    """
    rig = arena.rig(**END, O2_FLUSH_BUDGET_MS="0")
    rig.sink.open.clear()
    rig.invocation("a")
    ending = rig.end(timeout_ms=1000)
    assert ending.status == 0
    assert ending.took_ms < 1000
    assert ending.logs["held"] > 0
    assert any("Final flush incomplete" in line for line in ending.lines)


def test_the_last_telemetry_is_awaited_at_shutdown(arena: Arena) -> None:
    """The shutdown flush came before the last telemetry.

    Users saw: no platform.report of the last invocation, no last words of a crash.
    """
    rig = arena.rig(**END)
    rig.invocation("a")
    rig.lambda_.shutdown()
    rig.process.await_line("Starting shutdown sequence")
    rig.lambda_.post(event("function", "last words\n"))
    rig.report()
    ending = rig.process.await_end()
    assert rig.sink.lines() == ["a", "last words"]
    assert len(rig.sink.lines("platform.report")) == 1
    assert ending.logs["held"] == 0


def test_one_refused_batch_does_not_stop_the_others(arena: Arena) -> None:
    """One failed batch aborted the whole flush.

    Users saw: everything behind one batch that OpenObserve did not take stayed away.
    """
    rig = arena.rig(**END, O2_BATCH_SIZE="10")
    rig.sink.plan = [rig.sink.store, 404]
    rig.invocation(*(f"line {number}" for number in range(48)))
    assert len(rig.sink.lines()) == 38
    ending = rig.end()
    assert ending.logs["dropped"] == {"status_404": 10}
    assert ending.logs["held"] == 0


def test_an_outage_costs_nothing_once_it_is_known(arena: Arena) -> None:
    """Every invocation during an outage paid for all retries again.

    Users saw: a function of 20 ms that took seven seconds for as long as OpenObserve was down.
    """
    rig = arena.rig(**END, O2_FLUSH_BUDGET_MS="400", O2_INITIAL_RETRY_DELAY_MS="60000", O2_MAX_RETRY_DELAY_MS="60000")
    rig.sink.always = 503
    for number in range(4):
        rig.invocation(f"line {number}")
    rig.begin()
    rig.log("a")
    rig.done()
    done_s = rig.lambda_.calls("/event/next")[-1].at_s
    rig.await_next()
    eventually(lambda: rig.lambda_.nexts == 6, "/next", arena.patience_s)
    assert rig.lambda_.calls("/event/next")[-1].at_s - done_s < 0.3
