"""Durable functions: one execution is several invocations, each of which replays the function from its start.

The service of AWS that keeps checkpoints is not played: a function that asks for it gets no answer here. What is
faithful is what an extension sees: invocations with request ids of their own, the same execution in their payloads.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from o2_lambda.emulator.emulator import Emulator
    from o2_lambda.emulator.invocation import InvokeResult

REPLAYS_MAX = 100
PENDING = "PENDING"


@dataclass(frozen=True)
class Execution:
    """An execution that has ended. `status` is what its last invocation answered, or FAILED where that failed."""

    arn: str
    status: str
    invocations: list[InvokeResult]


async def execute(emulator: Emulator, payload: bytes = b"{}", *, replays_max: int = REPLAYS_MAX) -> Execution:
    """Invoke until the function does not answer PENDING any more, at most `replays_max` times."""
    config = emulator.config
    name = uuid.uuid4()
    arn = f"{config.function_arn}:{config.function_version}/durable-execution/{name}/{uuid.uuid4()}"
    operation = {
        "Id": str(name),
        "Type": "EXECUTION",
        "Status": "STARTED",
        "StartTimestamp": int(time.time() * 1000),
        "ExecutionDetails": {"InputPayload": payload.decode()},
    }
    results: list[InvokeResult] = []
    status = PENDING
    while status == PENDING and len(results) < replays_max:
        envelope = {
            "DurableExecutionArn": arn,
            "CheckpointToken": secrets.token_urlsafe(16),  # good for one invocation
            "InitialExecutionState": {"Operations": [operation], "NextMarker": ""},
        }
        result = await emulator.invoke(json.dumps(envelope).encode())
        results.append(result)
        status = _status(result)
    return Execution(arn, status, results)


def _status(result: InvokeResult) -> str:
    try:
        answer: Any = result.json()
        return str(answer["Status"]) if result.outcome == "success" else "FAILED"
    except (ValueError, KeyError, TypeError):
        return "FAILED"
