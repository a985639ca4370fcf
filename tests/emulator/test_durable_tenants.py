"""Durable functions and tenant isolation: what each invocation is told, and which environment serves it."""

from __future__ import annotations

import json
from pathlib import Path

from o2_lambda.emulator import Emulator, LocalLambda, execute
from tests.emulator.conftest import Stage, kinds, record_of

REPLAYED = """
times = 0

def handler(event, context):
    global times
    times += 1
    operation = event["InitialExecutionState"]["Operations"][0]
    print(event["DurableExecutionArn"], event["CheckpointToken"], operation["ExecutionDetails"]["InputPayload"])
    return {"Status": "SUCCEEDED", "Result": "3"} if times == 3 else {"Status": "PENDING"}
"""
CHECKPOINTING = """
import boto3
from botocore.exceptions import ClientError

client = boto3.client("lambda")

def handler(event, context):
    arn, token = event["DurableExecutionArn"], event["CheckpointToken"]
    done = {operation["Id"]: operation for operation in event["InitialExecutionState"]["Operations"]}
    if "wait" not in done:
        answer = client.checkpoint_durable_execution(DurableExecutionArn=arn, CheckpointToken=token, Updates=[
            {"Id": "step", "Type": "STEP", "Action": "SUCCEED", "Payload": "41"},
            {"Id": "wait", "Type": "WAIT", "Action": "START", "WaitOptions": {"WaitSeconds": 86400}},
        ])
        state = client.get_durable_execution_state(DurableExecutionArn=arn, CheckpointToken=answer["CheckpointToken"])
        wait = state["Operations"][2]
        print(wait["WaitDetails"]["ScheduledEndTimestamp"] - wait["StartTimestamp"])
        try:
            client.checkpoint_durable_execution(DurableExecutionArn=arn, CheckpointToken=token, Updates=[])
        except ClientError as error:
            print(error.response["Error"]["Code"])
        return {"Status": "PENDING"}
    return {"Status": "SUCCEEDED", "Result": done["step"]["StepDetails"]["Result"] + done["wait"]["Status"]}
"""
TENANT = (
    "import os\nserved = []\ndef handler(event, context):\n    served.append(context.tenant_id)\n    return served\n"
)


async def test_an_execution_is_invocations_of_its_own(stage: Stage) -> None:
    """Each replay has its request id, all have the execution's ARN and input; the runtime's version tells its kind."""
    async with Emulator(stage.python_config(REPLAYED, durable=True)) as emulator:
        execution = await execute(emulator, b'{"order": 7}')
        assert execution.status == "SUCCEEDED"
        assert len({result.request_id for result in execution.invocations}) == 3
        printed = [line.line.split(" ", 2) for line in emulator.output if line.source == "function"]
        assert {line[0] for line in printed} == {execution.arn}
        assert len({line[1] for line in printed}) == 3
        assert {line[2] for line in printed} == {'{"order": 7}\n'}
        assert kinds(emulator).count("platform.start") == 3
        assert "DurableFunction" in record_of(emulator, "platform.initStart")["runtimeVersion"]


async def test_an_execution_ends(stage: Stage) -> None:
    """With the invocation that fails, and after so many replays whatever the function says."""
    async with Emulator(stage.python_config("def handler(event, context):\n    1 / 0\n", durable=True)) as emulator:
        execution = await execute(emulator)
        assert (execution.status, len(execution.invocations)) == ("FAILED", 1)
    code = "def handler(event, context):\n    return {'Status': 'PENDING'}\n"
    async with Emulator(stage.python_config(code, durable=True)) as emulator:
        execution = await execute(emulator, replays_max=4)
        assert (execution.status, len(execution.invocations)) == ("PENDING", 4)


async def test_what_is_checkpointed_is_there_in_the_replay(stage: Stage) -> None:
    """By boto3's own calls: a step's result comes back, a day's wait is over at once, an old token is refused."""
    async with Emulator(stage.python_config(CHECKPOINTING, durable=True, timeout_ms=20_000)) as emulator:
        execution = await execute(emulator)
        printed = [line.line for line in emulator.output if line.source == "function"]
        assert [line for line in printed if not line.startswith("[INFO]")] == [
            "1 day, 0:00:00\n",
            "InvalidParameterValueException\n",
        ]
        assert execution.invocations[-1].json() == {"Status": "SUCCEEDED", "Result": "41SUCCEEDED"}
        assert len(execution.invocations) == 2
        assert [operation["Status"] for operation in execution.operations] == ["STARTED", "SUCCEEDED", "SUCCEEDED"]


async def test_awss_own_sdk_runs_to_its_end(stage: Stage) -> None:
    """Each step runs once, whatever is replayed; waits and pauses between attempts take no time."""
    code = Path(__file__).with_name("durable_app.py").read_text()
    async with Emulator(stage.python_config(code, durable=True, timeout_ms=30_000)) as emulator:
        execution = await execute(emulator, b'{"k": 1}')
    assert execution.status == "SUCCEEDED", execution.invocations[-1].payload
    assert json.loads(execution.invocations[-1].json()["Result"]) == {
        "sum": 42, "tried": 3, "branches": [1, 7], "event": {"k": 1},
    }  # fmt: skip
    ended = {each.get("Name"): each["Status"] for each in execution.operations}
    assert [ended[name] for name in ("forty", "wait", "two", "child", "shaky")] == ["SUCCEEDED"] * 5
    assert len(execution.invocations) > 3


def test_tenants_never_share_an_environment(stage: Stage) -> None:
    """One environment serves one tenant; for another one it is shut down and a new one starts."""
    with LocalLambda(stage.python_config(TENANT)) as function:
        answers = [function.invoke(b"{}", tenant_id=tenant).json() for tenant in ("a", "a", "b", "a")]
        assert answers == [["a"], ["a", "a"], ["b"], ["a"]]
        starts = [fact.detail["record"] for fact in function.timeline if fact.detail.get("type") == "platform.start"]
        assert [record["tenantId"] for record in starts] == ["a", "a", "b", "a"]
        reasons = [fact.detail["reason"] for fact in function.timeline if fact.kind == "shutdown.start"]
        assert reasons == ["spindown", "spindown"]
        assert all(entry.detail["record"]["phase"] == "init" for entry in function.timeline
                   if entry.detail.get("type") == "platform.initStart")  # fmt: skip
