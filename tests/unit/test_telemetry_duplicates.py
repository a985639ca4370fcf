"""Telemetry: a batch that Lambda sent again is taken once; equal lines of the function are all taken."""

from __future__ import annotations

from o2_lambda.extension.core.resent import RECENT_BODIES_MAX
from tests.unit.events import Feeder, event, line, payload, start, texts

LATER = "2026-01-01T00:00:00.001Z"


def test_batch_on_a_new_connection_is_sent_again() -> None:
    """Lambda repeats what was not answered, on a new connection: the events are counted as duplicates."""
    feeder = Feeder()
    body = payload(line("a"), line("b"))
    assert len(feeder.parse(body).events) == 2
    feeder.connection = 2
    parsed = feeder.parse(body)
    assert parsed.events == []
    assert parsed.excluded == {"duplicate": 2}


def test_batch_may_be_sent_again_more_than_once() -> None:
    """Every repetition is recognised, also by way of several connections."""
    feeder = Feeder()
    body = payload(line("a"))
    feeder.parse(body)
    for connection in (2, 3, 2, 1, 4):
        if connection != 1:  # on the first one it would be a burst
            feeder.connection = connection
            assert feeder.parse(body).excluded == {"duplicate": 1}


def test_burst_of_equal_lines_is_taken_whole() -> None:
    """A function that prints the same line in a loop fills several POSTs of equal bytes within one millisecond."""
    feeder = Feeder()
    body = payload(*(line("tick") for _ in range(10)))
    assert [len(feeder.parse(body).events) for _ in range(5)] == [10] * 5


def test_equal_bytes_with_a_platform_event_are_sent_again() -> None:
    """Such an event happens once: the same connection makes no difference."""
    feeder = Feeder()
    body = payload(start("one"), line("a"))
    feeder.parse(body)
    assert feeder.parse(body).excluded == {"duplicate": 2}


def test_equal_bytes_over_several_milliseconds_are_sent_again() -> None:
    """Time does not run backwards: a second POST cannot start before the first one ended."""
    feeder = Feeder()
    body = payload(line("a"), line("b", LATER))
    feeder.parse(body)
    assert feeder.parse(body).excluded == {"duplicate": 2}


def test_talk_of_platform_events_in_a_line_is_no_platform_event() -> None:
    """A line may quote the platform and still be printed twice in a millisecond."""
    feeder = Feeder()
    body = payload(line('{"type":"platform.start"}'))
    assert [len(feeder.parse(body).events) for _ in range(2)] == [1, 1]


def test_json_record_with_a_platform_type_may_repeat() -> None:
    """A record of the function's own that has such a member is a line like any other."""
    feeder = Feeder()
    body = payload(event("function", {"type": "platform.order.created"}))
    assert [len(feeder.parse(body).events) for _ in range(2)] == [1, 1]


def test_other_batches_in_between_do_not_matter() -> None:
    """The same batch is recognised after others."""
    feeder = Feeder()
    body = payload(line("a"))
    feeder.parse(body)
    for index in range(10):
        feeder.feed(line(f"other {index}"))
    feeder.connection = 2
    assert feeder.parse(body).events == []


def test_memory_of_batches_is_bounded() -> None:
    """Only so many are remembered; a batch from long ago is taken as new."""
    feeder = Feeder()
    body = payload(line("a"))
    feeder.parse(body)
    for index in range(RECENT_BODIES_MAX):
        feeder.feed(line(f"other {index}"))
    assert len(feeder.splicer._recent) == RECENT_BODIES_MAX
    feeder.connection = 2
    assert len(feeder.parse(body).events) == 1


def test_duplicates_do_not_move_the_request() -> None:
    """A repeated start of an earlier invocation changes nothing."""
    feeder = Feeder()
    body = payload(start("one"))
    feeder.parse(body)
    feeder.feed(start("two"))
    feeder.connection = 2
    feeder.parse(body)
    assert feeder.feed(line("x"))[0]["requestId"] == "two"


def test_nearly_equal_batches_are_different() -> None:
    """One byte is enough."""
    feeder = Feeder()
    assert texts(feeder.feed(line("a"))) == ["a"]
    feeder.connection = 2
    assert texts(feeder.feed(line("b"))) == ["b"]
