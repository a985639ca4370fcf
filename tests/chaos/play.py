"""Plays a schedule and judges it, again where the machine had no time for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.oracle import violations
from tests.chaos.world import STALL_MS_MAX

if TYPE_CHECKING:
    from tests.chaos.schedule import Schedule
    from tests.chaos.world import Evidence, World

ATTEMPTS = 3


def play(world: World, schedule: Schedule) -> tuple[Evidence, list[str]]:
    """The evidence and what it breaks; once more where something broke while nobody got a processor."""
    for _attempt in range(ATTEMPTS):
        evidence = world.perform(schedule)
        found = violations(evidence)
        if not found or evidence.stalled_ms <= STALL_MS_MAX:
            break
    return evidence, found
