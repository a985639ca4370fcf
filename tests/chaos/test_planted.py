"""Chaos, tested: what it exists to find, it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.oracle import violations
from tests.chaos.plants import PLANTS
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.upstream import Upstream
from tests.chaos.world import World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("name", PLANTS)
def test_planted_defect_is_found(tmp_path: Path, name: str) -> None:
    """With the defect planted a promise is broken, in a scenario that keeps them all without."""
    scenario, patch = PLANTS[name]
    with Upstream(tmp_path) as upstream:
        evidence = World(tmp_path, upstream, patch=patch).perform(SCENARIOS[scenario])
    assert violations(evidence)
    broken = [line for line in evidence.printed if "Traceback" in line or "Internal error" in line]
    assert not broken, "the plant does not bring the defect back, it only breaks the extension"
