"""Telemetry: each event is forwarded byte for byte, with our fields in front of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.events import (
    INSTANCE_ID,
    NOW_US,
    REQUEST_ID,
    TIME,
    TIME_US,
    Feeder,
    Raw,
    done,
    encoded,
    event,
    line,
    payload,
    report,
    start,
    texts,
)

AWKWARD = [
    '"plain"',
    '""',
    '"grüße 日本 👍"',
    r'"\u00e9\ud83d\udc4d\/\b\f\n\r\t\"\\"',
    r'"\ud800"',  # half of a surrogate pair: JSON's grammar allows it
    r'"{\"time\":\"x\",\"type\":\"function\"}]"',
    '"a\u2028b\u00a0c"',
    '"' + "x" * 100_000 + '"',
    '{"message":"m","level":"INFO","requestId":"r"}',
    '{"nested":{"list":[1,2.50,1e3,true,false,null,{"a":[]}]},"empty":{}}',
    '{"a" : 1 ,\t"b":\n[ 1 , 2 ] }',
    '{"schlüssel":"wért"}',
    "123",
    "null",
    "[]",
    '["a",{"b":1}]',
]


@pytest.mark.parametrize("record", AWKWARD)
@pytest.mark.parametrize("type_", ["function", "extension", "platform.start", "platform.future", "future"])
@pytest.mark.parametrize("fields", ["", "event_id message level cold_start trace_id"])
def test_own_text_of_an_event_ends_what_is_sent(record: str, type_: str, fields: str) -> None:
    """Nothing of an event is decoded and written again: its bytes, less the opening brace, end the output."""
    source = event(type_, Raw(record))
    parsed = Feeder(fields=fields).parse(payload(source))
    (sent,) = parsed.events
    assert sent.encode("latin-1").endswith(source[1:].encode())
    assert parsed.malformed == 0


def test_events_keep_their_order_and_stay_apart() -> None:
    """A payload of several events gives as many records, in order."""
    found = Feeder().feed(line("a"), start(), line("b"), event("extension", "c"), done())
    assert [each["type"] for each in found] == [
        *("function", "platform.start", "function", "extension", "platform.runtimeDone")
    ]


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"[\r\n\t]"])
def test_empty_payload_gives_nothing(body: bytes) -> None:
    """No event, no record, nothing malformed."""
    assert Feeder().feed_raw(body) == []


def test_white_space_between_events_is_passed_over() -> None:
    """The platform writes none, and some emulators do."""
    body = b" [ " + b" ,\n\t".join(each.encode() for each in (line("a"), start(), line("b"))) + b" ] \n"
    assert len(Feeder().feed_raw(body)) == 3


def test_envelope_members_may_come_in_any_order() -> None:
    """Members are found by name; what is unknown among them is forwarded too."""
    (found,) = Feeder().feed(f'{{"record":"x","new":1,"type":"function","time":"{TIME}"}}')
    assert (found["record"], found["new"], found["_timestamp"]) == ("x", 1, TIME_US)


def test_request_id_follows_platform_start() -> None:
    """Lines belong to the invocation that was opened last; lines before any invocation belong to none."""
    feeder = Feeder()
    found = feeder.feed(line("init"), start("one"), line("a"), done("one"), start("two"), line("b"))
    assert [each.get("requestId") for each in found] == [None, "one", "one", "one", "two", "two"]
    assert feeder.feed(line("c"))[0]["requestId"] == "two"


def test_late_report_keeps_its_own_request() -> None:
    """The report of an invocation often comes with the next one; it does not change what follows it."""
    found = Feeder().feed(start("one"), done("one"), start("two"), report("one"), line("b"))
    assert [each["requestId"] for each in found] == ["one", "one", "two", "one", "two"]


def test_invoke_event_names_the_request_until_the_platform_does() -> None:
    """Without platform events (not subscribed, or not come yet) the INVOKE event is the source."""
    feeder = Feeder(fields="trace_id")
    feeder.splicer.begin_invocation("one", "a" * 32)
    (found,) = feeder.feed(line("a"))
    assert (found["requestId"], found["trace_id"]) == ("one", "a" * 32)
    feeder.feed(start("two"))
    feeder.splicer.begin_invocation("three", None)
    assert feeder.feed(line("b"))[0]["requestId"] == "two"


def test_managed_instances_follow_no_start() -> None:
    """Requests run side by side there: only what an event says of itself counts."""
    found = Feeder(follow_start=False, fields="cold_start").feed(start("one"), line("a"))
    assert found[0]["requestId"] == "one"
    assert "requestId" not in found[1]
    assert "cold_start" not in found[1]


@pytest.mark.parametrize(
    ("record", "lifted"),
    [
        ({"message": "m", "level": "WARN", "requestId": "own"}, {"message": "m", "level": "WARN", "requestId": "own"}),
        ({"level": "INFO", "message": "grüße"}, {"message": "grüße", "level": "INFO", "requestId": REQUEST_ID}),
        ({"message": {"a": 1}, "level": 3}, {"requestId": REQUEST_ID}),
        ({"errorType": "X", "stackTrace": []}, {"requestId": REQUEST_ID}),
        ({"requestId": None}, {"requestId": REQUEST_ID}),
        ({"requestId": "é"}, {"requestId": "é"}),
        ({"nested": {"message": "no"}}, {"requestId": REQUEST_ID}),
    ],
)
def test_json_log_format_is_lifted(record: dict[str, Any], lifted: dict[str, Any]) -> None:
    """Where a record is an object, its texts are repeated where a search finds them; objects are left alone."""
    feeder = Feeder(fields="message level")
    feeder.feed(start())
    (found,) = feeder.feed(event("function", record))
    assert found["record"] == record
    assert {name: found[name] for name in ("message", "level", "requestId") if name in found} == lifted


def test_text_line_is_repeated_as_message() -> None:
    """`message` is what OpenObserve searches in full text."""
    (found,) = Feeder(fields="message").feed(line("naïve\n"))
    assert found["message"] == found["record"] == "naïve\n"
    assert "message" not in Feeder().feed(line("x"))[0]


def test_static_fields_and_cold_start() -> None:
    """Fields of the sandbox stand on every record; the first invocation and what precedes it count as cold."""
    feeder = Feeder(static='"function_name":"f","region":"eu"', fields="cold_start")
    found = feeder.feed(line("init"), start("one"), line("a"), start("two"), line("b"))
    assert [each["cold_start"] for each in found] == [True, True, True, False, False]
    assert all((each["function_name"], each["region"]) == ("f", "eu") for each in found)


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "5759e988bd862e3fe1be46a994272793",
        ),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0", None),
        ("Parent=x;Sampled=1;Root=1-5759e988-bd862e3fe1be46a994272793", "5759e988bd862e3fe1be46a994272793"),
        ("Root=1-short;Sampled=1", None),
        ("", None),
        (17, None),
    ],
)
def test_trace_id_comes_from_a_sampled_header(header: Any, trace_id: str | None) -> None:
    """A trace that X-Ray did not sample exists nowhere: naming it would mislead."""
    found = Feeder(fields="trace_id").feed(start(tracing={"value": header}), line("a"))
    assert [each.get("trace_id") for each in found] == [trace_id, trace_id]


def test_event_ids_are_unique_and_increase() -> None:
    """A record that was delivered twice can be told by its id; ids sort in the order of the events."""
    feeder = Feeder(fields="event_id")
    found = [*feeder.feed(line("a"), start(), b"broken"), *feeder.feed(line("b"), done())]
    ids = [each["event_id"] for each in found]
    assert len(set(ids)) == 5
    assert ids == sorted(ids)
    assert all(each.startswith(INSTANCE_ID + "-") for each in ids)


def test_lines_of_one_millisecond_keep_their_order() -> None:
    """Lambda's times are whole milliseconds; microseconds count on within one and never reach the next."""
    found = Feeder().feed(*(line(str(n)) for n in range(1000)))
    stamps = [each["_timestamp"] for each in found]
    assert stamps == list(range(TIME_US, TIME_US + 1000))


def test_more_lines_than_microseconds_stay_in_their_millisecond() -> None:
    """The order of 1100 lines within one millisecond cannot be shown; they are not moved into the next one."""
    found = Feeder().feed(*(line(str(n)) for n in range(1100)), line("next", "2026-01-01T00:00:00.001Z"))
    stamps = [each["_timestamp"] for each in found]
    assert max(stamps[:1100]) == TIME_US + 999
    assert stamps[-1] == TIME_US + 1000
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("time", "micros"),
    [
        ("2026-01-01T00:00:00.123Z", 123_000),
        ("2026-01-01T00:00:00.123456Z", 123_456),
        ("2026-01-01T00:00:00.123456789Z", 123_456),
        ("2026-01-01T00:00:00.12Z", 120_000),
        ("2026-01-01T00:00:00.5Z", 500_000),
        ("2026-01-01T00:00:00Z", 0),
    ],
)
def test_fraction_of_any_length_is_read_as_a_fraction(time: str, micros: int) -> None:
    """A time is what ISO 8601 says it is, whatever the number of its digits."""
    assert Feeder().feed(line("x", time))[0]["_timestamp"] == TIME_US + micros


@pytest.mark.parametrize("time", ["", "yesterday", "2026-01-01 00:00:00.000", "2026-13-01T00:00:00.000Z", "2026"])
def test_event_with_an_unreadable_time_gets_the_present(time: str) -> None:
    """A wrong time costs the time, not the event."""
    (found,) = Feeder().feed(line("x", time))
    assert (found["record"], found["time"], found["_timestamp"]) == ("x", time, NOW_US)


@pytest.mark.parametrize("time", ["null", "17", "{}", "[]", "true"])
def test_event_with_a_time_of_another_type_gets_the_present(time: str) -> None:
    """The same where the time is no text at all."""
    (found,) = Feeder().feed(f'{{"time":{time},"type":"function","record":"x"}}')
    assert (found["record"], found["_timestamp"]) == ("x", NOW_US)


@pytest.mark.parametrize("wanted", ["function", "platform", "extension"])
def test_log_types_choose_what_is_sent(wanted: str) -> None:
    """Unwanted types are counted, not sent; the facts of platform events are taken all the same."""
    feeder = Feeder(types=frozenset((wanted,)))
    parsed = feeder.parse(payload(line("a"), event("function", {"b": 1}), start("one"), event("extension", "c")))
    assert {each.split('"type":"')[1].split('"')[0].split(".")[0] for each in parsed.events} == {wanted}
    assert parsed.excluded == {"log_type": 4 - len(parsed.events)}
    assert [fact.type for fact in parsed.facts] == ["platform.start"]


def test_types_of_the_future_are_sent() -> None:
    """What Lambda adds one day is not lost by a setting that could not know it."""
    assert Feeder(types=frozenset()).feed(event("novelty", "x"))[0]["type"] == "novelty"


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_own_progress_lines_are_left_out(level: str) -> None:
    """Lines that our own sending prints would make more sending."""
    own = event("extension", f"[o2-lambda-extension] {level} Successfully sent 3 logs to OpenObserve\n")
    parsed = Feeder().parse(payload(own, line(f"[o2-lambda-extension] {level} the function's own line")))
    assert parsed.excluded == {"own_progress": 1}
    assert texts([each for each in Feeder().feed(own, line("x")) if each["type"] == "extension"]) == []
    assert len(parsed.events) == 1


@pytest.mark.parametrize("level", ["NOTICE", "WARN", "ERROR"])
def test_own_important_lines_are_sent(level: str) -> None:
    """Start, stop, warnings and errors of the extension belong to the function's history."""
    own = f"[o2-lambda-extension] {level} something\n"
    assert texts(Feeder().feed(event("extension", own))) == [own]


@pytest.mark.parametrize("status", ["failure", "error", "timeout"])
def test_evidence_of_a_failure_is_urgent(status: str) -> None:
    """What tells of a failure leaves first when time runs out."""
    assert Feeder().parse(payload(line("a"), done(status=status))).urgent
    assert not Feeder().parse(payload(line("a"), done())).urgent
    assert Feeder().parse(payload(event("platform.logsDropped", {"droppedRecords": 3}))).urgent


def test_facts_carry_type_request_and_record() -> None:
    """The engine acts on platform events without reading them again."""
    parsed = Feeder().parse(payload(start("one"), line("x"), done("one")))
    assert [(fact.type, fact.request_id) for fact in parsed.facts] == [
        ("platform.start", "one"),
        ("platform.runtimeDone", "one"),
    ]


def test_body_may_be_a_bytearray() -> None:
    """The parser hands its buffer over without a copy."""
    splicer = Feeder().splicer
    parsed = splicer.feed(bytearray(payload(line("é"))), now_ms=0, now_us=NOW_US, connection=1)
    assert "é".encode() in encoded(parsed)
