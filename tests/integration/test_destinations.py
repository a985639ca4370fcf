"""Several destinations at once: real processes, real sockets, one of them dead, slow or refusing."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.otlp_requests import export_request
from tests.integration.rig import CREDENTIALS, QUICK, with_otlp
from tests.integration.wire import PATIENCE_S

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Rig, Settings
    from tests.integration.stub_sink import StubSink

OTHER = "Basic b3RoZXJAZXhhbXBsZS5jb206czNjcjN0"
END: Settings = {"O2_FLUSH_STRATEGY": "end"}
FIRST, SECOND = 0, 1


def additional(*sinks: StubSink) -> Settings:
    items = [{"endpoint": sink.url, "organization": "backup", "authorization": OTHER} for sink in sinks]
    return {"O2_ADDITIONAL_ENDPOINTS": json.dumps(items)}


def ledgers(lines: list[str]) -> list[dict[str, Any]]:
    """The ledgers, that of O2_ENDPOINT first."""
    return [json.loads(line)["ledger"] for line in lines if line.startswith('{"ledger"')][::-1]


def balanced(ledger: dict[str, Any]) -> dict[str, Any]:
    logs: dict[str, Any] = ledger["logs"]
    gone = sum(logs["rejected"].values()) + sum(logs["dropped"].values())
    assert logs["received"] == logs["delivered"] + gone + logs["held"]
    return logs


def assert_own_credentials(rig: Rig, other: StubSink) -> None:
    """Each server has seen its own credentials and nobody else's."""
    for sink, own, foreign in ((rig.sink, CREDENTIALS, OTHER), (other, OTHER, CREDENTIALS)):
        for request in (*sink.requests, *sink.probes):
            assert request.headers["authorization"] == own
            assert foreign.partition(" ")[2].encode() not in request.head + request.body


def test_both_get_everything(arena: Arena) -> None:
    """Logs and traces arrive at both, byte for byte the same, each with its own credentials."""
    other = arena.sink()
    rig = arena.rig(**END, **with_otlp(), **additional(other))
    rig.begin()
    rig.export("/v1/traces", export_request("traces").SerializeToString())
    rig.log("one", "two")
    rig.done()
    rig.await_next()
    ending = rig.end()
    assert rig.sink.lines() == other.lines() == ["one", "two"]
    assert rig.sink.texts == other.texts
    assert rig.sink.exports[0][1] == other.exports[0][1]
    assert other.exports[0][0] == "/api/backup/v1/traces"
    assert_own_credentials(rig, other)
    first, second = ledgers(ending.lines)
    assert balanced(first)["delivered"] == balanced(second)["delivered"] == first["logs"]["received"]
    assert second["destination"] == f"127.0.0.1:{other.port}/backup"


@pytest.mark.parametrize("dead", [FIRST, SECOND])
@pytest.mark.parametrize("how", ["refuses connections", "never answers", "answers 503", "answers 401"])
def test_one_dead_the_other_gets_all(arena: Arena, dead: int, how: str) -> None:
    """Every line arrives within its invocation; the holds are over once the dead one is known to be dead."""
    other = arena.sink()
    rig = arena.rig(**END, **QUICK, **additional(other), O2_FLUSH_BUDGET_MS="1000", O2_REQUEST_TIMEOUT_MS="5000")
    sick, well = (rig.sink, other) if dead == FIRST else (other, rig.sink)
    if how == "refuses connections":
        sick.down()
    elif how == "never answers":
        sick.open.clear()
    else:
        sick.always = int(how.rpartition(" ")[2])
    for number in range(6):
        rig.invocation(f"line {number}")
        well.await_lines(number + 1)
    ending = rig.end()
    assert well.lines() == [f"line {number}" for number in range(6)]
    assert ending.ledger["hold_ms_max"] < 1500
    assert ending.ledger["hold_ms_total"] < 3500, "two wasted holds at most"
    healthy, sickly = (balanced(each) for each in ledgers(ending.lines)[:: 1 if dead == SECOND else -1])
    assert healthy["delivered"] == healthy["received"]
    assert sickly["held"] == sickly["received"] == healthy["received"]
    assert_own_credentials(rig, other)
    assert ending.status == 0


def test_after_a_bug_every_ledger_is_told(arena: Arena) -> None:
    """What was held for an additional destination is lost as well."""
    patch = """
from o2_lambda.extension.io.listener import Listener
_take = Listener._take
def take(self, connection, message, now):
    _take(self, connection, message, now)
    if b"boom" in message.body:
        raise ZeroDivisionError("planned")
Listener._take = take
"""
    rig = arena.rig(patch=patch, **END, **additional(arena.sink()))
    rig.begin()
    rig.log("boom")
    rig.process.await_line("Internal error: ")
    rig.lambda_.shutdown()
    told = [balanced(each) for each in ledgers(rig.process.await_end().lines)]
    assert [logs["dropped"] for logs in told] == [{"internal_error": 2}] * 2


def test_the_dead_one_catches_up(arena: Arena) -> None:
    """What was held for it arrives once it is back, in order and once."""
    other = arena.sink()
    rig = arena.rig(**END, **QUICK, **additional(other))
    other.always = 503
    for number in range(8):
        rig.invocation(f"line {number}")
    other.always = None
    rig.begin()
    other.wait(lambda: len(other.lines()) == 8, "the held lines")
    rig.done()
    rig.await_next()
    ending = rig.end()
    assert other.lines() == rig.sink.lines() == [f"line {number}" for number in range(8)]
    assert [balanced(each)["held"] for each in ledgers(ending.lines)] == [0, 0]


def test_the_health_check_looks_at_each(arena: Arena) -> None:
    """Steps of an additional destination carry its number, and fail for themselves."""
    sink, other = arena.sink(), arena.sink()
    environment = {"O2_ENDPOINT": sink.url, "O2_ORGANIZATION_ID": "default", "O2_AUTHORIZATION_HEADER": CREDENTIALS}
    environment |= additional(other)
    command = [arena.launcher(), "-h"]
    for expected in (0, 1):
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert result.returncode == expected, result.stdout
        assert ("✓ Credentials 2" in result.stdout) == (expected == 0)
        assert OTHER.partition(" ")[2] not in result.stdout
        other.down()
    assert "✗ Connection 2" in result.stdout
