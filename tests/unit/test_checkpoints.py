"""What a durable execution has checkpointed: which updates are taken, and what they leave."""

from __future__ import annotations

from typing import Any

import pytest

from o2_lambda.emulator.checkpoints import Checkpoints, InvalidUpdateError, in_seconds

NOW_MS = 1_700_000_000_000.0


def started() -> Checkpoints:
    made = Checkpoints("arn", "root", '{"k": 1}', NOW_MS)
    made.envelope()
    return made


def put(execution: Checkpoints, kind: str, action: str, name: str = "op", **more: Any) -> dict[str, Any]:
    (changed,) = execution.update(
        execution.token, [{"Id": name, "Type": kind, "Action": action, **more}], NOW_MS + 1500
    )
    return changed


def test_an_execution_begins_with_itself() -> None:
    """Its input is an operation; each envelope and each checkpoint renews the token."""
    execution = started()
    first = execution.token
    envelope = execution.envelope()
    assert envelope["CheckpointToken"] == execution.token != first
    (root,) = envelope["InitialExecutionState"]["Operations"]
    assert (root["Type"], root["Status"], root["ExecutionDetails"]) == (
        "EXECUTION", "STARTED", {"InputPayload": '{"k": 1}'},
    )  # fmt: skip
    before = execution.token
    put(execution, "STEP", "START")
    for token in (first, before, ""):
        with pytest.raises(InvalidUpdateError, match="token"):
            execution.update(token, [], NOW_MS)


def test_a_step_is_tried_again_and_succeeds() -> None:
    """Attempts are counted when they end; the pause is over when its time has come, not before."""
    execution = started()
    assert put(execution, "STEP", "START", Name="n", SubType="Step") == {
        "Id": "op", "Name": "n", "Type": "STEP", "SubType": "Step", "StartTimestamp": int(NOW_MS + 1500),
        "Status": "STARTED", "StepDetails": {"Attempt": 0},
    }  # fmt: skip
    retried = put(execution, "STEP", "RETRY", Error={"ErrorType": "E"}, StepOptions={"NextAttemptDelaySeconds": 2})
    assert (retried["Status"], retried["StepDetails"]["Attempt"]) == ("PENDING", 1)
    due_ms = execution.due_ms()
    assert due_ms == NOW_MS + 3500
    assert execution.settle(due_ms - 1) == []
    (ready,) = execution.settle(due_ms)
    assert (ready["Status"], execution.due_ms()) == ("READY", None)
    put(execution, "STEP", "START")
    done = put(execution, "STEP", "SUCCEED", Payload="7")
    assert (done["Status"], done["StepDetails"]) == ("SUCCEEDED", {"Result": "7", "Attempt": 2})
    assert done["EndTimestamp"] == int(NOW_MS + 1500)


def test_one_checkpoint_may_tell_a_whole_step() -> None:
    """Each update finds what the one before has left; the operation is told once, as it is at the end."""
    execution = started()
    step = {"Id": "op", "Type": "STEP"}
    actions = [{**step, "Action": "START"}, {**step, "Action": "SUCCEED", "Payload": "1"}]
    (changed,) = execution.update(execution.token, actions, NOW_MS)
    assert (changed["Status"], changed["StepDetails"]["Attempt"]) == ("SUCCEEDED", 1)
    with pytest.raises(InvalidUpdateError):
        execution.update(execution.token, [{**step, "Id": "b", "Action": "SUCCEED"}] * 2, NOW_MS)


def test_a_wait_ends_at_its_time() -> None:
    """Seen by the next checkpoint too, in which it counts as changed."""
    execution = started()
    wait = put(execution, "WAIT", "START", WaitOptions={"WaitSeconds": 60})
    assert wait["WaitDetails"] == {"ScheduledEndTimestamp": int(NOW_MS + 61_500)}
    (ended,) = execution.update(execution.token, [], NOW_MS + 61_500)
    assert (ended["Id"], ended["Status"], ended["EndTimestamp"]) == ("op", "SUCCEEDED", int(NOW_MS + 61_500))


def test_a_context_holds_its_result() -> None:
    """And its children know whose they are."""
    execution = started()
    put(execution, "CONTEXT", "START", "outer")
    assert put(execution, "STEP", "SUCCEED", "inner", ParentId="outer", Payload="1")["ParentId"] == "outer"
    done = put(execution, "CONTEXT", "SUCCEED", "outer", Payload="2", ContextOptions={"ReplayChildren": True})
    assert done["ContextDetails"] == {"Result": "2", "ReplayChildren": True}
    assert [operation["Id"] for operation in execution.operations] == ["root", "outer", "inner"]


def test_an_execution_that_has_ended_takes_nothing_more() -> None:
    """Its result may be checkpointed where it is too large for an answer."""
    execution = started()
    assert put(execution, "EXECUTION", "SUCCEED", Payload="1")["Status"] == "SUCCEEDED"
    with pytest.raises(InvalidUpdateError):
        put(execution, "STEP", "START")


@pytest.mark.parametrize(
    "update",
    [
        {"Id": "done", "Type": "STEP", "Action": "START"},
        {"Id": "done", "Type": "STEP", "Action": "FAIL"},
        {"Id": "new", "Type": "STEP", "Action": "CANCEL"},
        {"Id": "new", "Type": "WAIT", "Action": "SUCCEED"},
        {"Id": "new", "Type": "CALLBACK", "Action": "START"},
        {"Id": "new", "Type": "CHAINED_INVOKE", "Action": "START"},
        {"Type": "STEP", "Action": "START"},
        {"Id": "new"},
    ],
)
def test_a_refused_update_leaves_no_trace(update: dict[str, Any]) -> None:
    """All of a checkpoint is taken or nothing."""
    execution = started()
    put(execution, "STEP", "SUCCEED", "done")
    before = [dict(operation) for operation in execution.operations]
    good = {"Id": "good", "Type": "STEP", "Action": "START"}
    with pytest.raises(InvalidUpdateError):
        execution.update(execution.token, [good, update], NOW_MS)
    assert execution.operations == before


def test_times_are_seconds_over_http() -> None:
    """At any depth; everything else stays."""
    assert in_seconds({"Id": "a", "StartTimestamp": 1500, "WaitDetails": {"ScheduledEndTimestamp": 2500}}) == {
        "Id": "a", "StartTimestamp": 1.5, "WaitDetails": {"ScheduledEndTimestamp": 2.5},
    }  # fmt: skip
