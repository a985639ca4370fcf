"""Batching, splitting and dropping, without sockets: time is an argument."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.emulator.errors import ApiError
from o2_lambda.emulator.events import Event
from o2_lambda.emulator.telemetry import Batch, Queue, Subscription, parse_subscription, retry_delay_ms

URL = "http://127.0.0.1:9/x"
SUBSCRIPTION = Subscription(("platform", "function"), "2022-12-13", 1000, 262_144, 25, url=URL)
T = "2023-11-14T22:13:20.000Z"
WALL_MS = 1_700_000_000_000.0


def line(text: str, *, json_log: bool = False) -> Event:
    """A function event."""
    return Event(WALL_MS, "function", text=text, json_log=json_log)


def drain(queue: Queue) -> list[Batch]:
    """Seal and take everything."""
    queue.seal()
    return list(iter(lambda: queue.take(0), None))


def test_a_batch_waits_for_its_timeout_since_the_first_event() -> None:
    """Later events do not postpone it."""
    queue = Queue(SUBSCRIPTION)
    assert queue.due_ms() is None
    queue.add(line("a"), 100)
    queue.add(line("b"), 120)
    assert queue.due_ms() == 125
    assert queue.take(124.9) is None
    batch = queue.take(125)
    assert batch is not None
    assert batch.body == (
        f'[{{"time":"{T}","type":"function","record":"a"}},{{"time":"{T}","type":"function","record":"b"}}]'.encode()
    )
    assert queue.empty


def test_a_batch_goes_at_max_items() -> None:
    """The thousandth event seals it."""
    queue = Queue(SUBSCRIPTION)
    for _ in range(1001):
        queue.add(line("x"), 0)
    batch = queue.take(0)
    assert batch is not None
    assert len(json.loads(batch.body)) == 1000
    assert queue.take(0) is None


def test_a_batch_goes_before_it_exceeds_max_bytes() -> None:
    """An event that would make it larger starts the next one."""
    queue = Queue(SUBSCRIPTION)
    for _ in range(3):
        queue.add(line("x" * 100_000), 0)
    batch = queue.take(0)
    assert batch is not None
    assert len(json.loads(batch.body)) == 2


def test_the_bound_drops_new_records_and_tells_once() -> None:
    """What waits stays; one logsDropped carries the sums."""
    queue = Queue(SUBSCRIPTION)
    admitted = [queue.add(line("x" * 100_000), 0) for _ in range(10)]
    assert admitted == [True] * 5 + [False] * 5
    assert queue.held_bytes <= 2 * SUBSCRIPTION.max_bytes
    assert (queue.dropped_records, queue.dropped_bytes > 500_000) == (5, True)
    queue.take(0)
    queue.settle_drops(WALL_MS, 0)
    queue.settle_drops(WALL_MS, 0)
    events = [event for batch in drain(queue) for event in json.loads(batch.body)]
    dropped = [event["record"] for event in events if event["type"] == "platform.logsDropped"]
    assert [record["droppedRecords"] for record in dropped] == [5]


def test_oversize_record_is_cut_over_two_posts_neither_valid_json() -> None:
    """POST 1 ends in a literal `}]`; POST 2 repeats the envelope and carries the rest and what follows."""
    queue = Queue(SUBSCRIPTION)
    queue.add(line("before"), 0)
    value = '{"message":"' + "A" * 300_000 + '"}'
    queue.add(line(value, json_log=True), 0)
    queue.add(Event(WALL_MS, "platform.runtimeDone", {"requestId": "r"}), 0)
    before, first, second = drain(queue)
    envelope = f'[{{"time":"{T}","type":"function","record":'.encode()
    assert json.loads(before.body)[0]["record"] == "before"
    assert first.body == envelope + value[:262_144].encode() + b"}]"
    rest = f'}},{{"time":"{T}","type":"platform.runtimeDone","record":{{"requestId":"r"}}}}]'
    assert second.body == envelope + value[262_144:].encode() + rest.encode()
    for batch in (first, second):
        with pytest.raises(ValueError, match=r"."):
            json.loads(batch.body)
    stitched = first.body[:-2] + second.body[len(envelope) :]
    assert [event["type"] for event in json.loads(stitched)] == ["function", "platform.runtimeDone"]


def test_oversize_split_follows_the_fault_knob() -> None:
    """A small limit cuts a small record; a TCP stream is never cut."""
    queue = Queue(SUBSCRIPTION)
    queue.add(line("abcdef"), 0, split_bytes=4)
    assert drain(queue)[0].body.endswith(b'"abc}]')
    stream = Queue(replace(SUBSCRIPTION, url="", port=9))
    stream.add(line("abcdef"), 0, split_bytes=4)
    assert len(drain(stream)) == 1


@pytest.mark.parametrize(("schema", "json_log", "record"), [
    ("2022-07-01", True, '{"a":1}\n'),
    ("2022-12-13", True, {"a": 1}),
    ("2025-01-29", True, {"a": 1}),
    ("2022-12-13", False, '{"a":1}\n'),
])  # fmt: skip
def test_json_lines_become_objects_only_where_schema_and_format_say_so(
    schema: str, json_log: bool, record: object
) -> None:
    """The oldest schema and the text format keep strings."""
    assert json.loads(line('{"a":1}\n', json_log=json_log).encode(schema))["record"] == record


@pytest.mark.parametrize("text", ["[1]\n", "{nope}\n", "plain", '"quoted"'])
def test_lines_that_are_no_objects_stay_strings(text: str) -> None:
    """Only objects are embedded."""
    assert json.loads(line(text, json_log=True).encode("2022-12-13"))["record"] == text


@given(st.lists(st.text(max_size=40), max_size=60), st.integers(min_value=1, max_value=60))
def test_every_admitted_event_is_in_exactly_one_batch_in_order(texts: list[str], take_every: int) -> None:
    """Conservation, whatever the moments of taking."""
    queue = Queue(SUBSCRIPTION)
    out: list[str] = []
    for number, text in enumerate(texts):
        assert queue.add(line(text), number * 10.0)
        if number % take_every == 0:
            batch = queue.take(number * 10.0)
            out += [event["record"] for event in json.loads(batch.body)] if batch else []
    out += [event["record"] for batch in drain(queue) for event in json.loads(batch.body)]
    assert out == [text.encode(errors="replace").decode() for text in texts]


BASE = {"types": ["platform"], "destination": {"protocol": "HTTP", "URI": "http://sandbox:1/"}}


@pytest.mark.parametrize(("change", "culprit"), [
    ({"types": []}, "types"),
    ({"types": ["metrics"]}, "types"),
    ({"schemaVersion": "2020-01-01"}, "schemaVersion"),
    ({"buffering": {"maxItems": 999}}, "maxItems"),
    ({"buffering": {"maxItems": 10_001}}, "maxItems"),
    ({"buffering": {"maxBytes": 262_143}}, "maxBytes"),
    ({"buffering": {"maxBytes": 1_048_577}}, "maxBytes"),
    ({"buffering": {"timeoutMs": 24}}, "timeoutMs"),
    ({"buffering": {"timeoutMs": 30_001}}, "timeoutMs"),
    ({"buffering": {"timeoutMs": True}}, "timeoutMs"),
    ({"destination": None}, "destination"),
    ({"destination": {"protocol": "UDP"}}, "protocol"),
    ({"destination": {"protocol": "TCP", "port": 0}}, "port"),
    ({"destination": {"protocol": "HTTP", "URI": "http://localhost:1/"}}, "sandbox.localdomain"),
    ({"destination": {"protocol": "HTTP", "URI": "https://sandbox:1/"}}, "sandbox.localdomain"),
    ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:99999/"}}, "destination"),
])  # fmt: skip
def test_invalid_subscriptions_are_400_naming_the_field(change: dict[str, object], culprit: str) -> None:
    """Every limit, on both sides."""
    with pytest.raises(ApiError) as refused:
        parse_subscription(json.dumps({**BASE, **change}).encode(), managed=False)
    assert (refused.value.status, refused.value.error_type) == (400, "ValidationError")
    assert culprit in refused.value.message


def test_defaults_and_sandbox_hosts() -> None:
    """Absent buffering means AWS's defaults; the host becomes the loopback address, path and query stay."""
    body = {
        "types": ["platform", "platform"],
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:81/p/a?q=1"},
    }
    found = parse_subscription(json.dumps(body).encode(), managed=False)
    assert found == Subscription(("platform",), "2022-07-01", 10_000, 262_144, 1000, url="http://127.0.0.1:81/p/a?q=1")


def test_managed_instances_accept_one_schema_only() -> None:
    """Everything before 2025-01-29 is refused."""
    with pytest.raises(ApiError, match=r"2025-01-29"):
        parse_subscription(json.dumps({**BASE, "schemaVersion": "2022-12-13"}).encode(), managed=True)
    assert parse_subscription(json.dumps({**BASE, "schemaVersion": "2025-01-29"}).encode(), managed=True)


def test_retries_back_off_to_a_second() -> None:
    """100 ms, doubling, at most a second."""
    assert [retry_delay_ms(attempt) for attempt in (1, 2, 3, 4, 5, 50)] == [100, 200, 400, 800, 1000, 1000]
