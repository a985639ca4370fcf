"""The engine and its buffer: what is held is bounded, and what does not fit is refused or counted as dropped."""

from __future__ import annotations

import random

import pytest

from o2_lambda.extension.core.otlp import JSON, PROTOBUF
from tests.unit import events
from tests.unit.otlp_samples import encode, merged, traces
from tests.unit.simulation import Upstream, World, failing, healthy, silent, stored


def end(upstream: Upstream = healthy, **environ: str) -> World:
    return World(upstream, settings={"O2_FLUSH_STRATEGY": "end", **environ})


def noisy(world: World, count: int) -> None:
    """Fills the buffer with what does not compress, one sealed batch at a time."""
    dice = random.Random(world.ms)
    for _ in range(count):
        world.log(1, pad=dice.randbytes(30_000).hex())


def test_full_buffer_drops_the_oldest_logs_with_a_warning_a_minute() -> None:
    """The newest survive; every drop is counted, and one line a minute says what to do."""
    world = end(failing(503), O2_MAX_BUFFER_SIZE_MB="1", O2_BATCH_SIZE="1")
    world.invoke(timeout_ms=900_000)
    noisy(world, 60)
    account = world.account()
    assert account["dropped"].keys() == {"buffer_full"}
    assert account["received"] == 60 == account["held"] + account["dropped"]["buffer_full"]
    assert len(world.said("WARN", "O2_MAX_BUFFER_SIZE_MB")) == 1
    world.advance(60_000)
    noisy(world, 5)
    assert len(world.said("WARN", "O2_MAX_BUFFER_SIZE_MB")) == 2


def test_batch_in_flight_survives_a_full_buffer() -> None:
    """It may be stored this very moment: counting it as dropped could be wrong."""
    world = end(silent, O2_MAX_BUFFER_SIZE_MB="1", O2_BATCH_SIZE="1")
    world.invoke(timeout_ms=900_000)
    noisy(world, 1)
    assert world.in_flight is not None
    noisy(world, 60)
    world.answer(stored(world.in_flight))
    assert world.account()["delivered"] == 1


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_full_buffer_refuses_otlp(content_type: str) -> None:
    """An SDK is told to try again, and what was refused is not counted as received."""
    world = end(failing(503), O2_MAX_BUFFER_SIZE_MB="1", O2_BATCH_SIZE="1")
    world.invoke(timeout_ms=900_000)
    noisy(world, 40)
    body = encode(merged(*(traces(50) for _ in range(20))), content_type)
    assert world.export("traces", content_type, body) == 503
    assert world.account("traces")["received"] == 0
    world.upstream = healthy
    world.advance(120_000)
    assert world.export("traces", content_type, body) == 200
    assert world.account("traces")["received"] == 1000


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_export_larger_than_the_buffer_is_not_asked_to_come_back_for_ever(content_type: str) -> None:
    """Compressed it fits; where it does not, it is dropped and counted like the rest."""
    world = end(O2_MAX_BUFFER_SIZE_MB="1")
    world.invoke()
    body = encode(merged(traces(1, name="x" * (2 << 20)), traces(1)), content_type)
    assert world.export("traces", content_type, body) == 200
    world.finish()
    world.let_go()
    assert world.account("traces") == {"received": 2, "delivered": 2, "rejected": 0, "dropped": {}, "held": 0}
    world = end(O2_MAX_BUFFER_SIZE_MB="1")
    world.invoke()
    body = encode(traces(1, name=random.Random(1).randbytes(3 << 20).hex()), content_type)
    assert world.export("traces", content_type, body) == 200
    assert world.account("traces")["dropped"] == {"buffer_full": 1}


def test_json_with_a_byte_order_mark_is_json() -> None:
    """Some writers begin with it."""
    world = end()
    assert world.export("traces", JSON, b"\xef\xbb\xbf" + encode(traces(3), JSON)) == 200
    assert world.account("traces")["received"] == 3


def test_empty_export_is_accepted_and_forgotten() -> None:
    """Nothing to count, nothing to send."""
    world = end()
    assert world.export("traces", PROTOBUF, b"") == 200
    assert world.account("traces")["received"] == 0
    assert world.engine.destinations.is_empty


def test_lost_payload_is_counted() -> None:
    """What could not be taken in is in the ledger."""
    world = end()
    world.engine.telemetry_lost("body_too_large")
    world.step()
    assert world.account()["dropped"] == {"body_too_large": 1}


def test_platform_drops_are_told() -> None:
    """Lambda itself gave up lines: counted, and one warning each."""
    world = end()
    record = {"droppedBytes": 1000, "droppedRecords": 7, "reason": "slow"}
    world.telemetry(events.event("platform.logsDropped", record))
    assert world.engine.ledger.platform_logs_dropped == 7
    assert world.said("WARN", "Lambda dropped 7")
