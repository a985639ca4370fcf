"""Chaos, in short: scenarios, what failed once, and a few fixed seeds; `make chaos` plays new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.cases import CASES
from tests.chaos.confine import possible
from tests.chaos.oracle import describe
from tests.chaos.play import play
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.schedule import Schedule, draw
from tests.chaos.upstream import Upstream
from tests.chaos.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("chaos")  # which mostly waits: beside the tests that measure, not among them
FIXED = (1, 2, 4, 5)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("upstream")) as made:
        yield made


def keeps_every_promise(world: World, schedule: Schedule) -> None:
    """Performs it and holds it to every promise."""
    if not possible(schedule.confinement):
        pytest.skip(f"{schedule.confinement!r} cannot be made here: no private mounts, or a checkout below /tmp")
    evidence, found = play(world, schedule)
    assert not found, describe(evidence, found)


@pytest.mark.parametrize("seed", FIXED)
def test_every_promise_holds_in_a_random_schedule(tmp_path: Path, upstream: Upstream, seed: int) -> None:
    """Conservation, order, duplicates, budget, exit and memory, whatever goes wrong."""
    print(f"seed {seed}")
    keeps_every_promise(World(tmp_path, upstream), draw(seed))


@pytest.mark.parametrize("name", CASES)
def test_what_failed_once_does_not_again(tmp_path: Path, upstream: Upstream, name: str) -> None:
    """What chaos has found stays found."""
    keeps_every_promise(World(tmp_path, upstream), CASES[name])


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_keeps_every_promise(tmp_path: Path, upstream: Upstream, name: str) -> None:
    """One thing goes wrong, as in docs/reliability.md."""
    keeps_every_promise(World(tmp_path, upstream), SCENARIOS[name])
