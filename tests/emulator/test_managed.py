"""Managed instances: many invocations side by side, no INVOKE events, no runtimeDone, no freeze."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from o2_lambda.emulator import Emulator, LambdaConfig
from tests.emulator.conftest import Puppet, Sink, Stage, eventually, kinds, record_of

if TYPE_CHECKING:
    import aiohttp

MANAGED = "lambda-managed-instances"


def managed(stage: Stage, code: str, **settings: Any) -> LambdaConfig:
    """A Python function on managed instances with three workers."""
    return stage.python_config(code, **{"initialization_type": MANAGED, "max_concurrency": 3, **settings})


async def test_invocations_run_side_by_side(stage: Stage) -> None:
    """Three invocations wait for each other in the function: serial service would never end."""
    code = f"""
import os, time
FOLDER = {str(stage.folder)!r}
def handler(event, context):
    open(f"{{FOLDER}}/here-{{event}}", "w").close()
    while len([name for name in os.listdir(FOLDER) if name.startswith("here-")]) < 3:
        time.sleep(0.01)
    return event
"""
    async with Emulator(managed(stage, code)) as emulator:
        results = await asyncio.gather(*(emulator.invoke(str(number).encode()) for number in range(3)))
        assert sorted(result.json() for result in results) == [0, 1, 2]
        assert "platform.runtimeDone" not in kinds(emulator)
        report = record_of(emulator, "platform.report")
        assert set(report["metrics"]) == {"durationMs"}
        assert [span["name"] for span in report["spans"]] == ["responseLatency", "responseDuration"]
        assert not any(fact.kind == "freeze" for fact in emulator.timeline)


async def test_extensions_register_for_shutdown_only(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """INVOKE is refused, older schemas too; a parked next ends with SHUTDOWN."""
    config = stage.puppet_config(initialization_type=MANAGED)
    async with Emulator(config) as emulator:
        puppet = Puppet(emulator, session)
        init = asyncio.create_task(emulator.init())
        await puppet.spawned("puppet")
        refused = await puppet.register(events=("INVOKE", "SHUTDOWN"))
        assert refused.status == 403
        assert refused.json == {
            "errorMessage": "INVOKE: ErrorInvalidEventType", "errorType": "Extension.InvalidEventType",
        }  # fmt: skip
        assert (await puppet.register(events=("SHUTDOWN",))).status == 200
        assert (await puppet.subscribe(sink.destination)).status == 400
        assert (await puppet.subscribe(sink.destination, schemaVersion="2025-01-29")).status == 200
        await puppet.spawned("runtime")
        event_call, runtime_call = puppet.next(), puppet.runtime_next()
        assert (await init).status == "success"
        shutdown = asyncio.create_task(emulator.shutdown())
        assert (await event_call).json["eventType"] == "SHUTDOWN"
        await shutdown
        await runtime_call


async def test_a_crash_ends_the_environment(stage: Stage) -> None:
    """Every invocation in progress fails; the next one gets a new environment."""
    code = "import time\ndef handler(event, context):\n    time.sleep(event.get('s', 0))\n    return 'ok'\n"
    async with Emulator(managed(stage, code, timeout_ms=20_000)) as emulator:
        running = [emulator.begin_invoke(b'{"s": 30}') for _ in range(2)]
        await eventually(lambda: kinds(emulator).count("platform.start") == 2, emulator)
        os.kill(emulator.pid("runtime"), signal.SIGKILL)
        results = await asyncio.gather(*(invocation.done for invocation in running))
        assert {result.error_type for result in results} == {"Runtime.ExitError"}
        await eventually(lambda: emulator.state == "IDLE", emulator)
        assert (await emulator.invoke()).json() == "ok"
        assert kinds(emulator).count("platform.initStart") == 2


async def test_logs_are_always_json(stage: Stage) -> None:
    """Whatever the configuration says."""
    names = ["AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_MAX_CONCURRENCY"]
    code = f"import os\ndef handler(event, context):\n    return [os.environ[name] for name in {names}]\n"
    async with Emulator(managed(stage, code, log_format="Text")) as emulator:
        assert (await emulator.invoke()).json() == ["JSON", "3"]
