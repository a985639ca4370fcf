"""The extension in every kind of environment: tenants, durable executions, provisioned and managed instances."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter

import pytest

from o2_lambda.emulator import Emulator, execute
from tests.integration.stage import EXTENSION, Stage, assert_ended_well, ledger
from tests.integration.wire import eventually

LOGGING = """
import json, logging, time

def handler(event, context):
    logging.getLogger().setLevel("INFO")
    for number in range(3):
        logging.info("line %d of %s", number, context.aws_request_id)
        time.sleep(event.get("pause_s", 0))
    if event.get("DurableExecutionArn"):
        return {"Status": "PENDING"}
"""

STREAMING = """
import os, socket

host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
prefix = "/2018-06-01/runtime/invocation"
while True:
    with socket.create_connection((host, int(port))) as api, api.makefile("rb") as answers:
        api.sendall(f"GET {prefix}/next HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
        head = list(iter(lambda: answers.readline().decode().strip(), ""))
        request_id = next(line[31:] for line in head if line.lower().startswith("lambda-runtime-aws-request-id: "))
    with socket.create_connection((host, int(port))) as api, api.makefile("rb") as answers:
        fields = "Transfer-Encoding: chunked\\r\\nLambda-Runtime-Function-Response-Mode: streaming\\r\\n"
        api.sendall(f"POST {prefix}/{request_id}/response HTTP/1.1\\r\\nHost: {host}\\r\\n{fields}\\r\\n".encode())
        for number in range(3):
            print("line", number, flush=True)
            api.sendall(b"8\\r\\npiece %d \\r\\n" % number)
        api.sendall(b"0\\r\\n\\r\\n")
        answers.readline()
"""


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_lines_carry_their_tenant(stage: Stage, log_format: str) -> None:
    """From the platform's events, and from JSON records: `tenant_id` beside `requestId`, on lines and events."""
    stage.code = LOGGING
    with stage.function(log_format=log_format) as function:
        served = {function.invoke(tenant_id=tenant).request_id: tenant for tenant in ("acme", "größe", "acme")}
        nobody = function.invoke().request_id
        function.shutdown()
        assert_ended_well(function)
    rows = stage.stored("function") + stage.stored("platform.start") + stage.stored("platform.runtimeDone")
    rows += stage.stored("platform.report")
    assert Counter(row["requestid"] for row in rows) == {**dict.fromkeys(served, 6), nobody: 6}
    for row in rows:
        assert row.get("tenant_id") == served.get(row["requestid"])


async def test_a_durable_execution(stage: Stage) -> None:
    """Each replay is an invocation of its own, with its own lines, runtimeDone and report; all arrive."""
    stage.code = LOGGING
    async with Emulator(stage.config(durable=True)) as emulator:
        execution = await execute(emulator, b"{}", replays_max=3)
        await emulator.shutdown()
    ids = [result.request_id for result in execution.invocations]
    assert Counter(row["requestid"] for row in stage.stored("function")) == dict.fromkeys(ids, 3)
    assert [row["requestid"] for row in stage.stored("platform.runtimeDone")] == ids
    [start] = stage.stored("platform.initStart")
    assert "DurableFunction" in start["record_runtimeversion"]
    assert stage.stored("failure") == []


def test_provisioned_concurrency(stage: Stage) -> None:
    """The init was long before: nothing of it is in the first invocation, and its events are stored all the same."""
    with stage.function(initialization_type="provisioned-concurrency") as function:
        result = function.invoke()
        assert result.init_duration_ms is None
        function.shutdown()
        assert_ended_well(function)
        assert ledger(function)["logs"]["held"] == 0
    [report] = stage.stored("platform.initReport")
    assert report["record_initializationtype"] == "provisioned-concurrency"
    assert stage.stored("platform.report")[0].get("record_metrics_initdurationms") is None


async def test_requests_side_by_side_keep_their_lines(stage: Stage) -> None:
    """Managed instances: lines interleave, each JSON record names its request; sent by the interval, never frozen."""
    stage.code = LOGGING
    config = stage.config(
        settings={"O2_FLUSH_INTERVAL_MS": "100"},
        initialization_type="lambda-managed-instances",
        max_concurrency=4,
    )
    async with Emulator(config) as emulator:
        event = json.dumps({"pause_s": 0.1}).encode()
        results = await asyncio.gather(*(emulator.invoke(event) for _ in range(4)))
        ids = {result.request_id for result in results}
        await asyncio.to_thread(eventually, lambda: len(stage.stored("function")) == 12, "lines by the interval")
        rows = stage.stored("function")
        order = [row["requestid"] for row in rows]
        assert order != sorted(order, key=order.index), "side by side: their lines interleave"
        for row in rows:
            assert row["record_message"].endswith(row["requestid"])
        assert Counter(order) == dict.fromkeys(ids, 3)
        ended = await emulator.shutdown()
        assert (ended.extensions[EXTENSION].returncode, ended.extensions[EXTENSION].killed) == (0, False)
        assert not any(fact.kind == "freeze" for fact in emulator.timeline)
    assert {row["requestid"] for row in stage.stored("platform.report")} == ids
    assert stage.stored("platform.runtimeDone") == []


async def test_a_crash_of_a_managed_instance_fails_all_that_it_served(stage: Stage) -> None:
    """One record of the failure for each request that was in it."""
    # One write: print() makes two of a line, and there are two threads.
    stage.code = "import sys, time\ndef handler(event, _):\n    sys.stdout.write('served\\n')\n    time.sleep(60)\n"
    config = stage.config(initialization_type="lambda-managed-instances", max_concurrency=2)
    async with Emulator(config) as emulator:
        served = [emulator.begin_invoke() for _ in range(2)]
        both = [("function", "served\n")] * 2
        await asyncio.to_thread(
            eventually, lambda: [line for line in emulator.output if line.source == "function"] == both, "both served"
        )
        os.kill(emulator.pid("runtime"), signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: len(stage.stored("failure")) == 2, "both failures")
    told = {row["requestid"]: row["record_reason"] for row in stage.stored("failure")}
    assert told == {invocation.request_id: "crash" for invocation in served}


async def test_a_streamed_response_and_its_lines(stage: Stage) -> None:
    """An answer in pieces is an invocation like any other: its lines and runtimeDone arrive under its request."""
    script = stage.folder / "streaming.py"
    script.write_text(STREAMING)
    async with Emulator(stage.config(runtime_command=[sys.executable, "-I", script])) as emulator:
        result = await emulator.invoke(b"{}")
        assert result.payload == b"piece 0 piece 1 piece 2 "
        await emulator.shutdown()
    lines = [(row["requestid"], row["message"]) for row in stage.stored("function")]
    assert lines == [(result.request_id, f"line {number}\n") for number in range(3)]
    [done] = stage.stored("platform.runtimeDone")
    assert done["record_metrics_producedbytes"] == len(result.payload)
