"""Trace context in headers, samplers, settings, URLs: the parts that decide, without a process around them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from o2_lambda.instrument.python.o2_tracing import clients, propagation, sampling, settings, urls
from o2_lambda.instrument.python.o2_tracing.spans import SpanContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
READ = settings.PROPAGATORS_READ


def told(headers: dict[str, str], propagators: tuple[str, ...] = READ) -> tuple[str, str, int] | None:
    found = propagation.extract(propagation.pick(headers), propagators)
    return (found.trace_id.hex(), found.span_id.hex(), found.flags) if found else None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, (TRACE, SPAN, 1)),
        ({"TraceParent": f"00-{TRACE}-{SPAN}-00"}, (TRACE, SPAN, 0)),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-what-the-future-brings"}, (TRACE, SPAN, 1)),
        ({"traceparent": [f"00-{TRACE}-{SPAN}-01"]}, (TRACE, SPAN, 1)),
        ({"b3": f"{TRACE}-{SPAN}-1"}, (TRACE, SPAN, 1)),
        ({"b3": f"{TRACE}-{SPAN}-0-{SPAN}"}, (TRACE, SPAN, 0)),
        ({"b3": f"{TRACE[16:]}-{SPAN}"}, ("0" * 16 + TRACE[16:], SPAN, 1)),
        ({"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "0"}, (TRACE, SPAN, 0)),
        ({"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "0", "X-B3-Flags": "1"}, (TRACE, SPAN, 1)),
        ({"X-Amzn-Trace-Id": f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1"}, (TRACE, SPAN, 1)),
        ({"X-Amzn-Trace-Id": f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=0"}, (TRACE, SPAN, 1)),
        ({"X-Amzn-Trace-Id": f"Root=1-{TRACE[:8]}-{TRACE[8:]}"}, None),
        ({"b3": "0"}, None),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01-more"}, None),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE[:-2]}  -{SPAN}-01"}, None),
        ({"traceparent": 7}, None),
        ({}, None),
    ],
)
def test_a_remote_parent_is_read(headers: dict[str, str], expected: tuple[str, str, int] | None) -> None:
    """By the formats' rules; X-Ray's own sampling decides nothing here."""
    assert told(headers) == expected


def test_trace_context_comes_first() -> None:
    """Where two formats are there, the first propagator that finds one wins; the others' order is the user's."""
    other = "a" * 32
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "b3": f"{other}-{SPAN}-1"}
    assert told(headers) == (TRACE, SPAN, 1)
    assert told(headers, ("b3", "tracecontext")) == (other, SPAN, 1)
    assert told(headers, ("xray",)) is None


@settings_of_hypothesis(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.dictionaries(st.sampled_from(sorted(propagation.HEADERS)), st.text() | st.integers() | st.lists(st.text())))
def test_no_header_breaks_the_reader(headers: dict[str, str]) -> None:
    """Whatever is in the headers: a context or None."""
    told(headers)


@pytest.mark.parametrize("propagator", ["tracecontext", "b3", "b3multi", "xray"])
def test_what_is_written_is_read_again(propagator: str) -> None:
    """Each format round trips."""
    headers: dict[str, str] = {}
    context = SpanContext(bytes.fromhex(TRACE), bytes.fromhex(SPAN), 1, state="a=b", baggage="k=v")
    propagation.inject(context, (propagator, "baggage"), headers.__setitem__)
    back = propagation.extract(propagation.pick(headers), (propagator, "baggage"))
    assert back is not None
    assert (back.trace_id, back.span_id, back.flags, back.remote) == (context.trace_id, context.span_id, 1, True)
    assert back.baggage == "k=v"
    assert back.state == ("a=b" if propagator == "tracecontext" else "")


def test_a_line_break_never_becomes_a_header() -> None:
    """State and baggage go out again with the function's own requests, which a line break would break."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=b\r\nX: y", "baggage": "k=v\nX: y"}
    found = propagation.extract(propagation.pick(headers), READ)
    assert found is not None
    assert (found.state, found.baggage) == ("", "")


@given(st.binary(min_size=16, max_size=16), st.floats(0, 1))
def test_the_ratio_sampler_decides_as_the_sdk(trace_id: bytes, ratio: float) -> None:
    """A trace that crosses both keeps all of its spans, or none."""
    theirs = TraceIdRatioBased(ratio).should_sample(None, int.from_bytes(trace_id, "big"), "")
    ours = sampling.sampler("traceidratio", repr(ratio))(trace_id, None)
    assert ours == theirs.decision.is_sampled()


@pytest.mark.parametrize(("name", "without", "yes", "no"), [
    ("always_on", True, True, True),
    ("always_off", False, False, False),
    ("parentbased_always_on", True, True, False),
    ("parentbased_always_off", False, True, False),
    ("parentbased_traceidratio", False, True, False),
])  # fmt: skip
def test_samplers_and_parents(name: str, without: bool, yes: bool, no: bool) -> None:
    """Parent-based ones follow the parent; the others do not ask. The ratio here is 0."""
    decide = sampling.sampler(name, "0")
    parents = [None, SpanContext(b"t" * 16, b"s" * 8, 1), SpanContext(b"t" * 16, b"s" * 8, 0)]
    assert [decide(b"t" * 16, parent) for parent in parents] == [without, yes, no]


def test_bad_settings_cost_a_line_and_nothing_else() -> None:
    """Each names the variable; the defaults hold."""
    lines: list[str] = []
    chosen = settings.read(
        {
            "OTEL_TRACES_SAMPLER": "sometimes",
            "OTEL_PROPAGATORS": "tracecontext,jaeger",
            "OTEL_SPAN_EVENT_COUNT_LIMIT": "-1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:x",
            "O2_OTLP_PORT": "many",
        },
        lines.append,
    )
    named = ["OTEL_TRACES_SAMPLER", "OTEL_PROPAGATORS", "OTEL_SPAN_EVENT_COUNT_LIMIT"]
    assert sorted(line.split()[0] for line in lines) == sorted(named)
    assert chosen.address == ("127.0.0.1", 4318, "/v1/traces")
    assert chosen.extracts == ("tracecontext",)
    assert chosen.limits.events == 128
    assert chosen.sampler(b"t" * 16, None)


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, ("127.0.0.1", 4318, "/v1/traces")),
        ({"O2_OTLP_PORT": "5000"}, ("127.0.0.1", 5000, "/v1/traces")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:5000/a/"}, ("127.0.0.1", 5000, "/a/v1/traces")),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:5000/t"}, ("127.0.0.1", 5000, "/t")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://api.openobserve.ai/api/x"}, ("127.0.0.1", 4318, "/v1/traces")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:70000"}, ("127.0.0.1", 4318, "/v1/traces")),
        ({"O2_OTLP_PORT": "70000"}, ("127.0.0.1", 4318, "/v1/traces")),
        ({"O2_OTLP_PORT": "²"}, ("127.0.0.1", 4318, "/v1/traces")),
    ],
)
def test_traces_go_to_this_machine_only(environ: dict[str, str], address: tuple[str, int, str]) -> None:
    """The receiver's place comes from the usual variables; an endpoint elsewhere is the extension's business.

    What is no port is none of a socket either: to try would be told in every invocation.
    """
    assert settings.read(environ, pytest.fail).address == address


def test_only_the_extension_is_told_of_invocations() -> None:
    """Not a collector of the user's own, wherever it listens on this machine."""
    own = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:5000"}
    assert settings.read({}, pytest.fail).is_extension
    assert settings.read({**own, "O2_OTLP_PORT": "5000"}, pytest.fail).is_extension
    assert not settings.read(own, pytest.fail).is_extension


def test_instrumentations_are_switched_off_by_name_or_all_at_once() -> None:
    """As OpenTelemetry's own launcher does it."""
    some = settings.read({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "Redis, httpx"}, pytest.fail)
    assert (some.traces("redis"), some.traces("urllib3", "httpx"), some.traces("urllib3")) == (False, False, True)
    assert not settings.read({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, pytest.fail).traces("urllib3")


def test_lambdas_own_xray_propagator_is_the_xray_one() -> None:
    """OTEL_PROPAGATORS may name it beside the other; one header is written."""
    chosen = settings.read({"OTEL_PROPAGATORS": "xray,xray-lambda,tracecontext"}, pytest.fail)
    assert chosen.injects == ("xray", "tracecontext")


def test_limits_follow_the_general_ones() -> None:
    """The specific variable wins, then the general one."""
    environ = {
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "5", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "7",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "9", "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
    }  # fmt: skip
    limits = settings.read(environ, pytest.fail).limits
    assert (limits.attributes, limits.event_attributes, limits.value_length, limits.links) == (7, 5, 9, 0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@example.com/a?b=c", "https://REDACTED:REDACTED@example.com/a?b=c"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=abc&X-Amz-Date=1&sig=x",
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=REDACTED&X-Amz-Date=1&sig=REDACTED",
        ),
        ("/path?Signature=1", "/path?Signature=REDACTED"),
    ],
)
def test_urls_carry_no_credentials(url: str, shown: str) -> None:
    """Users, passwords and the parameters that sign."""
    assert urls.redact(url) == shown


@pytest.mark.parametrize(
    ("target", "full"),
    [
        ("/things", "http://shop:8080/things"),
        ("/things?next=http://elsewhere/", "http://shop:8080/things?next=http://elsewhere/"),
        ("http://behind-the-proxy/things", "http://behind-the-proxy/things"),
    ],
)
def test_the_url_is_that_of_the_server_which_is_asked(target: str, full: str) -> None:
    """A URL within a URL makes it no address of its own."""
    assert clients.full_url("http", "shop", 8080, target) == full
