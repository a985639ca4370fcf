"""The Invoke API: what curl, the AWS CLI and SDKs see."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import pytest

from o2_lambda.emulator import Emulator
from tests.emulator.conftest import Stage, eventually

if TYPE_CHECKING:
    import aiohttp

CODE = """
def handler(event, context):
    print("hello from the function")
    if event.get("boom"):
        raise ValueError("boom")
    return {"event": event, "custom": context.client_context.custom if context.client_context else None,
            "arn": context.invoked_function_arn}
"""
PATH = "/2015-03-31/functions/any-name/invocations"


async def test_a_request_gets_payload_version_and_id(stage: Stage, session: aiohttp.ClientSession) -> None:
    """A plain POST, as by curl, whatever its content type."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve()}{PATH}"
        async with session.post(url + "?Qualifier=live", data=b'{"k":1}') as answer:
            assert answer.status == 200
            assert answer.headers["X-Amz-Executed-Version"] == "$LATEST"
            assert answer.headers["x-amzn-RequestId"]
            assert "X-Amz-Function-Error" not in answer.headers
            body = json.loads(await answer.read())
            assert body["event"] == {"k": 1}
            assert body["arn"].endswith(":function:my-function:live")


async def test_function_errors_and_log_tail(stage: Stage, session: aiohttp.ClientSession) -> None:
    """200 with the error header, and the log from START to REPORT."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve()}{PATH}"
        async with session.post(url, data=b'{"boom":1}', headers={"X-Amz-Log-Type": "Tail"}) as answer:
            assert (answer.status, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
            assert json.loads(await answer.read())["errorType"] == "ValueError"
            tail = base64.b64decode(answer.headers["X-Amz-Log-Result"]).decode()
            assert tail.startswith("START RequestId: ")
            assert "hello from the function" in tail
            assert tail.splitlines()[-1].startswith("REPORT RequestId: ")


async def test_client_context_is_decoded_for_the_runtime(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Base64 on the wire, JSON in the function."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve()}{PATH}"
        context = base64.b64encode(b'{"custom":{"a":"b"}}').decode()
        async with session.post(url, headers={"X-Amz-Client-Context": context}) as answer:
            assert json.loads(await answer.read())["custom"] == {"a": "b"}


async def test_event_and_dry_run(stage: Stage, session: aiohttp.ClientSession) -> None:
    """202 before the function is done, 204 without running it."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve()}{PATH}"
        async with session.post(url, headers={"X-Amz-Invocation-Type": "DryRun"}) as answer:
            assert answer.status == 204
        assert not emulator.output
        async with session.post(url, headers={"X-Amz-Invocation-Type": "Event"}) as answer:
            assert (answer.status, await answer.read()) == (202, b"")
        await eventually(lambda: ("function", "hello from the function\n") in emulator.output, emulator)


@pytest.mark.parametrize(("body", "headers", "status", "code"), [
    (b"{nope", {}, 400, "InvalidRequestContentException"),
    (b"{}", {"X-Amz-Invocation-Type": "Later"}, 400, "InvalidParameterValueException"),
    (b"{}", {"X-Amz-Client-Context": "%%%"}, 400, "InvalidRequestContentException"),
    (b'"' + b"x" * 1_048_576 + b'"', {"X-Amz-Invocation-Type": "Event"}, 413, "RequestTooLargeException"),
])  # fmt: skip
async def test_bad_requests(
    stage: Stage, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """AWS's codes, in the header SDKs read; the function does not run."""
    async with Emulator(stage.python_config(CODE)) as emulator:
        url = f"http://{await emulator.serve()}{PATH}"
        async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
            assert (answer.status, answer.headers["X-Amzn-ErrorType"]) == (status, code)
        assert not emulator.output
