"""Which span a Node.js function's code runs in, where the tracer follows the asynchronous flow and where not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import o2_lambda.instrument

LIBRARY = Path(o2_lambda.instrument.__file__).parent / "node" / "lib"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")

# The tracer as a runtime has it, with an exporter that keeps the spans; `call` invokes the handler `run`.
SCENE = """
const { Invocations } = require(`${process.argv[1]}/handler.js`);
const { Frame, Tracer } = require(`${process.argv[1]}/tracer.js`);
const { read } = require(`${process.argv[1]}/settings.js`);
const spans = [];
const exporter = { add: (span) => spans.push(span), connect() {}, announce() {}, flush() {}, close() {} };
const tracer = new Tracer(read(JSON.parse(process.argv[2]), console.error), () => exporter);
const invocations = new Invocations(tracer, () => ({ look() {} }));
const context = (id) => ({ awsRequestId: id, functionName: 'f', invokedFunctionArn: 'a:b:c:d:e:f:g' });
const current = () => tracer.current() && tracer.current().attributes.get('faas.invocation_id');
let run;
const handler = invocations.wrap(async (event) => run(event));
const call = (id) => handler(id, context(id));
"""


def play(script: str, **environment: str) -> Any:
    """The answer of a script, and how many spans ended."""
    source = f"{SCENE}\n(async () => {{\n{script}\n}})()"
    source += ".then((found) => console.log(JSON.stringify([found, spans.length])));"
    command = ["node", "-e", source, str(LIBRARY), json.dumps(environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_where_one_invocation_runs_at_a_time_no_flow_is_followed() -> None:
    """Everything belongs to it, before and after an `await`, and nothing to anybody between invocations."""
    answer = play("""
      const found = [];
      const look = () => found.push([current(), tracer.flow.getStore() === undefined]);
      run = async () => { look(); await new Promise(setImmediate); look(); };
      await call('one');
      look();
      await call('two');
      return found;""")
    one, two = ["one", True], ["two", True]
    assert answer == [[one, one, [None, True], two, two], 2]


def test_invocations_that_run_at_a_time_are_told_apart() -> None:
    """As on managed instances: each finds its own span whenever it looks."""
    answer = play(
        """
      const found = [];
      run = async (id) => {
        for (let turn = 0; turn < 3; turn += 1) {
          found.push(current() === id);
          await new Promise(setImmediate);
        }
      };
      await Promise.all(['one', 'two', 'three'].map(call));
      return found;""",
        AWS_LAMBDA_MAX_CONCURRENCY="3",
    )
    assert answer == [[True] * 9, 3]


def test_a_runtime_that_calls_from_an_earlier_flow_misleads_nobody() -> None:
    """A callback out of a client's call ended the earlier invocation, and the runtime goes on from there."""
    answer = play("""
      run = async () => { await new Promise(setImmediate); return current(); };
      const stale = tracer.start('call', { scope: 's' });
      return [await tracer.flow.run(new Frame(stale, undefined), () => call('one')), await call('two')];""")
    assert answer == [["one", "two"], 2]
