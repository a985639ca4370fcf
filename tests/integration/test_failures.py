"""What a failure leaves: one record that says what happened, for which request, beside the last lines and spans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.emulator import Faults
from tests.integration.otlp_requests import export_request
from tests.integration.stage import Stage, assert_ended_well, ledger
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from o2_lambda.emulator import LocalLambda

pytestmark = pytest.mark.xdist_group("serial")

LAST_WORDS = """
import http.client, os, sys, time

def handler(event, context):
    print("last words")
    sys.stdout.flush()
    if event.get("port"):
        otlp = http.client.HTTPConnection("localhost", event["port"])
        otlp.request("POST", "/v1/traces", bytes.fromhex(event["spans"]), {"Content-Type": "application/x-protobuf"})
        assert otlp.getresponse().status == 200
    if event.get("sleep_s"):
        time.sleep(event["sleep_s"])
    if event.get("mb"):
        held = bytearray(event["mb"] << 20)
        for index in range(0, len(held), 4096):
            held[index] = 1
"""


def told(stage: Stage, function: LocalLambda) -> dict[str, Any]:
    """The one record of the one failure, after a good end with nothing lost."""
    assert_ended_well(function)
    books = ledger(function)
    assert books["synthesized"] == 1
    assert books["logs"]["received"] == books["logs"]["delivered"] == stage.backend.count("logs", "default")
    [record] = stage.stored("failure")
    return record


def test_what_is_held_survives_a_runtime_that_dies_unheard(stage: Stage) -> None:
    """Lambda never says that the function is done, so the extension waits, until it is killed: its data has gone."""
    patch = "from o2_lambda.extension import engine\nengine.SILENCE_MS = 200"
    stage.code = LAST_WORDS.replace('print("last words")', 'print("last words"); sys.stdout.flush(); os._exit(3)')
    settings = {"O2_FLUSH_STRATEGY": "end"}
    with stage.function(patch=patch, settings=settings, faults=Faults(missing_runtime_done=1)) as function:
        assert function.invoke().outcome == "failure"
    assert "last words\n" in [row["record"] for row in stage.stored("function")]
    assert stage.stored("platform.start")


@pytest.mark.parametrize("report", ["missing", "early"])
def test_memory_that_runs_out(stage: Stage, report: str) -> None:
    """With Lambda's report or without: reason, request, memory; and the lines before the end."""
    stage.code = LAST_WORDS
    faults = Faults(early_failure_reports=1 if report == "early" else 0)
    with stage.function(memory_mb=128, enforce_memory=True, faults=faults) as function:
        function.invoke()
        killed = function.invoke(json.dumps({"mb": 400}).encode())
        assert killed.error_type == "Runtime.OutOfMemory"
        record = told(stage, function)
    assert (record["requestid"], record["record_reason"]) == (killed.request_id, "out_of_memory")
    assert record["message"].startswith("Invocation ran out of its memory of 128 MB after ")
    assert record["record_memorysizemb"] == 128
    assert (record.get("record_maxmemoryusedmb") == 128) == (report == "early")
    lines = [row for row in stage.stored("function") if row["record"] == "last words\n"]
    assert lines[-1]["requestid"] == killed.request_id


def test_spans_of_a_timeout_are_delivered(stage: Stage) -> None:
    """What the function exported before its deadline is at the backend when the sandbox is gone."""
    stage.code = LAST_WORDS
    port = free_port()
    event = {"port": port, "spans": export_request("traces").SerializeToString().hex(), "sleep_s": 60}
    faults = Faults(early_failure_reports=1)
    settings = {"O2_OTLP_PORT": str(port), "O2_FLUSH_STRATEGY": "continuous"}
    with stage.function(timeout_ms=1500, faults=faults, settings=settings) as function:
        late = function.invoke(json.dumps(event).encode())
        assert late.outcome == "timeout"
        record = told(stage, function)
        assert ledger(function)["traces"]["delivered"] == ledger(function)["traces"]["received"] > 0
    assert (record["requestid"], record["record_reason"]) == (late.request_id, "timeout")
    assert record["record_maxmemoryusedmb"] > 0
    assert "last words\n" in [row["record"] for row in stage.stored("function")]


def test_a_function_that_cannot_start(stage: Stage) -> None:
    """The init fails before there is a request: one record, without one; the next invocation fails and has its own."""
    stage.code = "raise RuntimeError('not today')\n"
    with stage.function() as function:
        assert_ended_well(function)
        [record] = stage.stored("failure")
        assert (record["record_phase"], record["record_reason"]) == ("init", "error")
        assert record["message"].startswith("Init failed after ")
        assert record.get("requestid") is None


def test_an_exception_is_the_functions_own_business(stage: Stage) -> None:
    """Its runtime logs it; a second record would only count it twice."""
    with stage.function() as function:
        function.invoke(b'{"raise": true}')
        function.shutdown()
        assert ledger(function)["synthesized"] == 0
    assert stage.stored("failure") == []
