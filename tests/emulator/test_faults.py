"""Faults of processes, connections and clocks; those of delivery are in test_telemetry_delivery."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from o2_lambda.emulator import ALWAYS, Emulator, Faults, Kill, Relay
from tests.emulator.conftest import Puppet, Stage, executable

if TYPE_CHECKING:
    import aiohttp


def test_counts_are_used_up_and_always_is_not() -> None:
    """N occasions, or for ever."""
    faults = Faults(drop_posts=2, delay_posts=ALWAYS)
    assert [faults.take("drop_posts") for _ in range(3)] == [True, True, False]
    assert all(faults.take("delay_posts") for _ in range(5))


def test_a_kill_is_meant_for_a_state_and_perhaps_an_extension() -> None:
    """It applies once."""
    faults = Faults(kills=[Kill("Ready", extension="b")])
    assert faults.take_kill("a", "Ready") is None
    assert faults.take_kill("b", "Running") is None
    assert faults.take_kill("b", "Ready") is not None
    assert faults.take_kill("b", "Ready") is None


@pytest.mark.parametrize(("state", "in_init"), [("Started", True), ("Registered", True), ("Running", False)])
async def test_an_extension_dies_in_the_chosen_state(stage: Stage, state: str, *, in_init: bool) -> None:
    """A death in init fails init, a death in an invocation fails that; the next attempt works."""
    code = "import time\ndef handler(event, context):\n    time.sleep(event.get('s', 0))\n    return 'ok'\n"
    config = stage.python_config(code, extensions=[stage.probe()], faults=Faults(kills=[Kill(state)]))
    async with Emulator(config) as emulator:
        assert emulator.init_result is not None
        assert (emulator.init_result.status != "success") is in_init
        if in_init:
            assert emulator.init_result.error_type == "Extension.Crash"
        else:
            assert (await emulator.invoke(b'{"s": 5}')).error_type == "Extension.Crash"
        assert (await emulator.invoke()).json() == "ok"


async def test_connections_are_reset_during_the_freeze(stage: Stage, session: aiohttp.ClientSession) -> None:
    """A connection through the relay works before the freeze and is broken after it; a new one works."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = stage.puppet_config(faults=Faults(reset_connections_on_thaw=1))
    async with Relay("127.0.0.1", port) as relay, Emulator(config) as emulator:
        emulator.relays.append(relay)
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"ping")
        assert await reader.read(100) == b"ping"
        await Puppet(emulator, session).started()
        with pytest.raises(ConnectionResetError):
            await reader.read(100)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"pong")
        assert await reader.read(100) == b"pong"
        writer.close()
        assert relay.connections == 2
    server.close()


async def test_the_clock_jumps_at_a_thaw(stage: Stage) -> None:
    """Deadlines and event times are ahead by the jump."""
    hour_ms = 3_600_000
    code = "def handler(event, context):\n    return context.get_remaining_time_in_millis()\n"
    async with Emulator(stage.python_config(code, faults=Faults(clock_jump_ms=hour_ms))) as emulator:
        remaining_ms = (await emulator.invoke()).json()
        assert isinstance(remaining_ms, int)
        assert hour_ms < remaining_ms <= hour_ms + 10_000
        assert emulator.clock.wall_ms() - time.time() * 1000 > hour_ms - 1000


async def test_monotonic_clock_of_extensions_may_be_ahead(stage: Stage) -> None:
    """In a time namespace where the system permits one; elsewhere the init error says what failed."""
    path = executable(stage.opt / "puppet", "#!/bin/sh\ncat /proc/uptime\nexec sleep 600\n")
    faults = Faults(monotonic_offset_ms=10_000_000_000)
    config = stage.puppet_config(extensions=[path], faults=faults, init_timeout_ms=1000)
    async with Emulator(config) as emulator:
        await emulator.init()
        lines = [line for source, line in emulator.output if source == "extension:puppet"]
        assert lines
        permitted = not lines[0].startswith("unshare:")
        assert not permitted or float(lines[0].split()[0]) > 10_000_000
