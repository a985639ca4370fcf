"""The engine's strategies, over hours and days of invocations: who is held, and how often something is sent."""

from __future__ import annotations

import pytest

from tests.unit import events
from tests.unit.simulation import Reply, World, failing, run, stored


@pytest.mark.parametrize("strategy", ["end", "periodic", "auto"])
def test_without_a_budget_everything_goes_beside_the_next_invocation(strategy: str) -> None:
    """O2_FLUSH_BUDGET_MS=0 holds nothing; what an invocation leaves is sent when the sandbox is awake again."""
    world = World(O2_FLUSH_STRATEGY=strategy, O2_FLUSH_BUDGET_MS="0")
    for _ in range(10):
        run(world)
        world.freeze(60_000)
    assert set(world.hold_ms) == {0}
    assert world.account()["held"] <= 5


def test_continuous_never_holds() -> None:
    """`/next` is asked for at once; what there is leaves beside the next invocation."""
    world = World(O2_FLUSH_STRATEGY="continuous")
    for _ in range(5):
        world.invoke()
        assert world.is_polling
        world.log(2)
        world.advance(50)
        world.finish()
        world.freeze(1000)
    assert world.engine.ledger.hold_ms_total == 0
    world.invoke()
    world.advance(100)
    assert world.account()["held"] == 0


def test_continuous_does_not_complain_about_late_telemetry() -> None:
    """Nobody waits for runtimeDone there: that it comes after the thaw is the usual case."""
    world = World(O2_FLUSH_STRATEGY="continuous")
    for _ in range(20):
        request_id = world.invoke()
        world.freeze(500)
        world.invoke()
        world.telemetry(events.done(request_id))
    assert world.said("WARN") == []


def test_strategy_change_after_continuous_still_waits_for_done() -> None:
    """A quiet hour after a busy one: *auto* goes back to holding, and telemetry that was late changes nothing."""
    world = World(O2_FLUSH_STRATEGY="auto")
    for _ in range(60):
        request_id = world.invoke()
        if not world.is_polling:
            world.finish()
            world.let_go()
        world.freeze(1000)
    assert world.is_polling
    world.freeze(3_600_000)
    world.telemetry(events.done(request_id))
    world.invoke()
    world.log(1)
    world.advance(100)
    assert not world.is_polling
    world.finish()
    world.let_go()
    assert world.account()["held"] == 0


def test_continuous_sends_every_interval_in_a_long_invocation() -> None:
    """Beside a function that runs for a while."""
    world = World(O2_FLUSH_STRATEGY="continuous", O2_FLUSH_INTERVAL_MS="1000")
    world.invoke(timeout_ms=60_000)
    for _ in range(10):
        world.log(1)
        world.advance(500)
    assert 4 <= len(world.requests) <= 6


def test_chatty_function_does_not_turn_the_interval_into_a_stream() -> None:
    """A function that never stops printing is sent every interval, not after each answer."""
    world = World(lambda _world, request: Reply(stored(request), after_ms=60), O2_FLUSH_STRATEGY="continuous")
    world.invoke(timeout_ms=60_000)
    for _ in range(1000):
        world.log(1)
        world.advance(20)
    assert len(world.requests) <= 6


@pytest.mark.parametrize("strategy", ["end", "auto", "periodic", "continuous"])
def test_long_invocation_sends_every_interval_in_any_strategy(strategy: str) -> None:
    """After 30 s at the latest nobody wants to wait for logs until the end."""
    world = World(O2_FLUSH_STRATEGY=strategy, O2_FLUSH_INTERVAL_MS="5000")
    world.invoke(timeout_ms=900_000)
    for _ in range(60):
        world.log(1)
        world.advance(1000)
    early = {"end": 6, "auto": 6, "periodic": 11, "continuous": 11}[strategy]
    assert early - 1 <= len(world.requests) <= early + 2
    assert world.account()["held"] <= 5
    if strategy != "continuous":  # which leaves the end to the next invocation
        world.finish()
        world.let_go()
        assert world.account()["held"] == 0


def test_flush_at_the_start_is_of_what_was_left() -> None:
    """Leftovers go beside the next invocation; its own first line does not follow them alone in a request."""
    for strategy in ("end", "continuous"):
        world = World(O2_FLUSH_STRATEGY=strategy, O2_FLUSH_BUDGET_MS="0", O2_BATCH_SIZE="5")
        world.invoke()
        world.log(7)
        world.finish()
        world.freeze(60_000)
        world.invoke()
        world.advance(100)
        assert world.account()["held"] == 0
        requests = len(world.requests)
        world.log(1)
        world.advance(100)
        assert len(world.requests) == requests, strategy


def test_periodic_holds_at_the_end_like_end() -> None:
    """Short invocations are the same in both."""
    world = World(O2_FLUSH_STRATEGY="periodic")
    run(world)
    assert world.hold_ms == [10]
    assert world.account()["held"] == 1  # the report, which comes after


def test_days_of_rare_invocations_are_delivered_each() -> None:
    """Every ten minutes for three days: each invocation's logs leave with it."""
    world = World(O2_FLUSH_STRATEGY="auto")
    for _ in range(3 * 24 * 6):
        run(world)
        assert world.account()["held"] == 1
        world.freeze(600_000)
    assert set(world.hold_ms) == {10}
    assert world.said("WARN") == world.said("ERROR") == []


def test_hours_of_frequent_invocations_cost_nothing() -> None:
    """At 30 a minute *auto* stops holding, and nothing is lost or piles up."""
    world = World(O2_FLUSH_STRATEGY="auto")
    for _ in range(2 * 60 * 30):
        run(world)
        world.freeze(1950)
    assert len(world.hold_ms) <= 50
    account = world.account()
    assert account["dropped"] == {}
    assert account["held"] <= 20
    assert world.said("WARN") == world.said("ERROR") == []


def test_outage_of_hours_costs_no_time_and_loses_nothing() -> None:
    """While the upstream is down invocations are not held; when it is back everything arrives."""
    world = World(failing(503), O2_FLUSH_STRATEGY="end")
    for number in range(100):
        run(world)
        if number > 3:
            assert world.hold_ms[-1] == 0
        world.freeze(60_000)
    assert world.account()["delivered"] == 0
    assert world.account()["dropped"] == {}
    world.upstream = lambda _world, request: Reply(stored(request))
    run(world)
    world.advance(60_000)
    run(world)
    assert world.account()["held"] <= 1
    assert world.said("NOTICE", "answers again")
    assert world.engine.ledger.hold_ms_max <= 1000
