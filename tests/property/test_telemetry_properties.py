"""Telemetry: whatever comes in, what goes out is valid JSON, and what was well-formed goes out as it came."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from o2_lambda.extension.core.timestamps import epoch_us
from tests.unit.events import Feeder, encoded, event, line, payload, records

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all times here are UTC
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - all times here are UTC
FIELDS = "event_id message level cold_start trace_id"
TYPES = ["function", "extension", "platform.start", "platform.runtimeDone", "platform.report", "novelty"]

texts = st.text(max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
log_objects = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("message", "level", "requestId", "timestamp", "status", "tracing"), json_values)
)
records_in = st.one_of(texts, json_values, log_objects)
times = st.one_of(
    st.datetimes(EPOCH, EPOCH.replace(year=2100)).map(lambda at: at.isoformat(timespec="milliseconds") + "Z"),
    st.sampled_from(["", "x", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z", "2026-99-99T00:00:00.000Z"]),
)


@st.composite
def events(draw: st.DrawFn) -> str:
    """Any event that is an object with a type, as any JSON writer could write it."""
    body: dict[str, Any] = {"time": draw(times), "type": draw(st.sampled_from(TYPES)), "record": draw(records_in)}
    if draw(st.integers(0, 9)) == 0:
        del body[draw(st.sampled_from(["time", "record"]))]
    separators = (",", ":") if draw(st.booleans()) else (", ", ": ")
    return json.dumps(body, ensure_ascii=True, separators=separators)


def feeder() -> Feeder:
    return Feeder(fields=FIELDS, static='"function_name":"f"')


@given(st.lists(events(), max_size=6))
def test_well_formed_events_are_forwarded_byte_for_byte(sources: list[str]) -> None:
    """One record for each event, ending in the event's own bytes."""
    parsed = feeder().parse(payload(*sources))
    assert parsed.malformed == 0
    assert [
        each.encode("latin-1")[-len(source) + 1 :] for each, source in zip(parsed.events, sources, strict=True)
    ] == [source[1:].encode() for source in sources]
    for record, source in zip(records(parsed), sources, strict=True):
        for name, value in json.loads(source).items():
            assert record[name] == value


@given(st.lists(st.one_of(events().map(str.encode), st.binary(max_size=60)), max_size=6))
def test_any_events_give_valid_json(sources: list[bytes]) -> None:
    """Garbage between events never reaches the output unescaped."""
    feeder().parse(payload(*sources))


garbage = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *(b'{"time":"', b"2026-01-01T00:00:00.000Z", b'","type":"function","record":"', b'"}', b"}]", b"["),
                    *(
                        b",",
                        b"]",
                        b"{",
                        b"}",
                        b'"',
                        b"\\",
                        b"\\u00",
                        b"\xc3",
                        b"\xa9",
                        b"\xff",
                        b":",
                        b" ",
                        b"\n",
                        b"1",
                    ),
                    *(b'"record":', b'"type":"platform.start"', b'"requestId":', b"NaN", b"\0", b"e9", b"-"),
                    line("whole").encode(),
                    b'{"time":"2026-01-01T00:00:00.000Z","type":"function"}',
                    b'{"time":"2026-01-01T00:00:00.000Z","type":"function","record":"AAA}]',
                    b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":',
                ]
            ),
            st.binary(max_size=3),
        ),
        max_size=20,
    ).map(b"".join),
)


@given(st.lists(garbage, min_size=1, max_size=5))
@example(
    [
        b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":"\xff}]',
        b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":x"}]',
    ]
)
def test_any_bodies_in_a_row_give_valid_json(bodies: list[bytes]) -> None:
    """Never an exception, never invalid output, whatever the state that earlier bodies left."""
    each = feeder()
    for body in bodies:
        each.parse(body)
    if each.splicer.half_expires_ms is not None:
        each.expire()


@given(st.data(), st.sampled_from(["function", "extension"]), st.one_of(texts, log_objects, st.just("é日👍" * 5)))
def test_record_cut_at_any_places_is_whole_again(data: st.DataObject, type_: str, record: Any) -> None:
    """One cut or several: the record is the same as if it had not been cut."""
    source = event(type_, record).encode()
    at = source.index(b'"record":') + len(b'"record":')
    envelope, rest = source[:at], source[at:]
    places = (
        sorted(set(data.draw(st.lists(st.integers(1, len(rest) - 2), min_size=1, max_size=3))) or {1})
        if len(rest) > 3
        else []
    )
    edges = [0, *places, len(rest)]
    each = Feeder()
    outputs: list[str] = []
    for left, right in pairwise(edges):
        tail = b"]" if right == len(rest) else b"}]"
        outputs += each.parse(b"[" + envelope + rest[left:right] + tail).events
    assert [output.encode("latin-1")[-len(source) + 1 :] for output in outputs] == [source[1:]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=8))
def test_stamps_increase_and_stay_in_their_millisecond(runs: list[tuple[int, int]]) -> None:
    """Over runs of lines at times that never go back, stamps are strictly increasing."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    sources, expected_ms = [], []
    for step_ms, count in runs:
        at += timedelta(milliseconds=step_ms)
        text = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"
        sources += [line("x", text)] * count
        expected_ms += [round(at.timestamp() * 1000)] * count
    stamps = [each["_timestamp"] for each in Feeder().feed(*sources)]
    assert all(left < right for left, right in pairwise(stamps))
    assert [stamp // 1000 for stamp in stamps] == expected_ms


@given(st.datetimes(EPOCH, LATEST), st.integers(0, 9))
@example(LATEST.replace(year=2024, month=2, day=29), 6)
@example(EPOCH.replace(year=2100, month=3), 0)
@example(EPOCH.replace(year=2000, month=2, day=29), 3)
def test_epoch_is_what_the_calendar_says(at: datetime, digits: int) -> None:
    """Microseconds since 1970, for any date and any number of fraction digits."""
    fraction = f"{at.microsecond:06}000"[:digits]
    text = at.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + (f".{fraction}" if digits else "") + "Z"
    known = at.replace(microsecond=int((fraction + "000000")[:6]))
    assert epoch_us(text) == (known - EPOCH) // timedelta(microseconds=1)


@given(st.text(max_size=30))
def test_text_that_is_no_time_raises_value_errors_only(text: str) -> None:
    """The caller has one kind of error to expect, and an index error for what is too short."""
    try:
        epoch_us(text)
    except (ValueError, IndexError):
        return


@given(st.binary(max_size=100))
def test_broken_record_keeps_its_text(raw: bytes) -> None:
    """What was in a broken event can still be read from the record made of it."""
    parsed = Feeder().parse(b"[" + b"\x01" + raw.replace(b",", b"") + b"]")
    joined = "".join(str(each.get("record")) for each in records(parsed))
    readable = raw.replace(b",", b"").decode("latin-1")
    if raw.isascii() and "]" not in readable:
        assert readable in joined
    assert encoded(parsed)
