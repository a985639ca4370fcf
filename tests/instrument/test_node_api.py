"""Node.js functions that use the OpenTelemetry API, installed or bundled, and those that bring an SDK of their own."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import o2_lambda
from tests.instrument import nodes
from tests.instrument.nodes import MODULES, NodeFunction
from tests.instrument.test_node_function import receiver, wrapper

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instrument.conftest import Target
    from tests.instrument.nodes import Receiver, Span

__all__ = ["receiver", "wrapper"]  # fixtures

MISSING = nodes.unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")
VERSIONS = {"20": "", **{key: node for key, node in nodes.interpreters().items() if key in {"18", "24"}}}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

JOINING = """
const { context, trace, SpanStatusCode } = require('@opentelemetry/api');
const tracer = trace.getTracer('shop', '1.2.3');
exports.handler = ({ url }) => tracer.startActiveSpan('price', { attributes: { item: 7 } }, async (span) => {
  span.addEvent('asked', { n: 1 });
  await (await fetch(url)).text();
  try {
    await tracer.startActiveSpan('discount', async (inner) => {
      await null;
      try { throw new RangeError('none today'); } catch (error) {
        inner.recordException(error); inner.setStatus({ code: SpanStatusCode.ERROR, message: 'no' }); throw error;
      } finally { inner.end(); }
    });
  } catch {}
  span.end();
  return trace.getSpan(context.active()) === span;
});
"""
MODULE = JOINING.replace("const {", "import {").replace(
    " = require('@opentelemetry/api')", " from '@opentelemetry/api'"
)
MODULE = MODULE.replace("exports.handler =", "export const handler =")
BUNDLES = {
    "bundled": ["--main-fields=main", "--conditions=require"],
    "minified": ["--minify"],
    "minified module": ["--minify", "--format=esm"],
    "minified commonjs": ["--minify", "--main-fields=main", "--conditions=default"],
}


def bundle(folder: Path, source: str, *options: str) -> str:
    """The source with all that it requires, in one file, as esbuild makes it."""
    (folder / "node_modules").symlink_to(MODULES)
    entry = folder / "entry.mjs" if "import {" in source else folder / "entry.cjs"
    entry.write_text(source)
    command = [MODULES / ".bin" / "esbuild", entry, "--bundle", "--platform=node", "--log-level=error", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def joins(function: NodeFunction, receiver: Receiver, target: Target) -> None:
    """The function's own spans lie between the invocation's and the call's."""
    assert function.invoke({"url": target.url}) == b"true"
    root, price, call, discount = receiver.spans(4)
    assert [span.name for span in (root, price, call, discount)] == ["shop", "price", "GET", "discount"]
    assert (price.parent_id, call.parent_id, discount.parent_id) == (root.span_id, price.span_id, price.span_id)
    assert target.requests[0][1]["traceparent"] == f"00-{root.trace_id}-{call.span_id}-01"
    assert (price.scope, price.scope_version, root.scope_version) == ("shop", "1.2.3", o2_lambda.__version__)
    assert (price.kind, price.attributes, price.events) == (1, {"item": 7}, [("asked", {"n": 1})])
    assert (discount.status, price.status) == ((2, "no"), (0, ""))
    ((name, details),) = discount.events
    assert (name, details["exception.type"], details["exception.message"]) == ("exception", "RangeError", "none today")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["commonjs", "module", "oldest"])
def test_spans_made_with_the_api_join(
    tmp_path: Path, wrapper: Path, receiver: Receiver, target: Target, kind: str, version: str
) -> None:
    """Of functions of both kinds, and with the first version of the API, which has no `startActiveSpan` of its own."""
    source = MODULE if kind == "module" else JOINING
    if kind == "oldest":
        source = source.replace("@opentelemetry/api", "api-1.0")
    files = {"index.mjs" if kind == "module" else "index.js": source}
    options: dict[str, Any] = {"node": VERSIONS[version], "older": version == "18"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port, **options) as function:
        joins(function, receiver, target)


@pytest.mark.parametrize("kind", BUNDLES)
def test_spans_of_a_bundled_api_join(
    tmp_path: Path, wrapper: Path, receiver: Receiver, target: Target, kind: str
) -> None:
    """The copy in the bundle finds us by the global registry."""
    is_module = "--format=esm" in BUNDLES[kind]
    source = bundle(tmp_path, MODULE if is_module else JOINING, *BUNDLES[kind])
    assert "@opentelemetry/api'" not in source.replace('"', "'")  # nothing is left to be required
    files = {"index.mjs" if is_module else "index.js": source}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port) as function:
        joins(function, receiver, target)


ALL_OF_A_SPAN = """
const { context, trace, ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags } = require('@opentelemetry/api');
const tracer = trace.getTracer('shop');
const key = Symbol.for('k');
exports.handler = async () => {
  const handlers = trace.getActiveSpan();
  handlers.setAttribute('own', 'value').addEvent('seen');
  const other = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), traceFlags: TraceFlags.SAMPLED };
  const span = tracer.startSpan('made', {
    kind: SpanKind.PRODUCER, startTime: [1700000000, 5], links: [{ context: other, attributes: { l: 1 } }],
  });
  const set = span.setAttributes({ a: [1, 2], b: false, c: null, d: 1.5 }).setAttribute('e', 'x').updateName('renamed');
  set.addEvent('at', { k: 'v' }, new Date(1700000001000)).addEvent('early', 1700000000500).addEvent('plain');
  set.addLink({ context: other }).addLinks([{ context: other }, { context: { traceId: '0', spanId: '' } }]);
  span.recordException('text'); span.recordException({ code: 'E_X', message: 'coded' }, [1700000002, 0]);
  span.setStatus({ code: SpanStatusCode.OK }).setStatus({ code: SpanStatusCode.ERROR, message: 'too late' });
  const recording = [span.isRecording()];
  span.end(1700000003000);
  span.setAttribute('late', 1); span.end();
  recording.push(span.isRecording());
  const root = tracer.startSpan('root', { root: true });
  root.end(performance.now());
  context.with(ROOT_CONTEXT, () => tracer.startSpan('detached').end());
  const bound = context.bind(trace.setSpan(context.active(), root), function (a, b) {
    return [this.name, a, b, trace.getActiveSpan() === root];
  });
  const emitter = new (require('events'))();
  context.bind(trace.setSpan(context.active(), root), emitter);
  const heard = () => { emitter.heard = trace.getActiveSpan() === root; };
  emitter.on('x', heard); emitter.emit('x'); emitter.off('x', heard);
  return {
    recording, same: trace.getActiveSpan() === handlers && context.active() === context.active(),
    id: handlers.spanContext(), chained: set === span,
    bound: bound.call({ name: 'me' }, 1, 2), arity: bound.length,
    heard: emitter.heard, left: emitter.listenerCount('x'),
    outside: context.with(ROOT_CONTEXT, () => trace.getActiveSpan()) === undefined,
    answer: context.with(context.active().setValue(key, 8), (x) => x + context.active().getValue(key), null, 1),
  };
};
"""


def run(folder: Path, wrapper: Path, receiver: Receiver, source: str, event: Any, count: int) -> tuple[Any, list[Span]]:
    """The answer of a traced function, and its spans, of which there are so many."""
    with NodeFunction(folder, {"index.js": source}, wrapper=wrapper, port=receiver.port) as function:
        return json.loads(function.invoke(event)), receiver.spans(count)


def test_the_api_is_there_in_full(tmp_path: Path, wrapper: Path, receiver: Receiver) -> None:
    """Everything that a span, a tracer and a context can be told."""
    answer, spans = run(tmp_path, wrapper, receiver, ALL_OF_A_SPAN, {}, 4)
    by_name = {span.name: span for span in spans}
    handler, made, root = by_name["shop"], by_name["renamed"], by_name["root"]
    identity = {"traceId": handler.trace_id, "spanId": handler.span_id, "traceFlags": 1}
    assert answer == {
        "recording": [True, False], "same": True, "id": identity, "chained": True, "bound": ["me", 1, 2, True],
        "arity": 2, "heard": True, "left": 0, "outside": True, "answer": 9,
    }  # fmt: skip
    assert (handler.attributes["own"], handler.events) == ("value", [("seen", {})])
    assert (made.kind, made.parent_id, made.status) == (4, handler.span_id, (1, ""))
    assert made.attributes == {"a": [1, 2], "b": False, "d": 1.5, "e": "x"}
    assert made.links == [("ab" * 16, {"l": 1}), ("ab" * 16, {}), ("ab" * 16, {})]
    second = 1_700_000_000 * 10**9
    assert made.message.start_time_unix_nano == second + 5
    assert made.message.end_time_unix_nano == second + 3 * 10**9
    times = [(event.name, event.time_unix_nano - second) for event in made.message.events]
    assert times[:2] == [("at", 10**9), ("early", 500_000_000)]
    assert (times[2][0], times[4]) == ("plain", ("exception", 2 * 10**9))
    assert made.events[3:] == [
        ("exception", {"exception.message": "text"}),
        ("exception", {"exception.type": "E_X", "exception.message": "coded"}),
    ]
    for span in (root, by_name["detached"]):
        assert span.parent_id == ""
        assert span.trace_id != handler.trace_id
    assert 0 <= root.message.end_time_unix_nano - root.message.start_time_unix_nano < 10**9


CARRYING = """
const { context, propagation, trace, ROOT_CONTEXT } = require('@opentelemetry/api');
const SUPPRESSED = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');
const tracer = trace.getTracer('shop');
const ask = async (url) => { await (await fetch(url)).text(); };
exports.handler = async ({ url }) => {
  const seen = propagation.getActiveBaggage().getAllEntries().map(([key, { value }]) => [key, value]);
  await ask(`${url}/plain`);
  const more = propagation.getActiveBaggage().setEntry('item', { value: '7 8' });
  await context.with(propagation.setBaggage(context.active(), more), () => ask(`${url}/more`));
  const headers = {};
  propagation.inject(context.active(), headers);
  const remote = propagation.extract(ROOT_CONTEXT, {
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', tracestate: 'a=b,c=d', baggage: 'x=y;p=1',
  });
  const { traceState, ...found } = trace.getSpanContext(remote);
  await context.with(remote, () => ask(`${url}/remote`));
  await context.with(context.active().setValue(SUPPRESSED, true), async () => {
    await ask(`${url}/unseen`);
    tracer.startActiveSpan('unseen', (span) => span.end());
  });
  return {
    seen, headers, found, fields: propagation.fields().includes('traceparent'),
    state: [traceState.get('c'), traceState.set('e', 'f').unset('a').serialize()],
    baggage: propagation.getBaggage(remote).getEntry('x').value,
  };
};
"""


def test_context_and_baggage_travel(tmp_path: Path, wrapper: Path, receiver: Receiver, target: Target) -> None:
    """What the event brings is what the API shows; what the function sets goes out; what it suppresses is not there."""
    event = {"url": target.url, "headers": {"traceparent": f"00-{'a' * 32}-{SPAN}-01", "baggage": "tenant=acme"}}
    answer, spans = run(tmp_path, wrapper, receiver, CARRYING, event, 4)
    root, plain, more, remote = spans
    assert len(spans) == 4
    sent = {path: headers for path, headers, _body in target.requests}
    assert (sent["/plain"]["baggage"], sent["/more"]["baggage"]) == ("tenant=acme", "tenant=acme,item=7%208")
    for path, span in (("/plain", plain), ("/more", more)):
        assert (span.parent_id, span.trace_id) == (root.span_id, "a" * 32)
        assert sent[path]["traceparent"] == f"00-{root.trace_id}-{span.span_id}-01"
    assert (remote.trace_id, remote.parent_id) == (TRACE, SPAN)
    assert (sent["/remote"]["tracestate"], sent["/remote"]["baggage"]) == ("a=b,c=d", "x=y;p=1")
    assert "traceparent" not in sent["/unseen"]
    assert answer == {
        "seen": [["tenant", "acme"]], "baggage": "y", "fields": True, "state": ["d", "e=f,c=d"],
        "headers": {"traceparent": f"00-{'a' * 32}-{root.span_id}-01", "baggage": "tenant=acme"},
        "found": {"traceId": TRACE, "spanId": SPAN, "traceFlags": 1, "isRemote": True},
    }  # fmt: skip


SDK = """
const { context, trace } = require('@opentelemetry/api');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto');
const sdk = require('@opentelemetry/sdk-trace-node');
const early = trace.getTracer('early');
let provider;
const start = () => {
  provider = new sdk.NodeTracerProvider({ spanProcessors: [new sdk.SimpleSpanProcessor(new OTLPTraceExporter())] });
  provider.register();
};
const work = () => trace.getTracer('own').startActiveSpan('outer', (outer) => {
  early.startSpan('inner').end();
  outer.end();
  return outer.spanContext().traceId;
});
"""
AT_ONCE = "start();\nexports.handler = async () => { const id = work(); await provider.forceFlush(); return id; };\n"
LATE = """
exports.handler = async ({ now }) => {
  if (now) start();
  const id = work();
  if (provider) await provider.forceFlush();
  return id;
};
"""


SDK_KINDS = {
    "registered": [],
    "provider alone": ["provider.register()", "trace.setGlobalTracerProvider(provider)"],
    "after another": ["provider.register()", "trace.disable(); provider.register()"],
    "two copies of the api": ["trace.getTracer('early')", "require('api-1.0').trace.getTracer('early')"],
    "bundled": [],
    "minified": [],
    "minified module": ["exports.handler =", "export const handler ="],
}
# What is CommonJS in a bundle that is a module asks for `require`, as such bundles have to bring it.
BANNER = "--banner:js=import{createRequire as c}from'module';const require=c(import.meta.url);"


FRAMEWORK = """
const { context, propagation, trace, ROOT_CONTEXT, SpanKind } = require('@opentelemetry/api');
const tracer = trace.getTracer('framework');
exports.handler = async ({ headers = {} }) => {
  for (const from of [ROOT_CONTEXT, context.active()]) {
    tracer.startSpan('request', { kind: SpanKind.SERVER }, propagation.extract(from, headers)).end();
  }
  tracer.startSpan('job', {}, ROOT_CONTEXT).end();
};
"""


def test_a_frameworks_span_of_the_request_lies_below_the_invocations(
    tmp_path: Path, wrapper: Path, receiver: Receiver
) -> None:
    """Though it is made out of the request's headers; any other span without a parent is a root, as asked."""
    with NodeFunction(tmp_path, {"index.js": FRAMEWORK}, wrapper=wrapper, port=receiver.port) as function:
        function.invoke({})
        function.invoke({"headers": {"traceparent": f"00-{TRACE}-{SPAN}-01"}})
    for root, *requests, job in zip(*[iter(receiver.spans(8))] * 4, strict=True):
        assert [(span.parent_id, span.trace_id) for span in requests] == [(root.span_id, root.trace_id)] * 2
        assert (job.name, job.parent_id) == ("job", "")


@pytest.mark.parametrize("kind", SDK_KINDS)
def test_an_sdk_of_the_functions_own_has_the_field_to_itself(
    tmp_path: Path, wrapper: Path, receiver: Receiver, kind: str
) -> None:
    """Its spans reach the receiver without any setting, of tracers from before it was set up too; ours do not exist."""
    source = (SDK + AT_ONCE).replace(*(SDK_KINDS[kind] or ["", ""]))
    is_module = "export const" in source
    if kind in BUNDLES:
        source = bundle(tmp_path, source, *BUNDLES[kind], *([BANNER] if is_module else []))
    files = {"index.mjs" if is_module else "index.js": source}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port) as function:
        trace_id = json.loads(function.invoke())
        inner, outer = sorted(receiver.spans(2), key=lambda span: span.name)
    assert {span.resource["telemetry.sdk.name"] for span in (inner, outer)} == {"opentelemetry"}
    assert [(span.name, span.scope) for span in (inner, outer)] == [("inner", "early"), ("outer", "own")]
    assert outer.trace_id == trace_id
    assert inner.parent_id == ("" if kind == "provider alone" else outer.span_id)  # it brings no context manager


def test_an_sdk_that_was_there_before_us_has_the_field_to_itself(
    tmp_path: Path, wrapper: Path, receiver: Receiver
) -> None:
    """One that NODE_OPTIONS loads, as OpenTelemetry's own layer does."""
    sdk = SDK + "start();\nmodule.exports = { flush: () => provider.forceFlush(), work };\n"
    handler = "exports.handler = async () => { const id = work(); await flush(); return id; };\n"
    files = {"sdk.js": sdk, "index.js": f"const {{ flush, work }} = require('./sdk.js');\n{handler}"}
    options = {"NODE_OPTIONS": f"--require {tmp_path}/task/sdk.js"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port, **options) as function:
        function.invoke()
        function.invoke()
        spans = receiver.spans(4)
    assert sorted(span.name for span in spans) == ["inner", "inner", "outer", "outer"]


def test_an_sdk_that_is_set_up_late_takes_over(tmp_path: Path, wrapper: Path, receiver: Receiver) -> None:
    """Until then spans of the API are ours; from then on all are its own, of older tracers too."""
    source = SDK + LATE
    with NodeFunction(tmp_path, {"index.js": source}, wrapper=wrapper, port=receiver.port) as function:
        for event in ({}, {"now": True}, {}):
            assert len(json.loads(function.invoke(event))) == 32
        spans = receiver.spans(8)
        assert not [line for line in function.lines() if "pentelemetry" in line]
    made = {"o2-lambda": [], "opentelemetry": []}
    for span in spans:
        made[span.resource["telemetry.sdk.name"]].append(span.name)
    assert made["o2-lambda"] == ["shop", "outer", "inner", "shop"]
    assert sorted(made["opentelemetry"]) == ["inner", "inner", "outer", "outer"]


def test_a_function_without_the_api_loads_nothing_of_the_bridge(tmp_path: Path, wrapper: Path) -> None:
    """The registry is opened by whoever looks for it."""
    source = """
    const seen = () => Object.keys(require.cache).filter((file) => file.includes('/bridge/')).length;
    exports.handler = async () => [seen(), require('@opentelemetry/api').trace.getActiveSpan() !== undefined, seen()];
    """
    with NodeFunction(tmp_path, {"index.js": source}, wrapper=wrapper) as function:
        before, active, after = json.loads(function.invoke())
    assert (before, active) == (0, True)
    assert after > 3
