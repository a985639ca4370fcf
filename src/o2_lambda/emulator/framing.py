"""How runtime output becomes log records: lines of a byte stream, and the frames of `_LAMBDA_TELEMETRY_LOG_FD`."""

from __future__ import annotations

import struct

FRAME_HEADER = struct.Struct(">IIQ")  # type 0xA55A00xx, length of the message, timestamp in microseconds
FRAME_MAGIC = 0xA55A0000
FRAME_MAGIC_MASK = 0xFFFF0000
LINE_BYTES_MAX = 1024 * 1024  # a line without an end must not grow in memory for ever


class Lines:
    """Cuts a byte stream at line feeds; every record keeps its line feed, as the platform's do."""

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines `data` completes."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        lines = [line + b"\n" for line in whole]
        while len(self._partial) > LINE_BYTES_MAX:
            lines.append(self._partial[:LINE_BYTES_MAX])
            self._partial = self._partial[LINE_BYTES_MAX:]
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> list[str]:
        """Return what came after the last line feed, if anything."""
        rest, self._partial = self._partial, b""
        return [rest.decode(errors="replace")] if rest else []


class Frames:
    """Parses log frames; one frame is one record, whatever line feeds it contains.

    A writer that does not speak frames (a custom runtime that found the descriptor) is read as lines.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._plain: Lines | None = None

    def feed(self, data: bytes) -> list[str]:
        """Return the records `data` completes."""
        if self._plain:
            return self._plain.feed(data)
        self._buffer += data
        records: list[str] = []
        while len(self._buffer) >= FRAME_HEADER.size:
            kind, length, _timestamp_us = FRAME_HEADER.unpack_from(self._buffer)
            if kind & FRAME_MAGIC_MASK != FRAME_MAGIC:
                self._plain, rest, self._buffer = Lines(), self._buffer, b""
                return records + self._plain.feed(rest)
            end = FRAME_HEADER.size + length
            if len(self._buffer) < end:
                break
            records.append(self._buffer[FRAME_HEADER.size : end].decode(errors="replace"))
            self._buffer = self._buffer[end:]
        return records

    def close(self) -> list[str]:
        """Return the last plain line; a frame cut short is lost with its writer."""
        return self._plain.close() if self._plain else []
