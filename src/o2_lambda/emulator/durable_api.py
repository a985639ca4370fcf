"""The part of Lambda's API that a durable function calls: it checkpoints, and reads what it has checkpointed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from o2_lambda.emulator.checkpoints import InvalidUpdateError, in_seconds
from o2_lambda.emulator.server import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from o2_lambda.emulator.checkpoints import Checkpoints

PREFIX = "/2025-12-01/durable-executions"
REFUSED = "InvalidParameterValueException"


class DurableApi:
    """The handlers. `executions` are those that have begun, by ARN."""

    def __init__(self, executions: dict[str, Checkpoints], now_ms: Callable[[], float]) -> None:
        self._executions = executions
        self._now_ms = now_ms

    def routes(self) -> list[web.RouteDef]:
        """Return what to mount."""
        return [
            web.post(PREFIX + "/{arn:.+}/checkpoint", self.checkpoint),
            web.get(PREFIX + "/{arn:.+}/state", self.state, allow_head=False),
        ]

    async def checkpoint(self, request: web.Request) -> web.Response:
        """`CheckpointDurableExecution`: takes all updates or none, answers with what has changed and the next token."""
        try:
            body = json.loads(await request.read())
            checkpoints = self._find(request)
            changed = checkpoints.update(body["CheckpointToken"], body.get("Updates") or [], self._now_ms())
        except InvalidUpdateError as error:
            return _refused(str(error))
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refused("Could not parse the checkpoint")
        state = {"Operations": [in_seconds(operation) for operation in changed]}
        return json_answer({"CheckpointToken": checkpoints.token, "NewExecutionState": state})

    async def state(self, request: web.Request) -> web.Response:
        """`GetDurableExecutionState`: all operations on one page."""
        try:
            checkpoints = self._find(request)
            checkpoints.check(request.query.get("CheckpointToken", ""))
        except InvalidUpdateError as error:
            return _refused(str(error))
        return json_answer({"Operations": [in_seconds(operation) for operation in checkpoints.operations]})

    def _find(self, request: web.Request) -> Checkpoints:
        found = self._executions.get(request.match_info["arn"])
        if found is None:
            raise InvalidUpdateError("there is no such execution")
        return found


def _refused(message: str) -> web.Response:
    body: dict[str, Any] = {"Type": "User", "message": message}
    return json_answer(body, status=400, headers={"X-Amzn-ErrorType": REFUSED})
