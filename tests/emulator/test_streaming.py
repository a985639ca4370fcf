"""Response streaming: pieces reach the client while the function still writes; errors come behind them."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from o2_lambda.emulator import Emulator, LambdaConfig
from tests.emulator.conftest import Puppet, Stage, eventually, kinds, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp


def invoke_streaming(address: str, **options: str) -> Iterator[dict[str, Any]]:
    """The events of boto3's own call."""
    client = boto3.client(
        "lambda",
        endpoint_url=f"http://{address}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    answer = client.invoke_with_response_stream(FunctionName="f", Payload=b"{}", **options)
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    yield from answer["EventStream"]


class Writer:
    """Plays a runtime that writes a chunked response by hand."""

    def __init__(self, emulator: Emulator, request_id: str) -> None:
        self._emulator = emulator
        self._path = f"/2018-06-01/runtime/invocation/{request_id}/response"

    async def begin(self, content_type: str = "text/plain") -> None:
        host, port = self._emulator.runtime_api.split(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(
            f"POST {self._path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            f"Content-Type: {content_type}\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n".encode()
        )

    async def write(self, piece: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await self._writer.drain()

    async def end(self, **trailers: str) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in trailers.items())
        self._writer.write(f"0\r\n{lines}\r\n".encode())
        assert (await self._reader.readline()).split()[1] == b"202"
        await self.hang_up()

    async def hang_up(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def served(emulator: Emulator, session: aiohttp.ClientSession) -> tuple[Puppet, Iterator[dict[str, Any]], Writer]:
    """A client that waits in its call, and the runtime that is about to answer it."""
    puppet = Puppet(emulator, session)
    await puppet.started()
    events = invoke_streaming(await emulator.serve())
    first = asyncio.create_task(asyncio.to_thread(next, events))
    answer = await puppet.runtime_call
    await puppet.event_call
    writer = Writer(emulator, answer.headers["Lambda-Runtime-Aws-Request-Id"])
    await writer.begin()
    await writer.write(b"first ")
    assert (await first) == {"PayloadChunk": {"Payload": b"first "}}
    return puppet, events, writer


async def finish(puppet: Puppet) -> None:
    puppet.runtime_call = puppet.runtime_next()
    puppet.event_call = puppet.next()
    await eventually(lambda: "platform.runtimeDone" in kinds(puppet.emulator), puppet.emulator)


async def test_pieces_arrive_while_the_function_writes(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The first is there before the second is written; the end says that there was no error."""
    async with Emulator(stage.puppet_config()) as emulator:
        puppet, events, writer = await served(emulator, session)
        await writer.write(b"second")
        await writer.end()
        await finish(puppet)
        rest = await asyncio.to_thread(list, events)
        assert b"".join(event["PayloadChunk"]["Payload"] for event in rest[:-1]) == b"second"
        assert rest[-1] == {"InvokeComplete": {}}
        done = record_of(emulator, "platform.runtimeDone")
        assert done["metrics"]["producedBytes"] == len(b"first second")
        assert [span["name"] for span in done["spans"]][:2] == ["responseLatency", "responseDuration"]


async def test_an_error_in_the_middle_comes_behind_the_pieces(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The runtime tells it in trailers; a stack trace may be long."""
    body = json.dumps({"errorMessage": "broke", "stackTrace": ["x" * 30_000]})
    async with Emulator(stage.puppet_config()) as emulator:
        puppet, events, writer = await served(emulator, session)
        await writer.end(
            Lambda_Runtime_Function_Error_Type="Function.Broken",
            Lambda_Runtime_Function_Error_Body=base64.b64encode(body.encode()).decode(),
        )
        await finish(puppet)
        [last] = await asyncio.to_thread(list, events)
        assert last == {"InvokeComplete": {"ErrorCode": "Function.Broken", "ErrorDetails": body}}
        done = record_of(emulator, "platform.runtimeDone")
        assert (done["status"], done["errorType"]) == ("error", "Function.Broken")


async def test_a_crash_in_the_middle_ends_the_stream(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The client learns why."""
    async with Emulator(stage.puppet_config()) as emulator:
        _puppet, events, writer = await served(emulator, session)
        emulator._current().processes["runtime"].signal(9)
        [last] = await asyncio.to_thread(list, events)
        assert last["InvokeComplete"]["ErrorCode"] == "Runtime.ExitError"
        await writer.hang_up()


@pytest.mark.parametrize("boom", [False, True])
async def test_a_function_that_does_not_stream(stage: Stage, *, boom: bool) -> None:
    """Its response is one piece; its exception is the error; the log comes on request."""
    end = "raise ValueError('planned')" if boom else "return {'whole': True}"
    config: LambdaConfig = stage.python_config(f"def handler(event, context):\n    print('said')\n    {end}\n")
    async with Emulator(config) as emulator:
        address = await emulator.serve()
        events = await asyncio.to_thread(lambda: list(invoke_streaming(address, LogType="Tail")))
        complete = events[-1]["InvokeComplete"]
        assert b"said" in base64.b64decode(complete["LogResult"])
        if boom:
            assert len(events) == 1
            assert complete["ErrorCode"] == "ValueError"
            assert json.loads(complete["ErrorDetails"])["errorMessage"] == "planned"
        else:
            assert json.loads(events[0]["PayloadChunk"]["Payload"]) == {"whole": True}
            assert "ErrorCode" not in complete


async def test_requests_that_cannot_be_streamed(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Asynchronous invocation has no response; what is no JSON is refused as in the other call."""
    async with Emulator(stage.python_config()) as emulator:
        url = f"http://{await emulator.serve()}/2021-11-15/functions/f/response-streaming-invocations"
        async with session.post(url, data=b"{}", headers={"X-Amz-Invocation-Type": "Event"}) as answer:
            assert answer.status == 400
        async with session.post(url, data=b"{") as answer:
            assert (answer.status, answer.headers["X-Amzn-ErrorType"]) == (400, "InvalidRequestContentException")
        async with session.post(url, data=b"{}", headers={"X-Amz-Invocation-Type": "DryRun"}) as answer:
            assert answer.status == 204
