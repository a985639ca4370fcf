"""SnapStart: one snapshot, many sandboxes. What they share must not be used by any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from tests.integration.secured import server_context, write_authority
from tests.integration.stub_lambda import event

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
    rig.sink.await_lines(1)
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
