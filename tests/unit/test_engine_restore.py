"""The engine restored from a snapshot: nothing that other sandboxes share goes on being used."""

from __future__ import annotations

import json

from tests.unit import events
from tests.unit.simulation import World, content, silent

FRESH_ID = "fedcba9876543210"
RESTORE_START = events.event("platform.restoreStart", {"functionName": "f", "functionVersion": "1"})


def restored_later(world: World) -> World:
    """A sandbox whose snapshot is taken now, and restored after an hour."""
    world.freeze(3_600_000)
    world.engine.spare_id(FRESH_ID)
    return world


def ids(world: World) -> list[str]:
    """The event ids of everything sent so far."""
    return [each["event_id"] for request in world.requests for each in json.loads(content(request))]


def test_restore_is_told_once() -> None:
    """By the telemetry or by the first INVOKE, whichever comes first."""
    for telemetry_first in (True, False):
        world = restored_later(World(snap_start=True))
        assert world.restores == 0
        if telemetry_first:
            world.telemetry(RESTORE_START)
            assert world.restores == 1
        world.invoke()
        assert world.restores == 1
        world.telemetry(RESTORE_START)
        world.finish()
        world.let_go()
        world.invoke()
        assert world.restores == 1
        assert not world.engine.awaits_restore
        assert world.said("NOTICE", "Restored from a snapshot")


def test_restore_is_believed_whatever_the_environment_says() -> None:
    """The platform's own event is proof enough."""
    world = World()
    world.telemetry(RESTORE_START)
    assert world.restores == 1


def test_no_restore_without_a_snapshot() -> None:
    """An ordinary sandbox is never taken for a restored one."""
    world = World()
    world.invoke()
    assert world.restores == 0


def test_event_ids_are_not_those_of_the_other_sandboxes() -> None:
    """Many sandboxes are restored from one snapshot: each takes an id of its own before its first event."""
    world = restored_later(World(snap_start=True))
    world.telemetry(RESTORE_START)
    world.invoke()
    world.finish()
    world.let_go()
    assert ids(world)
    assert all(each.startswith(f"{FRESH_ID}-") for each in ids(world))


def test_what_comes_before_the_snapshot_is_sent_before_it() -> None:
    """Else every sandbox restored from it would send it again."""
    world = World(snap_start=True)
    world.log(2)
    assert len(world.requests) == 1


def test_request_in_flight_at_the_snapshot_is_repeated() -> None:
    """Its connection belongs to a machine that is gone: it is broken off, and no failure of the server."""
    world = World(silent, snap_start=True)
    world.log(1)
    restored_later(world)
    world.telemetry(RESTORE_START)
    assert world.aborts == 1
    world.answer(events.lost())
    assert len(world.requests) == 2
    assert not world.engine.destinations.senders[0].backoff.failures
