"""A sender's restraint: a server that is down is found out in any rhythm of invocations, and no line feeds itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit import events
from tests.unit.events import lost
from tests.unit.simulation import Reply, Upstream, World, failing, run, stored

if TYPE_CHECKING:
    from o2_lambda.extension.core.model import Request

FORWARDED = ("NOTICE", "WARN", "ERROR")  # of our own lines, by Lambda's telemetry


def unreachable(after_ms: int) -> Upstream:
    """No answer: the way there fails after so long."""
    return lambda _world, _request: Reply(lost(), after_ms=after_ms)


@pytest.mark.parametrize(
    ("strategy", "fails_after_ms", "pause_ms"),
    [("continuous", 5000, 900), ("continuous", 120, 20), ("end", 5000, 9000), ("end", 5000, 60_000)],
)
def test_a_way_that_leads_nowhere_is_told_and_tried_rarely(strategy: str, fails_after_ms: int, pause_ms: int) -> None:
    """An INVOKE in the middle of each attempt is no excuse for it: a freeze explains one failure, not all of them."""
    world = World(unreachable(fails_after_ms), O2_FLUSH_STRATEGY=strategy)
    begin_ms = world.ms
    while world.ms < begin_ms + 600_000:
        run(world, duration_ms=80)
        world.advance(pause_ms)
    assert world.said("WARN", "cannot be reached")
    assert len(world.requests) <= 60
    assert world.account()["dropped"] == {}


def test_an_answer_earns_the_next_freeze_its_excuse() -> None:
    """Connections that die in one freeze after another are no failures, as long as answers come in between."""
    world = World(O2_FLUSH_STRATEGY="end")
    for _ in range(10):
        world.upstream = unreachable(700_000)
        world.invoke()
        world.log()
        world.finish()
        world.let_go()
        world.freeze(600_000)
        world.upstream = lambda _world, request: Reply(stored(request))
        world.invoke()
        world.answer(lost())
        world.advance(50)
        world.finish()
        world.let_go()
    assert world.engine.destinations.senders[0].backoff.failures == 0
    assert world.account()["held"] == 0


def refusing(_world: World, request: Request) -> Reply:
    """A server that stores nothing of what it takes."""
    assert request.batch is not None
    return Reply(stored(request, failed=request.batch.count), after_ms=5)


@pytest.mark.parametrize("upstream", [failing(404, after_ms=5), refusing])
def test_a_line_about_a_loss_is_not_lost_and_told_without_end(upstream: Upstream) -> None:
    """Lambda sends our own lines back to us; to refuse them as well must not prolong the shutdown to its deadline."""
    world = World(upstream, O2_FLUSH_STRATEGY="end")
    run(world)
    world.freeze(60_000)
    world.shutdown()
    told, begin_ms = 0, world.ms
    while world.exit_ms is None:
        lines = [text for level, text in world.lines[told:] if level in FORWARDED]
        told = len(world.lines)
        if lines:
            world.telemetry(*(events.event("extension", f"[o2-lambda-extension] {text}\n") for text in lines))
        world.advance(25)
    assert world.exit_ms - begin_ms < 1000
    assert len(world.requests) <= 4
    assert world.account()["held"] == 0


def test_a_loss_is_told_again_after_a_minute() -> None:
    """What goes on being lost is not forgotten."""
    world = World(failing(404, body=b"no such organization"), O2_FLUSH_STRATEGY="end")
    for _ in range(5):
        run(world)
        world.freeze(30_000)
    assert len(world.said("ERROR", "404: no such organization")) == 3
