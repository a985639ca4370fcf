"""Init, invoke, freeze, reset and shutdown with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.emulator import Emulator, EmulatorError, LambdaConfig, LocalLambda
from tests.emulator.conftest import Puppet, Stage, eventually, executable, kinds, record_of

if TYPE_CHECKING:
    import aiohttp


def probed(stage: Stage, code: str | None = None, **settings: Any) -> tuple[LambdaConfig, Path]:
    """A Python function with the probe extension, and the probe's log. PROBE_* settings go to the probe."""
    log = stage.folder / "probe.log"
    probe = {name: value for name, value in settings.items() if name.startswith("PROBE_")}
    rest = {name: value for name, value in settings.items() if name not in probe}
    extra = {"extension_environment_extra": {"PROBE_LOG": str(log), **probe}, "extensions": [stage.probe()]}
    arguments = (code,) if code else ()
    return stage.python_config(*arguments, **{**extra, **rest}), log


def logged(log: Path, kind: str) -> list[dict[str, Any]]:
    """What the probe logged of `kind`."""
    return [entry for line in log.read_text().splitlines() if (entry := json.loads(line))["kind"] == kind]


async def test_invoke_returns_the_functions_answer(stage: Stage) -> None:
    """A success, an exception, and the extension sees both requests."""
    code = (
        "def handler(event, context):\n    if event.get('boom'):\n        raise ValueError('boom')\n    return event\n"
    )
    config, log = probed(stage, code)
    async with Emulator(config) as emulator:
        good = await emulator.invoke(b'{"k": 1}')
        assert (good.json(), good.status, good.function_error, good.outcome) == ({"k": 1}, 200, None, "success")
        assert good.init_duration_ms is not None
        assert good.billed_duration_ms >= good.duration_ms + good.init_duration_ms
        bad = await emulator.invoke(b'{"boom": true}')
        assert (bad.function_error, bad.outcome, bad.error_type) == ("Unhandled", "error", "ValueError")
        assert bad.init_duration_ms is None
        ends = await emulator.shutdown()
        assert ends.extensions["probe"].returncode == 0
        assert not ends.extensions["probe"].killed
    events = [entry["event"]["eventType"] for entry in logged(log, "event")]
    assert events == ["INVOKE", "INVOKE", "SHUTDOWN"]
    assert [entry["event"].get("requestId") for entry in logged(log, "event")][:2] == [good.request_id, bad.request_id]


async def test_the_first_telemetry_comes_in_awss_order(stage: Stage) -> None:
    """Replayed events, init, start, logs, runtimeDone; the report only with the next invocation."""
    config, _log = probed(
        stage,
        "print('loading')\ndef handler(event, context):\n    print('hi')\n",
        PROBE_SUBSCRIBE="1",
        PROBE_WAIT_DONE="1",
    )
    async with Emulator(config) as emulator:
        first = await emulator.invoke()
        before = [event["type"] for event in emulator.telemetry_sent["probe"]]
        assert before == [
            "platform.initStart", "platform.telemetrySubscription", "function", "platform.initRuntimeDone",
            "platform.extension", "platform.initReport", "platform.start", "function", "platform.runtimeDone",
        ]  # fmt: skip
        await emulator.invoke()
        sent = emulator.telemetry_sent["probe"]
        assert [event["type"] for event in sent[len(before) :]] == [
            "platform.report", "platform.start", "function", "platform.runtimeDone",
        ]  # fmt: skip
        report = sent[len(before)]["record"]
        assert report["requestId"] == first.request_id
        assert report["metrics"]["billedDurationMs"] == first.billed_duration_ms
        assert report["metrics"]["initDurationMs"] == pytest.approx(first.init_duration_ms, abs=0.001)
        assert [span["name"] for span in report["spans"]] == ["extensionOverhead"]
        await emulator.shutdown()
        assert [event["type"] for event in emulator.telemetry_sent["probe"]][-1] == "platform.report"


def is_stopped(pid: int) -> bool:
    """Whether a process is in state T."""
    return "T (stopped)" in Path(f"/proc/{pid}/status").read_text()


class Ticker:
    """The probe's counting thread, read from its file."""

    def __init__(self, log: Path) -> None:
        self._file = Path(f"{log}.tick")

    def read(self) -> str:
        """Return the count."""
        return self._file.read_text()


async def test_freeze_stops_every_process(stage: Stage) -> None:
    """A thread that counts stands still between invocations, and goes on with the next."""
    config, log = probed(stage, PROBE_TICK="1")
    tick = Ticker(log)
    frozen_at: list[str] = []
    async with Emulator(config) as emulator:
        thawed_at: list[str] = []
        emulator.on_freeze.append(lambda: frozen_at.append("freeze"))
        emulator.on_thaw.append(lambda: thawed_at.append(tick.read()))
        await emulator.invoke()
        await asyncio.sleep(0.05)  # let the stop signal arrive, then watch for a while
        assert is_stopped(emulator.pid("probe"))
        assert is_stopped(emulator.pid("runtime"))
        before = tick.read()
        await asyncio.sleep(0.2)
        assert tick.read() == before
        await emulator.invoke()
        assert thawed_at[-1] == before
        assert frozen_at == ["freeze", "freeze"]


async def test_without_freeze_processes_go_on(stage: Stage) -> None:
    """The control of the test above."""
    config, log = probed(stage, PROBE_TICK="1", freeze=False)
    tick = Ticker(log)
    async with Emulator(config) as emulator:
        await emulator.invoke()
        before = tick.read()
        await asyncio.sleep(0.2)
        assert tick.read() != before


async def test_the_client_is_answered_before_extensions_are_done(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The response future is ready while the phase still waits for an extension."""
    async with Emulator(stage.puppet_config(timeout_ms=20_000)) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started()
        invocation = emulator.begin_invoke()
        await asyncio.gather(puppet.event_call, puppet.runtime_call)
        await puppet.respond(invocation.request_id, b'{"early":true}')
        assert (await invocation.response).payload == b'{"early":true}'
        runtime_call = puppet.runtime_next()
        await eventually(lambda: "platform.runtimeDone" in kinds(emulator), emulator)
        assert not invocation.done.done()
        assert emulator.state == "INVOKE"
        event_call = puppet.next()
        result = await invocation.done
        assert result.extension_overhead_ms > 0
        assert result.response_ms is not None
        assert result.response_ms < result.duration_ms
        await emulator.shutdown()
        await asyncio.gather(event_call, runtime_call)


async def test_function_timeout_resets_and_reinitialises(stage: Stage) -> None:
    """RuntimeDone and report say timeout, the extension is shut down, the next invoke has a suppressed init."""
    code = "import time\ndef handler(event, context):\n    time.sleep(event.get('s', 0))\n    return 'ok'\n"
    config, log = probed(stage, code, timeout_ms=1500)
    async with Emulator(config) as emulator:
        late = await emulator.invoke(b'{"s": 30}')
        assert (late.outcome, late.function_error) == ("timeout", "Unhandled")
        assert late.json() == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {late.request_id} Error: Task timed out after 1.50 seconds",
        }
        assert late.duration_ms >= 1500
        assert record_of(emulator, "platform.runtimeDone")["status"] == "timeout"
        assert record_of(emulator, "platform.report")["status"] == "timeout"
        assert emulator.state == "IDLE_SUPPRESSED"
        assert logged(log, "event")[-1]["event"]["shutdownReason"] == "timeout"
        good = await emulator.invoke()
        assert (good.json(), good.init_duration_ms) == ("ok", None)
        assert record_of(emulator, "platform.initReport")["phase"] == "invoke"


async def test_runtime_crash_fails_the_invocation(stage: Stage) -> None:
    """The error names the exit; the environment is replaced."""
    code = "import os\ndef handler(event, context):\n    if event:\n        os._exit(event['exit'])\n    return 'ok'\n"
    config, log = probed(stage, code)
    async with Emulator(config) as emulator:
        crashed = await emulator.invoke(b'{"exit": 7}')
        assert (crashed.outcome, crashed.error_type) == ("failure", "Runtime.ExitError")
        assert "exit status 7" in crashed.payload.decode()
        assert logged(log, "event")[-1]["event"]["shutdownReason"] == "failure"
        assert record_of(emulator, "platform.runtimeDone")["errorType"] == "Runtime.ExitError"
        assert (await emulator.invoke()).json() == "ok"


async def test_extension_exit_with_code_zero_is_a_crash(stage: Stage) -> None:
    """Any exit outside shutdown resets the environment."""
    config, _log = probed(
        stage, "import time\ndef handler(event, context):\n    time.sleep(5)\n", PROBE_EXIT_ON="INVOKE"
    )
    async with Emulator(config) as emulator:
        result = await emulator.invoke()
        assert (result.outcome, result.error_type, result.function_error) == ("failure", "Extension.Crash", "Unhandled")


async def test_exit_while_idle_fails_the_next_invoke_without_the_handler(stage: Stage) -> None:
    """The exit is latched; the handler does not run; the invoke after that works."""
    marker = stage.folder / "ran"
    code = f"def handler(event, context):\n    open({str(marker)!r}, 'a').write('x')\n    return 'ok'\n"
    config, _log = probed(stage, code)
    async with Emulator(config) as emulator:
        await emulator.invoke()
        os.kill(emulator.pid("probe"), signal.SIGKILL)
        await eventually(lambda: any(fact.kind == "fatal" for fact in emulator.timeline), emulator)
        failed = await emulator.invoke()
        assert failed.error_type == "Extension.Crash"
        answers = [fact.detail for fact in emulator.timeline if fact.kind == "api.answer"]
        handed_out = [a for a in answers if a["path"].endswith("/invocation/next") and a["status"] == 200]
        assert len(handed_out) == 1
        assert marker.read_text() == "x"
        assert (await emulator.invoke()).json() == "ok"


async def test_init_failure_is_repeated_within_the_first_invoke(stage: Stage) -> None:
    """Suppressed init: the first attempt is reported with phase init, the second with phase invoke."""
    config, _log = probed(stage, "raise RuntimeError('no way')\n")
    async with Emulator(config) as emulator:
        assert emulator.init_result is not None
        assert (emulator.init_result.status, emulator.init_result.error_type) == ("error", "RuntimeError")
        assert emulator.state == "IDLE_SUPPRESSED"
        result = await emulator.invoke()
        assert result.function_error == "Unhandled"
        assert b"no way" in result.payload
        reports = [
            fact.detail["record"] for fact in emulator.timeline if fact.detail.get("type") == "platform.initReport"
        ]
        assert [(report["phase"], report["status"]) for report in reports] == [("init", "error"), ("invoke", "error")]


async def test_init_timeout_resets(stage: Stage) -> None:
    """An extension that never registers: initReport says timeout, no runtime is started."""
    config, _log = probed(stage, PROBE_SILENT="1", init_timeout_ms=300, timeout_ms=500)
    async with Emulator(config) as emulator:
        assert emulator.init_result is not None
        assert emulator.init_result.status == "timeout"
        assert not any(fact.kind == "spawn" and fact.detail["name"] == "runtime" for fact in emulator.timeline)
        result = await emulator.invoke()
        assert result.outcome == "timeout"


async def test_wrong_name_is_an_internal_extension_and_init_times_out(stage: Stage) -> None:
    """External extensions must use the base name of their file."""
    config, _log = probed(stage, PROBE_NAME="other", PROBE_EVENTS="INVOKE", init_timeout_ms=500)
    async with Emulator(config) as emulator:
        assert emulator.init_result is not None
        assert emulator.init_result.status == "timeout"


@pytest.mark.parametrize(("text", "mode"), [("not a program\n", 0o755), ("#!/bin/sh\n", 0o644)])
async def test_extension_that_cannot_start_fails_init(stage: Stage, text: str, mode: int) -> None:
    """A launch error is told by platform.extension and ends init."""
    path = executable(stage.opt / "broken", text)
    path.chmod(mode)
    async with Emulator(stage.python_config(extensions=[path])) as emulator:
        assert emulator.init_result is not None
        assert emulator.init_result.error_type == "Extension.LaunchError"
        assert record_of(emulator, "platform.extension")["state"] == "LaunchError"


async def test_more_than_ten_extensions_fail_init(stage: Stage) -> None:
    """Ten is AWS's limit."""
    files = [stage.sleeper(f"e{number:02}") for number in range(11)]
    async with Emulator(stage.python_config(extensions=files)) as emulator:
        assert emulator.init_result is not None
        assert emulator.init_result.error_type == "Extension.TooManyExtensions"


async def test_missing_runtime_is_an_init_error(stage: Stage) -> None:
    """One line names the command."""
    async with Emulator(stage.python_config(runtime_command=["/no/such/runtime"])) as emulator:
        assert emulator.init_result is not None
        assert emulator.init_result.error_type == "Runtime.InvalidEntrypoint"
        assert "/no/such/runtime" in emulator.init_result.message


async def test_stubborn_extension_is_killed_at_the_deadline(stage: Stage) -> None:
    """SHUTDOWN carries start + 2000 ms, never a SIGTERM; who polls on is killed then."""
    config, log = probed(stage, PROBE_STUBBORN="1")
    async with Emulator(config) as emulator:
        await emulator.invoke()
        result = await emulator.shutdown()
        end = result.extensions["probe"]
        assert end.killed
        assert end.returncode == -9
        assert end.took_ms >= 1990
    event = logged(log, "event")[-1]
    assert event["event"]["shutdownReason"] == "spindown"
    assert 1000 < event["event"]["deadlineMs"] - event["at_ms"] <= 2000


async def test_runtime_gets_sigterm_then_sigkill_before_extensions_hear_of_shutdown(
    stage: Stage, session: aiohttp.ClientSession
) -> None:
    """The order: SIGTERM, grace, SIGKILL, SHUTDOWN event."""
    deaf = "#!/bin/sh\ntrap 'echo term' TERM\necho ready\nwhile :; do sleep 0.05; done\n"
    bootstrap = executable(stage.folder / "deaf", deaf)
    config = stage.puppet_config(runtime_command=[bootstrap], extensions=[stage.probe()])
    async with Emulator(config) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("runtime")
        emulator.record.on_output.append(lambda line: emulator.record.note("output", line=line.line))
        await eventually(lambda: ("function", "ready\n") in emulator.output, emulator)
        runtime_call = puppet.runtime_next()
        await init
        result = await emulator.shutdown()
        await runtime_call
        assert result.runtime is not None
        assert result.runtime.killed
        assert result.runtime.took_ms >= 290
        assert result.extensions["probe"].took_ms > result.runtime.took_ms
        assert ("function", "term\n") in emulator.output
        kinds_and_names = [(fact.kind, fact.detail.get("name")) for fact in emulator.timeline]
        gone = kinds_and_names.index(("exit", "runtime"))
        told = max(at for at, entry in enumerate(kinds_and_names) if entry == ("extension.state", "probe"))
        assert kinds_and_names.index(("sigterm", "runtime")) < gone < told


async def test_not_subscribed_to_shutdown_is_killed_at_once(stage: Stage) -> None:
    """No event, no waiting."""
    config, _log = probed(stage, PROBE_EVENTS="INVOKE")
    async with Emulator(config) as emulator:
        await emulator.invoke()
        result = await emulator.shutdown()
        assert result.extensions["probe"].killed
        assert result.took_ms < 1500


async def test_without_extensions_the_runtime_is_killed_at_once(stage: Stage) -> None:
    """No SIGTERM for a function without extensions."""
    async with Emulator(stage.python_config()) as emulator:
        await emulator.invoke()
        assert (await emulator.shutdown()).runtime is not None
        assert not any(fact.kind == "sigterm" for fact in emulator.timeline)
        with pytest.raises(EmulatorError, match="shut down"):
            emulator.begin_invoke()


async def test_extension_error_report_during_invoke_resets(stage: Stage) -> None:
    """exit/error is fatal and its type is told."""
    config, log = probed(
        stage, "import time\ndef handler(event, context):\n    time.sleep(5)\n", PROBE_ERROR_ON="INVOKE"
    )
    async with Emulator(config) as emulator:
        result = await emulator.invoke()
        assert result.error_type == "Extension.ExitError"
        assert logged(log, "error")[0]["status"] == 202


def test_sync_facade_runs_in_its_own_thread(stage: Stage) -> None:
    """The same calls without async, and init within the first invoke when asked."""
    with LocalLambda(stage.python_config(eager_init=False)) as function:
        assert function.init_result is None
        result = function.invoke(b'{"a": 2}')
        assert result.json() == {"a": 2}
        assert function.init_result is not None
        assert function.shutdown("spindown").reason == "spindown"


async def test_concurrent_invokes_take_turns(stage: Stage) -> None:
    """One environment serves one invocation at a time."""
    async with Emulator(stage.python_config()) as emulator:
        results = await asyncio.gather(*(emulator.invoke(str(number).encode()) for number in range(5)))
        assert [result.json() for result in results] == list(range(5))


async def test_custom_runtime_in_shell(stage: Stage) -> None:
    """Any program that speaks the Runtime API will do."""
    bootstrap = executable(
        stage.folder / "bootstrap",
        "#!/bin/sh\nset -eu\napi=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation\n"
        "while :; do\n  event=$(curl -sS -D headers $api/next)\n"
        "  id=$(grep -i lambda-runtime-aws-request-id headers | tr -d '\\r' | cut -d' ' -f2)\n"
        '  curl -sS -o /dev/null -d "$event" $api/$id/response\ndone\n',
    )
    config = stage.python_config(runtime_command=[bootstrap], pass_handler=False)
    async with Emulator(config) as emulator:
        assert (await emulator.invoke(b'{"shell":1}')).json() == {"shell": 1}
