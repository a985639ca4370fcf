"""The environments of extension and runtime are exactly AWS's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from o2_lambda.emulator import ConfigError, Emulator, LambdaConfig

if TYPE_CHECKING:
    from tests.emulator.conftest import Stage

EXTENSION_NAMES = {
    "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_LEVEL",
    "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CUSTOMER", "LANG",
    "LD_LIBRARY_PATH", "PATH", "TZ",
}  # fmt: skip
RUNTIME_ONLY = {
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR", "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS", "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT", "_HANDLER",
}  # fmt: skip


def probe_log(path: Path, kind: str) -> list[dict[str, object]]:
    """Return what the probe logged."""
    return [entry for line in path.read_text().splitlines() if (entry := json.loads(line))["kind"] == kind]


async def test_each_process_sees_exactly_its_variables(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own environment does not leak; the runtime's variables stay the runtime's."""
    monkeypatch.setenv("DEVELOPERS_OWN", "1")
    log = stage.folder / "probe.log"
    code = "import os\ndef handler(event, context):\n    return dict(os.environ)\n"
    config = stage.python_config(
        code,
        extensions=[stage.probe()],
        environment={"CUSTOMER": "1"},
        extension_environment_extra={"PROBE_LOG": str(log)},
        freeze=False,
    )
    async with Emulator(config) as emulator:
        result = await emulator.invoke()
        runtime = result.json()
        assert isinstance(runtime, dict)
        entry = probe_log(log, "env")[0]
        extension = entry["env"]
        assert isinstance(extension, dict)
        # LC_CTYPE is Python's own doing (PEP 538), in the probe's process and the runtime's alike.
        assert set(extension) - {"LC_CTYPE"} == EXTENSION_NAMES | {"PROBE_LOG"}
        assert extension["TZ"] == ":UTC"
        assert extension["PATH"] == "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
        assert extension["LD_LIBRARY_PATH"].startswith("/var/lang/lib:/lib64:")
        assert extension["AWS_LAMBDA_RUNTIME_API"] == emulator.runtime_api
        names = set(runtime) - {"LC_CTYPE", "_X_AMZN_TRACE_ID"}
        assert names == EXTENSION_NAMES | RUNTIME_ONLY
        assert runtime["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/my-function"
        assert runtime["LAMBDA_TASK_ROOT"] == str(stage.folder)
        assert entry["pgid"] == entry["pid"] != os.getpgid(0)


async def test_credentials_given_replace_the_example_ones(stage: Stage) -> None:
    """Long-lived keys come without a made-up session token."""
    environment = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}
    names = ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"]
    code = f"import os\ndef handler(event, context):\n    return [os.environ.get(name) for name in {names}]\n"
    async with Emulator(stage.python_config(code, environment=environment)) as emulator:
        assert (await emulator.invoke()).json() == ["AKIA", None]


async def test_exec_wrapper_starts_the_runtime(stage: Stage) -> None:
    """AWS_LAMBDA_EXEC_WRAPPER gets the runtime's command line, as on AWS's managed runtimes."""
    wrapper = stage.folder / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')
    wrapper.chmod(0o755)
    code = "import os\ndef handler(event, context):\n    return os.environ['WRAPPED']\n"
    async with Emulator(stage.python_config(code, environment={"AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)})) as emulator:
        assert (await emulator.invoke()).json() == "yes"


@pytest.mark.parametrize(("changes", "culprit"), [
    ({"environment": {"AWS_REGION": "x"}}, "AWS_REGION"),
    ({"environment": {"1X": "x"}}, "1X"),
    ({"runtime_command": []}, "runtime command"),
    ({"memory_mb": 64}, "memory_mb"),
    ({"log_format": "XML"}, "log_format"),
    ({"task_root": Path("/no/such")}, "/no/such"),
])  # fmt: skip
def test_bad_settings_name_the_culprit(changes: dict[str, object], culprit: str) -> None:
    """One line, before anything starts."""
    settings: dict[str, object] = {"runtime_command": ["true"], **changes}
    with pytest.raises(ConfigError, match=culprit):
        LambdaConfig(**settings)  # type: ignore[arg-type]
