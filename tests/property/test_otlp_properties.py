"""OTLP payloads: counts are those of the official classes; hostile bytes raise `OtlpError` and nothing else."""

from __future__ import annotations

import json

from google.protobuf.json_format import Parse
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.extension.core import otlp
from o2_lambda.extension.core.otlp import JSON, PROTOBUF, OtlpError
from tests.unit.otlp_samples import REQUESTS, encode, logs, merged, metrics, traces

counts = st.lists(st.integers(0, 4), max_size=6)
requests = st.one_of(
    counts.map(lambda each: ("traces", traces(*each))),
    counts.map(lambda each: ("metrics", metrics(*each))),
    counts.map(lambda each: ("otlp_logs", logs(*each))),
)
content_types = st.sampled_from([PROTOBUF, JSON])
signals = st.sampled_from(sorted(REQUESTS))


def items(message: Message) -> int:
    """The items of a request, by walking the official classes."""
    if message.DESCRIPTOR.name in ("Span", "LogRecord") or message.DESCRIPTOR.name.endswith("DataPoint"):
        return 1
    total = 0
    for field, value in message.ListFields():
        if field.message_type is None or field.name == "resource":
            continue
        inner = [value] if isinstance(value, Message) else value
        total += sum(items(each) for each in inner)
    return total


@given(requests, content_types)
def test_count_is_that_of_the_official_classes(sample: tuple[str, Message], content_type: str) -> None:
    """For any shape of request, in both encodings."""
    signal, request = sample
    assert otlp.count(signal, content_type, encode(request, content_type)) == items(request)


@given(st.lists(counts, min_size=1, max_size=4), content_types)
def test_merged_requests_are_the_union(shapes: list[list[int]], content_type: str) -> None:
    """Nothing is added, lost or moved by merging."""
    parts = [traces(*shape) for shape in shapes]
    bodies = [encode(part, content_type) for part in parts]
    if content_type == PROTOBUF:
        decoded = REQUESTS["traces"].FromString(b"".join(bodies))
    else:
        head, tail = otlp.json_frame("traces")
        joined = head + b",".join(filter(None, (otlp.json_array("traces", body) for body in bodies))) + tail
        decoded = Parse(joined, REQUESTS["traces"]())
    assert decoded == merged(*parts)


@given(requests, st.data())
def test_damaged_protobuf_raises_otlp_errors_only(sample: tuple[str, Message], data: st.DataObject) -> None:
    """Bytes replaced, removed or added anywhere."""
    signal, request = sample
    body = bytearray(encode(request, PROTOBUF))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        assert otlp.count(signal, PROTOBUF, bytes(body)) >= 0
        assert (
            b"".join(otlp.resource_blocks(bytes(body)))
            == bytes(body)[: len(b"".join(otlp.resource_blocks(bytes(body))))]
        )
    except OtlpError:
        return


@given(signals, st.binary(max_size=200), content_types)
def test_any_bytes_raise_otlp_errors_only(signal: str, body: bytes, content_type: str) -> None:
    """Whatever a client sends."""
    for read in (
        lambda: otlp.count(signal, content_type, body),
        lambda: otlp.json_array(signal, body),
        lambda: otlp.partial_success(body),
    ):
        try:
            read()
        except OtlpError:
            continue


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["resourceSpans", "scopeSpans", "spans", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_raises_otlp_errors_only(value: object) -> None:
    """Members of the right names and of any types; what counts can be spliced."""
    body = json.dumps(value).encode()
    try:
        count = otlp.count("traces", JSON, body)
    except OtlpError:
        return
    if count:
        head, tail = otlp.json_frame("traces")
        assert otlp.count("traces", JSON, head + otlp.json_array("traces", body) + tail) == count
