"""Functions under AWS's Node.js runtime client: what they log is what the backend holds, record by record."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from .conftest import node_unavailable

if TYPE_CHECKING:
    from o2_lambda.emulator import InvokeResult, LocalLambda

    from .conftest import Scene

MISSING = node_unavailable("aws-lambda-ric/rapid-client.node")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")

COMMON_JS, MODULE = "node_talkative.cjs", "node_module.mjs"
LINES = ["plain", "", "two\nlines", 'tab\tand "quotes" \\ backslash', "grüße 日本 🎉", "x" * 20_000]


def start(scene: Scene, file: str, **changes: Any) -> LocalLambda:
    scene.task(COMMON_JS)  # the ES module calls it
    return scene.node(file, **changes)


def invoke(function: LocalLambda, **event: Any) -> InvokeResult:
    return function.invoke(json.dumps(event).encode())


@pytest.mark.parametrize("file", [COMMON_JS, MODULE])
def test_console_text_is_one_record_of_many_lines(scene: Scene, file: str) -> None:
    """What console.log prints arrives in frames: whole, with level, and with the id of its request."""
    with start(scene, file, log_format="Text") as function:
        result = invoke(function, do="print", lines=LINES)
        again = invoke(function, do="print", lines=["again"])
    greeting = ["module node_module.mjs"] if file == MODULE else []
    parts = [row["record"].split("\t", 3) for row in scene.logs()]
    assert [part[3] for part in parts] == [f"{line}\n" for line in [*greeting, *LINES, *greeting, "again"]]
    assert {part[2] for part in parts} == {"INFO"}
    assert [row["requestid"] for row in scene.logs()] == [part[1] for part in parts]
    assert list(dict.fromkeys(part[1] for part in parts)) == [result.request_id, again.request_id]


@pytest.mark.parametrize("file", [COMMON_JS, MODULE])
def test_console_json_keeps_every_member(scene: Scene, file: str) -> None:
    """With the JSON log format records are objects with level and message of their own."""
    with start(scene, file, log_format="JSON", log_level="DEBUG") as function:
        printed = invoke(function, do="print", lines=LINES)
        levels = invoke(function, do="levels")
    rows = [row for row in scene.logs() if not row["message"].startswith("module ")]
    assert [row["record_message"] for row in rows[: len(LINES)]] == LINES
    assert [(row["record_level"], row["level"]) for row in rows[len(LINES) :]] == [
        (level, level) for level in ("DEBUG", "INFO", "WARN", "ERROR")
    ]
    assert [row["record_message"] for row in rows[len(LINES) :]] == [
        f"at {level} {{ order: 7 }}" for level in ("debug", "info", "warn", "error")
    ]
    assert [row["requestid"] for row in rows] == [printed.request_id] * len(LINES) + [levels.request_id] * 4


def test_standard_output_is_cut_at_line_feeds(scene: Scene) -> None:
    """What does not go through the console keeps its text and gets its request from the platform's events."""
    with start(scene, COMMON_JS) as function:
        result = invoke(function, do="raw", lines=["one", "", "ünï"])
    rows = scene.logs()
    assert [row["record"] for row in rows] == ["one\n", "\n", "ünï\n"]
    assert {row["requestid"] for row in rows} == {result.request_id}


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_errors_are_one_record(scene: Scene, log_format: str) -> None:
    """A caught error that is logged, and one that is thrown: each is one record with its trace."""
    with start(scene, COMMON_JS, log_format=log_format) as function:
        caught = invoke(function, do="caught")
        thrown = invoke(function, do="raise")
    error = json.loads(thrown.payload)
    assert (thrown.function_error, error["errorType"], error["errorMessage"]) == (
        "Unhandled", "OutOfStockError", "no lamp\nleft",
    )  # fmt: skip
    rows = scene.logs()
    assert [row["requestid"] for row in rows] == [caught.request_id, thrown.request_id]
    texts = [json.dumps(row) for row in rows]
    for text, what in zip(texts, ("book", "lamp"), strict=True):
        assert "OutOfStockError" in text
        assert f"no {what}" in text
        assert "node_talkative.cjs" in text
    reports = scene.logs("platform.report")
    assert [row["record_status"] for row in reports] == ["success", "error"]


def test_an_unhandled_rejection_ends_the_runtime(scene: Scene) -> None:
    """Node's own farewell arrives line by line; the next invocation is served by a new environment."""
    with start(scene, COMMON_JS) as function:
        fatal = invoke(function, do="reject outside")
        after = invoke(function, do="print", lines=["alive"])
    assert (fatal.outcome, fatal.error_type) == ("failure", "Runtime.ExitError")
    assert after.outcome == "success"
    records = [(row["record"], row["requestid"]) for row in scene.logs()]
    assert ("OutOfStockError: no pen\n", fatal.request_id) in records
    assert records[-1][0].endswith("\talive\n")


def test_a_timeout_keeps_what_was_logged_before(scene: Scene) -> None:
    """The line logged before the function was stopped arrives."""
    with start(scene, COMMON_JS, timeout_ms=1500) as function:
        result = invoke(function, do="sleep", seconds=30)
    assert result.outcome == "timeout"
    (row,) = scene.logs()
    assert row["record"].endswith("\tabout to sleep\n")
    assert row["requestid"] == result.request_id
    assert [row["record_status"] for row in scene.logs("platform.runtimeDone")] == ["timeout"]


def test_a_refused_handler(scene: Scene) -> None:
    """What the runtime client has against a callback handler reaches client and backend, in both attempts at init."""
    with scene.node("node_callback.js", log_format="JSON") as function:
        result = invoke(function)
    assert json.loads(result.payload)["errorType"] == "Runtime.CallbackHandlerDeprecated"
    # Node.js may have time to print the exception in its own words, too.
    rows = [row for row in scene.logs() if "record_message_name" in row]
    assert {row["record_message_name"] for row in rows} == {"Runtime.CallbackHandlerDeprecated"}
    # The second attempt is part of the invocation. The client itself writes "-" for want of an id.
    assert [row.get("requestid") for row in rows] == [None, result.request_id]


@pytest.mark.parametrize("fails_at", [None, 2])
def test_streamed_responses(scene: Scene, fails_at: int | None) -> None:
    """awslambda.streamifyResponse: pieces by invoke_with_response_stream, an error behind them; logs as ever."""
    with scene.node("node_streaming.cjs") as function:
        address = asyncio.run_coroutine_threadsafe(function.emulator.serve(), function._loop).result(10)
        events = stream(address, {"pieces": 3, "failsAt": fails_at})
    pieces = b"".join(event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event)
    written = 3 if fails_at is None else fails_at
    assert pieces == b"".join(b"piece %d " % number for number in range(written))
    complete = events[-1]["InvokeComplete"]
    if fails_at is None:
        assert complete == {}
        assert len(events) == written + 1, "one event for each piece"
    else:
        assert complete["ErrorCode"]
        assert json.loads(complete["ErrorDetails"])["errorMessage"] == "planned"
    lines = [row["record"].split("\t", 3)[3] for row in scene.logs() if "wrote" in row["record"]]
    assert lines == [f"wrote {number}\n" for number in range(written)]


def test_a_function_url_streams_with_status_headers_and_cookies(scene: Scene) -> None:
    """What awslambda.HttpResponseStream puts in front of the pieces is the response's head."""
    with scene.node("node_url.cjs") as function:
        served = function.emulator.serve_url(invoke_mode="RESPONSE_STREAM")
        address = asyncio.run_coroutine_threadsafe(served, function._loop).result(10)
        with urllib.request.urlopen(f"http://{address}/a%20b?pieces=3", timeout=20) as answer:
            assert (answer.status, answer.headers["X-Path"], answer.headers["Set-Cookie"]) == (203, "/a%20b", "a=b")
            assert answer.headers["Content-Type"] == "text/plain"
            assert answer.read() == b"piece 0 piece 1 piece 2 "
        function.shutdown()
    assert [row["record_status"] for row in scene.logs("platform.report")] == ["success"]


def stream(address: str, event: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of boto3's own streaming call."""
    client = boto3.client(
        "lambda",
        endpoint_url=f"http://{address}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(proxies={}),
    )
    return list(client.invoke_with_response_stream(FunctionName="f", Payload=json.dumps(event).encode())["EventStream"])
