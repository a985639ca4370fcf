"""OTLP payloads: counted and merged as the official protobuf classes would."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from o2_lambda.extension.core import otlp
from o2_lambda.extension.core.otlp import JSON, PROTOBUF, OtlpError
from tests.unit.otlp_samples import REQUESTS, SAMPLES, encode, logs, merged, metrics, traces

if TYPE_CHECKING:
    from google.protobuf.message import Message

TYPES = pytest.mark.parametrize("content_type", [PROTOBUF, JSON])


@TYPES
@pytest.mark.parametrize(("signal", "request_", "count"), SAMPLES.values(), ids=SAMPLES)
def test_count_is_the_number_of_items(signal: str, request_: Message, count: int, content_type: str) -> None:
    """Spans, data points of every kind, or log records."""
    assert otlp.count(signal, content_type, encode(request_, content_type)) == count


@TYPES
@pytest.mark.parametrize("signal", REQUESTS)
def test_empty_request_counts_nothing(signal: str, content_type: str) -> None:
    """An exporter may send one; there is nothing in it to lose."""
    assert otlp.count(signal, content_type, encode(REQUESTS[signal](), content_type)) == 0


def test_indented_json_counts_the_same() -> None:
    """White space is free in JSON."""
    text = MessageToJson(traces(2, 1), indent=4)
    assert otlp.count("traces", JSON, f"\r\n {text} \n".encode()) == 3


@pytest.mark.parametrize("requests", [(traces(1), traces(2, 3)), (metrics(1, 2), metrics(3)), (logs(1), logs(2))])
def test_protobuf_requests_concatenate(requests: tuple[Message, ...]) -> None:
    """The bytes of several requests in a row are the request of all their resource blocks."""
    joined = b"".join(encode(request, PROTOBUF) for request in requests)
    assert type(requests[0]).FromString(joined) == merged(*requests)


@pytest.mark.parametrize(
    ("signal", "requests"),
    [
        ("traces", (traces(1), traces(2, 3))),
        ("metrics", (metrics(1, 2), metrics(3))),
        ("otlp_logs", (logs(1), logs(2))),
    ],
)
def test_json_requests_are_spliced(signal: str, requests: tuple[Message, ...]) -> None:
    """The elements of several requests within one frame are the request of all their resource blocks."""
    head, tail = otlp.json_frame(signal)
    arrays = [otlp.json_array(signal, MessageToJson(request, indent=2).encode()) for request in requests]
    joined = head + b",".join(arrays) + tail
    assert Parse(joined, type(requests[0])()) == merged(*requests)
    assert otlp.count(signal, JSON, joined) == sum(
        otlp.count(signal, PROTOBUF, encode(request, PROTOBUF)) for request in requests
    )


def test_json_array_is_copied_byte_for_byte() -> None:
    """Numbers and texts are not written anew."""
    inner = '{"scopeSpans":[{"spans":[{"name":"é\\u00e9","startTimeUnixNano":"17","x":1.50e3}]}] }'
    body = f'{{"other":[1],"resourceSpans": [ {inner} ] ,"more":{{}}}}'.encode()
    assert otlp.json_array("traces", body) == inner.encode()


@pytest.mark.parametrize("body", [b"{}", b'{"resourceSpans":[]}', b'{"resourceSpans":null}', b'{"resourceLogs":[{}]}'])
def test_json_without_items_counts_nothing(body: bytes) -> None:
    """Absent, null and empty arrays are the same in protobuf's JSON."""
    assert otlp.count("traces", JSON, body) == 0


def test_resource_blocks_are_requests_of_their_own() -> None:
    """A request can be sent block by block."""
    request = merged(traces(1), traces(2), traces(0))
    blocks = otlp.resource_blocks(encode(request, PROTOBUF))
    assert [otlp.count("traces", PROTOBUF, block) for block in blocks] == [1, 2, 0]
    assert b"".join(blocks) == encode(request, PROTOBUF)


@pytest.mark.parametrize(
    ("response", "field"),
    [
        (ExportTraceServiceResponse, "rejected_spans"),
        (ExportMetricsServiceResponse, "rejected_data_points"),
        (ExportLogsServiceResponse, "rejected_log_records"),
    ],
)
@pytest.mark.parametrize("rejected", [0, 1, 127, 128, 5000, 2**40])
@pytest.mark.parametrize("message", ["", "too old", "zu groß: 日" * 50])
def test_partial_success_is_read(response: type[Message], field: str, rejected: int, message: str) -> None:
    """Number and words as the official classes write them."""
    answer = response()
    answer.partial_success.SetInParent()  # type: ignore[attr-defined]
    setattr(answer.partial_success, field, rejected)  # type: ignore[attr-defined]
    answer.partial_success.error_message = message  # type: ignore[attr-defined]
    assert otlp.partial_success(answer.SerializeToString()) == (rejected, message)


def test_empty_response_rejects_nothing() -> None:
    """Zero bytes are full success."""
    assert otlp.partial_success(b"") == (0, "")


def test_partial_success_in_any_field_order() -> None:
    """Protobuf fixes no order of fields."""
    inner = b"\x12\x03bad\x08\x05"
    assert otlp.partial_success(b"\x0a" + bytes((len(inner),)) + inner) == (5, "bad")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"[]", b"null", b"17", b'"text"', b"{", b'{"resourceSpans":[}', b"\xff", b"{} {}", b"{}x"),
        *(b'{"resourceSpans":{}}', b'{"resourceSpans":7}', b'{"resourceSpans":[{"scopeSpans":"x"}]}', b"NaN"),
        *(b'{"resourceSpans":[{"scopeSpans":[{"spans":{}}]}]}', b'{"a":NaN}', b"[" * 100_000, b'{"a":"\n"}'),
        b'{"resourceSpans":' + b"[" * 100_000,
    ],
)
def test_json_that_is_no_request_is_refused(body: bytes) -> None:
    """One kind of error, in words for the sender."""
    with pytest.raises(OtlpError) as caught:
        otlp.count("traces", JSON, body)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        *(b"\x0a", b"\x0a\x05abc", b"\x08", b"\x09abc", b"\x0d\x01", b"\x0b", b"\x0c", b"\x0e\x00", b"\x0f"),
        *(b"\xff" * 11, b"\x0a" + b"\xff" * 9 + b"\x01", b"\x0a" + b"\x80" * 10 + b"\x01", b"\x02\x00", b"\x00\x01"),
        *(b"\x0a\x02\x12\x05", b"\x0a\x01\x08", b"\x0a\x03\x12\x01\x12", b"\x0a\x04\x12\x02\x12\x7f", b"{}", b"hello"),
    ],
)
def test_protobuf_that_is_no_request_is_refused(body: bytes) -> None:
    """Truncations, overlong varints, lengths beyond the end, unknown wire types, field number 0."""
    with pytest.raises(OtlpError):
        otlp.count("traces", PROTOBUF, body)


@pytest.mark.parametrize(
    ("signal", "request_"), [("traces", traces(2)), ("metrics", metrics(1, 1)), ("otlp_logs", logs(2))]
)
def test_truncation_is_refused_where_protobuf_refuses_it(signal: str, request_: Message) -> None:
    """Cut at every byte: what the official parser refuses is refused, unless it lies deeper than counting looks."""
    whole = encode(request_, PROTOBUF)
    for cut in range(1, len(whole)):
        with pytest.raises(OtlpError):
            otlp.count(signal, PROTOBUF, whole[:cut])


def test_unknown_fields_are_stepped_over() -> None:
    """Fields of a newer version of the protocol do not disturb the count."""
    unknown = b"\x78\x01" + b"\x79" + b"8" * 8 + b"\x7d" + b"4" * 4 + b"\x7a\x03abc"
    assert otlp.count("traces", PROTOBUF, unknown + encode(traces(3), PROTOBUF) + unknown) == 3


def test_counting_costs_little_memory() -> None:
    """A request of nothing but empty blocks, of two bytes each, is not blown up to many times its size."""
    body = b"\x0a\x00" * 250_000
    tracemalloc.start()
    try:
        assert otlp.count("traces", PROTOBUF, body) == 0
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(body)


def test_parts_of_a_clients_request_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bounds on bytes allow can cost half a minute to count; our own, already counted, has no bound."""
    monkeypatch.setattr(otlp, "FIELDS_MAX", 100)
    monkeypatch.setattr(otlp, "JSON_VALUES_MAX", 100)
    protobuf = b"\x0a\x00" * (otlp.FIELDS_MAX + 1)
    nested = b"\x0a\xc8\x01" + b"\x12\x00" * otlp.FIELDS_MAX  # a resource block of 200 bytes: 100 empty scopes
    text = b'{"resourceSpans":[' + b"1," * otlp.JSON_VALUES_MAX + b"1]}"
    for content_type, body in ((PROTOBUF, protobuf), (PROTOBUF, nested), (JSON, text)):
        with pytest.raises(OtlpError, match="over 100 "):
            otlp.count("traces", content_type, body, foreign=True)
    assert otlp.count("traces", PROTOBUF, protobuf) == 0
    assert len(otlp.resource_blocks(protobuf)) == otlp.FIELDS_MAX + 1


def test_json_of_another_signal_counts_nothing() -> None:
    """Traces sent to the path of logs hold no log records."""
    assert otlp.count("otlp_logs", JSON, encode(traces(3), JSON)) == 0
    assert json.loads(encode(traces(3), JSON))
