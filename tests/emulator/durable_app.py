"""A durable function with AWS's own SDK: steps, a wait, a child context, retries, branches."""

from __future__ import annotations

from typing import Any

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.config import Duration, StepConfig
from aws_durable_execution_sdk_python.retries import RetryStrategyConfig, create_retry_strategy

attempts: list[int] = []


def shaky(_step: Any) -> int:
    """Succeeds at the third attempt."""
    attempts.append(1)
    if len(attempts) < 3:
        raise RuntimeError("not yet")
    return len(attempts)


@durable_execution
def handler(event: dict[str, Any], context: DurableContext) -> dict[str, Any]:
    """Does a little of everything that is played."""
    forty = context.step(lambda _step: 40, name="forty")
    context.wait(Duration.from_hours(5), name="wait")
    two = context.run_in_child_context(lambda child: child.step(lambda _step: 2, name="two"), name="child")
    tried = context.step(
        shaky,
        name="shaky",
        config=StepConfig(retry_strategy=create_retry_strategy(RetryStrategyConfig(max_attempts=5))),
    )
    branches = context.parallel([lambda _branch: 1, lambda branch: branch.wait(Duration.from_seconds(9)) or 7])
    return {"sum": forty + two, "tried": tried, "branches": branches.get_results(), "event": event}
