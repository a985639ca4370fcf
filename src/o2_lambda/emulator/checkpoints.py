"""What a durable execution has checkpointed: its operations, how updates change them. Pure; times in milliseconds."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from o2_lambda.emulator.events import drop_none

if TYPE_CHECKING:
    from collections.abc import Iterable

Operation = dict[str, Any]
SECOND_MS = 1000
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
OPEN = ("STARTED", "READY")  # of a step: it runs, or may run again
# Type and action of an update -> the states that it may find the operation in (None: there is none), the one it leaves.
TRANSITIONS: dict[tuple[str, str], tuple[tuple[str | None, ...], str]] = {
    ("STEP", "START"): ((None, "READY"), "STARTED"),
    ("STEP", "RETRY"): ((None, *OPEN), "PENDING"),
    ("STEP", "SUCCEED"): ((None, *OPEN), "SUCCEEDED"),
    ("STEP", "FAIL"): ((None, *OPEN), "FAILED"),
    ("WAIT", "START"): ((None,), "STARTED"),
    ("WAIT", "CANCEL"): (("STARTED",), "CANCELLED"),
    ("CONTEXT", "START"): ((None,), "STARTED"),
    ("CONTEXT", "SUCCEED"): ((None, "STARTED"), "SUCCEEDED"),
    ("CONTEXT", "FAIL"): ((None, "STARTED"), "FAILED"),
}
NOT_PLAYED = ("CALLBACK", "CHAINED_INVOKE")
DETAILS = {"STEP": "StepDetails", "WAIT": "WaitDetails", "CONTEXT": "ContextDetails"}


class InvalidUpdateError(ValueError):
    """A checkpoint that Lambda refuses."""


class Checkpoints:
    """The operations of one execution, in the order in which they began; the first is the execution itself."""

    def __init__(self, arn: str, execution_id: str, payload: str, now_ms: float) -> None:
        self.arn = arn
        self.token = ""
        self._root: Operation = {
            "Id": execution_id,
            "Type": "EXECUTION",
            "Status": "STARTED",
            "StartTimestamp": int(now_ms),
            "ExecutionDetails": {"InputPayload": payload},
        }
        self._operations: dict[str, Operation] = {execution_id: self._root}

    @property
    def operations(self) -> list[Operation]:
        """All of them."""
        return list(self._operations.values())

    def envelope(self) -> dict[str, Any]:
        """Return what the next invocation gets; a token of its own makes the ones before invalid."""
        self._renew()
        return {
            "DurableExecutionArn": self.arn,
            "CheckpointToken": self.token,
            "InitialExecutionState": {"Operations": self.operations, "NextMarker": ""},
        }

    def update(self, token: str, updates: Iterable[dict[str, Any]], now_ms: float) -> list[Operation]:
        """Apply all updates or none; return the operations that have changed. Raises InvalidUpdateError."""
        self.check(token)
        changed: dict[str, Operation] = {}
        for update in updates:
            made = self._updated(update, {**self._operations, **changed}, now_ms)
            changed[made["Id"]] = made
        if self._root["Id"] in changed:
            self._root = changed[self._root["Id"]]
        self._operations |= changed
        self._renew()
        changed |= {operation["Id"]: operation for operation in self.settle(now_ms)}
        return list(changed.values())

    def check(self, token: str) -> None:
        """Raise InvalidUpdateError unless `token` is the current one of an execution that has not ended."""
        if token != self.token or self._root["Status"] in ENDED:
            raise InvalidUpdateError("Invalid checkpoint token")

    def due_ms(self) -> float | None:
        """Return when the next wait ends or step may run again; None where nothing is pending."""
        return min((due for operation in self.operations if (due := _due_ms(operation)) is not None), default=None)

    def settle(self, now_ms: float) -> list[Operation]:
        """End waits and free steps for another attempt whose time has come; return them."""
        settled = []
        for operation in self.operations:
            due = _due_ms(operation)
            if due is not None and due <= now_ms:
                if operation["Type"] == "WAIT":
                    operation |= {"Status": "SUCCEEDED", "EndTimestamp": int(due)}
                else:
                    operation["Status"] = "READY"
                settled.append(operation)
        return settled

    def _renew(self) -> None:
        self.token = secrets.token_urlsafe(16)

    def _updated(self, update: dict[str, Any], operations: dict[str, Operation], now_ms: float) -> Operation:
        kind, action = update.get("Type"), update.get("Action")
        if kind == "EXECUTION" and action in ("SUCCEED", "FAIL"):
            return {**self._root, "Status": f"{action}ED", "EndTimestamp": int(now_ms)}
        if kind in NOT_PLAYED:
            raise InvalidUpdateError(f"{kind} operations are not played by this emulator")
        if not update.get("Id") or not isinstance(kind, str) or not isinstance(action, str):
            raise InvalidUpdateError("an update needs Id, Type and Action")
        allowed, status = TRANSITIONS.get((kind, action), ((), ""))
        current = operations.get(update["Id"])
        if (current["Status"] if current else None) not in allowed:
            raise InvalidUpdateError(f"Invalid current {kind} state for {action}")
        return drop_none(
            Id=update["Id"],
            ParentId=update.get("ParentId"),
            Name=update.get("Name"),
            Type=kind,
            SubType=update.get("SubType"),
            StartTimestamp=current["StartTimestamp"] if current else int(now_ms),
            EndTimestamp=int(now_ms) if status in ENDED else None,
            Status=status,
            **{DETAILS[kind]: _details(update, kind, action, current, now_ms)},
        )


def in_seconds(operation: Operation) -> Operation:
    """Return an operation as the HTTP API writes it, where times are seconds; in an event they are milliseconds."""
    return {
        name: in_seconds(value)
        if isinstance(value, dict)
        else value / SECOND_MS
        if name.endswith("Timestamp")
        else value
        for name, value in operation.items()
    }


def _details(
    update: dict[str, Any], kind: str, action: str, current: Operation | None, now_ms: float
) -> dict[str, Any]:
    if kind == "WAIT":
        if current:
            return dict(current["WaitDetails"])
        seconds = update.get("WaitOptions", {}).get("WaitSeconds", 0)
        return {"ScheduledEndTimestamp": int(now_ms + seconds * SECOND_MS)}
    details = drop_none(Result=update.get("Payload"), Error=update.get("Error"))
    if kind == "CONTEXT":
        return {**details, "ReplayChildren": bool(update.get("ContextOptions", {}).get("ReplayChildren"))}
    attempt = current["StepDetails"]["Attempt"] if current else 0
    details["Attempt"] = attempt if action == "START" else attempt + 1
    if action == "RETRY":
        delay = update.get("StepOptions", {}).get("NextAttemptDelaySeconds", 0)
        details["NextAttemptTimestamp"] = int(now_ms + delay * SECOND_MS)
    return details


def _due_ms(operation: Operation) -> float | None:
    if operation["Type"] == "WAIT" and operation["Status"] == "STARTED":
        return float(operation["WaitDetails"]["ScheduledEndTimestamp"])
    if operation["Type"] == "STEP" and operation["Status"] == "PENDING":
        return float(operation["StepDetails"]["NextAttemptTimestamp"])
    return None
