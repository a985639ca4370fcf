"""HTTP parser: any bytes give messages or `HttpError`, in bounded memory, and fragmentation changes nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from o2_lambda.extension.core.http1 import CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HttpError, Parser

BODY_BYTES_MAX = 300
HELD_BYTES_MAX = max(HEAD_BYTES_MAX, BODY_BYTES_MAX + CHUNK_LINE_BYTES_MAX + 2)

TOKENS = [
    *(b"GET", b"POST", b" ", b"/", b"/v1/traces", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1 200 OK", b"HTTP/1.1 100 C"),
    *(b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\0", b":", b": ", b"\t", b"0", b"5", b"a", b"12c", b"-1", b"ffffffff"),
    *(b"Content-Length: 5\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
    *(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    *(b"GET / HTTP/1.1\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"x" * 200, b"y" * 1100, b"HTTP/1.1 204 N\r\n\r\n"),
]
noise = st.one_of(
    st.binary(max_size=400),
    st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4)), max_size=25).map(b"".join),
)
cuts = st.lists(st.integers(0, 3000), max_size=8)


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return [data[left:right] for left, right in pairwise(edges)]


def parse(pieces: list[bytes], *, response: bool) -> tuple[list[Any], tuple[int, str] | None]:
    """(messages, error) of the pieces and of the peer's closing after them."""
    parser = Parser(body_bytes_max=BODY_BYTES_MAX, response=response)
    messages = []
    error = None
    try:
        for piece in pieces:
            messages += parser.feed(piece)
            assert parser.bytes_held <= HELD_BYTES_MAX
        last = parser.end()
        messages += [last] if last is not None else []
    except HttpError as refused:
        error = (refused.status, refused.reason)
    assert all(len(message.body) <= BODY_BYTES_MAX for message in messages)
    return [(m.start, m.fields, bytes(m.body), m.keep_alive) for m in messages], error


@given(noise, cuts, st.booleans())
@example(b"x" * (HEAD_BYTES_MAX + 5), [HEAD_BYTES_MAX - 1], False)
def test_any_bytes_are_messages_or_an_http_error(data: bytes, places: list[int], response: bool) -> None:
    """No other exception, no unbounded memory."""
    _messages, error = parse(split(data, places), response=response)
    if error is not None:
        assert error[0] in (400, 413, 431, 501, 502, 505)


@given(noise, cuts, st.booleans())
@example(b"GET / HTTP/1.1\r\n\r\nnonsense\r\n\r\n", [18], False)
def test_fragmentation_changes_no_message_and_no_error(data: bytes, places: list[int], response: bool) -> None:
    """What a peer said does not depend on how the network cut it."""
    whole = parse([data], response=response)
    assert parse(split(data, places), response=response) == whole
    assert parse([data[index : index + 1] for index in range(len(data))], response=response) == whole


bodies = st.binary(max_size=BODY_BYTES_MAX)
names = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}", fullmatch=True).map(lambda name: b"X-" + name)
values = st.binary(max_size=20).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127).strip())


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A well-formed request and its body."""
    body = draw(bodies)
    fields = draw(st.lists(st.tuples(names, values), max_size=4))
    head = b"POST /%d HTTP/1.1\r\n" % draw(st.integers(0, 99))
    head += b"".join(b"%b: %b\r\n" % field for field in fields)
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    pieces = split(body, draw(cuts))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", body


@given(st.lists(requests(), max_size=4), cuts)
def test_well_formed_requests_give_their_bodies(pipeline: list[tuple[bytes, bytes]], places: list[int]) -> None:
    """Whatever is sent correctly, in a row and in any pieces, comes out as it was sent."""
    data = b"".join(raw for raw, _body in pipeline)
    messages, error = parse(split(data, places), response=False)
    assert error is None
    assert [body for _start, _fields, body, _keep_alive in messages] == [body for _raw, body in pipeline]
