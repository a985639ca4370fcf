"""HTTP parser: each limit at its edge, the hook for refusing early, and what the parser tells of itself."""

from __future__ import annotations

import pytest

from o2_lambda.extension.core.http1 import (
    CHUNK_LINE_BYTES_MAX,
    DIGITS_MAX,
    HEAD_BYTES_MAX,
    HttpError,
    Message,
    Parser,
)

CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def head_of(size: int) -> bytes:
    """A request head of exactly `size` bytes."""
    start, end = b"GET / HTTP/1.1\r\nPad: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


def refusal(parser: Parser, *pieces: bytes) -> HttpError:
    """The error that the pieces lead to."""
    for piece in pieces:
        try:
            parser.feed(piece)
        except HttpError as error:
            return error
    pytest.fail("nothing was refused")


def test_head_may_fill_its_limit() -> None:
    """The largest head that is allowed is read whole and in pieces."""
    head = head_of(HEAD_BYTES_MAX)
    assert len(Parser(body_bytes_max=0).feed(head)) == 1
    parser = Parser(body_bytes_max=0)
    assert parser.feed(head[:-1]) == []
    assert parser.bytes_held == HEAD_BYTES_MAX - 1
    assert len(parser.feed(head[-1:])) == 1


@pytest.mark.parametrize("excess", [1, 2, 3, 4, 1000])
def test_head_over_its_limit_is_refused_however_it_is_cut(excess: int) -> None:
    """A head of one byte too many costs no more memory than the limit."""
    head = head_of(HEAD_BYTES_MAX + excess)
    assert refusal(Parser(body_bytes_max=0), head).status == 431
    assert refusal(Parser(body_bytes_max=0), head[:-1], head[-1:]).status == 431
    assert refusal(Parser(body_bytes_max=0), *(head[i : i + 1000] for i in range(0, len(head), 1000))).status == 431


def test_head_without_end_is_given_up_at_the_limit() -> None:
    """A peer that never ends its head cannot fill the memory."""
    parser = Parser(body_bytes_max=0)
    assert parser.feed(b"x" * (HEAD_BYTES_MAX - 1)) == []
    assert refusal(parser, b"x").status == 431


def test_empty_lines_without_end_cost_no_memory() -> None:
    """Empty lines before a request are passed over, not kept."""
    parser = Parser(body_bytes_max=0)
    for _ in range(100):
        assert parser.feed(b"\r\n" * 1000) == []
    assert parser.bytes_held == 0
    assert parser.is_idle


def test_body_may_fill_its_limit() -> None:
    """The body limit is inclusive, with a length, in chunks, and until the peer closes."""
    body = b"x" * 100
    (plain,) = Parser(body_bytes_max=100).feed(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n" + body)
    assert plain.body == body
    chunks = b"".join(b"32\r\n" + body[:50] + b"\r\n" for _ in range(2))
    (chunked,) = Parser(body_bytes_max=100).feed(CHUNKED + chunks + b"0\r\n\r\n")
    assert chunked.body == body
    parser = Parser(body_bytes_max=100, response=True)
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\n" + body) == []
    ended = parser.end()
    assert ended is not None
    assert ended.body == body


def test_declared_length_is_refused_before_the_body_comes() -> None:
    """A peer that announces too much is stopped at its head."""
    assert refusal(Parser(body_bytes_max=99), b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n").status == 413
    longest = b"9" * DIGITS_MAX
    assert refusal(Parser(body_bytes_max=99), b"POST / HTTP/1.1\r\nContent-Length: %b\r\n\r\n" % longest).status == 413
    assert refusal(Parser(body_bytes_max=99), CHUNKED + b"f" * DIGITS_MAX + b"\r\n").status == 413


def test_chunk_line_at_and_over_its_limit() -> None:
    """A chunk extension may fill the line's limit, its line end included, and not exceed it."""
    filler = b"x" * (CHUNK_LINE_BYTES_MAX - len(b"1;\r\n"))
    (message,) = Parser(body_bytes_max=10).feed(CHUNKED + b"1;" + filler + b"\r\na\r\n0\r\n\r\n")
    assert message.body == b"a"
    assert refusal(Parser(body_bytes_max=10), CHUNKED + b"1;" + filler + b"x\r\na\r\n0\r\n\r\n").status == 400
    assert refusal(Parser(body_bytes_max=10), CHUNKED, b"1;" + filler, b"x", b"\r").status == 400


def test_trailer_line_is_limited_too() -> None:
    """Trailers are dropped one by one; a single one without end is given up."""
    parser = Parser(body_bytes_max=10)
    assert parser.feed(CHUNKED + b"0\r\n") == []
    for _ in range(1000):
        assert parser.feed(b"A: b\r\n") == []
        assert parser.bytes_held == 0
    assert refusal(parser, b"A" * CHUNK_LINE_BYTES_MAX).status == 400


def test_many_tiny_chunks_are_held_to_the_body_limit() -> None:
    """Chunks of one byte add up to the limit like one large chunk."""
    parser = Parser(body_bytes_max=50)
    assert parser.feed(CHUNKED + b"1\r\nx\r\n" * 50) == []
    assert parser.bytes_held == 50
    assert refusal(parser, b"1\r\n").status == 413


def test_request_is_admitted_before_its_body() -> None:
    """A server may refuse on the head alone, so that a body for nobody is never read."""
    seen: list[Message] = []

    def admit(message: Message) -> None:
        seen.append(message)
        if message.start[1] != b"/ok":
            raise HttpError(404, "not found")

    parser = Parser(body_bytes_max=10, admit=admit)
    assert parser.feed(b"POST /ok HTTP/1.1\r\nContent-Length: 2\r\n\r\n") == []
    assert parser.feed(b"ab") == seen
    assert refusal(parser, b"POST /no HTTP/1.1\r\nContent-Length: 2\r\n\r\n").status == 404


def test_refusal_by_admit_precedes_the_body_limit() -> None:
    """A request for an unknown path is told so, whatever size it announces."""

    def admit(_message: Message) -> None:
        raise HttpError(404, "not found")

    parser = Parser(body_bytes_max=1, admit=admit)
    assert refusal(parser, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n").status == 404


def test_header_gives_the_first_of_its_name() -> None:
    """Names are found in lower case; a missing one is None."""
    (message,) = Parser(body_bytes_max=0).feed(b"GET / HTTP/1.1\r\nTwice: a\r\ntWICE: b\r\n\r\n")
    assert message.header(b"twice") == b"a"
    assert message.header(b"absent") is None


def test_status_is_a_number() -> None:
    """A response tells its status."""
    (message,) = Parser(body_bytes_max=0, response=True).feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert message.status == 404


def test_peer_closing_between_messages_is_no_error() -> None:
    """Keep-alive connections end like that."""
    parser = Parser(body_bytes_max=10)
    parser.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert parser.end() is None
    assert Parser(body_bytes_max=10, response=True).end() is None


def test_messages_before_a_broken_one_are_not_lost() -> None:
    """Requests that are complete count, also where the bytes after them in the same read are none."""
    good, bad = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nok", b"nonsense\r\n\r\n"
    parser = Parser(body_bytes_max=10)
    taken = parser.feed(good + bad)
    assert [message.body for message in taken] == [b"ok"]
    assert refusal(parser, b"").status == 400


def test_every_connection_header_counts() -> None:
    """`Connection` is a list that may be spread over several lines; `close` in any of them closes."""
    raw = b"GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"
    (message,) = Parser(body_bytes_max=0).feed(raw)
    assert message.keep_alive is False


def test_chunks_under_http10_close_the_connection() -> None:
    """RFC 9112 6.1: an HTTP/1.0 message with Transfer-Encoding has faulty framing; nothing after it is trusted."""
    raw = b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    try:
        (message,) = Parser(body_bytes_max=0).feed(raw)
    except HttpError:
        return
    assert message.keep_alive is False
