"""Function URLs: requests as events, answers as responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from o2_lambda.emulator.function_url import MalformedError, Prelude, Reply, Request, event, reply

JSON = ("Content-Type", "application/json")


def made(**changes: Any) -> dict[str, Any]:
    facts = {"method": "GET", "path": "/", "query": "", "headers": {}, "body": b"", "source_ip": "127.0.0.1"}
    return event(
        Request(**{**facts, **changes}), url_id="abc", region="eu-west-1", request_id="id", now_ms=1_681_834_637_081.5
    )


def test_an_event_is_as_aws_makes_it() -> None:
    """Member by member, as a function URL of AWS's sent it for the same request."""
    headers = {"content-type": "application/json", "cookie": "foo=bar; hello=hello", "user-agent": "curl/8"}
    assert made(
        method="POST", path="/a%20b", query="hello=world&n=1&n=2&e=", headers=headers, body=b'{"hello": "w\xc3\xb6rld"}'
    ) == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/a%20b",
        "rawQueryString": "hello=world&n=1&n=2&e=",
        "cookies": ["foo=bar", "hello=hello"],
        "headers": {
            **headers, "host": "abc.lambda-url.eu-west-1.on.aws", "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "443", "x-forwarded-proto": "https",
        },
        "queryStringParameters": {"hello": "world", "n": "1,2", "e": ""},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc",
            "domainName": "abc.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "abc",
            "http": {
                "method": "POST", "path": "/a%20b", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                "userAgent": "curl/8",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "18/Apr/2023:16:17:17 +0000",
            "timeEpoch": 1681834637081,
        },
        "body": '{"hello": "wörld"}',
        "isBase64Encoded": False,
    }  # fmt: skip


def test_what_a_request_lacks_its_event_lacks() -> None:
    """No cookies, query or body: no members for them."""
    assert not {"cookies", "queryStringParameters", "body"} & set(made())
    assert made()["isBase64Encoded"] is False


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/plain; charset=utf-8", b"a", "a"),
        ("application/atom+xml", b"<a/>", "<a/>"),
        ("application/x-www-form-urlencoded", b"a=b", "YT1i"),
        ("image/png", b"\x89PNG", "iVBORw=="),
        ("", b"a", "YQ=="),
        ("application/json", b"\xff", "/w=="),
    ],
)
def test_a_body_is_text_or_base64(content_type: str, body: bytes, expected: str) -> None:
    """By its content type; what is no UTF-8 cannot be text."""
    found = made(headers={"content-type": content_type}, body=body)
    assert (found["body"], found["isBase64Encoded"]) == (expected, expected != body.decode(errors="replace"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"a": 1}, Reply(200, [JSON], b'{"a": 1}')),
        ([1], Reply(200, [JSON], b"[1]")),
        ("hello", Reply(200, [JSON], b"hello")),
        (None, Reply(200, [JSON], b"null")),
        ({"statusCode": 204}, Reply(204, [JSON], b"")),
        ({"statusCode": "201", "body": {"a": 1}}, Reply(201, [JSON], b'{"a":1}')),
        (
            {"statusCode": 200, "headers": {"content-type": "image/png", "X-N": 1}, "body": "iVBORw==",
             "isBase64Encoded": True},
            Reply(200, [("content-type", "image/png"), ("X-N", "1")], b"\x89PNG"),
        ),
        (
            {"statusCode": 200, "cookies": ["a=b; Secure", "c=d"], "body": "x"},
            Reply(200, [("Set-Cookie", "a=b; Secure"), ("Set-Cookie", "c=d"), JSON], b"x"),
        ),
    ],
)  # fmt: skip
def test_an_answer_in_one_piece(answer: Any, expected: Reply) -> None:
    """With a status it describes a response, without one it is the body."""
    assert reply(json.dumps(answer).encode()) == expected


@pytest.mark.parametrize(
    "answer",
    [
        b"no json", b'{"statusCode": "x"}', b'{"statusCode": 1000}', b'{"statusCode": null}',
        b'{"statusCode": 200, "headers": [1]}', b'{"statusCode": 200, "cookies": 1}',
        b'{"statusCode": 200, "headers": {"a": "b\\r\\nc: d"}}',
        b'{"statusCode": 200, "isBase64Encoded": true, "body": "?"}',
        b'{"statusCode": 200, "isBase64Encoded": true, "body": "\xc3\xb6"}',
    ],
)  # fmt: skip
def test_what_is_no_response_is_refused(answer: bytes) -> None:
    """Never another error: the caller answers 502."""
    with pytest.raises(MalformedError):
        reply(answer)


def test_a_prelude_in_any_pieces() -> None:
    """Status, headers and cookies come out the same however the bytes are cut; what follows is the body."""
    text = b'{"statusCode": 201, "headers": {"X-A": "b"}, "cookies": ["c=d"]}'
    whole = text + bytes(8) + b"body"
    headers = [("X-A", "b"), ("Set-Cookie", "c=d")]
    for cut in range(len(text) + 8):
        prelude = Prelude()
        assert prelude.feed(whole[:cut]) is None
        assert prelude.feed(whole[cut:]) == Reply(201, headers, b"body")
    slow = Prelude()
    heads = [slow.feed(whole[at : at + 1]) for at in range(len(text) + 8)]
    assert heads[-1] == Reply(201, headers, b"")
    assert heads[:-1] == [None] * (len(heads) - 1)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"statusCode": []}', b"\xff", b'{"statusCode": 99}'])
def test_a_prelude_that_makes_no_sense(text: bytes) -> None:
    """It is refused when it is complete."""
    with pytest.raises(MalformedError):
        Prelude().feed(text + bytes(8))


def test_a_prelude_without_an_end_is_not_kept() -> None:
    """What comes before the delimiter is bounded."""
    prelude = Prelude()
    assert prelude.feed(b"x" * 1024 * 1024) is None
    with pytest.raises(MalformedError):
        prelude.feed(b"x")
