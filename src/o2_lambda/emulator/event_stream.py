"""AWS's event stream encoding, in which the Invoke API sends a response piece by piece. Pure."""

from __future__ import annotations

import struct
import zlib

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PRELUDE = struct.Struct(">II")  # length of the message, length of its headers
CHECKSUM = struct.Struct(">I")
STRING = 7  # the type of a header's value


def message(event_type: str, payload: bytes, *, content_type: str = "application/octet-stream") -> bytes:
    """Return one event: length, headers and payload, each part with its CRC."""
    headers = b"".join(
        _header(name, value)
        for name, value in ((":message-type", "event"), (":event-type", event_type), (":content-type", content_type))
    )
    size = PRELUDE.size + CHECKSUM.size + len(headers) + len(payload) + CHECKSUM.size
    prelude = PRELUDE.pack(size, len(headers))
    whole = prelude + CHECKSUM.pack(zlib.crc32(prelude)) + headers + payload
    return whole + CHECKSUM.pack(zlib.crc32(whole))


def _header(name: str, value: str) -> bytes:
    return struct.pack(f">B{len(name)}sBH", len(name), name.encode(), STRING, len(value)) + value.encode()
