"""What a warm invocation costs more when it is traced, in counts that no clock and no load can blur.

Each bound is what was counted when it was last set, and a tenth more; it is lowered when the count is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from o2_lambda.layer.build import project_root
from tests.instrument.test_start import HOME

sys.path.insert(0, str(project_root() / "bench"))
from fakes import Answer, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(300)]

CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
FEW, MANY = 20, 70  # invocations: the difference has no start in it
# Instructions of a traced invocation, the few of the function itself included, on the Python that takes most: 3.12.
TRIVIAL_MAX = 314_000
REQUEST_MAX = 780_000  # of a function that makes one request
CALLS_MAX = 4  # dice, two requests, whether an answer has come; then as many more as answers take

RUNTIME = '''\
"""Calls a handler as often as it is told, as a runtime would."""
import os, sys
from awslambdaric import bootstrap

class Context:
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:orders"
    function_name = "orders"
    client_context = None

os.environ["_X_AMZN_TRACE_ID"] = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
handler = bootstrap._get_handler(sys.argv[1])
for number in range(int(sys.argv[2])):
    context = Context()
    context.aws_request_id = f"8476a536-e9f4-11e8-9739-{number:012d}"
    handler({}, context)
    os.read(0, 1)  # when the receiver has the spans
'''
CLIENT = """\
import importlib

def _get_handler(name):
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)
"""
FUNCTIONS = """\
import io
from http.client import HTTPConnection

class Canned:
    '''A socket to a service that always gives the same answer.'''

    def sendall(self, data):
        self.sent = data

    def makefile(self, mode):
        return io.BytesIO(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")

connection = HTTPConnection("service", 80)
connection.sock = Canned()

def trivial(event, context):
    return {"statusCode": 200}

def request(event, context):
    connection.request("GET", "/things?page=1")
    assert b"traceparent" in connection.sock.sent
    return len(connection.getresponse().read())
"""


class Receiver(Server):
    """Takes what the tracer sends, counts it, and lets the runtime go on: answers that are late change the counts."""

    def __init__(self) -> None:
        self.paths: Counter[str] = Counter()
        self.pace, self._pace = os.pipe()
        super().__init__()

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer:
        """Confirms."""
        path = start.split()[1]
        self.paths[path] += 1
        if path == "/v1/traces":
            os.write(self._pace, b".")
        return 200, {}, b""

    def close(self) -> None:
        """Stops listening."""
        super().close()
        os.close(self.pace)
        os.close(self._pace)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def place(tmp_path: Path, receiver: Receiver) -> Path:
    """A folder with the runtime and the functions; all byte code is made, of which others make some at any time."""
    (tmp_path / "awslambdaric").mkdir()
    (tmp_path / "awslambdaric" / "__init__.py").touch()
    (tmp_path / "awslambdaric" / "bootstrap.py").write_text(CLIENT)
    (tmp_path / "runtime.py").write_text(RUNTIME)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    watched(tmp_path, receiver, "request", 1, "env")
    return tmp_path


def watched(folder: Path, receiver: Receiver, handler: str, count: int, *tool: str) -> str:
    """What a tool reports of a process that is invoked `count` times."""
    if shutil.which(tool[0]) is None:
        pytest.skip(f"no {tool[0]} here: apt-get install {tool[0]}")
    environment = {
        "PATH": os.environ["PATH"],
        "O2_OTLP_PORT": str(receiver.port),
        "PYTHONHASHSEED": "0",
        "PYTHONPYCACHEPREFIX": str(folder / "byte-code"),
    }
    receiver.paths.clear()
    done = subprocess.run(
        [*tool, sys.executable, "-S", str(HOME / "boot.py"), "runtime.py", f"functions.{handler}", str(count)],
        env=environment, cwd=folder, stdin=receiver.pace, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert receiver.paths == {"/v1/traces": count, "/v1/invocation": count}
    return done.stderr


def instructions(folder: Path, receiver: Receiver, handler: str) -> int:
    """Of one invocation that is not the first, as valgrind counts them."""

    def counted(count: int) -> int:
        report = watched(folder, receiver, handler, count, *CALLGRIND)
        found = re.search(r"Collected : (\d+)", report)
        assert found, report
        return int(found[1])

    return (counted(MANY) - counted(FEW)) // (MANY - FEW)


@pytest.mark.parametrize(("handler", "most"), [("trivial", TRIVIAL_MAX), ("request", REQUEST_MAX)])
def test_the_instructions_of_a_warm_invocation_are_bounded(
    handler: str, most: int, place: Path, receiver: Receiver
) -> None:
    """Every invocation pays them, before the caller has its answer."""
    counted = instructions(place, receiver, handler)
    assert counted <= most, f"{counted} instructions for a warm invocation of {handler}"


def test_the_system_calls_of_a_warm_invocation_are_bounded(place: Path, receiver: Receiver) -> None:
    """Two requests go out, each with one call; none waits for anything."""
    calls = [
        Counter(re.findall(r"^(\w+)\(", watched(place, receiver, "trivial", count, "strace"), re.MULTILINE))
        for count in (FEW, MANY)
    ]
    more = {name: calls[1][name] - calls[0][name] for name in calls[1]}
    turns = MANY - FEW
    assert more.pop("read") == turns  # the runtime's own
    assert more["sendto"] == 2 * turns
    assert more.pop("recvfrom") <= 2 * turns  # the answers of a turn come together, unless the receiver is slow
    assert sum(more.values()) <= CALLS_MAX * turns, f"{more} in {turns} invocations"
