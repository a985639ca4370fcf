"""Batches: a sealed one is a valid request, and its halves hold the same items in the same order."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from o2_lambda.extension.core import otlp
from o2_lambda.extension.core.batch import LOGS, Batch, OpenBatch, split
from o2_lambda.extension.core.otlp import JSON, PROTOBUF
from tests.unit.otlp_samples import REQUESTS, encode, logs, merged, metrics, traces


def batch_of(stream: Any, *pieces: tuple[bytes, int]) -> Batch:
    """A sealed batch of (items, count) pieces."""
    batch = OpenBatch(stream)
    for items, count in pieces:
        batch.add(items, count)
    return batch.seal()


def log_batch(count: int) -> Batch:
    return batch_of(LOGS, *((b'{"n":%d,"t":"],}{[ \\" \xc3\xa9"}' % n, 1) for n in range(count)))


def numbers(batch: Batch) -> list[int]:
    return [each["n"] for each in json.loads(gzip.decompress(batch.body))]


def test_log_batch_is_a_json_array() -> None:
    """Pieces of one or several events are joined by commas, within brackets."""
    batch = batch_of(LOGS, (b'{"n":0}', 1), (b'{"n":1},{"n":2}', 2), (b'{"n":3}', 1))
    assert numbers(batch) == [0, 1, 2, 3]
    assert batch.count == 4


def test_body_is_one_gzip_stream_of_about_the_raw_bytes() -> None:
    """`raw_bytes` is what it unpacks to, within the separators."""
    batch = log_batch(100)
    unpacked = gzip.decompress(batch.body)
    assert abs(batch.raw_bytes - len(unpacked)) <= 2
    assert len(batch.body) < len(unpacked)


@pytest.mark.parametrize(
    ("signal", "part"), [("traces", traces(2)), ("metrics", metrics(1, 2)), ("otlp_logs", logs(3))]
)
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_otlp_batch_is_one_request(signal: str, part: Any, content_type: str) -> None:
    """Export requests merge into one that the official classes read as the union."""
    body = encode(part, content_type)
    items = body if content_type == PROTOBUF else otlp.json_array(signal, body)
    count = otlp.count(signal, content_type, body)
    batch = batch_of((signal, content_type), *[(items, count)] * 3)
    unpacked = gzip.decompress(batch.body)
    assert otlp.count(signal, content_type, unpacked) == batch.count == 3 * count
    if content_type == PROTOBUF:
        assert REQUESTS[signal].FromString(unpacked) == merged(part, part, part)
    else:
        json.loads(unpacked)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 100, 101])
def test_halves_conserve_items_and_order(count: int) -> None:
    """Nothing is lost, doubled or moved; texts that look like JSON's own signs do not confuse the cut."""
    halves = split(log_batch(count))
    assert len(halves) == 2
    assert numbers(halves[0]) + numbers(halves[1]) == list(range(count))
    assert [half.count for half in halves] == [len(numbers(half)) for half in halves]
    assert abs(halves[0].count - halves[1].count) <= 1


def test_halves_inherit_urgency() -> None:
    """A half is as urgent as the whole."""
    batch = log_batch(4)
    batch.urgent = True
    for half in split(batch):
        assert (half.urgent, half.stream) == (True, batch.stream)


def test_halving_ends_with_single_events() -> None:
    """A single event cannot be halved: it comes back alone."""
    pending, singles = [log_batch(13)], []
    while pending:
        batch = pending.pop(0)
        halves = split(batch)
        if halves == [batch]:
            singles.append(batch)
        else:
            pending[:0] = halves
    assert [numbers(single) for single in singles] == [[n] for n in range(13)]


def test_events_that_came_joined_are_halved_apart() -> None:
    """How events were joined when they were added does not matter."""
    batch = batch_of(LOGS, (b'{"n":0} , {"n":1}\n,{"n":2}', 3), (b' {"n":3} ', 1))
    assert [numbers(half) for half in split(batch)] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_otlp_halves_conserve_items(content_type: str) -> None:
    """An OTLP batch is halved by resource blocks, each half counted anew."""
    parts = [traces(1, name="a"), traces(2, 1, name="b"), traces(0), traces(4, name="c")]
    bodies = [encode(part, content_type) for part in parts]
    pieces = [
        (
            body if content_type == PROTOBUF else otlp.json_array("traces", body),
            otlp.count("traces", content_type, body),
        )
        for body in bodies
    ]
    halves = split(batch_of(("traces", content_type), *pieces))
    assert [half.count for half in halves] == [4, 4]
    for half in halves:
        assert otlp.count("traces", content_type, gzip.decompress(half.body)) == half.count
    if content_type == PROTOBUF:
        decoded = [REQUESTS["traces"].FromString(gzip.decompress(half.body)) for half in halves]
        assert merged(*decoded) == merged(*parts)


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_single_resource_block_is_not_halved(content_type: str) -> None:
    """The block is the smallest part that is a request of its own."""
    body = encode(traces(5), content_type)
    items = body if content_type == PROTOBUF else otlp.json_array("traces", body)
    batch = batch_of(("traces", content_type), (items, 5))
    assert split(batch) == [batch]


def test_batch_shows_itself() -> None:
    """Its repr tells what a log reader wants to know."""
    batch = log_batch(3)
    assert repr(batch) == f"<Batch logs count=3 bytes={len(batch.body)}>"
