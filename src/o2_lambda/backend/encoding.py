"""Request bodies: what Content-Encodings are accepted, and how far a body may grow when decompressed."""

from __future__ import annotations

import zlib

# OpenObserve's ZO_PAYLOAD_LIMIT; it counts decompressed bytes.
BODY_BYTES_MAX = 209_715_200

# wbits of zlib.decompressobj
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_DEFLATE_WBITS = zlib.MAX_WBITS


class UnsupportedEncodingError(ValueError):
    """The Content-Encoding is none that the server knows: 415. Releases up to v0.92.2 refuse zstd."""


class BodyTooLargeError(ValueError):
    """The body exceeds the limit, compressed or not: 413."""


class CorruptBodyError(ValueError):
    """The body is not what its Content-Encoding says: 400."""


# What a 415 tells the client to use. The real server takes `br` too; Python has no decoder for it.
ACCEPTED_ENCODINGS = ("gzip", "deflate")


def decode_body(body: bytes, encoding: str, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return the body without its Content-Encoding, never more than `bytes_max` bytes.

    Raises UnsupportedEncodingError, BodyTooLargeError or CorruptBodyError.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        decoded = body
    elif name == "gzip":
        decoded = _inflate(body, _GZIP_WBITS, bytes_max)
    elif name == "deflate":
        decoded = _inflate(body, _DEFLATE_WBITS, bytes_max)
    else:
        raise UnsupportedEncodingError(f"Content-Encoding `{name}` is not supported, use gzip")
    if len(decoded) > bytes_max:
        raise BodyTooLargeError(f"the body exceeds {bytes_max} bytes")
    return decoded


def _inflate(body: bytes, wbits: int, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    room = bytes_max + 1
    remaining = body
    while True:
        decoder = zlib.decompressobj(wbits)
        try:
            part = decoder.decompress(remaining, room)
        except zlib.error as error:
            raise CorruptBodyError(f"the compressed body is corrupt: {error}") from error
        parts.append(part)
        room -= len(part)
        if room <= 0:
            break
        if not decoder.eof:
            raise CorruptBodyError("the compressed body is cut short")
        remaining = decoder.unused_data
        # gzip allows members one after another; zlib streams end at their end.
        if not remaining or wbits == _DEFLATE_WBITS:
            break
    return b"".join(parts)
