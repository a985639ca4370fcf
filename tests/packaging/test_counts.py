"""What a cold start costs, in counts that are the same on every machine: a regression shows where no clock can tell.

Each bound is what was counted when it was last set, and a tenth more; it is lowered when the count is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest

from o2_lambda.layer.build import project_root

sys.path.insert(0, str(project_root() / "bench"))
from fakes import Answer, Server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]


class Bounds(NamedTuple):
    """Of one flavour."""

    instructions_until_next: int
    calls_until_register: int
    bytes: int


BOUNDS = {
    "plain": Bounds(instructions_until_next=14_600_000, calls_until_register=180, bytes=6_950_000),
    "snapshot": Bounds(instructions_until_next=285_000, calls_until_register=16, bytes=10_600_000),
}
FILE_CALLS = {"open", "openat", "readlink", "readlinkat", "stat", "newfstatat", "access"}


@pytest.fixture
def bounds(flavour: str) -> Bounds:
    """What holds for the executable at hand."""
    return BOUNDS[flavour]


class SilentApi(Server):
    """Lambda's API that answers `register` and nothing after it: the process stands still with `/next` on the wire."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.over = threading.Event()
        super().__init__()

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer | None:
        if "/register" in start:
            answer = b'{"functionName":"f","functionVersion":"1","handler":"h","accountId":"123456789012"}'
            return 200, {"Lambda-Extension-Identifier": "id"}, answer
        self.asked.set()  # the subscription, with `/next` right behind it
        self.over.wait()
        return None


def watched(*command: str | Path, **settings: str) -> str:
    """Starts the executable under a tool, up to its first `/next`; returns what the tool reports."""
    tool = str(command[0])
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here: apt-get install {tool}")
    api = SilentApi()
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}",
        "O2_ORGANIZATION_ID": "default",
        "O2_AUTHORIZATION_HEADER": "Basic YTpi",
        "O2_OTLP_PORT": "0",
        "TZ": ":UTC",
        **settings,
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert api.asked.wait(120), "the extension never subscribes"
        process.terminate()
        _, report = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        api.over.set()
        api.close()
    return report


def instructions_until_next(executable: Path, **settings: str) -> int:
    """Instructions from the first of the process to the one that has sent `/next`, as valgrind counts them."""
    options = ("--tool=callgrind", "--callgrind-out-file=/dev/null")
    report = watched("valgrind", *options, executable, **settings)
    found = re.search(r"Collected : (\d+)", report)
    assert found, report
    return int(found[1])


def calls_until_register(*command: str | Path) -> list[str]:
    """The names of the system calls before `register` is on the wire, in order."""
    report = watched("strace", "-f", "-s", "64", *command)
    before, registered, _after = report.partition("/extension/register")
    assert registered, report
    return re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", before, re.MULTILINE)


def test_the_instructions_until_the_first_next_are_bounded(executable: Path, bounds: Bounds) -> None:
    """The function's cold start waits for most of them."""
    counted = instructions_until_next(executable)
    assert counted <= bounds.instructions_until_next, (
        f"{counted} instructions until the first /next: what is new on that way? Whatever can wait belongs behind it"
    )


def test_more_instructions_until_the_first_next_are_noticed(executable: Path, bounds: Bounds) -> None:
    """The test above can fail: O2_STRICT checks the settings before `/next`, which is what a careless import costs."""
    assert instructions_until_next(executable, O2_STRICT="true") > bounds.instructions_until_next


def test_the_system_calls_before_register_are_bounded(executable: Path, bounds: Bounds) -> None:
    """Each costs a microsecond at best, and on a throttled CPU far more."""
    calls = calls_until_register(executable)
    assert len(calls) <= bounds.calls_until_register, f"{len(calls)} system calls before register: {Counter(calls)}"


def test_no_file_is_opened_before_register(executable: Path) -> None:
    """Registration is serial on every cold start, and a file may lie on a cold disk."""
    calls = calls_until_register(executable)
    assert calls[0] == "execve"
    assert not FILE_CALLS & set(calls)


def test_files_and_system_calls_before_register_are_noticed(executable: Path, bounds: Bounds, tmp_path: Path) -> None:
    """The tests above can fail: a shell in front opens its library, and makes calls of its own."""
    alone = calls_until_register(executable)
    shell = tmp_path / executable.name
    shell.write_text(f'#!/bin/sh\nexec "{executable}"\n')
    shell.chmod(0o755)
    behind_a_shell = calls_until_register(shell)
    assert len(behind_a_shell) > max(len(alone), bounds.calls_until_register)
    assert FILE_CALLS & set(behind_a_shell)


def test_the_executable_is_small(executable: Path, bounds: Bounds) -> None:
    """A cold start reads it from a cold disk."""
    size = executable.stat().st_size
    assert size <= bounds.bytes, f"{size} bytes: what was linked or frozen in?"
