"""The encoder against OpenTelemetry's own decoder: what goes in comes out, whatever it is."""

from __future__ import annotations

import enum
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from o2_lambda.instrument.python.o2_tracing import protobuf, settings
from o2_lambda.instrument.python.o2_tracing.bridge import Provider
from o2_lambda.instrument.python.o2_tracing.exporter import Exporter
from o2_lambda.instrument.python.o2_tracing.spans import CLIENT, ERROR, Limits, Span, SpanContext
from o2_lambda.instrument.python.o2_tracing.tracer import Tracer

INT64 = st.integers(protobuf.INT64_MIN, protobuf.INT64_MAX)
SCALARS = st.one_of(st.booleans(), INT64, st.floats(allow_nan=False), st.text(), st.binary())
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)  # fmt: skip
ATTRIBUTES = st.dictionaries(st.text(), VALUES, max_size=6)
TIMES = st.integers(1, (1 << 63) - 1)
CONTEXTS = st.builds(
    SpanContext,
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 255),
    state=st.text("abc=,1", max_size=20),
    remote=st.booleans(),
)


def decode(value: AnyValue) -> Any:
    """An AnyValue as Python's own type."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [decode(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: decode(pair.value) for pair in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


def decode_attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: decode(pair.value) for pair in pairs}


def utf8(value: Any) -> Any:
    """What the value is after UTF-8, which has no lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [utf8(item) for item in value]
    if isinstance(value, dict):
        return {utf8(key): utf8(item) for key, item in value.items()}
    return value


def read_value(value: Any, **options: Any) -> Any:
    return decode(AnyValue.FromString(protobuf.any_value(value, **options)))


def new_span(context: SpanContext, parent: SpanContext | None = None, limits: Limits | None = None) -> Span:
    return Span("work", CLIENT, context, parent, 5, scope="s", limits=limits or Limits(), on_end=lambda _span: None)


@given(VALUES)
@example(1)
@example(0)
@example(-1)
@example(1.0)
@example(True)
def test_every_value_comes_back(value: Any) -> None:
    """Round trip, types included: True is not 1, 1 is not 1.0."""
    back = read_value(value)
    assert back == utf8(value)
    assert type(back) is type(value)


@given(st.integers())
def test_any_integer_has_an_encoding(number: int) -> None:
    """Within 64 bits as an integer, beyond them as text."""
    fits = protobuf.INT64_MIN <= number <= protobuf.INT64_MAX
    assert read_value(number) == (number if fits else str(number))


@given(st.integers(0, (1 << 64) - 1))
def test_varint_is_the_shortest_encoding(number: int) -> None:
    """Seven bits a byte, the last without the high bit."""
    encoded = protobuf.varint(number)
    assert len(encoded) == max(1, math.ceil(number.bit_length() / 7))
    assert sum((byte & 0x7F) << 7 * at for at, byte in enumerate(encoded)) == number


class Colour(enum.IntEnum):
    RED = 7


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def test_what_otlp_has_no_type_for_becomes_text() -> None:
    """No attribute costs the span it is on."""
    endless: list[Any] = []
    endless.append(endless)
    assert read_value(object).startswith("<class")
    assert read_value(Rude()) == "<Rude>"
    assert read_value(Colour.RED) == 7
    assert read_value({1: "a", None: "b"}) == {"1": "a", "None": "b"}
    assert read_value({1}) == "{1}"
    assert read_value(None) is None
    assert read_value([None, ""]) == [None, ""]
    assert "[...]" in str(read_value(endless))
    assert math.isnan(read_value(math.nan))
    assert read_value("\ud800x") == "?x"


ANY_TEXT = st.text(st.characters())  # lone surrogates, too, which UTF-8 does not have
ODD: list[Any] = [None, Rude(), Colour.RED, object, math.nan, -math.inf, bytearray(b"x"), (), [], {}, "", b""]
HOSTILE = st.recursive(
    st.one_of(
        *(SCALARS, ANY_TEXT, st.integers(), st.floats(), st.complex_numbers(), st.decimals()),
        *(st.sets(st.integers(), max_size=2), st.sampled_from(ODD)),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("key", ["k", "key" * 40, "\u00e9", "k" * 200])
def test_every_length_of_a_text_comes_back(key: str) -> None:
    """Around the lengths that take a byte more, of the value, of the pair and of what is around them."""
    for length in range(300):
        item = new_span(SpanContext(b"t" * 16, b"s" * 8, 1))
        item.set(key, "\u00e9" * (length // 2) + "v" * (length % 2))
        back = trace_pb2.Span.FromString(protobuf.span(item))
        assert decode_attributes(back.attributes) == item.attributes


def test_names_that_a_function_makes_up_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are those that are long: what is kept stays for the life of the process."""
    monkeypatch.setattr(protobuf, "_names", {})
    for number in range(2 * protobuf.NAMES_MAX):
        item = new_span(SpanContext(b"t" * 16, b"s" * 8, 1))
        item.set(f"made.up.{number}", 1)
        item.set("long" * number, 1)
        assert len(trace_pb2.Span.FromString(protobuf.span(item)).attributes) == 2
    assert len(protobuf._names) <= protobuf.NAMES_MAX
    assert max(map(len, protobuf._names)) < protobuf.SHORT


@settings_of_hypothesis(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(ANY_TEXT | st.integers() | st.none(), HOSTILE), max_size=5), st.integers(0, 5))
@example([("k", protobuf.INT64_MIN), ("", protobuf.INT64_MAX + 1), ("\udfff", "")], 0)
def test_no_attribute_costs_the_span(pairs: list[tuple[Any, Any]], length: int) -> None:
    """Whatever keys and values are: the span decodes, every key is there, and nothing else is lost."""
    limits = Limits(value_length=length)
    item = new_span(SpanContext(b"t" * 16, b"s" * 8, 1), limits=limits)
    for key, value in pairs:
        item.set(key, value)
    item.add_event("seen", item.attributes, 7)
    item.end(9)
    back = trace_pb2.Span.FromString(protobuf.span(item))
    keys = [utf8(key if isinstance(key, str) else str(key)) for key in item.attributes]
    assert [pair.key for pair in back.attributes] == keys
    assert [pair.key for pair in back.events[0].attributes] == keys
    assert (back.name, back.end_time_unix_nano, back.flags) == ("work", 9, 0x101)


@given(st.text(), st.integers(1, 10))
def test_long_strings_are_cut(value: str, length: int) -> None:
    """By characters, in lists and mappings too; 0 keeps all."""
    assert read_value([value, {"k": value}], length=length) == utf8([value[:length], {"k": value[:length]}])
    assert read_value(value, length=0) == utf8(value)


@given(
    CONTEXTS, st.none() | CONTEXTS, st.text(), TIMES, ATTRIBUTES,
    st.lists(st.tuples(st.text(), ATTRIBUTES, TIMES), max_size=3),
    st.lists(st.tuples(CONTEXTS, ATTRIBUTES), max_size=3),
    st.sampled_from([0, ERROR]), st.text(),
)  # fmt: skip
def test_a_span_comes_back_whole(
    context: SpanContext,
    parent: SpanContext | None,
    name: str,
    end_ns: int,
    attributes: Any,
    events: Any,
    links: Any,
    status: int,
    message: str,
) -> None:
    """Every field of the message, by OpenTelemetry's own decoder."""
    context.flags |= 1
    item = new_span(context, parent)
    item.name = name
    item.set_all(attributes)
    for title, details, time_ns in events:
        item.add_event(title, details, time_ns)
    for target, details in links:
        item.add_link(target, details)
    item.set_status(status, message)
    item.end(end_ns)

    back = trace_pb2.Span.FromString(protobuf.span(item))

    assert (back.trace_id, back.span_id) == (context.trace_id, context.span_id)
    assert back.parent_span_id == (parent.span_id if parent else b"")
    assert (back.name, back.kind, back.trace_state) == (utf8(name), CLIENT, context.state)
    assert (back.start_time_unix_nano, back.end_time_unix_nano) == (5, max(5, end_ns))
    assert decode_attributes(back.attributes) == utf8(attributes)
    assert [(event.name, decode_attributes(event.attributes), event.time_unix_nano) for event in back.events] == [
        (utf8(title), utf8(details), time_ns) for title, details, time_ns in events
    ]
    assert [(link.trace_id, link.span_id, decode_attributes(link.attributes)) for link in back.links] == [
        (target.trace_id, target.span_id, utf8(details)) for target, details in links
    ]
    assert [bool(link.flags & 0x200) for link in back.links] == [target.remote for target, _details in links]
    assert (back.status.code, back.status.message) == (status, utf8(message) if status else "")
    assert back.flags == context.flags | 0x100 | (0x200 if parent and parent.remote else 0)


def test_limits_drop_and_count() -> None:
    """What is over a limit is counted in the field that OTLP has for it."""
    limits = Limits(attributes=1, events=1, links=1, event_attributes=1, link_attributes=1, value_length=2)
    context = SpanContext(b"t" * 16, b"s" * 8, 1)
    item = new_span(context, limits=limits)
    item.set_all({"a": "long", "b": 1, "none": None})
    item.set("a", "again")
    for _ in range(3):
        item.add_event("e", {"x": "long", "y": 2}, 9)
        item.add_link(context, {"x": 1, "y": 2})
    item.end(10)
    back = trace_pb2.Span.FromString(protobuf.span(item))
    assert (back.dropped_attributes_count, back.dropped_events_count, back.dropped_links_count) == (1, 2, 2)
    assert decode_attributes(back.attributes) == {"a": "ag"}
    assert decode_attributes(back.events[0].attributes) == {"x": "lo"}
    assert (back.events[0].dropped_attributes_count, back.links[0].dropped_attributes_count) == (1, 1)


def test_requests_group_spans_by_scope() -> None:
    """One resource, a scope for each name, spans in order; two requests one after the other are one valid request."""
    spans = [("a", b"\x2a\x011"), (("b", "2.1"), b"\x2a\x012"), (("c", ""), b"\x2a\x014"), ("a", b"\x2a\x013")]
    body = protobuf.request(protobuf.resource({"service.name": "shop"}), "1.0", spans)
    decoded = ExportTraceServiceRequest.FromString(body + body)
    assert len(decoded.resource_spans) == 2
    first = decoded.resource_spans[0]
    assert decode_attributes(first.resource.attributes) == {"service.name": "shop"}
    found = [(group.scope.name, group.scope.version, [s.name for s in group.spans]) for group in first.scope_spans]
    assert found == [("a", "1.0", ["1", "3"]), ("b", "2.1", ["2"]), ("c", "", ["4"])]


def test_a_tracer_of_the_api_names_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scope of the function's own spans is what it asked for, not ours."""
    scopes: list[Any] = []
    chosen = settings.read({}, pytest.fail)
    tracer = Tracer(chosen, Exporter(chosen.address, lambda _spans: b"", lambda: 0, pytest.fail))
    monkeypatch.setattr(tracer.exporter, "add", lambda scope, _content: scopes.append(scope))
    provider = Provider(tracer)
    for api_tracer in (provider.get_tracer("shop", "1.2.3"), provider.get_tracer("bare")):
        api_tracer.start_span("work").end()
    assert scopes == [("shop", "1.2.3"), ("bare", "")]


def test_a_span_that_cannot_be_encoded_costs_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever ends it goes on."""
    chosen = settings.read({}, pytest.fail)
    tracer = Tracer(chosen, Exporter(chosen.address, lambda _spans: b"", lambda: 0, pytest.fail))
    span = tracer.start("work", scope="s")
    span.name = 7  # type: ignore[assignment]
    span.end(1)
    assert capsys.readouterr().err.startswith("o2-lambda: a span was lost: AttributeError")
