"""Durable functions: one execution is several invocations, each of which replays the function from its start.

What the function checkpoints is kept (`checkpoints.py`, `durable_api.py`) and given to it again. Steps, waits, child
contexts and retries are played; callbacks and chained invocations are refused. Nobody waits: the next wait, or pause
before a retry, is over as soon as the function has nothing else to do.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from o2_lambda.emulator.checkpoints import Checkpoints

if TYPE_CHECKING:
    from o2_lambda.emulator.checkpoints import Operation
    from o2_lambda.emulator.emulator import Emulator
    from o2_lambda.emulator.invocation import InvokeResult

REPLAYS_MAX = 100
PENDING = "PENDING"


@dataclass(frozen=True)
class Execution:
    """An execution that has ended. `status` is what its last invocation answered, or FAILED where that failed.

    `operations` are what the function has checkpointed, the execution itself first.
    """

    arn: str
    status: str
    invocations: list[InvokeResult]
    operations: list[Operation] = field(default_factory=list)


async def execute(emulator: Emulator, payload: bytes = b"{}", *, replays_max: int = REPLAYS_MAX) -> Execution:
    """Invoke until the function does not answer PENDING any more, at most `replays_max` times."""
    config = emulator.config
    execution_id = str(uuid.uuid4())  # SDKs find the execution among its operations by the last part of its ARN
    arn = f"{config.function_arn}:{config.function_version}/durable-execution/{uuid.uuid4()}/{execution_id}"
    checkpoints = Checkpoints(arn, execution_id, payload.decode(), emulator.clock.wall_ms())
    emulator.executions[arn] = checkpoints
    results: list[InvokeResult] = []
    status = PENDING
    while status == PENDING and len(results) < replays_max:
        result = await emulator.invoke(json.dumps(checkpoints.envelope()).encode())
        results.append(result)
        status = _status(result)
        if (due_ms := checkpoints.due_ms()) is not None:
            checkpoints.settle(due_ms)
    del emulator.executions[arn]
    return Execution(arn, status, results, checkpoints.operations)


def _status(result: InvokeResult) -> str:
    try:
        answer: Any = result.json()
        return str(answer["Status"]) if result.outcome == "success" else "FAILED"
    except (ValueError, KeyError, TypeError):
        return "FAILED"
