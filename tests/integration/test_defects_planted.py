"""The defect tests, tested: each must fail once its defect is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration import (
    test_defects_buffer,
    test_defects_data,
    test_defects_health,
    test_defects_lifecycle,
    test_defects_robustness,
)
from tests.integration.plants import PLANTS
from tests.integration.rig import Arena

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULES = (
    test_defects_lifecycle,
    test_defects_buffer,
    test_defects_data,
    test_defects_robustness,
    test_defects_health,
)
CHECKS: dict[str, Callable[[Arena], None]] = {
    name.removeprefix("test_"): check
    for module in MODULES
    for name, check in vars(module).items()
    if name.startswith("test_")
}
# A planted extension mostly does nothing where the check waits for something; sound ones need a tenth of this.
PATIENCE_S = 2.5


def test_every_defect_has_its_plant() -> None:
    """Every check has a plant, and no plant is left without a check."""
    assert set(PLANTS) == set(CHECKS)


@pytest.mark.xdist_group("serial")
@pytest.mark.parametrize("name", PLANTS)
def test_planted_defect_is_caught(tmp_path: Path, name: str) -> None:
    """With the defect planted the check fails; that it passes without is its own test."""
    arena = Arena(tmp_path, patch=PLANTS[name], patience_s=PATIENCE_S)
    with arena.stack, pytest.raises((AssertionError, OSError)):
        CHECKS[name](arena)
    broken = [line for lines in arena.outputs for line in lines if "Traceback" in line or "Internal error" in line]
    assert not broken, "the plant does not bring the defect back, it only breaks the extension"
