"""The memory size as a limit: what goes over it is killed, and said to be so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from o2_lambda.emulator import Emulator, limits
from tests.emulator.conftest import Stage, record_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("serial")

GREEDY = """
def handler(event, context):
    held = bytearray(event.get("mb", 0) << 20)
    for index in range(0, len(held), 4096):
        held[index] = 1
    return len(held)
"""


@pytest.mark.parametrize("way", ["control group", "watch"])
async def test_a_runtime_over_the_memory_size_is_killed(
    stage: Stage, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Runtime.OutOfMemory to the client and in the platform's events; the next invocation has a new environment."""
    if way == "watch":
        monkeypatch.setattr(limits, "ROOT", tmp_path / "no-such-folder")
    async with Emulator(stage.python_config(GREEDY, memory_mb=128, enforce_memory=True)) as emulator:
        if way == "control group" and emulator.limits.notices:
            pytest.skip(emulator.limits.notices[0])
        assert any("watched every" in notice for notice in emulator.limits.notices) == (way == "watch")
        assert (await emulator.invoke(b'{"mb": 20}')).outcome == "success"
        killed = await emulator.invoke(b'{"mb": 400}')
        assert (killed.outcome, killed.error_type) == ("error", "Runtime.OutOfMemory")
        assert b"signal: killed" in killed.payload
        assert killed.memory_used_mb == 128
        done = record_of(emulator, "platform.runtimeDone")
        assert (done["status"], done["errorType"]) == ("error", "Runtime.OutOfMemory")
        assert record_of(emulator, "platform.report")["metrics"]["maxMemoryUsedMB"] == 128
        again = await emulator.invoke(b"{}")
        assert again.outcome == "success"
        assert again.memory_used_mb < 128


async def test_a_kill_by_anybody_else_is_no_want_of_memory(stage: Stage) -> None:
    """SIGKILL alone proves nothing."""
    code = "import os\ndef handler(event, context):\n    os.kill(os.getpid(), 9)\n"
    async with Emulator(stage.python_config(code, enforce_memory=True)) as emulator:
        assert (await emulator.invoke()).error_type == "Runtime.ExitError"
