"""A function's URL over HTTP, with AWS's Python client and with a runtime that streams."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from multidict import CIMultiDict

from o2_lambda.emulator import Emulator
from tests.emulator.conftest import Puppet, Stage, eventually, kinds
from tests.emulator.test_streaming import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

CODE = """
import json

def handler(event, context):
    if event["rawPath"] == "/boom":
        raise ValueError("boom")
    if event["rawPath"] == "/odd":
        return {"statusCode": 9}
    if event["rawPath"] == "/plain":
        return event
    return {"statusCode": 201, "headers": {"X-Seen": event["requestContext"]["http"]["method"], "Content-Type": "a/b"},
            "cookies": ["a=b", "c=d"], "body": json.dumps([event["body"], context.aws_request_id])}
"""
INTEGRATION = "application/vnd.awslambda.http-integration-response"


async def test_a_request_is_an_event_and_an_answer_a_response(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Status, headers, cookies and body are the function's; any path and method; failures are a 502."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve_url()}"
        async with session.put(f"{url}/a/b?c=d", data="text") as answer:
            assert (answer.status, answer.headers["X-Seen"], answer.headers["Content-Type"]) == (201, "PUT", "a/b")
            assert answer.headers.getall("Set-Cookie") == ["a=b", "c=d"]
            assert await answer.json(content_type="a/b") == ["text", answer.headers["x-amzn-RequestId"]]
        trace = "Root=1-5759e988-bd862e3fe1be46a994272793"
        headers = [("Cookie", "k=v"), ("X-Twice", "1"), ("X-Twice", "2"), ("X-Amzn-Trace-Id", f"{trace};Sampled=1")]
        async with session.get(f"{url}/plain?c=d&c=e%20f", headers=CIMultiDict(headers)) as answer:
            event = await answer.json()
            assert (event["headers"]["x-amzn-trace-id"], event["headers"]["x-twice"]) == (trace, "1,2")
            assert (event["cookies"], event["headers"]["cookie"]) == (["k=v"], "k=v")
            assert event["queryStringParameters"] == {"c": "d,e f"}
            assert event["requestContext"]["requestId"] == answer.headers["x-amzn-RequestId"]
            assert "connection" not in event["headers"]
        for path in ("boom", "odd"):
            async with session.get(f"{url}/{path}") as answer:
                assert (answer.status, await answer.text()) == (502, "Internal Server Error")


async def test_a_request_that_is_too_large_for_an_event_is_refused(
    stage: Stage, session: aiohttp.ClientSession
) -> None:
    """It is the event that counts, in which bytes are base64; the function is not invoked."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve_url()}"
        async with session.put(url, data=io.BytesIO(bytes(5 << 20))) as answer:
            assert answer.status == 413
        assert "platform.start" not in kinds(emulator)


async def test_an_answer_in_one_piece_in_stream_mode(stage: Stage, session: aiohttp.ClientSession) -> None:
    """A function that does not stream: its answer is passed on as it is."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve_url(invoke_mode='RESPONSE_STREAM')}"
        async with session.post(url, data="text") as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
            assert json.loads(await answer.read())["statusCode"] == 201
        async with session.get(f"{url}/boom") as answer:
            assert answer.status == 502


async def streamed(
    stage: Stage, session: aiohttp.ClientSession, content_type: str, pieces: list[bytes], trailers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], list[bytes]]:
    """What the client gets of a response written piece by piece, each written once the one before has arrived."""
    async with Emulator(stage.puppet_config()) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started()
        url = f"http://{await emulator.serve_url(invoke_mode='RESPONSE_STREAM')}"
        call = asyncio.create_task(session.get(url).__aenter__())
        event = await puppet.runtime_call
        await puppet.event_call
        writer = Writer(emulator, event.headers["Lambda-Runtime-Aws-Request-Id"])
        await writer.begin(content_type)
        await writer.write(pieces[0])
        answer = await call
        got = []
        for piece in pieces[1:]:
            await writer.write(piece)
            got.append(await answer.content.readexactly(len(piece)))
        await writer.end(**trailers)
        puppet.runtime_call, puppet.event_call = puppet.runtime_next(), puppet.next()
        await eventually(lambda: "platform.runtimeDone" in kinds(emulator), emulator)
        got.append(await answer.read())
        return answer.status, answer.headers, got


async def test_pieces_come_behind_the_functions_own_head(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The prelude makes status, headers and cookies; each piece arrives before the next is written."""
    prelude = b'{"statusCode": 418, "headers": {"X-A": "b", "Content-Length": "1"}, "cookies": ["c=d"]}' + bytes(8)
    status, headers, got = await streamed(stage, session, INTEGRATION, [prelude, b"one ", b"two"], {})
    assert (status, headers["X-A"], headers["Set-Cookie"]) == (418, "b", "c=d")
    assert "Content-Length" not in headers
    assert got == [b"one ", b"two", b""]


async def test_a_stream_without_a_head(stage: Stage, session: aiohttp.ClientSession) -> None:
    """200, with the content type that the function has set."""
    status, headers, got = await streamed(stage, session, "text/event-stream", [b"a", b"b"], {})
    assert (status, headers["Content-Type"], b"".join(got)) == (200, "text/event-stream", b"ab")


async def test_a_head_that_makes_no_sense_is_a_502(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Nothing of it reaches the client."""
    status, _, _ = await streamed(stage, session, INTEGRATION, [b"{" + bytes(8)], {})
    assert status == 502


async def test_an_error_behind_the_pieces_breaks_the_connection(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The status is out already: an incomplete body is all that can tell."""
    with pytest.raises(aiohttp.ClientPayloadError):
        await streamed(
            stage, session, "text/plain", [b"a", b"b"], {"Lambda_Runtime_Function_Error_Type": "Runtime.Broke"}
        )
