"""Another vendor's extension, written without knowledge of ours, on our emulator: alone, and side by side with ours."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from .conftest import NODE_MODULES, exclusive, node_unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from o2_lambda.emulator import LocalLambda

    from .conftest import Scene

NAME = "sentry-extension"
PORT = 9000
SCRIPT = NODE_MODULES / "@sentry" / "aws-serverless" / "build" / "lambda-extension" / "index.mjs"
MISSING = node_unavailable("@sentry/aws-serverless")
pytestmark = [
    pytest.mark.xdist_group("serial"),
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "available"),
]

# What the vendor's own launcher does, which looks for the script below /opt.
LAUNCHER = """\
#!/bin/sh
unset NODE_OPTIONS
exec {node} {script}
"""


@pytest.fixture
def sentry(tmp_path: Path) -> Iterator[Path]:
    """The extension's file, and the port that it always takes."""
    path = tmp_path / "sentry" / NAME
    path.parent.mkdir()
    path.write_text(LAUNCHER.format(node=shutil.which("node"), script=SCRIPT))
    path.chmod(0o755)
    with exclusive(PORT):
        yield path


def states(function: LocalLambda, name: str) -> list[str]:
    return [
        fact.detail["state"]
        for fact in function.timeline
        if fact.kind == "extension.state" and fact.detail["name"] == name
    ]


def test_it_lives_through_invocations_alone(scene: Scene, sentry: Path) -> None:
    """It registers, polls, and is released for each invocation; it polls on after SHUTDOWN and is killed."""
    with scene.python("obedient.py", extensions=[sentry]) as function:
        for number in range(3):
            result = function.invoke(json.dumps({"n": number}).encode())
            assert json.loads(result.payload) == {"echo": {"n": number}}
        assert states(function, NAME) == ["Started", "Registered", "Ready", *["Running", "Ready"] * 3]
        answers = [fact.detail for fact in function.timeline if fact.kind == "api.answer"]
        ended = function.shutdown()
    end = ended.extensions[NAME]
    assert end.killed
    assert states(function, NAME)[9:11] == ["Running", "Ready"]
    assert 1900 < end.took_ms < 4000  # not before its two seconds were over
    assert {(call["method"], call["path"], call["status"]) for call in answers if call["caller"] == NAME} == {
        ("POST", "/2020-01-01/extension/register", 200), ("GET", "/2020-01-01/extension/event/next", 200),
    }  # fmt: skip


def test_it_lives_side_by_side_with_ours(scene: Scene, sentry: Path) -> None:
    """Each registers and is released; ours delivers everything and is gone before the other is killed."""
    with scene.python("talkative.py", extensions=[sentry, scene.extension]) as function:
        results = [function.invoke(b'{"do":"print","lines":["hello"]}') for _ in range(3)]
        ended = function.shutdown()
    assert [result.outcome for result in results] == ["success"] * 3
    ours, theirs = ended.extensions[scene.extension.name], ended.extensions[NAME]
    assert (ours.returncode, ours.killed, theirs.killed) == (0, False, True)
    assert ours.took_ms < theirs.took_ms
    assert [(row["record"], row["requestid"]) for row in scene.logs()] == [
        ("hello\n", result.request_id) for result in results
    ]
    names = {row["record_name"]: json.loads(row["record_events"]) for row in scene.logs("platform.extension")}
    assert names == {NAME: ["INVOKE", "SHUTDOWN"], scene.extension.name: ["INVOKE", "SHUTDOWN"]}


def test_it_survives_a_reset(scene: Scene, sentry: Path) -> None:
    """After the runtime's death both start again, and the next invocation is served."""
    with scene.python("obedient.py", extensions=[sentry, scene.extension]) as function:
        crashed = function.invoke(b'{"do":"exit"}')
        after = function.invoke(b'{"n":1}')
    assert (crashed.outcome, after.outcome) == ("failure", "success")
    assert states(function, NAME).count("Started") == 2
