"""What users of the reference met: its data. Each test would have failed there, as `plants.py` proves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.stub_lambda import event

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Settings

END: Settings = {"O2_FLUSH_STRATEGY": "end"}


def test_every_record_says_which_function_it_comes_from(arena: Arena) -> None:
    """No function name, version, region or account.

    Users saw: lines of twenty functions that nobody could tell apart.
    """
    rig = arena.rig(**END)
    rig.invocation("a")
    for record in rig.sink.records:
        assert record.get("function_name") == "orders"
        assert record.get("function_version") == "7"
        assert record.get("region") == "us-east-1"
        assert record.get("account") == "123456789012"


def test_every_line_has_its_request_id(arena: Arena) -> None:
    """`requestId` was always absent. Users saw: no way to find the lines of one invocation."""
    rig = arena.rig(**END)
    ids = [rig.invocation("a", "b") for _ in range(3)]
    found = [record.get("requestId") for record in rig.sink.records if record["type"] == "function"]
    assert found == [each for each in ids for _ in range(2)]


def test_own_progress_does_not_feed_itself(arena: Arena) -> None:
    """Its own lines were ingested again, which made further requests and lines.

    Users saw: thousands of lines `Successfully sent 1 logs` between their own.
    """
    rig = arena.rig(**END)
    for number in range(3):
        rig.begin()
        rig.log("a")
        own = [event("extension", f"{line}\n") for line in rig.process.lines]
        if own:
            rig.lambda_.post(*own)
        rig.done()
        rig.await_next()
        rig.process.await_line("Successfully sent")
        assert len(rig.sink.requests) == number + 1
    stored = rig.sink.lines("extension")
    assert not [line for line in stored if "Successfully sent" in line]
    assert [line for line in stored if "Extension registered" in line]


def test_one_malformed_event_costs_itself_alone(arena: Arena) -> None:
    """One malformed event failed its whole batch. Users saw: hundreds of good lines missing around it."""
    rig = arena.rig(**END)
    rig.begin()
    good = [event("function", "first\n"), event("function", "second\n")]
    broken = '{"time":"2026-01-01T00:00:00.000Z","type":"function","record":"no end'
    rig.lambda_.post_bytes(f"[{good[0]},{broken},{good[1]}]".encode())
    rig.done()
    rig.await_next()
    assert rig.sink.lines() == ["first", "second"]
    [malformed] = rig.sink.lines("malformed")
    assert "no end" in malformed
    assert rig.end().ledger["malformed"] == 1


def test_lines_that_lambda_dropped_are_told(arena: Arena) -> None:
    """platform.logsDropped was ignored. Users saw: lines missing, and nothing that said so."""
    rig = arena.rig(**END)
    rig.begin()
    record = {"droppedBytes": 12345, "droppedRecords": 123, "reason": "fallen behind"}
    rig.lambda_.post(event("platform.logsDropped", record))
    rig.done()
    rig.await_next()
    assert "123" in rig.process.await_line("Lambda dropped")
    assert rig.end().ledger["platform_logs_dropped"] == 123
    assert len(rig.sink.lines("platform.logsDropped")) == 1
