"""Encodes spans as OTLP protobuf (opentelemetry-proto: trace/v1/trace.proto, common/v1/common.proto).

Every value has an encoding: what OTLP has no type for becomes its text, so one odd attribute costs no span.
"""

from __future__ import annotations

from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .spans import Event, Link, Scope, Span

DEPTH_MAX = 8  # of nested lists and mappings; deeper ones, and those that contain themselves, become text
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200  # SpanFlags
SHORT = 0x80  # lengths below it are one byte
BYTES = tuple([bytes((number,)) for number in range(SHORT)])
NAMES_MAX = 512  # attributes whose encoded names are kept; a function may make up names without end
_names: dict[str, bytes] = {}  # names as the first field of a KeyValue


def varint(number: int) -> bytes:
    """Base 128, least significant group first; negative numbers as 64-bit two's complement."""
    if 0 <= number < SHORT:
        return BYTES[number]
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field; `tag` is the encoded key."""
    size = len(content)
    return tag + (BYTES[size] if size < SHORT else varint(size)) + content


def text(value: str) -> bytes:
    """UTF-8; a lone surrogate, which UTF-8 does not have, becomes a question mark."""
    return value.encode("utf-8", "replace")


def any_value(value: Any, length: int = 0, depth: int = DEPTH_MAX) -> bytes:
    """The content of an AnyValue; strings are cut to `length` characters unless that is 0. None has no content."""
    if value is True:
        return b"\x10\x01"
    if value is False:
        return b"\x10\x00"
    if value is None:
        return b""
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        return b"\x18" + varint(int(value))
    if isinstance(value, float):
        return b"\x21" + pack("<d", value)
    if isinstance(value, (bytes, bytearray)):
        return field(b"\x3a", bytes(value))
    if depth and isinstance(value, (list, tuple)):
        items = b"".join([field(b"\x0a", any_value(item, length, depth - 1)) for item in value])
        return field(b"\x2a", items)
    if depth and isinstance(value, dict):
        return field(b"\x32", attributes_field(b"\x0a", value, length, depth - 1))
    words = value if isinstance(value, str) else _as_text(value)
    return field(b"\x0a", text(words[:length] if length else words))


def attributes_field(tag: bytes, attributes: dict[Any, Any], length: int = 0, depth: int = DEPTH_MAX) -> bytes:
    """Repeated KeyValue fields."""
    out: list[bytes] = []
    for key, value in list(attributes.items()):
        name = _names.get(key) or _name(key)
        if type(value) is str and not length:  # most are, and short
            words = text(value)
            size = len(words)
            if size + len(name) < SHORT - 4:  # all lengths are one byte
                out += (tag, BYTES[len(name) + size + 4], name, b"\x12", BYTES[size + 2], b"\x0a", BYTES[size], words)
                continue
        out.append(field(tag, name + field(b"\x12", any_value(value, length, depth))))
    return b"".join(out)


def _name(key: Any) -> bytes:
    if not isinstance(key, str):
        return field(b"\x0a", text(_as_text(key)))
    encoded = field(b"\x0a", text(key))
    if type(key) is str and len(encoded) < SHORT and len(_names) < NAMES_MAX:
        _names[key] = encoded
    return encoded


def span(item: Span) -> bytes:
    """The content of a Span message."""
    context, parent, length = item.context, item.parent, item.value_length
    out = [b"\x0a\x10", context.trace_id, b"\x12\x08", context.span_id]
    if context.state:
        out.append(field(b"\x1a", text(context.state)))
    if parent is not None:
        out += (b"\x22\x08", parent.span_id)
    out += (field(b"\x2a", text(item.name)), b"\x30", varint(item.kind))
    out.append(pack("<BQBQ", 0x39, item.start_ns, 0x41, item.end_ns))
    out.append(attributes_field(b"\x4a", item.attributes, length))
    for entry in item.events:
        out.append(field(b"\x5a", _event(entry, length)))
    for link in item.links:
        out.append(field(b"\x6a", _link(link, length)))
    if item.dropped_attributes or item.dropped_events or item.dropped_links:
        out += (_count(b"\x50", item.dropped_attributes), _count(b"\x60", item.dropped_events))
        out.append(_count(b"\x70", item.dropped_links))
    if item.status:
        message = field(b"\x12", text(item.status_message)) if item.status_message else b""
        out.append(field(b"\x7a", message + b"\x18" + varint(item.status)))
    out += (b"\x85\x01", _flags(context.flags, remote=parent is not None and parent.remote))
    return b"".join(out)


def resource(attributes: dict[str, Any]) -> bytes:
    """The first field of ResourceSpans."""
    return field(b"\x0a", attributes_field(b"\x0a", attributes))


def request(resource_field: bytes, version: str, spans: Iterable[tuple[Scope, bytes]]) -> bytes:
    """An ExportTraceServiceRequest of one resource, from (scope, encoded span); `version` is that of our own scopes."""
    scopes: dict[Scope, list[bytes]] = {}
    for scope, content in spans:
        scopes.setdefault(scope, []).append(field(b"\x12", content))
    out = [resource_field]
    for scope, fields in scopes.items():
        name, its = scope if isinstance(scope, tuple) else (scope, version)
        head = field(b"\x0a", text(name)) + (field(b"\x12", text(its)) if its else b"")
        out.append(field(b"\x12", field(b"\x0a", head) + b"".join(fields)))
    return field(b"\x0a", b"".join(out))


def _event(event: Event, length: int) -> bytes:
    time_ns, name, attributes, dropped = event
    head = b"\x09" + pack("<Q", time_ns) + field(b"\x12", text(name))
    return head + attributes_field(b"\x1a", attributes, length) + _count(b"\x20", dropped)


def _link(link: Link, length: int) -> bytes:
    context, attributes, dropped = link
    state = field(b"\x1a", text(context.state)) if context.state else b""
    ids = b"\x0a\x10" + context.trace_id + b"\x12\x08" + context.span_id + state
    rest = attributes_field(b"\x22", attributes, length) + _count(b"\x28", dropped)
    return ids + rest + b"\x35" + _flags(context.flags, remote=context.remote)


def _flags(flags: int, *, remote: bool) -> bytes:
    return pack("<I", flags & 0xFF | HAS_IS_REMOTE | (IS_REMOTE if remote else 0))


def _count(tag: bytes, number: int) -> bytes:
    return tag + varint(number) if number else b""


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # the object's own fault; its type is still worth knowing
        return f"<{type(value).__name__}>"
