"""SnapStart: one snapshot, many sandboxes. What they share must not be used by any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from o2_lambda.emulator import Emulator, Relay
from tests.integration.secured import server_context, write_authority
from tests.integration.stage import EXTENSION, Stage
from tests.integration.stub_lambda import event
from tests.integration.wire import eventually

if TYPE_CHECKING:
    from tests.integration.rig import Arena

RESTORE_START = {"functionName": "orders", "functionVersion": "7"}


@pytest.mark.parametrize("telemetry_first", [True, False])
def test_connections_and_tls_sessions_end_with_the_snapshot(arena: Arena, *, telemetry_first: bool) -> None:
    """A restored sandbox makes a full handshake of its own, and takes an event id of its own."""
    authority = trustme.CA()
    rig = arena.rig(
        sink=arena.sink(server_context(authority)),
        AWS_LAMBDA_INITIALIZATION_TYPE="snap-start",
        O2_CA_CERT=write_authority(authority, arena.folder),
    )
    rig.log("before the snapshot")
    eventually(lambda: rig.process.matching("Successfully sent 1 logs"), "the answer, else it is sent again")
    if telemetry_first:
        rig.lambda_.post(event("platform.restoreStart", RESTORE_START))
        rig.sink.await_lines(1, "platform.restoreStart")
    rig.invocation("after it")
    rig.sink.await_lines(2)
    _closed, fresh = rig.sink.handshakes
    assert not fresh.session_reused
    before, after = (record["event_id"] for record in rig.sink.records if record["type"] == "function")
    assert before.partition("-")[0] != after.partition("-")[0]
    ending = rig.end()
    assert (ending.status, ending.logs["held"]) == (0, 0)
    assert any("Restored from a snapshot" in line for line in ending.lines)


async def test_a_life_from_the_snapshot_on(stage: Stage) -> None:
    """Under the emulator, an hour later, all connections gone: nothing is lost, and the restore is reported."""
    async with Relay("127.0.0.1", stage.backend.port) as relay:
        settings = {"O2_ENDPOINT": f"http://127.0.0.1:{relay.port}"}
        config = stage.config(settings=settings, initialization_type="snap-start", snapshot_age_ms=3_600_000)
        async with Emulator(config) as emulator:
            emulator.relays.append(relay)
            results = [await emulator.invoke() for _ in range(2)]
            ended = await emulator.shutdown()
        assert (ended.extensions[EXTENSION].returncode, ended.extensions[EXTENSION].killed) == (0, False)
    assert [result.outcome for result in results] == ["success", "success"]
    sent = emulator.telemetry_sent[EXTENSION]
    rows = stage.stored()
    platform = [row for row in rows if row["type"].startswith("platform.")]
    # What waited for an answer when the snapshot was taken comes again, under the same id.
    kinds = list({row["event_id"]: row["type"] for row in platform}.values())
    assert len(kinds) == len([each for each in sent if each["type"].startswith("platform.")])
    for kind in ("restoreStart", "restoreRuntimeDone", "restoreReport"):
        assert kinds.count(f"platform.{kind}") == 1
    [restored] = stage.stored("platform.restoreReport")
    assert restored["record_status"] == "success"
    before = {row["event_id"].partition("-")[0] for row in stage.stored("platform.initStart")}
    after = {row["event_id"].partition("-")[0] for row in stage.stored("platform.start")}
    assert len(before) == len(after) == 1
    assert before != after
    lines = [row for row in stage.stored("function") if str(row["record"]).startswith("line")]
    assert {row["requestid"] for row in lines} == {result.request_id for result in results}
