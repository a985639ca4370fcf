"""The Node.js tracer's exporter against real sockets: nothing waits for a receiver twice, what is lost is counted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import o2_lambda.instrument
from tests.instrument.nodes import decode_pairs

LIBRARY = Path(o2_lambda.instrument.__file__).parent / "node" / "lib"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")

# A receiver, and an exporter whose codec takes spans as text; `waits` counts flushes for which an answer would wait.
SCENE = """
const net = require('net');
const { once } = require('events');
const limits = require(`${process.argv[1]}/exporter.js`);
const OK = 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n';
const codec = {
  span: (span) => span.text,
  request: (spans, head) => {
    const body = spans.map(({ content }) => content).join('');
    return `${head}${body.length}\\r\\n\\r\\n${body}`;
  },
};
class Scene {
  constructor(options) {
    this.lines = [];
    this.nowMs = 0;
    this.waits = 0;
    this.server = net.createServer();
    this.received = '';
    this.answer = OK; // to each request; '' for none
    this.server.on('connection', (socket) => {
      this.client = socket;
      socket.on('error', () => {});
      socket.on('data', (data) => {
        this.received += data;
        const requests = String(data).split('POST ').length - 1;
        if (this.answer) socket.write(this.answer.repeat(requests));
      });
    });
    this.options = options;
  }
  async open() {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    this.exporter = new limits.Exporter({
      address: { host: '127.0.0.1', port: this.port, path: '/v1/traces' },
      announces: false,
      codec,
      clockMs: () => this.nowMs,
      report: (line) => this.lines.push(line),
      ...this.options,
    });
    return this;
  }
  add(text) { this.exporter.add({ scope: 's', text }); }
  async flush() {
    const wait = this.exporter.flush();
    if (wait !== undefined) this.waits += 1;
    await wait;
  }
  async export(text) { this.add(text); await this.flush(); }
  bodies() { return this.received.split(/POST [^]*?\\r\\n\\r\\n/).slice(1); }
  held() { return this.exporter._queue.length + this.exporter._inFlight.reduce((sum, count) => sum + count, 0); }
}
/** Until it is so; what never happens fails the test by its time limit. */
async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}
"""


def play(script: str, **options: Any) -> Any:
    """Runs a script with an open scene `s`; its answer."""
    source = f"{SCENE}\n(async () => {{ const s = await new Scene({json.dumps(options)}).open();\n{script}\n}})()"
    source += ".then((answer) => { console.log(JSON.stringify(answer)); process.exit(0); })"
    source += ".catch((error) => { console.error(error); process.exit(1); });"
    done = subprocess.run(["node", "-e", source, str(LIBRARY)], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_spans_go_over_one_connection_and_only_the_first_waits() -> None:
    """For the connection; each flush is a request."""
    answer = play("""
      for (const text of ['one', 'two', 'three']) {
        await s.export(text);
        await until(() => s.exporter._inFlight.length === 0);
      }
      return [s.bodies(), s.waits, s.lines, s.exporter.dropped];""")
    assert answer == [["one", "two", "three"], 1, [], 0]


def test_what_the_kernel_does_not_take_at_once_follows() -> None:
    """All of it or the rest, in order."""
    answer = play("""
      const fs = require('fs');
      const { writeSync } = fs;
      let turn = 0;
      fs.writeSync = (fd, text, ...rest) => {
        turn += 1;
        if (turn % 3 === 0) throw new Error('EAGAIN');
        return writeSync(fd, turn % 3 === 1 ? text.slice(0, 7) : text, ...rest);
      };
      const texts = ['one', 'two', 'three', 'four', 'five', 'six'];
      for (const text of texts) {
        await s.export(text);
        await until(() => s.exporter._inFlight.length === 0);
      }
      return [turn, s.received.split('POST').length - 1, s.bodies(), s.exporter.dropped];""")
    assert answer == [6, 6, ["one", "two", "three", "four", "five", "six"], 0]


def test_nobody_listening_costs_one_wait_and_loses_nothing() -> None:
    """Refused: one line, then fewer and fewer attempts; when the receiver is back, the spans that waited arrive."""
    answer = play("""
      s.server.close();
      const attempts = [];
      for (let number = 1; number <= 20; number += 1) {
        const before = s.exporter._failures;
        await s.export(String.fromCharCode(64 + number));
        await until(() => s.exporter._socket === null);
        for (let more = s.exporter._failures - before; more > 0; more -= 1) attempts.push(number);
      }
      const waits = s.waits;
      s.server.listen(s.port, '127.0.0.1');
      await once(s.server, 'listening');
      while (s.bodies().length === 0) await s.flush().then(() => new Promise(setImmediate));
      return [attempts, waits, s.waits, s.lines.length, s.bodies(), s.exporter.dropped];""")
    assert answer == [[1, 3, 6, 11, 20], 1, 1, 1, ["ABCDEFGHIJKLMNOPQRST"], 0]


def test_a_receiver_that_never_answers_is_left_alone() -> None:
    """No invocation waits for it, beyond the connection; every span is held or counted."""
    answer = play("""
      s.answer = '';
      for (let number = 0; number < 100; number += 1) {
        await s.export('x');
        s.nowMs += 100;
      }
      return [s.waits, s.exporter._failures > 0, s.exporter.dropped + s.held(), s.lines[0].includes('no answer')];""")
    assert answer == [1, True, 100, True]


def test_a_receiver_without_a_processor_is_waited_for() -> None:
    """Short invocations can be over by the dozen before the extension has its turn: their spans go when it has."""
    answer = play("""
      s.answer = '';
      for (let number = 0; number < 40; number += 1) await s.export('x');
      s.answer = OK;
      s.client.write(OK.repeat(s.exporter._inFlight.length));
      await until(() => s.exporter._inFlight.length === 0);
      await s.export('y');
      await until(() => s.received.endsWith('y'));
      return [s.bodies().join(''), s.exporter.dropped, s.lines];""")
    assert answer == ["x" * 40 + "y", 0, []]


def test_a_port_that_leaves_connections_waiting_costs_one_wait() -> None:
    """The first; after that connecting is tried in the background."""
    answer = play("""
      let opened = 0;
      net.connect = () => { opened += 1; return new net.Socket(); };
      for (let number = 0; number < 30; number += 1) {
        await s.export('x');
        if (s.exporter._socket !== null) s.exporter._lost(s.exporter._socket, 'not connected');
      }
      return [s.waits, opened, s.exporter.dropped + s.held()];""")
    assert answer == [1, 5, 30]


def test_a_receiver_that_stops_reading_is_waited_for_once() -> None:
    """Its socket fills; the flush that meets that waits for a bound, later ones not at all."""
    answer = play("""
      s.answer = '';
      s.server.on('connection', (socket) => socket.pause());
      await s.export('x');
      let count = 1;
      while (s.exporter._failures === 0) { count += 1; await s.export('x'.repeat(limits.QUEUE_BYTES_MAX - 1)); }
      const waits = s.waits;
      for (let more = 50; more > 0; more -= 1) {
        count += 1;
        await s.export('x');
        await new Promise(setImmediate);
      }
      return [waits, s.waits, s.exporter.dropped + s.held() === count];""")
    assert answer == [2, 2, True]


def test_after_a_failure_sending_does_not_wait() -> None:
    """A probe that does not fit into the socket has failed at once."""
    answer = play("""
      s.answer = '';
      s.server.on('connection', (socket) => socket.pause());
      s.exporter._failures = 1;
      while (s.exporter._failures === 1) {
        s.exporter._inFlight = [];
        await s.export('x'.repeat(limits.QUEUE_BYTES_MAX - 1));
        await new Promise(setImmediate);
      }
      return [s.waits, s.exporter._socket];""")
    assert answer == [0, None]


@pytest.mark.parametrize(("status", "failures"), [(503, 1), (429, 1), (500, 1), (400, 0)])
def test_refusals_count(status: int, failures: int) -> None:
    """What is retryable opens the breaker; a bad request is counted and the next one goes out."""
    answer = play(f"""
      s.answer = 'HTTP/1.1 {status} X\\r\\nContent-Length: 2\\r\\n\\r\\nno';
      await s.export('one');
      await until(() => s.exporter._inFlight.length === 0);
      return [s.exporter._failures, s.exporter.dropped, s.lines];""")
    *counts, (line,) = answer
    assert counts == [failures, 1]
    assert f"status {status}" in line


def test_an_answer_in_pieces_is_one_answer_and_two_at_once_are_two() -> None:
    """Fragmentation is no failure."""
    answer = play("""
      s.answer = '';
      await s.export('one');
      await until(() => s.received.includes('one'));
      for (const letter of OK) { s.client.write(letter); await new Promise(setImmediate); }
      await until(() => s.exporter._inFlight.length === 0);
      await s.export('two');
      await s.export('three');
      await until(() => s.received.includes('three'));
      s.client.write(OK + OK);
      await until(() => s.exporter._inFlight.length === 0);
      return [s.lines, s.exporter.dropped];""")
    assert answer == [[], 0]


def test_the_first_attempt_after_a_failure_is_small() -> None:
    """It may fail again; the rest follows its answer."""
    answer = play("""
      for (let number = 0; number < 100; number += 1) s.add('x');
      s.exporter._failures = 1;
      await s.flush();
      await until(() => s.exporter._failures === 0);
      await s.flush();
      await until(() => s.bodies().length === 2);
      return [s.bodies().map((body) => body.length), limits.PROBE_SPANS_MAX, s.waits];""")
    assert answer == [[32, 68], 32, 0]


def test_the_queue_is_bounded_in_spans_and_bytes() -> None:
    """What does not fit is dropped and counted."""
    answer = play("""
      s.exporter._failures = 1;
      for (let number = 0; number < limits.QUEUE_SPANS_MAX + 5; number += 1) s.add('x');
      const first = [s.exporter._queue.length, s.exporter.dropped];
      s.exporter._queue = [];
      s.exporter._queueBytes = 0;
      s.add('x'.repeat(limits.QUEUE_BYTES_MAX));
      s.add('x');
      return [...first, s.exporter._queue.length, s.exporter.dropped];""")
    assert answer == [2048, 5, 1, 6]


def test_what_was_lost_is_told() -> None:
    """When the receiver is back, and where it was there all the time: once."""
    answer = play("""
      s.exporter._failures = 1;
      s.exporter.dropped = 7;
      for (const text of ['one', 'x'.repeat(limits.QUEUE_BYTES_MAX + 1), 'two', 'three']) {
        await s.export(text);
        await until(() => s.exporter._inFlight.length === 0 && s.exporter._queue.length === 0);
      }
      return s.lines;""")
    assert len(answer) == 2
    assert answer[0].endswith(" again; 7 spans were dropped")
    assert answer[1].startswith("1 spans were dropped")


def test_a_connection_closed_while_idle_is_replaced() -> None:
    """As after a freeze: no failure, no loss, and the next flush waits for a connection again."""
    answer = play("""
      await s.export('one');
      await until(() => s.exporter._inFlight.length === 0);
      s.client.end();
      await until(() => s.exporter._socket === null);
      await s.export('two');
      await until(() => s.bodies().length === 2);
      return [s.bodies(), s.lines, s.exporter.dropped];""")
    assert answer == [["one", "two"], [], 0]


def test_an_invocation_is_told_before_its_spans() -> None:
    """What waits for the connection goes out first, in one piece; a receiver that does not know it is told once."""
    answer = play(
        """
      const context = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) };
      s.exporter.announce('request', context);
      await s.export('one');
      await until(() => s.exporter._inFlight.length === 0);
      s.answer = 'HTTP/1.1 404 X\\r\\nContent-Length: 0\\r\\n\\r\\n';
      await until(() => s.exporter._inFlight.length === 0);
      s.exporter.announce('second', context);
      await until(() => s.exporter._inFlight.length === 0);
      s.answer = OK;
      s.exporter.announce('third', context);
      await s.export('two');
      await until(() => s.bodies().length === 4);
      return [s.bodies(), s.exporter._failures, s.exporter.dropped];""",
        announces=True,
    )
    told = f"request {'a' * 32} {'b' * 16}"
    assert answer == [[told, "one", told.replace("request", "second"), "two"], 0, 0]


LIMITS = """
const lib = process.argv[1];
const { read } = require(`${lib}/settings.js`);
const { span: encode } = require(`${lib}/protobuf.js`);
const { Span, SpanContext } = require(`${lib}/spans.js`);
const { limits } = read(JSON.parse(process.argv[2]), (line) => console.error(line));
const context = new SpanContext('ab'.repeat(16), 'cd'.repeat(8), 1);
const span = new Span('n', 1, context, null, 5n, { scope: 's', limits, onEnd() {} });
for (let number = 0; number < 200; number += 1) {
  span.set(`key${number}`, 'long value');
  span.addEvent('e', { a: 1, b: 2, c: 3 }, 6n);
  span.addLink(context, { a: 1, b: 2, c: 3 });
}
span.set('key0', 'again, and longer');
span.end(7n);
console.log(Buffer.from(encode(span), 'latin1').toString('hex'));
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (128, 72, 128, 72, 128, 72, 3, 0, 3, 0, "again, and longer")),
        (
            {
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "3",
                "OTEL_SPAN_EVENT_COUNT_LIMIT": "2",
                "OTEL_SPAN_LINK_COUNT_LIMIT": "1",
                "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "2",
                "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "1",
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5",
            },
            (3, 197, 2, 198, 1, 199, 2, 1, 1, 2, "again"),
        ),
        ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "2"}, (2, 198, 128, 72, 128, 72, 2, 1, 2, 1, "again, and longer")),
    ],
    ids=["defaults", "each", "common"],
)  # fmt: skip
def test_what_is_beyond_the_limits_is_dropped_and_counted(
    environment: dict[str, str], expected: tuple[Any, ...]
) -> None:
    """Attributes, events, links, their attributes, and the length of values; a key that is there may change."""
    command = ["node", "-e", LIMITS, str(LIBRARY), json.dumps(environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    span = Span.FromString(bytes.fromhex(done.stdout))
    event, link = span.events[0], span.links[0]
    found = (
        len(span.attributes), span.dropped_attributes_count, len(span.events), span.dropped_events_count,
        len(span.links), span.dropped_links_count, len(event.attributes), event.dropped_attributes_count,
        len(link.attributes), link.dropped_attributes_count, decode_pairs(span.attributes)["key0"],
    )  # fmt: skip
    assert found == expected
    assert done.stderr == ""


def test_no_setting_is_passed_over() -> None:
    """Where none of the names that are listed is set, nothing is loaded that reads them."""
    script = "console.log(JSON.stringify(require(`${process.argv[1]}/settings.js`).VARIABLES))"
    done = subprocess.run(["node", "-e", script, str(LIBRARY)], capture_output=True, text=True, check=True, timeout=60)
    read = re.findall(r"OTEL_[A-Z_]+", (LIBRARY / "environment.js").read_text() + (LIBRARY / "sampling.js").read_text())
    assert set(json.loads(done.stdout)) == set(read)


@pytest.mark.parametrize(
    "environment",
    [{"O2_OTLP_PORT": "65536"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:65536"}],
    ids=["receiver", "endpoint"],
)
def test_a_port_that_cannot_be_is_no_port(environment: dict[str, str]) -> None:
    """The extension's own port takes its place: connecting to the other would throw in every invocation."""
    script = "console.log(JSON.stringify(require(process.argv[1]).address(JSON.parse(process.argv[2]))))"
    lib = Path(o2_lambda.instrument.__file__).parent / "node" / "lib" / "address.js"
    done = subprocess.run(["node", "-e", script, str(lib), json.dumps(environment)], capture_output=True, check=True)
    expected = {"host": "127.0.0.1", "port": 4318, "path": "/v1/traces"}
    assert json.loads(done.stdout) == {"address": expected, "announces": True}
