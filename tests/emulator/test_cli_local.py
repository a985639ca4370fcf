"""`o2-lambda local run` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.emulator.conftest import Stage, executable

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-u", "-c", "from o2_lambda.cli.main import main; main()", "local", "run"]
CODE = """
import os

def handler(event, context):
    print("hi", os.environ.get("COLOUR"))
    if event.get("boom"):
        raise ValueError("boom")
    return event
"""


def o2_lambda(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder`."""
    command = [*COMMAND, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(stage: Stage) -> Path:
    """A folder with a function and an event."""
    (stage.folder / "app.py").write_text(CODE)
    (stage.folder / "event.json").write_text('{"k": 1}')
    return stage.folder


def test_runs_events_with_extensions_and_sums_up(folder: Path, stage: Stage) -> None:
    """Init, log lines, each invocation, the extension's end and a summary; exit status 0."""
    stage.probe()
    (folder / "vars").write_text("# comment\nexport COLOUR='blue'\nPROBE_PRINT=extension here\n")
    done = o2_lambda(
        folder, "app.handler", "--extensions", "extensions", "--event", "event.json", "--invocations", "2",
        "--env-file", "vars",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "[platform] init success" in done.stdout
    assert "[extension:probe] extension here" in done.stdout
    assert done.stdout.count("[function] hi blue") == 2
    assert done.stdout.count("[platform] invoke success") == 2
    assert "extension probe: exit 0" in done.stdout
    assert "2 of 2 succeeded" in done.stdout
    assert "\x1b" not in done.stdout


def test_json_output_is_one_object_per_line(folder: Path) -> None:
    """For programs; a function error gives exit status 1."""
    (folder / "event.json").write_text('{"boom": 1}')
    done = o2_lambda(folder, "app.handler", "--event", "event.json", "--json", "--env", "COLOUR=red")
    assert done.returncode == 1
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["kind"] for entry in entries if entry["kind"] != "log"] == [
        "init",
        "invocation",
        "shutdown",
        "summary",
    ]
    invocation = next(entry for entry in entries if entry["kind"] == "invocation")
    assert invocation["payload"]["errorType"] == "ValueError"
    assert {"kind": "log", "source": "function", "line": "hi red\n"} in entries


@pytest.mark.parametrize(("arguments", "culprit"), [
    (["nope.handler"], "nope.py"),
    (["handler"], "'handler' must be a module and a function"),
    (["app.handler", "--event", "missing.json"], "missing.json"),
    (["app.handler", "--event", "app.py"], "app.py is not JSON"),
    (["app.handler", "--env", "NOVALUE"], "NOVALUE"),
    (["app.handler", "--env", "AWS_REGION=x"], "AWS_REGION"),
    (["app.handler", "--env-file", "missing"], "missing"),
    (["app.handler", "--extensions", "missing"], "missing"),
    (["app.handler", "--extensions", "plain"], "chmod +x"),
    (["app.handler", "--task-root", "missing"], "missing"),
    (["app.handler", "--runtime", "no-such-runtime --x"], "no-such-runtime"),
    (["app.handler", "--runtime", "node"], "app.js"),
    (["app.handler", "--runtime", "java"], "java"),
    (["app.handler", "--fault", "nope=1"], "choose from"),
    (["app.handler", "--fault", "drop_posts=x"], "drop_posts=x"),
])  # fmt: skip
def test_bad_input_is_one_line_and_a_non_zero_exit(folder: Path, arguments: list[str], culprit: str) -> None:
    """The line names the culprit; there is never a traceback."""
    (folder / "plain").mkdir()
    (folder / "plain" / "extension").write_text("not executable")
    done = o2_lambda(folder, *arguments)
    assert done.returncode != 0
    assert culprit in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_node_without_its_client_says_what_to_install(folder: Path) -> None:
    """The package is looked for in the task root and the current folder."""
    (folder / "index.mjs").write_text("export const handler = async () => 1")
    executable(folder / "bin" / "node", "#!/bin/sh\necho v22.1.0\n")
    command = [*COMMAND, "index.handler", "--runtime", "node"]
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "npm install aws-lambda-ric" in done.stderr


def test_function_that_cannot_load_ends_with_its_error(folder: Path) -> None:
    """The runtime's own error type and message, exit status 1."""
    done = o2_lambda(folder, "app.missing")
    assert done.returncode == 1
    assert "Runtime.HandlerNotFound: Handler 'missing' missing on module 'app'" in done.stdout


def test_port_answers_until_interrupted(folder: Path) -> None:
    """The announced address takes invocations; Ctrl-C ends with exit status 0 and leaves nothing running."""
    command = [*COMMAND, "app.handler", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        notice = next(entry for line in process.stdout if (entry := json.loads(line))["kind"] == "notice")
        url = notice["text"].removeprefix("answering on ")
        with urllib.request.urlopen(urllib.request.Request(url, b'{"over":"http"}'), timeout=20) as answer:
            assert json.loads(answer.read()) == {"over": "http"}
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_function_url_answers_any_request(folder: Path) -> None:
    """The announced address takes plain HTTP, and the function sees it as an event."""
    command = [*COMMAND, "app.handler", "--function-url", "0", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        notice = next(entry for line in process.stdout if (entry := json.loads(line))["kind"] == "notice")
        url = notice["text"].removeprefix("the function's URL is ")
        with urllib.request.urlopen(f"{url}a/b?c=d", timeout=20) as answer:
            assert json.loads(answer.read())["rawPath"] == "/a/b"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_memory_limits_the_cpu_or_says_why_not(folder: Path) -> None:
    """A small function loads slower; where no control group may be set, a line says so."""
    done = o2_lambda(folder, "app.handler", "--memory", "128", "--json", "--timeout", "20")
    assert done.returncode == 0
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    notices = [entry["text"] for entry in entries if entry["kind"] == "notice"]
    init_ms = next(entry["duration_ms"] for entry in entries if entry["kind"] == "init")
    assert init_ms > 100 or any("no CPU quota" in notice for notice in notices)


@pytest.mark.xdist_group("serial")
def test_memory_size_is_enforced(folder: Path) -> None:
    """A function that takes more is killed, and the command fails."""
    (folder / "greedy.py").write_text("def handler(event, context):\n    return len(b'x' * (300 << 20))\n")
    done = o2_lambda(folder, "greedy.handler", "--memory", "1769", "--json")
    assert done.returncode == 0, done.stdout
    done = o2_lambda(folder, "greedy.handler", "--memory", "256", "--json", "--timeout", "60")
    assert done.returncode == 1
    [result] = [entry for line in done.stdout.splitlines() if (entry := json.loads(line))["kind"] == "invocation"]
    assert result["error_type"] == "Runtime.OutOfMemory"


def test_snap_start_restores_before_the_first_invocation(folder: Path) -> None:
    """The restore is told and billed; the init is not."""
    options = ("--initialization-type", "snap-start", "--snapshot-age", "3600", "--invocations", "2")
    done = o2_lambda(folder, "app.handler", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    invocations = [line for line in done.stdout.splitlines() if "invoke success" in line]
    assert ["restore" in line for line in invocations] == [True, False]


def test_tenants_take_turns(folder: Path) -> None:
    """Each gets an environment of its own."""
    (folder / "tenants.py").write_text("def handler(event, context):\n    return context.tenant_id\n")
    options = ("--tenant", "a", "--tenant", "b", "--invocations", "3", "--json")
    done = o2_lambda(folder, "tenants.handler", *options)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["payload"] for entry in entries if entry["kind"] == "invocation"] == ["a", "b", "a"]


def test_durable_executions_are_replayed(folder: Path) -> None:
    """Until the function does not answer PENDING any more."""
    answer = "{'Status': left.pop() if left else 'DONE'}"
    code = f"left = ['PENDING', 'PENDING']\ndef handler(event, context):\n    return {answer}\n"
    (folder / "durable.py").write_text(code)
    done = o2_lambda(folder, "durable.handler", "--durable", "--json")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    statuses = [entry["payload"]["Status"] for entry in entries if entry["kind"] == "invocation"]
    assert statuses == ["PENDING", "PENDING", "DONE"]
