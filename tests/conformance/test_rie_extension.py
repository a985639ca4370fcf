"""Our extension under AWS's own emulator, which has no Telemetry API."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from . import rie
from .conftest import PYTHON, exclusive

if TYPE_CHECKING:
    from .conftest import Scene

pytestmark = [
    pytest.mark.xdist_group("serial"),
    pytest.mark.skipif(bool(rie.unavailable()), reason=rie.unavailable() or "available"),
]

SHUTDOWN_LIMIT_S = 2.0  # then the extension is killed
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
EVENT = json.dumps({"trace_id": TRACE_ID, "span_id": SPAN_ID}).encode()

# The file that registers must lie in /opt/extensions under the extension's name; this one also tells how it ended.
WITNESS = """\
#!/bin/sh
"{extension}"
echo $? > "{status}"
"""


class Observed:
    """Our extension under the RIE, with the exit status that the RIE does not tell."""

    def __init__(self, scene: Scene, function: str, environment: dict[str, str]) -> None:
        opt = scene.folder / "witnessed"
        witness = opt / "extensions" / scene.extension.name
        witness.parent.mkdir(parents=True)
        self.status_file = scene.folder / "status"
        witness.write_text(WITNESS.format(extension=scene.extension, status=self.status_file))
        witness.chmod(0o755)
        handler = f"{function}.handler"
        task = scene.task(f"{function}.py")
        self.rie = rie.Rie(opt, task, command=[*PYTHON, handler], environment={**environment, "_HANDLER": handler})
        self.shutdown_s = 0.0

    def run(self, *payloads: bytes) -> list[rie.Answer]:
        """Invokes once for each payload, then ends the environment."""
        with self.rie:
            answers = [self.rie.invoke(payload) for payload in payloads]
            started = time.monotonic()
            self.rie.stop()
            self.shutdown_s = time.monotonic() - started
        return answers

    @property
    def exit_status(self) -> int | None:
        """Of the extension; None where it was killed."""
        return int(self.status_file.read_text()) if self.status_file.exists() else None

    @property
    def ledger(self) -> dict[str, Any]:
        """The extension's last line."""
        lines = [line for line in self.rie.lines if line.startswith('{"ledger"')]
        assert len(lines) == 1, self.rie.output
        ledger: dict[str, Any] = json.loads(lines[0])["ledger"]
        return ledger


def test_spans_arrive_without_a_telemetry_api(scene: Scene) -> None:
    """202 NotSupported is lived with: the function's spans are answered and delivered, the exit is in time and 0."""
    observed = Observed(scene, "posting", scene.settings)
    (answer,) = observed.run(EVENT)
    assert (answer.status, json.loads(answer.body)["status"]) == (200, 200)
    (span,) = scene.backend.rows("traces", "default")
    assert (span["trace_id"], span["span_id"], span["operation_name"]) == (TRACE_ID, SPAN_ID, "by hand")
    assert observed.exit_status == 0
    assert observed.shutdown_s < SHUTDOWN_LIMIT_S
    assert observed.ledger["traces"] == {
        "received": 1, "delivered": 1, "rejected": {}, "dropped": {}, "held": 0, "excluded": {},
    }  # fmt: skip
    assert observed.ledger["invocations"] == 1
    assert "External agent o2-lambda-extension" in observed.rie.output
    assert "Telemetry API is not supported" in observed.rie.output
    assert scene.backend.rows("logs", "default") == []


def test_the_default_port_is_the_one_that_sdks_use(scene: Scene) -> None:
    """Without O2_OTLP_PORT the receiver is where every SDK sends to: localhost:4318."""
    settings = {name: value for name, value in scene.settings.items() if name != "O2_OTLP_PORT"}
    observed = Observed(scene, "posting", settings)
    with exclusive(4318):
        (answer,) = observed.run(EVENT)
    assert json.loads(answer.body)["status"] == 200
    assert scene.backend.count("traces", "default") == 1


def test_several_invocations_are_served_without_delay(scene: Scene) -> None:
    """Each invocation gets its answer; no telemetry is waited for that cannot come."""
    observed = Observed(scene, "posting", scene.settings)
    answers = observed.run(*[EVENT] * 5)
    assert [answer.status for answer in answers] == [200] * 5
    assert observed.ledger["invocations"] == 5
    assert observed.ledger["hold_ms_total"] == 0
    assert scene.backend.count("traces", "default") == 5


@pytest.mark.parametrize(("name", "value", "words"), [
    ("O2_ORGANIZATION_ID", "", "O2_ORGANIZATION_ID"),
    ("O2_AUTHORIZATION_HEADER", "", "O2_AUTHORIZATION_HEADER"),
    ("O2_ENDPOINT", "ftp://nowhere", "O2_ENDPOINT"),
    ("O2_BATCH_SIZE", "many", "O2_BATCH_SIZE"),
    ("O2_FLUSH_STRATEGY", "sometimes", "O2_FLUSH_STRATEGY"),
])  # fmt: skip
def test_bad_settings_leave_the_function_alone(scene: Scene, name: str, value: str, words: str) -> None:
    """One line names the setting; the function answers, is invoked again, and the end is in time."""
    observed = Observed(scene, "obedient", {**scene.settings, name: value})
    answers = observed.run(b'{"n":1}', b'{"n":2}')
    assert [json.loads(answer.body) for answer in answers] == [{"echo": {"n": 1}}, {"echo": {"n": 2}}]
    complaints = [line for line in observed.rie.lines if "Configuration error: " in line]
    assert len(complaints) == 1
    assert words in complaints[0]
    assert "Traceback" not in observed.rie.output
    assert observed.exit_status == 0
    assert observed.shutdown_s < SHUTDOWN_LIMIT_S


def test_strict_refuses_to_start_with_bad_settings(scene: Scene) -> None:
    """O2_STRICT reports the error to Lambda, which fails the init."""
    observed = Observed(scene, "obedient", {**scene.settings, "O2_ENDPOINT": "ftp://nowhere", "O2_STRICT": "true"})
    (answer,) = observed.run(b"{}")
    assert answer.status == 502
    assert "Extension.ConfigurationError" in observed.rie.output
    assert observed.exit_status == 1


def test_a_backend_that_is_down_costs_nothing(scene: Scene) -> None:
    """Spans that cannot be delivered are counted as held; answers and exit are as ever."""
    scene.backend.stop()
    observed = Observed(scene, "posting", scene.settings)
    answers = observed.run(EVENT, EVENT)
    assert [json.loads(answer.body)["status"] for answer in answers] == [200, 200]
    assert observed.exit_status == 0
    ledger = observed.ledger["traces"]
    assert (ledger["received"], ledger["delivered"], ledger["held"]) == (2, 0, 2)


def test_a_crashing_function_gets_a_fresh_environment(scene: Scene) -> None:
    """The runtime's death resets the environment: SHUTDOWN, a new start, and the next invocation is served."""
    observed = Observed(scene, "obedient", scene.settings)
    answers = observed.run(b'{"do":"exit"}', b'{"n":2}')
    assert [answer.status for answer in answers] == [502, 200]
    assert sum(line.startswith('{"ledger"') for line in observed.rie.lines) == 2
    assert observed.exit_status == 0
