"""The text of a Telemetry API payload, as Latin-1: what can be told of it without taking it apart."""

from __future__ import annotations

from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, members, scanstring, skip_space

TIME = '{"time":"'  # how every event begins
TIME_LENGTH = 24  # of 2026-01-01T00:00:00.000Z
RECORD = '"record":'
RESYNC_EVENTS_MAX = 64  # looked at behind a broken event, to see that they are events


def starts_events(text: str, index: int) -> bool:
    """Whether whole events follow from here to the array's end: a record may hold a list of what looks like events."""
    for _ in range(RESYNC_EVENTS_MAX):
        try:
            found, index = members(text, index)
        except SCAN_ERRORS:
            return text.startswith(TIME, index)  # one more that is broken
        if not any(key == "type" for key, *_rest in found):
            return False
        index = skip_space(text, index)
        if text[index : index + 1] == "]":
            return skip_space(text, index + 1) == len(text)
        index = skip_space(text, index + 1)
    return True


def is_cut_in_its_record(piece: str) -> bool:
    """Whether an event's text may be the first part of a record that Lambda has split: one that begins, and goes on.

    The rest of such a record looks like it, envelope and all, and must not be taken for the first part of another.
    """
    if not piece.startswith(TIME) or RECORD not in piece:
        return False
    record = skip_space(piece, piece.index(RECORD) + len(RECORD))
    if piece[record : record + 1] != '"':
        return piece[record : record + 1] in ("{", "[")
    try:
        scanstring(piece, record + 1, True)
    except SCAN_ERRORS:
        return True
    return False


def cannot_repeat(text: str) -> bool:
    """Whether equal bytes can only be a batch sent again: a platform event, or times that would run backwards."""
    if 'Z","type":"platform.' in text:
        return True
    first = text.find(TIME)
    last = text.rfind(TIME)
    width = len(TIME) + TIME_LENGTH
    return text[first : first + width] != text[last : last + width]


def is_utf8(data: bytes | bytearray) -> bool:
    """Whether the bytes are text."""
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def readable(piece: str) -> str:
    """Latin-1 text of a payload as the text that was meant."""
    try:
        return str(piece.encode("latin-1"), "utf-8")
    except UnicodeError:
        return piece
