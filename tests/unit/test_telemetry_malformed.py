"""Telemetry: what is broken costs itself alone, is counted, and still arrives as text."""

from __future__ import annotations

import json
import random

import pytest

from tests.unit.events import NOW_US, TIME, Feeder, Raw, event, line, payload, records, start, texts

LATER = "2026-01-01T00:00:00.007Z"
BROKEN: dict[str, bytes] = {
    "empty object": b"{}",
    "word": b"nonsense",
    "number": b"17",
    "string": b'"text"',
    "null": b"null",
    "list": b"[1,2]",
    "no type": f'{{"time":"{TIME}","record":"x"}}'.encode(),
    "type is no text": f'{{"time":"{TIME}","type":7,"record":"x"}}'.encode(),
    "not a number": event("function", Raw('{"a":NaN}')).encode(),
    "infinity": event("function", Raw("-Infinity")).encode(),
    "raw newline in a string": event("function", Raw('"a\nb"')).encode(),
    "raw nul in a string": event("function", Raw('"a\0b"')).encode(),
    "unknown escape": event("function", Raw(r'"\x"')).encode(),
    "cut escape": event("function", Raw(r'"\u12"')).encode(),
    "unquoted key": event("function", Raw("{a:1}")).encode(),
    "trailing comma": event("function", Raw('{"a":1,}')).encode(),
    "single quotes": event("function", Raw("'a'")).encode(),
    "missing value": f'{{"time":"{TIME}","type":"function","record":}}'.encode(),
    "missing brace": event("function", "x").encode()[:-1],
    "deep list": event("function", Raw("[" * 100_000 + "]" * 100_000)).encode(),
    "deep object": event("function", Raw('{"a":' * 50_000 + "1" + "}" * 50_000)).encode(),
    "deep and open": event("function", Raw("[" * 100_000)).encode(),
    "number of 5000 digits": event("function", Raw("9" * 5000)).encode(),
    "invalid UTF-8": event("function", "X").encode().replace(b"X", b"a\xff\xfeb"),
    "cut UTF-8": event("function", "X").encode().replace(b"X", b"\xe6\x97"),
    "surrogate in UTF-8": event("function", "X").encode().replace(b"X", b"\xed\xa0\x80"),
    "overlong UTF-8": event("function", "X").encode().replace(b"X", b"\xc0\xaf"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_broken_event_costs_itself_alone(broken: bytes, position: int) -> None:
    """Its neighbours arrive as they are, whatever its place; it arrives as text."""
    good = [line("one"), event("function", {"two": 2})]
    events: list[str | bytes] = [*good[:position], broken, *good[position:]]
    feeder = Feeder()
    parsed = feeder.parse(payload(*events))
    found = records(parsed) + records_after_a_while(feeder)
    assert [each["record"] for each in found if each["type"] == "function"] == ["one", {"two": 2}]
    (kept,) = (each for each in found if each["type"] == "malformed")
    assert kept["_timestamp"] == NOW_US
    assert isinstance(kept["record"], str)
    assert len(kept["record"]) >= len(broken) - len(b"}]") - 20


def records_after_a_while(feeder: Feeder) -> list[dict[str, object]]:
    """What is still kept back as half of a record, once its time is over."""
    return feeder.expire() if feeder.splicer.half_expires_ms is not None else []


def test_many_broken_events_are_counted_one_by_one() -> None:
    """Each counts."""
    parsed = Feeder().parse(payload(b"{}", line("a"), b"{}", b"{}", line("b")))
    assert parsed.malformed == 3
    assert len(parsed.events) == 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b"null",
        b"hello",
        b"\xff\xfe",
        b'"text"',
        line("x").encode(),
        b"\xef\xbb\xbf[]",
        b"]",
        b"\0" * 9,
    ],
)
def test_body_that_is_no_array_arrives_as_one_text(body: bytes) -> None:
    """Whoever sent it, it is one malformed event."""
    parsed = Feeder().parse(body)
    assert parsed.malformed == len(parsed.events) == 1


@pytest.mark.parametrize("body", [b"[", b"[1", b"[{", b'[{"time":"', b"[,", b"[,]", b"[,,]", b"[[", b"[}"])
def test_cut_or_empty_arrays_never_raise(body: bytes) -> None:
    """Whatever is left of an array, parsing ends and the output is valid."""
    Feeder().parse(body)


def test_text_after_the_array_is_not_lost_silently() -> None:
    """Bytes after the closing bracket belong to no event; they are counted as malformed."""
    parsed = Feeder().parse(payload(line("a")) + b"," + line("b").encode() + b"]")
    assert parsed.malformed == 1
    assert texts(records(parsed))[0] == "a"


def test_every_cut_of_a_payload_gives_valid_output() -> None:
    """A payload that ends anywhere never raises, and the events before the cut arrive."""
    body = payload(line("é\n"), start(), event("function", {"a": [1, {"b": "\\"}], "level": "INFO"}), line("end"))
    for cut in range(len(body)):
        feeder = Feeder(fields="message level event_id")
        found = feeder.feed_raw(body[:cut])
        if cut > body.index(start().encode()):
            assert found[0]["record"] == "é\n"


def test_every_flipped_byte_gives_valid_output() -> None:
    """A payload with any one byte replaced never raises and never makes invalid output."""
    body = payload(line("é\n"), start(), event("function", {"a": [1, {"b": "\\"}], "level": "INFO"}), line("end"))
    dice = random.Random(7)
    for index in range(len(body)):
        flipped = bytearray(body)
        flipped[index] = dice.choice(b'"\\{}[],:\xff\x00aZ9 \n')
        Feeder(fields="message level event_id").parse(bytes(flipped))


@pytest.mark.parametrize("sneaky", ["\n0", "\t0", " 0", "\x0b0", "\r0"])
@pytest.mark.parametrize("place", [0, 5, 8, 11, 14, 17, 20])
def test_control_character_in_a_time_never_reaches_the_output(sneaky: str, place: int) -> None:
    """A time is a JSON string like any other: a raw control character makes the event malformed."""
    time = TIME[:place] + sneaky + TIME[place + 2 :]
    assert len(time) == len(TIME)
    for record in ("x", {"a": 1}):
        found = Feeder().feed(event("function", record, time), line("good"))
        assert texts(found)[-1] == "good"


@pytest.mark.parametrize("request_id", ["7", "null", "[]", '{"a":1}', "1.5", "true"])
def test_request_id_of_another_type_is_no_request_id(request_id: str) -> None:
    """Never raises: a platform event with an odd id is forwarded, and names no request."""
    found = Feeder(fields="cold_start").feed(
        event("platform.start", Raw(f'{{"requestId":{request_id}}}')),
        event("platform.report", Raw(f'{{"requestId":{request_id}}}')),
        event("function", Raw(f'{{"requestId":{request_id},"message":"m"}}')),
        line("x"),
    )
    assert len(found) == 4
    assert "requestId" not in found[3]


@pytest.mark.parametrize("type_", ["function", "extension", "platform.start", "platform.report", "future"])
def test_event_without_a_record_is_forwarded(type_: str) -> None:
    """Nothing is lifted from a record that is not there."""
    (found,) = Feeder(fields="message level").feed(f'{{"time":"{TIME}","type":"{type_}"}}')
    assert found["type"] == type_
    assert "message" not in found


def test_event_without_a_record_after_a_broken_stitch_never_raises() -> None:
    """The same where the payload was joined with half of a record that turned out to be broken."""
    feeder = Feeder(fields="message level")
    feeder.feed_raw(f'[{{"time":"{TIME}","type":"function","record":"AAA}}]'.encode())
    found = feeder.feed_raw(
        f'[{{"time":"{TIME}","type":"function","record":BBB" oops,{{"time":"{LATER}","type":"function"}}]'.encode()
    )
    assert [each["type"] for each in found] == ["malformed", "function"]


def test_broken_utf8_at_the_end_is_not_taken_for_half_a_record() -> None:
    """An event that is whole but for its encoding is malformed at once; the next payload stands for itself."""
    feeder = Feeder()
    first = feeder.feed(BROKEN["invalid UTF-8"])
    second = feeder.feed(line("whole"))
    assert [each["type"] for each in first + second] == ["malformed", "function"]


def test_nested_events_inside_a_broken_one_are_not_events() -> None:
    """A log that holds a list of objects with time and type stays one record, also where it is cut."""
    items = ",".join(json.dumps({"time": TIME, "type": "platform.runtimeDone", "n": n}) for n in range(3))
    compact = items.replace(": ", ":").replace(", ", ",")
    whole = event("function", Raw(f'{{"items":[{compact}],"end":"AAAA"}}'))
    cut = whole.index('"end"') + 8
    envelope = whole[: whole.index('"record":') + len('"record":')]
    feeder = Feeder()
    parsed = feeder.parse(f"[{whole[:cut]}}}]".encode())
    assert parsed.facts == []
    (found,) = feeder.feed_raw(f"[{envelope}{whole[cut:]}]".encode())
    assert found["record"] == json.loads(whole)["record"]
