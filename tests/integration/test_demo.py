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
