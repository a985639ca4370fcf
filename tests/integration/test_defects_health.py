"""What users of the reference met: its health check. Each test would have failed there, as `plants.py` proves."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import trustme

from tests.integration.rig import CREDENTIALS
from tests.integration.secured import server_context

if TYPE_CHECKING:
    from tests.integration.rig import Arena
    from tests.integration.stub_sink import StubSink


def health_check(arena: Arena, sink: StubSink, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the check against a sink."""
    environment = {
        "O2_ENDPOINT": sink.url,
        "O2_ORGANIZATION_ID": "default",
        "O2_AUTHORIZATION_HEADER": CREDENTIALS,
        **settings,
    }
    command = [str(arena.launcher()), "--health-check", *arguments]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=arena.patience_s, check=False
    )
    arena.outputs.append((result.stdout + result.stderr).splitlines())
    return result


def test_an_invalid_certificate_is_refused(arena: Arena) -> None:
    """Invalid certificates were accepted while real credentials were sent.

    Users saw: nothing; whoever sat between them and OpenObserve had their credentials.
    """
    sink = arena.sink(server_context(trustme.CA()))
    result = health_check(arena, sink)
    assert result.returncode == 1
    assert "certificate" in result.stdout
    assert not sink.requests
    assert not sink.probes


def test_success_is_told(arena: Arena) -> None:
    """Nothing was printed on success. Users saw: an empty screen, and did not know whether it had run at all."""
    result = health_check(arena, arena.sink())
    assert result.returncode == 0
    for step in ("Settings", "Connection", "Credentials", "Test entry"):
        assert f"✓ {step}" in result.stdout


def test_no_row_is_written_where_none_is_wanted(arena: Arena) -> None:
    """A fake row was written into the production stream. Users saw: alarms and dashboards that counted it."""
    sink = arena.sink()
    assert health_check(arena, sink, "--no-test-entry").returncode == 0
    assert not sink.requests


def test_the_row_that_is_written_is_marked(arena: Arena) -> None:
    """By default there is one row, which says what it is and does not look like a function's."""
    sink = arena.sink()
    assert health_check(arena, sink).returncode == 0
    [record] = sink.records
    assert record["type"] == "health_check"
    assert "test entry" in record["message"]
