"""The demo, as a user sees it first: sample or own function, extension and backend on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from o2_lambda.cli import demo
from o2_lambda.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(autouse=True)
def _any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "OTLP_PORT", 0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["demo", "--port", "0", *arguments])


def test_the_sample_arrives() -> None:
    """Logs, traces and metrics; a trace as a tree; the invocation that fails does so on purpose."""
    result = run()
    assert result.exit_code == 0, result.output
    for part in ("order 1 received", "└── handle order", "everything arrived", "4 invocations, 1 failed on purpose"):
        assert part in result.output


def test_a_function_of_the_users_own_arrives(tmp_path: Path) -> None:
    """Its lines do, and its failures are its own."""
    (tmp_path / "app.py").write_text("def handler(event, context):\n    print('mine')\n    return event['missing']\n")
    result = run("app.handler", "--task-root", str(tmp_path), "--invocations", "2")
    assert result.exit_code == 0, result.output
    assert "mine" in result.output
    assert "2 invocations, 2 failed\n" in result.output


EXPORTS = """
import json, os, time, urllib.request

def export(path, **request):
    url = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + path
    body = json.dumps(request).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()

def handler(event, context):
    now = {"timeUnixNano": str(time.time_ns())}
    record = {**now, "body": {"stringValue": "by OTLP"}}
    export("/v1/logs", resourceLogs=[{"scopeLogs": [{"logRecords": [record]}]}])
    point = {**now, "count": "1", "sum": 1, "bucketCounts": ["1", "0"], "explicitBounds": [5]}
    metric = {"name": "size", "histogram": {"aggregationTemporality": 1, "dataPoints": [point]}}
    export("/v1/metrics", resourceMetrics=[{"scopeMetrics": [{"metrics": [metric]}]}])
"""


def test_everything_arrives_of_a_function_that_exports_logs_and_histograms(tmp_path: Path) -> None:
    """A histogram is several rows at the backend, and logs of both kinds lie in one stream there."""
    (tmp_path / "app.py").write_text(EXPORTS)
    result = run("app.handler", "--task-root", str(tmp_path), "--invocations", "3")
    assert result.exit_code == 0, result.output
    table = [line.split()[1:8:2] for line in result.output.splitlines() if line.startswith("│")]
    assert ["otlp_logs", "3", "3", "3"] in table
    [logs] = [counts for name, *counts in table if name == "logs"]
    assert len(set(logs)) == 1
