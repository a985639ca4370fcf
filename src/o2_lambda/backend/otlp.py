"""OTLP bodies to protobuf messages, and the parts of the mapping to rows that all three signals share.

Decoding rests on the official `opentelemetry-proto` package; JSON bodies end in the same messages as protobuf ones.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    from o2_lambda.backend.flatten import Json, Row
    from o2_lambda.backend.names import StreamKey

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8

# OTLP/JSON writes ids as hex where the protobuf JSON mapping expects base64.
_HEX_MEMBERS = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})

AnyMessage = TypeVar("AnyMessage", bound=Message)


class OtlpError(ValueError):
    """The body is not a valid request of its signal: 400."""


@dataclass(slots=True)
class OtlpBatch:
    """What became of one export request: rows by stream, and the count and last reason of what was refused."""

    rows: dict[StreamKey, list[Row]] = field(default_factory=dict)
    rejected: int = 0
    error: str = ""

    def add(self, key: StreamKey, row: Row) -> None:
        """Append one row to its stream."""
        self.rows.setdefault(key, []).append(row)

    def reject(self, reason: str) -> None:
        """Count one refused span, data point or log record."""
        self.rejected += 1
        self.error = reason


def parse_request(body: bytes, message: AnyMessage, *, is_json: bool) -> AnyMessage:
    """Fill `message` from an OTLP body in protobuf or JSON and return it. Raises OtlpError."""
    try:
        if not is_json:
            message.ParseFromString(body)
            return message
        document = json.loads(body)
        if not isinstance(document, dict):
            raise OtlpError("Invalid json: the request must be an object")
        members = {key: _hex_to_base64(member) for key, member in document.items()}
        return json_format.ParseDict(members, message, ignore_unknown_fields=True)
    except DecodeError as error:
        raise OtlpError(f"Invalid proto: {error}") from error
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise OtlpError(f"Invalid json: {error}") from error


def _hex_to_base64(value: Json) -> Json:
    if isinstance(value, list):
        return [_hex_to_base64(element) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(member)).decode()
        if key in _HEX_MEMBERS and isinstance(member, str)
        else _hex_to_base64(member)
        for key, member in value.items()
    }


def any_value(value: AnyValue) -> Json:
    """Return an OTLP AnyValue as a JSON value; an unset one is null, bytes become a list of integers."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [any_value(element) for element in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return list(value.bytes_value)
    scalar: str | int | float | bool = getattr(value, kind)
    if isinstance(scalar, float) and not math.isfinite(scalar):
        return None
    return scalar


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Json]:
    """Return OTLP attributes as an object; of two with one key the later wins."""
    return {pair.key: any_value(pair.value) for pair in pairs}


def hex_id(raw: bytes, length_bytes: int) -> str | None:
    """Return an id as hex, None when it has another length or is all zero."""
    return raw.hex() if len(raw) == length_bytes and any(raw) else None
