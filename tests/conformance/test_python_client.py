"""Functions under AWS's Python runtime client: what they log is what the backend holds, record by record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from o2_lambda.emulator import InvokeResult, LocalLambda

    from .conftest import Row, Scene

LINES = ["plain", "", " spaces  around ", 'tab\tand "quotes" \\ backslash', "grüße 日本 🎉", "x" * 20_000]
FORMATS = ["Text", "JSON"]


def invoke(function: LocalLambda, **event: Any) -> InvokeResult:
    return function.invoke(json.dumps(event).encode())


@pytest.mark.parametrize("log_format", FORMATS)
def test_printed_lines_arrive_as_they_were_printed(scene: Scene, log_format: str) -> None:
    """Each printed line is one record with its text, its request's id and its time; the log format leaves it alone."""
    with scene.python("talkative.py", log_format=log_format) as function:
        first = invoke(function, do="print", lines=LINES)
        second = invoke(function, do="print", lines=["again"])
    rows = scene.logs()
    assert [row["record"] for row in rows] == [f"{line}\n" for line in [*LINES, "again"]]
    assert [row["requestid"] for row in rows] == [first.request_id] * len(LINES) + [second.request_id]
    assert all(row["_timestamp"] // 1000 == _epoch_ms(row["time"]) for row in rows)
    assert len({row["_timestamp"] for row in rows}) == len(rows)


def test_several_lines_in_one_print_are_several_records(scene: Scene) -> None:
    """Standard output is cut at line feeds, as on Lambda."""
    with scene.python("talkative.py") as function:
        invoke(function, do="print", lines=["one\ntwo"])
    assert [row["record"] for row in scene.logs()] == ["one\n", "two\n"]


def test_logged_text_is_one_record_of_many_lines(scene: Scene) -> None:
    """The logging module writes frames: a message with line feeds stays whole, and names its request itself."""
    with scene.python("talkative.py", log_format="Text") as function:
        result = invoke(function, do="log", lines=["one", "two\nlines", "ünï"])
    rows = scene.logs()
    prefixed = [row["record"].split("\t", 3) for row in rows]
    assert [parts[3] for parts in prefixed] == ["one\n", "two\nlines\n", "ünï\n"]
    assert {parts[0] for parts in prefixed} == {"[WARNING]"}
    assert {parts[2] for parts in prefixed} == {row["requestid"] for row in rows} == {result.request_id}


def test_logged_json_keeps_every_member(scene: Scene) -> None:
    """With the JSON log format records are objects: level, message, logger and extras are columns of their own."""
    with scene.python("talkative.py", log_format="JSON", log_level="DEBUG") as function:
        result = invoke(function, do="levels")
    rows = scene.logs()
    assert [row["record_message"] for row in rows] == [
        f"at {level}" for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    ]
    assert [row["level"] for row in rows] == [row["record_level"] for row in rows]
    assert [row["record_level"] for row in rows] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert [row["message"] for row in rows] == [row["record_message"] for row in rows]
    assert {(row["record_logger"], row["record_order"]) for row in rows} == {("shop.orders", 7)}
    assert {row["requestid"] for row in rows} == {row["record_requestid"] for row in rows} == {result.request_id}


@pytest.mark.parametrize("log_format", FORMATS)
def test_logged_exceptions_are_one_record(scene: Scene, log_format: str) -> None:
    """A caught exception arrives whole, its trace in it."""
    with scene.python("talkative.py", log_format=log_format) as function:
        invoke(function, do="caught")
    (row,) = scene.logs()
    if log_format == "Text":
        lines = row["record"].split("\n")
        assert lines[0].endswith("\tsale failed")
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-2:] == ["talkative.OutOfStockError: no book", "left"]
    else:
        assert (row["record_message"], row["record_errortype"]) == ("sale failed", "OutOfStockError")
        assert row["record_errormessage"] == "no book\nleft"
        assert [frame.split(", in ")[1].split("\n")[0] for frame in json.loads(row["record_stacktrace"])] == [
            "log_exception", "sell",
        ]  # fmt: skip


@pytest.mark.parametrize("log_format", FORMATS)
def test_uncaught_exceptions_reach_client_and_backend(scene: Scene, log_format: str) -> None:
    """The client gets the error untouched, the backend one record of it and platform events with the error type."""
    with scene.python("talkative.py", log_format=log_format) as function:
        result = invoke(function, do="raise")
    error = json.loads(result.payload)
    assert (result.function_error, error["errorType"], error["errorMessage"]) == (
        "Unhandled", "OutOfStockError", "no lamp\nleft",
    )  # fmt: skip
    (row,) = scene.logs()
    assert row["requestid"] == result.request_id
    if log_format == "Text":
        assert row["record"].startswith("[ERROR] OutOfStockError: no lamp\nleft\nTraceback")
    else:
        assert json.loads(row["record_stacktrace"]) == error["stackTrace"]
        assert (row["record_errortype"], row["record_errormessage"]) == ("OutOfStockError", "no lamp\nleft")
    assert _platform(scene, "runtimeDone") == [("error", "OutOfStockError")]
    assert _platform(scene, "report") == [("error", "OutOfStockError")]


def test_a_timeout_keeps_what_was_logged_before(scene: Scene) -> None:
    """The line printed before the function was stopped arrives, and so does the platform's word on its end."""
    with scene.python("talkative.py", timeout_ms=700) as function:
        result = invoke(function, do="sleep", seconds=30)
        after = invoke(function, do="print", lines=["alive"])
    assert (result.outcome, after.outcome) == ("timeout", "success")
    rows = scene.logs()
    assert [(row["record"], row["requestid"]) for row in rows] == [
        ("about to sleep\n", result.request_id), ("alive\n", after.request_id),
    ]  # fmt: skip
    assert _platform(scene, "runtimeDone") == [("timeout", None), ("success", None)]


def test_init_output_has_no_request(scene: Scene) -> None:
    """What the module prints while it is imported belongs to no request."""
    task = scene.task("talkative.py")
    (task / "loud.py").write_text("print('importing')\nfrom talkative import handler\n")
    with scene.python("talkative.py", handler="loud.handler") as function:
        result = invoke(function, do="print", lines=["serving"])
    rows = scene.logs()
    assert [(row["record"], row.get("requestid")) for row in rows] == [
        ("importing\n", None), ("serving\n", result.request_id),
    ]  # fmt: skip


def test_a_module_that_cannot_be_imported(scene: Scene) -> None:
    """The runtime's own error text arrives although the function never ran."""
    task = scene.task("talkative.py")
    (task / "broken.py").write_text("import not_there\n")
    with scene.python("talkative.py", handler="broken.handler") as function:
        result = invoke(function)
    assert json.loads(result.payload)["errorType"] == "Runtime.ImportModuleError"
    records = [row["record"] for row in scene.logs()]
    assert any("Runtime.ImportModuleError" in record and "not_there" in record for record in records)


def test_the_ledger_agrees_with_the_backend(scene: Scene) -> None:
    """As many records as the extension says it delivered are stored; none is held or dropped."""
    with scene.python("talkative.py") as function:
        for number in range(5):
            invoke(function, do="print", lines=[f"line {number}"] * 100)
        function.shutdown()
        ledger = _ledger(function)
    assert ledger["received"] == ledger["delivered"] == scene.backend.count("logs", "default")
    assert (ledger["held"], ledger["dropped"], ledger["rejected"]) == (0, {}, {})
    assert len(scene.logs()) == 500


def _ledger(function: LocalLambda) -> dict[str, Any]:
    (line,) = [entry.line for entry in function.output if entry.line.startswith('{"ledger"')]
    account: dict[str, Any] = json.loads(line)["ledger"]["logs"]
    return account


def _platform(scene: Scene, event: str) -> list[tuple[str, str | None]]:
    rows: list[Row] = scene.logs(f"platform.{event}")
    return [(row["record_status"], row.get("record_errortype")) for row in rows]


def _epoch_ms(text: str) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(text).timestamp() * 1000)
