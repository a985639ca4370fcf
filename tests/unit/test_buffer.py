"""The buffer: bounded in bytes, in order, and what is in flight stays until its verdict."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest

from o2_lambda.extension.core.batch import (
    BODY_BYTES_MAX,
    LOGS,
    MERGED_RAW_BYTES_MAX,
    RAW_BYTES_MAX,
    Batch,
    merge,
    split,
)
from o2_lambda.extension.core.buffer import Buffer
from o2_lambda.extension.core.otlp import JSON, PROTOBUF
from tests.unit.otlp_samples import encode, traces

TRACES: Any = ("traces", PROTOBUF)
MB = 1024 * 1024


def buffer(*, bytes_max: int = 10 * MB, batch_items_max: int = 1000) -> Buffer:
    held = Buffer(bytes_max=bytes_max, batch_items_max=batch_items_max)
    held.queue()
    return held


def shed(held: Buffer, extra_bytes: int) -> list[Batch]:
    return [batch for _queue, batch in held.shed(extra_bytes)]


def add_logs(target: Buffer, *numbers: int, pad: str = "", urgent: bool = False) -> None:
    items = b",".join(json.dumps({"n": number, "pad": pad}).encode() for number in numbers)
    target.add(LOGS, items, len(numbers), urgent=urgent)


def add_sealed(target: Buffer, stream: Any = LOGS, *, size: int = 1000, seed: int = 0) -> Batch:
    """A sealed batch of one item that does not compress."""
    noise = random.Random(seed).randbytes(size).hex()
    if stream == LOGS:
        target.add(LOGS, json.dumps(noise).encode(), 1)
    else:
        target.add(stream, encode(traces(1, name=noise), PROTOBUF), 1)
    target.seal_all()
    return target.queues[0]._batches[-1]


def drain(target: Buffer) -> list[Batch]:
    """Takes out all batches in the order in which they would be sent."""
    target.seal_all()
    found = []
    while (batch := target.queues[0].next_batch(urgent_first=False)) is not None:
        found.append(batch)
        target.queues[0].remove(batch)
    return found


def numbers(batches: list[Batch]) -> list[int]:
    return [each["n"] for batch in batches for each in json.loads(gzip.decompress(batch.body))]


def test_batch_is_sealed_at_its_count() -> None:
    """O2_BATCH_SIZE is the most events of one request."""
    held = buffer(batch_items_max=3)
    for number in range(7):
        assert held.room(LOGS) == 3 - number % 3
        add_logs(held, number)
    assert held.queues[0].next_batch(urgent_first=False) is not None
    batches = drain(held)
    assert [batch.count for batch in batches] == [3, 3, 1]
    assert numbers(batches) == list(range(7))


def test_batch_is_sealed_before_its_raw_bytes_exceed_the_limit() -> None:
    """However well lines compress, a request stays readable for the server."""
    held = buffer(batch_items_max=100_000)
    pad = "x" * 200_000
    for number in range(50):
        add_logs(held, number, pad=pad)
    batches = drain(held)
    assert len(batches) >= 2
    assert all(len(gzip.decompress(batch.body)) <= RAW_BYTES_MAX + 2 for batch in batches)
    assert numbers(batches) == list(range(50))


def test_batch_is_sealed_when_its_body_is_large() -> None:
    """What does not compress is bounded by what is sent."""
    held = buffer(batch_items_max=100_000)
    noise = random.Random(1)
    for number in range(60):
        add_logs(held, number, pad=noise.randbytes(30_000).hex())
    batches = drain(held)
    assert len(batches) >= 2
    assert all(len(batch.body) <= BODY_BYTES_MAX + 100_000 for batch in batches)
    assert numbers(batches) == list(range(60))


def test_one_item_larger_than_a_batch_is_a_batch_of_its_own() -> None:
    """It never blocks what comes behind it."""
    held = buffer()
    add_logs(held, 0)
    add_logs(held, 1, pad="y" * (RAW_BYTES_MAX + 1))
    add_logs(held, 2)
    assert [batch.count for batch in drain(held)] == [1, 1, 1]


def test_streams_do_not_mix() -> None:
    """Signals and encodings have batches of their own."""
    held = buffer()
    add_logs(held, 0)
    held.add(TRACES, encode(traces(2), PROTOBUF), 2)
    as_json: Any = ("traces", JSON)
    held.add(as_json, b'{"scopeSpans":[{"spans":[{}]}]}', 1)
    assert (
        held.queues[0].items_held("logs"),
        held.queues[0].items_held("traces"),
        held.queues[0].items_held("metrics"),
    ) == (1, 3, 0)
    assert sorted((batch.stream, batch.count) for batch in drain(held)) == sorted(
        [(LOGS, 1), (TRACES, 2), (as_json, 1)]
    )


def test_empty_means_nothing_is_owed() -> None:
    """An open batch, a sealed one and one in flight are all owed."""
    held = buffer()
    assert held.queues[0].is_empty
    add_logs(held, 0)
    assert not held.queues[0].is_empty
    assert held.queues[0].next_batch(urgent_first=False) is None
    held.seal_all()
    batch = held.queues[0].next_batch(urgent_first=False)
    assert batch is not None
    held.queues[0].in_flight = batch
    assert not held.queues[0].is_empty
    held.queues[0].remove(batch)
    assert held.queues[0].is_empty
    assert held.bytes_held == 0


def test_urgent_batches_go_first_when_asked_for() -> None:
    """The oldest of the urgent ones; without urgency the order is that of arrival."""
    held = buffer(batch_items_max=1)
    add_logs(held, 0)
    add_logs(held, 1, urgent=True)
    add_logs(held, 2, urgent=True)
    first, oldest = held.queues[0].next_batch(urgent_first=True), held.queues[0].next_batch(urgent_first=False)
    assert first is not None
    assert oldest is not None
    assert numbers([first, oldest]) == [1, 0]


def test_batch_is_urgent_where_one_of_its_items_is() -> None:
    """Urgency is of a batch, and does not wear off."""
    held = buffer()
    add_logs(held, 0, urgent=True)
    add_logs(held, 1)
    assert drain(held)[0].urgent


def test_halves_stand_where_the_whole_stood() -> None:
    """The order survives a split."""
    held = buffer(batch_items_max=4)
    add_logs(held, 0, 1, 2, 3)
    add_logs(held, 4, 5, 6, 7)
    batch = held.queues[0].next_batch(urgent_first=False)
    assert batch is not None
    held.queues[0].replace(batch, split(batch))
    batches = drain(held)
    assert [each.count for each in batches] == [2, 2, 4]
    assert numbers(batches) == list(range(8))
    assert held.bytes_held == 0


def test_nothing_is_shed_within_the_bound() -> None:
    """The bound is inclusive."""
    held = buffer(bytes_max=MB)
    batch = add_sealed(held)
    held.bytes_max = len(batch.body)
    assert shed(held, 0) == []
    assert shed(held, 1) == [batch]


def test_oldest_batch_of_the_largest_signal_is_shed() -> None:
    """Whoever floods the buffer pays for it, with what is oldest."""
    held = buffer(batch_items_max=1)
    spans = add_sealed(held, TRACES, size=500)
    old, new = add_sealed(held, size=2000, seed=1), add_sealed(held, size=2000, seed=2)
    held.bytes_max = held.bytes_held - 1
    assert shed(held, 0) == [old]
    held.bytes_max = len(spans.body)
    assert shed(held, 0) == [new]
    assert drain(held) == [spans]


def test_small_batches_that_wait_become_one() -> None:
    """A destination that is down finds no request per invocation when it is back: order and items are as they were."""
    held = buffer(batch_items_max=500)
    for number in range(0, 1200, 3):
        add_logs(held, number, number + 1, number + 2)
        held.seal_all()
        held.add(TRACES, encode(traces(1), PROTOBUF), 1)
        held.seal_all()
    batches = drain(held)
    assert len(batches) <= 30
    logs = [batch for batch in batches if batch.stream == LOGS]
    assert max(batch.count for batch in logs) <= 500
    assert numbers(logs) == list(range(1200))
    assert sum(batch.count for batch in batches if batch.stream == TRACES) == 400
    assert held.bytes_held == 0


def test_merging_packs_an_item_a_few_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of what waits does not grow with the square of its number."""
    packed = []

    def counted(older: Batch, newer: Batch) -> Batch:
        packed.append(older.count + newer.count)
        return merge(older, newer)

    monkeypatch.setattr("o2_lambda.extension.core.buffer.merge", counted)
    held = buffer(batch_items_max=100_000)
    for number in range(1000):
        add_logs(held, number)
        held.seal_all()
    assert numbers(drain(held)) == list(range(1000))
    assert sum(packed) < 1000 * 12


def test_what_is_in_flight_urgent_or_a_piece_is_not_merged() -> None:
    """A request's batch stays what was sent, evidence keeps its place, and halves are not put together again."""
    held = buffer()
    add_logs(held, 1)
    held.seal_all()
    (queue,) = held.queues
    queue.in_flight = queue.next_batch(urgent_first=False)
    add_logs(held, 2)
    held.seal_all()
    add_logs(held, 3, urgent=True)
    held.seal_all()
    assert [batch.count for batch in queue._batches] == [1, 1, 1]
    whole = buffer()
    add_logs(whole, 1, 2)
    whole.seal_all()
    (batch,) = whole.queues[0]._batches
    whole.queues[0].replace(batch, split(batch))
    add_logs(whole, 3)
    whole.seal_all()
    assert [each.count for each in whole.queues[0]._batches] == [1, 1, 1]


def test_large_batches_are_left_as_they_are() -> None:
    """What merging unpacks at a time is bounded."""
    held = buffer()
    for number in range(4):
        add_logs(held, number, pad="x" * (MERGED_RAW_BYTES_MAX // 2))
        held.seal_all()
    assert [batch.count for batch in drain(held)] == [1, 1, 1, 1]


def test_batch_in_flight_is_not_shed() -> None:
    """It may be delivered this very moment; the next one goes instead."""
    held = buffer(batch_items_max=1)
    first, second = add_sealed(held, seed=1), add_sealed(held, seed=2)
    held.queues[0].in_flight = first
    held.bytes_max = 1
    assert shed(held, 0) == [second]
    assert shed(held, 0) == []
    assert held.queues[0].next_batch(urgent_first=False) is first


def test_another_signal_is_shed_where_the_largest_is_in_flight() -> None:
    """The bound holds for everything else."""
    held = buffer()
    large, small = add_sealed(held, size=5000), add_sealed(held, TRACES, size=100)
    held.queues[0].in_flight = large
    held.bytes_max = len(large.body)
    assert shed(held, 0) == [small]


def test_open_batch_is_shed_last() -> None:
    """It holds what is newest; without it the bound could not hold."""
    held = buffer(batch_items_max=100_000)
    noise = random.Random(3)
    add_logs(held, *range(100), pad=noise.randbytes(2000).hex())
    held.bytes_max = 1
    (dropped,) = shed(held, 0)
    assert dropped.count == 100
    assert held.queues[0].is_empty


def test_bytes_held_elsewhere_count() -> None:
    """Bodies that are just coming in take from the same bound."""
    held = buffer(bytes_max=5000)
    batch = add_sealed(held, size=1000)
    assert shed(held, 5000 - len(batch.body)) == []
    assert shed(held, 5001 - len(batch.body)) == [batch]


@pytest.mark.parametrize("bytes_max", [20_000, 100_000])
def test_flood_never_exceeds_the_bound(bytes_max: int) -> None:
    """Whatever is added, shedding brings the buffer back within the bound."""
    held = buffer(bytes_max=bytes_max, batch_items_max=10)
    noise = random.Random(4)
    for number in range(300):
        add_logs(held, number, pad=noise.randbytes(noise.randrange(2000)).hex())
        held.shed(0)
        assert held.bytes_held <= bytes_max
    remaining = numbers(drain(held))
    assert remaining == list(range(300 - len(remaining), 300))
