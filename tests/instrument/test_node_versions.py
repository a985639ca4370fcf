"""The Node.js tracer under the other versions that Lambda has, what it tells the extension, and its encoder."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import o2_lambda.instrument
from tests.instrument import nodes
from tests.instrument.nodes import NodeFunction, decode_pairs
from tests.instrument.test_node_clients import CALLS
from tests.instrument.test_node_function import BROKEN, FUNCTIONS, receiver, seen, wrapper

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instrument.conftest import Target
    from tests.instrument.nodes import Receiver

__all__ = ["receiver", "wrapper"]  # fixtures

MISSING = nodes.unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")
SEED, ROUNDS = 20_26, 300
NEWER_CLIENT_FROM = 22  # what its package asks for; Lambda has it since 24
OTHERS = [version for version in nodes.interpreters() if version in {"18", "22", "24"}] if not MISSING else []

# Encodes each line of its input, JSON with {"big": "…"} for integers of 64 bits, as a span's attributes.
ENCODE = """
const lib = process.argv[1];
const { request, resource, span } = require(`${lib}/protobuf.js`);
const { DEFAULT_LIMITS, Span, SpanContext } = require(`${lib}/spans.js`);
const revive = (key, value) => (value && typeof value === 'object' && 'big' in value ? BigInt(value.big) : value);
for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\\n')) {
  const context = new SpanContext('ab'.repeat(16), 'cd'.repeat(8), 1);
  const item = new Span('n\\u00e9', 3, context, null, 5n, { scope: 's', limits: DEFAULT_LIMITS, onEnd() {} });
  item.setAll(JSON.parse(line, revive));
  item.end(2n ** 63n + 7n);
  const content = span(item);
  const body = request(resource([['service.name', 'x']]), '1', [{ scope: 's', content }, { scope: 't', content }]);
  console.log(Buffer.from(body, 'latin1').toString('hex'));
}
"""


@pytest.mark.parametrize("version", OTHERS)
def test_other_versions(tmp_path: Path, wrapper: Path, receiver: Receiver, target: Target, version: str) -> None:
    """Answers, errors and init errors are the same bytes; calls are traced; under the client that Lambda has there."""
    options: dict[str, Any] = {"node": nodes.interpreters()[version], "older": int(version) < NEWER_CLIENT_FROM}
    for number, case in enumerate(
        (FUNCTIONS["throws"], FUNCTIONS["module"], BROKEN["error below"], BROKEN["module error"])
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        plain = seen(folder, case, 1, wrapper=None, **options)
        assert seen(folder, case, 1, wrapper=wrapper, port=receiver.port, **options) == plain
    before = len(receiver.spans(2))
    folder = tmp_path / "calls"
    folder.mkdir()
    files = {"index.js": CALLS.replace("require(process.env.SDK || '@aws-sdk/client-sqs');", "")}
    with NodeFunction(folder, files, wrapper=wrapper, port=receiver.port, **options) as function:
        for action in ("http", "fetch", "later"):
            assert function.invoke({"do": action, "url": target.url}) == b"200"
        spans = receiver.spans(before + 6)[before:]
    for root, call in zip(spans[::2], spans[1::2], strict=True):
        assert (call.parent_id, call.trace_id) == (root.span_id, root.trace_id)


def test_the_extension_is_told_which_trace_an_invocation_belongs_to(
    tmp_path: Path, wrapper: Path, receiver: Receiver
) -> None:
    """Request, trace and span, at the beginning of each invocation that is sampled."""
    files = {"index.js": "exports.handler = () => new Promise((done) => setTimeout(done, 20))"}
    parent = f"00-{'b' * 32}-{'c' * 16}-00"
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port) as function:
        ids = [function.running.invoke(b"{}").request_id for _ in range(2)]
        function.invoke({"headers": {"traceparent": parent}})
        spans = receiver.spans(2)
    expected = [f"{id_} {span.trace_id} {span.span_id}" for id_, span in zip(ids, spans, strict=True)]
    assert receiver.messages == [("/v1/invocation", body) for body in expected]


def value(dice: random.Random, depth: int) -> Any:
    """Anything that JSON can say, and 64-bit integers."""
    kind = dice.randrange(7 if depth else 5)
    if kind == 0:
        return "".join(
            chr(dice.choice([dice.randrange(128), dice.randrange(0x800), 0x1F600])) for _ in range(dice.randrange(200))
        )
    if kind == 1:
        return dice.choice([True, False])
    if kind == 2:
        return dice.choice([0, 1, -1, 127, 128, 300, 2**53 - 1, 1 - 2**53, dice.randrange(-(2**40), 2**40)])
    if kind == 3:
        return dice.choice([0.5, -1.25, 1e300, -2.5e-10])
    if kind == 4:
        return {"big": str(dice.choice([2**63 - 1, -(2**63), dice.randrange(-(2**63), 2**63)]))}
    if kind == 5:
        return [value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {f"k{number}": value(dice, depth - 1) for number in range(dice.randrange(4))}


def plain(given: Any) -> Any:
    """The value as it is to come back."""
    if isinstance(given, dict):
        return int(given["big"]) if "big" in given else {key: plain(item) for key, item in given.items()}
    return [plain(item) for item in given] if isinstance(given, list) else given


def test_whatever_is_encoded_comes_back() -> None:
    """Random attributes through our encoder and OpenTelemetry's decoder: values and types."""
    dice = random.Random(SEED)
    cases = [{f"a{n}": value(dice, 3) for n in range(dice.randrange(6))} for _ in range(ROUNDS)]
    text = "\n".join(map(json.dumps, cases))
    command = [str(shutil.which("node")), "-e", ENCODE, f"{o2_lambda.instrument.__path__[0]}/node/lib"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == ROUNDS
    for case, line in zip(cases, lines, strict=True):
        (group,) = ExportTraceServiceRequest.FromString(bytes.fromhex(line)).resource_spans
        assert [scope.scope.name for scope in group.scope_spans] == ["s", "t"]
        (span,) = group.scope_spans[0].spans
        got, wanted = decode_pairs(span.attributes), plain(case)
        assert json.dumps(got, sort_keys=True) == json.dumps(wanted, sort_keys=True)
        assert (span.name, span.kind, span.trace_id.hex()) == ("né", 3, "ab" * 16)
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (5, 2**63 + 7)
