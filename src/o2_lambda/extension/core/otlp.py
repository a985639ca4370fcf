"""OTLP/HTTP payloads: counted, checked and merged without being decoded.

Protobuf: an export request of any signal is `repeated Resource… = 1`, so requests concatenate into one valid request.
JSON: the arrays under `resourceSpans` (and their like) are spliced. What is counted are spans, data points and log
records, the units in which a backend reports a partial success.
"""

from __future__ import annotations

from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, Pairs, get, loads, members, skip_space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

SIGNALS = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "otlp_logs"}  # request path -> signal
_ARRAYS = {"traces": "resourceSpans", "metrics": "resourceMetrics", "otlp_logs": "resourceLogs"}
_SCOPES = {"traces": "scopeSpans", "metrics": "scopeMetrics", "otlp_logs": "scopeLogs"}
_ITEMS = {"traces": "spans", "metrics": "metrics", "otlp_logs": "logRecords"}
# Fields of the oneof `data` of a Metric: gauge, sum, histogram, exponential histogram, summary.
_POINT_KINDS = frozenset((5, 7, 9, 10, 11))
_POINT_NAMES = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_LENGTH_DELIMITED = 2
_BYTE_ORDER_MARK = "\xef\xbb\xbf"  # as Latin-1: some writers of JSON begin with it
VARINT = -1  # stands where a length-delimited field has its end
_FIXED_SIZES = {1: 8, 5: 4}  # wire type -> bytes
_VARINT_BYTES_MAX = 10
# What a client's request may cost to count: 16 MiB of spans hold a third of it. Of empty fields they hold 8 million,
# and for as long as those take nobody else is served.
FIELDS_MAX = 300_000
JSON_VALUES_MAX = 2_000_000


class OtlpError(ValueError):
    """The payload is not a valid export request; the sender must not repeat it (400)."""


def count(signal: str, content_type: str, body: bytes, *, foreign: bool = False) -> int:
    """Spans, data points or log records in an export request. Raises `OtlpError` where its framing is broken.

    A `foreign` one, fresh from a client, must also be of no more parts than can be counted in a moment.
    """
    if content_type == JSON:
        if foreign and body.count(b",") + body.count(b"[") + body.count(b"{") > JSON_VALUES_MAX:
            raise OtlpError(f"over {JSON_VALUES_MAX} values in one request")
        return _count_json(signal, body)
    try:
        return _count_protobuf(signal, body, [0 if foreign else -len(body)])
    except IndexError:
        raise OtlpError("truncated protobuf") from None


def json_array(signal: str, body: bytes) -> bytes:
    """The elements of a JSON request's top array as they stand, without brackets. Raises `OtlpError`."""
    text = str(body, "latin-1").removeprefix(_BYTE_ORDER_MARK)
    try:
        found, _end = members(text, skip_space(text, 0))
    except SCAN_ERRORS:
        raise OtlpError("not a JSON object") from None
    for key, start, end, value in found:
        if key == _ARRAYS[signal] and isinstance(value, list):
            return text[start + 1 : end - 1].strip(" \t\r\n").encode("latin-1")
    return b""


def json_frame(signal: str) -> tuple[bytes, bytes]:
    """What goes before and after the joined elements of `json_array` to make one request."""
    return b'{"%s":[' % _ARRAYS[signal].encode(), b"]}"


def resource_blocks(body: bytes) -> list[bytes]:
    """A protobuf request as several: one valid request for each of its fields."""
    blocks = []
    index = 0
    for _number, _start, end in _fields(body, 0, len(body), [-len(body)]):
        if end != VARINT:
            blocks.append(body[index:end])
            index = end
    return blocks


def partial_success(body: bytes) -> tuple[int, str]:
    """(rejected items, error message) of a protobuf export response. Raises `OtlpError`."""
    rejected, message = 0, ""
    try:
        walked = [-len(body)]
        for number, start, end in _fields(body, 0, len(body), walked):
            if number != 1 or end == VARINT:
                continue
            for inner, value, inner_end in _fields(body, start, end, walked):
                if inner == 1 and inner_end == VARINT:
                    rejected = value
                elif inner == 2 and inner_end != VARINT:  # noqa: PLR2004 - error_message
                    message = body[value:inner_end].decode("utf-8", "replace")
    except IndexError:
        raise OtlpError("truncated protobuf") from None
    return rejected, message


def _count_json(signal: str, body: bytes) -> int:
    try:
        request = loads(str(body, "utf-8").removeprefix("\ufeff"))
    except SCAN_ERRORS:
        raise OtlpError("not valid JSON") from None
    if type(request) is not Pairs:
        raise OtlpError("not a JSON object")
    total = 0
    for resource in _array(get(request, _ARRAYS[signal])):
        for scope in _array(get(resource, _SCOPES[signal])):
            items = _array(get(scope, _ITEMS[signal]))
            if signal != "metrics":
                total += len(items)
                continue
            for metric in items:
                total += sum(len(_array(get(metric, kind, "dataPoints"))) for kind in _POINT_NAMES)
    return total


def _array(value: Any) -> list[Any]:
    if value is None:
        return []
    if type(value) is not list:
        raise OtlpError("an array was expected")
    return value


def _count_protobuf(signal: str, body: bytes, walked: list[int]) -> int:
    total = 0
    for start, end in _messages(body, 0, len(body), 1, walked):
        for scope_start, scope_end in _messages(body, start, end, 2, walked):  # scope_spans, scope_metrics, scope_logs
            for item_start, item_end in _messages(body, scope_start, scope_end, 2, walked):  # spans, metrics, records
                total += 1 if signal != "metrics" else _count_points(body, item_start, item_end, walked)
    return total


def _count_points(body: bytes, start: int, end: int, walked: list[int]) -> int:
    total = 0
    for number, data_start, data_end in _fields(body, start, end, walked):
        if number in _POINT_KINDS and data_end != VARINT:
            total += sum(1 for _ in _messages(body, data_start, data_end, 1, walked))
    return total


def _messages(body: bytes, start: int, end: int, wanted: int, walked: list[int]) -> Iterator[tuple[int, int]]:
    """(start, end) of the length-delimited fields of one number."""
    for number, field_start, field_end in _fields(body, start, end, walked):
        if number == wanted and field_end != VARINT:
            yield field_start, field_end


def _fields(body: bytes, index: int, end: int, walked: list[int]) -> Iterator[tuple[int, int, int]]:
    """The fields of a message: (number, start, end) of length-delimited ones, (number, value, VARINT) of integers.

    Fixed-size ones are stepped over. `walked` counts the fields of the body so far: more than `FIELDS_MAX` are refused,
    from minus the body's length on none.
    """
    while index < end:
        walked[0] += 1
        if walked[0] > FIELDS_MAX:
            raise OtlpError(f"over {FIELDS_MAX} fields in one request")
        tag, index = _varint(body, index)
        wire = tag & 7
        if tag >> 3 == 0:
            raise OtlpError("protobuf field number 0")
        if wire == _LENGTH_DELIMITED:
            size, index = _varint(body, index)
            if index + size > end:
                raise OtlpError("truncated protobuf")
            yield tag >> 3, index, index + size
            index += size
        elif wire == 0:
            value, index = _varint(body, index)
            yield tag >> 3, value, VARINT
        elif wire in _FIXED_SIZES:
            index += _FIXED_SIZES[wire]
        else:
            raise OtlpError("unknown protobuf wire type")
    if index != end:
        raise OtlpError("truncated protobuf")


def _varint(body: bytes, index: int) -> tuple[int, int]:
    value = shift = 0
    for _ in range(_VARINT_BYTES_MAX):
        byte = body[index]
        index += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, index
        shift += 7
    raise OtlpError("protobuf varint over 10 bytes")
