"""SnapStart and provisioned concurrency: environments whose init is over before anybody invokes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from o2_lambda.emulator import Emulator, LambdaConfig, snapstart
from tests.emulator.conftest import Puppet, Stage, kinds, record_of

if TYPE_CHECKING:
    import aiohttp
    import pytest

HOOKS = """
import json, os, urllib.request
from snapshot_restore_py import register_after_restore, register_before_snapshot

happened = ["init"]

@register_before_snapshot
def before():
    happened.append("before")

@register_after_restore
def after():
    happened.append("after")
    if os.environ.get("BROKEN"):
        raise ValueError("no way back")

def handler(event, context):
    asked = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    asked.add_header("Authorization", os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    keys = json.load(urllib.request.urlopen(asked))
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return {"happened": happened, "keys": keys, "found": [name for name in names if name in os.environ],
            "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "left_ms": context.get_remaining_time_in_millis()}
"""


def snapped(stage: Stage, **changes: object) -> LambdaConfig:
    return stage.python_config(HOOKS, initialization_type="snap-start", **changes)


async def test_hooks_run_around_the_snapshot(stage: Stage) -> None:
    """The real runtime client parks in restore/next; the environment is frozen until the first invocation."""
    async with Emulator(snapped(stage)) as emulator:
        assert kinds(emulator)[-1] == "platform.initReport"
        assert record_of(emulator, "platform.initStart")["phase"] == "snap-start"
        first = await emulator.invoke()
        answer = first.json()
        assert isinstance(answer, dict)
        assert answer["happened"] == ["init", "before", "after"]
        assert answer["type"] == "snap-start"
        events = kinds(emulator)
        begin = events.index("platform.restoreStart")
        assert events[begin : begin + 4] == [
            "platform.restoreStart", "platform.restoreRuntimeDone", "platform.restoreReport", "platform.start",
        ]  # fmt: skip
        report = record_of(emulator, "platform.report")["metrics"]
        assert report["restoreDurationMs"] == record_of(emulator, "platform.restoreReport")["metrics"]["durationMs"]
        assert "initDurationMs" not in report
        assert report["billedDurationMs"] >= report["durationMs"] + report["restoreDurationMs"]
        second = await emulator.invoke()
        assert second.restore_duration_ms is None
        assert kinds(emulator).count("platform.restoreStart") == 1


async def test_credentials_are_fetched(stage: Stage) -> None:
    """No keys in the environment; the endpoint gives them to whoever shows the token."""
    environment = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    async with Emulator(snapped(stage, environment=environment)) as emulator:
        answer = (await emulator.invoke()).json()
        assert isinstance(answer, dict)
        assert answer["found"] == []
        assert {name: answer["keys"][name] for name in ("AccessKeyId", "SecretAccessKey", "Token")} == {
            "AccessKeyId": "mine", "SecretAccessKey": "s", "Token": "t",
        }  # fmt: skip


async def test_a_stranger_gets_no_credentials(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Without the token 404; without SnapStart there is no such endpoint."""
    for kind in ("snap-start", "on-demand"):
        async with Emulator(stage.puppet_config(initialization_type=kind)) as emulator:
            puppet = Puppet(emulator, session)
            assert (await puppet.call("GET", "/2021-04-23/credentials")).status == 404


async def test_a_hook_that_fails_fails_the_invocation(stage: Stage) -> None:
    """Runtime.AfterRestoreError in the events and to the client."""
    async with Emulator(snapped(stage, environment={"BROKEN": "1"})) as emulator:
        result = await emulator.invoke()
        assert (result.outcome, result.error_type) == ("error", "Runtime.AfterRestoreError")
        assert json.loads(result.payload)["errorMessage"] == "no way back"
        assert record_of(emulator, "platform.restoreReport")["status"] == "error"
        assert record_of(emulator, "platform.restoreRuntimeDone")["errorType"] == "Runtime.AfterRestoreError"


async def test_a_restore_has_a_limit(
    stage: Stage, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that never comes back from its hooks: status timeout."""
    monkeypatch.setattr(snapstart, "RESTORE_LIMIT_MS", 100)
    async with Emulator(stage.puppet_config(initialization_type="snap-start")) as emulator:
        puppet = Puppet(emulator, session)
        init = asyncio.create_task(emulator.init())
        await puppet.spawned("puppet")
        await puppet.register()
        await puppet.spawned("runtime")
        event_call = puppet.next()
        restore_call = asyncio.create_task(puppet.call("GET", "/2018-06-01/runtime/restore/next"))
        assert (await init).status == "success"
        assert not restore_call.done()
        result = await emulator.invoke()
        assert (await restore_call).status == 200
        assert result.error_type == "Runtime.RestoreTimeout"
        assert record_of(emulator, "platform.restoreReport")["status"] == "timeout"
        event_call.cancel()


async def test_runtimes_without_hooks_are_restored_in_their_next(stage: Stage, session: aiohttp.ClientSession) -> None:
    """They wait for an invocation all the time; telemetry tells of the restore, the platform's clock has moved on."""
    hour_ms = 3_600_000
    config = stage.puppet_config(initialization_type="snap-start", snapshot_age_ms=hour_ms)
    async with Emulator(config) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started()
        before = emulator.timeline[-1]
        assert before.kind == "freeze"
        event_call = puppet.event_call
        result = await puppet.serve_one()
        assert result.outcome == "success"
        assert (await event_call).json["deadlineMs"] > time.time() * 1000 + hour_ms
        assert kinds(emulator).count("platform.restoreReport") == 1


async def test_only_snap_start_knows_of_restores(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Elsewhere the Runtime API has no such calls."""
    async with Emulator(stage.puppet_config()) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started()
        assert (await puppet.call("GET", "/2018-06-01/runtime/restore/next")).status == 404
        assert (await puppet.call("POST", "/2018-06-01/runtime/restore/error")).status == 404


async def test_provisioned_concurrency_bills_no_init(stage: Stage) -> None:
    """Its init was over before; the events say its type, the first report nothing of it, and its limit is longer."""
    kind = "provisioned-concurrency"
    config = stage.python_config(initialization_type=kind, timeout_ms=200_000)
    assert config.init_limit_ms == 200_000
    async with Emulator(config) as emulator:
        first = await emulator.invoke()
        assert first.init_duration_ms is None
        assert first.billed_duration_ms < first.duration_ms + 1
        metrics = record_of(emulator, "platform.report")["metrics"]
        assert "initDurationMs" not in metrics
        for event in ("initStart", "initRuntimeDone", "initReport"):
            assert record_of(emulator, f"platform.{event}")["initializationType"] == kind
