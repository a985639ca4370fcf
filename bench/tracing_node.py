"""Node.js for the tracing bench: functions, the official tracer's packages, and how a runtime process is started.

The runtime client is the one that Lambda has for the version, as `make node` builds it for the tests. The official
tracer is bundled and minified and loaded with `--import`, as the community's layer does it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from o2_lambda.layer.build import project_root

LOCKED = Path(__file__).parent / "node"
TESTS = project_root() / "tests"
CLIENT = TESTS / "conformance" / "node" / "node_modules" / "aws-lambda-ric"
ADDON = "rapid-client.node"
BROUGHT = TESTS / "instrument" / "node" / "node_modules"
OLDER_CLIENT = BROUGHT / "aws-lambda-ric-3"
NEWER_CLIENT_FROM = 24  # Lambda's images for earlier versions have the older one
OLDER_START = """\
import { run } from './dist/index.mjs';
await run(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
"""
INIT = "import wrapper from './wrapper.js';\nawait wrapper.start();\n"
FUNCTIONS = {
    "trivial": "exports.handler = async () => ({ statusCode: 200 });\n",
    "http": """\
const http = require('http');
const agent = new http.Agent({ keepAlive: true });
exports.handler = () => new Promise((resolve, reject) => {
  http.get(`${process.env.SERVICE}/things`, { agent }, (answer) => {
    let text = '';
    answer.setEncoding('utf8').on('data', (part) => { text += part; }).on('end', () => resolve(JSON.parse(text)));
  }).on('error', reject);
});
""",
    "aws": """\
const { DynamoDBClient, ListTablesCommand } = require('@aws-sdk/client-dynamodb');
const client = new DynamoDBClient({ endpoint: process.env.SERVICE });
exports.handler = async () => (await client.send(new ListTablesCommand({}))).TableNames;
""",
}


class Node:
    """A version of Node.js: an executable, or the major version of one that the tests' packages bring."""

    handler = "index.handler"
    variant = "full"

    def __init__(self, name: str) -> None:
        brought = BROUGHT / f"node{name}" / "bin" / "node"
        self._node = str(brought) if brought.exists() else name
        done = subprocess.run([self._node, "--version"], capture_output=True, text=True, check=True)
        found = re.match(r"v(\d+)", done.stdout)
        if found is None:
            raise ValueError("it is no Node.js")
        self.title = f"Node.js {done.stdout.strip().removeprefix('v')}"
        self._major = int(found[1])

    def install(self) -> None:
        """Makes everything ready that `start` needs."""
        _packages()
        _older_client()

    def write(self, function: str, task: Path) -> None:
        """Puts a function into its folder."""
        (task / "index.js").write_text(FUNCTIONS[function])
        (task / "node_modules").symlink_to(_packages() / "node_modules")

    def start(self, task: Path, official: str) -> tuple[list[str], dict[str, str]]:  # noqa: ARG002 - as Python has it
        """Command and variables of a runtime process; `official` is the endpoint of the official tracer, if any."""
        newer = self._major >= NEWER_CLIENT_FROM
        command = [self._node, str(CLIENT / "index.mjs" if newer else _older_client())]
        if newer:
            command.append(self.handler)
        environment = {
            "AWS_EXECUTION_ENV": f"AWS_Lambda_nodejs{self._major}.x",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/bench",
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        }
        if official:
            environment |= {
                "NODE_OPTIONS": f"--import {_packages() / 'official' / 'init.mjs'}",
                "OTEL_EXPORTER_OTLP_ENDPOINT": official,
                "OTEL_PROPAGATORS": "tracecontext,baggage,xray",
                "OTEL_RESOURCE_ATTRIBUTES": "service.name=bench",
            }
        return command, environment


@cache
def _packages() -> Path:
    """A folder with the locked packages and the official tracer made of them; installed once, into .cache."""
    folder = project_root() / ".cache" / "bench" / "node"
    recipe = "".join((LOCKED / name).read_text() for name in ("package-lock.json", "official.js")) + INIT
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == recipe:
        return folder
    print("Installing OpenTelemetry's packages for Node.js ...", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "official.js"):
        shutil.copy(LOCKED / name, folder)
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    subprocess.run(["npm", "ci", "--ignore-scripts", *quiet], cwd=folder, stdin=subprocess.DEVNULL, check=True)
    output = folder / "official"
    output.mkdir(exist_ok=True)
    bundler = ["node_modules/esbuild/bin/esbuild", "official.js", f"--outfile={output / 'wrapper.js'}"]
    options = ["--bundle", "--minify", "--platform=node", "--format=cjs", "--external:import-in-the-middle"]
    subprocess.run([*bundler, *options, "--log-level=error"], cwd=folder, check=True)
    (output / "package.json").write_text('{"type": "commonjs"}\n')
    (output / "init.mjs").write_text(INIT)
    stamp.write_text(recipe)
    return folder


@cache
def _older_client() -> Path:
    """The older client with the newer one's native part, which serves both."""
    if not (CLIENT / ADDON).exists() or not OLDER_CLIENT.exists():
        raise SystemExit("the runtime clients are missing: run `make node`")
    folder = project_root() / ".cache" / "bench" / "older-client"
    shutil.copytree(OLDER_CLIENT / "dist", folder / "dist", dirs_exist_ok=True)
    shutil.copy(CLIENT / ADDON, folder / "dist")
    (folder / "start.mjs").write_text(OLDER_START)
    return folder / "start.mjs"
