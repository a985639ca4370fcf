"""Durable functions and tenant isolation: what each invocation is told, and which environment serves it."""

from __future__ import annotations

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
