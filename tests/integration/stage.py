"""A Lambda function under the emulator, with the real Python runtime client and the extension, sending to a backend."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from o2_lambda.emulator import LambdaConfig, LocalLambda
from tests.integration.process import write_launcher

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.backend import BackendServer
    from tests.integration.rig import Settings

EXTENSION = "o2-lambda-extension"
SAMPLE = """\
import json, logging, os, sys, time

logging.getLogger().setLevel(logging.INFO)
print("loading")


def handler(event, context):
    for number in range(event.get("lines", 2)):
        print(event.get("text", "line"), number)
    if event.get("sleep_ms"):
        time.sleep(event["sleep_ms"] / 1000)
    logging.info("handled %s", event.get("name", "nothing"))
    if event.get("crash"):
        print("last words")
        sys.stdout.flush()
        os._exit(3)
    if event.get("raise"):
        raise ValueError("planned")
    if event.get("big"):
        print("<" + "x" * event["big"] + ">")
    return {"requestId": context.aws_request_id}
"""


class Stage:
    """Builds functions for one test."""

    def __init__(self, folder: Path, backend: BackendServer) -> None:
        self.folder = folder
        self.backend = backend
        self.code = SAMPLE

    def environment(self, **settings: Any) -> dict[str, str]:
        """The function's environment variables; a setting of None is left out."""
        defaults = {
            "O2_ENDPOINT": self.backend.url,
            "O2_ORGANIZATION_ID": self.backend.config.organization,
            "O2_AUTHORIZATION_HEADER": self.backend.authorization_header,
            "O2_OTLP_PORT": "0",
            "O2_ENHANCED_METRICS": "false",
        }
        return {name: value for name, value in {**defaults, **settings}.items() if value is not None}

    def config(self, *, patch: str = "", settings: Settings | None = None, **changes: Any) -> LambdaConfig:
        """A function with the extension; `changes` are fields of LambdaConfig."""
        (self.folder / "app.py").write_text(self.code)
        fields = {
            "runtime_command": [sys.executable, "-m", "awslambdaric"],
            "handler": "app.handler",
            "task_root": self.folder,
            "extensions": [write_launcher(self.folder / "opt", patch)],
            "environment": self.environment(**(settings or {})),
            "timeout_ms": 10_000,
            "freeze": True,
            **changes,
        }
        return LambdaConfig(**fields)

    def function(self, **changes: Any) -> LocalLambda:
        """The same, ready for `with`."""
        return LocalLambda(self.config(**changes))

    def stored(self, kind: str = "") -> list[dict[str, Any]]:
        """What the backend holds of the log stream, oldest first; of one type where it is named."""
        rows = self.backend.rows("logs", "default")
        return [row for row in rows if not kind or row.get("type") == kind]


def printed(function: LocalLambda) -> list[str]:
    """The extension's own lines so far."""
    return [line.line for line in function.output if line.source == f"extension:{EXTENSION}"]


def ledger(function: LocalLambda) -> dict[str, Any]:
    """The ledger that the extension printed at its end."""
    lines = [line for line in printed(function) if line.startswith('{"ledger"')]
    assert len(lines) == 1, printed(function)
    found: dict[str, Any] = json.loads(lines[0])["ledger"]
    return found


def sent(function: LocalLambda) -> list[dict[str, Any]]:
    """The telemetry events that the extension accepted, in order."""
    return function.telemetry_sent.get(EXTENSION, [])


def assert_ended_well(function: LocalLambda) -> None:
    """The extension has never been killed, and has exited with status 0."""
    result = function.emulator.last_shutdown
    assert result is not None
    end = result.extensions[EXTENSION]
    assert (end.returncode, end.killed) == (0, False), printed(function)
