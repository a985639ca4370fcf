"""Node.js functions in AWS's runtime clients, traced by what ships: what the caller notices, and what arrives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.layer.build import wrapper_and_node
from tests.instrument import nodes
from tests.instrument.nodes import NodeFunction, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MISSING = nodes.unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")

SERVER = 2
BUNDLED = """
var __defProp = Object.defineProperty;
var __export = (target, all) => { for (var n in all) __defProp(target, n, { get: all[n], enumerable: true }); };
var exported = {}; __export(exported, { handler: () => handler }); module.exports = exported;
var handler = async () => "bundled";
0 && (module.exports = { handler });
"""
COMPILED = """
"use strict"; Object.defineProperty(exports, "__esModule", { value: true }); exports.handler = void 0;
const handler = async (event) => ({ compiled: true }); exports.handler = handler;
"""
NAMES = "[process.env._HANDLER, process.env.O2_TRACED_HANDLER, process.env.NODE_OPTIONS, process.argv.slice(2)]"
CHILD = f"execFileSync(process.execPath, ['-p', 'JSON.stringify({NAMES})']).toString()"
ANSWERED = "stream.end(); await new Promise((done) => stream.on('close', done)); "
STREAM = "awslambda.streamifyResponse(async (event, stream) => { stream.write('a'); %s })"

# What a function may be: files, and its handler's name where that is not the usual one.
FUNCTIONS: dict[str, tuple[dict[str, str], str]] = {
    "commonjs": ({"index.js": f"exports.handler = async () => {NAMES}"}, ""),
    "extension": ({"index.cjs": "exports.handler = async () => module.parent === undefined"}, ""),
    "module": ({"index.mjs": f"export const handler = async () => {NAMES}"}, ""),
    "module by package": (
        {"index.js": "export const handler = async () => 't'", "package.json": '{"type": "module"}'},
        "",
    ),
    "compiled": ({"index.js": COMPILED}, ""),
    "bundled": ({"index.js": BUNDLED}, ""),
    "default export": ({"index.mjs": "export default { handler: async () => 'd' }"}, ""),
    "nested": ({"src/fn/app.js": "exports.a = { b: async () => __filename.split('/').pop() }"}, "src/fn/app.a.b"),
    "child": (
        {"index.mjs": f"import {{ execFileSync }} from 'child_process'; export const handler = async () => {CHILD}"},
        "",
    ),
    "sync": ({"index.js": "exports.handler = () => 'now'"}, ""),
    "unanswered": ({"index.js": "exports.handler = () => new Promise(() => {})"}, ""),
    "throws": (
        {
            "index.js": "const f = (n) => { if (n) f(n - 1); throw new RangeError('deep') }\n"
            "exports.handler = () => f(6)"
        },
        "",
    ),
    "anonymous throws": ({"index.js": "exports['handler'] = [async () => { throw new Error('x') }][0]"}, ""),
    "thenable": ({"index.js": "exports.handler = () => ({ then(done) { done('then') } })"}, ""),
    "frozen errors": ({"index.js": "Object.freeze(Error); exports.handler = async () => 'f'"}, ""),
    "errors without a stack": (
        {"index.js": "delete Error.stackTraceLimit; exports.handler = async () => new Error('x').stack ?? 'none'"},
        "",
    ),
    "rejects": ({"index.js": "exports.handler = async () => { await null; throw new TypeError('late') }"}, ""),
    "throws text": ({"index.js": "exports.handler = async () => { throw 'text' }"}, ""),
    "throws nothing": ({"index.mjs": "export const handler = async () => { throw undefined }"}, ""),
    "exits": ({"index.js": "exports.handler = async () => { process.exit(3) }"}, ""),
    "crashes": (
        {"index.js": "exports.handler = () => new Promise(() => setTimeout(() => { throw new Error('late') }))"},
        "",
    ),
    "stream": ({"index.mjs": f"export const handler = {STREAM % 'stream.end()'}"}, ""),
    # Not before the answer is there: after an error the newer client asks for the next event without waiting for it,
    # which the platform takes for a fault or not, depending on what comes first.
    "broken stream": (
        {"index.js": f"exports.handler = {STREAM % (ANSWERED + 'throw new Error(String(event.x))')}"},
        "",
    ),
    "callback": (
        {"index.js": "exports.handler = (e, c, done) => { setTimeout(() => done(null, exports.handler.length), 5) }"},
        "",
    ),
    "failing callback": ({"index.js": "exports.handler = (event, context, done) => done(new Error('no'))"}, ""),
    "forgotten callback": ({"index.js": "exports.handler = (event, context, done) => {}"}, ""),
    "context methods": ({"index.js": "exports.handler = (event, context) => { context.succeed('s') }"}, ""),
}
# What does not start.
BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "error": ({"index.js": "throw new Error('at init')"}, ""),
    "error below": ({"index.js": "require('./b')", "b.js": "JSON.parse('{')"}, ""),
    "no module": ({"index.js": "require('nothing-here')"}, ""),
    "syntax": ({"index.js": "exports.handler = (("}, ""),
    "no handler": ({"index.js": "exports.other = 1"}, ""),
    "no function": ({"index.js": "exports.handler = 7"}, ""),
    "no file": ({}, ""),
    "name without function": ({"index.js": ""}, "index"),
    "name with dots": ({"index.js": ""}, "../index.handler"),
    "module error": ({"index.mjs": "throw new Error('at init')"}, ""),
    "module error later": ({"index.mjs": "await null; throw new Error('at init')"}, ""),
    "module without module": ({"index.mjs": "import x from 'nothing-here'"}, ""),
    "module syntax": ({"index.mjs": "export const handler = (("}, ""),
    "module without handler": ({"index.mjs": "export const other = 1"}, ""),
}


@pytest.fixture(scope="session")
def wrapper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wrapper in a folder that is laid out as the layer."""
    root = tmp_path_factory.mktemp("opt")
    for name, entry in wrapper_and_node().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.content)
        path.chmod(entry.mode)
    return root / "otel-instrument"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def without_ids(data: Any) -> str:
    """Request ids and times differ from run to run, and nothing else may."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", str(data))
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\[\d{13}\]|:\d{5}\b", "<->", text)


def without_farewell(lines: list[str]) -> list[str]:
    """The log without what Node.js itself writes at its end: the sandbox may be taken down before that comes out."""
    kept, is_dying = [], False
    for line in lines:
        is_dying = is_dying or re.fullmatch(r"node:internal/\S+:\d+\n", line) is not None
        if not is_dying:
            kept.append(line)
        is_dying = is_dying and not line.startswith("Node.js v")
    return kept


def seen(folder: Path, case: tuple[dict[str, str], str], invocations: int, **options: Any) -> str:
    """All that a caller, the platform and the log get to see."""
    files, handler = case
    with NodeFunction(folder, files, handler=handler or "index.handler", **options) as function:
        init = function.running.init_result
        payloads = [function.invoke() for _ in range(invocations)]
        lines = [line for line in without_farewell(function.lines()) if "LAMBDA_RUNTIME" not in line]  # of native code
        return without_ids((init.status, init.error_type, init.message, payloads, lines))


@pytest.mark.parametrize("older", [False, True], ids=["newer client", "older client"])
@pytest.mark.parametrize("case", FUNCTIONS)
def test_the_caller_gets_the_same_bytes(
    tmp_path: Path, wrapper: Path, receiver: Receiver, case: str, *, older: bool
) -> None:
    """Answers, errors with their traces, the log and what a child process inherits; one span an invocation.

    Also where the process ends in the first one, for want of a catch or of its own accord.
    """
    plain = seen(tmp_path, FUNCTIONS[case], 1, wrapper=None, older=older)
    traced = seen(tmp_path, FUNCTIONS[case], 1, wrapper=wrapper, older=older, port=receiver.port)
    assert traced == plain
    runs = "CallbackHandlerDeprecated" not in plain and "HandlerNotFound" not in plain
    assert len(receiver.spans(1 if runs else 0)) == (1 if runs else 0)


@pytest.mark.parametrize("older", [False, True], ids=["newer client", "older client"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_function_that_does_not_start_fails_the_same_way(
    tmp_path: Path, wrapper: Path, case: str, *, older: bool
) -> None:
    """Errors at load, syntax errors, what is not there: the same report, byte for byte."""
    plain = seen(tmp_path, BROKEN[case], 1, wrapper=None, older=older)
    assert seen(tmp_path, BROKEN[case], 1, wrapper=wrapper, older=older) == plain
    assert "error" in plain.lower()


def test_the_invocations_span(tmp_path: Path, wrapper: Path, receiver: Receiver) -> None:
    """One span for each invocation, with what is known of the function, the first one marked as cold."""
    files = {"index.mjs": "export const handler = async (event) => { if (event.fail) throw new TypeError('no') }"}
    options = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=t%20t"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port, **options) as function:
        ids = [function.running.invoke(b"{}").request_id, function.running.invoke(b'{"fail": 1}').request_id]
        first, second = receiver.spans(2)
    arn = "arn:aws:lambda:us-east-1:123456789012:function:shop"
    expected = {
        "faas.invocation_id": ids[0], "faas.coldstart": True, "faas.trigger": "other", "cloud.resource_id": arn,
        "aws.lambda.invoked_arn": arn, "cloud.account.id": "123456789012",
    }  # fmt: skip
    assert {name: first.attributes[name] for name in expected} == expected
    assert (first.name, first.kind, first.status, first.parent_id) == ("shop", SERVER, (0, ""), "")
    assert second.attributes["faas.coldstart"] is False
    assert second.status == (2, "no")
    ((event, details),) = second.events
    assert (event, details["exception.type"], details["exception.message"]) == ("exception", "TypeError", "no")
    assert "/task/index.mjs:1:" in details["exception.stacktrace"]
    assert "/o2/node/" not in details["exception.stacktrace"]
    resource = first.resource
    assert (resource["service.name"], resource["deployment.environment"]) == ("shop", "t t")
    assert (resource["faas.max_memory"], resource["cloud.region"]) == (512 << 20, "us-east-1")
    assert first.trace_id != second.trace_id


def test_an_endless_message_costs_no_span(tmp_path: Path, wrapper: Path, receiver: Receiver) -> None:
    """Of the beginning of an error's message is made what the span says."""
    files = {"index.js": "exports.handler = async () => { throw new Error('m'.repeat(1e5)) }"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port) as function:
        assert b"m" * 10**5 in function.invoke()
        (span,) = receiver.spans(1)
    ((_, details),) = span.events
    assert span.status[1] == details["exception.message"] == "m" * 16 * 1024


def test_what_is_kept_ready_does_not_start_cold(tmp_path: Path, wrapper: Path, receiver: Receiver) -> None:
    """Provisioned concurrency has started it before anybody asked."""
    files = {"index.js": "exports.handler = async () => 1"}
    options = {"port": receiver.port, "initialization": "provisioned-concurrency"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, **options) as function:
        function.invoke()
        (span,) = receiver.spans(1)
    assert span.attributes["faas.coldstart"] is False


def test_xray_is_a_link_and_no_decision(tmp_path: Path, wrapper: Path, receiver: Receiver) -> None:
    """Active tracing off means Sampled=0 in the environment; the trace is recorded all the same."""
    root = "1-5759e988-bd862e3fe1be46a994272793"
    files = {"index.js": "exports.handler = async () => 1"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port) as function:
        function.invoke(trace_id=f"Root={root};Parent=53995c3f42cd8ad8;Sampled=0")
        (span,) = receiver.spans(1)
    assert span.links == [("5759e988bd862e3fe1be46a994272793", {"source": "x-ray-env"})]
    assert span.attributes["aws.xray.trace_id"] == root
    assert span.trace_id != "5759e988bd862e3fe1be46a994272793"


def test_a_callers_trace_is_continued_or_left_unrecorded(tmp_path: Path, wrapper: Path, receiver: Receiver) -> None:
    """The parent of an HTTP event, and its wish not to be sampled."""
    files = {"index.js": "exports.handler = async () => ({ statusCode: 503 })"}
    event = {"requestContext": {"http": {"method": "GET", "path": "/"}}}
    parent = "00f067aa0ba902b7"
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port) as function:
        function.invoke({**event, "headers": {"traceparent": f"00-{'b' * 32}-{parent}-00"}})
        function.invoke({**event, "headers": {"traceparent": f"00-{'a' * 32}-{parent}-01"}})
        (span,) = receiver.spans(1)
    assert (span.trace_id, span.parent_id, span.name) == ("a" * 32, parent, "GET")
    assert span.message.flags == 0x301
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (503, "503")
    assert span.status == (2, "")


@pytest.mark.parametrize("setting", [{"O2_TRACING": "off"}, {"OTEL_TRACES_SAMPLER": "always_off"}])
def test_nothing_is_sent_where_nothing_is_wanted(
    tmp_path: Path, wrapper: Path, receiver: Receiver, setting: dict[str, str]
) -> None:
    """The kill switch, and a sampler that says no."""
    files = {"index.js": "exports.handler = async () => process.env._HANDLER"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port, **setting) as function:
        assert function.invoke() == b'"index.handler"'
    assert receiver.spans(0) == []


def test_a_refused_receiver_costs_one_line(tmp_path: Path, wrapper: Path) -> None:
    """The function goes on; its log says once that traces do not arrive."""
    files = {"index.js": "exports.handler = async () => 1"}
    with NodeFunction(tmp_path, files, wrapper=wrapper) as function:
        assert [function.invoke() for _ in range(4)] == [b"1"] * 4
        lines = [line for line in function.lines() if "o2-lambda" in line]
    assert len(lines) == 1
    assert "traces do not reach 127.0.0.1" in lines[0]
