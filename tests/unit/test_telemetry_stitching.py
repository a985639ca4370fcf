"""Telemetry: a record that Lambda cut over two POSTs becomes one record again.

As captured: the first POST ends in a literal `}]`; the second repeats the envelope up to `"record":` and goes on with
the remaining bytes and the rest of the batch.
"""

from __future__ import annotations

import json

import pytest

from o2_lambda.extension.core.telemetry import RECORD_BYTES_MAX, STITCH_TTL_MS
from tests.unit.events import TIME, Feeder, Raw, done, event, line, payload, start, texts

LATER = "2026-01-01T00:00:00.001Z"
RECORDS = {
    "text": '"' + "A" * 40 + '"',
    "escapes": r'"a\\b\"c\u00e9d\ud83d\udc4de\n\\"',
    "multi-byte": '"aéb日c👍d"',
    "object": '{"message":"m\\\\n","level":"INFO","nested":{"a":[1,{"b":"}]"}],"c":-1.5e10},"t":true}',
    "closing look-alike": r'"}]}]\"}]"',
}


def halves(whole: str, cut: int, *rest: str) -> tuple[bytes, bytes]:
    """The two POSTs for an event that is cut after `cut` bytes of its record."""
    data = whole.encode()
    envelope, found, record = data.partition(b'"record":')
    envelope += found
    second = record[cut:] + b"".join(b"," + each.encode() for each in rest)
    return b"[" + envelope + record[:cut] + b"}]", b"[" + envelope + second + b"]"


def every_cut(record: str) -> range:
    return range(1, len(record.encode()))


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_record_cut_anywhere_is_whole_again(record: str) -> None:
    """Also within an escape, within a character of several bytes, and before the last bracket."""
    whole = event("function", Raw(record))
    for cut in every_cut(record):
        feeder = Feeder()
        first, second = halves(whole, cut, done(), line("after"))
        assert feeder.feed_raw(first) == [], cut
        assert feeder.splicer.half_bytes > 0
        parsed = feeder.parse(second)
        assert parsed.malformed == 0, cut
        assert parsed.events[0].encode("latin-1").endswith(whole[1:].encode())
        assert [fact.type for fact in parsed.facts] == ["platform.runtimeDone"]
        assert len(parsed.events) == 3
        assert feeder.splicer.half_bytes == 0


def test_events_before_the_cut_one_arrive_at_once() -> None:
    """Only the last event of a POST can be cut."""
    first, second = halves(line("A" * 50), 20)
    feeder = Feeder()
    assert texts(feeder.feed_raw(b"[" + line("before").encode() + b"," + first[1:])) == ["before"]
    assert texts(feeder.feed_raw(second)) == ["A" * 50]


def test_record_cut_twice_is_whole_again() -> None:
    """A record of more than twice the limit comes in three POSTs, each with the envelope."""
    data = line("A" * 30 + "B" * 30 + "C" * 30).encode()
    envelope = data[: data.index(b'"record":') + len(b'"record":')]
    record = data[len(envelope) :]
    feeder = Feeder()
    assert feeder.feed_raw(b"[" + envelope + record[:31] + b"}]") == []
    assert feeder.feed_raw(b"[" + envelope + record[31:61] + b"}]") == []
    assert texts(feeder.feed_raw(b"[" + envelope + record[61:] + b"," + done().encode() + b"]"))[0] == (
        "A" * 30 + "B" * 30 + "C" * 30
    )


def test_next_record_may_be_cut_as_well() -> None:
    """The rest of one record and the first half of the next share a POST."""
    first, second = halves(line("A" * 30), 10)
    third, fourth = halves(line("B" * 30, LATER), 10)
    feeder = Feeder()
    assert feeder.feed_raw(first) == []
    assert texts(feeder.feed_raw(second[:-1] + b"," + third[1:])) == ["A" * 30]
    assert texts(feeder.feed_raw(fourth)) == ["B" * 30]


def test_missing_second_half_is_given_up_after_a_while() -> None:
    """The first half arrives as text, so that nothing is lost without a trace."""
    first, _second = halves(line("A" * 30), 10)
    feeder = Feeder()
    feeder.feed_raw(first)
    assert feeder.splicer.half_expires_ms == feeder.now_ms + STITCH_TTL_MS
    (kept,) = feeder.expire()
    assert kept["type"] == "malformed"
    assert "AAAAAAAAA" in kept["record"]
    assert feeder.splicer.half_expires_ms is None


def test_second_half_after_expiry_is_malformed_alone() -> None:
    """It cannot be joined any more; what follows it in its POST is whole."""
    first, second = halves(line("A" * 30), 10, done(), line("after"))
    feeder = Feeder()
    feeder.feed_raw(first)
    feeder.expire()
    parsed = feeder.parse(second)
    assert parsed.malformed == 1
    assert [fact.type for fact in parsed.facts] == ["platform.runtimeDone"]
    assert len(parsed.events) == 3


def test_another_batch_instead_of_the_second_half() -> None:
    """Both arrive: the half as text, the other batch as it is."""
    first, _second = halves(line("A" * 30), 10)
    feeder = Feeder()
    feeder.feed_raw(first)
    found = feeder.feed(line("other", LATER), done())
    assert [each["type"] for each in found] == ["malformed", "function", "platform.runtimeDone"]
    assert feeder.splicer.half_expires_ms is None


@pytest.mark.parametrize("times", [(TIME, TIME), (TIME, LATER)], ids=["one millisecond", "two"])
def test_halves_out_of_order_are_each_accounted_for(times: tuple[str, str]) -> None:
    """A rest without its beginning waits for nothing: else it would swallow every cut line of its millisecond."""
    feeder = Feeder()
    first, second = halves(line("A" * 30, times[0]), 10)
    third, fourth = halves(line("B" * 30, times[1]), 10)
    found = [record for post in (first, third, second, fourth) for record in feeder.feed_raw(post)]
    assert feeder.splicer.half_bytes == 0
    assert len(found) >= 2
    assert {each["type"] for each in found} == {"malformed"}
    whole = "".join(each["record"] for each in found)
    assert (whole.count("A"), whole.count("B")) == (30, 30)


def test_thaw_gives_the_second_half_its_time_anew() -> None:
    """While the sandbox was frozen nothing could arrive."""
    feeder = Feeder()
    feeder.feed_raw(halves(line("A" * 30), 10)[0])
    feeder.splicer.thaw(500_000)
    assert feeder.splicer.half_expires_ms == 500_000 + STITCH_TTL_MS


def test_thaw_without_a_half_starts_nothing() -> None:
    """No half, no expiry."""
    feeder = Feeder()
    feeder.splicer.thaw(500_000)
    assert feeder.splicer.half_expires_ms is None


def test_first_half_sent_again_is_no_second_half() -> None:
    """Lambda repeats a POST on a new connection where the answer did not reach it."""
    first, second = halves(line("A" * 30), 10)
    feeder = Feeder()
    feeder.feed_raw(first)
    feeder.connection = 2
    assert feeder.parse(first).excluded == {"duplicate": 1}
    assert texts(feeder.feed_raw(second)) == ["A" * 30]


def test_half_that_grows_without_end_is_given_up() -> None:
    """A record over the bound is kept as text instead of filling the memory."""
    data = line("A" * 100).encode()
    envelope = data[: data.index(b'"record":') + len(b'"record":')]
    feeder = Feeder()
    piece = b"A" * (RECORD_BYTES_MAX // 3)
    malformed = 0
    for _ in range(4):
        malformed += feeder.parse(b"[" + envelope + (b'"' if not malformed else b"") + piece + b"}]").malformed
        assert feeder.splicer.half_bytes <= RECORD_BYTES_MAX
    assert malformed


@pytest.mark.parametrize("place", ["first", "second"])
def test_invalid_utf8_within_a_split_record_never_reaches_the_output(place: str) -> None:
    """The joined event is checked as a whole, whichever POST brought the wrong byte."""
    first, second = halves(line("A" * 30), 10, line("after"))
    wrong = {"first": first, "second": second}[place].replace(b"AAA", b"A\xffA", 1)
    feeder = Feeder()
    feeder.feed_raw(wrong if place == "first" else first)
    found = feeder.feed_raw(wrong if place == "second" else second)
    assert [each["type"] for each in found] == ["malformed", "function"]


def test_split_record_in_the_middle_of_an_invocation_keeps_its_request() -> None:
    """The order of events is what it was."""
    first, second = halves(line("A" * 30), 10, done("one"), start("two"), line("b"))
    feeder = Feeder()
    feeder.feed(start("one"))
    feeder.feed_raw(first)
    assert [each["requestId"] for each in feeder.feed_raw(second)] == ["one", "one", "two", "two"]


def test_whole_event_is_never_taken_for_a_half() -> None:
    """A text that ends like a cut one is still whole."""
    feeder = Feeder()
    tricky = 'x","record":"}]'
    assert texts(feeder.feed_raw(payload(line(tricky)))) == [tricky]
    assert feeder.splicer.half_expires_ms is None
    assert json.loads(line(tricky))["time"] == TIME
